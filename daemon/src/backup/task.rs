//! Backups as time goes by: segments every ten seconds, the rest while nobody is on the phone.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};
use tokio::task::JoinHandle;
use tracing::{info, warn};

use super::state::{BackupState, PlaceState};
use super::{BackupError, BackupKey, Recipients, Vault, drill, file_error, make};
use crate::call::CallsUp;
use crate::config::Config;
use crate::storage::{AudioFiles, DATABASE_FILE, PlainWav, UnixMs};
use crate::sync::log::log_head;

/// Between two segments: what a box that is lost takes with it is what it has written in this time.
const EVERY: Duration = Duration::from_secs(10);
/// Recordings copied at a time.
const RECORDINGS_AT_A_TIME: usize = 8;
const HOUR_MS: i64 = 3_600_000;
const DRILL_EVERY_MS: i64 = 7 * 24 * HOUR_MS;
/// A base that is so much overdue is made even during a call.
const OVERDUE: i64 = 2;

/// The backups of a box that runs; ended by [`stop`](Backups::stop).
#[derive(Debug)]
pub struct Backups {
    task: Option<JoinHandle<()>>,
}

impl Backups {
    /// Begins, if the configuration names places.
    pub fn start(config: &Config, up: CallsUp) -> Backups {
        let wanted = !config.backup.places.is_empty();
        Backups { task: wanted.then(|| tokio::spawn(run(config.clone(), up))) }
    }

    /// Ends. What is half written is begun anew the next time.
    pub fn stop(self) {
        if let Some(task) = self.task {
            task.abort();
        }
    }
}

async fn run(config: Config, up: CallsUp) {
    let mut told: BackupState = BackupState::default();
    let mut every = tokio::time::interval(EVERY);
    every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        every.tick().await;
        let (config, idle) = (config.clone(), up.list().is_empty());
        let done = tokio::task::spawn_blocking(move || back_up(&config, UnixMs::now(), Want { idle, drill: false }));
        match done.await {
            Ok(Ok(state)) => {
                say_changes(&told, &state);
                told = state;
            }
            Ok(Err(error)) => warn!(%error, "No backup"),
            Err(error) => warn!(%error, "A backup ended badly"),
        }
    }
}

fn say_changes(before: &BackupState, after: &BackupState) {
    for (place, state) in &after.places {
        let old = before.places.get(place);
        let place = place.display();
        if old.is_none_or(|old| old.error != state.error) && !state.error.is_empty() {
            warn!(%place, error = state.error, "Backups fail");
        } else if old.is_some_and(|old| !old.error.is_empty()) && state.error.is_empty() {
            info!(%place, "Backups work again");
        }
        if old.is_some_and(|old| old.base_at != state.base_at) {
            info!(%place, bytes = state.base_bytes, "A new base of the backup");
        }
        if old.is_some_and(|old| old.drill_at != state.drill_at) {
            info!(%place, rows = state.drill_rows, "The backup was restored for a test, and is equal");
        }
    }
}

/// What is to be done beside what always is.
#[derive(Debug, Clone, Copy)]
struct Want {
    /// Nobody is on the phone: what takes long may be done.
    idle: bool,
    /// A drill, whenever the last one was.
    drill: bool,
}

/// Everything that is due, and a drill if `with_drill`, at once.
///
/// # Errors
/// [`BackupError`]; what is wrong with one place is in its state.
pub fn back_up_once(config: &Config, with_drill: bool) -> Result<BackupState, BackupError> {
    let mut state = back_up(config, UnixMs::now(), Want { idle: true, drill: with_drill })?;
    while state.places.values().any(|place| place.error.is_empty() && !place.recordings_whole) {
        state = back_up(config, UnixMs::now(), Want { idle: true, drill: false })?;
    }
    Ok(state)
}

