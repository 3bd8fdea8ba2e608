//! SIP and SDP as pure state machines.
