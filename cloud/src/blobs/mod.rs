//! Recordings of boxes, under the SHA-256 of their content.
//!
//! ```text
//! box ─Begin, Put─► uploads/TENANT/BOX/SHA256.SIZE.part    this instance's disk; flushed before it is acknowledged
//!     ─Commit─────► size and hash of the whole are right ─► blobs/TENANT/BOX/ab/SHA256    folder or S3 bucket
//!     ◄─Get───────
//! sweep ──────────► uploads that nobody has gone on with for days, and blobs that no row refers to any more, go
//! ```
//! An upload that was cut goes on where it was. It lies on the disk of the instance that takes it: one that moves to another
//! instance begins there at what that one has, usually nothing. Multipart uploads of S3 would move along, in parts of 5 MiB at
//! least, each of which a cut would send again; recordings are seldom larger than one.
//!
//! **Each box has its own blobs, 2026-11.** Sharing equal content among the boxes of a tenant saves nothing, because no two
//! recordings are equal; it would tell a box whether another one has some content, and deleting would have to wait for boxes
//! that have been away for weeks. What would change our mind: music or announcements that every box of a chain uploads.
//!
//! **When a blob goes.** Its row refers to it by its hash, and rows that are deleted on the box are deleted here. A blob
//! without a row may be one whose row is still on its way, or, after this service's database was restored, is to be sent
//! again; so it goes only if the box's rows were found equal to ours after the blob came.
//!
//! Left out on purpose: encryption beyond that of the disk or bucket, and any clock.

mod objects;
mod uploads;

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use object_store::Error as ObjectError;
use prost::bytes::Bytes;
use sha2::{Digest as _, Sha256};
use tokio::sync::Semaphore;
use tokio_stream::Stream;

pub use objects::{Objects, S3};
pub use uploads::{Part, Uploads};

use crate::store::BoxName;

/// Content of a frame at most, in bytes.
pub const FRAME_MAX: usize = 256 << 10;
/// How much later than the blob both ends must have been found equal, in milliseconds: the clocks of a bucket and of this
/// service differ.
const EQUAL_AFTER_MS: i64 = 5 * 60_000;

/// A SHA-256.
pub type Hash = [u8; 32];

/// What a blob holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Content {
    /// Its hash, by which it is known.
    pub sha256: Hash,
    /// Its size.
    pub size_bytes: u64,
}

/// What is taken.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Of one blob, in bytes.
    pub blob_bytes: u64,
    /// Of everything that one box has begun and not finished, in bytes.
    pub unfinished_bytes: u64,
    /// How long an upload that nobody goes on with is kept.
    pub unfinished: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        // Ten hours of a call with both sides are 1.2 GB.
        Limits { blob_bytes: 2 << 30, unfinished_bytes: 4 << 30, unfinished: Duration::from_secs(7 * 86_400) }
    }
}

/// Why a blob is not taken or given.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BlobError {
    /// No SHA-256.
    #[error("sha256: expected 32 bytes, got {0}")]
    NoHash(usize),
    /// Nothing, or more than is taken.
    #[error("size_bytes = {size_bytes}: expected 1 to {limit}")]
    Size {
        /// What the box has.
        size_bytes: u64,
        /// What is taken.
        limit: u64,
    },
    /// Content of this hash is here and has another size.
    #[error("size_bytes = {got}: the content with this hash has {is}")]
    OtherSize {
        /// What the box says.
        got: u64,
        /// What it is.
        is: u64,
    },
    /// It has begun too much at once.
    #[error("unfinished uploads of this box would be {bytes} bytes, and {limit} are taken: finish those first")]
    Unfinished {
        /// With this one.
        bytes: u64,
        /// What is taken.
        limit: u64,
    },
    /// Nothing of it is here.
    #[error("no upload of this content is here: Begin says where to go on")]
    NotBegun,
    /// A frame without content, or with too much.
    #[error("a frame of {0} bytes: expected 1 to {FRAME_MAX}")]
    Frame(usize),
    /// Another content than the first frame's.
    #[error("sha256 of a frame: expected that of the first one, one content for each Put")]
    OtherContent,
    /// Not where it goes on.
    #[error("offset_bytes = {got}: expected {expected}")]
    Offset {
        /// What is here.
        expected: u64,
        /// What came.
        got: u64,
    },
    /// More than the announced size.
    #[error("content up to {end}: the announced size is {size_bytes}")]
    BeyondEnd {
        /// Where the frame ends.
        end: u64,
        /// Where the content ends.
        size_bytes: u64,
    },
    /// It is not all here.
    #[error("{have} of {size_bytes} bytes are here: expected all of them")]
    Incomplete {
        /// What is here.
        have: u64,
        /// What was announced.
        size_bytes: u64,
    },
    /// It is all here and something else.
    #[error("the content has SHA-256 {found}, expected {expected}: it was thrown away")]
    Damaged {
        /// What it was to be, in hexadecimal.
        expected: String,
        /// What it is, in hexadecimal.
        found: String,
    },
    /// Somebody commits it already.
    #[error("it is being committed: ask again")]
    Busy,
    /// There is no such blob.
    #[error("no such content is here")]
    NotFound,
    /// Behind its end.
    #[error("offset_bytes = {got}: expected 0 to {size_bytes}")]
    BehindEnd {
        /// What was asked for.
        got: u64,
        /// What there is.
        size_bytes: u64,
    },
    /// This instance's disk is full. What was there stays.
    #[error("the cloud's disk is full")]
    DiskFull,
    /// This instance's disk.
    #[error("{}: {source}", path.display())]
    File {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        source: std::io::Error,
    },
    /// The folder or bucket of blobs.
    #[error("the store of blobs: {0}")]
    Objects(#[from] ObjectError),
    /// A thread of ours failed.
    #[error("it failed here")]
    Failed,
}

