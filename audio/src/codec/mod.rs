//! Speech codecs behind one trait: G.711 so far. Beside them comfort noise, which stands in for a codec's silence.
//!
//! `sip-stack` knows codecs by their SDP name, this crate by [`CodecKind`]; `daemon` matches one to the other.

pub mod comfort_noise;
mod g711;

pub use g711::{G711, Law};

use crate::rtp::PayloadType;
use crate::time::SampleRate;

/// Turns PCM into payloads and back. One instance per direction of one stream, as codecs may keep state.
pub trait Codec: Send {
    /// Which codec this is.
    fn kind(&self) -> CodecKind;

    /// Rate of the PCM taken and given.
    fn sample_rate(&self) -> SampleRate;

    /// Rate of the RTP timestamps, which need not be [`Self::sample_rate`] (RFC 3551 §4.5.2).
    fn clock_rate(&self) -> SampleRate;

    /// RTP clock ticks that `payload` lasts, without decoding it.
    fn duration_ticks(&self, payload: &[u8]) -> u32;

    /// Appends the encoded `samples` to `payload`. Allocates only if `payload` must grow.
    fn encode(&mut self, samples: &[i16], payload: &mut Vec<u8>);

    /// Appends the decoded `payload` to `samples`. Any bytes decode to something. Allocates only if `samples` must grow.
    fn decode(&mut self, payload: &[u8], samples: &mut Vec<i16>);
}

/// The codecs we have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CodecKind {
    /// G.711 µ-law, `PCMU/8000`.
    Pcmu,
    /// G.711 A-law, `PCMA/8000`.
    Pcma,
}

impl CodecKind {
    /// Every codec, in our order of preference.
    pub const ALL: [Self; 2] = [Self::Pcmu, Self::Pcma];

    /// The payload type RFC 3551 §6 assigned for good.
    pub const fn payload_type(self) -> PayloadType {
        match self {
            Self::Pcmu => PayloadType::PCMU,
            Self::Pcma => PayloadType::PCMA,
        }
    }

    /// The encoding name of SDP's `a=rtpmap`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pcmu => "PCMU",
            Self::Pcma => "PCMA",
        }
    }

    /// The codec of that encoding name; case does not matter (RFC 4855 §3).
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name().eq_ignore_ascii_case(name))
    }

    /// The codec with that static payload type.
    pub fn from_payload_type(payload_type: PayloadType) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.payload_type() == payload_type)
    }

    /// A fresh coder for one direction of one stream.
    pub fn codec(self) -> Box<dyn Codec> {
        match self {
            Self::Pcmu => Box::new(G711::new(Law::Mu)),
            Self::Pcma => Box::new(G711::new(Law::A)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_payload_types_find_their_codec() {
        for kind in CodecKind::ALL {
            assert_eq!(CodecKind::from_name(kind.name()), Some(kind));
            assert_eq!(CodecKind::from_name(&kind.name().to_lowercase()), Some(kind));
            assert_eq!(CodecKind::from_payload_type(kind.payload_type()), Some(kind));
            assert_eq!(kind.codec().kind(), kind);
        }
        assert_eq!(CodecKind::from_name("G729"), None);
        assert_eq!(PayloadType::new(18).and_then(CodecKind::from_payload_type), None);
    }
}
