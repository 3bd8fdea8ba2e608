//! What comes next for a tool: a question, a read-back, its use, or the end of it.

use jiff::Zoned;

use super::built_in;
use super::choose::{Candidate, choose};
use super::fill::{Source, question};
use super::{Argument, Kind, Pending, Stage, Tool};
use crate::config::ToolScope;
use crate::conversation::answer::{Action, Reply};
use crate::conversation::context::Context;
use crate::conversation::intent::{Intent, Method, Understanding};
use crate::conversation::language::Language;
use crate::conversation::slots::{Slots, contains_words};
use crate::conversation::{phrases, words};
use crate::office::Office;

/// How often a caller is asked for the same thing.
const MAX_ASKED: u32 = 2;

/// An utterance with what was understood of it.
pub struct Asked<'a> {
    /// As transcribed.
    pub text: &'a str,
    /// What was understood.
    pub understanding: &'a Understanding,
    /// Embedding of [`Understanding::query`], if there is an embedder.
    pub vector: Option<&'a [f32]>,
    /// What was established before it.
    pub context: &'a Context,
    /// The office.
    pub office: &'a Office,
    /// The wall clock in any time zone.
    pub now: &'a Zoned,
}

/// The reply, if this is about a tool; whatever else is said is answered by [`crate::conversation::answer::reply`].
pub fn reply(asked: &Asked<'_>, candidates: &[Candidate]) -> Option<Reply> {
    if asked.understanding.language != Language::English {
        return None;
    }
    match &asked.context.tool {
        Some(pending) => asked.go_on(pending, candidates),
        None if asked.context.waits_for_tool && asked.is_never_mind() => Some(asked.never_mind()),
        None => asked.begin(candidates),
    }
}

