//! `[blobs]`: where recordings are kept.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use serde::{Deserialize, Serialize};

use super::ConfigMistakes;
use crate::backups::PREFIX;
use crate::blobs::{Limits, Objects, S3};

/// Who keeps recordings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BlobEngine {
    /// `directory`.
    Folder,
    /// A bucket of anything that speaks S3.
    S3,
}

/// `[blobs]`: where recordings are kept. Several instances of this service need a bucket, or a folder that they share.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Blobs {
    /// `folder` or `s3`.
    pub engine: BlobEngine,
    /// Folder of uploads, and with `folder` of the recordings; by default `blobs` in `store.directory`.
    pub directory: Option<PathBuf>,
    /// Name of the bucket, for `s3`. It needs a rule that sweeps incomplete multipart uploads.
    pub bucket: Option<String>,
    /// `https://HOST`, for `s3` of others than Amazon; `http://` only on this machine.
    pub endpoint: Option<String>,
    /// As the server's signatures name it, for `s3`.
    pub region: String,
    /// File with the access key's name in it, for `s3`.
    pub access_key_file: Option<PathBuf>,
    /// File with the secret key in it, for `s3`.
    pub secret_key_file: Option<PathBuf>,
    /// PEM file of the authorities that the server of `s3` may be certified by; by default the system's.
    pub trust: Option<PathBuf>,
    /// Largest recording that is taken, in MiB. 1 to 1 000 000
    pub megabytes_limit: u32,
    /// What a box may have begun and not finished, in MiB. At least `megabytes_limit`, to 1 000 000
    pub unfinished_megabytes_limit: u32,
    /// How long an upload is kept that its box does not go on with, in days. 1 to 90
    pub unfinished_days: u32,
    /// How often it is looked for recordings whose rows were deleted, in minutes. 1 to 1 440
    pub sweep_minutes: u32,
}

impl Default for Blobs {
    fn default() -> Self {
        Blobs {
            engine: BlobEngine::Folder,
            directory: None,
            bucket: None,
            endpoint: None,
            region: "us-east-1".to_owned(),
            access_key_file: None,
            secret_key_file: None,
            trust: None,
            // Both sides of a call of 17 hours.
            megabytes_limit: 2_048,
            unfinished_megabytes_limit: 4_096,
            unfinished_days: 7,
            sweep_minutes: 60,
        }
    }
}

/// Every mistake, each with its key.
pub(super) fn check(blobs: &Blobs, mistakes: &mut Vec<String>) {
    let most = 1_000_000;
    for (key, value, from, to) in [
        ("megabytes_limit", blobs.megabytes_limit, 1, most),
        ("unfinished_megabytes_limit", blobs.unfinished_megabytes_limit, blobs.megabytes_limit.min(most), most),
        ("unfinished_days", blobs.unfinished_days, 1, 90),
        ("sweep_minutes", blobs.sweep_minutes, 1, 1_440),
    ] {
        if !(from..=to).contains(&value) {
            mistakes.push(format!("blobs.{key} = {value}: expected {from} to {to}"));
        }
    }
    let is_s3 = blobs.engine == BlobEngine::S3;
    for (key, is_there, is_needed) in [
        ("bucket", blobs.bucket.as_deref().is_some_and(|bucket| !bucket.is_empty()), true),
        ("access_key_file", blobs.access_key_file.is_some(), true),
        ("secret_key_file", blobs.secret_key_file.is_some(), true),
        ("endpoint", blobs.endpoint.is_some(), false),
        ("trust", blobs.trust.is_some(), false),
    ] {
        if is_s3 && is_needed && !is_there {
            mistakes.push(format!("blobs.{key}: expected with engine = \"s3\""));
        }
        if !is_s3 && is_there {
            mistakes.push(format!("blobs.{key}: expected only with engine = \"s3\""));
        }
    }
    if let Some(endpoint) = blobs.endpoint.as_deref().filter(|endpoint| !is_address(endpoint)) {
        mistakes
            .push(format!("blobs.endpoint = {endpoint:?}: expected https://HOST, or http://HOST:PORT on this machine"));
    }
}

fn is_address(endpoint: &str) -> bool {
    let host = |rest: &str| rest.split('/').next().unwrap_or_default().to_owned();
    match (endpoint.strip_prefix("https://"), endpoint.strip_prefix("http://")) {
        (Some(rest), _) => !host(rest).is_empty(),
        (None, Some(rest)) => {
            let host = host(rest);
            let name = host.rsplit_once(':').map_or(host.as_str(), |(name, _)| name);
            ["localhost", "127.0.0.1", "[::1]"].contains(&name)
        }
        (None, None) => false,
    }
}

impl Blobs {
    /// Names the folder or bucket: two services with the same have the same recordings.
    pub fn place(&self, state: &Path) -> String {
        match self.engine {
            BlobEngine::Folder => {
                let folder = self.folder(state);
                folder.canonicalize().unwrap_or(folder).display().to_string()
            }
            BlobEngine::S3 => {
                let endpoint = self.endpoint.as_deref().unwrap_or(&self.region);
                format!("s3 {} {}", endpoint.trim_end_matches('/'), self.bucket.as_deref().unwrap_or_default())
            }
        }
    }

    fn folder(&self, state: &Path) -> PathBuf {
        self.directory.clone().unwrap_or_else(|| state.join("blobs"))
    }

    /// What they say, opened. `state` is the service's folder.
    ///
    /// # Errors
    /// A folder that cannot be made, files that cannot be read; [`ConfigMistakes`] for a bucket that cannot be one.
    pub fn open(&self, state: &Path) -> anyhow::Result<crate::blobs::Blobs> {
        let (folder, objects) = self.objects(state)?;
        let limits = Limits {
            blob_bytes: mebibytes(self.megabytes_limit),
            unfinished_bytes: mebibytes(self.unfinished_megabytes_limit),
            unfinished: self.unfinished(),
        };
        Ok(crate::blobs::Blobs::open(&folder, objects, limits)?)
    }

