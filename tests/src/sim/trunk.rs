//! The provider's side: calls made with our own endpoint, and raw bytes for what a well-behaved one never sends.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Instant;

use sip_stack::digest::Credentials;
use sip_stack::endpoint::{
    CallHandle, Destination, Endpoint, EndpointConfig, Event, Occupancy, OutgoingInvite, OutgoingRefer, Source,
    TransferNews, Transmit, Transport,
};
use sip_stack::message::{NameAddr, Uri};

use super::clock::Clock;
use super::sdp;

/// A call of the trunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct TrunkCall(CallHandle);

/// What a run can wait for.
#[derive(Debug, Clone, Copy)]
pub enum Until {
    /// The gateway answered and the trunk has confirmed it.
    Confirmed(TrunkCall),
    /// The gateway said that it rings.
    Ringing(TrunkCall),
    /// So many re-INVITEs of the trunk were answered.
    Reinvited(TrunkCall, usize),
    /// Nothing more is told about the transfer it asked for.
    Transferred(TrunkCall),
    /// It is over for the trunk.
    Ended(TrunkCall),
}

impl TrunkCall {
    /// See [`Until::Confirmed`].
    pub fn confirmed(self) -> Until {
        Until::Confirmed(self)
    }

    /// See [`Until::Ringing`].
    pub fn ringing(self) -> Until {
        Until::Ringing(self)
    }

    /// See [`Until::Reinvited`].
    pub fn reinvited(self, times: usize) -> Until {
        Until::Reinvited(self, times)
    }

    /// See [`Until::Transferred`].
    pub fn transferred(self) -> Until {
        Until::Transferred(self)
    }

    /// See [`Until::Ended`].
    pub fn ended(self) -> Until {
        Until::Ended(self)
    }
}

/// The scripted carrier at the far end of the link; see its module.
#[derive(Debug)]
pub struct Trunk {
    endpoint: Endpoint,
    clock: Clock,
    source: Source,
    /// What it answers challenges with.
    pub credentials: Vec<Credentials>,
    /// Everything its endpoint told.
    pub events: Vec<Event>,
    raw: VecDeque<Vec<u8>>,
}

impl Trunk {
    /// A trunk at `local` that calls `peer`.
    pub fn new(config: EndpointConfig, local: SocketAddr, peer: SocketAddr, clock: Clock) -> Self {
        Self {
            endpoint: Endpoint::new(config),
            clock,
            source: Source { transport: Transport::Udp, local, peer, flow: None },
            credentials: Vec::new(),
            events: Vec::new(),
            raw: VecDeque::new(),
        }
    }

    /// Calls with an offer.
    pub fn invite(&mut self, target: &str) -> TrunkCall {
        self.call(target, Some(sdp::offer()))
    }

    /// Calls without one.
    pub fn invite_without_offer(&mut self, target: &str) -> TrunkCall {
        self.call(target, None)
    }

    fn call(&mut self, target: &str, offer: Option<Vec<u8>>) -> TrunkCall {
        let target = Uri::parse(target.as_bytes()).expect("the test's own URI");
        let from = Uri::parse(b"sip:caller@trunk.example").expect("a constant");
        let destination = Destination::udp(self.source.peer);
        let credentials = self.credentials.clone();
        let invite =
            OutgoingInvite { offer, credentials, ..OutgoingInvite::new(target, NameAddr::new(from), destination) };
        TrunkCall(self.endpoint.invite(invite, self.clock.now()).expect("the trunk has room"))
    }

    /// Gives the call up. It may have been answered or have failed in the meantime: then nothing happens.
    pub fn cancel(&mut self, call: TrunkCall) {
        let _ = self.endpoint.cancel(call.0, None, self.clock.now());
    }

    /// Hangs up, if there is anything left to hang up.
    pub fn bye(&mut self, call: TrunkCall) {
        let _ = self.endpoint.bye(call.0, None, self.clock.now());
    }

    /// Offers another session.
    pub fn reinvite(&mut self, call: TrunkCall, offer: Vec<u8>) {
        self.endpoint.reinvite(call.0, Some(offer), self.clock.now()).expect("the call is up");
    }

    /// Sends the gateway elsewhere, if the call is up.
    pub fn refer(&mut self, call: TrunkCall) {
        let target = Uri::parse(b"sip:+15551234567@trunk.example").expect("a constant");
        let refer = OutgoingRefer::new(NameAddr::new(target));
        let _ = self.endpoint.refer(call.0, refer, self.clock.now());
    }

    /// Offers another session by UPDATE, unless the call has ended or another offer is under way.
    pub fn try_update(&mut self, call: TrunkCall, offer: Vec<u8>) {
        let _ = self.endpoint.update(call.0, Some(offer), self.clock.now());
    }

    /// Offers another session, unless the call has ended or another offer is under way.
    pub fn try_reinvite(&mut self, call: TrunkCall, offer: Vec<u8>) {
        let _ = self.endpoint.reinvite(call.0, Some(offer), self.clock.now());
    }

    /// Sends any bytes from the trunk's socket.
    pub fn send_raw(&mut self, bytes: impl Into<Vec<u8>>) {
        self.raw.push_back(bytes.into());
    }

    pub(super) fn has_happened(&self, until: Until) -> bool {
        let count = |is_it: &dyn Fn(&Event) -> bool| self.events.iter().filter(|event| is_it(event)).count();
        match until {
            Until::Confirmed(wanted) => count(&|e| matches!(e, Event::Answered { call, .. } if *call == wanted.0)) > 0,
            Until::Ringing(wanted) => {
                count(&|e| matches!(e, Event::ProvisionalReceived { call, .. } if *call == wanted.0)) > 0
            }
            Until::Reinvited(wanted, times) => {
                count(&|e| matches!(e, Event::ReinviteAnswered { call, .. } if *call == wanted.0)) >= times
            }
            Until::Transferred(wanted) => {
                let is_over = |news: &TransferNews| matches!(news, TransferNews::Progress { is_terminated: true, .. });
                count(&|e| matches!(e, Event::Transfer { call, news } if *call == wanted.0 && is_over(news))) > 0
            }
            Until::Ended(wanted) => count(&|e| matches!(e, Event::CallEnded { call, .. } if *call == wanted.0)) > 0,
        }
    }

    pub(super) fn handle_datagram(&mut self, bytes: &[u8], now: Instant) {
        self.endpoint.handle_datagram(self.source, bytes, now);
        self.note_events(now);
    }

    pub(super) fn handle_timeout(&mut self, now: Instant) {
        self.endpoint.handle_timeout(now);
        self.note_events(now);
    }

    fn note_events(&mut self, now: Instant) {
        while let Some(event) = self.endpoint.poll_event() {
            if let Event::Answered { call, .. } = &event {
                // Misuse, and so without effect, unless the 2xx held an offer.
                let _ = self.endpoint.ack_with_answer(*call, sdp::answer(), now);
            }
            self.events.push(event);
        }
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.endpoint.poll_timeout().map(|(at, _)| at)
    }

    pub(super) fn poll_transmit(&mut self) -> Option<Transmit> {
        let raw = self.raw.pop_front().map(|bytes| Transmit {
            transport: Transport::Udp,
            local: self.source.local,
            peer: self.source.peer,
            flow: None,
            bytes,
        });
        raw.or_else(|| self.endpoint.poll_transmit())
    }

    pub(super) fn occupancy(&self) -> Occupancy {
        self.endpoint.occupancy()
    }
}
