//! A frame while it is being filled from several places, and what became of it.

use super::FrameKind;

/// A frame being filled.
pub(super) struct Filling<'a> {
    frame: &'a mut [i16],
    filled: usize,
    has_sound: bool,
    is_made_up: bool,
}

impl<'a> Filling<'a> {
    pub(super) fn new(frame: &'a mut [i16]) -> Self {
        Self { frame, filled: 0, has_sound: false, is_made_up: false }
    }

    pub(super) fn is_full(&self) -> bool {
        self.filled == self.frame.len()
    }

    /// The next samples to be filled: at most `count`, at most what is left.
    pub(super) fn take(&mut self, count: usize) -> &mut [i16] {
        let start = self.filled;
        self.filled += count.min(self.frame.len() - start);
        &mut self.frame[start..self.filled]
    }

    pub(super) fn note_sound(&mut self) {
        self.has_sound = true;
    }

    pub(super) fn note_made_up(&mut self) {
        self.is_made_up = true;
    }

    pub(super) fn kind(&self) -> FrameKind {
        match (self.is_made_up, self.has_sound) {
            (true, _) => FrameKind::Concealed,
            (false, true) => FrameKind::Speech,
            (false, false) => FrameKind::Silence,
        }
    }
}
