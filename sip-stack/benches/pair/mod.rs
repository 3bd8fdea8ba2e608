//! Two endpoints that call each other without losing anything, and how much memory lives.
#![allow(dead_code, reason = "a bench and a test use different parts of it")]

mod counting;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use sip_stack::endpoint::{
    CallHandle, Destination, Endpoint, EndpointConfig, Event, OutgoingInvite, Source, Transport,
};
use sip_stack::message::{NameAddr, Uri};

pub(crate) use counting::{Counting, live_bytes};

/// As a trunk's descriptions are: two codecs, telephone-event, some attributes.
pub(crate) const SDP: &[u8] = b"v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\n\
    m=audio 4000 RTP/AVP 8 0 101\r\na=rtpmap:8 PCMA/8000\r\na=rtpmap:0 PCMU/8000\r\n\
    a=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-16\r\na=ptime:20\r\na=maxptime:150\r\na=sendrecv\r\n";

const CALLER: ([u8; 4], u16) = ([192, 0, 2, 10], 5060);
const CALLEE: ([u8; 4], u16) = ([192, 0, 2, 20], 5060);

/// Both sides, and the time.
pub(crate) struct Pair {
    pub(crate) caller: Endpoint,
    pub(crate) callee: Endpoint,
    pub(crate) now: Instant,
}

impl Pair {
    pub(crate) fn new() -> Self {
        let endpoint = |address: ([u8; 4], u16), seed| {
            let mut config = EndpointConfig::new(SocketAddr::from(address), [seed; 32]);
            config.limits.transactions = 1 << 20;
            config.limits.calls = 1 << 16;
            // Standing calls stand still: their refreshes are not what is measured.
            config.session_timer = None;
            Endpoint::new(config)
        };
        #[expect(clippy::disallowed_methods, reason = "an origin for a virtual clock")]
        let now = Instant::now();
        Self { caller: endpoint(CALLER, 1), callee: endpoint(CALLEE, 2), now }
    }

    /// With so many calls up, and nothing else under way.
    pub(crate) fn with_calls(count: usize) -> Self {
        let mut pair = Self::new();
        for _ in 0..count {
            pair.call();
        }
        pair.let_timers_fire();
        pair
    }

    /// INVITE, 100, 200, ACK.
    pub(crate) fn call(&mut self) -> CallHandle {
        let uri = || Uri::parse(b"sip:+12125550142@192.0.2.20").expect("a constant");
        let destination = Destination::udp(SocketAddr::from(CALLEE));
        let invite = OutgoingInvite::new(uri(), NameAddr::new(uri()), destination).with_offer(SDP.to_vec());
        let call = self.caller.invite(invite, self.now).expect("there is room");
        self.pass();
        call
    }

    /// BYE, 200.
    pub(crate) fn hang_up(&mut self, call: CallHandle) {
        self.caller.bye(call, None, self.now).expect("the call is up");
        self.pass();
    }

    /// Carries messages to and fro until there are none.
    pub(crate) fn pass(&mut self) {
        loop {
            if let Some(transmit) = self.caller.poll_transmit() {
                self.callee.handle_datagram(to_callee(), &transmit.bytes, self.now);
            } else if let Some(transmit) = self.callee.poll_transmit() {
                self.caller.handle_datagram(to_caller(), &transmit.bytes, self.now);
            } else if let Some(event) = self.callee.poll_event() {
                if let Event::InviteReceived { call, .. } = event {
                    self.callee.answer(call, SDP.to_vec(), self.now).expect("the call is new");
                }
            } else if self.caller.poll_event().is_none() {
                return;
            }
        }
    }

    pub(crate) fn let_timers_fire(&mut self) {
        self.now += Duration::from_secs(60);
        self.caller.handle_timeout(self.now);
        self.callee.handle_timeout(self.now);
        self.pass();
    }
}

fn source((local_ip, local_port): ([u8; 4], u16), peer: ([u8; 4], u16)) -> Source {
    let local = SocketAddr::from((local_ip, local_port));
    Source { transport: Transport::Udp, local, peer: SocketAddr::from(peer), flow: None }
}

/// As the callee hears the caller.
pub(crate) fn to_callee() -> Source {
    source(CALLEE, CALLER)
}

/// As the caller hears the callee.
pub(crate) fn to_caller() -> Source {
    source(CALLER, CALLEE)
}
