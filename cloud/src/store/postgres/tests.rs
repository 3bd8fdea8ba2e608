use std::sync::{Arc, Barrier};

use super::*;
use crate::local_postgres::LocalPostgres;
use crate::store::Sqlite;
use crate::store::conformance::check_store;
use crate::store::conformance::tenants::{copy, fill};
use crate::store::deliveries::conformance::check_deliveries;
use crate::store::tenants::summary;
use crate::store::upkeep::{BEFORE_UPKEEP, Upkeep as _, check_upkeep};
use crate::store::{AnyStore, Heard, Listener, Ring};

/// For a ring, on a busy machine: it comes within milliseconds, after a start of the server within seconds.
const RING_LIMIT: Duration = Duration::from_secs(30);

/// A server, if there is one on this machine. A test is over in a moment: nothing has to survive a power cut.
fn server() -> Option<(tempfile::TempDir, LocalPostgres)> {
    if LocalPostgres::programs().is_none() {
        eprintln!("SKIPPED: PostgreSQL is not installed (package postgresql)");
        return None;
    }
    let folder = tempfile::tempdir().unwrap();
    let server = LocalPostgres::start(folder.path(), &["fsync=off"]).unwrap();
    Some((folder, server))
}

fn open(server: &LocalPostgres) -> Postgres {
    let store = Postgres::parse(&server.url(), None, 4).unwrap();
    store.prepare().unwrap();
    store
}

fn name(tenant_id: &str) -> BoxName {
    BoxName { tenant_id: tenant_id.to_owned(), box_id: "1".to_owned() }
}

fn state(epoch: u64, watermark: i64) -> BoxState {
    BoxState { epoch, incarnation: vec![1; 16], watermark, applied: 1 }
}

#[test]
fn it_is_a_store_with_a_wall_between_tenants() {
    let Some((_folder, server)) = server() else { return };
    let mut client = server.url().parse::<Config>().unwrap().connect(NoTls).unwrap();
    client.batch_execute(include_str!("../postgres.sql")).unwrap();
    client.batch_execute(include_str!("../postgres_fleet.sql")).unwrap();
    client.batch_execute("CREATE TABLE format (number bigint NOT NULL); INSERT INTO format VALUES (2)").unwrap();
    client.batch_execute("SELECT set_config('offhook.tenant_id', 'bakery', false)").unwrap();
    client.batch_execute(BEFORE_UPKEEP).unwrap();
    let store = open(&server);
    let since: Vec<_> = store.boxes("bakery").unwrap().into_iter().map(|record| record.silent_since).collect();
    assert_eq!(since, [Some(5), None]);
    assert_eq!(store.running_rollouts().unwrap(), [("bakery".to_owned(), "on".to_owned())]);
    check_store(|| open(&server));
    check_deliveries(|| open(&server));
    check_upkeep(&store);
    // From one kind of store to the other and back: what a tenant consists of is the same.
    let file = tempfile::tempdir().unwrap();
    let sqlite = Sqlite::open(&file.path().join("cloud.db")).unwrap();
    fill(&sqlite, "kinds-1");
    copy((&sqlite, "kinds-1"), (&store, "kinds-2"));
    copy((&store, "kinds-2"), (&sqlite, "kinds-3"));
    let original = summary(&sqlite, "kinds-1").unwrap();
    assert_eq!((&summary(&store, "kinds-2").unwrap(), &summary(&sqlite, "kinds-3").unwrap()), (&original, &original));
    for tenant in ["wall-1", "wall-2"] {
        store.transact(&name(tenant), |rows| rows.set_box_state(state(1, 5))).unwrap();
    }
    // Whatever is asked, and nothing at all where nobody said whose rows it is about.
    let mut client = server.url().parse::<Config>().unwrap().connect(NoTls).unwrap();
    let mut seen = |tenant: Option<&str>| {
        let mut sql_tx = client.transaction().unwrap();
        if let Some(tenant) = tenant {
            sql_tx.execute("SELECT set_config('offhook.tenant_id', $1, true)", &[&tenant]).unwrap();
        }
        let rows = sql_tx.query("SELECT DISTINCT tenant_id FROM boxes", &[]).unwrap();
        rows.iter().map(|row| row.get(0)).collect::<Vec<String>>()
    };
    assert_eq!(seen(Some("wall-1")), ["wall-1"]);
    assert_eq!(seen(None), Vec::<String>::new());
    let mut sql_tx = client.transaction().unwrap();
    sql_tx.execute("SELECT set_config('offhook.tenant_id', 'wall-1', true)", &[]).unwrap();
    let foreign = "INSERT INTO boxes VALUES ('wall-2', 'x', 1, '', 0, 0)";
    let refused = sql_tx.execute(foreign, &[]).unwrap_err();
    assert_eq!(refused.code(), Some(&SqlState::INSUFFICIENT_PRIVILEGE));
    drop(sql_tx);
    let mut sql_tx = client.transaction().unwrap();
    sql_tx.execute("SELECT set_config('offhook.upkeep', 'on', true)", &[]).unwrap();
    for (table, seen) in [("enrolled", true), ("boxes", false), ("synced_rows", false), ("documents", false)] {
        let count: i64 = sql_tx.query_one(&format!("SELECT count(*) FROM {table}"), &[]).unwrap().get(0);
        assert_eq!(count > 0, seen, "{table}: upkeep sees which boxes there are, and nothing of what they have sent");
    }
    drop(sql_tx);
    client.batch_execute("UPDATE format SET number = 9").unwrap();
    let newer = store.prepare().unwrap_err();
    assert!(matches!(newer, StoreError::Newer { found: 9, known: FORMAT }), "{newer}");
}

