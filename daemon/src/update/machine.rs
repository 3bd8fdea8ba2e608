//! The machine updates are installed on: its version, its slots, its boot loader, its reboot.

use std::path::Path;
use std::time::Duration;

use super::decision::System;
use super::grubenv::Grubenv;
use super::rauc::{Rauc, RaucStatus, ToolError};
use super::record::RecordFile;
use super::slots::Slots;
use super::tool::Tool;
use crate::config::Config;

/// systemd takes the order and goes about it.
const REBOOT_LIMIT: Duration = Duration::from_secs(30);

/// The programs and files of this machine.
#[derive(Debug, Clone)]
pub struct Machine {
    /// Verifies and installs bundles.
    pub rauc: Rauc,
    /// The boot loader's variables.
    pub grubenv: Grubenv,
    /// How the last update ended.
    pub record: RecordFile,
    /// The running version.
    pub version: String,
    systemctl: Tool,
}

/// Why there are no slots to speak of.
#[derive(Debug, thiserror::Error)]
#[error("this machine has no update slots, or they cannot be read: {0}")]
pub struct NoSlots(#[from] ToolError);

impl Machine {
    /// As configured.
    pub fn new(config: &Config) -> Machine {
        let update = &config.update;
        Machine {
            rauc: Rauc::new(update.programs.rauc.clone(), update.rauc_config.as_deref()),
            grubenv: Grubenv::new(update.programs.grub_editenv.clone(), update.grubenv.clone()),
            record: RecordFile::in_folder(&config.machine_directory()),
            version: running_version(&update.os_release),
            systemctl: Tool::new(update.programs.systemctl.clone(), Vec::new()),
        }
    }

    /// The state of both slots.
    ///
    /// # Errors
    /// [`NoSlots`]: a development machine, or one whose RAUC or boot loader does not answer.
    pub async fn slots(&self) -> Result<Slots, NoSlots> {
        let rauc: RaucStatus = self.rauc.status().await?;
        let variables = self.grubenv.read().await?;
        Ok(Slots::new(&rauc, &variables, &self.version))
    }

    /// What a bundle has to fit.
    pub fn system(&self, slots: &Slots) -> System {
        System { compatible: slots.compatible.clone(), version: self.version.clone() }
    }

    /// Restarts the machine; returns when that is under way.
    ///
    /// # Errors
    /// [`ToolError`].
    pub async fn reboot(&self) -> Result<(), ToolError> {
        self.systemctl.run(&["reboot".as_ref()], REBOOT_LIMIT).await.map(drop)
    }
}

/// `IMAGE_VERSION` of the image we run in; without an image the version of this program.
pub fn running_version(os_release: &Path) -> String {
    let text = std::fs::read_to_string(os_release).unwrap_or_default();
    let value = text.lines().find_map(|line| line.strip_prefix("IMAGE_VERSION="));
    let version = value.map(|value| value.trim().trim_matches(['"', '\'']).to_owned());
    version.filter(|version| !version.is_empty()).unwrap_or_else(|| env!("CARGO_PKG_VERSION").to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_the_images_and_without_an_image_the_programs() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("os-release");
        for (text, version) in [
            ("NAME=Offhook\nIMAGE_VERSION=\"1.4.0\"\n", "1.4.0"),
            ("IMAGE_VERSION='1.4.0-rc.1'", "1.4.0-rc.1"),
            ("IMAGE_VERSION=\nVERSION_ID=12", env!("CARGO_PKG_VERSION")),
            ("", env!("CARGO_PKG_VERSION")),
        ] {
            std::fs::write(&path, text).unwrap();
            assert_eq!(running_version(&path), version, "{text}");
        }
        assert_eq!(running_version(&folder.path().join("none")), env!("CARGO_PKG_VERSION"));
    }
}
