//! How sync is, for people: what the running box says of its connection, and what the database says of its rows.
//!
//! The connection's part is a small file in the state folder, written when it changes; there is no second way into the daemon.

use std::io;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};

use super::blobs::{self, Counts, place_of};
use super::enrolment::Enrolment;
use super::log::{self, Loss, Progress};
use crate::config::Config;
use crate::doctor::{Finding, Verdict};
use crate::durable;
use crate::storage::{Reader, UnixMs};

const FILE: &str = "cloud/state.json";
const UPLOADS_FILE: &str = "cloud/uploads.json";
/// A certificate that should have been renewed long ago: 90 days, less two thirds, less some time to be offline.
const EXPIRY_DAYS: i64 = 10;
/// How long a box may be offline before it is worth a line.
const OFFLINE_HOURS: i64 = 24;
const HOUR_MS: i64 = 3_600_000;

/// What the running box says of its connection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkState {
    /// Whether the cloud has welcomed it.
    pub connected: bool,
    /// Since when it is, or is not.
    pub since: UnixMs,
    /// Another box has taken this one's place.
    pub replaced: bool,
    /// Why the latest attempt or stream ended; empty if none has.
    pub last_end: String,
    /// Attempts since it last worked.
    pub attempts: u32,
    /// Days that are to be sent again.
    pub days_waiting: u64,
    /// Tables that the cloud does not know.
    pub unknown_tables: Vec<String>,
}

impl Default for LinkState {
    fn default() -> Self {
        LinkState {
            connected: false,
            since: UnixMs(0),
            replaced: false,
            last_end: String::new(),
            attempts: 0,
            days_waiting: 0,
            unknown_tables: Vec::new(),
        }
    }
}

impl LinkState {
    /// Writes it.
    ///
    /// # Errors
    /// The system's.
    pub(super) fn save(&self, state_directory: &Path) -> io::Result<()> {
        durable::write(&file(state_directory), &serde_json::to_vec_pretty(self)?, 0o644)
    }

    /// What was written last, by a box that runs or by one that was killed.
    pub fn load(state_directory: &Path) -> Option<LinkState> {
        serde_json::from_slice(&std::fs::read(file(state_directory)).ok()?).ok()
    }
}

fn file(state_directory: &Path) -> PathBuf {
    state_directory.join(FILE)
}

/// What the running box says of recordings on their way.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct UploadState {
    /// Why the latest attempt failed; empty if it did not.
    pub last_end: String,
    /// They wait until a call sounds better.
    pub gives_way: bool,
}

impl UploadState {
    /// Writes it.
    ///
    /// # Errors
    /// The system's.
    pub(super) fn save(&self, state_directory: &Path) -> io::Result<()> {
        durable::write(&state_directory.join(UPLOADS_FILE), &serde_json::to_vec_pretty(self)?, 0o644)
    }

    /// What was written last, by a box that runs or by one that was killed.
    pub fn load(state_directory: &Path) -> Option<UploadState> {
        serde_json::from_slice(&std::fs::read(state_directory.join(UPLOADS_FILE)).ok()?).ok()
    }

    /// Nothing is on its way any more.
    pub(super) fn forget(state_directory: &Path) {
        if let Err(error) = durable::remove(&state_directory.join(UPLOADS_FILE)) {
            tracing::debug!(%error, "The old state of uploads stays");
        }
    }
}

/// Nothing is connected any more.
pub(super) fn forget(state_directory: &Path) {
    if let Err(error) = durable::remove(&file(state_directory)) {
        tracing::debug!(%error, "The old state of sync stays");
    }
}

/// Everything about sync.
#[derive(Debug, Clone, Default)]
pub struct SyncState {
    /// Whether the configuration wants it.
    pub enabled: bool,
    /// The box's place in the cloud; the error if it is damaged.
    pub enrolment: Option<Result<Enrolment, String>>,
    /// None while nothing runs.
    pub link: Option<LinkState>,
    /// How far the cloud has what is here; default before the first start.
    pub progress: Progress,
    /// What was dropped before the cloud had it.
    pub losses: Vec<Loss>,
    /// How far recordings are there.
    pub recordings: Counts,
    /// None while nothing runs.
    pub uploads: Option<UploadState>,
}

/// Looks. `running` is whether the box runs: what a dead one has left says nothing about now.
pub fn look(config: &Config, running: bool) -> SyncState {
    let state_directory = config.state_directory();
    let enrolment = Enrolment::load(&state_directory).map_err(|error| error.to_string()).transpose();
    let place = enrolment.as_ref().and_then(|enrolment| enrolment.as_ref().ok()).map(place_of).unwrap_or_default();
    let read = Reader::open(&state_directory, 1).ok().and_then(|reader| {
        let wanted = config.cloud.recordings;
        reader.read_blocking(|db| Ok((log::progress(db)?, log::losses(db)?, blobs::counts(db, &place, wanted)?))).ok()
    });
    let (progress, losses, recordings) = read.unwrap_or_default();
    SyncState {
        enabled: config.cloud.enabled,
        enrolment,
        link: LinkState::load(&state_directory).filter(|_| running),
        progress,
        losses,
        recordings,
        uploads: UploadState::load(&state_directory).filter(|_| running),
    }
}

