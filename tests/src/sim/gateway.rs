//! The party under test, behind a seam: now a small script over the endpoint, later the daemon's call machine.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use sip_stack::digest::{Asker, Authority, AuthorityConfig, Ha1, Hash};
use sip_stack::endpoint::{CallHandle, Endpoint, EndpointConfig, Event, Occupancy, Source, Transmit, Transport};
use sip_stack::message::header::ReasonHeader;
use sip_stack::message::{HeaderName, Request, StatusCode};

use super::clock::ms;
use super::sdp;

/// What a gateway with a password guards.
const REALM: &str = "gw";

/// What a run needs of the party under test. One input, then drain, as in every shell.
pub trait Gateway {
    /// Takes a datagram of the trunk.
    fn handle_datagram(&mut self, bytes: &[u8], now: Instant);
    /// Works off what is due.
    fn handle_timeout(&mut self, now: Instant);
    /// The next deadline.
    fn poll_timeout(&self) -> Option<Instant>;
    /// The next message to the trunk.
    fn poll_transmit(&mut self) -> Option<Transmit>;
    /// The next line for the ladder.
    fn poll_note(&mut self) -> Option<String>;
    /// What must be empty when a run is over.
    fn occupancy(&self) -> Occupancy;
    /// Calls begun and calls ended.
    fn calls(&self) -> (usize, usize);
}

/// How the scripted gateway treats calls.
#[derive(Debug, Clone)]
pub struct Script {
    /// Sends 180 at once.
    pub rings: bool,
    /// Sends 183 with a session description at once.
    pub early_media: bool,
    /// Answers so long after the INVITE; `None` never does.
    pub answer_after: Option<Duration>,
    /// Rejects so instead, with Retry-After in seconds.
    pub reject: Option<(StatusCode, u32)>,
    /// Lets in only whoever proves to know this password.
    pub password: Option<&'static str>,
    /// Hangs up so long after it is confirmed.
    pub hang_up_after: Option<Duration>,
}

impl Default for Script {
    fn default() -> Self {
        Self {
            rings: false,
            early_media: false,
            answer_after: Some(ms(200)),
            reject: None,
            password: None,
            hang_up_after: None,
        }
    }
}

#[derive(Debug)]
enum Step {
    /// With this session description.
    Answer(Vec<u8>),
    HangUp,
}

/// A small transaction user that follows a [`Script`].
#[derive(Debug)]
pub struct ScriptedGateway {
    endpoint: Endpoint,
    /// May be changed in mid-run.
    pub script: Script,
    source: Source,
    authority: Option<Authority>,
    due: BTreeMap<(Instant, CallHandle), Step>,
    notes: VecDeque<String>,
    begun: usize,
    ended: usize,
}

impl ScriptedGateway {
    /// A gateway at `local` that hears from `peer`.
    pub fn new(config: EndpointConfig, local: SocketAddr, peer: SocketAddr) -> Self {
        Self {
            endpoint: Endpoint::new(config),
            script: Script::default(),
            source: Source { transport: Transport::Udp, local, peer, flow: None },
            authority: None,
            due: BTreeMap::new(),
            notes: VecDeque::new(),
            begun: 0,
            ended: 0,
        }
    }

    /// The endpoint, for what the script does not cover.
    pub fn endpoint(&mut self) -> &mut Endpoint {
        &mut self.endpoint
    }

    fn follow_script(&mut self, now: Instant) {
        while let Some(event) = self.endpoint.poll_event() {
            self.on_event(event, now);
        }
    }

