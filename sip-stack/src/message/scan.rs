//! The lexical layer of RFC 3261 §25.1: tokens, linear white space, quoted strings, numbers.
//!
//! A [`Scan`] walks over bytes and never over their end; every refusal says which header and which byte.

use std::borrow::Cow;

use super::error::{ParseError, Reason};
use super::uri::Uri;

/// A cursor over one header value, or over one URI.
#[derive(Debug, Clone)]
pub(crate) struct Scan<'a> {
    header: &'static str,
    input: &'a [u8],
    at: usize,
    /// Where `input` starts in the message.
    base: usize,
}

/// `token` of RFC 3261 §25.1.
pub(crate) fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-.!%*_+`'~".contains(&byte)
}

/// A token has at least one byte.
pub(crate) fn is_token(bytes: &[u8]) -> bool {
    !bytes.is_empty() && bytes.iter().copied().all(is_token_byte)
}

/// Line ends count too: a folded header is one logical line (RFC 3261 §7.3.1).
pub(crate) fn is_lws(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r' | b'\n')
}

/// `bytes` without white space at either end.
pub(crate) fn trim(bytes: &[u8]) -> &[u8] {
    let start = bytes.iter().position(|byte| !is_lws(*byte)).unwrap_or(bytes.len());
    let end = bytes.iter().rposition(|byte| !is_lws(*byte)).map_or(start, |last| last + 1);
    &bytes[start..end]
}

/// Text for people: what is not UTF-8 becomes U+FFFD. The raw bytes stay in the header.
pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

impl<'a> Scan<'a> {
    /// Reads `input`, which belongs to `header` and starts `base` bytes into the message.
    pub(crate) fn new(header: &'static str, input: &'a [u8], base: usize) -> Self {
        Self { header, input, at: 0, base }
    }

    /// A refusal at the current byte.
    pub(crate) fn error(&self, reason: Reason) -> ParseError {
        ParseError { header: self.header, offset: self.base + self.at, reason }
    }

    /// A refusal at the current byte, because the grammar has `what` here.
    pub(crate) fn expected(&self, what: &'static str) -> ParseError {
        self.error(Reason::Expected(what))
    }

    /// Bytes read so far.
    pub(crate) fn position(&self) -> usize {
        self.at
    }

    pub(crate) fn rest(&self) -> &'a [u8] {
        // Invariant: `at` never passes the end.
        &self.input[self.at..]
    }

    pub(crate) fn is_at_end(&self) -> bool {
        self.at == self.input.len()
    }

    pub(crate) fn peek(&self) -> Option<u8> {
        self.input.get(self.at).copied()
    }

    /// Takes the next `count` bytes, or as many as there are.
    pub(crate) fn take(&mut self, count: usize) -> &'a [u8] {
        let taken = &self.rest()[..count.min(self.rest().len())];
        self.at += taken.len();
        taken
    }

    pub(crate) fn take_while(&mut self, wanted: impl Fn(u8) -> bool) -> &'a [u8] {
        let count = self.rest().iter().position(|byte| !wanted(*byte)).unwrap_or(self.rest().len());
        self.take(count)
    }

    pub(crate) fn eat(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        self.at += usize::from(found);
        found
    }

    pub(crate) fn expect(&mut self, byte: u8, what: &'static str) -> Result<(), ParseError> {
        if self.eat(byte) { Ok(()) } else { Err(self.expected(what)) }
    }

    pub(crate) fn skip_lws(&mut self) {
        self.take_while(is_lws);
    }

    /// A separator such as `SEMI` or `EQUAL`: white space may stand on both sides of it.
    pub(crate) fn eat_separator(&mut self, byte: u8) -> bool {
        let start = self.at;
        self.skip_lws();
        if self.eat(byte) {
            self.skip_lws();
            return true;
        }
        self.at = start;
        false
    }

    /// A token; it is ASCII by definition.
    pub(crate) fn token(&mut self, what: &'static str) -> Result<&'a str, ParseError> {
        let token = self.take_while(is_token_byte);
        if token.is_empty() {
            return Err(self.expected(what));
        }
        std::str::from_utf8(token).map_err(|_| self.expected(what))
    }

    /// Decimal digits up to `max`; leading zeros are fine.
    pub(crate) fn number(&mut self, max: u64) -> Result<u64, ParseError> {
        let start = self.clone();
        let digits = self.take_while(|byte| byte.is_ascii_digit());
        if digits.is_empty() {
            return Err(self.expected("digits"));
        }
        let value = digits.iter().try_fold(0_u64, |value, digit| {
            value.checked_mul(10)?.checked_add(u64::from(digit - b'0')).filter(|value| *value <= max)
        });
        value.ok_or_else(|| start.error(Reason::OutOfRange))
    }

    /// A quoted string without its quotes and with its escapes resolved.
    pub(crate) fn quoted_string(&mut self) -> Result<String, ParseError> {
        self.expect(b'"', "a quoted string")?;
        let mut content = Vec::new();
        loop {
            match self.peek() {
                None => return Err(self.expected("a closing quote")),
                Some(b'"') => {
                    self.at += 1;
                    return Ok(text(&content));
                }
                Some(b'\\') => {
                    self.at += 1;
                    let escaped = self.peek().ok_or_else(|| self.expected("an escaped character"))?;
                    content.push(escaped);
                    self.at += 1;
                }
                Some(byte) => {
                    content.push(byte);
                    self.at += 1;
                }
            }
        }
    }

    /// A comment with its nested comments, without the outer parentheses.
    pub(crate) fn comment(&mut self) -> Result<String, ParseError> {
        self.expect(b'(', "a comment")?;
        let start = self.at;
        let mut depth = 1_usize;
        while let Some(byte) = self.peek() {
            match byte {
                b'\\' => self.at = (self.at + 1).min(self.input.len() - 1),
                b'(' => depth += 1,
                b')' if depth == 1 => {
                    let content = text(&self.input[start..self.at]);
                    self.at += 1;
                    return Ok(content);
                }
                b')' => depth -= 1,
                _ => {}
            }
            self.at += 1;
        }
        Err(self.expected("a closing parenthesis"))
    }

    /// Reads the next `bytes`, which this scan has yet to pass, as one URI.
    pub(crate) fn uri(&self, bytes: &[u8]) -> Result<Uri, ParseError> {
        Uri::parse_at(self.header, bytes, self.base + self.at)
    }

    /// Only white space may be left.
    pub(crate) fn finish(mut self) -> Result<(), ParseError> {
        self.skip_lws();
        if self.is_at_end() { Ok(()) } else { Err(self.expected("the end of the value")) }
    }
}

/// `text` as a quoted string. Line ends cannot stand in one and become spaces.
pub(crate) fn quote(text: &str) -> Cow<'static, str> {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for character in text.chars() {
        match character {
            '"' | '\\' => quoted.extend(['\\', character]),
            '\r' | '\n' => quoted.push(' '),
            _ => quoted.push(character),
        }
    }
    quoted.push('"');
    Cow::Owned(quoted)
}
