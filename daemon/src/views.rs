//! What the box's rows are to other programs, as JSON: the same from the command line and from the HTTP interface.

use jiff::{Timestamp, Zoned};
use rusqlite::Connection;
use serde_json::{Value, json};

use crate::messages::Particulars;
use crate::office::{Office, Person};
use crate::redact::Redacted;
use crate::storage::{
    DurableJob, FollowUp, Notice, StorageError, Voicemail, jobs_of, notices_of, promise_for, reference_of,
};

/// A message and everything about it.
pub struct ShownMessage {
    /// Itself.
    pub voicemail: Voicemail,
    /// What was understood of it.
    pub particulars: Option<Particulars>,
    /// What was done about it, and is still to be done.
    pub jobs: Vec<DurableJob>,
    /// Who was told.
    pub notices: Vec<Notice>,
    /// What was promised because of it.
    pub promise: Option<FollowUp>,
}

impl ShownMessage {
    /// With what belongs to it.
    ///
    /// # Errors
    /// [`StorageError::Sql`].
    pub fn load(db: &Connection, voicemail: Voicemail) -> Result<ShownMessage, StorageError> {
        let key = voicemail.voicemail_id.to_string();
        Ok(ShownMessage {
            particulars: Particulars::of(db, voicemail.voicemail_id)?,
            jobs: jobs_of(db, &key)?,
            notices: notices_of(db, &key)?,
            promise: promise_for(db, voicemail.voicemail_id)?,
            voicemail,
        })
    }

    /// For programs.
    pub fn as_json(&self) -> Value {
        let voicemail = &self.voicemail;
        let job = |job: &DurableJob| {
            json!({ "kind": job.kind, "state": job.state, "attempts": job.attempts, "due_at": job.due_at,
                "error": job.error })
        };
        json!({
            "voicemail_id": voicemail.voicemail_id,
            "call_id": voicemail.call_id,
            "reference": reference_of(voicemail.voicemail_id),
            "created_at": voicemail.created_at,
            "status": voicemail.status,
            "ended_by": voicemail.ended_by,
            "duration_ms": voicemail.duration_ms,
            "mailbox": voicemail.mailbox,
            "urgent": voicemail.is_urgent || self.particulars.as_ref().is_some_and(|found| found.is_urgent),
            "transcript": voicemail.transcript.as_ref().map(Redacted::reveal),
            "transcript_confidence": voicemail.transcript_confidence,
            "particulars": self.particulars,
            "jobs": self.jobs.iter().map(job).collect::<Vec<_>>(),
            "promise": self.promise.as_ref().map(promise_json),
            "notices": self.notices.iter().map(notice_json).collect::<Vec<_>>(),
        })
    }
}

/// A promise.
pub fn promise_json(promise: &FollowUp) -> Value {
    json!({
        "follow_up_id": promise.follow_up_id,
        "reference": promise.reference,
        "call_id": promise.call_id,
        "turn_id": promise.turn_id,
        "voicemail_id": promise.voicemail_id,
        "owner": promise.owner,
        "channel": promise.channel,
        "contact": promise.contact.as_ref().map(Redacted::reveal),
        "contact_name": promise.contact_name.as_ref().map(Redacted::reveal),
        "task": promise.task.reveal(),
        "due_at": promise.due_at,
        "due_text": promise.due_text,
        "state": promise.state,
        "reminded_at": promise.reminded_at,
        "escalated_at": promise.escalated_at,
        "acknowledged_by": promise.acknowledged_by,
        "closed_reason": promise.closed_reason,
        "created_at": promise.created_at,
    })
}

/// A notice.
pub fn notice_json(notice: &Notice) -> Value {
    json!({
        "notification_id": notice.notification_id,
        "kind": notice.new.kind,
        "channel": notice.new.channel,
        "recipient": notice.new.recipient.reveal(),
        "subject": notice.new.subject,
        "urgent": notice.new.is_urgent,
        "state": notice.state,
        "attempts": notice.attempts,
        "deferrals": notice.deferrals,
        "due_at": notice.due_at,
        "failure": notice.failure,
        "error": notice.error,
        "reference": notice.reference,
        "created_at": notice.created_at,
        "sent_at": notice.sent_at,
        "delivery": notice.delivery,
    })
}

/// Somebody of the office, at `now`.
pub fn person_json(office: &Office, person: &Person, now: &Zoned) -> Value {
    let presence = office.presence(person, now);
    let absence =
        |(from, until): (Timestamp, Timestamp)| json!({ "from": from.to_string(), "until": until.to_string() });
    json!({
        "name": person.name,
        "department": person.department,
        "reach": person.reach.as_ref().map(ToString::to_string),
        "mobile": person.mobile.as_ref().map(Redacted::reveal),
        "email": person.email.as_ref().map(Redacted::reveal),
        "has_own_hours": person.hours.is_some(),
        "absences": person.absences.iter().map(|one| absence((one.from, one.until))).collect::<Vec<_>>(),
        "presence": presence.as_str(),
        "is_reachable": presence.is_reachable(),
        "until": presence.until().map(|until| until.timestamp().to_string()),
    })
}
