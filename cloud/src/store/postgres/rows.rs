//! The rows of one box in a transaction: those that are asked for are read at once, and changes are written at the end.

use std::collections::{BTreeMap, BTreeSet};

use cloud_api::digest::{Sum, day_of};
use postgres::Row;

use super::super::columns::to_json;
use super::super::{BoxName, StoreError};
use super::{Statements, box_state, hash, keyed, signed, unsigned};
use crate::sync::apply::{BoxState, StoredRow, Transaction};

/// A transaction, and what it has read and not yet written.
pub(super) struct PostgresRows<'a> {
    pub(super) sql_tx: postgres::Transaction<'a>,
    statements: &'a Statements,
    of: &'a BoxName,
    /// None until it was asked for.
    state: Option<Option<BoxState>>,
    state_changed: bool,
    /// By table and key; None where there is no row.
    rows: BTreeMap<(String, String), Option<StoredRow>>,
    changed: BTreeSet<(String, String)>,
    /// What is to be added to the sums of a table, epoch and day.
    sums: BTreeMap<(String, i64, i32), Sum>,
}

impl<'a> PostgresRows<'a> {
    pub(super) fn new(sql_tx: postgres::Transaction<'a>, statements: &'a Statements, of: &'a BoxName) -> Self {
        PostgresRows {
            sql_tx,
            statements,
            of,
            state: None,
            state_changed: false,
            rows: BTreeMap::new(),
            changed: BTreeSet::new(),
            sums: BTreeMap::new(),
        }
    }

    fn change_sum(&mut self, table: &str, key: &str, row: &StoredRow, change: fn(&mut Sum, u128)) {
        let day = day_of(key).and_then(|day| i32::try_from(day).ok()).filter(|_| row.columns.is_some());
        if let Some(day) = day {
            change(self.sums.entry((table.to_owned(), signed(row.epoch), day)).or_default(), row.hash);
        }
    }

    /// Tells the server everything that has changed.
    pub(super) fn write(&mut self) -> Result<(), StoreError> {
        self.write_rows()?;
        self.write_sums()?;
        if std::mem::take(&mut self.state_changed)
            && let Some(Some(state)) = &self.state
        {
            let (epoch, applied) = (signed(state.epoch), signed(state.applied));
            let BoxName { tenant_id, box_id } = self.of;
            let values: [&(dyn postgres::types::ToSql + Sync); 6] =
                [tenant_id, box_id, &epoch, &state.incarnation, &state.watermark, &applied];
            self.sql_tx.execute(&self.statements.set_box_state, &values)?;
        }
        Ok(())
    }

    fn write_rows(&mut self) -> Result<(), StoreError> {
        let changed = std::mem::take(&mut self.changed);
        if changed.is_empty() {
            return Ok(());
        }
        let mut news = News::default();
        for place in &changed {
            if let Some(Some(row)) = self.rows.get(place) {
                news.push(&place.0, &place.1, row);
            }
        }
        let BoxName { tenant_id, box_id } = self.of;
        let values: [&(dyn postgres::types::ToSql + Sync); 9] = [
            tenant_id,
            box_id,
            &news.tables,
            &news.keys,
            &news.epochs,
            &news.versions,
            &news.applied,
            &news.hashes,
            &news.columns,
        ];
        self.sql_tx.execute(&self.statements.put_rows, &values)?;
        Ok(())
    }

    fn write_sums(&mut self) -> Result<(), StoreError> {
        let mut sums = std::mem::take(&mut self.sums);
        sums.retain(|_, sum| *sum != Sum::default());
        if sums.is_empty() {
            return Ok(());
        }
        let BoxName { tenant_id, box_id } = self.of;
        let tables: Vec<&str> = sums.keys().map(|(table, _, _)| table.as_str()).collect();
        let epochs: Vec<i64> = sums.keys().map(|(_, epoch, _)| *epoch).collect();
        let days: Vec<i32> = sums.keys().map(|(_, _, day)| *day).collect();
        let known = self.sql_tx.query(&self.statements.sums, &[tenant_id, box_id, &tables, &epochs, &days])?;
        let mut totals: Vec<Sum> = sums.values().copied().collect();
        for row in known {
            let place: (String, i64, i32) = (row.get(0), row.get(1), row.get(2));
            if let Some(at) = sums.keys().position(|key| *key == place) {
                totals[at].merge(Sum { rows: unsigned(&row, 3), hash: hash(&row, 4) });
            }
        }
        let counts: Vec<i64> = totals.iter().map(|sum| signed(sum.rows)).collect();
        let hashes: Vec<Vec<u8>> = totals.iter().map(|sum| sum.hash.to_le_bytes().to_vec()).collect();
        let values: [&(dyn postgres::types::ToSql + Sync); 7] =
            [tenant_id, box_id, &tables, &epochs, &days, &counts, &hashes];
        self.sql_tx.execute(&self.statements.put_sums, &values)?;
        Ok(())
    }
}

