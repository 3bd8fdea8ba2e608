//! One stream of a box, as a pure state machine: [`Stream::step`] takes one event and the time and gives actions.
//!
//! ```text
//! Expecting a Hello ─Hello─► Greeting (the store is asked) ─► Live ─► Over
//!                    anything else, silence, age: Goodbye ────────────►
//! ```
//! One request to the store at a time, in the order of the messages; what waits meanwhile is bounded by what the Welcome
//! allowed, and more than that ends the stream.
//!
//! Left out on purpose: who the box is. Its certificate says that before there is a stream.

use std::collections::{BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use cloud_api::PROTOCOL;
use cloud_api::digest::is_key;
use cloud_api::v1::{
    Ack, BoxMessage, CloudMessage, Delivery, Digest, Goodbye, Hello, Ping, RowBatch, TableRows, Verdict, Welcome,
    box_message, cloud_message, goodbye::Reason, row_batch::Scope,
};

use super::apply::{Applied, Greeted};
use super::tables::is_known;

#[cfg(test)]
mod tests;

/// When the boxes of a tenant that is being moved come again: a move takes from seconds to minutes.
const MOVING_RETRY: Duration = Duration::from_secs(3);
/// When those of one that was erased do.
const ERASED_RETRY: Duration = Duration::from_secs(300);
/// Deliveries on their way to a box at a time.
pub const DELIVERIES_IN_FLIGHT: usize = 16;

/// What may be configured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Config {
    /// Without anything to say, a Ping; without anything heard for three times as long, the end.
    pub keep_alive: Duration,
    /// For a Hello.
    pub patience: Duration,
    /// After that the box is asked to come back, perhaps to another instance.
    pub age_max: Duration,
    /// What a box should put into a batch, in bytes; up to four times as much is taken, for a single large row.
    pub batch_bytes: u32,
    /// Rows of a batch.
    pub batch_rows: u32,
    /// Batches that may wait for their Ack.
    pub batches_in_flight: u32,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            keep_alive: Duration::from_secs(20),
            patience: Duration::from_secs(20),
            age_max: Duration::from_secs(4 * 3_600),
            batch_bytes: 256 * 1_024,
            batch_rows: 2_000,
            batches_in_flight: 8,
        }
    }
}

/// What happens to the stream.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// The deadline is over.
    Woken,
    /// A message of the box, which took so many bytes.
    Received(BoxMessage, usize),
    /// A message that is larger than what is taken at all, or would be once it is inflated.
    TooLarge,
    /// The store has answered [`Request::Greet`].
    Greeted(Greeted),
    /// The store has answered [`Request::Apply`].
    Applied(Applied),
    /// The store has answered [`Request::Compare`].
    Compared(Verdict),
    /// The store cannot, and why.
    Unavailable(String),
    /// The store takes nothing of this tenant.
    NotHere(Away),
    /// Wishes and commands for the box. Before it is welcomed they are dropped: they come again then.
    Wished(Vec<cloud_message::Body>),
    /// Deliveries that the box does not have, the oldest first. Those that are on their way are not sent twice. Before it is
    /// welcomed they are dropped: they come again then.
    Outstanding(Vec<Delivery>),
    /// This instance stops: what the store is doing is acknowledged first, and the box is asked to come back.
    Leaving,
    /// The stream is gone.
    Closed,
}

/// Where a tenant is that is not here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Away {
    /// On its way: soon here again, or elsewhere.
    Moving,
    /// In the cell with this endpoint.
    Elsewhere(String),
    /// Nowhere any more.
    Erased,
}

impl Away {
    /// What its boxes are told instead of anything else.
    pub fn goodbye(&self) -> Goodbye {
        let unavailable = |retry_after: Duration, detail: &str| Goodbye {
            reason: Reason::Unavailable.into(),
            retry_after_ms: u32::try_from(retry_after.as_millis()).unwrap_or(u32::MAX),
            detail: detail.to_owned(),
            ..Goodbye::default()
        };
        match self {
            Away::Moving => unavailable(MOVING_RETRY, "this office is being moved"),
            Away::Elsewhere(endpoint) => {
                Goodbye { reason: Reason::Moved.into(), endpoint: endpoint.clone(), ..Goodbye::default() }
            }
            Away::Erased => unavailable(ERASED_RETRY, "this office was erased here"),
        }
    }
}

