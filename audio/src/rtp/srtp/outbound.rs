//! Our direction: packets in, protected packets out, in the same buffer.

use super::error::OutboundError;
use super::index::{END_OF_INDICES, estimate};
use super::key::MasterKey;
use super::profile::Profile;
use super::transform::{PacketId, Session};
use super::wire::{self, RtpHeader};
use super::{MAX_RTCP_PACKETS, MAX_RTP_PACKETS};

/// Sources that one stream of ours may have in its life: one, and one more for each time it changes its SSRC.
pub const MAX_OUTBOUND_SOURCES: usize = 8;

/// SRTCP indices begin again after this many (RFC 3711 §3.4).
const RTCP_INDICES: u32 = 1 << 31;

/// Protects what we send. Allocates nothing per packet once the caller's buffer has room for the tag.
pub struct Outbound {
    session: Session,
    sources: Vec<Source>,
    /// Packets under the present master key.
    rtp_packets: u64,
    rtcp_packets: u64,
}

/// One SSRC of ours.
struct Source {
    ssrc: u32,
    latest_index: Option<u64>,
    next_rtcp_index: u32,
}

impl Outbound {
    /// A stream that has sent nothing, with its roll-over counter at zero.
    pub fn new(key: &MasterKey) -> Self {
        Self {
            session: Session::new(key),
            sources: Vec::with_capacity(MAX_OUTBOUND_SOURCES),
            rtp_packets: 0,
            rtcp_packets: 0,
        }
    }

    /// Protects everything from here on with `key`, of any profile. Roll-over counters and SRTCP indices go on
    /// (RFC 3711 §3.3.1 and §3.4); the key's packets are counted anew.
    pub fn rekey(&mut self, key: &MasterKey) {
        self.session = Session::new(key);
        self.rtp_packets = 0;
        self.rtcp_packets = 0;
    }

    /// The profile in force.
    pub fn profile(&self) -> Profile {
        self.session.profile
    }

    /// Encrypts and authenticates an RTP packet; it grows by [`Profile::rtp_overhead_bytes`].
    ///
    /// # Errors
    /// See [`OutboundError`]; the packet is unchanged.
    pub fn protect_rtp(&mut self, packet: &mut Vec<u8>) -> Result<(), OutboundError> {
        let header = RtpHeader::read(packet, 0).map_err(OutboundError::Malformed)?;
        if self.rtp_packets == MAX_RTP_PACKETS {
            return Err(OutboundError::KeyExpired);
        }
        let source = source(&mut self.sources, header.ssrc)?;
        let index = source.next_index(header.sequence)?;
        source.latest_index = Some(index);
        self.rtp_packets += 1;
        self.session.rtp.seal_rtp(PacketId { ssrc: header.ssrc, index }, header.length_bytes, packet);
        Ok(())
    }

    /// Encrypts and authenticates a compound RTCP packet; it grows by [`Profile::rtcp_overhead_bytes`].
    ///
    /// # Errors
    /// See [`OutboundError`]; the packet is unchanged.
    pub fn protect_rtcp(&mut self, packet: &mut Vec<u8>) -> Result<(), OutboundError> {
        let ssrc = wire::rtcp_ssrc(packet, 0).map_err(OutboundError::Malformed)?;
        if self.rtcp_packets == MAX_RTCP_PACKETS {
            return Err(OutboundError::KeyExpired);
        }
        let source = source(&mut self.sources, ssrc)?;
        let index = source.next_rtcp_index;
        source.next_rtcp_index = (index + 1) % RTCP_INDICES;
        self.rtcp_packets += 1;
        let id = PacketId { ssrc, index: u64::from(index) };
        self.session.rtcp.seal_rtcp(id, wire::encrypted_word(index), packet);
        Ok(())
    }
}

impl Source {
    /// The index of the next packet, which must lie after that of the one before.
    fn next_index(&self, sequence: u16) -> Result<u64, OutboundError> {
        let Some(latest) = self.latest_index else { return Ok(u64::from(sequence)) };
        match estimate(latest, sequence) {
            END_OF_INDICES.. => Err(OutboundError::KeyExpired),
            index if index <= latest => Err(OutboundError::SequenceReused { sequence }),
            index => Ok(index),
        }
    }
}

