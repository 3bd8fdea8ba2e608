//! What a box with its own database does: a backlog, one change, and what the change log costs.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use cloud::store::{AnyStore, Store as _};
use daemon::call::CallsUp;
use daemon::config::Config;
use daemon::redact::Redacted;
use daemon::storage::{
    CallId, ConversationTurn, Direction, NewSession, PeerAddressKind, Speaker, Storage, StorageConfig, UnixMs,
    insert_session, insert_turn, mark_answered,
};
use daemon::sync::CloudSync;
use daemon::sync::log::progress;
use tests::cloud::{post, sums_of_box, sums_of_cloud};
use tests::load::Usage;
use tests::poll;
use tests::tcp_relay::TcpRelay;

use super::{Rig, halves, name, percentile, seconds_since};

/// The first argument of the process that sends the backlog; the others are its settings.
pub(crate) const CHILD: &str = "send-backlog";
const LIMIT: Duration = Duration::from_secs(1_200);
const DAY_MS: i64 = 86_400_000;
/// Single changes.
const CHANGES: usize = 50;
/// Commits with the change log, and as many without.
const COMMITS: u32 = 1_000;

fn session(at: UnixMs) -> NewSession {
    NewSession {
        call_id: CallId::new(at),
        direction: Direction::Inbound,
        trunk: "office".to_owned(),
        peer_address_kind: PeerAddressKind::Private,
        caller_id: None,
        called: None,
        sip_call_id: "1@example.org".to_owned(),
        started_at: at,
    }
}

fn turn(call_id: CallId, index: u32) -> ConversationTurn {
    let mut turn = ConversationTurn::new(call_id, index, Speaker::Caller, "Do you have parking?", UnixMs::now());
    turn.confidence = Some(0.93);
    turn.intent = Some("parking".to_owned());
    turn.answer = Some(Redacted::new("You can park behind the house. The first two hours are free.".to_owned()));
    turn
}

/// Thirty days without a connection, each call with two turns; then single changes.
pub(crate) fn backlog(rig: &Rig, calls: u32) {
    let folder = rig.folder.path().join("office");
    write_calls(&folder, calls);
    let relay = TcpRelay::start(rig.cloud.address());
    let enrolment = rig.enroll(std::iter::once("backlog".to_owned()), relay.address().port()).remove(0);
    enrolment.save(&folder).unwrap();
    let settings = [
        format!("storage.directory={}", folder.display()),
        "cloud.enabled=true".to_owned(),
        format!("cloud.trust={}", rig.trust().display()),
    ];
    // A process of its own: what this one has had in memory before would hide what it takes.
    let mut child = Command::new(std::env::current_exe().unwrap());
    child.arg(CHILD).args(&settings).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = child.spawn().unwrap();
    let mut said = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut hear = move || said.next().unwrap().unwrap();
    assert_eq!(hear(), "ready");
    let (before, began) = (Usage::of(child.id()), Instant::now());
    child.stdin.as_mut().unwrap().write_all(b"go\n").unwrap();
    let listening = std::thread::spawn(move || {
        assert_eq!(hear(), "drained");
        let drained = seconds_since(began);
        assert_eq!(hear(), "equal");
        (drained, seconds_since(began))
    });
    let mut most = before.resident_mib;
    while !listening.is_finished() {
        most = most.max(Usage::of(child.id()).resident_mib);
        std::thread::sleep(Duration::from_millis(20));
    }
    let (drained, equal) = listening.join().unwrap();
    let used = Usage::of(child.id()).cpu_ms - before.cpu_ms;
    drop(child.stdin.take());
    child.wait().unwrap();
    let rows = f64::from(calls * 3);
    println!(
        "a backlog of {calls} calls ({rows} rows): {:.0} rows/s, equal after {equal:.1} s; the box took {:.1} us and {:.0} bytes \
         of the wire a row, and {:.1} MiB more of memory than the {:.0} before",
        rows / drained,
        used * 1_000.0 / rows,
        relay.sent_bytes() as f64 / rows,
        most - before.resident_mib,
        before.resident_mib,
    );
    one_change(rig, &folder, &settings);
}

