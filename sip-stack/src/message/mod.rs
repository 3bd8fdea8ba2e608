//! SIP messages: read, written, built.

pub mod framing;
pub mod header;
pub mod uri;

mod check;
mod error;
mod headers;
mod host;
mod limits;
mod method;
mod parse;
mod print;
mod request;
mod response;
pub(crate) mod scan;
mod status;
mod version;

pub use error::{Incompatibility, Misbehaviour, ParseError, PeerError, Reason};
pub use header::{CSeq, Contact, HeaderName, MediaType, NameAddr, Params, Transport, Via};
pub use headers::{Field, Headers};
pub use host::{Host, HostPort};
pub use limits::Limits;
pub use method::Method;
pub use request::Request;
pub use response::Response;
pub use status::StatusCode;
pub use uri::{SipUri, TelUri, Uri};
pub use version::Version;

/// A request or a response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    /// Asks for something.
    Request(Request),
    /// Says what became of it.
    Response(Response),
}

impl Message {
    /// Reads one datagram. What comes after the body that Content-Length announces is dropped (RFC 3261 §18.3).
    ///
    /// An error means that there is nobody to answer: drop the datagram. A message that is wrong but can be answered
    /// is returned, and its `check` says what is wrong.
    pub fn parse(datagram: &[u8], limits: &Limits) -> Result<Self, ParseError> {
        parse::datagram(datagram, limits)
    }

    /// Its headers.
    pub fn headers(&self) -> &Headers {
        match self {
            Self::Request(request) => &request.headers,
            Self::Response(response) => &response.headers,
        }
    }

    /// The message as it goes on the wire.
    pub fn to_bytes(&self) -> Vec<u8> {
        match self {
            Self::Request(request) => request.to_bytes(),
            Self::Response(response) => response.to_bytes(),
        }
    }
}

#[cfg(test)]
mod tests;
