//! Reaching whom somebody asks for: a number becomes phones that ring or a trunk that is dialled, until one answers.

use std::sync::Arc;
use std::time::Duration;

use rand::seq::SliceRandom as _;
use sip_stack::message::{HeaderName, NameAddr, StatusCode};
use tokio::sync::{mpsc, watch};
use tracing::{info, warn};

use super::bridge::Party;
use super::carriers::Place;
use super::dial::{Progress, Ringing, Witness, dial};
use super::emergency;
use super::incoming::CallerKind;
use super::ring::{Rung, ring};
use super::services::Services;
use super::task::End;
use crate::dial_plan::{self, Decision, Denial, Feature, RingPlan, Target};
use crate::storage::Diversion;

/// Targets that point to each other are followed so often.
const HOP_LIMIT: usize = 6;

/// How long somebody outside rings: as long as carriers let it at most.
const OUTSIDE_RING_LIMIT: Duration = Duration::from_secs(180);

/// Who wants whom.
#[derive(Debug, Clone)]
pub(super) struct Wish {
    /// The number as dialled.
    pub(super) dialled: String,
    /// Who dials.
    pub(super) caller: CallerKind,
    /// What phones that ring for it show.
    pub(super) from: NameAddr,
}

/// What came of it.
pub(super) enum Reached {
    /// Somebody answered.
    Answered {
        party: Box<Party>,
        /// What it takes on trunks.
        places: Vec<Place>,
    },
    /// Nobody did.
    Nobody(StatusCode),
}

/// Where a call is to go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Course {
    /// The box answers it.
    Attendant,
    /// The box answers it and asks for a message, for the mailbox of this name or for the office.
    Voicemail(Option<String>),
    /// Phones ring.
    Ring(RingPlan),
    /// The caller waits until somebody of a queue is free.
    Queue(String),
    /// No call to anybody: the phone wants something of the box.
    Feature(Feature),
    /// A trunk is dialled.
    Outside(Outside),
    /// It is refused.
    Refuse(StatusCode, End),
}

/// A number outside.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Outside {
    /// As the trunk wants it.
    pub(super) number: String,
    /// Neither limits nor locks hold.
    pub(super) is_emergency: bool,
    /// The extension whose calls go there.
    pub(super) diverted_by: Option<String>,
}

/// Where a call of `caller` to `called` goes.
pub(super) fn course(services: &Services, caller: &CallerKind, called: Option<&str>) -> Course {
    let is_open = services.is_open();
    let config = &services.config;
    let target = match caller {
        CallerKind::Trunk(_) => dial_plan::inbound(config, called, is_open),
        // A test caller or an exchange: extensions by their number, anything else as if it came from outside.
        CallerKind::Guest => match called.filter(|called| config.has_extension(called)) {
            Some(extension) => Target::Extension(extension.to_owned()),
            None => dial_plan::inbound(config, called, is_open),
        },
        CallerKind::Extension(_) => match dial_plan::from_phone(config, called.unwrap_or_default(), is_open) {
            Decision::Inside(target) => target,
            Decision::Outside { .. } if services.minutes_are_used_up() => {
                warn!("Phones have talked outside today for as long as they may");
                return denied(Denial::DailyLimit);
            }
            Decision::Outside { number } => return Course::Outside(Outside { number, ..Outside::default() }),
            Decision::Emergency { number } => {
                return Course::Outside(Outside { number, is_emergency: true, diverted_by: None });
            }
            Decision::Feature(feature) => return Course::Feature(feature),
            Decision::Denied(denial) => return denied(denial),
        },
    };
    course_to(services, &target)
}

fn denied(denial: Denial) -> Course {
    let status = match denial {
        Denial::NoSuchNumber => StatusCode::NOT_FOUND,
        Denial::NotAllowed | Denial::NightLock | Denial::DailyLimit => StatusCode::FORBIDDEN,
    };
    Course::Refuse(status, End::denied(denial.cause()))
}