impl BlobError {
    /// Of the file at `path`.
    fn file(path: &Path, source: std::io::Error) -> BlobError {
        if matches!(source.kind(), std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded) {
            return BlobError::DiskFull;
        }
        BlobError::File { path: path.to_owned(), source }
    }
}

/// The SHA-256 that came as bytes.
///
/// # Errors
/// [`BlobError::NoHash`].
pub fn hash_of(bytes: &[u8]) -> Result<Hash, BlobError> {
    bytes.try_into().map_err(|_| BlobError::NoHash(bytes.len()))
}

/// What came of a Begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Begun {
    /// Where to go on.
    pub offset_bytes: u64,
    /// It is here, whole and checked.
    pub is_kept: bool,
}

/// All blobs, and what is on its way to become one.
#[derive(Debug)]
pub struct Blobs {
    uploads: Arc<Uploads>,
    objects: Objects,
    limits: Limits,
    /// What is being committed: by one at a time each.
    committing: Mutex<BTreeSet<(BoxName, Hash)>>,
    /// Hashing takes a processor each.
    turns: Semaphore,
}

/// Until it is dropped nobody else commits this content.
struct Committing<'a> {
    blobs: &'a Blobs,
    what: (BoxName, Hash),
}

impl Drop for Committing<'_> {
    fn drop(&mut self) {
        self.blobs.committing.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.what);
    }
}

impl Blobs {
    /// Uploads in `uploads` of `folder`, which is made, and blobs in `objects`.
    ///
    /// # Errors
    /// [`BlobError::File`].
    pub fn open(folder: &Path, objects: Objects, limits: Limits) -> Result<Blobs, BlobError> {
        let uploads = Arc::new(Uploads::open(&folder.join("uploads"))?);
        let at_a_time = std::thread::available_parallelism().map_or(1, usize::from);
        Ok(Blobs { uploads, objects, limits, committing: Mutex::default(), turns: Semaphore::new(at_a_time) })
    }

