//! The shell of a conversation in tests: scripted models and a virtual clock.

use std::ops::Range;

use super::super::*;
use crate::config::ToolScope;
use crate::conversation::answer::{Hit, reply};
use crate::conversation::context::Context;
use crate::conversation::escalation::Policy;
use crate::conversation::intent::Classifier;
use crate::conversation::tools::{self, Candidate, Phrase, Tool, ToolCall};
use crate::dial_plan::Target;
use crate::mcp::Offered;
use crate::office::{Route, sample};

/// What the caller does, one after the other.
#[derive(Clone, Copy)]
pub(super) enum Act {
    /// Speaks for so many ms; the recogniser hears these words.
    Say(&'static str, u64),
    /// Silence for so many ms.
    Wait(u64),
    /// Waits until we have nothing more to say.
    Listen,
    /// Waits until we begin to speak.
    UntilWeSpeak,
    Press(char),
    HangUp,
    /// Somebody of the office takes the caller.
    TakenOver,
}

/// How the models behave.
#[derive(Clone)]
pub(super) struct Models {
    pub(super) decode_ms: u64,
    pub(super) think_ms: u64,
    /// Transcriptions and answers that fail.
    pub(super) transcribe_fails: bool,
    /// From `Speak` to its first sound.
    pub(super) sound_ms: u64,
    /// Whether somebody can be rung for the caller.
    pub(super) has_operator: bool,
    /// Whether what was recorded cannot be read.
    pub(super) messages_unreadable: bool,
    /// How tools answer and when, in ms; `None`: there are no tools.
    pub(super) tools: Option<(u64, Result<&'static str, Failure>)>,
}

impl Default for Models {
    fn default() -> Self {
        Self {
            decode_ms: 160,
            think_ms: 20,
            transcribe_fails: false,
            sound_ms: 60,
            has_operator: false,
            messages_unreadable: false,
            tools: None,
        }
    }
}

struct Playing {
    speech: SpeechId,
    sentences: usize,
    started: Option<u64>,
    begins_ms: u64,
    sentence_ms: Vec<u64>,
}

/// A shell with scripted models and a virtual clock that ticks every 20 ms.
pub(super) struct Driver {
    pub(super) conversation: Conversation,
    models: Models,
    start: Instant,
    now_ms: u64,
    frame: u64,
    /// What was said, by frames.
    spoken: Vec<(Range<u64>, &'static str)>,
    due: Vec<(u64, Input)>,
    playing: Option<Playing>,
    recording_since: Option<u64>,
    silent_ms: u64,
    pub(super) gone: bool,
    /// Tools that were used.
    pub(super) used: Vec<ToolCall>,
    pub(super) ladder: String,
}

/// A word takes about 300 ms.
fn speaking_ms(sentence: &str) -> u64 {
    300 * sentence.split_whitespace().count() as u64
}

impl Driver {
    pub(super) fn new(mut settings: Settings, models: Models) -> Self {
        let start = Instant::now();
        if models.has_operator {
            settings.anybody = Some(Route::to(Target::Group("front".into())));
        }
        let office = Arc::new(office(models.has_operator));
        Self {
            conversation: Conversation::new(settings, office, start),
            models,
            start,
            now_ms: 0,
            frame: 0,
            spoken: Vec::new(),
            due: Vec::new(),
            playing: None,
            recording_since: None,
            silent_ms: 0,
            gone: false,
            used: Vec::new(),
            ladder: "seconds  who    what\n".into(),
        }
    }

    fn at(&self, ms: u64) -> Instant {
        self.start + Duration::from_millis(ms)
    }

    fn note(&mut self, who: &str, what: &str) {
        self.ladder.push_str(&format!("{:>7.2}  {who:<6} {what}\n", self.now_ms as f64 / 1000.0));
    }

    pub(super) fn input(&mut self, input: Input) {
        let now = self.at(self.now_ms);
        self.conversation.handle(input, now);
        self.drain();
    }

    fn drain(&mut self) {
        while let Some(command) = self.conversation.poll_command() {
            assert!(!self.gone, "{command:?} after the end");
            self.obey(command);
        }
    }

