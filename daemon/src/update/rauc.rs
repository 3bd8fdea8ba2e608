//! The `rauc` command line: what a bundle is, what the slots are, installing, marking.
//!
//! Written against RAUC 1.8's JSON (Debian 12) and RAUC 1.13's (Debian 13); keys we do not read may come and go.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;

use super::decision::Bundle;
use super::tool::Tool;
pub use super::tool::ToolError;

/// Hashing the manifest and verifying the signature.
const INFO_LIMIT: Duration = Duration::from_secs(60);
/// Asking the service.
const STATUS_LIMIT: Duration = Duration::from_secs(30);
/// Writing a slot on slow flash.
const INSTALL_LIMIT: Duration = Duration::from_secs(45 * 60);

/// One slot as RAUC sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RaucSlot {
    /// `rootfs.0`.
    pub name: String,
    /// The boot loader's name for it: `A`.
    pub bootname: String,
    /// Bootable and not being tried.
    pub good: bool,
    /// Version of the bundle that was installed to it.
    pub version: Option<String>,
}

/// What `rauc status` says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RaucStatus {
    /// The kind of machine.
    pub compatible: String,
    /// Boot name of the running slot; `None` when the kernel's command line names none.
    pub booted: Option<String>,
    /// The slots that can be booted.
    pub slots: Vec<RaucSlot>,
}

/// Why a bundle cannot even be looked at.
#[derive(Debug, thiserror::Error)]
pub enum BundleError {
    /// Not signed by whom we trust.
    #[error(
        "{path} is not signed by the maker of this box ({reason}); expected a bundle signed with a key of the keyring \
         in RAUC's configuration. Get the bundle from its official source", path = path.display()
    )]
    Signature {
        /// The file.
        path: PathBuf,
        /// RAUC's words.
        reason: String,
    },
    /// Cut off, changed, or another kind of file.
    #[error(
        "{path} is damaged or no update bundle ({reason}); copy or download it again", path = path.display()
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// RAUC's words.
        reason: String,
    },
    /// RAUC itself could not do it.
    #[error(transparent)]
    Tool(#[from] ToolError),
}

/// Drives one `rauc`.
#[derive(Debug, Clone)]
pub struct Rauc {
    tool: Tool,
}

impl Rauc {
    /// `program`, with `configuration` instead of its built-in path if one is given.
    pub fn new(program: PathBuf, configuration: Option<&Path>) -> Rauc {
        let conf = |path: &Path| {
            let mut argument = std::ffi::OsString::from("--conf=");
            argument.push(path);
            argument
        };
        Rauc { tool: Tool::new(program, configuration.map(conf).into_iter().collect()) }
    }

    /// Verifies a bundle's signature and reads its manifest. The payload is verified while it is installed.
    ///
    /// # Errors
    /// [`BundleError`].
    pub async fn info(&self, path: &Path) -> Result<Bundle, BundleError> {
        let arguments = ["info".as_ref(), "--output-format=json".as_ref(), path.as_os_str()];
        let output = self.tool.run(&arguments, INFO_LIMIT).await.map_err(|error| classify(path, error))?;
        let manifest: Manifest = serde_json::from_str(&output)
            .map_err(|error| self.tool.failed("info", format!("its output cannot be read ({error})")))?;
        let Manifest { compatible, version, description } = manifest;
        Ok(Bundle { compatible, version: version.unwrap_or_default(), description })
    }

    /// The slots.
    ///
    /// # Errors
    /// [`ToolError`], on a machine without RAUC or without its service too.
    pub async fn status(&self) -> Result<RaucStatus, ToolError> {
        let arguments: [&OsStr; 3] = ["status".as_ref(), "--detailed".as_ref(), "--output-format=json".as_ref()];
        let output = self.tool.run(&arguments, STATUS_LIMIT).await?;
        let unreadable = |error| self.tool.failed("status", format!("its output cannot be read ({error})"));
        serde_json::from_str::<Status>(&output).map(RaucStatus::from).map_err(unreadable)
    }

    /// Writes a bundle into the slot that is not running; `progress` gets percent and what is being done.
    ///
    /// # Errors
    /// [`BundleError`]; the running slot and the order of booting are then as before.
    pub async fn install(&self, path: &Path, mut progress: impl FnMut(u8, &str)) -> Result<(), BundleError> {
        let line = |line: &str| {
            if let Some((percent, doing)) = progress_of(line) {
                progress(percent, doing);
            }
        };
        let arguments = ["install".as_ref(), path.as_os_str()];
        let installed = self.tool.run_with_lines(&arguments, INSTALL_LIMIT, line).await;
        installed.map(drop).map_err(|error| classify(path, error))
    }

    /// Tells the boot loader that the running slot works.
    ///
    /// # Errors
    /// [`ToolError`].
    pub async fn mark_good(&self) -> Result<(), ToolError> {
        self.tool.run(&["status".as_ref(), "mark-good".as_ref(), "booted".as_ref()], STATUS_LIMIT).await.map(drop)
    }

    /// Makes `slot` (`rootfs.1`) the next one to boot.
    ///
    /// # Errors
    /// [`ToolError`].
    pub async fn mark_active(&self, slot: &str) -> Result<(), ToolError> {
        self.tool.run(&["status".as_ref(), "mark-active".as_ref(), slot.as_ref()], STATUS_LIMIT).await.map(drop)
    }
}

/// ` 40% Verifying signature done.`
fn progress_of(line: &str) -> Option<(u8, &str)> {
    let (percent, doing) = line.trim().split_once("% ")?;
    Some((percent.parse().ok()?, doing))
}

