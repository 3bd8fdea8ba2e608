//! The media thread: every call's RTP on one monotonic 20 ms clock.
//!
//! Each tick, for each stream: read what arrived, take one frame out of the jitter buffer and hand it to the call, take
//! one frame of what the call wants to say (or silence) and send it. Two streams that are bridged hear each other: what
//! one brings goes out on the other in the same tick, unless a call has something of its own to say there. So at most one frame of ours is ever queued, and a
//! stop takes effect within 20 ms. Sending never pauses: sequence and timestamp are continuous and the marker bit is
//! set once, which keeps NAT bindings open and every peer's jitter buffer calm.
//!
//! The thread neither locks nor waits for anything but its clock. Commands and events travel through bounded channels;
//! a call that does not take its events loses frames (counted), it does not delay the others.

mod reports;
mod security;

use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver as CommandReceiver, SyncSender, TryRecvError, TrySendError, sync_channel};
use std::time::{Duration, Instant};

use audio::codec::CodecKind;
use audio::dsp::half_band::Downsampler;
use audio::e_model::Line;
use audio::pacing::{PacingStats, SendClock};
use audio::playout::{ClipId, Playout, PlayoutEvent};
use audio::rtp::srtp::{self, InboundStats, Keys};
use audio::rtp::{DtmfEvent, FrameKind, Receiver, ReceiverConfig, ReceiverStats, Sender, SenderConfig};
use audio::time::SampleRate;
use audio::{Frame, SILENT_FRAME, WideFrame};
use tokio::sync::{mpsc, watch};
use tracing::{debug, warn};

use self::reports::Reports;
use self::security::Security;
use super::ports::MediaPort;

/// Commands waiting for the media thread, over all calls.
const COMMAND_LIMIT: usize = 4_096;
/// Events waiting for one call: 2.5 s of frames.
pub const EVENT_LIMIT: usize = 128;
/// Datagrams of the peer read per stream and tick: three times what any sane sender produces in 20 ms, so that a flood on
/// one port cannot hold up the others.
const READ_LIMIT: usize = 16;
/// Datagrams of others thrown away per stream and tick. They cost a read and a comparison each, and must not take the
/// peer's place: if the flood is read more slowly than it comes, the peer's packets are lost with it.
const FOREIGN_LIMIT: usize = 256;
/// Largest datagram that is RTP audio; longer ones are cut by the read and fail to parse.
const DATAGRAM_LIMIT_BYTES: usize = 2_048;
/// Counters are published once a second.
const PUBLISH_TICKS: u64 = 50;
/// How far speech is lowered while we find out whether the caller interrupts.
const DUCK_GAIN_DB: f32 = -15.0;
/// Digits of one tick that cross a bridge; a keypad manages one in several ticks.
const DIGIT_LIMIT: usize = 4;
/// Priority on the real-time round-robin scheduler, where the system allows it.
const REALTIME_PRIORITY: i32 = 20;

/// One stream in each direction.
#[derive(Debug, Clone)]
pub struct StreamConfig {
    /// Where our packets go, from the peer's SDP, until the peer's own packets show where it really is.
    pub remote: SocketAddr,
    /// Where our reports go (RTCP).
    pub remote_rtcp: SocketAddr,
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
            signalled_from: remote.ip(),
            receiver: ReceiverConfig::new(&[codec], None),
            sender,
            sending: true,
            srtp: None,
        }
    }
}

/// What a stream tells its call.
#[derive(Debug)]
pub enum MediaEvent {
    /// 20 ms from the jitter buffer.
    Frame {
        /// The sound.
        frame: Frame,
        /// Heard, concealed or nothing there.
        kind: FrameKind,
        /// When it left the jitter buffer.
        at: Instant,
    },
    /// 20 ms that went out, where that was asked for ([`MediaSession::tap`]) and is not what another leg brought.
    Said(Frame),
    /// A keypad digit was pressed (RFC 4733).
    Digit(char),
    /// The first packet of a clip was sent.
    ClipStarted {
        /// Which.
        clip: ClipId,
        /// When.
        at: Instant,
    },
    /// The last packet of a clip was sent.
    ClipFinished {
        /// Which.
        clip: ClipId,
        /// When.
        at: Instant,
    },
    /// A clip was stopped, or thrown away before it began.
    ClipStopped {
        /// Which.
        clip: ClipId,
        /// How much of it went out.
        heard: Duration,
    },
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

enum Command {
    Open(Box<Stream>),
    Configure { stream: u64, config: Box<StreamConfig> },
    Play { stream: u64, clip: ClipId, samples: Arc<[i16]> },
    Stop { stream: u64 },
    Duck { stream: u64, ducked: bool },
    Press { stream: u64, digit: char },
    Bridge { stream: u64, with: Option<u64> },
    Tap { stream: u64, is_on: bool },
    Close { stream: u64 },
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
        std::thread::Builder::new().name("media".into()).spawn(move || run(&received, &published))?;
        Ok(MediaHandle { commands, next_stream: Arc::default(), clock })
    }

