//! RTP over UDP (RFC 3550) with the audio profile (RFC 3551): packets, one stream in, one stream out, DTMF, RTCP.

mod dtmf;
mod error;
mod packet;
mod receiver;
mod reception;
pub mod rtcp;
mod sender;
mod seq;
pub mod srtp;
mod tone_keys;

pub use dtmf::{DtmfError, DtmfEvent, DtmfReceiver, EventPayload, digit_of, event_code_of};
pub use error::{ErrorCounts, RtpError};
pub use packet::{HEADER_BYTES, MAX_PACKET_BYTES, Packet, PayloadType, is_rtcp};
pub use receiver::{FrameKind, Played, Receiver, ReceiverConfig, ReceiverStats};
pub use reception::{Reception, Verdict};
pub use sender::{DtmfQueueError, Sender, SenderConfig, SenderStats};
pub use seq::{SequenceExtender, SequenceNumber};
