//! Subscriptions of theirs that we notify: voicemail lamps, lamp fields and whatever package our user has (RFC 6665).
//!
//! ```text
//!   SUBSCRIBE ─► Requested ──accept──► Active ──expired, unsubscribed, ended, 481──► gone
//!                    │ refuse            └─ a SUBSCRIBE in its dialog starts the time anew
//!                    └───► gone
//! ```
//! One NOTIFY is under way at a time; what changes meanwhile is told with the next, the latest state only. Left out on
//! purpose: being a subscriber, which [`request`](Endpoint::request) is enough for; forked SUBSCRIBEs.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Purpose;
use super::outgoing::push_headers;
use crate::dialog::{Dialog, DialogId};
use crate::endpoint::{Body, Endpoint, EndpointMisuse, Event, Source, SubscriptionHandle};
use crate::message::header::{EventHeader, SubscriptionState};
use crate::message::{
    HeaderName, Incompatibility, Method, Misbehaviour, ParseError, PeerError, Reason, Request, StatusCode,
};
use crate::transaction::table::TransactionId;

/// If the subscriber does not say; also the longest we grant. Seconds.
const EXPIRES_SECONDS: u32 = 3_600;
/// The shortest we grant: each refresh costs both sides. Seconds.
const MIN_EXPIRES_SECONDS: u32 = 60;
/// How long our user may think about it.
const ANSWER_WITHIN: Duration = Duration::from_secs(20);

/// See the [module](self).
#[derive(Debug)]
pub(crate) struct Subscription {
    dialog: Dialog,
    event: EventHeader,
    state: State,
    expire_at: Instant,
    /// What was last told, or is to be told.
    body: Option<Body>,
    notify: Notify,
}

#[derive(Debug)]
enum State {
    /// Our user has not answered.
    Requested {
        transaction: TransactionId,
        request: Arc<Request>,
        expires_seconds: u32,
    },
    Active,
}

/// How far telling has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Notify {
    Idle,
    UnderWay,
    /// There is news since.
    UnderWayAndStale,
}

impl Subscription {
    pub(crate) fn poll_timeout(&self) -> (Instant, &'static str) {
        (self.expire_at, "subscription")
    }
}

impl Endpoint {
    /// A SUBSCRIBE outside of dialogs, for a package that our user has.
    pub(super) fn receive_subscribe(&mut self, id: TransactionId, request: Request, source: Source, now: Instant) {
        if self.subscriptions.len() >= self.config.limits.subscriptions {
            return self.refuse_overload(id, &request, None, now);
        }
        let made = self.requested_subscription(id, &request, source);
        let (dialog, event, expires_seconds) = match made {
            Ok(made) => made,
            Err(error) => return self.refuse(id, &request, &error, now),
        };
        if self.refuse_brief(id, &request, expires_seconds, now) {
            return;
        }
        let handle = SubscriptionHandle(self.new_handle());
        let message = Arc::new(request);
        let state = State::Requested { transaction: id, request: message.clone(), expires_seconds };
        let package = event.package.clone();
        let expire_at = now + ANSWER_WITHIN;
        let subscription = Subscription { dialog, event, state, expire_at, body: None, notify: Notify::Idle };
        self.subscriptions.insert(handle, subscription);
        self.reschedule(handle);
        self.emit(Event::SubscriptionRequested { subscription: handle, package, message, source });
    }

    fn requested_subscription(
        &self,
        id: TransactionId,
        request: &Request,
        source: Source,
    ) -> Result<(Dialog, EventHeader, u32), PeerError> {
        let event = event_of(request)?;
        if !self.config.packages.contains(&event.package) {
            return Err(PeerError::Incompatible(Incompatibility::Event));
        }
        let dialog =
            Dialog::of_request(request, &self.to_tag(id), self.contact(source.transport, source.peer), source)?;
        Ok((dialog, event, expires_of(request)?))
    }

    /// 423, if it wants to be refreshed too often. Zero is a question, not an interval.
    fn refuse_brief(&mut self, id: TransactionId, request: &Request, expires_seconds: u32, now: Instant) -> bool {
        let is_brief = (1..MIN_EXPIRES_SECONDS).contains(&expires_seconds);
        if is_brief {
            let mut response = self.response(request, StatusCode::INTERVAL_TOO_BRIEF, &self.to_tag(id));
            response.headers.push(HeaderName::MIN_EXPIRES, MIN_EXPIRES_SECONDS);
            self.respond_anyway(id, &response, now);
        }
        is_brief
    }

