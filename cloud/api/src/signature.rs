//! Whether a request comes from Twilio: its `X-Twilio-Signature`.
//!
//! It is the HMAC-SHA1 under the account's token, in Base64, over the address the request was sent to, followed by each
//! parameter of the form in the order of the names, name and value without anything between them (TWILIO.md; "Validating
//! requests" in Twilio's documentation). Where the port is the usual one the address is signed with or without it.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use ring::hmac;

/// What the service signs with.
#[derive(Clone)]
pub struct Signer(hmac::Key);

impl Signer {
    /// `token` is the account's, not an API key's secret.
    pub fn new(token: &str) -> Signer {
        Signer(hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, token.as_bytes()))
    }

    /// Whether `signature` is that of a form which was sent to `url`. Takes the same time whatever is wrong with it.
    pub fn is_right(&self, signature: &str, url: &str, form: &[(String, String)]) -> bool {
        let Ok(signature) = BASE64_STANDARD.decode(signature) else { return false };
        let tail = tail(form);
        let mut is_right = false;
        for url in [Some(url.to_owned()), other_port(url)].into_iter().flatten() {
            is_right |= hmac::verify(&self.0, format!("{url}{tail}").as_bytes(), &signature).is_ok();
        }
        is_right
    }

    /// The signature of such a request: for whoever stands in for the service.
    pub fn sign(&self, url: &str, form: &[(String, String)]) -> String {
        BASE64_STANDARD.encode(hmac::sign(&self.0, format!("{url}{}", tail(form)).as_bytes()))
    }
}

fn tail(form: &[(String, String)]) -> String {
    let mut sorted: Vec<_> = form.iter().collect();
    sorted.sort();
    sorted.iter().map(|(name, value)| format!("{name}{value}")).collect()
}

/// The same address with the usual port written out, or left out.
fn other_port(url: &str) -> Option<String> {
    let (scheme, rest) = url.split_once("://")?;
    let port = match scheme {
        "https" => ":443",
        "http" => ":80",
        _ => return None,
    };
    let (authority, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
    Some(match authority.strip_suffix(port) {
        Some(host) => format!("{scheme}://{host}{path}"),
        None if !authority.ends_with(']') && authority.contains(':') => return None,
        None => format!("{scheme}://{authority}{port}{path}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const URL: &str = "https://mycompany.com/myapp.php?foo=1&bar=2";

    fn form(number: &str) -> Vec<(String, String)> {
        let pairs = [
            ("CallSid", "CA1234567890ABCDE"),
            ("Digits", "1234"),
            ("To", "+18005551212"),
            ("From", number),
            ("Caller", number),
        ];
        pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec()
    }

    /// The two that Twilio has published, and everything that is not them.
    #[test]
    fn the_published_signatures_are_right_and_nothing_else_is() {
        let signer = Signer::new("12345");
        let published =
            [("+14158675309", "RSOYDt4T1cUTdK1PDd93/VVr8B8="), ("+12349013030", "0/KCTR6DLpKmkAf8muzZqo1nDgQ=")];
        for (number, signature) in published {
            assert_eq!(signer.sign(URL, &form(number)), signature);
            assert!(signer.is_right(signature, URL, &form(number)));
            assert!(!signer.is_right(signature, URL, &form("+14158675308")));
            assert!(!signer.is_right(signature, "https://mycompany.com/myapp.php?foo=1&bar=3", &form(number)));
            assert!(!Signer::new("12346").is_right(signature, URL, &form(number)));
            assert!(!signer.is_right("", URL, &form(number)) && !signer.is_right("?", URL, &form(number)));
        }
    }

    #[test]
    fn the_usual_port_may_be_written_or_not() {
        let (signer, form) = (Signer::new("t"), form("+1"));
        for (signed, asked, expected) in [
            ("https://a.example:443/b", "https://a.example/b", true),
            ("https://a.example/b", "https://a.example:443/b", true),
            ("http://a.example:80", "http://a.example", true),
            ("https://a.example:8443/b", "https://a.example/b", false),
            ("https://a.example:80/b", "https://a.example/b", false),
        ] {
            let signature = signer.sign(signed, &form);
            assert_eq!(signer.is_right(&signature, asked, &form), expected, "{signed} {asked}");
        }
    }
}
