//! Session timers of calls: the endpoint's side of [`SessionTimer`] (RFC 4028 §7 to §10).

use std::time::Instant;

use super::call::{Call, Phase};
use super::{Purpose, Use};
use crate::dialog::session_timer::{self, Agreement, MIN_SE_SECONDS, SessionTimer, TooSmall};
use crate::endpoint::{CallHandle, EndCause, Endpoint};
use crate::message::header::{ReasonHeader, Refresher};
use crate::message::{HeaderName, Headers, Method, Request, Response, StatusCode};
use crate::transaction::table::TransactionId;

/// 422s that are followed: a chain of proxies may each want more.
const TOO_SMALL_LIMIT: u8 = 3;
/// After a 491 to a refresh: less than this, at random (RFC 3261 §14.1). Milliseconds.
const GLARE_MS: u32 = 4_000;

impl Endpoint {
    /// Puts our wish into an INVITE or UPDATE of ours.
    pub(super) fn push_session_wish(&self, headers: &mut Headers, running: Option<&SessionTimer>) {
        let Some(config) = self.config.session_timer else { return };
        let refresher = running.map(|timer| if timer.we_refresh { Refresher::Uac } else { Refresher::Uas });
        let interval = running.map_or(config.interval_seconds, |timer| timer.interval_seconds);
        session_timer::push_wish(headers, interval.max(config.min_seconds), config.min_seconds, refresher);
    }

    /// 422, if the peer wants to refresh too often. `true`: the request has been refused.
    pub(super) fn refuse_small_interval(&mut self, id: TransactionId, request: &Request, now: Instant) -> bool {
        let Some(config) = self.config.session_timer else { return false };
        let Err(TooSmall(least)) = session_timer::agree(&request.headers, config) else { return false };
        let mut response = self.response(request, StatusCode::SESSION_INTERVAL_TOO_SMALL, &self.to_tag(id));
        response.headers.push(HeaderName::MIN_SE, least);
        self.respond_anyway(id, &response, now);
        true
    }

    /// Says in a 2xx of ours what the session timer will be, and starts it.
    pub(super) fn agree_on_session(
        &mut self,
        handle: CallHandle,
        request: &Request,
        response: &mut Response,
        now: Instant,
    ) {
        let Some(config) = self.config.session_timer else { return };
        let agreement = session_timer::agree(&request.headers, config).ok().flatten();
        if let Some(agreement) = agreement {
            session_timer::push_agreement(&mut response.headers, agreement);
        }
        let timer = agreement.map(|Agreement { interval_seconds, refresher, .. }| {
            SessionTimer::start(interval_seconds, refresher == Refresher::Uas, now)
        });
        if let Some(call) = self.calls.get_mut(&handle) {
            call.session_timer = timer;
        }
        self.reschedule(handle);
    }

    /// Starts the timer that a 2xx to our INVITE or UPDATE grants.
    pub(super) fn take_session_grant(&mut self, handle: CallHandle, headers: &Headers, now: Instant) {
        if self.config.session_timer.is_none() {
            return;
        }
        if let Some(call) = self.calls.get_mut(&handle) {
            call.session_timer = SessionTimer::of_response(headers, now);
        }
        self.reschedule(handle);
    }

    /// 422 to a request of ours: the same once more with the interval they bear. `true`: it is under way.
    pub(super) fn answer_too_small(&mut self, id: TransactionId, response: &Response, now: Instant) -> bool {
        if response.status != StatusCode::SESSION_INTERVAL_TOO_SMALL {
            return false;
        }
        let least = response.headers.min_se().ok().flatten().unwrap_or(MIN_SE_SECONDS);
        let Some(Use::Client(client)) = self.transactions.user_mut(id) else { return false };
        let wish = client.request.headers.session_expires().ok().flatten();
        let is_news = wish.as_ref().is_none_or(|wish| wish.seconds < least) && client.too_small < TOO_SMALL_LIMIT;
        let (call, purpose) = (client.call, client.purpose);
        if !is_news || !matches!(purpose, Purpose::Invite | Purpose::Reinvite | Purpose::Update) {
            return false;
        }
        client.too_small += 1;
        let refresher = wish.and_then(|wish| wish.refresher());
        session_timer::push_wish(&mut client.request.headers, least, least, refresher);
        !self.is_given_up(call, purpose) && self.send_again(id, now).is_ok()
    }

    /// The session timer is due: refresh, or end what nobody refreshes. `true`: the call has been dealt with.
    pub(super) fn on_session_timeout(&mut self, handle: CallHandle, now: Instant) -> bool {
        let Some(call) = self.calls.get_mut(&handle) else { return true };
        let Some(timer) = &mut call.session_timer else { return false };
        if !matches!(call.phase, Phase::Up) {
            return false;
        }
        if timer.expire_at <= now {
            call.session_timer = None;
            let reason = Some(ReasonHeader::sip(408, "Session expired"));
            self.send_bye(handle, reason, EndCause::SessionExpired, now);
            return true;
        }
        if timer.refresh_at.is_some_and(|at| at <= now) {
            timer.refresh_at = None;
            self.refresh_session(handle, now);
            return true;
        }
        false
    }

    /// By UPDATE if the peer takes it, else by a re-INVITE that offers what is agreed already.
    fn refresh_session(&mut self, handle: CallHandle, now: Instant) {
        let Some(call) = self.calls.get(&handle) else { return };
        let sent = match call.peer_takes_update {
            true => self.do_update(handle, None, now),
            false => {
                let offer = call.local_sdp.clone();
                self.do_reinvite(handle, offer, now)
            }
        };
        if sent.is_err() {
            self.note_failed_refresh(handle, false, now);
        }
    }

    /// A refresh, or any other re-INVITE or UPDATE of ours, was refused or could not be sent.
    pub(super) fn note_failed_refresh(&mut self, handle: CallHandle, is_glare: bool, now: Instant) {
        let glare = std::time::Duration::from_millis(u64::from(self.random.below(GLARE_MS)));
        let timer = self.calls.get_mut(&handle).and_then(|call| call.session_timer.as_mut());
        if let Some(timer) = timer.filter(|timer| timer.refresh_at.is_none()) {
            timer.note_failed_refresh(now);
            if is_glare && timer.we_refresh {
                timer.refresh_at = Some(now + glare);
            }
        }
        self.reschedule(handle);
    }

    /// Notes what a message of the peer's says about its abilities.
    pub(super) fn note_abilities(call: &mut Call, headers: &Headers) {
        if headers.contains(&HeaderName::ALLOW) {
            call.peer_takes_update = headers.allow().unwrap_or_default().contains(&Method::Update);
        }
    }
}
