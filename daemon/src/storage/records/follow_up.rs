//! `follow_ups`: promises made to callers, kept or not.

use rusqlite::{Connection, OptionalExtension as _, Row, named_params, params};

use super::one_row;
use crate::redact::Redacted;
use crate::storage::{CallId, FollowUpId, StorageError, TurnId, UnixMs, VoicemailId, text_enum::text_enum};

text_enum! {
    /// How far a promise is.
    FollowUpState {
        /// Nobody has taken it.
        Open = "open",
        /// Somebody has.
        Acknowledged = "acknowledged",
        /// Over, for the reason in the row.
        Closed = "closed",
    }
}

text_enum! {
    /// How the caller is to be answered.
    FollowUpChannel {
        /// A call back.
        Phone = "phone",
        /// An e-mail.
        Email = "email",
        /// A text message.
        Sms = "sms",
    }
}

text_enum! {
    /// Why a promise is over.
    ClosedReason {
        /// It was kept.
        Done = "done",
        /// The caller could not be reached.
        NotReached = "not_reached",
        /// The caller does not want it any more.
        Cancelled = "cancelled",
        /// It never was one.
        Mistaken = "mistaken",
    }
}

/// A row of `follow_ups`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FollowUp {
    /// Key.
    pub follow_up_id: FollowUpId,
    /// Four digits, as the caller was told them.
    pub reference: String,
    /// The call it was promised in.
    pub call_id: Option<CallId>,
    /// The sentence it was promised in.
    pub turn_id: Option<TurnId>,
    /// The message it was asked for in.
    pub voicemail_id: Option<VoicemailId>,
    /// Who has to keep it; `None`: whoever comes first.
    pub owner: Option<String>,
    /// How the caller is to be answered.
    pub channel: FollowUpChannel,
    /// Number or address.
    pub contact: Option<Redacted<String>>,
    /// Who that is.
    pub contact_name: Option<Redacted<String>>,
    /// What is to be done.
    pub task: Redacted<String>,
    /// When.
    pub due_at: UnixMs,
    /// When, as it was said.
    pub due_text: Option<String>,
    /// How far it is.
    pub state: FollowUpState,
    /// When the owner was reminded.
    pub reminded_at: Option<UnixMs>,
    /// When it was found not to be kept.
    pub escalated_at: Option<UnixMs>,
    /// Who has taken it.
    pub acknowledged_by: Option<String>,
    /// Why it is over.
    pub closed_reason: Option<ClosedReason>,
    /// When it was promised.
    pub created_at: UnixMs,
}

/// Keeps a promise, unless one was made for the same message already. Whether it is new.
///
/// # Errors
/// A constraint if the call is unknown.
pub fn insert_follow_up(sql_tx: &Connection, follow_up: &FollowUp) -> Result<bool, StorageError> {
    let inserted = sql_tx
        .prepare_cached(
            "INSERT INTO follow_ups (follow_up_id, created_at, updated_at, reference, call_id, turn_id, voicemail_id,
                owner, channel, contact, contact_name, task, due_at, due_text, state)
             VALUES (:id, :at, :at, :reference, :call_id, :turn_id, :voicemail_id, :owner, :channel, :contact,
                :contact_name, :task, :due_at, :due_text, 'open')
             ON CONFLICT (voicemail_id) WHERE voicemail_id IS NOT NULL DO NOTHING",
        )?
        .execute(named_params! {
            ":id": follow_up.follow_up_id,
            ":at": follow_up.created_at,
            ":reference": follow_up.reference,
            ":call_id": follow_up.call_id,
            ":turn_id": follow_up.turn_id,
            ":voicemail_id": follow_up.voicemail_id,
            ":owner": follow_up.owner,
            ":channel": follow_up.channel,
            ":contact": follow_up.contact.as_ref().map(Redacted::reveal),
            ":contact_name": follow_up.contact_name.as_ref().map(Redacted::reveal),
            ":task": follow_up.task.reveal(),
            ":due_at": follow_up.due_at,
            ":due_text": follow_up.due_text,
        })?;
    Ok(inserted == 1)
}

/// Notes that the owner was reminded. Whether that was still to be done: not if it is over, or somebody has taken it.
///
/// # Errors
/// [`StorageError::Sql`].
pub fn note_reminder(sql_tx: &Connection, id: FollowUpId, at: UnixMs) -> Result<bool, StorageError> {
    let sql = "UPDATE follow_ups SET reminded_at = ?2, updated_at = ?2
               WHERE follow_up_id = ?1 AND state <> 'closed' AND reminded_at IS NULL";
    Ok(sql_tx.prepare_cached(sql)?.execute(params![id, at])? == 1)
}

