//! Messages and promises reach people: through a real mail server that misbehaves, web addresses and a text message
//! service that do, and a box that is killed meanwhile.
#![expect(clippy::unwrap_used, reason = "a helper that fails fails its test")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use daemon::bell::Bell;
use daemon::caller::turn_taker::{Cue, Patience};
use daemon::caller::{CallPlan, Line, Protection, place};
use daemon::config::{Config, MailEncryption, Webhook};
use daemon::messages::Particulars;
use daemon::notices::{Notifier, Recipients};
use daemon::office::{Staff, sample};
use daemon::requests::{Request, submit};
use daemon::service::Service;
use daemon::storage::{
    AudioFiles, Channel, FollowUpState, JobKind, Notice, NoticeFailure, NoticeKind, NoticeState, PlainWav, Storage,
    StorageConfig, UnixMs, VoicemailId, await_delivery, find_contact, find_follow_up, list_follow_ups, list_notices,
    list_voicemails, notices_of, queue_job, queue_notice, revive_notice,
};
use serde_json::Value;
use tests::mail_server::{MailServer, header};
use tests::messages::leave_message;
use tests::offhook::Offhook;
use tests::scripted::{config, engines, tone};
use tests::web_server::{Answer, Asked, WebServer};

const PROGRAM: &str = env!("CARGO_BIN_EXE_offhook-under-test");
const LIMIT: Duration = Duration::from_secs(60);

/// A database with messages that nobody was told of, and a notifier.
struct Rig {
    folder: tempfile::TempDir,
    storage: Storage,
    bell: Bell,
}

impl Rig {
    fn new() -> Rig {
        let folder = tempfile::tempdir().unwrap();
        let storage = Storage::open(&StorageConfig::new(folder.path())).unwrap().storage;
        Rig { folder, storage, bell: Bell::default() }
    }

    /// Sends until the rig is dropped.
    async fn notify(&self, config: &Config) {
        let (config, storage) = (config.clone(), self.storage.clone());
        let files = AudioFiles::open(self.folder.path(), Arc::new(PlainWav)).unwrap();
        let open =
            move || Notifier::open(&config, Staff::new(Arc::new(sample::office().unwrap())), storage, files).unwrap();
        let notifier = tokio::task::spawn_blocking(open).await.unwrap();
        tokio::spawn(notifier.run(self.bell.ear()));
    }

    /// A message of a call, and who is told of it.
    async fn message(&self, config: &Config, is_urgent: bool) -> VoicemailId {
        let recipients = Recipients::new(config);
        let id = self.storage.write(move |sql_tx| {
            let voicemail = leave_message(sql_tx)?;
            let (subject, thread) = (voicemail.voicemail_id.to_string(), voicemail.call_id.to_string());
            for notice in recipients.notices(NoticeKind::Message, &subject, &thread, is_urgent) {
                assert!(queue_notice(sql_tx, &notice, UnixMs::now())?);
            }
            Ok(voicemail.voicemail_id)
        });
        let id = id.await.unwrap();
        self.bell.ring();
        id
    }

    async fn notices(&self, id: VoicemailId) -> Vec<Notice> {
        self.storage.read(move |db| notices_of(db, &id.to_string())).await.unwrap()
    }

