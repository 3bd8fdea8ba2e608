//! Is the machine fit: disk, clock, processor.

use std::path::Path;
use std::time::{Duration, SystemTime};

use super::{Finding, Verdict};
use crate::config::Config;
use crate::storage::free_bytes;

/// Below this the state folder is too full to promise anyone that a message is kept.
const DISK_BAD_BYTES: u64 = 100 * 1_000_000;
/// Below this somebody should look.
const DISK_LOW_BYTES: u64 = 1_000 * 1_000_000;
/// This source was written after 2026-11-01; an earlier clock is a clock that was never set.
const BUILT_AFTER: Duration = Duration::from_secs(1_793_491_200);

/// Free space where calls and messages are kept.
pub(super) fn disk(config: &Config) -> Finding {
    let name = "disk";
    let folder = config.state_directory();
    let place = existing_ancestor(&folder);
    let free_bytes = match free_bytes(place) {
        Ok(free) => free,
        Err(error) => {
            let remedy = "set storage.directory to a folder this user may write to";
            return Finding::wrong(name, Verdict::Bad, format!("{}: {error}", folder.display()), remedy);
        }
    };
    if let Err(error) = tempfile_in(place) {
        let detail = format!("{} cannot be written to: {error}", place.display());
        return Finding::wrong(name, Verdict::Bad, detail, "set storage.directory to a folder this user may write to");
    }
    let detail = format!("{:.1} GB free in {}", free_bytes as f64 / 1e9, folder.display());
    let remedy = "make room, or set storage.directory to a larger disk";
    if free_bytes < DISK_BAD_BYTES {
        Finding::wrong(name, Verdict::Bad, detail, remedy)
    } else if free_bytes < DISK_LOW_BYTES {
        Finding::wrong(name, Verdict::Degraded, detail, remedy)
    } else {
        Finding::good(name, detail)
    }
}

fn existing_ancestor(folder: &Path) -> &Path {
    folder.ancestors().find(|place| place.is_dir()).unwrap_or(Path::new("/"))
}

fn tempfile_in(folder: &Path) -> std::io::Result<()> {
    let probe = folder.join(format!(".offhook-doctor-{}", std::process::id()));
    std::fs::write(&probe, b"probe")?;
    std::fs::remove_file(&probe)
}

/// Opening hours and time stamps are only as right as the clock.
pub(super) fn clock() -> Finding {
    let name = "clock";
    let since_epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let now = jiff::Zoned::now();
    let shown = now.strftime("%Y-%m-%d %H:%M %Z").to_string();
    if since_epoch < BUILT_AFTER {
        let remedy = "set the time: `timedatectl set-ntp true`, or `date --set`";
        return Finding::wrong(
            name,
            Verdict::Degraded,
            format!("it says {shown}, before this program was written"),
            remedy,
        );
    }
    match kernel_says_synchronised() {
        true => Finding::good(name, format!("{shown}, synchronised")),
        false => Finding::wrong(
            name,
            Verdict::Degraded,
            format!("{shown}, not synchronised with a time server"),
            "`timedatectl set-ntp true`; without a time server, check the time by hand",
        ),
    }
}

#[expect(unsafe_code, reason = "adjtimex has no safe wrapper among our dependencies")]
fn kernel_says_synchronised() -> bool {
    // SAFETY: an all-zero timex asks for nothing to be changed (modes = 0) and outlives the call.
    unsafe {
        let mut state: libc::timex = std::mem::zeroed();
        libc::adjtimex(&raw mut state) != libc::TIME_ERROR
    }
}

/// Speech recognition needs the vector instructions its kernels are built for.
pub(super) fn processor() -> Finding {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let (features, missing) = vector_features();
    let detail = format!(
        "{cores} cores, {}",
        if features.is_empty() { "no vector extensions".into() } else { features.join(" ") }
    );
    if !missing.is_empty() {
        let remedy = "use a machine with them: without, recognition takes several times as long";
        return Finding::wrong(
            "processor",
            Verdict::Degraded,
            format!("{detail}; without {}", missing.join(" ")),
            remedy,
        );
    }
    if cores < 2 {
        let remedy = "give it two cores: with one, recognition delays the sound of other calls";
        return Finding::wrong("processor", Verdict::Degraded, detail, remedy);
    }
    Finding::good("processor", detail)
}

#[cfg(target_arch = "x86_64")]
fn vector_features() -> (Vec<&'static str>, Vec<&'static str>) {
    let known = [
        ("avx2", std::is_x86_feature_detected!("avx2")),
        ("fma", std::is_x86_feature_detected!("fma")),
        ("f16c", std::is_x86_feature_detected!("f16c")),
    ];
    split(&known)
}

#[cfg(target_arch = "aarch64")]
fn vector_features() -> (Vec<&'static str>, Vec<&'static str>) {
    let known = [
        ("asimd", std::arch::is_aarch64_feature_detected!("neon")),
        ("dotprod", std::arch::is_aarch64_feature_detected!("dotprod")),
        ("fp16", std::arch::is_aarch64_feature_detected!("fp16")),
    ];
    split(&known)
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn vector_features() -> (Vec<&'static str>, Vec<&'static str>) {
    split(&[])
}

fn split(known: &[(&'static str, bool)]) -> (Vec<&'static str>, Vec<&'static str>) {
    let with = |there: bool| known.iter().filter(|(_, found)| *found == there).map(|(name, _)| *name).collect();
    (with(true), with(false))
}
