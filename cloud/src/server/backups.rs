//! Backups: what a box asks of [`backups`](crate::backups), and the end of what it has removed.

use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use cloud_api::v1::backups_server::Backups as BackupsService;
use cloud_api::v1::{
    BackupFile as Message, BackupFiles, BeginResponse, CommitBackupResponse, Frame, GetBackupRequest,
    ListBackupsRequest, PutResponse, RemoveBackupsRequest, RemoveBackupsResponse,
};
use prost::bytes::Bytes;
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use super::blobs::{OUTGOING, SWEEP_FIRST, content_of, give, status_of, stopped, take};
use super::{Shared, admitted};
use crate::backups::{BackupError, BackupFile, Limits, NAMES_MAX, check_epoch, check_name, check_quota};
use crate::blobs::{BlobError, Blobs, Content};
use crate::clock;
use crate::store::{self, Backups as _, BoxName, Store as _};

/// Files of a message.
const FILES: usize = 1_000;
/// Content that never got a name, because the service was killed in between, goes after so long, in milliseconds.
const NAMELESS_MS: i64 = 86_400_000;

/// What is kept, and how much of it.
#[derive(Debug)]
pub struct Kept {
    /// Content, below a prefix of its own.
    pub blobs: Blobs,
    /// What is taken.
    pub limits: Limits,
}

/// Counts since the start.
#[derive(Debug, Default)]
pub(super) struct BackupCounts {
    kept: AtomicU64,
    kept_bytes: AtomicU64,
    refused: AtomicU64,
    removed: AtomicU64,
}

impl BackupCounts {
    pub(super) fn render(&self, page: &mut String) {
        for (name, help, count) in [
            ("backups_total", "Files of backups that were taken.", &self.kept),
            ("backup_bytes_total", "Bytes of backups that were taken.", &self.kept_bytes),
            (
                "backups_refused_total",
                "Files of backups that were refused: the quota, a box that was replaced.",
                &self.refused,
            ),
            ("backups_removed_total", "Files of backups that boxes have removed.", &self.removed),
        ] {
            let (name, count) = (format!("offhook_cloud_{name}"), count.load(Ordering::Relaxed));
            // Writing to a string does not fail.
            let _ = write!(page, "# HELP {name} {help}\n# TYPE {name} counter\n{name} {count}\n");
        }
    }
}

pub(super) struct Service(pub(super) Arc<Shared>);

impl Service {
    fn refused(&self, of: &BoxName, error: &BackupError) -> Status {
        self.0.metrics.backups.refused.fetch_add(1, Ordering::Relaxed);
        tracing::warn!(%of, %error, "A backup is refused");
        let said = error.to_string();
        match error {
            BackupError::Name(_) | BackupError::Names(_) => Status::invalid_argument(said),
            BackupError::Quota { .. } => Status::resource_exhausted(said),
            BackupError::Fenced { .. } => Status::failed_precondition(said),
            BackupError::NotFound(_) => Status::not_found(said),
        }
    }

    fn failed(of: &BoxName, error: &BlobError) -> Status {
        let status = status_of(error);
        tracing::info!(%of, %error, "A backup is not taken or given");
        // What it says is about recordings.
        let is_ours = status.code() == tonic::Code::Unavailable;
        if is_ours { Status::unavailable("the store of backups failed") } else { status }
    }

    /// Whether this file may be taken.
    async fn check(&self, of: &BoxName, file: &Message) -> Result<Content, Status> {
        let content = content_of(&file.sha256, file.size_bytes).map_err(|error| Self::failed(of, &error))?;
        check_name(&file.name).map_err(|error| self.refused(of, &error))?;
        let name = of.clone();
        let current = self.0.answer(move |store| store.transact(&name, |rows| rows.box_state())).await?;
        let checked = check_epoch(&file.name, current.map(|state| state.epoch));
        checked.map_err(|error| self.refused(of, &error))?;
        Ok(content)
    }

    async fn found(&self, of: &BoxName, name: &str) -> Result<Option<BackupFile>, Status> {
        let (of, name) = (of.clone(), name.to_owned());
        self.0.answer(move |store| store.backup_file(&of, &name)).await
    }

