//! Where rows are kept, and which boxes there are: one trait, one suite of tests that each store must pass.
//!
//! ```text
//! stream ─Request─► answer ─► Store::transact(box) ─► the rules of sync::apply, over the store's Transaction
//! ```
//! A store gives the rules a transaction over the rows of one box, named by tenant and box as its certificate says, and
//! commits it before anything is answered. A store that may refuse to commit because of others runs the rules again.
//!
//! SQLite is one file and one writer: for a laptop and for an office with a few boxes. PostgreSQL is for more of them, and
//! for several instances of this service beside each other.
//!
//! **Why the `postgres` crate and not sqlx, 2026-11.** The rules are plain functions that look at one row after the other;
//! a client that blocks lets them stay that, on threads made for it, where sqlx would make each of them async for one of the
//! two stores. Its queries are checked by the suite of tests against a real server, not by a database at build time. What
//! would change our mind: a query that has to be cancelled half-way.

macro_rules! either {
    ($self:ident, $store:ident => $call:expr) => {
        match $self {
            AnyStore::Sqlite($store) => $call,
            AnyStore::Postgres($store) => $call,
        }
    };
}

mod backups;
mod bell;
mod columns;
pub mod deliveries;
pub mod forgetting;
mod postgres;
mod replica;
mod sqlite;
pub mod tenants;
mod upkeep;

#[cfg(test)]
mod conformance;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

pub use self::backups::{Backups, Kept};
pub use self::postgres::{Postgres, PostgresConfigError};
pub use bell::{Listener, Ring};
pub use columns::ColumnsError;
pub use sqlite::Sqlite;
pub use upkeep::{Silence, SilenceChange, Upkeep};

use self::tenants::{Standing, Tenants as _};
use crate::fleet::audit::AuditEntry;
use crate::sync::apply::{BoxState, StoredRow, Transaction, apply, compare, greet};
use crate::sync::stream::{Away, Event, Request};

/// Above every key that there is.
const AFTER_ALL_KEYS: &str = "\u{10FFFF}";

/// Whose rows they are.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct BoxName {
    /// Who pays for the box: the first column of every key.
    pub tenant_id: String,
    /// The box itself.
    pub box_id: String,
}

impl std::fmt::Display for BoxName {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{}/{}", self.tenant_id, self.box_id)
    }
}

/// A code with which one box gets its first certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// Of the code, which is kept nowhere.
    pub code_sha256: [u8; 32],
    /// Whose box it will be.
    pub tenant_id: String,
    /// Milliseconds since 1970; from then on it is worth nothing.
    pub expires_at: i64,
}

/// What is known of a box beside its rows. Times are milliseconds since 1970 by this service's clock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BoxRecord {
    /// Which.
    pub name: BoxName,
    /// When it was claimed.
    pub enrolled_at: i64,
    /// What it runs, as it says; empty until it has connected.
    pub release: String,
    /// When it was last heard.
    pub heard_at: Option<i64>,
    /// When both ends were last found equal.
    pub equal_at: Option<i64>,
    /// Since when it may not connect any more.
    pub revoked_at: Option<i64>,
    /// When it was last heard before its silence became an alarm; None while it is heard.
    pub silent_since: Option<i64>,
    /// How far its rows are here.
    pub state: Option<BoxState>,
}

/// What is heard of a box.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Heard<'a> {
    /// Its release.
    Release(&'a str),
    /// It is still there.
    Alive,
    /// Its rows are ours.
    Equal,
}

impl<'a> Heard<'a> {
    /// What becomes of the columns `release` and `equal_at`; None leaves them as they are.
    fn columns(self, now: i64) -> (Option<&'a str>, Option<i64>) {
        match self {
            Heard::Release(release) => (Some(release), None),
            Heard::Alive => (None, None),
            Heard::Equal => (None, Some(now)),
        }
    }
}

/// What a document of the fleet is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DocumentKind {
    /// A box, under its id.
    Box,
    /// A rollout, under its id.
    Rollout,
    /// Somebody who manages boxes, under their name.
    Operator,
    /// The carrier of text messages, and the numbers there: one for each tenant.
    Twilio,
}

