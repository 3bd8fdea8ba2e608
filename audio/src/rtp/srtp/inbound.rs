//! The peer's direction: protected packets in, genuine plain ones out, in the same buffer.

use super::error::{InboundError, InboundErrorCounts};
use super::index::{END_OF_INDICES, ReplayWindow, estimate};
use super::key::MasterKey;
use super::profile::Profile;
use super::transform::{PacketId, Session};
use super::wire::{self, RtpHeader};
use super::{MAX_RTCP_PACKETS, MAX_RTP_PACKETS};

/// Sources that are remembered in each direction: the gateway that plays early media, the one that answers, a transfer.
pub const MAX_INBOUND_SOURCES: usize = 8;

/// Packets under a new key after which the old one is forgotten: more than the network holds back.
pub const KEEP_OLD_KEY_PACKETS: u64 = 128;

/// What came so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct InboundStats {
    /// Genuine RTP packets.
    pub rtp_packets: u64,
    /// Genuine RTCP packets.
    pub rtcp_packets: u64,
    /// Sources forgotten because newer ones came.
    pub evicted_sources: u64,
    /// Datagrams refused, by reason.
    pub errors: InboundErrorCounts,
}

/// Checks and decrypts what the peer sends. Allocates nothing per packet.
pub struct Inbound {
    current: Context,
    /// The key before, while packets under it may still be on their way.
    previous: Option<Context>,
    stats: InboundStats,
}

/// One master key and what came under it.
struct Context {
    session: Session,
    /// The one that was heard last stands last.
    sources: Vec<Source>,
    rtp_packets: u64,
    rtcp_packets: u64,
}

/// One SSRC of the peer's.
#[derive(Clone, Copy)]
struct Source {
    ssrc: u32,
    /// The highest index under the key before, of which this one's may be the continuation.
    earlier_highest: Option<u64>,
    rtp: ReplayWindow,
    rtcp: ReplayWindow,
}

impl Inbound {
    /// A stream from which nothing has come.
    pub fn new(key: &MasterKey) -> Self {
        let current = Context::new(key, Vec::with_capacity(MAX_INBOUND_SOURCES));
        Self { current, previous: None, stats: InboundStats::default() }
    }

    /// Expects `key`, of any profile, from now on, and the one before for a little longer; see [`super`].
    pub fn rekey(&mut self, key: &MasterKey) {
        let mut sources = Vec::with_capacity(MAX_INBOUND_SOURCES);
        sources.extend(self.current.sources.iter().map(Source::under_new_key));
        let previous = std::mem::replace(&mut self.current, Context::new(key, sources));
        self.previous = Some(previous);
    }

    /// The profile in force.
    pub fn profile(&self) -> Profile {
        self.current.session.profile
    }

    /// What came so far.
    pub fn stats(&self) -> InboundStats {
        self.stats
    }

    /// Checks and decrypts a datagram from the RTP port; gives the plain packet, which lies at its start.
    ///
    /// # Errors
    /// See [`InboundError`]. All are counted; nothing else has changed, neither here nor in `datagram`.
    pub fn unprotect_rtp<'a>(&mut self, datagram: &'a mut [u8]) -> Result<&'a [u8], InboundError> {
        let opened = self.open(datagram, Context::open_rtp);
        self.stats.rtp_packets += u64::from(opened.is_ok());
        opened.map(|length_bytes| &datagram[..length_bytes])
    }

    /// Checks and decrypts a datagram from the RTCP port, or one that [`InboundError::Rtcp`] found on the RTP port.
    ///
    /// # Errors
    /// As [`Self::unprotect_rtp`].
    pub fn unprotect_rtcp<'a>(&mut self, datagram: &'a mut [u8]) -> Result<&'a [u8], InboundError> {
        let opened = self.open(datagram, Context::open_rtcp);
        self.stats.rtcp_packets += u64::from(opened.is_ok());
        opened.map(|length_bytes| &datagram[..length_bytes])
    }

    fn open(&mut self, datagram: &mut [u8], open: Open) -> Result<usize, InboundError> {
        let mut opened = open(&mut self.current, datagram);
        match (&opened, &mut self.previous) {
            (Ok(_), Some(_)) if self.current.packets() >= KEEP_OLD_KEY_PACKETS => self.previous = None,
            // The old key's tag may be longer, so a packet too short for the new key is not too short for it.
            (Err(InboundError::AuthenticationFailed | InboundError::TooShort { .. }), Some(previous)) => {
                opened = open(previous, datagram);
                if let (Ok(opened), Some(heard)) = (&mut opened, previous.sources.last()) {
                    opened.has_evicted |= self.current.expect_continuation_of(heard);
                }
            }
            (Ok(_) | Err(_), _) => {}
        }
        match opened {
            Ok(opened) => {
                self.stats.evicted_sources += u64::from(opened.has_evicted);
                Ok(opened.length_bytes)
            }
            Err(error) => {
                self.stats.errors.count(error);
                Err(error)
            }
        }
    }
}

