//! A box that is down, and a carrier that tells its cloud instead: everything is on the box when that is back, once, as if it
//! had been there. The carrier is a stand-in that signs as Twilio does and serves what it has recorded.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::time::Duration;

use audio::dsp::tone::sine;
use audio::time::SampleRate;
use cloud::store::deliveries::Deliveries as _;
use cloud::store::{AnyStore, Sqlite};
use cloud_api::signature::Signer;
use daemon::config::Config;
use daemon::notices::Recipients;
use daemon::storage::{
    FollowUpState, NoticeKind, Reader, RecordingKind, Storage, StorageConfig, UnixMs, VoicemailEnd, await_delivery,
    begin_notice, find_contact, find_follow_up, finish_notice, insert_follow_up, list_received_texts, list_sessions,
    list_voicemails, notices_of, queue_notice, recordings_of,
};
use serde_json::Value;
use tests::authority::Authority;
use tests::cloud::CloudProcess;
use tests::messages::{leave_message, promise};
use tests::offhook::free_port;
use tests::poll;
use tests::web_client::{Reply, request};
use tests::web_server::{Answer, Asked, WebServer};
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::{ClientConnection, StreamOwned};

use super::{CLOUD, Folders, LIMIT, NUMBER, carrier, claim, said, start_box};

const BASE: &str = "https://cloud.example.org";
const ACCOUNT: &str = "AC0123456789abcdef0123456789abcdef";
const CALL: &str = "CA0123456789abcdef0123456789abcdef";
const RECORDING: &str = "RE0123456789abcdef0123456789abcdef";
const NOTICE: &str = "SM00000000000000000000000000000001";
const CALLER: &str = "+15551234567";
const COLLEAGUE: &str = "+12125550143";
const TOKEN: &str = "correct-horse";

/// Whoever stands in for Twilio.
struct Twilio {
    cloud: SocketAddr,
    signer: Signer,
}

impl Twilio {
    /// What is answered to a form that is POSTed to this path, signed with this token.
    fn tell_as(&self, signer: &Signer, path: &str, fields: &[(&str, &str)]) -> Reply {
        let form: Vec<(String, String)> = std::iter::once(("AccountSid", ACCOUNT))
            .chain(fields.iter().copied())
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(&form).finish();
        let signature = signer.sign(&format!("{BASE}{path}"), &form);
        let headers = [
            ("Host", "cloud.example.org"),
            ("Content-Type", "application/x-www-form-urlencoded"),
            ("X-Twilio-Signature", signature.as_str()),
            ("I-Twilio-Idempotency-Token", "7b3c"),
        ];
        request(self.cloud, &format!("POST {path}"), &headers, &body)
    }

    /// As [`tell_as`](Twilio::tell_as) the account itself. It tells everything twice, and is answered the same.
    fn tell(&self, path: &str, fields: &[(&str, &str)]) -> String {
        let [first, again] = [(); 2].map(|()| self.tell_as(&self.signer, path, fields));
        assert_eq!((first.status, again.status), (200, 200), "{path}: {}", first.text());
        assert_eq!(first.header("content-type"), Some("text/xml; charset=utf-8"));
        assert_eq!(first.text(), again.text());
        first.text().to_owned()
    }
}

/// Three seconds of a tone, as Twilio's recordings are: 8 kHz, 16 bits, one voice.
fn recording(folder: &Path) -> Vec<u8> {
    let path = folder.join("recording.wav");
    let tone = sine(440.0, Duration::from_secs(3), -20.0, SampleRate::NARROW_BAND);
    audio::wav::write(&path, &tone, SampleRate::NARROW_BAND).unwrap();
    std::fs::read(path).unwrap()
}

/// A text message that has gone to a colleague, and a promise that they may take.
fn write_past(folder: &Path) -> (String, daemon::storage::FollowUpId) {
    let storage = Storage::open(&StorageConfig::new(folder)).unwrap().storage;
    let written = storage.write_blocking(|sql_tx| {
        let (message, promise) = (leave_message(sql_tx)?, promise("0417"));
        insert_follow_up(sql_tx, &promise)?;
        let mut config = Config::default();
        config.sms.enabled = true;
        config.sms.to = vec![COLLEAGUE.into()];
        let (subject, now) = (message.voicemail_id.to_string(), UnixMs::now());
        let notices = Recipients::new(&config).notices(NoticeKind::Message, &subject, "call", true);
        queue_notice(sql_tx, &notices[0], now)?;
        let id = notices_of(sql_tx, &subject)?[0].notification_id;
        begin_notice(sql_tx, id, now)?;
        finish_notice(sql_tx, id, NOTICE, 1.0, now)?;
        await_delivery(sql_tx, id, UnixMs(now.0 + 600_000))?;
        Ok((subject, promise.follow_up_id))
    });
    storage.close_blocking();
    written.unwrap()
}

