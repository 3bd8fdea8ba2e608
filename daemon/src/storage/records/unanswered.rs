//! What callers asked and were told nothing about: for whoever writes the office's knowledge.

use rusqlite::{Connection, Row, params};

use crate::{
    redact::Redacted,
    storage::{CallId, StorageError, UnixMs},
};

/// A question that no fact of the office and no passage answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unanswered {
    /// In the words of the last caller who asked it.
    pub text: Redacted<String>,
    /// What it was taken for.
    pub intent: String,
    /// How often it was asked in these words.
    pub times: u32,
    /// When, last.
    pub asked_at: UnixMs,
    /// In which call, last.
    pub call_id: CallId,
}

/// The `limit` questions asked since `since` whose answers rest on nothing, the most frequent first. Sentences of one or
/// two words that were not understood are left out: nearly all of them are noise.
///
/// # Errors
/// [`StorageError::Sql`].
pub fn unanswered(db: &Connection, since: UnixMs, limit: u32) -> Result<Vec<Unanswered>, StorageError> {
    // With `max`, SQLite takes the other columns from the row that has it.
    let mut statement = db.prepare_cached(
        "SELECT text, intent, call_id, count(*) AS times, max(created_at) AS asked_at
         FROM conversation_turns
         WHERE who = 'caller' AND sources = '[]' AND created_at >= ?1
             AND (intent IN ('question', 'price', 'address', 'opening_hours')
                 OR intent = 'unknown' AND trim(text) LIKE '_% _% _%')
         GROUP BY lower(trim(text, ' .,?!'))
         ORDER BY times DESC, asked_at DESC
         LIMIT ?2",
    )?;
    let rows = statement.query_map(params![since, limit], from_row)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

fn from_row(row: &Row<'_>) -> rusqlite::Result<Unanswered> {
    Ok(Unanswered {
        text: Redacted::new(row.get("text")?),
        intent: row.get("intent")?,
        times: row.get("times")?,
        asked_at: row.get("asked_at")?,
        call_id: row.get("call_id")?,
    })
}