/// Notes that it was found not to be kept. Whether that is so: not if it is over.
///
/// # Errors
/// [`StorageError::Sql`].
pub fn note_overdue(sql_tx: &Connection, id: FollowUpId, at: UnixMs) -> Result<bool, StorageError> {
    let sql = "UPDATE follow_ups SET escalated_at = ?2, updated_at = ?2
               WHERE follow_up_id = ?1 AND state <> 'closed' AND escalated_at IS NULL";
    Ok(sql_tx.prepare_cached(sql)?.execute(params![id, at])? == 1)
}

/// Somebody takes it.
///
/// # Errors
/// [`StorageError::NotFound`] if it is over.
pub fn acknowledge_follow_up(sql_tx: &Connection, id: FollowUpId, by: &str, at: UnixMs) -> Result<(), StorageError> {
    let sql =
        "UPDATE follow_ups SET state = 'acknowledged', acknowledged_by = ?2, acknowledged_at = ?3, updated_at = ?3
               WHERE follow_up_id = ?1 AND state <> 'closed'";
    one_row(sql_tx.prepare_cached(sql)?.execute(params![id, by, at])?, "open follow-up")
}

/// It is over.
///
/// # Errors
/// [`StorageError::NotFound`] if it was already.
pub fn close_follow_up(
    sql_tx: &Connection,
    id: FollowUpId,
    reason: ClosedReason,
    at: UnixMs,
) -> Result<(), StorageError> {
    let sql = "UPDATE follow_ups SET state = 'closed', closed_reason = ?2, closed_at = ?3, updated_at = ?3
               WHERE follow_up_id = ?1 AND state <> 'closed'";
    one_row(sql_tx.prepare_cached(sql)?.execute(params![id, reason, at])?, "open follow-up")
}

