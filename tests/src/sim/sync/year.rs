//! One run: what the office does, what goes wrong, and both ends taking it.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::time::{Duration, Instant};

use cloud::sync::stream::{Action as CloudAction, Config as CloudConfig, Event as CloudEvent, Request};
use cloud_api::v1::row_batch::Scope;
use cloud_api::v1::{BoxMessage, CloudMessage, box_message, cloud_message};
use daemon::sync::engine::{Action, Config, Engine, Event, Read};
use prost::Message as _;
use rand::rngs::ChaCha8Rng;
use rand::{RngExt, SeedableRng};

use super::cloud::{Cloud, Flaw};
use super::laws::Laws;
use super::phone_box::{Key, PhoneBox};
use super::wire::Wire;

const SECOND: u64 = 1_000;
const HOUR: u64 = 3_600 * SECOND;
const DAY: u64 = 24 * HOUR;
/// 2026-01-01, where the box's clock begins.
const EPOCH_MS: i64 = 1_767_225_600_000;
/// In these tables the office writes.
const WRITTEN: [&str; 3] = ["call_sessions", "contacts", "conversation_turns"];

/// What happens in a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Plan {
    /// How long the office works.
    pub days: u64,
    /// Whether anything goes wrong by chance.
    pub calm: bool,
    /// No network from this day on, for so many days.
    pub outage: Option<(u64, u64)>,
    /// What is wrong with the cloud's store.
    pub flaw: Option<Flaw>,
}

impl Plan {
    /// A year in which everything goes wrong now and then.
    pub const YEAR: Plan = Plan { days: 365, calm: false, outage: None, flaw: None };
}

/// What happened in runs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// Writes of the office.
    pub writes: u64,
    /// Rows and deletions that the box sent from its log, each time it did.
    pub rows_sent: u64,
    /// Batches that sent days again.
    pub ranges_sent: u64,
    /// Comparisons, and how many of them found both equal.
    pub compared: u64,
    /// Those.
    pub equal: u64,
    /// Streams that were welcomed.
    pub welcomed: u64,
    /// Batches that came when they had been taken already, or from streams that the box had left.
    pub stale: u64,
    /// Partitions.
    pub partitions: u64,
    /// Crashes of the box.
    pub box_crashes: u64,
    /// Crashes of the cloud.
    pub cloud_crashes: u64,
    /// Restores of the box.
    pub box_restores: u64,
    /// Restores of the cloud.
    pub cloud_restores: u64,
    /// Jumps of the box's clock.
    pub clock_jumps: u64,
    /// Rows that were gone, and of which the cloud does not even know that any more.
    pub forgotten: u64,
}

impl std::ops::AddAssign for Tally {
    fn add_assign(&mut self, other: Tally) {
        self.writes += other.writes;
        self.rows_sent += other.rows_sent;
        self.ranges_sent += other.ranges_sent;
        self.compared += other.compared;
        self.equal += other.equal;
        self.welcomed += other.welcomed;
        self.stale += other.stale;
        self.partitions += other.partitions;
        self.box_crashes += other.box_crashes;
        self.cloud_crashes += other.cloud_crashes;
        self.box_restores += other.box_restores;
        self.cloud_restores += other.cloud_restores;
        self.clock_jumps += other.clock_jumps;
        self.forgotten += other.forgotten;
    }
}

/// Runs it and checks the laws.
///
/// # Panics
/// If a law is broken; the message names the seed.
pub fn run_year(seed: u64, plan: Plan) -> Tally {
    let year = std::panic::AssertUnwindSafe(|| Year::new(seed, plan).run());
    std::panic::catch_unwind(year).unwrap_or_else(|cause| {
        eprintln!("OFFHOOK_SEED={seed} replays this: {plan:?}");
        std::panic::resume_unwind(cause)
    })
}

