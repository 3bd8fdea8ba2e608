//! A supervisor's phone (baresip) on calls of others: who hears whom, who may, and what is left afterwards.

use std::time::Duration;

use tests::office::{Office, SUPERVISOR, TONES_HZ, talk};
use tests::peers::{is_installed, last_call};
use tests::softphone::{Codec, Profile, Softphone, tenths_with_tone};

const PROGRAM: &str = env!("CARGO_BIN_EXE_offhook-under-test");
const LIMIT: Duration = Duration::from_secs(30);
/// What is heard when a supervisor comes.
const TONE_HZ: u32 = 1_400;

/// The supervisor's phone dials a code and is let in.
fn supervise(office: &Office, phone: &mut Softphone, code: &str) {
    phone.tell("dial", &office.uri(code));
    office.offhook.wait_for_log("mode=Listen", LIMIT);
    phone.wait_for("CALL_ESTABLISHED");
}

fn press(office: &Office, phone: &mut Softphone, key: &str, mode: &str) {
    phone.tell("sndcode", key);
    office.offhook.wait_for_log(&format!("mode={mode}"), LIMIT);
}

/// Listening, whispering, barging in and listening again for so long each: for how long the caller, the called one and the
/// supervisor hear each of the three, and the tone. Tenths of seconds.
fn supervised(office: &Office, phones: [Softphone; 3]) -> [[usize; 4]; 3] {
    let [mut caller, callee, mut supervisor] = phones;
    caller.tell("dial", &office.uri("102"));
    // The caller is answered after the called one, and only then do they talk.
    office.offhook.wait_for_log("Call answered", LIMIT);
    supervise(office, &mut supervisor, "*97102");
    talk(Duration::from_secs(4));
    for (key, mode) in [("5", "Whisper"), ("6", "Barge"), ("4", "Listen")] {
        press(office, &mut supervisor, key, mode);
        talk(Duration::from_secs(4));
    }
    caller.tell("hangup", "");
    supervisor.wait_for("CALL_CLOSED");
    office.offhook.wait_for_log("Supervision ended", LIMIT);
    [caller, callee, supervisor].map(|phone| {
        let rate = phone.codec().sample_rate();
        let heard = phone.heard();
        [TONES_HZ[0], TONES_HZ[1], TONES_HZ[2], TONE_HZ].map(|hz| tenths_with_tone(&heard, hz, rate).len())
    })
}

fn assert_heard([caller, callee, supervisor]: [[usize; 4]; 3]) {
    let shown = format!("caller {caller:?}, called {callee:?}, supervisor {supervisor:?}");
    assert!(caller[1] > 100 && callee[0] > 100, "the two hear each other all the time: {shown}");
    assert!(supervisor[0] > 100 && supervisor[1] > 100, "the supervisor hears both all the time: {shown}");
    assert!((30..60).contains(&caller[2]), "the caller hears the supervisor's four seconds of barging in: {shown}");
    assert!((65..110).contains(&callee[2]), "the called one what is whispered as well: {shown}");
    assert!(caller[0] < 5 && callee[1] < 5 && supervisor[2] < 5, "nobody hears themselves: {shown}");
}

/// The whole of it, in the codec of every telephone.
#[test]
fn a_supervisor_listens_whispers_and_barges_in() {
    if !is_installed("baresip") {
        return;
    }
    let office = Office::open(PROGRAM, "");
    let heard = supervised(&office, [0, 1, 2].map(|index| office.phone(index)));
    assert_heard(heard);
    for side in &heard[..2] {
        assert!((1..5).contains(&side[3]), "each hears one short tone: {heard:?}");
    }
    let log = office.offhook.log();
    assert_eq!(log.matches("supervision").count(), 1, "{log}");
    office.offhook.stop();
}

/// Phones in three codecs, two of them wide; and without the tone.
#[test]
fn codecs_may_differ_and_the_tone_may_be_off() {
    if !is_installed("baresip") {
        return;
    }
    let office = Office::open(PROGRAM, "[features]\nsupervision_tone_enabled = false");
    let codecs = [Codec::Opus, Codec::Pcmu, Codec::G722];
    let phones = [0, 1, 2].map(|index| {
        let profile = Profile { codec: codecs[index], ..office.profile(index) };
        Softphone::start(&office.folder.path().join(profile.extension), &profile)
    });
    let heard = supervised(&office, phones);
    assert_heard(heard);
    assert!(heard[..2].iter().all(|side| side[3] == 0), "{heard:?}");
    office.offhook.stop();
}

/// The latest call with the attendant, without saying whose; the caller goes on when the supervisor has gone. Only one
/// may, and nobody without the right to.
#[test]
fn a_call_with_the_attendant_is_supervised() {
    if !is_installed("baresip") {
        return;
    }
    let office = Office::open(PROGRAM, "");
    let (mut caller, mut other, mut supervisor) = (office.phone(0), office.phone(1), office.phone(SUPERVISOR));
    supervisor.tell("dial", &office.uri("*97"));
    office.offhook.wait_for_log("nothing_to_supervise", LIMIT);
    caller.tell("dial", &office.uri("0"));
    office.offhook.wait_for_log("Call answered", LIMIT);
    other.tell("dial", &office.uri("*97101"));
    office.offhook.wait_for_log("may_not_supervise", LIMIT);
    supervise(&office, &mut supervisor, "*97");
    talk(Duration::from_secs(3));
    press(&office, &mut supervisor, "5", "Whisper");
    talk(Duration::from_secs(2));
    press(&office, &mut supervisor, "6", "Barge");
    talk(Duration::from_secs(3));
    supervisor.tell("hangup", "");
    office.offhook.wait_for_log("Supervision ended", LIMIT);
    office.offhook.wait_for_log("Call ended", LIMIT);
    let row = last_call(&office.offhook);
    assert_eq!(
        (&row["session"]["disposition"], &row["session"]["hangup_cause"]),
        (&"supervision".into(), &"caller_hangup".into())
    );
    talk(Duration::from_secs(3));
    caller.tell("hangup", "");
    office.offhook.wait_for_log("Call ended", LIMIT);
    let rate = Codec::Pcmu.sample_rate();
    let heard = caller.heard();
    let of_supervisor = tenths_with_tone(&heard, TONES_HZ[2], rate);
    assert!((20..45).contains(&of_supervisor.len()), "three seconds of barging in: {of_supervisor:?}");
    assert!(of_supervisor.last().unwrap() + 20 < heard.len() / 800, "and then no more: {of_supervisor:?}");
    let heard = supervisor.heard();
    assert!(tenths_with_tone(&heard, TONES_HZ[0], rate).len() > 60);
    office.offhook.stop();
}
