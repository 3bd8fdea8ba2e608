//! Telephone events (RFC 4733) in any order: each key goes down and comes up in turn, and the next one is told once.

use std::time::{Duration, Instant};

use audio::rtp::{DtmfError, DtmfEvent, DtmfReceiver, EventPayload, digit_of};
use audio::time::{RtpTimestamp, SampleRate};

use super::script::Script;
use super::transactions::ORIGIN;

/// # Panics
/// Something does not hold.
pub fn run(input: &[u8]) {
    let mut script = Script::new(input);
    let clock_rate = script.pick(&[SampleRate::NARROW_BAND, SampleRate::FULL_BAND]);
    let mut keypad = Keypad { receiver: DtmfReceiver::new(clock_rate), down: None, timestamp: 0, now: *ORIGIN };
    while !script.is_over() {
        keypad.act(&mut script);
        keypad.follow();
    }
    keypad.is_heard_again();
}

struct Keypad {
    receiver: DtmfReceiver,
    /// The key that is down, as the events have it.
    down: Option<char>,
    timestamp: u32,
    now: Instant,
}

impl Keypad {
    fn act(&mut self, script: &mut Script<'_>) {
        match script.below(8) {
            0 => self.hear(script.bytes()),
            1 => {
                self.now += Duration::from_millis(script.byte().into());
                self.receiver.handle_timeout(self.now);
            }
            2 => self.timestamp = self.timestamp.wrapping_add(script.word().into()),
            3 => self.timestamp = self.timestamp.wrapping_add(u16::MAX.into()),
            4 => self.timestamp = u32::from(script.word()) << 16,
            5 if script.byte() == 0 => self.receiver.handle_source_change(),
            _ => {
                let payload = EventPayload {
                    event: script.byte() % 20,
                    end: script.chance(),
                    volume: script.byte() % 64,
                    duration_ticks: script.word(),
                };
                assert_eq!(EventPayload::parse(&payload.to_bytes()), Ok(payload));
                self.hear(&payload.to_bytes());
            }
        }
    }

    fn hear(&mut self, payload: &[u8]) {
        let told = self.receiver.handle_packet(RtpTimestamp(self.timestamp), payload, self.now);
        let expected = match payload {
            [event, _, _, _, ..] if digit_of(*event).is_none() => Err(DtmfError::NotADigit { event: *event }),
            [_, _, _, _, ..] => Ok(()),
            _ => Err(DtmfError::TooShort { length_bytes: payload.len() }),
        };
        assert_eq!(told, expected);
    }

    fn follow(&mut self) {
        while let Some(event) = self.receiver.poll_event() {
            match event {
                DtmfEvent::Pressed { digit, volume_dbm0 } => {
                    assert_eq!(self.down.replace(digit), None, "{digit} is pressed while another is down");
                    assert!((-63..=0).contains(&volume_dbm0));
                }
                DtmfEvent::Released { digit, .. } => assert_eq!(self.down.take(), Some(digit)),
            }
        }
    }

    /// A key of a new source comes through once, whatever came before.
    fn is_heard_again(&mut self) {
        self.receiver.handle_source_change();
        self.follow();
        for (end, duration_ticks) in [(false, 160), (false, 320), (true, 480), (true, 480), (true, 480)] {
            self.hear(&EventPayload { event: 7, end, volume: 10, duration_ticks }.to_bytes());
        }
        assert!(matches!(self.receiver.poll_event(), Some(DtmfEvent::Pressed { digit: '7', .. })));
        assert!(matches!(self.receiver.poll_event(), Some(DtmfEvent::Released { digit: '7', .. })));
        assert_eq!(self.receiver.poll_event(), None);
    }
}
