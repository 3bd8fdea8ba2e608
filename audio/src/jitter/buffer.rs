//! The buffer itself; see the module above for its states and how its delay adapts.

use std::time::{Duration, Instant};

use super::conceal::Concealer;
use super::delay_estimate::DelayEstimate;
use super::store::{MAX_PACKET_TICKS, PacketStore};
use crate::rtp::PayloadType;
use crate::time::{FRAME_DURATION, FRAME_SAMPLES, Frame, RtpTimestamp, SILENT_FRAME, SampleRate};

/// Clock ticks of one frame.
const FRAME_TICKS: u32 = FRAME_SAMPLES as u32;

/// The target never grows beyond this by itself: 120 ms. What is worse than that is concealed.
const MAX_TARGET_TICKS: u32 = 6 * FRAME_TICKS;

/// Sound held at most: 400 ms. Beyond it the oldest is thrown away.
const MAX_BUFFERED_TICKS: u32 = 20 * FRAME_TICKS;

/// Starved frames after which the peer counts as silent and the delay is built up anew.
const MAX_STARVED_FRAMES: u32 = 2;

/// The longest hole in the timestamps that is played as such: 200 ms. A longer one is a jump.
const MAX_HOLE_TICKS: i32 = 10 * FRAME_TICKS as i32;

/// Frames over which the least depth is taken before one frame is dropped: half a second.
const DEPTH_WINDOW_FRAMES: u32 = 25;

/// Samples over which a dropped frame is blended into the next: 5 ms.
const DROP_BLEND_SAMPLES: usize = 40;

/// What a frame is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FrameKind {
    /// Sound from packets.
    Speech,
    /// At least partly made up for lost or late packets.
    Concealed,
    /// Nothing arrived, was meant to arrive, or could be made up any more: digital silence.
    Silence,
}

/// One tick's frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Played {
    /// 20 ms of PCM.
    pub frame: Frame,
    /// Where it came from.
    pub kind: FrameKind,
}

impl Played {
    const SILENCE: Self = Self { frame: SILENT_FRAME, kind: FrameKind::Silence };
}

/// How much delay is spent on smoothness.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct JitterConfig {
    /// Delay aimed at when the network is smooth; kept within 20 to 100 ms. It grows by itself with the jitter, up to
    /// 120 ms.
    pub target_delay: Duration,
}

impl Default for JitterConfig {
    fn default() -> Self {
        Self { target_delay: Duration::from_millis(40) }
    }
}

/// What the buffer had to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct JitterStats {
    /// Packets that came after one behind them was played, or again.
    pub late: u64,
    /// Packets thrown away because too much had piled up.
    pub discarded: u64,
    /// Frames made up at least partly.
    pub concealed_frames: u64,
    /// Frames blended away to catch up with the peer.
    pub dropped_frames: u64,
}

/// A packet for the buffer.
#[derive(Debug, Clone, Copy)]
pub struct Arrived<'a> {
    /// Extended sequence number.
    pub sequence: u64,
    /// Moment of the first sample.
    pub timestamp: RtpTimestamp,
    /// Length in RTP clock ticks; at most [`MAX_PACKET_TICKS`].
    pub duration_ticks: u32,
    /// `None` for a packet that takes a sequence number but holds no sound, like a DTMF event.
    pub payload_type: Option<PayloadType>,
    /// What to decode when its turn comes.
    pub payload: &'a [u8],
}

/// Turns the payload of one packet into samples, appending them.
pub type Decode<'a> = dyn FnMut(PayloadType, &[u8], &mut Vec<i16>) + 'a;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Collecting until the delay is built up.
    Buffering {
        /// When the first packet of sound of this talkspurt came.
        since: Option<Instant>,
    },
    /// One frame per tick from the packets in turn.
    Playing,
}

/// The jitter buffer of one stream.
#[derive(Debug)]
pub struct JitterBuffer {
    clock_rate: SampleRate,
    target_ticks: u32,
    state: State,
    store: PacketStore,
    estimate: DelayEstimate,
    concealer: Concealer,
    /// The sequence number after the last packet taken out; below it is too late.
    next_sequence: Option<u64>,
    /// Timestamp of the next sample to play.
    cursor: RtpTimestamp,
    /// The packet being played.
    decoded: Vec<i16>,
    decoded_at: usize,
    /// Frames in a row for which there was nothing.
    starved_frames: u32,
    /// The last packet taken out held no sound, so that starving after it is not a loss.
    sound_is_off: bool,
    depth: DepthWindow,
    stats: JitterStats,
}

