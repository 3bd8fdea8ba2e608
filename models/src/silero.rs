//! Voice activity by Silero VAD 6.2 in its 8 kHz mode.
//!
//! The model takes windows of 256 samples (32 ms) with the last 32 samples of the window before in front, and carries a
//! recurrent state. Frames of 160 samples do not fit evenly: they are buffered here, and the latest answer is repeated
//! until the next window is full.

use std::path::Path;
use std::sync::{Arc, Mutex};

use ort::session::Session;
use ort::value::Tensor;

use crate::runtime::{self, OnnxError, Shapes};
use crate::{VadFactory, VoiceActivity};

const WINDOW: usize = 256;
const CONTEXT: usize = 32;
const STATE: usize = 2 * 128;
const SAMPLE_RATE: i64 = 8_000;
/// What counts when the model fails in a call: rather listen to noise than miss the caller.
const PROBABILITY_ON_ERROR: f32 = 0.5;

/// The loaded model; each call leg gets a detector of its own from it.
#[derive(Clone)]
pub(crate) struct Silero {
    /// A window takes about 60 µs, so legs can share one session.
    session: Arc<Mutex<Session>>,
}

/// One leg's detector.
pub(crate) struct SileroVad {
    session: Arc<Mutex<Session>>,
    /// The context, then the samples of the window so far.
    samples: Vec<f32>,
    state: Vec<f32>,
    probability: f32,
}

impl Silero {
    /// Loads the model; ONNX Runtime is loaded already.
    pub(crate) fn load(path: &Path) -> Result<Self, OnnxError> {
        Ok(Self { session: Arc::new(Mutex::new(runtime::session(path, 1, Shapes::Fixed)?)) })
    }

    /// A detector that has heard nothing yet.
    pub(crate) fn detector(&self) -> SileroVad {
        SileroVad {
            session: Arc::clone(&self.session),
            samples: vec![0.0; CONTEXT],
            state: vec![0.0; STATE],
            probability: 0.0,
        }
    }
}

impl VadFactory for Silero {
    fn create(&self) -> Box<dyn VoiceActivity> {
        Box::new(self.detector())
    }
}

impl SileroVad {
    fn run(&mut self) -> Result<f32, OnnxError> {
        let input = Tensor::from_array(([1, CONTEXT + WINDOW], self.samples.clone()))?;
        let state = Tensor::from_array(([2_usize, 1, 128], self.state.clone()))?;
        let rate = Tensor::from_array((Vec::<i64>::new(), vec![SAMPLE_RATE]))?;
        let mut session = self.session.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let outputs = session.run(ort::inputs!["input" => input, "state" => state, "sr" => rate])?;
        let output = |name: &str| outputs.get(name).ok_or_else(|| format!("the model has no output {name}"));
        let (_, probability) = output("output")?.try_extract_tensor::<f32>()?;
        let (_, state) = output("stateN")?.try_extract_tensor::<f32>()?;
        if state.len() != STATE {
            return Err("the model's state has another size".into());
        }
        self.state.copy_from_slice(state);
        Ok(probability.first().copied().unwrap_or(PROBABILITY_ON_ERROR).clamp(0.0, 1.0))
    }
}

impl VoiceActivity for SileroVad {
    fn probability(&mut self, frame: &[i16]) -> f32 {
        for &sample in frame {
            self.samples.push(f32::from(sample) / 32_768.0);
            if self.samples.len() == CONTEXT + WINDOW {
                self.probability = self.run().unwrap_or_else(|error| {
                    tracing::debug!(error, "Silero failed on a window");
                    PROBABILITY_ON_ERROR
                });
                self.samples.drain(..WINDOW);
            }
        }
        self.probability
    }

    fn reset(&mut self) {
        self.samples.clear();
        self.samples.resize(CONTEXT, 0.0);
        self.state.fill(0.0);
        self.probability = 0.0;
    }
}
