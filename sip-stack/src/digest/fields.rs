//! `Digest name=value, name="value"`: what both headers of Digest look like (RFC 3261 §25.1).

use std::fmt;

use crate::message::header::{Param, ParamValue};
use crate::message::scan::{Scan, quote};
use crate::message::{Field, ParseError};

/// The fields in their order. Names compare without case.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Fields(Vec<Param>);

impl Fields {
    /// Reads one header field. `None`: another scheme than Digest.
    pub(super) fn parse(field: &Field) -> Result<Option<Self>, ParseError> {
        let mut scan = Scan::new(field.name().label(), field.value(), field.offset());
        scan.skip_lws();
        let scheme = scan.token("an authentication scheme")?;
        if !scheme.eq_ignore_ascii_case("Digest") {
            return Ok(None);
        }
        scan.skip_lws();
        let mut fields = Vec::new();
        loop {
            fields.push(Param::scan(&mut scan)?);
            if !scan.eat_separator(b',') {
                break;
            }
        }
        scan.finish()?;
        Ok(Some(Self(fields)))
    }

    pub(super) fn value(&self, name: &str) -> Option<&str> {
        let field = self.0.iter().find(|field| field.name.eq_ignore_ascii_case(name))?;
        field.value.as_ref().map(ParamValue::as_str)
    }
}

/// Writes `Digest` and what is there, with a comma between.
pub(super) struct Writer<'a, 'b> {
    f: &'a mut fmt::Formatter<'b>,
    separator: &'static str,
}

impl<'a, 'b> Writer<'a, 'b> {
    pub(super) fn new(f: &'a mut fmt::Formatter<'b>) -> Self {
        Self { f, separator: "Digest " }
    }

    pub(super) fn quoted(&mut self, name: &str, value: &str) -> fmt::Result {
        self.bare(name, quote(value))
    }

    pub(super) fn bare(&mut self, name: &str, value: impl fmt::Display) -> fmt::Result {
        let separator = std::mem::replace(&mut self.separator, ", ");
        write!(self.f, "{separator}{name}={value}")
    }
}
