//! When two URIs are the same (RFC 3261 §19.1.4, RFC 3966 §5).

use super::{SipUri, TelUri, Uri};

impl PartialEq for Uri {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Sip(a), Self::Sip(b)) => a == b,
            (Self::Tel(a), Self::Tel(b)) => a == b,
            (Self::Other(a), Self::Other(b)) => a == b,
            (Self::Sip(_) | Self::Tel(_) | Self::Other(_), _) => false,
        }
    }
}

impl Eq for Uri {}

impl PartialEq for SipUri {
    fn eq(&self, other: &Self) -> bool {
        self.to_string() == other.to_string()
    }
}

impl Eq for SipUri {}

impl PartialEq for TelUri {
    fn eq(&self, other: &Self) -> bool {
        self.to_string() == other.to_string()
    }
}

impl Eq for TelUri {}
