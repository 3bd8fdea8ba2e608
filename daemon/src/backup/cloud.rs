//! The cloud as a place for backups: the same files under the same names, which it cannot read.
//!
//! ```text
//! put ─► backup/outgoing/WHO/NAME, sealed ─Begin, Put …, Commit─► the cloud      slices as large as `pace` allows
//!              ▲ cut, or the turn is over: it goes on from here, also after a restart
//! read ◄─────────────────────────────────────────Get, from where it was cut──── the cloud
//! ```
//! WHO is whom it is sealed for: after a change of `backup.recipients` nothing of before is sent. What is there is listed once
//! and then remembered, and listed anew after every fault and each hour: a day has thousands of segments.
//!
//! Blocks; for threads that may.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use cloud_api::v1::backups_client::BackupsClient;
use cloud_api::v1::{BackupFile, Frame, GetBackupRequest, ListBackupsRequest, RemoveBackupsRequest};
use prost::bytes::{Buf as _, Bytes};
use sha2::{Digest as _, Sha256};
use tokio::runtime::Handle;
use tonic::transport::Channel;
use tonic::{Code, Response, Status, Streaming};
use tracing::debug;

use super::vault::{Listing, recording_of, seal_into};
use super::{BackupError, Recipients, file_error};
use crate::call::Line;
use crate::config::Config;
use crate::sync::blobs::{Pace, frames};
use crate::sync::enrolment::Enrolment;
use crate::sync::link;

/// Below the state folder.
pub(super) const OUTGOING: &str = "backup/outgoing";
/// For an answer; a slice is at most about a second of the line.
const PATIENCE: Duration = Duration::from_secs(30);
/// How often reading goes on after a cut, without a byte in between.
const TRIES: u32 = 120;
/// Between two of these.
const RETRY: Duration = Duration::from_secs(1);
/// After so long it is listed anew.
const LISTED: Duration = Duration::from_secs(3_600);
/// How soon it is seen that a call is over.
const LOOK: Duration = Duration::from_millis(250);
/// Names of a Remove.
const NAMES: usize = 1_000;

/// How calls are.
pub(super) type LineNow = Arc<dyn Fn() -> Line + Send + Sync>;

/// See the module.
pub struct CloudVault {
    runtime: Handle,
    state_directory: PathBuf,
    trust: Option<PathBuf>,
    outgoing: PathBuf,
    line: LineNow,
    state: Mutex<State>,
}

impl std::fmt::Debug for CloudVault {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("CloudVault").field("outgoing", &self.outgoing).finish_non_exhaustive()
    }
}

struct State {
    /// Where the box's files are in the cloud; None is wherever the latest are.
    folder: Option<String>,
    client: Option<BackupsClient<Channel>>,
    known: Option<Known>,
    pace: Pace,
    /// What is sent, by its path.
    hashes: BTreeMap<PathBuf, (Bytes, u64)>,
    /// When the turn is over.
    until: Option<Instant>,
    left_bytes: u64,
    /// Why reading was given up.
    failed: Option<BackupError>,
}

#[derive(Default)]
struct Known {
    listing: Listing,
    recordings: BTreeSet<String>,
    at: Option<Instant>,
}

impl Known {
    fn take(&mut self, name: &str) {
        match recording_of(name) {
            Some(sha256) => drop(self.recordings.insert(sha256.to_owned())),
            None => self.listing.take(name),
        }
    }
}

