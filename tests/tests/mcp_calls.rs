//! Tools of MCP's reference servers in whole calls: used, hung, killed, flooding, and what the caller hears. Skipped where
//! there is no npm.
#![expect(clippy::unwrap_used, reason = "a helper that fails fails its test")]

use std::path::Path;
use std::time::Duration;

use daemon::caller::turn_taker::{Cue, Patience};
use daemon::caller::{CallPlan, CallReport, Protection, place};
use daemon::config::{McpServer, ToolScope};
use daemon::conversation::phrases;
use daemon::service::Service;
use daemon::storage::{ConversationTurn, Reader, list_sessions, session_detail};
use serde_json::json;
use tests::mcp::{allowing, flooding, reference_server, signal};
use tests::scripted::{config, engines, tone};

/// Where npm puts the servers.
const CACHE: &str = env!("CARGO_TARGET_TMPDIR");
/// For a program to start on a busy machine.
const LIMIT: Duration = Duration::from_secs(60);
/// From the caller's last word to the first sound, with what the network and the test's own ear add.
const FILLER_LIMIT: Duration = Duration::from_millis(900);
/// Longer than the silences between what is said while a tool is waited for.
const PATIENT: Duration = Duration::from_millis(4_500);

/// A tool of `server`: how callers ask for it, and what it is always given.
fn allow(server: &mut McpServer, name: &str, says: &str, arguments: serde_json::Value) {
    let tool = server.tools.iter_mut().find(|tool| tool.name == name).unwrap();
    tool.says = says.into();
    tool.arguments = arguments.as_object().cloned().unwrap().into_iter().collect();
}

/// The weather in three cities, and an operation of half a minute.
async fn everything(mark: &str) -> Option<McpServer> {
    let program = reference_server("server-everything", CACHE)?;
    let command = ["node", program.to_str().unwrap(), "stdio", mark].map(str::to_owned).to_vec();
    let server = McpServer { name: "everything".into(), command, ..McpServer::default() };
    let mut server = allowing(server, &["get-structured-content", "trigger-long-running-operation"]).await;
    allow(&mut server, "get-structured-content", "weather", json!({}));
    allow(&mut server, "trigger-long-running-operation", "long check", json!({ "duration": 30, "steps": 1 }));
    Some(server)
}

/// A notice that is read, and a note that is written.
async fn notices(folder: &Path) -> Option<McpServer> {
    let program = reference_server("server-filesystem", CACHE)?;
    std::fs::write(folder.join("lift.txt"), "# Lift\n\nThe lift is out of order until Friday.\n").unwrap();
    let command = ["node", program.to_str().unwrap(), folder.to_str().unwrap()].map(str::to_owned).to_vec();
    let server = McpServer { name: "notices".into(), command, ..McpServer::default() };
    let mut server = allowing(server, &["read_text_file", "write_file"]).await;
    allow(&mut server, "read_text_file", "is the lift working", json!({ "path": folder.join("lift.txt") }));
    let note = json!({ "path": folder.join("arrived.txt"), "content": "A caller has arrived." });
    allow(&mut server, "write_file", "note that i have arrived", note);
    let write = server.tools.iter_mut().find(|tool| tool.name == "write_file").unwrap();
    write.scope = ToolScope::Write;
    write.does = "leave a note that you have arrived".into();
    Some(server)
}

/// A box with those servers, once they are connected.
async fn start(folder: &Path, heard: &[&str], servers: Vec<McpServer>) -> Service {
    let mut config = config(folder);
    config.mcp_servers = servers;
    let service = Service::start(config, engines(heard)).await.unwrap();
    tokio::time::timeout(LIMIT, service.tools().connected()).await.unwrap();
    service
}

/// Says `count` tones, each after the answer to the one before.
async fn call(service: &Service, count: usize, turn_end: Duration) -> CallReport {
    let lines = (0..count).map(|number| tone(number, Cue::AfterAnswer)).collect();
    let target = format!("sip:office@{}", service.address());
    let patience = Patience { turn_end, ..Patience::default() };
    let plan = CallPlan { target, protection: Protection::default(), lines, record: None, patience, from: None };
    place(plan).await.unwrap()
}

/// Stops it and returns the turns of the latest call, and prints what the caller heard.
async fn turns(service: Service, folder: &Path) -> Vec<ConversationTurn> {
    service.stop().await;
    let reader = Reader::open(folder, 1).unwrap();
    let latest = tokio::task::spawn_blocking(move || {
        reader.read_blocking(|db| session_detail(db, &list_sessions(db, 1, None)?[0].call_id.to_string()))
    });
    let turns = latest.await.unwrap().unwrap().turns;
    for turn in &turns {
        let (gap, tool) = (turn.timings.heard_gap_ms, turn.timings.tool_ms);
        eprintln!(
            "caller: {:?}  box: {:?} {:?} gap {gap:?} tool {tool:?}",
            turn.text.reveal(),
            answer(turn),
            turn.sources
        );
    }
    turns
}

fn answer(turn: &ConversationTurn) -> &str {
    turn.answer.as_ref().unwrap().reveal()
}

