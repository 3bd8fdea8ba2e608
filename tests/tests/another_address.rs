//! The office gets another address from its provider in the middle of a call: whoever talks is told, and asked again when
//! it was not the moment.

use std::net::Ipv4Addr;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use tests::load::scenario;
use tests::offhook::Offhook;
use tests::peers::{is_installed, last_call};
use tests::stun::StunServer;

const PROGRAM: &str = env!("CARGO_BIN_EXE_offhook-under-test");
const LIMIT: Duration = Duration::from_secs(30);
/// Of this machine, or the box would not tell them to anybody on it. The second stands in the scenario too.
const BEFORE: Ipv4Addr = Ipv4Addr::new(127, 0, 7, 1);
const AFTER: Ipv4Addr = Ipv4Addr::new(127, 0, 7, 2);

#[test]
fn whoever_talks_is_told_the_new_address_until_it_has_understood() {
    if !is_installed("sipp") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let stun = StunServer::start(BEFORE);
    let (file, server) = (folder.path().join("offhook.toml"), format!("sip.stun_server={}", stun.address()));
    std::fs::write(&file, "").unwrap();
    let settings = [&server, "sip.stun_interval_seconds=1", "log.filter=debug"];
    let offhook = Offhook::start_wordless(Path::new(PROGRAM), folder.path(), &file, &settings);
    let caller = Command::new("sipp")
        .arg(offhook.address().to_string())
        .args(["-sf", scenario("uac-is-told-an-address.xml").to_str().unwrap()])
        .args(["-m", "1", "-rtp_echo", "-nostdin", "-i", "127.0.0.1", "-timeout", "60s", "-trace_err"])
        .current_dir(folder.path())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    offhook.wait_for_log("Call answered", LIMIT);
    stun.see_at(AFTER);
    let seen = caller.wait_with_output().unwrap();
    assert!(seen.status.success(), "{}\n{}", String::from_utf8_lossy(&seen.stdout), offhook.log());
    offhook.wait_for_log("Call ended", LIMIT);
    assert_eq!(last_call(&offhook)["session"]["hangup_cause"], "caller_hangup");
    offhook.stop();
}
