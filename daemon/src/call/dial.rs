//! Calls of ours: one leg that is placed, rings, and is answered or not.

use std::sync::Arc;
use std::time::Duration;

use sip_stack::digest::Credentials;
use sip_stack::endpoint::{CallHandle, Destination, Event, OutgoingInvite};
use sip_stack::message::header::ReasonHeader;
use sip_stack::message::{HeaderName, NameAddr, SipUri, StatusCode};
use tokio::sync::{mpsc, watch};
use tracing::debug;

use super::incoming::user_of;
use super::lamps::Lit;
use super::leg::{Leg, Sound};
use super::legs::LegEvents;
use super::negotiate::MediaAgreement;
use super::pickups::LegNote;
use super::services::Services;
use crate::config::SrtpUse;
use crate::io::media::MediaPeer;

/// Somebody to call.
#[derive(Debug, Clone)]
pub(super) struct Callee {
    /// Request-URI.
    pub(super) target: SipUri,
    /// Who calls.
    pub(super) from: NameAddr,
    /// Where it is sent.
    pub(super) destination: Destination,
    /// Where else, in order.
    pub(super) alternatives: Vec<Destination>,
    /// Hops to visit.
    pub(super) route: Vec<NameAddr>,
    /// For who asks who we are.
    pub(super) credentials: Vec<Credentials>,
    /// More headers.
    pub(super) headers: Vec<(HeaderName, String)>,
    /// Whether its sound is encrypted.
    pub(super) srtp: SrtpUse,
    /// It is asked for encrypted sound first, and for any if it wants none.
    pub(super) prefers_srtp: bool,
    /// Whether better codecs than the telephone's are offered.
    pub(super) is_wideband: bool,
}

/// Why a call of ours was not answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refusal {
    /// What the other side said, or what its silence means.
    pub(super) status: StatusCode,
    /// With 3xx, whom to call instead: the number of the first Contact (RFC 3261 §8.1.3.4).
    pub(super) instead: Option<String>,
}

impl Refusal {
    pub(super) const CANCELLED: Refusal = Refusal::new(StatusCode::REQUEST_TERMINATED);
    const TIMED_OUT: Refusal = Refusal::new(StatusCode::REQUEST_TIMEOUT);
    const UNREACHABLE: Refusal = Refusal::new(StatusCode::SERVICE_UNAVAILABLE);
    const NO_ROOM: Refusal = Refusal::new(StatusCode::SERVICE_UNAVAILABLE);
    const NO_CODEC: Refusal = Refusal::new(StatusCode::NOT_ACCEPTABLE_HERE);

    const fn new(status: StatusCode) -> Refusal {
        Refusal { status, instead: None }
    }
}

/// When to stop ringing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Ringing {
    /// Go on.
    #[default]
    On,
    /// Nobody else is wanted: the caller gave up, or it rang long enough.
    Over,
    /// Somebody else has answered; phones then show no missed call (RFC 3326).
    AnsweredElsewhere,
}

/// How far a call of ours has come that is not answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Progress {
    /// By the trunk at this place in the configuration.
    Dials(usize),
    /// It rings.
    Rings,
    /// There is something to be heard: the carrier's own ringing, or why there will be no answer.
    Sounds(MediaPeer),
}

/// Who is told how far a call of ours has come.
pub(super) enum Witness {
    /// Nobody.
    None,
    /// The caller, who can hear it.
    Caller(mpsc::Sender<Progress>),
    /// Whoever watches the lamp of the phone, and may take the call.
    Lamp { lit: Lit, note: LegNote },
}

/// Calls `callee` until it answers, refuses, or `ringing` says to stop.
pub(super) async fn dial(
    services: &Arc<Services>,
    callee: Callee,
    ringing: watch::Receiver<Ringing>,
    witness: Witness,
) -> Result<Leg, Refusal> {
    let witness = Arc::new(witness);
    if callee.prefers_srtp && callee.srtp == SrtpUse::Accepted {
        let encrypted = Callee { srtp: SrtpUse::Required, ..callee.clone() };
        match attempt(services, encrypted, ringing.clone(), Arc::clone(&witness)).await {
            Err(refusal) if refusal.status == StatusCode::NOT_ACCEPTABLE_HERE => debug!("Called again without SRTP"),
            reached => return reached,
        }
    }
    attempt(services, callee, ringing, witness).await
}

async fn attempt(
    services: &Arc<Services>,
    callee: Callee,
    ringing: watch::Receiver<Ringing>,
    witness: Arc<Witness>,
) -> Result<Leg, Refusal> {
    let peer = callee.destination.peer.ip();
    let port = services.ports.lend().map_err(|_| Refusal::NO_ROOM)?;
    let mut agreement = MediaAgreement::new(port, services.address.towards(peer), peer, callee.srtp);
    if callee.is_wideband {
        agreement = agreement.with_wideband();
    }
    let services = Arc::clone(services);
    let mut placed = Placed { services, agreement, ringing, witness, early: None, is_given_up: false };
    let events = placed.place(callee).await?;
    placed.wait(events).await
}

struct Placed {
    services: Arc<Services>,
    agreement: MediaAgreement,
    ringing: watch::Receiver<Ringing>,
    witness: Arc<Witness>,
    /// What is heard before the answer.
    early: Option<Sound>,
    is_given_up: bool,
}

