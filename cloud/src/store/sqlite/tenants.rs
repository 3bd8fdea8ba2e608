//! Tenants as wholes, in SQLite.

use std::collections::BTreeSet;

use rusqlite::{Connection, OptionalExtension as _, Row, TransactionBehavior, params};

use super::super::tenants::{
    ChangeStanding, Holdings, RECORDS_AT_ONCE, Record, Standing, StandingRecord, Tenants, bytes_from_hex, columns_text,
    hash_from_hex, json_of,
};
use super::super::{BoxName, DocumentKind, StoreError};
use super::{Sqlite, standing};

impl Tenants for Sqlite {
    fn standing(&self, tenant_id: &str) -> Result<StandingRecord, StoreError> {
        read_standing(&self.lock(), tenant_id)
    }

    fn standings(&self) -> Result<Vec<StandingRecord>, StoreError> {
        let sql = "SELECT tenant_id, standing, changed_at, changed_by FROM tenants ORDER BY tenant_id";
        let db = self.lock();
        let mut statement = db.prepare(sql)?;
        let mut rows = statement.query([])?;
        let mut found = Vec::new();
        while let Some(row) = rows.next()? {
            found.push(standing_record(row)?);
        }
        Ok(found)
    }

    fn holdings(&self, tenant_id: &str) -> Result<Holdings, StoreError> {
        holdings(&self.lock(), tenant_id)
    }

    fn change_standing(
        &self,
        tenant_id: &str,
        by: &str,
        now: i64,
        work: ChangeStanding<'_>,
    ) -> Result<StandingRecord, StoreError> {
        let mut db = self.lock();
        // One writer at a time: whoever wrote for it has ended.
        let sql_tx = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let before = read_standing(&sql_tx, tenant_id)?;
        let Some(new) = work(&before.standing, &holdings(&sql_tx, tenant_id)?)? else { return Ok(before) };
        let sql = "INSERT INTO tenants (tenant_id, standing, changed_at, changed_by) VALUES (?1, ?2, ?3, ?4)
            ON CONFLICT DO UPDATE SET standing = excluded.standing, changed_at = excluded.changed_at,
                changed_by = excluded.changed_by";
        sql_tx.execute(sql, params![tenant_id, new.to_json()?, now, by])?;
        let ring = "INSERT INTO news (tenant_id, box_id, changed_at)
            SELECT tenant_id, box_id, ?2 FROM enrolled WHERE tenant_id = ?1
            ON CONFLICT DO UPDATE SET changed_at = max(excluded.changed_at, changed_at + 1)
            RETURNING box_id, changed_at";
        let rung: Vec<(String, i64)> = sql_tx
            .prepare(ring)?
            .query_map(params![tenant_id, now], |row| Ok((row.get(0)?, row.get(1)?)))?
            .collect::<Result<_, _>>()?;
        sql_tx.commit()?;
        drop(db);
        for (box_id, changed_at) in rung {
            self.bell.ring(&BoxName { tenant_id: tenant_id.to_owned(), box_id }, changed_at);
        }
        let (tenant_id, changed_by) = (tenant_id.to_owned(), by.to_owned());
        Ok(StandingRecord { tenant_id, standing: new, changed_at: now, changed_by })
    }

    fn export(
        &self,
        tenant_id: &str,
        take: &mut dyn FnMut(Record) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let mut db = self.lock();
        // From its first question on it sees the database as it was then, and stands in nobody's way.
        let sql_tx = db.transaction_with_behavior(TransactionBehavior::Deferred)?;
        for box_id in box_ids(&sql_tx, tenant_id)? {
            export_box(&sql_tx, tenant_id, &box_id, take)?;
        }
        let sql = "SELECT kind, name, body, changed_at FROM documents WHERE tenant_id = ?1 ORDER BY kind, name";
        each(&sql_tx, sql, &[tenant_id], take, |row| {
            let body: String = row.get(2)?;
            Ok(Record::Document {
                kind: row.get(0)?,
                name: row.get(1)?,
                body: json_of(&body)?,
                changed_at: row.get(3)?,
            })
        })?;
        let sql = "SELECT box_id, delivery_id, created_at, body, sha256, due_at, acked_at, acked_epoch, answer
            FROM deliveries LEFT JOIN delivery_work USING (tenant_id, box_id, delivery_id)
            WHERE tenant_id = ?1 ORDER BY box_id, delivery_id";
        each(&sql_tx, sql, &[tenant_id], take, |row| {
            Ok(Record::Delivery {
                box_id: row.get(0)?,
                delivery_id: row.get(1)?,
                created_at: row.get(2)?,
                body: row.get(3)?,
                sha256: row.get(4)?,
                due_at: row.get(5)?,
                acked_at: row.get(6)?,
                acked_epoch: row.get(7)?,
                answer: row.get(8)?,
            })
        })?;
        let sql = "SELECT code_sha256, expires_at, box_id FROM claims WHERE tenant_id = ?1 ORDER BY code_sha256";
        each(&sql_tx, sql, &[tenant_id], take, |row| {
            let code: [u8; 32] = row.get(0)?;
            Ok(Record::Claim { code_sha256: hex::encode(code), expires_at: row.get(1)?, box_id: row.get(2)? })
        })
    }

