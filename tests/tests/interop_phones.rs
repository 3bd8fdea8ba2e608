//! Two desk phones (baresip) of one office: they register, call each other and the box, hold, transfer.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use tests::office::{EXTENSIONS, Office, TONES_HZ, talk};
use tests::peers::{is_installed, last_call, wav_of_speech};
use tests::softphone::{Codec, Profile, Softphone, seconds_with_tone, seconds_with_tone_at};

const PROGRAM: &str = env!("CARGO_BIN_EXE_offhook-under-test");
const LIMIT: Duration = Duration::from_secs(30);
/// Both hear the other's tone, and nothing of it is lost on the way through the box.
#[test]
fn two_phones_talk_through_the_box() {
    if !is_installed("baresip") {
        return;
    }
    let office = Office::open(PROGRAM, "");
    let (mut caller, callee) = (office.phone(0), office.phone(1));
    caller.tell("dial", &office.uri("102"));
    caller.wait_for("CALL_ESTABLISHED");
    callee.wait_for_output("Call established");
    talk(Duration::from_secs(5));
    caller.tell("hangup", "");
    callee.wait_for("CALL_CLOSED");
    office.offhook.wait_for_log("Call ended", LIMIT);

    let call = last_call(&office.offhook);
    assert_eq!(call["session"]["hangup_cause"], "caller_hangup", "{call:#}");
    assert_eq!(call["session"]["disposition"], "answered_by_person", "{call:#}");
    let legs = call["metrics"].as_array().unwrap();
    assert_eq!(legs.len(), 2, "{call:#}");
    for leg in legs {
        assert!(leg["packets_received"].as_u64().unwrap() > 150, "{call:#}");
        assert_eq!(leg["packets_lost"], 0, "{call:#}");
    }
    for (phone, other) in [(caller, TONES_HZ[1]), (callee, TONES_HZ[0])] {
        let heard = phone.heard();
        let seconds = seconds_with_tone(&heard, other);
        assert!(seconds.len() >= 3, "{other} Hz was heard in seconds {seconds:?} of {}", heard.len() / 8_000);
    }
    let log = office.offhook.stop();
    for secret in ["101@", "102@", "sip:", &office.passwords[0], "Desk"] {
        assert!(!log.contains(secret), "{secret:?} is in the log:\n{log}");
    }
}

/// What is too high for a telephone passes between phones that can have it, and each pair of codecs understands the other.
#[test]
fn phones_talk_wideband() {
    if !is_installed("baresip") || !is_installed("sox") {
        return;
    }
    // The codecs, what each says, and whether the other can hear that.
    for (caller, callee, tones, is_wide) in [
        (Codec::G722, Codec::G722, [5_500, 6_300], true),
        (Codec::Opus, Codec::G722, [5_500, 6_300], true),
        (Codec::Opus, Codec::Pcmu, [700, 1_100], false),
    ] {
        let office = Office::open(PROGRAM, "");
        let start = |index: usize, codec, tone_hz| {
            let profile = Profile { codec, tone_hz, ..office.profile(index) };
            Softphone::start(&office.folder.path().join(EXTENSIONS[index]), &profile)
        };
        let (mut first, second) = (start(0, caller, tones[0]), start(1, callee, tones[1]));
        first.tell("dial", &office.uri("102"));
        first.wait_for("CALL_ESTABLISHED");
        talk(Duration::from_secs(4));
        first.tell("hangup", "");
        office.offhook.wait_for_log("Call ended", LIMIT);
        let call = last_call(&office.offhook);
        let codecs: Vec<_> = call["metrics"].as_array().unwrap().iter().map(|leg| leg["codec"].clone()).collect();
        assert_eq!(codecs.len(), 2, "{call:#}");
        for (phone, codec, tone_hz) in [(first, caller, tones[1]), (second, callee, tones[0])] {
            let heard = phone.heard();
            let seconds = seconds_with_tone_at(&heard, tone_hz, codec.sample_rate());
            assert!(
                seconds.len() >= 2,
                "{codec:?} hears {tone_hz} Hz in seconds {seconds:?}, wide: {is_wide}; {codecs:?}"
            );
        }
        office.offhook.stop();
    }
}

