//! Requests (RFC 3261 §7.1).

use super::error::PeerError;
use super::header::HeaderName;
use super::headers::Headers;
use super::method::Method;
use super::uri::Uri;
use super::version::Version;

/// A request. One that was received may still be wrong in ways that can be answered: [`check`](Self::check) it first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// What is asked for.
    pub method: Method,
    /// Of whom.
    pub uri: Uri,
    /// SIP/2.0.
    pub version: Version,
    /// In order.
    pub headers: Headers,
    /// Empty if there is none. Content-Length is printed from it, not from the headers.
    pub body: Vec<u8>,
    /// What was wrong with the message as a whole, to be answered rather than ignored.
    pub(crate) flaw: Option<PeerError>,
}

impl Request {
    /// A request without headers.
    pub fn new(method: Method, uri: impl Into<Uri>) -> Self {
        Self {
            method,
            uri: uri.into(),
            version: Version::V2,
            headers: Headers::default(),
            body: Vec::new(),
            flaw: None,
        }
    }

    /// Sets body and Content-Type.
    pub fn set_body(&mut self, content_type: &str, body: Vec<u8>) {
        self.headers.set(HeaderName::CONTENT_TYPE, content_type);
        self.body = body;
    }

    /// The message as it goes on the wire.
    pub fn to_bytes(&self) -> Vec<u8> {
        super::print::request(self)
    }
}