/// What the store is asked.
#[derive(Debug, Clone, PartialEq)]
pub enum Request {
    /// [`greet`](super::apply::greet).
    Greet(Hello),
    /// [`apply`](super::apply::apply).
    Apply(RowBatch),
    /// [`compare`](super::apply::compare).
    Compare(Digest),
}

/// What is to be done about an event.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// To the box.
    Send(CloudMessage),
    /// Ask the store, in one transaction, and answer with the event of the same name.
    Store(Request),
    /// The box has said what became of a wish or a command, or that it has a delivery.
    Told(box_message::Body),
    /// End the stream once everything is sent.
    Close,
}

/// One stream.
#[derive(Debug)]
pub struct Stream {
    config: Config,
    state: State,
    began: Instant,
    last_heard: Instant,
    last_sent: Instant,
    /// What the store is busy with; its batch's id.
    busy: Option<u64>,
    waiting: VecDeque<Request>,
    /// Deliveries on their way.
    delivering: BTreeSet<String>,
    leaving: bool,
    actions: Vec<Action>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Expecting,
    Greeting,
    Live,
    Over,
}

/// Why a message is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
enum Mistake {
    #[error("{0}")]
    UnknownTable(String),
    #[error("{0}")]
    Malformed(&'static str),
    #[error("this cloud speaks protocol {PROTOCOL}")]
    Unsupported,
}

impl Stream {
    /// A stream that was just opened.
    pub fn new(config: Config, now: Instant) -> Self {
        Stream {
            config,
            state: State::Expecting,
            began: now,
            last_heard: now,
            last_sent: now,
            busy: None,
            waiting: VecDeque::new(),
            delivering: BTreeSet::new(),
            leaving: false,
            actions: Vec::new(),
        }
    }

    /// Takes one event in.
    pub fn step(&mut self, event: Event, now: Instant) -> Vec<Action> {
        if self.state == State::Over {
            return Vec::new();
        }
        match event {
            Event::Woken => {}
            Event::Received(message, bytes) => self.receive(message, bytes, now),
            Event::TooLarge => self.refuse(&Mistake::Malformed("a message is too large, or would be once inflated")),
            Event::Greeted(greeted) => self.take_greeted(&greeted, now),
            Event::Applied(applied) => self.take_applied(&applied, now),
            Event::Compared(verdict) => {
                self.busy = None;
                self.send(cloud_message::Body::Verdict(verdict), now);
            }
            Event::Unavailable(detail) => self.end(Reason::Unavailable, detail, 0),
            Event::NotHere(away) => self.leave(away.goodbye()),
            Event::Wished(wishes) if self.state == State::Live => {
                for wish in wishes {
                    self.send(wish, now);
                }
            }
            Event::Outstanding(deliveries) if self.state == State::Live => self.deliver(deliveries, now),
            Event::Wished(_) | Event::Outstanding(_) => {}
            Event::Leaving => self.leaving = true,
            Event::Closed => self.state = State::Over,
        }
        self.proceed(now);
        std::mem::take(&mut self.actions)
    }

    /// When [`Event::Woken`] is due.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let silence = self.last_heard + self.config.keep_alive * 3;
        match self.state {
            State::Expecting | State::Greeting => Some(self.began + self.config.patience),
            State::Live => {
                let ping = self.last_sent + self.config.keep_alive;
                let age = self.busy.is_none().then_some(self.began + self.config.age_max);
                Some(age.map_or(ping, |age| ping.min(age)).min(silence))
            }
            State::Over => None,
        }
    }

    /// Whether it has ended.
    pub fn is_over(&self) -> bool {
        self.state == State::Over
    }

    fn proceed(&mut self, now: Instant) {
        match self.state {
            State::Expecting | State::Greeting if self.began + self.config.patience <= now => {
                self.end(Reason::Silent, String::new(), 0);
            }
            State::Live if self.last_heard + self.config.keep_alive * 3 <= now => {
                self.end(Reason::Silent, String::new(), 0);
            }
            // Between two requests: what the store is doing is acknowledged first.
            State::Expecting | State::Greeting | State::Live if self.leaving && self.busy.is_none() => {
                self.end(Reason::Aged, String::new(), 0);
            }
            State::Live if self.began + self.config.age_max <= now && self.busy.is_none() => {
                self.end(Reason::Aged, String::new(), 0);
            }
            State::Live => {
                if self.last_sent + self.config.keep_alive <= now {
                    self.send(cloud_message::Body::Ping(Ping {}), now);
                }
                self.ask();
            }
            State::Expecting | State::Greeting => self.ask(),
            State::Over => {}
        }
    }

