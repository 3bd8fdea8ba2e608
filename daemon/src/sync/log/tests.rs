use super::*;
use crate::storage::{CallId, Direction, PeerAddressKind, mark_answered, stop_sms};
use crate::storage::{NewSession, Storage, StorageConfig, insert_session};

const WIDE: Limits = Limits { rows: 1_000, bytes: 1_000_000 };
const DAY_MS: i64 = 86_400_000;

struct Rig {
    _dir: tempfile::TempDir,
    storage: Storage,
    reader: Reader,
    calls: std::cell::Cell<u8>,
}

impl Rig {
    fn new() -> Rig {
        let dir = tempfile::tempdir().unwrap();
        let storage = Storage::open(&StorageConfig::new(dir.path())).unwrap().storage;
        Rig { _dir: dir, storage, reader: Reader::default(), calls: std::cell::Cell::default() }
    }

    fn write<T: Send + 'static>(&self, job: impl FnOnce(&Connection) -> Result<T, StorageError> + Send + 'static) -> T {
        self.storage.write_blocking(move |sql_tx| job(sql_tx)).unwrap()
    }

    fn run(&self, sql: &'static str) {
        self.write(move |db| Ok(db.execute_batch(sql)?));
    }

    /// A call that began on this day. Its key is not made by the clock: that one goes forward only, in all tests together.
    fn call(&self, day: i64) -> CallId {
        self.calls.set(self.calls.get() + 1);
        let at = UnixMs(day * DAY_MS + 1_000);
        let mut order = [0; 10];
        order[0] = self.calls.get();
        let key = uuid::Builder::from_unix_timestamp_millis(at.0.unsigned_abs(), &order);
        let call_id = CallId::from(key.into_uuid());
        let new = NewSession {
            call_id,
            direction: Direction::Inbound,
            trunk: "office".to_owned(),
            peer_address_kind: PeerAddressKind::Private,
            caller_id: None,
            called: None,
            sip_call_id: "1@example.org".to_owned(),
            started_at: at,
        };
        self.write(move |db| insert_session(db, &new));
        call_id
    }

    fn stretch(&mut self, after: i64, limits: Limits) -> Stretch {
        let reader = &mut self.reader;
        self.storage.read_blocking(|db| reader.stretch(db, after, limits, &BTreeSet::new(), None)).unwrap()
    }

    /// The sums with those of every day.
    fn sums(&self, reader: &mut Reader) -> Vec<TableDigest> {
        let by_day = TABLES.iter().map(|table| table.name.to_owned()).collect();
        let read = |db: &Connection| reader.stretch(db, log_head(db)?, WIDE, &BTreeSet::new(), Some(&by_day));
        self.storage.read_blocking(read).unwrap().sums.unwrap()
    }

    fn entries(&self) -> i64 {
        self.storage
            .read_blocking(|db| Ok(db.query_row("SELECT count(*) FROM change_log", [], |row| row.get(0))?))
            .unwrap()
    }
}

/// A table, keys and versions of its rows, and how many are gone.
type Rows<'a> = (&'a str, Vec<(&'a str, i64)>, usize);

fn rows(tables: &[TableRows]) -> Vec<Rows<'_>> {
    let rows = |table: &TableRows| table.rows.iter().map(|row| row.row_version).collect::<Vec<_>>();
    let keyed = |table| rows(table).into_iter();
    tables
        .iter()
        .map(|table| {
            let keys = table.rows.iter().map(|row| row.key.as_str());
            (table.table.as_str(), keys.zip(keyed(table)).collect(), table.deleted_keys.len())
        })
        .collect()
}

/// A row that changed three times is sent once, as it is now; a row that came and went is only gone.
#[test]
fn a_stretch_is_the_rows_as_they_are_now() {
    let mut rig = Rig::new();
    let kept = rig.call(1);
    let gone = rig.call(2);
    rig.write(move |db| {
        mark_answered(db, kept, UnixMs(5))?;
        db.execute("DELETE FROM call_sessions WHERE call_id = ?1", [gone])?;
        stop_sms(db, "+491511234567", UnixMs(7))
    });
    let stretch = rig.stretch(0, WIDE);
    let kept = kept.to_string();
    assert_eq!((stretch.to, stretch.head), (5, 5));
    let got = rows(&stretch.tables);
    assert_eq!((got[0].0, &got[0].1[..], got[0].2), ("call_sessions", &[(kept.as_str(), 2)][..], 1));
    assert_eq!((got[1].0, got[1].1.len()), ("contacts", 1));
    let sessions = &stretch.tables[0];
    assert!(!sessions.columns.iter().any(|column| column == "call_id" || column == "row_version"));
    assert!(sessions.columns.iter().any(|column| column == "started_at"));
    assert_eq!(sessions.rows[0].values.len(), sessions.columns.len());
    assert_eq!(rig.stretch(5, WIDE), Stretch { to: 5, head: 5, ..Stretch::default() }, "nothing new");
}

