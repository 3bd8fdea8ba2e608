//! A thousand networks, each from its seed: whatever they do to the packets, nothing panics or gets stuck, and when they
//! are well again so is the sound, at the delay it should have.

use std::time::{Duration, Instant};

use audio::codec::CodecKind;
use audio::rtp::{FrameKind, HEADER_BYTES, PayloadType, Receiver, ReceiverConfig, ReceiverStats, Sender, SenderConfig};
use audio::{FRAME_DURATION, FRAME_SAMPLES};

const RUNS: u64 = 1_000;

/// Packets under the impairments, and in a clean network afterwards: 6 and 14 s.
const IMPAIRED: u64 = 300;
const CLEAN: u64 = 700;

/// Frames at the end in which every one must be speech.
const WELL: usize = 50;

/// xorshift: the same seed, the same network.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// At least 0, less than `limit`.
    fn below(&mut self, limit: u64) -> u64 {
        (self.next() >> 16) % limit.max(1)
    }

    fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }
}

/// What one network does.
#[derive(Debug)]
struct Network {
    delay_us: u64,
    jitter_us: u64,
    loss_percent: u64,
    /// Of losing the next one too.
    burst_percent: u64,
    duplicate_percent: u64,
    damaged_percent: u64,
    /// From this packet on so many are held back and come at once.
    stall: (u64, u64),
    /// How far the peer's clock is off, in millionths, 500 being 0.
    drift_ppm: u64,
    tick_phase_us: u64,
}

impl Network {
    fn from(random: &mut Random) -> Self {
        let is_calm = random.chance(20);
        let mut unless_calm = |limit| if is_calm { 0 } else { random.below(limit) };
        Self {
            jitter_us: unless_calm(80_000),
            loss_percent: unless_calm(20),
            burst_percent: unless_calm(80),
            duplicate_percent: unless_calm(6),
            damaged_percent: unless_calm(4),
            delay_us: random.below(300_000),
            stall: (random.below(IMPAIRED), random.below(40)),
            drift_ppm: random.below(1_000),
            tick_phase_us: random.below(20_000),
        }
    }

    /// The packets in the order of their arrival, in microseconds.
    fn deliver(&self, packets: &[Vec<u8>], random: &mut Random) -> Vec<(u64, Vec<u8>)> {
        let mut delivered = Vec::new();
        let mut lost = false;
        for (index, packet) in (0_u64..).zip(packets) {
            let mut arrival = index * 20_000 * (999_500 + self.drift_ppm) / 1_000_000 + self.delay_us;
            if index >= IMPAIRED {
                delivered.push((arrival, packet.clone()));
                continue;
            }
            arrival += random.below(self.jitter_us);
            let (stalled, count) = self.stall;
            if (stalled..stalled + count).contains(&index) {
                arrival = arrival.max((stalled + count) * 20_000 + self.delay_us);
            }
            lost = random.chance(if lost { self.burst_percent } else { self.loss_percent });
            if lost {
                continue;
            }
            let mut packet = packet.clone();
            if random.chance(self.damaged_percent) {
                packet.truncate(HEADER_BYTES + random.below(40) as usize);
                packet.iter_mut().skip(HEADER_BYTES).for_each(|byte| *byte ^= random.next() as u8);
            }
            if random.chance(self.duplicate_percent) {
                delivered.push((arrival + random.below(90_000), packet.clone()));
            }
            delivered.push((arrival, packet));
        }
        delivered.sort_by_key(|(arrival, _)| *arrival);
        delivered
    }
}

/// Twenty seconds of a voice in one codec.
fn packets(codec: CodecKind) -> Vec<Vec<u8>> {
    let mut sender = Sender::new(SenderConfig {
        payload_type: codec.payload_type(),
        codec,
        ssrc: 1,
        first_sequence: 65_400,
        first_timestamp: u32::MAX - 5_000,
        dtmf_payload_type: Some(PayloadType::USUAL_DTMF),
    });
    let mut phase = 0.0_f64;
    let mut packet = |frame: u64| {
        let samples: [i16; FRAME_SAMPLES] = std::array::from_fn(|sample| {
            let time = (frame * FRAME_SAMPLES as u64 + sample as u64) as f64 / 8_000.0;
            phase += (130.0 + 30.0 * (time * 3.0).sin()) / 8_000.0;
            let harmonic = |n: f64| (std::f64::consts::TAU * n * phase).sin();
            ((harmonic(1.0) + harmonic(4.0) + 0.4 * harmonic(9.0)) * (0.6 + 0.4 * (time * 20.0).sin()) * 5_000.0) as i16
        });
        if frame == 100 {
            let _ = sender.queue_dtmf('5');
        }
        let mut datagram = Vec::new();
        sender.packet(&samples, &mut datagram);
        datagram
    };
    (0..IMPAIRED + CLEAN).map(&mut packet).collect()
}

/// Plays what arrived, a frame a tick. Gives what the frames were and the receiver's statistics at the end.
fn play(codec: CodecKind, delivered: &[(u64, Vec<u8>)], network: &Network) -> (Vec<FrameKind>, ReceiverStats) {
    #[expect(clippy::disallowed_methods, reason = "an Instant cannot be made from nothing")]
    let start = Instant::now();
    let config =
        ReceiverConfig { listens_for_tones: true, ..ReceiverConfig::new(&[codec], Some(PayloadType::USUAL_DTMF)) };
    let mut receiver = Receiver::new(config);
    let mut under_way = delivered.iter().peekable();
    let mut kinds = Vec::new();
    let first_tick = Duration::from_micros(network.delay_us + network.tick_phase_us);
    for tick in 0.. {
        let now = first_tick + FRAME_DURATION * tick;
        while let Some((arrival, datagram)) = under_way.next_if(|(arrival, _)| Duration::from_micros(*arrival) <= now) {
            let _ = receiver.handle_packet(datagram, start + Duration::from_micros(*arrival));
        }
        if under_way.peek().is_none() {
            break;
        }
        kinds.push(receiver.poll_frame(start + now).kind);
        while receiver.poll_dtmf().is_some() {}
    }
    (kinds, receiver.stats())
}

#[test]
fn a_thousand_networks_leave_no_call_stuck() {
    let streams = CodecKind::ALL.map(packets);
    for seed in 1..=RUNS {
        let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        // Opus costs ten times as much and is the rarer for it.
        let codec = [0, 1, 1, 1, 2, 2, 2, 2, 3, 3][random.below(10) as usize];
        let network = Network::from(&mut random);
        let delivered = network.deliver(&streams[codec], &mut random);
        let (kinds, stats) = play(CodecKind::ALL[codec], &delivered, &network);
        let told = format!("seed {seed}, {:?}, {network:?}, {stats:?}", CodecKind::ALL[codec]);
        let well = &kinds[kinds.len() - WELL..];
        assert!(well.iter().all(|&kind| kind == FrameKind::Speech), "{well:?}: {told}");
        assert_eq!(stats.jitter_buffer_target, Duration::from_millis(40), "{told}");
        let delay_ms = stats.jitter_buffer_delay.unwrap_or_default().as_millis();
        assert!((25..=65).contains(&delay_ms), "{delay_ms} ms: {told}");
    }
}
