//! The product `offhook` as a library.

pub mod knowledge;
pub mod redact;
pub mod storage;
