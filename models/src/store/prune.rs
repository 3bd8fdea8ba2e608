//! Forgetting what no release on this machine needs any more.
//!
//! Each release notes what it needs when it runs; the two that ran last are kept, since a box goes back to the one before
//! when an update does not work.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use sha2::{Digest as _, Sha256};

use super::object::Object;
use super::{Store, StoreError, disk};
use crate::catalogue::{self, Digest};

/// Releases whose models are kept: both slots of a box.
const RELEASES_KEPT: usize = 2;

/// What [`Store::prune`] deleted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pruned {
    /// Files.
    pub files: usize,
    /// Bytes of these files.
    pub bytes: u64,
}

impl Store {
    /// Notes that `release` runs here and what its catalogue accepts, so that `prune` of another release keeps it.
    ///
    /// # Errors
    /// The folder cannot be written.
    pub fn note_release(&self, release: &str) -> Result<(), StoreError> {
        let folder = self.releases_folder();
        disk::create_folder(&folder)?;
        let digests = catalogue::entries().iter().flat_map(|entry| entry.files).flat_map(|file| file.accepted);
        let lines: String = digests.map(|(Digest::Sha256(hex) | Digest::Sha1(hex))| format!("{hex}\n")).collect();
        // Two builds may call themselves the same and need different files.
        let name = format!("{release}-{}", &hex::encode(Sha256::digest(&lines))[..8]);
        let part = folder.join(format!("{name}.part"));
        fs::write(&part, lines).map_err(|error| StoreError::io("write", &part, error))?;
        disk::publish(&part, &folder.join(name))
    }

    /// Deletes every object that none of the two releases which ran last needs.
    ///
    /// # Errors
    /// Something cannot be read or deleted. Without any note nothing is deleted.
    pub fn prune(&self) -> Result<Pruned, StoreError> {
        let mut releases = by_age(&self.releases_folder());
        let outdated = releases.split_off(releases.len().min(RELEASES_KEPT));
        if releases.is_empty() {
            return Ok(Pruned::default());
        }
        let mut kept = HashSet::new();
        for path in &releases {
            let text = fs::read_to_string(path).map_err(|error| StoreError::io("read", path, error))?;
            kept.extend(text.lines().map(str::to_owned));
        }
        let mut pruned = Pruned::default();
        for object in self.all_objects().filter(|object| !object.is_one_of(&kept)) {
            pruned.files += 1;
            pruned.bytes += fs::metadata(object.path()).map_or(0, |meta| meta.len());
            object.remove()?;
        }
        outdated.iter().try_for_each(|path| disk::remove(path))?;
        Ok(pruned)
    }

    fn releases_folder(&self) -> PathBuf {
        self.folder.join("releases")
    }

    fn all_objects(&self) -> impl Iterator<Item = Object> {
        let objects = self.objects_folder();
        names(&objects).into_iter().flat_map(move |sha256| {
            let files = names(&objects.join(&sha256)).into_iter().filter(|name| !name.contains(".verified.json"));
            files.map(|name| Object::new(&objects, &sha256, &name)).collect::<Vec<_>>()
        })
    }
}

fn names(folder: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect()
}

/// The notes in `folder`, the latest first.
fn by_age(folder: &Path) -> Vec<PathBuf> {
    let paths = names(folder).into_iter().filter(|name| !name.ends_with(".part")).map(|name| folder.join(name));
    let time = |path: &PathBuf| fs::metadata(path).and_then(|meta| meta.modified()).unwrap_or(SystemTime::UNIX_EPOCH);
    let mut dated: Vec<(SystemTime, PathBuf)> = paths.map(|path| (time(&path), path)).collect();
    dated.sort_by(|one, other| other.cmp(one));
    dated.into_iter().map(|(_, path)| path).collect()
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::time::Duration;

    use super::*;

    fn put(store: &Store, sha256: &str) -> PathBuf {
        let object = Object::new(&store.objects_folder(), sha256, "model.bin");
        fs::create_dir_all(object.path().parent().unwrap()).unwrap();
        fs::write(object.path(), "0123456789").unwrap();
        object.path()
    }

    fn note(store: &Store, release: &str, sha256: &str, age_days: u64) {
        fs::create_dir_all(store.releases_folder()).unwrap();
        let path = store.releases_folder().join(release);
        fs::write(&path, format!("{sha256}\n")).unwrap();
        let time = SystemTime::now() - Duration::from_secs(age_days * 86_400);
        File::options().write(true).open(&path).unwrap().set_modified(time).unwrap();
    }

    #[test]
    fn what_the_two_last_releases_need_stays_and_the_rest_goes() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        let [oldest, before, now] = ["aa", "bb", "cc"].map(|sha256| put(&store, sha256));
        note(&store, "0.1.0", "aa", 30);
        note(&store, "0.2.0", "bb", 20);
        note(&store, "0.3.0", "cc", 1);
        assert_eq!(store.prune().unwrap(), Pruned { files: 1, bytes: 10 });
        assert!(!oldest.exists() && before.exists() && now.exists());
        assert_eq!(store.prune().unwrap(), Pruned::default());
    }

    #[test]
    fn nothing_is_deleted_where_no_release_has_run() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        let path = put(&store, "aa");
        store.prune().unwrap();
        assert!(path.exists());
    }

    #[test]
    fn a_running_release_keeps_what_its_catalogue_accepts() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        let Digest::Sha256(known) = catalogue::find(catalogue::SILERO).unwrap().files[0].accepted[0] else { panic!() };
        let (known, unknown) = (put(&store, known), put(&store, &"0".repeat(64)));
        store.note_release("9.9.9").unwrap();
        assert_eq!(store.prune().unwrap().files, 1);
        assert!(known.exists() && !unknown.exists());
    }
}
