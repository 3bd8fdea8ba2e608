//! What every store must do, whatever it is made of: the same checks for each.

use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};

use cloud_api::digest::Sum;
use cloud_api::v1::{Hello, LogRange, Row, RowBatch, TableRows, Value, row_batch::Scope, value::Kind};

use super::backups::keeps_backups;
use super::deliveries::Deliveries;
use super::forgetting::{Forgetting, check_forgetting};
use super::tenants::Tenants;
use super::{Backups, BoxName, Change, Claim, DocumentKind, Heard, Place, Store, StoreError, answer};
use crate::sync::apply::{Applied, BoxState, Greeted, StoredRow, sums_of};
use crate::sync::stream::{Event, Request};

pub(super) mod tenants;

pub(super) const TABLE: &str = "contacts";

/// Checks a store that `open` opens, each time the same one.
pub(super) fn check_store<S: Tenants + Deliveries + Backups + Forgetting>(open: impl Fn() -> S) {
    keeps_what_it_is_given(&open);
    undoes_what_fails(&open());
    tells_boxes_apart(&open());
    finds_ranges_and_keeps_sums(&open());
    answers_requests(&open());
    knows_boxes(&open());
    keeps_documents(&open());
    keeps_the_audit(&open());
    finds_what_rows_refer_to(&open());
    tenants::check(&open);
    keeps_backups(&open());
    check_forgetting(&open());
}

pub(super) fn name(tenant_id: &str, box_id: &str) -> BoxName {
    BoxName { tenant_id: tenant_id.to_owned(), box_id: box_id.to_owned() }
}

/// A key of this day.
pub(super) fn key(day: u64, number: u64) -> String {
    let ms = day * 86_400_000 + 5;
    format!("{:08x}-{:04x}-7000-8000-{number:012x}", ms >> 16, ms & 0xffff)
}

pub(super) fn row(epoch: u64, row_version: i64, hash: u128) -> StoredRow {
    let columns = BTreeMap::from([("x".to_owned(), Value { kind: Some(Kind::Integer(row_version)) })]);
    StoredRow { epoch, row_version, applied: 3, hash, columns: Some(columns) }
}

pub(super) fn gone(epoch: u64, row_version: i64) -> StoredRow {
    StoredRow { epoch, row_version, applied: 4, hash: 0, columns: None }
}

/// Also when it is opened again.
fn keeps_what_it_is_given<S: Store>(open: &impl Fn() -> S) {
    let of = name("keeps", "1");
    let state = BoxState { epoch: 5, incarnation: vec![0, 255, 7], watermark: i64::MAX - 1, applied: 1 << 40 };
    let kinds = [Kind::Text("Grüezi".to_owned()), Kind::Real(1.0), Kind::Blob(vec![0, 9].into()), Kind::Integer(-3)];
    let columns = kinds.into_iter().enumerate().map(|(at, kind)| (format!("c{at}"), Value { kind: Some(kind) }));
    let whole = StoredRow { hash: u128::MAX, columns: Some(columns.collect()), ..row(5, i64::MAX, 0) };
    let store = open();
    assert_eq!(store.transact(&of, |rows| rows.box_state()).unwrap(), None);
    let written = store.transact(&of, |rows| {
        rows.set_box_state(BoxState { epoch: 1, ..state.clone() })?;
        rows.set_box_state(state.clone())?;
        rows.put_row(TABLE, &key(1, 1), whole.clone())?;
        rows.put_row(TABLE, &key(1, 2), row(5, 1, 7))?;
        rows.put_row(TABLE, &key(1, 2), gone(5, 2))?;
        rows.row(TABLE, &key(1, 1))
    });
    assert_eq!(written.unwrap(), Some(whole.clone()), "it sees what it has written");
    drop(store);
    let read = open().transact(&of, |rows| {
        let found = (rows.row(TABLE, &key(1, 1))?, rows.row(TABLE, &key(1, 2))?, rows.row(TABLE, &key(1, 3))?);
        Ok((rows.box_state()?, found))
    });
    assert_eq!(read.unwrap(), (Some(state), (Some(whole), Some(gone(5, 2)), None)));
}

