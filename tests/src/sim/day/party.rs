//! One side of a day: an endpoint, its clock, and the laws about what it is told. Who uses it is in [`user`](super::user).

use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use sip_stack::digest::{Authority, AuthorityConfig, Hash};
use sip_stack::endpoint::{
    Destination, Endpoint, EndpointConfig, Event, FlowId, Occupancy, RegistrationHandle, SessionTimerConfig, Source,
    SubscriptionHandle, Transmit, Transport,
};
use sip_stack::message::Method;

use super::chance::Chance;
use super::life::Lives;
use super::user::Step;
use super::{NAMES, Side, Tally};

/// What a party with a password guards.
pub(super) const REALM: &str = "day";
pub(super) const USER: &str = "bob";
pub(super) const PASSWORD: &str = "zanzibar";

/// See the [module](self).
pub(super) struct Party {
    pub(super) side: Side,
    pub(super) endpoint: Endpoint,
    pub(super) chance: Chance,
    pub(super) lives: Lives,
    pub(super) tally: Tally,
    pub(super) authority: Authority,
    /// Where the other one is.
    pub(super) destination: Destination,
    pub(super) registration: Option<RegistrationHandle>,
    pub(super) subscriptions: Vec<SubscriptionHandle>,
    pub(super) is_closed: bool,
    /// What the user means to do, by its own clock.
    pub(super) due: BTreeMap<(Instant, u64), Step>,
    pub(super) steps: u64,
    source: Source,
    /// How far its clock is ahead of that of the day.
    ahead: Duration,
    /// How often its clock has leapt.
    pub(super) epoch: usize,
    still_until: Option<Instant>,
    /// Call-IDs of INVITEs that got no answer.
    pub(super) given_up: Vec<String>,
    pub(super) outbox: VecDeque<Transmit>,
    notes: Vec<String>,
}

fn address(side: Side) -> SocketAddr {
    let last = if side == 0 { 20 } else { 10 };
    SocketAddr::new(IpAddr::V4(Ipv4Addr::new(192, 0, 2, last)), 5060)
}

impl Party {
    pub(super) fn new(side: Side, seed: u64, uses_tcp: bool, now: Instant) -> Self {
        let mut chance = Chance::new(seed, 1 + side as u64);
        let transport = if uses_tcp { Transport::Tcp } else { Transport::Udp };
        let mut key = [0x40 + side as u8; 32];
        key[..8].copy_from_slice(&seed.to_le_bytes());
        let mut config = EndpointConfig::new(address(side), key);
        config.accepted = vec![Method::Refer, Method::Register, Method::Message];
        config.packages = vec!["message-summary".to_owned()];
        // Short sessions, so that they are refreshed within a day; sometimes shorter than the other side bears.
        config.session_timer = chance.percent(80).then(|| SessionTimerConfig {
            interval_seconds: 90 + chance.below(120),
            min_seconds: 90 + chance.below(2) * 60,
        });
        config.keep_alive = Some(Duration::from_secs(30));
        let challenge = AuthorityConfig { hashes: vec![Hash::Sha256, Hash::Md5], ..AuthorityConfig::new(REALM) };
        let mut party = Self {
            side,
            endpoint: Endpoint::new(config),
            chance,
            lives: Lives::default(),
            tally: Tally::default(),
            authority: Authority::new(challenge, key, now),
            destination: Destination { transport, peer: address(1 - side) },
            registration: None,
            subscriptions: Vec::new(),
            is_closed: false,
            due: BTreeMap::new(),
            steps: 0,
            source: Source { transport, local: address(side), peer: address(1 - side), flow: None },
            ahead: Duration::ZERO,
            epoch: 0,
            still_until: None,
            given_up: Vec::new(),
            outbox: VecDeque::new(),
            notes: Vec::new(),
        };
        party.begin(now);
        party
    }

