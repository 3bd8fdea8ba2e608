//! Calls that take the place of others (RFC 3891): a key beside a lamp that takes what rings there, a call that goes on at
//! another phone, and the end of a transfer whose other call did not pass through this box.
//!
//! Whoever names a dialog rightly has been told its tags, which cannot be guessed: by a phone that talks in it, or, while
//! it rings, by our own lamp fields. Besides, it has to be a phone of the office or a trunk.
//!
//! Left out on purpose: callers who talk with the box itself, wait in a queue or are parked. Those are taken by their codes.

use std::sync::Arc;

use sip_stack::endpoint::CallHandle;
use sip_stack::message::StatusCode;
use tracing::info;

use super::features;
use super::incoming::{CallerKind, Incoming};
use super::serve::answered_party;
use super::task::End;

/// Serves a call that wants to take the place of `leg`.
pub(super) async fn replace(incoming: &mut Incoming, leg: CallHandle) -> Result<(), End> {
    let services = Arc::clone(&incoming.services);
    if incoming.caller == CallerKind::Guest {
        return Err(incoming.reject(StatusCode::FORBIDDEN, End::denied("may_not_replace")).await);
    }
    incoming.prepare().await?;
    // Only phones of the office may answer what rings for others.
    if let CallerKind::Extension(by) = &incoming.caller
        && let Some(claim) = services.pickups.claim_leg(by, leg)
    {
        return features::take(incoming, Some(claim)).await;
    }
    if !services.bridges.has(leg) {
        info!("Nothing there to take the place of");
        // It was there when the endpoint looked for it, so it is over now (RFC 3891 §3).
        return Err(incoming.reject(StatusCode::DECLINE, End::denied("nothing_to_replace")).await);
    }
    let party = answered_party(incoming).await?;
    let is_in = services.bridges.replace(leg, party).await;
    let end = if is_in { End::TRANSFERRED } else { End::CALLEE_HANGUP };
    incoming.close_as(end, "answered_by_person").await;
    Ok(())
}
