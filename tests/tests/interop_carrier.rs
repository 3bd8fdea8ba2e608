//! The box between a carrier, as Twilio's trunks are on the wire, and a desk phone (baresip): calls in, calls out, and
//! what happens when an address, a box or a password does not work.
#![expect(clippy::unwrap_used, reason = "a helper that fails fails its test")]

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use audio::rtp::srtp::Profile as Suite;
use serde_json::Value;
use tests::authority::Authority;
use tests::carrier::message::uri_in;
use tests::carrier::{Account, Attempt, Call, Carrier, EDGE, Heard, Security, stops_failover};
use tests::offhook::{Offhook, free_port};
use tests::peers::{is_installed, last_call};
use tests::sipp_phone::SippPhone;
use tests::softphone::{Profile, Softphone, seconds_with_tone};

const PROGRAM: &str = env!("CARGO_BIN_EXE_offhook-under-test");
const LIMIT: Duration = Duration::from_secs(30);
/// The office's number.
const NUMBER: &str = "+12125550142";
const PASSWORD: &str = "correct horse";
/// Far from each other.
const PHONE_HZ: u32 = 700;
const OUTSIDE_HZ: u32 = 1_100;
/// After so much silence both sides try the next address.
const SILENCE: Duration = Duration::from_secs(4);
/// How much later than that is still in time on a busy machine.
const TOLERANCE: Duration = Duration::from_secs(3);
/// Neither trunk nor phone nor guest.
const STRANGER: Ipv4Addr = Ipv4Addr::new(127, 0, 9, 9);

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
    /// Makes the trunk a secure one; certifies the box, and everybody whom the box believes.
    authority: Option<&'a Authority>,
    /// More lines of the trunk.
    trunk: &'a str,
    settings: &'a [&'a str],
}

/// A box with a trunk to `carrier` and an extension.
struct Office {
    folder: tempfile::TempDir,
    offhook: Offhook,
    /// Where it takes calls by TLS, if it does.
    tls: SocketAddr,
}

impl Office {
    fn open(carrier: &Carrier, setup: &Setup<'_>) -> Office {
        let folder = tempfile::tempdir().unwrap();
        let (file, secret) = (folder.path().join("offhook.toml"), folder.path().join("trunk"));
        std::fs::write(&secret, setup.password.unwrap_or(PASSWORD)).unwrap();
        let hosts = setup.hosts.clone().unwrap_or_else(|| vec![carrier.address()]);
        let hosts: Vec<String> = hosts.iter().map(ToString::to_string).collect();
        let config = format!(
            "[sip]\nguests = []\nphone_networks = ['127.0.0.1/32']\n\
             [[trunks]]\nname = 'carrier'\nprofile = 'twilio'\nsources = ['127.0.1.0/24']\nnumbers = ['{NUMBER}']\n\
             hosts = {hosts:?}\ndomain = '{}'\nusername = '{}'\npassword_file = '{}'\n{}{}\n\
             [[extensions]]\nnumber = '101'\nname = 'Desk'\n\
             [[inbound]]\nnumber = '{NUMBER}'\nto = '{}'\n",
            account().domain,
            account().username,
            secret.display(),
            if setup.authority.is_some() { "secure = true\ntransport = 'tls'\n" } else { "" },
            setup.trunk,
            setup.to.unwrap_or("extension:101")
        );
        std::fs::write(&file, config).unwrap();
        let tls = SocketAddr::from(([127, 0, 0, 1], free_port()));
        let tls_settings = setup.authority.map_or_else(Vec::new, |authority| settings_for_tls(authority, tls));
        let more = setup.settings.iter().copied().chain(tls_settings.iter().map(String::as_str));
        let settings: Vec<&str> = std::iter::once("log.filter=debug").chain(more).collect();
        let offhook = Offhook::start_wordless(Path::new(PROGRAM), folder.path(), &file, &settings);
        Office { folder, offhook, tls }
    }

    fn phone(&self) -> Softphone {
        self.phone_with(&self.password())
    }

    /// A new one of the extension.
    fn password(&self) -> String {
        let output = self.offhook.run(&["extensions", "password", "101", "--json"]);
        let told: Value = serde_json::from_slice(&output.stdout).unwrap();
        told["password"].as_str().unwrap().to_owned()
    }

