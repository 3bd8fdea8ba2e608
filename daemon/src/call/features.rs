//! Calls of phones that are for nobody: to take a call from elsewhere, or to say what becomes of the own calls.

use std::sync::Arc;

use audio::dsp::tone::beep;
use sip_stack::message::StatusCode;
use tokio::sync::{oneshot, watch};
use tracing::{info, warn};

use super::incoming::{CallerKind, Incoming};
use super::leg::Leg;
use super::mailbox::mailbox;
use super::paging::page;
use super::serve::answered_party;
use super::services::Services;
use super::supervise::supervise;
use super::task::End;
use super::up::Talk;
use super::waiting::Waiting;
use crate::dial_plan::{Decision, Feature, from_phone};
use crate::speaker::SPEECH_SAMPLE_RATE;

/// Serves a phone that has dialled a code.
pub(super) async fn serve(incoming: &mut Incoming, feature: Feature, stop: watch::Receiver<bool>) -> Result<(), End> {
    let CallerKind::Extension(by) = incoming.caller.clone() else {
        return Err(incoming.reject(StatusCode::FORBIDDEN, End::denied("no_such_number")).await);
    };
    let services = Arc::clone(&incoming.services);
    match feature {
        Feature::PickUp { extension } => {
            let claim = services.pickups.claim(&by, extension.as_deref(), &colleagues(&services, &by));
            take(incoming, claim).await
        }
        Feature::Supervise { extension } => supervise(incoming, &by, extension, stop).await,
        Feature::TakeOver => take_over(incoming, &by).await,
        Feature::Park { place } => take(incoming, services.pickups.claim_parked(&by, place)).await,
        Feature::DoNotDisturb { is_on } => {
            let changed = services.diversions.change(&services.storage, &by, |own| own.do_not_disturb = is_on).await;
            let sentence = if is_on { "Do not disturb is on." } else { "Do not disturb is off." };
            confirm(incoming, changed.is_ok(), sentence, stop).await
        }
        Feature::Forward { to } => {
            if let Some(Err(status)) = to.as_deref().map(|to| may_forward(&services, &by, to)) {
                return Err(incoming.reject(status, End::denied("number_not_allowed")).await);
            }
            let sentence = if to.is_some() { "Your calls are forwarded." } else { "Your calls are not forwarded." };
            let changed = services.diversions.change(&services.storage, &by, |own| own.forward_to = to).await;
            confirm(incoming, changed.is_ok(), sentence, stop).await
        }
        Feature::Page => page(incoming, stop).await,
        Feature::Mailbox => Box::pin(mailbox(incoming, &by, stop)).await,
    }
}

/// Everybody who is in a group or a queue with `extension`, and itself.
fn colleagues(services: &Services, extension: &str) -> Vec<String> {
    let groups = services.config.ring_groups.iter().map(|group| &group.members);
    let queues = services.config.queues.iter().map(|queue| &queue.members);
    let own = groups.chain(queues).filter(|members| members.iter().any(|member| member == extension));
    own.flatten().cloned().collect()
}

/// The phone is answered, and talks with whoever was there.
pub(super) async fn take(incoming: &mut Incoming, claim: Option<oneshot::Sender<Leg>>) -> Result<(), End> {
    let Some(claim) = claim else {
        info!("Nothing there to pick up");
        return Err(incoming.reject(StatusCode::NOT_FOUND, End::denied("nothing_to_pick_up")).await);
    };
    let leg = incoming.answer().await?;
    // Whoever called has given up in the meantime: the leg comes back, and hangs up when it is dropped.
    let taken = claim.send(leg).is_ok();
    incoming.close_as(if taken { End::TRANSFERRED } else { End::CALLER_HANGUP }, "picked_up").await;
    Ok(())
}

/// The phone is answered, and has the caller with whom the attendant talks as soon as it has heard who that is.
async fn take_over(incoming: &mut Incoming, by: &str) -> Result<(), End> {
    let services = Arc::clone(&incoming.services);
    if !services.up.is_anybody_attended() {
        info!("Nobody there to take over");
        return Err(incoming.reject(StatusCode::NOT_FOUND, End::denied("nothing_to_take_over")).await);
    }
    let phone = answered_party(incoming).await?;
    // The caller has gone in the meantime: the phone is dropped, and hung up.
    let taken = services.up.take_over_latest(by, phone);
    incoming.close_as(if taken.is_some() { End::TRANSFERRED } else { End::CALLER_HANGUP }, "picked_up").await;
    Ok(())
}

/// Whether the calls of `extension` may go to what is dialled as `to`.
fn may_forward(services: &Services, extension: &str, to: &str) -> Result<(), StatusCode> {
    match from_phone(&services.config, to, true) {
        Decision::Inside(target) if target != crate::dial_plan::Target::Extension(extension.to_owned()) => Ok(()),
        Decision::Outside { .. } => Ok(()),
        Decision::Inside(_) | Decision::Emergency { .. } | Decision::Feature(_) => Err(StatusCode::FORBIDDEN),
        Decision::Denied(_) => Err(StatusCode::NOT_FOUND),
    }
}

/// Says what holds from now on, or that nothing has changed; two tones instead without a voice, and one for the latter.
async fn confirm(
    incoming: &mut Incoming,
    has_changed: bool,
    sentence: &str,
    stop: watch::Receiver<bool>,
) -> Result<(), End> {
    if !has_changed {
        warn!("What an extension wants could not be kept");
    }
    let services = Arc::clone(&incoming.services);
    let leg = incoming.answer().await?;
    let (caller, from) = (incoming.caller.clone(), services.outside_identity(None));
    let mut waiting = Waiting::new(Arc::clone(&services), incoming.call_id, leg, (caller, from), stop);
    services.up.note(incoming.call_id, Talk::Feature);
    match services.abilities.text_to_speech {
        true => waiting.say(if has_changed { sentence } else { "That did not work." }).await,
        false => {
            let tones = if has_changed { 2 } else { 1 };
            waiting.play_once(beep(SPEECH_SAMPLE_RATE).repeat(tones).into());
        }
    }
    // A phone that hangs up has heard enough.
    let _ = waiting.until_said().await;
    waiting.finish(End::FEATURE, "feature").await;
    Ok(())
}
