//! Comfort noise (RFC 3389): while nobody speaks a peer may send the level of its background now and then instead of
//! sound, and the listener makes noise of that level, since a line that goes dead sounds broken.
//!
//! Left out on purpose: the colour of the noise. Its reflection coefficients (§3.2) are stepped over when reading, as a
//! decoder of lower order may, and never written, so our noise is white. Telephone gateways send the level alone.

use thiserror::Error;

use crate::dsp::gain::{GainRamp, linear_from_db};
use crate::dsp::level::rms_dbov;
use crate::time::{FRAME_SAMPLES, Frame};

/// A comfort noise packet without its level.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("the comfort noise packet is empty")]
pub struct NoNoiseLevel;

/// How loud the background is: what a comfort noise packet says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NoiseLevel {
    /// 0 to 127 for 0 to −127 dBov.
    below_overload_db: u8,
}

impl NoiseLevel {
    /// The level of `samples`.
    pub fn of(samples: &[i16]) -> Self {
        // Between 0 and 127, as the level lies between −127 and 0.
        Self { below_overload_db: -rms_dbov(samples).round() as u8 }
    }

    /// Reads a payload.
    ///
    /// # Errors
    /// [`NoNoiseLevel`].
    pub fn parse(payload: &[u8]) -> Result<Self, NoNoiseLevel> {
        // The highest bit is reserved and means nothing yet (§3.1).
        let first = payload.first().ok_or(NoNoiseLevel)?;
        Ok(Self { below_overload_db: first & 0x7f })
    }

    /// Appends the payload to `payload`.
    pub fn write(self, payload: &mut Vec<u8>) {
        payload.push(self.below_overload_db);
    }

    /// The level in dBov, −127 to 0.
    pub fn dbov(self) -> f32 {
        -f32::from(self.below_overload_db)
    }
}

/// Makes white noise. Allocates nothing; the same seed gives the same noise.
#[derive(Debug, Clone)]
pub struct NoiseGenerator {
    random: u64,
    gain: GainRamp,
}

impl NoiseGenerator {
    /// A generator that rises from silence. Streams should have different seeds, or two of them together sound louder.
    pub fn new(seed: u64) -> Self {
        // Zero is the one state that a xorshift never leaves.
        Self { random: seed.max(1), gain: GainRamp::new(0.0, FRAME_SAMPLES) }
    }

    /// 20 ms of noise, going over from the level before within them.
    pub fn frame(&mut self, level: NoiseLevel) -> Frame {
        self.gain.set_target(linear_from_db(level.dbov()));
        let mut frame = std::array::from_fn(|_| self.sample());
        self.gain.apply(&mut frame);
        frame
    }

    /// Full scale in two values: the only noise of 0 dBov that fits 16 bits, and as white as any.
    fn sample(&mut self) -> i16 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        if self.random >> 63 == 0 { i16::MAX } else { -i16::MAX }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn level(payload: &[u8]) -> NoiseLevel {
        NoiseLevel::parse(payload).unwrap()
    }

    #[test]
    fn payloads_give_their_level() {
        let rows: [(&[u8], f32); 4] =
            [(&[0], 0.0), (&[45], -45.0), (&[127, 200, 17, 3], -127.0), (&[0x80 | 60], -60.0)];
        for (payload, dbov) in rows {
            assert_eq!(level(payload).dbov(), dbov, "{payload:?}");
        }
        assert_eq!(NoiseLevel::parse(&[]), Err(NoNoiseLevel));
    }

    #[test]
    fn noise_has_the_level_asked_for_and_goes_over_without_a_step() {
        let mut generator = NoiseGenerator::new(7);
        for payload in [[30], [50], [70], [30]] {
            let asked = level(&payload);
            let transition = generator.frame(asked);
            let steps = transition.windows(2).map(|pair| pair[0].abs().abs_diff(pair[1].abs()));
            assert!(steps.max() <= Some(8), "{asked:?}");
            let steady = generator.frame(asked);
            assert!((rms_dbov(&steady) - asked.dbov()).abs() < 0.5, "{asked:?}: {}", rms_dbov(&steady));
            assert_eq!(NoiseLevel::of(&steady), asked);
        }
    }

    #[test]
    fn noise_is_white() {
        let mut generator = NoiseGenerator::new(1);
        let noise: Vec<f64> =
            (0..50).flat_map(|_| generator.frame(level(&[20]))).skip(FRAME_SAMPLES).map(f64::from).collect();
        let power = noise.iter().map(|sample| sample * sample).sum::<f64>();
        for lag in 1..200 {
            let correlation = noise.iter().zip(&noise[lag..]).map(|(a, b)| a * b).sum::<f64>();
            assert!((correlation / power).abs() < 0.05, "lag {lag}: {}", correlation / power);
        }
    }

    proptest! {
        #[test]
        fn levels_read_back(samples in prop::collection::vec(any::<i16>(), 0..200)) {
            let measured = NoiseLevel::of(&samples);
            let mut payload = Vec::new();
            measured.write(&mut payload);
            prop_assert_eq!(NoiseLevel::parse(&payload), Ok(measured));
            prop_assert!((measured.dbov() - rms_dbov(&samples)).abs() <= 0.5);
        }
    }
}