/// RAUC has one exit status for everything: its words tell whose fault it was.
fn classify(path: &Path, error: ToolError) -> BundleError {
    let ToolError::Failed { reason, .. } = &error else { return error.into() };
    let (path, reason) = (path.to_owned(), reason.clone());
    let says = |words: &[&str]| words.iter().any(|word| reason.to_lowercase().contains(word));
    if says(&["signature verification failed", "failed to verify signature", "no signature", "signer certificate"]) {
        BundleError::Signature { path, reason }
    } else if says(&["bundle format", "corrupted", "verity", "input/output error", "squashfs", "exceeds bundle size"]) {
        BundleError::Damaged { path, reason }
    } else {
        error.into()
    }
}

#[derive(Deserialize)]
struct Manifest {
    compatible: String,
    version: Option<String>,
    description: Option<String>,
}

#[derive(Deserialize)]
struct Status {
    compatible: String,
    booted: Option<String>,
    slots: Vec<BTreeMap<String, SlotJson>>,
}

#[derive(Deserialize)]
struct SlotJson {
    bootname: Option<String>,
    boot_status: Option<String>,
    slot_status: Option<SlotStatus>,
}

#[derive(Default, Deserialize)]
struct SlotStatus {
    bundle: Option<BundleStatus>,
    status: Option<String>,
}

#[derive(Deserialize)]
struct BundleStatus {
    version: Option<String>,
}

impl From<Status> for RaucStatus {
    fn from(status: Status) -> RaucStatus {
        let slots = status.slots.into_iter().flatten().filter_map(|(name, slot)| {
            let written = slot.slot_status.unwrap_or_default();
            // A slot whose writing was cut off still names the bundle that was to go there.
            let whole = written.status.as_deref().is_none_or(|status| status == "ok");
            let version = written.bundle.and_then(|bundle| bundle.version).filter(|_| whole);
            let good = slot.boot_status.as_deref() == Some("good");
            Some(RaucSlot { name, bootname: slot.bootname?, good, version })
        });
        let booted = status.booted.filter(|bootname| !bootname.is_empty());
        RaucStatus { compatible: status.compatible, booted, slots: slots.collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As RAUC 1.8 printed it for a slot freshly installed and one written by the factory.
    const STATUS: &str = r#"{"compatible":"offhook-arm64","variant":"","booted":"B","boot_primary":"rootfs.0","slots":[
        {"rootfs.1":{"class":"rootfs","device":"/dev/vda3","type":"raw","bootname":"B","state":"booted","parent":null,
        "mountpoint":null,"boot_status":"bad","slot_status":{"bundle":{"compatible":"offhook-arm64","version":"0.2.0",
        "build":"x"},"checksum":{"sha256":"de3b","size":500000},"installed":{"timestamp":"2026-11-28T14:09:50Z",
        "count":1},"activated":{"timestamp":"2026-11-28T14:09:50Z","count":1},"status":"ok"}}},
        {"rootfs.0":{"class":"rootfs","device":"/dev/vda2","type":"raw","bootname":"A","state":"inactive",
        "parent":null,"mountpoint":null,"boot_status":"good","slot_status":{"bundle":{"compatible":null}}}},
        {"data.0":{"class":"data","device":"/dev/vda4","type":"raw","bootname":null,"state":"inactive","parent":null,
        "mountpoint":null,"slot_status":{}}}]}"#;

    #[test]
    fn status_of_a_real_rauc_is_understood() {
        let status: RaucStatus = serde_json::from_str::<Status>(STATUS).unwrap().into();
        let slot = |name: &str, bootname: &str, good, version: Option<&str>| RaucSlot {
            name: name.into(),
            bootname: bootname.into(),
            good,
            version: version.map(Into::into),
        };
        assert_eq!(status.booted.as_deref(), Some("B"));
        assert_eq!(status.slots, [slot("rootfs.1", "B", false, Some("0.2.0")), slot("rootfs.0", "A", true, None)]);
    }

    #[test]
    fn a_slot_whose_writing_was_cut_off_has_no_version() {
        let cut = STATUS.replace(r#""status":"ok""#, r#""status":"pending""#);
        let status: RaucStatus = serde_json::from_str::<Status>(&cut).unwrap().into();
        assert_eq!(status.slots[0].version, None);
    }

    #[test]
    fn raucs_words_tell_a_wrong_signature_from_damage() {
        // RAUC's last words, what they mean
        for (words, meaning) in [
            ("signature verification failed: Verify error: unable to get local issuer certificate", "not signed by"),
            ("Invalid bundle format: Signature size (1813224567603602383) exceeds bundle size", "damaged"),
            ("Failed to extract bundle: bundle payload is corrupted", "damaged"),
            ("Installation error: Failed updating slot rootfs.1: failed to copy: Input/output error", "damaged"),
            ("Failed mounting bundle: Failed to open /dev/mapper/control: No such file", "`rauc install` failed"),
        ] {
            let error = ToolError::Failed { command: "rauc install".into(), reason: words.into() };
            let text = classify(Path::new("new.raucb"), error).to_string();
            assert!(text.contains(meaning), "{words}: {text}");
        }
    }

    #[test]
    fn progress_is_read_from_its_lines() {
        assert_eq!(progress_of(" 40% Verifying signature done."), Some((40, "Verifying signature done.")));
        assert_eq!(progress_of("100% Installing failed."), Some((100, "Installing failed.")));
        assert_eq!(progress_of("installing"), None);
    }
}
