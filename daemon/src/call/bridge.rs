//! Two people who talk through us (a back-to-back user agent): their sound is bridged on the media thread, what happens
//! on one side is carried to the other, and a side on hold leaves the other with music.
//!
//! Each side keeps its own dialog and its own agreement: a phone that holds or changes its codec is answered by us, and
//! the other side's phone or carrier never has to agree.
//!
//! A phone may send the person it talks with elsewhere (RFC 3515): to a number (blind), or to somebody it talks with on
//! another call (attended, RFC 3891). The phone's own legs are then hung up, and the people who are left are bridged.
//! Carriers may not: whom our callers are connected with is decided here.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use audio::playout::ClipId;
use sip_stack::endpoint::{Answer, CallHandle, Event, PeerRequestHandle, ReferHandle, Referral};
use sip_stack::message::StatusCode;
use sip_stack::message::header::ReasonHeader;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::MissedTickBehavior;
use tracing::{info, warn};

use super::carriers::Place;
use super::incoming::{CallerKind, ended_session};
use super::lamps::{DialogState, Lit};
use super::leg::{Leg, LegNews};
use super::reach::{Reached, Wish, reach};
use super::services::Services;
use super::task::{End, write_end};
use crate::io::media::MediaEvent;
use crate::storage::{CallId, Leg as LegKind, Termination, UnixMs};

/// Commands of other calls waiting for a bridge.
const CONTROL_LIMIT: usize = 4;
/// How often a bridge looks whether anybody still sends.
const WATCH_INTERVAL: Duration = Duration::from_secs(1);
/// The clip of music; there is only one at a time.
const MUSIC: ClipId = ClipId(1);

/// Which bridge has a leg; for transfers from one call to another.
#[derive(Clone, Default)]
pub struct Bridges(Arc<Mutex<HashMap<CallHandle, mpsc::Sender<Surrender>>>>);

/// Asks a bridge for the side that is not `phone`, which is about to leave.
struct Surrender {
    phone: CallHandle,
    answer: oneshot::Sender<Leg>,
}

impl Bridges {
    fn insert(&self, handle: CallHandle, control: &mpsc::Sender<Surrender>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(handle, control.clone());
    }

    fn remove(&self, handle: CallHandle) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&handle);
    }

    /// Takes the other side out of the bridge in which `phone` is.
    async fn take_other_side(&self, phone: CallHandle) -> Option<Leg> {
        let control = self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&phone).cloned()?;
        let (answer, leg) = oneshot::channel();
        control.send(Surrender { phone, answer }).await.ok()?;
        leg.await.ok()
    }
}

/// A side of the bridge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    Caller,
    Callee,
}

impl Side {
    fn other(self) -> Side {
        match self {
            Side::Caller => Side::Callee,
            Side::Callee => Side::Caller,
        }
    }
}

/// One person of a bridge.
pub(super) struct Party {
    pub(super) leg: Leg,
    /// The extension, if it is a phone of the office.
    pub(super) extension: Option<String>,
    /// Its lamp, if it is a phone of the office.
    _lit: Option<Lit>,
    /// Plays music, because the other side holds.
    has_music: bool,
}

impl Party {
    pub(super) fn new(services: &Arc<Services>, leg: Leg, extension: Option<String>) -> Party {
        let lit = extension.as_deref().map(|extension| Lit::new(services, extension, DialogState::Confirmed));
        Party { leg, extension, _lit: lit, has_music: false }
    }

    fn play_music(&mut self, services: &Services) {
        self.has_music = true;
        let music = Arc::clone(&services.hold_music);
        self.leg.command(|media, _| media.play(MUSIC, music));
    }

    fn stop_music(&mut self) {
        if std::mem::take(&mut self.has_music) {
            self.leg.command(|media, _| media.stop());
        }
    }
}

