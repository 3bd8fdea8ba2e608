//! SIP and SDP as pure state machines.

pub mod message;