fn source(sources: &mut Vec<Source>, ssrc: u32) -> Result<&mut Source, OutboundError> {
    let position = sources.iter().position(|source| source.ssrc == ssrc).unwrap_or(sources.len());
    if position == MAX_OUTBOUND_SOURCES {
        return Err(OutboundError::TooManySources);
    }
    if position == sources.len() {
        sources.push(Source { ssrc, latest_index: None, next_rtcp_index: 0 });
    }
    Ok(&mut sources[position])
}

#[cfg(test)]
mod tests {
    use super::super::tests::{key, rtcp, rtp};
    use super::*;
    use crate::testing::hex;

    fn outbound() -> Outbound {
        Outbound::new(&key(Profile::AesCm128HmacSha1_80, 1))
    }

    #[test]
    fn a_sequence_number_is_protected_once() {
        let mut outbound = outbound();
        for sequence in [65_534, 65_535, 0, 1, 9] {
            outbound.protect_rtp(&mut rtp(1, sequence)).unwrap();
        }
        for sequence in [9, 8, 0, 65_535] {
            let mut packet = rtp(1, sequence);
            assert_eq!(outbound.protect_rtp(&mut packet), Err(OutboundError::SequenceReused { sequence }));
            assert_eq!(packet, rtp(1, sequence));
        }
        outbound.protect_rtp(&mut rtp(1, 10)).unwrap();
    }

    #[test]
    fn sources_are_limited_and_none_is_forgotten() {
        let mut outbound = outbound();
        for ssrc in 0..MAX_OUTBOUND_SOURCES as u32 {
            outbound.protect_rtp(&mut rtp(ssrc, 5)).unwrap();
        }
        assert_eq!(outbound.protect_rtp(&mut rtp(99, 5)), Err(OutboundError::TooManySources));
        assert_eq!(outbound.protect_rtp(&mut rtp(0, 5)), Err(OutboundError::SequenceReused { sequence: 5 }));
    }

    #[test]
    fn a_key_ends_with_its_last_packet_and_a_new_one_goes_on() {
        let mut outbound = outbound();
        outbound.rtp_packets = MAX_RTP_PACKETS - 1;
        outbound.rtcp_packets = MAX_RTCP_PACKETS - 1;
        outbound.protect_rtp(&mut rtp(1, 5)).unwrap();
        outbound.protect_rtcp(&mut rtcp(1)).unwrap();
        assert_eq!(outbound.protect_rtp(&mut rtp(1, 6)), Err(OutboundError::KeyExpired));
        assert_eq!(outbound.protect_rtcp(&mut rtcp(1)), Err(OutboundError::KeyExpired));
        outbound.rekey(&key(Profile::AeadAes128Gcm, 2));
        outbound.protect_rtp(&mut rtp(1, 6)).unwrap();
        outbound.protect_rtcp(&mut rtcp(1)).unwrap();
    }

    #[test]
    fn a_roll_over_counter_ends_at_32_bits() {
        let mut outbound = outbound();
        outbound.protect_rtp(&mut rtp(1, 5)).unwrap();
        outbound.sources[0].latest_index = Some(END_OF_INDICES - 2);
        outbound.protect_rtp(&mut rtp(1, 65_535)).unwrap();
        assert_eq!(outbound.protect_rtp(&mut rtp(1, 0)), Err(OutboundError::KeyExpired));
    }

    #[test]
    fn rtcp_indices_count_each_source_and_wrap() {
        let mut outbound = outbound();
        let mut words = Vec::new();
        for ssrc in [1, 1, 2, 1] {
            let mut packet = rtcp(ssrc);
            outbound.protect_rtcp(&mut packet).unwrap();
            words.push(packet[packet.len() - 14..][..4].to_vec());
        }
        assert_eq!(words, ["80000000", "80000001", "80000000", "80000002"].map(hex));
        outbound.sources[0].next_rtcp_index = RTCP_INDICES - 1;
        outbound.protect_rtcp(&mut rtcp(1)).unwrap();
        assert_eq!(outbound.sources[0].next_rtcp_index, 0);
    }

    #[test]
    fn what_is_no_packet_is_refused() {
        let mut outbound = outbound();
        let malformed = |packet: &mut Vec<u8>, outbound: &mut Outbound| {
            matches!(outbound.protect_rtp(packet), Err(OutboundError::Malformed(_)))
        };
        assert!(malformed(&mut vec![], &mut outbound));
        assert!(malformed(&mut rtcp(1), &mut outbound));
        assert!(matches!(outbound.protect_rtcp(&mut vec![0x80; 7]), Err(OutboundError::Malformed(_))));
    }
}
