//! Deliveries in SQLite.

use std::collections::BTreeSet;

use rusqlite::{OptionalExtension as _, params};

use super::{Sqlite, signed};
use crate::store::deliveries::{Deliveries, KEPT_MS, Kept, Outstanding, Progress};
use crate::store::{BoxName, StoreError};

impl Deliveries for Sqlite {
    fn change_delivery<T>(
        &self,
        of: &BoxName,
        id: &str,
        now: i64,
        mut work: impl FnMut(Option<&str>) -> Result<(Option<Kept>, T), StoreError>,
    ) -> Result<T, StoreError> {
        let BoxName { tenant_id, box_id } = of;
        let (answer, rung) = self.write(tenant_id, |sql_tx| {
            let mut rung = None;
            let read = "SELECT body FROM deliveries WHERE tenant_id = ?1 AND box_id = ?2 AND delivery_id = ?3";
            let before: Option<String> =
                sql_tx.query_row(read, [tenant_id, box_id, id], |row| row.get(0)).optional()?;
            let (after, answer) = work(before.as_deref())?;
            if let Some(Kept { body, sha256, due_at }) = after {
                let write =
                    "INSERT INTO deliveries (tenant_id, box_id, delivery_id, created_at, body, sha256, is_ready)
                VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
                ON CONFLICT DO UPDATE SET body = excluded.body, sha256 = excluded.sha256, is_ready = excluded.is_ready,
                    acked_at = NULL, acked_epoch = NULL";
                sql_tx.execute(write, params![tenant_id, box_id, id, now, body, sha256, due_at.is_none()])?;
                match due_at {
                    Some(due_at) => {
                        let sql = "INSERT INTO delivery_work (tenant_id, box_id, delivery_id, due_at)
                        VALUES (?1, ?2, ?3, ?4) ON CONFLICT DO UPDATE SET due_at = excluded.due_at";
                        sql_tx.execute(sql, params![tenant_id, box_id, id, due_at])?;
                    }
                    None => {
                        let sql = "DELETE FROM delivery_work WHERE tenant_id = ?1 AND box_id = ?2 AND delivery_id = ?3";
                        sql_tx.execute(sql, [tenant_id, box_id, id])?;
                        let sql = "INSERT INTO news (tenant_id, box_id, changed_at) VALUES (?1, ?2, ?3)
                        ON CONFLICT DO UPDATE SET changed_at = max(excluded.changed_at, changed_at + 1)
                        RETURNING changed_at";
                        rung = Some(sql_tx.query_row(sql, params![tenant_id, box_id, now], |row| row.get(0))?);
                    }
                }
            }
            Ok((answer, rung))
        })?;
        if let Some(changed_at) = rung {
            self.bell.ring(of, changed_at);
        }
        Ok(answer)
    }

    fn outstanding(&self, of: &BoxName, epoch: u64, now: i64, limit: u32) -> Result<Vec<Outstanding>, StoreError> {
        let sql = "SELECT delivery_id, body FROM deliveries WHERE tenant_id = ?1 AND box_id = ?2 AND is_ready = 1
                AND (acked_at IS NULL OR (acked_epoch < ?3 AND acked_at >= ?4))
            ORDER BY created_at, delivery_id LIMIT ?5";
        let db = self.lock();
        let mut statement = db.prepare_cached(sql)?;
        let values = params![of.tenant_id, of.box_id, signed(epoch), now.saturating_sub(KEPT_MS), limit];
        let found = statement.query_map(values, |row| Ok(Outstanding { id: row.get(0)?, body: row.get(1)? }))?;
        Ok(found.collect::<Result<_, _>>()?)
    }

    fn note_delivered(&self, of: &BoxName, id: &str, epoch: u64, answer: &str, now: i64) -> Result<bool, StoreError> {
        let sql = "UPDATE deliveries SET acked_at = ?4, acked_epoch = ?5, answer = coalesce(answer, nullif(?6, ''))
            WHERE tenant_id = ?1 AND box_id = ?2 AND delivery_id = ?3";
        let values = params![of.tenant_id, of.box_id, id, now, signed(epoch), answer];
        Ok(self.lock().prepare_cached(sql)?.execute(values)? > 0)
    }

