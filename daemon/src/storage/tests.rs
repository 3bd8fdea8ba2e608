//! How the whole storage behaves: group commit, durability, disk full, damage, snapshots.

use std::sync::{Barrier, mpsc::sync_channel};

use rusqlite::params;

use super::*;
use crate::redact::Redacted;

pub(super) fn session_at(call_id: CallId, at: i64) -> NewSession {
    NewSession {
        call_id,
        direction: Direction::Inbound,
        trunk: "office".to_owned(),
        peer_address_kind: PeerAddressKind::Private,
        caller_id: Some(Redacted::new("+4915112345678".to_owned())),
        called: Some(Redacted::new("100".to_owned())),
        sip_call_id: "a84b4c76e66710@example.org".to_owned(),
        started_at: UnixMs(at),
    }
}

/// A call that has just begun to ring.
pub(super) fn ringing(storage: &Storage) -> CallId {
    let call_id = CallId::new(UnixMs(1_000));
    storage.write_blocking(move |sql_tx| insert_session(sql_tx, &session_at(call_id, 1_000))).unwrap();
    call_id
}

pub(super) fn open() -> (tempfile::TempDir, Storage) {
    let dir = tempfile::tempdir().unwrap();
    let storage = Storage::open(&StorageConfig::new(dir.path())).unwrap().storage;
    (dir, storage)
}

fn turn(call_id: CallId, index: u32) -> ConversationTurn {
    ConversationTurn::new(call_id, index, Speaker::Caller, "Do you have parking?", UnixMs(2_000))
}

fn count(storage: &Storage, table: &'static str) -> i64 {
    storage
        .read_blocking(|db| Ok(db.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get(0))?))
        .unwrap()
}

/// Holds the writer inside a job until the returned sender is dropped, so that jobs pile up behind it.
fn hold_writer(storage: &Storage) -> (std::sync::mpsc::SyncSender<()>, Pending<()>) {
    let (release, held) = sync_channel::<()>(0);
    let (started, begun) = sync_channel::<()>(0);
    let pending = storage
        .try_write(move |_| {
            started.send(()).unwrap();
            let _ = held.recv();
            Ok(())
        })
        .ok()
        .unwrap();
    begun.recv().unwrap();
    (release, pending)
}

/// The row of a phone's call names the trunk that carries it; that of a call from a trunk keeps its own.
#[test]
fn only_calls_from_inside_are_named_after_the_trunk_that_carries_them() {
    let (_dir, storage) = open();
    let call_id = ringing(&storage);
    let named = |from: &'static str| {
        let outcome = storage.write_blocking(move |sql_tx| {
            sql_tx.execute("UPDATE call_sessions SET trunk = ?1", [from])?;
            name_trunk(sql_tx, call_id, "carrier", UnixMs(2_000))
        });
        outcome.unwrap();
        storage.read_blocking(|db| list_sessions(db, 1, None)).unwrap()[0].trunk.clone()
    };
    assert_eq!(named(INSIDE), "carrier");
    assert_eq!(named("other"), "other");
}

/// Whoever writes the knowledge sees what it lacks, the most wanted first, and no noise.
#[test]
fn questions_without_a_source_are_unanswered() {
    let (_dir, storage) = open();
    let call_id = ringing(&storage);
    let asked = [
        ("Do you sell bicycles?", "question", 2_000, false),
        ("do you sell bicycles", "question", 3_000, false),
        ("Do you have parking?", "question", 3_100, true),
        ("My tooth is purple.", "unknown", 3_200, false),
        ("Uh huh.", "unknown", 3_300, false),
        ("Goodbye.", "goodbye", 3_400, false),
        ("What did it cost last year?", "price", 900, false),
    ];
    for (index, (text, intent, at, answered)) in (0..).zip(asked) {
        let row = ConversationTurn {
            intent: Some(intent.to_owned()),
            sources: answered.then(|| "office.hours".to_owned()).into_iter().collect(),
            ..ConversationTurn::new(call_id, index, Speaker::Caller, text, UnixMs(at))
        };
        storage.write_blocking(move |sql_tx| insert_turn(sql_tx, &row)).unwrap();
    }
    let found = storage.read_blocking(|db| unanswered(db, UnixMs(1_000), 10)).unwrap();
    let shown: Vec<_> = found.iter().map(|one| (one.text.reveal().as_str(), one.times, one.asked_at.0)).collect();
    assert_eq!(shown, [("do you sell bicycles", 2, 3_000), ("My tooth is purple.", 1, 3_200)]);
    assert_eq!(found[0].call_id, call_id);
}

