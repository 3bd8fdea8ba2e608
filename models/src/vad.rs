//! Voice activity: the trait.

/// Samples in one frame: 20 ms at 8 kHz.
pub const VAD_FRAME_SAMPLES: usize = 160;

/// Says of each 20 ms frame how likely it is speech. One instance per call leg: it remembers what it heard.
pub trait VoiceActivity: Send {
    /// Probability of speech, 0..=1, after `frame`: [`VAD_FRAME_SAMPLES`] samples at 8 kHz. Other lengths are taken as
    /// they come. Engines with a longer window of their own buffer and repeat their latest answer in between.
    fn probability(&mut self, frame: &[i16]) -> f32;

    /// Forgets everything, as at the start of a call.
    fn reset(&mut self);
}
