//! Load for the box: SIPp as many callers, and what a process has used.

use std::fmt::Display;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::offhook::free_port;

/// The first caller's address; the others follow. Each has its own, since the box counts messages by address.
pub const FIRST_CALLER: Ipv4Addr = Ipv4Addr::new(127, 0, 3, 1);
/// Calls a second of one address, well within what the box lets a carrier send.
const RATE_OF_ONE: u32 = 500;
/// In what the kernel counts processor time (`man 5 proc`; on Linux always 100).
const TICKS_PER_SECOND: u32 = 100;
/// After its last call SIPp waits for those that are still up.
const PATIENCE: Duration = Duration::from_secs(60);

/// Calls to be made.
#[derive(Debug, Clone)]
pub struct Load {
    /// Where.
    pub target: SocketAddr,
    /// Whom.
    pub number: String,
    /// New calls a second.
    pub rate: u32,
    /// All of them.
    pub calls: u32,
    /// How long each is up.
    pub hold: Duration,
    /// Where the callers hear and how.
    pub sound: Sound,
}

/// What the callers' descriptions say about sound, which SIPp leaves to others.
#[derive(Debug, Clone)]
pub struct Sound {
    /// Port at the callers' address.
    pub port: u16,
    /// `RTP/AVP`, or `RTP/SAVP` where `line` has the key.
    pub profile: &'static str,
    /// One more line.
    pub line: String,
}

/// No sound.
impl Default for Sound {
    fn default() -> Sound {
        Sound { port: 9, profile: "RTP/AVP", line: "a=sendrecv".into() }
    }
}

/// What became of them.
#[derive(Debug, Clone, Default)]
pub struct Outcome {
    /// Answered and hung up in order.
    pub answered: u64,
    /// Refused with 503 and Retry-After.
    pub refused: u64,
    /// Anything else.
    pub failed: u64,
    /// From INVITE to 200, in order. Milliseconds.
    pub setup_ms: Vec<f64>,
    /// From the first call to the last.
    pub took: Duration,
}

impl Outcome {
    /// What this share of the answered calls did not exceed. Milliseconds; infinite if none was answered.
    pub fn setup_percentile_ms(&self, share: f64) -> f64 {
        let index = (self.setup_ms.len() as f64 * share) as usize;
        self.setup_ms.get(index.min(self.setup_ms.len().saturating_sub(1))).copied().unwrap_or(f64::INFINITY)
    }

    /// Answered calls a second.
    pub fn goodput(&self) -> f64 {
        self.answered as f64 / self.took.as_secs_f64()
    }
}

/// A scenario of `tests/interop`.
pub fn scenario(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("interop").join(name)
}

impl Load {
    /// Makes the calls with as many SIPps as it takes, which keep their files in `folder`.
    ///
    /// # Panics
    /// When SIPp does not start or says nothing.
    pub fn run(&self, folder: &Path) -> Outcome {
        let callers = self.rate.div_ceil(RATE_OF_ONE);
        let began = Instant::now();
        let mut running: Vec<(Child, PathBuf)> =
            (0..callers).map(|index| self.caller(folder, index, callers)).collect();
        let mut outcome = Outcome::default();
        for (child, _) in &mut running {
            child.wait().unwrap();
        }
        outcome.took = began.elapsed().saturating_sub(self.hold);
        for (child, files) in running {
            outcome.add(&files, child.id());
            std::fs::remove_dir_all(files).unwrap();
        }
        outcome.setup_ms.sort_by(f64::total_cmp);
        outcome
    }

