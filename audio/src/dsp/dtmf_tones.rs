//! Keypad digits heard in the sound itself (ITU-T Q.23, Q.24), by the Goertzel algorithm: the last resort, for peers
//! that agree to no `telephone-event` (RFC 4733).
//!
//! Sound is judged in blocks of 102 samples (12.75 ms). A block is a key if one row and one column tone are loud enough,
//! of similar level, far above the other tones of their group, and together almost all there is: which speech, having
//! harmonics, is not. A key counts once it has filled two blocks in a row, and it is over after three without it: 40 ms of
//! silence spoil three blocks wherever they begin, a gap of 10 ms no more than two.
//!
//! Left out on purpose: Q.24's rule that tones off by more than 3.5 % are no key, which needs longer blocks than the
//! shortest keys last. Codecs that model speech (G.729, AMR) bend tones too much for any detector.

use std::f32::consts::TAU;

use super::tone::{COLUMNS, KEYPAD, ROWS};
use crate::time::{Frame, SampleRate};

/// Short enough for two whole blocks in a key of 40 ms wherever it begins, long enough to tell the rows apart.
const BLOCK_SAMPLES: usize = 102;

/// Blocks in a row that begin a key, and without it that end it.
const PRESS_BLOCKS: u32 = 2;
const RELEASE_BLOCKS: u32 = 3;

/// Mean square of the weakest tone that counts: −40 dBov, below what any line makes of a key.
const MIN_POWER: f32 = 1.07e5;

/// The column tone may be stronger than the row tone by 4 dB, the row tone than the column tone by 8 dB (Q.24).
const MAX_COLUMN_TWIST: f32 = 2.51;
const MAX_ROW_TWIST: f32 = 6.31;

/// How far the other tones of a group must lie below the strongest: 8 dB.
const MIN_LEAD: f32 = 6.31;

/// Share of the block's power in the two tones.
const MIN_SHARE: f32 = 0.75;

/// Listens for keys in 8 kHz sound. Allocates nothing.
#[derive(Debug, Clone)]
pub struct DtmfDetector {
    rows: [Goertzel; 4],
    columns: [Goertzel; 4],
    energy: f32,
    samples: usize,
    /// The key that is down.
    pressed: Option<char>,
    /// What the latest blocks held if not that, and how many of them.
    candidate: Option<char>,
    candidate_blocks: u32,
}

/// The power of a signal at one frequency.
#[derive(Debug, Clone, Copy)]
struct Goertzel {
    coefficient: f32,
    last: f32,
    before: f32,
}

impl Default for DtmfDetector {
    fn default() -> Self {
        Self::new()
    }
}

impl DtmfDetector {
    /// A detector that has heard nothing.
    pub fn new() -> Self {
        Self {
            rows: ROWS.map(Goertzel::new),
            columns: COLUMNS.map(Goertzel::new),
            energy: 0.0,
            samples: 0,
            pressed: None,
            candidate: None,
            candidate_blocks: 0,
        }
    }

    /// Hears 20 ms; gives the key if one went down in it. A key held down comes once.
    pub fn handle_frame(&mut self, frame: &Frame) -> Option<char> {
        let mut pressed = None;
        for &sample in frame {
            self.add(f32::from(sample));
            if self.samples == BLOCK_SAMPLES {
                let key = self.end_block();
                pressed = self.follow(key).or(pressed);
            }
        }
        pressed
    }

    /// The key that is down.
    pub fn pressed(&self) -> Option<char> {
        self.pressed
    }

    fn add(&mut self, sample: f32) {
        self.rows.iter_mut().chain(&mut self.columns).for_each(|tone| tone.add(sample));
        self.energy += sample * sample;
        self.samples += 1;
    }

