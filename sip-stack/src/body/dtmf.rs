//! Keys pressed, in the body of an INFO: `application/dtmf-relay` and `application/dtmf`. No RFC has them; phones do
//! (RFC 6086 is the INFO around them, RFC 4733 the better way).

use std::time::Duration;

/// One key, and how long it was held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyPress {
    /// `0` to `9`, `*`, `#`, `A` to `D`.
    pub key: char,
    /// 250 ms unless it says so.
    pub duration: Duration,
}

/// For Content-Type.
pub const RELAY_TYPE: &str = "application/dtmf-relay";

const DEFAULT_DURATION: Duration = Duration::from_millis(250);
/// Nobody holds a key for longer.
const LONGEST_MS: u64 = 10_000;

impl KeyPress {
    /// A key held for that long; `None` if there is no such key.
    pub fn new(key: char, duration: Duration) -> Option<Self> {
        let key = key.to_ascii_uppercase();
        "0123456789*#ABCD".contains(key).then_some(Self { key, duration })
    }

    /// Reads a body. `kind` and `subtype` are those of its Content-Type; `None` for another type or no key.
    pub fn parse(kind: &str, subtype: &str, body: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(body).ok()?;
        if !kind.eq_ignore_ascii_case("application") {
            return None;
        }
        match subtype.to_ascii_lowercase().as_str() {
            "dtmf-relay" => Self::parse_relay(text),
            "dtmf" => Self::of_symbol(text.trim(), DEFAULT_DURATION),
            _ => None,
        }
    }

    /// `Signal=5` and `Duration=160`, one a line, in any order and case.
    fn parse_relay(text: &str) -> Option<Self> {
        let value = |wanted: &str| {
            text.lines()
                .filter_map(|line| line.split_once('='))
                .find_map(|(name, value)| name.trim().eq_ignore_ascii_case(wanted).then_some(value.trim()))
        };
        let ms = value("Duration").and_then(|ms| ms.parse().ok()).filter(|ms| (1..=LONGEST_MS).contains(ms));
        Self::of_symbol(value("Signal")?, ms.map_or(DEFAULT_DURATION, Duration::from_millis))
    }

    /// A key, or its event number for those that have no digit (RFC 4733 §3.2).
    fn of_symbol(symbol: &str, duration: Duration) -> Option<Self> {
        let mut characters = symbol.chars();
        match (characters.next(), characters.next()) {
            (Some(key), None) => Self::new(key, duration),
            _ => match symbol {
                "10" => Self::new('*', duration),
                "11" => Self::new('#', duration),
                _ => None,
            },
        }
    }

    /// The body of a `dtmf-relay`.
    pub fn to_relay(self) -> Vec<u8> {
        format!("Signal={}\r\nDuration={}\r\n", self.key, self.duration.as_millis()).into_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_bodies_as_phones_write_them() {
        let table = [
            ("dtmf-relay", "Signal=5\r\nDuration=160\r\n", Some(('5', 160))),
            ("DTMF-Relay", "signal = # \nduration = 100", Some(('#', 100))),
            ("dtmf-relay", "Duration=99999\r\nSignal=a", Some(('A', 250))),
            ("dtmf-relay", "Signal=11", Some(('#', 250))),
            ("dtmf-relay", "Signal=x", None),
            ("dtmf-relay", "5", None),
            ("dtmf", "7", Some(('7', 250))),
            ("dtmf", " 10\r\n", Some(('*', 250))),
            ("dtmf", "", None),
            ("dtmf", "12", None),
            ("sdp", "5", None),
        ];
        for (subtype, body, expected) in table {
            let read = KeyPress::parse("application", subtype, body.as_bytes());
            assert_eq!(read.map(|press| (press.key, press.duration.as_millis())), expected, "{subtype} {body:?}");
        }
    }

    #[test]
    fn what_is_written_reads_the_same() {
        for key in "0123456789*#ABCD".chars() {
            let press = KeyPress::new(key, Duration::from_millis(80)).unwrap();
            assert_eq!(KeyPress::parse("application", "dtmf-relay", &press.to_relay()), Some(press));
        }
        assert_eq!(KeyPress::parse("application", "dtmf", b"\xff"), None);
    }
}
