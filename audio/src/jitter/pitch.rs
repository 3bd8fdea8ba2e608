//! After how many samples a sound repeats itself: what concealment continues and time-scaling cuts by.

use std::ops::RangeInclusive;

/// A distance in samples, and how alike the sound is at both of its ends.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Lag {
    pub(super) samples: usize,
    /// Normalised correlation: 1 is the same but for level, 0 unrelated or silent.
    pub(super) likeness: f32,
}

/// The lag of `lags` at which `sound[at..at + window]` is most like itself that much earlier. `stride` samples are
/// stepped over in a first, coarse search. `sound` must reach back by the longest lag.
pub(super) fn best_lag(sound: &[i16], at: usize, window: usize, lags: RangeInclusive<usize>, stride: usize) -> Lag {
    let (shortest, longest) = lags.into_inner();
    let lag = |samples: usize| Lag { samples, likeness: likeness(sound, at, window, samples, stride) };
    let coarse = (shortest..=longest).step_by(stride).map(lag).reduce(better);
    let coarse = coarse.unwrap_or(Lag { samples: shortest, likeness: 0.0 });
    if stride == 1 {
        return coarse;
    }
    let near = coarse.samples.saturating_sub(stride - 1).max(shortest)..=(coarse.samples + stride - 1).min(longest);
    let fine = |samples: usize| Lag { samples, likeness: likeness(sound, at, window, samples, 1) };
    near.map(fine).reduce(better).unwrap_or(coarse)
}

/// The more alike; of equals the shorter, which came first.
fn better(a: Lag, b: Lag) -> Lag {
    if b.likeness > a.likeness { b } else { a }
}

fn likeness(sound: &[i16], at: usize, window: usize, lag: usize, stride: usize) -> f32 {
    let (mut product, mut energy, mut earlier_energy) = (0.0, 1.0, 1.0);
    let pairs = sound[at..at + window].iter().zip(&sound[at - lag..]);
    for (&now, &earlier) in pairs.step_by(stride) {
        let (now, earlier) = (f32::from(now), f32::from(earlier));
        product += now * earlier;
        energy += now * now;
        earlier_energy += earlier * earlier;
    }
    product / (energy * earlier_energy).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{speech_like, wide_speech_like};

    /// The voice of `speech_like` repeats every 1/120 s.
    #[test]
    fn a_voice_repeats_after_its_period() {
        let lag = best_lag(&speech_like(100), 400, 160, 40..=120, 1);
        assert!((65..=68).contains(&lag.samples) && lag.likeness > 0.95, "{lag:?}");
        let lag = best_lag(&wide_speech_like(100), 800, 320, 80..=240, 2);
        assert!((131..=135).contains(&lag.samples) && lag.likeness > 0.95, "{lag:?}");
    }

    #[test]
    fn silence_is_like_nothing() {
        assert_eq!(best_lag(&[0; 400], 200, 160, 40..=120, 1), Lag { samples: 40, likeness: 0.0 });
    }
}
