//! A place with backups of one box, a folder or its cloud: which files there are, and which of them make a whole.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::cloud::CloudVault;
use super::{BackupError, Recipients, SealError, file_error};
use crate::durable;

const RECORDINGS: &str = "recordings";

/// A whole copy. Epochs first: a box that was restored counts its change log anew, and goes on with a base of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Base {
    /// Grows with each restore.
    pub(super) epoch: u64,
    /// As of which entry of the change log.
    pub(super) seq: i64,
}

impl Base {
    pub(super) fn name(self) -> String {
        // So many digits that names sort as numbers do.
        format!("base-{:04}-{:012}.tar.zst.age", self.epoch, self.seq)
    }
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

impl Segment {
    pub(super) fn name(self) -> String {
        format!("segment-{:04}-{:012}-{:012}.zst.age", self.epoch, self.after, self.to)
    }
}

/// Of a recording, by its hash.
pub(super) fn recording_name(sha256: &str) -> String {
    format!("{RECORDINGS}/{sha256}.wav.age")
}

/// What was sealed under this name, if it is a recording's.
pub(super) fn recording_of(name: &str) -> Option<&str> {
    name.strip_prefix(RECORDINGS)?.strip_prefix('/')?.strip_suffix(".wav.age")
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
    /// What this base can be continued with. Segments may overlap, where one was written twice or holds many: the longest
    /// counts.
    pub(super) fn chain(&self, base: Base) -> Chain {
        let mut chain = Chain { base, segments: Vec::new() };
        let mut longest: Option<Segment> = None;
        let of_epoch = |after| Segment { epoch: base.epoch, after, to: after };
        for segment in self.segments.range(of_epoch(i64::MIN)..=of_epoch(i64::MAX)) {
            while segment.after > chain.to() {
                match longest.take().filter(|longest| longest.to > chain.to()) {
                    Some(longest) => chain.segments.push(longest),
                    None => return chain,
                }
            }
            if longest.is_none_or(|longest| longest.to < segment.to) {
                longest = Some(*segment);
            }
        }
        chain.segments.extend(longest.filter(|longest| longest.to > chain.to()));
        chain
    }

    /// From where the next segment is to begin: at the chain's end, or, once `many` have come since the last that holds many,
    /// where these began. A day of small ones would be thousands to fetch, and each is a transaction.
    pub(super) fn next_after(&self, chain: &Chain, many: usize) -> i64 {
        let holds_many = |segment: &Segment| {
            let first = Segment { to: i64::MIN, ..*segment };
            self.segments.range(first..*segment).next().is_some()
        };
        let small = chain.segments.iter().rev().take_while(|segment| !holds_many(segment)).count();
        match chain.segments.len().checked_sub(small).and_then(|from| chain.segments.get(from)) {
            Some(first) if small >= many => first.after,
            Some(_) | None => chain.to(),
        }
    }

    /// The latest base of an epoch, with what continues it.
    pub(super) fn latest(&self, epoch: u64) -> Option<Chain> {
        self.bases.iter().rev().find(|base| base.epoch == epoch).map(|base| self.chain(*base))
    }

    pub(super) fn take(&mut self, name: &str) {
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

/// The backups of one box in a place.
#[derive(Debug, Clone)]
pub struct Vault(Kind);

#[derive(Debug, Clone)]
enum Kind {
    Folder(PathBuf),
    Cloud(Arc<CloudVault>),
}

impl From<Arc<CloudVault>> for Vault {
    fn from(cloud: Arc<CloudVault>) -> Vault {
        Vault(Kind::Cloud(cloud))
    }
}

impl std::fmt::Display for Vault {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.0 {
            Kind::Folder(folder) => write!(formatter, "{}", folder.display()),
            Kind::Cloud(_) => formatter.write_str("the cloud"),
        }
    }
}

impl Vault {
    /// Of this box in the folder `place`, made if it is not there. A place that is not there is not made: what is not mounted
    /// must not fill the disk below it.
    ///
    /// # Errors
    /// [`BackupError::File`].
    pub fn open(place: &Path, box_id: &str) -> Result<Vault, BackupError> {
        fs::read_dir(place).map_err(file_error(place))?;
        let folder = place.join(box_id);
        let recordings = folder.join(RECORDINGS);
        fs::create_dir_all(&recordings).map_err(file_error(&recordings))?;
        Ok(Vault(Kind::Folder(folder)))
    }

    /// One that is there: the folder `place` itself, or the one folder in it that has a base.
    ///
    /// # Errors
    /// [`BackupError::NoBase`], also if there are several.
    pub fn find(place: &Path) -> Result<Vault, BackupError> {
        let here = Vault(Kind::Folder(place.to_owned()));
        if !here.list()?.bases.is_empty() {
            return Ok(here);
        }
        let mut found = Vec::new();
        for entry in fs::read_dir(place).map_err(file_error(place))? {
            let folder = entry.map_err(file_error(place))?.path();
            let below = Vault(Kind::Folder(folder.clone()));
            if folder.is_dir() && !below.list()?.bases.is_empty() {
                found.push(below);
            }
        }
        match found.len() {
            1 => Ok(found.remove(0)),
            _ => Err(BackupError::NoBase(place.display().to_string())),
        }
    }

    pub(super) fn list(&self) -> Result<Listing, BackupError> {
        match &self.0 {
            Kind::Folder(folder) => {
                let mut listing = Listing::default();
                for entry in fs::read_dir(folder).map_err(file_error(folder))? {
                    let entry = entry.map_err(file_error(folder))?;
                    listing.take(&entry.file_name().to_string_lossy());
                }
                Ok(listing)
            }
            Kind::Cloud(cloud) => cloud.list(),
        }
    }

    /// The recordings that are there, by their hashes.
    pub(super) fn recordings(&self) -> Result<BTreeSet<String>, BackupError> {
        let folder = match &self.0 {
            Kind::Folder(folder) => folder.join(RECORDINGS),
            Kind::Cloud(cloud) => return cloud.recordings(),
        };
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

    /// Writes a sealed file: there whole under its name, or not at all. Gives its size in bytes, or None if its turn was over
    /// before it was there: it goes on where it was, by [`go_on`](Vault::go_on) or with the next `put` of this name.
    pub(super) fn put(
        &self,
        name: &str,
        recipients: &Recipients,
        fill: impl FnOnce(&mut dyn io::Write) -> Result<(), BackupError>,
    ) -> Result<Option<u64>, BackupError> {
        match &self.0 {
            Kind::Folder(folder) => seal_into(&folder.join(name), recipients, fill).map(Some),
            Kind::Cloud(cloud) => cloud.put(name, recipients, fill),
        }
    }

    /// Bases and segments that were begun and are not there yet.
    pub(super) fn begun(&self) -> Listing {
        match &self.0 {
            Kind::Folder(_) => Listing::default(),
            Kind::Cloud(cloud) => cloud.begun(),
        }
    }

    /// Goes on with what was begun.
    pub(super) fn go_on(&self, name: &str) -> Result<Option<u64>, BackupError> {
        match &self.0 {
            Kind::Folder(_) => Ok(None),
            Kind::Cloud(cloud) => cloud.go_on(name),
        }
    }

    /// What was begun is not wanted any more.
    pub(super) fn give_up(&self, name: &str) {
        if let Kind::Cloud(cloud) = &self.0 {
            cloud.give_up(name);
        }
    }

    /// How much of what was begun last is still to be sent, in bytes.
    pub(super) fn left_bytes(&self) -> u64 {
        match &self.0 {
            Kind::Folder(_) => 0,
            Kind::Cloud(cloud) => cloud.left_bytes(),
        }
    }

    /// It may take as long as it takes.
    pub(super) fn without_hurry(&self) {
        if let Kind::Cloud(cloud) = &self.0 {
            cloud.turn(None);
        }
    }

    /// Why the place cannot be read any more, if that is so: what was read last looks damaged and may not be.
    pub(super) fn check(&self) -> Result<(), BackupError> {
        match &self.0 {
            Kind::Folder(_) => Ok(()),
            Kind::Cloud(cloud) => cloud.check(),
        }
    }

    pub(super) fn open_sealed(&self, name: &str, key: &super::BackupKey) -> Result<impl io::Read + use<>, BackupError> {
        let opened: Box<dyn io::Read> = match &self.0 {
            Kind::Folder(folder) => {
                let path = folder.join(name);
                Box::new(io::BufReader::new(File::open(&path).map_err(file_error(&path))?))
            }
            Kind::Cloud(cloud) => Box::new(cloud.read(name)),
        };
        key.open(opened).map_err(|error| {
            if let SealError::Damaged(why) = error {
                BackupError::Damaged { what: format!("{self}: {name}"), why }
            } else {
                error.into()
            }
        })
    }

    /// What is not there is removed already.
    pub(super) fn remove(&self, names: &[String]) -> Result<(), BackupError> {
        match &self.0 {
            Kind::Folder(folder) => names.iter().try_for_each(|name| {
                let path = folder.join(name);
                durable::remove(&path).map_err(file_error(&path))
            }),
            Kind::Cloud(cloud) => cloud.remove(names),
        }
    }

    /// Keeps the latest `keep` bases and what continues the oldest of them.
    pub(super) fn prune(&self, keep: usize) -> Result<usize, BackupError> {
        let listing = self.list()?;
        let oldest = listing.bases.iter().rev().nth(keep.saturating_sub(1)).copied();
        // None is older than that.
        let oldest = oldest.unwrap_or(Base { epoch: 0, seq: 0 });
        let bases = listing.bases.iter().filter(|base| **base < oldest).map(|base| base.name());
        let segments =
            listing.segments.iter().filter(|segment| (segment.epoch, segment.to) <= (oldest.epoch, oldest.seq));
        // Segments go last: should it end half-way, no base is left without them.
        let gone: Vec<String> = bases.chain(segments.map(|segment| segment.name())).collect();
        self.remove(&gone)?;
        if let Kind::Folder(folder) = &self.0 {
            // Of a process that was killed; nobody writes beside us.
            for entry in fs::read_dir(folder).map_err(file_error(folder))? {
                let path = entry.map_err(file_error(folder))?.path();
                if path.extension().is_some_and(|extension| extension == "new") {
                    durable::remove(&path).map_err(file_error(&path))?;
                }
            }
        }
        Ok(gone.len())
    }
}

/// A sealed file at `path`: there whole, or not at all. Gives its size in bytes.
pub(super) fn seal_into(
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

    /// Whatever segments there are: as the plain rule has it, the longest of those that continue.
    #[test]
    fn a_chain_is_what_the_plain_rule_makes_of_it() {
        let mut number = 1_u64;
        let mut random = |below: u64| {
            number = number.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            i64::try_from((number >> 33) % below).unwrap()
        };
        for _ in 0..500 {
            let mut listing = Listing::default();
            for _ in 0..random(30) {
                let after = random(40);
                listing.segments.insert(Segment { epoch: 1, after, to: after + 1 + random(6) });
                listing.segments.insert(Segment { epoch: 2, after, to: after + 9 });
            }
            let base = Base { epoch: 1, seq: random(20) };
            let (mut at, mut plain) = (base.seq, Vec::new());
            let next = |at: i64| {
                let goes_on = |segment: &&Segment| segment.epoch == 1 && segment.after <= at && segment.to > at;
                listing.segments.iter().filter(goes_on).max_by_key(|segment| segment.to).copied()
            };
            while let Some(segment) = next(at) {
                (at, plain) = (segment.to, [plain, vec![segment.to]].concat());
            }
            let chain = listing.chain(base);
            assert_eq!(
                chain.segments.iter().map(|segment| segment.to).collect::<Vec<_>>(),
                plain,
                "{listing:?} {base:?}"
            );
        }
    }

    #[test]
    fn many_small_segments_become_one() {
        let base = Base { epoch: 1, seq: 0 };
        let mut listing = Listing { bases: BTreeSet::from([base]), ..Listing::default() };
        for to in 1..=30 {
            let after = listing.next_after(&listing.chain(base), 4);
            listing.segments.insert(Segment { epoch: 1, after, to });
        }
        let chain = listing.chain(base);
        let spans: Vec<_> = chain.segments.iter().map(|segment| segment.to - segment.after).collect();
        assert_eq!((chain.to(), spans), (30, vec![5, 5, 5, 5, 5, 5]));
        listing.segments.insert(Segment { epoch: 1, after: 30, to: 31 });
        assert_eq!(listing.next_after(&listing.chain(base), 4), 31);
    }

    #[test]
    fn old_bases_go_with_what_only_they_need() {
        let place = tempfile::tempdir().unwrap();
        let missing = Vault::open(&place.path().join("share"), "box").unwrap_err().to_string();
        assert!(missing.contains("share"), "{missing}");
        let vault = Vault::open(place.path(), "box").unwrap();
        let folder = place.path().join("box");
        let base = |epoch, seq| Base { epoch, seq };
        for base in [base(1, 90), base(2, 5), base(2, 9)] {
            fs::write(folder.join(base.name()), "").unwrap();
        }
        for (epoch, after, to) in [(1, 90, 99), (2, 3, 5), (2, 5, 9), (2, 9, 11)] {
            fs::write(folder.join(Segment { epoch, after, to }.name()), "").unwrap();
        }
        let killed = folder.join("base-0002-000000000012.tar.zst.age.new");
        fs::write(&killed, "half").unwrap();
        assert_eq!((vault.prune(5).unwrap(), killed.exists()), (0, false));
        assert_eq!(vault.prune(2).unwrap(), 3);
        let listing = vault.list().unwrap();
        assert_eq!(listing.bases, BTreeSet::from([base(2, 5), base(2, 9)]));
        assert_eq!(listing.chain(base(2, 5)).to(), 11);
        assert_eq!(Vault::find(place.path()).unwrap().to_string(), vault.to_string());
        let empty = tempfile::tempdir().unwrap();
        assert!(Vault::find(empty.path()).unwrap_err().to_string().contains("expected base-"));
    }
}
