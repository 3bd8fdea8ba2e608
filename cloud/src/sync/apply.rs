//! What a message of a box changes: the rules, over a store's transaction.
//!
//! Each function here is to be called in one transaction of its own, which is committed before anything is answered. The
//! store decides how rows are kept; what may become of them is decided here, once for all stores.
//!
//! **A row never goes back.** Batches of a dead stream may arrive after those of the living one. Stretches of the log are
//! ordered by the watermark, but a range of keys stands for itself, so each row is held against the one there: an older
//! version of it is passed over, and so is a row whose key is gone.
//!
//! **Epochs.** A box that was restored comes with a new epoch. Its rows count whatever their versions; rows of earlier epochs
//! that it does not have stay as they are, since they may be all that is left of what happened after its backup. They are
//! in no digest.
//!
//! Left out on purpose: how long rows that are gone are remembered. They cost a key each; a store forgets them once no stream
//! can be that old ([`store::forgetting`](crate::store::forgetting)).

use std::collections::{BTreeMap, BTreeSet};

use cloud_api::digest::{Sum, day_of, row_hash};
use cloud_api::v1::{
    DayDigest, Digest, Hello, KeyRange, LogRange, ResyncDay, Row, RowBatch, TableDigest, TableRows, Value, Verdict,
    row_batch::Scope,
};

use super::tables::{TABLES, is_known};

#[cfg(test)]
mod tests;

/// Most days that one verdict asks for.
const DAYS_ASKED: usize = 64;

/// What the cloud knows of a box.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BoxState {
    /// Its latest epoch.
    pub epoch: u64,
    /// Of that epoch.
    pub incarnation: Vec<u8>,
    /// The entry of its change log up to which everything is here, in that epoch.
    pub watermark: i64,
    /// Counts the transactions that have taken rows of it.
    pub applied: u64,
}

/// A row as it is kept, or what is left of one that is gone.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredRow {
    /// Under which it was last taken.
    pub epoch: u64,
    /// Of the box.
    pub row_version: i64,
    /// Which transaction of the box it was last taken in.
    pub applied: u64,
    /// [`row_hash`] of it.
    pub hash: u128,
    /// Its columns without those that are NULL; `None` if it is gone.
    pub columns: Option<BTreeMap<String, Value>>,
}

impl StoredRow {
    /// Whether it counts in the digests of this epoch.
    pub fn counts_in(&self, epoch: u64) -> bool {
        self.columns.is_some() && self.epoch == epoch
    }
}

/// A transaction over what one box has sent. Tables are known ones, keys are UUIDs.
pub trait Transaction {
    /// Why the store cannot.
    type Error;

    /// What is known of the box, if it was ever here.
    ///
    /// # Errors
    /// Of the store.
    fn box_state(&mut self) -> Result<Option<BoxState>, Self::Error>;

    /// Keeps what is known of the box.
    ///
    /// # Errors
    /// Of the store.
    fn set_box_state(&mut self, state: BoxState) -> Result<(), Self::Error>;

    /// The rows with these keys will be asked for: a store that is far away fetches them together.
    ///
    /// # Errors
    /// Of the store.
    fn expect(&mut self, table: &str, keys: &[&str]) -> Result<(), Self::Error> {
        let _ = (table, keys);
        Ok(())
    }

    /// The row with this key, also one that is gone.
    ///
    /// # Errors
    /// Of the store.
    fn row(&mut self, table: &str, key: &str) -> Result<Option<StoredRow>, Self::Error>;

    /// Keeps a row in place of the one there.
    ///
    /// # Errors
    /// Of the store.
    fn put_row(&mut self, table: &str, key: &str, row: StoredRow) -> Result<(), Self::Error>;

    /// The rows with keys in (`after`, `to`], also those that are gone.
    ///
    /// # Errors
    /// Of the store.
    fn rows_between(&mut self, table: &str, after: &str, to: &str) -> Result<Vec<(String, StoredRow)>, Self::Error>;

    /// The sums by day of the rows that [count](StoredRow::counts_in) in `epoch`; days without any are left out.
    ///
    /// # Errors
    /// Of the store.
    fn day_sums(&mut self, table: &str, epoch: u64) -> Result<BTreeMap<u32, Sum>, Self::Error>;
}

