//! A box from its backup, and the weekly proof that there could be one.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use cloud_api::v1::{RowBatch, TableRows, Value, value::Kind};
use prost::Message as _;
use rusqlite::types::Value as SqlValue;
use rusqlite::{Connection, OpenFlags, params_from_iter};
use sha2::{Digest as _, Sha256};
use tokio::runtime::Handle;
use tracing::warn;

use super::cloud::CloudVault;
use super::make::{CONFIG_FILE, STATE_FOLDER, Scratch, WHOLE, changes};
use super::vault::{Chain, Segment, recording_name};
use super::{BackupError, BackupKey, Recipients, Vault, file_error, make};
use crate::call::Line;
use crate::config::Config;
use crate::durable;
use crate::storage::{AudioFiles, DATABASE_FILE, Storage, StorageConfig, StorageError};
use crate::sync::enrolment::Enrolment;
use crate::sync::log::{next_epoch, table_of, totals};

/// Where the configuration of the lost box is put, for whoever sets the new one up.
const RESTORED_CONFIG: &str = "restored-offhook.toml";

/// What was restored.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Restored {
    /// As of which entry of the lost box's change log.
    pub to: i64,
    /// Segments after the base.
    pub segments: usize,
    /// Rows of calls, turns, messages and all else that is synced.
    pub rows: u64,
    /// Files with sound.
    pub recordings: usize,
    /// Bases and segments that could not be used, and why; what was restored is from before them.
    pub damaged: Vec<String>,
}

/// Restores the latest whole state into an empty state folder. The box takes a new epoch: the cloud takes it for the one that
/// was lost, and the lost one for nobody.
///
/// # Errors
/// [`BackupError`]; then the folder has no database.
pub fn restore(
    vault: &Vault,
    key: &BackupKey,
    state_directory: &Path,
    mut say: impl FnMut(&str),
) -> Result<Restored, BackupError> {
    check_is_empty(state_directory)?;
    let scratch = Scratch::new(state_directory)?;
    let folder = scratch.path("box");
    let mut restored = Restored::default();
    let storage = assemble(vault, key, &folder, &mut restored, &mut say)?;
    let incarnation: [u8; 16] = rand::random();
    let rows = storage.write_blocking(move |sql_tx| {
        next_epoch(sql_tx, 0, incarnation)?;
        Ok(totals(sql_tx)?.values().map(|sum| sum.rows).sum())
    })?;
    restored.rows = rows;
    storage.rest_blocking();
    storage.close_blocking();
    put_small_files(&folder, state_directory)?;
    // The database last: where it is, everything is.
    let (from, to) = (folder.join(DATABASE_FILE), state_directory.join(DATABASE_FILE));
    fs::rename(&from, &to).map_err(file_error(&to))?;
    File::open(state_directory).and_then(|folder| folder.sync_all()).map_err(file_error(state_directory))?;
    say("The database is restored; the box can be started. Recordings follow.");
    restored.recordings = put_recordings(vault, key, state_directory, &mut restored.damaged)?;
    Ok(restored)
}

/// Whether no box is in this folder yet.
///
/// # Errors
/// [`BackupError::NotEmpty`].
pub fn check_is_empty(state_directory: &Path) -> Result<(), BackupError> {
    match state_directory.join(DATABASE_FILE).exists() {
        true => Err(BackupError::NotEmpty(state_directory.display().to_string())),
        false => Ok(()),
    }
}

/// Recordings that a drill opens, other ones each time: all of them would be a restore.
const RECORDINGS_TRIED: usize = 8;

/// What a drill has proved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Drilled {
    /// Rows that are equal: all of them.
    pub rows: u64,
    /// Recordings that were opened and are what they should be.
    pub recordings: u64,
    /// Those that are not, each with why. What is here of them is taken from the backup, to be sent again.
    pub damaged: Vec<String>,
}