/// Two streams of a box add to the same number at the same time, from the first transaction on: no addition is lost. And the
/// server goes away in between.
#[test]
fn transactions_of_one_box_come_one_after_the_other_and_survive_a_restart() {
    let Some((folder, server)) = server() else { return };
    let store = Arc::new(open(&server));
    let of = name("concurrent");
    let start = Arc::new(Barrier::new(4));
    let threads: Vec<_> = (0..4)
        .map(|_| {
            let (store, of, start) = (Arc::clone(&store), of.clone(), Arc::clone(&start));
            std::thread::spawn(move || {
                start.wait();
                for _ in 0..25 {
                    let added = store.transact(&of, |rows| {
                        let watermark = rows.box_state()?.map_or(0, |state| state.watermark);
                        rows.set_box_state(state(1, watermark + 1))
                    });
                    added.unwrap();
                }
            })
        })
        .collect();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    let mut tries = 0;
    let refused = "DO $$ BEGIN RAISE EXCEPTION USING ERRCODE = 'serialization_failure'; END $$";
    let tried = store.with(|connection| {
        tries += 1;
        if tries < 3 {
            connection.client.batch_execute(refused)?;
        }
        Ok(())
    });
    assert!(tried.is_ok() && tries == 3, "what the server refuses because of others is tried again");
    let watermark =
        |store: &Postgres| store.transact(&of, |rows| rows.box_state()).map(|state| state.unwrap().watermark);
    assert_eq!(watermark(&store).unwrap(), 100);
    server.kill();
    assert!(matches!(watermark(&store), Err(StoreError::Postgres(_))));
    let server = LocalPostgres::start(folder.path(), &["fsync=off"]).unwrap();
    assert_eq!(watermark(&store).unwrap(), 100, "the same store, over new connections");
    server.stop().unwrap();
    assert!(store.check().is_err());
}

/// A wish that one instance takes reaches the others with its commit, also after the server was away.
#[test]
fn news_of_one_instance_ring_at_the_others() {
    let Some((folder, server)) = server() else { return };
    let (here, there) = (open(&server), open(&server));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let next = |listener: &mut Listener| {
        let ring = async { tokio::time::timeout(RING_LIMIT, listener.rings.recv()).await };
        runtime.block_on(ring).expect("it rings").expect("it listens")
    };
    let of = name("rings");
    let wish = |now: i64, fails: bool| {
        let place = Place { tenant_id: &of.tenant_id, kind: DocumentKind::Box, name: &of.box_id };
        let wished = here.change_document(&place, now, |_| {
            let change = Change { body: Some(format!("{{\"at\":{now}}}")), news: true, answer: () };
            if fails { Err(StoreError::DiskFull) } else { Ok(change) }
        });
        assert_eq!(wished.is_err(), fails);
    };
    let mut listener = there.listen();
    assert_eq!(next(&mut listener), Ring::Missed, "whatever came before it listened");
    wish(5, true);
    wish(7, false);
    let began = clock::now();
    wish(7, false);
    assert_eq!(next(&mut listener), Ring::Box(of.clone(), 7), "what was not committed does not ring");
    assert_eq!(next(&mut listener), Ring::Box(of.clone(), 8));
    println!("Two wishes were heard after {:?}", began.elapsed());
    server.kill();
    let server = LocalPostgres::start(folder.path(), &["fsync=off"]).unwrap();
    assert_eq!(next(&mut listener), Ring::Missed, "it listens again, and says that it was away");
    wish(9, false);
    assert_eq!(next(&mut listener), Ring::Box(of.clone(), 9));
    drop((listener, here, there));
    server.stop().unwrap();
}

