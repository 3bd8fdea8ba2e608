//! Event: what is subscribed to (RFC 6665 §8.2.1).

use std::fmt;

use super::super::error::ParseError;
use super::super::scan::Scan;
use super::Params;

/// An event package with its parameters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventHeader {
    /// Such as `message-summary`, `dialog` or `refer`; templates with their dots.
    pub package: String,
    /// `id` and others.
    pub params: Params,
}

impl EventHeader {
    /// A package.
    pub fn new(package: &str) -> Self {
        Self { package: package.to_owned(), params: Params::default() }
    }

    /// Tells subscriptions within one dialog apart.
    pub fn id(&self) -> Option<&str> {
        self.params.value("id")
    }

    pub(crate) fn scan(scan: &mut Scan<'_>) -> Result<Self, ParseError> {
        scan.skip_lws();
        Ok(Self { package: scan.token("an event package")?.to_owned(), params: Params::scan(scan)? })
    }
}

impl fmt::Display for EventHeader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.package, self.params)
    }
}

#[cfg(test)]
mod tests {
    use super::super::check::{check_parses, check_refused, parse};
    use super::*;

    #[test]
    fn package_and_id() {
        check_parses("dialog ; id=7; sla", EventHeader::scan, "dialog;id=7;sla");
        assert_eq!(parse("refer;id=93809824", EventHeader::scan).id(), Some("93809824"));
        check_refused(";id=1", EventHeader::scan, 0);
    }
}
