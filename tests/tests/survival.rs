//! What happens to calls when things break: the process is killed, the network is bad, too many call at once.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;
use tests::offhook::{Offhook, free_port};
use tests::peers::{last_call, wav_of_speech};
use tests::relay::{Relay, RelayConfig};

const PROGRAM: &str = env!("CARGO_BIN_EXE_offhook-under-test");

/// Speech as a WAV file in `folder`: its path.
fn speech(folder: &Path, text: &str) -> String {
    let path = folder.join("speech.wav");
    wav_of_speech(PROGRAM, &path, text);
    path.display().to_string()
}

/// kill -9 in mid-call: every committed row is still there and the next start closes the call as interrupted.
#[test]
fn a_killed_box_keeps_its_rows_and_closes_the_call_at_the_next_start() {
    let _line = tests::every_line();
    let folder = tempfile::tempdir().unwrap();
    let speech = speech(folder.path(), "When are you open on Saturday?");
    let offhook = Offhook::start(Path::new(PROGRAM), folder.path(), &[]);
    let uri = offhook.uri();
    let mut caller = offhook.spawn(&["call", &uri, "--say", &speech, "--say", &speech]);
    offhook.wait_for_log("Call answered", Duration::from_secs(30));
    let before = tests::poll(Duration::from_secs(60), || {
        let call = last_call(&offhook);
        let talked = !call["turns"].as_array().unwrap().is_empty() || !cfg!(feature = "engines");
        (talked && call["session"]["state"] == "answered").then_some(call)
    })
    .expect("a turn is written while the call goes on");
    offhook.kill();
    caller.kill().unwrap();
    caller.wait().unwrap();

    let offhook = Offhook::start(Path::new(PROGRAM), folder.path(), &[]);
    let after = last_call(&offhook);
    assert_eq!(after["session"]["state"], "interrupted", "{after:#}");
    assert_eq!(after["session"]["hangup_cause"], "daemon_restarted", "{after:#}");
    assert_eq!(after["session"]["call_id"], before["session"]["call_id"]);
    assert_eq!(after["turns"][0], before["turns"][0], "what was committed has not changed");
    offhook.stop();
}

/// 5 % loss and 30 ms of jitter both ways, on signalling and sound: the call is still held and the caller understood.
#[test]
fn a_call_works_over_a_bad_network() {
    let _line = tests::every_line();
    let folder = tempfile::tempdir().unwrap();
    let speech = speech(folder.path(), "How much does a check-up cost?");
    let rtp_port = free_port() & !1;
    // The box says that it is at 127.0.0.2; there the relays stand, on the same ports.
    let settings = [
        "sip.public_address=127.0.0.2".to_owned(),
        format!("media.first_port={rtp_port}"),
        format!("media.last_port={}", rtp_port + 1),
        "calls.concurrent_limit=1".to_owned(),
    ];
    let settings: Vec<&str> = settings.iter().map(String::as_str).collect();
    let offhook = Offhook::start(Path::new(PROGRAM), folder.path(), &settings);
    let bad =
        |seed| RelayConfig { seed, loss_percent: 5.0, jitter: Duration::from_millis(30), ..RelayConfig::default() };
    let outside = |port| SocketAddr::from(([127, 0, 0, 2], port));
    let inside = |port| SocketAddr::from(([127, 0, 0, 1], port));
    let sip = Relay::start(bad(1), outside(offhook.address().port()), offhook.address()).unwrap();
    let rtp = Relay::start(bad(2), outside(rtp_port), inside(rtp_port)).unwrap();

    let uri = format!("sip:office@{}", sip.address());
    let output = offhook.run(&["call", &uri, "--json", "--say", &speech]);
    let report: Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}\n{}", String::from_utf8_lossy(&output.stderr), offhook.log()));
    assert!(rtp.counters().lost > 20, "the relay really lost packets: {:?}", rtp.counters());
    let metrics = &report["box"]["metrics"][0];
    assert!(metrics["packets_lost"].as_u64().unwrap() > 5, "{report:#}");
    assert!(report["packets_lost"].as_u64().unwrap() > 5, "{report:#}");
    if cfg!(feature = "engines") {
        assert_eq!(report["box"]["turns"][0]["intent"], "price", "{report:#}");
        assert!(report["lines"][0]["heard_gap_ms"].is_u64(), "{report:#}");
    }
    drop((sip, rtp));
    offhook.stop();
}

/// Beyond the limit a caller gets 503 with Retry-After, never busy, and the call that is up goes on.
#[test]
fn one_call_too_many_is_sent_elsewhere() {
    let _line = tests::every_line();
    let folder = tempfile::tempdir().unwrap();
    let speech = speech(folder.path(), "When are you open?");
    let offhook =
        Offhook::start(Path::new(PROGRAM), folder.path(), &["calls.concurrent_limit=1", "calls.drain_seconds=1"]);
    let uri = offhook.uri();
    let mut first = offhook.spawn(&["call", &uri, "--say", &speech]);
    offhook.wait_for_log("Call answered", Duration::from_secs(30));
    let second = offhook.run(&["call", &uri, "--say", &speech]);
    let refusal = String::from_utf8_lossy(&second.stderr).into_owned();
    assert!(!second.status.success());
    assert!(refusal.contains("503"), "{refusal}");
    first.kill().unwrap();
    first.wait().unwrap();
    offhook.stop();
}

/// SIGTERM lets the caller finish: the call ends by its own goodbye or the drain limit, with its row closed.
#[test]
fn a_stop_closes_the_rows_of_calls_that_do_not_end_in_time() {
    let _line = tests::every_line();
    let folder = tempfile::tempdir().unwrap();
    let speech = speech(folder.path(), "When are you open?");
    let offhook = Offhook::start(Path::new(PROGRAM), folder.path(), &["calls.drain_seconds=1"]);
    let uri = offhook.uri();
    let mut caller = offhook.spawn(&["call", &uri, "--say", &speech, "--say", &speech, "--say", &speech]);
    offhook.wait_for_log("Call answered", Duration::from_secs(30));
    let folder_of_state = folder.path().to_owned();
    offhook.stop();
    caller.wait().unwrap();
    let setting = format!("storage.directory={}", folder_of_state.display());
    let output =
        std::process::Command::new(PROGRAM).args(["calls", "list", "--json", "--set", &setting]).output().unwrap();
    let calls: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(calls[0]["state"], "ended", "{calls:#}");
    assert_eq!(calls[0]["hangup_cause"], "daemon_stopped", "{calls:#}");
}
