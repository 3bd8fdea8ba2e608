//! What may be configured: keys, defaults, ranges, units, and every mistake reported at once.
//!
//! One TOML file; environment variables override the file (`OFFHOOK__SIP__PORT=5070` sets `sip.port`); `--set` on
//! the command line overrides both. All of it is parsed before any port is bound: an unknown key or a value out of
//! range is a mistake with its key, what it was and what was expected, and the process exits with 78 (`EX_CONFIG`).
//!
//! Left out on purpose: secrets. They arrive as files through systemd's `LoadCredential`, never as values here.

mod api;
mod backup;
mod cloud;
mod dial_plan;
mod escalation;
mod features;
mod language_model;
mod machine;
mod mailboxes;
mod mcp;
mod mistakes;
mod notices;
mod persona;
mod recording;
mod sources;
mod tls;
mod trunks;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use sip_stack::digest::Hash;

pub use api::{Api, McpScope, McpToken};
pub use backup::{Backup, CLOUD, is_cloud};
pub use cloud::Cloud;
pub(crate) use cloud::host_and_port;
pub use dial_plan::{Extension, Inbound, Outbound, RingGroup, RingStrategy, RingTimeout, When};
pub use escalation::{Escalation, EscalationTopic};
pub use features::{Features, LocalAudio, Queue};
pub use language_model::LanguageModel;
pub(crate) use machine::is_web_address;
pub use machine::{Machine, Programs, Update};
pub use mailboxes::{Mailbox, MailboxGreeting};
pub use mcp::{McpServer, McpTool, ToolScope};
pub use mistakes::{ConfigMistake, ConfigMistakes};
pub use notices::{Email, MailEncryption, Notices, PersonalData, Sms, Webhook};
pub use persona::Persona;
pub use recording::Recording;
pub use tls::{SrtpUse, Tls};
pub use trunks::{Trunk, TrunkProfile, TrunkRegistration, TrunkTransport};

use crate::fleet::{Ledger, desired};
use crate::office::{Office, OfficeConfig};

/// Exit status for a configuration that cannot be used (`EX_CONFIG` of sysexits.h; the unit does not restart on it).
pub const EXIT_CONFIG: u8 = 78;

/// Everything that may be configured.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Signalling.
    pub sip: Sip,
    /// The carriers.
    pub trunks: Vec<Trunk>,
    /// The office's phones.
    pub extensions: Vec<Extension>,
    /// Phones that ring for the same calls.
    pub ring_groups: Vec<RingGroup>,
    /// Callers who wait for whoever is free.
    pub queues: Vec<Queue>,
    /// Messages apart from those of the office.
    pub mailboxes: Vec<Mailbox>,
    /// As whom the box speaks.
    pub persona: Persona,
    /// Who finds words for answers.
    pub language_model: LanguageModel,
    /// Whose tools may be used during a call.
    pub mcp_servers: Vec<McpServer>,
    /// What phones dial for what is no call.
    pub features: Features,
    /// The sound card of the box itself.
    pub local_audio: LocalAudio,
    /// Where calls from outside go.
    pub inbound: Vec<Inbound>,
    /// What phones may call.
    pub outbound: Outbound,
    /// Media ports.
    pub media: Media,
    /// Limits on calls.
    pub calls: Calls,
    /// Which calls are kept as sound.
    pub recording: Recording,
    /// Where state lives.
    pub storage: Storage,
    /// Speech and language models.
    pub models: Models,
    /// Times that shape the talk with a caller.
    pub conversation: Conversation,
    /// Where the office's knowledge files lie.
    pub knowledge: Knowledge,
    /// The HTTP interface.
    pub api: Api,
    /// When callers are given to a person.
    pub escalation: Escalation,
    /// What people are told of messages and promises, and when.
    pub notices: Notices,
    /// By e-mail.
    pub email: Email,
    /// At a web address.
    pub webhook: Webhook,
    /// By text message.
    pub sms: Sms,
    /// The central cloud.
    pub cloud: Cloud,
    /// Sealed copies.
    pub backup: Backup,
    /// Updates of the whole box.
    pub update: Update,
    /// What belongs to the machine rather than to the daemon.
    pub machine: Machine,
    /// What the box logs and where to.
    pub log: Log,
    /// The office that is answered for: name, hours, address, people.
    pub office: OfficeConfig,
    /// Where all of it comes from.
    #[serde(skip)]
    pub origin: Origin,
}

