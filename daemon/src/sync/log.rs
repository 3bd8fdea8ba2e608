//! What the engine reads and what it remembers, in SQL.
//!
//! Each read belongs to one read transaction: the rows of a stretch are those of one commit, and sums are as of exactly the
//! entry they name. Sums by day are kept between reads and only those of days with new entries are made again: a comparison
//! costs what has changed since the last one, and the whole database once in the life of a process.
//!
//! A row whose message would be larger than [`ROW_BYTES_MAX`] is left out everywhere, with a warning: no cloud takes it, and
//! it must not hold up the others.

use std::collections::{BTreeMap, BTreeSet};

use cloud_api::digest::{Sum, day_of, is_key, keys_of, row_hash};
use cloud_api::v1::{DayDigest, Row, TableDigest, TableRows, Value, value::Kind};
use prost::Message as _;
use rusqlite::types::ValueRef;
use rusqlite::{Connection, OptionalExtension as _, params};

use super::engine::{Limits, RangeRows, Stretch};
use super::tables::{Identity, TABLES, Table};
use crate::storage::{StorageError, UnixMs};

#[cfg(test)]
mod tests;

/// Encoded size of a row's message, in bytes; above it the row is not sent.
pub const ROW_BYTES_MAX: usize = 512 * 1024;
/// How long entries are kept after the cloud has them: a cloud that is restored from a backup is then told quickly.
const KEPT_MS: i64 = 7 * 86_400_000;

/// Columns that mean something on this box only.
const LOCAL_COLUMNS: [&str; 1] = ["passage_rowid"];

/// The table of this name, if it is synced.
pub(crate) fn table_of(name: &str) -> Option<&'static Table> {
    TABLES.iter().find(|table| table.name == name)
}

/// The latest entry there has ever been; 0 in a new database. Entries that were trimmed count.
///
/// # Errors
/// [`StorageError::Sql`].
pub fn log_head(db: &Connection) -> Result<i64, StorageError> {
    let sql = "SELECT seq FROM sqlite_sequence WHERE name = 'change_log'";
    Ok(db.prepare_cached(sql)?.query_row([], |row| row.get(0)).optional()?.unwrap_or(0))
}

/// Reads for the engine, and keeps the sums between reads.
#[derive(Debug, Default)]
pub struct Reader {
    /// As of which entry, and by table and day.
    sums: Option<(i64, BTreeMap<&'static str, Days>)>,
}

type Days = BTreeMap<u32, Sum>;

impl Reader {
    /// A stretch of the change log: [`Read::Log`](super::engine::Read::Log).
    ///
    /// # Errors
    /// [`StorageError`].
    pub fn stretch(
        &mut self,
        db: &Connection,
        after: i64,
        limits: Limits,
        except: &BTreeSet<String>,
        sums: Option<&BTreeSet<String>>,
    ) -> Result<Stretch, StorageError> {
        let head = log_head(db)?;
        let mut batch = Batch::new(limits);
        let mut to = after;
        let sql = "SELECT seq, table_name, row_key FROM change_log WHERE seq > ?1 ORDER BY seq";
        let mut statement = db.prepare_cached(sql)?;
        let mut entries = statement.query([after])?;
        let complete = loop {
            let Some(entry) = entries.next()? else { break true };
            let (name, key): (String, String) = (entry.get(1)?, entry.get(2)?);
            if let Some(table) = table_of(&name).filter(|_| !except.contains(&name))
                && !batch.add(db, table, &key)?
            {
                break false;
            }
            to = entry.get(0)?;
        };
        if complete {
            // The latest entries may have been trimmed: they count as read.
            to = head.max(after);
        }
        let sums = match sums {
            Some(by_day) if to == head => Some(self.digest(db, head, except, by_day)?),
            Some(_) | None => None,
        };
        Ok(Stretch { to, head, tables: batch.tables(), sums })
    }