/// What a Hello is answered with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Greeted {
    /// It may send what follows this entry of its log.
    Welcome {
        /// The entry.
        watermark: i64,
    },
    /// There is a box with a later epoch, or with another incarnation of this one.
    Fenced {
        /// The latest epoch.
        current: u64,
    },
}

/// What a batch is answered with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Applied {
    /// It is here, now or since before.
    Taken {
        /// How far the log is here.
        watermark: i64,
    },
    /// Something before it is missing here.
    OutOfStep,
    /// It is of an earlier epoch.
    Fenced {
        /// The latest epoch.
        current: u64,
    },
}

/// A box says who it is. A new epoch begins at the end of its log: everything before is found by digests.
///
/// # Errors
/// Of the store.
pub fn greet<T: Transaction + ?Sized>(sql_tx: &mut T, hello: &Hello) -> Result<Greeted, T::Error> {
    let known = sql_tx.box_state()?;
    let applied = known.as_ref().map_or(0, |state| state.applied);
    match known {
        Some(state) if state.epoch == hello.epoch && state.incarnation == *hello.incarnation => {
            Ok(Greeted::Welcome { watermark: state.watermark })
        }
        Some(state) if state.epoch >= hello.epoch => Ok(Greeted::Fenced { current: state.epoch }),
        Some(_) | None => {
            let (epoch, incarnation) = (hello.epoch, hello.incarnation.to_vec());
            sql_tx.set_box_state(BoxState { epoch, incarnation, watermark: hello.log_head, applied })?;
            Ok(Greeted::Welcome { watermark: hello.log_head })
        }
    }
}

/// Takes a batch whole, and the watermark with it.
///
/// # Errors
/// Of the store.
pub fn apply<T: Transaction + ?Sized>(sql_tx: &mut T, batch: &RowBatch) -> Result<Applied, T::Error> {
    let Some(mut state) = sql_tx.box_state()? else { return Ok(Applied::Fenced { current: 0 }) };
    if state.epoch != batch.epoch {
        return Ok(Applied::Fenced { current: state.epoch });
    }
    if let Some(Scope::Log(LogRange { after, to })) = batch.scope {
        if to <= state.watermark {
            return Ok(Applied::Taken { watermark: state.watermark });
        }
        if after > state.watermark {
            return Ok(Applied::OutOfStep);
        }
        state.watermark = to;
    }
    state.applied += 1;
    for table in &batch.tables {
        take_rows(sql_tx, table, &state)?;
    }
    if let Some(Scope::Range(range)) = &batch.scope {
        forget_absent(sql_tx, range, &batch.tables, &state)?;
    }
    let watermark = state.watermark;
    sql_tx.set_box_state(state)?;
    Ok(Applied::Taken { watermark })
}

fn take_rows<T: Transaction + ?Sized>(sql_tx: &mut T, rows: &TableRows, state: &BoxState) -> Result<(), T::Error> {
    let table = rows.table.as_str();
    let keys = rows.rows.iter().map(|row| row.key.as_str()).chain(rows.deleted_keys.iter().map(String::as_str));
    sql_tx.expect(table, &keys.collect::<Vec<_>>())?;
    for row in &rows.rows {
        let new = stored(table, &rows.columns, row, state);
        if sql_tx.row(table, &row.key)?.is_none_or(|old| is_news(&old, &new)) {
            sql_tx.put_row(table, &row.key, new)?;
        }
    }
    for key in &rows.deleted_keys {
        let old = sql_tx.row(table, key)?;
        sql_tx.put_row(table, key, gone(old.as_ref(), state))?;
    }
    Ok(())
}

fn stored(table: &str, columns: &[String], row: &Row, state: &BoxState) -> StoredRow {
    let named = columns.iter().zip(&row.values).filter(|(_, value)| value.kind.is_some());
    let hash = row_hash(table, &row.key, row.row_version, named.clone().map(|(name, value)| (name.as_str(), value)));
    let columns = named.map(|(name, value)| (name.clone(), value.clone())).collect();
    let (epoch, applied) = (state.epoch, state.applied);
    StoredRow { epoch, row_version: row.row_version, applied, hash, columns: Some(columns) }
}

