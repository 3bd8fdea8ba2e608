//! baresip as the caller: a softphone that people use, over UDP and as a secure trunk would.
#![expect(clippy::unwrap_used, reason = "a helper that fails fails its test")]

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use tests::offhook::{Offhook, free_port};
use tests::peers::{is_installed, last_call, wav_of_speech};

const PROGRAM: &str = env!("CARGO_BIN_EXE_offhook-under-test");

/// What is special about one call.
struct Case<'a> {
    /// Settings of ours.
    settings: &'a [&'a str],
    /// Modules of baresip beside those every call needs; those of accounts come after them.
    modules: &'a [&'a str],
    /// More parameters of its account.
    account: &'a str,
    /// Whom to dial, if not where we listen for UDP.
    target: Option<String>,
}

/// Settings of a baresip without sound card: it speaks a file, and `sndfile` keeps what it hears in `folder`.
fn configure(case: &Case<'_>, folder: &Path, speech: &Path) {
    let modules = ["account.so", "aufile.so", "aubridge.so", "sndfile.so", "g711.so", "menu.so", "uuid.so"];
    let modules: String = case.modules.iter().chain(&modules).map(|module| format!("module {module}\n")).collect();
    let config = format!(
        "module_path /usr/lib/baresip/modules\n{modules}\
         sip_listen 127.0.0.1:{}\naudio_source aufile,{}\naudio_player aubridge,sink\nausrc_srate 8000\n\
         auplay_srate 8000\nrtp_ports 46000-46100\nsnd_path {}\n",
        free_port(),
        speech.display(),
        folder.display()
    );
    std::fs::write(folder.join("config"), config).unwrap();
    let account = format!("<sip:caller@127.0.0.1>;regint=0;audio_codecs=PCMU/8000/1{}\n", case.account);
    std::fs::write(folder.join("accounts"), account).unwrap();
    std::fs::write(folder.join("contacts"), "").unwrap();
}

/// What baresip decoded of us.
fn recording_in(folder: &Path) -> PathBuf {
    let mut files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    files.find(|path| path.to_string_lossy().ends_with("dec.wav")).unwrap()
}

/// A question asked through baresip is answered; what baresip recorded of us is loud enough to be speech. Returns our log.
fn hold_a_call(case: &Case<'_>, folder: &Path) -> String {
    let (said, padded) = (folder.join("said.wav"), folder.join("padded.wav"));
    wav_of_speech(PROGRAM, &said, "How much does a check-up cost?");
    let status = Command::new("sox")
        .arg(&said)
        .args(["-e", "signed", "-b", "16"])
        .arg(&padded)
        .args(["pad", "8", "12"])
        .status();
    assert!(status.unwrap().success());
    let offhook = Offhook::start(Path::new(PROGRAM), folder, case.settings);
    let profile = folder.join("baresip");
    std::fs::create_dir(&profile).unwrap();
    configure(case, &profile, &padded);
    let target = case.target.clone().unwrap_or_else(|| offhook.uri());
    let mut baresip = Command::new("baresip")
        .args(["-f", profile.to_str().unwrap(), "-t", "20", "-e", &format!("/dial {target}")])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    offhook.wait_for_log("Call answered", Duration::from_secs(20));
    assert!(baresip.wait().unwrap().success());
    offhook.wait_for_log("Call ended", Duration::from_secs(60));
    let call = last_call(&offhook);
    assert_eq!(call["metrics"][0]["codec"], "PCMU", "{call:#}");
    // Without speech recognition nobody is understood, and the call is soon over.
    let enough = if cfg!(feature = "engines") { 500 } else { 200 };
    assert!(call["metrics"][0]["packets_received"].as_u64().unwrap() > enough, "{call:#}");
    let clip = audio::wav::read(&recording_in(&profile)).unwrap();
    let peak = audio::dsp::level::peak_dbov(&clip.samples);
    assert!(peak > -20.0, "baresip heard us at {peak} dBov");
    if cfg!(feature = "engines") {
        assert_eq!(call["turns"][0]["intent"], "price", "{call:#}");
    }
    offhook.stop()
}

#[test]
fn baresip_holds_a_call() {
    if !is_installed("baresip") || !is_installed("sox") {
        return;
    }
    let _line = tests::every_line();
    let folder = tempfile::tempdir().unwrap();
    hold_a_call(&Case { settings: &[], modules: &[], account: "", target: None }, folder.path());
}

/// As a secure trunk calls: TLS by another implementation (OpenSSL), though this one believes every certificate, and SRTP
/// by another one, required by both sides.
#[test]
fn baresip_holds_a_call_over_tls_and_srtp() {
    if !is_installed("baresip") || !is_installed("sox") {
        return;
    }
    let _line = tests::every_line();
    let folder = tempfile::tempdir().unwrap();
    let state = format!("storage.directory={}", folder.path().display());
    let made = Command::new(PROGRAM).args(["first-boot", "--set", &state]).stdout(Stdio::null()).status().unwrap();
    assert!(made.success(), "the box's own certificate");
    let port = free_port();
    let secure = Case {
        settings: &["sip.tls.enabled=true", &format!("sip.tls.port={port}"), "media.srtp=required"],
        modules: &["srtp.so"],
        account: ";mediaenc=srtp-mand",
        target: Some(format!("sip:office@127.0.0.1:{port};transport=tls")),
    };
    let log = hold_a_call(&secure, folder.path());
    assert!(log.contains("srtp=true"), "{log}");
}
