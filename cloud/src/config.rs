//! What may be configured: one TOML file, then the environment (`OFFHOOK_CLOUD__LISTEN__ADDRESS=…`), then `--set KEY=VALUE`.
//! Every mistake is reported with its key and what was expected, before anything is opened.

mod blobs;
mod twilio;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

pub use blobs::{BlobEngine, Blobs};
use serde::{Deserialize, Serialize};
pub use twilio::Twilio;

/// Exit status for a configuration that cannot be used (`EX_CONFIG` of sysexits.h).
pub const EXIT_CONFIG: u8 = 78;
/// What names of the environment begin with.
const ENVIRONMENT: &str = "OFFHOOK_CLOUD__";

/// Everything that may be configured.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// For boxes.
    pub listen: Listen,
    /// For whoever runs this service.
    pub http: Http,
    /// Where rows are kept.
    pub store: Store,
    /// Where recordings are kept.
    pub blobs: blobs::Blobs,
    /// What is kept of boxes' backups.
    pub backups: Backups,
    /// Another certificate than our own authority's.
    pub tls: Tls,
    /// When a box's silence is an alarm.
    pub alarm: Alarm,
    /// Where Twilio tells what it does not reach a box with.
    pub twilio: Twilio,
    /// What the service logs.
    pub log: Log,
}

/// `[listen]`: where boxes come.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Listen {
    /// Address and port; port 0 is any.
    pub address: SocketAddr,
    /// Host and port that boxes are told to come to; by default `localhost` and the port of `address`.
    pub endpoint: Option<String>,
    /// Without anything to say, a sign of life, in seconds; after three times as long without any, the end. 1 to 3 600.
    pub keep_alive_seconds: u32,
    /// After so long a box is asked to connect again, perhaps to another instance, in minutes. 1 to 1 440.
    pub stream_minutes: u32,
}

impl Default for Listen {
    fn default() -> Self {
        // Loopback: a service that nobody has set up must not answer the internet.
        let address = SocketAddr::from(([127, 0, 0, 1], 8_443));
        Listen { address, endpoint: None, keep_alive_seconds: 20, stream_minutes: 240 }
    }
}

/// `[http]`: `/livez`, `/readyz` and `/metrics`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Http {
    /// Address and port; port 0 is any.
    pub address: SocketAddr,
}

impl Default for Http {
    fn default() -> Self {
        Http { address: SocketAddr::from(([127, 0, 0, 1], 9_464)) }
    }
}

/// Who keeps the rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Engine {
    /// One file in `directory`.
    Sqlite,
    /// A server, at `url`.
    Postgres,
    /// A server of our own, in `directory`.
    LocalPostgres,
}

/// `[store]`: where rows are kept.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Store {
    /// Folder of the authority, and of the database where it is ours. Defaults to systemd's `$STATE_DIRECTORY`, else
    /// `$XDG_STATE_HOME/offhook-cloud`, else `~/.local/state/offhook-cloud`.
    pub directory: Option<PathBuf>,
    /// `sqlite`, `postgres` or `local-postgres`.
    pub engine: Engine,
    /// File with `postgresql://USER:PASSWORD@HOST/DATABASE?sslmode=require` in it, for `postgres`.
    pub url_file: Option<PathBuf>,
    /// The same of a streaming replica, which is asked what may be a moment old: calls, and which boxes there are.
    pub replica_url_file: Option<PathBuf>,
    /// PEM file of the authorities that the server may be certified by; by default the public ones.
    pub trust: Option<PathBuf>,
    /// Connections to PostgreSQL at most. 1 to 100.
    pub connections: u32,
}

impl Default for Store {
    fn default() -> Self {
        Store {
            directory: None,
            engine: Engine::Sqlite,
            url_file: None,
            replica_url_file: None,
            trust: None,
            connections: 8,
        }
    }
}

/// `[backups]`: what is kept of boxes' sealed backups, beside recordings.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Backups {
    /// Most that is kept for a box, in GiB, with what it has removed and is not gone yet. 1 to 100 000.
    pub gigabytes_limit: u32,
    /// How long what a box removes is kept all the same, in days: for boxes that are stolen. 1 to 365.
    pub removed_days: u32,
}

impl Default for Backups {
    fn default() -> Self {
        // Whoever steals a box on the first day of the holidays is noticed after them.
        Backups { gigabytes_limit: 100, removed_days: 14 }
    }
}

