//! The called side of a call (RFC 3261 §13.3, §9.2).

use std::sync::Arc;
use std::time::Instant;

use super::Use;
use super::call::{Call, Incoming, PeerInvite, PendingAck, Phase, RINGING_INTERVAL, Ringing};
use super::incoming::sdp_of;
use crate::dialog::{Dialog, DialogId};
use crate::endpoint::{CallHandle, EndCause, Endpoint, EndpointMisuse, Event, Source, Transmit};
use crate::message::{HeaderName, Misbehaviour, ParseError, PeerError, Request, Response, StatusCode};
use crate::transaction::table::TransactionId;

impl Endpoint {
    pub(super) fn receive_invite(&mut self, id: TransactionId, request: Request, source: Source, now: Instant) {
        if self.refuse_small_interval(id, &request, now) {
            return;
        }
        let replaces = match self.replaced(&request) {
            Ok(replaces) => replaces,
            Err(error) => return self.refuse(id, &request, &error, now),
        };
        let (invite, dialog) = match self.incoming_dialog(id, &request, source) {
            Ok(made) => made,
            Err(error) => return self.refuse(id, &request, &error, now),
        };
        let handle = CallHandle(self.new_handle());
        self.respond_anyway(id, &Response::to(&request, StatusCode::TRYING, None), now);
        self.own_server(id, handle);
        self.dialogs.insert(dialog.id.clone(), handle);
        let mut call = Call::new(Phase::Incoming(Incoming { invite: invite.clone(), ringing: None }));
        call.dialog = Some(dialog);
        Self::note_abilities(&mut call, &request.headers);
        self.calls.insert(handle, call);
        self.undecided.insert(handle);
        let offer = sdp_of(&request.headers, &request.body);
        self.emit(Event::InviteReceived { call: handle, request: invite.request, source, offer, replaces });
    }

    fn incoming_dialog(
        &self,
        id: TransactionId,
        request: &Request,
        source: Source,
    ) -> Result<(PeerInvite, Dialog), PeerError> {
        let contact = self.contact(source.transport, source.peer);
        let dialog = Dialog::of_request(request, &self.to_tag(id), contact, source)?;
        Ok((peer_invite(id, request)?, dialog))
    }

    /// Notes which call a request of theirs met, so that a CANCEL finds it.
    pub(super) fn own_server(&mut self, id: TransactionId, handle: CallHandle) {
        if let Some(Use::Server(server)) = self.transactions.user_mut(id) {
            server.call = Some(handle);
        }
    }

    pub(super) fn receive_cancel(
        &mut self,
        id: TransactionId,
        request: &Request,
        invite: Option<TransactionId>,
        now: Instant,
    ) {
        let Some(invite) = invite else {
            return self.refuse(id, request, &PeerError::Misbehaved(Misbehaviour::NoSuchDialog), now);
        };
        let response = self.response(request, StatusCode::OK, &self.to_tag(invite));
        self.respond_anyway(id, &response, now);
        let Some(Use::Server(server)) = self.transactions.user(invite) else { return };
        let Some(handle) = server.call else { return };
        let Some(call) = self.calls.get_mut(&handle) else { return };
        // After a final response a CANCEL has no effect (RFC 3261 §9.2).
        if matches!(&call.phase, Phase::Incoming(incoming) if incoming.invite.transaction == invite) {
            self.terminate_invite(handle, now);
            let reason = request.headers.reasons().unwrap_or_default().into_iter().next();
            self.emit(Event::Cancelled { call: handle, reason });
            self.end(handle, EndCause::PeerGaveUp, now);
        } else if call.peer_reinvite.as_ref().is_some_and(|reinvite| reinvite.transaction == invite) {
            self.terminate_invite(handle, now);
            self.emit(Event::ReinviteCancelled { call: handle });
        }
    }

