//! A call that is answered and goes on: to the attendant, to phones, into a queue, to a place where it is parked.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use sip_stack::message::StatusCode;
use tokio::sync::watch;
use tracing::info;

use super::bridge::{Bridge, Party};
use super::carriers::Place;
use super::hand_over::{HandOver, hand_over};
use super::incoming::CallerKind;
use super::lamps::{DialogState, Lit};
use super::pickups::Offered;
use super::queue::wait_in_line;
use super::reach::{Course, Outside, Reached, course_to, outside};
use super::referral::Referred;
use super::ring::{Rung, ring};
use super::task::{CallTask, End};
use super::waiting::{Interrupted, Patience, Waiting};
use crate::conversation::escalation::Caller;
use crate::conversation::machine::{Opening, Unreached};
use crate::dial_plan::Target;
use crate::storage::open_promise_to;

/// Targets that point to each other are followed so often; then the attendant talks with the caller.
const HOP_LIMIT: usize = 6;

/// What the database does not say about a caller by then is not known.
const LOOK_UP_LIMIT: Duration = Duration::from_millis(200);

/// Where somebody goes who is answered already.
pub(super) enum Onward {
    /// As the dial plan says.
    Course(Course),
    /// They are left at a place until somebody takes them.
    Parked {
        /// 1 to 9.
        place: u8,
        /// By which they are taken.
        offered: Offered,
        /// The extension that parked them, which rings when nobody does.
        by: String,
    },
    /// The attendant gives them to somebody.
    HandOver(HandOver),
}

/// What one step came to.
pub(super) enum Step {
    /// Somebody talks with them.
    Connected {
        /// Who.
        party: Box<Party>,
        /// What it takes on trunks.
        places: Vec<Place>,
    },
    /// Nobody did, and they go on.
    Next(Onward),
    /// The box talks with them itself.
    Attend,
    /// The box does, and begins like this.
    AttendWith(Opening),
    /// The box asks them for a message.
    TakeMessage,
    /// Their carrier connects them with somebody.
    SentOn,
}

/// Talks until the call is over, wherever one of the two sends the other.
pub(super) fn talk(bridge: Bridge, stop: watch::Receiver<bool>) -> Pin<Box<dyn Future<Output = ()> + Send>> {
    Box::pin(async move {
        if let Some((waiting, next)) = bridge.run(stop).await {
            onward(waiting, next).await;
        }
    })
}

/// Follows `next` until somebody talks with them and the call is over.
pub(super) async fn onward(mut waiting: Waiting, mut next: Onward) {
    let mut opening = Opening::Greeting;
    for _ in 0..HOP_LIMIT {
        let step = match next {
            Onward::Course(course) => Box::pin(follow(&mut waiting, course)).await,
            Onward::HandOver(wanted) => Box::pin(hand_over(&mut waiting, wanted)).await,
            Onward::Parked { place, offered, by } => Box::pin(parked(&mut waiting, place, offered, by)).await,
        };
        match step {
            Ok(Step::Connected { party, places }) => return Box::pin(connect(waiting, *party, places)).await,
            Ok(Step::Next(another)) => next = another,
            Ok(Step::SentOn) => return Box::pin(waiting.finish(End::TRANSFERRED, "transferred_outside")).await,
            Ok(step @ (Step::Attend | Step::TakeMessage | Step::AttendWith(_))) => {
                let opening_now = match step {
                    Step::AttendWith(opening) => opening,
                    Step::TakeMessage => Opening::Message,
                    Step::Connected { .. } | Step::Next(_) | Step::Attend | Step::SentOn => opening,
                };
                let Some((handed_over, to)) = Box::pin(attend(waiting, opening_now)).await else { return };
                (waiting, opening) = (handed_over, Opening::NobodyAnswered);
                next = Onward::HandOver(to);
            }
            Err(interrupted) => return Box::pin(end(waiting, interrupted)).await,
        }
    }
    if let Some((waiting, _)) = Box::pin(attend(waiting, opening)).await {
        // Asked for a person again and again, and never found one.
        let congestion = Arc::clone(&waiting.services.tones.congestion);
        Box::pin(waiting.finish_with(congestion, End::NO_ANSWER, "abandoned")).await;
    }
}

pub(super) async fn follow(waiting: &mut Waiting, course: Course) -> Result<Step, Interrupted> {
    let services = Arc::clone(&waiting.services);
    waiting.wait_with(if matches!(course, Course::Ring(_)) { Patience::Ringing } else { Patience::Music });
    match course {
        Course::Attendant | Course::Feature(_) | Course::Refuse(..) => Ok(Step::Attend),
        Course::Voicemail(mailbox) => {
            // Of somebody who was wanted before, theirs.
            waiting.mailbox = mailbox.or(waiting.mailbox.take());
            Ok(Step::TakeMessage)
        }
        Course::Queue(name) => wait_in_line(waiting, &name).await,
        Course::Ring(plan) => {
            let from = waiting.from.clone();
            let rung = waiting.until_whatever_is_pressed(ring(&services, &plan, &from)).await?;
            waiting.unreached = match &rung {
                Rung::Nobody(status) => Some(unreached(*status)),
                Rung::Answered { .. } | Rung::Forwarded(_) => None,
            };
            Ok(match rung {
                Rung::Answered { leg, extension } => {
                    let party = Box::new(Party::new(&services, *leg, CallerKind::Extension(extension)));
                    Step::Connected { party, places: Vec::new() }
                }
                Rung::Forwarded(elsewhere) => Step::Next(Onward::Course(elsewhere)),
                Rung::Nobody(_) if plan.unanswered == Target::Attendant => Step::Attend,
                Rung::Nobody(_) => Step::Next(Onward::Course(course_to(&services, &plan.unanswered))),
            })
        }
        Course::Outside(number) => {
            match referred(waiting, &number).await? {
                Referred::Taken => return Ok(Step::SentOn),
                Referred::Failed(status) => {
                    waiting.unreached = Some(unreached(status));
                    return Ok(Step::Attend);
                }
                Referred::Unsupported => {}
            }
            let caller = waiting.caller.clone();
            let reached = waiting.until_whatever_is_pressed(outside(&services, &caller, &number, None)).await?;
            Ok(match reached {
                Reached::Answered { party, places } => Step::Connected { party, places },
                Reached::Nobody(status) => {
                    waiting.unreached = Some(unreached(status));
                    Step::Attend
                }
            })
        }
    }
}

