//! Typed header values: one file per header, with how it is read and written.
//!
//! Values stay raw in [`Headers`](super::Headers) until somebody asks for them, so a header nobody needs can never
//! spoil a call. The accessors of `Headers` ask.

#[cfg(test)]
mod check;
mod contact;
mod cseq;
mod date;
mod media_type;
mod name;
mod name_addr;
mod params;
mod reason;
mod retry_after;
mod typed;
mod via;
mod warning;

pub use contact::Contact;
pub use cseq::CSeq;
pub use date::Date;
pub use media_type::MediaType;
pub use name::HeaderName;
pub use name_addr::NameAddr;
pub use params::{Param, ParamValue, Params};
pub use reason::ReasonHeader;
pub use retry_after::RetryAfter;
pub use via::{MAGIC_COOKIE, Transport, Via};
pub use warning::Warning;
