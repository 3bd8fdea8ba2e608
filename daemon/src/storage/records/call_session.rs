//! `call_sessions`: one row per call, written before the 180 goes out and closed exactly once.

use rusqlite::{Connection, OptionalExtension, Row, named_params, params};

use super::{
    CallMetrics, ConversationTurn, EscalationRow, Recording, Voicemail, escalations_of, metrics_of, one_row,
    recordings_of, turns_of, voicemails_of,
};
use crate::{
    redact::Redacted,
    storage::{CallId, StorageError, UnixMs, text_enum::text_enum},
};

text_enum! {
    /// Who called whom.
    Direction {
        /// Somebody called the box.
        Inbound = "inbound",
        /// The box called somebody.
        Outbound = "outbound",
    }
}

text_enum! {
    /// From what kind of address the peer's signalling came. The address itself is not kept.
    PeerAddressKind {
        /// This machine.
        Loopback = "loopback",
        /// The office's network (RFC 1918, RFC 4193, link-local).
        Private = "private",
        /// The internet.
        Public = "public",
    }
}

text_enum! {
    /// How far a call is.
    SessionState {
        /// Not answered yet.
        Ringing = "ringing",
        /// Answered, not ended.
        Answered = "answered",
        /// Ended in an orderly way, answered or not.
        Ended = "ended",
        /// The daemon died during the call; the next start closed the row.
        Interrupted = "interrupted",
    }
}

text_enum! {
    /// Whose doing the end of a call was.
    Termination {
        /// As it should be.
        Success = "success",
        /// The caller's side did something wrong.
        CallerError = "caller_error",
        /// We did.
        OurError = "our_error",
        /// The trunk or a service behind us did.
        UpstreamError = "upstream_error",
        /// Nobody can tell.
        Unknown = "unknown",
    }
}

/// What is known when a call arrives.
#[derive(Debug, Clone)]
pub struct NewSession {
    /// Our key, in every span of the call.
    pub call_id: CallId,
    /// Who called whom.
    pub direction: Direction,
    /// The configured trunk's name.
    pub trunk: String,
    /// From where the signalling came.
    pub peer_address_kind: PeerAddressKind,
    /// The caller's number or URI user; `None` if withheld.
    pub caller_id: Option<Redacted<String>>,
    /// What was dialled.
    pub called: Option<Redacted<String>>,
    /// The SIP `Call-ID` of the first dialog.
    pub sip_call_id: String,
    /// When the INVITE arrived.
    pub started_at: UnixMs,
}

/// How a call ended.
#[derive(Debug, Clone, Copy)]
pub struct EndedSession {
    /// When.
    pub ended_at: UnixMs,
    /// Whose doing it was.
    pub termination: Termination,
    /// Short and stable, `[a-z0-9_]+`, e.g. `caller_hangup`.
    pub hangup_cause: &'static str,
    /// What became of the caller's wish, `[a-z0-9_]+`, e.g. `answered_by_attendant`, `message_taken`.
    pub disposition: Option<&'static str>,
}

/// A row of `call_sessions`.
#[derive(Debug, Clone, PartialEq)]
pub struct CallSession {
    /// Our key.
    pub call_id: CallId,
    /// Grows with every update.
    pub row_version: i64,
    /// Who called whom.
    pub direction: Direction,
    /// The configured trunk's name.
    pub trunk: String,
    /// From where the signalling came.
    pub peer_address_kind: PeerAddressKind,
    /// The caller's number or URI user.
    pub caller_id: Option<Redacted<String>>,
    /// What was dialled.
    pub called: Option<Redacted<String>>,
    /// The SIP `Call-ID` of the first dialog.
    pub sip_call_id: String,
    /// When the INVITE arrived.
    pub started_at: UnixMs,
    /// When the 200 OK went out.
    pub answered_at: Option<UnixMs>,
    /// When it ended.
    pub ended_at: Option<UnixMs>,
    /// How far it is.
    pub state: SessionState,
    /// Whose doing the end was.
    pub termination: Option<Termination>,
    /// Short stable reason of the end.
    pub hangup_cause: Option<String>,
    /// What became of the caller's wish.
    pub disposition: Option<String>,
    /// One or two sentences about the call.
    pub summary: Option<Redacted<String>>,
    /// How the caller has found it, from 1, bad, to 5, very good.
    pub rating: Option<u8>,
}

