//! How like what was said what was heard is: the same sound, later, through codecs and buffers.

/// Windows that are compared: 400 ms.
const WINDOWS_PER_SECOND: f64 = 2.5;
/// Quieter windows say nothing: -45 dBov.
const LEAST_RMS: f64 = 184.0;
/// How far a window may lie from where the one before was found: buffers stretch and shrink sound by 20 ms at a time.
const DRIFT_MS: usize = 60;

/// The median, over the windows of `said` in which something is heard, of the greatest normalised cross-correlation with
/// `heard`, in which it comes at most 5 s later and at most 60 ms earlier. 0 to 1; 1 is the same wave. Both are at
/// `rate_hz`.
///
/// # Panics
/// When nothing is said.
pub fn likeness(said: &[i16], heard: &[i16], rate_hz: usize) -> f64 {
    let window = (rate_hz as f64 / WINDOWS_PER_SECOND) as usize;
    let drift = DRIFT_MS * rate_hz / 1_000;
    let mut expected = None;
    let mut likenesses = Vec::new();
    for (index, part) in said.chunks_exact(window).enumerate() {
        if energy(part).sqrt() < LEAST_RMS * (window as f64).sqrt() {
            continue;
        }
        let begin = index * window;
        let (from, to) = match expected {
            // Where the last one lay is where its successor is looked for.
            Some((was, place)) => (place + begin - was, place + begin - was + drift),
            None => (begin, begin + 5 * rate_hz),
        };
        let places = (from.saturating_sub(drift)..=to).filter(|place| place + window <= heard.len());
        let Some((place, likeness)) =
            places.map(|place| (place, alike(part, &heard[place..place + window]))).max_by(|a, b| a.1.total_cmp(&b.1))
        else {
            likenesses.push(0.0);
            continue;
        };
        // Only what was surely found leads the way.
        if likeness > 0.6 {
            expected = Some((begin, place));
        }
        likenesses.push(likeness);
    }
    likenesses.sort_by(f64::total_cmp);
    likenesses[likenesses.len() / 2]
}

fn energy(samples: &[i16]) -> f64 {
    samples.iter().map(|sample| f64::from(*sample).powi(2)).sum()
}

fn alike(one: &[i16], other: &[i16]) -> f64 {
    let product: f64 = one.iter().zip(other).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum();
    let scale = (energy(one) * energy(other)).sqrt();
    if scale == 0.0 { 0.0 } else { product / scale }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noise(seed: u32, length: usize) -> Vec<i16> {
        let mut state = seed;
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            ((state >> 16) as i16) / 4
        };
        (0..length).map(|_| next()).collect()
    }

    #[test]
    fn the_same_sound_later_and_quieter_is_like_and_another_is_not() {
        let said = noise(1, 16_000);
        let mut heard = vec![0; 1_234];
        heard.extend(said[..9_000].iter().map(|sample| sample / 2));
        // 20 ms were left out.
        heard.extend(said[9_160..].iter().map(|sample| sample / 2));
        heard.extend([0; 4_000]);
        assert!(likeness(&said, &heard, 8_000) > 0.99);
        assert!(likeness(&said, &noise(2, 30_000), 8_000) < 0.2);
        assert!(likeness(&said, &said[200..], 8_000) > 0.99, "the recording began later");
        assert!(likeness(&said, &[], 8_000) < 0.01);
    }
}
