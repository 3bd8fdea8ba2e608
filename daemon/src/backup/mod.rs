//! Sealed copies of the box, from which another one can go on.
//!
//! ```text
//! FOLDER (a share, a stick, the cloud)/offhook-OWN-KEY/
//!   base-EPOCH-SEQ.tar.zst.age        once a day: the database as of entry SEQ of the change log, and the small files beside it
//!   segment-EPOCH-AFTER-TO.zst.age    every ten seconds with changes: the rows of entries (AFTER, TO], as sync sends them;
//!                                     small tables that the change log is not about, whole
//!   recordings/SHA256.wav.age         each once
//! ```
//! Everything is sealed for the `age` keys of `backup.recipients` and for the box's own, and nothing else: whoever has the
//! folder has nothing. A base can be opened by hand: `age -d -i KEY base-….tar.zst.age | zstd -d | tar x`.
//!
//! After many segments comes one that holds them all, so that there are some hundred to fetch and not thousands.
//!
//! A base is looked at before it counts (`integrity_check`); once a week everything is restored into a scratch folder and
//! compared with what is here ([`drill`]). The restored box takes a new epoch, so that the cloud knows it from the one that is
//! lost. Recordings follow behind; a box that runs fetches those that its rows name and its disk does not have.
//!
//! Left out on purpose: tables that the change log is not about and that are outdated within minutes anyway (the state of
//! trunks, what was uploaded); they are as of the last base. So are small files beside the database.

mod cloud;
mod make;
mod restore;
mod seal;
mod state;
mod task;
mod vault;

pub use restore::{Drilled, Restored, check_is_empty, drill, restore, vault_in_cloud};
pub use seal::{BackupKey, Recipients, SealError};
pub use state::{BackupState, PlaceState, look};
pub use task::{Backups, back_up_once};
pub use vault::Vault;

/// Why a backup or a restore did not come about.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BackupError {
    /// A file or folder.
    #[error("{path}: {source}")]
    File {
        /// Which.
        path: String,
        /// What is wrong.
        source: std::io::Error,
    },
    /// A key, or what was sealed.
    #[error(transparent)]
    Seal(#[from] SealError),
    /// The database, here or restored.
    #[error("database: {0}")]
    Sql(#[from] rusqlite::Error),
    /// The storage of the running box.
    #[error(transparent)]
    Storage(#[from] crate::storage::StorageError),
    /// There is nothing to restore.
    #[error("{0}: expected base-….tar.zst.age there, or in one folder below")]
    NoBase(String),
    /// What was restored is not whole.
    #[error("{what} is damaged: {why}")]
    Damaged {
        /// Which file.
        what: String,
        /// What was found.
        why: String,
    },
    /// The cloud is not reached, or cannot now; it may by itself.
    #[error("the cloud is away: {0}")]
    Away(String),
    /// The cloud says no.
    #[error("the cloud refuses: {0}")]
    Refused(String),
    /// The cloud does not know the box.
    #[error(
        "this box is not claimed: `offhook cloud claim CODE`, or `offhook restore cloud --code CODE` for another box's place"
    )]
    NotClaimed,
    /// There is a box already.
    #[error("{0} has a database already: a backup is restored into an empty folder")]
    NotEmpty(String),
}

fn file_error(path: &std::path::Path) -> impl FnOnce(std::io::Error) -> BackupError {
    let path = path.display().to_string();
    move |source| BackupError::File { path, source }
}
