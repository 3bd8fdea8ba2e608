//! A folder with backups of one box: which files there are, and which of them make a whole.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write as _};
use std::path::{Path, PathBuf};

use super::{BackupError, Recipients, SealError, file_error};

const RECORDINGS: &str = "recordings";

/// A whole copy. Epochs first: a box that was restored counts its change log anew, and goes on with a base of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Base {
    /// Grows with each restore.
    pub(super) epoch: u64,
    /// As of which entry of the change log.
    pub(super) seq: i64,
}

/// A segment of the change log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Segment {
    /// Of the base that it continues.
    pub(super) epoch: u64,
    /// Entries after this one,
    pub(super) after: i64,
    /// up to this one.
    pub(super) to: i64,
}

/// A base and what came after it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Chain {
    pub(super) base: Base,
    /// Each begins where the one before ends.
    pub(super) segments: Vec<Segment>,
}

impl Chain {
    /// Up to which entry it goes.
    pub(super) fn to(&self) -> i64 {
        self.segments.last().map_or(self.base.seq, |segment| segment.to)
    }
}

/// The files of a folder.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Listing {
    pub(super) bases: BTreeSet<Base>,
    pub(super) segments: BTreeSet<Segment>,
}

impl Listing {
    /// What this base can be continued with. Segments may overlap, where one was written twice: the longest counts.
    pub(super) fn chain(&self, base: Base) -> Chain {
        let mut chain = Chain { base, segments: Vec::new() };
        loop {
            let at = chain.to();
            let goes_on = |segment: &&Segment| segment.epoch == base.epoch && segment.after <= at && segment.to > at;
            match self.segments.iter().filter(goes_on).max_by_key(|segment| segment.to) {
                Some(segment) => chain.segments.push(*segment),
                None => return chain,
            }
        }
    }

    /// The latest base of an epoch, with what continues it.
    pub(super) fn latest(&self, epoch: u64) -> Option<Chain> {
        self.bases.iter().rev().find(|base| base.epoch == epoch).map(|base| self.chain(*base))
    }

    fn take(&mut self, name: &str) {
        if let Some(numbers) = name.strip_prefix("base-").and_then(|rest| rest.strip_suffix(".tar.zst.age"))
            && let Some((epoch, seq)) = numbers.split_once('-')
            && let (Ok(epoch), Ok(seq)) = (epoch.parse(), seq.parse())
        {
            self.bases.insert(Base { epoch, seq });
        }
        if let Some(numbers) = name.strip_prefix("segment-").and_then(|rest| rest.strip_suffix(".zst.age"))
            && let Some((epoch, range)) = numbers.split_once('-')
            && let Some((after, to)) = range.split_once('-')
            && let (Ok(epoch), Ok(after), Ok(to)) = (epoch.parse(), after.parse(), to.parse())
        {
            self.segments.insert(Segment { epoch, after, to });
        }
    }
}

/// The folder of one box in a place for backups.
#[derive(Debug, Clone)]
pub struct Vault {
    folder: PathBuf,
}

impl Vault {
    /// Of this box in `place`, made if it is not there. A place that is not there is not made: what is not mounted must not
    /// fill the disk below it.
    ///
    /// # Errors
    /// [`BackupError::File`].
    pub fn open(place: &Path, box_id: &str) -> Result<Vault, BackupError> {
        fs::read_dir(place).map_err(file_error(place))?;
        let folder = place.join(box_id);
        let recordings = folder.join(RECORDINGS);
        fs::create_dir_all(&recordings).map_err(file_error(&recordings))?;
        Ok(Vault { folder })
    }

    /// One that is there: `place` itself, or the one folder in it that has a base.
    ///
    /// # Errors
    /// [`BackupError::NoBase`], also if there are several.
    pub fn find(place: &Path) -> Result<Vault, BackupError> {
        let here = Vault { folder: place.to_owned() };
        if !here.list()?.bases.is_empty() {
            return Ok(here);
        }
        let mut found = Vec::new();
        for entry in fs::read_dir(place).map_err(file_error(place))? {
            let below = Vault { folder: entry.map_err(file_error(place))?.path() };
            if below.folder.is_dir() && !below.list()?.bases.is_empty() {
                found.push(below);
            }
        }
        match found.len() {
            1 => Ok(found.remove(0)),
            _ => Err(BackupError::NoBase(place.display().to_string())),
        }
    }

