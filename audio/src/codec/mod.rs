//! Speech codecs behind two traits, one for each direction. Beside them comfort noise, which stands in for a codec's
//! silence.
//!
//! | Codec | PCM | RTP clock | Conceals losses |
//! |---|---|---|---|
//! | G.711 | 8 kHz | 8 kHz | no: the jitter buffer does |
//! | G.722 | 16 kHz | **8 kHz**, by a mistake that RFC 3551 §4.5.2 keeps for ever | no: the jitter buffer does |
//! | Opus | 16 kHz | 48 kHz, whatever it carries (RFC 7587 §4.1) | yes, and from the next packet if that is here |
//!
//! `sip-stack` knows codecs by their SDP name, this crate by [`CodecKind`]; `daemon` matches one to the other.
//!
//! **Why G.722 is ours and Opus is C (2026-11).** Of G.722 crates `ezk-g722` is alive, but brings a media framework and
//! an allocation for each packet. It is 200 lines of integers, so they are here, equal to SpanDSP's to the bit. Opus in
//! Rust alone does not exist in a form that others have tested; libopus is on every system and in every peer. `audiopus`
//! links the system's. What would change our mind: a G.722 crate without dependencies.

pub mod comfort_noise;
mod g711;
mod g722;
mod opus;

pub use g711::{G711, Law};
pub use g722::{G722Decoder, G722Encoder};
pub use opus::{OpusDecoder, OpusEncoder};

use crate::rtp::PayloadType;
use crate::time::{SampleRate, StreamClock};

/// Turns PCM into payloads. One instance per stream, as codecs keep state.
pub trait Encoder: Send {
    /// Appends the encoded `samples`, one frame of 20 ms at [`CodecKind::sample_rate`], to `payload`. Allocates only if
    /// `payload` must grow.
    fn encode(&mut self, samples: &[i16], payload: &mut Vec<u8>);

    /// Prepares for a network that loses this share of packets, 0 to 1. Most codecs cannot.
    fn expect_loss(&mut self, _fraction: f32) {}
}

/// Turns payloads into PCM. One instance per stream, as codecs keep state.
pub trait Decoder: Send {
    /// RTP clock ticks that `payload` lasts, without decoding it. Zero for what cannot be decoded.
    fn duration_ticks(&self, payload: &[u8]) -> u32;

    /// Appends the decoded `payload` to `samples`, at [`CodecKind::sample_rate`]. Any bytes decode to something, damaged
    /// ones perhaps to nothing. Allocates only if `samples` must grow.
    fn decode(&mut self, payload: &[u8], samples: &mut Vec<i16>);

    /// Appends `count` samples in place of lost ones, in the codec's own way; `next` is the payload after the hole, if
    /// it is here. `false`, and nothing appended, if the codec has no way of its own.
    fn conceal(&mut self, _count: usize, _next: Option<&[u8]>, _samples: &mut Vec<i16>) -> bool {
        false
    }
}

/// The codecs we have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CodecKind {
    /// Opus, `opus/48000/2`.
    Opus,
    /// G.722 at 64 kbit/s, `G722/8000`.
    G722,
    /// G.711 µ-law, `PCMU/8000`.
    Pcmu,
    /// G.711 A-law, `PCMA/8000`.
    Pcma,
}

impl CodecKind {
    /// Every codec, the best sounding first.
    pub const ALL: [Self; 4] = [Self::Opus, Self::G722, Self::Pcmu, Self::Pcma];

    /// The codecs of the plain telephone.
    pub const G711: [Self; 2] = [Self::Pcmu, Self::Pcma];

    /// The payload type RFC 3551 §6 assigned for good. Opus has none; 111 is what most peers choose for it, and only SDP
    /// says whether this one did.
    pub const fn payload_type(self) -> PayloadType {
        match self {
            Self::Opus => PayloadType::USUAL_OPUS,
            Self::G722 => PayloadType::G722,
            Self::Pcmu => PayloadType::PCMU,
            Self::Pcma => PayloadType::PCMA,
        }
    }

