//! A busy day between two parties: both place and take many calls at once, over a network that loses, doubles, reorders
//! and sometimes falls silent, with clocks that jump and processes that stand still. A seed is a day; the laws hold on
//! every one.
//!
//! Both sides are whole endpoints with a user who acts by chance (`user`): it rings, answers, refuses, challenges,
//! gives up, holds, offers anew from both sides at once, transfers, sends INFO, registers, subscribes, hangs up, and
//! sometimes leaves a call to its session timer. `wire` watches what passes between them, `life` what each is told.
//! Left out on purpose: sound, and more than one hop.

mod chance;
mod life;
mod network;
mod party;
mod user;
mod wire;

use std::time::{Duration, Instant};

use sip_stack::endpoint::Occupancy;
use sip_stack::message::{Limits, Message};

use self::chance::Chance;
use self::network::{Arrival, Network};
use self::party::Party;
use self::wire::WireLaws;
use super::Clock;

/// New calls are placed for so long; then everybody hangs up.
const BUSINESS: Duration = Duration::from_secs(120);
/// Inputs after which a day counts as one that never ends.
const STEP_LIMIT: usize = 400_000;

/// What a day amounted to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// From the first call to the last timer.
    pub simulated: Duration,
    /// Calls placed.
    pub placed: usize,
    /// Calls that were answered, as the called side sees it.
    pub answered: usize,
    /// Re-INVITEs and UPDATEs that met another one.
    pub glares: usize,
    /// Transfers that were accepted.
    pub transfers: usize,
    /// Times a registration was granted, first or anew.
    pub registered: usize,
    /// Subscriptions that were accepted.
    pub subscribed: usize,
    /// Messages sent.
    pub messages: usize,
    /// Messages that never arrived.
    pub lost: usize,
    /// Times that a clock jumped or a process stood still.
    pub jumps: usize,
}

impl std::ops::AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.simulated += other.simulated;
        self.placed += other.placed;
        self.answered += other.answered;
        self.glares += other.glares;
        self.transfers += other.transfers;
        self.registered += other.registered;
        self.subscribed += other.subscribed;
        self.messages += other.messages;
        self.lost += other.lost;
        self.jumps += other.jumps;
    }
}

/// One of the two, as an index.
pub(super) type Side = usize;
/// Names of the two, for messages.
const NAMES: [&str; 2] = ["office", "carrier"];

struct Day {
    seed: u64,
    clock: Clock,
    chance: Chance,
    parties: [Party; 2],
    network: Network,
    wire: WireLaws,
    next_jump: Option<Instant>,
    closes_at: Instant,
    is_closed: bool,
    jumps: usize,
    steps: usize,
    /// The last that happened, kept only for a replay.
    trace: Option<Vec<String>>,
}

/// Runs the day of this seed to its end. A panic says how to replay it.
///
/// # Panics
/// A law is broken.
pub fn run_day(seed: u64) -> Tally {
    let mut day = Day::new(seed);
    day.run();
    day.finish()
}

impl Day {
    fn new(seed: u64) -> Self {
        let clock = Clock::default();
        let mut chance = Chance::new(seed, 0);
        let now = clock.now();
        let network = Network::new(seed, &mut chance);
        let uses_tcp = network.is_stream();
        let parties = [0, 1].map(|side| Party::new(side, seed, uses_tcp, now));
        // On two of three days clocks jump and processes stand still.
        let next_jump = (!seed.is_multiple_of(3)).then(|| now + chance.between(5_000, 60_000));
        Self {
            seed,
            chance,
            parties,
            network,
            wire: WireLaws::default(),
            next_jump,
            closes_at: now + BUSINESS,
            is_closed: false,
            jumps: 0,
            steps: 0,
            trace: super::replayed_seed().map(|_| Vec::new()),
            clock,
        }
    }

    fn run(&mut self) {
        self.network.open(&mut self.parties, self.clock.now());
        self.drain();
        while self.step() {
            self.steps += 1;
            assert!(self.steps < STEP_LIMIT, "the day never ends");
        }
    }

    /// The next thing that happens. `false`: nothing does.
    fn step(&mut self) -> bool {
        let deadlines = self.parties.iter().filter_map(Party::poll_timeout);
        let now = self.clock.now();
        let arrival = self.network.next_arrival(now, |side| self.parties[side].stands_still(now));
        let closing = (!self.is_closed).then_some(self.closes_at);
        let jump = self.next_jump.filter(|_| !self.is_closed);
        let Some(at) = deadlines.chain(arrival).chain(closing).chain(jump).min() else { return false };
        // What a party that stood still has missed is overdue.
        let at = at.max(now);
        self.clock.advance_to(at);
        for party in &mut self.parties {
            // Whoever moves again may see its timers first, or what has come meanwhile.
            if party.moves_again(at) && self.chance.percent(50) {
                party.handle_timeout(at);
            }
        }
        if !self.is_closed && self.closes_at <= at {
            self.close();
        } else if self.next_jump.is_some_and(|jump| jump <= at) && !self.is_closed {
            self.jump();
        } else if let Some((side, arrival)) = self.network.arrive(at, |side| self.parties[side].stands_still(at)) {
            self.deliver(side, arrival);
        } else {
            for party in &mut self.parties {
                party.handle_timeout(at);
            }
        }
        self.drain();
        true
    }

