//! One server: kept connected by a task of its own, asked with a deadline.

use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use rmcp::model::{CallToolRequestParams, CallToolResult, Tool};
use rmcp::service::{RunningService, ServiceError};
use rmcp::transport::streamable_http_client::StreamableHttpClientTransportConfig;
use rmcp::transport::{StreamableHttpClientTransport, TokioChildProcess};
use rmcp::{Peer, RoleClient, ServiceExt as _};
use serde_json::{Map, Value};
use tokio::process::Command;
use tokio::sync::Notify;
use tokio::task::AbortHandle;
use tokio_rustls::rustls::crypto::ring;
use tracing::{info, warn};

use super::{Offered, RESULT_LIMIT, ToolAnswer, ToolFailure, fingerprint};
use crate::breaker::Breaker;
use crate::config::McpServer;
use crate::conversation;

/// How long a server may take until it has said what it can.
const CONNECT_LIMIT: Duration = Duration::from_secs(15);
/// After the first end of a connection; twice as long after each that follows soon.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// At most.
const LONGEST_PAUSE: Duration = Duration::from_secs(300);
/// A connection that held so long was a good one.
const GOOD_CONNECTION: Duration = Duration::from_secs(60);
/// Most bytes of one message of a service; programs are held to the library's own limit.
const MESSAGE_LIMIT_BYTES: usize = 1 << 20;

/// See the module.
#[derive(Debug)]
pub(super) struct Server {
    shared: Arc<Shared>,
    supervisor: AbortHandle,
}

#[derive(Debug)]
struct Shared {
    config: McpServer,
    state: Mutex<State>,
    /// Told when a connection is made.
    connected: Notify,
}

#[derive(Debug, Default)]
struct State {
    /// While there is a connection.
    peer: Option<Peer<RoleClient>>,
    offered: Vec<Offered>,
    breaker: Breaker,
}

/// A tool as a server tells of it, for whoever writes the configuration.
#[derive(Debug, Clone, PartialEq)]
pub struct Found {
    /// As the server calls it.
    pub name: String,
    /// What the server says about it.
    pub description: String,
    /// See [`fingerprint`].
    pub sha256: String,
    /// Whether the configuration allows it, and if so whether as it is described now.
    pub is_allowed: Option<bool>,
}

/// Connects, asks what tools there are and goes away again.
///
/// # Errors
/// What keeps the server from answering, within 15 s.
pub async fn look(config: &McpServer) -> anyhow::Result<Vec<Found>> {
    let (connection, tools) = connect(config).await?;
    // A program is given the time to end by itself; one that does not is ended.
    let _ = connection.cancel().await;
    let found = |tool: Tool| {
        let sha256 = fingerprint(&tool);
        let allowed = config.tools.iter().find(|allowed| allowed.name == tool.name);
        Found {
            is_allowed: allowed.map(|allowed| allowed.sha256.eq_ignore_ascii_case(&sha256)),
            name: tool.name.into_owned(),
            description: tool.description.unwrap_or_default().into_owned(),
            sha256,
        }
    };
    Ok(tools.into_iter().map(found).collect())
}

impl Server {
    pub(super) fn start(config: McpServer) -> Server {
        let shared = Arc::new(Shared { config, state: Mutex::default(), connected: Notify::new() });
        let supervisor = tokio::spawn(supervise(Arc::clone(&shared))).abort_handle();
        Server { shared, supervisor }
    }

    pub(super) fn name(&self) -> &str {
        &self.shared.config.name
    }

    /// Returns once there is a connection.
    pub(super) async fn connected(&self) {
        loop {
            let news = self.shared.connected.notified();
            if self.shared.state().peer.is_some() {
                return;
            }
            news.await;
        }
    }

    pub(super) fn offered(&self) -> Vec<Offered> {
        let state = self.shared.state();
        match state.peer.is_some() && !state.breaker.is_open(Instant::now()) {
            true => state.offered.clone(),
            false => Vec::new(),
        }
    }

    pub(super) async fn call(
        &self,
        tool: &str,
        arguments: Map<String, Value>,
        limit: Duration,
    ) -> Result<ToolAnswer, ToolFailure> {
        let peer = self.shared.ready_for(tool)?;
        let request = CallToolRequestParams::new(tool.to_owned()).with_arguments(arguments);
        let used = tokio::time::timeout(limit, peer.call_tool(request)).await;
        // One that says what is wrong has answered: it is asked again the next time. What it says is not logged, since it
        // may hold what the caller has said.
        self.shared.note(tool, matches!(used, Ok(Ok(_) | Err(ServiceError::McpError(_)))));
        match used {
            Err(_) => Err(ToolFailure::TimedOut),
            Ok(Err(_)) => Err(ToolFailure::Failed),
            Ok(Ok(result)) => answer(&result),
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.supervisor.abort();
    }
}

impl Shared {
    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ready_for(&self, tool: &str) -> Result<Peer<RoleClient>, ToolFailure> {
        let state = self.state();
        let peer = state.peer.clone().filter(|_| !state.breaker.is_open(Instant::now()));
        let peer = peer.ok_or(ToolFailure::Unavailable)?;
        state.offered.iter().any(|offered| offered.name == tool).then_some(peer).ok_or(ToolFailure::NotOffered)
    }

    fn note(&self, tool: &str, has_answered: bool) {
        let mut state = self.state();
        if has_answered {
            state.breaker.note_success();
        } else if state.breaker.note_failure(Instant::now()) {
            warn!(server = self.config.name, tool, "Server is not asked for a while: it has failed too often");
        }
    }

