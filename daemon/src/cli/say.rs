//! `offhook say`: the box's voice into a file; and the sounds a test caller speaks with.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use audio::dsp::resample::resample;
use audio::time::SampleRate;
use audio::wav;
use clap::Args;
use models::TextToSpeech;

use super::Common;
use crate::config::Config;
use crate::speaker::{SPEECH_SAMPLE_RATE, Samples};

/// Numbers, times and money are read as a caller would hear them.
#[derive(Debug, Args)]
pub(crate) struct Say {
    /// What to say
    text: String,
    /// Where to write it (8 kHz, mono, 16 bit)
    #[arg(short, long, value_name = "OUT.wav", default_value = "say.wav")]
    output: PathBuf,
}

impl Say {
    pub(crate) fn run(&self, common: &Common) -> anyhow::Result<ExitCode> {
        let mut renderer = Renderer::load(&common.load()?)?;
        let samples = renderer.render(&self.text)?;
        wav::write(&self.output, &samples, SPEECH_SAMPLE_RATE)
            .with_context(|| format!("{} cannot be written", self.output.display()))?;
        let seconds = SPEECH_SAMPLE_RATE.duration_of(samples.len() as u64).as_secs_f64();
        println!("{}: {seconds:.1} s", self.output.display());
        Ok(ExitCode::SUCCESS)
    }
}

/// The installed voice, at telephone rate.
pub(crate) struct Renderer {
    voice: Box<dyn TextToSpeech>,
}

impl Renderer {
    /// Loads the configured voice.
    pub(crate) fn load(config: &Config) -> anyhow::Result<Renderer> {
        Ok(Renderer { voice: crate::engines::load_voice(config)? })
    }

    /// The text as samples: one sentence after the other, with the voice's own pauses.
    pub(crate) fn render(&mut self, text: &str) -> anyhow::Result<Samples> {
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
    let mut samples = resample(&clip.samples, clip.sample_rate, SPEECH_SAMPLE_RATE)?;
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