    async fn on_disk<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Uploads) -> Result<T, BlobError> + Send + 'static,
    ) -> Result<T, BlobError> {
        let uploads = Arc::clone(&self.uploads);
        tokio::task::spawn_blocking(move || work(&uploads)).await.map_err(|_| BlobError::Failed)?
    }

    /// Where to go on with an upload, which is begun if nothing of it is here.
    ///
    /// # Errors
    /// [`BlobError`].
    pub async fn begin(&self, of: &BoxName, content: Content) -> Result<Begun, BlobError> {
        let Content { sha256, size_bytes } = content;
        if !(1..=self.limits.blob_bytes).contains(&size_bytes) {
            return Err(BlobError::Size { size_bytes, limit: self.limits.blob_bytes });
        }
        if self.is_kept(of, content).await? {
            return Ok(Begun { offset_bytes: size_bytes, is_kept: true });
        }
        let (of, limit) = (of.clone(), self.limits.unfinished_bytes);
        let begun = self.on_disk(move |uploads| uploads.begin(&of, Content { sha256, size_bytes }, limit)).await?;
        Ok(Begun { offset_bytes: begun, is_kept: false })
    }

    async fn is_kept(&self, of: &BoxName, content: Content) -> Result<bool, BlobError> {
        match self.objects.size_of(of, &content.sha256).await? {
            None => Ok(false),
            Some(is) if is == content.size_bytes => Ok(true),
            Some(is) => Err(BlobError::OtherSize { got: content.size_bytes, is }),
        }
    }

    /// The upload of this content, for its next frames.
    ///
    /// # Errors
    /// [`BlobError::NotBegun`], [`BlobError::File`].
    pub async fn part(&self, of: &BoxName, sha256: Hash) -> Result<Arc<Part>, BlobError> {
        let of = of.clone();
        self.on_disk(move |uploads| uploads.part(&of, &sha256).map(Arc::new)).await
    }

    /// Appends a frame.
    ///
    /// # Errors
    /// [`BlobError`]; nothing of the frame is kept.
    pub async fn append(&self, part: &Arc<Part>, offset_bytes: u64, content: Bytes) -> Result<(), BlobError> {
        let part = Arc::clone(part);
        self.on_disk(move |_| part.append(offset_bytes, &content)).await
    }

    /// Flushes what was appended, and says how much is there.
    ///
    /// # Errors
    /// [`BlobError::File`], [`BlobError::DiskFull`].
    pub async fn flush(&self, part: &Arc<Part>) -> Result<u64, BlobError> {
        let part = Arc::clone(part);
        self.on_disk(move |_| part.flush()).await
    }

    /// Makes a whole upload a blob, if its size and hash are right. Again and again is once; true if it was not one before.
    ///
    /// # Errors
    /// [`BlobError`]; an upload with another hash is thrown away.
    pub async fn commit(&self, of: &BoxName, content: Content) -> Result<bool, BlobError> {
        let _committing = self.only_one(of, content.sha256)?;
        if self.is_kept(of, content).await? {
            return Ok(false);
        }
        let _turn = self.turns.acquire().await.map_err(|_| BlobError::Failed)?;
        let name = of.clone();
        let path = self.on_disk(move |uploads| uploads.check(&name, content)).await?;
        self.objects.keep(of, content, &path).await?;
        let name = of.clone();
        self.on_disk(move |uploads| uploads.forget(&name, &content.sha256)).await?;
        Ok(true)
    }

    fn only_one(&self, of: &BoxName, sha256: Hash) -> Result<Committing<'_>, BlobError> {
        let what = (of.clone(), sha256);
        let is_new = self.committing.lock().unwrap_or_else(PoisonError::into_inner).insert(what.clone());
        if is_new { Ok(Committing { blobs: self, what }) } else { Err(BlobError::Busy) }
    }

    /// A blob's content from an offset on, in pieces of any size.
    ///
    /// # Errors
    /// [`BlobError::NotFound`], [`BlobError::BehindEnd`], [`BlobError::Objects`].
    pub async fn read(
        &self,
        of: &BoxName,
        sha256: &Hash,
        offset_bytes: u64,
    ) -> Result<impl Stream<Item = Result<Bytes, ObjectError>> + Send + Unpin + use<>, BlobError> {
        let size_bytes = self.objects.size_of(of, sha256).await?.ok_or(BlobError::NotFound)?;
        if offset_bytes > size_bytes {
            return Err(BlobError::BehindEnd { got: offset_bytes, size_bytes });
        }
        self.objects.read(of, sha256, offset_bytes..size_bytes).await
    }

    /// Uploads that nobody has gone on with go: how many.
    ///
    /// # Errors
    /// [`BlobError::File`].
    pub async fn sweep_uploads(&self) -> Result<usize, BlobError> {
        let after = self.limits.unfinished;
        self.on_disk(move |uploads| uploads.sweep(after)).await
    }

    /// The blobs of a box that may go if no row refers to them: those that came before both ends were last found equal, at
    /// `equal_at` in milliseconds since 1970. To be asked before the rows are.
    ///
    /// # Errors
    /// [`BlobError::Objects`].
    pub async fn settled(&self, of: &BoxName, equal_at: i64) -> Result<BTreeSet<Hash>, BlobError> {
        let mut listed = self.objects.list(of).await?;
        listed.retain(|(_, kept_at)| kept_at.saturating_add(EQUAL_AFTER_MS) <= equal_at);
        Ok(listed.into_iter().map(|(sha256, _)| sha256).collect())
    }

    /// The content of every blob of a box, in order.
    ///
    /// # Errors
    /// [`BlobError::Objects`].
    pub async fn contents(&self, of: &BoxName) -> Result<Vec<Content>, BlobError> {
        self.objects.contents(of).await
    }

    /// Every blob of a tenant goes, and what its boxes have begun on this instance's disk: how many blobs.
    ///
    /// # Errors
    /// [`BlobError`].
    pub async fn forget_tenant(&self, tenant_id: &str) -> Result<u64, BlobError> {
        self.forget_uploads(tenant_id).await?;
        self.objects.delete_tenant(tenant_id).await
    }

    /// What the boxes of a tenant have begun on this instance's disk goes.
    ///
    /// # Errors
    /// [`BlobError::File`].
    pub async fn forget_uploads(&self, tenant_id: &str) -> Result<(), BlobError> {
        let tenant_id = tenant_id.to_owned();
        self.on_disk(move |uploads| uploads.forget_tenant(&tenant_id)).await
    }

    /// A blob goes. One that is gone already is gone.
    ///
    /// # Errors
    /// [`BlobError::Objects`].
    pub async fn delete(&self, of: &BoxName, sha256: &Hash) -> Result<(), BlobError> {
        self.objects.delete(of, sha256).await
    }
}

/// The hash of a file. Blocks.
fn hash_of_file(path: &Path) -> std::io::Result<Hash> {
    use std::io::Read as _;
    let mut file = std::fs::File::open(path)?;
    let (mut hasher, mut buffer) = (Sha256::new(), vec![0; 1 << 20]);
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(hasher.finalize().into()),
            bytes => hasher.update(&buffer[..bytes]),
        }
    }
}
