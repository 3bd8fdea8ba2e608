//! One incoming RTP stream: datagrams in, one frame per tick and key presses out.

use std::time::{Duration, Instant};

use super::dtmf::{DtmfEvent, DtmfReceiver};
use super::error::{ErrorCounts, RtpError};
use super::packet::{Packet, PayloadType};
use super::reception::{Reception, Verdict};
use super::tone_keys::ToneKeys;
use crate::codec::{CodecKind, Decoder};
use crate::dsp::half_band::{Downsampler, Upsampler};
pub use crate::jitter::FrameKind;
use crate::jitter::{Arrived, JitterBuffer, JitterConfig, Source, max_packet_ticks};
use crate::time::{FRAME_SAMPLES, Frame, SILENT_FRAME, SampleRate, StreamClock, WIDE_FRAME_SAMPLES, WideFrame};

/// One tick's frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Played<F = Frame> {
    /// 20 ms of PCM.
    pub frame: F,
    /// Where it came from.
    pub kind: FrameKind,
}

/// What was negotiated for the incoming direction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReceiverConfig {
    /// Every codec we offered or answered with, by payload type: a peer may switch between them at any packet.
    pub codecs: Vec<(PayloadType, CodecKind)>,
    /// Payload type of `telephone-event`, if negotiated.
    pub dtmf_payload_type: Option<PayloadType>,
    /// RTP clock of `telephone-event`; `None` for that of the first codec, as RFC 4733 §2.1 has it.
    pub dtmf_clock_rate: Option<SampleRate>,
    /// Keys are also heard in the sound, until the first telephone event: the last resort, for peers that agreed to none.
    pub listens_for_tones: bool,
    /// Delay against smoothness.
    pub jitter: JitterConfig,
}

impl ReceiverConfig {
    /// These codecs under their static payload types, default jitter settings.
    pub fn new(codecs: &[CodecKind], dtmf_payload_type: Option<PayloadType>) -> Self {
        let codecs = codecs.iter().map(|&kind| (kind.payload_type(), kind)).collect();
        Self {
            codecs,
            dtmf_payload_type,
            dtmf_clock_rate: None,
            listens_for_tones: false,
            jitter: JitterConfig::default(),
        }
    }
}

/// How the stream fared. Counts run over all sources of the stream.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct ReceiverStats {
    /// Packets of the stream, duplicates left out, late ones included.
    pub received: u64,
    /// Packets that never came (RFC 3550 §A.3), as of now: one still under way counts.
    pub lost: u64,
    /// Packets that came after one behind them was played: not lost, but not heard.
    pub late: u64,
    /// Packets that came again.
    pub duplicate: u64,
    /// Packets that came after one with a higher sequence number.
    pub reordered: u64,
    /// Packets thrown away because too much had piled up.
    pub discarded: u64,
    /// Datagrams that broke the format, see [`ErrorCounts::malformed`].
    pub malformed: u64,
    /// Refused datagrams by reason.
    pub errors: ErrorCounts,
    /// Frames made up at least partly.
    pub concealed_frames: u64,
    /// Sound left out to give up delay, a period of the voice at a time.
    pub shortened: Duration,
    /// Sound repeated to gain delay.
    pub lengthened: Duration,
    /// What the jitter buffer added to the network's delay in the last half second, once that was measured.
    pub jitter_buffer_delay: Option<Duration>,
    /// What it aims at.
    pub jitter_buffer_target: Duration,
    /// Interarrival jitter (RFC 3550 §6.4.1) in milliseconds.
    pub jitter_ms: f64,
    /// Changes of SSRC, or jumps in sequence, that were followed.
    pub source_changes: u64,
    /// Arrival of the latest packet of the source followed, whatever it held; for the no-RTP watchdog.
    pub last_packet_at: Option<Instant>,
}

/// One incoming stream. Nothing is allocated per packet once the payloads have reached their size.
pub struct Receiver {
    coders: Coders,
    downsampler: Downsampler,
    upsampler: Upsampler,
    dtmf_payload_type: Option<PayloadType>,
    reception: Reception,
    jitter: JitterBuffer,
    dtmf: DtmfReceiver,
    /// `None` if not asked for.
    tone_keys: Option<ToneKeys>,
    errors: ErrorCounts,
    last_packet_at: Option<Instant>,
}

