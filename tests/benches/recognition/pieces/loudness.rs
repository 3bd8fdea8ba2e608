//! Brings a quiet utterance to the level of an ordinary one, as a whole: nothing pumps, and what was quieter than the speech
//! in it stays as much quieter.

use audio::FRAME_SAMPLES;
use audio::dsp::gain::linear_from_db;
use audio::dsp::level::{peak_dbov, rms_dbov};

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
pub(super) fn raise_utterance(samples: &mut [i16]) -> f32 {
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
