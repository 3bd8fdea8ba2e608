//! Whole tenants: given to a person as files, taken from files, moved from cell to cell, erased.
//!
//! ```text
//! export ─► FOLDER/tenant.jsonl.zst   a header, one line of JSON for each record, a trailer with their hash
//!                  recordings/BOX/SHA256
//! import ◄─ the same, into a cell that has nothing of the tenant
//! move   ── freeze ─► copy ─► compare ─► let go ─► open ─► directory ─► erase
//! ```
//! A **cell** is a store with its recordings and the services in front of them; all cells of one cloud have the same
//! authority. A **directory** is a store that only says where tenants live; any cell may be one.
//!
//! **At most one cell takes rows of a tenant, whenever a move is cut.** What each cell takes is decided by what it says itself
//! of where the tenant lives ([`store::tenants`](crate::store::tenants)), in the transaction that takes it. The cell that a
//! tenant leaves lets go of it for good before the other one opens it; until then it can only be opened again where it was.
//! Every step looks at what is there and may be done again, so a move that was cut is carried on by asking for it again.
//!
//! Left out on purpose: a tenant under another name (its boxes' certificates carry it), and one half of a tenant.

pub(crate) mod cli;
mod files;
mod moving;
mod recordings;

#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::sync::Arc;

pub use files::{Exported, Header, export, import};
pub use moving::{Move, Moved, Step};
pub use recordings::Recordings;

use crate::blobs::BlobError;
use crate::store::tenants::{Erasure, Holdings, Standing, StandingRecord, Summary, Tenants as _, wipe};
use crate::store::{AnyStore, BoxName, StoreError};

/// A cell, for whoever moves tenants.
pub struct Cell {
    /// Its rows.
    pub store: Arc<AnyStore>,
    /// Its recordings.
    pub recordings: Recordings,
    /// What its boxes connect to, as host and port.
    pub endpoint: String,
}

/// Who does something, and when.
#[derive(Debug, Clone, Copy)]
pub struct Actor<'a> {
    /// For the record.
    pub by: &'a str,
    /// Milliseconds since 1970.
    pub now: i64,
}

/// Why a tenant is not exported, imported, moved or erased.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TenantError {
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A recording.
    #[error("recordings of {of}: {error}")]
    Recording {
        /// Whose.
        of: BoxName,
        /// What is wrong.
        error: Box<BlobError>,
    },
    /// The folders of all recordings of a tenant.
    #[error("the recordings of {tenant_id}: {error}")]
    Recordings {
        /// Whose.
        tenant_id: String,
        /// What is wrong.
        error: Box<BlobError>,
    },
    /// It does not go with where the tenant lives.
    #[error("{tenant_id} {standing}: {expected}")]
    Standing {
        /// Whose.
        tenant_id: String,
        /// Where it lives.
        standing: Box<Standing>,
        /// What was expected, or what to do.
        expected: String,
    },
    /// A tenant comes only where nothing of it is.
    #[error("{tenant_id} has {boxes} boxes and {rows} rows in the cell it should come to: expected none")]
    NotEmpty {
        /// Whose.
        tenant_id: String,
        /// There.
        boxes: u64,
        /// There.
        rows: u64,
    },
    /// What one cell erases the other one would miss.
    #[error("both cells keep recordings in {0}: expected a folder or bucket for each (blobs.directory, blobs.bucket)")]
    OneFolder(String),
    /// What was copied is not what is there now.
    #[error("{tenant_id}: {} records with SHA-256 {} were copied, and {} with {} arrived: nothing was erased; ask for it again",
        copied.records, copied.sha256, arrived.records, arrived.sha256)]
    Differs {
        /// Whose.
        tenant_id: String,
        /// What was sent.
        copied: Summary,
        /// What is there.
        arrived: Summary,
    },
    /// A file of an export.
    #[error("{}: {error}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// What is wrong.
        error: std::io::Error,
    },
    /// An export that is not whole, or not one.
    #[error("{}: {reason}", path.display())]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// What was expected.
        reason: String,
    },
}

fn unexpected(tenant_id: &str, standing: &Standing, expected: impl Into<String>) -> TenantError {
    let (tenant_id, standing, expected) = (tenant_id.to_owned(), Box::new(standing.clone()), expected.into());
    TenantError::Standing { tenant_id, standing, expected }
}

/// Changes where a tenant lives; None leaves it.
fn change(
    store: &AnyStore,
    tenant_id: &str,
    actor: Actor<'_>,
    mut work: impl FnMut(&Standing, &Holdings) -> Result<Option<Standing>, TenantError>,
) -> Result<StandingRecord, TenantError> {
    let mut refused = None;
    let changed =
        store.change_standing(tenant_id, actor.by, actor.now, &mut |standing, here| match work(standing, here) {
            Ok(new) => Ok(new),
            Err(TenantError::Store(error)) => Err(error),
            Err(error) => {
                refused = Some(error);
                Ok(None)
            }
        })?;
    refused.map_or(Ok(changed), Err)
}

