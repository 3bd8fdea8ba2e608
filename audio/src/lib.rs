//! What happens to sound: RTP, codecs, jitter buffer, DTMF, play-out and signal processing.
//!
//! Everything here is a pure function or a bounded buffer. Datagrams and PCM go in, datagrams and PCM come out, and
//! `now` is an argument: nothing reads a clock, opens a socket, spawns or locks. [`wav`] alone takes
//! paths.
//!
//! ```text
//! datagram ─► rtp::Receiver ─► jitter::JitterBuffer ─► codec::Decoder ─► Frame or WideFrame (20 ms, one per tick)
//!     │            └─► rtp::DtmfReceiver ─► DtmfEvent
//!     └─ rtp::srtp::Inbound first, where keys were agreed; rtp::srtp::Outbound last
//! clips ─► playout::Playout ─► Frame ─► rtp::Sender ─► datagram       pacing::SendClock says when
//! ```
//!
//! RFCs: 3389 (comfort noise), 3550 (RTP, RTCP), 3551 (audio profile), 3711 and 7714 (SRTP, SRTCP), 4733 (DTMF
//! events), 5761 §4 (telling RTP from RTCP), 7587 (Opus), 7845 (Opus in Ogg); ITU-T E.180, G.107, G.711, G.722, Q.23 and Q.24.
//!
//! Left out on purpose: SDP and ports (`sip-stack`, `daemon`), address latching (needs sockets). Comfort
//! noise ([`codec::comfort_noise`]) stands beside the stream: [`rtp::Receiver`] does not play it.
//!
//! **Why PCM is frames of two rates (2026-11).** One fixed frame of 20 ms keeps every buffer free of allocation. Trunks
//! speak at 8 kHz, G.722, Opus and the speech models at 16 kHz, and nothing in a telephone call needs more. A stream's own
//! rate is its codec's; [`rtp::Receiver`] and [`rtp::Sender`] convert by [`dsp::half_band`] where the other one is asked
//! for.

pub mod codec;
pub mod dsp;
pub mod e_model;
pub mod jitter;
pub mod opus_file;
pub mod pacing;
pub mod playout;
pub mod rtp;
#[cfg(test)]
mod testing;
pub mod time;
pub mod wav;

pub use time::{FRAME_DURATION, FRAME_SAMPLES, Frame, SILENT_FRAME, WIDE_FRAME_SAMPLES, WideFrame};
