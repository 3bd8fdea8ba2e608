//! Hosts and ports (RFC 3261 §25.1 `host`, `hostport`).

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::error::ParseError;
use super::scan::{Scan, text};

/// Where a URI, a Via or a socket points.
#[derive(Debug, Clone)]
pub enum Host {
    /// A domain name as it was spelt; comparison ignores case.
    Name(Box<str>),
    /// An IPv4 address.
    V4(Ipv4Addr),
    /// An IPv6 address; on the wire it stands in square brackets.
    V6(Ipv6Addr),
}

impl Host {
    /// The address, unless it is a name that has to be looked up.
    pub fn ip(&self) -> Option<IpAddr> {
        match self {
            Self::Name(_) => None,
            Self::V4(address) => Some(IpAddr::V4(*address)),
            Self::V6(address) => Some(IpAddr::V6(*address)),
        }
    }

    /// Reads a host and leaves what follows.
    pub(crate) fn scan(scan: &mut Scan<'_>) -> Result<Self, ParseError> {
        if scan.peek() == Some(b'[') {
            return Self::scan_v6_reference(scan);
        }
        let start = scan.clone();
        let name = scan.take_while(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_'));
        if name.is_empty() {
            return Err(start.expected("a host"));
        }
        let name = text(name);
        Ok(name.parse().map_or_else(|_| Self::Name(name.into_boxed_str()), Self::V4))
    }

    fn scan_v6_reference(scan: &mut Scan<'_>) -> Result<Self, ParseError> {
        scan.eat(b'[');
        let start = scan.clone();
        let address = text(scan.take_while(|byte| byte != b']'));
        scan.expect(b']', "]")?;
        address.parse().map(Self::V6).map_err(|_| start.expected("an IPv6 address"))
    }
}

impl PartialEq for Host {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Name(a), Self::Name(b)) => a.eq_ignore_ascii_case(b),
            (Self::V4(a), Self::V4(b)) => a == b,
            (Self::V6(a), Self::V6(b)) => a == b,
            (Self::Name(_) | Self::V4(_) | Self::V6(_), _) => false,
        }
    }
}

impl Eq for Host {}

impl From<IpAddr> for Host {
    fn from(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(address) => Self::V4(address),
            IpAddr::V6(address) => Self::V6(address),
        }
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::V4(address) => address.fmt(f),
            Self::V6(address) => write!(f, "[{address}]"),
        }
    }
}

/// A host with an optional port; no port is not the same as the default port (RFC 3261 §19.1.4).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostPort {
    /// Name or address.
    pub host: Host,
    /// As given; `None` means the transport's default, 5060 or 5061.
    pub port: Option<u16>,
}

impl HostPort {
    /// Reads a host and, after a colon, a port. White space may surround the colon only where `lws` says so.
    pub(crate) fn scan(scan: &mut Scan<'_>, lws: bool) -> Result<Self, ParseError> {
        let host = Host::scan(scan)?;
        let colon = if lws { scan.eat_separator(b':') } else { scan.eat(b':') };
        let port = if colon { Some(scan_port(scan)?) } else { None };
        Ok(Self { host, port })
    }
}

fn scan_port(scan: &mut Scan<'_>) -> Result<u16, ParseError> {
    // At most 65 535, so nothing is cut off.
    scan.number(u64::from(u16::MAX)).map(|port| port as u16)
}

impl From<SocketAddr> for HostPort {
    fn from(address: SocketAddr) -> Self {
        Self { host: address.ip().into(), port: Some(address.port()) }
    }
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.port {
            Some(port) => write!(f, "{}:{port}", self.host),
            None => self.host.fmt(f),
        }
    }
}
