//! What the sound of a call costs the box, how evenly it is sent and what memory it takes. Floors are measured in the
//! same run: SIPp's echo, which has one socket for all, and a loop of recvfrom and sendto on a socket for each call, as
//! every telephone exchange has them; for evenness, a process of the same priority that does nothing but wake up.
//!
//! Callers are SIPp for signalling and [`tests::talkers`] for sound, all on one core; the box has the other to itself.
//! `OFFHOOK_MEDIA_SECONDS` (20 by default) is how long each kind of call is watched, `OFFHOOK_MEDIA_CALLS` (200) how many
//! there are, and `OFFHOOK_MEDIA_KINDS` names those to be measured (all). What takes the other core is whisper where engines
//! are built in, else a loop.
//!
//! Processor time is that of the whole box, SIP and rows and disk included, but only while the calls are up. Times of
//! packets are the kernel's, taken as the box sends them: what else the callers' core does is not seen in them. Memory is
//! what a call adds to a box that has served some before: what the first ones bring in, such as code, is not theirs.
#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a benchmark prints and fails loudly")]

use std::io::{BufRead as _, BufReader};
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use audio::FRAME_DURATION;
use audio::dsp::resample::{f32_of, resample_f32};
use audio::rtp::srtp::{MasterKey, Profile};
use audio::time::SampleRate;
use models::{Store, TranscribeOptions, catalogue, load_speech_to_text};
use serde_json::Value;
use tests::load::{FIRST_CALLER, Load, Outcome, Sound, Usage, pin};
use tests::offhook::{Offhook, free_port};
use tests::office::talk;
use tests::peers::{is_installed, wav_of_speech};
use tests::poll;
use tests::sipp_phone::SippPhone;
use tests::talkers::Talkers;

const PROGRAM: &str = env!("CARGO_BIN_EXE_offhook-under-test");
const PHONE: Ipv4Addr = Ipv4Addr::new(127, 0, 4, 1);
/// SIPp's echo, and who speaks to it.
const ECHO: Ipv4Addr = Ipv4Addr::new(127, 0, 4, 9);
/// Of the attendant and of the phone. The lines have the numbers after them.
const ATTENDED: &str = "+12125550100";
const BRIDGED: &str = "+12125550101";
/// As many as may wait in one line.
const LINE_LIMIT: u32 = 100;
const LINES: u32 = 6;
/// New calls a second.
const RATE: u32 = 50;
/// After the last call is up, until all is quiet.
const SETTLING: Duration = Duration::from_secs(3);
/// What transactions leave behind for repeats is gone after that (RFC 3261, Timer J), and the box has given back memory.
const LINGERING: Duration = Duration::from_secs(43);
/// Calls before those that are watched.
const FIRST_CALLS: u32 = 4;
/// Has this program be the second floor.
const LOOP: &str = "--echo-on-sockets";
/// Has it be the floor of evenness.
const SLEEPER: &str = "--wake-up";
/// Of the box's media thread.
const REALTIME_PRIORITY: &str = "20";
/// The box's core and the callers'.
const CORES: [u32; 2] = [0, 1];

/// A kind of call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Music in a line.
    Announcement,
    /// The same in SRTP.
    Encrypted,
    /// The attendant's tones and a message, both sides recorded.
    Recorded,
    /// Two people.
    Bridge,
    /// Two people, both sides recorded.
    RecordedBridge,
}

/// How long sound takes from one of two people to the other.
const THROUGH: &str = "mouth-to-ear";

const KINDS: [(Kind, &str); 5] = [
    (Kind::Announcement, "announcement"),
    (Kind::Encrypted, "announcement-srtp"),
    (Kind::Recorded, "attendant-recorded"),
    (Kind::Bridge, "bridge"),
    (Kind::RecordedBridge, "bridge-recorded"),
];

