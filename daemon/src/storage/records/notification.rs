//! `notifications`: who is told what, by which way, and how far that is.

use rusqlite::{Connection, OptionalExtension as _, Row, named_params, params};

use super::one_row;
use crate::redact::Redacted;
use crate::storage::{NotificationId, StorageError, UnixMs, text_enum::text_enum};

text_enum! {
    /// What a notice tells.
    NoticeKind {
        /// Somebody has left a message.
        Message = "message",
        /// A promise is due soon.
        FollowUpDue = "follow_up_due",
        /// A promise was not kept.
        FollowUpOverdue = "follow_up_overdue",
    }
}

text_enum! {
    /// The way a notice goes.
    Channel {
        /// E-mail.
        Email = "email",
        /// A request to a web address.
        Webhook = "webhook",
        /// A text message.
        Sms = "sms",
    }
}

text_enum! {
    /// How far a notice is.
    NoticeState {
        /// To be sent.
        Queued = "queued",
        /// An attempt is under way. After a start: it is not known how that ended.
        Sending = "sending",
        /// The other side has taken it.
        Sent = "sent",
        /// Given up, for the reason in the row; a person may try it again.
        Dead = "dead",
    }
}

text_enum! {
    /// Why an attempt failed.
    NoticeFailure {
        /// Nobody answers there: no network, no server, no valid certificate.
        Unreachable = "unreachable",
        /// The server does not know our password.
        Credentials = "credentials",
        /// The server wants it later: greylisting, too many at once, an error of its own.
        Deferred = "deferred",
        /// The server does not want it at all.
        Refused = "refused",
        /// There is no such recipient.
        Recipient = "recipient",
        /// The recipient wants no text messages.
        Stopped = "stopped",
        /// More would cost more than the office wants to spend.
        SpendLimit = "spend_limit",
        /// It cannot be put together: what it is about is gone, or this way is not configured any more.
        Impossible = "impossible",
        /// The process died in the attempt.
        Interrupted = "interrupted",
    }
}

/// What is to be told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewNotice {
    /// What it tells.
    pub kind: NoticeKind,
    /// The way it goes.
    pub channel: Channel,
    /// Address, number or URL.
    pub recipient: Redacted<String>,
    /// Key of the row it is about.
    pub subject: String,
    /// Notices with the same key go to the same recipient in order.
    pub order_key: String,
    /// Also in quiet hours.
    pub is_urgent: bool,
}

/// A row of `notifications`.
#[derive(Debug, Clone, PartialEq)]
pub struct Notice {
    /// Key: also the idempotency key towards the other side.
    pub notification_id: NotificationId,
    /// What is to be told.
    pub new: NewNotice,
    /// How far it is.
    pub state: NoticeState,
    /// How often it was tried.
    pub attempts: u32,
    /// How often the other side wanted it later.
    pub deferrals: u32,
    /// Not before.
    pub due_at: UnixMs,
    /// Why the last attempt failed.
    pub failure: Option<NoticeFailure>,
    /// In the other side's words.
    pub error: Option<String>,
    /// Message-ID, or what the service calls it.
    pub reference: Option<String>,
    /// When it was taken.
    pub sent_at: Option<UnixMs>,
    /// Where the service has a text message, in its words.
    pub delivery: Option<String>,
    /// How often it was asked for that.
    pub delivery_checks: u32,
    /// When it is asked next; `None`: not any more.
    pub delivery_due_at: Option<UnixMs>,
    /// When it was queued.
    pub created_at: UnixMs,
}

/// Queues a notice, unless the same was already. Whether it is new.
///
/// # Errors
/// [`StorageError::Sql`].
pub fn queue_notice(sql_tx: &Connection, notice: &NewNotice, at: UnixMs) -> Result<bool, StorageError> {
    let queued = sql_tx
        .prepare_cached(
            "INSERT INTO notifications (notification_id, created_at, updated_at, kind, channel, recipient, subject,
                order_key, dedupe_key, urgent, state, due_at)
             VALUES (:id, :at, :at, :kind, :channel, :recipient, :subject, :order_key,
                :kind || ':' || :subject || ':' || :channel || ':' || :recipient, :urgent, 'queued', :at)
             ON CONFLICT (dedupe_key) DO NOTHING",
        )?
        .execute(named_params! {
            ":id": NotificationId::new(at),
            ":at": at,
            ":kind": notice.kind,
            ":channel": notice.channel,
            ":recipient": notice.recipient.reveal(),
            ":subject": notice.subject,
            ":order_key": notice.order_key,
            ":urgent": notice.is_urgent,
        })?;
    Ok(queued == 1)
}

