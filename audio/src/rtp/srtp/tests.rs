use proptest::prelude::*;
use proptest::sample::select;

use super::*;
use crate::rtp::packet::Packet;
use crate::rtp::{PayloadType, SequenceNumber};
use crate::testing::hex;
use crate::time::RtpTimestamp;

pub(super) fn key(profile: Profile, byte: u8) -> MasterKey {
    MasterKey::generate(profile, |bytes| bytes.iter_mut().zip(byte..).for_each(|(to, from)| *to = from))
}

/// A packet of G.711 whose payload says where it belongs.
pub(super) fn rtp(ssrc: u32, sequence: u16) -> Vec<u8> {
    let payload = [sequence as u8; 160];
    let packet = Packet {
        marker: false,
        payload_type: PayloadType::PCMU,
        sequence: SequenceNumber(sequence),
        timestamp: RtpTimestamp(u32::from(sequence).wrapping_mul(160)),
        ssrc,
        payload: &payload,
    };
    let mut datagram = Vec::new();
    packet.write(&mut datagram);
    datagram
}

/// An empty receiver report.
pub(super) fn rtcp(ssrc: u32) -> Vec<u8> {
    [&[0x80, 201, 0, 1][..], &ssrc.to_be_bytes(), &[0x81, 202, 0, 2], &ssrc.to_be_bytes(), &[1, 1, b'x', 0]].concat()
}

struct Pair {
    outbound: Outbound,
    inbound: Inbound,
}

impl Pair {
    fn new(profile: Profile) -> Self {
        let key = key(profile, 1);
        Self { outbound: Outbound::new(&key), inbound: Inbound::new(&key) }
    }

    fn protected(&mut self, ssrc: u32, sequence: u16) -> Vec<u8> {
        let mut packet = rtp(ssrc, sequence);
        self.outbound.protect_rtp(&mut packet).unwrap();
        packet
    }

    fn protected_rtcp(&mut self, ssrc: u32) -> Vec<u8> {
        let mut packet = rtcp(ssrc);
        self.outbound.protect_rtcp(&mut packet).unwrap();
        packet
    }
}

fn unprotected(inbound: &mut Inbound, packet: &[u8]) -> Result<Vec<u8>, InboundError> {
    inbound.unprotect_rtp(&mut packet.to_vec()).map(<[u8]>::to_vec)
}

fn unprotected_rtcp(inbound: &mut Inbound, packet: &[u8]) -> Result<Vec<u8>, InboundError> {
    inbound.unprotect_rtcp(&mut packet.to_vec()).map(<[u8]>::to_vec)
}

