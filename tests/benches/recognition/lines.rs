//! People's speech on good and bad lines.

use audio::codec::CodecKind;
use audio::dsp::resample::i16_of;
use audio::{FRAME_SAMPLES, Frame, SILENT_FRAME};
use rand::SeedableRng as _;
use rand::rngs::ChaCha8Rng;
use tests::noise::{amplitude, pink, rms, white};
use tests::recordings::Clip;

/// Frames of the line alone before a clip.
pub(super) const LEAD_FRAMES: usize = 150;
/// Level at which the speech arrives. dBov.
const SPEECH_DBOV: f32 = -23.0;
/// Clips that talk at once in a babble.
const BABBLERS: usize = 6;
/// Where a prompt's first sound comes after the start of the line.
const DELAYS_MS: [usize; 4] = [20, 40, 60, 80];

/// What a line adds.
#[derive(Clone, Copy)]
enum Adds {
    Nothing,
    /// Mains of so many hertz with its third harmonic, and a constant.
    Hum(f32),
    /// At so many decibels below the speech.
    White(f32),
    Pink(f32),
    Babble(f32),
    /// Our prompt, so many decibels below itself.
    Echo(f32),
}

/// One kind of line.
pub(super) struct Line {
    pub(super) name: &'static str,
    adds: Adds,
    speech_dbov: f32,
}

const fn line(name: &'static str, adds: Adds) -> Line {
    Line { name, adds, speech_dbov: SPEECH_DBOV }
}

/// All kinds.
pub(super) const LINES: &[Line] = &[
    line("clean", Adds::Nothing),
    Line { name: "-45 dBov", adds: Adds::Nothing, speech_dbov: -45.0 },
    line("DC, 50 Hz", Adds::Hum(50.0)),
    line("DC, 60 Hz", Adds::Hum(60.0)),
    line("white 15", Adds::White(15.0)),
    line("white 5", Adds::White(5.0)),
    line("pink 15", Adds::Pink(15.0)),
    line("pink 5", Adds::Pink(5.0)),
    line("babble 15", Adds::Babble(15.0)),
    line("babble 5", Adds::Babble(5.0)),
    line("echo -15", Adds::Echo(15.0)),
    line("echo -25", Adds::Echo(25.0)),
];

/// What the box hears, and what it said just before each of these frames.
pub(super) struct Sound {
    pub(super) heard: Vec<Frame>,
    pub(super) said: Vec<Frame>,
}

impl Line {
    /// Clip `number` on this line, and another moment of it in each `round`.
    pub(super) fn sound(&self, number: usize, round: usize, clips: &[Clip], prompt: &[f32]) -> Sound {
        let lead = LEAD_FRAMES * FRAME_SAMPLES;
        let clip = &clips[number];
        let count = (lead + clip.samples.len()).next_multiple_of(FRAME_SAMPLES) + 10 * FRAME_SAMPLES;
        let level = amplitude(self.speech_dbov) / rms(&clip.samples);
        let mut sum = self.added(count, number, round, clips, prompt);
        for (sample, speech) in sum[lead..].iter_mut().zip(&clip.samples) {
            *sample += speech * level;
        }
        let is_echo = matches!(self.adds, Adds::Echo(_));
        let said = |start: usize| match is_echo {
            true => std::array::from_fn(|index| i16_of(prompt[(start + index) % prompt.len()])),
            false => SILENT_FRAME,
        };
        Sound {
            heard: sum.chunks_exact(FRAME_SAMPLES).map(through_g711).collect(),
            said: (0..count).step_by(FRAME_SAMPLES).map(said).collect(),
        }
    }

    fn added(&self, count: usize, number: usize, round: usize, clips: &[Clip], prompt: &[f32]) -> Vec<f32> {
        let mut random = ChaCha8Rng::seed_from_u64((1_000 * round + number) as u64);
        let below = |snr_db: f32, noise: Vec<f32>| {
            let gain = amplitude(self.speech_dbov - snr_db) / rms(&noise);
            noise.into_iter().map(|sample| sample * gain).collect()
        };
        match self.adds {
            Adds::Nothing => vec![0.0; count],
            Adds::Hum(hz) => {
                let wave = |index: usize, hz: f32| (std::f32::consts::TAU * hz * index as f32 / 8_000.0).sin();
                (0..count).map(|at| 0.015 + 0.08 * wave(at, hz) + 0.025 * wave(at, 3.0 * hz)).collect()
            }
            Adds::White(snr_db) => below(snr_db, white(count, &mut random)),
            Adds::Pink(snr_db) => below(snr_db, pink(&white(count, &mut random))),
            Adds::Babble(snr_db) => {
                let others = (1..=BABBLERS).map(|step| &clips[(number + 3 * step) % clips.len()]);
                let mut sum = vec![0.0; count];
                for (other, clip) in others.enumerate() {
                    let gain = 1.0 / rms(&clip.samples);
                    for (at, sample) in sum.iter_mut().enumerate() {
                        *sample += gain * clip.samples[(at + other * 3_000 + round * 7_000) % clip.samples.len()];
                    }
                }
                below(snr_db, sum)
            }
            Adds::Echo(loss_db) => {
                let delay = DELAYS_MS[(number + round) % DELAYS_MS.len()] * 8;
                // A hybrid's way back is not only later and weaker.
                let taps = [(0, 0.7), (3, 0.4), (7, -0.3), (15, 0.2)];
                let echo = |at: usize| {
                    let tap =
                        |(late, gain)| at.checked_sub(delay + late).map(|from| gain * prompt[from % prompt.len()]);
                    taps.into_iter().filter_map(tap).sum::<f32>() * amplitude(-loss_db)
                };
                (0..count).map(echo).collect()
            }
        }
    }
}

fn through_g711(samples: &[f32]) -> Frame {
    let samples: Vec<i16> = samples.iter().map(|sample| i16_of(*sample)).collect();
    let (mut payload, mut heard) = (Vec::new(), Vec::new());
    CodecKind::Pcmu.encoder().encode(&samples, &mut payload);
    CodecKind::Pcmu.decoder().decode(&payload, &mut heard);
    heard.try_into().unwrap()
}