/// See the module.
pub(super) struct Bridge {
    services: Arc<Services>,
    call_id: CallId,
    caller: Party,
    callee: Party,
    /// On trunks, for as long as the bridge lasts.
    places: Vec<Place>,
    limit: Duration,
    began: Instant,
    /// A transfer that is under way: who asked, whom we ring for it.
    transfer: Option<Transfer>,
    control: mpsc::Sender<Surrender>,
    surrenders: mpsc::Receiver<Surrender>,
}

struct Transfer {
    by: Side,
    refer: ReferHandle,
    reached: oneshot::Receiver<Reached>,
}

enum Happened {
    Nothing,
    Ended { by: Option<Side>, end: End },
}

impl Bridge {
    pub(super) fn new(services: Arc<Services>, call_id: CallId, caller: Party, callee: Party) -> Bridge {
        let (control, surrenders) = mpsc::channel(CONTROL_LIMIT);
        let limit = Duration::from_secs(u64::from(services.config.outbound.call_limit_minutes) * 60);
        Bridge {
            services,
            call_id,
            caller,
            callee,
            places: Vec::new(),
            limit,
            began: Instant::now(),
            transfer: None,
            control,
            surrenders,
        }
    }

    /// With the places it takes on trunks.
    pub(super) fn with_places(mut self, places: Vec<Place>) -> Bridge {
        self.places = places;
        self
    }

    fn party(&mut self, side: Side) -> &mut Party {
        match side {
            Side::Caller => &mut self.caller,
            Side::Callee => &mut self.callee,
        }
    }

    fn connect(&mut self) {
        for side in [&self.caller, &self.callee] {
            self.services.bridges.insert(side.leg.events.handle(), &self.control);
        }
        if let Err(error) = self.caller.leg.media.bridge(&self.callee.leg.media) {
            warn!(%error, "Media command lost");
        }
        for side in [Side::Caller, Side::Callee] {
            self.follow_hold(side);
        }
    }

    /// Talks until somebody hangs up.
    pub(super) async fn run(mut self, mut stop: watch::Receiver<bool>) {
        self.connect();
        let deadline = tokio::time::sleep(self.limit);
        tokio::pin!(deadline);
        let mut watch = tokio::time::interval(WATCH_INTERVAL);
        watch.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let ended = |by, end| Happened::Ended { by, end };
        loop {
            let happened = tokio::select! {
                Some(event) = self.caller.leg.events.recv() => self.handle_sip(Side::Caller, event).await,
                Some(event) = self.callee.leg.events.recv() => self.handle_sip(Side::Callee, event).await,
                Some(event) = self.caller.leg.frames.recv() => self.handle_media(Side::Caller, &event),
                Some(event) = self.callee.leg.frames.recv() => self.handle_media(Side::Callee, &event),
                Some(surrender) = self.surrenders.recv() => match self.surrender(surrender).await {
                    Ok(()) => return,
                    Err(bridge) => { self = *bridge; Happened::Nothing }
                },
                reached = reached(&mut self.transfer) => self.transferred(reached).await,
                _ = watch.tick() => self.watch(),
                () = &mut deadline => ended(None, End::CALL_LIMIT),
                Ok(()) = stop.changed() => match *stop.borrow() {
                    true => ended(None, End::STOPPED),
                    false => Happened::Nothing,
                },
            };
            match happened {
                Happened::Nothing => {}
                Happened::Ended { by, end } => return self.finish(by, end).await,
            }
        }
    }

    fn watch(&mut self) -> Happened {
        let silent = [Side::Caller, Side::Callee].into_iter().find(|side| self.party(*side).leg.is_silent());
        // The silent one is not hung up on as if it had: it gets a BYE, in case it is only its sound that is gone.
        silent.map_or(Happened::Nothing, |_| Happened::Ended { by: None, end: End::NO_RTP })
    }

