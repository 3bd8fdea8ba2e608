//! Who we say we are when a server asks.

use std::fmt;

use zeroize::Zeroizing;

use super::algorithm::{Ha1, Hash};

/// A user name with its secret. The secret is overwritten when dropped, and nothing of it is ever printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    username: String,
    secret: Secret,
    /// `None` answers whatever realm asks: providers change theirs without notice.
    realm: Option<String>,
}

#[derive(Clone, PartialEq, Eq)]
enum Secret {
    Password(Zeroizing<String>),
    /// One for each hash function that was kept.
    Ha1(Vec<Ha1>),
}

impl Credentials {
    /// With a password, for any realm.
    pub fn new(username: impl Into<String>, password: impl Into<String>) -> Self {
        let secret = Secret::Password(Zeroizing::new(password.into()));
        Self { username: username.into(), secret, realm: None }
    }

    /// With what is kept instead of a password, for the one realm it was made for.
    pub fn from_ha1(username: impl Into<String>, realm: impl Into<String>, ha1: Vec<Ha1>) -> Self {
        Self { username: username.into(), secret: Secret::Ha1(ha1), realm: Some(realm.into()) }
    }

    /// For that realm only; another one that asks learns nothing.
    pub fn for_realm(mut self, realm: impl Into<String>) -> Self {
        self.realm = Some(realm.into());
        self
    }

    /// Who.
    pub fn username(&self) -> &str {
        &self.username
    }

    pub(super) fn fits(&self, realm: &str) -> bool {
        self.realm.as_deref().is_none_or(|mine| mine == realm)
    }

    pub(super) fn ha1(&self, hash: Hash, realm: &str) -> Option<Ha1> {
        match &self.secret {
            Secret::Password(password) => Some(Ha1::new(hash, &self.username, realm, password)),
            Secret::Ha1(kept) => kept.iter().find(|ha1| ha1.hash() == hash).cloned(),
        }
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credentials(hidden)")
    }
}
