//! Deliveries in PostgreSQL.

use std::collections::BTreeSet;

use super::{Postgres, signed};
use crate::store::deliveries::{Deliveries, KEPT_MS, Kept, Outstanding, Progress};
use crate::store::{BoxName, StoreError, bell};

impl Deliveries for Postgres {
    fn change_delivery<T>(
        &self,
        of: &BoxName,
        id: &str,
        now: i64,
        mut work: impl FnMut(Option<&str>) -> Result<(Option<Kept>, T), StoreError>,
    ) -> Result<T, StoreError> {
        let BoxName { tenant_id, box_id } = of;
        let read = "SELECT body FROM deliveries WHERE tenant_id = $1 AND box_id = $2 AND delivery_id = $3";
        let write = "INSERT INTO deliveries (tenant_id, box_id, delivery_id, created_at, body, sha256, is_ready)
            VALUES ($1, $2, $3, $4, $5, $6, $7)
            ON CONFLICT (tenant_id, box_id, delivery_id) DO UPDATE SET body = excluded.body, sha256 = excluded.sha256,
                is_ready = excluded.is_ready,
                    acked_at = NULL, acked_epoch = NULL";
        let wait = "INSERT INTO delivery_work (tenant_id, box_id, delivery_id, due_at) VALUES ($1, $2, $3, $4)
            ON CONFLICT (tenant_id, box_id, delivery_id) DO UPDATE SET due_at = excluded.due_at";
        let done = "DELETE FROM delivery_work WHERE tenant_id = $1 AND box_id = $2 AND delivery_id = $3";
        let ring = "INSERT INTO news (tenant_id, box_id, changed_at) VALUES ($1, $2, $3)
            ON CONFLICT (tenant_id, box_id) DO UPDATE
            SET changed_at = greatest(excluded.changed_at, news.changed_at + 1) RETURNING changed_at";
        self.with(|connection| {
            // Also for one that is not there yet, of which no row can be locked.
            let lock = format!("{of}/delivery/{id}");
            let (mut sql_tx, _) = connection.writing(tenant_id, Some(&lock))?;
            let before: Option<String> = sql_tx.query_opt(read, &[tenant_id, box_id, &id])?.map(|row| row.get(0));
            let (after, answer) = work(before.as_deref())?;
            if let Some(Kept { body, sha256, due_at }) = after {
                sql_tx.execute(write, &[tenant_id, box_id, &id, &now, &body, &sha256, &due_at.is_none()])?;
                match due_at {
                    Some(due_at) => {
                        sql_tx.execute(wait, &[tenant_id, box_id, &id, &due_at])?;
                    }
                    None => {
                        sql_tx.execute(done, &[tenant_id, box_id, &id])?;
                        let changed_at = sql_tx.query_one(ring, &[tenant_id, box_id, &now])?.get(0);
                        sql_tx.execute(bell::NOTIFY, &[&bell::payload(tenant_id, box_id, changed_at)])?;
                    }
                }
            }
            sql_tx.commit()?;
            Ok(answer)
        })
    }

    fn outstanding(&self, of: &BoxName, epoch: u64, now: i64, limit: u32) -> Result<Vec<Outstanding>, StoreError> {
        let sql = "SELECT delivery_id, body FROM deliveries WHERE tenant_id = $1 AND box_id = $2 AND is_ready
                AND (acked_at IS NULL OR (acked_epoch < $3 AND acked_at >= $4))
            ORDER BY created_at, delivery_id LIMIT $5";
        self.with(|connection| {
            let (mut sql_tx, _) = connection.transaction(&of.tenant_id)?;
            let (epoch, since, limit) = (signed(epoch), now.saturating_sub(KEPT_MS), i64::from(limit));
            let rows = sql_tx.query(sql, &[&of.tenant_id, &of.box_id, &epoch, &since, &limit])?;
            Ok(rows.iter().map(|row| Outstanding { id: row.get(0), body: row.get(1) }).collect())
        })
    }

