//! Calls of real phones (baresip), heard live by another program of the machine.

use std::net::SocketAddr;
use std::time::Duration;

use daemon::caller::turn_taker::{Cue, Patience};
use daemon::caller::{CallPlan, Protection, place};
use daemon::service::Service;
use serde_json::Value;
use tests::listener::{Listener, get, wait_for_call};
use tests::offhook::free_port;
use tests::office::{Office, TONES_HZ, talk};
use tests::peers::{is_installed, last_call};
use tests::scripted::{config, engines, tone};
use tests::softphone::seconds_with_tone;

const PROGRAM: &str = env!("CARGO_BIN_EXE_offhook-under-test");
const LIMIT: Duration = Duration::from_secs(30);

fn open(more: &str) -> (Office, SocketAddr) {
    let port = free_port();
    let office = Office::open(PROGRAM, &format!("[api]\nenabled = true\nport = {port}\n{more}"));
    (office, SocketAddr::from(([127, 0, 0, 1], port)))
}

fn assert_tone(heard: &[i16], tone_hz: u32) {
    let seconds = seconds_with_tone(heard, tone_hz);
    assert!(seconds.len() >= 2, "{tone_hz} Hz in seconds {seconds:?} of {}", heard.len() / 8_000);
}

fn assert_no_tone(heard: &[i16], tone_hz: u32) {
    assert_eq!(seconds_with_tone(heard, tone_hz), Vec::<usize>::new(), "{tone_hz} Hz");
}

/// Each side is heard in its channel or alone, by programs and by the command line, while it is recorded too; the end of
/// the call is the end of listening. No more than four may.
#[test]
fn both_sides_are_heard_until_the_call_ends() {
    if !is_installed("baresip") {
        return;
    }
    let (office, api) = open("[recording]\npeople_enabled = true");
    let (mut caller, callee) = (office.phone(0), office.phone(1));
    caller.tell("dial", &office.uri("102"));
    callee.wait_for_output("Call established");
    let id = wait_for_call(api, "people");
    let call = &get(api, "/v1/calls", &[("Host", "localhost")]).body["calls"][0];
    assert_eq!((&call["from"], &call["to"]), (&Value::from("101"), &Value::from("102")));
    assert_eq!(call["extensions"], Value::from(vec!["101", "102"]));
    let wav = office.folder.path().join("live.wav");
    let shell = office.offhook.spawn(&["calls", "listen", &id, "--output", wav.to_str().unwrap()]);
    let mut both = Listener::open(api, &id, "both");
    let mut ours = Listener::open(api, &id, "ours");
    let mut of_caller = Listener::open(api, &id, "caller");
    office.offhook.wait_for_log("Live listening", LIMIT);
    both.hear(Duration::from_secs(5));
    let fifth = || Listener::with_room(api, &id, "both", None).err();
    assert_eq!(tests::poll(LIMIT, fifth), Some(409));
    caller.tell("hangup", "");
    for listener in [&mut both, &mut ours, &mut of_caller] {
        let why = listener.hear_all();
        assert_eq!((u16::from(why.code), why.reason.as_str()), (1_000, "call_ended"));
    }
    assert_eq!(both.format["call_id"], *id);
    assert_eq!((&both.format["sample_rate"], &both.format["encoding"]), (&Value::from(8_000), &Value::from("s16le")));
    for heard in [&both.heard[0], &of_caller.heard[0]] {
        assert_tone(heard, TONES_HZ[0]);
        assert_no_tone(heard, TONES_HZ[1]);
    }
    for heard in [&both.heard[1], &ours.heard[0]] {
        assert_tone(heard, TONES_HZ[1]);
        assert_no_tone(heard, TONES_HZ[0]);
    }
    let output = shell.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    // Both channels, mixed down.
    let written = audio::wav::read(&wav).unwrap().samples;
    assert!(written.len() > 3 * 8_000, "{} samples", written.len());
    assert_eq!(last_call(&office.offhook)["recordings"][0]["state"], "complete");
    assert_eq!(Listener::with_room(api, &id, "both", None).err(), Some(404), "it is over");
    office.offhook.stop();
}

/// What the box says itself is heard as well.
#[test]
fn the_attendant_is_heard_too() {
    if !is_installed("baresip") {
        return;
    }
    let (office, api) = open("");
    let mut caller = office.phone(0);
    caller.tell("dial", &office.uri("0"));
    let id = wait_for_call(api, "attendant");
    let mut both = Listener::open(api, &id, "both");
    both.hear(Duration::from_secs(6));
    caller.tell("hangup", "");
    both.hear_all();
    assert_tone(&both.heard[0], TONES_HZ[0]);
    // Without a voice it says tones, and is silent in between.
    let level = audio::dsp::level::peak_dbov(&both.heard[1]);
    assert!((-30.0..-3.0).contains(&level), "{level} dBov");
    office.offhook.stop();
}

