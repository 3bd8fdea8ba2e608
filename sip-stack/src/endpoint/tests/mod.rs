//! An endpoint driven by hand: what a peer sends is written out as text, so that it can be as wrong as it likes.

mod calls;
mod challenges;
mod failover;
mod limits;
mod operations;
mod outgoing;
mod refusals;
mod registering;
mod requests;
mod session;
mod streams;
mod subscriptions;
mod transfers;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::*;
use crate::message::{HeaderName, Limits, Method, NameAddr, Request, Response, StatusCode, Uri};
use crate::transaction::trace::start;

const OFFER: &str = "v=0\no=- 1 1 IN IP4 192.0.2.9\ns=-\nc=IN IP4 192.0.2.9\nt=0 0\nm=audio 4000 RTP/AVP 8\n";

fn local() -> SocketAddr {
    "192.0.2.1:5060".parse().unwrap()
}

fn peer() -> SocketAddr {
    "192.0.2.9:5060".parse().unwrap()
}

fn udp() -> Source {
    Source { transport: Transport::Udp, local: local(), peer: peer(), flow: None }
}

/// An endpoint, the time, and everything it has sent and told.
struct Rig {
    endpoint: Endpoint,
    now: Instant,
    sent: Vec<Transmit>,
    events: Vec<Event>,
    branches: u32,
    /// Calls placed by `operations`.
    placed: usize,
}

impl Rig {
    fn new() -> Self {
        Self::with(|_| {})
    }

    fn with(change: impl FnOnce(&mut EndpointConfig)) -> Self {
        let mut config = EndpointConfig::new(local(), [7; 32]);
        change(&mut config);
        Self {
            endpoint: Endpoint::new(config),
            now: start(),
            sent: Vec::new(),
            events: Vec::new(),
            branches: 0,
            placed: 0,
        }
    }

    /// Takes out what there is.
    fn drain(&mut self) {
        self.sent.extend(std::iter::from_fn(|| self.endpoint.poll_transmit()));
        self.events.extend(std::iter::from_fn(|| self.endpoint.poll_event()));
    }

    fn receive(&mut self, bytes: &[u8]) {
        self.endpoint.handle_datagram(udp(), bytes, self.now);
        self.drain();
    }

    fn command<T>(&mut self, command: impl FnOnce(&mut Endpoint, Instant) -> T) -> T {
        let result = command(&mut self.endpoint, self.now);
        self.drain();
        result
    }

    /// Lets timers fire for so long.
    fn wait(&mut self, duration: Duration) {
        let end = self.now + duration;
        while let Some((at, _)) = self.endpoint.poll_timeout().filter(|(at, _)| *at <= end) {
            self.now = at;
            self.endpoint.handle_timeout(at);
            self.drain();
        }
        self.now = end;
    }

    /// Lets every timer fire; then nothing may be left.
    fn finish(&mut self) {
        self.wait(Duration::from_secs(200));
        assert_eq!(self.endpoint.poll_timeout(), None);
        let occupancy = self.endpoint.occupancy();
        assert_eq!(occupancy, Occupancy { streams: occupancy.streams, ..Occupancy::default() });
        assert!(self.endpoint.merges.is_empty());
    }

    /// Sends a request under a new branch and gives back the last response to it.
    fn ask(&mut self, request: &Draft) -> Response {
        self.branches += 1;
        let branch = format!("z9hG4bKask{}", self.branches);
        self.receive(&request.text(&branch));
        self.responses(&branch).pop().expect("it was answered")
    }

    /// What was sent with this branch.
    fn responses(&self, branch: &str) -> Vec<Response> {
        let is_ours = |response: &Response| response.headers.via().unwrap().branch() == Some(branch);
        self.messages().into_iter().filter_map(response).filter(is_ours).collect()
    }

    fn messages(&self) -> Vec<Message> {
        self.sent.iter().map(|transmit| Message::parse(&transmit.bytes, &Limits::default()).unwrap()).collect()
    }

    fn requests(&self, method: &Method) -> Vec<Request> {
        self.messages().into_iter().filter_map(request).filter(|request| request.method == *method).collect()
    }

