//! Tenants as wholes, in PostgreSQL.

use std::collections::BTreeSet;

use postgres::fallible_iterator::FallibleIterator as _;
use postgres::types::ToSql;
use postgres::{IsolationLevel, Row, Transaction};

use super::super::tenants::{
    ChangeStanding, Holdings, Record, Standing, StandingRecord, Tenants, bytes_from_hex, columns_text, hash_from_hex,
    json_of,
};
use super::super::{DocumentKind, StoreError, bell};
use super::{Connection, Postgres};

/// Rows that are fetched together while a tenant is exported: what is in memory of it.
const ROWS_AT_ONCE: i32 = 500;

/// Rows that are wiped in one transaction; they hold up nobody.
const WIPED_AT_ONCE: i64 = 10_000;

type Values<'a> = [&'a (dyn ToSql + Sync)];

impl Tenants for Postgres {
    fn standing(&self, tenant_id: &str) -> Result<StandingRecord, StoreError> {
        let sql = "SELECT tenant_id, standing, changed_at, changed_by FROM tenants WHERE tenant_id = $1";
        self.with(|connection| match connection.client.query_opt(sql, &[&tenant_id])? {
            Some(row) => standing_record(&row),
            None => Ok(StandingRecord::open(tenant_id)),
        })
    }

    fn standings(&self) -> Result<Vec<StandingRecord>, StoreError> {
        let sql = "SELECT tenant_id, standing, changed_at, changed_by FROM tenants ORDER BY tenant_id COLLATE \"C\"";
        self.with(|connection| connection.client.query(sql, &[])?.iter().map(standing_record).collect())
    }

    fn holdings(&self, tenant_id: &str) -> Result<Holdings, StoreError> {
        self.with(|connection| {
            let (mut sql_tx, _) = connection.transaction(tenant_id)?;
            holdings(&mut sql_tx, tenant_id)
        })
    }

    fn change_standing(
        &self,
        tenant_id: &str,
        by: &str,
        now: i64,
        work: ChangeStanding<'_>,
    ) -> Result<StandingRecord, StoreError> {
        let read = "SELECT tenant_id, standing, changed_at, changed_by FROM tenants WHERE tenant_id = $1";
        let write = "INSERT INTO tenants (tenant_id, standing, changed_at, changed_by) VALUES ($1, $2, $3, $4)
            ON CONFLICT (tenant_id) DO UPDATE SET standing = excluded.standing, changed_at = excluded.changed_at,
                changed_by = excluded.changed_by";
        let ring = "INSERT INTO news (tenant_id, box_id, changed_at)
            SELECT tenant_id, box_id, $2 FROM enrolled WHERE tenant_id = $1
            ON CONFLICT (tenant_id, box_id) DO UPDATE
            SET changed_at = greatest(excluded.changed_at, news.changed_at + 1) RETURNING box_id, changed_at";
        self.with(|connection| {
            let mut sql_tx = alone(connection, tenant_id)?;
            let before = match sql_tx.query_opt(read, &[&tenant_id])? {
                Some(row) => standing_record(&row)?,
                None => StandingRecord::open(tenant_id),
            };
            let here = holdings(&mut sql_tx, tenant_id)?;
            let Some(new) = work(&before.standing, &here)? else { return Ok(before) };
            sql_tx.execute(write, &[&tenant_id, &new.to_json()?, &now, &by])?;
            for row in sql_tx.query(ring, &[&tenant_id, &now])? {
                sql_tx.execute(bell::NOTIFY, &[&bell::payload(tenant_id, row.get(0), row.get(1))])?;
            }
            sql_tx.commit()?;
            let (tenant_id, changed_by) = (tenant_id.to_owned(), by.to_owned());
            Ok(StandingRecord { tenant_id, standing: new, changed_at: now, changed_by })
        })
    }

