//! The central service: what boxes send, kept so that nothing is lost and nothing doubled.
//!
//! What decides is a stream's state machine and the rules by which rows are taken ([`sync`]), both without clocks, sockets and
//! threads. Around it are a [`store`] that keeps the rows, [`blobs`] for recordings, sealed [`backups`], an [`authority`] that says
//! who a box is, the [`server`], the [`fleet`]: what boxes should be and do, and [`twilio`]: what its carrier tells the cloud
//! instead of a box. A tenant lives in one cell, a store with its services, and [`tenants`] moves it to another.

pub mod authority;
pub mod backups;
pub mod blobs;
pub mod cli;
pub mod clock;
pub mod config;
mod files;
pub mod fleet;
pub mod local_postgres;
pub mod memory;
pub mod names;
mod operators;
pub mod server;
pub mod store;
pub mod sync;
pub mod tenants;
pub mod twilio;
