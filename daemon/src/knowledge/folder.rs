//! The office's folder of documents, looked at again and again: what is new in it, what is gone, and what cannot be read.
//!
//! It is looked at, not notified of: network folders send no notifications, and an editor that saves by renaming looks
//! like one that writes. A file counts once it looks the same twice in a row, so that none is read while it is being
//! written, and it is gone once it is missing twice in a row, so that one between two names is not forgotten. Whatever
//! cannot be read keeps what it said before: an unreadable or emptied file, and the whole folder when it is not there or
//! holds nothing any more, as one that is not mounted does.

use std::collections::BTreeMap;
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::{SourceDocument, pdf};

/// Larger files are not read: nobody reads that to a caller.
const FILE_BYTES_MAX: u64 = 4 * 1024 * 1024;
/// Pictures are most of a PDF.
const PDF_BYTES_MAX: u64 = 32 * 1024 * 1024;
/// Files beyond these bounds are not read.
const FILES_MAX: usize = 1_000;
const FOLDER_DEPTH_MAX: usize = 4;
/// How the files end that are read.
const READABLE: [&str; 5] = ["md", "txt", "html", "htm", "pdf"];

/// A file that keeps what it said before, because it cannot be read now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trouble {
    /// Its path within the folder, that of a folder in it, or nothing: then it is the whole folder.
    pub name: String,
    /// Why, in a few words.
    pub reason: String,
}

impl Trouble {
    fn covers(&self, name: &str) -> bool {
        let rest = name.strip_prefix(self.name.as_str());
        self.name.is_empty() || rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }
}

/// What is to be known now.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sources {
    /// New and changed documents.
    pub documents: Vec<SourceDocument>,
    /// Documents that are still as they were, by name.
    pub unchanged: Vec<String>,
    /// Why others stay as they were.
    pub troubles: Vec<Trouble>,
}

impl Sources {
    /// Whether what is stored under `name` stays, without a new text.
    pub(super) fn keeps(&self, name: &str) -> bool {
        self.unchanged.iter().any(|kept| kept == name) || self.troubles.iter().any(|trouble| trouble.covers(name))
    }
}

impl From<Vec<SourceDocument>> for Sources {
    fn from(documents: Vec<SourceDocument>) -> Sources {
        Sources { documents, ..Sources::default() }
    }
}

/// The folder as far as it is known.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    /// The last look.
    seen: Option<BTreeMap<String, Stamp>>,
    /// What was read, as it was then.
    taken: BTreeMap<String, Taken>,
    troubles: Vec<Trouble>,
    /// The `offhook` that reads PDFs.
    program: PathBuf,
}

#[derive(Debug)]
struct Taken {
    stamp: Stamp,
    /// What is wrong with its content.
    trouble: Option<String>,
}

/// What changes when a file does: bytes, time of writing, time of any change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    bytes: u64,
    written: (i64, i64),
    changed: (i64, i64),
}

