//! Narrow notches at the mains and its first harmonics, and one at a constant.

use audio::Frame;
use audio::dsp::resample::{f32_of, i16_of};

/// Harmonics with a notch.
const HARMONICS: u8 = 4;
/// How wide a notch is at half its depth. Hertz.
const WIDTH_HZ: f32 = 4.0;

pub(super) struct Notches {
    /// Cosine and radius of each, and its past.
    sections: Vec<(f32, f32, [f32; 4])>,
    constant: f32,
}

impl Notches {
    pub(super) fn new(mains_hz: f32) -> Notches {
        let radius = 1.0 - std::f32::consts::PI * WIDTH_HZ / 8_000.0;
        let cosine = |harmonic| (std::f32::consts::TAU * mains_hz * f32::from(harmonic) / 8_000.0).cos();
        Notches { sections: (1..=HARMONICS).map(|n| (cosine(n), radius, [0.0; 4])).collect(), constant: 0.0 }
    }

    pub(super) fn process(&mut self, frame: &mut Frame) {
        for sample in frame {
            let mut value = f32_of(*sample);
            self.constant += 0.002 * (value - self.constant);
            value -= self.constant;
            for (cosine, radius, past) in &mut self.sections {
                let [x1, x2, y1, y2] = *past;
                let out = value - 2.0 * *cosine * x1 + x2 + 2.0 * *cosine * *radius * y1 - *radius * *radius * y2;
                *past = [value, x1, out, y1];
                value = out;
            }
            *sample = i16_of(value);
        }
    }
}