#[test]
fn what_reaches_the_cloud_is_on_the_box_when_that_is_back() {
    let (folders, carrier) = (Folders::new(), carrier());
    std::fs::create_dir(&folders.cloud).unwrap();
    let wav = recording(&folders.cloud);
    let served = wav.clone();
    let hiding = std::sync::atomic::AtomicBool::new(true);
    let twilio_api = WebServer::start(move |asked: &Asked| match asked.line.as_str() {
        "POST /hook" => Answer::Status(200, String::new()),
        // It is not there yet when it is first asked for.
        _ if hiding.swap(false, std::sync::atomic::Ordering::Relaxed) => Answer::Status(404, String::new()),
        line if line.ends_with(&format!("/Accounts/{ACCOUNT}/Recordings/{RECORDING}.wav")) => {
            Answer::File("audio/x-wav", served.clone())
        }
        _ => Answer::Status(400, String::new()),
    });
    let listen = SocketAddr::from(([127, 0, 0, 1], free_port()));
    let settings = [
        format!("twilio.address={listen}"),
        format!("twilio.url={BASE}"),
        format!("twilio.api_url={}", twilio_api.url()),
    ];
    let settings: Vec<&str> = settings.iter().map(String::as_str).collect();
    let cloud = CloudProcess::start(Path::new(CLOUD), &folders.cloud, &settings);
    let mut settings = folders.settings(&cloud, &format!("localhost:{}", cloud.address().port()));
    let (subject, promised) = write_past(&folders.office);
    assert!(claim(&settings, &cloud.code("bakery")).status.success());
    let box_id = folders.box_name().box_id;

    // What a tenant has there is said with what is wrong, and its token is shown to nobody.
    let token = folders.cloud.join("token");
    std::fs::write(&token, TOKEN).unwrap();
    let set = |arguments: &[&str]| {
        let output = cloud.run(&[&["twilio"], arguments].concat());
        (output.status.success(), said(&output))
    };
    let (is_set, why) = set(&["account", "bakery", ACCOUNT, "--token-file", token.to_str().unwrap()]);
    assert!(is_set, "{why}");
    assert!(!set(&["number", "bakery", NUMBER, "another-box"]).0 && !set(&["number", "butcher", NUMBER, &box_id]).0);
    assert!(set(&["number", "bakery", NUMBER, &box_id]).0);
    let (is_set, why) =
        set(&["words", "bakery", "--greeting", "Corner Bakery. Please leave a message.", "--language", "de-DE"]);
    assert!(!is_set && why.contains("goodbye: expected words in de-DE"), "{why}");
    assert!(set(&["words", "bakery", "--greeting", "Corner Bakery. Please leave a message."]).0);
    let shown = cloud.ask(&["twilio", "show", "bakery"]);
    assert_eq!(shown["numbers"][NUMBER], Value::from(box_id.clone()));
    assert!(!format!("{shown}{}", set(&["show", "bakery"]).1).contains(TOKEN));
    let paths = ["voice_url", "sms_url"].map(|key| shown[key].as_str().unwrap().strip_prefix(BASE).unwrap().to_owned());
    let [voice, sms] = &paths;
    let status_url = shown["boxes"][0]["status_url"].as_str().unwrap();
    let status = status_url.strip_prefix(BASE).unwrap();

    // Strangers learn nothing.
    let twilio = Twilio { cloud: listen, signer: Signer::new(TOKEN) };
    let call = [("CallSid", CALL), ("From", CALLER), ("To", NUMBER)];
    for (signer, path) in [
        (Signer::new("correct-hors"), voice.as_str()),
        (Signer::new(TOKEN), "/twilio/butcher/voice"),
        (Signer::new(TOKEN), "/"),
    ] {
        let refused = twilio.tell_as(&signer, path, &call);
        assert_eq!((refused.status, refused.body.len()), (403, 0), "{path}");
    }
    let got = request(listen, &format!("GET {voice}"), &[("Host", "x")], "");
    assert_eq!((got.status, got.body.len()), (403, 0));

    // The box is down: a caller leaves a message, and people write.
    let asked_for = twilio.tell(voice, &call);
    assert!(asked_for.contains(">Corner Bakery. Please leave a message.</Say><Record "), "{asked_for}");
    let address = |attribute: &str| -> String {
        let rest = asked_for.split_once(&format!(" {attribute}=\"{BASE}")).unwrap().1;
        rest.split_once('"').unwrap().0.to_owned()
    };
    let ended = twilio.tell(&address("action"), &[("CallSid", CALL), ("Digits", "hangup"), ("RecordingDuration", "3")]);
    assert!(ended.contains("<Hangup/>"), "{ended}");
    let recorded = [
        ("CallSid", CALL),
        ("RecordingSid", RECORDING),
        ("RecordingStatus", "completed"),
        ("RecordingDuration", "3"),
        ("RecordingUrl", "http://127.0.0.1:9/elsewhere"),
    ];
    twilio.tell(&address("recordingStatusCallback"), &recorded);
    twilio.tell(status, &[("MessageSid", NOTICE), ("MessageStatus", "delivered")]);
    let stop =
        [("MessageSid", "SM00000000000000000000000000000002"), ("From", CALLER), ("To", NUMBER), ("Body", "Stop")];
    let nobody_answers = twilio.tell(sms, &stop);
    assert!(nobody_answers.ends_with("<Response></Response>"), "{nobody_answers}");
    let waiting = poll(LIMIT, || (cloud.ask(&["twilio", "show", "bakery"])["boxes"][0]["waiting"] == 3).then_some(()));
    assert!(waiting.is_some(), "{}", cloud.ask(&["twilio", "show", "bakery"]));
    let fetched: Vec<_> = twilio_api.asked().into_iter().filter(|asked| asked.line.contains("/Recordings/")).collect();
    assert_eq!(fetched.len(), 2, "tried again once: {fetched:?}");
    assert!(fetched.iter().all(|asked| asked.headers["authorization"].starts_with("Basic ")));
    // The cloud forgets nothing of it.
    let cloud = cloud.kill_and_start();

    // It comes back.
    let (secret, hook) = (folders.office.join("secret"), format!("{}/hook", twilio_api.url()));
    std::fs::write(&secret, "secret").unwrap();
    settings.extend([
        "sms.enabled=true".to_owned(),
        format!("sms.account={ACCOUNT}"),
        "sms.api_key=SK1".to_owned(),
        format!("sms.secret_file={}", secret.display()),
        format!("sms.from='{NUMBER}'"),
        format!("sms.to=['{COLLEAGUE}']"),
        format!("sms.api_url={}", twilio_api.url()),
        format!("sms.callback_url={status_url}"),
        "webhook.enabled=true".to_owned(),
        format!("webhook.url={hook}"),
        format!("webhook.secret_file={}", secret.display()),
    ]);
    let offhook = start_box(&folders, &carrier, &settings);
    let rows = Reader::open(&folders.office, 1).unwrap();
    let message = poll(LIMIT, || {
        let of_call = rows.read_blocking(|db| {
            let call = list_sessions(db, 10, None)?.into_iter().find(|one| one.sip_call_id == CALL);
            let message = list_voicemails(db, None, 10)?
                .into_iter()
                .find(|one| Some(one.call_id) == call.as_ref().map(|call| call.call_id));
            Ok(call.zip(message))
        });
        of_call.unwrap()
    });
    let (session, message) = message.unwrap_or_else(|| panic!("{}", offhook.log()));
    assert_eq!(session.caller_id.unwrap().reveal(), CALLER);
    assert_eq!((session.trunk.as_str(), session.disposition.as_deref()), ("carrier", Some("message_taken")));
    assert_eq!((message.ended_by, message.duration_ms), (VoicemailEnd::Hangup, 3_000));
    let recordings = rows.read_blocking(|db| recordings_of(db, message.call_id)).unwrap();
    assert_eq!((recordings.len(), recordings[0].kind), (1, RecordingKind::Voicemail));
    let kept = folders.office.join(format!("recordings/{}/{}.wav", &recordings[0].sha256[..2], recordings[0].sha256));
    assert_eq!(audio::wav::read(&kept).unwrap().samples, audio::wav::read_from(&wav[..]).unwrap().samples);
    let heard = said(&offhook.run(&["messages", "list"]));
    assert!(heard.contains("555"), "{heard}");
    // Whoever is told of messages is told of it.
    let id = message.voicemail_id.to_string();
    let told = poll(LIMIT, || {
        let told = |asked: &Asked| asked.line == "POST /hook" && asked.body.contains(&id);
        twilio_api.asked().iter().any(told).then_some(())
    });
    assert!(told.is_some(), "{}\n{:?}", offhook.log(), twilio_api.asked());
    let known = poll(LIMIT, || {
        let known = rows.read_blocking(|db| {
            let notice = notices_of(db, &subject)?.remove(0);
            let stopped_at = find_contact(db, CALLER)?.and_then(|contact| contact.sms_stopped_at);
            Ok((notice.delivery, list_received_texts(db, 10)?.len(), stopped_at.is_some()))
        });
        (known.unwrap() == (Some("delivered".to_owned()), 1, true)).then_some(())
    });
    assert!(known.is_some(), "{}", offhook.log());

    // Now that it is there, whoever writes is answered at once, once.
    let taken = [
        ("MessageSid", "SM00000000000000000000000000000003"),
        ("From", COLLEAGUE),
        ("To", NUMBER),
        ("Body", "OK 0417"),
    ];
    let answer = twilio.tell(sms, &taken);
    assert!(answer.contains("<Message>0417 is yours."), "{answer}");
    let state = rows.read_blocking(move |db| Ok(find_follow_up(db, promised)?.map(|one| one.state))).unwrap();
    assert_eq!(state, Some(FollowUpState::Acknowledged));
    let waiting = poll(LIMIT, || (cloud.ask(&["twilio", "show", "bakery"])["boxes"][0]["waiting"] == 0).then_some(()));
    assert!(waiting.is_some(), "{}", offhook.log());
    let store = AnyStore::Sqlite(Sqlite::open(&folders.cloud.join("cloud.db")).unwrap());
    folders.wait_until_equal(&store);
    let (_, metrics) = cloud.http("/metrics");
    assert!(metrics.contains("\noffhook_cloud_callbacks_total{outcome=\"repeated\"} 1\n"), "{metrics}");
    let log = offhook.stop();
    assert!(!log.contains(CALLER) && !log.contains(COLLEAGUE), "{log}");
    let messages = rows.read_blocking(|db| list_voicemails(db, None, 10)).unwrap();
    assert_eq!(messages.len(), 2, "that of the past, and this one once");

    // What was kept for a box that may have to be restored is kept of nobody who was erased.
    let kept = || {
        let kept = store.outstanding(&folders.box_name(), u64::from(u32::MAX), UnixMs::now().0, 10).unwrap();
        let of_caller = kept.iter().filter(|delivery| delivery.body.contains(CALLER)).count();
        (kept.len(), of_caller)
    };
    assert_eq!(kept(), (4, 2), "a call, two texts, and what became of a notice");
    let asked = cloud.run(&["fleet", "erase", "bakery", CALLER]);
    assert!(asked.status.success(), "{}", said(&asked));
    assert_eq!(kept(), (2, 0), "also while the box is away");
    cloud.stop();
}