    fn caller(&self, folder: &Path, index: u32, callers: u32) -> (Child, PathBuf) {
        let files = folder.join(format!("caller-{index}"));
        std::fs::create_dir_all(&files).unwrap();
        let address = Ipv4Addr::from(u32::from(FIRST_CALLER) + index);
        let limit = PATIENCE + Duration::from_secs(u64::from(self.calls / self.rate));
        let child = Command::new("sipp")
            .arg(self.target.to_string())
            .args(["-sf", scenario("uac-calls-and-hangs-up.xml").to_str().unwrap(), "-s", &self.number])
            .args(["-r", &(self.rate / callers).to_string(), "-m", &(self.calls / callers).to_string()])
            .args(["-d", &self.hold.as_millis().to_string(), "-l", "100000", "-recv_timeout", "20000"])
            .args([
                "-i",
                &address.to_string(),
                "-p",
                &free_port().to_string(),
                "-timeout",
                &format!("{}s", limit.as_secs()),
            ])
            .args(["-nostdin", "-trace_stat", "-stf", "stat.csv", "-fd", "1", "-trace_rtt", "-rtt_freq", "1"])
            .args(["-key", "sound_port", &self.sound.port.to_string(), "-key", "sound_profile", self.sound.profile])
            .args(["-key", "sound_line", &self.sound.line])
            .current_dir(&files)
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(files.join("errors")).unwrap())
            .spawn()
            .unwrap();
        (child, files)
    }
}

impl Outcome {
    /// What one SIPp has written.
    fn add(&mut self, files: &Path, pid: u32) {
        let stat = std::fs::read_to_string(files.join("stat.csv")).unwrap();
        let header: Vec<&str> = stat.lines().next().unwrap().split(';').collect();
        let last: Vec<&str> = stat.lines().last().unwrap().split(';').collect();
        let value = |name: &str| -> u64 {
            let at =
                header.iter().position(|column| *column == name).unwrap_or_else(|| panic!("no {name}: {header:?}"));
            last[at].parse().unwrap()
        };
        let refused = value("GenericCounter1(C)");
        self.refused += refused;
        self.answered += value("SuccessfulCall(C)").saturating_sub(refused);
        self.failed += value("FailedCall(C)");
        let times = std::fs::read_to_string(files.join(format!("uac-calls-and-hangs-up_{pid}_rtt.csv")));
        let times = times.unwrap_or_else(|_| {
            panic!("no call was made: {}", std::fs::read_to_string(files.join("errors")).unwrap_or_default())
        });
        let times = times.lines().filter_map(|line| line.split(';').nth(1)?.parse::<f64>().ok());
        self.setup_ms.extend(times);
    }
}

/// What a process has used so far.
#[derive(Debug, Clone, Copy)]
pub struct Usage {
    /// Processor time, in the kernel and out of it. Milliseconds.
    pub cpu_ms: f64,
    /// In memory now. MiB.
    pub resident_mib: f64,
}

impl Usage {
    /// Of the process `pid`.
    ///
    /// # Panics
    /// When there is none.
    pub fn of(pid: u32) -> Usage {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
        // The name before it may hold blanks.
        let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
        let ticks: u32 = fields[11..13].iter().map(|field| field.parse::<u32>().unwrap()).sum();
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        let kib: f64 = resident.trim().trim_end_matches(" kB").parse().unwrap();
        Usage { cpu_ms: f64::from(ticks) * 1_000.0 / f64::from(TICKS_PER_SECOND), resident_mib: kib / 1_024.0 }
    }
}

/// What is started by `start` gets one core, with all its threads, and knows it: the figures are for one.
///
/// # Panics
/// When the system has no `taskset`.
pub fn on_core<T>(core: u32, start: impl FnOnce() -> T) -> T {
    let cores = std::thread::available_parallelism().map_or(1, |cores| cores.get());
    pin(std::process::id(), core);
    let started = start();
    pin(std::process::id(), format!("0-{}", cores - 1));
    started
}

/// Leaves the process `pid`, with all its threads, these cores: one, or a range such as 0-3.
///
/// # Panics
/// When the system has no `taskset`.
pub fn pin(pid: u32, cores: impl Display) {
    let (cores, pid) = (cores.to_string(), pid.to_string());
    let pinned = Command::new("taskset").args(["-a", "-p", "-c", &cores, &pid]).output().unwrap();
    assert!(pinned.status.success(), "{pinned:?}");
}
