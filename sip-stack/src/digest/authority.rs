//! Challenges and verifies for a UAS (RFC 7616 §3.3 to §3.5, RFC 8760 §2.3).

use std::time::{Duration, Instant};

use subtle::ConstantTimeEq;

use super::Asker;
use super::algorithm::{Algorithm, Ha1, Hash, Inputs};
use super::authorization::Authorization;
use super::challenge::Challenge;
use super::nonce::{Mint, Replays};
use crate::message::{HeaderName, ParseError, Reason, Request, StatusCode, Uri};

/// What an [`Authority`] protects, and how.
#[derive(Debug, Clone)]
pub struct AuthorityConfig {
    /// Told to everybody; part of every HA1, so changing it voids the kept ones.
    pub realm: String,
    /// In the order of preference (RFC 8760 §2.3). Clients that know one only take the first they know.
    pub hashes: Vec<Hash>,
    /// How long a nonce is good for; after it a client has to answer once more, without asking anybody for a password.
    pub nonce_lifetime: Duration,
    /// Nonces in use whose counts are remembered. Beyond it the oldest is stale.
    pub nonces: usize,
}

impl AuthorityConfig {
    /// SHA-256, then MD5 for phones that know no better; five minutes; 4096 nonces, some 200 kB.
    pub fn new(realm: impl Into<String>) -> Self {
        Self {
            realm: realm.into(),
            hashes: vec![Hash::Sha256, Hash::Md5],
            nonce_lifetime: Duration::from_secs(300),
            nonces: 4_096,
        }
    }
}

/// Knows its own nonces without a table of them, and who is who by asking for HA1.
#[derive(Debug)]
pub struct Authority {
    config: AuthorityConfig,
    mint: Mint,
    replays: Replays,
    /// Takes the place of an unknown user's HA1, so that it takes as long to refuse.
    decoy: [u8; 32],
}

/// A request whose sender has proved to know the secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    /// As the sender gave it.
    pub username: String,
}

/// Why a request is not let through. [`Authority::refusal`] makes the response.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// No answer to a challenge of this realm.
    #[error("no credentials")]
    Missing,
    /// The secret is right, the nonce too old, or its count was used before.
    #[error("stale nonce")]
    Stale,
    /// Wrong secret, unknown user, another Request-URI or another algorithm than was asked for: nobody is told which.
    #[error("wrong credentials")]
    Wrong,
    /// The header cannot be read.
    #[error("malformed credentials: {0}")]
    Malformed(#[from] ParseError),
}

impl Authority {
    /// `seed` keys the nonces: 32 bytes from the system's random generator.
    pub fn new(config: AuthorityConfig, seed: [u8; 32], now: Instant) -> Self {
        Self {
            mint: Mint::new(seed, config.nonce_lifetime, now),
            replays: Replays::new(config.nonces),
            decoy: seed,
            config,
        }
    }

    /// Who sent the request? `ha1` looks up what is kept for a user name and a hash function.
    ///
    /// # Errors
    /// [`Denied`].
    pub fn verify(
        &mut self,
        request: &Request,
        asker: Asker,
        ha1: impl FnOnce(&str, Hash) -> Option<Ha1>,
        now: Instant,
    ) -> Result<Verified, Denied> {
        let found = Authorization::find(&request.headers, &asker.answer_header(), &self.config.realm)?;
        let answer = found.ok_or(Denied::Missing)?;
        let count = used_count(&answer, &asker.answer_header())?;
        let algorithm = answer.algorithm.filter(|algorithm| self.asks_for(*algorithm)).ok_or(Denied::Wrong)?;
        let kept = ha1(&answer.username, algorithm.hash);
        let is_known = kept.is_some();
        let ha1 = kept.unwrap_or_else(|| self.decoy_ha1(algorithm.hash));
        let cnonce = answer.cnonce.as_deref().unwrap_or_default();
        let expected = ha1.response(&Inputs {
            algorithm,
            nonce: &answer.nonce,
            method: request.method.as_str(),
            uri: &answer.uri,
            auth: answer.qop.is_some().then_some((count, cnonce)),
            cnonce,
        });
        let given = answer.response.to_ascii_lowercase();
        let is_right = bool::from(expected.as_bytes().ct_eq(given.as_bytes()));
        if !is_right || !is_known || ha1.hash() != algorithm.hash || !is_for(&answer.uri, &request.uri) {
            return Err(Denied::Wrong);
        }
        let stamp = self.mint.check(&answer.nonce, now).ok_or(Denied::Stale)?;
        if !self.replays.note(stamp, count) {
            return Err(Denied::Stale);
        }
        Ok(Verified { username: answer.username })
    }

    /// What to answer: 401 or 407 with a challenge for each algorithm, or 400.
    pub fn refusal(&mut self, denied: &Denied, asker: Asker, now: Instant) -> (StatusCode, Vec<(HeaderName, String)>) {
        let status = match (denied, asker) {
            (Denied::Malformed(_), _) => return (StatusCode::BAD_REQUEST, Vec::new()),
            (Denied::Missing | Denied::Stale | Denied::Wrong, Asker::Server) => StatusCode::UNAUTHORIZED,
            (Denied::Missing | Denied::Stale | Denied::Wrong, Asker::Proxy) => {
                StatusCode::PROXY_AUTHENTICATION_REQUIRED
            }
        };
        let challenges = self.challenges(*denied == Denied::Stale, now);
        let name = asker.challenge_header();
        (status, challenges.iter().map(|challenge| (name.clone(), challenge.to_string())).collect())
    }

    /// One for each algorithm, with one nonce for all.
    pub fn challenges(&mut self, is_stale: bool, now: Instant) -> Vec<Challenge> {
        let nonce = self.mint.make(now);
        let challenge = |hash: &Hash| Challenge {
            realm: self.config.realm.clone(),
            nonce: nonce.clone(),
            opaque: None,
            is_stale,
            algorithm: Some(Algorithm::new(*hash)),
            qop: vec!["auth".to_owned()],
        };
        self.config.hashes.iter().map(challenge).collect()
    }

    fn asks_for(&self, algorithm: Algorithm) -> bool {
        !algorithm.is_session && self.config.hashes.contains(&algorithm.hash)
    }

    fn decoy_ha1(&self, hash: Hash) -> Ha1 {
        Ha1::new(hash, "", &self.config.realm, &super::algorithm::to_hex(&self.decoy))
    }
}

/// The nonce count. Without qop there is none, and the nonce is good for one request.
fn used_count(answer: &Authorization, header: &HeaderName) -> Result<u32, Denied> {
    let malformed = |expected| ParseError { header: header.label(), offset: 0, reason: Reason::Expected(expected) };
    match (answer.qop.as_deref(), answer.nonce_count, &answer.cnonce) {
        (None, _, _) => Ok(1),
        (Some("auth"), Some(count), Some(_)) => Ok(count),
        (Some("auth"), _, _) => Err(malformed("nc and cnonce with qop").into()),
        (Some(_), _, _) => Err(malformed("qop=auth").into()),
    }
}

/// Proxies may add a port or parameters to the Request-URI on the way, so user and host have to be the same.
fn is_for(answered: &str, requested: &Uri) -> bool {
    let Ok(answered) = Uri::parse(answered.as_bytes()) else { return false };
    match (answered.as_sip(), requested.as_sip()) {
        (Some(answered), Some(requested)) => {
            answered.user_text() == requested.user_text() && answered.host == requested.host
        }
        (None, None) => answered == *requested,
        (Some(_), None) | (None, Some(_)) => false,
    }
}
