//! Text-to-speech: the trait and its result.

use std::time::Duration;

/// Speaks one sentence at a time. Blocking: about 0.05–0.1 × the length of the speech on one core.
pub trait TextToSpeech: Send {
    /// Renders `sentence`. Text without anything to say gives an empty [`Speech`], not an error.
    fn synthesise(&mut self, sentence: &str) -> Result<Speech, TtsError>;

    /// Who speaks.
    fn voice(&self) -> &VoiceInfo;

    /// Gives back the working memory of past renderings: about a megabyte for each character of the longest one. Takes
    /// some 20 ms, and makes the next rendering up to a seventh slower; for moments without a call.
    fn release_memory(&mut self) {}
}

/// Rendered speech, mono.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Speech {
    /// Linear PCM.
    pub samples: Vec<i16>,
    /// In Hz; the voice's own, usually 22 050: the caller resamples.
    pub sample_rate: u32,
}

impl Speech {
    /// How long it takes to say.
    pub fn duration(&self) -> Duration {
        Duration::from_secs_f64(self.samples.len() as f64 / f64::from(self.sample_rate.max(1)))
    }
}

/// A voice, as the phrase cache keys it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct VoiceInfo {
    /// Catalogue id, such as `piper-en_US-joe-medium`.
    pub id: String,
    /// espeak voice or BCP 47 tag of what it speaks, such as `en-us`.
    pub language: String,
    /// In Hz.
    pub sample_rate: u32,
}

/// Why a sentence was not rendered.
#[derive(Debug, thiserror::Error)]
pub enum TtsError {
    /// The sentence is over the bound that keeps memory and waiting in check.
    #[error("{chars} characters are more than the {limit} that one sentence may have")]
    TooLong {
        /// Characters given.
        chars: usize,
        /// Most characters taken.
        limit: usize,
    },
    /// The text could not be turned into phonemes.
    #[error("the text could not be turned into phonemes: {0}")]
    Phonemes(String),
    /// The engine failed inside.
    #[error("the text-to-speech engine failed: {0}")]
    Engine(#[source] Box<dyn std::error::Error + Send + Sync>),
}
