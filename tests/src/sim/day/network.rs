//! What lies between the two: datagrams that get lost, doubled and overtaken, or one connection that is cut now and then.

use std::collections::{BTreeMap, VecDeque};
use std::time::Instant;

use sip_stack::endpoint::{FlowId, Transmit, Transport};

use super::super::link::Link;
use super::Side;
use super::chance::Chance;
use super::party::Party;
use crate::sim::ms;

/// What reaches a side.
#[derive(Debug, Clone)]
pub(super) enum Arrival {
    Datagram(Vec<u8>),
    /// A piece of a connection, and the messages that are complete with it.
    Bytes {
        flow: FlowId,
        bytes: Vec<u8>,
        messages: Vec<Vec<u8>>,
    },
    Opened(FlowId),
    Closed(FlowId),
}

/// See the [module](self).
#[derive(Debug)]
pub(super) struct Network {
    link: Link,
    /// By arrival, then by the order of sending.
    in_flight: BTreeMap<(Instant, u64), (Side, Arrival)>,
    /// What has come for a side that stands still.
    held: [VecDeque<Arrival>; 2],
    count: u64,
    /// Nothing passes until then.
    silent_until: Option<Instant>,
    /// A cut in every so many messages; zero never.
    cut_in: u32,
    stream: Option<Stream>,
    pub(super) sent: usize,
    pub(super) lost: usize,
}

/// The connection both sides use; its flow has the same number on both.
#[derive(Debug)]
struct Stream {
    flow: u64,
    /// Bytes stay in order: the latest arrival at each side.
    latest: [Option<Instant>; 2],
}

impl Network {
    /// Every fourth day runs over TCP.
    pub(super) fn new(seed: u64, chance: &mut Chance) -> Self {
        let mut link = Link::new(seed);
        link.delay = chance.between(1, 80);
        link.jitter = chance.between(0, 120);
        link.loss_percent = chance.below(25);
        link.duplicate_percent = chance.below(15);
        let stream = (seed % 4 == 3).then_some(Stream { flow: 1, latest: [None; 2] });
        Self {
            link,
            in_flight: BTreeMap::new(),
            held: [VecDeque::new(), VecDeque::new()],
            count: 0,
            silent_until: None,
            cut_in: chance.below(3) * 150,
            stream,
            sent: 0,
            lost: 0,
        }
    }

    pub(super) fn is_stream(&self) -> bool {
        self.stream.is_some()
    }

    /// Connects, if this is a day with a connection.
    pub(super) fn open(&mut self, parties: &mut [Party; 2], now: Instant) {
        if let Some(stream) = &self.stream {
            parties.iter_mut().for_each(|party| party.handle_stream_opened(FlowId(stream.flow), now));
        }
    }

    pub(super) fn send(&mut self, from: Side, transmit: Transmit, now: Instant, chance: &mut Chance) {
        self.sent += 1;
        let is_cut = self.cut_in > 0 && chance.below(self.cut_in) == 0;
        match transmit.transport {
            Transport::Udp => {
                if is_cut {
                    self.silent_until = Some(now + chance.between(500, 45_000));
                }
                self.send_datagram(1 - from, transmit.bytes, now);
            }
            Transport::Tcp | Transport::Tls => {
                self.send_bytes(from, transmit, now, chance);
                if is_cut {
                    self.cut(now);
                }
            }
        }
    }

    fn send_datagram(&mut self, to: Side, bytes: Vec<u8>, now: Instant) {
        let is_silent = self.silent_until.is_some_and(|until| now < until);
        let delays = if is_silent { Vec::new() } else { self.link.carry(None) };
        self.lost += usize::from(delays.is_empty());
        for delay in delays {
            self.put(now + delay, to, Arrival::Datagram(bytes.clone()));
        }
    }

    /// In order and whole, but in pieces.
    fn send_bytes(&mut self, from: Side, transmit: Transmit, now: Instant, chance: &mut Chance) {
        let to = 1 - from;
        let delay = self.link.delay + chance.between(0, 30);
        let Some(stream) = &mut self.stream else { return };
        // Whatever connection it names: any open one to the peer will do if that one is gone.
        let flow = FlowId(stream.flow);
        let mut at = stream.latest[to].unwrap_or(now).max(now + delay);
        let whole = transmit.bytes;
        let mut rest = &whole[..];
        let mut pieces = Vec::new();
        while !rest.is_empty() {
            let length = 1 + chance.below(u32::try_from(rest.len()).unwrap_or(u32::MAX)) as usize;
            let (piece, left) = rest.split_at(length.min(rest.len()));
            rest = left;
            pieces.push((at, piece.to_vec()));
            at += chance.between(0, 3);
        }
        stream.latest[to] = Some(at);
        let last = pieces.len().saturating_sub(1);
        for (index, (at, bytes)) in pieces.into_iter().enumerate() {
            let messages = if index == last { vec![whole.clone()] } else { Vec::new() };
            self.put(at, to, Arrival::Bytes { flow, bytes, messages });
        }
    }

    /// The connection breaks: what is on its way is lost, both sides learn of it, and there is a new one a moment later.
    fn cut(&mut self, now: Instant) {
        let Some(stream) = &mut self.stream else { return };
        let old = FlowId(stream.flow);
        stream.flow += 1;
        stream.latest = [None; 2];
        let new = FlowId(stream.flow);
        let lost = |arrival: &Arrival| matches!(arrival, Arrival::Bytes { flow, .. } if *flow == old);
        let before = self.in_flight.len();
        self.in_flight.retain(|_, (_, arrival)| !lost(arrival));
        self.lost += before - self.in_flight.len();
        for side in [0, 1] {
            self.put(now + ms(1), side, Arrival::Closed(old));
            self.put(now + ms(1), side, Arrival::Opened(new));
        }
    }

    /// Nothing is lost from now on, so that the day can end.
    pub(super) fn heal(&mut self) {
        self.silent_until = None;
        self.cut_in = 0;
        self.link.loss_percent = self.link.loss_percent.min(10);
    }

    fn put(&mut self, at: Instant, to: Side, arrival: Arrival) {
        self.in_flight.insert((at, self.count), (to, arrival));
        self.count += 1;
    }

    /// When the next thing arrives; at once, if it waits for a side that moves again.
    pub(super) fn next_arrival(&self, now: Instant, stands_still: impl Fn(Side) -> bool) -> Option<Instant> {
        if (0..2).any(|side| !self.held[side].is_empty() && !stands_still(side)) {
            return Some(now);
        }
        self.in_flight.first_key_value().map(|((at, _), _)| *at)
    }

    /// What is there at `now` for a side that does not stand still.
    pub(super) fn arrive(&mut self, now: Instant, stands_still: impl Fn(Side) -> bool) -> Option<(Side, Arrival)> {
        for side in [0, 1] {
            if !stands_still(side)
                && let Some(arrival) = self.held[side].pop_front()
            {
                return Some((side, arrival));
            }
        }
        let entry = self.in_flight.first_entry().filter(|entry| entry.key().0 <= now)?;
        let (_, (side, arrival)) = entry.remove_entry();
        if stands_still(side) {
            self.held[side].push_back(arrival);
            return None;
        }
        Some((side, arrival))
    }
}
