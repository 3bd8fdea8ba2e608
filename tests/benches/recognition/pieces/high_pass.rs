//! Takes away what lies below all speech: a constant, the hum of the mains, wind and handling.

use std::f32::consts::PI;

use audio::dsp::level::rms_dbov;
use audio::dsp::resample::{f32_of, i16_of};

/// Below all that a telephone lets through of a voice, and above the mains. Hertz.
const CUTOFF_HZ: f32 = 100.0;
/// What has to be gone of an utterance's level for hum or a constant to have been in it. Speech loses a tenth of that, and
/// noise. Decibels.
const HUM_DB: f32 = 1.0;

/// Filters `samples` (8 kHz, one utterance) above 100 Hz if there is hum or a constant below, and tells whether there was.
/// Without it they stay as they are: recognition is used to what voices and rooms have down there.
pub(super) fn take_out_hum(samples: &mut [i16]) -> bool {
    let mut filtered = samples.to_vec();
    HighPass::new(CUTOFF_HZ).process(&mut filtered);
    let is_humming = rms_dbov(samples) - rms_dbov(&filtered) > HUM_DB;
    if is_humming {
        samples.copy_from_slice(&filtered);
    }
    is_humming
}

/// A Butterworth high-pass of the fourth order: two sections of the second (Bristow-Johnson's cookbook).
pub(super) struct HighPass {
    sections: [Section; 2],
}

struct Section {
    /// Feed-forward and feedback.
    b: [f32; 3],
    a: [f32; 2],
    /// Transposed direct form II.
    state: [f32; 2],
}

impl HighPass {
    /// Half of the power is left at `cutoff_hz` (above 0), at 8 kHz.
    pub(super) fn new(cutoff_hz: f32) -> Self {
        // The pairs of poles of the fourth order, by their quality.
        let eighth = PI / 8.0;
        Self { sections: [eighth, 3.0 * eighth].map(|angle| Section::new(cutoff_hz, 0.5 / angle.cos())) }
    }

    /// Filters `samples` in place, going on from the last ones.
    pub(super) fn process(&mut self, samples: &mut [i16]) {
        for sample in samples {
            *sample = i16_of(self.sections.iter_mut().fold(f32_of(*sample), |sample, section| section.next(sample)));
        }
    }
}

impl Section {
    fn new(cutoff_hz: f32, quality: f32) -> Self {
        let angle = 2.0 * PI * cutoff_hz / 8_000.0;
        let (cosine, alpha) = (angle.cos(), angle.sin() / (2.0 * quality));
        let scale = 1.0 / (1.0 + alpha);
        let edge = 0.5 * (1.0 + cosine) * scale;
        Self { b: [edge, -2.0 * edge, edge], a: [-2.0 * cosine * scale, (1.0 - alpha) * scale], state: [0.0; 2] }
    }

    fn next(&mut self, sample: f32) -> f32 {
        let out = self.b[0] * sample + self.state[0];
        self.state = [self.b[1] * sample - self.a[0] * out + self.state[1], self.b[2] * sample - self.a[1] * out];
        out
    }
}
