//! Opus by the system's libopus (RFC 6716, RFC 7587): 16 kHz mono, as speech has no more on a telephone and recognisers
//! take no more. The RTP clock is 48 kHz whatever is carried.
//!
//! Each packet may hold a rougher copy of the one before (in-band FEC), which [`OpusDecoder`] uses for a packet lost
//! alone; what is lost in a row, or without a copy, libopus makes up.
//!
//! Left out on purpose: stereo (what a peer sends in stereo is mixed down), music, discontinuous transmission, which
//! would leave the peer's jitter buffer without packets to learn from.

use audiopus::coder;
use audiopus::packet::Packet;
use audiopus::{Application, Bitrate, Channels, SampleRate, Signal};

use super::{Decoder, Encoder};

/// Enough for transparent speech at 16 kHz with a copy of the packet before, a third of G.711.
const BITRATE_BITS_PER_SECOND: i32 = 28_000;

/// Of 0 to 10. On a small ARM core 5 costs about half of 10 and is hardly worse for speech; the bench `codec` has figures.
const COMPLEXITY: u8 = 5;

/// What the encoder is told before the peer reports: without some expected loss it adds no copies.
const INITIAL_LOSS_PERCENT: u8 = 5;

/// No frame of 20 ms at our bit rate comes near it.
const MAX_PAYLOAD_BYTES: usize = 400;

/// The longest packet there is: 120 ms at 16 kHz (RFC 6716 §3.2).
const MAX_PACKET_SAMPLES: usize = 1_920;

/// libopus makes up multiples of 2.5 ms only.
const CONCEALMENT_STEP_SAMPLES: usize = 40;

/// Turns 16 kHz PCM into Opus packets.
#[derive(Debug)]
pub struct OpusEncoder(coder::Encoder);

/// Turns Opus packets into 16 kHz PCM.
#[derive(Debug)]
pub struct OpusDecoder(coder::Decoder);

impl Default for OpusEncoder {
    fn default() -> Self {
        Self::new()
    }
}

impl OpusEncoder {
    /// An encoder at the start of a stream.
    ///
    /// # Panics
    /// If there is no memory, the one thing libopus can lack with these settings.
    pub fn new() -> Self {
        Self(configured_encoder().expect("libopus refuses none of these settings"))
    }
}

fn configured_encoder() -> audiopus::Result<coder::Encoder> {
    let mut encoder = coder::Encoder::new(SampleRate::Hz16000, Channels::Mono, Application::Voip)?;
    encoder.set_bitrate(Bitrate::BitsPerSecond(BITRATE_BITS_PER_SECOND))?;
    encoder.set_signal(Signal::Voice)?;
    encoder.set_complexity(COMPLEXITY)?;
    encoder.set_inband_fec(true)?;
    encoder.set_packet_loss_perc(INITIAL_LOSS_PERCENT)?;
    Ok(encoder)
}

impl Encoder for OpusEncoder {
    /// Only frames of 10, 20, 40 or 60 ms can be coded; any other gives nothing.
    fn encode(&mut self, samples: &[i16], payload: &mut Vec<u8>) {
        let start = payload.len();
        payload.resize(start + MAX_PAYLOAD_BYTES, 0);
        let written = self.0.encode(samples, &mut payload[start..]).unwrap_or(0);
        payload.truncate(start + written);
    }

    fn expect_loss(&mut self, fraction: f32) {
        // Never below what makes the encoder add copies; `as` makes zero of NaN.
        let percent = ((fraction * 100.0).round() as u8).clamp(INITIAL_LOSS_PERCENT, 30);
        // Cannot fail in this range, and if it did the stream would go on as it is.
        let _ = self.0.set_packet_loss_perc(percent);
    }
}

impl Default for OpusDecoder {
    fn default() -> Self {
        Self::new()
    }
}

impl OpusDecoder {
    /// A decoder at the start of a stream.
    ///
    /// # Panics
    /// If there is no memory.
    pub fn new() -> Self {
        Self(coder::Decoder::new(SampleRate::Hz16000, Channels::Mono).expect("libopus refuses none of these settings"))
    }

    /// Appends at most `count` samples of `payload`, or made up for `None`, or with `copy` those of the packet before it.
    fn append(&mut self, payload: Option<&[u8]>, count: usize, copy: bool, samples: &mut Vec<i16>) -> usize {
        let packet = match payload.map(Packet::try_from) {
            Some(Ok(packet)) => Some(packet),
            Some(Err(_)) => return 0,
            None => None,
        };
        let start = samples.len();
        samples.resize(start + count, 0);
        let room = (&mut samples[start..]).try_into();
        let written = room.and_then(|room| self.0.decode(packet, room, copy)).unwrap_or(0);
        samples.truncate(start + written);
        written
    }
}