impl CallSession {
    /// Milliseconds from answer to end; `None` if it never was answered or is not over.
    pub fn talk_ms(&self) -> Option<u64> {
        Some(self.ended_at?.since_ms(self.answered_at?))
    }
}

/// Everything kept about one call.
#[derive(Debug, Clone, PartialEq)]
pub struct SessionDetail {
    /// The call.
    pub session: CallSession,
    /// In order.
    pub turns: Vec<ConversationTurn>,
    /// One per leg.
    pub metrics: Vec<CallMetrics>,
    /// In order of their start.
    pub recordings: Vec<Recording>,
    /// In order.
    pub voicemails: Vec<Voicemail>,
    /// Why the caller was given to a person, in order.
    pub escalations: Vec<EscalationRow>,
}

/// Writes the row of a call that has just arrived: before the 180, so that no ringing call is unknown.
///
/// # Errors
/// [`StorageError::Sql`] if the key exists.
pub fn insert_session(sql_tx: &Connection, new: &NewSession) -> Result<(), StorageError> {
    sql_tx
        .prepare_cached(
            "INSERT INTO call_sessions (call_id, created_at, updated_at, direction, trunk, peer_address_kind,
                caller_id, called, sip_call_id, started_at, state)
             VALUES (:call_id, :at, :at, :direction, :trunk, :kind, :caller_id, :called, :sip_call_id, :at, :state)",
        )?
        .execute(named_params! {
            ":call_id": new.call_id,
            ":at": new.started_at,
            ":direction": new.direction,
            ":trunk": new.trunk,
            ":kind": new.peer_address_kind,
            ":caller_id": new.caller_id.as_ref().map(Redacted::reveal),
            ":called": new.called.as_ref().map(Redacted::reveal),
            ":sip_call_id": new.sip_call_id,
            ":state": SessionState::Ringing,
        })?;
    Ok(())
}

/// What stands for the trunk in rows of calls that a phone of the office has placed, until one carries them.
pub const INSIDE: &str = "inside";

/// Notes which trunk carries a phone's call to outside. Rows of calls from a trunk keep that trunk.
///
/// # Errors
/// Of the database.
pub fn name_trunk(sql_tx: &Connection, call_id: CallId, trunk: &str, at: UnixMs) -> Result<(), StorageError> {
    sql_tx
        .prepare_cached(
            "UPDATE call_sessions SET trunk = ?2, updated_at = ?3, row_version = row_version + 1
             WHERE call_id = ?1 AND trunk = ?4",
        )?
        .execute(params![call_id, trunk, at, INSIDE])?;
    Ok(())
}

/// Keeps how the caller has found the call, from 1, bad, to 5, very good.
///
/// # Errors
/// Another rating; [`StorageError::NotFound`] if there is no such call.
pub fn rate_call(sql_tx: &Connection, call_id: CallId, rating: u8, at: UnixMs) -> Result<(), StorageError> {
    let sql = "UPDATE call_sessions SET rating = ?2, updated_at = ?3, row_version = row_version + 1 WHERE call_id = ?1";
    one_row(sql_tx.prepare_cached(sql)?.execute(params![call_id, rating, at])?, "call")
}

/// Notes that the 200 OK went out.
///
/// # Errors
/// [`StorageError::NotFound`] unless the call is ringing.
pub fn mark_answered(sql_tx: &Connection, call_id: CallId, at: UnixMs) -> Result<(), StorageError> {
    let updated = sql_tx
        .prepare_cached(
            "UPDATE call_sessions
             SET state = 'answered', answered_at = ?2, updated_at = ?2, row_version = row_version + 1
             WHERE call_id = ?1 AND state = 'ringing'",
        )?
        .execute(params![call_id, at])?;
    one_row(updated, "ringing call")
}

