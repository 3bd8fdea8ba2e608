//! Recordings go up too, beside the rows and after everything else that the line is needed for.
//!
//! ```text
//! recordings, blob_uploads ─► rows: what the cloud does not have yet
//!                               ▲ │
//!                         Look  │ ▼ Found
//!                             uploader: one file at a time, the oldest first ◄─► task: a connection of its own
//!                               ▲
//!                             pace: how much now ◄─ how many calls are up, and how they sound
//! ```
//! What is to go up is found from rows, so nothing has to be queued and a restart forgets nothing. The cloud says where to go
//! on with a file; what it has is noted with the cloud's name, and asked again after a month while the file is here, so that
//! a store of recordings that lost some gets them back.
//!
//! A recording whose row is deleted is not sent any more, and the cloud deletes it with the row: nothing is lost by that.
//! One whose row stays and whose file is gone or damaged before the cloud had it is a line in the loss ledger.
//!
//! Left out on purpose: fetching recordings back, which is a restore's business, and those of calls that the cloud has taken
//! ([`deliveries`](crate::deliveries)).

mod pace;
mod rows;
mod task;
mod uploader;

pub use rows::{Counts, counts};
pub use task::{Uploads, place_of};

pub(crate) use pace::Pace;
pub(crate) use task::frames;

use serde::{Deserialize, Serialize};

/// A file that is to go up.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Blob {
    /// Of its content, 64 hexadecimal digits.
    pub(super) sha256: String,
    /// Of its content.
    pub(super) size_bytes: u64,
}

/// What became of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Outcome {
    /// The cloud has it.
    Kept,
    /// The cloud will never take it, and why.
    Refused(String),
    /// It is not here any more as its row says.
    Lost(Fault),
}

/// What is wrong with a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// It is not there.
    Gone,
    /// Its size or hash is another than its row says.
    Damaged,
}

impl Fault {
    /// For the loss ledger.
    pub(super) fn reason(self) -> &'static str {
        match self {
            Fault::Gone => "recording_gone",
            Fault::Damaged => "recording_damaged",
        }
    }
}

/// Which recordings go up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Wanted {
    /// None.
    None,
    /// What callers left after the tone.
    #[default]
    Messages,
    /// Those of whole calls too.
    All,
}
