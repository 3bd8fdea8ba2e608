//! Promises: who has to call whom back until when, and what happens when nobody does.
//!
//! A message that asks for a call becomes a promise in the transaction that understands it. Its owner is reminded before
//! it is due; when it is overdue and nobody has said that it was kept, everybody is told. Left out on purpose: placing
//! the call.

mod due;
mod report;

use std::time::Duration;

use jiff::Timestamp;
use rusqlite::Connection;

pub use due::due;
pub use report::{expect_report, report};

use crate::config::Notices;
use crate::conversation::slots::{Directory, Slots};
use crate::dial_plan::is_e164;
use crate::messages::{Particulars, Requested};
use crate::notices::Recipients;
use crate::office::Office;
use crate::redact::Redacted;
use crate::retry::later;
use crate::storage::{
    Channel, FollowUp, FollowUpChannel, FollowUpId, FollowUpState, JobKind, NewNotice, NoticeKind, StorageError,
    UnixMs, Voicemail, find_follow_up, insert_follow_up, note_overdue, note_reminder, queue_job, queue_notice,
    reference_of,
};

/// When promises are reminded of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rules {
    /// Before they are due.
    pub reminder: Duration,
    /// After that they count as not kept.
    pub overdue: Duration,
    /// Whether callers get them as text messages.
    pub confirmed_by_sms: bool,
}

impl From<&Notices> for Rules {
    fn from(config: &Notices) -> Rules {
        let minutes = |count: u32| Duration::from_secs(u64::from(count) * 60);
        Rules {
            reminder: minutes(config.reminder_minutes),
            overdue: minutes(config.overdue_minutes),
            confirmed_by_sms: config.promises_confirmed_by_sms,
        }
    }
}

/// Keeps the promise that a message asks for, with what is to happen about it, if it asks for one and has none yet.
///
/// # Errors
/// [`StorageError::Sql`].
pub fn promise_of(
    sql_tx: &Connection,
    voicemail: &Voicemail,
    particulars: &Particulars,
    transcript: &str,
    office: &Office,
    rules: &Rules,
    at: UnixMs,
) -> Result<(), StorageError> {
    let task = match particulars.requested {
        Requested::CallBack => "call back",
        Requested::Appointment => "call back about an appointment",
        Requested::Answer | Requested::Unknown => return Ok(()),
    };
    let slots = Slots::find(transcript, &Directory::new(office.asked_for()));
    // What was said is meant as of the moment it was said.
    let said_at = Timestamp::from_millisecond(voicemail.created_at.0).unwrap_or(Timestamp::UNIX_EPOCH);
    let said_at = said_at.to_zoned(office.time_zone().clone());
    let due_at = due(slots.day.as_ref(), slots.time, &office.calendar, &said_at);
    let promise = FollowUp {
        follow_up_id: FollowUpId::new(at),
        reference: reference_of(voicemail.voicemail_id),
        call_id: Some(voicemail.call_id),
        turn_id: None,
        voicemail_id: Some(voicemail.voicemail_id),
        owner: particulars.message_for.clone(),
        channel: FollowUpChannel::Phone,
        contact: particulars.callback_number.clone().map(Redacted::new),
        contact_name: particulars.name.clone().map(Redacted::new),
        task: Redacted::new(task.to_owned()),
        due_at: UnixMs(due_at.timestamp().as_millisecond()),
        due_text: particulars.when.clone(),
        state: FollowUpState::Open,
        reminded_at: None,
        escalated_at: None,
        acknowledged_by: None,
        closed_reason: None,
        created_at: at,
    };
    promise_with_jobs(sql_tx, &promise, rules)
}

