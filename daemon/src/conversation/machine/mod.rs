//! The turn machine: whose turn it is, what is said when, and never silence.
//!
//! ```text
//!           Answered               Paused, Transcribe, Think         Ended and a reply
//!  Ringing ─────────► Talking: listen ────────────────────► think ─────────────────────► speak ──► listen …
//!                        │  ▲                                  │ 1 s: filler, 4 s: fallback   │
//!                        ▼  │ sent, failed                     └── speech again: one longer    └── speech: duck, stop,
//!                     Recording (beep … silence, #, length),              utterance                  resume after "mhm"
//!                     then its review by keys
//!
//!  … goodbye ──► speak ──► SpeechFinished ──► HangUp
//! ```
//! Drive it like this: one [`Conversation::handle`], then drain [`Conversation::poll_command`] until it is empty, then
//! wait until [`Conversation::poll_timeout`] and call [`Conversation::handle_timeout`]. Every wait in here has a timer,
//! so a shell that loses an answer costs the caller a sentence, not the call.
//!
//! Left out on purpose: how somebody is reached, and any thinking. What an utterance means and what to answer comes from the shell.

mod listen;
mod review;
mod speak;
mod timers;
mod tools;
mod types;

#[cfg(test)]
mod flows;
#[cfg(test)]
mod laws;

pub use types::{
    Command, EndClass, Ending, Failure, Heard, Input, MessageGreeting, Opening, Recorded, RecordingEnd, Settings,
    SpeechId, ToolUseId, TurnRecord, Unreached, UtteranceId,
};

use super::context::{Context, Offer};
use super::endpointing::Endpointer;
use super::escalation::{Escalation, Reason};
use super::{answer, phrases};
use crate::office::{Office, Route};
use listen::Turn;
use review::Review;
use speak::{After, Interrupted, Kind, Line, Saying};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tools::Using;

/// What the call is doing, besides talking.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Phase {
    /// Not answered yet.
    Ringing,
    /// Talking, thinking, listening.
    Talking,
    /// A message is being recorded. After `deadline` it is given up.
    Recording { deadline: Instant, stopping: bool },
    /// Ended.
    Over,
}

/// One call's conversation.
#[derive(Debug)]
pub struct Conversation {
    settings: Settings,
    office: Arc<Office>,
    context: Context,
    phase: Phase,
    answered_at: Option<Instant>,
    /// Set once the end is decided; what is then said is the last thing, and only sentences before it still sound.
    leaving: Option<Ending>,
    ending: Option<Ending>,
    /// With whom the caller is connected after what is being said.
    hand_over_to: Option<Route>,
    endpointer: Endpointer,
    last_frame_at: Option<Instant>,
    /// The utterance that is being listened to or thought about.
    turn: Option<Turn>,
    /// First frame of an utterance that ended but was gone on with before it was answered.
    extend_from: Option<u64>,
    /// What is being said.
    saying: Option<Saying>,
    /// What is said after it. Bounded by [`MAX_QUEUE`].
    queue: VecDeque<Line>,
    /// The tool that is waited for.
    using: Option<Using>,
    /// What the caller talked over, until it is known whether they meant to.
    interrupted: Option<Interrupted>,
    /// The last answer that was heard, for "repeat that".
    last_said: Vec<String>,
    /// Since when nobody has said anything.
    silent_since: Option<Instant>,
    silences: u32,
    message_taken: bool,
    /// The message that the caller may still change. While it is recorded anew, that is the earlier one.
    review: Option<Review>,
    speech_failures: u32,
    next_utterance: u32,
    next_speech: u32,
    next_tool_use: u32,
    commands: VecDeque<Command>,
}

/// Speeches waiting. More than a disclosure, a filler and an answer never make sense together.
const MAX_QUEUE: usize = 4;

impl Conversation {
    /// A conversation that waits for [`Input::Answered`].
    pub fn new(settings: Settings, office: Arc<Office>, _now: Instant) -> Self {
        Self {
            endpointer: Endpointer::new(settings.endpointing.clone()),
            context: Context { turns: settings.turns_before, caller: settings.caller.clone(), ..Context::default() },
            settings,
            office,
            phase: Phase::Ringing,
            answered_at: None,
            leaving: None,
            ending: None,
            hand_over_to: None,
            last_frame_at: None,
            turn: None,
            extend_from: None,
            saying: None,
            queue: VecDeque::new(),
            using: None,
            interrupted: None,
            last_said: Vec::new(),
            silent_since: None,
            silences: 0,
            message_taken: false,
            review: None,
            speech_failures: 0,
            next_utterance: 0,
            next_speech: 0,
            next_tool_use: 0,
            commands: VecDeque::new(),
        }
    }