    /// 487 for whatever INVITE of theirs waits for our user.
    pub(super) fn terminate_invite(&mut self, handle: CallHandle, now: Instant) {
        let Some(call) = self.calls.get_mut(&handle) else { return };
        let invite = match &call.phase {
            Phase::Incoming(incoming) => Some(incoming.invite.clone()),
            Phase::Outgoing(_) | Phase::Up | Phase::Ending => call.peer_reinvite.take(),
        };
        let Some(invite) = invite else { return };
        let to_tag = self.to_tag(invite.transaction);
        let response = self.response(&invite.request, StatusCode::REQUEST_TERMINATED, &to_tag);
        self.respond_anyway(invite.transaction, &response, now);
    }

    /// An ACK: for a rejection it belongs to the transaction `known`, for a 2xx to its dialog (RFC 3261 §13.2.2.4).
    pub(super) fn receive_ack(
        &mut self,
        request: &Request,
        source: Source,
        known: Option<TransactionId>,
        now: Instant,
    ) {
        if let Some(id) = known {
            self.transactions.handle_ack(id, now);
        }
        if let Err(error) = request.check() {
            return self.note_peer_error(source, &error, now);
        }
        let dialog = DialogId::of_request(request).ok().flatten();
        let handle = dialog.and_then(|dialog| self.dialogs.get(&dialog).copied());
        match handle {
            Some(handle) => self.confirm(handle, request, now),
            None if known.is_none() => self.counters.stray_acks += 1,
            None => {}
        }
    }

    fn confirm(&mut self, handle: CallHandle, ack: &Request, now: Instant) {
        let Some(call) = self.calls.get_mut(&handle) else { return };
        let number = ack.headers.cseq().map(|cseq| cseq.number);
        let is_awaited = |pending: &mut PendingAck| number == Ok(pending.cseq);
        let Some(pending) = call.pending_ack.take_if(is_awaited) else { return };
        let answer = if pending.expects_answer { sdp_of(&ack.headers, &ack.body) } else { None };
        self.emit_confirmed(handle, pending.is_reinvite, answer);
        self.after_ack(handle, now);
    }

    pub(super) fn emit_confirmed(&mut self, call: CallHandle, is_reinvite: bool, answer: Option<Vec<u8>>) {
        self.emit(match is_reinvite {
            true => Event::ReinviteConfirmed { call, answer },
            false => Event::AckReceived { call, answer },
        });
    }

    /// Nothing keeps a BYE back any more.
    pub(super) fn after_ack(&mut self, handle: CallHandle, now: Instant) {
        self.reschedule(handle);
        let Some(call) = self.calls.get_mut(&handle) else { return };
        if let Some(reason) = call.bye_waiting.take() {
            self.send_bye(handle, reason, EndCause::HungUp, now);
        }
    }

    pub(crate) fn do_ring(
        &mut self,
        handle: CallHandle,
        sdp: Option<Vec<u8>>,
        now: Instant,
    ) -> Result<(), EndpointMisuse> {
        let status = if sdp.is_some() { StatusCode::SESSION_PROGRESS } else { StatusCode::RINGING };
        let (invite, mut response) = self.incoming_response(handle, status, sdp.clone())?;
        let call = self.calls.get_mut(&handle).ok_or(EndpointMisuse::UnknownCall)?;
        if call.provisionals.pending.is_some() {
            // One at a time (RFC 3262 §3).
            call.provisionals.next = Some(sdp);
            return Ok(());
        }
        call.local_sdp = sdp.or(call.local_sdp.take());
        if self.wants_reliable(&invite.request, !response.body.is_empty()) {
            self.make_reliable(handle, &mut response, now);
            return self.respond_within(invite.transaction, &response, now);
        }
        self.respond_within(invite.transaction, &response, now)?;
        if let Some(Call { phase: Phase::Incoming(incoming), .. }) = self.calls.get_mut(&handle) {
            let repeat_at = now + RINGING_INTERVAL;
            incoming.ringing = Some(Ringing { status, bytes: response.to_bytes(), repeat_at });
        }
        self.reschedule(handle);
        Ok(())
    }

