//! Spectral noise reduction: Wiener's gain from a decision-directed estimate (Ephraim and Malah 1984) over noise by
//! minimum statistics (Martin 2001), bounded below. 20 ms late.

use std::collections::VecDeque;
use std::sync::Arc;

use audio::dsp::resample::{f32_of, i16_of};
use audio::{FRAME_SAMPLES, Frame};
use realfft::num_complex::Complex32;
use realfft::{ComplexToReal, RealFftPlanner, RealToComplex};

const FFT: usize = 2 * FRAME_SAMPLES;
const BINS: usize = FFT / 2 + 1;
/// Frames among which the quietest is noise: 1.5 s.
const MEMORY: usize = 75;
/// The quietest is quieter than the mean.
const BIAS: f32 = 2.0;

pub(super) struct NoiseReduction {
    forward: Arc<dyn RealToComplex<f32>>,
    inverse: Arc<dyn ComplexToReal<f32>>,
    least: f32,
    before: [f32; FRAME_SAMPLES],
    after: [f32; FRAME_SAMPLES],
    smoothed: [f32; BINS],
    quietest: VecDeque<[f32; BINS]>,
    /// Of speech, in the frame before.
    speech: [f32; BINS],
}

impl NoiseReduction {
    pub(super) fn new(at_most_db: f32) -> NoiseReduction {
        let mut planner = RealFftPlanner::new();
        NoiseReduction {
            forward: planner.plan_fft_forward(FFT),
            inverse: planner.plan_fft_inverse(FFT),
            least: 10_f32.powf(-at_most_db / 20.0),
            before: [0.0; FRAME_SAMPLES],
            after: [0.0; FRAME_SAMPLES],
            smoothed: [0.0; BINS],
            quietest: VecDeque::new(),
            speech: [0.0; BINS],
        }
    }

    pub(super) fn process(&mut self, frame: &mut Frame) {
        // The root of Hann's window, before and after.
        let window = |index: usize| (std::f32::consts::PI * (index as f32 + 0.5) / FFT as f32).sin();
        let block = frame.map(f32_of);
        let mut samples: Vec<f32> = self.before.iter().chain(&block).copied().collect();
        samples.iter_mut().enumerate().for_each(|(index, sample)| *sample *= window(index));
        self.before = block;
        let mut spectrum = vec![Complex32::ZERO; BINS];
        self.forward.process(&mut samples, &mut spectrum).unwrap();
        let power: [f32; BINS] = std::array::from_fn(|bin| spectrum[bin].norm_sqr());
        for (smoothed, power) in self.smoothed.iter_mut().zip(&power) {
            *smoothed = 0.8 * *smoothed + 0.2 * power;
        }
        self.quietest.push_back(self.smoothed);
        if self.quietest.len() > MEMORY {
            self.quietest.pop_front();
        }
        for bin in 0..BINS {
            let quietest = self.quietest.iter().map(|frame| frame[bin]).fold(f32::INFINITY, f32::min);
            let noise = BIAS * quietest + 1e-9;
            let now = (power[bin] / noise - 1.0).max(0.0);
            let ratio = 0.98 * self.speech[bin] / noise + 0.02 * now;
            let gain = (ratio / (1.0 + ratio)).max(self.least);
            self.speech[bin] = gain * gain * power[bin];
            spectrum[bin] *= gain;
        }
        spectrum[0].im = 0.0;
        spectrum[BINS - 1].im = 0.0;
        self.inverse.process(&mut spectrum, &mut samples).unwrap();
        for (index, sample) in frame.iter_mut().enumerate() {
            let ready = self.after[index] + samples[index] * window(index) / FFT as f32;
            *sample = i16_of(ready);
            let later = FRAME_SAMPLES + index;
            self.after[index] = samples[later] * window(later) / FFT as f32;
        }
    }
}
