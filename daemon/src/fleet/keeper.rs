//! Takes wishes and commands as they come and carries them out, beside the calls and never during one.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use cloud_api::v1::{Command, Desired, Reported, box_message, reported};
use tokio::sync::{mpsc, watch};
use tracing::{info, warn};

use super::commands::{self, Effect};
use super::desired::{self, Candidate, Ledger, Phase, Version};
use crate::call::CallsUp;
use crate::config::Config;
use crate::storage::{Storage, UnixMs, trunk_states};

/// How often it is looked whether a configuration may be tried, or has reached everybody.
const LOOK: Duration = Duration::from_secs(1);
/// How long a configuration may take to reach trunk and cloud.
const REACH_LIMIT: Duration = Duration::from_secs(120);
/// How long calls that are up keep a configuration that reaches nobody.
const CALLS_LIMIT: Duration = Duration::from_secs(600);
/// Wishes and commands that wait; a cloud sends a new one when the one before is done, or with a new stream.
const WAITING: usize = 64;

/// What the stream hears.
#[derive(Debug)]
pub(crate) enum Wishes {
    /// A configuration.
    Desired(Desired),
    /// Something to do.
    Command(Command),
}

/// Whoever carries what the box says to its cloud.
type Told = mpsc::Sender<box_message::Body>;

/// Carries out what the cloud wishes.
pub(crate) struct Keeper {
    config: Config,
    state_directory: PathBuf,
    storage: Storage,
    up: CallsUp,
    told: Told,
    connected: watch::Receiver<bool>,
    restart: watch::Sender<bool>,
    wishes: mpsc::Receiver<Wishes>,
    ledger: Ledger,
    /// What commands want as soon as no call is up.
    wanted: Effect,
    /// Since when the box runs with what is tried.
    began: Instant,
}

impl Keeper {
    /// One for this run, and the way to it. `connected` says whether the cloud has welcomed the box; `restart` is set when the
    /// box is to start anew.
    pub(crate) fn new(
        config: &Config,
        storage: Storage,
        up: CallsUp,
        told: Told,
        connected: watch::Receiver<bool>,
        restart: watch::Sender<bool>,
    ) -> (Keeper, mpsc::Sender<Wishes>) {
        let (sender, wishes) = mpsc::channel(WAITING);
        let state_directory = config.state_directory();
        let ledger = Ledger::load(&state_directory).unwrap_or_else(|error| {
            warn!(%error, "What the cloud has decided is not to be read; it is asked for again");
            Ledger::default()
        });
        let began = Instant::now();
        let config = config.clone();
        let keeper = Keeper {
            config,
            state_directory,
            storage,
            up,
            told,
            connected,
            restart,
            wishes,
            ledger,
            wanted: Effect::None,
            began,
        };
        (keeper, sender)
    }

