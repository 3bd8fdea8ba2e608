//! Promises that are made in a call, and kept before they are said.

use std::sync::Arc;

use jiff::Zoned;
use tracing::warn;

use super::services::Services;
use crate::conversation::slots::TimeOfDay;
use crate::follow_ups::{Rules, due, promise_with_jobs};
use crate::office::hours::DayQuery;
use crate::redact::Redacted;
use crate::storage::{CallId, FollowUp, FollowUpChannel, FollowUpId, FollowUpState, UnixMs, VoicemailId, reference_of};

/// What is to be promised.
pub(super) struct Promised {
    pub(super) call_id: CallId,
    /// Where they are called.
    pub(super) number: String,
    /// Who they are, as they said.
    pub(super) name: Option<String>,
    /// Who calls; `None`: whoever comes first.
    pub(super) owner: Option<String>,
    /// When, as far as that was said.
    pub(super) day: Option<DayQuery>,
    pub(super) time: Option<TimeOfDay>,
    /// The same in words.
    pub(super) due_text: Option<String>,
}

/// A promise that is kept.
pub(super) struct Kept {
    pub(super) id: FollowUpId,
    /// Four digits by which the caller may ask for it.
    pub(super) reference: String,
    /// When it is due, in the office's time.
    pub(super) due: Zoned,
}

/// Keeps that somebody calls back; `None` if that could not be kept: then it is not to be promised.
pub(super) async fn keep(services: &Arc<Services>, wanted: Promised) -> Option<Kept> {
    let Promised { call_id, number, name, owner, day, time, due_text } = wanted;
    let (at, now) = (UnixMs::now(), Zoned::now());
    let id = FollowUpId::new(at);
    let reference = reference_of(VoicemailId::from(*id.as_uuid()));
    let due = due(day.as_ref(), time, &services.staff.office().calendar, &now);
    let promise = FollowUp {
        follow_up_id: id,
        reference: reference.clone(),
        call_id: Some(call_id),
        turn_id: None,
        voicemail_id: None,
        owner,
        channel: FollowUpChannel::Phone,
        contact: Some(Redacted::new(number)),
        contact_name: name.map(Redacted::new),
        task: Redacted::new("call back".to_owned()),
        due_at: UnixMs(due.timestamp().as_millisecond()),
        due_text,
        state: FollowUpState::Open,
        reminded_at: None,
        escalated_at: None,
        acknowledged_by: None,
        closed_reason: None,
        created_at: at,
    };
    let rules = Rules::from(&services.config.notices);
    let kept = services.storage.write(move |sql_tx| promise_with_jobs(sql_tx, &promise, &rules)).await;
    if let Err(error) = kept {
        warn!(%error, "A promise could not be kept, so it is not made");
        return None;
    }
    services.bell.ring();
    Some(Kept { id, reference, due })
}
