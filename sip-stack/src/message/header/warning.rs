//! Warning: more about a response, often about SDP (RFC 3261 §20.43).

use std::fmt;

use super::super::error::ParseError;
use super::super::scan::{Scan, is_lws, quote, text};

/// One Warning value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Warning {
    /// Three digits; 3xx are about session descriptions.
    pub code: u16,
    /// Who warns: a host or a pseudonym.
    pub agent: String,
    /// For people.
    pub text: String,
}

impl Warning {
    pub(crate) fn scan(scan: &mut Scan<'_>) -> Result<Self, ParseError> {
        scan.skip_lws();
        // At most 999, so nothing is cut off.
        let code = scan.number(999)? as u16;
        scan.skip_lws();
        let agent = text(scan.take_while(|byte| !is_lws(byte) && byte != b'"' && byte != b','));
        if agent.is_empty() {
            return Err(scan.expected("a warning agent"));
        }
        scan.skip_lws();
        Ok(Self { code, agent, text: scan.quoted_string()? })
    }
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:03} {} {}", self.code, self.agent, quote(&self.text))
    }
}

#[cfg(test)]
mod tests {
    use super::super::check::{check_parses, check_refused};
    use super::*;

    #[test]
    fn code_agent_and_text() {
        check_parses("370 devnull \"Choose a bigger pipe\"", Warning::scan, "370 devnull \"Choose a bigger pipe\"");
        check_parses("307 isi.edu:5060  \"a \\\"b\\\"\"", Warning::scan, "307 isi.edu:5060 \"a \\\"b\\\"\"");
        check_refused("1812 overture \"In Progress\"", Warning::scan, 0);
    }
}
