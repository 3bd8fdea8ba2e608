//! The protocol version in start lines and Via.

use std::fmt;

use super::error::ParseError;
use super::scan::Scan;

/// `SIP/major.minor`. Anything but [`V2`](Self::V2) is answered with 505.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Version {
    /// 2 in every message since 1999.
    pub major: u16,
    /// 0 in every message since 1999.
    pub minor: u16,
}

impl Version {
    /// SIP/2.0 (RFC 3261 §7.1).
    pub const V2: Self = Self { major: 2, minor: 0 };

    /// Reads `SIP/2.0` as in a start line; the letters in either case.
    pub(crate) fn scan(scan: &mut Scan<'_>) -> Result<Self, ParseError> {
        if !scan.rest().get(..4).is_some_and(|name| name.eq_ignore_ascii_case(b"SIP/")) {
            return Err(scan.expected("SIP/"));
        }
        scan.take(4);
        Self::scan_numbers(scan)
    }

    /// Reads `2.0`.
    pub(crate) fn scan_numbers(scan: &mut Scan<'_>) -> Result<Self, ParseError> {
        // At most u16::MAX, so nothing is cut off.
        let major = scan.number(u64::from(u16::MAX))? as u16;
        scan.expect(b'.', "a dot")?;
        let minor = scan.number(u64::from(u16::MAX))? as u16;
        Ok(Self { major, minor })
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SIP/{}.{}", self.major, self.minor)
    }
}
