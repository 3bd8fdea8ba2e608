//! The media thread: every call's RTP on one monotonic 20 ms clock.
//!
//! Each tick, for each stream: read what arrived, take one frame out of the jitter buffer and hand it to the call if it
//! wants to know, take one frame of what the call wants to say (or silence) and make it ready; then all of them are sent,
//! on the grid. Two streams that are bridged hear each other: what one brings goes out on the other in the same tick,
//! unless a call has something of its own to say there. Sounds of others may be added to that, for a third on the line. So
//! at most one frame of ours is ever queued, and a stop takes effect with the next one. Sending never pauses: sequence and
//! timestamp are continuous and the marker bit is set once, which keeps NAT bindings open and every peer's jitter buffer
//! calm.
//!
//! The thread neither locks nor waits for anything but its clock, and in steady state it allocates nothing
//! (`tests/media_allocates_nothing.rs`). Commands and events travel through bounded channels; a call that does not take its
//! events loses frames (counted), it does not delay the others.

mod datagrams;
mod events;
mod mixer;
mod readiness;
mod reports;
mod security;
mod stream;
#[cfg(test)]
mod tests;
mod thread;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::time::Duration;

use audio::codec::CodecKind;
use audio::pacing::PacingStats;
use audio::playout::ClipId;
use audio::rtp::srtp::{self, InboundStats, Keys};
use audio::rtp::{ReceiverConfig, ReceiverStats, SenderConfig};
use tokio::sync::watch;
use tracing::debug;

use self::events::Room;
pub use self::events::{MediaEvent, MediaEvents};
pub use self::mixer::Source;
use self::mixer::{Mixer, SOURCES};
use self::stream::Stream;
use super::ports::MediaPort;

/// Commands waiting for the media thread, over all calls.
const COMMAND_LIMIT: usize = 4_096;

/// One stream in each direction.
#[derive(Debug, Clone)]
pub struct StreamConfig {
    /// Where our packets go, from the peer's SDP, until the peer's own packets show where it really is.
    pub remote: SocketAddr,
    /// Where our reports go (RTCP), unless they go with the sound.
    pub remote_rtcp: SocketAddr,
    /// Reports of both sides go over the ports of the sound (RFC 5761).
    pub rtcp_mux: bool,
    /// Where the peer's signalling comes from: behind NAT its packets come from there, not from what its SDP says.
    pub signalled_from: IpAddr,
    /// How incoming packets are read.
    pub receiver: ReceiverConfig,
    /// How our packets look.
    pub sender: SenderConfig,
    /// Whether we may send (`sendrecv`, `sendonly` from our side); a peer on hold gets nothing.
    pub sending: bool,
    /// SRTP in both directions, under these keys; `None` is plain RTP.
    pub srtp: Option<Keys>,
}

impl StreamConfig {
    /// One codec under its static payload type and no keypad digits, with a random start (RFC 3550 §5.1).
    pub fn plain(remote: SocketAddr, codec: CodecKind) -> StreamConfig {
        let sender = SenderConfig {
            payload_type: codec.payload_type(),
            codec,
            ssrc: rand::random(),
            // Low enough for SRTP, whose count of wraps a lost packet could otherwise upset.
            first_sequence: srtp::first_sequence(rand::random()),
            first_timestamp: rand::random(),
            dtmf_payload_type: None,
        };
        StreamConfig {
            remote,
            remote_rtcp: SocketAddr::new(remote.ip(), remote.port().wrapping_add(1)),
            rtcp_mux: false,
            signalled_from: remote.ip(),
            receiver: ReceiverConfig::new(&[codec], None),
            sender,
            sending: true,
            srtp: None,
        }
    }
}

/// Counters of one stream, written by the media thread each second and at the end.
#[derive(Debug, Clone, Default)]
pub struct StreamStats {
    /// What arrived.
    pub received: ReceiverStats,
    /// Packets sent.
    pub sent_packets: u64,
    /// Packets from another address than the peer's, ignored.
    pub foreign_packets: u64,
    /// The peer's packets that were longer than any of RTP, ignored.
    pub oversized_packets: u64,
    /// RTCP packets of the peer's.
    pub reports: u64,
    /// RTCP packets that were not the peer's, not understood or not genuine.
    pub refused_reports: u64,
    /// Frames the call did not take in time.
    pub dropped_events: u64,
    /// What SRTP let through and what it refused; `None` for plain RTP.
    pub srtp: Option<InboundStats>,
    /// There and back again, if the peer has reported.
    pub round_trip: Option<Duration>,
    /// The highest jitter so far. Milliseconds.
    pub jitter_max_ms: f64,
    /// What people would say of the peer's sound, 1 to 4.41 (E-model, ITU-T G.107); `None` before there was any.
    pub mos: Option<f64>,
}

