//! UPDATE, both ways: another session, or just a refreshed one, without the three steps of INVITE (RFC 3311).

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::call::Phase;
use super::incoming::sdp_of;
use super::{Purpose, SDP};
use crate::dialog::DialogId;
use crate::endpoint::{CallHandle, Endpoint, EndpointMisuse, Event};
use crate::message::{HeaderName, Method, Misbehaviour, PeerError, Request, Response, StatusCode};
use crate::transaction::table::TransactionId;

/// An UPDATE of ours that is under way.
#[derive(Debug, Clone, Copy)]
pub(crate) struct OwnUpdate {
    pub(crate) has_offer: bool,
}

/// An UPDATE of theirs with an offer that waits for our user.
#[derive(Debug)]
pub(crate) struct PeerUpdate {
    transaction: TransactionId,
    request: Arc<Request>,
    dialog: DialogId,
    /// Then it is refused: its transaction does not wait for people.
    pub(crate) give_up_at: Instant,
}

/// How long our user may think about it.
const ANSWER_WITHIN: Duration = Duration::from_secs(20);

impl Endpoint {
    pub(crate) fn do_update(
        &mut self,
        handle: CallHandle,
        offer: Option<Vec<u8>>,
        now: Instant,
    ) -> Result<(), EndpointMisuse> {
        let call = self.calls.get(&handle).ok_or(EndpointMisuse::UnknownCall)?;
        let is_ready = match &call.phase {
            Phase::Up => call.bye_waiting.is_none(),
            // Not before the first offer has its answer.
            Phase::Incoming(_) | Phase::Outgoing(_) | Phase::Ending => false,
        };
        let is_idle = call.own_update.is_none() && (offer.is_none() || !call.is_negotiating());
        if !is_ready || !is_idle {
            return Err(EndpointMisuse::WrongState);
        }
        let has_offer = offer.is_some();
        let sdp = offer.clone();
        let body = offer.map(|offer| (SDP, offer));
        self.send_in_dialog(handle, Method::Update, Purpose::Update, Vec::new(), body, now)?;
        if let Some(call) = self.calls.get_mut(&handle) {
            call.own_update = Some(OwnUpdate { has_offer });
            call.local_sdp = sdp.or(call.local_sdp.take());
        }
        Ok(())
    }

    pub(super) fn on_update_response(&mut self, handle: CallHandle, response: &Response, now: Instant) {
        if response.status.is_provisional() {
            return;
        }
        if !response.status.is_success() {
            return self.on_update_failure(handle, response.status, now);
        }
        let Some(call) = self.calls.get_mut(&handle) else { return };
        let Some(update) = call.own_update.take() else { return };
        if let Some(dialog) = &mut call.dialog {
            dialog.refresh_target(response.headers.contact().ok().flatten());
        }
        self.take_session_grant(handle, &response.headers, now);
        if update.has_offer {
            let sdp = sdp_of(&response.headers, &response.body);
            self.emit(Event::UpdateAnswered { call: handle, sdp });
        }
    }

    /// Refused, or not answered. Without the dialog there is no session (RFC 3261 §12.2.1.2).
    pub(super) fn on_update_failure(&mut self, handle: CallHandle, status: StatusCode, now: Instant) {
        let Some(call) = self.calls.get_mut(&handle) else { return };
        let Some(update) = call.own_update.take() else { return };
        if matches!(status, StatusCode::METHOD_NOT_ALLOWED | StatusCode::NOT_IMPLEMENTED) {
            call.peer_takes_update = false;
        }
        if update.has_offer {
            self.emit(Event::UpdateRejected { call: handle, status });
        }
        if matches!(status, StatusCode::CALL_DOES_NOT_EXIST | StatusCode::REQUEST_TIMEOUT) {
            return self.hang_up_lost(handle, now);
        }
        self.note_failed_refresh(handle, status == StatusCode::REQUEST_PENDING, now);
    }

