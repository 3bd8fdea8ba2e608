//! Who may come in: admission, a session row before anything rings, and one task for each call.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use sip_stack::endpoint::{Accepting, CallHandle, Event, Source};
use sip_stack::message::{HeaderName, Request, StatusCode, Uri};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tracing::{Instrument, debug, info, info_span, warn};

use super::negotiate::{MediaAgreement, refusal};
use super::services::Services;
use super::task::{Answered, CallTask, End};
use crate::io::address::advertised_to;
use crate::redact::Redacted;
use crate::storage::{
    CallId, Direction, EndedSession, NewSession, PeerAddressKind, UnixMs, end_session, insert_session, mark_answered,
};

/// SIP events waiting for one call.
const CALL_EVENT_LIMIT: usize = 64;

/// Routes SIP events to calls until told to stop.
pub struct Router {
    services: Arc<Services>,
    calls: HashMap<CallHandle, mpsc::Sender<Event>>,
    tasks: JoinSet<CallHandle>,
    stop_calls: watch::Sender<bool>,
}

impl Router {
    /// A router without calls.
    pub fn new(services: Arc<Services>) -> Router {
        Router { services, calls: HashMap::new(), tasks: JoinSet::new(), stop_calls: watch::channel(false).0 }
    }

    /// Takes calls from `events` until `stop` turns true, then lets them finish for the configured time.
    pub async fn run(mut self, mut events: mpsc::Receiver<Event>, mut stop: watch::Receiver<bool>) {
        loop {
            tokio::select! {
                Some(event) = events.recv() => self.route(event).await,
                Some(ended) = self.tasks.join_next(), if !self.tasks.is_empty() => self.forget(ended),
                changed = stop.changed() => if changed.is_err() || *stop.borrow() { break },
            }
        }
        self.drain(events).await;
    }

    /// New calls get 503 so that the carrier goes elsewhere; those that talk may finish.
    async fn drain(&mut self, mut events: mpsc::Receiver<Event>) {
        let retry_after_seconds = self.services.config.calls.retry_after_seconds;
        let sip = self.services.sip.clone();
        // Not awaited either. Without a shell there is nothing to refuse.
        tokio::spawn(async move {
            sip.with(move |endpoint, _| endpoint.set_accepting(Accepting::No { retry_after_seconds })).await
        });
        info!(calls = self.calls.len(), "Draining: no new calls");
        let patience = Duration::from_secs(self.services.config.calls.drain_seconds.into());
        let deadline = tokio::time::sleep(patience);
        tokio::pin!(deadline);
        let mut patient = true;
        while !self.tasks.is_empty() {
            tokio::select! {
                Some(event) = events.recv() => self.route(event).await,
                Some(ended) = self.tasks.join_next() => self.forget(ended),
                () = &mut deadline, if patient => {
                    patient = false;
                    self.stop_calls.send_replace(true);
                }
            }
        }
    }

    fn forget(&mut self, ended: Result<CallHandle, tokio::task::JoinError>) {
        match ended {
            Ok(handle) => {
                self.calls.remove(&handle);
            }
            // The call is lost, the daemon goes on: its row is closed at the next start, its port is already free.
            Err(error) => {
                warn!(%error, "Call task panicked");
                self.calls.retain(|_, call| !call.is_closed());
            }
        }
        // With nobody on the line, the tens of milliseconds that this takes delay no answer.
        if self.calls.is_empty() {
            self.services.speaker.rest();
        }
    }

    async fn route(&mut self, event: Event) {
        if let Event::InviteReceived { call, request, source, offer, .. } = event {
            return self.invited(Invitation { call, request, source, offer }).await;
        }
        let Some(handle) = event.call() else { return };
        if let Some(call) = self.calls.get(&handle)
            && call.try_send(event).is_err()
        {
            debug!("SIP event for a call that has ended or does not listen");
        }
    }

    async fn invited(&mut self, invitation: Invitation) {
        let handle = invitation.call;
        let limit = usize::try_from(self.services.config.calls.concurrent_limit).unwrap_or(usize::MAX);
        if self.calls.len() >= limit {
            info!(calls = self.calls.len(), limit, "Call refused: as many as may be are up");
            // Not awaited: the SIP shell may be waiting for us to take its events. Its own limit bounds how many these are.
            let services = Arc::clone(&self.services);
            tokio::spawn(async move { reject(&services, handle, StatusCode::SERVICE_UNAVAILABLE).await });
            return;
        }
        let (sender, sip) = mpsc::channel(CALL_EVENT_LIMIT);
        self.calls.insert(handle, sender);
        let services = Arc::clone(&self.services);
        let stop = self.stop_calls.subscribe();
        let call_id = CallId::new(UnixMs::now());
        let span = info_span!("call", %call_id);
        self.tasks.spawn(
            async move {
                take(services, call_id, invitation, sip, stop).await;
                handle
            }
            .instrument(span),
        );
    }
}

/// A call that came in.
struct Invitation {
    call: CallHandle,
    request: Arc<Request>,
    source: Source,
    offer: Option<Vec<u8>>,
}

/// One call from its INVITE on.
async fn take(
    services: Arc<Services>,
    call_id: CallId,
    invitation: Invitation,
    mut sip: mpsc::Receiver<Event>,
    stop: watch::Receiver<bool>,
) {
    let handle = invitation.call;
    open_session(&services, call_id, &invitation).await;
    let end = match pick_up(&services, call_id, &invitation, &mut sip).await {
        Ok(agreement) => {
            let answered = Answered { services: Arc::clone(&services), handle, call_id, agreement, sip };
            match CallTask::new(answered) {
                Ok(task) => {
                    task.run(stop).await;
                    return;
                }
                Err(end) => end,
            }
        }
        Err(end) => end,
    };
    info!(cause = end.cause, "Call ended before it was answered");
    let ended = EndedSession {
        ended_at: UnixMs::now(),
        termination: end.termination,
        hangup_cause: end.cause,
        disposition: Some("not_answered"),
    };
    if let Err(error) = services.storage.write(move |sql_tx| end_session(sql_tx, call_id, ended)).await {
        warn!(%error, "End of the call not written; the next start closes its row");
    }
}

