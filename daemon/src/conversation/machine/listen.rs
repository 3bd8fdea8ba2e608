//! The caller's half of the turn: from frames to a transcript to an answer.

use super::speak::{After, Kind, Line, spoken};
use super::{Command, Conversation, EndClass, Ending, Failure, Heard, Phase, TurnRecord, UtteranceId};
use crate::conversation::answer::{Action, Reply};
use crate::conversation::context::Offer;
use crate::conversation::endpointing::{EndpointEvent, Reception, Utterance, completeness};
use crate::conversation::escalation::DOUBTFUL;
use crate::conversation::intent::Intent;
use crate::conversation::sentences::open_early;
use crate::conversation::{phrases, words};
use std::ops::Range;
use std::time::{Duration, Instant};

/// An utterance that is being transcribed, perhaps while the caller may still go on.
#[derive(Debug)]
pub(super) struct Turn {
    pub(super) id: UtteranceId,
    frames: Range<u64>,
    /// Set when the caller is done.
    pub(super) ended: Option<Ended>,
    heard: Option<Heard>,
    transcribed_at: Option<Instant>,
    reply: Option<Result<Reply, Failure>>,
    replied_at: Option<Instant>,
    /// Whether "One moment." was said.
    pub(super) filler: bool,
    pub(super) first_sound_at: Option<Instant>,
}

/// How an utterance ended.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ended {
    pub(super) at: Instant,
    /// The caller's last word: `at` less the silence that was waited for.
    pub(super) speech_ended_at: Instant,
    pub(super) speech: Duration,
}

/// Frames between two partial transcripts: a second.
const PARTLY_EVERY: u64 = 50;

/// Words that only say "go on".
const BACKCHANNELS: &[&str] = &[
    "mhm",
    "m h m",
    "mm",
    "hmm",
    "hm",
    "mm-hmm",
    "mmhmm",
    "uh-huh",
    "aha",
    "ah",
    "oh",
    "ok",
    "okay",
    "yeah",
    "right",
    "i see",
    "sure",
    "mm hmm",
    "uh huh",
    "good",
    "great",
    "all right",
    "alright",
];

/// Whether a transcript only means that the caller listens.
pub(super) fn is_backchannel(text: &str) -> bool {
    let words = words(text);
    let whole = words.join(" ");
    let each = |w: &String| BACKCHANNELS.contains(&w.as_str());
    !words.is_empty() && (BACKCHANNELS.contains(&whole.as_str()) || (words.len() <= 3 && words.iter().all(each)))
}

impl Conversation {
    pub(super) fn frame(&mut self, index: u64, speech: f32, level_dbov: f32, now: Instant) {
        self.last_frame_at = Some(now);
        if self.phase != Phase::Talking || !self.settings.speech_to_text {
            return self.endpointer.skip(index);
        }
        if self.leaving.is_some() || self.is_committed() || self.review.is_some() {
            // The last words, what becomes of a message and the words before a tone are not discussed.
            self.endpointer.skip(index);
            return self.drop_turn();
        }
        match self.endpointer.handle_frame(index, speech, level_dbov) {
            Some(event) => self.endpoint(event, now),
            None => self.follow_speech(index),
        }
    }

    /// While the caller speaks on, what they have said so far.
    fn follow_speech(&mut self, index: u64) {
        let frames = self.endpointer.needs_from()..index + 1;
        let length = frames.end - frames.start;
        if self.endpointer.is_confirmed() && self.turn.is_none() && length.is_multiple_of(PARTLY_EVERY) {
            self.push(Command::TranscribePartly { frames });
        }
    }

    /// The first frame that may still be asked for.
    pub fn needs_frames_from(&self) -> u64 {
        let said = self.saying.as_ref().map(|saying| &saying.line);
        let lines = said.into_iter().chain(&self.queue).chain(self.interrupted.as_ref().map(|cut| &cut.rest));
        let waiting = self.using.as_ref().map(|using| &using.record);
        let records = lines.filter_map(|line| line.record.as_ref()).chain(waiting);
        let unanswered = records.filter(|record| record.first_sound_at.is_none()).map(|record| record.frames.start);
        let open = self.turn.as_ref().map(|turn| turn.frames.start);
        unanswered.chain(open).chain(self.extend_from).fold(self.endpointer.needs_from(), u64::min)
    }