#[derive(Debug)]
enum Happening {
    /// The office writes a few rows.
    Office,
    /// Something goes wrong.
    Fault(Fault),
    ToCloud(usize, Option<BoxMessage>),
    ToBox(usize, Option<CloudMessage>),
    /// The stream is open on the box's side.
    Opened(usize),
    /// The box could not open a stream.
    Refused(u64, u64),
    /// The database has answered.
    Answered(u64, Event),
    /// The store runs a transaction of this start of the cloud.
    StoreRun(usize, Request),
    StoreDone(usize, CloudEvent),
}

#[derive(Debug, Clone, Copy)]
enum Fault {
    Partition,
    PartitionNow,
    BoxCrash,
    CloudCrash,
    BoxBackup,
    BoxRestore,
    CloudBackup,
    CloudRestore,
    ClockJump,
}

struct Year {
    plan: Plan,
    chance: ChaCha8Rng,
    began: Instant,
    now_ms: u64,
    queue: BinaryHeap<Reverse<(u64, u64)>>,
    happenings: BTreeMap<u64, Happening>,
    queued: u64,
    phone_box: PhoneBox,
    engine: Engine,
    /// Counts the starts of the box.
    start: u64,
    acked: i64,
    cloud: Cloud,
    wires: Vec<Wire>,
    /// Those that the cloud still knows.
    known: Vec<usize>,
    /// When both were last found equal.
    equal_ms: Option<u64>,
    /// No new streams before this moment.
    no_network_until: u64,
    clock_offset_ms: i64,
    recent: Vec<Key>,
    box_backup: Option<PhoneBox>,
    cloud_backup: Option<Cloud>,
    laws: Laws,
    tally: Tally,
}

impl Year {
    fn new(seed: u64, plan: Plan) -> Self {
        let began = Instant::now();
        let phone_box = PhoneBox::new();
        let engine = Engine::new(Config::new("sim".to_owned(), seed), phone_box.identity, began);
        Year {
            plan,
            chance: ChaCha8Rng::seed_from_u64(seed),
            began,
            now_ms: 0,
            queue: BinaryHeap::new(),
            happenings: BTreeMap::new(),
            queued: 0,
            phone_box,
            engine,
            start: 0,
            acked: 0,
            cloud: Cloud::new(plan.flaw),
            wires: Vec::new(),
            known: Vec::new(),
            equal_ms: None,
            no_network_until: 0,
            clock_offset_ms: 0,
            recent: Vec::new(),
            box_backup: None,
            cloud_backup: None,
            laws: Laws::default(),
            tally: Tally::default(),
        }
    }

    fn run(mut self) -> Tally {
        self.after(0, Happening::Office);
        if !self.plan.calm {
            self.plan_faults();
        }
        while let Some(at) = self.next_at() {
            if at > (self.plan.days + 10) * DAY {
                break;
            }
            self.now_ms = at;
            self.outage();
            self.step();
            if at > self.plan.days * DAY && self.is_settled() {
                self.laws.at_the_end(&self.phone_box, &self.cloud);
                return self.tally;
            }
        }
        panic!("ten days after the last fault both ends are not equal: {:?}", self.engine.status());
    }

    /// Whether the box has nothing left to send, and was told after the last change that both are equal.
    fn is_settled(&self) -> bool {
        let status = self.engine.status();
        let compared = self.equal_ms.is_some_and(|at| at > self.plan.days * DAY);
        compared && status.connected && status.equal == Some(true) && self.acked == self.phone_box.head()
    }

    fn plan_faults(&mut self) {
        // how often a year
        let often = [
            (40, Fault::Partition),
            (12, Fault::BoxCrash),
            (12, Fault::CloudCrash),
            (3, Fault::BoxBackup),
            (2, Fault::BoxRestore),
            (3, Fault::CloudBackup),
            (2, Fault::CloudRestore),
            (4, Fault::ClockJump),
        ];
        for (times, fault) in often {
            for _ in 0..times {
                let at = self.below(self.plan.days * DAY);
                self.after(at, Happening::Fault(fault));
            }
        }
    }

    fn below(&mut self, end: u64) -> u64 {
        self.chance.random_range(0..end.max(1))
    }

    fn now(&self) -> Instant {
        self.began + Duration::from_millis(self.now_ms)
    }

