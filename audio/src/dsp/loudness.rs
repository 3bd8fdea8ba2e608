//! Brings a quiet utterance to the level of an ordinary one, as a whole: nothing pumps, and what was quieter than the speech
//! in it stays as much quieter.

use super::gain::linear_from_db;
use super::level::{peak_dbov, rms_dbov};
use crate::time::FRAME_SAMPLES;

/// Level of the loud frames of ordinary speech. dBov.
const LOUD_DBOV: f32 = -17.0;
/// The most that is added. Decibels.
const MOST_GAIN_DB: f32 = 26.0;
/// Where even the loud frames are quieter, nobody speaks, and whoever looks for that must still see it. dBov.
const LEAST_DBOV: f32 = -50.0;
/// Peaks stay below this. dBov.
const PEAK_DBOV: f32 = -1.0;
/// One frame in so many is louder than the loud ones.
const LOUDER_SHARE: usize = 10;

/// Raises `samples` (8 kHz, one utterance) to the level of ordinary speech, by at most 26 dB; nothing is ever lowered,
/// nothing clips, and a line on which nobody speaks stays as quiet as it is. Gives the gain back, in decibels.
pub fn raise_utterance(samples: &mut [i16]) -> f32 {
    let mut levels: Vec<f32> = samples.chunks(FRAME_SAMPLES).map(rms_dbov).collect();
    levels.sort_by(|one, other| other.total_cmp(one));
    let Some(loud_dbov) = levels.get(levels.len() / LOUDER_SHARE) else { return 0.0 };
    if *loud_dbov < LEAST_DBOV {
        return 0.0;
    }
    let room_db = PEAK_DBOV - peak_dbov(samples);
    let gain_db = (LOUD_DBOV - loud_dbov).min(MOST_GAIN_DB).min(room_db).max(0.0);
    let gain = linear_from_db(gain_db);
    for sample in samples {
        *sample = (f32::from(*sample) * gain).round() as i16;
    }
    gain_db
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::speech_like;

    fn at(level_db: f32) -> Vec<i16> {
        let gain = linear_from_db(level_db);
        speech_like(2_000).into_iter().map(|sample| (f32::from(sample) * gain) as i16).collect()
    }

    #[test]
    fn quiet_speech_is_raised_to_the_same_level_and_loud_speech_stays() {
        let loud = at(0.0);
        for level_db in [-30.0, -20.0, -10.0] {
            let mut speech = at(level_db);
            let before = rms_dbov(&speech);
            let gain_db = raise_utterance(&mut speech);
            assert!((rms_dbov(&speech) - before - gain_db).abs() < 0.1);
            assert!((5.0..=26.0).contains(&gain_db), "{level_db} dB: {gain_db}");
            assert!(peak_dbov(&speech) <= PEAK_DBOV + 0.1, "{}", peak_dbov(&speech));
        }
        let mut unchanged = loud.clone();
        assert!(raise_utterance(&mut unchanged) < 2.0);
    }

    #[test]
    fn a_gain_is_bounded_and_nothing_is_made_of_nothing() {
        assert_eq!(raise_utterance(&mut at(-32.0)), MOST_GAIN_DB);
        assert_eq!(raise_utterance(&mut at(-50.0)), 0.0, "that is a line's noise");
        assert_eq!(raise_utterance(&mut []), 0.0);
        let mut silence = [0; 1_600];
        raise_utterance(&mut silence);
        assert_eq!(silence, [0; 1_600]);
        let mut click = at(-30.0);
        click[5_000] = i16::MAX;
        assert_eq!(raise_utterance(&mut click), 0.0, "there is no room");
    }
}