    fn export(
        &self,
        tenant_id: &str,
        take: &mut dyn FnMut(Record) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        // A connection of its own: one that breaks must not be tried again, because what was given was given.
        let mut connection = Connection::prepare(self.server().connect()?)?;
        let builder = connection.client.build_transaction().isolation_level(IsolationLevel::RepeatableRead);
        let mut sql_tx = builder.read_only(true).start()?;
        sql_tx.execute(&connection.statements.set_tenant, &[&tenant_id])?;
        for box_id in box_ids(&mut sql_tx, tenant_id)? {
            export_box(&mut sql_tx, tenant_id, &box_id, take)?;
        }
        let sql = "SELECT kind, name, body, changed_at FROM documents WHERE tenant_id = $1
            ORDER BY kind COLLATE \"C\", name";
        each(&mut sql_tx, sql, &[&tenant_id], take, |row| {
            Ok(Record::Document {
                kind: row.get(0),
                name: row.get(1),
                body: json_of(row.get(2))?,
                changed_at: row.get(3),
            })
        })?;
        let sql = "SELECT box_id, delivery_id, created_at, body, sha256, due_at, acked_at, acked_epoch, answer
            FROM deliveries LEFT JOIN delivery_work USING (tenant_id, box_id, delivery_id)
            WHERE tenant_id = $1 ORDER BY box_id COLLATE \"C\", delivery_id";
        each(&mut sql_tx, sql, &[&tenant_id], take, |row| {
            Ok(Record::Delivery {
                box_id: row.get(0),
                delivery_id: row.get(1),
                created_at: row.get(2),
                body: row.get(3),
                sha256: row.get(4),
                due_at: row.get(5),
                acked_at: row.get(6),
                acked_epoch: row.get(7),
                answer: row.get(8),
            })
        })?;
        let sql = "SELECT code_sha256, expires_at, box_id FROM claims WHERE tenant_id = $1 ORDER BY code_sha256";
        each(&mut sql_tx, sql, &[&tenant_id], take, |row| {
            let code: &[u8] = row.get(0);
            Ok(Record::Claim { code_sha256: hex::encode(code), expires_at: row.get(1), box_id: row.get(2) })
        })
    }

    fn put_records(&self, tenant_id: &str, records: &[Record]) -> Result<(), StoreError> {
        self.with(|connection| {
            let (mut sql_tx, _, standing) = connection.begin(tenant_id, None)?;
            let standing = standing.unwrap_or_default();
            if !matches!(standing, Standing::Arriving { .. }) {
                return Err(not_here(tenant_id, standing));
            }
            let (mut rows, mut days) = (Rows::default(), Days::default());
            for record in records {
                rows.push(record)?;
                days.push(record)?;
                put(&mut sql_tx, tenant_id, record)?;
            }
            rows.write(&mut sql_tx, tenant_id)?;
            days.write(&mut sql_tx, tenant_id)?;
            Ok(sql_tx.commit()?)
        })
    }

    fn wipe_some(&self, tenant_id: &str) -> Result<bool, StoreError> {
        // In the order of the index, which learns what is gone; a scan of the table would pass it again and again.
        let some = "DELETE FROM synced_rows WHERE tenant_id = $1 AND ctid = ANY
            (ARRAY(SELECT ctid FROM synced_rows WHERE tenant_id = $1
                ORDER BY tenant_id, box_id, table_name, row_key LIMIT $2))";
        self.with(|connection| {
            let (mut sql_tx, _, standing) = connection.begin(tenant_id, None)?;
            let standing = standing.unwrap_or_default();
            if !standing.may_be_wiped() {
                return Err(not_here(tenant_id, standing));
            }
            let is_more = sql_tx.execute(some, &[&tenant_id, &WIPED_AT_ONCE])? > 0;
            if !is_more {
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
                    sql_tx.execute(&format!("DELETE FROM {table} WHERE tenant_id = $1"), &[&tenant_id])?;
                }
                // Of one that is arriving there are those that were made here before, and those that it brings.
                if !matches!(standing, Standing::Arriving { .. }) {
                    let is_elsewhere = matches!(standing, Standing::Elsewhere { .. });
                    let codes = "DELETE FROM claims WHERE tenant_id = $1 AND ($2 OR box_id IS NOT NULL)";
                    sql_tx.execute(codes, &[&tenant_id, &!is_elsewhere])?;
                }
            }
            sql_tx.commit()?;
            Ok(is_more)
        })
    }
}

fn not_here(tenant_id: &str, standing: Standing) -> StoreError {
    StoreError::NotHere { tenant_id: tenant_id.to_owned(), standing: Box::new(standing) }
}

/// A transaction beside which nobody writes for this tenant.
fn alone<'a>(connection: &'a mut Connection, tenant_id: &str) -> Result<Transaction<'a>, StoreError> {
    let builder = connection.client.build_transaction().isolation_level(IsolationLevel::ReadCommitted);
    let mut sql_tx = builder.start()?;
    sql_tx.execute(&connection.statements.begin_alone, &[&tenant_id])?;
    Ok(sql_tx)
}

