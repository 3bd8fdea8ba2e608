//! What reaches the box from outside of the office: people with a link, and the service of text messages.
#![expect(clippy::unwrap_used, reason = "a helper that fails fails its test")]

use std::path::Path;
use std::sync::Arc;

use cloud_api::signature::Signer;
use daemon::config::Config;
use daemon::notices::link::Links;
use daemon::service::Service;
use daemon::storage::{
    AudioFiles, FollowUp, FollowUpState, NewAudio, NoticeState, PlainWav, Reader, RecordingId, RecordingKind, Storage,
    StorageConfig, UnixMs, Voicemail, VoicemailId, VoicemailStatus, await_delivery, begin_notice, find_follow_up,
    find_voicemail, finish_notice, insert_follow_up, insert_recording, insert_voicemail, list_received_texts,
    notices_of, queue_notice, reference_of,
};
use tests::messages::{leave_message, promise};
use tests::scripted::{config, engines};
use tests::web_client::{Reply, request};

const BASE: &str = "https://phone.office.example/links";
const CALLBACK: &str = "https://phone.office.example/callbacks/twilio";

/// A box whose HTTP interface is open, on what `before` has written.
async fn open<T: Send + 'static>(
    folder: &Path,
    set: impl FnOnce(&mut Config),
    before: impl FnOnce(&Storage, &AudioFiles) -> T + Send + 'static,
) -> (Service, T) {
    let path = folder.to_owned();
    let before = tokio::task::spawn_blocking(move || {
        let storage = Storage::open(&StorageConfig::new(&path)).unwrap().storage;
        let made = before(&storage, &AudioFiles::open(&path, Arc::new(PlainWav)).unwrap());
        storage.close_blocking();
        made
    });
    let made = before.await.unwrap();
    let mut config = config(folder);
    config.api.enabled = true;
    config.api.port = 0;
    set(&mut config);
    (Service::start(config, engines(&[])).await.unwrap(), made)
}