    /// Gives the store the next request.
    fn ask(&mut self) {
        if self.busy.is_some() {
            return;
        }
        let Some(request) = self.waiting.pop_front() else { return };
        self.busy = Some(match &request {
            Request::Apply(batch) => batch.batch_id,
            Request::Greet(_) | Request::Compare(_) => 0,
        });
        self.actions.push(Action::Store(request));
    }

    fn deliver(&mut self, deliveries: Vec<Delivery>, now: Instant) {
        for delivery in deliveries {
            if self.delivering.len() >= DELIVERIES_IN_FLIGHT {
                return;
            }
            if self.delivering.insert(delivery.delivery_id.clone()) {
                self.send(cloud_message::Body::Delivery(delivery), now);
            }
        }
    }

    fn receive(&mut self, message: BoxMessage, bytes: usize, now: Instant) {
        self.last_heard = now;
        let Some(body) = message.body else { return };
        let request = match (self.state, body) {
            (State::Expecting, box_message::Body::Hello(hello)) => check_hello(&hello).map(|()| {
                self.state = State::Greeting;
                Some(Request::Greet(hello))
            }),
            (State::Live, box_message::Body::Batch(batch)) => {
                check_batch(&batch, bytes, &self.config).map(|()| Some(Request::Apply(batch)))
            }
            (State::Live, box_message::Body::Digest(digest)) => {
                check_digest(&digest).map(|()| Some(Request::Compare(digest)))
            }
            (State::Live, told @ (box_message::Body::Reported(_) | box_message::Body::CommandResult(_))) => {
                self.actions.push(Action::Told(told));
                Ok(None)
            }
            (State::Live, box_message::Body::Delivered(delivered)) => {
                self.delivering.remove(&delivered.delivery_id);
                self.actions.push(Action::Told(box_message::Body::Delivered(delivered)));
                Ok(None)
            }
            (State::Live, box_message::Body::Hello(_)) => Err(Mistake::Malformed("a second Hello")),
            (State::Expecting | State::Greeting, box_message::Body::Batch(_) | box_message::Body::Digest(_)) => {
                Err(Mistake::Malformed("not greeted yet"))
            }
            (State::Greeting, box_message::Body::Hello(_)) => Err(Mistake::Malformed("a second Hello")),
            (
                _,
                box_message::Body::Ping(_)
                | box_message::Body::Reported(_)
                | box_message::Body::CommandResult(_)
                | box_message::Body::Delivered(_)
                | box_message::Body::Hello(_)
                | box_message::Body::Batch(_)
                | box_message::Body::Digest(_),
            ) => Ok(None),
        };
        let room = usize::try_from(self.config.batches_in_flight).unwrap_or(usize::MAX);
        match request {
            Ok(Some(_)) if self.waiting.len() > room => {
                self.refuse(&Mistake::Malformed("more batches on the way than allowed"));
            }
            Ok(request) => self.waiting.extend(request),
            Err(mistake) => self.refuse(&mistake),
        }
    }

    fn take_greeted(&mut self, greeted: &Greeted, now: Instant) {
        self.busy = None;
        match greeted {
            Greeted::Welcome { watermark } => {
                self.state = State::Live;
                let welcome = Welcome {
                    watermark: *watermark,
                    batch_max_bytes: self.config.batch_bytes,
                    batch_max_rows: self.config.batch_rows,
                    batches_in_flight: self.config.batches_in_flight,
                    keep_alive_ms: u32::try_from(self.config.keep_alive.as_millis()).unwrap_or(u32::MAX),
                };
                self.send(cloud_message::Body::Welcome(welcome), now);
            }
            Greeted::Fenced { current } => self.end(Reason::Fenced, String::new(), *current),
        }
    }