fn main() {
    let number_after = |option| std::env::args().skip_while(|argument| argument != option).nth(1);
    if let Some(calls) = number_after(LOOP) {
        return echo_on_sockets(calls.parse().unwrap());
    }
    if let Some(ticks) = number_after(SLEEPER) {
        return wake_up(ticks.parse().unwrap());
    }
    // `cargo test --benches` and `cargo bench -- --test` only want to know that it starts.
    if std::env::args().any(|argument| argument == "--test") || !is_installed("sipp") {
        return;
    }
    let (calls, seconds) = (number_from("OFFHOOK_MEDIA_CALLS", 200), number_from("OFFHOOK_MEDIA_SECONDS", 20));
    let wanted = std::env::var("OFFHOOK_MEDIA_KINDS").ok();
    pin(std::process::id(), CORES[1]);
    let floors = [sipp_floor(calls, seconds), loop_floor(calls, seconds)];
    println!("SIPp's echo: {:.3} % of a core for a call, at {calls} calls", floors[0]);
    println!("recvfrom and sendto, a socket each: {:.3} % of a core for a call", floors[1]);
    println!("a process that only wakes up: off the grid {}", sleeper_floor(2 * seconds));
    if wanted.as_ref().is_none_or(|wanted| wanted.split(',').any(|one| one == THROUGH)) {
        mouth_to_ear(seconds);
    }
    for (kind, name) in KINDS {
        if wanted.as_ref().is_none_or(|wanted| wanted.split(',').any(|one| one == name)) {
            measure(kind, name, calls, seconds, floors);
        }
    }
}

fn number_from(name: &str, default: u32) -> u32 {
    std::env::var(name).map_or(default, |text| text.parse().unwrap())
}

fn share(used_ms: f64, seconds: u32, calls: u32) -> f64 {
    used_ms / (f64::from(seconds) * 1_000.0) / f64::from(calls) * 100.0
}

/// SIPp gives back what it is sent. Percent of a core for a call.
fn sipp_floor(calls: u32, seconds: u32) -> f64 {
    let folder = tempfile::tempdir().unwrap();
    let (sip, port) = (free_port().to_string(), free_port());
    let mut command = Command::new("sipp");
    command.args(["-sn", "uas", "-i", &ECHO.to_string(), "-p", &sip, "-rtp_echo", "-mi", &ECHO.to_string()]);
    command.args(["-mp", &port.to_string(), "-nostdin"]);
    let echo = Ended(command.current_dir(&folder).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap());
    pin(echo.0.id(), CORES[0]);
    let talkers = Talkers::speaking_to(ECHO, vec![SocketAddr::from((ECHO, port)); calls as usize]);
    poll(Duration::from_secs(10), || (talkers.streams() > 0).then_some(())).expect("SIPp gives back nothing");
    let before = Usage::of(echo.0.id());
    talk(Duration::from_secs(seconds.into()));
    share(Usage::of(echo.0.id()).cpu_ms - before.cpu_ms, seconds, calls)
}

/// A process that gives back what comes on as many sockets as there are calls, every 20 ms. Percent of a core for a call.
fn loop_floor(calls: u32, seconds: u32) -> f64 {
    let mut command = Command::new(std::env::current_exe().unwrap());
    let mut echo = Ended(command.args([LOOP, &calls.to_string()]).stdout(Stdio::piped()).spawn().unwrap());
    pin(echo.0.id(), CORES[0]);
    let lines = BufReader::new(echo.0.stdout.take().unwrap()).lines();
    let targets = lines.take(calls as usize).map(|line| line.unwrap().parse().unwrap()).collect();
    let talkers = Talkers::speaking_to(ECHO, targets);
    let is_up = || (talkers.streams() == calls as usize).then_some(());
    poll(Duration::from_secs(10), is_up).expect("the loop gives back nothing");
    let before = Usage::of(echo.0.id());
    talk(Duration::from_secs(seconds.into()));
    share(Usage::of(echo.0.id()).cpu_ms - before.cpu_ms, seconds, calls)
}

/// That process: prints its addresses, and never ends.
fn echo_on_sockets(calls: usize) {
    let sockets: Vec<UdpSocket> = (0..calls).map(|_| UdpSocket::bind((ECHO, 0)).unwrap()).collect();
    for socket in &sockets {
        socket.set_nonblocking(true).unwrap();
        println!("{}", socket.local_addr().unwrap());
    }
    let mut datagram = [0; 2_048];
    let mut next = Instant::now();
    loop {
        for socket in &sockets {
            while let Ok((length, source)) = socket.recv_from(&mut datagram) {
                socket.send_to(&datagram[..length], source).unwrap();
            }
        }
        next += FRAME_DURATION;
        talk(next.saturating_duration_since(Instant::now()));
    }
}

