//! The user of a party, who acts by chance. What it does in which case is a matter of taste; that it does everything the
//! endpoint offers, at any time, is not.

use std::time::Instant;

use sip_stack::digest::{Asker, Credentials, Ha1};
use sip_stack::endpoint::{
    Answer, Body, CallHandle, DialogRequest, EndCause, Event, OutgoingInvite, OutgoingRefer, OutgoingRequest,
    ReferHandle, RegistrationConfig, RegistrationNews, Source, TransferNews, Transmit,
};
use sip_stack::message::{HeaderName, Limits, Message, Method, NameAddr, Request, Response, StatusCode, Uri};

use super::party::{PASSWORD, Party, REALM, USER};
use crate::sim::sdp;

/// Something the user means to do.
#[derive(Debug, Clone)]
pub(super) enum Step {
    Place,
    Register,
    Subscribe,
    Message,
    Notify,
    Ring(CallHandle),
    EarlyMedia(CallHandle, Option<Vec<u8>>),
    Answer(CallHandle, Option<Vec<u8>>),
    Reject(CallHandle, StatusCode),
    Cancel(CallHandle),
    Bye(CallHandle),
    Acknowledge(CallHandle),
    /// Another session: by re-INVITE with or without offer, or by UPDATE.
    Reinvite(CallHandle),
    ReinviteWithoutOffer(CallHandle),
    Update(CallHandle),
    AnswerReinvite(CallHandle, Option<Vec<u8>>),
    RejectReinvite(CallHandle),
    AnswerUpdate(CallHandle, Vec<u8>),
    RejectUpdate(CallHandle),
    Refer(CallHandle),
    Report(ReferHandle, StatusCode),
    Info(CallHandle),
}

const OTHER: &[u8] = b"sip:100@192.0.2.1";

fn uri(text: &[u8]) -> Uri {
    Uri::parse(text).expect("a constant")
}

impl Party {
    /// The first of what the user means to do.
    pub(super) fn begin(&mut self, now: Instant) {
        for _ in 0..3 {
            self.soon(Step::Place, 0, 10_000, now);
        }
        self.soon(Step::Register, 0, 20_000, now);
        self.soon(Step::Subscribe, 0, 40_000, now);
        self.soon(Step::Message, 0, 60_000, now);
    }

    fn soon(&mut self, step: Step, least_ms: u64, most_ms: u64, now: Instant) {
        let at = now + self.chance.between(least_ms, most_ms);
        self.due.insert((at, self.steps), step);
        self.steps += 1;
    }

    /// Whoever is still on the line hangs up, within some seconds; nothing new begins.
    pub(super) fn close(&mut self, at: Instant) {
        let now = self.now(at);
        self.is_closed = true;
        self.due.retain(|_, step| !matches!(step, Step::Place | Step::Register | Step::Subscribe | Step::Message));
        for call in self.lives.running() {
            self.soon(Step::Bye(call), 0, 5_000, now);
        }
        if let Some(registration) = self.registration {
            let _ = self.endpoint.unregister(registration, now);
        }
        for subscription in std::mem::take(&mut self.subscriptions) {
            let _ = self.endpoint.end_subscription(subscription, "noresource", now);
        }
    }

    pub(super) fn take(&mut self, step: Step, now: Instant) {
        match step {
            Step::Place => self.place(now),
            Step::Register => self.register(now),
            Step::Subscribe => self.subscribe(now),
            Step::Message => self.message(now),
            Step::Notify => self.notify(now),
            Step::Bye(call) => self.hang_up(call, now),
            Step::Report(refer, status) => {
                let _ = self.endpoint.report_refer(refer, status, now);
            }
            Step::Info(call) => {
                if let Ok(request) = self.endpoint.request_within(call, DialogRequest::new(Method::Info), now) {
                    self.lives.of(call).requests.insert(request.as_u64());
                }
            }
            // The call may have ended, or be in another state by now; then nothing happens.
            Step::Ring(call) => {
                let _ = self.endpoint.ring(call, None, now);
            }
            Step::EarlyMedia(call, offer) => {
                let _ = self.endpoint.ring(call, Some(sdp::answer_to(offer.as_deref())), now);
            }
            Step::Answer(call, offer) => {
                if self.endpoint.answer(call, sdp::answer_to(offer.as_deref()), now).is_ok() {
                    self.lives.of(call).answered();
                    self.tally.answered += 1;
                }
            }
            Step::Reject(call, status) => self.refuse(call, status, now),
            Step::Cancel(call) => {
                if self.endpoint.cancel(call, None, now).is_ok() {
                    self.lives.of(call).ended_by(EndCause::HungUp);
                }
            }
            Step::Acknowledge(call) => {
                let _ = self.endpoint.ack_with_answer(call, sdp::answer(), now);
            }
            Step::Reinvite(call) => {
                if self.endpoint.reinvite(call, Some(sdp::hold()), now).is_ok() {
                    self.lives.of(call).own_reinvite = true;
                }
            }
            Step::ReinviteWithoutOffer(call) => {
                if self.endpoint.reinvite(call, None, now).is_ok() {
                    self.lives.of(call).own_reinvite = true;
                }
            }
            Step::Update(call) => {
                if self.endpoint.update(call, Some(sdp::hold()), now).is_ok() {
                    self.lives.of(call).own_update = true;
                }
            }
            Step::AnswerReinvite(call, offer) => {
                if self.endpoint.answer_reinvite(call, sdp::answer_to(offer.as_deref()), now).is_ok() {
                    self.lives.of(call).reinvite_answered();
                }
            }
            Step::RejectReinvite(call) => {
                if self.endpoint.reject_reinvite(call, StatusCode::NOT_ACCEPTABLE_HERE, now).is_ok() {
                    self.lives.of(call).reinvite_rejected();
                }
            }
            Step::AnswerUpdate(call, offer) => {
                let _ = self.endpoint.answer_update(call, sdp::answer_to(Some(&offer)), now);
            }
            Step::RejectUpdate(call) => {
                let _ = self.endpoint.reject_update(call, StatusCode::NOT_ACCEPTABLE_HERE, now);
            }
            Step::Refer(call) => {
                if self.endpoint.refer(call, OutgoingRefer::new(NameAddr::new(uri(OTHER))), now).is_ok() {
                    self.lives.of(call).referred();
                }
            }
        }
    }

