//! Contact: where to reach a party directly, or what to register (RFC 3261 §20.10).

use std::fmt;

use super::super::error::ParseError;
use super::super::scan::Scan;
use super::NameAddr;

/// One Contact value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Contact {
    /// `*`: all bindings, to be removed (RFC 3261 §10.2.2).
    All,
    /// An address, with `q` and `expires` among its parameters.
    Address(NameAddr),
}

impl Contact {
    /// The address, unless it is `*`.
    pub fn address(&self) -> Option<&NameAddr> {
        match self {
            Self::All => None,
            Self::Address(address) => Some(address),
        }
    }

    pub(crate) fn scan(scan: &mut Scan<'_>) -> Result<Self, ParseError> {
        scan.skip_lws();
        if scan.eat(b'*') { Ok(Self::All) } else { NameAddr::scan(scan).map(Self::Address) }
    }
}

impl fmt::Display for Contact {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str("*"),
            Self::Address(address) => address.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::check::{check_parses, check_refused};
    use super::*;

    #[test]
    fn a_star_or_an_address() {
        check_parses(" * ", Contact::scan, "*");
        check_parses("<sip:a@b>;q=0.7;expires=60", Contact::scan, "<sip:a@b>;q=0.7;expires=60");
        check_refused("*;expires=0", Contact::scan, 1);
    }
}
