//! Two endpoints with calls between them; the input says what their users do, and what the network does to each message.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use sip_stack::endpoint::{
    CallHandle, Destination, DialogRequest, Endpoint, EndpointConfig, Event, Occupancy, OutgoingInvite, OutgoingRefer,
    Source, Transport,
};
use sip_stack::message::{Method, NameAddr, StatusCode, Uri};

use super::script::Script;
use super::transactions::{ORIGIN, SDP};

/// # Panics
/// Something does not hold.
pub fn run(input: &[u8]) {
    let mut pair = Pair::new();
    let mut script = Script::new(input);
    while !script.is_over() {
        pair.act(&mut script);
    }
    pair.wind_up();
}

struct Pair {
    sides: [Side; 2],
    /// To each side.
    in_flight: [VecDeque<Vec<u8>>; 2],
    now: Instant,
}

struct Side {
    endpoint: Endpoint,
    source: Source,
    calls: Vec<CallHandle>,
    ended: BTreeSet<CallHandle>,
    waiting: Vec<(CallHandle, sip_stack::endpoint::PeerRequestHandle)>,
    /// The highest CSeq of each dialog; ACK and CANCEL repeat one.
    numbers: BTreeMap<DialogId, u32>,
    known: BTreeSet<Vec<u8>>,
}

/// Call-ID, tag of From, tag of To: empty before there is a dialog. One INVITE may make several (RFC 3261, 13.2.2.4).
type DialogId = (String, String, String);

fn address(side: usize) -> SocketAddr {
    SocketAddr::from(([192, 0, 2, 1 + side as u8], 5060))
}

fn uri() -> Uri {
    Uri::parse(b"sip:100@192.0.2.1").expect("a constant")
}

impl Pair {
    fn new() -> Self {
        let side = |side: usize| {
            let mut config = EndpointConfig::new(address(side), [side as u8; 32]);
            config.accepted = vec![Method::Refer];
            let (local, peer) = (address(side), address(1 - side));
            Side {
                endpoint: Endpoint::new(config),
                source: Source { transport: Transport::Udp, local, peer, flow: None },
                calls: Vec::new(),
                ended: BTreeSet::new(),
                waiting: Vec::new(),
                numbers: BTreeMap::new(),
                known: BTreeSet::new(),
            }
        };
        Self { sides: [side(0), side(1)], in_flight: [VecDeque::new(), VecDeque::new()], now: *ORIGIN }
    }

    fn act(&mut self, script: &mut Script<'_>) {
        let side = usize::from(script.chance());
        match script.below(8) {
            0..3 => self.deliver(side, script),
            3 => self.wait(Duration::from_millis(u64::from(script.word()))),
            _ => self.sides[side].command(script, self.now),
        }
        self.drain();
    }

    /// One of the first four messages on their way: carried, lost, doubled, or damaged.
    fn deliver(&mut self, side: usize, script: &mut Script<'_>) {
        let at = script.below(4);
        let Some(bytes) = self.in_flight[side].remove(at.min(self.in_flight[side].len().saturating_sub(1))) else {
            return;
        };
        match script.below(8) {
            0 => {}
            1 => {
                self.in_flight[side].push_back(bytes.clone());
                self.sides[side].hear(&bytes, self.now);
            }
            _ => self.sides[side].hear(&bytes, self.now),
        }
    }

    fn drain(&mut self) {
        for side in [0, 1] {
            self.sides[side].follow();
            while let Some(bytes) = self.sides[side].next_message() {
                // Bounded: what waits longest is lost.
                if self.in_flight[1 - side].len() >= 64 {
                    self.in_flight[1 - side].pop_front();
                }
                self.in_flight[1 - side].push_back(bytes);
            }
        }
    }

    fn wait(&mut self, duration: Duration) {
        let end = self.now + duration;
        while let Some(at) = self.next_deadline().filter(|at| *at <= end) {
            self.now = self.now.max(at);
            for side in &mut self.sides {
                side.endpoint.handle_timeout(self.now);
            }
            self.drain();
        }
        self.now = end;
    }

    fn next_deadline(&self) -> Option<Instant> {
        self.sides.iter().filter_map(|side| side.endpoint.poll_timeout()).map(|(at, _)| at).min()
    }

    /// Everybody hangs up, and the network carries everything.
    fn wind_up(&mut self) {
        for _ in 0..300 {
            for side in &mut self.sides {
                side.hang_up_all(self.now);
            }
            self.drain();
            while let Some(side) = (0..2).find(|side| !self.in_flight[*side].is_empty()) {
                if let Some(bytes) = self.in_flight[side].pop_front() {
                    self.sides[side].hear(&bytes, self.now);
                }
                self.drain();
            }
            self.wait(Duration::from_secs(1));
            // Whoever rings has no deadline, but hangs up in the next round.
            if self.sides.iter().all(|side| side.endpoint.occupancy() == Occupancy::default()) {
                break;
            }
        }
        for side in &self.sides {
            let left = side.endpoint.occupancy();
            assert_eq!(left, Occupancy::default());
            assert_eq!(side.endpoint.poll_timeout(), None, "a timer of nobody");
            assert_eq!(side.ended.len(), side.calls.len(), "calls begun and ended");
        }
    }
}