    fn statuses(&self) -> Vec<u16> {
        self.messages().into_iter().filter_map(response).map(|response| response.status.as_u16()).collect()
    }

    /// An incoming call without final response.
    fn ringing(&mut self) -> (CallHandle, Response) {
        self.receive(&Draft::invite().text("z9hG4bKcall"));
        let call = match self.events.last() {
            Some(Event::InviteReceived { call, .. }) => *call,
            other => panic!("no call but {other:?}"),
        };
        self.command(|endpoint, now| endpoint.ring(call, None, now)).unwrap();
        (call, self.responses("z9hG4bKcall").pop().unwrap())
    }

    /// An incoming call that is up; the draft is a request of theirs within it.
    fn up(&mut self) -> (CallHandle, Draft) {
        let (call, ringing) = self.ringing();
        self.command(|endpoint, now| endpoint.answer(call, OFFER.into(), now)).unwrap();
        let tag = ringing.headers.to().unwrap().tag().unwrap().to_owned();
        let draft = Draft::new("BYE").tagged(&tag);
        self.receive(&draft.clone().method("ACK").cseq(1).text("z9hG4bKack"));
        assert!(matches!(self.events.last(), Some(Event::AckReceived { .. })), "{:?}", self.events);
        (call, draft.cseq(2))
    }
}

fn response(message: Message) -> Option<Response> {
    match message {
        Message::Response(response) => Some(response),
        Message::Request(_) => None,
    }
}

fn request(message: Message) -> Option<Request> {
    match message {
        Message::Request(request) => Some(request),
        Message::Response(_) => None,
    }
}

/// A request of the peer's, to be bent.
#[derive(Clone)]
struct Draft {
    method: String,
    uri: &'static str,
    version: &'static str,
    to_tag: String,
    call_id: String,
    cseq: String,
    extra: String,
    body: String,
}

impl Draft {
    fn new(method: &str) -> Self {
        Self {
            method: method.to_owned(),
            uri: "sip:100@192.0.2.1",
            version: "SIP/2.0",
            to_tag: String::new(),
            call_id: "call-1".to_owned(),
            cseq: "1".to_owned(),
            extra: String::new(),
            body: String::new(),
        }
    }

    fn invite() -> Self {
        Self::new("INVITE").contact().sdp()
    }

    fn method(mut self, method: &str) -> Self {
        self.method = method.to_owned();
        self
    }

    fn uri(mut self, uri: &'static str) -> Self {
        self.uri = uri;
        self
    }

    fn version(mut self, version: &'static str) -> Self {
        self.version = version;
        self
    }

    fn tagged(mut self, tag: &str) -> Self {
        self.to_tag = format!(";tag={tag}");
        self
    }

    fn call_id(mut self, call_id: &str) -> Self {
        self.call_id = call_id.to_owned();
        self
    }

    fn cseq(mut self, number: u32) -> Self {
        self.cseq = number.to_string();
        self
    }

    fn header(mut self, line: &str) -> Self {
        self.extra.push_str(line);
        self.extra.push('\n');
        self
    }

    fn contact(self) -> Self {
        self.header("Contact: <sip:a@192.0.2.9>")
    }

    fn sdp(mut self) -> Self {
        self.body = OFFER.to_owned();
        self.header("Content-Type: application/sdp")
    }

    fn body(mut self, body: &str) -> Self {
        self.body = body.to_owned();
        self
    }

    fn text(&self, branch: &str) -> Vec<u8> {
        let Self { method, uri, version, to_tag, call_id, cseq, extra, body } = self;
        let body = body.replace('\n', "\r\n");
        let head = format!(
            "{method} {uri} {version}\nVia: SIP/2.0/UDP 192.0.2.9:5060;rport;branch={branch}\n\
             From: <sip:a@example.com>;tag=theirs\nTo: <sip:100@example.com>{to_tag}\nCall-ID: {call_id}\n\
             CSeq: {cseq} {method}\nMax-Forwards: 70\n{extra}Content-Length: {}\n\n",
            body.len()
        );
        format!("{}{body}", head.replace('\n', "\r\n")).into_bytes()
    }
}
