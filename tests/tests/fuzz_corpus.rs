//! Every input that fuzzing has kept, once more: those that found something, and those that reach the most code.
#![expect(clippy::unwrap_used, reason = "a corpus that cannot be read fails the test")]

use std::fs;
use std::path::Path;

use tests::fuzz;

fn replay(target: &str, run: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    let mut inputs = 0;
    for entry in fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        let input = fs::read(&path).unwrap();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        assert!(std::panic::catch_unwind(|| run(&input)).is_ok(), "{target}: {name} fails");
        inputs += 1;
    }
    assert!(inputs >= 10, "only {inputs} inputs in {}", folder.display());
}

#[test]
fn messages() {
    replay("message", fuzz::message::run);
}

#[test]
fn session_descriptions() {
    replay("sdp", fuzz::sdp::run);
}

#[test]
fn transactions() {
    replay("transactions", fuzz::transactions::run);
}

#[test]
fn calls() {
    replay("calls", fuzz::calls::run);
}

#[test]
fn rtp_packets() {
    replay("rtp", fuzz::rtp::run);
}

#[test]
fn rtcp_packets() {
    replay("rtcp", fuzz::rtcp::run);
}

#[test]
fn srtp_packets() {
    replay("srtp", fuzz::srtp::run);
}

#[test]
fn telephone_events() {
    replay("telephone_events", fuzz::telephone_events::run);
}

#[test]
fn jitter_buffer_operations() {
    replay("jitter", fuzz::jitter::run);
}
