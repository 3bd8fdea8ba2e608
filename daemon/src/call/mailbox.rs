//! Messages at a phone, of its own mailbox or the office's: after a PIN each new one is played, then the saved ones, and a key says what becomes
//! of it.
//!
//! ```text
//!  PIN # ─► message n of m, from whom, when ─► its sound ─► 1 again, 2 keep, 3 delete, 4 call back, 5 take it, # next
//!             ▲                                                │            │
//!             └────────────────────────────────────────────────┘            └─► the caller's number is dialled
//! ```
//! Keys act at once, also over what is said. Left out on purpose: recording a greeting at the phone.

use std::io::BufReader;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use audio::dsp::tone::beep;
use audio::wav::Pieces;
use jiff::Timestamp;
use sip_stack::message::StatusCode;
use tokio::sync::watch;
use tracing::{info, warn};

use super::incoming::Incoming;
use super::onward::{Step, connect, follow};
use super::reach::{Course, Outside};
use super::services::Services;
use super::task::End;
use super::up::Talk;
use super::waiting::{Interrupted, WATCH_INTERVAL, Waiting};
use crate::dial_plan::{Decision, from_phone};
use crate::messages::Particulars;
use crate::redact::Redacted;
use crate::speaker::{SPEECH_SAMPLE_RATE, Samples};
use crate::storage::{
    FollowUp, FollowUpState, StorageError, UnixMs, Voicemail, VoicemailStatus, acknowledge_follow_up, find_recording,
    promise_for, session_detail, set_voicemail_status, voicemails_in,
};

/// How long is waited for a key after what was said; then it is said once more.
const KEY_LIMIT: Duration = Duration::from_secs(8);
/// What is asked without an answer so often is not asked again.
const ASKED_LIMIT: u32 = 2;
/// Digits of a PIN; more are none.
const PIN_DIGITS_MAX: usize = 12;
/// PINs of one call.
const PINS_LIMIT: u32 = 3;
/// Messages that are played in one call.
const MESSAGES_LIMIT: u32 = 100;
/// The longest message that is played: as long as one may be.
const PLAYED_MAX_SAMPLES: usize = 600 * 8_000;

const MENU: &str = "Press 1 to hear it again, 2 to keep it, 3 to delete it, 4 to call back, or hash for the next.";
/// Of a message that somebody has promised to answer, and nobody has taken.
const MENU_OF_PROMISE: &str = "Press 1 to hear it again, 2 to keep it, 3 to delete it, 4 to call back, 5 to take care of it, or hash for the next.";

/// A message, with what is said about it.
struct Item {
    voicemail: Voicemail,
    from: String,
    number: Option<Redacted<String>>,
    /// What was promised because of it, while that is to be done.
    promise: Option<FollowUp>,
}

/// What becomes of the call after a message.
enum After {
    /// The next one; a key that was pressed already is for it.
    Next(Option<char>),
    Dial(Box<Outside>),
}

/// Serves a phone that has dialled the code.
pub(super) async fn mailbox(incoming: &mut Incoming, by: &str, stop: watch::Receiver<bool>) -> Result<(), End> {
    let services = Arc::clone(&incoming.services);
    if !tries(&services).may_try(by, Instant::now()) {
        warn!("Too many wrong PINs; messages are not played at this phone for a while");
        return Err(incoming.reject(StatusCode::FORBIDDEN, End::denied("pin_locked")).await);
    }
    let leg = incoming.answer().await?;
    let whom = (incoming.caller.clone(), services.inside_identity(by));
    let mut waiting = Waiting::new(Arc::clone(&services), incoming.call_id, leg, whom, stop);
    services.up.note(incoming.call_id, Talk::Feature);
    let end = match served(&mut waiting, by).await {
        Ok(Some(number)) => return call_back(waiting, *number).await,
        Ok(None) | Err(Interrupted::Pressed(_)) => End::FEATURE,
        Err(Interrupted::Ended(end)) => end,
    };
    waiting.finish(end, "feature").await;
    Ok(())
}

