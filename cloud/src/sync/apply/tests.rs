use std::convert::Infallible;

use cloud_api::digest::keys_of;
use cloud_api::v1::value::Kind;

use super::*;

const TABLE: &str = "contacts";
/// Of day 0 and of day 1.
const KEYS: [&str; 3] = [
    "00000000-0001-7000-8000-000000000001",
    "00000000-0002-7000-8000-000000000002",
    "00000526-5c00-7000-8000-000000000003",
];

#[derive(Default)]
struct Memory {
    state: Option<BoxState>,
    rows: BTreeMap<String, StoredRow>,
}

impl Transaction for Memory {
    type Error = Infallible;

    fn box_state(&mut self) -> Result<Option<BoxState>, Infallible> {
        Ok(self.state.clone())
    }

    fn set_box_state(&mut self, state: BoxState) -> Result<(), Infallible> {
        self.state = Some(state);
        Ok(())
    }

    fn row(&mut self, _: &str, key: &str) -> Result<Option<StoredRow>, Infallible> {
        Ok(self.rows.get(key).cloned())
    }

    fn put_row(&mut self, _: &str, key: &str, row: StoredRow) -> Result<(), Infallible> {
        self.rows.insert(key.to_owned(), row);
        Ok(())
    }

    fn rows_between(&mut self, _: &str, after: &str, to: &str) -> Result<Vec<(String, StoredRow)>, Infallible> {
        let inside = self.rows.iter().filter(|(key, _)| key.as_str() > after && key.as_str() <= to);
        Ok(inside.map(|(key, row)| (key.clone(), row.clone())).collect())
    }

    fn day_sums(&mut self, table: &str, epoch: u64) -> Result<BTreeMap<u32, Sum>, Infallible> {
        let rows = self.rows.iter().filter(|_| table == TABLE).map(|(key, row)| (key.as_str(), row));
        Ok(sums_of(rows, epoch))
    }
}

fn hello(epoch: u64, incarnation: u8, log_head: i64) -> Hello {
    Hello { epoch, incarnation: vec![incarnation; 16].into(), log_head, ..Hello::default() }
}

/// Greeted in this epoch, with an empty log.
fn greeted(epoch: u64) -> Memory {
    let mut memory = Memory::default();
    assert_eq!(greet(&mut memory, &hello(epoch, 1, 0)), Ok(Greeted::Welcome { watermark: 0 }));
    memory
}

/// Rows by the place of their key, their version and their name; and keys that are gone.
fn rows(rows: &[(usize, i64, &str)], gone: &[usize]) -> TableRows {
    let row = |(key, row_version, name): &(usize, i64, &str)| {
        let name = Value { kind: Some(Kind::Text((*name).to_owned())) };
        Row { key: KEYS[*key].into(), row_version: *row_version, values: vec![name, Value { kind: None }] }
    };
    let columns = vec!["name".into(), "email".into()];
    let deleted_keys = gone.iter().map(|key| KEYS[*key].to_owned()).collect();
    TableRows { table: TABLE.into(), columns, rows: rows.iter().map(row).collect(), deleted_keys }
}

fn log(epoch: u64, (after, to): (i64, i64), rows: TableRows) -> RowBatch {
    RowBatch { batch_id: 1, epoch, scope: Some(Scope::Log(LogRange { after, to })), tables: vec![rows] }
}

/// The whole of a day.
fn range(epoch: u64, day: u32, as_of: u64, rows: TableRows) -> RowBatch {
    let (after, to) = keys_of(day);
    let scope = Scope::Range(KeyRange { table: TABLE.into(), after, to, as_of });
    RowBatch { batch_id: 1, epoch, scope: Some(scope), tables: vec![rows] }
}

fn taken(watermark: i64) -> Result<Applied, Infallible> {
    Ok(Applied::Taken { watermark })
}

