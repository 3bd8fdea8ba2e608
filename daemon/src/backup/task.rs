//! Backups as time goes by: segments every ten seconds, the rest while nobody is on the phone.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use rusqlite::{Connection, OpenFlags};
use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use tracing::{info, warn};

use super::cloud::{CloudVault, LineNow};
use super::restore::fetch_missing;
use super::state::{BackupState, PlaceState};
use super::{BackupError, BackupKey, Drilled, Recipients, Vault, drill, file_error, make};
use crate::call::{CallsUp, Line};
use crate::config::{Config, is_cloud};
use crate::storage::{AudioFiles, DATABASE_FILE, PlainWav, UnixMs};
use crate::sync::log::log_head;

/// Between two segments: what a box that is lost takes with it is what it has written in this time.
const EVERY: Duration = Duration::from_secs(10);
/// How long the cloud may be sent to before the next segment is due.
const TURN: Duration = Duration::from_secs(8);
/// Recordings copied at a time.
const RECORDINGS_AT_A_TIME: usize = 8;
/// After so many segments the next one holds them all; few in tests, which would take seconds to write that many.
const MANY: usize = if cfg!(test) { 4 } else { 64 };
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
    let line = up.clone();
    let lasting = Arc::new(Lasting::new(Handle::current(), Arc::new(move || line.line())));
    let mut every = tokio::time::interval(EVERY);
    every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        every.tick().await;
        let (config, lasting, idle) = (config.clone(), Arc::clone(&lasting), up.list().is_empty());
        let want = Want { idle, drill: false };
        let done = tokio::task::spawn_blocking(move || back_up(&config, &lasting, UnixMs::now(), want));
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
            let PlaceState { drill_rows: rows, drill_recordings: recordings, .. } = *state;
            info!(%place, rows, recordings, "The backup was restored for a test, and is equal");
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
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    let runtime = runtime.map_err(file_error(Path::new("threads")))?;
    let nobody = || Line { calls: 0, jitter_ms: 0.0 };
    let lasting = Lasting::new(runtime.handle().clone(), Arc::new(nobody));
    let turn = |drill: bool| back_up(config, &lasting, UnixMs::now(), Want { idle: true, drill });
    let mut state = turn(false)?;
    while state.places.values().any(PlaceState::goes_on) {
        state = turn(false)?;
    }
    if with_drill { turn(true) } else { Ok(state) }
}

/// What is kept from one turn to the next.
struct Lasting {
    runtime: Handle,
    line: LineNow,
    /// The vault in the cloud, with its connection and with what it knows.
    cloud: OnceLock<Arc<CloudVault>>,
    /// Places that have no recording which is missing here, or did when this began.
    fetched: Mutex<BTreeSet<PathBuf>>,
}

impl Lasting {
    fn new(runtime: Handle, line: LineNow) -> Lasting {
        Lasting { runtime, line, cloud: OnceLock::new(), fetched: Mutex::default() }
    }

    fn fetched(&self) -> MutexGuard<'_, BTreeSet<PathBuf>> {
        self.fetched.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Until the next segment is due.
    fn turn(&self, config: &Config, own: &BackupKey) -> Vault {
        let vault = self.cloud.get_or_init(|| {
            let (runtime, line) = (self.runtime.clone(), Arc::clone(&self.line));
            Arc::new(CloudVault::new(config, Some(own.folder_name()), runtime, line))
        });
        vault.turn(Some(Instant::now() + TURN));
        Arc::clone(vault).into()
    }
}

