//! A line that gives our voice back: it stands before the box, and mixes what the box said into what the box hears.
//!
//! ```text
//!          127.0.0.2                          127.0.0.1
//! caller ──► SIP ──────────────────────────────► box
//!        ──► RTP ─── + ────────────────────────►
//!        ◄────────── │ ─┬──────────────────────
//!                    └──┴ later and weaker
//! ```
//! The box must name 127.0.0.2 as its public address and have one pair of media ports. G.711 only; what is encrypted or
//! coded otherwise passes as it is.

use std::collections::VecDeque;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use audio::codec::CodecKind;
use audio::rtp::{HEADER_BYTES, PayloadType};

use crate::relay::{Relay, RelayConfig};

/// How soon the thread notices that it is over.
const STOP_INTERVAL: Duration = Duration::from_millis(50);

/// How the line gives back.
#[derive(Debug, Clone, Copy)]
pub struct Echo {
    /// After the box's packet has come by.
    pub delay: Duration,
    /// What is left of an amplitude.
    pub gain: f32,
}

/// See the module. Ends when dropped.
pub struct EchoingLine {
    signalling: Relay,
    is_over: Arc<AtomicBool>,
    sound: Option<JoinHandle<()>>,
}

impl EchoingLine {
    /// Stands before the box that signals at `signalling` and has its sound on `media_port`.
    pub fn start(signalling: SocketAddr, media_port: u16, echo: Echo) -> EchoingLine {
        let here = |port| SocketAddr::from(([127, 0, 0, 2], port));
        let relay = Relay::start(RelayConfig::default(), here(signalling.port()), signalling).unwrap();
        let socket = UdpSocket::bind(here(media_port)).unwrap();
        socket.set_read_timeout(Some(STOP_INTERVAL)).unwrap();
        let is_over = Arc::new(AtomicBool::new(false));
        let mut wires = Wires { socket, media: SocketAddr::from(([127, 0, 0, 1], media_port)), caller: None };
        let sound = std::thread::spawn({
            let is_over = Arc::clone(&is_over);
            move || {
                let mut hybrid = Hybrid::new(echo);
                while !is_over.load(Ordering::Relaxed) {
                    wires.pass_on(&mut hybrid);
                }
            }
        });
        EchoingLine { signalling: relay, is_over, sound: Some(sound) }
    }

    /// Where callers reach the box.
    pub fn address(&self) -> SocketAddr {
        self.signalling.address()
    }
}

impl Drop for EchoingLine {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        if let Some(sound) = self.sound.take() {
            // A panic there has been printed; the test fails for what is missing.
            let _ = sound.join();
        }
    }
}

struct Wires {
    socket: UdpSocket,
    media: SocketAddr,
    caller: Option<SocketAddr>,
}

impl Wires {
    fn pass_on(&mut self, hybrid: &mut Hybrid) {
        let mut buffer = [0; 2_048];
        let Ok((length, source)) = self.socket.recv_from(&mut buffer) else { return };
        let packet = &mut buffer[..length];
        let target = if source == self.media {
            hybrid.hear_box(packet);
            self.caller
        } else {
            hybrid.mix_into(packet);
            self.caller = Some(source);
            Some(self.media)
        };
        if let Some(target) = target {
            // Nobody listens there any more once the call is over.
            let _ = self.socket.send_to(packet, target);
        }
    }
}

/// Where two wires become four, and badly so.
struct Hybrid {
    echo: Echo,
    /// What is still to come back; nothing before the box has spoken.
    on_its_way: Option<VecDeque<i16>>,
}

impl Hybrid {
    fn new(echo: Echo) -> Hybrid {
        Hybrid { echo, on_its_way: None }
    }

    fn hear_box(&mut self, packet: &[u8]) {
        let Some((codec, payload)) = sound_of(packet) else { return };
        let mut samples = Vec::new();
        codec.decoder().decode(payload, &mut samples);
        let silence = codec.sample_rate().samples_in(self.echo.delay) as usize;
        self.on_its_way.get_or_insert_with(|| VecDeque::from(vec![0; silence])).extend(samples);
    }

    fn mix_into(&mut self, packet: &mut [u8]) {
        let Some(on_its_way) = &mut self.on_its_way else { return };
        let Some((codec, payload)) = sound_of(packet) else { return };
        let (mut samples, mut mixed) = (Vec::new(), Vec::new());
        codec.decoder().decode(payload, &mut samples);
        for sample in &mut samples {
            let echo = f32::from(on_its_way.pop_front().unwrap_or(0)) * self.echo.gain;
            *sample = sample.saturating_add(echo as i16);
        }
        codec.encoder().encode(&samples, &mut mixed);
        packet[HEADER_BYTES..].copy_from_slice(&mixed);
    }
}

/// The sound in a packet of G.711.
fn sound_of(packet: &[u8]) -> Option<(CodecKind, &[u8])> {
    let payload = packet.get(HEADER_BYTES..).filter(|_| packet[0] == 0x80)?;
    let codec = CodecKind::from_payload_type(PayloadType::new(packet[1] & 0x7F)?)?;
    CodecKind::G711.contains(&codec).then_some((codec, payload))
}
