//! A call that came in and is not answered yet: its row, its ringing, its answer or its refusal.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use sip_stack::endpoint::{CallHandle, Event, Source};
use sip_stack::message::{HeaderName, NameAddr, Request, StatusCode, Uri};
use sip_stack::sdp::SdpError;
use tracing::{info, warn};

use super::leg::{Leg, Sound};
use super::legs::LegEvents;
use super::negotiate::{MediaAgreement, may_offer, refusal};
use super::record::write_end;
use super::services::Services;
use super::task::End;
use crate::config::SrtpUse;
use crate::io::media::MediaPeer;
use crate::redact::Redacted;
use crate::storage::{
    CallId, Direction, EndedSession, INSIDE, NewSession, PeerAddressKind, UnixMs, insert_session, mark_answered,
};

/// Who calls, as far as we know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum CallerKind {
    /// Somebody outside, by the trunk at that place in the configuration.
    Trunk(usize),
    /// A phone of the office, which has proved to be this extension.
    Extension(String),
    /// Somebody who may call without being known.
    Guest,
}

/// See the module. Dropped unanswered, it is refused.
pub(super) struct Incoming {
    pub(super) services: Arc<Services>,
    pub(super) call_id: CallId,
    pub(super) caller: CallerKind,
    pub(super) request: Arc<Request>,
    pub(super) source: Source,
    /// The call that it wants to take the place of (RFC 3891).
    pub(super) replaces: Option<CallHandle>,
    offer: Option<Vec<u8>>,
    /// `None` once it belongs to a leg.
    events: Option<LegEvents>,
    /// With the answer (or our offer) that goes with it; made before it rings, so that nobody rings in vain.
    agreed: Option<(MediaAgreement, Vec<u8>)>,
    /// What the caller hears before the answer.
    early: Option<Sound>,
    has_rung: bool,
    is_over: bool,
}

impl Incoming {
    pub(super) fn new(
        services: Arc<Services>,
        caller: CallerKind,
        (request, source, offer): (Arc<Request>, Source, Option<Vec<u8>>),
        events: LegEvents,
    ) -> Incoming {
        Incoming {
            services,
            call_id: CallId::new(UnixMs::now()),
            caller,
            request,
            source,
            replaces: None,
            offer,
            events: Some(events),
            agreed: None,
            early: None,
            has_rung: false,
            is_over: false,
        }
    }

    /// In the place of that call.
    pub(super) fn replacing(mut self, replaces: Option<CallHandle>) -> Incoming {
        self.replaces = replaces;
        self
    }

    fn handle(&self) -> Option<CallHandle> {
        self.events.as_ref().map(LegEvents::handle)
    }

    /// What was dialled: the user part of the Request-URI.
    pub(super) fn called(&self) -> Option<String> {
        user_of(&self.request.uri)
    }

    /// Whom the caller's side says to be.
    pub(super) fn from(&self) -> Option<NameAddr> {
        // What a trunk asserts is worth more than what the caller's own From says (RFC 3325).
        let asserted = self.request.headers.asserted_identities().unwrap_or_default().into_iter().next();
        asserted.filter(|_| matches!(self.caller, CallerKind::Trunk(_))).or_else(|| self.request.headers.from().ok())
    }

    /// The row that says there was a call, on disk within 50 ms. Not awaited: a disk that is slow, or full, must not keep
    /// the phone from being answered. What is promised to callers is promised once it is kept.
    pub(super) async fn open_session(&self) {
        let (direction, trunk) = match &self.caller {
            CallerKind::Trunk(index) => (Direction::Inbound, self.trunk_name(*index)),
            CallerKind::Extension(_) => (Direction::Outbound, INSIDE.to_owned()),
            CallerKind::Guest => (Direction::Inbound, "direct".to_owned()),
        };
        let session = NewSession {
            call_id: self.call_id,
            direction,
            trunk,
            peer_address_kind: address_kind(self.source.peer.ip()),
            caller_id: self.from().and_then(|from| user_of(&from.uri)).map(Redacted::new),
            called: self.called().map(Redacted::new),
            // The endpoint has checked it: an INVITE without a Call-ID never gets here.
            sip_call_id: self.request.headers.call_id().unwrap_or_default(),
            started_at: UnixMs::now(),
        };
        self.services.storage.post("call", move |sql_tx| insert_session(sql_tx, &session)).await;
        info!("Call came in");
    }

    fn trunk_name(&self, index: usize) -> String {
        self.services.carriers.at(index).map(|carrier| carrier.trunk.name.clone()).unwrap_or_default()
    }

