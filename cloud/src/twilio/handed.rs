//! What is handed down to a box, from the first word of it until it is ready: plain code over its JSON in the store.
//!
//! ```text
//! text, progress ─────────────────────────────────────────────────► ready
//! called ─► talking ─┬─ recorded ─► fetching ─┬─ fetched ─────────► ready, with its sound
//!                    │                        └─ tried for a day ─► ready, without it
//!                    └─ nothing left, or two hours without a word ─► ready: somebody has called
//! ```
//! Whatever is told again changes nothing.

use cloud_api::v1::left_message::MessageEnd;
use cloud_api::v1::{Delivery, LeftMessage, ReceivedText, Sound as SoundMessage, TakenCall, TextProgress, delivery};
use serde::{Deserialize, Serialize};

use crate::store::StoreError;
use crate::store::deliveries::Kept;

/// A call of which nothing more is heard is over. Longer than the longest message, and Twilio tells for hours.
const TALK_LIMIT_MS: i64 = 2 * 3_600_000;
/// Between two attempts to get a recording: doubles from the first to the longest.
const RETRY_FIRST_MS: i64 = 2_000;
const RETRY_LONGEST_MS: i64 = 3_600_000;
/// After so many attempts, about a day, a message goes down without its sound.
const ATTEMPTS_MAX: u32 = 32;

/// What is handed down. Times are milliseconds since 1970.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Handed {
    /// A text message that came.
    Text {
        /// Its SID.
        reference: String,
        /// Their number.
        sender: String,
        /// Their words.
        body: String,
    },
    /// Where a text message of the box is.
    Progress {
        /// Its SID.
        reference: String,
        /// In Twilio's words.
        state: String,
        /// Why it did not arrive; 0 is nothing.
        error_code: i64,
    },
    /// A call that reached no box.
    Call(Call),
}

/// A call that reached no box.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Call {
    /// Its SID.
    pub reference: String,
    /// Whose account it came to.
    pub account: String,
    /// None if it is withheld.
    pub caller: Option<String>,
    /// None if that was not told.
    pub called: Option<String>,
    /// When it came.
    pub started_at: i64,
    /// What ended the message, as far as that was told.
    pub ended_by: Option<End>,
    /// What is known of the message.
    pub message: Option<Message>,
    /// How far it is.
    pub state: State,
}

/// How far a call is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// The caller may still be there.
    Talking,
    /// The recording is to be had; attempts so far.
    Fetching(u32),
    /// The box may have it.
    Ready,
}

/// What ended a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum End {
    /// `#`.
    Key,
    /// The caller hung up.
    Hangup,
    /// Silence, or the longest allowed message.
    SilenceOrLength,
}

/// A message that was recorded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// SID of the recording.
    pub recording: String,
    /// When we heard of it.
    pub ended_at: i64,
    /// As Twilio says.
    pub duration_ms: u32,
    /// None until it is here.
    pub sound: Option<Sound>,
}

/// A blob of the box.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sound {
    /// In hexadecimal.
    pub sha256: String,
    /// Of the file.
    pub size_bytes: u64,
}

/// What was told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum News {
    /// A text, or where one is.
    Whole(Handed),
    /// A call has come.
    Called(Call),
    /// Its message has ended so.
    Ended(Call, End),
    /// Its message is to be had.
    Recorded(Call, Message),
    /// It has left none.
    NoMessage(Call),
}

impl Handed {
    /// Under which it is kept: the same for the same thing, however often it is told.
    pub fn id(&self) -> String {
        match self {
            Handed::Text { reference, .. } => format!("text:{reference}"),
            Handed::Progress { reference, state, .. } => format!("progress:{reference}:{state}"),
            Handed::Call(call) => format!("call:{}", call.reference),
        }
    }
}

impl News {
    /// Under which it is kept.
    pub fn id(&self) -> String {
        match self {
            News::Whole(handed) => handed.id(),
            News::Called(call) | News::Ended(call, _) | News::Recorded(call, _) | News::NoMessage(call) => {
                format!("call:{}", call.reference)
            }
        }
    }
}

fn parsed(body: &str) -> Result<Handed, StoreError> {
    serde_json::from_str(body).map_err(|error| StoreError::Document(error.to_string()))
}