    pub(crate) fn do_answer(&mut self, handle: CallHandle, sdp: Vec<u8>, now: Instant) -> Result<(), EndpointMisuse> {
        let (invite, mut response) = self.incoming_response(handle, StatusCode::OK, Some(sdp.clone()))?;
        let call = self.calls.get_mut(&handle).ok_or(EndpointMisuse::UnknownCall)?;
        call.local_sdp = Some(sdp.clone());
        if call.awaits_prack() {
            call.provisionals.answer = Some(sdp);
            return Ok(());
        }
        self.agree_on_session(handle, &invite.request, &mut response, now);
        self.respond_within(invite.transaction, &response, now)?;
        if let Some(call) = self.calls.get_mut(&handle) {
            call.phase = Phase::Up;
        }
        self.await_ack(handle, &invite, &response, false, now);
        Ok(())
    }

    /// Repeats the 2xx until its ACK is here (RFC 3261 §13.3.1.4); over TCP too, because a proxy may go on over UDP.
    pub(super) fn await_ack(
        &mut self,
        handle: CallHandle,
        invite: &PeerInvite,
        response: &Response,
        is_reinvite: bool,
        now: Instant,
    ) {
        let timers = self.config.timers;
        let path = self.transactions.path(invite.transaction);
        if let (Some(path), Some(call)) = (path, self.calls.get_mut(&handle)) {
            call.pending_ack = Some(PendingAck {
                cseq: invite.cseq,
                transmit: Transmit::back(path, response.to_bytes()),
                repeat_after: timers.t1,
                repeat_at: now + timers.t1,
                give_up_at: now + timers.give_up(),
                expects_answer: !invite.has_offer,
                is_reinvite,
            });
        }
        self.reschedule(handle);
    }

    pub(crate) fn do_reject(
        &mut self,
        handle: CallHandle,
        status: StatusCode,
        headers: &[(HeaderName, String)],
        now: Instant,
    ) -> Result<(), EndpointMisuse> {
        let invite = self.incoming(handle)?;
        if status.class() < 3 {
            return Err(EndpointMisuse::WrongStatus);
        }
        let mut response = self.response(&invite.request, status, &self.to_tag(invite.transaction));
        headers.iter().for_each(|(name, value)| response.headers.push(name.clone(), value));
        self.respond_within(invite.transaction, &response, now)?;
        self.end(handle, EndCause::Refused, now);
        Ok(())
    }

    fn incoming(&self, handle: CallHandle) -> Result<PeerInvite, EndpointMisuse> {
        match &self.calls.get(&handle).ok_or(EndpointMisuse::UnknownCall)?.phase {
            Phase::Incoming(incoming) => Ok(incoming.invite.clone()),
            Phase::Outgoing(_) | Phase::Up | Phase::Ending => Err(EndpointMisuse::WrongState),
        }
    }

    fn incoming_response(
        &self,
        handle: CallHandle,
        status: StatusCode,
        sdp: Option<Vec<u8>>,
    ) -> Result<(PeerInvite, Response), EndpointMisuse> {
        let invite = self.incoming(handle)?;
        let dialog = self.calls.get(&handle).and_then(|call| call.dialog.as_ref());
        let dialog = dialog.ok_or(EndpointMisuse::WrongState)?;
        let response = self.dialog_response(&invite.request, status, dialog.id.local_tag(), &dialog.contact, sdp);
        Ok((invite, response))
    }
}

pub(super) fn peer_invite(id: TransactionId, request: &Request) -> Result<PeerInvite, ParseError> {
    Ok(PeerInvite {
        transaction: id,
        cseq: request.headers.cseq()?.number,
        has_offer: sdp_of(&request.headers, &request.body).is_some(),
        request: Arc::new(request.clone()),
    })
}
