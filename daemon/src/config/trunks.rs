//! `[[trunks]]`: the carriers that bring calls and take them.
//!
//! Addresses, numbers and ranges are configuration, never code: carriers change them.

use std::collections::BTreeSet;
use std::path::PathBuf;

use anyhow::Context as _;
use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use sip_stack::endpoint::Transport;

use super::ConfigMistake;
use crate::dial_plan::is_e164;

/// One carrier.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Trunk {
    /// For rows, log and status: 1 to 32 of `a-z`, `0-9`, `-` and `_`.
    pub name: String,
    /// How this carrier behaves.
    pub profile: TrunkProfile,
    /// Where its signalling comes from. Requests from elsewhere are nobody's.
    pub sources: Vec<IpNet>,
    /// Our numbers on it, in E.164 with +.
    pub numbers: Vec<String>,
    /// Hosts that take our calls, in the order of preference. One with a port is called there; one without at the ports
    /// that its SRV records say, if it has any. Empty: the trunk only brings calls.
    pub hosts: Vec<String>,
    /// What stands in the Request-URI after the @; by default the first host.
    pub domain: Option<String>,
    /// How our requests are sent. By default as the hosts' NAPTR records prefer, and by UDP where there are none.
    pub transport: Option<TrunkTransport>,
    /// Secure trunking: signalling by TLS only, sound by SRTP only, both ways.
    pub secure: bool,
    /// Who we say we are when asked.
    pub username: Option<String>,
    /// The file with the password, one line. A relative path is looked up in systemd's credentials.
    pub password_file: Option<PathBuf>,
    /// The number that called people see, unless the extension has its own; by default the first of `numbers`.
    pub caller_id: Option<String>,
    /// Calls at the same time, both ways. 1 to 1 000; by default as many as the box takes.
    pub concurrent_limit: Option<u32>,
    /// How often its health is asked for with OPTIONS. 15 to 3 600, and never by default: carriers ban who asks too
    /// often.
    pub options_interval_seconds: Option<u32>,
    /// Calls of this carrier that go on to a number outside are given back to it with REFER, instead of taking two lines
    /// for as long as they last; what is said then is neither recorded nor counted. Not by default: Twilio wants "Call
    /// Transfer" enabled for the trunk.
    pub transfers_by_refer: bool,
    /// Registers with the carrier, for those that want that. Twilio's trunks do not.
    pub registration: Option<TrunkRegistration>,
}

/// How a carrier behaves beyond the RFCs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TrunkProfile {
    /// By the book.
    #[default]
    Generic,
    /// Twilio Elastic SIP Trunking: never registers, speaks re-INVITE but neither UPDATE nor PRACK nor session timers.
    Twilio,
}

/// How requests of ours reach a carrier.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TrunkTransport {
    /// Datagrams.
    Udp,
    /// A connection.
    Tcp,
    /// An encrypted connection.
    Tls,
}

impl From<TrunkTransport> for Transport {
    fn from(transport: TrunkTransport) -> Transport {
        match transport {
            TrunkTransport::Udp => Transport::Udp,
            TrunkTransport::Tcp => Transport::Tcp,
            TrunkTransport::Tls => Transport::Tls,
        }
    }
}

/// `[trunks.registration]`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TrunkRegistration {
    /// How long a registration is asked to hold. 60 to 86 400.
    pub expires_seconds: u32,
}

impl Default for TrunkRegistration {
    fn default() -> TrunkRegistration {
        TrunkRegistration { expires_seconds: 3_600 }
    }
}

impl Trunk {
    /// What stands after the @ of those we call through it.
    pub fn domain(&self) -> &str {
        self.domain.as_deref().or_else(|| self.hosts.first().map(String::as_str)).unwrap_or_default()
    }

    /// The password of the file, without its line end.
    ///
    /// # Errors
    /// A file that cannot be read or is empty, with its path.
    pub fn password(&self) -> anyhow::Result<Option<String>> {
        let Some(file) = &self.password_file else { return Ok(None) };
        let folder = std::env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from).unwrap_or_default();
        let path = folder.join(file);
        let text = std::fs::read_to_string(&path)
            .with_context(|| format!("the password of trunk {} cannot be read from {}", self.name, path.display()))?;
        let password = text.trim_end_matches(['\r', '\n']);
        anyhow::ensure!(!password.is_empty(), "{} has no password for trunk {}", path.display(), self.name);
        Ok(Some(password.to_owned()))
    }

    /// The number shown to those we call, in E.164.
    pub fn caller_id(&self) -> Option<&str> {
        self.caller_id.as_deref().or_else(|| self.numbers.first().map(String::as_str))
    }
}

