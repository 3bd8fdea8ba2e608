//! URIs: `sip:`, `sips:` (RFC 3261 §19.1), `tel:` (RFC 3966), and any other scheme kept as it came.
//!
//! Escapes stay as they were written, so printing gives back what was read; comparison and
//! [`SipUri::user_text`] resolve them.

use std::fmt;
use std::str::FromStr;

use super::error::ParseError;
use super::scan::{Scan, text};

mod compare;
mod escape;
mod sip;
mod tel;

pub use sip::{SipUri, UriParam, UriParams};
pub use tel::TelUri;

/// An address of whatever scheme. `==` compares the way the scheme's RFC says.
#[derive(Debug, Clone)]
pub enum Uri {
    /// `sip:` and `sips:`
    Sip(SipUri),
    /// `tel:`
    Tel(TelUri),
    /// Anything else; we cannot route it, but must be able to give it back.
    Other(OtherUri),
}

/// An absolute URI of a scheme we do not speak.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OtherUri {
    /// In lower case. Empty only in a request whose Request-URI was no URI at all; `check` refuses that one.
    pub scheme: String,
    /// Everything after the colon.
    pub rest: String,
}

impl Uri {
    /// Reads a URI that fills all of `bytes`.
    pub fn parse(bytes: &[u8]) -> Result<Self, ParseError> {
        Self::parse_at("URI", bytes, 0)
    }

    pub(crate) fn parse_at(header: &'static str, bytes: &[u8], base: usize) -> Result<Self, ParseError> {
        let mut scan = Scan::new(header, bytes, base);
        let scheme = scan_scheme(&mut scan)?;
        match scheme.as_str() {
            "sip" => SipUri::scan(&mut scan, false).map(Self::Sip),
            "sips" => SipUri::scan(&mut scan, true).map(Self::Sip),
            "tel" => TelUri::scan(&mut scan).map(Self::Tel),
            _ => scan_opaque(&mut scan).map(|rest| Self::Other(OtherUri { scheme, rest })),
        }
    }

    /// The SIP or SIPS URI, if it is one.
    pub fn as_sip(&self) -> Option<&SipUri> {
        match self {
            Self::Sip(uri) => Some(uri),
            Self::Tel(_) | Self::Other(_) => None,
        }
    }

    /// The scheme in lower case.
    pub fn scheme(&self) -> &str {
        match self {
            Self::Sip(uri) if uri.secure => "sips",
            Self::Sip(_) => "sip",
            Self::Tel(_) => "tel",
            Self::Other(uri) => &uri.scheme,
        }
    }
}

fn scan_scheme(scan: &mut Scan<'_>) -> Result<String, ParseError> {
    if !scan.peek().is_some_and(|byte| byte.is_ascii_alphabetic()) {
        return Err(scan.expected("a URI scheme"));
    }
    let scheme = scan.take_while(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte));
    scan.expect(b':', "a colon after the URI scheme")?;
    Ok(text(scheme).to_ascii_lowercase())
}

fn scan_opaque(scan: &mut Scan<'_>) -> Result<String, ParseError> {
    let rest = scan.take_while(|byte| byte > b' ' && byte != 0x7f && !b"<>\"".contains(&byte));
    if rest.is_empty() || !scan.is_at_end() {
        return Err(scan.expected("a URI"));
    }
    Ok(text(rest))
}

impl FromStr for Uri {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        Self::parse(text.as_bytes())
    }
}

impl From<SipUri> for Uri {
    fn from(uri: SipUri) -> Self {
        Self::Sip(uri)
    }
}

impl fmt::Display for Uri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sip(uri) => uri.fmt(f),
            Self::Tel(uri) => uri.fmt(f),
            Self::Other(OtherUri { scheme, rest }) if scheme.is_empty() => f.write_str(rest),
            Self::Other(OtherUri { scheme, rest }) => write!(f, "{scheme}:{rest}"),
        }
    }
}
