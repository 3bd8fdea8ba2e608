//! The protocol version in start lines and Via.

use std::fmt;

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
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SIP/{}.{}", self.major, self.minor)
    }
}