/// The watermark and the rows are one: neither stays without the other.
fn undoes_what_fails<S: Store>(store: &S) {
    let of = name("undoes", "1");
    let begin = |rows: &mut super::Rows<'_>| {
        rows.put_row(TABLE, &key(1, 1), row(1, 1, 1))?;
        rows.set_box_state(BoxState { epoch: 1, incarnation: vec![], watermark: 9, applied: 1 })
    };
    let failed = store.transact(&of, |rows| {
        begin(rows)?;
        Err::<(), _>(StoreError::DiskFull)
    });
    assert!(matches!(failed, Err(StoreError::DiskFull)));
    let panicked = catch_unwind(AssertUnwindSafe(|| {
        let _ = store.transact(&of, |rows| {
            begin(rows)?;
            if rows.box_state()?.is_some() {
                std::panic::resume_unwind(Box::new("on purpose"));
            }
            Ok(())
        });
    }));
    assert!(panicked.is_err());
    let left =
        store.transact(&of, |rows| Ok((rows.box_state()?, rows.row(TABLE, &key(1, 1))?, rows.day_sums(TABLE, 1)?)));
    assert_eq!(left.unwrap(), (None, None, BTreeMap::new()));
}

/// Two offices with the same keys, and two boxes of one office.
fn tells_boxes_apart<S: Store>(store: &S) {
    let boxes = [name("apart", "1"), name("apart", "2"), name("other", "1")];
    for (of, version) in boxes.iter().zip(1..) {
        let written = store.transact(of, |rows| {
            assert_eq!(rows.row(TABLE, &key(1, 1))?, None);
            assert_eq!(rows.rows_between(TABLE, "", "g")?, []);
            rows.put_row(TABLE, &key(1, 1), row(1, version, 5))?;
            rows.set_box_state(BoxState { epoch: 1, incarnation: vec![], watermark: version, applied: 1 })
        });
        written.unwrap();
    }
    for (of, version) in boxes.iter().zip(1..) {
        let read = store.transact(of, |rows| {
            let watermark = rows.box_state()?.map(|state| state.watermark);
            Ok((rows.row(TABLE, &key(1, 1))?, watermark, rows.day_sums(TABLE, 1)?[&1].rows))
        });
        assert_eq!(read.unwrap(), (Some(row(1, version, 5)), Some(version), 1));
    }
}

/// Whatever is put where, ranges and sums are those of a plain map.
fn finds_ranges_and_keeps_sums<S: Store>(store: &S) {
    let of = name("ranges", "1");
    let mut model: BTreeMap<String, StoredRow> = BTreeMap::new();
    let mut number = 1_u64;
    for step in 0..200 {
        // A linear congruential generator: no two stores see other numbers.
        number = number.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let (day, which, epoch) = ((number >> 40) % 3, (number >> 50) % 8, 1 + u64::from(step > 100));
        let new = if number >> 62 == 0 { gone(epoch, step) } else { row(epoch, step, u128::from(number) << 60) };
        let key = key(day, which);
        store.transact(&of, |rows| rows.put_row(TABLE, &key, new.clone())).unwrap();
        model.insert(key, new);
    }
    for epoch in 1..=3 {
        let expected = sums_of(model.iter().map(|(key, row)| (key.as_str(), row)), epoch);
        assert_eq!(store.transact(&of, |rows| rows.day_sums(TABLE, epoch)).unwrap(), expected, "epoch {epoch}");
    }
    let other: BTreeMap<u32, Sum> = store.transact(&of, |rows| rows.day_sums("jobs", 2)).unwrap();
    assert_eq!(other, BTreeMap::new());
    let (first, last) = (key(0, 3), key(1, 4));
    for (after, to) in [("", "g"), (first.as_str(), last.as_str()), (last.as_str(), first.as_str())] {
        let inside = model.iter().filter(|(key, _)| key.as_str() > after && key.as_str() <= to);
        let expected: Vec<_> = inside.map(|(key, row)| (key.clone(), row.clone())).collect();
        let got = store.transact(&of, |rows| rows.rows_between(TABLE, after, to)).unwrap();
        assert_eq!(got, expected, "({after}, {to}]");
    }
}

fn answers_requests<S: Store>(store: &S) {
    let of = name("answers", "1");
    let hello = Hello { epoch: 1, incarnation: vec![1; 16].into(), ..Hello::default() };
    let greet = Request::Greet(hello);
    assert_eq!(answer(store, &of, &greet), Event::Greeted(Greeted::Welcome { watermark: 0 }));
    let rows = TableRows {
        table: TABLE.to_owned(),
        columns: vec!["name".to_owned()],
        rows: vec![Row { key: key(1, 1), row_version: 1, values: vec![Value { kind: None }] }],
        deleted_keys: vec![key(1, 2)],
    };
    let scope = Some(Scope::Log(LogRange { after: 0, to: 4 }));
    let batch = Request::Apply(RowBatch { batch_id: 1, epoch: 1, scope, tables: vec![rows] });
    for _ in 0..2 {
        assert_eq!(answer(store, &of, &batch), Event::Applied(Applied::Taken { watermark: 4 }));
    }
    assert_eq!(answer(store, &of, &greet), Event::Greeted(Greeted::Welcome { watermark: 4 }));
}

