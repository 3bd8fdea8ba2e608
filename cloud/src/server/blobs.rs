//! Recordings: what a box asks of [`blobs`](crate::blobs), and the sweep.

use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use cloud_api::v1::blobs_server::Blobs as BlobsService;
use cloud_api::v1::{BeginRequest, BeginResponse, CommitRequest, CommitResponse, Frame, GetRequest, PutResponse};
use prost::bytes::{Bytes, BytesMut};
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tokio_stream::{Stream, StreamExt as _};
use tonic::{Request, Response, Status, Streaming};

use super::{Shared, admitted};
use crate::blobs::{BlobError, Blobs, Content, FRAME_MAX, hash_of};
use crate::store::deliveries::Deliveries as _;
use crate::store::tenants::{Standing, StandingRecord, Tenants as _};
use crate::store::{BoxName, BoxRecord, Store as _, away};

/// A frame, and what is around its content.
pub(super) const MESSAGE_MAX: usize = FRAME_MAX + (1 << 10);
/// Frames that wait for a box that reads slowly.
pub(super) const OUTGOING: usize = 4;
/// To a box whose request is broken off.
const STOPPING: &str = "this instance stops: go on with the next one";
/// After a start there is other work.
pub(super) const SWEEP_FIRST: Duration = Duration::from_secs(60);

/// Counts since the start.
#[derive(Debug, Default)]
pub(super) struct BlobCounts {
    kept: AtomicU64,
    kept_bytes: AtomicU64,
    resumed: AtomicU64,
    refused: AtomicU64,
    deleted: AtomicU64,
}

impl BlobCounts {
    pub(super) fn render(&self, page: &mut String) {
        for (name, help, count) in [
            ("blobs_total", "Recordings that were taken.", &self.kept),
            ("blob_bytes_total", "Bytes of recordings that were taken.", &self.kept_bytes),
            ("blobs_resumed_total", "Uploads that went on where they were cut.", &self.resumed),
            ("blobs_refused_total", "Requests for recordings that were refused.", &self.refused),
            ("blobs_deleted_total", "Recordings that went with their rows.", &self.deleted),
        ] {
            let (name, count) = (format!("offhook_cloud_{name}"), count.load(Ordering::Relaxed));
            // Writing to a string does not fail.
            let _ = write!(page, "# HELP {name} {help}\n# TYPE {name} counter\n{name} {count}\n");
        }
    }

    fn add(count: &AtomicU64, more: u64) {
        count.fetch_add(more, Ordering::Relaxed);
    }
}

pub(super) struct Service(pub(super) Arc<Shared>);

impl Service {
    /// Whose recordings they are.
    async fn of<T>(&self, request: &Request<T>) -> Result<BoxName, Status> {
        admitted(&self.0, request).await
    }

    /// The box comes again later; where to, its stream tells it.
    async fn is_here(&self, name: &BoxName) -> Result<(), Status> {
        let tenant_id = name.tenant_id.clone();
        match self.0.answer(move |store| away(store, &tenant_id)).await? {
            None => Ok(()),
            Some(_) => Err(Status::unavailable("this office is not here, or not now")),
        }
    }

    fn counts(&self) -> &BlobCounts {
        &self.0.metrics.blobs
    }

    fn refused(&self, of: &BoxName, error: &BlobError) -> Status {
        BlobCounts::add(&self.counts().refused, 1);
        let status = status_of(error);
        if status.code() == tonic::Code::Unavailable {
            // What it is about stays here.
            tracing::error!(%of, %error, "A recording cannot be taken or given");
        } else {
            tracing::info!(%of, %error, "A recording is refused");
        }
        status
    }
}

/// Frames of one content to the disk; how much of it is there then.
pub(super) async fn take(
    blobs: &Blobs,
    of: &BoxName,
    frames: &mut Streaming<Frame>,
    mut stopping: watch::Receiver<bool>,
) -> Result<Result<u64, BlobError>, Status> {
    let mut part = None;
    loop {
        let frame = tokio::select! {
            frame = frames.message() => frame?,
            () = stopped(&mut stopping) => return Err(Status::unavailable(STOPPING)),
        };
        let Some(Frame { sha256, offset_bytes, content }) = frame else { break };
        let taken = async {
            let sha256 = hash_of(&sha256)?;
            let part = match &mut part {
                Some(part) => part,
                part => part.insert(blobs.part(of, sha256).await?),
            };
            if part.sha256() != sha256 {
                return Err(BlobError::OtherContent);
            }
            blobs.append(part, offset_bytes, content).await
        };
        if let Err(error) = taken.await {
            return Ok(Err(error));
        }
    }
    Ok(match &part {
        Some(part) => blobs.flush(part).await,
        None => Err(BlobError::Frame(0)),
    })
}

