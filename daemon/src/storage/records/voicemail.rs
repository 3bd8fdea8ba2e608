//! `voicemails`: messages after the beep.

use rusqlite::{Connection, OptionalExtension as _, Row, named_params, params};

use super::{one_row, signed, unsigned};
use crate::{
    redact::Redacted,
    storage::{CallId, RecordingId, StorageError, UnixMs, VoicemailId, text_enum::text_enum},
};

text_enum! {
    /// What a person has done with a message.
    VoicemailStatus {
        /// Nothing yet.
        New = "new",
        /// Listened to or read.
        Heard = "heard",
        /// Done with.
        Archived = "archived",
    }
}

text_enum! {
    /// What ended the message.
    VoicemailEnd {
        /// The caller fell silent.
        Silence = "silence",
        /// The caller pressed `#`.
        Key = "key",
        /// The caller hung up.
        Hangup = "hangup",
        /// The longest allowed message.
        Length = "length",
        /// The daemon died; the next start saved what there was.
        Restart = "restart",
    }
}

/// A row of `voicemails`, in both directions.
#[derive(Debug, Clone, PartialEq)]
pub struct Voicemail {
    /// Key.
    pub voicemail_id: VoicemailId,
    /// The call.
    pub call_id: CallId,
    /// Its sound; `None` once that was deleted.
    pub recording_id: Option<RecordingId>,
    /// What a person has done with it.
    pub status: VoicemailStatus,
    /// What ended it.
    pub ended_by: VoicemailEnd,
    /// Length of the sound.
    pub duration_ms: u64,
    /// What was said; usually follows later.
    pub transcript: Option<Redacted<String>>,
    /// Of the transcript, 0–1.
    pub transcript_confidence: Option<f64>,
    /// Whether the caller has marked it urgent by a key.
    pub is_urgent: bool,
    /// The name of the mailbox it is in; `None`: the office's.
    pub mailbox: Option<String>,
    /// When the message ended.
    pub created_at: UnixMs,
}

/// Writes a message's row. Insert its recording first, in the same job.
///
/// # Errors
/// A constraint if the call or the recording is unknown.
pub fn insert_voicemail(sql_tx: &Connection, voicemail: &Voicemail) -> Result<(), StorageError> {
    sql_tx
        .prepare_cached(
            "INSERT INTO voicemails (voicemail_id, created_at, updated_at, call_id, recording_id, status, ended_by,
                duration_ms, transcript, transcript_confidence, urgent, mailbox)
             VALUES (:voicemail_id, :at, :at, :call_id, :recording_id, :status, :ended_by, :duration_ms, :transcript,
                :confidence, :urgent, :mailbox)",
        )?
        .execute(named_params! {
            ":voicemail_id": voicemail.voicemail_id,
            ":at": voicemail.created_at,
            ":call_id": voicemail.call_id,
            ":recording_id": voicemail.recording_id,
            ":status": voicemail.status,
            ":ended_by": voicemail.ended_by,
            ":duration_ms": signed(voicemail.duration_ms),
            ":transcript": voicemail.transcript.as_ref().map(Redacted::reveal),
            ":confidence": voicemail.transcript_confidence,
            ":urgent": voicemail.is_urgent,
            ":mailbox": voicemail.mailbox,
        })?;
    Ok(())
}

/// Adds the transcript once it is there.
///
/// # Errors
/// [`StorageError::NotFound`]; a constraint if `confidence` is not 0–1.
pub fn set_voicemail_transcript(
    sql_tx: &Connection,
    voicemail_id: VoicemailId,
    transcript: &Redacted<String>,
    confidence: Option<f64>,
    at: UnixMs,
) -> Result<(), StorageError> {
    let updated = sql_tx
        .prepare_cached(
            "UPDATE voicemails SET transcript = ?2, transcript_confidence = ?3, updated_at = ?4
             WHERE voicemail_id = ?1",
        )?
        .execute(params![voicemail_id, transcript.reveal(), confidence, at])?;
    one_row(updated, "voicemail")
}

/// The caller has marked it urgent.
///
/// # Errors
/// [`StorageError::NotFound`].
pub fn set_voicemail_urgent(sql_tx: &Connection, voicemail_id: VoicemailId, at: UnixMs) -> Result<(), StorageError> {
    let sql = "UPDATE voicemails SET urgent = 1, updated_at = ?2 WHERE voicemail_id = ?1";
    one_row(sql_tx.prepare_cached(sql)?.execute(params![voicemail_id, at])?, "voicemail")
}