    pub(super) fn endpoint(&mut self, event: EndpointEvent, now: Instant) {
        match event {
            EndpointEvent::SpeechStarted { .. } => self.duck(),
            EndpointEvent::SpeechLikely => self.hold(),
            EndpointEvent::FalseStart => self.unduck(),
            EndpointEvent::SpeechConfirmed => self.take_floor(now),
            EndpointEvent::Paused { frames } => self.transcribe(frames, true),
            EndpointEvent::Resumed => self.drop_turn(),
            EndpointEvent::Ended(utterance) => self.ended(utterance, now),
        }
    }

    /// The caller speaks: we stop, and an utterance that was not answered yet becomes the beginning of this one.
    fn take_floor(&mut self, now: Instant) {
        if let Some(turn) = &self.turn {
            self.extend_from = turn.ended.map(|_| turn.frames.start);
        } else if let Some(saying) = &self.saying
            && saying.line.interruptible
            && let Some(record) = &saying.line.record
            && record.first_sound_at.is_none()
        {
            self.extend_from = Some(record.frames.start);
        }
        self.drop_turn();
        self.stop_for_caller(now);
        self.unduck();
    }

    fn transcribe(&mut self, frames: Range<u64>, speculative: bool) {
        self.drop_turn();
        let longest = self.settings.endpointing.max_utterance.as_millis() as u64 / 20;
        let start = self.extend_from.filter(|start| frames.end.saturating_sub(*start) <= longest);
        let frames = start.unwrap_or(frames.start).min(frames.start)..frames.end;
        let id = UtteranceId(self.next_utterance);
        self.next_utterance = self.next_utterance.wrapping_add(1);
        self.turn = Some(Turn {
            id,
            frames: frames.clone(),
            ended: None,
            heard: None,
            transcribed_at: None,
            reply: None,
            replied_at: None,
            filler: false,
            first_sound_at: None,
        });
        self.push(Command::Transcribe { utterance: id, frames, speculative });
    }

    fn ended(&mut self, utterance: Utterance, now: Instant) {
        if self.turn.is_none() {
            self.transcribe(utterance.frames, false);
        }
        self.extend_from = None;
        let speech_ended_at = now.checked_sub(utterance.silence).unwrap_or(now);
        if let Some(turn) = &mut self.turn {
            turn.ended = Some(Ended { at: now, speech_ended_at, speech: utterance.speech });
        }
        self.settle(now);
    }

    fn open_turn(&mut self, utterance: UtteranceId) -> Option<&mut Turn> {
        self.turn.as_mut().filter(|turn| turn.id == utterance)
    }

    /// Forgets the utterance, and tells the shell that its work on it is not needed.
    pub(super) fn drop_turn(&mut self) {
        self.push_abandon();
        self.turn = None;
    }

    fn push_abandon(&mut self) {
        if let Some(utterance) = self.turn.as_ref().filter(|turn| turn.reply.is_none()).map(|turn| turn.id) {
            self.push(Command::AbandonTranscription { utterance });
        }
    }

    pub(super) fn transcribed(&mut self, utterance: UtteranceId, result: Result<Heard, Failure>, now: Instant) {
        let Some(turn) = self.open_turn(utterance).filter(|turn| turn.heard.is_none()) else { return };
        let heard = match result {
            Ok(heard) => heard,
            Err(failure) if turn.ended.is_some() => return self.fail(failure, now),
            // Only speculation failed; the end of the utterance asks again.
            Err(_) => return self.turn = None,
        };
        turn.transcribed_at = Some(now);
        turn.heard = Some(heard.clone());
        if turn.ended.is_none() {
            self.endpointer.expect(completeness(&heard.text));
        }
        let stopping = self.saying.as_ref().is_some_and(|saying| saying.stopping_since.is_some());
        let waiting = stopping || self.interrupted.is_some() || self.using.is_some();
        let listening_only = waiting && is_backchannel(&heard.text);
        if !heard.text.trim().is_empty() && !listening_only {
            let mut context = Box::new(self.context.clone());
            context.waits_for_tool = self.using.is_some();
            context.confidence = Some(heard.confidence);
            self.push(Command::Think { utterance, text: heard.text, context });
        }
        self.settle(now);
    }

