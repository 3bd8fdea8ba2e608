//! The calling side of a call (RFC 3261 §13.2, §9.1).

use std::sync::Arc;
use std::time::Instant;

use super::call::{Call, Cancel, EARLY_DIALOG_LIMIT, Outgoing, Phase, Unacked};
use super::incoming::sdp_of;
use super::outgoing::{ack_of_rejection, cancel_of, push_headers};
use super::{Purpose, SDP, Use};
use crate::dialog::{Dialog, DialogId};
use crate::digest::Authenticator;
use crate::endpoint::{CallHandle, EndCause, Endpoint, EndpointMisuse, Event, OutgoingInvite, Source};
use crate::message::header::ReasonHeader;
use crate::message::{HeaderName, Method, NameAddr, Response, StatusCode};
use crate::transaction::key::ClientKey;
use crate::transaction::table::{Full, TransactionId};

impl Endpoint {
    pub(crate) fn do_invite(&mut self, invite: OutgoingInvite, now: Instant) -> Result<CallHandle, EndpointMisuse> {
        if self.calls.len() >= self.config.limits.calls || !self.transactions.has_room() {
            return Err(EndpointMisuse::Full);
        }
        let OutgoingInvite { target, from, to, contact, route, destination, alternatives, offer, credentials, headers } =
            invite;
        let (destination, rest) = self.choose(destination, alternatives, now);
        let path = self.path_towards(destination);
        let has_offer = offer.is_some();
        let mut request = self.initial_request(Method::Invite, target, from, to, route);
        let contact = contact.unwrap_or_else(|| self.contact(destination.transport, destination.peer));
        request.headers.push(HeaderName::CONTACT, contact);
        self.abilities.push(&mut request.headers);
        push_headers(&mut request.headers, headers);
        self.push_session_wish(&mut request.headers, None);
        let local_sdp = offer.clone();
        match offer {
            Some(offer) => request.set_body(SDP, offer),
            None => self.abilities.set_supported_unreliable(&mut request.headers),
        }
        let handle = CallHandle(self.new_handle());
        let sent = self.send_request(handle, request, path, Purpose::Invite, now);
        let transaction = sent.map_err(|Full| EndpointMisuse::Full)?;
        let outgoing = Outgoing { transaction, has_offer, provisional_seen: false, cancel: None };
        let mut call = Call::new(Phase::Outgoing(outgoing));
        call.authenticator = (!credentials.is_empty()).then(|| Authenticator::new(credentials));
        call.local_sdp = local_sdp;
        self.calls.insert(handle, call);
        self.keep_alternatives(transaction, rest, now);
        Ok(handle)
    }

    pub(crate) fn do_cancel(
        &mut self,
        handle: CallHandle,
        reason: Option<ReasonHeader>,
        now: Instant,
    ) -> Result<(), EndpointMisuse> {
        let call = self.calls.get_mut(&handle).ok_or(EndpointMisuse::UnknownCall)?;
        match &mut call.phase {
            Phase::Outgoing(outgoing) if outgoing.cancel.is_none() => {
                outgoing.cancel = Some(Cancel::Wanted(reason));
                call.end_cause.get_or_insert(EndCause::HungUp);
                if outgoing.provisional_seen {
                    self.send_cancel(handle, now);
                }
                Ok(())
            }
            Phase::Outgoing(_) | Phase::Incoming(_) | Phase::Up | Phase::Ending => Err(EndpointMisuse::WrongState),
        }
    }

    /// Sends the CANCEL that is wanted, now that something answers the INVITE.
    fn send_cancel(&mut self, handle: CallHandle, now: Instant) {
        let Some(Call { phase: Phase::Outgoing(outgoing), .. }) = self.calls.get_mut(&handle) else { return };
        // A second provisional response finds it sent.
        let is_wanted = |cancel: &mut Cancel| matches!(cancel, Cancel::Wanted(_));
        let Some(Cancel::Wanted(reason)) = outgoing.cancel.take_if(is_wanted) else { return };
        outgoing.cancel = Some(Cancel::Sent { give_up_at: now + self.config.timers.give_up() });
        let invite = outgoing.transaction;
        self.reschedule(handle);
        let Some(Use::Client(client)) = self.transactions.user(invite) else { return };
        let Some(path) = self.transactions.path(invite) else { return };
        let mut request = cancel_of(&client.request);
        if let Some(reason) = reason {
            request.headers.push(HeaderName::REASON, reason);
        }
        let branch = request.headers.via().ok().and_then(|via| via.branch().map(str::to_owned)).unwrap_or_default();
        let key = ClientKey::new(&branch, &Method::Cancel);
        // Without room it went out once; the INVITE is given up in time all the same.
        let _ = self.open_client(handle, key, request, path, Purpose::Cancel, now);
    }

