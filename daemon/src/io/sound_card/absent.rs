//! Without the feature `local-audio` there is no card, and never a [`Playback`].

use audio::Frame;

use super::SoundCardError;

/// An output that plays; there is none.
#[derive(Debug)]
pub enum Playback {}

impl Playback {
    /// Takes 20 ms at 8 kHz.
    pub fn play(&mut self, _frame: &Frame) {
        match *self {}
    }

    /// Ends it.
    pub fn close(self) {
        match self {}
    }

    /// How many samples it has taken.
    pub fn taken_samples(&self) -> u64 {
        match *self {}
    }
}

/// Opens an output.
///
/// # Errors
/// Always [`SoundCardError::NotBuiltIn`].
pub fn open(_device: Option<&str>) -> Result<Playback, SoundCardError> {
    Err(SoundCardError::NotBuiltIn)
}

/// Every output.
///
/// # Errors
/// Always [`SoundCardError::NotBuiltIn`].
pub fn outputs() -> Result<Vec<String>, SoundCardError> {
    Err(SoundCardError::NotBuiltIn)
}
