//! What we play to one caller: clips one after the other, that can be ducked, paused and stopped without a click.
//!
//! Every change of level is a ramp of [`RAMP`], so that barge-in is not heard as a crack. Clips join without a gap:
//! one frame may hold the end of a sentence and the start of the next.
//!
//! Nothing is allocated while playing. A finished clip is freed here if this was its last owner; keep a handle where that
//! matters.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;

use crate::dsp::gain::{GainRamp, linear_from_db};
use crate::time::{FRAME_SAMPLES, Frame, SILENT_FRAME, SampleRate};

/// How long ducking, pausing and stopping take.
pub const RAMP: Duration = Duration::from_millis(10);

/// Samples in [`RAMP`].
const RAMP_SAMPLES: usize = FRAME_SAMPLES / 2;

/// Clips waiting at most.
pub const MAX_CLIPS: usize = 64;

/// Room for clips from the start; queueing more lets it grow once.
const USUAL_CLIPS: usize = 8;

/// Events waiting at most; each clip makes two.
const MAX_EVENTS: usize = 4 * MAX_CLIPS;

/// Names a clip towards the one who queued it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClipId(pub u64);

/// Too many clips wait, or too many events were not polled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("the play-out queue is full ({MAX_CLIPS} clips)")]
pub struct QueueFull;

/// What became of a clip. Each accepted clip ends in exactly one `Finished` or `Stopped`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PlayoutEvent {
    /// Its first sample is in the frame just polled.
    Started {
        /// Which clip.
        clip: ClipId,
    },
    /// Its last sample is in the frame just polled.
    Finished {
        /// Which clip.
        clip: ClipId,
    },
    /// It was cut off, perhaps before it started.
    Stopped {
        /// Which clip.
        clip: ClipId,
        /// How much of it was played, the closing ramp included; zero if it never started.
        heard: Duration,
    },
}

/// The play-out queue of one call.
#[derive(Debug)]
pub struct Playout {
    clips: VecDeque<Clip>,
    /// The end of a stopped clip, still to be faded out.
    fading: Option<Clip>,
    duck: GainRamp,
    pause: GainRamp,
    paused: bool,
    events: VecDeque<PlayoutEvent>,
}

#[derive(Debug)]
struct Clip {
    id: ClipId,
    samples: Arc<[i16]>,
    position: usize,
}

impl Clip {
    fn heard(&self) -> Duration {
        SampleRate::NARROW_BAND.duration_of(self.position as u64)
    }

    /// Copies the next samples to `out` and returns how many there were.
    fn take(&mut self, out: &mut [i16]) -> usize {
        let rest = &self.samples[self.position..];
        let count = rest.len().min(out.len());
        out[..count].copy_from_slice(&rest[..count]);
        self.position += count;
        count
    }

    fn remaining(&self) -> usize {
        self.samples.len() - self.position
    }
}

impl Default for Playout {
    fn default() -> Self {
        Self::new()
    }
}

impl Playout {
    /// An empty queue at full level.
    pub fn new() -> Self {
        Self {
            clips: VecDeque::with_capacity(USUAL_CLIPS),
            fading: None,
            duck: GainRamp::new(1.0, RAMP_SAMPLES),
            pause: GainRamp::new(1.0, RAMP_SAMPLES),
            paused: false,
            events: VecDeque::with_capacity(2 * USUAL_CLIPS),
        }
    }

    /// Appends a clip of 8 kHz PCM.
    ///
    /// # Errors
    /// [`QueueFull`] if [`MAX_CLIPS`] wait or the events are not polled.
    pub fn play(&mut self, clip: ClipId, samples: Arc<[i16]>) -> Result<(), QueueFull> {
        if self.clips.len() == MAX_CLIPS || self.events.len() + 2 * self.clips.len() + 2 > MAX_EVENTS {
            return Err(QueueFull);
        }
        self.clips.push_back(Clip { id: clip, samples, position: 0 });
        Ok(())
    }

    /// The next 20 ms, or `None` if there is nothing to play or the queue is paused.
    pub fn poll_frame(&mut self) -> Option<Frame> {
        if let Some(clip) = self.fading.take() {
            return Some(self.faded_end(clip));
        }
        if self.paused && self.pause.is_settled() {
            return None;
        }
        let mut frame = SILENT_FRAME;
        if self.fill(&mut frame) == 0 {
            return None;
        }
        self.pause.apply(&mut frame);
        self.duck.apply(&mut frame);
        Some(frame)
    }

    /// Discards everything. What sounds now fades out in the first 10 ms of the next frame; clips queued from now on
    /// start after that frame, at full level.
    pub fn stop(&mut self) {
        let audible = !(self.paused && self.pause.is_settled());
        while let Some(clip) = self.clips.pop_front() {
            let fades = audible && clip.position > 0;
            let ramp_samples = if fades { clip.remaining().min(RAMP_SAMPLES) } else { 0 };
            let heard = SampleRate::NARROW_BAND.duration_of((clip.position + ramp_samples) as u64);
            self.events.push_back(PlayoutEvent::Stopped { clip: clip.id, heard });
            if fades {
                self.fading = Some(clip);
            }
        }
        self.resume();
        self.unduck();
    }

