//! Requests of ours: how they are made and where they go (RFC 3261 §8.1.1, §13.2.2.4, §17.1.1.3).

use std::net::SocketAddr;
use std::time::Instant;

use super::call::Unacked;
use super::{ClientUse, Purpose, SDP, Use};
use crate::dialog::{Dialog, path_to};
use crate::digest::Asker;
use crate::endpoint::{CallHandle, Destination, Endpoint, EndpointMisuse, Source, Transmit, Transport, is_private};
use crate::message::{CSeq, HeaderName, Headers, Host, Method, NameAddr, Request, Response, SipUri, Via};
use crate::transaction::key::ClientKey;
use crate::transaction::table::{Full, TransactionId};

/// The largest request over UDP when the path's MTU is not known (RFC 3261 §18.1.1).
const DATAGRAM_BYTES: usize = 1_300;

impl Endpoint {
    /// Our own Contact for a peer. One on this very machine may not find us under the public address, behind NAT.
    pub(crate) fn contact(&self, transport: Transport, peer: SocketAddr) -> NameAddr {
        let mut reached = self.config.local(transport).advertised.clone();
        if peer.ip().is_loopback() && !reached.host.ip().is_some_and(|host| host.is_loopback()) {
            reached.host = Host::from(peer.ip());
        } else if let Some(inside) = self.inside.clone().filter(|_| is_private(peer.ip())) {
            reached.host = inside;
        }
        let uri = SipUri::new(reached);
        let uri = if self.config.contact_user.is_empty() { uri } else { uri.with_user(&self.config.contact_user) };
        NameAddr::new(match transport {
            Transport::Udp => uri,
            Transport::Tcp => uri.with_param("transport", Some("tcp")),
            Transport::Tls => uri.with_param("transport", Some("tls")),
        })
    }

    /// Sends a request within the call's dialog.
    pub(super) fn send_in_dialog(
        &mut self,
        handle: CallHandle,
        method: Method,
        purpose: Purpose,
        headers: Vec<(HeaderName, String)>,
        body: Option<(&str, Vec<u8>)>,
        now: Instant,
    ) -> Result<TransactionId, EndpointMisuse> {
        let call = self.calls.get_mut(&handle).ok_or(EndpointMisuse::UnknownCall)?;
        let dialog = call.dialog.as_mut().ok_or(EndpointMisuse::WrongState)?;
        let path = path_to(dialog, &self.config, |flow| self.streams.is_open(flow));
        let timer = call.session_timer;
        let mut request = dialog.request(method);
        if is_target_refresh(&request.method) {
            request.headers.push(HeaderName::CONTACT, &dialog.contact);
            self.abilities.push(&mut request.headers);
        }
        if let (Method::Invite | Method::Update, Some(timer)) = (&request.method, &timer) {
            self.push_session_wish(&mut request.headers, Some(timer));
        }
        push_headers(&mut request.headers, headers);
        if let Some((content_type, bytes)) = body {
            request.set_body(content_type, bytes);
        }
        self.send_request(handle, request, path, purpose, now).map_err(|Full| EndpointMisuse::Full)
    }

    /// Adds Via and User-Agent and opens the transaction. Without room for one the request is sent once all the same if
    /// it ends something.
    pub(super) fn send_request(
        &mut self,
        handle: CallHandle,
        mut request: Request,
        path: Source,
        purpose: Purpose,
        now: Instant,
    ) -> Result<TransactionId, Full> {
        self.authorize(handle, purpose, &mut request);
        let branch = self.random.branch();
        self.stamp(&mut request, path.transport, &branch);
        if let Some(tcp) = self.stream_instead(&request, path, now) {
            for name in [HeaderName::VIA, HeaderName::USER_AGENT] {
                request.headers.remove(&name);
            }
            self.stamp(&mut request, tcp.transport, &branch);
            let key = ClientKey::new(&branch, &request.method);
            let id = self.open_client(handle, key, request, tcp, purpose, now)?;
            self.keep_alternatives(id, [Destination::udp(path.peer)].into(), now);
            return Ok(id);
        }
        let key = ClientKey::new(&branch, &request.method);
        self.open_client(handle, key, request, path, purpose, now)
    }

    /// The way for a request that is too large for a datagram (RFC 3261 §18.1.1), unless it is known not to work.
    fn stream_instead(&self, request: &Request, path: Source, now: Instant) -> Option<Source> {
        let is_large = path.transport == Transport::Udp && wire_bytes(request) > DATAGRAM_BYTES;
        let tcp = Destination { transport: Transport::Tcp, peer: path.peer };
        (is_large && !self.failed.has_failed(tcp, now)).then(|| self.path_towards(tcp))
    }

    pub(super) fn open_client(
        &mut self,
        handle: CallHandle,
        key: ClientKey,
        request: Request,
        path: Source,
        purpose: Purpose,
        now: Instant,
    ) -> Result<TransactionId, Full> {
        let bytes = request.to_bytes();
        if !self.transactions.has_room() {
            if matches!(purpose, Purpose::Bye | Purpose::Cancel) {
                self.transactions.send(Transmit::back(path, bytes));
            }
            return Err(Full);
        }
        let is_invite = request.method == Method::Invite;
        let client = ClientUse::new(handle, purpose, request);
        self.transactions.open_client(key, is_invite, bytes, path, Use::Client(Box::new(client)), now)
    }

    fn stamp(&self, request: &mut Request, transport: Transport, branch: &str) {
        let sent_by = self.config.local(transport).advertised.clone();
        request.headers.push_via(&Via::new(transport.into(), sent_by, branch));
        if !self.config.product.is_empty() {
            request.headers.push(HeaderName::USER_AGENT, &self.config.product);
        }
    }