/// Packets that were not used, by why.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Refused {
    /// From another address than the peer's.
    pub foreign: u64,
    /// Longer than any packet of RTP.
    pub oversized: u64,
    /// Cut off, of another version, or otherwise not RTP.
    pub malformed: u64,
    /// RTP that nobody agreed on: another payload type, or a source that did not go on.
    pub unexpected: u64,
    /// Came before (SRTP), or too late to know.
    pub replayed: u64,
    /// Without the right tag (SRTP), or under a key that is used up.
    pub unauthenticated: u64,
    /// RTCP of any of these kinds.
    pub reports: u64,
}

impl StreamStats {
    /// What was not used.
    pub fn refused(&self) -> Refused {
        let (rtp, srtp) = (self.received.errors, self.srtp.map(|srtp| srtp.errors).unwrap_or_default());
        Refused {
            foreign: self.foreign_packets,
            oversized: self.oversized_packets,
            malformed: rtp.malformed() + srtp.too_short + srtp.wrong_version + srtp.truncated_header,
            unexpected: rtp.unknown_payload_type + rtp.unconfirmed_source + rtp.rtcp + srtp.rtcp + srtp.unencrypted,
            replayed: srtp.replayed + srtp.too_old,
            unauthenticated: srtp.authentication_failed + srtp.key_expired,
            reports: self.refused_reports,
        }
    }
}

enum Command {
    Open(Box<Stream>),
    Configure { stream: u64, config: Box<StreamConfig> },
    Play { stream: u64, clip: ClipId, samples: Arc<[i16]> },
    Stop { stream: u64 },
    GiveWay { stream: u64, how: GiveWay },
    Press { stream: u64, digit: char },
    Bridge { stream: u64, with: Option<u64> },
    Mix { stream: u64, mixer: Option<Box<Mixer>> },
    Tap { stream: u64, room: Option<Room> },
    Listen { stream: u64, room: Option<Room> },
    Close { stream: u64 },
}

/// How far what is played gives way to somebody who may be speaking.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GiveWay {
    /// Not at all: at full level, from where it was held.
    No,
    /// It goes on at a lower level.
    Ducked,
    /// It is silent and keeps its place.
    Held,
}

/// The running media thread, as seen by those who open streams on it; cheap to clone.
///
/// The thread ends when the last handle and the last session are gone.
#[derive(Debug, Clone)]
pub struct MediaHandle {
    commands: SyncSender<Command>,
    next_stream: Arc<AtomicU64>,
    clock: watch::Receiver<MediaClock>,
}

/// How well the 20 ms clock was kept so far.
#[derive(Debug, Clone, Copy, Default)]
pub struct MediaClock {
    /// Ticks, late ones, the worst.
    pub pacing: PacingStats,
    /// Whether the system granted real-time scheduling.
    pub realtime: bool,
}

/// One call's sound, while it lives; dropping it closes the stream and frees the port.
#[derive(Debug)]
pub struct MediaSession {
    stream: u64,
    commands: SyncSender<Command>,
    stats: watch::Receiver<StreamStats>,
}

/// A stream that another may be bridged with; one that is closed by then brings nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MediaPeer(u64);

#[cfg(test)]
impl MediaPeer {
    /// One that brings nothing.
    pub(crate) const CLOSED: MediaPeer = MediaPeer(u64::MAX);
}

/// The media thread did not take a command: it is stopped or thousands of commands behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the media thread does not take commands")]
pub struct MediaUnavailable;

impl MediaHandle {
    /// Starts the thread.
    ///
    /// # Errors
    /// The system's error when no thread can be started.
    pub fn start() -> std::io::Result<MediaHandle> {
        let (commands, received) = sync_channel(COMMAND_LIMIT);
        let (published, clock) = watch::channel(MediaClock::default());
        std::thread::Builder::new().name("media".into()).spawn(move || thread::run(&received, &published))?;
        Ok(MediaHandle { commands, next_stream: Arc::default(), clock })
    }

    /// Starts sending and receiving on `port`. Sound is told only to who [listens](MediaSession::listen).
    ///
    /// # Errors
    /// [`MediaUnavailable`].
    pub fn open(&self, port: MediaPort, config: StreamConfig) -> Result<(MediaSession, MediaEvents), MediaUnavailable> {
        let id = self.next_stream.fetch_add(1, Ordering::Relaxed);
        let (stats, watched) = watch::channel(StreamStats::default());
        let (teller, events) = events::channel();
        let stream = Stream::new(id, port, config, teller, stats);
        let session = MediaSession { stream: id, commands: self.commands.clone(), stats: watched };
        session.send(Command::Open(Box::new(stream)))?;
        Ok((session, events))
    }

