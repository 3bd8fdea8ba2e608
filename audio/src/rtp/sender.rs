//! One outgoing RTP stream: frames and digits in, datagrams out.

use std::collections::VecDeque;

use thiserror::Error;

use super::dtmf::{EventPayload, event_code_of};
use super::packet::{HEADER_BYTES, Packet, PayloadType};
use super::seq::SequenceNumber;
use crate::codec::{CodecKind, Encoder};
use crate::dsp::half_band::{Downsampler, Upsampler};
use crate::time::{Frame, RtpTimestamp, SampleRate, WideFrame};

/// Digits waiting at most: more than any number a caller types ahead.
const MAX_QUEUED_DIGITS: usize = 64;

/// Frames that a digit sounds: 160 ms, well over the 40 ms receivers need (ITU-T Q.24).
const DIGIT_FRAMES: u16 = 8;

/// Frames of audio between two digits.
const DIGIT_GAP_FRAMES: u16 = 4;

/// How often the end of an event is sent (RFC 4733 §2.5.1.4).
const END_PACKETS: u16 = 3;

/// Payload bytes there is room for from the start: more than 20 ms of any codec take.
const PAYLOAD_BYTES: usize = 400;

/// Level of the digits we send, in dBm0 below zero: −10 dBm0.
const DIGIT_VOLUME: u8 = 10;

/// How a stream starts. `ssrc`, `first_sequence` and `first_timestamp` should be random (RFC 3550 §5.1); the caller has
/// the randomness, this crate has none.
#[derive(Debug, Clone, Copy)]
pub struct SenderConfig {
    /// Payload type of the audio.
    pub payload_type: PayloadType,
    /// Codec of the audio.
    pub codec: CodecKind,
    /// Our source identifier.
    pub ssrc: u32,
    /// Sequence number of the first packet.
    pub first_sequence: u16,
    /// Timestamp of the first frame.
    pub first_timestamp: u32,
    /// Payload type of `telephone-event`; `None` if the peer did not take it.
    pub dtmf_payload_type: Option<PayloadType>,
}

/// Why a digit was not queued.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum DtmfQueueError {
    /// Not one of `0-9*#A-D`.
    #[error("{0:?} is not a DTMF digit")]
    NotADigit(char),
    /// The peer did not agree to `telephone-event`.
    #[error("telephone-event was not negotiated")]
    NotNegotiated,
    /// Too many digits wait already.
    #[error("{MAX_QUEUED_DIGITS} digits are queued already")]
    Full,
}

/// What was sent so far, in the words of an RTCP sender report (RFC 3550 §6.4.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SenderStats {
    /// RTP packets sent.
    pub packets: u64,
    /// Payload bytes sent, without headers.
    pub payload_bytes: u64,
    /// Talkspurts begun, that is packets with a marker on audio.
    pub talkspurts: u64,
    /// Ticks on which nothing was sent.
    pub skipped: u64,
    /// Digits finished.
    pub digits: u64,
}

/// One outgoing stream. Call [`Self::packet`], [`Self::wide_packet`] or [`Self::skip`] exactly once per 20 ms tick: the
/// timestamp moves with it.
///
/// Timestamps and the lengths of digits count in the clock of the codec (RFC 4733 §2.1, RFC 7587 §4.1), so beside Opus
/// `telephone-event/48000` is what to negotiate.
pub struct Sender {
    config: SenderConfig,
    encoder: Box<dyn Encoder>,
    sequence: SequenceNumber,
    timestamp: RtpTimestamp,
    payload: Vec<u8>,
    downsampler: Downsampler,
    upsampler: Upsampler,
    talkspurt_starts: bool,
    digits: VecDeque<u8>,
    digit: Option<DigitInProgress>,
    gap_frames: u16,
    stats: SenderStats,
}

#[derive(Clone, Copy)]
struct DigitInProgress {
    event: u8,
    /// Timestamp of the start, carried by all packets of the event.
    timestamp: RtpTimestamp,
    packets: u16,
}

