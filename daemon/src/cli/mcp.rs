//! `offhook mcp`: the tools of others that the box may use, and how they are described now.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use clap::{Args, Subcommand};
use serde_json::{Map, Value, json};

use super::Common;
use crate::config::McpServer;
use crate::mcp::{Found, ToolBox, look};

/// As patient as a caller would be at most.
const CALL_LIMIT: Duration = Duration::from_secs(6);
/// As long as the server may take to say which tools it has.
const CONNECT_LIMIT: Duration = Duration::from_secs(15);
/// Longer descriptions are cut in the list.
const DESCRIPTION_LIMIT: usize = 72;

/// Flags of `offhook mcp`.
#[derive(Debug, Subcommand)]
pub(crate) enum Mcp {
    /// Ask every server of the configuration which tools it has
    ///
    /// With the fingerprint that the configuration needs to allow one, and whether it is the one that was allowed.
    List(List),
    /// Use a tool that the configuration allows, as a call would
    Call(Call),
}

/// `offhook mcp list`
#[derive(Debug, Args)]
pub(crate) struct List {
    /// As JSON
    #[arg(long)]
    json: bool,
}

/// `offhook mcp call`
#[derive(Debug, Args)]
pub(crate) struct Call {
    /// Name of the server in the configuration
    server: String,
    /// Name of the tool
    tool: String,
    /// Its arguments, as a JSON object
    #[arg(long, default_value = "{}")]
    arguments: String,
}

impl Mcp {
    pub(crate) fn run(&self, common: &Common) -> anyhow::Result<ExitCode> {
        let servers = common.load()?.mcp_servers;
        match self {
            Mcp::List(list) => super::runtime()?.block_on(list.show(&servers)),
            Mcp::Call(call) => super::runtime()?.block_on(call.make(&servers)),
        }
    }
}

impl List {
    async fn show(&self, servers: &[McpServer]) -> anyhow::Result<ExitCode> {
        let mut rows = Vec::new();
        for server in servers {
            let found = look(server).await;
            match (&found, self.json) {
                (Ok(tools), true) => {
                    rows.push(json!({ "server": server.name, "tools": tools.iter().map(row).collect::<Value>() }))
                }
                (Err(error), true) => rows.push(json!({ "server": server.name, "error": format!("{error:#}") })),
                (Ok(tools), false) => print(server, tools),
                (Err(error), false) => println!("{}: {error:#}", server.name),
            }
        }
        if self.json {
            println!("{}", Value::Array(rows));
        } else if servers.is_empty() {
            println!("No servers. Add [[mcp_servers]] with a name and a command or a url to the configuration.");
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn state(tool: &Found) -> &'static str {
    match tool.is_allowed {
        Some(true) => "offered",
        Some(false) => "changed since it was allowed",
        None => "not allowed",
    }
}

fn row(tool: &Found) -> Value {
    json!({ "name": tool.name, "description": tool.description, "sha256": tool.sha256, "state": state(tool) })
}

fn print(server: &McpServer, tools: &[Found]) {
    println!("{}: {} tools", server.name, tools.len());
    for tool in tools {
        let line = tool.description.lines().next().unwrap_or_default();
        let description: String = line.chars().filter(|letter| !letter.is_control()).take(DESCRIPTION_LIMIT).collect();
        println!("  {:<28} {}\n    {description}\n    sha256 = '{}'", tool.name, state(tool), tool.sha256);
    }
}

impl Call {
    async fn make(&self, servers: &[McpServer]) -> anyhow::Result<ExitCode> {
        let server = servers.iter().find(|server| server.name == self.server);
        let server = server.with_context(|| format!("no server {} in the configuration", self.server))?;
        let arguments: Map<String, Value> =
            serde_json::from_str(&self.arguments).context("--arguments has to be a JSON object")?;
        let tools = ToolBox::start(std::slice::from_ref(server));
        tokio::time::timeout(CONNECT_LIMIT, tools.connected()).await.context("the server is not there")?;
        let began = Instant::now();
        let answer = tools.call(&self.server, &self.tool, arguments, CALL_LIMIT).await?;
        println!("{}", answer.text);
        let cut = if answer.is_cut { ", cut" } else { "" };
        eprintln!("{} ms{cut}", began.elapsed().as_millis());
        Ok(ExitCode::SUCCESS)
    }
}
