//! Who this box is: an id, a key and a certificate made on the box itself, and the secret for its first set-up.
//!
//! ```text
//! MACHINE/identity/identity.json   0644  id, name, when, fingerprint of the public key
//!                  device.crt      0644  self-signed certificate, for SIP over TLS, and for mTLS with the cloud later
//!                  device.key      0600  P-256 private key, PKCS #8
//!                  setup.json      0644  salted hash of the set-up secret
//!                  setup-secret    0600  the secret itself; gone once the set-up is done
//! ```
//! All of it is written into a folder beside and renamed: a power cut leaves a whole identity or none, and the next boot
//! makes one. It is on the disk, not in `/run`, because the secret is printed on the box's label: it has to stay the same
//! until it is used.
//!
//! Why P-256 and not Ed25519 (2026-11): secure elements and every TLS terminator in front of the cloud take it. What
//! would change our mind: nothing short of a break.
//!
//! Left out on purpose: any default password, sealing the key to a TPM (the boards have none), and renewing the
//! certificate (the cloud trusts its key, not its dates).

mod secret;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use rcgen::{
    CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256,
    PublicKeyData as _, date_time_ymd,
};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

pub use secret::{SecretHash, SetupSecret};

use crate::durable;

const IDENTITY: &str = "identity.json";
const CERTIFICATE: &str = "device.crt";
const KEY: &str = "device.key";
const SETUP: &str = "setup.json";
const SETUP_SECRET: &str = "setup-secret";

/// What everybody may know of this box.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// UUIDv7, made at the first boot.
    pub box_id: Uuid,
    /// Host name: `offhook-` and the id's last four digits.
    pub name: String,
    /// When it was made, by the clock of that moment.
    pub made_at: Timestamp,
    /// SHA-256 of the public key (SubjectPublicKeyInfo), in hex.
    pub key_sha256: String,
}

impl Identity {
    /// What the box's own certificate is for: its name in the local network (RFC 6762).
    pub fn certified_name(&self) -> String {
        format!("{}.local", self.name)
    }
}

