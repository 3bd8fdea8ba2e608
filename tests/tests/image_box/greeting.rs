//! A call from this machine into the emulated box, over forwarded UDP: is the greeting heard, and understood?

use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// What the stick brings: the box is behind the emulator's address translation, with few ports forwarded.
pub(crate) const CONFIGURATION: &str = r#"[sip]
address = "0.0.0.0"
public_address = "127.0.0.1"
# The emulator's side of that translation, by which the caller comes.
guests = ["127.0.0.0/8", "10.0.2.0/24"]

[calls]
concurrent_limit = 4

[media]
first_port = 20000
last_port = 20007
"#;

/// What a caller heard.
pub(crate) struct Greeting {
    length: Duration,
    loudest_dbov: f32,
    /// What whisper made of it on this machine, which has to have the model.
    text: String,
}

impl Greeting {
    pub(crate) fn row(&self) -> String {
        let Greeting { length, loudest_dbov, text } = self;
        format!("{} s recorded, loudest second {loudest_dbov:.0} dBov; whisper: “{text}”", length.as_secs())
    }

    /// Whether most words of the sample office's first sentences are in it.
    pub(crate) fn is_understood(&self) -> bool {
        let office = daemon::office::sample::office().unwrap();
        let words = |text: &str| -> Vec<String> {
            let lower = text.to_lowercase();
            lower
                .split(|letter: char| !letter.is_alphanumeric())
                .filter(|word| !word.is_empty())
                .map(str::to_owned)
                .collect()
        };
        let heard = words(&self.text);
        let expected = words(&office.disclosure);
        expected.iter().filter(|word| heard.contains(word)).count() * 3 >= expected.len() * 2
    }
}

/// Calls the box and waits for it to speak.
pub(crate) fn call(folder: &Path, port: u16) -> Greeting {
    let recording = folder.join("greeting.wav");
    let mut caller = Command::new(super::PROGRAM);
    caller.args(["call", &format!("sip:office@127.0.0.1:{port}"), "--press", "0", "--record"]).arg(&recording);
    let said = caller.output().unwrap();
    let clip = audio::wav::read(&recording).unwrap_or_else(|error| {
        panic!("{error}: {}{}", String::from_utf8_lossy(&said.stdout), String::from_utf8_lossy(&said.stderr))
    });
    let length = Duration::from_secs_f64(clip.samples.len() as f64 / f64::from(clip.sample_rate.hz()));
    Greeting { length, loudest_dbov: loudest_second(&clip), text: transcript(&clip) }
}

fn loudest_second(clip: &audio::wav::Clip) -> f32 {
    let second = clip.sample_rate.hz() as usize;
    clip.samples.chunks(second).map(audio::dsp::level::rms_dbov).fold(f32::NEG_INFINITY, f32::max)
}

fn transcript(clip: &audio::wav::Clip) -> String {
    let store = models::Store::open(models::Store::default_folder().unwrap()).unwrap();
    let mut engine = models::load_speech_to_text(&store, "whisper-tiny.en", 2)
        .unwrap_or_else(|error| panic!("{error}; `offhook models fetch` fetches it"));
    let wide =
        audio::dsp::resample::resample(&clip.samples, clip.sample_rate, audio::time::SampleRate::WIDE_BAND).unwrap();
    let samples: Vec<f32> = wide.iter().map(|sample| f32::from(*sample) / 32_768.0).collect();
    engine.transcribe(&samples, &models::TranscribeOptions::default()).unwrap().text
}
