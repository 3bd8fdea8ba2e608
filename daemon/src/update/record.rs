//! What became of the last update: one small file in the machine's folder.

use std::io;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::durable;

/// The file's name.
const FILE: &str = "last-update.json";

/// How far an update has come.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum Outcome {
    /// The slot is being written. Still there after a start: the power was cut meanwhile.
    Installing,
    /// It was not installed.
    Failed {
        /// Why.
        reason: String,
    },
    /// Written; the next boot tries it.
    Installed,
    /// It runs and has passed the health gate.
    Confirmed,
    /// It was tried, did not pass, and the boot loader went back.
    FellBack,
    /// A person went back to the version before.
    RolledBack,
}

/// The last update.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// The version that was to be installed.
    pub version: String,
    /// The version that ran then.
    pub from: String,
    /// File or address.
    pub source: String,
    /// When it began.
    pub began: Timestamp,
    /// When it came to the state it is in.
    pub at: Timestamp,
    /// How far it came.
    #[serde(flatten)]
    pub outcome: Outcome,
}

impl Record {
    /// The same update, further on.
    #[must_use]
    pub fn now(mut self, outcome: Outcome, at: Timestamp) -> Record {
        self.outcome = outcome;
        self.at = at;
        self
    }

    /// What a healthy start of `running` says about it; `None` when nothing changes.
    #[must_use]
    pub fn settled(&self, running: &str, at: Timestamp) -> Option<Record> {
        let outcome = match &self.outcome {
            Outcome::Installed if running == self.version => Outcome::Confirmed,
            Outcome::Installed => Outcome::FellBack,
            Outcome::Installing => Outcome::Failed { reason: "it was interrupted, probably by a power cut".into() },
            Outcome::Failed { .. } | Outcome::Confirmed | Outcome::FellBack | Outcome::RolledBack => return None,
        };
        Some(self.clone().now(outcome, at))
    }

    /// One line for people.
    pub fn in_words(&self) -> String {
        let Record { version, from, .. } = self;
        match &self.outcome {
            Outcome::Installing => format!("{version} is being installed"),
            Outcome::Failed { reason } => format!("{version} was not installed: {reason}"),
            Outcome::Installed => format!("{version} is installed and waits for a reboot"),
            Outcome::Confirmed => format!("from {from} to {version}, confirmed"),
            Outcome::FellBack => format!("{version} did not pass the health check; the box went back to {from}"),
            Outcome::RolledBack => format!("from {from} back to {version}, by hand"),
        }
    }
}

/// Where the record lies.
#[derive(Debug, Clone)]
pub struct RecordFile(PathBuf);

impl RecordFile {
    /// In the machine's folder.
    pub fn in_folder(folder: &Path) -> RecordFile {
        RecordFile(folder.join(FILE))
    }

    /// The record; `None` when there is none. One that cannot be read counts as none: it only informs.
    pub fn read(&self) -> Option<Record> {
        let text = std::fs::read_to_string(&self.0).ok()?;
        serde_json::from_str(&text)
            .inspect_err(|error| tracing::warn!(path = %self.0.display(), %error, "Unreadable, ignored"))
            .ok()
    }

    /// Replaces it.
    ///
    /// # Errors
    /// The disk's.
    pub fn write(&self, record: &Record) -> io::Result<()> {
        durable::write(&self.0, &serde_json::to_vec_pretty(record)?, 0o644)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_start_tells_how_the_last_update_ended() {
        let failed = Outcome::Failed { reason: "it was interrupted, probably by a power cut".into() };
        for (before, running, after) in [
            (Outcome::Installed, "0.2.0", Some(Outcome::Confirmed)),
            (Outcome::Installed, "0.1.0", Some(Outcome::FellBack)),
            (Outcome::Installing, "0.1.0", Some(failed)),
            (Outcome::Confirmed, "0.2.0", None),
            (Outcome::RolledBack, "0.1.0", None),
        ] {
            let at = Timestamp::UNIX_EPOCH;
            let (version, from, source) = ("0.2.0".into(), "0.1.0".into(), "stick".into());
            let record = Record { version, from, source, began: at, at, outcome: before.clone() };
            let settled = record.settled(running, at).map(|record| record.outcome);
            assert_eq!(settled, after, "{before:?}, running {running}");
        }
    }

    #[test]
    fn it_survives_writing_and_a_broken_file_is_no_record() {
        let folder = tempfile::tempdir().unwrap();
        let file = RecordFile::in_folder(&folder.path().join("machine"));
        assert_eq!(file.read(), None);
        let at = Timestamp::UNIX_EPOCH;
        let outcome = Outcome::Failed { reason: "no".into() };
        let record =
            Record { version: "0.2.0".into(), from: "0.1.0".into(), source: "f".into(), began: at, at, outcome };
        file.write(&record).unwrap();
        assert_eq!(file.read(), Some(record));
        std::fs::write(&file.0, "{").unwrap();
        assert_eq!(file.read(), None);
    }
}
