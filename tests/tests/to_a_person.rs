//! From a caller who wants a person to a promise that is taken, with everything real: the models, desk phones (baresip), a
//! mail server with TLS and a password, and the link in its mail.
#![cfg(feature = "engines")]
#![expect(clippy::unwrap_used, reason = "a helper that fails fails its test")]

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use daemon::caller::sounds::Renderer;
use daemon::caller::turn_taker::{Cue, Patience};
use daemon::caller::{CallPlan, Line, Protection, place};
use daemon::config::{Config, Extension, MailEncryption, RingGroup, RingTimeout};
use daemon::dial_plan::Target;
use daemon::engines::Engines;
use daemon::messages::Particulars;
use daemon::registrar::secrets::Secrets;
use daemon::service::Service;
use daemon::storage::{
    EscalationOutcome, FollowUpState, Reader, find_follow_up, list_follow_ups, list_sessions, list_voicemails,
    session_detail,
};
use tests::mail_server::MailServer;
use tests::peers::is_installed;
use tests::softphone::{Profile, Softphone};
use tests::web_client::request;

const PROGRAM: &str = env!("CARGO_BIN_EXE_offhook-under-test");
const LIMIT: Duration = Duration::from_secs(60);
/// The tone that a phone says. Hertz.
const PHONE_HZ: u32 = 700;

/// The sample office, never closed, with two phones that ring together.
fn office(folder: &Path) -> Config {
    let mut config = tests::scripted::config(folder);
    let always = vec!["00:00-24:00".to_owned()];
    let hours = &mut config.office.hours;
    let days = [
        &mut hours.monday,
        &mut hours.tuesday,
        &mut hours.wednesday,
        &mut hours.thursday,
        &mut hours.friday,
        &mut hours.saturday,
        &mut hours.sunday,
    ];
    days.into_iter().for_each(|day| day.clone_from(&always));
    config.office.holidays = Vec::new();
    // Longer than the patience of this caller, who takes the tone for the end of a sentence.
    config.conversation.message_silence_seconds = 15;
    config.office.operator = Some(Target::Group("front".into()));
    let extension = |number: &str| Extension {
        number: number.into(),
        ring_timeout_seconds: RingTimeout(5),
        ..Extension::default()
    };
    config.extensions = vec![extension("101"), extension("102")];
    let members = vec!["101".into(), "102".into()];
    config.ring_groups =
        vec![RingGroup { name: "front".into(), members, ring_timeout_seconds: RingTimeout(5), ..RingGroup::default() }];
    config
}