/// The messages of a call in order.
///
/// # Errors
/// [`StorageError::Sql`].
pub fn voicemails_of(db: &Connection, call_id: CallId) -> Result<Vec<Voicemail>, StorageError> {
    let mut statement =
        db.prepare_cached("SELECT * FROM voicemails WHERE call_id = ?1 ORDER BY created_at, voicemail_id")?;
    let rows = statement.query_map([call_id], from_row)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// The message with this key.
///
/// # Errors
/// [`StorageError::Sql`].
pub fn find_voicemail(db: &Connection, voicemail_id: VoicemailId) -> Result<Option<Voicemail>, StorageError> {
    let mut statement = db.prepare_cached("SELECT * FROM voicemails WHERE voicemail_id = ?1")?;
    Ok(statement.query_row([voicemail_id], from_row).optional()?)
}

/// The latest messages, newest first; those in `status` alone if it is given.
///
/// # Errors
/// [`StorageError::Sql`].
pub fn list_voicemails(
    db: &Connection,
    status: Option<VoicemailStatus>,
    limit: u32,
) -> Result<Vec<Voicemail>, StorageError> {
    let mut statement = db.prepare_cached(
        "SELECT * FROM voicemails WHERE ?1 IS NULL OR status = ?1 ORDER BY created_at DESC, voicemail_id DESC LIMIT ?2",
    )?;
    let rows = statement.query_map(params![status, limit], from_row)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// The latest messages of one mailbox, or with `None` of the office's, newest first.
///
/// # Errors
/// [`StorageError::Sql`].
pub fn voicemails_in(
    db: &Connection,
    mailbox: Option<&str>,
    status: VoicemailStatus,
    limit: u32,
) -> Result<Vec<Voicemail>, StorageError> {
    let mut statement = db.prepare_cached(
        "SELECT * FROM voicemails WHERE mailbox IS ?1 AND status = ?2
         ORDER BY created_at DESC, voicemail_id DESC LIMIT ?3",
    )?;
    let rows = statement.query_map(params![mailbox, status, limit], from_row)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Puts a message into another mailbox, or with `None` into the office's.
///
/// # Errors
/// [`StorageError::NotFound`].
pub fn set_voicemail_mailbox(
    sql_tx: &Connection,
    voicemail_id: VoicemailId,
    mailbox: Option<&str>,
    at: UnixMs,
) -> Result<(), StorageError> {
    let sql = "UPDATE voicemails SET mailbox = ?2, updated_at = ?3 WHERE voicemail_id = ?1";
    one_row(sql_tx.prepare_cached(sql)?.execute(params![voicemail_id, mailbox, at])?, "voicemail")
}

/// Messages of mailboxes that are not in `names` any more become the office's, so that somebody hears them. How many.
///
/// # Errors
/// [`StorageError::Sql`].
pub fn close_mailboxes(sql_tx: &Connection, names: &[String], at: UnixMs) -> Result<usize, StorageError> {
    let names = serde_json::Value::from(names).to_string();
    let sql = "UPDATE voicemails SET mailbox = NULL, updated_at = ?2
               WHERE mailbox IS NOT NULL AND mailbox NOT IN (SELECT value FROM json_each(?1))";
    Ok(sql_tx.prepare_cached(sql)?.execute(params![names, at])?)
}

/// Notes what a person has done with a message.
///
/// # Errors
/// [`StorageError::NotFound`].
pub fn set_voicemail_status(
    sql_tx: &Connection,
    voicemail_id: VoicemailId,
    status: VoicemailStatus,
    at: UnixMs,
) -> Result<(), StorageError> {
    let sql = "UPDATE voicemails SET status = ?2, updated_at = ?3 WHERE voicemail_id = ?1";
    one_row(sql_tx.prepare_cached(sql)?.execute(params![voicemail_id, status, at])?, "voicemail")
}

/// Four digits made of the key: short enough to be said and written down. They are looked up together with the day of
/// the call, so that they need not be unique for ever.
pub fn reference_of(voicemail_id: VoicemailId) -> String {
    let bytes = voicemail_id.as_uuid().as_bytes();
    format!("{:04}", u16::from_be_bytes([bytes[14], bytes[15]]) % 10_000)
}

/// How many messages of a mailbox, or with `None` of the office's, nobody has heard, and how many somebody has; without those
/// that are done with.
///
/// # Errors
/// Of the database.
pub fn count_voicemails(db: &Connection, mailbox: Option<&str>) -> Result<(u32, u32), StorageError> {
    let mut statement = db.prepare_cached(
        "SELECT count(*) FILTER (WHERE status = 'new'), count(*) FILTER (WHERE status = 'heard')
         FROM voicemails WHERE mailbox IS ?1",
    )?;
    Ok(statement.query_row([mailbox], |row| Ok((row.get(0)?, row.get(1)?)))?)
}

fn from_row(row: &Row<'_>) -> rusqlite::Result<Voicemail> {
    Ok(Voicemail {
        voicemail_id: row.get("voicemail_id")?,
        call_id: row.get("call_id")?,
        recording_id: row.get("recording_id")?,
        status: row.get("status")?,
        ended_by: row.get("ended_by")?,
        duration_ms: unsigned(row.get("duration_ms")?),
        transcript: row.get::<_, Option<String>>("transcript")?.map(Redacted::new),
        transcript_confidence: row.get("transcript_confidence")?,
        is_urgent: row.get("urgent")?,
        mailbox: row.get("mailbox")?,
        created_at: row.get("created_at")?,
    })
}