    /// The content gets its name.
    async fn name(&self, of: &BoxName, file: BackupFile) -> Result<(), Status> {
        let (size_bytes, limit) = (file.size_bytes, self.0.backups.limits.box_bytes);
        let name = of.clone();
        let kept = self.0.answer(move |store| store.keep_backup(&name, &file, limit)).await?;
        match kept {
            store::Kept::TooMuch(bytes) => {
                let over = BackupError::Quota { bytes: bytes.saturating_add(size_bytes), limit };
                return Err(self.refused(of, &over));
            }
            store::Kept::Before => {}
            store::Kept::There => {
                let counts = &self.0.metrics.backups;
                counts.kept.fetch_add(1, Ordering::Relaxed);
                counts.kept_bytes.fetch_add(size_bytes, Ordering::Relaxed);
            }
        }
        Ok(())
    }
}

#[tonic::async_trait]
impl BackupsService for Service {
    type ListStream = ReceiverStream<Result<BackupFiles, Status>>;
    type GetStream = ReceiverStream<Result<Frame, Status>>;

    async fn list(&self, request: Request<ListBackupsRequest>) -> Result<Response<Self::ListStream>, Status> {
        let of = admitted(&self.0, &request).await?;
        let mut files = self.0.answer(move |store| store.backup_files(&of)).await?;
        files.retain(|file| file.removed_at.is_none());
        let (outgoing, messages) = mpsc::channel(OUTGOING);
        tokio::spawn(async move {
            for some in files.chunks(FILES) {
                let message = BackupFiles { files: some.iter().map(message_of).collect() };
                if outgoing.send(Ok(message)).await.is_err() {
                    return;
                }
            }
        });
        Ok(Response::new(ReceiverStream::new(messages)))
    }

    async fn begin(&self, request: Request<Message>) -> Result<Response<BeginResponse>, Status> {
        let of = admitted(&self.0, &request).await?;
        let file = request.into_inner();
        let content = self.check(&of, &file).await?;
        let found = self.found(&of, &file.name).await?;
        if found.is_none_or(|found| found.sha256 != content.sha256) {
            let name = of.clone();
            let bytes = self.0.answer(move |store| store.backup_bytes(&name)).await?;
            let checked = check_quota(bytes, file.size_bytes, self.0.backups.limits.box_bytes);
            checked.map_err(|error| self.refused(&of, &error))?;
        }
        let begun = self.0.backups.blobs.begin(&of, content).await.map_err(|error| Self::failed(&of, &error))?;
        Ok(Response::new(BeginResponse { offset_bytes: begun.offset_bytes }))
    }

    async fn put(&self, request: Request<Streaming<Frame>>) -> Result<Response<PutResponse>, Status> {
        let of = admitted(&self.0, &request).await?;
        let stopping = self.0.stopping.clone();
        let taken = take(&self.0.backups.blobs, &of, &mut request.into_inner(), stopping).await?;
        let offset_bytes = taken.map_err(|error| Self::failed(&of, &error))?;
        Ok(Response::new(PutResponse { offset_bytes }))
    }

    async fn commit(&self, request: Request<Message>) -> Result<Response<CommitBackupResponse>, Status> {
        let of = admitted(&self.0, &request).await?;
        let file = request.into_inner();
        let content = self.check(&of, &file).await?;
        let (shared, name) = (Arc::clone(&self.0), of.clone());
        // A box that is cut off meanwhile finds it done when it comes back.
        let committed = tokio::spawn(async move { shared.backups.blobs.commit(&name, content).await });
        let committed = committed.await.unwrap_or(Err(BlobError::Failed));
        committed.map_err(|error| Self::failed(&of, &error))?;
        let Content { sha256, size_bytes } = content;
        let file = BackupFile { name: file.name, sha256, size_bytes, kept_at: clock::unix_ms(), removed_at: None };
        self.name(&of, file).await?;
        Ok(Response::new(CommitBackupResponse {}))
    }

    async fn get(&self, request: Request<GetBackupRequest>) -> Result<Response<Self::GetStream>, Status> {
        let of = admitted(&self.0, &request).await?;
        let GetBackupRequest { name, offset_bytes } = request.into_inner();
        check_name(&name).map_err(|error| self.refused(&of, &error))?;
        let found = self.found(&of, &name).await?;
        let file = found.ok_or_else(|| self.refused(&of, &BackupError::NotFound(name)))?;
        let pieces = self.0.backups.blobs.read(&of, &file.sha256, offset_bytes).await;
        let pieces = pieces.map_err(|error| Self::failed(&of, &error))?;
        let (outgoing, frames) = mpsc::channel(OUTGOING);
        let from = (Bytes::copy_from_slice(&file.sha256), offset_bytes);
        tokio::spawn(give(pieces, from, outgoing, self.0.stopping.clone()));
        Ok(Response::new(ReceiverStream::new(frames)))
    }

