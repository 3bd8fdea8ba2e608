//! Our half of the turn: one speech at a time, what follows it, and what of it was heard.

use super::{Command, Conversation, EndClass, Ending, Failure, Phase, Recorded, SpeechId, TurnRecord};
use crate::conversation::context::Offer;
use crate::conversation::intent::Intent;
use crate::conversation::tools::{Pending, Stage};
use crate::conversation::{phrases, voiced};
use std::time::{Duration, Instant};

/// What follows when a speech has sounded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum After {
    /// The next one.
    Nothing,
    /// It is the caller's turn.
    Listen,
    /// Tone and message.
    Record,
    /// The end.
    HangUp,
    /// Somebody else goes on.
    HandOver,
}

impl After {
    /// Whether it happens even if its words could not be said.
    fn is_promised(self) -> bool {
        match self {
            After::Record | After::HangUp | After::HandOver => true,
            After::Nothing | After::Listen => false,
        }
    }
}

/// Something to say.
#[derive(Debug, Clone)]
pub(super) struct Line {
    pub(super) display: Vec<String>,
    pub(super) interruptible: bool,
    pub(super) after: After,
    /// What a "yes" to its last sentence means.
    pub(super) offer: Option<Offer>,
    /// The subject it makes the current one, once heard.
    pub(super) subject: Option<Intent>,
    /// The tool that it asks about.
    pub(super) tool: Option<Box<Pending>>,
    /// The turn it answers.
    pub(super) record: Option<Box<TurnRecord>>,
    /// What kind of words these are.
    pub(super) kind: Kind,
    /// Sentences of it that were heard before it was talked over and resumed.
    pub(super) heard_before: String,
    /// How much of the first sentence was, 0 to 1.
    pub(super) skip: f32,
}

/// What kind of words a line is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// An answer: worth repeating.
    Answer,
    /// "How can I help you?": not said to a caller who has already spoken.
    Greeting,
    /// "One moment."
    Filler,
    /// No words of ours: what was recorded.
    Recorded(Recorded),
    /// Everything else.
    Notice,
}

impl Line {
    /// Fixed words, interruptible, with nothing after them.
    pub(super) fn fixed(display: Vec<String>) -> Self {
        Self {
            display,
            interruptible: true,
            after: After::Nothing,
            offer: None,
            subject: None,
            tool: None,
            record: None,
            kind: Kind::Notice,
            heard_before: String::new(),
            skip: 0.0,
        }
    }

    pub(super) fn uninterruptible(mut self) -> Self {
        self.interruptible = false;
        self
    }

    pub(super) fn of(mut self, kind: Kind) -> Self {
        self.kind = kind;
        self
    }

    pub(super) fn then(mut self, after: After) -> Self {
        self.after = after;
        self
    }

    pub(super) fn offering(mut self, offer: Offer) -> Self {
        self.offer = Some(offer);
        self
    }

    /// Asks about a tool: a yes is a yes to it.
    pub(super) fn offering_for_tool(mut self) -> Self {
        let asks = matches!(self.tool.as_ref().map(|pending| &pending.stage), Some(Stage::Confirm { .. }));
        self.offer = asks.then_some(Offer::Tool);
        self
    }

    /// Something that was recorded.
    pub(super) fn recorded(what: Recorded) -> Self {
        Self::fixed(vec![String::new()]).of(Kind::Recorded(what))
    }

    /// Asks for a message after the words, then records it. Not interruptible: the caller would talk before the tone.
    pub(super) fn message(mut self) -> Self {
        self.display.extend([phrases::LEAVE_MESSAGE.into(), phrases::MESSAGE_END.into()]);
        self.uninterruptible().then(After::Record)
    }
}

/// What is being said.
#[derive(Debug)]
pub(super) struct Saying {
    pub(super) id: SpeechId,
    pub(super) line: Line,
    pub(super) issued_at: Instant,
    pub(super) first_sound_at: Option<Instant>,
    pub(super) sentences_finished: usize,
    pub(super) ducked: bool,
    /// Since when `StopSpeaking` has been waiting for its answer.
    pub(super) stopping_since: Option<Instant>,
    /// Whether it will not be resumed: a key was pressed.
    pub(super) superseded: bool,
}

impl Saying {
    /// When it must have sounded: slow speech is about 10 characters a second, and what is recorded no longer than `message_max`.
    pub(super) fn overdue_at(&self, message_max: Duration) -> Option<Instant> {
        let characters: usize = self.line.display.iter().map(|s| s.chars().count()).sum();
        let longest = Duration::from_millis(150) * u32::try_from(characters).unwrap_or(u32::MAX).min(2_000);
        let is_recorded = matches!(self.line.kind, Kind::Recorded(_));
        let longest = if is_recorded { message_max } else { longest };
        Some(self.first_sound_at? + longest + Duration::from_secs(5))
    }
}

