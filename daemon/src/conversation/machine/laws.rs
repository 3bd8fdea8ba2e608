//! What holds for any sequence of inputs, sensible or not.

use super::*;
use crate::config::ToolScope;
use crate::conversation::answer::{Action, Reply};
use crate::conversation::intent::Intent;
use crate::conversation::tools::{Pending, Stage, Tool};
use crate::office::sample;
use proptest::prelude::*;

/// One step of a random shell.
#[derive(Debug, Clone)]
enum Step {
    /// Frames of speech or silence, 20 ms each.
    Frames {
        count: u8,
        speech: bool,
    },
    /// Time without frames.
    Pass {
        ms: u16,
    },
    /// Answers the last `Transcribe`, perhaps with an error or nothing.
    Transcribe {
        text: &'static str,
        fails: bool,
    },
    /// Answers the last `Think`.
    Reply {
        sentences: u8,
        action: u8,
        /// Whether the caller said yes.
        yes: bool,
        fails: bool,
    },
    /// Answers the last `UseTool`.
    ToolAnswer {
        sentences: u8,
        fails: bool,
    },
    Start,
    Finish,
    Stop {
        sentences: u8,
        fraction: f32,
    },
    FailSpeech,
    Digit(char),
    RecordingEnded {
        kept: bool,
    },
    HangUp,
    TakeOver,
    /// An answer to a question that was never asked.
    Stale(u32),
}

fn step() -> impl Strategy<Value = Step> {
    let text = prop_oneof![
        Just(""),
        Just("mhm"),
        Just("yes"),
        Just("my number is five five"),
        Just("goodbye"),
        Just("where are you?"),
        Just("¿😀?"),
    ];
    prop_oneof![
        6 => (1u8..60, any::<bool>()).prop_map(|(count, speech)| Step::Frames { count, speech }),
        2 => (1u16..9000).prop_map(|ms| Step::Pass { ms }),
        4 => (text, prop::bool::weighted(0.2)).prop_map(|(text, fails)| Step::Transcribe { text, fails }),
        4 => (0u8..4, 0u8..11, any::<bool>(), prop::bool::weighted(0.2)).prop_map(|(sentences, action, yes, fails)| Step::Reply { sentences, action, yes, fails }),
        2 => (0u8..4, prop::bool::weighted(0.3)).prop_map(|(sentences, fails)| Step::ToolAnswer { sentences, fails }),
        4 => Just(Step::Start),
        4 => Just(Step::Finish),
        2 => (0u8..9, any::<f32>()).prop_map(|(sentences, fraction)| Step::Stop { sentences, fraction }),
        1 => Just(Step::FailSpeech),
        1 => prop::char::any().prop_map(Step::Digit),
        1 => prop::char::range('0', '9').prop_map(Step::Digit),
        2 => any::<bool>().prop_map(|kept| Step::RecordingEnded { kept }),
        1 => prop::bool::weighted(0.1).prop_map(|gone| if gone { Step::HangUp } else { Step::Pass { ms: 20 } }),
        1 => prop::bool::weighted(0.1).prop_map(|taken| if taken { Step::TakeOver } else { Step::Pass { ms: 20 } }),
        1 => any::<u32>().prop_map(Step::Stale),
    ]
}

struct Rig {
    conversation: Conversation,
    now: Instant,
    frame: u64,
    /// What came before it was said not to be needed any more.
    needed_from: u64,
    utterance: UtteranceId,
    speech: Option<SpeechId>,
    tool_use: ToolUseId,
    /// The speech that reads back what the writing tool would do.
    read_back: Option<SpeechId>,
    /// Whether it has sounded to its end and nothing else has been said since.
    is_told: bool,
    /// Whether the last reply was made of a yes.
    said_yes: bool,
    over: bool,
    /// A message is kept that may still be changed.
    is_held: bool,
    /// Since when an ended utterance waits for an answer, while nothing sounds.
    owed_since: Option<Instant>,
}

impl Rig {
    fn new(settings: Settings) -> Self {
        let now = Instant::now();
        let office = Arc::new(sample::office().expect("time zone data"));
        let mut rig = Self {
            conversation: Conversation::new(settings, office, now),
            now,
            frame: 0,
            needed_from: 0,
            utterance: UtteranceId(0),
            speech: None,
            tool_use: ToolUseId(0),
            read_back: None,
            is_told: false,
            said_yes: false,
            over: false,
            is_held: false,
            owed_since: None,
        };
        rig.input(Input::Answered);
        rig
    }

    fn input(&mut self, input: Input) {
        let gone = matches!(input, Input::PeerHungUp | Input::TakenOver);
        self.conversation.handle(input, self.now);
        self.drain();
        self.over |= gone;
    }

