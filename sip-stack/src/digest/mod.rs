//! Digest authentication (RFC 7616) as SIP uses it (RFC 3261 §22, RFC 8760): SHA-256, and MD5 for peers that know no
//! better.
//!
//! `challenge` and `authorization` are the headers, `algorithm` the arithmetic. An [`Authenticator`] answers challenges
//! for a UAC, an [`Authority`] challenges and verifies for a UAS. Both are pure: `now` and randomness come from outside.
//!
//! Left out on purpose: `auth-int`, because proxies and ALGs change bodies on their way; a challenge that insists on it
//! is refused by name ([`ChallengeRefusal::AuthInt`]). SHA-512-256, which RFC 8760 leaves optional and which people have
//! read in two ways. User name hashing (`userhash`), which no phone asks for.
//! Authentication-Info, which nobody on a trunk sends.

mod algorithm;
mod authenticator;
mod authority;
mod authorization;
mod challenge;
mod credentials;
mod fields;
mod nonce;

pub use algorithm::{Algorithm, Ha1, Hash};
pub(crate) use authenticator::Attempts;
pub use authenticator::{Authenticator, ChallengeRefusal};
pub use authority::{Authority, AuthorityConfig, Denied, Verified};
pub use authorization::Authorization;
pub use challenge::Challenge;
pub use credentials::Credentials;

use crate::message::{HeaderName, StatusCode};

/// Who asks: the UAS itself, or a proxy on the way (RFC 3261 §22.2, §22.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asker {
    /// 401, WWW-Authenticate, Authorization.
    Server,
    /// 407, Proxy-Authenticate, Proxy-Authorization.
    Proxy,
}

impl Asker {
    /// Who asks with this status; `None` if it is no challenge.
    pub fn of(status: StatusCode) -> Option<Self> {
        match status {
            StatusCode::UNAUTHORIZED => Some(Self::Server),
            StatusCode::PROXY_AUTHENTICATION_REQUIRED => Some(Self::Proxy),
            _ => None,
        }
    }

    /// The header of its challenges.
    pub fn challenge_header(self) -> HeaderName {
        match self {
            Self::Server => HeaderName::WWW_AUTHENTICATE,
            Self::Proxy => HeaderName::PROXY_AUTHENTICATE,
        }
    }

    /// The header of the answers.
    pub fn answer_header(self) -> HeaderName {
        match self {
            Self::Server => HeaderName::AUTHORIZATION,
            Self::Proxy => HeaderName::PROXY_AUTHORIZATION,
        }
    }
}

#[cfg(test)]
mod tests;
