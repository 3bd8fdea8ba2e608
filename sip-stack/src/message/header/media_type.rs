//! Content-Type and Accept (RFC 3261 §20.15, §20.1).

use std::fmt;

use super::super::error::ParseError;
use super::super::scan::Scan;
use super::Params;

/// A media type, or in Accept a range of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MediaType {
    /// In lower case, `*` in a range.
    pub kind: String,
    /// In lower case, `*` in a range.
    pub subtype: String,
    /// `charset`, `boundary`, in Accept also `q`.
    pub params: Params,
}

impl MediaType {
    /// A type without parameters, such as `("application", "sdp")`.
    pub fn new(kind: &str, subtype: &str) -> Self {
        Self { kind: kind.to_ascii_lowercase(), subtype: subtype.to_ascii_lowercase(), params: Params::default() }
    }

    /// Is it this type, or a range that holds it?
    pub fn matches(&self, kind: &str, subtype: &str) -> bool {
        let is = |mine: &str, theirs: &str| mine == "*" || mine.eq_ignore_ascii_case(theirs);
        is(&self.kind, kind) && is(&self.subtype, subtype)
    }

    pub(crate) fn scan(scan: &mut Scan<'_>) -> Result<Self, ParseError> {
        scan.skip_lws();
        let kind = scan.token("a media type")?.to_ascii_lowercase();
        if !scan.eat_separator(b'/') {
            return Err(scan.expected("/"));
        }
        let subtype = scan.token("a media subtype")?.to_ascii_lowercase();
        Ok(Self { kind, subtype, params: Params::scan(scan)? })
    }
}

impl fmt::Display for MediaType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}{}", self.kind, self.subtype, self.params)
    }
}

#[cfg(test)]
mod tests {
    use super::super::check::{check_parses, check_refused, parse};
    use super::*;

    #[test]
    fn types_compare_without_case_and_ranges_hold_them() {
        check_parses("Application / SDP ; charset=\"utf 8\"", MediaType::scan, "application/sdp;charset=\"utf 8\"");
        assert!(parse("application/*;q=0.5", MediaType::scan).matches("application", "sdp"));
        assert!(!parse("text/*", MediaType::scan).matches("application", "sdp"));
        check_refused("application", MediaType::scan, 11);
    }
}