/// What somebody outside is told. What is `Unavailable` may go better next time, by itself.
pub(super) fn status_of(error: &BlobError) -> Status {
    let said = || error.to_string();
    match error {
        BlobError::NoHash(_) | BlobError::Size { .. } | BlobError::OtherSize { .. } | BlobError::Frame(_) => {
            Status::invalid_argument(said())
        }
        BlobError::OtherContent => Status::invalid_argument(said()),
        BlobError::Unfinished { .. } | BlobError::DiskFull => Status::resource_exhausted(said()),
        BlobError::NotBegun | BlobError::Incomplete { .. } => Status::failed_precondition(said()),
        BlobError::Offset { .. } | BlobError::BeyondEnd { .. } | BlobError::BehindEnd { .. } => {
            Status::out_of_range(said())
        }
        BlobError::Damaged { .. } => Status::data_loss(said()),
        BlobError::Busy => Status::aborted(said()),
        BlobError::NotFound => Status::not_found(said()),
        BlobError::File { .. } | BlobError::Objects(_) | BlobError::Failed => {
            Status::unavailable("the store of recordings failed")
        }
    }
}

pub(super) fn content_of(sha256: &[u8], size_bytes: u64) -> Result<Content, BlobError> {
    Ok(Content { sha256: hash_of(sha256)?, size_bytes })
}

#[tonic::async_trait]
impl BlobsService for Service {
    type GetStream = ReceiverStream<Result<Frame, Status>>;

    async fn begin(&self, request: Request<BeginRequest>) -> Result<Response<BeginResponse>, Status> {
        let of = self.of(&request).await?;
        let BeginRequest { sha256, size_bytes } = request.into_inner();
        let begun = match content_of(&sha256, size_bytes) {
            Ok(content) => self.0.blobs.begin(&of, content).await,
            Err(error) => Err(error),
        };
        let begun = begun.map_err(|error| self.refused(&of, &error))?;
        if begun.offset_bytes > 0 && !begun.is_kept {
            BlobCounts::add(&self.counts().resumed, 1);
        }
        Ok(Response::new(BeginResponse { offset_bytes: begun.offset_bytes }))
    }

    async fn put(&self, request: Request<Streaming<Frame>>) -> Result<Response<PutResponse>, Status> {
        let of = self.of(&request).await?;
        let taken = take(&self.0.blobs, &of, &mut request.into_inner(), self.0.stopping.clone()).await?;
        let offset_bytes = taken.map_err(|error| self.refused(&of, &error))?;
        Ok(Response::new(PutResponse { offset_bytes }))
    }

    async fn commit(&self, request: Request<CommitRequest>) -> Result<Response<CommitResponse>, Status> {
        let of = self.of(&request).await?;
        let CommitRequest { sha256, size_bytes } = request.into_inner();
        let content = content_of(&sha256, size_bytes).map_err(|error| self.refused(&of, &error))?;
        let (shared, name) = (Arc::clone(&self.0), of.clone());
        // A box that is cut off meanwhile finds it done when it comes back.
        let committed = tokio::spawn(async move { shared.blobs.commit(&name, content).await });
        let is_new = committed.await.unwrap_or(Err(BlobError::Failed)).map_err(|error| self.refused(&of, &error))?;
        // Whoever moves a tenant freezes it, and then looks which recordings there are: one that came too late for that is
        // offered again, where its tenant is then.
        self.is_here(&of).await?;
        if is_new {
            BlobCounts::add(&self.counts().kept, 1);
            BlobCounts::add(&self.counts().kept_bytes, size_bytes);
        }
        Ok(Response::new(CommitResponse {}))
    }

