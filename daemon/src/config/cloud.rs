//! `[cloud]`: the central cloud that the box's rows are sent to.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::ConfigMistake;
use crate::sync::blobs::Wanted;

/// `[cloud]`: calls, messages and everything else that the box writes down is sent to a central cloud whenever there is a
/// connection. Off unless it is wanted, and never in the way of a call.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Cloud {
    /// Whether rows are sent.
    pub enabled: bool,
    /// Where the box is claimed, as host and port. The cloud says with the certificate where to go from then on.
    pub endpoint: Option<String>,
    /// PEM file of the authorities that the cloud may be certified by; by default the public ones. A cloud that is its own
    /// authority gives this file out with the code.
    pub trust: Option<PathBuf>,
    /// File with the code that the box is claimed with when it starts, if it has not been yet; `offhook cloud claim` does the
    /// same by hand.
    pub claim_code_file: Option<PathBuf>,
    /// Which recordings are sent too: `none`, `messages` that callers left, or `all`, those of whole calls with them. They give
    /// way to calls.
    pub recordings: Wanted,
    /// Most entries of the change log, which the cloud reads; 100 bytes each. Above it the oldest go, and a line in the loss
    /// ledger says so if the cloud does not have them: the next comparison finds what they were about. 1 000 to 100 000 000.
    pub log_entries_limit: u32,
}

impl Default for Cloud {
    fn default() -> Cloud {
        // Years of a busy office without any connection.
        Cloud {
            enabled: false,
            endpoint: None,
            trust: None,
            claim_code_file: None,
            recordings: Wanted::Messages,
            log_entries_limit: 5_000_000,
        }
    }
}

/// Every mistake, each with its key.
pub(super) fn check(cloud: &Cloud, mistakes: &mut Vec<ConfigMistake>) {
    let mut mistake = |key: &str, value: &str, expected: &str| {
        mistakes.push(ConfigMistake::new(&format!("cloud.{key}"), value, expected.to_owned()));
    };
    if !(1_000..=100_000_000).contains(&cloud.log_entries_limit) {
        let value = cloud.log_entries_limit.to_string();
        mistake("log_entries_limit", &value, "a whole number from 1000 to 100000000");
    }
    match &cloud.endpoint {
        Some(endpoint) if host_and_port(endpoint).is_none() => {
            mistake("endpoint", endpoint, "a host name or address and a port, for example \"cloud.example.org:8443\"");
        }
        None if cloud.claim_code_file.is_some() => {
            mistake("endpoint", "nothing", "where the code of cloud.claim_code_file is taken");
        }
        Some(_) | None => {}
    }
}

/// Host, without the brackets of an IPv6 address, and port.
pub(crate) fn host_and_port(endpoint: &str) -> Option<(&str, u16)> {
    let (host, port) = endpoint.rsplit_once(':')?;
    let bare = host.strip_prefix('[').map_or(Some(host), |host| host.strip_suffix(']'))?;
    let is_name = !bare.is_empty() && bare.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-".contains(&byte));
    let fits = if host == bare { is_name } else { bare.parse::<std::net::Ipv6Addr>().is_ok() };
    let port = port.parse().ok().filter(|port| *port > 0)?;
    fits.then_some((bare, port))
}

#[cfg(test)]
mod tests {
    use super::super::tests::mistakes_of;
    use super::host_and_port;

    #[test]
    fn mistakes_name_their_key() {
        assert_eq!(mistakes_of("[cloud]\nenabled = true\nendpoint = 'cloud.example.org:443'"), Vec::<String>::new());
        for which in ["none", "messages", "all"] {
            assert_eq!(mistakes_of(&format!("[cloud]\nrecordings = '{which}'")), Vec::<String>::new());
        }
        for (text, key) in [
            ("endpoint = 'https://cloud.example.org'", "cloud.endpoint"),
            ("claim_code_file = '/run/code'", "cloud.endpoint"),
            ("log_entries_limit = 999", "cloud.log_entries_limit"),
            ("recordings = 'voicemails'", "cloud.recordings"),
        ] {
            let mistakes = mistakes_of(&format!("[cloud]\n{text}"));
            assert!(matches!(&mistakes[..], [mistake] if mistake.starts_with(key)), "{text}: {mistakes:?}");
        }
    }

    #[test]
    fn an_endpoint_is_a_host_and_a_port() {
        for (endpoint, expected) in [
            ("cloud.example.org:443", Some(("cloud.example.org", 443))),
            ("10.0.0.1:8443", Some(("10.0.0.1", 8_443))),
            ("[::1]:8443", Some(("::1", 8_443))),
            ("::1:8443", None),
            ("[cloud]:8443", None),
            ("cloud:0", None),
            ("cloud", None),
            (":443", None),
            ("a/b:443", None),
        ] {
            assert_eq!(host_and_port(endpoint), expected, "{endpoint}");
        }
    }
}
