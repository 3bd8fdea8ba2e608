//! `/v1/messages`, `/v1/followups`, `/v1/notices`, `/v1/people`, `/v1/requests`: what the command line shows and does, for
//! other programs of this machine, in the same JSON.

use axum::Json;
use axum::extract::rejection::{JsonRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::Response;
use jiff::Zoned;
use serde::Deserialize;
use serde_json::{Value, json};
use tracing::warn;

use super::problem::Problem;
use super::sound;
use crate::requests::Request;
use crate::storage::{
    NoticeState, StorageError, VoicemailId, VoicemailStatus, find_recording, find_voicemail, list_follow_ups,
    list_notices, list_voicemails,
};
use crate::views::{ShownMessage, notice_json, person_json, promise_json};

/// Rows of an answer, if nothing is said, and at most.
const LIMIT: (u32, u32) = (50, 1_000);

/// The query of a list.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Wanted {
    limit: Option<u32>,
    /// Of messages: those that nobody has heard.
    new: bool,
    /// Of promises: those that are over, too.
    all: bool,
    /// Of notices.
    state: Option<String>,
}

type Asked = Result<Query<Wanted>, QueryRejection>;

impl Wanted {
    fn of(asked: Asked) -> Result<Wanted, Problem> {
        let Query(wanted) = asked.map_err(|error| Problem::new(StatusCode::BAD_REQUEST, error.body_text()))?;
        match wanted.limit() {
            limit if (1..=LIMIT.1).contains(&limit) => Ok(wanted),
            limit => {
                let expected = format!("limit is {limit}, expected 1 to {}", LIMIT.1);
                Err(Problem::new(StatusCode::BAD_REQUEST, expected))
            }
        }
    }

    fn limit(&self) -> u32 {
        self.limit.unwrap_or(LIMIT.0)
    }
}

fn problem(error: StorageError) -> Problem {
    if matches!(error, StorageError::NotFound(_)) {
        return Problem::new(StatusCode::NOT_FOUND, error.to_string());
    }
    if matches!(error, StorageError::Ambiguous { .. } | StorageError::Refused(_)) {
        return Problem::new(StatusCode::CONFLICT, error.to_string());
    }
    warn!(%error, "A request of the HTTP interface failed");
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, "the database does not answer at the moment")
}

/// The latest first.
pub(super) async fn messages(State(state): State<super::State>, asked: Asked) -> Result<Json<Value>, Problem> {
    let wanted = Wanted::of(asked)?;
    let rows = state.desk.storage.read(move |db| {
        let status = wanted.new.then_some(VoicemailStatus::New);
        let found = list_voicemails(db, status, wanted.limit())?;
        found.into_iter().map(|one| Ok(ShownMessage::load(db, one)?.as_json())).collect::<Result<Vec<_>, _>>()
    });
    Ok(Json(json!({ "messages": rows.await.map_err(problem)? })))
}

fn message_id(id: &str) -> Result<VoicemailId, Problem> {
    id.parse().map_err(|_| Problem::new(StatusCode::NOT_FOUND, "no message has this id"))
}

pub(super) async fn message(State(state): State<super::State>, Path(id): Path<String>) -> Result<Json<Value>, Problem> {
    let id = message_id(&id)?;
    let row = state.desk.storage.read(move |db| {
        let message = find_voicemail(db, id)?.ok_or(StorageError::NotFound("message"))?;
        Ok(ShownMessage::load(db, message)?.as_json())
    });
    row.await.map(Json).map_err(problem)
}

/// As WAV.
pub(super) async fn message_sound(
    State(state): State<super::State>,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    let id = message_id(&id)?;
    let recording = state.desk.storage.read(move |db| {
        let message = find_voicemail(db, id)?.ok_or(StorageError::NotFound("message"))?;
        let recording = message.recording_id.map(|id| find_recording(db, id)).transpose()?.flatten();
        recording.ok_or(StorageError::NotFound("recording of a message"))
    });
    Ok(sound::wav(state.files.clone(), recording.await.map_err(problem)?))
}

/// The one that is due first at the front.
pub(super) async fn follow_ups(State(state): State<super::State>, asked: Asked) -> Result<Json<Value>, Problem> {
    let wanted = Wanted::of(asked)?;
    let rows = state.desk.storage.read(move |db| list_follow_ups(db, wanted.all, wanted.limit()));
    let rows: Vec<_> = rows.await.map_err(problem)?.iter().map(promise_json).collect();
    Ok(Json(json!({ "followups": rows })))
}

/// The latest first.
pub(super) async fn notices(State(state): State<super::State>, asked: Asked) -> Result<Json<Value>, Problem> {
    let wanted = Wanted::of(asked)?;
    let known = |name: &str| {
        let known = NoticeState::ALL.iter().find(|known| known.as_str() == name).copied();
        let names = NoticeState::ALL.iter().map(|known| known.as_str()).collect::<Vec<_>>().join(", ");
        let expected = || Problem::new(StatusCode::BAD_REQUEST, format!("state is {name:?}, expected one of {names}"));
        known.ok_or_else(expected)
    };
    let of_state = wanted.state.as_deref().map(known).transpose()?;
    let rows = state.desk.storage.read(move |db| list_notices(db, of_state, wanted.limit()));
    let rows: Vec<_> = rows.await.map_err(problem)?.iter().map(notice_json).collect();
    Ok(Json(json!({ "notices": rows })))
}

/// Everybody, and whether they may be rung now.
pub(super) async fn people(State(state): State<super::State>) -> Json<Value> {
    let (office, now) = (state.desk.staff.office(), Zoned::now());
    let rows: Vec<_> = office.people.iter().map(|person| person_json(&office, person, &now)).collect();
    Json(json!({ "people": rows }))
}

/// Does what a [`Request`] wants, as the command line has it done.
pub(super) async fn request(
    State(state): State<super::State>,
    request: Result<Json<Request>, JsonRejection>,
) -> Result<StatusCode, Problem> {
    let Json(request) = request.map_err(|error| Problem::new(error.status(), error.body_text()))?;
    let desk = state.desk.clone();
    let done = tokio::task::spawn_blocking(move || desk.carry_out(request)).await;
    match done {
        Ok(Ok(())) => Ok(StatusCode::NO_CONTENT),
        Ok(Err(error)) => Err(match error.downcast::<StorageError>() {
            Ok(error) => problem(error),
            Err(error) => Problem::new(StatusCode::CONFLICT, format!("{error:#}")),
        }),
        Err(_) => Err(Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "the request failed")),
    }
}
