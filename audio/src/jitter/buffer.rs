use crate::time::{Frame, SILENT_FRAME};
use std::time::Duration;

/// Longest packet taken, in RTP clock ticks: 200 ms.
pub const MAX_PACKET_TICKS: u32 = 1_600;

/// What a frame is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FrameKind {
    /// Sound from packets.
    Speech,
    /// At least partly made up for lost or late packets.
    Concealed,
    /// Nothing arrived, was meant to arrive, or could be made up any more: digital silence.
    Silence,
}

/// One tick's frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Played {
    /// 20 ms of PCM.
    pub frame: Frame,
    /// Where it came from.
    pub kind: FrameKind,
}

/// How much delay is spent on smoothness.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct JitterConfig {
    /// Delay aimed at when the network is smooth; kept within 20 to 100 ms. It grows by itself with the jitter.
    pub target_delay: Duration,
}

impl Default for JitterConfig {
    fn default() -> Self {
        Self { target_delay: Duration::from_millis(40) }
    }
}

/// What the buffer had to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct JitterStats {
    /// Packets that came after their turn.
    pub late: u64,
    /// Packets thrown away because too much had piled up.
    pub discarded: u64,
    /// Frames made up at least partly.
    pub concealed_frames: u64,
    /// Frames left out to catch up with the peer's clock or after a burst.
    pub dropped_frames: u64,
}

/// Placeholder.
pub struct JitterBuffer;
impl JitterBuffer {
    pub(crate) fn silence() -> Played {
        Played { frame: SILENT_FRAME, kind: FrameKind::Silence }
    }
}
