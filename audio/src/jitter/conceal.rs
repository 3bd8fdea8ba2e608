//! What is played in place of a lost packet: the last 20 ms mirrored and repeated, fading to nothing within 40 ms.
//!
//! Mirroring keeps the wave continuous at every join, so there is no click; it does not follow the pitch. The first
//! samples after a hole are blended in.

use crate::time::{FRAME_SAMPLES, Frame, SILENT_FRAME};

/// Samples over which made-up sound fades to nothing: two frames.
const FADE_SAMPLES: usize = 2 * FRAME_SAMPLES;

/// Samples over which real sound is blended in after a hole: 5 ms.
const BLEND_SAMPLES: usize = 40;

/// Remembers what was played and continues it.
#[derive(Debug, Clone)]
pub(super) struct Concealer {
    /// The last real samples, oldest first.
    history: Frame,
    /// Made-up samples since then.
    made_up: usize,
    /// Real samples still to be blended.
    blend_left: usize,
}

impl Concealer {
    pub(super) fn new() -> Self {
        Self { history: SILENT_FRAME, made_up: FADE_SAMPLES, blend_left: 0 }
    }

    /// Takes note of real samples (at most a frame) about to be played, blending them in if they follow a hole.
    pub(super) fn pass(&mut self, samples: &mut [i16]) {
        let blended = samples.len().min(self.blend_left);
        for sample in &mut samples[..blended] {
            let weight = self.blend_left as f32 / (BLEND_SAMPLES + 1) as f32;
            self.blend_left -= 1;
            let made_up = f32::from(self.next_made_up());
            *sample = (made_up * weight + f32::from(*sample) * (1.0 - weight)).round() as i16;
        }
        if self.blend_left == 0 {
            self.made_up = 0;
        }
        self.remember(samples);
    }

    /// Fills `samples` with made-up sound; `false` if all of it is silence by now.
    pub(super) fn conceal(&mut self, samples: &mut [i16]) -> bool {
        let audible = self.made_up < FADE_SAMPLES;
        samples.fill_with(|| self.next_made_up());
        self.blend_left = BLEND_SAMPLES;
        audible
    }

    fn remember(&mut self, samples: &[i16]) {
        let kept = FRAME_SAMPLES.saturating_sub(samples.len());
        self.history.copy_within(FRAME_SAMPLES - kept.., 0);
        let newest = &samples[samples.len() - (FRAME_SAMPLES - kept)..];
        self.history[kept..].copy_from_slice(newest);
    }

    fn next_made_up(&mut self) -> i16 {
        if self.made_up >= FADE_SAMPLES {
            return 0;
        }
        let step = self.made_up % FADE_SAMPLES;
        let index = if step < FRAME_SAMPLES { FRAME_SAMPLES - 1 - step } else { step - FRAME_SAMPLES };
        let gain = 1.0 - self.made_up as f32 / FADE_SAMPLES as f32;
        self.made_up += 1;
        (f32::from(self.history[index]) * gain).round() as i16
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dsp::level::rms_dbov;
    use crate::dsp::tone::sine;
    use crate::time::{FRAME_DURATION, SampleRate};

    fn tone_frame() -> Frame {
        sine(450.0, FRAME_DURATION * 3, -10.0, SampleRate::NARROW_BAND)[160..320].try_into().unwrap()
    }

    fn concealed(concealer: &mut Concealer) -> (Frame, bool) {
        let mut frame = SILENT_FRAME;
        let audible = concealer.conceal(&mut frame);
        (frame, audible)
    }

    #[test]
    fn sound_passes_untouched_while_nothing_is_lost() {
        let mut concealer = Concealer::new();
        for length in [160, 80, 1, 7, 160] {
            let mut samples = tone_frame()[..length].to_vec();
            concealer.pass(&mut samples);
            assert_eq!(samples, tone_frame()[..length]);
        }
    }

    #[test]
    fn two_frames_fade_and_the_third_is_silent() {
        let mut concealer = Concealer::new();
        concealer.pass(&mut tone_frame());
        let (first, first_audible) = concealed(&mut concealer);
        let (second, second_audible) = concealed(&mut concealer);
        let (third, third_audible) = concealed(&mut concealer);
        assert!(first_audible && second_audible && !third_audible);
        assert!(rms_dbov(&first) > -14.0, "{}", rms_dbov(&first));
        assert!(rms_dbov(&second) < rms_dbov(&first) - 4.0, "{}", rms_dbov(&second));
        assert_eq!(third, SILENT_FRAME);
    }

    /// A jump louder than the tone's own steepest step would be a click.
    #[test]
    fn no_click_enters_or_leaves_a_hole() {
        let mut concealer = Concealer::new();
        let mut played = tone_frame().to_vec();
        let steepest = played.windows(2).map(|pair| pair[0].abs_diff(pair[1])).max().unwrap();
        concealer.pass(&mut played);
        played.extend(concealed(&mut concealer).0);
        let mut after = tone_frame();
        concealer.pass(&mut after);
        played.extend(after);
        let worst = played.windows(2).map(|pair| pair[0].abs_diff(pair[1])).max().unwrap();
        assert!(worst <= steepest + steepest / 4, "{worst} against {steepest}");
    }
}