    /// Waits until the notices of a message are as wanted.
    async fn until(&self, id: VoicemailId, is_right: impl Fn(&[Notice]) -> bool) -> Vec<Notice> {
        let began = Instant::now();
        loop {
            let notices = self.notices(id).await;
            if is_right(&notices) {
                return notices;
            }
            assert!(began.elapsed() < LIMIT, "{notices:#?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        self.bell.silence();
    }
}

fn is_tried(notices: &[Notice]) -> bool {
    !notices.is_empty() && notices.iter().all(|notice| notice.attempts > 0 && notice.state != NoticeState::Sending)
}

/// What each recipient's notice has come to, by what stands before the @.
fn states(notices: &[Notice]) -> BTreeMap<String, (NoticeState, Option<NoticeFailure>)> {
    let who = |notice: &Notice| notice.new.recipient.reveal().split('@').next().unwrap().to_owned();
    notices.iter().map(|notice| (who(notice), (notice.state, notice.failure))).collect()
}

/// Everything a mail server may say leaves a clear state, over both kinds of TLS and with a password.
#[tokio::test(flavor = "multi_thread")]
async fn each_answer_of_a_mail_server_is_a_clear_state_in_the_record() {
    for encryption in [MailEncryption::Starttls, MailEncryption::Tls] {
        let Some(server) = MailServer::start(encryption) else { return };
        let to = ["desk", "unknown", "refused", "greylist", "busy"].map(|who| format!("{who}@office.example"));
        let mut config = Config { email: server.config(&to.each_ref().map(String::as_str)), ..Config::default() };
        config.email.to = to.to_vec();
        let rig = Rig::new();
        rig.notify(&config).await;
        let id = rig.message(&config, false).await;
        let notices = rig.until(id, is_tried).await;
        let expected = [
            ("busy", NoticeState::Queued, Some(NoticeFailure::Deferred)),
            ("desk", NoticeState::Sent, None),
            ("greylist", NoticeState::Queued, Some(NoticeFailure::Deferred)),
            ("refused", NoticeState::Dead, Some(NoticeFailure::Refused)),
            ("unknown", NoticeState::Dead, Some(NoticeFailure::Recipient)),
        ];
        let expected = expected.map(|(who, state, failure)| (who.to_owned(), (state, failure)));
        assert_eq!(states(&notices), BTreeMap::from(expected), "{:?}", server.log());
        let errors: Vec<_> = notices.iter().filter_map(|notice| notice.error.as_deref()).collect();
        assert!(errors.iter().any(|error| error.contains("no such user")), "in the server's words: {errors:?}");

        // Whoever was greylisted is taken the second time.
        let greylisted = notices.iter().find(|notice| notice.new.recipient.reveal().starts_with("greylist")).unwrap();
        let greylisted = greylisted.notification_id;
        rig.storage.write(move |sql_tx| revive_notice(sql_tx, greylisted, UnixMs::now())).await.unwrap();
        rig.bell.ring();
        let is_taken = |notices: &[Notice]| states(notices)["greylist"].0 == NoticeState::Sent;
        rig.until(id, is_taken).await;
        let mails = server.mails();
        assert_eq!(mails.len(), 2, "{mails:#?}");
        assert!(mails[0].contains("Anna Bell") && mails[0].contains("Please call me back."), "{}", mails[0]);

        // The next message of that caller is a reply to the first mail.
        config.email.to.truncate(1);
        let next = rig.message(&config, false).await;
        rig.until(next, |notices| notices.iter().all(|notice| notice.state == NoticeState::Sent)).await;
        let mails = server.mails();
        let (first, later) = (header(&mails[0], "Message-ID").unwrap(), header(&mails[2], "References"));
        assert_eq!(later, Some(first), "{}", mails[2]);
    }
}

/// A wrong password, a server that is not there, and one whose certificate nobody believes: the notice waits and says why.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_cannot_be_used_keeps_the_notice_waiting() {
    let Some(server) = MailServer::start(MailEncryption::Starttls) else { return };
    let right = server.config(&["desk@office.example"]);
    let folder = tempfile::tempdir().unwrap();
    let wrong = folder.path().join("password");
    std::fs::write(&wrong, "wrong").unwrap();
    let nowhere = tests::offhook::free_port();
    for (email, failure) in [
        (daemon::config::Email { password_file: Some(wrong), ..right.clone() }, NoticeFailure::Credentials),
        (daemon::config::Email { port: nowhere, ..right.clone() }, NoticeFailure::Unreachable),
        (daemon::config::Email { trust_file: None, ..right.clone() }, NoticeFailure::Unreachable),
    ] {
        let config = Config { email, ..Config::default() };
        let rig = Rig::new();
        rig.notify(&config).await;
        let id = rig.message(&config, false).await;
        let notices = rig.until(id, is_tried).await;
        assert_eq!(states(&notices)["desk"], (NoticeState::Queued, Some(failure)), "{notices:#?}");
        assert!(notices[0].due_at > UnixMs::now() && notices[0].error.is_some(), "{notices:#?}");
    }
    assert_eq!(server.mails(), Vec::<String>::new());
}

/// From the caller's words to a mail with the sound, a promise, and somebody who takes it.
#[tokio::test(flavor = "multi_thread")]
async fn a_message_becomes_a_mail_with_its_sound_and_a_promise_that_is_taken() {
    let Some(server) = MailServer::start(MailEncryption::Starttls) else { return };
    let _line = tests::a_line().await;
    let folder = tempfile::tempdir().unwrap();
    let heard = [
        "i want to leave a message",
        "This is Anna Bell. Please call me back tomorrow at three. It is urgent.",
        "no thank you goodbye",
    ];
    let mut config = config(folder.path());
    config.email = server.config(&["desk@office.example"]);
    let service = Service::start(config, engines(&heard)).await.unwrap();
    let lines =
        vec![tone(0, Cue::AfterAnswer), tone(1, Cue::AfterAnswer), Line::Press("#".into()), tone(2, Cue::AfterAnswer)];
    let target = format!("sip:office@{}", service.address());
    let plan = CallPlan {
        target,
        protection: Protection::default(),
        lines,
        record: None,
        patience: Patience::default(),
        from: None,
    };
    place(plan).await.unwrap();
    let hung_up = Instant::now();
    let mails = tokio::task::spawn_blocking(move || {
        tests::poll(LIMIT, || Some(server.mails()).filter(|mails| !mails.is_empty())).expect("a mail")
    });
    let mail = mails.await.unwrap().remove(0);
    assert!(hung_up.elapsed() < Duration::from_secs(20), "{:?}", hung_up.elapsed());
    assert!(mail.contains("audio/wav") && mail.contains("Content-Disposition: attachment"), "{mail}");

    let state = folder.path().to_owned();
    let taken = tokio::task::spawn_blocking(move || {
        let reader = daemon::storage::Reader::open(&state, 1).unwrap();
        let message = reader.read_blocking(|db| Ok(list_voicemails(db, None, 10)?.remove(0))).unwrap();
        let found = reader.read_blocking(|db| Particulars::of(db, message.voicemail_id)).unwrap().unwrap();
        let promises = reader.read_blocking(|db| list_follow_ups(db, false, 10)).unwrap();
        // The words are what the script hears in the sound of the message: they decide whether there is a promise.
        for promise in &promises {
            submit(&state, &Request::Acknowledge { id: promise.follow_up_id, by: "Carla".into() }).unwrap();
        }
        let after = reader.read_blocking(|db| list_follow_ups(db, false, 10)).unwrap();
        (message, found, after)
    });
    let (message, found, promises) = taken.await.unwrap();
    service.stop().await;
    let said = message.transcript.map(|text| text.reveal().clone());
    assert!(said.as_deref().is_some_and(|said| said.contains("Anna Bell")), "{said:?}");
    assert_eq!((found.name.as_deref(), found.when.as_deref()), (Some("Anna Bell"), Some("tomorrow 15:00")));
    assert!(found.is_urgent);
    assert_eq!(promises.len(), 1);
    assert_eq!(promises[0].state, FollowUpState::Acknowledged);
    assert_eq!(promises[0].acknowledged_by.as_deref(), Some("Carla"));
}

/// kill -9 wherever it hits, from the kept message to the mail: every message is told of once and makes one promise. What
/// the server got twice, because the box died before it could note the first time, has the Message-ID it had.
#[test]
fn a_box_that_is_killed_again_and_again_loses_no_message() {
    // OFFHOOK_KILLS=200 takes some minutes.
    let kills_max: usize = std::env::var("OFFHOOK_KILLS").map_or(60, |kills| kills.parse().unwrap());
    let count = 2 * kills_max;
    let Some(server) = MailServer::start(MailEncryption::None) else { return };
    let folder = tempfile::tempdir().unwrap();
    let storage = Storage::open(&StorageConfig::new(folder.path())).unwrap().storage;
    storage
        .write_blocking(move |sql_tx| {
            for _ in 0..count {
                let (voicemail, now) = (leave_message(sql_tx)?, UnixMs::now());
                queue_job(sql_tx, JobKind::Transcribe, &voicemail.voicemail_id.to_string(), now, now)?;
            }
            Ok(())
        })
        .unwrap();
    storage.close_blocking();
    drop(storage);
    let file = folder.path().join("offhook.toml");
    let port = server.config(&[]).port;
    let text = format!(
        "[email]\nenabled = true\nserver = 'localhost'\nport = {port}\nencryption = 'none'\n\
         from = 'box@office.example'\nto = ['slow@office.example']\n"
    );
    std::fs::write(&file, text).unwrap();
    let mut kills = 0;
    while server.mails().len() < count && kills < kills_max {
        let offhook = Offhook::start_wordless(Path::new(PROGRAM), folder.path(), &file, &[]);
        let (before, more) = (server.mails().len(), kills % 5);
        let patience = Duration::from_millis(u64::try_from(kills * 37 % 230).unwrap());
        tests::poll(patience, || (server.mails().len() > before + more).then_some(()));
        offhook.kill();
        kills += 1;
    }
    let offhook = Offhook::start_wordless(Path::new(PROGRAM), folder.path(), &file, &[]);
    let rows = |arguments: &[&str]| -> Vec<Value> {
        let output = offhook.run(&[arguments, &["-n", "1000", "--json"]].concat());
        serde_json::from_slice(&output.stdout).unwrap()
    };
    let all_sent = || {
        let sent = rows(&["notices", "list", "--state", "sent"]);
        (sent.iter().filter(|notice| notice["kind"] == "message").count() == count).then_some(())
    };
    tests::poll(LIMIT, all_sent).expect("all are sent");
    let (messages, promises) = (rows(&["messages", "list"]), rows(&["followups", "list"]));
    offhook.stop();
    let is_done = |job: &Value| job["state"] == "done";
    assert!(messages.iter().all(|one| one["jobs"].as_array().unwrap().iter().all(is_done)), "{messages:#?}");
    // Close to the office's closing time promises are reminded of, too.
    let is_of_message = |mail: &&String| header(mail, "Subject").is_some_and(|subject| subject.starts_with("Message"));
    assert_eq!((messages.len(), promises.len()), (count, count));
    let mails = server.mails();
    let of_messages = mails.iter().filter(is_of_message);
    let ids: Vec<_> = of_messages.map(|mail| header(mail, "Message-ID").unwrap().to_owned()).collect();
    let distinct: BTreeSet<_> = ids.iter().collect();
    assert_eq!(distinct.len(), count, "every message, and nothing else");
    let twice = ids.len() - distinct.len();
    println!("{count} messages, {kills} kills, {twice} repeated under their Message-ID");
    assert!(kills > 5, "it was killed at work: {kills}");
    assert!(twice <= kills, "a kill repeats at most the notice it hit");
}

fn webhook(folder: &Path, url: String) -> Webhook {
    let secret_file = folder.join("secret");
    std::fs::write(&secret_file, "secret\n").unwrap();
    Webhook { enabled: true, url, secret_file: Some(secret_file), timeout_seconds: 1 }
}

/// An address that hangs, fails, leads elsewhere or takes it: signed each time, the same key in every attempt.
#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_is_signed_has_one_key_and_is_not_led_elsewhere() {
    let elsewhere = WebServer::start(|_| Answer::Status(200, String::new()));
    let there = elsewhere.url();
    let attempts = AtomicUsize::new(0);
    let server = WebServer::start(move |asked: &Asked| match (attempts.fetch_add(1, Ordering::SeqCst), &*asked.line) {
        (0, _) => Answer::Hang(Duration::from_secs(3)),
        (1, _) => Answer::Status(503, String::new()),
        (2, _) => Answer::Status(200, String::new()),
        _ => Answer::Redirect(there.clone()),
    });
    let rig = Rig::new();
    let config = Config { webhook: webhook(rig.folder.path(), server.url()), ..Config::default() };
    rig.notify(&config).await;
    let id = rig.message(&config, false).await;
    for failure in [Some(NoticeFailure::Unreachable), Some(NoticeFailure::Deferred), None] {
        let notices = rig.until(id, |notices| is_tried(notices) && notices[0].failure == failure).await;
        let id = notices[0].notification_id;
        if failure.is_some() {
            rig.storage.write(move |sql_tx| revive_notice(sql_tx, id, UnixMs::now())).await.unwrap();
            rig.bell.ring();
        }
    }
    let asked = server.asked();
    let keys: BTreeSet<_> = asked.iter().map(|asked| asked.headers["idempotency-key"].clone()).collect();
    assert_eq!((asked.len(), keys.len()), (3, 1), "{asked:#?}");
    let body: Value = serde_json::from_str(&asked[2].body).unwrap();
    assert_eq!((&body["kind"], &body["caller_name"]), (&"message".into(), &"Anna Bell".into()), "{body}");
    assert!(asked[2].headers["offhook-signature"].starts_with("t="), "{asked:#?}");