/// Looked up, asked for what is missing, read from a file, written after a yes and not before.
#[tokio::test(flavor = "multi_thread")]
async fn reference_servers_are_used_in_a_call() {
    let _line = tests::a_line().await;
    let folder = tempfile::tempdir().unwrap();
    let desk = tempfile::tempdir().unwrap();
    let (Some(weather), Some(notices)) = (everything("mark-used").await, notices(desk.path()).await) else { return };
    let heard = [
        "how is the weather",
        "in chicago please",
        "is the lift working",
        "please note that i have arrived",
        "no",
        "please note that i have arrived",
        "yes please",
        "thank you goodbye",
    ];
    let service = start(folder.path(), &heard, vec![weather, notices]).await;
    let report = call(&service, heard.len(), Patience::default().turn_end).await;
    assert_eq!(report.ended, "callee hung up");
    let note = desk.path().join("arrived.txt");
    assert_eq!(std::fs::read_to_string(note).unwrap(), "A caller has arrived.");
    let turns = turns(service, folder.path()).await;
    assert!(answer(&turns[0]).contains("Chicago"), "{:?}", turns[0]);
    assert!(answer(&turns[1]).contains("Temperature: "), "{:?}", turns[1]);
    assert_eq!(turns[1].sources, ["mcp:everything/get-structured-content"]);
    assert!(turns[1].timings.tool_ms.is_some());
    assert_eq!(answer(&turns[2]), "The lift is out of order until Friday.");
    assert_eq!(turns[2].sources, ["mcp:notices/read_text_file"]);
    let read_back = "I can leave a note that you have arrived. Shall I do that?";
    assert_eq!([answer(&turns[3]), answer(&turns[5])], [read_back, read_back]);
    assert_eq!(answer(&turns[4]), phrases::NEVER_MIND);
    assert!(turns[3..6].iter().all(|turn| turn.sources.is_empty()), "nothing is used before the yes");
    assert_eq!((answer(&turns[6]), &*turns[6].sources[0]), (phrases::DONE, "mcp:notices/write_file"));
}

/// A server that hangs: a sentence before 0.8 s, an apology after six, and the call goes on.
#[tokio::test(flavor = "multi_thread")]
async fn a_hung_server_costs_an_apology() {
    let _line = tests::a_line().await;
    let folder = tempfile::tempdir().unwrap();
    let Some(weather) = everything("mark-stopped").await else { return };
    let heard = ["how is the weather in chicago", "are you open on saturday", "goodbye"];
    let service = start(folder.path(), &heard, vec![weather]).await;
    signal("mark-stopped", "-STOP");
    let report = call(&service, heard.len(), PATIENT).await;
    signal("mark-stopped", "-KILL");
    assert_eq!(report.ended, "callee hung up");
    println!("heard: {:?}", report.turns);
    let gap = report.turns[1].gap.unwrap();
    assert!(gap <= FILLER_LIMIT, "{gap:?}");
    let turns = turns(service, folder.path()).await;
    assert_eq!(answer(&turns[0]), format!("{} {}", phrases::NOT_LOOKED_UP, phrases::OFFER_MESSAGE));
    assert_eq!(turns[0].sources, ["mcp:everything/get-structured-content (timed_out)"]);
    let waited_ms = turns[0].timings.tool_ms.unwrap();
    assert!((6_000..6_500).contains(&waited_ms), "{waited_ms}");
    assert!(answer(&turns[1]).contains("Saturday"), "{:?}", turns[1]);
}

/// A server that is killed while it works: an apology at once, not after the deadline.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_killed_in_its_work_costs_an_apology() {
    let _line = tests::a_line().await;
    let folder = tempfile::tempdir().unwrap();
    let Some(mut server) = everything("mark-dies").await else { return };
    // What the box asks goes past a file, so that the test knows when to strike.
    let asked = folder.path().join("asked");
    let command = server.command.join("' '");
    let past = format!("exec '{command}' < <(exec tee '{}')", asked.display());
    server.command = ["bash".to_owned(), "-c".to_owned(), past].to_vec();
    let heard = ["please do the long check", "goodbye"];
    let service = start(folder.path(), &heard, vec![server]).await;
    let killed = tokio::task::spawn_blocking(move || {
        let is_asked = || std::fs::read_to_string(&asked).unwrap_or_default().contains("tools/call").then_some(());
        tests::poll(LIMIT, is_asked).unwrap();
        signal("mark-dies", "-KILL");
    });
    let report = call(&service, heard.len(), PATIENT).await;
    killed.await.unwrap();
    println!("heard: {:?}", report.turns);
    assert_eq!(report.ended, "callee hung up");
    let turns = turns(service, folder.path()).await;
    assert_eq!(answer(&turns[0]), format!("{} {}", phrases::NOT_LOOKED_UP, phrases::OFFER_MESSAGE));
    assert!(turns[0].timings.tool_ms.unwrap() < 2_000, "{:?}", turns[0].timings);
}

/// A server that answers without end: what is no sentence is not read out, what has no end is given up.
#[tokio::test(flavor = "multi_thread")]
async fn a_flooding_server_is_not_read_out() {
    let _line = tests::a_line().await;
    if reference_server("server-everything", CACHE).is_none() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let mut server = allowing(flooding(folder.path()), &["long", "flood"]).await;
    allow(&mut server, "long", "long list", json!({}));
    allow(&mut server, "flood", "river level", json!({}));
    let heard = ["read me the long list", "what is the level of the river"];
    let service = start(folder.path(), &heard, vec![server]).await;
    let report = call(&service, heard.len(), PATIENT).await;
    println!("heard: {:?}", report.turns);
    let turns = turns(service, folder.path()).await;
    assert_eq!(answer(&turns[0]), format!("{} {}", phrases::UNREADABLE, phrases::OFFER_MESSAGE));
    assert!(answer(&turns[1]).starts_with(phrases::NOT_LOOKED_UP), "{:?}", turns[1]);
    let gap = report.turns[2].gap.unwrap();
    assert!(gap <= FILLER_LIMIT, "{gap:?}");
}