    pub(crate) fn receive_response(&mut self, response: Response, source: Source, now: Instant) {
        let key = response.check().ok().and_then(|()| ClientKey::of(&response));
        let Some(id) = key.and_then(|key| self.transactions.client(&key)) else {
            self.counters.stray_responses += 1;
            return;
        };
        let ack = |user: &Use| match user {
            Use::Client(client) => ack_of_rejection(&client.request, &response).to_bytes(),
            Use::Server(_) => Vec::new(),
        };
        if !self.transactions.handle_response(id, response.status, ack, now) {
            return;
        }
        if self.note_answer(id, &response, now) {
            return;
        }
        if self.answer_challenge(id, &response, now) || self.answer_too_small(id, &response, now) {
            return;
        }
        let Some(Use::Client(client)) = self.transactions.user(id) else { return };
        let (handle, purpose) = (client.call, client.purpose);
        let has_offer = !client.request.body.is_empty();
        let is_new = client.answered_by.is_none() || !response.status.is_success();
        match purpose {
            Purpose::Invite | Purpose::Reinvite | Purpose::Abandoned if !is_new => {
                self.on_another_2xx(id, &response, source, now)
            }
            Purpose::Abandoned => self.on_abandoned_response(id, &response, source, now),
            Purpose::Invite => self.on_invite_response(handle, id, response, source, now),
            Purpose::Reinvite => self.on_reinvite_response(handle, id, has_offer, &response, now),
            Purpose::Bye if response.status.is_final() => self.end(handle, EndCause::HungUp, now),
            Purpose::Request(request) => self.on_request_response(request, response, now),
            Purpose::Register(registration) => self.on_register_response(registration, response, source, now),
            Purpose::Update => self.on_update_response(handle, &response, now),
            Purpose::Refer => self.on_refer_response(handle, id, &response, now),
            Purpose::ReferNotify(refer) if response.status == StatusCode::CALL_DOES_NOT_EXIST => {
                self.forget_peer_refer(refer);
            }
            Purpose::ReferNotify(_) => {}
            Purpose::Notify(subscription) => self.on_notified(subscription, response.status, now),
            Purpose::Bye | Purpose::Cancel | Purpose::Prack => {}
        }
    }

    fn on_invite_response(
        &mut self,
        handle: CallHandle,
        id: TransactionId,
        response: Response,
        source: Source,
        now: Instant,
    ) {
        if !self.calls.contains_key(&handle) {
            // The call was given up before; what is up now has to go.
            if response.status.is_success() {
                self.drop_fork(id, &response, source, now);
            }
            return;
        }
        match response.status.class() {
            1 => self.on_provisional(handle, id, &response, source, now),
            2 => self.on_answer(handle, id, response, source, now),
            _ => self.on_rejection(handle, response, now),
        }
    }

    fn on_provisional(
        &mut self,
        handle: CallHandle,
        id: TransactionId,
        response: &Response,
        source: Source,
        now: Instant,
    ) {
        let Some(Call { phase: Phase::Outgoing(outgoing), .. }) = self.calls.get_mut(&handle) else { return };
        outgoing.provisional_seen = true;
        let is_cancelled = outgoing.cancel.is_some();
        if is_cancelled {
            return self.send_cancel(handle, now);
        }
        if response.status == StatusCode::TRYING {
            return;
        }
        if let Some(early) = self.note_early_dialog(handle, id, response, source)
            && !self.confirm_reliable(handle, id, &early, response, now)
        {
            return;
        }
        if self.has_room_for_events() {
            let sdp = sdp_of(&response.headers, &response.body);
            self.emit(Event::ProvisionalReceived { call: handle, status: response.status, sdp });
        }
    }

    /// The fork that says so; a new one is followed while there is room.
    fn note_early_dialog(
        &mut self,
        handle: CallHandle,
        id: TransactionId,
        response: &Response,
        source: Source,
    ) -> Option<DialogId> {
        let dialog = self.response_dialog(id, response, source)?;
        let call = self.calls.get_mut(&handle)?;
        let id = dialog.id.clone();
        let is_tagged = !dialog.id.remote_tag().is_empty();
        if is_tagged && call.dialog_mut(&dialog.id).is_none() && call.early.len() < EARLY_DIALOG_LIMIT {
            self.dialogs.insert(dialog.id.clone(), handle);
            call.early.push(dialog);
        }
        Some(id)
    }

    /// The dialog that a response to our INVITE makes.
    fn response_dialog(&self, id: TransactionId, response: &Response, source: Source) -> Option<Dialog> {
        let Some(Use::Client(client)) = self.transactions.user(id) else { return None };
        let contact = client.request.headers.contact().ok().flatten();
        let contact: NameAddr = contact.unwrap_or_else(|| self.contact(source.transport, source.peer));
        Dialog::of_response(&client.request, response, contact, source).ok()
    }

