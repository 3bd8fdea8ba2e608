//! Cost of RTP per packet.
fn main() {}
