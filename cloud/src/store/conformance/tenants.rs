//! What every store must do with tenants as wholes.

use super::super::deliveries::{Deliveries, Kept};
use super::super::tenants::{Erasure, Holdings, Putting, Record, Standing, StandingRecord, Tenants, summary, wipe};
use super::super::{BoxName, Change, Claim, DocumentKind, Heard, Place, StoreError};
use super::{TABLE, gone, key, name, row};
use crate::sync::apply::BoxState;

pub(super) fn check<S: Tenants + Deliveries>(open: &impl Fn() -> S) {
    copies_a_tenant_as_of_one_moment(open);
    takes_nothing_of_a_tenant_that_is_not_here(&open());
    wipes_what_nobody_counts_on(&open());
    puts_records_whole_or_not_at_all(&open());
}

/// Something of everything: three boxes, one of which was only claimed and one of which is not known to be.
pub(in crate::store) fn fill<S: Tenants + Deliveries>(store: &S, tenant_id: &str) {
    let of = |box_id: &str| name(tenant_id, box_id);
    let code = |number: u8| {
        let mut code = [number; 32];
        code[1..=tenant_id.len()].copy_from_slice(tenant_id.as_bytes());
        Claim { code_sha256: code, tenant_id: tenant_id.to_owned(), expires_at: 1_000 }
    };
    store.add_claim(&code(1)).unwrap();
    store.add_claim(&code(2)).unwrap();
    assert!(store.take_claim(&code(1).code_sha256, "a", 5).unwrap().is_some());
    store.enroll(&of("a"), 5).unwrap();
    store.note_heard(&of("a"), Heard::Release("1.2.3"), 6).unwrap();
    store.enroll(&of("claimed"), 7).unwrap();
    store.revoke(&of("claimed"), 8).unwrap();
    for (box_id, rows_of_it) in [("a", 1_100), ("b-2", 3), ("b-10", 1)] {
        let written = store.transact(&of(box_id), |rows| {
            rows.set_box_state(BoxState { epoch: 2, incarnation: vec![0, 9], watermark: 77, applied: 5 })?;
            for number in 0..rows_of_it {
                rows.put_row(TABLE, &key(1 + number / 400, number), row(2, 7, u128::from(number) << 99))?;
            }
            rows.put_row(TABLE, &key(9, 9), gone(1, 3))?;
            rows.put_row("jobs", &key(2, 1), row(1, 1, u128::MAX))
        });
        written.unwrap();
    }
    let place = Place { tenant_id, kind: DocumentKind::Box, name: "a" };
    let body = Some(r#"{"z":[1,2.5,"Grüezi"],"a":null}"#.to_owned());
    store.change_document(&place, 9, |_| Ok(Change { body: body.clone(), news: true, answer: () })).unwrap();
    for (id, due_at) in [("call:1", Some(9_000_000_000_000)), ("text:2", None)] {
        let kept = Kept { body: r#"{"b": 1}"#.to_owned(), sha256: Some("ab".repeat(32)), due_at };
        store.change_delivery(&of("a"), id, 60, |_| Ok((Some(kept.clone()), ()))).unwrap();
    }
    assert!(store.note_delivered(&of("a"), "text:2", 2, "yes", 61).unwrap());
}

fn make<S: Tenants + Deliveries>(store: &S, tenant_id: &str, standing: &Standing) -> StandingRecord {
    store.change_standing(tenant_id, "test", 50, &mut |_, _| Ok(Some(standing.clone()))).unwrap()
}

fn records<S: Tenants + Deliveries>(store: &S, tenant_id: &str) -> Vec<Record> {
    let mut records = Vec::new();
    let taken = store.export(tenant_id, &mut |record| {
        records.push(record);
        Ok(())
    });
    taken.unwrap();
    records
}

/// Puts everything of one tenant into another store, or under another name.
pub(in crate::store) fn copy<S: Tenants + Deliveries, T: Tenants + Deliveries>(
    (from, of): (&S, &str),
    (to, tenant_id): (&T, &str),
) {
    make(to, tenant_id, &Standing::Arriving { frozen_at: None });
    let mut putting = Putting::new(to, tenant_id);
    from.export(of, &mut |record| if matches!(record, Record::Claim { .. }) { Ok(()) } else { putting.put(record, 1) })
        .unwrap();
    putting.flush().unwrap();
}

/// What is written while it is read is not in it; and what was read makes the same tenant elsewhere.
fn copies_a_tenant_as_of_one_moment<S: Tenants + Deliveries>(open: &impl Fn() -> S) {
    let (store, other) = (open(), open());
    fill(&store, "whole-1");
    fill(&store, "whole-x");
    let before = records(&store, "whole-1");
    let mut during = Vec::new();
    let taken = store.export("whole-1", &mut |record| {
        if during.is_empty() {
            let write = |rows: &mut super::super::Rows<'_>| rows.put_row(TABLE, &key(5, 5), row(2, 1, 1));
            other.transact(&name("whole-1", "a"), write)?;
            other.note_heard(&name("whole-1", "new"), Heard::Alive, 9)?;
        }
        during.push(record);
        Ok(())
    });
    taken.unwrap();
    assert!(during == before, "{} and {} records", during.len(), before.len());
    assert_eq!(records(&store, "whole-1").len(), before.len() + 3, "a row, the sum of its day, a box");
    let boxes: Vec<&str> = before
        .iter()
        .filter_map(|record| if let Record::State { box_id, .. } = record { Some(box_id.as_str()) } else { None })
        .collect();
    assert_eq!(boxes, ["a", "b-10", "b-2"]);
    let count = |wanted: fn(&Record) -> bool| before.iter().filter(|record| wanted(record)).count();
    assert_eq!(count(|record| matches!(record, Record::Row { .. })), 1_104 + 3 + 3);
    assert_eq!(count(|record| matches!(record, Record::Row { columns: None, .. })), 3);
    assert_eq!(count(|record| matches!(record, Record::Claim { .. })), 2);

    copy((&store, "whole-1"), (&other, "whole-2"));
    assert_eq!(summary(&store, "whole-2").unwrap(), summary(&store, "whole-1").unwrap());
    assert_ne!(summary(&store, "whole-x").unwrap(), summary(&store, "whole-1").unwrap());
    make(&store, "whole-2", &Standing::Open);
    let read = |tenant_id: &str| {
        let of = name(tenant_id, "a");
        store.transact(&of, |rows| Ok((rows.box_state()?, rows.day_sums(TABLE, 2)?, rows.row(TABLE, &key(9, 9))?)))
    };
    assert_eq!(read("whole-2").unwrap(), read("whole-1").unwrap());
    let renamed = |tenant_id: &str| {
        let mut boxes = store.boxes(tenant_id).unwrap();
        boxes.iter_mut().for_each(|record| record.name.tenant_id.clear());
        boxes
    };
    assert_eq!(renamed("whole-2"), renamed("whole-1"));
    let document = |tenant_id| store.document(&Place { tenant_id, kind: DocumentKind::Box, name: "a" }).unwrap();
    let json = |text: Option<String>| serde_json::from_str::<serde_json::Value>(&text.unwrap()).unwrap();
    assert_eq!(json(document("whole-2")), json(document("whole-1")));
    assert!(store.tenants().unwrap().contains(&"whole-2".to_owned()), "also without a code");
}

/// Whatever would change something is refused, and leaves nothing; everything can be read.
fn takes_nothing_of_a_tenant_that_is_not_here<S: Tenants + Deliveries>(store: &S) {
    fill(store, "shut");
    let of = name("shut", "a");
    assert_eq!(store.standing("shut").unwrap().standing, Standing::Open);
    assert_eq!(store.standing("nobody").unwrap().standing, Standing::Open);
    let before = records(store, "shut");
    let erasure = Erasure { boxes: 1, rows: 2, documents: 3, claims: 4, done_at: None, recordings: 0 };
    for standing in [
        Standing::Frozen { at: 50 },
        Standing::Arriving { frozen_at: Some(50) },
        Standing::Ready { frozen_at: None },
        Standing::Elsewhere { endpoint: "b:1".to_owned() },
        Standing::Erased(erasure),
    ] {
        let changed = make(store, "shut", &standing);
        assert_eq!(store.standing("shut").unwrap(), changed);
        assert_eq!((changed.changed_at, changed.changed_by.as_str()), (50, "test"));
        assert!(store.standings().unwrap().contains(&changed));
        assert!(!store.tenants().unwrap().contains(&"shut".to_owned()), "{standing:?}");
        let place = Place { tenant_id: "shut", kind: DocumentKind::Box, name: "a" };
        let document = || Ok(Change { body: Some("{}".to_owned()), news: true, answer: () });
        for (what, done) in [
            ("rows", store.transact(&of, |rows| rows.put_row(TABLE, &key(1, 1), row(2, 8, 1)))),
            ("a claim", store.enroll(&of, 90)),
            ("a sign of life", store.note_heard(&of, Heard::Alive, 90).map(drop)),
            ("a revocation", store.revoke(&of, 90).map(drop)),
            ("a document", store.change_document(&place, 90, |_| document())),
        ] {
            let refused = done.unwrap_err();
            let StoreError::NotHere { tenant_id, standing: said } = &refused else { panic!("{what}: {refused}") };
            assert_eq!((tenant_id.as_str(), &**said), ("shut", &standing), "{what}");
        }
        let is_elsewhere = matches!(standing, Standing::Elsewhere { .. });
        let code = Claim { code_sha256: [77; 32], tenant_id: "shut".to_owned(), expires_at: 1 };
        assert_eq!(store.add_claim(&code).is_ok(), is_elsewhere, "{standing:?}");
        let unchanged = records(store, "shut");
        assert!(unchanged[..before.len() - 2] == before[..before.len() - 2], "{standing:?}");
        assert!(!store.is_revoked(&of).unwrap());
    }
    let heard: Vec<BoxName> = store.news(49).unwrap().into_iter().map(|(of, _)| of).collect();
    assert!(heard.contains(&of), "its streams are told");
    let kept = store.change_standing("shut", "somebody", 60, &mut |_, _| Ok(None)).unwrap();
    assert_eq!(kept.changed_by, "test");
    store.change_standing("shut", "somebody", 60, &mut |_, _| Err(StoreError::DiskFull)).unwrap_err();
    make(store, "shut", &Standing::Open);
    store.note_heard(&of, Heard::Alive, 91).unwrap();
}

/// Nothing is left of it, in as many transactions as it takes, and nobody else's is touched.
fn wipes_what_nobody_counts_on<S: Tenants + Deliveries>(store: &S) {
    fill(store, "wiped");
    fill(store, "spared");
    let spared = records(store, "spared");
    for standing in [Standing::Open, Standing::Frozen { at: 1 }, Standing::Ready { frozen_at: Some(1) }] {
        make(store, "wiped", &standing);
        assert!(matches!(store.wipe_some("wiped"), Err(StoreError::NotHere { .. })), "{standing:?}");
    }
    let here = store.holdings("wiped").unwrap();
    assert_eq!(here, Holdings { boxes: 2, rows: 1_107, documents: 1, claims: 2, is_empty: false });
    make(store, "wiped", &Standing::Elsewhere { endpoint: "b:1".to_owned() });
    assert!(store.wipe_some("wiped").unwrap(), "not all at once");
    wipe(store, "wiped").unwrap();
    let left = records(store, "wiped");
    assert!(
        matches!(left.as_slice(), [Record::Claim { box_id: None, .. }]),
        "a code that is worth something: {left:?}"
    );
    let here = store.holdings("wiped").unwrap();
    assert_eq!(here, Holdings { claims: 1, is_empty: true, ..Holdings::default() });
    let erasure = Erasure { boxes: 2, rows: 1_107, documents: 1, claims: 2, done_at: Some(9), recordings: 0 };
    make(store, "wiped", &Standing::Erased(erasure));
    wipe(store, "wiped").unwrap();
    assert!(records(store, "wiped").is_empty());
    assert!(store.news(0).unwrap().iter().all(|(of, _)| of.tenant_id != "wiped"));
    assert!(records(store, "spared") == spared);
}

/// A record that cannot be kept, or one that is there, takes those beside it with it.
fn puts_records_whole_or_not_at_all<S: Tenants + Deliveries>(store: &S) {
    let day = |day: i64, hash: &str| Record::Day {
        box_id: "a".to_owned(),
        table: TABLE.to_owned(),
        epoch: 1,
        day,
        rows: 1,
        hash: hash.to_owned(),
    };
    let (right, zeros) = ("00ff".repeat(8), "00".repeat(16));
    let refused = store.put_records("putting", &[day(1, &right)]).unwrap_err();
    assert!(matches!(refused, StoreError::NotHere { .. }), "{refused}");
    make(store, "putting", &Standing::Arriving { frozen_at: None });
    let columns = Record::Row {
        box_id: "a".to_owned(),
        table: TABLE.to_owned(),
        key: key(1, 1),
        epoch: 1,
        row_version: 1,
        applied: 1,
        hash: right.clone(),
        columns: Some(serde_json::json!({ "mood": [1] })),
    };
    let recording = Record::Recording { box_id: "a".to_owned(), sha256: right.clone(), size_bytes: 1 };
    for (wrong, expected) in
        [(day(2, "00ff"), "32 hexadecimal"), (columns, "mood"), (recording, "recording"), (day(1, &zeros), "")]
    {
        let error = store.put_records("putting", &[day(1, &right), wrong]).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
        assert!(records(store, "putting").is_empty());
    }
    store.put_records("putting", &[day(1, &right)]).unwrap();
    assert_eq!(records(store, "putting"), [day(1, &right)]);
}
