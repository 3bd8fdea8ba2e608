//! SIPp as the caller: another SIP implementation's INVITE, ACK and BYE, and its RTP.
#![expect(clippy::unwrap_used, reason = "a helper that fails fails its test")]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use tests::offhook::Offhook;
use tests::peers::{is_installed, last_call, wav_of_speech};

const PROGRAM: &str = env!("CARGO_BIN_EXE_offhook-under-test");

fn scenario(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("interop").join(name)
}

/// SIPp plays a WAV file's sound as raw A-law.
fn alaw_speech(folder: &Path) {
    let wav = folder.join("speech.wav");
    wav_of_speech(PROGRAM, &wav, "What should I do in an emergency?");
    let raw = folder.join("speech.alaw");
    let status = Command::new("sox")
        .arg(&wav)
        .args(["-t", "raw", "-r", "8000", "-c", "1", "-e", "a-law"])
        .arg(&raw)
        .args(["pad", "7", "3"])
        .status()
        .unwrap();
    assert!(status.success());
}

/// The whole exchange runs through SIPp's own checks, its sound arrives, and the call ends as the caller's hang-up.
#[test]
fn sipp_calls_speaks_and_hangs_up() {
    if !is_installed("sipp") || !is_installed("sox") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    alaw_speech(folder.path());
    let offhook = Offhook::start(Path::new(PROGRAM), folder.path(), &[]);
    let output = Command::new("sipp")
        .arg(offhook.address().to_string())
        .args(["-sf", scenario("uac-speaks-and-hangs-up.xml").to_str().unwrap()])
        .args(["-m", "1", "-nostdin", "-i", "127.0.0.1", "-mi", "127.0.0.1", "-timeout", "40s", "-trace_err"])
        .args(["-mp", "45000"])
        .current_dir(folder.path())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}\n{}", String::from_utf8_lossy(&output.stdout), offhook.log());
    offhook.wait_for_log("Call ended", Duration::from_secs(10));
    let call = last_call(&offhook);
    assert_eq!(call["session"]["hangup_cause"], "caller_hangup", "{call:#}");
    assert_eq!(call["metrics"][0]["codec"], "PCMA", "{call:#}");
    assert!(call["metrics"][0]["packets_received"].as_u64().unwrap() > 400, "{call:#}");
    if cfg!(feature = "engines") {
        let heard = call["turns"][0]["text"].as_str().unwrap_or_default().to_lowercase();
        assert!(heard.contains("emergency"), "{call:#}");
    }
    offhook.stop();
}
