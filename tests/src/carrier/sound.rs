//! The carrier's RTP (RFC 3550) with µ-law (G.711), protected on a secure trunk (SRTP, RFC 3711): it says a tone, a packet
//! every 20 ms, keeps what it hears, and notes what is wrong with the stream it gets.

use std::fmt;
use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use audio::rtp::srtp::{Inbound, MasterKey, Outbound, Profile};

use super::description::{Description, sdp};

/// Samples of a packet, and what its timestamp is ahead of the one before.
const SAMPLES: usize = 160;
const PTIME: Duration = Duration::from_millis(20);
const SAMPLE_RATE_HZ: f64 = 8_000.0;
/// About -15 dBov, as loud as speech.
const AMPLITUDE: f64 = 8_000.0;
const HEADER_BYTES: usize = 12;
const PCMU: u8 = 0;
/// Telephone-event of the carrier's descriptions.
const EVENT: u8 = 101;

/// A stream of the carrier's, both ways; silent until it knows where to send.
#[derive(Debug)]
pub(super) struct Sound {
    address: SocketAddr,
    /// Protects what we send.
    key: Option<MasterKey>,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    socket: UdpSocket,
    remote: Mutex<Option<SocketAddr>>,
    /// Undoes the protection of what comes.
    inbound: Mutex<Option<Inbound>>,
    heard: Mutex<Heard>,
    is_over: AtomicBool,
}

/// What came.
#[derive(Debug, Default)]
pub struct Heard {
    /// At 8 kHz, packets end to end.
    pub samples: Vec<i16>,
    /// Packets of sound.
    pub packets: usize,
    /// What was wrong with them.
    pub faults: Vec<String>,
    last: Option<Fields>,
}

/// What is compared from packet to packet.
#[derive(Debug, Clone, Copy)]
struct Fields {
    sequence: u16,
    timestamp: u32,
    ssrc: u32,
}

impl Sound {
    pub(super) fn open(host: [u8; 4], tone_hz: u32, suite: Option<Profile>) -> Sound {
        let socket = UdpSocket::bind(SocketAddr::from((host, 0))).unwrap();
        let address = socket.local_addr().unwrap();
        let shared = Arc::new(Shared {
            socket,
            remote: Mutex::default(),
            inbound: Mutex::default(),
            heard: Mutex::default(),
            is_over: AtomicBool::new(false),
        });
        let key = suite.map(|suite| MasterKey::generate(suite, |bytes| bytes.fill_with(rand::random)));
        let outbound = key.as_ref().map(Outbound::new);
        let thread = std::thread::spawn({
            let shared = Arc::clone(&shared);
            move || shared.run(tone_hz, outbound)
        });
        Sound { address, key, shared, thread: Some(thread) }
    }

    /// The description of it, with the key under `tag` if it is protected.
    pub(super) fn sdp(&self, tag: &str) -> String {
        sdp(self.address, self.key.as_ref().map(|key| (tag, key)))
    }

    pub(super) fn connect(&self, remote: &Description) {
        *locked(&self.shared.inbound) = remote.key.as_ref().map(|(_, key)| Inbound::new(key));
        *locked(&self.shared.remote) = Some(remote.address);
    }

    pub(super) fn remote(&self) -> Option<SocketAddr> {
        *locked(&self.shared.remote)
    }

    /// Packets of sound so far.
    pub(super) fn packets(&self) -> usize {
        locked(&self.shared.heard).packets
    }

    pub(super) fn finish(mut self) -> Heard {
        self.end();
        std::mem::take(&mut locked(&self.shared.heard))
    }

    fn end(&mut self) {
        self.shared.is_over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // A panic there has been printed; the test fails for what is missing.
            let _ = thread.join();
        }
    }
}

impl Drop for Sound {
    fn drop(&mut self) {
        self.end();
    }
}

/// Without keys and what was heard.
impl fmt::Debug for Shared {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Shared").field("remote", &self.remote).finish_non_exhaustive()
    }
}

impl Shared {
    fn run(&self, tone_hz: u32, mut outbound: Option<Outbound>) {
        let mut next = Instant::now();
        let (mut fields, mut phase) = (Fields { sequence: 0xFFF0, timestamp: 4_000_000_000, ssrc: 0x7711_0042 }, 0.0);
        while !self.is_over.load(Ordering::Relaxed) {
            self.receive_until(next);
            next += PTIME;
            let Some(remote) = *locked(&self.remote) else { continue };
            let mut packet = packet(fields, &mut phase, tone_hz);
            if let Some(outbound) = &mut outbound {
                outbound.protect_rtp(&mut packet).unwrap();
            }
            // Nobody listens there any more once the call is over.
            let _ = self.socket.send_to(&packet, remote);
            fields.sequence = fields.sequence.wrapping_add(1);
            fields.timestamp = fields.timestamp.wrapping_add(SAMPLES as u32);
        }
    }

