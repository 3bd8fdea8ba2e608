//! Making backups: bases, segments, recordings.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use cloud_api::v1::{LogRange, Row, RowBatch, TableRows, row_batch::Scope};
use prost::Message as _;
use rusqlite::{Connection, OpenFlags, OptionalExtension as _};

use super::vault::{Base, Segment, recording_name};
use super::{BackupError, Recipients, Vault, file_error};
use crate::storage::{AudioFiles, DATABASE_FILE};
use crate::sync::engine::Limits;
use crate::sync::log::{Reader, log_head, value};

/// Rows of a message in a segment.
const LIMITS: Limits = Limits { rows: 5_000, bytes: 4 << 20 };
/// Tables that the change log is not about and that a restart keeps: where phones are, and what they have said about their
/// calls. They are small, and in each segment whole.
pub(super) const WHOLE: [&str; 2] = ["diversions", "registrations"];
/// Of each of these at most: no office has more phones.
const WHOLE_ROWS: u32 = 10_000;
/// Larger files beside the database are none of its settings, in bytes.
const SMALL_FILE_MAX: u64 = 1 << 20;
/// zstd's level: a quarter of the size at little work.
const LEVEL: i32 = 3;
/// Not part of a base: the database itself, sound, what is made anew, and what lasts as long as a process.
const LEFT_OUT: [&str; 7] = [
    DATABASE_FILE,
    "offhook.lock",
    "recordings",
    "backup/scratch",
    "backup/outgoing",
    "cloud/state.json",
    "demo-call.wav",
];
/// The name of the configuration in a base.
pub(super) const CONFIG_FILE: &str = "offhook.toml";
/// The folder of files beside the database in a base.
pub(super) const STATE_FOLDER: &str = "state";

/// A folder for what is not sealed yet, removed when it is dropped.
pub(super) struct Scratch(PathBuf);