    pub(crate) fn do_accept_subscription(
        &mut self,
        handle: SubscriptionHandle,
        body: Option<Body>,
        now: Instant,
    ) -> Result<(), EndpointMisuse> {
        let subscription = self.subscriptions.get_mut(&handle).ok_or(EndpointMisuse::UnknownSubscription)?;
        let State::Requested { transaction, request, expires_seconds } = &subscription.state else {
            return Err(EndpointMisuse::WrongState);
        };
        let (transaction, request, expires_seconds) = (*transaction, request.clone(), *expires_seconds);
        subscription.state = State::Active;
        subscription.body = body;
        self.subscription_dialogs.insert(subscription.dialog.id.clone(), handle);
        self.grant(handle, transaction, &request, expires_seconds, now);
        Ok(())
    }

    /// 200, and the state at once (RFC 6665 §4.2.1.2).
    fn grant(
        &mut self,
        handle: SubscriptionHandle,
        id: TransactionId,
        request: &Request,
        expires_seconds: u32,
        now: Instant,
    ) {
        let Some(subscription) = self.subscriptions.get_mut(&handle) else { return };
        subscription.expire_at = now + Duration::from_secs(u64::from(expires_seconds));
        let (tag, contact) = (subscription.dialog.id.local_tag().to_owned(), subscription.dialog.contact.clone());
        let mut response = self.response(request, StatusCode::OK, &tag);
        response.headers.push(HeaderName::CONTACT, contact);
        response.headers.push(HeaderName::EXPIRES, expires_seconds);
        self.respond_anyway(id, &response, now);
        match expires_seconds {
            0 => self.end_with(handle, "timeout", now),
            _ => {
                self.reschedule(handle);
                self.tell(handle, now);
            }
        }
    }

    pub(crate) fn do_refuse_subscription(
        &mut self,
        handle: SubscriptionHandle,
        status: StatusCode,
        headers: Vec<(HeaderName, String)>,
        now: Instant,
    ) -> Result<(), EndpointMisuse> {
        let subscription = self.subscriptions.get(&handle).ok_or(EndpointMisuse::UnknownSubscription)?;
        let State::Requested { transaction, request, .. } = &subscription.state else {
            return Err(EndpointMisuse::WrongState);
        };
        if status.class() < 3 {
            return Err(EndpointMisuse::WrongStatus);
        }
        let (transaction, request) = (*transaction, request.clone());
        let mut response = self.response(&request, status, &self.to_tag(transaction));
        push_headers(&mut response.headers, headers);
        self.respond_anyway(transaction, &response, now);
        self.subscriptions.remove(&handle);
        self.reschedule(handle);
        Ok(())
    }

    pub(crate) fn do_notify(
        &mut self,
        handle: SubscriptionHandle,
        body: Body,
        now: Instant,
    ) -> Result<(), EndpointMisuse> {
        let subscription = self.subscriptions.get_mut(&handle).ok_or(EndpointMisuse::UnknownSubscription)?;
        if !matches!(subscription.state, State::Active) {
            return Err(EndpointMisuse::WrongState);
        }
        subscription.body = Some(body);
        self.tell(handle, now);
        Ok(())
    }

    pub(crate) fn do_end_subscription(
        &mut self,
        handle: SubscriptionHandle,
        reason: &str,
        now: Instant,
    ) -> Result<(), EndpointMisuse> {
        let subscription = self.subscriptions.get(&handle).ok_or(EndpointMisuse::UnknownSubscription)?;
        if !matches!(subscription.state, State::Active) {
            return Err(EndpointMisuse::WrongState);
        }
        self.end_with(handle, reason, now);
        Ok(())
    }

    /// A SUBSCRIBE within the dialog of a subscription: prolong, or end.
    pub(super) fn receive_resubscribe(
        &mut self,
        id: TransactionId,
        request: &Request,
        handle: SubscriptionHandle,
        source: Source,
        now: Instant,
    ) {
        match self.prolonged(request, handle, source) {
            Err(error) => self.refuse(id, request, &error, now),
            Ok(expires_seconds) if self.refuse_brief(id, request, expires_seconds, now) => {}
            Ok(expires_seconds) => self.grant(handle, id, request, expires_seconds, now),
        }
    }