    fn deliver(&mut self, side: Side, arrival: Arrival) {
        let now = self.clock.now();
        match arrival {
            Arrival::Datagram(bytes) => {
                self.arrived(side, &bytes);
                self.parties[side].handle_datagram(&bytes, now);
            }
            Arrival::Bytes { flow, bytes, messages } => {
                for message in &messages {
                    self.arrived(side, message);
                }
                self.parties[side].handle_stream_bytes(flow, &bytes, now);
            }
            Arrival::Opened(flow) => self.parties[side].handle_stream_opened(flow, now),
            Arrival::Closed(flow) => self.parties[side].handle_stream_closed(flow, now),
        }
    }

    fn arrived(&mut self, side: Side, bytes: &[u8]) {
        if let Ok(message) = Message::parse(bytes, &Limits::default()) {
            self.note(side, "hears", &message);
            self.wire.arrived(side, &message, self.parties[side].now(self.clock.now()), self.parties[side].epoch);
        }
    }

    /// Takes out everything, and lets the laws look at it.
    fn drain(&mut self) {
        let now = self.clock.now();
        for side in [0, 1] {
            while let Some(transmit) = self.parties[side].poll_transmit() {
                if let Ok(message) = Message::parse(&transmit.bytes, &Limits::default()) {
                    self.note(side, "sends", &message);
                    let party = &self.parties[side];
                    self.wire.sent(side, &message, &transmit.bytes, party.epoch);
                }
                self.network.send(side, transmit, now, &mut self.chance);
            }
            for call_id in self.parties[side].take_given_up() {
                self.wire.given_up(side, call_id);
            }
            self.wire.check_drained(side);
            if let Some(trace) = &mut self.trace {
                trace.extend(
                    self.parties[side]
                        .take_notes()
                        .into_iter()
                        .map(|note| format!("{:9.3} {:8} {note}", self.clock.elapsed().as_secs_f64(), NAMES[side])),
                );
            } else {
                self.parties[side].take_notes();
            }
        }
    }

    /// A clock leaps ahead of the other one, or a process gets no time for a while.
    fn jump(&mut self) {
        let side = usize::from(self.chance.percent(50));
        let now = self.clock.now();
        self.jumps += 1;
        match self.chance.percent(40) {
            true => self.parties[side].leap(self.chance.between(100, 40_000)),
            false => self.parties[side].stand_still(now + self.chance.between(100, 20_000)),
        }
        self.next_jump = Some(now + self.chance.between(5_000, 60_000));
    }

    fn close(&mut self) {
        self.is_closed = true;
        self.network.heal();
        for party in &mut self.parties {
            party.close(self.clock.now());
        }
    }

    fn finish(mut self) -> Tally {
        let mut tally = Tally {
            simulated: self.clock.elapsed(),
            jumps: self.jumps,
            messages: self.network.sent,
            lost: self.network.lost,
            ..Tally::default()
        };
        self.wire.check_end();
        for party in &mut self.parties {
            let left = party.occupancy();
            assert_eq!(
                left,
                Occupancy { streams: left.streams, ..Occupancy::default() },
                "{} kept something",
                party.name()
            );
            party.check_end();
            tally += party.tally;
        }
        tally
    }

    fn note(&mut self, side: Side, verb: &str, message: &Message) {
        let Some(trace) = &mut self.trace else { return };
        let headers = message.headers();
        let what = match message {
            Message::Request(request) => request.method.to_string(),
            Message::Response(response) => response.status.to_string(),
        };
        let cseq = headers.cseq().map_or_else(|_| "?".to_owned(), |cseq| format!("{} {}", cseq.number, cseq.method));
        let call_id: String = headers.call_id().unwrap_or_default().chars().take(6).collect();
        let at = self.clock.elapsed().as_secs_f64();
        trace.push(format!("{at:9.3} {:8} {verb} {what:10} {cseq:12} {call_id}", NAMES[side]));
    }
}

impl Drop for Day {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let trace = self.trace.take().unwrap_or_default();
            eprintln!("{}\nreplay this day with OFFHOOK_SEED={}", trace.join("\n"), self.seed);
        }
    }
}
