//! Where blobs are kept: a folder, or a bucket of anything that speaks S3.

use std::fs::File;
use std::io::Read as _;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use object_store::aws::{AmazonS3, AmazonS3Builder};
use object_store::client::{Certificate, ClientOptions};
use object_store::local::LocalFileSystem;
use object_store::path::Path as Key;
use object_store::{Error as ObjectError, ObjectMeta, ObjectStore, ObjectStoreExt as _, PutPayload};
use prost::bytes::Bytes;
use tokio_rustls::rustls::crypto::ring;
use tokio_stream::{Stream, StreamExt as _};

use super::{BlobError, Content, Hash};
use crate::files;
use crate::store::BoxName;

/// Up to this size a blob is put at once, and above it in parts of this size, in bytes; S3 wants 5 MiB at least.
const PART_BYTES: usize = 8 << 20;
/// The prefix of recordings.
const BLOBS: &str = "blobs";

/// A bucket.
#[derive(Debug, Clone)]
pub struct S3 {
    /// Its name.
    pub bucket: String,
    /// `https://host`; None is Amazon's own, in `region`.
    pub endpoint: Option<String>,
    /// Where it is, as signatures name it.
    pub region: String,
    /// Who asks.
    pub access_key: String,
    /// With what they sign.
    pub secret_key: String,
    /// PEM of the authorities that the server may be certified by; None is those of the system.
    pub trust: Option<Vec<u8>>,
}

/// Keeps blobs, all below one prefix.
#[derive(Debug)]
pub struct Objects {
    prefix: &'static str,
    kept_in: KeptIn,
}

#[derive(Debug)]
enum KeptIn {
    /// A folder, in which the uploads are too: an upload becomes a blob by another name.
    Folder {
        root: PathBuf,
        store: LocalFileSystem,
    },
    S3(Box<AmazonS3>),
}

impl Objects {
    /// Blobs in `root`, which is made.
    ///
    /// # Errors
    /// [`BlobError::File`].
    pub fn folder(root: &Path) -> Result<Objects, BlobError> {
        files::make_folder(root).map_err(|error| BlobError::file(root, error))?;
        let root = root.canonicalize().map_err(|error| BlobError::file(root, error))?;
        let store = LocalFileSystem::new_with_prefix(&root)?.with_fsync(true);
        Ok(Objects { prefix: BLOBS, kept_in: KeptIn::Folder { root, store } })
    }

    /// Blobs in a bucket; nothing is asked yet.
    ///
    /// # Errors
    /// [`BlobError::Objects`] for settings that cannot be used.
    pub fn s3(settings: S3) -> Result<Objects, BlobError> {
        // One provider for the whole process; somebody may have said so already.
        let _ = ring::default_provider().install_default();
        let S3 { bucket, endpoint, region, access_key, secret_key, trust } = settings;
        let mut options = ClientOptions::new();
        for certificate in trust.iter().map(|pem| Certificate::from_pem_bundle(pem)) {
            options = certificate?.into_iter().fold(options, ClientOptions::with_root_certificate);
            options = options.with_no_system_certificates(true);
        }
        // The configuration takes http:// on this machine only.
        let options = options.with_allow_http(endpoint.as_deref().is_some_and(|url| url.starts_with("http://")));
        let builder = AmazonS3Builder::new()
            .with_bucket_name(bucket)
            .with_region(region)
            .with_access_key_id(access_key)
            .with_secret_access_key(secret_key)
            // One request for many is not spoken everywhere.
            .with_disable_bulk_delete(true)
            .with_client_options(options);
        let builder = endpoint.into_iter().fold(builder, AmazonS3Builder::with_endpoint);
        Ok(Objects { prefix: BLOBS, kept_in: KeptIn::S3(Box::new(builder.build()?)) })
    }

    /// Below another prefix: what is here does not see what is there.
    #[must_use]
    pub fn below(self, prefix: &'static str) -> Objects {
        Objects { prefix, ..self }
    }

    fn folder_of(&self, of: &BoxName) -> Key {
        Key::from_iter([self.prefix, &of.tenant_id, &of.box_id])
    }

    fn key(&self, of: &BoxName, sha256: &Hash) -> Key {
        let name = hex::encode(sha256);
        // A folder with a million names is slow to look into.
        Key::from_iter([self.prefix, &of.tenant_id, &of.box_id, &name[..2], &name])
    }

    fn store(&self) -> &dyn ObjectStore {
        match &self.kept_in {
            KeptIn::Folder { store, .. } => store,
            KeptIn::S3(store) => store,
        }
    }

