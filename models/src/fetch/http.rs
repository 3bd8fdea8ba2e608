//! One file over HTTP, going on where an earlier attempt stopped (RFC 9110 §14).
//!
//! A download is taken up again only where that cannot mix two contents: the final hash is known, or the server named
//! the content with a strong entity tag that `If-Range` (RFC 9110 §13.1.5) can ask for.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
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
/// An entity tag longer than this is not kept.
const TAG_LIMIT_BYTES: usize = 256;

/// A file to bring over HTTP.
#[derive(Clone, Copy, Debug)]
pub struct RemoteFile<'a> {
    /// `http:` or `https:`.
    pub url: &'a str,
    /// What progress calls it.
    pub name: &'a str,
    /// Its size, if it is known beforehand.
    pub bytes: Option<u64>,
    /// A server that sends more than this is refused.
    pub limit_bytes: u64,
    /// SHA-256 in small hex, if it is known: another content is refused.
    pub sha256: Option<&'a str>,
}

/// Downloads `file` to `to`, by way of `to` + `.part`, which a later call goes on from. Returns the content's SHA-256.
///
/// # Errors
/// [`StoreError::Download`] for the server and the way to it, [`StoreError::WrongHash`], and what the disk says.
pub fn download_file(file: &RemoteFile<'_>, to: &Path, progress: &mut dyn Progress) -> Result<String, StoreError> {
    let accepted = |found: Fingerprint| match file.sha256 {
        Some(expected) if expected != found.sha256 => {
            Err(StoreError::WrongHash { name: file.name.to_owned(), sha256: found.sha256 })
        }
        Some(_) | None => Ok(found),
    };
    Ok(bring(file, Part::beside(to, file.sha256.is_some()), to, accepted, progress)?.sha256)
}

/// What a small document at `url` says, for example an index of what there is to download.
///
/// # Errors
/// [`StoreError::Download`], also when it is larger than `limit_bytes` or no text.
pub fn download_text(url: &str, limit_bytes: u64) -> Result<String, StoreError> {
    let failed = |error: &ureq::Error| StoreError::Download { url: url.to_owned(), reason: in_words(error) };
    let mut response = agent().get(url).call().map_err(|error| failed(&error))?;
    response.body_mut().with_config().limit(limit_bytes).read_to_string().map_err(|error| failed(&error))
}

/// Downloads one of the catalogue's files. Returns what the content hashes to, which is accepted.
pub(super) fn download(
    url: &str,
    file: &ModelFile,
    to: &Path,
    progress: &mut dyn Progress,
) -> Result<Fingerprint, StoreError> {
    let (bytes, limit_bytes) = (Some(file.bytes), file.bytes + SLACK_BYTES);
    let remote = RemoteFile { url, name: file.name, bytes, limit_bytes, sha256: None };
    bring(&remote, Part::beside(to, true), to, |found| accept(file, found), progress)
}

fn bring(
    file: &RemoteFile<'_>,
    part: Part,
    to: &Path,
    accepted: impl Fn(Fingerprint) -> Result<Fingerprint, StoreError>,
    progress: &mut dyn Progress,
) -> Result<Fingerprint, StoreError> {
    let expected = file.bytes.unwrap_or_default();
    disk::check_space(to, expected.saturating_sub(part.bytes()))?;
    progress.started(file.name, expected);
    let received = receive(file, &part, progress);
    progress.finished();
    let fingerprint = received.and_then(|hasher| accepted(hasher.finish())).inspect_err(|error| {
        // A wrong content is of no use to the next attempt; what a broken line left is.
        if matches!(error, StoreError::WrongHash { .. }) {
            part.forget();
        }
    })?;
    disk::publish(&part.path, to)?;
    part.forget();
    Ok(fingerprint)
}

/// What has arrived so far.
struct Part {
    path: PathBuf,
    /// Where the server's entity tag is kept; `None` if the final hash tells one content from another.
    tag: Option<PathBuf>,
}

impl Part {
    fn beside(to: &Path, hash_known: bool) -> Part {
        let ending = |end: &str| {
            let mut name = to.as_os_str().to_owned();
            name.push(end);
            PathBuf::from(name)
        };
        Part { path: ending(".part"), tag: (!hash_known).then(|| ending(".part.tag")) }
    }

