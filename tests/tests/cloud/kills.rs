//! SIGKILL at random moments of committing and syncing: what either end has acknowledged is there afterwards.
//!
//! The process that is killed is this test program once more, with the box's own storage and its own end of sync; it says what
//! is committed. `make kills` does it a thousand times.

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use cloud::store::{AnyStore, Sqlite, Store as _};
use daemon::call::CallsUp;
use daemon::config::Config;
use daemon::storage::{Storage, StorageConfig, UnixMs, insert_session, mark_answered};
use daemon::sync::CloudSync;
use daemon::sync::enrolment::Enrolment;
use daemon::sync::log::progress;
use rand::RngExt as _;
use tests::cloud::{CloudProcess, post};

use super::{CLOUD, Folders, claim, session};

/// Set in the child: its configuration, one setting a line.
const SETTINGS: &str = "OFFHOOK_TEST_KILLS_SETTINGS";
/// How often it is killed; `make kills` sets it.
const ROUNDS: &str = "OFFHOOK_KILLS";

/// Not a test of its own: the process that is killed. It says each call that is committed.
#[test]
fn kills_child() {
    let Ok(settings) = std::env::var(SETTINGS) else { return };
    let settings: Vec<String> = settings.lines().map(str::to_owned).collect();
    let config = Config::load(None, &settings).unwrap();
    let storage = Storage::open(&StorageConfig::new(config.state_directory())).unwrap().storage;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let _inside = runtime.enter();
    let sync = CloudSync::start(&config, &storage, CallsUp::default(), post(&config));
    for number in 0.. {
        let new = session(UnixMs::now());
        let call_id = new.call_id;
        storage.write_blocking(move |sql_tx| insert_session(sql_tx, &new)).unwrap();
        std::io::stderr().write_all(format!("committed {call_id}\n").as_bytes()).unwrap();
        if number % 3 == 0 {
            storage.write_blocking(move |sql_tx| mark_answered(sql_tx, call_id, UnixMs::now())).unwrap();
        }
    }
    sync.stop();
}

fn start_child(settings: &[String]) -> Child {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "kills::kills_child", "--nocapture"]).env(SETTINGS, settings.join("\n"));
    command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap()
}

/// Lets it run for so long after its first commit, kills it, and gives what it has committed.
fn run_and_kill(settings: &[String], after: Duration) -> Vec<String> {
    let mut child = start_child(settings);
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines().map_while(Result::ok);
    let committed = |line: String| line.strip_prefix("committed ").map(str::to_owned);
    let first = lines.by_ref().find_map(committed).expect("it commits");
    std::thread::sleep(after);
    child.kill().unwrap();
    child.wait().unwrap();
    // The last line may have been cut.
    std::iter::once(first).chain(lines.filter_map(committed)).filter(|key| key.len() == 36).collect()
}

#[test]
fn what_was_acknowledged_survives_every_kill() {
    let rounds = std::env::var(ROUNDS).map_or(8, |rounds| rounds.parse().unwrap());
    let folders = Folders::new();
    let mut cloud = CloudProcess::start(Path::new(CLOUD), &folders.cloud, &[]);
    let endpoint = format!("localhost:{}", cloud.address().port());
    let settings = folders.settings(&cloud, &endpoint);
    assert!(claim(&settings, &cloud.code("bakery")).status.success());
    let name = folders.box_name();
    let mut random = rand::rng();
    let mut committed: BTreeSet<String> = BTreeSet::new();
    let mut acked_before = 0;
    for round in 0..rounds {
        committed.extend(run_and_kill(&settings, Duration::from_millis(random.random_range(0..400))));
        if round % 3 == 2 {
            cloud = cloud.kill_and_start();
        }
        // What the cloud has acknowledged is in its store, whoever was killed.
        let storage = Storage::open(&StorageConfig::new(&folders.office)).unwrap().storage;
        let acked = storage.read_blocking(progress).unwrap().acked.map_or(0, |(seq, _)| seq);
        storage.close_blocking();
        let store = AnyStore::Sqlite(Sqlite::open(&folders.cloud.join("cloud.db")).unwrap());
        let watermark = store.transact(&name, |rows| rows.box_state()).unwrap().map_or(0, |state| state.watermark);
        assert!(watermark >= acked && acked >= acked_before, "{watermark} {acked} {acked_before}");
        acked_before = acked;
    }
    assert!(Enrolment::load(&folders.office).unwrap().is_some());
    // Whoever was killed last comes back once more, and both become equal.
    let mut child = start_child(&settings);
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines().map_while(Result::ok);
    let last = lines.by_ref().filter_map(|line| line.strip_prefix("committed ").map(str::to_owned)).take(5);
    committed.extend(last);
    child.kill().unwrap();
    child.wait().unwrap();
    let storage = Storage::open(&StorageConfig::new(&folders.office)).unwrap().storage;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let inside = runtime.enter();
    let config = Config::load(None, &settings).unwrap();
    let sync = CloudSync::start(&config, &storage, CallsUp::default(), post(&config));
    let store = AnyStore::Sqlite(Sqlite::open(&folders.cloud.join("cloud.db")).unwrap());
    let rows = folders.wait_until_equal(&store);
    sync.stop();
    drop(inside);
    let there = store.latest_rows(&name, "call_sessions", None, u32::MAX).unwrap();
    let there: BTreeSet<String> = there.into_iter().map(|(key, _)| key).collect();
    let lost: Vec<_> = committed.difference(&there).collect();
    assert!(lost.is_empty(), "{} of {} committed calls are lost: {lost:?}", lost.len(), committed.len());
    println!("{rounds} kills: {} committed calls, {rows} rows on both ends, none lost", committed.len());
}
