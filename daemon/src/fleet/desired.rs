//! Configurations that the cloud wishes: what is in force, what is tried, what was rejected.
//!
//! ```text
//! STATE/cloud/desired.json     0600  one file, so that there is never half of a decision
//!       cloud/knowledge/N/     the files of version N
//!
//! wish ─► Waiting ─no call up─► Staged ─the box starts─► Trying ─reached─► in force
//!            ▲                                             │ not reached, or the process died
//!            └────────────── three times, then Rejected ◄──┘
//! ```
//! A box that dies while it tries a configuration has failed with it: the next start is one with the configuration before.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::durable;
use crate::storage::UnixMs;

const FILE: &str = "cloud/desired.json";
const KNOWLEDGE: &str = "cloud/knowledge";
/// Prefix of sections that are files.
const KNOWLEDGE_PREFIX: &str = "knowledge/";
/// How often a configuration is tried.
pub const TRIES: u32 = 3;
/// Between two tries, in milliseconds.
const RETRY_MS: i64 = 60_000;

/// Sections that may be wished. Not among them: where state lies, the way to the cloud, ports and certificates of this
/// machine, and programs that it runs.
pub const SECTIONS: [&str; 21] = [
    "calls",
    "conversation",
    "email",
    "escalation",
    "extensions",
    "features",
    "inbound",
    "language_model",
    "log",
    "mailboxes",
    "notices",
    "office",
    "outbound",
    "persona",
    "queues",
    "recording",
    "ring_groups",
    "sms",
    "trunks",
    "webhook",
    "knowledge",
];

/// One version of a configuration.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Version {
    /// The cloud's number.
    pub version: u64,
    /// TOML by section, and files by `knowledge/NAME`.
    pub sections: BTreeMap<String, String>,
}

/// How far one is that is not in force.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// For this time, and for calls to end.
    Waiting {
        /// Not before.
        not_before: UnixMs,
    },
    /// The next start is with it.
    Staged,
    /// The box runs with it and looks whether it reaches everybody.
    Trying,
    /// It is not tried any more.
    Rejected,
}

/// One that is not in force.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Candidate {
    /// Which.
    pub wish: Version,
    /// How far it is.
    pub phase: Phase,
    /// How often it was tried.
    pub tries: u32,
    /// What went wrong last, a sentence; empty if nothing has.
    pub detail: String,
    /// How many trunks answered before it was tried.
    pub trunks_before: usize,
}

/// What this box knows of its cloud's configurations.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Ledger {
    /// In force, when nothing is tried.
    pub current: Option<Version>,
    /// The one after it.
    pub candidate: Option<Candidate>,
}

