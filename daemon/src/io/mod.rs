//! Sockets, timers and threads: the only place that asks what time it is.
//!
//! `sip` drives the pure SIP endpoint over UDP, TCP and TLS, with a task of `stream` for each connection and the
//! certificates of `tls`; `gate` decides who may speak to the SIP port at all, and `bans` tells the packet filter; `media` is the thread with the 20 ms clock
//! that carries every call's RTP; `ports` lends RTP ports; `resolve` finds a trunk's servers; `address` knows under which
//! address others reach us, with `stun` from outside; `sound_card` is what comes out of the box itself. Nothing here decides anything about a call.

pub mod address;
pub mod bans;
pub mod gate;
pub mod media;
pub mod ports;
pub mod probe;
pub mod resolve;
pub mod sip;
pub mod sound_card;
mod stream;
pub mod stun;
pub mod tls;

/// Waits until `deadline`, for ever without one.
pub(crate) async fn sleep_until(deadline: Option<std::time::Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline.into()).await,
        None => std::future::pending().await,
    }
}
