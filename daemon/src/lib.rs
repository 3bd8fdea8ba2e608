//! The product `offhook` as a library.

pub mod call;
pub mod caller;
pub mod config;
pub mod conversation;
pub mod inference;
pub mod io;
pub mod knowledge;
pub mod logging;
pub mod office;
pub mod redact;
pub mod speaker;
pub mod storage;