/// What a refusal says of whoever was rung.
fn unreached(status: StatusCode) -> Unreached {
    match status {
        StatusCode::BUSY_HERE | StatusCode::BUSY_EVERYWHERE => Unreached::Busy,
        StatusCode::DECLINE => Unreached::Declined,
        StatusCode::REQUEST_TIMEOUT | StatusCode::TEMPORARILY_UNAVAILABLE | StatusCode::REQUEST_TERMINATED => {
            Unreached::NoAnswer
        }
        _ => Unreached::Failed,
    }
}

/// Has the carrier of the caller send the call on, if it does such a thing.
async fn referred(waiting: &mut Waiting, wanted: &Outside) -> Result<Referred, Interrupted> {
    match waiting.services.carriers.referral(&waiting.caller, wanted) {
        Some(target) => {
            let referred = waiting.leg.refer(target);
            waiting.until_whatever_is_pressed(referred).await
        }
        None => Ok(Referred::Unsupported),
    }
}

/// Waits at a place; after a while the phone that parked them rings.
async fn parked(waiting: &mut Waiting, place: u8, mut offered: Offered, by: String) -> Result<Step, Interrupted> {
    let services = Arc::clone(&waiting.services);
    info!(place, "Parked");
    waiting.wait_with(Patience::Music);
    let code = format!("{}{place}", services.config.features.park_code);
    let _lit = Lit::new(&services, &code, DialogState::Confirmed);
    let limit = Duration::from_secs(services.config.features.park_timeout_seconds.into());
    let taken = async {
        let claim = tokio::time::timeout(limit, offered.claimed()).await.ok()?;
        // Nothing comes if the phone that wanted it has failed in the meantime.
        Some((claim.leg.await.ok()?, claim.extension))
    };
    Ok(match waiting.until_whatever_is_pressed(taken).await? {
        Some((leg, extension)) => {
            info!(place, "Taken from its place");
            Step::Connected {
                party: Box::new(Party::new(&services, leg, CallerKind::Extension(extension))),
                places: Vec::new(),
            }
        }
        None => {
            info!(place, "Nobody took it from its place");
            Step::Next(Onward::Course(course_to(&services, &Target::Extension(by))))
        }
    })
}

pub(super) async fn connect(mut waiting: Waiting, party: Party, mut places: Vec<Place>) {
    waiting.be_quiet();
    places.append(&mut waiting.places);
    let Waiting { services, call_id, leg, caller, from, stop, .. } = waiting;
    let caller = Party::new(&services, leg, caller).shown_as(from);
    talk(Bridge::new(services, call_id, caller, party).with_places(places), stop).await;
}

/// The box talks with them itself, until the call is over or they are to be connected with somebody.
async fn attend(mut waiting: Waiting, opening: Opening) -> Option<(Waiting, HandOver)> {
    let limit = waiting.services.config.calls.attendant_limit;
    let Some(_place) = waiting.services.attended.enter(limit) else {
        info!(limit, "The box talks with as many callers as it may");
        let busy = Arc::clone(&waiting.services.tones.busy);
        Box::pin(waiting.finish_with(busy, End::ALL_BUSY, "abandoned")).await;
        return None;
    };
    waiting.be_quiet();
    let known = known_caller(&waiting).await;
    CallTask::new(waiting, opening, known).run().await
}

/// What is known of the caller by their number. They do not wait long for it.
async fn known_caller(waiting: &Waiting) -> Caller {
    let escalation = &waiting.services.config.escalation;
    let Some(number) = waiting.number() else { return Caller::default() };
    let is_vip = escalation.is_vip(&number);
    let promised = async {
        let read = waiting.services.storage.read(move |db| open_promise_to(db, &number));
        tokio::time::timeout(LOOK_UP_LIMIT, read).await.ok()?.ok()?
    };
    let promised_by = if escalation.returning_callers_enabled { promised.await } else { None };
    Caller { is_vip, promised_by }
}

async fn end(waiting: Waiting, interrupted: Interrupted) {
    let end = match interrupted {
        Interrupted::Ended(end) => end,
        Interrupted::Pressed(_) => End::CALLER_HANGUP,
    };
    waiting.finish(end, "abandoned").await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_refusal_says_of_whoever_was_rung() {
        for (status, expected) in [
            (486, Unreached::Busy),
            (600, Unreached::Busy),
            (603, Unreached::Declined),
            (408, Unreached::NoAnswer),
            (480, Unreached::NoAnswer),
            (487, Unreached::NoAnswer),
            (404, Unreached::Failed),
            (503, Unreached::Failed),
        ] {
            assert_eq!(unreached(StatusCode::new(status).unwrap()), expected, "{status}");
        }
    }
}