/// Until they have heard everything, or want to talk with somebody.
async fn served(waiting: &mut Waiting, by: &str) -> Result<Option<Box<Outside>>, Interrupted> {
    if !is_let_in(waiting, by).await? {
        return Ok(None);
    }
    let services = Arc::clone(&waiting.services);
    let mailbox = services.config.mailbox_of(by).map(|mailbox| mailbox.name.clone());
    let items = match services.storage.read(move |db| items(db, mailbox.as_deref())).await {
        Ok(items) => items,
        Err(error) => {
            warn!(%error, "Messages cannot be listed");
            say(waiting, "I am sorry, that did not work.").await?;
            return Ok(None);
        }
    };
    let new = items.iter().filter(|item| item.voicemail.status == VoicemailStatus::New).count();
    let mut pressed = say_over(waiting, &counted(new, items.len() - new)).await?;
    let count = items.len();
    for (index, item) in items.iter().enumerate() {
        match play(waiting, item, by, (index + 1, count), pressed).await? {
            After::Next(key) => pressed = key,
            After::Dial(number) => return Ok(Some(number)),
        }
    }
    say(waiting, "There are no more messages. Goodbye.").await?;
    Ok(None)
}

fn tries(services: &Services) -> std::sync::MutexGuard<'_, crate::registrar::pins::Tries> {
    // What a thread that panicked has counted still counts.
    services.pin_tries.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn is_let_in(waiting: &mut Waiting, by: &str) -> Result<bool, Interrupted> {
    let services = Arc::clone(&waiting.services);
    if !services.pins.exists(by) {
        say(waiting, "There is no PIN for this phone yet. Ask whoever looks after the box for one.").await?;
        return Ok(false);
    }
    let mut first = None;
    for _ in 0..PINS_LIMIT {
        let Some(typed) = typed(waiting, first).await? else { return Ok(false) };
        let (pins, extension) = (services.pins.clone(), by.to_owned());
        let checked = tokio::task::spawn_blocking(move || pins.is_right(&extension, typed.reveal()));
        let is_right = checked.await.ok().flatten() == Some(true);
        tries(&services).note(by, is_right, Instant::now());
        if is_right {
            return Ok(true);
        }
        info!("A wrong PIN");
        if !tries(&services).may_try(by, Instant::now()) {
            break;
        }
        first = say_over(waiting, "That is not the PIN.").await?;
    }
    say(waiting, "That is not the PIN. Goodbye.").await?;
    Ok(false)
}

/// The digits up to `#`, the first of which may be there; `None` if nothing is typed.
async fn typed(waiting: &mut Waiting, first: Option<char>) -> Result<Option<Redacted<String>>, Interrupted> {
    let mut digits = String::new();
    let first = match first {
        Some(key) => Some(key),
        None => ask(waiting, "Please enter your PIN, then press hash.").await?,
    };
    let Some(mut key) = first else { return Ok(None) };
    loop {
        match key {
            '#' => break,
            digit if digit.is_ascii_digit() && digits.len() < PIN_DIGITS_MAX => digits.push(digit),
            _ => {}
        }
        match next_key(waiting).await? {
            Some(another) => key = another,
            None => break,
        }
    }
    Ok(Some(Redacted::new(digits)))
}

/// New ones first, and of those the oldest.
fn items(db: &rusqlite::Connection, mailbox: Option<&str>) -> Result<Vec<Item>, StorageError> {
    let mut items = Vec::new();
    for status in [VoicemailStatus::New, VoicemailStatus::Heard] {
        let mut voicemails = voicemails_in(db, mailbox, status, MESSAGES_LIMIT)?;
        voicemails.reverse();
        for voicemail in voicemails {
            let particulars = Particulars::of(db, voicemail.voicemail_id)?.unwrap_or_default();
            let session = session_detail(db, &voicemail.call_id.to_string())?.session;
            let number = particulars.callback_number.map(Redacted::new).or(session.caller_id);
            let from = particulars.name.unwrap_or_else(|| "somebody".into());
            let promise = promise_for(db, voicemail.voicemail_id)?;
            let promise = promise.filter(|promise| promise.state != FollowUpState::Closed);
            items.push(Item { voicemail, from, number, promise });
        }
    }
    Ok(items)
}

