//! What is kept of boxes and rollouts, as it is told to operators.

use cloud_api::v1;
use cloud_api::v1::{command_record, desired_version, rollout};

use super::audit::{Asked, AuditEntry};
use super::document::{BoxDocument, CommandRecord, DesiredState, Outcome};
use super::rollout::{Rollout, State};
use crate::store::BoxRecord;

/// A box that was heard within this time counts as connected: it is noted once a minute, and its silence ends a stream.
const CONNECTED_MS: i64 = 3 * 60_000;

/// A box and the latest wish about it. `sections`: with what is wished.
pub(super) fn of_box(record: &BoxRecord, document: &BoxDocument, sections: bool, now: i64) -> v1::Box {
    let connected = record.revoked_at.is_none()
        && record.heard_at.is_some_and(|heard_at| now.saturating_sub(heard_at) <= CONNECTED_MS);
    v1::Box {
        box_id: record.name.box_id.clone(),
        release: record.release.clone(),
        epoch: record.state.as_ref().map_or(0, |state| state.epoch),
        connected,
        last_heard_unix_ms: record.heard_at.unwrap_or(0),
        equal_unix_ms: record.equal_at.unwrap_or(0),
        tenant_id: record.name.tenant_id.clone(),
        enrolled_unix_ms: record.enrolled_at,
        revoked_unix_ms: record.revoked_at,
        watermark: record.state.as_ref().map_or(0, |state| state.watermark),
        silent_since_unix_ms: record.silent_since,
        desired: document.desired.as_ref().map(|desired| of_desired(desired, sections)),
    }
}

/// Everything about a box.
pub(super) fn of_whole_box(record: &BoxRecord, document: &BoxDocument, now: i64) -> v1::GetBoxResponse {
    v1::GetBoxResponse {
        r#box: Some(of_box(record, document, true, now)),
        history: document.history.iter().map(|desired| of_desired(desired, true)).collect(),
        commands: document.commands.iter().map(of_command).collect(),
    }
}

fn of_desired(desired: &DesiredState, sections: bool) -> v1::DesiredVersion {
    let DesiredState { version, sections: texts, set_at, set_by, outcome } = desired;
    let (state, detail, at) = match outcome {
        Outcome::Unsent => (desired_version::State::Unsent, "", *set_at),
        Outcome::Pending { detail, at } => (desired_version::State::Pending, detail.as_str(), *at),
        Outcome::Applied { at } => (desired_version::State::Applied, "", *at),
        Outcome::Rejected { detail, at } => (desired_version::State::Rejected, detail.as_str(), *at),
        Outcome::Superseded => (desired_version::State::Superseded, "", 0),
    };
    v1::DesiredVersion {
        version: *version,
        sections_toml: if sections { texts.clone().into_iter().collect() } else { Default::default() },
        set_at_unix_ms: *set_at,
        set_by: set_by.clone(),
        state: state.into(),
        detail: detail.to_owned(),
        state_unix_ms: at,
    }
}

fn of_command(command: &CommandRecord) -> v1::CommandRecord {
    let result = command.result.as_ref().map(|result| command_record::Result {
        done: result.done,
        detail: result.detail.clone(),
        at_unix_ms: result.at,
    });
    v1::CommandRecord {
        command_id: command.command_id.clone(),
        name: command.name.clone(),
        arguments: command.arguments.clone().into_iter().collect(),
        sent_by: command.sent_by.clone(),
        sent_at_unix_ms: command.sent_at,
        expires_at_unix_ms: command.expires_at,
        result,
    }
}

/// A rollout as it goes.
pub(super) fn of_rollout(id: &str, document: &Rollout) -> v1::Rollout {
    let (state, detail, at) = match &document.state {
        State::Running => (rollout::State::Running, "", 0),
        State::Halted { reason, at } => (rollout::State::Halted, reason.as_str(), *at),
        State::Done { at } => (rollout::State::Done, "", *at),
    };
    v1::Rollout {
        rollout_id: id.to_owned(),
        sections_toml: document.sections.clone().into_iter().collect(),
        box_ids: document.boxes.clone(),
        cohorts_percent: document.cohorts.iter().map(|per_cent| u32::from(*per_cent)).collect(),
        soak_ms: document.soak_ms,
        limit_ms: document.limit_ms,
        started_by: document.by.clone(),
        started_unix_ms: document.began_at,
        state: state.into(),
        detail: detail.to_owned(),
        state_unix_ms: at,
        stage: u32::try_from(document.stage).unwrap_or(u32::MAX),
        stage_unix_ms: document.stage_at,
        stage_applied_unix_ms: document.applied_at,
        versions: document.versions.clone().into_iter().collect(),
    }
}

/// An entry of the audit; one that is not to be understood is shown as it is kept.
pub(super) fn of_audit(entry: &AuditEntry, before: Option<&AuditEntry>) -> v1::AuditEntry {
    let asked: Option<Asked> = serde_json::from_str(&entry.body).ok();
    let mut message = v1::AuditEntry {
        number: entry.number,
        at_unix_ms: entry.at,
        hash: entry.hash.to_vec().into(),
        intact: entry.follows(before),
        ..v1::AuditEntry::default()
    };
    match asked {
        Some(Asked { operator, role, at_console, action, target, detail, allowed }) => {
            message.operator = if at_console { format!("{operator} (console)") } else { operator };
            (message.role, message.action, message.target) = (role, action, target);
            (message.detail, message.allowed) = (detail, allowed);
        }
        None => message.detail.clone_from(&entry.body),
    }
    message
}
