//! The verdict on one message by itself (RFC 3261 §8.1.3, §8.2): what a UAS answers, what a UAC drops.
//!
//! [`Request::check`] is for every request. The checks after it depend on what the UAS offers, and come in the order of
//! RFC 3261 §8.2: method, extensions, body. Only headers that are needed to work on the message are read; a bad Date
//! or Warning spoils nothing (§8.2.2 leaves that to us).

use super::error::{Incompatibility, Misbehaviour, ParseError, PeerError, Reason};
use super::headers::Headers;
use super::method::Method;
use super::uri::Uri;
use super::version::Version;
use super::{Request, Response};

impl Request {
    /// May a UAS work on it at all? A BYE or ACK that fails is answered, or not answered, like any other request.
    ///
    /// # Errors
    /// 505 for another version; 400 for what does not follow the grammar, for a missing or repeated header, for a CSeq
    /// of another method; 416 for a Request-URI that is neither `sip:`, `sips:` nor `tel:`; 513 over the limits.
    pub fn check(&self) -> Result<(), PeerError> {
        if self.version != Version::V2 {
            return Err(PeerError::Incompatible(Incompatibility::Version));
        }
        if let Some(flaw) = &self.flaw {
            return Err(flaw.clone());
        }
        let cseq = check_common(&self.headers)?;
        self.headers.max_forwards()?;
        self.headers.route()?;
        self.headers.require()?;
        if cseq != self.method {
            return Err(PeerError::Misbehaved(Misbehaviour::CseqMethod));
        }
        check_request_uri(&self.uri)
    }

    /// Does the UAS take this method here?
    ///
    /// # Errors
    /// 405 if not; 501 if no RFC we know of has it.
    pub fn check_method(&self, allowed: &[Method]) -> Result<(), PeerError> {
        match &self.method {
            method if allowed.contains(method) => Ok(()),
            method if method.is_known() => Err(PeerError::Incompatible(Incompatibility::Method)),
            _ => Err(PeerError::Incompatible(Incompatibility::UnknownMethod)),
        }
    }

    /// Has the UAS every extension the peer requires? Does not apply to ACK and CANCEL (RFC 3261 §8.2.2.3).
    ///
    /// # Errors
    /// 420 with the option tags for Unsupported.
    pub fn check_extensions(&self, supported: &[&str]) -> Result<(), PeerError> {
        if matches!(self.method, Method::Ack | Method::Cancel) {
            return Ok(());
        }
        let lacking: Vec<String> = self
            .headers
            .require()?
            .into_iter()
            .filter(|tag| !supported.iter().any(|supported| supported.eq_ignore_ascii_case(tag)))
            .collect();
        match lacking.is_empty() {
            true => Ok(()),
            false => Err(PeerError::Incompatible(Incompatibility::Extensions(lacking))),
        }
    }

    /// Can the UAS read the body, if there is one? Types are pairs such as `("application", "sdp")`.
    ///
    /// # Errors
    /// 415 for another type, no type or an encoding; 400 if Content-Type does not parse.
    pub fn check_body(&self, readable: &[(&str, &str)]) -> Result<(), PeerError> {
        if self.body.is_empty() {
            return Ok(());
        }
        let encoding = self.headers.text(&super::HeaderName::CONTENT_ENCODING);
        let is_plain = encoding.is_none_or(|encoding| encoding.is_empty() || encoding.eq_ignore_ascii_case("identity"));
        let is_readable = self
            .headers
            .content_type()?
            .is_some_and(|body_type| readable.iter().any(|(kind, subtype)| body_type.matches(kind, subtype)));
        if is_plain && is_readable { Ok(()) } else { Err(PeerError::Incompatible(Incompatibility::BodyType)) }
    }

    /// Does the peer take a body of this type in the response? Without Accept it takes SDP (RFC 3261 §20.1).
    ///
    /// # Errors
    /// 406 if not; 400 if Accept does not parse.
    pub fn check_accept(&self, kind: &str, subtype: &str) -> Result<(), PeerError> {
        match self.headers.accept()? {
            Some(accepted) if !accepted.iter().any(|range| range.matches(kind, subtype)) => {
                Err(PeerError::Incompatible(Incompatibility::Accept))
            }
            Some(_) | None => Ok(()),
        }
    }
}

impl Response {
    /// May a UAC work on it?
    ///
    /// # Errors
    /// It may not, and there is nobody to tell: the response is to be dropped (RFC 3261 §8.1.3.3, §18.1.2).
    pub fn check(&self) -> Result<(), PeerError> {
        if self.version != Version::V2 {
            return Err(PeerError::Incompatible(Incompatibility::Version));
        }
        if let Some(flaw) = &self.flaw {
            return Err(flaw.clone());
        }
        check_common(&self.headers)?;
        // We are never a proxy: a hop below ours means that the response is not for us.
        match self.headers.vias()?.len() {
            1 => Ok(()),
            _ => Err(PeerError::Misbehaved(Misbehaviour::ForeignResponse)),
        }
    }
}

/// The headers without which there is no transaction and no dialog; gives back the method of CSeq.
fn check_common(headers: &Headers) -> Result<Method, ParseError> {
    headers.via()?;
    headers.vias()?;
    headers.from()?;
    headers.to()?;
    headers.call_id()?;
    headers.contacts()?;
    headers.record_route()?;
    Ok(headers.cseq()?.method)
}

fn check_request_uri(uri: &Uri) -> Result<(), PeerError> {
    match uri {
        Uri::Sip(uri) if uri.headers.is_empty() => Ok(()),
        // Headers have no place here (RFC 3261 §19.1.1, table 1).
        Uri::Sip(_) => {
            let reason = Reason::Expected("a URI without headers");
            Err(ParseError { header: "Request-URI", offset: 0, reason }.into())
        }
        Uri::Tel(_) => Ok(()),
        Uri::Other(_) => Err(PeerError::Incompatible(Incompatibility::UriScheme)),
    }
}