    async fn remove(&self, request: Request<RemoveBackupsRequest>) -> Result<Response<RemoveBackupsResponse>, Status> {
        let of = admitted(&self.0, &request).await?;
        let RemoveBackupsRequest { names } = request.into_inner();
        if names.len() > NAMES_MAX {
            return Err(self.refused(&of, &BackupError::Names(names.len())));
        }
        let now = clock::unix_ms();
        let removed = self.0.answer(move |store| store.remove_backups(&of, &names, now)).await?;
        self.0.metrics.backups.removed.fetch_add(removed, Ordering::Relaxed);
        Ok(Response::new(RemoveBackupsResponse { removed: u32::try_from(removed).unwrap_or(u32::MAX) }))
    }
}

fn message_of(file: &BackupFile) -> Message {
    Message {
        name: file.name.clone(),
        sha256: Bytes::copy_from_slice(&file.sha256),
        size_bytes: file.size_bytes,
        kept_at: file.kept_at,
    }
}

/// Every so often, until the service stops: what was removed long enough ago goes for good. Content without a name is looked
/// for once a day, because listing a bucket costs.
pub(super) async fn sweep(shared: Arc<Shared>, every: Duration, mut stopping: watch::Receiver<bool>) {
    let mut wait = SWEEP_FIRST.min(every);
    let mut nameless_at = clock::unix_ms();
    loop {
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            () = stopped(&mut stopping) => return,
        }
        let now = clock::unix_ms();
        let with_nameless = now.saturating_sub(nameless_at) >= NAMELESS_MS;
        if with_nameless {
            nameless_at = now;
        }
        sweep_once(&shared, now, with_nameless).await;
        wait = every;
    }
}

/// What cannot be swept now is swept later: it is said in the log, and the rest goes on.
async fn sweep_once(shared: &Shared, now: i64, with_nameless: bool) {
    if let Err(error) = shared.backups.blobs.sweep_uploads().await {
        tracing::warn!(%error, "Old uploads of backups are not swept");
    }
    for tenant in shared.answer(|store| store.tenants()).await.unwrap_or_default() {
        for record in shared.answer(move |store| store.boxes(&tenant)).await.unwrap_or_default() {
            if *shared.stopping.borrow() {
                return;
            }
            match sweep_box(shared, &record.name, now, with_nameless).await {
                Ok(0) => {}
                Ok(files) => tracing::info!(of = %record.name, files, "Removed backups are gone for good"),
                Err(status) => tracing::warn!(of = %record.name, %status, "Removed backups are not swept"),
            }
        }
    }
}

async fn sweep_box(shared: &Shared, of: &BoxName, now: i64, with_nameless: bool) -> Result<usize, Status> {
    let Kept { blobs, limits } = &shared.backups;
    let before = now.saturating_sub(limits.removed_ms);
    let name = of.clone();
    let mut gone = shared.answer(move |store| store.expire_backups(&name, before)).await?;
    if with_nameless {
        // Asked for before the names are: what gets one meanwhile is too young to be here.
        let old = blobs.settled(of, now.saturating_sub(NAMELESS_MS)).await;
        let old = old.map_err(|error| Service::failed(of, &error))?;
        let name = of.clone();
        let files = shared.answer(move |store| store.backup_files(&name)).await?;
        let named = |hash: &_| files.iter().any(|file| file.sha256 == *hash);
        gone.extend(old.into_iter().filter(|hash| !named(hash)));
    }
    for sha256 in &gone {
        blobs.delete(of, sha256).await.map_err(|error| Service::failed(of, &error))?;
    }
    Ok(gone.len())
}

#[cfg(test)]
pub(super) mod tests {
    use std::path::Path;

    use sha2::{Digest as _, Sha256};

    use super::super::blobs::tests::shared;
    use super::*;
    use crate::backups::PREFIX;
    use crate::blobs::Objects;

    const DAY_MS: i64 = 86_400_000;

    pub(in crate::server) fn kept(folder: &Path) -> Kept {
        let objects = Objects::folder(folder).unwrap().below(PREFIX);
        let blobs = Blobs::open(&folder.join("backup-uploads"), objects, crate::blobs::Limits::default()).unwrap();
        Kept { blobs, limits: Limits { box_bytes: 100, removed_ms: 14 * DAY_MS } }
    }

    struct Rig {
        _folder: tempfile::TempDir,
        shared: Arc<Shared>,
        of: BoxName,
    }