/// Where a call to `target` goes, by what its extension wants.
pub(super) fn course_to(services: &Services, target: &Target) -> Course {
    let mut target = target.clone();
    for _ in 0..HOP_LIMIT {
        let Target::Extension(extension) = &target else { break };
        let Diversion { do_not_disturb, forward_to } = services.diversions.of(extension);
        if let Some(to) = forward_to {
            match dial_plan::from_phone(&services.config, &to, services.is_open()) {
                Decision::Inside(another) if another != target => {
                    target = another;
                    continue;
                }
                Decision::Outside { number } if !services.minutes_are_used_up() => {
                    let diverted_by = Some(extension.clone());
                    return Course::Outside(Outside { number, is_emergency: false, diverted_by });
                }
                // Not any more, or not at this hour: as if its phones had not been forwarded.
                Decision::Inside(_)
                | Decision::Outside { .. }
                | Decision::Emergency { .. }
                | Decision::Feature(_)
                | Decision::Denied(_) => {}
            }
        }
        let unanswered = || services.config.extensions.iter().find(|known| known.number == *extension);
        match unanswered().filter(|_| do_not_disturb) {
            Some(extension) => target = extension.unanswered.clone(),
            None => break,
        }
    }
    match target {
        Target::Queue(name) => return Course::Queue(name),
        Target::Voicemail => return Course::Voicemail(None),
        Target::Mailbox(name) => {
            // As it is written there, whatever the letters are here.
            let mailbox = services.config.mailbox(&name);
            return Course::Voicemail(mailbox.map(|mailbox| mailbox.name.clone()));
        }
        Target::Attendant | Target::Extension(_) | Target::Group(_) => {}
    }
    let shuffle = |members: &mut Vec<String>| members.shuffle(&mut rand::rng());
    dial_plan::ring_plan(&services.config, &target, shuffle).map_or(Course::Attendant, Course::Ring)
}

/// Where a call goes whose phone says that `number` is to be called instead; `None` where the phone itself could not call
/// that either.
pub(super) fn forwarded(services: &Services, extension: &str, number: &str) -> Option<Course> {
    match dial_plan::from_phone(&services.config, number, services.is_open()) {
        Decision::Inside(target) => Some(course_to(services, &target)),
        Decision::Outside { number } if !services.minutes_are_used_up() => {
            let diverted_by = Some(extension.to_owned());
            Some(Course::Outside(Outside { number, is_emergency: false, diverted_by }))
        }
        Decision::Outside { .. } | Decision::Emergency { .. } | Decision::Feature(_) | Decision::Denied(_) => None,
    }
}

/// Calls until somebody answers. The attendant is nobody here, and a queue neither: they need no answer.
pub(super) async fn reach(services: &Arc<Services>, wish: &Wish) -> Reached {
    let mut course = course(services, &wish.caller, Some(&wish.dialled));
    for _ in 0..HOP_LIMIT {
        match course {
            Course::Attendant | Course::Voicemail(_) | Course::Queue(_) | Course::Feature(_) => {
                return Reached::Nobody(StatusCode::TEMPORARILY_UNAVAILABLE);
            }
            Course::Refuse(status, _) => return Reached::Nobody(status),
            Course::Outside(number) => return outside(services, &wish.caller, &number, None).await,
            Course::Ring(plan) => match ring(services, &plan, &wish.from).await {
                Rung::Answered { leg, extension } => {
                    return Reached::Answered {
                        party: Box::new(Party::new(services, *leg, CallerKind::Extension(extension))),
                        places: Vec::new(),
                    };
                }
                Rung::Forwarded(elsewhere) => course = elsewhere,
                Rung::Nobody(status) if plan.unanswered == Target::Attendant => return Reached::Nobody(status),
                Rung::Nobody(_) => course = course_to(services, &plan.unanswered),
            },
        }
    }
    Reached::Nobody(StatusCode::LOOP_DETECTED)
}

