//! The cloud's store as maps, behind the rules' own trait; and stores with a flaw, which the laws must find.

use std::collections::BTreeMap;
use std::convert::Infallible;

use cloud::store::forgetting::GONE_KEPT_MS;
use cloud::sync::TABLES;
use cloud::sync::apply::{BoxState, StoredRow, Transaction, apply, compare, greet};
use cloud::sync::stream::{Event, Request};
use cloud_api::digest::{Sum, day_of};
use cloud_api::v1::value::Kind;

use super::phone_box::{Content, Key};

/// What is wrong with a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flaw {
    /// It takes whatever comes, also what is older than what it has.
    NeverLooks,
    /// One write in so many is not made, and nobody is told.
    LosesOneIn(u64),
    /// It keeps what is gone.
    NeverForgets,
}

/// Everything that is in the cloud.
#[derive(Debug, Clone, Default)]
pub(super) struct Cloud {
    state: Option<BoxState>,
    rows: BTreeMap<Key, StoredRow>,
    sums: BTreeMap<(&'static str, u64), BTreeMap<u32, Sum>>,
    flaw: Option<Flaw>,
    writes: u64,
    /// How many transactions there were, and when.
    mark: Option<(u64, u64)>,
}

impl Cloud {
    pub(super) fn new(flaw: Option<Flaw>) -> Self {
        Cloud { flaw, ..Cloud::default() }
    }

    /// One transaction.
    pub(super) fn run(&mut self, request: &Request) -> Event {
        let Ok(answer) = match request {
            Request::Greet(hello) => greet(self, hello).map(Event::Greeted),
            Request::Apply(batch) => apply(self, batch).map(Event::Applied),
            Request::Compare(digest) => compare(self, digest).map(Event::Compared),
        };
        answer
    }

    /// Forgets rows that have been gone for long, as stores do: how many.
    pub(super) fn forget_gone(&mut self, now_ms: u64) -> u64 {
        let Some(state) = &self.state else { return 0 };
        let (applied, at) = *self.mark.get_or_insert((state.applied, now_ms));
        if now_ms < at + GONE_KEPT_MS.unsigned_abs() {
            return 0;
        }
        self.mark = Some((state.applied, now_ms));
        let before = self.rows.len();
        self.rows.retain(|_, row| row.columns.is_some() || row.applied > applied);
        (before - self.rows.len()) as u64
    }

    pub(super) fn has(&self, key: &Key) -> bool {
        self.rows.get(key).is_some_and(|row| row.columns.is_some())
    }

    /// What counts in this epoch.
    pub(super) fn rows(&self, epoch: u64) -> BTreeMap<Key, Content> {
        let counted = self.rows.iter().filter(|(_, row)| row.counts_in(epoch));
        let content = counted.map(|(key, row)| {
            let value =
                row.columns.as_ref().and_then(|columns| columns.get("value")).and_then(|value| value.kind.clone());
            let Some(Kind::Integer(value)) = value else { panic!("{row:?}") };
            (key.clone(), (row.row_version, value))
        });
        content.collect()
    }
}

/// The name that lives as long as the program.
fn name_of(table: &str) -> &'static str {
    TABLES.into_iter().find(|name| *name == table).expect("tables are known ones")
}

impl Transaction for Cloud {
    type Error = Infallible;

    fn box_state(&mut self) -> Result<Option<BoxState>, Infallible> {
        Ok(self.state.clone())
    }

    fn set_box_state(&mut self, state: BoxState) -> Result<(), Infallible> {
        if let Some(old) = self.state.as_ref().filter(|old| old.epoch == state.epoch) {
            assert!(state.watermark >= old.watermark && state.applied >= old.applied, "{old:?} -> {state:?}");
        }
        self.state = Some(state);
        Ok(())
    }

    fn row(&mut self, table: &str, key: &str) -> Result<Option<StoredRow>, Infallible> {
        let row = self.rows.get(&(name_of(table), key.to_owned())).cloned();
        Ok(row.filter(|_| self.flaw != Some(Flaw::NeverLooks)))
    }

    fn put_row(&mut self, table: &str, key: &str, row: StoredRow) -> Result<(), Infallible> {
        self.writes += 1;
        match self.flaw {
            Some(Flaw::LosesOneIn(writes)) if self.writes.is_multiple_of(writes) => return Ok(()),
            Some(Flaw::NeverForgets) if row.columns.is_none() => return Ok(()),
            Some(Flaw::NeverLooks | Flaw::LosesOneIn(_) | Flaw::NeverForgets) | None => {}
        }
        let (key, day) = ((name_of(table), key.to_owned()), day_of(key).expect("keys are UUIDs"));
        let mut add = |row: &StoredRow, change: fn(&mut Sum, u128)| {
            if row.columns.is_some() {
                let days = self.sums.entry((key.0, row.epoch)).or_default();
                change(days.entry(day).or_default(), row.hash);
                days.retain(|_, sum| *sum != Sum::default());
            }
        };
        if let Some(old) = self.rows.get(&key) {
            let is_news = row.epoch > old.epoch || (row.epoch == old.epoch && row.row_version >= old.row_version);
            assert!(is_news, "a row went back: {key:?} {old:?} -> {row:?}");
            assert!(row.epoch > old.epoch || old.columns.is_some() || row.columns.is_none(), "{key:?} came back");
            add(old, Sum::remove);
        }
        add(&row, Sum::add);
        self.rows.insert(key, row);
        Ok(())
    }

    fn rows_between(&mut self, table: &str, after: &str, to: &str) -> Result<Vec<(String, StoredRow)>, Infallible> {
        let name = name_of(table);
        let rows = self.rows.range((name, after.to_owned())..);
        let inside = rows.take_while(|((table, key), _)| *table == name && key.as_str() <= to);
        let inside = inside.filter(|((_, key), _)| key.as_str() > after);
        Ok(inside.map(|((_, key), row)| (key.clone(), row.clone())).collect())
    }

    fn day_sums(&mut self, table: &str, epoch: u64) -> Result<BTreeMap<u32, Sum>, Infallible> {
        Ok(self.sums.get(&(name_of(table), epoch)).cloned().unwrap_or_default())
    }
}