    fn on_event(&mut self, event: Event, now: Instant) {
        match event {
            Event::InviteReceived { call, request, offer, .. } => {
                self.begun += 1;
                if self.admit(call, &request, now) {
                    self.on_invite(call, offer.as_deref(), now);
                }
            }
            Event::AckReceived { call, .. } => {
                if let Some(after) = self.script.hang_up_after {
                    self.due.insert((now + after, call), Step::HangUp);
                }
            }
            // Whom it is sent to always answers.
            Event::ReferReceived { call, request, .. } => {
                let refer = self.endpoint.accept_refer(call, request, now).expect("the REFER waits");
                self.endpoint.report_refer(refer, StatusCode::OK, now).expect("it is new");
            }
            Event::UpdateReceived { call, offer, .. } => {
                let answer = sdp::answer_to(Some(&offer));
                self.endpoint.answer_update(call, answer, now).expect("an UPDATE waits");
            }
            Event::ReinviteReceived { call, offer, .. } => {
                let answer = sdp::answer_to(offer.as_deref());
                self.endpoint.answer_reinvite(call, answer, now).expect("a re-INVITE waits");
            }
            Event::CallEnded { call, .. } => {
                self.ended += 1;
                self.due.retain(|(_, owner), _| *owner != call);
            }
            Event::Cancelled { .. } => self.notes.push_back("gw call cancelled".to_owned()),
            Event::AckTimedOut { .. } => self.notes.push_back("gw gave up waiting for the ACK".to_owned()),
            Event::ReinviteCancelled { .. }
            | Event::ReinviteConfirmed { .. }
            | Event::ReinviteAnswered { .. }
            | Event::ReinviteRejected { .. }
            | Event::ByeReceived { .. }
            | Event::ProvisionalReceived { .. }
            | Event::Answered { .. }
            | Event::Rejected { .. }
            | Event::TimedOut { .. }
            | Event::TransportFailed { .. }
            | Event::InfoReceived { .. }
            | Event::RequestReceived { .. }
            | Event::RequestAnswered { .. }
            | Event::RequestFailed { .. }
            | Event::AuthenticationFailed { .. }
            | Event::Registration { .. }
            | Event::UpdateAnswered { .. }
            | Event::UpdateRejected { .. }
            | Event::Transfer { .. }
            | Event::DestinationFailed { .. }
            | Event::SubscriptionRequested { .. }
            | Event::SubscriptionEnded { .. }
            | Event::PeerErrorSeen { .. } => {}
        }
    }

    /// Is the caller let in? Challenges it if not.
    fn admit(&mut self, call: CallHandle, request: &Request, now: Instant) -> bool {
        let Some(password) = self.script.password else { return true };
        let authority = self.authority.get_or_insert_with(|| {
            let config = AuthorityConfig { hashes: vec![Hash::Sha256, Hash::Md5], ..AuthorityConfig::new(REALM) };
            Authority::new(config, [1; 32], now)
        });
        let ha1 = |user: &str, hash| Some(Ha1::new(hash, user, REALM, password));
        match authority.verify(request, Asker::Proxy, ha1, now) {
            Ok(_) => true,
            Err(denied) => {
                let (status, headers) = authority.refusal(&denied, Asker::Proxy, now);
                self.endpoint.reject(call, status, &headers, now).expect("the call is new");
                false
            }
        }
    }

    fn on_invite(&mut self, call: CallHandle, offer: Option<&[u8]>, now: Instant) {
        if let Some((status, retry_after_seconds)) = self.script.reject {
            let headers = [(HeaderName::RETRY_AFTER, retry_after_seconds.to_string())];
            self.endpoint.reject(call, status, &headers, now).expect("the call is new");
            return;
        }
        if self.script.rings {
            self.endpoint.ring(call, None, now).expect("the call is new");
        }
        if self.script.early_media {
            self.endpoint.ring(call, Some(sdp::answer_to(offer)), now).expect("the call is new");
        }
        if let Some(after) = self.script.answer_after {
            self.due.insert((now + after, call), Step::Answer(sdp::answer_to(offer)));
        }
    }

    fn take(&mut self, call: CallHandle, step: Step, now: Instant) {
        // The call may have ended in the same instant.
        let _ = match step {
            Step::Answer(sdp) => self.endpoint.answer(call, sdp, now),
            Step::HangUp => self.endpoint.bye(call, None::<ReasonHeader>, now),
        };
    }
}

impl Gateway for ScriptedGateway {
    fn handle_datagram(&mut self, bytes: &[u8], now: Instant) {
        self.endpoint.handle_datagram(self.source, bytes, now);
        self.follow_script(now);
    }

    fn handle_timeout(&mut self, now: Instant) {
        self.endpoint.handle_timeout(now);
        while let Some(entry) = self.due.first_entry().filter(|entry| entry.key().0 <= now) {
            let ((_, call), step) = entry.remove_entry();
            self.take(call, step, now);
        }
        self.follow_script(now);
    }

    fn poll_timeout(&self) -> Option<Instant> {
        let step = self.due.first_key_value().map(|((at, _), _)| *at);
        let timer = self.endpoint.poll_timeout().map(|(at, _)| at);
        step.into_iter().chain(timer).min()
    }

    fn poll_transmit(&mut self) -> Option<Transmit> {
        self.endpoint.poll_transmit()
    }

    fn poll_note(&mut self) -> Option<String> {
        self.notes.pop_front()
    }

    fn occupancy(&self) -> Occupancy {
        self.endpoint.occupancy()
    }

    fn calls(&self) -> (usize, usize) {
        (self.begun, self.ended)
    }
}
