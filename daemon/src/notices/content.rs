//! The facts of a notice, as far as the office wants them to leave the box.

use std::sync::Arc;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use rusqlite::Connection;
use serde::Serialize;

use super::link::Links;
use crate::config::{Config, Notices as Policy, PersonalData};
use crate::messages::{Particulars, Requested};
use crate::office::Office;
use crate::redact::Redacted;
use crate::storage::{
    Contact, Notice, NoticeKind, Recording, StorageError, UnixMs, VoicemailId, find_contact, find_follow_up,
    find_recording, find_voicemail, promise_for, reference_of, session_detail,
};

/// What a template may say. A field that is not known, or not to be told, is empty.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Facts {
    /// `message`, `follow_up_due`, `follow_up_overdue`.
    pub kind: &'static str,
    /// The office's name.
    pub office: String,
    /// Four digits, as the caller was told them.
    pub reference: String,
    /// When the message was left, in the office's time.
    pub received: String,
    /// Its length.
    pub duration_seconds: u64,
    /// Who called, as they said.
    pub caller_name: Option<String>,
    /// From where, as the carrier says.
    pub caller_number: Option<String>,
    /// Where they want to be called.
    pub callback_number: Option<String>,
    /// Their address, as they said.
    pub caller_email: Option<String>,
    /// For whom the message is.
    pub message_for: Option<String>,
    /// What they want: `call_back`, `appointment`, …
    pub requested: Option<String>,
    /// Somebody has to do it: an answer by text message with the reference takes it.
    pub is_promised: bool,
    /// When, as they said.
    pub when: Option<String>,
    /// What was said.
    pub transcript: Option<String>,
    /// It cannot wait.
    pub urgent: bool,
    /// Who has to keep the promise.
    pub owner: Option<String>,
    /// When it is due, in the office's time.
    pub due: Option<String>,
    /// Where the office finds the rest.
    pub link: Option<String>,
    /// `attached`, `left_out` or `none`.
    pub recording: &'static str,
    /// Some of the above is left out because the office wants it so.
    pub withheld: bool,
}

/// A notice put together.
#[derive(Debug, Clone)]
pub struct Content {
    /// What it says.
    pub facts: Facts,
    /// Sound to go with it.
    pub recording: Option<Recording>,
    /// Whom it is about.
    pub contact: Option<Contact>,
}

/// Puts notices together.
#[derive(Clone)]
pub struct Composer {
    /// The office that is called.
    pub office: Arc<Office>,
    /// What may leave the box.
    pub policy: Policy,
    /// Where the rest is to be found.
    pub links: Option<Links>,
}

impl Composer {
    /// As configured. Blocks.
    ///
    /// # Errors
    /// As [`Links::open`].
    pub fn open(config: &Config, office: Arc<Office>) -> std::io::Result<Composer> {
        let policy = config.notices.clone();
        let base = policy.link_base.as_deref();
        let links = base.map(|base| Links::open(base, policy.link_days, &config.machine_directory())).transpose()?;
        Ok(Composer { office, policy, links })
    }

    /// Everything about the message or the promise with this key; `None` if there is none, or not any more.
    ///
    /// # Errors
    /// [`StorageError::Sql`].
    pub fn about(&self, db: &Connection, key: &str) -> Result<Option<Content>, StorageError> {
        match self.message(db, key)? {
            Some(message) => Ok(Some(message)),
            None => self.promise(db, key),
        }
    }

    /// The content of a notice that is sent at `now`; `None` if what it is about is gone.
    ///
    /// # Errors
    /// [`StorageError::Sql`].
    pub fn compose(&self, db: &Connection, notice: &Notice, now: UnixMs) -> Result<Option<Content>, StorageError> {
        let composed = match notice.new.kind {
            NoticeKind::Message => self.message(db, &notice.new.subject)?,
            NoticeKind::FollowUpDue | NoticeKind::FollowUpOverdue => self.promise(db, &notice.new.subject)?,
        };
        Ok(composed.map(|mut content| {
            content.facts.kind = notice.new.kind.as_str();
            content.facts.office.clone_from(&self.office.name);
            content.facts.link = self.links.as_ref().map(|links| links.to(&notice.new.subject, now));
            // Larger ones stay in the box.
            let limit_bytes = u64::from(self.policy.attachment_limit_megabytes) * 1_000_000;
            let is_attached = |one: &Recording| self.policy.recording_attached && one.size_bytes <= limit_bytes;
            if !content.recording.as_ref().is_some_and(is_attached) && content.recording.take().is_some() {
                content.facts.recording = "left_out";
            }
            withhold(&mut content, self.policy.personal_data);
            content
        }))
    }