    /// Where it is.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    pub(super) fn list(&self) -> Result<Listing, BackupError> {
        let mut listing = Listing::default();
        for entry in fs::read_dir(&self.folder).map_err(file_error(&self.folder))? {
            let entry = entry.map_err(file_error(&self.folder))?;
            listing.take(&entry.file_name().to_string_lossy());
        }
        Ok(listing)
    }

    pub(super) fn base(&self, Base { epoch, seq }: Base) -> PathBuf {
        // So many digits that names sort as numbers do.
        self.folder.join(format!("base-{epoch:04}-{seq:012}.tar.zst.age"))
    }

    pub(super) fn segment(&self, segment: Segment) -> PathBuf {
        let Segment { epoch, after, to } = segment;
        self.folder.join(format!("segment-{epoch:04}-{after:012}-{to:012}.zst.age"))
    }

    pub(super) fn recording(&self, sha256: &str) -> PathBuf {
        self.folder.join(RECORDINGS).join(format!("{sha256}.wav.age"))
    }

    /// The recordings that are there, by their hashes.
    pub(super) fn recordings(&self) -> Result<BTreeSet<String>, BackupError> {
        let folder = self.folder.join(RECORDINGS);
        let mut found = BTreeSet::new();
        let entries = match fs::read_dir(&folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(found),
            Err(error) => return Err(file_error(&folder)(error)),
        };
        for entry in entries {
            let name = entry.map_err(file_error(&folder))?.file_name();
            found.extend(name.to_string_lossy().strip_suffix(".wav.age").map(str::to_owned));
        }
        Ok(found)
    }

    /// Writes a sealed file: there whole under its name, or not at all.
    pub(super) fn put(
        &self,
        path: &Path,
        recipients: &Recipients,
        fill: impl FnOnce(&mut dyn io::Write) -> Result<(), BackupError>,
    ) -> Result<u64, BackupError> {
        let mut name = path.as_os_str().to_owned();
        name.push(".new");
        let beside = PathBuf::from(name);
        let file = File::create(&beside).map_err(file_error(&beside))?;
        let mut sealed = recipients.seal(BufWriter::new(file))?;
        fill(&mut sealed)?;
        let finished = sealed.finish().and_then(|mut buffer| {
            buffer.flush()?;
            buffer.get_ref().sync_all()?;
            fs::rename(&beside, path)?;
            File::open(path.parent().unwrap_or(Path::new(".")))?.sync_all()?;
            fs::metadata(path)
        });
        Ok(finished.map_err(file_error(path))?.len())
    }

    pub(super) fn open_sealed(path: &Path, key: &super::BackupKey) -> Result<impl io::Read + use<>, BackupError> {
        let file = File::open(path).map_err(file_error(path))?;
        key.open(io::BufReader::new(file)).map_err(|error| {
            let what = path.display().to_string();
            if let SealError::Damaged(why) = error { BackupError::Damaged { what, why } } else { error.into() }
        })
    }

    /// Keeps the latest `keep` bases and what continues the oldest of them.
    pub(super) fn prune(&self, keep: usize) -> Result<usize, BackupError> {
        let listing = self.list()?;
        let Some(oldest) = listing.bases.iter().rev().nth(keep.saturating_sub(1)).copied() else { return Ok(0) };
        let bases = listing.bases.iter().filter(|base| **base < oldest).map(|base| self.base(*base));
        let segments =
            listing.segments.iter().filter(|segment| (segment.epoch, segment.to) <= (oldest.epoch, oldest.seq));
        let mut gone = 0;
        for path in bases.chain(segments.map(|segment| self.segment(*segment))) {
            fs::remove_file(&path).map_err(file_error(&path))?;
            gone += 1;
        }
        Ok(gone)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listing(names: &[&str]) -> Listing {
        let mut listing = Listing::default();
        for name in names {
            listing.take(name);
        }
        listing
    }

    #[test]
    fn a_chain_goes_as_far_as_there_is_no_gap_and_no_other_epoch() {
        let listing = listing(&[
            "base-0001-000000000010.tar.zst.age",
            "segment-0001-000000000010-000000000014.zst.age",
            "segment-0001-000000000010-000000000012.zst.age",
            "segment-0001-000000000012-000000000020.zst.age",
            "segment-0001-000000000021-000000000030.zst.age",
            "segment-0002-000000000020-000000000022.zst.age",
            "base-x.tar.zst.age",
            "base-000000000040.tar.zst.age",
            "segment-5.zst.age",
            "base-0001-000000000040.tar.zst.age.new",
        ]);
        let base = Base { epoch: 1, seq: 10 };
        assert_eq!(listing.bases, BTreeSet::from([base]));
        let chain = listing.latest(1).unwrap();
        assert_eq!(chain.segments, [(10, 14), (12, 20)].map(|(after, to)| Segment { epoch: 1, after, to }));
        assert_eq!(chain.to(), 20);
        assert_eq!(listing.latest(2), None, "a box that was restored begins with a base");
        assert_eq!(listing.chain(Base { epoch: 1, seq: 30 }).to(), 30);
    }

    #[test]
    fn old_bases_go_with_what_only_they_need() {
        let place = tempfile::tempdir().unwrap();
        let missing = Vault::open(&place.path().join("share"), "box").unwrap_err().to_string();
        assert!(missing.contains("share"), "{missing}");
        let vault = Vault::open(place.path(), "box").unwrap();
        let base = |epoch, seq| Base { epoch, seq };
        for base in [base(1, 90), base(2, 5), base(2, 9)] {
            fs::write(vault.base(base), "").unwrap();
        }
        for (epoch, after, to) in [(1, 90, 99), (2, 3, 5), (2, 5, 9), (2, 9, 11)] {
            fs::write(vault.segment(Segment { epoch, after, to }), "").unwrap();
        }
        assert_eq!(vault.prune(5).unwrap(), 0);
        assert_eq!(vault.prune(2).unwrap(), 3);
        let listing = vault.list().unwrap();
        assert_eq!(listing.bases, BTreeSet::from([base(2, 5), base(2, 9)]));
        assert_eq!(listing.chain(base(2, 5)).to(), 11);
        assert_eq!(Vault::find(place.path()).unwrap().folder(), vault.folder());
        let empty = tempfile::tempdir().unwrap();
        assert!(Vault::find(empty.path()).unwrap_err().to_string().contains("expected a folder with base-"));
    }
}
