//! One stream on the media thread: what it does in each tick.

use std::io::ErrorKind;
use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use audio::dsp::half_band::Downsampler;
use audio::e_model::Line;
use audio::playout::{Playout, PlayoutEvent};
use audio::rtp::{DtmfEvent, Receiver, Sender, is_rtcp};
use audio::time::SampleRate;
use audio::{Frame, SILENT_FRAME, WideFrame};
use tokio::sync::watch;
use tracing::{debug, warn};

use super::datagrams::{BATCH, Datagram, Datagrams};
use super::events::{Note, Room, Sound, Teller};
use super::mixer::{Mixer, Source};
use super::reports::Reports;
use super::security::Security;
use super::{GiveWay, StreamConfig, StreamStats};
use crate::io::ports::MediaPort;

/// Datagrams of the peer read per stream and tick: three times what any sane sender produces in 20 ms, so that a flood on
/// one port cannot hold up the others.
const READ_LIMIT: usize = 16;
/// Datagrams of others thrown away per stream and tick. They cost a read and a comparison each, and must not take the
/// peer's place: if the flood is read more slowly than it comes, the peer's packets are lost with it.
const FOREIGN_LIMIT: usize = 256;
/// Longer than any packet of ours: 20 ms of any codec, a header and a tag.
const PACKET_BYTES: usize = 400;
/// A peer that was silent for so long may come from another port. Longer than a network hangs, shorter than anybody says
/// "hello?" into silence.
const REBOUND_AFTER: Duration = Duration::from_secs(1);
/// How far speech is lowered while we find out whether the caller interrupts.
const DUCK_GAIN_DB: f32 = -15.0;
/// Digits of one tick that cross a bridge; a keypad manages one in several ticks.
const DIGIT_LIMIT: usize = 4;

/// 20 ms, as wide as the codec they came in.
#[derive(Debug, Clone, Copy)]
#[expect(clippy::large_enum_variant, reason = "a box around each would allocate every 20 ms")]
pub(super) enum Heard {
    Narrow(Frame),
    Wide(WideFrame),
}

/// See the module.
pub(super) struct Stream {
    pub(super) id: u64,
    port: MediaPort,
    config: StreamConfig,
    /// Where the peer's packets really come from: the first sender at a signalled address, then locked (symmetric RTP); see `is_peer`.
    latched: Option<SocketAddr>,
    /// When something of the peer's last came.
    peer_heard_at: Option<Instant>,
    receiver: Receiver,
    pub(super) sender: Sender,
    security: Security,
    reports: Reports,
    pub(super) playout: Playout,
    /// The stream whose sound goes out here.
    pub(super) bridged_with: Option<u64>,
    /// Somebody records.
    is_tapped: bool,
    /// The call wants to know what was heard.
    is_listened_to: bool,
    /// What this tick brought from there.
    bridged: Option<Heard>,
    /// What else is heard here.
    pub(super) mixer: Option<Box<Mixer>>,
    /// What we said ourselves in this tick, for who is to hear it elsewhere.
    played: Option<Frame>,
    /// What this tick brought, for the other side of a bridge.
    heard: Heard,
    /// For a recording of what is bridged wide.
    downsampler: Downsampler,
    /// Digits of this tick, likewise.
    pressed: Vec<char>,
    teller: Teller,
    stats: StreamStats,
    published: watch::Sender<StreamStats>,
    /// This tick's packet; empty when none is to be sent.
    packet: Vec<u8>,
}