    /// Reads the offer and takes a port for the sound. After this nothing of ours can keep the call from being answered.
    pub(super) async fn prepare(&mut self) -> Result<(), End> {
        if self.agreed.is_some() {
            return Ok(());
        }
        let Ok(port) = self.services.ports.lend() else {
            return Err(self.reject(StatusCode::SERVICE_UNAVAILABLE, End::NO_PORT).await);
        };
        let peer = self.source.peer.ip();
        let srtp = self.srtp();
        let mut agreement = MediaAgreement::new(port, self.services.address.towards(peer), peer, srtp);
        if self.services.config.media.wideband_enabled && !matches!(self.caller, CallerKind::Trunk(_)) {
            agreement = agreement.with_wideband();
        }
        let sdp = match self.offer.as_deref() {
            Some(offer) => agreement.answer(offer),
            None if may_offer(srtp, self.source.transport) => Ok(agreement.offer()),
            None => Err(SdpError::Security),
        };
        let sdp = match sdp {
            Ok(sdp) => sdp,
            Err(error) => {
                let (status, end) = refusal(error);
                return Err(self.reject(status, end).await);
            }
        };
        self.agreed = Some((agreement, sdp));
        Ok(())
    }

    /// Secure trunking is all or nothing.
    fn srtp(&self) -> SrtpUse {
        match &self.caller {
            CallerKind::Trunk(index) if self.services.carriers.at(*index).is_some_and(|one| one.trunk.secure) => {
                SrtpUse::Required
            }
            CallerKind::Trunk(_) | CallerKind::Extension(_) | CallerKind::Guest => self.services.config.media.srtp,
        }
    }

    /// The caller hears that it rings.
    pub(super) async fn ring(&mut self) -> Result<(), End> {
        let Some(handle) = self.handle().filter(|_| !self.has_rung) else { return Ok(()) };
        self.has_rung = true;
        let rung = self.services.sip.with(move |endpoint, now| endpoint.ring(handle, None, now).is_ok()).await;
        rung.map(drop).map_err(|_| End::INTERNAL)
    }

    /// The caller hears `peer` before the answer: 183 with our description, once.
    pub(super) async fn hear(&mut self, peer: MediaPeer) -> Result<(), End> {
        let (Some(handle), Some((agreement, sdp))) = (self.handle(), &mut self.agreed) else { return Ok(()) };
        if !agreement.is_complete() {
            // The offer is to be ours, so there is nothing to agree on before the ACK.
            return self.ring().await;
        }
        if self.early.is_none() {
            let sdp = sdp.clone();
            self.early = Some(Sound::open(&self.services, agreement)?);
            self.has_rung = true;
            let rung = self.services.sip.with(move |endpoint, now| endpoint.ring(handle, Some(sdp), now).is_ok()).await;
            rung.map_err(|_| End::INTERNAL)?;
        }
        if let Some(sound) = &self.early
            && let Err(error) = sound.media.bridge(peer)
        {
            warn!(%error, "Media command lost");
        }
        Ok(())
    }

    /// Rings for at least as long as the configuration says, then answers.
    pub(super) async fn ring_and_answer(&mut self) -> Result<Leg, End> {
        self.ring().await?;
        let ringing = Duration::from_millis(self.services.config.calls.ring_milliseconds.into());
        if let Ok(end) = tokio::time::timeout(ringing, self.given_up()).await {
            return Err(end);
        }
        self.answer().await
    }

    /// Answers, waits for the ACK and opens the sound.
    pub(super) async fn answer(&mut self) -> Result<Leg, End> {
        let (Some(handle), Some((mut agreement, sdp))) = (self.handle(), self.agreed.take()) else {
            return Err(End::INTERNAL);
        };
        let answered = self.services.sip.with(move |endpoint, now| endpoint.answer(handle, sdp, now).is_ok()).await;
        self.is_over = true;
        if answered != Ok(true) {
            // The caller gave up in the same moment.
            return Err(End::CALLER_CANCELLED);
        }
        let (call_id, at) = (self.call_id, UnixMs::now());
        self.services.storage.post("answer", move |sql_tx| mark_answered(sql_tx, call_id, at)).await;
        let mut events = self.events.take().ok_or(End::INTERNAL)?;
        if let Err(end) = confirmed(&mut events, &mut agreement).await {
            let _ = self.services.sip.with(move |endpoint, now| endpoint.bye(handle, None, now)).await;
            return Err(end);
        }
        info!(codec = agreement.codec_name(), srtp = agreement.is_encrypted(), "Call answered");
        match self.early.take() {
            Some(sound) => Ok(Leg::with_sound(&self.services, events, agreement, sound)),
            None => Leg::open(&self.services, events, agreement),
        }
    }

