//! What goes up next and when, as a pure state machine: [`Uploader::step`] takes one event, how calls are, and the time, and
//! gives actions.
//!
//! ```text
//!  Idle ─Look─► Looking ─Found─► Ready ─Open─► Opening ─┐
//!   ▲                             │ ▲ ◄─────────────────┘
//!   │ nothing left                │ └ Began, Put, Noted ┐
//!   └─────────────────────────────┤                     │     Waiting ─back-off─► Ready
//!                                 └─ one request at a time: Begin, Put…, Commit, Note
//! ```
//! One file at a time and one request at a time, each a slice that is on the cloud's disk when it is answered: a cut costs at
//! most one slice. After each of them it is asked anew whether calls have to be given way to.
//!
//! Left out on purpose: files, sockets and SQL. Whoever drives it reads and sends for it.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use super::pace::Pace;
use super::{Blob, Fault, Outcome};
use crate::call::Line;
use crate::retry::Backoff;

#[cfg(test)]
mod tests;

/// Between attempts.
const BACKOFF: Backoff = Backoff { first: Duration::from_secs(1), longest: Duration::from_secs(300) };
/// For a connection, and for the answer to a Begin or Put.
const PATIENCE: Duration = Duration::from_secs(60);
/// For the answer to a Commit: the cloud hashes and perhaps copies the whole.
const COMMIT_PATIENCE: Duration = Duration::from_secs(600);
/// Rows are looked through at most so often, and at least so often.
const LOOK_MIN: Duration = Duration::from_secs(10);
const LOOK_MAX: Duration = Duration::from_secs(3_600);
/// How often it is looked how calls are while they are waited for.
const LOOK_AT_LINE: Duration = Duration::from_secs(1);
/// A file that the cloud has refused so often in a row makes way for the others.
const STRIKES_MAX: u32 = 5;
/// For so long; and before a cloud that does not know recordings is asked again.
const ASIDE: Duration = Duration::from_secs(3_600);

/// What happens to the box. A connection is known by its number: what a dead one still says is not taken for the living one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Event {
    /// The deadline is over.
    Woken,
    /// Something was committed.
    Changed,
    /// [`Action::Look`] is answered; in order.
    Found(Vec<Blob>),
    /// The connection is there.
    Opened(u64),
    /// It could not be opened or has ended, and why.
    Closed(u64, String),
    /// The cloud has so much of the file.
    Began(u64, u64),
    /// The cloud has so much of the file on its disk.
    Put(u64, u64),
    /// The cloud has the file.
    Committed(u64),
    /// The cloud said no.
    Refused(u64, Refusal),
    /// The file cannot be sent.
    Faulty(u64, Fault),
    /// No row has this content any more.
    Unwanted(u64),
    /// [`Action::Check`] is answered: what is wrong, if anything is.
    Checked(Option<Fault>),
    /// [`Action::Note`] is done.
    Noted,
}

/// What the cloud said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Refusal {
    /// Something that may be different next time: its disk is full, it was asked for another place.
    ForNow(String),
    /// Something that stays: the file is larger than what it takes.
    ForGood(String),
    /// What has come has another hash than what was announced.
    Damaged(String),
    /// It does not know recordings: it is older than this box.
    Unknown,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Action {
    /// Look which files are to go up.
    Look,
    /// Open the connection of this number.
    Open(u64),
    /// End it, and whatever is asked over it. No event is expected.
    Close(u64),
    /// Ask where to go on, if a row still has it.
    Begin(u64, Blob),
    /// Send so many bytes from this offset on.
    Put(u64, Blob, u64, u64),
    /// It is all there: make it a blob, if a row still has it.
    Commit(u64, Blob),
    /// Whether the file is what its row says.
    Check(Blob),
    /// Keep what became of a file.
    Note(Blob, Outcome),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Nothing to do until somebody commits something.
    Idle,
    /// The rows are looked through.
    Looking,
    /// Something may be done.
    Ready,
    /// After a failure.
    Waiting,
    /// The connection is being opened, or the cloud is being asked.
    Asking(Asked),
    /// The file is read, or what became of it is written.
    Busy,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asked {
    Open,
    Begin,
    /// From when on, if nobody called.
    Put(Option<Instant>),
    Commit,
}

/// What a person is shown.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Status {
    /// Why the latest attempt failed; empty if it did not.
    pub(super) last_end: String,
    /// A call's jitter is waited for.
    pub(super) is_paused: bool,
}

