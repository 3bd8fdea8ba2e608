//! The engine at work: what it wants read is read, what it wants sent is sent, and it is told what comes of it.
//!
//! ```text
//! commits ─► settle ─► Changed ─┐        ┌─► Read: a task on a reader of the database
//! stream task ─ Opened, Received ┼► engine ┼─► Send, Open, Close: the stream's task
//! reads ─ Stretch, Range ────────┘        └─► Acked, Equal, Welcomed, NextEpoch: rows of sync_state
//! ```
//! Nothing here is waited for by a call: it reads beside the writer, and writes a few bytes with everybody else's commits.
//!
//! Left out on purpose: stopping in order. Whatever was on the way when the box stops is sent again.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use cloud_api::v1::sync_client::SyncClient;
use cloud_api::v1::{BoxMessage, CloudMessage, Delivery, box_message};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio_stream::wrappers::ReceiverStream;
use tonic::codec::CompressionEncoding;
use tonic::transport::Channel;
use tonic::{Code, Streaming};
use tracing::{info, warn};

use super::engine::{Action, BATCHES_MAX, Config as EngineConfig, Engine, Event, Read, Status};
use super::enrolment::{Enrolment, box_id};
use super::link::{self, LinkError};
use super::log::{self, Reader};
use super::state::{self, LinkState};
use super::tables::Identity;
use super::way::Way;
use crate::call::CallsUp;
use crate::config::{Config, host_and_port};
use crate::deliveries::{Deliveries, Post};
use crate::fleet::{Keeper, Wishes};
use crate::retry::Backoff;
use crate::storage::{Storage, StorageError, UnixMs};

/// Rows of one moment are written by several commits: they go into one batch.
const SETTLE: Duration = Duration::from_millis(250);
/// How often the enrolment is looked at: whether it is another one, or to be renewed.
const LOOK: Duration = Duration::from_secs(5);
/// Before a certificate that could not be renewed is tried again, and between two that the cloud has refused.
const RENEW_RETRY: Duration = Duration::from_secs(3_600);
/// Between attempts to claim, and before the database is tried again.
const RETRY: Backoff = Backoff { first: Duration::from_secs(1), longest: Duration::from_secs(300) };
/// When the log is first looked at, and how often after that.
const TRIM_FIRST: Duration = Duration::from_secs(60);
const TRIM_EVERY: Duration = Duration::from_secs(600);
/// What may wait for the network: all batches, and what is said beside them.
const OUTGOING: usize = 2 * BATCHES_MAX;

/// The box's end, running; ended by [`stop`](CloudSync::stop).
#[derive(Debug)]
pub struct CloudSync {
    tasks: Vec<JoinHandle<()>>,
    restart: watch::Receiver<bool>,
    state_directory: PathBuf,
}

impl CloudSync {
    /// Begins to send, if the configuration wants it; the change log is kept within its bounds in any case.
    pub fn start(config: &Config, storage: &Storage, up: CallsUp, post: Post) -> CloudSync {
        let state_directory = config.state_directory();
        let budget = usize::try_from(config.cloud.log_entries_limit).unwrap_or(usize::MAX);
        let mut tasks = vec![tokio::spawn(upkeep(storage.clone(), budget))];
        let (restart, restarts) = watch::channel(false);
        if config.cloud.enabled {
            let (told, tellings) = mpsc::channel(OUTGOING);
            let (connected, connections) = watch::channel(false);
            let (post, deliveries) = Deliveries::new(config, storage.clone(), post, told.clone());
            let (keeper, wishes) = Keeper::new(config, storage.clone(), up, told, connections, restart);
            tasks.push(tokio::spawn(keeper.run()));
            tasks.push(tokio::spawn(post.run()));
            let outlets = Outlets { wishes, deliveries };
            tasks.push(tokio::spawn(Link::new(config, storage.clone(), connected, (outlets, tellings)).run()));
        } else {
            state::forget(&state_directory);
        }
        CloudSync { tasks, restart: restarts, state_directory }
    }

    /// Whether the cloud wants the box to start anew, as soon as it does.
    pub fn restart(&self) -> watch::Receiver<bool> {
        self.restart.clone()
    }

    /// Ends it. What is on the way is sent again.
    pub fn stop(self) {
        for task in self.tasks {
            task.abort();
        }
        state::forget(&self.state_directory);
    }
}

