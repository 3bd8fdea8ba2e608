//! RAck: which reliable provisional response a PRACK confirms (RFC 3262 §7.2).

use std::fmt;

use super::super::error::ParseError;
use super::super::method::Method;
use super::super::scan::Scan;

/// RSeq and CSeq of that response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RAck {
    /// Its RSeq.
    pub rseq: u32,
    /// The number in its CSeq.
    pub cseq: u32,
    /// The method in its CSeq.
    pub method: Method,
}

impl RAck {
    pub(crate) fn scan(scan: &mut Scan<'_>) -> Result<Self, ParseError> {
        scan.skip_lws();
        // At most u32::MAX, so nothing is cut off.
        let rseq = scan.number(u64::from(u32::MAX))? as u32;
        scan.skip_lws();
        let cseq = scan.number(u64::from(u32::MAX))? as u32;
        scan.skip_lws();
        Ok(Self { rseq, cseq, method: Method::from_token(scan.token("a method")?) })
    }
}

impl fmt::Display for RAck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.rseq, self.cseq, self.method)
    }
}

#[cfg(test)]
mod tests {
    use super::super::check::{check_parses, check_refused};
    use super::*;

    #[test]
    fn two_numbers_and_a_method() {
        check_parses("776656  1 INVITE", RAck::scan, "776656 1 INVITE");
        check_refused("1 INVITE", RAck::scan, 2);
        check_refused("4294967296 1 INVITE", RAck::scan, 0);
    }
}
