//! Reason: why a request was sent (RFC 3326).

use std::fmt;

use super::super::error::ParseError;
use super::super::scan::Scan;
use super::Params;

/// One Reason value, such as `Q.850;cause=16;text="Terminated"`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReasonHeader {
    /// `SIP`, `Q.850` or another token.
    pub protocol: String,
    /// `cause`, `text` and others.
    pub params: Params,
}

impl ReasonHeader {
    /// A SIP status as the reason.
    pub fn sip(cause: u16, text: &str) -> Self {
        Self::new("SIP", cause, text)
    }

    /// A cause of the telephone network (ITU-T Q.850), such as 16.
    pub fn q850(cause: u16, text: &str) -> Self {
        Self::new("Q.850", cause, text)
    }

    fn new(protocol: &str, cause: u16, text: &str) -> Self {
        let mut params = Params::default();
        params.set("cause", cause.to_string());
        params.set_quoted("text", text);
        Self { protocol: protocol.to_owned(), params }
    }

    /// The code, in the protocol's own numbering.
    pub fn cause(&self) -> Option<u16> {
        self.params.value("cause")?.parse().ok()
    }

    /// The text for people.
    pub fn text(&self) -> Option<&str> {
        self.params.value("text")
    }

    pub(crate) fn scan(scan: &mut Scan<'_>) -> Result<Self, ParseError> {
        scan.skip_lws();
        Ok(Self { protocol: scan.token("a protocol")?.to_owned(), params: Params::scan(scan)? })
    }
}

impl fmt::Display for ReasonHeader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.protocol, self.params)
    }
}

#[cfg(test)]
mod tests {
    use super::super::check::{check_parses, parse};
    use super::*;

    #[test]
    fn cause_and_text() {
        let reason = parse("Q.850 ;cause=16 ;text=\"Terminated\"", ReasonHeader::scan);
        assert_eq!((reason.cause(), reason.text()), (Some(16), Some("Terminated")));
        check_parses(
            "SIP;cause=200;text=\"Call, completed\"",
            ReasonHeader::scan,
            "SIP;cause=200;text=\"Call, completed\"",
        );
        assert_eq!(parse("SIP;cause=70000", ReasonHeader::scan).cause(), None);
    }
}
