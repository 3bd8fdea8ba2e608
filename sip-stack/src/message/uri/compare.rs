//! When two URIs are the same (RFC 3261 §19.1.4, RFC 3966 §5).

use super::escape::decode;
use super::{SipUri, TelUri, Uri, UriParam};

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

/// User and password count their case, everything else does not. An absent port is not the default port. Not
/// transitive, says the RFC itself: a parameter only one side has is ignored, unless it is one of the four below.
impl PartialEq for SipUri {
    fn eq(&self, other: &Self) -> bool {
        let text = |part: &Option<String>| part.as_deref().map(decode);
        self.secure == other.secure
            && text(&self.user) == text(&other.user)
            && text(&self.password) == text(&other.password)
            && self.host == other.host
            && self.port == other.port
            && params_agree(self, other)
            && params_agree(other, self)
            && sorted_headers(self) == sorted_headers(other)
    }
}

impl Eq for SipUri {}

/// Parameters that matter even when only one side has them.
const DECISIVE: [&str; 4] = ["user", "ttl", "method", "maddr"];

fn params_agree(one: &SipUri, other: &SipUri) -> bool {
    one.params.iter().all(|UriParam { name, value }| {
        let name = String::from_utf8_lossy(&decode(name)).into_owned();
        match other.params.value(&name) {
            Some(theirs) => decode(value.as_deref().unwrap_or_default()).eq_ignore_ascii_case(&decode(theirs)),
            None => !DECISIVE.iter().any(|decisive| decisive.eq_ignore_ascii_case(&name)),
        }
    })
}

/// Headers always have to match; their order does not matter.
fn sorted_headers(uri: &SipUri) -> Vec<(Vec<u8>, Vec<u8>)> {
    let decoded = uri.headers.iter().map(|(name, value)| (decode(name).to_ascii_lowercase(), decode(value)));
    let mut headers: Vec<_> = decoded.collect();
    headers.sort();
    headers
}

/// Visual separators and the order of parameters do not count (RFC 3966 §5).
impl PartialEq for TelUri {
    fn eq(&self, other: &Self) -> bool {
        self.digits() == other.digits() && sorted_params(self) == sorted_params(other)
    }
}

impl Eq for TelUri {}

fn sorted_params(uri: &TelUri) -> Vec<String> {
    let mut params: Vec<_> = uri.params.split(';').map(str::to_ascii_lowercase).collect();
    params.sort();
    params
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(a: &str, b: &str, same: bool) {
        let (a, b): (Uri, Uri) = (a.parse().unwrap(), b.parse().unwrap());
        assert_eq!(a == b, same, "{a} and {b}");
        assert_eq!(b == a, same, "{b} and {a}");
    }

    /// The examples of RFC 3261 §19.1.4.
    #[test]
    fn the_rfcs_examples_of_the_same_uri() {
        check("sip:%61lice@atlanta.com;transport=TCP", "sip:alice@AtLanTa.CoM;Transport=tcp", true);
        check("sip:carol@chicago.com", "sip:carol@chicago.com;newparam=5", true);
        check("sip:carol@chicago.com", "sip:carol@chicago.com;security=on", true);
        check(
            "sip:biloxi.com;transport=tcp;method=REGISTER?to=sip:bob%40biloxi.com",
            "sip:biloxi.com;method=REGISTER;transport=tcp?to=sip:bob%40biloxi.com",
            true,
        );
        check(
            "sip:alice@atlanta.com?subject=project%20x&priority=urgent",
            "sip:alice@atlanta.com?priority=urgent&subject=project%20x",
            true,
        );
    }

    #[test]
    fn the_rfcs_examples_of_different_uris() {
        check("SIP:ALICE@AtLanTa.CoM;Transport=udp", "sip:alice@AtLanTa.CoM;Transport=UDP", false);
        check("sip:bob@biloxi.com", "sip:bob@biloxi.com:5060", false);
        check("sip:bob@biloxi.com", "sip:bob@biloxi.com;method=INVITE", false);
        check("sip:bob@biloxi.com", "sip:bob@biloxi.com:6000;transport=tcp", false);
        check("sip:carol@chicago.com", "sip:carol@chicago.com?Subject=next%20meeting", false);
        check("sip:carol@chicago.com;security=on", "sip:carol@chicago.com;security=off", false);
        check("sip:bob@phone21.boxesbybob.com", "sip:bob@192.0.2.4", false);
        check("sip:bob@biloxi.com", "sips:bob@biloxi.com", false);
    }

    #[test]
    fn telephone_numbers_compare_without_separators() {
        check("tel:+1-201-555-0123", "tel:+12015550123", true);
        check("tel:7042;phone-context=example.com;ext=1", "tel:7042;ext=1;phone-context=EXAMPLE.com", true);
        check("tel:+12015550123", "tel:12015550123", false);
    }
}
