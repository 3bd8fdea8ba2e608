//! One endpoint and whoever sends it anything: requests that are nearly right, from small sets so that they meet, bytes
//! over datagrams and streams, responses to what it sends, and time that passes. Nothing may be left in the end.

use std::net::SocketAddr;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use sip_stack::endpoint::{
    Accepting, Answer, CallHandle, Endpoint, EndpointConfig, EndpointLimits, Event, FlowId, Occupancy, Source,
    Transmit, Transport,
};
use sip_stack::message::{HeaderName, Limits, Message, Method, Response, StatusCode};

use super::script::Script;

/// Some instant to count from; no result depends on which one it is.
pub(super) static ORIGIN: LazyLock<Instant> = LazyLock::new(Instant::now);
/// Small, so that they are reached.
const LIMITS: EndpointLimits = EndpointLimits {
    transactions: 24,
    calls: 4,
    undecided: 2,
    streams: 2,
    registrations: 1,
    subscriptions: 2,
    queued: 64,
};
const METHODS: [&str; 14] = [
    "INVITE",
    "ACK",
    "BYE",
    "CANCEL",
    "OPTIONS",
    "INFO",
    "PRACK",
    "UPDATE",
    "REFER",
    "NOTIFY",
    "SUBSCRIBE",
    "REGISTER",
    "MESSAGE",
    "DANCE",
];
const EXTRAS: [&str; 16] = [
    "",
    "Contact: <sip:a@192.0.2.9>\r\n",
    "Contact: <sip:a@192.0.2.9>\r\nRequire: 100rel\r\n",
    "Contact: <sip:a@192.0.2.9>\r\nSupported: 100rel, timer\r\nSession-Expires: 90\r\n",
    "Contact: <sip:a@192.0.2.9>\r\nSession-Expires: 30\r\n",
    "Contact: <sip:a@192.0.2.9>\r\nAllow: INVITE, UPDATE\r\nRecord-Route: <sip:192.0.2.7;lr>\r\n",
    "Contact: <sip:a@192.0.2.9>\r\nEvent: message-summary\r\nExpires: 60\r\n",
    "Contact: <sip:a@192.0.2.9>\r\nEvent: message-summary\r\nExpires: 0\r\n",
    "Contact: <sip:a@192.0.2.9>\r\nRefer-To: <sip:b@192.0.2.9>\r\n",
    "Event: refer\r\nSubscription-State: terminated;reason=noresource\r\n",
    "RAck: 1 1 INVITE\r\n",
    "Require: nothing\r\n",
    "Max-Forwards: 0\r\n",
    "Accept: text/html\r\n",
    "Reason: Q.850;cause=16\r\n",
    "Contact: *\r\n",
];
pub(super) const SDP: &str =
    "v=0\r\no=- 1 1 IN IP4 192.0.2.9\r\ns=-\r\nc=IN IP4 192.0.2.9\r\nt=0 0\r\nm=audio 4000 RTP/AVP 8\r\n";

/// # Panics
/// Something does not hold.
pub fn run(input: &[u8]) {
    let mut rig = Rig::new();
    let mut script = Script::new(input);
    while !script.is_over() {
        rig.act(&mut script);
        rig.drain();
        rig.check_bounds();
    }
    rig.wind_up();
}

struct Rig {
    endpoint: Endpoint,
    now: Instant,
    sent: Vec<Transmit>,
    calls: Vec<CallHandle>,
    ended: usize,
    waiting: Vec<sip_stack::endpoint::PeerRequestHandle>,
    subscriptions: Vec<sip_stack::endpoint::SubscriptionHandle>,
}

fn address(last: u8) -> SocketAddr {
    SocketAddr::from(([192, 0, 2, last], 5060))
}

impl Rig {
    fn new() -> Self {
        let mut config = EndpointConfig::new(address(1), [7; 32]);
        config.limits = LIMITS;
        config.accepted = vec![Method::Refer, Method::Register, Method::Message];
        config.packages = vec!["message-summary".to_owned()];
        config.keep_alive = None;
        Self {
            endpoint: Endpoint::new(config),
            now: *ORIGIN,
            sent: Vec::new(),
            calls: Vec::new(),
            ended: 0,
            waiting: Vec::new(),
            subscriptions: Vec::new(),
        }
    }

