//! A store in one SQLite file: no server, one writer at a time.

mod deliveries;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use cloud_api::digest::{Sum, day_of};
use rusqlite::{Connection, OptionalExtension as _, TransactionBehavior, params};

use super::bell::Bell;
use super::columns::{from_json, to_json};
use super::tenants::Standing;
use super::{
    AFTER_ALL_KEYS, BoxName, BoxRecord, Change, Claim, DocumentKind, Heard, Place, Rows, Store, StoreError, admit,
    admit_claim,
};
use crate::fleet::audit::AuditEntry;
use crate::sync::apply::{BoxState, StoredRow, Transaction};

mod tenants;

/// The format of the database, in `PRAGMA user_version`.
const FORMAT: i64 = 8;
/// How long SQLite waits for a lock that another process holds, e.g. a backup.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// The store.
#[derive(Debug)]
pub struct Sqlite {
    db: Mutex<Connection>,
    bell: Bell,
}

impl Sqlite {
    /// Opens the database, and makes it if it is not there.
    ///
    /// # Errors
    /// [`StoreError`], in particular [`Newer`](StoreError::Newer).
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        Self::prepare(Connection::open(path)?)
    }

    fn prepare(mut db: Connection) -> Result<Self, StoreError> {
        db.busy_timeout(BUSY_TIMEOUT)?;
        db.pragma_update(None, "journal_mode", "wal")?;
        // What was acknowledged must survive a pulled plug: each commit is flushed.
        db.pragma_update(None, "synchronous", "FULL")?;
        // What a box or somebody erases is overwritten.
        db.pragma_update(None, "secure_delete", true)?;
        let sql_tx = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let found: i64 = sql_tx.query_row("PRAGMA user_version", [], |row| row.get(0))?;
        if !(0..=FORMAT).contains(&found) {
            return Err(StoreError::Newer { found, known: FORMAT });
        }
        let steps = [
            (1, include_str!("schema.sql")),
            (2, include_str!("fleet.sql")),
            (3, include_str!("audit.sql")),
            (4, include_str!("upkeep.sql")),
            (5, include_str!("tenants.sql")),
            (6, include_str!("deliveries.sql")),
            (7, include_str!("backups.sql")),
            (8, include_str!("forgetting.sql")),
        ];
        for (_, step) in steps.iter().filter(|(format, _)| *format > found) {
            sql_tx.execute_batch(step)?;
        }
        sql_tx.pragma_update(None, "user_version", FORMAT)?;
        sql_tx.commit()?;
        Ok(Sqlite { db: Mutex::new(db), bell: Bell::default() })
    }

    pub(super) fn bell(&self) -> &Bell {
        &self.bell
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Connection> {
        // A transaction of a thread that panicked was rolled back when it was dropped.
        self.db.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes for a tenant that is open here, in one transaction.
    pub(super) fn write<T>(
        &self,
        tenant_id: &str,
        work: impl FnOnce(&Connection) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let mut db = self.lock();
        let sql_tx = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
        admit(tenant_id, standing(&sql_tx, tenant_id)?)?;
        let done = work(&sql_tx)?;
        sql_tx.commit()?;
        Ok(done)
    }
}

/// What [`box_record`] reads.
const BOXES: &str = "SELECT tenant_id, box_id, enrolled_at, release, heard_at, equal_at, revoked_at, silent_since,
        epoch, incarnation, watermark, applied
    FROM enrolled LEFT JOIN boxes USING (tenant_id, box_id)";

fn box_record(row: &rusqlite::Row<'_>) -> rusqlite::Result<BoxRecord> {
    let epoch: Option<i64> = row.get(8)?;
    Ok(BoxRecord {
        name: BoxName { tenant_id: row.get(0)?, box_id: row.get(1)? },
        enrolled_at: row.get(2)?,
        release: row.get(3)?,
        heard_at: row.get(4)?,
        equal_at: row.get(5)?,
        revoked_at: row.get(6)?,
        silent_since: row.get(7)?,
        state: epoch.map(|_| box_state(row, 8)).transpose()?,
    })
}

/// Where a tenant lives.
fn standing(db: &Connection, tenant_id: &str) -> Result<Standing, StoreError> {
    let mut statement = db.prepare_cached("SELECT standing FROM tenants WHERE tenant_id = ?1")?;
    let found: Option<String> = statement.query_row([tenant_id], |row| row.get(0)).optional()?;
    found.map_or(Ok(Standing::Open), |json| Standing::from_json(&json))
}

impl Store for Sqlite {
    fn transact<T>(
        &self,
        of: &BoxName,
        mut work: impl FnMut(&mut Rows<'_>) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        self.write(&of.tenant_id, |sql_tx| work(&mut SqliteRows { sql_tx, of }))
    }

    fn latest_rows(
        &self,
        of: &BoxName,
        table: &str,
        before: Option<&str>,
        limit: u32,
    ) -> Result<Vec<(String, StoredRow)>, StoreError> {
        let sql = "SELECT row_key, epoch, row_version, applied, hash, columns FROM synced_rows
            WHERE tenant_id = ?1 AND box_id = ?2 AND table_name = ?3 AND columns IS NOT NULL
                AND row_key < ?4
            ORDER BY row_key DESC LIMIT ?5";
        keyed_rows(&self.lock(), sql, params![of.tenant_id, of.box_id, table, before.unwrap_or(AFTER_ALL_KEYS), limit])
    }

    fn rows_between(
        &self,
        of: &BoxName,
        table: &str,
        after: &str,
        before: Option<&str>,
        limit: u32,
    ) -> Result<Vec<(String, StoredRow)>, StoreError> {
        let sql = "SELECT row_key, epoch, row_version, applied, hash, columns FROM synced_rows
            WHERE tenant_id = ?1 AND box_id = ?2 AND table_name = ?3 AND columns IS NOT NULL
                AND row_key > ?4 AND row_key < ?5
            ORDER BY row_key LIMIT ?6";
        let before = before.unwrap_or(AFTER_ALL_KEYS);
        keyed_rows(&self.lock(), sql, params![of.tenant_id, of.box_id, table, after, before, limit])
    }

    fn texts_of(&self, of: &BoxName, table: &str, column: &str) -> Result<BTreeSet<String>, StoreError> {
        let sql = "SELECT DISTINCT columns ->> ?4 AS found FROM synced_rows
            WHERE tenant_id = ?1 AND box_id = ?2 AND table_name = ?3 AND columns IS NOT NULL AND found IS NOT NULL";
        let db = self.lock();
        let mut statement = db.prepare_cached(sql)?;
        let texts = statement.query_map(params![of.tenant_id, of.box_id, table, column], |row| row.get(0))?;
        Ok(texts.collect::<Result<_, _>>()?)
    }

    fn add_claim(&self, claim: &Claim) -> Result<(), StoreError> {
        let sql = "INSERT INTO claims (code_sha256, tenant_id, expires_at) VALUES (?1, ?2, ?3)";
        let mut db = self.lock();
        let sql_tx = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
        admit_claim(&claim.tenant_id, standing(&sql_tx, &claim.tenant_id)?)?;
        sql_tx.execute(sql, params![claim.code_sha256, claim.tenant_id, claim.expires_at])?;
        Ok(sql_tx.commit()?)
    }

    fn claim(&self, code_sha256: &[u8; 32], now: i64) -> Result<Option<(String, Option<String>)>, StoreError> {
        let sql = "SELECT tenant_id, box_id FROM claims WHERE code_sha256 = ?1 AND expires_at > ?2";
        let found = self.lock().query_row(sql, params![code_sha256, now], |row| Ok((row.get(0)?, row.get(1)?)));
        Ok(found.optional()?)
    }

    fn take_claim(&self, code_sha256: &[u8; 32], box_id: &str, now: i64) -> Result<Option<String>, StoreError> {
        let sql = "UPDATE claims SET box_id = ?2
            WHERE code_sha256 = ?1 AND expires_at > ?3 AND (box_id IS NULL OR box_id = ?2) RETURNING tenant_id";
        let taken = self.lock().query_row(sql, params![code_sha256, box_id, now], |row| row.get(0));
        Ok(taken.optional()?)
    }

    fn enroll(&self, of: &BoxName, now: i64) -> Result<(), StoreError> {
        let sql = "INSERT INTO enrolled (tenant_id, box_id, enrolled_at, release) VALUES (?1, ?2, ?3, '')
            ON CONFLICT DO UPDATE SET enrolled_at = excluded.enrolled_at, revoked_at = NULL";
        self.write(&of.tenant_id, |sql_tx| {
            sql_tx.execute(sql, params![of.tenant_id, of.box_id, now])?;
            Ok(())
        })
    }

    fn note_heard(&self, of: &BoxName, heard: Heard<'_>, now: i64) -> Result<bool, StoreError> {
        let sql = "INSERT INTO enrolled (tenant_id, box_id, enrolled_at, release, heard_at, equal_at)
            VALUES (?1, ?2, ?3, coalesce(?4, ''), ?3, ?5)
            ON CONFLICT DO UPDATE SET release = coalesce(?4, release), heard_at = excluded.heard_at,
                equal_at = coalesce(?5, equal_at) WHERE revoked_at IS NULL";
        let (release, equal_at) = heard.columns(now);
        let noted = self.write(&of.tenant_id, |sql_tx| {
            let values = params![of.tenant_id, of.box_id, now, release, equal_at];
            Ok(sql_tx.prepare_cached(sql)?.execute(values)?)
        })?;
        Ok(noted > 0)
    }

    fn is_revoked(&self, of: &BoxName) -> Result<bool, StoreError> {
        let sql = "SELECT count(*) > 0 FROM enrolled WHERE tenant_id = ?1 AND box_id = ?2 AND revoked_at IS NOT NULL";
        Ok(self.lock().query_row(sql, [&of.tenant_id, &of.box_id], |row| row.get(0))?)
    }

    fn revoke(&self, of: &BoxName, now: i64) -> Result<bool, StoreError> {
        let sql = "UPDATE enrolled SET revoked_at = coalesce(revoked_at, ?3) WHERE tenant_id = ?1 AND box_id = ?2";
        self.write(&of.tenant_id, |sql_tx| Ok(sql_tx.execute(sql, params![of.tenant_id, of.box_id, now])? > 0))
    }

    fn void_certificates(&self, of: &BoxName, before: i64) -> Result<(), StoreError> {
        let sql = "UPDATE enrolled SET void_before = ?3 WHERE tenant_id = ?1 AND box_id = ?2";
        self.lock().execute(sql, params![of.tenant_id, of.box_id, before])?;
        Ok(())
    }

    fn is_void(&self, of: &BoxName, made_at: i64) -> Result<bool, StoreError> {
        let sql = "SELECT count(*) > 0 FROM enrolled WHERE tenant_id = ?1 AND box_id = ?2 AND void_before > ?3";
        Ok(self.lock().query_row(sql, params![of.tenant_id, of.box_id, made_at], |row| row.get(0))?)
    }

    fn tenants(&self) -> Result<Vec<String>, StoreError> {
        let sql = "SELECT tenant_id FROM
                (SELECT tenant_id FROM claims UNION SELECT tenant_id FROM enrolled UNION SELECT tenant_id FROM tenants)
                LEFT JOIN tenants USING (tenant_id)
            WHERE coalesce(standing ->> 'state', 'open') = 'open' ORDER BY 1";
        let db = self.lock();
        let mut statement = db.prepare(sql)?;
        let tenants = statement.query_map([], |row| row.get(0))?;
        Ok(tenants.collect::<Result<_, _>>()?)
    }

    fn boxes(&self, tenant_id: &str) -> Result<Vec<BoxRecord>, StoreError> {
        let db = self.lock();
        let mut statement = db.prepare(&format!("{BOXES} WHERE tenant_id = ?1 ORDER BY box_id"))?;
        let boxes = statement.query_map([tenant_id], box_record)?;
        Ok(boxes.collect::<Result<_, _>>()?)
    }

    fn known_box(&self, of: &BoxName) -> Result<Option<BoxRecord>, StoreError> {
        let db = self.lock();
        let mut statement = db.prepare_cached(&format!("{BOXES} WHERE tenant_id = ?1 AND box_id = ?2"))?;
        Ok(statement.query_row([&of.tenant_id, &of.box_id], box_record).optional()?)
    }

    fn document(&self, place: &Place<'_>) -> Result<Option<String>, StoreError> {
        read_document(&self.lock(), place)
    }

    fn documents(&self, tenant_id: &str, kind: DocumentKind) -> Result<Vec<(String, String)>, StoreError> {
        let sql = "SELECT name, body FROM documents WHERE tenant_id = ?1 AND kind = ?2 ORDER BY name";
        let db = self.lock();
        let mut statement = db.prepare(sql)?;
        let documents = statement.query_map([tenant_id, kind.as_str()], |row| Ok((row.get(0)?, row.get(1)?)))?;
        Ok(documents.collect::<Result<_, _>>()?)
    }

    fn some_documents(
        &self,
        tenant_id: &str,
        kind: DocumentKind,
        names: &[&str],
    ) -> Result<BTreeMap<String, String>, StoreError> {
        let db = self.lock();
        let read =
            |name: &&str| Ok(Some((*name).to_owned()).zip(read_document(&db, &Place { tenant_id, kind, name })?));
        names.iter().filter_map(|name| read(name).transpose()).collect()
    }

    fn change_document<T>(
        &self,
        place: &Place<'_>,
        now: i64,
        mut work: impl FnMut(Option<&str>) -> Result<Change<T>, StoreError>,
    ) -> Result<T, StoreError> {
        let (answer, rung) = self.write(place.tenant_id, |sql_tx| change(sql_tx, place, now, &mut work))?;
        if let Some((name, changed_at)) = rung {
            self.bell.ring(&name, changed_at);
        }
        Ok(answer)
    }

    fn append_audit(&self, tenant_id: &str, now: i64, body: &str) -> Result<AuditEntry, StoreError> {
        let mut db = self.lock();
        let sql_tx = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let sql = "SELECT number, at, body, hash FROM audit WHERE tenant_id = ?1 ORDER BY number DESC LIMIT 1";
        let before = sql_tx.query_row(sql, [tenant_id], audit_entry).optional()?;
        let entry = AuditEntry::after(before.as_ref(), now, body.to_owned());
        let sql = "INSERT INTO audit (tenant_id, number, at, body, hash) VALUES (?1, ?2, ?3, ?4, ?5)";
        sql_tx.execute(sql, params![tenant_id, signed(entry.number), entry.at, entry.body, entry.hash])?;
        sql_tx.commit()?;
        Ok(entry)
    }

    fn audit(&self, tenant_id: &str, after: u64, limit: u32) -> Result<Vec<AuditEntry>, StoreError> {
        let sql = "SELECT number, at, body, hash FROM audit WHERE tenant_id = ?1 AND number > ?2
            ORDER BY number LIMIT ?3";
        let db = self.lock();
        let mut statement = db.prepare_cached(sql)?;
        let entries = statement.query_map(params![tenant_id, signed(after), limit], audit_entry)?;
        Ok(entries.collect::<Result<_, _>>()?)
    }

    fn news(&self, after: i64) -> Result<Vec<(BoxName, i64)>, StoreError> {
        let sql = "SELECT tenant_id, box_id, changed_at FROM news WHERE changed_at > ?1";
        let db = self.lock();
        let mut statement = db.prepare_cached(sql)?;
        let news = statement
            .query_map([after], |row| Ok((BoxName { tenant_id: row.get(0)?, box_id: row.get(1)? }, row.get(2)?)))?;
        Ok(news.collect::<Result<_, _>>()?)
    }

    fn check(&self) -> Result<(), StoreError> {
        Ok(self.lock().query_row("SELECT 1 FROM boxes LIMIT 1", [], |_| Ok(())).optional().map(|_| ())?)
    }
}

/// Keys and rows, of a question for key, epoch, version, transaction, hash and columns.
fn keyed_rows(
    db: &Connection,
    sql: &str,
    values: impl rusqlite::Params,
) -> Result<Vec<(String, StoredRow)>, StoreError> {
    let mut statement = db.prepare_cached(sql)?;
    let mut rows = statement.query(values)?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        found.push((row.get(0)?, stored(row, 1)?));
    }
    Ok(found)
}

fn audit_entry(row: &rusqlite::Row<'_>) -> rusqlite::Result<AuditEntry> {
    Ok(AuditEntry { number: unsigned(row, 0)?, at: row.get(1)?, body: row.get(2)?, hash: row.get(3)? })
}

/// Changes one document; also says whether the bell of a box is to ring once that is committed.
pub(super) fn change<T>(
    db: &Connection,
    place: &Place<'_>,
    now: i64,
    work: impl FnOnce(Option<&str>) -> Result<Change<T>, StoreError>,
) -> Result<(T, Option<(BoxName, i64)>), StoreError> {
    let Place { tenant_id, kind, name } = place;
    let Change { body, news, answer } = work(read_document(db, place)?.as_deref())?;
    if let Some(body) = body {
        let sql = "INSERT INTO documents (tenant_id, kind, name, body, changed_at) VALUES (?1, ?2, ?3, ?4, ?5)
            ON CONFLICT DO UPDATE SET body = excluded.body, changed_at = max(excluded.changed_at, changed_at + 1)";
        db.execute(sql, params![tenant_id, kind.as_str(), name, body, now])?;
    }
    let rung = note_news(db, place, news, now)?;
    let name = BoxName { tenant_id: (*tenant_id).to_owned(), box_id: (*name).to_owned() };
    Ok((answer, rung.map(|changed_at| (name, changed_at))))
}

/// When the box of this document has news, if it has.
fn note_news(db: &Connection, place: &Place<'_>, news: bool, now: i64) -> Result<Option<i64>, StoreError> {
    let Place { tenant_id, kind, name } = place;
    if *kind == DocumentKind::Box && news {
        let sql = "INSERT INTO news (tenant_id, box_id, changed_at) VALUES (?1, ?2, ?3)
            ON CONFLICT DO UPDATE SET changed_at = max(excluded.changed_at, changed_at + 1) RETURNING changed_at";
        return Ok(Some(db.query_row(sql, params![tenant_id, name, now], |row| row.get(0))?));
    }
    if *kind == DocumentKind::Rollout {
        let sql = if news {
            "INSERT INTO running (tenant_id, rollout_id) VALUES (?1, ?2) ON CONFLICT DO NOTHING"
        } else {
            "DELETE FROM running WHERE tenant_id = ?1 AND rollout_id = ?2"
        };
        db.execute(sql, [tenant_id, name])?;
    }
    Ok(None)
}

fn read_document(db: &Connection, place: &Place<'_>) -> Result<Option<String>, StoreError> {
    let sql = "SELECT body FROM documents WHERE tenant_id = ?1 AND kind = ?2 AND name = ?3";
    let body = db.query_row(sql, [place.tenant_id, place.kind.as_str(), place.name], |row| row.get(0)).optional()?;
    Ok(body)
}

struct SqliteRows<'a> {
    sql_tx: &'a Connection,
    of: &'a BoxName,
}

