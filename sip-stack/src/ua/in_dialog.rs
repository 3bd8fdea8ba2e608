//! What both sides do once a call is up: BYE and re-INVITE (RFC 3261 §14, §15).

use std::time::Instant;

use super::call::{OwnReinvite, PeerInvite, Phase, REINVITE_PATIENCE};
use super::incoming::sdp_of;
use super::uas::peer_invite;
use super::{Purpose, SDP};
use crate::endpoint::{CallHandle, EndCause, Endpoint, EndpointMisuse, Event};
use crate::message::header::{ReasonHeader, RetryAfter};
use crate::message::{HeaderName, Method, Misbehaviour, PeerError, Request, Response, StatusCode};
use crate::transaction::table::TransactionId;

/// The upper end of the random Retry-After when a second INVITE overtakes the first (RFC 3261 §14.2). Seconds.
const REINVITE_RETRY_SECONDS: u32 = 10;

impl Endpoint {
    pub(super) fn receive_bye(&mut self, id: TransactionId, request: &Request, handle: CallHandle, now: Instant) {
        let response = self.response(request, StatusCode::OK, &self.to_tag(id));
        self.respond_anyway(id, &response, now);
        let Some(call) = self.calls.get(&handle) else { return };
        if matches!(call.phase, Phase::Ending) {
            // Both have hung up at once; our own BYE's response ends the call.
            return;
        }
        if let Phase::Outgoing(outgoing) = &call.phase {
            let transaction = outgoing.transaction;
            self.transactions.give_up(transaction);
        }
        self.terminate_invite(handle, now);
        let reason = request.headers.reasons().unwrap_or_default().into_iter().next();
        self.emit(Event::ByeReceived { call: handle, reason });
        self.end(handle, EndCause::PeerHungUp, now);
    }

    pub(super) fn receive_reinvite(&mut self, id: TransactionId, request: Request, handle: CallHandle, now: Instant) {
        if self.refuse_small_interval(id, &request, now) {
            return;
        }
        if let Err(error) = self.admit_reinvite(handle, now) {
            return match error {
                PeerError::Misbehaved(Misbehaviour::CseqBackwards) => self.refuse_overtaking(id, &request, now),
                PeerError::Malformed(_) | PeerError::Misbehaved(_) | PeerError::Incompatible(_) => {
                    self.refuse(id, &request, &error, now);
                }
            };
        }
        let invite = match peer_invite(id, &request) {
            Ok(invite) => invite,
            Err(error) => return self.refuse(id, &request, &error.into(), now),
        };
        self.respond_anyway(id, &Response::to(&request, StatusCode::TRYING, None), now);
        self.own_server(id, handle);
        let offer = sdp_of(&request.headers, &request.body);
        self.emit(Event::ReinviteReceived { call: handle, request: invite.request.clone(), offer });
        if let Some(call) = self.calls.get_mut(&handle) {
            call.peer_reinvite = Some(invite);
        }
    }

    /// May another INVITE start now?
    ///
    /// One that comes instead of the ACK says as much as the ACK: they have seen our 2xx. Not if the ACK would have
    /// brought the answer to our offer.
    fn admit_reinvite(&mut self, handle: CallHandle, now: Instant) -> Result<(), PeerError> {
        let Some(call) = self.calls.get_mut(&handle) else {
            return Err(PeerError::Misbehaved(Misbehaviour::NoSuchDialog));
        };
        match &call.phase {
            Phase::Incoming(_) => return Err(PeerError::Misbehaved(Misbehaviour::CseqBackwards)),
            Phase::Outgoing(_) => return Err(PeerError::Misbehaved(Misbehaviour::Pending)),
            Phase::Ending => return Err(PeerError::Misbehaved(Misbehaviour::NoSuchDialog)),
            Phase::Up => {}
        }
        if call.peer_reinvite.is_some() || call.peer_update.is_some() {
            return Err(PeerError::Misbehaved(Misbehaviour::CseqBackwards));
        }
        if call.is_negotiating() {
            return Err(PeerError::Misbehaved(Misbehaviour::Pending));
        }
        if let Some(pending) = call.pending_ack.take() {
            let ends = call.bye_waiting.is_some();
            self.emit_confirmed(handle, pending.is_reinvite, None);
            self.after_ack(handle, now);
            if ends {
                return Err(PeerError::Misbehaved(Misbehaviour::NoSuchDialog));
            }
        }
        Ok(())
    }