/// A call from ringing to its end, with everything that belongs to it, comes back as it was written.
#[test]
fn call_comes_back_as_written() {
    let (_dir, storage) = open();
    let call_id = ringing(&storage);
    let mut written = turn(call_id, 0);
    written.confidence = Some(0.93);
    written.intent = Some("parking".to_owned());
    written.intent_score = Some(0.71);
    let slots = serde_json::json!({ "day": "sunday", "people": 3 });
    written.slots = Redacted::new(slots.as_object().unwrap().clone());
    written.sources = vec!["office.hours".to_owned(), PassageId::new(UnixMs(4)).to_string()];
    written.answer = Some(Redacted::new("Yes, behind the house.".to_owned()));
    written.timings = TurnTimings {
        speech_ended_at: Some(UnixMs(1_990)),
        endpoint_decided_ms: Some(320),
        stt_ms: Some(118),
        understand_ms: Some(14),
        first_sentence_tts_ms: Some(0),
        tool_ms: Some(900),
        first_audio_ms: Some(480),
        heard_gap_ms: Some(520),
    };
    let metrics = CallMetrics {
        metrics_id: MetricsId::new(UnixMs(4_000)),
        call_id,
        leg: Leg::Caller,
        codec: "PCMU".to_owned(),
        packets_sent: 900,
        packets_received: 880,
        packets_lost: 20,
        packets_late: 2,
        packets_duplicated: 1,
        concealed_ms: 400,
        jitter_ms: Some(3.25),
        jitter_max_ms: Some(31.0),
        round_trip_ms: None,
        send_late_max_ms: Some(1.5),
        mos: Some(4.1),
        created_at: UnixMs(4_000),
    };
    let (row, leg) = (written.clone(), metrics.clone());
    storage
        .write_blocking(move |sql_tx| {
            mark_answered(sql_tx, call_id, UnixMs(1_500))?;
            insert_turn(sql_tx, &row)?;
            add_metrics(sql_tx, &leg)?;
            update_heard(sql_tx, row.turn_id, &Redacted::new("Yes, behind".to_owned()), 640, UnixMs(2_500))?;
            set_summary(sql_tx, call_id, &Redacted::new("Asked for parking.".to_owned()), UnixMs(3_900))?;
            let end = EndedSession {
                ended_at: UnixMs(4_000),
                termination: Termination::Success,
                hangup_cause: "caller_hangup",
                disposition: Some("answered_by_attendant"),
            };
            end_session(sql_tx, call_id, end)
        })
        .unwrap();
    written.heard = Some(Redacted::new("Yes, behind".to_owned()));
    written.interrupted_at_ms = Some(640);
    let detail = storage.read_blocking(|db| session_detail(db, &call_id.to_string())).unwrap();
    assert_eq!(detail.turns, [written]);
    assert_eq!(detail.metrics, [metrics]);
    let session = detail.session;
    assert_eq!(session.talk_ms(), Some(2_500));
    assert_eq!((session.state, session.termination), (SessionState::Ended, Some(Termination::Success)));
    assert_eq!(session.hangup_cause.as_deref(), Some("caller_hangup"));
    assert_eq!(session.caller_id.as_ref().unwrap().reveal(), "+4915112345678");
    assert_eq!(session.row_version, 4, "one for each of three updates");
    assert!(!format!("{session:?}").contains("15112345678"), "a number must not be printed by accident");
}