/// Restores into a scratch folder, with the box's own key, and compares it with what is here; of recordings it takes some.
///
/// # Errors
/// [`BackupError::Damaged`] if a single row differs.
pub fn drill(
    vault: &Vault,
    key: &BackupKey,
    recipients: &Recipients,
    state_directory: &Path,
) -> Result<Drilled, BackupError> {
    let path = state_directory.join(DATABASE_FILE);
    let db = Connection::open_with_flags(&path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    // What the sums are of is what the last segment brings the backup to.
    let sql_tx = db.unchecked_transaction()?;
    let here = totals(&sql_tx)?;
    let none = || BackupError::NoBase(vault.to_string());
    let reached = vault.list()?.latest(make::epoch(&sql_tx)?).ok_or_else(none)?.to();
    if let Some((segment, encoded)) = changes(&sql_tx, reached)?
        && make::segment(vault, recipients, segment, &encoded)?.is_none()
    {
        return Err(BackupError::Away("the last segment is still on its way".to_owned()));
    }
    drop(sql_tx);
    let scratch = Scratch::new(state_directory)?;
    let mut restored = Restored::default();
    let storage = assemble(vault, key, &scratch.path("box"), &mut restored, &mut |_| {})?;
    let there = storage.read_blocking(totals)?;
    storage.close_blocking();
    if let Some(damaged) = restored.damaged.first() {
        return Err(BackupError::Damaged { what: "the backup".to_owned(), why: damaged.clone() });
    }
    let differ: Vec<&str> =
        here.iter().filter(|(name, sum)| there.get(*name) != Some(sum)).map(|(name, _)| *name).collect();
    if !differ.is_empty() {
        let why = format!("restored, it differs in {}", differ.join(", "));
        return Err(BackupError::Damaged { what: vault.to_string(), why });
    }
    let rows = here.values().map(|sum| sum.rows).sum();
    let mut drilled = Drilled { rows, recordings: 0, damaged: Vec::new() };
    let files = AudioFiles::open(state_directory, Arc::new(crate::storage::PlainWav))?;
    let to = scratch.path("recording");
    for sha256 in some_of(&vault.recordings()?, &hex::encode(rand::random::<[u8; 32]>())) {
        match put_recording(vault, key, sha256, &to) {
            Ok(()) => drilled.recordings += 1,
            Err(error) => {
                vault.check()?;
                // As long as it has the name, nothing better gets it; but nothing is better than what there is nowhere else.
                if files.path_of(sha256).exists() {
                    vault.remove(&[recording_name(sha256)])?;
                }
                drilled.damaged.push(format!("recording {sha256}: {error}"));
            }
        }
    }
    Ok(drilled)
}

/// [`RECORDINGS_TRIED`] of them, from the one after `first` on, in a circle.
fn some_of<'a>(recordings: &'a BTreeSet<String>, first: &str) -> impl Iterator<Item = &'a String> {
    let behind = recordings.range(first.to_owned()..);
    behind.chain(recordings.range(..first.to_owned())).take(RECORDINGS_TRIED)
}

/// The latest base that can be used, with everything that continues it, in `folder`.
fn assemble(
    vault: &Vault,
    key: &BackupKey,
    folder: &Path,
    restored: &mut Restored,
    say: &mut impl FnMut(&str),
) -> Result<Storage, BackupError> {
    let listing = vault.list()?;
    let mut why = BackupError::NoBase(vault.to_string());
    for base in listing.bases.iter().rev() {
        let chain = listing.chain(*base);
        let (name, segments) = (chain.base.name(), chain.segments.len());
        say(&format!("{vault}: {name} and {segments} segments, up to entry {}", chain.to()));
        match assemble_chain(vault, key, folder, &chain, restored) {
            Ok(storage) => return Ok(storage),
            // Another base is sealed for the same keys.
            Err(error @ BackupError::Seal(_)) => return Err(error),
            Err(error) => {
                vault.check()?;
                say(&format!("{error}; trying the base before"));
                restored.damaged.push(error.to_string());
                why = error;
            }
        }
    }
    Err(why)
}