/// The process that sends the backlog.
pub(crate) fn child(settings: &[String]) {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let _inside = runtime.enter();
    let config = Config::load(None, settings).unwrap();
    let storage = Storage::open(&StorageConfig::new(config.state_directory())).unwrap().storage;
    storage.read_blocking(progress).unwrap();
    println!("ready");
    std::io::stdin().read_line(&mut String::new()).unwrap();
    let sync = CloudSync::start(&config, &storage, CallsUp::default(), post(&config));
    let wait = |what: &str, done: &dyn Fn() -> bool| {
        poll(LIMIT, || done().then_some(())).expect(what);
        println!("{what}");
    };
    let now = || storage.read_blocking(progress).unwrap();
    wait("drained", &|| now().acked.is_some() && now().backlog == 0);
    wait("equal", &|| now().equal.is_some());
    std::io::stdin().read_line(&mut String::new()).unwrap();
    sync.stop();
}

fn write_calls(folder: &Path, calls: u32) {
    let storage = Storage::open(&StorageConfig::new(folder)).unwrap().storage;
    let first = UnixMs::now().0 - 30 * DAY_MS;
    for some in 0..calls.div_ceil(500) {
        let numbers = some * 500..calls.min((some + 1) * 500);
        let written = storage.write_blocking(move |sql_tx| {
            for number in numbers {
                let at = UnixMs(first + 30 * DAY_MS / i64::from(calls) * i64::from(number));
                let new = session(at);
                insert_session(sql_tx, &new)?;
                mark_answered(sql_tx, new.call_id, at)?;
                insert_turn(sql_tx, &turn(new.call_id, 0))?;
                insert_turn(sql_tx, &turn(new.call_id, 1))?;
            }
            Ok(())
        });
        written.unwrap();
    }
    storage.close_blocking();
}

fn one_change(rig: &Rig, folder: &Path, settings: &[String]) {
    let (store, of) = (rig.store(), name("backlog"));
    let storage = Storage::open(&StorageConfig::new(folder)).unwrap().storage;
    let config = Config::load(None, settings).unwrap();
    let sync = CloudSync::start(&config, &storage, CallsUp::default(), post(&config));
    // The first one waits for the connection, too.
    let mut waits: Vec<Duration> = (0..=CHANGES).map(|_| seen_after(&storage, &store)).skip(1).collect();
    println!("one change: in the cloud after {}", halves(&mut waits));
    sync.stop();
    storage.close_blocking();
    assert_eq!(sums_of_box(folder), sums_of_cloud(&store, &of), "digests");
}

fn seen_after(storage: &Storage, store: &AnyStore) -> Duration {
    let new = session(UnixMs::now());
    let key = new.call_id.to_string();
    storage.write_blocking(move |sql_tx| insert_session(sql_tx, &new)).unwrap();
    let committed = Instant::now();
    while store.transact(&name("backlog"), |rows| rows.row("call_sessions", &key)).unwrap().is_none() {
        assert!(committed.elapsed() < LIMIT);
        std::thread::sleep(Duration::from_millis(5));
    }
    committed.elapsed()
}

/// In turns, so that a slow moment of the disk falls on both.
pub(crate) fn change_log() {
    let open = || {
        let dir = tempfile::tempdir().unwrap();
        let storage = Storage::open(&StorageConfig::new(dir.path())).unwrap().storage;
        let new = session(UnixMs::now());
        let call_id = new.call_id;
        storage.write_blocking(move |sql_tx| insert_session(sql_tx, &new)).unwrap();
        (dir, storage, call_id)
    };
    let (with, without) = (open(), open());
    let drop_trigger = "DROP TRIGGER conversation_turns_inserted";
    without.1.write_blocking(move |sql_tx| Ok(sql_tx.execute_batch(drop_trigger)?)).unwrap();
    let (mut waits_with, mut waits_without) = (Vec::new(), Vec::new());
    for index in 0..COMMITS {
        for ((_, storage, call_id), waits) in [(&with, &mut waits_with), (&without, &mut waits_without)] {
            let turn = turn(*call_id, index);
            let began = Instant::now();
            storage.write_blocking(move |sql_tx| insert_turn(sql_tx, &turn)).unwrap();
            waits.push(began.elapsed());
        }
    }
    let (with, without) = (percentile(&mut waits_with, 0.5), percentile(&mut waits_without, 0.5));
    println!(
        "a turn's commit: {with:.1?} with the change log, {without:.1?} without (p50), {:+.1} %",
        (with.as_secs_f64() / without.as_secs_f64() - 1.0) * 100.0
    );
}
