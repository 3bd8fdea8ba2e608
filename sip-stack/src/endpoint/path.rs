//! Where messages come from and go to.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use crate::message;

/// The transports an endpoint speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Transport {
    /// One message a datagram.
    Udp,
    /// One connection is one [`FlowId`].
    Tcp,
    /// The same, encrypted; the shell does that. RFC 3261 §26.3.1.
    Tls,
}

/// Not to be reached from the internet: RFC 1918, RFC 3927, RFC 4193, RFC 4291, and this machine itself.
pub fn is_private(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(address) => address.is_loopback() || address.is_private() || address.is_link_local(),
        IpAddr::V6(address) => address.is_loopback() || address.is_unique_local() || address.is_unicast_link_local(),
    }
}

impl Transport {
    /// Nothing is lost on the way, so transactions do not repeat (RFC 3261 §17).
    pub fn is_reliable(self) -> bool {
        match self {
            Self::Udp => false,
            Self::Tcp | Self::Tls => true,
        }
    }
}

impl Transport {
    /// All there are.
    pub const ALL: [Self; 3] = [Self::Udp, Self::Tcp, Self::Tls];

    /// Where a peer listens that names no port (RFC 3261 §19.1.2).
    pub fn default_port(self) -> u16 {
        match self {
            Self::Udp | Self::Tcp => 5060,
            Self::Tls => 5061,
        }
    }
}

impl From<Transport> for message::Transport {
    fn from(transport: Transport) -> Self {
        match transport {
            Transport::Udp => Self::Udp,
            Transport::Tcp => Self::Tcp,
            Transport::Tls => Self::Tls,
        }
    }
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        message::Transport::from(*self).fmt(f)
    }
}

/// One connection of the shell, which chooses the numbers and never uses one twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FlowId(pub u64);

/// Between which two sockets a message passed, and thereby how to reach its sender.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Source {
    /// How it was carried.
    pub transport: Transport,
    /// Our side.
    pub local: SocketAddr,
    /// The other side.
    pub peer: SocketAddr,
    /// The connection, for TCP and TLS.
    pub flow: Option<FlowId>,
}

/// A message to send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transmit {
    /// How to carry it.
    pub transport: Transport,
    /// The socket to send from.
    pub local: SocketAddr,
    /// Whom to send to.
    pub peer: SocketAddr,
    /// The connection to use. `None` on TCP and TLS, or a connection that is gone: use any open one to `peer`, else connect.
    pub flow: Option<FlowId>,
    /// The message.
    pub bytes: Vec<u8>,
}

impl Transmit {
    /// `bytes` on the path that `to` came by.
    pub(crate) fn back(to: Source, bytes: Vec<u8>) -> Self {
        Self { transport: to.transport, local: to.local, peer: to.peer, flow: to.flow, bytes }
    }
}
