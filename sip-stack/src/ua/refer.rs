//! Transfers: REFER with its implicit subscription (RFC 3515, RFC 6665, RFC 3892), and calls that take the place of
//! others (RFC 3891). Within calls only: what comes outside of one goes to our user as any other request.
//!
//! Left out on purpose: SUBSCRIBE to prolong the subscription; a transfer that takes longer than [`SUBSCRIPTION`] is over
//! for whoever asked.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::call::Phase;
use super::{Purpose, Use};
use crate::body::sipfrag;
use crate::dialog::{Dialog, DialogId};
use crate::endpoint::{
    CallHandle, Endpoint, EndpointMisuse, Event, OutgoingRefer, PeerRequestHandle, ReferHandle, Referral,
    RequestFailure, Source, TransferNews,
};
use crate::message::header::{EventHeader, Replaces, SubscriptionState};
use crate::message::{
    HeaderName, Incompatibility, Method, Misbehaviour, ParseError, PeerError, Reason, Request, Response, StatusCode,
};
use crate::transaction::table::TransactionId;

/// The event package.
const REFER: &str = "refer";
/// How long a subscription lasts.
const SUBSCRIPTION: Duration = Duration::from_secs(180);
/// REFERs of one call that are followed at a time, each way.
const REFER_LIMIT: usize = 4;

/// A REFER of ours: we are told what becomes of it.
#[derive(Debug)]
pub(crate) struct OwnRefer {
    /// CSeq of the REFER, which names its subscription.
    cseq: u32,
}

/// A REFER of theirs that our user has accepted: we tell what becomes of it.
#[derive(Debug)]
pub(crate) struct PeerRefer {
    call: CallHandle,
    cseq: u32,
    /// The peer wants to be told (RFC 4488).
    wants_notify: bool,
    pub(crate) expire_at: Instant,
    /// The call has ended, but the subscription goes on in its dialog.
    orphan: Option<Dialog>,
}

impl Endpoint {
    pub(crate) fn do_refer(
        &mut self,
        handle: CallHandle,
        refer: OutgoingRefer,
        now: Instant,
    ) -> Result<(), EndpointMisuse> {
        let call = self.calls.get(&handle).ok_or(EndpointMisuse::UnknownCall)?;
        if !matches!(call.phase, Phase::Up) || call.own_refers.len() >= REFER_LIMIT {
            return Err(EndpointMisuse::WrongState);
        }
        let mut headers = vec![(HeaderName::REFER_TO, refer.refer_to.to_string())];
        headers.extend(refer.referred_by.map(|who| (HeaderName::REFERRED_BY, who.to_string())));
        if !refer.wants_notify {
            headers.push((HeaderName::REFER_SUB, "false".to_owned()));
        }
        headers.extend(refer.headers);
        let transaction = self.send_in_dialog(handle, Method::Refer, Purpose::Refer, headers, None, now)?;
        let cseq = self.client_cseq(transaction);
        if let Some(call) = self.calls.get_mut(&handle) {
            call.own_refers.push(OwnRefer { cseq });
        }
        Ok(())
    }

    pub(super) fn client_cseq(&self, id: TransactionId) -> u32 {
        match self.transactions.user(id) {
            Some(Use::Client(client)) => client.request.headers.cseq().map_or(0, |cseq| cseq.number),
            Some(Use::Server(_)) | None => 0,
        }
    }

    pub(super) fn on_refer_response(
        &mut self,
        handle: CallHandle,
        id: TransactionId,
        response: &Response,
        now: Instant,
    ) {
        // After the end of a call nothing is told of it.
        if response.status.is_provisional() || !self.calls.contains_key(&handle) {
            return;
        }
        if response.status.is_success() {
            let is_told = response.headers.text(&HeaderName::REFER_SUB).is_none_or(|text| !text.starts_with("false"));
            let wants = self.client_header(id, &HeaderName::REFER_SUB).is_none();
            let will_notify = is_told && wants;
            if !will_notify {
                self.forget_refer(handle, id);
            }
            return self.emit(Event::Transfer { call: handle, news: TransferNews::Accepted { will_notify } });
        }
        self.forget_refer(handle, id);
        self.emit(Event::Transfer { call: handle, news: TransferNews::Rejected { status: response.status } });
        if response.status == StatusCode::CALL_DOES_NOT_EXIST {
            self.hang_up_lost(handle, now);
        }
    }

    fn client_header(&self, id: TransactionId, name: &HeaderName) -> Option<String> {
        match self.transactions.user(id) {
            Some(Use::Client(client)) => client.request.headers.text(name),
            Some(Use::Server(_)) | None => None,
        }
    }

    pub(super) fn on_refer_failure(&mut self, handle: CallHandle, id: TransactionId, status: StatusCode) {
        self.forget_refer(handle, id);
        if !self.calls.contains_key(&handle) {
            return;
        }
        let failure = match status {
            StatusCode::REQUEST_TIMEOUT => RequestFailure::TimedOut,
            _ => RequestFailure::TransportFailed,
        };
        self.emit(Event::Transfer { call: handle, news: TransferNews::Failed { failure } });
    }