    fn handle_media(&mut self, side: Side, event: &MediaEvent) -> Happened {
        // Digits have crossed the bridge by themselves.
        if matches!(event, MediaEvent::ClipFinished { .. }) && self.party(side).has_music {
            let services = Arc::clone(&self.services);
            self.party(side).play_music(&services);
        }
        Happened::Nothing
    }

    async fn handle_sip(&mut self, side: Side, event: Event) -> Happened {
        if let Event::ReferReceived { request, referral, .. } = event {
            self.begin_transfer(side, request, *referral).await;
            return Happened::Nothing;
        }
        match self.party(side).leg.handle(event).await {
            LegNews::Nothing => self.follow_hold(side),
            LegNews::Pressed(key) => self.party(side.other()).leg.command(|media, _| media.press(key)),
            LegNews::Ended(end) => {
                let end = match (side, end) {
                    (Side::Callee, End::CALLER_HANGUP) => End::CALLEE_HANGUP,
                    (Side::Callee | Side::Caller, end) => end,
                };
                return Happened::Ended { by: Some(side), end };
            }
        }
        Happened::Nothing
    }

    /// Whoever is put on hold hears music, for as long as it lasts.
    fn follow_hold(&mut self, side: Side) {
        let services = Arc::clone(&self.services);
        let holds = self.party(side).leg.agreement.on_hold();
        if !holds {
            self.party(side).leg.restart_watch();
        }
        let other = self.party(side.other());
        if holds && !other.has_music {
            info!("On hold");
            other.play_music(&services);
        } else if !holds && other.has_music {
            info!("Off hold");
            other.stop_music();
        }
    }

    /// A phone asks us to connect the other side with somebody else.
    async fn begin_transfer(&mut self, by: Side, request: PeerRequestHandle, referral: Referral) {
        let wish = match self.party(by).extension.clone() {
            Some(extension) if self.transfer.is_none() => self.wish_of(&referral, extension).await,
            Some(_) | None => None,
        };
        let Some(wish) = wish else {
            info!("Transfer refused");
            let respond = self
                .services
                .sip
                .with(move |endpoint, now| endpoint.respond(request, Answer::new(StatusCode::DECLINE), now).is_ok());
            let _ = respond.await;
            return;
        };
        let handle = self.party(by).leg.events.handle();
        let accepted = self.services.sip.with(move |endpoint, now| endpoint.accept_refer(handle, request, now)).await;
        let Ok(Ok(refer)) = accepted else { return };
        info!(attended = matches!(wish, Transferee::Attended(_)), "Transfer");
        // The one who is sent elsewhere hears music until somebody answers.
        let services = Arc::clone(&self.services);
        self.party(by.other()).play_music(&services);
        let (answer, reached) = oneshot::channel();
        self.transfer = Some(Transfer { by, refer, reached });
        tokio::spawn(async move {
            let result = match wish {
                Transferee::Attended(phone) => match services.bridges.take_other_side(phone).await {
                    Some(leg) => {
                        Reached::Answered { party: Box::new(Party::new(&services, leg, None)), places: Vec::new() }
                    }
                    None => Reached::Nobody(StatusCode::CALL_DOES_NOT_EXIST),
                },
                Transferee::Blind(wish) => reach(&services, &wish).await,
            };
            // Whom we reached for nothing hangs up by itself, when it is dropped.
            let _ = answer.send(result);
        });
    }

    async fn wish_of(&mut self, referral: &Referral, extension: String) -> Option<Transferee> {
        if let Some(replaces) = referral.replaces() {
            let found = self.services.sip.with(move |endpoint, _| endpoint.call_of(&replaces)).await;
            return Some(Transferee::Attended(found.ok()??));
        }
        let dialled = super::incoming::user_of(&referral.refer_to.uri)?;
        // Phones that ring for it show who transfers.
        let from = self.services.inside_identity(&extension);
        Some(Transferee::Blind(Box::new(Wish { dialled, caller: CallerKind::Extension(extension), from })))
    }

