//! What goes into the turn machine and what comes out of it.

use crate::conversation::answer::Reply;
use crate::conversation::context::Context;
use crate::conversation::endpointing::EndpointingSettings;
use crate::conversation::escalation::{Caller, Escalation};
use crate::conversation::intent::Intent;
use crate::conversation::tools::ToolCall;
use crate::office::Route;
use std::ops::Range;
use std::time::{Duration, Instant};

/// How patient a conversation is and what it can do. The defaults are for a caller on a telephone.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// When an utterance starts, pauses and ends.
    pub endpointing: EndpointingSettings,
    /// Whether speech can be transcribed. Without it the caller gets a keypad menu.
    pub speech_to_text: bool,
    /// Whether sentences can be spoken. Without it there are only tones: a beep, a message, a beep.
    pub text_to_speech: bool,
    /// Silence after our words until the caller is asked again. People think before they speak; 7 s is not thinking.
    pub silence: Duration,
    /// From the caller's last word to "One moment.", if no answer sounds by then.
    pub filler_after: Duration,
    /// From the caller's last word to giving up on an answer.
    pub fallback_after: Duration,
    /// From the caller's last word to "I'm looking that up.", if a tool has not answered by then.
    pub tool_filler_after: Duration,
    /// From there to the next such sentence.
    pub tool_filler_every: Duration,
    /// The longest that a tool is waited for.
    pub tool_within: Duration,
    /// From a `Speak` to its first sound; after that the voice is considered broken.
    pub sound_within: Duration,
    /// The longest message.
    pub message_max: Duration,
    /// Silence that ends a message.
    pub message_silence: Duration,
    /// Speech shorter than this with an empty transcript was noise, and is not answered with "Sorry".
    pub min_speech: Duration,
    /// Unproductive turns in a row until a message is taken instead.
    pub max_misses: u32,
    /// Turns after which the conversation ends.
    pub max_turns: u32,
    /// Length of the call after which the conversation ends.
    pub max_call: Duration,
    /// What is said first.
    pub opening: Opening,
    /// What is said before a message, where nobody is to be asked for anything else.
    pub message_greeting: Option<MessageGreeting>,
    /// Turns of this call before this conversation.
    pub turns_before: u32,
    /// Who is rung for a caller who wants just a person; `None`: nobody may be.
    pub anybody: Option<Route>,
    /// What is known of the caller.
    pub caller: Caller,
}

/// What is said first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Opening {
    /// The disclosure and the greeting.
    #[default]
    Greeting,
    /// The caller was to be connected and nobody took the call: they have been greeted before.
    NobodyAnswered,
    /// The same, and it is known why.
    NotReached {
        /// Who was wanted, if that is one person.
        who: Option<String>,
        /// Why they did not come.
        why: Unreached,
    },
    /// Whoever was rung wants a message: the caller is asked for one, without another greeting.
    MessageForCallee,
    /// Whoever was rung will call the caller back.
    CallBack {
        /// Who that is, if it is known.
        who: Option<String>,
        /// Of the promise.
        reference: String,
    },
    /// Nobody is to be asked: the caller can leave a message.
    Message,
}

/// Why somebody who was rung for a caller did not take the call; what says more about them comes later in the order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Unreached {
    /// Their phone is not there, or a trunk did not work.
    Failed,
    /// It rang.
    NoAnswer,
    /// They are on the phone.
    Busy,
    /// They have refused it.
    Declined,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            endpointing: EndpointingSettings::default(),
            speech_to_text: true,
            text_to_speech: true,
            silence: Duration::from_secs(7),
            filler_after: Duration::from_millis(1000),
            fallback_after: Duration::from_millis(4000),
            tool_filler_after: Duration::from_millis(650),
            tool_filler_every: Duration::from_secs(3),
            tool_within: Duration::from_secs(6),
            sound_within: Duration::from_millis(2500),
            message_max: Duration::from_secs(120),
            message_silence: Duration::from_secs(4),
            min_speech: Duration::from_millis(300),
            max_misses: 4,
            max_turns: 40,
            max_call: Duration::from_secs(15 * 60),
            opening: Opening::Greeting,
            message_greeting: None,
            turns_before: 0,
            anybody: None,
            caller: Caller::default(),
        }
    }
}

/// One attempt at transcribing an utterance. Unique in a conversation: a result for an older one is ignored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct UtteranceId(pub u32);

/// One `Speak`. Unique in a conversation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SpeechId(pub u32);

/// One use of a tool. Unique in a conversation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ToolUseId(pub u32);

/// A transcript.
#[derive(Debug, Clone, PartialEq)]
pub struct Heard {
    /// The words; empty when the recogniser's guards threw everything away.
    pub text: String,
    /// 0 to 1.
    pub confidence: f32,
}

/// Why something that was asked for did not come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// It took too long.
    TimedOut,
    /// There is no such engine or no room in its queue.
    Unavailable,
    /// It failed.
    Failed,
    /// There was nothing: a recording without speech.
    Empty,
}