    /// Lowers the level to `gain_db` (0 or less; anything above counts as 0) within 10 ms, until [`Self::unduck`].
    pub fn duck(&mut self, gain_db: f32) {
        self.duck.set_target(linear_from_db(gain_db.min(0.0)));
    }

    /// Back to full level within 10 ms.
    pub fn unduck(&mut self) {
        self.duck.set_target(1.0);
    }

    /// Fades out within the next frame, then plays nothing until [`Self::resume`]. Positions are kept.
    pub fn pause(&mut self) {
        self.paused = true;
        self.pause.set_target(0.0);
    }

    /// Goes on where it was paused, fading in.
    pub fn resume(&mut self) {
        self.paused = false;
        self.pause.set_target(1.0);
    }

    /// Whether [`Self::pause`] holds.
    pub fn is_paused(&self) -> bool {
        self.paused
    }

    /// Clips not finished yet, the sounding one included.
    pub fn queued(&self) -> usize {
        self.clips.len()
    }

    /// How long everything queued still lasts.
    pub fn remaining(&self) -> Duration {
        let samples = self.clips.iter().map(Clip::remaining).sum::<usize>();
        SampleRate::NARROW_BAND.duration_of(samples as u64)
    }

    /// The clip that is next or sounding, and how much of it has been played.
    pub fn position(&self) -> Option<(ClipId, Duration)> {
        self.clips.front().map(|clip| (clip.id, clip.heard()))
    }

    /// The next event, oldest first.
    pub fn poll_event(&mut self) -> Option<PlayoutEvent> {
        self.events.pop_front()
    }

    /// Fills `frame` from the clips in turn and returns how many samples there were. An empty clip starts and finishes
    /// without a sample.
    fn fill(&mut self, frame: &mut Frame) -> usize {
        let mut filled = 0;
        while filled < frame.len() {
            let Some(clip) = self.clips.front_mut() else { break };
            if clip.position == 0 {
                self.events.push_back(PlayoutEvent::Started { clip: clip.id });
            }
            filled += clip.take(&mut frame[filled..]);
            if clip.remaining() == 0 {
                self.events.push_back(PlayoutEvent::Finished { clip: clip.id });
                self.clips.pop_front();
            }
        }
        filled
    }

