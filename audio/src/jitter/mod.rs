//! The jitter buffer: packets in any order in, one frame per 20 ms tick out.

mod buffer;

pub use buffer::{FrameKind, JitterBuffer, JitterConfig, JitterStats, MAX_PACKET_TICKS, Played};