/// A call is answered once and ended once; an unknown one is named as such.
#[test]
fn call_states_only_go_forward() {
    let (_dir, storage) = open();
    let call_id = ringing(&storage);
    let end = EndedSession {
        ended_at: UnixMs(9),
        termination: Termination::CallerError,
        hangup_cause: "cancelled",
        disposition: None,
    };
    storage.write_blocking(move |sql_tx| end_session(sql_tx, call_id, end)).unwrap();
    let again = storage.write_blocking(move |sql_tx| end_session(sql_tx, call_id, end));
    assert!(matches!(again, Err(StorageError::NotFound("open call"))));
    let answered = storage.write_blocking(move |sql_tx| mark_answered(sql_tx, call_id, UnixMs(10)));
    assert!(matches!(answered, Err(StorageError::NotFound("ringing call"))));
    let other = CallId::new(UnixMs(1));
    let bad_cause = EndedSession { hangup_cause: "Has Spaces", ..end };
    storage.write_blocking(move |sql_tx| insert_session(sql_tx, &session_at(other, 1))).unwrap();
    let refused = storage.write_blocking(move |sql_tx| end_session(sql_tx, other, bad_cause));
    assert!(refused.unwrap_err().is_constraint());
}

/// After a crash each open call is closed once, with the last sign of life as its end; ended ones stay as they are.
#[test]
fn open_calls_are_interrupted_at_start() {
    let (dir, storage) = open();
    let calls: Vec<CallId> = (0..3).map(|n| CallId::new(UnixMs(n))).collect();
    let ids = calls.clone();
    storage
        .write_blocking(move |sql_tx| {
            for (id, at) in ids.iter().zip([100, 200, 300]) {
                insert_session(sql_tx, &session_at(*id, at))?;
            }
            mark_answered(sql_tx, ids[1], UnixMs(250))?;
            insert_turn(sql_tx, &turn(ids[1], 0))?;
            let end = EndedSession {
                ended_at: UnixMs(400),
                termination: Termination::Success,
                hangup_cause: "caller_hangup",
                disposition: None,
            };
            end_session(sql_tx, ids[2], end)
        })
        .unwrap();
    drop(storage);
    let storage = Storage::open(&StorageConfig::new(dir.path())).unwrap().storage;
    let closed = storage.write_blocking(|sql_tx| close_interrupted_sessions(sql_tx, UnixMs(99_999))).unwrap();
    assert_eq!(closed, 2);
    let sessions = storage.read_blocking(|db| list_sessions(db, 10, None)).unwrap();
    let got: Vec<_> = sessions.iter().map(|s| (s.state, s.hangup_cause.as_deref().unwrap(), s.ended_at)).collect();
    assert_eq!(
        got,
        [
            (SessionState::Ended, "caller_hangup", Some(UnixMs(400))),
            (SessionState::Interrupted, "daemon_restarted", Some(UnixMs(2_000))),
            (SessionState::Interrupted, "daemon_restarted", Some(UnixMs(100))),
        ]
    );
    assert_eq!(storage.write_blocking(|sql_tx| close_interrupted_sessions(sql_tx, UnixMs(1))).unwrap(), 0);
}

#[test]
fn calls_are_listed_newest_first_and_found_by_prefix() {
    let (_dir, storage) = open();
    let ids: Vec<CallId> = (1..=5).map(|n| CallId::new(UnixMs(n << 20))).collect();
    let written = ids.clone();
    storage
        .write_blocking(move |sql_tx| {
            written.iter().zip(1..).try_for_each(|(id, n)| insert_session(sql_tx, &session_at(*id, n << 20)))
        })
        .unwrap();
    let page = |before| storage.read_blocking(|db| list_sessions(db, 2, before)).unwrap();
    let first = page(None);
    assert_eq!(first.iter().map(|s| s.call_id).collect::<Vec<_>>(), [ids[4], ids[3]]);
    let second = page(Some(first[1].started_at));
    assert_eq!(second.iter().map(|s| s.call_id).collect::<Vec<_>>(), [ids[2], ids[1]]);
    let find = |prefix: &str| storage.read_blocking(|db| find_call(db, prefix));
    let whole = ids[2].to_string();
    assert_eq!(find(&whole).unwrap(), ids[2]);
    // With the counter of the keys, which tells them apart when another test has made one of a later time before.
    assert_eq!(find(&whole[..30].to_uppercase()).unwrap(), ids[2]);
    assert!(matches!(find("0"), Err(StorageError::Ambiguous { .. })));
    for nothing in ["ff", "", "0%", "0_", "'; DROP TABLE call_sessions; --"] {
        assert!(matches!(find(nothing), Err(StorageError::NotFound("call"))), "{nothing}");
    }
}