/// The packets of libsrtp's `srtp_validate` and `srtp_validate_gcm`, and one more of libsrtp 2.5.0 for AES-256. Its first
/// SRTCP index is 1, ours 0.
#[test]
fn packets_of_libsrtp_are_read_and_ours_are_like_them() {
    const RTP: &str = "800f1234decafbadcafebabe abababababababababababababababab";
    const RTCP: &str = "81c8000bcafebabe abababababababababababababababab";
    let rows = [
        (
            Profile::AesCm128HmacSha1_80,
            "e1f97a0d3e018be0d64fa32c06de4139 0ec675ad498afeebb6960b3aabe6",
            "800f1234decafbadcafebabe 4e55dc4ce79978d88ca4d215949d2402 b78d6acc99ea179b8dbb",
            "81c8000bcafebabe 7128035be487b9bdbef89041f977a5a8 80000001 993e08cd54d6c1230798",
        ),
        (
            Profile::AesCm128HmacSha1_32,
            "e1f97a0d3e018be0d64fa32c06de4139 0ec675ad498afeebb6960b3aabe6",
            "800f1234decafbadcafebabe 4e55dc4ce79978d88ca4d215949d2402 b78d6acc",
            "81c8000bcafebabe 7128035be487b9bdbef89041f977a5a8 80000001 993e08cd54d6c1230798",
        ),
        (
            Profile::AeadAes128Gcm,
            "000102030405060708090a0b0c0d0e0f a0a1a2a3a4a5a6a7a8a9aaab",
            "800f1234decafbadcafebabe c5002ede04cfdd2eb91159e0880aa06e d2976826f796b201df3131a127e8a392",
            "81c8000bcafebabe c98b8b5df0392a55852b6c21ac8e7025 c52c6fbea2b3b446ea31123ba88ce61e 80000001",
        ),
        (
            Profile::AeadAes256Gcm,
            "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f a0a1a2a3a4a5a6a7a8a9aaab",
            "800f1234decafbadcafebabe 0af7f21e8a90bdad7a425c9c31ed4bb1 d90238917e7390a2793500e1681acaea",
            "81c8000bcafebabe 8abfafa780070a90e80f9161cf4aac08 1ed93aaa53c15b0f3ed1a3b984167b03 80000001",
        ),
    ];
    for (profile, inline, protected, protected_rtcp) in rows {
        let key = MasterKey::from_inline(profile, &hex(inline)).unwrap();
        let (mut outbound, mut inbound) = (Outbound::new(&key), Inbound::new(&key));
        let mut packet = hex(RTP);
        outbound.protect_rtp(&mut packet).unwrap();
        assert_eq!(packet, hex(protected), "{profile:?}");
        assert_eq!(unprotected(&mut inbound, &packet), Ok(hex(RTP)));

        outbound.protect_rtcp(&mut hex(RTCP)).unwrap();
        let mut packet = hex(RTCP);
        outbound.protect_rtcp(&mut packet).unwrap();
        assert_eq!(packet, hex(protected_rtcp), "{profile:?}");
        assert_eq!(unprotected_rtcp(&mut inbound, &packet), Ok(hex(RTCP)));
    }
}

/// Twilio's gateway changes its SSRC between early media and answer, and RTCP goes on beside it.
#[test]
fn each_source_has_its_own_window_and_roll_over_counter() {
    let mut pair = Pair::new(Profile::AesCm128HmacSha1_80);
    for (ssrc, sequence) in [(1, 65_535), (1, 0), (2, 40_000), (1, 1), (2, 40_001)] {
        let packet = pair.protected(ssrc, sequence);
        assert_eq!(unprotected(&mut pair.inbound, &packet), Ok(rtp(ssrc, sequence)));
        let report = pair.protected_rtcp(ssrc);
        assert_eq!(unprotected_rtcp(&mut pair.inbound, &report), Ok(rtcp(ssrc)));
        assert_eq!(unprotected_rtcp(&mut pair.inbound, &report), Err(InboundError::Replayed));
    }
    assert_eq!(pair.inbound.stats().errors.replayed, 5);
}

#[test]
fn the_source_not_heard_for_longest_is_forgotten_first() {
    let mut pair = Pair::new(Profile::AeadAes128Gcm);
    let first = pair.protected(0, 7);
    unprotected(&mut pair.inbound, &first).unwrap();
    // Sources beyond what our own sender may have: from senders with the same key.
    let hear = |ssrc, inbound: &mut Inbound| {
        let mut packet = rtp(ssrc, 7);
        Outbound::new(&key(Profile::AeadAes128Gcm, 1)).protect_rtp(&mut packet).unwrap();
        unprotected(inbound, &packet)
    };
    for ssrc in 1..MAX_INBOUND_SOURCES as u32 {
        hear(ssrc, &mut pair.inbound).unwrap();
    }
    let again = pair.protected(0, 8);
    unprotected(&mut pair.inbound, &again).unwrap();
    assert_eq!(pair.inbound.stats().evicted_sources, 0);

    hear(99, &mut pair.inbound).unwrap();
    assert_eq!(pair.inbound.stats().evicted_sources, 1);
    // The one heard again is still known, the second is not.
    assert_eq!(unprotected(&mut pair.inbound, &first), Err(InboundError::Replayed));
    assert!(hear(1, &mut pair.inbound).is_ok());
    assert_eq!(pair.inbound.stats().evicted_sources, 2);
}

