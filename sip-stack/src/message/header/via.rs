//! Via: the path a request took and its responses take back (RFC 3261 §20.42, RFC 3581).

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use super::super::error::ParseError;
use super::super::host::HostPort;
use super::super::scan::{Scan, is_lws};
use super::super::version::Version;
use super::params::Params;

/// One hop.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Via {
    /// SIP/2.0 from everybody we talk to.
    pub version: Version,
    /// How the request was sent over this hop.
    pub transport: Transport,
    /// Who sent it, in their own opinion.
    pub sent_by: HostPort,
    /// `branch`, `received`, `rport`, `maddr`, `ttl` and others.
    pub params: Params,
}

/// What every branch made by RFC 3261 starts with (§8.1.1.7).
pub const MAGIC_COOKIE: &str = "z9hG4bK";

impl Via {
    /// A hop of our own; `branch` has to start with [`MAGIC_COOKIE`]. Asks for `rport` (RFC 3581 §3).
    pub fn new(transport: Transport, sent_by: impl Into<HostPort>, branch: &str) -> Self {
        let mut params = Params::default();
        params.set("branch", branch);
        params.set_flag("rport");
        Self { version: Version::V2, transport, sent_by: sent_by.into(), params }
    }

    /// Names the transaction.
    pub fn branch(&self) -> Option<&str> {
        self.params.value("branch")
    }

    /// The branch, if it is unique by the rules of RFC 3261: the cookie and something after it.
    pub fn rfc3261_branch(&self) -> Option<&str> {
        self.branch().filter(|branch| branch.len() > MAGIC_COOKIE.len() && branch.starts_with(MAGIC_COOKIE))
    }

    /// The address the receiver saw, if it added one and it is an address.
    pub fn received(&self) -> Option<IpAddr> {
        let value = self.params.value("received")?;
        value.trim_start_matches('[').trim_end_matches(']').parse().ok()
    }

    /// The port the receiver saw, if it filled it in.
    pub fn rport(&self) -> Option<u16> {
        self.params.value("rport")?.parse().ok()
    }

    /// Does the sender want its responses where its request came from (RFC 3581)?
    pub fn wants_rport(&self) -> bool {
        self.params.contains("rport")
    }

    /// Notes where the request really came from: RFC 3261 §18.2.1, and RFC 3581 §4 if `rport` is there.
    pub fn note_source(&mut self, source: SocketAddr) {
        if self.wants_rport() {
            self.params.set("rport", source.port().to_string());
        }
        if self.wants_rport() || self.sent_by.host.ip() != Some(source.ip()) {
            self.params.set("received", source.ip().to_string());
        }
    }

    /// Reads one hop and leaves what follows, such as a comma.
    pub(crate) fn scan(scan: &mut Scan<'_>) -> Result<Self, ParseError> {
        scan.skip_lws();
        if !scan.token("SIP")?.eq_ignore_ascii_case("SIP") || !scan.eat_separator(b'/') {
            return Err(scan.expected("SIP/"));
        }
        let version = Version::scan_numbers(scan)?;
        if !scan.eat_separator(b'/') {
            return Err(scan.expected("/"));
        }
        let transport = Transport::from_token(scan.token("a transport")?);
        if !scan.peek().is_some_and(is_lws) {
            return Err(scan.expected("white space"));
        }
        scan.skip_lws();
        let sent_by = HostPort::scan(scan, true)?;
        Ok(Self { version, transport, sent_by, params: Params::scan(scan)? })
    }
}

impl fmt::Display for Via {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{} {}{}", self.version, self.transport, self.sent_by, self.params)
    }
}

/// The transport of a Via hop or of a URI's `transport` parameter. Compares without case.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Transport {
    /// Datagrams.
    Udp,
    /// A stream.
    Tcp,
    /// An encrypted stream.
    Tls,
    /// RFC 4168
    Sctp,
    /// RFC 7118
    Ws,
    /// RFC 7118
    Wss,
    /// Any other token, in upper case.
    Other(Box<str>),
}

