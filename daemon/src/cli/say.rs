//! `offhook say`: the box's voice into a file.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use audio::wav;
use clap::Args;

use super::Common;
use crate::caller::sounds::Renderer;
use crate::speaker::SPEECH_SAMPLE_RATE;

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
