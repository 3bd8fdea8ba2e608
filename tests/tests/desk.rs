//! What somebody at a desk has done with calls: a caller taken from the attendant, a promise kept by a call that the box
//! places. Real desk phones (baresip) and a carrier; without models.

use std::time::Duration;

use daemon::storage::{FollowUpState, Reader, Storage, StorageConfig, find_follow_up, insert_follow_up};
use serde_json::Value;
use tests::carrier::{Account, Carrier, EDGE};
use tests::listener::{get, wait_for_call};
use tests::messages::promise;
use tests::offhook::{Offhook, free_port};
use tests::office::{Office, TONES_HZ, talk};
use tests::peers::{is_installed, last_call};
use tests::softphone::{Codec, Profile, Softphone, tenths_with_tone};
use tests::web_client::request;

const PROGRAM: &str = env!("CARGO_BIN_EXE_offhook-under-test");
const LIMIT: Duration = Duration::from_secs(30);

/// Seconds of the tone of phone `index` in what this phone has heard.
fn heard(phone: Softphone, index: usize) -> usize {
    tenths_with_tone(&phone.heard(), TONES_HZ[index], Codec::Pcmu.sample_rate()).len() / 10
}

/// By a key of a phone, by the command line, and by a program: whoever wants the caller has them, and the message that they
/// were leaving is kept.
#[test]
fn a_caller_is_taken_from_the_attendant() {
    if !is_installed("baresip") {
        return;
    }
    let port = free_port();
    let office = Office::open(PROGRAM, &format!("[api]\nenabled = true\nport = {port}"));
    let api = ([127, 0, 0, 1], port).into();
    let (mut caller, mut desk) = (office.phone(0), office.phone(1));
    desk.tell("dial", &office.uri("*96"));
    office.offhook.wait_for_log("nothing_to_take_over", LIMIT);
    let refused = office.offhook.run(&["calls", "take-over", "0", "--by", "109"]);
    assert!(String::from_utf8_lossy(&refused.stderr).contains("no extension \"109\""), "{refused:?}");
    for way in ["key", "command", "program"] {
        caller.tell("dial", &office.uri("0"));
        let call = wait_for_call(api, "attendant");
        // Without a voice the attendant sounds a tone and records a message.
        talk(Duration::from_secs(3));
        match way {
            "key" => desk.tell("dial", &office.uri("*96")),
            "command" => {
                let told = office.offhook.run(&["calls", "take-over", &call, "--by", "102"]);
                assert!(told.status.success(), "{told:?}");
            }
            _ => {
                let wanted = format!("{{\"request\": \"take_over\", \"call\": \"{call}\", \"by\": \"102\"}}");
                let headers = [("Host", "localhost"), ("Content-Type", "application/json")];
                let answer = request(api, "POST /v1/requests", &headers, &wanted);
                assert_eq!(answer.status, 204, "{}", answer.text());
                let again = request(api, "POST /v1/requests", &headers, &wanted);
                assert_eq!(again.status, 409, "it is taken already: {}", again.text());
            }
        }
        wait_for_call(api, "people");
        talk(Duration::from_secs(4));
        caller.tell("hangup", "");
        office.offhook.wait_for_log("Call ended", LIMIT);
        let none = || get(api, "/v1/calls", &[("Host", "localhost")]).body["calls"].as_array().unwrap().is_empty();
        tests::poll(LIMIT, || none().then_some(())).expect("everybody hangs up");
    }
    let heard = [heard(caller, 1), heard(desk, 0)];
    assert!(heard.iter().all(|seconds| *seconds >= 3), "in the last call they hear each other for so long: {heard:?}");
    let messages = get(api, "/v1/messages", &[("Host", "localhost")]).body;
    assert_eq!(messages["messages"].as_array().unwrap().len(), 3, "{messages:#}");
    let row = last_call(&office.offhook);
    let escalation = &row["escalations"][0];
    assert_eq!((&escalation["reason"], &escalation["outcome"]), (&"taken_over".into(), &"taken".into()), "{row:#}");
    office.offhook.stop();
}

/// Somebody keeps a promise from the command line: their phone rings, then the caller outside is called, both talk, and the
/// promise is theirs.
#[test]
fn a_promise_is_kept_by_a_call_that_rings_the_desk_first() {
    if !is_installed("baresip") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let account = || Account {
        domain: "office.pstn.example.com".into(),
        username: "office".into(),
        password: "correct horse".into(),
        tone_hz: TONES_HZ[2],
    };
    let carrier = Carrier::start(EDGE, account());
    let secret = folder.path().join("trunk");
    std::fs::write(&secret, account().password).unwrap();
    let file = folder.path().join("offhook.toml");
    let text = format!(
        "[[trunks]]\nname = 'carrier'\nprofile = 'twilio'\nsources = ['127.0.1.0/24']\nnumbers = ['+12125550100']\n\
         hosts = ['{}']\ndomain = '{}'\nusername = '{}'\npassword_file = '{}'\n[[extensions]]\nnumber = '101'\n",
        carrier.address(),
        account().domain,
        account().username,
        secret.display()
    );
    std::fs::write(&file, text).unwrap();
    let (promise, id) = {
        let storage = Storage::open(&StorageConfig::new(folder.path())).unwrap().storage;
        let promise = promise("0417");
        let row = promise.clone();
        assert!(storage.write_blocking(move |sql_tx| insert_follow_up(sql_tx, &row)).unwrap());
        storage.close_blocking();
        (promise.follow_up_id.to_string(), promise.follow_up_id)
    };
    let offhook = Offhook::start_wordless(std::path::Path::new(PROGRAM), folder.path(), &file, &["log.filter=debug"]);
    let told: Value =
        serde_json::from_slice(&offhook.run(&["extensions", "password", "101", "--json"]).stdout).unwrap();
    let password = told["password"].as_str().unwrap().to_owned();
    let profile = Profile::new("101", &password, offhook.address(), TONES_HZ[0]);
    let desk = Softphone::start(&folder.path().join("phone"), &profile);

    let nobody = offhook.run(&["followups", "call", &promise]);
    assert!(String::from_utf8_lossy(&nobody.stderr).contains("name the one that is to ring"), "{nobody:?}");
    let told = offhook.run(&["followups", "call", &promise, "--extension", "101"]);
    assert!(told.status.success(), "{told:?}");
    let ringing = carrier.wait_for_call(LIMIT);
    assert!(ringing.request.uri().starts_with("sip:+12125550142@"), "{}", ringing.request.uri());
    let call = ringing.answer();
    call.talk(Duration::from_secs(4));
    call.hang_up();
    offhook.wait_for_log("Call ended", LIMIT);
    let heard = heard(desk, 2);
    assert!(heard >= 3, "the desk hears whom it was connected with: {heard} s");
    let row = last_call(&offhook);
    assert_eq!((&row["session"]["trunk"], &row["session"]["direction"]), (&"carrier".into(), &"outbound".into()));
    offhook.stop();
    let reader = Reader::open(folder.path(), 1).unwrap();
    let kept = reader.read_blocking(|db| find_follow_up(db, id)).unwrap().unwrap();
    assert_eq!((kept.state, kept.acknowledged_by.as_deref()), (FollowUpState::Acknowledged, Some("extension 101")));
}
