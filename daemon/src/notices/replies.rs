//! What text messages to the office do: who answers one of its notices takes a promise, and STOP is respected.
//!
//! ```text
//! OK 0417      the promise with this reference is theirs      STOP     no more text messages
//! DONE 0417    it is kept                                     START    text messages again
//! ```
//! Only people of the office and the numbers that notices go to may do anything with promises. Each text is kept, once
//! however often the service tells of it.

use rusqlite::Connection;

use crate::config;
use crate::office::Office;
use crate::redact::Redacted;
use crate::storage::{
    ClosedReason, FollowUp, FollowUpState, ReceivedText, StorageError, TextEffect, UnixMs, acknowledge_follow_up,
    close_follow_up, insert_received_text, is_text_known, open_promise_called, resume_sms, stop_sms,
};

/// Words that stop text messages, and that resume them, as the service itself knows them.
const STOP: [&str; 8] = ["STOP", "STOPALL", "UNSUBSCRIBE", "CANCEL", "END", "QUIT", "REVOKE", "OPTOUT"];
const START: [&str; 3] = ["START", "YES", "UNSTOP"];
/// Words of whoever has kept a promise.
const DONE: [&str; 4] = ["DONE", "CALLED", "CLOSED", "KEPT"];

/// A text message as the service tells of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Text {
    /// What the service calls it.
    pub reference: String,
    /// Their number.
    pub sender: Redacted<String>,
    /// Their words.
    pub body: Redacted<String>,
}

/// Does what a text wants, and what is answered to it; nothing for one that was told of before.
///
/// # Errors
/// [`StorageError::Sql`].
pub fn follow(
    sql_tx: &Connection,
    text: &Text,
    (office, config): (&Office, &config::Sms),
    at: UnixMs,
) -> Result<Option<String>, StorageError> {
    if is_text_known(sql_tx, &text.reference)? {
        return Ok(None);
    }
    let words: Vec<String> = text.body.reveal().split_whitespace().take(20).map(str::to_uppercase).collect();
    let sender = text.sender.reveal();
    let is_one_of = |list: &[&str]| words.len() == 1 && list.contains(&words[0].as_str());
    let (effect, answer) = if is_one_of(&STOP) {
        stop_sms(sql_tx, sender, at)?;
        (Some(TextEffect::Stopped), None)
    } else if is_one_of(&START) {
        resume_sms(sql_tx, sender, at)?;
        (Some(TextEffect::Resumed), None)
    } else if let Some(by) = member(office, config, sender) {
        let (effect, answer) = promise(sql_tx, &words, &by, at)?;
        (Some(effect), Some(answer))
    } else {
        (None, None)
    };
    let (reference, sender, body) = (text.reference.clone(), text.sender.clone(), text.body.clone());
    insert_received_text(sql_tx, &ReceivedText { reference, sender, body, effect, created_at: at })?;
    Ok(answer)
}

/// Who of the office that is: their name, or the number that notices go to.
fn member(office: &Office, config: &config::Sms, sender: &str) -> Option<String> {
    let person = office.people.iter().find(|person| person.mobile.as_ref().is_some_and(|one| one.reveal() == sender));
    let number = || config.to.iter().find(|to| *to == sender).cloned();
    person.map(|person| person.name.clone()).or_else(number)
}

fn promise(sql_tx: &Connection, words: &[String], by: &str, at: UnixMs) -> Result<(TextEffect, String), StorageError> {
    let is_reference = |word: &&String| word.len() == 4 && word.bytes().all(|byte| byte.is_ascii_digit());
    let Some(reference) = words.iter().map(|word| trimmed(word)).find(|word| is_reference(&word)) else {
        return Ok((TextEffect::NotFound, "Please name the reference, as in OK 0417 or DONE 0417.".into()));
    };
    let Some(FollowUp { follow_up_id, state, acknowledged_by, .. }) = open_promise_called(sql_tx, &reference)? else {
        return Ok((TextEffect::NotFound, format!("No promise with the reference {reference} is open.")));
    };
    if words.iter().any(|word| DONE.contains(&trimmed(word).as_str())) {
        close_follow_up(sql_tx, follow_up_id, ClosedReason::Done, at)?;
        return Ok((TextEffect::Closed, format!("Thank you. {reference} is done.")));
    }
    acknowledge_follow_up(sql_tx, follow_up_id, by, at)?;
    let before = acknowledged_by.filter(|before| state == FollowUpState::Acknowledged && before != by);
    let before = before.map_or_else(String::new, |before| format!(" {before} had it before."));
    Ok((TextEffect::Acknowledged, format!("{reference} is yours.{before} Answer DONE {reference} when it is kept.")))
}

