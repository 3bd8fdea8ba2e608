//! `GET /v1/calls`: the calls that are up.

use axum::Json;
use axum::extract::State;
use serde_json::{Value, json};

use crate::call::UpCall;
use crate::redact::Redacted;

/// The oldest first.
pub(super) async fn list(State(state): State<super::State>) -> Json<Value> {
    let calls: Vec<Value> = state.calls.list().iter().map(shown).collect();
    Json(json!({ "calls": calls }))
}

fn shown(call: &UpCall) -> Value {
    let since = jiff::Timestamp::from_millisecond(call.since.0).unwrap_or_default();
    json!({
        "id": call.call_id.to_string(),
        "from": call.from.as_ref().map(Redacted::reveal),
        "to": call.to.as_ref().map(Redacted::reveal),
        "since": since.to_string(),
        "kind": call.kind,
        "extensions": call.extensions,
    })
}
