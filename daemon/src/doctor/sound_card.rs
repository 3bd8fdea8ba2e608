//! Does anything come out of the box's own sound card: a quiet tone of half a second.

use std::time::{Duration, Instant};

use audio::dsp::tone::sine;
use audio::{FRAME_DURATION, FRAME_SAMPLES};

use super::{Finding, Verdict};
use crate::config::Config;
use crate::io::sound_card::{self, SoundCardError};
use crate::speaker::SPEECH_SAMPLE_RATE;

const NAME: &str = "sound card";
const TONE_HZ: f64 = 440.0;
const TONE: Duration = Duration::from_millis(500);
const LEVEL_DBOV: f32 = -30.0;
/// By then the card has taken what it was given last.
const REST: Duration = Duration::from_millis(200);

/// Plays the tone on the output that paging uses. Without paging a card is not missed.
pub(super) fn output(config: &Config) -> Finding {
    let is_wanted = !config.features.paging_code.is_empty();
    match played(config.local_audio.device.as_deref()) {
        Ok(detail) => Finding::good(NAME, detail),
        Err((detail, _)) if !is_wanted => {
            Finding::good(NAME, format!("{detail}; not needed without features.paging_code"))
        }
        Err((detail, remedy)) => Finding::wrong(NAME, Verdict::Degraded, detail, remedy),
    }
}

/// What was seen; what is wrong and what to do.
fn played(device: Option<&str>) -> Result<String, (String, &'static str)> {
    let name = device.unwrap_or("the default output");
    let outputs = match sound_card::outputs() {
        Ok(outputs) if outputs.is_empty() => "no outputs".to_owned(),
        Ok(outputs) => format!("outputs {}", outputs.join(", ")),
        Err(error @ SoundCardError::NotBuiltIn) => {
            return Err((
                error.to_string(),
                "install a build with the cargo feature local-audio, or set features.paging_code = ''",
            ));
        }
        Err(error) => format!("outputs unknown: {error}"),
    };
    let mut playback = sound_card::open(device).map_err(|error| {
        let remedy =
            "plug one in, set local_audio.device to one of the outputs, and let this user use it (group audio)";
        (format!("{name} cannot be used: {error}; {outputs}"), remedy)
    })?;
    let begun = Instant::now();
    let tone = sine(TONE_HZ, TONE, LEVEL_DBOV, SPEECH_SAMPLE_RATE);
    // As a call would bring it.
    for (index, frame) in (0..).zip(tone.as_chunks::<FRAME_SAMPLES>().0) {
        std::thread::sleep((FRAME_DURATION * index).saturating_sub(begun.elapsed()));
        playback.play(frame);
    }
    std::thread::sleep(REST);
    match playback.taken_samples() {
        0 => Err((
            format!("{name} was opened, but takes no sound; {outputs}"),
            "stop what else uses it, or choose another: local_audio.device",
        )),
        _ => Ok(format!("{name} has played a quiet tone: was it heard? {outputs}")),
    }
}