impl Sender {
    /// A stream that has sent nothing.
    pub fn new(config: SenderConfig) -> Self {
        Self {
            encoder: config.codec.encoder(),
            sequence: SequenceNumber(config.first_sequence),
            timestamp: RtpTimestamp(config.first_timestamp),
            payload: Vec::with_capacity(PAYLOAD_BYTES),
            downsampler: Downsampler::default(),
            upsampler: Upsampler::default(),
            talkspurt_starts: true,
            digits: VecDeque::with_capacity(MAX_QUEUED_DIGITS),
            digit: None,
            gap_frames: 0,
            stats: SenderStats::default(),
            config,
        }
    }

    /// Follows a new offer and answer: codec and payload types of `config`; its SSRC, sequence and timestamp are ignored,
    /// since the timeline goes on (RFC 3550 §5.1). A digit being sent is cut off if telephone-event is gone.
    pub fn renegotiate(&mut self, config: &SenderConfig) {
        // An encoder that starts anew clicks, and is not needed where only addresses or payload types changed.
        if self.config.codec != config.codec {
            self.encoder = config.codec.encoder();
            self.config.codec = config.codec;
        }
        self.config.payload_type = config.payload_type;
        self.config.dtmf_payload_type = config.dtmf_payload_type;
        if config.dtmf_payload_type.is_none() {
            self.digits.clear();
            self.digit = None;
        }
    }

    /// Replaces `datagram` by this tick's packet: `frame` (8 kHz) encoded, or a step of the digit being sent, which takes
    /// the place of the audio (RFC 4733 §2.5.1.2). Allocates nothing once `datagram` has held one packet.
    pub fn packet(&mut self, frame: &Frame, datagram: &mut Vec<u8>) {
        if self.config.codec.sample_rate() == SampleRate::NARROW_BAND {
            self.write_packet(frame, datagram);
        } else {
            let wide = self.upsampler.process(frame);
            self.write_packet(&wide, datagram);
        }
    }

    /// As [`Self::packet`], for a frame of 16 kHz.
    pub fn wide_packet(&mut self, frame: &WideFrame, datagram: &mut Vec<u8>) {
        if self.config.codec.sample_rate() == SampleRate::WIDE_BAND {
            self.write_packet(frame, datagram);
        } else {
            let narrow = self.downsampler.process(frame);
            self.write_packet(&narrow, datagram);
        }
    }

    /// A tick without a packet: time passes, the sequence does not, and the next audio starts a talkspurt.
    ///
    /// Queued digits stand still meanwhile; send silent frames to get them out.
    pub fn skip(&mut self) {
        self.timestamp = self.timestamp.plus(self.frame_ticks());
        self.talkspurt_starts = true;
        self.stats.skipped += 1;
    }

    /// The peer reports that it loses this share of our packets, 0 to 1: a codec that can prepares for it.
    pub fn expect_loss(&mut self, fraction: f32) {
        self.encoder.expect_loss(fraction);
    }

    /// Queues a digit (`0-9`, `*`, `#`, `A-D` in either case): 160 ms each, 80 ms of audio between two.
    ///
    /// # Errors
    /// See [`DtmfQueueError`].
    pub fn queue_dtmf(&mut self, digit: char) -> Result<(), DtmfQueueError> {
        let event = event_code_of(digit).ok_or(DtmfQueueError::NotADigit(digit))?;
        if self.config.dtmf_payload_type.is_none() {
            return Err(DtmfQueueError::NotNegotiated);
        }
        if self.digits.len() == MAX_QUEUED_DIGITS {
            return Err(DtmfQueueError::Full);
        }
        self.digits.push_back(event);
        Ok(())
    }

    /// Whether a digit is being sent or waits.
    pub fn is_sending_dtmf(&self) -> bool {
        self.digit.is_some() || !self.digits.is_empty()
    }

    /// What was sent so far.
    pub fn stats(&self) -> SenderStats {
        self.stats
    }

    /// Our source identifier.
    pub fn ssrc(&self) -> u32 {
        self.config.ssrc
    }

    /// Timestamp that the next frame gets; for RTCP sender reports.
    pub fn next_timestamp(&self) -> RtpTimestamp {
        self.timestamp
    }