/// Why there is no usable identity.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// None was made yet.
    #[error("this box has no identity yet; `offhook first-boot` makes it (expected in {folder})", folder = folder.display())]
    None {
        /// Where.
        folder: PathBuf,
    },
    /// It is there and does not fit together. It is not replaced by itself: the cloud and the label know the old one.
    #[error(
        "the identity in {folder} is damaged ({reason}); restore the folder, or remove it and run `offhook first-boot` \
         for a new one, which the cloud and the label do not know", folder = folder.display()
    )]
    Damaged {
        /// Where.
        folder: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// The disk.
    #[error("the identity cannot be kept: {0}")]
    Io(#[from] io::Error),
    /// The cryptographic library.
    #[error("no key or certificate can be made: {0}")]
    Crypto(#[from] rcgen::Error),
    /// The system's random source.
    #[error("the system gives no random bytes")]
    NoRandomness,
}

/// The folder that holds it.
#[derive(Debug, Clone)]
pub struct IdentityFolder {
    folder: PathBuf,
}

impl IdentityFolder {
    /// Below the machine's folder.
    pub fn below(machine: &Path) -> IdentityFolder {
        IdentityFolder { folder: machine.join("identity") }
    }

    /// The box's own certificate: self-signed, for its name in the local network.
    pub fn certificate(&self) -> PathBuf {
        self.folder.join(CERTIFICATE)
    }

    /// The key of [`certificate`](IdentityFolder::certificate).
    pub fn private_key(&self) -> PathBuf {
        self.folder.join(KEY)
    }

    /// The identity; made if there is none. True when it was made now.
    ///
    /// # Errors
    /// [`IdentityError`].
    pub fn ensure(&self, now: Timestamp) -> Result<(Identity, bool), IdentityError> {
        match self.load() {
            Err(IdentityError::None { .. }) => Ok((self.make(now)?, true)),
            loaded => {
                let identity = loaded?;
                self.check_key(&identity)?;
                Ok((identity, false))
            }
        }
    }

    /// The public part.
    ///
    /// # Errors
    /// [`IdentityError::None`], [`IdentityError::Damaged`].
    pub fn load(&self) -> Result<Identity, IdentityError> {
        if !self.folder.is_dir() {
            return Err(IdentityError::None { folder: self.folder.clone() });
        }
        serde_json::from_str(&self.read(IDENTITY)?).map_err(|error| self.damaged(format!("{IDENTITY}: {error}")))
    }

    /// The set-up secret, for the console and the label; `None` once the set-up is done. Root alone may read it.
    ///
    /// # Errors
    /// [`IdentityError::Io`].
    pub fn setup_secret(&self) -> Result<Option<SetupSecret>, IdentityError> {
        match fs::read_to_string(self.folder.join(SETUP_SECRET)) {
            Ok(text) => Ok(Some(SetupSecret::from(text.trim().to_owned()))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Whether the first set-up is still to be done.
    pub fn awaits_setup(&self) -> bool {
        self.folder.join(SETUP_SECRET).exists()
    }

    /// Whether `typed` is the set-up secret. Never once the set-up is done.
    ///
    /// # Errors
    /// [`IdentityError::Damaged`].
    pub fn accepts(&self, typed: &str) -> Result<bool, IdentityError> {
        if !self.awaits_setup() {
            return Ok(false);
        }
        let hash: SecretHash =
            serde_json::from_str(&self.read(SETUP)?).map_err(|error| self.damaged(format!("{SETUP}: {error}")))?;
        Ok(hash.matches(typed))
    }

    /// The set-up is done: the secret is forgotten for good.
    ///
    /// # Errors
    /// [`IdentityError::Io`].
    pub fn finish_setup(&self) -> Result<(), IdentityError> {
        durable::remove(&self.folder.join(SETUP_SECRET))?;
        fs::File::open(&self.folder)?.sync_all()?;
        Ok(())
    }

    /// Everything in a folder beside, then one rename.
    fn make(&self, now: Timestamp) -> Result<Identity, IdentityError> {
        let beside = self.folder.with_extension("new");
        if beside.exists() {
            fs::remove_dir_all(&beside)?;
        }
        let box_id = Uuid::now_v7();
        let name = name_of(&box_id);
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let secret = SetupSecret::random()?;
        let hash = SecretHash::of(&secret)?;
        let identity = Identity { box_id, name, made_at: now, key_sha256: fingerprint(&key) };
        let put = |file: &str, content: &[u8], mode| durable::write(&beside.join(file), content, mode);
        put(KEY, key.serialize_pem().as_bytes(), 0o600)?;
        put(CERTIFICATE, certificate(&identity, &key)?.as_bytes(), 0o644)?;
        put(SETUP, &serde_json::to_vec_pretty(&hash).map_err(io::Error::from)?, 0o644)?;
        put(SETUP_SECRET, format!("{}\n", secret.reveal()).as_bytes(), 0o600)?;
        put(IDENTITY, &serde_json::to_vec_pretty(&identity).map_err(io::Error::from)?, 0o644)?;
        fs::rename(&beside, &self.folder)?;
        if let Some(parent) = self.folder.parent() {
            fs::File::open(parent)?.sync_all()?;
        }
        Ok(identity)
    }

    /// Whether the private key is there and is the one the identity names.
    fn check_key(&self, identity: &Identity) -> Result<(), IdentityError> {
        let key = KeyPair::from_pem(&self.read(KEY)?).map_err(|error| self.damaged(format!("{KEY}: {error}")))?;
        if fingerprint(&key) != identity.key_sha256 {
            return Err(self.damaged(format!("{KEY} is not the key that {IDENTITY} names")));
        }
        self.read(CERTIFICATE).map(drop)
    }

    fn read(&self, file: &str) -> Result<String, IdentityError> {
        fs::read_to_string(self.folder.join(file)).map_err(|error| self.damaged(format!("{file}: {error}")))
    }

    fn damaged(&self, reason: String) -> IdentityError {
        IdentityError::Damaged { folder: self.folder.clone(), reason }
    }
}

/// The id's last digits are random: two boxes in one office share them once in 65 536 offices.
fn name_of(box_id: &Uuid) -> String {
    let digits = box_id.simple().to_string();
    format!("offhook-{}", &digits[digits.len() - 4..])
}

fn fingerprint(key: &KeyPair) -> String {
    hex::encode(Sha256::digest(key.subject_public_key_info()))
}

/// A box without a battery may be born in 1970, so its certificate is valid from a fixed day on; and it has no last day
/// (RFC 5280 §4.1.2.5), because what is trusted is the key.
fn certificate(identity: &Identity, key: &KeyPair) -> Result<String, rcgen::Error> {
    let mut params = CertificateParams::new(vec![identity.certified_name()])?;
    params.distinguished_name.push(DnType::CommonName, identity.box_id.to_string());
    params.not_before = date_time_ymd(2020, 1, 1);
    params.not_after = date_time_ymd(9999, 12, 31);
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth, ExtendedKeyUsagePurpose::ServerAuth];
    Ok(params.self_signed(key)?.pem())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn made() -> (tempfile::TempDir, IdentityFolder, Identity) {
        let folder = tempfile::tempdir().unwrap();
        let identity_folder = IdentityFolder::below(folder.path());
        let (identity, new) = identity_folder.ensure(Timestamp::UNIX_EPOCH).unwrap();
        assert!(new);
        (folder, identity_folder, identity)
    }

    #[test]
    fn a_second_run_changes_nothing() {
        let (_folder, identity_folder, identity) = made();
        let contents = || {
            let files = fs::read_dir(&identity_folder.folder).unwrap().map(|entry| entry.unwrap().path());
            let mut files: Vec<_> = files.map(|path| (path.clone(), fs::read(path).unwrap())).collect();
            files.sort();
            files
        };
        let before = contents();
        assert_eq!(identity_folder.ensure(Timestamp::now()).unwrap(), (identity, false));
        assert_eq!(contents(), before);
        assert_eq!(before.len(), 5);
    }

    #[test]
    fn two_boxes_have_nothing_in_common_and_a_name_from_their_id() {
        let ((_one, one_folder, one), (_other, other_folder, other)) = (made(), made());
        assert_ne!((one.box_id, &one.key_sha256), (other.box_id, &other.key_sha256));
        let secret = |folder: &IdentityFolder| folder.setup_secret().unwrap().unwrap().reveal().to_owned();
        assert_ne!(secret(&one_folder), secret(&other_folder));
        assert_eq!(one.name, format!("offhook-{}", &one.box_id.to_string()[32..]));
        assert_eq!(one.box_id.get_version_num(), 7);
    }

    #[test]
    fn what_is_secret_is_for_its_owner_alone() {
        let (_folder, identity_folder, _) = made();
        for (file, mode) in
            [(KEY, 0o600), (SETUP_SECRET, 0o600), (CERTIFICATE, 0o644), (SETUP, 0o644), (IDENTITY, 0o644)]
        {
            let found = fs::metadata(identity_folder.folder.join(file)).unwrap().permissions().mode() & 0o777;
            assert_eq!(found, mode, "{file}");
        }
        let secret = identity_folder.setup_secret().unwrap().unwrap();
        for file in [SETUP, IDENTITY, CERTIFICATE] {
            let text = fs::read_to_string(identity_folder.folder.join(file)).unwrap();
            assert!(!text.contains(secret.reveal()), "{file}");
        }
    }

    /// The power was cut before the rename: whatever lies there is thrown away and a whole identity made.
    #[test]
    fn a_half_written_identity_is_made_anew() {
        let folder = tempfile::tempdir().unwrap();
        let half = folder.path().join("identity.new");
        fs::create_dir(&half).unwrap();
        fs::write(half.join(KEY), "half").unwrap();
        let identity_folder = IdentityFolder::below(folder.path());
        assert!(matches!(identity_folder.load(), Err(IdentityError::None { .. })));
        identity_folder.ensure(Timestamp::UNIX_EPOCH).unwrap();
        assert!(!half.exists());
        assert!(!identity_folder.ensure(Timestamp::UNIX_EPOCH).unwrap().1);
    }

    #[test]
    fn a_damaged_identity_is_not_replaced_behind_the_owners_back() {
        for file in [KEY, IDENTITY, CERTIFICATE] {
            let (_folder, identity_folder, _) = made();
            fs::remove_file(identity_folder.folder.join(file)).unwrap();
            let error = identity_folder.ensure(Timestamp::UNIX_EPOCH).unwrap_err().to_string();
            assert!(error.contains(file) && error.contains("damaged"), "{error}");
        }
        let ((_one, one, _), (_other, other, _)) = (made(), made());
        fs::copy(other.folder.join(KEY), one.folder.join(KEY)).unwrap();
        let error = one.ensure(Timestamp::UNIX_EPOCH).unwrap_err().to_string();
        assert!(error.contains("is not the key"), "{error}");
    }

    #[test]
    fn the_setup_secret_works_until_the_setup_is_done() {
        let (_folder, identity_folder, _) = made();
        let secret = identity_folder.setup_secret().unwrap().unwrap();
        assert!(identity_folder.awaits_setup() && identity_folder.accepts(secret.reveal()).unwrap());
        assert!(!identity_folder.accepts("AAAA-AAAA-AAAA-AAAA").unwrap());
        identity_folder.finish_setup().unwrap();
        assert!(!identity_folder.awaits_setup() && !identity_folder.accepts(secret.reveal()).unwrap());
        assert!(identity_folder.setup_secret().unwrap().is_none());
        identity_folder.finish_setup().unwrap();
        assert!(!identity_folder.ensure(Timestamp::UNIX_EPOCH).unwrap().1, "it stays the same box");
        assert!(!identity_folder.awaits_setup(), "and gets no new secret");
    }

    #[test]
    fn the_certificate_is_of_the_key_and_names_the_box() {
        let (_folder, identity_folder, identity) = made();
        let pem = fs::read_to_string(identity_folder.folder.join(CERTIFICATE)).unwrap();
        let body: String = pem.lines().filter(|line| !line.starts_with("-----")).collect();
        let der = base64_decoded(&body);
        let key = KeyPair::from_pem(&fs::read_to_string(identity_folder.folder.join(KEY)).unwrap()).unwrap();
        let contains = |part: &[u8]| der.windows(part.len()).any(|window| window == part);
        assert!(contains(&key.subject_public_key_info()));
        assert!(contains(identity.box_id.to_string().as_bytes()));
        assert!(contains(format!("{}.local", identity.name).as_bytes()));
    }

    fn base64_decoded(text: &str) -> Vec<u8> {
        let value = |c: char| "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/".find(c).unwrap();
        let (mut bits, mut count, mut bytes) = (0_usize, 0, Vec::new());
        for c in text.chars().filter(|c| *c != '=') {
            bits = (bits << 6 | value(c)) & 0xFFFF;
            count += 6;
            if count >= 8 {
                count -= 8;
                bytes.push((bits >> count & 0xFF) as u8);
            }
        }
        bytes
    }
}
