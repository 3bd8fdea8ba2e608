//! What the box keeps of each extension's password: HA1 for each hash function (RFC 7616 §3.4.2, RFC 8760), never the
//! password. One file an extension, readable by the daemon's account only.
//!
//! HA1 is as good as the password within the realm, which is why these files are neither in the configuration nor in the
//! database that is synced and backed up.

use std::io;
use std::path::{Path, PathBuf};

use ring::rand::{SecureRandom as _, SystemRandom};
use serde::{Deserialize, Serialize};
use sip_stack::digest::{Ha1, Hash};

use crate::durable;

/// Letters and digits that nobody mistakes for each other when typing them on a telephone's keypad.
const ALPHABET: &[u8; 32] = b"abcdefghjkmnpqrstuvwxyz23456789A";
/// 20 of 32 letters: 100 bits.
const PASSWORD_LENGTH: usize = 20;

/// The folder of all extensions' secrets.
#[derive(Debug, Clone)]
pub struct Secrets {
    folder: PathBuf,
    realm: String,
}

#[derive(Serialize, Deserialize)]
struct Kept {
    realm: String,
    md5: String,
    sha256: String,
}

/// Why a password could not be set.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// The file.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The system has no random numbers.
    #[error("the system gives no random numbers")]
    NoRandomness,
}

impl Secrets {
    /// Those of the box whose state is in `state`.
    pub fn new(state: &Path, realm: &str) -> Secrets {
        Secrets { folder: state.join("extensions"), realm: realm.to_owned() }
    }

    fn path(&self, extension: &str) -> PathBuf {
        self.folder.join(extension).with_extension("json")
    }

    /// Makes a new password for an extension and keeps its HA1. The password is returned and nowhere else.
    ///
    /// # Errors
    /// [`SecretError`]; what was kept before is then still good.
    pub fn renew(&self, extension: &str) -> Result<String, SecretError> {
        let password = new_password()?;
        self.set(extension, &password)?;
        Ok(password)
    }

    /// Keeps the HA1 of a password that somebody has chosen.
    ///
    /// # Errors
    /// The file's.
    pub fn set(&self, extension: &str, password: &str) -> io::Result<()> {
        let of = |hash| Ha1::new(hash, extension, &self.realm, password).as_hex().to_owned();
        let kept = Kept { realm: self.realm.clone(), md5: of(Hash::Md5), sha256: of(Hash::Sha256) };
        let text = serde_json::to_vec(&kept).map_err(io::Error::other)?;
        durable::write(&self.path(extension), &text, 0o600)
    }

    /// What is kept for an extension; `None` without a password, or if the realm is another one now.
    pub fn ha1(&self, extension: &str, hash: Hash) -> Option<Ha1> {
        // Names of extensions are digits, and only names that the configuration knows come here.
        let text = std::fs::read(self.path(extension)).ok()?;
        let kept: Kept = serde_json::from_slice(&text).ok()?;
        let hex = match hash {
            Hash::Md5 => &kept.md5,
            Hash::Sha256 => &kept.sha256,
        };
        (kept.realm == self.realm).then(|| Ha1::from_hex(hash, hex)).flatten()
    }

    /// Whether an extension has a password.
    pub fn exists(&self, extension: &str) -> bool {
        self.ha1(extension, Hash::Sha256).is_some()
    }
}

/// A password that nobody guesses, kept nowhere.
///
/// # Errors
/// [`SecretError::NoRandomness`].
pub fn new_password() -> Result<String, SecretError> {
    let mut bytes = [0; PASSWORD_LENGTH];
    SystemRandom::new().fill(&mut bytes).map_err(|_| SecretError::NoRandomness)?;
    let letter = |byte: &u8| char::from(ALPHABET[usize::from(*byte) % ALPHABET.len()]);
    Ok(bytes.iter().map(letter).collect())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_password_is_told_once_and_only_its_hashes_are_kept() {
        let folder = tempfile::tempdir().unwrap();
        let secrets = Secrets::new(folder.path(), "office");
        assert!(!secrets.exists("101"));
        let password = secrets.renew("101").unwrap();
        assert_eq!(password.len(), PASSWORD_LENGTH);
        for hash in [Hash::Md5, Hash::Sha256] {
            assert_eq!(secrets.ha1("101", hash).unwrap(), Ha1::new(hash, "101", "office", &password));
        }
        let path = folder.path().join("extensions/101.json");
        assert!(!std::fs::read_to_string(&path).unwrap().contains(&password));
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_ne!(secrets.renew("101").unwrap(), password);
    }

    #[test]
    fn another_realm_voids_it() {
        let folder = tempfile::tempdir().unwrap();
        Secrets::new(folder.path(), "office").renew("101").unwrap();
        assert!(!Secrets::new(folder.path(), "elsewhere").exists("101"));
    }
}