    /// The digit's state for this tick, counting this packet, and the payload type it travels under.
    fn next_digit_step(&mut self) -> Option<(DigitInProgress, PayloadType)> {
        let payload_type = self.config.dtmf_payload_type?;
        if self.gap_frames > 0 {
            self.gap_frames -= 1;
            return None;
        }
        let mut digit = match self.digit {
            Some(digit) => digit,
            None => DigitInProgress { event: self.digits.pop_front()?, timestamp: self.timestamp, packets: 0 },
        };
        digit.packets += 1;
        self.digit = Some(digit);
        if digit.packets == DIGIT_FRAMES + END_PACKETS - 1 {
            self.digit = None;
            self.gap_frames = DIGIT_GAP_FRAMES;
            self.stats.digits += 1;
        }
        Some((digit, payload_type))
    }

    fn write_digit(&mut self, digit: DigitInProgress, payload_type: PayloadType, datagram: &mut Vec<u8>) {
        let payload = EventPayload {
            event: digit.event,
            end: digit.packets >= DIGIT_FRAMES,
            volume: DIGIT_VOLUME,
            // At most 8 × 960.
            duration_ticks: digit.packets.min(DIGIT_FRAMES) * self.frame_ticks() as u16,
        };
        self.payload.extend(payload.to_bytes());
        self.write(digit.packets == 1, payload_type, digit.timestamp, datagram);
    }

    fn frame_ticks(&self) -> u32 {
        self.config.codec.clock().frame_ticks()
    }

    fn write_packet(&mut self, frame: &[i16], datagram: &mut Vec<u8>) {
        self.payload.clear();
        match self.next_digit_step() {
            Some((digit, payload_type)) => self.write_digit(digit, payload_type, datagram),
            None => self.write_audio(frame, datagram),
        }
        self.stats.packets += 1;
        self.stats.payload_bytes += (datagram.len() - HEADER_BYTES) as u64;
        self.sequence = self.sequence.next();
        self.timestamp = self.timestamp.plus(self.frame_ticks());
    }

    fn write_audio(&mut self, frame: &[i16], datagram: &mut Vec<u8>) {
        self.encoder.encode(frame, &mut self.payload);
        let marker = std::mem::take(&mut self.talkspurt_starts);
        self.stats.talkspurts += u64::from(marker);
        self.write(marker, self.config.payload_type, self.timestamp, datagram);
    }

