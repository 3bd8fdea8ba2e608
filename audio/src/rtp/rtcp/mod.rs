//! RTCP (RFC 3550 §6): reports on both directions of one stream, and what the peer reports about ours.
//!
//! A [`Reporter`] makes compound packets (SR or RR, then SDES with the CNAME, BYE at the end) and reads the peer's.
//! `rtcp-types` reads reports; writing is ours, since its builders allocate. NTP time is wall-clock time and is passed in beside `now`.
//!
//! [`Schedule`] says when.
//!
//! Left out: feedback messages (RFC 4585); extended reports (RFC 3611), whose loss, jitter, delay and MOS of what we hear we
//! keep ourselves, while the peer's reports have told those of what it hears since RFC 3550; more than one source on either
//! side.

use std::time::{Duration, Instant};

use rtcp_types::{
    Bye, ReceiverReport, ReportBlock, RtcpPacket as _, RtcpPacketParser as _, Sdes, SdesItem, SenderReport,
};
use thiserror::Error;

mod schedule;

pub use schedule::{Due, Schedule};

use super::reception::Reception;
use crate::time::{RtpTimestamp, SampleRate};

/// Largest loss count of a report block: 24 bits with sign.
const MAX_CUMULATIVE_LOST: u64 = 0x7f_ffff;

/// Wall-clock time in the format of NTP: seconds since 1900 with 32 binary places (RFC 3550 §4).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct NtpTime(u64);

impl NtpTime {
    /// Seconds from 1900 to 1970.
    const UNIX_EPOCH_SECONDS: u64 = 2_208_988_800;

    /// That long after 1970-01-01 00:00 UTC. Wraps in 2036, as NTP does.
    pub fn from_unix(since_epoch: Duration) -> Self {
        let seconds = since_epoch.as_secs().wrapping_add(Self::UNIX_EPOCH_SECONDS);
        let fraction = (u64::from(since_epoch.subsec_nanos()) << 32) / 1_000_000_000;
        Self(seconds << 32 | fraction)
    }

    /// The middle 32 bits, which report blocks refer to: seconds modulo 65 536 with 16 binary places.
    fn middle(self) -> u32 {
        (self.0 >> 16) as u32
    }
}

/// What we sent, for a sender report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SenderInfo {
    /// The moment of the report on the RTP clock, [`super::Sender::next_timestamp`].
    pub timestamp: RtpTimestamp,
    /// [`super::SenderStats::packets`].
    pub packets: u64,
    /// [`super::SenderStats::payload_bytes`].
    pub payload_bytes: u64,
}

/// What the peer says about our stream.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PeerReport {
    /// Share of our packets lost since its last report, 0 to 1.
    pub fraction_lost: f32,
    /// Our packets lost since the start; negative if duplicates made up for more.
    pub cumulative_lost: i32,
    /// Jitter of our packets at its side.
    pub jitter_ms: f64,
    /// There and back again, if it refers to a sender report of ours.
    pub round_trip: Option<Duration>,
}

/// What an RTCP packet told.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Feedback {
    /// About our stream.
    pub report: Option<PeerReport>,
    /// The peer's source says goodbye.
    pub is_goodbye: bool,
}

/// Why RTCP could not be read or made.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum RtcpError {
    /// Not a compound of well-formed RTCP packets.
    #[error("malformed RTCP: {reason}")]
    Malformed {
        /// What `rtcp-types` says.
        reason: String,
    },
    /// A CNAME that does not fit its item (RFC 3550 §6.5).
    #[error("the RTCP CNAME must have 1 to 255 bytes, not {length_bytes}")]
    BadCname {
        /// Its length.
        length_bytes: usize,
    },
}

/// RTCP of one stream, both directions.
#[derive(Debug, Clone)]
pub struct Reporter {
    ssrc: u32,
    cname: String,
    clock_rate: SampleRate,
    /// The peer's last sender report: middle of its NTP time, and when it came.
    last_sender_report: Option<(u32, Instant)>,
    /// Source, expected and received packets at our last report.
    reported: Option<(u32, u64, u64)>,
}

