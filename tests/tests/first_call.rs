//! The whole product with its real models: a caller who speaks is understood and answered by voice.
//!
//! Needs the models: fetched by the product itself where they are missing.
#![cfg(feature = "engines")]
#![expect(clippy::unwrap_used, reason = "a helper that fails fails its test")]

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use daemon::call::Tools;
use daemon::config::{Config, ToolScope};
use daemon::conversation::context::Context;
use daemon::mcp::Offered;
use daemon::office::sample;
use daemon::storage::{Storage, StorageConfig};
use serde_json::{Map, Value};
use tests::offhook::Offhook;

const PROGRAM: &str = env!("CARGO_BIN_EXE_offhook-under-test");

fn fetch_models() {
    let status = Command::new(PROGRAM).args(["models", "fetch"]).status().unwrap();
    assert!(status.success(), "the models could not be fetched");
}

fn call(offhook: &Offhook, arguments: &[&str]) -> Value {
    let uri = offhook.uri();
    let output = offhook.run(&[&["call", &uri, "--json"], arguments].concat());
    let text = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}\n{text}\n{errors}\n{}", offhook.log()))
}

fn turn<'a>(report: &'a Value, intent: &str) -> &'a Value {
    let turns = report["box"]["turns"].as_array().unwrap();
    turns.iter().find(|turn| turn["intent"] == intent).unwrap_or_else(|| panic!("no turn with {intent}: {report:#}"))
}

fn says(value: &Value, any_of: &[&str]) -> bool {
    let text = value.as_str().unwrap_or_default().to_lowercase();
    any_of.iter().any(|word| text.contains(word))
}

/// Two questions, a follow-up and a goodbye: meaning understood, content right, and nothing personal in the log.
#[test]
fn a_caller_is_understood_and_answered_and_the_log_keeps_quiet_about_it() {
    let _line = tests::every_line();
    fetch_models();
    let folder = tempfile::tempdir().unwrap();
    let offhook = Offhook::start(Path::new(PROGRAM), folder.path(), &["log.filter=trace"]);
    let recording = folder.path().join("call.wav");
    let report = call(
        &offhook,
        &[
            "--text",
            "When are you open on Saturday?",
            "--text",
            "And on Sundays?",
            "--text",
            "How much does a check-up cost?",
            "--text",
            "No, that was all, thank you. Goodbye.",
            "--record",
            recording.to_str().unwrap(),
        ],
    );

    let hours: Vec<&Value> =
        report["box"]["turns"].as_array().unwrap().iter().filter(|turn| turn["intent"] == "opening_hours").collect();
    assert_eq!(hours.len(), 2, "{report:#}");
    assert!(says(&hours[0]["answer"], &["saturday"]), "{:#}", hours[0]);
    assert_eq!(hours[0]["sources"][0], "office.hours");
    assert!(says(&hours[1]["answer"], &["sunday"]), "the follow-up keeps its subject: {:#}", hours[1]);
    let price = turn(&report, "price");
    assert!(says(&price["answer"], &["$140"]), "{price:#}");
    assert!(!price["sources"].as_array().unwrap().is_empty(), "a passage is cited: {price:#}");
    assert_eq!(report["box"]["session"]["hangup_cause"], "caller_goodbye");
    assert_eq!(report["ended"], "callee hung up");
    for line in report["lines"].as_array().unwrap() {
        assert!(line["heard_gap_ms"].is_u64(), "every line got an answer: {report:#}");
    }

    let log = offhook.stop();
    for secret in ["caller@", "saturday", "check-up", "sundays", "check up", "thank you", "$140"] {
        assert!(!log.to_lowercase().contains(secret), "{secret:?} is in the log:\n{log}");
    }
}

/// A message is recorded, kept and transcribed; the caller is told so only after it is kept.
#[test]
fn a_message_is_kept_and_gets_its_transcript() {
    let _line = tests::every_line();
    fetch_models();
    let folder = tempfile::tempdir().unwrap();
    let offhook = Offhook::start(Path::new(PROGRAM), folder.path(), &[]);
    let report = call(
        &offhook,
        &[
            "--text",
            "I would like to leave a message.",
            "--text",
            "Please tell the dentist that the delivery arrives on Friday morning.",
        ],
    );
    let messages = report["box"]["voicemails"].as_array().unwrap();
    assert_eq!(messages.len(), 1, "{report:#}");
    assert!(messages[0]["duration_ms"].as_u64().unwrap() > 2_000, "{report:#}");
    let call_id = report["box"]["session"]["call_id"].as_str().unwrap().to_owned();
    let transcript = tests::poll(Duration::from_secs(30), || {
        let shown: Value = serde_json::from_slice(&offhook.run(&["calls", "show", &call_id, "--json"]).stdout).unwrap();
        shown["voicemails"][0]["transcript"].as_str().map(str::to_owned)
    });
    assert!(transcript.is_some_and(|text| text.to_lowercase().contains("friday")), "{report:#}");
    offhook.stop();
}

/// Callers do not know the words of a configuration: what they mean is near enough to a tool's phrases, and what they do not
/// mean is not.
#[test]
fn a_tool_is_chosen_by_what_is_meant() {
    let _line = tests::every_line();
    fetch_models();
    let folder = tempfile::tempdir().unwrap();
    let storage = Storage::open(&StorageConfig::new(folder.path())).unwrap().storage;
    let embedder = daemon::engines::load_embedding(&Config::default()).unwrap().embedder;
    let offered: Vec<Offered> = [
        ("track", "where is my order; has my parcel been shipped"),
        ("weather", "what will the weather be like"),
        ("lift", "is the lift working"),
    ]
    .map(|(name, says)| Offered {
        server: "desk".into(),
        name: name.into(),
        scope: ToolScope::Read,
        says: says.into(),
        does: String::new(),
        arguments: Map::new(),
        schema: Map::new(),
    })
    .into();
    let tools = Tools::new(Box::new(move || offered.clone()));
    let mut mind =
        tests::mind::mind(&storage, &sample::config(), sample::KNOWLEDGE.iter().copied(), Some(embedder), tools);
    for (text, wanted) in [
        ("Did you send my package yet?", Some("track")),
        ("Is it going to rain tomorrow?", Some("weather")),
        ("Are you open on Saturday?", None),
        ("How much is a crown?", None),
        ("Where can I leave my car?", None),
    ] {
        let reply = mind.think(text, &Context::default()).unwrap().reply;
        let chosen = reply.tool.as_ref().map(|pending| pending.tool.name.as_str());
        assert_eq!(chosen, wanted, "{text}: {reply:?}");
    }
}