impl DocumentKind {
    fn as_str(self) -> &'static str {
        match self {
            DocumentKind::Box => "box",
            DocumentKind::Rollout => "rollout",
            DocumentKind::Operator => "operator",
            DocumentKind::Twilio => "twilio",
        }
    }
}

/// Which document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place<'a> {
    /// Whose.
    pub tenant_id: &'a str,
    /// About what.
    pub kind: DocumentKind,
    /// Which of them.
    pub name: &'a str,
}

/// What becomes of a document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change<T> {
    /// What it is from now on; None leaves it.
    pub body: Option<String>,
    /// Of a box: whether it has to hear of it, see [`Store::news`]. Of a rollout: whether it goes on by itself, see
    /// [`Upkeep::running_rollouts`]. Of anything else it means nothing.
    pub news: bool,
    /// For whoever asked.
    pub answer: T,
}

/// Why a store cannot. Nothing of the transaction was kept.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The disk is full.
    #[error("the cloud's disk is full")]
    DiskFull,
    /// A row that was kept is not to be understood.
    #[error(transparent)]
    Columns(#[from] ColumnsError),
    /// A document that was kept is not to be understood.
    #[error("a document is not to be understood: {0}")]
    Document(String),
    /// Nothing is taken of this tenant, because it does not live here or not now.
    #[error("{tenant_id} {standing}")]
    NotHere {
        /// Whose.
        tenant_id: String,
        /// Where it is.
        standing: Box<Standing>,
    },
    /// A record of a tenant, as it is exported, is not to be understood.
    #[error("a record of the tenant is not to be understood: {0}")]
    Record(String),
    /// The database was written by a newer release.
    #[error("the database has format {found}, this release knows up to {known}: install the newer release again")]
    Newer {
        /// Its format.
        found: i64,
        /// The latest that we know.
        known: i64,
    },
    /// The folder of the database.
    #[error("{}: {source}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// What is wrong with it.
        source: std::io::Error,
    },
    /// Anything else SQLite says.
    #[error("database: {0}")]
    Sqlite(rusqlite::Error),
    /// Anything else PostgreSQL says.
    #[error("PostgreSQL: {}", postgres::in_words(.0))]
    Postgres(::postgres::Error),
}

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        match error.sqlite_error_code() {
            Some(rusqlite::ErrorCode::DiskFull) => StoreError::DiskFull,
            _ => StoreError::Sqlite(error),
        }
    }
}

impl From<::postgres::Error> for StoreError {
    fn from(error: ::postgres::Error) -> Self {
        match error.code() {
            Some(code) if *code == ::postgres::error::SqlState::DISK_FULL => StoreError::DiskFull,
            Some(_) | None => StoreError::Postgres(error),
        }
    }
}

/// [`StoreError::NotHere`], unless the tenant is open.
fn admit(tenant_id: &str, standing: Standing) -> Result<(), StoreError> {
    if standing == Standing::Open {
        return Ok(());
    }
    Err(StoreError::NotHere { tenant_id: tenant_id.to_owned(), standing: Box::new(standing) })
}

/// As [`admit`], for a code: it is worth something where it was made, wherever its tenant lives.
fn admit_claim(tenant_id: &str, standing: Standing) -> Result<(), StoreError> {
    if matches!(standing, Standing::Elsewhere { .. }) { Ok(()) } else { admit(tenant_id, standing) }
}

/// The rows of one box, for the rules.
pub type Rows<'a> = dyn Transaction<Error = StoreError> + 'a;