    fn obey(&mut self, command: Command) {
        let now = self.now_ms;
        match command {
            Command::Speak { speech, sentences, display, interruptible, skip } => {
                assert!(self.playing.is_none(), "two speeches at once");
                assert_eq!(sentences.len(), display.len());
                let firm = if interruptible { "" } else { " (firm)" };
                let from = if skip > 0.0 { format!("[from {:.0} %] ", skip * 100.0) } else { String::new() };
                self.note("us", &format!("{from}{}{firm}", display.join(" | ")));
                let sentence_ms = sentences.iter().map(|s| speaking_ms(s)).collect();
                let begins_ms = now + self.models.sound_ms;
                self.playing =
                    Some(Playing { speech, sentences: display.len(), started: None, begins_ms, sentence_ms });
            }
            Command::Prepare { .. } => {}
            Command::Duck => self.note("us", "~ ducked"),
            Command::Hold => self.note("us", "~ held"),
            Command::Unduck => self.note("us", "~ full voice"),
            Command::StopSpeaking { speech } => self.stop(speech),
            Command::Transcribe { utterance, frames, speculative } => {
                let words = self.spoken.iter().filter(|(at, _)| at.start < frames.end && frames.start < at.end);
                let text = words.map(|(_, text)| *text).collect::<Vec<_>>().join(" ");
                let failed = self.models.transcribe_fails;
                let result = if failed { Err(Failure::Failed) } else { Ok(Heard { text, confidence: 0.9 }) };
                self.due.push((now + self.models.decode_ms, Input::Transcribed { utterance, result }));
                let guess = if speculative { "?" } else { "" };
                self.note("", &format!("transcribe{guess} {}", utterance.0));
            }
            Command::TranscribePartly { .. } => {}
            Command::AbandonTranscription { utterance } => {
                self.note("", &format!("abandon {}", utterance.0));
                self.due.retain(|(_, input)| !matches!(input, Input::Transcribed { utterance: u, .. } | Input::Replied { utterance: u, .. } if *u == utterance));
            }
            Command::Think { utterance, text, context } => {
                let reply = Ok(think(&text, &context, &self.models));
                self.due.push((now + self.models.think_ms, Input::Replied { utterance, reply }));
            }
            Command::UseTool { tool_use, call, question, limit } => {
                let arguments = serde_json::Value::Object(call.arguments.clone());
                self.note("", &format!("use {} {arguments}", call.source()));
                self.used.push(*call);
                let (after, answer) = self.models.tools.expect("there are tools");
                let result = answer.map(|text| tools::sentences(text, &question));
                let limit_ms = limit.as_millis() as u64;
                let (after, result) =
                    if after < limit_ms { (after, result) } else { (limit_ms, Err(Failure::TimedOut)) };
                self.due.push((now + after, Input::ToolAnswered { tool_use, result }));
            }
            Command::AbandonTool { tool_use } => {
                self.note("", "abandon the tool");
                self.due
                    .retain(|(_, input)| !matches!(input, Input::ToolAnswered { tool_use: t, .. } if *t == tool_use));
            }
            Command::Beep => self.note("us", "(beep)"),
            Command::StartRecording { .. } => {
                self.recording_since = Some(now);
                self.silent_ms = 0;
            }
            Command::StopRecording => self.end_recording(RecordingEnd::Stopped),
            Command::Play { speech, what } => {
                assert!(self.playing.is_none(), "two speeches at once");
                if self.models.messages_unreadable {
                    self.note("", &format!("{what:?} cannot be read"));
                    self.due.push((now + 20, Input::SpeechFailed { speech, failure: Failure::Failed }));
                    return;
                }
                self.note("us", &format!("(plays: {what:?})"));
                let begins_ms = now + self.models.sound_ms;
                let sentence_ms = vec![3_000];
                self.playing = Some(Playing { speech, sentences: 1, started: None, begins_ms, sentence_ms });
            }
            Command::MarkUrgent => self.note("", "marked as urgent"),
            Command::SendMessage => self.note("", "message sent"),
            Command::LogTurn(turn) => self.log(&turn),
            Command::Escalate { escalation, .. } => self.note("", &format!("escalated: {}", escalation.reason)),
            Command::HandOver { to } => {
                assert!(self.playing.is_none(), "handed over in the middle of our own voice");
                self.note("us", &format!("hands over to {to}"));
                self.gone = true;
            }
            Command::HangUp(ending) => {
                assert!(self.playing.is_none(), "hung up over our own voice");
                self.note("us", &format!("hangs up: {} {:?}", ending.cause, ending.class));
                self.gone = true;
            }
        }
    }