/// What the caller talked over.
#[derive(Debug)]
pub(super) struct Interrupted {
    /// The line with only the sentences that were not heard to their end.
    pub(super) rest: Line,
    /// What of the whole line was heard.
    pub(super) heard: String,
    pub(super) at: Instant,
}

impl Conversation {
    /// Says it now, or after what is being said. Later words replace a greeting nobody waits for any more.
    pub(super) fn say(&mut self, line: Line, now: Instant) {
        self.silent_since = None;
        self.queue.retain(|waiting| waiting.kind != Kind::Greeting);
        if self.queue.len() < super::MAX_QUEUE {
            if self.saying.is_some() && !matches!(line.kind, Kind::Recorded(_)) {
                self.push(Command::Prepare { sentences: spoken(&line.display) });
            }
            self.queue.push_back(line);
        } else {
            self.log_record(line.record, String::new(), now);
        }
        self.pump(now);
    }

    /// Starts the next speech when none is running.
    pub(super) fn pump(&mut self, now: Instant) {
        if self.saying.is_some() || self.phase != Phase::Talking {
            return;
        }
        if self.queue.front().is_none_or(|line| self.must_wait(line)) {
            return self.note_silence(now);
        }
        let Some(mut line) = self.queue.pop_front() else { return };
        let id = SpeechId(self.next_speech);
        self.next_speech = self.next_speech.wrapping_add(1);
        if let Some(record) = &mut line.record {
            record.spoken_at = record.spoken_at.or(Some(now));
        }
        let command = Self::command_for(&line, id);
        self.silent_since = None;
        self.saying = Some(Saying {
            id,
            line,
            issued_at: now,
            first_sound_at: None,
            sentences_finished: 0,
            ducked: false,
            stopping_since: None,
            superseded: false,
        });
        self.push(command);
    }

    /// Nobody is talked over: who has the floor keeps it.
    fn must_wait(&self, line: &Line) -> bool {
        let thinking = self.turn.as_ref().is_some_and(|turn| turn.ended.is_some());
        line.interruptible && (self.endpointer.is_confirmed() || (thinking && line.kind == Kind::Greeting))
    }

    /// Invariant: when nobody speaks and nothing is thought about, the clock of the silence runs.
    fn note_silence(&mut self, now: Instant) {
        if self.queue.is_empty() && self.turn.is_none() && self.using.is_none() {
            self.silent_since = self.silent_since.or(Some(now));
        }
    }

    /// Whether what is being said, or waits, ends in something that the caller does not talk into.
    pub(super) fn is_committed(&self) -> bool {
        let saying = self.saying.as_ref().map(|s| &s.line);
        let ends = |line: &Line| matches!(line.after, After::Record | After::HandOver);
        saying.into_iter().chain(&self.queue).any(ends)
    }

    /// The last answer again.
    pub(super) fn repeat_line(&self) -> Line {
        let display =
            if self.last_said.is_empty() { vec![self.office.greeting.clone()] } else { self.last_said.clone() };
        let mut line = Line::fixed(display).of(Kind::Answer).then(After::Listen);
        line.tool = self.context.tool.clone();
        line
    }

    pub(super) fn duck(&mut self) {
        let Some(saying) = &mut self.saying else { return };
        let audible = saying.first_sound_at.is_some() && saying.stopping_since.is_none();
        if audible && saying.line.interruptible && !saying.ducked {
            saying.ducked = true;
            self.push(Command::Duck);
        }
    }

    /// Somebody most likely speaks: silence, until it is known.
    pub(super) fn hold(&mut self) {
        self.duck();
        if self.saying.as_ref().is_some_and(|saying| saying.ducked && saying.stopping_since.is_none()) {
            self.push(Command::Hold);
        }
    }

    pub(super) fn unduck(&mut self) {
        let Some(saying) = &mut self.saying else { return };
        if std::mem::take(&mut saying.ducked) && saying.stopping_since.is_none() {
            self.push(Command::Unduck);
        }
    }

    /// The caller has the floor: falls silent if that is allowed. Tells whether something was cut.
    pub(super) fn stop_for_caller(&mut self, now: Instant) -> bool {
        let Some(saying) = &mut self.saying else { return false };
        if !saying.line.interruptible || saying.stopping_since.is_some() {
            return false;
        }
        saying.stopping_since = Some(now);
        let speech = saying.id;
        self.push(Command::StopSpeaking { speech });
        true
    }

    fn current(&mut self, speech: SpeechId) -> Option<&mut Saying> {
        self.saying.as_mut().filter(|saying| saying.id == speech)
    }

