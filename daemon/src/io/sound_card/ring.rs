//! Between a call and a sound card, whose clocks are never the same: frames in every 20 ms, periods out as the card wants
//! them. Where the call is behind there is silence until enough has come again; where the card is behind the oldest is
//! dropped, so that nobody is heard ever later.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use audio::Frame;
use audio::dsp::resample::{FrameUpsampler, ResampleError};
use audio::time::SampleRate;
use rtrb::{Consumer, Producer, RingBuffer};

/// Frames that wait before the first is heard, and after each gap: what the jitter of tasks and periods takes.
const CUSHION_FRAMES: usize = 3;
/// Frames that may wait beyond a period of the card.
const LATE_FRAMES: usize = 10;
/// Frames there is room for.
const ROOM_FRAMES: usize = 50;

/// The end of the call.
pub(super) struct Feed {
    ring: Producer<f32>,
    upsampler: FrameUpsampler,
    samples: Vec<f32>,
}

/// The end of the card.
pub(super) struct Drain {
    ring: Consumer<f32>,
    frame_samples: usize,
    flows: bool,
    taken_samples: Arc<AtomicU64>,
}

/// Both ends, for a card of that rate, a multiple of 50 Hz; and what the card's end counts as taken.
pub(super) fn ring(rate: SampleRate) -> Result<(Feed, Drain, Arc<AtomicU64>), ResampleError> {
    let upsampler = FrameUpsampler::new(rate)?;
    let frame_samples = upsampler.frame_samples();
    let (producer, consumer) = RingBuffer::new(ROOM_FRAMES * frame_samples);
    let taken_samples = Arc::<AtomicU64>::default();
    let drain = Drain { ring: consumer, frame_samples, flows: false, taken_samples: Arc::clone(&taken_samples) };
    Ok((Feed { ring: producer, upsampler, samples: Vec::with_capacity(frame_samples) }, drain, taken_samples))
}

impl Feed {
    /// Takes a frame. A card that has taken nothing for a second gets no more until it does.
    pub(super) fn push(&mut self, frame: &Frame) -> Result<(), ResampleError> {
        self.samples.clear();
        self.upsampler.push(frame, &mut self.samples)?;
        // What finds no room is lost.
        let _ = self.ring.push_partial_slice(&self.samples);
        Ok(())
    }
}

impl Drain {
    /// Fills a period, each channel alike. Neither allocates nor waits.
    pub(super) fn fill<T: Copy>(&mut self, period: &mut [T], channels: usize, convert: impl Fn(f32) -> T) {
        let wanted = period.len() / channels.max(1);
        let cushion = wanted + CUSHION_FRAMES * self.frame_samples;
        let mut waiting = self.ring.slots();
        if waiting > wanted + LATE_FRAMES * self.frame_samples {
            self.forget(waiting - cushion);
            waiting = cushion;
        }
        self.flows = if self.flows { waiting >= wanted } else { waiting >= cushion };
        let mut taken = 0;
        for sample in period.chunks_mut(channels.max(1)) {
            let next = if self.flows { self.ring.pop().ok() } else { None };
            taken += u64::from(next.is_some());
            sample.fill(convert(next.unwrap_or_default()));
        }
        self.taken_samples.fetch_add(taken, Ordering::Relaxed);
    }

    fn forget(&mut self, samples: usize) {
        if let Ok(oldest) = self.ring.read_chunk(samples) {
            oldest.commit_all();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use audio::FRAME_SAMPLES;

    /// Samples of a frame at 48 kHz.
    const FRAME: usize = 960;

    fn rig() -> (Feed, Drain) {
        let (feed, drain, _) = ring(SampleRate::FULL_BAND).unwrap();
        (feed, drain)
    }

    /// The loudest sample of the next period of so many samples.
    fn peak(drain: &mut Drain, samples: usize) -> f32 {
        let mut period = vec![9.0; samples * 2];
        drain.fill(&mut period, 2, |sample| sample);
        assert!(period.chunks(2).all(|pair| pair[0] == pair[1]), "the channels differ");
        period.into_iter().map(f32::abs).fold(0.0, f32::max)
    }

    #[test]
    fn it_is_silent_until_there_is_a_cushion_and_then_without_a_gap() {
        let (mut feed, mut drain) = rig();
        assert_eq!(peak(&mut drain, FRAME), 0.0);
        for _ in 0..CUSHION_FRAMES {
            feed.push(&[8_000; FRAME_SAMPLES]).unwrap();
            assert_eq!(peak(&mut drain, FRAME), 0.0);
        }
        for _ in 0..100 {
            feed.push(&[8_000; FRAME_SAMPLES]).unwrap();
            assert!(peak(&mut drain, FRAME) > 0.2);
        }
    }

    /// A period that is not all there is silence as a whole, and what has come waits for a new cushion.
    #[test]
    fn a_gap_is_silence_and_needs_a_new_cushion() {
        let (mut feed, mut drain) = rig();
        for _ in 0..CUSHION_FRAMES + 1 {
            feed.push(&[8_000; FRAME_SAMPLES]).unwrap();
        }
        for _ in 0..CUSHION_FRAMES + 1 {
            assert!(peak(&mut drain, FRAME) > 0.2);
        }
        assert_eq!(peak(&mut drain, FRAME), 0.0);
        feed.push(&[8_000; FRAME_SAMPLES]).unwrap();
        assert_eq!(peak(&mut drain, FRAME), 0.0);
    }

    /// The card has stood still: what it plays then is the newest, not what was said half a second ago.
    #[test]
    fn a_card_that_is_behind_drops_the_oldest() {
        let (mut feed, mut drain) = rig();
        for _ in 0..30 {
            feed.push(&[16_000; FRAME_SAMPLES]).unwrap();
        }
        for _ in 0..CUSHION_FRAMES + 1 {
            feed.push(&[2_000; FRAME_SAMPLES]).unwrap();
        }
        // The filter of the resampler lets the loud part ring into the quiet one.
        peak(&mut drain, FRAME);
        let heard = peak(&mut drain, FRAME);
        assert!((0.05..0.1).contains(&heard), "{heard}");
    }

    /// Nothing more fits; neither end minds.
    #[test]
    fn a_card_that_takes_nothing_does_not_stop_the_call() {
        let (mut feed, mut drain) = rig();
        for _ in 0..2 * ROOM_FRAMES {
            feed.push(&[8_000; FRAME_SAMPLES]).unwrap();
        }
        assert!(peak(&mut drain, FRAME) > 0.2);
    }

    /// Cards whose periods are longer than any cushion play without gaps too.
    #[test]
    fn long_periods_have_no_gaps() {
        let (mut feed, mut drain) = rig();
        let mut silent = 0;
        for frame in 0..500 {
            feed.push(&[8_000; FRAME_SAMPLES]).unwrap();
            if frame % 8 == 7 && peak(&mut drain, 8 * FRAME) == 0.0 {
                silent += 1;
            }
        }
        assert!(silent <= 2, "{silent} silent periods");
    }
}