    fn log(&mut self, turn: &TurnRecord) {
        let gap = turn.heard_gap().map_or("-".into(), |gap| format!("{} ms", gap.as_millis()));
        let cut = if turn.interrupted { " interrupted" } else { "" };
        let filler = if turn.filler { " filler" } else { "" };
        let failure = turn.failure.map(|f| format!(" {f}")).unwrap_or_default();
        let sources = turn.sources.join(",");
        self.note(
            "turn",
            &format!("{} {} [{sources}] gap {gap}{filler}{cut}{failure}", turn.number, turn.intent.name()),
        );
        if turn.interrupted {
            self.note("", &format!("heard: {:?}", turn.heard));
        }
    }

    fn stop(&mut self, speech: SpeechId) {
        let Some(playing) = self.playing.take().filter(|p| p.speech == speech) else { return };
        let mut left = playing.started.map_or(0, |at| self.now_ms - at);
        let mut heard = 0;
        for length in &playing.sentence_ms {
            if left < *length {
                break;
            }
            left -= length;
            heard += 1;
        }
        let fraction = playing.sentence_ms.get(heard).map_or(0.0, |length| left as f32 / *length as f32);
        self.note("us", "~ stopped");
        self.due.push((self.now_ms + 20, Input::SpeechStopped { speech, sentences_heard: heard, fraction }));
    }

    fn end_recording(&mut self, why: RecordingEnd) {
        let Some(since) = self.recording_since.take() else { return };
        self.note("", &format!("recording ended: {why:?}"));
        let empty = !self.spoken.iter().any(|(frames, _)| frames.end * 20 > since);
        let kept = if empty { Err(Failure::Empty) } else { Ok("4721".into()) };
        self.due.push((self.now_ms + 40, Input::RecordingEnded { why, kept }));
    }

    /// 20 ms pass.
    fn tick(&mut self, speaking: bool) {
        self.now_ms += 20;
        while let Some(place) = self.due.iter().position(|(at, _)| *at <= self.now_ms) {
            let (_, input) = self.due.remove(place);
            self.input(input);
        }
        self.play();
        self.silent_ms = if speaking { 0 } else { self.silent_ms + 20 };
        if self.recording_since.is_some() && self.silent_ms >= 4_000 {
            self.end_recording(RecordingEnd::Silence);
        }
        let (speech, level_dbov) = if speaking { (0.95, -20.0) } else { (0.02, -70.0) };
        let index = self.frame;
        self.frame += 1;
        self.input(Input::Frame { index, speech, level_dbov });
        let now = self.at(self.now_ms);
        if self.conversation.poll_timeout().is_some_and(|(at, _)| at <= now) {
            self.conversation.handle_timeout(now);
            assert!(self.conversation.poll_timeout().is_none_or(|(at, _)| at > now), "a timer stays due");
            self.drain();
        }
    }

    fn play(&mut self) {
        let Some(playing) = &mut self.playing else { return };
        let (speech, now) = (playing.speech, self.now_ms);
        if playing.started.is_none() && now >= playing.begins_ms {
            playing.started = Some(now);
            let at = self.at(now);
            return self.input(Input::SpeechStarted { speech, at });
        }
        let Some(started) = playing.started else { return };
        let total: u64 = playing.sentence_ms.iter().sum();
        if now >= started + total {
            let sentences = playing.sentences;
            self.playing = None;
            self.input(Input::SentenceFinished { speech, sentence: sentences.saturating_sub(1) });
            self.input(Input::SpeechFinished { speech });
        }
    }

