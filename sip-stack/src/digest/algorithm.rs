//! The arithmetic of RFC 7616 §3.4: HA1, HA2 and the response.

use std::fmt;

use md5::Md5;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

/// A hash function, weakest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Hash {
    /// Broken for collisions; not known to be for this use. Many phones have nothing else.
    Md5,
    /// What RFC 8760 asks everybody to have.
    Sha256,
}

/// A hash function, and whether HA1 depends on the nonces too (`-sess`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Algorithm {
    /// The function.
    pub hash: Hash,
    /// The `-sess` variant.
    pub is_session: bool,
}

/// `H(username:realm:password)`: all a server needs to keep. It is worth as much as the password within the realm, so it
/// is overwritten when dropped and never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Ha1 {
    hash: Hash,
    hex: Zeroizing<String>,
}

/// What goes into a response besides HA1.
#[derive(Debug, Clone, Copy)]
pub(super) struct Inputs<'a> {
    pub(super) algorithm: Algorithm,
    pub(super) nonce: &'a str,
    pub(super) method: &'a str,
    pub(super) uri: &'a str,
    /// With `qop=auth`: nonce count and cnonce. Without: as RFC 2069 had it.
    pub(super) auth: Option<(u32, &'a str)>,
    /// For `-sess` without qop.
    pub(super) cnonce: &'a str,
}

impl Hash {
    /// Of all parts with colons between them, in lower-case hexadecimal.
    fn hex(self, parts: &[&str]) -> String {
        let text = Zeroizing::new(parts.join(":"));
        let bytes = match self {
            Self::Md5 => Md5::digest(text.as_bytes()).to_vec(),
            Self::Sha256 => Sha256::digest(text.as_bytes()).to_vec(),
        };
        to_hex(&bytes)
    }

    /// Hexadecimal digits of its result.
    fn hex_length(self) -> usize {
        match self {
            Self::Md5 => 32,
            Self::Sha256 => 64,
        }
    }

    /// The name without `-sess`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Md5 => "MD5",
            Self::Sha256 => "SHA-256",
        }
    }
}

impl Algorithm {
    /// The plain variant.
    pub fn new(hash: Hash) -> Self {
        Self { hash, is_session: false }
    }

    /// By its name; `None` if we do not know it.
    pub fn from_name(name: &str) -> Option<Self> {
        let hashes = [Hash::Md5, Hash::Sha256];
        let variants = hashes.into_iter().flat_map(|hash| [false, true].map(|is_session| Self { hash, is_session }));
        variants.into_iter().find(|algorithm| algorithm.to_string().eq_ignore_ascii_case(name))
    }
}

impl Ha1 {
    /// From the password.
    pub fn new(hash: Hash, username: &str, realm: &str, password: &str) -> Self {
        Self { hash, hex: Zeroizing::new(hash.hex(&[username, realm, password])) }
    }

    /// From what a server has kept; `None` if it is not as many hexadecimal digits as the function has.
    pub fn from_hex(hash: Hash, hex: &str) -> Option<Self> {
        let is_hex = hex.len() == hash.hex_length() && hex.bytes().all(|byte| byte.is_ascii_hexdigit());
        is_hex.then(|| Self { hash, hex: Zeroizing::new(hex.to_ascii_lowercase()) })
    }

    /// For keeping. Treat it as a password.
    pub fn as_hex(&self) -> &str {
        &self.hex
    }

    /// Its hash function.
    pub fn hash(&self) -> Hash {
        self.hash
    }

    /// The `response` of RFC 7616 §3.4.1.
    pub(super) fn response(&self, inputs: &Inputs<'_>) -> String {
        let hash = self.hash;
        let session;
        let ha1 = match inputs.algorithm.is_session {
            true => {
                session = Zeroizing::new(hash.hex(&[&self.hex, inputs.nonce, inputs.cnonce]));
                &session
            }
            false => &self.hex,
        };
        let ha2 = hash.hex(&[inputs.method, inputs.uri]);
        match inputs.auth {
            Some((count, cnonce)) => hash.hex(&[ha1, inputs.nonce, &format!("{count:08x}"), cnonce, "auth", &ha2]),
            None => hash.hex(&[ha1, inputs.nonce, &ha2]),
        }
    }
}

pub(super) fn to_hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.hash.as_str(), if self.is_session { "-sess" } else { "" })
    }
}

impl fmt::Debug for Ha1 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Ha1({}, hidden)", self.hash.as_str())
    }
}
