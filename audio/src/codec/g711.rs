//! G.711: one byte a sample, stateless, 8 kHz on both clocks (ITU-T G.711; RFC 3551 §4.5.14).

use audio_codec_algorithms::{decode_alaw, decode_ulaw, encode_alaw, encode_ulaw};

use super::{Decoder, Encoder};

/// The two companding laws of G.711.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Law {
    /// µ-law: North America and Japan.
    Mu,
    /// A-law: everywhere else.
    A,
}

/// G.711 in one of its laws.
#[derive(Debug, Clone, Copy)]
pub struct G711 {
    law: Law,
}

impl G711 {
    /// A coder for `law`.
    pub const fn new(law: Law) -> Self {
        Self { law }
    }
}

impl Encoder for G711 {
    fn encode(&mut self, samples: &[i16], payload: &mut Vec<u8>) {
        match self.law {
            Law::Mu => payload.extend(samples.iter().map(|&sample| encode_ulaw(sample))),
            Law::A => payload.extend(samples.iter().map(|&sample| encode_alaw(sample))),
        }
    }
}

impl Decoder for G711 {
    fn duration_ticks(&self, payload: &[u8]) -> u32 {
        u32::try_from(payload.len()).unwrap_or(u32::MAX)
    }

    fn decode(&mut self, payload: &[u8], samples: &mut Vec<i16>) {
        match self.law {
            Law::Mu => samples.extend(payload.iter().map(|&byte| decode_ulaw(byte))),
            Law::A => samples.extend(payload.iter().map(|&byte| decode_alaw(byte))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decoded(law: Law, byte: u8) -> i16 {
        let mut samples = Vec::new();
        G711::new(law).decode(&[byte], &mut samples);
        samples[0]
    }

    fn encoded(law: Law, sample: i16) -> u8 {
        let mut payload = Vec::new();
        G711::new(law).encode(&[sample], &mut payload);
        payload[0]
    }

    /// Decision and output values of ITU-T G.711 tables 1a, 1b (A-law, 13 bits) and 2a, 2b (µ-law, 14 bits), shifted up
    /// to 16 bits. On the wire A-law has its even bits inverted (⊕ 0x55), µ-law all of them.
    #[test]
    fn codes_have_the_values_of_the_standard() {
        let rows = [
            (Law::A, 0xd5, 8),
            (Law::A, 0x55, -8),
            (Law::A, 0xd4, 24),
            (Law::A, 0x80 ^ 0x55 ^ 0x10, 264),
            (Law::A, 0xaa, 32_256),
            (Law::A, 0x2a, -32_256),
            (Law::Mu, 0xff, 0),
            (Law::Mu, 0x7f, 0),
            (Law::Mu, 0xfe, 8),
            (Law::Mu, 0xef, 132),
            (Law::Mu, 0x80, 32_124),
            (Law::Mu, 0x00, -32_124),
        ];
        for (law, byte, value) in rows {
            assert_eq!(decoded(law, byte), value, "{law:?} {byte:#04x}");
        }
    }

    /// A tandem of coders must not wear speech down: coding a decoded value gives the same code.
    #[test]
    fn all_codes_survive_a_round_trip() {
        for law in [Law::Mu, Law::A] {
            for byte in 0..=u8::MAX {
                // µ-law has two zeros; the negative one decodes to 0 and comes back as the positive one.
                let expected = if law == Law::Mu && byte == 0x7f { 0xff } else { byte };
                assert_eq!(encoded(law, decoded(law, byte)), expected, "{law:?} {byte:#04x}");
            }
        }
    }

    #[test]
    fn every_sample_is_coded_within_half_a_step() {
        for law in [Law::Mu, Law::A] {
            for sample in i16::MIN..=i16::MAX {
                let error = (i32::from(decoded(law, encoded(law, sample))) - i32::from(sample)).abs();
                // Steps double with each of the segments; the top one is 1024 wide and clips at its own middle.
                let allowed = (i32::from(sample).abs() / 24 + 16).max(16);
                assert!(error <= allowed, "{law:?} {sample}: off by {error}");
            }
        }
    }
}
