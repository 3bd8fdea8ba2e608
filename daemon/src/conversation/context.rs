//! What the conversation has established so far: the subject, the slots and what each side really heard.
//!
//! Only heard text is committed: an answer the caller talked over is not something they know. Left out on purpose:
//! anything about earlier calls.

use super::escalation::Caller;
use super::intent::Intent;
use super::slots::Slots;
use super::tools::Pending;
use std::collections::VecDeque;

/// Lines of talk that are kept; older ones are in the turn rows.
const MAX_LINES: usize = 40;

/// Who said a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Speaker {
    /// The caller, as transcribed.
    Caller,
    /// Us, as far as it was heard.
    Attendant,
}

/// One line of talk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// Who said it.
    pub speaker: Speaker,
    /// What was said.
    pub text: String,
}

/// Something we asked that a "yes" or "no" answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Offer {
    /// "Would you like to leave a message?"
    Message,
    /// "Is there anything else?"
    AnythingElse,
    /// "Shall I do that?" of a tool.
    Tool,
}

/// Something that was asked about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Topic {
    /// What kind of question it was.
    pub intent: Intent,
    /// Its words.
    pub question: String,
}

/// Topics that are remembered: a caller who comes back to one names it.
const MAX_TOPICS: usize = 8;

/// The state a reply may depend on.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Context {
    /// The subject of the last answer: what "and on Sundays?" is about.
    pub subject: Option<Intent>,
    /// The intent of the last turn, understood or not.
    pub last_intent: Option<Intent>,
    /// The words of the last question, to search for "what about …" together with.
    pub last_question: Option<String>,
    /// What else was asked about, latest last, to come back to. The last eight.
    pub topics: VecDeque<Topic>,
    /// Everything named so far; a newer value replaces an older one.
    pub slots: Slots,
    /// What a bare "yes" or "no" would answer.
    pub offer: Option<Offer>,
    /// The tool that was asked about last.
    pub tool: Option<Box<Pending>>,
    /// Whether the caller waits for a tool's answer.
    pub waits_for_tool: bool,
    /// Unproductive turns in a row.
    pub misses: u32,
    /// How sure the recogniser is of what is being thought about.
    pub confidence: Option<f32>,
    /// Turns in a row that were not heard well.
    pub doubts: u32,
    /// What was known of the caller before.
    pub caller: Caller,
    /// Turns answered so far.
    pub turns: u32,
    pub(super) lines: VecDeque<Line>,
}

impl Context {
    /// Commits what the caller said.
    pub fn commit_caller(&mut self, text: &str) {
        self.push(Speaker::Caller, text);
    }

    /// The caller asked `text`, understood as `intent`: what follows may be about it, now or later.
    pub fn commit_question(&mut self, intent: Intent, text: &str) {
        if !intent.is_subject() {
            return;
        }
        self.last_question = Some(text.into());
        self.topics.retain(|topic| topic.question != text || topic.intent != intent);
        if self.topics.len() == MAX_TOPICS {
            self.topics.pop_front();
        }
        self.topics.push_back(Topic { intent, question: text.into() });
    }

    /// Commits what the caller heard of us.
    pub fn commit_heard(&mut self, text: &str) {
        self.push(Speaker::Attendant, text);
    }

    /// The last lines of talk, oldest first.
    pub fn lines(&self) -> impl Iterator<Item = &Line> {
        self.lines.iter()
    }

    fn push(&mut self, speaker: Speaker, text: &str) {
        if text.is_empty() {
            return;
        }
        if self.lines.len() == MAX_LINES {
            self.lines.pop_front();
        }
        self.lines.push_back(Line { speaker, text: text.into() });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_talk_is_bounded_and_keeps_its_order() {
        let mut context = Context::default();
        for n in 0..100 {
            context.commit_caller(&format!("question {n}"));
            context.commit_heard(if n % 2 == 0 { "" } else { "answer" });
        }
        let lines: Vec<_> = context.lines().collect();
        assert_eq!(lines.len(), MAX_LINES);
        let last = Line { speaker: Speaker::Attendant, text: "answer".into() };
        assert_eq!(lines.last(), Some(&&last), "nothing heard is no line");
    }
}
