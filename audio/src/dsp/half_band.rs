//! Between 8 and 16 kHz, a frame at a time: what a telephone codec and a wide-band one need to talk to each other.
//!
//! A half-band filter of 47 taps, every other of which is zero: flat to 3.4 kHz, 6 dB down at 4 kHz, 75 dB down
//! from 4.8 kHz. It delays by 23 samples of 16 kHz (1.4 ms). Nothing is allocated. (`resample` does any rates, whole
//! clips, and the recogniser's stream, with FFTs that need more room.)

use crate::time::{FRAME_SAMPLES, Frame, WIDE_FRAME_SAMPLES, WideFrame};

/// The taps beside the middle one of ½, from the middle outwards; those between them are zero.
const TAPS: [f32; 12] = [
    0.3163638, -0.1003916, 0.0545326, -0.0334617, 0.0211372, -0.0132048, 0.0079527, -0.0045132, 0.0023474, -0.0010708,
    0.0003905, -0.0000821,
];

/// Samples of 16 kHz by which the filter delays.
pub const DELAY_SAMPLES: usize = 2 * TAPS.len() - 1;

/// Halves the rate.
#[derive(Debug, Clone)]
pub struct Downsampler {
    /// The last samples of the frame before, then the frame.
    window: [f32; DELAY_SAMPLES * 2 + WIDE_FRAME_SAMPLES],
}

/// Doubles the rate.
#[derive(Debug, Clone)]
pub struct Upsampler {
    window: [f32; DELAY_SAMPLES + FRAME_SAMPLES],
}

impl Default for Downsampler {
    fn default() -> Self {
        Self { window: [0.0; _] }
    }
}

impl Downsampler {
    /// The frame at half its rate.
    pub fn process(&mut self, wide: &WideFrame) -> Frame {
        let past = self.window.len() - WIDE_FRAME_SAMPLES;
        self.window.copy_within(WIDE_FRAME_SAMPLES.., 0);
        self.window[past..].iter_mut().zip(wide).for_each(|(to, &sample)| *to = f32::from(sample));
        std::array::from_fn(|index| {
            let middle = DELAY_SAMPLES + 2 * index;
            let pairs = TAPS.iter().zip(0..).map(|(tap, step)| {
                let distance = 2 * step + 1;
                tap * (self.window[middle - distance] + self.window[middle + distance])
            });
            // `as` saturates.
            (0.5 * self.window[middle] + pairs.sum::<f32>()).round() as i16
        })
    }
}

impl Default for Upsampler {
    fn default() -> Self {
        Self { window: [0.0; _] }
    }
}

impl Upsampler {
    /// The frame at twice its rate.
    pub fn process(&mut self, narrow: &Frame) -> WideFrame {
        let past = self.window.len() - FRAME_SAMPLES;
        self.window.copy_within(FRAME_SAMPLES.., 0);
        self.window[past..].iter_mut().zip(narrow).for_each(|(to, &sample)| *to = f32::from(sample));
        std::array::from_fn(|index| {
            // Of two samples one is the filter's middle tap, that is the sample itself, the other all its other taps.
            let newest = TAPS.len() + index.div_ceil(2) - 1;
            if index % 2 == 1 {
                return self.window[newest] as i16;
            }
            let pairs = TAPS
                .iter()
                .zip(0..)
                .map(|(tap, step)| tap * (self.window[newest - step] + self.window[newest + 1 + step]));
            (2.0 * pairs.sum::<f32>()).round() as i16
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dsp::level::rms_dbov;
    use crate::dsp::tone::sine;
    use crate::time::SampleRate;
    use std::time::Duration;

    fn tone(frequency_hz: f64, rate: SampleRate) -> Vec<i16> {
        sine(frequency_hz, Duration::from_secs(1), -15.0, rate)
    }

    fn down(wide: &[i16]) -> Vec<i16> {
        let mut filter = Downsampler::default();
        wide.as_chunks().0.iter().flat_map(|frame| filter.process(frame)).collect()
    }

    fn up(narrow: &[i16]) -> Vec<i16> {
        let mut filter = Upsampler::default();
        narrow.as_chunks().0.iter().flat_map(|frame| filter.process(frame)).collect()
    }

    fn error_dbov(expected: &[i16], heard: &[i16]) -> f32 {
        rms_dbov(&expected.iter().zip(heard).map(|(a, b)| a - b).collect::<Vec<_>>())
    }

    #[test]
    fn a_tone_is_the_tone_of_the_other_rate_after_the_delay() {
        for frequency_hz in [200.0, 1_000.0, 3_300.0] {
            let (narrow, wide) =
                (tone(frequency_hz, SampleRate::NARROW_BAND), tone(frequency_hz, SampleRate::WIDE_BAND));
            let raised = up(&narrow);
            assert!(error_dbov(&wide[800..12_000], &raised[800 + DELAY_SAMPLES..]) < -60.0, "{frequency_hz}");
            // Down and up again, which makes the delay whole at 8 kHz.
            let back = down(&raised);
            assert!(error_dbov(&narrow[800..6_000], &back[800 + DELAY_SAMPLES..]) < -58.0, "{frequency_hz}");
        }
    }

    #[test]
    fn what_8_khz_cannot_hold_is_gone_not_folded() {
        assert!(rms_dbov(&down(&tone(4_800.0, SampleRate::WIDE_BAND))[400..7_600]) < -70.0);
        assert!(rms_dbov(&down(&tone(7_000.0, SampleRate::WIDE_BAND))[400..7_600]) < -70.0);
    }
}
