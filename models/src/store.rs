//! The folder of verified models.
//!
//! ```text
//! DIR/whisper-tiny.en/ggml-tiny.en.bin     verified files, in place only once their hash was right
//! DIR/whisper-tiny.en/verified.json        size, time and hash of each when it was verified: the cheap check at start
//! DIR/whisper-tiny.en.partial/             what a fetch has so far; a later fetch goes on from there
//! DIR/whisper-tiny.en.lock                 held while someone fetches or imports this model
//! ```
//!
//! Several processes may use one store: readers only see finished files, writers wait for each other.

pub(crate) mod disk;
mod error;
pub(crate) mod hash;

use std::fs::{self, File, Metadata, TryLockError};
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use serde::{Deserialize, Serialize};

pub use error::{SourceFailure, StoreError};

use crate::Progress;
use crate::catalogue::{self, Entry, ModelFile};
use hash::hash_file;

const STAMP: &str = "verified.json";

/// A folder of models. Cheap to open and to clone.
#[derive(Clone, Debug)]
pub struct Store {
    folder: PathBuf,
}

/// State of one model in a [`Store`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Status {
    /// Nothing, or not everything, is there.
    Missing,
    /// Everything is there and as it was when its hashes were checked.
    Present,
    /// A file has changed since, or was never verified.
    Damaged {
        /// Which file of the entry.
        file: String,
        /// What is wrong with it.
        reason: String,
    },
}

/// What the stamp remembers of one file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Stamp {
    file: String,
    bytes: u64,
    modified_ns: u64,
    sha256: String,
}

/// Held while a model is being changed; released on drop, and by the system if the process dies.
pub(crate) struct Lock {
    _file: File,
}

impl Store {
    /// Opens `folder`, creating it if need be.
    pub fn open(folder: impl Into<PathBuf>) -> Result<Self, StoreError> {
        let folder = folder.into();
        disk::create_folder(&folder)?;
        Ok(Self { folder })
    }

    /// Where models are kept unless configured otherwise: `$OFFHOOK_MODELS`, else `offhook/models` in `$XDG_CACHE_HOME`
    /// or `~/.cache`. `None` without a home.
    pub fn default_folder() -> Option<PathBuf> {
        let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let cache = || variable("XDG_CACHE_HOME").or_else(|| Some(variable("HOME")?.join(".cache")));
        variable("OFFHOOK_MODELS").or_else(|| Some(cache()?.join("offhook/models")))
    }

    /// The folder that was opened.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// A cheap look, fit for every start: sizes and times against those of the last verification.
    pub fn status(&self, id: &str) -> Result<Status, StoreError> {
        entry(id).map(|entry| self.status_of(entry))
    }

    /// Reads and hashes every file again. A model that is right is [`Status::Present`] from then on, even if its files
    /// were copied there by hand.
    pub fn verify(&self, id: &str, progress: &mut dyn Progress) -> Result<Status, StoreError> {
        self.verify_entry(entry(id)?, progress)
    }

    /// Where a verified file is. Errors with what to do when the model is missing or damaged.
    pub fn path(&self, id: &str, file: &str) -> Result<PathBuf, StoreError> {
        let entry = entry(id)?;
        match self.status_of(entry) {
            Status::Present if entry.file(file).is_some() => Ok(self.folder_of(entry).join(file)),
            Status::Present | Status::Missing => {
                Err(StoreError::Missing { id: id.to_owned(), folder: self.folder.clone() })
            }
            Status::Damaged { file, reason } => {
                Err(StoreError::Damaged { id: id.to_owned(), path: self.folder_of(entry).join(file), reason })
            }
        }
    }

    /// Deletes a model and what was fetched of it so far.
    pub fn remove(&self, id: &str) -> Result<(), StoreError> {
        let entry = entry(id)?;
        let _lock = self.lock(entry, &mut ())?;
        disk::remove(&self.folder_of(entry))?;
        disk::remove(&self.partial_folder(entry))
    }

    pub(crate) fn folder_of(&self, entry: &Entry) -> PathBuf {
        self.folder.join(entry.id)
    }

    pub(crate) fn partial_folder(&self, entry: &Entry) -> PathBuf {
        self.folder.join(format!("{}.partial", entry.id))
    }