    fn receive_until(&self, deadline: Instant) {
        let mut buffer = [0; 2_048];
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            // The kernel takes a timeout of zero for none.
            if left.is_zero() || self.socket.set_read_timeout(Some(left)).is_err() {
                return;
            }
            if let Ok((length, source)) = self.socket.recv_from(&mut buffer) {
                let remote = *locked(&self.remote);
                let plain = match &mut *locked(&self.inbound) {
                    Some(inbound) => inbound.unprotect_rtp(&mut buffer[..length]).map_err(|error| error.to_string()),
                    None => Ok(&buffer[..length]),
                };
                match plain {
                    Ok(packet) => locked(&self.heard).handle(packet, source, remote),
                    Err(error) => locked(&self.heard).faults.push(format!("SRTP: {error}")),
                }
            }
        }
    }
}

impl Heard {
    fn handle(&mut self, datagram: &[u8], source: SocketAddr, remote: Option<SocketAddr>) {
        if remote.is_some_and(|remote| remote != source) {
            self.faults.push(format!("RTP from {source}, but the description says {remote:?}"));
        }
        if datagram.len() <= HEADER_BYTES || datagram[0] != 0x80 {
            return self.faults.push(format!("no plain RTP packet: {:02x?}", &datagram[..datagram.len().min(12)]));
        }
        let word = |at: usize| u32::from_be_bytes([datagram[at], datagram[at + 1], datagram[at + 2], datagram[at + 3]]);
        let fields =
            Fields { sequence: u16::from_be_bytes([datagram[2], datagram[3]]), timestamp: word(4), ssrc: word(8) };
        match datagram[1] & 0x7F {
            PCMU => self.take_sound(fields, &datagram[HEADER_BYTES..]),
            EVENT => self.last = Some(Fields { timestamp: self.last.map_or(0, |last| last.timestamp), ..fields }),
            other => self.faults.push(format!("payload type {other} was not agreed")),
        }
    }

    fn take_sound(&mut self, fields: Fields, payload: &[u8]) {
        if payload.len() != SAMPLES {
            self.faults.push(format!("{} bytes of sound in a packet, not 20 ms", payload.len()));
        }
        if let Some(last) = self.last {
            let elapsed = fields.timestamp.wrapping_sub(last.timestamp);
            // Whoever has nothing to say for a while goes on later in time, but not in sequence.
            let is_next = fields.sequence == last.sequence.wrapping_add(1) && elapsed % SAMPLES as u32 == 0;
            if !is_next || fields.ssrc != last.ssrc {
                self.faults.push(format!("{fields:?} after {last:?}"));
            }
        }
        self.last = Some(fields);
        self.packets += 1;
        self.samples.extend(payload.iter().map(|byte| decode(*byte)));
    }
}

fn packet(fields: Fields, phase: &mut f64, tone_hz: u32) -> Vec<u8> {
    let mut packet = vec![0x80, PCMU];
    packet.extend(fields.sequence.to_be_bytes());
    packet.extend(fields.timestamp.to_be_bytes());
    packet.extend(fields.ssrc.to_be_bytes());
    for _ in 0..SAMPLES {
        packet.push(encode((phase.sin() * AMPLITUDE) as i16));
        *phase = (*phase + std::f64::consts::TAU * f64::from(tone_hz) / SAMPLE_RATE_HZ) % std::f64::consts::TAU;
    }
    packet
}

/// G.711 §3: sign, three bits of exponent, four of mantissa, all inverted.
fn encode(sample: i16) -> u8 {
    let magnitude = (i32::from(sample).abs() + BIAS).min(0x7FFF);
    let exponent = (magnitude >> 7).ilog2();
    let mantissa = (magnitude >> (exponent + 3)) & 0x0F;
    let sign = if sample < 0 { 0x80 } else { 0 };
    !(sign | (exponent as u8) << 4 | mantissa as u8)
}

fn decode(byte: u8) -> i16 {
    let byte = !byte;
    let magnitude = (((i32::from(byte & 0x0F) << 3) + BIAS) << (byte >> 4 & 7)) - BIAS;
    (if byte & 0x80 == 0 { magnitude } else { -magnitude }) as i16
}

/// What µ-law adds so that every magnitude has an exponent.
const BIAS: i32 = 0x84;

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The values of G.711, table 2a.
    #[test]
    fn mu_law_is_that_of_the_table() {
        for (sample, byte) in
            [(0, 0xFF), (32_124, 0x80), (-32_124, 0x00), (16_764, 0x8F), (1_980, 0xBF), (-1_980, 0x3F)]
        {
            assert_eq!((encode(sample), decode(byte)), (byte, sample), "{sample}");
        }
        for byte in (0..=255).filter(|byte| *byte != 0x7F) {
            assert_eq!(encode(decode(byte)), byte);
        }
    }

    #[test]
    fn a_gap_is_a_fault() {
        let here = SocketAddr::from(([127, 0, 0, 1], 4_000));
        let fields = |sequence| Fields { sequence, timestamp: u32::from(sequence) * 160, ssrc: 1 };
        let mut heard = Heard::default();
        for sequence in [7, 8, 9] {
            heard.handle(&packet(fields(sequence), &mut 0.0, 440), here, Some(here));
        }
        assert!(heard.faults.is_empty() && heard.packets == 3, "{heard:?}");
        heard.handle(&packet(fields(11), &mut 0.0, 440), here, Some(here));
        assert_eq!(heard.faults.len(), 1);
    }
}