type Open = fn(&mut Context, &mut [u8]) -> Result<Opened, InboundError>;

/// A genuine packet.
struct Opened {
    length_bytes: usize,
    /// Whether an old source was forgotten for it.
    has_evicted: bool,
}

impl Context {
    fn new(key: &MasterKey, sources: Vec<Source>) -> Self {
        Self { session: Session::new(key), sources, rtp_packets: 0, rtcp_packets: 0 }
    }

    fn packets(&self) -> u64 {
        self.rtp_packets + self.rtcp_packets
    }

    fn open_rtp(&mut self, datagram: &mut [u8]) -> Result<Opened, InboundError> {
        let header = RtpHeader::read(datagram, self.session.profile.rtp_overhead_bytes())?;
        if self.rtp_packets == MAX_RTP_PACKETS {
            return Err(InboundError::KeyExpired);
        }
        let mut source = self.source(header.ssrc);
        for index in source.candidates(header.sequence).into_iter().flatten() {
            if index >= END_OF_INDICES {
                return Err(InboundError::KeyExpired);
            }
            source.rtp.check(index)?;
            let id = PacketId { ssrc: header.ssrc, index };
            if let Ok(length_bytes) = self.session.rtp.open_rtp(id, header.length_bytes, datagram) {
                source.rtp.accept(index);
                self.rtp_packets += 1;
                return Ok(Opened { length_bytes, has_evicted: self.remember(source) });
            }
        }
        Err(InboundError::AuthenticationFailed)
    }

    fn open_rtcp(&mut self, datagram: &mut [u8]) -> Result<Opened, InboundError> {
        let ssrc = wire::rtcp_ssrc(datagram, self.session.profile.rtcp_overhead_bytes())?;
        let id = wire::rtcp_id(ssrc, self.session.rtcp.rtcp_word(datagram))?;
        if self.rtcp_packets == MAX_RTCP_PACKETS {
            return Err(InboundError::KeyExpired);
        }
        let mut source = self.source(ssrc);
        source.rtcp.check(id.index)?;
        let length_bytes = self.session.rtcp.open_rtcp(id, datagram).map_err(|_| InboundError::AuthenticationFailed)?;
        source.rtcp.accept(id.index);
        self.rtcp_packets += 1;
        Ok(Opened { length_bytes, has_evicted: self.remember(source) })
    }

    /// What is known of a source, if anything; a copy, since the packet may be forged.
    fn source(&self, ssrc: u32) -> Source {
        let known = self.sources.iter().rev().find(|source| source.ssrc == ssrc);
        known.copied().unwrap_or(Source::new(ssrc))
    }

    /// Takes note of how far a source got under the key before.
    fn expect_continuation_of(&mut self, heard: &Source) -> bool {
        self.remember(Source { earlier_highest: heard.latest(), ..self.source(heard.ssrc) })
    }

    /// Stores a source that was just heard; true if the one not heard for longest had to make room.
    fn remember(&mut self, source: Source) -> bool {
        let known = self.sources.iter().position(|known| known.ssrc == source.ssrc);
        let is_full = self.sources.len() == MAX_INBOUND_SOURCES;
        if let Some(position) = known.or(is_full.then_some(0)) {
            self.sources.remove(position);
        }
        self.sources.push(source);
        known.is_none() && is_full
    }
}

impl Source {
    fn new(ssrc: u32) -> Self {
        Self { ssrc, earlier_highest: None, rtp: ReplayWindow::default(), rtcp: ReplayWindow::default() }
    }

    fn under_new_key(&self) -> Self {
        Self { earlier_highest: self.latest(), ..Self::new(self.ssrc) }
    }

    /// The highest index known, which is that under the key before where only RTCP came under this one.
    fn latest(&self) -> Option<u64> {
        self.rtp.highest().or(self.earlier_highest)
    }

