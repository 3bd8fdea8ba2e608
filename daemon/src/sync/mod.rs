//! The box's end of sync: rows go up to a central cloud whenever there is a connection.
//!
//! ```text
//! change_log, rows ─► log: stretches, ranges, sums, each in one read transaction
//!                          ▲ │
//!                  Read    │ ▼ Stretch, RangeRows
//!                        engine: when to connect, what to send, what is missing there ◄─► a stream to the cloud
//! ```
//! The change log is the fast way, digests are the guarantee: whatever becomes of entries or of the cloud's copy, both ends
//! compare sums of their rows, and days that differ are sent again.
//!
//! Left out so far: the stream itself. The engine is a pure machine and is tested without one.

pub mod engine;
pub mod log;
mod tables;

pub use tables::{Identity, TABLES, Table};
