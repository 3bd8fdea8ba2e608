//! What operators ask for, whichever way they come: over gRPC with a certificate, or at the service itself.
//!
//! ```text
//! server::fleet ─certificate─► Operator ─┐
//! command line, at the store ────────────┴► Desk: may they? ─► written down ─► done in the store
//! ```
//! Requests and answers are the messages of `fleet.proto`. Whatever changes something, or shows who called, is written down
//! before it is done; so is what was refused.

use std::collections::BTreeMap;

use cloud_api::digest::key_from;
use cloud_api::v1;
use prost::Message as _;

use super::audit::Asked;
use super::document::{CommandRecord, ERASE_CALLER, Wish, WishMistake};
use super::messages::{of_audit, of_box, of_rollout, of_whole_box};
use super::metrics::{COUNTED, Tally};
use super::operator::{ALL_TENANTS, Action, Operator, Role};
use super::rollout::Rollout;
use super::{box_document, change_box, change_rollout, rollouts};
use crate::clock;
use crate::names::{hash_of_code, is_name, new_code};
use crate::store::deliveries::Deliveries as _;
use crate::store::{AnyStore, BoxName, BoxRecord, Claim, Store as _, StoreError};
use crate::sync::TABLES;

/// What a box can be told to do.
pub const COMMANDS: [&str; 7] =
    ["diagnostics", "test-call", "rotate-keys", "restart", "update", "reboot", ERASE_CALLER];

const HOUR_MS: i64 = 3_600_000;
const DAY_MS: i64 = 24 * HOUR_MS;
/// A box that is away for longer comes back to a caller who was not erased, and says so.
const ERASE_DAYS: i64 = 30;
/// How long a command may be worth something, in days.
const COMMAND_DAYS_MAX: i64 = 30;
const PAGE: u32 = 100;
const PAGE_MAX: u32 = 1_000;
/// Of what an entry of the audit says it was about, and how, in characters each.
const NOTED_MAX: usize = 256;
/// Rows that are read at a time.
const ROWS_AT_A_TIME: u32 = 500;
/// Of a message of an export, in bytes; a single row may be larger.
const EXPORT_BYTES: usize = 256 << 10;
const STRETCHES_MAX: i64 = 1_000;
const STEP_MIN_MS: i64 = 60_000;