#[test]
fn a_stretch_ends_where_a_batch_is_full_and_the_next_goes_on() {
    let mut rig = Rig::new();
    let calls: Vec<String> = (0..5).map(|day| rig.call(day).to_string()).collect();
    for limits in [Limits { rows: 2, ..WIDE }, Limits { bytes: 150, ..WIDE }] {
        let (mut after, mut got) = (0, Vec::new());
        while after < 5 {
            let stretch = rig.stretch(after, limits);
            assert!(stretch.to > after && stretch.to <= after + 2, "{stretch:?}");
            got.extend(stretch.tables.iter().flat_map(|table| &table.rows).map(|row| row.key.clone()));
            after = stretch.to;
        }
        assert_eq!(got, calls);
    }
}

/// Rows that no cloud would take, because they are too large, are nowhere: neither sent nor summed up.
#[test]
fn a_row_that_is_too_large_does_not_hold_up_the_others() {
    let mut rig = Rig::new();
    let (large, small) = (rig.call(1), rig.call(1));
    let before = rig.sums(&mut Reader::default());
    rig.run("UPDATE call_sessions SET summary = printf('%.*c', 600000, 'x') WHERE rowid = 1");
    let stretch = rig.stretch(0, WIDE);
    assert_eq!(rows(&stretch.tables)[0].1, [(small.to_string().as_str(), 1)]);
    let (after, to) = keys_of(1);
    let read = rig.storage.read_blocking(|db| range(db, "call_sessions", &after, &to, WIDE)).unwrap();
    assert_eq!(read.rows.unwrap().rows.len(), 1, "{large} is not there either");
    let after = rig.sums(&mut Reader::default());
    let count = |sums: &[TableDigest]| sums[2].sum.unwrap().rows;
    assert_eq!((count(&before), count(&after)), (2, 1));
}

#[test]
fn a_range_is_read_in_pieces_that_leave_nothing_out() {
    let rig = Rig::new();
    let calls: Vec<String> = (0..7).map(|at| rig.call(1 + i64::from(at == 6)).to_string()).collect();
    let (mut after, to) = keys_of(1);
    let mut got = Vec::new();
    while after != to {
        let limits = Limits { rows: 4, ..WIDE };
        let read = rig.storage.read_blocking(|db| range(db, "call_sessions", &after, &to, limits)).unwrap();
        let keys: Vec<_> = read.rows.iter().flat_map(|rows| &rows.rows).map(|row| row.key.clone()).collect();
        assert!(keys.iter().all(|key| *key > after && *key <= read.to));
        got.extend(keys);
        after = read.to;
    }
    assert_eq!(got, calls[..6], "the seventh is of another day");
    let unknown = rig.storage.read_blocking(|db| range(db, "sqlite_schema", "", "g", WIDE));
    assert!(matches!(unknown, Err(StorageError::Refused(_))));
}

/// Sums that are brought up to date are those that are made afresh, whatever happened, and also where the log was trimmed.
#[test]
fn sums_that_are_kept_are_those_of_a_fresh_read() {
    let rig = Rig::new();
    let mut reader = Reader::default();
    let calls: Vec<CallId> = (0..4).map(|day| rig.call(day)).collect();
    assert_eq!(rig.sums(&mut reader), rig.sums(&mut Reader::default()));
    let first = rig.sums(&mut reader);
    assert_eq!((first[2].days.len(), first[2].sum.unwrap().rows), (4, 4));
    let (answered, gone, trimmed) = (calls[0], calls[1], calls[2]);
    rig.write(move |db| {
        mark_answered(db, answered, UnixMs(5))?;
        Ok(db.execute("DELETE FROM call_sessions WHERE call_id = ?1", [gone])?)
    });
    let second = rig.sums(&mut reader);
    assert_eq!(second, rig.sums(&mut Reader::default()));
    assert_eq!(second[2].days.len(), 3);
    rig.write(move |db| {
        mark_answered(db, trimmed, UnixMs(5))?;
        Ok(db.execute("DELETE FROM change_log", [])?)
    });
    assert_eq!(rig.sums(&mut reader), rig.sums(&mut Reader::default()));
    rig.call(9);
    assert_eq!(rig.sums(&mut reader), rig.sums(&mut Reader::default()));
}

/// Sums are as of the entry they name: they are not there as long as the stretch does not reach the end of the log.
#[test]
fn sums_are_read_with_the_end_of_the_log_only() {
    let mut rig = Rig::new();
    for day in 0..3 {
        rig.call(day);
    }
    let none = BTreeSet::new();
    let limits = Limits { rows: 2, ..WIDE };
    let mut read = |after| {
        let reader = &mut rig.reader;
        rig.storage.read_blocking(|db| reader.stretch(db, after, limits, &none, Some(&none))).unwrap()
    };
    let (part, whole) = (read(0), read(2));
    assert_eq!((part.to, part.sums), (2, None));
    assert_eq!(whole.to, 3);
    let sums = whole.sums.unwrap();
    assert_eq!(sums.len(), TABLES.len());
    assert!(sums.iter().all(|table| table.days.is_empty()), "nobody asked for days");
}