/// Whether `new` may take the place of `old`. The same version with another content heals what was damaged here.
fn is_news(old: &StoredRow, new: &StoredRow) -> bool {
    match old.epoch.cmp(&new.epoch) {
        std::cmp::Ordering::Less => true,
        std::cmp::Ordering::Greater => false,
        std::cmp::Ordering::Equal => {
            old.columns.is_some() && new.row_version >= old.row_version && old.hash != new.hash
        }
    }
}

/// What is left of a row: enough to know it when it comes again from a dead stream.
fn gone(old: Option<&StoredRow>, state: &BoxState) -> StoredRow {
    let row_version = old.map_or(0, |old| old.row_version);
    StoredRow { epoch: state.epoch, row_version, applied: state.applied, hash: 0, columns: None }
}

/// Rows of a range that the box does not have, unless they came here after it was asked for.
fn forget_absent<T: Transaction + ?Sized>(
    sql_tx: &mut T,
    range: &KeyRange,
    tables: &[TableRows],
    state: &BoxState,
) -> Result<(), T::Error> {
    let sent = tables.iter().flat_map(|table| &table.rows).map(|row| row.key.as_str());
    let sent: BTreeSet<&str> = sent.collect();
    for (key, row) in sql_tx.rows_between(&range.table, &range.after, &range.to)? {
        if row.counts_in(state.epoch) && row.applied <= range.as_of && !sent.contains(key.as_str()) {
            sql_tx.put_row(&range.table, &key, gone(Some(&row), state))?;
        }
    }
    Ok(())
}

/// Compares what the box has with what is here.
///
/// # Errors
/// Of the store.
pub fn compare<T: Transaction + ?Sized>(sql_tx: &mut T, digest: &Digest) -> Result<Verdict, T::Error> {
    let mut verdict = Verdict { as_of_seq: digest.as_of_seq, ..Verdict::default() };
    let Some(state) = sql_tx.box_state()?.filter(|state| state.watermark == digest.as_of_seq) else {
        return Ok(verdict);
    };
    for table in digest.tables.iter().filter(|table| is_known(&table.table)) {
        let here = sql_tx.day_sums(&table.table, state.epoch)?;
        if total(here.values().copied()) == sum(table.sum) {
            continue;
        }
        if table.days.is_empty() && sum(table.sum) != Sum::default() {
            verdict.tables.push(table.table.clone());
            continue;
        }
        for day in differing(&here, &table.days) {
            verdict.days.push(ResyncDay { table: table.table.clone(), day, as_of: state.applied });
        }
    }
    // The latest first: that is what people look at.
    verdict.days.sort_by_key(|day| std::cmp::Reverse(day.day));
    verdict.days.truncate(DAYS_ASKED);
    verdict.equal = verdict.tables.is_empty() && verdict.days.is_empty() && all_compared(digest);
    Ok(verdict)
}

/// A box that leaves tables out, because an older cloud did not know them, is not equal in what it has not said.
fn all_compared(digest: &Digest) -> bool {
    TABLES.iter().all(|known| digest.tables.iter().any(|table: &TableDigest| table.table == *known))
}

fn differing(here: &BTreeMap<u32, Sum>, there: &[DayDigest]) -> BTreeSet<u32> {
    let there: BTreeMap<u32, Sum> = there.iter().map(|day| (day.day, sum(day.sum))).collect();
    let days: BTreeSet<u32> = here.keys().chain(there.keys()).copied().collect();
    days.into_iter().filter(|day| here.get(day) != there.get(day)).collect()
}

fn total(sums: impl Iterator<Item = Sum>) -> Sum {
    sums.fold(Sum::default(), |mut total, sum| {
        total.merge(sum);
        total
    })
}

fn sum(sum: Option<cloud_api::v1::DigestSum>) -> Sum {
    sum.map_or_else(Sum::default, Sum::from)
}

/// For stores that keep no sums: those of these rows.
pub fn sums_of<'a>(rows: impl Iterator<Item = (&'a str, &'a StoredRow)>, epoch: u64) -> BTreeMap<u32, Sum> {
    let mut sums: BTreeMap<u32, Sum> = BTreeMap::new();
    for (key, row) in rows.filter(|(_, row)| row.counts_in(epoch)) {
        if let Some(day) = day_of(key) {
            sums.entry(day).or_default().add(row.hash);
        }
    }
    sums
}
