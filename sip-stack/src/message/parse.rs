//! Bytes to messages: start line, header lines, body (RFC 3261 §7, §18.3).
//!
//! Three outcomes. What is not SIP is an error and gets silence. What is SIP but wrong as a whole (a broken Request-URI,
//! a header line without a colon, a body shorter than announced) becomes a message with a *flaw*, so that a UAS can
//! still answer it; `check` reports the flaw. Header values are not looked into here, only Content-Length is.
//!
//! Lines end in CRLF and nothing else: a lone CR or LF is refused, so that no two parsers disagree about where a
//! header ends.

use super::error::{Misbehaviour, ParseError, PeerError, Reason};
use super::headers::{Field, Headers};
use super::limits::Limits;
use super::method::Method;
use super::scan::{Scan, is_lws, is_token, text, trim};
use super::status::StatusCode;
use super::uri::{OtherUri, Uri};
use super::version::Version;
use super::{Message, Request, Response};

const START_LINE: &str = "start line";
const HEADER_LINE: &str = "header line";

/// Everything before the body.
#[derive(Debug)]
pub(super) struct Head {
    start: StartLine,
    headers: Headers,
    flaw: Option<PeerError>,
}

#[derive(Debug)]
enum StartLine {
    Request { method: Method, uri: Uri, version: Version },
    Status { version: Version, status: StatusCode, reason: Vec<u8> },
}

/// Reads one datagram.
pub(super) fn datagram(bytes: &[u8], limits: &Limits) -> Result<Message, ParseError> {
    if bytes.len() > limits.message_bytes {
        return Err(too_large("message", 0, limits.message_bytes));
    }
    let start = leading_line_ends(bytes);
    let end = head_end(bytes, start);
    let mut head = Head::parse(&bytes[start..end.unwrap_or(bytes.len())], start, limits)?;
    if end.is_none() {
        let reason = Reason::Expected("an empty line after the headers");
        head.note(ParseError { header: HEADER_LINE, offset: bytes.len(), reason });
    }
    let found = &bytes[end.unwrap_or(bytes.len())..];
    let announced = head.content_length(limits).unwrap_or(None);
    if announced.is_some_and(|length| length > found.len()) {
        head.note(PeerError::Misbehaved(Misbehaviour::ShortBody));
    }
    let length = announced.unwrap_or(found.len()).min(found.len());
    if length > limits.body_bytes {
        head.note(too_large("body", bytes.len() - found.len(), limits.body_bytes));
        return Ok(head.with_body(Vec::new()));
    }
    Ok(head.with_body(found[..length].to_vec()))
}

/// Bytes of line ends before the start line; they are to be ignored (RFC 3261 §7.5).
fn leading_line_ends(bytes: &[u8]) -> usize {
    bytes.chunks_exact(2).take_while(|pair| pair == b"\r\n").count() * 2
}

/// Where the body starts: after the first empty line at or after `from`.
pub(super) fn head_end(bytes: &[u8], from: usize) -> Option<usize> {
    let at = bytes[from..].windows(4).position(|window| window == b"\r\n\r\n")?;
    Some(from + at + 4)
}

pub(super) fn too_large(header: &'static str, offset: usize, limit: usize) -> ParseError {
    ParseError { header, offset, reason: Reason::TooLarge(limit) }
}

impl Head {
    /// Reads `bytes`, which stand `base` bytes into the message, up to and including the empty line if there is one.
    pub(super) fn parse(bytes: &[u8], base: usize, limits: &Limits) -> Result<Self, ParseError> {
        let mut lines = Lines { bytes, at: 0 };
        let line = lines.next().unwrap_or(bytes);
        if line.len() > limits.line_bytes {
            return Err(too_large(START_LINE, base, limits.line_bytes));
        }
        let (start, flaw) = StartLine::parse(line, base)?;
        let mut head = Self { start, headers: Headers::default(), flaw: flaw.map(PeerError::Malformed) };
        head.read_fields(lines, base, limits);
        Ok(head)
    }

    fn read_fields(&mut self, mut lines: Lines<'_>, base: usize, limits: &Limits) {
        let mut offset = base + lines.at;
        while let Some(line) = lines.next() {
            if self.headers.len() == limits.header_count {
                self.note(too_large("header count", offset, limits.header_count));
                return;
            }
            match parse_field(line, offset, limits) {
                Ok(field) => self.headers.push_field(field),
                Err(error) => self.note(error),
            }
            offset = base + lines.at;
        }
    }

    /// The first flaw counts; what follows is often its consequence.
    pub(super) fn note(&mut self, flaw: impl Into<PeerError>) {
        self.flaw.get_or_insert(flaw.into());
    }

    /// Bytes of body announced. An announcement that cannot be followed is noted as a flaw, and `Err`.
    pub(super) fn content_length(&mut self, limits: &Limits) -> Result<Option<usize>, ()> {
        match self.headers.content_length() {
            Ok(Some(length)) if length > limits.body_bytes => {
                self.note(too_large("Content-Length", 0, limits.body_bytes));
                Err(())
            }
            Ok(length) => Ok(length),
            Err(error) => {
                self.note(error);
                Err(())
            }
        }
    }