/// `[tls]`: a certificate that boxes believe without being told, e.g. of a public authority.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Tls {
    /// PEM: ours first, then those above it.
    pub certificate: Option<PathBuf>,
    /// PEM.
    pub private_key: Option<PathBuf>,
}

/// `[alarm]`: who is told of a box that has fallen silent.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Alarm {
    /// How long a box may say nothing, in minutes. 2 to 10 080. A box says something at least once a minute.
    pub silent_minutes: u32,
    /// File with an address that gets a POST when a box falls silent and when it is back:
    /// `{"event": "box_silent" | "box_back", "tenant", "box", "heard_at"}`. Without it there are the log, the metric
    /// `offhook_cloud_boxes_silent` and `offhook-cloud fleet list`.
    pub webhook_file: Option<PathBuf>,
}

impl Default for Alarm {
    fn default() -> Self {
        Alarm { silent_minutes: 15, webhook_file: None }
    }
}

/// `[log]`: what the service says.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Log {
    /// As for `RUST_LOG`: `info`, `debug`, `cloud=trace`.
    pub filter: String,
}

impl Default for Log {
    fn default() -> Self {
        Log { filter: "info".to_owned() }
    }
}

/// Everything that is wrong with a configuration.
#[derive(Debug, thiserror::Error)]
#[error("the configuration cannot be used:\n  {}", .0.join("\n  "))]
pub struct ConfigMistakes(pub Vec<String>);

impl Config {
    /// The configuration in force.
    ///
    /// # Errors
    /// [`ConfigMistakes`].
    pub fn load(file: Option<&Path>, overrides: &[String]) -> Result<Config, ConfigMistakes> {
        let environment = std::env::vars().filter_map(|(name, value)| {
            let key = name.strip_prefix(ENVIRONMENT)?.to_ascii_lowercase().replace("__", ".");
            Some(format!("{key}={value}"))
        });
        Self::merge(file, environment.chain(overrides.iter().cloned()))
    }

    /// What a file says and nothing else: the configuration of another service than this one.
    ///
    /// # Errors
    /// [`ConfigMistakes`].
    pub fn read(file: &Path) -> Result<Config, ConfigMistakes> {
        Self::merge(Some(file), std::iter::empty())
    }

    fn merge(file: Option<&Path>, entries: impl Iterator<Item = String>) -> Result<Config, ConfigMistakes> {
        let one = |mistake: String| ConfigMistakes(vec![mistake]);
        let mut table = match file {
            Some(path) => {
                let text =
                    std::fs::read_to_string(path).map_err(|error| one(format!("{}: {error}", path.display())))?;
                text.parse::<toml::Table>().map_err(|error| one(format!("{}: {error}", path.display())))?
            }
            None => toml::Table::new(),
        };
        let mut mistakes = Vec::new();
        for entry in entries {
            if let Err(mistake) = set(&mut table, &entry) {
                mistakes.push(mistake);
            }
        }
        if !mistakes.is_empty() {
            return Err(ConfigMistakes(mistakes));
        }
        let config: Config =
            table.try_into().map_err(|error: toml::de::Error| one(error.to_string().trim().replace('\n', " ")))?;
        config.check()?;
        Ok(config)
    }

    fn check(&self) -> Result<(), ConfigMistakes> {
        let mut mistakes = Vec::new();
        let mut range = |key: &str, value: u32, from: u32, to: u32| {
            if !(from..=to).contains(&value) {
                mistakes.push(format!("{key} = {value}: expected {from} to {to}"));
            }
        };
        range("listen.keep_alive_seconds", self.listen.keep_alive_seconds, 1, 3_600);
        range("listen.stream_minutes", self.listen.stream_minutes, 1, 1_440);
        range("alarm.silent_minutes", self.alarm.silent_minutes, 2, 10_080);
        range("backups.gigabytes_limit", self.backups.gigabytes_limit, 1, 100_000);
        range("backups.removed_days", self.backups.removed_days, 1, 365);
        range("store.connections", self.store.connections, 1, 100);
        if let Some(endpoint) = self.listen.endpoint.as_deref().filter(|endpoint| !is_endpoint(endpoint)) {
            mistakes.push(format!("listen.endpoint = {endpoint:?}: expected a host name or address and :port"));
        }
        if self.store.engine == Engine::Postgres && self.store.url_file.is_none() {
            mistakes
                .push("store.url_file: expected a file with the server's address, for engine = \"postgres\"".into());
        }
        if self.store.engine != Engine::Postgres && self.store.url_file.is_some() {
            mistakes.push("store.url_file: expected only with engine = \"postgres\"".into());
        }
        if self.store.engine != Engine::Postgres && self.store.replica_url_file.is_some() {
            mistakes.push("store.replica_url_file: expected only with engine = \"postgres\"".into());
        }
        blobs::check(&self.blobs, &mut mistakes);
        twilio::check(&self.twilio, self.tls.certificate.is_some(), &mut mistakes);
        if self.tls.certificate.is_some() != self.tls.private_key.is_some() {
            mistakes.push("tls: expected certificate and private_key, or neither".into());
        }
        if mistakes.is_empty() { Ok(()) } else { Err(ConfigMistakes(mistakes)) }
    }