impl Failure {
    /// Its name in turn rows and metrics.
    pub fn name(self) -> &'static str {
        match self {
            Failure::TimedOut => "timed_out",
            Failure::Unavailable => "unavailable",
            Failure::Failed => "failed",
            Failure::Empty => "empty",
        }
    }
}

/// Why a recording ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RecordingEnd {
    /// The caller fell silent.
    Silence,
    /// The longest length was reached.
    MaxLength,
    /// `StopRecording`: the caller pressed `#`.
    Stopped,
    /// The caller hung up.
    HungUp,
}

/// Sound that is not made of words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recorded {
    /// The message that was kept last.
    Message,
    /// Somebody's own voice, before a message for them.
    Greeting,
}

/// What is said to a caller before they are asked for a message, instead of that nobody can take the call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MessageGreeting {
    /// These words.
    Text(String),
    /// What was recorded; the tone follows at once.
    Recorded,
}

/// What happens to a conversation.
#[derive(Debug, Clone, PartialEq)]
pub enum Input {
    /// The call is answered and sound flows.
    Answered,
    /// The next 20 ms of the caller's sound.
    Frame {
        /// Number of the frame in the call; the same numbers as in [`Command::Transcribe`].
        index: u64,
        /// Probability of speech, 0 to 1.
        speech: f32,
        /// Level in dB below the digital overload point; −127 is silence.
        level_dbov: f32,
    },
    /// The answer to [`Command::Transcribe`].
    Transcribed {
        /// Which one.
        utterance: UtteranceId,
        /// The transcript, or why there is none.
        result: Result<Heard, Failure>,
    },
    /// The answer to [`Command::Think`].
    Replied {
        /// Which one.
        utterance: UtteranceId,
        /// What to answer, or why there is nothing.
        reply: Result<Reply, Failure>,
    },
    /// The answer to [`Command::UseTool`].
    ToolAnswered {
        /// Which one.
        tool_use: ToolUseId,
        /// What to say of it, made by [`sentences`](crate::conversation::tools::sentences): perhaps nothing.
        result: Result<Vec<String>, Failure>,
    },
    /// The first sound of a speech is out.
    SpeechStarted {
        /// Which one.
        speech: SpeechId,
        /// When it left.
        at: Instant,
    },
    /// A sentence begins to sound.
    SentenceStarted {
        /// Of which speech.
        speech: SpeechId,
        /// Its place, from 0.
        sentence: usize,
    },
    /// A sentence has sounded completely.
    SentenceFinished {
        /// Of which speech.
        speech: SpeechId,
        /// Its place, from 0.
        sentence: usize,
    },
    /// A speech has sounded completely: its last frame is out.
    SpeechFinished {
        /// Which one.
        speech: SpeechId,
    },
    /// A speech was cut off after [`Command::StopSpeaking`].
    SpeechStopped {
        /// Which one.
        speech: SpeechId,
        /// Sentences that sounded completely.
        sentences_heard: usize,
        /// How much of the next sentence sounded, 0 to 1.
        fraction: f32,
    },
    /// A speech could not be made.
    SpeechFailed {
        /// Which one.
        speech: SpeechId,
        /// Why.
        failure: Failure,
    },
    /// A key was pressed.
    Digit(char),
    /// The recording of a message is over.
    RecordingEnded {
        /// Why.
        why: RecordingEnd,
        /// The reference the caller is told when the message is safely stored, in the place of an earlier one that was not
        /// sent yet; otherwise why it is not.
        kept: Result<String, Failure>,
    },
    /// Somebody of the office goes on with the caller, from this moment.
    TakenOver,
    /// The caller is gone.
    PeerHungUp,
}

/// How a call's end is classed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EndClass {
    /// The caller got through the conversation.
    Success,
    /// Nothing usable came from the caller.
    CallerError,
    /// We could not do our job.
    OurError,
}

/// Why the conversation ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ending {
    /// Stable reason: `caller_goodbye`, `caller_hangup`, `message_taken`, `message_failed`, `no_speech`, `call_limit`,
    /// `turn_limit`, `handed_over`.
    pub cause: &'static str,
    /// Its class.
    pub class: EndClass,
}