    /// The server is connected and says what it can.
    fn connected(&self, peer: Peer<RoleClient>, tools: Vec<Tool>) {
        let name = &self.config.name;
        let mut offered = Vec::new();
        for allowed in &self.config.tools {
            let Some(tool) = tools.iter().find(|tool| tool.name == allowed.name) else {
                warn!(server = name, tool = allowed.name, "Server does not have a tool that it may be asked for");
                continue;
            };
            if !fingerprint(tool).eq_ignore_ascii_case(&allowed.sha256) {
                warn!(
                    server = name,
                    tool = allowed.name,
                    "Tool not used: it is described otherwise than when it was allowed"
                );
                continue;
            }
            let usable = Offered {
                server: name.clone(),
                name: allowed.name.clone(),
                scope: allowed.scope,
                says: allowed.says.clone(),
                does: allowed.does.clone(),
                arguments: allowed.arguments.clone().into_iter().collect(),
                schema: (*tool.input_schema).clone(),
            };
            if let Err(reason) = conversation::tools::Tool::new(&usable) {
                warn!(server = name, tool = allowed.name, %reason, "Tool of no use in a call");
            }
            offered.push(usable);
        }
        info!(server = name, tools = tools.len(), offered = offered.len(), "Tools of a server");
        *self.state() = State { peer: Some(peer), offered, breaker: Breaker::default() };
        self.connected.notify_waiters();
    }
}

/// Keeps the server connected for ever.
async fn supervise(shared: Arc<Shared>) {
    let name = shared.config.name.as_str();
    let mut pause = FIRST_PAUSE;
    loop {
        let began = Instant::now();
        match connect(&shared.config).await {
            Ok((connection, tools)) => {
                shared.connected(connection.peer().clone(), tools);
                // Returns when the program has ended or the service is gone.
                let _ = connection.waiting().await;
                shared.state().peer = None;
                if began.elapsed() >= GOOD_CONNECTION {
                    pause = FIRST_PAUSE;
                }
                warn!(server = name, retry_seconds = pause.as_secs(), "Connection to a server has ended");
            }
            Err(error) => warn!(
                server = name,
                error = format!("{error:#}"),
                retry_seconds = pause.as_secs(),
                "No connection to a server"
            ),
        }
        tokio::time::sleep(pause).await;
        pause = (2 * pause).min(LONGEST_PAUSE);
    }
}

async fn connect(config: &McpServer) -> anyhow::Result<(RunningService<RoleClient, ()>, Vec<Tool>)> {
    let connecting = async {
        let connection = match &config.url {
            Some(url) => {
                ().serve(StreamableHttpClientTransport::from_config(over_http(config, url)?))
                    .await
                    .context("the service does not speak MCP")?
            }
            None => ().serve(as_program(config)?).await.context("the program does not speak MCP")?,
        };
        let tools = connection.peer().list_all_tools().await.context("it does not say which tools it has")?;
        anyhow::Ok((connection, tools))
    };
    tokio::time::timeout(CONNECT_LIMIT, connecting).await.context("nothing came within 15 s")?
}

fn as_program(config: &McpServer) -> anyhow::Result<TokioChildProcess> {
    let (program, arguments) = config.command.split_first().context("no program is configured")?;
    let mut command = Command::new(program);
    // Nothing of ours: credentials of the box are none of its business.
    command.args(arguments).env_clear().kill_on_drop(true);
    command.envs(["PATH", "HOME"].into_iter().filter_map(|name| Some((name, std::env::var_os(name)?))));
    command.envs(&config.environment);
    // Whatever it complains of may hold what a caller has said.
    let started = TokioChildProcess::builder(command).stderr(Stdio::null()).spawn();
    Ok(started.with_context(|| format!("{program} cannot be started"))?.0)
}

fn over_http(config: &McpServer, url: &str) -> anyhow::Result<StreamableHttpClientTransportConfig> {
    // The whole process has one provider; the library asks for the process's own.
    let _ = ring::default_provider().install_default();
    let mut settings = StreamableHttpClientTransportConfig::with_uri(url);
    settings.max_sse_event_size = MESSAGE_LIMIT_BYTES;
    settings.max_json_response_size = MESSAGE_LIMIT_BYTES;
    if let Some(file) = &config.token_file {
        let token = std::fs::read_to_string(file).with_context(|| format!("token file {}", file.display()))?;
        settings = settings.auth_header(token.trim().to_owned());
    }
    Ok(settings)
}

/// The text of a result; images and sounds have no place in a telephone call.
fn answer(result: &CallToolResult) -> Result<ToolAnswer, ToolFailure> {
    if result.is_error == Some(true) {
        return Err(ToolFailure::Failed);
    }
    let texts = result.content.iter().filter_map(|block| block.as_text()).map(|text| text.text.as_str());
    let joined = texts.collect::<Vec<_>>().join("\n");
    let mut letters = joined.chars().filter(|letter| *letter == '\n' || !letter.is_control());
    let text: String = letters.by_ref().take(RESULT_LIMIT).collect();
    Ok(ToolAnswer { text, is_cut: letters.next().is_some() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_cut_and_cleaned() {
        let result = |text: &str, is_error: bool| -> CallToolResult {
            let value = serde_json::json!({ "content": [{ "type": "text", "text": text }], "isError": is_error });
            serde_json::from_value(value).unwrap()
        };
        let short = answer(&result("Tuesday\u{1b}[31m at three\n", false)).unwrap();
        assert_eq!(short, ToolAnswer { text: "Tuesday[31m at three\n".into(), is_cut: false });
        let long = answer(&result(&"ü".repeat(RESULT_LIMIT + 1), false)).unwrap();
        assert_eq!((long.text.chars().count(), long.is_cut), (RESULT_LIMIT, true));
        assert_eq!(answer(&result("no such order", true)), Err(ToolFailure::Failed));
    }
}
