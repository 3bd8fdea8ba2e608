//! One incoming RTP stream: datagrams in, one frame per tick and key presses out.

use std::time::Instant;

use super::dtmf::{DtmfEvent, DtmfReceiver};
use super::error::{ErrorCounts, RtpError};
use super::packet::{Packet, PayloadType};
use crate::codec::CodecKind;
pub use crate::jitter::{FrameKind, Played};
use crate::jitter::{JitterBuffer, JitterConfig};
use crate::time::SampleRate;

/// What was negotiated for the incoming direction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReceiverConfig {
    /// Every codec we offered or answered with, by payload type: a peer may switch between them at any packet.
    pub codecs: Vec<(PayloadType, CodecKind)>,
    /// Payload type of `telephone-event`, if negotiated.
    pub dtmf_payload_type: Option<PayloadType>,
    /// Delay against smoothness.
    pub jitter: JitterConfig,
}

/// How the stream fared. Counts run over all sources of the stream.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct ReceiverStats {
    /// Packets of the stream, duplicates left out, late ones included.
    pub received: u64,
    /// Packets that never came (RFC 3550 §A.3), as of now: one still under way counts.
    pub lost: u64,
    /// Packets that came after their turn; they are not lost, but not heard.
    pub late: u64,
    /// Packets that came again.
    pub duplicate: u64,
    /// Packets that came after one with a higher sequence number.
    pub reordered: u64,
    /// Packets thrown away because too much had piled up.
    pub discarded: u64,
    /// Datagrams that broke the format, see [`ErrorCounts::malformed`].
    pub malformed: u64,
    /// Refused datagrams by reason.
    pub errors: ErrorCounts,
    /// Frames made up at least partly.
    pub concealed_frames: u64,
    /// Frames left out to catch up with the peer.
    pub dropped_frames: u64,
    /// Interarrival jitter (RFC 3550 §6.4.1) in milliseconds.
    pub jitter_ms: f64,
    /// Changes of SSRC, or jumps in sequence, that were followed.
    pub source_changes: u64,
    /// Arrival of the latest packet with a negotiated payload type; for the no-RTP watchdog.
    pub last_packet_at: Option<Instant>,
}

/// One incoming stream.
pub struct Receiver {
    config: ReceiverConfig,
    dtmf: DtmfReceiver,
    stats: ReceiverStats,
}

impl ReceiverConfig {
    /// These codecs under their static payload types, default jitter settings.
    pub fn new(codecs: &[CodecKind], dtmf_payload_type: Option<PayloadType>) -> Self {
        let codecs = codecs.iter().map(|&kind| (kind.payload_type(), kind)).collect();
        Self { codecs, dtmf_payload_type, jitter: JitterConfig::default() }
    }
}

impl Receiver {
    /// A stream from which nothing has come.
    pub fn new(config: ReceiverConfig) -> Self {
        Self { config, dtmf: DtmfReceiver::new(SampleRate::NARROW_BAND), stats: ReceiverStats::default() }
    }

    /// Takes one datagram from the RTP port.
    ///
    /// # Errors
    /// If it gives no sound; see [`RtpError`]. All are counted, none harms the stream.
    pub fn handle_packet(&mut self, datagram: &[u8], arrival: Instant) -> Result<(), RtpError> {
        let result = self.take(datagram, arrival);
        if let Err(error) = &result {
            self.stats.errors.count(error);
        }
        result
    }

    fn take(&mut self, datagram: &[u8], arrival: Instant) -> Result<(), RtpError> {
        let packet = Packet::parse(datagram)?;
        if self.config.dtmf_payload_type == Some(packet.payload_type) {
            self.dtmf.handle_packet(packet.timestamp, packet.payload, arrival)?;
        }
        Ok(())
    }

    /// The frame of this tick. Call once every 20 ms, whether packets come or not.
    pub fn poll_frame(&mut self, now: Instant) -> Played {
        self.dtmf.handle_timeout(now);
        JitterBuffer::silence()
    }

    /// The next key press or release, oldest first.
    pub fn poll_dtmf(&mut self) -> Option<DtmfEvent> {
        self.dtmf.poll_event()
    }

    /// How the stream fared so far.
    pub fn stats(&self) -> ReceiverStats {
        self.stats
    }

    /// The source we listen to, once there is one.
    pub fn ssrc(&self) -> Option<u32> {
        None
    }
}