/// Asks on a thread of its own.
async fn ask(service: &Service, line: String, headers: Vec<(&'static str, String)>, body: String) -> Reply {
    let api = service.api_address().unwrap();
    let asked = tokio::task::spawn_blocking(move || {
        let headers: Vec<_> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        request(api, &line, &headers, &body)
    });
    asked.await.unwrap()
}

fn host() -> Vec<(&'static str, String)> {
    vec![("Host", "phone.office.example".into())]
}

fn form() -> Vec<(&'static str, String)> {
    [host(), vec![("Content-Type", "application/x-www-form-urlencoded".into())]].concat()
}

/// The message that a link is about, with two seconds of sound, and the promise that it has become.
fn message(storage: &Storage, files: &AudioFiles) -> (VoicemailId, FollowUp) {
    let files = files.clone();
    let left = storage.write_blocking(|sql_tx| leave_message(sql_tx)).unwrap();
    let (recording_id, started_at) = (RecordingId::new(UnixMs::now()), UnixMs::now());
    let audio = NewAudio { recording_id, call_id: left.call_id, kind: RecordingKind::Voicemail, started_at };
    let mut partial = files.begin(audio).unwrap();
    partial.write(&[1_000; 16_000]).unwrap();
    let finished = partial.finish(UnixMs::now()).unwrap();
    let recording = finished.recording.clone();
    storage
        .write_blocking(move |sql_tx| {
            insert_recording(sql_tx, &recording)?;
            let id = VoicemailId::new(UnixMs::now());
            let transcript = Some("Please <b>call</b> me back at three.".to_owned().into());
            let message = Voicemail { voicemail_id: id, recording_id: Some(recording_id), transcript, ..left };
            insert_voicemail(sql_tx, &message)?;
            let promise = FollowUp { voicemail_id: Some(id), ..promise(&reference_of(id)) };
            insert_follow_up(sql_tx, &promise)?;
            Ok((id, promise))
        })
        .inspect(|_| finished.registered())
        .unwrap()
}

/// Whoever has the link of a notice reads and hears what it is about, takes care of it and says that it is done. A link
/// that was changed or has ended opens nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_link_opens_a_message_and_its_promise_is_taken_and_kept() {
    let folder = tempfile::tempdir().unwrap();
    let set = |config: &mut Config| config.notices.link_base = Some(BASE.into());
    let (service, (message, promised)) = open(folder.path(), set, message).await;
    let links = Links::open(BASE, 7, &folder.path().join("machine")).unwrap();
    let path = |at: UnixMs| links.to(&message.to_string(), at).replace("https://phone.office.example", "");
    let link = path(UnixMs::now());
    let get = |path: String| ask(&service, format!("GET {path}"), host(), String::new());

    let page = get(link.clone()).await;
    assert_eq!((page.status, page.header("cache-control")), (200, Some("no-store")), "{}", page.head);
    for shown in ["Anna Bell", &reference_of(message), "Please &lt;b&gt;call&lt;", "I take care of it", "<audio"] {
        assert!(page.text().contains(shown), "without {shown}: {}", page.text());
    }
    let (row, query) = link.split_once('?').unwrap();
    let sound = get(format!("{row}/sound?{query}")).await;
    assert_eq!((sound.status, sound.header("content-type")), (200, Some("audio/wav")));
    assert!(sound.body.starts_with(b"RIFF") && sound.body.len() > 32_000, "{}", sound.body.len());
    let read = Reader::open(folder.path(), 1).unwrap();
    let state = || {
        let id = promised.follow_up_id;
        let read = read.read_blocking(move |db| {
            Ok((find_follow_up(db, id)?.unwrap(), find_voicemail(db, message)?.unwrap().status))
        });
        let (promise, message) = read.unwrap();
        (promise.state, promise.acknowledged_by, message)
    };
    assert_eq!(state(), (FollowUpState::Open, None, VoicemailStatus::New), "reading changes nothing");

    let post = |body: &str| ask(&service, format!("POST {link}"), form(), body.to_owned());
    assert_eq!(post("do=take&by=").await.status, 400, "nobody takes it");
    assert_eq!(post("do=everything").await.status, 409);
    let taken = post("do=take&by=Carla+%3CM%3E").await;
    assert_eq!((taken.status, taken.header("location").unwrap()), (303, format!("?{query}").as_str()));
    assert_eq!(state(), (FollowUpState::Acknowledged, Some("Carla <M>".into()), VoicemailStatus::Heard));
    assert!(get(link.clone()).await.text().contains("Carla &lt;M&gt; takes care of it."));
    assert_eq!(post("do=done").await.status, 303);
    assert_eq!(state().0, FollowUpState::Closed);
    assert_eq!(post("do=take&by=Ben").await.status, 409, "it is over");
    assert!(!get(link.clone()).await.text().contains("<form"));

    let long_ago = UnixMs(UnixMs::now().0 - 8 * 24 * 60 * 60 * 1_000);
    let other = VoicemailId::new(UnixMs::now()).to_string();
    for (path, status) in [
        (path(long_ago), 410),
        (link.replace("key=", "key=00"), 404),
        (link.replace(&message.to_string(), &other), 404),
        (links.to(&other, UnixMs::now()).replace("https://phone.office.example", ""), 410),
        (row.to_owned(), 400),
        ("/v1/calls".to_owned(), 403),
    ] {
        let answer = get(path.clone()).await;
        assert_eq!(answer.status, status, "{path}: {}", answer.text());
    }
    service.stop().await;
}

