//! The sounds a test caller speaks with: a voice or a recording, at telephone rate.

use std::path::Path;

use anyhow::Context as _;
use audio::dsp::resample::resample;
use audio::time::SampleRate;
use audio::wav;
use models::TextToSpeech;

use crate::config::Config;
use crate::speaker::{SPEECH_SAMPLE_RATE, Samples};

/// The installed voice, at telephone rate.
pub struct Renderer {
    voice: Box<dyn TextToSpeech>,
}

impl Renderer {
    /// Loads the configured voice.
    ///
    /// # Errors
    /// What is missing and how to get it.
    pub fn load(config: &Config) -> anyhow::Result<Renderer> {
        Ok(Renderer { voice: crate::engines::load_voice(config)? })
    }

    /// The text as samples: one sentence after the other, with the voice's own pauses.
    ///
    /// # Errors
    /// The engine failed.
    pub fn render(&mut self, text: &str) -> anyhow::Result<Samples> {
        let mut samples = Vec::new();
        for sentence in crate::conversation::speakable(text) {
            let speech = self.voice.synthesise(&sentence)?;
            let rate = SampleRate::new(speech.sample_rate).context("the voice has no sample rate")?;
            samples.extend(resample(&speech.samples, rate, SPEECH_SAMPLE_RATE)?);
        }
        trim_end(&mut samples);
        Ok(samples.into())
    }
}

/// A WAV file at telephone rate.
pub(crate) fn read_telephone(path: &Path) -> anyhow::Result<Samples> {
    let clip = wav::read(path).with_context(|| format!("{} cannot be played", path.display()))?;
    at_telephone_rate(&clip.samples, clip.sample_rate)
}

/// A recording at telephone rate, without the silence at its end.
///
/// # Errors
/// The rate cannot be converted.
pub fn at_telephone_rate(samples: &[i16], sample_rate: SampleRate) -> anyhow::Result<Samples> {
    let mut samples = resample(samples, sample_rate, SPEECH_SAMPLE_RATE)?;
    trim_end(&mut samples);
    Ok(samples.into())
}

/// Silence at the end would be counted as our own waiting time.
fn trim_end(samples: &mut Vec<i16>) {
    const QUIET: i16 = 200;
    let end = samples.iter().rposition(|sample| sample.saturating_abs() > QUIET).map_or(0, |last| last + 1);
    samples.truncate(end);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trailing_silence_is_cut_and_nothing_else() {
        let mut samples = vec![0, 0, 5_000, 0, -5_000, 10, 0];
        trim_end(&mut samples);
        assert_eq!(samples, [0, 0, 5_000, 0, -5_000]);
    }
}
