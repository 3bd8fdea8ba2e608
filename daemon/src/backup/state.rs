//! How backups are, for people: a small file in the state folder, written when something has happened.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};

use super::BackupError;
use crate::config::{Config, is_cloud};
use crate::doctor::{Finding, Verdict};
use crate::durable;
use crate::storage::UnixMs;

const FILE: &str = "backup/state.json";
/// After so long without a backup somebody should look, in milliseconds.
const OLD_MS: i64 = 3_600_000;
/// After so long without a drill somebody should look, in milliseconds.
const DRILL_OLD_MS: i64 = 10 * 86_400_000;

/// How the backups in one place are. Times are the box's clock.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct PlaceState {
    /// When everything that was committed was there.
    pub whole_at: Option<UnixMs>,
    /// Up to which entry of the change log.
    pub to: i64,
    /// When the last base was made.
    pub base_at: Option<UnixMs>,
    /// How large it is, in bytes.
    pub base_bytes: u64,
    /// Whether all recordings are there.
    pub recordings_whole: bool,
    /// Why it does not work; empty if it does.
    pub error: String,
    /// Why the cloud cannot be reached; empty if it is. For an hour that is no error.
    pub away: String,
    /// Since when.
    pub away_since: Option<UnixMs>,
    /// What is still to be sent of a base that is on its way up, in bytes.
    pub base_left_bytes: u64,
    /// When it was last proved that it can be restored.
    pub drill_at: Option<UnixMs>,
    /// How many rows were compared then.
    pub drill_rows: u64,
    /// Recordings that it has opened.
    pub drill_recordings: u64,
    /// Why that failed; empty if it did not.
    pub drill_error: String,
}

impl PlaceState {
    /// What came of a turn.
    pub(super) fn note(&mut self, done: Result<(), BackupError>, now: UnixMs) {
        match done {
            Ok(()) => (self.error, self.away, self.away_since) = (String::new(), String::new(), None),
            Err(BackupError::Away(why)) => {
                let since = *self.away_since.get_or_insert(now);
                let is_long = now.0.saturating_sub(since.0) > OLD_MS;
                if !is_long {
                    self.error.clear();
                } else if self.error.is_empty() {
                    // Said once, whatever else is found out about it.
                    self.error = format!("the cloud is away since {}: {why}", in_words(since));
                }
                self.away = why;
            }
            Err(error) => {
                (self.error, self.away, self.away_since) = (error.to_string(), String::new(), None);
            }
        }
    }

    /// Whether there is something left that can be done now.
    pub(super) fn goes_on(&self) -> bool {
        self.error.is_empty() && self.away.is_empty() && (!self.recordings_whole || self.base_left_bytes > 0)
    }
}

/// How backups are, by place.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct BackupState {
    /// Each of `backup.places`.
    pub places: BTreeMap<PathBuf, PlaceState>,
}

impl BackupState {
    pub(super) fn save(&self, state_directory: &Path) -> io::Result<()> {
        durable::write(&state_directory.join(FILE), &serde_json::to_vec_pretty(self)?, 0o600)
    }

    pub(super) fn load(state_directory: &Path) -> BackupState {
        let bytes = std::fs::read(state_directory.join(FILE)).unwrap_or_default();
        serde_json::from_slice(&bytes).unwrap_or_default()
    }

    /// A line for each place.
    pub fn in_words(&self) -> String {
        if self.places.is_empty() {
            return "No backups: backup.places is empty.".to_owned();
        }
        let at = |at: Option<UnixMs>| at.map_or_else(|| "never".to_owned(), in_words);
        let line = |(place, state): (&PathBuf, &PlaceState)| {
            let mut text = format!("{}: whole {}, base {}", place.display(), at(state.whole_at), at(state.base_at));
            if state.base_left_bytes > 0 {
                text +=
                    &format!(", of a new base {} MiB are still to be sent", state.base_left_bytes.div_ceil(1 << 20));
            }
            if !state.recordings_whole {
                text += ", recordings still follow";
            }
            text += &match (&state.drill_error, state.drill_at) {
                (error, _) if !error.is_empty() => format!(", DRILL FAILED: {error}"),
                (_, None) => ", not proved yet".to_owned(),
                (_, Some(at)) => {
                    let PlaceState { drill_rows: rows, drill_recordings: recordings, .. } = state;
                    format!(", proved {} with {rows} rows and {recordings} recordings", in_words(at))
                }
            };
            if !state.error.is_empty() {
                text += &format!(", FAILS: {}", state.error);
            } else if !state.away.is_empty() {
                text += &format!(", waits for the cloud: {}", state.away);
            }
            text
        };
        self.places.iter().map(line).collect::<Vec<_>>().join("\n")
    }

