//! Why a packet was not protected or not believed, and how often each reason was seen.

use thiserror::Error;

/// Why a packet of ours was not protected. It is unchanged and must not be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum OutboundError {
    /// Not what the called method protects: not RTP, not RTCP, or cut off.
    #[error("not a packet to protect: {0}")]
    Malformed(InboundError),
    /// Not after the packet before: two packets of one index would betray each other (RFC 3711 §9.1).
    #[error("sequence number {sequence} does not follow the one before")]
    SequenceReused {
        /// Of the packet.
        sequence: u16,
    },
    /// More sources than a stream of ours ever has; dropping one would reuse its key stream.
    #[error("{} sources are protected already", super::MAX_OUTBOUND_SOURCES)]
    TooManySources,
    /// The master key has protected all packets it may (RFC 3711 §9.2).
    #[error("the SRTP master key is used up")]
    KeyExpired,
}

/// Why a datagram was not believed. The peer's doing, the network's or an attacker's; never ends a call by itself.
///
/// There is no error for an unknown source: whoever has the key may use any SSRC, and nobody else gets past the tag.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum InboundError {
    /// Shorter than its header and tag.
    #[error("{length_bytes} bytes are too few for an SRTP packet")]
    TooShort {
        /// Length of the datagram.
        length_bytes: usize,
    },
    /// Not version 2: STUN, DTLS, noise.
    #[error("RTP version {version} instead of 2")]
    WrongVersion {
        /// The version field, 0 to 3.
        version: u8,
    },
    /// RTCP on the RTP port (RFC 5761 §4); hand it to [`super::Inbound::unprotect_rtcp`].
    #[error("RTCP packet of type {packet_type} on the RTP port")]
    Rtcp {
        /// The RTCP packet type, 192 to 223.
        packet_type: u8,
    },
    /// CSRC list or header extension run past the end.
    #[error("the RTP header runs past the end of the datagram")]
    TruncatedHeader,
    /// SRTCP that says of itself that it is not encrypted, which nobody agreed on.
    #[error("the SRTCP packet is not encrypted")]
    Unencrypted,
    /// Came already: repeated by the network, or by somebody who recorded it.
    #[error("the packet came before")]
    Replayed,
    /// So late that nobody knows whether it came already.
    #[error("the packet is older than the replay window")]
    TooOld,
    /// Forged, damaged, or protected with another key.
    #[error("the authentication tag is wrong")]
    AuthenticationFailed,
    /// The master key has protected all packets it may (RFC 3711 §9.2).
    #[error("the peer's SRTP master key is used up")]
    KeyExpired,
}

/// Datagrams refused, by reason. One counter per variant of [`InboundError`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[expect(missing_docs, reason = "each field counts the InboundError variant of its name")]
pub struct InboundErrorCounts {
    pub too_short: u64,
    pub wrong_version: u64,
    pub rtcp: u64,
    pub truncated_header: u64,
    pub unencrypted: u64,
    pub replayed: u64,
    pub too_old: u64,
    pub authentication_failed: u64,
    pub key_expired: u64,
}

impl InboundErrorCounts {
    /// Counts one `error`.
    pub fn count(&mut self, error: InboundError) {
        let counter = match error {
            InboundError::TooShort { .. } => &mut self.too_short,
            InboundError::WrongVersion { .. } => &mut self.wrong_version,
            InboundError::Rtcp { .. } => &mut self.rtcp,
            InboundError::TruncatedHeader => &mut self.truncated_header,
            InboundError::Unencrypted => &mut self.unencrypted,
            InboundError::Replayed => &mut self.replayed,
            InboundError::TooOld => &mut self.too_old,
            InboundError::AuthenticationFailed => &mut self.authentication_failed,
            InboundError::KeyExpired => &mut self.key_expired,
        };
        *counter += 1;
    }
}
