//! AES in Galois/counter mode (RFC 7714): one set of session keys. `aes-gcm` compares tags in constant time and leaves
//! a packet alone whose tag is wrong.

use aes_gcm::aead::consts::{U12, U16};
use aes_gcm::{AeadCore, AeadInOut, KeyInit};
use zeroize::Zeroizing;

use super::transform::{Forged, PacketId, Transform};
use super::wire::{RTCP_CLEAR_BYTES, RTCP_WORD_BYTES};

/// RFC 7714 knows no shorter one.
const TAG_BYTES: usize = 16;

pub(super) struct Gcm<A> {
    cipher: A,
    salt: Zeroizing<[u8; 12]>,
}

impl<A: KeyInit + AeadInOut + AeadCore<NonceSize = U12, TagSize = U16>> Gcm<A> {
    pub(super) fn new(encryption: &[u8], salt: Zeroizing<[u8; 12]>) -> Self {
        let cipher = A::new_from_slice(encryption).expect("a profile's key has the length of its cipher's");
        Self { cipher, salt }
    }

    /// Two zero bytes, SSRC and index, mixed with the salt (RFC 7714 §8.1 and §9.1).
    fn nonce(&self, id: PacketId) -> [u8; 12] {
        let mut nonce = *self.salt;
        let (ssrc, index) = (id.ssrc.to_be_bytes(), id.index.to_be_bytes());
        let changing = ssrc.iter().chain(&index[2..]);
        nonce[2..].iter_mut().zip(changing).for_each(|(byte, changing)| *byte ^= changing);
        nonce
    }

    fn encrypt(&self, id: PacketId, associated: &[u8], text: &mut [u8]) -> [u8; TAG_BYTES] {
        let tag = self.cipher.encrypt_inout_detached(&self.nonce(id).into(), associated, text.into());
        tag.expect("a packet is far below the 64 GiB that one nonce may encrypt").into()
    }

    fn decrypt(&self, id: PacketId, associated: &[u8], text: &mut [u8], tag: [u8; TAG_BYTES]) -> Result<(), Forged> {
        let decrypted =
            self.cipher.decrypt_inout_detached(&self.nonce(id).into(), associated, text.into(), &tag.into());
        decrypted.map_err(|_| Forged)
    }
}

impl<A: KeyInit + AeadInOut + AeadCore<NonceSize = U12, TagSize = U16> + Send> Transform for Gcm<A> {
    fn seal_rtp(&self, id: PacketId, header_bytes: usize, packet: &mut Vec<u8>) {
        let (header, payload) = packet.split_at_mut(header_bytes);
        let tag = self.encrypt(id, header, payload);
        packet.extend_from_slice(&tag);
    }

    fn open_rtp(&self, id: PacketId, header_bytes: usize, packet: &mut [u8]) -> Result<usize, Forged> {
        let (text, tag) = packet.split_last_chunk_mut().ok_or(Forged)?;
        let (header, payload) = text.split_at_mut(header_bytes);
        self.decrypt(id, header, payload, *tag)?;
        Ok(text.len())
    }

    fn seal_rtcp(&self, id: PacketId, word: [u8; RTCP_WORD_BYTES], packet: &mut Vec<u8>) {
        let (clear, reports) = packet.split_at_mut(RTCP_CLEAR_BYTES);
        let tag = self.encrypt(id, &associated_of_rtcp(clear, word), reports);
        packet.extend_from_slice(&tag);
        packet.extend_from_slice(&word);
    }

    fn open_rtcp(&self, id: PacketId, packet: &mut [u8]) -> Result<usize, Forged> {
        let (rest, word) = packet.split_last_chunk_mut().ok_or(Forged)?;
        let (text, tag) = rest.split_last_chunk_mut().ok_or(Forged)?;
        let (clear, reports) = text.split_at_mut(RTCP_CLEAR_BYTES);
        self.decrypt(id, &associated_of_rtcp(clear, *word), reports, *tag)?;
        Ok(text.len())
    }

    fn rtcp_word(&self, packet: &[u8]) -> [u8; RTCP_WORD_BYTES] {
        packet.last_chunk().copied().unwrap_or_default()
    }
}

