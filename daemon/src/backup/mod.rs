//! Sealed copies of the box, from which another one can go on.
//!
//! ```text
//! FOLDER (a share, a stick)/offhook-OWN-KEY/
//!   base-EPOCH-SEQ.tar.zst.age        once a day: the database as of entry SEQ of the change log, and the small files beside it
//!   segment-EPOCH-AFTER-TO.zst.age    every ten seconds with changes: the rows of entries (AFTER, TO], as sync sends them
//!   recordings/SHA256.wav.age         each once
//! ```
//! Everything is sealed for the `age` keys of `backup.recipients` and for the box's own, and nothing else: whoever has the
//! folder has nothing. A base can be opened by hand: `age -d -i KEY base-….tar.zst.age | zstd -d | tar x`.
//!
//! A base is looked at before it counts (`integrity_check`); once a week everything is restored into a scratch folder and
//! compared with what is here ([`drill`]). The restored box takes a new epoch, so that the cloud knows it from the one that is
//! lost.
//!
//! Left out on purpose: tables that the change log is not about (registrations of phones, the state of trunks); they are as
//! of the last base.

mod make;
mod restore;
mod seal;
mod state;
mod task;
mod vault;

pub use restore::{Restored, drill, restore};
pub use seal::{BackupKey, Recipients, SealError};
pub use state::{BackupState, look};
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
    #[error("{0}: expected a folder with base-….tar.zst.age in it, or one folder below that has it")]
    NoBase(String),
    /// What was restored is not whole.
    #[error("{what} is damaged: {why}")]
    Damaged {
        /// Which file.
        what: String,
        /// What was found.
        why: String,
    },
    /// There is a box already.
    #[error("{0} has a database already: a backup is restored into an empty folder")]
    NotEmpty(String),
}

fn file_error(path: &std::path::Path) -> impl FnOnce(std::io::Error) -> BackupError {
    let path = path.display().to_string();
    move |source| BackupError::File { path, source }
}
