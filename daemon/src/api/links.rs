//! `/links/…`: one message or promise in a browser, for whoever has the link that a notice brought.
//!
//! ```text
//! GET  /links/{key}          what it says, its sound, who takes care of it
//! GET  /links/{key}/sound    its recording as WAV
//! POST /links/{key}          do=take&by=…, do=done, do=heard
//! ```
//! Reading changes nothing: programs that look into mails open every link. A link that has ended says so; one that is not
//! ours is not told from one about nothing.

use std::sync::Arc;

use axum::extract::{DefaultBodyLimit, Form, Path, Query, State};
use axum::http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, LOCATION, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS};
use axum::http::{HeaderName, StatusCode};
use axum::middleware::{Next, from_fn};
use axum::response::{Html, IntoResponse as _, Response};
use axum::routing::get;
use axum::{Router, extract::Request};
use minijinja::Environment;
use minijinja::value::Serde;
use serde::{Deserialize, Serialize};
use tracing::{info, warn};

use super::problem::Problem;
use super::sound;
use crate::bell::Bell;
use crate::notices::link::{Admission, Links};
use crate::notices::{Composer, Content, Facts, office_time};
use crate::storage::{
    AudioFiles, ClosedReason, FollowUp, FollowUpState, Storage, StorageError, UnixMs, VoicemailId, VoicemailStatus,
    acknowledge_follow_up, close_follow_up, find_follow_up, find_voicemail, promise_for, set_voicemail_status,
};

/// More is no form of this page.
const BODY_MAX_BYTES: usize = 4 << 10;
/// The longest name.
const NAME_MAX_CHARS: usize = 80;
/// What the page may do: show itself, play its sound, send its form.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; media-src 'self'; form-action 'self'; \
                      base-uri 'none'; frame-ancestors 'none'";

/// What pages behind links need.
#[derive(Clone)]
pub struct Pages {
    /// Knows links of ours.
    pub links: Links,
    /// Puts together what is shown: all of it, since it does not leave the box but to whoever has the link.
    pub composer: Composer,
    /// The rows.
    pub storage: Storage,
    /// The sound.
    pub files: AudioFiles,
    /// Rung when somebody has done something.
    pub bell: Bell,
}

/// The query of a link.
#[derive(Deserialize)]
struct Key {
    until: i64,
    key: String,
}

/// What somebody does on the page.
#[derive(Deserialize)]
struct Done {
    #[serde(rename = "do")]
    what: String,
    #[serde(default)]
    by: String,
}

/// What a link is about.
struct About {
    content: Content,
    promise: Option<FollowUp>,
    /// The message, and whether nobody has heard it.
    message: Option<(VoicemailId, bool)>,
}

pub(super) fn router(pages: Pages) -> Router {
    Router::new()
        .route("/links/{subject}", get(show).post(act))
        .route("/links/{subject}/sound", get(hear))
        .layer(DefaultBodyLimit::max(BODY_MAX_BYTES))
        .layer(from_fn(reserved))
        .with_state(Arc::new(pages))
}

/// Nobody keeps it, and no other page gets its address.
async fn reserved(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let fixed: [(HeaderName, &'static str); 4] = [
        (CACHE_CONTROL, "no-store"),
        (REFERRER_POLICY, "no-referrer"),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (CONTENT_SECURITY_POLICY, POLICY),
    ];
    for (name, value) in fixed {
        response.headers_mut().insert(name, axum::http::HeaderValue::from_static(value));
    }
    response
}

impl Pages {
    fn admit(&self, subject: &str, Key { until, key }: &Key) -> Result<(), Problem> {
        match self.links.check(subject, *until, key, UnixMs::now()) {
            Admission::Granted => Ok(()),
            Admission::Ended => {
                Err(Problem::new(StatusCode::GONE, "this link has ended; the box has what it was about"))
            }
            Admission::Forged => {
                warn!("A link that is not ours was refused");
                Err(Problem::new(StatusCode::NOT_FOUND, "there is nothing at this link"))
            }
        }
    }

    async fn about(&self, subject: String) -> Result<About, Problem> {
        let composer = self.composer.clone();
        let read = self.storage.read(move |db| {
            let Some(content) = composer.about(db, &subject)? else { return Ok(None) };
            let message = match subject.parse() {
                Ok(id) => find_voicemail(db, id)?,
                Err(_) => None,
            };
            let promise = match (&message, subject.parse()) {
                (Some(message), _) => promise_for(db, message.voicemail_id)?,
                (None, Ok(id)) => find_follow_up(db, id)?,
                (None, Err(_)) => None,
            };
            let message = message.map(|message| (message.voicemail_id, message.status == VoicemailStatus::New));
            Ok(Some(About { content, promise, message }))
        });
        read.await
            .map_err(|error| unavailable(&error))?
            .ok_or_else(|| Problem::new(StatusCode::GONE, "what this link was about is not kept any more"))
    }
}

fn unavailable(error: &StorageError) -> Problem {
    warn!(%error, "A link could not be followed");
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, "the box can not say at the moment; try again in a minute")
}