    pub(super) fn replied(&mut self, utterance: UtteranceId, mut reply: Result<Reply, Failure>, now: Instant) {
        let Some(turn) = self.open_turn(utterance).filter(|turn| turn.reply.is_none() && turn.heard.is_some()) else {
            return;
        };
        if let Ok(reply) = &mut reply {
            open_early(&mut reply.sentences);
        }
        // Known before we are sure that the caller is done: the first sentence is made while we wait.
        let is_open = turn.ended.is_none();
        let known = reply.as_ref().ok().filter(|_| is_open);
        let first = known.and_then(|reply| reply.sentences.first().cloned());
        let text = turn.heard.as_ref().map_or("", |heard| &heard.text);
        let completeness = completeness(text).received(text, known.map_or(Reception::Open, Reply::reception));
        turn.reply = Some(reply);
        turn.replied_at = Some(now);
        // Once they are done, what is open may be their next sentence.
        if is_open {
            self.endpointer.expect(completeness);
        }
        if let Some(first) = first {
            self.push(Command::Prepare { sentences: spoken(&[first]) });
        }
        self.settle(now);
    }

    /// Acts on the utterance once the caller is done and everything about it is known.
    pub(super) fn settle(&mut self, now: Instant) {
        let stopping = self.saying.as_ref().is_some_and(|saying| saying.stopping_since.is_some());
        let Some(turn) = self.turn.as_ref().filter(|_| !stopping) else { return };
        let (Some(ended), Some(heard)) = (turn.ended, &turn.heard) else { return };
        if heard.text.trim().is_empty() {
            self.turn = None;
            return self.nothing_said(ended, now);
        }
        if self.interrupted.is_some() && is_backchannel(&heard.text) {
            self.turn = None;
            return self.resume(now);
        }
        if self.using.is_some() && is_backchannel(&heard.text) {
            // "Okay" while we look something up.
            return self.turn = None;
        }
        match turn.reply.clone() {
            None => {}
            Some(Ok(reply)) => self.answer(reply, now),
            Some(Err(failure)) => self.fail(failure, now),
        }
    }

    fn nothing_said(&mut self, ended: Ended, now: Instant) {
        if self.interrupted.is_some() {
            return self.resume(now);
        }
        let busy = self.saying.is_some() || !self.queue.is_empty() || self.using.is_some();
        if busy || ended.speech < self.settings.min_speech {
            return;
        }
        self.context.misses += 1;
        let line = match self.context.misses {
            misses if misses > self.settings.max_misses => Line::fixed(vec![phrases::GIVE_UP.into()]).message(),
            1 => Line::fixed(vec![phrases::NOT_CAUGHT.into()]).then(After::Listen),
            _ => {
                let sentences = vec![phrases::NOT_CAUGHT.into(), phrases::OFFER_MESSAGE.into()];
                Line::fixed(sentences).offering(Offer::Message).then(After::Listen)
            }
        };
        self.say(line, now);
    }

    /// No answer can be given: says so and offers a message; the second time in a row takes one.
    pub(super) fn fail(&mut self, failure: Failure, now: Instant) {
        if failure == Failure::TimedOut {
            self.push_abandon();
        }
        let Some(turn) = self.turn.take() else { return };
        self.close_interrupted();
        let mut record = self.record(&turn, now);
        self.silences = 0;
        self.context.turns += 1;
        self.context.misses += 1;
        record.failure = Some(failure.name());
        let mut line = Line::fixed(vec![phrases::FALLBACK.into()]);
        line = if self.context.misses >= 2 {
            line.message()
        } else {
            line.display.push(phrases::OFFER_MESSAGE.into());
            line.offering(Offer::Message).then(After::Listen)
        };
        record.answer = line.display.join(" ");
        line.record = Some(Box::new(record));
        self.say(line, now);
    }

    fn answer(&mut self, reply: Reply, now: Instant) {
        let Some(turn) = self.turn.take() else { return };
        self.close_interrupted();
        let reply = self.while_using(reply, now);
        let may_use = reply.tool.as_ref().is_some_and(|pending| self.may_use(pending, &reply));
        let mut record = self.record(&turn, now);
        record.intent = reply.intent;
        record.score = reply.score;
        record.slots = reply.slots.entries();
        record.sources = reply.sources.clone();
        let is_doubtful = record.confidence.is_some_and(|confidence| confidence < DOUBTFUL);
        self.context.doubts = if is_doubtful { self.context.doubts + 1 } else { 0 };
        self.commit(&reply, &record.text);
        if let Some(escalation) = &reply.escalation {
            let turn_number = Some(record.number);
            self.push(Command::Escalate { turn_number, escalation: escalation.clone() });
        }
        if let Some(pending) =
            reply.tool.as_ref().filter(|_| reply.action == Action::UseTool && may_use && !self.is_at_limit())
        {
            record.tool_asked_at = Some(now);
            return self.use_tool(pending, Box::new(record), now);
        }
        let mut line = self.line(&reply);
        record.answer = line.display.join(" ");
        line.record = Some(Box::new(record));
        self.say(line, now);
    }

