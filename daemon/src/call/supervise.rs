//! A supervisor on a call of somebody else's: hears both sides, and is heard by nobody, by our side, or by both.
//!
//! The keys 4, 5 and 6 choose, as with Asterisk's ChanSpy. Whoever is listened to hears a short tone when it begins, unless
//! the configuration says otherwise. When the call ends the supervisor is hung up; when the supervisor hangs up the call
//! goes on as it was. A recording of the call has the two who talk, not the supervisor.

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use audio::dsp::mix::Conference;
use audio::dsp::tone::sine;
use sip_stack::message::StatusCode;
use tokio::sync::watch;
use tokio::time::MissedTickBehavior;
use tracing::{info, warn};

use super::incoming::{CallerKind, Incoming};
use super::services::Services;
use super::task::End;
use super::up::{Seat, Supervised, Talk};
use super::waiting::{Interrupted, WATCH_INTERVAL, Waiting};
use crate::io::media::{MediaPeer, MediaSession, Source};
use crate::speaker::{SPEECH_SAMPLE_RATE, Samples};

/// Short, and unlike what is heard on a line otherwise.
static TONE: LazyLock<Samples> =
    LazyLock::new(|| sine(1_400.0, Duration::from_millis(200), -22.0, SPEECH_SAMPLE_RATE).into());

/// Who hears the supervisor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    /// Nobody.
    Listen,
    /// Our side.
    Whisper,
    /// Both.
    Barge,
}

/// Of the places in a conference the third; whoever is outside has the first, our side the second.
const SUPERVISOR: usize = 2;

impl Mode {
    fn of_key(key: char) -> Option<Mode> {
        match key {
            '4' => Some(Mode::Listen),
            '5' => Some(Mode::Whisper),
            '6' => Some(Mode::Barge),
            _ => None,
        }
    }

    fn conference(self) -> Conference {
        match self {
            Mode::Listen => Conference::LISTENED_TO,
            Mode::Whisper => Conference::WHISPERED_TO,
            Mode::Barge => Conference::OPEN,
        }
    }
}

/// Serves a phone that has dialled the code.
pub(super) async fn supervise(
    incoming: &mut Incoming,
    by: &str,
    extension: Option<String>,
    stop: watch::Receiver<bool>,
) -> Result<(), End> {
    let services = Arc::clone(&incoming.services);
    if !services.extension(by).is_some_and(|known| known.may_supervise) {
        warn!("Supervision refused: this extension may not");
        return Err(incoming.reject(StatusCode::FORBIDDEN, End::denied("may_not_supervise")).await);
    }
    let supervised = match services.up.supervise(extension.as_deref()) {
        Some(Ok(supervised)) => supervised,
        Some(Err(())) => {
            info!("Supervision refused: somebody else supervises this call");
            return Err(incoming.reject(StatusCode::BUSY_HERE, End::denied("supervised_already")).await);
        }
        None => {
            info!("Nothing there to supervise");
            return Err(incoming.reject(StatusCode::NOT_FOUND, End::denied("nothing_to_supervise")).await);
        }
    };
    let leg = incoming.answer().await?;
    let who = (CallerKind::Extension(by.to_owned()), services.inside_identity(by));
    let mut waiting = Waiting::new(Arc::clone(&services), incoming.call_id, leg, who, stop);
    services.up.note(incoming.call_id, Talk::Feature);
    let call_id = supervised.call_id;
    info!(supervised = %call_id, mode = ?Mode::Listen, "Supervision");
    let end = attend(&services, supervised, extension, &mut waiting).await;
    info!(supervised = %call_id, "Supervision ended");
    waiting.finish(end, "supervision").await;
    Ok(())
}

