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
    /// Who may use the box as a server of the Model Context Protocol, at `/mcp`. Without any there is none.
    pub mcp_tokens: Vec<McpToken>,
}

/// A program that may use the box over the Model Context Protocol.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct McpToken {
    /// Whose it is, for people.
    pub name: String,
    /// SHA-256 of the token, 64 hexadecimal digits: the token itself is not kept.
    pub sha256: String,
    /// What it opens.
    pub scopes: Vec<McpScope>,
}

/// What a token opens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum McpScope {
    /// What the office's documents say.
    Knowledge,
    /// Address, hours, people and departments.
    Directory,
    /// Which calls there were, with their numbers.
    Calls,
}

impl Default for Api {
    fn default() -> Api {
        Api { enabled: false, address: IpAddr::from([127, 0, 0, 1]), port: 8_060, mcp_tokens: Vec::new() }
    }
}

/// Every mistake, each with its key.
pub(super) fn check(api: &Api, mistakes: &mut Vec<ConfigMistake>) {
    if !api.address.is_loopback() {
        let expected = "127.0.0.1 or ::1: it knows no logins, so other machines may not reach it".to_owned();
        mistakes.push(ConfigMistake::new("api.address", api.address, expected));
    }
    for (index, token) in api.mcp_tokens.iter().enumerate() {
        let mut mistake = |key: &str, value: &str, expected: &str| {
            mistakes.push(ConfigMistake::new(&format!("api.mcp_tokens[{index}].{key}"), value, expected.to_owned()));
        };
        if token.name.trim().is_empty() {
            mistake("name", "nothing", "whose token it is");
        }
        if token.sha256.len() != 64 || !token.sha256.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            mistake("sha256", &token.sha256, "64 hexadecimal digits: `printf %s TOKEN | sha256sum`");
        } else if api.mcp_tokens[..index].iter().any(|other| other.sha256.eq_ignore_ascii_case(&token.sha256)) {
            mistake("sha256", &token.sha256, "a token that nobody else has");
        }
        if token.scopes.is_empty() {
            mistake("scopes", "none", "at least one of \"knowledge\", \"directory\" and \"calls\"");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::mistakes_of;

    #[test]
    fn mistakes_in_tokens_name_their_key() {
        const HASH: &str = "0000000000000000000000000000000000000000000000000000000000000000";
        let right = format!("[[api.mcp_tokens]]\nname = 'crm'\nsha256 = '{HASH}'\nscopes = ['calls']\n");
        assert_eq!(mistakes_of(&right), Vec::<String>::new());
        for (text, key) in [
            (right.replace("crm", ""), "api.mcp_tokens[0].name"),
            (right.replace(HASH, "my-token"), "api.mcp_tokens[0].sha256"),
            (right.replace("'calls'", ""), "api.mcp_tokens[0].scopes"),
            (format!("{right}{right}"), "api.mcp_tokens[1].sha256"),
        ] {
            let mistakes = mistakes_of(&text);
            assert!(mistakes.len() == 1 && mistakes[0].starts_with(key), "{text}: {mistakes:?}");
        }
    }

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
