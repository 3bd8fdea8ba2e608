//! What a message says, in parts: who wants to be reached where, when, why, and how pressing it is.
//!
//! Rules, no model, the same ones that understand callers: a number must come out digit by digit or not at all.

use rusqlite::{Connection, OptionalExtension as _, params};
use serde::{Deserialize, Serialize};

use crate::conversation::context::Context;
use crate::conversation::intent::{Classifier, Intent};
use crate::storage::{StorageError, UnixMs, VoicemailId};

/// The parts of one message. What was not said is empty.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Particulars {
    /// The caller's name.
    pub name: Option<String>,
    /// The number they said; without one, that they called from.
    pub callback_number: Option<String>,
    /// Whether they said it.
    pub number_was_spoken: bool,
    /// Their address.
    pub email: Option<String>,
    /// For whom the message is.
    pub message_for: Option<String>,
    /// A day and a time, as turn rows keep them: `tomorrow 15:00`.
    pub when: Option<String>,
    /// What they want, as of a turn.
    pub intent: String,
    /// What is to be done.
    pub requested: Requested,
    /// It cannot wait.
    pub is_urgent: bool,
}

/// What the caller wants to be done.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Requested {
    /// To be called.
    CallBack,
    /// An appointment made, changed or cancelled.
    Appointment,
    /// An answer to a question.
    Answer,
    /// Nothing that we could find.
    #[default]
    Unknown,
}

impl Requested {
    /// The stored text.
    pub fn as_str(self) -> &'static str {
        match self {
            Requested::CallBack => "call_back",
            Requested::Appointment => "appointment",
            Requested::Answer => "answer",
            Requested::Unknown => "unknown",
        }
    }
}

const CALL_BACK: [&str; 10] = [
    "call me",
    "call us",
    "call back",
    "calling back",
    "call returned",
    "return my call",
    "give me a call",
    "give us a call",
    "phone me",
    "ring me",
];
const URGENT: [&str; 9] = [
    "urgent",
    "urgently",
    "emergency",
    "as soon as possible",
    "asap",
    "right away",
    "immediately",
    "severe pain",
    "at once",
];
const NOT_URGENT: [&str; 7] =
    ["not urgent", "isn't urgent", "no emergency", "not an emergency", "no rush", "no hurry", "nothing urgent"];

impl Particulars {
    /// Finds them in a transcript. `caller_id` is what the carrier says.
    pub fn find(transcript: &str, caller_id: Option<&str>, classifier: &Classifier) -> Particulars {
        let understood = classifier.understand(transcript, None, &Context::default());
        let slots = understood.slots;
        let joined = joined(transcript);
        let says = |phrases: &[&str]| phrases.iter().any(|phrase| joined.contains(&format!(" {phrase} ")));
        let parts = [slots.day.map(|day| day.to_string()), slots.time.map(|time| time.to_string())];
        let when: Vec<_> = parts.into_iter().flatten().collect();
        let otherwise = if says(&CALL_BACK) { Requested::CallBack } else { Requested::Unknown };
        let requested = match understood.intent {
            Intent::Appointment => Requested::Appointment,
            Intent::Question | Intent::Price | Intent::OpeningHours | Intent::Address
                if otherwise == Requested::Unknown =>
            {
                Requested::Answer
            }
            Intent::Question
            | Intent::Price
            | Intent::OpeningHours
            | Intent::Address
            | Intent::Person
            | Intent::LeaveMessage
            | Intent::Repeat
            | Intent::Goodbye
            | Intent::Confirm
            | Intent::Deny
            | Intent::SmallTalk
            | Intent::Complaint
            | Intent::Details
            | Intent::Unknown => otherwise,
        };
        Particulars {
            name: slots.name,
            number_was_spoken: slots.phone.is_some(),
            callback_number: slots.phone.or_else(|| caller_id.filter(|number| is_number(number)).map(str::to_owned)),
            email: slots.email,
            message_for: slots.message_for.or(slots.department),
            when: (!when.is_empty()).then(|| when.join(" ")),
            intent: understood.intent.name().to_owned(),
            requested,
            is_urgent: says(&URGENT) && !says(&NOT_URGENT),
        }
    }

