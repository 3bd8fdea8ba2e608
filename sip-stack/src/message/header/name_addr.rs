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
    let _ = (scan, is_lws as fn(u8) -> bool, is_token_byte as fn(u8) -> bool, text as fn(&[u8]) -> String, trim as fn(&[u8]) -> &[u8]);
    todo!()
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