/// Notes that an attempt begins.
///
/// # Errors
/// [`StorageError::NotFound`] if it does not wait any more: then it must not be sent.
pub fn begin_notice(sql_tx: &Connection, id: NotificationId, at: UnixMs) -> Result<(), StorageError> {
    let sql = "UPDATE notifications SET state = 'sending', attempts = attempts + 1, updated_at = ?2
               WHERE notification_id = ?1 AND state = 'queued'";
    one_row(sql_tx.prepare_cached(sql)?.execute(params![id, at])?, "waiting notice")
}

/// Notes that the other side has taken it, calls it `reference`, and what it cost.
///
/// # Errors
/// [`StorageError::NotFound`] if no attempt was under way.
pub fn finish_notice(
    sql_tx: &Connection,
    id: NotificationId,
    reference: &str,
    cost_cents: f64,
    at: UnixMs,
) -> Result<(), StorageError> {
    let sql = "UPDATE notifications SET state = 'sent', sent_at = ?2, reference = ?3, cost_cents = ?4, failure = NULL,
                   error = NULL, updated_at = ?2
               WHERE notification_id = ?1 AND state = 'sending'";
    one_row(sql_tx.prepare_cached(sql)?.execute(params![id, at, reference, cost_cents])?, "notice under way")
}

/// Why an attempt failed, in our words and the other side's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FailedAttempt {
    /// In ours.
    pub failure: NoticeFailure,
    /// In theirs.
    pub error: String,
    /// When it is tried again; `None`: never.
    pub due_at: Option<UnixMs>,
}

/// Notes that an attempt failed.
///
/// # Errors
/// [`StorageError::NotFound`] if no attempt was under way.
pub fn fail_notice(
    sql_tx: &Connection,
    id: NotificationId,
    failed: &FailedAttempt,
    at: UnixMs,
) -> Result<(), StorageError> {
    let state = if failed.due_at.is_some() { NoticeState::Queued } else { NoticeState::Dead };
    let updated = sql_tx
        .prepare_cached(
            "UPDATE notifications SET state = :state, failure = :failure, error = :error,
                due_at = coalesce(:due_at, due_at), deferrals = deferrals + (:failure = 'deferred'), updated_at = :at
             WHERE notification_id = :id AND state = 'sending'",
        )?
        .execute(named_params! {
            ":id": id,
            ":state": state,
            ":failure": failed.failure,
            ":error": failed.error,
            ":due_at": failed.due_at,
            ":at": at,
        })?;
    one_row(updated, "notice under way")
}

/// What a service says of a text message that it has taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// In its words.
    pub state: String,
    /// Why it will never arrive, in our words and theirs.
    pub failed: Option<(NoticeFailure, String)>,
    /// When it is asked again; `None`: there will be no other answer.
    pub due_at: Option<UnixMs>,
}

/// The service that has taken a text message is asked at `due_at` where it is.
///
/// # Errors
/// [`StorageError::NotFound`] if there is no such notice.
pub fn await_delivery(sql_tx: &Connection, id: NotificationId, due_at: UnixMs) -> Result<(), StorageError> {
    let sql = "UPDATE notifications SET delivery_due_at = ?2 WHERE notification_id = ?1";
    one_row(sql_tx.prepare_cached(sql)?.execute(params![id, due_at])?, "notice")
}