    fn put_records(&self, tenant_id: &str, records: &[Record]) -> Result<(), StoreError> {
        let mut db = self.lock();
        let sql_tx = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let standing = standing(&sql_tx, tenant_id)?;
        if !matches!(standing, Standing::Arriving { .. }) {
            return Err(not_here(tenant_id, standing));
        }
        for record in records {
            put(&sql_tx, tenant_id, record)?;
        }
        Ok(sql_tx.commit()?)
    }

    fn wipe_some(&self, tenant_id: &str) -> Result<bool, StoreError> {
        let mut db = self.lock();
        let sql_tx = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let standing = standing(&sql_tx, tenant_id)?;
        if !standing.may_be_wiped() {
            return Err(not_here(tenant_id, standing));
        }
        let sql = "DELETE FROM synced_rows WHERE (tenant_id, box_id, table_name, row_key) IN
            (SELECT tenant_id, box_id, table_name, row_key FROM synced_rows WHERE tenant_id = ?1 LIMIT ?2)";
        let limit = i64::try_from(RECORDS_AT_ONCE).unwrap_or(i64::MAX);
        if sql_tx.execute(sql, params![tenant_id, limit])? > 0 {
            sql_tx.commit()?;
            return Ok(true);
        }
        for table in [
            "boxes",
            "day_sums",
            "enrolled",
            "documents",
            "news",
            "running",
            "deliveries",
            "delivery_work",
            "backup_files",
        ] {
            sql_tx.execute(&format!("DELETE FROM {table} WHERE tenant_id = ?1"), [tenant_id])?;
        }
        // Of one that is arriving there are those that were made here before, and those that it brings.
        if !matches!(standing, Standing::Arriving { .. }) {
            let is_elsewhere = matches!(standing, Standing::Elsewhere { .. });
            let codes = "DELETE FROM claims WHERE tenant_id = ?1 AND (?2 OR box_id IS NOT NULL)";
            sql_tx.execute(codes, params![tenant_id, !is_elsewhere])?;
        }
        sql_tx.commit()?;
        if !matches!(standing, Standing::Arriving { .. }) {
            // Pages and the log of what was written hold what was deleted, also long ago, until they are written anew.
            db.execute_batch("VACUUM")?;
            db.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?;
        }
        Ok(false)
    }
}

fn not_here(tenant_id: &str, standing: Standing) -> StoreError {
    StoreError::NotHere { tenant_id: tenant_id.to_owned(), standing: Box::new(standing) }
}

fn read_standing(db: &Connection, tenant_id: &str) -> Result<StandingRecord, StoreError> {
    let sql = "SELECT tenant_id, standing, changed_at, changed_by FROM tenants WHERE tenant_id = ?1";
    let mut statement = db.prepare_cached(sql)?;
    let mut rows = statement.query([tenant_id])?;
    match rows.next()? {
        Some(row) => standing_record(row),
        None => Ok(StandingRecord::open(tenant_id)),
    }
}

fn standing_record(row: &Row<'_>) -> Result<StandingRecord, StoreError> {
    let json: String = row.get(1)?;
    let standing = Standing::from_json(&json)?;
    Ok(StandingRecord { tenant_id: row.get(0)?, standing, changed_at: row.get(2)?, changed_by: row.get(3)? })
}

