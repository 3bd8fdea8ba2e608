//! The buffer itself; see the module above for its states and how its delay adapts.

use std::time::{Duration, Instant};

use super::conceal::Concealer;
use super::delay_estimate::DelayEstimate;
use super::filling::Filling;
use super::pace::{Change, Pace};
use super::store::PacketStore;
use super::time_scale::{Haste, lengthen, shorten};
use super::{Arrived, FrameKind, JitterConfig, JitterStats, Source, max_packet_ticks};
use crate::rtp::PayloadType;
use crate::time::{FRAME_DURATION, RtpTimestamp, StreamClock, WIDE_FRAME_SAMPLES};

/// The target never grows beyond this by itself. What is worse than that is concealed.
const MAX_TARGET: Duration = Duration::from_millis(120);

/// What the target is above the delay that nearly all packets keep: a packet that comes just after a tick waits a frame
/// for the next one in any case.
const MARGIN: Duration = FRAME_DURATION;

/// Sound held at most, in frames: 400 ms. Beyond it the oldest is thrown away.
const MAX_BUFFERED_FRAMES: u32 = 20;

/// Starved frames after which the peer counts as silent and the delay is built up anew.
const MAX_STARVED_FRAMES: u32 = 2;

/// The longest hole in the timestamps that is played as such, in frames: 200 ms. A longer one is a jump.
const MAX_HOLE_FRAMES: i32 = 10;

/// The longest hole that a codec is asked to fill at once, in frames: Opus cannot do more.
const MAX_CODEC_HOLE_FRAMES: usize = 6;

/// Decoded sound waiting at most, in frames: the longest packet, and what is decoded ahead.
const MAX_DECODED_FRAMES: usize = 14;

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
    clock: StreamClock,
    target: Duration,
    state: State,
    store: PacketStore,
    estimate: DelayEstimate,
    concealer: Concealer,
    pace: Pace,
    /// The sequence number after the last packet taken out; below it is too late.
    next_sequence: Option<u64>,
    /// Timestamp of the sample after the last one decoded or made up.
    cursor: RtpTimestamp,
    /// Sound to be played next, from `decoded_at` on.
    decoded: Vec<i16>,
    decoded_at: usize,
    /// It was made up by the codec.
    decoded_is_made_up: bool,
    scratch: Vec<i16>,
    /// Frames in a row for which there was nothing.
    starved_frames: u32,
    /// What the last packet of sound was, so that its codec can go on when nothing comes.
    last_payload_type: Option<PayloadType>,
    /// The last packet taken out held no sound, so that starving after it is not a loss.
    sound_is_off: bool,
    last_poll: Option<Instant>,
    stats: JitterStats,
}

/// What to do for the next samples of a frame.
enum Step {
    Decode,
    /// Packets are missing: make up this many samples.
    Conceal(usize),
    /// The peer paused: this many samples of silence.
    Pause(usize),
    Starve,
}

impl JitterBuffer {
    /// An empty buffer for a stream with these clocks, of which the sample rate is 8 or 16 kHz.
    pub fn new(config: JitterConfig, clock: StreamClock) -> Self {
        Self {
            clock,
            target: config.target_delay.clamp(FRAME_DURATION, 5 * FRAME_DURATION),
            state: State::Buffering { since: None },
            store: PacketStore::new(),
            estimate: DelayEstimate::new(clock.clock_rate),
            concealer: Concealer::new(clock.sample_rate),
            pace: Pace::default(),
            next_sequence: None,
            cursor: RtpTimestamp(0),
            decoded: Vec::with_capacity(MAX_DECODED_FRAMES * clock.frame_samples()),
            decoded_at: 0,
            decoded_is_made_up: false,
            scratch: Vec::with_capacity(2 * WIDE_FRAME_SAMPLES),
            starved_frames: 0,
            last_payload_type: None,
            sound_is_off: false,
            last_poll: None,
            stats: JitterStats::default(),
        }
    }

    /// Samples in each frame: 160 or 320.
    pub fn frame_samples(&self) -> usize {
        self.clock.frame_samples()
    }

    /// The clocks of the packets held.
    pub fn clock(&self) -> StreamClock {
        self.clock
    }

    /// Another codec with other clocks: forgets all packets. Statistics stay.
    pub fn change_clock(&mut self, clock: StreamClock) {
        self.clock = clock;
        self.concealer = Concealer::new(clock.sample_rate);
        self.flush();
        self.decoded.reserve(self.decoded_capacity());
    }