    fn forget_refer(&mut self, handle: CallHandle, id: TransactionId) {
        let cseq = self.client_cseq(id);
        if let Some(call) = self.calls.get_mut(&handle) {
            call.own_refers.retain(|refer| refer.cseq != cseq);
        }
    }

    /// After a challenge: the REFER has another number now.
    pub(super) fn follow_refer(&mut self, handle: CallHandle, old: u32, new: TransactionId) {
        let cseq = self.client_cseq(new);
        let refers = self.calls.get_mut(&handle).map(|call| &mut call.own_refers);
        if let Some(refer) = refers.and_then(|refers| refers.iter_mut().find(|refer| refer.cseq == old)) {
            refer.cseq = cseq;
        }
    }

    /// A NOTIFY about a REFER of ours. It may overtake the 202.
    pub(super) fn receive_notify(&mut self, id: TransactionId, request: &Request, handle: CallHandle, now: Instant) {
        let found = self.referred(request, handle);
        let (cseq, state) = match found {
            Ok(found) => found,
            Err(error) => return self.refuse(id, request, &error, now),
        };
        let response = self.response(request, StatusCode::OK, &self.to_tag(id));
        self.respond_anyway(id, &response, now);
        let is_terminated = state.is_terminated();
        if is_terminated && let Some(call) = self.calls.get_mut(&handle) {
            call.own_refers.retain(|refer| refer.cseq != cseq);
        }
        let status = sipfrag::parse_status(&request.body);
        self.emit(Event::Transfer { call: handle, news: TransferNews::Progress { status, is_terminated } });
    }

    /// The REFER that a NOTIFY is about, and how far its subscription has come.
    fn referred(&self, request: &Request, handle: CallHandle) -> Result<(u32, SubscriptionState), PeerError> {
        let missing = |header| ParseError { header, offset: 0, reason: Reason::Missing };
        let event = request.headers.event()?.ok_or_else(|| missing("Event"))?;
        if event.package != REFER {
            return Err(PeerError::Incompatible(Incompatibility::Event));
        }
        let state = request.headers.subscription_state()?.ok_or_else(|| missing("Subscription-State"))?;
        let id = event.id().map(str::parse::<u32>);
        let refers = self.calls.get(&handle).map(|call| &call.own_refers);
        let is_it = |refer: &&OwnRefer| id.as_ref().is_none_or(|id| *id == Ok(refer.cseq));
        let refer = refers.and_then(|refers| refers.iter().find(is_it));
        let refer = refer.ok_or(PeerError::Misbehaved(Misbehaviour::NoSuchDialog))?;
        Ok((refer.cseq, state))
    }

    /// A REFER of theirs within a call.
    pub(super) fn receive_refer(
        &mut self,
        id: TransactionId,
        request: Request,
        handle: CallHandle,
        source: Source,
        now: Instant,
    ) {
        let refer_to = match request.headers.refer_to() {
            Ok(Some(refer_to)) => refer_to,
            Ok(None) => {
                let error = ParseError { header: "Refer-To", offset: 0, reason: Reason::Missing };
                return self.refuse(id, &request, &error.into(), now);
            }
            Err(error) => return self.refuse(id, &request, &error.into(), now),
        };
        let referred_by = request.headers.referred_by().ok().flatten();
        let (request, message) = self.keep_waiting(id, request, source, now);
        let referral = Box::new(Referral { refer_to, referred_by });
        self.emit(Event::ReferReceived { call: handle, request, referral, message });
    }

    pub(crate) fn do_accept_refer(
        &mut self,
        handle: CallHandle,
        request: PeerRequestHandle,
        now: Instant,
    ) -> Result<ReferHandle, EndpointMisuse> {
        let waiting = self.peer_requests.get(&request).ok_or(EndpointMisuse::UnknownRequest)?;
        let message: Arc<Request> = waiting.request.clone();
        if message.method != Method::Refer || !self.calls.contains_key(&handle) {
            return Err(EndpointMisuse::WrongState);
        }
        if self.peer_refers.len() >= self.config.limits.calls.saturating_mul(REFER_LIMIT) {
            return Err(EndpointMisuse::Full);
        }
        let wants_notify = message.headers.text(&HeaderName::REFER_SUB).is_none_or(|text| !text.starts_with("false"));
        let mut answer = crate::endpoint::Answer::new(StatusCode::ACCEPTED);
        if !wants_notify {
            answer = answer.with_header(HeaderName::REFER_SUB, "false");
        }
        self.do_respond(request, answer, now)?;
        let refer = ReferHandle(self.new_handle());
        let cseq = message.headers.cseq().map_or(0, |cseq| cseq.number);
        let expire_at = now + SUBSCRIPTION;
        let peer_refer = PeerRefer { call: handle, cseq, wants_notify, expire_at, orphan: None };
        self.peer_refers.insert(refer, peer_refer);
        self.reschedule(refer);
        // At once, because the subscriber is to know that there is a subscription (RFC 3515 §2.4.4).
        self.notify_refer(refer, StatusCode::TRYING, "", now);
        Ok(refer)
    }

