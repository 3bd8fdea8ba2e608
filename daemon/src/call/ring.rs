//! Phones that ring for a caller: those of one step together, the steps one after the other, the first that answers wins.

use std::sync::Arc;
use std::time::{Duration, Instant};

use sip_stack::endpoint::{Destination, Transport};
use sip_stack::message::{NameAddr, StatusCode};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tracing::info;

use super::dial::{Callee, Refusal, Ringing, Witness, dial};
use super::lamps::{DialogState, Lit};
use super::leg::Leg;
use super::pickups::Offered;
use super::reach::{Course, forwarded};
use super::services::Services;
use crate::dial_plan::RingPlan;
use crate::registrar::Binding;

/// What ringing came to.
pub(super) enum Rung {
    /// Somebody took the call.
    Answered {
        leg: Box<Leg>,
        /// Whose phone it was.
        extension: String,
    },
    /// The only phone that was called is forwarded by itself (302): the call goes on there.
    Forwarded(Course),
    /// Nobody did: the last reason, by its weight for the caller.
    Nobody(StatusCode),
}

/// Rings the phones of a plan for `from`, until somebody answers. Dropping the future ends the ringing.
pub(super) async fn ring(services: &Arc<Services>, plan: &RingPlan, from: &NameAddr) -> Rung {
    let mut last = StatusCode::TEMPORARILY_UNAVAILABLE;
    for step in &plan.steps {
        let now = Instant::now();
        let of = |extension: &String| {
            // Of somebody who is called alone that has been asked before.
            let takes_part = step.len() == 1 || services.diversions.takes_part(extension);
            let bindings = if takes_part { services.phones.bindings(extension, now) } else { Vec::new() };
            bindings.into_iter().map(|binding| (extension.clone(), binding)).collect::<Vec<_>>()
        };
        let bindings: Vec<(String, Binding)> = step.iter().flat_map(of).collect();
        info!(extensions = step.len(), phones = bindings.len(), "Phones ring");
        if bindings.is_empty() {
            continue;
        }
        let offered = services.pickups.offer(step);
        let limit = Duration::from_secs(plan.step_seconds.into());
        match ring_together(services, bindings, from, (limit, offered)).await {
            Ok((extension, leg)) => return Rung::Answered { leg: Box::new(leg), extension },
            Err(Refusal { status, instead }) => {
                last = status;
                // One of several is no reason to leave the others alone.
                if let ([extension], Some(number)) = (step.as_slice(), instead)
                    && let Some(course) = forwarded(services, extension, &number)
                {
                    info!("Phone is forwarded by itself");
                    return Rung::Forwarded(course);
                }
            }
        }
    }
    Rung::Nobody(last)
}

async fn ring_together(
    services: &Arc<Services>,
    bindings: Vec<(String, Binding)>,
    from: &NameAddr,
    (limit, mut offered): (Duration, Offered),
) -> Result<(String, Leg), Refusal> {
    // Dropped with this future: whoever rings then is told to stop.
    let (ringing, told) = watch::channel(Ringing::On);
    let mut phones = JoinSet::new();
    for (extension, binding) in bindings {
        let lit = Lit::new(services, &extension, DialogState::Early);
        let witness = Witness::Lamp { lit, note: offered.leg_note() };
        let (services, told, callee) = (Arc::clone(services), told.clone(), phone(services, binding, from));
        // Not in the set: a phone that is told to stop still has to be cancelled, by somebody who waits for that.
        let placed = tokio::spawn(async move { dial(&services, callee, told, witness).await });
        phones.spawn(async move { (extension, placed.await) });
    }
    let mut refused = Refusal { status: StatusCode::TEMPORARILY_UNAVAILABLE, instead: None };
    let deadline = tokio::time::sleep(limit);
    tokio::pin!(deadline);
    loop {
        tokio::select! {
            rung = phones.join_next() => match rung {
                Some(Ok((extension, Ok(Ok(leg))))) => {
                    ringing.send_replace(Ringing::AnsweredElsewhere);
                    return Ok((extension, leg));
                }
                Some(Ok((_, Ok(Err(refusal))))) => refused = weightier(refused, refusal),
                Some(Ok((_, Err(_))) | Err(_)) => {}
                None => return Err(refused),
            },
            claim = offered.claimed() => {
                info!("Picked up by another phone");
                ringing.send_replace(Ringing::AnsweredElsewhere);
                // Nothing comes if the phone that wanted it has failed in the meantime.
                return claim.leg.await.map(|leg| (claim.extension, leg)).map_err(|_| refused);
            }
            () = &mut deadline => {
                ringing.send_replace(Ringing::Over);
                return Err(refused);
            }
        }
    }
}

/// Busy says more than not there, and what a person pressed (decline) more than either.
fn weightier(one: Refusal, other: Refusal) -> Refusal {
    let weight = |refusal: &Refusal| match refusal.status {
        StatusCode::DECLINE => 3,
        StatusCode::BUSY_HERE | StatusCode::BUSY_EVERYWHERE => 2,
        _ => 1,
    };
    if weight(&other) >= weight(&one) { other } else { one }
}

fn phone(services: &Services, binding: Binding, from: &NameAddr) -> Callee {
    // A connection that is gone is tried at the phone's own address, if that is one.
    let own = binding.contact.host.ip().map(|address| Destination {
        transport: binding.destination.transport,
        peer: (address, binding.contact.port.unwrap_or(binding.destination.transport.default_port())).into(),
    });
    Callee {
        target: binding.contact,
        from: from.clone(),
        destination: binding.destination,
        alternatives: own.into_iter().filter(|own| *own != binding.destination).collect(),
        route: binding.path,
        credentials: Vec::new(),
        headers: Vec::new(),
        srtp: services.config.media.srtp,
        // Over TLS the keys are safe, and phones that are set up so often take nothing else.
        prefers_srtp: binding.destination.transport == Transport::Tls,
        is_wideband: services.config.media.wideband_enabled,
    }
}