impl Stream {
    pub(super) fn new(
        id: u64,
        port: MediaPort,
        config: StreamConfig,
        teller: Teller,
        published: watch::Sender<StreamStats>,
    ) -> Stream {
        Stream {
            id,
            port,
            latched: None,
            peer_heard_at: None,
            receiver: Receiver::new(config.receiver.clone()),
            sender: Sender::new(config.sender),
            security: Security::new(config.srtp.as_ref()),
            reports: Reports::new(&config.sender, Instant::now()),
            config,
            playout: Playout::new(),
            bridged_with: None,
            is_tapped: false,
            is_listened_to: false,
            bridged: None,
            mixer: None,
            played: None,
            heard: Heard::Narrow(SILENT_FRAME),
            downsampler: Downsampler::default(),
            pressed: Vec::with_capacity(DIGIT_LIMIT),
            teller,
            stats: StreamStats::default(),
            published,
            packet: Vec::with_capacity(PACKET_BYTES),
        }
    }

    /// The socket of reports, to be watched: where they come with the sound nothing comes there.
    pub(super) fn rtcp_socket(&self) -> Option<&UdpSocket> {
        self.port.rtcp_socket()
    }

    pub(super) fn configure(&mut self, config: StreamConfig) {
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

    /// Whether the call wants to know what is heard.
    pub(super) fn be_listened_to(&mut self, room: Option<Room>) {
        self.is_listened_to = room.is_some();
        self.tell_sound(room);
    }

    /// Whether somebody records.
    pub(super) fn be_tapped(&mut self, room: Option<Room>) {
        self.is_tapped = room.is_some();
        self.tell_sound(room);
    }

    fn tell_sound(&mut self, room: Option<Room>) {
        match room {
            Some(room) => self.teller.open(room),
            None if self.is_listened_to || self.is_tapped => {}
            None => self.teller.close(),
        }
    }

    pub(super) fn give_way(&mut self, how: GiveWay) {
        match how {
            GiveWay::No => {
                self.playout.unduck();
                self.playout.resume();
            }
            GiveWay::Ducked => self.playout.duck(DUCK_GAIN_DB),
            GiveWay::Held => self.playout.pause(),
        }
    }

    /// The first third of a tick: what came in.
    pub(super) fn listen(&mut self, datagrams: &mut Datagrams, now: Instant) {
        self.read(datagrams, now);
        let is_bridged = self.bridged_with.is_some();
        let is_told = self.is_tapped || (self.is_listened_to && !is_bridged);
        let is_heard = is_bridged || self.mixer.as_ref().is_some_and(|mixer| mixer.has_sources());
        if is_heard && self.config.sender.codec.sample_rate() == SampleRate::WIDE_BAND {
            let played = self.receiver.poll_wide_frame(now);
            self.heard = Heard::Wide(played.frame);
            if is_told {
                let frame = self.downsampler.process(&played.frame);
                self.teller.sound(Sound::Frame { frame, kind: played.kind, at: now });
            }
        } else {
            let played = self.receiver.poll_frame(now);
            self.heard = Heard::Narrow(played.frame);
            if is_told {
                self.teller.sound(Sound::Frame { frame: played.frame, kind: played.kind, at: now });
            }
        }
        self.pressed.clear();
        while let Some(event) = self.receiver.poll_dtmf() {
            match event {
                DtmfEvent::Pressed { digit, .. } => {
                    // One that was heard in the sound crosses a bridge with it, and must not come twice.
                    if self.pressed.len() < DIGIT_LIMIT && !self.config.receiver.listens_for_tones {
                        self.pressed.push(digit);
                    }
                    self.teller.note(Note::Digit(digit));
                }
                DtmfEvent::Released { .. } => {}
            }
        }
    }

    /// Takes what the other side of the bridge heard in this tick.
    pub(super) fn take_over(&mut self, other: &Stream) {
        self.bridged = Some(other.heard);
        for digit in &other.pressed {
            // Without telephone events at this side the digit was heard by us all the same.
            let _ = self.sender.queue_dtmf(*digit);
        }
    }

    /// What is to be added to what is heard here, at that place.
    pub(super) fn source(&self, place: usize) -> Option<Source> {
        self.mixer.as_ref()?.source(place)
    }

    /// Takes what is to be added in this tick.
    pub(super) fn add(&mut self, place: usize, sound: Option<Heard>) {
        if let Some(mixer) = &mut self.mixer {
            mixer.take(place, sound);
        }
    }

    /// That sound of this stream in this tick, or the tick before where this one has its turn later.
    pub(super) fn sound(&self, source: Source) -> Option<Heard> {
        match source {
            Source::Brought(_) => Some(self.heard),
            Source::Played(_) => self.played.map(Heard::Narrow),
        }
    }

    /// The second third of a tick: what is to go out at `due` is made ready.
    pub(super) fn prepare(&mut self, due: Instant) {
        self.encode();
        while let Some(event) = self.playout.poll_event() {
            self.teller.note(match event {
                PlayoutEvent::Started { clip } => Note::ClipStarted { clip, at: due },
                PlayoutEvent::Finished { clip } => Note::ClipFinished { clip, at: due },
                PlayoutEvent::Stopped { clip, heard } => Note::ClipStopped { clip, heard },
            });
        }
    }

    /// The last third of a tick: it goes out.
    pub(super) fn send(&mut self) {
        if self.packet.is_empty() {
            return;
        }
        let target = self.latched.unwrap_or(self.config.remote);
        match self.port.socket().send_to(&self.packet, target) {
            Ok(_) => self.stats.sent_packets += 1,
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => debug!(%error, stream = self.id, "RTP packet not sent"),
        }
        self.packet.clear();
    }

    /// Reads the peer's reports, of which there are some.
    pub(super) fn read_reports(&mut self, datagrams: &mut Datagrams, now: Instant) {
        let Some(socket) = self.port.rtcp_socket() else { return };
        let peer = self.rtcp_peer();
        self.reports.read(socket, peer, datagrams, &mut self.security, now);
        self.follow_loss();
    }

    /// Reports, when one is due.
    pub(super) fn report(&mut self, now: Instant) {
        if self.reports.is_due(now) {
            let peer = self.rtcp_peer();
            let Some(socket) = rtcp_socket(&self.port, &self.config) else { return };
            self.reports.write((socket, peer), (&self.receiver, &self.sender), &mut self.security, now);
        }
    }

    pub(super) fn say_goodbye(&mut self) {
        let peer = self.rtcp_peer();
        let Some(socket) = rtcp_socket(&self.port, &self.config) else { return };
        self.reports.end((socket, peer), (&self.receiver, &self.sender), &mut self.security, Instant::now());
    }

    /// Where our reports go: with the sound, or behind NAT where its sound comes from, one port further.
    fn rtcp_peer(&self) -> SocketAddr {
        match self.latched.filter(|latched| *latched != self.config.remote) {
            _ if self.config.rtcp_mux => self.latched.unwrap_or(self.config.remote),
            Some(latched) => SocketAddr::new(latched.ip(), latched.port().wrapping_add(1)),
            None => self.config.remote_rtcp,
        }
    }

    /// A report of the peer's. What it loses of our sound, a codec that can prepares for.
    fn take_report(&mut self, datagram: &mut [u8], now: Instant) {
        self.reports.take(datagram, &mut self.security, now);
        self.follow_loss();
    }

    fn follow_loss(&mut self) {
        if let Some(report) = self.reports.take_news() {
            self.sender.expect_loss(report.fraction_lost);
        }
    }

    fn read(&mut self, datagrams: &mut Datagrams, now: Instant) {
        let (mut read, mut foreign) = (0, 0);
        while read < READ_LIMIT && foreign < FOREIGN_LIMIT {
            let count = match datagrams.read(self.port.socket()) {
                Ok(count) => count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                // ICMP port unreachable and the like: the peer is not listening yet, or not any more.
                Err(_) => {
                    read += 1;
                    continue;
                }
            };
            for index in 0..count {
                let is_foreign = !self.take(datagrams.datagram(index), now);
                foreign += usize::from(is_foreign);
                read += usize::from(!is_foreign);
            }
            if count < BATCH {
                return;
            }
        }
    }

    /// Takes a datagram; false if it is not the peer's.
    fn take(&mut self, datagram: Datagram<'_>, now: Instant) -> bool {
        if !self.is_peer(datagram.source, now) {
            self.stats.foreign_packets += 1;
            return false;
        }
        if datagram.is_cut {
            self.stats.oversized_packets += 1;
            return true;
        }
        if self.config.rtcp_mux && is_rtcp(datagram.bytes) {
            self.take_report(datagram.bytes, now);
            return true;
        }
        // Before the address is locked: only a peer that has the key may say where it is.
        let Some(packet) = self.security.open(datagram.bytes) else { return true };
        if self.receiver.handle_packet(packet, now).is_ok() {
            self.latched = Some(datagram.source);
            self.peer_heard_at = Some(now);
        }
        true
    }

    /// Whether what comes from there is believed. From where was agreed, always: what came first may be the rest of an
    /// earlier call. From another port of the same host until the first packet, and once the peer has long been silent there:
    /// then a NAT has given it another.
    fn is_peer(&self, source: SocketAddr, now: Instant) -> bool {
        let is_silent = self.peer_heard_at.is_none_or(|heard_at| now.duration_since(heard_at) >= REBOUND_AFTER);
        match self.latched {
            Some(latched) if source == latched => true,
            Some(_) | None if source == self.config.remote => true,
            Some(latched) if source.ip() != latched.ip() => false,
            Some(_) => is_silent,
            None => source.ip() == self.config.remote.ip() || source.ip() == self.config.signalled_from,
        }
    }

    fn encode(&mut self) {
        let bridged = self.bridged.take();
        // What we have to say ourselves is narrow.
        let ours = self.playout.poll_frame();
        if self.bridged_with.is_none() && (self.is_tapped || (self.is_listened_to && ours.is_some())) {
            self.teller.sound(Sound::Said(ours.unwrap_or(SILENT_FRAME)));
        }
        self.played = ours;
        let own = ours.map(Heard::Narrow).or(bridged);
        let said = match &mut self.mixer {
            Some(mixer) => mixer.sum(own, self.config.sender.codec.sample_rate()),
            None => own,
        };
        let said = said.unwrap_or(Heard::Narrow(SILENT_FRAME));
        self.packet.clear();
        if !self.config.sending {
            self.sender.skip();
            return;
        }
        match &said {
            Heard::Narrow(frame) => self.sender.packet(frame, &mut self.packet),
            Heard::Wide(frame) => self.sender.wide_packet(frame, &mut self.packet),
        }
        if !self.security.seal(&mut self.packet) {
            self.packet.clear();
        }
    }

    /// A clip that cannot be queued.
    pub(super) fn drop_clip(&mut self, clip: audio::playout::ClipId) {
        warn!(stream = self.id, "Play-out queue full, clip dropped");
        self.teller.note(Note::ClipStopped { clip, heard: Duration::ZERO });
    }

    pub(super) fn publish(&mut self) {
        self.stats.dropped_events = self.teller.dropped;
        self.stats.received = self.receiver.stats();
        self.stats.srtp = self.security.stats();
        self.stats.round_trip = self.reports.round_trip;
        (self.stats.reports, self.stats.refused_reports) = (self.reports.taken, self.reports.refused);
        self.stats.jitter_max_ms = self.stats.jitter_max_ms.max(self.stats.received.jitter_ms);
        let line = Line::of(&self.stats.received, self.config.sender.codec, self.stats.round_trip);
        self.stats.mos = (self.stats.received.received > 0).then(|| line.rating().mos);
        self.published.send_replace(self.stats.clone());
    }
}

/// The socket our reports leave from; `None` if its port was taken.
fn rtcp_socket<'a>(port: &'a MediaPort, config: &StreamConfig) -> Option<&'a UdpSocket> {
    if config.rtcp_mux { Some(port.socket()) } else { port.rtcp_socket() }
}