fn counted(new: usize, saved: usize) -> String {
    let messages = |count: usize, kind: &str| match count {
        1 => format!("one {kind} message"),
        count => format!("{count} {kind} messages"),
    };
    match (new, saved) {
        (0, 0) => "You have no messages.".into(),
        (new, 0) => format!("You have {}.", messages(new, "new")),
        (0, saved) => format!("You have {}.", messages(saved, "saved")),
        (new, saved) => format!("You have {}, and {}.", messages(new, "new"), messages(saved, "saved")),
    }
}

async fn play(
    waiting: &mut Waiting,
    item: &Item,
    by: &str,
    (number, count): (usize, usize),
    mut pressed: Option<char>,
) -> Result<After, Interrupted> {
    let services = Arc::clone(&waiting.services);
    let zone = services.office.time_zone().clone();
    let at = Timestamp::from_millisecond(item.voicemail.created_at.0).unwrap_or_default().to_zoned(zone);
    let announced = format!("Message {number} of {count}, from {}, {}.", item.from, at.strftime("%A, %-I:%M %p"));
    let sound = sound(&services, &item.voicemail).await;
    if pressed.is_none() {
        pressed = say_over(waiting, &announced).await?;
    }
    let (mut is_played, mut is_taken) = (false, false);
    loop {
        // What is not pressed yet comes after the sound, or over it.
        if pressed.is_none() && !is_played {
            is_played = true;
            pressed = match &sound {
                Some(samples) => {
                    waiting.play_once(Arc::clone(samples));
                    over(waiting).await?
                }
                None => say_over(waiting, "Its sound can not be played.").await?,
            };
        }
        let key = match pressed.take() {
            Some(key) => Some(key),
            None => {
                let open = item.promise.as_ref().filter(|promise| promise.state == FollowUpState::Open);
                ask(waiting, if open.is_some() && !is_taken { MENU_OF_PROMISE } else { MENU }).await?
            }
        };
        let status = match key {
            Some('1') => {
                is_played = false;
                continue;
            }
            Some('2') => VoicemailStatus::Heard,
            Some('3') => VoicemailStatus::Archived,
            Some('4') => match callable(&services, item) {
                Some(number) => {
                    take(&services, item, by).await;
                    return Ok(After::Dial(Box::new(number)));
                }
                None => {
                    pressed = say_over(waiting, "There is no number that this phone may call.").await?;
                    continue;
                }
            },
            Some('5') if item.promise.is_some() => {
                is_taken = take(&services, item, by).await;
                pressed =
                    say_over(waiting, if is_taken { "It is yours." } else { "I am sorry, that did not work." }).await?;
                continue;
            }
            Some('#') => return Ok(After::Next(None)),
            // Whoever has put the phone beside it keeps what is new.
            None => return Err(Interrupted::Ended(End::FEATURE)),
            Some(_) => continue,
        };
        set(&services, item, status).await;
        let done = if status == VoicemailStatus::Heard { "Kept." } else { "Deleted." };
        return say_over(waiting, done).await.map(After::Next);
    }
}

/// What becomes of it; every phone's lamp is told.
async fn set(services: &Services, item: &Item, status: VoicemailStatus) {
    let id = item.voicemail.voicemail_id;
    let set = services.storage.write(move |sql_tx| set_voicemail_status(sql_tx, id, status, UnixMs::now())).await;
    match set {
        Ok(()) => services.bell.ring(),
        Err(error) => warn!(%error, "A message stays as it was"),
    }
}

/// Whoever is at the phone takes care of it, and of what was promised because of it. Whether that is kept.
async fn take(services: &Services, item: &Item, by: &str) -> bool {
    let office = services.staff.office();
    let by = office.person_at(by).map_or_else(|| format!("extension {by}"), |person| person.name.clone());
    let (id, promise) = (item.voicemail.voicemail_id, item.promise.as_ref().map(|promise| promise.follow_up_id));
    let taken = services.storage.write(move |sql_tx| {
        let now = UnixMs::now();
        if let Some(promise) = promise {
            acknowledge_follow_up(sql_tx, promise, &by, now)?;
        }
        set_voicemail_status(sql_tx, id, VoicemailStatus::Heard, now)
    });
    match taken.await {
        Ok(()) => services.bell.ring(),
        Err(error) => {
            warn!(%error, "A message is not taken");
            return false;
        }
    }
    true
}

