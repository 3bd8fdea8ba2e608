//! Keys for SRTP in session descriptions: SDES, `a=crypto` (RFC 4568, RFC 7714 §14).
//!
//! Left out on purpose: MKI, key derivation rates, several keys in one line, and the session parameters that switch
//! protection off. A line that needs one of them is passed over. Whoever reads the signalling reads the media, so this is
//! for TLS only; that is the user's business.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use sdp_types::Media;
use zeroize::Zeroizing;

/// What SRTP does with a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CryptoSuite {
    /// AES counter mode with an 80 bit tag: what everybody has (RFC 4568 §6.2.1).
    AesCm128HmacSha1_80,
    /// The same with a 32 bit tag on RTP; RTCP keeps 80 (RFC 4568 §6.2.2).
    AesCm128HmacSha1_32,
    /// AES-GCM (RFC 7714).
    AeadAes128Gcm,
}

/// Master key and master salt, one after the other. Overwritten when dropped and never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct MasterKey(Zeroizing<Vec<u8>>);

/// Random bytes for our own keys: one for each suite, since none may be used twice (RFC 4568 §6.1).
#[derive(Clone)]
pub struct KeyMaterial(Zeroizing<[[u8; KEY_BYTES]; 3]>);

/// Key and salt of the longest suite.
const KEY_BYTES: usize = 30;

/// One `a=crypto` line that we can use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct CryptoLine {
    pub(super) tag: u32,
    pub(super) suite: CryptoSuite,
    pub(super) key: MasterKey,
}

/// What both sides have agreed on for SRTP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SrtpKeys {
    /// Both ways.
    pub suite: CryptoSuite,
    /// For what we send.
    pub local: MasterKey,
    /// For what we receive.
    pub remote: MasterKey,
}

impl CryptoSuite {
    /// All we have, the peer's order deciding among them.
    pub const ALL: [Self; 3] = [Self::AesCm128HmacSha1_80, Self::AesCm128HmacSha1_32, Self::AeadAes128Gcm];

    /// The registered name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::AesCm128HmacSha1_80 => "AES_CM_128_HMAC_SHA1_80",
            Self::AesCm128HmacSha1_32 => "AES_CM_128_HMAC_SHA1_32",
            Self::AeadAes128Gcm => "AEAD_AES_128_GCM",
        }
    }

    /// Bytes of master key and salt: 16 + 14, or 16 + 12.
    pub fn key_bytes(self) -> usize {
        match self {
            Self::AesCm128HmacSha1_80 | Self::AesCm128HmacSha1_32 => KEY_BYTES,
            Self::AeadAes128Gcm => 28,
        }
    }
}

impl MasterKey {
    /// 16 bytes of key, then 14 or 12 of salt.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl KeyMaterial {
    /// 90 bytes from the system's random generator.
    pub fn new(random: [[u8; KEY_BYTES]; 3]) -> Self {
        Self(Zeroizing::new(random))
    }

    /// The same, filled in where it stays: `fill` must put bytes of a cryptographically secure source into all of what it
    /// is given.
    pub fn generate(fill: impl FnOnce(&mut [u8])) -> Self {
        let mut bytes = Zeroizing::new([[0; KEY_BYTES]; 3]);
        fill(bytes.as_flattened_mut());
        Self(bytes)
    }

    pub(super) fn key(&self, suite: CryptoSuite) -> MasterKey {
        let index = match suite {
            CryptoSuite::AesCm128HmacSha1_80 => 0,
            CryptoSuite::AesCm128HmacSha1_32 => 1,
            CryptoSuite::AeadAes128Gcm => 2,
        };
        MasterKey(Zeroizing::new(self.0[index][..suite.key_bytes()].to_vec()))
    }
}

impl CryptoLine {
    /// All lines of a media description that we can use, in the peer's order.
    pub(super) fn all(media: &Media) -> Vec<Self> {
        media.get_attribute_values("crypto").flatten().filter_map(Self::parse).collect()
    }

    /// `tag suite inline:key[|lifetime] [parameter …]`
    fn parse(value: &str) -> Option<Self> {
        let mut words = value.split_ascii_whitespace();
        let tag = words.next()?.parse().ok()?;
        let name = words.next()?;
        let suite = CryptoSuite::ALL.into_iter().find(|suite| suite.as_str().eq_ignore_ascii_case(name))?;
        let (method, keys) = words.next()?.split_once(':')?;
        let mut parts = keys.split('|');
        let key = MasterKey::parse(parts.next()?, suite)?;
        // What follows is a lifetime, or with a colon an MKI, or with a semicolon another key.
        let is_plain = parts.all(|part| !part.contains(':')) && !keys.contains(';');
        // WSH is a hint; all others change what a packet looks like.
        let is_known = words.all(|parameter| parameter.starts_with("WSH=") || parameter.starts_with('-'));
        (method.eq_ignore_ascii_case("inline") && is_plain && is_known).then_some(Self { tag, suite, key })
    }