    pub(crate) fn do_report_refer(
        &mut self,
        refer: ReferHandle,
        status: StatusCode,
        now: Instant,
    ) -> Result<(), EndpointMisuse> {
        if !self.peer_refers.contains_key(&refer) {
            return Err(EndpointMisuse::UnknownRequest);
        }
        let reason = if status.is_final() { "noresource" } else { "" };
        self.notify_refer(refer, status, reason, now);
        Ok(())
    }

    /// One NOTIFY; with a `reason` it is the last.
    fn notify_refer(&mut self, handle: ReferHandle, status: StatusCode, reason: &str, now: Instant) {
        let Some(refer) = self.peer_refers.get_mut(&handle) else { return };
        let left = refer.expire_at.saturating_duration_since(now).as_secs();
        let state = match reason {
            "" => SubscriptionState::active(left),
            reason => SubscriptionState::terminated(reason),
        };
        let mut event = EventHeader::new(REFER);
        event.params.set("id", refer.cseq.to_string());
        let headers = vec![(HeaderName::EVENT, event.to_string()), (HeaderName::SUBSCRIPTION_STATE, state.to_string())];
        let (call, wants_notify) = (refer.call, refer.wants_notify);
        let purpose = Purpose::ReferNotify(handle);
        let body = Some((sipfrag::MEDIA_TYPE, sipfrag::status_line(status)));
        // A NOTIFY without room is lost; the next one says more.
        let _ = match (wants_notify, refer.orphan.take()) {
            (false, _) => Ok(()),
            (true, None) => self.send_in_dialog(call, Method::Notify, purpose, headers, body, now).map(|_| ()),
            (true, Some(mut dialog)) => {
                let sent = self.send_on_dialog(&mut dialog, Method::Notify, purpose, headers, body, now);
                self.keep_orphan(handle, dialog);
                sent.map(|_| ())
            }
        };
        if state.is_terminated() {
            self.forget_peer_refer(handle);
        }
    }

    /// Several transfers may go on in one dialog that has no call any more; its numbers are for all of them.
    fn keep_orphan(&mut self, handle: ReferHandle, dialog: Dialog) {
        for (other, refer) in &mut self.peer_refers {
            if *other == handle || refer.orphan.as_ref().is_some_and(|orphan| orphan.id == dialog.id) {
                refer.orphan = Some(dialog.clone());
            }
        }
    }

    pub(super) fn forget_peer_refer(&mut self, handle: ReferHandle) {
        self.peer_refers.remove(&handle);
        self.reschedule(handle);
    }

    /// The subscription's time is over.
    pub(crate) fn on_refer_timeout(&mut self, handle: ReferHandle, now: Instant) {
        self.notify_refer(handle, StatusCode::REQUEST_TIMEOUT, "timeout", now);
        self.forget_peer_refer(handle);
    }

    /// The call ends, its subscriptions do not (RFC 5057).
    pub(crate) fn orphan_refers(&mut self, handle: CallHandle, dialog: Option<&Dialog>) {
        for refer in self.peer_refers.values_mut().filter(|refer| refer.call == handle) {
            refer.orphan = dialog.cloned();
        }
    }

    /// The call a Replaces header names (RFC 3891 §3).
    ///
    /// # Errors
    /// 481 if there is none, or one that rings here; 486 if it is answered and only one that is not was meant; 603 if it is
    /// ending.
    pub(super) fn replaced(&self, request: &Request) -> Result<Option<CallHandle>, PeerError> {
        let Some(replaces) = request.headers.replaces()? else { return Ok(None) };
        let none = PeerError::Misbehaved(Misbehaviour::NoSuchDialog);
        let handle = self.find_replaced(&replaces).ok_or(none.clone())?;
        match self.calls.get(&handle).map(|call| &call.phase) {
            Some(Phase::Up) if replaces.early_only => Err(PeerError::Misbehaved(Misbehaviour::Answered)),
            Some(Phase::Up | Phase::Outgoing(_)) => Ok(Some(handle)),
            Some(Phase::Ending) => Err(PeerError::Misbehaved(Misbehaviour::Terminated)),
            Some(Phase::Incoming(_)) | None => Err(none),
        }
    }

    pub(crate) fn find_replaced(&self, replaces: &Replaces) -> Option<CallHandle> {
        let id = DialogId::new(replaces.call_id.clone(), &replaces.to_tag, Some(&replaces.from_tag));
        self.dialogs.get(&id).copied()
    }

    pub(crate) fn replaces_of(&self, handle: CallHandle) -> Option<Replaces> {
        let call = self.calls.get(&handle)?;
        let dialog = call.dialog.as_ref().or(call.early.first())?;
        Some(Replaces {
            call_id: dialog.id.call_id.clone(),
            // As their side sees it: the peer of the new call is the remote one of this.
            to_tag: dialog.id.remote_tag().to_owned(),
            from_tag: dialog.id.local_tag().to_owned(),
            early_only: false,
        })
    }
}

impl PeerRefer {
    pub(crate) fn poll_timeout(&self) -> (Instant, &'static str) {
        (self.expire_at, "subscription")
    }
}