/// Without a proxy in front Twilio is shown the certificate of a public authority, and asked for none.
#[test]
fn the_port_for_twilio_speaks_tls_itself_if_it_is_to() {
    let (folders, authority) = (Folders::new(), Authority::new());
    std::fs::create_dir(&folders.cloud).unwrap();
    let certified = authority.certify("localhost");
    let listen = SocketAddr::from(([127, 0, 0, 1], free_port()));
    let settings = [
        format!("twilio.address={listen}"),
        format!("twilio.url={BASE}"),
        "twilio.tls_enabled=true".to_owned(),
        format!("tls.certificate={}", certified.certificate.display()),
        format!("tls.private_key={}", certified.private_key.display()),
    ];
    let cloud = CloudProcess::start(Path::new(CLOUD), &folders.cloud, &settings.each_ref().map(String::as_str));
    let name = ServerName::try_from("localhost").unwrap();
    let connection = ClientConnection::new(authority.client(), name).unwrap();
    let mut stream = StreamOwned::new(connection, TcpStream::connect(listen).unwrap());
    stream.write_all(b"POST /twilio/bakery/voice HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 403 Forbidden\r\n") && answer.ends_with("\r\n\r\n"), "{answer}");
    // In clear there is no answer at all.
    let mut plain = TcpStream::connect(listen).unwrap();
    plain.write_all(b"POST /twilio/bakery/voice HTTP/1.1\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    let _ = plain.read_to_end(&mut answer);
    assert!(!answer.starts_with(b"HTTP"), "{answer:?}");
    cloud.stop();
}
