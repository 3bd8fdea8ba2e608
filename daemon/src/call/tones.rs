//! What a caller hears who is answered already, and to whom the carrier therefore plays no tones of its own: that phones ring,
//! that the box has no time, that nobody was found. In the tones of the office's country.
//!
//! Left out on purpose: the same before an answer. Carriers and phones make these tones themselves, of our 180, 486 and 503.

use std::time::Duration;

use audio::dsp::call_tones::{CallTone, Country, call_tone};

use crate::speaker::{SPEECH_SAMPLE_RATE, Samples};

/// About −16 dBm0 (0 dBm0 is −6.2 dBov in A-law, ITU-T G.711): as loud as a quiet exchange.
const LEVEL_DBOV: f32 = -22.0;
/// After so much of a tone everybody has understood, and the box hangs up.
const LAST_TONE: Duration = Duration::from_secs(5);

/// At 8 kHz, ready to be played.
#[derive(Debug, Clone)]
pub struct Tones {
    /// One period, to be repeated.
    pub(super) ringing: Samples,
    /// Somebody else is talked with, for a few seconds.
    pub(super) busy: Samples,
    /// There is no way, for a few seconds.
    pub(super) congestion: Samples,
}

impl Tones {
    /// Of that country.
    pub fn of(country: Country) -> Tones {
        let period = |tone| call_tone(country, tone, LEVEL_DBOV, SPEECH_SAMPLE_RATE);
        let last = |tone| {
            let period = period(tone);
            let samples = usize::try_from(SPEECH_SAMPLE_RATE.samples_in(LAST_TONE)).unwrap_or_default();
            // Whole periods: a tone is never cut off.
            period.repeat(samples.div_ceil(period.len().max(1)))
        };
        Tones {
            ringing: period(CallTone::Ringback).into(),
            busy: last(CallTone::Busy).into(),
            congestion: last(CallTone::Congestion).into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_tone_is_heard_for_a_few_seconds_and_whole() {
        for country in Country::ALL {
            let Tones { ringing, busy, congestion } = Tones::of(country);
            assert!((3 * 8_000..=6 * 8_000).contains(&ringing.len()), "{country:?}");
            for (tone, samples) in [(CallTone::Busy, busy), (CallTone::Congestion, congestion)] {
                let period = call_tone(country, tone, LEVEL_DBOV, SPEECH_SAMPLE_RATE);
                assert!((5 * 8_000..7 * 8_000).contains(&samples.len()), "{country:?} {tone:?}: {}", samples.len());
                assert_eq!(samples.len() % period.len(), 0, "{country:?} {tone:?}");
            }
        }
    }
}