async fn show(
    State(pages): State<Arc<Pages>>,
    Path(subject): Path<String>,
    Query(key): Query<Key>,
) -> Result<Response, Problem> {
    pages.admit(&subject, &key)?;
    let about = pages.about(subject.clone()).await?;
    let page = page(&pages, &subject, &key, &about).map_err(|error| {
        warn!(%error, "A page could not be made");
        Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "this page could not be made")
    })?;
    Ok(Html(page).into_response())
}

fn page(pages: &Pages, subject: &str, key: &Key, about: &About) -> Result<String, minijinja::Error> {
    let zone = pages.composer.office.time_zone();
    let query = format!("until={}&key={}", key.until, key.key);
    let promise = about.promise.as_ref();
    let (state, actions): (Option<String>, &[&'static str]) = match promise.map(|promise| promise.state) {
        Some(FollowUpState::Open) => (None, &["take", "done"]),
        Some(FollowUpState::Acknowledged) => {
            let by = promise.and_then(|promise| promise.acknowledged_by.as_deref()).unwrap_or("Somebody");
            (Some(format!("{by} takes care of it.")), &["take", "done"])
        }
        Some(FollowUpState::Closed) => (Some("It is done.".into()), &[]),
        None if about.message.is_some_and(|(_, is_new)| is_new) => (None, &["heard"]),
        None => (about.message.map(|_| "It was heard.".to_owned()), &[]),
    };
    let mut environment = Environment::new();
    environment.add_template("link.html", include_str!("pages/link.html"))?;
    // Relative to the page, whatever address a proxy has put before it.
    let sound = about.content.recording.is_some().then(|| format!("{subject}/sound?{query}"));
    environment.get_template("link.html")?.render(Serde(Shown {
        office: &pages.composer.office.name,
        title: if about.message.is_some() { "A message" } else { "A promise" },
        facts: &about.content.facts,
        due: promise.map(|promise| office_time(promise.due_at, zone)),
        sound,
        state,
        actions,
        action: format!("?{query}"),
        until: office_time(UnixMs(key.until.saturating_mul(1_000)), zone),
    }))
}

/// What the page says.
#[derive(Serialize)]
struct Shown<'a> {
    office: &'a str,
    title: &'static str,
    facts: &'a Facts,
    due: Option<String>,
    /// Where its sound is.
    sound: Option<String>,
    /// Who takes care of it.
    state: Option<String>,
    /// What may be done: `take`, `done`, `heard`.
    actions: &'a [&'static str],
    /// Where the form goes.
    action: String,
    /// When the link ends.
    until: String,
}

async fn act(
    State(pages): State<Arc<Pages>>,
    Path(subject): Path<String>,
    Query(key): Query<Key>,
    Form(Done { what, by }): Form<Done>,
) -> Result<Response, Problem> {
    pages.admit(&subject, &key)?;
    let About { promise, message, .. } = pages.about(subject.clone()).await?;
    let by = by.split_whitespace().collect::<Vec<_>>().join(" ");
    let is_name = !by.is_empty() && by.chars().count() <= NAME_MAX_CHARS;
    if what == "take" && !is_name {
        return Err(Problem::new(StatusCode::BAD_REQUEST, "by: expected your name, at most 80 characters"));
    }
    let promise = promise.filter(|promise| promise.state != FollowUpState::Closed).map(|promise| promise.follow_up_id);
    let at = UnixMs::now();
    info!(what, "Done by a link");
    let done = pages.storage.write(move |sql_tx| {
        match (what.as_str(), promise) {
            ("take", Some(id)) => acknowledge_follow_up(sql_tx, id, &by, at)?,
            ("done", Some(id)) => close_follow_up(sql_tx, id, ClosedReason::Done, at)?,
            ("heard", _) => {}
            _ => return Err(StorageError::NotFound("open promise")),
        }
        if let Some((id, true)) = message {
            set_voicemail_status(sql_tx, id, VoicemailStatus::Heard, at)?;
        }
        Ok(())
    });
    match done.await {
        Ok(()) => {}
        Err(StorageError::NotFound(_)) => {
            return Err(Problem::new(StatusCode::CONFLICT, "there is nothing to do here any more"));
        }
        Err(error) => return Err(unavailable(&error)),
    }
    pages.bell.ring();
    let back = format!("?until={}&key={}", key.until, key.key);
    Ok((StatusCode::SEE_OTHER, [(LOCATION, back)]).into_response())
}

async fn hear(
    State(pages): State<Arc<Pages>>,
    Path(subject): Path<String>,
    Query(key): Query<Key>,
) -> Result<Response, Problem> {
    pages.admit(&subject, &key)?;
    let about = pages.about(subject).await?;
    let none = || Problem::new(StatusCode::NOT_FOUND, "there is no recording");
    let recording = about.content.recording.ok_or_else(none)?;
    Ok(sound::wav(pages.files.clone(), recording))
}
