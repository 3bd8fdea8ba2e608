//! What can go wrong with the database, sorted by what the caller can do about it.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use rusqlite::ErrorCode;

/// Why a read or a write did not happen. Cheap to clone: one failed commit answers many jobs.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum StorageError {
    /// Nothing was written; the same write succeeds once there is room again.
    #[error("disk full: {free_bytes} bytes free in {}; delete old recordings or attach a larger disk", dir.display())]
    DiskFull {
        /// Bytes an ordinary process may still write there.
        free_bytes: u64,
        /// The folder of the database.
        dir: PathBuf,
    },
    /// The database file is damaged; the next start moves it aside and begins a fresh one.
    #[error("the database is damaged ({0}); restart Offhook: it keeps the damaged file and starts a fresh one")]
    Damaged(Arc<rusqlite::Error>),
    /// The writer's queue has no room; only the variants that do not wait say so.
    #[error("the storage queue is full")]
    QueueFull,
    /// The storage is closed or closing.
    #[error("the storage is closed")]
    Closed,
    /// No read connection came free in time.
    #[error("no read connection came free within {0} ms")]
    ReadersBusy(u64),
    /// The job panicked: a bug of ours. Its writes were undone.
    #[error("a storage job panicked; its writes were undone")]
    JobPanicked,
    /// The job stopped itself; its writes were undone.
    #[error("the storage job refused: {0}")]
    Refused(&'static str),
    /// No row has this key.
    #[error("no {0} with this id")]
    NotFound(&'static str),
    /// More than one row's key starts like this.
    #[error("{matches} or more calls have an id that starts like this; give more of it")]
    Ambiguous {
        /// How many were seen before the search stopped.
        matches: usize,
    },
    /// Any other answer of SQLite, constraint violations among them.
    #[error("database: {0}")]
    Sql(Arc<rusqlite::Error>),
    /// A file beside the database.
    #[error("{}: {source}", path.display())]
    File {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: Arc<std::io::Error>,
    },
}

impl From<rusqlite::Error> for StorageError {
    fn from(error: rusqlite::Error) -> Self {
        match error.sqlite_error_code() {
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => StorageError::Damaged(Arc::new(error)),
            _ => StorageError::Sql(Arc::new(error)),
        }
    }
}

impl StorageError {
    /// A file operation on `path` that failed; a full disk is named as such.
    pub(crate) fn file(path: &Path, source: std::io::Error) -> Self {
        if source.kind() == std::io::ErrorKind::StorageFull {
            let dir = path.parent().unwrap_or(path).to_owned();
            return StorageError::DiskFull { free_bytes: free_bytes(&dir).unwrap_or(0), dir };
        }
        StorageError::File { path: path.to_owned(), source: Arc::new(source) }
    }

    /// The same error, but a full disk under `dir` is named as such.
    pub(crate) fn or_disk_full(self, dir: &Path) -> Self {
        let StorageError::Sql(error) = &self else { return self };
        let free_bytes = free_bytes(dir).unwrap_or(0);
        let full = match error.sqlite_error_code() {
            Some(ErrorCode::DiskFull) => true,
            // Growing the -shm or -wal file on a full disk comes back as a plain I/O error.
            Some(ErrorCode::SystemIoFailure) => free_bytes < NO_ROOM_BYTES,
            _ => false,
        };
        if full { StorageError::DiskFull { free_bytes, dir: dir.to_owned() } } else { self }
    }

    /// A violated UNIQUE, CHECK, NOT NULL or foreign key.
    pub fn is_constraint(&self) -> bool {
        matches!(self, StorageError::Sql(error) if error.sqlite_error_code() == Some(ErrorCode::ConstraintViolation))
    }
}

/// Below this an I/O error of SQLite is taken for a full disk: less than one -shm region and one WAL frame.
const NO_ROOM_BYTES: u64 = 64 * 1024;

/// Bytes an unprivileged process may still write to the file system that holds `dir`.
///
/// # Errors
/// What `statvfs(3)` says, e.g. that the folder does not exist.
pub fn free_bytes(dir: &Path) -> std::io::Result<u64> {
    use std::os::unix::ffi::OsStrExt;
    let path = std::ffi::CString::new(dir.as_os_str().as_bytes())?;
    let mut stat = std::mem::MaybeUninit::<libc::statvfs>::uninit();
    #[expect(unsafe_code, reason = "std has no statvfs: `path` is a C string and `stat` is read only after success")]
    let stat = unsafe {
        if libc::statvfs(path.as_ptr(), stat.as_mut_ptr()) != 0 {
            return Err(std::io::Error::last_os_error());
        }
        stat.assume_init()
    };
    Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
}

/// Why the database could not be opened. None of these changes or deletes anything.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// Another process writes to it.
    #[error("another Offhook already uses {}; stop it first, or give this one its own data folder", dir.display())]
    InUse {
        /// The data folder.
        dir: PathBuf,
    },
    /// Written by a newer release; nothing was changed.
    #[error(
        "{} has format {found}, this release knows up to {known}: it was written by a newer Offhook. Nothing was changed; install the newer release again, or move the file away to start afresh",
        path.display()
    )]
    Newer {
        /// The database file.
        path: PathBuf,
        /// Its `user_version`.
        found: i64,
        /// The newest version we can read.
        known: i64,
    },
    /// Read-only: the daemon has to bring it up to date first.
    #[error("{} has format {found}, this release needs {known}: start Offhook once to update it", path.display())]
    NotMigrated {
        /// The database file.
        path: PathBuf,
        /// Its `user_version`.
        found: i64,
        /// The version we need.
        known: i64,
    },
    /// A database, but not one of ours.
    #[error("{} is a database of another program (application_id {found:#x}); nothing was changed", path.display())]
    NotOurs {
        /// The database file.
        path: PathBuf,
        /// Its `application_id`.
        found: i64,
    },
    /// Read-only: there is no database yet.
    #[error("there is no database at {}; Offhook makes it at its first start", path.display())]
    Missing {
        /// Where it would be.
        path: PathBuf,
    },
    /// Damaged, and it may not (read-only) or could not be moved aside.
    #[error("{} is damaged: {reason}", path.display())]
    Damaged {
        /// The database file.
        path: PathBuf,
        /// What the check found.
        reason: String,
    },
    /// The file system refused.
    #[error("{}: {source}", path.display())]
    File {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// Anything else SQLite says.
    #[error("{}: {source}", path.display())]
    Sql {
        /// The database file.
        path: PathBuf,
        /// What SQLite said.
        source: rusqlite::Error,
    },
}
