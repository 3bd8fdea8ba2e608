//! `conversation_turns`: what was said, what we answered, why, and where every millisecond went.

use rusqlite::{Connection, Row, named_params, params, types::Type};
use serde_json::{Map, Value};

use super::one_row;
use crate::{
    redact::Redacted,
    storage::{CallId, StorageError, TurnId, UnixMs, text_enum::text_enum},
};

text_enum! {
    /// Who said a turn's text.
    Speaker {
        /// The person who called, or whom we called.
        Caller = "caller",
        /// The box: greeting, re-prompt, goodbye.
        Attendant = "attendant",
        /// A colleague the call was put through to.
        Person = "person",
    }
}

/// From the end of the caller's speech to our first sound. `None`: not measured, or did not happen in this turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TurnTimings {
    /// When the caller's last word ended; the other times count from here unless they say otherwise.
    pub speech_ended_at: Option<UnixMs>,
    /// Until endpointing was sure that the caller had finished.
    pub endpoint_decided_ms: Option<u32>,
    /// Work of the final decode.
    pub stt_ms: Option<u32>,
    /// Work of intent, slots and finding the answer.
    pub understand_ms: Option<u32>,
    /// Until a tool of another program had answered, or was given up, from when it was asked.
    pub tool_ms: Option<u32>,
    /// Work of synthesising the answer's first sentence; 0 from the phrase cache.
    pub first_sentence_tts_ms: Option<u32>,
    /// Until the first packet of the answer was handed to the socket.
    pub first_audio_ms: Option<u32>,
    /// The silence the caller heard, measured in RTP.
    pub heard_gap_ms: Option<u32>,
}

/// A row of `conversation_turns`, in both directions.
#[derive(Debug, Clone, PartialEq)]
pub struct ConversationTurn {
    /// Key.
    pub turn_id: TurnId,
    /// The call.
    pub call_id: CallId,
    /// Position in the call, from 0.
    pub turn_index: u32,
    /// Who said `text`.
    pub who: Speaker,
    /// What was said.
    pub text: Redacted<String>,
    /// What was understood in the call, if it was heard again since and `text` has better words.
    pub first_text: Option<Redacted<String>>,
    /// Of the transcript, 0–1.
    pub confidence: Option<f64>,
    /// Stable name, `[a-z0-9_]+`; `None`: not sure, or not the caller's turn.
    pub intent: Option<String>,
    /// Similarity or rule score of the intent.
    pub intent_score: Option<f64>,
    /// What was understood: name to value.
    pub slots: Redacted<Map<String, Value>>,
    /// What the answer rests on: passage ids, or `office.hours` and the like.
    pub sources: Vec<String>,
    /// What we set out to say.
    pub answer: Option<Redacted<String>>,
    /// What of it was heard, if the caller interrupted.
    pub heard: Option<Redacted<String>>,
    /// When the caller interrupted, from the answer's first sound.
    pub interrupted_at_ms: Option<u32>,
    /// Where the time went.
    pub timings: TurnTimings,
    /// When the row was made.
    pub created_at: UnixMs,
}

impl ConversationTurn {
    /// A turn in which `who` said `text`; everything else empty.
    pub fn new(call_id: CallId, turn_index: u32, who: Speaker, text: impl Into<String>, at: UnixMs) -> Self {
        ConversationTurn {
            turn_id: TurnId::new(at),
            call_id,
            turn_index,
            who,
            text: Redacted::new(text.into()),
            first_text: None,
            confidence: None,
            intent: None,
            intent_score: None,
            slots: Redacted::default(),
            sources: Vec::new(),
            answer: None,
            heard: None,
            interrupted_at_ms: None,
            timings: TurnTimings::default(),
            created_at: at,
        }
    }
}