impl Reporter {
    /// For our source `ssrc`. The CNAME should be random for each call: it must not say who we are (RFC 7022).
    ///
    /// # Errors
    /// [`RtcpError::BadCname`].
    pub fn new(ssrc: u32, cname: &str, clock_rate: SampleRate) -> Result<Self, RtcpError> {
        match cname.len() {
            1..=255 => Ok(Self { ssrc, cname: cname.to_owned(), clock_rate, last_sender_report: None, reported: None }),
            length_bytes => Err(RtcpError::BadCname { length_bytes }),
        }
    }

    /// Our stream counts in another clock from here on, as another codec was agreed on.
    pub fn change_clock_rate(&mut self, clock_rate: SampleRate) {
        self.clock_rate = clock_rate;
    }

    /// Replaces `datagram` by a report: a sender report if we sent something, a receiver report otherwise.
    pub fn report(
        &mut self,
        reception: &Reception,
        sent: Option<SenderInfo>,
        now: Instant,
        ntp_now: NtpTime,
        datagram: &mut Vec<u8>,
    ) {
        let block = self.block(reception, now);
        self.write(block, sent, ntp_now, false, datagram);
    }

    /// As [`Self::report`], and goodbye: the last packet of the stream (RFC 3550 §6.6).
    pub fn goodbye(
        &mut self,
        reception: &Reception,
        sent: Option<SenderInfo>,
        now: Instant,
        ntp_now: NtpTime,
        datagram: &mut Vec<u8>,
    ) {
        let block = self.block(reception, now);
        self.write(block, sent, ntp_now, true, datagram);
    }

    /// Reads a datagram from the RTCP port, or one that [`super::RtpError::Rtcp`] found on the RTP port.
    ///
    /// # Errors
    /// [`RtcpError::Malformed`]; what came before the damage has been taken note of.
    pub fn handle_packet(
        &mut self,
        datagram: &[u8],
        arrival: Instant,
        ntp_arrival: NtpTime,
    ) -> Result<Feedback, RtcpError> {
        let malformed = |error: rtcp_types::RtcpParseError| RtcpError::Malformed { reason: error.to_string() };
        let mut feedback = Feedback::default();
        let mut rest = datagram;
        loop {
            let (packet, following) = split_first(rest)?;
            rest = following;
            // Only what concerns us is read: the names of `rtcp-types` are a list on the heap.
            match packet[1] {
                SenderReport::PACKET_TYPE => {
                    let report = SenderReport::parse(packet).map_err(malformed)?;
                    self.last_sender_report = Some((NtpTime(report.ntp_timestamp()).middle(), arrival));
                    feedback.report = self.about_us(report.report_blocks(), ntp_arrival).or(feedback.report);
                }
                ReceiverReport::PACKET_TYPE => {
                    let report = ReceiverReport::parse(packet).map_err(malformed)?;
                    feedback.report = self.about_us(report.report_blocks(), ntp_arrival).or(feedback.report);
                }
                Bye::PACKET_TYPE => {
                    Bye::parse(packet).map_err(malformed)?;
                    feedback.is_goodbye = true;
                }
                _ => {}
            }
            if rest.is_empty() {
                return Ok(feedback);
            }
        }
    }

