//! The box as a server of the Model Context Protocol, used by a client of it: what a token opens, and what it does not.
#![expect(clippy::unwrap_used, reason = "a helper that fails fails its test")]

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use daemon::caller::turn_taker::{Cue, Patience};
use daemon::caller::{CallPlan, Protection, place};
use daemon::config::{McpScope, McpServer, McpToken};
use daemon::mcp::{ToolBox, ToolFailure, look};
use daemon::service::Service;
use serde_json::{Map, Value, json};
use tests::mcp::allowing;
use tests::scripted::{config, engines, tone};

/// For a box that is busy with other tests.
const LIMIT: Duration = Duration::from_secs(20);
/// A token and its SHA-256, as `printf %s TOKEN | sha256sum` gives it.
const ALL: (&str, &str) = ("all-of-it", "294c04e5ac9dd23c5448c01a3bb266a553de650cc27d9a1ddc35e2765498c1fb");
const DIRECTORY: (&str, &str) = ("only-people", "a6e691fc0d80057a2aafe8e6f6990a1f8dde45e32a44fcfabc30352c866e746f");

async fn start(folder: &Path, heard: &[&str]) -> Service {
    let mut config = config(folder);
    (config.api.enabled, config.api.port) = (true, 0);
    let token = |(name, sha256): (&str, &str), scopes: &[McpScope]| McpToken {
        name: name.into(),
        sha256: sha256.into(),
        scopes: scopes.to_vec(),
    };
    config.api.mcp_tokens = vec![
        token(ALL, &[McpScope::Knowledge, McpScope::Directory, McpScope::Calls]),
        token(DIRECTORY, &[McpScope::Directory]),
    ];
    Service::start(config, engines(heard)).await.unwrap()
}

/// The box as a client knows it.
fn server(service: &Service, folder: &Path, token: &str) -> McpServer {
    let file: PathBuf = folder.join(format!("{token}.token"));
    std::fs::write(&file, token).unwrap();
    let url = format!("http://{}/mcp", service.api_address().unwrap());
    McpServer { name: "box".into(), url: Some(url), token_file: Some(file), ..McpServer::default() }
}

async fn connected(server: McpServer, names: &[&str]) -> ToolBox {
    let tools = ToolBox::start(&[allowing(server, names).await]);
    tokio::time::timeout(LIMIT, tools.connected()).await.unwrap();
    tools
}

async fn use_tool(tools: &ToolBox, name: &str, arguments: Value) -> Result<Value, ToolFailure> {
    let arguments: Map<String, Value> = arguments.as_object().unwrap().clone();
    let answer = tools.call("box", name, arguments, LIMIT).await?;
    Ok(serde_json::from_str(&answer.text).unwrap_or_else(|error| panic!("{error}: {}", answer.text)))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_searches_looks_up_and_lists() {
    let _line = tests::a_line().await;
    let folder = tempfile::tempdir().unwrap();
    let service = start(folder.path(), &["goodbye"]).await;
    let target = format!("sip:office@{}", service.address());
    let lines = vec![tone(0, Cue::AfterAnswer)];
    let plan = CallPlan {
        target,
        protection: Protection::default(),
        lines,
        record: None,
        patience: Patience::default(),
        from: None,
    };
    place(plan).await.unwrap();
    let names = ["search_knowledge", "directory", "list_calls"];
    let tools = connected(server(&service, folder.path(), ALL.0), &names).await;
    let found = use_tool(&tools, "search_knowledge", json!({ "question": "How much is a crown?", "limit": 1 })).await;
    let found = found.unwrap();
    assert!(found["passages"][0]["text"].as_str().unwrap().contains("$1,150"), "{found}");
    assert_eq!(found["passages"][0]["is_answer"], true);
    let office = use_tool(&tools, "directory", json!({})).await.unwrap();
    assert_eq!(office["name"], "Riverside Dental Practice");
    assert!(office["hours"][0].is_string() && office["is_open"].is_boolean(), "{office}");
    let calls = use_tool(&tools, "list_calls", json!({})).await.unwrap();
    assert_eq!(calls["calls"].as_array().unwrap().len(), 1, "{calls}");
    assert_eq!(calls["calls"][0]["direction"], "inbound");
    for wrong in [json!({}), json!({ "question": " " }), json!({ "question": "crown", "limit": 1_000 })] {
        assert_eq!(use_tool(&tools, "search_knowledge", wrong.clone()).await, Err(ToolFailure::Failed), "{wrong}");
    }
    drop(tools);
    service.stop().await;
}

/// What a token does not open is not even named to it, and without one nothing is.
#[tokio::test(flavor = "multi_thread")]
async fn a_token_opens_what_it_is_for() {
    let folder = tempfile::tempdir().unwrap();
    let service = start(folder.path(), &[]).await;
    let found = look(&server(&service, folder.path(), DIRECTORY.0)).await.unwrap();
    assert_eq!(found.iter().map(|tool| tool.name.as_str()).collect::<Vec<_>>(), ["directory"]);
    assert!(look(&server(&service, folder.path(), "a-guess")).await.is_err());
    let at = service.api_address().unwrap();
    let call = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"list_calls","arguments":{}}}"#;
    let post = |header: String| tokio::task::spawn_blocking(move || post(at, &header, call));
    let nobody = post(String::new()).await.unwrap();
    assert!(
        nobody.starts_with("HTTP/1.1 401") && nobody.to_lowercase().contains("www-authenticate: bearer"),
        "{nobody}"
    );
    let other = post(format!("Authorization: Bearer {}\r\n", DIRECTORY.0)).await.unwrap();
    assert!(other.contains("no such tool") && !other.contains("\"calls\""), "{other}");
    let page = post(format!("Authorization: Bearer {}\r\nOrigin: https://page.example\r\n", ALL.0)).await.unwrap();
    assert!(page.starts_with("HTTP/1.1 403"), "{page}");
    service.stop().await;
}

/// What comes back for one request.
fn post(at: SocketAddr, headers: &str, body: &str) -> String {
    let mut stream = TcpStream::connect(at).unwrap();
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    let length = body.len();
    write!(
        stream,
        "POST /mcp HTTP/1.1\r\nHost: {at}\r\n{headers}Accept: application/json, text/event-stream\r\n\
         Content-Type: application/json\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}