fn standing_record(row: &Row) -> Result<StandingRecord, StoreError> {
    let standing = Standing::from_json(row.get(1))?;
    Ok(StandingRecord { tenant_id: row.get(0), standing, changed_at: row.get(2), changed_by: row.get(3) })
}

fn holdings(sql_tx: &mut Transaction<'_>, tenant_id: &str) -> Result<Holdings, StoreError> {
    let sql = "SELECT (SELECT count(*) FROM enrolled WHERE tenant_id = $1),
        (SELECT coalesce(sum(row_count), 0)::bigint FROM day_sums WHERE tenant_id = $1),
        (SELECT count(*) FROM documents WHERE tenant_id = $1),
        (SELECT count(*) FROM claims WHERE tenant_id = $1),
        NOT EXISTS (SELECT 1 FROM boxes WHERE tenant_id = $1)
            AND NOT EXISTS (SELECT 1 FROM synced_rows WHERE tenant_id = $1)
            AND NOT EXISTS (SELECT 1 FROM day_sums WHERE tenant_id = $1)
            AND NOT EXISTS (SELECT 1 FROM enrolled WHERE tenant_id = $1)
            AND NOT EXISTS (SELECT 1 FROM documents WHERE tenant_id = $1)";
    let row = sql_tx.query_one(sql, &[&tenant_id])?;
    let count = |column| row.get::<_, i64>(column).unsigned_abs();
    Ok(Holdings { boxes: count(0), rows: count(1), documents: count(2), claims: count(3), is_empty: row.get(4) })
}

/// Of every table that has any; the order is ours, not that of the database's language.
fn box_ids(sql_tx: &mut Transaction<'_>, tenant_id: &str) -> Result<BTreeSet<String>, StoreError> {
    let mut found = BTreeSet::new();
    for table in ["boxes", "enrolled", "day_sums", "synced_rows"] {
        found.extend(values_of(sql_tx, table, "box_id", "tenant_id = $1", &[&tenant_id])?);
    }
    Ok(found)
}

/// The different values of a column, each found by a step in the index: the rows between them are not read.
fn values_of(
    sql_tx: &mut Transaction<'_>,
    table: &str,
    column: &str,
    within: &str,
    values: &Values<'_>,
) -> Result<BTreeSet<String>, StoreError> {
    let last = values.len() + 1;
    let sql = format!("SELECT {column} FROM {table} WHERE {within} AND {column} > ${last} ORDER BY {column} LIMIT 1");
    let statement = sql_tx.prepare(&sql)?;
    let (mut found, mut after) = (BTreeSet::new(), String::new());
    loop {
        let values: Vec<&(dyn ToSql + Sync)> = values.iter().copied().chain([&after as _]).collect();
        let Some(row) = sql_tx.query_opt(&statement, &values)? else { return Ok(found) };
        after = row.get(0);
        found.insert(after.clone());
    }
}

/// Gives each row of a question as a record, fetched a few at a time.
fn each(
    sql_tx: &mut Transaction<'_>,
    sql: &str,
    values: &Values<'_>,
    take: &mut dyn FnMut(Record) -> Result<(), StoreError>,
    record: impl Fn(&Row) -> Result<Record, StoreError>,
) -> Result<(), StoreError> {
    let portal = sql_tx.bind(sql, values)?;
    loop {
        let mut rows = sql_tx.query_portal_raw(&portal, ROWS_AT_ONCE)?;
        let mut fetched = 0;
        while let Some(row) = rows.next()? {
            take(record(&row)?)?;
            fetched += 1;
        }
        if fetched < ROWS_AT_ONCE {
            return Ok(());
        }
    }
}

