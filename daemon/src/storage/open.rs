//! Opening the database for writing: checks, settings, migration, and what happens to a damaged file.

use std::{
    fs::{File, TryLockError},
    path::{Path, PathBuf},
    time::Duration,
};

use rusqlite::{Connection, ErrorCode};

use super::{
    error::OpenError,
    ids::UnixMs,
    migrate::{Stamp, known_version, migrate},
};

/// The database's name in the data folder.
pub(crate) const DATABASE_FILE: &str = "offhook.db";
/// Locked by the process that may write.
const LOCK_FILE: &str = "offhook.lock";
/// How long SQLite waits for a lock another process holds, e.g. a backup.
pub(super) const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// Pages of the database kept in memory: rows are written at the ends of tables, and the system caches files anyway.
const CACHE_KIB: i32 = 1_024;
/// The write-ahead log is cut back to this after a checkpoint, so that one burst does not keep the disk.
const WAL_KEPT_BYTES: u32 = 16 * 1024 * 1024;
/// Pages in the write-ahead log before it is checkpointed, 12 MiB: the more, the more often a page that changes with each
/// call, such as the end of an index, is copied once for many.
const CHECKPOINT_PAGES: u32 = 3_072;

/// A damaged database that was moved out of the way; nothing of it was deleted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SetAside {
    /// Where the damaged file is now. Its `-wal` lies beside it under the same name.
    pub path: PathBuf,
    /// What the check found.
    pub reason: String,
}

/// A database ready to write.
pub(super) struct OpenedFile {
    pub(super) db: Connection,
    pub(super) lock: File,
    pub(super) set_aside: Option<SetAside>,
}

/// Opens, checks and migrates `dir`'s database, making both if need be.
pub(super) fn open_for_writing(dir: &Path) -> Result<OpenedFile, OpenError> {
    std::fs::create_dir_all(dir).map_err(|source| OpenError::File { path: dir.to_owned(), source })?;
    let lock = lock(dir)?;
    let path = dir.join(DATABASE_FILE);
    match open_checked(&path) {
        Ok(db) => Ok(OpenedFile { db, lock, set_aside: None }),
        Err(OpenError::Damaged { reason, .. }) => {
            let set_aside = move_aside(&path, reason)?;
            tracing::error!(reason = set_aside.reason, path = %set_aside.path.display(),
                "The database is damaged: kept under another name, starting with an empty one");
            Ok(OpenedFile { db: open_checked(&path)?, lock, set_aside: Some(set_aside) })
        }
        Err(other) => Err(other),
    }
}

/// Two writers would mark each other's calls as interrupted: one process per folder.
fn lock(dir: &Path) -> Result<File, OpenError> {
    let path = dir.join(LOCK_FILE);
    let file = File::create(&path).map_err(|source| OpenError::File { path: path.clone(), source })?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(OpenError::InUse { dir: dir.to_owned() }),
        Err(TryLockError::Error(source)) => Err(OpenError::File { path, source }),
    }
}

fn open_checked(path: &Path) -> Result<Connection, OpenError> {
    let sql = |source: rusqlite::Error| match source.sqlite_error_code() {
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
            OpenError::Damaged { path: path.to_owned(), reason: source.to_string() }
        }
        _ => OpenError::Sql { path: path.to_owned(), source },
    };
    let mut db = Connection::open(path).map_err(sql)?;
    db.busy_timeout(BUSY_TIMEOUT).map_err(sql)?;
    let stamp = Stamp::read(&db).map_err(sql)?;
    refuse(path, &stamp)?;
    check(path, &db)?;
    configure(&db).map_err(sql)?;
    migrate(&mut db, stamp.user_version).map_err(sql)?;
    Ok(db)
}

/// Refuses what is not ours to touch, before anything is written.
fn refuse(path: &Path, stamp: &Stamp) -> Result<(), OpenError> {
    if stamp.is_foreign() {
        return Err(OpenError::NotOurs { path: path.to_owned(), found: stamp.application_id });
    }
    if stamp.is_too_new() {
        return Err(OpenError::Newer { path: path.to_owned(), found: stamp.user_version, known: known_version() });
    }
    Ok(())
}

/// `quick_check` reads every page once: about 1 s per GB, a call history of years.
fn check(path: &Path, db: &Connection) -> Result<(), OpenError> {
    let damaged = |reason: String| OpenError::Damaged { path: path.to_owned(), reason };
    let verdict: Result<String, _> = db.query_row("PRAGMA quick_check(1)", [], |row| row.get(0));
    match verdict {
        Ok(verdict) if verdict == "ok" => Ok(()),
        Ok(verdict) => Err(damaged(verdict)),
        Err(error) if error.sqlite_error_code() == Some(ErrorCode::DatabaseCorrupt) => Err(damaged(error.to_string())),
        Err(source) => Err(OpenError::Sql { path: path.to_owned(), source }),
    }
}

/// `synchronous=FULL` flushes the write-ahead log at every commit. With NORMAL, the usual choice for WAL, a power cut
/// may undo the last commits although nobody noticed: here an acknowledged voicemail must survive a pulled plug. Group
/// commit pays for it.
fn configure(db: &Connection) -> rusqlite::Result<()> {
    db.pragma_update(None, "journal_mode", "wal")?;
    db.pragma_update(None, "synchronous", "FULL")?;
    db.pragma_update(None, "foreign_keys", true)?;
    db.pragma_update(None, "journal_size_limit", WAL_KEPT_BYTES)?;
    db.pragma_update(None, "wal_autocheckpoint", CHECKPOINT_PAGES)?;
    // Negative: KiB instead of pages.
    db.pragma_update(None, "cache_size", -CACHE_KIB)?;
    db.set_prepared_statement_cache_capacity(64);
    Ok(())
}

/// Renames the database and its write-ahead log; the shared-memory file is rebuilt by SQLite and goes along.
fn move_aside(path: &Path, reason: String) -> Result<SetAside, OpenError> {
    let target = unused_name(path);
    // The log first: a crash in between must not leave it to be replayed into the fresh database.
    for suffix in ["-wal", "-shm", ""] {
        let from = with_suffix(path, suffix);
        if from.exists() {
            std::fs::rename(&from, with_suffix(&target, suffix)).map_err(|source| OpenError::Damaged {
                path: path.to_owned(),
                reason: format!("{reason}; {source}"),
            })?;
        }
    }
    Ok(SetAside { path: target, reason })
}

fn unused_name(path: &Path) -> PathBuf {
    let mut at = UnixMs::now().0;
    loop {
        let candidate = with_suffix(path, &format!(".damaged-{at}"));
        if !candidate.exists() {
            return candidate;
        }
        at += 1;
    }
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}