    /// The same place, below the prefix of backups.
    ///
    /// # Errors
    /// As [`open`](Blobs::open).
    pub fn open_for_backups(&self, state: &Path, box_bytes: u64) -> anyhow::Result<crate::blobs::Blobs> {
        let (folder, objects) = self.objects(state)?;
        let limits = Limits { blob_bytes: box_bytes, unfinished_bytes: box_bytes, unfinished: self.unfinished() };
        // Uploads are in the folder of the objects: where that is a folder one becomes the other by its name.
        Ok(crate::blobs::Blobs::open(&folder.join("backup-uploads"), objects.below(PREFIX), limits)?)
    }

    fn unfinished(&self) -> Duration {
        Duration::from_secs(u64::from(self.unfinished_days) * 86_400)
    }

    fn objects(&self, state: &Path) -> anyhow::Result<(PathBuf, Objects)> {
        let folder = self.folder(state);
        let objects = match self.engine {
            BlobEngine::Folder => Objects::folder(&folder)
                .with_context(|| format!("the folder {} of blobs cannot be used", folder.display()))?,
            BlobEngine::S3 => {
                let settings = S3 {
                    bucket: self.bucket.clone().unwrap_or_default(),
                    endpoint: self.endpoint.clone(),
                    region: self.region.clone(),
                    access_key: secret("blobs.access_key_file", self.access_key_file.as_deref())?,
                    secret_key: secret("blobs.secret_key_file", self.secret_key_file.as_deref())?,
                    trust: self.trust.as_deref().map(|path| content("blobs.trust", path)).transpose()?,
                };
                Objects::s3(settings).map_err(|error| ConfigMistakes(vec![format!("blobs: {error}")]))?
            }
        };
        Ok((folder, objects))
    }
}

fn mebibytes(number: u32) -> u64 {
    u64::from(number) << 20
}

fn content(key: &str, path: &Path) -> anyhow::Result<Vec<u8>> {
    std::fs::read(path).with_context(|| format!("{key} = {}", path.display()))
}

/// The text in the file, without white space around it.
fn secret(key: &str, path: Option<&Path>) -> anyhow::Result<String> {
    let path = path.unwrap_or(Path::new(""));
    let text = String::from_utf8(content(key, path)?).with_context(|| format!("{key} = {}", path.display()))?;
    anyhow::ensure!(!text.trim().is_empty(), "{key} = {}: the file is empty", path.display());
    Ok(text.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::super::Config;

    fn load(overrides: &[&str]) -> Result<Config, String> {
        let overrides: Vec<String> = overrides.iter().map(|entry| format!("blobs.{entry}")).collect();
        Config::load(None, &overrides).map_err(|error| error.to_string())
    }

    const BUCKET: [&str; 4] =
        ["engine=s3", "bucket=office", "access_key_file=/run/name", "secret_key_file=/run/secret"];

    #[test]
    fn a_bucket_is_named_with_its_keys() {
        for endpoint in ["https://s3.example.org", "http://127.0.0.1:9000", "http://localhost", "http://[::1]:9000"] {
            let endpoint = format!("endpoint={endpoint}");
            load(&[&BUCKET[..], &[endpoint.as_str()]].concat()).unwrap();
        }
        load(&["unfinished_megabytes_limit=2048"]).unwrap();
    }

    #[test]
    fn every_mistake_names_its_key() {
        let error = load(&["engine=s3"]).unwrap_err();
        for key in ["bucket", "access_key_file", "secret_key_file"] {
            assert!(error.contains(&format!("blobs.{key}: expected with engine = \"s3\"")), "{error}");
        }
        for (entry, expected) in [
            ("bucket=office", "blobs.bucket: expected only with engine = \"s3\""),
            ("trust=/a", "blobs.trust: expected only with"),
            ("megabytes_limit=0", "blobs.megabytes_limit = 0: expected 1 to 1000000"),
            ("unfinished_megabytes_limit=2047", "blobs.unfinished_megabytes_limit = 2047: expected 2048 to"),
            ("unfinished_days=91", "blobs.unfinished_days = 91: expected 1 to 90"),
            ("sweep_minutes=0", "blobs.sweep_minutes = 0: expected 1 to 1440"),
            ("engine=gcs", "gcs"),
            ("color=1", "color"),
        ] {
            let error = load(&[entry]).unwrap_err();
            assert!(error.contains(expected), "{entry}: {error}");
        }
        for endpoint in ["http://s3.example.org", "s3.example.org", "https://", "http://127.0.0.1.example.org"] {
            let endpoint = format!("endpoint={endpoint}");
            let error = load(&[&BUCKET[..], &[endpoint.as_str()]].concat()).unwrap_err();
            assert!(error.contains("blobs.endpoint = "), "{endpoint}: {error}");
        }
    }

    /// Whoever has forgotten a key hears of it when the service starts, by the name of its file.
    #[test]
    fn a_key_that_is_not_there_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let error = load(&BUCKET).unwrap().blobs.open(dir.path()).unwrap_err();
        assert!(error.to_string().contains("blobs.access_key_file = /run/name"), "{error}");
        let empty = dir.path().join("empty");
        std::fs::write(&empty, " \n").unwrap();
        let entry = format!("access_key_file={}", empty.display());
        let error = load(&[&BUCKET[..], &[entry.as_str()]].concat()).unwrap().blobs.open(dir.path()).unwrap_err();
        assert!(error.to_string().contains("the file is empty"), "{error}");
    }
}
