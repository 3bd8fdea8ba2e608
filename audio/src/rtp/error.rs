//! Why a datagram was not usable, and how often each reason was seen.

use thiserror::Error;

use super::dtmf::DtmfError;
use super::packet::PayloadType;

/// Why a datagram on an RTP port gave no sound. Always the peer's doing or the network's; never ends a call by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum RtpError {
    /// Shorter than the fixed header (RFC 3550 §5.1). Keep-alives of NAT boxes look like this.
    #[error("{length_bytes} bytes are too few for an RTP header")]
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
    /// RTCP multiplexed on the RTP port (RFC 5761 §4); hand it to [`super::rtcp`].
    #[error("RTCP packet of type {packet_type} on the RTP port")]
    Rtcp {
        /// The RTCP packet type, 192 to 223.
        packet_type: u8,
    },
    /// CSRC list or header extension run past the end.
    #[error("the RTP header runs past the end of the datagram")]
    TruncatedHeader,
    /// The padding count is zero or more than there is.
    #[error("an RTP padding of {padding_bytes} bytes cannot be")]
    BadPadding {
        /// The count in the last byte.
        padding_bytes: u8,
    },
    /// A payload type that was not negotiated.
    #[error("payload type {} was not negotiated", .payload_type.value())]
    UnknownPayloadType {
        /// What the packet carries.
        payload_type: PayloadType,
    },
    /// A header without sound.
    #[error("the RTP packet has no payload")]
    EmptyPayload,
    /// More sound than one packet may hold, see [`crate::jitter::MAX_PACKET`].
    #[error("{duration_ticks} clock ticks in one RTP packet are too many")]
    PayloadTooLong {
        /// Clock ticks that the payload would last.
        duration_ticks: u32,
    },
    /// The first packets of another SSRC, or of a wild jump in sequence: not believed until they repeat.
    #[error("the first packets of a new source are not believed yet")]
    UnconfirmedSource,
    /// A telephone event that could not be read.
    #[error(transparent)]
    Dtmf(#[from] DtmfError),
}

/// Datagrams refused, by reason. One counter per variant of [`RtpError`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[expect(missing_docs, reason = "each field counts the RtpError variant of its name")]
pub struct ErrorCounts {
    pub too_short: u64,
    pub wrong_version: u64,
    pub rtcp: u64,
    pub truncated_header: u64,
    pub bad_padding: u64,
    pub unknown_payload_type: u64,
    pub empty_payload: u64,
    pub payload_too_long: u64,
    pub unconfirmed_source: u64,
    pub dtmf: u64,
}

impl ErrorCounts {
    /// Counts one `error`.
    pub fn count(&mut self, error: &RtpError) {
        let counter = match error {
            RtpError::TooShort { .. } => &mut self.too_short,
            RtpError::WrongVersion { .. } => &mut self.wrong_version,
            RtpError::Rtcp { .. } => &mut self.rtcp,
            RtpError::TruncatedHeader => &mut self.truncated_header,
            RtpError::BadPadding { .. } => &mut self.bad_padding,
            RtpError::UnknownPayloadType { .. } => &mut self.unknown_payload_type,
            RtpError::EmptyPayload => &mut self.empty_payload,
            RtpError::PayloadTooLong { .. } => &mut self.payload_too_long,
            RtpError::UnconfirmedSource => &mut self.unconfirmed_source,
            RtpError::Dtmf(_) => &mut self.dtmf,
        };
        *counter += 1;
    }

    /// Datagrams that broke the format, as opposed to well-formed ones we did not want.
    pub fn malformed(&self) -> u64 {
        self.too_short
            + self.wrong_version
            + self.truncated_header
            + self.bad_padding
            + self.empty_payload
            + self.payload_too_long
            + self.dtmf
    }
}
