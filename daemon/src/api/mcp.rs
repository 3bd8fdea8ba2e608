//! `/mcp`: the box as a server of the Model Context Protocol, over streamable HTTP, for programs with a token.
//!
//! Each token opens some of the tools, and the others are not even named to it. All of them only read. There are no
//! sessions: every request stands for itself and brings its token.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::header::{AUTHORIZATION, WWW_AUTHENTICATE};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use rmcp::model::{
    CallToolRequestParams, CallToolResponse, CallToolResult, ContentBlock, Implementation, ListToolsResult,
    PaginatedRequestParams, ServerCapabilities, ServerConfig, Tool,
};
use rmcp::service::RequestContext;
use rmcp::transport::streamable_http_server::session::never::NeverSessionManager;
use rmcp::transport::streamable_http_server::{StreamableHttpServerConfig, StreamableHttpService};
use rmcp::{ErrorData, RoleServer, ServerHandler};
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};
use tracing::warn;

use super::problem::Problem;
use crate::config::{McpScope, McpToken};
use crate::conversation::answer::week;
use crate::knowledge::{Hit, Knowledge};
use crate::office::Office;
use crate::office::hours::Status;
use crate::redact::Redacted;
use crate::storage::{CallSession, Storage, list_sessions};

/// Most bytes of a request.
const REQUEST_BYTES_MAX: usize = 64 << 10;
/// Passages and calls, if nothing else is asked for, and at most.
const PASSAGES: (u64, u64) = (3, 10);
const CALLS: (u64, u64) = (20, 100);

/// What the tools read.
#[derive(Clone)]
pub struct Sources {
    /// What the office's documents say.
    pub knowledge: Knowledge,
    /// The calls.
    pub storage: Storage,
    /// The directory.
    pub office: Arc<Office>,
}

/// What a request's token opens.
#[derive(Clone)]
struct Opened(Vec<McpScope>);

/// Lets through who has a token, and notes what it opens.
pub(super) async fn admit(State(tokens): State<Arc<Vec<McpToken>>>, mut request: Request, next: Next) -> Response {
    match token_of(request.headers(), &tokens) {
        Some(token) => {
            request.extensions_mut().insert(Opened(token.scopes.clone()));
            next.run(request).await
        }
        None => {
            warn!("Request to /mcp without a token that is known");
            let mut response =
                Problem::new(StatusCode::UNAUTHORIZED, "a bearer token of api.mcp_tokens is needed").into_response();
            // RFC 6750 §3.
            response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            response
        }
    }
}

fn token_of<'a>(headers: &HeaderMap, tokens: &'a [McpToken]) -> Option<&'a McpToken> {
    let token = headers.get(AUTHORIZATION)?.to_str().ok()?.strip_prefix("Bearer ")?.trim();
    // Of a hash it may be told by the time how far it is right: that says nothing about the token.
    let hash = hex::encode(Sha256::digest(token.as_bytes()));
    tokens.iter().find(|known| known.sha256.eq_ignore_ascii_case(&hash))
}

/// The service at `/mcp`.
pub(super) fn service(sources: Sources) -> StreamableHttpService<Server, NeverSessionManager> {
    let settings = StreamableHttpServerConfig::default()
        .with_legacy_session_mode(false)
        .with_json_response(true)
        .enforce_origin_validation()
        .with_max_request_body_bytes(REQUEST_BYTES_MAX);
    StreamableHttpService::new(move || Ok(Server { sources: sources.clone() }), Arc::default(), settings)
}

/// One request's server.
pub(super) struct Server {
    sources: Sources,
}

impl ServerHandler for Server {
    fn get_info(&self) -> ServerConfig {
        let mut info = ServerConfig::new(ServerCapabilities::builder().enable_tools().build());
        info.server_info = Implementation::new("offhook", env!("CARGO_PKG_VERSION"));
        info.with_instructions(
            "The office's phone box: what its documents say, who is who, and which calls there were.",
        )
    }

    async fn list_tools(
        &self,
        _: Option<PaginatedRequestParams>,
        context: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        let opened = opened(&context);
        Ok(ListToolsResult::with_all_items(opened.iter().map(|scope| tool(*scope)).collect()))
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let scope = opened(&context).into_iter().find(|scope| name(*scope) == request.name);
        let arguments = request.arguments.unwrap_or_default();
        let result = match scope {
            Some(McpScope::Knowledge) => self.search_knowledge(&arguments).await?,
            Some(McpScope::Directory) => directory(&self.sources.office),
            Some(McpScope::Calls) => self.list_calls(&arguments).await?,
            None => return Err(ErrorData::invalid_params("there is no such tool for this token", None)),
        };
        let mut told = CallToolResult::success(vec![ContentBlock::text(result.to_string())]);
        told.structured_content = Some(result);
        Ok(told.into())
    }
}