/// A caller who says this, and waits longer than the pauses of ringing.
async fn call(target: String, lines: Vec<Line>) {
    let patience = Patience { turn_end: Duration::from_millis(4_800), ..Patience::default() };
    let (protection, from) = (Protection::default(), Some("+12125550177".into()));
    place(CallPlan { target, protection, lines, record: None, patience, from }).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_gets_a_person_and_else_a_promise_that_somebody_takes() {
    if !is_installed("baresip") {
        return;
    }
    let Some(server) = MailServer::start(MailEncryption::Starttls) else { return };
    let status = Command::new(PROGRAM).args(["models", "fetch"]).status().unwrap();
    assert!(status.success(), "the models could not be fetched");
    let folder = tempfile::tempdir().unwrap();
    let mut config = office(folder.path());
    config.email = server.config(&["desk@office.example"]);
    config.api.enabled = true;
    config.api.port = 0;
    config.notices.link_base = Some("https://phone.office.example/links".into());
    let secrets = Secrets::new(&config.state_directory(), &config.sip.realm);
    let passwords = ["101", "102"].map(|extension| secrets.renew(extension).unwrap());
    let models = config.clone();
    let (engines, mut voice) =
        tokio::task::spawn_blocking(move || (Engines::load(&models), Renderer::load(&models).unwrap())).await.unwrap();
    assert_eq!(engines.degraded, Vec::<String>::new());
    let service = Service::start(config, engines).await.unwrap();
    let (address, api) = (service.address(), service.api_address().unwrap());
    let target = format!("sip:office@{address}");
    let mut say = |text: &str, cue: Cue| Line::Say { label: text.into(), samples: voice.render(text).unwrap(), cue };
    let wish = || "I would like to speak to a person, please.";

    // Two phones ring; one answers, hears who calls, presses 1, and both talk.
    let phone = |name: &str, index: usize, answers: bool| {
        let folder = folder.path().join(name);
        let profile = Profile::new(["101", "102"][index], &passwords[index], address, PHONE_HZ);
        Softphone::start(&folder, &Profile { answers, says: Duration::from_secs(40), ..profile })
    };
    let (mut desk, other) = tokio::task::block_in_place(|| (phone("desk", 0, true), phone("other", 1, false)));
    let pressed = tokio::task::spawn_blocking(move || {
        other.wait_for("CALL_INCOMING");
        desk.wait_for_output("Call established");
        desk.tell("sndcode", "1");
        (desk, other)
    });
    let talk = vec![
        say(wish(), Cue::AfterAnswer),
        say("Hello, this is Susan Miller. Can you hear me?", Cue::DuringAnswer(Duration::from_secs(6))),
    ];
    call(target.clone(), talk).await;
    let (desk, other) = pressed.await.unwrap();
    let heard = tokio::task::spawn_blocking(move || desk.heard()).await.unwrap();
    drop(other);
    assert!(audio::dsp::level::peak_dbov(&heard) > -30.0, "the phone hears the caller");

    // Both ring and nobody answers: a message, its words, a mail with the sound and a link, a promise.
    let silent = tokio::task::block_in_place(|| [phone("silent", 0, false), phone("silent too", 1, false)]);
    let message = "This is Susan Miller. Please call me back tomorrow at three. My number is two one two, five five \
                   five, zero one four two.";
    let leave = vec![
        say(wish(), Cue::AfterAnswer),
        say("Yes, please.", Cue::AfterAnswer),
        say(message, Cue::AfterAnswer),
        Line::Press("#".into()),
    ];
    call(target, leave).await;
    drop(silent);
    let hung_up = Instant::now();
    let reader = Reader::open(folder.path(), 1).unwrap();
    let mail = tokio::task::block_in_place(|| tests::poll(LIMIT, || server.mails().pop()));
    let mail = mail.unwrap_or_else(|| {
        let last = reader.read_blocking(|db| session_detail(db, &list_sessions(db, 1, None)?[0].call_id.to_string()));
        panic!("no mail after {:#?}", last.unwrap())
    });
    println!("mail {:.1} s after the caller has hung up", hung_up.elapsed().as_secs_f64());
    assert!(mail.contains("audio/wav") && mail.contains("Susan Miller"), "{mail}");

    let (found, promise, outcomes) = reader
        .read_blocking(|db| {
            let message = list_voicemails(db, None, 10)?.remove(0);
            let calls = list_sessions(db, 2, None)?;
            let outcome = |call: &daemon::storage::CallSession| {
                Ok(session_detail(db, &call.call_id.to_string())?.escalations[0].outcome)
            };
            let outcomes = calls.iter().map(outcome).collect::<Result<Vec<_>, daemon::storage::StorageError>>()?;
            let particulars = Particulars::of(db, message.voicemail_id)?.unwrap();
            Ok((particulars, list_follow_ups(db, false, 10)?.remove(0), outcomes))
        })
        .unwrap();
    assert_eq!(outcomes, [Some(EscalationOutcome::NoAnswer), Some(EscalationOutcome::Taken)], "the latest call first");
    assert_eq!((found.callback_number.as_deref(), found.when.as_deref()), (Some("2125550142"), Some("tomorrow 15:00")));

    let plain = mail.replace("=\r\n", "").replace("=3D", "=");
    let link = plain.split("https://phone.office.example").nth(1).unwrap().split_whitespace().next().unwrap();
    let headers = [("Host", "phone.office.example"), ("Content-Type", "application/x-www-form-urlencoded")];
    let taken = request(api, &format!("POST {link}"), &headers, "do=take&by=Carla");
    assert_eq!(taken.status, 303, "{}", taken.text());
    let id = promise.follow_up_id;
    let promise = reader.read_blocking(|db| find_follow_up(db, id)).unwrap().unwrap();
    assert_eq!((promise.state, promise.acknowledged_by.as_deref()), (FollowUpState::Acknowledged, Some("Carla")));
    service.stop().await;
}
