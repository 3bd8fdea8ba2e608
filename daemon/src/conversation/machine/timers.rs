//! Every wait of the conversation and what happens when it is over.

use super::rating::RATING_WITHIN;
use super::review::KEY_WITHIN;
use super::speak::{After, Kind, Line};
use super::{Command, Conversation, EndClass, Ending, Failure, Phase};
use crate::conversation::context::Offer;
use crate::conversation::phrases;
use std::time::{Duration, Instant};

/// For [`Command::StopSpeaking`] to be answered.
const STOP_WITHIN: Duration = Duration::from_millis(500);
/// Without frames for this long, an open utterance is over: the network went quiet in the middle of it.
const FRAMES_WITHIN: Duration = Duration::from_secs(1);
/// More timers than can be due at one instant; a loop that needs more is a bug and waits for the next call.
const MAX_DUE: usize = 32;

/// What is waited for. At the same moment the first of these goes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Timer {
    Call,
    Recording,
    Stop,
    Sound,
    Speech,
    Frames,
    Fallback,
    Filler,
    Tool,
    ToolFiller,
    Silence,
}

impl Timer {
    fn name(self) -> &'static str {
        match self {
            Timer::Call => "call",
            Timer::Recording => "recording",
            Timer::Stop => "stop",
            Timer::Sound => "sound",
            Timer::Speech => "speech",
            Timer::Frames => "frames",
            Timer::Fallback => "fallback",
            Timer::Filler => "filler",
            Timer::Tool => "tool",
            Timer::ToolFiller => "tool_filler",
            Timer::Silence => "silence",
        }
    }
}

impl Conversation {
    /// The next deadline and the name of its timer. `None` before the call is answered and after its end.
    pub fn poll_timeout(&self) -> Option<(Instant, &'static str)> {
        self.next_timer().map(|(at, timer)| (at, timer.name()))
    }

    fn next_timer(&self) -> Option<(Instant, Timer)> {
        if matches!(self.phase, Phase::Ringing | Phase::Over) {
            return None;
        }
        let timers = [
            (self.call_timer(), Timer::Call),
            (self.recording_timer(), Timer::Recording),
            (self.stop_timer(), Timer::Stop),
            (self.sound_timer(), Timer::Sound),
            (self.speech_timer(), Timer::Speech),
            (self.frames_timer(), Timer::Frames),
            (self.fallback_timer(), Timer::Fallback),
            (self.filler_timer(), Timer::Filler),
            (self.tool_timer(), Timer::Tool),
            (self.tool_filler_timer(), Timer::ToolFiller),
            (self.silence_timer(), Timer::Silence),
        ];
        timers.into_iter().filter_map(|(at, timer)| Some((at?, timer))).min_by_key(|(at, _)| *at)
    }

    /// Does what is due at `now`.
    pub fn handle_timeout(&mut self, now: Instant) {
        for _ in 0..MAX_DUE {
            let Some((_, timer)) = self.next_timer().filter(|(at, _)| *at <= now) else { return };
            self.fire(timer, now);
            self.pump(now);
        }
    }

    fn fire(&mut self, timer: Timer, now: Instant) {
        match timer {
            Timer::Call => self.call_over(now),
            Timer::Recording => self.recording_overdue(now),
            Timer::Stop => self.stop_overdue(now),
            Timer::Sound => self.voice_failed(now),
            Timer::Speech => self.speech_overdue(now),
            Timer::Frames => self.frames_missing(now),
            Timer::Fallback => self.fail(Failure::TimedOut, now),
            Timer::Filler => self.fill(now),
            Timer::Tool => self.tool_overdue(now),
            Timer::ToolFiller => self.fill_for_tool(now),
            Timer::Silence => self.caller_silent(now),
        }
    }

    fn call_timer(&self) -> Option<Instant> {
        self.answered_at.filter(|_| self.leaving.is_none()).map(|at| at + self.settings.max_call)
    }

    fn recording_timer(&self) -> Option<Instant> {
        match self.phase {
            Phase::Recording { deadline, .. } => Some(deadline),
            Phase::Ringing | Phase::Talking | Phase::Over => None,
        }
    }

    fn stop_timer(&self) -> Option<Instant> {
        Some(self.saying.as_ref()?.stopping_since? + STOP_WITHIN)
    }

    fn sound_timer(&self) -> Option<Instant> {
        let saying = self.saying.as_ref()?;
        let waiting = saying.first_sound_at.is_none() && saying.stopping_since.is_none();
        waiting.then_some(saying.issued_at + self.settings.sound_within)
    }

    fn speech_timer(&self) -> Option<Instant> {
        self.saying.as_ref().filter(|saying| saying.stopping_since.is_none())?.overdue_at(self.settings.message_max)
    }

