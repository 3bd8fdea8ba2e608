//! Retry-After: when to try again (RFC 3261 §20.33).

use std::fmt;

use super::super::error::ParseError;
use super::super::scan::Scan;
use super::Params;

/// Seconds to wait, with an optional comment and `duration` parameter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RetryAfter {
    /// From when the message is received.
    pub seconds: u32,
    /// For people.
    pub comment: Option<String>,
    /// `duration` and others.
    pub params: Params,
}

impl RetryAfter {
    /// Just a number of seconds.
    pub fn new(seconds: u32) -> Self {
        Self { seconds, comment: None, params: Params::default() }
    }

    pub(crate) fn scan(scan: &mut Scan<'_>) -> Result<Self, ParseError> {
        // At most u32::MAX, so nothing is cut off.
        let seconds = scan.number(u64::from(u32::MAX))? as u32;
        scan.skip_lws();
        let comment = if scan.peek() == Some(b'(') { Some(scan.comment()?) } else { None };
        Ok(Self { seconds, comment, params: Params::scan(scan)? })
    }
}

impl fmt::Display for RetryAfter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.seconds)?;
        if let Some(comment) = &self.comment {
            write!(f, " ({comment})")?;
        }
        self.params.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::super::check::{check_parses, check_refused};
    use super::*;

    #[test]
    fn seconds_with_comment_and_duration() {
        check_parses("18000;duration=3600", RetryAfter::scan, "18000;duration=3600");
        check_parses("120 (I'm (really) in a meeting)", RetryAfter::scan, "120 (I'm (really) in a meeting)");
        check_refused("949302838503028349304023988", RetryAfter::scan, 0);
        check_refused("120 (no end", RetryAfter::scan, 11);
        check_refused("120 (no end\\", RetryAfter::scan, 12);
    }
}