/// Somebody on hold hears the box's notes and not the colleague, for longer than a silent phone would be kept; then both
/// hear each other again. `OFFHOOK_HOLD_SECONDS` holds for longer.
#[test]
fn a_phone_holds_and_comes_back() {
    if !is_installed("baresip") {
        return;
    }
    let office = Office::open(PROGRAM, "[media]\nno_rtp_timeout_seconds = 5");
    let (mut caller, callee) = (office.phone(0), office.phone(1));
    caller.tell("dial", &office.uri("102"));
    caller.wait_for("CALL_ESTABLISHED");
    talk(Duration::from_secs(3));
    caller.tell("hold", "");
    office.offhook.wait_for_log("On hold", LIMIT);
    let seconds = std::env::var("OFFHOOK_HOLD_SECONDS").map_or(8, |text| text.parse().unwrap());
    talk(Duration::from_secs(seconds));
    caller.tell("resume", "");
    office.offhook.wait_for_log("Off hold", LIMIT);
    talk(Duration::from_secs(3));
    caller.tell("hangup", "");
    office.offhook.wait_for_log("Call ended", LIMIT);
    assert_eq!(last_call(&office.offhook)["session"]["hangup_cause"], "caller_hangup");

    let heard = callee.heard();
    let with_tone = seconds_with_tone(&heard, TONES_HZ[0]);
    let (first, last) = (with_tone.first().copied().unwrap(), with_tone.last().copied().unwrap());
    let gap: Vec<usize> = (first..=last).filter(|second| !with_tone.contains(second)).collect();
    assert!(gap.len() as u64 + 1 >= seconds, "held in seconds {gap:?}, tone in {with_tone:?}");
    assert!(with_tone.iter().any(|second| second > gap.last().unwrap()), "resumed: {with_tone:?}");
    let on_hold = &heard[gap[1] * 8_000..(gap[1] + 4) * 8_000];
    let level = audio::dsp::level::rms_dbov(on_hold);
    assert!((-42.0..-25.0).contains(&level), "notes at {level} dBov");
    for leg in last_call(&office.offhook)["metrics"].as_array().unwrap() {
        // baresip reports every five seconds (RTCP).
        assert!(leg["round_trip_ms"].as_f64().is_some_and(|ms| ms < 1_000.0), "{leg:#}");
        assert!(leg["mos"].as_f64().is_some_and(|mos| mos > 3.5), "{leg:#}");
    }
    // Its last recording begins when it comes back.
    assert!(seconds_with_tone(&caller.heard(), TONES_HZ[1]).len() >= 2);
    office.offhook.stop();
}

/// The one who was called sends the caller on; the phones that are left hear each other.
#[test]
fn a_blind_transfer_connects_the_other_two() {
    if !is_installed("baresip") {
        return;
    }
    let office = Office::open(PROGRAM, "");
    let (mut caller, mut callee, third) = (office.phone(0), office.phone(1), office.phone(2));
    caller.tell("dial", &office.uri("102"));
    callee.wait_for_output("Call established");
    talk(Duration::from_secs(2));
    callee.tell("transfer", &office.uri("103"));
    office.offhook.wait_for_log("Transferred", LIMIT);
    third.wait_for_output("Call established");
    talk(Duration::from_secs(4));
    caller.tell("hangup", "");
    office.offhook.wait_for_log("Call ended", LIMIT);
    assert_eq!(last_call(&office.offhook)["session"]["hangup_cause"], "caller_hangup");
    assert!(seconds_with_tone(&caller.heard(), TONES_HZ[2]).len() >= 2, "the caller hears the third phone");
    assert!(seconds_with_tone(&third.heard(), TONES_HZ[0]).len() >= 2, "and is heard by it");
    office.offhook.stop();
}