fn export_box(
    sql_tx: &mut Transaction<'_>,
    tenant_id: &str,
    box_id: &str,
    take: &mut dyn FnMut(Record) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    let own = || box_id.to_owned();
    let sql = "SELECT enrolled_at, release, heard_at, equal_at, revoked_at, void_before FROM enrolled
        WHERE tenant_id = $1 AND box_id = $2";
    each(sql_tx, sql, &[&tenant_id, &box_id], take, |row| {
        Ok(Record::Box {
            box_id: own(),
            enrolled_at: row.get(0),
            release: row.get(1),
            heard_at: row.get(2),
            equal_at: row.get(3),
            revoked_at: row.get(4),
            void_before: row.get(5),
        })
    })?;
    let sql = "SELECT epoch, incarnation, watermark, applied FROM boxes WHERE tenant_id = $1 AND box_id = $2";
    each(sql_tx, sql, &[&tenant_id, &box_id], take, |row| {
        let incarnation: &[u8] = row.get(1);
        Ok(Record::State {
            box_id: own(),
            epoch: row.get(0),
            incarnation: hex::encode(incarnation),
            watermark: row.get(2),
            applied: row.get(3),
        })
    })?;
    let within = "tenant_id = $1 AND box_id = $2";
    for table in values_of(sql_tx, "synced_rows", "table_name", within, &[&tenant_id, &box_id])? {
        let sql = "SELECT row_key, epoch, row_version, applied, hash, columns::text FROM synced_rows
            WHERE tenant_id = $1 AND box_id = $2 AND table_name = $3 ORDER BY row_key";
        each(sql_tx, sql, &[&tenant_id, &box_id, &table], take, |row| {
            let (hash, columns): (&[u8], Option<&str>) = (row.get(4), row.get(5));
            Ok(Record::Row {
                box_id: own(),
                table: table.clone(),
                key: row.get(0),
                epoch: row.get(1),
                row_version: row.get(2),
                applied: row.get(3),
                hash: hex::encode(hash),
                columns: columns.map(json_of).transpose()?,
            })
        })?;
    }
    for table in values_of(sql_tx, "day_sums", "table_name", within, &[&tenant_id, &box_id])? {
        let sql = "SELECT epoch, day, row_count, hash FROM day_sums
            WHERE tenant_id = $1 AND box_id = $2 AND table_name = $3 ORDER BY epoch, day";
        each(sql_tx, sql, &[&tenant_id, &box_id, &table], take, |row| {
            let (day, hash): (i32, &[u8]) = (row.get(1), row.get(3));
            Ok(Record::Day {
                box_id: own(),
                table: table.clone(),
                epoch: row.get(0),
                day: day.into(),
                rows: row.get(2),
                hash: hex::encode(hash),
            })
        })?;
    }
    Ok(())
}

/// Rows as columns, written by one question.
#[derive(Default)]
struct Rows<'a> {
    boxes: Vec<&'a str>,
    tables: Vec<&'a str>,
    keys: Vec<&'a str>,
    epochs: Vec<i64>,
    versions: Vec<i64>,
    applied: Vec<i64>,
    hashes: Vec<Vec<u8>>,
    columns: Vec<Option<String>>,
}

impl<'a> Rows<'a> {
    fn push(&mut self, record: &'a Record) -> Result<(), StoreError> {
        if let Record::Row { box_id, table, key, epoch, row_version, applied, hash, columns } = record {
            self.boxes.push(box_id);
            self.tables.push(table);
            self.keys.push(key);
            self.epochs.push(*epoch);
            self.versions.push(*row_version);
            self.applied.push(*applied);
            self.hashes.push(hash_from_hex(hash)?.to_vec());
            self.columns.push(columns_text(columns.as_ref())?);
        }
        Ok(())
    }

    fn write(&self, sql_tx: &mut Transaction<'_>, tenant_id: &str) -> Result<(), StoreError> {
        let sql = "INSERT INTO synced_rows
                (tenant_id, box_id, table_name, row_key, epoch, row_version, applied, hash, columns)
            SELECT $1, box_id, table_name, row_key, epoch, row_version, applied, hash, columns::json
            FROM unnest($2::text[], $3::text[], $4::text[], $5::bigint[], $6::bigint[], $7::bigint[], $8::bytea[],
                $9::text[]) AS news (box_id, table_name, row_key, epoch, row_version, applied, hash, columns)";
        if self.keys.is_empty() {
            return Ok(());
        }
        let values: [&(dyn ToSql + Sync); 9] = [
            &tenant_id,
            &self.boxes,
            &self.tables,
            &self.keys,
            &self.epochs,
            &self.versions,
            &self.applied,
            &self.hashes,
            &self.columns,
        ];
        sql_tx.execute(sql, &values)?;
        Ok(())
    }
}

/// Sums as columns, likewise.
#[derive(Default)]
struct Days<'a> {
    boxes: Vec<&'a str>,
    tables: Vec<&'a str>,
    epochs: Vec<i64>,
    days: Vec<i32>,
    counts: Vec<i64>,
    hashes: Vec<Vec<u8>>,
}