    /// Starts sending and receiving on `port`; events go to `events` (give it room for [`EVENT_LIMIT`]).
    ///
    /// # Errors
    /// [`MediaUnavailable`].
    pub fn open(
        &self,
        port: MediaPort,
        config: StreamConfig,
        events: mpsc::Sender<MediaEvent>,
    ) -> Result<MediaSession, MediaUnavailable> {
        let id = self.next_stream.fetch_add(1, Ordering::Relaxed);
        let (stats, watched) = watch::channel(StreamStats::default());
        let stream = Stream::new(id, port, config, events, stats);
        let session = MediaSession { stream: id, commands: self.commands.clone(), stats: watched };
        session.send(Command::Open(Box::new(stream)))?;
        Ok(session)
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

    /// Lowers what is played, or brings it back.
    ///
    /// # Errors
    /// [`MediaUnavailable`].
    pub fn duck(&self, ducked: bool) -> Result<(), MediaUnavailable> {
        self.send(Command::Duck { stream: self.stream, ducked })
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

    /// Tells frames from now on even while bridged, and what is said to nobody's bridge: for a recording.
    ///
    /// # Errors
    /// [`MediaUnavailable`].
    pub fn tap(&self, is_on: bool) -> Result<(), MediaUnavailable> {
        self.send(Command::Tap { stream: self.stream, is_on })
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

/// 20 ms, as wide as the codec they came in.
#[derive(Debug, Clone, Copy)]
#[expect(clippy::large_enum_variant, reason = "a box around each would allocate every 20 ms")]
enum Heard {
    Narrow(Frame),
    Wide(WideFrame),
}

struct Stream {
    id: u64,
    port: MediaPort,
    config: StreamConfig,
    /// Where the peer's packets really come from: the first sender at a signalled address, then locked (symmetric RTP).
    latched: Option<SocketAddr>,
    receiver: Receiver,
    sender: Sender,
    security: Security,
    reports: Reports,
    playout: Playout,
    /// The stream whose sound goes out here.
    bridged_with: Option<u64>,
    /// Somebody records.
    is_tapped: bool,
    /// What this tick brought from there.
    bridged: Option<Heard>,
    /// What this tick brought, for the other side of a bridge.
    heard: Heard,
    /// For a recording of what is bridged wide.
    downsampler: Downsampler,
    /// Digits of this tick, likewise.
    pressed: Vec<char>,
    events: mpsc::Sender<MediaEvent>,
    stats: StreamStats,
    published: watch::Sender<StreamStats>,
    packet: Vec<u8>,
}

impl Stream {
    fn new(
        id: u64,
        port: MediaPort,
        config: StreamConfig,
        events: mpsc::Sender<MediaEvent>,
        published: watch::Sender<StreamStats>,
    ) -> Stream {
        Stream {
            id,
            port,
            latched: None,
            receiver: Receiver::new(config.receiver.clone()),
            sender: Sender::new(config.sender),
            security: Security::new(config.srtp.as_ref()),
            reports: Reports::new(&config.sender, Instant::now()),
            config,
            playout: Playout::new(),
            bridged_with: None,
            is_tapped: false,
            bridged: None,
            heard: Heard::Narrow(SILENT_FRAME),
            downsampler: Downsampler::default(),
            pressed: Vec::with_capacity(DIGIT_LIMIT),
            events,
            stats: StreamStats::default(),
            published,
            packet: Vec::with_capacity(DATAGRAM_LIMIT_BYTES),
        }
    }

    fn configure(&mut self, config: StreamConfig) {
        if config.remote != self.config.remote {
            self.latched = None;
        }
        if config.receiver != self.config.receiver {
            self.receiver = Receiver::new(config.receiver.clone());
        }
        self.sender.renegotiate(&config.sender);
        self.reports.configure(&config.sender);
        self.security.configure(config.srtp.as_ref(), config.remote != self.config.remote);
        self.config = config;
    }

    /// The first half of a tick: what came in.
    fn listen(&mut self, buffer: &mut [u8], now: Instant) {
        self.read(buffer, now);
        let is_bridged = self.bridged_with.is_some();
        if is_bridged && self.config.sender.codec.sample_rate() == SampleRate::WIDE_BAND {
            let played = self.receiver.poll_wide_frame(now);
            self.heard = Heard::Wide(played.frame);
            if self.is_tapped {
                let frame = self.downsampler.process(&played.frame);
                self.emit(MediaEvent::Frame { frame, kind: played.kind, at: now });
            }
        } else {
            let played = self.receiver.poll_frame(now);
            self.heard = Heard::Narrow(played.frame);
            if !is_bridged || self.is_tapped {
                self.emit(MediaEvent::Frame { frame: played.frame, kind: played.kind, at: now });
            }
        }
        self.pressed.clear();
        while let Some(event) = self.receiver.poll_dtmf() {
            match event {
                DtmfEvent::Pressed { digit, .. } => {
                    if self.pressed.len() < DIGIT_LIMIT {
                        self.pressed.push(digit);
                    }
                    self.emit(MediaEvent::Digit(digit));
                }
                DtmfEvent::Released { .. } => {}
            }
        }
    }

    /// Takes what the other side of the bridge heard in this tick.
    fn take_over(&mut self, other: &Stream) {
        self.bridged = Some(other.heard);
        for digit in &other.pressed {
            // Without telephone events at this side the digit was heard by us all the same.
            let _ = self.sender.queue_dtmf(*digit);
        }
    }

    /// The second half of a tick: what goes out.
    fn speak(&mut self, now: Instant) {
        self.write(now);
        while let Some(event) = self.playout.poll_event() {
            self.emit(match event {
                PlayoutEvent::Started { clip } => MediaEvent::ClipStarted { clip, at: now },
                PlayoutEvent::Finished { clip } => MediaEvent::ClipFinished { clip, at: now },
                PlayoutEvent::Stopped { clip, heard } => MediaEvent::ClipStopped { clip, heard },
            });
        }
    }

    /// Reports of both sides, whenever there are some.
    fn report(&mut self, now: Instant) {
        let Some(socket) = self.port.rtcp_socket() else { return };
        let peer = self.rtcp_peer();
        self.reports.read(socket, peer, &mut self.security, now);
        self.reports.write((socket, peer), (&self.receiver, &self.sender), &mut self.security, now);
    }

    fn say_goodbye(&mut self) {
        let Some(socket) = self.port.rtcp_socket() else { return };
        let peer = self.rtcp_peer();
        self.reports.end((socket, peer), (&self.receiver, &self.sender), &mut self.security, Instant::now());
    }

    /// Behind NAT where its sound comes from, one port further.
    fn rtcp_peer(&self) -> SocketAddr {
        match self.latched.filter(|latched| *latched != self.config.remote) {
            Some(latched) => SocketAddr::new(latched.ip(), latched.port().wrapping_add(1)),
            None => self.config.remote_rtcp,
        }
    }

    fn read(&mut self, buffer: &mut [u8], now: Instant) {
        let (mut read, mut foreign) = (0, 0);
        while read < READ_LIMIT && foreign < FOREIGN_LIMIT {
            let (length, source) = match self.port.socket().recv_from(buffer) {
                Ok(read) => read,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                // ICMP port unreachable and the like: the peer is not listening yet, or not any more.
                Err(_) => {
                    read += 1;
                    continue;
                }
            };
            if !self.is_peer(source) {
                self.stats.foreign_packets += 1;
                foreign += 1;
                continue;
            }
            read += 1;
            // Before the address is locked: only a peer that has the key may say where it is.
            let Some(packet) = self.security.open(&mut buffer[..length]) else { continue };
            if self.receiver.handle_packet(packet, now).is_ok() {
                self.latched.get_or_insert(source);
            }
        }
    }

    fn is_peer(&self, source: SocketAddr) -> bool {
        match self.latched {
            Some(latched) => source == latched,
            None => source.ip() == self.config.remote.ip() || source.ip() == self.config.signalled_from,
        }
    }

    fn write(&mut self, now: Instant) {
        let bridged = self.bridged.take();
        // What we have to say ourselves is narrow.
        let ours = self.playout.poll_frame();
        if self.is_tapped && self.bridged_with.is_none() {
            self.emit(MediaEvent::Said(ours.unwrap_or(SILENT_FRAME)));
        }
        let said = ours.map(Heard::Narrow).or(bridged).unwrap_or(Heard::Narrow(SILENT_FRAME));
        if !self.config.sending {
            self.sender.skip();
            return;
        }
        self.packet.clear();
        match &said {
            Heard::Narrow(frame) => self.sender.packet(frame, &mut self.packet),
            Heard::Wide(frame) => self.sender.wide_packet(frame, &mut self.packet),
        }
        if !self.security.seal(&mut self.packet) {
            return;
        }
        let target = self.latched.unwrap_or(self.config.remote);
        match self.port.socket().send_to(&self.packet, target) {
            Ok(_) => self.stats.sent_packets += 1,
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => debug!(%error, stream = self.id, ?now, "RTP packet not sent"),
        }
    }

    fn emit(&mut self, event: MediaEvent) {
        if self.events.try_send(event).is_err() {
            self.stats.dropped_events += 1;
        }
    }

    fn publish(&mut self) {
        self.stats.received = self.receiver.stats();
        self.stats.srtp = self.security.stats();
        self.stats.round_trip = self.reports.round_trip;
        self.stats.jitter_max_ms = self.stats.jitter_max_ms.max(self.stats.received.jitter_ms);
        let line = Line::of(&self.stats.received, self.config.sender.codec, self.stats.round_trip);
        self.stats.mos = (self.stats.received.received > 0).then(|| line.rating().mos);
        self.published.send_replace(self.stats.clone());
    }
}

fn run(commands: &CommandReceiver<Command>, published: &watch::Sender<MediaClock>) {
    let realtime = become_realtime();
    let mut streams = Streams::new();
    let mut clock = SendClock::new(Instant::now());
    let mut buffer = [0; DATAGRAM_LIMIT_BYTES];
    while apply(commands, &mut streams) {
        // Nobody to serve: wait for a command instead of ticking, so that an idle box sleeps.
        if streams.is_empty() {
            match commands.recv() {
                Ok(command) => execute(command, &mut streams),
                Err(_) => return,
            }
            clock = SendClock::new(Instant::now());
            continue;
        }
        std::thread::sleep(clock.next_deadline().saturating_duration_since(Instant::now()));
        let now = Instant::now();
        for _ in 0..clock.advance(now) {
            tick(&mut streams, &mut buffer, now);
        }
        if clock.stats().ticks.is_multiple_of(PUBLISH_TICKS) {
            streams.iter_mut().for_each(|stream| stream.publish());
            published.send_replace(MediaClock { pacing: clock.stats(), realtime });
        }
    }
}

/// In the order of their numbers, which only rise: a bridge finds its other side by binary search. Boxed, so that closing
/// one moves only pointers.
type Streams = Vec<Box<Stream>>;

fn position(streams: &Streams, id: u64) -> Option<usize> {
    streams.binary_search_by_key(&id, |stream| stream.id).ok()
}

/// Everybody listens before anybody speaks: so a bridge adds no tick of its own.
fn tick(streams: &mut Streams, buffer: &mut [u8], now: Instant) {
    for stream in streams.iter_mut() {
        stream.listen(buffer, now);
    }
    for index in 0..streams.len() {
        let other = streams[index].bridged_with.and_then(|id| position(streams, id));
        if let Some(Ok([stream, other])) = other.map(|other| streams.get_disjoint_mut([index, other])) {
            stream.take_over(other);
        }
        streams[index].speak(now);
        streams[index].report(now);
    }
}

/// Runs what is waiting; false when nobody can send a command any more.
fn apply(commands: &CommandReceiver<Command>, streams: &mut Streams) -> bool {
    loop {
        match commands.try_recv() {
            Ok(command) => execute(command, streams),
            Err(TryRecvError::Empty) => return true,
            Err(TryRecvError::Disconnected) => return false,
        }
    }
}

fn execute(command: Command, streams: &mut Streams) {
    let mut with = |id: u64, act: &mut dyn FnMut(&mut Stream)| {
        if let Some(index) = position(streams, id) {
            act(&mut streams[index]);
        }
    };
    match command {
        Command::Open(stream) => {
            // Numbers are given out before commands are sent, so two calls may open in the other order.
            let place = streams.partition_point(|open| open.id < stream.id);
            streams.insert(place, stream);
        }
        Command::Configure { stream, config } => with(stream, &mut |stream| stream.configure((*config).clone())),
        Command::Play { stream, clip, samples } => with(stream, &mut |stream| {
            if stream.playout.play(clip, Arc::clone(&samples)).is_err() {
                warn!(stream = stream.id, "Play-out queue full, clip dropped");
                stream.emit(MediaEvent::ClipStopped { clip, heard: Duration::ZERO });
            }
        }),
        Command::Stop { stream } => with(stream, &mut |stream| stream.playout.stop()),
        Command::Duck { stream, ducked: true } => with(stream, &mut |stream| stream.playout.duck(DUCK_GAIN_DB)),
        Command::Duck { stream, ducked: false } => with(stream, &mut |stream| stream.playout.unduck()),
        Command::Press { stream, digit } => with(stream, &mut |stream| {
            if stream.sender.queue_dtmf(digit).is_err() {
                debug!(stream = stream.id, "Digit not sent: no telephone-event agreed or not a keypad digit");
            }
        }),
        Command::Tap { stream, is_on } => with(stream, &mut |stream| stream.is_tapped = is_on),
        Command::Bridge { stream, with: other } => with(stream, &mut |stream| stream.bridged_with = other),
        Command::Close { stream } => {
            if let Some(index) = position(streams, stream) {
                let mut stream = streams.remove(index);
                stream.say_goodbye();
                stream.publish();
            }
        }
    }
}

/// Asks for the real-time round-robin scheduler; without the right to it the thread stays an ordinary one.
#[expect(unsafe_code, reason = "no safe wrapper for pthread_setschedparam among our dependencies")]
fn become_realtime() -> bool {
    let parameters = libc::sched_param { sched_priority: REALTIME_PRIORITY };
    // SAFETY: `pthread_self` is always valid and `parameters` lives through the call, which keeps no pointer.
    unsafe { libc::pthread_setschedparam(libc::pthread_self(), libc::SCHED_RR, &raw const parameters) == 0 }
}

#[cfg(test)]
mod tests {
    use audio::dsp::level::peak_dbov;
    use audio::rtp::PayloadType;
    use audio::rtp::srtp::{MasterKey, Profile};

    use super::super::ports::PortPool;
    use super::*;

    const LOOPBACK: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    fn key(seed: u8) -> MasterKey {
        MasterKey::generate(Profile::AesCm128HmacSha1_80, |bytes| bytes.fill(seed))
    }

    /// Two streams that talk to each other, `ours` and `theirs` as their keys: what the second hears of a tone of the
    /// first in 50 frames (loudest peak in dBov), and its counters.
    fn heard(ours: Option<Keys>, theirs: Option<Keys>) -> (f32, StreamStats) {
        let media = MediaHandle::start().unwrap();
        let [near, far] = [(); 2].map(|()| PortPool::new(LOOPBACK, 0, 1).lend().unwrap());
        let config = |remote: &MediaPort, srtp| StreamConfig {
            srtp,
            ..StreamConfig::plain(SocketAddr::new(LOOPBACK, remote.local().port()), CodecKind::Pcmu)
        };
        let (near_config, far_config) = (config(&far, ours), config(&near, theirs));
        let ((near_events, _near_heard), (far_events, mut far_heard)) = (mpsc::channel(128), mpsc::channel(128));
        let speaker = media.open(near, near_config, near_events).unwrap();
        let listener = media.open(far, far_config, far_events).unwrap();
        let tone: Vec<i16> = (0..8_000).map(|n| ((f32::from(n as i16) * 0.4).sin() * 16_000.0) as i16).collect();
        speaker.play(ClipId(1), tone.into()).unwrap();
        let mut loudest = f32::NEG_INFINITY;
        for _ in 0..50 {
            match far_heard.blocking_recv() {
                Some(MediaEvent::Frame { frame, .. }) => loudest = loudest.max(peak_dbov(&frame)),
                Some(_) => {}
                None => break,
            }
        }
        let mut stats = listener.stats.clone();
        drop(listener);
        // The last counters are published as the stream closes.
        while let Some(MediaEvent::Frame { .. }) = far_heard.blocking_recv() {}
        let last = stats.borrow_and_update().clone();
        (loudest, last)
    }

    /// One of our streams and the far end of it, each on a port of its own.
    fn pair(media: &MediaHandle) -> [(MediaSession, mpsc::Receiver<MediaEvent>); 2] {
        let ports = [(); 2].map(|()| PortPool::new(LOOPBACK, 0, 1).lend().unwrap());
        let locals = [&ports[1], &ports[0]].map(|port| SocketAddr::new(LOOPBACK, port.local().port()));
        let mut remotes = locals.into_iter();
        ports.map(|port| {
            let mut config = StreamConfig::plain(remotes.next().unwrap(), CodecKind::Pcmu);
            let events = PayloadType::new(101).unwrap();
            config.receiver = ReceiverConfig::new(&[CodecKind::Pcmu], Some(events));
            config.sender.dtmf_payload_type = Some(events);
            let (sender, receiver) = mpsc::channel(EVENT_LIMIT);
            (media.open(port, config, sender).unwrap(), receiver)
        })
    }

    /// What one far end says and presses comes out at the other far end, and not at the box.
    #[test]
    fn bridged_streams_hear_each_other() {
        let media = MediaHandle::start().unwrap();
        let [(caller, _caller_events), (near, mut near_events)] = pair(&media);
        let [(callee, mut callee_events), (far, _far_events)] = pair(&media);
        near.bridge(far.peer()).unwrap();
        let tone: Vec<i16> = (0..16_000).map(|n| ((f32::from(n as i16) * 0.4).sin() * 16_000.0) as i16).collect();
        caller.play(ClipId(1), tone.into()).unwrap();
        caller.press('7').unwrap();
        let (mut loudest, mut digits) = (f32::NEG_INFINITY, String::new());
        for _ in 0..100 {
            match callee_events.blocking_recv().unwrap() {
                MediaEvent::Frame { frame, .. } => loudest = loudest.max(peak_dbov(&frame)),
                MediaEvent::Digit(digit) => digits.push(digit),
                MediaEvent::Said(_)
                | MediaEvent::ClipStarted { .. }
                | MediaEvent::ClipFinished { .. }
                | MediaEvent::ClipStopped { .. } => {}
            }
        }
        assert!(loudest > -15.0, "{loudest} dBov");
        assert_eq!(digits, "7");
        near.unbridge().unwrap();
        drop((callee, far));
        let mut frames = 0;
        while frames < 10 {
            frames += u32::from(matches!(near_events.blocking_recv().unwrap(), MediaEvent::Frame { .. }));
        }
    }

    #[test]
    fn srtp_is_heard_by_the_peer_with_the_keys() {
        let ours = Keys { outbound: key(1), inbound: key(2) };
        let theirs = Keys { outbound: key(2), inbound: key(1) };
        let (loudest, stats) = heard(Some(ours), Some(theirs));
        assert!(loudest > -15.0, "{loudest} dBov");
        assert!(stats.srtp.unwrap().rtp_packets > 20, "{stats:?}");
    }

    #[test]
    fn a_peer_with_another_key_or_none_hears_nothing() {
        let ours = Keys { outbound: key(1), inbound: key(2) };
        let wrong = Keys { outbound: key(2), inbound: key(3) };
        let (loudest, stats) = heard(Some(ours), Some(wrong.clone()));
        assert!(loudest < -60.0, "{loudest} dBov");
        assert_eq!(stats.srtp.unwrap().rtp_packets, 0);
        let (loudest, _) = heard(None, Some(wrong));
        assert!(loudest < -60.0, "plain RTP must not pass: {loudest} dBov");
    }
}
