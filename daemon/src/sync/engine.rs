//! What the box says to its cloud and when, as a pure state machine: [`Engine::step`] takes one event and the time and gives
//! actions.
//!
//! ```text
//!  Waiting ─due─► Opening ─opened─► Greeting ─Welcome─► Live
//!     ▲ back-off     │                 │                  │
//!     └──────────────┴── Goodbye, silence, broken stream ─┘        Fenced: claiming ─► Renewing ─► Waiting
//!                                                                          else     ─► Replaced
//! ```
//! While it is live it reads one thing at a time, sends it at once, and has at most as many batches on the way as the
//! Welcome allows: stretches of the change log first, days that the cloud asked for in between. Where there is nothing left
//! it compares. The sums are read together with the end of the log, in one read transaction, and the batch that brings the
//! cloud there goes first: rows that are still under way never look like a difference.
//!
//! Left out on purpose: sockets and SQL. Whoever drives it reads for it and carries what it sends.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use cloud_api::PROTOCOL;
use cloud_api::digest::keys_of;
use cloud_api::v1::{
    Ack, BoxMessage, CloudMessage, Command, Delivery, Desired, Digest, Goodbye, Hello, KeyRange, LogRange, Ping,
    ResyncDay, RowBatch, TableDigest, TableRows, Verdict, Welcome, box_message, cloud_message, goodbye::Reason,
    row_batch::Scope,
};

use super::tables::{Identity, TABLES};
use crate::retry::Backoff;

#[cfg(test)]
mod tests;

/// Batches on the way at most.
pub const BATCHES_MAX: usize = 32;
/// Rows of a batch at most.
const BATCH_ROWS_MAX: usize = 10_000;
/// Encoded size after which a batch is full, in bytes, at most.
const BATCH_BYTES_MAX: usize = 1 << 20;

/// What may be configured.
#[derive(Debug, Clone)]
pub struct Config {
    /// Between attempts to connect, with full jitter.
    pub backoff: Backoff,
    /// For a stream to open, and for its Welcome.
    pub patience: Duration,
    /// Between comparisons while nothing is known to differ.
    pub compare_every: Duration,
    /// How long a difference that stays after its day was sent again is left alone; doubles up to `compare_every`.
    pub rest: Duration,
    /// Between attempts of a box whose place another one has taken.
    pub replaced_retry: Duration,
    /// Before a table that the cloud did not know is tried again.
    pub unknown_retry: Duration,
    /// Our release, for the Hello.
    pub release: String,
    /// Spreads the waits of boxes that lost the same cloud.
    pub seed: u64,
}

impl Config {
    /// Waits from 1 s to 5 min, one comparison a day.
    pub fn new(release: String, seed: u64) -> Self {
        let hour = Duration::from_secs(3_600);
        Config {
            backoff: Backoff { first: Duration::from_secs(1), longest: Duration::from_secs(300) },
            patience: Duration::from_secs(20),
            compare_every: 24 * hour,
            rest: hour,
            replaced_retry: hour,
            unknown_retry: 24 * hour,
            release,
            seed,
        }
    }
}

/// How much of something is read for one batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Rows and keys that are gone, at least 1.
    pub rows: usize,
    /// Encoded size after which no further row is added.
    pub bytes: usize,
}

/// What is to be read, in one read transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Read {
    /// The entries of the change log after `after`, as the rows are now.
    Log {
        /// The last entry that was sent.
        after: i64,
        /// Of the batch.
        limits: Limits,
        /// Tables that the cloud does not know: their entries are passed over.
        except: BTreeSet<String>,
        /// Whether the sums of all tables are wanted too, if the stretch reaches the end of the log: and of which tables by
        /// day.
        sums: Option<BTreeSet<String>>,
    },
    /// Rows of a table by their keys.
    Range {
        /// The table.
        table: String,
        /// Before the first key.
        after: String,
        /// Up to this key.
        to: String,
        /// Of the batch.
        limits: Limits,
    },
}

