//! Boxes that have nothing to say.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use cloud::fleet::{Rollout, Wish, change_box, change_rollout, rollout_document};
use cloud_api::v1::{Ping, Reported, box_message, cloud_message, reported};
use daemon::retry::Backoff;
use daemon::storage::UnixMs;
use daemon::sync::enrolment::Enrolment;
use tests::load::Usage;
use tests::poll;
use tokio::sync::{Semaphore, mpsc};

use super::{Engine, Rig, TENANT, Wire, halves, name, seconds_since};

/// As boxes wait before they connect again.
const RETRY: Backoff = Backoff { first: Duration::from_secs(1), longest: Duration::from_secs(300) };
/// Streams that are there before the cloud's memory is first looked at: what it needs for the first is not what it needs
/// for each.
const FIRST: u32 = 50;
/// Connections that are opened at a time in the beginning.
const OPENING: usize = 64;
/// After which nothing comes of it any more.
const LIMIT: Duration = Duration::from_secs(600);
/// For the cloud to come to rest before its memory is looked at.
const REST: Duration = Duration::from_secs(3);
/// Of files beside the streams.
const OTHER_FILES: u64 = 200;

/// What boxes say to this benchmark.
enum Happening {
    Welcomed,
    Wished(usize, Instant),
}

pub(crate) fn streams(mut rig: Rig, count: u32) {
    allow_files(u64::from(count) + OTHER_FILES);
    let count = count.max(FIRST + 1);
    let enrolments = rig.enroll((0..count).map(|number| format!("idle-{number}")), rig.cloud.address().port());
    let (happened, mut happenings) = mpsc::unbounded_channel();
    let turns = Arc::new(Semaphore::new(OPENING));
    let begin = |range: std::ops::Range<usize>| {
        for number in range {
            let (enrolment, trust) = (enrolments[number].clone(), rig.trust());
            tokio::spawn(live(number, enrolment, trust, happened.clone(), Arc::clone(&turns)));
        }
    };
    let (first, all) = (FIRST as usize, count as usize);
    begin(0..first);
    welcomed(&mut happenings, first);
    std::thread::sleep(REST);
    let before = Usage::of(rig.cloud.pid());
    let began = Instant::now();
    begin(first..all);
    welcomed(&mut happenings, all - first);
    let connected = seconds_since(began);
    std::thread::sleep(REST);
    let after = Usage::of(rig.cloud.pid());
    println!(
        "{count} idle streams: {:.1} KiB of the cloud's memory each, connected in {connected:.1} s, {:.1} ms of its processor \
         each",
        (after.resident_mib - before.resident_mib) * 1_024.0 / f64::from(count - FIRST),
        (after.cpu_ms - before.cpu_ms) / f64::from(count - FIRST),
    );
    idle(&rig);
    if rig.engine == Engine::Postgres {
        one_wish(&rig, &mut happenings);
    }
    all_wishes(&rig, &mut happenings, all);
    let killed = Instant::now();
    rig.cloud = rig.cloud.kill_and_start();
    let ready = seconds_since(killed);
    welcomed(&mut happenings, all);
    println!(
        "the cloud is killed: it takes boxes again after {ready:.1} s, all {count} are back after {:.1} s",
        seconds_since(killed)
    );
}

/// What it costs that they are there.
fn idle(rig: &Rig) {
    const WATCHED: Duration = Duration::from_secs(10);
    let before = Usage::of(rig.cloud.pid()).cpu_ms;
    std::thread::sleep(WATCHED);
    let used = Usage::of(rig.cloud.pid()).cpu_ms - before;
    println!("the cloud is idle with them: {:.1} % of a core", used / 10.0 / WATCHED.as_secs_f64());
}

/// From one commit to one box.
fn one_wish(rig: &Rig, happenings: &mut mpsc::UnboundedReceiver<Happening>) {
    let store = rig.store();
    let mut waits: Vec<Duration> = (0..20)
        .map(|number| {
            let wish = wish(&format!("One {number}"));
            let now = UnixMs::now().0;
            change_box(&store, &name("idle-0"), now, |document| document.wish(&wish, "bench", now)).unwrap();
            let committed = Instant::now();
            loop {
                if let Happening::Wished(0, at) = next(happenings) {
                    break at.saturating_duration_since(committed);
                }
            }
        })
        .collect();
    println!("one wish, written elsewhere: at the box after {}", halves(&mut waits));
}

