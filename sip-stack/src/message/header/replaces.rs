//! Replaces: the call that a new one takes the place of (RFC 3891 §6.1), and Target-Dialog, which looks the same
//! (RFC 4538).

use std::fmt;

use super::super::error::ParseError;
use super::super::scan::Scan;
use super::Params;

/// Names a dialog by what its two sides call it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replaces {
    /// Of the dialog.
    pub call_id: String,
    /// The tag of whoever receives this header.
    pub to_tag: String,
    /// The tag of the other side.
    pub from_tag: String,
    /// Take its place only if it is not yet answered.
    pub early_only: bool,
}

impl Replaces {
    pub(crate) fn scan(scan: &mut Scan<'_>) -> Result<Self, ParseError> {
        scan.skip_lws();
        let call_id = scan.take_while(|byte| byte > b' ' && byte != b';');
        if call_id.is_empty() {
            return Err(scan.expected("a Call-ID"));
        }
        let call_id = super::super::scan::text(call_id);
        let params = Params::scan(scan)?;
        let tag = |name| params.value(name).map(str::to_owned);
        Ok(Self {
            call_id,
            to_tag: tag("to-tag").ok_or_else(|| scan.expected("a to-tag"))?,
            from_tag: tag("from-tag").ok_or_else(|| scan.expected("a from-tag"))?,
            early_only: params.contains("early-only"),
        })
    }

    /// Reads a value as it stands in a header, or unescaped from the `Replaces` of a Refer-To URI.
    ///
    /// # Errors
    /// It is no dialog identifier.
    pub fn parse(value: &str) -> Result<Self, ParseError> {
        let mut scan = Scan::new("Replaces", value.as_bytes(), 0);
        let replaces = Self::scan(&mut scan)?;
        scan.finish()?;
        Ok(replaces)
    }
}

impl fmt::Display for Replaces {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{};to-tag={};from-tag={}", self.call_id, self.to_tag, self.from_tag)?;
        if self.early_only { f.write_str(";early-only") } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::super::check::{check_parses, check_refused, parse};
    use super::*;

    #[test]
    fn a_dialog_by_its_three_parts() {
        check_parses(
            "425928@bobster.example.org;to-tag=7743;from-tag=6472",
            Replaces::scan,
            "425928@bobster.example.org;to-tag=7743;from-tag=6472",
        );
        let early = parse("12 ;from-tag=5;to-tag=6; early-only", Replaces::scan);
        assert_eq!((early.to_tag.as_str(), early.from_tag.as_str(), early.early_only), ("6", "5", true));
        check_refused("12;to-tag=1", Replaces::scan, 11);
        check_refused(";to-tag=1;from-tag=2", Replaces::scan, 0);
    }
}
