//! From a model store to a running engine. Each part loads on its own, so that the daemon starts with what there is and
//! says what is missing.

#[cfg(feature = "engines")]
use crate::catalogue;
use crate::{EmbedError, Embedder, SpeechToText, Store, StoreError, SttError, TextToSpeech, TtsError, VoiceActivity};

/// How a voice speaks; `None` is the voice's own value.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct VoiceSettings {
    /// Folder above or at `espeak-ng-data`; by default it is looked for.
    pub espeak_data: Option<std::path::PathBuf>,
    /// Duration of each sound: 1 is normal, 1.2 is slower.
    pub length_scale: Option<f32>,
    /// Variation of the voice; 0 together with a `noise_w` of 0 renders the same text the same way every time.
    pub noise_scale: Option<f32>,
    /// Variation of the rhythm.
    pub noise_w: Option<f32>,
    /// Threads of one rendering, 1..=8.
    pub threads: usize,
}

/// Makes a detector for each call leg from one loaded model.
pub trait VadFactory: Send + Sync {
    /// A detector that has heard nothing yet.
    fn create(&self) -> Box<dyn VoiceActivity>;
}

/// Why an engine is not available; its text says what to do.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The program was built without engines.
    #[error("this program was built without speech engines (cargo feature `engines`)")]
    NotBuilt,
    /// The model's id is that of another kind of model.
    #[error("`{id}` is not a model for {purpose}")]
    WrongPurpose {
        /// What was asked for.
        id: String,
        /// What it should do.
        purpose: crate::catalogue::Purpose,
    },
    /// No ONNX Runtime exists for this processor.
    #[error("there is no ONNX Runtime for the processor {0}")]
    NoRuntime(&'static str),
    /// ONNX Runtime is there but does not load.
    #[error("ONNX Runtime cannot be loaded: {0}")]
    Runtime(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The model is missing or damaged.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The recogniser does not accept its model.
    #[error(transparent)]
    SpeechToText(#[from] SttError),
    /// The voice does not load.
    #[error(transparent)]
    TextToSpeech(#[from] TtsError),
    /// The detector does not load.
    #[error("the voice activity detector cannot be loaded: {0}")]
    VoiceActivity(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The embedder does not load.
    #[error(transparent)]
    Embedder(#[from] EmbedError),
}

/// Loads the Whisper or Moonshine model `id`, to decode on `threads` threads (1 is right almost always, at most 8); for
/// the latter ONNX Runtime too, if that has not happened yet.
#[cfg(feature = "engines")]
pub fn load_speech_to_text(store: &Store, id: &str, threads: usize) -> Result<Box<dyn SpeechToText>, LoadError> {
    let entry = entry_for(id, catalogue::Purpose::SpeechToText)?;
    if id == catalogue::MOONSHINE_TINY_EN {
        let path = |file| store.path(id, file);
        let paths = [path("encoder_model.ort")?, path("decoder_model_merged.ort")?, path("tokenizer.bin")?];
        init_runtime(store)?;
        return Ok(Box::new(crate::moonshine::Moonshine::load(id, paths.each_ref().map(|path| &**path), threads)?));
    }
    let path = store.path(id, entry.files[0].name)?;
    Ok(Box::new(crate::whisper::Whisper::load(id, &path, threads)?))
}

/// Loads the Piper voice `id`, and ONNX Runtime if that has not happened yet.
#[cfg(feature = "engines")]
pub fn load_text_to_speech(
    store: &Store,
    id: &str,
    settings: &VoiceSettings,
) -> Result<Box<dyn TextToSpeech>, LoadError> {
    let entry = entry_for(id, catalogue::Purpose::TextToSpeech)?;
    let file = |is_json: bool| entry.files.iter().find(|file| file.name.ends_with(".json") == is_json);
    let (Some(model), Some(json)) = (file(false), file(true)) else {
        return Err(LoadError::WrongPurpose { id: id.to_owned(), purpose: catalogue::Purpose::TextToSpeech });
    };
    let (model, json) = (store.path(id, model.name)?, store.path(id, json.name)?);
    init_runtime(store)?;
    Ok(Box::new(crate::piper::Piper::load(id, &model, &json, settings)?))
}

/// Loads Silero, and ONNX Runtime if that has not happened yet. Without it [`crate::EnergyVad`] remains.
#[cfg(feature = "engines")]
pub fn load_voice_activity(store: &Store) -> Result<Box<dyn VadFactory>, LoadError> {
    let path = store.path(catalogue::SILERO, "silero_vad.onnx")?;
    init_runtime(store)?;
    Ok(Box::new(crate::silero::Silero::load(&path).map_err(LoadError::VoiceActivity)?))
}

/// Loads the sentence embedder.
#[cfg(feature = "engines")]
pub fn load_embedder(store: &Store) -> Result<Box<dyn Embedder>, LoadError> {
    let path = |file| store.path(catalogue::MINILM, file);
    let (weights, tokenizer, config) = (path("model.safetensors")?, path("tokenizer.json")?, path("config.json")?);
    Ok(Box::new(crate::minilm::MiniLm::load(catalogue::MINILM, &weights, &tokenizer, &config)?))
}

#[cfg(feature = "engines")]
fn entry_for(id: &str, purpose: catalogue::Purpose) -> Result<&'static catalogue::Entry, LoadError> {
    let entry = crate::store::entry(id)?;
    if entry.purpose == purpose { Ok(entry) } else { Err(LoadError::WrongPurpose { id: id.to_owned(), purpose }) }
}

#[cfg(feature = "engines")]
fn init_runtime(store: &Store) -> Result<(), LoadError> {
    let id = catalogue::onnx_runtime().ok_or(LoadError::NoRuntime(std::env::consts::ARCH))?;
    crate::runtime::init(&store.path(id, "libonnxruntime.so")?).map_err(LoadError::Runtime)
}

/// Built without engines: always [`LoadError::NotBuilt`].
#[cfg(not(feature = "engines"))]
pub fn load_speech_to_text(_: &Store, _: &str, _: usize) -> Result<Box<dyn SpeechToText>, LoadError> {
    Err(LoadError::NotBuilt)
}

/// Built without engines: always [`LoadError::NotBuilt`].
#[cfg(not(feature = "engines"))]
pub fn load_text_to_speech(_: &Store, _: &str, _: &VoiceSettings) -> Result<Box<dyn TextToSpeech>, LoadError> {
    Err(LoadError::NotBuilt)
}

/// Built without engines: always [`LoadError::NotBuilt`].
#[cfg(not(feature = "engines"))]
pub fn load_voice_activity(_: &Store) -> Result<Box<dyn VadFactory>, LoadError> {
    Err(LoadError::NotBuilt)
}

/// Built without engines: always [`LoadError::NotBuilt`].
#[cfg(not(feature = "engines"))]
pub fn load_embedder(_: &Store) -> Result<Box<dyn Embedder>, LoadError> {
    Err(LoadError::NotBuilt)
}
