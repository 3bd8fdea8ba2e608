//! SIP and SDP as pure state machines.

pub mod message;
pub mod sdp;
