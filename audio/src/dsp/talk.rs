//! How long and how loudly somebody talks, frame by frame: what a list of recordings shows beside each.

use std::time::Duration;

use super::level::rms_dbov;
use crate::time::FRAME_DURATION;

/// Frames quieter than this are no talk: below it is what telephone lines hum and hiss by themselves.
pub const TALK_DBOV: f32 = -50.0;

/// See the module.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct TalkMeter {
    frames: u32,
    /// Of all of them together, as shares of the power of a full-scale square wave.
    power: f64,
}

impl TalkMeter {
    /// The next 20 ms, at any rate.
    pub fn push(&mut self, frame: &[i16]) {
        let level = rms_dbov(frame);
        if level >= TALK_DBOV {
            self.frames += 1;
            self.power += 10_f64.powf(f64::from(level) / 10.0);
        }
    }

    /// Together of all frames with talk.
    pub fn talk(&self) -> Duration {
        FRAME_DURATION * self.frames
    }

    /// How loud the talk was, without the pauses in it. In dBov; `None` without talk.
    pub fn level_dbov(&self) -> Option<f32> {
        (self.frames > 0).then(|| (10.0 * (self.power / f64::from(self.frames)).log10()) as f32)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dsp::tone::sine;
    use crate::time::SampleRate;

    #[test]
    fn pauses_count_neither_as_talk_nor_in_its_level() {
        let mut meter = TalkMeter::default();
        assert_eq!((meter.talk(), meter.level_dbov()), (Duration::ZERO, None));
        for level in [-20.0, -70.0, -20.0] {
            let second = sine(440.0, Duration::from_secs(1), level, SampleRate::NARROW_BAND);
            second.chunks_exact(160).for_each(|frame| meter.push(frame));
        }
        let level = meter.level_dbov().unwrap();
        assert!((level + 20.0).abs() < 0.3, "{level}");
        assert!(meter.talk().abs_diff(Duration::from_secs(2)) <= 2 * FRAME_DURATION, "{:?}", meter.talk());
    }
}