/// Without what stands around a word in a sentence.
fn trimmed(word: &str) -> String {
    word.trim_matches(|c: char| !c.is_alphanumeric()).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::{
        FollowUpChannel, FollowUpId, Storage, StorageConfig, find_contact, find_follow_up, insert_follow_up,
        list_received_texts,
    };

    fn promise() -> FollowUp {
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
            due_at: UnixMs(100),
            due_text: None,
            state: FollowUpState::Open,
            reminded_at: None,
            escalated_at: None,
            acknowledged_by: None,
            closed_reason: None,
            created_at: UnixMs(1),
        }
    }

    /// One after the other, as they come in.
    #[test]
    fn people_of_the_office_take_and_keep_promises_and_nobody_else_does() {
        let folder = tempfile::tempdir().unwrap();
        let storage = Storage::open(&StorageConfig::new(folder.path())).unwrap().storage;
        let mut office = crate::office::sample::office().unwrap();
        office.people[0].mobile = Some(Redacted::new("+12125550142".into()));
        let (lopez, name) = ("+12125550142", office.people[0].name.clone());
        let config = config::Sms { to: vec!["+12125550143".into()], ..config::Sms::default() };
        let promise = promise();
        let id = promise.follow_up_id;
        storage
            .write_blocking(move |db| {
                insert_follow_up(db, &promise)?;
                let mut count = 0;
                let mut send = |sender: &str, body: &str| {
                    count += 1;
                    let text = Text {
                        reference: format!("SM{count}"),
                        sender: Redacted::new(sender.into()),
                        body: Redacted::new(body.into()),
                    };
                    let answer = follow(db, &text, (&office, &config), UnixMs(10))?;
                    assert_eq!(follow(db, &text, (&office, &config), UnixMs(11))?, None, "told of twice");
                    Ok::<_, StorageError>(answer.unwrap_or_default())
                };
                let state =
                    || Ok::<_, StorageError>(find_follow_up(db, id)?.map(|one| (one.state, one.acknowledged_by)));
                assert_eq!(send("+15550000", "ok 0417")?, "", "a stranger");
                assert_eq!(state()?, Some((FollowUpState::Open, None)));
                assert!(send(lopez, "I'll do it")?.contains("reference"));
                assert!(send(lopez, "OK 9999")?.contains("No promise"));
                assert_eq!(send(lopez, "ok, 0417.")?, "0417 is yours. Answer DONE 0417 when it is kept.");
                assert_eq!(state()?, Some((FollowUpState::Acknowledged, Some(name.clone()))));
                let taken_over = send("+12125550143", "OK 0417")?;
                assert!(taken_over.contains(&format!("{name} had it before")), "{taken_over}");
                assert_eq!(send(lopez, "done 0417")?, "Thank you. 0417 is done.");
                assert_eq!(state()?.map(|(state, _)| state), Some(FollowUpState::Closed));
                let stopped = |db| Ok::<_, StorageError>(find_contact(db, lopez)?.and_then(|one| one.sms_stopped_at));
                send(lopez, "Stop")?;
                assert_eq!(stopped(db)?, Some(UnixMs(10)));
                send(lopez, "please don't stop")?;
                assert_eq!(stopped(db)?, Some(UnixMs(10)), "not START, and not STOP either");
                send(lopez, "start")?;
                assert_eq!(stopped(db)?, None);
                let effects: Vec<_> = list_received_texts(db, 20)?.iter().rev().map(|text| text.effect).collect();
                use TextEffect::{Acknowledged, Closed, NotFound, Resumed, Stopped};
                let expected = [
                    None,
                    Some(NotFound),
                    Some(NotFound),
                    Some(Acknowledged),
                    Some(Acknowledged),
                    Some(Closed),
                    Some(Stopped),
                    Some(NotFound),
                    Some(Resumed),
                ];
                assert_eq!(effects, expected);
                Ok(())
            })
            .unwrap();
    }
}
