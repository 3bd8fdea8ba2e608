//! G.722 at 64 kbit/s: 7 kHz of speech in two bands, each by adaptive differential PCM (ITU-T G.722; RFC 3551 §4.5.2).
//!
//! ```text
//! 16 kHz PCM ─► QMF ─┬─ 0–4 kHz ─► 6 bits ─┬─► one byte for two samples
//!                    └─ 4–8 kHz ─► 2 bits ─┘
//! ```
//!
//! Names in capitals are the blocks of the Recommendation. Equal to SpanDSP, which passes ITU's test sequences, to the
//! bit: the tests hold hashes of its output.
//!
//! Left out on purpose: 56 and 48 kbit/s, whose spare bits were for data beside the speech; SIP never used them. The
//! packet-loss concealment of Appendices III and IV: the jitter buffer's is the same for every codec.

use super::{Decoder, Encoder};

/// Taps of the filters that part and join the bands; used forwards for one phase and backwards for the other.
const QMF: [i32; 12] = [3, -11, 12, 32, -210, 951, 3876, -805, 362, -156, 53, -11];

/// Decision levels of the lower band's quantiser, from its second.
const LOW_LEVELS: [i32; 29] = [
    35, 72, 110, 150, 190, 233, 276, 323, 370, 422, 473, 530, 587, 650, 714, 786, 858, 940, 1023, 1121, 1219, 1339,
    1458, 1612, 1765, 1980, 2195, 2557, 2919,
];
/// Output of the lower band's inverse quantisers: with all six bits for what is heard, with four for the adaptation, so
/// that a decoder that lost two bits to data stays in step.
const LOW_OUTPUT_6: [i32; 64] = [
    -136, -136, -136, -136, -24808, -21904, -19008, -16704, -14984, -13512, -12280, -11192, -10232, -9360, -8576,
    -7856, -7192, -6576, -6000, -5456, -4944, -4464, -4008, -3576, -3168, -2776, -2400, -2032, -1688, -1360, -1040,
    -728, 24808, 21904, 19008, 16704, 14984, 13512, 12280, 11192, 10232, 9360, 8576, 7856, 7192, 6576, 6000, 5456,
    4944, 4464, 4008, 3576, 3168, 2776, 2400, 2032, 1688, 1360, 1040, 728, 432, 136, -432, -136,
];
const LOW_OUTPUT_4: [i32; 16] =
    [0, -20456, -12896, -8968, -6288, -4240, -2584, -1200, 20456, 12896, 8968, 6288, 4240, 2584, 1200, 0];
/// How each four-bit code of the lower band moves the logarithm of its step.
const LOW_STEPS: [i32; 16] = [-60, 3042, 1198, 538, 334, 172, 58, -30, 3042, 1198, 538, 334, 172, 58, -30, -60];

const HIGH_LEVEL: i32 = 564;
const HIGH_OUTPUT: [i32; 4] = [-7408, -1616, 7408, 1616];
const HIGH_STEPS: [i32; 4] = [798, -214, 798, -214];

/// 2048 × 2^(i/32): the logarithmic step back to a linear one.
const EXPONENTIAL: [i32; 32] = [
    2048, 2093, 2139, 2186, 2233, 2282, 2332, 2383, 2435, 2489, 2543, 2599, 2656, 2714, 2774, 2834, 2896, 2960, 3025,
    3091, 3158, 3228, 3298, 3371, 3444, 3520, 3597, 3676, 3756, 3838, 3922, 4008,
];

/// Turns 16 kHz PCM into one byte for every two samples.
#[derive(Debug, Clone)]
pub struct G722Encoder {
    low: Band,
    high: Band,
    /// The last 24 samples, oldest first.
    past: [i32; 24],
}

/// Turns each byte into two samples of 16 kHz PCM.
#[derive(Debug, Clone)]
pub struct G722Decoder {
    low: Band,
    high: Band,
    /// Sums and differences of the bands in turn, oldest first.
    past: [i32; 24],
}

impl Default for G722Encoder {
    fn default() -> Self {
        Self::new()
    }
}

impl G722Encoder {
    /// An encoder at the start of a stream.
    pub const fn new() -> Self {
        Self { low: Band::new(Which::Low), high: Band::new(Which::High), past: [0; 24] }
    }