    fn digest(
        &mut self,
        db: &Connection,
        head: i64,
        except: &BTreeSet<String>,
        by_day: &BTreeSet<String>,
    ) -> Result<Vec<TableDigest>, StorageError> {
        self.refresh(db, head)?;
        let sums = self.sums.iter().flat_map(|(_, sums)| sums).filter(|(table, _)| !except.contains(**table));
        let digest = sums.map(|(table, days)| {
            let total = days.values().fold(Sum::default(), |mut total, sum| {
                total.merge(*sum);
                total
            });
            let wanted = by_day.contains(*table);
            let days = days.iter().filter(|(_, sum)| wanted && **sum != Sum::default());
            let days = days.map(|(day, sum)| DayDigest { day: *day, sum: Some((*sum).into()) }).collect();
            TableDigest { table: (*table).to_owned(), sum: Some(total.into()), days }
        });
        Ok(digest.collect())
    }

    /// Brings the sums up to `head`, which is the snapshot's.
    fn refresh(&mut self, db: &Connection, head: i64) -> Result<(), StorageError> {
        let oldest: Option<i64> = db.query_row("SELECT min(seq) FROM change_log", [], |row| row.get(0))?;
        // A failure in between leaves none.
        let kept = self.sums.take().filter(|(as_of, _)| head == *as_of || oldest.is_some_and(|seq| seq <= as_of + 1));
        let sums = match kept {
            None => {
                let sums = TABLES.iter().map(|table| Ok((table.name, sums_between(db, table, "", "g")?)));
                sums.collect::<Result<_, StorageError>>()?
            }
            Some((as_of, mut sums)) => {
                for (table, day) in days_after(db, as_of)? {
                    let (after, to) = keys_of(day);
                    let sum = sums_between(db, table, &after, &to)?.remove(&day).unwrap_or_default();
                    sums.entry(table.name).or_default().insert(day, sum);
                }
                sums
            }
        };
        self.sums = Some((head, sums));
        Ok(())
    }
}

/// The sums of all tables, whole.
///
/// # Errors
/// [`StorageError`].
pub(crate) fn totals(db: &Connection) -> Result<BTreeMap<&'static str, Sum>, StorageError> {
    let of = |table: &'static Table| {
        let mut total = Sum::default();
        for sum in sums_between(db, table, "", "g")?.values() {
            total.merge(*sum);
        }
        Ok((table.name, total))
    };
    TABLES.iter().map(of).collect()
}

/// Tables and days that entries after `seq` are about.
fn days_after(db: &Connection, seq: i64) -> Result<BTreeSet<(&'static Table, u32)>, StorageError> {
    let mut statement = db.prepare_cached("SELECT table_name, row_key FROM change_log WHERE seq > ?1")?;
    let mut entries = statement.query([seq])?;
    let mut days = BTreeSet::new();
    while let Some(entry) = entries.next()? {
        let (name, key): (String, String) = (entry.get(0)?, entry.get(1)?);
        days.extend(table_of(&name).zip(day_of(&key)));
    }
    Ok(days)
}

/// Rows of a table by their keys: [`Read::Range`](super::engine::Read::Range).
///
/// # Errors
/// [`StorageError`], in particular for a table that is not synced.
pub fn range(db: &Connection, name: &str, after: &str, to: &str, limits: Limits) -> Result<RangeRows, StorageError> {
    let table = table_of(name).ok_or(StorageError::Refused("a table that is not synced"))?;
    let mut batch = Batch::new(limits);
    let mut last = String::new();
    let complete = each_row(db, table, after, to, |columns, row| {
        let room = batch.has_room();
        if room {
            last.clone_from(&row.key);
            batch.push(table, columns, row);
        }
        room
    })?;
    let to = if complete { to.to_owned() } else { last };
    Ok(RangeRows { to, rows: batch.tables().pop() })
}

fn sums_between(db: &Connection, table: &Table, after: &str, to: &str) -> Result<Days, StorageError> {
    let mut days = Days::new();
    each_row(db, table, after, to, |columns, row| {
        if let Some(day) = day_of(&row.key) {
            let named = columns.iter().map(String::as_str).zip(&row.values);
            days.entry(day).or_default().add(row_hash(table.name, &row.key, row.row_version, named));
        }
        true
    })?;
    Ok(days)
}