impl Ledger {
    /// What is known; nothing where nothing was ever wished.
    ///
    /// # Errors
    /// The system's, or a damaged file.
    pub fn load(state_directory: &Path) -> io::Result<Ledger> {
        let path = state_directory.join(FILE);
        match std::fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes)
                .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, format!("{}: {error}", path.display()))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Ledger::default()),
            Err(error) => Err(io::Error::new(error.kind(), format!("{}: {error}", path.display()))),
        }
    }

    /// Keeps it, also through a power cut.
    ///
    /// # Errors
    /// The system's.
    pub fn save(&self, state_directory: &Path) -> io::Result<()> {
        durable::write(&state_directory.join(FILE), &serde_json::to_vec(self)?, 0o600)
    }

    /// What the box is to run with.
    pub fn in_force(&self) -> Option<&Version> {
        match &self.candidate {
            Some(Candidate { wish, phase: Phase::Trying, .. }) => Some(wish),
            Some(_) | None => self.current.as_ref(),
        }
    }

    /// A new wish, with what is wrong with it. False if it is known already.
    pub fn take(&mut self, wish: Version, mistakes: Option<String>, now: UnixMs) -> bool {
        let candidate = self.candidate.as_ref().map(|candidate| &candidate.wish);
        let latest = candidate.or(self.current.as_ref());
        if latest == Some(&wish) {
            return false;
        }
        if self.current.as_ref() == Some(&wish) {
            // The one that is tried or was rejected is not wanted any more.
            self.candidate = None;
            return true;
        }
        let phase = if mistakes.is_some() { Phase::Rejected } else { Phase::Waiting { not_before: now } };
        let detail = mistakes.unwrap_or_default();
        self.candidate = Some(Candidate { wish, phase, tries: 0, detail, trunks_before: 0 });
        true
    }

    /// The next start is with the candidate.
    pub fn stage(&mut self, trunks_before: usize) {
        if let Some(candidate) = &mut self.candidate {
            (candidate.phase, candidate.trunks_before) = (Phase::Staged, trunks_before);
        }
    }

    /// The candidate reached everybody: it is in force.
    pub fn keep(&mut self) {
        if let Some(candidate) = self.candidate.take() {
            self.current = Some(candidate.wish);
        }
    }

    /// The candidate did not: the one before is in force, and it is tried again later, or never.
    pub fn fail(&mut self, why: &str, now: UnixMs) {
        if let Some(candidate) = &mut self.candidate {
            candidate.tries += 1;
            candidate.detail = why.to_owned();
            candidate.phase = match candidate.tries {
                TRIES.. => Phase::Rejected,
                _ => Phase::Waiting { not_before: UnixMs(now.0.saturating_add(RETRY_MS)) },
            };
        }
    }

    /// A process starts: what was staged is tried; what was tried has killed the one before.
    fn start(&mut self, now: UnixMs) -> bool {
        match self.candidate.as_mut().map(|candidate| &mut candidate.phase) {
            Some(phase @ Phase::Staged) => *phase = Phase::Trying,
            Some(Phase::Trying) => self.fail("the box ended while it was tried", now),
            Some(Phase::Waiting { .. } | Phase::Rejected) | None => return false,
        }
        true
    }
}

/// Called by whoever is about to answer calls, before the configuration is read.
///
/// # Errors
/// Of the file.
pub fn begin(state_directory: &Path, now: UnixMs) -> io::Result<()> {
    let mut ledger = Ledger::load(state_directory)?;
    if ledger.start(now) { ledger.save(state_directory) } else { Ok(()) }
}

/// The configuration that is tried could not even be started with. False if none is tried.
///
/// # Errors
/// Of the file.
pub fn give_up(state_directory: &Path, why: &str, now: UnixMs) -> io::Result<bool> {
    let mut ledger = Ledger::load(state_directory)?;
    let tried = ledger.candidate.as_ref().is_some_and(|candidate| candidate.phase == Phase::Trying);
    if tried {
        ledger.fail(why, now);
        ledger.save(state_directory)?;
    }
    Ok(tried)
}

/// The sections of a version as a table that goes over the box's own file.
///
/// # Errors
/// What is wrong with them, by section.
pub fn table(wish: &Version, state_directory: &Path) -> Result<toml::Table, Vec<String>> {
    let (mut table, mut mistakes) = (toml::Table::new(), Vec::new());
    let mut files = false;
    for (section, text) in &wish.sections {
        if let Some(name) = section.strip_prefix(KNOWLEDGE_PREFIX) {
            files = true;
            if !is_file_name(name) {
                mistakes.push(format!("{section}: expected letters, digits, `.`, `_` and `-` in the name of a file"));
            }
            continue;
        }
        if !SECTIONS.contains(&section.as_str()) {
            mistakes.push(format!("{section}: expected one of {}; all else is the box's own", SECTIONS.join(", ")));
            continue;
        }
        match text.parse::<toml::Table>() {
            Ok(mut alone) => match (alone.remove(section), alone.is_empty()) {
                (Some(value), true) => drop(table.insert(section.clone(), value)),
                (_, _) => mistakes.push(format!("{section}: expected the one key {section:?} in it")),
            },
            Err(error) => mistakes.push(format!("{section}: expected TOML: {}", error.message())),
        }
    }
    let knowledge = table.entry("knowledge").or_insert_with(|| toml::Table::new().into());
    match knowledge.as_table_mut() {
        Some(knowledge) if knowledge.contains_key("directory") => {
            mistakes
                .push("knowledge.directory: expected files in the configuration itself, as knowledge/NAME".to_owned());
        }
        Some(knowledge) if files => {
            let folder = knowledge_folder(state_directory, wish.version);
            knowledge.insert("directory".to_owned(), folder.display().to_string().into());
        }
        Some(knowledge) if knowledge.is_empty() => drop(table.remove("knowledge")),
        Some(_) => {}
        None => mistakes.push("knowledge: expected a table".to_owned()),
    }
    if mistakes.is_empty() { Ok(table) } else { Err(mistakes) }
}

