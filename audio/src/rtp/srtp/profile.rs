//! Which algorithms protect a stream: the crypto-suites of SDES (RFC 4568 §6.2, RFC 7714 §14.1).

/// A crypto-suite.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Profile {
    /// AES-128 in counter mode, authenticated with 80 bits of HMAC-SHA1. What every peer can, and all that Twilio offers.
    AesCm128HmacSha1_80,
    /// The same with 32 bits on RTP (RTCP keeps 80): smaller packets, and one forgery in 2³² passes.
    AesCm128HmacSha1_32,
    /// AES-128 in Galois/counter mode.
    AeadAes128Gcm,
    /// AES-256 in Galois/counter mode.
    AeadAes256Gcm,
}

impl Profile {
    /// Every profile, in our order of preference: Galois/counter mode is cheaper on processors that have AES, and its
    /// tags are longer.
    pub const ALL: [Self; 4] =
        [Self::AeadAes128Gcm, Self::AeadAes256Gcm, Self::AesCm128HmacSha1_80, Self::AesCm128HmacSha1_32];

    /// The name in a crypto line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::AesCm128HmacSha1_80 => "AES_CM_128_HMAC_SHA1_80",
            Self::AesCm128HmacSha1_32 => "AES_CM_128_HMAC_SHA1_32",
            Self::AeadAes128Gcm => "AEAD_AES_128_GCM",
            Self::AeadAes256Gcm => "AEAD_AES_256_GCM",
        }
    }

    /// The profile of that name, in capitals as RFC 4568 §9.2 spells it; some peers do not.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|profile| profile.name().eq_ignore_ascii_case(name))
    }

    /// Bytes of a master key, without the salt.
    pub const fn key_bytes(self) -> usize {
        match self {
            Self::AesCm128HmacSha1_80 | Self::AesCm128HmacSha1_32 | Self::AeadAes128Gcm => 16,
            Self::AeadAes256Gcm => 32,
        }
    }

    /// Bytes of a master salt.
    pub const fn salt_bytes(self) -> usize {
        match self {
            Self::AesCm128HmacSha1_80 | Self::AesCm128HmacSha1_32 => 14,
            Self::AeadAes128Gcm | Self::AeadAes256Gcm => 12,
        }
    }

    /// Bytes that SDES hands over, before base64: master key and salt.
    pub const fn inline_bytes(self) -> usize {
        self.key_bytes() + self.salt_bytes()
    }

    /// Bytes by which an RTP packet grows.
    pub const fn rtp_overhead_bytes(self) -> usize {
        match self {
            Self::AesCm128HmacSha1_80 => 10,
            Self::AesCm128HmacSha1_32 => 4,
            Self::AeadAes128Gcm | Self::AeadAes256Gcm => 16,
        }
    }

    /// Bytes by which an RTCP packet grows: its index and the tag.
    pub const fn rtcp_overhead_bytes(self) -> usize {
        match self {
            Self::AesCm128HmacSha1_80 | Self::AesCm128HmacSha1_32 => 4 + 10,
            Self::AeadAes128Gcm | Self::AeadAes256Gcm => 4 + 16,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_lengths_are_those_of_the_rfcs() {
        // (name, bytes after `inline:`, growth of RTP and of RTCP)
        let rows = [
            ("AES_CM_128_HMAC_SHA1_80", 30, 10, 14),
            ("AES_CM_128_HMAC_SHA1_32", 30, 4, 14),
            ("AEAD_AES_128_GCM", 28, 16, 20),
            ("AEAD_AES_256_GCM", 44, 16, 20),
        ];
        for (name, inline_bytes, rtp_bytes, rtcp_bytes) in rows {
            let profile = Profile::from_name(name).unwrap();
            assert_eq!(profile.name(), name);
            assert_eq!(profile.inline_bytes(), inline_bytes, "{name}");
            assert_eq!(profile.rtp_overhead_bytes(), rtp_bytes, "{name}");
            assert_eq!(profile.rtcp_overhead_bytes(), rtcp_bytes, "{name}");
        }
        assert_eq!(Profile::from_name("F8_128_HMAC_SHA1_80"), None);
    }
}