    /// The encoding name of SDP's `a=rtpmap`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Opus => "opus",
            Self::G722 => "G722",
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
        Self::ALL.into_iter().find(|kind| *kind != Self::Opus && kind.payload_type() == payload_type)
    }

    /// Rate of the PCM taken and given.
    pub const fn sample_rate(self) -> SampleRate {
        self.clock().sample_rate
    }

    /// Rate of the RTP timestamps, which need not be [`Self::sample_rate`].
    pub const fn clock_rate(self) -> SampleRate {
        self.clock().clock_rate
    }

    /// Both rates.
    pub const fn clock(self) -> StreamClock {
        match self {
            Self::Opus => StreamClock::OPUS,
            Self::G722 => StreamClock::G722,
            Self::Pcmu | Self::Pcma => StreamClock::NARROW_BAND,
        }
    }

    /// A fresh encoder for one stream.
    pub fn encoder(self) -> Box<dyn Encoder> {
        match self {
            Self::Opus => Box::new(OpusEncoder::new()),
            Self::G722 => Box::new(G722Encoder::new()),
            Self::Pcmu => Box::new(G711::new(Law::Mu)),
            Self::Pcma => Box::new(G711::new(Law::A)),
        }
    }

    /// A fresh decoder for one stream.
    pub fn decoder(self) -> Box<dyn Decoder> {
        match self {
            Self::Opus => Box::new(OpusDecoder::new()),
            Self::G722 => Box::new(G722Decoder::new()),
            Self::Pcmu => Box::new(G711::new(Law::Mu)),
            Self::Pcma => Box::new(G711::new(Law::A)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dsp::tone::sine;
    use crate::time::FRAME_DURATION;
    use proptest::prelude::*;

    #[test]
    fn names_and_payload_types_find_their_codec() {
        for kind in CodecKind::ALL {
            assert_eq!(CodecKind::from_name(kind.name()), Some(kind));
            assert_eq!(CodecKind::from_name(&kind.name().to_lowercase()), Some(kind));
        }
        for kind in [CodecKind::G722, CodecKind::Pcmu, CodecKind::Pcma] {
            assert_eq!(CodecKind::from_payload_type(kind.payload_type()), Some(kind));
        }
        assert_eq!(CodecKind::from_name("G729"), None);
        assert_eq!(PayloadType::new(18).and_then(CodecKind::from_payload_type), None);
        assert_eq!(CodecKind::from_payload_type(PayloadType::USUAL_OPUS), None, "111 may be anything");
    }

    /// 20 ms are 160 ticks in G.722 too, though it has 320 samples, and 960 in Opus.
    #[test]
    fn a_frame_of_each_codec_lasts_twenty_milliseconds_on_its_own_clock() {
        for (kind, samples, ticks) in
            [(CodecKind::Opus, 320, 960), (CodecKind::G722, 320, 160), (CodecKind::Pcmu, 160, 160)]
        {
            let frame = sine(500.0, FRAME_DURATION, -20.0, kind.sample_rate());
            assert_eq!(frame.len(), samples);
            let (mut payload, mut heard) = (Vec::new(), Vec::new());
            kind.encoder().encode(&frame, &mut payload);
            let mut decoder = kind.decoder();
            assert_eq!(decoder.duration_ticks(&payload), ticks, "{kind:?}");
            decoder.decode(&payload, &mut heard);
            assert_eq!(heard.len(), samples, "{kind:?}");
            assert_eq!(kind.clock().ticks_in_samples(samples), ticks, "{kind:?}");
        }
    }

    proptest! {
        /// What a stranger sends must never do harm, and never last longer than it says.
        #[test]
        fn any_payload_decodes(payloads in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..200), 0..20)) {
            for kind in CodecKind::ALL {
                let mut decoder = kind.decoder();
                for payload in &payloads {
                    let mut samples = Vec::new();
                    let ticks = decoder.duration_ticks(payload);
                    decoder.decode(payload, &mut samples);
                    prop_assert!(samples.len() <= kind.clock().samples_in_ticks(ticks), "{:?}", kind);
                    let before = samples.len();
                    let is_made_up = decoder.conceal(320, Some(payload), &mut samples);
                    prop_assert_eq!(samples.len() - before, if is_made_up { 320 } else { 0 });
                }
            }
        }
    }
}
