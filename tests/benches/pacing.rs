//! How evenly the box sends during a long call: distances between its RTP packets, and drift against 20 ms a packet.
//!
//! The caller leaves a message of `OFFHOOK_PACING_SECONDS` (60 by default, 570 in `make soak`); a tap on the way takes
//! the time of each packet. Needs the models.
#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a benchmark prints and fails loudly")]

use std::net::{SocketAddr, UdpSocket};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tests::offhook::{Offhook, free_port};
use tests::peers::wav_of_speech;

const PROGRAM: &str = env!("CARGO_BIN_EXE_offhook-under-test");

/// Forwards between a caller and the box, and notes when each packet of the box came.
struct Tap {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Vec<Instant>>,
}

impl Tap {
    fn start(listen: SocketAddr, server: SocketAddr) -> Tap {
        let socket = UdpSocket::bind(listen).unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let (mut times, mut caller, mut buffer) = (Vec::new(), None, [0; 65_535]);
            while !stopped.load(Ordering::Relaxed) {
                let Ok((length, source)) = socket.recv_from(&mut buffer) else { continue };
                let target = if source == server {
                    times.push(Instant::now());
                    caller
                } else {
                    caller = Some(source);
                    Some(server)
                };
                if let Some(target) = target {
                    socket.send_to(&buffer[..length], target).unwrap();
                }
            }
            times
        });
        Tap { stop, thread }
    }

    fn stop(self) -> Vec<Instant> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap()
    }
}

fn main() {
    // `cargo test --benches` and `cargo bench -- --test` only want to know that it starts.
    if std::env::args().any(|argument| argument == "--test") {
        return;
    }
    let seconds: usize = std::env::var("OFFHOOK_PACING_SECONDS").map_or(60, |text| text.parse().unwrap());
    let folder = tempfile::tempdir().unwrap();
    let (ask, message) = (folder.path().join("ask.wav"), folder.path().join("message.wav"));
    wav_of_speech(PROGRAM, &ask, "I would like to leave a message.");
    let clip = audio::wav::read(&ask).unwrap();
    let long: Vec<i16> = clip.samples.iter().copied().cycle().take(seconds * 8_000).collect();
    audio::wav::write(&message, &long, clip.sample_rate).unwrap();

    let rtp_port = free_port() & !1;
    let settings = [
        "sip.public_address=127.0.0.2".to_owned(),
        format!("media.first_port={rtp_port}"),
        format!("media.last_port={}", rtp_port + 1),
        "calls.concurrent_limit=1".to_owned(),
        "conversation.message_limit_seconds=600".to_owned(),
    ];
    let settings: Vec<&str> = settings.iter().map(String::as_str).collect();
    let offhook = Offhook::start(Path::new(PROGRAM), folder.path(), &settings);
    let at = |host, port| SocketAddr::from(([127, 0, 0, host], port));
    let sip = Tap::start(at(2, offhook.address().port()), offhook.address());
    let rtp = Tap::start(at(2, rtp_port), at(1, rtp_port));
    let uri = format!("sip:office@127.0.0.2:{}", offhook.address().port());
    let (ask, message) = (ask.to_str().unwrap(), message.to_str().unwrap());
    let output = offhook.run(&["call", &uri, "--say", ask, "--say", message]);
    print!(
        "{}",
        String::from_utf8_lossy(&output.stdout).lines().last().map(|line| format!("{line}\n")).unwrap_or_default()
    );
    print_pacing(&rtp.stop());
    sip.stop();
    offhook.stop();
}

fn print_pacing(times: &[Instant]) {
    let mut gaps: Vec<f64> = times.windows(2).map(|pair| (pair[1] - pair[0]).as_secs_f64() * 1e3).collect();
    let (Some(first), Some(last)) = (times.first(), times.last()) else { return println!("no packets") };
    let elapsed_ms = (*last - *first).as_secs_f64() * 1e3;
    let drift_ms = elapsed_ms - 20.0 * gaps.len() as f64;
    let off_grid = gaps.iter().filter(|gap| (**gap - 20.0).abs() > 2.0).count();
    gaps.sort_by(f64::total_cmp);
    let rank = |share: f64| gaps.get(((gaps.len() - 1) as f64 * share).round() as usize).copied().unwrap_or(f64::NAN);
    println!("packets {} over {:.1} s", times.len(), elapsed_ms / 1e3);
    println!(
        "distance ms: p0.1 {:.2}, median {:.2}, p99 {:.2}, p99.9 {:.2}, worst {:.2}",
        rank(0.001),
        rank(0.5),
        rank(0.99),
        rank(0.999),
        rank(1.0)
    );
    println!("further than 2 ms from 20 ms: {off_grid} of {}; drift over the call {drift_ms:.2} ms", gaps.len());
}