    pub(super) fn name(&self) -> &'static str {
        NAMES[self.side]
    }

    /// Its own time, at a time of the day.
    pub(super) fn now(&self, at: Instant) -> Instant {
        at + self.ahead
    }

    pub(super) fn leap(&mut self, by: Duration) {
        self.ahead += by;
        self.epoch += 1;
    }

    pub(super) fn stand_still(&mut self, until: Instant) {
        self.still_until = Some(until);
    }

    pub(super) fn stands_still(&self, at: Instant) -> bool {
        self.still_until.is_some_and(|until| at < until)
    }

    /// Has it stood still until now?
    pub(super) fn moves_again(&mut self, at: Instant) -> bool {
        self.still_until.take_if(|until| *until <= at).is_some()
    }

    pub(super) fn handle_datagram(&mut self, bytes: &[u8], at: Instant) {
        let now = self.now(at);
        if self.answer_notify(bytes) {
            return;
        }
        self.endpoint.handle_datagram(self.source, bytes, now);
        self.follow(now);
    }

    pub(super) fn handle_stream_opened(&mut self, flow: FlowId, at: Instant) {
        let Source { transport, local, peer, .. } = self.source;
        let now = self.now(at);
        self.endpoint.handle_stream_opened(flow, transport, local, peer, now);
        self.follow(now);
    }

    pub(super) fn handle_stream_closed(&mut self, flow: FlowId, at: Instant) {
        let now = self.now(at);
        self.endpoint.handle_stream_closed(flow, now);
        self.follow(now);
    }

    pub(super) fn handle_stream_bytes(&mut self, flow: FlowId, bytes: &[u8], at: Instant) {
        let now = self.now(at);
        self.endpoint.handle_stream_bytes(flow, bytes, now);
        self.follow(now);
    }

    /// Works off what is due, unless it stands still.
    pub(super) fn handle_timeout(&mut self, at: Instant) {
        if self.stands_still(at) {
            return;
        }
        let now = self.now(at);
        self.endpoint.handle_timeout(now);
        self.follow(now);
        while let Some(entry) = self.due.first_entry().filter(|entry| entry.key().0 <= now) {
            let step = entry.remove();
            self.take(step, now);
            self.follow(now);
        }
    }

    /// The next deadline, in the time of the day.
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        if self.still_until.is_some() {
            return self.still_until;
        }
        let step = self.due.first_key_value().map(|((at, _), _)| *at);
        let timer = self.endpoint.poll_timeout().filter(|_| !self.only_pings()).map(|(at, _)| at);
        step.into_iter().chain(timer).min().map(|at| at - self.ahead)
    }

    /// A connection that is kept alive would keep the day from ending.
    fn only_pings(&self) -> bool {
        let occupancy = self.endpoint.occupancy();
        self.is_closed && occupancy == Occupancy { streams: occupancy.streams, ..Occupancy::default() }
    }

    pub(super) fn poll_transmit(&mut self) -> Option<Transmit> {
        self.outbox.pop_front().or_else(|| self.endpoint.poll_transmit())
    }

    fn follow(&mut self, now: Instant) {
        while let Some(event) = self.endpoint.poll_event() {
            self.notes.push(short(&event));
            self.lives.check(&event);
            self.on_event(event, now);
        }
    }

    pub(super) fn occupancy(&self) -> Occupancy {
        self.endpoint.occupancy()
    }

    pub(super) fn check_end(&self) {
        self.lives.check_end();
        assert_eq!(self.endpoint.counters().dropped_transmits, 0, "{} dropped messages of its own", self.name());
    }

    pub(super) fn take_given_up(&mut self) -> Vec<String> {
        std::mem::take(&mut self.given_up)
    }

    pub(super) fn take_notes(&mut self) -> Vec<String> {
        std::mem::take(&mut self.notes)
    }

    pub(super) fn source(&self) -> Source {
        self.source
    }
}

/// An event without its messages.
fn short(event: &Event) -> String {
    let text = format!("{event:?}");
    let end = text.find("request: Request").or(text.find("response: Response")).unwrap_or(text.len()).min(120);
    format!("is told {}", &text[..text.floor_char_boundary(end)])
}