    /// For `offhook doctor`.
    pub fn findings(&self, now: UnixMs) -> Vec<Finding> {
        let finding = |(place, state): (&PathBuf, &PlaceState)| {
            let mend = match is_cloud(place) {
                true => "Look at `offhook cloud status`",
                false => "Mount the share or stick, or make room on it",
            };
            let place = place.display();
            let remedy = |what: &str| format!("{what}; `offhook backup now` tries at once and says what it does");
            let older = |at: Option<UnixMs>, limit: i64| at.is_none_or(|at| now.0.saturating_sub(at.0) > limit);
            let wrong = |detail: String, what: &str| Finding::wrong("backup", Verdict::Degraded, detail, remedy(what));
            if !state.drill_error.is_empty() {
                return wrong(format!("{place}: cannot be restored: {}", state.drill_error), "A new base is made");
            }
            if !state.error.is_empty() && older(state.whole_at, OLD_MS) {
                return wrong(format!("{place}: {}", state.error), mend);
            }
            if state.whole_at.is_none() && state.base_left_bytes > 0 {
                let left = state.base_left_bytes.div_ceil(1 << 20);
                return wrong(
                    format!("{place}: the first whole copy is on its way, {left} MiB are left"),
                    "Wait for it",
                );
            }
            if older(state.whole_at, OLD_MS) {
                return wrong(format!("{place}: no backup within an hour"), "Start the box");
            }
            if state.base_at.is_some_and(|at| now.0.saturating_sub(at.0) > DRILL_OLD_MS)
                && older(state.drill_at, DRILL_OLD_MS)
            {
                return wrong(format!("{place}: not proved for ten days"), "Run `offhook backup drill`");
            }
            Finding::good("backup", format!("{place}: whole {}", state.whole_at.map_or_else(String::new, in_words)))
        };
        self.places.iter().map(finding).collect()
    }
}

fn in_words(at: UnixMs) -> String {
    let at = Timestamp::from_millisecond(at.0).unwrap_or(Timestamp::UNIX_EPOCH).to_zoned(TimeZone::system());
    at.strftime("%Y-%m-%d %H:%M:%S").to_string()
}

/// How the backups of this configuration are.
pub fn look(config: &Config) -> BackupState {
    let mut known = BackupState::load(&config.state_directory());
    let places = &config.backup.places;
    let of = |place: &PathBuf| (place.clone(), known.places.remove(place).unwrap_or_default());
    BackupState { places: places.iter().map(of).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_is_found_with_its_remedy() {
        let now = UnixMs(20 * 86_400_000);
        let good = PlaceState {
            whole_at: Some(UnixMs(now.0 - 5_000)),
            base_at: Some(UnixMs(now.0 - DRILL_OLD_MS - 1)),
            drill_at: Some(UnixMs(now.0 - 86_400_000)),
            ..PlaceState::default()
        };
        let found = |state: PlaceState| {
            let places = BTreeMap::from([(PathBuf::from("/mnt/nas"), state)]);
            BackupState { places }.findings(now).remove(0)
        };
        assert_eq!(found(good.clone()).verdict, Verdict::Good);
        for (state, said) in [
            (PlaceState { drill_error: "it differs in jobs".into(), ..good.clone() }, "cannot be restored"),
            (PlaceState { error: "no such folder".into(), whole_at: None, ..good.clone() }, "no such folder"),
            (PlaceState { whole_at: Some(UnixMs(now.0 - OLD_MS - 1)), ..good.clone() }, "no backup within an hour"),
            (PlaceState { drill_at: None, ..good.clone() }, "not proved"),
        ] {
            let finding = found(state);
            assert!(finding.verdict == Verdict::Degraded && finding.detail.contains(said), "{finding:?}");
            assert!(finding.remedy.is_some());
        }
        let first = PlaceState { whole_at: None, base_left_bytes: 3 << 20, ..good.clone() };
        assert!(found(first).detail.contains("on its way, 3 MiB are left"));
        let brief = PlaceState { error: "the share is gone".into(), ..good };
        assert_eq!(found(brief).verdict, Verdict::Good, "for an hour it may come back by itself");
    }

    /// The network comes and goes: that is no error until it is long, and then it is named.
    #[test]
    fn a_cloud_that_is_away_is_an_error_after_an_hour() {
        let mut state = PlaceState { recordings_whole: true, ..PlaceState::default() };
        let away = || Err(BackupError::Away("no route".to_owned()));
        let at = |ms: i64| UnixMs(1_000_000 + ms);
        for (ms, is_error) in [(0, false), (OLD_MS, false), (OLD_MS + 1, true)] {
            state.note(away(), at(ms));
            assert_eq!((!state.error.is_empty(), state.away.as_str()), (is_error, "no route"), "{ms}");
            assert!(!state.goes_on());
        }
        assert!(state.error.contains("the cloud is away since 1970-01-01") && state.error.ends_with("no route"));
        let said = state.error.clone();
        state.note(Err(BackupError::Away("no answer".to_owned())), at(OLD_MS + 2));
        assert_eq!((&state.error, state.away.as_str()), (&said, "no answer"), "the log is not filled with it");
        state.note(Ok(()), at(OLD_MS + 2));
        assert_eq!(state, PlaceState { recordings_whole: true, ..PlaceState::default() });
        state.note(away(), at(OLD_MS + 3));
        assert_eq!(state.error, "", "it was there meanwhile");
        let places = BTreeMap::from([(PathBuf::from("cloud"), state.clone())]);
        assert!(BackupState { places }.in_words().contains("waits for the cloud: no route"));
        state.note(Err(BackupError::Refused("the quota".to_owned())), at(OLD_MS + 4));
        assert_eq!((state.error.as_str(), state.away.as_str()), ("the cloud refuses: the quota", ""));
        state.base_left_bytes = 1;
        assert!(!state.goes_on());
        state.error.clear();
        assert!(state.goes_on());
    }
}
