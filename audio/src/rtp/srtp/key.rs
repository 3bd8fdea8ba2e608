//! Master keys: what offer and answer exchange. They wipe themselves when dropped and never print what they hold.

use std::fmt;

use subtle::ConstantTimeEq;
use thiserror::Error;
use zeroize::Zeroizing;

use super::profile::Profile;

/// The longest key and salt, those of [`Profile::AeadAes256Gcm`].
const MAX_INLINE_BYTES: usize = 44;

/// Why bytes are not a master key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum KeyError {
    /// Too few or too many bytes for the profile.
    #[error("a key for {} has {expected_bytes} bytes, not {length_bytes}", .profile.name())]
    WrongLength {
        /// For which profile.
        profile: Profile,
        /// [`Profile::inline_bytes`].
        expected_bytes: usize,
        /// What there was.
        length_bytes: usize,
    },
}

/// A master key with its salt, and the profile it is for: one direction of one media stream.
#[derive(Clone)]
pub struct MasterKey {
    profile: Profile,
    /// Key, then salt, then zeros.
    bytes: Zeroizing<[u8; MAX_INLINE_BYTES]>,
}

/// Both directions of one media stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Keys {
    /// Protects what we send; the crypto line in our own description.
    pub outbound: MasterKey,
    /// Protects what the peer sends; the crypto line in its description.
    pub inbound: MasterKey,
}

impl MasterKey {
    /// The key out of a crypto line: what `inline:` names, base64 undone (RFC 4568 §6.1).
    ///
    /// # Errors
    /// [`KeyError::WrongLength`].
    pub fn from_inline(profile: Profile, inline: &[u8]) -> Result<Self, KeyError> {
        let expected_bytes = profile.inline_bytes();
        if inline.len() != expected_bytes {
            return Err(KeyError::WrongLength { profile, expected_bytes, length_bytes: inline.len() });
        }
        Ok(Self::generate(profile, |bytes| bytes.copy_from_slice(inline)))
    }

    /// A fresh key. `fill` must put bytes of a cryptographically secure source into all of what it is given.
    pub fn generate(profile: Profile, fill: impl FnOnce(&mut [u8])) -> Self {
        let mut key = Self { profile, bytes: Zeroizing::new([0; MAX_INLINE_BYTES]) };
        fill(&mut key.bytes[..profile.inline_bytes()]);
        key
    }

    /// What a crypto line names after `inline:`, before base64. Wipe every copy of it.
    pub fn as_inline(&self) -> &[u8] {
        &self.bytes[..self.profile.inline_bytes()]
    }

    /// The profile it is for.
    pub fn profile(&self) -> Profile {
        self.profile
    }

    pub(super) fn key(&self) -> &[u8] {
        &self.bytes[..self.profile.key_bytes()]
    }

    pub(super) fn salt(&self) -> &[u8] {
        &self.as_inline()[self.profile.key_bytes()..]
    }
}

/// Takes the same time wherever the two differ.
impl PartialEq for MasterKey {
    fn eq(&self, other: &Self) -> bool {
        self.profile == other.profile && bool::from(self.bytes.ct_eq(other.bytes.as_slice()))
    }
}

impl Eq for MasterKey {}

impl fmt::Debug for MasterKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("MasterKey").field("profile", &self.profile).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inline_bytes_go_in_and_come_out() {
        for profile in Profile::ALL {
            let inline: Vec<u8> = (1..=profile.inline_bytes() as u8).collect();
            let key = MasterKey::from_inline(profile, &inline).unwrap();
            assert_eq!(key.as_inline(), inline);
            assert_eq!(key.profile(), profile);
            assert_eq!((key.key(), key.salt()), inline.split_at(profile.key_bytes()));
        }
    }

    #[test]
    fn another_length_is_refused_with_the_right_one() {
        let error = MasterKey::from_inline(Profile::AesCm128HmacSha1_80, &[7; 28]).unwrap_err();
        assert_eq!(error.to_string(), "a key for AES_CM_128_HMAC_SHA1_80 has 30 bytes, not 28");
        assert!(MasterKey::from_inline(Profile::AeadAes128Gcm, &[]).is_err());
    }

    #[test]
    fn keys_are_equal_by_profile_and_bytes() {
        let key = |profile, byte| MasterKey::generate(profile, |bytes| bytes.fill(byte));
        let key_7 = key(Profile::AesCm128HmacSha1_80, 7);
        assert_eq!(key_7, key_7.clone());
        assert_ne!(key_7, key(Profile::AesCm128HmacSha1_80, 8));
        assert_ne!(key_7, key(Profile::AesCm128HmacSha1_32, 7));
    }

    #[test]
    fn debug_shows_the_profile_alone() {
        let key = MasterKey::generate(Profile::AeadAes128Gcm, |bytes| bytes.fill(0xab));
        assert_eq!(format!("{key:?}"), "MasterKey { profile: AeadAes128Gcm, .. }");
    }
}
