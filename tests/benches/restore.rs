//! What a lost box costs: how long until another machine answers in its place, and what is missing then. Figures, no verdicts.
//!
//! A box with a gigabyte, a quarter of it rows, is restored from a folder and from the cloud, each by the `offhook restore` that
//! an office would run; it is started as soon as its database is there, while recordings still follow. Before that a box that
//! writes every second is watched: how old is the oldest commit that its backup does not have, whenever it may be lost?
//! `OFFHOOK_RESTORE=256x60` is for 256 MiB, and a minute of watching. Everything is on one machine: the network is for free.
#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a benchmark prints and fails loudly")]

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use cloud::store::{AnyStore, Backups as _, BoxName, Sqlite};
use daemon::storage::{
    CallId, Direction, NewSession, PeerAddressKind, Recording, RecordingId, RecordingKind, RecordingState, Storage,
    StorageConfig, UnixMs, insert_recording, insert_session,
};
use daemon::sync::enrolment::Enrolment;
use daemon::sync::log::log_head;
use rand::{Rng as _, SeedableRng as _, rngs::StdRng};
use sha2::{Digest as _, Sha256};
use tests::cloud::{CloudProcess, sums_of_box};
use tests::offhook::Offhook;

const BOX: &str = env!("CARGO_BIN_EXE_offhook-under-test");
const CLOUD: &str = env!("CARGO_BIN_EXE_offhook-cloud-under-test");
const SIZE_AND_SECONDS: &str = "OFFHOOK_RESTORE";
const MIB: usize = 1 << 20;
/// Of a recording: some minutes of a call with both sides.
const RECORDING: usize = 4 * MIB;
/// Of a call in the database, about: its row, its entries in the change log, and a summary as long as what was said in it.
const CALL: usize = 1_500;
const SUMMARY: usize = 800;
const WORDS: [&str; 8] = ["appointment", "on", "Tuesday", "morning", "called", "back", "about", "invoice"];

fn main() {
    // `cargo test --benches` and `cargo bench -- --test` only want to know that it starts.
    if std::env::args().any(|argument| argument == "--test") {
        return;
    }
    let wanted = std::env::var(SIZE_AND_SECONDS).unwrap_or_else(|_| "1024x300".to_owned());
    let (megabytes, seconds) = wanted.split_once('x').unwrap();
    let (bytes, seconds) = (megabytes.parse::<usize>().unwrap() * MIB, seconds.parse().unwrap());
    let rig = Rig::new();
    rig.fill(bytes);
    rig.back_up();
    rig.watch(Duration::from_secs(seconds));
    // Who is restored takes the place of the box there was.
    for place in ["folder", "cloud"] {
        rig.restore(place);
    }
}

struct Rig {
    _whole: tempfile::TempDir,
    office: PathBuf,
    share: PathBuf,
    key: PathBuf,
    cloud_folder: PathBuf,
    cloud: CloudProcess,
    settings: Vec<String>,
}

impl Rig {
    fn new() -> Rig {
        let whole = tempfile::tempdir().unwrap();
        let [office, share, key, cloud_folder] =
            ["office", "share", "key", "cloud"].map(|name| whole.path().join(name));
        std::fs::create_dir(&office).unwrap();
        std::fs::create_dir(&share).unwrap();
        std::fs::write(office.join("offhook.toml"), "").unwrap();
        let made = Command::new(BOX).args(["backup", "key"]).arg(&key).output().unwrap();
        let recipient = String::from_utf8(made.stdout).unwrap().split('"').nth(1).unwrap().to_owned();
        let cloud = CloudProcess::start(Path::new(CLOUD), &cloud_folder, &[]);
        let settings = vec![
            "cloud.enabled=true".to_owned(),
            "cloud.recordings=none".to_owned(),
            format!("cloud.endpoint=localhost:{}", cloud.address().port()),
            format!("cloud.trust={}", cloud.trust().display()),
            format!("backup.places=['{}', 'cloud']", share.display()),
            format!("backup.recipients=['{recipient}']"),
        ];
        let rig = Rig { _whole: whole, office, share, key, cloud_folder, cloud, settings };
        let claimed = rig.command(&rig.office, &["cloud", "claim", &rig.cloud.code("bakery")]).output().unwrap();
        assert!(claimed.status.success(), "{}", String::from_utf8_lossy(&claimed.stderr));
        rig
    }