/// Keeps a promise, with the jobs that remind of it and that find it not kept.
///
/// # Errors
/// [`StorageError::Sql`].
pub fn promise_with_jobs(sql_tx: &Connection, promise: &FollowUp, rules: &Rules) -> Result<(), StorageError> {
    if !insert_follow_up(sql_tx, promise)? {
        return Ok(());
    }
    let (id, at) = (promise.follow_up_id.to_string(), promise.created_at);
    let remind_at = UnixMs(promise.due_at.0 - later(UnixMs(0), rules.reminder).0);
    queue_job(sql_tx, JobKind::Remind, &id, remind_at, at)?;
    queue_job(sql_tx, JobKind::Escalate, &id, later(promise.due_at, rules.overdue), at)?;
    if let Some(number) = promise.contact.clone().filter(|number| rules.confirmed_by_sms && is_e164(number.reveal())) {
        let confirmation = NewNotice {
            kind: NoticeKind::PromiseMade,
            channel: Channel::Sms,
            order_key: format!("{}:{}", Channel::Sms, number.reveal()),
            recipient: number,
            subject: id,
            is_urgent: false,
        };
        queue_notice(sql_tx, &confirmation, at)?;
    }
    Ok(())
}

/// Tells of a promise that is due, or was not kept, unless it is over or that was told already.
///
/// # Errors
/// [`StorageError::Sql`].
pub fn tell(
    sql_tx: &Connection,
    id: FollowUpId,
    is_overdue: bool,
    (recipients, office): (&Recipients, &Office),
    at: UnixMs,
) -> Result<(), StorageError> {
    let (is_news, kind) = match is_overdue {
        false => (note_reminder(sql_tx, id, at)?, NoticeKind::FollowUpDue),
        true => (note_overdue(sql_tx, id, at)?, NoticeKind::FollowUpOverdue),
    };
    let Some(promise) = find_follow_up(sql_tx, id)?.filter(|_| is_news) else { return Ok(()) };
    let subject = id.to_string();
    let thread = promise.call_id.map_or_else(|| subject.clone(), |call_id| call_id.to_string());
    let recipients = with_owner(recipients, office, &promise, is_overdue, at);
    for notice in recipients.notices(kind, &subject, &thread, false) {
        queue_notice(sql_tx, &notice, at)?;
    }
    Ok(())
}

/// The owner is reminded alone, unless they are away or nobody knows their address; of what was not kept everybody hears.
fn with_owner(
    recipients: &Recipients,
    office: &Office,
    promise: &FollowUp,
    is_overdue: bool,
    at: UnixMs,
) -> Recipients {
    let owner = promise.owner.as_deref().and_then(|owner| office.person(owner));
    let Some((owner, email)) = owner.and_then(|owner| Some((owner, owner.email.as_ref()?))) else {
        return recipients.clone();
    };
    let now = Timestamp::from_millisecond(at.0).unwrap_or(Timestamp::UNIX_EPOCH).to_zoned(office.time_zone().clone());
    let is_alone = !is_overdue && !office.is_absent(owner, &now);
    recipients.for_owner(email.reveal(), is_alone)
}

#[cfg(test)]
pub(in crate::follow_ups) mod tests {
    use super::*;
    use crate::config::Config;
    use crate::storage::{ClosedReason, Storage, StorageConfig, close_follow_up, notices_of, queued_jobs};

    pub(super) fn promise() -> FollowUp {
        FollowUp {
            follow_up_id: FollowUpId::new(UnixMs(1)),
            reference: "0417".into(),
            call_id: None,
            turn_id: None,
            voicemail_id: None,
            owner: None,
            channel: FollowUpChannel::Phone,
            contact: None,
            contact_name: None,
            task: Redacted::new("call back".into()),
            due_at: UnixMs(10_000_000),
            due_text: None,
            state: FollowUpState::Open,
            reminded_at: None,
            escalated_at: None,
            acknowledged_by: None,
            closed_reason: None,
            created_at: UnixMs(1),
        }
    }

