//! The box between a carrier, as Twilio's trunks are on the wire, and a desk phone (baresip): calls in, calls out, and
//! what happens when an address, a box or a password does not work.
#![expect(clippy::unwrap_used, reason = "a helper that fails fails its test")]

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;
use tests::carrier::message::uri_in;
use tests::carrier::{Account, Call, Carrier, EDGE, Heard};
use tests::offhook::Offhook;
use tests::peers::{is_installed, last_call};
use tests::softphone::{Profile, Softphone, seconds_with_tone};

const PROGRAM: &str = env!("CARGO_BIN_EXE_offhook-under-test");
const LIMIT: Duration = Duration::from_secs(30);
/// The office's number.
const NUMBER: &str = "+12125550142";
const PASSWORD: &str = "correct horse";
/// Far from each other.
const PHONE_HZ: u32 = 700;
const OUTSIDE_HZ: u32 = 1_100;

fn account() -> Account {
    Account {
        domain: "office.pstn.example.com".into(),
        username: "office".into(),
        password: PASSWORD.into(),
        tone_hz: OUTSIDE_HZ,
    }
}

/// What is special about an office; the default has a trunk and a phone that is called by the trunk.
#[derive(Default)]
struct Setup<'a> {
    /// Hosts of the trunk, if not the carrier alone.
    hosts: Option<Vec<SocketAddr>>,
    /// What the box believes the password to be.
    password: Option<&'a str>,
    /// Where calls to the office go.
    to: Option<&'a str>,
    settings: &'a [&'a str],
}

/// A box with a trunk to `carrier` and an extension.
struct Office {
    folder: tempfile::TempDir,
    offhook: Offhook,
}

impl Office {
    fn open(carrier: &Carrier, setup: &Setup<'_>) -> Office {
        let folder = tempfile::tempdir().unwrap();
        let (file, secret) = (folder.path().join("offhook.toml"), folder.path().join("trunk"));
        std::fs::write(&secret, setup.password.unwrap_or(PASSWORD)).unwrap();
        let hosts = setup.hosts.clone().unwrap_or_else(|| vec![carrier.address()]);
        let hosts: Vec<String> = hosts.iter().map(ToString::to_string).collect();
        let config = format!(
            "[sip]\nphone_networks = ['127.0.0.1/32']\n\
             [[trunks]]\nname = 'carrier'\nprofile = 'twilio'\nsources = ['127.0.1.0/24']\nnumbers = ['{NUMBER}']\n\
             hosts = {hosts:?}\ndomain = '{}'\nusername = '{}'\npassword_file = '{}'\n\
             [[extensions]]\nnumber = '101'\nname = 'Desk'\n\
             [[inbound]]\nnumber = '{NUMBER}'\nto = '{}'\n",
            account().domain,
            account().username,
            secret.display(),
            setup.to.unwrap_or("extension:101")
        );
        std::fs::write(&file, config).unwrap();
        let settings: Vec<&str> = [&["log.filter=debug"], setup.settings].concat();
        let offhook = Offhook::start_with_file(Path::new(PROGRAM), folder.path(), Some(&file), &settings);
        Office { folder, offhook }
    }

    fn phone(&self) -> Softphone {
        let output = self.offhook.run(&["extensions", "password", "101", "--json"]);
        let told: Value = serde_json::from_slice(&output.stdout).unwrap();
        let password = told["password"].as_str().unwrap();
        let profile = Profile::new("101", password, self.offhook.address(), PHONE_HZ);
        Softphone::start(&self.folder.path().join("101"), &profile)
    }

    /// A person outside calls the office, and somebody or something answers.
    fn call_from(&self, carrier: &Carrier) -> Call {
        let placed = carrier.call(&[self.offhook.address()], NUMBER);
        placed.call.unwrap_or_else(|| panic!("not answered: {:?}\n{}", placed.attempts, self.offhook.log()))
    }

    /// The row of the call that has just ended.
    fn row(&self) -> Value {
        self.offhook.wait_for_log("Call ended", LIMIT);
        last_call(&self.offhook)
    }
}

/// Both heard each other, by the tone that each says.
fn assert_both_heard(phone: Softphone, outside: &Heard) {
    let with_tone = seconds_with_tone(&outside.samples, PHONE_HZ);
    assert!(with_tone.len() >= 3, "outside hears the phone in seconds {with_tone:?}");
    let with_tone = seconds_with_tone(&phone.heard(), OUTSIDE_HZ);
    assert!(with_tone.len() >= 3, "the phone hears outside in seconds {with_tone:?}");
}

/// The row of a call between two people: how it ended, on which trunk, and that no packet of it was lost.
fn assert_bridged(row: &Value, direction: &str, trunk: &str, cause: &str) {
    let session = &row["session"];
    assert_eq!(session["direction"], direction, "{row:#}");
    assert_eq!(session["trunk"], trunk, "{row:#}");
    assert_eq!(session["hangup_cause"], cause, "{row:#}");
    assert_eq!(session["disposition"], "answered_by_person", "{row:#}");
    let legs = row["metrics"].as_array().unwrap();
    assert_eq!(legs.len(), 2, "{row:#}");
    for leg in legs {
        assert!(leg["packets_received"].as_u64().unwrap() > 150, "{row:#}");
        assert_eq!(leg["packets_lost"], 0, "{row:#}");
    }
}

