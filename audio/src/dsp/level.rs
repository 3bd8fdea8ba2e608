//! How loud PCM is, in dBov: decibels relative to a full-scale square wave, so a full-scale sine is at −3 dBov
//! (RFC 6464 §3, RFC 6465). Perceived quality (ITU-T G.107) is not measured here.

/// The level of digital silence, and the lowest there is (RFC 6464 §3).
pub const SILENCE_DBOV: f32 = -127.0;

/// Root mean square of `samples` in dBov, −127 to 0. No samples count as silence.
pub fn rms_dbov(samples: &[i16]) -> f32 {
    let energy = samples.iter().map(|&sample| f64::from(sample) * f64::from(sample)).sum::<f64>();
    let mean = energy / samples.len().max(1) as f64;
    dbov_of_amplitude(mean.sqrt())
}

/// The largest sample in dBov, −127 to 0. No samples count as silence.
pub fn peak_dbov(samples: &[i16]) -> f32 {
    let peak = samples.iter().map(|sample| sample.unsigned_abs()).max().unwrap_or(0);
    dbov_of_amplitude(f64::from(peak))
}

fn dbov_of_amplitude(amplitude: f64) -> f32 {
    let dbov = 20.0 * (amplitude / f64::from(i16::MAX)).log10();
    (dbov as f32).clamp(SILENCE_DBOV, 0.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dsp::tone::sine;
    use crate::time::SampleRate;
    use std::time::Duration;

    #[test]
    fn full_scale_square_is_the_reference() {
        let square = (0..160).map(|i| if i % 2 == 0 { i16::MAX } else { -i16::MAX }).collect::<Vec<_>>();
        assert_eq!(rms_dbov(&square), 0.0);
        assert_eq!(peak_dbov(&square), 0.0);
        assert_eq!(peak_dbov(&[i16::MIN]), 0.0);
    }

    #[test]
    fn a_sine_is_three_decibels_below_its_peak() {
        let tone = sine(440.0, Duration::from_secs(1), -20.0, SampleRate::NARROW_BAND);
        assert!((rms_dbov(&tone) + 20.0).abs() < 0.2, "{}", rms_dbov(&tone));
        assert!((peak_dbov(&tone) + 16.99).abs() < 0.1, "{}", peak_dbov(&tone));
    }

    #[test]
    fn silence_has_a_level_too() {
        assert_eq!(rms_dbov(&[]), SILENCE_DBOV);
        assert_eq!(rms_dbov(&[0; 160]), SILENCE_DBOV);
        assert_eq!(peak_dbov(&[]), SILENCE_DBOV);
    }
}
