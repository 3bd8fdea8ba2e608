//! What a call costs the box and how many it takes, with SIPp as every caller and its own answering side as the floor.
//!
//! Calls that the box takes itself (without models it beeps and records a message) and bridged ones, with session
//! description, ports, streams and rows, on one core; the callers share the others. `OFFHOOK_LOAD_SECONDS` (10 by default)
//! is how long each rate is held, `OFFHOOK_LOAD_CALLS` (20 000) how many calls memory is watched for. Needs no models.
//!
//! No call waits for its rows, which follow within 50 ms. Processor time is little touched by what else the machine does
//! (cold caches apart), set-up times and rates are: give it a machine of its own.
#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a benchmark prints and fails loudly")]

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::Value;
use tests::load::{Load, Outcome, Sound, Usage, on_core};
use tests::offhook::{Offhook, free_port};
use tests::office::talk;
use tests::peers::is_installed;
use tests::sipp_phone::SippPhone;

const PROGRAM: &str = env!("CARGO_BIN_EXE_offhook-under-test");
/// The number of the box itself, and that of the phone.
const ATTENDED: &str = "+12125550100";
const BRIDGED: &str = "+12125550101";
/// Where the phone is: a guest too, since a busy office's exchange is one.
const PHONE: Ipv4Addr = Ipv4Addr::new(127, 0, 4, 1);
/// Long enough for a few packets of sound.
const HOLD: Duration = Duration::from_millis(100);
/// The rate at which a call's cost is told.
const USUAL_RATE: u32 = 100;
const RATES: [u32; 8] = [250, 500, 750, 1_000, 1_250, 1_500, 2_000, 3_000];
/// What p99 of the set-up may be. Milliseconds.
const SETUP_LIMIT_MS: f64 = 50.0;
/// What transactions keep for repeats is gone after 32 s (RFC 3261, Timer J; RFC 6026, Timer L), and is given back soon after.
const LINGERING: Duration = Duration::from_secs(60);
/// The box's core.
const CORE: u32 = 0;

fn main() {
    // `cargo test --benches` and `cargo bench -- --test` only want to know that it starts.
    if std::env::args().any(|argument| argument == "--test") || !is_installed("sipp") {
        return;
    }
    let seconds = number_from("OFFHOOK_LOAD_SECONDS", 10);
    let folder = tempfile::tempdir().unwrap();
    let floor = floor(folder.path(), seconds);
    println!("SIPp's own answering side: {floor:.3} ms of processor time a call at {USUAL_RATE} calls/s");
    measure("answered by the box", ATTENDED, seconds, floor);
    measure("bridged to a phone", BRIDGED, seconds, floor);
    memory(number_from("OFFHOOK_LOAD_CALLS", 20_000));
}

/// Cost at the usual rate, the highest rate in time, and what happens at twice that.
fn measure(what: &str, number: &str, seconds: u32, floor: f64) {
    let office = Office::open();
    let load = |rate: u32| Load {
        target: office.offhook.address(),
        number: number.to_owned(),
        rate,
        calls: rate * seconds,
        hold: HOLD,
        sound: Sound::default(),
    };
    let (cost, outcome) = office.cost(&load(USUAL_RATE));
    println!(
        "{what}: {cost:.3} ms a call at {USUAL_RATE} calls/s, {:.1} times the floor; {}",
        cost / floor,
        told(&outcome)
    );
    let mut best = USUAL_RATE;
    for rate in RATES {
        let (cost, outcome) = office.cost(&load(rate));
        println!("{what}: at {rate} calls/s {cost:.3} ms a call; {}", told(&outcome));
        if outcome.failed > 0 || outcome.refused > 0 || outcome.setup_percentile_ms(0.99) > SETUP_LIMIT_MS {
            break;
        }
        best = rate;
    }
    let (_, outcome) = office.cost(&load(2 * best));
    println!(
        "{what}: at {} calls/s, twice the limit, {:.0} are answered a second; {}",
        2 * best,
        outcome.goodput(),
        told(&outcome)
    );
    office.offhook.stop();
}

