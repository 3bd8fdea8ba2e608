//! Years of a box and its cloud from a seed: both real engines, a network that breaks, and clocks that jump.
//!
//! ```text
//! office (writes rows) ─► PhoneBox: a model of the database, the real daemon::sync::engine
//!                             │ wires: one for each stream; stalled, cut, reset, late
//!                         Cloud: one real cloud::sync::stream for each stream, the real rules, a model of the store
//! ```
//! Messages of a stream stay in order, as they do over TCP. What comes twice and out of order comes from streams that the
//! box has given up and the cloud has not: they deliver what was on the way when a partition ends, beside the living one.
//!
//! The laws are checked while it runs (`laws.rs`) and at the end: both have the same rows, what was acknowledged
//! is there, a row never went back, the loss ledger is empty, and in a calm year nothing is sent twice.

mod cloud;
mod laws;
mod phone_box;
mod wire;
mod year;

pub use self::cloud::Flaw;
pub use self::year::{Plan, Tally, run_year};
