//! Sounds that are nobody's words: noises, coughs, music. All from a seed, 8 kHz, ±1.

use std::f32::consts::TAU;

use rand::RngExt as _;
use rand::rngs::ChaCha8Rng;

/// Of all sounds here.
const SAMPLE_RATE: f32 = 8_000.0;

/// All frequencies alike.
pub fn white(count: usize, random: &mut ChaCha8Rng) -> Vec<f32> {
    (0..count).map(|_| random.random_range(-1.0..1.0)).collect()
}

/// Voss and McCartney's sum of slower and slower noises, as Kellet's filter does it.
pub fn pink(white: &[f32]) -> Vec<f32> {
    let mut slow = [0.0_f32; 3];
    let mut sample = |white: &f32| {
        slow[0] = 0.997_65 * slow[0] + white * 0.099_046;
        slow[1] = 0.963 * slow[1] + white * 0.296_516_4;
        slow[2] = 0.57 * slow[2] + white * 1.052_691_3;
        slow.iter().sum::<f32>() + white * 0.184_8
    };
    white.iter().map(&mut sample).collect()
}

/// A cough: one or two bursts of breath without a tone, each 120 to 220 ms with a sharp beginning.
pub fn cough(random: &mut ChaCha8Rng) -> Vec<f32> {
    let mut sound = Vec::new();
    for _ in 0..random.random_range(1..=2) {
        let count = random.random_range(960..1_760);
        let breath = pink(&white(count, random));
        let shaped = |(index, sample): (usize, f32)| {
            let time = index as f32 / count as f32;
            sample * (time * 20.0).min(1.0) * (-4.0 * time).exp()
        };
        sound.extend(breath.into_iter().enumerate().map(shaped));
        sound.resize(sound.len() + 640, 0.0);
    }
    sound
}

/// Music as it waits in a telephone: a chord of three plucked notes with their harmonics every half second, over a bass.
pub fn music(count: usize, random: &mut ChaCha8Rng) -> Vec<f32> {
    const SCALE_HZ: [f32; 8] = [261.6, 293.7, 329.6, 349.2, 392.0, 440.0, 493.9, 523.3];
    let mut sound = vec![0.0; count];
    for (beat, start) in (0..count).step_by(4_000).enumerate() {
        let root = random.random_range(0..SCALE_HZ.len());
        let chord = [root, root + 2, root + 4].map(|step| SCALE_HZ[step % SCALE_HZ.len()]);
        let bass = (beat % 2 == 0).then_some(SCALE_HZ[root] / 2.0);
        for hz in chord.into_iter().chain(bass) {
            for (index, sample) in sound[start..].iter_mut().take(12_000).enumerate() {
                let time = index as f32 / SAMPLE_RATE;
                let tone = |harmonic: f32| (TAU * hz * harmonic * time).sin() / (harmonic * harmonic);
                *sample += (-3.0 * time).exp() * (tone(1.0) + tone(2.0) + tone(3.0));
            }
        }
    }
    sound
}

/// Voices at once, each beginning elsewhere in its sentence and going round.
pub fn babble(count: usize, voices: &[Vec<f32>]) -> Vec<f32> {
    let mut sum = vec![0.0; count];
    for (number, voice) in voices.iter().enumerate().filter(|(_, voice)| !voice.is_empty()) {
        let gain = 1.0 / rms(voice).max(f32::MIN_POSITIVE);
        for (at, sample) in sum.iter_mut().enumerate() {
            *sample += gain * voice[(at + number * 3_000) % voice.len()];
        }
    }
    sum
}

/// The amplitude of a level in decibels; of full scale for dBov.
pub fn amplitude(level_db: f32) -> f32 {
    10_f32.powf(level_db / 20.0)
}

/// Root mean square; NaN of nothing.
pub fn rms(samples: &[f32]) -> f32 {
    (samples.iter().map(|sample| sample * sample).sum::<f32>() / samples.len() as f32).sqrt()
}

/// The same sound at this level, in dBov.
pub fn at_level(mut samples: Vec<f32>, level_dbov: f32) -> Vec<f32> {
    let gain = amplitude(level_dbov) / rms(&samples).max(f32::MIN_POSITIVE);
    samples.iter_mut().for_each(|sample| *sample *= gain);
    samples
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng as _;

    #[test]
    fn sounds_have_the_level_asked_for_and_the_same_seed_gives_the_same() {
        let sounds = |seed| {
            let mut random = ChaCha8Rng::seed_from_u64(seed);
            [white(8_000, &mut random), cough(&mut random), music(16_000, &mut random)]
        };
        assert_eq!(sounds(1), sounds(1));
        assert_ne!(sounds(1), sounds(2));
        for sound in sounds(3) {
            let level_dbov = 20.0 * rms(&at_level(sound, -23.0)).log10();
            assert!((level_dbov + 23.0).abs() < 0.1, "{level_dbov}");
        }
    }

    #[test]
    fn babble_is_of_all_voices() {
        let voices = vec![vec![0.5, -0.5, 0.5, -0.5], vec![0.1, 0.1, 0.1, 0.1]];
        assert_eq!(babble(6, &voices), [2.0, 0.0, 2.0, 0.0, 2.0, 0.0], "each as loud as the other");
    }
}
