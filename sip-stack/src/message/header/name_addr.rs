//! `name-addr` and `addr-spec` with header parameters: From, To, Contact, Route and their kin (RFC 3261 §20.10).

use std::fmt;

use super::super::error::ParseError;
use super::super::scan::{Scan, is_lws, is_token_byte, quote, text, trim};
use super::super::uri::Uri;
use super::params::Params;

/// An address with an optional name before it and header parameters after it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NameAddr {
    /// Without quotes and escapes; what was not UTF-8 is replaced.
    pub display_name: Option<String>,
    /// The address.
    pub uri: Uri,
    /// Header parameters such as `tag`, `expires`, `q`. Parameters of the URI are inside [`uri`](Self::uri).
    pub params: Params,
}

impl NameAddr {
    /// Just an address.
    pub fn new(uri: impl Into<Uri>) -> Self {
        Self { display_name: None, uri: uri.into(), params: Params::default() }
    }

    /// With a name for people.
    pub fn with_display_name(mut self, name: impl Into<String>) -> Self {
        self.display_name = Some(name.into());
        self
    }

    /// With a tag (From and To).
    pub fn with_tag(mut self, tag: &str) -> Self {
        self.params.set("tag", tag);
        self
    }

    /// The `tag` of From and To.
    pub fn tag(&self) -> Option<&str> {
        self.params.value("tag")
    }

    /// Reads one address with its parameters and leaves what follows, such as a comma.
    pub(crate) fn scan(scan: &mut Scan<'_>) -> Result<Self, ParseError> {
        scan.skip_lws();
        let (display_name, uri) = scan_address(scan)?;
        let params = Params::scan(scan)?;
        Ok(Self { display_name, uri, params })
    }
}

fn scan_address(scan: &mut Scan<'_>) -> Result<(Option<String>, Uri), ParseError> {
    if scan.peek() == Some(b'"') {
        let name = scan.quoted_string()?;
        scan.skip_lws();
        return Ok((Some(name), scan_bracketed(scan)?));
    }
    let start = scan.clone();
    let name = trim(scan.take_while(is_display_byte));
    if scan.peek() == Some(b'<') {
        let name = (!name.is_empty()).then(|| text(name));
        return Ok((name, scan_bracketed(scan)?));
    }
    *scan = start;
    Ok((None, scan_addr_spec(scan)?))
}

/// `*(token LWS)`, and what is not ASCII: phones send names in UTF-8 or Latin-1 without quoting them, and nobody
/// should go unanswered for the spelling of their name.
fn is_display_byte(byte: u8) -> bool {
    is_token_byte(byte) || is_lws(byte) || !byte.is_ascii()
}

fn scan_bracketed(scan: &mut Scan<'_>) -> Result<Uri, ParseError> {
    scan.expect(b'<', "<")?;
    let start = scan.clone();
    let uri = scan.take_while(|byte| byte != b'>');
    scan.expect(b'>', ">")?;
    start.uri(uri)
}

/// Without brackets a comma, question mark or semicolon is not part of the URI (RFC 3261 §20.10).
fn scan_addr_spec(scan: &mut Scan<'_>) -> Result<Uri, ParseError> {
    let start = scan.clone();
    let uri = scan.take_while(|byte| !is_lws(byte) && !b";,?<>\"".contains(&byte));
    if scan.peek() == Some(b'?') {
        return Err(scan.expected("angle brackets round a URI with headers"));
    }
    start.uri(uri)
}

impl fmt::Display for NameAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(name) = &self.display_name {
            write!(f, "{} ", quote(name))?;
        }
        // Always in brackets: then a `;` is never taken for the wrong kind of parameter.
        write!(f, "<{}>{}", self.uri, self.params)
    }
}
