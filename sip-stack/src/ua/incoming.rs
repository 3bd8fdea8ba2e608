//! A request has come: is it known, is it right, whose is it? (RFC 3261 §8.2, §9.2, §12.2.2, §17.2.3)

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use super::{MergeKey, ServerUse, Use};
use crate::dialog::DialogId;
use crate::endpoint::{Accepting, Endpoint, Event, Source, Transport};
use crate::message::{
    HeaderName, Incompatibility, Method, Misbehaviour, ParseError, PeerError, Reason, Request, StatusCode, Uri,
};
use crate::transaction::key::ServerKey;
use crate::transaction::table::TransactionId;

/// `Content-Disposition: …;handling=optional`: a body that need not be understood (RFC 3261 §20.11).
const OPTIONAL_HANDLING: &str = "handling=optional";

impl Endpoint {
    pub(crate) fn receive_request(&mut self, mut request: Request, source: Source, now: Instant) {
        let key = ServerKey::of(&request).ok();
        let path = response_path(&mut request, source);
        let known = key.as_ref().and_then(|key| self.transactions.server(key));
        if request.method == Method::Ack {
            return self.receive_ack(&request, source, known, now);
        }
        if let Some(id) = known {
            return self.transactions.handle_repeat(id);
        }
        let Some(key) = key else {
            let error = request.check().err().unwrap_or(PeerError::Misbehaved(Misbehaviour::NoSuchDialog));
            return self.refuse_statelessly(&request, &error, path, now);
        };
        if let Some(retry_after_seconds) = self.turns_away(&request) {
            return self.refuse_overload_statelessly(&request, path, Some(retry_after_seconds));
        }
        let verdict = self.examine(&request);
        let cancelled = self.transactions.server(&key.of_cancelled());
        let Some(id) = self.open_server(key, &request, path).filter(|_| self.has_room_for_events()) else {
            return self.refuse_overload_statelessly(&request, path, None);
        };
        match verdict {
            Ok(()) if request.method == Method::Cancel => self.receive_cancel(id, &request, cancelled, now),
            Ok(()) => self.serve(id, request, source, now),
            Err(error) => self.refuse(id, &request, &error, now),
        }
    }

    fn open_server(&mut self, key: ServerKey, request: &Request, path: Source) -> Option<TransactionId> {
        if !self.transactions.has_room() || !self.has_room_for_events() {
            return None;
        }
        let merge = MergeKey::of(request).filter(|merge| !self.merges.contains_key(merge));
        let to_tag = self.random.token();
        let user = Use::Server(ServerUse { call: None, to_tag, merge: merge.clone() });
        let id = self.transactions.open_server(key, request.method == Method::Invite, path, user).ok()?;
        if let Some(merge) = merge {
            self.merges.insert(merge, id);
        }
        Some(id)
    }

    /// Whether a call is not even looked at, and after how many seconds it may come again. No transaction is made for it:
    /// when there are too many, a refusal has to cost next to nothing (RFC 3261 §8.2.7).
    fn turns_away(&self, request: &Request) -> Option<u32> {
        let is_new_call = || request.headers.to().is_ok_and(|to| to.tag().is_none());
        if request.method != Method::Invite || !is_new_call() {
            return None;
        }
        let is_full = self.calls.len() >= self.config.limits.calls;
        let is_behind = self.undecided.len() >= self.config.limits.undecided;
        match self.accepting {
            Accepting::Yes if is_full => Some(self.config.overload_retry_after_seconds),
            Accepting::Yes if !is_behind => None,
            _ if !is_full && self.is_urgent(request) => None,
            Accepting::Yes => Some(self.config.overload_retry_after_seconds),
            Accepting::No { retry_after_seconds } => Some(retry_after_seconds),
        }
    }

    fn is_urgent(&self, request: &Request) -> bool {
        let user = match &request.uri {
            Uri::Sip(sip) => sip.user_text(),
            Uri::Tel(tel) => Some(tel.number.clone()),
            Uri::Other(_) => None,
        };
        user.is_some_and(|user| self.config.urgent.contains(&user))
    }

    /// The order of RFC 3261 §8.2: method, headers, body.
    ///
    /// Max-Forwards is not looked at: a request that has arrived needs no more hops (§16.3 is for proxies, and
    /// RFC 4475 §3.3.11 says that an endpoint takes even zero).
    fn examine(&self, request: &Request) -> Result<(), PeerError> {
        request.check()?;
        request.check_method(&self.abilities.allowed)?;
        if MergeKey::of(request).is_some_and(|merge| self.merges.contains_key(&merge)) {
            return Err(PeerError::Misbehaved(Misbehaviour::Merged));
        }
        request.check_extensions(&self.abilities.supported)?;
        let describes_session = matches!(request.method, Method::Invite | Method::Update);
        if describes_session && !is_body_optional(request) {
            request.check_body(&[("application", "sdp")])?;
        }
        if describes_session {
            request.check_accept("application", "sdp")?;
        }
        if request.method != Method::Invite && request.headers.contains(&HeaderName::REPLACES) {
            // RFC 3891 §3: nothing else can take the place of a call.
            let reason = Reason::Expected("no such header but in INVITE");
            return Err(ParseError { header: "Replaces", offset: 0, reason }.into());
        }
        Ok(())
    }

