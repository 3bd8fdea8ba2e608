//! Authorization and Proxy-Authorization (RFC 7616 §3.4, RFC 3261 §20.7, §20.28).

use std::fmt;

use super::algorithm::{Algorithm, Hash};
use super::fields::{Fields, Writer};
use crate::message::{Field, HeaderName, Headers, ParseError, Reason};

/// The answer to a challenge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Authorization {
    /// Who says so.
    pub username: String,
    /// As challenged.
    pub realm: String,
    /// As challenged.
    pub nonce: String,
    /// Request-URI, in the sender's spelling.
    pub uri: String,
    /// The proof.
    pub response: String,
    /// MD5 if it does not say; `None` if it says one that we do not know.
    pub algorithm: Option<Algorithm>,
    /// As challenged.
    pub opaque: Option<String>,
    /// `auth`, or nothing by the older rule.
    pub qop: Option<String>,
    /// How many requests have been sent with this nonce.
    pub nonce_count: Option<u32>,
    /// The client's own nonce.
    pub cnonce: Option<String>,
}

impl Authorization {
    /// The one for `realm`; `None` if there is none.
    ///
    /// # Errors
    /// It is there but lacks what it needs.
    pub fn find(headers: &Headers, name: &HeaderName, realm: &str) -> Result<Option<Self>, ParseError> {
        for field in headers.all(name) {
            let Some(fields) = Fields::parse(field)? else { continue };
            if fields.value("realm") == Some(realm) {
                return Self::of_fields(&fields, field).map(Some);
            }
        }
        Ok(None)
    }

    fn of_fields(fields: &Fields, field: &Field) -> Result<Self, ParseError> {
        let error = |reason| ParseError { header: field.name().label(), offset: field.offset(), reason };
        let needed = |name: &str, expected| {
            fields.value(name).map(str::to_owned).ok_or_else(|| error(Reason::Expected(expected)))
        };
        let nonce_count = match fields.value("nc") {
            Some(count) => {
                Some(u32::from_str_radix(count, 16).map_err(|_| error(Reason::Expected("a hexadecimal nonce count")))?)
            }
            None => None,
        };
        Ok(Self {
            username: needed("username", "a username")?,
            realm: needed("realm", "a realm")?,
            nonce: needed("nonce", "a nonce")?,
            uri: needed("uri", "a uri")?,
            response: needed("response", "a response")?,
            algorithm: fields.value("algorithm").map_or(Some(Algorithm::new(Hash::Md5)), Algorithm::from_name),
            opaque: fields.value("opaque").map(str::to_owned),
            qop: fields.value("qop").map(str::to_ascii_lowercase),
            nonce_count,
            cnonce: fields.value("cnonce").map(str::to_owned),
        })
    }
}

impl fmt::Display for Authorization {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut writer = Writer::new(f);
        writer.quoted("username", &self.username)?;
        writer.quoted("realm", &self.realm)?;
        writer.quoted("nonce", &self.nonce)?;
        writer.quoted("uri", &self.uri)?;
        writer.quoted("response", &self.response)?;
        if let Some(algorithm) = self.algorithm {
            writer.bare("algorithm", algorithm)?;
        }
        if let Some(opaque) = &self.opaque {
            writer.quoted("opaque", opaque)?;
        }
        if let Some(cnonce) = &self.cnonce {
            writer.quoted("cnonce", cnonce)?;
        }
        if let Some(qop) = &self.qop {
            writer.bare("qop", qop)?;
        }
        if let Some(count) = self.nonce_count {
            writer.bare("nc", format_args!("{count:08x}"))?;
        }
        Ok(())
    }
}
