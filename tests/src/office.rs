//! An office with three desk phones (baresip) at one box, for tests of what they do with each other.

use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::offhook::Offhook;
use crate::softphone::{Profile, Softphone};

/// What the phones say: far from each other and from the notes that are played on hold.
pub const TONES_HZ: [u32; 3] = [700, 1_100, 1_500];

/// A box with three extensions, and their passwords.
#[derive(Debug)]
pub struct Office {
    /// Its files.
    pub folder: tempfile::TempDir,
    /// The box.
    pub offhook: Offhook,
    /// Of its extensions, in their order.
    pub passwords: Vec<String>,
}

/// The one of the three that may supervise.
pub const SUPERVISOR: usize = 2;
/// The extensions.
pub const EXTENSIONS: [&str; 3] = ["101", "102", "103"];

impl Office {
    /// Opens it with `more` configuration before that of its extensions.
    ///
    /// # Panics
    /// When the box does not start.
    pub fn open(program: &str, more: &str) -> Office {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("offhook.toml");
        let extensions: String = EXTENSIONS
            .iter()
            .enumerate()
            .map(|(index, number)| {
                format!(
                    "[[extensions]]\nnumber = '{number}'\nname = 'Desk {number}'\nring_timeout_seconds = 5\n\
                     may_supervise = {}\n",
                    index == SUPERVISOR
                )
            })
            .collect();
        std::fs::write(&file, format!("{more}\n{extensions}")).unwrap();
        let offhook = Offhook::start_wordless(Path::new(program), folder.path(), &file, &["log.filter=debug"]);
        let password = |number: &&str| {
            let output = offhook.run(&["extensions", "password", number, "--json"]);
            let told: Value = serde_json::from_slice(&output.stdout).unwrap();
            told["password"].as_str().unwrap().to_owned()
        };
        let passwords = EXTENSIONS.iter().map(password).collect();
        Office { folder, offhook, passwords }
    }

    /// How the phone of the extension at `index` is set up.
    pub fn profile(&self, index: usize) -> Profile<'_> {
        Profile::new(EXTENSIONS[index], &self.passwords[index], self.offhook.address(), TONES_HZ[index])
    }

    /// Its phone, registered.
    ///
    /// # Panics
    /// When it is not let in.
    pub fn phone(&self, index: usize) -> Softphone {
        Softphone::start(&self.folder.path().join(EXTENSIONS[index]), &self.profile(index))
    }

    /// What phones dial to reach `number`.
    pub fn uri(&self, number: &str) -> String {
        format!("sip:{number}@{}", self.offhook.address())
    }
}

/// Lets a call go on: real phones need real time.
///
/// # Panics
/// Never: the time passes.
pub fn talk(duration: Duration) {
    let until = Instant::now() + duration;
    crate::poll(duration + Duration::from_secs(30), || (Instant::now() >= until).then_some(()));
}