/// Where a configuration was read from, to read it again with something more.
#[derive(Debug, Clone, Default)]
pub struct Origin {
    file: Option<PathBuf>,
    overrides: Vec<String>,
}

impl Origin {
    /// The same configuration with these sections over those of the file; the environment and the command line stay above.
    ///
    /// # Errors
    /// All mistakes, as [`Config::load`].
    pub fn load_with(&self, sections: toml::Table) -> Result<Config, ConfigMistakes> {
        let environment = std::env::vars_os();
        let (table, mut mistakes) = sources::merged(self.file.as_deref(), sections, environment, &self.overrides);
        let config = sources::deserialize(table, &mut mistakes);
        config.check(&mut mistakes);
        if mistakes.is_empty() { Ok(Config { origin: self.clone(), ..config }) } else { Err(ConfigMistakes(mistakes)) }
    }

    /// Where state lives, whatever else is wrong.
    fn state_directory(&self) -> PathBuf {
        let (table, _) =
            sources::merged(self.file.as_deref(), toml::Table::new(), std::env::vars_os(), &self.overrides);
        let directory = table.get("storage").and_then(|storage| storage.get("directory")).and_then(toml::Value::as_str);
        let storage = Storage { directory: directory.map(PathBuf::from) };
        Config { storage, ..Config::default() }.state_directory()
    }

    /// The file, if there is one.
    pub fn file(&self) -> Option<&Path> {
        self.file.as_deref()
    }

    /// For another process of ours.
    pub fn as_arguments(&self) -> Vec<std::ffi::OsString> {
        let file = self.file.iter().flat_map(|path| ["--config".into(), path.clone().into_os_string()]);
        let overrides = self.overrides.iter().flat_map(|entry| ["--set".into(), entry.into()]);
        file.chain(overrides).collect()
    }
}

/// `[sip]`: where calls come in.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Sip {
    /// Address the UDP and TCP listeners bind to.
    ///
    /// Loopback by default: a box that nobody has set up must not answer the internet. `0.0.0.0` is every address of
    /// this machine.
    pub address: IpAddr,
    /// Port of both listeners; 0 takes any free one and the log says which.
    pub port: u16,
    /// Address that peers can reach, written into Contact and SDP. Defaults to `address`, and to
    /// whichever address leads to the peer where that is `0.0.0.0`.
    pub public_address: Option<IpAddr>,
    /// Server that says under which address it sees us, where `public_address` is not known or changes (STUN): a host name
    /// or address, with :port if it is not 3478. The router has to forward our ports under the same numbers.
    pub stun_server: Option<String>,
    /// How often it is asked. 1 to 3 600.
    pub stun_interval_seconds: u32,
    /// Whether TCP is served beside UDP.
    pub tcp_enabled: bool,
    /// TLS beside both.
    pub tls: Tls,
    /// Networks whose hosts may call without being known: test callers, the box itself, an exchange of the office's own.
    pub guests: Vec<IpNet>,
    /// Networks where phones may be. From elsewhere there is no answer at all, not even a refusal.
    pub phone_networks: Vec<IpNet>,
    /// Told to phones that are asked for their password; a part of what is kept of each password.
    pub realm: String,
    /// How phones may prove that they know their password, the best first. By default only MD5, with passwords that are
    /// random: phones that never heard of SHA-256 ought to pass over it (RFC 8760 §2.4), and give up instead.
    pub digest_hashes: Vec<DigestHash>,
}

/// A hash function of digest authentication (RFC 7616).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DigestHash {
    /// SHA-256.
    Sha256,
    /// MD5.
    Md5,
}

impl From<DigestHash> for Hash {
    fn from(hash: DigestHash) -> Hash {
        match hash {
            DigestHash::Sha256 => Hash::Sha256,
            DigestHash::Md5 => Hash::Md5,
        }
    }
}

