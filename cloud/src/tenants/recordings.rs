//! The recordings of a cell, for whoever may block: copied to another cell or a folder, checked by their hash.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::path::Path;
use std::sync::Arc;

use prost::bytes::Bytes;
use sha2::{Digest as _, Sha256};
use tokio::runtime::Runtime;
use tokio_stream::{Stream, StreamExt as _};

use super::TenantError;
use crate::blobs::{BlobError, Blobs, Content, FRAME_MAX};
use crate::files;
use crate::store::BoxName;

/// Recordings of a cell.
pub struct Recordings {
    blobs: Blobs,
    /// Sealed, and a box makes new ones where it goes: they are only ever forgotten.
    backups: Blobs,
    /// Names the folder or bucket.
    place: String,
    runtime: Arc<Runtime>,
}

impl Recordings {
    /// Of the folder or bucket that `place` names, with the backups there.
    pub fn new(blobs: Blobs, backups: Blobs, place: String, runtime: Arc<Runtime>) -> Recordings {
        Recordings { blobs, backups, place, runtime }
    }

    /// Where they are.
    pub fn place(&self) -> &str {
        &self.place
    }

    /// Whether the recordings of both are the same.
    pub fn are_those_of(&self, other: &Recordings) -> bool {
        self.place == other.place
    }

    /// Those of a box, in order.
    ///
    /// # Errors
    /// [`TenantError::Recording`].
    pub fn contents(&self, of: &BoxName) -> Result<Vec<Content>, TenantError> {
        self.runtime.block_on(self.blobs.contents(of)).map_err(|error| wrong(of, error))
    }

    /// All of a tenant's go, and its backups: how many recordings.
    ///
    /// # Errors
    /// [`TenantError::Recordings`].
    pub fn forget_tenant(&self, tenant_id: &str) -> Result<u64, TenantError> {
        let tenant = || tenant_id.to_owned();
        let forgotten = self.runtime.block_on(async {
            self.backups.forget_tenant(tenant_id).await?;
            self.blobs.forget_tenant(tenant_id).await
        });
        forgotten.map_err(|error| TenantError::Recordings { tenant_id: tenant(), error: Box::new(error) })
    }

    /// One of them to another cell, unless it is there. It goes on where it was cut, and is kept once its hash is right.
    ///
    /// # Errors
    /// [`TenantError::Recording`].
    pub fn copy(&self, to: &Recordings, of: &BoxName, content: Content) -> Result<(), TenantError> {
        let copied = self.runtime.block_on(async {
            let begun = to.blobs.begin(of, content).await?;
            if begun.is_kept {
                return Ok(());
            }
            let pieces = self.blobs.read(of, &content.sha256, begun.offset_bytes).await?;
            put(&to.blobs, of, content, begun.offset_bytes, pieces.map(|piece| piece.map_err(BlobError::from))).await
        });
        copied.map_err(|error| wrong(of, error))
    }

    /// One of them into a file, which is there when all of it is and its hash is right.
    ///
    /// # Errors
    /// [`TenantError::Recording`], [`TenantError::File`].
    pub fn save(&self, of: &BoxName, content: Content, path: &Path) -> Result<(), TenantError> {
        let in_file = |error| TenantError::File { path: path.to_owned(), error };
        let beside = path.with_extension("part");
        let mut file = files::create_private(&beside).map_err(in_file)?;
        let mut hasher = Sha256::new();
        self.runtime.block_on(async {
            let mut pieces = self.blobs.read(of, &content.sha256, 0).await.map_err(|error| wrong(of, error))?;
            while let Some(piece) = pieces.next().await {
                let piece = piece.map_err(|error| wrong(of, error.into()))?;
                hasher.update(&piece);
                file.write_all(&piece).map_err(in_file)?;
            }
            Ok::<(), TenantError>(())
        })?;
        let (expected, found) = (hex::encode(content.sha256), hex::encode(hasher.finalize()));
        if expected != found {
            return Err(wrong(of, BlobError::Damaged { expected, found }));
        }
        file.sync_all().and_then(|()| std::fs::rename(&beside, path)).map_err(in_file)
    }

    /// A file becomes one of them, unless it is there, if its hash is right.
    ///
    /// # Errors
    /// [`TenantError::Recording`], [`TenantError::File`].
    pub fn load(&self, of: &BoxName, content: Content, path: &Path) -> Result<(), TenantError> {
        let in_file = |error| TenantError::File { path: path.to_owned(), error };
        let mut file = File::open(path).map_err(in_file)?;
        let loaded = self.runtime.block_on(async {
            let begun = self.blobs.begin(of, content).await?;
            if begun.is_kept {
                return Ok(());
            }
            let skipped = std::io::Seek::seek(&mut file, std::io::SeekFrom::Start(begun.offset_bytes));
            skipped.map_err(|source| BlobError::File { path: path.to_owned(), source })?;
            let pieces = tokio_stream::iter(Pieces { file, path });
            put(&self.blobs, of, content, begun.offset_bytes, pieces).await
        });
        loaded.map_err(|error| wrong(of, error))
    }
}

fn wrong(of: &BoxName, error: BlobError) -> TenantError {
    TenantError::Recording { of: of.clone(), error: Box::new(error) }
}

/// The rest of an upload, and its end.
async fn put(
    to: &Blobs,
    of: &BoxName,
    content: Content,
    mut offset_bytes: u64,
    mut pieces: impl Stream<Item = Result<Bytes, BlobError>> + Unpin,
) -> Result<(), BlobError> {
    let part = to.part(of, content.sha256).await?;
    let part = Arc::new(part);
    while let Some(piece) = pieces.next().await {
        let mut piece = piece?;
        while !piece.is_empty() {
            let frame = piece.split_to(piece.len().min(FRAME_MAX));
            let bytes = u64::try_from(frame.len()).unwrap_or(u64::MAX);
            to.append(&part, offset_bytes, frame).await?;
            offset_bytes += bytes;
        }
    }
    to.flush(&part).await?;
    to.commit(of, content).await?;
    Ok(())
}

/// A file, a frame at a time.
struct Pieces<'a> {
    file: File,
    path: &'a Path,
}

impl Iterator for Pieces<'_> {
    type Item = Result<Bytes, BlobError>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut piece = Vec::with_capacity(FRAME_MAX);
        let limit = u64::try_from(FRAME_MAX).unwrap_or(u64::MAX);
        match (&self.file).take(limit).read_to_end(&mut piece) {
            Ok(0) => None,
            Ok(_) => Some(Ok(piece.into())),
            Err(source) => Some(Err(BlobError::File { path: self.path.to_owned(), source })),
        }
    }
}

/// The folder of a box's recordings in an export, made.
pub(super) fn folder_of(export: &Path, of: &BoxName) -> Result<std::path::PathBuf, TenantError> {
    let path = export.join("recordings").join(&of.box_id);
    files::make_folder(&path).map_err(|error| TenantError::File { path: path.clone(), error })?;
    Ok(path)
}