fn wish(text: &str) -> Wish {
    Wish::of_toml(&format!("[office]\nname = '{text}'"), BTreeMap::new()).unwrap()
}

/// A rollout that gives it to all of them at once.
fn all_wishes(rig: &Rig, happenings: &mut mpsc::UnboundedReceiver<Happening>, all: usize) {
    let now = UnixMs::now().0;
    let rollout = Rollout {
        sections: wish("All").sections().clone(),
        boxes: (0..all).map(|number| format!("idle-{number}")).collect(),
        cohorts: vec![100],
        limit_ms: i64::MAX,
        began_at: now,
        stage_at: now,
        ..Rollout::default()
    };
    let began = Instant::now();
    change_rollout(&rig.store(), TENANT, "all", now, |document| *document = rollout.clone()).unwrap();
    let mut waits = Vec::new();
    while waits.len() < all {
        if let Happening::Wished(_, at) = next(happenings) {
            waits.push(at.saturating_duration_since(began));
        }
    }
    println!(
        "a rollout to all at once: at the boxes after {}, at the last after {:.1?}",
        halves(&mut waits),
        waits[all - 1]
    );
    let over = poll(LIMIT, || {
        let rollout = rollout_document(&rig.store(), TENANT, "all").unwrap();
        (!rollout.is_running()).then(|| began.elapsed())
    });
    println!("and all have said that they have it after {:.1?}", over.expect("the rollout ends"));
}

fn welcomed(happenings: &mut mpsc::UnboundedReceiver<Happening>, count: usize) {
    let mut missing = count;
    while missing > 0 {
        if matches!(next(happenings), Happening::Welcomed) {
            missing -= 1;
        }
    }
}

fn next(happenings: &mut mpsc::UnboundedReceiver<Happening>) -> Happening {
    let happening = async { tokio::time::timeout(LIMIT, happenings.recv()).await };
    tokio::runtime::Handle::current().block_on(happening).expect("something happens").unwrap()
}

/// A box that has nothing to say, and comes back whenever its stream ends.
async fn live(
    number: usize,
    enrolment: Enrolment,
    trust: PathBuf,
    happened: mpsc::UnboundedSender<Happening>,
    turns: Arc<Semaphore>,
) {
    let mut turn = Some(turns.acquire_owned().await.unwrap());
    let (mut attempts, seed) = (0, rand::random());
    loop {
        if let Ok(mut wire) = Wire::open(&enrolment, &trust, true).await {
            turn = None;
            attempts = 0;
            // Nobody asks any more once the benchmark is over.
            let _ = happened.send(Happening::Welcomed);
            while listen(&mut wire, number, &happened).await.is_ok() {}
        }
        attempts += 1;
        tokio::time::sleep(RETRY.anywhere_after(attempts, seed)).await;
        drop(turn.take());
    }
}

async fn listen(wire: &mut Wire, number: usize, happened: &mpsc::UnboundedSender<Happening>) -> Result<(), String> {
    let body = wire.hear().await?;
    if matches!(body, cloud_message::Body::Ping(_)) {
        return wire.say(box_message::Body::Ping(Ping {})).await;
    }
    if let cloud_message::Body::Desired(desired) = body {
        happened.send(Happening::Wished(number, Instant::now())).map_err(|error| error.to_string())?;
        let applied = reported::State::Applied.into();
        let report = Reported { version: desired.version, applied: true, detail: String::new(), state: applied };
        return wire.say(box_message::Body::Reported(report)).await;
    }
    Err("neither a sign of life nor a wish".to_owned())
}

/// Each stream is an open file at both ends, which are children of one limit.
#[expect(unsafe_code, reason = "no safe wrapper for limits among our dependencies")]
fn allow_files(files: u64) {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: both calls read or write the one structure they are given.
    let raised = unsafe {
        libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) == 0 && {
            limit.rlim_cur = limit.rlim_max.min(files.max(limit.rlim_cur));
            libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) == 0
        }
    };
    assert!(
        raised && limit.rlim_cur >= files,
        "{files} files may not be open at a time: ulimit -Hn allows {}",
        limit.rlim_max
    );
}