/// What of an SRTCP packet is authenticated only: its first bytes and its word, which stand apart (RFC 7714 §9.2).
fn associated_of_rtcp(clear: &[u8], word: [u8; RTCP_WORD_BYTES]) -> [u8; RTCP_CLEAR_BYTES + RTCP_WORD_BYTES] {
    let mut associated = [0; RTCP_CLEAR_BYTES + RTCP_WORD_BYTES];
    associated[..RTCP_CLEAR_BYTES].copy_from_slice(clear);
    associated[RTCP_CLEAR_BYTES..].copy_from_slice(&word);
    associated
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::hex;
    use aes_gcm::{Aes128Gcm, Aes256Gcm};

    const RTP: &str =
        "8040f17b8041f8d35501a0b2 47616c6c696120657374206f6d6e69732064697669736120696e207061727465732074726573";
    const RTCP: &str =
        "81c8000d4d617273 4e5450314e545032525450200000042a0000e9304c756e61deadbeefdeadbeefdeadbeefdeadbeefdeadbeef";

    /// "Quid pro quo" and a key that counts up, as all vectors of RFC 7714 have them.
    fn of_rfc(key_bytes: u8) -> Box<dyn Transform> {
        let key: Vec<u8> = (0..key_bytes).collect();
        let salt = Zeroizing::new(*b"Quid pro quo");
        match key_bytes {
            32 => Box::new(Gcm::<Aes256Gcm>::new(&key, salt)),
            _ => Box::new(Gcm::<Aes128Gcm>::new(&key, salt)),
        }
    }

    /// RFC 7714 §16.1 and §16.2.
    #[test]
    fn rtp_is_protected_as_in_rfc_7714_section_16() {
        let rows = [
            (
                16,
                "8040f17b8041f8d35501a0b2 f24de3a3fb34de6cacba861c9d7e4bcabe633bd50d294e6f42a5f47a51c7d19b36de3adf8833
                 899d7f27beb16a9152cf765ee4390cce",
            ),
            (
                32,
                "8040f17b8041f8d35501a0b2 32b1de78a822fe12ef9f78fa332e33aab18012389a58e2f3b50b2a0276ffae0f1ba63799b87b
                 7aa3db36dfffd6b0f9bb7878d7a76c13",
            ),
        ];
        let id = PacketId { ssrc: 0x5501_a0b2, index: 0xf17b };
        for (key_bytes, protected) in rows {
            let transform = of_rfc(key_bytes);
            let mut packet = hex(RTP);
            transform.seal_rtp(id, 12, &mut packet);
            assert_eq!(packet, hex(protected), "{key_bytes}");
            assert_eq!(transform.open_rtp(id, 12, &mut packet), Ok(50));
            assert_eq!(packet[..50], hex(RTP));
        }
    }

    /// RFC 7714 §17.1 and §17.2.
    #[test]
    fn rtcp_is_protected_as_in_rfc_7714_section_17() {
        let rows = [
            (
                16,
                "81c8000d4d617273 63e94885dcdab67ca727d7662f6b7e997ff5c0f76c06f32dc676a5f1730d6fda4ce09b4686303ded
                 0bb9275bc84aa45896cf4d2fc5abf87245d9eade 800005d4",
            ),
            (
                32,
                "81c8000d4d617273 d50ae4d1f5ce5d304ba297e47d470c282c3ece5dbffe0a50a2eaa5c1110555be8415f658c61de047
                 6f1b6fad1d1eb30c4446839f57ff6f6cb26ac3be 800005d4",
            ),
        ];
        let id = PacketId { ssrc: 0x4d61_7273, index: 0x5d4 };
        for (key_bytes, protected) in rows {
            let transform = of_rfc(key_bytes);
            let mut packet = hex(RTCP);
            transform.seal_rtcp(id, [0x80, 0, 5, 0xd4], &mut packet);
            assert_eq!(packet, hex(protected), "{key_bytes}");
            assert_eq!(transform.rtcp_word(&packet), [0x80, 0, 5, 0xd4]);
            assert_eq!(transform.open_rtcp(id, &mut packet), Ok(52));
            assert_eq!(packet[..52], hex(RTCP));
        }
    }

    #[test]
    fn nonce_is_that_of_rfc_7714() {
        let gcm = Gcm::<Aes128Gcm>::new(&[0; 16], Zeroizing::new(*b"Quid pro quo"));
        let rows =
            [(0x5501_a0b2, 0xf17b, "51753c6580c2726f20718414"), (0x4d61_7273, 0x5d4, "517524055203726f207170bb")];
        for (ssrc, index, nonce) in rows {
            assert_eq!(gcm.nonce(PacketId { ssrc, index }), *hex(nonce));
        }
    }
}
