//! `tel:` URIs (RFC 3966).

use std::fmt;

use super::super::error::ParseError;
use super::super::scan::{Scan, text};

/// A telephone number as an address.
#[derive(Debug, Clone)]
pub struct TelUri {
    /// As it was written, with `+` if it is global, and visual separators.
    pub number: String,
    /// Everything from the first semicolon on, such as `;phone-context=example.com`. Empty if there is none.
    pub params: String,
}

impl TelUri {
    /// Is it a full E.164 number with its country code?
    pub fn is_global(&self) -> bool {
        self.number.starts_with('+')
    }

    /// The number without visual separators (RFC 3966 §5.1.1), in lower case.
    pub fn digits(&self) -> String {
        self.number.chars().filter(|digit| !"-.()".contains(*digit)).collect::<String>().to_ascii_lowercase()
    }

    /// Reads what follows the scheme, to the end.
    pub(super) fn scan(scan: &mut Scan<'_>) -> Result<Self, ParseError> {
        let number = scan.take_while(|byte| byte.is_ascii_hexdigit() || b"+*#-.()".contains(&byte));
        let number = text(number);
        if !number.bytes().any(|byte| byte.is_ascii_hexdigit() || b"*#".contains(&byte)) {
            return Err(scan.expected("a telephone number"));
        }
        let params = if scan.peek() == Some(b';') {
            text(scan.take_while(|byte| byte > b' ' && byte != 0x7f && !b"<>\",".contains(&byte)))
        } else {
            String::new()
        };
        if scan.is_at_end() { Ok(Self { number, params }) } else { Err(scan.expected("the end of the number")) }
    }
}

impl fmt::Display for TelUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "tel:{}{}", self.number, self.params)
    }
}

#[cfg(test)]
mod tests {
    use super::super::Uri;
    use super::*;

    fn parse(text: &str) -> Option<TelUri> {
        match text.parse().ok()? {
            Uri::Tel(uri) => Some(uri),
            Uri::Sip(_) | Uri::Other(_) => None,
        }
    }

    #[test]
    fn global_and_local_numbers() {
        let global = parse("tel:+1-201-555-0123").unwrap();
        assert!(global.is_global());
        assert_eq!(global.digits(), "+12015550123");
        let local = parse("tel:*97#;phone-context=example.com").unwrap();
        assert_eq!((local.digits().as_str(), local.params.as_str()), ("*97#", ";phone-context=example.com"));
        assert!(parse("tel:").is_none() && parse("tel:-").is_none() && parse("tel:+1 2").is_none());
    }
}
