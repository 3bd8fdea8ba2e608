//! Recognising a content.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;

use sha1::Sha1;
use sha2::{Digest as _, Sha256};

use super::StoreError;
use crate::Progress;
use crate::catalogue::Digest;

/// Both digests of what is written to it.
#[derive(Clone, Default)]
pub(crate) struct Hasher {
    sha256: Sha256,
    sha1: Sha1,
}

/// The digests of a whole content.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Fingerprint {
    pub(crate) sha256: String,
    pub(crate) sha1: String,
}

impl Hasher {
    pub(crate) fn finish(self) -> Fingerprint {
        Fingerprint { sha256: hex::encode(self.sha256.finalize()), sha1: hex::encode(self.sha1.finalize()) }
    }
}

impl Write for Hasher {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.sha256.update(bytes);
        self.sha1.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Fingerprint {
    pub(crate) fn is_any_of(&self, accepted: &[Digest]) -> bool {
        accepted.iter().any(|digest| match digest {
            Digest::Sha256(hex) => self.sha256 == *hex,
            Digest::Sha1(hex) => self.sha1 == *hex,
        })
    }
}

/// Hashes a file, reporting the bytes read.
pub(crate) fn hash_file(path: &Path, progress: &mut dyn Progress) -> Result<Fingerprint, StoreError> {
    let mut file = File::open(path).map_err(|error| StoreError::io("read", path, error))?;
    let mut hasher = Hasher::default();
    let mut buffer = vec![0; 1 << 18];
    loop {
        let count = file.read(&mut buffer).map_err(|error| StoreError::io("read", path, error))?;
        if count == 0 {
            return Ok(hasher.finish());
        }
        hasher.sha256.update(&buffer[..count]);
        hasher.sha1.update(&buffer[..count]);
        progress.advanced(count as u64);
    }
}