impl Default for Sip {
    fn default() -> Sip {
        Sip {
            address: IpAddr::from([127, 0, 0, 1]),
            port: 5060,
            public_address: None,
            stun_server: None,
            stun_interval_seconds: 60,
            tcp_enabled: true,
            guests: networks(&["127.0.0.0/8", "::1/128"]),
            // Where an office's own phones are: loopback, RFC 1918, RFC 3927, RFC 4193, RFC 4291.
            phone_networks: networks(&[
                "127.0.0.0/8",
                "10.0.0.0/8",
                "172.16.0.0/12",
                "192.168.0.0/16",
                "169.254.0.0/16",
                "::1/128",
                "fc00::/7",
                "fe80::/10",
            ]),
            realm: "offhook".into(),
            digest_hashes: vec![DigestHash::Md5],
            tls: Tls::default(),
        }
    }
}

impl Sip {
    fn check_stun(&self, mistakes: &mut Vec<ConfigMistake>) {
        let Some(server) = &self.stun_server else { return };
        let expected = match (trunks::is_host(server), self.public_address) {
            (false, _) => "a host name or address, with :port if it is not 3478",
            (true, Some(_)) => "no server, because sip.public_address says the address; or no sip.public_address",
            (true, None) => return,
        };
        mistakes.push(ConfigMistake::new("sip.stun_server", server, expected.into()));
    }
}

fn networks(list: &[&str]) -> Vec<IpNet> {
    list.iter().filter_map(|network| network.parse().ok()).collect()
}

/// `[media]`: RTP ports.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Media {
    /// First UDP port for RTP; even (RFC 3550 §11).
    pub first_port: u16,
    /// Last UDP port for RTP.
    pub last_port: u16,
    /// A call that receives no RTP for this long is ended. 5 to 600.
    pub no_rtp_timeout_seconds: u32,
    /// `never`, `accepted` or `required`: whether the sound of calls is encrypted.
    pub srtp: SrtpUse,
    /// Whether phones of the office may talk in Opus and G.722, which sound better than a telephone.
    pub wideband_enabled: bool,
}

impl Default for Media {
    fn default() -> Media {
        Media {
            first_port: 20_000,
            last_port: 21_999,
            no_rtp_timeout_seconds: 30,
            srtp: SrtpUse::Accepted,
            wideband_enabled: true,
        }
    }
}

/// `[calls]`: how many and how long.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Calls {
    /// Calls at the same time, whoever talks; the next one gets 503 with Retry-After, so that the carrier goes elsewhere.
    pub concurrent_limit: u32,
    /// Of these, calls that the box itself talks with; the next one gets 503 too. 1 to 1 000.
    pub attendant_limit: u32,
    /// What Retry-After says then.
    pub retry_after_seconds: u32,
    /// Calls still running this long after a stop was asked for are ended.
    pub drain_seconds: u32,
    /// How long a caller hears ringing before the box picks up. 0 to 60 000.
    pub ring_milliseconds: u32,
    /// A WAV file for people on hold, up to ten minutes; without it they hear a few quiet notes.
    pub hold_music_file: Option<PathBuf>,
}

impl Default for Calls {
    fn default() -> Calls {
        Calls {
            concurrent_limit: 32,
            // Four callers talking at once is what one small ARM board can transcribe in time.
            attendant_limit: 4,
            retry_after_seconds: 10,
            drain_seconds: 30,
            ring_milliseconds: 200,
            hold_music_file: None,
        }
    }
}

/// `[storage]`: where state lives.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Storage {
    /// Folder of the database and recordings. Defaults to systemd's `$STATE_DIRECTORY`, else
    /// `$XDG_STATE_HOME/offhook`, else `~/.local/state/offhook`.
    pub directory: Option<PathBuf>,
}

