//! Diversion: who the call was for before it came here (RFC 5806).

use std::fmt;

use super::super::error::ParseError;
use super::super::scan::Scan;
use super::NameAddr;

/// One diversion, the latest first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diversion(pub NameAddr);

impl Diversion {
    /// Who diverted it.
    pub fn address(&self) -> &NameAddr {
        &self.0
    }

    /// Why, such as `unconditional`, `user-busy` or `no-answer`.
    pub fn reason(&self) -> Option<&str> {
        self.0.params.value("reason")
    }

    /// How often that happened; 1 unless stated.
    pub fn counter(&self) -> u32 {
        self.0.params.value("counter").and_then(|count| count.parse().ok()).unwrap_or(1)
    }

    pub(crate) fn scan(scan: &mut Scan<'_>) -> Result<Self, ParseError> {
        NameAddr::scan(scan).map(Self)
    }
}

impl fmt::Display for Diversion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::super::check::{check_parses, parse};
    use super::*;

    #[test]
    fn who_and_why() {
        let value = "<sip:+15551234567@twilio.com>;reason=unconditional";
        check_parses(value, Diversion::scan, value);
        let diversion = parse("<sip:a@b>;reason=\"user-busy\";counter=3", Diversion::scan);
        assert_eq!((diversion.reason(), diversion.counter()), (Some("user-busy"), 3));
        assert_eq!(parse(value, Diversion::scan).counter(), 1);
    }
}
