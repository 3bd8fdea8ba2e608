//! SRTP: what is believed was sent by who has the key, as it was sent, and is believed once.

use std::collections::BTreeMap;

use audio::rtp::srtp::{Inbound, InboundErrorCounts, MasterKey, Outbound, Profile};

use super::script::Script;

/// How far a source may get unheard and still be followed: half a cycle of sequence numbers (RFC 3711 §3.3.1), and room.
const MAX_GAP: u64 = 30_000;
const FIRST_SEQUENCE: u64 = 30_000;

/// # Panics
/// Something does not hold.
pub fn run(input: &[u8]) {
    let mut script = Script::new(input);
    let mut pair = Pair::new(fingerprint(input), &mut script);
    while !script.is_over() {
        pair.act(&mut script);
    }
    pair.is_heard_again();
}

struct Pair {
    secret: u64,
    outbound: Outbound,
    inbound: Inbound,
    keys: u8,
    /// The outbound side has yet to take the key that the inbound side has.
    pending: Option<MasterKey>,
    sources: [Source; 3],
    /// What was protected: the plain packet, and whether it was heard.
    issued: BTreeMap<Vec<u8>, (Vec<u8>, bool)>,
    /// The latest of it, in order.
    recent: Vec<Vec<u8>>,
    refused: u64,
}

/// Indices of one source: of the last packet, and of the last one that was heard.
#[derive(Debug, Clone, Copy)]
struct Source {
    index: u64,
    heard: u64,
}

