//! Does anything come out of the box's own sound card: a quiet tone of half a second.

use std::time::{Duration, Instant};

use audio::dsp::tone::sine;
use audio::{FRAME_DURATION, FRAME_SAMPLES};

use super::{Finding, Verdict};
use crate::config::Config;
use crate::io::sound_card::{self, SoundCardError};
use crate::speaker::SPEECH_SAMPLE_RATE;

const TONE_HZ: f64 = 440.0;
const TONE: Duration = Duration::from_millis(500);
const LEVEL_DBOV: f32 = -30.0;
/// By then the card has taken what it was given last.
const REST: Duration = Duration::from_millis(200);

/// Plays the tone on the output that paging uses, and on that of the monitor jack. Without paging a card is not missed.
pub(super) fn outputs(config: &Config) -> Vec<Finding> {
    let local = &config.local_audio;
    let paging = match (played(local.device.as_deref(), "local_audio.device"), config.features.paging_code.is_empty()) {
        (Err((detail, _)), true) => {
            Finding::good("sound card", format!("{detail}; not needed without features.paging_code"))
        }
        (played, _) => finding("sound card", played),
    };
    let monitor = local.monitor_device.as_deref();
    let monitor = monitor.map(|device| finding("monitor jack", played(Some(device), "local_audio.monitor_device")));
    std::iter::once(paging).chain(monitor).collect()
}

fn finding(name: &'static str, played: Result<String, (String, String)>) -> Finding {
    match played {
        Ok(detail) => Finding::good(name, detail),
        Err((detail, remedy)) => Finding::wrong(name, Verdict::Degraded, detail, remedy),
    }
}

/// What was seen; what is wrong and what to do. `key` is where the output is chosen.
fn played(device: Option<&str>, key: &str) -> Result<String, (String, String)> {
    let name = device.unwrap_or("the default output");
    let outputs = match sound_card::outputs() {
        Ok(outputs) if outputs.is_empty() => "no outputs".to_owned(),
        Ok(outputs) => format!("outputs {}", outputs.join(", ")),
        Err(error @ SoundCardError::NotBuiltIn) => {
            let remedy = "install a build with the cargo feature local-audio, or use neither features.paging_code nor \
                          local_audio.monitor_device";
            return Err((error.to_string(), remedy.to_owned()));
        }
        Err(error) => format!("outputs unknown: {error}"),
    };
    let mut playback = sound_card::open(device).map_err(|error| {
        let remedy = format!("plug one in, set {key} to one of the outputs, and let this user use it (group audio)");
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
            format!("stop what else uses it, or choose another: {key}"),
        )),
        _ => Ok(format!("{name} has played a quiet tone: was it heard? {outputs}")),
    }
}
