//! Requests of notices over HTTP: short, bounded, and never led elsewhere.

use std::time::Duration;

use super::Undelivered;
use crate::storage::NoticeFailure;

/// Longest answer that is read.
const ANSWER_MAX_BYTES: u64 = 64 * 1024;

/// What came back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Answer {
    /// Of HTTP.
    pub(super) status: u16,
    /// Up to 64 KiB.
    pub(super) body: String,
}

/// An agent that gives up after `timeout` and follows no redirect: what is signed for one address is not for another.
pub(super) fn agent(timeout: Duration) -> ureq::Agent {
    ureq::Agent::config_builder()
        .timeout_global(Some(timeout))
        .max_redirects(0)
        .max_redirects_will_error(false)
        .http_status_as_error(false)
        .build()
        .into()
}

/// Posts `body`. Blocks.
///
/// # Errors
/// [`NoticeFailure::Unreachable`] when nothing comes back in time.
pub(super) fn post(
    agent: &ureq::Agent,
    url: &str,
    headers: &[(&str, String)],
    body: &[u8],
) -> Result<Answer, Undelivered> {
    let request = headers.iter().fold(agent.post(url), |request, (name, value)| request.header(*name, value));
    let answer = request.send(body);
    read(answer)
}

/// Asks for `url`. Blocks.
///
/// # Errors
/// As [`post`].
pub(super) fn get(agent: &ureq::Agent, url: &str, headers: &[(&str, String)]) -> Result<Answer, Undelivered> {
    let request = headers.iter().fold(agent.get(url), |request, (name, value)| request.header(*name, value));
    let answer = request.call();
    read(answer)
}

fn read(answer: Result<ureq::http::Response<ureq::Body>, ureq::Error>) -> Result<Answer, Undelivered> {
    let unreachable = |error: ureq::Error| Undelivered::new(NoticeFailure::Unreachable, error.to_string());
    let mut answer = answer.map_err(unreachable)?;
    let status = answer.status().as_u16();
    let body = answer.body_mut().with_config().limit(ANSWER_MAX_BYTES).lossy_utf8(true).read_to_string();
    // The status says it all; who sends more than we read has taken the notice all the same.
    Ok(Answer { status, body: body.unwrap_or_default() })
}

/// What a status means where nothing else is said; `None`: taken.
pub(super) fn failure_of(status: u16) -> Option<NoticeFailure> {
    match status {
        200..=299 => None,
        401 | 403 => Some(NoticeFailure::Credentials),
        408 | 409 | 425 | 429 | 500..=599 => Some(NoticeFailure::Deferred),
        _ => Some(NoticeFailure::Refused),
    }
}