/// After a CANCEL the other side has this long to confirm it (RFC 3261 §9.1: 64·T1).
const CANCEL_LIMIT: Duration = Duration::from_secs(32);

impl Placed {
    async fn place(&mut self, callee: Callee) -> Result<LegEvents, Refusal> {
        let invite = OutgoingInvite {
            alternatives: callee.alternatives,
            route: callee.route,
            credentials: callee.credentials,
            headers: callee.headers,
            ..OutgoingInvite::new(callee.target, callee.from, callee.destination).with_offer(self.agreement.offer())
        };
        let legs = self.services.legs.clone();
        let placed = self
            .services
            .sip
            .with(move |endpoint, now| endpoint.invite(invite, now).map(|handle| legs.open(handle)))
            .await;
        placed.ok().and_then(Result::ok).ok_or(Refusal::NO_ROOM)
    }

    async fn wait(mut self, mut events: LegEvents) -> Result<Leg, Refusal> {
        let handle = events.handle();
        let mut deadline = None;
        loop {
            let event = tokio::select! {
                event = events.recv() => event.ok_or(Refusal::UNREACHABLE)?,
                () = stopped(&mut self.ringing), if !self.is_given_up => {
                    self.give_up(handle).await;
                    deadline = Some((tokio::time::Instant::now() + CANCEL_LIMIT).into_std());
                    continue;
                }
                () = crate::io::sleep_until(deadline) => return Err(Refusal::CANCELLED),
            };
            if let Event::ProvisionalReceived { sdp, .. } = event {
                self.note_progress(sdp);
                self.show_ringing(handle).await;
                continue;
            }
            if let Event::Answered { sdp, .. } = event {
                return self.answered(events, sdp).await;
            }
            if let Some(refusal) = refusal_of(&event) {
                return Err(refusal);
            }
        }
    }

    /// Early media is opened only for somebody who can hear it.
    fn note_progress(&mut self, sdp: Option<Vec<u8>>) {
        let Witness::Caller(progress) = &*self.witness else { return };
        let news = match sdp {
            None => Progress::Rings,
            Some(sdp) => match self.agreement.accept(&sdp) {
                Err(error) => return debug!(%error, "Description of early media not usable"),
                Ok(()) => {
                    let opened = match self.early.take() {
                        // Another branch of a call that was forked, or the same again.
                        Some(sound) => sound.media.configure(self.agreement.stream()).map(|()| sound).ok(),
                        None => Sound::open(&self.services, &mut self.agreement).ok(),
                    };
                    self.early = opened;
                    let Some(sound) = &self.early else { return };
                    Progress::Sounds(sound.media.peer())
                }
            },
        };
        // Somebody who does not listen any more has given up.
        let _ = progress.try_send(news);
    }

    /// Once it rings at the phone, the call has a dialog that others may name to take it.
    async fn show_ringing(&mut self, handle: CallHandle) {
        let Witness::Lamp { lit, note } = &*self.witness else { return };
        if let Ok(Some(dialog)) = self.services.sip.with(move |endpoint, _| endpoint.replaces(handle)).await {
            note.set(handle);
            lit.show_dialog(dialog);
        }
    }

    async fn give_up(&mut self, handle: CallHandle) {
        self.is_given_up = true;
        let reason = (*self.ringing.borrow() == Ringing::AnsweredElsewhere)
            .then(|| ReasonHeader::sip(200, "Call completed elsewhere"));
        // What was answered in the same moment is hung up when the answer comes.
        let _ = self.services.sip.with(move |endpoint, now| endpoint.cancel(handle, reason, now)).await;
    }

    async fn answered(mut self, events: LegEvents, sdp: Option<Vec<u8>>) -> Result<Leg, Refusal> {
        let handle = events.handle();
        // An answer in a provisional response holds, whether it is said again or not (RFC 6337 §3.1.1).
        let agreed = sdp.map_or(self.early.is_some(), |sdp| self.agreement.accept(&sdp).is_ok());
        if !self.is_given_up && agreed {
            return match self.early {
                None => Leg::open(&self.services, events, self.agreement).map_err(|_| Refusal::NO_ROOM),
                Some(sound) => {
                    let leg = Leg::with_sound(&self.services, events, self.agreement, sound);
                    leg.command(|media, agreement| media.configure(agreement.stream()));
                    Ok(leg)
                }
            };
        }
        let _ = self.services.sip.with(move |endpoint, now| endpoint.bye(handle, None, now)).await;
        Err(if agreed { Refusal::CANCELLED } else { Refusal::NO_CODEC })
    }
}

/// What a call of ours ends with that was not answered.
fn refusal_of(event: &Event) -> Option<Refusal> {
    if let Event::Rejected { status, response, .. } = event {
        let contact = || user_of(&response.headers.contact().ok()??.uri);
        let instead = (status.class() == 3).then(contact).flatten();
        return Some(Refusal { status: *status, instead });
    }
    if matches!(event, Event::TimedOut { .. }) {
        return Some(Refusal::TIMED_OUT);
    }
    matches!(event, Event::TransportFailed { .. } | Event::CallEnded { .. }).then_some(Refusal::UNREACHABLE)
}

/// Returns once there is no use in ringing any more.
async fn stopped(ringing: &mut watch::Receiver<Ringing>) {
    // Without a sender there is nobody left who wants an answer.
    let _ = ringing.wait_for(|ringing| *ringing != Ringing::On).await;
}
