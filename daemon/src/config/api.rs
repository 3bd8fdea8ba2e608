//! `[api]`: the HTTP interface.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::ConfigMistake;

/// `[api]`: for programs of this machine, which may see and hear the calls that are up. Off unless it is wanted: it asks
/// nobody for a password, so every user of this machine may use it.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Api {
    /// Whether it is served.
    pub enabled: bool,
    /// A loopback address.
    pub address: IpAddr,
    /// Its TCP port; 0 takes any free one and the log says which.
    pub port: u16,
}

impl Default for Api {
    fn default() -> Api {
        Api { enabled: false, address: IpAddr::from([127, 0, 0, 1]), port: 8_060 }
    }
}

/// Every mistake, each with its key.
pub(super) fn check(api: &Api, mistakes: &mut Vec<ConfigMistake>) {
    if !api.address.is_loopback() {
        let expected = "127.0.0.1 or ::1: it knows no logins, so other machines may not reach it".to_owned();
        mistakes.push(ConfigMistake::new("api.address", api.address, expected));
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::mistakes_of;

    #[test]
    fn other_machines_may_not_reach_it() {
        for address in ["127.0.0.1", "::1"] {
            assert_eq!(mistakes_of(&format!("[api]\naddress = '{address}'\n")), Vec::<String>::new());
        }
        for address in ["0.0.0.0", "192.168.1.2", "::"] {
            let mistakes = mistakes_of(&format!("[api]\nenabled = true\naddress = '{address}'\n"));
            assert!(mistakes.len() == 1 && mistakes[0].starts_with("api.address"), "{mistakes:?}");
        }
    }
}
