//! The few file-system habits that the store and the fetcher share.

use std::fs::{self, File};
use std::io;
use std::path::Path;

use super::StoreError;

/// Bytes that this user can still write at `path` or its nearest existing ancestor; 0 when that cannot be told.
pub(crate) fn free_bytes(path: &Path) -> u64 {
    let stat = path.ancestors().find_map(|folder| rustix::fs::statvfs(folder).ok());
    stat.map_or(0, |stat| stat.f_bavail.saturating_mul(stat.f_frsize))
}

/// Refuses early, naming the numbers, when `needed_bytes` do not fit at `path`.
pub(crate) fn check_space(path: &Path, needed_bytes: u64) -> Result<(), StoreError> {
    let free_bytes = free_bytes(path);
    if free_bytes < needed_bytes {
        return Err(StoreError::DiskFull { path: path.to_owned(), needed_bytes, free_bytes });
    }
    Ok(())
}

pub(crate) fn create_folder(path: &Path) -> Result<(), StoreError> {
    fs::create_dir_all(path).map_err(|error| StoreError::io("create", path, error))
}

/// Makes `from` appear at `to` in one step that survives a power cut: content first, then the name.
pub(crate) fn publish(from: &Path, to: &Path) -> Result<(), StoreError> {
    let synced = File::open(from).and_then(|file| file.sync_all());
    synced.map_err(|error| StoreError::io("write", from, error))?;
    fs::rename(from, to).map_err(|error| StoreError::io("rename to", to, error))?;
    to.parent().map_or(Ok(()), sync_folder)
}

fn sync_folder(folder: &Path) -> Result<(), StoreError> {
    let synced = File::open(folder).and_then(|file| file.sync_all());
    synced.map_err(|error| StoreError::io("write", folder, error))
}

/// Removes a file or a whole folder; its absence is fine.
pub(crate) fn remove(path: &Path) -> Result<(), StoreError> {
    let removed = if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
    match removed {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(StoreError::io("remove", path, error)),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Bytes of all files under `folder`, as far as they can be seen: how far a child process has come.
pub(crate) fn bytes_under(folder: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(folder) else { return 0 };
    let bytes = |entry: fs::DirEntry| match entry.metadata() {
        Ok(meta) if meta.is_dir() => bytes_under(&entry.path()),
        Ok(meta) => meta.len(),
        Err(_) => 0,
    };
    entries.flatten().map(bytes).sum()
}