/// Why something is not done.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// Their role does not allow it.
    #[error("the role {role} may not {}", .action.as_str())]
    Denied {
        /// Theirs.
        role: Role,
        /// What they wanted.
        action: Action,
    },
    /// Another tenant's.
    #[error("tenant {0:?} is not yours")]
    NotYours(String),
    /// Not to be understood, with what was expected.
    #[error("{0}")]
    Wrong(String),
    /// There is no such thing.
    #[error("{0}")]
    Unknown(String),
    /// A configuration that is none.
    #[error(transparent)]
    Wish(#[from] WishMistake),
    /// The store cannot.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Figures that are being counted, a few rows at a time: whoever asks for a year of them holds nobody up.
#[derive(Debug)]
pub struct Counting {
    tally: Tally,
    /// The last is being counted.
    left: Vec<(BoxName, &'static str)>,
    after: String,
    first: String,
    end: String,
}

impl Counting {
    /// The figures, of what was counted.
    pub fn close(self) -> v1::QueryMetricsResponse {
        v1::QueryMetricsResponse { stretches: self.tally.close() }
    }
}

/// Somebody at the store.
#[derive(Debug)]
pub struct Desk<'a> {
    store: &'a AnyStore,
    operator: Operator,
    endpoint: &'a str,
}

impl<'a> Desk<'a> {
    /// For this operator. `endpoint` is what boxes connect to.
    pub fn new(store: &'a AnyStore, operator: Operator, endpoint: &'a str) -> Desk<'a> {
        Desk { store, operator, endpoint }
    }

    /// Whose it is about, if they may ask for it; it is written down.
    fn enter(&self, tenant_id: &str, action: Action, target: &str, detail: &str) -> Result<String, Refusal> {
        let own = self.operator.name.tenant_id.as_deref();
        let tenant = match (own, tenant_id) {
            (Some(own), "") => own,
            (Some(own), asked) if own != asked => {
                self.note(own, action, asked, "of another tenant", false)?;
                return Err(Refusal::NotYours(asked.to_owned()));
            }
            // What was asked about operators of all tenants is nobody's else.
            (None, ALL_TENANTS) if action == Action::SeeAudit => ALL_TENANTS,
            (None, asked) if !is_name(asked) => {
                let expected = "expected the name of a tenant: 1 to 63 lower-case letters, digits and hyphens";
                return Err(Refusal::Wrong(format!("tenant {asked:?}: {expected}")));
            }
            (Some(_) | None, asked) => asked,
        };
        let role = self.operator.role;
        let allowed = role.allows(action);
        if action.is_audited() || !allowed {
            self.note(tenant, action, target, detail, allowed)?;
        }
        if allowed { Ok(tenant.to_owned()) } else { Err(Refusal::Denied { role, action }) }
    }

    fn note(&self, tenant: &str, action: Action, target: &str, detail: &str, allowed: bool) -> Result<(), Refusal> {
        Ok(note(self.store, &self.operator, tenant, action, target, detail, allowed)?)
    }

    /// The box, if there is such a one.
    fn known(&self, tenant_id: String, box_id: &str) -> Result<BoxRecord, Refusal> {
        let of = BoxName { tenant_id, box_id: box_id.to_owned() };
        let found = self.store.known_box(&of)?;
        found.ok_or_else(|| Refusal::Unknown(format!("there is no box {of}: see `offhook-cloud boxes`")))
    }

    /// The boxes of a tenant, or the one that is named.
    fn some_boxes(&self, tenant_id: &str, box_id: &str) -> Result<Vec<BoxRecord>, Refusal> {
        match box_id {
            "" => Ok(self.store.boxes(tenant_id)?),
            box_id => Ok(vec![self.known(tenant_id.to_owned(), box_id)?]),
        }
    }

    /// A page of boxes, in order.
    ///
    /// # Errors
    /// [`Refusal`].
    pub fn list_boxes(&self, request: v1::ListBoxesRequest) -> Result<v1::ListBoxesResponse, Refusal> {
        let limit = page_size(request.page_size)?;
        let everywhere = request.tenant_id.is_empty() && self.operator.name.tenant_id.is_none();
        let tenants = if everywhere {
            self.store.tenants()?
        } else {
            vec![self.enter(&request.tenant_id, Action::SeeBoxes, "", "")?]
        };
        let after = request.page_token.split_once('/').unwrap_or_default();
        let now = clock::unix_ms();
        let mut boxes = Vec::new();
        for tenant in tenants.iter().filter(|tenant| tenant.as_str() >= after.0) {
            let records = self.store.boxes(tenant)?;
            let rest = records.iter().filter(|record| (tenant.as_str(), record.name.box_id.as_str()) > after);
            for record in rest.take(limit + 1 - boxes.len()) {
                boxes.push(of_box(record, &box_document(self.store, &record.name)?, false, now));
            }
            if boxes.len() > limit {
                break;
            }
        }
        let more = boxes.len() > limit;
        boxes.truncate(limit);
        let last = boxes.last().filter(|_| more).map(|last| format!("{}/{}", last.tenant_id, last.box_id));
        Ok(v1::ListBoxesResponse { boxes, next_page_token: last.unwrap_or_default() })
    }

    /// Everything about one box.
    ///
    /// # Errors
    /// [`Refusal`].
    pub fn get_box(&self, request: v1::GetBoxRequest) -> Result<v1::GetBoxResponse, Refusal> {
        let tenant = self.enter(&request.tenant_id, Action::SeeBoxes, &request.box_id, "")?;
        let record = self.known(tenant, &request.box_id)?;
        Ok(of_whole_box(&record, &box_document(self.store, &record.name)?, clock::unix_ms()))
    }

    /// Wishes for a configuration.
    ///
    /// # Errors
    /// [`Refusal`].
    pub fn set_desired(&self, request: v1::SetDesiredRequest) -> Result<v1::SetDesiredResponse, Refusal> {
        let wish = Wish::new(request.desired.unwrap_or_default().sections_toml.into_iter().collect())?;
        let sections: Vec<&str> = wish.sections().keys().map(String::as_str).collect();
        let tenant = self.enter(&request.tenant_id, Action::Configure, &request.box_id, &sections.join(", "))?;
        let (of, now, by) = (self.known(tenant, &request.box_id)?.name, clock::unix_ms(), self.operator.in_words());
        let version = change_box(self.store, &of, now, |document| document.wish(&wish, &by, now))?;
        Ok(v1::SetDesiredResponse { version })
    }

    /// Has a box do something once. The same id again is the same command.
    ///
    /// # Errors
    /// [`Refusal`].
    pub fn send_command(&self, request: v1::SendCommandRequest) -> Result<v1::SendCommandResponse, Refusal> {
        let v1::Command { command_id, expires_at_unix_ms, name, arguments, .. } = request.command.unwrap_or_default();
        let (now, latest) = (clock::unix_ms(), clock::unix_ms() + COMMAND_DAYS_MAX * DAY_MS);
        if !COMMANDS.contains(&name.as_str()) {
            return Err(Refusal::Wrong(format!("command {name:?}: expected one of {}", COMMANDS.join(", "))));
        }
        if !(now..=latest).contains(&expires_at_unix_ms) {
            let message = format!("expires_at_unix_ms: expected a time within {COMMAND_DAYS_MAX} days from now");
            return Err(Refusal::Wrong(message));
        }
        if !command_id.is_empty() && !is_name(&command_id) {
            let message = format!("command_id {command_id:?}: expected 1 to 63 lower-case letters, digits and hyphens");
            return Err(Refusal::Wrong(message));
        }
        let action = match name.as_str() {
            "diagnostics" | "test-call" => Action::Examine,
            ERASE_CALLER => Action::Erase,
            _ => Action::Command,
        };
        let tenant = self.enter(&request.tenant_id, action, &request.box_id, &name)?;
        let of = self.known(tenant, &request.box_id)?.name;
        let command = CommandRecord {
            command_id: if command_id.is_empty() { new_id() } else { command_id },
            name,
            arguments: arguments.into_iter().collect(),
            sent_by: self.operator.in_words(),
            sent_at: now,
            expires_at: expires_at_unix_ms,
            result: None,
        };
        self.send(&of, &command, now)?;
        Ok(v1::SendCommandResponse { command_id: command.command_id })
    }

    fn send(&self, of: &BoxName, command: &CommandRecord, now: i64) -> Result<(), Refusal> {
        change_box(self.store, of, now, |document| {
            if !document.commands.iter().any(|known| known.command_id == command.command_id) {
                document.send(command.clone());
            }
        })?;
        Ok(())
    }

    /// Gives many boxes a configuration, a few of them first.
    ///
    /// # Errors
    /// [`Refusal`].
    pub fn start_rollout(&self, request: v1::StartRolloutRequest) -> Result<v1::StartRolloutResponse, Refusal> {
        let v1::StartRolloutRequest { tenant_id, sections_toml, box_ids, cohorts_percent, soak_ms, limit_ms } = request;
        let cohorts: Option<Vec<u8>> = cohorts_percent.iter().map(|per_cent| u8::try_from(*per_cent).ok()).collect();
        let ascending = |cohorts: &Vec<u8>| cohorts.is_sorted_by(|a, b| a < b) && cohorts.first() > Some(&0);
        let cohorts = cohorts.filter(ascending).filter(|cohorts| cohorts.last() == Some(&100)).ok_or_else(|| {
            Refusal::Wrong("cohorts: expected per cents that ascend to 100, for example 10,50,100".to_owned())
        })?;
        if soak_ms < 0 || limit_ms <= 0 {
            return Err(Refusal::Wrong("soak_ms, limit_ms: expected 0 or more, and more than 0".to_owned()));
        }
        let wish = Wish::new(sections_toml.into_iter().collect())?;
        let sections: Vec<&str> = wish.sections().keys().map(String::as_str).collect();
        let id = format!("{:08x}", rand::random::<u32>());
        let tenant = self.enter(&tenant_id, Action::Configure, &format!("rollout {id}"), &sections.join(", "))?;
        let there = self.store.boxes(&tenant)?.into_iter().filter(|record| record.revoked_at.is_none());
        let there: Vec<String> = there.map(|record| record.name.box_id).collect();
        if let Some(unknown) = box_ids.iter().find(|name| !there.contains(name)) {
            return Err(Refusal::Unknown(format!("box {unknown}: {tenant} has no such box, or it is revoked")));
        }
        let boxes = if box_ids.is_empty() { there } else { box_ids };
        if boxes.is_empty() {
            return Err(Refusal::Unknown(format!("{tenant} has no box")));
        }
        let now = clock::unix_ms();
        let count = u32::try_from(boxes.len()).unwrap_or(u32::MAX);
        let rollout = Rollout {
            sections: wish.sections().clone(),
            boxes,
            cohorts,
            soak_ms,
            limit_ms,
            by: self.operator.in_words(),
            began_at: now,
            stage_at: now,
            ..Rollout::default()
        };
        change_rollout(self.store, &tenant, &id, now, |document| *document = rollout.clone())?;
        Ok(v1::StartRolloutResponse { rollout_id: id, boxes: count })
    }

    /// How the rollouts of a tenant go.
    ///
    /// # Errors
    /// [`Refusal`].
    pub fn list_rollouts(&self, request: v1::ListRolloutsRequest) -> Result<v1::ListRolloutsResponse, Refusal> {
        let tenant = self.enter(&request.tenant_id, Action::SeeBoxes, "", "")?;
        let all = rollouts(self.store, &tenant)?;
        Ok(v1::ListRolloutsResponse { rollouts: all.iter().map(|(id, rollout)| of_rollout(id, rollout)).collect() })
    }

    /// Stops a rollout where it is.
    ///
    /// # Errors
    /// [`Refusal`].
    pub fn halt_rollout(&self, request: v1::HaltRolloutRequest) -> Result<v1::HaltRolloutResponse, Refusal> {
        let id = &request.rollout_id;
        let tenant = self.enter(&request.tenant_id, Action::Configure, &format!("rollout {id}"), "halt")?;
        if !rollouts(self.store, &tenant)?.contains_key(id) {
            return Err(Refusal::Unknown(format!("{tenant} has no rollout {id}: see `offhook-cloud fleet rollouts`")));
        }
        let (now, reason) = (clock::unix_ms(), format!("by {}", self.operator.in_words()));
        change_rollout(self.store, &tenant, id, now, |rollout| rollout.halt(reason.clone(), now))?;
        Ok(v1::HaltRolloutResponse {})
    }

    /// A code for one box.
    ///
    /// # Errors
    /// [`Refusal`].
    pub fn create_claim(&self, request: v1::CreateClaimRequest) -> Result<v1::CreateClaimResponse, Refusal> {
        if !(1..=720).contains(&request.hours) {
            return Err(Refusal::Wrong(format!("hours = {}: expected 1 to 720", request.hours)));
        }
        let replaces = request.replaces_box_id.as_str();
        let tenant_id = self.enter(&request.tenant_id, Action::Claim, replaces, &format!("{} hours", request.hours))?;
        if !replaces.is_empty() {
            self.known(tenant_id.clone(), replaces)?;
        }
        let (now, claim_code) = (clock::unix_ms(), new_code());
        let (code_sha256, expires_at) = (hash_of_code(&claim_code), now + i64::from(request.hours) * HOUR_MS);
        self.store.add_claim(&Claim { code_sha256, tenant_id, expires_at })?;
        if !replaces.is_empty() {
            self.store.take_claim(&code_sha256, replaces, now)?;
        }
        Ok(v1::CreateClaimResponse { claim_code, expires_unix_ms: expires_at, endpoint: self.endpoint.to_owned() })
    }

    /// An end to a box's certificate.
    ///
    /// # Errors
    /// [`Refusal`].
    pub fn revoke_box(&self, request: v1::RevokeBoxRequest) -> Result<v1::RevokeBoxResponse, Refusal> {
        let tenant = self.enter(&request.tenant_id, Action::Revoke, &request.box_id, "")?;
        let of = self.known(tenant, &request.box_id)?.name;
        self.store.revoke(&of, clock::unix_ms())?;
        Ok(v1::RevokeBoxResponse {})
    }

    /// A page of calls, the latest first.
    ///
    /// # Errors
    /// [`Refusal`].
    pub fn list_calls(&self, request: v1::ListCallsRequest) -> Result<v1::ListCallsResponse, Refusal> {
        let limit = page_size(request.page_size)?;
        let tenant = self.enter(&request.tenant_id, Action::SeeCalls, &request.box_id, &request.page_token)?;
        let before = Some(request.page_token.as_str()).filter(|token| !token.is_empty());
        let wanted = u32::try_from(limit + 1).unwrap_or(u32::MAX);
        let mut calls = Vec::new();
        for record in self.some_boxes(&tenant, &request.box_id)? {
            let rows = self.store.queried(|store| store.latest_rows(&record.name, "call_sessions", before, wanted))?;
            for (call_id, row) in rows {
                let columns = row.columns.unwrap_or_default().into_iter().collect();
                calls.push(v1::Call { call_id, box_id: record.name.box_id.clone(), columns });
            }
        }
        // Two calls of two boxes never have one key.
        calls.sort_by(|a, b| b.call_id.cmp(&a.call_id));
        let more = calls.len() > limit;
        calls.truncate(limit);
        let last = calls.last().filter(|_| more).map(|last| last.call_id.clone());
        Ok(v1::ListCallsResponse { calls, next_page_token: last.unwrap_or_default() })
    }

    /// Calls in figures, all at once.
    ///
    /// # Errors
    /// [`Refusal`].
    pub fn query_metrics(&self, request: v1::QueryMetricsRequest) -> Result<v1::QueryMetricsResponse, Refusal> {
        let mut counting = self.begin_metrics(request)?;
        while self.count(&mut counting)? {}
        Ok(counting.close())
    }

    /// Calls in figures, of which nothing is counted yet: see [`count`](Desk::count).
    ///
    /// # Errors
    /// [`Refusal`].
    pub fn begin_metrics(&self, request: v1::QueryMetricsRequest) -> Result<Counting, Refusal> {
        let v1::QueryMetricsRequest { tenant_id, box_id, from_unix_ms: from, until_unix_ms: until, step_ms } = request;
        let whole = until.checked_sub(from).filter(|whole| *whole > 0 && from >= 0);
        let whole = whole.ok_or_else(|| {
            Refusal::Wrong("from_unix_ms, until_unix_ms: expected a stretch of time after 1970".to_owned())
        })?;
        let count = whole.checked_add(step_ms.max(1) - 1).map(|whole| whole / step_ms.max(1));
        let count = count.filter(|count| step_ms >= STEP_MIN_MS && *count <= STRETCHES_MAX).ok_or_else(|| {
            let expected = format!("expected {STEP_MIN_MS} or more, and at most {STRETCHES_MAX} stretches");
            Refusal::Wrong(format!("step_ms = {step_ms}: {expected}"))
        })?;
        let tenant = self.enter(&tenant_id, Action::SeeMetrics, &box_id, "")?;
        let tables = |record: BoxRecord| COUNTED.map(|table| (record.name.clone(), table));
        Ok(Counting {
            tally: Tally::new(from, step_ms, usize::try_from(count).unwrap_or(0)),
            left: self.some_boxes(&tenant, &box_id)?.into_iter().flat_map(tables).collect(),
            after: key_from(from),
            first: key_from(from),
            end: key_from(until),
        })
    }

    /// Counts a few rows more; false if there are none.
    ///
    /// # Errors
    /// [`Refusal::Store`].
    pub fn count(&self, counting: &mut Counting) -> Result<bool, Refusal> {
        let Counting { tally, left, after, first, end } = counting;
        let Some((of, table)) = left.last() else { return Ok(false) };
        let rows = self.store.queried(|store| store.rows_between(of, table, after, Some(end), ROWS_AT_A_TIME))?;
        match rows.last() {
            Some((last, _)) => {
                after.clone_from(last);
                rows.iter().for_each(|(key, row)| tally.add(table, key, row));
            }
            None => {
                after.clone_from(first);
                left.pop();
            }
        }
        Ok(true)
    }

    /// What an export consists of: the tables of each box, in order. [`exported_rows`](Desk::exported_rows) reads them.
    ///
    /// # Errors
    /// [`Refusal`].
    pub fn begin_export(&self, request: &v1::ExportRequest) -> Result<Vec<(BoxName, &'static str)>, Refusal> {
        let tenant = self.enter(&request.tenant_id, Action::Export, &request.box_id, "")?;
        let boxes = self.some_boxes(&tenant, &request.box_id)?;
        let tables = |record: BoxRecord| TABLES.map(|table| (record.name.clone(), table));
        Ok(boxes.into_iter().flat_map(tables).collect())
    }

    /// Rows of a table with keys above `after`, as many as are sent at a time; None if there are no more.
    ///
    /// # Errors
    /// [`Refusal::Store`].
    pub fn exported_rows(&self, of: &BoxName, table: &str, after: &str) -> Result<Option<v1::ExportedRows>, Refusal> {
        let mut part =
            v1::ExportedRows { box_id: of.box_id.clone(), table: table.to_owned(), ..v1::ExportedRows::default() };
        let mut bytes = 0;
        let rows = self.store.queried(|store| store.rows_between(of, table, after, None, ROWS_AT_A_TIME))?;
        for (key, row) in rows {
            let columns = row.columns.unwrap_or_default().into_iter().collect();
            let row = v1::ExportedRow { key, row_version: row.row_version, columns };
            bytes += row.encoded_len();
            if bytes > EXPORT_BYTES && !part.rows.is_empty() {
                break;
            }
            part.rows.push(row);
        }
        Ok(Some(part).filter(|part| !part.rows.is_empty()))
    }

    /// Has every box of the tenant erase a caller. The boxes' rows go, and those here with them: what a box deletes, its
    /// stream says. What is on its way down to a box, or was kept after it had it, goes here at once.
    ///
    /// # Errors
    /// [`Refusal`].
    pub fn erase_caller(&self, request: v1::EraseCallerRequest) -> Result<v1::EraseCallerResponse, Refusal> {
        let caller = request.caller;
        let digits = caller.strip_prefix('+').unwrap_or_default();
        if !(7..=15).contains(&digits.len()) || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(Refusal::Wrong(format!("caller {caller:?}: expected a number as in +12125550142")));
        }
        // The number itself would be kept by the audit for ever.
        let hidden = format!("+…{}", digits.get(digits.len() - 3..).unwrap_or_default());
        let tenant = self.enter(&request.tenant_id, Action::Erase, &hidden, "")?;
        self.store.erase_deliveries(&tenant, &caller)?;
        let (now, command_id) = (clock::unix_ms(), new_id());
        let mut box_ids = Vec::new();
        for record in self.store.boxes(&tenant)?.into_iter().filter(|record| record.revoked_at.is_none()) {
            let command = CommandRecord {
                command_id: command_id.clone(),
                name: ERASE_CALLER.to_owned(),
                arguments: BTreeMap::from([("caller".to_owned(), caller.clone())]),
                sent_by: self.operator.in_words(),
                sent_at: now,
                expires_at: now + ERASE_DAYS * DAY_MS,
                result: None,
            };
            self.send(&record.name, &command, now)?;
            box_ids.push(record.name.box_id);
        }
        Ok(v1::EraseCallerResponse { command_id, box_ids })
    }

    /// A page of the audit.
    ///
    /// # Errors
    /// [`Refusal`].
    pub fn list_audit(&self, request: v1::ListAuditRequest) -> Result<v1::ListAuditResponse, Refusal> {
        let limit = u32::try_from(page_size(request.page_size)?).unwrap_or(PAGE);
        let tenant = self.enter(&request.tenant_id, Action::SeeAudit, "", "")?;
        // With the one before, which the first is to follow.
        let entries = self.store.audit(&tenant, request.after.saturating_sub(1), limit + 1)?;
        let mut before = entries.first().filter(|entry| entry.number <= request.after);
        let mut messages = Vec::new();
        for entry in entries.iter().filter(|entry| entry.number > request.after).take(page_size(limit)?) {
            messages.push(of_audit(entry, before));
            before = Some(entry);
        }
        Ok(v1::ListAuditResponse { entries: messages })
    }
}

