//! What desk phones (baresip) get of the box by a code: calls that are taken, parked, forwarded or not wanted; and queues.
#![expect(clippy::unwrap_used, reason = "a helper that fails fails its test")]

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use audio::time::SampleRate;
use tests::load::scenario;
use tests::offhook::Offhook;
use tests::office::{Office, TONES_HZ, talk};
use tests::peers::{is_installed, last_call};
use tests::sipp_phone::SippPhone;
use tests::softphone::{Profile, Softphone, seconds_with_tone, seconds_with_tone_at};

const PROGRAM: &str = env!("CARGO_BIN_EXE_offhook-under-test");
const LIMIT: Duration = Duration::from_secs(30);
const GERMANY: &str = "[office]\nname = 'Praxis'\ntime_zone = 'Europe/Berlin'\ncountry = 'DE'\n";

/// Dials a code and waits until it is done.
fn dial_code(office: &Office, phone: &mut Softphone, code: &str) {
    let before = count(office, "feature_code");
    phone.tell("dial", &office.uri(code));
    let is_done = || (count(office, "feature_code") > before).then_some(());
    assert!(tests::poll(LIMIT, is_done).is_some(), "{code} is not done:\n{}", office.offhook.log());
}

fn count(office: &Office, text: &str) -> usize {
    office.offhook.log().matches(text).count()
}

fn wait_for_count(office: &Office, text: &str, count_wanted: usize) {
    let has_come = || (count(office, text) >= count_wanted).then_some(());
    assert!(tests::poll(LIMIT, has_come).is_some(), "{text} not {count_wanted} times:\n{}", office.offhook.log());
}

fn assert_hears(phone: Softphone, tone_hz: u32) {
    let heard = phone.heard();
    let seconds = seconds_with_tone(&heard, tone_hz);
    assert!(seconds.len() >= 2, "{tone_hz} Hz was heard in seconds {seconds:?} of {}", heard.len() / 8_000);
}

/// Whoever does not want to be disturbed is not; the caller gets the attendant. Then the phone rings again.
#[test]
fn do_not_disturb_sends_callers_to_the_attendant() {
    if !is_installed("baresip") {
        return;
    }
    let office = Office::open(PROGRAM, "");
    let (mut caller, mut callee) = (office.phone(0), office.phone(1));
    dial_code(&office, &mut callee, "*78");
    caller.tell("dial", &office.uri("102"));
    wait_for_count(&office, "Call answered", 2);
    assert_eq!(count(&office, "Phones ring"), 0, "{}", office.offhook.log());
    caller.tell("hangup", "");
    wait_for_count(&office, "Call ended", 2);
    assert_eq!(last_call(&office.offhook)["session"]["disposition"], "answered_by_attendant");
    dial_code(&office, &mut callee, "*79");
    caller.tell("dial", &office.uri("102"));
    wait_for_count(&office, "Phones ring", 1);
    callee.wait_for_output("Call established");
    caller.tell("hangup", "");
    office.offhook.stop();
}

/// Calls go where the called one has said, and a number that may not be called is refused.
#[test]
fn forwarded_calls_ring_elsewhere() {
    if !is_installed("baresip") {
        return;
    }
    let office = Office::open(PROGRAM, "");
    let (mut caller, mut callee, third) = (office.phone(0), office.phone(1), office.phone(2));
    callee.tell("dial", &office.uri("*7219005550199"));
    office.offhook.wait_for_log("number_not_allowed", LIMIT);
    dial_code(&office, &mut callee, "*72103");
    caller.tell("dial", &office.uri("102"));
    third.wait_for_output("Call established");
    talk(Duration::from_secs(4));
    caller.tell("hangup", "");
    third.wait_for("CALL_CLOSED");
    assert_hears(caller, TONES_HZ[2]);
    assert_hears(third, TONES_HZ[0]);
    office.offhook.stop();
}