    fn phone_with(&self, password: &str) -> Softphone {
        let profile = Profile::new("101", password, self.offhook.address(), PHONE_HZ);
        Softphone::start(&self.folder.path().join("101"), &profile)
    }

    /// A person outside calls the office, and somebody or something answers.
    fn call_from(&self, carrier: &Carrier) -> Call {
        let address = if carrier.is_secure() { self.tls } else { self.offhook.address() };
        let placed = carrier.call(&[address], NUMBER);
        placed.call.unwrap_or_else(|| panic!("not answered: {:?}\n{}", placed.attempts, self.offhook.log()))
    }

    /// The row of the call that has just ended.
    fn row(&self) -> Value {
        self.offhook.wait_for_log("Call ended", LIMIT);
        last_call(&self.offhook)
    }
}

/// TLS at `listen` with a certificate of `authority`, which is the only one that is believed.
fn settings_for_tls(authority: &Authority, listen: SocketAddr) -> Vec<String> {
    let own = authority.certify(&listen.ip().to_string());
    vec![
        "sip.tls.enabled=true".to_owned(),
        format!("sip.tls.port={}", listen.port()),
        format!("sip.tls.certificate={}", own.certificate.display()),
        format!("sip.tls.private_key={}", own.private_key.display()),
        format!("sip.tls.trust={}", authority.certificate().display()),
    ]
}

/// A carrier with TLS and SRTP, as it should be.
fn secure_carrier(authority: &Authority, suite: Suite) -> Carrier {
    let security = Security { authority, name: &EDGE.to_string(), suite: Some(suite) };
    Carrier::start_secure(EDGE, account(), &security)
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

fn assert_after_silence(took: Duration) {
    assert!((SILENCE..SILENCE + TOLERANCE).contains(&took), "the next address after {took:?}");
}

/// Refused in a way that sends the carrier elsewhere, and says when to come again.
fn assert_sent_elsewhere(attempt: &Attempt) {
    let status = attempt.status().unwrap_or_else(|| panic!("no answer: {attempt:?}"));
    assert_eq!(status, 503, "{attempt:?}");
    assert!(!stops_failover(status));
    let seconds: u32 = attempt.response.as_ref().unwrap().header("Retry-After").parse().unwrap();
    assert!(seconds > 0, "{attempt:?}");
}

/// An address where nobody is.
fn unplugged() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], free_port()))
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

/// Somebody outside takes the place of the phone, by the dialog that the phone has told it: the two outside are connected
/// and the phone is hung up. Nobody takes the place of a call that is over.
#[test]
fn a_call_from_outside_takes_the_place_of_a_phone() {
    if !is_installed("baresip") {
        return;
    }
    let carrier = Carrier::start(EDGE, account());
    let office = Office::open(&carrier, &Setup::default());
    let phone = office.phone();
    let first = office.call_from(&carrier);
    first.talk(Duration::from_secs(1));
    phone.wait_for_output("Call established");
    let address = office.offhook.address();
    // The phone was called: its own tag stands in To of its answer, ours in From. To us it is the other way round.
    let [call_id, theirs, ours] =
        phone.latest_dialog().split(';').map(str::to_owned).collect::<Vec<_>>().try_into().unwrap();
    let value = |parameter: &str| parameter.split_once('=').unwrap().1.to_owned();
    let named = format!("{call_id};to-tag={};from-tag={}", value(&ours), value(&theirs));
    let unanswered = carrier.call_in_place_of(&format!("{named};early-only"), address, NUMBER);
    assert_eq!(unanswered.attempts[0].status(), Some(486), "{:?}", unanswered.attempts);
    let second = carrier.call_in_place_of(&named, address, NUMBER).call.expect("answered in the place of the phone");
    phone.wait_for("CALL_CLOSED");
    office.offhook.wait_for_log("Replaced", LIMIT);
    first.talk(Duration::from_secs(3));
    second.talk(Duration::from_secs(1));
    let again = carrier.call_in_place_of(&named, address, NUMBER);
    assert_eq!(again.attempts[0].status(), Some(481), "{:?}", again.attempts);
    let outside = second.hang_up();
    let (_, other) = first.wait_for_bye();
    for heard in [outside, other] {
        let with_tone = seconds_with_tone(&heard.samples, OUTSIDE_HZ);
        assert!(with_tone.len() >= 2, "each other, in seconds {with_tone:?}");
    }
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
    assert_bridged(&office.row(), "outbound", "carrier", "caller_hangup");
    assert_both_heard(phone, &outside);
    office.offhook.stop();
}

