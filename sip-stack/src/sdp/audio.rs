//! What one `m=audio` line and its attributes say, with the defaults of the session level filled in.

use std::net::{IpAddr, SocketAddr};

use sdp_types::{Media, Session};

use super::SdpError;

/// Who sends, seen from the side that says it (RFC 3264 §5.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// Both.
    SendRecv,
    /// This side only: the other one is on hold.
    SendOnly,
    /// The other side only.
    RecvOnly,
    /// Neither.
    Inactive,
}

impl Direction {
    /// From what each way may do.
    pub fn from_ways(sends: bool, receives: bool) -> Self {
        match (sends, receives) {
            (true, true) => Self::SendRecv,
            (true, false) => Self::SendOnly,
            (false, true) => Self::RecvOnly,
            (false, false) => Self::Inactive,
        }
    }

    /// Does this side send?
    pub fn sends(self) -> bool {
        matches!(self, Self::SendRecv | Self::SendOnly)
    }

    /// Does this side receive?
    pub fn receives(self) -> bool {
        matches!(self, Self::SendRecv | Self::RecvOnly)
    }

    /// The same, seen from the other side.
    pub fn reversed(self) -> Self {
        Self::from_ways(self.receives(), self.sends())
    }

    /// What both allow, both seen from the same side.
    pub fn and(self, other: Self) -> Self {
        Self::from_ways(self.sends() && other.sends(), self.receives() && other.receives())
    }

    /// The attribute's name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::SendRecv => "sendrecv",
            Self::SendOnly => "sendonly",
            Self::RecvOnly => "recvonly",
            Self::Inactive => "inactive",
        }
    }
}

/// RTP and RTCP over one port (RFC 5761 §5.1.1).
pub(super) const RTCP_MUX: &str = "rtcp-mux";

/// One RTP payload type of a media line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Format {
    pub(super) payload_type: u8,
    /// Name, clock rate and channels; `None` where a static type is left to RFC 3551.
    pub(super) encoding: Option<(String, u32, u8)>,
    pub(super) parameters: Option<String>,
}

/// One audio line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Audio {
    /// In the peer's order of preference.
    pub(super) formats: Vec<Format>,
    /// Where the peer receives RTP.
    pub(super) rtp: SocketAddr,
    /// Where the peer receives RTCP, unless that goes over the port of RTP.
    separate_rtcp: SocketAddr,
    /// The peer can have it there (RFC 5761).
    pub(super) rtcp_mux: bool,
    /// Seen from the peer.
    pub(super) direction: Direction,
    pub(super) ptime_ms: Option<u32>,
    pub(super) maxptime_ms: Option<u32>,
}

/// Is it audio we could use, whatever its codecs?
pub(super) fn is_usable(media: &Media) -> bool {
    media.media == "audio" && media.port != 0 && super::local::Profile::of(media).is_some()
}

impl Audio {
    pub(super) fn read(session: &Session, media: &Media) -> Result<Self, SdpError> {
        let address = media_address(session, media)?;
        let rtp = SocketAddr::new(address, media.port);
        let stated = stated_direction(session, media);
        // Hold as RFC 2543 had it (RFC 3264 §8.4): send nothing to 0.0.0.0.
        let direction = Direction::from_ways(stated.sends(), stated.receives() && !address.is_unspecified());
        Ok(Self {
            formats: media.fmt.split_ascii_whitespace().filter_map(|format| Format::read(media, format)).collect(),
            rtp,
            separate_rtcp: rtcp_address(media, rtp),
            rtcp_mux: media.has_attribute(RTCP_MUX),
            direction,
            ptime_ms: milliseconds(session, media, "ptime"),
            maxptime_ms: milliseconds(session, media, "maxptime"),
        })
    }

    /// Where the peer receives RTCP.
    pub(super) fn rtcp(&self) -> SocketAddr {
        if self.rtcp_mux { self.rtp } else { self.separate_rtcp }
    }
}

impl Format {
    fn read(media: &Media, format: &str) -> Option<Self> {
        let payload_type = format.parse().ok().filter(|number| *number < 128)?;
        let encoding = attribute_for(media, "rtpmap", payload_type).and_then(parse_encoding);
        let parameters = attribute_for(media, "fmtp", payload_type).map(str::to_owned);
        Some(Self { payload_type, encoding, parameters })
    }

    pub(super) fn is_named(&self, name: &str, clock_rate: u32) -> bool {
        let is = |(theirs, rate, _): &(String, u32, u8)| theirs.eq_ignore_ascii_case(name) && *rate == clock_rate;
        self.encoding.as_ref().is_some_and(is)
    }
}

/// The value of `a=name:payload_type value`.
fn attribute_for<'a>(media: &'a Media, name: &'a str, payload_type: u8) -> Option<&'a str> {
    media.get_attribute_values(name).flatten().find_map(|value| {
        let (number, rest) = value.trim().split_once(' ')?;
        (number.parse() == Ok(payload_type)).then_some(rest.trim())
    })
}

/// `name/clock rate[/channels]`
fn parse_encoding(text: &str) -> Option<(String, u32, u8)> {
    let mut parts = text.split('/');
    let (name, rate) = (parts.next()?, parts.next()?.parse().ok()?);
    let channels = parts.next().map_or(Ok(1), str::parse).ok()?;
    Some((name.to_owned(), rate, channels))
}

fn media_address(session: &Session, media: &Media) -> Result<IpAddr, SdpError> {
    let connection = media.connections.first().or(session.connection.as_ref()).ok_or(SdpError::Malformed)?;
    let address = connection.try_address().map_err(|_| SdpError::Address)?.ip;
    if address.is_multicast() { Err(SdpError::Address) } else { Ok(address) }
}

/// `a=rtcp:port [IN IP4 address]` (RFC 3605), else the port after that of RTP.
fn rtcp_address(media: &Media, rtp: SocketAddr) -> SocketAddr {
    let default = SocketAddr::new(rtp.ip(), rtp.port().checked_add(1).unwrap_or(rtp.port()));
    let Some(Some(value)) = media.get_first_attribute_value("rtcp") else { return default };
    let mut words = value.split_ascii_whitespace();
    let port = words.next().and_then(|port| port.parse().ok()).filter(|port| *port != 0);
    let address = words.nth(2).and_then(|address| address.parse().ok());
    SocketAddr::new(address.unwrap_or(rtp.ip()), port.unwrap_or(default.port()))
}

fn stated_direction(session: &Session, media: &Media) -> Direction {
    let all = [Direction::SendRecv, Direction::SendOnly, Direction::RecvOnly, Direction::Inactive];
    let in_media = all.into_iter().find(|direction| media.has_attribute(direction.as_str()));
    let in_session = || all.into_iter().find(|direction| session.has_attribute(direction.as_str()));
    in_media.or_else(in_session).unwrap_or(Direction::SendRecv)
}

fn milliseconds(session: &Session, media: &Media, name: &str) -> Option<u32> {
    let value = media.get_first_attribute_value(name).or_else(|| session.get_first_attribute_value(name))??;
    value.trim().parse().ok()
}
