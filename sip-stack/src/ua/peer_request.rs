//! Requests of theirs that our user answers: REGISTER, SUBSCRIBE, MESSAGE and whatever else it takes (RFC 3261 §8.2).

use std::sync::Arc;
use std::time::Instant;

use super::outgoing::push_headers;
use crate::endpoint::{Answer, CallHandle, Endpoint, EndpointMisuse, Event, PeerRequestHandle, Source};
use crate::message::{HeaderName, Method, Request, StatusCode};
use crate::transaction::table::TransactionId;

/// One that waits. The peer gives up after 64·T1; then our answer is late and nobody hears it.
#[derive(Debug)]
pub(crate) struct PeerRequest {
    transaction: TransactionId,
    pub(super) request: Arc<Request>,
    source: Source,
    give_up_at: Instant,
}

impl PeerRequest {
    pub(crate) fn poll_timeout(&self) -> (Instant, &'static str) {
        (self.give_up_at, "answer")
    }
}

impl Endpoint {
    /// Hands a request to our user.
    pub(super) fn hand_over(
        &mut self,
        id: TransactionId,
        request: Request,
        call: Option<CallHandle>,
        source: Source,
        now: Instant,
    ) {
        let (request, message) = self.keep_waiting(id, request, source, now);
        self.emit(Event::RequestReceived { request, call, message, source });
    }

    /// Notes that our user owes an answer.
    pub(super) fn keep_waiting(
        &mut self,
        id: TransactionId,
        request: Request,
        source: Source,
        now: Instant,
    ) -> (PeerRequestHandle, Arc<Request>) {
        let handle = PeerRequestHandle(self.new_handle());
        let message = Arc::new(request);
        // A moment before the peer's own timer, so that the answer still arrives.
        let give_up_at = now + self.config.timers.give_up() - self.config.timers.t2;
        let waiting = PeerRequest { transaction: id, request: message.clone(), source, give_up_at };
        self.peer_requests.insert(handle, waiting);
        self.reschedule(handle);
        (handle, message)
    }

    pub(crate) fn do_respond(
        &mut self,
        handle: PeerRequestHandle,
        answer: Answer,
        now: Instant,
    ) -> Result<(), EndpointMisuse> {
        let waiting = self.peer_requests.get(&handle).ok_or(EndpointMisuse::UnknownRequest)?;
        if answer.status == StatusCode::TRYING {
            return Err(EndpointMisuse::WrongStatus);
        }
        let (transaction, request, source) = (waiting.transaction, waiting.request.clone(), waiting.source);
        let mut response = self.response(&request, answer.status, &self.to_tag(transaction));
        let has_contact = answer.headers.iter().any(|(name, _)| *name == HeaderName::CONTACT);
        if answer.status.is_success() && makes_dialog(&request.method) && !has_contact {
            response.headers.push(HeaderName::CONTACT, self.contact(source.transport, source.peer));
        }
        let (contacts, headers) = answer.headers.into_iter().partition(|(name, _)| *name == HeaderName::CONTACT);
        let contacts: Vec<(HeaderName, String)> = contacts;
        contacts.into_iter().for_each(|(name, value)| response.headers.push(name, value));
        push_headers(&mut response.headers, headers);
        if let Some(body) = answer.body {
            response.set_body(&body.content_type, body.bytes);
        }
        if answer.status.is_final() {
            self.peer_requests.remove(&handle);
            self.reschedule(handle);
        }
        self.respond_within(transaction, &response, now)
    }

    /// Our user has not answered in time.
    pub(crate) fn on_peer_request_timeout(&mut self, handle: PeerRequestHandle, now: Instant) {
        let Some(waiting) = self.peer_requests.remove(&handle) else { return };
        let to_tag = self.to_tag(waiting.transaction);
        let response = self.response(&waiting.request, StatusCode::SERVER_INTERNAL_ERROR, &to_tag);
        self.respond_anyway(waiting.transaction, &response, now);
    }
}

fn makes_dialog(method: &Method) -> bool {
    matches!(method, Method::Subscribe | Method::Refer)
}