/// What to do for the next samples of a frame.
enum Step {
    Decode,
    /// A packet is missing: make up this many samples.
    Conceal(usize),
    /// The peer paused: this many samples of silence.
    Pause(usize),
    Starve,
}

/// A frame being filled.
struct Filling {
    frame: Frame,
    filled: usize,
    has_sound: bool,
    is_made_up: bool,
}

impl JitterBuffer {
    /// An empty buffer for a stream with that RTP clock.
    pub fn new(config: JitterConfig, clock_rate: SampleRate) -> Self {
        let target = config.target_delay.clamp(FRAME_DURATION, 5 * FRAME_DURATION);
        Self {
            clock_rate,
            target_ticks: clock_rate.samples_in(target) as u32, // At most 100 ms.
            state: State::Buffering { since: None },
            store: PacketStore::new(),
            estimate: DelayEstimate::new(clock_rate),
            concealer: Concealer::new(),
            next_sequence: None,
            cursor: RtpTimestamp(0),
            decoded: Vec::with_capacity(MAX_PACKET_TICKS as usize),
            decoded_at: 0,
            starved_frames: 0,
            sound_is_off: false,
            depth: DepthWindow::default(),
            stats: JitterStats::default(),
        }
    }

    /// Takes a packet. Late ones, ones held already and ones of more than [`MAX_PACKET_TICKS`] are left out.
    pub fn insert(&mut self, packet: &Arrived<'_>, arrival: Instant) {
        if packet.duration_ticks > MAX_PACKET_TICKS {
            return;
        }
        if packet.payload_type.is_some() {
            self.estimate.handle_packet(packet.timestamp, arrival);
        }
        if self.next_sequence.is_some_and(|next| packet.sequence < next) {
            self.stats.late += 1;
            return;
        }
        while !self.store.has_room_for(packet.sequence) {
            self.discard_head();
        }
        let Some(slot) = self.store.insert(packet.sequence, packet.duration_ticks) else {
            self.stats.late += 1;
            return;
        };
        slot.timestamp = packet.timestamp;
        slot.payload_type = packet.payload_type;
        slot.payload.extend_from_slice(packet.payload);
        if let (State::Buffering { since: since @ None }, Some(_)) = (&mut self.state, packet.payload_type) {
            *since = Some(arrival);
        }
        self.discard_excess();
    }

    /// The frame of this tick. `decode` is called for the packets in sequence.
    pub fn poll_frame(&mut self, now: Instant, decode: &mut Decode<'_>) -> Played {
        if !self.is_ready(now) {
            return Played::SILENCE;
        }
        let mut played = self.render(decode);
        let depth_ticks = self.buffered_ticks();
        if self.state == State::Playing && self.depth.is_excessive(depth_ticks, self.effective_target_ticks()) {
            let next = self.render(decode);
            played = blended(&played, &next);
            self.stats.dropped_frames += 1;
        }
        self.stats.concealed_frames += u64::from(played.kind == FrameKind::Concealed);
        played
    }

    /// Forgets all packets, for another source. Statistics stay.
    pub fn flush(&mut self) {
        self.store.clear();
        self.decoded.clear();
        self.decoded_at = 0;
        self.next_sequence = None;
        self.starve_out();
        self.estimate = self.estimate.restarted();
    }

    /// What the buffer had to do so far.
    pub fn stats(&self) -> JitterStats {
        self.stats
    }

    /// Sound held, in RTP clock ticks.
    pub fn buffered_ticks(&self) -> u32 {
        self.store.buffered_ticks() + (self.decoded.len() - self.decoded_at) as u32
    }

    /// The configured target, or more if the network has been worse than that.
    fn effective_target_ticks(&self) -> u32 {
        self.estimate.spread_ticks().clamp(self.target_ticks, MAX_TARGET_TICKS)
    }