async fn upkeep(storage: Storage, budget: usize) {
    tokio::time::sleep(TRIM_FIRST).await;
    loop {
        match storage.write(move |sql_tx| log::trim(sql_tx, budget, UnixMs::now())).await {
            Ok(trimmed) if trimmed.lost > 0 => warn!(
                entries = trimmed.lost,
                "The change log is full and its oldest entries are gone before the cloud had them; see the loss ledger"
            ),
            Ok(_) => {}
            Err(StorageError::Closed) => return,
            Err(error) => warn!(%error, "The change log was not trimmed"),
        }
        tokio::time::sleep(TRIM_EVERY).await;
    }
}

/// What comes back from other tasks.
enum Happening {
    Engine(Event),
    Opened(u64, i64, mpsc::Sender<BoxMessage>),
    /// The cloud knows us and says no.
    Denied(u64, String),
    Renewed(Result<Enrolment, LinkError>),
}

/// To whom what the cloud says is given.
struct Outlets {
    /// Whoever carries out what the cloud wishes.
    wishes: mpsc::Sender<Wishes>,
    /// Whoever takes in what reached the cloud.
    deliveries: mpsc::Sender<Delivery>,
}

struct Link {
    config: Config,
    state_directory: PathBuf,
    storage: Storage,
    reader: Arc<Mutex<Reader>>,
    /// Spreads the waits of boxes.
    seed: u64,
    happened: mpsc::Sender<Happening>,
    happenings: mpsc::Receiver<Happening>,
    outgoing: Option<mpsc::Sender<BoxMessage>>,
    stream: Option<JoinHandle<()>>,
    renewing: bool,
    renew_after: Instant,
    told: Option<LinkState>,
    connected: watch::Sender<bool>,
    outlets: Outlets,
    /// What they have to say.
    tellings: mpsc::Receiver<box_message::Body>,
    way: Option<Way>,
    /// Where the latest stream was opened.
    opened_at: String,
    /// Where the cloud sends this box, until that is kept.
    moved: Option<String>,
}

impl Link {
    fn new(
        config: &Config,
        storage: Storage,
        connected: watch::Sender<bool>,
        (outlets, tellings): (Outlets, mpsc::Receiver<box_message::Body>),
    ) -> Link {
        let (happened, happenings) = mpsc::channel(OUTGOING);
        Link {
            config: config.clone(),
            state_directory: config.state_directory(),
            storage,
            reader: Arc::default(),
            seed: rand::random(),
            happened,
            happenings,
            outgoing: None,
            stream: None,
            renewing: false,
            renew_after: Instant::now(),
            told: None,
            connected,
            outlets,
            tellings,
            way: None,
            opened_at: String::new(),
            moved: None,
        }
    }

    async fn run(mut self) {
        loop {
            let enrolment = self.enrolled().await;
            let identity = self.identity().await;
            info!(endpoint = enrolment.endpoint, box_id = enrolment.box_id, epoch = identity.epoch, "Syncing");
            self.drive(enrolment, identity).await;
            self.close();
        }
    }

    /// Waits until the box is claimed, and claims it if there is a code.
    async fn enrolled(&mut self) -> Enrolment {
        let mut attempts = 0;
        loop {
            let why = match Enrolment::load(&self.state_directory) {
                Ok(Some(enrolment)) => return enrolment,
                Ok(None) => match self.claim().await {
                    Some(Ok(())) => continue,
                    Some(Err(error)) => error.to_string(),
                    None => "the box is not claimed yet: `offhook cloud claim CODE`".to_owned(),
                },
                Err(error) => error.to_string(),
            };
            attempts += 1;
            self.tell(LinkState { last_end: why, attempts, ..LinkState::default() });
            // The command line may do it at any time.
            tokio::time::sleep(RETRY.anywhere_after(attempts, self.seed).max(Duration::from_secs(1)).min(LOOK)).await;
        }
    }

    /// None without a code.
    async fn claim(&self) -> Option<Result<(), LinkError>> {
        let cloud = &self.config.cloud;
        let (file, endpoint) = cloud.claim_code_file.as_deref().zip(cloud.endpoint.as_deref())?;
        let code = std::fs::read_to_string(file).ok()?;
        let claimed = link::claim(endpoint, self.trust(), code.trim(), &box_id(&self.config)).await;
        Some(claimed.and_then(|enrolment| Ok(enrolment.save(&self.state_directory)?)))
    }

    fn trust(&self) -> Option<&Path> {
        self.config.cloud.trust.as_deref()
    }

    async fn identity(&self) -> Identity {
        self.insist(|sql_tx| log::identity(sql_tx, rand::random())).await
    }

