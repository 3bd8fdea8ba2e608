//! The jitter buffer: packets in any order in, one frame per 20 ms tick out.
//!
//! ```text
//!            ┌── head is old or deep enough ──►┐
//!        Buffering                           Playing ── in turn: decode; hole: conceal; pause by the peer: silence
//!            └◄── nothing left for 3 frames ───┘
//! ```
//!
//! Delay adapts in three plain ways. Starving makes it longer: the packet that comes after all is played, not thrown
//! away, because a recogniser wants every word. When more than the target has lain in the buffer for half a second, one
//! frame is blended into the next; that also follows a peer whose clock is fast. The target itself grows with the
//! jitter of the last seconds. A packet is late only if one after it was already played.
//!
//! The marker bit is not asked: some peers set it on every packet, some never. A talkspurt shows in timestamps that jump
//! while the sequence runs on.
//!
//! Left out: time stretching, concealment that follows the pitch, packets decoded ahead of their turn.

mod buffer;
mod conceal;
mod delay_estimate;
mod store;

pub use buffer::{Arrived, Decode, FrameKind, JitterBuffer, JitterConfig, JitterStats, Played};
pub use store::{CAPACITY_PACKETS, MAX_PACKET_TICKS};