    fn prolonged(&mut self, request: &Request, handle: SubscriptionHandle, source: Source) -> Result<u32, PeerError> {
        let none = PeerError::Misbehaved(Misbehaviour::NoSuchDialog);
        let event = event_of(request)?;
        let expires_seconds = expires_of(request)?;
        let subscription = self.subscriptions.get_mut(&handle).ok_or(none.clone())?;
        if event.package != subscription.event.package || event.id() != subscription.event.id() {
            return Err(none);
        }
        subscription.dialog.check_cseq(request.headers.cseq()?.number)?;
        subscription.dialog.path = source;
        subscription.dialog.refresh_target(request.headers.contact()?);
        Ok(expires_seconds)
    }

    /// Sends the state, now or as soon as the NOTIFY before is answered.
    fn tell(&mut self, handle: SubscriptionHandle, now: Instant) {
        let Some(subscription) = self.subscriptions.get_mut(&handle) else { return };
        if subscription.notify != Notify::Idle {
            subscription.notify = Notify::UnderWayAndStale;
            return;
        }
        subscription.notify = Notify::UnderWay;
        let left = subscription.expire_at.saturating_duration_since(now).as_secs();
        self.send_notify(handle, SubscriptionState::active(left), now);
    }

    /// The last NOTIFY; the subscription is gone then.
    fn end_with(&mut self, handle: SubscriptionHandle, reason: &str, now: Instant) {
        self.send_notify(handle, SubscriptionState::terminated(reason), now);
        self.forget_subscription(handle);
    }

    fn send_notify(&mut self, handle: SubscriptionHandle, state: SubscriptionState, now: Instant) {
        let Some(subscription) = self.subscriptions.get(&handle) else { return };
        let mut dialog = subscription.dialog.clone();
        let headers = vec![
            (HeaderName::EVENT, subscription.event.to_string()),
            (HeaderName::SUBSCRIPTION_STATE, state.to_string()),
        ];
        let body = subscription.body.clone();
        let body = body.as_ref().map(|body| (body.content_type.as_str(), body.bytes.clone()));
        let sent = self.send_on_dialog(&mut dialog, Method::Notify, Purpose::Notify(handle), headers, body, now);
        if let Some(subscription) = self.subscriptions.get_mut(&handle) {
            subscription.dialog = dialog;
            if sent.is_err() {
                // Without room it is told with the next change, or with the next refresh.
                subscription.notify = Notify::Idle;
            }
        }
    }

    /// A final response to a NOTIFY, or none.
    pub(super) fn on_notified(&mut self, handle: SubscriptionHandle, status: StatusCode, now: Instant) {
        if status.is_provisional() {
            return;
        }
        // Whoever does not know it, or does not answer, is not told any more (RFC 6665 §4.2.2).
        if matches!(status, StatusCode::CALL_DOES_NOT_EXIST | StatusCode::REQUEST_TIMEOUT) {
            return self.forget_subscription(handle);
        }
        let Some(subscription) = self.subscriptions.get_mut(&handle) else { return };
        let is_stale = subscription.notify == Notify::UnderWayAndStale;
        subscription.notify = Notify::Idle;
        if is_stale {
            self.tell(handle, now);
        }
    }

    pub(crate) fn on_subscription_timeout(&mut self, handle: SubscriptionHandle, now: Instant) {
        let Some(subscription) = self.subscriptions.get(&handle) else { return };
        match subscription.state {
            State::Active => self.end_with(handle, "timeout", now),
            State::Requested { .. } => {
                let status = StatusCode::SERVER_INTERNAL_ERROR;
                // It waits, so it can be refused.
                let _ = self.do_refuse_subscription(handle, status, Vec::new(), now);
            }
        }
    }

    fn forget_subscription(&mut self, handle: SubscriptionHandle) {
        let Some(subscription) = self.subscriptions.remove(&handle) else { return };
        self.subscription_dialogs.remove(&subscription.dialog.id);
        self.reschedule(handle);
        self.emit(Event::SubscriptionEnded { subscription: handle });
    }

    pub(super) fn subscription_of(&self, dialog: &DialogId) -> Option<SubscriptionHandle> {
        self.subscription_dialogs.get(dialog).copied()
    }
}

fn event_of(request: &Request) -> Result<EventHeader, PeerError> {
    let missing = ParseError { header: "Event", offset: 0, reason: Reason::Missing };
    Ok(request.headers.event()?.ok_or(missing)?)
}

fn expires_of(request: &Request) -> Result<u32, PeerError> {
    Ok(request.headers.expires()?.unwrap_or(EXPIRES_SECONDS).min(EXPIRES_SECONDS))
}