fn holdings(db: &Connection, tenant_id: &str) -> Result<Holdings, StoreError> {
    let sql = "SELECT (SELECT count(*) FROM enrolled WHERE tenant_id = ?1),
        (SELECT coalesce(sum(row_count), 0) FROM day_sums WHERE tenant_id = ?1),
        (SELECT count(*) FROM documents WHERE tenant_id = ?1),
        (SELECT count(*) FROM claims WHERE tenant_id = ?1),
        NOT EXISTS (SELECT 1 FROM boxes WHERE tenant_id = ?1)
            AND NOT EXISTS (SELECT 1 FROM synced_rows WHERE tenant_id = ?1)
            AND NOT EXISTS (SELECT 1 FROM day_sums WHERE tenant_id = ?1)
            AND NOT EXISTS (SELECT 1 FROM enrolled WHERE tenant_id = ?1)
            AND NOT EXISTS (SELECT 1 FROM documents WHERE tenant_id = ?1)";
    let found = db.query_row(sql, [tenant_id], |row| {
        let count = |column| row.get(column).map(i64::unsigned_abs);
        Ok(Holdings {
            boxes: count(0)?,
            rows: count(1)?,
            documents: count(2)?,
            claims: count(3)?,
            is_empty: row.get(4)?,
        })
    });
    Ok(found?)
}

/// Of every table that has any.
fn box_ids(db: &Connection, tenant_id: &str) -> Result<BTreeSet<String>, StoreError> {
    let mut found = BTreeSet::new();
    for table in ["boxes", "enrolled", "day_sums", "synced_rows"] {
        found.extend(values_of(db, table, "box_id", "tenant_id = ?1", &[tenant_id])?);
    }
    Ok(found)
}

/// The different values of a column, each found by a step in the index: the rows between them are not read.
fn values_of(
    db: &Connection,
    table: &str,
    column: &str,
    within: &str,
    values: &[&str],
) -> Result<Vec<String>, StoreError> {
    let last = values.len() + 1;
    let sql = format!("SELECT {column} FROM {table} WHERE {within} AND {column} > ?{last} ORDER BY {column} LIMIT 1");
    let mut statement = db.prepare_cached(&sql)?;
    let mut found: Vec<String> = Vec::new();
    loop {
        let after = found.last().map_or("", String::as_str);
        let values = values.iter().copied().chain([after]);
        let next = statement.query_row(rusqlite::params_from_iter(values), |row| row.get(0)).optional()?;
        match next {
            Some(next) => found.push(next),
            None => return Ok(found),
        }
    }
}

