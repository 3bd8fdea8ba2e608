//! Tools of a real MCP server (the reference server `server-everything`, over standard input and output and over HTTP):
//! used, hung, killed and flooding. Skipped where there is no npm.
#![expect(clippy::unwrap_used, reason = "a helper that fails fails its test")]

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use daemon::config::McpServer;
use daemon::mcp::{RESULT_LIMIT, ToolBox, ToolFailure};
use serde_json::{Map, Value, json};
use tests::mcp::{allowing, flooding, process, reference_server, signal};
use tests::offhook::free_port;

/// In a turn.
const DEADLINE: Duration = Duration::from_millis(1_500);
/// For a program to start on a busy machine.
const LIMIT: Duration = Duration::from_secs(60);

/// The reference server over standard input and output; `mark` is by what its process is found.
fn reference(mark: &str) -> Option<McpServer> {
    let program = reference_server("server-everything", env!("CARGO_TARGET_TMPDIR"))?;
    let command = ["node", program.to_str().unwrap(), "stdio", mark].map(str::to_owned).to_vec();
    Some(McpServer { name: "reference".into(), command, ..McpServer::default() })
}

async fn connected(servers: &[McpServer]) -> ToolBox {
    let tools = ToolBox::start(servers);
    tokio::time::timeout(LIMIT, tools.connected()).await.unwrap();
    tools
}

fn object(value: Value) -> Map<String, Value> {
    value.as_object().unwrap().clone()
}

async fn echo(tools: &ToolBox, text: &str) -> Result<String, ToolFailure> {
    let answer = tools.call("reference", "echo", object(json!({ "message": text })), DEADLINE).await;
    answer.map(|answer| answer.text)
}

#[tokio::test(flavor = "multi_thread")]
async fn only_what_is_allowed_and_unchanged_is_used() {
    let Some(server) = reference("mark-allowed") else { return };
    let mut server = allowing(server, &["echo", "get-sum"]).await;
    server.tools[1].sha256 = "0".repeat(64);
    let tools = connected(&[server]).await;
    let offered = tools.offered();
    assert_eq!(offered.iter().map(|tool| tool.name.as_str()).collect::<Vec<_>>(), ["echo"]);
    assert!(offered[0].schema["properties"].get("message").is_some(), "{offered:?}");
    assert_eq!(echo(&tools, "a quarter past three").await.unwrap(), "Echo: a quarter past three");
    let sum = object(json!({ "a": 2, "b": 3 }));
    assert_eq!(tools.call("reference", "get-sum", sum, DEADLINE).await, Err(ToolFailure::NotOffered));
    assert_eq!(tools.call("other", "echo", Map::new(), DEADLINE).await, Err(ToolFailure::NotOffered));
    for _ in 0..4 {
        let wrong = tools.call("reference", "echo", object(json!({ "text": 1 })), DEADLINE).await;
        assert_eq!(wrong, Err(ToolFailure::Failed), "a tool that is used wrongly says so");
    }
    assert!(echo(&tools, "again").await.is_ok());
}

/// A server that hangs costs the deadline, and after three times nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_hung_server_is_waited_for_until_the_deadline_and_then_no_more() {
    let Some(server) = reference("mark-hung") else { return };
    let tools = connected(&[allowing(server, &["echo"]).await]).await;
    assert!(echo(&tools, "hello").await.is_ok());
    signal("mark-hung", "-STOP");
    for _ in 0..3 {
        let began = Instant::now();
        assert_eq!(echo(&tools, "hello").await, Err(ToolFailure::TimedOut));
        assert!(began.elapsed() >= DEADLINE);
    }
    let began = Instant::now();
    assert_eq!(echo(&tools, "hello").await, Err(ToolFailure::Unavailable));
    assert!(began.elapsed() < DEADLINE, "nobody waits for it any more");
    assert!(tools.offered().is_empty());
    signal("mark-hung", "-KILL");
}

/// A server that dies is started again, and calls meanwhile are told at once.
#[tokio::test(flavor = "multi_thread")]
async fn a_killed_server_comes_back() {
    let Some(server) = reference("mark-killed") else { return };
    let tools = connected(&[allowing(server, &["echo"]).await]).await;
    let first = process("mark-killed").unwrap();
    signal("mark-killed", "-KILL");
    let is_gone = || tools.offered().is_empty().then_some(());
    assert!(tests::poll(LIMIT, is_gone).is_some());
    assert_eq!(echo(&tools, "hello").await, Err(ToolFailure::Unavailable));
    tokio::time::timeout(LIMIT, tools.connected()).await.unwrap();
    assert_eq!(echo(&tools, "hello").await.unwrap(), "Echo: hello");
    assert_ne!(process("mark-killed").unwrap(), first);
}

/// What is too long is cut, what has no end is thrown away, and the next call is answered.
#[tokio::test(flavor = "multi_thread")]
async fn a_flooding_server_costs_its_own_answer_only() {
    if reference_server("server-everything", env!("CARGO_TARGET_TMPDIR")).is_none() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let server = flooding(folder.path());
    let tools = connected(&[allowing(server, &["short", "long", "flood"]).await]).await;
    let call = |name| tools.call("flood", name, Map::new(), Duration::from_secs(20));
    let long = call("long").await.unwrap();
    assert_eq!((long.text.len(), long.is_cut), (RESULT_LIMIT, true));
    assert!(call("flood").await.is_err());
    assert_eq!(call("short").await.unwrap().text, "ok");
}

/// Ended when dropped.
struct Service(Child);

impl Drop for Service {
    fn drop(&mut self) {
        // It has no end of its own.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The same over streamable HTTP; a service that is gone is told at once.
#[tokio::test(flavor = "multi_thread")]
async fn a_service_is_used_over_http() {
    let Some(program) = reference_server("server-everything", env!("CARGO_TARGET_TMPDIR")) else { return };
    let port = free_port();
    let started = Command::new("node")
        .arg(program)
        .arg("streamableHttp")
        .env("PORT", port.to_string())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    let service = Service(started.unwrap());
    let is_up = || std::net::TcpStream::connect(("127.0.0.1", port)).ok();
    assert!(tests::poll(LIMIT, is_up).is_some());
    let url = Some(format!("http://127.0.0.1:{port}/mcp"));
    let server = McpServer { name: "reference".into(), url, ..McpServer::default() };
    let tools = connected(&[allowing(server, &["echo"]).await]).await;
    assert_eq!(echo(&tools, "hello").await.unwrap(), "Echo: hello");
    drop(service);
    let began = Instant::now();
    assert!(echo(&tools, "hello").await.is_err());
    assert!(began.elapsed() <= 2 * DEADLINE);
}