    fn after(&mut self, wait_ms: u64, happening: Happening) {
        self.at(self.now_ms + wait_ms, happening);
    }

    fn at(&mut self, at_ms: u64, happening: Happening) {
        self.queued += 1;
        self.queue.push(Reverse((at_ms, self.queued)));
        self.happenings.insert(self.queued, happening);
    }

    /// Milliseconds, rounded up so that a deadline is over when it is due.
    fn ms_of(&self, at: Instant) -> u64 {
        u64::try_from(at.saturating_duration_since(self.began).as_micros().div_ceil(1_000)).unwrap_or(u64::MAX)
    }

    fn next_at(&self) -> Option<u64> {
        let queued = self.queue.peek().map(|Reverse((at, _))| *at);
        let engine = self.engine.poll_timeout();
        let streams = self.known.iter().filter_map(|wire| self.wires[*wire].cloud.as_ref()?.poll_timeout());
        let timers = engine.into_iter().chain(streams).map(|at| self.ms_of(at).max(self.now_ms));
        timers.chain(queued).min()
    }

    fn step(&mut self) {
        if let Some(Reverse((at, number))) = self.queue.peek().copied()
            && at <= self.now_ms
        {
            self.queue.pop();
            let happening = self.happenings.remove(&number).expect("queued once");
            return self.happen(happening);
        }
        if self.engine.poll_timeout().is_some_and(|at| self.ms_of(at) <= self.now_ms) {
            return self.box_event(Event::Woken);
        }
        let due = |wire: usize| self.wires[wire].cloud.as_ref().and_then(|stream| stream.poll_timeout());
        let wire = self.known.iter().find(|wire| due(**wire).is_some_and(|at| self.ms_of(at) <= self.now_ms));
        if let Some(wire) = wire.copied() {
            self.cloud_event(wire, CloudEvent::Woken);
        }
    }

    fn happen(&mut self, happening: Happening) {
        match happening {
            Happening::Office => self.office(),
            Happening::Fault(fault) => self.fault(fault),
            Happening::ToCloud(wire, message) => self.cloud_receives(wire, message),
            Happening::ToBox(wire, message) => self.box_receives(wire, message),
            Happening::Opened(wire) => {
                let (start, stream) = self.wires[wire].of_box;
                if start == self.start {
                    self.box_event(Event::Opened(stream, self.phone_box.head()));
                }
            }
            Happening::Refused(start, stream) if start == self.start => {
                self.box_event(Event::Closed(stream, "refused".to_owned()));
            }
            Happening::Answered(start, event) if start == self.start => self.box_event(event),
            Happening::Refused(..) | Happening::Answered(..) => {}
            Happening::StoreRun(wire, request) if self.wires[wire].cloud.is_some() => self.store_run(wire, &request),
            Happening::StoreRun(..) => {}
            Happening::StoreDone(wire, event) => self.cloud_event(wire, event),
        }
    }

    fn office(&mut self) {
        if self.now_ms >= self.plan.days * DAY {
            return;
        }
        for _ in 0..1 + self.below(4) {
            self.write_one();
        }
        self.box_event(Event::Changed);
        self.tally.forgotten += self.cloud.forget_gone(self.now_ms);
        let wait = self.below(12 * HOUR);
        self.after(wait, Happening::Office);
    }

    fn write_one(&mut self) {
        self.tally.writes += 1;
        let value = i64::try_from(self.below(1_000_000)).unwrap_or(0);
        let known = self.recent.len();
        let chosen = self.below(10);
        if chosen < 5 || known == 0 {
            let key = self.new_key();
            self.phone_box.write(&key, Some(value));
            self.recent.push(key);
            if known > 40 {
                self.recent.remove(0);
            }
            return;
        }
        let at = usize::try_from(self.below(known as u64)).unwrap_or(0);
        let key = self.recent[at].clone();
        // After a restore it may be gone already.
        if self.phone_box.row(&key).is_none() {
            self.recent.remove(at);
        } else if chosen < 9 {
            self.phone_box.write(&key, Some(value));
        } else {
            self.phone_box.write(&key, None);
            self.laws.deleted(&key);
            self.recent.remove(at);
        }
    }

