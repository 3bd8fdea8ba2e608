//! Linphone as a desk phone: registers, calls and is called, holds and comes back, presses keys; over UDP, and over TLS
//! with SRTP.
#![expect(clippy::unwrap_used, reason = "a helper that fails fails its test")]

use std::time::Duration;

use tests::authority::Authority;
use tests::linphone::{Line, Linphone};
use tests::offhook::free_port;
use tests::office::{EXTENSIONS, Office, TONES_HZ, talk};
use tests::peers::{is_installed, last_call};
use tests::softphone::seconds_with_tone;

const PROGRAM: &str = env!("CARGO_BIN_EXE_offhook-under-test");
const LIMIT: Duration = Duration::from_secs(30);

/// An office with TLS, and what a phone needs for it.
struct SecureOffice {
    office: Office,
    authority: Authority,
    tls_port: u16,
}

impl SecureOffice {
    fn open() -> SecureOffice {
        let (authority, tls_port) = (Authority::new(), free_port());
        let own = authority.certify("localhost");
        let tls = format!(
            "[sip.tls]\nenabled = true\nport = {tls_port}\ncertificate = {:?}\nprivate_key = {:?}\n",
            own.certificate, own.private_key
        );
        SecureOffice { office: Office::open(PROGRAM, &tls), authority, tls_port }
    }

    /// The phone of the extension at `index`, over TLS or not.
    fn phone(&self, index: usize, is_secure: bool) -> Linphone {
        let trust = self.authority.certificate();
        let line = if is_secure { Line::Secure(self.tls_port, &trust) } else { Line::Plain };
        let folder = self.office.folder.path().join(EXTENSIONS[index]);
        Linphone::start(&folder, &self.office.profile(index), line)
    }

    /// What a phone on that line dials.
    fn uri(&self, number: &str, is_secure: bool) -> String {
        match is_secure {
            true => format!("sip:{number}@localhost:{};transport=tls", self.tls_port),
            false => self.office.uri(number),
        }
    }
}

/// A phone that has read the settings file which the box makes for it is in without anything typed.
#[test]
fn a_provisioned_linphone_registers() {
    if !is_installed("linphonec") {
        return;
    }
    let office = Office::open(PROGRAM, "");
    let file = office.folder.path().join("101.xml");
    let made = ["extensions", "provision", "101", "--family", "linphone", "--output", file.to_str().unwrap()];
    let made = office.offhook.run(&[made.as_slice(), &["--server", "127.0.0.1"]].concat());
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    // A file is no folder.
    let nowhere = office.folder.path().join("offhook.toml/101.xml");
    let failed = ["extensions", "provision", "101", "--family", "linphone", "--output", nowhere.to_str().unwrap()];
    assert!(!office.offhook.run(&failed).status.success(), "and the password stays as it was");
    let phone = Linphone::start_provisioned(&office.folder.path().join("101"), TONES_HZ[0], &file);
    office.offhook.wait_for_log("Registrations of an extension changed phones=1", LIMIT);
    drop(phone);
    office.offhook.stop();
}

/// One calls the other, presses a key, holds, comes back and hangs up. Each hears the other's tone before and after, and
/// whoever is held does not in between.
#[test]
fn two_linphones_talk_hold_and_press_keys() {
    if !is_installed("linphonec") {
        return;
    }
    let secure_office = SecureOffice::open();
    let office = &secure_office.office;
    for is_secure in [false, true] {
        let (mut caller, callee) = (secure_office.phone(0, is_secure), secure_office.phone(1, is_secure));
        caller.tell(&format!("call {}", secure_office.uri("102", is_secure)));
        caller.wait_for_output("Media streams established", 1);
        callee.wait_for_output("Media streams established", 1);
        talk(Duration::from_secs(3));
        caller.tell("5");
        callee.wait_for_output("Receiving tone 5", 1);
        caller.tell("pause");
        office.offhook.wait_for_log("On hold", LIMIT);
        caller.wait_for_output("is now paused", 1);
        talk(Duration::from_secs(5));
        caller.tell("resume");
        office.offhook.wait_for_log("Off hold", LIMIT);
        caller.wait_for_output("Media streams established", 2);
        talk(Duration::from_secs(4));
        caller.tell("terminate");
        callee.wait_for_output("ended", 1);
        office.offhook.wait_for_log("Call ended", LIMIT);

        assert_row_is_of_a_good_call(office, "caller_hangup");
        let heard = seconds_with_tone(&callee.heard(), TONES_HZ[0]);
        let held = heard.windows(2).map(|pair| pair[1] - pair[0] - 1).max().unwrap();
        assert!(held >= 4, "held for {held} s, TLS: {is_secure}; heard in seconds {heard:?}");
        let heard = seconds_with_tone(&caller.heard(), TONES_HZ[1]);
        assert!(heard.len() >= 4, "TLS: {is_secure}; heard in seconds {heard:?}");
        let encrypted = office.offhook.log().matches("srtp=true").count();
        assert_eq!(encrypted, usize::from(is_secure), "{}", office.offhook.log());
    }
    stop_without_secrets(secure_office.office);
}

