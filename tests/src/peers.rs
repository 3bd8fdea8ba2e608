//! What the tests with other programs share.

use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::offhook::Offhook;

/// Whether `program` can be started; says loudly that a test is skipped if not.
pub fn is_installed(program: &str) -> bool {
    let found = Command::new("which").arg(program).stdout(Stdio::null()).status().is_ok_and(|status| status.success());
    if !found {
        crate::shared::say_skipped(&format!("{program} is not installed (.ci/setup test installs it)"));
    }
    found
}

/// Speech for a caller: the product's own voice where it is built in, else tones that are loud like speech.
///
/// # Panics
/// When it cannot be made.
pub fn wav_of_speech(program: &str, path: &Path, text: &str) {
    if cfg!(feature = "engines") {
        let fetched = Command::new(program).args(["models", "fetch"]).stdout(Stdio::null()).status().unwrap();
        assert!(fetched.success());
        let said = Command::new(program).args(["say", text, "--output"]).arg(path).stdout(Stdio::null()).status();
        assert!(said.unwrap().success());
    } else {
        let rate = audio::time::SampleRate::NARROW_BAND;
        let tone = audio::dsp::tone::sine(440.0, std::time::Duration::from_secs(2), -15.0, rate);
        audio::wav::write(path, &tone, rate).unwrap();
    }
}

/// The latest call as `offhook calls show --json` has it.
///
/// # Panics
/// When there is none.
pub fn last_call(offhook: &Offhook) -> Value {
    let list: Value =
        serde_json::from_slice(&offhook.run(&["calls", "list", "--limit", "1", "--json"]).stdout).unwrap();
    let id = list[0]["call_id"].as_str().unwrap_or_else(|| panic!("no call: {list}")).to_owned();
    serde_json::from_slice(&offhook.run(&["calls", "show", &id, "--json"]).stdout).unwrap()
}
