//! Somebody who is answered and waits: with music or ringing, now and then a sentence, until something comes true.
//!
//! Ringing tells them that phones ring for them and will be taken or not, soon. Music is for whatever may take long: a line, a
//! place where they are parked, the hold of whoever sends them elsewhere, a number outside of which nobody knows yet whether it
//! rings.

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use audio::Frame;
use audio::playout::ClipId;
use sip_stack::endpoint::Event;
use sip_stack::message::NameAddr;
use sip_stack::message::header::ReasonHeader;
use tokio::sync::{oneshot, watch};
use tracing::info;

use super::carriers::Place;
use super::incoming::{CallerKind, ended_session, user_of};
use super::leg::{Leg, LegNews};
use super::music::{ANNOUNCEMENT, MUSIC, RINGING};
use super::record::write_end;
use super::services::Services;
use super::tap::{Channel, Tap};
use super::task::End;
use super::up::{Seat, Talk};
use crate::conversation::machine::Unreached;
use crate::dial_plan::is_e164;
use crate::inference::Priority;
use crate::io::media::MediaEvent;
use crate::speaker::Samples;
use crate::storage::{CallId, Leg as LegKind, UnixMs};

/// How often is looked whether anybody still sends.
pub(super) const WATCH_INTERVAL: Duration = Duration::from_secs(1);
/// A tone before the end of a call is over by then.
const LAST_TONE_LIMIT: Duration = Duration::from_secs(10);
/// A sentence that is not rendered by then is not said.
const RENDER_LIMIT: Duration = Duration::from_secs(3);

/// See the module.
pub(super) struct Waiting {
    pub(super) services: Arc<Services>,
    pub(super) call_id: CallId,
    pub(super) leg: Leg,
    /// As whom they are connected.
    pub(super) caller: CallerKind,
    /// What phones that ring for them show.
    pub(super) from: NameAddr,
    /// What they take on trunks.
    pub(super) places: Vec<Place>,
    pub(super) stop: watch::Receiver<bool>,
    /// What they have said to the attendant before.
    pub(super) turns: u32,
    /// Into which mailbox a message of theirs goes; `None`: the office's, or that of whoever they name.
    pub(super) mailbox: Option<String>,
    /// Why whoever was rung for them last did not come.
    pub(super) unreached: Option<Unreached>,
    tap: Tap,
    /// What they hear while nothing else is said.
    patience: Patience,
    plays: Option<ClipId>,
}

/// What somebody hears who waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Patience {
    /// As on hold.
    Music,
    /// As before an answer, in the tone of the office's country.
    Ringing,
}

impl Patience {
    fn clip(self) -> ClipId {
        match self {
            Patience::Music => MUSIC,
            Patience::Ringing => RINGING,
        }
    }
}

/// What ends the waiting before what was waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Interrupted {
    /// They are gone, or the box is stopping.
    Ended(End),
    /// They have pressed a key.
    Pressed(char),
}

impl Waiting {
    /// Somebody who hears nothing yet.
    pub(super) fn new(
        services: Arc<Services>,
        call_id: CallId,
        leg: Leg,
        (caller, from): (CallerKind, NameAddr),
        stop: watch::Receiver<bool>,
    ) -> Waiting {
        services.up.note(call_id, Talk::Waiting(Seat::new(leg.media.peer(), &caller)));
        let tap = Tap::new(&services, call_id);
        tap.follow(&leg);
        Waiting {
            services,
            call_id,
            leg,
            caller,
            from,
            places: Vec::new(),
            stop,
            turns: 0,
            mailbox: None,
            unreached: None,
            tap,
            patience: Patience::Music,
            plays: None,
        }
    }

    /// With the places it takes on trunks.
    pub(super) fn with_places(mut self, places: Vec<Place>) -> Waiting {
        self.places = places;
        self
    }

    /// Where they call from, if that can be called.
    pub(super) fn number(&self) -> Option<String> {
        user_of(&self.from.uri).filter(|number| is_e164(number))
    }