    /// Whether there is something to play at `now`, going from buffering to playing if so.
    fn is_ready(&mut self, now: Instant) -> bool {
        let State::Buffering { since } = self.state else { return true };
        self.pop_soundless();
        let (Some(since), Some((_, head))) = (since, self.store.head()) else { return false };
        let target_ticks = self.effective_target_ticks();
        let waited = now.saturating_duration_since(since) + FRAME_DURATION / 2;
        let target = self.clock_rate.duration_of(u64::from(target_ticks));
        if waited < target && self.store.buffered_ticks() < target_ticks + FRAME_TICKS {
            return false;
        }
        self.cursor = head.timestamp;
        self.state = State::Playing;
        self.starved_frames = 0;
        self.depth = DepthWindow::default();
        true
    }

    /// A long DTMF event must not fill the ring while there is nothing else to wait for.
    fn pop_soundless(&mut self) {
        while self.store.head().is_some_and(|(_, head)| head.payload_type.is_none()) {
            self.next_sequence = self.store.pop().map(|(sequence, _)| sequence + 1);
        }
    }

    fn render(&mut self, decode: &mut Decode<'_>) -> Played {
        let mut filling = Filling { frame: SILENT_FRAME, filled: 0, has_sound: false, is_made_up: false };
        while filling.filled < FRAME_SAMPLES {
            if self.decoded_at < self.decoded.len() {
                self.play_decoded(&mut filling);
                continue;
            }
            match self.next_step() {
                Step::Decode => self.decode_head(decode),
                Step::Conceal(samples) => self.make_up(&mut filling, samples),
                Step::Pause(samples) => self.pause(&mut filling, samples),
                Step::Starve => self.starve(&mut filling),
            }
        }
        filling.into_played()
    }

    fn next_step(&mut self) -> Step {
        let Some((sequence, head)) = self.store.head() else { return Step::Starve };
        let hole = head.timestamp.since(self.cursor);
        if head.payload_type.is_none() {
            return Step::Decode;
        }
        if !(0..=MAX_HOLE_TICKS).contains(&hole) {
            // Behind us: we starved before it came, and give it its time now. Far ahead: the timestamps jumped.
            self.cursor = head.timestamp;
            return Step::Decode;
        }
        match (hole, self.next_sequence == Some(sequence)) {
            (0, _) => Step::Decode,
            (_, true) => Step::Pause(hole as usize),
            (_, false) => Step::Conceal(hole as usize),
        }
    }

    fn decode_head(&mut self, decode: &mut Decode<'_>) {
        let Some((sequence, packet)) = self.store.pop() else { return };
        self.decoded.clear();
        self.decoded_at = 0;
        self.next_sequence = Some(sequence + 1);
        self.sound_is_off = packet.payload_type.is_none();
        if let Some(payload_type) = packet.payload_type {
            decode(payload_type, &packet.payload, &mut self.decoded);
        }
    }

    fn play_decoded(&mut self, filling: &mut Filling) {
        let rest = &self.decoded[self.decoded_at..];
        let count = rest.len().min(filling.room().len());
        let out = &mut filling.room()[..count];
        out.copy_from_slice(&rest[..count]);
        self.concealer.pass(out);
        self.decoded_at += count;
        self.starved_frames = 0;
        filling.has_sound = true;
        self.advance(filling, count);
    }

    fn make_up(&mut self, filling: &mut Filling, samples: usize) {
        let count = samples.min(filling.room().len());
        filling.is_made_up |= self.concealer.conceal(&mut filling.room()[..count]);
        self.advance(filling, count);
    }

    fn pause(&mut self, filling: &mut Filling, samples: usize) {
        let count = samples.min(filling.room().len());
        self.concealer.pass(&mut filling.room()[..count]);
        self.advance(filling, count);
    }

    /// Nothing is left: make up two frames, then wait for the next talkspurt.
    fn starve(&mut self, filling: &mut Filling) {
        self.starved_frames += 1;
        if self.sound_is_off {
            self.pause(filling, FRAME_SAMPLES);
        } else {
            self.make_up(filling, FRAME_SAMPLES);
        }
        if self.starved_frames > MAX_STARVED_FRAMES {
            self.starve_out();
        }
    }

    fn starve_out(&mut self) {
        self.state = State::Buffering { since: None };
        self.concealer = Concealer::new();
    }