    pub(super) fn speech_started(&mut self, speech: SpeechId, at: Instant) {
        let Some(saying) = self.current(speech) else { return };
        saying.first_sound_at = saying.first_sound_at.or(Some(at));
        if let Some(record) = &mut saying.line.record {
            record.first_sound_at = record.first_sound_at.or(Some(at));
        }
        // A filler is the first sound of the turn it fills.
        if saying.line.kind == Kind::Filler {
            if let Some(turn) = &mut self.turn {
                turn.first_sound_at = turn.first_sound_at.or(Some(at));
            }
            if let Some(using) = &mut self.using {
                using.record.first_sound_at = using.record.first_sound_at.or(Some(at));
            }
            // The answer came before its filler sounded, and waits behind it.
            if let Some(record) = self.queue.front_mut().and_then(|line| line.record.as_mut())
                && record.filler
            {
                record.first_sound_at = record.first_sound_at.or(Some(at));
            }
        }
        if self.endpointer.is_open() && !self.endpointer.is_confirmed() {
            self.duck();
        }
    }

    pub(super) fn sentence_finished(&mut self, speech: SpeechId, sentence: usize) {
        if let Some(saying) = self.current(speech) {
            let finished = sentence.saturating_add(1).min(saying.line.display.len());
            saying.sentences_finished = saying.sentences_finished.max(finished);
        }
    }

    pub(super) fn speech_finished(&mut self, speech: SpeechId, now: Instant) {
        if self.current(speech).is_none() {
            return;
        }
        let Some(saying) = self.saying.take() else { return };
        self.speech_failures = 0;
        let mut line = saying.line;
        let heard = line.display.join(" ");
        self.context.commit_heard(&heard);
        let heard = joined(&line.heard_before, &heard);
        if line.kind != Kind::Filler {
            self.context.offer = line.offer;
            self.context.tool = line.tool.take().map(|tool| Box::new(tool.with_heard(true)));
        }
        self.commit_subject(&line);
        if line.kind == Kind::Answer && line.heard_before.is_empty() {
            self.last_said = line.display.clone();
        }
        if let Some(record) = line.record.take() {
            self.log_turn(record, heard, false, now);
        }
        self.follow(line.after, now);
    }

    /// What comes after a speech that is out.
    fn follow(&mut self, after: After, now: Instant) {
        match after {
            After::HangUp => {
                let unknown = Ending { cause: "caller_goodbye", class: EndClass::Success };
                let ending = self.leaving.unwrap_or(unknown);
                if !self.ask_for_rating(ending, now) {
                    self.hang_up(ending, now);
                }
            }
            After::Record => self.start_recording(now),
            After::HandOver => self.hand_over(now),
            After::Nothing | After::Listen => self.listen_again(now),
        }
    }

    /// The clock of the caller's silence starts when nothing more is to be said or thought about.
    pub(super) fn listen_again(&mut self, now: Instant) {
        let thinking = self.turn.as_ref().is_some_and(|turn| turn.ended.is_some());
        if self.saying.is_none() && self.queue.is_empty() && !thinking && self.using.is_none() {
            self.silent_since = Some(now);
        }
    }

    pub(super) fn speech_stopped(&mut self, speech: SpeechId, sentences: usize, fraction: f32, now: Instant) {
        if self.current(speech).is_none() {
            return;
        }
        let Some(saying) = self.saying.take() else { return };
        let line = saying.line;
        let sentences = sentences.max(saying.sentences_finished).min(line.display.len());
        let heard = heard_part(&line.display, sentences, fraction);
        self.context.commit_heard(&heard);
        if !heard.is_empty() {
            self.commit_subject(&line);
            self.context.offer = None;
            // What was not heard out is no reason to act, but it may be answered.
            self.context.tool = line.tool.clone().map(|tool| Box::new(tool.with_heard(false)));
        }
        if line.kind == Kind::Answer && !heard.is_empty() {
            self.last_said = line.display.clone();
        }
        let heard_before = joined(&line.heard_before, &line.display[..sentences].join(" "));
        let heard = joined(&line.heard_before, &heard);
        if line.after.is_promised() {
            // Not interruptible, so the voice gave up by itself: what was promised still happens.
            self.log_record(line.record, heard, now);
            self.follow(line.after, now);
            return;
        }
        if saying.superseded {
            self.log_record(line.record, heard, now);
            return self.listen_again(now);
        }
        self.close_interrupted();
        // Behind a filler the answer itself waits: that is what would be resumed.
        let waiting = if line.kind == Kind::Filler { self.queue.pop_front() } else { None };
        let (rest, heard) = match waiting {
            Some(answer) => (answer, String::new()),
            None => (Line { display: line.display[sentences..].to_vec(), heard_before, skip: fraction, ..line }, heard),
        };
        self.interrupted = Some(Interrupted { rest, heard, at: now });
        self.settle(now);
        self.listen_again(now);
    }