/// Until one of the two calls is over.
async fn attend(
    services: &Services,
    mut supervised: Supervised,
    extension: Option<String>,
    waiting: &mut Waiting,
) -> End {
    let tone = services.config.features.supervision_tone_enabled.then(|| Arc::clone(&TONE));
    let mut seats = Seats { extension, tone, mode: Mode::Listen, present: Vec::new() };
    let mut watch = tokio::time::interval(WATCH_INTERVAL);
    watch.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let end = loop {
        let talk = supervised.talk.borrow_and_update().clone();
        seats.arrange(&waiting.leg.media, &talk);
        let happened = tokio::select! {
            changed = supervised.talk.changed() => match changed {
                Ok(()) => continue,
                Err(_) => break End::FEATURE,
            },
            happened = waiting.next(&mut watch) => happened,
        };
        match happened {
            Some(Interrupted::Ended(end)) => break end,
            Some(Interrupted::Pressed(key)) => {
                if let Some(mode) = Mode::of_key(key) {
                    seats.mode = mode;
                    info!(supervised = %supervised.call_id, ?mode, "Supervision");
                }
            }
            None => {}
        }
    };
    seats.leave(&waiting.leg.media);
    end
}

/// Who is where, as it was arranged last.
struct Seats {
    /// Who is supervised; whoever is of the office otherwise.
    extension: Option<String>,
    /// For those who come to be listened to.
    tone: Option<Samples>,
    mode: Mode,
    /// Who hears, or could hear, the supervisor, and in which mode.
    present: Vec<(MediaPeer, Mode)>,
}

impl Seats {
    /// Has everybody hear whom they are to hear.
    fn arrange(&mut self, supervisor: &MediaSession, talk: &Talk) {
        let sides = self.sides(talk);
        let present: Vec<(MediaPeer, Mode)> =
            sides.iter().flatten().filter_map(|side| Some((side.peer?, self.mode))).collect();
        if present == self.present {
            return;
        }
        for (gone, _) in self.present.iter().filter(|(peer, _)| present.iter().all(|(other, _)| other != peer)) {
            tell(supervisor.mix(*gone, [None; 2], None));
        }
        let conference = self.mode.conference();
        for (place, side) in sides.iter().enumerate().filter_map(|(place, side)| Some((place, side.as_ref()?))) {
            let Some(peer) = side.peer else { continue };
            // What is whispered is for the office alone.
            let is_heard = conference.hears(place, SUPERVISOR) && (side.is_office || self.mode == Mode::Barge);
            let tone = self.tone.clone().filter(|_| self.present.iter().all(|(known, _)| *known != peer));
            tell(supervisor.mix(peer, [is_heard.then(|| Source::Brought(supervisor.peer())), None], tone));
        }
        // The supervisor hears by the tone that the key was taken.
        let sources = sides.map(|side| side.map(|side| side.sound));
        tell(supervisor.mix(supervisor.peer(), sources, Some(Arc::clone(&TONE))));
        self.present = present;
    }

    /// The sides by their places: the one outside, and ours.
    fn sides(&self, talk: &Talk) -> [Option<Side>; 2] {
        let person = |seat: &Seat| Side {
            sound: Source::Brought(seat.sound),
            peer: Some(seat.sound),
            is_office: seat.extension.is_some(),
        };
        match talk {
            Talk::Nobody | Talk::Feature => [None, None],
            // What the box says is no leg of its own.
            Talk::Waiting(caller) | Talk::Attendant(caller) => {
                [Some(person(caller)), Some(Side { sound: Source::Played(caller.sound), peer: None, is_office: true })]
            }
            Talk::People([caller, callee]) => match self.rank(caller) > self.rank(callee) {
                true => [Some(person(callee)), Some(person(caller))],
                false => [Some(person(caller)), Some(person(callee))],
            },
        }
    }

    /// How much they are our side: the one who is supervised, then anybody of the office.
    fn rank(&self, seat: &Seat) -> u8 {
        match &seat.extension {
            Some(_) if seat.extension == self.extension => 2,
            Some(_) => 1,
            None => 0,
        }
    }

    /// Everybody hears what they heard before.
    fn leave(&mut self, supervisor: &MediaSession) {
        for (peer, _) in self.present.drain(..) {
            tell(supervisor.mix(peer, [None; 2], None));
        }
    }
}

/// One side of the call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Side {
    sound: Source,
    /// Where it hears; `None` for the box.
    peer: Option<MediaPeer>,
    is_office: bool,
}

fn tell(sent: Result<(), crate::io::media::MediaUnavailable>) {
    if let Err(error) = sent {
        warn!(%error, "Media command lost");
    }
}
