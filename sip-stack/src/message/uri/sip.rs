//! `sip:` and `sips:` URIs (RFC 3261 §19.1.1).

use std::fmt;

use super::super::error::ParseError;
use super::super::host::{Host, HostPort};
use super::super::scan::{Scan, text};
use super::escape::{decode, encode};

/// A SIP or SIPS URI. The parts stand as they were written, escapes unresolved.
#[derive(Debug, Clone)]
pub struct SipUri {
    /// `sips:`: every hop has to use TLS.
    pub secure: bool,
    /// The user part; may be a telephone number with its own parameters.
    pub user: Option<String>,
    /// Deprecated, but part of the grammar and of comparison.
    pub password: Option<String>,
    /// Where the user lives.
    pub host: Host,
    /// `None` means the default port, but is not equal to it (RFC 3261 §19.1.4).
    pub port: Option<u16>,
    /// `;name=value` after the host.
    pub params: UriParams,
    /// `?name=value&…`: headers for the request to this URI. Not allowed in a Request-URI.
    pub headers: Vec<(String, String)>,
}

/// URI parameters in their order.
#[derive(Debug, Clone, Default)]
pub struct UriParams(Vec<UriParam>);

/// One URI parameter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UriParam {
    /// Escapes unresolved.
    pub name: String,
    /// Escapes unresolved; `None` for a bare `;name`.
    pub value: Option<String>,
}

impl SipUri {
    /// `sip:host` or, with [`with_user`](Self::with_user), `sip:user@host`.
    pub fn new(target: impl Into<HostPort>) -> Self {
        let HostPort { host, port } = target.into();
        Self {
            secure: false,
            user: None,
            password: None,
            host,
            port,
            params: UriParams::default(),
            headers: Vec::new(),
        }
    }

    /// Sets the user part; what cannot stand in one is escaped.
    pub fn with_user(mut self, user: &str) -> Self {
        self.user = Some(encode(user, is_user_byte));
        self
    }

    /// Sets a parameter; what cannot stand in one is escaped.
    pub fn with_param(mut self, name: &str, value: Option<&str>) -> Self {
        self.params.set(name, value);
        self
    }

    /// Adds a header for the request to this URI; what cannot stand in one is escaped.
    pub fn push_header(&mut self, name: &str, value: &str) {
        self.headers.push((name.to_owned(), encode(value, is_header_byte)));
    }

    /// The value of such a header with its escapes resolved; what is not UTF-8 is replaced.
    pub fn header_text(&self, name: &str) -> Option<String> {
        let (_, value) = self.headers.iter().find(|(other, _)| other.eq_ignore_ascii_case(name))?;
        Some(text(&decode(value)))
    }

    /// The user part with its escapes resolved; `None` if there is none. May hold control characters.
    pub fn user_text(&self) -> Option<String> {
        self.user.as_deref().map(|user| text(&decode(user)))
    }

    /// Host and port.
    pub fn host_port(&self) -> HostPort {
        HostPort { host: self.host.clone(), port: self.port }
    }

    /// Has it the `lr` parameter, that is, does the proxy route loosely (RFC 3261 §16.12)?
    pub fn is_loose_router(&self) -> bool {
        self.params.contains("lr")
    }

    /// Reads what follows the scheme, to the end.
    pub(super) fn scan(scan: &mut Scan<'_>, secure: bool) -> Result<Self, ParseError> {
        let (user, password) = scan_userinfo(scan)?;
        let HostPort { host, port } = HostPort::scan(scan, false)?;
        let params = UriParams::scan(scan)?;
        let headers = if scan.eat(b'?') { scan_headers(scan)? } else { Vec::new() };
        if !scan.is_at_end() {
            return Err(scan.expected("the end of the URI"));
        }
        Ok(Self { secure, user, password, host, port, params, headers })
    }
}

impl UriParams {
    /// The parameter's value; `Some("")` when it stands there without one.
    pub fn value(&self, name: &str) -> Option<&str> {
        let param = self.0.iter().find(|param| param.is_named(name))?;
        Some(param.value.as_deref().unwrap_or_default())
    }

    /// Is it there, with or without a value?
    pub fn contains(&self, name: &str) -> bool {
        self.value(name).is_some()
    }

    /// Sets a parameter, in its place if it was there, else at the end.
    pub fn set(&mut self, name: &str, value: Option<&str>) {
        let value = value.map(|value| encode(value, is_param_byte));
        match self.0.iter_mut().find(|param| param.is_named(name)) {
            Some(param) => param.value = value,
            None => self.0.push(UriParam { name: encode(name, is_param_byte), value }),
        }
    }

    /// Takes a parameter away.
    pub fn remove(&mut self, name: &str) {
        self.0.retain(|param| !param.is_named(name));
    }

    /// All of them, in order.
    pub fn iter(&self) -> impl Iterator<Item = &UriParam> {
        self.0.iter()
    }

    fn scan(scan: &mut Scan<'_>) -> Result<Self, ParseError> {
        let mut params = Vec::new();
        while scan.eat(b';') {
            let name = scan_escaped(scan, is_param_byte, "a URI parameter")?;
            let value =
                if scan.eat(b'=') { Some(scan_escaped(scan, is_param_byte, "a URI parameter value")?) } else { None };
            params.push(UriParam { name, value });
        }
        Ok(Self(params))
    }
}

impl UriParam {
    fn is_named(&self, name: &str) -> bool {
        decode(&self.name).eq_ignore_ascii_case(name.as_bytes())
    }
}

