//! Change of sample rate by `rubato`: whole clips, and the caller's speech on its way to the recogniser.

use rubato::audioadapter_buffers::direct::InterleavedSlice;
use rubato::{Fft, FixedSync, Resampler};
use thiserror::Error;

use crate::time::{FRAME_SAMPLES, Frame, SampleRate};

/// Input samples that `rubato` handles at a time in a whole clip.
const CLIP_CHUNK_SAMPLES: usize = 1024;

pub use crate::time::WIDE_FRAME_SAMPLES;

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

/// Doubles the rate of a stream of frames for speech recognition: 8 kHz `i16` in, 16 kHz `f32` (−1 to 1) out.
pub struct SpeechUpsampler {
    resampler: Fft<f32>,
    input: [f32; FRAME_SAMPLES],
}

impl SpeechUpsampler {
    /// An upsampler at the start of a stream.
    ///
    /// # Errors
    /// See [`ResampleError`].
    pub fn new() -> Result<Self, ResampleError> {
        let (from, to) = (SampleRate::NARROW_BAND, SampleRate::WIDE_BAND);
        let resampler = Fft::new(from.hz() as usize, to.hz() as usize, FRAME_SAMPLES, 1, FixedSync::Both)
            .map_err(|error| ResampleError::new(from, to, &error))?;
        Ok(Self { resampler, input: [0.0; FRAME_SAMPLES] })
    }

    /// Appends exactly [`WIDE_FRAME_SAMPLES`] samples, which lag behind the input by [`Self::delay_samples`].
    /// Allocates only if `out` must grow.
    ///
    /// # Errors
    /// See [`ResampleError`]; `out` is then as before.
    pub fn push(&mut self, frame: &Frame, out: &mut Vec<f32>) -> Result<(), ResampleError> {
        for (wide, &sample) in self.input.iter_mut().zip(frame) {
            *wide = f32_of(sample);
        }
        let start = out.len();
        out.resize(start + WIDE_FRAME_SAMPLES, 0.0);
        let result = self.process(&mut out[start..]);
        if result.is_err() {
            out.truncate(start);
        }
        result
    }

    /// How far the output lags behind, in samples at 16 kHz. To drain the stream push a silent frame.
    pub fn delay_samples(&self) -> usize {
        self.resampler.output_delay()
    }

    /// Forgets the past: the next frame starts a new stream.
    pub fn reset(&mut self) {
        self.resampler.reset();
    }

    fn process(&mut self, out: &mut [f32]) -> Result<(), ResampleError> {
        let failed = |reason: &dyn ToString| {
            ResampleError::new(SampleRate::NARROW_BAND, SampleRate::WIDE_BAND, &reason.to_string())
        };
        let input = InterleavedSlice::new(&self.input[..], 1, FRAME_SAMPLES).map_err(|error| failed(&error))?;
        let mut output = InterleavedSlice::new_mut(out, 1, WIDE_FRAME_SAMPLES).map_err(|error| failed(&error))?;
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

    #[test]
    fn a_stream_is_the_tone_again_after_its_stated_delay() {
        let mut upsampler = SpeechUpsampler::new().unwrap();
        let tone = sine(440.0, Duration::from_secs(1), -10.0, SampleRate::NARROW_BAND);
        let mut wide = Vec::new();
        for (index, frame) in tone.chunks_exact(FRAME_SAMPLES).enumerate() {
            upsampler.push(frame.try_into().unwrap(), &mut wide).unwrap();
            assert_eq!(wide.len(), (index + 1) * WIDE_FRAME_SAMPLES);
        }
        let delay = upsampler.delay_samples();
        assert!(delay <= WIDE_FRAME_SAMPLES, "{delay}");
        let direct = sine(440.0, Duration::from_secs(1), -10.0, SampleRate::WIDE_BAND);
        let direct = direct.into_iter().map(f32_of).collect::<Vec<_>>();
        let snr = snr_db(&direct[800..14_000], &wide[800 + delay..14_000 + delay]);
        assert!(snr > 45.0, "{snr} dB");
    }
}