    /// Takes what happened. Inputs after the end, and answers to questions that are not open any more, are ignored.
    pub fn handle(&mut self, input: Input, now: Instant) {
        match (self.phase, input) {
            (Phase::Over, _) => {}
            (Phase::Ringing, Input::Answered) => self.answered(now),
            (_, Input::PeerHungUp) => self.peer_hung_up(now),
            (_, Input::TakenOver) => self.taken_over(now),
            (Phase::Ringing, _) | (_, Input::Answered) => {}
            (_, Input::Frame { index, speech, level_dbov }) => self.frame(index, speech, level_dbov, now),
            (_, Input::Transcribed { utterance, result }) => self.transcribed(utterance, result, now),
            (_, Input::Replied { utterance, reply }) => self.replied(utterance, reply, now),
            (_, Input::ToolAnswered { tool_use, result }) => self.tool_answered(tool_use, result, now),
            (_, Input::SpeechStarted { speech, at }) => self.speech_started(speech, at),
            (_, Input::SentenceStarted { .. }) => {}
            (_, Input::SentenceFinished { speech, sentence }) => self.sentence_finished(speech, sentence),
            (_, Input::SpeechFinished { speech }) => self.speech_finished(speech, now),
            (_, Input::SpeechStopped { speech, sentences_heard, fraction }) => {
                self.speech_stopped(speech, sentences_heard, fraction, now);
            }
            (_, Input::SpeechFailed { speech, failure }) => self.speech_failed(speech, failure, now),
            (_, Input::Digit(digit)) => self.digit(digit, now),
            (Phase::Recording { .. }, Input::RecordingEnded { kept, .. }) => self.recording_ended(kept, now),
            (Phase::Talking, Input::RecordingEnded { .. }) => {}
        }
        self.pump(now);
    }

    /// What is to be done next.
    pub fn poll_command(&mut self) -> Option<Command> {
        self.commands.pop_front()
    }

    /// What the conversation has established so far.
    pub fn context(&self) -> &Context {
        &self.context
    }

    /// Why it ended, once it has: by [`Command::HangUp`] or by [`Input::PeerHungUp`].
    pub fn ending(&self) -> Option<Ending> {
        self.ending
    }

    fn push(&mut self, command: Command) {
        if self.phase != Phase::Over {
            self.commands.push_back(command);
        }
    }

    fn answered(&mut self, now: Instant) {
        self.phase = Phase::Talking;
        self.answered_at = Some(now);
        if !self.settings.text_to_speech {
            // Nothing can be said: the tone and the silence after it are what every caller understands.
            self.start_recording(now);
            return;
        }
        match self.settings.opening.clone() {
            Opening::NobodyAnswered => return self.nobody_answered(phrases::NOBODY_ANSWERED.to_owned()),
            Opening::NotReached { who, why } => return self.nobody_answered(not_reached(who.as_deref(), why)),
            Opening::MessageForCallee => return self.ask_for_message(Vec::new()),
            Opening::CallBack { who, reference } => return self.called_back(who.as_deref(), &reference),
            Opening::Message => return self.ask_for_message(vec![self.office.disclosure.clone()]),
            Opening::Greeting => {}
        }
        self.queue.push_back(Line::fixed(vec![self.office.disclosure.clone()]).uninterruptible());
        let greeting =
            if self.settings.speech_to_text { self.office.greeting.clone() } else { phrases::KEYPAD_MENU.into() };
        self.queue.push_back(Line::fixed(vec![greeting]).of(Kind::Greeting).then(After::Listen));
    }

    /// The greeting of whomever the message is for, and the tone.
    fn ask_for_message(&mut self, mut sentences: Vec<String>) {
        match self.settings.message_greeting.clone() {
            Some(MessageGreeting::Recorded) => {
                if !sentences.is_empty() {
                    self.queue.push_back(Line::fixed(sentences).uninterruptible());
                }
                let greeting = Line::recorded(Recorded::Greeting).uninterruptible();
                self.queue.push_back(greeting.then(After::Record));
            }
            Some(MessageGreeting::Text(text)) => {
                sentences.push(text);
                self.queue.push_back(Line::fixed(sentences).message());
            }
            None => {
                sentences.push(phrases::NOBODY_ANSWERED.to_owned());
                self.queue.push_back(Line::fixed(sentences).message());
            }
        }
    }

