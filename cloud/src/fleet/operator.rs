//! Who manages boxes, and what they may do.
//!
//! An operator's certificate says who they are: the tenant, or that they are of all tenants, and the name. Their role stands in
//! the store and is looked up with each request, so that it can be taken away at once. Whoever sits at the service itself, with
//! its database in their hands, may do everything.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::store::{Change, DocumentKind, Place, Store, StoreError};

/// Stands for all tenants in certificates and in the store; no tenant has this name.
pub const ALL_TENANTS: &str = "*";

/// Who asks at the service itself and does not say who they are.
pub const SOMEBODY: &str = "operator";

/// What somebody is there for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// May do everything, also make other operators, export and erase.
    Owner,
    /// Manages boxes: configurations, commands, rollouts, new boxes.
    Admin,
    /// Looks after boxes: sees them and their calls, has them looked at.
    Agent,
    /// Sees everything that was done, and changes nothing.
    Auditor,
}

/// What can be asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Which boxes there are, how they are, their wishes and rollouts.
    SeeBoxes,
    /// Figures, without anybody's number.
    SeeMetrics,
    /// Calls, with numbers.
    SeeCalls,
    /// Commands that change nothing: a look, a call to itself.
    Examine,
    /// All other commands.
    Command,
    /// Configurations of boxes and rollouts of them.
    Configure,
    /// Claim codes.
    Claim,
    /// An end to a box's certificate.
    Revoke,
    /// Every row there is.
    Export,
    /// An end to what is known of a caller.
    Erase,
    /// Who did what.
    SeeAudit,
    /// Operators and their roles.
    Appoint,
}

/// Every action, for whoever looks at all of them.
pub const ACTIONS: [Action; 12] = [
    Action::SeeBoxes,
    Action::SeeMetrics,
    Action::SeeCalls,
    Action::Examine,
    Action::Command,
    Action::Configure,
    Action::Claim,
    Action::Revoke,
    Action::Export,
    Action::Erase,
    Action::SeeAudit,
    Action::Appoint,
];

impl Action {
    /// As it stands in the audit.
    pub fn as_str(self) -> &'static str {
        match self {
            Action::SeeBoxes => "see-boxes",
            Action::SeeMetrics => "see-metrics",
            Action::SeeCalls => "see-calls",
            Action::Examine => "examine",
            Action::Command => "command",
            Action::Configure => "configure",
            Action::Claim => "claim",
            Action::Revoke => "revoke",
            Action::Export => "export",
            Action::Erase => "erase",
            Action::SeeAudit => "see-audit",
            Action::Appoint => "appoint",
        }
    }

    /// Whether it is written down: whatever changes something or shows what people have said and who they are.
    pub fn is_audited(self) -> bool {
        match self {
            Action::SeeBoxes | Action::SeeMetrics => false,
            Action::SeeCalls
            | Action::Examine
            | Action::Command
            | Action::Configure
            | Action::Claim
            | Action::Revoke
            | Action::Export
            | Action::Erase
            | Action::SeeAudit
            | Action::Appoint => true,
        }
    }
}

impl Role {
    /// As it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            Role::Owner => "owner",
            Role::Admin => "admin",
            Role::Agent => "agent",
            Role::Auditor => "auditor",
        }
    }

    /// Whether whoever has it may do this. What is not named here is denied.
    pub fn allows(self, action: Action) -> bool {
        match action {
            Action::SeeBoxes | Action::SeeMetrics => true,
            Action::SeeCalls | Action::Examine => matches!(self, Role::Owner | Role::Admin | Role::Agent),
            Action::Command | Action::Configure | Action::Claim | Action::Revoke => {
                matches!(self, Role::Owner | Role::Admin)
            }
            Action::SeeAudit => matches!(self, Role::Owner | Role::Auditor),
            Action::Export | Action::Erase | Action::Appoint => matches!(self, Role::Owner),
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

/// Who an operator is, as their certificate says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OperatorName {
    /// None: of all tenants.
    pub tenant_id: Option<String>,
    /// Unique within the tenant, or among those of all tenants.
    pub name: String,
}

impl OperatorName {
    fn place(&self) -> Place<'_> {
        let tenant_id = self.tenant_id.as_deref().unwrap_or(ALL_TENANTS);
        Place { tenant_id, kind: DocumentKind::Operator, name: &self.name }
    }
}

impl fmt::Display for OperatorName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", self.tenant_id.as_deref().unwrap_or(ALL_TENANTS), self.name)
    }
}

/// Somebody who asks for something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Operator {
    /// Who.
    pub name: OperatorName,
    /// What for.
    pub role: Role,
    /// At the service itself, without a certificate.
    pub at_console: bool,
}

impl Operator {
    /// Whoever sits at the service itself; they say who they are.
    pub fn at_console(name: &str) -> Operator {
        let name = OperatorName { tenant_id: None, name: name.to_owned() };
        Operator { name, role: Role::Owner, at_console: true }
    }