    fn bytes(&self) -> u64 {
        fs::metadata(&self.path).map_or(0, |meta| meta.len())
    }

    fn tag(&self) -> Option<String> {
        fs::read_to_string(self.tag.as_ref()?).ok().filter(|tag| !tag.is_empty())
    }

    fn can_go_on(&self) -> bool {
        self.tag.is_none() || self.tag().is_some()
    }

    /// Remembers a strong tag (a weak one does not name bytes, RFC 9110 §8.8.1); without one nothing is remembered.
    fn keep_tag(&self, tag: Option<&str>) -> Result<(), StoreError> {
        let Some(path) = &self.tag else { return Ok(()) };
        match tag.filter(|tag| !tag.starts_with("W/") && tag.len() <= TAG_LIMIT_BYTES) {
            Some(tag) => fs::write(path, tag).map_err(|error| StoreError::io("write", path, error)),
            None => disk::remove(path),
        }
    }

    /// Leftovers only cost a download; failing to remove them is no failure.
    fn forget(&self) {
        let _ = disk::remove(&self.path);
        if let Some(tag) = &self.tag {
            let _ = disk::remove(tag);
        }
    }
}

fn receive(file: &RemoteFile<'_>, part: &Part, progress: &mut dyn Progress) -> Result<Hasher, StoreError> {
    if !part.can_go_on() {
        part.forget();
    }
    let mut hasher = hash_part(&part.path, progress)?;
    let mut attempt = 0;
    loop {
        attempt += 1;
        let before = part.bytes();
        match receive_once(file, part, &mut hasher, progress) {
            Ok(()) => return Ok(hasher),
            Err(Failure::Broken(reason)) if attempt < ATTEMPTS && part.bytes() > before => {
                if !part.can_go_on() {
                    part.forget();
                }
                tracing::debug!(url = file.url, attempt, reason, "Connection broken, going on");
            }
            Err(Failure::Broken(reason) | Failure::Refused(reason)) => {
                return Err(StoreError::Download { url: file.url.to_owned(), reason });
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
    file: &RemoteFile<'_>,
    part: &Part,
    hasher: &mut Hasher,
    progress: &mut dyn Progress,
) -> Result<(), Failure> {
    let have = part.bytes();
    let mut request = agent().get(file.url);
    if have > 0 {
        request = request.header("Range", format!("bytes={have}-"));
        if let Some(tag) = part.tag() {
            request = request.header("If-Range", tag);
        }
    }
    let mut response = match request.call() {
        Ok(response) => response,
        // The part is already everything (or more than there is now): let the hash decide.
        Err(ureq::Error::StatusCode(416)) if have > 0 => return Ok(()),
        Err(error) => return Err(Failure::Refused(in_words(&error))),
    };
    let goes_on = response.status().as_u16() == 206;
    let have = if goes_on { have } else { 0 };
    if !goes_on {
        *hasher = Hasher::default();
        let tag = response.headers().get("etag").and_then(|tag| tag.to_str().ok());
        part.keep_tag(tag).map_err(Failure::Local)?;
    }
    if let Some(rest) = response.body().content_length() {
        check_size(file, have + rest, rest, &part.path)?;
        if file.bytes.is_none() {
            progress.started(file.name, have + rest);
            progress.advanced(have);
        }
    }
    let opened = File::options().create(true).write(true).append(goes_on).truncate(!goes_on).open(&part.path);
    let mut out = opened.map_err(|error| Failure::Local(StoreError::io("write", &part.path, error)))?;
    let mut body = response.body_mut().with_config().limit(file.limit_bytes.saturating_sub(have)).reader();
    copy(&mut body, &mut out, &part.path, hasher, progress)
}

/// Refuses before the first byte what is too large, or does not fit on the disk.
fn check_size(file: &RemoteFile<'_>, total: u64, rest: u64, part: &Path) -> Result<(), Failure> {
    if total > file.limit_bytes {
        let limit = file.limit_bytes;
        return Err(Failure::Refused(format!("it has {total} bytes, which is more than the {limit} that are taken")));
    }
    disk::check_space(part, rest).map_err(Failure::Local)
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
