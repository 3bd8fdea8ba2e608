//! `[recording]`: which calls are kept as sound.

use serde::{Deserialize, Serialize};

use super::ConfigMistake;

/// `[recording]`: off unless the office wants it, since the law of most places wants to be asked first. Messages for the
/// office are not meant: whoever leaves one knows it.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Recording {
    /// Talks with the attendant. The office's disclosure has to say so.
    pub attendant_enabled: bool,
    /// Talks between people. Both hear the announcement first.
    pub people_enabled: bool,
    /// What both hear before a recorded talk between people; two tones without a voice.
    pub announcement: String,
    /// What an extension presses to pause the recording of its talk, and to go on: for card numbers.
    pub pause_code: String,
}

impl Default for Recording {
    fn default() -> Recording {
        Recording {
            attendant_enabled: false,
            people_enabled: false,
            announcement: "This call is recorded.".into(),
            pause_code: "*1".into(),
        }
    }
}

/// Every mistake, each with its key.
pub(super) fn check(recording: &Recording, mistakes: &mut Vec<ConfigMistake>) {
    let code = &recording.pause_code;
    let is_code = (1..=4).contains(&code.len()) && code.bytes().all(|key| key.is_ascii_digit() || b"*#".contains(&key));
    if !code.is_empty() && !is_code {
        let expected = "1 to 4 keys of a telephone, or nothing".to_owned();
        mistakes.push(ConfigMistake::new("recording.pause_code", format!("{code:?}"), expected));
    }
    if recording.people_enabled && recording.announcement.trim().is_empty() {
        let expected = "a sentence: people have to know that they are recorded".to_owned();
        mistakes.push(ConfigMistake::new("recording.announcement", "nothing", expected));
    }
}