    /// Until the database takes it: without it there is no going on.
    async fn insist<T: Send + 'static>(
        &self,
        job: impl Fn(&rusqlite::Transaction<'_>) -> Result<T, StorageError> + Clone + Send + 'static,
    ) -> T {
        let mut attempts = 0;
        loop {
            let again = job.clone();
            match self.storage.write(move |sql_tx| again(sql_tx)).await {
                Ok(done) => return done,
                Err(error) => warn!(%error, "Sync waits for the database"),
            }
            attempts += 1;
            tokio::time::sleep(RETRY.after(attempts, self.seed)).await;
        }
    }

    /// Until there is another enrolment.
    async fn drive(&mut self, mut enrolment: Enrolment, identity: Identity) {
        self.way = None;
        let config = EngineConfig::new(env!("CARGO_PKG_VERSION").to_owned(), self.seed);
        let mut engine = Engine::new(config, identity, Instant::now());
        let mut commits = self.storage.commits();
        let mut settled: Option<Instant> = None;
        let mut look = Instant::now();
        loop {
            let due = [engine.poll_timeout(), settled, Some(look)].into_iter().flatten().min().unwrap_or(look);
            let event = tokio::select! {
                happening = self.happenings.recv() => match happening {
                    Some(happening) => self.take(happening, &enrolment),
                    None => return,
                },
                told = self.tellings.recv() => told.map(Event::Tell),
                () = news(&mut commits), if settled.is_none() => {
                    settled = Some(Instant::now() + SETTLE);
                    continue;
                }
                () = tokio::time::sleep_until(due.into()) => Some(Event::Woken),
            };
            let now = Instant::now();
            let changed = settled.is_some_and(|at| at <= now);
            if look <= now {
                look = now + LOOK;
                if self.is_another(&enrolment) {
                    return;
                }
                self.renew_in_time(&enrolment, now);
            }
            let events = event.into_iter().chain(changed.then_some(Event::Changed));
            if changed {
                settled = None;
            }
            for event in events {
                self.step(&mut engine, event, &enrolment).await;
            }
            let status = engine.status();
            self.follow(&mut enrolment, status.connected);
            self.tell_status(&status);
        }
    }

    async fn step(&mut self, engine: &mut Engine, event: Event, enrolment: &Enrolment) {
        let mut events = vec![event];
        while let Some(event) = events.pop() {
            for action in engine.step(event, Instant::now()) {
                events.extend(self.carry_out(action, enrolment).await);
            }
        }
    }

    /// What comes of it at once.
    async fn carry_out(&mut self, action: Action, enrolment: &Enrolment) -> Option<Event> {
        match action {
            Action::Open(stream) => self.open(stream, enrolment),
            Action::Close(_) => self.close(),
            Action::Send(message) => {
                // The engine keeps to a window that fits: a stream that takes nothing is found by its silence.
                let sent = self.outgoing.as_ref().is_some_and(|outgoing| outgoing.try_send(message).is_ok());
                if !sent {
                    self.outgoing = None;
                }
            }
            Action::Read(stream, read) => self.read(stream, read),
            Action::Welcomed => self.insist(|sql_tx| log::note_welcomed(sql_tx)).await,
            Action::NextEpoch(after) => {
                let identity = self.insist(move |sql_tx| log::next_epoch(sql_tx, after, rand::random())).await;
                warn!(epoch = identity.epoch, "This box was restored, or another one has its place: a new epoch");
                return Some(Event::Renewed(identity));
            }
            Action::Acked(seq) => {
                let now = UnixMs::now();
                self.storage.post("sync_acks", move |sql_tx| log::note_acked(sql_tx, seq, now)).await;
            }
            Action::Equal(seq) => {
                let now = UnixMs::now();
                self.storage.post("sync_state", move |sql_tx| log::note_equal(sql_tx, seq, now)).await;
            }
            Action::Desired(desired) => self.wish(Wishes::Desired(desired)),
            Action::Command(command) => self.wish(Wishes::Command(command)),
            Action::Moved(endpoint) => self.moved = Some(endpoint),
            Action::Delivery(delivery) => {
                if self.outlets.deliveries.try_send(delivery).is_err() {
                    warn!("The cloud delivers more than is kept; the rest is taken with the next stream");
                }
            }
        }
        None
    }