impl CloudVault {
    /// Of the box in this configuration; its files are in `folder`, and without one in the folder with the latest. Nothing is
    /// asked yet.
    pub(super) fn new(config: &Config, folder: Option<String>, runtime: Handle, line: LineNow) -> CloudVault {
        let state_directory = config.state_directory();
        let who = Sha256::digest(config.backup.recipients.join(" "));
        let now = Instant::now();
        CloudVault {
            runtime,
            outgoing: state_directory.join(OUTGOING).join(hex::encode(&who[..8])),
            state_directory,
            trust: config.cloud.trust.clone(),
            line,
            state: Mutex::new(State {
                folder,
                client: None,
                known: None,
                pace: Pace::new(now),
                hashes: BTreeMap::new(),
                until: None,
                left_bytes: 0,
                failed: None,
            }),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Until when something may be sent; None is for as long as it takes.
    pub(super) fn turn(&self, until: Option<Instant>) {
        let mut state = self.state();
        (state.until, state.failed) = (until, None);
    }

    pub(super) fn left_bytes(&self) -> u64 {
        self.state().left_bytes
    }

    pub(super) fn check(&self) -> Result<(), BackupError> {
        self.state().failed.take().map_or(Ok(()), Err)
    }

    /// Where a file waits until it is there. Names are different in their last parts too.
    fn path_of(&self, name: &str) -> PathBuf {
        self.outgoing.join(name.rsplit('/').next().unwrap_or(name))
    }

    pub(super) fn begun(&self) -> Listing {
        let mut listing = Listing::default();
        for entry in fs::read_dir(&self.outgoing).into_iter().flatten().flatten() {
            listing.take(&entry.file_name().to_string_lossy());
        }
        listing
    }

    pub(super) fn give_up(&self, name: &str) {
        let path = self.path_of(name);
        self.state().hashes.remove(&path);
        // What is not removed now is in the way of nothing but the disk, and tried again with the next turn.
        if let Err(error) = crate::durable::remove(&path) {
            debug!(path = %path.display(), %error, "Not removed");
        }
    }

    pub(super) fn put(
        &self,
        name: &str,
        recipients: &Recipients,
        fill: impl FnOnce(&mut dyn io::Write) -> Result<(), BackupError>,
    ) -> Result<Option<u64>, BackupError> {
        let path = self.path_of(name);
        if !path.exists() {
            self.forget_other_recipients()?;
            self.forget_leftovers(name)?;
            fs::create_dir_all(&self.outgoing).map_err(file_error(&self.outgoing))?;
            seal_into(&path, recipients, fill)?;
        }
        self.go_on(name)
    }

    /// What was sealed for others is nobody's any more.
    fn forget_other_recipients(&self) -> Result<(), BackupError> {
        let all = self.state_directory.join(OUTGOING);
        for entry in fs::read_dir(&all).into_iter().flatten().flatten() {
            let folder = entry.path();
            if folder != self.outgoing {
                fs::remove_dir_all(&folder).map_err(file_error(&folder))?;
            }
        }
        Ok(())
    }

    /// What was half sealed when the power was cut, and with a recording the one before it, which nobody wants any more.
    fn forget_leftovers(&self, name: &str) -> Result<(), BackupError> {
        for entry in fs::read_dir(&self.outgoing).into_iter().flatten().flatten() {
            let (path, found) = (entry.path(), entry.file_name().to_string_lossy().into_owned());
            if found.ends_with(".new") || (recording_of(name).is_some() && found.ends_with(".wav.age")) {
                crate::durable::remove(&path).map_err(file_error(&path))?;
            }
        }
        Ok(())
    }

    pub(super) fn go_on(&self, name: &str) -> Result<Option<u64>, BackupError> {
        let path = self.path_of(name);
        let mut state = self.state();
        let (sha256, size_bytes) = match state.hashes.get(&path) {
            Some(known) => known.clone(),
            None => {
                let found = hash_of(&path).map_err(file_error(&path))?;
                state.hashes.insert(path.clone(), found.clone());
                found
            }
        };
        let folder = self.folder(&mut state)?;
        let file = BackupFile { name: format!("{folder}/{name}"), sha256, size_bytes, kept_at: 0 };
        if !self.send_through_cuts(&mut state, &path, &file)? {
            return Ok(None);
        }
        state.left_bytes = 0;
        state.hashes.remove(&path);
        if let Some(known) = &mut state.known {
            known.take(name);
        }
        drop(state);
        crate::durable::remove(&path).map_err(file_error(&path))?;
        Ok(Some(size_bytes))
    }

    /// As [`send`](CloudVault::send), at once again after a cut before which it has come further.
    fn send_through_cuts(&self, state: &mut State, path: &Path, file: &BackupFile) -> Result<bool, BackupError> {
        let mut left_bytes = u64::MAX;
        loop {
            state.left_bytes = file.size_bytes;
            let sent = self.send(state, path, file);
            if sent.is_err() {
                state.pace.cut();
            }
            if !matches!(sent, Err(BackupError::Away(_))) || state.left_bytes >= left_bytes.min(file.size_bytes) {
                return sent;
            }
            left_bytes = state.left_bytes;
        }
    }

    /// Whether all of it is there.
    fn send(&self, state: &mut State, path: &Path, file: &BackupFile) -> Result<bool, BackupError> {
        let begin = file.clone();
        let begun = self.ask(state, async move |mut client| client.begin(begin).await)?;
        let (mut offset, size) = (begun.offset_bytes, file.size_bytes);
        while offset < size {
            state.left_bytes = size - offset;
            if !self.wait_for_turn(state) {
                return Ok(false);
            }
            let line = (self.line)();
            let bytes = state.pace.slice(line).min(size - offset);
            let mut slice = vec![0; usize::try_from(bytes).unwrap_or(usize::MAX)];
            let read = File::open(path).and_then(|file| file.read_exact_at(&mut slice, offset));
            read.map_err(file_error(path))?;
            let begun = Instant::now();
            state.pace.sending(bytes, line, begun);
            let messages = frames(&file.sha256, offset, &slice.into());
            let put = self.ask(state, async move |mut client| client.put(tokio_stream::iter(messages)).await);
            offset = put.map_err(for_now)?.offset_bytes;
            state.left_bytes = size.saturating_sub(offset);
            state.pace.went_up(bytes);
            if line.calls == 0 {
                state.pace.took(bytes, begun.elapsed());
            }
        }
        let commit = file.clone();
        let committed = self.ask(state, async move |mut client| client.commit(commit).await);
        if matches!(committed, Err(BackupError::Damaged { .. })) {
            // It is made anew: here or on its way a bit was lost.
            state.hashes.remove(path);
            crate::durable::remove(path).map_err(file_error(path))?;
        }
        committed.map(|_| true)
    }

    /// False once the turn is over.
    fn wait_for_turn(&self, state: &mut State) -> bool {
        loop {
            let now = Instant::now();
            if state.until.is_some_and(|until| until <= now) {
                return false;
            }
            state.pace.observe((self.line)(), now);
            let Some(at) = state.pace.wait(now) else { return true };
            let until = state.until.unwrap_or(at).min(at).min(now + LOOK);
            self.runtime.block_on(async { tokio::time::sleep_until(until.into()).await });
        }
    }

    fn folder(&self, state: &mut State) -> Result<String, BackupError> {
        if state.folder.is_none() {
            self.known(state)?;
        }
        state.folder.clone().ok_or_else(|| BackupError::NoBase("the cloud".to_owned()))
    }

    pub(super) fn list(&self) -> Result<Listing, BackupError> {
        let mut state = self.state();
        Ok(self.known(&mut state)?.listing.clone())
    }

    pub(super) fn recordings(&self) -> Result<BTreeSet<String>, BackupError> {
        let mut state = self.state();
        Ok(self.known(&mut state)?.recordings.clone())
    }

    fn known<'a>(&self, state: &'a mut State) -> Result<&'a Known, BackupError> {
        let is_fresh = |known: &Known| known.at.is_some_and(|at| at.elapsed() < LISTED);
        if !state.known.as_ref().is_some_and(is_fresh) {
            let mut files = self.ask(state, async |mut client| client.list(ListBackupsRequest {}).await)?;
            let listed = self.runtime.block_on(async {
                let mut all = Vec::new();
                while let Some(some) = tokio::time::timeout(PATIENCE, files.message()).await.map_err(|_| late())?? {
                    all.extend(some.files);
                }
                Ok(all)
            });
            let files = listed.map_err(|status: Status| Self::failed(state, &status))?;
            if state.folder.is_none() {
                state.folder = latest_folder(&files);
            }
            let mut known = Known { at: Some(Instant::now()), ..Known::default() };
            if let Some(folder) = &state.folder {
                let here = files.iter().filter_map(|file| file.name.strip_prefix(folder.as_str())?.strip_prefix('/'));
                here.for_each(|name| known.take(name));
            }
            state.known = Some(known);
        }
        Ok(state.known.get_or_insert_default())
    }

