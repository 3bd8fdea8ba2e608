//! The box's end of sync: rows go up to a central cloud whenever there is a connection.
//!
//! ```text
//! change_log, rows ─► log: stretches, ranges, sums, each in one read transaction
//!                          ▲ │
//!                  Read    │ ▼ Stretch, RangeRows
//!                        engine: when to connect, what to send, what is missing there ◄─► task: a stream to the cloud
//! ```
//! The change log is the fast way, digests are the guarantee: whatever becomes of entries or of the cloud's copy, both ends
//! compare sums of their rows, and days that differ are sent again.
//!
//! A box is claimed once, with a code, and is known by its certificate from then on ([`enrolment`], [`link`]). All of it is
//! off unless it is wanted, and never on the path of a call (`task`).
//!
//! Recordings go up beside them ([`blobs`]). What the cloud wishes and wants done goes to [`fleet`](crate::fleet).

pub mod blobs;
pub mod engine;
pub mod enrolment;
pub mod link;
pub mod log;
pub mod state;
mod tables;
mod task;
mod way;

pub use tables::{Identity, TABLES, Table};
pub use task::CloudSync;