    async fn get(&self, request: Request<GetRequest>) -> Result<Response<Self::GetStream>, Status> {
        let of = self.of(&request).await?;
        let GetRequest { sha256, offset_bytes } = request.into_inner();
        let found = match hash_of(&sha256) {
            Ok(hash) => self.0.blobs.read(&of, &hash, offset_bytes).await,
            Err(error) => Err(error),
        };
        let pieces = found.map_err(|error| self.refused(&of, &error))?;
        let (outgoing, frames) = mpsc::channel(OUTGOING);
        tokio::spawn(give(pieces, (sha256, offset_bytes), outgoing, self.0.stopping.clone()));
        Ok(Response::new(ReceiverStream::new(frames)))
    }
}

/// As [`send`], until the service stops: a box that reads slowly is not waited for.
pub(super) async fn give(
    pieces: impl Stream<Item = Result<Bytes, object_store::Error>> + Unpin,
    from: (Bytes, u64),
    outgoing: mpsc::Sender<Result<Frame, Status>>,
    mut stopping: watch::Receiver<bool>,
) {
    // Room for the last word, so that what is broken off never looks whole.
    let Ok(last) = outgoing.clone().reserve_owned().await else { return };
    tokio::select! {
        () = send(pieces, from, &outgoing) => {}
        () = stopped(&mut stopping) => drop(last.send(Err(Status::unavailable(STOPPING)))),
    }
}

/// Pieces of any size as frames, until the box has all of them or is gone.
async fn send(
    mut pieces: impl Stream<Item = Result<Bytes, object_store::Error>> + Unpin,
    (sha256, mut offset_bytes): (Bytes, u64),
    outgoing: &mpsc::Sender<Result<Frame, Status>>,
) {
    let mut gathered = BytesMut::with_capacity(FRAME_MAX);
    let mut is_over = false;
    while !is_over {
        match pieces.next().await {
            Some(Ok(piece)) => gathered.extend_from_slice(&piece),
            Some(Err(error)) => {
                let _ = outgoing.send(Err(status_of(&error.into()))).await;
                return;
            }
            None => is_over = true,
        }
        while gathered.len() >= FRAME_MAX || (is_over && !gathered.is_empty()) {
            let content = gathered.split_to(gathered.len().min(FRAME_MAX)).freeze();
            let bytes = u64::try_from(content.len()).unwrap_or(u64::MAX);
            let frame = Frame { sha256: sha256.clone(), offset_bytes, content };
            if outgoing.send(Ok(frame)).await.is_err() {
                return;
            }
            offset_bytes += bytes;
        }
    }
}

/// Returns when the service stops; also without whoever could say so.
pub(super) async fn stopped(stopping: &mut watch::Receiver<bool>) {
    let _ = stopping.wait_for(|stopping| *stopping).await;
}

/// Every so often, until the service stops: see [`blobs`](crate::blobs) for what goes.
pub(super) async fn sweep(shared: Arc<Shared>, every: Duration, mut stopping: watch::Receiver<bool>) {
    let mut wait = SWEEP_FIRST.min(every);
    loop {
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            () = stopped(&mut stopping) => return,
        }
        sweep_once(&shared).await;
        wait = every;
    }
}

/// What cannot be swept now is swept later: it is said in the log, and the rest goes on.
async fn sweep_once(shared: &Shared) {
    match shared.blobs.sweep_uploads().await {
        Ok(0) => {}
        Ok(uploads) => tracing::info!(uploads, "Uploads that nobody has gone on with are gone"),
        Err(error) => tracing::warn!(%error, "Old uploads are not swept"),
    }
    sweep_tenants(shared).await;
    let tenants = shared.answer(|store| store.tenants()).await.unwrap_or_default();
    for tenant in tenants {
        for BoxRecord { name, equal_at, .. } in
            shared.answer(move |store| store.boxes(&tenant)).await.unwrap_or_default()
        {
            if *shared.stopping.borrow() {
                return;
            }
            match sweep_box(shared, &name, equal_at).await {
                Ok(0) => {}
                Ok(blobs) => tracing::info!(of = %name, blobs, "Recordings are gone with their rows"),
                Err(status) => tracing::warn!(of = %name, %status, "Recordings are not swept"),
            }
        }
    }
}

