//! Which engines there are on this machine: loaded side by side, each missing one named with what callers lose.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use models::{Embedder, EnergyVad, SpeechToText, Store, StoreError, TextToSpeech, VoiceSettings, catalogue};
use tracing::{debug, info, warn};

use crate::call::{Loader, VoiceActivityFactory};
use crate::config::Config;
use crate::doctor::{Finding, Verdict};

/// What the box thinks with.
pub struct Engines {
    /// Speech recognition.
    pub speech_to_text: Option<Box<dyn SpeechToText>>,
    /// Speech recognition for when nobody waits, where that is another engine.
    pub second_hearing: Option<Loader>,
    /// Speech synthesis.
    pub text_to_speech: Option<Box<dyn TextToSpeech>>,
    /// Meaning.
    pub embedding: Option<Embedding>,
    /// Voice activity; never missing, since levels can always be measured.
    pub voice_activity: VoiceActivityFactory,
    /// One sentence for each engine that is missing: what callers lose and what brings it back.
    pub degraded: Vec<String>,
}

/// An embedder with the vectors of fixed texts kept in a file, so that a start does not compute them again.
pub struct Embedding {
    /// The engine.
    pub embedder: Box<dyn Embedder>,
    vectors: HashMap<String, Vec<f32>>,
    file: Option<PathBuf>,
    changed: bool,
}

impl Embedding {
    /// `embedder` with the vectors remembered in `folder`, if they are of the same model.
    pub fn new(embedder: Box<dyn Embedder>, folder: Option<&Path>) -> Embedding {
        let file = folder.map(|folder| folder.join(format!("vectors-{}.json", embedder.model())));
        let vectors = file
            .as_ref()
            .and_then(|file| std::fs::read(file).ok())
            .and_then(|bytes| serde_json::from_slice(&bytes).ok())
            .unwrap_or_default();
        Embedding { embedder, vectors, file, changed: false }
    }

    /// The vector of a text that will be asked for again at the next start.
    pub fn remembered(&mut self, text: &str) -> Option<Vec<f32>> {
        if let Some(vector) = self.vectors.get(text) {
            return Some(vector.clone());
        }
        let vector = self.embedder.embed(text).inspect_err(|error| warn!(%error, "No vector")).ok()?;
        self.vectors.insert(text.to_owned(), vector.clone());
        self.changed = true;
        Some(vector)
    }

    /// Writes what is new. A failure costs a second at the next start and nothing else.
    pub fn save(&mut self) {
        let Some(file) = self.file.as_ref().filter(|_| self.changed) else { return };
        let partial = file.with_extension("json.part");
        let written = serde_json::to_vec(&self.vectors)
            .map_err(std::io::Error::other)
            .and_then(|bytes| std::fs::write(&partial, bytes))
            .and_then(|()| std::fs::rename(&partial, file));
        match written {
            Ok(()) => self.changed = false,
            Err(error) => debug!(%error, "Vectors of the examples not kept"),
        }
    }
}

impl Engines {
    /// No model at all: tones, keypad and messages.
    pub fn none() -> Engines {
        Engines {
            speech_to_text: None,
            second_hearing: None,
            text_to_speech: None,
            embedding: None,
            voice_activity: Box::new(|| Box::new(EnergyVad::new())),
            degraded: Vec::new(),
        }
    }

    /// Loads what is installed; takes about as long as the slowest one.
    pub fn load(config: &Config) -> Engines {
        match Store::open(config.models_directory()) {
            Ok(store) => load_from(&store, config),
            Err(error) => {
                let mut engines = Engines::none();
                engines.degraded.push(format!("Callers get tones and a keypad menu only: {error}."));
                engines
            }
        }
    }
}

/// What callers lose without each engine.
const NO_EARS: &str = "Callers are not understood and get a keypad menu";
const OTHER_EARS: &str = "Callers are understood by another recogniser than the configured one";
const NO_SECOND_HEARING: &str = "Messages are written down by the recogniser of calls, which is less exact";
const NO_MOUTH: &str = "Nothing can be said: callers hear a tone and can leave a message";
const NO_MEANING: &str = "Questions are matched by their words, not by their meaning";
const NO_VOICE_ACTIVITY: &str = "Speech is told from noise by its level, which works worse in noise";

fn load_from(store: &Store, config: &Config) -> Engines {
    recheck(store, config);
    let wanted = &config.models;
    let threads = usize::from(wanted.speech_to_text_threads);
    let voice = VoiceSettings { threads: usize::from(wanted.text_to_speech_threads), ..VoiceSettings::default() };
    // Side by side, since each reads tens of megabytes; a crash while loading costs that engine only.
    let (ears, mouth, meaning) = std::thread::scope(|scope| {
        let ears = scope.spawn(|| load_ears(store, config, threads));
        let mouth = scope.spawn(|| models::load_text_to_speech(store, &wanted.text_to_speech, &voice));
        let meaning = scope.spawn(|| models::load_embedder(store));
        (joined(ears), joined(mouth), joined(meaning))
    });
    let mut engines = Engines::none();
    let mut degraded = Vec::new();
    let mut note = |loss: &str, error: String| degraded.push(format!("{loss}: {error}."));
    match ears {
        Ok((engine, None)) => engines.speech_to_text = Some(engine),
        Ok((engine, Some(error))) => {
            note(OTHER_EARS, error.to_string());
            engines.speech_to_text = Some(engine);
        }
        Err(error) => note(NO_EARS, error),
    }
    engines.second_hearing = second_hearing(store, config).unwrap_or_else(|error| {
        note(NO_SECOND_HEARING, error);
        None
    });
    engines.text_to_speech = mouth.map_err(|error| note(NO_MOUTH, error)).ok();
    let embedder = meaning.map_err(|error| note(NO_MEANING, error)).ok();
    engines.embedding = embedder.map(|embedder| Embedding::new(embedder, Some(store.folder())));
    match models::load_voice_activity(store) {
        Ok(factory) => engines.voice_activity = Box::new(move || factory.create()),
        Err(error) => note(NO_VOICE_ACTIVITY, error.to_string()),
    }
    engines.degraded = degraded;
    engines
}