#[test]
fn an_unknown_table_is_left_out_of_stretches_and_sums() {
    let mut rig = Rig::new();
    rig.call(1);
    let except = BTreeSet::from(["call_sessions".to_owned()]);
    let reader = &mut rig.reader;
    let read = |db: &Connection| reader.stretch(db, 0, WIDE, &except, Some(&BTreeSet::new()));
    let stretch = rig.storage.read_blocking(read).unwrap();
    assert_eq!((stretch.to, stretch.tables), (1, vec![]));
    assert!(!stretch.sums.unwrap().iter().any(|table| table.table == "call_sessions"));
}

#[test]
fn an_identity_is_made_once_and_each_restore_takes_a_later_epoch() {
    let rig = Rig::new();
    let first = rig.write(|db| identity(db, [1; 16]));
    assert_eq!(first, Identity { epoch: 1, incarnation: [1; 16], claiming: true });
    assert_eq!(rig.write(|db| identity(db, [2; 16])), first);
    rig.write(|db| {
        note_welcomed(db)?;
        note_acked(db, 5, UnixMs(1))?;
        note_equal(db, 5, UnixMs(1))
    });
    assert!(!rig.write(|db| identity(db, [2; 16])).claiming);
    let restored = rig.write(|db| next_epoch(db, 7, [3; 16]));
    assert_eq!(restored, Identity { epoch: 8, incarnation: [3; 16], claiming: true });
    assert_eq!(rig.write(|db| next_epoch(db, 2, [4; 16])).epoch, 9, "never back");
    let known = "SELECT (SELECT count(*) FROM sync_acks), (SELECT equal_seq FROM sync_state)";
    let known: (i64, Option<i64>) =
        rig.write(move |db| Ok(db.query_row(known, [], |row| Ok((row.get(0)?, row.get(1)?)))?));
    assert_eq!(known, (0, None), "what is known of the old epoch's cloud says nothing about the new one");
}

#[test]
fn entries_are_kept_for_a_week_after_the_cloud_has_them() {
    let rig = Rig::new();
    for day in 0..6 {
        rig.call(day);
    }
    rig.write(|db| {
        note_acked(db, 2, UnixMs(0))?;
        note_acked(db, 4, UnixMs(2 * DAY_MS))
    });
    let trimmed = |at: i64| rig.write(move |db| trim(db, 1_000, UnixMs(at)));
    assert_eq!(trimmed(7 * DAY_MS - 1), Trimmed::default());
    assert_eq!(trimmed(7 * DAY_MS), Trimmed { acked: 2, ..Trimmed::default() });
    assert_eq!(trimmed(300 * DAY_MS), Trimmed { acked: 2, ..Trimmed::default() });
    assert_eq!((rig.entries(), trimmed(900 * DAY_MS)), (2, Trimmed::default()), "what it does not have stays for ever");
    // A cloud that was restored from a backup does not have what it had.
    rig.write(|db| {
        note_acked(db, 6, UnixMs(0))?;
        note_acked(db, 4, UnixMs(0))
    });
    assert_eq!(trimmed(300 * DAY_MS), Trimmed::default());
}

#[test]
fn progress_is_what_the_cloud_has_and_what_it_does_not() {
    let rig = Rig::new();
    let progress = || rig.storage.read_blocking(progress).unwrap();
    assert_eq!(progress(), Progress::default());
    for day in 0..5 {
        rig.call(day);
    }
    assert_eq!(progress(), Progress { backlog: 5, ..Progress::default() });
    rig.write(|db| {
        identity(db, [1; 16])?;
        note_acked(db, 2, UnixMs(10))?;
        note_acked(db, 3, UnixMs(20))?;
        note_equal(db, 3, UnixMs(30))
    });
    let expected = Progress { acked: Some((3, UnixMs(20))), backlog: 2, equal: Some((3, UnixMs(30))) };
    assert_eq!(progress(), expected);
}

#[test]
fn a_budget_costs_first_what_is_said_twice_and_at_last_what_is_in_the_ledger() {
    let rig = Rig::new();
    let calls: Vec<CallId> = (0..6).map(|day| rig.call(day)).collect();
    let answered = calls[0];
    rig.write(move |db| {
        mark_answered(db, answered, UnixMs(5))?;
        note_acked(db, 3, UnixMs(0))
    });
    let trimmed = |budget| rig.write(move |db| trim(db, budget, UnixMs(1)));
    assert_eq!(trimmed(7), Trimmed::default());
    assert_eq!(trimmed(6), Trimmed { repeated: 1, ..Trimmed::default() });
    assert_eq!(trimmed(5), Trimmed { early: 1, ..Trimmed::default() });
    assert_eq!(rig.storage.read_blocking(losses).unwrap(), []);
    assert_eq!(trimmed(2), Trimmed { early: 1, lost: 2, ..Trimmed::default() });
    let loss = Loss { noted_at: UnixMs(1), seqs: (4, 5), entries: 2, reason: "log_budget".to_owned() };
    assert_eq!((rig.storage.read_blocking(losses).unwrap(), rig.entries()), (vec![loss], 2));
}