/// `[models]`: which engines, and where their files are.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Models {
    /// Folder of the model files. Defaults to `$OFFHOOK_MODELS`, else systemd's `$CACHE_DIRECTORY/models`, else
    /// `$XDG_CACHE_HOME/offhook/models`, else `~/.cache/offhook/models`.
    pub directory: Option<PathBuf>,
    /// Catalogue id of the speech recogniser: one of whisper's, or `moonshine-tiny-en` (`offhook models list`).
    pub speech_to_text: String,
    /// Catalogue id of the recogniser that writes down messages, when nobody waits: exact rather than quick, and loaded
    /// when it is needed.
    pub messages_speech_to_text: String,
    /// Catalogue id of the voice.
    pub text_to_speech: String,
    /// Threads of one speech decode. 1 to 4: more than the cores that are free makes it slower, not faster.
    pub speech_to_text_threads: u8,
    /// Threads of one sentence that is made. 1 to 4, as above.
    pub text_to_speech_threads: u8,
}

impl Default for Models {
    fn default() -> Models {
        Models {
            directory: None,
            // Callers wait for it, and it takes a quarter of whisper's time for about as many words right.
            speech_to_text: "moonshine-tiny-en".into(),
            messages_speech_to_text: "whisper-base-q8_0".into(),
            text_to_speech: "piper-en_US-joe-medium".into(),
            speech_to_text_threads: 1,
            // The caller waits for the first sentence, and nothing else is done for them meanwhile.
            text_to_speech_threads: 2,
        }
    }
}

/// `[conversation]`: times that shape the talk.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Conversation {
    /// Silence after our own words before the caller is asked again. 3 to 30.
    pub no_speech_seconds: u32,
    /// Longest message a caller can leave. 10 to 600.
    pub message_limit_seconds: u32,
    /// Silence that ends a message. 2 to 30.
    pub message_silence_seconds: u32,
    /// Longest call. 60 to 14 400.
    pub call_limit_seconds: u32,
    /// Whether callers who want to be called back are promised that, instead of being asked for a message.
    pub call_backs_enabled: bool,
    /// Whether callers are asked at the end to rate the call by a key from 1 to 5.
    pub rating_enabled: bool,
}

impl Default for Conversation {
    fn default() -> Conversation {
        Conversation {
            no_speech_seconds: 7,
            message_limit_seconds: 120,
            message_silence_seconds: 5,
            call_limit_seconds: 1_800,
            call_backs_enabled: true,
            rating_enabled: false,
        }
    }
}

/// `[knowledge]`: what the office has written down.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Knowledge {
    /// Folder of Markdown, text, HTML and PDF files. Without it the sample office's files are used.
    pub directory: Option<PathBuf>,
    /// From one look at the folder to the next; a change is known after two. 1 to 3 600.
    pub look_interval_seconds: u32,
}

impl Default for Knowledge {
    fn default() -> Knowledge {
        // Whoever has saved a file and calls the box to hear it has it by then.
        Knowledge { directory: None, look_interval_seconds: 5 }
    }
}

/// `[log]`: what is logged.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Log {
    /// `error`, `warn`, `info`, `debug`, `trace`, or a filter such as `info,daemon::io=debug`.
    pub filter: String,
    /// `auto` (journal when started by systemd, else stderr), `journal` or `stderr`.
    pub target: LogTarget,
}

impl Default for Log {
    fn default() -> Log {
        Log { filter: "info".into(), target: LogTarget::Auto }
    }
}

/// Where log events go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogTarget {
    /// The journal when started by systemd, else stderr.
    Auto,
    /// systemd's journal, with fields.
    Journal,
    /// Standard error, readable.
    Stderr,
}

impl Config {
    /// Reads `file` (none: the defaults), what the cloud has decided, the environment and `overrides` (`key=value`), in rising
    /// precedence.
    ///
    /// # Errors
    /// All mistakes at once, each with its key and what was expected.
    pub fn load(file: Option<&Path>, overrides: &[String]) -> Result<Config, ConfigMistakes> {
        let origin = Origin { file: file.map(Path::to_owned), overrides: overrides.to_vec() };
        let state_directory = origin.state_directory();
        // What cannot be read is asked for again; until then the box's own file holds.
        let ledger = Ledger::load(&state_directory).unwrap_or_default();
        let sections = ledger.in_force().and_then(|wish| desired::table(wish, &state_directory).ok());
        origin.load_with(sections.unwrap_or_default())
    }