/// The part before `@`, if there is an `@`: user and password.
fn scan_userinfo(scan: &mut Scan<'_>) -> Result<(Option<String>, Option<String>), ParseError> {
    if !scan.rest().contains(&b'@') {
        return Ok((None, None));
    }
    let user = scan_escaped(scan, is_user_byte, "a user part")?;
    let password = if scan.eat(b':') { Some(text(scan_escapes(scan, is_password_byte)?)) } else { None };
    scan.expect(b'@', "@")?;
    Ok((Some(user), password))
}

fn scan_headers(scan: &mut Scan<'_>) -> Result<Vec<(String, String)>, ParseError> {
    let mut headers = Vec::new();
    loop {
        let name = scan_escaped(scan, is_header_byte, "a URI header name")?;
        scan.expect(b'=', "=")?;
        headers.push((name, text(scan_escapes(scan, is_header_byte)?)));
        if !scan.eat(b'&') {
            return Ok(headers);
        }
    }
}

/// At least one allowed or escaped byte.
fn scan_escaped(scan: &mut Scan<'_>, allowed: fn(u8) -> bool, what: &'static str) -> Result<String, ParseError> {
    let bytes = scan_escapes(scan, allowed)?;
    if bytes.is_empty() { Err(scan.expected(what)) } else { Ok(text(bytes)) }
}

/// Allowed bytes and `%` with two hexadecimal digits.
fn scan_escapes<'a>(scan: &mut Scan<'a>, allowed: fn(u8) -> bool) -> Result<&'a [u8], ParseError> {
    let all = scan.rest();
    let start = scan.position();
    loop {
        scan.take_while(allowed);
        if scan.peek() != Some(b'%') {
            return Ok(&all[..scan.position() - start]);
        }
        let is_escape = scan.rest().len() >= 3 && scan.rest()[1..3].iter().all(u8::is_ascii_hexdigit);
        if !is_escape {
            return Err(scan.expected("two hexadecimal digits"));
        }
        scan.take(3);
    }
}

fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-_.!~*'()".contains(&byte)
}

fn is_user_byte(byte: u8) -> bool {
    is_unreserved(byte) || b"&=+$,;?/".contains(&byte)
}

fn is_password_byte(byte: u8) -> bool {
    is_unreserved(byte) || b"&=+$,".contains(&byte)
}

fn is_param_byte(byte: u8) -> bool {
    is_unreserved(byte) || b"[]/:&+$".contains(&byte)
}

fn is_header_byte(byte: u8) -> bool {
    is_unreserved(byte) || b"[]/?:+$".contains(&byte)
}

impl fmt::Display for SipUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.secure { "sips:" } else { "sip:" })?;
        if let Some(user) = &self.user {
            f.write_str(user)?;
            if let Some(password) = &self.password {
                write!(f, ":{password}")?;
            }
            f.write_str("@")?;
        }
        self.host.fmt(f)?;
        if let Some(port) = self.port {
            write!(f, ":{port}")?;
        }
        self.params.fmt(f)?;
        for (index, (name, value)) in self.headers.iter().enumerate() {
            write!(f, "{}{name}={value}", if index == 0 { '?' } else { '&' })?;
        }
        Ok(())
    }
}

impl fmt::Display for UriParams {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|UriParam { name, value }| match value {
            Some(value) => write!(f, ";{name}={value}"),
            None => write!(f, ";{name}"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::Uri;
    use super::*;

    #[track_caller]
    fn parse(text: &str) -> SipUri {
        let uri: Uri = text.parse().unwrap();
        assert_eq!(uri.to_string(), text, "printing gives back what was read");
        uri.as_sip().unwrap().clone()
    }

    #[test]
    fn all_the_parts() {
        let uri = parse("sips:alice;x=1:secret@[2001:db8::1]:5061;transport=tcp;lr?Subject=a%20b&To=sip:c%40d");
        assert!(uri.secure && uri.is_loose_router());
        assert_eq!(uri.user_text().as_deref(), Some("alice;x=1"));
        assert_eq!((uri.password.as_deref(), uri.port), (Some("secret"), Some(5061)));
        assert_eq!(uri.params.value("TRANSPORT"), Some("tcp"));
        assert_eq!(uri.headers.len(), 2);
    }

    #[test]
    fn escapes_stay_as_written_and_resolve_on_demand() {
        let uri = parse("sip:sips%3Auser%40example.com@example.net;%6C%72");
        assert_eq!(uri.user_text().as_deref(), Some("sips:user@example.com"));
        assert!(uri.is_loose_router());
        assert_eq!(parse("sip:%00@h").user_text().as_deref(), Some("\0"));
    }

    #[test]
    fn what_we_build_is_escaped() {
        let host = HostPort { host: Host::Name("h".into()), port: None };
        let uri = SipUri::new(host).with_user("a b@c").with_param("x", Some("1;2"));
        assert_eq!(uri.to_string(), "sip:a%20b%40c@h;x=1%3B2");
        assert_eq!(parse(&uri.to_string()), uri);
    }

    #[test]
    fn refusals_point_at_the_byte() {
        let check = |text: &str, offset: usize| {
            assert_eq!(text.parse::<Uri>().unwrap_err().offset, offset, "{text}");
        };
        check("sip:", 4);
        check("sip:a b@c", 5);
        check("sip:a%zz@c", 5);
        check("sip:a@b:99999", 8);
        check("sip:a@b;", 8);
        check("sip:a@b;x=", 10);
        check("sip:a@b?x", 9);
        check("sip:a@[::1", 10);
        check("<sip:a@b>", 0);
    }
}