    pub(super) fn remove(&self, names: &[String]) -> Result<(), BackupError> {
        let mut state = self.state();
        let folder = self.folder(&mut state)?;
        for some in names.chunks(NAMES) {
            let names = some.iter().map(|name| format!("{folder}/{name}")).collect();
            self.ask(&mut state, async |mut client| client.remove(RemoveBackupsRequest { names }).await)?;
            // Listed anew when it is needed, which is once a day.
            state.known = None;
        }
        Ok(())
    }

    /// Its sealed content; what is cut goes on where it was.
    pub(super) fn read(self: &Arc<Self>, name: &str) -> impl io::Read + use<> {
        Reading { vault: Arc::clone(self), name: name.to_owned(), offset: 0, piece: Bytes::new(), frames: None }
    }

    /// One question, over the connection there is or a new one.
    fn ask<T>(
        &self,
        state: &mut State,
        question: impl AsyncFnOnce(BackupsClient<Channel>) -> Result<Response<T>, Status>,
    ) -> Result<T, BackupError> {
        let client = match &state.client {
            Some(client) => client.clone(),
            None => state.client.insert(self.connect()?).clone(),
        };
        let asked = self.runtime.block_on(async { tokio::time::timeout(PATIENCE, question(client)).await });
        match asked.unwrap_or_else(|_| Err(late())) {
            Ok(answer) => Ok(answer.into_inner()),
            Err(status) => Err(Self::failed(state, &status)),
        }
    }