    fn drain(&mut self) {
        while let Some(command) = self.conversation.poll_command() {
            assert!(!self.over, "{command:?} after the end");
            match command {
                Command::Speak { speech, display, sentences, .. } => {
                    assert!(self.speech.is_none_or(|last| last < speech));
                    assert!(!display.is_empty() && display.len() == sentences.len());
                    self.speech = Some(speech);
                    let reads_back = display.iter().any(|sentence| sentence == READ_BACK);
                    self.read_back = reads_back.then_some(speech);
                    // A filler is nothing that takes the place of what was told.
                    self.is_told &= display == [crate::conversation::phrases::ONE_MOMENT];
                    self.owed_since = None;
                }
                Command::Play { speech, .. } => {
                    assert!(self.speech.is_none_or(|last| last < speech) && self.is_held, "there is nothing to play");
                    self.speech = Some(speech);
                    self.owed_since = None;
                }
                Command::SendMessage => assert!(std::mem::take(&mut self.is_held), "sent twice"),
                Command::Transcribe { utterance, frames, .. } => {
                    assert!(frames.start < frames.end && frames.end <= self.frame);
                    assert!(frames.start >= self.needed_from, "{frames:?} is forgotten");
                    self.utterance = utterance;
                }
                Command::UseTool { tool_use, call, .. } => {
                    self.tool_use = tool_use;
                    let may = call.scope == ToolScope::Read || (self.is_told && self.said_yes);
                    assert!(may, "{call:?} without being told and a yes");
                }
                Command::HangUp(_) | Command::HandOver { .. } => self.over = true,
                Command::LogTurn(turn) => assert!(turn.finished_at.is_some()),
                Command::StartRecording { .. } => self.owed_since = None,
                Command::Escalate { .. }
                | Command::Prepare { .. }
                | Command::Duck
                | Command::Hold
                | Command::TranscribePartly { .. }
                | Command::Unduck
                | Command::StopSpeaking { .. }
                | Command::AbandonTranscription { .. }
                | Command::Think { .. }
                | Command::AbandonTool { .. }
                | Command::Beep
                | Command::MarkUrgent
                | Command::StopRecording => {}
            }
        }
        self.needed_from = self.needed_from.max(self.conversation.needs_frames_from());
        self.check_debt();
    }

    /// An utterance of words that ended is answered within five seconds, unless something sounds or is recorded.
    fn check_debt(&mut self) {
        let machine = &self.conversation;
        let ended = machine.turn.as_ref().and_then(|turn| turn.ended);
        let idle = machine.saying.is_none() && machine.phase == Phase::Talking;
        self.owed_since = match ended {
            Some(_) if idle => self.owed_since.or(Some(self.now)),
            // Nobody speaks, and a tool is waited for.
            None if idle && machine.using.is_some() && !machine.endpointer.is_open() => {
                self.owed_since.or(Some(self.now))
            }
            Some(_) | None => None,
        };
        if let Some(since) = self.owed_since {
            assert!(self.now.duration_since(since) <= Duration::from_secs(5), "silence");
        }
        // Never nothing to wait for: a call that lost all its timers would be dead air for ever.
        assert_eq!(self.conversation.poll_timeout().is_none(), self.conversation.ending().is_some());
        let machine = &self.conversation;
        assert!(machine.queue.len() <= MAX_QUEUE);
        let talking = machine.phase == Phase::Talking && machine.leaving.is_none();
        let busy =
            machine.saying.is_some() || machine.turn.is_some() || !machine.queue.is_empty() || machine.using.is_some();
        // Whoever keeps silent is asked: the silence always counts when nothing else goes on.
        assert!(!talking || busy || machine.silent_since.is_some());
    }

    /// Time passes, with every timer fired at its moment.
    fn pass(&mut self, time: Duration) {
        let until = self.now + time;
        for _ in 0..10_000 {
            let Some((at, _)) = self.conversation.poll_timeout().filter(|(at, _)| *at <= until) else { break };
            self.now = self.now.max(at);
            self.conversation.handle_timeout(self.now);
            assert!(self.conversation.poll_timeout().is_none_or(|(at, _)| at > self.now), "a timer stays due");
            self.drain();
        }
        self.now = until;
    }

