//! The reference servers of the Model Context Protocol, fetched from npm once, and one of our own that misbehaves.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};

use daemon::config::{McpServer, McpTool};
use daemon::mcp::look;

/// Of both packages.
const VERSION: &str = "2026.8.31";

/// One test fetches, the others find it.
static FETCHING: Mutex<()> = Mutex::new(());

/// The program of the reference server `name`, kept in `cache`; `None`, said aloud, where there is no npm.
///
/// # Panics
/// When `cache` cannot be written to.
pub fn reference_server(name: &str, cache: &str) -> Option<PathBuf> {
    let _alone = FETCHING.lock().unwrap_or_else(PoisonError::into_inner);
    let folder = Path::new(cache).join(format!("{name}-{VERSION}"));
    let package = format!("@modelcontextprotocol/{name}");
    let program = folder.join("node_modules").join(&package).join("dist/index.js");
    if program.is_file() {
        return Some(program);
    }
    std::fs::create_dir_all(&folder).unwrap();
    let mut npm = Command::new("npm");
    npm.args(["install", "--no-audit", "--no-fund", "--prefix"]).arg(&folder).arg(format!("{package}@{VERSION}"));
    let fetched = npm.stdin(Stdio::null()).output().is_ok_and(|output| output.status.success());
    if !fetched || !program.is_file() {
        eprintln!("SKIPPED: npm is not installed or cannot fetch {package}");
        return None;
    }
    Some(program)
}

/// Allows `names` as they are described now.
///
/// # Panics
/// When the server does not answer or has none of that name.
pub async fn allowing(mut server: McpServer, names: &[&str]) -> McpServer {
    let found = look(&server).await.unwrap();
    let allow = |name: &&str| {
        let tool = found.iter().find(|tool| tool.name == *name).unwrap_or_else(|| panic!("no {name}: {found:#?}"));
        assert_eq!(tool.is_allowed, None);
        let (name, sha256) = (tool.name.clone(), tool.sha256.clone());
        McpTool { name, sha256, says: "for the test".into(), ..McpTool::default() }
    };
    server.tools = names.iter().map(allow).collect();
    server
}

/// The process of node whose command line holds `mark`.
///
/// # Panics
/// Without `/proc`.
pub fn process(mark: &str) -> Option<String> {
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    let mut pids = processes.filter_map(|entry| entry.file_name().into_string().ok());
    pids.find(|pid| {
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        line.starts_with(b"node\0") && String::from_utf8_lossy(&line).contains(mark)
    })
}

/// Sends it a signal: `-STOP`, `-KILL`.
///
/// # Panics
/// When there is no such process.
pub fn signal(mark: &str, signal: &str) {
    let pid = process(mark).unwrap();
    assert!(Command::new("kill").args([signal, &pid]).status().unwrap().success());
}

/// Answers with far too much: `long` in a million characters, `flood` in a line without end.
const FLOODING: &str = r#"
const lines = require('readline').createInterface({ input: process.stdin });
const tool = (name) => ({ name, description: name, inputSchema: { type: 'object' } });
lines.on('line', (line) => {
  const { id, method, params } = JSON.parse(line);
  if (id === undefined) return;
  const tell = (result) => process.stdout.write(JSON.stringify({ jsonrpc: '2.0', id, result }) + '\n');
  const text = (value) => ({ content: [{ type: 'text', text: value }] });
  if (method === 'initialize')
    tell({ protocolVersion: params.protocolVersion, capabilities: { tools: {} }, serverInfo: { name: 'flood', version: '1' } });
  else if (method === 'tools/list') tell({ tools: [tool('short'), tool('long'), tool('flood')] });
  else if (method !== 'tools/call')
    process.stdout.write(JSON.stringify({ jsonrpc: '2.0', id, error: { code: -32601, message: 'no' } }) + '\n');
  else if (params.name === 'short') tell(text('ok'));
  else if (params.name === 'long') tell(text('x'.repeat(1000000)));
  else { for (let n = 0; n < 64; n++) process.stdout.write('x'.repeat(1 << 20)); process.stdout.write('\n'); }
});
"#;

/// A server of our own, written to `folder`, that answers `short` shortly, `long` in a million characters and `flood` in a
/// line without end.
///
/// # Panics
/// When `folder` cannot be written to.
pub fn flooding(folder: &Path) -> McpServer {
    let program = folder.join("flood.js");
    std::fs::write(&program, FLOODING).unwrap();
    let command = vec!["node".to_owned(), program.to_str().unwrap().to_owned()];
    McpServer { name: "flood".into(), command, ..McpServer::default() }
}
