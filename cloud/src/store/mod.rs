//! Where rows are kept: one trait, one suite of tests that each store must pass.
//!
//! ```text
//! stream ─Request─► answer ─► Store::transact(box) ─► the rules of sync::apply, over the store's Transaction
//! ```
//! A store gives the rules a transaction over the rows of one box, named by tenant and box as its certificate says, and
//! commits it before anything is answered. A store that may refuse to commit because of others runs the rules again.
//!
//! Left out so far: PostgreSQL. SQLite is one file and one writer: for a laptop and for an office with a few boxes.

mod columns;
mod sqlite;

#[cfg(test)]
mod conformance;

pub use columns::ColumnsError;
pub use sqlite::Sqlite;

use crate::sync::apply::{Transaction, apply, compare, greet};
use crate::sync::stream::{Event, Request};

/// Whose rows they are.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct BoxName {
    /// Who pays for the box: the first column of every key.
    pub tenant_id: String,
    /// The box itself.
    pub box_id: String,
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
    /// The database was written by a newer release.
    #[error("the database has format {found}, this release knows up to {known}: install the newer release again")]
    Newer {
        /// Its format.
        found: i64,
        /// The latest that we know.
        known: i64,
    },
    /// Anything else SQLite says.
    #[error("database: {0}")]
    Sqlite(rusqlite::Error),
}

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        match error.sqlite_error_code() {
            Some(rusqlite::ErrorCode::DiskFull) => StoreError::DiskFull,
            _ => StoreError::Sqlite(error),
        }
    }
}

/// The rows of one box, for the rules.
pub type Rows<'a> = dyn Transaction<Error = StoreError> + 'a;

/// Keeps rows. Blocks: not for async threads.
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
}

/// What the stream is answered. What the box may know of a failure is in the event, the rest in the log.
pub fn answer(store: &impl Store, of: &BoxName, request: &Request) -> Event {
    let answered = store.transact(of, |rows| match request {
        Request::Greet(hello) => greet(rows, hello).map(Event::Greeted),
        Request::Apply(batch) => apply(rows, batch).map(Event::Applied),
        Request::Compare(digest) => compare(rows, digest).map(Event::Compared),
    });
    answered.unwrap_or_else(|error| {
        tracing::error!(%error, "The store cannot");
        Event::Unavailable(match error {
            StoreError::DiskFull => "disk full".to_owned(),
            StoreError::Columns(_) | StoreError::Newer { .. } | StoreError::Sqlite(_) => "the store failed".to_owned(),
        })
    })
}