    /// The key in the block that is full, and a fresh block.
    fn end_block(&mut self) -> Option<char> {
        let rows = self.rows.each_mut().map(Goertzel::end);
        let columns = self.columns.each_mut().map(Goertzel::end);
        let energy = std::mem::take(&mut self.energy);
        self.samples = 0;
        let (row, row_power) = leader(&rows)?;
        let (column, column_power) = leader(&columns)?;
        let is_key = row_power.min(column_power) >= MIN_POWER
            && column_power <= row_power * MAX_COLUMN_TWIST
            && row_power <= column_power * MAX_ROW_TWIST
            && row_power + column_power >= MIN_SHARE * energy / BLOCK_SAMPLES as f32;
        is_key.then_some(KEYPAD[row][column])
    }

    /// Begins and ends keys; gives the one that just began.
    fn follow(&mut self, key: Option<char>) -> Option<char> {
        if key == self.pressed {
            self.candidate_blocks = 0;
            return None;
        }
        self.candidate_blocks = if key == self.candidate { self.candidate_blocks + 1 } else { 1 };
        self.candidate = key;
        if self.candidate_blocks < if key.is_some() { PRESS_BLOCKS } else { RELEASE_BLOCKS } {
            return None;
        }
        self.candidate_blocks = 0;
        self.pressed = key;
        key
    }
}

impl Goertzel {
    fn new(frequency_hz: f64) -> Self {
        let turn = TAU * frequency_hz as f32 / SampleRate::NARROW_BAND.hz() as f32;
        Self { coefficient: 2.0 * turn.cos(), last: 0.0, before: 0.0 }
    }

    fn add(&mut self, sample: f32) {
        let next = sample + self.coefficient * self.last - self.before;
        (self.last, self.before) = (next, self.last);
    }

    /// Mean square of the tone over the block; begins the next block.
    fn end(&mut self) -> f32 {
        let (last, before) = (std::mem::take(&mut self.last), std::mem::take(&mut self.before));
        let magnitude_squared = last * last + before * before - self.coefficient * last * before;
        // A sine of amplitude a gives (a × samples / 2)², and its mean square is a² / 2.
        magnitude_squared * 2.0 / (BLOCK_SAMPLES * BLOCK_SAMPLES) as f32
    }
}