/// Both hear that the talk is recorded; the file has each on its own side, and silence while the recording is paused. A
/// killed box loses nothing of it but the last moment.
#[test]
fn a_talk_is_recorded_in_two_channels() {
    if !is_installed("baresip") {
        return;
    }
    for kills in [false, true] {
        let office = Office::open(PROGRAM, "[recording]\npeople_enabled = true");
        let (mut caller, callee) = (office.phone(0), office.phone(1));
        caller.tell("dial", &office.uri("102"));
        caller.wait_for("CALL_ESTABLISHED");
        talk(Duration::from_secs(4));
        caller.tell("sndcode", "*1");
        office.offhook.wait_for_log("paused=true", LIMIT);
        talk(Duration::from_secs(3));
        caller.tell("sndcode", "*1");
        office.offhook.wait_for_log("paused=false", LIMIT);
        talk(Duration::from_secs(4));
        let box_again = match kills {
            true => {
                office.offhook.kill();
                let file = office.folder.path().join("offhook.toml");
                Offhook::start_wordless(Path::new(PROGRAM), office.folder.path(), &file, &[])
            }
            false => {
                caller.tell("hangup", "");
                office.offhook.wait_for_log("Call ended", LIMIT);
                office.offhook
            }
        };
        let row = last_call(&box_again);
        let recording = &row["recordings"][0];
        assert_eq!(recording["state"], if kills { "recovered" } else { "complete" }, "{row:#}");
        let seconds = recording["duration_ms"].as_u64().unwrap() / 1_000;
        assert!((10..30).contains(&seconds), "{row:#}");
        let wav = office.folder.path().join("call.wav");
        let id = row["session"]["call_id"].as_str().unwrap().to_owned();
        let output = box_again.run(&["calls", "audio", &id, "--output", wav.to_str().unwrap()]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let [left, right] = channels(&wav);
        for (side, own, other) in [(left, 0, 1), (right, 1, 0)] {
            let with_own = seconds_with_tone(&side, TONES_HZ[own]);
            assert!(with_own.len() >= 5, "{own}: {with_own:?}");
            assert!(seconds_with_tone(&side, TONES_HZ[other]).is_empty(), "the other side is on it too");
            let quiet = side.chunks_exact(8_000).filter(|second| second.iter().all(|sample| *sample == 0)).count();
            assert!(quiet >= 2, "{quiet} seconds of silence while it was paused");
        }
        box_again.stop();
        drop((caller, callee));
    }
}

/// The two sides of a recording, as SoX splits them.
fn channels(wav: &Path) -> [Vec<i16>; 2] {
    ["1", "2"].map(|channel| {
        let side = wav.with_extension(format!("{channel}.wav"));
        let split = Command::new("sox").arg(wav).arg(&side).args(["remix", channel]).status().unwrap();
        assert!(split.success());
        audio::wav::read(&side).unwrap().samples
    })
}

/// A third phone takes the call that rings at a colleague's, who shows no missed call.
#[test]
fn a_ringing_call_is_picked_up_elsewhere() {
    if !is_installed("baresip") {
        return;
    }
    let office = Office::open(PROGRAM, "");
    let profile = Profile { answers: false, ..office.profile(1) };
    let away = Softphone::start(&office.folder.path().join("away"), &profile);
    let (mut caller, mut third) = (office.phone(0), office.phone(2));
    third.tell("dial", &office.uri("*8102"));
    office.offhook.wait_for_log("nothing_to_pick_up", LIMIT);
    caller.tell("dial", &office.uri("102"));
    away.wait_for("CALL_INCOMING");
    third.tell("dial", &office.uri("*8102"));
    caller.wait_for("CALL_ESTABLISHED");
    away.wait_for_output("Call completed elsewhere");
    talk(Duration::from_secs(4));
    caller.tell("hangup", "");
    wait_for_count(&office, "Call ended", 3);
    assert_hears(caller, TONES_HZ[2]);
    assert_hears(third, TONES_HZ[0]);
    office.offhook.stop();
}

/// A call is left at a place, hears music there, and another phone takes it.
#[test]
fn a_parked_call_is_taken_by_another_phone() {
    if !is_installed("baresip") {
        return;
    }
    let office = Office::open(PROGRAM, "");
    let (mut caller, mut callee, mut third) = (office.phone(0), office.phone(1), office.phone(2));
    caller.tell("dial", &office.uri("102"));
    callee.wait_for_output("Call established");
    talk(Duration::from_secs(2));
    callee.tell("transfer", &office.uri("*51"));
    office.offhook.wait_for_log("Parked", LIMIT);
    callee.wait_for("CALL_CLOSED");
    talk(Duration::from_secs(4));
    third.tell("dial", &office.uri("*51"));
    third.wait_for("CALL_ESTABLISHED");
    talk(Duration::from_secs(4));
    caller.tell("hangup", "");
    third.wait_for("CALL_CLOSED");
    let heard = caller.heard();
    let of_third = seconds_with_tone(&heard, TONES_HZ[2]);
    assert!(of_third.len() >= 2, "{of_third:?}");
    let music = &heard[(of_third[0] - 3) * 8_000..(of_third[0] - 1) * 8_000];
    let level = audio::dsp::level::rms_dbov(music);
    assert!((-42.0..-25.0).contains(&level), "music at {level} dBov");
    assert_hears(third, TONES_HZ[0]);
    office.offhook.stop();
}

/// Nobody takes a parked call: the phone that parked it rings.
#[test]
fn a_parked_call_comes_back() {
    if !is_installed("baresip") {
        return;
    }
    let office = Office::open(PROGRAM, "[features]\npark_timeout_seconds = 15");
    let (mut caller, mut callee) = (office.phone(0), office.phone(1));
    caller.tell("dial", &office.uri("102"));
    callee.wait_for_output("Call established");
    callee.tell("transfer", &office.uri("*52"));
    callee.wait_for("CALL_CLOSED");
    callee.wait_for("CALL_ESTABLISHED");
    talk(Duration::from_secs(3));
    caller.tell("hangup", "");
    callee.wait_for("CALL_CLOSED");
    assert_hears(callee, TONES_HZ[0]);
    office.offhook.stop();
}

/// The second in the line waits with music until the only member is free again.
#[test]
fn a_queue_connects_one_after_the_other() {
    if !is_installed("baresip") {
        return;
    }
    let queue = "[[queues]]\nname = 'sales'\nnumber = '300'\nmembers = ['102']";
    let office = Office::open(PROGRAM, queue);
    let (mut first, member, mut second) = (office.phone(0), office.phone(1), office.phone(2));
    first.tell("dial", &office.uri("300"));
    member.wait_for_output("Call established");
    second.tell("dial", &office.uri("300"));
    second.wait_for("CALL_ESTABLISHED");
    talk(Duration::from_secs(4));
    first.tell("hangup", "");
    wait_for_count(&office, "Phones ring", 2);
    talk(Duration::from_secs(4));
    second.tell("hangup", "");
    wait_for_count(&office, "Call ended", 2);
    assert_eq!(last_call(&office.offhook)["session"]["disposition"], "answered_by_person");
    assert_hears(first, TONES_HZ[1]);
    assert_hears(second, TONES_HZ[1]);
    office.offhook.stop();
}

/// A phone whose own menu forwards its calls: whoever calls it reaches the colleague there.
#[test]
fn a_phone_that_forwards_by_itself_is_followed() {
    if !is_installed("baresip") || !is_installed("sipp") {
        return;
    }
    let office = Office::open(PROGRAM, "");
    let mut caller = office.phone(0);
    let colleague = office.phone(2);
    let forwarded = SippPhone::new(office.folder.path(), "102", &office.passwords[1])
        .register(&office.offhook, "uas-is-forwarded.xml")
        .args(["-m", "1", "-key", "instead", "103"])
        .spawn()
        .unwrap();
    caller.tell("dial", &office.uri("102"));
    caller.wait_for("CALL_ESTABLISHED");
    assert!(forwarded.wait_with_output().unwrap().status.success(), "{}", office.offhook.log());
    talk(Duration::from_secs(3));
    caller.tell("hangup", "");
    assert_hears(colleague, TONES_HZ[0]);
    office.offhook.stop();
}

/// A key beside a lamp: it shows what rings at the colleague, and takes that. SIPp is the phone with the key, and sends
/// back what it hears.
#[test]
fn a_key_beside_the_lamp_takes_what_rings_there() {
    if !is_installed("baresip") || !is_installed("sipp") {
        return;
    }
    let office = Office::open(PROGRAM, "");
    let mut caller = office.phone(0);
    let absent = Profile { answers: false, ..office.profile(1) };
    let callee = Softphone::start(&office.folder.path().join("102"), &absent);
    let key = Command::new("sipp")
        .arg(office.offhook.address().to_string())
        .args(["-sf", scenario("uac-takes-by-the-lamp.xml").to_str().unwrap(), "-s", "103", "-key", "watched", "102"])
        .args(["-au", "103", "-ap", &office.passwords[2]])
        .args(["-auth_uri", &format!("102@{}", office.offhook.address())])
        .args(["-m", "1", "-rtp_echo", "-nostdin", "-i", "127.0.0.1", "-timeout", "60s", "-trace_err"])
        .current_dir(office.folder.path())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    office.offhook.wait_for_log("Subscription", LIMIT);
    caller.tell("dial", &office.uri("102"));
    office.offhook.wait_for_log("Picked up by another phone", LIMIT);
    caller.wait_for("CALL_ESTABLISHED");
    callee.wait_for("CALL_CLOSED");
    talk(Duration::from_secs(4));
    caller.tell("hangup", "");
    let seen = key.wait_with_output().unwrap();
    assert!(seen.status.success(), "{}\n{}", String::from_utf8_lossy(&seen.stdout), office.offhook.log());
    // Itself.
    assert_hears(caller, TONES_HZ[0]);
    office.offhook.stop();
}

/// When a tone of `frequency_hz` is heard, in fifths of a second.
fn fifths_with_tone(heard: &[i16], frequency_hz: u32) -> Vec<usize> {
    // A window of a fifth of a second is one of a second at a fifth of the rate, and of the frequency.
    seconds_with_tone_at(heard, frequency_hz / 5, SampleRate::new(1_600).unwrap())
}

/// Somebody in a line who presses a key goes on to a phone that rings, and hears it ring as in the office's country: in Germany
/// 425 Hz for one second of five (ITU-T E.180 Supplement 2).
#[test]
fn somebody_for_whom_a_phone_rings_hears_ringing() {
    if !is_installed("baresip") {
        return;
    }
    let queue = "[[queues]]\nname = 'sales'\nnumber = '300'\nmembers = ['103']\nunanswered = 'extension:102'";
    let office = Office::open(PROGRAM, &format!("{GERMANY}{queue}"));
    let mut caller = office.phone(0);
    let absent = Profile { answers: false, ..office.profile(1) };
    let _callee = Softphone::start(&office.folder.path().join("102"), &absent);
    caller.tell("dial", &office.uri("300"));
    caller.wait_for("CALL_ESTABLISHED");
    talk(Duration::from_secs(2));
    caller.tell("sndcode", "1");
    wait_for_count(&office, "Phones ring", 1);
    talk(Duration::from_secs(4));
    caller.tell("hangup", "");
    office.offhook.wait_for_log("Call ended", LIMIT);
    let heard = caller.heard();
    let rings = fifths_with_tone(&heard, 425);
    assert!((3..=5).contains(&rings.len()), "{rings:?} of {}", heard.len() / 1_600);
    // Music before, and a pause after: nothing else sounds while it rings.
    let pause = &heard[(rings[rings.len() - 1] + 2) * 1_600..][..2 * 8_000];
    assert!(pause.iter().all(|sample| sample.abs() < 100), "no pause");
    office.offhook.stop();
}

/// The box talks with as many callers as it may: whoever is answered and comes to it nevertheless hears a busy tone, and only
/// then the end of the call. In Germany 425 Hz, 480 ms on and off.
#[test]
fn somebody_whom_nobody_can_talk_with_hears_a_busy_tone() {
    if !is_installed("baresip") {
        return;
    }
    let queue = "[[queues]]\nname = 'sales'\nnumber = '300'\nmembers = ['103']";
    let office = Office::open(PROGRAM, &format!("{GERMANY}[calls]\nattendant_limit = 1\n{queue}"));
    let (mut first, mut second) = (office.phone(0), office.phone(1));
    first.tell("dial", &office.uri("0"));
    first.wait_for("CALL_ESTABLISHED");
    second.tell("dial", &office.uri("300"));
    second.wait_for("CALL_ESTABLISHED");
    talk(Duration::from_secs(2));
    second.tell("sndcode", "1");
    second.wait_for("CALL_CLOSED");
    office.offhook.wait_for_log("attendant_limit", LIMIT);
    let heard = second.heard();
    let busy = fifths_with_tone(&heard, 425);
    assert!((8..=20).contains(&busy.len()), "{busy:?} of {}", heard.len() / 1_600);
    first.tell("hangup", "");
    office.offhook.stop();
}