/// A stretch of the change log.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Stretch {
    /// The last entry it covers; what it began after if there is none.
    pub to: i64,
    /// The last entry there is.
    pub head: i64,
    /// The rows.
    pub tables: Vec<TableRows>,
    /// If they were asked for and `to` is `head`.
    pub sums: Option<Vec<TableDigest>>,
}

/// Rows of a range.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct RangeRows {
    /// Up to which key they are all there is.
    pub to: String,
    /// None if there are none.
    pub rows: Option<TableRows>,
}

/// What happens to the box. A stream is known by its number: what a dead one still says is not taken for the living one.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// The deadline is over.
    Woken,
    /// There is something new in the change log.
    Changed,
    /// The stream is open; the log's latest entry now.
    Opened(u64, i64),
    /// The stream could not be opened or has ended, and why.
    Closed(u64, String),
    /// A message of the cloud.
    Received(u64, CloudMessage),
    /// [`Read::Log`] is answered.
    Stretch(u64, Stretch),
    /// [`Read::Range`] is answered.
    Range(u64, RangeRows),
    /// A read failed, and why.
    ReadFailed(u64, String),
    /// [`Action::NextEpoch`] is done.
    Renewed(Identity),
    /// What became of a wish, a command or a delivery. Without a cloud it is dropped: the cloud asks again with each stream.
    Tell(box_message::Body),
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// Open the stream of this number.
    Open(u64),
    /// End it. No event is expected.
    Close(u64),
    /// To the cloud.
    Send(BoxMessage),
    /// Read, and answer with the stream's number.
    Read(u64, Read),
    /// The cloud has this epoch now: it is claimed no longer.
    Welcomed,
    /// Take an epoch after this one, with a new incarnation, and keep it before answering [`Event::Renewed`].
    NextEpoch(u64),
    /// Everything up to this entry of the change log is in the cloud.
    Acked(i64),
    /// Both ends have the same rows, as of this entry.
    Equal(i64),
    /// The cloud wishes this configuration.
    Desired(Desired),
    /// The cloud wants this done.
    Command(Command),
    /// This box's place is in another cell of the cloud, at this endpoint: the next stream is to be opened there.
    Moved(String),
    /// This reached the cloud for the box.
    Delivery(Delivery),
}

/// What a person is shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// Whether the cloud has welcomed it.
    pub connected: bool,
    /// Another box has taken this one's place.
    pub replaced: bool,
    /// Why the latest attempt or stream ended; empty if none has.
    pub last_end: String,
    /// Attempts since it last worked.
    pub attempts: u32,
    /// The latest entry of the log that the cloud has acknowledged, if it has said so since the start.
    pub acked: Option<i64>,
    /// Whether the latest comparison found both ends equal; None before the first.
    pub equal: Option<bool>,
    /// Days that are to be sent again.
    pub days_waiting: usize,
    /// Tables that the cloud does not know.
    pub unknown_tables: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Waiting,
    Opening,
    Greeting,
    Live,
    Renewing,
    Replaced,
}

/// What belongs to one stream.
#[derive(Debug, Default)]
struct Live {
    /// The last entry of the log that was sent.
    sent_to: i64,
    limits: Option<Limits>,
    window: usize,
    keep_alive: Duration,
    batches: u64,
    in_flight: VecDeque<u64>,
    paused_until: Option<Instant>,
    /// What the cloud asked for, and how far the first of them was sent.
    days: VecDeque<ResyncDay>,
    day_sent_to: Option<String>,
    /// A log batch was the latest: a day comes next.
    days_turn: bool,
    /// As of which entry the cloud was asked to compare.
    asked: Option<i64>,
}

