//! SIP and SDP as pure state machines.

pub mod endpoint;
pub mod message;
pub mod sdp;
pub mod transaction;