    /// Takes a packet. Late ones, ones held already and ones of more than [`super::MAX_PACKET`] are left out.
    pub fn insert(&mut self, packet: &Arrived<'_>, arrival: Instant) {
        if packet.duration_ticks > max_packet_ticks(self.clock.clock_rate) {
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
        self.note_arrival(packet, arrival);
        self.discard_excess();
    }

    /// Fills `frame`, whose length is [`Self::frame_samples`], with the sound of this tick. `source` is asked for the
    /// packets in sequence.
    pub fn poll_frame(&mut self, now: Instant, source: &mut dyn Source, frame: &mut [i16]) -> FrameKind {
        self.last_poll = Some(now);
        if !self.is_ready(now) {
            frame.fill(0);
            return FrameKind::Silence;
        }
        let target = self.effective_target();
        match self.pace.next_change(target) {
            Change::Keep => {}
            Change::Shorten => self.shorten(source),
            Change::Lengthen => self.lengthen(source),
        }
        let kind = self.render(source, frame);
        self.stats.concealed_frames += u64::from(kind == FrameKind::Concealed);
        kind
    }

    /// Forgets all packets, for another source. Statistics stay.
    pub fn flush(&mut self) {
        self.store.clear();
        self.decoded.clear();
        self.decoded_at = 0;
        self.next_sequence = None;
        self.last_payload_type = None;
        self.starve_out();
        self.estimate = DelayEstimate::new(self.clock.clock_rate);
    }

    /// What the buffer had to do so far.
    pub fn stats(&self) -> JitterStats {
        self.stats
    }

    /// Sound held, in RTP clock ticks.
    pub fn buffered_ticks(&self) -> u32 {
        self.store.buffered_ticks() + self.decoded_ticks()
    }

    /// The delay aimed at: the configured one, or more if the network is worse than that.
    pub fn effective_target(&self) -> Duration {
        match self.estimate.spread() {
            Duration::ZERO => self.target,
            spread => (spread + MARGIN).clamp(self.target, MAX_TARGET.max(self.target)),
        }
    }

    /// How long the fastest packets were held back in the last half second: what the buffer adds to the network's delay.
    /// `None` before it was measured.
    pub fn delay(&self) -> Option<Duration> {
        self.pace.delay()
    }

    fn decoded_capacity(&self) -> usize {
        MAX_DECODED_FRAMES * self.clock.frame_samples()
    }

    fn decoded_ticks(&self) -> u32 {
        self.clock.ticks_in_samples(self.decoded.len() - self.decoded_at)
    }

    fn duration_of_samples(&self, samples: usize) -> Duration {
        self.clock.sample_rate.duration_of(samples as u64)
    }

    fn note_arrival(&mut self, packet: &Arrived<'_>, arrival: Instant) {
        if packet.payload_type.is_none() {
            return;
        }
        match (&mut self.state, self.last_poll) {
            (State::Buffering { since }, _) => {
                since.get_or_insert(arrival);
            }
            (State::Playing, Some(last_poll)) => {
                let ahead = packet.timestamp.since(self.cursor).saturating_add_unsigned(self.decoded_ticks());
                if let Ok(ahead_ticks) = u64::try_from(ahead) {
                    let until_tick = (last_poll + FRAME_DURATION).saturating_duration_since(arrival);
                    self.pace.handle_packet(self.clock.clock_rate.duration_of(ahead_ticks) + until_tick);
                }
            }
            (State::Playing, None) => {}
        }
    }

    /// Whether there is something to play at `now`, going from buffering to playing if so.
    fn is_ready(&mut self, now: Instant) -> bool {
        let State::Buffering { since } = self.state else { return true };
        self.pop_soundless();
        let (Some(since), Some((_, head))) = (since, self.store.head()) else { return false };
        let waited = now.saturating_duration_since(since) + FRAME_DURATION / 2;
        let target = self.effective_target();
        let held = self.clock.clock_rate.duration_of(u64::from(self.store.buffered_ticks()));
        // One long packet says nothing about the delay; several at once are a burst that waited long enough elsewhere.
        let is_burst = self.store.len() > 1 && held >= target + FRAME_DURATION;
        if waited < target && !is_burst {
            return false;
        }
        self.cursor = head.timestamp;
        self.state = State::Playing;
        self.starved_frames = 0;
        self.pace.restart();
        true
    }

    /// A long DTMF event must not fill the ring while there is nothing else to wait for.
    fn pop_soundless(&mut self) {
        while self.store.head().is_some_and(|(_, head)| head.payload_type.is_none()) {
            self.next_sequence = self.store.pop().map(|(sequence, _)| sequence + 1);
        }
    }

    fn render(&mut self, source: &mut dyn Source, frame: &mut [i16]) -> FrameKind {
        let mut filling = Filling::new(frame);
        while !filling.is_full() {
            if self.decoded_at < self.decoded.len() {
                self.play_decoded(&mut filling);
                continue;
            }
            match self.next_step() {
                Step::Decode => self.decode_head(source),
                Step::Conceal(samples) => self.make_up(source, &mut filling, samples),
                Step::Pause(samples) => self.pause(&mut filling, samples),
                Step::Starve => self.starve(source, &mut filling),
            }
        }
        filling.kind()
    }

    fn next_step(&mut self) -> Step {
        let Some((sequence, head)) = self.store.head() else { return Step::Starve };
        let hole = head.timestamp.since(self.cursor);
        if head.payload_type.is_none() {
            return Step::Decode;
        }
        let longest_hole = MAX_HOLE_FRAMES * self.clock.frame_ticks().cast_signed();
        let samples = self.clock.samples_in_ticks(hole.unsigned_abs());
        if !(0..=longest_hole).contains(&hole) || samples == 0 {
            if hole.unsigned_abs() >= self.clock.frame_ticks() {
                self.pace.restart();
            }
            // Behind us: we starved before it came, and give it its time now. Far ahead: the timestamps jumped.
            self.cursor = head.timestamp;
            return Step::Decode;
        }
        if self.next_sequence == Some(sequence) { Step::Pause(samples) } else { Step::Conceal(samples) }
    }

    /// Appends the next packet to what is to be played.
    fn decode_head(&mut self, source: &mut dyn Source) {
        let Some((sequence, packet)) = self.store.pop() else { return };
        self.decoded.drain(..self.decoded_at);
        self.decoded_at = 0;
        self.decoded_is_made_up = false;
        self.next_sequence = Some(sequence + 1);
        self.sound_is_off = packet.payload_type.is_none();
        let Some(payload_type) = packet.payload_type else { return };
        let before = self.decoded.len();
        source.decode(payload_type, &packet.payload, &mut self.decoded);
        // Longer than any packet we take cannot be, and must not make the memory grow.
        self.decoded.truncate(before.max(self.decoded_capacity()));
        self.last_payload_type = Some(payload_type);
        self.cursor = self.cursor.plus(self.clock.ticks_in_samples(self.decoded.len() - before));
    }

    fn play_decoded(&mut self, filling: &mut Filling<'_>) {
        let rest = &self.decoded[self.decoded_at..];
        let out = filling.take(rest.len());
        out.copy_from_slice(&rest[..out.len()]);
        self.concealer.pass(out);
        self.decoded_at += out.len();
        if self.decoded_is_made_up {
            filling.note_made_up();
        } else {
            self.starved_frames = 0;
            filling.note_sound();
        }
    }

    /// Fills a hole before the head: by the codec if it has a way of its own, or else by repeating what was before.
    fn make_up(&mut self, source: &mut dyn Source, filling: &mut Filling<'_>, samples: usize) {
        if self.codec_makes_up(source, samples) {
            return;
        }
        let out = filling.take(samples);
        let count = out.len();
        if self.concealer.conceal(out) {
            filling.note_made_up();
        }
        self.cursor = self.cursor.plus(self.clock.ticks_in_samples(count));
    }

    fn codec_makes_up(&mut self, source: &mut dyn Source, samples: usize) -> bool {
        let Some(payload_type) = self.last_payload_type else { return false };
        let is_whole = samples <= MAX_CODEC_HOLE_FRAMES * self.clock.frame_samples();
        let count = if is_whole { samples } else { self.clock.frame_samples() };
        self.decoded.clear();
        self.decoded_at = 0;
        // What comes next helps only at the end of the hole, and only if it is of the same codec.
        let next = self.store.head().filter(|(_, head)| is_whole && head.payload_type == Some(payload_type));
        let next = next.map(|(_, head)| head.payload.as_slice());
        if !source.conceal(payload_type, count, next, &mut self.decoded) {
            return false;
        }
        self.decoded_is_made_up = true;
        self.cursor = self.cursor.plus(self.clock.ticks_in_samples(count));
        true
    }

    fn pause(&mut self, filling: &mut Filling<'_>, samples: usize) {
        let out = filling.take(samples);
        let count = out.len();
        out.fill(0);
        // What was made up before the pause fades out in it.
        let is_blending = self.concealer.is_blending();
        self.concealer.pass(out);
        if is_blending {
            filling.note_made_up();
        }
        self.cursor = self.cursor.plus(self.clock.ticks_in_samples(count));
    }

    /// Nothing is left: make up three frames, fading, then wait for the next talkspurt.
    fn starve(&mut self, source: &mut dyn Source, filling: &mut Filling<'_>) {
        let frame_samples = self.clock.frame_samples();
        if self.sound_is_off {
            self.pause(filling, frame_samples);
        } else if self.codec_makes_up(source, frame_samples) {
            self.concealer.fade(&mut self.decoded, self.starved_frames as usize * frame_samples);
        } else {
            self.make_up_by_repeating(filling);
        }
        // Whatever delay seemed too much is gone.
        self.pace.restart();
        self.starved_frames += 1;
        if self.starved_frames > MAX_STARVED_FRAMES {
            self.play_rest(filling);
            self.starve_out();
        }
    }

    fn make_up_by_repeating(&mut self, filling: &mut Filling<'_>) {
        let out = filling.take(usize::MAX);
        let count = out.len();
        if self.concealer.conceal(out) {
            filling.note_made_up();
        }
        self.cursor = self.cursor.plus(self.clock.ticks_in_samples(count));
    }

    /// The end before silence: what the codec made up, and silence behind it.
    fn play_rest(&mut self, filling: &mut Filling<'_>) {
        if self.decoded_at < self.decoded.len() {
            self.play_decoded(filling);
        }
        filling.take(usize::MAX).fill(0);
    }

    fn starve_out(&mut self) {
        self.state = State::Buffering { since: None };
        self.decoded.clear();
        self.decoded_at = 0;
        self.decoded_is_made_up = false;
        self.concealer.reset();
        self.pace.restart();
    }

    fn haste(&self) -> Haste {
        if self.pace.is_impatient() { Haste::Now } else { Haste::Wait }
    }

    /// Plays one period less, if the sound allows it.
    fn shorten(&mut self, source: &mut dyn Source) {
        // Two of the longest periods must be there.
        self.decode_ahead(source, 2 * self.clock.frame_samples());
        let (haste, samples_per_ms) = (self.haste(), self.samples_per_ms());
        let mut removed = Duration::ZERO;
        if self.can_be_scaled() {
            let samples = shorten(&mut self.decoded, self.decoded_at, samples_per_ms, haste);
            removed = self.duration_of_samples(samples);
        }
        self.stats.shortened += removed;
        match removed {
            Duration::ZERO => self.pace.handle_refusal(),
            removed => self.pace.handle_shortened(removed),
        }
    }

    /// Plays one period more, if the sound allows it.
    fn lengthen(&mut self, source: &mut dyn Source) {
        self.decode_ahead(source, self.clock.frame_samples());
        let (haste, samples_per_ms) = (self.haste(), self.samples_per_ms());
        let mut added = Duration::ZERO;
        if self.can_be_scaled() && self.decoded.len() + WIDE_FRAME_SAMPLES <= self.decoded_capacity() {
            let (sound, history) = (&mut self.decoded, self.concealer.history());
            let samples = lengthen(sound, self.decoded_at, history, &mut self.scratch, samples_per_ms, haste);
            added = self.duration_of_samples(samples);
        }
        self.stats.lengthened += added;
        match added {
            Duration::ZERO => self.pace.handle_refusal(),
            added => self.pace.handle_lengthened(added),
        }
    }

    fn can_be_scaled(&self) -> bool {
        !self.decoded_is_made_up && !self.concealer.is_blending()
    }

    fn samples_per_ms(&self) -> usize {
        self.clock.sample_rate.hz() as usize / 1_000
    }

    /// Decodes packets that follow without a hole until there are `samples`.
    fn decode_ahead(&mut self, source: &mut dyn Source, samples: usize) {
        while self.can_be_scaled()
            && self.decoded.len() - self.decoded_at < samples
            && self.store.head().is_some_and(|(sequence, head)| {
                self.next_sequence == Some(sequence)
                    && head.payload_type.is_some()
                    && head.timestamp == self.cursor
                    && head.duration_ticks > 0
            })
        {
            self.decode_head(source);
        }
    }

    fn discard_head(&mut self) {
        if let Some((sequence, _)) = self.store.pop() {
            self.next_sequence = Some(sequence + 1);
            self.stats.discarded += 1;
        }
    }

    /// After a stall everything comes at once: keep the newest, within the target.
    fn discard_excess(&mut self) {
        if self.store.buffered_ticks() <= MAX_BUFFERED_FRAMES * self.clock.frame_ticks() {
            return;
        }
        let target_ticks = self.clock.clock_rate.samples_in(self.effective_target());
        while self.store.len() > 1 && u64::from(self.store.buffered_ticks()) > target_ticks {
            self.discard_head();
        }
        if let Some((_, head)) = self.store.head() {
            self.cursor = head.timestamp;
        }
        self.pace.restart();
    }
}
