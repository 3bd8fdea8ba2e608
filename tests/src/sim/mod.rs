//! Whole calls on a virtual clock: a scripted trunk, a link that misbehaves from a seed, and the gateway under test.
//!
//! [`check_flow`] runs a script and compares the ladder it leaves. A run is its seed: `OFFHOOK_SEED=7` replays it to
//! the byte. After every run the laws of `laws` are checked.

mod clock;
pub mod day;
mod gateway;
mod ladder;
mod laws;
mod link;
pub mod sdp;
pub mod sync;
mod trunk;

pub use clock::{Clock, ms};
pub use gateway::{Gateway, Script, ScriptedGateway};
pub use ladder::Way;
pub use link::Link;
pub use trunk::{Trunk, TrunkCall, Until};

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use expect_test::Expect;
use sip_stack::endpoint::EndpointConfig;
use sip_stack::message::{Limits, Message, Method};

use self::ladder::Ladder;
use self::laws::Laws;

const TRUNK: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::new(192, 0, 2, 10)), 5060);
const GATEWAY: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::new(192, 0, 2, 20)), 5060);
/// Inputs after which a run counts as one that never ends.
const STEP_LIMIT: usize = 100_000;

/// One run.
#[derive(Debug)]
pub struct Sim<G: Gateway = ScriptedGateway> {
    clock: Clock,
    /// Between trunk and gateway.
    pub trunk_link: Link,
    /// Who calls.
    pub trunk: Trunk,
    /// Who is called.
    pub gateway: G,
    /// By arrival, then by the order of sending.
    in_flight: BTreeMap<(Instant, u64), (Way, Vec<u8>)>,
    sent: u64,
    steps: usize,
    ladder: Ladder,
    laws: Laws,
}

impl Sim {
    /// A run with a scripted gateway.
    pub fn new(seed: u64) -> Self {
        let accepted = vec![Method::Refer];
        let config = EndpointConfig { accepted, ..EndpointConfig::new(GATEWAY, seed_bytes(seed, b'g')) };
        Self::with_gateway(seed, ScriptedGateway::new(config, GATEWAY, TRUNK))
    }
}

impl<G: Gateway> Sim<G> {
    /// A run with any gateway.
    pub fn with_gateway(seed: u64, gateway: G) -> Self {
        let clock = Clock::default();
        let config = EndpointConfig::new(TRUNK, seed_bytes(seed, b't'));
        Self {
            trunk: Trunk::new(config, TRUNK, GATEWAY, clock.clone()),
            clock,
            trunk_link: Link::new(seed),
            gateway,
            in_flight: BTreeMap::new(),
            sent: 0,
            steps: 0,
            ladder: Ladder::default(),
            laws: Laws::default(),
        }
    }

    /// The trace so far.
    pub fn ladder(&self) -> &str {
        self.ladder.text()
    }

    /// Runs until it has happened.
    ///
    /// # Panics
    /// It never does.
    pub fn run_until(&mut self, until: Until) {
        self.drain();
        while !self.trunk.has_happened(until) {
            assert!(self.step(None), "{until:?} never happens:\n{}", self.ladder());
        }
    }

    /// Runs for a while.
    pub fn run_for(&mut self, duration: Duration) {
        let end = self.clock.now() + duration;
        self.drain();
        while self.step(Some(end)) {}
        self.clock.advance_to(end);
    }

    /// Has the gateway's answer reached the trunk?
    pub fn trunk_has_answered(&self, call: TrunkCall) -> bool {
        self.trunk.has_happened(call.confirmed())
    }

    /// Runs until nothing moves and nobody waits, then checks the laws.
    ///
    /// # Panics
    /// A law is broken.
    pub fn finish(&mut self) {
        self.drain();
        while self.step(None) {}
        self.laws.check(self.trunk.occupancy(), self.gateway.occupancy(), self.gateway.calls());
    }

    /// The next thing that happens, not after `end`. `false`: nothing does.
    fn step(&mut self, end: Option<Instant>) -> bool {
        let arrival = self.in_flight.first_key_value().map(|((at, _), _)| *at);
        let timer = self.trunk.poll_timeout().into_iter().chain(self.gateway.poll_timeout()).min();
        let Some(at) = arrival.into_iter().chain(timer).min() else { return false };
        if end.is_some_and(|end| at > end) {
            return false;
        }
        self.steps += 1;
        assert!(self.steps < STEP_LIMIT, "the run never ends:\n{}", self.ladder());
        self.clock.advance_to(at);
        match self.in_flight.first_entry().filter(|entry| entry.key().0 <= at) {
            Some(entry) => {
                let (way, bytes) = entry.remove();
                self.arrive(way, &bytes);
            }
            None => {
                self.trunk.handle_timeout(at);
                self.gateway.handle_timeout(at);
            }
        }
        self.drain();
        true
    }

    fn arrive(&mut self, way: Way, bytes: &[u8]) {
        if let Ok(message) = Message::parse(bytes, &Limits::default()) {
            self.laws.arrived(way, &message);
        }
        match way {
            Way::ToGateway => self.gateway.handle_datagram(bytes, self.clock.now()),
            Way::ToTrunk => self.trunk.handle_datagram(bytes, self.clock.now()),
        }
    }

    fn drain(&mut self) {
        while let Some(transmit) = self.trunk.poll_transmit() {
            self.send(Way::ToGateway, transmit.bytes);
        }
        while let Some(transmit) = self.gateway.poll_transmit() {
            self.send(Way::ToTrunk, transmit.bytes);
        }
        while let Some(note) = self.gateway.poll_note() {
            self.ladder.note(self.clock.elapsed(), &note);
        }
    }

    fn send(&mut self, way: Way, bytes: Vec<u8>) {
        let message = Message::parse(&bytes, &Limits::default()).ok();
        let delays = self.trunk_link.carry(message.as_ref());
        self.ladder.sent(self.clock.elapsed(), way, &bytes, message.as_ref(), delays.is_empty());
        if let Some(message) = &message {
            self.laws.sent(way, message);
        }
        for delay in delays {
            self.in_flight.insert((self.clock.now() + delay, self.sent), (way, bytes.clone()));
            self.sent += 1;
        }
    }
}

fn seed_bytes(seed: u64, role: u8) -> [u8; 32] {
    let mut bytes = [role; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    bytes
}

/// `OFFHOOK_SEED`, if it is set.
///
/// # Panics
/// It is set to something that is no number.
pub fn replayed_seed() -> Option<u64> {
    std::env::var("OFFHOOK_SEED").ok().map(|seed| seed.parse().expect("OFFHOOK_SEED is a number"))
}

/// Runs a script to its end with one seed and gives back the ladder. A panic on the way prints the seed and the ladder.
///
/// # Panics
/// A law is broken.
pub fn run(seed: u64, script: impl FnOnce(&mut Sim)) -> String {
    let mut replay = Replay { seed, sim: Sim::new(seed) };
    script(&mut replay.sim);
    replay.sim.finish();
    replay.sim.ladder().to_owned()
}

/// Runs a script, checks the laws and compares the ladder.
///
/// # Panics
/// The ladder is another one, or a law is broken.
pub fn check_flow(script: impl FnOnce(&mut Sim), expect: Expect) {
    let seed = replayed_seed().unwrap_or(1);
    expect.assert_eq(&run(seed, script));
}

/// Says how to replay a run that panics.
struct Replay {
    seed: u64,
    sim: Sim,
}

impl Drop for Replay {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}replay with OFFHOOK_SEED={}", self.sim.ladder(), self.seed);
        }
    }
}