    /// The indices that a packet with this `sequence` may have, the likely one first. More than one only while a new
    /// key has not shown whether the roll-over counter went on (RFC 3711 §3.3.1) or starts again (RFC 4568 §7.1.4).
    fn candidates(&self, sequence: u16) -> [Option<u64>; 2] {
        let from_zero = u64::from(sequence);
        match (self.rtp.highest(), self.earlier_highest) {
            (Some(highest), _) => [Some(estimate(highest, sequence)), None],
            (None, Some(earlier)) => {
                let continued = estimate(earlier, sequence);
                [Some(continued), (continued != from_zero).then_some(from_zero)]
            }
            (None, None) => [Some(from_zero), None],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Outbound;
    use super::super::tests::{key, rtcp, rtp};
    use super::*;

    const PROFILE: Profile = Profile::AesCm128HmacSha1_80;

    #[test]
    fn a_key_ends_with_its_last_packet_and_a_new_one_goes_on() {
        let (mut outbound, mut inbound) = (Outbound::new(&key(PROFILE, 1)), Inbound::new(&key(PROFILE, 1)));
        inbound.current.rtp_packets = MAX_RTP_PACKETS - 1;
        inbound.current.rtcp_packets = MAX_RTCP_PACKETS - 1;
        let mut next = |outbound: &mut Outbound, sequence| {
            let (mut packet, mut report) = (rtp(1, sequence), rtcp(1));
            outbound.protect_rtp(&mut packet).unwrap();
            outbound.protect_rtcp(&mut report).unwrap();
            (inbound.unprotect_rtp(&mut packet).err(), inbound.unprotect_rtcp(&mut report).err())
        };
        assert_eq!(next(&mut outbound, 1), (None, None));
        assert_eq!(next(&mut outbound, 2), (Some(InboundError::KeyExpired), Some(InboundError::KeyExpired)));
        inbound.rekey(&key(PROFILE, 2));
        outbound.rekey(&key(PROFILE, 2));
        let mut packet = rtp(1, 3);
        outbound.protect_rtp(&mut packet).unwrap();
        assert!(inbound.unprotect_rtp(&mut packet).is_ok());
    }

    /// A report that overtook all sound under its key says nothing about sequence numbers, and must not make them forgotten.
    #[test]
    fn reports_under_a_key_without_sound_do_not_lose_the_roll_over_counter() {
        let (mut outbound, mut inbound) = (Outbound::new(&key(PROFILE, 1)), Inbound::new(&key(PROFILE, 1)));
        for sequence in [30_000, 60_000, 20_000] {
            let mut packet = rtp(1, sequence);
            outbound.protect_rtp(&mut packet).unwrap();
            assert!(inbound.unprotect_rtp(&mut packet).is_ok());
        }
        inbound.rekey(&key(PROFILE, 2));
        outbound.rekey(&key(PROFILE, 2));
        inbound.rekey(&key(PROFILE, 3));
        let (mut report, mut packet) = (rtcp(1), rtp(1, 20_001));
        outbound.protect_rtcp(&mut report).unwrap();
        assert!(inbound.unprotect_rtcp(&mut report).is_ok());
        outbound.rekey(&key(PROFILE, 3));
        outbound.protect_rtp(&mut packet).unwrap();
        assert_eq!(inbound.unprotect_rtp(&mut packet), Ok(&rtp(1, 20_001)[..]));
    }

    #[test]
    fn a_roll_over_counter_ends_at_32_bits() {
        let mut inbound = Inbound::new(&key(PROFILE, 1));
        let mut source = Source::new(1);
        source.rtp.accept(END_OF_INDICES - 1);
        inbound.current.remember(source);
        let mut datagram = [rtp(1, 0), vec![0; 10]].concat();
        assert_eq!(inbound.unprotect_rtp(&mut datagram), Err(InboundError::KeyExpired));
        assert_eq!(inbound.stats().errors.key_expired, 1);
    }

    #[test]
    fn rtcp_on_the_rtp_port_is_told_apart() {
        let (mut outbound, mut inbound) = (Outbound::new(&key(PROFILE, 1)), Inbound::new(&key(PROFILE, 1)));
        let mut report = rtcp(1);
        outbound.protect_rtcp(&mut report).unwrap();
        assert_eq!(inbound.unprotect_rtp(&mut report), Err(InboundError::Rtcp { packet_type: 201 }));
        assert_eq!(inbound.unprotect_rtcp(&mut report), Ok(&rtcp(1)[..]));
    }
}
