//! The jitter buffer: packets in any order in, one frame per 20 ms tick out.
//!
//! ```text
//!            ┌── head is old or deep enough ──►┐
//!        Buffering                           Playing ── in turn: decode; hole: conceal; pause by the peer: silence
//!            └◄── nothing left for 3 frames ───┘
//! ```
//!
//! The target is what 98 % of the packets keep (`delay_estimate`), and at least the configured delay. Every half second
//! the delay really added is compared with it (`pace`); what is too much or too little goes by periods of the voice
//! (`time_scale`), without a click and without another pitch. That also follows a peer whose clock is fast or slow.
//! Starving makes the delay longer too: the packet that comes after all is played, not thrown away, because a recogniser
//! wants every word. A packet is late only if one after it was already played.
//!
//! The marker bit is not asked: some peers set it on every packet, some never. A talkspurt shows in timestamps that jump
//! while the sequence runs on.
//!
//! Timestamps and lengths of packets count in the RTP clock, samples in the codec's rate; [`StreamClock`] holds both.

use std::time::Duration;

use crate::rtp::PayloadType;
#[cfg(doc)]
use crate::time::StreamClock;
use crate::time::{FRAME_DURATION, RtpTimestamp, SampleRate};

mod buffer;
mod conceal;
mod delay_estimate;
mod filling;
mod pace;
mod pitch;
mod store;
#[cfg(test)]
mod tests;
mod time_scale;

pub use buffer::JitterBuffer;
pub use store::CAPACITY_PACKETS;

/// The longest packet taken.
pub const MAX_PACKET: Duration = Duration::from_millis(200);

/// [`MAX_PACKET`] in ticks of an RTP clock.
pub const fn max_packet_ticks(clock_rate: SampleRate) -> u32 {
    clock_rate.hz() / 5
}

/// What a frame is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FrameKind {
    /// Sound from packets.
    Speech,
    /// At least partly made up for lost or late packets.
    Concealed,
    /// Nothing arrived, was meant to arrive, or could be made up any more: digital silence.
    Silence,
}

/// How much delay is spent on smoothness.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct JitterConfig {
    /// Delay aimed at when the network is smooth; kept within 20 to 100 ms. It grows by itself with the jitter, up to
    /// 120 ms.
    pub target_delay: Duration,
}

impl Default for JitterConfig {
    fn default() -> Self {
        Self { target_delay: 2 * FRAME_DURATION }
    }
}

/// What the buffer had to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct JitterStats {
    /// Packets that came after one behind them was played, or again.
    pub late: u64,
    /// Packets thrown away because too much had piled up.
    pub discarded: u64,
    /// Frames made up at least partly.
    pub concealed_frames: u64,
    /// Sound left out to give up delay.
    pub shortened: Duration,
    /// Sound repeated to gain delay.
    pub lengthened: Duration,
}

/// A packet for the buffer.
#[derive(Debug, Clone, Copy)]
pub struct Arrived<'a> {
    /// Extended sequence number.
    pub sequence: u64,
    /// Moment of the first sample.
    pub timestamp: RtpTimestamp,
    /// Length in RTP clock ticks; at most [`MAX_PACKET`].
    pub duration_ticks: u32,
    /// `None` for a packet that takes a sequence number but holds no sound, like a DTMF event.
    pub payload_type: Option<PayloadType>,
    /// What to decode when its turn comes.
    pub payload: &'a [u8],
}

/// What makes sound of the packets: the decoders of the stream.
pub trait Source {
    /// Turns the payload of one packet into samples, appending them.
    fn decode(&mut self, payload_type: PayloadType, payload: &[u8], samples: &mut Vec<i16>);

    /// As [`crate::codec::Decoder::conceal`], for the codec of that payload type.
    fn conceal(&mut self, payload_type: PayloadType, count: usize, next: Option<&[u8]>, samples: &mut Vec<i16>)
    -> bool;
}