    /// An UPDATE of theirs (RFC 3311 §5.2).
    pub(super) fn receive_update(
        &mut self,
        id: TransactionId,
        request: Request,
        handle: CallHandle,
        dialog: &DialogId,
        now: Instant,
    ) {
        let Some(call) = self.calls.get_mut(&handle) else { return };
        if matches!(call.phase, Phase::Ending) {
            return self.refuse(id, &request, &PeerError::Misbehaved(Misbehaviour::NoSuchDialog), now);
        }
        let offer = sdp_of(&request.headers, &request.body);
        if offer.is_some() && (call.owes_answer() || call.peer_update.is_some()) {
            return self.refuse_overtaking(id, &request, now);
        }
        if offer.is_some() && call.is_negotiating() {
            return self.refuse(id, &request, &PeerError::Misbehaved(Misbehaviour::Pending), now);
        }
        if self.refuse_small_interval(id, &request, now) {
            return;
        }
        let request = Arc::new(request);
        let Some(offer) = offer else {
            return self.finish_update(handle, id, &request, dialog, None, now);
        };
        if let Some(call) = self.calls.get_mut(&handle) {
            let give_up_at = now + ANSWER_WITHIN;
            call.peer_update =
                Some(PeerUpdate { transaction: id, request: request.clone(), dialog: dialog.clone(), give_up_at });
        }
        self.reschedule(handle);
        self.emit(Event::UpdateReceived { call: handle, request, offer });
    }

    pub(crate) fn do_answer_update(
        &mut self,
        handle: CallHandle,
        sdp: Vec<u8>,
        now: Instant,
    ) -> Result<(), EndpointMisuse> {
        let update = self.take_peer_update(handle)?;
        self.finish_update(handle, update.transaction, &update.request, &update.dialog, Some(sdp), now);
        Ok(())
    }

    pub(crate) fn do_reject_update(
        &mut self,
        handle: CallHandle,
        status: StatusCode,
        now: Instant,
    ) -> Result<(), EndpointMisuse> {
        if status.class() < 3 {
            return Err(EndpointMisuse::WrongStatus);
        }
        let update = self.take_peer_update(handle)?;
        let response = self.response(&update.request, status, &self.to_tag(update.transaction));
        self.respond_within(update.transaction, &response, now)
    }

    fn take_peer_update(&mut self, handle: CallHandle) -> Result<PeerUpdate, EndpointMisuse> {
        let call = self.calls.get_mut(&handle).ok_or(EndpointMisuse::UnknownCall)?;
        let update = call.peer_update.take().ok_or(EndpointMisuse::WrongState)?;
        self.reschedule(handle);
        Ok(update)
    }

    /// 200, with a session description if they offered one.
    fn finish_update(
        &mut self,
        handle: CallHandle,
        id: TransactionId,
        request: &Request,
        dialog: &DialogId,
        sdp: Option<Vec<u8>>,
        now: Instant,
    ) {
        let Some(call) = self.calls.get_mut(&handle) else { return };
        Self::note_abilities(call, &request.headers);
        let Some(dialog) = call.dialog_mut(dialog) else { return };
        dialog.refresh_target(request.headers.contact().ok().flatten());
        let (tag, contact) = (dialog.id.local_tag().to_owned(), dialog.contact.clone());
        if sdp.is_some() {
            call.local_sdp.clone_from(&sdp);
        }
        let mut response = self.dialog_response(request, StatusCode::OK, &tag, &contact, sdp);
        self.agree_on_session(handle, request, &mut response, now);
        self.respond_anyway(id, &response, now);
    }

    /// The call ends before our user has answered.
    pub(crate) fn terminate_update(&mut self, handle: CallHandle, now: Instant) {
        let Ok(update) = self.take_peer_update(handle) else { return };
        let to_tag = self.to_tag(update.transaction);
        let response = self.response(&update.request, StatusCode::REQUEST_TERMINATED, &to_tag);
        self.respond_anyway(update.transaction, &response, now);
    }

    /// Our user has not answered in time.
    pub(super) fn give_up_update(&mut self, handle: CallHandle, now: Instant) {
        let Ok(update) = self.take_peer_update(handle) else { return };
        let mut response =
            self.response(&update.request, StatusCode::SERVER_INTERNAL_ERROR, &self.to_tag(update.transaction));
        response.headers.push(HeaderName::RETRY_AFTER, 5);
        self.respond_anyway(update.transaction, &response, now);
    }
}
