//! Our own voice, as the line gives it back: taken out of what we hear, with the verdict whether anything else is left.
//!
//! ```text
//! said ──► Filter ── echo ──┐
//! heard ─────────────────── − ──► what the caller says
//!    └──── levels of all three ──► is it only echo?
//! ```
//! The verdict is what barge-in needs: a rest of echo 30 dB below a voice is still the sound of speech to a detector. Three
//! cases, by the levels of the last 50 ms or so:
//!
//! - The line is not known yet (the first second of sound we made on it): echo is whatever is `LEAST_LOSS_DB` below what
//!   we said. A line that gives back more than that has no four-wire side.
//! - It is known: echo is whatever stays `RESIDUE_DB` below the echo that was taken out.
//! - It is known and taking out makes it louder: the delay has changed (a jitter buffer does that). Echo is whatever is as
//!   loud as echo, and the filter begins anew.
//!
//! Left out on purpose: lowering what is left. A recogniser does better on a faint echo than on words with holes.

mod filter;

use self::filter::Filter;
use super::gain::linear_from_db;
use super::resample::{f32_of, i16_of};
use crate::time::{FRAME_SAMPLES, Frame};

/// The loudest echo that is believed of a line that nothing is known of, relative to what we said.
const LEAST_LOSS_DB: f32 = -9.0;
/// What the filter leaves of an echo, and more, relative to the echo.
const RESIDUE_DB: f32 = -6.0;
/// How much louder than the echo that was expected one may be whose delay has changed.
const SURPRISE_DB: f32 = 3.0;
/// Frames of ours with sound in them until the line counts as known.
const KNOWN_FRAMES: u32 = 50;
/// Frames louder than this count, as they are long enough above a line's noise. Mean square: −40 dBov.
const SOUND: f32 = 1e-4;
/// Echo weaker than this cannot tell that the delay has changed. Mean square: −50 dBov.
const FAINT: f32 = 1e-5;
/// Frames in which taking out makes it louder by half until the filter begins anew.
const LOST_FRAMES: u32 = 4;
/// How much of a level the next frame keeps, while it falls: of those compared, of the expected echo, of what we said.
const FALL: f32 = 0.5;
const ECHO_FALL: f32 = 0.8;
const SAID_FALL: f32 = 0.9;

/// See the module. For one call; it knows nothing of the line at first.
#[derive(Default)]
pub struct EchoCanceller {
    filter: Filter,
    /// Mean squares of what was heard, of the echo in it and of what is left, smoothed.
    heard: f32,
    echo: f32,
    left: f32,
    /// The loudest of the echo and of what we said lately.
    echo_peak: f32,
    said_peak: f32,
    /// Frames of ours that the filter has learnt from.
    learnt: u32,
    /// Frames in a row in which taking out made it louder.
    lost: u32,
}

impl EchoCanceller {
    /// For a line that nothing is known about.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the echo of everything said so far out of `heard`; `said` is what went out just before. True if nothing but
    /// echo was there. Costs nothing while nothing was said for half a second; allocates nothing.
    pub fn process(&mut self, heard: &mut Frame, said: &Frame) -> bool {
        if !self.filter.say(said) {
            (self.lost, self.said_peak, self.echo_peak) = (0, 0.0, 0.0);
            return false;
        }
        let samples = heard.map(f32_of);
        let echo = self.filter.echo();
        let left: [f32; FRAME_SAMPLES] = std::array::from_fn(|index| samples[index] - echo[index]);
        self.filter.learn(&left);
        self.measure(&said.map(f32_of), &samples, &echo, &left);
        if self.left < self.heard {
            *heard = left.map(i16_of);
        }
        let is_echo = self.is_echo();
        self.doubt();
        is_echo
    }

    fn measure(
        &mut self,
        said: &[f32; FRAME_SAMPLES],
        heard: &[f32; FRAME_SAMPLES],
        echo: &[f32; FRAME_SAMPLES],
        left: &[f32; FRAME_SAMPLES],
    ) {
        let smoothed = |level: f32, samples: &[f32; FRAME_SAMPLES]| FALL * level + (1.0 - FALL) * mean_square(samples);
        self.heard = smoothed(self.heard, heard);
        self.echo = smoothed(self.echo, echo);
        self.left = smoothed(self.left, left);
        self.echo_peak = self.echo.max(ECHO_FALL * self.echo_peak);
        let said = mean_square(said);
        self.said_peak = said.max(SAID_FALL * self.said_peak);
        self.learnt += u32::from(said > SOUND && !self.is_known());
    }

    fn is_known(&self) -> bool {
        self.learnt >= KNOWN_FRAMES
    }

    fn is_echo(&self) -> bool {
        match () {
            () if !self.is_known() => self.heard < power(LEAST_LOSS_DB) * self.said_peak,
            () if self.left > self.heard => self.heard < power(SURPRISE_DB) * self.echo_peak,
            () => self.left < power(RESIDUE_DB) * self.heard.max(self.echo_peak),
        }
    }

    /// Begins anew where what was learnt does not fit any more.
    fn doubt(&mut self) {
        let is_wrong = self.is_known() && self.echo > FAINT && self.left > 1.5 * self.heard;
        self.lost = if is_wrong { self.lost + 1 } else { 0 };
        if self.lost == LOST_FRAMES {
            self.filter.forget();
            (self.learnt, self.lost) = (0, 0);
        }
    }
}

fn mean_square(samples: &[f32; FRAME_SAMPLES]) -> f32 {
    samples.iter().map(|sample| sample * sample).sum::<f32>() / FRAME_SAMPLES as f32
}

fn power(gain_db: f32) -> f32 {
    linear_from_db(gain_db) * linear_from_db(gain_db)
}

#[cfg(test)]
mod tests;