    /// The first 10 ms of what follows in `clip`, ramped down from the present level, then silence.
    fn faded_end(&mut self, mut clip: Clip) -> Frame {
        let mut frame = SILENT_FRAME;
        clip.take(&mut frame[..RAMP_SAMPLES]);
        let mut fade = GainRamp::new(self.duck.current() * self.pause.current(), RAMP_SAMPLES);
        fade.set_target(0.0);
        fade.apply(&mut frame);
        frame
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clip(samples: usize, value: i16) -> Arc<[i16]> {
        vec![value; samples].into()
    }

    fn events(playout: &mut Playout) -> Vec<PlayoutEvent> {
        std::iter::from_fn(|| playout.poll_event()).collect()
    }

    fn millis(milliseconds: u64) -> Duration {
        Duration::from_millis(milliseconds)
    }

    const A: ClipId = ClipId(1);
    const B: ClipId = ClipId(2);

    #[test]
    fn clips_join_without_a_gap() {
        let mut playout = Playout::new();
        playout.play(A, clip(200, 1_000)).unwrap();
        playout.play(B, clip(100, 2_000)).unwrap();
        assert_eq!(playout.remaining(), Duration::from_micros(37_500));
        assert_eq!(playout.poll_frame(), Some([1_000; FRAME_SAMPLES]));
        assert_eq!(events(&mut playout), [PlayoutEvent::Started { clip: A }]);
        assert_eq!(playout.position(), Some((A, millis(20))));
        let second = playout.poll_frame().unwrap();
        assert_eq!((second[39], second[40], second[139], second[140]), (1_000, 2_000, 2_000, 0));
        let expected =
            [PlayoutEvent::Finished { clip: A }, PlayoutEvent::Started { clip: B }, PlayoutEvent::Finished { clip: B }];
        assert_eq!(events(&mut playout), expected);
        assert_eq!((playout.poll_frame(), playout.queued()), (None, 0));
    }

    #[test]
    fn stop_fades_within_ten_milliseconds_and_tells_what_was_heard() {
        let mut playout = Playout::new();
        playout.play(A, clip(8_000, 10_000)).unwrap();
        playout.play(B, clip(8_000, 10_000)).unwrap();
        (0..5).for_each(|_| assert!(playout.poll_frame().is_some()));
        events(&mut playout);
        playout.stop();
        let stopped = |clip, heard| PlayoutEvent::Stopped { clip, heard };
        assert_eq!(events(&mut playout), [stopped(A, millis(110)), stopped(B, millis(0))]);
        let last = playout.poll_frame().unwrap();
        assert!(last.windows(2).all(|pair| pair[0] - pair[1] <= 130), "no click");
        assert!(last[0] > 9_000 && last[79..].iter().all(|&sample| sample == 0));
        assert_eq!(playout.poll_frame(), None);
    }

    #[test]
    fn what_is_queued_after_a_stop_starts_after_the_fade() {
        let mut playout = Playout::new();
        playout.play(A, clip(8_000, 10_000)).unwrap();
        playout.poll_frame();
        playout.stop();
        playout.play(B, clip(160, 5_000)).unwrap();
        assert_eq!(playout.poll_frame().unwrap()[159], 0);
        assert_eq!(playout.poll_frame(), Some([5_000; FRAME_SAMPLES]));
    }

    #[test]
    fn what_comes_after_a_stop_is_neither_ducked_nor_held() {
        let mut playout = Playout::new();
        playout.play(A, clip(800, 10_000)).unwrap();
        playout.poll_frame();
        playout.duck(-15.0);
        playout.poll_frame();
        playout.pause();
        playout.stop();
        playout.play(B, clip(480, 5_000)).unwrap();
        let frames: Vec<_> = std::iter::from_fn(|| playout.poll_frame()).collect();
        assert_eq!(frames.last(), Some(&[5_000; FRAME_SAMPLES]));
    }

    #[test]
    fn stopping_what_never_started_is_silent() {
        let mut playout = Playout::new();
        playout.play(A, clip(800, 10_000)).unwrap();
        playout.stop();
        assert_eq!(events(&mut playout), [PlayoutEvent::Stopped { clip: A, heard: millis(0) }]);
        assert_eq!(playout.poll_frame(), None);
    }

    #[test]
    fn ducking_ramps_down_and_up() {
        let mut playout = Playout::new();
        playout.play(A, clip(8_000, 10_000)).unwrap();
        playout.poll_frame();
        playout.duck(-20.0);
        let ducking = playout.poll_frame().unwrap();
        assert!(ducking[0] > 9_800 && ducking[159] == 1_000, "{} {}", ducking[0], ducking[159]);
        playout.unduck();
        assert_eq!(playout.poll_frame().unwrap()[159], 10_000);
        playout.duck(6.0);
        assert_eq!(playout.poll_frame().unwrap()[159], 10_000, "ducking never makes louder");
    }

    #[test]
    fn pause_fades_out_and_resume_goes_on_where_it_was() {
        let mut playout = Playout::new();
        playout.play(A, clip(1_600, 10_000)).unwrap();
        playout.poll_frame();
        playout.pause();
        assert_eq!(playout.poll_frame().unwrap()[159], 0);
        assert!((0..50).all(|_| playout.poll_frame().is_none()));
        assert_eq!(playout.position(), Some((A, millis(40))));
        playout.resume();
        let resumed = playout.poll_frame().unwrap();
        assert!(resumed[0] < 200 && resumed[159] == 10_000);
        assert_eq!(playout.position(), Some((A, millis(60))));
    }

    /// Nothing sounded while paused, so nothing may sound for the sake of stopping.
    #[test]
    fn stopping_while_paused_is_silent() {
        let mut playout = Playout::new();
        playout.play(A, clip(1_600, 10_000)).unwrap();
        playout.poll_frame();
        playout.pause();
        playout.poll_frame();
        events(&mut playout);
        playout.stop();
        assert_eq!(events(&mut playout), [PlayoutEvent::Stopped { clip: A, heard: millis(40) }]);
        assert_eq!(playout.poll_frame(), None);
        playout.play(B, clip(160, 5_000)).unwrap();
        assert!(playout.poll_frame().is_some(), "a stop ends the pause");
    }

    #[test]
    fn an_empty_clip_starts_and_finishes() {
        let mut playout = Playout::new();
        playout.play(A, clip(0, 0)).unwrap();
        assert_eq!(playout.poll_frame(), None);
        assert_eq!(events(&mut playout), [PlayoutEvent::Started { clip: A }, PlayoutEvent::Finished { clip: A }]);
    }

    #[test]
    fn the_queue_is_bounded_in_clips_and_in_events() {
        let mut playout = Playout::new();
        (0..MAX_CLIPS).for_each(|_| playout.play(A, clip(0, 0)).unwrap());
        assert_eq!(playout.play(B, clip(0, 0)), Err(QueueFull));
        let mut accepted = MAX_CLIPS;
        for _ in 0..1_000 {
            playout.poll_frame();
            accepted += usize::from(playout.play(B, clip(0, 0)).is_ok());
        }
        assert!(accepted * 2 <= MAX_EVENTS, "{accepted}");
        assert!(events(&mut playout).len() <= MAX_EVENTS);
        assert_eq!(playout.play(B, clip(0, 0)), Ok(()));
    }
}