impl<'a> Days<'a> {
    fn push(&mut self, record: &'a Record) -> Result<(), StoreError> {
        if let Record::Day { box_id, table, epoch, day, rows, hash } = record {
            let number = i32::try_from(*day);
            self.boxes.push(box_id);
            self.tables.push(table);
            self.epochs.push(*epoch);
            self.days.push(number.map_err(|_| StoreError::Record(format!("day {day}: expected days since 1970")))?);
            self.counts.push(*rows);
            self.hashes.push(hash_from_hex(hash)?.to_vec());
        }
        Ok(())
    }

    fn write(&self, sql_tx: &mut Transaction<'_>, tenant_id: &str) -> Result<(), StoreError> {
        let sql = "INSERT INTO day_sums (tenant_id, box_id, table_name, epoch, day, row_count, hash)
            SELECT $1, * FROM unnest($2::text[], $3::text[], $4::bigint[], $5::integer[], $6::bigint[], $7::bytea[])";
        if self.days.is_empty() {
            return Ok(());
        }
        let values: [&(dyn ToSql + Sync); 7] =
            [&tenant_id, &self.boxes, &self.tables, &self.epochs, &self.days, &self.counts, &self.hashes];
        sql_tx.execute(sql, &values)?;
        Ok(())
    }
}

fn put(sql_tx: &mut Transaction<'_>, tenant_id: &str, record: &Record) -> Result<(), StoreError> {
    match record {
        Record::Box { box_id, enrolled_at, release, heard_at, equal_at, revoked_at, void_before } => {
            let sql = "INSERT INTO enrolled
                    (tenant_id, box_id, enrolled_at, release, heard_at, equal_at, revoked_at, void_before)
                VALUES ($1, $2, $3, $4, $5, $6, $7, $8)";
            sql_tx.execute(
                sql,
                &[&tenant_id, box_id, enrolled_at, release, heard_at, equal_at, revoked_at, void_before],
            )?;
        }
        Record::State { box_id, epoch, incarnation, watermark, applied } => {
            let sql = "INSERT INTO boxes (tenant_id, box_id, epoch, incarnation, watermark, applied)
                VALUES ($1, $2, $3, $4, $5, $6)";
            let incarnation = bytes_from_hex(incarnation)?;
            sql_tx.execute(sql, &[&tenant_id, box_id, epoch, &incarnation, watermark, applied])?;
        }
        Record::Document { kind, name, body, changed_at } => {
            let sql = "INSERT INTO documents (tenant_id, kind, name, body, changed_at) VALUES ($1, $2, $3, $4, $5)";
            sql_tx.execute(sql, &[&tenant_id, kind, name, &body.to_string(), changed_at])?;
            if kind == DocumentKind::Rollout.as_str() {
                // Whether it is running is seen when it is looked at.
                let sql = "INSERT INTO running (tenant_id, rollout_id) VALUES ($1, $2) ON CONFLICT DO NOTHING";
                sql_tx.execute(sql, &[&tenant_id, name])?;
            }
        }
        Record::Delivery { box_id, delivery_id, created_at, body, sha256, due_at, acked_at, acked_epoch, answer } => {
            let sql =
                "INSERT INTO deliveries (tenant_id, box_id, delivery_id, created_at, body, sha256, is_ready, acked_at,
                    acked_epoch, answer)
                VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)";
            let values: [&(dyn ToSql + Sync); 10] = [
                &tenant_id,
                box_id,
                delivery_id,
                created_at,
                body,
                sha256,
                &due_at.is_none(),
                acked_at,
                acked_epoch,
                answer,
            ];
            sql_tx.execute(sql, &values)?;
            if let Some(due_at) = due_at {
                let sql = "INSERT INTO delivery_work (tenant_id, box_id, delivery_id, due_at) VALUES ($1, $2, $3, $4)";
                sql_tx.execute(sql, &[&tenant_id, box_id, delivery_id, due_at])?;
            }
        }
        Record::Claim { code_sha256, expires_at, box_id } => {
            // It may be one that was made here.
            let sql = "INSERT INTO claims (code_sha256, tenant_id, expires_at, box_id) VALUES ($1, $2, $3, $4)
                ON CONFLICT (code_sha256) DO NOTHING";
            sql_tx.execute(sql, &[&bytes_from_hex(code_sha256)?, &tenant_id, expires_at, box_id])?;
        }
        // Written together.
        Record::Row { .. } | Record::Day { .. } => {}
        Record::Recording { .. } => return Err(StoreError::Record("a recording is no row".to_owned())),
    }
    Ok(())
}
