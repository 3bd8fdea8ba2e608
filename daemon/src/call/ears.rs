//! Recognition of speech as calls and messages use it: an engine, and what is done to the sound before it.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use audio::dsp::loudness::raise_utterance;
use audio::dsp::resample::{f32_of, resample_f32};
use audio::time::SampleRate;
use models::{SpeechToText, SttError, TranscribeOptions};
use tracing::{debug, warn};

use crate::conversation::machine::{Failure, Heard};

/// Loads an engine; the error says what is missing.
pub type Loader = Box<dyn Fn() -> Result<Box<dyn SpeechToText>, String> + Send>;

/// The engine on a worker that hears.
pub struct Ears {
    engine: Option<Box<dyn SpeechToText>>,
    loader: Option<Loader>,
}

impl Ears {
    /// With an engine that is always there. `None`: no recogniser is installed.
    pub fn new(engine: Option<Box<dyn SpeechToText>>) -> Ears {
        Ears { engine, loader: None }
    }

    /// With an engine that is loaded when there is something to hear, and kept until [`rest`](Ears::rest).
    pub fn on_demand(loader: Loader) -> Ears {
        Ears { engine: None, loader: Some(loader) }
    }

    /// Gives back the engine, if it can be loaded again.
    pub fn rest(&mut self) {
        if self.loader.is_some() && self.engine.take().is_some() {
            crate::memory::give_back();
        }
    }

    fn engine(&mut self) -> Result<&mut dyn SpeechToText, Failure> {
        if let (None, Some(loader)) = (&self.engine, &self.loader) {
            self.engine = loader().inspect_err(|error| warn!(%error, "Recogniser not loaded")).ok();
        }
        match &mut self.engine {
            Some(engine) => Ok(engine.as_mut()),
            None => Err(Failure::Unavailable),
        }
    }

    /// The words in `samples` (8 kHz, one utterance), raised first if they are quiet; `abort` gives up early.
    ///
    /// # Errors
    /// [`Failure::Unavailable`] without an engine, [`Failure::Failed`] when it fails or was told to give up.
    pub fn transcribe(&mut self, mut samples: Vec<i16>, abort: Arc<AtomicBool>) -> Result<Heard, Failure> {
        let engine = self.engine()?;
        raise_utterance(&mut samples);
        let narrow: Vec<f32> = samples.into_iter().map(f32_of).collect();
        let wide = resample_f32(&narrow, SampleRate::NARROW_BAND, SampleRate::WIDE_BAND).map_err(|error| {
            warn!(%error, "Utterance not resampled");
            Failure::Failed
        })?;
        let options = TranscribeOptions { language: None, abort: Some(abort) };
        match engine.transcribe(&wide, &options) {
            Ok(transcript) => {
                if let Some(reason) = transcript.rejected {
                    debug!(%reason, "Transcript rejected");
                }
                Ok(Heard { text: transcript.text, confidence: transcript.confidence })
            }
            Err(SttError::Aborted) => Err(Failure::Failed),
            Err(error) => {
                warn!(%error, "Speech recognition failed");
                Err(Failure::Failed)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;
    use std::sync::atomic::Ordering::Relaxed;
    use std::time::Duration;

    use audio::dsp::level::rms_dbov;
    use audio::dsp::resample::i16_of;
    use audio::dsp::tone::sine;
    use models::Transcript;

    use super::*;

    /// Understands how loud it is.
    struct Meter;

    impl SpeechToText for Meter {
        fn transcribe(&mut self, samples: &[f32], _: &TranscribeOptions) -> Result<Transcript, SttError> {
            let level_dbov = rms_dbov(&samples.iter().map(|sample| i16_of(*sample)).collect::<Vec<_>>());
            let [audio, decode] = [Duration::from_secs(1), Duration::ZERO];
            let text = format!("{level_dbov:.0}");
            Ok(Transcript { text, confidence: 1.0, no_speech: 0.0, audio, decode, rejected: None })
        }

        fn model(&self) -> &str {
            "meter"
        }
    }

    #[test]
    fn whoever_is_quiet_is_raised_before_recognition() {
        let mut ears = Ears::new(Some(Box::new(Meter)));
        let mut heard = |level_dbov| {
            let tone = sine(440.0, Duration::from_secs(1), level_dbov, SampleRate::NARROW_BAND);
            ears.transcribe(tone, <_>::default()).unwrap().text
        };
        for (said_dbov, heard_dbov) in [(-15.0, "-15"), (-40.0, "-17"), (-60.0, "-60")] {
            assert_eq!(heard(said_dbov), heard_dbov, "{said_dbov}");
        }
    }
    #[test]
    fn one_that_is_seldom_needed_is_loaded_when_it_is_and_given_back() {
        let loads = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&loads);
        let mut ears = Ears::on_demand(Box::new(move || {
            if counted.fetch_add(1, Relaxed) == 0 {
                return Err("it lies on a disk that is gone".into());
            }
            Ok(Box::new(Meter))
        }));
        let tone = || sine(440.0, Duration::from_secs(1), -17.0, SampleRate::NARROW_BAND);
        ears.rest();
        assert_eq!(ears.transcribe(tone(), <_>::default()), Err(Failure::Unavailable));
        for _ in 0..2 {
            assert_eq!(ears.transcribe(tone(), <_>::default()).unwrap().text, "-17");
        }
        assert_eq!(loads.load(Relaxed), 2, "once more after the failure");
        ears.rest();
        ears.transcribe(tone(), <_>::default()).unwrap();
        assert_eq!(loads.load(Relaxed), 3);
    }
}