    /// Confirms a 2xx on the dialog it made, and keeps the ACK for its repeats.
    pub(crate) fn send_ack(&mut self, handle: CallHandle, unacked: Unacked, answer: Option<Vec<u8>>) {
        let Some(dialog) = self.calls.get(&handle).and_then(|call| call.dialog.clone()) else { return };
        let transmit = self.ack(&dialog, unacked, answer);
        if let Some(Use::Client(client)) = self.transactions.user_mut(unacked.transaction) {
            client.ack = Some(transmit.clone());
        }
        self.transactions.send(transmit);
    }

    /// Sends a request within a dialog that belongs to no call any more, or to none at all.
    pub(super) fn send_on_dialog(
        &mut self,
        dialog: &mut Dialog,
        method: Method,
        purpose: Purpose,
        headers: Vec<(HeaderName, String)>,
        body: Option<(&str, Vec<u8>)>,
        now: Instant,
    ) -> Result<TransactionId, EndpointMisuse> {
        let path = self.path_in(dialog);
        let mut request = dialog.request(method);
        request.headers.push(HeaderName::CONTACT, &dialog.contact);
        self.abilities.push(&mut request.headers);
        push_headers(&mut request.headers, headers);
        if let Some((content_type, bytes)) = body {
            request.set_body(content_type, bytes);
        }
        self.send_request(CallHandle::NONE, request, path, purpose, now).map_err(|Full| EndpointMisuse::Full)
    }

    /// The way of the next request within a dialog.
    pub(super) fn path_in(&self, dialog: &Dialog) -> Source {
        path_to(dialog, &self.config, |flow| self.streams.is_open(flow))
    }

    /// The ACK of a 2xx, with the credentials of its INVITE (§13.2.2.4).
    pub(super) fn ack(&mut self, dialog: &Dialog, unacked: Unacked, answer: Option<Vec<u8>>) -> Transmit {
        let path = self.path_in(dialog);
        let mut request = dialog.ack(unacked.cseq);
        if let Some(Use::Client(client)) = self.transactions.user(unacked.transaction) {
            for asker in [Asker::Server, Asker::Proxy] {
                request.headers.copy_all(&asker.answer_header(), &client.request.headers);
            }
        }
        let branch = self.random.branch();
        self.stamp(&mut request, path.transport, &branch);
        if let Some(answer) = answer {
            request.set_body(SDP, answer);
        }
        Transmit::back(path, request.to_bytes())
    }
}

/// Headers of a message that are the stack's own business.
const OWN_HEADERS: [HeaderName; 15] = [
    HeaderName::VIA,
    HeaderName::ROUTE,
    HeaderName::RECORD_ROUTE,
    HeaderName::FROM,
    HeaderName::TO,
    HeaderName::CALL_ID,
    HeaderName::CSEQ,
    HeaderName::CONTACT,
    HeaderName::MAX_FORWARDS,
    HeaderName::CONTENT_LENGTH,
    HeaderName::CONTENT_TYPE,
    HeaderName::ALLOW,
    HeaderName::SUPPORTED,
    HeaderName::AUTHORIZATION,
    HeaderName::PROXY_AUTHORIZATION,
];

/// Adds our user's headers, but for those that are the stack's own business.
pub(super) fn push_headers(headers: &mut Headers, more: Vec<(HeaderName, String)>) {
    more.into_iter()
        .filter(|(name, _)| !OWN_HEADERS.contains(name))
        .for_each(|(name, value)| headers.push(name, value));
}

/// Requests that may tell the peer of another Contact of ours (§12.2, RFC 3311, RFC 6665, RFC 3515).
fn is_target_refresh(method: &Method) -> bool {
    matches!(method, Method::Invite | Method::Update | Method::Subscribe | Method::Notify | Method::Refer)
}

/// About as many bytes as the request has on the wire.
fn wire_bytes(request: &Request) -> usize {
    /// Start line and Content-Length, without the URI.
    const FRAME: usize = 50;
    let fields: usize = request.headers.iter().map(|field| field.spelling().len() + field.value().len() + 4).sum();
    fields + request.body.len() + request.uri.to_string().len() + FRAME
}

/// The ACK of a response of 300 to 699: part of the INVITE's transaction (§17.1.1.3).
pub(super) fn ack_of_rejection(invite: &Request, response: &Response) -> Request {
    let mut ack = follow_up(invite, Method::Ack);
    if let Some(to) = response.headers.first(&HeaderName::TO) {
        ack.headers.remove(&HeaderName::TO);
        ack.headers.push_field(to.clone());
    }
    ack
}

/// The CANCEL of an INVITE: the same hop, branch and number (§9.1).
pub(super) fn cancel_of(invite: &Request) -> Request {
    follow_up(invite, Method::Cancel)
}

fn follow_up(invite: &Request, method: Method) -> Request {
    let mut request = Request::new(method.clone(), invite.uri.clone());
    // It is one of ours and has one.
    if let Ok(via) = invite.headers.via() {
        request.headers.push_via(&via);
    }
    for name in [HeaderName::MAX_FORWARDS, HeaderName::FROM, HeaderName::TO, HeaderName::CALL_ID, HeaderName::ROUTE] {
        request.headers.copy_all(&name, &invite.headers);
    }
    let number = invite.headers.cseq().map_or(0, |cseq| cseq.number);
    request.headers.push(HeaderName::CSEQ, CSeq { number, method });
    request
}
