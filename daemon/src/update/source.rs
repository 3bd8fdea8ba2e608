//! Where bundles come from: a file, a USB stick, or an address on the web.
//!
//! An address that ends in `.json` is an index that names version, file, size and hash of the newest bundle; any other
//! is a bundle itself. The index is not signed and need not be: it only says what to download. Whether that is installed
//! is decided by the bundle's signature, its manifest and the running version.

use std::path::{Path, PathBuf};

use models::{Progress, RemoteFile, StoreError, download_file, download_text};
use serde::Deserialize;

use crate::config::is_web_address;

/// Folders below a stick's own that are searched.
const DEPTH_LIMIT: usize = 2;
/// Files and folders that are looked at.
const ENTRIES_LIMIT: usize = 5_000;
/// An index has five lines.
const INDEX_LIMIT_BYTES: u64 = 64 * 1024;
/// What is being downloaded, and what an earlier download left (`.part`).
const DOWNLOAD: &str = "download.raucb";

/// A bundle on the web.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemoteBundle {
    /// Its address.
    pub url: String,
    /// Its version, if an index names it.
    pub version: Option<String>,
    bytes: Option<u64>,
    sha256: Option<String>,
}

/// Why nothing could be had from an address.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// The server, the way to it, or our disk.
    #[error(transparent)]
    Download(#[from] StoreError),
    /// The index is not one.
    #[error(
        "{url} is no index of updates ({reason}); expected JSON such as {{\"version\": \"1.2.3\", \"bundle\": \"offhook-1.2.3.raucb\"}}"
    )]
    Index {
        /// Its address.
        url: String,
        /// What is wrong with it.
        reason: String,
    },
}

#[derive(Deserialize)]
struct Index {
    version: String,
    /// An address, or a file name beside the index.
    bundle: String,
    bytes: Option<u64>,
    sha256: Option<String>,
}

/// What there is at `url`. Blocking: it may ask the server.
///
/// # Errors
/// [`SourceError`].
pub fn look_up(url: &str) -> Result<RemoteBundle, SourceError> {
    if !url.ends_with(".json") {
        return Ok(RemoteBundle { url: url.to_owned(), version: None, bytes: None, sha256: None });
    }
    parse_index(url, &download_text(url, INDEX_LIMIT_BYTES)?)
}

fn parse_index(url: &str, text: &str) -> Result<RemoteBundle, SourceError> {
    let wrong = |reason: String| SourceError::Index { url: url.to_owned(), reason };
    let index: Index = serde_json::from_str(text).map_err(|error| wrong(error.to_string()))?;
    let is_hash =
        |text: &String| text.len() == 64 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    if !index.sha256.as_ref().is_none_or(is_hash) {
        return Err(wrong("sha256 is not 64 small hexadecimal digits".into()));
    }
    let folder = url.rsplit_once('/').map_or("", |(folder, _)| folder);
    let address = if is_web_address(&index.bundle) { index.bundle } else { format!("{folder}/{}", index.bundle) };
    Ok(RemoteBundle { url: address, version: Some(index.version), bytes: index.bytes, sha256: index.sha256 })
}

impl RemoteBundle {
    /// Downloads it into `folder`, going on from what an earlier attempt left. Blocking.
    ///
    /// # Errors
    /// [`SourceError::Download`]; what has arrived is kept for the next attempt, unless its hash is wrong.
    pub fn download(
        &self,
        folder: &Path,
        limit_bytes: u64,
        progress: &mut dyn Progress,
    ) -> Result<PathBuf, SourceError> {
        let to = folder.join(DOWNLOAD);
        let (bytes, sha256) = (self.bytes, self.sha256.as_deref());
        let file = RemoteFile { url: &self.url, name: "bundle", bytes, limit_bytes, sha256 };
        std::fs::create_dir_all(folder).map_err(|source| StoreError::Io {
            action: "create",
            path: folder.to_owned(),
            source,
        })?;
        download_file(&file, &to, progress)?;
        Ok(to)
    }
}

/// Bundles on sticks, by path.
pub fn on_sticks(folders: &[PathBuf]) -> Vec<PathBuf> {
    let mut left = ENTRIES_LIMIT;
    let mut found = Vec::new();
    for folder in folders {
        search(folder, DEPTH_LIMIT, &mut left, &mut found);
    }
    found.sort();
    found
}

fn search(folder: &Path, depth: usize, left: &mut usize, found: &mut Vec<PathBuf>) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        if *left == 0 {
            return;
        }
        *left -= 1;
        let Ok(kind) = entry.file_type() else { continue };
        let path = entry.path();
        if kind.is_dir() && depth > 0 {
            search(&path, depth - 1, left, found);
        } else if kind.is_file() && path.extension().is_some_and(|end| end.eq_ignore_ascii_case("raucb")) {
            found.push(path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_index_names_version_and_bundle_beside_it_or_elsewhere() {
        let url = "https://updates.example/stable/latest.json";
        let index = |text: &str| parse_index(url, text).map_err(|error| error.to_string());
        let beside = index(r#"{"version":"0.2.0","bundle":"offhook-0.2.0.raucb","bytes":7,"other":1}"#).unwrap();
        assert_eq!(beside.url, "https://updates.example/stable/offhook-0.2.0.raucb");
        assert_eq!((beside.version.as_deref(), beside.bytes), (Some("0.2.0"), Some(7)));
        let elsewhere = index(r#"{"version":"0.2.0","bundle":"http://mirror.example/b.raucb"}"#).unwrap();
        assert_eq!(elsewhere.url, "http://mirror.example/b.raucb");
        for (text, expected) in [
            ("{}", "missing field"),
            ("<html>", "expected value"),
            (r#"{"version":"1","bundle":"b","sha256":"XY"}"#, "sha256"),
        ] {
            let error = index(text).unwrap_err();
            assert!(error.contains(expected) && error.contains("latest.json"), "{error}");
        }
    }

    #[test]
    fn bundles_on_a_stick_are_found_in_its_folders_but_not_endlessly_deep() {
        let folder = tempfile::tempdir().unwrap();
        for path in ["OFFHOOK/new.raucb", "OFFHOOK/updates/older.RAUCB", "OFFHOOK/a/b/too-deep.raucb", "OFFHOOK/x.txt"]
        {
            let path = folder.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "").unwrap();
        }
        let found = on_sticks(&[folder.path().to_owned(), "/nowhere".into()]);
        let names: Vec<_> = found.iter().map(|path| path.file_name().unwrap().to_str().unwrap()).collect();
        assert_eq!(names, ["new.raucb", "older.RAUCB"]);
    }
}
