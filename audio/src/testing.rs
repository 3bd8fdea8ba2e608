//! What the unit tests of this crate share.

use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// A moment so many milliseconds after an arbitrary one that is the same for the whole test run.
pub(crate) fn at(milliseconds: u64) -> Instant {
    static EPOCH: OnceLock<Instant> = OnceLock::new();
    #[expect(clippy::disallowed_methods, reason = "an Instant cannot be made from nothing; only differences count")]
    let epoch = *EPOCH.get_or_init(Instant::now);
    epoch + Duration::from_millis(milliseconds)
}

/// Something like a vowel at 8 kHz, `milliseconds` long: a 120 Hz voice with formants, swelling four times a second.
pub(crate) fn speech_like(milliseconds: usize) -> Vec<i16> {
    speech_like_at(8_000, milliseconds)
}

/// The same at 16 kHz.
pub(crate) fn wide_speech_like(milliseconds: usize) -> Vec<i16> {
    speech_like_at(16_000, milliseconds)
}

fn speech_like_at(sample_rate_hz: usize, milliseconds: usize) -> Vec<i16> {
    let sample = |index: usize| {
        let time = index as f64 / sample_rate_hz as f64;
        let wave = |hz: f64| (std::f64::consts::TAU * hz * time).sin();
        let voice = wave(120.0) + 0.7 * wave(480.0) + 0.5 * wave(720.0) + 0.2 * wave(1_200.0) + 0.1 * wave(2_400.0);
        (voice * (0.6 + 0.4 * wave(4.0)) * 6_000.0) as i16
    };
    (0..milliseconds * sample_rate_hz / 1_000).map(sample).collect()
}

/// The bytes of a hexadecimal text; white space is for the reader.
pub(crate) fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u32> =
        text.chars().filter(|digit| !digit.is_whitespace()).map(|digit| digit.to_digit(16).unwrap()).collect();
    digits.chunks(2).map(|pair| (pair[0] * 16 + pair[1]) as u8).collect()
}
