//! One RTP packet: header fields and payload (RFC 3550 §5.1), read and written by `rtp-rs`.
//!
//! Padding, CSRCs and header extensions are stepped over when reading and never written.

use rtp_rs::{RtpPacketBuilder, RtpReader, RtpReaderError, Seq};

use super::error::RtpError;
use super::seq::SequenceNumber;
use crate::time::RtpTimestamp;

/// Size of the header we write.
pub const HEADER_BYTES: usize = RtpReader::MIN_HEADER_LEN;

/// Largest datagram worth reading: what fits an Ethernet frame.
pub const MAX_PACKET_BYTES: usize = 1500;

/// An RTP payload type: 0 to 127, as the other bit of its byte is the marker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PayloadType(u8);

impl PayloadType {
    /// G.711 µ-law (RFC 3551 §6).
    pub const PCMU: Self = Self(0);
    /// G.711 A-law (RFC 3551 §6).
    pub const PCMA: Self = Self(8);
    /// G.722 (RFC 3551 §6).
    pub const G722: Self = Self(9);
    /// Comfort noise at 8 kHz (RFC 3389 §4).
    pub const COMFORT_NOISE: Self = Self(13);
    /// What most peers choose for Opus; by convention only, SDP decides.
    pub const USUAL_OPUS: Self = Self(111);
    /// What most peers choose for `telephone-event`; by convention only, SDP decides.
    pub const USUAL_DTMF: Self = Self(101);

    /// A payload type; `None` above 127.
    pub const fn new(value: u8) -> Option<Self> {
        if value < 128 { Some(Self(value)) } else { None }
    }

    /// The number on the wire.
    pub const fn value(self) -> u8 {
        self.0
    }
}

/// One RTP packet, borrowing its payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Packet<'a> {
    /// First packet of a talkspurt, or of a DTMF event (RFC 3551 §4.1, RFC 4733 §2.5.1.1).
    pub marker: bool,
    /// What the payload is.
    pub payload_type: PayloadType,
    /// Position in the order of sending.
    pub sequence: SequenceNumber,
    /// Moment of the first sample.
    pub timestamp: RtpTimestamp,
    /// The sending source.
    pub ssrc: u32,
    /// The payload without padding.
    pub payload: &'a [u8],
}

impl<'a> Packet<'a> {
    /// Reads a datagram.
    ///
    /// # Errors
    /// Anything that is not RTP version 2, including RTCP on the same port, see [`RtpError`].
    pub fn parse(datagram: &'a [u8]) -> Result<Self, RtpError> {
        if let Some(packet_type) = rtcp_packet_type(datagram) {
            return Err(RtpError::Rtcp { packet_type });
        }
        let reader = RtpReader::new(datagram).map_err(error_of_reader)?;
        Ok(Self {
            marker: reader.mark(),
            payload_type: PayloadType(reader.payload_type()),
            sequence: SequenceNumber(reader.sequence_number().into()),
            timestamp: RtpTimestamp(reader.timestamp()),
            ssrc: reader.ssrc(),
            payload: reader.payload(),
        })
    }

    /// Replaces `datagram` by this packet. Allocates only if `datagram` must grow.
    pub fn write(&self, datagram: &mut Vec<u8>) {
        let builder = RtpPacketBuilder::new()
            .marked(self.marker)
            .payload_type(self.payload_type.0)
            .sequence(Seq::from(self.sequence.0))
            .timestamp(self.timestamp.0)
            .ssrc(self.ssrc)
            .payload(self.payload);
        datagram.clear();
        datagram.resize(builder.target_length(), 0);
        // Cannot fail: the buffer has the length it asked for, the payload type its range by its type, no extension.
        let written = builder.build_into(datagram);
        debug_assert_eq!(written, Ok(datagram.len()), "rtp-rs refused a packet we can always build");
    }
}

/// Whether `datagram` is RTCP by the rule of RFC 5761 §4, and not RTP.
pub fn is_rtcp(datagram: &[u8]) -> bool {
    rtcp_packet_type(datagram).is_some()
}

/// The RTCP packet type if `datagram` is RTCP by the rule of RFC 5761 §4: version 2 and a second byte of 192 to 223.
pub(super) fn rtcp_packet_type(datagram: &[u8]) -> Option<u8> {
    match datagram {
        [first, packet_type @ 192..=223, ..] if first >> 6 == 2 => Some(*packet_type),
        _ => None,
    }
}