/// What stays in memory after the 1 000th call and after the last.
fn memory(calls: u32) {
    let office = Office::open();
    let mut resident = Vec::new();
    for calls in [1_000, calls - 1_000] {
        let sound = Sound::default();
        let load =
            Load { target: office.offhook.address(), number: ATTENDED.to_owned(), rate: 400, calls, hold: HOLD, sound };
        let outcome = load.run(office.folder.path());
        let peak = Usage::of(office.offhook.pid()).resident_mib;
        talk(LINGERING);
        let after = Usage::of(office.offhook.pid()).resident_mib;
        println!("memory: {peak:.1} MiB at the end of {calls} calls, {after:.1} MiB later; {}", told(&outcome));
        resident.push(after);
    }
    println!("memory: {:+.1} % from the 1 000th call to the {calls}th", (resident[1] / resident[0] - 1.0) * 100.0);
    office.offhook.stop();
}

fn told(outcome: &Outcome) -> String {
    format!(
        "set-up p50 {:.1} ms, p99 {:.1} ms; {} answered, {} with 503 and Retry-After, {} failed",
        outcome.setup_percentile_ms(0.5),
        outcome.setup_percentile_ms(0.99),
        outcome.answered,
        outcome.refused,
        outcome.failed
    )
}

fn number_from(name: &str, default: u32) -> u32 {
    std::env::var(name).map_or(default, |text| text.parse().unwrap())
}

/// Processor time of SIPp's answering side for a call. Milliseconds.
fn floor(folder: &Path, seconds: u32) -> f64 {
    let target = SocketAddr::from(([127, 0, 4, 9], free_port()));
    let mut answering = Command::new("sipp");
    answering
        .args(["-sn", "uas", "-i", &target.ip().to_string(), "-p", &target.port().to_string(), "-nostdin"])
        .current_dir(folder)
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let mut answering = on_core(CORE, || answering.spawn().unwrap());
    let calls = USUAL_RATE * seconds;
    let sound = Sound::default();
    let load = Load { target, number: ATTENDED.to_owned(), rate: USUAL_RATE, calls, hold: HOLD, sound };
    let outcome = load.run(folder);
    let used = Usage::of(answering.id());
    answering.kill().unwrap();
    answering.wait().unwrap();
    assert_eq!(outcome.answered, u64::from(calls), "{outcome:?}");
    used.cpu_ms / f64::from(calls)
}

/// A box with a trunk that brings calls for itself and for a phone, and the phone.
struct Office {
    folder: tempfile::TempDir,
    offhook: Offhook,
    _phone: Phone,
}

/// Answers until it is dropped.
struct Phone(Child);

impl Office {
    fn open() -> Office {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("offhook.toml");
        let text = format!(
            "[sip]\nguests = ['{PHONE}/32']\nphone_networks = ['{PHONE}/32']\n\
             [calls]\nconcurrent_limit = 1000\nattendant_limit = 1000\nring_milliseconds = 0\n\
             [media]\nfirst_port = 20000\nlast_port = 29999\n\
             [[trunks]]\nname = 'load'\nsources = ['127.0.3.0/24']\nnumbers = ['{ATTENDED}', '{BRIDGED}']\n\
             [[extensions]]\nnumber = '101'\n\
             [[inbound]]\nnumber = '{ATTENDED}'\nto = 'attendant'\n\
             [[inbound]]\nnumber = '{BRIDGED}'\nto = 'extension:101'\n"
        );
        std::fs::write(&file, text).unwrap();
        let offhook = on_core(CORE, || Offhook::start_wordless(Path::new(PROGRAM), folder.path(), &file, &[]));
        let phone = phone(folder.path(), &offhook);
        Office { folder, offhook, _phone: phone }
    }

    /// Makes the calls: processor time for each that was answered, in milliseconds, and what became of them.
    fn cost(&self, load: &Load) -> (f64, Outcome) {
        let before = Usage::of(self.offhook.pid());
        let outcome = load.run(self.folder.path());
        // The last rows are written.
        talk(Duration::from_secs(2));
        let after = Usage::of(self.offhook.pid());
        ((after.cpu_ms - before.cpu_ms) / outcome.answered.max(1) as f64, outcome)
    }
}

impl Drop for Phone {
    fn drop(&mut self) {
        // It has no end of its own.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A phone that registers, and from then on answers.
fn phone(folder: &Path, offhook: &Offhook) -> Phone {
    let output = offhook.run(&["extensions", "password", "101", "--json"]);
    let told: Value = serde_json::from_slice(&output.stdout).unwrap();
    let password = told["password"].as_str().unwrap();
    let phone = SippPhone { at: PHONE.into(), ..SippPhone::new(folder, "101", password) };
    let mut answers = phone.register(offhook, "uas-answers.xml");
    Phone(answers.args(["-key", "sound_port", "9"]).spawn().unwrap())
}