/// The call of a body, if it is one.
fn call_of(body: Option<&str>) -> Result<Option<Call>, StoreError> {
    match body.map(parsed).transpose()? {
        Some(Handed::Call(call)) => Ok(Some(call)),
        Some(Handed::Text { .. } | Handed::Progress { .. }) | None => Ok(None),
    }
}

fn kept(handed: &Handed, due_at: Option<i64>) -> Result<Option<Kept>, StoreError> {
    let body = serde_json::to_string(handed).map_err(|error| StoreError::Document(error.to_string()))?;
    let sha256 = match handed {
        Handed::Call(Call { message: Some(Message { sound: Some(sound), .. }), .. }) => Some(sound.sha256.clone()),
        Handed::Call(_) | Handed::Text { .. } | Handed::Progress { .. } => None,
    };
    Ok(Some(Kept { body, sha256, due_at }))
}

fn kept_call(call: Call, due_at: Option<i64>) -> Result<Option<Kept>, StoreError> {
    kept(&Handed::Call(call), due_at)
}

/// What becomes of what is kept under [`News::id`]; None if the news is none.
///
/// # Errors
/// [`StoreError::Document`].
pub fn take(news: &News, before: Option<&str>, now: i64) -> Result<Option<Kept>, StoreError> {
    let known = call_of(before)?;
    match news {
        News::Whole(handed) if before.is_none() => kept(handed, None),
        News::Called(call) if before.is_none() => kept_call(call.clone(), Some(now + TALK_LIMIT_MS)),
        News::Whole(_) | News::Called(_) => Ok(None),
        // What comes first is kept: nobody can say in which order they are told.
        News::Ended(call, end) => {
            let mut call = known.unwrap_or_else(|| call.clone());
            if call.ended_by.is_some() || call.state == State::Ready {
                return Ok(None);
            }
            call.ended_by = Some(*end);
            let due_at = if call.state == State::Talking { now + TALK_LIMIT_MS } else { now };
            kept_call(call, Some(due_at))
        }
        News::Recorded(call, message) => {
            let mut call = known.unwrap_or_else(|| call.clone());
            if call.message.is_some() {
                return Ok(None);
            }
            call.message = Some(message.clone());
            call.state = State::Fetching(0);
            kept_call(call, Some(now))
        }
        News::NoMessage(call) => {
            let call = known.unwrap_or_else(|| call.clone());
            if call.message.is_some() || call.state == State::Ready {
                return Ok(None);
            }
            kept_call(Call { state: State::Ready, ..call }, None)
        }
    }
}

/// What is to be done about a delivery that is due.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Due {
    /// Its recording is to be fetched: of this account, with this SID.
    Fetch(String, String),
    /// It is kept so.
    Keep(Kept),
    /// Nothing: somebody else was quicker.
    Nothing,
}

/// What is to be done about a delivery that is due.
///
/// # Errors
/// [`StoreError::Document`].
pub fn due(body: Option<&str>) -> Result<Due, StoreError> {
    let Some(call) = call_of(body)? else { return Ok(Due::Nothing) };
    match (&call.state, &call.message) {
        (State::Talking, _) | (State::Fetching(_), None) => {
            let kept = kept_call(Call { state: State::Ready, ..call }, None)?;
            Ok(kept.map_or(Due::Nothing, Due::Keep))
        }
        (State::Fetching(_), Some(message)) => Ok(Due::Fetch(call.account.clone(), message.recording.clone())),
        (State::Ready, _) => Ok(Due::Nothing),
    }
}

/// Its recording is here.
///
/// # Errors
/// [`StoreError::Document`].
pub fn fetched(body: Option<&str>, sound: &Sound) -> Result<Option<Kept>, StoreError> {
    let Some(mut call) = call_of(body)?.filter(|call| call.state != State::Ready) else { return Ok(None) };
    if let Some(message) = &mut call.message {
        message.sound = Some(sound.clone());
    }
    kept_call(Call { state: State::Ready, ..call }, None)
}

/// Its recording was not to be had; `for_good`: it never is.
///
/// # Errors
/// [`StoreError::Document`].
pub fn not_fetched(body: Option<&str>, for_good: bool, now: i64) -> Result<Option<Kept>, StoreError> {
    let Some(mut call) = call_of(body)? else { return Ok(None) };
    let State::Fetching(attempts) = call.state else { return Ok(None) };
    if for_good || attempts + 1 >= ATTEMPTS_MAX {
        return kept_call(Call { state: State::Ready, ..call }, None);
    }
    call.state = State::Fetching(attempts + 1);
    let wait = (RETRY_FIRST_MS << attempts.min(16)).min(RETRY_LONGEST_MS);
    kept_call(call, Some(now + wait))
}

