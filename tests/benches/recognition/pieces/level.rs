//! Brings every caller to the same level, slowly: a gain of 0 to 24 dB that follows what is well above the noise, and a
//! limiter.

use audio::Frame;
use audio::dsp::level::rms_dbov;
use audio::dsp::resample::{f32_of, i16_of};

/// Level of speech wanted. dBov.
const TARGET_DBOV: f32 = -20.0;
const MOST_DB: f32 = 24.0;
/// What is so far above the noise is speech.
const ABOVE_NOISE_DB: f32 = 12.0;
/// Changes of the estimates in a frame: of speech, up and down; of noise, up.
const RISE_DB: f32 = 1.0;
const FALL_DB: f32 = 0.05;
const NOISE_RISE_DB: f32 = 0.1;
/// Peaks beyond this are bent. Full scale is 1.
const KNEE: f32 = 0.7;

pub(super) struct Leveller {
    speech_dbov: f32,
    noise_dbov: f32,
    gain_db: f32,
}

impl Default for Leveller {
    fn default() -> Leveller {
        Leveller { speech_dbov: TARGET_DBOV - MOST_DB / 2.0, noise_dbov: -60.0, gain_db: 0.0 }
    }
}

impl Leveller {
    pub(super) fn process(&mut self, frame: &mut Frame) {
        let level = rms_dbov(frame).max(-75.0);
        self.noise_dbov = level.min(self.noise_dbov + NOISE_RISE_DB);
        if level > self.noise_dbov + ABOVE_NOISE_DB {
            let towards = level - self.speech_dbov;
            self.speech_dbov += towards.clamp(-FALL_DB, RISE_DB);
            let wanted = (TARGET_DBOV - self.speech_dbov).clamp(0.0, MOST_DB);
            self.gain_db += (wanted - self.gain_db).clamp(-1.0, 0.5);
        }
        let gain = 10_f32.powf(self.gain_db / 20.0);
        for sample in frame {
            let value = gain * f32_of(*sample);
            let over = (value.abs() - KNEE).max(0.0);
            let bent = KNEE + (1.0 - KNEE) * (over / (1.0 - KNEE)).tanh();
            *sample = i16_of(if over > 0.0 { bent.copysign(value) } else { value });
        }
    }
}
