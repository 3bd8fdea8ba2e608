//! The running service without models: callers speak in tones, and what the box hears and says follows a script.

use std::net::UdpSocket;
use std::path::Path;
use std::time::Duration;

use daemon::caller::Line;
use daemon::caller::turn_taker::Cue;
use daemon::config::Config;
use daemon::engines::Engines;
use models::{LevelVad, ScriptedReply, ScriptedStt, ScriptedTts, utterance_tone};

/// A line of a caller who speaks in tones: tone number n is what the recogniser of [`engines`] hears as reply n.
pub fn tone(number: usize, cue: Cue) -> Line {
    let samples = utterance_tone(number, Duration::from_millis(1_200), 8_000).into();
    Line::Say { label: format!("tone {number}"), samples, cue }
}

/// Engines that hear these sentences.
pub fn engines(heard: &[&str]) -> Engines {
    Engines {
        speech_to_text: Some(Box::new(ScriptedStt::by_utterance(heard.iter().map(|text| ScriptedReply::from(*text))))),
        second_hearing: None,
        text_to_speech: Some(Box::new(ScriptedTts::new(22_050))),
        embedding: None,
        voice_activity: Box::new(|| Box::new(LevelVad::new(-40.0))),
        degraded: Vec::new(),
    }
}

/// The sample office on a free port, with its state in `folder`.
///
/// # Panics
/// When this machine has no free port.
pub fn config(folder: &Path) -> Config {
    let mut config = Config::default();
    config.sip.port = 0;
    config.storage.directory = Some(folder.to_owned());
    // Each test process has ports of its own.
    let probe = UdpSocket::bind("127.0.0.1:0").unwrap();
    let first = probe.local_addr().unwrap().port().clamp(2_000, 60_000) & !1;
    config.media.first_port = first;
    config.media.last_port = first + 199;
    config.calls.ring_milliseconds = 20;
    config
}
