//! Responses (RFC 3261 §7.2).

use std::borrow::Cow;

use super::error::PeerError;
use super::headers::Headers;
use super::request::Request;
use super::status::StatusCode;
use super::version::Version;

/// A response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    /// SIP/2.0.
    pub version: Version,
    /// What became of the request.
    pub status: StatusCode,
    /// For people; need not be UTF-8.
    pub reason: Vec<u8>,
    /// In order.
    pub headers: Headers,
    /// Empty if there is none. Content-Length is written from it, not from the headers.
    pub body: Vec<u8>,
    pub(crate) flaw: Option<PeerError>,
}

impl Response {
    /// A response without headers.
    pub fn new(status: StatusCode) -> Self {
        Self {
            version: Version::V2,
            status,
            reason: status.default_reason().into(),
            headers: Headers::default(),
            body: Vec::new(),
            flaw: None,
        }
    }

    /// The response a UAS gives to `request` (RFC 3261 §8.2.6): Via, From, To, Call-ID and CSeq copied, Timestamp in a
    /// 100, Record-Route in a response that may create a dialog (§12.1.1). `to_tag` is added to To unless it has one.
    pub fn to(_request: &Request, _status: StatusCode, _to_tag: Option<&str>) -> Self {
        todo!()
    }

    /// May a UAC work on it? If not, it is to be dropped (RFC 3261 §8.1.3, §18.1.2).
    pub fn check(&self) -> Result<(), PeerError> {
        todo!()
    }

    /// The reason phrase as text; what is not UTF-8 is replaced.
    pub fn reason_text(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(&self.reason)
    }

    /// Sets body and Content-Type.
    pub fn set_body(&mut self, content_type: &str, body: Vec<u8>) {
        self.headers.set(super::HeaderName::CONTENT_TYPE, content_type);
        self.body = body;
    }

    /// The message as it goes on the wire.
    pub fn to_bytes(&self) -> Vec<u8> {
        todo!()
    }
}
