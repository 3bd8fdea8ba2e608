//! Speech and language models behind small traits, the catalogue of their files and the fetcher that brings them in.
//!
//! ```text
//!  catalogue ──ids, hashes, sources──► fetch ──verified files──► Store ──paths──► engines::load_* ──► Box<dyn …>
//!                                        │ official url · PyPI wheel (+ convert) · file or USB stick
//!  SpeechToText  whisper, moonshine, ScriptedStt  TextToSpeech  piper    ScriptedTts
//!  VoiceActivity silero, EnergyVad, LevelVad      Embedder      minilm   HashedEmbedder
//! ```
//!
//! The traits are blocking and `Send`: the daemon runs each engine on one of its inference threads. Nothing here
//! schedules, queues or speaks SIP. Without the feature `engines` the traits, the scripted engines, [`EnergyVad`], the
//! catalogue and the fetcher remain: enough for the simulator and for `offhook models`.
//!
//! Left out on purpose: streaming synthesis (Piper has none: callers send one sentence at a time), free-form language
//! models (an optional HTTP endpoint of the daemon), training of any kind.

pub mod catalogue;
mod convert;
mod embed;
mod energy;
mod engines;
#[cfg(feature = "engines")]
mod espeak;
mod fetch;
#[cfg(any(feature = "engines", test))]
mod guard;
#[cfg(feature = "engines")]
mod minilm;
#[cfg(feature = "engines")]
mod moonshine;
#[cfg(feature = "engines")]
mod piper;
mod progress;
#[cfg(feature = "engines")]
mod runtime;
mod scripted;
#[cfg(feature = "engines")]
mod silero;
mod store;
mod stt;
mod tts;
mod vad;
#[cfg(feature = "engines")]
mod whisper;

pub use embed::{EmbedError, Embedder, cosine};
pub use energy::EnergyVad;
pub use engines::{
    LoadError, VadFactory, VoiceSettings, load_embedder, load_speech_to_text, load_text_to_speech, load_voice_activity,
};
pub use fetch::{Imported, Incomplete, RemoteFile, download_file, download_text};
pub use progress::Progress;
pub use scripted::{HashedEmbedder, LevelVad, ScriptedReply, ScriptedStt, ScriptedTts, utterance_tone};
pub use store::{Pruned, SourceFailure, Status, Store, StoreError};
pub use stt::{Rejection, STT_SAMPLE_RATE, SpeechToText, SttError, TranscribeOptions, Transcript};
pub use tts::{Speech, TextToSpeech, TtsError, VoiceInfo};
pub use vad::{VAD_FRAME_SAMPLES, VoiceActivity};
#[cfg(feature = "engines")]
pub use whisper::kernels;

/// Built without engines: none.
#[cfg(not(feature = "engines"))]
pub fn kernels() -> Vec<&'static str> {
    Vec::new()
}