/// Its number, if phones of the office may call it.
fn callable(services: &Services, item: &Item) -> Option<Outside> {
    match from_phone(&services.config, item.number.as_ref()?.reveal(), services.is_open()) {
        Decision::Outside { .. } if services.minutes_are_used_up() => None,
        Decision::Outside { number } => Some(Outside { number, ..Outside::default() }),
        Decision::Inside(_) | Decision::Emergency { .. } | Decision::Feature(_) | Decision::Denied(_) => None,
    }
}

/// Has whoever is at the phone talk with that number.
pub(super) async fn call_back(mut waiting: Waiting, number: Outside) -> Result<(), End> {
    match follow(&mut waiting, Course::Outside(number)).await {
        Ok(Step::Connected { party, places }) => {
            Box::pin(connect(waiting, *party, places)).await;
            return Ok(());
        }
        Ok(_) => {
            let busy = Arc::clone(&waiting.services.tones.busy);
            waiting.finish_with(busy, End::NO_ANSWER, "feature").await;
        }
        Err(Interrupted::Ended(end)) => waiting.finish(end, "feature").await,
        Err(Interrupted::Pressed(_)) => waiting.finish(End::FEATURE, "feature").await,
    }
    Ok(())
}

/// The sound of a message, if it can be read.
pub(super) async fn sound(services: &Services, voicemail: &Voicemail) -> Option<Samples> {
    let id = voicemail.recording_id?;
    let recording = services.storage.read(move |db| find_recording(db, id)).await.ok()??;
    let files = services.audio_files.clone();
    let read = tokio::task::spawn_blocking(move || -> anyhow::Result<Samples> {
        let mut pieces = Pieces::new(BufReader::new(files.read_wav(&recording)?))?;
        Ok(pieces.next_piece(PLAYED_MAX_SAMPLES)?.into())
    });
    match read.await {
        Ok(Ok(samples)) => Some(samples),
        Ok(Err(error)) => {
            warn!(%error, "A message cannot be played");
            None
        }
        Err(_) => None,
    }
}

/// Says it to its end, or until a key is pressed, which has no meaning any more.
async fn say(waiting: &mut Waiting, text: &str) -> Result<(), Interrupted> {
    say_over(waiting, text).await.map(drop)
}

/// Says it to its end, or until a key is pressed: that one. Without a voice a tone has to do.
async fn say_over(waiting: &mut Waiting, text: &str) -> Result<Option<char>, Interrupted> {
    match waiting.services.abilities.text_to_speech {
        true => waiting.say(text).await,
        false => waiting.play_once(beep(SPEECH_SAMPLE_RATE).into()),
    }
    over(waiting).await
}

/// Until what is played is over, or a key is pressed.
async fn over(waiting: &mut Waiting) -> Result<Option<char>, Interrupted> {
    match waiting.until_said().await {
        Ok(()) => Ok(None),
        Err(Interrupted::Pressed(key)) => {
            waiting.be_quiet();
            Ok(Some(key))
        }
        Err(ended) => Err(ended),
    }
}

/// Asks until a key is pressed; `None` if none is.
async fn ask(waiting: &mut Waiting, text: &str) -> Result<Option<char>, Interrupted> {
    for _ in 0..ASKED_LIMIT {
        if let Some(key) = say_over(waiting, text).await? {
            return Ok(Some(key));
        }
        if let Some(key) = next_key(waiting).await? {
            return Ok(Some(key));
        }
    }
    Ok(None)
}

/// The next key, if it comes soon.
async fn next_key(waiting: &mut Waiting) -> Result<Option<char>, Interrupted> {
    let mut watch = tokio::time::interval(WATCH_INTERVAL);
    let deadline = tokio::time::Instant::now() + KEY_LIMIT;
    loop {
        match tokio::time::timeout_at(deadline, waiting.next(&mut watch)).await {
            Ok(Some(Interrupted::Pressed(key))) => return Ok(Some(key)),
            Ok(Some(ended)) => return Err(ended),
            Ok(None) => {}
            Err(_) => return Ok(None),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_counted_in_words() {
        for (new, saved, expected) in [
            (0, 0, "You have no messages."),
            (1, 0, "You have one new message."),
            (0, 2, "You have 2 saved messages."),
            (3, 1, "You have 3 new messages, and one saved message."),
        ] {
            assert_eq!(counted(new, saved), expected);
        }
    }
}