/// Rows as columns, as the server takes them.
#[derive(Default)]
struct News<'a> {
    tables: Vec<&'a str>,
    keys: Vec<&'a str>,
    epochs: Vec<i64>,
    versions: Vec<i64>,
    applied: Vec<i64>,
    hashes: Vec<Vec<u8>>,
    columns: Vec<Option<String>>,
}

impl<'a> News<'a> {
    fn push(&mut self, table: &'a str, key: &'a str, row: &StoredRow) {
        self.tables.push(table);
        self.keys.push(key);
        self.epochs.push(signed(row.epoch));
        self.versions.push(row.row_version);
        self.applied.push(signed(row.applied));
        self.hashes.push(row.hash.to_le_bytes().to_vec());
        self.columns.push(row.columns.as_ref().map(to_json));
    }
}

impl Transaction for PostgresRows<'_> {
    type Error = StoreError;

    fn box_state(&mut self) -> Result<Option<BoxState>, StoreError> {
        if self.state.is_none() {
            let BoxName { tenant_id, box_id } = self.of;
            let row = self.sql_tx.query_opt(&self.statements.box_state, &[tenant_id, box_id])?;
            self.state = Some(row.map(|row| box_state(&row, 0)));
        }
        Ok(self.state.clone().flatten())
    }

    fn set_box_state(&mut self, state: BoxState) -> Result<(), StoreError> {
        self.state = Some(Some(state));
        self.state_changed = true;
        Ok(())
    }

    fn expect(&mut self, table: &str, keys: &[&str]) -> Result<(), StoreError> {
        let unknown = |key: &&&str| !self.rows.contains_key(&(table.to_owned(), (**key).to_owned()));
        let keys: Vec<&str> = keys.iter().filter(unknown).copied().collect();
        if keys.is_empty() {
            return Ok(());
        }
        let BoxName { tenant_id, box_id } = self.of;
        let rows = self.sql_tx.query(&self.statements.rows, &[tenant_id, box_id, &table, &keys])?;
        self.rows.extend(keys.into_iter().map(|key| ((table.to_owned(), key.to_owned()), None)));
        for row in &rows {
            let (key, row) = keyed(row)?;
            self.rows.insert((table.to_owned(), key), Some(row));
        }
        Ok(())
    }

    fn row(&mut self, table: &str, key: &str) -> Result<Option<StoredRow>, StoreError> {
        self.expect(table, &[key])?;
        Ok(self.rows.get(&(table.to_owned(), key.to_owned())).cloned().flatten())
    }

    fn put_row(&mut self, table: &str, key: &str, row: StoredRow) -> Result<(), StoreError> {
        self.expect(table, &[key])?;
        self.change_sum(table, key, &row, Sum::add);
        let place = (table.to_owned(), key.to_owned());
        self.changed.insert(place.clone());
        if let Some(Some(old)) = self.rows.insert(place, Some(row)) {
            self.change_sum(table, key, &old, Sum::remove);
        }
        Ok(())
    }

    fn rows_between(&mut self, table: &str, after: &str, to: &str) -> Result<Vec<(String, StoredRow)>, StoreError> {
        self.write_rows()?;
        let BoxName { tenant_id, box_id } = self.of;
        let values: [&(dyn postgres::types::ToSql + Sync); 5] = [tenant_id, box_id, &table, &after, &to];
        let rows = self.sql_tx.query(&self.statements.rows_between, &values)?;
        let rows: Vec<(String, StoredRow)> = rows.iter().map(keyed).collect::<Result<_, _>>()?;
        let read = rows.iter().map(|(key, row)| ((table.to_owned(), key.clone()), Some(row.clone())));
        self.rows.extend(read);
        Ok(rows)
    }

    fn day_sums(&mut self, table: &str, epoch: u64) -> Result<BTreeMap<u32, Sum>, StoreError> {
        self.write_sums()?;
        let BoxName { tenant_id, box_id } = self.of;
        let values: [&(dyn postgres::types::ToSql + Sync); 4] = [tenant_id, box_id, &table, &signed(epoch)];
        let rows = self.sql_tx.query(&self.statements.day_sums, &values)?;
        let sum = |row: &Row| {
            let day: i32 = row.get(0);
            (day.unsigned_abs(), Sum { rows: unsigned(row, 1), hash: hash(row, 2) })
        };
        Ok(rows.iter().map(sum).collect())
    }
}