impl SyncState {
    /// As JSON.
    pub fn to_json(&self) -> serde_json::Value {
        let enrolment = self.enrolment.as_ref().and_then(|enrolment| enrolment.as_ref().ok());
        let at = |moment: Option<(i64, UnixMs)>| moment.map(|(_, at)| at.0);
        serde_json::json!({
            "enabled": self.enabled,
            "claimed": enrolment.is_some(),
            "box_id": enrolment.map(|enrolment| &enrolment.box_id),
            "tenant": enrolment.and_then(Enrolment::tenant),
            "endpoint": enrolment.map(|enrolment| &enrolment.endpoint),
            "certificate_until": enrolment.and_then(Enrolment::validity).map(|validity| validity.not_after.0),
            "link": self.link,
            "acked_seq": self.progress.acked.map(|(seq, _)| seq),
            "acked_at": at(self.progress.acked),
            "backlog": self.progress.backlog,
            "equal_at": at(self.progress.equal),
            "lost_entries": self.lost_entries(),
            "recordings": {
                "waiting": self.recordings.waiting,
                "waiting_bytes": self.recordings.waiting_bytes,
                "refused": self.recordings.refused,
                "lost": self.recordings.lost,
                "gives_way": self.uploads.as_ref().map(|uploads| uploads.gives_way),
                "last_end": self.uploads.as_ref().map(|uploads| &uploads.last_end),
            },
        })
    }

    fn lost_entries(&self) -> i64 {
        // Files have their own counts.
        self.losses.iter().filter(|loss| loss.reason == "log_budget").map(|loss| loss.entries).sum()
    }

    /// Nothing where none waits and none is lost.
    fn recordings_in_words(&self) -> String {
        let Counts { waiting, waiting_bytes, refused, lost } = self.recordings;
        let count = |number: i64, one: &str, more: &str| match number {
            1 => format!("1 recording {one}"),
            _ => format!("{number} recordings {more}"),
        };
        let mut parts = Vec::new();
        if waiting > 0 {
            let megabytes = waiting_bytes / 1_000_000;
            let size = if megabytes > 0 { format!("{megabytes} MB") } else { format!("{} kB", waiting_bytes / 1_000) };
            let why = match &self.uploads {
                Some(uploads) if uploads.gives_way => ": a call sounds poor".to_owned(),
                Some(uploads) if !uploads.last_end.is_empty() => format!(": {}", uploads.last_end),
                Some(_) | None => String::new(),
            };
            parts.push(format!("{} ({size}{why})", count(waiting, "waits", "wait")));
        }
        if refused > 0 {
            parts.push(format!("{} refused", count(refused, "was", "were")));
        }
        if lost > 0 {
            parts.push(format!("{} LOST", count(lost, "is", "are")));
        }
        parts.iter().map(|part| format!(", {part}")).collect()
    }

    /// One line; None where the configuration does not want it.
    pub fn in_words(&self) -> Option<String> {
        let link = match (&self.enrolment, &self.link) {
            _ if !self.enabled => return None,
            (None, _) => "not claimed yet: offhook cloud claim CODE".to_owned(),
            (Some(Err(_)), _) => "the enrolment is damaged: offhook cloud claim CODE".to_owned(),
            (Some(Ok(enrolment)), None) => format!("claimed at {}; nothing runs", enrolment.endpoint),
            (Some(Ok(enrolment)), Some(link)) => link_in_words(link, &enrolment.endpoint),
        };
        let acked = self
            .progress
            .acked
            .map_or("nothing acknowledged yet".to_owned(), |(_, at)| format!("last acknowledged {}", when(at)));
        let backlog = match self.progress.backlog {
            0 => "nothing waits".to_owned(),
            1 => "1 change waits".to_owned(),
            changes => format!("{changes} changes wait"),
        };
        let equal = self.progress.equal.map_or(String::new(), |(_, at)| format!(", found equal {}", when(at)));
        let lost = match self.lost_entries() {
            0 => String::new(),
            entries => format!(", {entries} LOST"),
        };
        let recordings = self.recordings_in_words();
        Some(format!("{link}; {acked}, {backlog}{equal}{lost}{recordings}"))
    }

