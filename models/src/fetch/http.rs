//! One file over HTTP, going on where an earlier attempt stopped (RFC 9110 §14).

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::Path;
use std::time::Duration;

use super::accept;
use crate::Progress;
use crate::catalogue::ModelFile;
use crate::store::hash::{Fingerprint, Hasher};
use crate::store::{StoreError, disk};

/// A box without a way out notices it this soon and goes to the next source.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// A server that says nothing for this long is given up; the next attempt resumes.
const READ_TIMEOUT: Duration = Duration::from_secs(20);
/// Broken connections are taken up again this often, as long as each attempt brings something.
const ATTEMPTS: u32 = 4;
/// A server may send this much more than expected (an official file differs a little from the converted one).
const SLACK_BYTES: u64 = 1 << 20;

/// Downloads `url` to `to`, by way of `to` + `.part`. Returns what the content hashes to, which is accepted.
pub(super) fn download(
    url: &str,
    file: &ModelFile,
    to: &Path,
    progress: &mut dyn Progress,
) -> Result<Fingerprint, StoreError> {
    let part = to.with_file_name(format!("{}.part", file.name));
    let have = part_bytes(&part);
    disk::check_space(to, file.bytes.saturating_sub(have))?;
    progress.started(file.name, file.bytes);
    let received = receive(url, file, &part, progress);
    progress.finished();
    let fingerprint = received.and_then(|hasher| accept(file, hasher.finish())).inspect_err(|error| {
        // A wrong content is of no use to the next attempt; what a broken line left is.
        if matches!(error, StoreError::WrongHash { .. }) {
            let _ = disk::remove(&part);
        }
    })?;
    disk::publish(&part, to)?;
    Ok(fingerprint)
}

fn receive(url: &str, file: &ModelFile, part: &Path, progress: &mut dyn Progress) -> Result<Hasher, StoreError> {
    let mut hasher = hash_part(part, progress)?;
    let mut attempt = 0;
    loop {
        attempt += 1;
        let before = part_bytes(part);
        match receive_once(url, file, part, &mut hasher, progress) {
            Ok(()) => return Ok(hasher),
            Err(Failure::Broken(reason)) if attempt < ATTEMPTS && part_bytes(part) > before => {
                tracing::debug!(url, attempt, reason, "Connection broken, going on");
            }
            Err(Failure::Broken(reason) | Failure::Refused(reason)) => {
                return Err(StoreError::Download { url: url.to_owned(), reason });
            }
            Err(Failure::Local(error)) => return Err(error),
        }
    }
}

/// How one request ended badly.
enum Failure {
    /// The line broke: worth going on.
    Broken(String),
    /// The server, or the way to it, says no.
    Refused(String),
    /// Our own disk.
    Local(StoreError),
}

fn receive_once(
    url: &str,
    file: &ModelFile,
    part: &Path,
    hasher: &mut Hasher,
    progress: &mut dyn Progress,
) -> Result<(), Failure> {
    let have = part_bytes(part);
    let mut request = agent().get(url);
    if have > 0 {
        request = request.header("Range", format!("bytes={have}-"));
    }
    let mut response = match request.call() {
        Ok(response) => response,
        // The part is already everything (or more than there is now): let the hash decide.
        Err(ureq::Error::StatusCode(416)) if have > 0 => return Ok(()),
        Err(error) => return Err(Failure::Refused(in_words(&error))),
    };
    let goes_on = response.status().as_u16() == 206;
    if have > 0 && !goes_on {
        *hasher = Hasher::default();
    }
    let opened = File::options().create(true).write(true).append(goes_on).truncate(!goes_on).open(part);
    let mut out = opened.map_err(|error| Failure::Local(StoreError::io("write", part, error)))?;
    let mut body = response.body_mut().with_config().limit(file.bytes + SLACK_BYTES).reader();
    copy(&mut body, &mut out, part, hasher, progress)
}

fn copy(
    body: &mut dyn Read,
    out: &mut File,
    part: &Path,
    hasher: &mut Hasher,
    progress: &mut dyn Progress,
) -> Result<(), Failure> {
    let local = |error| Failure::Local(StoreError::io("write", part, error));
    let mut buffer = vec![0; 1 << 16];
    loop {
        let count = match body.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(count) => count,
            Err(error) => return Err(Failure::Broken(error.to_string())),
        };
        out.write_all(&buffer[..count]).map_err(local)?;
        hasher.write_all(&buffer[..count]).map_err(local)?;
        progress.advanced(count as u64);
    }
}

fn agent() -> ureq::Agent {
    let config = ureq::Agent::config_builder()
        .timeout_resolve(Some(CONNECT_TIMEOUT))
        .timeout_connect(Some(CONNECT_TIMEOUT))
        .timeout_recv_response(Some(READ_TIMEOUT))
        .timeout_per_read(Some(READ_TIMEOUT))
        .build();
    config.into()
}

/// The causes that an operator can do something about; anything else in the library's words.
fn in_words(error: &ureq::Error) -> String {
    if let ureq::Error::StatusCode(status) = error {
        return format!("the server answers with status {status}");
    }
    let text = error.to_string();
    if matches!(error, ureq::Error::HostNotFound) || text.contains("lookup address") {
        "its name cannot be resolved: there is no internet connection".to_owned()
    } else if matches!(error, ureq::Error::Timeout(_)) {
        "no answer in time: there is no internet connection, or a slow one".to_owned()
    } else {
        text
    }
}

fn part_bytes(part: &Path) -> u64 {
    fs::metadata(part).map_or(0, |meta| meta.len())
}

/// The state of the hash after what an earlier attempt left.
fn hash_part(part: &Path, progress: &mut dyn Progress) -> Result<Hasher, StoreError> {
    let mut hasher = Hasher::default();
    match File::open(part) {
        Ok(mut file) => {
            let count = io::copy(&mut file, &mut hasher).map_err(|error| StoreError::io("read", part, error))?;
            progress.advanced(count);
            Ok(hasher)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(hasher),
        Err(error) => Err(StoreError::io("read", part, error)),
    }
}