    impl Rig {
        fn new() -> Rig {
            let folder = tempfile::tempdir().unwrap();
            let shared = Arc::new(shared(folder.path()));
            let of = BoxName { tenant_id: "bakery".to_owned(), box_id: "1".to_owned() };
            shared.store.enroll(&of, 1).unwrap();
            Rig { _folder: folder, shared, of }
        }

        async fn keep(&self, name: &str, text: &'static str, at: i64) -> Result<(), Status> {
            let content = self.content(text).await;
            let (name, removed_at) = (name.to_owned(), None);
            let Content { sha256, size_bytes } = content;
            let file = BackupFile { name, sha256, size_bytes, kept_at: at, removed_at };
            Service(Arc::clone(&self.shared)).name(&self.of, file).await
        }

        /// Content without a name.
        async fn content(&self, text: &'static str) -> Content {
            let size_bytes = u64::try_from(text.len()).unwrap();
            let content = Content { sha256: Sha256::digest(text).into(), size_bytes };
            let blobs = &self.shared.backups.blobs;
            if blobs.begin(&self.of, content).await.unwrap().offset_bytes < size_bytes {
                let part = Arc::new(blobs.part(&self.of, content.sha256).await.unwrap());
                blobs.append(&part, 0, Bytes::from_static(text.as_bytes())).await.unwrap();
            }
            blobs.commit(&self.of, content).await.unwrap();
            content
        }

        async fn is_there(&self, text: &str) -> bool {
            self.shared.backups.blobs.read(&self.of, &Sha256::digest(text).into(), 0).await.is_ok()
        }

        fn remove(&self, name: &str, at: i64) {
            assert_eq!(self.shared.store.remove_backups(&self.of, &[name.to_owned()], at).unwrap(), 1);
        }
    }

    /// Whoever has stolen a box may remove everything; for two weeks nothing is lost by it.
    #[tokio::test]
    async fn what_a_box_removes_is_gone_when_its_days_are_over_and_not_before() {
        let rig = Rig::new();
        let now = clock::unix_ms();
        rig.keep("base-0001-1", "a base", now).await.unwrap();
        rig.keep("segment-0001-1-2", "a segment", now).await.unwrap();
        rig.remove("base-0001-1", now);
        // The sweep of recordings knows nothing of backups, whatever rows there are.
        for (days, there) in [(0, true), (14, true), (15, false)] {
            sweep_once(&rig.shared, now + days * DAY_MS, false).await;
            assert_eq!(rig.is_there("a base").await, there, "after {days} days");
            assert!(rig.is_there("a segment").await, "it was not removed");
        }
        assert_eq!(rig.shared.store.rewind_backups(&rig.of, now, now).unwrap(), (0, 0), "it is gone for good");
    }

    #[tokio::test]
    async fn content_that_two_names_have_stays_for_the_second() {
        let rig = Rig::new();
        let now = clock::unix_ms();
        rig.keep("one", "the same", now).await.unwrap();
        rig.keep("two", "the same", now).await.unwrap();
        rig.remove("one", now);
        sweep_once(&rig.shared, now + 15 * DAY_MS, false).await;
        assert!(rig.is_there("the same").await);
    }

    /// Killed between the content and its name: nothing is kept forever, and nothing goes that is just being named.
    #[tokio::test]
    async fn content_without_a_name_goes_after_a_day() {
        let rig = Rig::new();
        let now = clock::unix_ms();
        rig.content("nameless").await;
        rig.keep("named", "named", now).await.unwrap();
        for (days, with_nameless, there) in [(0, true, true), (2, false, true), (2, true, false)] {
            sweep_once(&rig.shared, now + days * DAY_MS, with_nameless).await;
            assert_eq!((rig.is_there("nameless").await, rig.is_there("named").await), (there, true), "{days} days");
        }
    }

    #[tokio::test]
    async fn a_box_has_its_quota_and_is_told_by_name() {
        let rig = Rig::new();
        rig.keep("fifty", "01234567890123456789012345678901234567890123456789", 1).await.unwrap();
        rig.remove("fifty", 2);
        let error = rig.keep("more", "0123456789012345678901234567890123456789012345678901", 3).await.unwrap_err();
        assert_eq!(error.code(), tonic::Code::ResourceExhausted);
        assert!(error.message().contains("backups.gigabytes_limit"), "{error}");
        rig.keep("less", "0123456789012345678901234567890123456789", 4).await.unwrap();
        let page = rig.shared.metrics.render();
        assert!(page.contains("\noffhook_cloud_backups_total 2\n"), "{page}");
        assert!(page.contains("\noffhook_cloud_backups_refused_total 1\n"), "{page}");
    }
}
