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
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use audio::dsp::tone::beep;
use sip_stack::endpoint::{Answer, CallHandle, Event, PeerRequestHandle, ReferHandle, Referral};
use sip_stack::message::header::ReasonHeader;
use sip_stack::message::{NameAddr, StatusCode};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::MissedTickBehavior;
use tracing::{info, warn};

use super::carriers::Place;
use super::incoming::{CallerKind, ended_session};
use super::lamps::{DialogState, Lit};
use super::leg::{Leg, LegNews};
use super::music::{ANNOUNCEMENT, MUSIC};
use super::onward::Onward;
use super::reach::{Course, Reached, Wish, course, reach};
use super::record::{note_trunk, write_end};
use super::referral::Referred;
use super::services::Services;
use super::tap::{Channel, Tap};
use super::task::End;
use super::up::{Seat, Talk};
use super::waiting::{Waiting, rendered};
use crate::dial_plan::Feature;
use crate::io::media::MediaEvent;
use crate::speaker::{SPEECH_SAMPLE_RATE, Samples};
use crate::storage::{CallId, Leg as LegKind, Termination, UnixMs, add_metrics};

/// Commands of other calls waiting for a bridge.
const CONTROL_LIMIT: usize = 4;
/// How often a bridge looks whether anybody still sends.
const WATCH_INTERVAL: Duration = Duration::from_secs(1);

/// Which bridge has a leg; for what one call wants of another.
#[derive(Clone, Default)]
pub struct Bridges(Arc<Mutex<HashMap<CallHandle, mpsc::Sender<Wanted>>>>);

/// What another call wants of a bridge.
enum Wanted {
    /// The side that is not `phone`, which is about to leave.
    OtherSide { phone: CallHandle, answer: oneshot::Sender<Box<Party>> },
    /// That somebody takes the place of `leg` (RFC 3891).
    Replacement { leg: CallHandle, party: Box<Party> },
}

impl Bridges {
    fn insert(&self, handle: CallHandle, control: &mpsc::Sender<Wanted>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(handle, control.clone());
    }

    fn remove(&self, handle: CallHandle) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&handle);
    }

    /// Takes the other side out of the bridge in which `phone` is.
    async fn take_other_side(&self, phone: CallHandle) -> Option<Box<Party>> {
        let control = self.control_of(phone)?;
        let (answer, party) = oneshot::channel();
        control.send(Wanted::OtherSide { phone, answer }).await.ok()?;
        party.await.ok()
    }

    fn control_of(&self, leg: CallHandle) -> Option<mpsc::Sender<Wanted>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&leg).cloned()
    }

    /// Whether `leg` is one of two that talk with each other.
    pub(super) fn has(&self, leg: CallHandle) -> bool {
        self.control_of(leg).is_some()
    }

    /// Connects `party` in place of `leg`, which is hung up. Without such a bridge any more, or when it ends in the same
    /// moment, `party` is dropped and hung up; true unless that is known at once.
    pub(super) async fn replace(&self, leg: CallHandle, party: Party) -> bool {
        let Some(control) = self.control_of(leg) else { return false };
        control.send(Wanted::Replacement { leg, party: Box::new(party) }).await.is_ok()
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
    /// As whom it may ask for something.
    kind: CallerKind,
    /// The trunk it was dialled by, if it is somebody outside.
    trunk: Option<String>,
    /// What phones show that ring for it.
    shown: NameAddr,
    /// Its lamp, if it is a phone of the office.
    _lit: Option<Lit>,
    /// Plays music, because the other side holds.
    has_music: bool,
}

impl Party {
    pub(super) fn new(services: &Arc<Services>, leg: Leg, kind: CallerKind) -> Party {
        let (lit, shown) = match &kind {
            CallerKind::Extension(extension) => {
                let lit = Lit::new(services, extension, DialogState::Confirmed);
                (Some(lit), services.inside_identity(extension))
            }
            CallerKind::Trunk(_) | CallerKind::Guest => (None, services.outside_identity(None)),
        };
        Party { leg, kind, trunk: None, shown, _lit: lit, has_music: false }
    }

    /// Dialled by that trunk.
    pub(super) fn by_trunk(mut self, name: &str) -> Party {
        self.trunk = Some(name.to_owned());
        self
    }

    /// As phones show it.
    pub(super) fn shown_as(mut self, shown: NameAddr) -> Party {
        self.shown = shown;
        self
    }

