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

    /// Reads an address as it stands in a header, or as somebody has kept it.
    ///
    /// # Errors
    /// It is none.
    pub fn parse(value: &str) -> Result<Self, ParseError> {
        let mut scan = Scan::new("address", value.as_bytes(), 0);
        let address = Self::scan(&mut scan)?;
        scan.finish()?;
        Ok(address)
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

#[cfg(test)]
mod tests {
    use super::super::check::{check_parses, check_refused, parse};
    use super::*;

    #[test]
    fn all_the_ways_to_write_an_address() {
        check_parses("sip:a@b;tag=1", NameAddr::scan, "<sip:a@b>;tag=1");
        check_parses("<sip:a@b;tag=1>", NameAddr::scan, "<sip:a@b;tag=1>");
        check_parses("caller<sip:a@b>;tag=1", NameAddr::scan, "\"caller\" <sip:a@b>;tag=1");
        check_parses("T. Watson <sip:a@b>", NameAddr::scan, "\"T. Watson\" <sip:a@b>");
        check_parses(
            "\"J Rosenberg \\\\\\\"\"  <sip:a@b> ;  tag = 9",
            NameAddr::scan,
            "\"J Rosenberg \\\\\\\"\" <sip:a@b>;tag=9",
        );
        check_parses("\"a, b; <c>\" <tel:+1-201-555-0123>", NameAddr::scan, "\"a, b; <c>\" <tel:+1-201-555-0123>");
        check_parses("<http://www.example.com>;tag=3", NameAddr::scan, "<http://www.example.com>;tag=3");
        check_parses("\"\" <sip:a@[::1]:5070>", NameAddr::scan, "\"\" <sip:a@[::1]:5070>");
    }

    /// RFC 3261 §20.10: without brackets they are header parameters.
    #[test]
    fn parameters_without_brackets_belong_to_the_header() {
        let address = parse("sip:+19725552222@gw1.example.net;unknownparam", NameAddr::scan);
        assert!(address.params.contains("unknownparam"));
        let address = parse("<sip:+19725552222@gw1.example.net;unknownparam>", NameAddr::scan);
        assert!(!address.params.contains("unknownparam"));
        assert!(address.uri.as_sip().unwrap().params.contains("unknownparam"));
    }

    #[test]
    fn a_name_need_not_be_ascii_nor_even_utf8() {
        assert_eq!(parse("Jürgen <sip:a@b>", NameAddr::scan).display_name.as_deref(), Some("Jürgen"));
        let latin1 = NameAddr::scan(&mut Scan::new("From", b"\"M\xfcller\" <sip:a@b>", 0)).unwrap();
        assert_eq!(latin1.display_name.as_deref(), Some("M\u{fffd}ller"));
    }

    #[test]
    fn refusals() {
        check_refused("\"Mr. J. User <sip:a@b>", NameAddr::scan, 22);
        check_refused("Bell, Alexander <sip:a@b>", NameAddr::scan, 4);
        check_refused("\"Watson\" < sip:a@b >", NameAddr::scan, 10);
        check_refused("sip:a@b?Route=%3Csip:c%3E", NameAddr::scan, 7);
        check_refused("<sip:a@b", NameAddr::scan, 8);
        check_refused("\"Joe\" <sip:a@b>;;;;", NameAddr::scan, 16);
        check_refused("", NameAddr::scan, 0);
    }
}