/// How late the machine wakes whoever asks to be woken, at the best it has.
fn sleeper_floor(seconds: u32) -> String {
    let ticks = (seconds * 50).to_string();
    let mut command = Command::new("chrt");
    command.args(["--rr", REALTIME_PRIORITY, "taskset", "-c", &CORES[0].to_string()]);
    let output = command.arg(std::env::current_exe().unwrap()).args([SLEEPER, &ticks]).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// That process.
fn wake_up(ticks: usize) {
    let mut next = Instant::now();
    let mut late_ms: Vec<f64> = (0..ticks)
        .map(|_| {
            next += FRAME_DURATION;
            std::thread::sleep(next.saturating_duration_since(Instant::now()));
            next.elapsed().as_secs_f64() * 1e3
        })
        .collect();
    late_ms.sort_by(f64::total_cmp);
    let of = |share: f64| late_ms[((ticks - 1) as f64 * share) as usize];
    println!("p50 {:.3} ms, p99 {:.2} ms, p99.9 {:.2} ms, worst {:.2} ms", of(0.5), of(0.99), of(0.999), of(1.0));
}

/// Killed when dropped.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What the box adds to the way of a voice, on a network that adds nothing.
fn mouth_to_ear(seconds: u32) {
    let (phone, caller) = (Talkers::start(PHONE, None), Talkers::start(FIRST_CALLER, None));
    let office = Office::open(Kind::Bridge, &phone);
    let running = office.call(Kind::Bridge, 1, Duration::from_secs(u64::from(seconds) + 10), caller.address().port());
    let is_up = || (caller.streams() + phone.streams() == 2).then_some(());
    poll(Duration::from_secs(20), is_up).expect("no call");
    talk(SETTLING);
    office.watch(&[&caller, &phone], seconds);
    let mut delays_ms = [caller.delays_ms(&phone), phone.delays_ms(&caller)].concat();
    delays_ms.sort_by(f64::total_cmp);
    let packets = caller.evenness().packets + phone.evenness().packets;
    let of = |share: f64| delays_ms[((delays_ms.len() - 1) as f64 * share) as usize];
    println!(
        "{THROUGH}: the box adds p50 {:.1} ms, p99 {:.1} ms, worst {:.1} ms to a voice; {} of {packets} packets unchanged",
        of(0.5),
        of(0.99),
        of(1.0),
        delays_ms.len()
    );
    running.into_iter().for_each(|load| _ = load.join().unwrap());
    office.offhook.stop();
}

fn measure(kind: Kind, name: &str, calls: u32, seconds: u32, floors: [f64; 2]) {
    let work = work();
    let phone = Talkers::start(PHONE, None);
    let office = Office::open(kind, &phone);
    let key = MasterKey::generate(Profile::AesCm128HmacSha1_80, |bytes| bytes.fill(b'A'));
    let is_encrypted = kind == Kind::Encrypted;
    let talkers = Talkers::start(FIRST_CALLER, is_encrypted.then_some(key));
    for load in office.call(kind, FIRST_CALLS, SETTLING, talkers.address().port()) {
        load.join().unwrap();
    }
    talk(LINGERING);
    talkers.forget();
    let empty = Usage::of(office.offhook.pid());
    let setup = Duration::from_secs(u64::from(calls / RATE) + 2);
    let hold = 2 * setup + 2 * SETTLING + Duration::from_secs(2 * u64::from(seconds));
    let running = office.call(kind, calls, hold, talkers.address().port());
    let is_up = || (talkers.streams() >= calls as usize).then_some(());
    poll(setup + Duration::from_secs(20), is_up).unwrap_or_else(|| panic!("{} of {calls} calls", talkers.streams()));
    talk(SETTLING);
    let quiet = office.watch(&[&talkers, &phone], seconds);
    // The other core is busy from here on.
    let busy = Busy::with(work);
    let disturbed = office.watch(&[&talkers, &phone], seconds);
    let with = busy.with;
    drop(busy);
    let outcomes: Vec<Outcome> = running.into_iter().map(|load| load.join().unwrap()).collect();
    talk(LINGERING);
    let after = Usage::of(office.offhook.pid());
    assert!(outcomes.iter().all(|outcome| outcome.failed == 0), "{outcomes:?}");
    let cost = share(quiet.cpu_ms, seconds, calls);
    let of_a_call = |now: f64| (now - empty.resident_mib) * 1_024.0 / f64::from(calls);
    let ratios = floors.map(|floor| cost / floor);
    println!(
        "{name}: {cost:.3} % of a core for a call, {:.2} and {:.2} times the floors; {calls} calls",
        ratios[0], ratios[1]
    );
    println!("{name}: {}", quiet.told);
    println!("{name}, other core busy with {with}: {}", disturbed.told);
    println!(
        "{name}: {:.0} KiB of memory for a call, {:.0} KiB kept afterwards",
        of_a_call(quiet.resident_mib),
        of_a_call(after.resident_mib)
    );
    office.offhook.stop();
}

/// Something that takes all it can of the callers' core.
struct Busy {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
    with: &'static str,
}

impl Busy {
    fn with((with, mut work): (&'static str, Work)) -> Busy {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                work();
            }
        });
        Busy { stop, thread: Some(thread), with }
    }
}

