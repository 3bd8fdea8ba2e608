//! Session keys out of a master key (RFC 3711 §4.3, RFC 7714 §11), with a key derivation rate of zero: once for all.

use aes::{Aes128, Aes256};
use ctr::Ctr128BE;
use ctr::cipher::{KeyIvInit, StreamCipher};
use zeroize::Zeroizing;

use super::key::MasterKey;

/// What a derived key is for: its label in the key derivation (RFC 3711 §4.3.1 and §4.3.2).
#[derive(Debug, Clone, Copy)]
pub(super) struct Labels {
    pub(super) encryption: u8,
    pub(super) authentication: u8,
    pub(super) salt: u8,
}

impl Labels {
    pub(super) const RTP: Self = Self { encryption: 0, authentication: 1, salt: 2 };
    pub(super) const RTCP: Self = Self { encryption: 3, authentication: 4, salt: 5 };
}

/// The key of `label`: key stream of AES in counter mode under the master key, from an IV of salt and label.
pub(super) fn derive<const N: usize>(master: &MasterKey, label: u8) -> Zeroizing<[u8; N]> {
    // The salt is 112 bits; a shorter one gets zeros at its end (RFC 7714 §11). The last 16 bits count the blocks.
    let mut iv = [0; 16];
    iv[..master.salt().len()].copy_from_slice(master.salt());
    // The label stands before 48 bits that are zero with a key derivation rate of zero.
    iv[7] ^= label;
    let mut derived = Zeroizing::new([0; N]);
    let stream = if master.key().len() == 32 { apply::<Ctr128BE<Aes256>> } else { apply::<Ctr128BE<Aes128>> };
    stream(master.key(), &iv, &mut *derived);
    derived
}

fn apply<C: KeyIvInit + StreamCipher>(key: &[u8], iv: &[u8; 16], bytes: &mut [u8]) {
    let mut cipher = C::new_from_slices(key, iv).expect("a profile's key has the length of its cipher's");
    cipher.apply_keystream(bytes);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rtp::srtp::Profile;
    use crate::testing::hex;

    #[test]
    fn session_keys_are_those_of_rfc_3711_appendix_b_3() {
        let inline = hex("E1F97A0D3E018BE0D64FA32C06DE4139 0EC675AD498AFEEBB6960B3AABE6");
        let master = MasterKey::from_inline(Profile::AesCm128HmacSha1_80, &inline).unwrap();
        let labels = Labels::RTP;
        assert_eq!(*derive::<16>(&master, labels.encryption), *hex("C61E7A93744F39EE10734AFE3FF7A087"));
        assert_eq!(*derive::<14>(&master, labels.salt), *hex("30CBBC08863D8C85D49DB34A9AE1"));
        let authentication =
            hex("CEBE321F6FF7716B6FD4AB49AF256A15 6D38BAA48F0A0ACF3C34E2359E6CDBCE E049646C43D9327AD175578EF7227098
             6371C10C9A369AC2F94A8C5FBCDDDC25 6D6E919A48B610EF17C2041E47403576 6B68642C59BBFC2F34DB60DBDFB2");
        assert_eq!(*derive::<94>(&master, labels.authentication), *authentication);
    }

    #[test]
    fn every_label_gives_another_key() {
        for profile in Profile::ALL {
            let master = MasterKey::generate(profile, |bytes| bytes.fill(0x5a));
            let keys: Vec<_> = (0..6).map(|label| *derive::<12>(&master, label)).collect();
            for (label, key) in keys.iter().enumerate() {
                assert!(!keys[..label].contains(key), "{profile:?}, label {label}");
            }
        }
    }
}