/// The strongest of a group, if it leads clearly.
fn leader(powers: &[f32; 4]) -> Option<(usize, f32)> {
    let (index, &strongest) = powers.iter().enumerate().max_by(|(_, a), (_, b)| a.total_cmp(b))?;
    let mut others = powers.iter().enumerate().filter(|(other, _)| *other != index);
    others.all(|(_, power)| power * MIN_LEAD <= strongest).then_some((index, strongest))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;
    use crate::codec::{Decoder, Encoder, G711, Law};
    use crate::dsp::call_tones::{CallTone, Country, call_tone};
    use crate::dsp::tone;
    use crate::testing::speech_like;
    use crate::time::FRAME_SAMPLES;

    const KEYS: &str = "0123456789*#ABCD";

    /// The keys heard in `samples`, to which silence is added.
    fn heard(samples: &[i16]) -> String {
        let mut samples = samples.to_vec();
        samples.resize(samples.len().next_multiple_of(FRAME_SAMPLES) + 3 * FRAME_SAMPLES, 0);
        let mut detector = DtmfDetector::new();
        samples.as_chunks().0.iter().filter_map(|frame| detector.handle_frame(frame)).collect()
    }

    fn key(digit: char, milliseconds: u64, level_dbov: f32) -> Vec<i16> {
        tone::dtmf(digit, Duration::from_millis(milliseconds), level_dbov, SampleRate::NARROW_BAND).unwrap()
    }

    fn silence(milliseconds: usize) -> Vec<i16> {
        vec![0; milliseconds * 8]
    }

    /// Two tones of these frequencies and levels, 100 ms.
    fn tones(row: (f64, f32), column: (f64, f32)) -> Vec<i16> {
        let sine = |(hz, level): (f64, f32)| tone::sine(hz, Duration::from_millis(100), level, SampleRate::NARROW_BAND);
        sine(row).iter().zip(sine(column)).map(|(row, column)| row + column).collect()
    }

    #[test]
    fn every_key_is_heard_once_however_long_it_is_held() {
        for digit in KEYS.chars() {
            for milliseconds in [50, 100, 3_000] {
                assert_eq!(heard(&key(digit, milliseconds, -10.0)), digit.to_string(), "{milliseconds} ms");
            }
        }
    }

    #[test]
    fn a_number_typed_fast_comes_whole_through_g711() {
        let typed = "0049301158866#";
        let mut samples = silence(33);
        for digit in typed.chars() {
            samples.extend(key(digit, 50, -15.0));
            samples.extend(silence(50));
        }
        for law in [Law::Mu, Law::A] {
            let (mut coder, mut payload, mut decoded) = (G711::new(law), Vec::new(), Vec::new());
            coder.encode(&samples, &mut payload);
            coder.decode(&payload, &mut decoded);
            assert_eq!(heard(&decoded), typed, "{law:?}");
        }
    }

    #[test]
    fn tolerances_of_q_24() {
        // (name, factor on both frequencies, level of row and column, heard)
        let rows = [
            ("1.5 % too high", 1.015, -12.0, -12.0, "5"),
            ("1.5 % too low", 0.985, -12.0, -12.0, "5"),
            ("column 3 dB stronger", 1.0, -15.0, -12.0, "5"),
            ("column 6 dB stronger", 1.0, -18.0, -12.0, ""),
            ("row 7 dB stronger", 1.0, -12.0, -19.0, "5"),
            ("row 10 dB stronger", 1.0, -12.0, -22.0, ""),
            ("soft", 1.0, -35.0, -35.0, "5"),
            ("too soft", 1.0, -45.0, -45.0, ""),
        ];
        for (name, factor, row_level, column_level, expected) in rows {
            let samples = tones((770.0 * factor, row_level), (1336.0 * factor, column_level));
            assert_eq!(heard(&samples), expected, "{name}");
        }
    }

    #[test]
    fn short_blips_single_tones_and_speech_are_no_keys() {
        assert_eq!(heard(&key('5', 20, -10.0)), "");
        assert_eq!(heard(&tone::beep(SampleRate::NARROW_BAND)), "");
        assert_eq!(heard(&tones((770.0, -10.0), (2_000.0, -10.0))), "");
        assert_eq!(heard(&tones((697.0, -10.0), (941.0, -10.0))), "");
        for tone in [CallTone::Ringback, CallTone::Busy, CallTone::Congestion] {
            let sound = call_tone(Country::UnitedStates, tone, -15.0, SampleRate::NARROW_BAND);
            assert_eq!(heard(&sound), "", "{tone:?}");
        }
        assert_eq!(heard(&speech_like(10_000)), "");
    }

    #[test]
    fn a_short_gap_does_not_split_a_key_and_a_pause_does_wherever_they_are() {
        for offset_samples in (0..BLOCK_SAMPLES).step_by(5) {
            let held = |pause_ms| {
                let start = vec![0; offset_samples];
                [start, key('7', 100, -10.0), silence(pause_ms), key('7', 100, -10.0)].concat()
            };
            assert_eq!(heard(&held(5)), "7", "{offset_samples}");
            assert_eq!(heard(&held(40)), "77", "{offset_samples}");
            let shortest = [vec![0; offset_samples], key('7', 40, -10.0)].concat();
            assert_eq!(heard(&shortest), "7", "{offset_samples}");
        }
    }

    proptest! {
        #[test]
        fn keys_are_heard_over_noise(digit in 0_usize..16, offset in 0_usize..160, seed: u64) {
            let digit = KEYS.as_bytes()[digit] as char;
            let mut samples = vec![0; offset];
            samples.extend(key(digit, 60, -15.0));
            samples.resize(1_600, 0);
            let mut random = seed | 1;
            for sample in &mut samples {
                random ^= random << 13;
                random ^= random >> 7;
                random ^= random << 17;
                // Uniform within ±400: some 20 dB below the key.
                *sample += (random % 801) as i16 - 400;
            }
            prop_assert_eq!(heard(&samples), digit.to_string());
        }

        #[test]
        fn no_sound_panics(samples in prop::collection::vec(any::<i16>(), 0..1_000)) {
            heard(&samples);
        }
    }
}