/// A phone with TLS and SRTP and one with neither, of two makes, call each other: the box is the end of both.
#[test]
fn linphone_and_baresip_call_each_other() {
    if !is_installed("linphonec") || !is_installed("baresip") {
        return;
    }
    let secure_office = SecureOffice::open();
    let office = &secure_office.office;
    let (mut linphone, mut baresip) = (secure_office.phone(0, true), office.phone(1));
    linphone.tell(&format!("call {}", secure_office.uri("102", true)));
    baresip.wait_for("CALL_ESTABLISHED");
    talk(Duration::from_secs(3));
    baresip.tell("hangup", "");
    linphone.wait_for_output("ended", 1);
    office.offhook.wait_for_log("Call ended", LIMIT);
    assert_row_is_of_a_good_call(office, "callee_hangup");

    baresip.tell("dial", &office.uri("101"));
    baresip.wait_for("CALL_ESTABLISHED");
    linphone.wait_for_output("Media streams established", 2);
    talk(Duration::from_secs(3));
    linphone.tell("terminate");
    baresip.wait_for("CALL_CLOSED");
    office.offhook.wait_for_log("Call ended", LIMIT);
    assert_row_is_of_a_good_call(office, "callee_hangup");
    let heard = seconds_with_tone(&linphone.heard(), TONES_HZ[1]);
    assert!(heard.len() >= 2, "linphone hears baresip in seconds {heard:?}");
    let heard = seconds_with_tone(&baresip.heard(), TONES_HZ[0]);
    assert!(heard.len() >= 2, "baresip hears linphone in seconds {heard:?}");
    stop_without_secrets(secure_office.office);
}

/// Whoever does not believe the box's certificate does not register, and nothing of its password leaves it.
#[test]
fn a_phone_that_does_not_know_the_box_does_not_register() {
    if !is_installed("linphonec") {
        return;
    }
    let (secure_office, stranger) = (SecureOffice::open(), Authority::new());
    let trust = stranger.certificate();
    let folder = secure_office.office.folder.path().join("101");
    let line = Line::Secure(secure_office.tls_port, &trust);
    let _phone = Linphone::start_unregistered(&folder, &secure_office.office.profile(0), line);
    secure_office.office.offhook.wait_for_log("the peer does not trust our certificate", LIMIT);
    let log = secure_office.office.offhook.stop();
    assert!(!log.contains("Registrations"), "{log}");
}

/// The call that has just ended: answered by a person, and no packet of it was lost.
fn assert_row_is_of_a_good_call(office: &Office, cause: &str) {
    let call = last_call(&office.offhook);
    assert_eq!(call["session"]["hangup_cause"], cause, "{call:#}");
    assert_eq!(call["session"]["disposition"], "answered_by_person", "{call:#}");
    for leg in call["metrics"].as_array().unwrap() {
        assert!(leg["packets_received"].as_u64().unwrap() > 100, "{call:#}");
        assert_eq!(leg["packets_lost"], 0, "{call:#}");
    }
}

fn stop_without_secrets(office: Office) {
    let passwords = office.passwords.clone();
    let log = office.offhook.stop();
    for secret in passwords.iter().map(String::as_str).chain(["sip:", "inline:", "Desk"]) {
        assert!(!log.contains(secret), "{secret:?} is in the log:\n{log}");
    }
}