    fn place(&mut self, now: Instant) {
        self.soon(Step::Place, 1_000, 15_000, now);
        let offer = self.chance.percent(80).then(sdp::offer);
        let credentials = if self.chance.percent(80) { vec![Credentials::new(USER, PASSWORD)] } else { Vec::new() };
        let invite = OutgoingInvite::new(uri(OTHER), NameAddr::new(uri(OTHER)), self.destination);
        let Ok(call) = self.endpoint.invite(OutgoingInvite { offer, credentials, ..invite }, now) else { return };
        self.tally.placed += 1;
        let first = std::iter::from_fn(|| self.endpoint.poll_transmit()).collect::<Vec<_>>();
        self.lives.placed(call, first.last().and_then(|transmit| call_id(&transmit.bytes)).unwrap_or_default());
        self.outbox.extend(first);
        // Patience runs out at any time, also before the first response.
        let patience_ms = if self.chance.percent(30) { 3_000 } else { 60_000 };
        self.soon(Step::Cancel(call), 0, patience_ms, now);
    }

    fn hang_up(&mut self, call: CallHandle, now: Instant) {
        if self.endpoint.bye(call, None, now).is_ok() {
            self.lives.of(call).ended_by(EndCause::HungUp);
        } else {
            self.refuse(call, StatusCode::TEMPORARILY_UNAVAILABLE, now);
        }
    }

    fn refuse(&mut self, call: CallHandle, status: StatusCode, now: Instant) {
        if self.endpoint.reject(call, status, &[], now).is_ok() {
            self.lives.of(call).ended_by(EndCause::Refused);
        }
    }

    fn register(&mut self, now: Instant) {
        let config = RegistrationConfig {
            credentials: vec![Credentials::new(USER, PASSWORD)],
            expires_seconds: 60 + self.chance.below(60),
            ..RegistrationConfig::new(uri(OTHER), NameAddr::new(uri(OTHER)), self.destination)
        };
        self.registration = self.endpoint.register(config, now).ok();
    }

    fn subscribe(&mut self, now: Instant) {
        let mut request =
            OutgoingRequest::new(Method::Subscribe, uri(OTHER), NameAddr::new(uri(OTHER)), self.destination);
        let source = self.source();
        let text = format!("<sip:me@{}>", source.local);
        request.contact = NameAddr::parse(&text).ok();
        request.headers = vec![
            (HeaderName::EVENT, "message-summary".to_owned()),
            (HeaderName::EXPIRES, (60 + self.chance.below(30)).to_string()),
        ];
        let _ = self.endpoint.request(request, now);
    }

    fn message(&mut self, now: Instant) {
        self.soon(Step::Message, 5_000, 60_000, now);
        let request = OutgoingRequest::new(Method::Message, uri(OTHER), NameAddr::new(uri(OTHER)), self.destination);
        let _ = self.endpoint.request(request, now);
    }

    fn notify(&mut self, now: Instant) {
        for subscription in self.subscriptions.clone() {
            let state = Body::new("application/simple-message-summary", "Messages-Waiting: yes\r\n");
            let _ = self.endpoint.notify(subscription, state, now);
        }
    }

