//! What of our own voice comes back, learnt while it does: a partitioned-block Kalman filter in the frequency domain.
//!
//! Enzner and Vary, "Frequency-domain adaptive Kalman filter for acoustic echo control", Signal Processing 86 (2006);
//! Kuech, Mabande and Enzner, "State-space architecture of the partitioned-block-based acoustic echo controller", ICASSP
//! 2014. Each step is as long as the weight is unsure and as short as the caller is loud in that band, so nothing wrong is
//! learnt while both speak and nobody has to detect that.

use std::sync::Arc;

use realfft::num_complex::Complex32;
use realfft::{ComplexToReal, RealFftPlanner, RealToComplex};

use crate::dsp::resample::f32_of;
use crate::time::{FRAME_SAMPLES, Frame};

/// How late an echo may be: 500 ms in blocks of a frame. The way to the far end and back is in it, and the jitter buffer.
const BLOCKS: usize = 25;
/// Two blocks: overlap and save.
const FFT_SAMPLES: usize = 2 * FRAME_SAMPLES;
const BINS: usize = FFT_SAMPLES / 2 + 1;
/// What a weight keeps in a block. Lines change slowly, by drift of clocks.
const FORGETTING: f32 = 0.9995;
/// How unsure a weight is at first: an echo at −13 dB, in whichever block. More learns faster, and noise with it.
const FIRST_VARIANCE: f32 = 0.002;
/// What the caller's spectrum keeps from the block before.
const SMOOTHING: f32 = 0.9;
/// Of the caller's spectrum, about a step of G.711 at its finest, so that nothing is divided by zero.
const LEAST_POWER: f32 = 1e-7;

type Spectrum = [Complex32; BINS];

const NOTHING: Spectrum = [Complex32::ZERO; BINS];

/// See the module.
pub(super) struct Filter {
    fourier: Fourier,
    /// What was said, the latest block at `newest`, those before behind it.
    said: Vec<Spectrum>,
    newest: usize,
    /// The block before the latest.
    before: [f32; FRAME_SAMPLES],
    /// Blocks for which what was said stays in the filter.
    sounding: usize,
    weights: Vec<Spectrum>,
    /// How unsure each weight is.
    variances: Vec<[f32; BINS]>,
    /// Power of what is not echo.
    caller: [f32; BINS],
}

impl Default for Filter {
    fn default() -> Self {
        Self {
            fourier: Fourier::default(),
            said: vec![NOTHING; BLOCKS],
            newest: 0,
            before: [0.0; FRAME_SAMPLES],
            sounding: 0,
            weights: vec![NOTHING; BLOCKS],
            variances: vec![[FIRST_VARIANCE; BINS]; BLOCKS],
            caller: [0.0; BINS],
        }
    }
}

impl Filter {
    /// Takes what was said in this block; false if there can be no echo, as nothing was said for longer than it takes.
    pub(super) fn say(&mut self, frame: &Frame) -> bool {
        let is_silent = frame.iter().all(|sample| *sample == 0);
        self.sounding = if is_silent { self.sounding.saturating_sub(1) } else { BLOCKS + 1 };
        if self.sounding == 0 {
            return false;
        }
        let mut samples = [0.0; FFT_SAMPLES];
        let block = frame.map(f32_of);
        samples[..FRAME_SAMPLES].copy_from_slice(&self.before);
        samples[FRAME_SAMPLES..].copy_from_slice(&block);
        self.before = block;
        self.newest = (self.newest + BLOCKS - 1) % BLOCKS;
        self.fourier.spectrum(&mut samples, &mut self.said[self.newest]);
        true
    }

    /// What of it comes back in this block.
    pub(super) fn echo(&mut self) -> [f32; FRAME_SAMPLES] {
        let mut echo = NOTHING;
        for (block, weights) in self.weights.iter().enumerate() {
            let said = &self.said[(self.newest + block) % BLOCKS];
            for ((echo, said), weight) in echo.iter_mut().zip(said).zip(weights) {
                *echo += said * weight;
            }
        }
        let samples = self.fourier.samples(&mut echo);
        std::array::from_fn(|index| samples[FRAME_SAMPLES + index])
    }