fn error_of_reader(error: RtpReaderError) -> RtpError {
    match error {
        RtpReaderError::BufferTooShort(length_bytes) => RtpError::TooShort { length_bytes },
        RtpReaderError::UnsupportedVersion(version) => RtpError::WrongVersion { version },
        RtpReaderError::HeadersTruncated { .. } => RtpError::TruncatedHeader,
        RtpReaderError::PaddingLengthInvalid(padding_bytes) => RtpError::BadPadding { padding_bytes },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn packet(payload: &[u8]) -> Packet<'_> {
        Packet {
            marker: true,
            payload_type: PayloadType::PCMA,
            sequence: SequenceNumber(0x1234),
            timestamp: RtpTimestamp(0x5678_9abc),
            ssrc: 0xdead_beef,
            payload,
        }
    }

    #[test]
    fn header_fields_lie_where_the_rfc_puts_them() {
        let mut datagram = vec![0xff; 500];
        packet(&[1, 2, 3]).write(&mut datagram);
        assert_eq!(datagram, [0x80, 0x88, 0x12, 0x34, 0x56, 0x78, 0x9a, 0xbc, 0xde, 0xad, 0xbe, 0xef, 1, 2, 3]);
    }

    #[test]
    fn padding_extension_and_csrcs_are_stepped_over() {
        let mut datagram = vec![0b1011_0001, 0x08, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3];
        datagram.extend([9; 4]); // one CSRC
        datagram.extend([0xbe, 0xde, 0, 1, 7, 7, 7, 7]); // an extension of one word
        datagram.extend([42, 43, 0, 0, 3]); // payload, padding of three
        let packet = Packet::parse(&datagram).unwrap();
        assert_eq!(packet.payload, [42, 43]);
        assert!(!packet.marker);
    }

    #[test]
    fn each_kind_of_wrong_datagram_has_its_error() {
        let header = [0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        let with = |changes: &[(usize, u8)], tail: &[u8]| {
            let mut datagram = header.to_vec();
            changes.iter().for_each(|&(at, byte)| datagram[at] = byte);
            datagram.extend(tail);
            datagram
        };
        let rows = [
            (vec![], RtpError::TooShort { length_bytes: 0 }),
            (header[..11].to_vec(), RtpError::TooShort { length_bytes: 11 }),
            (with(&[(0, 0x00)], &[]), RtpError::WrongVersion { version: 0 }),
            (with(&[(1, 200)], &[]), RtpError::Rtcp { packet_type: 200 }),
            (vec![0x81, 201, 0, 1, 0, 0, 0, 1], RtpError::Rtcp { packet_type: 201 }),
            (with(&[(0, 0x8f)], &[0; 8]), RtpError::TruncatedHeader),
            (with(&[(0, 0x90)], &[0, 0, 0xff, 0xff]), RtpError::TruncatedHeader),
            (with(&[(0, 0xa0)], &[1, 0]), RtpError::BadPadding { padding_bytes: 0 }),
            (with(&[(0, 0xa0)], &[1, 3]), RtpError::BadPadding { padding_bytes: 3 }),
        ];
        for (datagram, error) in rows {
            assert_eq!(Packet::parse(&datagram), Err(error), "{datagram:02x?}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back(
            marker: bool, payload_type in 0_u8..64, sequence: u16, timestamp: u32, ssrc: u32,
            payload in prop::collection::vec(any::<u8>(), 0..500),
        ) {
            let packet = Packet {
                marker,
                payload_type: PayloadType::new(payload_type).unwrap(),
                sequence: SequenceNumber(sequence),
                timestamp: RtpTimestamp(timestamp),
                ssrc,
                payload: &payload,
            };
            let mut datagram = Vec::new();
            packet.write(&mut datagram);
            prop_assert_eq!(Packet::parse(&datagram), Ok(packet));
        }

        #[test]
        fn no_bytes_panic(first in 0x80_u8..0xc0, rest in prop::collection::vec(any::<u8>(), 0..100)) {
            let mut datagram = vec![first];
            datagram.extend(rest);
            let _ = Packet::parse(&datagram);
        }
    }
}