    fn encode_pair(&mut self, first: i16, second: i16) -> u8 {
        push_pair(&mut self.past, i32::from(first), i32::from(second));
        let (odd, even) = phases(&self.past);
        let (low, high) = ((even + odd) >> 14, (even - odd) >> 14);
        let low_code = self.low.quantise_low(low);
        let high_code = self.high.quantise_high(high);
        self.low.adapt_low(low_code);
        self.high.adapt_high(high_code);
        high_code << 6 | low_code
    }
}

impl Encoder for G722Encoder {
    /// The last sample of an odd number is left out.
    fn encode(&mut self, samples: &[i16], payload: &mut Vec<u8>) {
        payload.extend(samples.as_chunks().0.iter().map(|&[first, second]| self.encode_pair(first, second)));
    }
}

impl Default for G722Decoder {
    fn default() -> Self {
        Self::new()
    }
}

impl G722Decoder {
    /// A decoder at the start of a stream.
    pub const fn new() -> Self {
        Self { low: Band::new(Which::Low), high: Band::new(Which::High), past: [0; 24] }
    }

    fn decode_byte(&mut self, byte: u8) -> [i16; 2] {
        let (low_code, high_code) = (byte & 0x3f, byte >> 6);
        let heard = (self.low.step * LOW_OUTPUT_6[usize::from(low_code)]) >> 15;
        let low = (self.low.prediction + heard).clamp(-16_384, 16_383);
        let heard = (self.high.step * HIGH_OUTPUT[usize::from(high_code)]) >> 15;
        let high = (self.high.prediction + heard).clamp(-16_384, 16_383);
        self.low.adapt_low(low_code);
        self.high.adapt_high(high_code);
        push_pair(&mut self.past, low + high, low - high);
        let (odd, even) = phases(&self.past);
        [saturated(even >> 11) as i16, saturated(odd >> 11) as i16]
    }
}

impl Decoder for G722Decoder {
    fn duration_ticks(&self, payload: &[u8]) -> u32 {
        // G.722 samples at 16 kHz but its RTP clock ticks at 8 kHz (RFC 3551 §4.5.2): a byte of two samples is one tick.
        u32::try_from(payload.len()).unwrap_or(u32::MAX)
    }

    fn decode(&mut self, payload: &[u8], samples: &mut Vec<i16>) {
        samples.extend(payload.iter().flat_map(|&byte| self.decode_byte(byte)));
    }
}

fn push_pair(past: &mut [i32; 24], first: i32, second: i32) {
    past.copy_within(2.., 0);
    [past[22], past[23]] = [first, second];
}

/// The two phases of the QMF over the last 24 values.
fn phases(past: &[i32; 24]) -> (i32, i32) {
    let mut sums = (0, 0);
    for (pair, tap) in past.as_chunks::<2>().0.iter().zip(0..) {
        sums.0 += pair[0] * QMF[tap];
        sums.1 += pair[1] * QMF[11 - tap];
    }
    sums
}