impl From<&Metadata> for Stamp {
    fn from(metadata: &Metadata) -> Stamp {
        Stamp {
            bytes: metadata.len(),
            written: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }
}

/// Why a file was not read.
enum NotRead {
    /// The system does not let us, or it is being written: perhaps the next time.
    Now(String),
    /// As it is, it is of no use.
    AsItIs(String),
}

impl Folder {
    /// Nothing of it is known yet.
    pub fn new(path: &Path) -> Folder {
        let (path, program) = (path.to_owned(), pdf::this_program());
        Folder { path, seen: None, taken: BTreeMap::new(), troubles: Vec::new(), program }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Documents that are read and right.
    pub fn documents(&self) -> usize {
        self.taken.values().filter(|taken| taken.trouble.is_none()).count()
    }

    /// Looks at it. `None` if nothing is to be learnt, forgotten or told since the last look.
    pub fn look(&mut self) -> Option<Sources> {
        let (found, mut troubles) = self.list();
        let first = self.seen.is_none();
        let before = self.seen.take().unwrap_or_default();
        let mut documents = Vec::new();
        let mut changed = first;
        for (name, stamp) in &found {
            let settled = first || before.get(name) == Some(stamp);
            if !settled || self.taken.get(name).is_some_and(|taken| taken.stamp == *stamp) {
                continue;
            }
            let trouble = match self.read(name, *stamp) {
                Ok(document) => {
                    documents.push(document);
                    None
                }
                Err(NotRead::AsItIs(reason)) => Some(reason),
                Err(NotRead::Now(reason)) => {
                    troubles.push(Trouble { name: name.clone(), reason });
                    continue;
                }
            };
            self.taken.insert(name.clone(), Taken { stamp: *stamp, trouble });
            changed = true;
        }
        let is_there = |name: &String| found.contains_key(name) || before.contains_key(name);
        let is_covered = |name: &String| troubles.iter().any(|trouble| trouble.covers(name));
        let known = self.taken.len();
        self.taken.retain(|name, _| is_there(name) || is_covered(name));
        changed |= self.taken.len() != known;
        let of_content = self.taken.iter().filter_map(|(name, taken)| {
            let reason = taken.trouble.clone()?;
            Some(Trouble { name: name.clone(), reason })
        });
        troubles.extend(of_content);
        changed |= troubles != self.troubles;
        self.seen = Some(found);
        self.troubles.clone_from(&troubles);
        let is_new = |name: &String| documents.iter().any(|document| document.name == *name);
        let unchanged = self.taken.keys().filter(|name| !is_new(name)).cloned().collect();
        changed.then_some(Sources { documents, unchanged, troubles })
    }

    /// The files that may be read, and what keeps others from it.
    fn list(&self) -> (BTreeMap<String, Stamp>, Vec<Trouble>) {
        let (mut found, mut troubles) = (BTreeMap::new(), Vec::new());
        self.collect(&self.path, 0, &mut found, &mut troubles);
        if found.len() > FILES_MAX {
            let reason = format!("{} files, of which only the first {FILES_MAX} are read", found.len());
            // As if it stood for a file of this name, which cannot be: it covers nothing.
            troubles.push(Trouble { name: "/".into(), reason });
            found = found.into_iter().take(FILES_MAX).collect();
        }
        if found.is_empty() && troubles.is_empty() {
            let reason = "there is nothing to read in it: is it mounted?".to_owned();
            troubles.push(Trouble { name: String::new(), reason });
        }
        (found, troubles)
    }

    fn collect(&self, dir: &Path, depth: usize, found: &mut BTreeMap<String, Stamp>, troubles: &mut Vec<Trouble>) {
        let mut trouble = |path: &Path, reason: String| troubles.push(Trouble { name: self.name(path), reason });
        let entries = match fs::read_dir(dir) {
            Ok(entries) => entries,
            Err(error) => return trouble(dir, error.to_string()),
        };
        let mut folders = Vec::new();
        for entry in entries {
            let path = match entry {
                Ok(entry) => entry.path(),
                Err(error) => {
                    trouble(dir, error.to_string());
                    continue;
                }
            };
            if path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b".")) {
                continue;
            }
            match fs::metadata(&path) {
                Ok(metadata) if metadata.is_dir() => folders.push(path),
                Ok(metadata) if !metadata.is_file() || !READABLE.contains(&extension(&path).as_str()) => {}
                Ok(metadata) if metadata.len() > bytes_max(&path) => {
                    trouble(&path, format!("it is larger than {} MiB", bytes_max(&path) >> 20));
                }
                Ok(metadata) => {
                    found.insert(self.name(&path), Stamp::from(&metadata));
                }
                // Between two names, or a link to nothing.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => trouble(&path, error.to_string()),
            }
        }
        for folder in folders.iter().filter(|_| depth < FOLDER_DEPTH_MAX) {
            self.collect(folder, depth + 1, found, troubles);
        }
    }

    fn name(&self, path: &Path) -> String {
        path.strip_prefix(&self.path).unwrap_or(path).to_string_lossy().into_owned()
    }

    fn read(&self, name: &str, stamp: Stamp) -> Result<SourceDocument, NotRead> {
        let now = |error: io::Error| NotRead::Now(error.to_string());
        let path = self.path.join(name);
        let text = match extension(&path).as_str() {
            "pdf" => pdf::text(&self.program, &path).map_err(now)?,
            _ => Ok(String::from_utf8_lossy(&fs::read(&path).map_err(now)?).into_owned()),
        };
        if Stamp::from(&fs::metadata(&path).map_err(now)?) != stamp {
            return Err(NotRead::Now("it is being written".into()));
        }
        match text {
            _ if stamp.bytes == 0 => Err(NotRead::AsItIs("it is empty".into())),
            Ok(text) => Ok(SourceDocument { name: name.to_owned(), text }),
            Err(problem) => Err(NotRead::AsItIs(problem)),
        }
    }
}

fn bytes_max(path: &Path) -> u64 {
    if extension(path) == "pdf" { PDF_BYTES_MAX } else { FILE_BYTES_MAX }
}

