//! AES in counter mode and HMAC-SHA1 (RFC 3711 §4.1.1 and §4.2.1): one set of session keys.

use aes::Aes128;
use ctr::cipher::{InnerIvInit, KeyInit, StreamCipher};
use ctr::{Ctr128BE, CtrCore};
use hmac::{Hmac, Mac};
use sha1::Sha1;
use zeroize::Zeroizing;

use super::transform::{Forged, PacketId, Transform};
use super::wire::{RTCP_CLEAR_BYTES, RTCP_WORD_BYTES};

/// RTCP is always authenticated with 80 bits (RFC 4568 §6.2.2).
const RTCP_TAG_BYTES: usize = 10;

pub(super) struct CmHmac {
    cipher: Aes128,
    /// Keyed once; each packet costs a copy of its state.
    hmac: Hmac<Sha1>,
    salt: Zeroizing<[u8; 14]>,
    rtp_tag_bytes: usize,
}

impl CmHmac {
    pub(super) fn new(
        encryption: &[u8; 16],
        authentication: &[u8; 20],
        salt: Zeroizing<[u8; 14]>,
        rtp_tag_bytes: usize,
    ) -> Self {
        let hmac = Hmac::new_from_slice(authentication).expect("HMAC takes keys of any length");
        Self { cipher: Aes128::new(encryption.into()), hmac, salt, rtp_tag_bytes }
    }

    /// Encrypts or decrypts (RFC 3711 §4.1.1).
    fn apply_key_stream(&self, id: PacketId, bytes: &mut [u8]) {
        let core = CtrCore::inner_iv_init(&self.cipher, &self.first_counter(id).into());
        Ctr128BE::from_core(core).apply_keystream(bytes);
    }

    /// Salt, SSRC and index, each shifted to its place; the last 16 bits count the blocks of one packet.
    fn first_counter(&self, id: PacketId) -> [u8; 16] {
        let mut counter = [0; 16];
        let changing = u128::from(id.ssrc) << 64 | u128::from(id.index) << 16;
        counter[..14].copy_from_slice(&*self.salt);
        (u128::from_be_bytes(counter) ^ changing).to_be_bytes()
    }

    /// RTP is authenticated together with the roll-over counter, which is not sent (RFC 3711 §4.2).
    fn rtp_mac(&self, id: PacketId, packet: &[u8]) -> Hmac<Sha1> {
        let roll_over_counter = (id.index >> 16) as u32;
        self.hmac.clone().chain_update(packet).chain_update(roll_over_counter.to_be_bytes())
    }
}

impl Transform for CmHmac {
    fn seal_rtp(&self, id: PacketId, header_bytes: usize, packet: &mut Vec<u8>) {
        self.apply_key_stream(id, &mut packet[header_bytes..]);
        let tag = self.rtp_mac(id, packet).finalize().into_bytes();
        packet.extend_from_slice(&tag[..self.rtp_tag_bytes]);
    }

    fn open_rtp(&self, id: PacketId, header_bytes: usize, packet: &mut [u8]) -> Result<usize, Forged> {
        let (authenticated, tag) = packet.split_at_mut(packet.len() - self.rtp_tag_bytes);
        self.rtp_mac(id, authenticated).verify_truncated_left(tag).map_err(|_| Forged)?;
        self.apply_key_stream(id, &mut authenticated[header_bytes..]);
        Ok(authenticated.len())
    }

    fn seal_rtcp(&self, id: PacketId, word: [u8; RTCP_WORD_BYTES], packet: &mut Vec<u8>) {
        self.apply_key_stream(id, &mut packet[RTCP_CLEAR_BYTES..]);
        packet.extend_from_slice(&word);
        let tag = self.hmac.clone().chain_update(&*packet).finalize().into_bytes();
        packet.extend_from_slice(&tag[..RTCP_TAG_BYTES]);
    }

    fn open_rtcp(&self, id: PacketId, packet: &mut [u8]) -> Result<usize, Forged> {
        let (authenticated, tag) = packet.split_at_mut(packet.len() - RTCP_TAG_BYTES);
        self.hmac.clone().chain_update(&*authenticated).verify_truncated_left(tag).map_err(|_| Forged)?;
        let length_bytes = authenticated.len() - RTCP_WORD_BYTES;
        self.apply_key_stream(id, &mut authenticated[RTCP_CLEAR_BYTES..length_bytes]);
        Ok(length_bytes)
    }

    fn rtcp_word(&self, packet: &[u8]) -> [u8; RTCP_WORD_BYTES] {
        let (before_tag, _) = packet.split_at(packet.len() - RTCP_TAG_BYTES);
        before_tag.last_chunk().copied().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::hex;

    #[test]
    fn key_stream_is_that_of_rfc_3711_appendix_b_2() {
        let key = hex("2B7E151628AED2A6ABF7158809CF4F3C");
        let salt = hex("F0F1F2F3F4F5F6F7F8F9FAFBFCFD");
        let transform = CmHmac::new(&key.try_into().unwrap(), &[0; 20], Zeroizing::new(salt.try_into().unwrap()), 10);
        let mut stream = vec![0; 0xff02 * 16];
        transform.apply_key_stream(PacketId { ssrc: 0, index: 0 }, &mut stream);
        let rows = [
            (0x0000, "E03EAD0935C95E80E166B16DD92B4EB4"),
            (0x0001, "D23513162B02D0F72A43A2FE4A5F97AB"),
            (0x0002, "41E95B3BB0A2E8DD477901E4FCA894C0"),
            (0xfeff, "EC8CDF7398607CB0F2D21675EA9EA1E4"),
            (0xff00, "362B7C3C6773516318A077D7FC5073AE"),
            (0xff01, "6A2CC3787889374FBEB4C81B17BA6C44"),
        ];
        for (block, expected) in rows {
            assert_eq!(stream[block * 16..][..16], hex(expected), "block {block:#x}");
        }
    }

    #[test]
    fn source_and_index_stand_where_the_rfc_puts_them() {
        let transform = CmHmac::new(&[0; 16], &[0; 20], Zeroizing::new([0; 14]), 10);
        let counter = transform.first_counter(PacketId { ssrc: 0x1122_3344, index: 0x5566_7788_99aa });
        assert_eq!(counter, *hex("00000000 11223344 5566778899aa 0000"));
    }
}
