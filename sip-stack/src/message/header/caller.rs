//! Who calls, by everything that says so: P-Asserted-Identity, Remote-Party-ID, From (RFC 3325, RFC 3323).

use super::super::headers::Headers;
use super::{NameAddr, Privacy};

/// The caller, as far as a trusted peer tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallerIdentity {
    /// The best address there is.
    pub address: NameAddr,
    /// Another one of the same caller, such as a `tel:` URI beside a `sip:` one.
    pub alternative: Option<NameAddr>,
    /// It may be used, but not shown to people.
    pub is_private: bool,
    /// It comes from the network and not from the caller. Worth as much as the peer that sent it.
    pub is_asserted: bool,
}

impl CallerIdentity {
    /// From a request of a peer whose word counts; for one whose word does not, look at From only.
    ///
    /// What cannot be read is passed over; `None` if From cannot be read either.
    pub fn of(headers: &Headers) -> Option<Self> {
        let privacy = Privacy::of(headers);
        let mut asserted = headers.asserted_identities().unwrap_or_default().into_iter();
        if let Some(address) = asserted.next() {
            return Some(Self { address, alternative: asserted.next(), is_private: privacy.id, is_asserted: true });
        }
        let is_calling =
            |party: &NameAddr| party.params.value("party").is_none_or(|party| party.eq_ignore_ascii_case("calling"));
        let parties = headers.remote_parties().unwrap_or_default();
        if let Some(address) = parties.into_iter().find(is_calling) {
            let hidden = address.params.value("privacy").is_some_and(|level| !level.eq_ignore_ascii_case("off"));
            let is_screened = address.params.value("screen").is_some_and(|screen| screen.eq_ignore_ascii_case("yes"));
            let is_private = hidden || privacy.id;
            return Some(Self { address, alternative: None, is_private, is_asserted: is_screened });
        }
        let address = headers.from().ok()?;
        let is_private = is_anonymous(&address) || privacy.id || privacy.user;
        Some(Self { address, alternative: None, is_private, is_asserted: false })
    }
}

/// `sip:anonymous@anonymous.invalid` and what people make of it (RFC 3323 §4.1.1.3).
fn is_anonymous(address: &NameAddr) -> bool {
    let user = address.uri.as_sip().and_then(|uri| uri.user_text()).unwrap_or_default();
    let host = address.uri.as_sip().map(|uri| uri.host.to_string()).unwrap_or_default();
    user.eq_ignore_ascii_case("anonymous") || host.eq_ignore_ascii_case("anonymous.invalid")
}

#[cfg(test)]
mod tests {
    use super::super::HeaderName;
    use super::*;

    fn identity(fields: &[(HeaderName, &str)]) -> CallerIdentity {
        let mut headers = Headers::default();
        headers.push(HeaderName::FROM, "\"Anonymous\" <sip:anonymous@anonymous.invalid>;tag=1");
        fields.iter().for_each(|(name, value)| headers.push(name.clone(), value));
        CallerIdentity::of(&headers).unwrap()
    }

    #[test]
    fn what_the_network_says_goes_before_what_the_caller_says() {
        let asserted = (HeaderName::P_ASSERTED_IDENTITY, "\"Cullen\" <sip:+1408@example.com>, <tel:+1408>");
        let party = (HeaderName::REMOTE_PARTY_ID, "<sip:+1999@example.com>;party=calling;privacy=full;screen=yes");
        let found = identity(&[party.clone(), asserted]);
        assert_eq!(found.address.uri.to_string(), "sip:+1408@example.com");
        assert_eq!(found.alternative.map(|other| other.uri.to_string()).as_deref(), Some("tel:+1408"));
        assert_eq!((found.is_asserted, found.is_private), (true, false));
        let found = identity(&[party]);
        assert_eq!((found.is_asserted, found.is_private), (true, true));
        assert_eq!(found.address.uri.to_string(), "sip:+1999@example.com");
    }

    #[test]
    fn a_caller_that_hides_stays_hidden() {
        let hidden = [(HeaderName::P_ASSERTED_IDENTITY, "<tel:+1408>"), (HeaderName::PRIVACY, "id")];
        assert!(identity(&hidden).is_private);
        assert!(identity(&[]).is_private, "by its From alone");
        let broken = (HeaderName::P_ASSERTED_IDENTITY, "<<<");
        assert!(!identity(&[broken]).is_asserted, "what cannot be read is passed over");
        let called = (HeaderName::REMOTE_PARTY_ID, "<sip:b@example.com>;party=called");
        assert!(!identity(&[called]).is_asserted);
    }
}