impl Transport {
    /// The transport of that name, in whatever case.
    pub fn from_token(token: &str) -> Self {
        match token.to_ascii_uppercase().as_str() {
            "UDP" => Self::Udp,
            "TCP" => Self::Tcp,
            "TLS" => Self::Tls,
            "SCTP" => Self::Sctp,
            "WS" => Self::Ws,
            "WSS" => Self::Wss,
            other => Self::Other(other.into()),
        }
    }

    /// In upper case, as in Via.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Udp => "UDP",
            Self::Tcp => "TCP",
            Self::Tls => "TLS",
            Self::Sctp => "SCTP",
            Self::Ws => "WS",
            Self::Wss => "WSS",
            Self::Other(name) => name,
        }
    }

    /// Nothing is lost on the way, so nothing has to be repeated (RFC 3261 §17). Unknown ones count as unreliable.
    pub fn is_reliable(&self) -> bool {
        match self {
            Self::Tcp | Self::Tls | Self::Sctp | Self::Ws | Self::Wss => true,
            Self::Udp | Self::Other(_) => false,
        }
    }
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::super::check::{check_parses, check_refused, parse};
    use super::*;

    #[test]
    fn white_space_may_stand_nearly_everywhere() {
        check_parses(
            "SIP  /    2.0   / UDP  192.168.255.111   ; branch= z9hG4bK30239",
            Via::scan,
            "SIP/2.0/UDP 192.168.255.111;branch=z9hG4bK30239",
        );
        check_parses("sip/2.0/tcp host : 5070;rport", Via::scan, "SIP/2.0/TCP host:5070;rport");
    }

    #[test]
    fn ipv6_with_and_without_brackets() {
        let via = parse("SIP/2.0/UDP [2001:db8::9:1]:6050;received=2001:db8::9:255;branch=z9hG4bKas3", Via::scan);
        assert_eq!(via.sent_by.to_string(), "[2001:db8::9:1]:6050");
        assert_eq!(via.received(), Some("2001:db8::9:255".parse().unwrap()));
        let via = parse("SIP/2.0/UDP h;received=[2001:db8::9:255]", Via::scan);
        assert_eq!(via.received(), Some("2001:db8::9:255".parse().unwrap()));
    }

    #[test]
    fn refusals() {
        check_refused("SIP/2.0/UDP 192.0.2.15;;,;,,", Via::scan, 23);
        check_refused("SIP/2.0/UDP", Via::scan, 11);
        check_refused("SIP/2.0/UDP host:99999", Via::scan, 17);
        check_refused("HTTP/1.1/TCP host", Via::scan, 4);
        check_refused("SIP/2.0/UDP [::1", Via::scan, 16);
    }

    #[test]
    fn only_a_branch_with_something_after_the_cookie_is_unique() {
        let branch = |text: &str| parse(&format!("SIP/2.0/UDP h;branch={text}"), Via::scan);
        assert_eq!(branch("z9hG4bK").rfc3261_branch(), None);
        assert_eq!(branch("390skdjuw").rfc3261_branch(), None);
        assert_eq!(branch("z9hG4bKa").rfc3261_branch(), Some("z9hG4bKa"));
    }

    #[test]
    fn the_source_is_noted_where_it_differs_or_is_asked_for() {
        let source = "192.0.2.7:4000".parse().unwrap();
        let noted = |value: &str| {
            let mut via = parse(value, Via::scan);
            via.note_source(source);
            via.to_string()
        };
        assert_eq!(noted("SIP/2.0/UDP 192.0.2.7"), "SIP/2.0/UDP 192.0.2.7");
        assert_eq!(noted("SIP/2.0/UDP host"), "SIP/2.0/UDP host;received=192.0.2.7");
        assert_eq!(noted("SIP/2.0/UDP 192.0.2.7;rport"), "SIP/2.0/UDP 192.0.2.7;rport=4000;received=192.0.2.7");
    }
}