impl Side {
    fn hear(&mut self, bytes: &[u8], now: Instant) {
        self.endpoint.handle_datagram(self.source, bytes, now);
    }

    fn command(&mut self, script: &mut Script<'_>, now: Instant) {
        let which = script.below(18);
        if which < 3 {
            return self.place(script, now);
        }
        if let Some((call, request)) = self.waiting.pop_if(|_| which == 3) {
            if let Ok(refer) = self.endpoint.accept_refer(call, request, now) {
                let _ = self.endpoint.report_refer(refer, script.pick(&[StatusCode::OK, StatusCode::RINGING]), now);
            }
            return;
        }
        let Some(call) = self.calls.iter().rev().nth(script.below(3)).copied() else { return };
        let endpoint = &mut self.endpoint;
        // Misuse is part of the point.
        let _ = match which {
            4 => endpoint.ring(call, None, now),
            5 => endpoint.ring(call, Some(SDP.into()), now),
            6 | 7 => endpoint.answer(call, SDP.into(), now),
            8 => endpoint.reject(call, StatusCode::BUSY_HERE, &[], now),
            9 => endpoint.answer_reinvite(call, SDP.into(), now),
            10 => endpoint.answer_update(call, SDP.into(), now),
            11 => endpoint.reinvite(call, script.chance().then(|| SDP.into()), now),
            12 => endpoint.update(call, script.chance().then(|| SDP.into()), now),
            13 => endpoint.ack_with_answer(call, SDP.into(), now),
            14 => endpoint.cancel(call, None, now),
            15 => endpoint.refer(call, OutgoingRefer::new(NameAddr::new(uri())), now),
            16 => endpoint.request_within(call, DialogRequest::new(Method::Info), now).map(|_| ()),
            _ => endpoint.bye(call, None, now),
        };
    }

    fn place(&mut self, script: &mut Script<'_>, now: Instant) {
        let invite = OutgoingInvite::new(uri(), NameAddr::new(uri()), Destination::udp(self.source.peer));
        let offer = script.chance().then(|| SDP.into());
        if self.calls.len() - self.ended.len() < 4
            && let Ok(call) = self.endpoint.invite(OutgoingInvite { offer, ..invite }, now)
        {
            self.calls.push(call);
        }
    }

    fn hang_up_all(&mut self, now: Instant) {
        for call in self.calls.iter().filter(|call| !self.ended.contains(call)) {
            let _ = self.endpoint.reject(*call, StatusCode::BUSY_HERE, &[], now);
            let _ = self.endpoint.bye(*call, None, now);
        }
    }

    fn follow(&mut self) {
        while let Some(event) = self.endpoint.poll_event() {
            if let Some(call) = event.call() {
                assert!(!self.ended.contains(&call), "after the end of its call: {event:?}");
            }
            if let Event::InviteReceived { call, .. } = event {
                self.calls.push(call);
            } else if let Event::ReferReceived { call, request, .. } = event {
                self.waiting.push((call, request));
            } else if let Event::CallEnded { call, .. } = event {
                assert!(self.calls.contains(&call));
                self.ended.insert(call);
            }
        }
    }

    /// The next message, whose CSeq is higher than all before in its dialog unless it is a repeat.
    fn next_message(&mut self) -> Option<Vec<u8>> {
        let bytes = self.endpoint.poll_transmit()?.bytes;
        let message = super::transactions::parse(&bytes).expect("we send SIP");
        let headers = message.headers();
        let is_request = matches!(message, sip_stack::message::Message::Request(_));
        let cseq = headers.cseq().expect("ours");
        if is_request && !matches!(cseq.method, Method::Ack | Method::Cancel) && self.known.insert(bytes.clone()) {
            let tag = |address: NameAddr| address.tag().unwrap_or_default().to_owned();
            let (from, to) = (tag(headers.from().expect("ours")), tag(headers.to().expect("ours")));
            let dialog = (headers.call_id().expect("ours"), from, to);
            let before = (dialog.0.clone(), dialog.1.clone(), String::new());
            let highest = self.numbers.get(&dialog).max(self.numbers.get(&before)).copied().unwrap_or_default();
            assert!(cseq.number > highest, "{} {} after {highest}", cseq.method, cseq.number);
            self.numbers.insert(dialog, cseq.number);
        }
        Some(bytes)
    }
}