    fn about_us<'a>(
        &self,
        mut blocks: impl Iterator<Item = ReportBlock<'a>>,
        ntp_arrival: NtpTime,
    ) -> Option<PeerReport> {
        let block = blocks.find(|block| block.ssrc() == self.ssrc)?;
        // Sign-extended from 24 bits.
        let cumulative_lost = (block.cumulative_lost() << 8).cast_signed() >> 8;
        Some(PeerReport {
            fraction_lost: f32::from(block.fraction_lost()) / 256.0,
            cumulative_lost,
            jitter_ms: f64::from(block.interarrival_jitter()) * 1000.0 / f64::from(self.clock_rate.hz()),
            round_trip: round_trip(&block, ntp_arrival),
        })
    }

    /// What we say about the peer's stream (RFC 3550 §6.4.1, §A.3); `None` before its first packet.
    fn block(&mut self, reception: &Reception, now: Instant) -> Option<[u32; BLOCK_WORDS]> {
        let ssrc = reception.ssrc()?;
        let (expected, received) = reception.expected_and_received();
        let (expected_before, received_before) = match self.reported {
            Some((reported, expected, received)) if reported == ssrc => (expected, received),
            Some(_) | None => (0, 0),
        };
        self.reported = Some((ssrc, expected, received));
        let newly_expected = expected.saturating_sub(expected_before);
        let newly_lost = newly_expected.saturating_sub(received.saturating_sub(received_before));
        let fraction_lost = (newly_lost * 256).checked_div(newly_expected).unwrap_or(0).min(255);
        let lost = expected.saturating_sub(received).min(MAX_CUMULATIVE_LOST);
        let (last_report, delay) = self
            .last_sender_report
            .map_or((0, 0), |(middle, arrival)| (middle, fixed_point(now.saturating_duration_since(arrival))));
        let losses = (fraction_lost << 24 | lost) as u32;
        let jitter = reception.jitter_ticks() as u32;
        Some([ssrc, losses, reception.highest_sequence(), jitter, last_report, delay])
    }

    /// Allocates nothing once `datagram` has held a report.
    fn write(
        &self,
        block: Option<[u32; BLOCK_WORDS]>,
        sent: Option<SenderInfo>,
        ntp_now: NtpTime,
        with_goodbye: bool,
        datagram: &mut Vec<u8>,
    ) {
        datagram.clear();
        let block: &[u32] = block.as_ref().map_or(&[], |block| block);
        let count = u8::from(!block.is_empty());
        match sent {
            // Counts wrap at 32 bits (RFC 3550 §6.4.1).
            Some(sent) => {
                let ntp = [(ntp_now.0 >> 32) as u32, ntp_now.0 as u32];
                let info = [ntp[0], ntp[1], sent.timestamp.0, sent.packets as u32, sent.payload_bytes as u32];
                put(datagram, count, SenderReport::PACKET_TYPE, &[&[self.ssrc], &info, block]);
            }
            None => put(datagram, count, ReceiverReport::PACKET_TYPE, &[&[self.ssrc], block]),
        }
        self.put_name(datagram);
        if with_goodbye {
            put(datagram, 1, Bye::PACKET_TYPE, &[&[self.ssrc]]);
        }
    }

    /// One chunk with the CNAME, ended and filled up to whole words by one to four zeros (RFC 3550 §6.5).
    fn put_name(&self, datagram: &mut Vec<u8>) {
        let words = 1 + (2 + self.cname.len()) / 4 + 1;
        let start = datagram.len();
        put_header(datagram, 1, Sdes::PACKET_TYPE, words);
        datagram.extend(self.ssrc.to_be_bytes());
        // Its length fits: `new` has seen to that.
        datagram.extend([SdesItem::CNAME, self.cname.len() as u8]);
        datagram.extend(self.cname.as_bytes());
        datagram.resize(start + 4 * (1 + words), 0);
    }
}

/// The first packet of a compound, which says how long it is, and what follows (RFC 3550 §6.4.1).
fn split_first(compound: &[u8]) -> Result<(&[u8], &[u8]), RtcpError> {
    let malformed = |reason: &str| RtcpError::Malformed { reason: reason.to_owned() };
    let [first, _, high, low, ..] = *compound else { return Err(malformed("the header of a packet is cut off")) };
    if first >> 6 != 2 {
        return Err(malformed("a packet is not of version 2"));
    }
    let length_bytes = 4 * (usize::from(u16::from_be_bytes([high, low])) + 1);
    compound.split_at_checked(length_bytes).ok_or_else(|| malformed("a packet is cut off"))
}