    /// Keeps where the cloud has this box's place: where it was sent, or where it was welcomed.
    fn follow(&mut self, enrolment: &mut Enrolment, connected: bool) {
        if connected && let Some(way) = &mut self.way {
            way.welcomed(Instant::now());
        }
        let is_elsewhere = connected && self.opened_at != enrolment.endpoint;
        let endpoint = self.moved.take().or_else(|| is_elsewhere.then(|| self.opened_at.clone()));
        let Some(endpoint) = endpoint.filter(|endpoint| *endpoint != enrolment.endpoint) else { return };
        if host_and_port(&endpoint).is_none() {
            warn!(endpoint, "The cloud sends this box to what is no host and port");
            return;
        }
        let moved = enrolment.moved(&endpoint);
        match moved.save(&self.state_directory) {
            Ok(()) => {
                info!(from = enrolment.endpoint, to = endpoint, "This box's place is in another cell of its cloud");
                (*enrolment, self.way) = (moved, None);
            }
            // The cloud says it again.
            Err(error) => warn!(%error, "Where the cloud sends this box is not kept"),
        }
    }

    /// It is never waited for: what does not fit comes again with the next stream.
    fn wish(&self, wish: Wishes) {
        if self.outlets.wishes.try_send(wish).is_err() {
            warn!("The cloud wishes more than is carried out; the rest is taken with the next stream");
        }
    }

    fn open(&mut self, stream: u64, enrolment: &Enrolment) {
        self.close();
        let (now, configured) = (Instant::now(), self.config.cloud.endpoint.as_deref());
        let way = self.way.get_or_insert_with(|| Way::new(enrolment, configured, now));
        self.opened_at = way.next(now).to_owned();
        let enrolment = enrolment.at(&self.opened_at);
        let (storage, happened) = (self.storage.clone(), self.happened.clone());
        let trust = self.config.cloud.trust.clone();
        self.stream = Some(tokio::spawn(async move {
            let happening = match open(&enrolment, trust.as_deref(), &storage).await {
                Ok((outgoing, head, incoming)) => {
                    // Whoever is gone needs nothing.
                    let _ = happened.send(Happening::Opened(stream, head, outgoing)).await;
                    let why = receive(stream, incoming, &happened).await;
                    Happening::Engine(Event::Closed(stream, why))
                }
                Err(error) if error.is_denied() => Happening::Denied(stream, error.to_string()),
                Err(error) => Happening::Engine(Event::Closed(stream, error.to_string())),
            };
            let _ = happened.send(happening).await;
        }));
    }

    fn close(&mut self) {
        self.outgoing = None;
        if let Some(stream) = self.stream.take() {
            stream.abort();
        }
    }

    fn read(&self, stream: u64, read: Read) {
        let (storage, reader, happened) = (self.storage.clone(), Arc::clone(&self.reader), self.happened.clone());
        tokio::spawn(async move {
            let answer = storage.read(move |db| match read {
                Read::Log { after, limits, except, sums } => {
                    let mut reader = reader.lock().unwrap_or_else(PoisonError::into_inner);
                    let stretch = reader.stretch(db, after, limits, &except, sums.as_ref())?;
                    Ok(Event::Stretch(stream, stretch))
                }
                Read::Range { table, after, to, limits } => {
                    Ok(Event::Range(stream, log::range(db, &table, &after, &to, limits)?))
                }
            });
            let event = answer.await.unwrap_or_else(|error| Event::ReadFailed(stream, error.to_string()));
            let _ = happened.send(Happening::Engine(event)).await;
        });
    }

    fn take(&mut self, happening: Happening, enrolment: &Enrolment) -> Option<Event> {
        match happening {
            Happening::Engine(event) => Some(event),
            Happening::Opened(stream, head, outgoing) => {
                self.outgoing = Some(outgoing);
                Some(Event::Opened(stream, head))
            }
            Happening::Denied(stream, why) => {
                // By a cloud that thinks the certificate has expired, whatever our clock says.
                self.renew(enrolment, Instant::now());
                Some(Event::Closed(stream, why))
            }
            Happening::Renewed(renewed) => {
                self.renewing = false;
                let saved = renewed.and_then(|enrolment| Ok(enrolment.save(&self.state_directory)?));
                match saved {
                    Ok(()) => info!("The box's certificate was renewed"),
                    Err(error) => warn!(%error, "The box's certificate was not renewed"),
                }
                None
            }
        }
    }

    fn renew_in_time(&mut self, enrolment: &Enrolment, now: Instant) {
        if enrolment.validity().is_some_and(|validity| validity.renew_at(self.seed) <= UnixMs::now()) {
            self.renew(enrolment, now);
        }
    }

