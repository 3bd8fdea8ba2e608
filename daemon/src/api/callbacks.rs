//! `POST /callbacks/twilio`: what became of text messages, and what people answer to them, as Twilio tells it.
//!
//! Whoever gets here has come through the office's own way from outside. What is not signed by the account is refused and
//! changes nothing. Each callback may come more than once and has the same effect.

use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use axum::routing::post;
use cloud_api::signature::Signer;
use tracing::warn;

use super::problem::Problem;
use crate::bell::Bell;
use crate::config;
use crate::notices::replies::Text;
use crate::notices::sms::Progress;
use crate::notices::told::{Told, take};
use crate::office::Staff;
use crate::redact::Redacted;
use crate::storage::{Storage, UnixMs};

/// More are no callback.
const BODY_MAX_BYTES: usize = 64 << 10;

/// What callbacks need.
pub struct Callbacks {
    /// `callback_url` is in it.
    config: config::Sms,
    signer: Signer,
    storage: Storage,
    staff: Staff,
    bell: Bell,
}

impl Callbacks {
    /// For the service of this configuration, if it is told where to send them. Blocks.
    ///
    /// # Errors
    /// As [`config::Sms::token`].
    pub fn open(config: &config::Sms, storage: Storage, staff: Staff, bell: Bell) -> anyhow::Result<Option<Callbacks>> {
        if !config.enabled || config.callback_url.is_none() {
            return Ok(None);
        }
        let signer = Signer::new(&config.token()?);
        Ok(Some(Callbacks { config: config.clone(), signer, storage, staff, bell }))
    }
}

pub(super) fn router(callbacks: Callbacks) -> Router {
    Router::new()
        .route("/callbacks/twilio", post(receive))
        .layer(DefaultBodyLimit::max(BODY_MAX_BYTES))
        .with_state(Arc::new(callbacks))
}

async fn receive(
    State(callbacks): State<Arc<Callbacks>>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Problem> {
    let form: Vec<(String, String)> = form_urlencoded::parse(&body).into_owned().collect();
    let signature = headers.get("x-twilio-signature").and_then(|value| value.to_str().ok()).unwrap_or_default();
    let url = callbacks.config.callback_url.as_deref().unwrap_or_default();
    if !callbacks.signer.is_right(signature, url, &form) {
        warn!("A callback that is not signed with sms.token_file for sms.callback_url was refused");
        return Err(Problem::new(StatusCode::FORBIDDEN, "the X-Twilio-Signature is not that of this account"));
    }
    let field = |name: &str| form.iter().find(|(known, _)| known == name).map(|(_, value)| value.clone());
    let reference = field("MessageSid")
        .filter(|sid| !sid.is_empty())
        .ok_or_else(|| Problem::new(StatusCode::BAD_REQUEST, "MessageSid is missing"))?;
    let told = match (field("MessageStatus"), field("From"), field("Body")) {
        (None, Some(sender), Some(body)) => {
            Told::Text(Text { reference, sender: Redacted::new(sender), body: Redacted::new(body) })
        }
        (Some(state), ..) => {
            let error_code = field("ErrorCode").and_then(|code| code.parse().ok());
            Told::Progress(reference, Progress { state, error_code })
        }
        (None, ..) => {
            return Err(Problem::new(StatusCode::BAD_REQUEST, "MessageStatus, or From and Body, are missing"));
        }
    };
    let (office, config) = (callbacks.staff.office(), callbacks.config.clone());
    let answer = callbacks.storage.write(move |sql_tx| take(sql_tx, &told, (&office, &config), UnixMs::now())).await;
    let answer = answer.map_err(|error| {
        warn!(%error, "A callback could not be kept");
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, "it could not be kept")
    })?;
    callbacks.bell.ring();
    Ok(([(CONTENT_TYPE, "text/xml")], twiml(answer.as_deref())).into_response())
}

/// What is answered to a text, in the service's language.
fn twiml(answer: Option<&str>) -> String {
    let message = answer.map_or_else(String::new, |answer| {
        let escaped = answer.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
        format!("<Message>{escaped}</Message>")
    });
    format!("<?xml version=\"1.0\" encoding=\"UTF-8\"?><Response>{message}</Response>")
}
