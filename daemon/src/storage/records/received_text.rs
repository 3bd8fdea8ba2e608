//! `received_texts`: text messages that came for the office.

use rusqlite::{Connection, Row, params};

use crate::redact::Redacted;
use crate::storage::{StorageError, TextId, UnixMs, text_enum::text_enum};

text_enum! {
    /// What a text message has done.
    TextEffect {
        /// Its sender gets no more of them.
        Stopped = "stopped",
        /// Its sender gets them again.
        Resumed = "resumed",
        /// Its sender has taken a promise.
        Acknowledged = "acknowledged",
        /// Its sender has kept a promise.
        Closed = "closed",
        /// It named no promise that is open.
        NotFound = "not_found",
    }
}

/// A row of `received_texts`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReceivedText {
    /// What the service calls it.
    pub reference: String,
    /// Their number.
    pub sender: Redacted<String>,
    /// Their words.
    pub body: Redacted<String>,
    /// What it has done; `None`: nothing, it is of somebody whom the office does not know.
    pub effect: Option<TextEffect>,
    /// When the box heard of it.
    pub created_at: UnixMs,
}

/// Keeps a text message, unless it was told of before. Whether it is new.
///
/// # Errors
/// [`StorageError::Sql`].
pub fn insert_received_text(sql_tx: &Connection, text: &ReceivedText) -> Result<bool, StorageError> {
    let inserted = sql_tx
        .prepare_cached(
            "INSERT INTO received_texts (text_id, created_at, updated_at, reference, sender, body, effect)
             VALUES (?1, ?2, ?2, ?3, ?4, ?5, ?6) ON CONFLICT (reference) DO NOTHING",
        )?
        .execute(params![
            TextId::new(text.created_at),
            text.created_at,
            text.reference,
            text.sender.reveal(),
            text.body.reveal(),
            text.effect
        ])?;
    Ok(inserted == 1)
}

/// Whether it was told of before.
///
/// # Errors
/// [`StorageError::Sql`].
pub fn is_text_known(db: &Connection, reference: &str) -> Result<bool, StorageError> {
    Ok(db.prepare_cached("SELECT 1 FROM received_texts WHERE reference = ?1")?.exists([reference])?)
}

/// The latest text messages that came, newest first.
///
/// # Errors
/// [`StorageError::Sql`].
pub fn list_received_texts(db: &Connection, limit: u32) -> Result<Vec<ReceivedText>, StorageError> {
    let mut statement =
        db.prepare_cached("SELECT * FROM received_texts ORDER BY created_at DESC, text_id DESC LIMIT ?1")?;
    let rows = statement.query_map([limit], from_row)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

fn from_row(row: &Row<'_>) -> rusqlite::Result<ReceivedText> {
    Ok(ReceivedText {
        reference: row.get("reference")?,
        sender: Redacted::new(row.get("sender")?),
        body: Redacted::new(row.get("body")?),
        effect: row.get("effect")?,
        created_at: row.get("created_at")?,
    })
}