/// SQLite has no unsigned numbers; these are far from the end of signed ones.
fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn unsigned(row: &rusqlite::Row<'_>, column: usize) -> rusqlite::Result<u64> {
    Ok(row.get::<_, i64>(column)?.unsigned_abs())
}

/// Epoch, incarnation, watermark and transactions from the column `first` on.
fn box_state(row: &rusqlite::Row<'_>, first: usize) -> rusqlite::Result<BoxState> {
    Ok(BoxState {
        epoch: unsigned(row, first)?,
        incarnation: row.get(first + 1)?,
        watermark: row.get(first + 2)?,
        applied: unsigned(row, first + 3)?,
    })
}

/// Epoch, version, transaction, hash and columns from the column `first` on.
fn stored(row: &rusqlite::Row<'_>, first: usize) -> Result<StoredRow, StoreError> {
    let json: Option<String> = row.get(first + 4)?;
    Ok(StoredRow {
        epoch: unsigned(row, first)?,
        row_version: row.get(first + 1)?,
        applied: unsigned(row, first + 2)?,
        hash: u128::from_le_bytes(row.get(first + 3)?),
        columns: json.map(|json| from_json(&json)).transpose()?,
    })
}

impl SqliteRows<'_> {
    fn change_sum(
        &self,
        table: &str,
        key: &str,
        row: &StoredRow,
        change: impl FnOnce(&mut Sum, u128),
    ) -> Result<(), StoreError> {
        let Some(day) = day_of(key).filter(|_| row.columns.is_some()) else { return Ok(()) };
        let BoxName { tenant_id, box_id } = self.of;
        let read = "SELECT row_count, hash FROM day_sums
            WHERE tenant_id = ?1 AND box_id = ?2 AND table_name = ?3 AND epoch = ?4 AND day = ?5";
        let of_day = params![tenant_id, box_id, table, signed(row.epoch), day];
        let sum = self
            .sql_tx
            .prepare_cached(read)?
            .query_row(of_day, |row| Ok(Sum { rows: unsigned(row, 0)?, hash: u128::from_le_bytes(row.get(1)?) }));
        let mut sum = sum.optional()?.unwrap_or_default();
        change(&mut sum, row.hash);
        let write = "INSERT INTO day_sums (tenant_id, box_id, table_name, epoch, day, row_count, hash)
            VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
            ON CONFLICT DO UPDATE SET row_count = excluded.row_count, hash = excluded.hash";
        let hash = sum.hash.to_le_bytes();
        let values = params![tenant_id, box_id, table, signed(row.epoch), day, signed(sum.rows), hash];
        self.sql_tx.prepare_cached(write)?.execute(values)?;
        Ok(())
    }
}