    fn command(&self, office: &Path, arguments: &[&str]) -> Command {
        let mut command = Command::new(BOX);
        command.args(arguments).args(["--set", &format!("storage.directory={}", office.display())]);
        command.args(self.settings.iter().flat_map(|setting| ["--set", setting]));
        command.stdin(Stdio::null());
        command
    }

    fn start(&self, office: &Path) -> Offhook {
        let settings: Vec<&str> = self.settings.iter().map(String::as_str).collect();
        Offhook::start_wordless(Path::new(BOX), office, &self.office.join("offhook.toml"), &settings)
    }

    /// A quarter is rows, the rest are recordings.
    fn fill(&self, bytes: usize) {
        let storage = Storage::open(&StorageConfig::new(&self.office)).unwrap().storage;
        let (calls, recordings) = (bytes / 4 / CALL, bytes / 4 * 3 / RECORDING);
        let mut random = StdRng::seed_from_u64(1);
        let begin = UnixMs::now().0 - 90 * 86_400_000;
        for some in (0..calls).collect::<Vec<_>>().chunks(5_000) {
            let some: Vec<NewSession> =
                some.iter().map(|number| session(UnixMs(begin + i64::try_from(*number).unwrap() * 40_000))).collect();
            let summaries: Vec<String> = some.iter().map(|_| summary(&mut random)).collect();
            let written = storage.write_blocking(move |sql_tx| {
                some.iter().zip(&summaries).try_for_each(|(new, summary)| {
                    insert_session(sql_tx, new)?;
                    let sql = "UPDATE call_sessions SET summary = ?2, state = 'ended', answered_at = started_at,
                        ended_at = started_at, termination = 'success', hangup_cause = 'caller_hangup' WHERE call_id = ?1";
                    Ok(sql_tx.prepare_cached(sql)?.execute((new.call_id, summary)).map(drop)?)
                })
            });
            written.unwrap();
        }
        let mut content = vec![0; RECORDING];
        for number in 0..recordings {
            // Sound does not compress either.
            random.fill_bytes(&mut content);
            let sha256 = hex::encode(Sha256::digest(&content));
            let folder = self.office.join("recordings").join(&sha256[..2]);
            std::fs::create_dir_all(&folder).unwrap();
            std::fs::write(folder.join(format!("{sha256}.wav")), &content).unwrap();
            let at = UnixMs(begin + 1 + i64::try_from(number).unwrap() * 40_000);
            let new = session(at);
            let recording = Recording {
                recording_id: RecordingId::new(at),
                call_id: new.call_id,
                kind: RecordingKind::Call,
                state: RecordingState::Complete,
                sha256,
                format: "plain-wav".to_owned(),
                size_bytes: u64::try_from(RECORDING).unwrap(),
                duration_ms: 1,
                caller: None,
                other: None,
                started_at: at,
                created_at: at,
            };
            let written = storage.write_blocking(move |sql_tx| {
                insert_session(sql_tx, &new)?;
                insert_recording(sql_tx, &recording)
            });
            written.unwrap();
        }
        storage.close_blocking();
        let database = std::fs::metadata(self.office.join("offhook.db")).map_or(0, |facts| facts.len());
        println!("box                          {calls} calls, {recordings} recordings, {database} bytes of database");
    }