/// The box's end of uploads.
#[derive(Debug)]
pub(super) struct Uploader {
    seed: u64,
    state: State,
    /// When something is due in a state that waits.
    due: Instant,
    pace: Pace,
    line: Line,
    queue: VecDeque<Blob>,
    /// Where the first of them goes on; None before it was asked.
    offset: Option<u64>,
    connection: u64,
    is_open: bool,
    looked_at: Option<Instant>,
    changed: bool,
    failures: u32,
    last_end: String,
    strikes: u32,
    /// Files that the cloud has refused often, until when.
    aside: BTreeMap<String, Instant>,
    actions: Vec<Action>,
}

impl Uploader {
    /// One that looks at once. `seed` spreads the waits of boxes.
    pub(super) fn new(seed: u64, now: Instant) -> Uploader {
        Uploader {
            seed,
            state: State::Idle,
            due: now,
            pace: Pace::new(now),
            line: Line::default(),
            queue: VecDeque::new(),
            offset: None,
            connection: 0,
            is_open: false,
            looked_at: None,
            changed: true,
            failures: 0,
            last_end: String::new(),
            strikes: 0,
            aside: BTreeMap::new(),
            actions: Vec::new(),
        }
    }

    /// Takes one event in.
    pub(super) fn step(&mut self, event: Event, line: Line, now: Instant) -> Vec<Action> {
        self.line = line;
        self.pace.observe(line, now);
        match event {
            Event::Woken => self.wake(now),
            Event::Changed => self.changed = true,
            Event::Found(blobs) => self.take_found(blobs, now),
            Event::Closed(connection, why) if self.is(connection) => self.fail(why, now),
            Event::Opened(connection) if self.is(connection) => self.ready(now),
            Event::Began(connection, offset) if self.is(connection) => {
                self.offset = Some(offset);
                self.ready(now);
            }
            Event::Put(connection, offset) if self.is(connection) => {
                self.take_put(offset, now);
            }
            Event::Committed(connection) if self.is(connection) => {
                self.went_well();
                self.finish(Outcome::Kept);
            }
            Event::Refused(connection, refusal) if self.is(connection) => self.take_refusal(refusal, now),
            Event::Faulty(connection, fault) if self.is(connection) => self.finish(Outcome::Lost(fault)),
            Event::Unwanted(connection) if self.is(connection) => {
                self.next();
                self.ready(now);
            }
            Event::Checked(Some(fault)) => self.finish(Outcome::Lost(fault)),
            Event::Checked(None) => {
                self.strike(now);
                self.fail(self.last_end.clone(), now);
            }
            Event::Noted => {
                self.next();
                self.ready(now);
            }
            Event::Opened(_)
            | Event::Closed(..)
            | Event::Began(..)
            | Event::Put(..)
            | Event::Committed(_)
            | Event::Refused(..)
            | Event::Faulty(..)
            | Event::Unwanted(_) => {}
        }
        self.proceed(now);
        std::mem::take(&mut self.actions)
    }