/// Keeps rows and boxes. Blocks: not for async threads.
///
/// Whatever writes for a tenant that is not [open](Standing::Open) here fails with [`StoreError::NotHere`]; codes are kept for
/// one that lives elsewhere, too.
pub trait Store: Send + Sync {
    /// Runs `work` in one transaction over what this box has sent, and commits it if that succeeds. `work` may be run more
    /// than once; what earlier runs have done is undone.
    ///
    /// # Errors
    /// What `work` returns, or why it could not be committed.
    fn transact<T>(
        &self,
        of: &BoxName,
        work: impl FnMut(&mut Rows<'_>) -> Result<T, StoreError>,
    ) -> Result<T, StoreError>;

    /// The last rows of a table of one box by their keys, the latest first; those that are gone are left out. Only those with
    /// keys below `before`, if there is one.
    ///
    /// # Errors
    /// Of the store.
    fn latest_rows(
        &self,
        of: &BoxName,
        table: &str,
        before: Option<&str>,
        limit: u32,
    ) -> Result<Vec<(String, StoredRow)>, StoreError>;

    /// Rows of a table of one box with keys above `after` and below `before`, in their order; those that are gone are left
    /// out.
    ///
    /// # Errors
    /// Of the store.
    fn rows_between(
        &self,
        of: &BoxName,
        table: &str,
        after: &str,
        before: Option<&str>,
        limit: u32,
    ) -> Result<Vec<(String, StoredRow)>, StoreError>;

    /// What a column of text holds in the rows of a table of one box that are there.
    ///
    /// # Errors
    /// Of the store.
    fn texts_of(&self, of: &BoxName, table: &str, column: &str) -> Result<BTreeSet<String>, StoreError>;

    /// Keeps a code until it expires.
    ///
    /// # Errors
    /// Of the store.
    fn add_claim(&self, claim: &Claim) -> Result<(), StoreError>;

    /// The box that comes with this code, without taking it: whose it will be, and which one, if it was said. None if the code
    /// is unknown or expired.
    ///
    /// # Errors
    /// Of the store.
    fn claim(&self, code_sha256: &[u8; 32], now: i64) -> Result<Option<(String, Option<String>)>, StoreError>;

    /// Whose box comes with this code, which is from now on this box's: it may come again with it, because the answer may not
    /// have reached it, and no other may. None if the code is unknown, expired, or another box's.
    ///
    /// # Errors
    /// Of the store.
    fn take_claim(&self, code_sha256: &[u8; 32], box_id: &str, now: i64) -> Result<Option<String>, StoreError>;

    /// Begins, or begins anew, what is known of a box. One that was revoked is not any more.
    ///
    /// # Errors
    /// Of the store.
    fn enroll(&self, of: &BoxName, now: i64) -> Result<(), StoreError>;

    /// Notes what was heard. False if the box is revoked, and then nothing is noted. A box that is not known is noted too: its
    /// certificate is ours, and this store may have been restored from a backup.
    ///
    /// # Errors
    /// Of the store.
    fn note_heard(&self, of: &BoxName, heard: Heard<'_>, now: i64) -> Result<bool, StoreError>;

    /// Whether the box may not connect any more.
    ///
    /// # Errors
    /// Of the store.
    fn is_revoked(&self, of: &BoxName) -> Result<bool, StoreError>;

    /// The box may not connect any more. False if there is no such box.
    ///
    /// # Errors
    /// Of the store.
    fn revoke(&self, of: &BoxName, now: i64) -> Result<bool, StoreError>;

    /// Certificates of this box that were made before `before` are worth nothing any more: another machine has its place. They
    /// stay so when it is enrolled anew.
    ///
    /// # Errors
    /// Of the store.
    fn void_certificates(&self, of: &BoxName, before: i64) -> Result<(), StoreError>;

    /// Whether the box's certificate, made at this time, is worth nothing.
    ///
    /// # Errors
    /// Of the store.
    fn is_void(&self, of: &BoxName, made_at: i64) -> Result<bool, StoreError>;

    /// Whoever was given a code or has a box here, and is open, in order.
    ///
    /// # Errors
    /// Of the store.
    fn tenants(&self) -> Result<Vec<String>, StoreError>;

    /// The boxes of a tenant, in order.
    ///
    /// # Errors
    /// Of the store.
    fn boxes(&self, tenant_id: &str) -> Result<Vec<BoxRecord>, StoreError>;

    /// One box; None if there is no such one.
    ///
    /// # Errors
    /// Of the store.
    fn known_box(&self, of: &BoxName) -> Result<Option<BoxRecord>, StoreError>;

    /// A document as it is.
    ///
    /// # Errors
    /// Of the store.
    fn document(&self, place: &Place<'_>) -> Result<Option<String>, StoreError>;

    /// All documents of a kind, by their names.
    ///
    /// # Errors
    /// Of the store.
    fn documents(&self, tenant_id: &str, kind: DocumentKind) -> Result<Vec<(String, String)>, StoreError>;

    /// Those of a kind with these names, by name; names without one are left out.
    ///
    /// # Errors
    /// Of the store.
    fn some_documents(
        &self,
        tenant_id: &str,
        kind: DocumentKind,
        names: &[&str],
    ) -> Result<BTreeMap<String, String>, StoreError>;

    /// Changes a document in one transaction; nobody else changes it meanwhile. `work` is given what is there, and may be run
    /// more than once.
    ///
    /// # Errors
    /// Of the store, or what `work` returns.
    fn change_document<T>(
        &self,
        place: &Place<'_>,
        now: i64,
        work: impl FnMut(Option<&str>) -> Result<Change<T>, StoreError>,
    ) -> Result<T, StoreError>;

    /// Writes down what somebody asked for, after what was asked for before. `body` is JSON.
    ///
    /// # Errors
    /// Of the store; then it must not be done.
    fn append_audit(&self, tenant_id: &str, now: i64, body: &str) -> Result<AuditEntry, StoreError>;

    /// Entries with larger numbers than `after`, in order.
    ///
    /// # Errors
    /// Of the store.
    fn audit(&self, tenant_id: &str, after: u64, limit: u32) -> Result<Vec<AuditEntry>, StoreError>;

    /// Boxes for which there was something new after this time, and when it last was.
    ///
    /// # Errors
    /// Of the store.
    fn news(&self, after: i64) -> Result<Vec<(BoxName, i64)>, StoreError>;

    /// Whether it works: one question to the database.
    ///
    /// # Errors
    /// Of the store.
    fn check(&self) -> Result<(), StoreError>;
}

/// What the stream is answered. What the box may know of a failure is in the event, the rest in the log.
pub fn answer(store: &impl Store, of: &BoxName, request: &Request) -> Event {
    let answered = store.transact(of, |rows| match request {
        Request::Greet(hello) => greet(rows, hello).map(Event::Greeted),
        Request::Apply(batch) => apply(rows, batch).map(Event::Applied),
        Request::Compare(digest) => compare(rows, digest).map(Event::Compared),
    });
    answered.unwrap_or_else(|error| {
        if let StoreError::NotHere { standing, .. } = &error
            && let Some(away) = standing.away()
        {
            return Event::NotHere(away);
        }
        tracing::error!(%error, "The store cannot");
        Event::Unavailable(said_of(&error).to_owned())
    })
}

/// What the boxes of a tenant that is not open are told; None if they may come.
///
/// # Errors
/// Of the store.
pub fn away(store: &AnyStore, tenant_id: &str) -> Result<Option<Away>, StoreError> {
    Ok(store.standing(tenant_id)?.standing.away())
}

/// What somebody outside may know of a failure.
pub fn said_of(error: &StoreError) -> &'static str {
    match error {
        StoreError::DiskFull => "disk full",
        StoreError::NotHere { .. } => "this office is not here, or not now",
        StoreError::Columns(_)
        | StoreError::Document(_)
        | StoreError::Record(_)
        | StoreError::Newer { .. }
        | StoreError::File { .. }
        | StoreError::Sqlite(_)
        | StoreError::Postgres(_) => "the store failed",
    }
}

/// The store that the configuration names.
#[derive(Debug)]
pub enum AnyStore {
    /// One file.
    Sqlite(Sqlite),
    /// A server.
    Postgres(Box<Postgres>),
}

impl AnyStore {
    /// How many transactions may run at a time; more than these wait.
    pub fn at_a_time(&self) -> usize {
        match self {
            AnyStore::Sqlite(_) => 1,
            AnyStore::Postgres(store) => store.connections(),
        }
    }
}

impl Store for AnyStore {
    fn transact<T>(
        &self,
        of: &BoxName,
        work: impl FnMut(&mut Rows<'_>) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        either!(self, store => store.transact(of, work))
    }

    fn latest_rows(
        &self,
        of: &BoxName,
        table: &str,
        before: Option<&str>,
        limit: u32,
    ) -> Result<Vec<(String, StoredRow)>, StoreError> {
        either!(self, store => store.latest_rows(of, table, before, limit))
    }

    fn rows_between(
        &self,
        of: &BoxName,
        table: &str,
        after: &str,
        before: Option<&str>,
        limit: u32,
    ) -> Result<Vec<(String, StoredRow)>, StoreError> {
        either!(self, store => store.rows_between(of, table, after, before, limit))
    }

    fn texts_of(&self, of: &BoxName, table: &str, column: &str) -> Result<BTreeSet<String>, StoreError> {
        either!(self, store => store.texts_of(of, table, column))
    }

    fn add_claim(&self, claim: &Claim) -> Result<(), StoreError> {
        either!(self, store => store.add_claim(claim))
    }

    fn claim(&self, code_sha256: &[u8; 32], now: i64) -> Result<Option<(String, Option<String>)>, StoreError> {
        either!(self, store => store.claim(code_sha256, now))
    }

    fn take_claim(&self, code_sha256: &[u8; 32], box_id: &str, now: i64) -> Result<Option<String>, StoreError> {
        either!(self, store => store.take_claim(code_sha256, box_id, now))
    }

    fn enroll(&self, of: &BoxName, now: i64) -> Result<(), StoreError> {
        either!(self, store => store.enroll(of, now))
    }

    fn note_heard(&self, of: &BoxName, heard: Heard<'_>, now: i64) -> Result<bool, StoreError> {
        either!(self, store => store.note_heard(of, heard, now))
    }

    fn is_revoked(&self, of: &BoxName) -> Result<bool, StoreError> {
        either!(self, store => store.is_revoked(of))
    }

    fn revoke(&self, of: &BoxName, now: i64) -> Result<bool, StoreError> {
        either!(self, store => store.revoke(of, now))
    }

    fn void_certificates(&self, of: &BoxName, before: i64) -> Result<(), StoreError> {
        either!(self, store => store.void_certificates(of, before))
    }

    fn is_void(&self, of: &BoxName, made_at: i64) -> Result<bool, StoreError> {
        either!(self, store => store.is_void(of, made_at))
    }

    fn tenants(&self) -> Result<Vec<String>, StoreError> {
        either!(self, store => store.tenants())
    }

    fn boxes(&self, tenant_id: &str) -> Result<Vec<BoxRecord>, StoreError> {
        either!(self, store => store.boxes(tenant_id))
    }

    fn known_box(&self, of: &BoxName) -> Result<Option<BoxRecord>, StoreError> {
        either!(self, store => store.known_box(of))
    }

    fn document(&self, place: &Place<'_>) -> Result<Option<String>, StoreError> {
        either!(self, store => store.document(place))
    }

    fn documents(&self, tenant_id: &str, kind: DocumentKind) -> Result<Vec<(String, String)>, StoreError> {
        either!(self, store => store.documents(tenant_id, kind))
    }

    fn some_documents(
        &self,
        tenant_id: &str,
        kind: DocumentKind,
        names: &[&str],
    ) -> Result<BTreeMap<String, String>, StoreError> {
        either!(self, store => store.some_documents(tenant_id, kind, names))
    }

    fn change_document<T>(
        &self,
        place: &Place<'_>,
        now: i64,
        work: impl FnMut(Option<&str>) -> Result<Change<T>, StoreError>,
    ) -> Result<T, StoreError> {
        either!(self, store => store.change_document(place, now, work))
    }

    fn append_audit(&self, tenant_id: &str, now: i64, body: &str) -> Result<AuditEntry, StoreError> {
        either!(self, store => store.append_audit(tenant_id, now, body))
    }

    fn audit(&self, tenant_id: &str, after: u64, limit: u32) -> Result<Vec<AuditEntry>, StoreError> {
        either!(self, store => store.audit(tenant_id, after, limit))
    }

    fn news(&self, after: i64) -> Result<Vec<(BoxName, i64)>, StoreError> {
        either!(self, store => store.news(after))
    }

    fn check(&self) -> Result<(), StoreError> {
        either!(self, store => store.check())
    }
}