/// Every change leaves one entry, in order, and an update raises the row's version.
#[test]
fn triggers_note_every_change() {
    let (_dir, storage) = open();
    let call_id = ringing(&storage);
    storage.write_blocking(move |sql_tx| mark_answered(sql_tx, call_id, UnixMs(5))).unwrap();
    let failed = storage.write_blocking(move |sql_tx| -> Result<(), StorageError> {
        insert_turn(sql_tx, &turn(call_id, 0))?;
        Err(StorageError::Refused("on purpose"))
    });
    assert!(failed.is_err());
    storage
        .write_blocking(move |sql_tx| {
            insert_turn(sql_tx, &turn(call_id, 0))?;
            sql_tx.execute("DELETE FROM call_sessions WHERE call_id = ?1", [call_id])?;
            Ok(())
        })
        .unwrap();
    let changes = storage.read_blocking(|db| changes_after(db, 0, 100)).unwrap();
    let got: Vec<_> = changes.iter().map(|change| (change.table.as_str(), change.op)).collect();
    assert_eq!(
        got,
        [
            ("call_sessions", ChangeOp::Insert),
            ("call_sessions", ChangeOp::Update),
            ("conversation_turns", ChangeOp::Insert),
            // The cascade deletes the turn first; the undone turn left no trace.
            ("conversation_turns", ChangeOp::Delete),
            ("call_sessions", ChangeOp::Delete),
        ]
    );
    assert!(changes.iter().all(|change| change.table != "call_sessions" || change.key == call_id.to_string()));
    assert!(changes.windows(2).all(|pair| pair[0].seq < pair[1].seq));
    let rest = storage.read_blocking(|db| changes_after(db, changes[2].seq, 1)).unwrap();
    assert_eq!(rest, changes[3..4]);
}

/// Each table of records has its four triggers: a new table without them would never reach the cloud.
#[test]
fn every_record_table_is_in_the_change_log() {
    let (_dir, storage) = open();
    // A row that is versioned is one that others read: sync, standby and backup.
    let versioned = storage.read_blocking(|db| {
        let sql = "SELECT tables.name FROM pragma_table_list AS tables, pragma_table_info(tables.name) AS columns
            WHERE tables.schema = 'main' AND columns.name = 'row_version' ORDER BY tables.name";
        let names = db.prepare(sql)?.query_map([], |row| row.get(0))?.collect::<Result<Vec<String>, _>>()?;
        Ok(names)
    });
    let tables = crate::sync::TABLES.map(|table| table.name);
    assert_eq!(versioned.unwrap(), tables, "a versioned table belongs into sync::TABLES, and into the cloud's");
    for table in tables {
        for suffix in ["inserted", "versioned", "updated", "deleted"] {
            let name = format!("{table}_{suffix}");
            let sql: String = storage
                .read_blocking(|db| {
                    let sql = "SELECT sql FROM sqlite_schema WHERE type = 'trigger' AND name = ?1 AND tbl_name = ?2";
                    Ok(db.query_row(sql, params![name, table], |row| row.get(0))?)
                })
                .unwrap();
            assert!(suffix == "versioned" || sql.contains(&format!("'{table}'")), "{name}");
        }
    }
}

/// Jobs that wait share a commit: 200 writers, a handful of flushes.
#[test]
fn waiting_writers_share_a_commit() {
    let (_dir, storage) = open();
    let call_id = ringing(&storage);
    let before = storage.stats();
    let (release, held) = hold_writer(&storage);
    let barrier = Arc::new(Barrier::new(9));
    let threads: Vec<_> = (0..8_u32)
        .map(|thread| {
            let (storage, barrier) = (storage.clone(), Arc::clone(&barrier));
            std::thread::spawn(move || {
                let pending: Vec<_> = (0..25)
                    .map(|n| {
                        storage
                            .try_write(move |sql_tx| insert_turn(sql_tx, &turn(call_id, thread * 25 + n)))
                            .ok()
                            .unwrap()
                    })
                    .collect();
                barrier.wait();
                pending.into_iter().for_each(|pending| pending.wait().unwrap());
            })
        })
        .collect();
    barrier.wait();
    drop(release);
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    held.wait().unwrap();
    let stats = storage.stats();
    assert_eq!(count(&storage, "conversation_turns"), 200);
    assert_eq!(stats.jobs_committed_total - before.jobs_committed_total, 201);
    assert_eq!(stats.commits_total - before.commits_total, 1, "all were queued behind the held job");
}