/// Gives the rows with keys in (`after`, `to`], in their order, until `take` returns false. Whether that was never.
fn each_row(
    db: &Connection,
    table: &Table,
    after: &str,
    to: &str,
    mut take: impl FnMut(&[String], Row) -> bool,
) -> Result<bool, StorageError> {
    let Table { name, key } = table;
    let sql = format!("SELECT * FROM {name} WHERE {key} > ?1 AND {key} <= ?2 ORDER BY {key}");
    let mut statement = db.prepare_cached(&sql)?;
    let layout = Layout::of(&statement, table);
    let mut rows = statement.query([after, to])?;
    while let Some(row) = rows.next()? {
        if let Some(row) = layout.row(table, row)?
            && !take(&layout.columns, row)
        {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Where in a row its parts are.
struct Layout {
    key: usize,
    row_version: usize,
    /// Of the others.
    places: Vec<usize>,
    columns: Vec<String>,
}

impl Layout {
    fn of(statement: &rusqlite::Statement<'_>, table: &Table) -> Layout {
        let mut layout = Layout { key: 0, row_version: 0, places: Vec::new(), columns: Vec::new() };
        for (place, name) in statement.column_names().enumerate() {
            match name {
                name if name == table.key => layout.key = place,
                "row_version" => layout.row_version = place,
                name if LOCAL_COLUMNS.contains(&name) => {}
                name => {
                    layout.places.push(place);
                    layout.columns.push(name.to_owned());
                }
            }
        }
        layout
    }

    /// None if no cloud would take it.
    fn row(&self, table: &Table, row: &rusqlite::Row<'_>) -> Result<Option<Row>, StorageError> {
        let values = self.places.iter().map(|place| Ok(value(row.get_ref(*place)?)));
        let values = values.collect::<Result<Vec<_>, rusqlite::Error>>()?;
        let row = Row { key: row.get(self.key)?, row_version: row.get(self.row_version)?, values };
        let fits = is_key(&row.key) && row.encoded_len() <= ROW_BYTES_MAX;
        if !fits {
            tracing::warn!(table = table.name, size_bytes = row.encoded_len(), "Row not synced: too large, or no UUID");
        }
        Ok(fits.then_some(row))
    }
}

pub(crate) fn value(value: ValueRef<'_>) -> Value {
    let kind = match value {
        ValueRef::Null => None,
        ValueRef::Integer(integer) => Some(Kind::Integer(integer)),
        ValueRef::Real(real) => Some(Kind::Real(real)),
        ValueRef::Text(text) => Some(Kind::Text(String::from_utf8_lossy(text).into_owned())),
        ValueRef::Blob(blob) => Some(Kind::Blob(blob.to_vec().into())),
    };
    Value { kind }
}

/// A batch that is being filled.
struct Batch {
    limits: Limits,
    bytes: usize,
    rows: usize,
    seen: BTreeSet<(&'static str, String)>,
    tables: BTreeMap<&'static str, TableRows>,
}

impl Batch {
    fn new(limits: Limits) -> Self {
        Batch { limits, bytes: 0, rows: 0, seen: BTreeSet::new(), tables: BTreeMap::new() }
    }

    fn has_room(&self) -> bool {
        self.rows < self.limits.rows && self.bytes < self.limits.bytes
    }

    /// The row with this key as it is now, or that it is gone. False if there was no room for it.
    fn add(&mut self, db: &Connection, table: &'static Table, key: &str) -> Result<bool, StorageError> {
        if self.seen.contains(&(table.name, key.to_owned())) {
            return Ok(true);
        }
        if !self.has_room() {
            return Ok(false);
        }
        self.seen.insert((table.name, key.to_owned()));
        let Table { name, key: key_column } = table;
        let mut statement = db.prepare_cached(&format!("SELECT * FROM {name} WHERE {key_column} = ?1"))?;
        let layout = Layout::of(&statement, table);
        let mut rows = statement.query([key])?;
        match rows.next()? {
            Some(row) => {
                if let Some(row) = layout.row(table, row)? {
                    self.push(table, &layout.columns, row);
                }
            }
            None if is_key(key) => {
                self.rows += 1;
                self.bytes += key.len() + 2;
                self.table(table, &layout.columns).deleted_keys.push(key.to_owned());
            }
            None => {}
        }
        Ok(true)
    }

    fn push(&mut self, table: &'static Table, columns: &[String], row: Row) {
        self.rows += 1;
        self.bytes += row.encoded_len() + 4;
        self.table(table, columns).rows.push(row);
    }

    fn table(&mut self, table: &'static Table, columns: &[String]) -> &mut TableRows {
        self.tables.entry(table.name).or_insert_with(|| TableRows {
            table: table.name.to_owned(),
            columns: columns.to_vec(),
            ..TableRows::default()
        })
    }

    fn tables(self) -> Vec<TableRows> {
        self.tables.into_values().collect()
    }
}

/// The identity; in a new database one of the first epoch, with `incarnation`.
///
/// # Errors
/// [`StorageError::Sql`].
pub fn identity(db: &Connection, incarnation: [u8; 16]) -> Result<Identity, StorageError> {
    db.execute(
        "INSERT INTO sync_state (only_row, epoch, incarnation, claiming) VALUES (1, 1, ?1, 1) ON CONFLICT DO NOTHING",
        [incarnation],
    )?;
    Ok(db.query_row("SELECT epoch, incarnation, claiming FROM sync_state", [], |row| {
        Ok(Identity { epoch: row.get::<_, i64>(0)?.unsigned_abs(), incarnation: row.get(1)?, claiming: row.get(2)? })
    })?)
}

/// Begins the epoch after the later of this box's own and `after`: after a restore, or when another box has that one.
///
/// # Errors
/// [`StorageError::Sql`].
pub fn next_epoch(db: &Connection, after: u64, incarnation: [u8; 16]) -> Result<Identity, StorageError> {
    let epoch = identity(db, incarnation)?.epoch.max(after).saturating_add(1);
    let epoch = i64::try_from(epoch).map_err(|_| StorageError::Refused("there is no epoch after this one"))?;
    let sql = "UPDATE sync_state SET epoch = ?1, incarnation = ?2, claiming = 1, equal_seq = NULL, equal_at = NULL";
    db.execute(sql, params![epoch, incarnation])?;
    db.execute("DELETE FROM sync_acks", [])?;
    identity(db, incarnation)
}

/// The cloud has welcomed this epoch.
///
/// # Errors
/// [`StorageError::Sql`].
pub fn note_welcomed(db: &Connection) -> Result<(), StorageError> {
    db.execute("UPDATE sync_state SET claiming = 0", [])?;
    Ok(())
}

/// The cloud has everything up to this entry, and nothing after it: it may have been restored from a backup.
///
/// # Errors
/// [`StorageError::Sql`].
pub fn note_acked(db: &Connection, seq: i64, now: UnixMs) -> Result<(), StorageError> {
    db.execute("DELETE FROM sync_acks WHERE seq > ?1", [seq])?;
    db.execute("INSERT INTO sync_acks (seq, acked_at) VALUES (?1, ?2) ON CONFLICT DO NOTHING", params![seq, now])?;
    Ok(())
}

/// Both ends had the same rows as of this entry.
///
/// # Errors
/// [`StorageError::Sql`].
pub fn note_equal(db: &Connection, seq: i64, now: UnixMs) -> Result<(), StorageError> {
    db.execute("UPDATE sync_state SET equal_seq = ?1, equal_at = ?2", params![seq, now])?;
    Ok(())
}

/// What trimming the log has done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Trimmed {
    /// Entries that the cloud had for long enough.
    pub acked: usize,
    /// Entries that said again what a later one says.
    pub repeated: usize,
    /// Entries that the cloud had not for long enough yet, for want of room.
    pub early: usize,
    /// Entries that the cloud did not have, for want of room; they are in the ledger.
    pub lost: usize,
}

/// Trims the change log: what the cloud has had for a week, and then, as long as there are more entries than `budget`,
/// what later entries say too, what the cloud has, and at last the oldest of what it does not have, which is entered into
/// the ledger first. Even then no row is lost, only the fast way to it: the next comparison finds it.
///
/// # Errors
/// [`StorageError::Sql`].
pub fn trim(db: &Connection, budget: usize, now: UnixMs) -> Result<Trimmed, StorageError> {
    let before = now.0.saturating_sub(KEPT_MS);
    let acked = "SELECT max(seq) FROM sync_acks WHERE acked_at <= ?1";
    let long_acked: Option<i64> = db.query_row(acked, [before], |row| row.get(0))?;
    let mut trimmed = Trimmed::default();
    if let Some(seq) = long_acked {
        trimmed.acked = db.execute("DELETE FROM change_log WHERE seq <= ?1", [seq])?;
        db.execute("DELETE FROM sync_acks WHERE seq < ?1", [seq])?;
    }
    if excess(db, budget)? > 0 {
        trimmed.repeated = db.execute(
            "DELETE FROM change_log WHERE seq NOT IN (SELECT max(seq) FROM change_log GROUP BY table_name, row_key)",
            [],
        )?;
    }
    let latest_acked: Option<i64> = db.query_row("SELECT max(seq) FROM sync_acks", [], |row| row.get(0))?;
    let oldest = "SELECT seq FROM change_log ORDER BY seq LIMIT ?1";
    if let Some(acked) = latest_acked {
        let sql = format!("DELETE FROM change_log WHERE seq IN ({oldest}) AND seq <= ?2");
        trimmed.early = db.execute(&sql, params![excess(db, budget)?, acked])?;
    }
    let excess = excess(db, budget)?;
    if excess > 0 {
        let ends = format!("SELECT min(seq), max(seq), count(*) FROM ({oldest})");
        let (first, last, entries): (i64, i64, i64) =
            db.query_row(&ends, [excess], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
        let noted = "INSERT INTO loss_ledger (noted_at, first_seq, last_seq, entries, reason)
            VALUES (?1, ?2, ?3, ?4, 'log_budget')";
        db.execute(noted, params![now, first, last, entries])?;
        trimmed.lost = db.execute("DELETE FROM change_log WHERE seq <= ?1", [last])?;
    }
    Ok(trimmed)
}

/// How many entries there are above the budget.
fn excess(db: &Connection, budget: usize) -> Result<i64, StorageError> {
    // Their numbers are enough where few were deleted between them: counting reads every page of the log.
    let ends = "SELECT coalesce(max(seq) - min(seq) + 1, 0) FROM change_log";
    let at_most: i64 = db.query_row(ends, [], |row| row.get(0))?;
    if at_most <= i64::try_from(budget).unwrap_or(i64::MAX) {
        return Ok(0);
    }
    let entries: i64 = db.query_row("SELECT count(*) FROM change_log", [], |row| row.get(0))?;
    Ok(entries.saturating_sub(i64::try_from(budget).unwrap_or(i64::MAX)).max(0))
}

/// How far the cloud has what is here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Progress {
    /// The latest entry that the cloud has, and since when.
    pub acked: Option<(i64, UnixMs)>,
    /// Entries after it that are still in the log.
    pub backlog: i64,
    /// As of which entry both had the same rows, and when that was found.
    pub equal: Option<(i64, UnixMs)>,
}

/// How far the cloud has what is here.
///
/// # Errors
/// [`StorageError::Sql`].
pub fn progress(db: &Connection) -> Result<Progress, StorageError> {
    let acked = "SELECT seq, acked_at FROM sync_acks ORDER BY seq DESC LIMIT 1";
    let acked = db.query_row(acked, [], |row| Ok((row.get(0)?, row.get(1)?))).optional()?;
    let after = acked.map_or(0, |(seq, _)| seq);
    let backlog = db.query_row("SELECT count(*) FROM change_log WHERE seq > ?1", [after], |row| row.get(0))?;
    let equal = "SELECT equal_seq, equal_at FROM sync_state WHERE equal_seq IS NOT NULL";
    let equal = db.query_row(equal, [], |row| Ok((row.get(0)?, row.get(1)?))).optional()?;
    Ok(Progress { acked, backlog, equal })
}

/// A line of the loss ledger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loss {
    /// When it was noted.
    pub noted_at: UnixMs,
    /// The entries of the change log that were dropped, from the first to the last.
    pub seqs: (i64, i64),
    /// How many of them there were.
    pub entries: i64,
    /// Why: `log_budget`; `recording_gone` or `recording_damaged` for a file, as of the entry that was the last then.
    pub reason: String,
}

/// The loss ledger, the oldest first.
///
/// # Errors
/// [`StorageError::Sql`].
pub fn losses(db: &Connection) -> Result<Vec<Loss>, StorageError> {
    let sql = "SELECT noted_at, first_seq, last_seq, entries, reason FROM loss_ledger ORDER BY loss_id";
    let mut statement = db.prepare_cached(sql)?;
    let lines = statement.query_map([], |row| {
        Ok(Loss { noted_at: row.get(0)?, seqs: (row.get(1)?, row.get(2)?), entries: row.get(3)?, reason: row.get(4)? })
    })?;
    Ok(lines.collect::<Result<_, _>>()?)
}
