//! What an endpoint is told once, when it is made.

use std::net::SocketAddr;
use std::time::Duration;

use super::path::Transport;
use crate::dialog::session_timer::SessionTimerConfig;
use crate::message::{HostPort, Limits, Method};
use crate::transaction::Timers;

/// Settings of an [`Endpoint`](super::Endpoint).
#[derive(Debug, Clone)]
pub struct EndpointConfig {
    /// Source of tags, branches and Call-IDs. 32 bytes from the system's random generator; in tests, from their seed.
    pub seed: [u8; 32],
    /// How peers reach us over UDP.
    pub udp: LocalAddress,
    /// How peers reach us over TCP.
    pub tcp: LocalAddress,
    /// How peers reach us over TLS.
    pub tls: LocalAddress,
    /// User part of our Contact.
    pub contact_user: String,
    /// Methods our user takes besides those the stack takes itself, such as REGISTER, SUBSCRIBE and MESSAGE. They come as
    /// [`Event::RequestReceived`](super::Event::RequestReceived); others are answered with 405 or 501.
    pub accepted: Vec<Method>,
    /// Event packages that peers may subscribe to, such as `message-summary` and `dialog` (RFC 6665).
    pub packages: Vec<String>,
    /// For the Server and User-Agent headers; empty leaves them out.
    pub product: String,
    /// `None` leaves session timers (RFC 4028) out.
    pub session_timer: Option<SessionTimerConfig>,
    /// How often to ping on the connections we made; a fifth less at random. `None` never does.
    pub keep_alive: Option<Duration>,
    /// T1, T2, T4.
    pub timers: Timers,
    /// Bounds on every table.
    pub limits: EndpointLimits,
    /// Users of a Request-URI whose calls are not turned away because of [`undecided`](EndpointLimits::undecided) or
    /// [`Accepting::No`](super::Accepting::No): emergency numbers.
    pub urgent: Vec<String>,
    /// Bounds on one message.
    pub message_limits: Limits,
    /// For the Retry-After of a 503 that says that a table is full. Seconds.
    pub overload_retry_after_seconds: u32,
}

/// One transport's socket, and the name it has for others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocalAddress {
    /// The socket requests of ours leave from.
    pub socket: SocketAddr,
    /// Host and port in our Via and Contact: the public ones behind NAT.
    pub advertised: HostPort,
}

impl LocalAddress {
    /// A socket that is reached under its own address.
    pub fn new(socket: SocketAddr) -> Self {
        Self { socket, advertised: socket.into() }
    }
}

/// How much an endpoint holds. What comes beyond it is refused with 503 and Retry-After, without keeping state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EndpointLimits {
    /// Server and client transactions together.
    pub transactions: usize,
    /// Calls, both ways.
    pub calls: usize,
    /// Calls of peers that our user has neither let ring nor answered nor refused. More come in than it can deal with, and
    /// those that wait would only wait longer.
    pub undecided: usize,
    /// TCP and TLS connections that are framed; bytes of others are ignored and their flow is asked to be closed.
    pub streams: usize,
    /// Registrations of ours.
    pub registrations: usize,
    /// Subscriptions of peers.
    pub subscriptions: usize,
    /// Messages and events waiting for the shell, each; a shell that drains after every input never gets near.
    pub queued: usize,
}

impl Default for EndpointLimits {
    fn default() -> Self {
        // Each call leaves two transactions behind for 32 s (Timers L and J): 2,000 calls a second.
        Self {
            transactions: 131_072,
            calls: 512,
            undecided: 64,
            streams: 256,
            registrations: 64,
            subscriptions: 1_024,
            queued: 8_192,
        }
    }
}

impl EndpointConfig {
    /// UDP and TCP on one address and port, TLS on that address and 5061, reached under that address.
    pub fn new(socket: SocketAddr, seed: [u8; 32]) -> Self {
        Self {
            seed,
            udp: LocalAddress::new(socket),
            tcp: LocalAddress::new(socket),
            tls: LocalAddress::new(SocketAddr::new(socket.ip(), Transport::Tls.default_port())),
            contact_user: "offhook".to_owned(),
            accepted: Vec::new(),
            packages: Vec::new(),
            product: "Offhook".to_owned(),
            session_timer: Some(SessionTimerConfig::default()),
            // Carriers close what is idle for two minutes.
            keep_alive: Some(Duration::from_secs(100)),
            timers: Timers::default(),
            limits: EndpointLimits::default(),
            urgent: Vec::new(),
            message_limits: Limits::default(),
            overload_retry_after_seconds: 5,
        }
    }

    /// The settings of one transport.
    pub fn local(&self, transport: Transport) -> &LocalAddress {
        match transport {
            Transport::Udp => &self.udp,
            Transport::Tcp => &self.tcp,
            Transport::Tls => &self.tls,
        }
    }
}