/// The promises, the one that is due first at the front; those that are over only if `closed_too`.
///
/// # Errors
/// [`StorageError::Sql`].
pub fn list_follow_ups(db: &Connection, closed_too: bool, limit: u32) -> Result<Vec<FollowUp>, StorageError> {
    let mut statement = db.prepare_cached(
        "SELECT * FROM follow_ups WHERE ?1 OR state <> 'closed' ORDER BY due_at, follow_up_id LIMIT ?2",
    )?;
    let rows = statement.query_map(params![closed_too, limit], from_row)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// The promises that were not kept in time since `since`, in order of when they were due.
///
/// # Errors
/// [`StorageError::Sql`].
pub fn missed_follow_ups(db: &Connection, since: UnixMs) -> Result<Vec<FollowUp>, StorageError> {
    let mut statement = db.prepare_cached(
        "SELECT * FROM follow_ups WHERE escalated_at IS NOT NULL AND due_at >= ?1 ORDER BY due_at, follow_up_id",
    )?;
    let rows = statement.query_map([since], from_row)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Who has to keep the promise to `contact` that is due first, if any is open: `Some(None)` for whoever comes first.
///
/// # Errors
/// [`StorageError::Sql`].
pub fn open_promise_to(db: &Connection, contact: &str) -> Result<Option<Option<String>>, StorageError> {
    let sql = "SELECT owner FROM follow_ups WHERE contact = ?1 AND state <> 'closed' ORDER BY due_at LIMIT 1";
    Ok(db.prepare_cached(sql)?.query_row([contact], |row| row.get(0)).optional()?)
}

/// The promise that goes by these four digits and is not over; of several the one that is due first.
///
/// # Errors
/// [`StorageError::Sql`].
pub fn open_promise_called(db: &Connection, reference: &str) -> Result<Option<FollowUp>, StorageError> {
    let sql = "SELECT * FROM follow_ups WHERE reference = ?1 AND state <> 'closed' ORDER BY due_at LIMIT 1";
    Ok(db.prepare_cached(sql)?.query_row([reference], from_row).optional()?)
}

/// The promise that a message asked for.
///
/// # Errors
/// [`StorageError::Sql`].
pub fn promise_for(db: &Connection, message: VoicemailId) -> Result<Option<FollowUp>, StorageError> {
    let mut statement = db.prepare_cached("SELECT * FROM follow_ups WHERE voicemail_id = ?1")?;
    Ok(statement.query_row([message], from_row).optional()?)
}

/// The promise with this key.
///
/// # Errors
/// [`StorageError::Sql`].
pub fn find_follow_up(db: &Connection, id: FollowUpId) -> Result<Option<FollowUp>, StorageError> {
    let mut statement = db.prepare_cached("SELECT * FROM follow_ups WHERE follow_up_id = ?1")?;
    Ok(statement.query_row([id], from_row).optional()?)
}

fn from_row(row: &Row<'_>) -> rusqlite::Result<FollowUp> {
    let secret = |column: &str| row.get::<_, Option<String>>(column).map(|text| text.map(Redacted::new));
    Ok(FollowUp {
        follow_up_id: row.get("follow_up_id")?,
        reference: row.get("reference")?,
        call_id: row.get("call_id")?,
        turn_id: row.get("turn_id")?,
        voicemail_id: row.get("voicemail_id")?,
        owner: row.get("owner")?,
        channel: row.get("channel")?,
        contact: secret("contact")?,
        contact_name: secret("contact_name")?,
        task: Redacted::new(row.get("task")?),
        due_at: row.get("due_at")?,
        due_text: row.get("due_text")?,
        state: row.get("state")?,
        reminded_at: row.get("reminded_at")?,
        escalated_at: row.get("escalated_at")?,
        acknowledged_by: row.get("acknowledged_by")?,
        closed_reason: row.get("closed_reason")?,
        created_at: row.get("created_at")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::{Storage, StorageConfig};

    fn promise(due_at: i64) -> FollowUp {
        FollowUp {
            follow_up_id: FollowUpId::new(UnixMs(due_at)),
            reference: "0417".into(),
            call_id: None,
            turn_id: None,
            voicemail_id: None,
            owner: None,
            channel: FollowUpChannel::Phone,
            contact: Some(Redacted::new("+1555".to_owned())),
            contact_name: None,
            task: Redacted::new("call back".to_owned()),
            due_at: UnixMs(due_at),
            due_text: Some("at three".into()),
            state: FollowUpState::Open,
            reminded_at: None,
            escalated_at: None,
            acknowledged_by: None,
            closed_reason: None,
            created_at: UnixMs(1),
        }
    }

    #[test]
    fn a_promise_is_reminded_of_once_missed_once_and_over_for_good() {
        let folder = tempfile::tempdir().unwrap();
        let storage = Storage::open(&StorageConfig::new(folder.path())).unwrap().storage;
        let (kept, other) = (promise(100), promise(50));
        let (id, expected) = (kept.follow_up_id, [other.clone(), kept.clone()]);
        storage
            .write_blocking(move |db| {
                assert!(insert_follow_up(db, &kept)?);
                assert!(insert_follow_up(db, &other)?);
                assert_eq!(list_follow_ups(db, false, 10)?, expected);
                assert_eq!(open_promise_to(db, "+1555")?, Some(None));
                assert_eq!(open_promise_to(db, "+1556")?, None);
                assert!(note_reminder(db, id, UnixMs(90))?);
                assert!(!note_reminder(db, id, UnixMs(91))?);
                acknowledge_follow_up(db, id, "Carla", UnixMs(95))?;
                assert!(note_overdue(db, id, UnixMs(120))?, "taken is not kept");
                assert_eq!(missed_follow_ups(db, UnixMs(60))?.len(), 1);
                close_follow_up(db, id, ClosedReason::Done, UnixMs(130))?;
                assert!(matches!(
                    close_follow_up(db, id, ClosedReason::Done, UnixMs(131)),
                    Err(StorageError::NotFound(_))
                ));
                assert!(!note_overdue(db, id, UnixMs(140))?);
                assert_eq!(list_follow_ups(db, false, 10)?.len(), 1);
                assert_eq!(list_follow_ups(db, true, 10)?.len(), 2);
                Ok(())
            })
            .unwrap();
    }

    #[test]
    fn a_message_makes_one_promise_however_often_it_is_understood() {
        let folder = tempfile::tempdir().unwrap();
        let storage = Storage::open(&StorageConfig::new(folder.path())).unwrap().storage;
        let voicemail_id = Some(VoicemailId::new(UnixMs(1)));
        storage
            .write_blocking(move |db| {
                assert!(insert_follow_up(db, &FollowUp { voicemail_id, ..promise(1) })?);
                assert!(!insert_follow_up(db, &FollowUp { voicemail_id, ..promise(2) })?);
                Ok(())
            })
            .unwrap();
    }
}