    let led = rig.message(&config, false).await;
    let notices = rig.until(led, is_tried).await;
    assert_eq!((notices[0].state, notices[0].failure), (NoticeState::Dead, Some(NoticeFailure::Refused)));
    assert_eq!(elsewhere.asked().len(), 0, "what is signed for one address is not given to another");
}

/// A stand-in for the Messages API: it knows an account and its key, and who has answered STOP.
fn text_service() -> WebServer {
    let taken = std::sync::Mutex::new(Vec::<Value>::new());
    WebServer::start(move |asked: &Asked| {
        // "AC1:secret"
        if asked.headers.get("authorization").map(String::as_str) != Some("Basic QUMxOnNlY3JldA==") {
            return Answer::Status(401, r#"{"code":20003,"message":"Authenticate"}"#.into());
        }
        let mut taken = taken.lock().unwrap();
        if asked.line.starts_with("GET /2010-04-01/Accounts/AC1/Messages.json") {
            return Answer::Status(200, serde_json::json!({ "messages": *taken }).to_string());
        }
        let form: BTreeMap<_, _> = asked.body.split('&').filter_map(|pair| pair.split_once('=')).collect();
        let to = form["To"].replace("%2B", "+");
        if to == "+12125550199" {
            return Answer::Status(
                400,
                r#"{"code":21610,"message":"Attempt to send to unsubscribed recipient"}"#.into(),
            );
        }
        let sid = format!("SM{}", taken.len() + 1);
        taken.push(serde_json::json!({ "sid": sid, "to": to }));
        Answer::Status(201, serde_json::json!({ "sid": sid, "status": "queued" }).to_string())
    })
}

/// Text messages go for what is urgent, never to somebody who has answered STOP, and not beyond what may be spent.
#[tokio::test(flavor = "multi_thread")]
async fn text_messages_respect_stop_and_the_months_limit() {
    let service = text_service();
    let rig = Rig::new();
    let secret_file = rig.folder.path().join("sms");
    std::fs::write(&secret_file, "secret").unwrap();
    let mut config = Config::default();
    config.sms.enabled = true;
    config.sms.account = "AC1".into();
    config.sms.secret_file = Some(secret_file);
    config.sms.from = Some("+12125550100".into());
    config.sms.to = vec!["+12125550142".into(), "+12125550199".into()];
    config.sms.api_url = service.url();
    config.sms.part_price_cents = 10.0;
    config.sms.monthly_limit_cents = 25.0;
    rig.notify(&config).await;
    let calm = rig.message(&config, false).await;
    assert_eq!(rig.notices(calm).await, [], "a text message is for what cannot wait");

    let urgent = rig.message(&config, true).await;
    let notices = rig.until(urgent, is_tried).await;
    assert_eq!((notices[0].state, notices[0].reference.as_deref()), (NoticeState::Sent, Some("SM1")), "{notices:#?}");
    assert_eq!((notices[1].state, notices[1].failure), (NoticeState::Dead, Some(NoticeFailure::Stopped)));

    let asked = service.asked().len();
    let second = rig.message(&config, true).await;
    let notices = rig.until(second, is_tried).await;
    assert_eq!(notices[1].failure, Some(NoticeFailure::Stopped), "remembered");
    assert_eq!(service.asked().len(), asked + 1, "and not asked again");

    config.sms.to.truncate(1);
    let third = rig.message(&config, true).await;
    let notices = rig.until(third, is_tried).await;
    assert_eq!((notices[0].state, notices[0].failure), (NoticeState::Queued, Some(NoticeFailure::SpendLimit)));
    assert_eq!(service.asked().len(), asked + 1, "two are 20 cents, three would be 30");
    let all = rig.storage.read(|db| list_notices(db, Some(NoticeState::Sent), 10)).await.unwrap();
    assert!(all.iter().all(|notice| notice.new.channel == Channel::Sms), "{all:#?}");
}

/// A service that has taken a text says later whether it arrived, and has the answers to it: both are asked for.
#[tokio::test(flavor = "multi_thread")]
async fn texts_are_followed_until_they_arrive_and_their_answers_count() {
    let states = AtomicUsize::new(0);
    let service = WebServer::start(move |asked: &Asked| {
        let path = asked.line.split_once("/Messages").unwrap().1;
        let body = match path {
            ".json" => serde_json::json!({ "sid": format!("SM{}", asked.body.len()), "status": "queued" }),
            // What the office's number got: the latest first, and our own texts among them.
            _ if path.starts_with(".json?To=%2B12125550100") => serde_json::json!({ "messages": [
                { "sid": "SM9", "direction": "inbound", "from": "+12125550142", "to": "+12125550100", "body": "done 0417" },
                { "sid": "SM8", "direction": "inbound", "from": "+12125550142", "to": "+12125550100", "body": "OK 0417" },
                { "sid": "SM7", "direction": "inbound", "from": "+12125550143", "to": "+12125550100", "body": "STOP" },
                { "sid": "SM6", "direction": "outbound-api", "from": "+12125550100", "body": "DONE 0417" },
            ] }),
            _ => match states.fetch_add(1, Ordering::SeqCst) {
                0 => serde_json::json!({ "status": "sent", "error_code": null }),
                _ => serde_json::json!({ "status": "undelivered", "error_code": 30006 }),
            },
        };
        Answer::Status(200, body.to_string())
    });
    let rig = Rig::new();
    let secret_file = rig.folder.path().join("sms");
    std::fs::write(&secret_file, "secret").unwrap();
    let mut config = Config::default();
    config.sms.enabled = true;
    config.sms.account = "AC1".into();
    config.sms.secret_file = Some(secret_file);
    config.sms.from = Some("+12125550100".into());
    config.sms.to = vec!["+12125550142".into()];
    config.sms.api_url = service.url();
    let promise = tests::messages::promise("0417");
    let promised = promise.follow_up_id;
    let kept = rig.storage.write(move |sql_tx| daemon::storage::insert_follow_up(sql_tx, &promise)).await.unwrap();
    assert!(kept);
    rig.notify(&config).await;
    let id = rig.message(&config, true).await;
    let notices = rig.until(id, is_tried).await;
    assert_eq!((notices[0].state, notices[0].delivery.as_deref()), (NoticeState::Sent, None), "{notices:#?}");
    let notice = notices[0].notification_id;
    for expected in
        [("sent", NoticeState::Sent, None), ("undelivered", NoticeState::Dead, Some(NoticeFailure::Recipient))]
    {
        // A person would wait for it.
        rig.storage.write(move |sql_tx| await_delivery(sql_tx, notice, UnixMs::now())).await.unwrap();
        rig.bell.ring();
        let is_said = |notices: &[Notice]| notices[0].delivery.as_deref() == Some(expected.0);
        let notices = rig.until(id, is_said).await;
        assert_eq!((notices[0].state, notices[0].failure), (expected.1, expected.2), "{notices:#?}");
    }
    let followed = rig.storage.read(move |db| {
        let promise = find_follow_up(db, promised)?.unwrap();
        let stopped = find_contact(db, "+12125550143")?.unwrap().sms_stopped_at.is_some();
        Ok((promise.state, promise.acknowledged_by, stopped))
    });
    let (state, by, is_stopped) = followed.await.unwrap();
    assert_eq!((state, by.as_deref(), is_stopped), (FollowUpState::Closed, Some("+12125550142"), true));
}