fn assemble_chain(
    vault: &Vault,
    key: &BackupKey,
    folder: &Path,
    chain: &Chain,
    restored: &mut Restored,
) -> Result<Storage, BackupError> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(file_error(folder)(error)),
        Ok(()) | Err(_) => {}
    }
    fs::create_dir_all(folder).map_err(file_error(folder))?;
    let name = chain.base.name();
    let damaged = |why: String| BackupError::Damaged { what: format!("{vault}: {name}"), why };
    let opened = vault.open_sealed(&name, key)?;
    let unpack = || -> io::Result<()> {
        let mut archive = tar::Archive::new(zstd::Decoder::new(opened)?);
        archive.set_preserve_permissions(true);
        // Names that lead out of the folder are left out by it.
        archive.unpack(folder)
    };
    unpack().map_err(|error| damaged(error.to_string()))?;
    // Opening looks through the whole file, and brings it to the format of this release.
    let opened = Storage::open(&StorageConfig { readers: 1, ..StorageConfig::new(folder) })
        .map_err(|error| damaged(error.to_string()))?;
    if let Some(aside) = opened.set_aside {
        return Err(damaged(aside.reason));
    }
    restored.to = chain.base.seq;
    for segment in &chain.segments {
        if let Err(error) = apply(vault, key, *segment, &opened.storage) {
            vault.check()?;
            // What comes after a segment is of no use without it; what came before is.
            restored.damaged.push(error.to_string());
            break;
        }
        restored.to = segment.to;
        restored.segments += 1;
    }
    Ok(opened.storage)
}

/// One transaction: a segment is the state of one commit.
fn apply(vault: &Vault, key: &BackupKey, segment: Segment, storage: &Storage) -> Result<(), BackupError> {
    let name = segment.name();
    let damaged = |why: String| BackupError::Damaged { what: format!("{vault}: {name}"), why };
    let mut encoded = Vec::new();
    let sealed = vault.open_sealed(&name, key)?;
    let read = zstd::Decoder::new(sealed).and_then(|mut opened| opened.read_to_end(&mut encoded));
    read.map_err(|error| damaged(error.to_string()))?;
    let mut rest = &encoded[..];
    let mut batches = Vec::new();
    while !rest.is_empty() {
        batches.push(RowBatch::decode_length_delimited(&mut rest).map_err(|error| damaged(error.to_string()))?);
    }
    let applied = storage.write_blocking(move |sql_tx| {
        for rows in batches.iter().flat_map(|batch| &batch.tables).filter(|rows| is_whole(rows)) {
            replace(sql_tx, rows)?;
        }
        // Rows come by table, not in the order in which they refer to each other.
        sql_tx.execute_batch("PRAGMA defer_foreign_keys = ON")?;
        let tables = || batches.iter().flat_map(|batch| &batch.tables).filter(|rows| !is_whole(rows));
        // What is gone goes first: its names may be another row's now.
        tables().try_for_each(|rows| delete(sql_tx, rows))?;
        tables().try_for_each(|rows| upsert(sql_tx, rows))
    });
    applied.map_err(|error| damaged(error.to_string()))
}

fn is_whole(rows: &TableRows) -> bool {
    WHOLE.contains(&rows.table.as_str())
}

/// Its rows are these, and no others.
fn replace(sql_tx: &Connection, rows: &TableRows) -> Result<(), StorageError> {
    sql_tx.execute(&format!("DELETE FROM {}", rows.table), [])?;
    check_columns(&rows.columns)?;
    let places: Vec<String> = (1..=rows.columns.len()).map(|place| format!("?{place}")).collect();
    let sql = format!("INSERT INTO {} ({}) VALUES ({})", rows.table, rows.columns.join(", "), places.join(", "));
    let mut statement = sql_tx.prepare_cached(&sql)?;
    rows.rows.iter().try_for_each(|row| {
        statement.execute(params_from_iter(row.values.iter().map(sql_value))).map(drop).map_err(StorageError::from)
    })
}