    fn frames_timer(&self) -> Option<Instant> {
        self.last_frame_at.filter(|_| self.endpointer.is_open()).map(|at| at + FRAMES_WITHIN)
    }

    fn fallback_timer(&self) -> Option<Instant> {
        // While our voice is being stopped, its answer comes first; that is bounded too.
        let stopping = self.saying.as_ref().is_some_and(|saying| saying.stopping_since.is_some());
        let ended = self.turn.as_ref()?.ended.filter(|_| !stopping)?;
        Some(ended.speech_ended_at + self.settings.fallback_after)
    }

    fn filler_timer(&self) -> Option<Instant> {
        let turn = self.turn.as_ref().filter(|turn| !turn.filler)?;
        let ended = turn.ended.filter(|ended| ended.speech >= self.settings.min_speech)?;
        let idle = self.saying.is_none() && self.queue.is_empty();
        idle.then_some(ended.speech_ended_at + self.settings.filler_after)
    }

    fn silence_timer(&self) -> Option<Instant> {
        let idle = self.saying.is_none() && self.queue.is_empty() && self.turn.is_none() && !self.endpointer.is_open();
        let talking = self.phase == Phase::Talking;
        let within = match self.review.is_some() {
            _ if self.is_being_rated() => RATING_WITHIN,
            true => KEY_WITHIN,
            false => self.settings.silence,
        };
        self.silent_since.filter(|_| idle && talking).map(|at| at + within)
    }

    fn call_over(&mut self, now: Instant) {
        let ending = Ending { cause: "call_limit", class: EndClass::CallerError };
        match self.phase {
            // The message is kept, and its confirmation is the last thing said.
            Phase::Recording { .. } => {
                self.leaving = Some(ending);
                self.stop_recording(now);
            }
            Phase::Ringing | Phase::Talking | Phase::Over => {
                self.stop_for_caller(now);
                self.leave(vec![phrases::TIME_UP.into()], ending, now);
            }
        }
    }

    fn recording_overdue(&mut self, now: Instant) {
        self.push(Command::StopRecording);
        self.recording_ended(Err(Failure::TimedOut), now);
    }

    fn stop_overdue(&mut self, now: Instant) {
        if let Some(saying) = &self.saying {
            self.speech_stopped(saying.id, saying.sentences_finished, 0.0, now);
        }
    }

    fn voice_failed(&mut self, now: Instant) {
        if let Some(speech) = self.saying.as_ref().map(|saying| saying.id) {
            self.push(Command::StopSpeaking { speech });
            self.speech_failed(speech, Failure::TimedOut, now);
        }
    }

    fn speech_overdue(&mut self, now: Instant) {
        if let Some(speech) = self.saying.as_ref().map(|saying| saying.id) {
            self.push(Command::StopSpeaking { speech });
            // Nobody knows what of it was heard.
            if let Some(saying) = &mut self.saying {
                saying.line.tool = None;
            }
            self.speech_finished(speech, now);
        }
    }

    fn frames_missing(&mut self, now: Instant) {
        match self.endpointer.finish() {
            Some(event) => self.endpoint(event, now),
            None => self.last_frame_at = None,
        }
    }

    fn fill(&mut self, now: Instant) {
        if let Some(turn) = &mut self.turn {
            turn.filler = true;
            self.say(Line::fixed(vec![phrases::ONE_MOMENT.into()]).of(Kind::Filler), now);
        }
    }

    fn caller_silent(&mut self, now: Instant) {
        if self.is_being_rated() {
            return self.end_unrated(now);
        }
        if self.review.is_some() {
            return self.review_over(now);
        }
        self.silences += 1;
        self.silent_since = None;
        self.close_interrupted();
        if self.silences >= 2 && self.message_taken {
            return self.leave(vec![phrases::GOODBYE.into()], super::MESSAGE_TAKEN, now);
        }
        if self.silences >= 2 {
            let mut line = Line::fixed(vec![phrases::SILENT_OFFER.into(), phrases::MESSAGE_END.into()]);
            line = line.uninterruptible().then(After::Record);
            return self.say(line, now);
        }
        let question =
            if self.settings.speech_to_text { self.office.greeting.clone() } else { phrases::KEYPAD_MENU.into() };
        let offer = self.context.offer.filter(|offer| *offer == Offer::Message);
        let mut line = Line::fixed(vec![phrases::STILL_THERE.into(), question]).then(After::Listen);
        if let Some(pending) = self.context.tool.clone() {
            line.display.truncate(1);
            line.display.extend(pending.sentences.iter().cloned());
            line.tool = Some(pending);
            return self.say(line.offering_for_tool(), now);
        }
        if let Some(offer) = offer {
            line.display[1] = phrases::OFFER_MESSAGE.into();
            line = line.offering(offer);
        }
        self.say(line, now);
    }
}
