//! Header names, their canonical spelling and their compact forms (RFC 3261 §7.3.3, §20).

use std::fmt;

/// A header's name. Compares without case, and the compact form is the same name.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct HeaderName(Name);

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Name {
    /// An index into `KNOWN`.
    Known(u8),
    /// In lower case.
    Other(Box<str>),
}

macro_rules! header_names {
    ($($constant:ident $canonical:literal $compact:literal,)*) => {
        #[expect(non_camel_case_types, clippy::upper_case_acronyms, reason = "only numbers the constants below")]
        enum Index { $($constant,)* }

        /// Canonical spelling and compact form, `""` where there is none.
        const KNOWN: &[(&str, &str)] = &[$(($canonical, $compact),)*];

        impl HeaderName {
            $(#[doc = $canonical] pub const $constant: Self = Self(Name::Known(Index::$constant as u8));)*
        }
    };
}

header_names! {
    ACCEPT "Accept" "",
    ACCEPT_CONTACT "Accept-Contact" "a",
    ACCEPT_ENCODING "Accept-Encoding" "",
    ACCEPT_LANGUAGE "Accept-Language" "",
    ALERT_INFO "Alert-Info" "",
    ALLOW "Allow" "",
    ALLOW_EVENTS "Allow-Events" "u",
    AUTHENTICATION_INFO "Authentication-Info" "",
    AUTHORIZATION "Authorization" "",
    CALL_ID "Call-ID" "i",
    CALL_INFO "Call-Info" "",
    CONTACT "Contact" "m",
    CONTENT_DISPOSITION "Content-Disposition" "",
    CONTENT_ENCODING "Content-Encoding" "e",
    CONTENT_LANGUAGE "Content-Language" "",
    CONTENT_LENGTH "Content-Length" "l",
    CONTENT_TYPE "Content-Type" "c",
    CSEQ "CSeq" "",
    DATE "Date" "",
    DIVERSION "Diversion" "",
    ERROR_INFO "Error-Info" "",
    EVENT "Event" "o",
    EXPIRES "Expires" "",
    FLOW_TIMER "Flow-Timer" "",
    FROM "From" "f",
    HISTORY_INFO "History-Info" "",
    IDENTITY "Identity" "y",
    IN_REPLY_TO "In-Reply-To" "",
    MAX_FORWARDS "Max-Forwards" "",
    MIME_VERSION "MIME-Version" "",
    MIN_EXPIRES "Min-Expires" "",
    MIN_SE "Min-SE" "",
    ORGANIZATION "Organization" "",
    P_ASSERTED_IDENTITY "P-Asserted-Identity" "",
    P_PREFERRED_IDENTITY "P-Preferred-Identity" "",
    PATH "Path" "",
    PRIORITY "Priority" "",
    PRIVACY "Privacy" "",
    PROXY_AUTHENTICATE "Proxy-Authenticate" "",
    PROXY_AUTHORIZATION "Proxy-Authorization" "",
    PROXY_REQUIRE "Proxy-Require" "",
    RACK "RAck" "",
    REASON "Reason" "",
    RECORD_ROUTE "Record-Route" "",
    REFER_SUB "Refer-Sub" "",
    REFER_TO "Refer-To" "r",
    REFERRED_BY "Referred-By" "b",
    REMOTE_PARTY_ID "Remote-Party-ID" "",
    REPLACES "Replaces" "",
    REPLY_TO "Reply-To" "",
    REQUIRE "Require" "",
    RETRY_AFTER "Retry-After" "",
    ROUTE "Route" "",
    RSEQ "RSeq" "",
    SERVER "Server" "",
    SERVICE_ROUTE "Service-Route" "",
    SESSION_EXPIRES "Session-Expires" "x",
    SUBJECT "Subject" "s",
    SUBSCRIPTION_STATE "Subscription-State" "",
    SUPPORTED "Supported" "k",
    TIMESTAMP "Timestamp" "",
    TO "To" "t",
    UNSUPPORTED "Unsupported" "",
    USER_AGENT "User-Agent" "",
    VIA "Via" "v",
    WARNING "Warning" "",
    WWW_AUTHENTICATE "WWW-Authenticate" "",
}

impl HeaderName {
    /// The name with this spelling, long or compact, in whatever case.
    pub fn new(spelling: &str) -> Self {
        let is_same = |(canonical, compact): &(&str, &str)| {
            spelling.eq_ignore_ascii_case(canonical) || (!compact.is_empty() && spelling.eq_ignore_ascii_case(compact))
        };
        match KNOWN.iter().position(is_same) {
            // The table is far shorter than 256.
            Some(index) => Self(Name::Known(index as u8)),
            None => Self(Name::Other(spelling.to_ascii_lowercase().into())),
        }
    }

    /// The spelling of the RFC; lower case for a header we do not know.
    pub fn as_str(&self) -> &str {
        match &self.0 {
            Name::Known(index) => KNOWN[usize::from(*index)].0,
            Name::Other(name) => name,
        }
    }

    /// The same for error messages, which hold no text of the peer.
    pub(crate) fn label(&self) -> &'static str {
        match &self.0 {
            Name::Known(index) => KNOWN[usize::from(*index)].0,
            Name::Other(_) => "unknown header",
        }
    }
}

impl fmt::Display for HeaderName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_compact_and_odd_spellings_are_one_name() {
        for spelling in ["Call-ID", "call-id", "CALL-ID", "i", "I"] {
            assert_eq!(HeaderName::new(spelling), HeaderName::CALL_ID);
        }
        assert_eq!(HeaderName::new("X-Twilio-CallSid"), HeaderName::new("x-twilio-callsid"));
        assert_ne!(HeaderName::new("C%6Fntact"), HeaderName::CONTACT);
    }

    #[test]
    fn no_spelling_means_two_headers() {
        let spellings = KNOWN.iter().flat_map(|(canonical, compact)| [*canonical, *compact]);
        let mut seen: Vec<_> = spellings.filter(|spelling| !spelling.is_empty()).map(str::to_ascii_lowercase).collect();
        let all = seen.len();
        seen.sort();
        seen.dedup();
        assert_eq!(seen.len(), all);
    }
}
