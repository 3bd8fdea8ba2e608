//! One file of the store: `SHA256/NAME`, and beside it what vouches for it.

use std::collections::HashSet;
use std::fs::{self, Metadata};
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use serde::{Deserialize, Serialize};

use super::hash::hash_file;
use super::{StoreError, disk};
use crate::Progress;
use crate::catalogue::{Digest, ModelFile};

/// Where a file is, or would be. Its folder is named by the SHA-256 of its content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Object {
    folder: PathBuf,
    sha256: String,
    name: String,
}

/// What the file was like when it was hashed.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Stamp {
    bytes: u64,
    modified_ns: u64,
    /// Whisper's publisher gives only this one.
    sha1: String,
}

impl Object {
    /// The object of that content and name below `objects`.
    pub(crate) fn new(objects: &Path, sha256: &str, name: &str) -> Self {
        Self { folder: objects.join(sha256), sha256: sha256.to_owned(), name: name.to_owned() }
    }

    /// The file itself.
    pub(crate) fn path(&self) -> PathBuf {
        self.folder.join(&self.name)
    }

    /// The cheap check: size and time are those of the last verification.
    pub(crate) fn is_as_verified(&self) -> bool {
        let Ok(meta) = fs::metadata(self.path()) else { return false };
        self.stamp().is_some_and(|stamp| stamp.bytes == meta.len() && stamp.modified_ns == modified_ns(&meta))
    }

    /// Whether it was ever hashed and found right.
    pub(crate) fn was_verified(&self) -> bool {
        self.stamp().is_some()
    }

    /// Hashes it. `None`: it is `file`, and vouched for from now on; else what is wrong.
    pub(crate) fn verify(&self, file: &ModelFile, progress: &mut dyn Progress) -> Result<Option<String>, StoreError> {
        let path = self.path();
        let meta = metadata(&path)?;
        progress.started(file.name, meta.len());
        let found = hash_file(&path, progress);
        progress.finished();
        let found = found?;
        if found.sha256 != self.sha256 || !found.is_any_of(file.accepted) {
            // So that the cheap check does not call it present.
            disk::remove(&self.stamp_path())?;
            return Ok(Some(format!("its SHA-256 {} is not what it should be", found.sha256)));
        }
        self.write_stamp(&Stamp { bytes: meta.len(), modified_ns: modified_ns(&meta), sha1: found.sha1 })?;
        Ok(None)
    }

    /// Moves `from`, whose content has been hashed, into place.
    pub(crate) fn install(&self, from: &Path, sha1: &str) -> Result<(), StoreError> {
        disk::create_folder(&self.folder)?;
        disk::publish(from, &self.path())?;
        let meta = metadata(&self.path())?;
        self.write_stamp(&Stamp { bytes: meta.len(), modified_ns: modified_ns(&meta), sha1: sha1.to_owned() })
    }

    /// Whether its SHA-256, or the SHA-1 that was taken with it, is among these.
    pub(crate) fn is_one_of(&self, digests: &HashSet<String>) -> bool {
        digests.contains(&self.sha256) || self.stamp().is_some_and(|stamp| digests.contains(&stamp.sha1))
    }

    /// Deletes it, and its folder if nothing else is in there.
    pub(crate) fn remove(&self) -> Result<(), StoreError> {
        disk::remove(&self.stamp_path())?;
        disk::remove(&self.path())?;
        // Not empty: the same content under another name.
        let _ = fs::remove_dir(&self.folder);
        Ok(())
    }

    fn stamp_path(&self) -> PathBuf {
        self.folder.join(format!("{}.verified.json", self.name))
    }

    /// `None` when there is no readable stamp: then the file does not count as verified.
    fn stamp(&self) -> Option<Stamp> {
        fs::read(self.stamp_path()).ok().and_then(|json| serde_json::from_slice(&json).ok())
    }

    fn write_stamp(&self, stamp: &Stamp) -> Result<(), StoreError> {
        if self.stamp().as_ref() == Some(stamp) {
            return Ok(());
        }
        let part = self.stamp_path().with_extension("json.part");
        let written = serde_json::to_vec_pretty(stamp).map_err(Into::into).and_then(|json| fs::write(&part, json));
        written.map_err(|error| StoreError::io("write", &part, error))?;
        disk::publish(&part, &self.stamp_path())
    }
}

/// Every object below `objects` that is, or claims to be, `file`.
pub(crate) fn candidates(objects: &Path, file: &ModelFile) -> Vec<Object> {
    let by_sha256 = file.accepted.iter().filter_map(|digest| match digest {
        Digest::Sha256(hex) => Some(Object::new(objects, hex, file.name)),
        Digest::Sha1(_) => None,
    });
    let by_sha1 = file.accepted.iter().flat_map(|digest| match digest {
        Digest::Sha256(_) => Vec::new(),
        Digest::Sha1(hex) => with_sha1(objects, file.name, hex),
    });
    by_sha256.chain(by_sha1).filter(|object| object.path().is_file()).collect()
}

/// Objects of that name whose content has, or may have, this SHA-1.
fn with_sha1(objects: &Path, name: &str, sha1: &str) -> Vec<Object> {
    let Ok(folders) = fs::read_dir(objects) else { return Vec::new() };
    let names = folders.flatten().filter_map(|folder| folder.file_name().into_string().ok());
    let found = names.map(|sha256| Object::new(objects, &sha256, name));
    found.filter(|object| object.stamp().is_none_or(|stamp| stamp.sha1 == sha1)).collect()
}

fn metadata(path: &Path) -> Result<Metadata, StoreError> {
    fs::metadata(path).map_err(|error| StoreError::io("read", path, error))
}

fn modified_ns(meta: &Metadata) -> u64 {
    let since_epoch = meta.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
    since_epoch.map_or(0, |since| since.as_nanos() as u64)
}
