//! What every way of protecting packets has to offer, and how a profile finds its own.

use aes_gcm::{Aes128Gcm, Aes256Gcm};

use super::cm_hmac::CmHmac;
use super::derive::{Labels, derive};
use super::gcm::Gcm;
use super::key::MasterKey;
use super::profile::Profile;

/// What makes the key stream of a packet unlike that of any other: source and index (48 bits for RTP, 31 for RTCP).
#[derive(Debug, Clone, Copy)]
pub(super) struct PacketId {
    pub(super) ssrc: u32,
    pub(super) index: u64,
}

/// The tag does not fit the packet: forged, damaged, or under another key or roll-over counter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Forged;

/// One set of session keys for RTP or RTCP. Packets are as long as [`super::wire`] has checked.
pub(super) trait Transform: Send {
    /// Encrypts what follows the header and appends the tag.
    fn seal_rtp(&self, id: PacketId, header_bytes: usize, packet: &mut Vec<u8>);

    /// Checks the tag, then decrypts; gives the length of the plain packet. A forged one stays as it was.
    fn open_rtp(&self, id: PacketId, header_bytes: usize, packet: &mut [u8]) -> Result<usize, Forged>;

    /// Encrypts what follows the first eight bytes and appends tag and `word`, which is E bit and index.
    fn seal_rtcp(&self, id: PacketId, word: [u8; 4], packet: &mut Vec<u8>);

    /// As [`Self::open_rtp`].
    fn open_rtcp(&self, id: PacketId, packet: &mut [u8]) -> Result<usize, Forged>;

    /// E bit and index of an SRTCP packet.
    fn rtcp_word(&self, packet: &[u8]) -> [u8; 4];
}

/// The session keys of a master key.
pub(super) struct Session {
    pub(super) profile: Profile,
    pub(super) rtp: Box<dyn Transform>,
    pub(super) rtcp: Box<dyn Transform>,
}

impl Session {
    pub(super) fn new(master: &MasterKey) -> Self {
        let profile = master.profile();
        let transform = |labels| transform(master, labels);
        Self { profile, rtp: transform(Labels::RTP), rtcp: transform(Labels::RTCP) }
    }
}

fn transform(master: &MasterKey, labels: Labels) -> Box<dyn Transform> {
    match master.profile() {
        Profile::AesCm128HmacSha1_80 | Profile::AesCm128HmacSha1_32 => Box::new(CmHmac::new(
            &derive(master, labels.encryption),
            &derive(master, labels.authentication),
            derive(master, labels.salt),
            master.profile().rtp_overhead_bytes(),
        )),
        Profile::AeadAes128Gcm => {
            Box::new(Gcm::<Aes128Gcm>::new(&*derive::<16>(master, labels.encryption), derive(master, labels.salt)))
        }
        Profile::AeadAes256Gcm => {
            Box::new(Gcm::<Aes256Gcm>::new(&*derive::<32>(master, labels.encryption), derive(master, labels.salt)))
        }
    }
}

#[cfg(test)]
mod tests {
    use sha1::Sha1;
    use zeroize::{ZeroizeOnDrop, Zeroizing};

    use super::*;

    /// Compiles only while the crates behind a session wipe what they hold.
    #[test]
    fn session_keys_are_wiped_when_dropped() {
        fn wiped<T: ZeroizeOnDrop>() {}
        wiped::<aes::Aes128>();
        // HMAC is two states of its hash, and has no mark of its own.
        wiped::<Sha1>();
        wiped::<Aes128Gcm>();
        wiped::<Aes256Gcm>();
        wiped::<Zeroizing<[u8; 14]>>();
    }
}