/// Writes down what somebody asks for.
pub(crate) fn note(
    store: &AnyStore,
    operator: &Operator,
    tenant: &str,
    action: Action,
    target: &str,
    detail: &str,
    allowed: bool,
) -> Result<(), StoreError> {
    let asked = Asked {
        operator: operator.in_words(),
        role: operator.role.as_str().to_owned(),
        at_console: operator.at_console,
        action: action.as_str().to_owned(),
        // What somebody sends us is kept for ever here.
        target: target.chars().take(NOTED_MAX).collect(),
        detail: detail.chars().take(NOTED_MAX).collect(),
        allowed,
    };
    let body = serde_json::to_string(&asked).map_err(|error| StoreError::Document(error.to_string()))?;
    store.append_audit(tenant, clock::unix_ms(), &body)?;
    Ok(())
}

fn new_id() -> String {
    format!("{:032x}", rand::random::<u128>())
}

fn page_size(asked: u32) -> Result<usize, Refusal> {
    let size = if asked == 0 { PAGE } else { asked };
    let size = Some(size).filter(|size| *size <= PAGE_MAX).and_then(|size| usize::try_from(size).ok());
    size.ok_or_else(|| Refusal::Wrong(format!("page_size = {asked}: expected 0 to {PAGE_MAX}")))
}