/// The box's end.
#[derive(Debug)]
pub struct Engine {
    config: Config,
    identity: Identity,
    state: State,
    /// When something is due in a state that waits.
    due: Instant,
    stream: u64,
    failures: u32,
    last_end: String,
    live: Live,
    /// The number of the stream for which something is being read.
    reading: Option<u64>,
    last_heard: Instant,
    last_sent: Instant,
    head: i64,
    acked: Option<i64>,
    acked_noted: Option<i64>,
    compare_at: Instant,
    equal: Option<bool>,
    by_day: BTreeSet<String>,
    /// Days that were sent again since both ends were last equal.
    healed: BTreeSet<(String, u32)>,
    rests: u32,
    unknown: BTreeMap<String, Instant>,
    actions: Vec<Action>,
}

impl Engine {
    /// A box that connects at once.
    pub fn new(config: Config, identity: Identity, now: Instant) -> Self {
        Engine {
            config,
            identity,
            state: State::Waiting,
            due: now,
            stream: 0,
            failures: 0,
            last_end: String::new(),
            live: Live::default(),
            reading: None,
            last_heard: now,
            last_sent: now,
            head: 0,
            acked: None,
            acked_noted: None,
            compare_at: now,
            equal: None,
            by_day: BTreeSet::new(),
            healed: BTreeSet::new(),
            rests: 0,
            unknown: BTreeMap::new(),
            actions: Vec::new(),
        }
    }

    /// Takes one event in.
    pub fn step(&mut self, event: Event, now: Instant) -> Vec<Action> {
        match event {
            Event::Woken => {}
            // How far it goes is said by the next read.
            Event::Changed => self.head = self.head.max(self.live.sent_to.saturating_add(1)),
            Event::Opened(stream, head) if self.is(stream, State::Opening) => self.greet(head, now),
            Event::Closed(stream, why) if stream == self.stream => self.take_closed(why, now),
            Event::Received(stream, message) if stream == self.stream => self.receive(message, now),
            Event::Stretch(stream, stretch) => {
                if self.take_read(stream) {
                    self.send_stretch(stretch, now);
                }
            }
            Event::Range(stream, rows) => {
                if self.take_read(stream) {
                    self.send_range(rows, now);
                }
            }
            Event::ReadFailed(stream, why) => {
                if self.take_read(stream) {
                    self.hang_up(why, now);
                }
            }
            Event::Renewed(identity) if self.state == State::Renewing => {
                self.identity = identity;
                (self.state, self.due) = (State::Waiting, now);
            }
            Event::Tell(told) if self.state == State::Live => self.send(told, now),
            Event::Tell(_) => {}
            Event::Opened(..) | Event::Closed(..) | Event::Received(..) | Event::Renewed(_) => {}
        }
        self.proceed(now);
        std::mem::take(&mut self.actions)
    }

    /// When [`Event::Woken`] is due; None while it waits for an answer of the box itself.
    pub fn poll_timeout(&self) -> Option<Instant> {
        match self.state {
            State::Waiting | State::Opening | State::Greeting | State::Replaced => Some(self.due),
            State::Renewing => None,
            State::Live => {
                let alive = (self.last_sent + self.live.keep_alive).min(self.last_heard + self.live.keep_alive * 3);
                let compare = self.may_read().then_some(self.compare_at);
                let wakes = [Some(alive), self.live.paused_until, compare];
                wakes.into_iter().flatten().min()
            }
        }
    }

    /// What a person is shown.
    pub fn status(&self) -> Status {
        Status {
            connected: self.state == State::Live,
            replaced: self.state == State::Replaced,
            last_end: self.last_end.clone(),
            attempts: self.failures,
            acked: self.acked,
            equal: self.equal,
            days_waiting: self.live.days.len(),
            unknown_tables: self.unknown.keys().cloned().collect(),
        }
    }

    fn is(&self, stream: u64, state: State) -> bool {
        self.stream == stream && self.state == state
    }

    fn proceed(&mut self, now: Instant) {
        match self.state {
            State::Waiting | State::Replaced if self.due <= now => {
                self.stream += 1;
                self.actions.push(Action::Open(self.stream));
                (self.state, self.due) = (State::Opening, now + self.config.patience);
            }
            State::Opening | State::Greeting if self.due <= now => self.hang_up("no answer".to_owned(), now),
            State::Live if self.last_heard + self.live.keep_alive * 3 <= now => self.hang_up("silence".to_owned(), now),
            State::Live => self.carry_on(now),
            State::Waiting | State::Replaced | State::Opening | State::Greeting | State::Renewing => {}
        }
    }