impl Transaction for SqliteRows<'_> {
    type Error = StoreError;

    fn box_state(&mut self) -> Result<Option<BoxState>, StoreError> {
        let sql = "SELECT epoch, incarnation, watermark, applied FROM boxes WHERE tenant_id = ?1 AND box_id = ?2";
        let state =
            self.sql_tx.prepare_cached(sql)?.query_row([&self.of.tenant_id, &self.of.box_id], |row| box_state(row, 0));
        Ok(state.optional()?)
    }

    fn set_box_state(&mut self, state: BoxState) -> Result<(), StoreError> {
        let sql = "INSERT INTO boxes (tenant_id, box_id, epoch, incarnation, watermark, applied)
            VALUES (?1, ?2, ?3, ?4, ?5, ?6)
            ON CONFLICT DO UPDATE SET epoch = excluded.epoch, incarnation = excluded.incarnation,
                watermark = excluded.watermark, applied = excluded.applied";
        let BoxName { tenant_id, box_id } = self.of;
        let (epoch, applied) = (signed(state.epoch), signed(state.applied));
        let values = params![tenant_id, box_id, epoch, state.incarnation, state.watermark, applied];
        self.sql_tx.prepare_cached(sql)?.execute(values)?;
        Ok(())
    }

    fn row(&mut self, table: &str, key: &str) -> Result<Option<StoredRow>, StoreError> {
        let sql = "SELECT epoch, row_version, applied, hash, columns FROM synced_rows
            WHERE tenant_id = ?1 AND box_id = ?2 AND table_name = ?3 AND row_key = ?4";
        let mut statement = self.sql_tx.prepare_cached(sql)?;
        let mut rows = statement.query(params![self.of.tenant_id, self.of.box_id, table, key])?;
        rows.next()?.map(|row| stored(row, 0)).transpose()
    }

    fn put_row(&mut self, table: &str, key: &str, row: StoredRow) -> Result<(), StoreError> {
        if let Some(old) = self.row(table, key)? {
            self.change_sum(table, key, &old, Sum::remove)?;
        }
        self.change_sum(table, key, &row, Sum::add)?;
        let sql = "INSERT INTO synced_rows
                (tenant_id, box_id, table_name, row_key, epoch, row_version, applied, hash, columns)
            VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)
            ON CONFLICT DO UPDATE SET epoch = excluded.epoch, row_version = excluded.row_version,
                applied = excluded.applied, hash = excluded.hash, columns = excluded.columns";
        let BoxName { tenant_id, box_id } = self.of;
        let (epoch, applied, hash) = (signed(row.epoch), signed(row.applied), row.hash.to_le_bytes());
        let columns = row.columns.as_ref().map(to_json);
        let values = params![tenant_id, box_id, table, key, epoch, row.row_version, applied, hash, columns];
        self.sql_tx.prepare_cached(sql)?.execute(values)?;
        Ok(())
    }

    fn rows_between(&mut self, table: &str, after: &str, to: &str) -> Result<Vec<(String, StoredRow)>, StoreError> {
        let sql = "SELECT row_key, epoch, row_version, applied, hash, columns FROM synced_rows
            WHERE tenant_id = ?1 AND box_id = ?2 AND table_name = ?3 AND row_key > ?4 AND row_key <= ?5
            ORDER BY row_key";
        let mut statement = self.sql_tx.prepare_cached(sql)?;
        let mut rows = statement.query(params![self.of.tenant_id, self.of.box_id, table, after, to])?;
        let mut found = Vec::new();
        while let Some(row) = rows.next()? {
            found.push((row.get(0)?, stored(row, 1)?));
        }
        Ok(found)
    }

    fn day_sums(&mut self, table: &str, epoch: u64) -> Result<BTreeMap<u32, Sum>, StoreError> {
        let sql = "SELECT day, row_count, hash FROM day_sums
            WHERE tenant_id = ?1 AND box_id = ?2 AND table_name = ?3 AND epoch = ?4 AND row_count > 0";
        let mut statement = self.sql_tx.prepare_cached(sql)?;
        let of_table = params![self.of.tenant_id, self.of.box_id, table, signed(epoch)];
        let sums = statement.query_map(of_table, |row| {
            Ok((row.get(0)?, Sum { rows: unsigned(row, 1)?, hash: u128::from_le_bytes(row.get(2)?) }))
        })?;
        Ok(sums.collect::<Result<_, _>>()?)
    }
}