    async fn transferred(&mut self, reached: Reached) -> Happened {
        let Some(transfer) = self.transfer.take() else { return Happened::Nothing };
        let status = match &reached {
            Reached::Answered { .. } => StatusCode::OK,
            Reached::Nobody(status) => *status,
        };
        let refer = transfer.refer;
        let _ = self.services.sip.with(move |endpoint, now| endpoint.report_refer(refer, status, now).is_ok()).await;
        self.party(transfer.by.other()).stop_music();
        match reached {
            Reached::Nobody(status) => {
                info!(status = status.as_u16(), "Transfer failed");
                self.follow_hold(transfer.by);
            }
            Reached::Answered { party, places } => {
                info!("Transferred");
                self.places.extend(places);
                let mut former = std::mem::replace(self.party(transfer.by), *party);
                self.services.bridges.remove(former.leg.events.handle());
                former.leg.hang_up(None).await;
                self.connect();
            }
        }
        Happened::Nothing
    }

    /// Gives the other side of `phone` to another bridge and ends this one.
    async fn surrender(mut self, surrender: Surrender) -> Result<(), Box<Bridge>> {
        let handle = |party: &Party| party.leg.events.handle();
        let phone_is_caller = handle(&self.caller) == surrender.phone;
        if !phone_is_caller && handle(&self.callee) != surrender.phone {
            return Err(Box::new(self));
        }
        for party in [&mut self.caller, &mut self.callee] {
            party.stop_music();
            self.services.bridges.remove(party.leg.events.handle());
        }
        let at = UnixMs::now();
        let metrics = vec![
            self.caller.leg.metrics(self.call_id, LegKind::Caller, at),
            self.callee.leg.metrics(self.call_id, LegKind::Callee, at),
        ];
        let (mut phone, given) = match phone_is_caller {
            true => (self.caller, self.callee),
            false => (self.callee, self.caller),
        };
        phone.leg.hang_up(None).await;
        // Nobody who waits any more: the leg is dropped and hangs up.
        let _ = surrender.answer.send(given.leg);
        info!(cause = End::TRANSFERRED.cause, "Call ended");
        let ended = ended_session(End::TRANSFERRED, "answered_by_person");
        write_end(&self.services.storage, self.call_id, metrics, ended).await;
        Ok(())
    }

    async fn finish(mut self, by: Option<Side>, end: End) {
        let at = UnixMs::now();
        let reason = match end.termination {
            Termination::Success => ReasonHeader::q850(16, "Normal call clearing"),
            Termination::CallerError | Termination::OurError | Termination::UpstreamError | Termination::Unknown => {
                ReasonHeader::q850(41, "Temporary failure")
            }
        };
        for side in [Side::Caller, Side::Callee] {
            let party = self.party(side);
            let handle = party.leg.events.handle();
            if by != Some(side) {
                party.leg.hang_up(Some(reason.clone())).await;
            }
            self.services.bridges.remove(handle);
        }
        let metrics = vec![
            self.caller.leg.metrics(self.call_id, LegKind::Caller, at),
            self.callee.leg.metrics(self.call_id, LegKind::Callee, at),
        ];
        write_end(&self.services.storage, self.call_id, metrics, ended_session(end, "answered_by_person")).await;
        info!(
            cause = end.cause,
            class = end.termination.as_str(),
            seconds = self.began.elapsed().as_secs(),
            "Call ended"
        );
    }
}

/// Who somebody is sent to.
enum Transferee {
    Blind(Box<Wish>),
    /// The other side of the call in which the phone has this leg.
    Attended(CallHandle),
}

/// Whom a transfer has reached; waits for ever without one.
async fn reached(transfer: &mut Option<Transfer>) -> Reached {
    match transfer {
        Some(transfer) => match (&mut transfer.reached).await {
            Ok(reached) => reached,
            Err(_) => Reached::Nobody(StatusCode::SERVER_INTERNAL_ERROR),
        },
        None => std::future::pending().await,
    }
}
