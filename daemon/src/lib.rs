//! The product `offhook` as a library.

pub mod conversation;
pub mod knowledge;
pub mod office;
pub mod redact;
pub mod storage;
