//! What the user of an endpoint asks of its calls.

use std::net::SocketAddr;
use std::time::Instant;

use super::{CallHandle, Endpoint, EndpointMisuse, Transport};
use crate::message::header::ReasonHeader;
use crate::message::{HeaderName, NameAddr, StatusCode, Uri};

/// A call to place.
#[derive(Debug, Clone)]
pub struct OutgoingInvite {
    /// Request-URI: whom to call.
    pub target: Uri,
    /// Who calls; a tag is added.
    pub from: NameAddr,
    /// Whom we call, in the caller's words; mostly the same address as `target`.
    pub to: NameAddr,
    /// Where in-dialog requests shall go; `None` takes the transport's own Contact.
    pub contact: Option<NameAddr>,
    /// Where to send it; the stack looks no names up.
    pub peer: SocketAddr,
    /// How to send it. Over UDP also when it is larger than 1300 bytes: RFC 3261 §18.1.1 asks for TCP then.
    pub transport: Transport,
    /// Session description; `None` leaves the offer to the callee (late offer).
    pub offer: Option<Vec<u8>>,
    /// More headers. Those that the stack makes itself are ignored.
    pub headers: Vec<(HeaderName, String)>,
}

impl Endpoint {
    /// Tells the caller that it rings: 180, or 183 with a session description for early media.
    ///
    /// # Errors
    /// [`EndpointMisuse`]: not an incoming call, or it has its final response.
    pub fn ring(&mut self, call: CallHandle, sdp: Option<Vec<u8>>, now: Instant) -> Result<(), EndpointMisuse> {
        let result = self.do_ring(call, sdp, now);
        self.settle(now);
        result
    }

    /// Answers with 200, repeated until the ACK is here. `sdp` is the answer, or our offer if the INVITE had none.
    ///
    /// # Errors
    /// [`EndpointMisuse`]: not an incoming call, or it has its final response.
    pub fn answer(&mut self, call: CallHandle, sdp: Vec<u8>, now: Instant) -> Result<(), EndpointMisuse> {
        let result = self.do_answer(call, sdp, now);
        self.settle(now);
        result
    }

    /// Refuses the call with 300 to 699, and ends it.
    ///
    /// # Errors
    /// [`EndpointMisuse`]: not an incoming call, it has its final response, or another status.
    pub fn reject(
        &mut self,
        call: CallHandle,
        status: StatusCode,
        headers: &[(HeaderName, String)],
        now: Instant,
    ) -> Result<(), EndpointMisuse> {
        let result = self.do_reject(call, status, headers, now);
        self.settle(now);
        result
    }

    /// Accepts the peer's re-INVITE.
    ///
    /// # Errors
    /// [`EndpointMisuse`]: there is none to answer.
    pub fn answer_reinvite(&mut self, call: CallHandle, sdp: Vec<u8>, now: Instant) -> Result<(), EndpointMisuse> {
        let result = self.do_answer_reinvite(call, sdp, now);
        self.settle(now);
        result
    }

    /// Refuses the peer's re-INVITE with 300 to 699; the session stays as it was.
    ///
    /// # Errors
    /// [`EndpointMisuse`]: there is none to answer, or another status.
    pub fn reject_reinvite(
        &mut self,
        call: CallHandle,
        status: StatusCode,
        now: Instant,
    ) -> Result<(), EndpointMisuse> {
        let result = self.do_reject_reinvite(call, status, now);
        self.settle(now);
        result
    }

    /// Hangs up. Before our ACK is here the BYE waits for it (RFC 3261 §15); of a call that we place and that is not
    /// yet answered it makes a [`cancel`](Self::cancel).
    ///
    /// # Errors
    /// [`EndpointMisuse`]: an incoming call without final response is rejected instead; a BYE is already out.
    pub fn bye(&mut self, call: CallHandle, reason: Option<ReasonHeader>, now: Instant) -> Result<(), EndpointMisuse> {
        let result = self.do_bye(call, reason, now);
        self.settle(now);
        result
    }

    /// Places a call. Once it rings nothing ends the wait but an answer or [`cancel`](Self::cancel): how long somebody
    /// may ring is the user's choice.
    ///
    /// # Errors
    /// [`EndpointMisuse::Full`].
    pub fn invite(&mut self, invite: OutgoingInvite, now: Instant) -> Result<CallHandle, EndpointMisuse> {
        let result = self.do_invite(invite, now);
        self.settle(now);
        result
    }

    /// Takes our INVITE back: at once, or as soon as the first provisional response is here (RFC 3261 §9.1). If the
    /// answer was faster the endpoint confirms it and hangs up.
    ///
    /// # Errors
    /// [`EndpointMisuse`]: not a call that we place, or it has its final response.
    pub fn cancel(
        &mut self,
        call: CallHandle,
        reason: Option<ReasonHeader>,
        now: Instant,
    ) -> Result<(), EndpointMisuse> {
        let result = self.do_cancel(call, reason, now);
        self.settle(now);
        result
    }

    /// Confirms a 2xx whose session description was an offer, with our answer.
    ///
    /// # Errors
    /// [`EndpointMisuse`]: no such 2xx is waiting.
    pub fn ack_with_answer(&mut self, call: CallHandle, sdp: Vec<u8>, now: Instant) -> Result<(), EndpointMisuse> {
        let result = self.do_ack_with_answer(call, sdp);
        self.settle(now);
        result
    }

    /// Asks for another session within a call that is up: hold, resume, other codecs. `None` asks for their offer.
    ///
    /// # Errors
    /// [`EndpointMisuse`]: the call is not up, or another re-INVITE is under way.
    pub fn reinvite(&mut self, call: CallHandle, offer: Option<Vec<u8>>, now: Instant) -> Result<(), EndpointMisuse> {
        let result = self.do_reinvite(call, offer, now);
        self.settle(now);
        result
    }
}