    /// Those of a message; `None` while nobody has looked for them.
    ///
    /// # Errors
    /// [`StorageError::Sql`].
    pub fn of(db: &Connection, voicemail_id: VoicemailId) -> Result<Option<Particulars>, StorageError> {
        let sql = "SELECT particulars FROM voicemails WHERE voicemail_id = ?1";
        let text: Option<Option<String>> =
            db.prepare_cached(sql)?.query_row([voicemail_id], |row| row.get(0)).optional()?;
        // What an older release has written may lack a part, and is looked for again rather than in anybody's way.
        Ok(text.flatten().and_then(|text| serde_json::from_str(&text).ok()))
    }

    /// Keeps them.
    ///
    /// # Errors
    /// [`StorageError::NotFound`].
    pub fn keep(&self, sql_tx: &Connection, voicemail_id: VoicemailId, at: UnixMs) -> Result<(), StorageError> {
        let sql = "UPDATE voicemails SET particulars = ?2, updated_at = ?3 WHERE voicemail_id = ?1";
        let text = serde_json::to_string(self).map_err(|_| StorageError::Refused("particulars are not JSON"))?;
        match sql_tx.prepare_cached(sql)?.execute(params![voicemail_id, text, at])? {
            1 => Ok(()),
            _ => Err(StorageError::NotFound("voicemail")),
        }
    }
}

/// Small words parted and surrounded by single blanks.
fn joined(text: &str) -> String {
    let words = text.to_lowercase();
    let words = words.split(|c: char| !c.is_alphanumeric() && c != '\'').filter(|word| !word.is_empty());
    words.fold(" ".to_owned(), |joined, word| joined + word + " ")
}

/// Whether one can call it: `anonymous` is none.
fn is_number(caller_id: &str) -> bool {
    let digits = caller_id.strip_prefix('+').unwrap_or(caller_id);
    digits.len() >= 3 && digits.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(transcript: &str) -> Particulars {
        let classifier = Classifier::keywords_only(vec!["billing".into(), "dr brown".into()]);
        Particulars::find(transcript, Some("+15550100"), &classifier)
    }

    #[test]
    fn a_message_is_taken_apart() {
        let found = check(
            "Hello, this is Anna Bell. Please call me back tomorrow at three. My number is five five five, two three \
             one, four four five six. It is urgent.",
        );
        assert_eq!(found.name.as_deref(), Some("Anna Bell"), "{found:?}");
        assert_eq!((found.callback_number.as_deref(), found.number_was_spoken), (Some("5552314456"), true));
        assert_eq!(found.when.as_deref(), Some("tomorrow 15:00"));
        assert_eq!((found.requested, found.is_urgent), (Requested::CallBack, true));
    }

    #[test]
    fn what_is_not_said_is_not_made_up() {
        let found = check("Hello? Is anybody there?");
        assert_eq!((found.name, found.when, found.email, found.is_urgent), (None, None, None, false));
        assert_eq!((found.callback_number.as_deref(), found.number_was_spoken), (Some("+15550100"), false));
        let classifier = Classifier::keywords_only(Vec::new());
        assert_eq!(Particulars::find("Hello?", Some("anonymous"), &classifier).callback_number, None);
    }

    #[test]
    fn urgency_is_heard_and_so_is_its_absence() {
        for (transcript, is_urgent) in [
            ("I am in severe pain, please call me.", true),
            ("Call me as soon as possible.", true),
            ("It's not urgent, call me whenever you can.", false),
            ("There is no rush.", false),
            ("I have a question about my invoice.", false),
        ] {
            assert_eq!(check(transcript).is_urgent, is_urgent, "{transcript}");
        }
    }
}
