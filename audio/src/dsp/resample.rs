//! Change of sample rate by `rubato`: whole clips, and a call's sound on its way to a sound card.

use rubato::audioadapter_buffers::direct::InterleavedSlice;
use rubato::{Fft, FixedSync, Resampler};
use thiserror::Error;

use crate::time::{FRAME_SAMPLES, Frame, SampleRate};

/// Input samples that `rubato` handles at a time in a whole clip.
const CLIP_CHUNK_SAMPLES: usize = 1024;

const FRAMES_PER_SECOND: u32 = 50;

/// The resampler refused. With rates that are not zero this is a bug, not an input error.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("cannot resample from {from_hz} Hz to {to_hz} Hz: {reason}")]
pub struct ResampleError {
    /// Rate of the input.
    pub from_hz: u32,
    /// Rate wanted.
    pub to_hz: u32,
    /// What `rubato` says.
    pub reason: String,
}

impl ResampleError {
    fn new(from: SampleRate, to: SampleRate, reason: &impl ToString) -> Self {
        Self { from_hz: from.hz(), to_hz: to.hz(), reason: reason.to_string() }
    }
}

/// Resamples a whole clip. The result lasts as long as the input (rounded up to a sample) and starts with it: the
/// filter's delay is cut off.
///
/// # Errors
/// See [`ResampleError`].
pub fn resample(samples: &[i16], from: SampleRate, to: SampleRate) -> Result<Vec<i16>, ResampleError> {
    if from == to || samples.is_empty() {
        return Ok(samples.to_vec());
    }
    let input = samples.iter().map(|&sample| f32_of(sample)).collect::<Vec<_>>();
    Ok(resample_f32(&input, from, to)?.into_iter().map(i16_of).collect())
}

/// As [`resample`], for samples between −1 and 1.
///
/// # Errors
/// See [`ResampleError`].
pub fn resample_f32(samples: &[f32], from: SampleRate, to: SampleRate) -> Result<Vec<f32>, ResampleError> {
    if from == to || samples.is_empty() {
        return Ok(samples.to_vec());
    }
    let mut resampler = Fft::<f32>::new(from.hz() as usize, to.hz() as usize, CLIP_CHUNK_SAMPLES, 1, FixedSync::Both)
        .map_err(|error| ResampleError::new(from, to, &error))?;
    let input =
        InterleavedSlice::new(samples, 1, samples.len()).map_err(|error| ResampleError::new(from, to, &error))?;
    let output =
        resampler.process_all(&input, samples.len(), None).map_err(|error| ResampleError::new(from, to, &error))?;
    Ok(output.take_data())
}

/// Raises the rate of a stream of frames: 8 kHz `i16` in, `f32` (−1 to 1) out.
pub struct FrameUpsampler {
    resampler: Fft<f32>,
    input: [f32; FRAME_SAMPLES],
    to: SampleRate,
}

impl FrameUpsampler {
    /// An upsampler at the start of a stream. A frame has to be whole samples at the rate `to`: a multiple of 50 Hz.
    ///
    /// # Errors
    /// A rate that is none; and see [`ResampleError`].
    pub fn new(to: SampleRate) -> Result<Self, ResampleError> {
        let from = SampleRate::NARROW_BAND;
        if !to.hz().is_multiple_of(FRAMES_PER_SECOND) {
            return Err(ResampleError::new(from, to, &"20 ms are no whole number of samples"));
        }
        let resampler = Fft::new(from.hz() as usize, to.hz() as usize, FRAME_SAMPLES, 1, FixedSync::Both)
            .map_err(|error| ResampleError::new(from, to, &error))?;
        Ok(Self { resampler, input: [0.0; FRAME_SAMPLES], to })
    }

    /// What one frame becomes.
    pub fn frame_samples(&self) -> usize {
        (self.to.hz() / FRAMES_PER_SECOND) as usize
    }

    /// Appends exactly [`Self::frame_samples`], which lag behind the input by [`Self::delay_samples`]. Allocates only if
    /// `out` must grow.
    ///
    /// # Errors
    /// See [`ResampleError`]; `out` is then as before.
    pub fn push(&mut self, frame: &Frame, out: &mut Vec<f32>) -> Result<(), ResampleError> {
        for (wide, &sample) in self.input.iter_mut().zip(frame) {
            *wide = f32_of(sample);
        }
        let start = out.len();
        out.resize(start + self.frame_samples(), 0.0);
        let result = self.process(&mut out[start..]);
        if result.is_err() {
            out.truncate(start);
        }
        result
    }

    /// How far the output lags behind, in samples of it. To drain the stream push a silent frame.
    pub fn delay_samples(&self) -> usize {
        self.resampler.output_delay()
    }

    fn process(&mut self, out: &mut [f32]) -> Result<(), ResampleError> {
        let to = self.to;
        let failed = |reason: &dyn ToString| ResampleError::new(SampleRate::NARROW_BAND, to, &reason.to_string());
        let length = out.len();
        let input = InterleavedSlice::new(&self.input[..], 1, FRAME_SAMPLES).map_err(|error| failed(&error))?;
        let mut output = InterleavedSlice::new_mut(out, 1, length).map_err(|error| failed(&error))?;
        self.resampler.process_into_buffer(&input, &mut output, None).map_err(|error| failed(&error))?;
        Ok(())
    }
}