    /// The effective configuration as TOML that can be read back.
    pub fn to_toml(&self) -> String {
        toml::to_string_pretty(self).unwrap_or_else(|error| format!("# {error}\n"))
    }

    fn check(&self, mistakes: &mut Vec<ConfigMistake>) {
        let mut range = |key: &str, value: u32, low: u32, high: u32| {
            if !(low..=high).contains(&value) {
                mistakes.push(ConfigMistake::new(key, value, format!("a whole number from {low} to {high}")));
            }
        };
        range("sip.stun_interval_seconds", self.sip.stun_interval_seconds, 1, 3_600);
        range("media.first_port", self.media.first_port.into(), 1_024, 65_534);
        range("media.last_port", self.media.last_port.into(), 1_025, 65_535);
        range("media.no_rtp_timeout_seconds", self.media.no_rtp_timeout_seconds, 5, 600);
        range("calls.concurrent_limit", self.calls.concurrent_limit, 1, 1_000);
        range("calls.attendant_limit", self.calls.attendant_limit, 1, 1_000);
        range("calls.retry_after_seconds", self.calls.retry_after_seconds, 1, 3_600);
        range("calls.drain_seconds", self.calls.drain_seconds, 0, 3_600);
        range("calls.ring_milliseconds", self.calls.ring_milliseconds, 0, 60_000);
        range("models.speech_to_text_threads", self.models.speech_to_text_threads.into(), 1, 4);
        range("models.text_to_speech_threads", self.models.text_to_speech_threads.into(), 1, 4);
        range("conversation.no_speech_seconds", self.conversation.no_speech_seconds, 3, 30);
        range("conversation.message_limit_seconds", self.conversation.message_limit_seconds, 10, 600);
        range("conversation.message_silence_seconds", self.conversation.message_silence_seconds, 2, 30);
        range("conversation.call_limit_seconds", self.conversation.call_limit_seconds, 60, 14_400);
        range("knowledge.look_interval_seconds", self.knowledge.look_interval_seconds, 1, 3_600);
        self.sip.check_stun(mistakes);
        self.sip.tls.check(&self.sip, mistakes);
        self.update.check(mistakes);
        if self.sip.digest_hashes.is_empty() {
            mistakes.push(ConfigMistake::new("sip.digest_hashes", "none", "\"sha256\", \"md5\" or both".into()));
        }
        trunks::check(&self.trunks, self.sip.tls.enabled, mistakes);
        dial_plan::check(self, mistakes);
        mailboxes::check(self, mistakes);
        escalation::check(self, mistakes);
        features::check(&self.features, mistakes);
        recording::check(&self.recording, mistakes);
        api::check(&self.api, mistakes);
        cloud::check(&self.cloud, mistakes);
        backup::check(&self.backup, self.cloud.enabled, mistakes);
        persona::check(&self.persona, self.office.disclosure.as_deref(), mistakes);
        language_model::check(&self.language_model, mistakes);
        mcp::check(&self.mcp_servers, mistakes);
        notices::check(self, mistakes);
        self.check_media_ports(mistakes);
        self.check_folders(mistakes);
        if let Err(found) = Office::try_from(&self.office) {
            mistakes.extend(found);
        }
    }

    fn check_media_ports(&self, mistakes: &mut Vec<ConfigMistake>) {
        let Media { first_port, last_port, .. } = self.media;
        if !first_port.is_multiple_of(2) {
            mistakes.push(ConfigMistake::new("media.first_port", first_port, "an even port (RFC 3550 §11)".into()));
        }
        // A call between two people has two sides.
        let sides = if self.extensions.is_empty() { 1 } else { 2 };
        let needed = u32::from(first_port) + 2 * sides * self.calls.concurrent_limit;
        if u32::from(last_port) + 1 < needed {
            let each = 2 * sides;
            let expected = format!("at least {}: {each} ports for each of calls.concurrent_limit", needed - 1);
            mistakes.push(ConfigMistake::new("media.last_port", last_port, expected));
        }
    }

