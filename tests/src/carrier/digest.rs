//! Digest authentication as the carrier asks for it: MD5, `qop=auth`, by 407 (RFC 7616 §3.4).

use md5::{Digest as _, Md5};

use super::message::Message;

/// What the challenge says.
pub(super) const REALM: &str = "sip.twilio.com";

/// The header of the challenge.
pub(super) fn challenge(nonce: &str) -> String {
    format!("Digest realm=\"{REALM}\",qop=\"auth\",nonce=\"{nonce}\",algorithm=MD5")
}

/// Whether the request carries the right answer to `nonce`; what is wrong with it otherwise.
pub(super) fn verify(request: &Message, nonce: &str, username: &str, password: &str) -> Result<(), String> {
    let header = request.header("Proxy-Authorization");
    let fields = header.strip_prefix("Digest ").ok_or_else(|| format!("no digest: {header:?}"))?;
    let field = |name: &str| {
        let found = fields.split(',').filter_map(|field| field.trim().split_once('=')).find(|(key, _)| *key == name);
        found.map_or("", |(_, value)| value.trim_matches('"'))
    };
    let wanted = [
        ("username", username),
        ("realm", REALM),
        ("nonce", nonce),
        ("uri", request.uri()),
        ("qop", "auth"),
        ("nc", "00000001"),
    ];
    for (name, value) in wanted {
        if field(name) != value {
            return Err(format!("{name} of the digest is {:?}, not {value:?}", field(name)));
        }
    }
    let method = request.method().unwrap_or_default();
    let who = md5_of(&format!("{username}:{REALM}:{password}"));
    let what = md5_of(&format!("{method}:{}", request.uri()));
    let right = md5_of(&format!("{who}:{nonce}:{}:{}:auth:{what}", field("nc"), field("cnonce")));
    (field("response") == right).then_some(()).ok_or_else(|| "a wrong password".to_owned())
}

fn md5_of(text: &str) -> String {
    Md5::digest(text).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 2617 §3.5 hashes these parts to this.
    #[test]
    fn hashes_are_those_of_the_rfc() {
        let who = md5_of("Mufasa:testrealm@host.com:Circle Of Life");
        let what = md5_of("GET:/dir/index.html");
        let nonce = "dcd98b7102dd2f0e8b11d0f600bfb0c093";
        let response = md5_of(&format!("{who}:{nonce}:00000001:0a4f113b:auth:{what}"));
        assert_eq!(response, "6629fae49393a05397450978507c4ef1");
    }
}
