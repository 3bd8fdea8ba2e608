//! What the user of an endpoint wants to be sent.

use std::net::SocketAddr;

use super::Transport;
use crate::digest::Credentials;
use crate::message::{HeaderName, Method, NameAddr, StatusCode, Uri};

/// Where to send something; the stack looks no names up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Destination {
    /// How. A request above 1300 bytes goes over TCP instead of UDP, unless that fails (RFC 3261 §18.1.1).
    pub transport: Transport,
    /// Where.
    pub peer: SocketAddr,
}

/// A message body and what it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Body {
    /// For Content-Type, such as `application/sdp`.
    pub content_type: String,
    /// The body itself.
    pub bytes: Vec<u8>,
}

/// A call to place.
#[derive(Debug, Clone)]
pub struct OutgoingInvite {
    /// Request-URI: whom to call.
    pub target: Uri,
    /// Who calls; a tag is added.
    pub from: NameAddr,
    /// Whom we call, in the caller's words; mostly the same address as `target`.
    pub to: NameAddr,
    /// Where in-dialog requests shall go; `None` takes the transport's own Contact.
    pub contact: Option<NameAddr>,
    /// Hops to visit, such as an outbound proxy; `destination` is where the first of them is.
    pub route: Vec<NameAddr>,
    /// Where to send it.
    pub destination: Destination,
    /// Where else, in order: for when there is silence for 4 s, no transport, or a 503 (RFC 3263 §4.3).
    pub alternatives: Vec<Destination>,
    /// Session description; `None` leaves the offer to the callee (late offer).
    pub offer: Option<Vec<u8>>,
    /// What to answer with when somebody on the way asks who we are, now or later in the call.
    pub credentials: Vec<Credentials>,
    /// More headers. Those that the stack makes itself are ignored.
    pub headers: Vec<(HeaderName, String)>,
}

/// A request outside of calls.
#[derive(Debug, Clone)]
pub struct OutgoingRequest {
    /// Anything but INVITE, ACK, CANCEL, BYE, PRACK and UPDATE.
    pub method: Method,
    /// Request-URI.
    pub target: Uri,
    /// Who asks; a tag is added.
    pub from: NameAddr,
    /// Who is asked; a tag is taken away.
    pub to: NameAddr,
    /// Our Contact: needed by what makes a dialog. `None` leaves it out.
    pub contact: Option<NameAddr>,
    /// Hops to visit; `destination` is where the first of them is.
    pub route: Vec<NameAddr>,
    /// Where to send it.
    pub destination: Destination,
    /// Where else, in order: for when there is silence for 4 s, no transport, or a 503 (RFC 3263 §4.3).
    pub alternatives: Vec<Destination>,
    /// What to answer with when somebody on the way asks who we are.
    pub credentials: Vec<Credentials>,
    /// More headers. Those that the stack makes itself are ignored.
    pub headers: Vec<(HeaderName, String)>,
    /// What it carries.
    pub body: Option<Body>,
}

/// A request within a call.
#[derive(Debug, Clone)]
pub struct DialogRequest {
    /// Anything but INVITE, ACK, CANCEL, BYE, PRACK and UPDATE.
    pub method: Method,
    /// More headers. Those that the stack makes itself are ignored.
    pub headers: Vec<(HeaderName, String)>,
    /// What it carries.
    pub body: Option<Body>,
}

/// A response of the user's.
#[derive(Debug, Clone)]
pub struct Answer {
    /// 101 to 699.
    pub status: StatusCode,
    /// More headers. Those that the stack makes itself are ignored, but for Contact.
    pub headers: Vec<(HeaderName, String)>,
    /// What it carries.
    pub body: Option<Body>,
}

impl Destination {
    /// Over UDP.
    pub fn udp(peer: SocketAddr) -> Self {
        Self { transport: Transport::Udp, peer }
    }
}

impl Body {
    /// A body of that type.
    pub fn new(content_type: impl Into<String>, bytes: impl Into<Vec<u8>>) -> Self {
        Self { content_type: content_type.into(), bytes: bytes.into() }
    }
}

impl OutgoingInvite {
    /// A call to `target` without an offer and with nothing special about it.
    pub fn new(target: impl Into<Uri>, from: NameAddr, destination: Destination) -> Self {
        let target = target.into();
        Self {
            to: NameAddr::new(target.clone()),
            target,
            from,
            contact: None,
            route: Vec::new(),
            destination,
            alternatives: Vec::new(),
            offer: None,
            credentials: Vec::new(),
            headers: Vec::new(),
        }
    }

    /// With an offer.
    pub fn with_offer(mut self, offer: Vec<u8>) -> Self {
        self.offer = Some(offer);
        self
    }
}

impl OutgoingRequest {
    /// A request to `target` without a body and with nothing special about it.
    pub fn new(method: Method, target: impl Into<Uri>, from: NameAddr, destination: Destination) -> Self {
        let target = target.into();
        Self {
            method,
            to: NameAddr::new(target.clone()),
            target,
            from,
            contact: None,
            route: Vec::new(),
            destination,
            alternatives: Vec::new(),
            credentials: Vec::new(),
            headers: Vec::new(),
            body: None,
        }
    }
}

impl DialogRequest {
    /// A request without a body.
    pub fn new(method: Method) -> Self {
        Self { method, headers: Vec::new(), body: None }
    }

    /// With a body.
    pub fn with_body(mut self, content_type: impl Into<String>, bytes: impl Into<Vec<u8>>) -> Self {
        self.body = Some(Body::new(content_type, bytes));
        self
    }
}

impl Answer {
    /// Just a status.
    pub fn new(status: StatusCode) -> Self {
        Self { status, headers: Vec::new(), body: None }
    }

    /// With one more header.
    pub fn with_header(mut self, name: HeaderName, value: impl std::fmt::Display) -> Self {
        self.headers.push((name, value.to_string()));
        self
    }
}
