use std::sync::{Arc, Barrier};

use super::*;
use crate::local_postgres::LocalPostgres;
use crate::store::conformance::check_store;

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
    check_store(|| open(&server));
    let store = open(&server);
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
    client.batch_execute("UPDATE format SET number = 9").unwrap();
    let newer = store.prepare().unwrap_err();
    assert!(matches!(newer, StoreError::Newer { found: 9, known: 3 }), "{newer}");
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

#[test]
fn a_server_of_the_network_is_asked_over_tls_or_not_at_all() {
    let parse = |url: &str| Postgres::parse(url, None, 1);
    assert!(matches!(parse("postgresql://u@db.example.org/x"), Err(PostgresConfigError::Plain)));
    assert!(matches!(parse("host=/run/a,db.example.org user=u"), Err(PostgresConfigError::Plain)));
    assert!(parse("postgresql://u@db.example.org/x?sslmode=require").unwrap().tls.is_some());
    assert!(parse("postgresql://u@localhost/x").unwrap().tls.is_none());
    let error = parse("postgresql://u@h:port/").unwrap_err();
    assert!(error.to_string().starts_with("expected postgresql://USER@HOST/DATABASE"), "{error}");
}