    fn serve(&mut self, id: TransactionId, request: Request, source: Source, now: Instant) {
        let dialog = match DialogId::of_request(&request) {
            Ok(dialog) => dialog,
            Err(error) => return self.refuse(id, &request, &error.into(), now),
        };
        match dialog {
            Some(dialog) if request.method == Method::Subscribe => match self.subscription_of(&dialog) {
                Some(subscription) => self.receive_resubscribe(id, &request, subscription, source, now),
                None => self.serve_in_dialog(id, request, &dialog, source, now),
            },
            Some(dialog) => self.serve_in_dialog(id, request, &dialog, source, now),
            None if request.method == Method::Subscribe && !self.config.packages.is_empty() => {
                self.receive_subscribe(id, request, source, now);
            }
            None if request.method == Method::Invite => self.receive_invite(id, request, source, now),
            None if request.method == Method::Options => self.serve_options(id, &request, now),
            None if self.config.accepted.contains(&request.method) => self.hand_over(id, request, None, source, now),
            None => self.refuse(id, &request, &PeerError::Misbehaved(Misbehaviour::NoSuchDialog), now),
        }
    }

    fn serve_options(&mut self, id: TransactionId, request: &Request, now: Instant) {
        match self.accepting {
            Accepting::Yes => {
                let response = self.options_response(request, &self.to_tag(id));
                self.respond_anyway(id, &response, now);
            }
            Accepting::No { retry_after_seconds } => {
                self.refuse_overload(id, request, Some(retry_after_seconds), now);
            }
        }
    }

    fn serve_in_dialog(
        &mut self,
        id: TransactionId,
        request: Request,
        dialog: &DialogId,
        source: Source,
        now: Instant,
    ) {
        let Some(handle) = self.dialogs.get(dialog).copied() else {
            return self.refuse(id, &request, &PeerError::Misbehaved(Misbehaviour::NoSuchDialog), now);
        };
        if let Err(error) = self.check_order(handle, dialog, &request, source) {
            return self.refuse(id, &request, &error, now);
        }
        match &request.method {
            Method::Invite => self.receive_reinvite(id, request, handle, now),
            Method::Bye => self.receive_bye(id, &request, handle, now),
            Method::Prack => self.receive_prack(id, &request, handle, now),
            Method::Update => self.receive_update(id, request, handle, dialog, now),
            Method::Options => {
                let response = self.options_response(&request, &self.to_tag(id));
                self.respond_anyway(id, &response, now);
            }
            Method::Notify if is_about_refer(&request) => self.receive_notify(id, &request, handle, now),
            Method::Refer if self.config.accepted.contains(&Method::Refer) => {
                self.receive_refer(id, request, handle, source, now);
            }
            method if self.config.accepted.contains(method) => {
                self.hand_over(id, request, Some(handle), source, now);
            }
            Method::Info => {
                let response = self.response(&request, StatusCode::OK, &self.to_tag(id));
                self.respond_anyway(id, &response, now);
                self.emit(Event::InfoReceived { call: handle, request: Arc::new(request) });
            }
            Method::Notify => self.refuse(id, &request, &PeerError::Incompatible(Incompatibility::Event), now),
            // `examine` lets nothing else through.
            Method::Ack
            | Method::Cancel
            | Method::Message
            | Method::Publish
            | Method::Refer
            | Method::Register
            | Method::Subscribe
            | Method::Other(_) => self.refuse(id, &request, &PeerError::Incompatible(Incompatibility::Method), now),
        }
    }

    fn check_order(
        &mut self,
        handle: crate::endpoint::CallHandle,
        id: &DialogId,
        request: &Request,
        source: Source,
    ) -> Result<(), PeerError> {
        let number = request.headers.cseq()?.number;
        let dialog = self.calls.get_mut(&handle).and_then(|call| call.dialog_mut(id));
        let dialog = dialog.ok_or(PeerError::Misbehaved(Misbehaviour::NoSuchDialog))?;
        dialog.check_cseq(number)?;
        dialog.path = source;
        Ok(())
    }

    /// The To tag of our responses in this transaction.
    pub(super) fn to_tag(&self, id: TransactionId) -> String {
        match self.transactions.user(id) {
            Some(Use::Server(server)) => server.to_tag.clone(),
            Some(Use::Client(_)) | None => String::new(),
        }
    }
}

/// Within a call a NOTIFY is about a transfer, unless our user takes others.
fn is_about_refer(request: &Request) -> bool {
    request.headers.event().is_ok_and(|event| event.is_none_or(|event| event.package == "refer"))
}

fn is_body_optional(request: &Request) -> bool {
    let disposition = request.headers.text(&HeaderName::CONTENT_DISPOSITION);
    disposition.is_some_and(|text| text.to_ascii_lowercase().replace(' ', "").contains(OPTIONAL_HANDLING))
}

/// The session description in the body of an INVITE, an ACK or a response; `None` if there is none, or it is something
/// else that may be ignored.
pub(super) fn sdp_of(headers: &crate::message::Headers, body: &[u8]) -> Option<Vec<u8>> {
    let is_sdp = headers.content_type().ok()?.is_some_and(|body_type| body_type.matches("application", "sdp"));
    (is_sdp && !body.is_empty()).then(|| body.to_vec())
}

/// Where responses go (RFC 3261 §18.2.2, RFC 3581 §4), noted in the top Via. `maddr` is ignored: it would let a peer
/// make us send to a third party.
fn response_path(request: &mut Request, source: Source) -> Source {
    let Ok(mut via) = request.headers.via() else { return source };
    via.note_source(source.peer);
    // It could be read a moment ago.
    let _ = request.headers.replace_top_via(&via);
    match source.transport {
        Transport::Udp if !via.wants_rport() => {
            let port = via.sent_by.port.unwrap_or(source.transport.default_port());
            Source { peer: SocketAddr::new(source.peer.ip(), port), ..source }
        }
        Transport::Udp | Transport::Tcp | Transport::Tls => source,
    }
}