/// What is said in a talk with the box is read along: of the caller also before they are done.
#[tokio::test(flavor = "multi_thread")]
async fn words_are_read_along() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = config(folder.path());
    (config.api.enabled, config.api.port) = (true, free_port());
    let api = SocketAddr::from(([127, 0, 0, 1], config.api.port));
    let service = Service::start(config, engines(&["are you open on saturday", "goodbye"])).await.unwrap();
    let listening = tokio::task::spawn_blocking(move || {
        let mut listener = Listener::open(api, &wait_for_call(api, "attendant"), "both");
        listener.hear_all();
        listener.words
    });
    let plan = CallPlan {
        target: format!("sip:office@{}", service.address()),
        protection: Protection::default(),
        lines: vec![tone(0, Cue::AfterAnswer), tone(1, Cue::AfterAnswer)],
        record: None,
        patience: Patience::default(),
        from: None,
    };
    place(plan).await.unwrap();
    let words = listening.await.unwrap();
    service.stop().await;
    let place = |who: &str, text: &str, is_final: bool| {
        let fits = |told: &Value| told["text"].as_str().unwrap().contains(text) && told["final"] == is_final;
        words
            .iter()
            .position(|told| told["who"] == who && fits(told))
            .unwrap_or_else(|| panic!("{who}, {text}: {words:?}"))
    };
    let partly = place("caller", "open on saturday", false);
    let answer = place("attendant", "Saturday", true);
    let whole = place("caller", "open on saturday", true);
    assert!(partly < answer && partly < whole, "{words:?}");
}

/// A listener that does not read loses what it does not take, and is told how much. The call and the other listener do not
/// notice.
#[test]
fn a_listener_that_does_not_read_delays_nobody() {
    if !is_installed("baresip") {
        return;
    }
    let (office, api) = open("");
    let (mut caller, callee) = (office.phone(0), office.phone(1));
    caller.tell("dial", &office.uri("102"));
    callee.wait_for_output("Call established");
    let id = wait_for_call(api, "people");
    let mut slow = Listener::with_room(api, &id, "both", Some(4_096)).unwrap();
    let mut quick = Listener::open(api, &id, "both");
    quick.hear(Duration::from_secs(12));
    slow.hear(Duration::from_secs(1));
    assert!(slow.dropped > 100, "{} frames dropped", slow.dropped);
    assert_eq!(quick.dropped, 0);
    let seconds = quick.heard[0].len() as f64 / 8_000.0;
    assert!((11.0..13.5).contains(&seconds), "{seconds} s heard in 12");
    caller.tell("hangup", "");
    office.offhook.wait_for_log("Call ended", LIMIT);
    let row = last_call(&office.offhook);
    for leg in row["metrics"].as_array().unwrap() {
        assert_eq!(leg["packets_late"], 0, "{row:#}");
    }
    let (sent, heard) = (callee.heard(), caller.heard());
    assert_tone(&sent, TONES_HZ[0]);
    assert_tone(&heard, TONES_HZ[1]);
    office.offhook.stop();
}

/// What a web page could make a browser send is not answered; mistakes are told as problems.
#[test]
fn web_pages_get_nothing() {
    let (office, api) = open("");
    let host = ("Host", "localhost");
    assert_eq!(get(api, "/v1/calls", &[host]).body["calls"], Value::Array(Vec::new()));
    for (path, headers, status) in [
        ("/v1/calls", vec![host, ("Origin", "https://office.example")], 403),
        ("/v1/calls", vec![host, ("Origin", "null")], 403),
        ("/v1/calls", vec![("Host", "office.example")], 403),
        ("/v1/calls", vec![], 403),
        ("/v1/secrets", vec![host], 404),
        ("/v1/calls/0/listen", vec![host], 426),
        ("/v1/calls/0/listen?side=all", vec![host], 400),
    ] {
        let answer = get(api, path, &headers);
        assert_eq!((answer.status, answer.media_type.as_str()), (status, "application/problem+json"), "{path}");
        assert_eq!(answer.body["status"], status);
        assert!(answer.body["detail"].as_str().unwrap().len() > 10, "{path}");
    }
    let upgrade = [
        host,
        ("Upgrade", "websocket"),
        ("Connection", "Upgrade"),
        ("Sec-WebSocket-Version", "13"),
        ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ("Origin", "http://localhost:8060"),
    ];
    assert_eq!(get(api, "/v1/calls/0/listen", &upgrade).status, 403);
    assert_eq!(Listener::with_room(api, "0", "both", None).err(), Some(404));
    office.offhook.stop();
}

/// A box that stops ends its calls, of which those who listen are told; it does not wait for them.
#[test]
fn a_box_that_stops_does_not_wait_for_listeners() {
    if !is_installed("baresip") {
        return;
    }
    let (office, api) = open("[calls]\ndrain_seconds = 0");
    let mut caller = office.phone(0);
    caller.tell("dial", &office.uri("0"));
    let id = wait_for_call(api, "attendant");
    let mut listener = Listener::open(api, &id, "caller");
    talk(Duration::from_secs(1));
    office.offhook.begin_stop();
    let why = listener.hear_all();
    assert_eq!(why.reason.as_str(), "call_ended");
    office.offhook.wait_until_stopped();
}
