//! Both sides of a call as a two-channel WAV: the caller left, the other side right.

use std::path::Path;

use audio::Frame;
use audio::time::SampleRate;
use audio::wav::{self, WavError};

/// Longest recording: one hour, 58 MB.
const LIMIT_SAMPLES: usize = 3_600 * 8_000;

/// Grows by one frame a tick; what we said is laid beside what was heard at the same time.
#[derive(Debug, Default)]
pub(super) struct Recording {
    heard: Vec<i16>,
    said: Vec<i16>,
}

impl Recording {
    /// The next 20 ms of the other side.
    pub(super) fn heard(&mut self, frame: &Frame) {
        if self.heard.len() < LIMIT_SAMPLES {
            self.heard.extend_from_slice(frame);
        }
    }

    /// `samples` begin to be said now.
    pub(super) fn said(&mut self, samples: &[i16]) {
        let now = self.heard.len();
        self.said.resize(now.max(self.said.len()), 0);
        self.said.extend_from_slice(samples);
    }

    /// Writes the file, if one is wanted.
    pub(super) fn save(mut self, path: Option<&Path>) -> Result<(), WavError> {
        let Some(path) = path else { return Ok(()) };
        let length = self.heard.len().max(self.said.len());
        self.heard.resize(length, 0);
        self.said.resize(length, 0);
        wav::write_stereo(path, &self.said, &self.heard, SampleRate::NARROW_BAND)
    }
}