    /// A UUIDv7 by the box's clock, which may be wrong.
    fn new_key(&mut self) -> Key {
        let wall = EPOCH_MS + i64::try_from(self.now_ms).unwrap_or(0) + self.clock_offset_ms;
        let ms = u64::try_from(wall.max(0)).unwrap_or(0);
        let table = WRITTEN[usize::try_from(self.below(3)).unwrap_or(0)];
        let (a, b): (u16, u64) = (self.chance.random(), self.chance.random());
        let key = format!(
            "{:08x}-{:04x}-7{:03x}-8{:03x}-{:012x}",
            ms >> 16,
            ms & 0xffff,
            a & 0xfff,
            b >> 52,
            b & 0xffff_ffff_ffff
        );
        (table, key)
    }

    fn fault(&mut self, fault: Fault) {
        match fault {
            // While something is on the way, as often as not.
            Fault::Partition if self.below(2) == 0 => {
                self.write_one();
                self.box_event(Event::Changed);
                let wait = 300 + self.below(500);
                self.after(wait, Happening::Fault(Fault::PartitionNow));
            }
            Fault::Partition | Fault::PartitionNow => {
                self.tally.partitions += 1;
                // Minutes, mostly; now and then a day.
                let longest = if self.below(8) == 0 { DAY } else { HOUR };
                let length = self.below(longest);
                self.partition(length);
            }
            Fault::BoxCrash => {
                self.tally.box_crashes += 1;
                self.start_box();
            }
            Fault::CloudCrash => {
                self.tally.cloud_crashes += 1;
                self.cloud_dies();
            }
            Fault::BoxBackup => self.box_backup = Some(self.phone_box.clone()),
            Fault::CloudBackup => self.cloud_backup = Some(self.cloud.clone()),
            Fault::BoxRestore => {
                let Some(backup) = self.box_backup.clone() else { return };
                self.tally.box_restores += 1;
                self.phone_box = backup;
                let incarnation = self.below(u64::MAX);
                self.phone_box.renew(self.phone_box.identity.epoch, incarnation);
                self.start_box();
            }
            Fault::CloudRestore => {
                let Some(backup) = self.cloud_backup.clone() else { return };
                self.tally.cloud_restores += 1;
                self.cloud = backup;
                self.cloud_dies();
                self.laws.cloud_restored(&self.phone_box, &self.cloud);
            }
            Fault::ClockJump => {
                self.tally.clock_jumps += 1;
                let to = i64::try_from(self.below(800 * DAY)).unwrap_or(0);
                self.clock_offset_ms = to - i64::try_from(400 * DAY).unwrap_or(0);
            }
        }
    }

    /// The long outage of the plan.
    fn outage(&mut self) {
        let Some((from, days)) = self.plan.outage else { return };
        if self.now_ms >= from * DAY && self.now_ms < (from + days) * DAY && self.no_network_until < (from + days) * DAY
        {
            self.tally.partitions += 1;
            self.partition((from + days) * DAY - self.now_ms);
        }
    }

    /// Streams stall, die unnoticed, or are reset.
    fn partition(&mut self, length_ms: u64) {
        let until = self.now_ms + length_ms;
        self.no_network_until = self.no_network_until.max(until);
        for wire in self.living() {
            self.wires[wire].stalled_until = until;
            match self.below(3) {
                0 => self.wires[wire].dead = true,
                1 => self.reset_box_end(wire),
                _ => {}
            }
        }
    }

    /// The box is told that the stream is gone; the cloud is not.
    fn reset_box_end(&mut self, wire: usize) {
        let (start, stream) = self.wires[wire].of_box;
        if std::mem::take(&mut self.wires[wire].box_listens) && start == self.start {
            self.after(1, Happening::Refused(start, stream));
        }
    }

    /// Wires that one of the ends still knows: never more than a few of the latest.
    fn living(&self) -> Vec<usize> {
        let alive = |wire: &usize| self.wires[*wire].cloud.is_some() || self.wires[*wire].box_listens;
        (0..self.wires.len()).filter(alive).collect()
    }

