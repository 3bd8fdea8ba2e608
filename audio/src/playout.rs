//! What we play to one caller: clips one after the other, that can be ducked, paused and stopped without a click.
//!
//! Every change of level is a ramp of [`RAMP`], so that barge-in is not heard as a crack. Clips join without a gap:
//! one frame may hold the end of a sentence and the start of the next.

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
            clips: VecDeque::with_capacity(MAX_CLIPS),
            fading: None,
            duck: GainRamp::new(1.0, RAMP_SAMPLES),
            pause: GainRamp::new(1.0, RAMP_SAMPLES),
            paused: false,
            events: VecDeque::with_capacity(MAX_EVENTS),
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
    /// start after that frame.
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
