//! One call from its INVITE to its last row: where it goes, step by step, until somebody talks with the caller.

use std::sync::Arc;

use sip_stack::message::{NameAddr, StatusCode};
use tokio::sync::{mpsc, watch};
use tracing::info;

use super::bridge::{Bridge, Party};
use super::dial::Progress;
use super::features;
use super::incoming::{CallerKind, Incoming};
use super::leg::Leg;
use super::onward::{Onward, onward, talk};
use super::reach::{Course, Outside, Reached, course, course_to, outside};
use super::record::note_trunk;
use super::replace::replace;
use super::ring::{Rung, ring};
use super::task::End;
use super::waiting::Waiting;

/// Targets that point to each other are followed so often; then the attendant answers.
const HOP_LIMIT: usize = 6;

/// News of a call of ours that wait to be passed on.
const PROGRESS_LIMIT: usize = 8;

/// Serves a call until it has ended.
pub(super) async fn serve(mut incoming: Incoming, stop: watch::Receiver<bool>) {
    incoming.open_session().await;
    // Gone with the end of this, however it comes: whoever listens is told.
    let _entry = incoming.services.up.enter(&incoming);
    if let Err(end) = follow(&mut incoming, stop).await {
        incoming.close(end).await;
    }
}

async fn follow(incoming: &mut Incoming, stop: watch::Receiver<bool>) -> Result<(), End> {
    if let Some(leg) = incoming.replaces {
        return Box::pin(replace(incoming, leg)).await;
    }
    let mut course = course(&incoming.services, &incoming.caller, incoming.called().as_deref());
    if let Course::Refuse(status, end) = course {
        return Err(incoming.reject(status, end).await);
    }
    incoming.prepare().await?;
    for _ in 0..HOP_LIMIT {
        match course {
            Course::Attendant | Course::Voicemail(_) => return attend(incoming, course, stop).await,
            Course::Refuse(status, end) => return Err(incoming.reject(status, end).await),
            Course::Outside(number) => return Box::pin(call_outside(incoming, &number, stop)).await,
            Course::Feature(feature) => return Box::pin(features::serve(incoming, feature, stop)).await,
            Course::Queue(_) => {
                let leg = incoming.ring_and_answer().await?;
                Box::pin(onward(waiting(incoming, leg, stop), Onward::Course(course))).await;
                return Ok(());
            }
            Course::Ring(plan) => {
                incoming.ring().await?;
                let (services, from) = (Arc::clone(&incoming.services), shown(incoming));
                let rung = tokio::select! {
                    rung = ring(&services, &plan, &from) => rung,
                    end = incoming.given_up() => return Err(end),
                };
                match rung {
                    Rung::Answered { leg, extension } => {
                        let party = Party::new(&services, *leg, CallerKind::Extension(extension));
                        return Box::pin(connect(incoming, party, stop)).await;
                    }
                    Rung::Forwarded(elsewhere) => {
                        course = elsewhere;
                        continue;
                    }
                    Rung::Nobody(status) => info!(status = status.as_u16(), "Nobody took the call"),
                }
                course = course_to(&services, &plan.unanswered);
            }
        }
    }
    attend(incoming, Course::Attendant, stop).await
}

/// The box talks with the caller itself.
async fn attend(incoming: &mut Incoming, course: Course, stop: watch::Receiver<bool>) -> Result<(), End> {
    let limit = incoming.services.config.calls.attendant_limit;
    let Some(place) = incoming.services.attended.enter(limit) else {
        info!(limit, "Call refused: the box talks with as many callers as it may");
        return Err(incoming.reject(StatusCode::SERVICE_UNAVAILABLE, End::ALL_BUSY).await);
    };
    let leg = incoming.ring_and_answer().await?;
    // Taken again right there.
    drop(place);
    Box::pin(onward(waiting(incoming, leg, stop), Onward::Course(course))).await;
    Ok(())
}

async fn call_outside(incoming: &mut Incoming, number: &Outside, stop: watch::Receiver<bool>) -> Result<(), End> {
    let (services, caller) = (Arc::clone(&incoming.services), incoming.caller.clone());
    let (told, mut progress) = mpsc::channel(PROGRESS_LIMIT);
    let mut tried = None;
    let reached = outside(&services, &caller, number, Some(&told));
    tokio::pin!(reached);
    let reached = loop {
        tokio::select! {
            biased;
            // The caller hears what the carrier lets it hear, and else that it rings when it does.
            Some(progress) = progress.recv() => match progress {
                Progress::Dials(trunk) => tried = Some(trunk),
                Progress::Rings => incoming.ring().await?,
                Progress::Sounds(peer) => incoming.hear(peer).await?,
            },
            reached = &mut reached => break reached,
            end = incoming.given_up() => {
                name_tried(incoming, tried);
                return Err(end);
            }
        }
    };
    match reached {
        Reached::Answered { party, places } => {
            let bridge = answered(incoming, *party).await?;
            talk(bridge.with_places(places), stop).await;
            Ok(())
        }
        Reached::Nobody(status) => {
            name_tried(incoming, tried);
            Err(incoming.reject(status, End::not_reached(status)).await)
        }
    }
}

/// The row of a call that nobody has answered names the trunk that was tried last.
fn name_tried(incoming: &Incoming, tried: Option<usize>) {
    if let Some(carrier) = tried.and_then(|index| incoming.services.carriers.at(index)) {
        note_trunk(&incoming.services.storage, incoming.call_id, &carrier.trunk.name);
    }
}

async fn connect(incoming: &mut Incoming, callee: Party, stop: watch::Receiver<bool>) -> Result<(), End> {
    talk(answered(incoming, callee).await?, stop).await;
    Ok(())
}

/// The callee has answered, so the caller is.
async fn answered(incoming: &mut Incoming, callee: Party) -> Result<Bridge, End> {
    // If the caller is gone by now, the callee's leg is dropped and hangs up.
    let caller = answered_party(incoming).await?;
    Ok(Bridge::new(Arc::clone(&incoming.services), incoming.call_id, caller, callee))
}

/// The caller, answered, for a bridge.
pub(super) async fn answered_party(incoming: &mut Incoming) -> Result<Party, End> {
    let leg = incoming.answer().await?;
    Ok(Party::new(&incoming.services, leg, incoming.caller.clone()).shown_as(shown(incoming)))
}

/// The caller, answered.
fn waiting(incoming: &Incoming, leg: Leg, stop: watch::Receiver<bool>) -> Waiting {
    let whom = (incoming.caller.clone(), shown(incoming));
    Waiting::new(Arc::clone(&incoming.services), incoming.call_id, leg, whom, stop)
}

/// Who calls, as phones show it.
fn shown(incoming: &Incoming) -> NameAddr {
    match &incoming.caller {
        CallerKind::Extension(number) => incoming.services.inside_identity(number),
        CallerKind::Trunk(_) | CallerKind::Guest => incoming.services.outside_identity(incoming.from()),
    }
}

impl End {
    /// A number outside that did not answer.
    pub(super) fn not_reached(status: StatusCode) -> End {
        match status {
            StatusCode::BUSY_HERE | StatusCode::BUSY_EVERYWHERE => End::BUSY,
            StatusCode::DECLINE => End::DECLINED,
            StatusCode::NOT_FOUND | StatusCode::ADDRESS_INCOMPLETE | StatusCode::GONE => End::NO_SUCH_NUMBER,
            StatusCode::REQUEST_TIMEOUT | StatusCode::TEMPORARILY_UNAVAILABLE => End::NO_ANSWER,
            _ => End::TRUNK_FAILED,
        }
    }
}