fn back_up(config: &Config, now: UnixMs, want: Want) -> Result<BackupState, BackupError> {
    let state_directory = config.state_directory();
    let _only_one = lock(&state_directory)?;
    let own = BackupKey::own(&state_directory)?;
    let recipients = Recipients::parse(&config.backup.recipients)?.and(&own);
    let mut state = super::look(config);
    for (place, known) in &mut state.places {
        let job = Job { config, state_directory: &state_directory, recipients: &recipients, own: &own, now, want };
        known.error = job.back_up(place, known).err().map_or_else(String::new, |error| error.to_string());
    }
    // The card that it lies on wears out: that all is well is written down once a minute.
    let before = super::look(config);
    let is_news = |(place, known): (&_, &PlaceState)| {
        let before: &PlaceState = &before.places[place];
        let minute = before.whole_at.is_none_or(|at| now.0.saturating_sub(at.0) >= 60_000);
        minute || *known != PlaceState { whole_at: known.whole_at, ..before.clone() }
    };
    if state.places.iter().any(is_news) {
        state.save(&state_directory).map_err(file_error(&state_directory))?;
    }
    Ok(state)
}

/// The box that runs and somebody at the command line take turns.
fn lock(state_directory: &Path) -> Result<std::fs::File, BackupError> {
    let path = state_directory.join("backup/lock");
    let folder = state_directory.join("backup");
    std::fs::create_dir_all(&folder).map_err(file_error(&folder))?;
    let file = std::fs::File::create(&path).map_err(file_error(&path))?;
    file.lock().map_err(file_error(&path))?;
    Ok(file)
}

struct Job<'a> {
    config: &'a Config,
    state_directory: &'a Path,
    recipients: &'a Recipients,
    own: &'a BackupKey,
    now: UnixMs,
    want: Want,
}

impl Job<'_> {
    fn back_up(&self, place: &Path, known: &mut PlaceState) -> Result<(), BackupError> {
        let vault = Vault::open(place, &self.own.folder_name())?;
        let path = self.state_directory.join(DATABASE_FILE);
        let db = Connection::open_with_flags(&path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
        db.busy_timeout(Duration::from_secs(5))?;
        let every = i64::from(self.config.backup.base_hours) * HOUR_MS;
        let age = known.base_at.map_or(i64::MAX, |at| self.now.0.saturating_sub(at.0));
        let drilled = known.drill_at.map_or(i64::MAX, |at| self.now.0.saturating_sub(at.0));
        let is_quiet = known.error.is_empty() && known.recordings_whole && known.to == log_head(&db)?;
        if is_quiet && age < every && drilled < DRILL_EVERY_MS && !self.want.drill {
            // Thousands of files on a share are not counted because ten seconds have passed.
            known.whole_at = Some(self.now);
            return Ok(());
        }
        let listing = vault.list()?;
        let reached = listing.latest(make::epoch(&db)?).map(|chain| chain.to());
        let gap = match reached {
            Some(to) => !make::has_all_after(&db, to)?,
            None => true,
        };
        if gap || age >= every * OVERDUE || (age >= every && self.want.idle) {
            let file = self.config.origin.file();
            let (base, bytes) = make::base(self.state_directory, file, &vault, self.recipients)?;
            (known.base_at, known.base_bytes, known.to) = (Some(self.now), bytes, base.seq);
            vault.prune(usize::try_from(self.config.backup.bases_kept).unwrap_or(usize::MAX))?;
        } else if let Some(to) = reached {
            known.to = to;
        }
        let changes = make::changes(&*db.unchecked_transaction()?, known.to)?;
        let changed = changes.is_some();
        // They follow once nobody is on the phone.
        known.recordings_whole &= !changed;
        if let Some((segment, encoded)) = changes {
            make::segment(&vault, self.recipients, segment, &encoded)?;
            known.to = segment.to;
        }
        known.whole_at = Some(self.now);
        if self.want.idle && !known.recordings_whole {
            let files = AudioFiles::open(self.state_directory, Arc::new(PlainWav))?;
            let (_, whole) = make::recordings(&db, &files, &vault, self.recipients, RECORDINGS_AT_A_TIME)?;
            known.recordings_whole = whole;
        }
        drop(db);
        // Not in the first minutes of a new place: a week has time for it.
        if self.want.drill || (self.want.idle && drilled >= DRILL_EVERY_MS && age < every) {
            match drill(&vault, self.own, self.recipients, self.state_directory) {
                Ok(rows) => {
                    (known.drill_at, known.drill_rows) = (Some(self.now), rows);
                    known.drill_error.clear();
                }
                Err(error) => {
                    warn!(place = %place.display(), %error, "The backup cannot be restored: a new base is made");
                    known.drill_error = error.to_string();
                    // What is damaged is not continued.
                    known.base_at = None;
                }
            }
        }
        Ok(())
    }
}