    /// Where state lives.
    pub fn directory(&self) -> PathBuf {
        let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        self.store.directory.clone().or_else(|| variable("STATE_DIRECTORY")).unwrap_or_else(|| {
            let state = variable("XDG_STATE_HOME")
                .unwrap_or_else(|| variable("HOME").unwrap_or_else(|| "/".into()).join(".local/state"));
            state.join("offhook-cloud")
        })
    }

    /// What boxes are told.
    pub fn endpoint(&self) -> String {
        self.listen.endpoint.clone().unwrap_or_else(|| format!("localhost:{}", self.listen.address.port()))
    }
}

/// Host and port.
pub(crate) fn is_endpoint(endpoint: &str) -> bool {
    let Some((host, port)) = endpoint.rsplit_once(':') else { return false };
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b':');
    !bare.is_empty() && bare.bytes().all(fits) && port.parse::<u16>().is_ok_and(|port| port > 0)
}

/// `a.b=value`, as TOML where it is some, else as text.
fn set(table: &mut toml::Table, entry: &str) -> Result<(), String> {
    let wrong = || format!("{entry:?}: expected KEY=VALUE, for example listen.address=0.0.0.0:8443");
    let (key, value) = entry.split_once('=').ok_or_else(wrong)?;
    let (path, last) = key.rsplit_once('.').ok_or_else(wrong)?;
    let value = format!("value = {value}")
        .parse::<toml::Table>()
        .ok()
        .and_then(|mut parsed| parsed.remove("value"))
        .unwrap_or_else(|| toml::Value::String(value.to_owned()));
    let mut table = table;
    for part in path.split('.') {
        let inner = table.entry(part).or_insert_with(|| toml::Value::Table(toml::Table::new()));
        table = inner.as_table_mut().ok_or_else(wrong)?;
    }
    table.insert(last.to_owned(), value);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(overrides: &[&str]) -> Result<Config, ConfigMistakes> {
        Config::load(None, &overrides.iter().map(|entry| (*entry).to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn what_is_set_overrides_the_defaults() {
        let config =
            load(&["listen.address=0.0.0.0:9000", "store.engine=local-postgres", "store.connections=3"]).unwrap();
        assert_eq!((config.endpoint().as_str(), config.store.connections), ("localhost:9000", 3));
        assert_eq!(config.store.engine, Engine::LocalPostgres);
        assert_eq!(load(&["listen.endpoint=cloud.example.org:443"]).unwrap().endpoint(), "cloud.example.org:443");
    }

    #[test]
    fn every_mistake_names_its_key_and_what_was_expected() {
        let error = load(&[
            "listen.keep_alive_seconds=0",
            "store.connections=101",
            "backups.gigabytes_limit=0",
            "backups.removed_days=366",
            "store.engine=postgres",
            "listen.endpoint=cloud",
            "tls.certificate=/a",
        ])
        .unwrap_err();
        assert_eq!(error.0.len(), 7, "{error}");
        for key in [
            "listen.keep_alive_seconds = 0: expected 1 to 3600",
            "backups.gigabytes_limit = 0: expected 1 to 100000",
            "backups.removed_days = 366: expected 1 to 365",
            "store.url_file",
            "listen.endpoint = \"cloud\"",
            "tls:",
        ] {
            assert!(error.to_string().contains(key), "{key} is not in {error}");
        }
        for (entry, named) in [
            ("store.mood=1", "mood"),
            ("store.replica_url_file=/a", "store.replica_url_file: expected only with engine"),
            ("listen", "KEY=VALUE"),
            ("store.engine=oracle", "oracle"),
            ("http.address=x", "socket"),
        ] {
            let error = load(&[entry]).unwrap_err().to_string();
            assert!(error.contains(named), "{entry}: {error}");
        }
    }
}