/// What may be a moment old is asked of the replica, and of the primary while that is away.
#[test]
fn questions_go_to_the_replica_and_decisions_to_the_primary() {
    let Some((folder, server)) = server() else { return };
    let of = name("replica");
    let primary = open(&server);
    primary.enroll(&of, 5).unwrap();
    let replica_server = server.start_replica(&folder.path().join("replica"), &["fsync=off"]).unwrap();
    let replica = Postgres::parse(&replica_server.url(), None, 1).unwrap();
    let store = AnyStore::Postgres(Box::new(primary.with_replica(replica)));
    let AnyStore::Postgres(primary) = &store else { panic!("{store:?}") };
    let asked = || {
        // Which of the two answers.
        store.queried(|store| {
            let AnyStore::Postgres(store) = store else { panic!("{store:?}") };
            store.with(|connection| Ok(connection.client().query_one("SELECT pg_is_in_recovery()", &[])?.get(0)))
        })
    };
    let is_replica: bool = asked().unwrap();
    assert!(is_replica);
    assert_eq!(store.queried(|store| store.boxes("replica")).unwrap().len(), 1);
    assert_eq!(store.queried(AnyStore::tenants).unwrap(), ["replica"]);
    assert_eq!(store.queried(|store| store.latest_rows(&of, "contacts", None, 5)).unwrap(), []);
    // What is committed comes to it by itself.
    let lsn = "SELECT pg_current_wal_lsn()::text";
    primary.note_heard(&of, Heard::Alive, 7).unwrap();
    let written: String = primary.with(|connection| Ok(connection.client().query_one(lsn, &[])?.get(0))).unwrap();
    let caught_up = "SELECT pg_last_wal_replay_lsn() >= $1::text::pg_lsn";
    let began = clock::now();
    loop {
        let there = store.queried(|store| {
            let AnyStore::Postgres(store) = store else { panic!("{store:?}") };
            store.with(|connection| Ok(connection.client().query_one(caught_up, &[&written])?.get(0)))
        });
        if there.unwrap() {
            break;
        }
        assert!(began.elapsed() < RING_LIMIT, "the replica follows");
        std::thread::yield_now();
    }
    assert_eq!(store.queried(|store| store.boxes("replica")).unwrap()[0].heard_at, Some(7));
    replica_server.kill();
    assert_eq!(store.queried(|store| store.boxes("replica")).unwrap()[0].heard_at, Some(7), "the primary answers");
    let is_replica: bool = asked().unwrap();
    assert!(!is_replica, "and is asked at once for a while");
    drop(store);
    server.stop().unwrap();
}

/// Who was refused waits for anything up to a bound that doubles, and never for long.
#[test]
fn retries_are_spread_and_bounded() {
    let waits = |random| (0..8).map(|before| full_jitter(RETRY_FIRST, RETRY_MAX, before, random)).collect::<Vec<_>>();
    assert_eq!(waits(0.0), [Duration::ZERO; 8]);
    let millis: Vec<u128> = waits(0.5).iter().map(Duration::as_millis).collect();
    assert_eq!(millis, [5, 10, 20, 40, 80, 100, 100, 100]);
    assert!(full_jitter(RETRY_FIRST, RETRY_MAX, u32::MAX, 0.999) < RETRY_MAX);
}

#[test]
fn a_server_of_the_network_is_asked_over_tls_or_not_at_all() {
    let parse = |url: &str| Postgres::parse(url, None, 1);
    assert!(matches!(parse("postgresql://u@db.example.org/x"), Err(PostgresConfigError::Plain)));
    assert!(matches!(parse("host=/run/a,db.example.org user=u"), Err(PostgresConfigError::Plain)));
    assert!(parse("postgresql://u@db.example.org/x?sslmode=require").unwrap().server.tls.is_some());
    assert!(parse("postgresql://u@localhost/x").unwrap().server.tls.is_none());
    let error = parse("postgresql://u@h:port/").unwrap_err();
    assert!(error.to_string().starts_with("expected postgresql://USER@HOST/DATABASE"), "{error}");
}