/// What an instance has on its own disk of tenants that are not here any more, and what came while one was being erased.
async fn sweep_tenants(shared: &Shared) {
    for record in shared.answer(|store| store.standings()).await.unwrap_or_default() {
        let StandingRecord { tenant_id, standing, .. } = record;
        let swept = match standing {
            Standing::Erased(_) => shared.blobs.forget_tenant(&tenant_id).await.map(drop),
            // Its recordings may be in a bucket that two cells share.
            Standing::Elsewhere { .. } => shared.blobs.forget_uploads(&tenant_id).await,
            Standing::Open | Standing::Frozen { .. } | Standing::Arriving { .. } | Standing::Ready { .. } => Ok(()),
        };
        if let Err(error) = swept {
            tracing::warn!(tenant_id, %error, "What is left of a tenant's recordings is not swept");
        }
    }
}

async fn sweep_box(shared: &Shared, of: &BoxName, equal_at: Option<i64>) -> Result<usize, Status> {
    let Some(equal_at) = equal_at else { return Ok(0) };
    let failed = |error: BlobError| Status::unavailable(error.to_string());
    let settled = shared.blobs.settled(of, equal_at).await.map_err(failed)?;
    if settled.is_empty() {
        return Ok(0);
    }
    let name = of.clone();
    let wanted = shared.answer(move |store| {
        let mut wanted = store.texts_of(&name, "recordings", "sha256")?;
        // What is handed down to the box, and has no row there yet.
        wanted.extend(store.delivered_blobs(&name)?);
        Ok(wanted)
    });
    let wanted = wanted.await?;
    let mut deleted = 0;
    for sha256 in settled.iter().filter(|sha256| !wanted.contains(&hex::encode(sha256))) {
        shared.blobs.delete(of, sha256).await.map_err(failed)?;
        BlobCounts::add(&shared.metrics.blobs.deleted, 1);
        deleted += 1;
    }
    Ok(deleted)
}

#[cfg(test)]
pub(super) mod tests {
    use std::collections::BTreeMap;
    use std::path::Path;

    use cloud_api::v1::{Value, value::Kind};
    use sha2::{Digest as _, Sha256};
    use tokio::sync::Semaphore;

    use super::*;
    use crate::authority::Authority;
    use crate::blobs::{Limits, Objects};
    use crate::clock;
    use crate::store::{AnyStore, Heard, Sqlite};
    use crate::sync::apply::StoredRow;
    use crate::sync::stream;

    const MINUTE_MS: i64 = 60_000;

    /// What tasks share, with its state in `folder`.
    pub(in crate::server) fn shared(folder: &Path) -> Shared {
        Shared {
            bells: Arc::default(),
            store: Arc::new(AnyStore::Sqlite(Sqlite::open(&folder.join("cloud.db")).unwrap())),
            turns: Semaphore::new(1),
            authority: Arc::new(Authority::open(folder, clock::unix_ms()).unwrap()),
            endpoint: "localhost:1".to_owned(),
            stream: stream::Config::default(),
            blobs: Blobs::open(folder, Objects::folder(folder).unwrap(), Limits::default()).unwrap(),
            backups: super::super::backups::tests::kept(folder),
            metrics: super::super::Metrics::default(),
            stopping: watch::channel(false).1,
        }
    }

    fn of(box_id: &str) -> BoxName {
        BoxName { tenant_id: "bakery".to_owned(), box_id: box_id.to_owned() }
    }

    async fn keep(shared: &Shared, of: &BoxName, text: &'static str) {
        let content = Content { sha256: Sha256::digest(text).into(), size_bytes: u64::try_from(text.len()).unwrap() };
        shared.blobs.begin(of, content).await.unwrap();
        let part = Arc::new(shared.blobs.part(of, content.sha256).await.unwrap());
        shared.blobs.append(&part, 0, Bytes::from_static(text.as_bytes())).await.unwrap();
        assert!(shared.blobs.commit(of, content).await.unwrap());
    }