    /// The office's phone that it is.
    pub(super) fn extension(&self) -> Option<&str> {
        match &self.kind {
            CallerKind::Extension(extension) => Some(extension),
            CallerKind::Trunk(_) | CallerKind::Guest => None,
        }
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
    tap: Tap,
    /// A transfer that is under way: who asked, whom we ring for it.
    transfer: Option<Transfer>,
    control: mpsc::Sender<Wanted>,
    wanted: mpsc::Receiver<Wanted>,
}

struct Transfer {
    by: Side,
    refer: ReferHandle,
    reached: oneshot::Receiver<Outcome>,
}

enum Happened {
    Nothing,
    Ended {
        by: Option<Side>,
        end: End,
    },
    /// `by` has sent the other side where nobody is rung for it at once.
    SentOn {
        by: Side,
        to: Onward,
    },
}

impl Bridge {
    pub(super) fn new(services: Arc<Services>, call_id: CallId, caller: Party, callee: Party) -> Bridge {
        let (control, wanted) = mpsc::channel(CONTROL_LIMIT);
        let tap = Tap::new(&services, call_id);
        let limit = Duration::from_secs(u64::from(services.config.outbound.call_limit_minutes) * 60);
        Bridge {
            services,
            call_id,
            caller,
            callee,
            places: Vec::new(),
            limit,
            began: Instant::now(),
            tap,
            transfer: None,
            control,
            wanted,
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
            self.tap.follow(&side.leg);
        }
        let seats = [&self.caller, &self.callee].map(|side| Seat::new(side.leg.media.peer(), &side.kind));
        self.services.up.note(self.call_id, Talk::People(seats));
        if let Err(error) = self.caller.leg.media.bridge(self.callee.leg.media.peer()) {
            warn!(%error, "Media command lost");
        }
        for side in [Side::Caller, Side::Callee] {
            self.follow_hold(side);
        }
        if let Some(trunk) = [&self.caller, &self.callee].into_iter().find_map(|side| side.trunk.as_deref()) {
            note_trunk(&self.services.storage, self.call_id, trunk);
        }
    }