/// More than an hour of packets with the wrap in between, a fifth of them lost, the rest up to 60 places out of order.
#[test]
fn loss_and_disorder_never_lose_the_roll_over_counter() {
    const PACKETS: u32 = 200_000;
    for profile in [Profile::AesCm128HmacSha1_80, Profile::AeadAes128Gcm] {
        let mut pair = Pair::new(profile);
        let mut random = 0x2545_f491_4f6c_dd1d_u64;
        let mut under_way: Vec<(u32, u16, Vec<u8>)> = Vec::new();
        let mut came = 0;
        for position in 0..PACKETS + 61 {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            let sequence = (position + 32_000) as u16;
            if position < PACKETS {
                let packet = pair.protected(1, sequence);
                if !random.is_multiple_of(5) {
                    under_way.push((position + (random >> 32) as u32 % 61, sequence, packet));
                }
            }
            for (_, sequence, packet) in under_way.extract_if(.., |(due, ..)| *due == position) {
                assert_eq!(unprotected(&mut pair.inbound, &packet), Ok(rtp(1, sequence)), "packet {position}");
                came += 1;
            }
        }
        assert!((155_000..165_000).contains(&came), "{came}");
        assert_eq!(pair.inbound.stats().rtp_packets, came);
        assert_eq!(pair.inbound.stats().errors, InboundErrorCounts::default());
    }
}

#[test]
fn another_key_opens_nothing() {
    for profile in Profile::ALL {
        let mut pair = Pair::new(profile);
        let mut stranger = Inbound::new(&key(profile, 2));
        let (packet, report) = (pair.protected(1, 5), pair.protected_rtcp(1));
        assert_eq!(unprotected(&mut stranger, &packet), Err(InboundError::AuthenticationFailed), "{profile:?}");
        assert_eq!(unprotected_rtcp(&mut stranger, &report), Err(InboundError::AuthenticationFailed), "{profile:?}");
        assert_eq!(stranger.stats().errors.authentication_failed, 2);
    }
}

/// Short tags are for RTP only: RTCP keeps 80 bits (RFC 4568 §6.2.2).
#[test]
fn rtcp_of_the_short_profile_has_a_long_tag() {
    let mut pair = Pair::new(Profile::AesCm128HmacSha1_32);
    assert_eq!(pair.protected(1, 5).len(), rtp(1, 5).len() + 4);
    assert_eq!(pair.protected_rtcp(1).len(), rtcp(1).len() + 14);
}

#[test]
fn rtcp_that_claims_not_to_be_encrypted_is_refused() {
    for profile in Profile::ALL {
        let mut pair = Pair::new(profile);
        let mut packet = pair.protected_rtcp(1);
        let word_at = packet.len() - if profile.salt_bytes() == 14 { 14 } else { 4 };
        packet[word_at] &= 0x7f;
        assert_eq!(unprotected_rtcp(&mut pair.inbound, &packet), Err(InboundError::Unencrypted), "{profile:?}");
    }
}

/// The re-INVITE's answer and the first packets under the new key race each other; not one frame may be lost.
#[test]
fn new_keys_lose_no_packet_whichever_comes_first() {
    for (from, to) in [
        (Profile::AesCm128HmacSha1_80, Profile::AesCm128HmacSha1_80),
        (Profile::AesCm128HmacSha1_80, Profile::AeadAes256Gcm),
        (Profile::AeadAes128Gcm, Profile::AesCm128HmacSha1_32),
    ] {
        let mut pair = Pair::new(from);
        // A call long enough that the roll-over counter is not zero any more.
        for sequence in [20_000, 50_000, 10_000, 30_000] {
            let packet = pair.protected(1, sequence);
            unprotected(&mut pair.inbound, &packet).unwrap();
        }
        let under_way: Vec<_> = (30_001..30_010).map(|sequence| pair.protected(1, sequence)).collect();
        pair.outbound.rekey(&key(to, 3));
        pair.inbound.rekey(&key(to, 3));
        for sequence in 30_010..30_019 {
            let packet = pair.protected(1, sequence);
            assert_eq!(unprotected(&mut pair.inbound, &packet), Ok(rtp(1, sequence)), "{from:?} to {to:?}");
            let late = &under_way[usize::from(sequence - 30_010)];
            assert_eq!(unprotected(&mut pair.inbound, late), Ok(rtp(1, sequence - 9)), "{from:?} to {to:?}");
            assert_eq!(unprotected(&mut pair.inbound, late), Err(InboundError::Replayed));
        }
    }
}

