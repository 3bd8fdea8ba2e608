//! The product `offhook` as a library.

pub mod api;
pub mod call;
pub mod caller;
pub mod cli;
pub mod config;
pub mod conversation;
pub mod dial_plan;
pub mod doctor;
pub mod durable;
pub mod engines;
pub mod identity;
pub mod inference;
pub mod io;
pub mod knowledge;
pub mod logging;
pub mod mcp;
pub mod memory;
pub mod office;
pub mod redact;
pub mod registrar;
pub mod service;
pub mod speaker;
pub mod status;
pub mod storage;
pub mod tuned;
pub mod update;