/// The epoch, version and name of a row; no name if it is gone.
fn there(memory: &Memory, key: usize) -> Option<(u64, i64, Option<String>)> {
    let row = memory.rows.get(KEYS[key])?;
    let name = row.columns.as_ref().map(|columns| {
        let Some(Kind::Text(name)) = &columns["name"].kind else { panic!("{columns:?}") };
        name.clone()
    });
    Some((row.epoch, row.row_version, name))
}

fn named(epoch: u64, version: i64, name: &str) -> Option<(u64, i64, Option<String>)> {
    Some((epoch, version, Some(name.to_owned())))
}

#[test]
fn a_stretch_of_the_log_follows_the_watermark_or_is_not_taken() {
    let mut memory = greeted(1);
    assert_eq!(apply(&mut memory, &log(1, (0, 5), rows(&[(0, 1, "a")], &[]))), taken(5));
    let before = (memory.state.clone(), memory.rows.clone());
    assert_eq!(apply(&mut memory, &log(1, (0, 5), rows(&[(0, 9, "twice")], &[]))), taken(5), "taken already");
    assert_eq!(apply(&mut memory, &log(1, (6, 8), rows(&[(1, 1, "b")], &[]))), Ok(Applied::OutOfStep));
    assert_eq!((memory.state.clone(), memory.rows.clone()), before);
    assert_eq!(apply(&mut memory, &log(1, (3, 8), rows(&[(1, 1, "b")], &[]))), taken(8), "they may overlap");
    assert_eq!(greet(&mut memory, &hello(1, 1, 99)), Ok(Greeted::Welcome { watermark: 8 }));
}

#[test]
fn a_row_never_goes_back_and_never_comes_back() {
    let mut memory = greeted(1);
    apply(&mut memory, &log(1, (0, 5), rows(&[(0, 3, "new"), (1, 1, "b")], &[]))).unwrap();
    apply(&mut memory, &log(1, (5, 6), rows(&[], &[1]))).unwrap();
    // A day as it was before, from a stream that is long dead.
    apply(&mut memory, &range(1, 0, 9, rows(&[(0, 2, "old"), (1, 1, "b")], &[]))).unwrap();
    assert_eq!((there(&memory, 0), there(&memory, 1)), (named(1, 3, "new"), Some((1, 1, None))));
    // The same version with another content: what is here was damaged.
    apply(&mut memory, &range(1, 0, 9, rows(&[(0, 3, "right")], &[]))).unwrap();
    assert_eq!(there(&memory, 0), named(1, 3, "right"));
    // Gone before it was ever here.
    apply(&mut memory, &log(1, (6, 7), rows(&[], &[2]))).unwrap();
    apply(&mut memory, &range(1, 1, 9, rows(&[(2, 1, "late")], &[]))).unwrap();
    assert_eq!(there(&memory, 2), Some((1, 0, None)));
}

#[test]
fn what_a_range_does_not_have_is_gone_unless_it_came_later() {
    let mut memory = greeted(1);
    apply(&mut memory, &log(1, (0, 5), rows(&[(0, 1, "a"), (2, 1, "another day")], &[]))).unwrap();
    let as_of = memory.state.as_ref().unwrap().applied;
    apply(&mut memory, &log(1, (5, 6), rows(&[(1, 1, "later")], &[]))).unwrap();
    apply(&mut memory, &range(1, 0, as_of, rows(&[], &[]))).unwrap();
    assert_eq!(there(&memory, 0), Some((1, 1, None)));
    assert_eq!((there(&memory, 1), there(&memory, 2)), (named(1, 1, "later"), named(1, 1, "another day")));
    assert_eq!(memory.state.unwrap().watermark, 6, "ranges do not move it");
}