    /// Talks until somebody hangs up, or until one of the two has sent the other on.
    pub(super) async fn run(mut self, mut stop: watch::Receiver<bool>) -> Option<(Waiting, Onward)> {
        self.record().await;
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
                Ok(()) = self.caller.leg.moved.changed() => { self.caller.leg.follow_address().await; Happened::Nothing }
                Ok(()) = self.callee.leg.moved.changed() => { self.callee.leg.follow_address().await; Happened::Nothing }
                Some(event) = self.caller.leg.frames.recv() => self.handle_media(Side::Caller, &event),
                Some(event) = self.callee.leg.frames.recv() => self.handle_media(Side::Callee, &event),
                Some(wanted) = self.wanted.recv() => match wanted {
                    Wanted::OtherSide { phone, answer } => match Box::pin(self.surrender(phone, answer)).await {
                        Ok(()) => return None,
                        Err(bridge) => { self = *bridge; Happened::Nothing }
                    },
                    Wanted::Replacement { leg, party } => Box::pin(self.replace(leg, *party)).await,
                },
                () = self.tap.changed() => {
                    [&self.caller, &self.callee].into_iter().for_each(|side| self.tap.follow(&side.leg));
                    Happened::Nothing
                }
                reached = reached(&mut self.transfer) => Box::pin(self.transferred(reached)).await,
                _ = watch.tick() => self.watch(),
                () = &mut deadline => ended(None, End::CALL_LIMIT),
                Ok(()) = stop.changed() => match *stop.borrow() {
                    true => ended(None, End::STOPPED),
                    false => Happened::Nothing,
                },
            };
            match happened {
                Happened::Nothing => {}
                Happened::Ended { by, end } => {
                    Box::pin(self.finish(by, end)).await;
                    return None;
                }
                Happened::SentOn { by, to } => return Some((Box::pin(self.send_on(by, stop)).await, to)),
            }
        }
    }

    /// Begins to record, if that is wanted; both are told.
    async fn record(&mut self) {
        if !self.services.config.recording.people_enabled {
            return;
        }
        self.tap.record(&self.services, self.call_id);
        let announcement = match rendered(&self.services, &self.services.config.recording.announcement).await {
            Some(samples) => samples,
            None => beep(SPEECH_SAMPLE_RATE).repeat(2).into(),
        };
        for side in [&self.caller, &self.callee] {
            side.leg.command(|media, _| media.play(ANNOUNCEMENT, Arc::clone(&announcement)));
        }
    }

    fn pressed(&mut self, side: Side, key: char) {
        let is_ours = matches!(self.party(side).kind, CallerKind::Extension(_));
        if is_ours && self.tap.press(key, Instant::now()) {
            // Only the one who pressed hears that it is done.
            let tone: Samples = beep(SPEECH_SAMPLE_RATE).into();
            self.party(side).leg.command(|media, _| media.play(ANNOUNCEMENT, tone));
        }
    }

    fn watch(&mut self) -> Happened {
        self.caller.leg.keep_metrics(self.call_id, LegKind::Caller);
        self.callee.leg.keep_metrics(self.call_id, LegKind::Callee);
        let silent = [Side::Caller, Side::Callee].into_iter().find(|side| self.party(*side).leg.is_silent());
        // The silent one is not hung up on as if it had: it gets a BYE, in case it is only its sound that is gone.
        silent.map_or(Happened::Nothing, |_| Happened::Ended { by: None, end: End::NO_RTP })
    }

    fn handle_media(&mut self, side: Side, event: &MediaEvent) -> Happened {
        match event {
            MediaEvent::Frame { frame, .. } => {
                let channel = if side == Side::Caller { Channel::Caller } else { Channel::Other };
                self.tap.push(channel, *frame);
            }
            // It has crossed the bridge by itself.
            MediaEvent::Digit(key) => self.pressed(side, *key),
            MediaEvent::ClipFinished { clip, .. } if *clip == MUSIC && self.party(side).has_music => {
                let services = Arc::clone(&self.services);
                self.party(side).play_music(&services);
            }
            MediaEvent::ClipFinished { .. }
            | MediaEvent::ClipStarted { .. }
            | MediaEvent::ClipStopped { .. }
            | MediaEvent::Said(_) => {}
        }
        Happened::Nothing
    }

    async fn handle_sip(&mut self, side: Side, event: Event) -> Happened {
        if let Event::ReferReceived { request, referral, .. } = event {
            return self.begin_transfer(side, request, *referral).await;
        }
        match self.party(side).leg.handle(event).await {
            LegNews::Nothing => self.follow_hold(side),
            LegNews::Pressed(key) => {
                self.party(side.other()).leg.command(|media, _| media.press(key));
                self.pressed(side, key);
            }
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
        // Whoever is being sent elsewhere waits as well, whatever the phone that does it says in the meantime.
        let is_sent = self.transfer.as_ref().is_some_and(|transfer| transfer.by == side);
        let holds = is_sent || self.party(side).leg.agreement.on_hold();
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

    /// A phone asks us to connect the other side with somebody else; or a carrier, which gets as far as its calls do.
    async fn begin_transfer(&mut self, by: Side, request: PeerRequestHandle, referral: Referral) -> Happened {
        let caller = self.party(by).kind.clone();
        if caller == CallerKind::Guest || self.transfer.is_some() {
            return self.refuse_transfer(request, StatusCode::DECLINE).await;
        }
        if let Some(replaces) = referral.replaces() {
            let found = self.services.sip.with(move |endpoint, _| endpoint.call_of(&replaces)).await;
            return match found {
                Ok(Some(phone)) => self.transfer_to(by, request, Transferee::Attended(phone)).await,
                Ok(None) | Err(_) => self.refuse_transfer(request, StatusCode::DECLINE).await,
            };
        }
        let Some(dialled) = super::incoming::user_of(&referral.refer_to.uri) else {
            return self.refuse_transfer(request, StatusCode::DECLINE).await;
        };
        let wanted = course(&self.services, &caller, Some(&dialled));
        let stays = self.party(by.other()).kind.clone();
        let carrier_calls = match &wanted {
            Course::Outside(number) => self.services.carriers.referral(&stays, number),
            Course::Attendant
            | Course::Voicemail(_)
            | Course::Ring(_)
            | Course::Queue(_)
            | Course::Feature(_)
            | Course::Refuse(..) => None,
        };
        match self.onward(wanted, &caller) {
            Ok(Some(to)) => return self.accept_sending_on(by, request, to).await,
            Ok(None) => {}
            Err(status) => return self.refuse_transfer(request, status).await,
        }
        // Phones that ring for it show who transfers.
        let from = self.party(by).shown.clone();
        let referred: Pin<Box<dyn Future<Output = Referred> + Send>> = match carrier_calls {
            Some(target) => Box::pin(self.party(by.other()).leg.refer(target)),
            None => Box::pin(std::future::ready(Referred::Unsupported)),
        };
        self.transfer_to(by, request, Transferee::Blind { wish: Box::new(Wish { dialled, caller, from }), referred })
            .await
    }

    async fn refuse_transfer(&mut self, request: PeerRequestHandle, status: StatusCode) -> Happened {
        info!(status = status.as_u16(), "Transfer refused");
        let answer = Answer::new(status);
        let _ = self.services.sip.with(move |endpoint, now| endpoint.respond(request, answer, now).is_ok()).await;
        Happened::Nothing
    }

    /// Where the other side goes by itself, without anybody who has to answer first.
    fn onward(&self, wanted: Course, by: &CallerKind) -> Result<Option<Onward>, StatusCode> {
        match (wanted, by) {
            (Course::Feature(Feature::Park { place }), CallerKind::Extension(by)) => {
                let offered = self.services.pickups.park(place).ok_or(StatusCode::BUSY_HERE)?;
                Ok(Some(Onward::Parked { place, offered, by: by.clone() }))
            }
            (Course::Feature(_), _) => Err(StatusCode::FORBIDDEN),
            (wanted @ (Course::Attendant | Course::Voicemail(_) | Course::Queue(_)), _) => {
                Ok(Some(Onward::Course(wanted)))
            }
            (Course::Ring(_) | Course::Outside { .. } | Course::Refuse(..), _) => Ok(None),
        }
    }

    async fn accept_sending_on(&mut self, by: Side, request: PeerRequestHandle, to: Onward) -> Happened {
        let handle = self.party(by).leg.events.handle();
        let accepted = self.services.sip.with(move |endpoint, now| {
            let refer = endpoint.accept_refer(handle, request, now)?;
            endpoint.report_refer(refer, StatusCode::OK, now)
        });
        match accepted.await {
            Ok(Ok(())) => Happened::SentOn { by, to },
            Ok(Err(_)) | Err(_) => Happened::Nothing,
        }
    }

    /// Hangs up on `by`; the other one waits from now on.
    async fn send_on(mut self, by: Side, stop: watch::Receiver<bool>) -> Waiting {
        info!("Transferred");
        self.tap.finish_recording().await;
        for side in [Side::Caller, Side::Callee] {
            let party = self.party(side);
            party.stop_music();
            let handle = party.leg.events.handle();
            self.services.bridges.remove(handle);
        }
        let (services, call_id, at) = (self.services, self.call_id, UnixMs::now());
        let (mut leaves, stays, kind) = match by {
            Side::Caller => (self.caller, self.callee, LegKind::Caller),
            Side::Callee => (self.callee, self.caller, LegKind::Callee),
        };
        let metrics = leaves.leg.metrics(call_id, kind, at);
        if let Err(error) = services.storage.write(move |sql_tx| add_metrics(sql_tx, &metrics)).await {
            warn!(%error, "Figures of a leg not written");
        }
        leaves.leg.hang_up(None).await;
        stays.leg.command(|media, _| media.unbridge());
        let waiting = Waiting::new(services, call_id, stays.leg, (stays.kind, stays.shown), stop);
        waiting.with_places(self.places)
    }

    async fn transfer_to(&mut self, by: Side, request: PeerRequestHandle, whom: Transferee) -> Happened {
        let handle = self.party(by).leg.events.handle();
        let accepted = self.services.sip.with(move |endpoint, now| endpoint.accept_refer(handle, request, now)).await;
        let Ok(Ok(refer)) = accepted else { return Happened::Nothing };
        info!(attended = matches!(whom, Transferee::Attended(_)), "Transfer");
        // The one who is sent elsewhere hears music until somebody answers: it went on hold a moment ago, and stays there
        // if nobody does.
        let services = Arc::clone(&self.services);
        if !self.party(by.other()).has_music {
            self.party(by.other()).play_music(&services);
        }
        let (answer, reached) = oneshot::channel();
        self.transfer = Some(Transfer { by, refer, reached });
        tokio::spawn(async move {
            let outcome = match whom {
                Transferee::Attended(phone) => match services.bridges.take_other_side(phone).await {
                    Some(party) => Outcome::Reached(Reached::Answered { party, places: Vec::new() }),
                    None => Outcome::Reached(Reached::Nobody(StatusCode::CALL_DOES_NOT_EXIST)),
                },
                Transferee::Blind { wish, referred } => match referred.await {
                    Referred::Taken => Outcome::SentOn,
                    Referred::Failed(status) => Outcome::Reached(Reached::Nobody(status)),
                    Referred::Unsupported => Outcome::Reached(reach(&services, &wish).await),
                },
            };
            // Whom we reached for nothing hangs up by itself, when it is dropped.
            let _ = answer.send(outcome);
        });
        Happened::Nothing
    }

    async fn transferred(&mut self, outcome: Outcome) -> Happened {
        let Some(transfer) = self.transfer.take() else { return Happened::Nothing };
        let status = match &outcome {
            Outcome::Reached(Reached::Answered { .. }) | Outcome::SentOn => StatusCode::OK,
            Outcome::Reached(Reached::Nobody(status)) => *status,
        };
        let refer = transfer.refer;
        let _ = self.services.sip.with(move |endpoint, now| endpoint.report_refer(refer, status, now).is_ok()).await;
        self.party(transfer.by.other()).stop_music();
        match outcome {
            Outcome::SentOn => {
                info!("Transferred");
                return Happened::Ended { by: None, end: End::TRANSFERRED };
            }
            Outcome::Reached(Reached::Nobody(status)) => {
                info!(status = status.as_u16(), "Transfer failed");
                self.follow_hold(transfer.by);
            }
            Outcome::Reached(Reached::Answered { party, places }) => {
                info!("Transferred");
                self.places.extend(places);
                self.seat(transfer.by, *party).await;
            }
        }
        Happened::Nothing
    }

    /// Somebody takes the place of `leg`.
    async fn replace(&mut self, leg: CallHandle, party: Party) -> Happened {
        // Else it has been replaced or transferred in the meantime.
        if let Some(side) = self.side_of(leg) {
            info!("Replaced");
            // Whoever asked for a transfer is not there any more; whom it reaches hangs up.
            self.transfer.take_if(|transfer| transfer.by == side);
            self.party(side.other()).stop_music();
            self.seat(side, party).await;
        }
        Happened::Nothing
    }

    fn side_of(&self, leg: CallHandle) -> Option<Side> {
        match leg {
            _ if leg == self.caller.leg.events.handle() => Some(Side::Caller),
            _ if leg == self.callee.leg.events.handle() => Some(Side::Callee),
            _ => None,
        }
    }

    /// `party` is at that side from now on; whoever was is hung up.
    async fn seat(&mut self, side: Side, party: Party) {
        let mut former = std::mem::replace(self.party(side), party);
        self.services.bridges.remove(former.leg.events.handle());
        former.leg.hang_up(None).await;
        self.connect();
    }

    /// Gives the other side of `phone` to another bridge and ends this one.
    async fn surrender(mut self, phone: CallHandle, answer: oneshot::Sender<Box<Party>>) -> Result<(), Box<Bridge>> {
        let Some(side) = self.side_of(phone) else { return Err(Box::new(self)) };
        self.tap.finish_recording().await;
        for party in [&mut self.caller, &mut self.callee] {
            party.stop_music();
            self.services.bridges.remove(party.leg.events.handle());
        }
        let at = UnixMs::now();
        let metrics = vec![
            self.caller.leg.metrics(self.call_id, LegKind::Caller, at),
            self.callee.leg.metrics(self.call_id, LegKind::Callee, at),
        ];
        let (mut phone, given) = match side {
            Side::Caller => (self.caller, self.callee),
            Side::Callee => (self.callee, self.caller),
        };
        phone.leg.hang_up(None).await;
        // Nobody who waits any more: the leg is dropped and hangs up.
        let _ = answer.send(Box::new(given));
        let ended = ended_session(End::TRANSFERRED, "answered_by_person");
        write_end(&self.services.storage, self.call_id, metrics, ended).await;
        info!(cause = End::TRANSFERRED.cause, "Call ended");
        Ok(())
    }

    async fn finish(mut self, by: Option<Side>, end: End) {
        self.tap.finish_recording().await;
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
    /// Somebody who is called once the carrier of the other side has not taken it on itself.
    Blind { wish: Box<Wish>, referred: Pin<Box<dyn Future<Output = Referred> + Send>> },
    /// The other side of the call in which the phone has this leg.
    Attended(CallHandle),
}

/// What became of a transfer.
enum Outcome {
    /// Somebody has answered, or nobody.
    Reached(Reached),
    /// The carrier connects the two of them.
    SentOn,
}

/// Whom a transfer has reached; waits for ever without one.
async fn reached(transfer: &mut Option<Transfer>) -> Outcome {
    match transfer {
        Some(transfer) => match (&mut transfer.reached).await {
            Ok(reached) => reached,
            Err(_) => Outcome::Reached(Reached::Nobody(StatusCode::SERVER_INTERNAL_ERROR)),
        },
        None => std::future::pending().await,
    }
}