    fn connect(&self) -> Result<BackupsClient<Channel>, BackupError> {
        let away = |error: String| BackupError::Away(error);
        let enrolment =
            Enrolment::load(&self.state_directory).map_err(|error| BackupError::Refused(error.to_string()))?;
        let enrolment = enrolment.ok_or(BackupError::NotClaimed)?;
        let connecting = link::connect_aside(&enrolment, self.trust.as_deref());
        let channel = self.runtime.block_on(connecting).map_err(|error| away(error.to_string()))?;
        Ok(BackupsClient::new(channel).max_decoding_message_size(link::MESSAGE_MAX))
    }

    /// What the cloud said, and the connection it said it over is left: the next one may be another instance's, or have
    /// another certificate.
    fn failed(state: &mut State, status: &Status) -> BackupError {
        (state.client, state.known) = (None, None);
        let said = status.message().to_owned();
        match status.code() {
            Code::Unimplemented => {
                BackupError::Refused("its release is older than this one and keeps no backups".into())
            }
            Code::NotFound => BackupError::Damaged { what: "what the cloud keeps".to_owned(), why: said },
            Code::DataLoss => BackupError::Damaged { what: "what has arrived".to_owned(), why: said },
            Code::InvalidArgument
            | Code::FailedPrecondition
            | Code::OutOfRange
            | Code::ResourceExhausted
            | Code::PermissionDenied
            | Code::Unauthenticated => BackupError::Refused(said),
            Code::Ok
            | Code::Cancelled
            | Code::Unknown
            | Code::DeadlineExceeded
            | Code::AlreadyExists
            | Code::Aborted
            | Code::Internal
            | Code::Unavailable => BackupError::Away(said),
        }
    }
}

fn late() -> Status {
    Status::deadline_exceeded("no answer in time")
}

/// The cloud and the box have other ideas of how much is there: Begin tells.
fn for_now(error: BackupError) -> BackupError {
    if let BackupError::Refused(why) = error { BackupError::Away(why) } else { error }
}

/// Where the last base came to.
fn latest_folder(files: &[BackupFile]) -> Option<String> {
    let bases = files.iter().filter_map(|file| {
        let (folder, name) = file.name.split_once('/')?;
        name.starts_with("base-").then_some((file.kept_at, folder))
    });
    bases.max().map(|(_, folder)| folder.to_owned())
}

fn hash_of(path: &Path) -> io::Result<(Bytes, u64)> {
    let (mut file, mut hasher, mut size_bytes) = (File::open(path)?, Sha256::new(), 0_u64);
    let mut buffer = vec![0; 1 << 20];
    loop {
        match io::Read::read(&mut file, &mut buffer)? {
            0 => return Ok((Bytes::copy_from_slice(&hasher.finalize()), size_bytes)),
            bytes => {
                hasher.update(&buffer[..bytes]);
                size_bytes += u64::try_from(bytes).unwrap_or(u64::MAX);
            }
        }
    }
}

/// A file on its way down.
struct Reading {
    vault: Arc<CloudVault>,
    name: String,
    offset: u64,
    piece: Bytes,
    frames: Option<Streaming<Frame>>,
}

impl Reading {
    /// Whoever reads only sees an error of reading, and asks [`CloudVault::check`].
    fn give_up(&self, why: BackupError) -> io::Error {
        let error = io::Error::other(why.to_string());
        // What is damaged there is no reason not to look at what else there is.
        self.vault.state().failed = Some(why).filter(|why| !matches!(why, BackupError::Damaged { .. }));
        error
    }

    /// The next piece; empty at the end.
    fn next(&mut self) -> Result<Bytes, BackupError> {
        let vault = Arc::clone(&self.vault);
        let frames = match &mut self.frames {
            Some(frames) => frames,
            none => {
                let mut state = vault.state();
                let name = format!("{}/{}", vault.folder(&mut state)?, self.name);
                let question = GetBackupRequest { name, offset_bytes: self.offset };
                none.insert(vault.ask(&mut state, async |mut client| client.get(question).await)?)
            }
        };
        let next = vault.runtime.block_on(async { tokio::time::timeout(PATIENCE, frames.message()).await });
        match next.unwrap_or_else(|_| Err(late())) {
            Ok(Some(Frame { offset_bytes, content, .. })) if offset_bytes == self.offset => Ok(content),
            Ok(Some(_)) => Err(BackupError::Away("a frame that does not fit".to_owned())),
            Ok(None) => Ok(Bytes::new()),
            Err(status) => Err(CloudVault::failed(&mut vault.state(), &status)),
        }
    }
}