    /// Until the box stops.
    pub(crate) async fn run(mut self) {
        let closed = self.storage.write(|sql_tx| commands::close_interrupted(sql_tx, UnixMs::now())).await;
        if let Err(error) = closed {
            warn!(%error, "Commands of the last run are not closed");
        }
        let mut look = tokio::time::interval(LOOK);
        look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                wish = self.wishes.recv() => match wish {
                    Some(Wishes::Desired(desired)) => self.take(desired).await,
                    Some(Wishes::Command(command)) => self.obey(&command).await,
                    None => return,
                },
                _ = look.tick() => self.look(Instant::now()).await,
            }
        }
    }

    async fn obey(&mut self, command: &Command) {
        let done = commands::obey(command, &self.config, &self.storage, UnixMs::now()).await;
        let Some((result, effect)) = done else { return };
        if effect != Effect::None {
            self.wanted = effect;
        }
        // A stream that is gone asks again when there is another.
        let _ = self.told.send(box_message::Body::CommandResult(result)).await;
    }

    async fn take(&mut self, desired: Desired) {
        let wish = Version { version: desired.version, sections: desired.sections_toml.into_iter().collect() };
        let mistakes = self.mistakes(&wish);
        if self.ledger.take(wish, mistakes, UnixMs::now()) && !self.save() {
            return;
        }
        self.report().await;
    }

    /// What is wrong with it, one line each.
    fn mistakes(&self, wish: &Version) -> Option<String> {
        match desired::table(wish, &self.state_directory) {
            Err(mistakes) => Some(mistakes.join("\n")),
            Ok(_) if let Err(error) = desired::write_files(wish, &self.state_directory) => {
                Some(format!("its files cannot be written: {error}"))
            }
            Ok(table) => self.config.origin.load_with(table).err().map(|mistakes| mistakes.to_string()),
        }
    }

    /// False if it cannot be kept; then it is asked for again with the next stream.
    fn save(&mut self) -> bool {
        let kept = self
            .ledger
            .save(&self.state_directory)
            .and_then(|()| desired::forget_files(&self.ledger, &self.state_directory));
        if let Err(error) = &kept {
            warn!(%error, "What the cloud has decided cannot be kept");
            self.ledger = Ledger::load(&self.state_directory).unwrap_or_default();
        }
        kept.is_ok()
    }

    async fn report(&self) {
        let latest = match (&self.ledger.candidate, &self.ledger.current) {
            (Some(candidate), _) => candidate_report(candidate),
            (None, Some(current)) => Reported {
                version: current.version,
                applied: true,
                detail: String::new(),
                state: reported::State::Applied.into(),
            },
            (None, None) => return,
        };
        let _ = self.told.send(box_message::Body::Reported(latest)).await;
    }

    async fn look(&mut self, now: Instant) {
        let idle = self.up.list().is_empty();
        match self.wanted {
            Effect::Restart if idle => {
                info!("Starting anew, as the cloud wants it");
                self.restart.send_replace(true);
                return;
            }
            Effect::Machine(what) if idle => {
                info!(what, "The machine is asked, as the cloud wants it");
                self.wanted = Effect::None;
                if let Err(error) = commands::ask_the_machine(what, &self.state_directory) {
                    warn!(%error, what, "The machine cannot be asked");
                }
            }
            Effect::Restart | Effect::Machine(_) | Effect::None => {}
        }
        let Some(candidate) = &self.ledger.candidate else { return };
        match candidate.phase {
            Phase::Waiting { not_before } if idle && not_before <= UnixMs::now() => {
                let answering = self.trunks_that_answer().await;
                info!(version = candidate.wish.version, "Trying a configuration of the cloud");
                self.ledger.stage(answering);
                if self.save() {
                    self.restart.send_replace(true);
                }
            }
            Phase::Trying => self.look_at_trial(candidate.trunks_before, idle, now).await,
            Phase::Waiting { .. } | Phase::Staged | Phase::Rejected => {}
        }
    }

    async fn look_at_trial(&mut self, trunks_before: usize, idle: bool, now: Instant) {
        let connected = *self.connected.borrow();
        let trunks = trunks_before.min(self.config.trunks.len());
        let answering = self.trunks_that_answer().await;
        if connected && answering >= trunks {
            self.ledger.keep();
            if self.save() {
                info!("The configuration of the cloud is in force");
                self.report().await;
            }
            return;
        }
        let over = now.duration_since(self.began);
        if over < REACH_LIMIT || !(idle || over >= REACH_LIMIT + CALLS_LIMIT) {
            return;
        }
        let seconds = REACH_LIMIT.as_secs();
        let why = if connected {
            format!("{answering} of {trunks} trunks that answered before did within {seconds} s")
        } else {
            format!("the cloud was not reached within {seconds} s")
        };
        warn!(why, "A configuration of the cloud is taken back");
        self.ledger.fail(&why, UnixMs::now());
        if self.save() {
            self.restart.send_replace(true);
        }
    }

    async fn trunks_that_answer(&self) -> usize {
        let states = self.storage.read(trunk_states).await.unwrap_or_default();
        states.iter().filter(|state| state.answers != Some(false) && state.registered != Some(false)).count()
    }
}