/// Closes a call's row, once.
///
/// # Errors
/// [`StorageError::NotFound`] unless the call is open; a constraint if a stable string is not `[a-z0-9_]+`.
pub fn end_session(sql_tx: &Connection, call_id: CallId, end: EndedSession) -> Result<(), StorageError> {
    let updated = sql_tx
        .prepare_cached(
            "UPDATE call_sessions SET state = 'ended', ended_at = ?2, updated_at = ?2, termination = ?3,
                hangup_cause = ?4, disposition = ?5, row_version = row_version + 1
             WHERE call_id = ?1 AND ended_at IS NULL",
        )?
        .execute(params![call_id, end.ended_at, end.termination, end.hangup_cause, end.disposition])?;
    one_row(updated, "open call")
}

/// Adds or replaces the summary, also after the end.
///
/// # Errors
/// [`StorageError::NotFound`].
pub fn set_summary(
    sql_tx: &Connection,
    call_id: CallId,
    summary: &Redacted<String>,
    at: UnixMs,
) -> Result<(), StorageError> {
    let updated = sql_tx
        .prepare_cached("UPDATE call_sessions SET summary = ?2, updated_at = ?3 WHERE call_id = ?1")?
        .execute(params![call_id, summary.reveal(), at])?;
    one_row(updated, "call")
}

/// At start, before the first call: every session still open belongs to a daemon that died. Closes them as
/// `interrupted` with cause `daemon_restarted` and says how many there were.
///
/// The end is the last thing written about the call, not `now`: the box may have been off for a week.
///
/// # Errors
/// [`StorageError::Sql`].
pub fn close_interrupted_sessions(sql_tx: &Connection, now: UnixMs) -> Result<usize, StorageError> {
    let closed = sql_tx.execute(
        "UPDATE call_sessions SET state = 'interrupted', termination = 'our_error', hangup_cause = 'daemon_restarted',
            updated_at = ?1,
            ended_at = max(updated_at, coalesce((SELECT max(turn.created_at) FROM conversation_turns AS turn
                WHERE turn.call_id = call_sessions.call_id), updated_at))
         WHERE ended_at IS NULL",
        [now],
    )?;
    Ok(closed)
}

/// How long calls of the office's phones over trunks have lasted together that ended at or after `since`. Milliseconds.
///
/// # Errors
/// [`StorageError::Sql`].
pub fn talked_outside_ms(db: &Connection, since: UnixMs) -> Result<u64, StorageError> {
    let talked: i64 = db
        .prepare_cached(
            "SELECT coalesce(sum(max(ended_at - answered_at, 0)), 0) FROM call_sessions
             WHERE started_at >= ?1 - 86400000 AND ended_at >= ?1 AND answered_at IS NOT NULL
                AND direction = ?2 AND trunk <> ?3",
        )?
        .query_row(params![since, Direction::Outbound, INSIDE], |row| row.get(0))?;
    Ok(talked.unsigned_abs())
}

/// The latest `limit` calls that started before `before`, newest first. To page, pass the last one's `started_at`.
///
/// # Errors
/// [`StorageError::Sql`].
pub fn list_sessions(db: &Connection, limit: u32, before: Option<UnixMs>) -> Result<Vec<CallSession>, StorageError> {
    let mut statement = db.prepare_cached(
        "SELECT * FROM call_sessions WHERE started_at < ?1 ORDER BY started_at DESC, call_id DESC LIMIT ?2",
    )?;
    let rows = statement.query_map(params![before.unwrap_or(UnixMs(i64::MAX)), limit], from_row)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// How many calls there are and were.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CallCounts {
    /// Rows not closed: calls in progress while a daemon runs, else what a dead one left.
    pub open: u32,
    /// Calls that began since the given moment and came from other machines.
    pub from_outside: u32,
    /// Those that this machine placed to itself: tests, demonstrations, health checks.
    pub from_here: u32,
}

