//! RTCP of one stream (RFC 3550 §6): what we tell the peer about its sound and ours, and what it tells about ours.
//!
//! They come and go over a socket of their own, or over that of the sound where this was agreed (RFC 5761).

use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use audio::rtp::rtcp::{Due, NtpTime, PeerReport, Reporter, Schedule, SenderInfo};
use audio::rtp::{Receiver, Sender, SenderConfig};

use super::datagrams::Datagrams;
use super::security::Security;

/// Both directions of a call in G.711, with headers: what RTCP takes its share of.
const SESSION_BITS_PER_SECOND: u32 = 160_000;
/// Longer than any report of ours, with what SRTCP adds.
const REPORT_BYTES: usize = 400;

/// See the module.
pub(super) struct Reports {
    /// `None` only if our own name for the call is not one, which it always is.
    reporter: Option<Reporter>,
    schedule: Schedule,
    sent_packets: u64,
    datagram: Vec<u8>,
    /// The peer's latest report, until it was asked for.
    news: Option<PeerReport>,
    /// There and back again, as of the latest report that told.
    pub(super) round_trip: Option<Duration>,
    /// Packets of the peer's that were understood.
    pub(super) taken: u64,
    /// Packets of others, and of the peer what was not understood or not genuine.
    pub(super) refused: u64,
}

impl Reports {
    /// Of a stream that begins at `now`. Its name is random: it says nothing about us (RFC 7022).
    pub(super) fn new(sender: &SenderConfig, now: Instant) -> Reports {
        let name = format!("{:016x}", rand::random::<u64>());
        Reports {
            reporter: Reporter::new(sender.ssrc, &name, sender.codec.clock_rate()).ok(),
            schedule: Schedule::new(SESSION_BITS_PER_SECOND, now, rand::random()),
            sent_packets: 0,
            datagram: Vec::with_capacity(REPORT_BYTES),
            news: None,
            round_trip: None,
            taken: 0,
            refused: 0,
        }
    }

    /// Another codec was agreed.
    pub(super) fn configure(&mut self, sender: &SenderConfig) {
        if let Some(reporter) = &mut self.reporter {
            reporter.change_clock_rate(sender.codec.clock_rate());
        }
    }

    /// Takes what waits on the socket, as much as is read at once. Whoever else sends something there is not believed.
    pub(super) fn read(
        &mut self,
        socket: &UdpSocket,
        peer: SocketAddr,
        datagrams: &mut Datagrams,
        security: &mut Security,
        now: Instant,
    ) {
        let Ok(count) = datagrams.read(socket) else { return };
        for index in 0..count {
            let datagram = datagrams.datagram(index);
            if datagram.source.ip() == peer.ip() {
                self.take(datagram.bytes, security, now);
            } else {
                self.refused += 1;
            }
        }
    }

    /// Takes a packet of the peer's, or counts it if it is not genuine or not understood.
    pub(super) fn take(&mut self, datagram: &mut [u8], security: &mut Security, now: Instant) {
        let opened = security.open_report(datagram);
        let length = opened.map_or(0, <[u8]>::len);
        let read = opened.zip(self.reporter.as_mut()).map(|(packet, one)| one.handle_packet(packet, now, ntp_now()));
        let Some(Ok(feedback)) = read else {
            self.refused += 1;
            return;
        };
        self.taken += 1;
        self.schedule.handle_received(length, now);
        if let Some(report) = feedback.report {
            self.news = Some(report);
            self.round_trip = report.round_trip.or(self.round_trip);
        }
    }

    /// The peer's latest report, once.
    pub(super) fn take_news(&mut self) -> Option<PeerReport> {
        self.news.take()
    }

    /// Whether it is time to look whether a report is due.
    pub(super) fn is_due(&self, now: Instant) -> bool {
        now >= self.schedule.poll_timeout()
    }

    /// Sends a report when one is due.
    pub(super) fn write(
        &mut self,
        (socket, peer): (&UdpSocket, SocketAddr),
        (receiver, sender): (&Receiver, &Sender),
        security: &mut Security,
        now: Instant,
    ) {
        if self.schedule.handle_timeout(now, rand::random()) == Due::Report {
            self.send((socket, peer), (receiver, sender), security, now, false);
        }
    }

    /// The last report, with goodbye.
    pub(super) fn end(
        &mut self,
        (socket, peer): (&UdpSocket, SocketAddr),
        (receiver, sender): (&Receiver, &Sender),
        security: &mut Security,
        now: Instant,
    ) {
        self.send((socket, peer), (receiver, sender), security, now, true);
    }

    fn send(
        &mut self,
        (socket, peer): (&UdpSocket, SocketAddr),
        (receiver, sender): (&Receiver, &Sender),
        security: &mut Security,
        now: Instant,
        is_last: bool,
    ) {
        let Some(reporter) = &mut self.reporter else { return };
        let stats = sender.stats();
        let has_sent = stats.packets > self.sent_packets;
        let sent = has_sent.then(|| SenderInfo {
            timestamp: sender.next_timestamp(),
            packets: stats.packets,
            payload_bytes: stats.payload_bytes,
        });
        self.sent_packets = stats.packets;
        let reception = receiver.reception();
        match is_last {
            false => reporter.report(reception, sent, now, ntp_now(), &mut self.datagram),
            true => reporter.goodbye(reception, sent, now, ntp_now(), &mut self.datagram),
        }
        if security.seal_report(&mut self.datagram) {
            // Many phones have no ears for it; that is no matter of the call.
            let _ = socket.send_to(&self.datagram, peer);
        }
        self.schedule.handle_sent(self.datagram.len(), has_sent);
    }
}

fn ntp_now() -> NtpTime {
    NtpTime::from_unix(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default())
}