    /// When [`Event::Woken`] is due; None while it waits for an answer of the box itself.
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        match self.state {
            State::Idle | State::Ready | State::Waiting | State::Asking(_) => Some(self.due),
            State::Looking | State::Busy => None,
        }
    }

    pub(super) fn status(&self, now: Instant) -> Status {
        let is_paused = self.pace.is_paused(now) && !self.queue.is_empty();
        Status { last_end: self.last_end.clone(), is_paused }
    }

    fn is(&self, connection: u64) -> bool {
        self.is_open && connection == self.connection
    }

    fn ready(&mut self, now: Instant) {
        (self.state, self.due) = (State::Ready, now);
    }

    fn went_well(&mut self) {
        (self.failures, self.strikes) = (0, 0);
        self.last_end.clear();
    }

    fn wake(&mut self, now: Instant) {
        if now < self.due {
            return;
        }
        match self.state {
            State::Idle => self.changed = true,
            State::Waiting => self.ready(now),
            State::Asking(_) => self.fail("the cloud did not answer in time".to_owned(), now),
            State::Looking | State::Ready | State::Busy => {}
        }
    }

    fn take_found(&mut self, blobs: Vec<Blob>, now: Instant) {
        if self.state != State::Looking {
            return;
        }
        self.aside.retain(|_, until| *until > now);
        self.queue = blobs.into_iter().filter(|blob| !self.aside.contains_key(&blob.sha256)).collect();
        self.offset = None;
        if self.queue.is_empty() {
            self.close();
            (self.state, self.due) = (State::Idle, now + LOOK_MAX);
        } else {
            self.ready(now);
        }
    }

    fn take_put(&mut self, offset: u64, now: Instant) {
        let went_up = offset.saturating_sub(self.offset.unwrap_or(offset));
        if went_up == 0 {
            return self.fail("the cloud took nothing of what it was sent".to_owned(), now);
        }
        self.pace.went_up(went_up);
        if let State::Asking(Asked::Put(Some(began))) = self.state {
            self.pace.took(went_up, now.saturating_duration_since(began));
        }
        self.offset = Some(offset);
        self.went_well();
        self.ready(now);
    }

    fn take_refusal(&mut self, refusal: Refusal, now: Instant) {
        match refusal {
            Refusal::ForGood(why) => self.finish(Outcome::Refused(why)),
            Refusal::ForNow(why) => {
                self.strike(now);
                self.fail(why, now);
            }
            Refusal::Damaged(why) => {
                self.last_end = why;
                if let Some(blob) = self.queue.front() {
                    self.actions.push(Action::Check(blob.clone()));
                    self.state = State::Busy;
                }
            }
            Refusal::Unknown => {
                self.fail("the cloud does not take recordings: it is older than this box".to_owned(), now);
                self.due = now + ASIDE;
            }
        }
    }

    /// The others are not to wait for one that is refused again and again, unless there is no other.
    fn strike(&mut self, now: Instant) {
        self.strikes += 1;
        if self.strikes >= STRIKES_MAX && self.queue.len() > 1 {
            if let Some(blob) = self.queue.front() {
                self.aside.insert(blob.sha256.clone(), now + ASIDE);
            }
            self.next();
        }
    }

    /// With the next file.
    fn next(&mut self) {
        self.queue.pop_front();
        (self.offset, self.strikes) = (None, 0);
    }

    fn finish(&mut self, outcome: Outcome) {
        if let Some(blob) = self.queue.front() {
            self.actions.push(Action::Note(blob.clone(), outcome));
            self.state = State::Busy;
        }
    }

    fn close(&mut self) {
        if std::mem::take(&mut self.is_open) {
            self.actions.push(Action::Close(self.connection));
        }
    }

    fn fail(&mut self, why: String, now: Instant) {
        self.close();
        self.pace.cut();
        self.failures = self.failures.saturating_add(1);
        self.last_end = why;
        self.offset = None;
        (self.state, self.due) = (State::Waiting, now + BACKOFF.anywhere_after(self.failures, self.seed));
    }

    /// The next request, if there is one to make.
    fn proceed(&mut self, now: Instant) {
        match self.state {
            State::Idle => self.look(now),
            State::Ready if self.queue.is_empty() => {
                // Perhaps there are more than were looked for at once.
                (self.changed, self.looked_at) = (true, None);
                self.look(now);
            }
            State::Ready => match self.pace.wait(now) {
                Some(until) => self.due = until.min(now + LOOK_AT_LINE),
                None => self.ask(now),
            },
            State::Looking | State::Waiting | State::Asking(_) | State::Busy => {}
        }
    }

    fn look(&mut self, now: Instant) {
        let may_look = self.looked_at.map_or(now, |at| at + LOOK_MIN);
        if !self.changed {
            return;
        }
        if may_look > now {
            self.due = may_look;
            return;
        }
        (self.changed, self.looked_at, self.state) = (false, Some(now), State::Looking);
        self.actions.push(Action::Look);
    }

    fn ask(&mut self, now: Instant) {
        let Some(blob) = self.queue.front().cloned() else { return };
        let (asked, patience, action) = match self.offset {
            _ if !self.is_open => {
                self.connection += 1;
                self.is_open = true;
                (Asked::Open, PATIENCE, Action::Open(self.connection))
            }
            None => (Asked::Begin, PATIENCE, Action::Begin(self.connection, blob)),
            Some(offset) if offset >= blob.size_bytes => {
                (Asked::Commit, COMMIT_PATIENCE, Action::Commit(self.connection, blob))
            }
            Some(offset) => {
                let slice = self.pace.slice(self.line);
                let bytes = (blob.size_bytes - offset).min(slice);
                self.pace.sending(bytes, self.line, now);
                let measured = (self.line.calls == 0).then_some(now);
                (Asked::Put(measured), PATIENCE, Action::Put(self.connection, blob, offset, bytes))
            }
        };
        (self.state, self.due) = (State::Asking(asked), now + patience);
        self.actions.push(action);
    }
}
