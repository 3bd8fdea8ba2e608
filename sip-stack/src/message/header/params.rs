//! Header parameters (RFC 3261 §25.1 `generic-param`): `;name` or `;name=value`.

use std::fmt;

use super::super::error::ParseError;
use super::super::scan::{Scan, is_lws, quote, text};

/// Parameters in their order. Names compare without case; a repeated name counts once, the first wins.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Params(Vec<Param>);

/// One parameter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Param {
    /// As it was spelt.
    pub name: String,
    /// `None` for a bare `;name`.
    pub value: Option<ParamValue>,
}

/// What follows the equals sign.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ParamValue {
    /// A token or a host.
    Bare(String),
    /// A quoted string, without quotes and escapes.
    Quoted(String),
}

impl ParamValue {
    /// The text, however it was written.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Bare(text) | Self::Quoted(text) => text,
        }
    }
}

impl Params {
    /// The parameter of that name, if it is there at all.
    pub fn find(&self, name: &str) -> Option<&Param> {
        self.0.iter().find(|param| param.name.eq_ignore_ascii_case(name))
    }

    /// The value of that parameter; `None` also when it stands there without one.
    pub fn value(&self, name: &str) -> Option<&str> {
        self.find(name)?.value.as_ref().map(ParamValue::as_str)
    }

    /// Is it there, with or without a value?
    pub fn contains(&self, name: &str) -> bool {
        self.find(name).is_some()
    }

    /// Sets `name` to a token, in its place if it was there, else at the end.
    pub fn set(&mut self, name: &str, value: impl Into<String>) {
        self.set_param(name, Some(ParamValue::Bare(value.into())));
    }

    /// Sets `name` to a quoted string.
    pub fn set_quoted(&mut self, name: &str, value: impl Into<String>) {
        self.set_param(name, Some(ParamValue::Quoted(value.into())));
    }

    /// Sets `name` without a value.
    pub fn set_flag(&mut self, name: &str) {
        self.set_param(name, None);
    }

    fn set_param(&mut self, name: &str, value: Option<ParamValue>) {
        match self.0.iter_mut().find(|param| param.name.eq_ignore_ascii_case(name)) {
            Some(param) => param.value = value,
            None => self.0.push(Param { name: name.to_owned(), value }),
        }
    }

    /// Takes a parameter away.
    pub fn remove(&mut self, name: &str) {
        self.0.retain(|param| !param.name.eq_ignore_ascii_case(name));
    }

    /// All of them, in order.
    pub fn iter(&self) -> impl Iterator<Item = &Param> {
        self.0.iter()
    }

    /// Reads `*(SEMI generic-param)` and leaves what follows.
    pub(crate) fn scan(scan: &mut Scan<'_>) -> Result<Self, ParseError> {
        let mut params = Vec::new();
        while scan.eat_separator(b';') {
            params.push(Param::scan(scan)?);
        }
        Ok(Self(params))
    }
}

impl Param {
    pub(crate) fn scan(scan: &mut Scan<'_>) -> Result<Self, ParseError> {
        let name = scan.token("a parameter name")?.to_owned();
        let value = if scan.eat_separator(b'=') { Some(ParamValue::scan(scan)?) } else { None };
        Ok(Self { name, value })
    }
}

impl ParamValue {
    fn scan(scan: &mut Scan<'_>) -> Result<Self, ParseError> {
        if scan.peek() == Some(b'"') {
            return scan.quoted_string().map(Self::Quoted);
        }
        // Wider than `token / host`: an IPv6 address in `received` has no brackets, and peers put other bytes here.
        let bare = scan.take_while(|byte| !is_lws(byte) && !b";,\"<>".contains(&byte));
        if bare.is_empty() { Err(scan.expected("a parameter value")) } else { Ok(Self::Bare(text(bare))) }
    }
}

impl fmt::Display for Params {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|param| write!(f, ";{param}"))
    }
}

impl fmt::Display for Param {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.value {
            None => f.write_str(&self.name),
            Some(ParamValue::Bare(text)) => write!(f, "{}={text}", self.name),
            Some(ParamValue::Quoted(text)) => write!(f, "{}={}", self.name, quote(text)),
        }
    }
}