    fn carry_on(&mut self, now: Instant) {
        self.live.paused_until = self.live.paused_until.filter(|until| *until > now);
        self.read_next(now);
        if self.last_sent + self.live.keep_alive <= now {
            self.send(box_message::Body::Ping(Ping {}), now);
        }
    }

    /// Whether there is room for one more batch.
    fn may_read(&self) -> bool {
        let live = &self.live;
        let idle = self.reading.is_none() && live.asked.is_none() && live.paused_until.is_none();
        idle && live.in_flight.len() < live.window
    }

    fn read_next(&mut self, now: Instant) {
        let Some(limits) = self.live.limits.filter(|_| self.may_read()) else { return };
        let more = self.head > self.live.sent_to;
        let day = self.live.days.front().filter(|_| self.live.days_turn || !more);
        let read = if let Some(day) = day {
            let (after, to) = keys_of(day.day);
            let after = self.live.day_sent_to.clone().unwrap_or(after);
            Read::Range { table: day.table.clone(), after, to, limits }
        } else {
            let compare = self.compare_at <= now && self.live.days.is_empty();
            if !more && !compare {
                return;
            }
            self.unknown.retain(|_, until| *until > now);
            let except = self.unknown.keys().cloned().collect();
            let sums = compare.then(|| self.by_day.clone());
            Read::Log { after: self.live.sent_to, limits, except, sums }
        };
        self.reading = Some(self.stream);
        self.actions.push(Action::Read(self.stream, read));
    }

    /// Whether what was read is for the stream there is.
    fn take_read(&mut self, stream: u64) -> bool {
        if self.reading == Some(stream) {
            self.reading = None;
        }
        self.is(stream, State::Live)
    }

    fn greet(&mut self, head: i64, now: Instant) {
        self.head = head;
        self.last_heard = now;
        (self.state, self.due) = (State::Greeting, now + self.config.patience);
        // A box that no cloud has ever had sends its log from the beginning; after a restore the log does not go back so far,
        // and everything before is found by digests.
        let never_seen = self.identity.claiming && self.identity.epoch == 1;
        let hello = Hello {
            protocol: PROTOCOL,
            release: self.config.release.clone(),
            epoch: self.identity.epoch,
            incarnation: self.identity.incarnation.to_vec().into(),
            claiming: self.identity.claiming,
            log_head: if never_seen { 0 } else { head },
        };
        self.send(box_message::Body::Hello(hello), now);
    }

    fn send_stretch(&mut self, stretch: Stretch, now: Instant) {
        let Stretch { to, head, tables, sums } = stretch;
        self.head = head;
        let after = self.live.sent_to;
        if to > after {
            self.live.sent_to = to;
            self.live.days_turn = true;
            self.send_batch(Scope::Log(LogRange { after, to }), tables, now);
        }
        if let Some(tables) = sums {
            self.live.asked = Some(to);
            self.send(box_message::Body::Digest(Digest { as_of_seq: to, tables }), now);
        }
    }

    fn send_range(&mut self, read: RangeRows, now: Instant) {
        self.live.days_turn = false;
        let Some(day) = self.live.days.front() else { return };
        let (after, to) = keys_of(day.day);
        let after = self.live.day_sent_to.take().unwrap_or(after);
        let range = KeyRange { table: day.table.clone(), after, to: read.to.clone(), as_of: day.as_of };
        if read.to == to {
            self.healed.insert((day.table.clone(), day.day));
            self.live.days.pop_front();
        } else {
            self.live.day_sent_to = Some(read.to);
        }
        self.send_batch(Scope::Range(range), read.rows.into_iter().collect(), now);
    }

