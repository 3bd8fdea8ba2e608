//! DTMF as telephone events (RFC 4733): the payload, and a receiver that gives every key press once.
//!
//! ```text
//!  0                   1                   2                   3
//!  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//! |     event     |E|R| volume    |          duration             |
//! ```
//!
//! All packets of an event carry the timestamp of its start, so the timestamp, not the marker or the sequence, tells
//! events apart. Durations count in the RTP clock of the stream: 8000 per second beside G.711 and, for all its 16 kHz of
//! sound, G.722; 48000 beside Opus.
//!
//! Left out: events above 15 (flash, fax and modem tones), redundancy (RFC 2198). Keys in the sound itself are heard by
//! `tone_keys`, if that is asked for.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use thiserror::Error;

use crate::time::{RtpTimestamp, SampleRate};

/// Digits by event code (RFC 4733 §3.2).
const DIGITS: [char; 16] = ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9', '*', '#', 'A', 'B', 'C', 'D'];

/// Silence after which a key counts as released though no end packet came. Updates come every 20 to 50 ms.
const RELEASE_AFTER: Duration = Duration::from_millis(200);

/// How far back a packet may lie and still belong to a key that is over.
const OLDEST_OVERTAKEN: Duration = Duration::from_secs(5);

/// Events kept for a shell that does not poll: two for each key a fast typist presses in ten seconds.
const MAX_EVENTS: usize = 200;

/// Room for events from the start: a shell polls every tick.
const USUAL_EVENTS: usize = 4;

/// The digit of an event code, `None` for the codes that are not digits.
pub fn digit_of(event: u8) -> Option<char> {
    DIGITS.get(usize::from(event)).copied()
}

/// The event code of a digit, letters in either case.
pub fn event_code_of(digit: char) -> Option<u8> {
    DIGITS.iter().position(|&known| known == digit.to_ascii_uppercase()).map(|index| index as u8)
}

/// Why a telephone-event packet was not used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum DtmfError {
    /// Fewer than the four bytes of an event.
    #[error("a telephone event of {length_bytes} bytes is too short")]
    TooShort {
        /// Length of the payload.
        length_bytes: usize,
    },
    /// An event that is not a digit.
    #[error("telephone event {event} is not a digit")]
    NotADigit {
        /// The event code.
        event: u8,
    },
}

/// The four bytes of a telephone event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EventPayload {
    /// Event code; 0 to 15 are digits.
    pub event: u8,
    /// The event is over and `duration_ticks` final.
    pub end: bool,
    /// Level in dBm0 without its minus sign, 0 to 63.
    pub volume: u8,
    /// How long the event has lasted at this packet's sending, in RTP clock ticks.
    pub duration_ticks: u16,
}

impl EventPayload {
    /// Reads the first event of a payload; what follows is ignored.
    ///
    /// # Errors
    /// If there are fewer than four bytes.
    pub fn parse(payload: &[u8]) -> Result<Self, DtmfError> {
        let &[event, flags, high, low, ..] = payload else {
            return Err(DtmfError::TooShort { length_bytes: payload.len() });
        };
        Ok(Self {
            event,
            end: flags & 0x80 != 0,
            volume: flags & 0x3f,
            duration_ticks: u16::from_be_bytes([high, low]),
        })
    }

    /// The bytes on the wire.
    pub fn to_bytes(self) -> [u8; 4] {
        let [high, low] = self.duration_ticks.to_be_bytes();
        [self.event, u8::from(self.end) << 7 | self.volume & 0x3f, high, low]
    }
}

/// What happened to a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DtmfEvent {
    /// A key went down. Comes exactly once per key press and is all that a menu needs.
    Pressed {
        /// `0-9`, `*`, `#`, `A-D`.
        digit: char,
        /// Level at the peer, 0 to −63 dBm0.
        volume_dbm0: i8,
    },
    /// The key came up, or its packets stopped.
    Released {
        /// `0-9`, `*`, `#`, `A-D`.
        digit: char,
        /// How long it was down, as far as the packets tell.
        duration: Duration,
    },
}

/// Collects the packets of telephone events into key presses.
#[derive(Debug)]
pub struct DtmfReceiver {
    clock_rate: SampleRate,
    key: Option<Key>,
    /// Start of the newest event, pressed or over: packets at or before it tell nothing new.
    newest: Option<RtpTimestamp>,
    events: VecDeque<DtmfEvent>,
}

#[derive(Debug, Clone, Copy)]
struct Key {
    digit: char,
    /// Start of the current segment.
    timestamp: RtpTimestamp,
    /// Ticks of the segments before (RFC 4733 §2.5.1.3).
    earlier_ticks: u64,
    duration_ticks: u16,
    seen_at: Instant,
}