impl Server {
    async fn search_knowledge(&self, arguments: &Map<String, Value>) -> Result<Value, ErrorData> {
        let question = arguments.get("question").and_then(Value::as_str).map(str::trim).unwrap_or_default();
        if question.is_empty() || question.len() > 1_000 {
            return Err(ErrorData::invalid_params("question has to be a text of 1 to 1000 bytes", None));
        }
        let limit = limit(arguments, PASSAGES)?;
        let hits = self.sources.knowledge.search(question, None, limit as usize).await.map_err(internal)?;
        Ok(json!({ "passages": hits.iter().map(passage).collect::<Vec<_>>() }))
    }

    async fn list_calls(&self, arguments: &Map<String, Value>) -> Result<Value, ErrorData> {
        let limit = limit(arguments, CALLS)? as u32;
        let calls = self.sources.storage.read(move |db| list_sessions(db, limit, None)).await.map_err(internal)?;
        Ok(json!({ "calls": calls.iter().map(call).collect::<Vec<_>>() }))
    }
}

fn opened(context: &RequestContext<RoleServer>) -> Vec<McpScope> {
    let parts = context.extensions.get::<Parts>();
    parts.and_then(|parts| parts.extensions.get::<Opened>()).map(|opened| opened.0.clone()).unwrap_or_default()
}

fn limit(arguments: &Map<String, Value>, (usual, most): (u64, u64)) -> Result<u64, ErrorData> {
    match arguments.get("limit") {
        None => Ok(usual),
        Some(wanted) => wanted
            .as_u64()
            .filter(|wanted| (1..=most).contains(wanted))
            .ok_or_else(|| ErrorData::invalid_params(format!("limit has to be a whole number from 1 to {most}"), None)),
    }
}

fn internal(error: crate::storage::StorageError) -> ErrorData {
    warn!(%error, "A tool of ours has not answered");
    ErrorData::internal_error("the database does not answer", None)
}

fn name(scope: McpScope) -> &'static str {
    match scope {
        McpScope::Knowledge => "search_knowledge",
        McpScope::Directory => "directory",
        McpScope::Calls => "list_calls",
    }
}

fn tool(scope: McpScope) -> Tool {
    let number = |most: u64| json!({ "type": "integer", "minimum": 1, "maximum": most });
    let (description, properties, required) = match scope {
        McpScope::Knowledge => (
            "Finds the passages of the office's own documents that fit a question best, best first.",
            json!({ "question": { "type": "string" }, "limit": number(PASSAGES.1) }),
            json!(["question"]),
        ),
        McpScope::Directory => (
            "The office: address, opening hours, whether it is open now, people and departments.",
            json!({}),
            json!([]),
        ),
        McpScope::Calls => (
            "The latest calls, newest first, those that are up among them.",
            json!({ "limit": number(CALLS.1) }),
            json!([]),
        ),
    };
    let schema: Map<String, Value> = [
        ("type".to_owned(), json!("object")),
        ("properties".to_owned(), properties),
        ("required".to_owned(), required),
        ("additionalProperties".to_owned(), json!(false)),
    ]
    .into_iter()
    .collect();
    Tool::new(name(scope), description, Arc::new(schema))
}

fn passage(hit: &Hit) -> Value {
    json!({
        "document": hit.document,
        "heading": hit.heading,
        "text": hit.text,
        "score": hit.score,
        "is_answer": hit.is_answer(),
    })
}

fn directory(office: &Office) -> Value {
    let now = jiff::Zoned::now().with_time_zone(office.time_zone().clone());
    let people: Vec<Value> =
        office.people.iter().map(|person| json!({ "name": person.name, "department": person.department })).collect();
    json!({
        "name": office.name,
        "address": office.address,
        "phone": office.phone,
        "email": office.email,
        "hours": week(office),
        "is_open": matches!(office.calendar.status(&now), Status::Open { .. }),
        "people": people,
        "departments": office.departments,
    })
}

fn call(session: &CallSession) -> Value {
    let time = |at: i64| jiff::Timestamp::from_millisecond(at).unwrap_or_default().to_string();
    json!({
        "id": session.call_id.to_string(),
        "started_at": time(session.started_at.0),
        "ended_at": session.ended_at.map(|at| time(at.0)),
        "direction": session.direction.as_str(),
        "state": session.state.as_str(),
        "from": session.caller_id.as_ref().map(Redacted::reveal),
        "to": session.called.as_ref().map(Redacted::reveal),
        "hangup_cause": session.hangup_cause,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_known_by_its_hash() {
        let token = |name: &str, secret: &str| McpToken {
            name: name.into(),
            sha256: hex::encode(Sha256::digest(secret)),
            scopes: vec![McpScope::Calls],
        };
        let tokens = [token("desk", "first"), token("crm", "second")];
        let found = |header: &'static str| {
            let headers = HeaderMap::from_iter([(AUTHORIZATION, HeaderValue::from_static(header))]);
            token_of(&headers, &tokens).map(|token| token.name.clone())
        };
        assert_eq!(found("Bearer second"), Some("crm".into()));
        for wrong in ["Bearer third", "second", "Basic second", "Bearer ", ""] {
            assert_eq!(found(wrong), None, "{wrong}");
        }
    }
}