/// Neither the night nor the box's own limits keep a call for help back, and whoever is to know of it is told.
#[test]
fn an_emergency_call_gets_through_and_is_told_in_the_office() {
    if !is_installed("baresip") || !is_installed("sipp") {
        return;
    }
    let carrier = Carrier::start(EDGE, account());
    let settings =
        ["outbound.access_code='9'", "outbound.allowed_prefixes=[]", "outbound.emergency_alert_extensions=['101']"];
    let office = Office::open(&carrier, &Setup { settings: &settings, ..Setup::default() });
    let password = office.password();
    let mut phone = office.phone_with(&password);
    // A second phone of the extension, which waits for a text.
    let reception = SippPhone::new(office.folder.path(), "101", &password)
        .register(&office.offhook, "uas-is-told.xml")
        .args(["-m", "1"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    phone.tell("dial", "9911");
    let ringing = carrier.wait_for_call(LIMIT);
    assert!(ringing.request.uri().starts_with("sip:911@"), "{:?}", ringing.request);
    assert_eq!(ringing.request.header("Priority"), "emergency");
    let seen = reception.wait_with_output().unwrap();
    assert!(seen.status.success(), "{}\n{}", String::from_utf8_lossy(&seen.stdout), office.offhook.log());
    let call = ringing.answer();
    phone.wait_for("CALL_ESTABLISHED");
    phone.tell("hangup", "");
    call.wait_for_bye();
    office.offhook.stop();
}

/// What the carrier plays before the answer is heard at the phone, and goes on after it.
#[test]
fn a_phone_hears_the_carrier_before_the_answer() {
    if !is_installed("baresip") {
        return;
    }
    let carrier = Carrier::start(EDGE, account());
    let office = Office::open(&carrier, &Setup::default());
    let mut phone = office.phone();
    phone.tell("dial", "(212)555-0199");
    let mut ringing = carrier.wait_for_call(LIMIT);
    ringing.play_early();
    phone.wait_for("CALL_PROGRESS");
    let until = Instant::now() + Duration::from_secs(4);
    tests::poll(LIMIT, || (Instant::now() >= until).then_some(()));
    assert!(!phone.output().contains("Call established"), "{}", phone.output());
    let call = ringing.answer();
    phone.wait_for("CALL_ESTABLISHED");
    call.talk(Duration::from_secs(2));
    let outside = call.hang_up();
    phone.wait_for("CALL_CLOSED");
    let with_tone = seconds_with_tone(&outside.samples, PHONE_HZ);
    assert!(!with_tone.is_empty(), "outside hears the phone in seconds {with_tone:?}");
    let with_tone = seconds_with_tone(&phone.heard(), OUTSIDE_HZ);
    assert!(with_tone.len() >= 5, "the phone hears outside in seconds {with_tone:?}");
    office.offhook.stop();
}

/// The same on a secure trunk: signalling by TLS, sound by SRTP, with either suite of the carrier. Our BYE goes back
/// over the carrier's own connection.
#[test]
fn a_call_from_outside_on_a_secure_trunk_is_the_same_call() {
    if !is_installed("baresip") {
        return;
    }
    for suite in [Suite::AesCm128HmacSha1_80, Suite::AesCm128HmacSha1_32] {
        let authority = Authority::new();
        let carrier = secure_carrier(&authority, suite);
        let office = Office::open(&carrier, &Setup { authority: Some(&authority), ..Setup::default() });
        let mut phone = office.phone();
        let call = office.call_from(&carrier);
        call.talk(Duration::from_secs(5));
        phone.tell("hangup", "");
        let (bye, outside) = call.wait_for_bye();
        let route = bye.list("Route");
        assert!(uri_in(&route[0]).contains(";transport=tls;"), "{bye:?}");
        let row = office.row();
        assert_bridged(&row, "inbound", "carrier", "callee_hangup");
        assert_both_heard(phone, &outside);
        let log = office.offhook.stop();
        assert!(log.contains("srtp=true"), "{log}");
        assert!(!log.contains("inline:"), "a key is in the log:\n{log}");
    }
}

/// Calls to a secure trunk go over TLS, whatever is between the proxies; who hangs up outside finds our listener by our
/// Contact.
#[test]
fn a_phone_calls_outside_on_a_secure_trunk() {
    if !is_installed("baresip") {
        return;
    }
    for suite in [Suite::AesCm128HmacSha1_80, Suite::AesCm128HmacSha1_32] {
        let authority = Authority::new();
        let carrier = secure_carrier(&authority, suite);
        let office = Office::open(&carrier, &Setup { authority: Some(&authority), ..Setup::default() });
        let mut phone = office.phone();
        phone.tell("dial", "(212)555-0199");
        let ringing = carrier.wait_for_call(LIMIT);
        assert_eq!(carrier.refusals(), [407], "asked once who we are");
        let contact = uri_in(ringing.request.header("Contact"));
        assert!(contact.ends_with(&format!("@{};transport=tls", office.tls)), "{:?}", ringing.request);
        let call = ringing.answer();
        phone.wait_for("CALL_ESTABLISHED");
        call.talk(Duration::from_secs(5));
        let outside = call.hang_up();
        assert_bridged(&office.row(), "outbound", "carrier", "callee_hangup");
        assert_both_heard(phone, &outside);
        office.offhook.stop();
    }
}

/// All or nothing: neither signalling without TLS nor sound without SRTP, whoever it comes from.
#[test]
fn a_secure_trunk_takes_nothing_in_the_clear() {
    let authority = Authority::new();
    let plain = Carrier::start(EDGE, account());
    let security = Security { authority: &authority, name: &EDGE.to_string(), suite: None };
    let half = Carrier::start_secure(EDGE, account(), &security);
    let setup = Setup { authority: Some(&authority), to: Some("attendant"), ..Setup::default() };
    let office = Office::open(&half, &setup);
    let placed = plain.call(&[office.offhook.address()], NUMBER);
    assert_eq!(placed.attempts[0].status(), Some(403), "{:?}", placed.attempts);
    let placed = half.call(&[office.tls], NUMBER);
    assert_eq!(placed.attempts[0].status(), Some(488), "{:?}", placed.attempts);
    // What it does take.
    let carrier = secure_carrier(&authority, Suite::AesCm128HmacSha1_80);
    let call = office.call_from(&carrier);
    call.talk(Duration::from_secs(1));
    call.hang_up();
    office.offhook.stop();
}

/// Whoever answers at the carrier's address without being the carrier gets no call, no number and no password.
#[test]
fn a_carrier_with_the_certificate_of_another_is_not_called() {
    if !is_installed("baresip") {
        return;
    }
    let authority = Authority::new();
    let security =
        Security { authority: &authority, name: "other.example.com", suite: Some(Suite::AesCm128HmacSha1_80) };
    let carrier = Carrier::start_secure(EDGE, account(), &security);
    let office = Office::open(&carrier, &Setup { authority: Some(&authority), ..Setup::default() });
    let mut phone = office.phone();
    phone.tell("dial", "(212)555-0199");
    phone.wait_for("CALL_CLOSED");
    office.offhook.wait_for_log("Call ended before it was answered", LIMIT);
    let row = last_call(&office.offhook);
    assert_eq!(row["session"]["hangup_cause"], "trunk_failed", "{row:#}");
    assert!(!carrier.was_called());
    let log = office.offhook.stop();
    assert!(log.contains("is for another name than"), "{log}");
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
    assert_eq!(row["session"]["trunk"], "carrier", "{row:#}");
    assert_eq!(row["session"]["hangup_cause"], "trunk_failed", "{row:#}");
    assert_eq!(row["session"]["termination"], "upstream_error", "{row:#}");
    office.offhook.stop();
}

/// The phone sends whoever called from outside on to a number outside, on a trunk that does that: the carrier is asked to
/// connect the two, everybody is hung up on once it has, and the box has dialled nobody.
#[test]
fn a_transfer_to_outside_is_left_to_the_carrier() {
    if !is_installed("baresip") {
        return;
    }
    let carrier = Carrier::start(EDGE, account());
    carrier.take_transfers();
    let office = Office::open(&carrier, &Setup { trunk: "transfers_by_refer = true", ..Setup::default() });
    let mut phone = office.phone();
    let call = office.call_from(&carrier);
    phone.wait_for("CALL_ESTABLISHED");
    call.talk(Duration::from_secs(1));
    phone.tell("transfer", "(212)555-0199");
    assert_eq!(call.wait_for_refer(), "sip:+12125550199@office.pstn.example.com");
    call.notify("100 Trying", false);
    call.notify("200 OK", true);
    call.wait_for_bye();
    phone.wait_for("CALL_CLOSED");
    let row = office.row();
    assert_eq!(row["session"]["hangup_cause"], "transferred", "{row:#}");
    // Somebody who is busy for the carrier is not dialled as well. This phone then hangs up by itself.
    let call = office.call_from(&carrier);
    phone.wait_for("CALL_ESTABLISHED");
    phone.tell("transfer", "(212)555-0188");
    assert_eq!(call.wait_for_refer(), "sip:+12125550188@office.pstn.example.com");
    call.notify("486 Busy Here", true);
    office.offhook.wait_for_log("Transfer failed status=486", LIMIT);
    call.wait_for_bye();
    assert!(!carrier.was_called());
    office.offhook.stop();
}

/// The same on a trunk that does not do it after all: the number is dialled, and the two hear each other through the box.
#[test]
fn a_transfer_that_the_carrier_refuses_is_dialled() {
    if !is_installed("baresip") {
        return;
    }
    let carrier = Carrier::start(EDGE, account());
    let office = Office::open(&carrier, &Setup { trunk: "transfers_by_refer = true", ..Setup::default() });
    let mut phone = office.phone();
    let first = office.call_from(&carrier);
    phone.wait_for("CALL_ESTABLISHED");
    phone.tell("transfer", "(212)555-0199");
    let second = carrier.wait_for_call(LIMIT).answer();
    phone.wait_for("CALL_CLOSED");
    first.talk(Duration::from_secs(3));
    let heard = second.hang_up();
    let with_tone = seconds_with_tone(&heard.samples, OUTSIDE_HZ);
    assert!(with_tone.len() >= 2, "each other, in seconds {with_tone:?}");
    first.wait_for_bye();
    office.offhook.stop();
}

/// The carrier sends the phone on: as far as its calls get, which is not outside.
#[test]
fn a_carrier_that_transfers_gets_as_far_as_its_calls() {
    if !is_installed("baresip") {
        return;
    }
    let carrier = Carrier::start(EDGE, account());
    let second_number = "+12125550143";
    let to_the_attendant = format!("concurrent_limit = 9\n[[inbound]]\nnumber = '{second_number}'\nto = 'attendant'");
    let office = Office::open(&carrier, &Setup { trunk: &to_the_attendant, ..Setup::default() });
    let phone = office.phone();
    let call = office.call_from(&carrier);
    phone.wait_for("CALL_ESTABLISHED");
    let answer = call.refer(&format!("sip:{second_number}@{}", office.offhook.address()));
    assert_eq!(answer.status(), Some(202), "{answer:?}");
    call.wait_for_bye();
    office.offhook.wait_for_log("Transferred", LIMIT);
    assert!(!carrier.was_called());
    drop(phone);
    office.offhook.stop();
}

/// The screen of the box says whether the trunk answers, whether the phones are there, and what has changed.
#[test]
fn the_status_shows_the_trunk_and_the_phones() {
    if !is_installed("baresip") {
        return;
    }
    let carrier = Carrier::start(EDGE, account());
    let asked = Setup { trunk: "options_interval_seconds = 15", ..Setup::default() };
    let office = Office::open(&carrier, &asked);
    let status = || -> Value { serde_json::from_slice(&office.offhook.run(&["status", "--json"]).stdout).unwrap() };
    office.offhook.wait_for_log("Trunk answers", LIMIT);
    let without = std::iter::repeat_with(status).take(100).find(|status| status["trunks"][0]["answers"] == true);
    let without = without.unwrap_or_else(|| panic!("{:#}", status()));
    assert_eq!(without["phones"], serde_json::json!({ "extensions": 1, "registered": 0, "without": ["101"] }));
    let _phone = office.phone();
    office.offhook.wait_for_log("Registrations of an extension changed", LIMIT);
    drop(carrier);
    office.offhook.wait_for_log("Trunk does not answer", LIMIT * 2);
    // It is written soon after it is said.
    let after = std::iter::repeat_with(status).take(100).find(|status| status["trunks"][0]["answers"] == false);
    let after = after.unwrap_or_else(|| panic!("{:#}", status()));
    assert_eq!(after["phones"]["registered"], 1, "{after:#}");
    office.offhook.stop();
}

/// The first of the box's addresses is dead: the carrier's call comes in by the second.
#[test]
fn a_dead_address_of_ours_sends_the_carrier_to_the_next() {
    let carrier = Carrier::start(EDGE, account());
    let office = Office::open(&carrier, &Setup { to: Some("attendant"), ..Setup::default() });
    let placed = carrier.call(&[unplugged(), office.offhook.address()], NUMBER);
    assert_eq!(placed.attempts[0].status(), None, "{:?}", placed.attempts);
    assert_after_silence(placed.attempts[0].took);
    let call = placed.call.expect("answered at the second address");
    call.talk(Duration::from_secs(1));
    call.hang_up();
    assert_eq!(office.row()["session"]["hangup_cause"], "caller_hangup");
    office.offhook.stop();
}

/// A box that is about to stop sends new calls to the second box, and lets the one that is up finish.
#[test]
fn a_draining_box_sends_the_carrier_to_the_next() {
    let carrier = Carrier::start(EDGE, account());
    let attended = Setup { to: Some("attendant"), ..Setup::default() };
    let (stopping, other) = (Office::open(&carrier, &attended), Office::open(&carrier, &attended));
    let first = stopping.call_from(&carrier);
    stopping.offhook.begin_stop();
    stopping.offhook.wait_for_log("Draining", LIMIT);
    let placed = carrier.call(&[stopping.offhook.address(), other.offhook.address()], NUMBER);
    assert_sent_elsewhere(&placed.attempts[0]);
    let second = placed.call.expect("answered by the other box");
    first.talk(Duration::from_secs(1));
    second.talk(Duration::from_secs(1));
    first.hang_up();
    stopping.offhook.wait_until_stopped();
    second.hang_up();
    assert_eq!(other.row()["session"]["hangup_cause"], "caller_hangup");
    other.offhook.stop();
}

/// A full box is never busy: that would end the call, wherever else it could go.
#[test]
fn a_full_box_sends_the_carrier_to_the_next() {
    let carrier = Carrier::start(EDGE, account());
    let setup = Setup { to: Some("attendant"), settings: &["calls.concurrent_limit=1"], ..Setup::default() };
    let office = Office::open(&carrier, &setup);
    let first = office.call_from(&carrier);
    let placed = carrier.call(&[office.offhook.address(); 2], NUMBER);
    assert_eq!(placed.attempts.len(), 2, "the carrier goes on: {:?}", placed.attempts);
    placed.attempts.iter().for_each(assert_sent_elsewhere);
    first.talk(Duration::from_secs(1));
    first.hang_up();
    assert_eq!(office.row()["session"]["hangup_cause"], "caller_hangup");
    office.offhook.stop();
}

/// The carrier's first address is dead: our call goes out by the second, and the next call does not wait for it again.
#[test]
fn a_dead_address_of_the_carrier_sends_us_to_the_next() {
    if !is_installed("baresip") {
        return;
    }
    let carrier = Carrier::start(EDGE, account());
    let dead = UdpSocket::bind((Ipv4Addr::new(127, 0, 1, 9), 0)).unwrap();
    let hosts = Some(vec![dead.local_addr().unwrap(), carrier.address()]);
    let office = Office::open(&carrier, &Setup { hosts, ..Setup::default() });
    let mut phone = office.phone();
    for is_known_dead in [false, true] {
        let dialled = Instant::now();
        phone.tell("dial", "(212)555-0199");
        let ringing = carrier.wait_for_call(LIMIT);
        if is_known_dead {
            assert!(dialled.elapsed() < SILENCE, "waited again: {:?}", dialled.elapsed());
        } else {
            assert_after_silence(dialled.elapsed());
        }
        let call = ringing.answer();
        call.talk(Duration::from_secs(1));
        phone.tell("hangup", "");
        call.wait_for_bye();
        assert_eq!(office.row()["session"]["hangup_cause"], "caller_hangup");
    }
    dead.set_nonblocking(true).unwrap();
    let mut buffer = [0; 4_096];
    let tried =
        std::iter::from_fn(|| dead.recv(&mut buffer).ok().map(|length| buffer[..length].starts_with(b"INVITE ")));
    assert!(tried.filter(|is_invite| *is_invite).count() >= 2, "asked, and asked again, before it is given up");
    office.offhook.stop();
}

/// Whoever is nobody gets no answer, whatever it sends and however much; people who talk meanwhile lose nothing.
#[test]
fn a_strangers_flood_is_met_with_silence_and_costs_no_packet() {
    if !is_installed("baresip") {
        return;
    }
    let carrier = Carrier::start(EDGE, account());
    let stranger = Carrier::start(STRANGER, account());
    let office = Office::open(&carrier, &Setup::default());
    let phone = office.phone();
    let address = office.offhook.address();
    let call = office.call_from(&carrier);
    let targets = [address, call.sound_of_the_box()];
    std::thread::scope(|scope| {
        let flood = scope.spawn(|| flood(&targets));
        assert_eq!(carrier.ping(address), Some(200), "in the midst of it the carrier is answered");
        assert_eq!(stranger.ping(address), None);
        call.talk(Duration::from_secs(1));
        assert_eq!(flood.join().unwrap(), 0, "answers to the flood");
    });
    let placed = stranger.call(&[address], NUMBER);
    assert!(placed.attempts[0].response.is_none(), "{:?}", placed.attempts);
    assert!(placed.attempts[0].provisional.is_empty(), "{:?}", placed.attempts);
    let outside = call.hang_up();
    assert_bridged(&office.row(), "inbound", "carrier", "caller_hangup");
    assert_both_heard(phone, &outside);
    office.offhook.stop();
}

/// 2 000 datagrams a second for 5 s from a stranger, to each of `targets` in turn; how many answers came.
fn flood(targets: &[SocketAddr]) -> usize {
    const TICK: Duration = Duration::from_millis(10);
    const TICKS: u32 = 500;
    const EACH_TICK: usize = 20;
    let socket = UdpSocket::bind((STRANGER, 0)).unwrap();
    socket.set_nonblocking(true).unwrap();
    let invite = format!(
        "INVITE sip:{NUMBER}@127.0.0.1 SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.9.9:5060;branch=z9hG4bKx;rport\r\n\
         From: <sip:101@127.0.0.1>;tag=1\r\nTo: <sip:{NUMBER}@127.0.0.1>\r\nCall-ID: x\r\nCSeq: 1 INVITE\r\n\
         Contact: <sip:101@127.0.9.9>\r\nMax-Forwards: 70\r\nContent-Length: 0\r\n\r\n"
    );
    let mut rtp = vec![0x80, 0, 0xFF, 0xFF, 0, 0, 0, 1, 0x66, 0x66, 0x66, 0x66];
    rtp.extend([0x80; 160]);
    let junk = [invite.as_bytes(), &rtp, &[0xFF; 1_400], b"\0", b"OPTIONS"];
    let began = Instant::now();
    for tick in 0..TICKS {
        for (packet, target) in (0..EACH_TICK).zip(targets.iter().cycle()) {
            socket.send_to(junk[(packet / targets.len() + tick as usize) % junk.len()], target).unwrap();
        }
        std::thread::sleep((began + TICK * (tick + 1)).saturating_duration_since(Instant::now()));
    }
    assert!(began.elapsed() < TICK * TICKS * 2, "this machine cannot even send so much");
    let mut buffer = [0; 2_048];
    std::iter::from_fn(|| socket.recv(&mut buffer).ok()).count()
}