    fn advance(&mut self, filling: &mut Filling, count: usize) {
        filling.filled += count;
        self.cursor = self.cursor.plus(count as u32);
    }

    fn discard_head(&mut self) {
        if let Some((sequence, _)) = self.store.pop() {
            self.next_sequence = Some(sequence + 1);
            self.stats.discarded += 1;
        }
    }

    /// After a stall everything comes at once: keep the newest, within the target.
    fn discard_excess(&mut self) {
        if self.store.buffered_ticks() <= MAX_BUFFERED_TICKS {
            return;
        }
        while self.store.len() > 1 && self.store.buffered_ticks() > self.effective_target_ticks() {
            self.discard_head();
        }
        if let Some((_, head)) = self.store.head() {
            self.cursor = head.timestamp;
        }
    }
}

impl Filling {
    fn room(&mut self) -> &mut [i16] {
        &mut self.frame[self.filled..]
    }

    fn into_played(self) -> Played {
        let kind = match (self.is_made_up, self.has_sound) {
            (true, _) => FrameKind::Concealed,
            (false, true) => FrameKind::Speech,
            (false, false) => FrameKind::Silence,
        };
        Played { frame: self.frame, kind }
    }
}

/// `first` going over into `second` within 5 ms.
fn blended(first: &Played, second: &Played) -> Played {
    let mut played = *second;
    for (index, sample) in played.frame[..DROP_BLEND_SAMPLES].iter_mut().enumerate() {
        let weight = (index + 1) as f32 / (DROP_BLEND_SAMPLES + 1) as f32;
        let mixed = f32::from(first.frame[index]) * (1.0 - weight) + f32::from(*sample) * weight;
        *sample = mixed.round() as i16;
    }
    played
}

/// Finds out whether more than the target has lain in the buffer for a whole window.
#[derive(Debug, Default)]
struct DepthWindow {
    frames: u32,
    least_ticks: Option<u32>,
}

impl DepthWindow {
    /// Takes note of the depth after a frame; `true` at the end of a window in which it never fell to the target.
    fn is_excessive(&mut self, depth_ticks: u32, target_ticks: u32) -> bool {
        let least = self.least_ticks.map_or(depth_ticks, |least| least.min(depth_ticks));
        self.least_ticks = Some(least);
        self.frames += 1;
        if self.frames < DEPTH_WINDOW_FRAMES {
            return false;
        }
        *self = Self::default();
        least > target_ticks
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::at;
    use proptest::prelude::*;

    fn buffer() -> JitterBuffer {
        JitterBuffer::new(JitterConfig::default(), SampleRate::NARROW_BAND)
    }

    /// A codec for tests: each payload byte is one sample of that value times 100.
    fn decode(_: PayloadType, payload: &[u8], samples: &mut Vec<i16>) {
        samples.extend(payload.iter().map(|&byte| i16::from(byte) * 100));
    }

    fn packet(sequence: u64, timestamp: u32, payload: &[u8]) -> Arrived<'_> {
        let duration_ticks = payload.len() as u32;
        let payload_type = Some(PayloadType::PCMU);
        Arrived { sequence, timestamp: RtpTimestamp(timestamp), duration_ticks, payload_type, payload }
    }

    /// Plays `(sequence, timestamp, arrival_ms)` and writes each tick as a letter: the packet heard at its end (`a` is
    /// sequence 1), `~` made up, `.` silence. The first tick is at 0 ms.
    fn play(packets: &[(u64, u32, u64)], ticks: u64) -> (String, JitterStats) {
        let mut buffer = buffer();
        let mut waiting = packets.to_vec();
        waiting.sort_by_key(|&(_, _, arrival_ms)| arrival_ms);
        let mut waiting = waiting.into_iter().peekable();
        let mut heard = String::new();
        for tick in 0..ticks {
            while let Some((sequence, timestamp, arrival_ms)) = waiting.next_if(|packet| packet.2 <= tick * 20) {
                let letter = b'a' + sequence as u8 - 1;
                buffer.insert(&packet(sequence, timestamp, &[letter; FRAME_SAMPLES]), at(arrival_ms));
            }
            let played = buffer.poll_frame(at(tick * 20), &mut decode);
            heard.push(match played.kind {
                FrameKind::Speech => char::from((played.frame[FRAME_SAMPLES - 1] / 100) as u8),
                FrameKind::Concealed => '~',
                FrameKind::Silence => '.',
            });
        }
        (heard, buffer.stats())
    }