type Work = Box<dyn FnMut() + Send>;

fn work() -> (&'static str, Work) {
    match recogniser() {
        Some(recogniser) => ("whisper", recogniser),
        None => ("a loop", Box::new(spin)),
    }
}

fn spin() {
    std::hint::black_box((0..10_000_u64).fold(0_u64, |sum, n| sum.rotate_left(7) ^ n));
}

/// Understands one sentence each time; `None` without engines.
fn recogniser() -> Option<Work> {
    if !cfg!(feature = "engines") {
        return None;
    }
    let store = Store::open(Store::default_folder().unwrap()).unwrap();
    store.fetch(catalogue::WHISPER_TINY_EN, &mut ()).unwrap();
    let mut ears = load_speech_to_text(&store, catalogue::WHISPER_TINY_EN, 1).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("said.wav");
    wav_of_speech(PROGRAM, &file, "I would like to know whether you are open on Saturday, and what it costs.");
    let said = audio::wav::read(&file).unwrap();
    let narrow: Vec<f32> = said.samples.into_iter().map(f32_of).collect();
    let wide = resample_f32(&narrow, said.sample_rate, SampleRate::WIDE_BAND).unwrap();
    Some(Box::new(move || {
        let transcript = ears.transcribe(&wide, &TranscribeOptions::default()).unwrap();
        assert!(transcript.text.contains("Saturday"), "{transcript:?}");
    }))
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}

/// What was seen in some seconds.
struct Seen {
    cpu_ms: f64,
    resident_mib: f64,
    told: String,
}

/// A box, and the phone that it bridges to.
struct Office {
    folder: tempfile::TempDir,
    offhook: Offhook,
    _phone: Option<Ended>,
}

impl Office {
    fn open(kind: Kind, phone: &Talkers) -> Office {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("offhook.toml");
        let (attended, people) = (kind == Kind::Recorded, kind == Kind::RecordedBridge);
        let numbers: Vec<String> = (0..LINES).map(number_of_line).collect();
        let lines: String = numbers
            .iter()
            .enumerate()
            .map(|(line, number)| {
                format!(
                    "[[queues]]\nname = 'line{line}'\nmembers = ['102']\nlength_limit = {LINE_LIMIT}\n\
                     [[inbound]]\nnumber = '{number}'\nto = 'queue:line{line}'\n"
                )
            })
            .collect();
        let text = format!(
            "[sip]\nguests = ['{PHONE}/32']\nphone_networks = ['{PHONE}/32']\n\
             [calls]\nconcurrent_limit = 1000\nattendant_limit = 1000\nring_milliseconds = 0\n\
             [conversation]\nmessage_limit_seconds = 600\n\
             [recording]\nattendant_enabled = {attended}\npeople_enabled = {people}\n\
             [media]\nfirst_port = 20000\nlast_port = 29999\n\
             [[trunks]]\nname = 'load'\nsources = ['127.0.3.0/24']\nnumbers = ['{ATTENDED}', '{BRIDGED}', '{}']\n\
             [[extensions]]\nnumber = '101'\n[[extensions]]\nnumber = '102'\n\
             [[inbound]]\nnumber = '{ATTENDED}'\nto = 'attendant'\n\
             [[inbound]]\nnumber = '{BRIDGED}'\nto = 'extension:101'\n{lines}",
            numbers.join("', '")
        );
        std::fs::write(&file, text).unwrap();
        let offhook = Offhook::start_wordless(Path::new(PROGRAM), folder.path(), &file, &[]);
        pin(offhook.pid(), CORES[0]);
        let is_bridge = matches!(kind, Kind::Bridge | Kind::RecordedBridge);
        let phone = is_bridge.then(|| register(folder.path(), &offhook, phone.address().port()));
        Office { folder, offhook, _phone: phone }
    }

