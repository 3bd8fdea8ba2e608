//! What is tried with any bytes at all: each target takes an input, and panics if something does not hold.
//!
//! `fuzz/` builds them with coverage counters for libFuzzer (`make fuzz`), so nothing here knows anything but `sip_stack` and `audio`.
//! `tests/fuzz_corpus.rs` replays the inputs that are kept in `fuzz/corpus`.

pub mod calls;
pub mod jitter;
pub mod message;
pub mod rtcp;
pub mod rtp;
mod script;
pub mod sdp;
pub mod srtp;
pub mod telephone_events;
pub mod transactions;