    fn act(&mut self, script: &mut Script<'_>) {
        let source = Source { transport: Transport::Udp, local: address(1), peer: address(9), flow: None };
        match script.below(16) {
            0..5 => {
                let bytes = self.request(script);
                self.endpoint.handle_datagram(source, &bytes, self.now);
            }
            5 => self.respond(script, source),
            6 => {
                let bytes = self.mirrored(script);
                self.endpoint.handle_datagram(source, &bytes, self.now);
            }
            7 => self.endpoint.handle_datagram(source, script.bytes(), self.now),
            8 => {
                let flow = FlowId(u64::from(script.byte() % 4));
                match script.below(3) {
                    0 => self.endpoint.handle_stream_opened(flow, Transport::Tcp, address(1), address(9), self.now),
                    1 => self.endpoint.handle_stream_closed(flow, self.now),
                    _ => {
                        let bytes = if script.chance() { self.request(script) } else { script.bytes().to_vec() };
                        self.endpoint.handle_stream_bytes(flow, &bytes, self.now);
                    }
                }
            }
            9 => self.endpoint.handle_transmit_failed(Transport::Udp, address(9), self.now),
            10..12 => self.wait(Duration::from_millis(u64::from(script.word()))),
            12 => self.endpoint.set_accepting(match script.chance() {
                true => Accepting::Yes,
                false => Accepting::No { retry_after_seconds: 1 },
            }),
            _ => self.command(script),
        }
    }

    /// A request of theirs that is nearly right.
    fn request(&mut self, script: &mut Script<'_>) -> Vec<u8> {
        let method = script.pick(&METHODS);
        let (branch, call_id, cseq) = (script.byte() % 8, script.byte() % 3, script.byte() % 5);
        let to_tag = if script.chance() { self.tag(script) } else { String::new() };
        let extra = script.pick(&EXTRAS);
        let (body, body_type) = match script.below(3) {
            0 => ("", ""),
            1 => (SDP, "Content-Type: application/sdp\r\n"),
            _ => ("SIP/2.0 200 OK\r\n", "Content-Type: message/sipfrag\r\n"),
        };
        format!(
            "{method} sip:100@192.0.2.1 SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.9:5060;rport;branch=z9hG4bK{branch}\r\n\
             From: <sip:a@example.com>;tag=theirs\r\nTo: <sip:100@example.com>{to_tag}\r\nCall-ID: c{call_id}\r\n\
             CSeq: {cseq} {method}\r\n{extra}{body_type}Content-Length: {}\r\n\r\n{body}",
            body.len()
        )
        .into_bytes()
    }

    /// The tag of one of the latest responses of ours.
    fn tag(&self, script: &mut Script<'_>) -> String {
        let back = script.below(4);
        let messages = self.sent.iter().rev().take(32).filter_map(|transmit| parse(&transmit.bytes));
        let tags = messages.filter_map(|message| match message {
            Message::Response(response) => response.headers.to().ok()?.tag().map(str::to_owned),
            Message::Request(_) => None,
        });
        tags.into_iter().nth(back).map(|tag| format!(";tag={tag}")).unwrap_or_default()
    }

    /// Answers one of the latest requests of ours.
    fn respond(&mut self, script: &mut Script<'_>, source: Source) {
        let back = script.below(4);
        let requests = self.sent.iter().rev().take(32).filter_map(|transmit| match parse(&transmit.bytes)? {
            Message::Request(request) => Some(request),
            Message::Response(_) => None,
        });
        let Some(request) = requests.into_iter().nth(back) else { return };
        let Some(status) = StatusCode::new(100 + script.word() % 600) else { return };
        let mut response = Response::to(&request, status, Some(script.pick(&["x", "y"])));
        if script.chance() {
            response.headers.push(HeaderName::CONTACT, "<sip:a@192.0.2.9>");
        }
        if script.chance() {
            response.set_body("application/sdp", SDP.into());
        }
        self.endpoint.handle_datagram(source, &response.to_bytes(), self.now);
    }

    /// A message of ours thrown back, with a byte changed.
    fn mirrored(&self, script: &mut Script<'_>) -> Vec<u8> {
        let (back, at, byte) = (script.below(8), usize::from(script.word()), script.byte());
        let Some(transmit) = self.sent.iter().rev().nth(back) else { return Vec::new() };
        let mut bytes = transmit.bytes.clone();
        let length = bytes.len();
        bytes[at % length] = byte;
        bytes
    }

