//! RTCP of one stream (RFC 3550 §6): what we tell the peer about its sound and ours, and what it tells about ours.
//!
//! Left out on purpose: RTCP on the port of RTP (RFC 5761), which we neither offer nor accept.

use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use audio::rtp::rtcp::{Due, NtpTime, PeerReport, Reporter, Schedule, SenderInfo};
use audio::rtp::{Receiver, Sender, SenderConfig};

use super::security::Security;

/// Both directions of a call in G.711, with headers: what RTCP takes its share of.
const SESSION_BITS_PER_SECOND: u32 = 160_000;
/// Datagrams read in a tick; a peer sends one in five seconds.
const READ_LIMIT: usize = 4;
/// Longer than any compound packet that concerns us.
const DATAGRAM_LIMIT_BYTES: usize = 1_500;

/// See the module.
pub(super) struct Reports {
    /// `None` only if our own name for the call is not one, which it always is.
    reporter: Option<Reporter>,
    schedule: Schedule,
    sent_packets: u64,
    datagram: Vec<u8>,
    /// The peer's latest report.
    pub(super) peer: Option<PeerReport>,
    /// There and back again, as of the latest report that told.
    pub(super) round_trip: Option<Duration>,
}

impl Reports {
    /// Of a stream that begins at `now`. Its name is random: it says nothing about us (RFC 7022).
    pub(super) fn new(sender: &SenderConfig, now: Instant) -> Reports {
        let name = format!("{:016x}", rand::random::<u64>());
        Reports {
            reporter: Reporter::new(sender.ssrc, &name, sender.codec.clock_rate()).ok(),
            schedule: Schedule::new(SESSION_BITS_PER_SECOND, now, rand::random()),
            sent_packets: 0,
            datagram: Vec::with_capacity(DATAGRAM_LIMIT_BYTES),
            peer: None,
            round_trip: None,
        }
    }

    /// Another codec was agreed.
    pub(super) fn configure(&mut self, sender: &SenderConfig) {
        if let Some(reporter) = &mut self.reporter {
            reporter.change_clock_rate(sender.codec.clock_rate());
        }
    }

    /// Takes what came on the socket. Whoever else sends something there is not believed.
    pub(super) fn read(&mut self, socket: &UdpSocket, peer: SocketAddr, security: &mut Security, now: Instant) {
        let mut buffer = [0; DATAGRAM_LIMIT_BYTES];
        for _ in 0..READ_LIMIT {
            let Ok((length, source)) = socket.recv_from(&mut buffer) else { return };
            if source.ip() != peer.ip() {
                continue;
            }
            let Some(packet) = security.open_report(&mut buffer[..length]) else { continue };
            let length = packet.len();
            let Some(Ok(feedback)) = self.reporter.as_mut().map(|one| one.handle_packet(packet, now, ntp_now())) else {
                continue;
            };
            self.schedule.handle_received(length, now);
            if let Some(report) = feedback.report {
                self.peer = Some(report);
                self.round_trip = report.round_trip.or(self.round_trip);
            }
        }
    }

    /// Sends a report when one is due.
    pub(super) fn write(
        &mut self,
        (socket, peer): (&UdpSocket, SocketAddr),
        (receiver, sender): (&Receiver, &Sender),
        security: &mut Security,
        now: Instant,
    ) {
        if now >= self.schedule.poll_timeout() && self.schedule.handle_timeout(now, rand::random()) == Due::Report {
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