    fn note_delivered(&self, of: &BoxName, id: &str, epoch: u64, answer: &str, now: i64) -> Result<bool, StoreError> {
        let sql = "UPDATE deliveries SET acked_at = $4, acked_epoch = $5, answer = coalesce(answer, nullif($6, ''))
            WHERE tenant_id = $1 AND box_id = $2 AND delivery_id = $3";
        self.with(|connection| {
            let (mut sql_tx, _) = connection.transaction(&of.tenant_id)?;
            let noted = sql_tx.execute(sql, &[&of.tenant_id, &of.box_id, &id, &now, &signed(epoch), &answer])?;
            sql_tx.commit()?;
            Ok(noted > 0)
        })
    }

    fn progress(&self, of: &BoxName, id: &str) -> Result<Option<Progress>, StoreError> {
        let sql = "SELECT acked_at, answer FROM deliveries WHERE tenant_id = $1 AND box_id = $2 AND delivery_id = $3";
        self.with(|connection| {
            let (mut sql_tx, _) = connection.transaction(&of.tenant_id)?;
            let row = sql_tx.query_opt(sql, &[&of.tenant_id, &of.box_id, &id])?;
            Ok(row.map(|row| match row.get::<_, Option<i64>>(0) {
                Some(_) => Progress::Delivered(row.get(1)),
                None => Progress::Waiting,
            }))
        })
    }

    fn take_due(&self, now: i64, again_at: i64) -> Result<Option<(BoxName, String)>, StoreError> {
        let sql = "UPDATE delivery_work SET due_at = $2 WHERE (tenant_id, box_id, delivery_id) IN
                (SELECT tenant_id, box_id, delivery_id FROM delivery_work WHERE due_at <= $1
                 ORDER BY due_at LIMIT 1 FOR UPDATE SKIP LOCKED)
            RETURNING tenant_id, box_id, delivery_id";
        self.with(|connection| {
            let taken = connection.client.query_opt(sql, &[&now, &again_at])?;
            Ok(taken.map(|row| (BoxName { tenant_id: row.get(0), box_id: row.get(1) }, row.get(2))))
        })
    }

    fn delivered_blobs(&self, of: &BoxName) -> Result<BTreeSet<String>, StoreError> {
        let sql = "SELECT sha256 FROM deliveries WHERE tenant_id = $1 AND box_id = $2 AND sha256 IS NOT NULL";
        self.with(|connection| {
            let (mut sql_tx, _) = connection.transaction(&of.tenant_id)?;
            let rows = sql_tx.query(sql, &[&of.tenant_id, &of.box_id])?;
            Ok(rows.iter().map(|row| row.get(0)).collect())
        })
    }

    fn forget_deliveries(&self, tenant_id: &str, now: i64) -> Result<usize, StoreError> {
        let sql = "DELETE FROM deliveries WHERE tenant_id = $1 AND acked_at < $2";
        self.with(|connection| {
            let (mut sql_tx, _) = connection.transaction(tenant_id)?;
            let gone = sql_tx.execute(sql, &[&tenant_id, &now.saturating_sub(KEPT_MS)])?;
            sql_tx.commit()?;
            Ok(usize::try_from(gone).unwrap_or(usize::MAX))
        })
    }

    fn erase_deliveries(&self, tenant_id: &str, caller: &str) -> Result<usize, StoreError> {
        let sql = "WITH gone AS (
                DELETE FROM deliveries WHERE tenant_id = $1 AND $2 IN (body::json ->> 'sender', body::json ->> 'caller')
                RETURNING tenant_id, box_id, delivery_id),
            unneeded AS (
                DELETE FROM delivery_work WHERE (tenant_id, box_id, delivery_id) IN (SELECT * FROM gone))
            SELECT count(*) FROM gone";
        self.with(|connection| {
            let (mut sql_tx, _) = connection.writing(tenant_id, None)?;
            let gone: i64 = sql_tx.query_one(sql, &[&tenant_id, &caller])?.get(0);
            sql_tx.commit()?;
            Ok(usize::try_from(gone).unwrap_or(usize::MAX))
        })
    }
}
