//! The jitter buffer under any list of operations: it never holds more than it may, and a good network brings it back.

use std::time::{Duration, Instant};

use audio::FRAME_DURATION;
use audio::jitter::{Arrived, FrameKind, JitterBuffer, JitterConfig, Source};
use audio::rtp::PayloadType;
use audio::time::{RtpTimestamp, StreamClock};

use super::script::Script;
use super::transactions::ORIGIN;

const CLOCKS: [StreamClock; 3] = [StreamClock::NARROW_BAND, StreamClock::G722, StreamClock::OPUS];
/// Sound held at most: 400 ms of packets, and what is decoded ahead.
const MAX_HELD: Duration = Duration::from_millis(400 + 280);
/// What a good network needs to bring the delay back, spread forgotten included.
const TICKS_TO_RECOVER: u32 = 1_500;
/// What the delay may be above its target after that: what is tolerated before sound is left out, and a period of it.
const TOLERANCE: Duration = Duration::from_millis(30);

/// # Panics
/// Something does not hold.
pub fn run(input: &[u8]) {
    let mut script = Script::new(input);
    let clock = script.pick(&CLOCKS);
    let target_delay = Duration::from_millis(script.byte().into());
    let buffer = JitterBuffer::new(JitterConfig { target_delay }, clock);
    let (sequence, timestamp) = (1_000, u32::MAX - 10_000);
    let mut stream = Stream { buffer, codec: Codec(clock), sequence, timestamp, now: *ORIGIN };
    while !script.is_over() {
        stream.act(&mut script);
    }
    stream.recovers();
}

/// As many samples as the first two bytes say, which need not be what the packet claims.
struct Codec(StreamClock);

impl Source for Codec {
    fn decode(&mut self, _: PayloadType, payload: &[u8], samples: &mut Vec<i16>) {
        let count = payload.first_chunk().map_or(0, |count| u16::from_le_bytes(*count));
        samples.extend((0..count).map(|at| (at % 100) as i16 * 100));
    }

    fn conceal(&mut self, _: PayloadType, count: usize, next: Option<&[u8]>, samples: &mut Vec<i16>) -> bool {
        let is_able = self.0 == StreamClock::OPUS;
        if is_able {
            samples.extend(std::iter::repeat_n(next.map_or(7, |next| next.len() as i16), count));
        }
        is_able
    }
}

struct Stream {
    buffer: JitterBuffer,
    codec: Codec,
    sequence: u64,
    timestamp: u32,
    now: Instant,
}

impl Stream {
    fn act(&mut self, script: &mut Script<'_>) {
        match script.below(10) {
            0 => self.now += Duration::from_millis(script.byte().into()),
            1 => self.timestamp = self.timestamp.wrapping_add(u32::from(script.word()) << script.below(17)),
            2 => self.sequence += u64::from(script.byte()),
            3 => self.insert_any(script),
            4 if script.byte() == 0 => self.buffer.flush(),
            5 if script.byte() == 0 => {
                self.codec.0 = script.pick(&CLOCKS);
                self.buffer.change_clock(self.codec.0);
            }
            6 => (0..script.below(30)).for_each(|_| self.insert_next()),
            7 => (0..script.below(30)).for_each(|_| _ = self.poll()),
            8 => self.insert_next(),
            _ => _ = self.poll(),
        }
    }

    /// Near the others, of any length and kind.
    fn insert_any(&mut self, script: &mut Script<'_>) {
        let back = u64::from(script.byte() % 80);
        let payload = [script.byte(), script.byte() % 16];
        let packet = Arrived {
            sequence: self.sequence - back,
            timestamp: RtpTimestamp(self.timestamp.wrapping_sub(u32::from(script.word() % 4_096))),
            duration_ticks: script.word().into(),
            payload_type: script.pick(&[None, Some(PayloadType::PCMU), Some(PayloadType::PCMA)]),
            payload: &payload,
        };
        self.buffer.insert(&packet, self.now);
        self.check();
    }

    fn insert_next(&mut self) {
        let clock = self.codec.0;
        let payload = (clock.frame_samples() as u16).to_le_bytes();
        let packet = Arrived {
            sequence: self.sequence,
            timestamp: RtpTimestamp(self.timestamp),
            duration_ticks: clock.frame_ticks(),
            payload_type: Some(PayloadType::PCMU),
            payload: &payload,
        };
        self.buffer.insert(&packet, self.now);
        self.sequence += 1;
        self.timestamp = self.timestamp.wrapping_add(clock.frame_ticks());
        self.check();
    }

    fn poll(&mut self) -> FrameKind {
        self.now += FRAME_DURATION;
        let mut frame = [i16::MIN; 320];
        let frame = &mut frame[..self.buffer.frame_samples()];
        let kind = self.buffer.poll_frame(self.now, &mut self.codec, frame);
        assert!(!frame.contains(&i16::MIN), "part of a frame is not filled");
        assert!(kind != FrameKind::Silence || frame.iter().all(|&sample| sample == 0), "silence that is not silent");
        self.check();
        kind
    }

    fn check(&self) {
        let held = self.codec.0.clock_rate.duration_of(self.buffer.buffered_ticks().into());
        assert!(held <= MAX_HELD, "{held:?} held");
        let target = self.buffer.effective_target();
        assert!((FRAME_DURATION..=Duration::from_millis(120)).contains(&target), "aims at {target:?}");
    }

    /// Never stuck: a packet every tick is heard every tick, with a delay that is near the target again.
    fn recovers(&mut self) {
        self.sequence += 100;
        let mut heard_last = 0;
        for tick in 0..TICKS_TO_RECOVER {
            self.insert_next();
            let kind = self.poll();
            if tick >= TICKS_TO_RECOVER - 50 {
                heard_last += u32::from(kind == FrameKind::Speech);
            }
        }
        assert_eq!(heard_last, 50, "a stream without fault is not heard");
        let (delay, target) = (self.buffer.delay(), self.buffer.effective_target());
        assert!(delay.is_some_and(|delay| delay <= target + TOLERANCE), "{delay:?} of delay for {target:?}");
    }
}