/// The row that says there was a call, on disk before anything rings.
async fn open_session(services: &Services, call_id: CallId, invitation: &Invitation) {
    let headers = &invitation.request.headers;
    let session = NewSession {
        call_id,
        direction: Direction::Inbound,
        trunk: "direct".into(),
        peer_address_kind: address_kind(invitation.source.peer.ip()),
        caller_id: headers.from().ok().and_then(|from| user_of(&from.uri)).map(Redacted::new),
        called: user_of(&invitation.request.uri).map(Redacted::new),
        // The endpoint has checked it: an INVITE without a Call-ID never gets here.
        sip_call_id: headers.call_id().unwrap_or_default(),
        started_at: UnixMs::now(),
    };
    match services.storage.write(move |sql_tx| insert_session(sql_tx, &session)).await {
        Ok(()) => info!("Call came in"),
        // A full disk must not keep the phone from being answered; a message is promised only once it is kept.
        Err(error) => warn!(%error, "Call came in, but its row could not be written"),
    }
}

/// The number or name in a URI: what stands before the `@`, or the telephone number.
fn user_of(uri: &Uri) -> Option<String> {
    match uri {
        Uri::Sip(sip) => sip.user_text(),
        Uri::Tel(tel) => Some(tel.number.clone()),
        Uri::Other(_) => None,
    }
}

fn address_kind(address: std::net::IpAddr) -> PeerAddressKind {
    use std::net::IpAddr;
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

/// Rings, answers and waits for the ACK.
async fn pick_up(
    services: &Arc<Services>,
    call_id: CallId,
    invitation: &Invitation,
    sip: &mut mpsc::Receiver<Event>,
) -> Result<MediaAgreement, End> {
    let handle = invitation.call;
    let Ok(port) = services.ports.lend() else {
        reject(services, handle, StatusCode::SERVICE_UNAVAILABLE).await;
        return Err(End::NO_PORT);
    };
    let peer = invitation.source.peer.ip();
    let mut agreement = MediaAgreement::new(port, advertised_to(&services.config, peer), peer);
    let sdp = match invitation.offer.as_deref().map(|offer| agreement.answer(offer)) {
        Some(Ok(answer)) => answer,
        Some(Err(error)) => {
            let (status, end) = refusal(error);
            reject(services, handle, status).await;
            return Err(end);
        }
        None => agreement.offer(),
    };
    let rung = services.sip.with(move |endpoint, now| endpoint.ring(handle, None, now).is_ok()).await;
    rung.map_err(|_| End::INTERNAL)?;
    let ringing = Duration::from_millis(services.config.calls.ring_milliseconds.into());
    if let Ok(end) = tokio::time::timeout(ringing, ended_while_ringing(sip)).await {
        return Err(end);
    }
    let answered = services.sip.with(move |endpoint, now| endpoint.answer(handle, sdp, now).is_ok()).await;
    if answered != Ok(true) {
        // The caller gave up in the same moment.
        return Err(End::CALLER_CANCELLED);
    }
    let at = UnixMs::now();
    if let Err(error) = services.storage.write(move |sql_tx| mark_answered(sql_tx, call_id, at)).await {
        warn!(%error, "Answer not written");
    }
    confirmed(sip, &mut agreement).await?;
    info!(codec = agreement.codec_name(), "Call answered");
    Ok(agreement)
}

async fn reject(services: &Services, handle: CallHandle, status: StatusCode) {
    let headers = match status == StatusCode::SERVICE_UNAVAILABLE {
        true => vec![(HeaderName::RETRY_AFTER, services.config.calls.retry_after_seconds.to_string())],
        false => Vec::new(),
    };
    // Too late to matter if the caller has gone or the shell has stopped.
    let _ = services.sip.with(move |endpoint, now| endpoint.reject(handle, status, &headers, now)).await;
}

/// Returns only when the caller gives up.
async fn ended_while_ringing(sip: &mut mpsc::Receiver<Event>) -> End {
    loop {
        match sip.recv().await {
            Some(Event::Cancelled { .. }) => return End::CALLER_CANCELLED,
            Some(Event::ByeReceived { .. } | Event::CallEnded { .. }) => return End::CALLER_HANGUP,
            Some(_) => {}
            None => return End::INTERNAL,
        }
    }
}

/// Waits for the ACK, and takes the answer in it when the offer was ours.
async fn confirmed(sip: &mut mpsc::Receiver<Event>, agreement: &mut MediaAgreement) -> Result<(), End> {
    loop {
        match sip.recv().await {
            Some(Event::AckReceived { answer, .. }) => {
                if !agreement.is_complete() {
                    let answer = answer.ok_or(End::BAD_OFFER)?;
                    agreement.accept(&answer).map_err(|error| refusal(error).1)?;
                }
                return Ok(());
            }
            Some(Event::AckTimedOut { .. }) => return Err(End::NO_ACK),
            Some(Event::ByeReceived { .. } | Event::CallEnded { .. }) => return Err(End::CALLER_HANGUP),
            Some(_) => {}
            None => return Err(End::INTERNAL),
        }
    }
}