/// Keeps what the service says of the text message that it calls `reference`; one that will never arrive is given up.
/// Whether there is one of which not everything was known.
///
/// # Errors
/// [`StorageError::Sql`].
pub fn note_delivery(
    sql_tx: &Connection,
    reference: &str,
    delivery: &Delivery,
    at: UnixMs,
) -> Result<bool, StorageError> {
    let (failure, error) = delivery.failed.clone().unzip();
    let updated = sql_tx
        .prepare_cached(
            "UPDATE notifications SET delivery = :delivery, delivery_due_at = :due_at,
                delivery_checks = delivery_checks + 1, state = iif(:failure IS NULL, state, 'dead'),
                failure = coalesce(:failure, failure), error = coalesce(:error, error), updated_at = :at
             WHERE reference = :reference AND channel = 'sms' AND state = 'sent' AND delivery_due_at IS NOT NULL",
        )?
        .execute(named_params! {
            ":reference": reference,
            ":delivery": delivery.state,
            ":due_at": delivery.due_at,
            ":failure": failure,
            ":error": error,
            ":at": at,
        })?;
    Ok(updated == 1)
}

/// The text messages of which it is not known yet whether they have arrived, in the order in which the service is asked.
///
/// # Errors
/// [`StorageError::Sql`].
pub fn undelivered_notices(db: &Connection) -> Result<Vec<Notice>, StorageError> {
    let mut statement = db.prepare_cached(
        "SELECT * FROM notifications WHERE delivery_due_at IS NOT NULL AND state = 'sent' ORDER BY delivery_due_at",
    )?;
    let rows = statement.query_map([], from_row)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// When the last text message was sent.
///
/// # Errors
/// [`StorageError::Sql`].
pub fn last_text_sent_at(db: &Connection) -> Result<Option<UnixMs>, StorageError> {
    let sql = "SELECT max(sent_at) FROM notifications WHERE channel = 'sms'";
    Ok(db.prepare_cached(sql)?.query_row([], |row| row.get(0))?)
}

/// A start: of the attempts the last process died in it is not known how they ended. How many there are.
///
/// # Errors
/// [`StorageError::Sql`].
pub fn requeue_interrupted_notices(sql_tx: &Connection, at: UnixMs) -> Result<usize, StorageError> {
    let sql = "UPDATE notifications SET state = 'queued', failure = 'interrupted', due_at = ?1, updated_at = ?1
               WHERE state = 'sending'";
    Ok(sql_tx.prepare_cached(sql)?.execute([at])?)
}

/// Tries a dead notice again, or one that waits at once.
///
/// # Errors
/// [`StorageError::NotFound`] if it is neither.
pub fn revive_notice(sql_tx: &Connection, id: NotificationId, at: UnixMs) -> Result<(), StorageError> {
    let sql = "UPDATE notifications SET state = 'queued', due_at = ?2, deferrals = 0, updated_at = ?2
               WHERE notification_id = ?1 AND state IN ('dead', 'queued')";
    one_row(sql_tx.prepare_cached(sql)?.execute(params![id, at])?, "notice that waits or was given up")
}

/// The notices that wait, oldest first.
///
/// # Errors
/// [`StorageError::Sql`].
pub fn waiting_notices(db: &Connection) -> Result<Vec<Notice>, StorageError> {
    let mut statement = db.prepare_cached(
        "SELECT * FROM notifications WHERE state IN ('queued', 'sending') ORDER BY created_at, notification_id",
    )?;
    let rows = statement.query_map([], from_row)?;
    // One under way is no candidate; the index holds both.
    Ok(rows
        .filter(|row| !matches!(row, Ok(notice) if notice.state == NoticeState::Sending))
        .collect::<Result<_, _>>()?)
}

/// The latest notices, newest first; those in `state` alone if it is given.
///
/// # Errors
/// [`StorageError::Sql`].
pub fn list_notices(db: &Connection, state: Option<NoticeState>, limit: u32) -> Result<Vec<Notice>, StorageError> {
    let mut statement = db.prepare_cached(
        "SELECT * FROM notifications WHERE ?1 IS NULL OR state = ?1 ORDER BY created_at DESC, notification_id DESC
         LIMIT ?2",
    )?;
    let rows = statement.query_map(params![state, limit], from_row)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// The notices about the row `subject`, oldest first.
///
/// # Errors
/// [`StorageError::Sql`].
pub fn notices_of(db: &Connection, subject: &str) -> Result<Vec<Notice>, StorageError> {
    let mut statement =
        db.prepare_cached("SELECT * FROM notifications WHERE subject = ?1 ORDER BY created_at, notification_id")?;
    let rows = statement.query_map([subject], from_row)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// The notice with this key.
///
/// # Errors
/// [`StorageError::Sql`].
pub fn find_notice(db: &Connection, id: NotificationId) -> Result<Option<Notice>, StorageError> {
    let mut statement = db.prepare_cached("SELECT * FROM notifications WHERE notification_id = ?1")?;
    Ok(statement.query_row([id], from_row).optional()?)
}

/// What the notices that were sent by `channel` since `since` have cost, in cents.
///
/// # Errors
/// [`StorageError::Sql`].
pub fn notices_cost_cents(db: &Connection, channel: Channel, since: UnixMs) -> Result<f64, StorageError> {
    let sql = "SELECT coalesce(sum(cost_cents), 0.0) FROM notifications WHERE channel = ?1 AND sent_at >= ?2";
    Ok(db.prepare_cached(sql)?.query_row(params![channel, since], |row| row.get(0))?)
}

/// How many notices wait, and how many were given up.
///
/// # Errors
/// [`StorageError::Sql`].
pub fn count_notices(db: &Connection) -> Result<(u32, u32), StorageError> {
    let sql = "SELECT count(*) FILTER (WHERE state IN ('queued', 'sending')), count(*) FILTER (WHERE state = 'dead')
               FROM notifications";
    Ok(db.prepare_cached(sql)?.query_row([], |row| Ok((row.get(0)?, row.get(1)?)))?)
}

fn from_row(row: &Row<'_>) -> rusqlite::Result<Notice> {
    Ok(Notice {
        notification_id: row.get("notification_id")?,
        new: NewNotice {
            kind: row.get("kind")?,
            channel: row.get("channel")?,
            recipient: Redacted::new(row.get("recipient")?),
            subject: row.get("subject")?,
            order_key: row.get("order_key")?,
            is_urgent: row.get("urgent")?,
        },
        state: row.get("state")?,
        attempts: row.get("attempts")?,
        deferrals: row.get("deferrals")?,
        due_at: row.get("due_at")?,
        failure: row.get("failure")?,
        error: row.get("error")?,
        reference: row.get("reference")?,
        sent_at: row.get("sent_at")?,
        delivery: row.get("delivery")?,
        delivery_checks: row.get("delivery_checks")?,
        delivery_due_at: row.get("delivery_due_at")?,
        created_at: row.get("created_at")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::{Storage, StorageConfig};

    fn notice(recipient: &str) -> NewNotice {
        NewNotice {
            kind: NoticeKind::Message,
            channel: Channel::Email,
            recipient: Redacted::new(recipient.to_owned()),
            subject: "row".into(),
            order_key: "call".into(),
            is_urgent: false,
        }
    }

    fn check(steps: impl FnOnce(&Connection) -> Result<(), StorageError> + Send + 'static) -> Vec<Notice> {
        let folder = tempfile::tempdir().unwrap();
        let storage = Storage::open(&StorageConfig::new(folder.path())).unwrap().storage;
        storage.write_blocking(move |sql_tx| steps(sql_tx)).unwrap();
        storage.read_blocking(|db| notices_of(db, "row")).unwrap()
    }

    #[test]
    fn a_recipient_is_told_once_by_one_way() {
        let notices = check(|db| {
            assert!(queue_notice(db, &notice("a@office.example"), UnixMs(1))?);
            assert!(!queue_notice(db, &notice("a@office.example"), UnixMs(2))?);
            assert!(queue_notice(db, &notice("b@office.example"), UnixMs(3))?);
            let id = waiting_notices(db)?[0].notification_id;
            begin_notice(db, id, UnixMs(4))?;
            assert!(matches!(begin_notice(db, id, UnixMs(4)), Err(StorageError::NotFound(_))));
            assert_eq!(waiting_notices(db)?.len(), 1);
            finish_notice(db, id, "<1@box>", 0.0, UnixMs(5))?;
            assert!(!queue_notice(db, &notice("a@office.example"), UnixMs(6))?);
            assert_eq!(count_notices(db)?, (1, 0));
            Ok(())
        });
        assert_eq!((notices[0].state, notices[0].sent_at), (NoticeState::Sent, Some(UnixMs(5))));
        assert_eq!(notices[1].state, NoticeState::Queued);
    }

    #[test]
    fn every_failure_says_what_and_why() {
        let notices = check(|db| {
            queue_notice(db, &notice("a@office.example"), UnixMs(1))?;
            let id = waiting_notices(db)?[0].notification_id;
            begin_notice(db, id, UnixMs(2))?;
            let later = FailedAttempt {
                failure: NoticeFailure::Deferred,
                error: "451 greylisted".into(),
                due_at: Some(UnixMs(60)),
            };
            fail_notice(db, id, &later, UnixMs(3))?;
            begin_notice(db, id, UnixMs(60))?;
            let never = FailedAttempt { failure: NoticeFailure::Recipient, error: "550 unknown".into(), due_at: None };
            fail_notice(db, id, &never, UnixMs(61))?;
            assert_eq!(count_notices(db)?, (0, 1));
            Ok(())
        });
        let found = &notices[0];
        assert_eq!((found.state, found.attempts, found.deferrals), (NoticeState::Dead, 2, 1));
        assert_eq!((found.failure, found.error.as_deref()), (Some(NoticeFailure::Recipient), Some("550 unknown")));
    }

    #[test]
    fn a_text_that_never_arrives_is_given_up_and_what_is_final_stays() {
        let notices = check(|db| {
            let text = |number: &str| NewNotice { channel: Channel::Sms, ..notice(number) };
            for (number, reference) in [("+1555", "SM1"), ("+1556", "SM2")] {
                queue_notice(db, &text(number), UnixMs(1))?;
                let id = waiting_notices(db)?[0].notification_id;
                begin_notice(db, id, UnixMs(2))?;
                finish_notice(db, id, reference, 1.0, UnixMs(3))?;
                await_delivery(db, id, UnixMs(20))?;
            }
            assert_eq!(last_text_sent_at(db)?, Some(UnixMs(3)));
            let said = |state: &str, failed, due_at| Delivery { state: state.into(), failed, due_at };
            assert!(note_delivery(db, "SM1", &said("sent", None, Some(UnixMs(60))), UnixMs(21))?);
            assert_eq!(undelivered_notices(db)?.len(), 2);
            let never = Some((NoticeFailure::Recipient, "undelivered, error 30005".to_owned()));
            assert!(note_delivery(db, "SM1", &said("undelivered", never, None), UnixMs(61))?);
            assert!(note_delivery(db, "SM2", &said("delivered", None, None), UnixMs(61))?);
            assert!(!note_delivery(db, "SM2", &said("sent", None, Some(UnixMs(70))), UnixMs(62))?, "it comes too late");
            assert!(!note_delivery(db, "SM3", &said("sent", None, None), UnixMs(62))?, "nobody knows it");
            assert_eq!(undelivered_notices(db)?, []);
            Ok(())
        });
        let found: Vec<_> = notices.iter().map(|one| (one.state, one.delivery.as_deref(), one.failure)).collect();
        let expected = [
            (NoticeState::Dead, Some("undelivered"), Some(NoticeFailure::Recipient)),
            (NoticeState::Sent, Some("delivered"), None),
        ];
        assert_eq!(found, expected);
        assert_eq!(notices[0].delivery_checks, 2);
    }

    #[test]
    fn an_attempt_the_process_died_in_is_taken_up_again() {
        let notices = check(|db| {
            queue_notice(db, &notice("a@office.example"), UnixMs(1))?;
            begin_notice(db, waiting_notices(db)?[0].notification_id, UnixMs(2))?;
            assert_eq!(requeue_interrupted_notices(db, UnixMs(3))?, 1);
            Ok(())
        });
        assert_eq!((notices[0].state, notices[0].failure), (NoticeState::Queued, Some(NoticeFailure::Interrupted)));
    }
}