fn back_up(config: &Config, lasting: &Lasting, now: UnixMs, want: Want) -> Result<BackupState, BackupError> {
    let state_directory = config.state_directory();
    let _only_one = lock(&state_directory)?;
    let own = BackupKey::own(&state_directory)?;
    let recipients = Recipients::parse(&config.backup.recipients)?.and(&own);
    let mut state = super::look(config);
    let job = Job { config, state_directory: &state_directory, recipients: &recipients, own: &own, lasting, now, want };
    // The cloud last: it takes its turn.
    let (far, near): (Vec<_>, Vec<_>) = state.places.iter_mut().partition(|(place, _)| is_cloud(place));
    for (place, known) in near.into_iter().chain(far) {
        let vault = match is_cloud(place) {
            true => Ok(lasting.turn(config, &own)),
            false => Vault::open(place, &own.folder_name()),
        };
        let done = vault.and_then(|vault| job.back_up(place, &vault, known));
        known.note(done, now);
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
    lasting: &'a Lasting,
    now: UnixMs,
    want: Want,
}

impl Job<'_> {
    fn back_up(&self, place: &Path, vault: &Vault, known: &mut PlaceState) -> Result<(), BackupError> {
        let path = self.state_directory.join(DATABASE_FILE);
        let db = Connection::open_with_flags(&path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
        db.busy_timeout(Duration::from_secs(5))?;
        let every = i64::from(self.config.backup.base_hours) * HOUR_MS;
        let age = known.base_at.map_or(i64::MAX, |at| self.now.0.saturating_sub(at.0));
        let drilled = known.drill_at.map_or(i64::MAX, |at| self.now.0.saturating_sub(at.0));
        let is_well = known.error.is_empty() && known.away.is_empty() && !known.goes_on();
        let is_quiet = is_well && known.to == log_head(&db)? && self.lasting.fetched().contains(place);
        if is_quiet && age < every && drilled < DRILL_EVERY_MS && !self.want.drill {
            // Thousands of files on a share are not counted because ten seconds have passed.
            known.whole_at = Some(self.now);
            return Ok(());
        }
        let reached = vault.list()?.latest(make::epoch(&db)?).map(|chain| chain.to());
        let gap = match reached {
            Some(to) => !make::has_all_after(&db, to)?,
            None => true,
        };
        if !gap {
            self.segments(vault, &db, known)?;
        }
        let is_due = age >= every * OVERDUE || (age >= every && self.want.idle);
        if gap || is_due || known.base_left_bytes > 0 {
            self.base(vault, &db, gap, known)?;
        }
        if self.want.idle && !known.recordings_whole && known.base_left_bytes == 0 {
            let files = AudioFiles::open(self.state_directory, Arc::new(PlainWav))?;
            let (_, whole) = make::recordings(&db, &files, vault, self.recipients, RECORDINGS_AT_A_TIME)?;
            known.recordings_whole = whole;
        }
        if self.want.idle && known.base_left_bytes == 0 && !self.lasting.fetched().contains(place) {
            let until = Instant::now() + TURN;
            if fetch_missing(vault, self.own, &db, self.state_directory, until)? {
                self.lasting.fetched().insert(place.to_owned());
            }
        }
        drop(db);
        // Not in the first minutes of a new place: a week has time for it.
        if self.want.drill || (self.want.idle && drilled >= DRILL_EVERY_MS && age < every) {
            self.drill(place, vault, known)?;
        }
        Ok(())
    }

    /// What has changed since the last one, after what of it is on its way already.
    fn segments(&self, vault: &Vault, db: &Connection, known: &mut PlaceState) -> Result<(), BackupError> {
        let epoch = make::epoch(db)?;
        let listing = vault.list()?;
        let Some(chain) = listing.latest(epoch) else { return Ok(()) };
        known.to = chain.to();
        for begun in vault.begun().segments {
            let continues = begun.epoch == epoch && begun.after <= known.to && begun.to > known.to;
            if !continues {
                vault.give_up(&begun.name());
            } else if vault.go_on(&begun.name())?.is_some() {
                known.to = begun.to;
            } else {
                return Ok(());
            }
        }
        let mut after = if known.to == chain.to() { listing.next_after(&chain, MANY) } else { known.to };
        if log_head(db)? == known.to || !make::has_all_after(db, after)? {
            after = known.to;
        }
        let changes = make::changes(&*db.unchecked_transaction()?, after)?;
        if let Some((segment, encoded)) = changes {
            // They follow once nobody is on the phone.
            known.recordings_whole = false;
            if make::segment(vault, self.recipients, segment, &encoded)?.is_none() {
                return Ok(());
            }
            known.to = segment.to;
        }
        known.whole_at = Some(self.now);
        Ok(())
    }

    /// A base, or more of one that is on its way. Without one before it (`gap`), what came after it follows at once.
    fn base(&self, vault: &Vault, db: &Connection, gap: bool, known: &mut PlaceState) -> Result<(), BackupError> {
        let epoch = make::epoch(db)?;
        let mut begun = None;
        for base in vault.begun().bases {
            // One that the change log does not continue any more is of no use once it is there.
            if base.epoch == epoch && begun.is_none() && make::has_all_after(db, base.seq)? {
                begun = Some(base);
            } else {
                vault.give_up(&base.name());
            }
        }
        let file = self.config.origin.file();
        let (_, there) = make::base(self.state_directory, file, vault, self.recipients, begun)?;
        let Some(bytes) = there else {
            known.base_left_bytes = vault.left_bytes();
            return Ok(());
        };
        (known.base_at, known.base_bytes, known.base_left_bytes) = (Some(self.now), bytes, 0);
        vault.prune(usize::try_from(self.config.backup.bases_kept).unwrap_or(usize::MAX))?;
        if gap {
            self.segments(vault, db, known)?;
        }
        Ok(())
    }

    fn drill(&self, place: &Path, vault: &Vault, known: &mut PlaceState) -> Result<(), BackupError> {
        vault.without_hurry();
        match drill(vault, self.own, self.recipients, self.state_directory) {
            Ok(Drilled { rows, recordings, damaged }) => {
                (known.drill_at, known.drill_rows, known.drill_recordings) = (Some(self.now), rows, recordings);
                known.drill_error.clear();
                for damaged in &damaged {
                    warn!(place = %place.display(), damaged, "A recording in the backup is damaged: it is sent again");
                }
                known.recordings_whole &= damaged.is_empty();
            }
            // It says nothing about the backup.
            Err(error @ BackupError::Away(_)) => return Err(error),
            Err(error) => {
                warn!(place = %place.display(), %error, "The backup cannot be restored: a new base is made");
                known.drill_error = error.to_string();
                // What is damaged is not continued.
                known.base_at = None;
            }
        }
        Ok(())
    }
}