/// In small letters; empty without one.
pub(super) fn extension(path: &Path) -> String {
    path.extension().unwrap_or_default().to_string_lossy().to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Rig {
        dir: tempfile::TempDir,
        folder: Folder,
    }

    impl Rig {
        fn new(files: &[(&str, &str)]) -> Rig {
            let dir = tempfile::tempdir().unwrap();
            let folder = Folder::new(dir.path());
            let rig = Rig { dir, folder };
            files.iter().for_each(|(name, text)| rig.write(name, text));
            rig
        }

        fn path(&self, name: &str) -> PathBuf {
            self.dir.path().join(name)
        }

        fn write(&self, name: &str, text: &str) {
            let path = self.path(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }

        /// What a look brings, in a line: new texts, names that stay, troubles.
        fn look(&mut self) -> String {
            let Some(sources) = self.folder.look() else { return "nothing".into() };
            let new: Vec<_> = sources.documents.iter().map(|new| format!("{}={}", new.name, new.text)).collect();
            let troubles: Vec<_> = sources.troubles.iter().map(|trouble| format!("{}!", trouble.name)).collect();
            [new.join(","), sources.unchanged.join(","), troubles.join(",")].join(" | ")
        }
    }

    #[test]
    fn what_lies_in_the_folder_is_read_at_once_and_then_only_what_changes() {
        let mut rig = Rig::new(&[("a.md", "A"), ("team/c.md", "C"), ("b.HTM", "B"), ("x.docx", "no"), (".a.md", "no")]);
        assert_eq!(rig.look(), "a.md=A,b.HTM=B,team/c.md=C |  | ");
        assert_eq!(rig.look(), "nothing");
        rig.write("team/c.md", "C2 ");
        assert_eq!(rig.look(), "nothing", "it may still be being written");
        rig.write("team/c.md", "C2 and more");
        assert_eq!(rig.look(), "nothing", "it was");
        assert_eq!(rig.look(), "team/c.md=C2 and more | a.md,b.HTM | ");
        assert_eq!(rig.look(), "nothing");
        assert_eq!(rig.folder.documents(), 3);
    }

    /// An editor writes beside the file and renames over it; another moves the file away first.
    #[test]
    fn saving_by_renaming_forgets_nothing() {
        let mut rig = Rig::new(&[("a.md", "A"), ("b.md", "B")]);
        rig.look();
        rig.write(".a.md.swp", "A2, longer");
        fs::rename(rig.path(".a.md.swp"), rig.path("a.md")).unwrap();
        assert_eq!(rig.look(), "nothing");
        assert_eq!(rig.look(), "a.md=A2, longer | b.md | ");
        fs::rename(rig.path("b.md"), rig.path("b.md~")).unwrap();
        assert_eq!(rig.look(), "nothing", "missing once");
        rig.write("b.md", "B2, longer");
        assert_eq!(rig.look(), "nothing");
        assert_eq!(rig.look(), "b.md=B2, longer | a.md | ");
        fs::remove_file(rig.path("b.md")).unwrap();
        assert_eq!(rig.look(), "nothing");
        assert_eq!(rig.look(), " | a.md | ", "missing twice is gone");
    }

    #[test]
    fn what_cannot_be_read_stays_as_it_was_and_is_named() {
        let mut rig = Rig::new(&[("a.md", "A"), ("team/c.md", "C")]);
        rig.look();
        rig.write("a.md", "");
        rig.look();
        assert_eq!(rig.look(), " | a.md,team/c.md | a.md!");
        assert_eq!(rig.look(), "nothing", "told once");
        rig.write("a.md", "A again");
        rig.look();
        assert_eq!(rig.look(), "a.md=A again | team/c.md | ");
        rig.write("big.md", "");
        fs::File::options().write(true).open(rig.path("big.md")).unwrap().set_len(FILE_BYTES_MAX + 1).unwrap();
        assert_eq!(rig.look(), " | a.md,team/c.md | big.md!");
        fs::remove_file(rig.path("big.md")).unwrap();
        rig.look();
        // Whoever runs the tests may read everything, so a link to itself is what cannot be.
        fs::remove_dir_all(rig.path("team")).unwrap();
        std::os::unix::fs::symlink("team", rig.path("team")).unwrap();
        assert_eq!(rig.look(), " | a.md,team/c.md | team!");
        assert_eq!(rig.look(), "nothing", "it is covered by its folder");
    }

    #[test]
    fn a_folder_that_is_gone_or_empty_keeps_everything() {
        let mut rig = Rig::new(&[("a.md", "A"), ("team/c.md", "C")]);
        rig.look();
        let elsewhere = tempfile::tempdir().unwrap();
        let aside = elsewhere.path().join("aside");
        fs::rename(rig.dir.path(), &aside).unwrap();
        assert_eq!(rig.look(), " | a.md,team/c.md | !");
        assert_eq!(rig.look(), "nothing");
        fs::create_dir(rig.dir.path()).unwrap();
        assert_eq!(rig.look(), " | a.md,team/c.md | !", "for another reason");
        fs::remove_dir(rig.dir.path()).unwrap();
        fs::rename(&aside, rig.dir.path()).unwrap();
        assert_eq!(rig.look(), " | a.md,team/c.md | ", "as if nothing had been");
    }

    #[test]
    fn a_trouble_covers_what_lies_below_it() {
        for (trouble, name, expected) in
            [("", "a.md", true), ("a", "a/b.md", true), ("a.md", "a.md", true), ("a", "ab.md", false)]
        {
            let trouble = Trouble { name: trouble.into(), reason: String::new() };
            assert_eq!(trouble.covers(name), expected, "{trouble:?} {name}");
        }
    }
}
