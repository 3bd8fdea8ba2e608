//! WWW-Authenticate and Proxy-Authenticate (RFC 7616 §3.3, RFC 3261 §20.27, §20.44).

use std::fmt;

use super::algorithm::{Algorithm, Hash};
use super::fields::{Fields, Writer};
use crate::message::{HeaderName, Headers};

/// What a server wants to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Challenge {
    /// The protected space; for people, and part of HA1.
    pub realm: String,
    /// To be given back.
    pub nonce: String,
    /// To be given back as it is.
    pub opaque: Option<String>,
    /// The answer before this one was right but for its nonce.
    pub is_stale: bool,
    /// MD5 if the challenge does not say; `None` if it says one that we do not know.
    pub algorithm: Option<Algorithm>,
    /// What protection is on offer; empty from a server of RFC 2069.
    pub qop: Vec<String>,
}

impl Challenge {
    /// All that can be read in headers of that name; schemes other than Digest and broken ones are passed over.
    pub fn all(headers: &Headers, name: &HeaderName) -> Vec<Self> {
        let fields = headers.all(name).filter_map(|field| Fields::parse(field).ok().flatten());
        fields.filter_map(|fields| Self::of_fields(&fields)).collect()
    }

    fn of_fields(fields: &Fields) -> Option<Self> {
        let qop = fields.value("qop").unwrap_or_default().split(',');
        Some(Self {
            realm: fields.value("realm")?.to_owned(),
            nonce: fields.value("nonce")?.to_owned(),
            opaque: fields.value("opaque").map(str::to_owned),
            is_stale: fields.value("stale").is_some_and(|stale| stale.eq_ignore_ascii_case("true")),
            algorithm: fields.value("algorithm").map_or(Some(Algorithm::new(Hash::Md5)), Algorithm::from_name),
            qop: qop.map(str::trim).filter(|word| !word.is_empty()).map(str::to_ascii_lowercase).collect(),
        })
    }

    /// Can it be answered with `qop=auth`, or, by the older rule, without qop?
    pub(super) fn is_answerable(&self) -> bool {
        self.algorithm.is_some() && (self.qop.is_empty() || self.has_auth())
    }

    pub(super) fn has_auth(&self) -> bool {
        self.qop.iter().any(|word| word == "auth")
    }

    pub(super) fn wants_auth_int_only(&self) -> bool {
        !self.qop.is_empty() && !self.has_auth() && self.qop.iter().any(|word| word == "auth-int")
    }
}

impl fmt::Display for Challenge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut writer = Writer::new(f);
        writer.quoted("realm", &self.realm)?;
        writer.quoted("nonce", &self.nonce)?;
        if let Some(opaque) = &self.opaque {
            writer.quoted("opaque", opaque)?;
        }
        if self.is_stale {
            writer.bare("stale", "true")?;
        }
        if let Some(algorithm) = self.algorithm {
            writer.bare("algorithm", algorithm)?;
        }
        if !self.qop.is_empty() {
            writer.quoted("qop", &self.qop.join(","))?;
        }
        Ok(())
    }
}