    /// The row of a recording with this content; `None` is what is left of a deleted one.
    fn write(shared: &Shared, of: &BoxName, number: u32, text: Option<&str>) {
        let hash = |text: &str| Value { kind: Some(Kind::Text(hex::encode(Sha256::digest(text)))) };
        let columns = text.map(|text| BTreeMap::from([("sha256".to_owned(), hash(text))]));
        let row = StoredRow { epoch: 1, row_version: 1, applied: 1, hash: 7, columns };
        let key = format!("01900000-0000-7000-8000-{number:012}");
        shared.store.transact(of, |rows| rows.put_row("recordings", &key, row.clone())).unwrap();
    }

    async fn is_there(shared: &Shared, of: &BoxName, text: &str) -> bool {
        shared.blobs.read(of, &Sha256::digest(text).into(), 0).await.is_ok()
    }

    /// Retention and erasure: a recording goes with its last row, and never before both ends were equal after it came.
    #[tokio::test]
    async fn recordings_go_with_their_rows() {
        let folder = tempfile::tempdir().unwrap();
        let shared = shared(folder.path());
        for text in ["there", "erased", "twice"] {
            keep(&shared, &of("1"), text).await;
            keep(&shared, &of("2"), text).await;
        }
        for (number, text) in [(1, Some("there")), (2, None), (3, Some("twice")), (4, None)] {
            write(&shared, &of("1"), number, text);
        }
        let now = clock::unix_ms();
        let equal = |of: &BoxName, at: i64| shared.store.note_heard(of, Heard::Equal, at).unwrap();
        for (text, equal_at) in [("never compared", None), ("compared before it came", Some(now - MINUTE_MS))] {
            if let Some(at) = equal_at {
                equal(&of("1"), at);
            }
            sweep_once(&shared).await;
            assert!(is_there(&shared, &of("1"), "erased").await, "{text}");
        }
        equal(&of("1"), now + 10 * MINUTE_MS);
        sweep_once(&shared).await;
        for (text, expected) in [("there", true), ("erased", false), ("twice", true)] {
            assert_eq!(is_there(&shared, &of("1"), text).await, expected, "{text}");
            assert!(is_there(&shared, &of("2"), text).await, "{text}: another box's");
        }
        write(&shared, &of("1"), 3, None);
        sweep_once(&shared).await;
        assert!(!is_there(&shared, &of("1"), "twice").await);
        assert!(shared.metrics.render().contains("\noffhook_cloud_blobs_deleted_total 2\n"));
    }

    /// What is broken off by a stop ends with an error, however slowly it is read: it never looks whole.
    #[tokio::test]
    async fn a_stop_breaks_off_what_is_being_read() {
        let (outgoing, mut frames) = mpsc::channel(OUTGOING);
        let (stop, stopping) = watch::channel(false);
        let pieces = tokio_stream::iter((0..20).map(|_| Ok(Bytes::from(vec![7; FRAME_MAX]))));
        let giving = tokio::spawn(give(pieces, (Bytes::from_static(b"hash"), 0), outgoing, stopping));
        assert!(frames.recv().await.unwrap().is_ok());
        stop.send_replace(true);
        giving.await.unwrap();
        let mut last = None;
        while let Some(frame) = frames.recv().await {
            last = Some(frame);
        }
        assert_eq!(last.unwrap().unwrap_err().message(), STOPPING);
    }

    #[tokio::test]
    async fn pieces_of_any_size_become_frames() {
        let content: Vec<u8> = (0..600_000_u32).map(|byte| (byte % 251) as u8).collect();
        let pieces = [0..1, 1..8_193, 8_193..590_000, 590_000..600_000];
        let pieces = pieces.map(|range| Ok(Bytes::copy_from_slice(&content[range])));
        let (outgoing, mut frames) = mpsc::channel(9);
        send(tokio_stream::iter(pieces), (Bytes::from_static(b"hash"), 1_000), &outgoing).await;
        drop(outgoing);
        let (mut whole, mut at) = (Vec::new(), 1_000);
        while let Some(frame) = frames.recv().await {
            let Frame { sha256, offset_bytes, content } = frame.unwrap();
            assert_eq!((sha256, offset_bytes), (Bytes::from_static(b"hash"), at));
            at += u64::try_from(content.len()).unwrap();
            assert!(content.len() == FRAME_MAX || at == 601_000);
            whole.extend_from_slice(&content);
        }
        assert!(whole == content);
    }
}