/// A text message that was sent, and its promise.
fn text(storage: &Storage, _: &AudioFiles) -> (VoicemailId, FollowUp) {
    storage
        .write_blocking(|sql_tx| {
            let (message, promise) = (leave_message(sql_tx)?, promise("0417"));
            insert_follow_up(sql_tx, &promise)?;
            let mut config = Config::default();
            config.sms.enabled = true;
            config.sms.to = vec!["+12125550142".into()];
            let recipients = daemon::notices::Recipients::new(&config);
            let (subject, now) = (message.voicemail_id.to_string(), UnixMs::now());
            let notices = recipients.notices(daemon::storage::NoticeKind::Message, &subject, "call", true);
            queue_notice(sql_tx, &notices[0], now)?;
            let id = notices_of(sql_tx, &subject)?[0].notification_id;
            begin_notice(sql_tx, id, now)?;
            finish_notice(sql_tx, id, "SM1", 1.0, now)?;
            await_delivery(sql_tx, id, UnixMs(now.0 + 60_000))?;
            Ok((message.voicemail_id, promise))
        })
        .unwrap()
}

/// The service tells what became of a text and what is answered to it; whoever cannot sign for it changes nothing.
#[tokio::test(flavor = "multi_thread")]
async fn the_text_service_is_believed_when_it_signs() {
    let folder = tempfile::tempdir().unwrap();
    let token = folder.path().join("token");
    std::fs::write(&token, "12345").unwrap();
    let set = |config: &mut Config| {
        config.sms.enabled = true;
        config.sms.account = "AC1".into();
        config.sms.secret_file = Some(token);
        config.sms.from = Some("+12125550100".into());
        config.sms.to = vec!["+12125550142".into()];
        config.sms.callback_url = Some(CALLBACK.into());
        // Nothing is sent there in this test.
        config.sms.api_url = "http://127.0.0.1:9".into();
    };
    let (service, (message, promised)) = open(folder.path(), set, text).await;
    let signer = Signer::new("12345");
    let call = |pairs: &[(&str, &str)], signer: Option<&Signer>| {
        let pairs: Vec<_> = pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let escaped = |text: &str| text.replace('+', "%2B").replace(' ', "+");
        let body: Vec<_> = pairs.iter().map(|(name, value)| format!("{name}={}", escaped(value))).collect();
        let signature = signer.map(|signer| ("X-Twilio-Signature", signer.sign(CALLBACK, &pairs)));
        let headers = form().into_iter().chain(signature).collect();
        ask(&service, "POST /callbacks/twilio".to_owned(), headers, body.join("&"))
    };
    let delivered = [("MessageSid", "SM1"), ("MessageStatus", "delivered")];
    let taken = [("MessageSid", "SM2"), ("From", "+12125550142"), ("To", "+12125550100"), ("Body", "OK 0417")];
    let read = Reader::open(folder.path(), 1).unwrap();
    let state = || {
        let (id, subject) = (promised.follow_up_id, message.to_string());
        let read = read.read_blocking(move |db| {
            let notice = notices_of(db, &subject)?.remove(0);
            Ok((
                notice.state,
                notice.delivery,
                find_follow_up(db, id)?.unwrap().state,
                list_received_texts(db, 9)?.len(),
            ))
        });
        read.unwrap()
    };
    let untouched = (NoticeState::Sent, None, FollowUpState::Open, 0);
    assert_eq!(call(&delivered, None).await.status, 403);
    assert_eq!(call(&taken, Some(&Signer::new("12346"))).await.status, 403);
    assert_eq!(state(), untouched);
    assert_eq!(call(&[("MessageStatus", "delivered")], Some(&signer)).await.status, 400);
    assert_eq!(call(&[("MessageSid", "SM7"), ("MessageStatus", "sent")], Some(&signer)).await.status, 200, "not ours");
    assert_eq!(state(), untouched);

    assert_eq!(call(&delivered, Some(&signer)).await.status, 200);
    let answer = call(&taken, Some(&signer)).await;
    assert_eq!((answer.status, answer.header("content-type")), (200, Some("text/xml")));
    assert!(answer.text().contains("<Response><Message>0417 is yours."), "{}", answer.text());
    let again = call(&taken, Some(&signer)).await;
    assert!(again.text().ends_with("<Response></Response>"), "{}", again.text());
    assert_eq!(state(), (NoticeState::Sent, Some("delivered".into()), FollowUpState::Acknowledged, 1));
    service.stop().await;
}