    /// Returns only when the caller gives up.
    pub(super) async fn given_up(&mut self) -> End {
        let Some(events) = &mut self.events else { return std::future::pending().await };
        loop {
            let end = match events.recv().await {
                Some(Event::Cancelled { .. }) => End::CALLER_CANCELLED,
                Some(Event::ByeReceived { .. }) => End::CALLER_HANGUP,
                Some(Event::CallEnded { cause, .. }) => End::of_dialog(cause),
                Some(_) => continue,
                None => End::INTERNAL,
            };
            self.is_over = true;
            return end;
        }
    }

    /// Refuses; gives `end` back.
    pub(super) async fn reject(&mut self, status: StatusCode, end: End) -> End {
        self.is_over = true;
        if let Some(handle) = self.handle() {
            reject(&self.services, handle, status, Vec::new()).await;
        }
        end
    }

    /// The row of a call that nobody answered.
    pub(super) async fn close(&self, end: End) {
        self.write_end(end, "not_answered").await;
        info!(cause = end.cause, "Call ended before it was answered");
    }

    /// The row of a call that goes no further.
    pub(super) async fn close_as(&self, end: End, disposition: &'static str) {
        self.write_end(end, disposition).await;
        info!(cause = end.cause, disposition, "Call ended");
    }

    async fn write_end(&self, end: End, disposition: &'static str) {
        write_end(&self.services.storage, self.call_id, Vec::new(), ended_session(end, disposition)).await;
    }
}

/// Each INVITE gets a final response, whatever became of the task that had it.
impl Drop for Incoming {
    fn drop(&mut self) {
        if let Some(handle) = self.handle().filter(|_| !self.is_over)
            && tokio::runtime::Handle::try_current().is_ok()
        {
            let services = Arc::clone(&self.services);
            tokio::spawn(async move {
                reject(&services, handle, StatusCode::SERVER_INTERNAL_ERROR, Vec::new()).await;
            });
        }
    }
}

/// How a call ended, for its row.
pub(super) fn ended_session(end: End, disposition: &'static str) -> EndedSession {
    EndedSession {
        ended_at: UnixMs::now(),
        termination: end.termination,
        hangup_cause: end.cause,
        disposition: Some(disposition),
    }
}

/// Refuses an INVITE. A carrier is told when to come again if we are only full.
pub(super) async fn reject(
    services: &Services,
    handle: CallHandle,
    status: StatusCode,
    mut headers: Vec<(HeaderName, String)>,
) {
    if status == StatusCode::SERVICE_UNAVAILABLE {
        headers.push((HeaderName::RETRY_AFTER, services.config.calls.retry_after_seconds.to_string()));
    }
    // Too late to matter if the caller has gone or the shell has stopped.
    let _ = services.sip.with(move |endpoint, now| endpoint.reject(handle, status, &headers, now)).await;
}

/// The number or name in a URI: what stands before the `@`, or the telephone number.
pub(super) fn user_of(uri: &Uri) -> Option<String> {
    match uri {
        Uri::Sip(sip) => sip.user_text(),
        Uri::Tel(tel) => Some(tel.number.clone()),
        Uri::Other(_) => None,
    }
}

fn address_kind(address: IpAddr) -> PeerAddressKind {
    let private = match address {
        IpAddr::V4(v4) => v4.is_private() || v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_unique_local() || v6.is_unicast_link_local(),
    };
    match (address.is_loopback(), private) {
        (true, _) => PeerAddressKind::Loopback,
        (false, true) => PeerAddressKind::Private,
        (false, false) => PeerAddressKind::Public,
    }
}

/// Waits for the ACK, and takes the answer in it when the offer was ours.
async fn confirmed(events: &mut LegEvents, agreement: &mut MediaAgreement) -> Result<(), End> {
    loop {
        match events.recv().await {
            Some(Event::AckReceived { answer, .. }) => {
                if !agreement.is_complete() {
                    let answer = answer.ok_or(End::BAD_OFFER)?;
                    agreement.accept(&answer).map_err(|error| refusal(error).1)?;
                }
                return Ok(());
            }
            Some(Event::AckTimedOut { .. }) => return Err(End::NO_ACK),
            Some(Event::ByeReceived { .. }) => return Err(End::CALLER_HANGUP),
            Some(Event::CallEnded { cause, .. }) => return Err(End::of_dialog(cause)),
            Some(_) => {}
            None => return Err(End::INTERNAL),
        }
    }
}
