//! A box's database as the engine sees it: rows, the change log, what is remembered. What `daemon::sync` reads with SQL is
//! read here from maps, by the same rules.

use std::collections::{BTreeMap, BTreeSet};

use cloud_api::digest::{Sum, day_of, row_hash};
use cloud_api::v1::{DayDigest, Row, TableDigest, TableRows, Value, value::Kind};
use daemon::sync::engine::{Limits, RangeRows, Read, Stretch};
use daemon::sync::{Identity, TABLES};

/// How long entries are kept once they are acknowledged.
const KEPT_MS: u64 = 7 * 86_400_000;

/// Table and key of a row.
pub(super) type Key = (&'static str, String);

/// A row's version and what is in it.
pub(super) type Content = (i64, i64);

/// What survives a crash.
#[derive(Debug, Clone)]
pub(super) struct PhoneBox {
    pub(super) identity: Identity,
    rows: BTreeMap<Key, Content>,
    log: BTreeMap<i64, Key>,
    head: i64,
    sums: BTreeMap<&'static str, BTreeMap<u32, Sum>>,
    acks: Vec<(u64, i64)>,
    /// Entries that were dropped before the cloud had them.
    pub(super) ledger: usize,
}

impl PhoneBox {
    pub(super) fn new() -> Self {
        PhoneBox {
            identity: Identity { epoch: 1, incarnation: [1; 16], claiming: true },
            rows: BTreeMap::new(),
            log: BTreeMap::new(),
            head: 0,
            sums: BTreeMap::new(),
            acks: Vec::new(),
            ledger: 0,
        }
    }

    pub(super) fn head(&self) -> i64 {
        self.head
    }

    pub(super) fn rows(&self) -> BTreeMap<Key, Content> {
        self.rows.clone()
    }

    pub(super) fn row(&self, key: &Key) -> Option<Content> {
        self.rows.get(key).copied()
    }

    /// Writes a row, new or changed, or takes it away.
    pub(super) fn write(&mut self, key: &Key, value: Option<i64>) {
        let version = self.rows.get(key).map_or(0, |(version, _)| *version);
        self.head += 1;
        self.log.insert(self.head, key.clone());
        let days = self.sums.entry(key.0).or_default();
        let sum = days.entry(day_of(&key.1).expect("a key of ours")).or_default();
        if let Some(old) = self.rows.remove(key) {
            sum.remove(hash_of(key, old));
        }
        if let Some(value) = value {
            let new = (version + 1, value);
            sum.add(hash_of(key, new));
            self.rows.insert(key.clone(), new);
        }
    }

    /// The keys of the entries in (`from`, `to`].
    pub(super) fn changed_between(&self, from: i64, to: i64) -> BTreeSet<Key> {
        if from >= to {
            return BTreeSet::new();
        }
        self.log.range(from + 1..=to).map(|(_, key)| key.clone()).collect()
    }

    pub(super) fn stretch(&self, read: &Read) -> Stretch {
        let Read::Log { after, limits, except, sums } = read else { panic!("{read:?}") };
        let mut keys: BTreeSet<&Key> = BTreeSet::new();
        let mut to = self.head.max(*after);
        for (seq, key) in self.log.range(after + 1..) {
            if keys.len() >= limits.rows && !keys.contains(key) {
                to = seq - 1;
                break;
            }
            keys.insert(key);
        }
        let mut tables: BTreeMap<&str, TableRows> = BTreeMap::new();
        for key in keys.into_iter().filter(|key| !except.contains(key.0)) {
            let table = tables.entry(key.0).or_insert_with(|| empty(key.0));
            match self.rows.get(key) {
                Some(content) => table.rows.push(row_of(key, *content)),
                None => table.deleted_keys.push(key.1.clone()),
            }
        }
        let sums = sums.as_ref().filter(|_| to == self.head).map(|by_day| self.digest(except, by_day));
        Stretch { to, head: self.head, tables: tables.into_values().collect(), sums }
    }

    fn digest(&self, except: &BTreeSet<String>, by_day: &BTreeSet<String>) -> Vec<TableDigest> {
        let none = BTreeMap::new();
        let names = TABLES.iter().map(|table| table.name).filter(|name| !except.contains(*name));
        let digest = names.map(|name| {
            let days = self.sums.get(name).unwrap_or(&none);
            let mut total = Sum::default();
            days.values().for_each(|sum| total.merge(*sum));
            let days = days.iter().filter(|(_, sum)| by_day.contains(name) && **sum != Sum::default());
            let days = days.map(|(day, sum)| DayDigest { day: *day, sum: Some((*sum).into()) }).collect();
            TableDigest { table: name.to_owned(), sum: Some(total.into()), days }
        });
        digest.collect()
    }

    pub(super) fn range(&self, read: &Read) -> RangeRows {
        let Read::Range { table, after, to, limits: Limits { rows: most, .. } } = read else { panic!("{read:?}") };
        let name = TABLES.iter().map(|table| table.name).find(|name| name == table).expect("a table of ours");
        let mut rows = empty(name);
        let mut end = to.clone();
        let all = self.rows.range((name, after.clone())..).take_while(|((table, key), _)| *table == name && key <= to);
        for (key, content) in all.filter(|((_, key), _)| key > after) {
            if rows.rows.len() >= *most {
                end = rows.rows.last().expect("at least one").key.clone();
                break;
            }
            rows.rows.push(row_of(key, *content));
        }
        RangeRows { to: end, rows: (!rows.rows.is_empty()).then_some(rows) }
    }

    /// The cloud has everything up to `seq` and nothing after it.
    pub(super) fn note_acked(&mut self, seq: i64, now_ms: u64) {
        self.acks.retain(|(_, acked)| *acked <= seq);
        self.acks.push((now_ms, seq));
        let long_acked = self.acks.iter().filter(|(at, _)| at + KEPT_MS <= now_ms).map(|(_, seq)| *seq).max();
        if let Some(seq) = long_acked {
            self.log = self.log.split_off(&(seq + 1));
            self.acks.retain(|(_, acked)| *acked >= seq);
        }
    }

    /// An epoch after this one and its own.
    pub(super) fn renew(&mut self, after: u64, incarnation: u64) {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&incarnation.to_le_bytes());
        let epoch = self.identity.epoch.max(after) + 1;
        self.identity = Identity { epoch, incarnation: bytes, claiming: true };
        self.acks.clear();
    }
}

fn empty(table: &str) -> TableRows {
    TableRows { table: table.to_owned(), columns: vec!["value".to_owned()], ..TableRows::default() }
}

fn value_of(value: i64) -> Value {
    Value { kind: Some(Kind::Integer(value)) }
}

fn row_of(key: &Key, (row_version, value): Content) -> Row {
    Row { key: key.1.clone(), row_version, values: vec![value_of(value)] }
}

fn hash_of(key: &Key, (row_version, value): Content) -> u128 {
    row_hash(key.0, &key.1, row_version, [("value", &value_of(value))])
}
