//! One call's ear: cleans what comes in, remembers what the caller said for as long as it may be asked for, by frame
//! number, and how loud and how likely speech each frame was.
//!
//! What recognition hears is cleaned ([`audio::dsp`] says of what, and what that is worth); what is recorded is not.

use std::collections::VecDeque;
use std::ops::Range;

use audio::dsp::echo::EchoCanceller;
use audio::dsp::level::rms_dbov;
use audio::{Frame, SILENT_FRAME};
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
    /// Probability that the caller speaks, 0 to 1; 0 for an echo of what we said.
    pub speech: f32,
    /// RMS level.
    pub level_dbov: f32,
}

/// Remembers and judges frames.
pub(super) struct Listener {
    voice_activity: Box<dyn VoiceActivity>,
    echo: EchoCanceller,
    said: Frame,
    frames: VecDeque<Frame>,
    /// Frames heard so far.
    heard: u64,
}

impl Listener {
    /// An ear that has heard nothing.
    pub(super) fn new(voice_activity: Box<dyn VoiceActivity>) -> Listener {
        Listener { voice_activity, echo: EchoCanceller::new(), said: SILENT_FRAME, frames: VecDeque::new(), heard: 0 }
    }

    /// What we said in the tick before the next frame: silence unless it is noted.
    pub(super) fn note_said(&mut self, frame: Frame) {
        self.said = frame;
    }

    /// The next 20 ms.
    pub(super) fn hear(&mut self, frame: &Frame) -> Sound {
        let mut cleaned = *frame;
        let said = std::mem::replace(&mut self.said, SILENT_FRAME);
        let is_echo = self.echo.process(&mut cleaned, &said);
        if self.frames.len() == MEMORY_FRAMES {
            self.frames.pop_front();
        }
        self.frames.push_back(cleaned);
        let index = self.heard;
        self.heard += 1;
        // Asked for an echo too: it remembers what came before.
        let speech = self.voice_activity.probability(&cleaned);
        Sound { index, speech: if is_echo { 0.0 } else { speech }, level_dbov: rms_dbov(&cleaned) }
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
    use audio::FRAME_SAMPLES;
    use models::LevelVad;

    use super::*;
    use crate::conversation::endpointing::{EndpointEvent, Endpointer, EndpointingSettings};

    /// Something like speech: low noise in syllables of 200 ms about -22 dBov, another one for each `seed`.
    fn speech(seed: u32, frames: usize) -> Vec<f32> {
        let (mut state, mut low) = (seed, 0.0);
        let mut sample = |index: usize| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            low = 0.7 * low + ((state >> 8) as f32 / (1 << 23) as f32 - 1.0);
            (std::f32::consts::PI * (index % 1_600) as f32 / 1_600.0).sin() * low * 5_000.0
        };
        (0..frames * FRAME_SAMPLES).map(&mut sample).collect()
    }

    fn frame(samples: impl Fn(usize) -> f32) -> Frame {
        std::array::from_fn(|index| samples(index) as i16)
    }

    /// Our prompt comes back at -15 dB and 60 ms late, and from frame `interrupts_at` on a caller talks over it: the frames
    /// in which that was believed.
    fn confirmed(prompt: &[f32], interrupts_at: usize) -> Vec<u64> {
        let caller = speech(7, 100);
        let mut listener = Listener::new(Box::new(LevelVad::new(-50.0)));
        let mut endpointer = Endpointer::new(EndpointingSettings::default());
        let mut confirmed = Vec::new();
        for start in (0..prompt.len()).step_by(FRAME_SAMPLES) {
            let said = frame(|index| prompt[start + index]);
            let heard = frame(|index| {
                let at = start + index;
                let echo = at.checked_sub(480).map_or(0.0, |from| prompt[from] * 0.178);
                echo + at
                    .checked_sub(interrupts_at * FRAME_SAMPLES)
                    .and_then(|at| caller.get(at))
                    .copied()
                    .unwrap_or(0.0)
            });
            listener.note_said(said);
            let sound = listener.hear(&heard);
            if endpointer.handle_frame(sound.index, sound.speech, sound.level_dbov)
                == Some(EndpointEvent::SpeechConfirmed)
            {
                confirmed.push(sound.index);
            }
        }
        confirmed
    }

    #[test]
    fn our_own_echo_is_nobody_and_a_caller_over_it_is_somebody() {
        let prompt = speech(1, 300);
        let alone = confirmed(&prompt, usize::MAX / FRAME_SAMPLES);
        assert!(alone.is_empty(), "an echo is believed in {alone:?}");
        for interrupts_at in [5, 20, 100, 200] {
            let confirmed = confirmed(&prompt, interrupts_at);
            let late = confirmed.first().map(|first| first - interrupts_at as u64);
            assert!(late.is_some_and(|late| late <= 15), "over the echo at {interrupts_at}: {confirmed:?}");
        }
    }

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
