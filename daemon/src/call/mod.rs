//! Calls: who may come in, and one task for each that does.
//!
//! ```text
//! SIP event ─► Router ─► admission ─► row in call_sessions ─► 180 ─► 200 ─► CallTask
//!                                                                            │ frames ─► Listener ─► conversation
//!                                                                            │ commands ─► Voice, ears, mind, Message
//!                                                                            └ rows ─► storage
//! ```

mod listener;
mod message;
pub(crate) mod negotiate;
mod record;
mod router;
mod services;
mod task;
mod voice;

pub use router::Router;
pub use services::{Abilities, Ears, Mind, Services, Thought, VoiceActivityFactory};
