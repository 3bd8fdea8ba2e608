//! What the user of an endpoint asks of its calls.

use std::time::Instant;

use super::outgoing::{Answer, DialogRequest, OutgoingInvite, OutgoingRequest};
use super::{CallHandle, Endpoint, EndpointMisuse, PeerRequestHandle, RequestHandle};
use crate::digest::Credentials;
use crate::message::header::ReasonHeader;
use crate::message::{HeaderName, StatusCode};

impl Endpoint {
    /// Tells the caller that it rings: 180, or 183 with a session description for early media.
    ///
    /// # Errors
    /// [`EndpointMisuse`]: not an incoming call, or it has its final response.
    pub fn ring(&mut self, call: CallHandle, sdp: Option<Vec<u8>>, now: Instant) -> Result<(), EndpointMisuse> {
        self.undecided.remove(&call);
        let result = self.do_ring(call, sdp, now);
        self.settle(now);
        result
    }

    /// Answers with 200, repeated until the ACK is here. `sdp` is the answer, or our offer if the INVITE had none.
    ///
    /// # Errors
    /// [`EndpointMisuse`]: not an incoming call, or it has its final response.
    pub fn answer(&mut self, call: CallHandle, sdp: Vec<u8>, now: Instant) -> Result<(), EndpointMisuse> {
        self.undecided.remove(&call);
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
        self.undecided.remove(&call);
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

    /// Asks for another session by UPDATE, if the peer takes it (RFC 3311). `None` only refreshes what there is.
    ///
    /// # Errors
    /// [`EndpointMisuse`]: the call is not up, or another offer is under way.
    pub fn update(&mut self, call: CallHandle, offer: Option<Vec<u8>>, now: Instant) -> Result<(), EndpointMisuse> {
        let result = self.do_update(call, offer, now);
        self.settle(now);
        result
    }

    /// Accepts the offer in the peer's UPDATE.
    ///
    /// # Errors
    /// [`EndpointMisuse`]: there is none to answer.
    pub fn answer_update(&mut self, call: CallHandle, sdp: Vec<u8>, now: Instant) -> Result<(), EndpointMisuse> {
        let result = self.do_answer_update(call, sdp, now);
        self.settle(now);
        result
    }

    /// Refuses the offer in the peer's UPDATE with 300 to 699; the session stays as it was.
    ///
    /// # Errors
    /// [`EndpointMisuse`]: there is none to answer, or another status.
    pub fn reject_update(&mut self, call: CallHandle, status: StatusCode, now: Instant) -> Result<(), EndpointMisuse> {
        let result = self.do_reject_update(call, status, now);
        self.settle(now);
        result
    }

    /// What to answer with when a peer asks who we are within this call. An [`OutgoingInvite`] brings its own.
    ///
    /// # Errors
    /// [`EndpointMisuse::UnknownCall`].
    pub fn set_credentials(&mut self, call: CallHandle, credentials: Vec<Credentials>) -> Result<(), EndpointMisuse> {
        self.do_set_credentials(call, credentials)
    }

    /// Sends a request that belongs to no call: OPTIONS, MESSAGE, SUBSCRIBE and others.
    ///
    /// # Errors
    /// [`EndpointMisuse`]: no room, or a method that has a command of its own.
    pub fn request(&mut self, request: OutgoingRequest, now: Instant) -> Result<RequestHandle, EndpointMisuse> {
        let result = self.do_request(request, now);
        self.settle(now);
        result
    }

    /// Sends a request within a call that is up, or that we place and that rings: INFO, MESSAGE, NOTIFY and others.
    ///
    /// # Errors
    /// [`EndpointMisuse`]: no room, no dialog yet or none any more, or a method that has a command of its own.
    pub fn request_within(
        &mut self,
        call: CallHandle,
        request: DialogRequest,
        now: Instant,
    ) -> Result<RequestHandle, EndpointMisuse> {
        let result = self.do_request_within(call, request, now);
        self.settle(now);
        result
    }

    /// Answers a request that [`Event::RequestReceived`](super::Event::RequestReceived) told of. A provisional answer
    /// may come before the final one.
    ///
    /// # Errors
    /// [`EndpointMisuse::UnknownRequest`]: it has its final response, maybe from us because it waited for too long.
    pub fn respond(&mut self, request: PeerRequestHandle, answer: Answer, now: Instant) -> Result<(), EndpointMisuse> {
        let result = self.do_respond(request, answer, now);
        self.settle(now);
        result
    }
}
