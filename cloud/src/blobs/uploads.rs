//! What is on its way to become a blob: one file for each upload, as long as what is there.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::{BlobError, Content, FRAME_MAX, Hash, hash_of_file};
use crate::files;
use crate::store::BoxName;

/// The uploads of all boxes. Blocks: not for async threads.
#[derive(Debug)]
pub struct Uploads {
    root: PathBuf,
    /// One for each box that has come: what it has begun changes by one at a time.
    boxes: Mutex<BTreeMap<BoxName, Turn>>,
}

type Turn = Arc<Mutex<()>>;

/// An upload, for its frames.
#[derive(Debug)]
pub struct Part {
    path: PathBuf,
    file: File,
    sha256: Hash,
    size_bytes: u64,
    turn: Turn,
}

/// A file of an upload, by its name.
struct Found {
    path: PathBuf,
    content: Content,
}

impl Uploads {
    /// The uploads in `root`, which is made.
    ///
    /// # Errors
    /// [`BlobError::File`].
    pub fn open(root: &Path) -> Result<Uploads, BlobError> {
        files::make_folder(root).map_err(|error| BlobError::file(root, error))?;
        Ok(Uploads { root: root.to_owned(), boxes: Mutex::default() })
    }

    fn turn_of(&self, of: &BoxName) -> Turn {
        let mut boxes = self.boxes.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(boxes.entry(of.clone()).or_default())
    }

    fn folder(&self, of: &BoxName) -> PathBuf {
        self.root.join(&of.tenant_id).join(&of.box_id)
    }

    /// Where to go on, on disk; an upload that is not there is begun. Everything that the box has begun is at most
    /// `limit` bytes, by what it has announced.
    pub(super) fn begin(&self, of: &BoxName, content: Content, limit: u64) -> Result<u64, BlobError> {
        let turn = self.turn_of(of);
        let _turn = lock(&turn);
        let folder = self.folder(of);
        let mut others = 0_u64;
        for found in found_in(&folder)? {
            if found.content == content {
                return Part::open(found, Arc::clone(&turn))?.flush();
            }
            if found.content.sha256 == content.sha256 {
                // One of the two sizes is wrong: the new one is believed, and what comes is checked in the end.
                remove(&found.path)?;
            } else {
                others = others.saturating_add(found.content.size_bytes);
            }
        }
        let bytes = others.saturating_add(content.size_bytes);
        if bytes > limit {
            return Err(BlobError::Unfinished { bytes, limit });
        }
        files::make_folder(&folder).map_err(|error| BlobError::file(&folder, error))?;
        let path = folder.join(name_of(content));
        let made = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
        let synced = made.and_then(|file| file.sync_all()).and_then(|()| File::open(&folder)?.sync_all());
        synced.map_err(|error| BlobError::file(&path, error))?;
        Ok(0)
    }

    /// The upload of this content.
    pub(super) fn part(&self, of: &BoxName, sha256: &Hash) -> Result<Part, BlobError> {
        let found = self.find(of, sha256)?.ok_or(BlobError::NotBegun)?;
        Part::open(found, self.turn_of(of))
    }

    fn find(&self, of: &BoxName, sha256: &Hash) -> Result<Option<Found>, BlobError> {
        Ok(found_in(&self.folder(of))?.into_iter().find(|found| found.content.sha256 == *sha256))
    }

    /// The file of a whole upload whose hash is right. One whose hash is another is thrown away.
    pub(super) fn check(&self, of: &BoxName, content: Content) -> Result<PathBuf, BlobError> {
        let Found { path, content: begun } = self.find(of, &content.sha256)?.ok_or(BlobError::NotBegun)?;
        if begun.size_bytes != content.size_bytes {
            return Err(BlobError::OtherSize { got: content.size_bytes, is: begun.size_bytes });
        }
        let in_file = |error| BlobError::file(&path, error);
        let have = fs::metadata(&path).map_err(in_file)?.len();
        if have != content.size_bytes {
            return Err(BlobError::Incomplete { have, size_bytes: content.size_bytes });
        }
        // It is whole: no frame fits any more, so nobody changes it.
        let found = hash_of_file(&path).map_err(in_file)?;
        if found != content.sha256 {
            remove(&path)?;
            return Err(BlobError::Damaged { expected: hex::encode(content.sha256), found: hex::encode(found) });
        }
        Ok(path)
    }

    /// An upload that has become a blob.
    pub(super) fn forget(&self, of: &BoxName, sha256: &Hash) -> Result<(), BlobError> {
        match self.find(of, sha256)? {
            Some(found) => remove(&found.path),
            None => Ok(()),
        }
    }