    /// How well the clock was kept, as of the last second.
    pub fn clock(&self) -> MediaClock {
        *self.clock.borrow()
    }
}

impl MediaSession {
    fn send(&self, command: Command) -> Result<(), MediaUnavailable> {
        self.commands.try_send(command).map_err(|error| match error {
            TrySendError::Full(_) | TrySendError::Disconnected(_) => MediaUnavailable,
        })
    }

    /// Applies a new offer/answer: address, codec, direction.
    ///
    /// # Errors
    /// [`MediaUnavailable`], as for every command here.
    pub fn configure(&self, config: StreamConfig) -> Result<(), MediaUnavailable> {
        self.send(Command::Configure { stream: self.stream, config: Box::new(config) })
    }

    /// Appends `samples` (8 kHz) to what is played.
    ///
    /// # Errors
    /// [`MediaUnavailable`].
    pub fn play(&self, clip: ClipId, samples: Arc<[i16]>) -> Result<(), MediaUnavailable> {
        self.send(Command::Play { stream: self.stream, clip, samples })
    }

    /// Stops what is played at the next frame, with a short ramp, and throws the rest away.
    ///
    /// # Errors
    /// [`MediaUnavailable`].
    pub fn stop(&self) -> Result<(), MediaUnavailable> {
        self.send(Command::Stop { stream: self.stream })
    }

    /// Lowers or holds what is played, or goes on with it.
    ///
    /// # Errors
    /// [`MediaUnavailable`].
    pub fn give_way(&self, how: GiveWay) -> Result<(), MediaUnavailable> {
        self.send(Command::GiveWay { stream: self.stream, how })
    }

    /// Sends a keypad digit (RFC 4733).
    ///
    /// # Errors
    /// [`MediaUnavailable`].
    pub fn press(&self, digit: char) -> Result<(), MediaUnavailable> {
        self.send(Command::Press { stream: self.stream, digit })
    }

    /// Lets this stream and `other` hear each other from now on, keypad digits included. Neither tells its frames any
    /// more, only digits and clips; what the call plays on one of them is heard instead of the other.
    ///
    /// # Errors
    /// [`MediaUnavailable`].
    pub fn bridge(&self, other: MediaPeer) -> Result<(), MediaUnavailable> {
        self.send(Command::Bridge { stream: self.stream, with: Some(other.0) })?;
        self.send(Command::Bridge { stream: other.0, with: Some(self.stream) })
    }

    /// This stream, for who wants to [`bridge`](Self::bridge) with it.
    pub fn peer(&self) -> MediaPeer {
        MediaPeer(self.stream)
    }

    /// Ends [`bridge`](Self::bridge) for this side: it hears nobody, and tells its frames again.
    ///
    /// # Errors
    /// [`MediaUnavailable`].
    pub fn unbridge(&self) -> Result<(), MediaUnavailable> {
        self.send(Command::Bridge { stream: self.stream, with: None })
    }

    /// Has `sources` heard at `at` from now on, added to what is heard there anyway; those of before are not any more. `tone`
    /// (8 kHz) is heard over all of it, once.
    ///
    /// # Errors
    /// [`MediaUnavailable`].
    pub fn mix(
        &self,
        at: MediaPeer,
        sources: [Option<Source>; SOURCES],
        tone: Option<Arc<[i16]>>,
    ) -> Result<(), MediaUnavailable> {
        let is_silent = tone.is_none() && sources.iter().all(Option::is_none);
        let mixer = (!is_silent).then(|| Box::new(Mixer::new(sources, tone)));
        self.send(Command::Mix { stream: at.0, mixer })
    }

    /// Tells frames from now on even while bridged, and what is said to nobody's bridge: for a recording.
    ///
    /// # Errors
    /// [`MediaUnavailable`].
    pub fn tap(&self, is_on: bool) -> Result<(), MediaUnavailable> {
        self.send(Command::Tap { stream: self.stream, room: is_on.then(Room::new) })
    }

    /// Whether frames are told (they are not, until this says so): who only plays something need not be woken fifty times a
    /// second. [`tap`](Self::tap) has them told all the same.
    ///
    /// # Errors
    /// [`MediaUnavailable`].
    pub fn listen(&self, is_on: bool) -> Result<(), MediaUnavailable> {
        self.send(Command::Listen { stream: self.stream, room: is_on.then(Room::new) })
    }

    /// The stream's counters as of the last second.
    pub fn stats(&self) -> StreamStats {
        self.stats.borrow().clone()
    }
}

impl Drop for MediaSession {
    fn drop(&mut self) {
        if self.send(Command::Close { stream: self.stream }).is_err() {
            debug!("Media thread gone before its stream was closed");
        }
    }
}
