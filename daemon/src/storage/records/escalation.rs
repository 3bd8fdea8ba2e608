//! `escalations`: callers whom the attendant gave to a person, or wanted to: why, to whom, and what came of it.

use rusqlite::{Connection, Row, params};

use crate::storage::{CallId, EscalationId, StorageError, UnixMs, text_enum::text_enum};

text_enum! {
    /// What came of it.
    EscalationOutcome {
        /// Nobody may be rung at this hour.
        NobodyThere = "nobody_there",
        /// Somebody took the call.
        Taken = "taken",
        /// Whoever answered wanted a message.
        Voicemail = "voicemail",
        /// Whoever answered will call back.
        CallBack = "call_back",
        /// Whoever answered pressed no key: a mailbox, perhaps.
        NoKey = "no_key",
        /// Whoever answered pressed keys without a meaning.
        WrongKey = "wrong_key",
        /// Whoever answered hung up.
        HungUp = "hung_up",
        /// It rang, and nobody answered.
        NoAnswer = "no_answer",
        /// Whoever was rung is on the phone.
        Busy = "busy",
        /// Whoever was rung refused the call.
        Declined = "declined",
        /// No phone was there, or a trunk did not work.
        Failed = "failed",
        /// The caller did not wait for it.
        CallerGone = "caller_gone",
    }
}

/// A row of `escalations`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EscalationRow {
    /// Key.
    pub escalation_id: EscalationId,
    /// The call.
    pub call_id: CallId,
    /// The turn it was decided in, from 1; `None`: the caller pressed a key.
    pub turn_number: Option<u32>,
    /// Why.
    pub reason: String,
    /// Which rule of the office fitted; never the caller's words.
    pub detail: Option<String>,
    /// To whom, if it was one person.
    pub person: Option<String>,
    /// What rang first; `None`: nothing.
    pub reach: Option<String>,
    /// What came of it; `None` while that is open.
    pub outcome: Option<EscalationOutcome>,
    /// When.
    pub created_at: UnixMs,
}

/// Keeps a decision.
///
/// # Errors
/// A constraint if the call is unknown.
pub fn insert_escalation(sql_tx: &Connection, row: &EscalationRow) -> Result<(), StorageError> {
    let EscalationRow { escalation_id, call_id, turn_number, reason, detail, person, reach, outcome, created_at } = row;
    sql_tx
        .prepare_cached(
            "INSERT INTO escalations (escalation_id, created_at, updated_at, call_id, turn_number, reason, detail, person,
                reach, outcome)
             VALUES (?1, ?2, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
        )?
        .execute(params![escalation_id, created_at, call_id, turn_number, reason, detail, person, reach, outcome])?;
    Ok(())
}

/// Keeps what came of it. What is known already stays.
///
/// # Errors
/// [`StorageError::Sql`].
pub fn set_escalation_outcome(
    sql_tx: &Connection,
    id: EscalationId,
    outcome: EscalationOutcome,
    at: UnixMs,
) -> Result<(), StorageError> {
    let sql = "UPDATE escalations SET outcome = ?2, updated_at = ?3 WHERE escalation_id = ?1 AND outcome IS NULL";
    sql_tx.prepare_cached(sql)?.execute(params![id, outcome, at])?;
    Ok(())
}

/// Those of a call, in order.
///
/// # Errors
/// [`StorageError::Sql`].
pub fn escalations_of(db: &Connection, call_id: CallId) -> Result<Vec<EscalationRow>, StorageError> {
    let mut statement = db.prepare_cached("SELECT * FROM escalations WHERE call_id = ?1 ORDER BY escalation_id")?;
    let rows = statement.query_map([call_id], from_row)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

fn from_row(row: &Row<'_>) -> rusqlite::Result<EscalationRow> {
    Ok(EscalationRow {
        escalation_id: row.get("escalation_id")?,
        call_id: row.get("call_id")?,
        turn_number: row.get("turn_number")?,
        reason: row.get("reason")?,
        detail: row.get("detail")?,
        person: row.get("person")?,
        reach: row.get("reach")?,
        outcome: row.get("outcome")?,
        created_at: row.get("created_at")?,
    })
}
