//! `[twilio]`: where Twilio tells this service what it does not reach a box with.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use crate::twilio::settings::is_safe_url;

/// `[twilio]`: where Twilio comes. What each tenant has there is set by `offhook-cloud twilio`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Twilio {
    /// Address and port; port 0 is any. Without it nobody is listened to.
    pub address: Option<SocketAddr>,
    /// How Twilio reaches `address`, e.g. `https://cloud.example.org`: what it signs begins with it.
    pub url: Option<String>,
    /// Whether it speaks TLS with the certificate of `[tls]`; without it HTTP, for a proxy in front.
    pub tls_enabled: bool,
    /// Where recordings are fetched.
    pub api_url: String,
}

impl Default for Twilio {
    fn default() -> Self {
        Twilio { address: None, url: None, tls_enabled: false, api_url: "https://api.twilio.com".to_owned() }
    }
}

/// Every mistake, each with its key.
pub(super) fn check(twilio: &Twilio, has_certificate: bool, mistakes: &mut Vec<String>) {
    match &twilio.url {
        None if twilio.address.is_some() => {
            mistakes
                .push("twilio.url: expected how Twilio reaches twilio.address, e.g. https://cloud.example.org".into());
        }
        Some(url) if !is_safe_url(url) || !url.starts_with("https://") => {
            mistakes.push(format!(
                "twilio.url = {url:?}: expected an address such as https://cloud.example.org, without / at its end"
            ));
        }
        Some(_) | None => {}
    }
    if !is_safe_url(&twilio.api_url) {
        mistakes
            .push(format!("twilio.api_url = {:?}: expected an address such as https://api.twilio.com", twilio.api_url));
    }
    if twilio.tls_enabled && !has_certificate {
        mistakes.push(
            "twilio.tls_enabled = true: expected tls.certificate of a public authority, since Twilio believes no other"
                .into(),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mistakes(twilio: &Twilio) -> Vec<String> {
        let mut mistakes = Vec::new();
        check(twilio, false, &mut mistakes);
        mistakes
    }

    #[test]
    fn each_mistake_names_its_key() {
        let address = Some(SocketAddr::from(([0, 0, 0, 0], 8_444)));
        let url = Some("https://cloud.example.org/hooks".to_owned());
        let right = Twilio { address, url, ..Twilio::default() };
        assert_eq!((mistakes(&Twilio::default()), mistakes(&right)), (vec![], vec![]));
        for (wrong, key) in [
            (Twilio { url: None, ..right.clone() }, "twilio.url: expected how"),
            (Twilio { url: Some("http://cloud.example.org".to_owned()), ..right.clone() }, "twilio.url = \"http:"),
            (Twilio { url: Some("https://cloud.example.org/".to_owned()), ..right.clone() }, "twilio.url = "),
            (Twilio { api_url: "ftp://x".to_owned(), ..right.clone() }, "twilio.api_url = \"ftp:"),
            (Twilio { tls_enabled: true, ..right.clone() }, "twilio.tls_enabled = true: expected tls.certificate"),
        ] {
            let said = mistakes(&wrong);
            assert!(said.len() == 1 && said[0].starts_with(key), "{said:?}");
        }
    }
}