    fn back_up(&self) {
        let begun = Instant::now();
        let done = self.command(&self.office, &["backup", "now"]).output().unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stdout));
        println!("first backup, both places    {:>8.1} s", begun.elapsed().as_secs_f64());
    }

    fn restore(&self, place: &str) {
        let blank = self.office.with_file_name(format!("blank-{place}"));
        std::fs::create_dir(&blank).unwrap();
        let name = Enrolment::load(&self.office).unwrap().unwrap().box_id;
        let code = self.cloud.ask(&["claim", "bakery", "--replaces", &name])["code"].as_str().unwrap().to_owned();
        let (share, key) = (self.share.display().to_string(), self.key.display().to_string());
        let arguments = match place {
            "cloud" => vec!["restore", "cloud", "--code", &code, "--key", &key],
            _ => vec!["restore", &share, "--key", &key],
        };
        let begun = Instant::now();
        let mut command = self.command(&blank, &arguments);
        let mut restoring = command.stderr(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
        let mut lines = BufReader::new(restoring.stderr.take().unwrap()).lines().map_while(Result::ok);
        let said = lines.find(|line| line.contains("the box can be started"));
        assert!(said.is_some(), "no database from the {place}");
        let there = begun.elapsed();
        let offhook = self.start(&blank);
        let answering = begun.elapsed();
        lines.for_each(drop);
        assert!(restoring.wait().unwrap().success());
        println!("{place:<6} database there         {:>8.1} s", there.as_secs_f64());
        println!("{place:<6} the box answers        {:>8.1} s", answering.as_secs_f64());
        println!("{place:<6} recordings there       {:>8.1} s", begun.elapsed().as_secs_f64());
        offhook.stop();
        // Calls and settings are the restored box's own by now.
        assert_eq!(sums_of_box(&blank)["recordings"], sums_of_box(&self.office)["recordings"]);
        std::fs::remove_dir_all(&blank).unwrap();
    }

    /// How old the oldest commit is that a place does not have, ten times a second.
    fn watch(&self, time: Duration) {
        let offhook = self.start(&self.office);
        // The storage is the box's own.
        let mut db = rusqlite::Connection::open(self.office.join("offhook.db")).unwrap();
        db.busy_timeout(Duration::from_secs(5)).unwrap();
        let store = AnyStore::Sqlite(Sqlite::open(&self.cloud_folder.join("cloud.db")).unwrap());
        let enrolment = Enrolment::load(&self.office).unwrap().unwrap();
        let name = BoxName { tenant_id: enrolment.tenant().unwrap(), box_id: enrolment.box_id };
        let begun = Instant::now();
        let mut written: Vec<(i64, Instant)> = Vec::new();
        let mut ages = [Vec::new(), Vec::new()];
        while begun.elapsed() < time {
            if written.last().is_none_or(|(_, at)| at.elapsed() >= Duration::from_secs(1)) {
                let new = session(UnixMs::now());
                let sql_tx = db.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate).unwrap();
                insert_session(&sql_tx, &new).unwrap();
                let head = log_head(&sql_tx).unwrap();
                sql_tx.commit().unwrap();
                written.push((head, Instant::now()));
            }
            let sealed = std::fs::read_dir(&self.share).unwrap().next().unwrap().unwrap().path();
            let folder =
                std::fs::read_dir(sealed).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
            let cloud = store.backup_files(&name).unwrap().into_iter().map(|file| file.name);
            let reached = [reached(folder), reached(cloud)];
            for (reached, ages) in reached.into_iter().zip(&mut ages) {
                let missing = written.iter().find(|(head, _)| *head > reached);
                ages.push(missing.map_or(Duration::ZERO, |(_, at)| at.elapsed()));
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        for (place, mut ages) in ["folder", "cloud"].into_iter().zip(ages) {
            ages.sort();
            let at = |percent: usize| ages[(ages.len() - 1) * percent / 100].as_secs_f64();
            println!(
                "{place:<6} lost with the box      {:>8.1} s p50, {:.1} s p99, {:.1} s at most",
                at(50),
                at(99),
                at(100)
            );
        }
        offhook.stop();
    }
}

/// Up to which entry the segments of these names go.
fn reached(names: impl Iterator<Item = String>) -> i64 {
    let to = names.filter_map(|name| {
        let (_, segment) = name.rsplit('/').next()?.split_once("segment-").or_else(|| name.split_once("base-"))?;
        segment.split('.').next()?.rsplit('-').next()?.parse().ok()
    });
    to.max().unwrap_or(0)
}

fn summary(random: &mut StdRng) -> String {
    let mut text = String::new();
    while text.len() < SUMMARY {
        let number = random.next_u32();
        text += &format!("{} {number} ", WORDS[usize::try_from(number % 8).unwrap()]);
    }
    text
}

fn session(at: UnixMs) -> NewSession {
    NewSession {
        call_id: CallId::new(at),
        direction: Direction::Inbound,
        trunk: "office".to_owned(),
        peer_address_kind: PeerAddressKind::Private,
        caller_id: None,
        called: None,
        sip_call_id: "a84b4c76e66710@edge-12.carrier.example.com".to_owned(),
        started_at: at,
    }
}
