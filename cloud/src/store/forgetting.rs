//! What is left of rows that are gone is forgotten in its time: without that a cloud would grow with everything its boxes have
//! ever deleted.
//!
//! Each box has one mark: how many transactions there were of it at some moment. Once the mark is older than
//! [`GONE_KEPT_MS`], what went in those transactions is nobody's any more, and the next mark is set. So a row that is gone is
//! remembered for once to twice that time.

use rusqlite::{OptionalExtension as _, params};

use super::{AnyStore, BoxName, Postgres, Sqlite, Store, StoreError};

/// How long it is known of a row that it is gone, in milliseconds: seven days. A stream lives for hours, and only an older one
/// could bring the row back.
pub const GONE_KEPT_MS: i64 = 7 * 86_400_000;

// Numbers in the order in which they stand: SQLite takes them for names.
const READ: &str = "SELECT mark_applied, marked_at FROM boxes WHERE tenant_id = $1 AND box_id = $2";
const MARK: &str = "UPDATE boxes SET mark_applied = applied, marked_at = $1 WHERE tenant_id = $2 AND box_id = $3";
const FORGET: &str = "DELETE FROM synced_rows WHERE (tenant_id, box_id, table_name, row_key) IN
    (SELECT tenant_id, box_id, table_name, row_key FROM synced_rows
        WHERE tenant_id = $1 AND box_id = $2 AND columns IS NULL AND applied <= $3 ORDER BY applied LIMIT $4)";

/// How many transactions of a box there were at a moment.
#[derive(Debug, Clone, Copy)]
struct Mark {
    applied: i64,
    at: i64,
}

impl Mark {
    fn of((applied, at): (Option<i64>, Option<i64>)) -> Option<Mark> {
        Some(Mark { applied: applied?, at: at? })
    }

    /// Whether what went until then may be forgotten.
    fn is_over(self, now: i64) -> bool {
        now.saturating_sub(self.at) >= GONE_KEPT_MS
    }
}

/// A store that forgets.
pub trait Forgetting: Store {
    /// Forgets some rows of a box that have been gone for long, `limit` at most: how many. Fewer than `limit` were all there
    /// are.
    ///
    /// # Errors
    /// Of the store, or [`NotHere`](StoreError::NotHere): what is moved or erased is looked after by whoever does that.
    fn forget_gone(&self, of: &BoxName, now: i64, limit: u32) -> Result<u32, StoreError>;
}

impl Forgetting for Sqlite {
    fn forget_gone(&self, of: &BoxName, now: i64, limit: u32) -> Result<u32, StoreError> {
        let BoxName { tenant_id, box_id } = of;
        self.write(tenant_id, |sql_tx| {
            let mark = sql_tx.query_row(READ, [tenant_id, box_id], |row| Ok((row.get(0)?, row.get(1)?))).optional()?;
            let Some(mark) = mark else { return Ok(0) };
            let forgotten = match Mark::of(mark) {
                None => 0,
                Some(mark) if !mark.is_over(now) => return Ok(0),
                Some(mark) => sql_tx.execute(FORGET, params![tenant_id, box_id, mark.applied, limit])?,
            };
            let forgotten = u32::try_from(forgotten).unwrap_or(limit);
            if forgotten < limit {
                sql_tx.execute(MARK, params![now, tenant_id, box_id])?;
            }
            Ok(forgotten)
        })
    }
}

impl Forgetting for Postgres {
    fn forget_gone(&self, of: &BoxName, now: i64, limit: u32) -> Result<u32, StoreError> {
        let BoxName { tenant_id, box_id } = of;
        self.with(|connection| {
            let mut sql_tx = connection.of_box(of)?;
            let Some(row) = sql_tx.query_opt(READ, &[tenant_id, box_id])? else { return Ok(0) };
            let forgotten = match Mark::of((row.get(0), row.get(1))) {
                None => 0,
                Some(mark) if !mark.is_over(now) => return Ok(0),
                Some(mark) => sql_tx.execute(FORGET, &[tenant_id, box_id, &mark.applied, &i64::from(limit)])?,
            };
            let forgotten = u32::try_from(forgotten).unwrap_or(limit);
            if forgotten < limit {
                sql_tx.execute(MARK, &[&now, tenant_id, box_id])?;
            }
            sql_tx.commit()?;
            Ok(forgotten)
        })
    }
}

impl Forgetting for AnyStore {
    fn forget_gone(&self, of: &BoxName, now: i64, limit: u32) -> Result<u32, StoreError> {
        match self {
            AnyStore::Sqlite(store) => store.forget_gone(of, now, limit),
            AnyStore::Postgres(store) => store.forget_gone(of, now, limit),
        }
    }
}

/// Checks a store: the same for each.
#[cfg(test)]
pub(super) fn check_forgetting<S: Forgetting>(store: &S) {
    use super::conformance::{TABLE, gone, key, name, row};
    use crate::sync::apply::{BoxState, StoredRow};
    const WEEK: i64 = GONE_KEPT_MS;
    let (of, other) = (name("forgets", "1"), name("forgets", "2"));
    let put = |of: &BoxName, number: u64, row: StoredRow| {
        let work = store.transact(of, |rows| {
            let applied = row.applied;
            rows.put_row(TABLE, &key(1, number), row.clone())?;
            rows.set_box_state(BoxState { epoch: 1, incarnation: vec![1; 16], watermark: 1, applied })
        });
        work.unwrap();
    };
    let at = |row: StoredRow, applied| StoredRow { applied, ..row };
    assert_eq!(store.forget_gone(&of, 0, 10).unwrap(), 0, "there is no such box");
    for (number, applied) in [(1, 4), (2, 5), (3, 6)] {
        put(&of, number, at(gone(1, 1), applied));
    }
    put(&of, 4, at(row(1, 1, 7), 6));
    put(&other, 1, at(gone(1, 1), 5));
    assert_eq!(store.forget_gone(&of, 100, 10).unwrap(), 0, "it is marked");
    put(&of, 5, at(gone(1, 1), 7));
    let left = || {
        let read = store.transact(&of, |rows| {
            let numbers = [1, 2, 3, 4, 5].into_iter();
            numbers.map(|number| rows.row(TABLE, &key(1, number))).collect::<Result<Vec<_>, _>>()
        });
        read.unwrap().into_iter().zip(1..).filter_map(|(row, number)| row.map(|_| number)).collect::<Vec<_>>()
    };
    assert_eq!(
        (store.forget_gone(&of, 99 + WEEK, 10).unwrap(), left()),
        (0, vec![1, 2, 3, 4, 5]),
        "a moment too early"
    );
    assert_eq!((store.forget_gone(&of, 100 + WEEK, 2).unwrap(), left()), (2, vec![3, 4, 5]), "the oldest first");
    assert_eq!((store.forget_gone(&of, 101 + WEEK, 2).unwrap(), left()), (1, vec![4, 5]), "what went later is kept");
    assert_eq!(store.forget_gone(&of, 100 + 2 * WEEK, 2).unwrap(), 0, "the next mark was set when the last row went");
    assert_eq!((store.forget_gone(&of, 101 + 2 * WEEK, 2).unwrap(), left()), (1, vec![4]));
    let of_other = store.transact(&other, |rows| rows.row(TABLE, &key(1, 1))).unwrap();
    assert!(of_other.is_some(), "another box's");
}
