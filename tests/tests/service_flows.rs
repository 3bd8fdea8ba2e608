//! Whole calls through the running service, with scripted engines: real SIP, RTP, storage and timing, no models.
//!
//! After every flow the laws hold: one row a call, every row closed, no RTP port still lent.
#![expect(clippy::unwrap_used, reason = "a helper that fails fails its test")]

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use audio::time::SampleRate;
use daemon::caller::turn_taker::{Cue, Patience};
use daemon::caller::{CallError, CallPlan, CallReport, Line, Protection, place};

use daemon::config::{Config, Extension, Inbound, Mailbox, SrtpUse, Trunk, TrunkProfile};
use daemon::dial_plan::Target;
use daemon::engines::Engines;
use daemon::identity::IdentityFolder;
use daemon::io::tls::Trust;
use daemon::office::{HoursConfig, PersonConfig};
use daemon::registrar::pins::Pins;
use daemon::registrar::secrets::Secrets;
use daemon::service::Service;
use daemon::storage::{
    EscalationOutcome, FollowUp, FollowUpState, Reader, SessionDetail, SessionState, VoicemailStatus, jobs_of,
    list_follow_ups, list_sessions, session_detail,
};
use models::{LevelVad, ScriptedReply, ScriptedStt, SpeechToText, SttError, TranscribeOptions, Transcript};
use tests::carrier::{Account, Carrier, EDGE};
use tests::echoing_line::{Echo, EchoingLine};
use tests::peers::is_installed;
use tests::scripted::{config, engines, tone};
use tests::softphone::{Profile, Softphone};

/// The tone that a phone says. Hertz.
const PHONE_HZ: u32 = 700;

async fn start(config: Config, engines: Engines) -> Service {
    Service::start(config, engines).await.unwrap()
}

fn plan(target: String, lines: Vec<Line>) -> CallPlan {
    CallPlan {
        target,
        protection: Protection::default(),
        lines,
        record: None,
        patience: Patience::default(),
        from: None,
    }
}