/// A group is bounded: 600 waiting jobs are three commits, not one endless one.
#[test]
fn groups_are_bounded() {
    let (_dir, storage) = open();
    let before = storage.stats().commits_total;
    let (release, held) = hold_writer(&storage);
    let pending: Vec<_> = (0..600).map(|_| storage.try_write(|_| Ok(())).ok().unwrap()).collect();
    drop(release);
    held.wait().unwrap();
    pending.into_iter().for_each(|pending| pending.wait().unwrap());
    assert_eq!(storage.stats().commits_total - before, 3, "601 jobs in groups of 256");
}

/// A job that fails or panics is undone alone, even if it stands in the middle of a group.
#[test]
fn failing_jobs_do_not_take_others_with_them() {
    let (_dir, storage) = open();
    let call_id = ringing(&storage);
    let (release, held) = hold_writer(&storage);
    let good = storage.try_write(move |sql_tx| insert_turn(sql_tx, &turn(call_id, 0))).ok().unwrap();
    let taken = storage
        .try_write(move |sql_tx| {
            insert_turn(sql_tx, &turn(call_id, 1))?;
            insert_turn(sql_tx, &turn(call_id, 0))
        })
        .ok()
        .unwrap();
    let panicking = storage
        .try_write(move |sql_tx| -> Result<(), StorageError> {
            insert_turn(sql_tx, &turn(call_id, 2))?;
            panic!("a bug of ours")
        })
        .ok()
        .unwrap();
    let last = storage.try_write(move |sql_tx| insert_turn(sql_tx, &turn(call_id, 3))).ok().unwrap();
    drop(release);
    held.wait().unwrap();
    good.wait().unwrap();
    assert!(taken.wait().unwrap_err().is_constraint());
    assert!(matches!(panicking.wait(), Err(StorageError::JobPanicked)));
    last.wait().unwrap();
    let turns = storage.read_blocking(|db| turns_of(db, call_id)).unwrap();
    assert_eq!(turns.iter().map(|turn| turn.turn_index).collect::<Vec<_>>(), [0, 3]);
    assert_eq!(storage.stats().jobs_failed_total, 2);
}

/// A transaction that ends under its jobs fails them all, with the reason; the next one works.
#[test]
fn broken_transaction_fails_its_whole_group() {
    let (_dir, storage) = open();
    let call_id = ringing(&storage);
    let (release, held) = hold_writer(&storage);
    let first = storage.try_write(move |sql_tx| insert_turn(sql_tx, &turn(call_id, 0))).ok().unwrap();
    let breaking = storage
        .try_write(|sql_tx| -> Result<(), StorageError> {
            // What SQLite does by itself when it cannot write.
            sql_tx.execute_batch("ROLLBACK")?;
            Err(StorageError::Refused("as on a full disk"))
        })
        .ok()
        .unwrap();
    let next = storage.try_write(move |sql_tx| insert_turn(sql_tx, &turn(call_id, 1))).ok().unwrap();
    drop(release);
    assert!(matches!(held.wait(), Err(StorageError::Refused("as on a full disk"))));
    assert!(matches!(first.wait(), Err(StorageError::Refused("as on a full disk"))));
    assert!(matches!(breaking.wait(), Err(StorageError::Refused("as on a full disk"))));
    next.wait().unwrap();
    let turns = storage.read_blocking(|db| turns_of(db, call_id)).unwrap();
    assert_eq!(turns.iter().map(|turn| turn.turn_index).collect::<Vec<_>>(), [1]);
}

/// What may wait is run before what came later, and by itself when nothing comes.
#[tokio::test]
async fn jobs_that_may_wait_keep_their_place() {
    let (_dir, storage) = open();
    let call_id = CallId::new(UnixMs(1));
    let inserted = storage.write_soon(move |sql_tx| insert_session(sql_tx, &session_at(call_id, 1))).await.unwrap();
    storage.write(move |sql_tx| mark_answered(sql_tx, call_id, UnixMs(2))).await.unwrap();
    inserted.await.unwrap();
    let alone = storage.write_soon(move |sql_tx| insert_turn(sql_tx, &turn(call_id, 0))).await.unwrap();
    alone.await.unwrap();
    assert_eq!(count(&storage, "conversation_turns"), 1);
}