    fn send_batch(&mut self, scope: Scope, tables: Vec<TableRows>, now: Instant) {
        self.live.batches += 1;
        let batch_id = self.live.batches;
        self.live.in_flight.push_back(batch_id);
        let batch = RowBatch { batch_id, epoch: self.identity.epoch, scope: Some(scope), tables };
        self.send(box_message::Body::Batch(batch), now);
    }

    fn send(&mut self, body: box_message::Body, now: Instant) {
        self.last_sent = now;
        self.actions.push(Action::Send(BoxMessage { body: Some(body) }));
    }

    fn receive(&mut self, message: CloudMessage, now: Instant) {
        if !matches!(self.state, State::Greeting | State::Live) {
            return;
        }
        self.last_heard = now;
        match message.body {
            Some(cloud_message::Body::Welcome(welcome)) if self.state == State::Greeting => {
                self.take_welcome(&welcome, now);
            }
            Some(cloud_message::Body::Goodbye(goodbye)) => self.take_goodbye(&goodbye, now),
            Some(cloud_message::Body::Ack(ack)) => self.take_ack(ack, now),
            Some(cloud_message::Body::Verdict(verdict)) => self.take_verdict(verdict, now),
            Some(cloud_message::Body::Throttle(throttle)) => {
                let pause = Duration::from_millis(u64::from(throttle.pause_ms)).min(self.config.backoff.longest);
                self.live.paused_until = Some(now + pause);
            }
            // What they mean is for somebody else.
            Some(cloud_message::Body::Desired(desired)) => self.actions.push(Action::Desired(desired)),
            Some(cloud_message::Body::Command(command)) => self.actions.push(Action::Command(command)),
            Some(cloud_message::Body::Delivery(delivery)) => self.actions.push(Action::Delivery(delivery)),
            // Nothing is of a newer release.
            Some(cloud_message::Body::Welcome(_) | cloud_message::Body::Ping(_)) | None => {}
        }
    }

    fn take_welcome(&mut self, welcome: &Welcome, now: Instant) {
        if welcome.watermark > self.head {
            // The cloud has read further than our log goes: this is a copy of the box as it was.
            return self.renew(self.identity.epoch);
        }
        // Whatever a cloud would take, this is what a box has in memory at a time.
        let within = |number: u32, most: usize| usize::try_from(number.max(1)).map_or(most, |number| number.min(most));
        let limits = Limits {
            rows: within(welcome.batch_max_rows, BATCH_ROWS_MAX),
            bytes: within(welcome.batch_max_bytes, BATCH_BYTES_MAX),
        };
        self.live = Live {
            sent_to: welcome.watermark,
            limits: Some(limits),
            window: within(welcome.batches_in_flight, BATCHES_MAX),
            keep_alive: Duration::from_millis(u64::from(welcome.keep_alive_ms.max(1_000))),
            ..Live::default()
        };
        self.state = State::Live;
        // A cloud that has gone back must be compared, whatever it says it has; and so must one that begins a new epoch.
        if self.identity.claiming || self.acked.is_some_and(|acked| welcome.watermark < acked) {
            self.compare_at = now;
        }
        self.acked = Some(welcome.watermark);
        if self.identity.claiming {
            self.identity.claiming = false;
            self.actions.push(Action::Welcomed);
        }
    }

    fn take_ack(&mut self, ack: Ack, now: Instant) {
        if self.live.in_flight.front() != Some(&ack.batch_id) {
            return self.hang_up("an Ack of something else".to_owned(), now);
        }
        self.live.in_flight.pop_front();
        self.works();
        self.acked = Some(self.acked.unwrap_or(0).max(ack.watermark));
        if self.live.in_flight.is_empty() && self.acked != self.acked_noted {
            self.acked_noted = self.acked;
            self.actions.extend(self.acked.map(Action::Acked));
        }
    }