    /// As it stands in the audit and in wishes.
    pub fn in_words(&self) -> String {
        if self.at_console { self.name.name.clone() } else { self.name.to_string() }
    }
}

/// What is known of an operator. Times are milliseconds since 1970.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OperatorRecord {
    /// What they may do.
    pub role: Role,
    /// When they were made one.
    pub made_at: i64,
    /// By whom.
    pub made_by: String,
    /// Since when they may do nothing any more.
    pub revoked_at: Option<i64>,
}

fn read(body: &str) -> Result<OperatorRecord, StoreError> {
    serde_json::from_str(body).map_err(|error| StoreError::Document(error.to_string()))
}

/// What is known of them.
///
/// # Errors
/// Of the store.
pub fn record_of(store: &impl Store, name: &OperatorName) -> Result<Option<OperatorRecord>, StoreError> {
    store.document(&name.place())?.as_deref().map(read).transpose()
}

/// All operators of a tenant, or of all tenants, by name.
///
/// # Errors
/// Of the store.
pub fn operators(
    store: &impl Store,
    tenant_id: Option<&str>,
) -> Result<Vec<(OperatorName, OperatorRecord)>, StoreError> {
    let found = store.documents(tenant_id.unwrap_or(ALL_TENANTS), DocumentKind::Operator)?;
    let named = |name| OperatorName { tenant_id: tenant_id.map(str::to_owned), name };
    found.into_iter().map(|(name, body)| Ok((named(name), read(&body)?))).collect()
}

/// Makes somebody an operator, or gives them another role.
///
/// # Errors
/// Of the store.
pub fn appoint(
    store: &impl Store,
    name: &OperatorName,
    role: Role,
    by: &str,
    now: i64,
) -> Result<OperatorRecord, StoreError> {
    let record = OperatorRecord { role, made_at: now, made_by: by.to_owned(), revoked_at: None };
    let body = serde_json::to_string(&record).map_err(|error| StoreError::Document(error.to_string()))?;
    store.change_document(&name.place(), now, |_| {
        Ok(Change { body: Some(body.clone()), news: false, answer: record.clone() })
    })
}

/// They may do nothing any more. False if there is no such operator.
///
/// # Errors
/// Of the store.
pub fn dismiss(store: &impl Store, name: &OperatorName, now: i64) -> Result<bool, StoreError> {
    store.change_document(&name.place(), now, |body| {
        let Some(mut record) = body.map(read).transpose()? else {
            return Ok(Change { body: None, news: false, answer: false });
        };
        record.revoked_at.get_or_insert(now);
        let body = serde_json::to_string(&record).map_err(|error| StoreError::Document(error.to_string()))?;
        Ok(Change { body: Some(body), news: false, answer: true })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_role_may_do_what_it_is_there_for() {
        let allowed = |role: Role| ACTIONS.into_iter().filter(move |action| role.allows(*action)).map(Action::as_str);
        assert_eq!(allowed(Role::Owner).count(), ACTIONS.len());
        let admin: Vec<_> = allowed(Role::Admin).collect();
        assert_eq!(
            admin,
            ["see-boxes", "see-metrics", "see-calls", "examine", "command", "configure", "claim", "revoke"]
        );
        assert_eq!(allowed(Role::Agent).collect::<Vec<_>>(), ["see-boxes", "see-metrics", "see-calls", "examine"]);
        assert_eq!(allowed(Role::Auditor).collect::<Vec<_>>(), ["see-boxes", "see-metrics", "see-audit"]);
    }

    #[test]
    fn a_role_can_be_changed_and_taken_away() {
        let folder = tempfile::tempdir().unwrap();
        let store = crate::store::Sqlite::open(&folder.path().join("cloud.db")).unwrap();
        let anna = OperatorName { tenant_id: Some("bakery".to_owned()), name: "anna".to_owned() };
        let elsewhere = OperatorName { tenant_id: None, ..anna.clone() };
        appoint(&store, &anna, Role::Agent, "ben", 5).unwrap();
        assert_eq!(record_of(&store, &anna).unwrap().unwrap().role, Role::Agent);
        assert_eq!(record_of(&store, &elsewhere).unwrap(), None, "of all tenants is somebody else");
        assert!(dismiss(&store, &anna, 7).unwrap() && !dismiss(&store, &elsewhere, 7).unwrap());
        assert_eq!(record_of(&store, &anna).unwrap().unwrap().revoked_at, Some(7));
        appoint(&store, &anna, Role::Owner, "ben", 9).unwrap();
        let all = operators(&store, Some("bakery")).unwrap();
        assert_eq!(
            (all[0].0.to_string().as_str(), all[0].1.role, all[0].1.revoked_at),
            ("bakery/anna", Role::Owner, None)
        );
    }
}