/// RFC 3711 §3.3.1 lets the counter go on, RFC 4568 §7.1.4 starts it again; peers do either.
#[test]
fn a_peer_may_start_its_roll_over_counter_again_with_a_new_key() {
    let mut pair = Pair::new(Profile::AesCm128HmacSha1_80);
    for sequence in [20_000, 50_000, 10_000] {
        let packet = pair.protected(1, sequence);
        unprotected(&mut pair.inbound, &packet).unwrap();
    }
    let new = key(Profile::AesCm128HmacSha1_80, 3);
    pair.inbound.rekey(&new);
    pair.outbound = Outbound::new(&new);
    for sequence in [10_001, 10_003, 10_002, 42_000, 2] {
        let mut packet = rtp(1, sequence);
        if sequence != 10_002 {
            packet = pair.protected(1, sequence);
        } else {
            Outbound::new(&new).protect_rtp(&mut packet).unwrap();
        }
        assert_eq!(unprotected(&mut pair.inbound, &packet), Ok(rtp(1, sequence)));
    }
}

#[test]
fn the_old_key_is_forgotten_once_the_new_one_is_in_use() {
    let mut pair = Pair::new(Profile::AesCm128HmacSha1_80);
    let mut late = rtp(1, 500);
    Outbound::new(&key(Profile::AesCm128HmacSha1_80, 1)).protect_rtp(&mut late).unwrap();
    let new = key(Profile::AesCm128HmacSha1_80, 3);
    pair.outbound.rekey(&new);
    pair.inbound.rekey(&new);
    for sequence in 2..2 + KEEP_OLD_KEY_PACKETS as u16 {
        let packet = pair.protected(1, sequence);
        unprotected(&mut pair.inbound, &packet).unwrap();
    }
    assert_eq!(unprotected(&mut pair.inbound, &late), Err(InboundError::AuthenticationFailed));
}

/// A peer that goes on with the old key long after the answer is followed through its wraps.
#[test]
fn a_peer_may_take_its_time_with_a_new_key() {
    let mut pair = Pair::new(Profile::AesCm128HmacSha1_80);
    let new = key(Profile::AesCm128HmacSha1_80, 3);
    pair.inbound.rekey(&new);
    for sequence in [20_000, 50_000, 10_000, 40_000, 5_000] {
        let packet = pair.protected(1, sequence);
        unprotected(&mut pair.inbound, &packet).unwrap();
    }
    pair.outbound.rekey(&new);
    let packet = pair.protected(1, 5_001);
    assert_eq!(unprotected(&mut pair.inbound, &packet), Ok(rtp(1, 5_001)));
}

fn any_profile() -> impl Strategy<Value = Profile> {
    select(Profile::ALL.to_vec())
}

