//! Requests of ours that are not about a session: OPTIONS, MESSAGE, SUBSCRIBE, INFO and their kin (RFC 3261 §8.1).

use std::sync::Arc;
use std::time::Instant;

use super::call::Phase;
use super::outgoing::push_headers;
use super::{ClientUse, Purpose};
use crate::digest::Authenticator;
use crate::endpoint::{
    CallHandle, Destination, DialogRequest, EndCause, Endpoint, EndpointMisuse, Event, OutgoingRequest, RequestFailure,
    RequestHandle, Source,
};
use crate::message::{CSeq, HeaderName, Method, NameAddr, Request, Response, StatusCode, Uri};
use crate::transaction::table::{Full, TransactionId};

/// A request of our user's that waits for its final response.
#[derive(Debug)]
pub(crate) struct OwnRequest {
    pub(crate) transaction: TransactionId,
    /// `None` outside of calls.
    pub(crate) call: Option<CallHandle>,
    /// Within a call, that of the call is used.
    pub(crate) authenticator: Option<Authenticator>,
}

/// Those that do not only ask something: a machine of ours has to know of them.
const OTHERS_BUSINESS: [Method; 6] =
    [Method::Invite, Method::Ack, Method::Cancel, Method::Bye, Method::Prack, Method::Update];

impl Endpoint {
    pub(crate) fn do_request(
        &mut self,
        request: OutgoingRequest,
        now: Instant,
    ) -> Result<RequestHandle, EndpointMisuse> {
        if OTHERS_BUSINESS.contains(&request.method) {
            return Err(EndpointMisuse::WrongMethod);
        }
        let OutgoingRequest {
            method,
            target,
            from,
            to,
            contact,
            route,
            destination,
            alternatives,
            credentials,
            headers,
            body,
        } = request;
        let (destination, rest) = self.choose(destination, alternatives, now);
        let path = self.path_towards(destination);
        let mut made = self.initial_request(method, target, from, to, route);
        if let Some(contact) = contact {
            made.headers.push(HeaderName::CONTACT, contact);
        }
        self.abilities.push(&mut made.headers);
        push_headers(&mut made.headers, headers);
        if let Some(body) = body {
            made.set_body(&body.content_type, body.bytes);
        }
        let handle = RequestHandle(self.new_handle());
        let sent = self.send_request(CallHandle::NONE, made, path, Purpose::Request(handle), now);
        let transaction = sent.map_err(|Full| EndpointMisuse::Full)?;
        let authenticator = (!credentials.is_empty()).then(|| Authenticator::new(credentials));
        self.requests.insert(handle, OwnRequest { transaction, call: None, authenticator });
        self.keep_alternatives(transaction, rest, now);
        Ok(handle)
    }

    /// The way to somebody we have no dialog with; an open connection is used again.
    pub(super) fn path_towards(&self, destination: Destination) -> Source {
        let Destination { transport, peer } = destination;
        Source {
            transport,
            local: self.config.local(transport).socket,
            peer,
            flow: self.streams.flow_to(transport, peer),
        }
    }

    /// A request that begins something, as far as they are all the same (§8.1.1).
    pub(super) fn initial_request(
        &mut self,
        method: Method,
        target: Uri,
        from: NameAddr,
        mut to: NameAddr,
        route: Vec<NameAddr>,
    ) -> Request {
        let from = from.with_tag(&self.random.token());
        to.params.remove("tag");
        let call_id = format!("{}{}", self.random.token(), self.random.token());
        let mut request = Request::new(method.clone(), target);
        let headers = &mut request.headers;
        route.iter().for_each(|hop| headers.push(HeaderName::ROUTE, hop));
        headers.push(HeaderName::MAX_FORWARDS, 70);
        headers.push(HeaderName::FROM, from);
        headers.push(HeaderName::TO, to);
        headers.push(HeaderName::CALL_ID, call_id);
        headers.push(HeaderName::CSEQ, CSeq { number: 1, method });
        request
    }

    pub(crate) fn do_request_within(
        &mut self,
        handle: CallHandle,
        request: DialogRequest,
        now: Instant,
    ) -> Result<RequestHandle, EndpointMisuse> {
        if OTHERS_BUSINESS.contains(&request.method) {
            return Err(EndpointMisuse::WrongMethod);
        }
        let call = self.calls.get(&handle).ok_or(EndpointMisuse::UnknownCall)?;
        if matches!(call.phase, Phase::Ending) || call.dialog.is_none() {
            return Err(EndpointMisuse::WrongState);
        }
        let own = RequestHandle(self.new_handle());
        let body = request.body.as_ref().map(|body| (body.content_type.as_str(), body.bytes.clone()));
        let purpose = Purpose::Request(own);
        let transaction = self.send_in_dialog(handle, request.method, purpose, request.headers, body, now)?;
        self.requests.insert(own, OwnRequest { transaction, call: Some(handle), authenticator: None });
        if let Some(call) = self.calls.get_mut(&handle) {
            call.requests.push(own);
        }
        Ok(own)
    }

    /// A response to one of them. Provisional ones are not told: nothing follows from them.
    pub(super) fn on_request_response(&mut self, handle: RequestHandle, response: Response, now: Instant) {
        if response.status.is_provisional() {
            return;
        }
        let Some(call) = self.forget_request(handle) else { return };
        let is_gone = response.status == StatusCode::CALL_DOES_NOT_EXIST;
        self.emit(Event::RequestAnswered { request: handle, call, response: Arc::new(response) });
        if let Some(call) = call.filter(|_| is_gone) {
            self.hang_up_lost(call, now);
        }
    }

    pub(super) fn on_request_failure(&mut self, handle: RequestHandle, status: StatusCode) {
        let Some(call) = self.forget_request(handle) else { return };
        let failure = match status {
            StatusCode::REQUEST_TIMEOUT => RequestFailure::TimedOut,
            _ => RequestFailure::TransportFailed,
        };
        self.emit(Event::RequestFailed { request: handle, call, failure });
    }

    /// Gives back the call it was sent within; `None` outside if there is no such request.
    fn forget_request(&mut self, handle: RequestHandle) -> Option<Option<CallHandle>> {
        let own = self.requests.remove(&handle)?;
        if let Some(call) = own.call.and_then(|call| self.calls.get_mut(&call)) {
            call.requests.retain(|request| *request != handle);
        }
        Some(own.call)
    }

    /// Their side has no such dialog, so there is no call any more (§12.2.1.2).
    pub(super) fn hang_up_lost(&mut self, handle: CallHandle, now: Instant) {
        if self.calls.get(&handle).is_some_and(|call| matches!(call.phase, Phase::Up)) {
            self.send_bye(handle, None, EndCause::DialogLost, now);
        }
    }

    /// Fails what is under way within a call that ends.
    pub(crate) fn fail_requests(&mut self, requests: Vec<RequestHandle>) {
        for handle in requests {
            let Some(own) = self.requests.remove(&handle) else { continue };
            self.transactions.give_up(own.transaction);
            self.emit(Event::RequestFailed { request: handle, call: own.call, failure: RequestFailure::TimedOut });
        }
    }
}

impl ClientUse {
    pub(super) fn new(call: CallHandle, purpose: Purpose, request: Request) -> Self {
        Self {
            call,
            purpose,
            request,
            attempts: Default::default(),
            too_small: 0,
            alternatives: Default::default(),
            is_cancelled: false,
            answered_by: None,
            ack: None,
        }
    }
}