async fn call(service: &Service, transport: &str, lines: Vec<Line>) -> CallReport {
    let target = format!("sip:office@{}{transport}", service.address());
    place(plan(target, lines)).await.unwrap()
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
        let answered = usize::from(detail.session.answered_at.is_some());
        assert_eq!(detail.metrics.len(), answered, "one row of metrics for an answered call");
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
    let _line = tests::a_line().await;
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
    let _line = tests::a_line().await;
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
    let _line = tests::a_line().await;
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

/// Somebody of the office, who saves a document anew once the caller has said thank you.
struct Editor(ScriptedStt, Option<(PathBuf, &'static str)>);

impl SpeechToText for Editor {
    fn transcribe(&mut self, samples: &[f32], options: &TranscribeOptions) -> Result<Transcript, SttError> {
        let transcript = self.0.transcribe(samples, options)?;
        if let Some((file, text)) = self.1.take_if(|_| transcript.text.contains("thank")) {
            // As editors do: beside it, then renamed over it.
            let beside = file.with_extension("md~");
            std::fs::write(&beside, text).unwrap();
            std::fs::rename(&beside, &file).unwrap();
        }
        Ok(transcript)
    }

    fn model(&self) -> &str {
        self.0.model()
    }
}

/// What the office writes is told to the next caller, and even to the one who is talking: nothing is started again.
#[tokio::test(flavor = "multi_thread")]
async fn a_document_that_changes_during_a_call_is_answered_from_in_the_same_call() {
    const QUESTION: &str = "where can I leave my bicycle";
    let _line = tests::a_line().await;
    let (folder, documents) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let file = documents.path().join("bicycles.md");
    std::fs::write(&file, "# Bicycles\nYou can leave your bicycle in the yard.\n").unwrap();
    let mut config = config(folder.path());
    config.knowledge.directory = Some(documents.path().to_owned());
    config.knowledge.look_interval_seconds = 1;
    let heard = [QUESTION, "thank you", "thank you", "thank you", QUESTION, "goodbye"];
    let script = ScriptedStt::by_utterance(heard.iter().map(|text| ScriptedReply::from(*text)));
    let new_text = "# Bicycles\nYou can leave your bicycle behind the bakery.\n";
    let mut engines = engines(&[]);
    engines.speech_to_text = Some(Box::new(Editor(script, Some((file, new_text)))));
    let service = start(config.clone(), engines).await;
    call(&service, "", (0..heard.len()).map(|number| tone(number, Cue::AfterAnswer)).collect()).await;
    let details = laws(service, folder.path(), 1).await;
    let answers = answers(&details[0]);
    assert!(answers[0].contains("in the yard"), "{answers:#?}");
    assert!(answers[4].contains("behind the bakery"), "{answers:#?}");
    let status = daemon::status::look(&config, false).await.in_words();
    assert!(status.contains("knowledge 1 document\n"), "{status}");
}

/// Counts the times it was asked about a sound in which nobody had spoken.
struct Witness(ScriptedStt, Arc<AtomicUsize>);

impl SpeechToText for Witness {
    fn transcribe(&mut self, samples: &[f32], options: &TranscribeOptions) -> Result<Transcript, SttError> {
        let transcript = self.0.transcribe(samples, options)?;
        self.1.fetch_add(usize::from(transcript.is_empty()), Ordering::Relaxed);
        Ok(transcript)
    }

    fn model(&self) -> &str {
        self.0.model()
    }
}

/// The line gives our own voice back, 15 dB weaker and 60 ms late, and to voice activity that is speech: nobody is taken for
/// a caller because of it, and whoever talks over it still interrupts.
#[tokio::test(flavor = "multi_thread")]
async fn an_echo_of_our_voice_interrupts_nothing_and_a_caller_over_it_does() {
    let _line = tests::a_line().await;
    let folder = tempfile::tempdir().unwrap();
    let (mut config, mistaken) = (config(folder.path()), Arc::new(AtomicUsize::new(0)));
    config.sip.public_address = Some([127, 0, 0, 2].into());
    config.media.last_port = config.media.first_port + 1;
    let media_port = config.media.first_port;
    let heard = ["where are you", "are you open on monday", "goodbye"].map(ScriptedReply::from);
    let engines = Engines {
        speech_to_text: Some(Box::new(Witness(ScriptedStt::by_utterance(heard), Arc::clone(&mistaken)))),
        voice_activity: Box::new(|| Box::new(LevelVad::new(-50.0))),
        ..engines(&[])
    };
    let service = start(config, engines).await;
    let echo = Echo { delay: Duration::from_millis(60), gain: 0.178 };
    let line = EchoingLine::start(service.address(), media_port, echo);
    let lines = vec![
        tone(0, Cue::AfterAnswer),
        tone(1, Cue::DuringAnswer(Duration::from_millis(1_500))),
        tone(2, Cue::AfterAnswer),
    ];
    let call = place(plan(format!("sip:office@{}", line.address()), lines));
    // A box that takes its own echo for a caller talks with itself until the longest call is over.
    let report = tokio::time::timeout(Duration::from_secs(60), call).await.expect("the call ends").unwrap();
    let details = laws(service, folder.path(), 1).await;
    assert_eq!(mistaken.load(Ordering::Relaxed), 0, "utterances of nobody");
    assert_eq!(details[0].turns.len(), 3);
    let silent_after = report.turns[1].fell_silent_after.expect("the box falls silent");
    assert!(silent_after < Duration::from_millis(1_000), "{silent_after:?}");
    let interrupted = details[0].turns.iter().map(|turn| turn.interrupted_at_ms.is_some());
    assert_eq!(interrupted.collect::<Vec<_>>(), [true, false, false]);
    assert!(answers(&details[0])[1].contains("Monday"), "the interruption is answered");
}

/// A message is recorded until silence ends it; pressing # sends it, and the reference follows.
#[tokio::test(flavor = "multi_thread")]
async fn a_message_is_on_disk_when_its_reference_is_told() {
    let _line = tests::a_line().await;
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

/// A message that is marked urgent, heard and recorded again is one message, and urgent: the first one is done with, and
/// whoever hangs up without another key has left the second.
#[tokio::test(flavor = "multi_thread")]
async fn a_message_is_heard_and_recorded_again_before_it_is_sent() {
    let _line = tests::a_line().await;
    let folder = tempfile::tempdir().unwrap();
    let service = start(config(folder.path()), engines(&["i want to leave a message"])).await;
    let lines = vec![
        tone(0, Cue::AfterAnswer),
        tone(1, Cue::AfterAnswer),
        // Silence has ended it.
        Line::Press("31".into()),
        Line::Press("2".into()),
        tone(2, Cue::AfterAnswer),
    ];
    call(&service, "", lines).await;
    let details = laws(service, folder.path(), 1).await;
    let left = details[0].voicemails.iter().map(|message| (message.status, message.is_urgent));
    let expected = [(VoicemailStatus::Archived, true), (VoicemailStatus::New, true)];
    assert_eq!(left.collect::<Vec<_>>(), expected, "{:#?}", details[0]);
    let keys: Vec<_> = details[0].voicemails.iter().map(|message| message.voicemail_id.to_string()).collect();
    let reader = Reader::open(folder.path(), 1).unwrap();
    let is_sent = tokio::task::spawn_blocking(move || {
        let jobs = |key: &String| reader.read_blocking(|db| jobs_of(db, key)).unwrap().remove(0);
        keys.iter().map(jobs).map(|job| job.attempts > 0 || job.was_due_at_once()).collect::<Vec<_>>()
    });
    assert_eq!(is_sent.await.unwrap(), [false, true], "the second, and only that");
}

/// Nothing but tones and keys without any engine: the caller still can leave a message.
#[tokio::test(flavor = "multi_thread")]
async fn without_any_model_a_message_can_still_be_left() {
    let _line = tests::a_line().await;
    let folder = tempfile::tempdir().unwrap();
    let bare = Engines { voice_activity: Box::new(|| Box::new(LevelVad::new(-40.0))), ..Engines::none() };
    let service = start(config(folder.path()), bare).await;
    let report = call(&service, "", vec![tone(0, Cue::AfterAnswer), Line::Press("#".into())]).await;
    assert!(report.turns[0].gap.is_some(), "a tone is heard");
    let details = laws(service, folder.path(), 1).await;
    assert_eq!(details[0].voicemails.len(), 1, "{details:?}");
}

/// An office that never closes, with an operator at extension 101.
fn with_operator(folder: &Path) -> Config {
    let mut config = config(folder);
    let always = vec!["00:00-24:00".to_owned()];
    config.office.hours = HoursConfig {
        monday: always.clone(),
        tuesday: always.clone(),
        wednesday: always.clone(),
        thursday: always.clone(),
        friday: always.clone(),
        saturday: always.clone(),
        sunday: always,
    };
    config.office.holidays = Vec::new();
    config.office.operator = Some(Target::Extension("101".into()));
    config.extensions = vec![Extension { number: "101".into(), ..Extension::default() }];
    config
}

/// Whoever wants a person is not connected with an empty desk: they are asked for a message, without another greeting.
#[tokio::test(flavor = "multi_thread")]
async fn who_asks_for_a_person_and_finds_nobody_leaves_a_message() {
    let _line = tests::a_line().await;
    let folder = tempfile::tempdir().unwrap();
    let heard = ["can i talk to a real person", "yes please", "this is anna"];
    let service = start(with_operator(folder.path()), engines(&heard)).await;
    let lines =
        vec![tone(0, Cue::AfterAnswer), tone(1, Cue::AfterAnswer), tone(2, Cue::AfterAnswer), Line::Press("#".into())];
    call(&service, "", lines).await;
    let details = laws(service, folder.path(), 1).await;
    let detail = &details[0];
    let intents: Vec<_> = detail.turns.iter().map(|turn| turn.intent.as_deref().unwrap_or_default()).collect();
    assert_eq!(intents[..2], ["person", "leave_message"], "{detail:#?}");
    assert_eq!(detail.voicemails.len(), 1, "{detail:#?}");
    assert_eq!(detail.session.disposition.as_deref(), Some("message_taken"));
}

/// What somebody at a phone (baresip) of extension 101 made of a caller whom they were rung for.
struct Consulted {
    detail: SessionDetail,
    promises: Vec<FollowUp>,
    /// What the phone heard.
    heard: Vec<i16>,
}

/// A caller asks for Anna Weber, whose phone presses `keys` when it is asked; then the caller says the other `lines`.
async fn consult(keys: &'static [&'static str], heard: &[&str], lines: Vec<Line>) -> Consulted {
    let folder = tempfile::tempdir().unwrap();
    let mut config = with_operator(folder.path());
    let reach = Some(Target::Extension("101".into()));
    config.office.people = vec![PersonConfig { name: "Anna Weber".into(), reach, ..PersonConfig::default() }];
    let greeting = Some("This is the mailbox of Anna Weber.".to_owned());
    config.mailboxes = vec![Mailbox { name: "Anna Weber".into(), greeting, ..Mailbox::default() }];
    // Longer than the patience of this caller, who takes the tone for the end of a sentence.
    config.conversation.message_silence_seconds = 15;
    let password = Secrets::new(&config.state_directory(), &config.sip.realm).renew("101").unwrap();
    let service = start(config, engines(&[&["i want to speak to anna weber"], heard].concat())).await;
    let (phone_folder, address) = (folder.path().join("phone"), service.address());
    let phone = tokio::task::spawn_blocking(move || {
        let profile = Profile::new("101", &password, address, PHONE_HZ);
        Softphone::start(&phone_folder, &Profile { says: Duration::from_secs(25), ..profile })
    });
    let mut phone = phone.await.unwrap();
    let pressed = tokio::task::spawn_blocking(move || {
        phone.wait_for_output("Call established");
        for key in keys {
            phone.tell("sndcode", key);
        }
        phone
    });
    // Longer than the pauses of ringing and music.
    let patience = Patience { turn_end: Duration::from_millis(4_800), ..Patience::default() };
    let target = format!("sip:office@{address}");
    let lines = [vec![tone(0, Cue::AfterAnswer)], lines].concat();
    place(CallPlan { patience, from: Some("+12125550177".into()), ..plan(target, lines) }).await.unwrap();
    let phone = pressed.await.unwrap();
    let heard = tokio::task::spawn_blocking(move || phone.heard()).await.unwrap();
    service.stop().await;
    let reader = Reader::open(folder.path(), 1).unwrap();
    let rows = tokio::task::spawn_blocking(move || {
        reader.read_blocking(|db| {
            let call_id = list_sessions(db, 1, None)?[0].call_id.to_string();
            Ok((session_detail(db, &call_id)?, list_follow_ups(db, true, 10)?))
        })
    });
    let (detail, promises) = rows.await.unwrap().unwrap();
    assert_eq!(detail.escalations.len(), 1, "{detail:#?}");
    assert_eq!(detail.escalations[0].person.as_deref(), Some("Anna Weber"));
    Consulted { detail, promises, heard }
}

/// Whoever wants a person talks with the phone (baresip) that rings, once it has heard who calls and presses 1.
#[tokio::test(flavor = "multi_thread")]
async fn who_asks_for_a_person_is_connected_with_a_phone() {
    if !is_installed("baresip") {
        return;
    }
    let _line = tests::a_line().await;
    let talks = vec![tone(1, Cue::DuringAnswer(Duration::from_secs(6)))];
    let Consulted { detail, heard, .. } = consult(&["1"], &[], talks).await;
    assert_eq!(detail.escalations[0].outcome, Some(EscalationOutcome::Taken), "{detail:#?}");
    assert_eq!(detail.metrics.len(), 2, "{detail:#?}");
    assert_eq!(detail.session.disposition.as_deref(), Some("answered_by_person"), "{detail:#?}");
    assert_eq!(detail.turns.len(), 1, "{detail:#?}");
    assert!(audio::dsp::level::peak_dbov(&heard) > -30.0, "the phone hears the caller");
}

/// 3 makes a promise: its owner is who pressed it, and the caller is told its reference.
#[tokio::test(flavor = "multi_thread")]
async fn who_will_call_back_has_promised_it() {
    if !is_installed("baresip") {
        return;
    }
    let _line = tests::a_line().await;
    let goodbye = vec![tone(1, Cue::AfterAnswer)];
    let Consulted { detail, promises, .. } = consult(&["3"], &["no thank you goodbye"], goodbye).await;
    assert_eq!(detail.escalations[0].outcome, Some(EscalationOutcome::CallBack), "{detail:#?}");
    let [promise] = promises.as_slice() else { panic!("{promises:#?}") };
    assert_eq!(promise.owner.as_deref(), Some("Anna Weber"));
    assert_eq!(promise.contact.as_ref().unwrap().reveal(), "+12125550177");
    assert_eq!(promise.call_id, Some(detail.session.call_id));
    assert_eq!(detail.turns.len(), 2, "they talked on: {detail:#?}");
}

/// 2 asks the caller for a message, which goes into the mailbox of whoever was wanted.
#[tokio::test(flavor = "multi_thread")]
async fn who_wants_a_message_gets_one() {
    if !is_installed("baresip") {
        return;
    }
    let _line = tests::a_line().await;
    let message = vec![tone(1, Cue::AfterAnswer), Line::Press("#".into())];
    let Consulted { detail, .. } = consult(&["2"], &["this is anna"], message).await;
    assert_eq!(detail.escalations[0].outcome, Some(EscalationOutcome::Voicemail), "{detail:#?}");
    assert_eq!(detail.voicemails.len(), 1, "{detail:#?}");
    assert_eq!(detail.voicemails[0].mailbox.as_deref(), Some("Anna Weber"), "{detail:#?}");
}

/// A key without a meaning is asked about once; then the caller is back, with an apology and the offer of a message.
#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_key_twice_gives_the_caller_back() {
    if !is_installed("baresip") {
        return;
    }
    let _line = tests::a_line().await;
    let message = vec![tone(1, Cue::AfterAnswer), tone(2, Cue::AfterAnswer), Line::Press("#".into())];
    let Consulted { detail, .. } = consult(&["7", "8"], &["yes please", "this is anna"], message).await;
    assert_eq!(detail.escalations[0].outcome, Some(EscalationOutcome::WrongKey), "{detail:#?}");
    assert_eq!(detail.voicemails.len(), 1, "{detail:#?}");
}

/// The mailbox of a mobile answers through the trunk and presses nothing: it does not get the caller.
#[tokio::test(flavor = "multi_thread")]
async fn the_mailbox_of_a_mobile_does_not_get_the_caller() {
    let _line = tests::a_line().await;
    let folder = tempfile::tempdir().unwrap();
    let account = || Account {
        domain: "office.pstn.example.com".into(),
        username: "office".into(),
        password: "correct horse".into(),
        tone_hz: PHONE_HZ,
    };
    let carrier = tokio::task::spawn_blocking(move || Carrier::start(EDGE, account())).await.unwrap();
    let secret = folder.path().join("trunk");
    std::fs::write(&secret, account().password).unwrap();
    let mut config = with_operator(folder.path());
    config.trunks = vec![Trunk {
        name: "carrier".into(),
        profile: TrunkProfile::Twilio,
        sources: vec!["127.0.1.0/24".parse().unwrap()],
        numbers: vec!["+12125550142".into()],
        hosts: vec![carrier.address().to_string()],
        domain: Some(account().domain),
        username: Some(account().username),
        password_file: Some(secret),
        ..Trunk::default()
    }];
    let mobile = Some("+12125550199".to_owned());
    config.office.people = vec![PersonConfig { name: "Anna Weber".into(), mobile, ..PersonConfig::default() }];
    let service = start(config, engines(&["i want to speak to anna weber", "no thank you goodbye"])).await;
    let mailbox = tokio::task::spawn_blocking(move || {
        let ringing = carrier.wait_for_call(Duration::from_secs(30));
        assert!(ringing.request.uri().starts_with("sip:+12125550199@"), "{:?}", ringing.request);
        let call = ringing.answer();
        // As long as it hears who calls, and somewhat longer.
        call.talk(Duration::from_secs(12));
        call.wait_for_bye();
    });
    // Longer than the pauses of the music.
    let patience = Patience { turn_end: Duration::from_millis(4_800), ..Patience::default() };
    let lines = vec![tone(0, Cue::AfterAnswer), tone(1, Cue::AfterAnswer)];
    place(CallPlan { patience, ..plan(format!("sip:office@{}", service.address()), lines) }).await.unwrap();
    mailbox.await.unwrap();
    let details = laws(service, folder.path(), 1).await;
    let [escalation] = details[0].escalations.as_slice() else { panic!("{details:#?}") };
    assert_eq!(escalation.outcome, Some(EscalationOutcome::NoKey), "{details:#?}");
    assert_eq!(escalation.reach.as_deref(), Some("mobile"), "its number is in no row of the decision");
    assert_eq!(details[0].turns.len(), 2, "they talked on: {details:#?}");
}

/// A message in a mailbox with a recorded greeting is played at the phone of that mailbox (baresip), which knows its PIN, and
/// is a saved one afterwards, and what was promised is whose phone it is; the office's messages are not played.
#[tokio::test(flavor = "multi_thread")]
async fn messages_are_played_at_a_phone_after_its_pin() {
    if !is_installed("baresip") {
        return;
    }
    let _line = tests::a_line().await;
    let folder = tempfile::tempdir().unwrap();
    let mut config = with_operator(folder.path());
    config.office.operator = None;
    let password = Secrets::new(&config.state_directory(), &config.sip.realm).renew("101").unwrap();
    let pin = Pins::new(&config.state_directory()).renew("101").unwrap();
    let greeting = folder.path().join("greeting.wav");
    let tone_of_hers = audio::dsp::tone::sine(500.0, Duration::from_secs(1), -20.0, SampleRate::NARROW_BAND);
    audio::wav::write(&greeting, &tone_of_hers, SampleRate::NARROW_BAND).unwrap();
    config.mailboxes = vec![Mailbox {
        name: "Anna Weber".into(),
        extensions: vec!["101".into()],
        greeting_file: Some(greeting),
        ..Mailbox::default()
    }];
    config.inbound = vec![Inbound { to: Target::Mailbox("anna weber".into()), ..Inbound::default() }];
    let service = start(config, engines(&["please call me back"])).await;
    call(&service, "", vec![tone(0, Cue::AfterAnswer), Line::Press("#".into())]).await;
    let (phone_folder, address) = (folder.path().join("phone"), service.address());
    let state = folder.path().to_owned();
    let heard = tokio::task::spawn_blocking(move || {
        let reader = Reader::open(&state, 1).unwrap();
        let promised = || reader.read_blocking(|db| list_follow_ups(db, false, 1)).unwrap().pop();
        tests::poll(Duration::from_secs(20), promised).expect("a promise");
        let profile = Profile::new("101", &password, address, PHONE_HZ);
        let mut phone = Softphone::start(&phone_folder, &Profile { says: Duration::from_secs(60), ..profile });
        phone.tell("dial", &format!("sip:*98@{address}"));
        phone.wait_for_output("Call established");
        // A wrong one first.
        phone.tell("sndcode", &format!("0#{pin}#52"));
        phone.wait_for("CALL_CLOSED");
        (phone.heard(), promised().unwrap())
    });
    let (heard, promise) = heard.await.unwrap();
    assert_eq!(promise.state, FollowUpState::Acknowledged, "{promise:#?}");
    assert_eq!(promise.acknowledged_by.as_deref(), Some("extension 101"));
    let details = laws(service, folder.path(), 2).await;
    assert_eq!(details[0].session.hangup_cause.as_deref(), Some("feature_code"), "{details:#?}");
    let left = &details[1].voicemails[0];
    assert_eq!((left.status, left.mailbox.as_deref()), (VoicemailStatus::Heard, Some("Anna Weber")), "{left:#?}");
    assert!(audio::dsp::level::peak_dbov(&heard) > -30.0);
}

/// A talk with the attendant is kept, if the office wants that: the caller on one side, the box's voice on the other.
#[tokio::test(flavor = "multi_thread")]
async fn a_talk_with_the_attendant_is_recorded() {
    let _line = tests::a_line().await;
    let folder = tempfile::tempdir().unwrap();
    let mut config = config(folder.path());
    config.recording.attendant_enabled = true;
    let service = start(config, engines(&["where are you", "goodbye"])).await;
    call(&service, "", vec![tone(0, Cue::AfterAnswer), tone(1, Cue::AfterAnswer)]).await;
    let details = laws(service, folder.path(), 1).await;
    let recording = &details[0].recordings[0];
    let talk_ms = details[0].session.ended_at.unwrap().0 - details[0].session.answered_at.unwrap().0;
    assert!(recording.duration_ms.abs_diff(talk_ms.unsigned_abs()) < 2_000, "{recording:?} of {talk_ms} ms");
    let file = folder.path().join("recordings").join(&recording.sha256[..2]).join(format!("{}.wav", recording.sha256));
    let bytes = std::fs::read(file).unwrap();
    assert_eq!(bytes[22..24], [2, 0], "two channels");
    let sample = |pair: &[u8], at: usize| i16::from_le_bytes([pair[at], pair[at + 1]]);
    for (name, at) in [("caller", 0), ("box", 2)] {
        let side: Vec<i16> = bytes[44..].chunks_exact(4).map(|pair| sample(pair, at)).collect();
        assert!(audio::dsp::level::peak_dbov(&side) > -30.0, "the {name} is on it");
    }
    let both =
        bytes[44..].chunks_exact(4).filter(|pair| sample(pair, 0).abs() > 500 && sample(pair, 2).abs() > 500).count();
    assert!(both < bytes.len() / 40, "each on its own side: {both} loud pairs");
}

/// Three callers at once: each gets its own answers, and every port comes back.
#[tokio::test(flavor = "multi_thread")]
async fn calls_at_the_same_time_do_not_mix() {
    let _line = tests::a_line().await;
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

/// A service that takes nothing but encrypted calls, with the box's own certificate.
async fn start_secure(folder: &Path, heard: &[&str]) -> Service {
    let mut config = config(folder);
    config.sip.tls.enabled = true;
    config.sip.tls.port = 0;
    config.media.srtp = SrtpUse::Required;
    IdentityFolder::below(&config.machine_directory()).ensure(jiff::Timestamp::now()).unwrap();
    start(config, engines(heard)).await
}

/// Over TLS, believing the certificate of the box whose state is in `folder`.
async fn secure_call(service: &Service, folder: &Path, lines: Vec<Line>) -> CallReport {
    let target = format!("sip:office@{};transport=tls", service.tls_address().unwrap());
    let machine = Some(folder.join("machine"));
    let protection = Protection { srtp: SrtpUse::Required, machine, ..Protection::default() };
    place(CallPlan { protection, ..plan(target, lines) }).await.unwrap()
}

/// As a secure trunk calls: TLS, and SRTP both ways.
#[tokio::test(flavor = "multi_thread")]
async fn a_call_over_tls_has_its_sound_encrypted_both_ways() {
    let _line = tests::a_line().await;
    let folder = tempfile::tempdir().unwrap();
    let service = start_secure(folder.path(), &["where are you", "goodbye"]).await;
    let report = secure_call(&service, folder.path(), vec![tone(0, Cue::AfterAnswer), tone(1, Cue::AfterAnswer)]).await;
    assert_eq!(report.ended, "callee hung up");
    let srtp = report.stats.srtp.unwrap();
    assert!(srtp.rtp_packets > 100 && srtp.errors == Default::default(), "{srtp:?}");
    assert_eq!(srtp.rtp_packets, report.stats.received.received);
    let details = laws(service, folder.path(), 1).await;
    assert!(answers(&details[0])[0].contains("River Street"), "the caller's tones were heard through SRTP");
    assert!(details[0].metrics[0].packets_received > 100, "{details:?}");
}

/// All or nothing: who offers plain RTP is refused, over TLS too, and the row says why.
#[tokio::test(flavor = "multi_thread")]
async fn a_plain_call_is_refused_where_srtp_is_required() {
    let _line = tests::a_line().await;
    let folder = tempfile::tempdir().unwrap();
    let service = start_secure(folder.path(), &[]).await;
    let machine = Some(folder.path().join("machine"));
    let over_tls = format!("sip:office@{};transport=tls", service.tls_address().unwrap());
    for target in [format!("sip:office@{}", service.address()), over_tls] {
        let protection = Protection { machine: machine.clone(), ..Protection::default() };
        let refused = place(CallPlan { protection, ..plan(target, Vec::new()) }).await.unwrap_err();
        assert!(matches!(refused, CallError::Refused { status: 488, .. }), "{refused}");
    }
    for detail in laws(service, folder.path(), 2).await {
        assert_eq!(detail.session.hangup_cause.as_deref(), Some("no_common_security"));
    }
}

/// Phones that send keys over UDP are taken at their word, where that is allowed.
#[tokio::test(flavor = "multi_thread")]
async fn srtp_without_tls_is_taken_when_it_is_offered() {
    let _line = tests::a_line().await;
    let folder = tempfile::tempdir().unwrap();
    let service = start(config(folder.path()), engines(&["goodbye"])).await;
    let target = format!("sip:office@{}", service.address());
    let protection = Protection { srtp: SrtpUse::Required, ..Protection::default() };
    let report = place(CallPlan { protection, ..plan(target, vec![tone(0, Cue::AfterAnswer)]) }).await.unwrap();
    assert!(report.stats.srtp.is_some_and(|srtp| srtp.rtp_packets > 50), "{:?}", report.stats);
    laws(service, folder.path(), 1).await;
}

/// A box that is not believed is not called, and whoever placed the call is told why.
#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_of_an_unknown_issuer_is_refused_with_a_sentence() {
    let _line = tests::a_line().await;
    let (folder, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let service = start_secure(folder.path(), &[]).await;
    let stranger = IdentityFolder::below(other.path());
    stranger.ensure(jiff::Timestamp::now()).unwrap();
    let target = format!("sips:office@{}", service.tls_address().unwrap());
    let protection = Protection { trust: Trust::File(stranger.certificate()), ..Protection::default() };
    let refused = place(CallPlan { protection, ..plan(target, Vec::new()) }).await.unwrap_err().to_string();
    assert!(refused.contains("of an issuer that is not trusted"), "{refused}");
    laws(service, folder.path(), 0).await;
}

/// Whatever knocks on the TLS port, the call beside it goes on.
#[tokio::test(flavor = "multi_thread")]
async fn garbage_on_the_tls_port_disturbs_nobody() {
    let _line = tests::a_line().await;
    let folder = tempfile::tempdir().unwrap();
    let service = start_secure(folder.path(), &["goodbye"]).await;
    let address = service.tls_address().unwrap();
    let closed = tokio::task::spawn_blocking(move || {
        let mut garbage = TcpStream::connect(address).unwrap();
        garbage.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        garbage.write_all(b"INVITE sip:office@127.0.0.1 SIP/2.0\r\n\r\n").unwrap();
        let ended = garbage.read_to_end(&mut Vec::new());
        ended.map_or_else(|error| error.kind() == ErrorKind::ConnectionReset, |_| true)
    });
    let report = secure_call(&service, folder.path(), vec![tone(0, Cue::AfterAnswer)]).await;
    assert_eq!(report.ended, "callee hung up");
    assert!(closed.await.unwrap(), "the connection with the garbage is closed");
    laws(service, folder.path(), 1).await;
}