impl DtmfReceiver {
    /// A receiver for a stream with that RTP clock.
    pub fn new(clock_rate: SampleRate) -> Self {
        Self { clock_rate, key: None, newest: None, events: VecDeque::with_capacity(USUAL_EVENTS) }
    }

    /// Takes the payload of one telephone-event packet. The marker is not needed: it may be lost.
    ///
    /// # Errors
    /// If the payload is short or not about a digit.
    pub fn handle_packet(
        &mut self,
        timestamp: RtpTimestamp,
        payload: &[u8],
        arrival: Instant,
    ) -> Result<(), DtmfError> {
        let payload = EventPayload::parse(payload)?;
        let digit = digit_of(payload.event).ok_or(DtmfError::NotADigit { event: payload.event })?;
        let oldest_overtaken = -(self.clock_rate.samples_in(OLDEST_OVERTAKEN) as i32);
        match self.newest.map(|newest| timestamp.since(newest)) {
            Some(0) => self.update(digit, payload, arrival),
            Some(steps) if (oldest_overtaken..0).contains(&steps) => {} // Overtaken by the next key.
            Some(1..) if self.continues(digit, timestamp) => self.start_segment(timestamp, payload, arrival),
            // Far back means that the peer's timestamps jumped.
            Some(_) | None => self.press(digit, timestamp, payload, arrival),
        }
        if payload.end && self.newest == Some(timestamp) {
            self.release();
        }
        Ok(())
    }

