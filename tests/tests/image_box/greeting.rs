//! A call from this machine into the emulated box, over forwarded UDP: is the greeting heard, and understood?

use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// What the stick brings: the box is behind the emulator's address translation, with few ports forwarded.
pub(crate) const CONFIGURATION: &str = r#"[sip]
address = "0.0.0.0"
public_address = "127.0.0.1"

[media]
first_port = 20000
last_port = 20007
"#;
/// Silence is far below; speech and the tone prompt are far above.
const AUDIBLE_DBOV: f32 = -45.0;

/// Calls the box and waits for it to speak; what was heard, for the table.
pub(crate) fn call(folder: &Path, port: u16) -> String {
    let recording = folder.join("greeting.wav");
    let mut caller = Command::new(super::PROGRAM);
    caller.args(["call", &format!("sip:office@127.0.0.1:{port}"), "--press", "0", "--record"]).arg(&recording);
    let said = caller.output().unwrap();
    let clip = audio::wav::read(&recording).unwrap_or_else(|error| {
        panic!("{error}: {}{}", String::from_utf8_lossy(&said.stdout), String::from_utf8_lossy(&said.stderr))
    });
    let level = loudest_second(&clip);
    assert!(level > AUDIBLE_DBOV, "nothing is heard: the loudest second has {level:.0} dBov");
    let length = Duration::from_secs_f64(clip.samples.len() as f64 / f64::from(clip.sample_rate.hz()));
    let heard = understood(&clip).map_or("not transcribed: no model here".to_owned(), |text| format!("“{text}”"));
    format!("{:.0} s recorded, loudest second {level:.0} dBov; {heard}", length.as_secs_f64())
}

fn loudest_second(clip: &audio::wav::Clip) -> f32 {
    let second = clip.sample_rate.hz() as usize;
    clip.samples.chunks(second).map(audio::dsp::level::rms_dbov).fold(f32::NEG_INFINITY, f32::max)
}

/// What whisper hears in it, where this machine has the model.
fn understood(clip: &audio::wav::Clip) -> Option<String> {
    let store = models::Store::open(models::Store::default_folder()?).ok()?;
    let mut engine = models::load_speech_to_text(&store, "whisper-tiny.en", 2).ok()?;
    let wide =
        audio::dsp::resample::resample(&clip.samples, clip.sample_rate, audio::time::SampleRate::WIDE_BAND).unwrap();
    let samples: Vec<f32> = wide.iter().map(|sample| f32::from(*sample) / 32_768.0).collect();
    Some(engine.transcribe(&samples, &models::TranscribeOptions::default()).unwrap().text)
}