    fn take_verdict(&mut self, verdict: Verdict, now: Instant) {
        if self.live.asked != Some(verdict.as_of_seq) {
            return;
        }
        self.live.asked = None;
        self.works();
        self.equal = Some(verdict.equal);
        if verdict.equal {
            self.actions.push(Action::Equal(verdict.as_of_seq));
            self.rests = 0;
            return self.compare_later(self.config.compare_every, now);
        }
        let ours = |day: &ResyncDay| TABLES.iter().any(|table| table.name == day.table);
        let sent_before = |day: &ResyncDay| self.healed.contains(&(day.table.clone(), day.day));
        let (again, fresh): (Vec<_>, Vec<_>) = verdict.days.into_iter().filter(ours).partition(sent_before);
        let new_tables = verdict.tables.iter().any(|table| !self.by_day.contains(table));
        if fresh.is_empty() && !new_tables {
            // Either nothing can be said to differ, or sending it again has not helped.
            tracing::debug!(days = again.len(), "The cloud differs still");
            let rest = self.config.rest.saturating_mul(1 << self.rests.min(10)).min(self.config.compare_every);
            self.rests = self.rests.saturating_add(1);
            return self.compare_later(rest, now);
        }
        self.by_day.extend(verdict.tables);
        self.live.days.extend(fresh);
        self.compare_at = now;
    }

    fn compare_later(&mut self, wait: Duration, now: Instant) {
        self.compare_at = now + wait;
        self.by_day.clear();
        self.healed.clear();
    }

    fn take_goodbye(&mut self, goodbye: &Goodbye, now: Instant) {
        let reason = goodbye.reason();
        let why = match reason {
            Reason::Fenced if self.identity.claiming => {
                return self.renew(goodbye.current_epoch.max(self.identity.epoch));
            }
            Reason::Fenced => "another box has taken this one's place",
            Reason::OutOfStep => "out of step",
            Reason::Malformed => "the cloud does not understand this box",
            Reason::UnknownTable => {
                self.unknown.insert(goodbye.detail.clone(), now + self.config.unknown_retry);
                "the cloud does not know a table"
            }
            Reason::Unavailable => "the cloud cannot store anything now",
            Reason::Aged => "the stream was old",
            Reason::Silent => "the cloud heard nothing",
            Reason::Unsupported => "the cloud speaks another protocol",
            Reason::Moved => {
                // What arrived there is looked at before it is relied on.
                self.compare_at = now;
                self.actions.push(Action::Moved(goodbye.endpoint.clone()));
                "this box's place is in another cell of the cloud"
            }
            Reason::Unspecified => "the cloud ended the stream",
        };
        let detail = if goodbye.detail.is_empty() { String::new() } else { format!(": {}", goodbye.detail) };
        self.hang_up(format!("{why}{detail}"), now);
        self.due += Duration::from_millis(u64::from(goodbye.retry_after_ms)).min(self.config.backoff.longest);
        if reason == Reason::Fenced {
            (self.state, self.due) = (State::Replaced, now + self.config.replaced_retry);
        }
    }

    fn renew(&mut self, after: u64) {
        self.actions.push(Action::Close(self.stream));
        self.actions.push(Action::NextEpoch(after));
        self.acked = None;
        self.state = State::Renewing;
    }

    fn take_closed(&mut self, why: String, now: Instant) {
        if matches!(self.state, State::Opening | State::Greeting | State::Live) {
            self.wait(why, now);
        }
    }

    fn hang_up(&mut self, why: String, now: Instant) {
        self.actions.push(Action::Close(self.stream));
        self.wait(why, now);
    }

    fn wait(&mut self, why: String, now: Instant) {
        self.failures = self.failures.saturating_add(1);
        self.last_end = why;
        // What was asked for is asked for again, by a comparison; and what was on the way may not have arrived.
        if !self.live.days.is_empty() || self.live.asked.is_some() {
            self.compare_at = now;
        }
        self.healed.clear();
        self.live = Live::default();
        let wait = self.config.backoff.anywhere_after(self.failures, self.config.seed.wrapping_add(self.stream << 32));
        (self.state, self.due) = (State::Waiting, now + wait);
    }

    fn works(&mut self) {
        self.failures = 0;
    }
}