#[cfg(test)]
mod tests {
    use super::super::conformance::check_store;
    use super::super::deliveries::conformance::check_deliveries;
    use super::super::upkeep::{BEFORE_UPKEEP, Upkeep as _, check_upkeep};
    use super::*;

    #[test]
    fn it_is_a_store() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("cloud.db");
        check_store(|| Sqlite::open(&path).unwrap());
        check_upkeep(&Sqlite::open(&path).unwrap());
        check_deliveries(|| Sqlite::open(&path).unwrap());
    }

    #[test]
    fn a_database_of_a_newer_release_is_refused_with_both_numbers() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("cloud.db");
        Connection::open(&path).unwrap().pragma_update(None, "user_version", 9).unwrap();
        let error = Sqlite::open(&path).unwrap_err();
        assert!(matches!(error, StoreError::Newer { found: 9, known: FORMAT }), "{error}");
    }

    #[test]
    fn a_database_of_an_earlier_format_gets_what_it_lacks() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("cloud.db");
        let earlier = Connection::open(&path).unwrap();
        earlier.execute_batch(include_str!("schema.sql")).unwrap();
        earlier.execute("INSERT INTO claims VALUES (zeroblob(32), 'bakery', 5, NULL)", []).unwrap();
        earlier.pragma_update(None, "user_version", 1).unwrap();
        drop(earlier);
        let store = Sqlite::open(&path).unwrap();
        assert_eq!((store.tenants().unwrap(), store.news(0).unwrap()), (vec!["bakery".to_owned()], vec![]));
    }

    /// A box whose silence was noted in its document is not said to be silent again, and a rollout goes on.
    #[test]
    fn what_documents_said_of_silence_and_rollouts_is_known_after_the_update() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("cloud.db");
        let earlier = Connection::open(&path).unwrap();
        earlier.execute_batch(include_str!("schema.sql")).unwrap();
        earlier.execute_batch(include_str!("fleet.sql")).unwrap();
        earlier.execute_batch(BEFORE_UPKEEP).unwrap();
        earlier.pragma_update(None, "user_version", 2).unwrap();
        drop(earlier);
        let store = Sqlite::open(&path).unwrap();
        let since: Vec<_> = store.boxes("bakery").unwrap().into_iter().map(|record| record.silent_since).collect();
        assert_eq!(since, [Some(5), None]);
        assert_eq!(store.note_silence(6).unwrap().changes, []);
        assert_eq!(store.running_rollouts().unwrap(), [("bakery".to_owned(), "on".to_owned())]);
    }

    /// A full disk is said to the box by name, and what was there stays.
    #[test]
    fn a_full_disk_is_named() {
        let store = Sqlite::prepare(Connection::open_in_memory().unwrap()).unwrap();
        store.lock().execute_batch("PRAGMA max_page_count = 9").unwrap();
        let of = BoxName { tenant_id: "t".to_owned(), box_id: "b".to_owned() };
        let filled = store.transact(&of, |rows| {
            let incarnation = vec![0; 100_000];
            rows.set_box_state(BoxState { epoch: 1, incarnation, watermark: 0, applied: 0 })
        });
        assert!(matches!(filled, Err(StoreError::DiskFull)), "{filled:?}");
        assert_eq!(store.transact(&of, |rows| rows.box_state()).unwrap(), None);
    }
}
