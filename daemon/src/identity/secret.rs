//! The secret for the first set-up: made at random, typed once, kept only as a salted hash for checking.
//!
//! Why PBKDF2 and not Argon2 (2026-11): a memory-hard hash makes guessing a weak password slow. This secret is no
//! person's choice: 16 letters from the system's random source, some 79 bits, which nobody guesses at any speed. So what
//! `ring`, which is in the process for TLS, has is enough. What would change our mind: storing passwords that people
//! choose; those belong into a memory-hard hash.

use std::fmt;
use std::num::NonZeroU32;

use ring::pbkdf2::{self, PBKDF2_HMAC_SHA256};
use ring::rand::{SecureRandom as _, SystemRandom};
use serde::{Deserialize, Serialize};

use super::IdentityError;
use crate::redact::Redacted;

/// Without 0 and O, 1, I and L: what is read from a label is typed right.
const LETTERS: &[u8; 31] = b"23456789ABCDEFGHJKMNPQRSTUVWXYZ";
const GROUPS: usize = 4;
const GROUP_LETTERS: usize = 4;
/// A tenth of a second on the box, per attempt.
const ITERATIONS: NonZeroU32 = NonZeroU32::new(100_000).expect("not zero");
const HASH_BYTES: usize = 32;
/// A longer text is not the secret and is not hashed.
const TYPED_LIMIT_BYTES: usize = 64;

/// `7KQM-X2RD-...`: four groups of four.
#[derive(Debug, Clone)]
pub struct SetupSecret(Redacted<String>);

impl SetupSecret {
    /// From the system's random source.
    ///
    /// # Errors
    /// [`IdentityError::NoRandomness`].
    pub(super) fn random() -> Result<SetupSecret, IdentityError> {
        let source = SystemRandom::new();
        let mut letters = Vec::with_capacity(GROUPS * GROUP_LETTERS);
        while letters.len() < GROUPS * GROUP_LETTERS {
            let mut byte = [0];
            source.fill(&mut byte).map_err(|_| IdentityError::NoRandomness)?;
            // 248 is the largest multiple of 31 in a byte: beyond it the first letters would be likelier.
            if usize::from(byte[0]) < 248 {
                letters.push(char::from(LETTERS[usize::from(byte[0]) % LETTERS.len()]));
            }
        }
        let groups: Vec<String> = letters.chunks(GROUP_LETTERS).map(|group| group.iter().collect()).collect();
        Ok(SetupSecret(Redacted::new(groups.join("-"))))
    }

    /// The clear text, for the console and the label only.
    pub fn reveal(&self) -> &str {
        self.0.reveal()
    }
}

impl From<String> for SetupSecret {
    fn from(text: String) -> SetupSecret {
        SetupSecret(Redacted::new(text))
    }
}

/// What is stored to check a typed secret with.
#[derive(Clone, Serialize, Deserialize)]
pub struct SecretHash {
    algorithm: String,
    iterations: NonZeroU32,
    salt: String,
    hash: String,
}

impl SecretHash {
    /// With a salt of its own.
    ///
    /// # Errors
    /// [`IdentityError::NoRandomness`].
    pub(crate) fn of(secret: &SetupSecret) -> Result<SecretHash, IdentityError> {
        let mut salt = [0; 16];
        SystemRandom::new().fill(&mut salt).map_err(|_| IdentityError::NoRandomness)?;
        let mut hash = [0; HASH_BYTES];
        pbkdf2::derive(PBKDF2_HMAC_SHA256, ITERATIONS, &salt, normalised(secret.reveal()).as_bytes(), &mut hash);
        let (salt, hash) = (hex::encode(salt), hex::encode(hash));
        Ok(SecretHash { algorithm: "pbkdf2-hmac-sha256".into(), iterations: ITERATIONS, salt, hash })
    }

    /// Whether `typed` is the secret, in small or capital letters, with or without dashes and blanks. In constant time.
    pub fn matches(&self, typed: &str) -> bool {
        let (Ok(salt), Ok(hash)) = (hex::decode(&self.salt), hex::decode(&self.hash)) else { return false };
        if typed.len() > TYPED_LIMIT_BYTES || hash.len() != HASH_BYTES {
            return false;
        }
        pbkdf2::verify(PBKDF2_HMAC_SHA256, self.iterations, &salt, normalised(typed).as_bytes(), &hash).is_ok()
    }
}

/// Not even the hash belongs in a log.
impl fmt::Debug for SecretHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SecretHash").field("algorithm", &self.algorithm).finish_non_exhaustive()
    }
}

fn normalised(typed: &str) -> String {
    typed.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_uppercase()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_four_groups_of_letters_that_cannot_be_misread() {
        for _ in 0..50 {
            let secret = SetupSecret::random().unwrap();
            let groups: Vec<_> = secret.reveal().split('-').collect();
            assert_eq!(groups.iter().map(|group| group.len()).collect::<Vec<_>>(), [4; 4]);
            assert!(!secret.reveal().contains(['0', 'O', '1', 'I', 'L']), "{}", secret.reveal());
            assert!(!format!("{secret:?}").contains(groups[0]), "no secret in a log");
        }
    }

    #[test]
    fn it_is_recognised_however_it_is_typed_and_nothing_else_is() {
        let secret = SetupSecret::from("7KQM-X2RD-9ABC-HJKM".to_owned());
        let hash = SecretHash::of(&secret).unwrap();
        for (typed, right) in [
            ("7KQM-X2RD-9ABC-HJKM", true),
            (" 7kqm x2rd 9abchjkm\n", true),
            ("7KQM-X2RD-9ABC-HJKN", false),
            ("7KQM-X2RD-9ABC-HJK", false),
            ("", false),
        ] {
            assert_eq!(hash.matches(typed), right, "{typed}");
        }
        assert!(!hash.matches(&"7".repeat(100_000)));
        assert_ne!(SecretHash::of(&secret).unwrap().hash, hash.hash, "every hash has its own salt");
    }
}