    pub(super) fn perform(&mut self, act: &Act) {
        match act {
            Act::Say(text, ms) => {
                self.note("caller", &format!("{text:?}"));
                self.spoken.push((self.frame..self.frame + ms / 20, text));
                (0..ms / 20).for_each(|_| self.tick_unless_gone(true));
            }
            Act::Wait(ms) => (0..ms / 20).for_each(|_| self.tick_unless_gone(false)),
            Act::Listen => {
                // Long enough for an answer to come, then until it is over.
                self.perform(&Act::Wait(1_500));
                while !self.gone && self.playing.is_some() {
                    self.tick(false);
                }
            }
            Act::UntilWeSpeak => {
                while !self.gone && self.playing.as_ref().is_none_or(|p| p.started.is_none()) {
                    self.tick(false);
                    assert!(self.now_ms < 600_000, "nobody spoke");
                }
            }
            Act::Press(digit) => {
                self.note("caller", &format!("presses {digit}"));
                self.input(Input::Digit(*digit));
            }
            Act::TakenOver => {
                self.note("desk", "takes the caller");
                self.input(Input::TakenOver);
                self.gone = true;
            }
            Act::HangUp => {
                self.note("caller", "hangs up");
                self.input(Input::PeerHungUp);
                self.gone = true;
            }
        }
    }

    fn tick_unless_gone(&mut self, speaking: bool) {
        if !self.gone {
            self.tick(speaking);
        }
    }
}

fn office(has_operator: bool) -> Office {
    let operator = has_operator.then(|| Target::Group("front".into()));
    Office { operator, ..sample::office().expect("time zone data") }
}

/// The real understanding and answers, with two passages for a knowledge.
fn think(text: &str, context: &Context, models: &Models) -> answer::Reply {
    let office = office(models.has_operator);
    let understood = Classifier::keywords_only(office.asked_for()).understand(text, None, context);
    let passages = [
        ("passage-1", "park", "Yes, there is parking. We have six free spaces behind the building."),
        ("passage-2", "filling", "A filling costs between $160 and $280."),
    ];
    let found = passages.iter().filter(|(_, word, _)| understood.query.to_lowercase().contains(word));
    let hits: Vec<Hit> = found
        .map(|(id, title, text)| Hit { id: (*id).into(), title: (*title).into(), text: (*text).into(), score: 0.8 })
        .collect();
    // A Tuesday.
    let now = "2026-11-24T10:00:00[America/New_York]".parse().unwrap();
    let asked = tools::Asked { text, understanding: &understood, vector: None, context, office: &office, now: &now };
    let candidates = if models.tools.is_some() { candidates() } else { Vec::new() };
    let reply = tools::reply(&asked, &candidates).unwrap_or_else(|| reply(&understood, context, &office, &hits, &now));
    Policy::default().apply(reply, text, context, &office, &now)
}

/// Orders are looked up, tables are booked.
fn candidates() -> Vec<Candidate> {
    let orders = serde_json::json!({"properties": {"orderNumber": {"type": "string"}}, "required": ["orderNumber"]});
    let tables = serde_json::json!({"properties": {"date": {"type": "string"}}, "required": ["date"]});
    let tools = [
        ("find-order", ToolScope::Read, "where is my order", "", orders),
        ("book-table", ToolScope::Write, "book a table", "book a table", tables),
    ];
    let candidate = |(name, scope, says, does, schema): (&str, ToolScope, &str, &str, serde_json::Value)| {
        let offered = Offered {
            server: "desk".into(),
            name: name.into(),
            scope,
            says: says.into(),
            does: does.into(),
            arguments: serde_json::Map::new(),
            schema: schema.as_object().cloned().unwrap_or_default(),
        };
        let phrases = Phrase::parts(says).map(|text| Phrase { text: text.into(), vector: None }).collect();
        Candidate { tool: Tool::new(&offered).expect("a caller can say it"), phrases }
    };
    tools.into_iter().map(candidate).collect()
}