    /// None if there is no such blob.
    pub(super) async fn size_of(&self, of: &BoxName, sha256: &Hash) -> Result<Option<u64>, BlobError> {
        match self.store().head(&self.key(of, sha256)).await {
            Ok(ObjectMeta { size, .. }) => Ok(Some(size)),
            Err(ObjectError::NotFound { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Makes the file at `path` the blob. Where blobs are in a folder the file is not there any more afterwards.
    pub(super) async fn keep(&self, of: &BoxName, content: Content, path: &Path) -> Result<(), BlobError> {
        let key = self.key(of, &content.sha256);
        match &self.kept_in {
            KeptIn::Folder { root, store } => {
                let path = path.canonicalize().map_err(|error| BlobError::file(path, error))?;
                let inside = path.strip_prefix(root).ok().and_then(Path::to_str).ok_or(BlobError::Failed)?;
                store.rename(&Key::parse(inside).map_err(ObjectError::from)?, &key).await?;
            }
            KeptIn::S3(store) => put(store, &key, path).await?,
        }
        Ok(())
    }

    pub(super) async fn read(
        &self,
        of: &BoxName,
        sha256: &Hash,
        range: Range<u64>,
    ) -> Result<impl Stream<Item = Result<Bytes, ObjectError>> + Send + Unpin + use<>, BlobError> {
        let options = object_store::GetOptions { range: Some(range.clone().into()), ..Default::default() };
        let found = match range.is_empty() {
            // Nobody serves an empty range.
            true => None,
            false => Some(self.store().get_opts(&self.key(of, sha256), options).await.map_err(not_found)?),
        };
        let pieces = found.map(object_store::GetResult::into_stream);
        Ok(pieces.unwrap_or_else(|| Box::pin(tokio_stream::empty())))
    }

    /// Each blob of a box, and since when it is there, in milliseconds since 1970.
    pub(super) async fn list(&self, of: &BoxName) -> Result<Vec<(Hash, i64)>, BlobError> {
        let mut listed = self.store().list(Some(&self.folder_of(of)));
        let mut found = Vec::new();
        while let Some(object) = listed.next().await {
            let ObjectMeta { location, last_modified, .. } = object?;
            let sha256 = location.filename().and_then(|name| hex::decode(name).ok()?.try_into().ok());
            found.extend(sha256.map(|sha256| (sha256, last_modified.timestamp_millis())));
        }
        Ok(found)
    }

    /// The content of each blob of a box, in order.
    pub(super) async fn contents(&self, of: &BoxName) -> Result<Vec<Content>, BlobError> {
        let mut listed = self.store().list(Some(&self.folder_of(of)));
        let mut found = Vec::new();
        while let Some(object) = listed.next().await {
            let ObjectMeta { location, size, .. } = object?;
            let sha256 = location.filename().and_then(|name| hex::decode(name).ok()?.try_into().ok());
            found.extend(sha256.map(|sha256| Content { sha256, size_bytes: size }));
        }
        found.sort();
        Ok(found)
    }

    /// Every blob of a tenant goes, and the folders that name its boxes: how many.
    pub(super) async fn delete_tenant(&self, tenant_id: &str) -> Result<u64, BlobError> {
        let folder = Key::from_iter([self.prefix, tenant_id]);
        let mut deleted = 0;
        let mut listed = self.store().list(Some(&folder));
        while let Some(object) = listed.next().await {
            match self.store().delete(&object?.location).await {
                Ok(()) => deleted += 1,
                Err(ObjectError::NotFound { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        if let KeptIn::Folder { root, .. } = &self.kept_in {
            let path = root.join(self.prefix).join(tenant_id);
            blocking(move || files::remove_folder(&path).map_err(|error| BlobError::file(&path, error))).await?;
        }
        Ok(deleted)
    }

    pub(super) async fn delete(&self, of: &BoxName, sha256: &Hash) -> Result<(), BlobError> {
        match self.store().delete(&self.key(of, sha256)).await {
            Ok(()) | Err(ObjectError::NotFound { .. }) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

fn not_found(error: ObjectError) -> BlobError {
    if matches!(error, ObjectError::NotFound { .. }) { BlobError::NotFound } else { error.into() }
}

/// To a bucket. Parts of an upload that is broken off are its owner's to sweep: by a rule of the bucket's life cycle.
async fn put(store: &AmazonS3, key: &Key, path: &Path) -> Result<(), BlobError> {
    let mut parts = Parts::open(path).await?;
    let first = parts.next().await?;
    if first.len() < PART_BYTES {
        store.put(key, PutPayload::from(first)).await?;
        return Ok(());
    }
    let mut upload = store.put_multipart(key).await?;
    let mut part = first;
    while !part.is_empty() {
        let sent = match upload.put_part(PutPayload::from(part)).await {
            Ok(()) => parts.next().await,
            Err(error) => Err(error.into()),
        };
        match sent {
            Ok(next) => part = next,
            Err(error) => {
                // Best effort: what stays is swept by the bucket.
                let _ = upload.abort().await;
                return Err(error);
            }
        }
    }
    upload.complete().await?;
    Ok(())
}

/// A file in parts, read on threads that may block.
struct Parts {
    path: PathBuf,
    file: Arc<File>,
}

impl Parts {
    async fn open(path: &Path) -> Result<Parts, BlobError> {
        let path = path.to_owned();
        blocking(move || match File::open(&path) {
            Ok(file) => Ok(Parts { path, file: Arc::new(file) }),
            Err(error) => Err(BlobError::file(&path, error)),
        })
        .await
    }

    /// As long as a part, or shorter at the end; empty after it.
    async fn next(&mut self) -> Result<Bytes, BlobError> {
        let (path, file) = (self.path.clone(), Arc::clone(&self.file));
        blocking(move || {
            let mut part = Vec::with_capacity(PART_BYTES);
            let limit = u64::try_from(PART_BYTES).unwrap_or(u64::MAX);
            (&*file).take(limit).read_to_end(&mut part).map_err(|error| BlobError::file(&path, error))?;
            Ok(part.into())
        })
        .await
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, BlobError> + Send + 'static,
) -> Result<T, BlobError> {
    tokio::task::spawn_blocking(work).await.map_err(|_| BlobError::Failed)?
}
