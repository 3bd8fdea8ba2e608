//! Whole calls through the running service, with scripted engines: real SIP, RTP, storage and timing, no models.
//!
//! After every flow the laws hold: one row a call, every row closed, no RTP port still lent.
#![expect(clippy::unwrap_used, reason = "a helper that fails fails its test")]

use std::net::UdpSocket;
use std::path::Path;
use std::time::Duration;

use daemon::caller::turn_taker::{Cue, Patience};
use daemon::caller::{CallPlan, CallReport, Line, place};
use daemon::config::Config;
use daemon::engines::Engines;
use daemon::service::Service;
use daemon::storage::{Reader, SessionDetail, SessionState, list_sessions, session_detail};
use models::{LevelVad, ScriptedReply, ScriptedStt, ScriptedTts, utterance_tone};

/// A caller who speaks in tones: tone number n is what `ScriptedStt` hears as reply n.
fn tone(number: usize, cue: Cue) -> Line {
    let samples = utterance_tone(number, Duration::from_millis(1_200), 8_000).into();
    Line::Say { label: format!("tone {number}"), samples, cue }
}

fn engines(heard: &[&str]) -> Engines {
    Engines {
        speech_to_text: Some(Box::new(ScriptedStt::by_utterance(heard.iter().map(|text| ScriptedReply::from(*text))))),
        text_to_speech: Some(Box::new(ScriptedTts::new(22_050))),
        embedding: None,
        voice_activity: Box::new(|| Box::new(LevelVad::new(-40.0))),
        degraded: Vec::new(),
    }
}

fn config(folder: &Path) -> Config {
    let mut config = Config::default();
    config.sip.port = 0;
    config.storage.directory = Some(folder.to_owned());
    // Each test process has ports of its own.
    let probe = UdpSocket::bind("127.0.0.1:0").unwrap();
    let first = probe.local_addr().unwrap().port().clamp(2_000, 60_000) & !1;
    config.media.first_port = first;
    config.media.last_port = first + 199;
    config.calls.ring_milliseconds = 20;
    config
}

async fn start(config: Config, engines: Engines) -> Service {
    Service::start(config, engines).await.unwrap()
}

async fn call(service: &Service, transport: &str, lines: Vec<Line>) -> CallReport {
    let target = format!("sip:office@{}{transport}", service.address());
    place(CallPlan { target, lines, record: None, patience: Patience::default() }).await.unwrap()
}

/// Stops the service, then asserts the laws and returns the calls, latest first.
async fn laws(service: Service, folder: &Path, calls: usize) -> Vec<SessionDetail> {
    let freed = tests::poll(Duration::from_secs(5), || (service.ports_in_use() == 0).then_some(()));
    assert!(freed.is_some(), "{} RTP ports are still lent", service.ports_in_use());
    service.stop().await;
    let reader = Reader::open(folder, 1).unwrap();
    let details = tokio::task::spawn_blocking(move || {
        reader.read_blocking(|db| {
            list_sessions(db, 100, None)?.iter().map(|row| session_detail(db, &row.call_id.to_string())).collect()
        })
    });
    let details: Vec<SessionDetail> = details.await.unwrap().unwrap();
    assert_eq!(details.len(), calls, "one row a call");
    for detail in &details {
        assert_eq!(detail.session.state, SessionState::Ended, "{detail:?}");
        assert_eq!(detail.metrics.len(), 1, "one row of metrics for an answered call");
    }
    details
}

fn answers(detail: &SessionDetail) -> Vec<String> {
    let answer = |turn: &daemon::storage::ConversationTurn| turn.answer.as_ref().unwrap().reveal().clone();
    detail.turns.iter().map(answer).collect()
}

/// Hours from the calendar, a price from the knowledge, a follow-up that keeps its subject, a goodbye that is heard.
#[tokio::test(flavor = "multi_thread")]
async fn questions_are_answered_in_turn_and_the_goodbye_ends_the_call() {
    let _line = tests::async_line().await;
    let folder = tempfile::tempdir().unwrap();
    let heard = ["are you open on saturday", "and on sundays", "how much is a check-up", "thank you goodbye"];
    let service = start(config(folder.path()), engines(&heard)).await;
    let lines = (0..heard.len()).map(|number| tone(number, Cue::AfterAnswer)).collect();
    let report = call(&service, "", lines).await;
    assert_eq!(report.ended, "callee hung up");
    assert!(report.turns.iter().all(|turn| turn.gap.is_some()), "{:?}", report.turns);
    let details = laws(service, folder.path(), 1).await;
    let answers = answers(&details[0]);
    assert!(answers[0].contains("Saturday") && answers[0].contains("10"), "{answers:#?}");
    assert!(answers[1].contains("Sunday") && answers[1].contains("closed"), "{answers:#?}");
    assert!(answers[2].contains("$140"), "{answers:#?}");
    assert!(!details[0].turns[2].sources.is_empty(), "the passage is cited");
    assert_eq!(details[0].session.hangup_cause.as_deref(), Some("caller_goodbye"));
}