    pub(super) fn with_body(self, body: Vec<u8>) -> Message {
        let Self { start, headers, flaw } = self;
        match start {
            StartLine::Request { method, uri, version } => {
                Message::Request(Request { method, uri, version, headers, body, flaw })
            }
            StartLine::Status { version, status, reason } => {
                Message::Response(Response { version, status, reason, headers, body, flaw })
            }
        }
    }
}

/// Logical lines: a line end followed by white space continues the line. Stops at the empty line.
struct Lines<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Iterator for Lines<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let rest = &self.bytes[self.at..];
        let ends = rest.windows(2).enumerate().filter(|(_, pair)| pair == b"\r\n").map(|(at, _)| at);
        let is_fold = |end: &usize| matches!(rest.get(end + 2), Some(b' ' | b'\t'));
        let end = ends.into_iter().find(|end| !is_fold(end)).unwrap_or(rest.len());
        self.at = (self.at + end + 2).min(self.bytes.len());
        (end > 0).then_some(&rest[..end])
    }
}

fn parse_field(line: &[u8], offset: usize, limits: &Limits) -> Result<Field, ParseError> {
    let refuse = |at: usize, reason| ParseError { header: HEADER_LINE, offset: offset + at, reason };
    if line.len() > limits.line_bytes {
        return Err(refuse(0, Reason::TooLarge(limits.line_bytes)));
    }
    let colon = line.iter().position(|byte| *byte == b':').ok_or_else(|| refuse(0, Reason::Expected("a colon")))?;
    let name = &line[..colon];
    let name = &name[..name.iter().rposition(|byte| !is_lws(*byte)).map_or(0, |last| last + 1)];
    if !is_token(name) {
        return Err(refuse(0, Reason::Expected("a header name")));
    }
    let value = unfold(&line[colon + 1..]).map_err(|at| refuse(colon + 1 + at, Reason::Expected("CRLF")))?;
    let indent = value.iter().position(|byte| !is_lws(*byte)).unwrap_or(value.len());
    Ok(Field::received(&text(name), trim(&value), offset + colon + 1 + indent))
}

/// The value on one line and of the same length, or where a lone CR or LF stands.
fn unfold(raw: &[u8]) -> Result<Vec<u8>, usize> {
    let mut value = raw.to_vec();
    for at in 0..value.len() {
        match value[at] {
            b'\r' if value.get(at + 1) == Some(&b'\n') => value[at..at + 2].fill(b' '),
            b'\r' | b'\n' => return Err(at),
            _ => {}
        }
    }
    Ok(value)
}

type Flawed<T> = (T, Option<ParseError>);

impl StartLine {
    fn parse(line: &[u8], base: usize) -> Result<Flawed<Self>, ParseError> {
        let is_status = line.get(..4).is_some_and(|start| start.eq_ignore_ascii_case(b"SIP/"));
        if is_status { Ok((Self::parse_status(line, base)?, None)) } else { Self::parse_request(line, base) }
    }

    fn parse_status(line: &[u8], base: usize) -> Result<Self, ParseError> {
        let mut scan = Scan::new("status line", line, base);
        let version = Version::scan(&mut scan)?;
        scan.expect(b' ', "a space")?;
        let code = scan.clone();
        // Three digits only, so nothing is cut off.
        let status = StatusCode::new(scan.number(999)? as u16).ok_or_else(|| code.error(Reason::OutOfRange))?;
        // Some peers leave the space out when they leave the phrase out.
        if !scan.is_at_end() {
            scan.expect(b' ', "a space")?;
        }
        Ok(Self::Status { version, status, reason: scan.rest().to_vec() })
    }

    fn parse_request(line: &[u8], base: usize) -> Result<Flawed<Self>, ParseError> {
        let mut scan = Scan::new(START_LINE, line, base);
        let method = Method::from_token(scan.token("a method")?);
        scan.expect(b' ', "a space")?;
        let tail = trim(scan.rest());
        let version_at = tail.iter().rposition(|byte| is_lws(*byte)).map_or(0, |space| space + 1);
        let mut version_scan = Scan::new(START_LINE, &tail[version_at..], base);
        let version = Version::scan(&mut version_scan)?;
        version_scan.finish()?;
        let uri = tail[..version_at].split_last().map_or(&[][..], |(_space, uri)| uri);
        let (uri, flaw) = parse_request_uri(uri, base + scan.position());
        // One space each, and none at the end: what was trimmed should not have been there.
        let flaw = flaw.or_else(|| (tail.len() != scan.rest().len()).then(|| scan.expected("single spaces")));
        Ok((Self::Request { method, uri, version }, flaw))
    }
}

fn parse_request_uri(bytes: &[u8], base: usize) -> Flawed<Uri> {
    match Uri::parse_at("Request-URI", bytes, base) {
        Ok(uri) => (uri, None),
        Err(error) => {
            let kept: String = text(bytes).chars().filter(|kept| !kept.is_control()).collect();
            (Uri::Other(OtherUri { scheme: String::new(), rest: kept }), Some(error))
        }
    }
}