    /// Everything that the boxes of a tenant have begun goes.
    pub(super) fn forget_tenant(&self, tenant_id: &str) -> Result<(), BlobError> {
        let folder = self.root.join(tenant_id);
        files::remove_folder(&folder).map_err(|error| BlobError::file(&folder, error))
    }

    /// Uploads go that were not written to for `after`: how many.
    pub(super) fn sweep(&self, after: Duration) -> Result<usize, BlobError> {
        let mut swept = 0;
        for tenant in folders_in(&self.root)? {
            for folder in folders_in(&tenant)? {
                let name = |path: &Path| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
                let turn = self.turn_of(&BoxName { tenant_id: name(&tenant), box_id: name(&folder) });
                let _turn = lock(&turn);
                for found in found_in(&folder)? {
                    let rest =
                        fs::metadata(&found.path).and_then(|metadata| metadata.modified()).map(|at| at.elapsed());
                    // One that was written in the future, before the clock was set, is young.
                    if matches!(rest, Ok(Ok(rest)) if rest >= after) {
                        remove(&found.path)?;
                        swept += 1;
                    }
                }
            }
        }
        Ok(swept)
    }
}

impl Part {
    fn open(found: Found, turn: Turn) -> Result<Part, BlobError> {
        let Found { path, content: Content { sha256, size_bytes } } = found;
        let opened = OpenOptions::new().write(true).open(&path);
        let file = opened.map_err(|error| match error.kind() == io::ErrorKind::NotFound {
            true => BlobError::NotBegun,
            false => BlobError::file(&path, error),
        })?;
        Ok(Part { path, file, sha256, size_bytes, turn })
    }

    /// Of what.
    pub fn sha256(&self) -> Hash {
        self.sha256
    }

    fn length(&self) -> Result<u64, BlobError> {
        let metadata = self.file.metadata().map_err(|error| BlobError::file(&self.path, error))?;
        // It was thrown away meanwhile.
        if metadata.nlink() == 0 { Err(BlobError::NotBegun) } else { Ok(metadata.len()) }
    }

    pub(super) fn append(&self, offset_bytes: u64, content: &[u8]) -> Result<(), BlobError> {
        if !(1..=FRAME_MAX).contains(&content.len()) {
            return Err(BlobError::Frame(content.len()));
        }
        let _turn = lock(&self.turn);
        let expected = self.length()?;
        if offset_bytes != expected {
            return Err(BlobError::Offset { expected, got: offset_bytes });
        }
        let end = offset_bytes.saturating_add(u64::try_from(content.len()).unwrap_or(u64::MAX));
        if end > self.size_bytes {
            return Err(BlobError::BeyondEnd { end, size_bytes: self.size_bytes });
        }
        self.file.write_all_at(content, offset_bytes).map_err(|error| {
            // Half a frame on a full disk: the file is as long as what is there. If even that fails, the hash tells.
            let _ = self.file.set_len(expected);
            BlobError::file(&self.path, error)
        })
    }

    pub(super) fn flush(&self) -> Result<u64, BlobError> {
        let length = self.length()?;
        self.file.sync_data().map_err(|error| BlobError::file(&self.path, error))?;
        Ok(length)
    }
}

fn lock(turn: &Turn) -> MutexGuard<'_, ()> {
    // Whoever panicked has left a file, which says itself what it holds.
    turn.lock().unwrap_or_else(PoisonError::into_inner)
}

fn name_of(content: Content) -> String {
    format!("{}.{}.part", hex::encode(content.sha256), content.size_bytes)
}

fn parse_name(name: &str) -> Option<Content> {
    let (sha256, size_bytes) = name.strip_suffix(".part")?.split_once('.')?;
    Some(Content { sha256: hex::decode(sha256).ok()?.try_into().ok()?, size_bytes: size_bytes.parse().ok()? })
}

fn found_in(folder: &Path) -> Result<Vec<Found>, BlobError> {
    let found = entries(folder)?.into_iter().filter_map(|path| {
        let content = parse_name(path.file_name()?.to_str()?)?;
        Some(Found { path, content })
    });
    Ok(found.collect())
}

fn folders_in(folder: &Path) -> Result<Vec<PathBuf>, BlobError> {
    Ok(entries(folder)?.into_iter().filter(|path| path.is_dir()).collect())
}

/// Nothing where there is no folder.
fn entries(folder: &Path) -> Result<Vec<PathBuf>, BlobError> {
    let listed = match fs::read_dir(folder) {
        Ok(entries) => entries.map(|entry| entry.map(|entry| entry.path())).collect::<io::Result<Vec<_>>>(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error),
    };
    let mut paths = listed.map_err(|error| BlobError::file(folder, error))?;
    paths.sort();
    Ok(paths)
}

fn remove(path: &Path) -> Result<(), BlobError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(BlobError::file(path, error)),
        Ok(()) | Err(_) => Ok(()),
    }
}
