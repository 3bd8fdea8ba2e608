//! What Twilio tells the cloud instead of a box: what became of text messages, texts that come, and calls that reach no box.
//!
//! ```text
//! Twilio ─POST, signed─► server::callbacks ─► hooks: which box, what it means, what is answered
//!    ▲                                          └► handed: a delivery in the store, once for each thing however often it is told
//!    └──recordings── server::recordings ◄── being prepared                └► its stream, whenever the box is there
//! ```
//! A box that Twilio can reach is told by itself (`sms.callback_url` of its own configuration); most cannot be reached.
//!
//! Each tenant has a document ([`settings`]): accounts with their tokens, and which number is which box's. Whatever is told is
//! decided by plain code over that document and the form that came.
//!
//! **The tokens of accounts are in the store, 2026-11.** They open what the store holds anyway, the office's calls and
//! messages, and every instance needs them; files beside each instance would be one more thing to carry around for each
//! tenant. They are read from a file or from the standard input once, shown to nobody, and stand in no log. What would change
//! our mind: a store whose backups are read by people who may not read calls.
//!
//! Left out on purpose: sending text messages, which boxes do themselves, and deleting what Twilio has recorded.

pub mod cli;
pub mod handed;
pub mod hooks;
pub mod settings;

pub use settings::{Settings, change_settings, settings_of};
