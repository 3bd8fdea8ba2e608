//! The PIN that somebody types at a phone before it plays messages: kept as a salted hash, and not tried for ever.
//!
//! Why a slow hash and not one that is hard on memory: a PIN of six digits falls to whoever has the file, whatever hashes it;
//! what keeps it is the file's mode and the few tries at a phone.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use ring::rand::{SecureRandom as _, SystemRandom};

use super::secrets::SecretError;
use crate::durable;
use crate::identity::{SecretHash, SetupSecret};

/// Digits of a PIN that the box makes.
const DIGITS: usize = 6;
/// Wrong ones in a row until nobody is asked any more, for [`LOCKED`].
const TRIES_LIMIT: u32 = 5;
/// After that there is one try in this time: a million PINs take decades.
const LOCKED: Duration = Duration::from_secs(15 * 60);

/// The folder of all extensions' PINs.
#[derive(Debug, Clone)]
pub struct Pins(PathBuf);

impl Pins {
    /// Those of the box whose state is in `state`.
    pub fn new(state: &Path) -> Pins {
        Pins(state.join("pins"))
    }

    fn path(&self, extension: &str) -> PathBuf {
        self.0.join(extension).with_extension("json")
    }

    /// Makes a new PIN and keeps its hash. The PIN is returned and nowhere else.
    ///
    /// # Errors
    /// [`SecretError`]; what was kept before is then still good.
    pub fn renew(&self, extension: &str) -> Result<String, SecretError> {
        let source = SystemRandom::new();
        let mut pin = String::new();
        while pin.len() < DIGITS {
            let mut byte = [0];
            source.fill(&mut byte).map_err(|_| SecretError::NoRandomness)?;
            // 250 is the largest multiple of ten in a byte.
            if byte[0] < 250 {
                pin.push(char::from(b'0' + byte[0] % 10));
            }
        }
        self.set(extension, &pin)?;
        Ok(pin)
    }

    /// Keeps the hash of a PIN that somebody has chosen.
    ///
    /// # Errors
    /// [`SecretError`].
    pub fn set(&self, extension: &str, pin: &str) -> Result<(), SecretError> {
        let hash = SecretHash::of(&SetupSecret::from(pin.to_owned())).map_err(|_| SecretError::NoRandomness)?;
        let text = serde_json::to_vec(&hash).map_err(io::Error::other)?;
        Ok(durable::write(&self.path(extension), &text, 0o600)?)
    }

    /// Whether `typed` is the PIN; `None` without one. Takes a tenth of a second.
    pub fn is_right(&self, extension: &str, typed: &str) -> Option<bool> {
        // Names of extensions are digits, and only names that the configuration knows come here.
        let text = std::fs::read(self.path(extension)).ok()?;
        let hash: SecretHash = serde_json::from_slice(&text).ok()?;
        Some(hash.matches(typed))
    }

    /// Whether an extension has a PIN.
    pub fn exists(&self, extension: &str) -> bool {
        self.path(extension).exists()
    }
}

/// Wrong PINs in a row, by extension: as many entries as there are extensions.
#[derive(Debug, Default)]
pub struct Tries(HashMap<String, (u32, Instant)>);

impl Tries {
    /// Whether a PIN may be typed for `extension` at `now`.
    pub fn may_try(&self, extension: &str, now: Instant) -> bool {
        self.0
            .get(extension)
            .is_none_or(|(wrong, last)| *wrong < TRIES_LIMIT || now.saturating_duration_since(*last) >= LOCKED)
    }

    /// A PIN was typed.
    pub fn note(&mut self, extension: &str, is_right: bool, now: Instant) {
        if is_right {
            self.0.remove(extension);
            return;
        }
        let (wrong, last) = self.0.entry(extension.to_owned()).or_insert((0, now));
        // After the pause there is one try, not five.
        *wrong = wrong.saturating_add(1);
        *last = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pin_is_told_once_and_only_its_hash_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        let pins = Pins::new(folder.path());
        assert_eq!(pins.is_right("101", "123456"), None);
        let pin = pins.renew("101").unwrap();
        assert!(pin.len() == DIGITS && pin.bytes().all(|byte| byte.is_ascii_digit()));
        assert_eq!(pins.is_right("101", &pin), Some(true));
        assert_eq!(pins.is_right("101", "12"), Some(false));
        assert!(!std::fs::read_to_string(folder.path().join("pins/101.json")).unwrap().contains(&pin));
        pins.set("101", "4711").unwrap();
        assert_eq!(pins.is_right("101", "4711"), Some(true));
    }

    #[test]
    fn five_wrong_ones_in_a_row_are_enough_for_a_while() {
        let (mut tries, start) = (Tries::default(), Instant::now());
        for _ in 0..TRIES_LIMIT {
            assert!(tries.may_try("101", start));
            tries.note("101", false, start);
        }
        assert!(!tries.may_try("101", start + LOCKED - Duration::from_secs(1)));
        assert!(tries.may_try("102", start), "each extension for itself");
        assert!(tries.may_try("101", start + LOCKED));
        tries.note("101", false, start + LOCKED);
        assert!(!tries.may_try("101", start + LOCKED), "one try after the pause");
        tries.note("101", true, start + 2 * LOCKED);
        assert!(tries.may_try("101", start + 2 * LOCKED));
    }
}
