//! The cloud's end of sync.
//!
//! ```text
//! messages of a box ─► stream: checks, order, who may speak ─► apply: what a message changes, in one transaction
//!                        ◄─ Welcome, Ack, Verdict, Goodbye ─┘        └─► a store behind the trait Transaction
//! ```
//! No state is shared between streams but the store's: any instance may serve any stream, and two streams of one box at a
//! time, of which one is long dead, do no harm. Four things make it so, all in the transaction that takes a batch: the epoch
//! must be the box's latest, a stretch of its log must follow the watermark, a row never goes back to an older version, and
//! a key that is gone stays gone.

pub mod apply;
pub mod stream;
mod tables;

pub use tables::TABLES;
