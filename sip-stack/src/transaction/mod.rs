//! Transactions: one request with its responses, and the repeats that carry them over a lossy network
//! (RFC 3261 §17, RFC 6026).
//!
//! One file per diagram of the RFC; states and timers are spelt as there. A machine sees bytes to repeat and status
//! codes, never a message; `key` decides which machine a message belongs to, and `table` holds them all and bounds
//! their number. Left out on purpose: what a proxy needs, and 200 ms of waiting before 100 Trying, which the endpoint
//! sends at once.

mod client;
mod deadlines;
mod invite_client;
mod invite_server;
pub(crate) mod key;
mod server;
pub(crate) mod table;
mod timers;
#[cfg(test)]
pub(crate) mod trace;

pub use client::Client;
pub(crate) use deadlines::Deadlines;
pub use invite_client::InviteClient;
pub use invite_server::{InviteServer, RespondError};
pub use server::Server;
pub use timers::Timers;

use std::time::Instant;

/// What a machine tells its transaction user.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TransactionEvent {
    /// Timer B, F or H: nobody answers.
    TimedOut,
    /// The machine has nothing left to do and is to be dropped.
    Terminated,
}

/// What all four machines have in common: time goes in, messages and events come out.
pub trait Transaction {
    /// Does what is due at `now`.
    fn handle_timeout(&mut self, now: Instant);
    /// The next deadline and its timer's RFC letter.
    fn poll_timeout(&self) -> Option<(Instant, &'static str)>;
    /// The next message to send.
    fn poll_transmit(&mut self) -> Option<Vec<u8>>;
    /// The next event.
    fn poll_event(&mut self) -> Option<TransactionEvent>;
}

fn is_due(timer: Option<Instant>, now: Instant) -> bool {
    timer.is_some_and(|at| at <= now)
}

fn earliest<const N: usize>(timers: [(Option<Instant>, &'static str); N]) -> Option<(Instant, &'static str)> {
    timers.into_iter().filter_map(|(at, letter)| Some((at?, letter))).min()
}