/// They become part of the question: a name of a column is nothing else.
fn check_columns(columns: &[String]) -> Result<(), StorageError> {
    let plain =
        |name: &String| name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_' || byte.is_ascii_digit());
    if columns.iter().all(plain) { Ok(()) } else { Err(StorageError::Refused("a column whose name is none")) }
}

fn delete(sql_tx: &Connection, rows: &TableRows) -> Result<(), StorageError> {
    let table = table_of(&rows.table).ok_or(StorageError::Refused("a table that this release does not know"))?;
    let mut statement = sql_tx.prepare_cached(&format!("DELETE FROM {} WHERE {} = ?1", table.name, table.key))?;
    rows.deleted_keys.iter().try_for_each(|key| statement.execute([key]).map(drop).map_err(StorageError::from))
}

fn upsert(sql_tx: &Connection, rows: &TableRows) -> Result<(), StorageError> {
    let table = table_of(&rows.table).ok_or(StorageError::Refused("a table that this release does not know"))?;
    check_columns(&rows.columns)?;
    let names: Vec<&str> =
        [table.key, "row_version"].into_iter().chain(rows.columns.iter().map(String::as_str)).collect();
    let places: Vec<String> = (1..=names.len()).map(|place| format!("?{place}")).collect();
    let sets: Vec<String> = names.iter().skip(1).map(|name| format!("{name} = excluded.{name}")).collect();
    let sql = format!(
        "INSERT INTO {} ({}) VALUES ({}) ON CONFLICT ({}) DO UPDATE SET {} WHERE excluded.row_version <> row_version",
        table.name,
        names.join(", "),
        places.join(", "),
        table.key,
        sets.join(", ")
    );
    let mut statement = sql_tx.prepare_cached(&sql)?;
    for row in &rows.rows {
        let own = [SqlValue::Text(row.key.clone()), SqlValue::Integer(row.row_version)];
        statement.execute(params_from_iter(own.into_iter().chain(row.values.iter().map(sql_value))))?;
    }
    Ok(())
}

fn sql_value(value: &Value) -> SqlValue {
    match &value.kind {
        None => SqlValue::Null,
        Some(Kind::Integer(integer)) => SqlValue::Integer(*integer),
        Some(Kind::Real(real)) => SqlValue::Real(*real),
        Some(Kind::Text(text)) => SqlValue::Text(text.clone()),
        Some(Kind::Blob(blob)) => SqlValue::Blob(blob.to_vec()),
    }
}

fn put_small_files(folder: &Path, state_directory: &Path) -> Result<(), BackupError> {
    let config = folder.join(CONFIG_FILE);
    if let Ok(text) = fs::read(&config) {
        let path = state_directory.join(RESTORED_CONFIG);
        durable::write(&path, &text, 0o600).map_err(file_error(&path))?;
    }
    let mut folders = vec![folder.join(STATE_FOLDER)];
    while let Some(from) = folders.pop() {
        let Ok(entries) = fs::read_dir(&from) else { continue };
        for entry in entries {
            let path = entry.map_err(file_error(&from))?.path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let Ok(name) = path.strip_prefix(folder.join(STATE_FOLDER)) else { continue };
            let to = state_directory.join(name);
            // A machine that was claimed for the lost box's place has a certificate of its own.
            if to == Enrolment::file(state_directory) && to.exists() {
                continue;
            }
            let content = fs::read(&path).map_err(file_error(&path))?;
            // Keys are among them.
            durable::write(&to, &content, 0o600).map_err(file_error(&to))?;
        }
    }
    Ok(())
}

fn put_recordings(
    vault: &Vault,
    key: &BackupKey,
    state_directory: &Path,
    damaged: &mut Vec<String>,
) -> Result<usize, BackupError> {
    let files = AudioFiles::open(state_directory, Arc::new(crate::storage::PlainWav))?;
    let mut put = 0;
    for sha256 in vault.recordings()? {
        let to = files.path_of(&sha256);
        if to.exists() {
            continue;
        }
        match put_recording(vault, key, &sha256, &to) {
            Ok(()) => put += 1,
            Err(error) => {
                vault.check()?;
                damaged.push(format!("recording {sha256}: {error}"));
            }
        }
    }
    Ok(put)
}

