//! One call's ear: remembers what the caller said for as long as it may be asked for, by frame number, and how loud and
//! how likely speech each frame was.

use std::collections::VecDeque;
use std::ops::Range;

use audio::Frame;
use audio::dsp::level::rms_dbov;
use models::VoiceActivity;

/// Frames remembered: 40 s, the longest utterance and what comes before it is decided.
const MEMORY_FRAMES: usize = 2_000;
/// Memory that is not given back for its own sake: 2 s, more than what comes before an utterance.
const KEPT_FRAMES: usize = 100;

/// What one frame sounded like.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Sound {
    /// Number of the frame in the call, from 0.
    pub index: u64,
    /// Probability of speech, 0 to 1.
    pub speech: f32,
    /// RMS level.
    pub level_dbov: f32,
}

/// Remembers and judges frames.
pub(super) struct Listener {
    voice_activity: Box<dyn VoiceActivity>,
    frames: VecDeque<Frame>,
    /// Frames heard so far.
    heard: u64,
}

impl Listener {
    /// An ear that has heard nothing.
    pub(super) fn new(voice_activity: Box<dyn VoiceActivity>) -> Listener {
        Listener { voice_activity, frames: VecDeque::new(), heard: 0 }
    }

    /// The next 20 ms.
    pub(super) fn hear(&mut self, frame: &Frame) -> Sound {
        if self.frames.len() == MEMORY_FRAMES {
            self.frames.pop_front();
        }
        self.frames.push_back(*frame);
        let index = self.heard;
        self.heard += 1;
        Sound { index, speech: self.voice_activity.probability(frame), level_dbov: rms_dbov(frame) }
    }

    /// Forgets what came before frame `needed_from`.
    pub(super) fn forget_before(&mut self, needed_from: u64) {
        let first = self.heard - self.frames.len() as u64;
        let count = usize::try_from(needed_from.clamp(first, self.heard) - first).unwrap_or(0);
        self.frames.drain(..count);
        // A long utterance takes half a megabyte, which is not kept for the whole call.
        if self.frames.capacity() > KEPT_FRAMES && self.frames.len() < KEPT_FRAMES / 2 {
            self.frames.shrink_to(KEPT_FRAMES);
        }
    }

    /// The samples of `frames`, as far as they are remembered.
    pub(super) fn samples(&self, frames: Range<u64>) -> Vec<i16> {
        let first = self.heard - self.frames.len() as u64;
        let place = |index: u64| usize::try_from(index.clamp(first, self.heard) - first).unwrap_or(0);
        let range = place(frames.start)..place(frames.end.max(frames.start));
        self.frames.range(range).flatten().copied().collect()
    }
}

#[cfg(test)]
mod tests {
    use models::LevelVad;

    use super::*;

    #[test]
    fn it_remembers_by_frame_number_and_forgets_the_oldest() {
        let mut listener = Listener::new(Box::new(LevelVad::new(-40.0)));
        for number in 0..MEMORY_FRAMES as i16 + 10 {
            assert_eq!(listener.hear(&[number; 160]).index, number as u64);
        }
        assert_eq!(listener.samples(1_000..1_002), [[1_000; 160], [1_001; 160]].concat());
        assert_eq!(listener.samples(5..11), [10; 160], "only frame 10 is still known");
        assert!(listener.samples(5_000..6_000).is_empty());
        #[expect(clippy::reversed_empty_ranges, reason = "a peer's bug must not be a panic")]
        let backwards = 9..3;
        assert!(listener.samples(backwards).is_empty());
    }

    #[test]
    fn what_is_not_needed_any_more_takes_no_memory() {
        let mut listener = Listener::new(Box::new(LevelVad::new(-40.0)));
        for number in 0..1_500 {
            listener.hear(&[number; 160]);
        }
        listener.forget_before(1_490);
        assert!(listener.frames.capacity() <= KEPT_FRAMES, "{}", listener.frames.capacity());
        assert_eq!(listener.samples(1_489..1_491), [1_490; 160]);
        assert_eq!(listener.hear(&[7; 160]).index, 1_500, "the count goes on");
        listener.forget_before(9_000);
        assert!(listener.samples(0..9_000).is_empty());
        listener.forget_before(3);
        listener.hear(&[8; 160]);
        assert_eq!(listener.samples(0..9_000), [8; 160]);
    }
}
