//! The uploader at work: it is told what is here and what the cloud says, and what it wants is read and sent.
//!
//! It has a connection of its own, so that rows are never behind a recording, and its packets are of low priority.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use cloud_api::v1::blobs_client::BlobsClient;
use cloud_api::v1::{BeginRequest, CommitRequest, Frame};
use prost::bytes::Bytes;
use sha2::{Digest as _, Sha256};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tonic::transport::Channel;
use tonic::{Code, Status as GrpcStatus};
use tracing::{info, warn};

use super::uploader::{Action, Event, Refusal, Status, Uploader};
use super::{Blob, Fault, Outcome, Wanted, rows};
use crate::call::Line;
use crate::config::Config;
use crate::storage::{AudioFiles, Storage, UnixMs};
use crate::sync::enrolment::Enrolment;
use crate::sync::link;
use crate::sync::state::UploadState;

/// How often the enrolment is looked at: whether there is one, and whether it is another one.
const LOOK: Duration = Duration::from_secs(5);
/// Files that are looked for at once.
const FILES: u32 = 64;
/// Content of a frame, in bytes: what was read of a slice when it is cut is lost for the most part of one frame only.
const FRAME_BYTES: usize = 64 << 10;
/// Before the rows are read again after an error.
const READ_RETRY: Duration = Duration::from_secs(60);

type LineNow = Arc<dyn Fn() -> Line + Send + Sync>;

/// The box's end of uploads, running; ended by [`stop`](Uploads::stop).
#[derive(Debug)]
pub struct Uploads {
    task: Option<JoinHandle<()>>,
    state_directory: PathBuf,
}

impl Uploads {
    /// Begins to send recordings of `files`, if the configuration wants it. `line` says how calls are.
    pub fn start(
        config: &Config,
        storage: &Storage,
        files: &AudioFiles,
        line: impl Fn() -> Line + Send + Sync + 'static,
    ) -> Uploads {
        let state_directory = config.state_directory();
        let is_wanted = config.cloud.enabled && config.cloud.recordings != Wanted::None;
        let task = is_wanted.then(|| {
            let task = Task {
                wanted: config.cloud.recordings,
                trust: config.cloud.trust.clone(),
                state_directory: state_directory.clone(),
                storage: storage.clone(),
                files: files.clone(),
                line: Arc::new(line),
                told: None,
            };
            tokio::spawn(task.run())
        });
        UploadState::forget(&state_directory);
        Uploads { task, state_directory }
    }

    /// Ends it. What was on the way goes on where it was.
    pub fn stop(self) {
        if let Some(task) = self.task {
            task.abort();
            UploadState::forget(&self.state_directory);
        }
    }
}

/// Which cloud it is about, and which of its boxes: what one has, another one does not.
pub fn place_of(enrolment: &Enrolment) -> String {
    let mut hasher = Sha256::new();
    for part in [enrolment.tenant().unwrap_or_default().as_bytes(), enrolment.box_id.as_bytes()] {
        hasher.update(Sha256::digest(part));
    }
    for root in enrolment.roots() {
        hasher.update(Sha256::digest(&root));
    }
    hex::encode(&hasher.finalize()[..16])
}

struct Task {
    wanted: Wanted,
    trust: Option<PathBuf>,
    state_directory: PathBuf,
    storage: Storage,
    files: AudioFiles,
    line: LineNow,
    told: Option<UploadState>,
}

/// What belongs to one enrolment.
struct Session<'a> {
    task: &'a mut Task,
    enrolment: Enrolment,
    place: String,
    happened: mpsc::Sender<Happening>,
    channel: Option<Channel>,
    /// What is asked over the connection.
    asked: Option<JoinHandle<()>>,
}

enum Happening {
    Event(Event),
    Connected(u64, Channel),
}

impl Task {
    async fn run(mut self) {
        loop {
            let enrolment = loop {
                match Enrolment::load(&self.state_directory) {
                    Ok(Some(enrolment)) => break enrolment,
                    // Whoever claims it is told what is wrong.
                    Ok(None) | Err(_) => tokio::time::sleep(LOOK).await,
                }
            };
            let (happened, happenings) = mpsc::channel(8);
            let place = place_of(&enrolment);
            let mut session = Session { task: &mut self, enrolment, place, happened, channel: None, asked: None };
            session.drive(happenings).await;
        }
    }