    fn start_box(&mut self) {
        self.start += 1;
        for wire in self.living() {
            if std::mem::take(&mut self.wires[wire].box_listens) && self.below(2) == 0 {
                // The machine lost power: nobody tells the cloud.
                self.wires[wire].dead = true;
            } else {
                self.send_to_cloud(wire, None);
            }
        }
        self.acked = self.acked.min(self.phone_box.head());
        let seed = self.below(u64::MAX);
        self.engine = Engine::new(Config::new("sim".to_owned(), seed), self.phone_box.identity, self.now());
    }

    fn cloud_dies(&mut self) {
        for wire in self.living() {
            if self.wires[wire].cloud.take().is_some() && self.below(4) > 0 {
                self.reset_box_end(wire);
            }
        }
        let wait = self.now_ms + self.below(5 * 60 * SECOND);
        self.no_network_until = self.no_network_until.max(wait);
    }

    fn box_event(&mut self, event: Event) {
        let now = self.now();
        for action in self.engine.step(event, now) {
            self.box_acts(action);
        }
    }

    fn box_acts(&mut self, action: Action) {
        let latency = 20 + self.below(300);
        match action {
            Action::Open(stream) if self.no_network_until > self.now_ms => {
                self.after(latency, Happening::Refused(self.start, stream));
            }
            Action::Open(stream) => {
                let config = CloudConfig {
                    keep_alive: Duration::from_secs(2 * 3_600),
                    age_max: Duration::from_secs(30 * 3_600),
                    batch_rows: 12,
                    batches_in_flight: 2,
                    ..CloudConfig::default()
                };
                self.known.retain(|wire| self.wires[*wire].cloud.is_some());
                self.known.push(self.wires.len());
                self.wires.push(Wire::new((self.start, stream), config, self.now()));
                self.after(latency, Happening::Opened(self.wires.len() - 1));
            }
            Action::Close(stream) => {
                if let Some(wire) = self.wire_of(stream) {
                    self.wires[wire].box_listens = false;
                    self.send_to_cloud(wire, None);
                }
            }
            Action::Send(message) => {
                self.count_sent(&message);
                let wire = self.wires.iter().rposition(|wire| wire.of_box.0 == self.start && wire.box_listens);
                if let Some(wire) = wire {
                    self.send_to_cloud(wire, Some(message));
                }
            }
            Action::Read(stream, read) => {
                let event = match &read {
                    _ if !self.plan.calm && self.below(2_000) == 0 => Event::ReadFailed(stream, "busy".to_owned()),
                    Read::Log { .. } => Event::Stretch(stream, self.phone_box.stretch(&read)),
                    Read::Range { .. } => Event::Range(stream, self.phone_box.range(&read)),
                };
                self.after(latency, Happening::Answered(self.start, event));
            }
            Action::Welcomed => self.phone_box.identity.claiming = false,
            Action::NextEpoch(after) => {
                let incarnation = self.below(u64::MAX);
                self.phone_box.renew(after, incarnation);
                self.after(latency, Happening::Answered(self.start, Event::Renewed(self.phone_box.identity)));
            }
            Action::Acked(seq) => {
                // The laws were told when the Ack came.
                self.phone_box.note_acked(seq, self.now_ms);
            }
            Action::Equal(_) => {
                self.tally.equal += 1;
                self.equal_ms = Some(self.now_ms);
            }
            // Nobody wishes anything here.
            Action::Desired(_) | Action::Command(_) | Action::Moved(_) | Action::Delivery(_) => {}
        }
    }

    fn count_sent(&mut self, message: &BoxMessage) {
        let Some(box_message::Body::Batch(batch)) = &message.body else { return };
        match batch.scope {
            Some(Scope::Range(_)) => self.tally.ranges_sent += 1,
            Some(Scope::Log(_)) | None => {
                let rows = batch.tables.iter().map(|table| table.rows.len() + table.deleted_keys.len());
                self.tally.rows_sent += rows.sum::<usize>() as u64;
            }
        }
    }