    /// After so many turns of talk with the attendant.
    pub(super) fn after_turns(mut self, turns: u32) -> Waiting {
        self.turns = turns;
        self
    }

    /// What they hear from now on while they wait.
    pub(super) fn wait_with(&mut self, patience: Patience) {
        let before = std::mem::replace(&mut self.patience, patience);
        if before != patience && self.plays == Some(before.clip()) {
            self.be_quiet();
        }
    }

    /// Music or ringing from its beginning, unless something plays.
    fn be_patient(&mut self) {
        if self.plays.is_none() {
            let samples = match self.patience {
                Patience::Music => &self.services.hold_music,
                Patience::Ringing => &self.services.tones.ringing,
            };
            self.play(self.patience.clip(), Arc::clone(samples));
        }
    }

    /// Nothing any more.
    pub(super) fn be_quiet(&mut self) {
        if self.plays.take().is_some() {
            self.leg.command(|media, _| media.stop());
        }
    }

    /// Says `text` instead of the music, which goes on afterwards; nothing without a voice.
    pub(super) async fn say(&mut self, text: &str) {
        if let Some(samples) = rendered(&self.services, text).await {
            self.play_once(samples);
        }
    }

    /// As [`say`](Waiting::say), with music until there is something to be said.
    pub(super) async fn announce(&mut self, text: &str) -> Result<(), Interrupted> {
        let services = Arc::clone(&self.services);
        if let Some(samples) = self.until(rendered(&services, text)).await? {
            self.play_once(samples);
        }
        Ok(())
    }

    /// Plays something instead of the music.
    pub(super) fn play_once(&mut self, samples: Samples) {
        self.be_quiet();
        self.play(ANNOUNCEMENT, samples);
    }

    fn play(&mut self, clip: ClipId, samples: Samples) {
        self.plays = Some(clip);
        self.leg.command(|media, _| media.play(clip, samples));
    }

    /// Waits, with music or ringing; keys have no meaning.
    pub(super) fn until_whatever_is_pressed<T>(
        &mut self,
        wanted: impl Future<Output = T>,
    ) -> impl Future<Output = Result<T, Interrupted>> {
        let mut wanted = Box::pin(wanted);
        async move {
            loop {
                match self.until(&mut wanted).await {
                    Err(Interrupted::Pressed(_)) => {}
                    other => return other,
                }
            }
        }
    }

    /// Waits, with music or ringing.
    pub(super) fn until<T>(&mut self, wanted: impl Future<Output = T>) -> impl Future<Output = Result<T, Interrupted>> {
        // Boxed before anything is awaited: an async function would keep room for it in each of its callers.
        let mut wanted = Box::pin(wanted);
        async move {
            let mut watch = tokio::time::interval(WATCH_INTERVAL);
            self.be_patient();
            tokio::select! {
                got = &mut wanted => Ok(got),
                interrupted = self.happens(&mut watch) => Err(interrupted),
            }
        }
    }

    /// Waits until what is played once is over.
    pub(super) async fn until_said(&mut self) -> Result<(), Interrupted> {
        let mut watch = tokio::time::interval(WATCH_INTERVAL);
        while self.plays == Some(ANNOUNCEMENT) {
            if let Some(interrupted) = self.next(&mut watch).await {
                return Err(interrupted);
            }
        }
        Ok(())
    }

    /// Hands everything they say to `hears` until they are gone; keys have no meaning, and there is no music.
    pub(super) async fn until_gone(&mut self, mut hears: impl FnMut(&Frame) + Send) -> End {
        let mut watch = tokio::time::interval(WATCH_INTERVAL);
        self.leg.command(|media, _| media.listen(true));
        loop {
            if let Some(Interrupted::Ended(end)) = self.next_heard(&mut watch, &mut hears).await {
                return end;
            }
        }
    }

    /// Returns only for what ends the waiting.
    async fn happens(&mut self, watch: &mut tokio::time::Interval) -> Interrupted {
        loop {
            if let Some(interrupted) = self.next(watch).await {
                return interrupted;
            }
            self.be_patient();
        }
    }

