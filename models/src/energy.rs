//! Voice activity by level alone: what is left when the Silero model is not installed.
//!
//! Compares each frame with a noise floor that follows quiet frames quickly and loud ones slowly. It cannot tell speech
//! from a door slam or music; `offhook doctor` says so.

use crate::VoiceActivity;

/// Level at which the line counts as digital silence, in dB below full scale.
const SILENCE_DBFS: f32 = -70.0;
/// Where the floor starts: a quiet line. Speech of a telephone call is at -35..-15 dBFS.
const START_FLOOR_DBFS: f32 = -55.0;
/// Nothing below this is speech, however quiet the floor.
const SPEECH_MIN_DBFS: f32 = -48.0;
/// Over the floor by this much, a frame is as likely speech as not.
const MARGIN_DB: f32 = 9.0;
/// Over half of it more or less, the probability goes from 0.12 to 0.88.
const SLOPE_DB: f32 = 1.5;
/// Rise of the floor per frame while the level stays above it: 4 dB in a second of steady noise.
const RISE_DB: f32 = 0.08;
/// Share of the way down that the floor takes per frame below it.
const FALL: f32 = 0.2;
/// How much of the previous frames' probability stays: bridges the gaps inside words.
const HANGOVER: f32 = 0.7;

/// A pure-Rust [`VoiceActivity`] with an adaptive noise floor.
#[derive(Clone, Debug)]
pub struct EnergyVad {
    floor_dbfs: f32,
    probability: f32,
}

impl EnergyVad {
    /// A detector that has heard nothing yet.
    pub fn new() -> Self {
        Self { floor_dbfs: START_FLOOR_DBFS, probability: 0.0 }
    }

    fn follow(&mut self, level_dbfs: f32) {
        if level_dbfs < self.floor_dbfs {
            self.floor_dbfs += FALL * (level_dbfs - self.floor_dbfs);
        } else {
            self.floor_dbfs = (self.floor_dbfs + RISE_DB).min(level_dbfs);
        }
    }
}

impl Default for EnergyVad {
    fn default() -> Self {
        Self::new()
    }
}

impl VoiceActivity for EnergyVad {
    fn probability(&mut self, frame: &[i16]) -> f32 {
        if frame.is_empty() {
            return self.probability;
        }
        let level_dbfs = level_dbfs(frame);
        let threshold = (self.floor_dbfs + MARGIN_DB).max(SPEECH_MIN_DBFS);
        let now = 1.0 / (1.0 + (-(level_dbfs - threshold) / SLOPE_DB).exp());
        self.follow(level_dbfs);
        self.probability = now.max(self.probability * HANGOVER);
        self.probability
    }

    fn reset(&mut self) {
        *self = Self::new();
    }
}

/// Root mean square of `frame` in dB below full scale, not under [`SILENCE_DBFS`].
pub(crate) fn level_dbfs(frame: &[i16]) -> f32 {
    let square_sum: f64 = frame.iter().map(|&s| f64::from(s).powi(2)).sum();
    let rms = (square_sum / frame.len().max(1) as f64).sqrt() / 32_768.0;
    (20.0 * rms.max(1e-9).log10()).max(f64::from(SILENCE_DBFS)) as f32
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noise(seed: &mut u32, amplitude: f32) -> Vec<i16> {
        let mut next = || {
            *seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            ((*seed >> 8) as f32 / (1 << 23) as f32 - 1.0) * amplitude * 32_767.0
        };
        (0..160).map(|_| next() as i16).collect()
    }

    fn tone(amplitude: f32) -> Vec<i16> {
        (0..160).map(|i| ((i as f32 * 0.35).sin() * amplitude * 32_767.0) as i16).collect()
    }

    #[test]
    fn speech_over_line_noise_is_heard_at_once_and_ends_soon() {
        let (mut vad, mut seed) = (EnergyVad::new(), 1);
        for _ in 0..50 {
            assert!(vad.probability(&noise(&mut seed, 0.003)) < 0.3);
        }
        for _ in 0..50 {
            assert!(vad.probability(&tone(0.1)) > 0.9);
        }
        let after: Vec<f32> = (0..10).map(|_| vad.probability(&noise(&mut seed, 0.003))).collect();
        assert!(after[9] < 0.3, "{after:?}");
    }

    #[test]
    fn steady_loud_noise_becomes_the_floor() {
        let (mut vad, mut seed) = (EnergyVad::new(), 1);
        let last = (0..500).map(|_| vad.probability(&noise(&mut seed, 0.05))).last().unwrap();
        assert!(last < 0.3, "after 10 s: {last}");
    }

    #[test]
    fn digital_silence_is_never_speech_and_reset_forgets() {
        let mut vad = EnergyVad::new();
        assert!((0..1000).all(|_| vad.probability(&[0; 160]) < 0.1));
        vad.probability(&tone(0.5));
        vad.reset();
        assert!(vad.probability(&[0; 160]) < 0.1);
    }
}
