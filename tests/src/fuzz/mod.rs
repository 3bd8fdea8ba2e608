//! What is tried with any bytes at all: each target takes an input, and panics if something does not hold.
//!
//! `fuzz/` builds them with coverage counters for libFuzzer (`make fuzz`), so nothing here knows anything but `sip_stack`.
//! `tests/fuzz_corpus.rs` replays the inputs that are kept in `fuzz/corpus`.

pub mod calls;
pub mod message;
mod script;
pub mod sdp;
pub mod transactions;
