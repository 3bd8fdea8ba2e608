//! `recordings`: which audio file belongs to which call. The files themselves are `storage::audio_files`' business.

use rusqlite::{Connection, OptionalExtension, Row, named_params};

use super::{signed, unsigned};
use crate::storage::{CallId, RecordingId, StorageError, UnixMs, text_enum::text_enum};

text_enum! {
    /// What was recorded.
    RecordingKind {
        /// The conversation.
        Call = "call",
        /// A message after the beep.
        Voicemail = "voicemail",
    }
}

impl RecordingKind {
    /// Channels of its file: of a call the caller's side is the first, whoever talks with them the second.
    pub fn channels(self) -> u16 {
        match self {
            RecordingKind::Call => 2,
            RecordingKind::Voicemail => 1,
        }
    }
}

text_enum! {
    /// How the file was finished.
    RecordingState {
        /// By the call that wrote it.
        Complete = "complete",
        /// By the next start: the daemon had died, up to a second at the end may be missing.
        Recovered = "recovered",
    }
}

/// How one side of a recording talks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Talk {
    /// How long, without pauses.
    pub talk_ms: u64,
    /// How loudly, in dBov; `None` if it says nothing.
    pub level_dbov: Option<i64>,
}

/// A row of `recordings`, in both directions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recording {
    /// Key.
    pub recording_id: RecordingId,
    /// The call.
    pub call_id: CallId,
    /// What was recorded.
    pub kind: RecordingKind,
    /// How the file was finished.
    pub state: RecordingState,
    /// Of the stored file, 64 hexadecimal digits: its name on disk.
    pub sha256: String,
    /// Tag of the file's sealing, `plain-wav` today.
    pub format: String,
    /// Size of the file.
    pub size_bytes: u64,
    /// Length of the sound.
    pub duration_ms: u64,
    /// Who called; `None` in rows of older releases.
    pub caller: Option<Talk>,
    /// Whoever talked with them.
    pub other: Option<Talk>,
    /// When the first sample was taken.
    pub started_at: UnixMs,
    /// When the row was made.
    pub created_at: UnixMs,
}

/// Writes a recording's row.
///
/// # Errors
/// A constraint if the call is unknown.
pub fn insert_recording(sql_tx: &Connection, recording: &Recording) -> Result<(), StorageError> {
    sql_tx
        .prepare_cached(
            "INSERT INTO recordings (recording_id, created_at, updated_at, call_id, kind, state, sha256, format,
                size_bytes, duration_ms, caller_talk_ms, caller_level_dbov, other_talk_ms, other_level_dbov, started_at)
             VALUES (:recording_id, :at, :at, :call_id, :kind, :state, :sha256, :format, :size_bytes, :duration_ms,
                :caller_talk_ms, :caller_level_dbov, :other_talk_ms, :other_level_dbov, :started_at)",
        )?
        .execute(named_params! {
            ":recording_id": recording.recording_id,
            ":at": recording.created_at,
            ":call_id": recording.call_id,
            ":kind": recording.kind,
            ":state": recording.state,
            ":sha256": recording.sha256,
            ":format": recording.format,
            ":size_bytes": signed(recording.size_bytes),
            ":duration_ms": signed(recording.duration_ms),
            ":caller_talk_ms": recording.caller.map(|talk| signed(talk.talk_ms)),
            ":caller_level_dbov": recording.caller.and_then(|talk| talk.level_dbov),
            ":other_talk_ms": recording.other.map(|talk| signed(talk.talk_ms)),
            ":other_level_dbov": recording.other.and_then(|talk| talk.level_dbov),
            ":started_at": recording.started_at,
        })?;
    Ok(())
}

/// The recording with this key.
///
/// # Errors
/// [`StorageError::Sql`].
pub fn find_recording(db: &Connection, recording_id: RecordingId) -> Result<Option<Recording>, StorageError> {
    let mut statement = db.prepare_cached("SELECT * FROM recordings WHERE recording_id = ?1")?;
    Ok(statement.query_row([recording_id], from_row).optional()?)
}

/// The recordings of a call in order of their start.
///
/// # Errors
/// [`StorageError::Sql`].
pub fn recordings_of(db: &Connection, call_id: CallId) -> Result<Vec<Recording>, StorageError> {
    let mut statement =
        db.prepare_cached("SELECT * FROM recordings WHERE call_id = ?1 ORDER BY started_at, recording_id")?;
    let rows = statement.query_map([call_id], from_row)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

fn from_row(row: &Row<'_>) -> rusqlite::Result<Recording> {
    let talk = |talk_ms: &str, level_dbov: &str| -> rusqlite::Result<Option<Talk>> {
        let level_dbov = row.get(level_dbov)?;
        let talk_ms: Option<i64> = row.get(talk_ms)?;
        Ok(talk_ms.map(|talk_ms| Talk { talk_ms: unsigned(talk_ms), level_dbov }))
    };
    Ok(Recording {
        recording_id: row.get("recording_id")?,
        call_id: row.get("call_id")?,
        kind: row.get("kind")?,
        state: row.get("state")?,
        sha256: row.get("sha256")?,
        format: row.get("format")?,
        size_bytes: unsigned(row.get("size_bytes")?),
        duration_ms: unsigned(row.get("duration_ms")?),
        caller: talk("caller_talk_ms", "caller_level_dbov")?,
        other: talk("other_talk_ms", "other_level_dbov")?,
        started_at: row.get("started_at")?,
        created_at: row.get("created_at")?,
    })
}