    /// What somebody should do something about.
    pub fn findings(&self, now: UnixMs) -> Vec<Finding> {
        let degraded = |detail: String, remedy: &str| vec![Finding::wrong("cloud", Verdict::Degraded, detail, remedy)];
        if !self.enabled {
            return Vec::new();
        }
        let enrolment = match &self.enrolment {
            None => {
                let remedy = "`offhook cloud claim CODE`, with a code of the cloud's operator";
                return degraded("sync is on and the box is not claimed".to_owned(), remedy);
            }
            Some(Err(error)) => return degraded(error.clone(), "`offhook cloud claim CODE`"),
            Some(Ok(enrolment)) => enrolment,
        };
        let mut findings = Vec::new();
        if self.lost_entries() > 0 {
            let detail = format!("{} changes were dropped before the cloud had them", self.lost_entries());
            let remedy =
                "let it connect: the comparison with the cloud finds them; a larger cloud.log_entries_limit keeps more";
            findings.extend(degraded(detail, remedy));
        }
        if self.recordings.lost + self.recordings.refused > 0 {
            let Counts { lost, refused, .. } = self.recordings;
            let detail =
                format!("{lost} recordings were gone or damaged before the cloud had them, it refused {refused}");
            findings
                .extend(degraded(detail, "the log names them and the reason; check the disk, and the cloud's limits"));
        }
        if let Some(link) = self.link.as_ref().filter(|link| !link.connected) {
            let since = link.since;
            if link.replaced {
                let detail = format!("another box has taken this one's place in the cloud, since {}", when(since));
                findings
                    .extend(degraded(detail, "stop the other box, or claim this one anew: `offhook cloud claim CODE`"));
            } else if now.0.saturating_sub(since.0) >= OFFLINE_HOURS * HOUR_MS {
                let detail =
                    format!("not connected to {} since {}: {}", enrolment.endpoint, when(since), link.last_end);
                findings.extend(degraded(
                    detail,
                    "check the network; nothing is lost meanwhile, and it is sent once it is there",
                ));
            }
        }
        if let Some(tables) =
            self.link.as_ref().map(|link| link.unknown_tables.join(", ")).filter(|names| !names.is_empty())
        {
            findings.extend(degraded(
                format!("the cloud does not know {tables}: it is older than this box"),
                "update the cloud",
            ));
        }
        let until = enrolment.validity().map_or(now, |validity| validity.not_after);
        if until.0.saturating_sub(now.0) < EXPIRY_DAYS * 24 * HOUR_MS {
            let detail = format!("the box's certificate holds until {} and was not renewed", when(until));
            findings.extend(degraded(detail, "let it connect; the log says why it was refused"));
        }
        if findings.is_empty() {
            findings.extend(self.in_words().map(|words| Finding::good("cloud", words)));
        }
        findings
    }
}

fn link_in_words(link: &LinkState, endpoint: &str) -> String {
    match (link.connected, link.replaced) {
        (true, _) => format!("connected to {endpoint} since {}", when(link.since)),
        (false, true) => "another box has taken this one's place".to_owned(),
        (false, false) if link.last_end.is_empty() => format!("connecting to {endpoint}"),
        (false, false) => format!("NOT CONNECTED to {endpoint} since {} ({})", when(link.since), link.last_end),
    }
}

fn when(at: UnixMs) -> String {
    let at = Timestamp::from_millisecond(at.0).unwrap_or(Timestamp::UNIX_EPOCH).to_zoned(TimeZone::system());
    at.strftime("%-d %b %H:%M:%S").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(recordings: Counts, uploads: Option<UploadState>) -> String {
        SyncState { recordings, uploads, ..SyncState::default() }.recordings_in_words()
    }

    #[test]
    fn recordings_are_told_with_what_they_wait_for() {
        assert_eq!(words(Counts::default(), None), "");
        let waiting = |waiting, waiting_bytes| Counts { waiting, waiting_bytes, ..Counts::default() };
        let state = |last_end: &str, gives_way| Some(UploadState { last_end: last_end.to_owned(), gives_way });
        for (counts, uploads, expected) in [
            (waiting(1, 160_000), None, ", 1 recording waits (160 kB)"),
            (waiting(2, 3_500_000), state("", false), ", 2 recordings wait (3 MB)"),
            (waiting(2, 3_500_000), state("away", false), ", 2 recordings wait (3 MB: away)"),
            (waiting(2, 3_500_000), state("away", true), ", 2 recordings wait (3 MB: a call sounds poor)"),
            (Counts { refused: 1, lost: 2, ..waiting(0, 0) }, None, ", 1 recording was refused, 2 recordings are LOST"),
        ] {
            assert_eq!(words(counts, uploads), expected);
        }
    }

    /// A file that is gone is no change that the next comparison finds.
    #[test]
    fn lost_files_are_not_counted_as_changes() {
        let loss =
            |entries, reason: &str| Loss { noted_at: UnixMs(1), seqs: (1, 9), entries, reason: reason.to_owned() };
        let losses = vec![loss(4, "log_budget"), loss(1, "recording_gone"), loss(3, "log_budget")];
        assert_eq!(SyncState { losses, ..SyncState::default() }.lost_entries(), 7);
    }
}
