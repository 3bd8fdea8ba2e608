//! Session-Expires: how long a session lasts unless somebody refreshes it, and who does (RFC 4028 §4).

use std::fmt;

use super::super::error::ParseError;
use super::super::scan::Scan;
use super::Params;

/// Who refreshes a session: a role in the latest exchange, not a side of the call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refresher {
    /// Who sent the request.
    Uac,
    /// Who answered it.
    Uas,
}

impl Refresher {
    /// The parameter's value.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Uac => "uac",
            Self::Uas => "uas",
        }
    }
}

/// Seconds, and the `refresher` among the parameters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionExpires {
    /// Of the whole interval.
    pub seconds: u32,
    /// `refresher` and others.
    pub params: Params,
}

impl SessionExpires {
    /// With the refresher, if that is to be said.
    pub fn new(seconds: u32, refresher: Option<Refresher>) -> Self {
        let mut params = Params::default();
        if let Some(refresher) = refresher {
            params.set("refresher", refresher.as_str());
        }
        Self { seconds, params }
    }

    /// Who refreshes, if it says so.
    pub fn refresher(&self) -> Option<Refresher> {
        let value = self.params.value("refresher")?;
        [Refresher::Uac, Refresher::Uas].into_iter().find(|role| value.eq_ignore_ascii_case(role.as_str()))
    }

    pub(crate) fn scan(scan: &mut Scan<'_>) -> Result<Self, ParseError> {
        // At most u32::MAX, so nothing is cut off.
        let seconds = scan.number(u64::from(u32::MAX))? as u32;
        Ok(Self { seconds, params: Params::scan(scan)? })
    }
}

impl fmt::Display for SessionExpires {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.seconds, self.params)
    }
}

#[cfg(test)]
mod tests {
    use super::super::check::{check_parses, check_refused, parse};
    use super::*;

    #[test]
    fn seconds_and_refresher() {
        check_parses("1800 ; refresher = UAS", SessionExpires::scan, "1800;refresher=UAS");
        assert_eq!(parse("1800;refresher=UAS", SessionExpires::scan).refresher(), Some(Refresher::Uas));
        assert_eq!(parse("90", SessionExpires::scan).refresher(), None);
        assert_eq!(parse("90;refresher=me", SessionExpires::scan).refresher(), None);
        assert_eq!(SessionExpires::new(90, Some(Refresher::Uac)).to_string(), "90;refresher=uac");
        check_refused("soon", SessionExpires::scan, 0);
    }
}