/// Words of a report block: source, losses, highest sequence, jitter, last report, and the delay since.
const BLOCK_WORDS: usize = 6;

/// An RTCP packet of whole words (RFC 3550 §6.4).
fn put(datagram: &mut Vec<u8>, count: u8, packet_type: u8, body: &[&[u32]]) {
    put_header(datagram, count, packet_type, body.iter().map(|part| part.len()).sum());
    body.iter().copied().flatten().for_each(|word| datagram.extend(word.to_be_bytes()));
}

fn put_header(datagram: &mut Vec<u8>, count: u8, packet_type: u8, words: usize) {
    let [high, low] = (words as u16).to_be_bytes();
    datagram.extend([0x80 | count, packet_type, high, low]);
}

/// Arrival minus the time of our report minus the time the peer kept it (RFC 3550 §6.4.1), if it is one that can be:
/// below half the range of 18 hours.
fn round_trip(block: &ReportBlock<'_>, ntp_arrival: NtpTime) -> Option<Duration> {
    let last_report = block.last_sender_report_timestamp();
    if last_report == 0 {
        return None;
    }
    let kept = block.delay_since_last_sender_report_timestamp();
    let units = ntp_arrival.middle().wrapping_sub(last_report).wrapping_sub(kept).cast_signed();
    let units = u64::try_from(units).ok()?;
    Some(Duration::from_nanos(units * 1_000_000_000 / 65_536))
}