    fn nobody_answered(&mut self, sorry: String) {
        self.queue.push_back(match self.settings.speech_to_text {
            true => {
                Line::fixed(vec![sorry, phrases::OFFER_MESSAGE.into()]).offering(Offer::Message).then(After::Listen)
            }
            false => Line::fixed(vec![sorry, phrases::KEYPAD_MENU.into()]).then(After::Listen),
        });
    }

    /// The caller will be called back, and knows by what to ask for it.
    fn called_back(&mut self, who: Option<&str>, reference: &str) {
        let who = who.unwrap_or("Somebody");
        let told = format!("{who} can not talk right now, and will call you back.");
        let reference = format!("Your reference is {}.", spelled(reference));
        self.queue.push_back(match self.settings.speech_to_text {
            true => {
                let line = Line::fixed(vec![told, reference, phrases::ANYTHING_ELSE.into()]);
                line.offering(Offer::AnythingElse).then(After::Listen)
            }
            false => Line::fixed(vec![told, reference, phrases::KEYPAD_MENU.into()]).then(After::Listen),
        });
    }

    /// The caller is connected, once the sentences of `line` are out.
    fn connecting(&mut self, mut line: Line, to: Route) -> Line {
        if line.display.is_empty() {
            line.display.push(phrases::CONNECTING.into());
        }
        self.hand_over_to = Some(to);
        line.uninterruptible().then(After::HandOver)
    }

    fn hand_over(&mut self, now: Instant) {
        let to = self.hand_over_to.take().unwrap_or_default();
        self.abandon_tool(now);
        self.log_open_turns();
        self.drop_turn();
        self.push(Command::HandOver { to });
        self.finish(HANDED_OVER);
    }

    fn peer_hung_up(&mut self, now: Instant) {
        let success = Ending { cause: "caller_hangup", class: EndClass::Success };
        self.break_off(self.leaving.unwrap_or(success), now);
    }

    fn taken_over(&mut self, now: Instant) {
        self.break_off(HANDED_OVER, now);
    }

    /// Nothing more is said or heard, from outside.
    fn break_off(&mut self, ending: Ending, now: Instant) {
        self.abandon_tool(now);
        if let Phase::Recording { .. } = self.phase {
            self.push(Command::StopRecording);
        }
        self.finish(ending);
    }

    /// Ends the conversation: whatever is still to be recorded is, then nothing comes any more.
    fn finish(&mut self, ending: Ending) {
        self.log_open_turns();
        self.drop_turn();
        self.queue.clear();
        self.ending = Some(ending);
        self.phase = Phase::Over;
    }

    fn hang_up(&mut self, ending: Ending, now: Instant) {
        self.abandon_tool(now);
        self.log_open_turns();
        self.drop_turn();
        self.push(Command::HangUp(ending));
        self.finish(ending);
    }

    /// Says the last words; [`Command::HangUp`] follows when they are out.
    fn leave(&mut self, sentences: Vec<String>, ending: Ending, now: Instant) {
        self.leaving = Some(ending);
        self.abandon_tool(now);
        self.drop_turn();
        self.endpointer.reset();
        self.close_interrupted();
        self.drop_queue(now);
        if !self.settings.text_to_speech {
            self.push(Command::Beep);
            self.hang_up(ending, now);
            return;
        }
        self.say(Line::fixed(sentences).uninterruptible().then(After::HangUp), now);
    }

    fn start_recording(&mut self, now: Instant) {
        self.abandon_tool(now);
        self.drop_turn();
        self.endpointer.reset();
        self.silent_since = None;
        let deadline = now + self.settings.message_max + RECORDING_GRACE;
        self.phase = Phase::Recording { deadline, stopping: false };
        self.push(Command::Beep);
        self.push(Command::StartRecording { max: self.settings.message_max, silence: self.settings.message_silence });
    }

    fn stop_recording(&mut self, now: Instant) {
        if let Phase::Recording { stopping: false, .. } = self.phase {
            self.phase = Phase::Recording { deadline: now + RECORDING_GRACE, stopping: true };
            self.push(Command::StopRecording);
        }
    }

