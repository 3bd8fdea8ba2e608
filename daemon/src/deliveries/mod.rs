//! What reached the cloud for this box, because it could not be reached itself: text messages, what became of ours, and calls
//! that the carrier gave to the cloud.
//!
//! ```text
//! Delivery ─► task ─┬─ a text, progress ─► notices::told, as at the box's own address ─┐
//!                   └─ a call ─► sound: fetched beside calls, hash checked ─► call: its rows, the job of its words
//!             Delivered ◄─ once it is kept, in one transaction ◄──────────────────────┘
//! ```
//! The cloud sends a delivery until it is told that the box has it. Each has its effect once: texts and what becomes of them
//! are known by their references, and the keys of a call's rows are made from what the carrier calls it, so that they are the
//! same whoever writes them, also on a box that was restored from a backup.
//!
//! Left out on purpose: what the caller is told (the cloud's business), and anything a box that is reached does itself.

mod call;
mod sound;
mod task;

pub(crate) use task::Deliveries;
pub use task::Post;