/// A duration in units of 1/65 536 s.
fn fixed_point(duration: Duration) -> u32 {
    u32::try_from(duration.as_nanos() * 65_536 / 1_000_000_000).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rtp::SequenceNumber;
    use crate::testing::at;
    use proptest::prelude::*;

    const RATE: SampleRate = SampleRate::NARROW_BAND;

    fn reporter(ssrc: u32) -> Reporter {
        Reporter::new(ssrc, "k3v9x2", RATE).unwrap()
    }

    /// Reception of source 2 that got these sequence numbers.
    fn reception(sequences: &[u16]) -> Reception {
        let mut reception = Reception::new(RATE);
        for &sequence in sequences {
            reception.handle_packet(2, SequenceNumber(sequence));
        }
        reception
    }

    fn ntp(milliseconds: u64) -> NtpTime {
        NtpTime::from_unix(Duration::from_secs(1_800_000_000) + Duration::from_millis(milliseconds))
    }

    #[test]
    fn ntp_counts_from_1900() {
        let time = NtpTime::from_unix(Duration::from_millis(1_500));
        assert_eq!(time, NtpTime(2_208_988_801 << 32 | 1 << 31));
        assert_eq!(time.middle(), (2_208_988_801_u64 << 16) as u32 | 1 << 15);
    }

    #[test]
    fn a_receiver_report_has_the_bytes_of_the_rfc() {
        let mut datagram = Vec::new();
        reporter(0x0102_0304).report(&reception(&[10, 11, 13, 14]), None, at(0), ntp(0), &mut datagram);
        let block = [0, 0, 0, 2, 51, 0, 0, 1, 0, 0, 0, 14, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        let sdes = [0x81, 202, 0, 4, 1, 2, 3, 4, 1, 6, b'k', b'3', b'v', b'9', b'x', b'2', 0, 0, 0, 0];
        let expected = [&[0x81, 201, 0, 7, 1, 2, 3, 4][..], &block, &sdes].concat();
        assert_eq!(datagram, expected);
    }

    /// Two ends exchange reports; each learns its loss, and the first one the round trip: 30 ms there, 50 ms kept,
    /// 40 ms back.
    #[test]
    fn reports_tell_loss_and_round_trip() {
        let (mut ours, mut theirs) = (reporter(1), reporter(2));
        let mut datagram = Vec::new();
        let sent = SenderInfo { timestamp: RtpTimestamp(1_600), packets: 10, payload_bytes: 1_600 };
        ours.report(&Reception::new(RATE), Some(sent), at(0), ntp(0), &mut datagram);
        let feedback = theirs.handle_packet(&datagram, at(30), ntp(30)).unwrap();
        assert_eq!(feedback, Feedback::default());

        let mut about_us = Reception::new(RATE);
        for sequence in [1, 2, 5, 6] {
            about_us.handle_packet(1, SequenceNumber(sequence));
        }
        theirs.goodbye(&about_us, None, at(80), ntp(80), &mut datagram);
        let feedback = ours.handle_packet(&datagram, at(120), ntp(120)).unwrap();
        assert!(feedback.is_goodbye);
        let report = feedback.report.unwrap();
        assert_eq!(report.cumulative_lost, 2);
        assert!((report.fraction_lost - 1.0 / 3.0).abs() < 0.01, "{}", report.fraction_lost);
        let round_trip = report.round_trip.unwrap();
        assert!(round_trip.abs_diff(Duration::from_millis(70)) < Duration::from_millis(1), "{round_trip:?}");
    }

    /// What is damaged is an error; what follows a sound packet and is of no concern is passed over.
    #[test]
    fn only_whole_packets_of_version_2_are_read() {
        let goodbye = [0x81, 203, 0, 1, 0, 0, 0, 9];
        let names = [0x81, 202, 0, 1, 0xff, 0xff, 0xff, 0xff];
        let table: [(&str, &[u8], bool); 6] = [
            ("nothing at all", &[], false),
            ("a header cut off", &goodbye[..3], false),
            ("a body cut off", &goodbye[..6], false),
            ("version 1", &[0x41, 203, 0, 1, 0, 0, 0, 9], false),
            ("a packet and half of the next", &[&goodbye[..], &names[..5]].concat(), false),
            ("names that are none, then goodbye", &[names, goodbye].concat(), true),
        ];
        for (name, datagram, is_good) in table {
            let feedback = reporter(1).handle_packet(datagram, at(0), ntp(0));
            assert_eq!(feedback.is_ok_and(|feedback| feedback.is_goodbye), is_good, "{name}");
        }
    }

    #[test]
    fn the_fraction_is_of_the_interval_only() {
        let mut reporter = reporter(1);
        let mut datagram = Vec::new();
        let fraction = |datagram: &[u8]| datagram[12];
        let mut reception = reception(&[1, 3]);
        reporter.report(&reception, None, at(0), ntp(0), &mut datagram);
        assert_eq!(fraction(&datagram), 85);
        for sequence in 4..=10 {
            reception.handle_packet(2, SequenceNumber(sequence));
        }
        reporter.report(&reception, None, at(5_000), ntp(5_000), &mut datagram);
        assert_eq!(fraction(&datagram), 0);
    }

    #[test]
    fn a_cname_must_fit() {
        assert_eq!(Reporter::new(1, "", RATE).unwrap_err(), RtcpError::BadCname { length_bytes: 0 });
        assert!(Reporter::new(1, &"x".repeat(256), RATE).is_err());
        let mut datagram = Vec::new();
        let mut longest = Reporter::new(1, &"x".repeat(255), RATE).unwrap();
        let sent = SenderInfo { timestamp: RtpTimestamp(0), packets: 1, payload_bytes: 160 };
        longest.goodbye(&reception(&[1]), Some(sent), at(0), ntp(0), &mut datagram);
        assert!(datagram.len() > 300 && longest.handle_packet(&datagram, at(0), ntp(0)).is_ok());
    }

    proptest! {
        #[test]
        fn no_bytes_panic(
            packets in prop::collection::vec(
                (0x80_u8..0xc0, 199_u8..208, 0_u8..20, prop::collection::vec(any::<u8>(), 0..100)), 1..4),
        ) {
            let mut datagram = Vec::new();
            for (first, packet_type, words, body) in packets {
                datagram.extend([first, packet_type, 0, words]);
                datagram.extend(body.into_iter().chain(std::iter::repeat(1)).take(usize::from(words) * 4));
            }
            let _ = reporter(0x0101_0101).handle_packet(&datagram, at(0), ntp(0));
        }
    }
}