/// Every mistake in the trunks, each with its key.
pub(super) fn check(trunks: &[Trunk], tls_enabled: bool, mistakes: &mut Vec<ConfigMistake>) {
    let mut names = BTreeSet::new();
    for (index, trunk) in trunks.iter().enumerate() {
        let mut mistake = |key: &str, value: String, expected: &str| {
            mistakes.push(ConfigMistake::new(&format!("trunks[{index}].{key}"), value, expected.to_owned()));
        };
        if !is_name(&trunk.name) {
            mistake("name", format!("{:?}", trunk.name), "1 to 32 of a-z, 0-9, - and _");
        } else if !names.insert(&trunk.name) {
            mistake("name", trunk.name.clone(), "a name that no other trunk has");
        }
        if trunk.sources.is_empty() && trunk.hosts.is_empty() {
            mistake(
                "sources",
                "nothing".into(),
                "the carrier's signalling addresses, or hosts that take calls, or both",
            );
        }
        for number in trunk.numbers.iter().chain(&trunk.caller_id).filter(|number| !is_e164(number)) {
            let key = if trunk.numbers.contains(number) { "numbers" } else { "caller_id" };
            mistake(key, number.clone(), "E.164 with +, such as +12125550142");
        }
        for host in trunk.hosts.iter().chain(&trunk.domain).filter(|host| !is_host(host)) {
            let key = if trunk.hosts.contains(host) { "hosts" } else { "domain" };
            mistake(key, format!("{host:?}"), "a host name or address, with :port if it is not the usual one");
        }
        if trunk.secure && trunk.transport != Some(TrunkTransport::Tls) {
            mistake("transport", "not tls".into(), "\"tls\", because secure = true");
        }
        if trunk.transport == Some(TrunkTransport::Tls) && !tls_enabled {
            mistake("transport", "tls".into(), "sip.tls.enabled = true with it");
        }
        if trunk.username.is_some() != trunk.password_file.is_some() {
            mistake("password_file", "half of the credentials".into(), "username and password_file, or neither");
        }
        if let Some(limit) = trunk.concurrent_limit.filter(|limit| !(1..=1_000).contains(limit)) {
            mistake("concurrent_limit", limit.to_string(), "a whole number from 1 to 1000");
        }
        if let Some(seconds) = trunk.options_interval_seconds.filter(|seconds| !(15..=3_600).contains(seconds)) {
            mistake("options_interval_seconds", seconds.to_string(), "a whole number from 15 to 3600");
        }
        if let Some(registration) = &trunk.registration {
            if trunk.profile == TrunkProfile::Twilio {
                mistake("registration", "a registration".into(), "none: this carrier's trunks do not take any");
            }
            if trunk.hosts.is_empty() || trunk.username.is_none() {
                mistake("registration", "no hosts or no username".into(), "hosts and username to register with");
            }
            if !(60..=86_400).contains(&registration.expires_seconds) {
                let seconds = registration.expires_seconds.to_string();
                mistake("registration.expires_seconds", seconds, "a whole number from 60 to 86400");
            }
        }
    }
}

/// Names of trunks, groups and the like.
pub(super) fn is_name(name: &str) -> bool {
    (1..=32).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'_'))
}

/// A host name or an address, with or without a port.
pub(super) fn is_host(host: &str) -> bool {
    sip_stack::message::Uri::parse(format!("sip:{host}").as_bytes())
        .is_ok_and(|uri| uri.as_sip().is_some_and(|sip| sip.user.is_none() && sip.params.iter().next().is_none()))
}

#[cfg(test)]
mod tests {
    use super::super::tests::mistakes_of;

    const RIGHT: &str = "[[trunks]]\nname = 'twilio'\nprofile = 'twilio'\nsources = ['192.0.2.0/30', '2001:db8::/64']\n\
        numbers = ['+12125550142']\nhosts = ['office.pstn.example.com', '192.0.2.9:5070']\n";

    #[test]
    fn a_trunk_like_the_manual_shows_is_right() {
        assert_eq!(mistakes_of(RIGHT), Vec::<String>::new());
    }

    #[test]
    fn mistakes_name_their_trunk_and_key() {
        for (line, key) in [
            ("name = 'Has Blanks'", "trunks[1].name"),
            ("name = 'twilio'", "trunks[1].name"),
            ("name = 'b'\nnumbers = ['555 0142']", "trunks[1].numbers"),
            ("name = 'b'\ncaller_id = '2125550142'", "trunks[1].caller_id"),
            ("name = 'b'\nhosts = ['sip:a@b']", "trunks[1].hosts"),
            ("name = 'b'\nsecure = true", "trunks[1].transport"),
            ("name = 'b'\ntransport = 'tls'", "trunks[1].transport"),
            ("name = 'b'\nusername = 'me'", "trunks[1].password_file"),
            ("name = 'b'\nconcurrent_limit = 0", "trunks[1].concurrent_limit"),
            ("name = 'b'\noptions_interval_seconds = 5", "trunks[1].options_interval_seconds"),
            ("name = 'b'\nregistration = {}", "trunks[1].registration"),
        ] {
            let mistakes = mistakes_of(&format!("{RIGHT}[[trunks]]\nsources = ['198.51.100.0/24']\n{line}\n"));
            assert_eq!(mistakes.len(), 1, "{line}: {mistakes:?}");
            assert!(mistakes[0].starts_with(key), "{line}: {mistakes:?}");
        }
        let mistakes = mistakes_of("[[trunks]]\nname = 'a'\n");
        assert!(mistakes[0].starts_with("trunks[0].sources"), "{mistakes:?}");
    }
}
