//! Tools of others during a call: the client side of the Model Context Protocol (MCP).
//!
//! ```text
//! ToolBox ──► Server ──► connection (a program's standard input and output, or streamable HTTP)
//!   call        │ supervised: started again with growing pauses when it ends
//!   (deadline)  │ breaker: asked no more for a while after it has failed three times in a row
//!               └ offered: what the configuration allows and what is described as it was when it was allowed
//! ```
//! Nothing here trusts a server. What it says about itself is never an instruction: tools are offered by the words of the
//! configuration, and only while the fingerprint of their description is the one that was allowed. What a tool answers is
//! text, cut to [`RESULT_LIMIT`] characters, for whoever asked to quote from. A server that hangs, dies or floods costs
//! its own answer and nothing else: no call waits for it beyond the deadline that it gives.
//!
//! Left out on purpose: prompts, resources, sampling and elicitation. A caller on the telephone needs none of them.

mod fingerprint;
mod server;

use std::time::Duration;

use serde_json::{Map, Value};

use crate::config::{McpServer, ToolScope};
use server::Server;

pub use fingerprint::fingerprint;
pub use server::{Found, look};

/// Most characters of an answer that are kept.
pub const RESULT_LIMIT: usize = 4_096;

/// All servers of the configuration. Dropping it ends them.
#[derive(Debug)]
pub struct ToolBox {
    servers: Vec<Server>,
}

/// A tool that may be used now.
#[derive(Debug, Clone, PartialEq)]
pub struct Offered {
    /// Name of the server in the configuration.
    pub server: String,
    /// As the server calls it.
    pub name: String,
    /// What it may do.
    pub scope: ToolScope,
    /// When it is of use, in the configuration's words.
    pub says: String,
    /// What it does, in the configuration's words; empty for one that only looks something up.
    pub does: String,
    /// Arguments that the configuration gives.
    pub arguments: Map<String, Value>,
    /// JSON schema of its arguments.
    pub schema: Map<String, Value>,
}

/// What a tool has answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ToolAnswer {
    /// Its text, at most [`RESULT_LIMIT`] characters, without control characters but line ends.
    pub text: String,
    /// Whether it was longer.
    pub is_cut: bool,
}

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ToolFailure {
    /// Not allowed by the configuration, or described otherwise than when it was allowed.
    #[error("the tool is not offered")]
    NotOffered,
    /// The server is not connected, or was asked in vain too often.
    #[error("the server does not answer at the moment")]
    Unavailable,
    /// Nothing came before the deadline.
    #[error("the tool did not answer in time")]
    TimedOut,
    /// The server says that the tool has failed.
    #[error("the tool failed")]
    Failed,
}

impl ToolBox {
    /// Starts every server; returns at once. Needs a tokio runtime.
    pub fn start(servers: &[McpServer]) -> ToolBox {
        ToolBox { servers: servers.iter().cloned().map(Server::start).collect() }
    }

    /// Returns once every server is connected, which may never be.
    pub async fn connected(&self) {
        for server in &self.servers {
            server.connected().await;
        }
    }

    /// What may be used now.
    pub fn offered(&self) -> Vec<Offered> {
        self.servers.iter().flat_map(Server::offered).collect()
    }

    /// Uses a tool. Never takes longer than `limit`.
    ///
    /// # Errors
    /// [`ToolFailure`]; a server that is known not to answer is not waited for.
    pub async fn call(
        &self,
        server: &str,
        tool: &str,
        arguments: Map<String, Value>,
        limit: Duration,
    ) -> Result<ToolAnswer, ToolFailure> {
        let server = self.servers.iter().find(|known| known.name() == server).ok_or(ToolFailure::NotOffered)?;
        server.call(tool, arguments, limit).await
    }
}