/// A code is one box's, a box is known from its claim on, and nothing is heard of one that is revoked.
fn knows_boxes<S: Store>(store: &S) {
    store.check().unwrap();
    let (code, other) = ([1; 32], [2; 32]);
    let claim = Claim { code_sha256: code, tenant_id: "fleet".to_owned(), expires_at: 100 };
    store.add_claim(&claim).unwrap();
    store.add_claim(&claim).unwrap_err();
    let take = |code, box_id, now| store.take_claim(&code, box_id, now).unwrap();
    assert_eq!(take(other, "1", 10), None, "nobody was given this code");
    assert_eq!(take(code, "1", 100), None, "too late");
    let found = |code, now| store.claim(&code, now).unwrap();
    assert_eq!((found(other, 10), found(code, 100)), (None, None));
    assert_eq!(found(code, 10), Some(("fleet".to_owned(), None)), "nobody's yet");
    for now in [10, 99] {
        assert_eq!(take(code, "1", now), Some("fleet".to_owned()), "again, because the answer may have been lost");
    }
    assert_eq!(take(code, "2", 10), None, "it is the other box's");
    assert_eq!(found(code, 10), Some(("fleet".to_owned(), Some("1".to_owned()))));
    assert!(store.tenants().unwrap().contains(&"fleet".to_owned()));

    let of = name("fleet", "1");
    store.enroll(&of, 20).unwrap();
    assert!(store.note_heard(&of, Heard::Release("0.1.0"), 30).unwrap());
    assert!(store.note_heard(&of, Heard::Equal, 40).unwrap());
    assert!(store.note_heard(&of, Heard::Alive, 50).unwrap());
    let state = BoxState { epoch: 2, incarnation: vec![1; 16], watermark: 3, applied: 4 };
    store.transact(&of, |rows| rows.set_box_state(state.clone())).unwrap();
    assert!(store.note_heard(&name("fleet", "0"), Heard::Alive, 60).unwrap(), "the store may be an older one");
    let boxes = store.boxes("fleet").unwrap();
    let [unknown, known] = boxes.as_slice() else { panic!("{boxes:?}") };
    assert_eq!((unknown.name.box_id.as_str(), unknown.enrolled_at, unknown.state.as_ref()), ("0", 60, None));
    assert_eq!((known.enrolled_at, known.release.as_str(), known.state.as_ref()), (20, "0.1.0", Some(&state)));
    assert_eq!((known.heard_at, known.equal_at, known.revoked_at), (Some(50), Some(40), None));
    assert_eq!(store.boxes("another").unwrap(), []);
    assert_eq!(store.known_box(&of).unwrap().as_ref(), Some(known));
    assert_eq!(store.known_box(&name("another", "1")).unwrap(), None);

    assert!(!store.is_void(&of, 0).unwrap());
    store.void_certificates(&of, 65).unwrap();
    store.enroll(&of, 66).unwrap();
    assert_eq!([64, 65].map(|made_at| store.is_void(&of, made_at).unwrap()), [true, false]);
    assert!(!store.is_void(&name("fleet", "0"), 0).unwrap(), "another box's");
    assert!(!store.is_revoked(&of).unwrap());
    assert!(store.revoke(&of, 70).unwrap());
    assert!(!store.revoke(&name("fleet", "9"), 70).unwrap(), "there is no such box");
    assert!(store.is_revoked(&of).unwrap());
    assert!(!store.note_heard(&of, Heard::Alive, 80).unwrap());
    assert_eq!(store.boxes("fleet").unwrap()[1].heard_at, Some(50));
    store.enroll(&of, 90).unwrap();
    assert!(!store.is_revoked(&of).unwrap(), "it was claimed anew");

    let put = store.transact(&of, |rows| {
        rows.put_row(TABLE, &key(1, 1), row(2, 1, 1))?;
        rows.put_row(TABLE, &key(1, 2), gone(2, 1))?;
        rows.put_row(TABLE, &key(2, 1), row(2, 1, 3))
    });
    put.unwrap();
    let latest = |before, limit| store.latest_rows(&of, TABLE, before, limit).unwrap();
    let (early, late) = ((key(1, 1), row(2, 1, 1)), (key(2, 1), row(2, 1, 3)));
    assert_eq!(latest(None, 10), [late.clone(), early.clone()]);
    assert_eq!(latest(None, 1), std::slice::from_ref(&late));
    assert_eq!(latest(Some(&key(2, 1)), 10), std::slice::from_ref(&early));
    let between = |after: &str, before, limit| store.rows_between(&of, TABLE, after, before, limit).unwrap();
    assert_eq!(between("", None, 10), [early.clone(), late.clone()]);
    assert_eq!(between("", None, 1), std::slice::from_ref(&early));
    assert_eq!(between(&key(1, 1), None, 10), [late]);
    assert_eq!(between("", Some(&key(2, 1)), 10), [early]);
}