    /// 500 with a random wait: theirs overtakes one of theirs (RFC 3261 §14.2, RFC 3311 §5.2).
    pub(super) fn refuse_overtaking(&mut self, id: TransactionId, request: &Request, now: Instant) {
        let mut response = self.response(request, StatusCode::SERVER_INTERNAL_ERROR, &self.to_tag(id));
        let seconds = self.random.below(REINVITE_RETRY_SECONDS + 1);
        response.headers.push(HeaderName::RETRY_AFTER, RetryAfter::new(seconds));
        self.respond_anyway(id, &response, now);
    }

    pub(crate) fn do_answer_reinvite(
        &mut self,
        handle: CallHandle,
        sdp: Vec<u8>,
        now: Instant,
    ) -> Result<(), EndpointMisuse> {
        let invite = self.waiting_reinvite(handle)?;
        let call = self.calls.get_mut(&handle).ok_or(EndpointMisuse::UnknownCall)?;
        let dialog = call.dialog.as_mut().ok_or(EndpointMisuse::WrongState)?;
        dialog.refresh_target(invite.request.headers.contact().ok().flatten());
        let (tag, contact) = (dialog.id.local_tag().to_owned(), dialog.contact.clone());
        call.peer_reinvite = None;
        call.local_sdp = Some(sdp.clone());
        Self::note_abilities(call, &invite.request.headers);
        let mut response = self.dialog_response(&invite.request, StatusCode::OK, &tag, &contact, Some(sdp));
        self.agree_on_session(handle, &invite.request, &mut response, now);
        self.respond_within(invite.transaction, &response, now)?;
        self.await_ack(handle, &invite, &response, true, now);
        Ok(())
    }

    pub(crate) fn do_reject_reinvite(
        &mut self,
        handle: CallHandle,
        status: StatusCode,
        now: Instant,
    ) -> Result<(), EndpointMisuse> {
        let invite = self.waiting_reinvite(handle)?;
        if status.class() < 3 {
            return Err(EndpointMisuse::WrongStatus);
        }
        if let Some(call) = self.calls.get_mut(&handle) {
            call.peer_reinvite = None;
        }
        let response = self.response(&invite.request, status, &self.to_tag(invite.transaction));
        self.respond_within(invite.transaction, &response, now)
    }

    fn waiting_reinvite(&self, handle: CallHandle) -> Result<PeerInvite, EndpointMisuse> {
        let call = self.calls.get(&handle).ok_or(EndpointMisuse::UnknownCall)?;
        call.peer_reinvite.clone().ok_or(EndpointMisuse::WrongState)
    }

    pub(crate) fn do_bye(
        &mut self,
        handle: CallHandle,
        reason: Option<ReasonHeader>,
        now: Instant,
    ) -> Result<(), EndpointMisuse> {
        let call = self.calls.get_mut(&handle).ok_or(EndpointMisuse::UnknownCall)?;
        match &call.phase {
            Phase::Outgoing(_) => return self.do_cancel(handle, reason, now),
            Phase::Incoming(_) | Phase::Ending => return Err(EndpointMisuse::WrongState),
            Phase::Up if call.bye_waiting.is_some() => return Err(EndpointMisuse::WrongState),
            Phase::Up => {}
        }
        if call.pending_ack.as_ref().is_some_and(|pending| !pending.is_reinvite) {
            call.bye_waiting = Some(reason);
            call.end_cause.get_or_insert(EndCause::HungUp);
            return Ok(());
        }
        self.send_bye(handle, reason, EndCause::HungUp, now);
        Ok(())
    }

