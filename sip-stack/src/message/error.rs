//! What can be wrong with a peer's message, and the one place that maps it to a status code.

use std::fmt;

use super::StatusCode;

/// A piece of a message that does not follow the grammar.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{header}: {reason} at byte {offset}")]
pub struct ParseError {
    /// The header, or the part of the start line, in its canonical spelling.
    pub header: &'static str,
    /// Bytes from the start of the message, or from the start of the value when a value was parsed on its own.
    pub offset: usize,
    /// What the grammar wanted.
    pub reason: Reason,
}

/// What the grammar wanted where a [`ParseError`] points.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// Something else stands here; the text names what the grammar has.
    Expected(&'static str),
    /// A number beyond what the RFC, or its field, can hold.
    OutOfRange,
    /// A header that must be there is not.
    Missing,
    /// A header that may occur once occurs again.
    Repeated,
    /// Longer or more numerous than [`Limits`](super::Limits) allows; the limit is given.
    TooLarge(usize),
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Expected(what) => write!(f, "expected {what}"),
            Self::OutOfRange => f.write_str("number out of range"),
            Self::Missing => f.write_str("missing"),
            Self::Repeated => f.write_str("more than one value"),
            Self::TooLarge(limit) => write!(f, "larger than the limit of {limit}"),
        }
    }
}

/// Why a peer's message could not be used. [`status`](Self::status) is the one place that maps it to a response.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PeerError {
    /// Does not parse.
    #[error("malformed: {0}")]
    Malformed(#[from] ParseError),
    /// Parses but breaks the protocol.
    #[error("misbehaved: {0}")]
    Misbehaved(Misbehaviour),
    /// Right by the RFC, but we cannot.
    #[error("incompatible: {0}")]
    Incompatible(Incompatibility),
}

/// A well-formed message at the wrong place or time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Misbehaviour {
    /// The method in CSeq is not that of the start line (RFC 3261 §8.1.1.5).
    #[error("CSeq names another method")]
    CseqMethod,
    /// CSeq is lower than one already seen in the dialog (RFC 3261 §12.2.2).
    #[error("CSeq went backwards")]
    CseqBackwards,
    /// No dialog or transaction matches (RFC 3261 §12.2.2, §9.2).
    #[error("no such dialog or transaction")]
    NoSuchDialog,
    /// The same request arrived over two paths (RFC 3261 §8.2.2.2).
    #[error("merged request")]
    Merged,
    /// The datagram ends before the body its Content-Length promises (RFC 3261 §18.3).
    #[error("body shorter than Content-Length")]
    ShortBody,
    /// A response with a Via below ours, which somebody else should have received (RFC 3261 §8.1.3.3).
    #[error("response for somebody else")]
    ForeignResponse,
    /// A call that is answered was to be replaced only if it is not (RFC 3891 §3).
    #[error("already answered")]
    Answered,
    /// A call that is ending was to be replaced (RFC 3891 §3).
    #[error("already ending")]
    Terminated,
    /// A request arrived while another of the same kind is under way (RFC 3261 §14.2).
    #[error("request still pending")]
    Pending,
}

/// Something we do not offer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Incompatibility {
    /// A protocol version other than SIP/2.0.
    #[error("SIP version")]
    Version,
    /// The Request-URI has a scheme we cannot route.
    #[error("URI scheme")]
    UriScheme,
    /// We know of no such method.
    #[error("unknown method")]
    UnknownMethod,
    /// We know the method but do not take it here.
    #[error("method not allowed")]
    Method,
    /// Option tags in Require that we lack; they go into Unsupported.
    #[error("extensions")]
    Extensions(Vec<String>),
    /// An event package we do not have; the response carries Allow-Events.
    #[error("event package")]
    Event,
    /// The body's type or encoding; the response carries Accept.
    #[error("body type")]
    BodyType,
    /// The peer accepts no body type we can produce.
    #[error("nothing acceptable to the peer")]
    Accept,
    /// No codec, address or media type in common.
    #[error("session description")]
    Session,
    /// Larger than we hold.
    #[error("message too large")]
    TooLarge,
}

impl PeerError {
    /// The status code a UAS answers with.
    pub fn status(&self) -> StatusCode {
        match self {
            Self::Malformed(ParseError { reason: Reason::TooLarge(_), .. }) => StatusCode::MESSAGE_TOO_LARGE,
            Self::Malformed(_) => StatusCode::BAD_REQUEST,
            Self::Misbehaved(misbehaviour) => misbehaviour.status(),
            Self::Incompatible(incompatibility) => incompatibility.status(),
        }
    }
}

impl Misbehaviour {
    fn status(self) -> StatusCode {
        match self {
            Self::CseqMethod | Self::ShortBody | Self::ForeignResponse => StatusCode::BAD_REQUEST,
            Self::CseqBackwards => StatusCode::SERVER_INTERNAL_ERROR,
            Self::NoSuchDialog => StatusCode::CALL_DOES_NOT_EXIST,
            Self::Merged => StatusCode::LOOP_DETECTED,
            Self::Answered => StatusCode::BUSY_HERE,
            Self::Terminated => StatusCode::DECLINE,
            Self::Pending => StatusCode::REQUEST_PENDING,
        }
    }
}

impl Incompatibility {
    fn status(&self) -> StatusCode {
        match self {
            Self::Version => StatusCode::VERSION_NOT_SUPPORTED,
            Self::UriScheme => StatusCode::UNSUPPORTED_URI_SCHEME,
            Self::UnknownMethod => StatusCode::NOT_IMPLEMENTED,
            Self::Method => StatusCode::METHOD_NOT_ALLOWED,
            Self::Extensions(_) => StatusCode::BAD_EXTENSION,
            Self::Event => StatusCode::BAD_EVENT,
            Self::BodyType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::Accept => StatusCode::NOT_ACCEPTABLE,
            Self::Session => StatusCode::NOT_ACCEPTABLE_HERE,
            Self::TooLarge => StatusCode::MESSAGE_TOO_LARGE,
        }
    }
}