    fn tell(&mut self, status: Status) {
        let new = UploadState { last_end: status.last_end, gives_way: status.is_paused };
        if self.told.as_ref() == Some(&new) {
            return;
        }
        if !new.last_end.is_empty() && self.told.as_ref().is_none_or(|told| told.last_end != new.last_end) {
            info!(why = new.last_end, "Recordings wait for the cloud");
        }
        if let Err(error) = new.save(&self.state_directory) {
            warn!(%error, "The state of uploads is not shown");
        }
        self.told = Some(new);
    }
}

impl Drop for Session<'_> {
    fn drop(&mut self) {
        self.close();
    }
}

impl Session<'_> {
    /// Until there is another enrolment.
    async fn drive(&mut self, mut happenings: mpsc::Receiver<Happening>) {
        let mut uploader = Uploader::new(rand::random(), Instant::now());
        let mut commits = self.task.storage.commits();
        let mut look = Instant::now() + LOOK;
        let mut event = Event::Changed;
        loop {
            for action in uploader.step(event, (self.task.line)(), Instant::now()) {
                self.carry_out(action);
            }
            self.task.tell(uploader.status(Instant::now()));
            let due = uploader.poll_timeout().map_or(look, |due| due.min(look));
            event = tokio::select! {
                Some(happening) = happenings.recv() => match happening {
                    Happening::Event(event) => event,
                    Happening::Connected(connection, channel) => {
                        self.channel = Some(channel);
                        Event::Opened(connection)
                    }
                },
                () = news(&mut commits) => Event::Changed,
                () = tokio::time::sleep_until(due.into()) => Event::Woken,
            };
            if look <= Instant::now() {
                look = Instant::now() + LOOK;
                // Not to be read is no reason to let go of one that works.
                if Enrolment::load(&self.task.state_directory)
                    .is_ok_and(|found| found.as_ref() != Some(&self.enrolment))
                {
                    return;
                }
            }
        }
    }

    fn close(&mut self) {
        self.channel = None;
        if let Some(asked) = self.asked.take() {
            asked.abort();
        }
    }

    fn carry_out(&mut self, action: Action) {
        match action {
            Action::Look => self.look(),
            Action::Open(connection) => self.open(connection),
            Action::Close(_) => self.close(),
            Action::Begin(connection, blob) => self.begin(connection, blob),
            Action::Put(connection, blob, offset, bytes) => self.put(connection, &blob, offset, bytes),
            Action::Commit(connection, blob) => self.commit(connection, blob),
            Action::Check(blob) => self.check(blob),
            Action::Note(blob, outcome) => self.note(blob, outcome),
        }
    }

    /// Tells what comes of `work`, which goes on whatever becomes of the connection.
    fn spawn(&self, work: impl Future<Output = Event> + Send + 'static) -> JoinHandle<()> {
        let happened = self.happened.clone();
        tokio::spawn(async move {
            // Whoever is gone needs nothing.
            let _ = happened.send(Happening::Event(work.await)).await;
        })
    }

    fn look(&self) {
        let (storage, place, wanted) = (self.task.storage.clone(), self.place.clone(), self.task.wanted);
        self.spawn(async move {
            loop {
                let place = place.clone();
                let read = storage.read(move |db| rows::waiting(db, &place, wanted, UnixMs::now(), FILES)).await;
                match read {
                    Ok(blobs) => return Event::Found(blobs),
                    Err(error) => warn!(%error, "Uploads wait for the database"),
                }
                tokio::time::sleep(READ_RETRY).await;
            }
        });
    }

    fn open(&mut self, connection: u64) {
        self.close();
        let (enrolment, trust, happened) = (self.enrolment.clone(), self.task.trust.clone(), self.happened.clone());
        self.asked = Some(tokio::spawn(async move {
            let happening = match link::connect_aside(&enrolment, trust.as_deref()).await {
                Ok(channel) => Happening::Connected(connection, channel),
                Err(error) => Happening::Event(Event::Closed(connection, error.to_string())),
            };
            let _ = happened.send(happening).await;
        }));
    }

    fn begin(&mut self, connection: u64, blob: Blob) {
        let Some(mut client) = self.client() else { return };
        let storage = self.task.storage.clone();
        self.asked = Some(self.spawn(async move {
            if !is_wanted(&storage, &blob).await {
                return Event::Unwanted(connection);
            }
            let Some(sha256) = hash_of(&blob) else { return Event::Faulty(connection, Fault::Damaged) };
            let begun = client.begin(BeginRequest { sha256, size_bytes: blob.size_bytes }).await;
            begun.map_or_else(
                |status| refused(connection, &status),
                |begun| Event::Began(connection, begun.into_inner().offset_bytes),
            )
        }));
    }

    fn put(&mut self, connection: u64, blob: &Blob, offset: u64, bytes: u64) {
        let (Some(mut client), Some(sha256)) = (self.client(), hash_of(blob)) else { return };
        let (path, size_bytes) = (self.task.files.path_of(&blob.sha256), blob.size_bytes);
        self.asked = Some(self.spawn(async move {
            let slice = tokio::task::spawn_blocking(move || read_slice(&path, size_bytes, offset, bytes)).await;
            let slice = match slice.unwrap_or_else(|_| Err(ReadError::Other("reading a recording failed".to_owned()))) {
                Ok(slice) => slice,
                Err(ReadError::Fault(fault)) => return Event::Faulty(connection, fault),
                Err(ReadError::Other(why)) => return Event::Refused(connection, Refusal::ForNow(why)),
            };
            let put = client.put(tokio_stream::iter(frames(&sha256, offset, &slice))).await;
            put.map_or_else(
                |status| refused(connection, &status),
                |put| Event::Put(connection, put.into_inner().offset_bytes),
            )
        }));
    }

    fn commit(&mut self, connection: u64, blob: Blob) {
        let Some(mut client) = self.client() else { return };
        let storage = self.task.storage.clone();
        self.asked = Some(self.spawn(async move {
            if !is_wanted(&storage, &blob).await {
                return Event::Unwanted(connection);
            }
            let Some(sha256) = hash_of(&blob) else { return Event::Faulty(connection, Fault::Damaged) };
            let committed = client.commit(CommitRequest { sha256, size_bytes: blob.size_bytes }).await;
            committed.map_or_else(|status| refused(connection, &status), |_| Event::Committed(connection))
        }));
    }

    fn client(&self) -> Option<BlobsClient<Channel>> {
        self.channel.clone().map(|channel| BlobsClient::new(channel).max_decoding_message_size(link::MESSAGE_MAX))
    }

    fn check(&self, blob: Blob) {
        let path = self.task.files.path_of(&blob.sha256);
        self.spawn(async move {
            let checked = tokio::task::spawn_blocking(move || fault_of(&path, &blob)).await;
            Event::Checked(checked.unwrap_or(None))
        });
    }

    fn note(&self, blob: Blob, outcome: Outcome) {
        match &outcome {
            Outcome::Kept => {}
            Outcome::Refused(why) => warn!(sha256 = blob.sha256, why, "The cloud does not take a recording"),
            Outcome::Lost(fault) => {
                warn!(sha256 = blob.sha256, reason = fault.reason(), "A recording is lost before the cloud had it");
            }
        }
        let (storage, place) = (self.task.storage.clone(), self.place.clone());
        self.spawn(async move {
            let noted = storage.write(move |sql_tx| rows::note(sql_tx, &place, &blob, &outcome, UnixMs::now())).await;
            if let Err(error) = noted {
                // It is found once more, and the cloud says that it has it.
                warn!(%error, "What became of a recording is not noted");
                tokio::time::sleep(READ_RETRY).await;
            }
            Event::Noted
        });
    }
}

