//! What somebody on hold hears: a file of the office's, or a few quiet notes, so that nobody takes the line for dead.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use audio::dsp::resample::resample;
use audio::dsp::tone::sine;
use audio::playout::ClipId;

use crate::speaker::SPEECH_SAMPLE_RATE;

/// Clips that are neither sentences nor tones of a conversation have this bit, so that it never takes one for its own.
const CLIP_BIT: u64 = 1 << 62;
/// The clip of music; there is only one at a time on a leg.
pub(super) const MUSIC: ClipId = ClipId(CLIP_BIT);
/// The clip of what is said in between.
pub(super) const ANNOUNCEMENT: ClipId = ClipId(CLIP_BIT | 1);
/// The clip of ringing; never beside music.
pub(super) const RINGING: ClipId = ClipId(CLIP_BIT | 2);

/// Longer files would only cost memory: whoever waits for ten minutes does not hear that it begins again.
const LONGEST: Duration = Duration::from_secs(600);
/// C major, up and down, as quiet as speech of a colleague in the next room.
const NOTES_HZ: [f64; 8] = [261.63, 329.63, 392.0, 523.25, 392.0, 329.63, 293.66, 349.23];
const NOTE: Duration = Duration::from_millis(450);
const REST: Duration = Duration::from_millis(2_000);
const LEVEL_DBOV: f32 = -32.0;

/// The samples, at 8 kHz.
///
/// # Errors
/// A file that is not a WAV of the kinds [`audio::wav`] reads, is empty or longer than ten minutes.
pub fn hold_music(file: Option<&Path>) -> anyhow::Result<Arc<[i16]>> {
    let Some(file) = file else { return Ok(notes()) };
    file_sound(file, "calls.hold_music_file", LONGEST)
}

/// The samples of a WAV file, at 8 kHz; `what` it is for goes into errors.
///
/// # Errors
/// A file that is not a WAV of the kinds [`audio::wav`] reads, is empty or longer than `longest`.
pub(super) fn file_sound(file: &Path, what: &str, longest: Duration) -> anyhow::Result<Arc<[i16]>> {
    let clip = audio::wav::read(file).with_context(|| format!("{what}: {}", file.display()))?;
    anyhow::ensure!(!clip.samples.is_empty(), "{what}: {} is empty", file.display());
    let length = clip.sample_rate.duration_of(clip.samples.len() as u64);
    let seconds = longest.as_secs();
    anyhow::ensure!(length <= longest, "{what}: {} is longer than {seconds} seconds", file.display());
    Ok(resample(&clip.samples, clip.sample_rate, SPEECH_SAMPLE_RATE)?.into())
}

fn notes() -> Arc<[i16]> {
    let silence = usize::try_from(SPEECH_SAMPLE_RATE.samples_in(REST)).unwrap_or_default();
    let mut samples = Vec::new();
    for frequency in NOTES_HZ {
        samples.extend(sine(frequency, NOTE, LEVEL_DBOV, SPEECH_SAMPLE_RATE));
    }
    samples.resize(samples.len() + silence, 0);
    samples.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_file_there_are_notes_that_are_heard_but_not_loud() {
        let music = hold_music(None).unwrap();
        let second = usize::try_from(SPEECH_SAMPLE_RATE.hz()).unwrap();
        let level = audio::dsp::level::rms_dbov(&music[..second]);
        assert!((-36.0..-28.0).contains(&level), "{level} dBov");
    }

    #[test]
    fn a_file_that_cannot_be_played_is_named() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "no music").unwrap();
        let error = format!("{:#}", hold_music(Some(file.path())).unwrap_err());
        assert!(error.contains("hold_music_file") && error.contains("WAV"), "{error}");
    }
}