    /// The value of the attribute, with the key in it.
    pub(super) fn to_attribute(&self) -> String {
        format!("{} {} inline:{}", self.tag, self.suite.as_str(), STANDARD.encode(self.key.as_bytes()))
    }
}

impl MasterKey {
    fn parse(text: &str, suite: CryptoSuite) -> Option<Self> {
        let bytes = STANDARD_NO_PAD.decode(text.trim_end_matches('=')).ok()?;
        (bytes.len() == suite.key_bytes()).then(|| Self(Zeroizing::new(bytes)))
    }
}

impl fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MasterKey(hidden)")
    }
}

impl fmt::Debug for KeyMaterial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyMaterial(hidden)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "WVNfX19zZW1jdGwgKCkgewkyMjA7fQp9CnVubGVz";

    fn parse(rest: &str) -> Option<CryptoSuite> {
        CryptoLine::parse(&format!("1 {rest}")).map(|line| line.suite)
    }

    /// RFC 4568 §9.1's key, and lines that are none of ours.
    #[test]
    fn lines_that_we_can_use_and_lines_that_we_cannot() {
        let cm80 = Some(CryptoSuite::AesCm128HmacSha1_80);
        let gcm = "ABEiM0RVZneImaq7zN3u/wAREjM0RVZneImaqw==";
        let table = [
            (format!("AES_CM_128_HMAC_SHA1_80 inline:{KEY}"), cm80),
            (format!("aes_cm_128_hmac_sha1_80 INLINE:{KEY}|2^20 WSH=64"), cm80),
            (format!("AES_CM_128_HMAC_SHA1_32 inline:{KEY}|2^20"), Some(CryptoSuite::AesCm128HmacSha1_32)),
            (format!("AEAD_AES_128_GCM inline:{gcm}"), Some(CryptoSuite::AeadAes128Gcm)),
            (format!("AES_CM_128_HMAC_SHA1_80 inline:{KEY}|2^20|1:32"), None),
            (format!("AES_CM_128_HMAC_SHA1_80 inline:{KEY}|1:4"), None),
            (format!("AES_CM_128_HMAC_SHA1_80 inline:{KEY};inline:{KEY}"), None),
            (format!("AES_CM_128_HMAC_SHA1_80 inline:{KEY} UNENCRYPTED_SRTP"), None),
            (format!("AES_CM_128_HMAC_SHA1_80 inline:{KEY} KDR=1"), None),
            (format!("F8_128_HMAC_SHA1_80 inline:{KEY}"), None),
            (format!("AEAD_AES_128_GCM inline:{KEY}"), None),
            ("AES_CM_128_HMAC_SHA1_80 inline:short".to_owned(), None),
            ("AES_CM_128_HMAC_SHA1_80 inline:!!!!".to_owned(), None),
            ("AES_CM_128_HMAC_SHA1_80".to_owned(), None),
            (String::new(), None),
        ];
        for (rest, expected) in table {
            assert_eq!(parse(&rest), expected, "{rest}");
        }
    }

    #[test]
    fn a_line_survives_printing_and_its_key_is_never_shown() {
        let line = CryptoLine::parse(&format!("7 AES_CM_128_HMAC_SHA1_80 inline:{KEY}")).unwrap();
        assert_eq!(CryptoLine::parse(&line.to_attribute()), Some(line.clone()));
        let material = KeyMaterial::new([[1; 30], [2; 30], [3; 30]]);
        assert_eq!(material.key(CryptoSuite::AeadAes128Gcm).as_bytes(), [3; 28]);
        let generated = KeyMaterial::generate(|bytes| (0..).zip(bytes).for_each(|(number, byte)| *byte = number));
        assert_eq!(generated.key(CryptoSuite::AesCm128HmacSha1_32).as_bytes()[..2], [30, 31]);
        let shown = format!("{line:?} {material:?} {:?}", line.key);
        assert!(!shown.contains("WVNf") && !shown.contains("89") && !shown.contains("[1"), "{shown}");
    }
}
