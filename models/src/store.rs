//! The folder of verified models, by content.
//!
//! ```text
//! DIR/objects/SHA256/NAME                 one file, in place only once its hash was right; its folder is that hash
//! DIR/objects/SHA256/NAME.verified.json   its size and time when it was hashed: the cheap check at every start
//! DIR/releases/VERSION-HASH               what that release of Offhook needs: a hash a line; `prune` keeps it
//! DIR/ID.partial/                         what a fetch has so far; a later fetch goes on from there
//! DIR/ID.lock                             held while someone fetches or imports this model
//! ```
//!
//! The catalogue of a program says which hashes make up a model, so two releases with different files for the same model
//! share one store: both slots of a box, before and after an update, each find their own. Several processes may use one
//! store: readers only see finished files, writers wait for each other.

pub(crate) mod disk;
mod error;
pub(crate) mod hash;
mod object;
mod prune;

use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};

pub use error::{SourceFailure, StoreError};
pub use prune::Pruned;

use crate::Progress;
use crate::catalogue::{self, Entry, ModelFile};
use hash::Fingerprint;
use object::Object;

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
        let missing = || StoreError::Missing { id: id.to_owned(), folder: self.folder.clone() };
        match self.status_of(entry) {
            Status::Present => {
                let object = entry.file(file).and_then(|file| self.verified_object(file));
                object.map(|object| object.path()).ok_or_else(missing)
            }
            Status::Missing => Err(missing()),
            Status::Damaged { file, reason } => {
                let objects = entry.file(&file).map(|file| self.objects(file)).unwrap_or_default();
                let path = objects.first().map_or_else(|| self.folder.join(&file), Object::path);
                Err(StoreError::Damaged { id: id.to_owned(), path, reason })
            }
        }
    }

    /// Deletes a model and what was fetched of it so far.
    pub fn remove(&self, id: &str) -> Result<(), StoreError> {
        let entry = entry(id)?;
        let _lock = self.lock(entry, &mut ())?;
        for object in entry.files.iter().flat_map(|file| self.objects(file)) {
            object.remove()?;
        }
        disk::remove(&self.partial_folder(entry))
    }

    pub(crate) fn partial_folder(&self, entry: &Entry) -> PathBuf {
        self.folder.join(format!("{}.partial", entry.id))
    }

    pub(crate) fn status_of(&self, entry: &Entry) -> Status {
        for file in entry.files {
            let objects = self.objects(file);
            let Some(first) = objects.first() else { return Status::Missing };
            if !objects.iter().any(Object::is_as_verified) {
                let reason =
                    if first.was_verified() { "it has changed since it was verified" } else { "it was never verified" };
                return Status::Damaged { file: file.name.to_owned(), reason: reason.to_owned() };
            }
        }
        Status::Present
    }

    pub(crate) fn verify_entry(&self, entry: &Entry, progress: &mut dyn Progress) -> Result<Status, StoreError> {
        for file in entry.files {
            let objects = self.objects(file);
            if objects.is_empty() {
                return Ok(Status::Missing);
            }
            let mut wrong = None;
            for object in &objects {
                wrong = object.verify(file, progress)?;
                if wrong.is_none() {
                    break;
                }
            }
            if let Some(reason) = wrong {
                return Ok(Status::Damaged { file: file.name.to_owned(), reason });
            }
        }
        Ok(Status::Present)
    }

    /// Installs files that lie in `from`, a folder on the same file system, and were hashed as they were written there;
    /// `found` is in the entry's order.
    pub(crate) fn install(&self, entry: &Entry, from: &Path, found: &[Fingerprint]) -> Result<(), StoreError> {
        for (file, Fingerprint { sha256, sha1 }) in entry.files.iter().zip(found) {
            Object::new(&self.objects_folder(), sha256, file.name).install(&from.join(file.name), sha1)?;
        }
        disk::remove(from)
    }

    /// Where the objects are.
    pub(crate) fn objects_folder(&self) -> PathBuf {
        self.folder.join("objects")
    }

    /// Every object that is, or claims to be, this file.
    pub(crate) fn objects(&self, file: &ModelFile) -> Vec<Object> {
        object::candidates(&self.objects_folder(), file)
    }

    fn verified_object(&self, file: &ModelFile) -> Option<Object> {
        self.objects(file).into_iter().find(Object::is_as_verified)
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