fn is_file_name(name: &str) -> bool {
    let letters = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte));
    letters && (1..=100).contains(&name.len()) && !name.starts_with('.')
}

fn knowledge_folder(state_directory: &Path, version: u64) -> PathBuf {
    state_directory.join(KNOWLEDGE).join(version.to_string())
}

/// Writes the files of a version.
///
/// # Errors
/// The system's.
pub fn write_files(wish: &Version, state_directory: &Path) -> io::Result<()> {
    let folder = knowledge_folder(state_directory, wish.version);
    for (section, text) in &wish.sections {
        let name = section.strip_prefix(KNOWLEDGE_PREFIX).filter(|name| is_file_name(name));
        let Some(path) = name.map(|name| folder.join(name)) else { continue };
        durable::write(&path, text.as_bytes(), 0o600)?;
    }
    Ok(())
}

/// Removes the files of versions that are of no use any more.
///
/// # Errors
/// The system's.
pub fn forget_files(ledger: &Ledger, state_directory: &Path) -> io::Result<()> {
    let candidate = ledger.candidate.as_ref().map(|candidate| &candidate.wish);
    let wanted: Vec<&Version> = candidate.into_iter().chain(&ledger.current).collect();
    let folders = match std::fs::read_dir(state_directory.join(KNOWLEDGE)) {
        Ok(folders) => folders,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    for entry in folders {
        let path = entry?.path();
        let kept = wanted.iter().any(|wish| path == knowledge_folder(state_directory, wish.version));
        if !kept {
            std::fs::remove_dir_all(path)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wish(version: u64) -> Version {
        let office = format!("[office]\nname = 'Version {version}'");
        Version { version, sections: BTreeMap::from([("office".to_owned(), office)]) }
    }

    fn phase(ledger: &Ledger) -> Option<Phase> {
        ledger.candidate.as_ref().map(|candidate| candidate.phase)
    }

    #[test]
    fn what_reaches_everybody_is_kept() {
        let mut ledger = Ledger::default();
        assert!(ledger.take(wish(1), None, UnixMs(5)));
        assert!(!ledger.take(wish(1), None, UnixMs(6)), "the cloud says it with each stream");
        assert_eq!((phase(&ledger), ledger.in_force()), (Some(Phase::Waiting { not_before: UnixMs(5) }), None));
        ledger.stage(1);
        assert!(ledger.start(UnixMs(7)));
        assert_eq!(ledger.in_force(), Some(&wish(1)));
        ledger.keep();
        assert_eq!((ledger.in_force(), ledger.candidate.as_ref()), (Some(&wish(1)), None));
        assert!(!ledger.start(UnixMs(8)));
        assert!(!ledger.take(wish(1), None, UnixMs(9)));
    }

    #[test]
    fn what_does_not_is_tried_three_times_and_the_one_before_stays() {
        let mut ledger = Ledger { current: Some(wish(1)), candidate: None };
        ledger.take(wish(2), None, UnixMs(0));
        for attempt in 1..=3 {
            ledger.stage(0);
            ledger.start(UnixMs(0));
            assert_eq!(ledger.in_force(), Some(&wish(2)));
            ledger.fail("the cloud was not reached", UnixMs(attempt));
            assert_eq!(ledger.in_force(), Some(&wish(1)));
        }
        assert_eq!(phase(&ledger), Some(Phase::Rejected));
        assert!(!ledger.take(wish(2), None, UnixMs(9)), "it is not tried again");
        assert!(ledger.take(wish(1), None, UnixMs(9)) && ledger.candidate.is_none(), "back to what is in force");
    }

    #[test]
    fn a_box_that_dies_with_it_has_failed_with_it() {
        let folder = tempfile::tempdir().unwrap();
        let mut ledger = Ledger { current: Some(wish(1)), candidate: None };
        ledger.take(wish(2), None, UnixMs(0));
        ledger.stage(0);
        ledger.save(folder.path()).unwrap();
        begin(folder.path(), UnixMs(1)).unwrap();
        assert_eq!(Ledger::load(folder.path()).unwrap().in_force(), Some(&wish(2)));
        begin(folder.path(), UnixMs(2)).unwrap();
        let ledger = Ledger::load(folder.path()).unwrap();
        assert_eq!(ledger.in_force(), Some(&wish(1)));
        let candidate = ledger.candidate.unwrap();
        assert_eq!((candidate.tries, candidate.phase), (1, Phase::Waiting { not_before: UnixMs(60_002) }));
        assert!(!give_up(folder.path(), "no port", UnixMs(3)).unwrap(), "nothing is tried now");
        std::fs::write(folder.path().join(FILE), "{").unwrap();
        assert!(Ledger::load(folder.path()).unwrap_err().to_string().contains("desired.json"));
    }

    #[test]
    fn sections_of_the_box_itself_are_refused_by_name() {
        let folder = Path::new("/state");
        let table_of = |section: &str, text: &str| {
            table(&Version { version: 3, sections: BTreeMap::from([(section.to_owned(), text.to_owned())]) }, folder)
        };
        assert_eq!(table_of("office", "[office]\nname = 'A'").unwrap()["office"]["name"].as_str(), Some("A"));
        for (section, text, said) in [
            ("cloud", "[cloud]", "cloud: expected one of calls,"),
            ("mcp_servers", "[[mcp_servers]]", "mcp_servers: expected one of"),
            ("office", "[persona]", "office: expected the one key"),
            ("office", "[office", "office: expected TOML"),
            ("knowledge/../x.md", "x", "in the name of a file"),
            ("knowledge/.hidden", "x", "in the name of a file"),
            ("knowledge", "[knowledge]\ndirectory = '/etc'", "knowledge.directory: expected files"),
            ("knowledge", "knowledge = 3", "knowledge: expected a table"),
        ] {
            let mistakes = table_of(section, text).unwrap_err();
            assert!(mistakes[0].contains(said), "{section}: {mistakes:?}");
        }
        let with_file = table_of("knowledge/prices.md", "# Prices").unwrap();
        assert_eq!(with_file["knowledge"]["directory"].as_str(), Some("/state/cloud/knowledge/3"));
    }

    #[test]
    fn files_are_there_for_versions_that_may_be_used_and_no_others() {
        let folder = tempfile::tempdir().unwrap();
        let version = |number, text: &str| Version {
            version: number,
            sections: BTreeMap::from([("knowledge/prices.md".to_owned(), text.to_owned())]),
        };
        let mut ledger = Ledger { current: Some(version(1, "one")), candidate: None };
        ledger.take(version(2, "two"), None, UnixMs(0));
        for wish in [version(1, "one"), version(2, "two")] {
            write_files(&wish, folder.path()).unwrap();
        }
        forget_files(&ledger, folder.path()).unwrap();
        let read = |number| std::fs::read_to_string(knowledge_folder(folder.path(), number).join("prices.md")).ok();
        assert_eq!((read(1).as_deref(), read(2).as_deref()), (Some("one"), Some("two")));
        ledger.keep();
        forget_files(&ledger, folder.path()).unwrap();
        assert_eq!((read(1), read(2).as_deref()), (None, Some("two")));
    }
}