impl Decoder for OpusDecoder {
    fn duration_ticks(&self, payload: &[u8]) -> u32 {
        let packet = Packet::try_from(payload);
        let ticks = packet.and_then(|packet| audiopus::packet::nb_samples(packet, SampleRate::Hz48000)).unwrap_or(0);
        u32::try_from(ticks).unwrap_or(0)
    }

    fn decode(&mut self, payload: &[u8], samples: &mut Vec<i16>) {
        self.append(Some(payload), MAX_PACKET_SAMPLES, false, samples);
    }

    fn conceal(&mut self, count: usize, next: Option<&[u8]>, samples: &mut Vec<i16>) -> bool {
        let start = samples.len();
        if count == 0 || count > MAX_PACKET_SAMPLES || !count.is_multiple_of(CONCEALMENT_STEP_SAMPLES) {
            return false;
        }
        // The copy in `next` is of one packet, as long as `next` itself: what was lost before that is made up.
        let copied = next.map_or(0, |next| self.duration_ticks(next) as usize / 3).min(count);
        if copied < count {
            self.append(None, count - copied, false, samples);
        }
        if copied > 0 && self.append(next, copied, true, samples) == 0 {
            self.append(None, copied, false, samples);
        }
        // Only a damaged `next` can give less; silence keeps the time.
        samples.resize(start + count, 0);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dsp::level::rms_dbov;
    use crate::testing::wide_speech_like;

    fn packets(samples: &[i16]) -> Vec<Vec<u8>> {
        let mut encoder = OpusEncoder::new();
        encoder.expect_loss(0.2);
        let frames = samples.chunks_exact(320);
        frames
            .map(|frame| {
                let mut payload = Vec::new();
                encoder.encode(frame, &mut payload);
                payload
            })
            .collect()
    }

    /// Correlation of what was heard with what was said, at the best delay below 15 ms. A lossy codec keeps no waveform
    /// to the bit, but speech stays alike.
    fn likeness(said: &[i16], heard: &[i16]) -> f64 {
        let product = |a: &[i16], b: &[i16]| a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum::<f64>();
        let at = |delay: usize| {
            let (said, heard) = (&said[..said.len() - 240], &heard[delay..delay + said.len() - 240]);
            product(said, heard) / (product(said, said) * product(heard, heard)).sqrt().max(1.0)
        };
        (0..240).map(at).fold(0.0, f64::max)
    }

    #[test]
    fn speech_comes_back_alike_in_a_third_of_g711() {
        let said = wide_speech_like(2_000);
        let packets = packets(&said);
        let mut decoder = OpusDecoder::new();
        let mut heard = Vec::new();
        packets.iter().for_each(|packet| decoder.decode(packet, &mut heard));
        assert_eq!(heard.len(), said.len());
        let likeness = likeness(&said[8_000..24_000], &heard[8_000..24_000]);
        // The first harmonics of the voice are shifted in phase by the filter against rumble.
        assert!(likeness > 0.7, "{likeness}");
        let bytes = packets.iter().map(Vec::len).sum::<usize>();
        assert!(bytes < 2 * 8_000 / 2, "{bytes} bytes in two seconds");
    }

    /// A packet lost alone comes back from its copy, which is far nearer to it than what can be made up.
    #[test]
    fn the_next_packet_restores_a_lost_one() {
        let said = wide_speech_like(2_000);
        let packets = packets(&said);
        let heard = |with_copy: bool| {
            let mut decoder = OpusDecoder::new();
            let mut heard = Vec::new();
            for (index, packet) in packets.iter().enumerate() {
                if index % 10 == 5 {
                    let next = packets.get(index + 1).filter(|_| with_copy).map(Vec::as_slice);
                    assert!(decoder.conceal(320, next, &mut heard));
                } else {
                    decoder.decode(packet, &mut heard);
                }
            }
            assert_eq!(heard.len(), said.len());
            likeness(&said[8_000..24_000], &heard[8_000..24_000])
        };
        let (restored, made_up) = (heard(true), heard(false));
        assert!(restored > made_up + 0.01, "{restored} against {made_up}");
    }

    #[test]
    fn a_long_hole_stays_in_time_and_grows_no_louder() {
        let packets = packets(&wide_speech_like(1_000));
        let mut decoder = OpusDecoder::new();
        let mut samples = Vec::new();
        packets.iter().for_each(|packet| decoder.decode(packet, &mut samples));
        samples.clear();
        assert!((0..20).all(|_| decoder.conceal(320, None, &mut samples)));
        assert_eq!(samples.len(), 6_400);
        let (end, start) = (rms_dbov(&samples[6_000..]), rms_dbov(&samples[..320]));
        assert!(end < start, "{end} after {start}");
        assert!(!decoder.conceal(321, None, &mut samples) && samples.len() == 6_400);
    }
}