struct Coder {
    payload_type: PayloadType,
    kind: CodecKind,
    decoder: Box<dyn Decoder>,
}

struct Coders(Vec<Coder>);

impl Coders {
    fn find(&self, payload_type: PayloadType) -> Option<&Coder> {
        self.0.iter().find(|coder| coder.payload_type == payload_type)
    }

    fn find_mut(&mut self, payload_type: PayloadType) -> Option<&mut Coder> {
        self.0.iter_mut().find(|coder| coder.payload_type == payload_type)
    }
}

impl Source for Coders {
    fn decode(&mut self, payload_type: PayloadType, payload: &[u8], samples: &mut Vec<i16>) {
        if let Some(coder) = self.find_mut(payload_type) {
            coder.decoder.decode(payload, samples);
        }
    }

    fn conceal(
        &mut self,
        payload_type: PayloadType,
        count: usize,
        next: Option<&[u8]>,
        samples: &mut Vec<i16>,
    ) -> bool {
        self.find_mut(payload_type).is_some_and(|coder| coder.decoder.conceal(count, next, samples))
    }
}

/// A frame at the rate of the codec in use.
#[expect(clippy::large_enum_variant, reason = "lives on the stack for a moment; a box would allocate for each frame")]
enum Native {
    Narrow(Frame),
    Wide(WideFrame),
}

/// What a packet of ours holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Content {
    Sound { duration_ticks: u32, clock: StreamClock },
    Dtmf,
}

impl Receiver {
    /// A stream from which nothing has come.
    pub fn new(config: ReceiverConfig) -> Self {
        let clock = config.codecs.first().map_or(StreamClock::NARROW_BAND, |(_, kind)| kind.clock());
        let coder =
            |(payload_type, kind): (PayloadType, CodecKind)| Coder { payload_type, kind, decoder: kind.decoder() };
        Self {
            coders: Coders(config.codecs.into_iter().map(coder).collect()),
            downsampler: Downsampler::default(),
            upsampler: Upsampler::default(),
            dtmf_payload_type: config.dtmf_payload_type,
            reception: Reception::new(clock.clock_rate),
            jitter: JitterBuffer::new(config.jitter, clock),
            dtmf: DtmfReceiver::new(config.dtmf_clock_rate.unwrap_or(clock.clock_rate)),
            tone_keys: config.listens_for_tones.then(ToneKeys::default),
            errors: ErrorCounts::default(),
            last_packet_at: None,
        }
    }

    /// Takes one datagram from the RTP port.
    ///
    /// # Errors
    /// If it gives neither sound nor a digit; see [`RtpError`]. All are counted, none harms the stream.
    pub fn handle_packet(&mut self, datagram: &[u8], arrival: Instant) -> Result<(), RtpError> {
        let result = Packet::parse(datagram).and_then(|packet| self.take(&packet, arrival));
        if let Err(error) = &result {
            self.errors.count(error);
        }
        result
    }

    /// The frame of this tick at 8 kHz. Call this or [`Self::poll_wide_frame`] once every 20 ms, whether packets come or
    /// not.
    pub fn poll_frame(&mut self, now: Instant) -> Played {
        let (frame, kind) = self.poll_native(now);
        let frame = match frame {
            Native::Narrow(frame) => frame,
            Native::Wide(frame) => self.downsampler.process(&frame),
        };
        self.hear_keys(&frame);
        Played { frame, kind }
    }

    /// The frame of this tick at 16 kHz, which a narrow-band codec fills only up to 4 kHz.
    pub fn poll_wide_frame(&mut self, now: Instant) -> Played<WideFrame> {
        let (frame, kind) = self.poll_native(now);
        let frame = match frame {
            Native::Narrow(frame) => {
                self.hear_keys(&frame);
                self.upsampler.process(&frame)
            }
            Native::Wide(frame) => {
                if self.tone_keys.is_some() {
                    let narrow = self.downsampler.process(&frame);
                    self.hear_keys(&narrow);
                }
                frame
            }
        };
        Played { frame, kind }
    }