/// Recordings whose rows are here and whose files are not: after a restore that was cut short, or of a disk that has lost them.
/// The last hashes first, because a restore that still runs comes from the other end. Whether none is left that `until` has
/// cut off.
pub(super) fn fetch_missing(
    vault: &Vault,
    key: &BackupKey,
    db: &Connection,
    state_directory: &Path,
    until: Instant,
) -> Result<bool, BackupError> {
    let files = AudioFiles::open(state_directory, Arc::new(crate::storage::PlainWav))?;
    let there = vault.recordings()?;
    let named = make::named_recordings(db)?;
    let missing = named.iter().rev().filter(|sha256| there.contains(*sha256) && !files.path_of(sha256).exists());
    for sha256 in missing {
        if Instant::now() >= until {
            return Ok(false);
        }
        if let Err(error) = put_recording(vault, key, sha256, &files.path_of(sha256)) {
            vault.check()?;
            warn!(sha256, %error, "A recording that is missing here is not in the backup either");
        }
    }
    Ok(true)
}

/// There whole and with its hash, or not at all. The box may be running already, and finds it once it is there.
fn put_recording(vault: &Vault, key: &BackupKey, sha256: &str, to: &Path) -> Result<(), BackupError> {
    let mut sealed = vault.open_sealed(&recording_name(sha256), key)?;
    let folder = to.parent().unwrap_or(Path::new("."));
    let written = fs::create_dir_all(folder).and_then(|()| {
        let mut file = tempfile::NamedTempFile::new_in(folder)?;
        let mut hasher = Sha256::new();
        let mut buffer = vec![0; 64 << 10];
        loop {
            match sealed.read(&mut buffer)? {
                0 => break,
                bytes => {
                    hasher.update(&buffer[..bytes]);
                    file.write_all(&buffer[..bytes])?;
                }
            }
        }
        let found = hex::encode(hasher.finalize());
        if found != sha256 {
            return Err(io::Error::new(io::ErrorKind::InvalidData, format!("its SHA-256 is {found}")));
        }
        file.as_file().sync_all()?;
        file.persist(to)?;
        File::open(folder)?.sync_all()
    });
    written.map_err(file_error(to))
}

/// The backups that the cloud keeps for the box whose certificate is in the state folder. Reading goes on through cuts.
pub fn vault_in_cloud(config: &Config, runtime: &Handle) -> Vault {
    let nobody = || Line { calls: 0, jitter_ms: 0.0 };
    Arc::new(CloudVault::new(config, None, runtime.clone(), Arc::new(nobody))).into()
}

#[cfg(test)]
mod tests {
    use super::super::task::back_up_once;
    use super::*;
    use crate::storage::{CallId, Direction, NewSession, PeerAddressKind, UnixMs, insert_session, mark_answered};
    use std::path::PathBuf;

    struct Rig {
        whole: tempfile::TempDir,
        config: Config,
        storage: Storage,
        key: BackupKey,
    }

    impl Rig {
        fn new() -> Rig {
            let whole = tempfile::tempdir().unwrap();
            let [state, share] = ["state", "share"].map(|name| whole.path().join(name));
            fs::create_dir(&share).unwrap();
            let key = BackupKey::generate();
            let settings = [
                format!("storage.directory={}", state.display()),
                format!("backup.places=['{}']", share.display()),
                format!("backup.recipients=['{}']", key.recipient()),
            ];
            let config = Config::load(None, &settings).unwrap();
            let storage = Storage::open(&StorageConfig::new(&state)).unwrap().storage;
            Rig { whole, config, storage, key }
        }

