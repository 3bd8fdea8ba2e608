//! `[update]` and `[machine]`: updates of the whole box, and the folder of what is the machine's own.

use std::path::PathBuf;

use jiff::civil::time;
use serde::{Deserialize, Serialize};

use super::ConfigMistake;
use crate::update::window::Window;

/// `[update]`: where updates come from, when they are installed, which programs do it.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Update {
    /// When `offhook update install --scheduled` may install and reboot, in the office's time zone.
    ///
    /// By default the hours in which an office is called least.
    pub window: Window,
    /// How long an installation waits for calls to end before it is put off. 0 to 240.
    pub call_wait_minutes: u32,
    /// Folders where USB sticks appear; `*.raucb` is looked for in them and two folders further down.
    pub folders: Vec<PathBuf>,
    /// Where updates are published: an index that ends in `.json`. None: only files, sticks and named addresses.
    ///
    /// Not a bundle itself: its version is known only once it is downloaded, every night anew.
    pub url: Option<String>,
    /// Larger bundles are not downloaded. 1 to 16 000.
    pub download_limit_megabytes: u32,
    /// How long `offhook update confirm` tries until the health check passes. 1 to 280: the box reboots itself out of
    /// a slot that is not confirmed after 300.
    pub confirm_limit_seconds: u32,
    /// The boot loader's variables.
    pub grubenv: PathBuf,
    /// Written when the running slot is confirmed, and gone at the next boot: for units that wait for it.
    pub marker: PathBuf,
    /// Says which version runs (`IMAGE_VERSION=`).
    pub os_release: PathBuf,
    /// RAUC's configuration, if not at its built-in path.
    pub rauc_config: Option<PathBuf>,
    /// The programs that are driven.
    pub programs: Programs,
}

impl Default for Update {
    fn default() -> Update {
        Update {
            window: Window::new(time(2, 0, 0, 0), time(5, 0, 0, 0)),
            call_wait_minutes: 30,
            folders: vec!["/run/media/offhook".into()],
            url: None,
            download_limit_megabytes: 2_000,
            confirm_limit_seconds: 180,
            grubenv: "/boot/efi/grubenv".into(),
            marker: "/run/offhook/slot-confirmed".into(),
            os_release: "/etc/os-release".into(),
            rauc_config: None,
            programs: Programs::default(),
        }
    }
}

/// `[update.programs]`: names in `$PATH` or paths.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Programs {
    /// Verifies and installs bundles.
    pub rauc: PathBuf,
    /// Reads and writes the boot loader's variables.
    pub grub_editenv: PathBuf,
    /// Reboots.
    pub systemctl: PathBuf,
}

impl Default for Programs {
    fn default() -> Programs {
        Programs { rauc: "rauc".into(), grub_editenv: "grub-editenv".into(), systemctl: "systemctl".into() }
    }
}

/// `[machine]`: what belongs to the machine rather than to the daemon.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Machine {
    /// Folder of identity, keys, and the state of updates. Defaults to `machine` in the state directory. On a box it is
    /// root's own, outside what the daemon may write.
    pub directory: Option<PathBuf>,
}

impl Update {
    pub(super) fn check(&self, mistakes: &mut Vec<ConfigMistake>) {
        let mut range = |key: &str, value: u32, low: u32, high: u32| {
            if !(low..=high).contains(&value) {
                mistakes.push(ConfigMistake::new(key, value, format!("a whole number from {low} to {high}")));
            }
        };
        range("update.call_wait_minutes", self.call_wait_minutes, 0, 240);
        range("update.download_limit_megabytes", self.download_limit_megabytes, 1, 16_000);
        range("update.confirm_limit_seconds", self.confirm_limit_seconds, 1, 280);
        if let Some(url) = self.url.as_ref().filter(|url| !is_web_address(url) || !url.ends_with(".json")) {
            mistakes.push(ConfigMistake::new(
                "update.url",
                url,
                "an address of an index: https://….json or http://….json".into(),
            ));
        }
    }
}

/// Whether `text` is an address rather than a file.
pub(crate) fn is_web_address(text: &str) -> bool {
    text.starts_with("https://") || text.starts_with("http://")
}

#[cfg(test)]
mod tests {
    use crate::config::{Config, ConfigMistakes};

    #[test]
    fn mistakes_in_update_name_their_key() {
        for (setting, right) in [
            ("update.window=02:00-05:00", true),
            ("update.window=5-2", false),
            ("update.url=https://updates.example/latest.json", true),
            ("update.url=https://updates.example/offhook.raucb", false),
            ("update.url=ftp://updates.example/latest.json", false),
            ("update.call_wait_minutes=241", false),
            ("update.confirm_limit_seconds=0", false),
        ] {
            let mistakes = match Config::load(None, &[setting.to_owned()]) {
                Ok(_) => Vec::new(),
                Err(ConfigMistakes(mistakes)) => mistakes,
            };
            let key = setting.split('=').next().unwrap();
            assert_eq!(mistakes.is_empty(), right, "{setting}: {mistakes:?}");
            assert!(mistakes.iter().all(|mistake| mistake.key == key), "{setting}: {mistakes:?}");
        }
    }
}