    /// What the caller said is known to both sides from here on.
    fn commit(&mut self, reply: &Reply, text: &str) {
        self.silences = 0;
        self.context.turns += 1;
        self.context.commit_caller(text);
        self.context.slots.merge(&reply.slots);
        self.context.tool = None;
        self.context.last_intent = Some(reply.intent);
        // Of a tool, the answer decides.
        if reply.action != Action::UseTool {
            self.context.misses = if reply.is_productive() { 0 } else { self.context.misses + 1 };
        }
        for intent in reply.subjects() {
            self.context.commit_question(intent, text);
        }
    }

    fn is_at_limit(&self) -> bool {
        self.context.turns >= self.settings.max_turns
    }

    fn line(&mut self, reply: &Reply) -> Line {
        if self.is_at_limit() {
            self.leaving = Some(Ending { cause: "turn_limit", class: EndClass::CallerError });
            return Line::fixed(vec![phrases::TIME_UP.into()]).uninterruptible().then(After::HangUp);
        }
        if self.context.misses > self.settings.max_misses {
            return Line::fixed(vec![phrases::GIVE_UP.into()]).message();
        }
        let said = Line::fixed(reply.sentences.clone());
        match reply.action {
            // One that may not be used (yet) is not: the caller hears that there is no answer.
            Action::Continue | Action::NeverMind | Action::UseTool => self.continuation(reply, said),
            Action::HangUp => {
                self.leaving = Some(Ending { cause: "caller_goodbye", class: EndClass::Success });
                let goodbye = if said.display.is_empty() { Line::fixed(vec![phrases::GOODBYE.into()]) } else { said };
                goodbye.uninterruptible().then(After::HangUp)
            }
            Action::TakeMessage | Action::Person => said.message(),
            Action::Connect => match &reply.connect_to {
                Some(to) => self.connecting(said, to.clone()),
                None => said.message(),
            },
            Action::Repeat => self.repeat_line(),
        }
    }

    fn continuation(&self, reply: &Reply, mut line: Line) -> Line {
        if line.display.is_empty() {
            line.display = vec![phrases::FALLBACK.into(), phrases::OFFER_MESSAGE.into()];
        }
        line.subject = Some(reply.intent).filter(|intent| intent.is_subject());
        line.offer = match line.display.last().map(String::as_str) {
            Some(phrases::OFFER_MESSAGE) => Some(Offer::Message),
            Some(phrases::ANYTHING_ELSE) => Some(Offer::AnythingElse),
            Some(_) | None => None,
        };
        if let Some(pending) = reply.tool.as_ref().filter(|_| reply.action == Action::Continue) {
            line.tool = Some(pending.clone());
            line = line.offering_for_tool();
        }
        line.of(Kind::Answer).then(After::Listen)
    }

    fn record(&self, turn: &Turn, now: Instant) -> TurnRecord {
        let ended = turn.ended.unwrap_or(Ended { at: now, speech_ended_at: now, speech: Duration::ZERO });
        TurnRecord {
            number: self.context.turns.saturating_add(1),
            frames: turn.frames.clone(),
            text: turn.heard.as_ref().map(|heard| heard.text.clone()).unwrap_or_default(),
            confidence: turn.heard.as_ref().map(|heard| heard.confidence),
            intent: Intent::Unknown,
            score: 0.0,
            slots: Vec::new(),
            sources: Vec::new(),
            answer: String::new(),
            heard: String::new(),
            interrupted: false,
            filler: turn.filler,
            failure: None,
            speech_ended_at: ended.speech_ended_at,
            endpoint_at: ended.at,
            transcribed_at: turn.transcribed_at,
            replied_at: turn.replied_at,
            tool_asked_at: None,
            tool_answered_at: None,
            spoken_at: None,
            first_sound_at: turn.first_sound_at,
            finished_at: None,
        }
    }
}