/// What the machine wants done.
#[derive(Debug, Clone, PartialEq)]
pub enum Command {
    /// Say this. One speech at a time: the next `Speak` comes after this one has finished or stopped.
    Speak {
        /// Its id.
        speech: SpeechId,
        /// Sentences for the voice, normalised.
        sentences: Vec<String>,
        /// The same sentences as written.
        display: Vec<String>,
        /// Whether the caller may talk over it.
        interruptible: bool,
        /// How much of the first sentence has been heard, 0 to 1: it goes on from the word before there.
        skip: f32,
    },
    /// These sentences will be spoken next: synthesise them already, if there is time.
    Prepare {
        /// Normalised sentences.
        sentences: Vec<String>,
    },
    /// Lower our voice: somebody may be speaking. Holds until `Unduck` or the end of the speech.
    Duck,
    /// Fall silent and keep the place: somebody most likely speaks. Holds like `Duck`.
    Hold,
    /// Back to full voice, from where it was held.
    Unduck,
    /// Fall silent at once and answer with [`Input::SpeechStopped`].
    StopSpeaking {
        /// Which speech.
        speech: SpeechId,
    },
    /// Transcribe these frames.
    Transcribe {
        /// Which attempt.
        utterance: UtteranceId,
        /// Which frames.
        frames: Range<u64>,
        /// Whether the caller may still go on, so that the work may be thrown away.
        speculative: bool,
    },
    /// The caller has said this much of something longer: worth a transcript only if somebody reads along. Nothing is
    /// answered to it.
    TranscribePartly {
        /// Which frames.
        frames: Range<u64>,
    },
    /// The transcript is not needed any more, nor a reply made from it.
    AbandonTranscription {
        /// Which attempt.
        utterance: UtteranceId,
    },
    /// Understand the text and choose an answer: [`Classifier::understand`], a search for its query, then [`reply`]. The
    /// caller may still go on, so nothing of it may have an effect outside.
    ///
    /// [`Classifier::understand`]: crate::conversation::intent::Classifier::understand
    /// [`reply`]: crate::conversation::answer::reply
    Think {
        /// Which attempt.
        utterance: UtteranceId,
        /// The transcript.
        text: String,
        /// What was established before it.
        context: Box<Context>,
    },
    /// Use a tool, and answer with [`Input::ToolAnswered`] within `limit`.
    UseTool {
        /// Its id.
        tool_use: ToolUseId,
        /// Which tool, and with what.
        call: Box<ToolCall>,
        /// What the caller wants to know.
        question: String,
        /// When its answer is of no use any more.
        limit: Duration,
    },
    /// A tool's answer is not needed any more.
    AbandonTool {
        /// Which use.
        tool_use: ToolUseId,
    },
    /// Sound the tone before a message.
    Beep,
    /// Record a message.
    StartRecording {
        /// Longest length.
        max: Duration,
        /// Silence that ends it.
        silence: Duration,
    },
    /// End the recording now and answer with [`Input::RecordingEnded`].
    StopRecording,
    /// Play what was recorded, as a speech of one sentence.
    Play {
        /// Its id.
        speech: SpeechId,
        /// Which sound.
        what: Recorded,
    },
    /// The message that was kept last cannot wait.
    MarkUrgent,
    /// The message that was kept last will not be changed any more. After the end of the conversation none is, so this may
    /// be missing.
    SendMessage,
    /// The caller is given to a person, or would be if anybody were there. [`Command::HandOver`] follows if so.
    Escalate {
        /// The turn it was decided in; `None`: by a key.
        turn_number: Option<u32>,
        /// The decision.
        escalation: Box<Escalation>,
    },
    /// A turn is complete.
    LogTurn(Box<TurnRecord>),
    /// End the call. Nothing comes after this.
    HangUp(Ending),
    /// Connect the caller with somebody. Nothing comes after this; if nobody takes the call, another conversation begins
    /// with [`Opening::NobodyAnswered`].
    HandOver {
        /// With whom.
        to: Route,
    },
}

/// Everything known about one turn: what the caller said, what we answered, what of it was heard, and when.
#[derive(Debug, Clone, PartialEq)]
pub struct TurnRecord {
    /// Place in the conversation, from 1.
    pub number: u32,
    /// Frames of the utterance.
    pub frames: Range<u64>,
    /// The transcript.
    pub text: String,
    /// Its confidence, 0 to 1; `None` when there is no transcript.
    pub confidence: Option<f32>,
    /// What was understood.
    pub intent: Intent,
    /// How sure, 0 to 1.
    pub score: f32,
    /// What was named: slot and value.
    pub slots: Vec<(&'static str, String)>,
    /// Where the answer came from.
    pub sources: Vec<String>,
    /// The whole answer, as written.
    pub answer: String,
    /// The part of it that sounded.
    pub heard: String,
    /// Whether the caller talked over it.
    pub interrupted: bool,
    /// Whether a filler was needed.
    pub filler: bool,
    /// What failed: a [`Failure::name`].
    pub failure: Option<&'static str>,
    /// The caller's last word.
    pub speech_ended_at: Instant,
    /// We were sure they were done.
    pub endpoint_at: Instant,
    /// The transcript was there: before `endpoint_at` if speculation paid.
    pub transcribed_at: Option<Instant>,
    /// The answer was there.
    pub replied_at: Option<Instant>,
    /// A tool was asked.
    pub tool_asked_at: Option<Instant>,
    /// It had answered, or was given up.
    pub tool_answered_at: Option<Instant>,
    /// The answer was given to the voice.
    pub spoken_at: Option<Instant>,
    /// First sound after the caller's last word: filler or answer. Minus `speech_ended_at` it is the heard gap.
    pub first_sound_at: Option<Instant>,
    /// The answer had sounded, or was cut off.
    pub finished_at: Option<Instant>,
}

impl TurnRecord {
    /// The silence the caller heard between their last word and our first sound.
    pub fn heard_gap(&self) -> Option<Duration> {
        Some(self.first_sound_at?.saturating_duration_since(self.speech_ended_at))
    }
}