    fn check_folders(&self, mistakes: &mut Vec<ConfigMistake>) {
        if let Some(folder) = &self.knowledge.directory
            && !folder.is_dir()
        {
            mistakes.push(ConfigMistake::new(
                "knowledge.directory",
                folder.display(),
                "a folder that exists, with Markdown, text, HTML or PDF files".into(),
            ));
        }
    }

    /// Whether somebody has that extension.
    pub fn has_extension(&self, number: &str) -> bool {
        self.extensions.iter().any(|extension| extension.number == number)
    }

    /// Folder of the database and recordings.
    pub fn state_directory(&self) -> PathBuf {
        self.storage
            .directory
            .clone()
            .or_else(|| std::env::var_os("STATE_DIRECTORY").map(PathBuf::from))
            .unwrap_or_else(|| user_folder("XDG_STATE_HOME", ".local/state").join("offhook"))
    }

    /// Folder of what belongs to the machine: identity, keys, updates.
    pub fn machine_directory(&self) -> PathBuf {
        self.machine.directory.clone().unwrap_or_else(|| self.state_directory().join("machine"))
    }

    /// Folder of the model files.
    pub fn models_directory(&self) -> PathBuf {
        self.models
            .directory
            .clone()
            .or_else(|| std::env::var_os("OFFHOOK_MODELS").map(PathBuf::from))
            .or_else(|| std::env::var_os("CACHE_DIRECTORY").map(|folder| PathBuf::from(folder).join("models")))
            .unwrap_or_else(|| user_folder("XDG_CACHE_HOME", ".cache").join("offhook/models"))
    }

    /// Where this machine reaches its own SIP listener.
    pub fn own_sip_address(&self) -> SocketAddr {
        let loopback = if self.sip.address.is_ipv4() { Ipv4Addr::LOCALHOST.into() } else { Ipv6Addr::LOCALHOST.into() };
        let address = if self.sip.address.is_unspecified() { loopback } else { self.sip.address };
        SocketAddr::new(address, self.sip.port)
    }
}

/// `$variable`, else `$HOME/fallback`, else a folder of the current directory (a process without a home).
fn user_folder(variable: &str, fallback: &str) -> PathBuf {
    if let Some(folder) = std::env::var_os(variable).filter(|value| !value.is_empty()) {
        return PathBuf::from(folder);
    }
    std::env::var_os("HOME").map_or_else(|| PathBuf::from("."), PathBuf::from).join(fallback)
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) fn mistakes_of(text: &str) -> Vec<String> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        match Config::load(Some(file.path()), &[]) {
            Ok(_) => Vec::new(),
            Err(ConfigMistakes(mistakes)) => mistakes.iter().map(ToString::to_string).collect(),
        }
    }

    #[test]
    fn defaults_are_valid_and_survive_a_round_trip() {
        let config = Config::load(None, &[]).unwrap();
        assert!(mistakes_of(&config.to_toml()).is_empty());
    }

    #[test]
    fn every_mistake_is_reported_with_its_key() {
        let mistakes = mistakes_of(
            "[sip]\nport = 70000\ncolour = 'red'\n[media]\nfirst_port = 20001\n[calls]\nconcurrent_limit = 0\n[speling]\n",
        );
        for key in ["sip.port", "sip.colour", "media.first_port", "calls.concurrent_limit", "speling"] {
            assert!(mistakes.iter().any(|line| line.starts_with(key)), "{key} is missing in {mistakes:#?}");
        }
        assert_eq!(mistakes.len(), 5, "{mistakes:#?}");
    }

    #[test]
    fn the_command_line_beats_the_file() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "[sip]\nport = 5070\n").unwrap();
        let config = Config::load(Some(file.path()), &["sip.port=5080".into(), "log.filter=debug".into()]).unwrap();
        assert_eq!((config.sip.port, config.log.filter.as_str()), (5080, "debug"));
    }

    #[test]
    fn a_port_range_too_small_for_the_call_limit_is_a_mistake() {
        let mistakes = mistakes_of("[media]\nfirst_port = 20000\nlast_port = 20003\n[calls]\nconcurrent_limit = 3\n");
        assert_eq!(mistakes.len(), 1);
        assert!(mistakes[0].starts_with("media.last_port"), "{mistakes:?}");
    }
}