    fn recording_ended(&mut self, kept: Result<String, Failure>, now: Instant) {
        self.phase = Phase::Talking;
        if kept.is_err()
            && let Some(earlier) = self.review.take()
        {
            return self.earlier_message_stands(&earlier, now);
        }
        match kept {
            Ok(reference) => {
                self.message_taken = true;
                self.silences = 0;
                self.context.misses = 0;
                self.review(reference, now);
            }
            Err(Failure::Empty) => {
                let ending = if self.message_taken { MESSAGE_TAKEN } else { NO_SPEECH };
                self.leave(vec![phrases::NO_MESSAGE.into(), phrases::GOODBYE.into()], ending, now);
            }
            Err(Failure::TimedOut | Failure::Unavailable | Failure::Failed) => {
                let ending = Ending { cause: "message_failed", class: EndClass::OurError };
                self.leave(vec![phrases::MESSAGE_FAILED.into(), phrases::GOODBYE.into()], ending, now);
            }
        }
    }

    fn digit(&mut self, digit: char, now: Instant) {
        if let Phase::Recording { .. } = self.phase {
            if digit == '#' {
                self.stop_recording(now);
            }
            return;
        }
        let committed = self.leaving.is_some() || self.is_committed();
        if self.review.is_some() && !committed {
            return self.review_key(digit, now);
        }
        if committed || !matches!(digit, '0'..='9' | '*') {
            return;
        }
        self.silences = 0;
        self.silent_since = None;
        self.abandon_tool(now);
        self.context.tool = None;
        self.drop_turn();
        if self.stop_for_caller(now)
            && let Some(saying) = &mut self.saying
        {
            saying.superseded = true;
        }
        self.close_interrupted();
        self.context.turns += 1;
        let line = match digit {
            '0' => match self.escalate_by_key() {
                Some(operator) => self.connecting(Line::fixed(vec![phrases::CONNECTING.into()]), operator),
                None => Line::fixed(vec![phrases::NO_PERSON.into()]).message(),
            },
            '1' => Line::fixed(Vec::new()).message(),
            '2' => Line::fixed(answer::week(&self.office)).of(Kind::Answer).then(After::Listen),
            '9' | '*' if self.settings.speech_to_text => self.repeat_line(),
            '9' | '*' => Line::fixed(vec![phrases::KEYPAD_MENU.into()]).then(After::Listen),
            _ => Line::fixed(vec![phrases::UNKNOWN_KEY.into()]).then(After::Listen),
        };
        if self.context.turns > self.settings.max_turns { self.end_for_turns(now) } else { self.say(line, now) }
    }

    /// Who is rung for whoever has pressed the key.
    fn escalate_by_key(&mut self) -> Option<Route> {
        let to = self.settings.anybody.clone();
        let escalation = Box::new(Escalation { reason: Reason::Key, detail: None, to: to.clone() });
        self.push(Command::Escalate { turn_number: None, escalation });
        to
    }

    fn end_for_turns(&mut self, now: Instant) {
        let ending = Ending { cause: "turn_limit", class: EndClass::CallerError };
        self.leave(vec![phrases::TIME_UP.into()], ending, now);
    }
}

const MESSAGE_TAKEN: Ending = Ending { cause: "message_taken", class: EndClass::Success };
const HANDED_OVER: Ending = Ending { cause: "handed_over", class: EndClass::Success };
const NO_SPEECH: Ending = Ending { cause: "no_speech", class: EndClass::CallerError };

/// What a recorder may take beyond the longest message, or to answer a stop.
const RECORDING_GRACE: Duration = Duration::from_secs(3);

/// Why the caller talks with the box again.
fn not_reached(who: Option<&str>, why: Unreached) -> String {
    match (who, why) {
        (Some(who), Unreached::Failed) => format!("I am sorry, I could not reach {who}."),
        (Some(who), Unreached::NoAnswer) => format!("I am sorry, {who} does not answer."),
        (Some(who), Unreached::Busy) => format!("I am sorry, {who} is on the phone."),
        (Some(who), Unreached::Declined) => format!("I am sorry, {who} can not talk right now."),
        (None, Unreached::Busy) => phrases::EVERYBODY_BUSY.to_owned(),
        (None, Unreached::Failed) => phrases::NOBODY_REACHED.to_owned(),
        (None, Unreached::NoAnswer | Unreached::Declined) => phrases::NOBODY_ANSWERED.to_owned(),
    }
}

/// A reference character by character, so that a voice spells it.
fn spelled(reference: &str) -> String {
    let characters = reference.chars().filter(|c| c.is_alphanumeric()).take(12);
    characters.map(|c| c.to_uppercase().to_string()).collect::<Vec<_>>().join(" ")
}