fn candidate_report(candidate: &Candidate) -> Reported {
    let Candidate { wish, phase, tries, detail, .. } = candidate;
    let (state, said) = match phase {
        Phase::Waiting { .. } if *tries > 0 => {
            (reported::State::Pending, format!("try {tries} of {} failed: {detail}", desired::TRIES))
        }
        Phase::Waiting { .. } => (reported::State::Pending, "it waits until no call is up".to_owned()),
        Phase::Staged => (reported::State::Pending, "the box starts with it".to_owned()),
        Phase::Trying => (reported::State::Pending, "it is being tried".to_owned()),
        Phase::Rejected => (reported::State::Rejected, detail.clone()),
    };
    Reported { version: wish.version, applied: false, detail: said, state: state.into() }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::storage::{StorageConfig, TrunkState, set_trunk_state};

    struct Rig {
        keeper: Keeper,
        connected: watch::Sender<bool>,
        restart: watch::Receiver<bool>,
        tellings: mpsc::Receiver<box_message::Body>,
        _folder: tempfile::TempDir,
        _wishes: mpsc::Sender<Wishes>,
    }

    impl Rig {
        /// A box with one trunk that runs with what is tried; the trunk answered before.
        fn new() -> Rig {
            let folder = tempfile::tempdir().unwrap();
            let mut ledger = Ledger::default();
            let office = "[office]\nname = 'A'\ntime_zone = 'UTC'".to_owned();
            let wish = Version { version: 1, sections: BTreeMap::from([("office".to_owned(), office)]) };
            ledger.take(wish, None, UnixMs(0));
            ledger.stage(1);
            ledger.save(folder.path()).unwrap();
            desired::begin(folder.path(), UnixMs(1)).unwrap();
            let settings = [
                format!("storage.directory={}", folder.path().display()),
                "trunks=[{name='a',profile='generic',sources=['127.0.0.1/32']}]".into(),
            ];
            let config = Config::load(None, &settings).unwrap();
            assert_eq!(config.office.name, "A");
            let storage = Storage::open(&StorageConfig::new(folder.path())).unwrap().storage;
            let (told, tellings) = mpsc::channel(8);
            let (connected, connections) = watch::channel(false);
            let (sender, restart) = watch::channel(false);
            let (keeper, wishes) = Keeper::new(&config, storage, CallsUp::default(), told, connections, sender);
            Rig { keeper, connected, restart, tellings, _folder: folder, _wishes: wishes }
        }

        async fn trunk_answers(&self, answers: bool) {
            let state =
                TrunkState { trunk: "a".to_owned(), answers: Some(answers), registered: None, changed_at: UnixMs(1) };
            self.keeper.storage.write(move |sql_tx| set_trunk_state(sql_tx, &state)).await.unwrap();
        }

        fn phase(&self) -> Option<Phase> {
            self.keeper.ledger.candidate.as_ref().map(|candidate| candidate.phase)
        }
    }

    #[tokio::test]
    async fn what_reaches_trunk_and_cloud_is_kept_and_said() {
        let mut rig = Rig::new();
        rig.keeper.look(rig.keeper.began).await;
        assert_eq!(rig.phase(), Some(Phase::Trying));
        rig.connected.send_replace(true);
        rig.keeper.look(rig.keeper.began).await;
        assert_eq!(rig.phase(), Some(Phase::Trying), "the trunk answered before");
        rig.trunk_answers(true).await;
        rig.keeper.look(rig.keeper.began).await;
        assert_eq!((rig.phase(), *rig.restart.borrow()), (None, false));
        let Some(box_message::Body::Reported(report)) = rig.tellings.recv().await else { panic!("nothing was said") };
        assert_eq!((report.version, report.state()), (1, reported::State::Applied));
    }

    #[tokio::test]
    async fn what_does_not_is_taken_back_after_two_minutes_with_the_reason() {
        for (connected, why) in [(false, "the cloud was not reached"), (true, "0 of 1 trunks")] {
            let mut rig = Rig::new();
            rig.connected.send_replace(connected);
            rig.trunk_answers(false).await;
            let over = rig.keeper.began + REACH_LIMIT;
            rig.keeper.look(over - LOOK).await;
            assert_eq!((rig.phase(), *rig.restart.borrow()), (Some(Phase::Trying), false));
            rig.keeper.look(over).await;
            assert!(*rig.restart.borrow());
            let candidate = rig.keeper.ledger.candidate.clone().unwrap();
            assert!(candidate.detail.contains(why) && candidate.tries == 1, "{candidate:?}");
        }
    }

    #[tokio::test]
    async fn what_cannot_be_used_is_rejected_with_its_key() {
        let mut rig = Rig::new();
        let section = "[calls]\nconcurrent_limit = 0".to_owned();
        let desired = Desired { version: 2, sections_toml: [("calls".to_owned(), section)].into() };
        rig.keeper.take(desired).await;
        let Some(box_message::Body::Reported(report)) = rig.tellings.recv().await else { panic!("nothing was said") };
        assert_eq!((report.version, report.state()), (2, reported::State::Rejected));
        assert!(report.detail.contains("calls.concurrent_limit"), "{}", report.detail);
        assert!(!*rig.restart.borrow());
    }
}