/// The same over TCP: one connection carries the dialog.
#[tokio::test(flavor = "multi_thread")]
async fn a_call_over_tcp_is_the_same_call() {
    let _line = tests::async_line().await;
    let folder = tempfile::tempdir().unwrap();
    let service = start(config(folder.path()), engines(&["where are you", "goodbye"])).await;
    let report = call(&service, ";transport=tcp", vec![tone(0, Cue::AfterAnswer), tone(1, Cue::AfterAnswer)]).await;
    assert_eq!(report.ended, "callee hung up");
    let details = laws(service, folder.path(), 1).await;
    assert!(answers(&details[0])[0].contains("River Street"));
}

/// A caller who talks over the answer silences it; the row says what was heard of it.
#[tokio::test(flavor = "multi_thread")]
async fn an_interrupted_answer_stops_and_its_row_says_what_was_heard() {
    let _line = tests::async_line().await;
    let folder = tempfile::tempdir().unwrap();
    let service = start(config(folder.path()), engines(&["where are you", "are you open on monday", "goodbye"])).await;
    let lines = vec![
        tone(0, Cue::AfterAnswer),
        tone(1, Cue::DuringAnswer(Duration::from_millis(1_500))),
        tone(2, Cue::AfterAnswer),
    ];
    let report = call(&service, "", lines).await;
    let silent_after = report.turns[1].fell_silent_after.expect("the box falls silent");
    assert!(silent_after < Duration::from_millis(1_000), "{silent_after:?}");
    let details = laws(service, folder.path(), 1).await;
    let turn = &details[0].turns[0];
    let (answer, heard) = (turn.answer.as_ref().unwrap().reveal(), turn.heard.as_ref().unwrap().reveal());
    assert!(heard.len() < answer.len() / 2, "heard {heard:?} of {answer:?}");
    assert!(turn.interrupted_at_ms.is_some());
    assert!(answers(&details[0])[1].contains("Monday"), "the interruption is answered");
}

/// A message by keypad and by voice is recorded; pressing # ends it and the reference follows.
#[tokio::test(flavor = "multi_thread")]
async fn a_message_is_on_disk_when_its_reference_is_told() {
    let _line = tests::async_line().await;
    let folder = tempfile::tempdir().unwrap();
    let heard = ["i want to leave a message", "this is the message", "no thank you goodbye"];
    let service = start(config(folder.path()), engines(&heard)).await;
    let lines =
        vec![tone(0, Cue::AfterAnswer), tone(1, Cue::AfterAnswer), Line::Press("#".into()), tone(2, Cue::AfterAnswer)];
    call(&service, "", lines).await;
    let details = laws(service, folder.path(), 1).await;
    let detail = &details[0];
    assert_eq!(detail.voicemails.len(), 1, "{detail:?}");
    assert_eq!(detail.session.disposition.as_deref(), Some("message_taken"));
    let sha256 = &detail.recordings[0].sha256;
    let file = folder.path().join("recordings").join(&sha256[..2]).join(format!("{sha256}.wav"));
    let clip = audio::wav::read(&file).unwrap();
    assert!(audio::dsp::level::peak_dbov(&clip.samples) > -25.0, "the caller's tone is in the file");
}

/// Nothing but tones and keys without any engine: the caller still can leave a message.
#[tokio::test(flavor = "multi_thread")]
async fn without_any_model_a_message_can_still_be_left() {
    let _line = tests::async_line().await;
    let folder = tempfile::tempdir().unwrap();
    let bare = Engines { voice_activity: Box::new(|| Box::new(LevelVad::new(-40.0))), ..Engines::none() };
    let service = start(config(folder.path()), bare).await;
    let report = call(&service, "", vec![tone(0, Cue::AfterAnswer), Line::Press("#".into())]).await;
    assert!(report.turns[0].gap.is_some(), "a tone is heard");
    let details = laws(service, folder.path(), 1).await;
    assert_eq!(details[0].voicemails.len(), 1, "{details:?}");
}

/// Three callers at once: each gets its own answers, and every port comes back.
#[tokio::test(flavor = "multi_thread")]
async fn calls_at_the_same_time_do_not_mix() {
    let _line = tests::async_line().await;
    let folder = tempfile::tempdir().unwrap();
    let service = start(config(folder.path()), engines(&["where are you", "are you open on sunday", "goodbye"])).await;
    let (first, second, third) = tokio::join!(
        call(&service, "", vec![tone(0, Cue::AfterAnswer), tone(2, Cue::AfterAnswer)]),
        call(&service, "", vec![tone(1, Cue::AfterAnswer), tone(2, Cue::AfterAnswer)]),
        call(&service, ";transport=tcp", vec![tone(0, Cue::AfterAnswer), tone(2, Cue::AfterAnswer)]),
    );
    for report in [&first, &second, &third] {
        assert_eq!(report.ended, "callee hung up");
    }
    let details = laws(service, folder.path(), 3).await;
    let of = |report: &CallReport| {
        let id = report.sip_call_id.clone().unwrap();
        answers(details.iter().find(|detail| detail.session.sip_call_id == id).unwrap())
    };
    assert!(of(&first)[0].contains("River Street"));
    assert!(of(&second)[0].contains("Sunday"));
    assert!(of(&third)[0].contains("River Street"));
}