/// The one who was called asks a third first, and then connects the two: its own two calls are hung up.
#[test]
fn an_attended_transfer_connects_the_other_two() {
    if !is_installed("baresip") {
        return;
    }
    let office = Office::open(PROGRAM, "");
    let (mut caller, mut callee, third) = (office.phone(0), office.phone(1), office.phone(2));
    caller.tell("dial", &office.uri("102"));
    callee.wait_for_output("Call established");
    callee.tell("hold", "");
    office.offhook.wait_for_log("On hold", LIMIT);
    callee.tell("dial", &office.uri("103"));
    third.wait_for_output("Call established");
    talk(Duration::from_secs(2));
    let replaces = callee.latest_dialog().replace(';', "%3B").replace('=', "%3D");
    callee.tell("line", "1");
    callee.tell("transfer", &format!("<{}?Replaces={replaces}>", office.uri("103")));
    callee.wait_for_output("REFER sip:");
    office.offhook.wait_for_log("Transferred", LIMIT);
    talk(Duration::from_secs(4));
    caller.tell("hangup", "");
    third.wait_for("CALL_CLOSED");
    assert!(seconds_with_tone(&caller.heard(), TONES_HZ[2]).len() >= 2, "the caller hears the third phone");
    assert!(seconds_with_tone(&third.heard(), TONES_HZ[0]).len() >= 2, "and is heard by it");
    office.offhook.stop();
}

/// A phone with a wrong password is not let in, is told nothing, and is banned once it has guessed too often.
#[test]
fn a_guesser_learns_nothing_and_is_banned() {
    if !is_installed("baresip") {
        return;
    }
    for (extension, password) in [("101", "not-the-password"), ("999", "of-nobody")] {
        let office = Office::open(PROGRAM, "");
        let profile = Profile { extension, password, ..office.profile(0) };
        let _phone = Softphone::start_unregistered(&office.folder.path().join("guesser"), &profile);
        office.offhook.wait_for_log("is banned for a while", LIMIT);
        let log = office.offhook.stop();
        for secret in ["sip:", password] {
            assert!(!log.contains(secret), "{secret:?} is in the log:\n{log}");
        }
        assert!(!log.contains("Registrations"), "{log}");
    }
}

/// Somebody leaves a message for the office: a phone that watches its lamp is told. SIPp is the phone, since baresip 1.0
/// now and then says that it subscribes and sends nothing.
#[test]
fn a_message_lights_the_lamp() {
    if !is_installed("sipp") {
        return;
    }
    let office = Office::open(PROGRAM, "");
    let scenario = Path::new(env!("CARGO_MANIFEST_DIR")).join("interop/uac-watches-the-lamp.xml");
    let phone = Command::new("sipp")
        .arg(office.offhook.address().to_string())
        .args(["-sf", scenario.to_str().unwrap(), "-s", "101", "-au", "101", "-ap", &office.passwords[0]])
        // Else it signs for a URI that it does not ask for.
        .args(["-auth_uri", &format!("101@{}", office.offhook.address())])
        .args(["-m", "1", "-nostdin", "-i", "127.0.0.1", "-timeout", "60s", "-trace_err"])
        .current_dir(office.folder.path())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    office.offhook.wait_for_log("Subscription", LIMIT);
    let speech = office.folder.path().join("speech.wav");
    wav_of_speech(PROGRAM, &speech, "Please call me back.");
    let (uri, speech) = (office.offhook.uri(), speech.to_str().unwrap());
    // Without a voice the box asks for a message with a tone, and nothing else.
    office.offhook.run(&["call", &uri, "--say", speech]);
    let seen = phone.wait_with_output().unwrap();
    assert!(seen.status.success(), "{}\n{}", String::from_utf8_lossy(&seen.stdout), office.offhook.log());
    office.offhook.stop();
}
