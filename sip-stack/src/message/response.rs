//! Responses (RFC 3261 §7.2).

use std::borrow::Cow;

use super::error::PeerError;
use super::header::HeaderName;
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
    /// Empty if there is none. Content-Length is printed from it, not from the headers.
    pub body: Vec<u8>,
    /// What was wrong with the message as a whole.
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

    /// The response a UAS gives to `request` (RFC 3261 §8.2.6): Via, From, To, Call-ID and CSeq copied, Timestamp into
    /// a 100, Record-Route into one that may create a dialog (§12.1.1). `to_tag` is added to To unless To has a tag or
    /// this is a 100. Values are copied raw, so this works for a request that does not parse, too.
    pub fn to(request: &Request, status: StatusCode, to_tag: Option<&str>) -> Self {
        let mut response = Self::new(status);
        let headers = &mut response.headers;
        headers.copy_all(&HeaderName::VIA, &request.headers);
        if (101..=299).contains(&status.as_u16()) {
            headers.copy_all(&HeaderName::RECORD_ROUTE, &request.headers);
        }
        let single = [HeaderName::FROM, HeaderName::TO, HeaderName::CALL_ID, HeaderName::CSEQ];
        for field in single.iter().filter_map(|name| request.headers.first(name)) {
            headers.push_field(field.clone());
        }
        match to_tag {
            _ if status == StatusCode::TRYING => headers.copy_all(&HeaderName::TIMESTAMP, &request.headers),
            Some(tag) => response.add_to_tag(tag),
            None => {}
        }
        response
    }

    fn add_to_tag(&mut self, tag: &str) {
        if self.headers.to().is_ok_and(|to| to.tag().is_none()) {
            self.headers.append_to_first(&HeaderName::TO, &format!(";tag={tag}"));
        }
    }

    /// The reason phrase as text; what is not UTF-8 is replaced.
    pub fn reason_text(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(&self.reason)
    }

    /// Sets body and Content-Type.
    pub fn set_body(&mut self, content_type: &str, body: Vec<u8>) {
        self.headers.set(HeaderName::CONTENT_TYPE, content_type);
        self.body = body;
    }

    /// The message as it goes on the wire.
    pub fn to_bytes(&self) -> Vec<u8> {
        super::print::response(self)
    }
}