impl Asked<'_> {
    /// The rules know better what a caller wants who wants a person, or the hours.
    fn begin(&self, candidates: &[Candidate]) -> Option<Reply> {
        match self.understanding.intent {
            Intent::Appointment | Intent::Price | Intent::Question | Intent::Details | Intent::Unknown => {}
            Intent::OpeningHours
            | Intent::Address
            | Intent::Person
            | Intent::Repeat
            | Intent::Goodbye
            | Intent::Confirm
            | Intent::Deny
            | Intent::SmallTalk
            | Intent::Complaint => return None,
            Intent::LeaveMessage if self.wants_to_speak() => return None,
            // What they want to leave may be no more than where they can be called.
            Intent::LeaveMessage => {
                let own: Vec<Candidate> =
                    candidates.iter().filter(|candidate| candidate.tool.is_built_in()).cloned().collect();
                return self.begin_one_of(&own);
            }
        }
        self.begin_one_of(candidates)
    }

    /// Whether they want to leave words of their own.
    fn wants_to_speak(&self) -> bool {
        let said = words(self.text);
        said.iter().any(|word| matches!(word.as_str(), "message" | "voicemail" | "tell" | "record"))
    }

    fn begin_one_of(&self, candidates: &[Candidate]) -> Option<Reply> {
        let tool = choose(self.understanding, self.vector, candidates)?;
        let mut pending = Pending {
            tool: tool.clone(),
            question: self.understanding.query.clone(),
            stage: Stage::Use,
            sentences: Vec::new(),
            given: Vec::new(),
        };
        self.fill(&mut pending, None);
        Some(self.next(pending, 1))
    }

    fn go_on(&self, pending: &Pending, candidates: &[Candidate]) -> Option<Reply> {
        match self.understanding.intent {
            // "Call me at …" answers what was asked for that.
            Intent::LeaveMessage if pending.tool.is_built_in() && !self.wants_to_speak() => {}
            Intent::Person | Intent::LeaveMessage | Intent::Goodbye | Intent::Repeat | Intent::Complaint => {
                return None;
            }
            Intent::Deny if self.understanding.slots.entries().is_empty() => return Some(self.never_mind()),
            Intent::Deny
            | Intent::Confirm
            | Intent::OpeningHours
            | Intent::Address
            | Intent::Price
            | Intent::Appointment
            | Intent::SmallTalk
            | Intent::Details
            | Intent::Question
            | Intent::Unknown => {}
        }
        if self.is_never_mind() {
            return Some(self.never_mind());
        }
        if !candidates.iter().any(|candidate| candidate.tool == pending.tool) {
            let is_read = pending.tool.scope == ToolScope::Read;
            return Some(self.give_up(if is_read { phrases::NOT_LOOKED_UP } else { phrases::NOT_DONE }));
        }
        if self.is_elsewhere(pending, candidates) {
            return self.begin(candidates);
        }
        let mut changed = pending.clone();
        match &pending.stage {
            Stage::Ask { argument, times } => Some(match self.fill(&mut changed, Some(argument)) {
                true => self.next(changed, 1),
                false if *times < MAX_ASKED => self.next(changed, times + 1),
                false => self.give_up(phrases::NOT_TOLD),
            }),
            Stage::Confirm { heard: true, .. } if self.understanding.intent == Intent::Confirm => {
                changed.stage = Stage::Use;
                changed.sentences.clear();
                Some(self.said(Action::UseTool, Some(changed)))
            }
            // Whoever has not heard it out is told again, and so is whoever says something else.
            Stage::Confirm { times, heard } => Some(match self.fill(&mut changed, None) || !heard {
                true => self.next(changed, 1),
                false if *times < MAX_ASKED => self.next(changed, times + 1),
                false => self.never_mind(),
            }),
            Stage::Use => None,
        }
    }

    /// Another tool, or another subject. An appointment is none: "on Tuesday at three" may be what was asked for.
    fn is_elsewhere(&self, pending: &Pending, candidates: &[Candidate]) -> bool {
        let Understanding { intent, method, .. } = *self.understanding;
        match choose(self.understanding, self.vector, candidates) {
            Some(tool) => *tool != pending.tool,
            None => {
                let is_subject = intent.is_subject() && intent != Intent::Appointment;
                (method == Method::Keyword && is_subject) || intent == Intent::SmallTalk
            }
        }
    }

    /// A day and a time may be said one after the other.
    fn slots_so_far(&self) -> Slots {
        let mut slots = self.context.slots.clone();
        slots.merge(&self.understanding.slots);
        slots
    }

    /// The question for the other half of a moment, if one was just said.
    fn other_half(&self, argument: &Argument) -> Option<&'static str> {
        let slots = self.slots_so_far();
        let is_half = argument.kind == Kind::Moment && self.understanding.slots.names_moment();
        match (slots.day.is_some(), slots.time.is_some()) {
            (true, false) if is_half => Some("At what time?"),
            (false, true) if is_half => Some("For which day?"),
            (_, _) => None,
        }
    }

    /// Takes from the utterance whatever the tool wants. Tells whether that changes anything.
    fn fill(&self, pending: &mut Pending, asked_for: Option<&str>) -> bool {
        let Asked { text, understanding, context, office, now, .. } = *self;
        let said = Source { text, slots: &understanding.slots, office, now };
        // Of earlier turns only particulars count, not words.
        let before = Source { text: "", slots: &context.slots, office, now };
        let slots = self.slots_so_far();
        let together = Source { text: "", slots: &slots, office, now };
        let mut changes = false;
        for argument in &pending.tool.wants {
            let is_first = !pending.given.iter().any(|given| given.argument == argument.name);
            let is_asked = asked_for == Some(argument.name.as_str());
            // The words that the tool was chosen by stay, unless it asks for others.
            let is_open = is_first || is_asked || argument.kind != Kind::Query;
            let is_moment = argument.kind == Kind::Moment && understanding.slots.names_moment();
            let said = if is_moment { &together } else { &said };
            let value = said.value(argument, is_asked).filter(|_| is_open);
            let value = value.or_else(|| before.value(argument, false).filter(|_| is_first && argument.required));
            let known = || built_in::known(&pending.tool, argument, context).filter(|_| is_first);
            let value = value.or_else(known);
            let Some(value) = value else { continue };
            changes |= !pending.given.contains(&value);
            pending.given.retain(|given| given.argument != value.argument);
            pending.given.push(value);
        }
        changes
    }

    /// Asks for what is missing, else reads back, else uses it. `times`: how often that is said then.
    fn next(&self, mut pending: Pending, times: u32) -> Reply {
        let is_given = |name: &str| pending.given.iter().any(|given| given.argument == name);
        let missing = pending.tool.wants.iter().find(|argument| argument.required && !is_given(&argument.name));
        let (stage, sentences, action) = match missing {
            Some(argument) => {
                let stage = Stage::Ask { argument: argument.name.clone(), times };
                let sorry = || (times > 1).then(|| phrases::NOT_TOLD.to_owned());
                let sentences = match self.other_half(argument) {
                    Some(question) => vec![question.to_owned()],
                    None => sorry().into_iter().chain([question(argument)]).collect(),
                };
                (stage, sentences, Action::Continue)
            }
            None if pending.tool.scope == ToolScope::Read => (Stage::Use, Vec::new(), Action::UseTool),
            None => (Stage::Confirm { times, heard: false }, read_back(&pending), Action::Continue),
        };
        pending.stage = stage;
        pending.sentences = sentences;
        self.said(action, Some(pending))
    }

    fn said(&self, action: Action, tool: Option<Pending>) -> Reply {
        let understood = self.understanding;
        let intent = if understood.intent == Intent::Unknown { Intent::Question } else { understood.intent };
        Reply {
            sentences: tool.as_ref().map(|pending| pending.sentences.clone()).unwrap_or_default(),
            intent,
            score: understood.score,
            slots: Box::new(understood.slots.clone()),
            sources: Vec::new(),
            action,
            connect_to: None,
            escalation: None,
            tool: tool.map(Box::new),
        }
    }

    fn never_mind(&self) -> Reply {
        let sentences = vec![phrases::NEVER_MIND.to_owned()];
        Reply { sentences, intent: Intent::Deny, ..self.said(Action::NeverMind, None) }
    }

    fn give_up(&self, why: &str) -> Reply {
        let sentences = vec![why.to_owned(), phrases::OFFER_MESSAGE.to_owned()];
        Reply { sentences, intent: Intent::Unknown, ..self.said(Action::Continue, None) }
    }

    fn is_never_mind(&self) -> bool {
        let joined = words(self.text).join(" ");
        joined.split(' ').count() <= 8 && NEVER_MIND.iter().any(|phrase| contains_words(&joined, phrase))
    }
}

/// What callers say who have thought better of it.
const NEVER_MIND: &[&str] = &[
    "never mind",
    "nevermind",
    "forget it",
    "forget about it",
    "forget that",
    "cancel that",
    "stop that",
    "don't do that",
    "do not do that",
    "leave it",
    "don't bother",
    "no need",
    "it doesn't matter",
    "doesn't matter",
    "scratch that",
];

/// What will be done, in the configuration's words and with the caller's values, and the question.
fn read_back(pending: &Pending) -> Vec<String> {
    let values: Vec<&str> = pending.given.iter().map(|given| given.said.as_str()).collect();
    let Tool { does, .. } = &pending.tool;
    let does = does.trim().trim_end_matches('.');
    let said =
        if values.is_empty() { format!("I can {does}.") } else { format!("I can {does}: {}.", values.join(", ")) };
    vec![said, phrases::SHALL_I.to_owned()]
}