    fn renew(&mut self, enrolment: &Enrolment, now: Instant) {
        if self.renewing || now < self.renew_after {
            return;
        }
        (self.renewing, self.renew_after) = (true, now + RENEW_RETRY);
        let (enrolment, trust) = (enrolment.clone(), self.config.cloud.trust.clone());
        let happened = self.happened.clone();
        tokio::spawn(async move {
            let renewed = link::renew(&enrolment, trust.as_deref()).await;
            let _ = happened.send(Happening::Renewed(renewed)).await;
        });
    }

    /// Whether another enrolment lies there: the box was claimed anew, or its certificate renewed.
    fn is_another(&self, enrolment: &Enrolment) -> bool {
        match Enrolment::load(&self.state_directory) {
            Ok(found) => found.as_ref() != Some(enrolment),
            // Not to be read is no reason to let go of one that works.
            Err(_) => false,
        }
    }

    fn tell_status(&mut self, status: &Status) {
        let Status { connected, replaced, last_end, attempts, days_waiting, unknown_tables, .. } = status.clone();
        let days_waiting = u64::try_from(days_waiting).unwrap_or(u64::MAX);
        self.tell(LinkState {
            connected,
            replaced,
            last_end,
            attempts,
            days_waiting,
            unknown_tables,
            ..LinkState::default()
        });
    }

    /// For whoever looks: in a file, when it has become another, and the important part in the log.
    fn tell(&mut self, new: LinkState) {
        let before = self.told.as_ref();
        let same_connection = before.is_some_and(|before| before.connected == new.connected);
        let since = before.filter(|_| same_connection).map_or_else(UnixMs::now, |before| before.since);
        let new = LinkState { since, ..new };
        if before == Some(&new) {
            return;
        }
        self.connected.send_replace(new.connected);
        if new.connected && !same_connection {
            info!("Connected to the cloud");
        } else if !new.connected && before.is_none_or(|before| before.connected || before.last_end != new.last_end) {
            info!(why = new.last_end, "Not connected to the cloud");
        }
        if let Err(error) = new.save(&self.state_directory) {
            warn!(%error, "The state of sync is not shown");
        }
        self.told = Some(new);
    }
}

/// The next commit; never once there is no writer any more.
async fn news(commits: &mut watch::Receiver<u64>) {
    if commits.changed().await.is_err() {
        std::future::pending::<()>().await;
    }
}

async fn open(
    enrolment: &Enrolment,
    trust: Option<&Path>,
    storage: &Storage,
) -> Result<(mpsc::Sender<BoxMessage>, i64, Streaming<CloudMessage>), LinkError> {
    let channel = link::connect(&enrolment.endpoint, trust, Some(enrolment)).await?;
    let (outgoing, incoming) = connect(channel).await.map_err(|status| LinkError::Refused(Box::new(status)))?;
    let head = storage.read(log::log_head).await.map_err(|error| LinkError::Unreachable {
        endpoint: enrolment.endpoint.clone(),
        reason: format!("the box's own database: {error}"),
    })?;
    Ok((outgoing, head, incoming))
}

/// Rows are deflated for a cloud that inflates them.
async fn connect(channel: Channel) -> Result<(mpsc::Sender<BoxMessage>, Streaming<CloudMessage>), tonic::Status> {
    let plain = SyncClient::new(channel).max_decoding_message_size(link::MESSAGE_MAX);
    let open = async |mut client: SyncClient<Channel>| {
        let (outgoing, messages) = mpsc::channel(OUTGOING);
        Ok((outgoing, client.connect(ReceiverStream::new(messages)).await?.into_inner()))
    };
    match open(plain.clone().send_compressed(CompressionEncoding::Zstd)).await {
        // A cloud of an earlier release says so before it has read anything.
        Err(status) if tonic::Status::code(&status) == Code::Unimplemented => open(plain).await,
        opened => opened,
    }
}

/// Until the stream ends: why.
async fn receive(stream: u64, mut incoming: Streaming<CloudMessage>, happened: &mpsc::Sender<Happening>) -> String {
    loop {
        match incoming.message().await {
            Ok(Some(message)) => {
                let received = Happening::Engine(Event::Received(stream, message));
                if happened.send(received).await.is_err() {
                    return String::new();
                }
            }
            Ok(None) => return "the cloud ended the stream".to_owned(),
            Err(status) => return format!("the stream broke: {}", status.message()),
        }
    }
}