        fn call(&self) -> CallId {
            let at = UnixMs::now();
            let new = NewSession {
                call_id: CallId::new(at),
                direction: Direction::Inbound,
                trunk: "office".to_owned(),
                peer_address_kind: PeerAddressKind::Private,
                caller_id: None,
                called: None,
                sip_call_id: "1@example.org".to_owned(),
                started_at: at,
            };
            let call_id = new.call_id;
            self.storage.write_blocking(move |sql_tx| insert_session(sql_tx, &new)).unwrap();
            call_id
        }

        /// A call with a recording: its hash, and where it is.
        fn record(&self) -> (String, PathBuf) {
            let call_id = self.call();
            let sha256 = hex::encode(Sha256::digest(b"spoken"));
            let folder = self.config.state_directory().join("recordings").join(&sha256[..2]);
            fs::create_dir_all(&folder).unwrap();
            let path = folder.join(format!("{sha256}.wav"));
            fs::write(&path, "spoken").unwrap();
            let named = sha256.clone();
            let written = self.storage.write_blocking(move |sql_tx| {
                let sql = "INSERT INTO recordings (recording_id, created_at, updated_at, call_id, kind, state, sha256, format,
                    size_bytes, duration_ms, started_at) VALUES (?1, 1, 1, ?1, 'call', 'complete', ?2, 'plain-wav', 6, 1, 1)";
                Ok(sql_tx.execute(sql, (call_id, named)).map(drop)?)
            });
            written.unwrap();
            (sha256, path)
        }

        fn divert(&self, extension: &'static str, do_not_disturb: i64) {
            let sql = "INSERT INTO diversions VALUES (?1, ?2, NULL, 1)
                ON CONFLICT DO UPDATE SET do_not_disturb = excluded.do_not_disturb";
            let written = self
                .storage
                .write_blocking(move |sql_tx| Ok(sql_tx.execute(sql, (extension, do_not_disturb)).map(drop)?));
            written.unwrap();
        }

        fn back_up(&self) {
            let state = back_up_once(&self.config, false).unwrap();
            assert!(state.places.values().all(|place| place.error.is_empty()), "{state:?}");
        }

        /// Where a file of the backup is.
        fn sealed(&self, name: &str) -> std::path::PathBuf {
            std::path::Path::new(&self.vault().to_string()).join(name)
        }

        fn vault(&self) -> Vault {
            Vault::find(&self.whole.path().join("share")).unwrap()
        }