    fn step(&mut self, step: Step) {
        let speech = self.speech.unwrap_or(SpeechId(0));
        match step {
            Step::Frames { count, speech } => {
                for _ in 0..count {
                    self.pass(Duration::from_millis(20));
                    let (index, level_dbov) = (self.frame, if speech { -20.0 } else { -80.0 });
                    self.frame += 1;
                    self.input(Input::Frame { index, speech: if speech { 0.9 } else { 0.0 }, level_dbov });
                }
            }
            Step::Pass { ms } => self.pass(Duration::from_millis(ms.into())),
            Step::Transcribe { text, fails } => {
                let heard = Heard { text: text.into(), confidence: 0.5 };
                let result = if fails { Err(Failure::Failed) } else { Ok(heard) };
                self.input(Input::Transcribed { utterance: self.utterance, result });
            }
            Step::Reply { sentences, action, yes, fails } => {
                self.said_yes = yes && !fails;
                let reply = if fails { Err(Failure::TimedOut) } else { Ok(any_reply(sentences, action, yes)) };
                self.input(Input::Replied { utterance: self.utterance, reply });
            }
            Step::ToolAnswer { sentences, fails } => {
                let sentences = (0..sentences).map(|n| format!("Fact {n}.")).collect();
                let result = if fails { Err(Failure::Failed) } else { Ok(sentences) };
                self.input(Input::ToolAnswered { tool_use: self.tool_use, result });
            }
            Step::Start => self.input(Input::SpeechStarted { speech, at: self.now }),
            Step::Finish => {
                self.is_told |= self.read_back == Some(speech);
                self.input(Input::SpeechFinished { speech });
            }
            Step::Stop { sentences, fraction } => {
                self.input(Input::SpeechStopped { speech, sentences_heard: sentences.into(), fraction });
            }
            Step::FailSpeech => self.input(Input::SpeechFailed { speech, failure: Failure::Failed }),
            Step::Digit(digit) => self.input(Input::Digit(digit)),
            Step::RecordingEnded { kept } => {
                self.is_held |= kept && matches!(self.conversation.phase, Phase::Recording { .. });
                let kept = if kept { Ok("12".into()) } else { Err(Failure::Empty) };
                self.input(Input::RecordingEnded { why: RecordingEnd::Silence, kept });
            }
            Step::HangUp => self.input(Input::PeerHungUp),
            Step::TakeOver => self.input(Input::TakenOver),
            Step::Stale(id) => {
                self.input(Input::SpeechFinished { speech: SpeechId(id) });
                self.input(Input::SentenceFinished { speech, sentence: id as usize });
                self.input(Input::Transcribed { utterance: UtteranceId(id), result: Err(Failure::Failed) });
            }
        }
    }
}

/// What [`Stage::Confirm`] says in [`any_reply`].
const READ_BACK: &str = "I can change it.";

fn pending(scope: ToolScope, stage: Stage, sentences: Vec<String>) -> Option<Box<Pending>> {
    let tool = Tool {
        server: "desk".into(),
        name: "change".into(),
        scope,
        does: "change it".into(),
        fixed: serde_json::Map::new(),
        wants: Vec::new(),
    };
    Some(Box::new(Pending::fixed(tool, stage, sentences)))
}

fn any_reply(sentences: u8, action: u8, yes: bool) -> Reply {
    let mut said: Vec<String> = (0..sentences).map(|n| format!("Sentence {n}.")).collect();
    let tool = match action {
        0 => pending(ToolScope::Read, Stage::Ask { argument: "date".into(), times: 1 }, said.clone()),
        1 | 2 => {
            said = vec![READ_BACK.into(), "Shall I?".into()];
            // What the mind says of being heard is not believed.
            pending(ToolScope::Write, Stage::Confirm { times: 1, heard: true }, said.clone())
        }
        3 => pending(ToolScope::Read, Stage::Use, Vec::new()),
        4 => pending(ToolScope::Write, Stage::Use, Vec::new()),
        _ => None,
    };
    let action = match action {
        0..=2 | 5 => Action::Continue,
        3 | 4 => Action::UseTool,
        6 => Action::HangUp,
        7 => Action::TakeMessage,
        8 => Action::Connect,
        9 => Action::Repeat,
        _ => Action::NeverMind,
    };
    Reply {
        sentences: said,
        intent: if yes { Intent::Confirm } else { Intent::Question },
        score: 1.0,
        slots: Box::default(),
        sources: vec![],
        action,
        connect_to: (action == Action::Connect).then(Route::default),
        escalation: None,
        tool,
    }
}

fn any_settings() -> impl Strategy<Value = Settings> {
    (prop::bool::weighted(0.9), prop::bool::weighted(0.9)).prop_map(|(speech_to_text, text_to_speech)| Settings {
        speech_to_text,
        text_to_speech,
        max_call: Duration::from_secs(120),
        ..Settings::default()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    /// Any inputs in any order: no panic, no command after the end, no debt over five seconds, and an end.
    #[test]
    fn any_inputs_keep_the_laws(settings in any_settings(), steps in prop::collection::vec(step(), 1..200)) {
        let mut rig = Rig::new(settings);
        for step in steps {
            rig.step(step);
        }
        // Left alone, every conversation ends: all its waits are bounded.
        rig.pass(Duration::from_secs(600));
        prop_assert!(rig.conversation.ending().is_some());
    }
}