    /// The next key press or release, oldest first.
    pub fn poll_dtmf(&mut self) -> Option<DtmfEvent> {
        self.dtmf.poll_event()
    }

    /// How the stream fared so far.
    pub fn stats(&self) -> ReceiverStats {
        let jitter = self.jitter.stats();
        ReceiverStats {
            received: self.reception.received(),
            lost: self.reception.lost(),
            late: jitter.late,
            duplicate: self.reception.duplicate(),
            reordered: self.reception.reordered(),
            discarded: jitter.discarded,
            malformed: self.errors.malformed(),
            errors: self.errors,
            concealed_frames: jitter.concealed_frames,
            shortened: jitter.shortened,
            lengthened: jitter.lengthened,
            jitter_buffer_delay: self.jitter.delay(),
            jitter_buffer_target: self.jitter.effective_target(),
            jitter_ms: self.reception.jitter_ms(),
            source_changes: self.reception.source_changes(),
            last_packet_at: self.last_packet_at,
        }
    }

    /// The book-keeping behind the statistics; RTCP reports are made from it.
    pub fn reception(&self) -> &Reception {
        &self.reception
    }

    /// The source we listen to, once there is one.
    pub fn ssrc(&self) -> Option<u32> {
        self.reception.ssrc()
    }

    fn hear_keys(&mut self, frame: &Frame) {
        if let Some(keys) = &mut self.tone_keys {
            keys.handle_frame(frame, |event| self.dtmf.push(event));
        }
    }

    fn poll_native(&mut self, now: Instant) -> (Native, FrameKind) {
        self.dtmf.handle_timeout(now);
        if self.jitter.frame_samples() == FRAME_SAMPLES {
            let mut frame = SILENT_FRAME;
            let kind = self.jitter.poll_frame(now, &mut self.coders, &mut frame);
            (Native::Narrow(frame), kind)
        } else {
            let mut frame = [0; WIDE_FRAME_SAMPLES];
            let kind = self.jitter.poll_frame(now, &mut self.coders, &mut frame);
            (Native::Wide(frame), kind)
        }
    }

    fn take(&mut self, packet: &Packet<'_>, arrival: Instant) -> Result<(), RtpError> {
        let content = match self.content_of(packet) {
            Ok(content) => content,
            Err(error) => {
                self.skip_sequence(packet, arrival);
                return Err(error);
            }
        };
        let Some(sequence) = self.place(packet, arrival)? else { return Ok(()) };
        match content {
            Content::Sound { duration_ticks, clock } => {
                self.follow_clock(clock);
                self.reception.handle_timing(packet.timestamp, arrival);
                self.buffer(packet, sequence, Some(packet.payload_type), duration_ticks, arrival);
            }
            Content::Dtmf => {
                self.buffer(packet, sequence, None, 0, arrival);
                self.tone_keys
                    .as_mut()
                    .and_then(ToneKeys::handle_event)
                    .into_iter()
                    .for_each(|event| self.dtmf.push(event));
                self.dtmf.handle_packet(packet.timestamp, packet.payload, arrival)?;
            }
        }
        Ok(())
    }

    fn content_of(&self, packet: &Packet<'_>) -> Result<Content, RtpError> {
        let payload_type = packet.payload_type;
        if packet.payload.is_empty() {
            return Err(RtpError::EmptyPayload);
        }
        if self.dtmf_payload_type == Some(payload_type) {
            return Ok(Content::Dtmf);
        }
        let coder = self.coders.find(payload_type).ok_or(RtpError::UnknownPayloadType { payload_type })?;
        let (duration_ticks, clock) = (coder.decoder.duration_ticks(packet.payload), coder.kind.clock());
        if duration_ticks > max_packet_ticks(clock.clock_rate) {
            return Err(RtpError::PayloadTooLong { duration_ticks });
        }
        Ok(Content::Sound { duration_ticks, clock })
    }

    /// The peer went over to a codec with other clocks: timestamps before and after cannot be compared (RFC 7160 §3).
    fn follow_clock(&mut self, clock: StreamClock) {
        if self.jitter.clock() != clock {
            self.jitter.change_clock(clock);
            self.reception.change_clock_rate(clock.clock_rate);
        }
    }