/// A full queue says so to those who cannot wait, and takes jobs again afterwards.
#[test]
fn full_queue_is_reported() {
    let dir = tempfile::tempdir().unwrap();
    let config = StorageConfig { queue_jobs: 2, ..StorageConfig::new(dir.path()) };
    let storage = Storage::open(&config).unwrap().storage;
    let (release, held) = hold_writer(&storage);
    let waiting: Vec<_> = (0..2).map(|_| storage.try_write(|_| Ok(())).ok().unwrap()).collect();
    assert!(matches!(storage.try_write(|_| Ok(())), Err(StorageError::QueueFull)));
    drop(release);
    held.wait().unwrap();
    waiting.into_iter().for_each(|pending| pending.wait().unwrap());
    storage.try_write(|_| Ok(())).ok().unwrap().wait().unwrap();
}

/// Readers see what was committed when they began: neither an open transaction nor a later commit.
#[tokio::test]
async fn readers_see_one_committed_state() {
    let (_dir, storage) = open();
    let call_id = CallId::new(UnixMs(1));
    let (release, held) = sync_channel::<()>(0);
    let (started, begun) = tokio::sync::oneshot::channel();
    let writing = storage
        .try_write(move |sql_tx| {
            insert_session(sql_tx, &session_at(call_id, 1))?;
            started.send(()).unwrap();
            let _ = held.recv();
            Ok(())
        })
        .ok()
        .unwrap();
    begun.await.unwrap();
    let calls = |db: &Connection| Ok(list_sessions(db, 10, None)?.len());
    assert_eq!(storage.read(calls).await.unwrap(), 0, "not committed yet");
    let writer = storage.clone();
    let (before, after) = storage
        .reader()
        .read(move |db| {
            let before = list_sessions(db, 10, None)?.len();
            drop(release);
            writer.write_blocking(|_| Ok(()))?;
            Ok((before, list_sessions(db, 10, None)?.len()))
        })
        .await
        .unwrap();
    assert_eq!((before, after), (0, 0), "a snapshot does not move");
    writing.await.unwrap();
    assert_eq!(storage.read(calls).await.unwrap(), 1);
    let written = storage.read(|db| Ok(db.execute("DELETE FROM call_sessions", [])?)).await;
    assert!(written.is_err(), "readers cannot write");
    let panicked = storage.read(|_| -> Result<(), StorageError> { panic!("a bug of ours") }).await;
    assert!(matches!(panicked, Err(StorageError::JobPanicked)));
    assert_eq!(storage.read(calls).await.unwrap(), 1, "the connection came back");
}

/// A full disk is named with folder and free bytes; nothing half-written stays, and later writes succeed.
#[test]
fn full_disk_is_reported_and_survived() {
    let (dir, storage) = open();
    let call_id = ringing(&storage);
    let pages: i64 = storage
        .write_blocking(|sql_tx| {
            let pages: i64 = sql_tx.query_row("PRAGMA page_count", [], |row| row.get(0))?;
            sql_tx.query_row(&format!("PRAGMA max_page_count = {}", pages + 4), [], |_| Ok(()))?;
            Ok(pages)
        })
        .unwrap();
    let fill = |index: u32| {
        let mut long = turn(call_id, index);
        long.text = Redacted::new("x".repeat(3_000));
        storage.write_blocking(move |sql_tx| insert_turn(sql_tx, &long))
    };
    let results: Vec<_> = (0..20).map(fill).collect();
    let written = results.iter().take_while(|result| result.is_ok()).count();
    assert!((1..20).contains(&written), "{written}");
    let error = results[written].as_ref().unwrap_err();
    let StorageError::DiskFull { free_bytes, dir: named } = error else { panic!("{error:?}") };
    assert!(*free_bytes > 0);
    assert_eq!(named, dir.path());
    assert!(error.to_string().starts_with(&format!("disk full: {free_bytes} bytes free in {}", dir.path().display())));
    assert_eq!(count(&storage, "conversation_turns"), i64::try_from(written).unwrap());
    storage
        .write_blocking(move |sql_tx| {
            Ok(sql_tx.query_row(&format!("PRAGMA max_page_count = {}", pages + 4_000), [], |_| Ok(()))?)
        })
        .unwrap();
    fill(100).unwrap();
}