    pub(crate) fn status_of(&self, entry: &Entry) -> Status {
        let folder = self.folder_of(entry);
        let stamps = read_stamps(&folder);
        for file in entry.files {
            let Ok(meta) = fs::metadata(folder.join(file.name)) else { return Status::Missing };
            let Some(stamp) = stamps.iter().find(|stamp| stamp.file == file.name) else {
                return Status::Damaged { file: file.name.to_owned(), reason: "it was never verified".to_owned() };
            };
            if stamp.bytes != meta.len() || stamp.modified_ns != modified_ns(&meta) {
                let reason = "it has changed since it was verified".to_owned();
                return Status::Damaged { file: file.name.to_owned(), reason };
            }
        }
        Status::Present
    }

    pub(crate) fn verify_entry(&self, entry: &Entry, progress: &mut dyn Progress) -> Result<Status, StoreError> {
        let folder = self.folder_of(entry);
        let mut stamps = Vec::new();
        for file in entry.files {
            let path = folder.join(file.name);
            let Ok(meta) = fs::metadata(&path) else { return Ok(Status::Missing) };
            progress.started(file.name, meta.len());
            let found = hash_file(&path, progress);
            progress.finished();
            let found = found?;
            if !found.is_any_of(file.accepted) {
                // So that the cheap check does not call it present.
                disk::remove(&folder.join(STAMP))?;
                let reason = format!("its SHA-256 {} is none of the known ones", found.sha256);
                return Ok(Status::Damaged { file: file.name.to_owned(), reason });
            }
            stamps.push(stamp(file, &meta, found.sha256));
        }
        if stamps != read_stamps(&folder) {
            write_stamps(&folder, &stamps)?;
        }
        Ok(Status::Present)
    }

    /// Installs files whose hashes were checked as they were written to `from`, a folder on the same file system.
    pub(crate) fn install(&self, entry: &Entry, from: &Path, hashes: &[String]) -> Result<(), StoreError> {
        let folder = self.folder_of(entry);
        disk::create_folder(&folder)?;
        let mut stamps = Vec::new();
        for (file, sha256) in entry.files.iter().zip(hashes) {
            let path = folder.join(file.name);
            disk::publish(&from.join(file.name), &path)?;
            let meta = fs::metadata(&path).map_err(|error| StoreError::io("read", &path, error))?;
            stamps.push(stamp(file, &meta, sha256.clone()));
        }
        write_stamps(&folder, &stamps)?;
        disk::remove(from)
    }

    /// Waits until no other process or thread changes this model.
    pub(crate) fn lock(&self, entry: &Entry, progress: &mut dyn Progress) -> Result<Lock, StoreError> {
        let path = self.folder.join(format!("{}.lock", entry.id));
        let file = File::options().create(true).truncate(false).write(true).open(&path);
        let file = file.map_err(|error| StoreError::io("create", &path, error))?;
        match file.try_lock() {
            Ok(()) => Ok(Lock { _file: file }),
            Err(TryLockError::WouldBlock) => {
                progress.step("waiting for another offhook that is bringing in the same model");
                file.lock().map_err(|error| StoreError::io("lock", &path, error))?;
                Ok(Lock { _file: file })
            }
            Err(TryLockError::Error(error)) => Err(StoreError::io("lock", &path, error)),
        }
    }
}

pub(crate) fn entry(id: &str) -> Result<&'static Entry, StoreError> {
    catalogue::find(id).ok_or_else(|| StoreError::UnknownModel { id: id.to_owned() })
}

fn stamp(file: &ModelFile, meta: &Metadata, sha256: String) -> Stamp {
    Stamp { file: file.name.to_owned(), bytes: meta.len(), modified_ns: modified_ns(meta), sha256 }
}

fn modified_ns(meta: &Metadata) -> u64 {
    let since_epoch = meta.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
    since_epoch.map_or(0, |since| since.as_nanos() as u64)
}

/// No stamps when there is no readable stamp file: then nothing counts as verified.
fn read_stamps(folder: &Path) -> Vec<Stamp> {
    fs::read(folder.join(STAMP)).ok().and_then(|json| serde_json::from_slice(&json).ok()).unwrap_or_default()
}

fn write_stamps(folder: &Path, stamps: &[Stamp]) -> Result<(), StoreError> {
    let path = folder.join(STAMP);
    let part = folder.join("verified.json.part");
    let written = serde_json::to_vec_pretty(stamps).map_err(Into::into).and_then(|json| fs::write(&part, json));
    written.map_err(|error| StoreError::io("write", &part, error))?;
    disk::publish(&part, &path)
}