impl io::Read for Reading {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut tries = 0;
        while self.piece.is_empty() {
            if (self.vault.line)().calls > 0 {
                return Err(self.give_up(BackupError::Away("somebody is on the phone: later again".to_owned())));
            }
            match self.next() {
                Ok(piece) if piece.is_empty() => return Ok(0),
                Ok(piece) => {
                    self.offset += u64::try_from(piece.len()).unwrap_or(u64::MAX);
                    self.piece = piece;
                }
                Err(BackupError::Away(_)) if tries < TRIES => {
                    tries += 1;
                    self.frames = None;
                    self.vault.runtime.block_on(async { tokio::time::sleep(RETRY).await });
                }
                Err(error) => return Err(self.give_up(error)),
            }
        }
        let bytes = self.piece.len().min(buffer.len());
        self.piece.copy_to_slice(&mut buffer[..bytes]);
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backup::BackupKey;

    fn file(name: &str, kept_at: i64) -> BackupFile {
        BackupFile { name: name.to_owned(), kept_at, ..BackupFile::default() }
    }

    #[test]
    fn a_blank_machine_takes_the_backups_that_came_last() {
        let files = [
            file("offhook-old/base-0009-000000000001.tar.zst.age", 10),
            file("offhook-new/base-0001-000000000001.tar.zst.age", 20),
            file("offhook-old/segment-0009-000000000001-000000000002.zst.age", 30),
        ];
        assert_eq!(latest_folder(&files).as_deref(), Some("offhook-new"));
        assert_eq!(latest_folder(&files[2..]), None, "nothing can be made of a segment");
    }

    fn vault(folder: &Path, recipient: &str) -> (CloudVault, Recipients) {
        let settings = [
            format!("storage.directory={}", folder.display()),
            "cloud.enabled=true".to_owned(),
            "backup.places=['cloud']".to_owned(),
            format!("backup.recipients=['{recipient}']"),
        ];
        let config = Config::load(None, &settings).unwrap();
        let recipients = Recipients::parse(&config.backup.recipients).unwrap();
        let line = || Line { calls: 0, jitter_ms: 0.0 };
        (CloudVault::new(&config, Some("offhook-x".to_owned()), Handle::current(), Arc::new(line)), recipients)
    }

    /// A box that nobody has claimed says so, and what it has sealed waits; for other keys it is sealed anew.
    #[tokio::test(flavor = "multi_thread")]
    async fn what_cannot_be_sent_waits_for_whom_it_is_sealed_for() {
        let folder = tempfile::tempdir().unwrap();
        let state = folder.path().to_owned();
        tokio::task::spawn_blocking(move || {
            let (name, recipient) = ("base-0001-000000000005.tar.zst.age", BackupKey::generate().recipient());
            let (vault, recipients) = vault(&state, &recipient);
            let put = |fill: &str| {
                vault.put(name, &recipients, |to| to.write_all(fill.as_bytes()).map_err(file_error(Path::new("x"))))
            };
            let error = put("once").unwrap_err();
            assert!(matches!(error, BackupError::NotClaimed), "{error}");
            assert!(error.to_string().contains("offhook cloud claim"), "{error}");
            let waiting = || fs::read(vault.path_of(name)).unwrap();
            let sealed = waiting();
            put("twice").unwrap_err();
            assert!(waiting() == sealed, "it goes on with what was begun");
            assert_eq!(vault.begun().bases.len(), 1);
            fs::write(vault.outgoing.join("base-0001-000000000004.tar.zst.age.new"), "half").unwrap();
            for recording in ["recordings/1.wav.age", "recordings/2.wav.age"] {
                vault.put(recording, &recipients, |_| Ok(())).unwrap_err();
            }
            assert_eq!(fs::read_dir(&vault.outgoing).unwrap().count(), 2, "the base and the last recording");
            let (other, recipients) = super::tests::vault(&state, &BackupKey::generate().recipient());
            assert_eq!(other.begun(), Listing::default());
            other.put("segment-0001-000000000005-000000000006.zst.age", &recipients, |_| Ok(())).unwrap_err();
            assert_eq!(vault.begun(), Listing::default(), "what was sealed for others is gone");
            other.give_up("segment-0001-000000000005-000000000006.zst.age");
            assert_eq!(other.begun(), Listing::default());
        })
        .await
        .unwrap();
    }
}