    /// Ends the session; the call ends with the response.
    pub(super) fn send_bye(&mut self, handle: CallHandle, reason: Option<ReasonHeader>, cause: EndCause, now: Instant) {
        self.terminate_invite(handle, now);
        self.terminate_update(handle, now);
        let Some(call) = self.calls.get_mut(&handle) else { return };
        call.end_cause.get_or_insert(cause);
        call.phase = Phase::Ending;
        call.pending_ack = None;
        let unacked = call.unacked.take();
        self.reschedule(handle);
        if let Some(unacked) = unacked {
            self.send_ack(handle, unacked, None);
        }
        let headers = reason.map(|reason| (HeaderName::REASON, reason.to_string())).into_iter().collect();
        if self.send_in_dialog(handle, Method::Bye, Purpose::Bye, headers, None, now).is_err() {
            // No room to wait for its response.
            self.end(handle, cause, now);
        }
    }

    pub(crate) fn do_reinvite(
        &mut self,
        handle: CallHandle,
        offer: Option<Vec<u8>>,
        now: Instant,
    ) -> Result<(), EndpointMisuse> {
        let call = self.calls.get_mut(&handle).ok_or(EndpointMisuse::UnknownCall)?;
        let is_up = matches!(call.phase, Phase::Up) && call.bye_waiting.is_none();
        let is_idle = call.pending_ack.is_none() && !call.owes_answer() && call.peer_update.is_none();
        if !is_up || !is_idle || call.is_negotiating() {
            return Err(EndpointMisuse::WrongState);
        }
        let sdp = offer.clone();
        let body = offer.map(|offer| (SDP, offer));
        let transaction = self.send_in_dialog(handle, Method::Invite, Purpose::Reinvite, Vec::new(), body, now)?;
        if let Some(call) = self.calls.get_mut(&handle) {
            call.local_sdp = sdp.or(call.local_sdp.take());
            call.own_reinvite = Some(OwnReinvite { transaction, give_up_at: now + REINVITE_PATIENCE });
        }
        self.reschedule(handle);
        Ok(())
    }

    /// A response to our re-INVITE.
    pub(super) fn on_reinvite_response(
        &mut self,
        handle: CallHandle,
        id: TransactionId,
        has_offer: bool,
        response: &Response,
        now: Instant,
    ) {
        if response.status.is_provisional() {
            return;
        }
        let Some(call) = self.calls.get_mut(&handle) else { return };
        call.own_reinvite = None;
        self.reschedule(handle);
        if !response.status.is_success() {
            return self.on_reinvite_failure(handle, response.status, now);
        }
        let Some(call) = self.calls.get_mut(&handle) else { return };
        if let Some(dialog) = &mut call.dialog {
            dialog.refresh_target(response.headers.contact().ok().flatten());
        }
        Self::note_abilities(call, &response.headers);
        let is_up = matches!(call.phase, Phase::Up);
        self.take_session_grant(handle, &response.headers, now);
        self.acknowledge(handle, id, has_offer, response);
        if !is_up {
            return;
        }
        let sdp = sdp_of(&response.headers, &response.body);
        self.emit(Event::ReinviteAnswered { call: handle, sdp });
    }

    /// The session stays as it was, but without the dialog there is no session (RFC 3261 §12.2.1.2, §14.1).
    pub(super) fn on_reinvite_failure(&mut self, handle: CallHandle, status: StatusCode, now: Instant) {
        let Some(call) = self.calls.get_mut(&handle) else { return };
        call.own_reinvite = None;
        let is_ending = matches!(call.phase, Phase::Ending);
        self.reschedule(handle);
        if is_ending {
            return;
        }
        self.emit(Event::ReinviteRejected { call: handle, status });
        if matches!(status, StatusCode::CALL_DOES_NOT_EXIST | StatusCode::REQUEST_TIMEOUT) {
            return self.send_bye(handle, None, EndCause::DialogLost, now);
        }
        self.note_failed_refresh(handle, status == StatusCode::REQUEST_PENDING, now);
    }
}
