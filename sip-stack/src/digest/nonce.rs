//! Nonces that carry their own time and a MAC, so that handing one out costs no memory, and a window of used nonce
//! counts that is bounded.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use super::algorithm::to_hex;

/// Bytes of the MAC that go into a nonce: 128 bits.
const MAC_BYTES: usize = 16;
const STAMP_BYTES: usize = 16;

/// Makes nonces and knows them again.
#[derive(Debug)]
pub(super) struct Mint {
    key: [u8; 32],
    origin: Instant,
    serial: u64,
    lifetime: Duration,
}

/// When a nonce was made, in milliseconds since the origin, and a number that tells it from others of that instant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Stamp {
    at_ms: u64,
    serial: u64,
}

/// Nonce counts that have been seen, for as many nonces as there is room.
#[derive(Debug)]
pub(super) struct Replays {
    limit: usize,
    windows: BTreeMap<Stamp, Window>,
    /// The youngest nonce whose window was given up: it and older ones without a window cannot be judged any more.
    forgotten: Option<Stamp>,
}

/// The highest count so far, and which of the 64 below and including it have come: requests may overtake each other.
#[derive(Debug, Clone, Copy, Default)]
struct Window {
    highest: u32,
    seen: u64,
}

impl Mint {
    pub(super) fn new(key: [u8; 32], lifetime: Duration, origin: Instant) -> Self {
        Self { key, origin, serial: 0, lifetime }
    }

    pub(super) fn make(&mut self, now: Instant) -> String {
        self.serial += 1;
        let stamp = Stamp { at_ms: self.ms(now), serial: self.serial };
        let bytes = stamp.to_bytes();
        let mac = self.mac(&bytes).finalize().into_bytes();
        to_hex(&[&bytes[..], &mac[..MAC_BYTES]].concat())
    }

    /// The stamp of a nonce of ours that is young enough.
    pub(super) fn check(&self, nonce: &str, now: Instant) -> Option<Stamp> {
        let bytes = from_hex(nonce)?;
        let (stamp, mac) = bytes.split_at(STAMP_BYTES);
        self.mac(stamp).verify_truncated_left(mac).ok()?;
        let stamp = Stamp::from_bytes(stamp)?;
        let age_ms = self.ms(now).checked_sub(stamp.at_ms)?;
        (u128::from(age_ms) <= self.lifetime.as_millis()).then_some(stamp)
    }

    fn mac(&self, stamp: &[u8]) -> Hmac<Sha256> {
        // HMAC takes a key of any length.
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.key).unwrap_or_else(|_| Hmac::new(&Default::default()));
        mac.update(stamp);
        mac
    }

    fn ms(&self, now: Instant) -> u64 {
        u64::try_from(now.saturating_duration_since(self.origin).as_millis()).unwrap_or(u64::MAX)
    }
}

impl Stamp {
    fn to_bytes(self) -> [u8; STAMP_BYTES] {
        let mut bytes = [0; STAMP_BYTES];
        bytes[..8].copy_from_slice(&self.at_ms.to_be_bytes());
        bytes[8..].copy_from_slice(&self.serial.to_be_bytes());
        bytes
    }

    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (at_ms, serial) = bytes.split_first_chunk::<8>()?;
        Some(Self { at_ms: u64::from_be_bytes(*at_ms), serial: u64::from_be_bytes(serial.try_into().ok()?) })
    }
}

impl Replays {
    pub(super) fn new(limit: usize) -> Self {
        Self { limit: limit.max(1), windows: BTreeMap::new(), forgotten: None }
    }

    /// Notes the use of a nonce. `false`: it was used with this count before, or nobody can tell.
    pub(super) fn note(&mut self, stamp: Stamp, count: u32) -> bool {
        if let Some(window) = self.windows.get_mut(&stamp) {
            return window.note(count);
        }
        if self.forgotten.is_some_and(|forgotten| stamp <= forgotten) {
            return false;
        }
        if self.windows.len() >= self.limit
            && let Some((oldest, _)) = self.windows.pop_first()
        {
            self.forgotten = self.forgotten.max(Some(oldest));
            if stamp <= oldest {
                return false;
            }
        }
        self.windows.entry(stamp).or_default().note(count)
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.windows.len()
    }
}

impl Window {
    fn note(&mut self, count: u32) -> bool {
        if count > self.highest {
            let ahead = count - self.highest;
            self.seen = self.seen.checked_shl(ahead).unwrap_or(0) | 1;
            self.highest = count;
            return count > 0;
        }
        let behind = self.highest - count;
        let bit = 1_u64.checked_shl(behind).unwrap_or(0);
        let is_new = count > 0 && bit != 0 && self.seen & bit == 0;
        self.seen |= bit;
        is_new
    }
}

fn from_hex(text: &str) -> Option<[u8; STAMP_BYTES + MAC_BYTES]> {
    let mut bytes = [0; STAMP_BYTES + MAC_BYTES];
    if text.len() != bytes.len() * 2 || !text.is_ascii() {
        return None;
    }
    for (index, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&text[index * 2..index * 2 + 2], 16).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transaction::trace::{ms, start};

    #[test]
    fn a_nonce_is_known_again_until_it_is_too_old_and_a_bent_one_never() {
        let mut mint = Mint::new([1; 32], ms(60_000), start());
        let nonce = mint.make(start() + ms(500));
        assert_ne!(nonce, mint.make(start() + ms(500)));
        assert!(mint.check(&nonce, start() + ms(60_500)).is_some());
        assert!(mint.check(&nonce, start() + ms(60_501)).is_none());
        assert!(mint.check(&nonce, start()).is_none(), "from the future");
        assert!(Mint::new([2; 32], ms(60_000), start()).check(&nonce, start() + ms(500)).is_none());
        for at in 0..nonce.len() {
            let mut bent = nonce.clone().into_bytes();
            bent[at] = if bent[at] == b'0' { b'1' } else { b'0' };
            assert!(mint.check(&String::from_utf8(bent).unwrap(), start() + ms(500)).is_none(), "byte {at}");
        }
        for foreign in ["", "0", "dcd98b7102dd2f0e8b11d0f600bfb0c093", &"é".repeat(32)] {
            assert!(mint.check(foreign, start()).is_none());
        }
    }

    #[test]
    fn counts_may_overtake_each_other_and_none_comes_twice() {
        let mut window = Window::default();
        let table = [
            (0, false),
            (1, true),
            (1, false),
            (3, true),
            (2, true),
            (2, false),
            (70, true),
            (7, true),
            (6, false),
            (u32::MAX, true),
            (u32::MAX, false),
            (70, false),
        ];
        for (count, expected) in table {
            assert_eq!(window.note(count), expected, "{count}");
        }
    }

    #[test]
    fn a_full_table_forgets_the_oldest_nonce_and_takes_it_no_more() {
        let mut replays = Replays::new(2);
        let stamp = |serial| Stamp { at_ms: 0, serial };
        assert!(replays.note(stamp(1), 1) && replays.note(stamp(2), 1) && replays.note(stamp(3), 1));
        assert_eq!(replays.len(), 2);
        assert!(!replays.note(stamp(1), 2), "forgotten");
        assert!(!replays.note(stamp(0), 1), "older than what is forgotten");
        assert!(replays.note(stamp(2), 2));
    }
}
