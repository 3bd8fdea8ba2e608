//! The central service: what boxes send, kept so that nothing is lost and nothing doubled.
//!
//! Left out so far: the service itself (its sockets, its commands). What is here is what decides, a stream's state machine and
//! the rules by which rows are taken, both without clocks, sockets and threads; and a store that keeps the rows.

pub mod clock;
pub mod local_postgres;
pub mod store;
pub mod sync;