/// The recogniser of calls; where the wanted one is not there (a release may want another than the one before), one that is,
/// with what is wrong.
fn load_ears(
    store: &Store,
    config: &Config,
    threads: usize,
) -> Result<(Box<dyn SpeechToText>, Option<models::LoadError>), models::LoadError> {
    let error = match models::load_speech_to_text(store, &config.models.speech_to_text, threads) {
        Ok(engine) => return Ok((engine, None)),
        Err(error) => error,
    };
    let others = [catalogue::WHISPER_TINY_EN, config.models.messages_speech_to_text.as_str()];
    let found = others.into_iter().find_map(|id| models::load_speech_to_text(store, id, threads).ok());
    match found {
        Some(engine) => Ok((engine, Some(error))),
        None => Err(error),
    }
}

/// What loads the recogniser of messages, if it is another than that of calls.
fn second_hearing(store: &Store, config: &Config) -> Result<Option<Loader>, String> {
    let id = config.models.messages_speech_to_text.clone();
    if id == config.models.speech_to_text {
        return Ok(None);
    }
    match store.status(&id).map_err(|error| error.to_string())? {
        models::Status::Present => {}
        models::Status::Missing => return Err(format!("the model `{id}` is missing; `offhook models fetch {id}`")),
        models::Status::Damaged { file, reason } => return Err(format!("{file} of `{id}` is damaged: {reason}")),
    }
    let store = store.clone();
    Ok(Some(Box::new(move || models::load_speech_to_text(&store, &id, 1).map_err(|error| error.to_string()))))
}

/// Hashes again what has changed since it was verified, such as files that came with a new image; notes what this
/// release needs.
fn recheck(store: &Store, config: &Config) {
    if let Err(error) = store.note_release(env!("CARGO_PKG_VERSION")) {
        debug!(%error, "Release not noted in the model store");
    }
    for id in crate::cli::models::needed(config) {
        let Ok(models::Status::Damaged { file, reason }) = store.status(&id) else { continue };
        info!(model = %id, file, reason, "Hashing the model again");
        if let Err(error) = store.verify(&id, &mut ()) {
            warn!(model = %id, %error, "Model not verified");
        }
    }
}

fn joined<T>(thread: std::thread::ScopedJoinHandle<'_, Result<T, models::LoadError>>) -> Result<T, String> {
    match thread.join() {
        Ok(loaded) => loaded.map_err(|error| error.to_string()),
        Err(_) => Err("the engine crashed while it was loaded".into()),
    }
}

/// The configured voice alone, for a test caller.
///
/// # Errors
/// What is missing and how to get it.
pub fn load_voice(config: &Config) -> anyhow::Result<Box<dyn TextToSpeech>> {
    let store = Store::open(config.models_directory())?;
    Ok(models::load_text_to_speech(&store, &config.models.text_to_speech, &VoiceSettings::default())?)
}

/// The installed embedder alone, with the vectors that are remembered.
///
/// # Errors
/// What is missing and how to get it.
pub fn load_embedding(config: &Config) -> anyhow::Result<Embedding> {
    let store = Store::open(config.models_directory())?;
    Ok(Embedding::new(models::load_embedder(&store)?, Some(store.folder())))
}

/// A finding for each model that is wanted.
pub fn examine(config: &Config) -> Vec<Finding> {
    let store = match Store::open(config.models_directory()) {
        Ok(store) => store,
        Err(error) => {
            let remedy = "set models.directory to a folder this user may write to";
            return vec![Finding::wrong("models", Verdict::Bad, error.to_string(), remedy)];
        }
    };
    crate::cli::models::needed(config).iter().map(|id| examine_one(&store, id)).collect()
}

fn examine_one(store: &Store, id: &str) -> Finding {
    use models::Status;
    let remedy = format!("`offhook models fetch {id}`, or `offhook models import PATH` from a USB stick");
    match store.status(id) {
        Ok(Status::Present) => Finding::good("model", format!("{id} is there and verified")),
        Ok(Status::Missing) => Finding::wrong("model", Verdict::Degraded, format!("{id} is missing"), remedy),
        Ok(Status::Damaged { file, reason }) => {
            Finding::wrong("model", Verdict::Degraded, format!("{id} is damaged: {file}: {reason}"), remedy)
        }
        Err(error @ StoreError::UnknownModel { .. }) => {
            let remedy = "set models.speech_to_text and models.text_to_speech to ids of `offhook models list`";
            Finding::wrong("model", Verdict::Bad, error.to_string(), remedy)
        }
        Err(error) => Finding::wrong("model", Verdict::Degraded, error.to_string(), remedy),
    }
}

#[cfg(test)]
mod tests {
    use models::HashedEmbedder;

    use super::*;

    #[test]
    fn vectors_of_fixed_texts_are_kept_between_starts() {
        let folder = tempfile::tempdir().unwrap();
        let mut first = Embedding::new(Box::new(HashedEmbedder), Some(folder.path()));
        let vector = first.remembered("when are you open").unwrap();
        first.save();
        let mut second = Embedding::new(Box::new(HashedEmbedder), Some(folder.path()));
        assert_eq!(second.vectors.len(), 1);
        assert_eq!(second.remembered("when are you open"), Some(vector));
        assert!(!second.changed, "nothing was computed again");
    }
}