/// Closing commits what is queued, empties the write-ahead log, and refuses what comes later.
#[tokio::test]
async fn close_drains_and_checkpoints() {
    let (dir, storage) = open();
    let call_id = CallId::new(UnixMs(1));
    let mut pending =
        vec![storage.try_write(move |sql_tx| insert_session(sql_tx, &session_at(call_id, 1))).ok().unwrap()];
    for index in 0..50 {
        pending.push(storage.try_write(move |sql_tx| insert_turn(sql_tx, &turn(call_id, index))).ok().unwrap());
    }
    storage.close().await;
    for pending in pending {
        pending.await.unwrap();
    }
    let wal = std::fs::metadata(dir.path().join("offhook.db-wal")).map_or(0, |file| file.len());
    assert_eq!(wal, 0);
    assert!(matches!(storage.write(|_| Ok(())).await, Err(StorageError::Closed)));
    assert!(matches!(storage.try_write(|_| Ok(())), Err(StorageError::Closed)));
    storage.close().await;
    let reader = Reader::open(dir.path(), 1).unwrap();
    assert_eq!(reader.read_blocking(|db| turns_of(db, call_id)).unwrap().len(), 50);
}

/// Only what phones said over trunks, and only of calls that have ended since.
#[test]
fn the_time_talked_outside_is_that_of_trunks() {
    let (_dir, storage) = open();
    let day = UnixMs(1_000_000);
    for (started, lasted, direction, trunk) in [
        (900_000, 200_000, Direction::Outbound, "carrier"),
        (1_500_000, 60_000, Direction::Outbound, "carrier"),
        (1_600_000, 7_000, Direction::Outbound, INSIDE),
        (1_700_000, 8_000, Direction::Inbound, "carrier"),
        (100_000, 9_000, Direction::Outbound, "carrier"),
    ] {
        let call_id = CallId::new(UnixMs(started));
        let session = NewSession { direction, trunk: trunk.to_owned(), ..session_at(call_id, started) };
        let end = EndedSession {
            ended_at: UnixMs(started + lasted),
            termination: Termination::Success,
            hangup_cause: "caller_hangup",
            disposition: None,
        };
        let write = move |sql_tx: &Transaction<'_>| {
            insert_session(sql_tx, &session)?;
            mark_answered(sql_tx, call_id, UnixMs(started))?;
            end_session(sql_tx, call_id, end)
        };
        storage.write_blocking(write).unwrap();
    }
    assert_eq!(storage.read_blocking(|db| talked_outside_ms(db, day)).unwrap(), 260_000);
}

/// One writer per folder; the lock goes with the process that held it.
#[test]
fn second_daemon_is_refused() {
    let (dir, storage) = open();
    let second = Storage::open(&StorageConfig::new(dir.path()));
    assert!(matches!(second.err().unwrap(), OpenError::InUse { .. }));
    storage.close_blocking();
    Storage::open(&StorageConfig::new(dir.path())).map(drop).unwrap();
    assert!(matches!(Reader::open(&dir.path().join("elsewhere"), 1).err().unwrap(), OpenError::Missing { .. }));
}

/// The settings that the promises rest on.
#[test]
fn connection_is_set_up_for_durability() {
    let (_dir, storage) = open();
    let pragma = |name: &'static str| {
        storage
            .write_blocking(move |sql_tx| {
                Ok(sql_tx.query_row(&format!("PRAGMA {name}"), [], |row| row.get::<_, rusqlite::types::Value>(0))?)
            })
            .unwrap()
    };
    use rusqlite::types::Value;
    assert_eq!(pragma("journal_mode"), Value::Text("wal".to_owned()));
    assert_eq!(pragma("synchronous"), Value::Integer(2), "FULL");
    assert_eq!(pragma("foreign_keys"), Value::Integer(1));
    assert_eq!(pragma("busy_timeout"), Value::Integer(5_000));
    assert_eq!(pragma("application_id"), Value::Integer(0x4F66_6648));
    let orphan = turn(CallId::new(UnixMs(1)), 0);
    assert!(storage.write_blocking(move |sql_tx| insert_turn(sql_tx, &orphan)).unwrap_err().is_constraint());
}

