//! Several requests in one breath: "Are you open on Saturday, and how much is a cleaning?"
//!
//! Cut by how a new request begins, never by meaning; whether the pieces are worth answering one by one is for who answers
//! them to see ([`join`]). Left out on purpose: lists within one request ("on Saturday and Sunday").

use std::ops::ControlFlow;

use super::answer::{Action, Reply};
use super::phrases;

/// More are not answered in one turn: nobody remembers the answers.
const MAX_REQUESTS: usize = 3;
/// Shorter pieces are no request of their own.
const MIN_WORDS: usize = 3;

/// What joins two requests in one sentence.
const JOINTS: &[&str] = &["and", "and also", "and then", "also", "plus"];
/// How a request begins.
const BEGINNINGS: &[&str] = &[
    "what", "what's", "when", "where", "where's", "who", "how", "which", "do", "does", "is", "are", "can", "could",
    "will", "would", "may", "have", "i'd", "please", "tell",
];

/// The requests in `text`, in order: the whole of it, if it is one.
pub fn split(text: &str) -> Vec<&str> {
    let mut starts = vec![0];
    for (at, word) in words_with_places(text) {
        if at > 0 && begins_request(word) && (ends_sentence(&text[..at]) || joint_before(&text[..at])) {
            starts.push(at);
        }
    }
    let ends = starts.iter().skip(1).copied().chain([text.len()]);
    let pieces: Vec<&str> = starts.iter().zip(ends).map(|(start, end)| without_joint(&text[*start..end])).collect();
    let are_requests = pieces.iter().all(|piece| super::words(piece).len() >= MIN_WORDS);
    if are_requests && (2..=MAX_REQUESTS).contains(&pieces.len()) { pieces } else { vec![text] }
}

/// One reply of several: every answer in the order of the requests, and what follows the last. `None` if one of them is no
/// answer: then the words are better understood as a whole.
pub fn join(replies: Vec<Reply>) -> Option<Reply> {
    let count = replies.len();
    let joined = replies.into_iter().enumerate().try_fold(None, |joined: Option<Reply>, (index, mut reply)| {
        let is_last = index + 1 == count;
        let informs = reply.intent.is_subject() && !reply.sources.is_empty() && reply.action == Action::Continue;
        let may_follow = is_last && reply.is_productive();
        if reply.tool.is_some() || !(informs || may_follow) {
            return ControlFlow::Break(());
        }
        if !is_last {
            reply.sentences.retain(|sentence| sentence != phrases::ANYTHING_ELSE);
        }
        let Some(before) = joined else { return ControlFlow::Continue(Some(reply)) };
        reply.sentences.splice(0..0, before.sentences);
        reply.sources.splice(0..0, before.sources);
        reply.score = reply.score.min(before.score);
        let mut slots = before.slots;
        slots.merge(&reply.slots);
        reply.slots = slots;
        ControlFlow::Continue(Some(reply))
    });
    match joined {
        ControlFlow::Continue(reply) => reply,
        ControlFlow::Break(()) => None,
    }
}

fn words_with_places(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.split_whitespace().map(move |word| (word.as_ptr() as usize - text.as_ptr() as usize, word))
}

fn begins_request(word: &str) -> bool {
    let plain = word.to_lowercase().replace('’', "'");
    BEGINNINGS.contains(&plain.trim_matches(|c: char| !c.is_alphanumeric()))
}

fn ends_sentence(before: &str) -> bool {
    before.trim_end().ends_with(['?', '.', '!'])
}

fn joint_before(before: &str) -> bool {
    let words = super::words(before);
    JOINTS.iter().any(|joint| {
        let joint: Vec<&str> = joint.split(' ').collect();
        words.len() > joint.len() && words.ends_with(&joint.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>())
    })
}

/// Without what led to the next one: "…, and also".
fn without_joint(piece: &str) -> &str {
    let mut rest = piece.trim();
    loop {
        let plain = rest.trim_end_matches([',', ' ']);
        let Some((before, last)) = plain.rsplit_once(' ') else { return rest };
        if !["and", "also", "then", "plus"].contains(&last.to_lowercase().as_str()) {
            return rest;
        }
        rest = before.trim_end_matches([',', ' ']);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conversation::intent::Intent;
    use crate::conversation::slots::Slots;

    #[test]
    fn a_request_begins_where_callers_begin_one() {
        for (text, requests) in [
            (
                "Are you open on Saturday, and how much is a cleaning?",
                &["Are you open on Saturday", "how much is a cleaning?"][..],
            ),
            ("Where are you? Do you have parking there?", &["Where are you?", "Do you have parking there?"]),
            (
                "What are your hours and also is there parking and can I pay by card?",
                &["What are your hours", "is there parking", "can I pay by card?"],
            ),
            ("Do you take Aetna? Can I talk to Anna, please.", &["Do you take Aetna?", "Can I talk to Anna, please."]),
            // One request.
            ("Are you open on Saturday and Sunday?", &["Are you open on Saturday and Sunday?"]),
            ("How much is a crown and a filling?", &["How much is a crown and a filling?"]),
            ("Hello. Are you open?", &["Hello. Are you open?"]),
            ("Can you tell me what a crown is?", &["Can you tell me what a crown is?"]),
            ("And what?", &["And what?"]),
            ("", &[""]),
            // Too many to answer at once.
            (
                "Where are you now? When are you open? Do you park cars? Are you the dentist?",
                &["Where are you now? When are you open? Do you park cars? Are you the dentist?"],
            ),
        ] {
            assert_eq!(split(text), requests, "{text}");
        }
    }

    fn reply(sentences: &[&str], intent: Intent, source: Option<&str>, action: Action) -> Reply {
        Reply {
            sentences: sentences.iter().map(|&sentence| sentence.into()).collect(),
            intent,
            score: 1.0,
            slots: Box::new(Slots::default()),
            sources: source.into_iter().map(str::to_owned).collect(),
            action,
            connect_to: None,
            escalation: None,
            tool: None,
        }
    }

    #[test]
    fn answers_come_in_order_and_the_last_decides_what_follows() {
        let hours =
            || reply(&["We are open.", phrases::ANYTHING_ELSE], Intent::OpeningHours, Some("hours"), Action::Continue);
        let person = reply(&[phrases::CONNECTING], Intent::Person, None, Action::Connect);
        let unknown = || reply(&[phrases::NOT_KNOWN], Intent::Question, None, Action::Continue);
        let joined = join(vec![hours(), person.clone()]).unwrap();
        assert_eq!(joined.sentences, ["We are open.", phrases::CONNECTING]);
        assert_eq!(
            (joined.intent, joined.action, joined.sources),
            (Intent::Person, Action::Connect, vec!["hours".into()])
        );
        assert_eq!(join(vec![person, hours()]), None, "whom somebody is connected with is not told more");
        assert_eq!(join(vec![hours(), unknown()]), None);
        assert_eq!(join(vec![unknown(), hours()]), None);
    }
}