    /// Goes on with what was talked over by mistake, from the word that was cut.
    pub(super) fn resume(&mut self, now: Instant) {
        let Some(Interrupted { rest, .. }) = self.interrupted.take() else { return self.listen_again(now) };
        if rest.display.is_empty() { self.listen_again(now) } else { self.say(rest, now) }
    }

    pub(super) fn speech_failed(&mut self, speech: SpeechId, failure: Failure, now: Instant) {
        if self.current(speech).is_none() {
            return;
        }
        let Some(saying) = self.saying.take() else { return };
        if self.is_being_rated() {
            return self.end_unrated(now);
        }
        let mut line = saying.line;
        if let Kind::Recorded(what) = line.kind {
            return self.not_played(what, now);
        }
        self.speech_failures += 1;
        if let Some(record) = &mut line.record {
            record.failure = Some(failure.name());
        }
        let broken = self.speech_failures >= 2;
        match line.after {
            After::HangUp | After::Record | After::HandOver => {
                self.log_record(line.record, String::new(), now);
                self.follow(line.after, now);
            }
            After::Nothing | After::Listen if broken => {
                // The voice is broken: the tone and a message are left.
                self.log_record(line.record, String::new(), now);
                self.drop_queue(now);
                self.settings.text_to_speech = false;
                match self.review.take() {
                    Some(_) => self.leave(Vec::new(), super::MESSAGE_TAKEN, now),
                    None => self.start_recording(now),
                }
            }
            After::Nothing | After::Listen => self.queue.push_front(line),
        }
    }

    fn commit_subject(&mut self, line: &Line) {
        if let Some(subject) = line.subject {
            self.context.subject = Some(subject);
        }
    }

    fn log_record(&mut self, record: Option<Box<TurnRecord>>, heard: String, now: Instant) {
        if let Some(record) = record {
            self.log_turn(record, heard, true, now);
        }
    }

    pub(super) fn log_turn(&mut self, mut record: Box<TurnRecord>, heard: String, interrupted: bool, at: Instant) {
        record.heard = heard;
        record.interrupted = interrupted;
        record.finished_at = Some(at);
        self.push(Command::LogTurn(record));
    }

    /// The interruption was meant: the turn that was cut is complete.
    pub(super) fn close_interrupted(&mut self) {
        let Some(Interrupted { rest, heard, at }) = self.interrupted.take() else { return };
        if let Some(record) = rest.record {
            self.log_turn(record, heard, true, at);
        }
    }

    /// Forgets what was to be said; the turns it answered are recorded as unheard.
    pub(super) fn drop_queue(&mut self, now: Instant) {
        let waiting: Vec<Line> = self.queue.drain(..).collect();
        for line in waiting {
            self.log_record(line.record, String::new(), now);
        }
    }

    /// Everything that will not be finished is recorded as it stands.
    pub(super) fn log_open_turns(&mut self) {
        self.close_interrupted();
        let saying = self.saying.take();
        let waiting: Vec<Line> = self.queue.drain(..).collect();
        if let Some(Saying { line, sentences_finished, issued_at, first_sound_at, .. }) = saying
            && let Some(record) = line.record
        {
            let heard = heard_part(&line.display, sentences_finished, 0.0);
            self.log_turn(record, heard, true, first_sound_at.unwrap_or(issued_at));
        }
        for record in waiting.into_iter().filter_map(|line| line.record) {
            let at = record.endpoint_at;
            self.log_turn(record, String::new(), true, at);
        }
    }
}

fn joined(before: &str, after: &str) -> String {
    if before.is_empty() || after.is_empty() { format!("{before}{after}") } else { format!("{before} {after}") }
}

pub(super) fn spoken(display: &[String]) -> Vec<String> {
    display.iter().map(|sentence| voiced(sentence)).collect()
}

/// The first `sentences` and the words of the next that fit into `fraction` of it.
fn heard_part(display: &[String], sentences: usize, fraction: f32) -> String {
    let mut heard = display[..sentences.min(display.len())].join(" ");
    let Some(cut) = display.get(sentences) else { return heard };
    let words: Vec<&str> = cut.split_whitespace().collect();
    let count = (words.len() as f32 * fraction.clamp(0.0, 1.0)) as usize;
    if count > 0 {
        heard.push_str(if heard.is_empty() { "" } else { " " });
        heard.push_str(&words[..count.min(words.len())].join(" "));
        heard.push('…');
    }
    heard
}