/// Entries follow each other, each tenant's by themselves, also when two write at once.
fn keeps_the_audit<S: Store>(store: &S) {
    let bodies = ["{\"a\":1}", "{\"a\":2}", "{\"a\":\"\\u0000\"}"];
    std::thread::scope(|scope| {
        for body in bodies {
            scope.spawn(move || store.append_audit("audited", 5, body).unwrap());
        }
    });
    let first = store.append_audit("others-audited", 6, bodies[0]).unwrap();
    assert_eq!((first.number, first.at), (1, 6));
    let entries = store.audit("audited", 0, 10).unwrap();
    assert_eq!(entries.len(), 3);
    let mut before = None;
    for entry in &entries {
        assert!(entry.follows(before), "{entry:?}");
        before = Some(entry);
    }
    let found: BTreeSet<&str> = entries.iter().map(|entry| entry.body.as_str()).collect();
    assert_eq!(found, BTreeSet::from(bodies));
    assert_eq!(store.audit("audited", 1, 1).unwrap(), entries[1..2]);
    assert_eq!(store.audit("nobody", 0, 10).unwrap(), []);
}

/// Documents are a tenant's, change as a whole or not at all, and ring for their box alone.
fn keeps_documents<S: Store>(store: &S) {
    let place = |tenant_id, kind, name| Place { tenant_id, kind, name };
    let one = place("papers", DocumentKind::Box, "1");
    let put = |place: &Place<'_>, body: &str, news: bool, now| {
        let change =
            |before: Option<&str>| Ok(Change { body: Some(body.to_owned()), news, answer: before.map(str::to_owned) });
        store.change_document(place, now, change).unwrap()
    };
    assert_eq!(store.document(&one).unwrap(), None);
    assert_eq!(put(&one, "{\"a\":1}", true, 100), None);
    assert_eq!(put(&one, "{\"a\":2}", false, 110).as_deref(), Some("{\"a\":1}"));
    put(&place("papers", DocumentKind::Rollout, "1"), "[]", false, 120);
    put(&place("papers", DocumentKind::Box, "0"), "{}", true, 130);
    put(&place("others", DocumentKind::Box, "1"), "[3]", true, 140);
    let failed = store.change_document(&one, 150, |_| Err::<Change<()>, _>(StoreError::DiskFull));
    assert!(matches!(failed, Err(StoreError::DiskFull)));
    store.change_document(&one, 150, |_| Ok(Change { body: None, news: false, answer: () })).unwrap();
    assert_eq!(store.document(&one).unwrap().as_deref(), Some("{\"a\":2}"));
    let all = store.documents("papers", DocumentKind::Box).unwrap();
    assert_eq!(all, [("0".to_owned(), "{}".to_owned()), ("1".to_owned(), "{\"a\":2}".to_owned())]);
    let heard = |after| -> Vec<(String, i64)> {
        let mut news = store.news(after).unwrap();
        news.sort();
        news.into_iter().map(|(name, at)| (name.to_string(), at)).collect()
    };
    assert_eq!(heard(129), [("others/1".to_owned(), 140), ("papers/0".to_owned(), 130)]);
    put(&one, "{}", true, 100);
    assert!(heard(100).contains(&("papers/1".to_owned(), 101)), "twice within a moment is heard twice");
}

/// Texts of a column, of rows that are there, of one box and one table.
fn finds_what_rows_refer_to<S: Store>(store: &S) {
    let (of, other) = (name("refers", "1"), name("refers", "2"));
    let with = |text: &str| {
        let value = Value { kind: Some(Kind::Text(text.to_owned())) };
        StoredRow { columns: Some(BTreeMap::from([("sha256".to_owned(), value)])), ..row(1, 1, 7) }
    };
    let write = |of: &BoxName, table: &str, number: u64, row: &StoredRow| {
        store.transact(of, |rows| rows.put_row(table, &key(1, number), row.clone())).unwrap();
    };
    for (number, text) in [(1, "a"), (2, "b"), (3, "b"), (4, "c")] {
        write(&of, "recordings", number, &with(text));
    }
    write(&of, "recordings", 4, &gone(1, 2));
    write(&of, "recordings", 5, &row(1, 1, 9));
    write(&of, "voicemails", 1, &with("d"));
    write(&other, "recordings", 1, &with("e"));
    let texts = store.texts_of(&of, "recordings", "sha256").unwrap();
    assert_eq!(texts.into_iter().collect::<Vec<_>>(), ["a", "b"]);
}