    /// A subscriber's part, which the stack does not have: 200 to a NOTIFY outside of calls. `true`: it was one.
    pub(super) fn answer_notify(&mut self, bytes: &[u8]) -> bool {
        let Ok(Message::Request(request)) = Message::parse(bytes, &Limits::default()) else { return false };
        let is_ours = request.method == Method::Notify
            && request.headers.event().is_ok_and(|event| event.is_some_and(|event| event.package != "refer"));
        if is_ours {
            let response = Response::to(&request, StatusCode::OK, None);
            let Source { transport, local, peer, flow } = self.source();
            self.outbox.push_back(Transmit { transport, local, peer, flow, bytes: response.to_bytes() });
        }
        is_ours
    }

    pub(super) fn on_event(&mut self, event: Event, now: Instant) {
        match event {
            Event::InviteReceived { call, request, offer, .. } => self.on_invite(call, &request, offer, now),
            Event::AckReceived { call, .. } => self.on_up(call, now),
            Event::Answered { call, ref response, .. } => {
                if response.body.is_empty() {
                    return self.on_up(call, now);
                }
                // Misuse, and so without effect, unless the 2xx held an offer.
                let wait_ms = if self.chance.percent(70) { 0 } else { 3_000 };
                self.soon(Step::Acknowledge(call), 0, wait_ms, now);
                self.on_up(call, now);
            }
            Event::ReinviteReceived { call, offer, .. } => {
                let step = match self.chance.percent(85) {
                    true => Step::AnswerReinvite(call, offer),
                    false => Step::RejectReinvite(call),
                };
                self.soon(step, 0, 1_500, now);
            }
            Event::ReinviteAnswered { call, .. } => self.soon(Step::Acknowledge(call), 0, 500, now),
            Event::UpdateReceived { call, offer, .. } => {
                let step = match self.chance.percent(85) {
                    true => Step::AnswerUpdate(call, offer),
                    false => Step::RejectUpdate(call),
                };
                let wait_ms = if self.chance.percent(95) { 1_500 } else { 30_000 };
                self.soon(step, 0, wait_ms, now);
            }
            Event::ReinviteRejected { call, status } if status == StatusCode::REQUEST_PENDING => {
                self.tally.glares += 1;
                self.soon(Step::Reinvite(call), 0, 4_000, now);
            }
            // No response in time, or no connection any more.
            Event::ReinviteRejected { call, status: StatusCode::REQUEST_TIMEOUT | StatusCode::SERVICE_UNAVAILABLE } => {
                self.note_given_up(call)
            }
            Event::CallEnded { call, .. } if self.lives.of(call).has_open_invite() => self.note_given_up(call),
            Event::UpdateRejected { status: StatusCode::REQUEST_PENDING, .. } => self.tally.glares += 1,
            Event::ReferReceived { call, request, .. } => self.on_refer(call, request, now),
            Event::Transfer { call, news: TransferNews::Progress { is_terminated: true, .. } } => {
                self.soon(Step::Bye(call), 0, 1_000, now);
            }
            Event::RequestReceived { request, message, .. } => self.on_request(request, &message, now),
            Event::SubscriptionRequested { subscription, .. } => {
                if self.is_closed || self.chance.percent(10) {
                    let _ = self.endpoint.refuse_subscription(subscription, StatusCode::FORBIDDEN, Vec::new(), now);
                } else if self.endpoint.accept_subscription(subscription, None, now).is_ok() {
                    self.tally.subscribed += 1;
                    self.subscriptions.push(subscription);
                    self.soon(Step::Notify, 0, 10_000, now);
                    self.soon(Step::Notify, 0, 10_000, now);
                }
            }
            Event::SubscriptionEnded { subscription } => self.subscriptions.retain(|one| *one != subscription),
            Event::Registration { news: RegistrationNews::Registered { .. }, .. } => self.tally.registered += 1,
            Event::Cancelled { .. }
            | Event::AckTimedOut { .. }
            | Event::TimedOut { .. }
            | Event::TransportFailed { .. }
            | Event::ReinviteCancelled { .. }
            | Event::ReinviteConfirmed { .. }
            | Event::ReinviteRejected { .. }
            | Event::UpdateAnswered { .. }
            | Event::UpdateRejected { .. }
            | Event::ByeReceived { .. }
            | Event::ProvisionalReceived { .. }
            | Event::Rejected { .. }
            | Event::InfoReceived { .. }
            | Event::RequestAnswered { .. }
            | Event::RequestFailed { .. }
            | Event::Transfer { .. }
            | Event::DestinationFailed { .. }
            | Event::Registration { .. }
            | Event::AuthenticationFailed { .. }
            | Event::CallEnded { .. }
            | Event::PeerErrorSeen { .. } => {}
        }
    }