#[test]
fn a_new_epoch_fences_the_old_one_and_takes_nothing_away() {
    let mut memory = greeted(1);
    apply(&mut memory, &log(1, (0, 5), rows(&[(0, 7, "a"), (1, 1, "only here")], &[]))).unwrap();
    assert_eq!(greet(&mut memory, &hello(2, 2, 3)), Ok(Greeted::Welcome { watermark: 3 }), "from the end of its log");
    for (epoch, incarnation) in [(1, 1), (2, 1), (2, 3)] {
        assert_eq!(greet(&mut memory, &hello(epoch, incarnation, 9)), Ok(Greeted::Fenced { current: 2 }));
    }
    assert_eq!(apply(&mut memory, &log(1, (5, 6), rows(&[(0, 8, "zombie")], &[]))), Ok(Applied::Fenced { current: 2 }));
    // Older by its version, and yet what counts; the row that it does not have stays.
    apply(&mut memory, &range(2, 0, 99, rows(&[(0, 4, "restored")], &[]))).unwrap();
    assert_eq!((there(&memory, 0), there(&memory, 1)), (named(2, 4, "restored"), named(1, 1, "only here")));
    assert_eq!(apply(&mut Memory::default(), &log(1, (0, 1), rows(&[], &[]))), Ok(Applied::Fenced { current: 0 }));
}

/// What the box would say of these rows: all tables, days only if they are wanted.
fn digest(as_of_seq: i64, batch: &TableRows, by_day: bool) -> Digest {
    let mut days: BTreeMap<u32, Sum> = BTreeMap::new();
    for row in &batch.rows {
        let columns = batch.columns.iter().map(String::as_str).zip(&row.values);
        days.entry(day_of(&row.key).unwrap()).or_default().add(row_hash(TABLE, &row.key, row.row_version, columns));
    }
    let sum = total(days.values().copied());
    let days: Vec<_> = days.into_iter().map(|(day, sum)| DayDigest { day, sum: Some(sum.into()) }).collect();
    let tables = TABLES.iter().map(|table| match *table {
        TABLE => {
            TableDigest { table: TABLE.into(), sum: Some(sum.into()), days: if by_day { days.clone() } else { vec![] } }
        }
        other => TableDigest { table: other.into(), ..TableDigest::default() },
    });
    Digest { as_of_seq, tables: tables.collect() }
}

#[test]
fn a_comparison_names_the_tables_and_then_the_days_that_differ() {
    let mut memory = greeted(1);
    let all = rows(&[(0, 1, "a"), (1, 1, "b"), (2, 1, "c")], &[]);
    apply(&mut memory, &log(1, (0, 5), all.clone())).unwrap();
    let ask = |memory: &mut Memory, digest: &Digest| {
        let verdict = compare(memory, digest).unwrap();
        let days: Vec<_> = verdict.days.iter().map(|day| (day.day, day.as_of)).collect();
        (verdict.equal, verdict.tables, days)
    };
    let contacts = vec![TABLE.to_owned()];
    assert_eq!(ask(&mut memory, &digest(5, &all, false)), (true, vec![], vec![]));
    assert_eq!(ask(&mut memory, &digest(4, &all, false)), (false, vec![], vec![]), "not of the same moment");
    let mut partial = digest(5, &all, false);
    partial.tables.pop();
    assert!(!ask(&mut memory, &partial).0, "a table that was left out is not equal");
    let other = rows(&[(0, 1, "a"), (1, 2, "b"), (2, 1, "c")], &[]);
    assert_eq!(ask(&mut memory, &digest(5, &other, false)), (false, contacts, vec![]));
    assert_eq!(ask(&mut memory, &digest(5, &other, true)), (false, vec![], vec![(0, 1)]));
    assert_eq!(ask(&mut memory, &digest(5, &rows(&[], &[]), true)), (false, vec![], vec![(1, 1), (0, 1)]));
    // A new epoch: nothing counts that was not sent under it.
    greet(&mut memory, &hello(2, 2, 5)).unwrap();
    assert_eq!(ask(&mut memory, &digest(5, &all, true)), (false, vec![], vec![(1, 1), (0, 1)]));
}
