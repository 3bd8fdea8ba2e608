//! Speech-to-text: the trait, its options and its result.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Sample rate every [`SpeechToText`] engine expects, in Hz.
pub const STT_SAMPLE_RATE: u32 = 16_000;

/// Turns one utterance into text. Blocking: one call takes 0.03–0.3 × the utterance on one core.
pub trait SpeechToText: Send {
    /// Transcribes `samples`: 16 kHz mono, ±1, at most 30 s (the rest is an error, not silently cut).
    ///
    /// Silence, noise and the engine's own inventions come back as an empty text with [`Transcript::rejected`] set; an
    /// error means that the engine could not do its work.
    fn transcribe(&mut self, samples: &[f32], options: &TranscribeOptions) -> Result<Transcript, SttError>;

    /// The catalogue id of the model in use, such as `whisper-tiny.en`; for `call_metrics` and `offhook doctor`.
    fn model(&self) -> &str;
}

/// What one [`SpeechToText::transcribe`] call may vary.
#[derive(Clone, Debug, Default)]
pub struct TranscribeOptions {
    /// ISO 639-1 code such as `en`; `None` is English. English-only models ignore it.
    pub language: Option<String>,
    /// Set to `true` from another thread to give up early with [`SttError::Aborted`], for decodes that speculation made
    /// worthless. Looked at several times per encoder and decoder pass.
    pub abort: Option<Arc<AtomicBool>>,
}

impl TranscribeOptions {
    /// Whether the caller of the engine no longer wants the result.
    pub fn is_aborted(&self) -> bool {
        self.abort.as_ref().is_some_and(|flag| flag.load(Ordering::Relaxed))
    }
}

/// What an engine heard.
#[derive(Clone, Debug, PartialEq)]
pub struct Transcript {
    /// The words, trimmed; empty when [`Self::rejected`] is set.
    pub text: String,
    /// Mean probability of the text's tokens, 0..=1. Below about 0.5 ask again rather than act.
    pub confidence: f32,
    /// The engine's own probability that there was no speech, 0..=1.
    pub no_speech: f32,
    /// Length of the audio that was transcribed.
    pub audio: Duration,
    /// Time spent decoding; zero when a gate rejected the audio before the model saw it.
    pub decode: Duration,
    /// Why there is no text, if the guards threw it away.
    pub rejected: Option<Rejection>,
}

impl Transcript {
    /// A transcript of nothing, for `reason`.
    pub fn rejected(reason: Rejection, audio: Duration) -> Self {
        Self {
            text: String::new(),
            confidence: 0.0,
            no_speech: 1.0,
            audio,
            decode: Duration::ZERO,
            rejected: Some(reason),
        }
    }

    /// Whether there is nothing to answer.
    pub fn is_empty(&self) -> bool {
        self.text.is_empty()
    }
}

/// Why the guards threw a transcript away. The variants are stable labels: they may be stored and counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Rejection {
    /// Shorter than any word.
    TooShort,
    /// The loudest 100 ms are below the level of speech.
    TooQuiet,
    /// The model itself thinks that nobody spoke, or found no words.
    NoSpeech,
    /// The tokens are too improbable to be what was said.
    LowConfidence,
    /// The decoder looped ("Yes, please. Yes, please. …").
    Repetition,
    /// More words than a mouth can say in that time.
    TooManyWords,
    /// One of the sentences that Whisper invents on noise ("Thank you for watching."), said without conviction.
    Phantom,
}

impl Rejection {
    /// Stable name for rows, metrics and logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::TooShort => "too_short",
            Self::TooQuiet => "too_quiet",
            Self::NoSpeech => "no_speech",
            Self::LowConfidence => "low_confidence",
            Self::Repetition => "repetition",
            Self::TooManyWords => "too_many_words",
            Self::Phantom => "phantom",
        }
    }
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Why there is no transcript at all.
#[derive(Debug, thiserror::Error)]
pub enum SttError {
    /// [`TranscribeOptions::abort`] was set.
    #[error("the transcription was given up because its result was no longer wanted")]
    Aborted,
    /// More audio than the engine's window holds.
    #[error("{seconds:.1} s of audio is more than the {limit_seconds} s that one transcription takes")]
    TooLong {
        /// Length of the audio, in seconds.
        seconds: f32,
        /// Longest audio allowed, in seconds.
        limit_seconds: u32,
    },
    /// The language is none of the model's.
    #[error("the model does not know the language `{0}`")]
    UnknownLanguage(String),
    /// The engine failed inside.
    #[error("the speech-to-text engine failed: {0}")]
    Engine(#[source] Box<dyn std::error::Error + Send + Sync>),
}