/// Garbage in the header or in the middle: the file is kept under another name and the box starts on a fresh one.
#[test]
fn damaged_database_is_set_aside() {
    for (offset, damage) in [(0, 200), (8_192, 60_000)] {
        let (dir, storage) = open();
        ringing(&storage);
        drop(storage);
        let path = dir.path().join("offhook.db");
        let mut bytes = std::fs::read(&path).unwrap();
        let end = (offset + damage).min(bytes.len());
        bytes[offset..end].fill(0xA5);
        std::fs::write(&path, &bytes).unwrap();

        let opened = Storage::open(&StorageConfig::new(dir.path())).unwrap();
        let set_aside = opened.set_aside.unwrap();
        assert!(!set_aside.reason.is_empty());
        assert_eq!(std::fs::read(&set_aside.path).unwrap(), bytes, "nothing of it is lost");
        assert_eq!(count(&opened.storage, "call_sessions"), 0);
        ringing(&opened.storage);
    }
}

/// Set in the child of [`kill_9_loses_no_acknowledged_row`]: the folder to write to.
const CHILD_DIR: &str = "OFFHOOK_TEST_STORAGE_CHILD_DIR";

/// Not a test of its own: the process that is killed. It says each acknowledged turn on stdout.
#[test]
fn kill_9_child() {
    use std::io::Write;
    let Some(dir) = std::env::var_os(CHILD_DIR) else { return };
    let storage = Storage::open(&StorageConfig::new(dir)).unwrap().storage;
    let call_id = ringing(&storage);
    let threads: Vec<_> = (0..4_u32)
        .map(|thread| {
            let storage = storage.clone();
            std::thread::spawn(move || {
                for n in 0.. {
                    let index = thread + 4 * n;
                    storage.write_blocking(move |sql_tx| insert_turn(sql_tx, &turn(call_id, index))).unwrap();
                    // One short write: whole lines, also from four threads.
                    std::io::stderr().write_all(format!("acknowledged {index}\n").as_bytes()).unwrap();
                }
            })
        })
        .collect();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
}

/// This test program once more; under emulation by the emulator itself, because not every kernel is told of it.
fn this_program() -> std::process::Command {
    let program = std::env::current_exe().unwrap();
    let runner = std::env::var("CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER").unwrap_or_default();
    match runner.split(' ').next_back() {
        Some(emulator) if cfg!(target_arch = "aarch64") && !emulator.is_empty() => {
            let mut command = std::process::Command::new(emulator);
            command.arg(program);
            command
        }
        Some(_) | None => std::process::Command::new(program),
    }
}

/// Whatever was acknowledged before SIGKILL is there afterwards, and the open call is closed as interrupted.
#[test]
fn kill_9_loses_no_acknowledged_row() {
    use std::io::{BufRead, BufReader};
    let dir = tempfile::tempdir().unwrap();
    let mut child = this_program()
        .args(["--exact", "storage::tests::kill_9_child", "--nocapture"])
        .env(CHILD_DIR, dir.path())
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let mut acknowledged: Vec<u32> = Vec::new();
    let parse = |line: String| line.strip_prefix("acknowledged ").and_then(|index| index.parse::<u32>().ok());
    while acknowledged.len() < 100 {
        acknowledged.extend(parse(lines.next().unwrap().unwrap()));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    acknowledged.extend(lines.map_while(Result::ok).filter_map(parse));

    let opened = Storage::open(&StorageConfig::new(dir.path())).unwrap();
    assert_eq!(opened.set_aside, None);
    let storage = opened.storage;
    let calls = storage.read_blocking(|db| list_sessions(db, 10, None)).unwrap();
    let turns = storage.read_blocking(|db| turns_of(db, calls[0].call_id)).unwrap();
    let stored: std::collections::BTreeSet<u32> = turns.iter().map(|turn| turn.turn_index).collect();
    assert!(acknowledged.len() >= 100);
    let lost: Vec<_> = acknowledged.iter().filter(|index| !stored.contains(index)).collect();
    assert!(lost.is_empty(), "acknowledged but gone: {lost:?}");
    assert_eq!(storage.write_blocking(|sql_tx| close_interrupted_sessions(sql_tx, UnixMs(9))).unwrap(), 1);
}