/// The next commit; never once there is no writer any more.
async fn news(commits: &mut watch::Receiver<u64>) {
    if commits.changed().await.is_err() {
        std::future::pending::<()>().await;
    }
}

/// Whether a row still has it. Where that cannot be read the cloud sorts it out: it deletes what no row refers to.
async fn is_wanted(storage: &Storage, blob: &Blob) -> bool {
    let sha256 = blob.sha256.clone();
    storage.read(move |db| rows::is_there(db, &sha256)).await.unwrap_or(true)
}

fn hash_of(blob: &Blob) -> Option<Bytes> {
    hex::decode(&blob.sha256).ok().map(Bytes::from)
}

fn refused(connection: u64, status: &GrpcStatus) -> Event {
    let why = || status.message().to_owned();
    let refusal = match status.code() {
        Code::InvalidArgument => Refusal::ForGood(why()),
        Code::DataLoss => Refusal::Damaged(why()),
        Code::Unimplemented => Refusal::Unknown,
        Code::FailedPrecondition | Code::OutOfRange | Code::Aborted | Code::ResourceExhausted => Refusal::ForNow(why()),
        // The network, the service, or the box's certificate, which is renewed elsewhere.
        Code::Ok
        | Code::Cancelled
        | Code::Unknown
        | Code::DeadlineExceeded
        | Code::NotFound
        | Code::AlreadyExists
        | Code::PermissionDenied
        | Code::Internal
        | Code::Unavailable
        | Code::Unauthenticated => return Event::Closed(connection, format!("the cloud does not take it: {}", why())),
    };
    Event::Refused(connection, refusal)
}