    #[test]
    fn packets_are_heard_in_order_whatever_the_network_does() {
        const WRAP: u32 = u32::MAX - 159;
        // (name, (sequence, timestamp, arrival_ms), heard, late)
        type Row = (&'static str, &'static [(u64, u32, u64)], &'static str, u64);
        let rows: [Row; 12] = [
            ("in order, then the end", &[(1, 0, 5), (2, 160, 25), (3, 320, 45), (4, 480, 65)], "..abcd~~..", 0),
            ("timestamps wrap", &[(1, WRAP, 5), (2, 0, 25), (3, 160, 45)], "..abc~~.", 0),
            ("reordered in time", &[(1, 0, 5), (3, 320, 25), (2, 160, 45), (4, 480, 65)], "..abcd~~.", 0),
            ("one lost", &[(1, 0, 5), (2, 160, 25), (4, 480, 65), (5, 640, 85)], "..ab~de~~.", 0),
            ("three lost", &[(1, 0, 5), (5, 640, 85), (6, 800, 105)], "..a~~.ef~~.", 0),
            (
                "after its turn, before the next",
                &[(1, 0, 5), (2, 160, 25), (4, 480, 75), (3, 320, 90)],
                "..ab~cd~~.",
                0,
            ),
            ("after the next", &[(1, 0, 5), (2, 160, 25), (4, 480, 65), (3, 320, 105)], "..ab~d~~.", 1),
            ("twice", &[(1, 0, 5), (1, 0, 6), (2, 160, 25), (2, 160, 85)], "..ab~~.", 2),
            ("new talkspurt", &[(1, 0, 5), (2, 160, 25), (3, 1_920, 245), (4, 2_080, 265)], "..ab~~........cd~~.", 0),
            ("short pause by the peer", &[(1, 0, 5), (2, 320, 25), (3, 480, 45)], "..a.bc~~.", 0),
            ("timestamps jump ahead", &[(1, 0, 5), (2, 9_000_000, 25), (3, 9_000_160, 45)], "..abc~~.", 0),
            ("timestamps jump back", &[(1, 9_000, 5), (2, 40, 25), (3, 200, 45)], "..abc~~.", 0),
        ];
        for (name, packets, expected, late) in rows {
            let (heard, stats) = play(packets, expected.len() as u64);
            assert_eq!(heard, expected, "{name}");
            assert_eq!(stats.late, late, "{name}: late");
        }
    }

    #[test]
    fn enough_at_once_starts_without_waiting() {
        let (heard, _) = play(&[(1, 0, 5), (2, 160, 5), (3, 320, 5)], 5);
        assert_eq!(heard, ".abc~");
    }

    /// Everything that a stalled network held back is still heard, up to the bound.
    #[test]
    fn a_stall_delays_speech_but_loses_none() {
        let packets = (1..=16).map(|n| (n, n as u32 * 160, if n < 4 { n * 20 } else { (n * 20).max(200) }));
        let (heard, stats) = play(&packets.collect::<Vec<_>>(), 30);
        assert_eq!(heard.replace(['.', '~'], ""), "abcdefghijklmnop");
        assert_eq!((stats.late, stats.discarded), (0, 0));
    }

    #[test]
    fn too_much_at_once_keeps_the_newest() {
        let mut buffer = buffer();
        for sequence in 1..=40 {
            buffer.insert(&packet(sequence, sequence as u32 * 160, &[1; FRAME_SAMPLES]), at(0));
            assert!(buffer.buffered_ticks() <= MAX_BUFFERED_TICKS);
        }
        assert!(buffer.stats().discarded >= 20);
        assert_eq!(buffer.poll_frame(at(40), &mut decode).kind, FrameKind::Speech);
    }

    #[test]
    fn too_much_in_long_packets_keeps_the_last_one() {
        let mut buffer = buffer();
        for sequence in 1..=3 {
            buffer.insert(&packet(sequence, sequence as u32 * 1_600, &[sequence as u8; 1_600]), at(0));
        }
        assert_eq!(buffer.stats().discarded, 2);
        assert_eq!(buffer.poll_frame(at(40), &mut decode).frame, [300; FRAME_SAMPLES]);
    }

    /// A key held for four seconds: 200 packets without sound, then speech with its full delay.
    #[test]
    fn a_long_key_press_neither_fills_the_buffer_nor_shortens_the_delay() {
        let mut buffer = buffer();
        for sequence in 1..=200 {
            let event = Arrived { payload_type: None, duration_ticks: 0, ..packet(sequence, 0, &[]) };
            buffer.insert(&event, at(sequence * 20));
            assert_eq!(buffer.poll_frame(at(sequence * 20), &mut decode).kind, FrameKind::Silence);
        }
        assert_eq!(buffer.stats(), JitterStats::default());
        let kinds = (201..205).map(|sequence| {
            buffer.insert(&packet(sequence, sequence as u32 * 160, &[1; FRAME_SAMPLES]), at(sequence * 20));
            buffer.poll_frame(at(sequence * 20), &mut decode).kind
        });
        let expected = [FrameKind::Silence, FrameKind::Silence, FrameKind::Speech, FrameKind::Speech];
        assert_eq!(kinds.collect::<Vec<_>>(), expected);
    }

    /// Sound comes out as it went in for every packet length, also when frames and packets do not line up.
    #[test]
    fn any_packet_length_gives_the_same_sound() {
        let sound = (0..9_600_usize).map(|index| (index % 251) as u8).collect::<Vec<_>>();
        for packet_samples in [80, 160, 200, 240, 320, 480, 1_600] {
            let mut buffer = buffer();
            let mut heard = Vec::new();
            let mut packets = sound.chunks(packet_samples).enumerate().peekable();
            for tick in 0..70_u64 {
                while let Some((index, payload)) =
                    packets.next_if(|(index, _)| (index * packet_samples) as u64 <= tick * FRAME_SAMPLES as u64)
                {
                    let timestamp = (index * packet_samples) as u32;
                    buffer.insert(&packet(index as u64, timestamp, payload), at(u64::from(timestamp) / 8));
                }
                let played = buffer.poll_frame(at(tick * 20), &mut decode);
                if played.kind == FrameKind::Speech {
                    heard.extend(played.frame);
                }
            }
            let expected = sound.iter().map(|&byte| i16::from(byte) * 100).collect::<Vec<_>>();
            assert_eq!(heard.len(), expected.len(), "{packet_samples} samples a packet");
            assert!(heard == expected, "{packet_samples} samples a packet");
        }
    }

    /// A minute with a peer whose clock is off. Gives the statistics and the deepest the buffer ever was.
    fn drift(packet_interval_us: u64) -> (JitterStats, u32) {
        let mut buffer = buffer();
        let (mut sequence, mut deepest) = (0, 0);
        for tick in 0..3_000_u64 {
            while sequence * packet_interval_us <= tick * 20_000 {
                let arrival = at(0) + Duration::from_micros(sequence * packet_interval_us);
                buffer.insert(&packet(sequence, sequence as u32 * 160, &[50; FRAME_SAMPLES]), arrival);
                sequence += 1;
            }
            buffer.poll_frame(at(tick * 20), &mut decode);
            deepest = deepest.max(buffer.buffered_ticks());
        }
        (buffer.stats(), deepest)
    }

    #[test]
    fn a_fast_peer_is_followed_by_dropping_frames() {
        let (stats, deepest) = drift(19_900); // 0.5 % fast: 300 ms in a minute.
        assert!((12..=18).contains(&stats.dropped_frames), "{stats:?}");
        assert!(deepest <= 5 * FRAME_TICKS, "{deepest}");
        assert_eq!((stats.concealed_frames, stats.discarded, stats.late), (0, 0, 0));
    }

    #[test]
    fn a_slow_peer_is_followed_by_inserting_frames() {
        let (stats, deepest) = drift(20_100);
        assert!((12..=18).contains(&stats.concealed_frames), "{stats:?}");
        assert!(deepest <= 5 * FRAME_TICKS, "{deepest}");
        assert_eq!((stats.dropped_frames, stats.discarded, stats.late), (0, 0, 0));
    }

    /// Thirty seconds of jitter twice the target: after a while nothing may be made up any more.
    #[test]
    fn the_delay_grows_to_what_the_network_needs() {
        let mut buffer = buffer();
        let (mut sequence, mut latest_ms, mut concealed_at_5_s) = (0_u64, 0, 0);
        let mut arrival_ms = |sequence: u64| {
            latest_ms = (sequence * 20 + sequence * 37 % 81).max(latest_ms);
            latest_ms
        };
        let mut next_ms = arrival_ms(0);
        for tick in 0..1_500_u64 {
            while next_ms <= tick * 20 {
                buffer.insert(&packet(sequence, sequence as u32 * 160, &[50; FRAME_SAMPLES]), at(next_ms));
                sequence += 1;
                next_ms = arrival_ms(sequence);
            }
            buffer.poll_frame(at(tick * 20), &mut decode);
            if tick == 250 {
                concealed_at_5_s = buffer.stats().concealed_frames;
            }
        }
        let stats = buffer.stats();
        assert!((1..10).contains(&concealed_at_5_s), "{concealed_at_5_s}");
        assert_eq!(stats.concealed_frames, concealed_at_5_s, "{stats:?}");
        assert_eq!((stats.late, stats.discarded), (0, 0));
    }

    #[derive(Debug, Clone)]
    enum Operation {
        Insert { step: i64, timestamp_step: u32, samples: usize, is_event: bool },
        Poll { elapsed_ms: u64 },
        Flush,
    }

    fn operation() -> impl Strategy<Value = Operation> {
        let step = prop_oneof![6 => Just(1_i64), 2 => -8_i64..8, 1 => -200_i64..4_000];
        let timestamp_step = prop_oneof![6 => Just(160_u32), 2 => 0_u32..2_000, 1 => any::<u32>()];
        let samples = prop_oneof![4 => Just(160_usize), 2 => 0_usize..=1_600, 1 => Just(1_601_usize)];
        let insert = (step, timestamp_step, samples, prop::bool::weighted(0.1)).prop_map(
            |(step, timestamp_step, samples, is_event)| Operation::Insert { step, timestamp_step, samples, is_event },
        );
        let elapsed_ms = prop_oneof![4 => Just(20_u64), 1 => 0_u64..3_000];
        prop_oneof![
            10 => insert,
            10 => elapsed_ms.prop_map(|elapsed_ms| Operation::Poll { elapsed_ms }),
            1 => Just(Operation::Flush),
        ]
    }

    proptest! {
        /// Whatever came before, the buffer stays bounded, and a steady stream is heard again within half a second.
        #[test]
        fn no_history_leaves_it_stuck(operations in prop::collection::vec(operation(), 0..300)) {
            let mut buffer = buffer();
            let (mut sequence, mut timestamp, mut now_ms) = (100_000_u64, 0_u32, 0);
            for operation in operations {
                match operation {
                    Operation::Insert { step, timestamp_step, samples, is_event } => {
                        let this = sequence.saturating_add_signed(step);
                        sequence = sequence.max(this);
                        timestamp = timestamp.wrapping_add(timestamp_step);
                        let payload = vec![1; samples];
                        let mut packet = packet(this, timestamp, &payload);
                        if is_event {
                            packet = Arrived { payload_type: None, duration_ticks: 0, payload: &[], ..packet };
                        }
                        buffer.insert(&packet, at(now_ms));
                    }
                    Operation::Poll { elapsed_ms } => {
                        now_ms += elapsed_ms;
                        buffer.poll_frame(at(now_ms), &mut decode);
                    }
                    Operation::Flush => buffer.flush(),
                }
                prop_assert!(buffer.buffered_ticks() <= MAX_BUFFERED_TICKS + MAX_PACKET_TICKS);
            }
            let mut last_kinds = Vec::new();
            for _ in 0..30 {
                sequence += 1;
                timestamp = timestamp.wrapping_add(160);
                buffer.insert(&packet(sequence, timestamp, &[7; FRAME_SAMPLES]), at(now_ms));
                now_ms += 20;
                last_kinds.push(buffer.poll_frame(at(now_ms), &mut decode).kind);
            }
            prop_assert!(last_kinds[25..].iter().all(|&kind| kind == FrameKind::Speech), "{last_kinds:?}");
        }
    }
}
