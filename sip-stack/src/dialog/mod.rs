//! Dialogs: the peer state that a call leaves on both sides (RFC 3261 §12).
//!
//! A [`Dialog`] makes the requests within it and checks the order of those that come. It does not know whether it is
//! early or confirmed, who may end it, or what a session is: that is the call's business. Left out on purpose: dialogs
//! made by anything but INVITE.

mod id;
mod path;
mod route_set;
pub(crate) mod session_timer;

pub(crate) use id::DialogId;
pub(crate) use path::path_to;
pub(crate) use route_set::RouteSet;

use crate::endpoint::Source;
use crate::message::{
    CSeq, HeaderName, Method, Misbehaviour, NameAddr, ParseError, PeerError, Reason, Request, Response, Uri,
};

/// See the [module](self).
#[derive(Debug, Clone)]
pub(crate) struct Dialog {
    pub(crate) id: DialogId,
    /// Who we are in it, with our tag.
    local: NameAddr,
    /// Who they are, with their tag.
    remote: NameAddr,
    local_cseq: u32,
    /// `None` until they have sent a request.
    remote_cseq: Option<u32>,
    route_set: RouteSet,
    remote_target: Uri,
    /// RSeq of their latest reliable provisional response (RFC 3262 §4).
    pub(crate) last_rseq: Option<u32>,
    /// Our Contact, as they know it.
    pub(crate) contact: NameAddr,
    /// How their latest message came.
    pub(crate) path: Source,
}

impl Dialog {
    /// The UAS side (§12.1.1).
    ///
    /// # Errors
    /// A header that makes a dialog is missing or cannot be read.
    pub(crate) fn of_request(
        request: &Request,
        local_tag: &str,
        contact: NameAddr,
        path: Source,
    ) -> Result<Self, PeerError> {
        let headers = &request.headers;
        let remote = headers.from()?;
        let target = match headers.contact()? {
            Some(contact) => contact,
            // A peer of RFC 2543 need not say: then it is who it says to be (RFC 4475 §3.4.1).
            None if headers.via()?.rfc3261_branch().is_none() => remote.clone(),
            None => return Err(ParseError { header: "Contact", offset: 0, reason: Reason::Missing }.into()),
        };
        Ok(Self {
            id: DialogId::new(headers.call_id()?, local_tag, remote.tag()),
            local: headers.to()?.with_tag(local_tag),
            remote,
            local_cseq: 0,
            remote_cseq: Some(headers.cseq()?.number),
            route_set: RouteSet::of_request(headers)?,
            remote_target: target.uri,
            last_rseq: None,
            contact,
            path,
        })
    }

    /// The UAC side (§12.1.2). A response without Contact leaves the target where the request went.
    ///
    /// # Errors
    /// A header that makes a dialog is missing or cannot be read.
    pub(crate) fn of_response(
        request: &Request,
        response: &Response,
        contact: NameAddr,
        path: Source,
    ) -> Result<Self, PeerError> {
        let headers = &response.headers;
        let local = request.headers.from()?;
        let remote = headers.to()?;
        let target = headers.contact()?.map_or_else(|| request.uri.clone(), |contact| contact.uri);
        Ok(Self {
            id: DialogId::new(request.headers.call_id()?, local.tag().unwrap_or_default(), remote.tag()),
            local,
            remote,
            local_cseq: request.headers.cseq()?.number,
            remote_cseq: None,
            route_set: RouteSet::of_response(headers)?,
            remote_target: target,
            last_rseq: None,
            contact,
            path,
        })
    }

    /// Takes over what an early dialog with the same peer has seen, when its 2xx makes it anew (§13.2.2.4).
    pub(crate) fn continue_early(&mut self, early: &Self) {
        self.remote_cseq = early.remote_cseq;
        self.local_cseq = early.local_cseq.max(self.local_cseq);
    }

    /// Checks that a request of theirs comes in order, and remembers its number (§12.2.2).
    ///
    /// # Errors
    /// 500: its CSeq is lower than one before.
    pub(crate) fn check_cseq(&mut self, number: u32) -> Result<(), PeerError> {
        if self.remote_cseq.is_some_and(|seen| number < seen) {
            return Err(PeerError::Misbehaved(Misbehaviour::CseqBackwards));
        }
        self.remote_cseq = Some(number);
        Ok(())
    }

    /// A target refresh went through: they are to be reached elsewhere from now on (§12.2). The route set stays.
    pub(crate) fn refresh_target(&mut self, contact: Option<NameAddr>) {
        if let Some(contact) = contact {
            self.remote_target = contact.uri;
        }
    }

    /// The next request of ours, without Via and body (§12.2.1.1).
    pub(crate) fn request(&mut self, method: Method) -> Request {
        let number = self.next_cseq();
        self.numbered(method, number)
    }

    /// The number of our next request.
    pub(crate) fn next_cseq(&mut self) -> u32 {
        // Below 2^31 by the RFC; a dialog does not last that long.
        self.local_cseq = self.local_cseq.wrapping_add(1);
        self.local_cseq
    }

    /// The ACK to a 2xx: a request of its own with the INVITE's number (§13.2.2.4).
    pub(crate) fn ack(&self, cseq: u32) -> Request {
        self.numbered(Method::Ack, cseq)
    }

    fn numbered(&self, method: Method, number: u32) -> Request {
        let mut request = Request::new(method.clone(), self.remote_target.clone());
        self.route_set.apply(&mut request);
        request.headers.push(HeaderName::MAX_FORWARDS, 70);
        request.headers.push(HeaderName::FROM, &self.local);
        request.headers.push(HeaderName::TO, &self.remote);
        request.headers.push(HeaderName::CALL_ID, &self.id.call_id);
        request.headers.push(HeaderName::CSEQ, CSeq { number, method });
        request
    }

    /// The URI whose host gets the next request: the first hop of the route set, else the remote target (§8.1.2).
    fn next_hop(&self) -> &Uri {
        self.route_set.first().unwrap_or(&self.remote_target)
    }
}

#[cfg(test)]
mod tests;