    /// A packet of our source that we cannot use, like comfort noise nobody agreed on, still takes a sequence number:
    /// without it the next one would seem to follow a loss.
    fn skip_sequence(&mut self, packet: &Packet<'_>, arrival: Instant) {
        if self.reception.ssrc() != Some(packet.ssrc) {
            return;
        }
        if let Ok(Some(sequence)) = self.place(packet, arrival) {
            self.buffer(packet, sequence, None, 0, arrival);
        }
    }

    /// The packet's extended sequence number; `None` for a duplicate. A new source empties the buffers.
    fn place(&mut self, packet: &Packet<'_>, arrival: Instant) -> Result<Option<u64>, RtpError> {
        let verdict = self.reception.handle_packet(packet.ssrc, packet.sequence);
        if verdict != Verdict::Unconfirmed {
            self.last_packet_at = Some(arrival);
        }
        match verdict {
            Verdict::Accepted { sequence } => Ok(Some(sequence)),
            Verdict::NewSource { sequence } => {
                self.jitter.flush();
                self.dtmf.handle_source_change();
                Ok(Some(sequence))
            }
            Verdict::Duplicate => Ok(None),
            Verdict::Unconfirmed => Err(RtpError::UnconfirmedSource),
        }
    }

    fn buffer(
        &mut self,
        packet: &Packet<'_>,
        sequence: u64,
        payload_type: Option<PayloadType>,
        duration_ticks: u32,
        arrival: Instant,
    ) {
        let payload = if payload_type.is_some() { packet.payload } else { &[] };
        let timestamp = packet.timestamp;
        self.jitter.insert(&Arrived { sequence, timestamp, duration_ticks, payload_type, payload }, arrival);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rtp::{Sender, SenderConfig};
    use crate::testing::{at, speech_like};
    use proptest::prelude::*;

    fn sender(codec: CodecKind, ssrc: u32, first_sequence: u16) -> Sender {
        let payload_type = codec.payload_type();
        Sender::new(SenderConfig { payload_type, codec, ssrc, first_sequence, ..sender_config() })
    }

    fn sender_config() -> SenderConfig {
        SenderConfig {
            payload_type: PayloadType::PCMU,
            codec: CodecKind::Pcmu,
            ssrc: 1,
            first_sequence: 1,
            first_timestamp: u32::MAX - 500,
            dtmf_payload_type: Some(PayloadType::USUAL_DTMF),
        }
    }

    fn receiver() -> Receiver {
        Receiver::new(ReceiverConfig::new(&CodecKind::G711, Some(PayloadType::USUAL_DTMF)))
    }

    /// One tick of a perfect network; gives what was played and the verdict on the packet.
    fn tick(
        sender: &mut Sender,
        receiver: &mut Receiver,
        tick: u64,
        frame: &crate::Frame,
    ) -> (Played, Result<(), RtpError>) {
        let mut datagram = Vec::new();
        sender.packet(frame, &mut datagram);
        let verdict = receiver.handle_packet(&datagram, at(tick * 20 + 1));
        (receiver.poll_frame(at(tick * 20 + 20)), verdict)
    }

    /// Both laws may be offered, and then a packet decides by its own payload type.
    #[test]
    fn codec_follows_the_packet() {
        let mut receiver = receiver();
        let loud = [8_000; FRAME_SAMPLES];
        let mut mu_law = sender(CodecKind::Pcmu, 1, 100);
        let mut a_law = sender(CodecKind::Pcma, 1, 110);
        let mut heard = Vec::new();
        for index in 0..20 {
            let sender = if index < 10 { &mut mu_law } else { &mut a_law };
            heard.push(tick(sender, &mut receiver, index, &loud).0);
        }
        let speech = heard.iter().filter(|played| played.kind == FrameKind::Speech).collect::<Vec<_>>();
        assert!(speech.len() >= 18, "{}", speech.len());
        // Neither law is off by more than half a step of the segment; the wrong one would be off by thousands.
        assert!(speech.iter().all(|played| played.frame.iter().all(|sample| sample.abs_diff(8_000) <= 256)));
    }

    #[test]
    fn a_new_source_is_followed_from_its_second_packet_and_the_old_sound_dropped() {
        let mut receiver = receiver();
        let (mut old, mut new) = (sender(CodecKind::Pcmu, 1, 7), sender(CodecKind::Pcmu, 2, 60_000));
        for index in 0..10 {
            tick(&mut old, &mut receiver, index, &[1_000; FRAME_SAMPLES]).1.unwrap();
        }
        let verdicts =
            (10..14).map(|index| tick(&mut new, &mut receiver, index, &[-1_000; FRAME_SAMPLES]).1).collect::<Vec<_>>();
        assert_eq!(verdicts, [Err(RtpError::UnconfirmedSource), Ok(()), Ok(()), Ok(())]);
        assert_eq!(receiver.ssrc(), Some(2));
        let (played, _) = tick(&mut new, &mut receiver, 14, &[-1_000; FRAME_SAMPLES]);
        assert!(played.frame.iter().all(|&sample| sample < 0));
        assert_eq!(receiver.stats().source_changes, 1);
        assert_eq!(receiver.stats().lost, 0);
    }

    #[test]
    fn a_stray_packet_of_another_source_changes_nothing() {
        let mut receiver = receiver();
        let (mut ours, mut stray) = (sender(CodecKind::Pcmu, 1, 7), sender(CodecKind::Pcmu, 2, 9));
        for index in 0..10 {
            tick(&mut ours, &mut receiver, index, &SILENT_FRAME).1.unwrap();
        }
        let mut datagram = Vec::new();
        stray.packet(&SILENT_FRAME, &mut datagram);
        for _ in 0..5 {
            assert_eq!(receiver.handle_packet(&datagram, at(205)), Err(RtpError::UnconfirmedSource));
        }
        tick(&mut ours, &mut receiver, 11, &SILENT_FRAME).1.unwrap();
        assert_eq!(receiver.ssrc(), Some(1));
    }

    /// A number dialled by tones alone comes key by key, in every codec, and not any more once an event was received.
    #[test]
    fn keys_in_the_sound_are_heard_until_the_first_event() {
        use crate::dsp::tone::dtmf;
        for codec in CodecKind::ALL {
            let events = Some(PayloadType::USUAL_DTMF);
            let config = ReceiverConfig { listens_for_tones: true, ..ReceiverConfig::new(&[codec], events) };
            let (mut sender, mut receiver) = (sender(codec, 1, 9), Receiver::new(config));
            let mut sound = vec![0; 800];
            for digit in "407".chars() {
                sound.extend(dtmf(digit, Duration::from_millis(100), -12.0, SampleRate::NARROW_BAND).unwrap());
                sound.extend([0; 800]);
            }
            let mut heard = String::new();
            for (index, frame) in (0_u64..).zip([&sound[..], &[0; 4_800], &sound].concat().as_chunks().0) {
                if index == sound.len() as u64 / 160 + 10 {
                    sender.queue_dtmf('#').unwrap();
                }
                tick(&mut sender, &mut receiver, index, frame).1.unwrap();
                heard.extend(std::iter::from_fn(|| receiver.poll_dtmf()).map(|event| match event {
                    DtmfEvent::Pressed { digit, volume_dbm0 } => {
                        assert!((-13..=-3).contains(&volume_dbm0), "{volume_dbm0}");
                        digit
                    }
                    DtmfEvent::Released { duration, .. } => {
                        assert!((60..=160).contains(&duration.as_millis()), "{codec:?}: {duration:?}");
                        '.'
                    }
                }));
            }
            assert_eq!(heard, "4.0.7.#.", "{codec:?}");
        }
    }

    /// A digit takes the place of audio in the same sequence: no loss may be counted or concealed because of it.
    #[test]
    fn a_digit_between_speech_is_one_key_press_and_no_loss() {
        let (mut sender, mut receiver) = (sender(CodecKind::Pcmu, 1, 65_530), receiver());
        let speech = speech_like(2_000);
        let mut events = Vec::new();
        for index in 0..60 {
            if index == 20 {
                sender.queue_dtmf('#').unwrap();
            }
            let frame = speech[index * 160..][..160].try_into().unwrap();
            tick(&mut sender, &mut receiver, index as u64, frame).1.unwrap();
            events.extend(std::iter::from_fn(|| receiver.poll_dtmf()));
        }
        let duration = std::time::Duration::from_millis(160);
        let pressed = DtmfEvent::Pressed { digit: '#', volume_dbm0: -10 };
        assert_eq!(events, [pressed, DtmfEvent::Released { digit: '#', duration }]);
        let stats = receiver.stats();
        assert_eq!((stats.received, stats.lost, stats.duplicate, stats.late), (60, 0, 0, 0));
        assert_eq!(stats.concealed_frames, 0);
    }

    #[test]
    fn a_negotiated_stream_of_unknown_packets_is_counted_not_concealed() {
        let (mut sender, mut receiver) = (sender(CodecKind::Pcmu, 1, 1), receiver());
        let comfort_noise = PayloadType::new(13).unwrap();
        let mut errors = Vec::new();
        for index in 0..20 {
            let mut datagram = Vec::new();
            sender.packet(&SILENT_FRAME, &mut datagram);
            if index == 10 {
                datagram[1] = comfort_noise.value();
            }
            errors.extend(receiver.handle_packet(&datagram, at(index * 20)).err());
            receiver.poll_frame(at(index * 20 + 20));
        }
        assert_eq!(errors, [RtpError::UnknownPayloadType { payload_type: comfort_noise }]);
        let stats = receiver.stats();
        assert_eq!((stats.lost, stats.concealed_frames, stats.errors.unknown_payload_type), (0, 0, 1));
    }

    #[test]
    fn every_refusal_is_counted_under_its_name() {
        let mut receiver = receiver();
        let header = |payload_type: u8| [0x80, payload_type, 0, 1, 0, 0, 0, 0, 0, 0, 0, 9];
        let unknown = [&header(77)[..], &[0]].concat();
        let long = [&header(0)[..], &[0xff; 1_601]].concat();
        for datagram in [&[0x80][..], &[0; 20], &header(200), &header(0), &unknown, &long] {
            receiver.handle_packet(datagram, at(0)).unwrap_err();
        }
        receiver.handle_packet(&[&header(101)[..], &[1, 2]].concat(), at(0)).unwrap_err();
        let expected = ErrorCounts {
            too_short: 1,
            wrong_version: 1,
            rtcp: 1,
            empty_payload: 1,
            unknown_payload_type: 1,
            payload_too_long: 1,
            dtmf: 1,
            ..ErrorCounts::default()
        };
        assert_eq!(receiver.stats().errors, expected);
        assert_eq!(receiver.stats().malformed, 5);
    }

    /// What a wide-band codec carries is heard at 16 kHz; at 8 kHz its upper half is gone and the lower is there.
    #[test]
    fn wide_band_is_heard_wide_or_narrow() {
        use crate::dsp::level::rms_dbov;
        use crate::dsp::tone::sine;
        for codec in [CodecKind::G722, CodecKind::Opus] {
            for (frequency_hz, is_low) in [(1_000.0, true), (6_000.0, false)] {
                let tone = sine(frequency_hz, Duration::from_secs(1), -20.0, SampleRate::WIDE_BAND);
                let (mut sender, mut datagram) = (sender(codec, 1, 65_530), Vec::new());
                let config = ReceiverConfig::new(&[codec], None);
                let (mut wide, mut narrow) = (Receiver::new(config.clone()), Receiver::new(config));
                let (mut heard_wide, mut heard_narrow) = (Vec::new(), Vec::new());
                for (index, frame) in (0_u64..).zip(tone.as_chunks().0) {
                    sender.wide_packet(frame, &mut datagram);
                    wide.handle_packet(&datagram, at(index * 20 + 1)).unwrap();
                    narrow.handle_packet(&datagram, at(index * 20 + 1)).unwrap();
                    heard_wide.extend(wide.poll_wide_frame(at(index * 20 + 20)).frame);
                    heard_narrow.extend(narrow.poll_frame(at(index * 20 + 20)).frame);
                }
                let (wide, narrow) = (rms_dbov(&heard_wide[6_400..]), rms_dbov(&heard_narrow[3_200..]));
                assert!((wide + 20.0).abs() < 2.0, "{codec:?}, {frequency_hz} Hz: {wide} dBov");
                assert_eq!(narrow > -23.0, is_low, "{codec:?}, {frequency_hz} Hz: {narrow} dBov");
                assert!(is_low || narrow < -40.0, "{codec:?}, {frequency_hz} Hz: {narrow} dBov");
            }
        }
    }

    /// A re-INVITE may move the same source from one clock to another: no storm of losses, and sound again soon.
    #[test]
    fn codecs_with_other_clocks_may_take_over() {
        let codecs = [CodecKind::Pcmu, CodecKind::G722, CodecKind::Opus];
        let mut receiver = Receiver::new(ReceiverConfig::new(&codecs, None));
        let mut sender = sender(CodecKind::Pcmu, 1, 100);
        let speech = speech_like(6_000);
        let mut kinds = String::new();
        for (index, frame) in (0_u64..).zip(speech.as_chunks().0) {
            if index.is_multiple_of(50) {
                let codec = codecs[index as usize / 50 % 3];
                sender.renegotiate(&SenderConfig { codec, payload_type: codec.payload_type(), ..sender_config() });
            }
            kinds.push(match tick(&mut sender, &mut receiver, index, frame).0.kind {
                FrameKind::Speech => 's',
                FrameKind::Concealed => '~',
                FrameKind::Silence => '.',
            });
        }
        assert!(kinds.matches('s').count() > 280 && !kinds.contains('~'), "{kinds}");
        assert_eq!((receiver.stats().lost, receiver.stats().late), (0, 0));
    }

    /// One packet in ten lost. Opus restores each from the next packet; G.722 has the voice repeated.
    #[test]
    fn losses_are_concealed_at_16_khz() {
        for codec in [CodecKind::G722, CodecKind::Opus] {
            let (mut sender, mut datagram) = (sender(codec, 1, 1), Vec::new());
            let mut receiver = Receiver::new(ReceiverConfig::new(&[codec], None));
            for (index, frame) in (0_u64..).zip(speech_like(4_000).as_chunks().0) {
                sender.packet(frame, &mut datagram);
                if index % 10 != 7 {
                    receiver.handle_packet(&datagram, at(index * 20 + 1)).unwrap();
                }
                receiver.poll_wide_frame(at(index * 20 + 20));
            }
            let stats = receiver.stats();
            assert_eq!((stats.lost, stats.concealed_frames, stats.late), (20, 20, 0), "{codec:?}");
        }
    }

    /// Arrival jitter that alternates by 10 ms settles at 10 ms (RFC 3550 §6.4.1: the mean of |D|).
    #[test]
    fn jitter_is_the_mean_deviation() {
        let (mut sender, mut receiver) = (sender(CodecKind::Pcmu, 1, 1), receiver());
        let mut datagram = Vec::new();
        for index in 0..500 {
            sender.packet(&SILENT_FRAME, &mut datagram);
            receiver.handle_packet(&datagram, at(index * 20 + index % 2 * 10)).unwrap();
        }
        assert!((receiver.stats().jitter_ms - 10.0).abs() < 0.1, "{}", receiver.stats().jitter_ms);
        assert_eq!(receiver.stats().last_packet_at, Some(at(499 * 20 + 10)));
    }

    proptest! {
        #[test]
        fn no_datagram_panics(
            datagrams in prop::collection::vec((0_u8..3, prop::collection::vec(any::<u8>(), 0..60)), 0..100),
        ) {
            let mut receiver = receiver();
            for (index, (payload_type, rest)) in datagrams.into_iter().enumerate() {
                let mut datagram = vec![0x80, [0, 8, 101][usize::from(payload_type)]];
                datagram.extend(rest);
                let _ = receiver.handle_packet(&datagram, at(index as u64 * 20));
                receiver.poll_frame(at(index as u64 * 20));
                while receiver.poll_dtmf().is_some() {}
            }
            let stats = receiver.stats();
            prop_assert!(stats.late + stats.discarded <= stats.received);
        }
    }
}