/// Writes a turn.
///
/// # Errors
/// A constraint if the call is unknown, the index taken, or a value out of its range.
pub fn insert_turn(sql_tx: &Connection, turn: &ConversationTurn) -> Result<(), StorageError> {
    let slots = Value::Object(turn.slots.reveal().clone()).to_string();
    let sources = Value::from(turn.sources.clone()).to_string();
    let timings = &turn.timings;
    sql_tx
        .prepare_cached(
            "INSERT INTO conversation_turns (turn_id, created_at, updated_at, call_id, turn_index, who, text,
                confidence, intent, intent_score, slots, sources, answer, heard, interrupted_at_ms,
                speech_ended_at, endpoint_decided_ms, stt_ms, understand_ms, first_sentence_tts_ms, first_audio_ms,
                heard_gap_ms, tool_ms)
             VALUES (:turn_id, :at, :at, :call_id, :turn_index, :who, :text,
                :confidence, :intent, :intent_score, :slots, :sources, :answer, :heard, :interrupted_at_ms,
                :speech_ended_at, :endpoint_decided_ms, :stt_ms, :understand_ms, :first_sentence_tts_ms,
                :first_audio_ms, :heard_gap_ms, :tool_ms)",
        )?
        .execute(named_params! {
            ":turn_id": turn.turn_id,
            ":at": turn.created_at,
            ":call_id": turn.call_id,
            ":turn_index": turn.turn_index,
            ":who": turn.who,
            ":text": turn.text.reveal(),
            ":confidence": turn.confidence,
            ":intent": turn.intent,
            ":intent_score": turn.intent_score,
            ":slots": slots,
            ":sources": sources,
            ":answer": turn.answer.as_ref().map(Redacted::reveal),
            ":heard": turn.heard.as_ref().map(Redacted::reveal),
            ":interrupted_at_ms": turn.interrupted_at_ms,
            ":speech_ended_at": timings.speech_ended_at,
            ":endpoint_decided_ms": timings.endpoint_decided_ms,
            ":stt_ms": timings.stt_ms,
            ":understand_ms": timings.understand_ms,
            ":first_sentence_tts_ms": timings.first_sentence_tts_ms,
            ":first_audio_ms": timings.first_audio_ms,
            ":heard_gap_ms": timings.heard_gap_ms,
            ":tool_ms": timings.tool_ms,
        })?;
    Ok(())
}

/// Notes an interruption of a turn that is already written: what was heard, and when the caller cut in.
///
/// # Errors
/// [`StorageError::NotFound`].
pub fn update_heard(
    sql_tx: &Connection,
    turn_id: TurnId,
    heard: &Redacted<String>,
    interrupted_at_ms: u32,
    at: UnixMs,
) -> Result<(), StorageError> {
    let updated = sql_tx
        .prepare_cached(
            "UPDATE conversation_turns SET heard = ?2, interrupted_at_ms = ?3, updated_at = ?4 WHERE turn_id = ?1",
        )?
        .execute(params![turn_id, heard.reveal(), interrupted_at_ms, at])?;
    one_row(updated, "turn")
}

/// Gives a turn the better words of a second hearing; those of the first one stay beside them.
///
/// # Errors
/// [`StorageError::NotFound`].
pub fn correct_turn(
    sql_tx: &Connection,
    turn_id: TurnId,
    text: &Redacted<String>,
    confidence: f64,
    at: UnixMs,
) -> Result<(), StorageError> {
    let updated = sql_tx
        .prepare_cached(
            "UPDATE conversation_turns SET first_text = coalesce(first_text, text), text = ?2, confidence = ?3,
                updated_at = ?4
             WHERE turn_id = ?1",
        )?
        .execute(params![turn_id, text.reveal(), confidence.clamp(0.0, 1.0), at])?;
    one_row(updated, "turn")
}

/// The turns of a call in order.
///
/// # Errors
/// [`StorageError::Sql`].
pub fn turns_of(db: &Connection, call_id: CallId) -> Result<Vec<ConversationTurn>, StorageError> {
    let mut statement = db.prepare_cached("SELECT * FROM conversation_turns WHERE call_id = ?1 ORDER BY turn_index")?;
    let rows = statement.query_map([call_id], from_row)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

fn from_row(row: &Row<'_>) -> rusqlite::Result<ConversationTurn> {
    let secret = |column: &str| row.get::<_, Option<String>>(column).map(|text| text.map(Redacted::new));
    Ok(ConversationTurn {
        turn_id: row.get("turn_id")?,
        call_id: row.get("call_id")?,
        turn_index: row.get("turn_index")?,
        who: row.get("who")?,
        text: Redacted::new(row.get("text")?),
        first_text: secret("first_text")?,
        confidence: row.get("confidence")?,
        intent: row.get("intent")?,
        intent_score: row.get("intent_score")?,
        slots: Redacted::new(json(row, "slots")?),
        sources: json(row, "sources")?,
        answer: secret("answer")?,
        heard: secret("heard")?,
        interrupted_at_ms: row.get("interrupted_at_ms")?,
        timings: TurnTimings {
            speech_ended_at: row.get("speech_ended_at")?,
            endpoint_decided_ms: row.get("endpoint_decided_ms")?,
            stt_ms: row.get("stt_ms")?,
            understand_ms: row.get("understand_ms")?,
            tool_ms: row.get("tool_ms")?,
            first_sentence_tts_ms: row.get("first_sentence_tts_ms")?,
            first_audio_ms: row.get("first_audio_ms")?,
            heard_gap_ms: row.get("heard_gap_ms")?,
        },
        created_at: row.get("created_at")?,
    })
}

fn json<T: serde::de::DeserializeOwned>(row: &Row<'_>, column: &str) -> rusqlite::Result<T> {
    let text: String = row.get(column)?;
    // The error keeps the position, not the text: slots hold what the caller said.
    serde_json::from_str(&text)
        .map_err(|error| rusqlite::Error::FromSqlConversionFailure(error.column(), Type::Text, Box::new(error)))
}