    fn progress(&self, of: &BoxName, id: &str) -> Result<Option<Progress>, StoreError> {
        let sql = "SELECT acked_at, answer FROM deliveries WHERE tenant_id = ?1 AND box_id = ?2 AND delivery_id = ?3";
        let db = self.lock();
        let progress = db.query_row(sql, [&of.tenant_id, &of.box_id, id], |row| {
            let acked_at: Option<i64> = row.get(0)?;
            Ok(if acked_at.is_some() { Progress::Delivered(row.get(1)?) } else { Progress::Waiting })
        });
        Ok(progress.optional()?)
    }

    fn take_due(&self, now: i64, again_at: i64) -> Result<Option<(BoxName, String)>, StoreError> {
        let sql = "UPDATE delivery_work SET due_at = ?2 WHERE (tenant_id, box_id, delivery_id) IN
                (SELECT tenant_id, box_id, delivery_id FROM delivery_work WHERE due_at <= ?1 ORDER BY due_at LIMIT 1)
            RETURNING tenant_id, box_id, delivery_id";
        let db = self.lock();
        let taken = db.prepare_cached(sql)?.query_row([now, again_at], |row| {
            Ok((BoxName { tenant_id: row.get(0)?, box_id: row.get(1)? }, row.get(2)?))
        });
        Ok(taken.optional()?)
    }

    fn delivered_blobs(&self, of: &BoxName) -> Result<BTreeSet<String>, StoreError> {
        let sql = "SELECT sha256 FROM deliveries WHERE tenant_id = ?1 AND box_id = ?2 AND sha256 IS NOT NULL";
        let db = self.lock();
        let mut statement = db.prepare(sql)?;
        let blobs = statement.query_map([&of.tenant_id, &of.box_id], |row| row.get(0))?;
        Ok(blobs.collect::<Result<_, _>>()?)
    }

    fn forget_deliveries(&self, tenant_id: &str, now: i64) -> Result<usize, StoreError> {
        let sql = "DELETE FROM deliveries WHERE tenant_id = ?1 AND acked_at < ?2";
        Ok(self.lock().execute(sql, params![tenant_id, now.saturating_sub(KEPT_MS)])?)
    }

    fn erase_deliveries(&self, tenant_id: &str, caller: &str) -> Result<usize, StoreError> {
        let gone = self.write(tenant_id, |sql_tx| {
            let of = "tenant_id = ?1 AND ?2 IN (body ->> 'sender', body ->> 'caller')";
            let work = format!(
                "DELETE FROM delivery_work WHERE (tenant_id, box_id, delivery_id) IN
                    (SELECT tenant_id, box_id, delivery_id FROM deliveries WHERE {of})"
            );
            sql_tx.execute(&work, [tenant_id, caller])?;
            Ok(sql_tx.execute(&format!("DELETE FROM deliveries WHERE {of}"), [tenant_id, caller])?)
        })?;
        // The log of what was written holds it until then.
        self.lock().query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?;
        Ok(gone)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_left_of_an_erased_caller_in_the_files() {
        let folder = tempfile::tempdir().unwrap();
        let store = Sqlite::open(&folder.path().join("cloud.db")).unwrap();
        let of = BoxName { tenant_id: "bakery".to_owned(), box_id: "1".to_owned() };
        let body = r#"{"kind":"text","sender":"+12125550142","body":"a cake with roses"}"#;
        let kept = Kept { body: body.to_owned(), sha256: None, due_at: None };
        store.change_delivery(&of, "a", 1, |_| Ok((Some(kept.clone()), ()))).unwrap();
        let holds = |what: &str| {
            let files = std::fs::read_dir(folder.path()).unwrap();
            files
                .map(|file| std::fs::read(file.unwrap().path()).unwrap())
                .any(|bytes| bytes.windows(what.len()).any(|some| some == what.as_bytes()))
        };
        assert!(holds("2125550142") && holds("roses"));
        assert_eq!(store.erase_deliveries("bakery", "+12125550142").unwrap(), 1);
        assert!(!holds("2125550142") && !holds("roses"));
    }
}