    /// Makes the calls, each number's with a SIPp of its own.
    fn call(&self, kind: Kind, calls: u32, hold: Duration, port: u16) -> Vec<JoinHandle<Outcome>> {
        let numbers: Vec<(String, u32)> = match kind {
            Kind::Recorded => vec![(ATTENDED.into(), calls)],
            Kind::Bridge | Kind::RecordedBridge => vec![(BRIDGED.into(), calls)],
            Kind::Announcement | Kind::Encrypted => {
                let lines = calls.div_ceil(LINE_LIMIT);
                (0..lines).map(|line| (number_of_line(line), calls / lines)).collect()
            }
        };
        let sound = match kind {
            Kind::Encrypted => Sound {
                port,
                profile: "RTP/SAVP",
                line: "a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:QUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFB".into(),
            },
            Kind::Announcement | Kind::Recorded | Kind::Bridge | Kind::RecordedBridge => {
                Sound { port, ..Sound::default() }
            }
        };
        let target = self.offhook.address();
        let rate = RATE / numbers.len() as u32;
        numbers
            .into_iter()
            .map(|(number, calls)| {
                let folder = self.folder.path().join(&number);
                let load = Load { target, number, rate, calls, hold, sound: sound.clone() };
                std::thread::spawn(move || load.run(&folder))
            })
            .collect()
    }

    fn watch(&self, heard: &[&Talkers], seconds: u32) -> Seen {
        heard.iter().for_each(|talkers| talkers.forget());
        let before = Usage::of(self.offhook.pid());
        talk(Duration::from_secs(seconds.into()));
        let after = Usage::of(self.offhook.pid());
        let told = heard
            .iter()
            .map(|talkers| talkers.evenness())
            .filter(|evenness| evenness.streams > 0)
            .map(|evenness| {
                format!(
                    "off the grid p50 {:.3} ms, p99 {:.2} ms, p99.9 {:.2} ms, worst {:.2} ms; {} late, {} missing of {}",
                    evenness.percentile_ms(0.5),
                    evenness.percentile_ms(0.99),
                    evenness.percentile_ms(0.999),
                    evenness.percentile_ms(1.0),
                    evenness.late,
                    evenness.missing,
                    evenness.packets
                )
            })
            .collect::<Vec<_>>()
            .join("; the other side ");
        Seen { cpu_ms: after.cpu_ms - before.cpu_ms, resident_mib: after.resident_mib, told }
    }
}

fn number_of_line(line: u32) -> String {
    format!("+121255502{line:02}")
}

/// A phone that registers, and from then on answers.
fn register(folder: &Path, offhook: &Offhook, sound_port: u16) -> Ended {
    let output = offhook.run(&["extensions", "password", "101", "--json"]);
    let told: Value = serde_json::from_slice(&output.stdout).unwrap();
    let phone = SippPhone { at: PHONE.into(), ..SippPhone::new(folder, "101", told["password"].as_str().unwrap()) };
    let mut answers = phone.register(offhook, "uas-answers.xml");
    Ended(answers.args(["-key", "sound_port", &sound_port.to_string()]).spawn().unwrap())
}