    fn take_applied(&mut self, applied: &Applied, now: Instant) {
        let batch_id = self.busy.take().unwrap_or_default();
        match applied {
            Applied::Taken { watermark } => {
                self.send(cloud_message::Body::Ack(Ack { batch_id, watermark: *watermark }), now);
            }
            Applied::OutOfStep => self.end(Reason::OutOfStep, String::new(), 0),
            Applied::Fenced { current } => self.end(Reason::Fenced, String::new(), *current),
        }
    }

    fn refuse(&mut self, mistake: &Mistake) {
        let reason = match mistake {
            Mistake::UnknownTable(_) => Reason::UnknownTable,
            Mistake::Malformed(_) => Reason::Malformed,
            Mistake::Unsupported => Reason::Unsupported,
        };
        self.end(reason, mistake.to_string(), 0);
    }

    fn end(&mut self, reason: Reason, detail: String, current_epoch: u64) {
        self.leave(Goodbye { reason: reason.into(), current_epoch, detail, ..Goodbye::default() });
    }

    fn leave(&mut self, goodbye: Goodbye) {
        self.actions.push(Action::Send(message(cloud_message::Body::Goodbye(goodbye))));
        self.actions.push(Action::Close);
        self.state = State::Over;
        self.waiting.clear();
    }

    fn send(&mut self, body: cloud_message::Body, now: Instant) {
        self.last_sent = now;
        self.actions.push(Action::Send(message(body)));
    }
}

fn message(body: cloud_message::Body) -> CloudMessage {
    CloudMessage { body: Some(body) }
}

fn check_hello(hello: &Hello) -> Result<(), Mistake> {
    if hello.protocol != PROTOCOL {
        return Err(Mistake::Unsupported);
    }
    let right = hello.epoch >= 1
        && i64::try_from(hello.epoch).is_ok()
        && hello.incarnation.len() == 16
        && (0..i64::MAX).contains(&hello.log_head);
    right.then_some(()).ok_or(Mistake::Malformed("a Hello without an epoch, an incarnation or a log"))
}

fn check_batch(batch: &RowBatch, bytes: usize, config: &Config) -> Result<(), Mistake> {
    let rows: usize = batch.tables.iter().map(|table| table.rows.len() + table.deleted_keys.len()).sum();
    if rows > usize::try_from(config.batch_rows).unwrap_or(usize::MAX) {
        return Err(Mistake::Malformed("too many rows in a batch"));
    }
    if bytes > usize::try_from(config.batch_bytes).unwrap_or(usize::MAX).saturating_mul(4) {
        return Err(Mistake::Malformed("a batch is too large"));
    }
    match &batch.scope {
        Some(Scope::Log(log)) if (0..log.to).contains(&log.after) => {}
        Some(Scope::Range(range)) => {
            known(&range.table)?;
            let inside = |key: &String| *key > range.after && *key <= range.to;
            let only = |table: &TableRows| table.table == range.table && table.deleted_keys.is_empty();
            let rows = batch.tables.iter().flat_map(|table| &table.rows);
            if !batch.tables.iter().all(only) || !rows.map(|row| &row.key).all(inside) {
                return Err(Mistake::Malformed("rows outside of their range"));
            }
        }
        Some(Scope::Log(_)) | None => return Err(Mistake::Malformed("a batch of nothing")),
    }
    batch.tables.iter().try_for_each(check_table)
}

fn check_table(table: &TableRows) -> Result<(), Mistake> {
    known(&table.table)?;
    let names: BTreeSet<&String> = table.columns.iter().collect();
    if names.len() != table.columns.len() {
        return Err(Mistake::Malformed("a column that is there twice"));
    }
    if !table.rows.iter().map(|row| &row.key).chain(&table.deleted_keys).all(|key| is_key(key)) {
        return Err(Mistake::Malformed("a key that is no UUID"));
    }
    if table.rows.iter().any(|row| row.values.len() != table.columns.len() || row.row_version < 1) {
        return Err(Mistake::Malformed("a row that does not fit its columns"));
    }
    Ok(())
}

fn check_digest(digest: &Digest) -> Result<(), Mistake> {
    digest.tables.iter().try_for_each(|table| known(&table.table))
}

fn known(table: &str) -> Result<(), Mistake> {
    // Bounded, because it is said back.
    let name = || table.chars().take(64).collect();
    is_known(table).then_some(()).ok_or_else(|| Mistake::UnknownTable(name()))
}