/// Somebody outside calls the office's number: the phone rings, both hear each other, and the caller hangs up.
#[test]
fn a_call_from_outside_reaches_the_phone() {
    if !is_installed("baresip") {
        return;
    }
    let carrier = Carrier::start(EDGE, account());
    let office = Office::open(&carrier, &Setup::default());
    let phone = office.phone();
    let placed = carrier.call(&[office.offhook.address()], NUMBER);
    assert!(placed.attempts[0].provisional.contains(&180), "{:?}", placed.attempts);
    let call = placed.call.expect("the phone answers");
    call.talk(Duration::from_secs(5));
    let outside = call.hang_up();
    let row = office.row();
    assert_bridged(&row, "inbound", "carrier", "caller_hangup");
    assert_eq!(row["session"]["called"], NUMBER, "{row:#}");
    assert_eq!(row["session"]["caller_id"], "+13105550177", "{row:#}");
    assert_both_heard(phone, &outside);
    office.offhook.stop();
}

/// Where no phone is to ring, the box itself answers and is heard.
#[test]
fn a_call_from_outside_reaches_the_attendant() {
    let carrier = Carrier::start(EDGE, account());
    let office = Office::open(&carrier, &Setup { to: Some("attendant"), ..Setup::default() });
    let call = office.call_from(&carrier);
    call.talk(Duration::from_secs(4));
    let outside = call.hang_up();
    let row = office.row();
    assert_eq!(row["session"]["trunk"], "carrier", "{row:#}");
    assert_eq!(row["session"]["hangup_cause"], "caller_hangup", "{row:#}");
    assert_eq!(row["metrics"][0]["packets_lost"], 0, "{row:#}");
    let loudest = outside.samples.chunks(800).map(audio::dsp::level::rms_dbov).fold(f32::MIN, f32::max);
    assert!(loudest > -40.0, "the box was heard at {loudest} dBov at most");
    office.offhook.stop();
}

/// The phone hangs up on somebody outside: our BYE finds its way through the carrier's proxies to a Contact that only they
/// can reach (the carrier itself checks its Request-URI and route).
#[test]
fn the_phone_hangs_up_on_a_caller_from_outside() {
    if !is_installed("baresip") {
        return;
    }
    let carrier = Carrier::start(EDGE, account());
    let office = Office::open(&carrier, &Setup::default());
    let mut phone = office.phone();
    let call = office.call_from(&carrier);
    call.talk(Duration::from_secs(1));
    phone.tell("hangup", "");
    let (bye, _) = call.wait_for_bye();
    let route = bye.list("Route");
    assert_eq!(route.len(), 2, "{bye:?}");
    assert!(uri_in(&route[0]).starts_with(&format!("sip:{};", carrier.address())), "{bye:?}");
    assert!(bye.uri().contains("@172.25."), "{bye:?}");
    assert_eq!(office.row()["session"]["hangup_cause"], "callee_hangup");
    office.offhook.stop();
}

/// A phone dials as people write numbers; the carrier asks who we are, and both hear each other.
#[test]
fn a_phone_calls_outside() {
    if !is_installed("baresip") {
        return;
    }
    let carrier = Carrier::start(EDGE, account());
    let office = Office::open(&carrier, &Setup::default());
    let mut phone = office.phone();
    phone.tell("dial", "(212)555-0199");
    let ringing = carrier.wait_for_call(LIMIT);
    assert_eq!(carrier.refusals(), [407], "asked once who we are");
    assert!(ringing.request.uri().starts_with("sip:+12125550199@"), "{:?}", ringing.request);
    assert!(uri_in(ringing.request.header("From")).starts_with(&format!("sip:{NUMBER}@")), "{:?}", ringing.request);
    let call = ringing.answer();
    phone.wait_for("CALL_ESTABLISHED");
    call.talk(Duration::from_secs(5));
    phone.tell("hangup", "");
    let (_, outside) = call.wait_for_bye();
    assert_bridged(&office.row(), "outbound", "inside", "caller_hangup");
    assert_both_heard(phone, &outside);
    office.offhook.stop();
}

/// With a wrong password every call outside fails, soon and cleanly, and the row says whose fault it is.
#[test]
fn a_wrong_password_of_the_trunk_fails_the_call() {
    if !is_installed("baresip") {
        return;
    }
    let carrier = Carrier::start(EDGE, account());
    let office = Office::open(&carrier, &Setup { password: Some("wrong"), ..Setup::default() });
    let mut phone = office.phone();
    phone.tell("dial", "(212)555-0199");
    let closed = phone.wait_for("CALL_CLOSED");
    assert!(closed["param"].as_str().unwrap().contains("403"), "{closed}");
    assert_eq!(carrier.refusals(), [407, 403], "asked once, and not guessed again");
    office.offhook.wait_for_log("Call ended before it was answered", LIMIT);
    let row = last_call(&office.offhook);
    assert_eq!(row["session"]["hangup_cause"], "trunk_failed", "{row:#}");
    assert_eq!(row["session"]["termination"], "upstream_error", "{row:#}");
    office.offhook.stop();
}
