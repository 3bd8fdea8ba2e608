//! Subscription-State: how far a subscription has come, and why it is over (RFC 6665 §4.1.3, §8.2.3).

use std::fmt;

use super::super::error::ParseError;
use super::super::scan::Scan;
use super::Params;

/// In a NOTIFY.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubscriptionState {
    /// `active`, `pending`, `terminated` or another token, in lower case.
    pub state: String,
    /// `expires`, `reason`, `retry-after`.
    pub params: Params,
}

impl SubscriptionState {
    /// It goes on for so long. Seconds.
    pub fn active(expires_seconds: u64) -> Self {
        let mut params = Params::default();
        params.set("expires", expires_seconds.to_string());
        Self { state: "active".to_owned(), params }
    }

    /// It is over.
    pub fn terminated(reason: &str) -> Self {
        let mut params = Params::default();
        params.set("reason", reason);
        Self { state: "terminated".to_owned(), params }
    }

    /// Is it over?
    pub fn is_terminated(&self) -> bool {
        self.state == "terminated"
    }

    /// Seconds left.
    pub fn expires_seconds(&self) -> Option<u32> {
        self.params.value("expires")?.parse().ok()
    }

    /// Why it is over, such as `noresource` or `timeout`.
    pub fn reason(&self) -> Option<&str> {
        self.params.value("reason")
    }

    pub(crate) fn scan(scan: &mut Scan<'_>) -> Result<Self, ParseError> {
        scan.skip_lws();
        Ok(Self { state: scan.token("a subscription state")?.to_ascii_lowercase(), params: Params::scan(scan)? })
    }
}

impl fmt::Display for SubscriptionState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.state, self.params)
    }
}

#[cfg(test)]
mod tests {
    use super::super::check::{check_parses, check_refused, parse};
    use super::*;

    #[test]
    fn state_expiry_and_reason() {
        check_parses("Active; expires=60", SubscriptionState::scan, "active;expires=60");
        let over = parse("TERMINATED;reason=noresource", SubscriptionState::scan);
        assert_eq!((over.is_terminated(), over.reason(), over.expires_seconds()), (true, Some("noresource"), None));
        assert_eq!(SubscriptionState::active(9).expires_seconds(), Some(9));
        check_refused("", SubscriptionState::scan, 0);
    }
}