    /// What happens next, if it ends the waiting; without music. Asked again and again, with a clock of [`WATCH_INTERVAL`].
    pub(super) async fn next(&mut self, watch: &mut tokio::time::Interval) -> Option<Interrupted> {
        self.next_heard(watch, &mut |_| {}).await
    }

    async fn next_heard(
        &mut self,
        watch: &mut tokio::time::Interval,
        hears: &mut (dyn FnMut(&Frame) + Send),
    ) -> Option<Interrupted> {
        let ended = |end| Some(Interrupted::Ended(end));
        tokio::select! {
            event = self.leg.events.recv() => match event {
                Some(event) => self.handle(event).await,
                None => ended(End::INTERNAL),
            },
            Ok(()) = self.leg.moved.changed() => { self.leg.follow_address().await; None }
            Some(event) = self.leg.frames.recv() => {
                if let MediaEvent::Frame { frame, .. } = &event {
                    hears(frame);
                }
                self.handle_media(event)
            }
            () = self.tap.changed() => { self.tap.follow(&self.leg); None }
            _ = watch.tick() => {
                self.leg.keep_metrics(self.call_id, LegKind::Caller);
                if self.leg.is_silent() { ended(End::NO_RTP) } else { None }
            }
            Ok(()) = self.stop.changed() => if *self.stop.borrow() { ended(End::STOPPED) } else { None },
        }
    }

    fn handle_media(&mut self, event: MediaEvent) -> Option<Interrupted> {
        match event {
            MediaEvent::Digit(key) => return Some(Interrupted::Pressed(key)),
            MediaEvent::ClipFinished { clip, .. } if self.plays == Some(clip) => self.plays = None,
            MediaEvent::Frame { frame, .. } => self.tap.push(Channel::Caller, frame),
            MediaEvent::Said(frame) => self.tap.push(Channel::Other, frame),
            MediaEvent::ClipFinished { .. } | MediaEvent::ClipStarted { .. } | MediaEvent::ClipStopped { .. } => {}
        }
        None
    }

    async fn handle(&mut self, event: Event) -> Option<Interrupted> {
        match self.leg.handle(event).await {
            LegNews::Nothing => None,
            LegNews::Pressed(key) => Some(Interrupted::Pressed(key)),
            LegNews::Ended(end) => Some(Interrupted::Ended(end)),
        }
    }

    /// Ends the call after a tone that says why: whoever hears nothing does not know that it is over.
    pub(super) async fn finish_with(mut self, tone: Samples, end: End, disposition: &'static str) {
        self.play_once(tone);
        let heard = async { while let Err(Interrupted::Pressed(_)) = self.until_said().await {} };
        // A phone on hold hears nothing to its end. Whoever hangs up in the middle is still one who was not served.
        let _ = tokio::time::timeout(LAST_TONE_LIMIT, heard).await;
        self.finish(end, disposition).await;
    }

    /// Ends the call: hangs up and writes its row.
    pub(super) async fn finish(mut self, end: End, disposition: &'static str) {
        self.leg.hang_up(Some(ReasonHeader::q850(16, "Normal call clearing"))).await;
        let at = UnixMs::now();
        let metrics = vec![self.leg.metrics(self.call_id, LegKind::Caller, at)];
        write_end(&self.services.storage, self.call_id, metrics, ended_session(end, disposition)).await;
        info!(cause = end.cause, disposition, "Call ended");
    }
}

/// The sound of a sentence, if there is a voice and it is quick enough.
pub(super) async fn rendered(services: &Services, text: &str) -> Option<Samples> {
    if !services.abilities.text_to_speech {
        return None;
    }
    let (done, samples) = oneshot::channel();
    let begun = Instant::now();
    services.speaker.render(text, Priority::Live, move |result| {
        // Nobody waits any more.
        let _ = done.send(result.ok());
    });
    let samples = tokio::time::timeout(RENDER_LIMIT, samples).await.ok()?.ok()?;
    tracing::debug!(milliseconds = begun.elapsed().as_millis(), "Announcement rendered");
    samples
}