    fn write(&self, marker: bool, payload_type: PayloadType, timestamp: RtpTimestamp, datagram: &mut Vec<u8>) {
        let ssrc = self.config.ssrc;
        Packet { marker, payload_type, sequence: self.sequence, timestamp, ssrc, payload: &self.payload }
            .write(datagram);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::SILENT_FRAME;

    fn sender() -> Sender {
        Sender::new(SenderConfig {
            payload_type: PayloadType::PCMA,
            codec: CodecKind::Pcma,
            ssrc: 7,
            first_sequence: 65_534,
            first_timestamp: u32::MAX - 159,
            dtmf_payload_type: PayloadType::new(101),
        })
    }

    /// Sends `ticks` silent frames and describes each packet as `(sequence, timestamp, marker, payload type)`.
    fn send(sender: &mut Sender, ticks: usize) -> Vec<(u16, u32, bool, u8)> {
        let mut datagram = Vec::new();
        let send = |_| {
            sender.packet(&SILENT_FRAME, &mut datagram);
            let packet = Packet::parse(&datagram).unwrap();
            (packet.sequence.0, packet.timestamp.0, packet.marker, packet.payload_type.value())
        };
        (0..ticks).map(send).collect()
    }

    #[test]
    fn sequence_and_timestamp_run_on_across_their_wraps() {
        let expected = [(65_534, u32::MAX - 159, true, 8), (65_535, 0, false, 8), (0, 160, false, 8)];
        assert_eq!(send(&mut sender(), 3), expected);
    }

    #[test]
    fn a_skipped_tick_moves_time_only_and_marks_the_next_packet() {
        let mut sender = sender();
        send(&mut sender, 2);
        sender.skip();
        sender.skip();
        assert_eq!(send(&mut sender, 2), [(0, 480, true, 8), (1, 640, false, 8)]);
        let stats = sender.stats();
        assert_eq!((stats.packets, stats.payload_bytes, stats.talkspurts, stats.skipped), (4, 640, 2, 2));
    }

    /// RFC 4733 §2.5.1: the marker on the first packet only, one timestamp, growing duration, the end three times.
    #[test]
    fn a_digit_is_sent_as_the_rfc_has_it() {
        let mut sender = sender();
        assert_eq!(send(&mut sender, 1), [(65_534, u32::MAX - 159, true, 8)]);
        sender.queue_dtmf('d').unwrap();
        let mut datagram = Vec::new();
        for index in 0..10_u16 {
            sender.packet(&SILENT_FRAME, &mut datagram);
            let packet = Packet::parse(&datagram).unwrap();
            assert_eq!(packet.sequence, SequenceNumber(65_535_u16.wrapping_add(index)));
            assert_eq!(packet.timestamp.0, 0);
            assert_eq!(packet.payload_type.value(), 101);
            assert_eq!(packet.marker, index == 0);
            let event = EventPayload::parse(packet.payload).unwrap();
            let duration_ticks = (index + 1).min(8) * 160;
            assert_eq!(event, EventPayload { event: 15, end: index >= 7, volume: 10, duration_ticks });
        }
        assert!(!sender.is_sending_dtmf());
        assert_eq!(send(&mut sender, 1), [(9, 10 * 160, false, 8)]);
    }

    /// G.722 ticks at 8 kHz though it samples at 16, Opus at 48 kHz; digits count in the same clock.
    #[test]
    fn timestamps_and_digits_count_in_the_clock_of_the_codec() {
        for (codec, frame_ticks) in [(CodecKind::G722, 160), (CodecKind::Opus, 960)] {
            let config = SenderConfig { codec, first_timestamp: 0, ..sender().config };
            let mut sender = Sender::new(config);
            sender.skip();
            assert_eq!(
                send(&mut sender, 2).iter().map(|packet| packet.1).collect::<Vec<_>>(),
                [frame_ticks, 2 * frame_ticks]
            );
            sender.queue_dtmf('1').unwrap();
            send(&mut sender, 9);
            let mut datagram = Vec::new();
            sender.wide_packet(&[0; 320], &mut datagram);
            let event = EventPayload::parse(&datagram[HEADER_BYTES..]).unwrap();
            assert_eq!((event.end, u32::from(event.duration_ticks)), (true, 8 * frame_ticks), "{codec:?}");
        }
    }

    #[test]
    fn digits_keep_a_gap() {
        let mut sender = sender();
        sender.queue_dtmf('1').unwrap();
        sender.queue_dtmf('1').unwrap();
        let types = send(&mut sender, 25).into_iter().map(|packet| packet.3).collect::<Vec<_>>();
        let expected = [vec![101; 10], vec![8; 4], vec![101; 10], vec![8; 1]].concat();
        assert_eq!(types, expected);
        assert_eq!(sender.stats().digits, 2);
    }

    /// A re-INVITE may change codec and payload types; the peer must not see another stream for that.
    #[test]
    fn a_new_answer_changes_the_payload_but_not_the_timeline() {
        let mut sender = sender();
        send(&mut sender, 2);
        sender.queue_dtmf('1').unwrap();
        let payload_type = PayloadType::PCMU;
        let config = SenderConfig { payload_type, codec: CodecKind::Pcmu, dtmf_payload_type: None, ..sender.config };
        sender.renegotiate(&SenderConfig { ssrc: 99, first_sequence: 1, first_timestamp: 1, ..config });
        assert_eq!(send(&mut sender, 1), [(0, 160, false, 0)]);
        assert_eq!((sender.ssrc(), sender.is_sending_dtmf()), (7, false));
        let mut datagram = Vec::new();
        sender.packet(&SILENT_FRAME, &mut datagram);
        assert!(datagram[HEADER_BYTES..].iter().all(|&byte| byte == 0xff), "silence in µ-law");
    }

    #[test]
    fn digits_that_cannot_be_sent_are_refused() {
        let mut sender = sender();
        assert_eq!(sender.queue_dtmf('x'), Err(DtmfQueueError::NotADigit('x')));
        (0..MAX_QUEUED_DIGITS).for_each(|_| sender.queue_dtmf('5').unwrap());
        assert_eq!(sender.queue_dtmf('5'), Err(DtmfQueueError::Full));
        let mut deaf = Sender::new(SenderConfig { dtmf_payload_type: None, ..sender.config });
        assert_eq!(deaf.queue_dtmf('5'), Err(DtmfQueueError::NotNegotiated));
    }
}