        /// What another machine makes of it.
        fn restore(&self, name: &str) -> (Restored, Storage) {
            let blank = self.whole.path().join(name);
            fs::create_dir(&blank).unwrap();
            let restored = restore(&self.vault(), &self.key, &blank, |_| {}).unwrap();
            (restored, Storage::open(&StorageConfig::new(&blank)).unwrap().storage)
        }
    }

    #[test]
    fn a_blank_machine_becomes_the_box_as_of_its_last_segment() {
        let rig = Rig::new();
        let (kept, gone) = (rig.call(), rig.call());
        std::fs::write(rig.config.state_directory().join("pins.json"), "{}").unwrap();
        rig.back_up();
        // After the base: a change, a new row, and one that is gone.
        rig.storage.write_blocking(move |sql_tx| mark_answered(sql_tx, kept, UnixMs::now())).unwrap();
        let delete = "DELETE FROM call_sessions WHERE call_id = ?1";
        rig.storage.write_blocking(move |sql_tx| Ok(sql_tx.execute(delete, [gone]).map(drop)?)).unwrap();
        rig.divert("12", 1);
        rig.divert("13", 1);
        rig.call();
        rig.back_up();
        rig.storage
            .write_blocking(|sql_tx| {
                Ok(sql_tx.execute("DELETE FROM diversions WHERE extension = '12'", []).map(drop)?)
            })
            .unwrap();
        rig.divert("13", 0);
        rig.call();
        rig.back_up();
        let (restored, there) = rig.restore("blank");
        let diversions = "SELECT group_concat(extension || ' ' || do_not_disturb) FROM diversions";
        let diverted: String = there.read_blocking(|db| Ok(db.query_row(diversions, [], |row| row.get(0))?)).unwrap();
        assert_eq!(diverted, "13 0", "as of the last segment, though the change log is not about it");
        assert_eq!((restored.segments, restored.rows, &restored.damaged), (2, 3, &vec![]));
        assert_eq!(there.read_blocking(totals).unwrap(), rig.storage.read_blocking(totals).unwrap());
        let identity = there.write_blocking(|sql_tx| crate::sync::log::identity(sql_tx, [0; 16])).unwrap();
        assert!(identity.epoch == 2 && identity.claiming, "{identity:?}");
        assert!(rig.whole.path().join("blank/pins.json").exists());
        let again = restore(&rig.vault(), &rig.key, &rig.whole.path().join("blank"), |_| {}).unwrap_err().to_string();
        assert!(again.contains("has a database already"), "{again}");
        let other = restore(&rig.vault(), &BackupKey::generate(), &rig.whole.path().join("other"), |_| {}).unwrap_err();
        assert!(other.to_string().contains("not sealed for this key"), "{other}");
    }

    #[test]
    fn what_is_damaged_costs_what_comes_after_it_and_is_said() {
        let rig = Rig::new();
        rig.call();
        rig.back_up();
        rig.call();
        rig.back_up();
        let damage = |path: &Path| {
            let mut bytes = fs::read(path).unwrap();
            let middle = bytes.len() / 2;
            bytes[middle] ^= 1;
            fs::write(path, bytes).unwrap();
        };
        let vault = rig.vault();
        let listing = vault.list().unwrap();
        let base = *listing.bases.first().unwrap();
        damage(&rig.sealed(&listing.chain(base).segments[0].name()));
        let (restored, _there) = rig.restore("without-the-segment");
        assert_eq!((restored.rows, restored.segments, restored.damaged.len()), (1, 0, 1));
        damage(&rig.sealed(&base.name()));
        let blank = rig.whole.path().join("nothing");
        fs::create_dir(&blank).unwrap();
        let nothing = restore(&vault, &rig.key, &blank, |_| {}).unwrap_err().to_string();
        assert!(nothing.contains("base-") && nothing.contains("damaged"), "{nothing}");
        assert!(!blank.join(DATABASE_FILE).exists());
    }

    #[test]
    fn a_drill_proves_every_row_and_finds_one_that_differs() {
        let rig = Rig::new();
        rig.call();
        rig.back_up();
        rig.call();
        let state = back_up_once(&rig.config, true).unwrap();
        let place = state.places.values().next().unwrap();
        assert!(place.drill_at.is_some() && place.drill_rows == 2, "{place:?}");
        // A row that the change log does not know of: the backup cannot have it.
        rig.storage
            .write_blocking(|sql_tx| {
                sql_tx.execute_batch(
                    "DROP TRIGGER call_sessions_versioned; DROP TRIGGER call_sessions_updated;
                     UPDATE call_sessions SET trunk = 'another'",
                )?;
                Ok(())
            })
            .unwrap();
        let state = back_up_once(&rig.config, true).unwrap();
        let place = state.places.values().next().unwrap();
        assert!(place.drill_error.contains("differs in call_sessions"), "{place:?}");
        // What cannot be restored is not continued: the next one is whole again.
        let state = back_up_once(&rig.config, true).unwrap();
        let place = state.places.values().next().unwrap();
        assert!(place.drill_error.is_empty() && place.drill_rows == 2, "{place:?}");
    }

    /// After a day there would be thousands to fetch, each of them a transaction.
    #[test]
    fn many_small_segments_are_fetched_as_one() {
        let rig = Rig::new();
        for _ in 0..7 {
            rig.call();
            rig.back_up();
        }
        let listing = rig.vault().list().unwrap();
        assert_eq!((listing.bases.len(), listing.segments.len()), (1, 6), "a base and what came after it");
        let (restored, there) = rig.restore("blank");
        assert_eq!((restored.segments, restored.rows), (2, 7), "one that holds five, and the last");
        assert_eq!(there.read_blocking(totals).unwrap(), rig.storage.read_blocking(totals).unwrap());
    }

    /// Whatever happens to a log that was trimmed: a new base, no gap.
    #[test]
    fn a_log_that_was_trimmed_makes_a_new_base() {
        let rig = Rig::new();
        rig.call();
        rig.back_up();
        rig.call();
        rig.call();
        let trimmed = "DELETE FROM change_log WHERE seq = (SELECT max(seq) - 1 FROM change_log)";
        rig.storage.write_blocking(move |sql_tx| Ok(sql_tx.execute_batch(trimmed)?)).unwrap();
        rig.back_up();
        assert_eq!(rig.vault().list().unwrap().bases.len(), 2);
        let (restored, _there) = rig.restore("blank");
        assert_eq!(restored.rows, 3);
    }

    /// A recording that rots in the backup is there again after the drill that has found it.
    #[test]
    fn a_drill_has_a_damaged_recording_sent_again() {
        let rig = Rig::new();
        let (sha256, _) = rig.record();
        rig.back_up();
        let sealed = rig.sealed(&recording_name(&sha256));
        let whole = fs::read(&sealed).unwrap();
        let drilled = || {
            let state = back_up_once(&rig.config, true).unwrap();
            let place = state.places.values().next().unwrap();
            assert!(place.drill_error.is_empty() && place.drill_at.is_some(), "{place:?}");
            (place.drill_recordings, place.recordings_whole, sealed.exists())
        };
        assert_eq!(drilled(), (1, true, true));
        fs::write(&sealed, &whole[..whole.len() - 1]).unwrap();
        assert_eq!(drilled(), (0, false, false), "what is damaged is in nobody's way");
        assert_eq!(drilled(), (1, true, true));
        let (restored, _there) = rig.restore("blank");
        assert!(restored.recordings == 1 && restored.damaged.is_empty(), "{restored:?}");
    }

    #[test]
    fn a_drill_takes_other_recordings_each_time() {
        let all: BTreeSet<String> = (0..20).map(|number| format!("{number:02}")).collect();
        let taken = |first: &str| some_of(&all, first).map(String::as_str).collect::<Vec<_>>();
        assert_eq!(taken("055"), ["06", "07", "08", "09", "10", "11", "12", "13"]);
        assert_eq!(taken("17"), ["17", "18", "19", "00", "01", "02", "03", "04"]);
        let few: BTreeSet<String> = ["a".to_owned(), "b".to_owned()].into();
        assert_eq!(some_of(&few, "b").collect::<Vec<_>>(), ["b", "a"], "each once");
    }

    /// A restore that was cut short, or a disk that has lost files: a box that runs gets them back by itself.
    #[test]
    fn a_recording_that_is_missing_here_comes_back_from_the_backup() {
        let rig = Rig::new();
        let (sha256, path) = rig.record();
        rig.back_up();
        fs::remove_file(&path).unwrap();
        rig.back_up();
        assert_eq!(fs::read(&path).unwrap(), b"spoken");
        // What is in the backup under this name and is something else is no recording of ours.
        fs::remove_file(&path).unwrap();
        let sealed = rig.sealed(&recording_name(&sha256));
        let recipients = Recipients::parse(&[rig.key.recipient()]).unwrap();
        let own = BackupKey::own(&rig.config.state_directory()).unwrap();
        super::super::vault::seal_into(&sealed, &recipients.and(&own), |to| {
            to.write_all(b"another").map_err(file_error(Path::new("x")))
        })
        .unwrap();
        rig.back_up();
        assert!(!path.exists());
        let (restored, _there) = rig.restore("blank");
        assert!(restored.recordings == 0 && restored.damaged[0].contains("its SHA-256 is"), "{restored:?}");
    }
}