/// A delivery as the box gets it.
///
/// # Errors
/// [`StoreError::Document`].
pub fn message(id: &str, body: &str) -> Result<Delivery, StoreError> {
    let what = match parsed(body)? {
        Handed::Text { reference, sender, body } => delivery::What::Text(ReceivedText { reference, sender, body }),
        Handed::Progress { reference, state, error_code } => {
            delivery::What::Progress(TextProgress { reference, state, error_code })
        }
        Handed::Call(call) => delivery::What::Call(call_message(call)?),
    };
    Ok(Delivery { delivery_id: id.to_owned(), what: Some(what) })
}

fn call_message(call: Call) -> Result<TakenCall, StoreError> {
    let Call { reference, caller, called, started_at, ended_by, message, .. } = call;
    let ended_by = match ended_by {
        Some(End::Key) => MessageEnd::Key,
        Some(End::Hangup) => MessageEnd::Hangup,
        Some(End::SilenceOrLength) => MessageEnd::SilenceOrLength,
        None => MessageEnd::Unspecified,
    };
    let sound = |sound: Sound| -> Result<SoundMessage, StoreError> {
        let sha256 = hex::decode(&sound.sha256).map_err(|error| StoreError::Document(error.to_string()))?;
        Ok(SoundMessage { sha256: sha256.into(), size_bytes: sound.size_bytes })
    };
    let message = message.map(|message| -> Result<LeftMessage, StoreError> {
        Ok(LeftMessage {
            ended_at_unix_ms: message.ended_at,
            duration_ms: message.duration_ms,
            ended_by: ended_by.into(),
            sound: message.sound.map(sound).transpose()?,
        })
    });
    Ok(TakenCall {
        reference,
        caller: caller.unwrap_or_default(),
        called: called.unwrap_or_default(),
        started_at_unix_ms: started_at,
        message: message.transpose()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call() -> Call {
        Call {
            reference: "CA1".to_owned(),
            account: "AC1".to_owned(),
            caller: Some("+15551".to_owned()),
            called: Some("+15552".to_owned()),
            started_at: 100,
            ended_by: None,
            message: None,
            state: State::Talking,
        }
    }

    /// What is known where only a later word of it came.
    fn stranger() -> Call {
        Call { caller: None, called: None, ..call() }
    }

    fn recorded() -> Message {
        Message { recording: "RE1".to_owned(), ended_at: 900, duration_ms: 4_000, sound: None }
    }

    /// What is kept after these, one after the other, each at 1 000 and told twice.
    fn after(news: &[News]) -> Kept {
        let mut kept: Option<Kept> = None;
        for one in news {
            let now = take(one, kept.as_ref().map(|kept| kept.body.as_str()), 1_000).unwrap();
            kept = now.or(kept);
            let again = take(one, kept.as_ref().map(|kept| kept.body.as_str()), 2_000).unwrap();
            assert_eq!(again, None, "{one:?} is told again");
        }
        kept.unwrap()
    }

    fn delivered(kept: &Kept) -> TakenCall {
        let message = message("call:CA1", &kept.body).unwrap();
        let Some(delivery::What::Call(call)) = message.what else { panic!("{message:?}") };
        call
    }

    #[test]
    fn a_message_is_fetched_and_goes_down_whole() {
        let talking = after(&[News::Called(call())]);
        assert_eq!(talking.due_at, Some(1_000 + TALK_LIMIT_MS));
        let told = [News::Called(call()), News::Ended(stranger(), End::Key), News::Recorded(stranger(), recorded())];
        let kept = after(&told);
        assert_eq!(kept.due_at, Some(1_000));
        assert_eq!(due(Some(&kept.body)).unwrap(), Due::Fetch("AC1".to_owned(), "RE1".to_owned()));
        let sound = Sound { sha256: "ab".repeat(32), size_bytes: 64_044 };
        let ready = fetched(Some(&kept.body), &sound).unwrap().unwrap();
        assert_eq!((ready.due_at, ready.sha256.as_deref()), (None, Some(sound.sha256.as_str())));
        assert_eq!(due(Some(&ready.body)).unwrap(), Due::Nothing);
        assert_eq!(fetched(Some(&ready.body), &sound).unwrap(), None, "by another instance");
        let call = delivered(&ready);
        assert_eq!((call.caller.as_str(), call.called.as_str(), call.started_at_unix_ms), ("+15551", "+15552", 100));
        let left = call.message.unwrap();
        assert_eq!((left.ended_at_unix_ms, left.duration_ms, left.ended_by()), (900, 4_000, MessageEnd::Key));
        let sound = left.sound.unwrap();
        assert_eq!((&sound.sha256[..], sound.size_bytes), (&[0xab; 32][..], 64_044));
    }

    #[test]
    fn the_order_of_what_is_told_does_not_matter() {
        let (ended, recorded) = (News::Ended(stranger(), End::Hangup), News::Recorded(stranger(), recorded()));
        let one = after(&[News::Called(call()), ended.clone(), recorded.clone()]);
        let other = after(&[News::Called(call()), recorded.clone(), ended.clone()]);
        assert_eq!(one, other);
        let without = after(&[recorded, ended, News::Called(call())]);
        assert_eq!(delivered(&without).caller, "", "a cloud that was restored meanwhile knows no more of it");
    }

    #[test]
    fn a_caller_who_leaves_nothing_has_called_all_the_same() {
        let nothing = after(&[News::Called(call()), News::NoMessage(stranger())]);
        assert_eq!((nothing.due_at, delivered(&nothing).message), (None, None));
        let silent = after(&[News::Called(call())]);
        let Due::Keep(over) = due(Some(&silent.body)).unwrap() else { panic!("it is over") };
        assert_eq!((over.due_at, delivered(&over).caller.as_str()), (None, "+15551"));
        let late = take(&News::Recorded(stranger(), recorded()), Some(&over.body), 5_000).unwrap().unwrap();
        assert_eq!(late.due_at, Some(5_000), "a message is fetched however late it is told");
        let kept = after(&[News::Called(call()), News::Recorded(stranger(), recorded())]);
        assert_eq!(take(&News::NoMessage(stranger()), Some(&kept.body), 5_000).unwrap(), None);
    }

    #[test]
    fn a_recording_that_cannot_be_had_is_tried_for_a_day_and_then_missing() {
        let mut kept = after(&[News::Called(call()), News::Recorded(stranger(), recorded())]);
        let (mut now, mut attempts) = (0, 0);
        while let Some(due_at) = kept.due_at {
            now = due_at.max(now);
            attempts += 1;
            kept = not_fetched(Some(&kept.body), false, now).unwrap().unwrap();
            assert!(kept.due_at.is_none_or(|due_at| due_at - now <= RETRY_LONGEST_MS));
        }
        assert_eq!(attempts, ATTEMPTS_MAX);
        assert!((20 * 3_600_000..28 * 3_600_000).contains(&now), "{now}");
        assert_eq!(delivered(&kept).message.unwrap().sound, None);
        let kept = after(&[News::Called(call()), News::Recorded(stranger(), recorded())]);
        assert_eq!(not_fetched(Some(&kept.body), true, 1).unwrap().unwrap().due_at, None);
    }

    #[test]
    fn texts_and_what_becomes_of_them_are_ready_at_once_and_once() {
        let text = Handed::Text { reference: "SM1".into(), sender: "+1".into(), body: "STOP".into() };
        let kept = after(&[News::Whole(text.clone())]);
        let message = message(&text.id(), &kept.body).unwrap();
        let expected = ReceivedText { reference: "SM1".into(), sender: "+1".into(), body: "STOP".into() };
        assert_eq!((message.delivery_id.as_str(), message.what), ("text:SM1", Some(delivery::What::Text(expected))));
        let progress =
            |state: &str| Handed::Progress { reference: "SM1".into(), state: state.into(), error_code: 30_003 };
        assert_ne!(progress("sent").id(), progress("undelivered").id());
        let sent = message_of(&progress("undelivered"));
        assert_eq!((sent.state.as_str(), sent.error_code), ("undelivered", 30_003));
    }

    fn message_of(handed: &Handed) -> TextProgress {
        let kept = after(&[News::Whole(handed.clone())]);
        let message = message(&handed.id(), &kept.body).unwrap();
        let Some(delivery::What::Progress(progress)) = message.what else { panic!("{message:?}") };
        progress
    }
}