/// Nothing is taken of it any more, until it is opened or has moved. Again is once.
///
/// # Errors
/// [`TenantError::Standing`] unless it lives here.
pub fn freeze(store: &AnyStore, tenant_id: &str, actor: Actor<'_>) -> Result<StandingRecord, TenantError> {
    change(store, tenant_id, actor, |standing, _| match standing {
        Standing::Open => Ok(Some(Standing::Frozen { at: actor.now })),
        Standing::Frozen { .. } => Ok(None),
        Standing::Arriving { .. } | Standing::Ready { .. } | Standing::Elsewhere { .. } | Standing::Erased(_) => {
            Err(unexpected(tenant_id, standing, "expected one that lives here"))
        }
    })
}

/// One that was frozen lives here again; one that lives elsewhere only if whoever asks is `sure` that no cell has it open.
///
/// # Errors
/// [`TenantError::Standing`] of any other.
pub fn open(store: &AnyStore, tenant_id: &str, actor: Actor<'_>, sure: bool) -> Result<StandingRecord, TenantError> {
    change(store, tenant_id, actor, |standing, _| match standing {
        Standing::Open => Ok(None),
        Standing::Frozen { .. } => Ok(Some(Standing::Open)),
        Standing::Elsewhere { .. } | Standing::Ready { .. } if sure => Ok(Some(Standing::Open)),
        Standing::Elsewhere { .. } | Standing::Ready { .. } => {
            let expected = format!("if no other cell takes its rows any more, say so with --yes {tenant_id}");
            Err(unexpected(tenant_id, standing, expected))
        }
        Standing::Arriving { .. } => {
            Err(unexpected(tenant_id, standing, "move or import it again, or erase what there is of it"))
        }
        Standing::Erased(_) => Err(unexpected(tenant_id, standing, "what was erased does not come back")),
    })
}

/// Its boxes are sent to another cell. What is here of it, if it was frozen, stays until it is erased.
///
/// # Errors
/// [`TenantError::Standing`] of one that is open and has something here.
pub fn place(
    store: &AnyStore,
    tenant_id: &str,
    endpoint: &str,
    actor: Actor<'_>,
) -> Result<StandingRecord, TenantError> {
    let there = Standing::Elsewhere { endpoint: endpoint.to_owned() };
    change(store, tenant_id, actor, |standing, here| match standing {
        same if *same == there => Ok(None),
        Standing::Open if here.is_empty => Ok(Some(there.clone())),
        Standing::Frozen { .. } | Standing::Elsewhere { .. } => Ok(Some(there.clone())),
        Standing::Open => Err(unexpected(tenant_id, standing, "freeze and export it first, or move it")),
        Standing::Arriving { .. } | Standing::Ready { .. } => {
            Err(unexpected(tenant_id, standing, "carry the move on, or erase what there is of it"))
        }
        Standing::Erased(_) => Err(unexpected(tenant_id, standing, "what was erased does not come back")),
    })
}

/// Everything that is here of a tenant goes. Of one that lived here a tombstone stays, of one that lives elsewhere the way to
/// it, of one that was on its way here nothing. Again is once, and one that was cut is carried on.
///
/// # Errors
/// [`TenantError::Standing`] of one that is about to be opened here; the store, the recordings.
pub fn erase(cell: &Cell, tenant_id: &str, actor: Actor<'_>) -> Result<StandingRecord, TenantError> {
    let begun = change(&cell.store, tenant_id, actor, |standing, here| match standing {
        Standing::Open | Standing::Frozen { .. } => {
            let Holdings { boxes, rows, documents, claims, .. } = *here;
            let erasure = Erasure { boxes, rows, documents, claims, done_at: None, recordings: 0 };
            Ok(Some(Standing::Erased(erasure)))
        }
        Standing::Arriving { .. } | Standing::Elsewhere { .. } | Standing::Erased(_) => Ok(None),
        Standing::Ready { .. } => {
            Err(unexpected(tenant_id, standing, "carry the move on: the other cell may have let go of it"))
        }
    })?;
    if matches!(&begun.standing, Standing::Erased(erasure) if erasure.done_at.is_some()) {
        return Ok(begun);
    }
    wipe(&*cell.store, tenant_id)?;
    let recordings = cell.recordings.forget_tenant(tenant_id)?;
    change(&cell.store, tenant_id, actor, |standing, _| match standing {
        Standing::Erased(erasure) => {
            let recordings = erasure.recordings + recordings;
            Ok(Some(Standing::Erased(Erasure { done_at: Some(actor.now), recordings, ..erasure.clone() })))
        }
        Standing::Arriving { .. } => Ok(Some(Standing::Open)),
        Standing::Open | Standing::Frozen { .. } | Standing::Ready { .. } | Standing::Elsewhere { .. } => Ok(None),
    })
}