/// FNV-1a. Keys are made from it: with the same keys for each input the fuzzer learns to sign with them.
fn fingerprint(input: &[u8]) -> u64 {
    input.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

fn key(secret: u64, profile: Profile, number: u8) -> MasterKey {
    MasterKey::generate(profile, |bytes| {
        bytes.fill(number);
        bytes[..8].copy_from_slice(&secret.to_be_bytes());
    })
}

impl Pair {
    fn new(secret: u64, script: &mut Script<'_>) -> Self {
        let first = key(secret, script.pick(&Profile::ALL), 0);
        Self {
            secret,
            outbound: Outbound::new(&first),
            inbound: Inbound::new(&first),
            keys: 0,
            pending: None,
            sources: [Source { index: FIRST_SEQUENCE, heard: FIRST_SEQUENCE }; 3],
            issued: BTreeMap::new(),
            recent: Vec::new(),
            refused: 0,
        }
    }

    fn act(&mut self, script: &mut Script<'_>) {
        match script.below(10) {
            0 => {
                let bytes = script.bytes().to_vec();
                self.hear(bytes, script.chance());
            }
            1..=4 => self.send_rtp(script),
            5 => self.send_rtcp(script),
            6 => self.replay(script),
            7 => self.change_key(script),
            8 => self.take_key(),
            _ => self.damage(script),
        }
    }

    fn send_rtp(&mut self, script: &mut Script<'_>) {
        let which = script.below(3);
        let source = &mut self.sources[which];
        let step = 1 + u64::from(script.byte()) * if script.chance() { 64 } else { 0 };
        if source.index + step > source.heard + MAX_GAP {
            return;
        }
        source.index += step;
        let (index, is_carried) = (source.index, script.chance());
        let plain = rtp(which as u32, index, script.bytes());
        let mut datagram = plain.clone();
        self.outbound.protect_rtp(&mut datagram).expect("sequence numbers rise");
        self.issue(datagram.clone(), plain);
        if is_carried && self.hear(datagram, false) {
            self.sources[which].heard = index;
        }
    }

    fn send_rtcp(&mut self, script: &mut Script<'_>) {
        let plain = rtcp(script.below(3) as u32, script.bytes());
        let mut datagram = plain.clone();
        self.outbound.protect_rtcp(&mut datagram).expect("an SRTCP index is left");
        self.issue(datagram.clone(), plain);
        if script.chance() {
            self.hear(datagram, true);
        }
    }

    fn issue(&mut self, datagram: Vec<u8>, plain: Vec<u8>) {
        if self.recent.len() == 32 {
            self.recent.remove(0);
        }
        self.recent.push(datagram.clone());
        let earlier = self.issued.insert(datagram, (plain, false));
        assert!(earlier.is_none(), "two packets protected into the same bytes");
    }

    /// An earlier packet, perhaps one that was lost.
    fn replay(&mut self, script: &mut Script<'_>) {
        if !self.recent.is_empty() {
            let datagram = self.recent[script.below(self.recent.len())].clone();
            let is_rtcp = matches!(datagram[1], 192..=223);
            self.hear(datagram, is_rtcp);
        }
    }

    fn damage(&mut self, script: &mut Script<'_>) {
        let Some(mut datagram) = self.recent.last().cloned() else { return };
        let at = usize::from(script.word()) % datagram.len();
        datagram[at] ^= script.byte();
        if script.chance() {
            datagram.truncate(at);
        }
        let is_rtcp = script.chance();
        self.hear(datagram, is_rtcp);
    }

    /// A new key comes by signalling, which may overtake packets.
    fn change_key(&mut self, script: &mut Script<'_>) {
        self.take_key();
        if self.keys == u8::MAX {
            return;
        }
        self.keys += 1;
        let key = key(self.secret, script.pick(&Profile::ALL), self.keys);
        self.inbound.rekey(&key);
        self.pending = Some(key);
    }

    fn take_key(&mut self) {
        if let Some(key) = self.pending.take() {
            self.outbound.rekey(&key);
        }
    }

    /// Whether it was believed; then it was one of ours, word for word, and came for the first time.
    fn hear(&mut self, mut datagram: Vec<u8>, is_rtcp: bool) -> bool {
        let before = datagram.clone();
        let opened = match is_rtcp {
            true => self.inbound.unprotect_rtcp(&mut datagram).map(<[u8]>::to_vec),
            false => self.inbound.unprotect_rtp(&mut datagram).map(<[u8]>::to_vec),
        };
        let Ok(opened) = opened else {
            self.refused += 1;
            assert_eq!(datagram, before, "a refused datagram was changed");
            assert_eq!(all(self.inbound.stats().errors), self.refused, "refused datagrams are counted once each");
            return false;
        };
        let (plain, was_heard) = self.issued.get_mut(&before).expect("a packet that nobody sent was believed");
        assert_eq!(opened, *plain);
        assert!(!std::mem::replace(was_heard, true), "a packet was believed twice");
        true
    }

    /// Whatever came in between, the next packet under the agreed key is believed.
    fn is_heard_again(&mut self) {
        self.take_key();
        for which in 0..3 {
            let index = self.sources[which as usize].index + 1;
            let plain = rtp(which, index, b"sound");
            let mut datagram = plain.clone();
            self.outbound.protect_rtp(&mut datagram).expect("sequence numbers rise");
            self.issue(datagram.clone(), plain);
            let before = self.inbound.stats().errors;
            let source = self.sources[which as usize];
            assert!(self.hear(datagram, false), "{source:?} {before:?} {:?}", self.inbound.stats().errors);
        }
    }
}

fn rtp(ssrc: u32, index: u64, payload: &[u8]) -> Vec<u8> {
    let [.., high, low] = index.to_be_bytes();
    [&[0x80, 0, high, low, 0, 0, 0, 1][..], &ssrc.to_be_bytes(), payload].concat()
}

fn rtcp(ssrc: u32, body: &[u8]) -> Vec<u8> {
    [&[0x80, 201, 0, 1][..], &ssrc.to_be_bytes(), body].concat()
}

fn all(counts: InboundErrorCounts) -> u64 {
    let InboundErrorCounts {
        too_short,
        wrong_version,
        rtcp,
        truncated_header,
        unencrypted,
        replayed,
        too_old,
        authentication_failed,
        key_expired,
    } = counts;
    let malformed = too_short + wrong_version + rtcp + truncated_header + unencrypted;
    malformed + replayed + too_old + authentication_failed + key_expired
}