    fn on_answer(&mut self, handle: CallHandle, id: TransactionId, response: Response, source: Source, now: Instant) {
        // `check` has read every header a dialog is made of.
        let Some(mut dialog) = self.response_dialog(id, &response, source) else { return };
        let Some(call) = self.calls.get_mut(&handle) else { return };
        let Phase::Outgoing(outgoing) = &call.phase else { return };
        let (is_cancelled, has_offer) = (outgoing.cancel.is_some(), outgoing.has_offer);
        if let Some(early) = call.dialog_mut(&dialog.id) {
            dialog.continue_early(early);
        }
        for early in std::mem::take(&mut call.early) {
            self.dialogs.remove(&early.id);
        }
        self.dialogs.insert(dialog.id.clone(), handle);
        call.dialog = Some(dialog);
        call.phase = Phase::Up;
        Self::note_abilities(call, &response.headers);
        self.take_session_grant(handle, &response.headers, now);
        self.acknowledge(handle, id, has_offer, &response);
        if is_cancelled {
            return self.send_bye(handle, None, EndCause::HungUp, now);
        }
        let sdp = sdp_of(&response.headers, &response.body);
        self.emit(Event::Answered { call: handle, response: Arc::new(response), sdp });
    }

    /// Confirms the first 2xx at once if the answer is in it, else waits for our user's answer.
    pub(super) fn acknowledge(&mut self, handle: CallHandle, id: TransactionId, has_offer: bool, response: &Response) {
        if let Some(Use::Client(client)) = self.transactions.user_mut(id) {
            client.answered_by = Some(to_tag(response));
        }
        let cseq = response.headers.cseq().map_or(0, |cseq| cseq.number);
        let unacked = Unacked { transaction: id, cseq };
        let is_ending = self.calls.get(&handle).is_some_and(|call| matches!(call.phase, Phase::Ending));
        if has_offer || is_ending {
            self.send_ack(handle, unacked, None);
        } else if let Some(call) = self.calls.get_mut(&handle) {
            call.unacked = Some(unacked);
        }
    }

    /// A 2xx after the one that won: a repeat gets the ACK again, a fork is confirmed and hung up (§13.2.2.4).
    fn on_another_2xx(&mut self, id: TransactionId, response: &Response, source: Source, now: Instant) {
        let Some(Use::Client(client)) = self.transactions.user(id) else { return };
        if client.answered_by.as_deref() != Some(to_tag(response).as_str()) {
            self.drop_fork(id, response, source, now);
        } else if let Some(ack) = client.ack.clone() {
            self.transactions.send(ack);
        }
    }

    pub(super) fn drop_fork(&mut self, id: TransactionId, response: &Response, source: Source, now: Instant) {
        let Some(mut dialog) = self.response_dialog(id, response, source) else { return };
        let cseq = response.headers.cseq().map_or(0, |cseq| cseq.number);
        let ack = self.ack(&dialog, Unacked { transaction: id, cseq }, None);
        let path = Source { transport: ack.transport, local: ack.local, peer: ack.peer, flow: ack.flow };
        if let Some(Use::Client(client)) = self.transactions.user_mut(id)
            && client.answered_by.is_none()
        {
            client.answered_by = Some(to_tag(response));
            client.ack = Some(ack.clone());
        }
        self.transactions.send(ack);
        let bye = dialog.request(Method::Bye);
        // Not the handle of the call that won: the response to this BYE would end that call. Without room it went once.
        let _ = self.send_request(CallHandle::NONE, bye, path, Purpose::Bye, now);
    }

    fn on_rejection(&mut self, handle: CallHandle, response: Response, now: Instant) {
        let retry_after = response.headers.retry_after().ok().flatten().map(|retry_after| retry_after.seconds);
        self.emit(Event::Rejected {
            call: handle,
            status: response.status,
            reason: response.reason_text().into_owned(),
            retry_after,
            response: Arc::new(response),
        });
        self.end(handle, EndCause::PeerRefused, now);
    }

    pub(crate) fn do_ack_with_answer(&mut self, handle: CallHandle, sdp: Vec<u8>) -> Result<(), EndpointMisuse> {
        let call = self.calls.get_mut(&handle).ok_or(EndpointMisuse::UnknownCall)?;
        let unacked = call.unacked.take().ok_or(EndpointMisuse::WrongState)?;
        call.local_sdp = Some(sdp.clone());
        self.send_ack(handle, unacked, Some(sdp));
        Ok(())
    }
}

fn to_tag(response: &Response) -> String {
    response.headers.to().ok().and_then(|to| to.tag().map(str::to_owned)).unwrap_or_default()
}
