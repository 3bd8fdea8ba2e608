//! Tones we make ourselves: the voicemail beep and DTMF, each with ramps at its ends. `call_tones` has those that tell a
//! caller what becomes of the call.
//!
//! Levels are RMS in dBov, see [`super::level`].

use std::f64::consts::TAU;
use std::time::Duration;

use super::gain::GainRamp;
use crate::time::SampleRate;

/// Rise and fall of every tone.
pub const RAMP: Duration = Duration::from_millis(5);

/// Row and column frequencies of the keypad in hertz (ITU-T Q.23).
pub(super) const ROWS: [f64; 4] = [697.0, 770.0, 852.0, 941.0];
pub(super) const COLUMNS: [f64; 4] = [1209.0, 1336.0, 1477.0, 1633.0];
pub(super) const KEYPAD: [[char; 4]; 4] =
    [['1', '2', '3', 'A'], ['4', '5', '6', 'B'], ['7', '8', '9', 'C'], ['*', '0', '#', 'D']];

/// A sine with ramps.
pub fn sine(frequency_hz: f64, duration: Duration, level_dbov: f32, rate: SampleRate) -> Vec<i16> {
    sum_of_sines(&[frequency_hz], duration, level_dbov, rate)
}

/// The beep before a recording: 1 kHz, 400 ms, −20 dBov.
pub fn beep(rate: SampleRate) -> Vec<i16> {
    sine(1000.0, Duration::from_millis(400), -20.0, rate)
}

/// The dual tone of a key (`0-9`, `*`, `#`, `A-D`, letters in either case); `None` for anything else.
pub fn dtmf(digit: char, duration: Duration, level_dbov: f32, rate: SampleRate) -> Option<Vec<i16>> {
    let digit = digit.to_ascii_uppercase();
    let (row, column) =
        KEYPAD.iter().enumerate().find_map(|(row, keys)| Some((row, keys.iter().position(|&key| key == digit)?)))?;
    Some(sum_of_sines(&[ROWS[row], COLUMNS[column]], duration, level_dbov, rate))
}

/// Sines of equal level that together have `level_dbov`, with ramps at both ends.
pub(super) fn sum_of_sines(frequencies_hz: &[f64], duration: Duration, level_dbov: f32, rate: SampleRate) -> Vec<i16> {
    let total = f64::from(i16::MAX) * 10_f64.powf(f64::from(level_dbov) / 20.0);
    // Powers of sines of different frequency add up; the peak of a sine is √2 over its RMS.
    let amplitude = total * (2.0 / frequencies_hz.len().max(1) as f64).sqrt();
    let at = |index: u64| {
        let time = index as f64 / f64::from(rate.hz());
        let sum = frequencies_hz.iter().map(|frequency| (TAU * frequency * time).sin()).sum::<f64>();
        (amplitude * sum).round() as i16
    };
    let mut samples = (0..rate.samples_in(duration)).map(at).collect::<Vec<_>>();
    ramp_ends(&mut samples, rate);
    samples
}

fn ramp_ends(samples: &mut [i16], rate: SampleRate) {
    let ramp_samples = (rate.samples_in(RAMP) as usize).min(samples.len() / 2);
    let mut gain = GainRamp::new(0.0, ramp_samples);
    gain.set_target(1.0);
    gain.apply(&mut samples[..ramp_samples]);
    let end = samples.len() - ramp_samples;
    gain.set_target(0.0);
    gain.apply(&mut samples[end..]);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dsp::level::rms_dbov;

    const RATE: SampleRate = SampleRate::NARROW_BAND;

    /// Power of `samples` at one frequency, by the Goertzel algorithm.
    fn power_at(samples: &[i16], frequency_hz: f64) -> f64 {
        let coefficient = 2.0 * (TAU * frequency_hz / f64::from(RATE.hz())).cos();
        let (last, before) = samples
            .iter()
            .fold((0.0, 0.0), |(last, before), &sample| (f64::from(sample) + coefficient * last - before, last));
        last * last + before * before - coefficient * last * before
    }

    #[test]
    fn each_key_has_its_two_frequencies() {
        for (row, keys) in KEYPAD.iter().enumerate() {
            for (column, &key) in keys.iter().enumerate() {
                let tone = dtmf(key, Duration::from_millis(100), -10.0, RATE).unwrap();
                let loudest = |group: [f64; 4]| {
                    (0..4).max_by(|&a, &b| power_at(&tone, group[a]).total_cmp(&power_at(&tone, group[b])))
                };
                assert_eq!((loudest(ROWS), loudest(COLUMNS)), (Some(row), Some(column)), "{key}");
            }
        }
        assert_eq!(dtmf('x', Duration::from_millis(100), -10.0, RATE), None);
    }

    #[test]
    fn tones_have_their_length_their_level_and_soft_ends() {
        let tone = beep(RATE);
        assert_eq!(tone.len(), 3_200);
        assert!((rms_dbov(&tone) + 20.0).abs() < 0.3, "{}", rms_dbov(&tone));
        assert!(tone[..4].iter().chain(&tone[3_196..]).all(|sample| sample.abs() < 400));
        assert!(sine(440.0, Duration::ZERO, -20.0, RATE).is_empty());
    }
}