/// Counts the open calls, and those that began at `since` or later.
///
/// # Errors
/// [`StorageError::Sql`].
pub fn count_calls(db: &Connection, since: UnixMs) -> Result<CallCounts, StorageError> {
    let count = |sql: &str, since: Option<UnixMs>| -> Result<u32, StorageError> {
        let mut statement = db.prepare_cached(sql)?;
        Ok(match since {
            Some(since) => statement.query_row([since], |row| row.get(0))?,
            None => statement.query_row([], |row| row.get(0))?,
        })
    };
    const SINCE: &str = "SELECT count(*) FROM call_sessions WHERE started_at >= ?1 AND peer_address_kind";
    Ok(CallCounts {
        open: count("SELECT count(*) FROM call_sessions WHERE ended_at IS NULL", None)?,
        from_outside: count(&format!("{SINCE} <> 'loopback'"), Some(since))?,
        from_here: count(&format!("{SINCE} = 'loopback'"), Some(since))?,
    })
}

/// The one call whose id starts with `prefix` (upper or lower case).
///
/// # Errors
/// [`StorageError::NotFound`], [`StorageError::Ambiguous`].
pub fn find_call(db: &Connection, prefix: &str) -> Result<CallId, StorageError> {
    let prefix = prefix.trim().to_ascii_lowercase();
    if prefix.is_empty() || prefix.contains(|c: char| !c.is_ascii_hexdigit() && c != '-') {
        return Err(StorageError::NotFound("call"));
    }
    // Above every character of a key, so that the range holds exactly the keys that start with `prefix`.
    let end = format!("{prefix}g");
    let mut statement =
        db.prepare_cached("SELECT call_id FROM call_sessions WHERE call_id >= ?1 AND call_id < ?2 LIMIT 2")?;
    let found: Vec<CallId> = statement.query_map([&prefix, &end], |row| row.get(0))?.collect::<Result<_, _>>()?;
    match found.as_slice() {
        [] => Err(StorageError::NotFound("call")),
        [one] => Ok(*one),
        several => Err(StorageError::Ambiguous { matches: several.len() }),
    }
}

/// The call of a dialog, by its SIP `Call-ID`; the latest if a peer used one twice.
///
/// # Errors
/// [`StorageError::Sql`].
pub fn find_by_sip_call_id(db: &Connection, sip_call_id: &str) -> Result<Option<CallId>, StorageError> {
    let mut statement =
        db.prepare_cached("SELECT call_id FROM call_sessions WHERE sip_call_id = ?1 ORDER BY started_at DESC LIMIT 1")?;
    Ok(statement.query_row([sip_call_id], |row| row.get(0)).optional()?)
}

/// Everything about the one call whose id is or starts with `id`.
///
/// # Errors
/// As [`find_call`].
pub fn session_detail(db: &Connection, id: &str) -> Result<SessionDetail, StorageError> {
    let call_id = find_call(db, id)?;
    let session = db
        .prepare_cached("SELECT * FROM call_sessions WHERE call_id = ?1")?
        .query_row([call_id], from_row)
        .optional()?
        .ok_or(StorageError::NotFound("call"))?;
    Ok(SessionDetail {
        session,
        turns: turns_of(db, call_id)?,
        metrics: metrics_of(db, call_id)?,
        recordings: recordings_of(db, call_id)?,
        voicemails: voicemails_of(db, call_id)?,
        escalations: escalations_of(db, call_id)?,
    })
}

fn from_row(row: &Row<'_>) -> rusqlite::Result<CallSession> {
    let secret = |column: &str| row.get::<_, Option<String>>(column).map(|text| text.map(Redacted::new));
    Ok(CallSession {
        call_id: row.get("call_id")?,
        row_version: row.get("row_version")?,
        direction: row.get("direction")?,
        trunk: row.get("trunk")?,
        peer_address_kind: row.get("peer_address_kind")?,
        caller_id: secret("caller_id")?,
        called: secret("called")?,
        sip_call_id: row.get("sip_call_id")?,
        started_at: row.get("started_at")?,
        answered_at: row.get("answered_at")?,
        ended_at: row.get("ended_at")?,
        state: row.get("state")?,
        termination: row.get("termination")?,
        hangup_cause: row.get("hangup_cause")?,
        disposition: row.get("disposition")?,
        summary: secret("summary")?,
        rating: row.get("rating")?,
    })
}