/// A sample as a number between −1 and 1.
pub fn f32_of(sample: i16) -> f32 {
    f32::from(sample) / 32_768.0
}

/// A number between −1 and 1 as a sample; clips outside.
pub fn i16_of(sample: f32) -> i16 {
    // `as` saturates and makes zero of NaN.
    (sample * 32_768.0).round() as i16
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dsp::level::rms_dbov;
    use crate::dsp::tone::sine;
    use std::time::Duration;

    fn rate(hz: u32) -> SampleRate {
        SampleRate::new(hz).unwrap()
    }

    /// Signal to noise of `heard` against `expected`, in decibels.
    fn snr_db(expected: &[f32], heard: &[f32]) -> f32 {
        let energy = |values: &mut dyn Iterator<Item = f32>| values.map(|value| value * value).sum::<f32>();
        let signal = energy(&mut expected.iter().copied());
        let noise = energy(&mut expected.iter().zip(heard).map(|(a, b)| a - b));
        10.0 * (signal / noise).log10()
    }

    /// A tone resampled must be the tone made at the other rate: same length, same phase, so no leading delay.
    #[test]
    fn a_clip_keeps_its_length_its_phase_and_its_level() {
        // Where the ratio is not whole, the delay is cut off to the nearest sample: up to half a sample of phase is left.
        let rows = [
            (16_000, 8_000, 45.0),
            (8_000, 16_000, 45.0),
            (48_000, 16_000, 45.0),
            (22_050, 8_000, 15.0),
            (44_100, 8_000, 15.0),
        ];
        for (from, to, least_snr_db) in rows {
            let tone = |hz| sine(440.0, Duration::from_millis(500), -10.0, rate(hz));
            let (resampled, direct) = (resample(&tone(from), rate(from), rate(to)).unwrap(), tone(to));
            assert_eq!(resampled.len(), direct.len(), "{from} to {to}");
            // Without the ends, where the filter sees the edge.
            let middle = |samples: &[i16]| samples[to as usize / 20..direct.len() - to as usize / 20].to_vec();
            let as_f32 = |samples: Vec<i16>| samples.into_iter().map(f32_of).collect::<Vec<_>>();
            let snr = snr_db(&as_f32(middle(&direct)), &as_f32(middle(&resampled)));
            assert!(snr > least_snr_db, "{from} to {to}: {snr} dB");
            assert!((rms_dbov(&middle(&direct)) - rms_dbov(&middle(&resampled))).abs() < 0.1, "{from} to {to}");
        }
    }

    #[test]
    fn what_the_lower_rate_cannot_hold_is_gone_not_folded() {
        let tone = sine(6_000.0, Duration::from_millis(500), -10.0, SampleRate::WIDE_BAND);
        let resampled = resample(&tone, SampleRate::WIDE_BAND, SampleRate::NARROW_BAND).unwrap();
        assert!(rms_dbov(&resampled[400..3_600]) < -60.0, "{}", rms_dbov(&resampled[400..3_600]));
    }

    #[test]
    fn odd_lengths_come_out_whole() {
        for length in [0, 1, 7, 159, 1_023, 1_025, 5_000] {
            let clip = vec![100; length];
            let same = resample(&clip, SampleRate::NARROW_BAND, SampleRate::NARROW_BAND).unwrap();
            assert_eq!(same, clip);
            let wide = resample(&clip, SampleRate::NARROW_BAND, SampleRate::WIDE_BAND).unwrap();
            assert_eq!(wide.len(), 2 * length);
        }
    }

    /// Sound cards have one of these rates.
    #[test]
    fn a_stream_is_the_tone_again_after_its_stated_delay() {
        // As with a clip, half a sample of phase is left where the ratio is not whole.
        for (hz, least_snr_db) in [(16_000, 45.0), (32_000, 45.0), (44_100, 15.0), (48_000, 45.0), (96_000, 45.0)] {
            let mut upsampler = FrameUpsampler::new(rate(hz)).unwrap();
            let tone = sine(440.0, Duration::from_secs(1), -10.0, SampleRate::NARROW_BAND);
            let mut wide = Vec::new();
            for (index, frame) in tone.chunks_exact(FRAME_SAMPLES).enumerate() {
                upsampler.push(frame.try_into().unwrap(), &mut wide).unwrap();
                assert_eq!(wide.len(), (index + 1) * upsampler.frame_samples());
            }
            let (delay, second) = (upsampler.delay_samples(), hz as usize);
            assert!(delay <= upsampler.frame_samples(), "{delay} at {hz} Hz");
            let direct = sine(440.0, Duration::from_secs(1), -10.0, rate(hz));
            let direct = direct.into_iter().map(f32_of).collect::<Vec<_>>();
            let part = second / 20..second * 9 / 10;
            let snr = snr_db(&direct[part.clone()], &wide[part.start + delay..part.end + delay]);
            assert!(snr > least_snr_db, "{snr} dB at {hz} Hz");
        }
    }

    #[test]
    fn a_rate_at_which_frames_are_not_whole_is_refused() {
        assert!(FrameUpsampler::new(rate(44_125)).is_err());
    }
}
