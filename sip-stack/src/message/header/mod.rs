//! Typed header values: one file per header, with how it is read and written.
//!
//! Values stay raw in [`Headers`](super::Headers) until somebody asks for them, so a header nobody needs can never
//! spoil a call. The accessors of `Headers` ask.

mod caller;
#[cfg(test)]
mod check;
mod contact;
mod cseq;
mod date;
mod diversion;
mod event;
mod media_type;
mod name;
mod name_addr;
mod params;
mod privacy;
mod rack;
mod reason;
mod replaces;
mod retry_after;
mod session_expires;
mod subscription_state;
mod typed;
mod via;
mod warning;

pub use caller::CallerIdentity;
pub use contact::Contact;
pub use cseq::CSeq;
pub use date::Date;
pub use diversion::Diversion;
pub use event::EventHeader;
pub use media_type::MediaType;
pub use name::HeaderName;
pub use name_addr::NameAddr;
pub use params::{Param, ParamValue, Params};
pub use privacy::Privacy;
pub use rack::RAck;
pub use reason::ReasonHeader;
pub use replaces::Replaces;
pub use retry_after::RetryAfter;
pub use session_expires::{Refresher, SessionExpires};
pub use subscription_state::SubscriptionState;
pub use via::{MAGIC_COOKIE, Transport, Via};
pub use warning::Warning;
