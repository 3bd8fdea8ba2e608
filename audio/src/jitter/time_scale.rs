//! Sound made shorter or longer by one period of the voice, which changes how long it lasts but not how high it sounds
//! (WSOLA): how the buffer gives up and gains delay while somebody speaks.
//!
//! ```text
//! shorten:  |  A  |  B  |  C …      A blended into B, then C: one period less
//! lengthen: …  Z |  A  |  B …       A blended into Z, then A again: one period more
//! ```

use super::pitch::best_lag;
use crate::dsp::level::rms_dbov;

/// Periods that are cut or added.
const SHORTEST_MS: usize = 3;
const LONGEST_MS: usize = 15;

/// The stretch that must be alike at both ends of a cut.
const WINDOW_MS: usize = 10;

/// Below this a cut is not noticed, except in silence.
const LEAST_LIKENESS: f32 = 0.6;

/// Softer than this every cut is in silence.
const SILENCE_DBOV: f32 = -55.0;

/// Whether a bad place will do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Haste {
    /// Only where it is not heard.
    Wait,
    /// Anywhere: it did not become better for long enough.
    Now,
}

/// Takes a period out of `sound[at..]`; gives its length in samples, or zero if this is not the place.
pub(super) fn shorten(sound: &mut Vec<i16>, at: usize, samples_per_ms: usize, haste: Haste) -> usize {
    let available = sound.len() - at;
    let longest = (LONGEST_MS * samples_per_ms).min(available / 2);
    let (shortest, window) = (SHORTEST_MS * samples_per_ms, WINDOW_MS * samples_per_ms);
    if available < longest + window || longest < shortest {
        return 0;
    }
    // The lag is measured backwards from its later end, which is why the search begins at the longest.
    let Some(period) = period_at(&sound[at..], longest, window, shortest..=longest, samples_per_ms, haste) else {
        return 0;
    };
    let start = at + longest - period;
    for index in start..start + period {
        let weight = (index - start + 1) as f32 / (period + 1) as f32;
        sound[index] = mixed(sound[index], sound[index + period], weight);
    }
    sound.copy_within(start + 2 * period.., start + period);
    sound.truncate(sound.len() - period);
    period
}

/// Repeats the period before `sound[at..]`, which is the end of `history`; gives its length in samples, or zero if this
/// is not the place. Allocates only if `sound` or `scratch` must grow.
pub(super) fn lengthen(
    sound: &mut Vec<i16>,
    at: usize,
    history: &[i16],
    scratch: &mut Vec<i16>,
    samples_per_ms: usize,
    haste: Haste,
) -> usize {
    let available = sound.len() - at;
    let longest = (LONGEST_MS * samples_per_ms).min(available).min(history.len());
    let (shortest, window) = (SHORTEST_MS * samples_per_ms, WINDOW_MS * samples_per_ms);
    if available < window || longest < shortest {
        return 0;
    }
    scratch.clear();
    scratch.extend_from_slice(&history[history.len() - longest..]);
    scratch.extend_from_slice(&sound[at..at + window.max(longest)]);
    let Some(period) = period_at(scratch, longest, window, shortest..=longest, samples_per_ms, haste) else {
        return 0;
    };
    let end = sound.len();
    sound.resize(end + period, 0);
    sound.copy_within(at..end, at + period);
    for index in 0..period {
        let weight = (index + 1) as f32 / (period + 1) as f32;
        sound[at + index] = mixed(scratch[longest + index], scratch[longest - period + index], weight);
    }
    period
}

fn period_at(
    sound: &[i16],
    at: usize,
    window: usize,
    lags: std::ops::RangeInclusive<usize>,
    samples_per_ms: usize,
    haste: Haste,
) -> Option<usize> {
    let lag = best_lag(sound, at, window, lags, (samples_per_ms / 8).max(1));
    let is_unheard = lag.likeness >= LEAST_LIKENESS || rms_dbov(&sound[..at + window]) < SILENCE_DBOV;
    (is_unheard || haste == Haste::Now).then_some(lag.samples)
}

fn mixed(from: i16, to: i16, weight: f32) -> i16 {
    (f32::from(from) * (1.0 - weight) + f32::from(to) * weight).round() as i16
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::speech_like;

    fn steepest(sound: &[i16]) -> u16 {
        sound.windows(2).map(|pair| pair[0].abs_diff(pair[1])).max().unwrap()
    }

    /// Half a second of a voice, cut every 40 ms: shorter, as loud, no clicks, and still the same voice.
    #[test]
    fn a_voice_is_shortened_by_whole_periods() {
        let mut sound = speech_like(500);
        let before = sound.clone();
        let removed = (0..10).map(|index| shorten(&mut sound, index * 320, 8, Haste::Wait)).collect::<Vec<_>>();
        let periods = |&samples: &usize| (samples as f64 / 66.67 - (samples as f64 / 66.67).round()).abs() < 0.1;
        assert!(removed.iter().all(|samples| *samples > 0 && periods(samples)), "{removed:?}");
        assert_eq!(sound.len(), before.len() - removed.iter().sum::<usize>());
        assert!(steepest(&sound) <= steepest(&before) * 5 / 4);
        assert!((rms_dbov(&sound) - rms_dbov(&before)).abs() < 0.5);
    }

    #[test]
    fn a_voice_is_lengthened_by_whole_periods() {
        let voice = speech_like(500);
        let (mut scratch, mut played) = (Vec::new(), voice[..400].to_vec());
        for frame in voice[400..].chunks_exact(160) {
            let mut sound = frame.to_vec();
            let history = played[played.len() - 400..].to_vec();
            let added = lengthen(&mut sound, 0, &history, &mut scratch, 8, Haste::Wait);
            assert!((60..=140).contains(&added) && sound.len() == 160 + added, "{added}");
            played.extend(sound);
        }
        assert!(steepest(&played) <= steepest(&voice) * 5 / 4);
        assert!((rms_dbov(&played) - rms_dbov(&voice)).abs() < 0.5);
    }

    #[test]
    fn noise_waits_silence_does_not() {
        let mut random = 1_u64;
        let mut noise = || {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            (random >> 50) as i16
        };
        let mut sound = (0..400).map(|_| noise() - 8_192).collect::<Vec<_>>();
        assert_eq!(shorten(&mut sound, 0, 8, Haste::Wait), 0);
        assert!(shorten(&mut sound, 0, 8, Haste::Now) > 0);
        assert!(shorten(&mut vec![3; 400], 0, 8, Haste::Wait) > 0);
        for length in 0..100 {
            assert_eq!(shorten(&mut vec![0; length], 0, 8, Haste::Now), 0, "{length}");
        }
        assert_eq!(lengthen(&mut vec![0; 60], 0, &[0; 400], &mut Vec::new(), 8, Haste::Now), 0);
    }
}