    fn on_invite(&mut self, call: CallHandle, request: &Request, offer: Option<Vec<u8>>, now: Instant) {
        if self.is_closed {
            return self.refuse(call, StatusCode::SERVICE_UNAVAILABLE, now);
        }
        let is_known = request.headers.contains(&HeaderName::PROXY_AUTHORIZATION);
        if is_known || self.chance.percent(15) {
            let ha1 = |user: &str, hash| Some(Ha1::new(hash, user, REALM, PASSWORD));
            if let Err(denied) = self.authority.verify(request, Asker::Proxy, ha1, now) {
                let (status, headers) = self.authority.refusal(&denied, Asker::Proxy, now);
                let rejected = self.endpoint.reject(call, status, &headers, now);
                self.lives.of(call).ended_by(EndCause::Refused);
                return assert!(rejected.is_ok(), "a new call cannot be refused");
            }
        }
        let up_ms = 500 + u64::from(self.chance.below(10_000));
        match self.chance.below(10) {
            0 => self.soon(Step::Answer(call, offer), 0, 0, now),
            1 => self.soon(Step::Reject(call, StatusCode::BUSY_HERE), 0, 5_000, now),
            // Nobody is there; somebody hangs up in the end.
            2 => self.soon(Step::Reject(call, StatusCode::TEMPORARILY_UNAVAILABLE), 80_000, 180_000, now),
            3 | 4 => {
                self.soon(Step::EarlyMedia(call, offer.clone()), 0, 1_000, now);
                self.soon(Step::Ring(call), 0, 2_000, now);
                self.soon(Step::Answer(call, offer), 200, up_ms, now);
            }
            _ => {
                self.soon(Step::Ring(call), 0, 300, now);
                self.soon(Step::Answer(call, offer), 200, up_ms, now);
            }
        }
        self.soon(Step::Bye(call), 200_000, 260_000, now);
    }

    /// A call is up: some of all that can be done with it, and mostly an end.
    fn on_up(&mut self, call: CallHandle, now: Instant) {
        if self.is_closed {
            return self.soon(Step::Bye(call), 0, 3_000, now);
        }
        let changes = self.chance.below(4);
        for _ in 0..changes {
            let step = match self.chance.below(6) {
                0 | 1 => Step::Reinvite(call),
                2 => Step::ReinviteWithoutOffer(call),
                3 => Step::Update(call),
                4 => Step::Info(call),
                _ => Step::Refer(call),
            };
            // The first moments of a call are the most crowded ones.
            let most_ms = if self.chance.percent(50) { 500 } else { 30_000 };
            self.soon(step, 0, most_ms, now);
        }
        if self.chance.percent(80) {
            self.soon(Step::Bye(call), 0, 60_000, now);
        }
    }

    fn on_refer(&mut self, call: CallHandle, request: sip_stack::endpoint::PeerRequestHandle, now: Instant) {
        if self.chance.percent(20) {
            let _ = self.endpoint.respond(request, Answer::new(StatusCode::FORBIDDEN), now);
            return;
        }
        let Ok(refer) = self.endpoint.accept_refer(call, request, now) else { return };
        self.tally.transfers += 1;
        self.soon(Step::Report(refer, StatusCode::RINGING), 0, 2_000, now);
        if self.chance.percent(80) {
            let status = if self.chance.percent(70) { StatusCode::OK } else { StatusCode::BUSY_HERE };
            self.soon(Step::Report(refer, status), 1_000, 9_000, now);
        }
    }

    fn on_request(&mut self, handle: sip_stack::endpoint::PeerRequestHandle, request: &Request, now: Instant) {
        // One in ten is forgotten: the endpoint answers in the user's place.
        if self.chance.percent(10) {
            return;
        }
        let answer = match request.method == Method::Register {
            true => self.admit(request, now),
            false => Answer::new(StatusCode::OK),
        };
        let _ = self.endpoint.respond(handle, answer, now);
    }

    fn admit(&mut self, request: &Request, now: Instant) -> Answer {
        let ha1 = |user: &str, hash| Some(Ha1::new(hash, user, REALM, PASSWORD));
        match self.authority.verify(request, Asker::Server, ha1, now) {
            Ok(_) => {
                let seconds = request.headers.expires().ok().flatten().unwrap_or(60);
                Answer::new(StatusCode::OK).with_header(HeaderName::EXPIRES, seconds)
            }
            Err(denied) => {
                let (status, headers) = self.authority.refusal(&denied, Asker::Server, now);
                Answer { headers, ..Answer::new(status) }
            }
        }
    }

    /// An INVITE of ours got no answer; a late one will find nobody.
    fn note_given_up(&mut self, call: CallHandle) {
        let call_id = self.lives.of(call).call_id.clone();
        self.given_up.push(call_id);
    }
}

fn call_id(bytes: &[u8]) -> Option<String> {
    Message::parse(bytes, &Limits::default()).ok()?.headers().call_id().ok()
}