proptest! {
    #[test]
    fn what_is_protected_comes_back(
        profile in any_profile(), inline: [u8; 44], payload in prop::collection::vec(any::<u8>(), 0..400),
        csrcs in 0_u8..16, extension in prop::option::of(prop::collection::vec(any::<u8>(), 0..10)),
        marker: bool, payload_type in 0_u8..64, rest: [u8; 10],
    ) {
        let key = MasterKey::generate(profile, |bytes| bytes.copy_from_slice(&inline[..bytes.len()]));
        let mut packet = vec![0x80 | csrcs | u8::from(extension.is_some()) << 4, u8::from(marker) << 7 | payload_type];
        packet.extend(rest);
        packet.extend(vec![7; 4 * usize::from(csrcs)]);
        if let Some(words) = extension {
            packet.extend([0xbe, 0xde, 0, words.len() as u8]);
            packet.extend(words.iter().flat_map(|&byte| [byte; 4]));
        }
        let header_bytes = packet.len();
        packet.extend(&payload);
        let plain = packet.clone();
        Outbound::new(&key).protect_rtp(&mut packet).unwrap();
        prop_assert_eq!(packet.len(), plain.len() + profile.rtp_overhead_bytes());
        prop_assert_eq!(&packet[..header_bytes], &plain[..header_bytes]);
        prop_assert!(payload.len() < 8 || packet[header_bytes..][..payload.len()] != payload);
        prop_assert_eq!(unprotected(&mut Inbound::new(&key), &packet), Ok(plain));

        let mut report = [&[0x80, 200, 0, 1][..], &rest[..4], &payload].concat();
        let plain = report.clone();
        Outbound::new(&key).protect_rtcp(&mut report).unwrap();
        prop_assert_eq!(report.len(), plain.len() + profile.rtcp_overhead_bytes());
        prop_assert_eq!(unprotected_rtcp(&mut Inbound::new(&key), &report), Ok(plain));
    }

    /// Between two genuine packets anything may come: nothing of it is believed, nothing of it changes the datagram, and
    /// the second genuine packet is read as if it had not been there.
    #[test]
    fn forged_packets_change_nothing(
        profile in any_profile(), flips in prop::collection::vec((any::<u16>(), 0_u8..8), 1..20), is_rekeyed: bool,
        sequence: u16, ssrc in 0_u32..3,
    ) {
        let mut pair = Pair::new(profile);
        for sequence in [30_000, 60_000, 20_000] {
            let packet = pair.protected(1, sequence);
            unprotected(&mut pair.inbound, &packet).unwrap();
        }
        let report = pair.protected_rtcp(1);
        unprotected_rtcp(&mut pair.inbound, &report).unwrap();
        if is_rekeyed {
            pair.outbound.rekey(&key(profile, 9));
            pair.inbound.rekey(&key(profile, 9));
        }
        let (genuine, genuine_rtcp) = (pair.protected(1, 20_001), pair.protected_rtcp(1));
        let before = pair.inbound.stats();
        for (at, bit) in flips {
            let mut forged = genuine.clone();
            let at_byte = usize::from(at) % forged.len();
            forged[at_byte] ^= 1 << bit;
            let as_sent = forged.clone();
            prop_assert!(pair.inbound.unprotect_rtp(&mut forged).is_err());
            prop_assert_eq!(forged, as_sent);

            let mut forged = genuine_rtcp.clone();
            let at_byte = usize::from(at) % forged.len();
            forged[at_byte] ^= 1 << bit;
            let as_sent = forged.clone();
            prop_assert!(pair.inbound.unprotect_rtcp(&mut forged).is_err());
            prop_assert_eq!(forged, as_sent);
        }
        // Well-formed, of any source and sequence, under a key that nobody has.
        let mut forged = rtp(ssrc, sequence);
        Outbound::new(&key(profile, 77)).protect_rtp(&mut forged).unwrap();
        prop_assert!(pair.inbound.unprotect_rtp(&mut forged).is_err());

        let after = pair.inbound.stats();
        prop_assert_eq!((after.rtp_packets, after.rtcp_packets), (before.rtp_packets, before.rtcp_packets));
        prop_assert_eq!(unprotected(&mut pair.inbound, &genuine), Ok(rtp(1, 20_001)));
        prop_assert_eq!(unprotected(&mut pair.inbound, &genuine), Err(InboundError::Replayed));
        prop_assert_eq!(unprotected_rtcp(&mut pair.inbound, &genuine_rtcp), Ok(rtcp(1)));
        prop_assert_eq!(unprotected_rtcp(&mut pair.inbound, &genuine_rtcp), Err(InboundError::Replayed));
    }

    #[test]
    fn no_bytes_panic(profile in any_profile(), first in 0x80_u8..0xc0, rest in prop::collection::vec(any::<u8>(), 0..80)) {
        let mut pair = Pair::new(profile);
        let mut datagram = vec![first];
        datagram.extend(rest);
        prop_assert!(pair.inbound.unprotect_rtp(&mut datagram.clone()).is_err());
        prop_assert!(pair.inbound.unprotect_rtcp(&mut datagram.clone()).is_err());
        let _ = pair.outbound.protect_rtp(&mut datagram.clone());
        let _ = pair.outbound.protect_rtcp(&mut datagram);
    }
}
