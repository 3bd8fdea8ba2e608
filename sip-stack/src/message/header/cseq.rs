//! CSeq: orders requests within a dialog (RFC 3261 §20.16).

use std::fmt;

use super::super::error::ParseError;
use super::super::method::Method;
use super::super::scan::Scan;

/// Sequence number and method.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CSeq {
    /// Below 2^31 when we choose it, up to 2^32 - 1 on the wire.
    pub number: u32,
    /// The method of the request, also in its responses.
    pub method: Method,
}

impl CSeq {
    /// Reads the whole value.
    pub(crate) fn scan(scan: &mut Scan<'_>) -> Result<Self, ParseError> {
        // At most u32::MAX, so nothing is cut off.
        let number = scan.number(u64::from(u32::MAX))? as u32;
        scan.skip_lws();
        let method = Method::from_token(scan.token("a method")?);
        Ok(Self { number, method })
    }
}

impl fmt::Display for CSeq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.number, self.method)
    }
}

#[cfg(test)]
mod tests {
    use super::super::check::{check_parses, check_refused};
    use super::*;

    #[test]
    fn number_and_method() {
        check_parses("0009   INVITE", CSeq::scan, "9 INVITE");
        check_parses("4294967295 RE%47IST%45R", CSeq::scan, "4294967295 RE%47IST%45R");
    }

    #[test]
    fn refusals_point_at_the_byte() {
        check_refused("4294967296 INVITE", CSeq::scan, 0);
        check_refused("36893488147419103232 INVITE", CSeq::scan, 0);
        check_refused("-1 INVITE", CSeq::scan, 0);
        check_refused("1", CSeq::scan, 1);
        check_refused("1 INVITE INVITE", CSeq::scan, 9);
    }
}