    /// Learns from what is `left` of the block when the echo is taken out.
    pub(super) fn learn(&mut self, left: &[f32; FRAME_SAMPLES]) {
        let mut samples = [0.0; FFT_SAMPLES];
        samples[FRAME_SAMPLES..].copy_from_slice(left);
        let mut error = NOTHING;
        self.fourier.spectrum(&mut samples, &mut error);
        let expected = self.expected_error(&error);
        for block in 0..BLOCKS {
            let said = &self.said[(self.newest + block) % BLOCKS];
            let variances = &mut self.variances[block];
            let mut step = NOTHING;
            for bin in 0..BINS {
                let gain = variances[bin] / expected[bin];
                step[bin] = gain * said[bin].conj() * error[bin];
                variances[bin] *= FORGETTING * FORGETTING * (1.0 - 0.5 * gain * said[bin].norm_sqr());
            }
            // A weight is as long as a block: what of the step lies beyond comes from the circle, not from the line.
            let mut samples = self.fourier.samples(&mut step);
            samples[FRAME_SAMPLES..].fill(0.0);
            self.fourier.spectrum(&mut samples, &mut step);
            for ((weight, step), variance) in self.weights[block].iter_mut().zip(&step).zip(variances) {
                *weight = FORGETTING * (*weight + step);
                *variance += (1.0 - FORGETTING * FORGETTING) * weight.norm_sqr();
            }
        }
    }

    /// Forgets the line, not what was said.
    pub(super) fn forget(&mut self) {
        self.weights.fill(NOTHING);
        self.variances.fill([FIRST_VARIANCE; BINS]);
        self.caller.fill(0.0);
    }

    /// Power that `error` should have: what the weights may be wrong by, and the caller.
    fn expected_error(&mut self, error: &Spectrum) -> [f32; BINS] {
        for (caller, error) in self.caller.iter_mut().zip(error) {
            *caller = SMOOTHING * *caller + (1.0 - SMOOTHING) * error.norm_sqr();
        }
        let mut expected = self.caller.map(|caller| caller + LEAST_POWER);
        for (block, variances) in self.variances.iter().enumerate() {
            let said = &self.said[(self.newest + block) % BLOCKS];
            for ((expected, said), variance) in expected.iter_mut().zip(said).zip(variances) {
                // Half of the block's two are samples of the error, the others zero.
                *expected += 0.5 * variance * said.norm_sqr();
            }
        }
        expected
    }
}

/// Two blocks as a spectrum and back.
struct Fourier {
    forward: Arc<dyn RealToComplex<f32>>,
    inverse: Arc<dyn ComplexToReal<f32>>,
    scratch: Vec<Complex32>,
}

impl Default for Fourier {
    fn default() -> Self {
        let mut planner = RealFftPlanner::new();
        let (forward, inverse) = (planner.plan_fft_forward(FFT_SAMPLES), planner.plan_fft_inverse(FFT_SAMPLES));
        let scratch = vec![Complex32::ZERO; forward.get_scratch_len().max(inverse.get_scratch_len())];
        Self { forward, inverse, scratch }
    }
}

impl Fourier {
    /// `samples` are used up.
    fn spectrum(&mut self, samples: &mut [f32; FFT_SAMPLES], spectrum: &mut Spectrum) {
        // Refuses only wrong lengths, which the types rule out.
        let _ = self.forward.process_with_scratch(samples, spectrum, &mut self.scratch);
    }

    /// `spectrum` is used up.
    fn samples(&mut self, spectrum: &mut Spectrum) -> [f32; FFT_SAMPLES] {
        let mut samples = [0.0; FFT_SAMPLES];
        // Of real samples they are real; rounding may have left something.
        spectrum[0].im = 0.0;
        spectrum[BINS - 1].im = 0.0;
        let _ = self.inverse.process_with_scratch(spectrum, &mut samples, &mut self.scratch);
        samples.map(|sample| sample / FFT_SAMPLES as f32)
    }
}