    fn wire_of(&self, stream: u64) -> Option<usize> {
        self.wires.iter().position(|wire| wire.of_box == (self.start, stream))
    }

    /// None: it is closed.
    fn send_to_cloud(&mut self, wire: usize, message: Option<BoxMessage>) {
        let latency = 20 + self.below(300);
        let at = self.wires[wire].arrives(self.now_ms + latency, true);
        if !self.wires[wire].dead {
            self.at(at, Happening::ToCloud(wire, message));
        }
    }

    fn cloud_receives(&mut self, wire: usize, message: Option<BoxMessage>) {
        match message {
            None => {
                self.cloud_event(wire, CloudEvent::Closed);
                self.wires[wire].cloud = None;
            }
            Some(message) => {
                let left = !self.wires[wire].box_listens && self.wires[wire].cloud.is_some();
                self.tally.stale += u64::from(left && matches!(message.body, Some(box_message::Body::Batch(_))));
                let bytes = message.encoded_len();
                self.cloud_event(wire, CloudEvent::Received(message, bytes));
            }
        }
    }

    fn box_receives(&mut self, wire: usize, message: Option<CloudMessage>) {
        let (start, stream) = self.wires[wire].of_box;
        if start != self.start || !self.wires[wire].box_listens {
            return;
        }
        match message {
            None => {
                self.wires[wire].box_listens = false;
                self.box_event(Event::Closed(stream, "closed".to_owned()));
            }
            Some(message) => {
                self.told(wire, &message);
                self.box_event(Event::Received(stream, message));
            }
        }
    }

    /// What the box is told, held against what the cloud has. The process that said it is still there, so the store is the
    /// one it spoke of.
    fn told(&mut self, wire: usize, message: &CloudMessage) {
        let same_store = self.wires[wire].cloud.is_some();
        match &message.body {
            Some(cloud_message::Body::Ack(ack)) => {
                if same_store {
                    self.laws.acknowledged(&self.phone_box, &self.cloud, self.acked, ack.watermark);
                }
                self.acked = self.acked.max(ack.watermark);
            }
            Some(cloud_message::Body::Welcome(welcome)) => {
                self.tally.welcomed += 1;
                self.acked = welcome.watermark;
            }
            Some(cloud_message::Body::Verdict(_)) => self.tally.compared += 1,
            Some(
                cloud_message::Body::Goodbye(_)
                | cloud_message::Body::Throttle(_)
                | cloud_message::Body::Ping(_)
                | cloud_message::Body::Desired(_)
                | cloud_message::Body::Command(_)
                | cloud_message::Body::Delivery(_),
            )
            | None => {}
        }
    }

    fn cloud_event(&mut self, wire: usize, event: CloudEvent) {
        let now = self.now();
        let Some(stream) = &mut self.wires[wire].cloud else { return };
        for action in stream.step(event, now) {
            let latency = 20 + self.below(300);
            match action {
                CloudAction::Send(message) => self.send_to_box(wire, Some(message)),
                CloudAction::Store(request) => self.after(latency, Happening::StoreRun(wire, request)),
                CloudAction::Told(_) => {}
                CloudAction::Close => {
                    self.send_to_box(wire, None);
                    self.wires[wire].cloud = None;
                }
            }
        }
    }

    fn send_to_box(&mut self, wire: usize, message: Option<CloudMessage>) {
        let latency = 20 + self.below(300);
        let at = self.wires[wire].arrives(self.now_ms + latency, false);
        if !self.wires[wire].dead {
            self.at(at, Happening::ToBox(wire, message));
        }
    }

    /// The transaction is committed here; a cloud that dies before it says so has taken it all the same.
    fn store_run(&mut self, wire: usize, request: &Request) {
        let fails = !self.plan.calm && self.below(1_000) == 0;
        let event = if fails { CloudEvent::Unavailable("disk full".to_owned()) } else { self.cloud.run(request) };
        let latency = 1 + self.below(50);
        self.after(latency, Happening::StoreDone(wire, event));
    }
}