/// To the range of 16 bits.
fn saturated(value: i32) -> i32 {
    value.clamp(i32::from(i16::MIN), i32::from(i16::MAX))
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Which {
    Low,
    High,
}

/// One band's predictor and step, the same in encoder and decoder: both see only what was sent.
#[derive(Debug, Clone)]
struct Band {
    which: Which,
    /// What the next sample should be, from poles and zeros together, and from the zeros alone.
    prediction: i32,
    zeros_prediction: i32,
    /// Newest first: reconstructed signal, partly reconstructed signal, quantised differences.
    reconstructed: [i32; 2],
    partial: [i32; 2],
    differences: [i32; 6],
    poles: [i32; 2],
    zeros: [i32; 6],
    /// The quantiser's step, as a logarithm and linear.
    log_step: i32,
    step: i32,
}

impl Band {
    const fn new(which: Which) -> Self {
        let step = match which {
            Which::Low => 32,
            Which::High => 8,
        };
        Self {
            which,
            prediction: 0,
            zeros_prediction: 0,
            reconstructed: [0; 2],
            partial: [0; 2],
            differences: [0; 6],
            poles: [0; 2],
            zeros: [0; 6],
            log_step: 0,
            step,
        }
    }

    /// SUBTRA and QUANTL: the six bits for `sample`.
    fn quantise_low(&self, sample: i32) -> u8 {
        let error = saturated(sample - self.prediction);
        let magnitude = if error >= 0 { error } else { -(error + 1) };
        let above = |&&level: &&i32| magnitude >= (level * self.step) >> 12;
        let interval = LOW_LEVELS.iter().take_while(above).count() as u8; // 0 to 29
        match (error < 0, interval) {
            (false, _) => 61 - interval,
            (true, 0 | 1) => 63 - interval,
            (true, _) => 33 - interval,
        }
    }

    /// SUBTRA and QUANTH: the two bits for `sample`.
    fn quantise_high(&self, sample: i32) -> u8 {
        let error = saturated(sample - self.prediction);
        let magnitude = if error >= 0 { error } else { -(error + 1) };
        let is_large = magnitude >= (HIGH_LEVEL * self.step) >> 12;
        match (error < 0, is_large) {
            (true, true) => 0,
            (true, false) => 1,
            (false, true) => 2,
            (false, false) => 3,
        }
    }

    /// INVQAL, LOGSCL, SCALEL and the predictor, after the code was sent or came.
    fn adapt_low(&mut self, code: u8) {
        let code = usize::from(code >> 2);
        let difference = (self.step * LOW_OUTPUT_4[code]) >> 15;
        self.adapt_step(LOW_STEPS[code]);
        self.predict(difference);
    }

    /// INVQAH, LOGSCH, SCALEH and the predictor.
    fn adapt_high(&mut self, code: u8) {
        let code = usize::from(code);
        let difference = (self.step * HIGH_OUTPUT[code]) >> 15;
        self.adapt_step(HIGH_STEPS[code]);
        self.predict(difference);
    }

    fn adapt_step(&mut self, change: i32) {
        let (most, shift) = match self.which {
            Which::Low => (18_432, 8),
            Which::High => (22_528, 10),
        };
        self.log_step = (((self.log_step * 127) >> 7) + change).clamp(0, most);
        let mantissa = EXPONENTIAL[(self.log_step >> 6 & 31) as usize];
        let shift = shift - (self.log_step >> 11);
        self.step = (if shift < 0 { mantissa << -shift } else { mantissa >> shift }) << 2;
    }

    /// RECONS to PREDIC: takes the quantised `difference`, adapts the filters and predicts the next sample.
    fn predict(&mut self, difference: i32) {
        let reconstructed = saturated(self.prediction + difference);
        let partial = saturated(self.zeros_prediction + difference);
        let second = self.adapted_second_pole(partial);
        let first = self.adapted_first_pole(partial, second);
        self.adapt_zeros(difference);

        self.differences.copy_within(..5, 1);
        self.differences[0] = difference;
        self.reconstructed = [reconstructed, self.reconstructed[0]];
        self.partial = [partial, self.partial[0]];
        self.poles = [first, second];

        let term = |(factor, value): (&i32, &i32)| (factor * saturated(2 * value)) >> 15;
        let poles = self.poles.iter().zip(&self.reconstructed).map(term).sum();
        self.zeros_prediction = saturated(self.zeros.iter().zip(&self.differences).map(term).sum());
        self.prediction = saturated(saturated(poles) + self.zeros_prediction);
    }

    /// UPPOL2. Signs are compared as the sign bit: zero counts as positive.
    fn adapted_second_pole(&self, partial: i32) -> i32 {
        let pull = saturated(4 * self.poles[0]);
        let pull = if is_same_sign(partial, self.partial[0]) { -pull } else { pull }.min(i32::from(i16::MAX));
        let step = if is_same_sign(partial, self.partial[1]) { 128 } else { -128 };
        (step + (pull >> 7) + ((self.poles[1] * 32_512) >> 15)).clamp(-12_288, 12_288)
    }

    /// UPPOL1.
    fn adapted_first_pole(&self, partial: i32, second: i32) -> i32 {
        let step = if is_same_sign(partial, self.partial[0]) { 192 } else { -192 };
        let limit = saturated(15_360 - second);
        saturated(step + ((self.poles[0] * 32_640) >> 15)).clamp(-limit, limit)
    }

    /// UPZERO.
    fn adapt_zeros(&mut self, difference: i32) {
        let step = if difference == 0 { 0 } else { 128 };
        for (zero, earlier) in self.zeros.iter_mut().zip(&self.differences) {
            let step = if is_same_sign(difference, *earlier) { step } else { -step };
            *zero = saturated(step + ((*zero * 32_640) >> 15));
        }
    }
}

fn is_same_sign(a: i32, b: i32) -> bool {
    (a < 0) == (b < 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dsp::tone::sine;
    use crate::time::SampleRate;
    use std::time::Duration;

    /// Two seconds that drive every part of the coder: noise and triangles of many levels, made of integers alone so that
    /// the same input can be made anywhere. Never so loud that a decoder overflows: there SpanDSP 0.0.6 wraps, and we clip
    /// as the Recommendation has it.
    fn stimulus() -> Vec<i16> {
        let mut random = 0x2545_f491_4f6c_dd1d_u64;
        let sample = |index: i64| {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            let noise = (random >> 48) as i64 - 32_768;
            let period = 20 + index / 400;
            let triangle = ((index % period) * 4 * 32_767 / period - 32_767).abs().min(65_534) - 32_767;
            let shift = 2 + index / 1_600 % 8;
            let value = if index / 800 % 2 == 0 { noise >> shift } else { triangle >> shift };
            value.clamp(-32_768, 32_767) as i16
        };
        (0..32_000).map(sample).collect()
    }

    /// FNV-1a.
    fn hash(bytes: impl IntoIterator<Item = u8>) -> u64 {
        let step = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        bytes.into_iter().fold(0xcbf2_9ce4_8422_2325, step)
    }

    fn decoded(payload: &[u8]) -> Vec<i16> {
        let mut samples = Vec::new();
        G722Decoder::new().decode(payload, &mut samples);
        samples
    }

    fn encoded(samples: &[i16]) -> Vec<u8> {
        let mut payload = Vec::new();
        G722Encoder::new().encode(samples, &mut payload);
        payload
    }

    /// What SpanDSP 0.0.6 makes of the same input.
    const SPANDSP_ENCODED: u64 = 0x5702_d2e9_dd35_b4c0;
    const SPANDSP_DECODED: u64 = 0x7dd5_5979_ce35_eccf;
    const SPANDSP_DAMAGED: u64 = 0xe5fd_d905_c424_d1f2;

    #[test]
    fn every_bit_is_spandsps() {
        let payload = encoded(&stimulus());
        assert_eq!(payload.len(), 16_000);
        assert_eq!(hash(payload.iter().copied()), SPANDSP_ENCODED, "{:x?}", &payload[..16]);
        assert_eq!(hash(decoded(&payload).into_iter().flat_map(i16::to_le_bytes)), SPANDSP_DECODED);
        // And of what the network damaged, one byte in 37.
        let mut damaged = payload;
        damaged.iter_mut().step_by(37).for_each(|byte| *byte ^= 4);
        assert_eq!(hash(decoded(&damaged).into_iter().flat_map(i16::to_le_bytes)), SPANDSP_DAMAGED);
    }

    /// Encoder and decoder delay by 22 samples together. G.722 promises about 34 dB where speech is strong.
    #[test]
    fn tones_come_back_at_their_level() {
        for (frequency_hz, least_snr_db) in [(300.0, 30.0), (1_000.0, 30.0), (3_000.0, 20.0), (6_000.0, 12.0)] {
            let tone = sine(frequency_hz, Duration::from_millis(500), -15.0, SampleRate::WIDE_BAND);
            let heard = decoded(&encoded(&tone));
            let energy = |difference: &dyn Fn(usize) -> f64| (2_000..7_000).map(difference).map(|x| x * x).sum::<f64>();
            let signal = energy(&|index| f64::from(tone[index]));
            let noise = energy(&|index| f64::from(tone[index]) - f64::from(heard[index + 22]));
            let snr_db = 10.0 * (signal / noise).log10();
            assert!(snr_db > least_snr_db, "{frequency_hz} Hz: {snr_db} dB");
        }
    }
}