    #[test]
    fn a_promise_is_reminded_of_and_missed_once_each_and_not_when_it_is_over() {
        let folder = tempfile::tempdir().unwrap();
        let storage = Storage::open(&StorageConfig::new(folder.path())).unwrap().storage;
        let mut config = Config::default();
        config.email.enabled = true;
        config.email.to = vec!["desk@office.example".into()];
        let (recipients, rules) = (Recipients::new(&config), Rules::from(&config.notices));
        let office = crate::office::sample::office().unwrap();
        storage
            .write_blocking(move |db| {
                let (kept, missed) = (promise(), promise());
                promise_with_jobs(db, &kept, &rules)?;
                promise_with_jobs(db, &missed, &rules)?;
                let due: Vec<_> = queued_jobs(db)?.iter().map(|job| (job.kind, job.due_at.0)).collect();
                assert_eq!(due[0], (JobKind::Remind, 10_000_000 - 15 * 60_000));
                assert_eq!(due[3], (JobKind::Escalate, 10_000_000 + 30 * 60_000));
                close_follow_up(db, kept.follow_up_id, ClosedReason::Done, UnixMs(2))?;
                for id in [kept.follow_up_id, missed.follow_up_id] {
                    for is_overdue in [false, false, true, true] {
                        tell(db, id, is_overdue, (&recipients, &office), UnixMs(3))?;
                    }
                }
                assert_eq!(notices_of(db, &kept.follow_up_id.to_string())?, []);
                let told: Vec<_> =
                    notices_of(db, &missed.follow_up_id.to_string())?.iter().map(|notice| notice.new.kind).collect();
                assert_eq!(told, [NoticeKind::FollowUpDue, NoticeKind::FollowUpOverdue]);
                Ok(())
            })
            .unwrap();
    }

    /// Once, where the office wants it, and only to a number that can get it.
    #[test]
    fn a_promise_is_confirmed_by_a_text_message() {
        let folder = tempfile::tempdir().unwrap();
        let storage = Storage::open(&StorageConfig::new(folder.path())).unwrap().storage;
        storage
            .write_blocking(|db| {
                for (contact, confirmed_by_sms, expected) in
                    [("+12125550142", true, 1), ("+12125550142", false, 0), ("anonymous", true, 0)]
                {
                    let rules = Rules { confirmed_by_sms, ..Rules::from(&Config::default().notices) };
                    let promise = FollowUp {
                        follow_up_id: FollowUpId::new(UnixMs(1)),
                        contact: Some(Redacted::new(contact.into())),
                        ..promise()
                    };
                    promise_with_jobs(db, &promise, &rules)?;
                    promise_with_jobs(db, &promise, &rules).unwrap_err();
                    let notices = notices_of(db, &promise.follow_up_id.to_string())?;
                    assert_eq!(notices.len(), expected, "{contact} {confirmed_by_sms}");
                    assert!(notices.iter().all(|notice| notice.new.kind == NoticeKind::PromiseMade));
                }
                Ok(())
            })
            .unwrap();
    }

    /// A reminder is for its owner alone while they are there; of what was not kept the office hears too.
    #[test]
    fn an_owner_is_reminded_at_their_own_address() {
        let mut config = Config::default();
        config.email.enabled = true;
        config.email.to = vec!["desk@office.example".into()];
        let recipients = Recipients::new(&config);
        let mut office = crate::office::sample::office().unwrap();
        office.people[0].email = Some(Redacted::new("lopez@office.example".into()));
        let at = UnixMs(10);
        let told = |office: &Office, owner: &str, is_overdue| {
            let promise = FollowUp { owner: Some(owner.into()), ..promise() };
            let told = with_owner(&recipients, office, &promise, is_overdue, at);
            let notices = told.notices(NoticeKind::FollowUpDue, "row", "call", false);
            notices.iter().map(|notice| notice.recipient.reveal().clone()).collect::<Vec<_>>().join(" ")
        };
        let (desk, lopez) = ("desk@office.example", "lopez@office.example");
        assert_eq!(told(&office, "doctor maria lopez", false), lopez);
        assert_eq!(told(&office, "doctor maria lopez", true), format!("{desk} {lopez}"));
        assert_eq!(told(&office, "susan brown", false), desk, "nobody knows her address");
        assert_eq!(told(&office, "billing", false), desk);
        let moment = |ms| Timestamp::from_millisecond(ms).unwrap();
        office.people[0].absences = vec![crate::office::Absence { from: moment(0), until: moment(20) }];
        assert_eq!(told(&office, "doctor maria lopez", false), format!("{desk} {lopez}"), "away");
    }
}