    fn command(&mut self, script: &mut Script<'_>) {
        let (endpoint, now) = (&mut self.endpoint, self.now);
        let which = script.below(14);
        if let Some(request) = self.waiting.pop_if(|_| which == 0) {
            let status = script.pick(&[StatusCode::OK, StatusCode::FORBIDDEN, StatusCode::RINGING]);
            let _ = endpoint.respond(request, Answer::new(status), now);
        }
        if let Some(subscription) = self.subscriptions.pop_if(|_| which == 1) {
            let _ = match script.chance() {
                true => endpoint.accept_subscription(subscription, None, now),
                false => endpoint.refuse_subscription(subscription, StatusCode::FORBIDDEN, Vec::new(), now),
            };
        }
        let Some(call) = self.calls.iter().rev().nth(script.below(3)).copied() else { return };
        // Misuse is part of the point.
        let _ = match which {
            2 => endpoint.ring(call, None, now),
            3 => endpoint.ring(call, Some(SDP.into()), now),
            4 | 5 => endpoint.answer(call, SDP.into(), now),
            6 => endpoint.reject(call, StatusCode::BUSY_HERE, &[], now),
            7 => endpoint.answer_reinvite(call, SDP.into(), now),
            8 => endpoint.reject_reinvite(call, StatusCode::NOT_ACCEPTABLE_HERE, now),
            9 => endpoint.answer_update(call, SDP.into(), now),
            10 => endpoint.reinvite(call, script.chance().then(|| SDP.into()), now),
            11 => endpoint.update(call, script.chance().then(|| SDP.into()), now),
            12 => endpoint.ack_with_answer(call, SDP.into(), now),
            _ => endpoint.bye(call, None, now),
        };
    }

    fn wait(&mut self, duration: Duration) {
        let end = self.now + duration;
        while let Some((at, _)) = self.endpoint.poll_timeout().filter(|(at, _)| *at <= end) {
            self.now = self.now.max(at);
            self.endpoint.handle_timeout(self.now);
            self.drain();
        }
        self.now = end;
    }

    fn drain(&mut self) {
        while let Some(transmit) = self.endpoint.poll_transmit() {
            assert!(parse(&transmit.bytes).is_some() || transmit.bytes == b"\r\n", "we send what is no SIP");
            self.sent.push(transmit);
        }
        while let Some(event) = self.endpoint.poll_event() {
            if let Event::InviteReceived { call, .. } = event {
                self.calls.push(call);
            } else if let Event::CallEnded { call, .. } = event {
                assert!(self.calls.contains(&call));
                self.ended += 1;
            } else if let Event::RequestReceived { request, .. } | Event::ReferReceived { request, .. } = event {
                self.waiting.push(request);
            } else if let Event::SubscriptionRequested { subscription, .. } = event {
                self.subscriptions.push(subscription);
            }
        }
        while self.endpoint.poll_close().is_some() {}
    }

    fn check_bounds(&self) {
        let occupancy = self.endpoint.occupancy();
        assert!(occupancy.calls <= LIMITS.calls, "{occupancy:?}");
        assert!(occupancy.undecided <= LIMITS.undecided, "{occupancy:?}");
        assert!(occupancy.transactions <= LIMITS.transactions, "{occupancy:?}");
        assert!(occupancy.streams <= LIMITS.streams, "{occupancy:?}");
        assert!(occupancy.subscriptions <= LIMITS.subscriptions, "{occupancy:?}");
        assert!(occupancy.dialogs <= LIMITS.calls * 9, "{occupancy:?}");
        assert!(occupancy.requests <= LIMITS.transactions + LIMITS.calls * 4, "{occupancy:?}");
    }

    /// Ends what is under way, as a user must, and lets every timer fire.
    fn wind_up(&mut self) {
        for call in self.calls.clone() {
            let _ = self.endpoint.reject(call, StatusCode::BUSY_HERE, &[], self.now);
            let _ = self.endpoint.bye(call, None, self.now);
        }
        self.drain();
        self.wait(Duration::from_secs(4_000));
        let left = self.endpoint.occupancy();
        assert_eq!(left, Occupancy { streams: left.streams, ..Occupancy::default() });
        assert_eq!(self.endpoint.poll_timeout(), None, "a timer of nobody");
        assert_eq!(self.ended, self.calls.len(), "calls begun and ended");
    }
}

pub(super) fn parse(bytes: &[u8]) -> Option<Message> {
    Message::parse(bytes, &Limits::default()).ok()
}
