//! libFuzzer's entry to ../../src/fuzz/srtp.rs.
#![no_main]

#[path = "../../src/fuzz/mod.rs"]
#[expect(dead_code, reason = "each target is a program of its own")]
mod fuzz;

libfuzzer_sys::fuzz_target!(|input: &[u8]| fuzz::srtp::run(input));
