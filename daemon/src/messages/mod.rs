//! What becomes of a message once it is kept: words, particulars, notices, a promise. Each step is a durable job.
//!
//! ```text
//! kept ─► transcribe ─► understand ─► notify ─► notices
//!            │ fails        │ asks for a call back
//!            ▼              ▼
//!          notify        follow_ups ─► remind ─► escalate
//! ```
//! A step is done in the transaction that keeps its effect and queues the next one. One that fails is tried again later;
//! the office is told of the message after the first failure already, without words. The sound is kept whatever fails.

mod particulars;
mod pipeline;
mod transcribe;

pub use particulars::{Particulars, Requested};
pub use pipeline::{Pipeline, Workshop};
