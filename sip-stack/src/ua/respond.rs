//! Responses of ours: what goes into them besides what [`Response::to`] copies.

use std::time::Instant;

use super::SDP;
use crate::endpoint::{Endpoint, EndpointMisuse, Event, Source, Transmit};
use crate::message::header::{RetryAfter, Warning};
use crate::message::{HeaderName, Incompatibility, Misbehaviour, NameAddr, PeerError, Request, Response, StatusCode};
use crate::transaction::table::TransactionId;

/// Who warns: a pseudonym, since our host's name is nobody's business.
const WARNING_AGENT: &str = "sip-stack";

impl Endpoint {
    /// A response with our product in it.
    pub(super) fn response(&self, request: &Request, status: StatusCode, to_tag: &str) -> Response {
        let mut response = Response::to(request, status, Some(to_tag));
        if !self.config.product.is_empty() {
            response.headers.push(HeaderName::SERVER, &self.config.product);
        }
        response
    }

    /// A response that makes or keeps a dialog, with a session description if there is one.
    pub(super) fn dialog_response(
        &self,
        request: &Request,
        status: StatusCode,
        to_tag: &str,
        contact: &NameAddr,
        sdp: Option<Vec<u8>>,
    ) -> Response {
        let mut response = self.response(request, status, to_tag);
        response.headers.push(HeaderName::CONTACT, contact);
        self.abilities.push(&mut response.headers);
        if let Some(sdp) = sdp {
            response.set_body(SDP, sdp);
        }
        response
    }

    /// Sends a response within its transaction.
    pub(super) fn respond_within(
        &mut self,
        id: TransactionId,
        response: &Response,
        now: Instant,
    ) -> Result<(), EndpointMisuse> {
        let sent = self.transactions.respond(id, response.status, response.to_bytes(), now);
        sent.map_err(|_| EndpointMisuse::WrongState)
    }

    /// The same where nothing is lost if the transaction has had its final response in the meantime.
    pub(super) fn respond_anyway(&mut self, id: TransactionId, response: &Response, now: Instant) {
        let _ = self.respond_within(id, response, now);
    }

    /// Refuses a peer's request for what is wrong with it.
    pub(super) fn refuse(&mut self, id: TransactionId, request: &Request, error: &PeerError, now: Instant) {
        let to_tag = self.to_tag(id);
        let response = self.refusal(request, error, &to_tag);
        if let Some(path) = self.transactions.path(id) {
            self.note_peer_error(path, error, now);
        }
        self.respond_anyway(id, &response, now);
    }

    /// The same without a transaction: repeats are refused anew, with the same tag (RFC 3261 §8.2.7).
    pub(super) fn refuse_statelessly(&mut self, request: &Request, error: &PeerError, path: Source, now: Instant) {
        let response = self.refusal(request, error, &self.random.stateless_tag(request));
        self.note_peer_error(path, error, now);
        self.transactions.send(Transmit::back(path, response.to_bytes()));
    }

    /// 503, because there is no room.
    pub(super) fn refuse_overload_statelessly(
        &mut self,
        request: &Request,
        path: Source,
        retry_after_seconds: Option<u32>,
    ) {
        let response = self.overload_response(request, &self.random.stateless_tag(request), retry_after_seconds);
        self.counters.overload_refusals += 1;
        self.transactions.send(Transmit::back(path, response.to_bytes()));
    }

    /// 503 within a transaction; `None` takes the configured wait.
    pub(super) fn refuse_overload(
        &mut self,
        id: TransactionId,
        request: &Request,
        retry_after_seconds: Option<u32>,
        now: Instant,
    ) {
        let response = self.overload_response(request, &self.to_tag(id), retry_after_seconds);
        self.counters.overload_refusals += 1;
        self.respond_anyway(id, &response, now);
    }

    fn overload_response(&self, request: &Request, to_tag: &str, retry_after_seconds: Option<u32>) -> Response {
        let mut response = self.response(request, StatusCode::SERVICE_UNAVAILABLE, to_tag);
        let seconds = retry_after_seconds.unwrap_or(self.config.overload_retry_after_seconds);
        response.headers.push(HeaderName::RETRY_AFTER, RetryAfter::new(seconds));
        response
    }

    fn refusal(&self, request: &Request, error: &PeerError, to_tag: &str) -> Response {
        let mut response = self.response(request, error.status(), to_tag);
        match error {
            PeerError::Incompatible(Incompatibility::Method | Incompatibility::UnknownMethod) => {
                self.abilities.push_allow(&mut response.headers);
            }
            PeerError::Incompatible(Incompatibility::Extensions(lacking)) => {
                response.headers.push(HeaderName::UNSUPPORTED, lacking.join(", "));
            }
            PeerError::Incompatible(Incompatibility::Event) => {
                let packages = self.config.packages.iter().map(String::as_str).chain(["refer"]);
                response.headers.push(HeaderName::ALLOW_EVENTS, packages.collect::<Vec<_>>().join(", "));
            }
            // Names the header, and holds nothing of the peer's.
            PeerError::Malformed(error) => warn(&mut response, &error.to_string()),
            // Their statuses mean other things too.
            PeerError::Misbehaved(
                misbehaviour @ (Misbehaviour::CseqMethod
                | Misbehaviour::CseqBackwards
                | Misbehaviour::Merged
                | Misbehaviour::ShortBody
                | Misbehaviour::ForeignResponse),
            ) => warn(&mut response, &misbehaviour.to_string()),
            PeerError::Incompatible(Incompatibility::BodyType) => {
                response.headers.push(HeaderName::ACCEPT, SDP);
                if request.headers.contains(&HeaderName::CONTENT_ENCODING) {
                    response.headers.push(HeaderName::ACCEPT_ENCODING, "identity");
                }
            }
            PeerError::Misbehaved(
                Misbehaviour::NoSuchDialog | Misbehaviour::Answered | Misbehaviour::Terminated | Misbehaviour::Pending,
            )
            | PeerError::Incompatible(
                Incompatibility::Version
                | Incompatibility::UriScheme
                | Incompatibility::Accept
                | Incompatibility::Session
                | Incompatibility::TooLarge,
            ) => {}
        }
        response
    }

    pub(super) fn note_peer_error(&mut self, path: Source, error: &PeerError, now: Instant) {
        let header = match error {
            PeerError::Malformed(error) => error.header,
            PeerError::Misbehaved(_) | PeerError::Incompatible(_) => "",
        };
        if self.has_room_for_events() {
            let is_news = self.recent_errors.is_news(path.peer.ip(), now);
            self.emit(Event::PeerErrorSeen { peer: path.peer, status: error.status(), header, is_news });
        }
    }

    /// What an OPTIONS is told (RFC 3261 §11.2).
    pub(super) fn options_response(&self, request: &Request, to_tag: &str) -> Response {
        let mut response = self.response(request, StatusCode::OK, to_tag);
        self.abilities.push(&mut response.headers);
        response
    }
}

/// Says in a response why it is so, for people.
pub(super) fn warn(response: &mut Response, text: &str) {
    let warning = Warning { code: 399, agent: WARNING_AGENT.to_owned(), text: text.to_owned() };
    response.headers.push(HeaderName::WARNING, warning);
}