    fn message(&self, db: &Connection, key: &str) -> Result<Option<Content>, StorageError> {
        let Ok(voicemail_id) = key.parse::<VoicemailId>() else { return Ok(None) };
        let Some(voicemail) = find_voicemail(db, voicemail_id)? else { return Ok(None) };
        let session = session_detail(db, &voicemail.call_id.to_string())?.session;
        let particulars = Particulars::of(db, voicemail_id)?.unwrap_or_default();
        let number = session.caller_id.map(Redacted::into_revealed);
        let contact = number.as_deref().map(|number| find_contact(db, number)).transpose()?.flatten();
        let known = contact.as_ref().and_then(|contact| contact.name.clone()).map(Redacted::into_revealed);
        let recording = voicemail.recording_id.map(|id| find_recording(db, id)).transpose()?.flatten();
        let facts = Facts {
            reference: reference_of(voicemail_id),
            received: office_time(voicemail.created_at, self.office.time_zone()),
            duration_seconds: voicemail.duration_ms.div_ceil(1_000),
            caller_name: particulars.name.or(known),
            caller_number: number,
            callback_number: particulars.callback_number,
            caller_email: particulars.email,
            message_for: particulars.message_for,
            requested: (particulars.requested != Requested::Unknown).then(|| particulars.requested.as_str().to_owned()),
            is_promised: promise_for(db, voicemail_id)?.is_some(),
            when: particulars.when,
            transcript: voicemail.transcript.map(Redacted::into_revealed),
            urgent: voicemail.is_urgent || particulars.is_urgent,
            recording: if recording.is_some() { "attached" } else { "none" },
            ..Facts::default()
        };
        Ok(Some(Content { facts, recording, contact }))
    }

    fn promise(&self, db: &Connection, key: &str) -> Result<Option<Content>, StorageError> {
        let Ok(id) = key.parse() else { return Ok(None) };
        let Some(promise) = find_follow_up(db, id)? else { return Ok(None) };
        let number = promise.contact.map(Redacted::into_revealed);
        let contact = number.as_deref().map(|number| find_contact(db, number)).transpose()?.flatten();
        let facts = Facts {
            reference: promise.reference,
            caller_name: promise.contact_name.map(Redacted::into_revealed),
            caller_number: number,
            requested: Some(promise.task.into_revealed()),
            when: promise.due_text,
            owner: promise.owner,
            is_promised: true,
            due: Some(office_time(promise.due_at, self.office.time_zone())),
            recording: "none",
            ..Facts::default()
        };
        Ok(Some(Content { facts, recording: None, contact }))
    }
}

fn withhold(content: &mut Content, policy: PersonalData) {
    let facts = &mut content.facts;
    match policy {
        PersonalData::Full => return,
        PersonalData::Redacted => {
            for number in [&mut facts.caller_number, &mut facts.callback_number].into_iter().flatten() {
                *number = last_digits(number);
            }
        }
        PersonalData::LinkOnly => {
            (facts.caller_number, facts.callback_number, facts.requested) = (None, None, None);
            (facts.when, facts.message_for) = (None, None);
        }
    }
    (facts.caller_name, facts.caller_email, facts.transcript) = (None, None, None);
    facts.withheld = true;
    if facts.recording == "attached" {
        facts.recording = "left_out";
    }
    content.recording = None;
}

/// Enough to know one caller from another, too little to call them.
fn last_digits(number: &str) -> String {
    let digits: Vec<char> = number.chars().filter(char::is_ascii_digit).collect();
    let shown = digits.len().min(digits.len() / 3).min(3);
    format!("…{}", digits[digits.len() - shown..].iter().collect::<String>())
}

/// A moment as an office writes it: `Mon 2 Mar 2026 12:00`.
pub fn office_time(at: UnixMs, zone: &TimeZone) -> String {
    Timestamp::from_millisecond(at.0)
        .map_or_else(|_| String::new(), |at| at.to_zoned(zone.clone()).strftime("%a %-d %b %Y %H:%M").to_string())
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Of an urgent message by a caller with an awkward name.
    pub(in crate::notices) fn facts() -> Facts {
        Facts {
            kind: "message",
            office: "Example Dental".into(),
            reference: "0417".into(),
            received: "Mon 2 Mar 2026 12:00".into(),
            duration_seconds: 12,
            caller_name: Some("Anna <Bell>".into()),
            caller_number: Some("+15550100".into()),
            callback_number: Some("+15550100".into()),
            requested: Some("call_back".into()),
            transcript: Some("Please call me at three.".into()),
            urgent: true,
            recording: "attached",
            ..Facts::default()
        }
    }

    #[test]
    fn what_leaves_the_box_is_what_the_office_wants() {
        let recording = None;
        for (policy, number, name) in [
            (PersonalData::Full, Some("+15550100"), Some("Anna <Bell>")),
            (PersonalData::Redacted, Some("…00"), None),
            (PersonalData::LinkOnly, None, None),
        ] {
            let mut content = Content { facts: facts(), recording: recording.clone(), contact: None };
            withhold(&mut content, policy);
            let facts = content.facts;
            assert_eq!((facts.caller_number.as_deref(), facts.caller_name.as_deref()), (number, name), "{policy:?}");
            let is_full = policy == PersonalData::Full;
            assert_eq!((facts.transcript.is_some(), facts.recording == "attached"), (is_full, is_full), "{policy:?}");
            assert_eq!(facts.reference, "0417", "what says nothing about anybody stays");
        }
    }

    #[test]
    fn a_few_digits_are_shown_of_a_number() {
        for (number, shown) in [("+15550100", "…00"), ("+4915112345678", "…678"), ("12", "…"), ("anonymous", "…")]
        {
            assert_eq!(last_digits(number), shown, "{number}");
        }
    }
}