/// Dials a number by the first trunk that takes it; `progress` is told what is heard before it answers.
pub(super) async fn outside(
    services: &Arc<Services>,
    caller: &CallerKind,
    wanted: &Outside,
    progress: Option<&mpsc::Sender<Progress>>,
) -> Reached {
    let Outside { number, is_emergency, diverted_by } = wanted;
    let is_emergency = *is_emergency;
    let extension = match (diverted_by, caller) {
        (Some(number), _) | (None, CallerKind::Extension(number)) => services.extension(number),
        (None, CallerKind::Trunk(_) | CallerKind::Guest) => None,
    };
    if is_emergency {
        emergency::tell(services, caller, number);
    }
    let mut last = StatusCode::SERVICE_UNAVAILABLE;
    for carrier in services.carriers.outbound() {
        let all = services.outbound.enter(services.config.outbound.concurrent_limit);
        let mut places = match (all, carrier.enter()) {
            (Some(all), Some(place)) => vec![all, place],
            (all, place) if is_emergency => all.into_iter().chain(place).collect(),
            (None, _) | (_, None) => {
                info!(trunk = carrier.trunk.name, "Trunk has as many calls as it may");
                continue;
            }
        };
        let destinations = carrier.destinations(&services.sip).await;
        let Some(mut callee) = carrier.callee(&destinations, number, extension) else { continue };
        if let Some(progress) = progress {
            // Whoever cannot keep up hears the rest of it.
            let _ = progress.try_send(Progress::Dials(carrier.index));
        }
        if is_emergency {
            callee.headers.push(emergency::priority());
        }
        if diverted_by.is_some() {
            callee.headers.push(diversion(&callee.from));
        }
        // Dropped with this future: the carrier is then told to stop ringing.
        let (_ringing, told) = watch::channel(Ringing::On);
        let placed = tokio::spawn({
            let (services, witness) = (Arc::clone(services), progress.cloned().map_or(Witness::None, Witness::Caller));
            async move { dial(&services, callee, told, witness).await }
        });
        let Ok(placed) = tokio::time::timeout(OUTSIDE_RING_LIMIT, placed).await else {
            return Reached::Nobody(StatusCode::TEMPORARILY_UNAVAILABLE);
        };
        match placed {
            Ok(Ok(leg)) => {
                if let Some(place) = places.first_mut() {
                    place.run(&services.minutes);
                }
                let party = Party::new(services, leg, CallerKind::Trunk(carrier.index)).by_trunk(&carrier.trunk.name);
                let party = party.shown_as(services.number_outside(number));
                return Reached::Answered { party: Box::new(party), places };
            }
            // A trunk that does not know the number of the fire brigade is no reason not to ask the next.
            Ok(Err(refusal)) if is_final(refusal.status) && !is_emergency => return Reached::Nobody(refusal.status),
            Ok(Err(refusal)) => {
                warn!(trunk = carrier.trunk.name, status = refusal.status.as_u16(), "Trunk did not take the call");
                last = told_to_phone(refusal.status);
            }
            Err(error) => warn!(%error, "Call task panicked"),
        }
    }
    Reached::Nobody(last)
}

/// Who the call was for before it went on to the trunk (RFC 5806).
fn diversion(of: &NameAddr) -> (HeaderName, String) {
    (HeaderName::DIVERSION, format!("{of};reason=unconditional"))
}

/// What a phone hears of a trunk that did not take its call. Challenges and redirections were meant for us: the phone would
/// answer a 407 with its own password, to nobody.
fn told_to_phone(status: StatusCode) -> StatusCode {
    match status {
        StatusCode::UNAUTHORIZED | StatusCode::PROXY_AUTHENTICATION_REQUIRED => StatusCode::FORBIDDEN,
        _ if status.class() == 3 => StatusCode::SERVICE_UNAVAILABLE,
        _ => status,
    }
}

/// What the called person or the number itself said: another trunk would hear the same.
fn is_final(status: StatusCode) -> bool {
    matches!(
        status,
        StatusCode::BUSY_HERE
            | StatusCode::BUSY_EVERYWHERE
            | StatusCode::DECLINE
            | StatusCode::NOT_FOUND
            | StatusCode::GONE
            | StatusCode::ADDRESS_INCOMPLETE
            | StatusCode::TEMPORARILY_UNAVAILABLE
            | StatusCode::REQUEST_TERMINATED
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_trunk_says_to_us_is_not_said_to_a_phone() {
        for (trunk, phone) in [(401, 403), (407, 403), (302, 503), (403, 403), (503, 503), (488, 488)] {
            let [trunk, phone] = [trunk, phone].map(|status| StatusCode::new(status).unwrap());
            assert_eq!(told_to_phone(trunk), phone);
        }
    }
}