/// Gives each row of a question as a record.
fn each(
    db: &Connection,
    sql: &str,
    values: &[&str],
    take: &mut dyn FnMut(Record) -> Result<(), StoreError>,
    record: impl Fn(&Row<'_>) -> Result<Record, StoreError>,
) -> Result<(), StoreError> {
    let mut statement = db.prepare_cached(sql)?;
    let mut rows = statement.query(rusqlite::params_from_iter(values))?;
    while let Some(row) = rows.next()? {
        take(record(row)?)?;
    }
    Ok(())
}

fn export_box(
    db: &Connection,
    tenant_id: &str,
    box_id: &str,
    take: &mut dyn FnMut(Record) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    let own = || box_id.to_owned();
    let sql = "SELECT enrolled_at, release, heard_at, equal_at, revoked_at, void_before FROM enrolled
        WHERE tenant_id = ?1 AND box_id = ?2";
    each(db, sql, &[tenant_id, box_id], take, |row| {
        Ok(Record::Box {
            box_id: own(),
            enrolled_at: row.get(0)?,
            release: row.get(1)?,
            heard_at: row.get(2)?,
            equal_at: row.get(3)?,
            revoked_at: row.get(4)?,
            void_before: row.get(5)?,
        })
    })?;
    let sql = "SELECT epoch, incarnation, watermark, applied FROM boxes WHERE tenant_id = ?1 AND box_id = ?2";
    each(db, sql, &[tenant_id, box_id], take, |row| {
        let incarnation: Vec<u8> = row.get(1)?;
        Ok(Record::State {
            box_id: own(),
            epoch: row.get(0)?,
            incarnation: hex::encode(incarnation),
            watermark: row.get(2)?,
            applied: row.get(3)?,
        })
    })?;
    let within = "tenant_id = ?1 AND box_id = ?2";
    for table in values_of(db, "synced_rows", "table_name", within, &[tenant_id, box_id])? {
        let sql = "SELECT row_key, epoch, row_version, applied, hash, columns FROM synced_rows
            WHERE tenant_id = ?1 AND box_id = ?2 AND table_name = ?3 ORDER BY row_key";
        each(db, sql, &[tenant_id, box_id, &table], take, |row| {
            let (hash, columns): ([u8; 16], Option<String>) = (row.get(4)?, row.get(5)?);
            Ok(Record::Row {
                box_id: own(),
                table: table.clone(),
                key: row.get(0)?,
                epoch: row.get(1)?,
                row_version: row.get(2)?,
                applied: row.get(3)?,
                hash: hex::encode(hash),
                columns: columns.as_deref().map(json_of).transpose()?,
            })
        })?;
    }
    for table in values_of(db, "day_sums", "table_name", within, &[tenant_id, box_id])? {
        let sql = "SELECT epoch, day, row_count, hash FROM day_sums
            WHERE tenant_id = ?1 AND box_id = ?2 AND table_name = ?3 ORDER BY epoch, day";
        each(db, sql, &[tenant_id, box_id, &table], take, |row| {
            let hash: [u8; 16] = row.get(3)?;
            Ok(Record::Day {
                box_id: own(),
                table: table.clone(),
                epoch: row.get(0)?,
                day: row.get(1)?,
                rows: row.get(2)?,
                hash: hex::encode(hash),
            })
        })?;
    }
    Ok(())
}

fn put(db: &Connection, tenant_id: &str, record: &Record) -> Result<(), StoreError> {
    match record {
        Record::Box { box_id, enrolled_at, release, heard_at, equal_at, revoked_at, void_before } => {
            let sql = "INSERT INTO enrolled
                    (tenant_id, box_id, enrolled_at, release, heard_at, equal_at, revoked_at, void_before)
                VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)";
            let values = params![tenant_id, box_id, enrolled_at, release, heard_at, equal_at, revoked_at, void_before];
            db.prepare_cached(sql)?.execute(values)?;
        }
        Record::State { box_id, epoch, incarnation, watermark, applied } => {
            let sql = "INSERT INTO boxes (tenant_id, box_id, epoch, incarnation, watermark, applied)
                VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
            let incarnation = bytes_from_hex(incarnation)?;
            db.prepare_cached(sql)?.execute(params![tenant_id, box_id, epoch, incarnation, watermark, applied])?;
        }
        Record::Row { box_id, table, key, epoch, row_version, applied, hash, columns } => {
            let sql = "INSERT INTO synced_rows
                    (tenant_id, box_id, table_name, row_key, epoch, row_version, applied, hash, columns)
                VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)";
            let (hash, columns) = (hash_from_hex(hash)?, columns_text(columns.as_ref())?);
            let values = params![tenant_id, box_id, table, key, epoch, row_version, applied, hash, columns];
            db.prepare_cached(sql)?.execute(values)?;
        }
        Record::Day { box_id, table, epoch, day, rows, hash } => {
            let sql = "INSERT INTO day_sums (tenant_id, box_id, table_name, epoch, day, row_count, hash)
                VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
            let hash = hash_from_hex(hash)?;
            db.prepare_cached(sql)?.execute(params![tenant_id, box_id, table, epoch, day, rows, hash])?;
        }
        Record::Document { kind, name, body, changed_at } => {
            let sql = "INSERT INTO documents (tenant_id, kind, name, body, changed_at) VALUES (?1, ?2, ?3, ?4, ?5)";
            db.prepare_cached(sql)?.execute(params![tenant_id, kind, name, body.to_string(), changed_at])?;
            if kind == DocumentKind::Rollout.as_str() {
                // Whether it is running is seen when it is looked at.
                let sql = "INSERT INTO running (tenant_id, rollout_id) VALUES (?1, ?2) ON CONFLICT DO NOTHING";
                db.prepare_cached(sql)?.execute(params![tenant_id, name])?;
            }
        }
        Record::Delivery { box_id, delivery_id, created_at, body, sha256, due_at, acked_at, acked_epoch, answer } => {
            let sql =
                "INSERT INTO deliveries (tenant_id, box_id, delivery_id, created_at, body, sha256, is_ready, acked_at,
                    acked_epoch, answer)
                VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)";
            let ready = due_at.is_none();
            let values =
                params![tenant_id, box_id, delivery_id, created_at, body, sha256, ready, acked_at, acked_epoch, answer];
            db.prepare_cached(sql)?.execute(values)?;
            if let Some(due_at) = due_at {
                let sql = "INSERT INTO delivery_work (tenant_id, box_id, delivery_id, due_at) VALUES (?1, ?2, ?3, ?4)";
                db.prepare_cached(sql)?.execute(params![tenant_id, box_id, delivery_id, due_at])?;
            }
        }
        Record::Claim { code_sha256, expires_at, box_id } => {
            // It may be one that was made here.
            let sql = "INSERT INTO claims (code_sha256, tenant_id, expires_at, box_id) VALUES (?1, ?2, ?3, ?4)
                ON CONFLICT DO NOTHING";
            let code = bytes_from_hex(code_sha256)?;
            db.prepare_cached(sql)?.execute(params![code, tenant_id, expires_at, box_id])?;
        }
        Record::Recording { .. } => return Err(StoreError::Record("a recording is no row".to_owned())),
    }
    Ok(())
}