impl Scratch {
    pub(super) fn new(state_directory: &Path) -> Result<Scratch, BackupError> {
        let folder = state_directory.join("backup/scratch");
        // Of a process that was killed.
        match fs::remove_dir_all(&folder) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(file_error(&folder)(error)),
            Ok(()) | Err(_) => {}
        }
        fs::create_dir_all(&folder).map_err(file_error(&folder))?;
        Ok(Scratch(folder))
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // The next one removes what this one could not.
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A whole and checked copy of the database, and what it is as a base.
pub(super) fn snapshot(state_directory: &Path, copy: &Path) -> Result<Base, BackupError> {
    let path = state_directory.join(DATABASE_FILE);
    let source = Connection::open_with_flags(&path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    source.busy_timeout(std::time::Duration::from_secs(30))?;
    source.execute("VACUUM INTO ?1", [copy.display().to_string()])?;
    drop(source);
    let made = Connection::open_with_flags(copy, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    let verdict: String = made.query_row("PRAGMA integrity_check(1)", [], |row| row.get(0))?;
    if verdict != "ok" {
        return Err(BackupError::Damaged { what: path.display().to_string(), why: verdict });
    }
    Ok(Base { epoch: epoch(&made)?, seq: log_head(&made)? })
}

/// The box's epoch: the first until it was restored or its place was taken.
pub(super) fn epoch(db: &Connection) -> Result<u64, BackupError> {
    let epoch: Option<i64> = db.query_row("SELECT epoch FROM sync_state", [], |row| row.get(0)).optional()?;
    Ok(epoch.map_or(1, i64::unsigned_abs))
}

/// Makes a base in a vault, or goes on with one that was begun; gives it, and its size in bytes once it is there.
pub(super) fn base(
    state_directory: &Path,
    config_file: Option<&Path>,
    vault: &Vault,
    recipients: &Recipients,
    begun: Option<Base>,
) -> Result<(Base, Option<u64>), BackupError> {
    if let Some(base) = begun {
        return Ok((base, vault.go_on(&base.name())?));
    }
    let scratch = Scratch::new(state_directory)?;
    let copy = scratch.path(DATABASE_FILE);
    let base = snapshot(state_directory, &copy)?;
    let small = small_files(state_directory)?;
    let packed = |to: &mut dyn io::Write| pack(to, &copy, config_file, state_directory, &small);
    let size = vault.put(&base.name(), recipients, packed)?;
    Ok((base, size))
}

fn pack(
    to: &mut dyn io::Write,
    database: &Path,
    config_file: Option<&Path>,
    state_directory: &Path,
    small: &[PathBuf],
) -> Result<(), BackupError> {
    let packed = || -> io::Result<()> {
        let mut archive = tar::Builder::new(zstd::Encoder::new(to, LEVEL)?);
        archive.append_path_with_name(database, DATABASE_FILE)?;
        // A box without a file runs with the defaults, and so does the restored one.
        if let Some(file) = config_file.filter(|file| file.exists()) {
            archive.append_path_with_name(file, CONFIG_FILE)?;
        }
        for name in small {
            archive.append_path_with_name(state_directory.join(name), Path::new(STATE_FOLDER).join(name))?;
        }
        archive.into_inner()?.finish()?;
        Ok(())
    };
    packed().map_err(file_error(database))
}

/// Settings and keys beside the database.
fn small_files(state_directory: &Path) -> Result<Vec<PathBuf>, BackupError> {
    let mut found = Vec::new();
    let mut folders = vec![PathBuf::new()];
    while let Some(folder) = folders.pop() {
        let path = state_directory.join(&folder);
        let entries = match fs::read_dir(&path) {
            Ok(entries) => entries,
            // Root's own.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => continue,
            Err(error) => return Err(file_error(&path)(error)),
        };
        for entry in entries {
            let entry = entry.map_err(file_error(&path))?;
            let name = folder.join(entry.file_name());
            // With a hyphen: what SQLite keeps beside its database.
            let out = |left: &&str| name == Path::new(left) || name.to_string_lossy().starts_with(&format!("{left}-"));
            let Ok(facts) = entry.metadata() else { continue };
            if LEFT_OUT.iter().any(out) {
                continue;
            }
            if facts.is_dir() {
                folders.push(name);
            } else if facts.is_file() && facts.len() <= SMALL_FILE_MAX && File::open(entry.path()).is_ok() {
                found.push(name);
            }
        }
    }
    found.sort();
    Ok(found)
}

/// What a segment needs: the rows of entries after `after`, as they are now, and [`WHOLE`]. None if there are no entries. In a transaction of the
/// caller's: a segment is the state of one commit.
pub(super) fn changes(sql_tx: &Connection, after: i64) -> Result<Option<(Segment, Vec<u8>)>, BackupError> {
    let head = log_head(sql_tx)?;
    if head <= after {
        return Ok(None);
    }
    let mut reader = Reader::default();
    let mut encoded = Vec::new();
    let mut at = after;
    while at < head {
        let stretch = reader.stretch(sql_tx, at, LIMITS, &BTreeSet::new(), None)?;
        let range = LogRange { after: at, to: stretch.to };
        let batch = RowBatch { scope: Some(Scope::Log(range)), tables: stretch.tables, ..RowBatch::default() };
        batch.encode_length_delimited(&mut encoded).unwrap_or_default();
        at = stretch.to;
    }
    let tables = WHOLE.iter().map(|name| whole(sql_tx, name)).collect::<Result<_, _>>()?;
    let batch = RowBatch { tables, ..RowBatch::default() };
    batch.encode_length_delimited(&mut encoded).unwrap_or_default();
    Ok(Some((Segment { epoch: epoch(sql_tx)?, after, to: head }, encoded)))
}

/// Every row of a table; what restores it takes them instead of those that are there.
fn whole(sql_tx: &Connection, name: &str) -> Result<TableRows, BackupError> {
    let mut statement = sql_tx.prepare(&format!("SELECT * FROM {name} LIMIT {WHOLE_ROWS}"))?;
    let columns: Vec<String> = statement.column_names().map(str::to_owned).collect();
    let rows = statement.query_map([], |row| {
        let values = (0..columns.len()).map(|at| Ok(value(row.get_ref(at)?))).collect::<rusqlite::Result<_>>()?;
        Ok(Row { values, ..Row::default() })
    })?;
    let rows = rows.collect::<Result<_, _>>()?;
    Ok(TableRows { table: name.to_owned(), columns, rows, ..TableRows::default() })
}

/// Whether the change log still has everything after this entry.
pub(super) fn has_all_after(db: &Connection, after: i64) -> Result<bool, BackupError> {
    let head = log_head(db)?;
    let oldest: Option<i64> =
        db.query_row("SELECT min(seq) FROM change_log WHERE seq > ?1", [after], |row| row.get(0))?;
    Ok(head <= after || oldest.is_some_and(|oldest| oldest == after + 1))
}

/// Writes a segment into a vault; gives its size in bytes once it is there.
pub(super) fn segment(
    vault: &Vault,
    recipients: &Recipients,
    segment: Segment,
    encoded: &[u8],
) -> Result<Option<u64>, BackupError> {
    let name = segment.name();
    vault.put(&name, recipients, |to| {
        let packed = || -> io::Result<()> {
            let mut packed = zstd::Encoder::new(to, LEVEL)?;
            packed.write_all(encoded)?;
            packed.finish()?;
            Ok(())
        };
        packed().map_err(file_error(Path::new(&name)))
    })
}

/// Hashes of the recordings that rows name.
pub(super) fn named_recordings(db: &Connection) -> Result<BTreeSet<String>, BackupError> {
    let mut statement = db.prepare("SELECT DISTINCT sha256 FROM recordings")?;
    Ok(statement.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?)
}

/// Copies recordings that the vault lacks, and removes those that no row names any more; at most `limit` are copied. How many
/// were, and whether all are there.
pub(super) fn recordings(
    db: &Connection,
    files: &AudioFiles,
    vault: &Vault,
    recipients: &Recipients,
    limit: usize,
) -> Result<(usize, bool), BackupError> {
    let named = named_recordings(db)?;
    let there = vault.recordings()?;
    let gone: Vec<String> = there.difference(&named).map(|sha256| recording_name(sha256)).collect();
    vault.remove(&gone)?;
    let mut copied = 0;
    for missing in named.difference(&there) {
        let path = files.path_of(missing);
        let mut file = match File::open(&path) {
            Ok(file) => file,
            // Its retention is over, or it was lost before: nothing to be copied.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(file_error(&path)(error)),
        };
        if copied == limit {
            return Ok((copied, false));
        }
        let name = recording_name(missing);
        let there = vault.put(&name, recipients, |to| io::copy(&mut file, to).map(drop).map_err(file_error(&path)))?;
        if there.is_none() {
            return Ok((copied, false));
        }
        copied += 1;
    }
    Ok((copied, true))
}