    /// Releases a key whose packets stopped.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.key.is_some_and(|key| now.saturating_duration_since(key.seen_at) >= RELEASE_AFTER) {
            self.release();
        }
    }

    /// The next event, oldest first.
    pub fn poll_event(&mut self) -> Option<DtmfEvent> {
        self.events.pop_front()
    }

    /// Forgets timestamps after a change of source; a key that is down is released.
    pub fn handle_source_change(&mut self) {
        self.release();
        self.newest = None;
    }

    fn press(&mut self, digit: char, timestamp: RtpTimestamp, payload: EventPayload, arrival: Instant) {
        self.release();
        self.newest = Some(timestamp);
        let duration_ticks = payload.duration_ticks;
        self.key = Some(Key { digit, timestamp, earlier_ticks: 0, duration_ticks, seen_at: arrival });
        // The volume has six bits.
        self.push(DtmfEvent::Pressed { digit, volume_dbm0: -(payload.volume as i8) });
    }

    fn update(&mut self, digit: char, payload: EventPayload, arrival: Instant) {
        if let Some(key) = self.key.as_mut().filter(|key| key.digit == digit) {
            key.duration_ticks = key.duration_ticks.max(payload.duration_ticks);
            key.seen_at = arrival;
        }
    }

    /// Whether `timestamp` is where a segment of the maximum duration ends: the same key, held for longer than 65 535
    /// ticks (8 s).
    fn continues(&self, digit: char, timestamp: RtpTimestamp) -> bool {
        let is_next_segment = |key: Key| key.digit == digit && timestamp == key.timestamp.plus(u32::from(u16::MAX));
        self.key.is_some_and(is_next_segment)
    }

    fn start_segment(&mut self, timestamp: RtpTimestamp, payload: EventPayload, arrival: Instant) {
        if let Some(key) = self.key.as_mut() {
            key.earlier_ticks += u64::from(u16::MAX);
            key.timestamp = timestamp;
            key.duration_ticks = payload.duration_ticks;
            key.seen_at = arrival;
            self.newest = Some(timestamp);
        }
    }

    fn release(&mut self) {
        if let Some(key) = self.key.take() {
            let ticks = key.earlier_ticks + u64::from(key.duration_ticks);
            self.push(DtmfEvent::Released { digit: key.digit, duration: self.clock_rate.duration_of(ticks) });
        }
    }

    /// Tells an event that came another way. Keeps the newest events if nobody polls.
    pub(super) fn push(&mut self, event: DtmfEvent) {
        if self.events.len() == MAX_EVENTS {
            self.events.pop_front();
        }
        self.events.push_back(event);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::at;
    use proptest::prelude::*;

    fn payload(digit: char, duration_ticks: u16, end: bool) -> [u8; 4] {
        EventPayload { event: event_code_of(digit).unwrap(), end, volume: 7, duration_ticks }.to_bytes()
    }

    /// Feeds `(timestamp, digit, duration_ticks, end)` every 20 ms, waits half a second and writes the events:
    /// `5+` pressed, `5-160` released after 160 ms.
    fn events(packets: &[(u32, char, u16, bool)]) -> String {
        let mut receiver = DtmfReceiver::new(SampleRate::NARROW_BAND);
        for (index, &(timestamp, digit, duration_ticks, end)) in packets.iter().enumerate() {
            let arrival = at(index as u64 * 20);
            receiver.handle_packet(RtpTimestamp(timestamp), &payload(digit, duration_ticks, end), arrival).unwrap();
        }
        receiver.handle_timeout(at(packets.len() as u64 * 20 + 500));
        let describe = |event| match event {
            DtmfEvent::Pressed { digit, volume_dbm0 } => {
                assert_eq!(volume_dbm0, -7);
                format!("{digit}+")
            }
            DtmfEvent::Released { digit, duration } => format!("{digit}-{}", duration.as_millis()),
        };
        std::iter::from_fn(|| receiver.poll_event()).map(describe).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn each_key_press_is_told_once_whatever_is_lost() {
        // (name, (timestamp, digit, duration_ticks, end), events)
        type Row = (&'static str, &'static [(u32, char, u16, bool)], &'static str);
        let rows: [Row; 10] = [
            ("complete", &[(9, '5', 160, false), (9, '5', 320, false), (9, '5', 480, true)], "5+ 5-60"),
            (
                "end three times",
                &[(9, '*', 160, false), (9, '*', 320, true), (9, '*', 320, true), (9, '*', 320, true)],
                "*+ *-40",
            ),
            ("start and marker lost", &[(9, '5', 480, false), (9, '5', 640, true)], "5+ 5-80"),
            ("only one end came", &[(9, '5', 640, true)], "5+ 5-80"),
            ("all ends lost, silence", &[(9, '5', 160, false), (9, '5', 800, false)], "5+ 5-100"),
            (
                "all ends lost, next key",
                &[(9, '5', 800, false), (2_000, '5', 160, false), (2_000, '5', 320, true)],
                "5+ 5-100 5+ 5-40",
            ),
            (
                "end overtaken by the next key",
                &[(9, '1', 160, false), (999, '2', 160, false), (9, '1', 320, true), (999, '2', 320, true)],
                "1+ 1-20 2+ 2-40",
            ),
            (
                "updates reordered",
                &[(9, 'a', 320, false), (9, 'a', 160, false), (9, 'a', 480, true), (9, 'a', 400, false)],
                "A+ A-60",
            ),
            ("timestamps jump back", &[(90_000, '1', 160, true), (7, '2', 160, true)], "1+ 1-20 2+ 2-20"),
            ("timestamps wrap", &[(u32::MAX - 10, '#', 160, true), (5_000, '#', 160, true)], "#+ #-20 #+ #-20"),
        ];
        for (name, packets, expected) in rows {
            assert_eq!(events(packets), expected, "{name}");
        }
    }

    /// A key held for over eight seconds comes in segments (RFC 4733 §2.5.1.3) and is still one press.
    #[test]
    fn a_long_press_is_one_press() {
        let second = 100_u32 + u32::from(u16::MAX);
        let packets = [
            (100, '0', 65_000, false),
            (100, '0', u16::MAX, false),
            (second, '0', 160, false),
            (second, '0', 800, true),
        ];
        assert_eq!(events(&packets), "0+ 0-8291");
    }

    #[test]
    fn other_clock_rates_scale_the_duration() {
        let mut receiver = DtmfReceiver::new(SampleRate::new(48_000).unwrap());
        receiver.handle_packet(RtpTimestamp(0), &payload('3', 4_800, true), at(0)).unwrap();
        assert_eq!(receiver.poll_event(), Some(DtmfEvent::Pressed { digit: '3', volume_dbm0: -7 }));
        let duration = Duration::from_millis(100);
        assert_eq!(receiver.poll_event(), Some(DtmfEvent::Released { digit: '3', duration }));
    }

    #[test]
    fn what_is_not_a_digit_is_refused() {
        let mut receiver = DtmfReceiver::new(SampleRate::NARROW_BAND);
        let short = receiver.handle_packet(RtpTimestamp(0), &[1, 2, 3], at(0));
        assert_eq!(short, Err(DtmfError::TooShort { length_bytes: 3 }));
        let flash = receiver.handle_packet(RtpTimestamp(0), &[16, 0, 0, 1], at(0));
        assert_eq!(flash, Err(DtmfError::NotADigit { event: 16 }));
        assert_eq!(receiver.poll_event(), None);
    }

    proptest! {
        /// Presses and releases alternate, for the same key, whatever comes.
        #[test]
        fn every_press_has_its_release(
            packets in prop::collection::vec((0_u32..4, 0_usize..4, any::<u16>(), any::<bool>()), 0..80),
        ) {
            let packets = packets
                .into_iter()
                .map(|(timestamp, digit, duration, end)| (timestamp * 1_000, DIGITS[digit], duration, end))
                .collect::<Vec<_>>();
            let events = events(&packets);
            for pair in events.split_whitespace().collect::<Vec<_>>().chunks(2) {
                prop_assert!(pair.len() == 2 && pair[0].ends_with('+') && pair[1].contains('-'), "{}", events);
                prop_assert_eq!(pair[0].as_bytes()[0], pair[1].as_bytes()[0]);
            }
        }
    }
}