/// A slice as messages.
pub(crate) fn frames(sha256: &Bytes, offset: u64, slice: &Bytes) -> Vec<Frame> {
    let starts = (0..slice.len()).step_by(FRAME_BYTES);
    let frame = |start: usize| Frame {
        sha256: sha256.clone(),
        offset_bytes: offset + u64::try_from(start).unwrap_or(u64::MAX),
        content: slice.slice(start..slice.len().min(start + FRAME_BYTES)),
    };
    starts.map(frame).collect()
}

enum ReadError {
    Fault(Fault),
    Other(String),
}

/// A piece of a file that is as long as its row says. Blocks.
fn read_slice(path: &Path, size_bytes: u64, offset: u64, bytes: u64) -> Result<Bytes, ReadError> {
    let failed = |error: io::Error| match error.kind() == io::ErrorKind::NotFound {
        true => ReadError::Fault(Fault::Gone),
        false => ReadError::Other(format!("{}: {error}", path.display())),
    };
    let file = File::open(path).map_err(failed)?;
    if file.metadata().map_err(failed)?.len() != size_bytes {
        return Err(ReadError::Fault(Fault::Damaged));
    }
    let mut slice = vec![0; usize::try_from(bytes).unwrap_or(usize::MAX)];
    file.read_exact_at(&mut slice, offset).map_err(failed)?;
    Ok(slice.into())
}

/// What is wrong with a file, from its first byte to its last. Blocks.
fn fault_of(path: &Path, blob: &Blob) -> Option<Fault> {
    let hashed = File::open(path).and_then(|mut file| {
        let mut hasher = Sha256::new();
        let mut buffer = vec![0; 1 << 20];
        loop {
            match io::Read::read(&mut file, &mut buffer)? {
                0 => return Ok(hex::encode(hasher.finalize())),
                bytes => hasher.update(&buffer[..bytes]),
            }
        }
    });
    match hashed {
        Ok(hash) => (hash != blob.sha256).then_some(Fault::Damaged),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Some(Fault::Gone),
        // The disk may read it next time.
        Err(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slice_goes_in_frames_that_fit_together() {
        let slice = Bytes::from((0..200_000_u32).map(|byte| (byte % 251) as u8).collect::<Vec<_>>());
        let frames = frames(&Bytes::from_static(&[7; 32]), 1_000, &slice);
        let offsets: Vec<_> = frames.iter().map(|frame| frame.offset_bytes).collect();
        assert_eq!(offsets, [1_000, 66_536, 132_072, 197_608]);
        let whole: Vec<u8> = frames.iter().flat_map(|frame| frame.content.to_vec()).collect();
        assert!(whole == slice);
    }

    #[test]
    fn what_is_wrong_with_a_file_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.wav");
        let blob = Blob { sha256: hex::encode(Sha256::digest(b"hello")), size_bytes: 5 };
        let slice = |offset, bytes| match read_slice(&path, 5, offset, bytes) {
            Ok(slice) => Ok(slice),
            Err(ReadError::Fault(fault)) => Err(Some(fault)),
            Err(ReadError::Other(_)) => Err(None),
        };
        assert_eq!((slice(0, 5), fault_of(&path, &blob)), (Err(Some(Fault::Gone)), Some(Fault::Gone)));
        std::fs::write(&path, b"hello").unwrap();
        assert_eq!((slice(1, 3), fault_of(&path, &blob)), (Ok(Bytes::from_static(b"ell")), None));
        std::fs::write(&path, b"hullo").unwrap();
        assert_eq!((slice(1, 3).is_ok(), fault_of(&path, &blob)), (true, Some(Fault::Damaged)));
        std::fs::write(&path, b"hell").unwrap();
        assert_eq!(slice(0, 4), Err(Some(Fault::Damaged)));
    }

    #[test]
    fn what_the_cloud_says_is_for_now_or_for_good() {
        let said = |status: GrpcStatus| {
            let event = refused(3, &status);
            if let Event::Refused(3, refusal) = event { Some(refusal) } else { None }
        };
        assert_eq!(said(GrpcStatus::invalid_argument("too large")), Some(Refusal::ForGood("too large".to_owned())));
        assert_eq!(said(GrpcStatus::resource_exhausted("full")), Some(Refusal::ForNow("full".to_owned())));
        assert_eq!(said(GrpcStatus::data_loss("hash")), Some(Refusal::Damaged("hash".to_owned())));
        assert_eq!(said(GrpcStatus::unimplemented("")), Some(Refusal::Unknown));
        for status in [GrpcStatus::unavailable(""), GrpcStatus::permission_denied(""), GrpcStatus::unknown("")] {
            assert_eq!(said(status), None, "another connection may help");
        }
    }
}
