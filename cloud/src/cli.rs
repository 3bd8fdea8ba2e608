//! The `offhook-cloud` command line.
//!
//! Exit status: 0 done, 1 it failed and stderr says why, 2 wrong usage, 78 the configuration is wrong.
#![expect(clippy::print_stdout, reason = "a command line's answers go to stdout")]

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use clap::{Args, Parser, Subcommand};
use cloud_api::v1::value::Kind;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};
use tokio_rustls::rustls::RootCertStore;
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;

use crate::authority::Authority;
use crate::backups::{Limits, cli::Backups};
use crate::clock;
use crate::config::{Config, ConfigMistakes, EXIT_CONFIG, Engine};
use crate::fleet::cli::Fleet;
use crate::local_postgres::LocalPostgres;
use crate::names::{hash_of_code, is_name, new_code};
use crate::server::{Alarm, Kept, OwnCertificate, Server, Settings};
use crate::store::{AnyStore, BoxName, BoxRecord, Claim, Postgres, Sqlite, Store as _};
use crate::sync::apply::StoredRow;
use crate::sync::stream;

const HOUR_MS: i64 = 3_600_000;
/// A box that was heard within this time counts as connected: it is noted once a minute, and its silence ends a stream.
const CONNECTED_MS: i64 = 3 * 60_000;

/// The central service that boxes sync with.
#[derive(Debug, Parser)]
#[command(name = "offhook-cloud", version, max_term_width = 110)]
#[command(
    after_help = "Start with `offhook-cloud serve`; `offhook-cloud claim OFFICE` prints a code, with which a box is claimed:\n\
    `offhook cloud claim CODE`."
)]
struct Command {
    /// TOML file; without it the built-in defaults hold
    #[arg(short, long, global = true, value_name = "FILE", env = "OFFHOOK_CLOUD_CONFIG")]
    config: Option<PathBuf>,
    /// Overrides one key, for example --set listen.address=0.0.0.0:8443; may be repeated
    #[arg(long = "set", global = true, value_name = "KEY=VALUE")]
    overrides: Vec<String>,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Take boxes until stopped (SIGTERM or Ctrl-C acknowledge first what is being stored)
    Serve,
    /// Print a code with which one box becomes this tenant's
    Claim(ClaimCommand),
    /// The boxes there are: release, last heard, whether their rows are ours
    Boxes(Boxes),
    /// A box may not connect any more, until it is claimed with a new code
    Revoke(Revoke),
    /// The latest calls of a tenant's boxes
    Calls(Calls),
    /// What boxes should be like and should do: configurations, commands, rollouts
    #[command(subcommand)]
    Fleet(Fleet),
    /// Sealed backups of boxes: how much there is, and as it was before somebody removed it
    #[command(subcommand)]
    Backups(Backups),
}

#[derive(Debug, Args)]
struct ClaimCommand {
    /// Whose box it will be: lower-case letters, digits and hyphens
    tenant: String,
    /// How long the code is worth something, in hours. 1 to 720
    #[arg(long, default_value_t = 72, value_parser = clap::value_parser!(u32).range(1..=720))]
    hours: u32,
    /// The box, whole, whose place another one takes: it gets its name, and may restore its backups
    #[arg(long, value_name = "BOX")]
    replaces: Option<String>,
    /// As JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct Boxes {
    /// Of this tenant only
    #[arg(long)]
    tenant: Option<String>,
    /// As JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct Revoke {
    /// Whose
    tenant: String,
    /// Which, whole
    box_id: String,
}

#[derive(Debug, Args)]
struct Calls {
    /// Whose
    tenant: String,
    /// How many at most. 1 to 10 000
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    limit: u32,
    /// As JSON
    #[arg(long)]
    json: bool,
}

/// Runs the command line of this process.
pub fn main() -> ExitCode {
    let command = Command::parse();
    // For whoever is told of alarms over HTTPS; another provider is not linked in.
    let _ = tokio_rustls::rustls::crypto::ring::default_provider().install_default();
    match run(&command) {
        Ok(code) => code,
        Err(error) => {
            if let Some(mistakes) = error.downcast_ref::<ConfigMistakes>() {
                eprintln!("offhook-cloud: {mistakes}");
                return ExitCode::from(EXIT_CONFIG);
            }
            let causes: Vec<String> = error.chain().map(ToString::to_string).collect();
            eprintln!("offhook-cloud: {}", causes.join(": "));
            ExitCode::FAILURE
        }
    }
}

fn run(command: &Command) -> anyhow::Result<ExitCode> {
    let config = Config::load(command.config.as_deref(), &command.overrides)?;
    let filter = tracing_subscriber::EnvFilter::try_new(&config.log.filter);
    let filter = filter.map_err(|error| ConfigMistakes(vec![format!("log.filter: {error}")]))?;
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(false).init();
    let opened = open(&config)?;
    let store = opened.store();
    match &command.verb {
        Verb::Serve => serve(&config, &opened)?,
        Verb::Claim(claim) => claim.run(&config, store)?,
        Verb::Boxes(boxes) => boxes.run(store)?,
        Verb::Revoke(revoke) => {
            let name = BoxName { tenant_id: revoke.tenant.clone(), box_id: revoke.box_id.clone() };
            anyhow::ensure!(
                store.revoke(&name, clock::unix_ms())?,
                "there is no box {name}: see `offhook-cloud boxes`"
            );
            println!("{name} may not connect any more; its stream ends within a minute.");
        }
        Verb::Calls(calls) => calls.run(store)?,
        Verb::Fleet(fleet) => fleet.run(store)?,
        Verb::Backups(backups) => backups.run(store)?,
    }
    Ok(ExitCode::SUCCESS)
}

/// The store, and the server that it needs. Dropped in this order: a client that is closed asks its server.
struct Opened {
    store: Arc<AnyStore>,
    server: Option<LocalPostgres>,
}

impl Opened {
    fn store(&self) -> &AnyStore {
        &self.store
    }
}

impl Drop for Opened {
    fn drop(&mut self) {
        // A server that was there before is somebody else's.
        if let Some(server) = self.server.take().filter(|server| server.pid().is_some())
            && let Err(error) = server.stop()
        {
            tracing::warn!(%error, "PostgreSQL did not stop in order; it repairs itself at its next start");
        }
    }
}

fn open(config: &Config) -> anyhow::Result<Opened> {
    let directory = config.directory();
    let connections = usize::try_from(config.store.connections)?;
    let postgres = |url: &str| -> anyhow::Result<AnyStore> {
        let roots = config.store.trust.as_deref().map(|path| -> anyhow::Result<RootCertStore> {
            let mut roots = RootCertStore::empty();
            for root in
                CertificateDer::pem_file_iter(path).with_context(|| format!("store.trust = {}", path.display()))?
            {
                roots.add(root?)?;
            }
            Ok(roots)
        });
        let parsed = Postgres::parse(url, roots.transpose()?, connections);
        let store = parsed.map_err(|error| ConfigMistakes(vec![format!("store.url_file: {error}")]))?;
        store.prepare()?;
        Ok(AnyStore::Postgres(Box::new(store)))
    };
    let (store, server) = match config.store.engine {
        Engine::Sqlite => {
            crate::files::make_folder(&directory)
                .with_context(|| format!("the state folder {} cannot be made", directory.display()))?;
            (AnyStore::Sqlite(Sqlite::open(&directory.join("cloud.db"))?), None)
        }
        Engine::LocalPostgres => {
            let server = LocalPostgres::start(&directory.join("postgres"), &[])?;
            (postgres(&server.url())?, Some(server))
        }
        Engine::Postgres => {
            let path = config.store.url_file.as_deref().unwrap_or(std::path::Path::new(""));
            let url = std::fs::read_to_string(path).with_context(|| format!("store.url_file = {}", path.display()))?;
            (postgres(url.trim())?, None)
        }
    };
    Ok(Opened { store: Arc::new(store), server })
}

fn serve(config: &Config, opened: &Opened) -> anyhow::Result<()> {
    let authority = Authority::open(&config.directory(), clock::unix_ms())?;
    let endpoint = config.endpoint();
    let certificate = match (&config.tls.certificate, &config.tls.private_key) {
        (Some(certificate), Some(key)) => OwnCertificate::Files(certificate.clone(), key.clone()),
        (_, _) => {
            let host = endpoint.rsplit_once(':').map_or(endpoint.as_str(), |(host, _)| host);
            let own = [host.trim_matches(['[', ']']), "localhost", "127.0.0.1"];
            let mut names: Vec<String> = own.map(str::to_owned).to_vec();
            names.dedup();
            OwnCertificate::Made(names)
        }
    };
    let webhook = config.alarm.webhook_file.as_deref().map(|path| {
        let address = std::fs::read_to_string(path);
        address.with_context(|| format!("alarm.webhook_file = {}", path.display()))
    });
    let webhook = webhook.transpose()?.map(|address| address.trim().to_owned());
    let settings = Settings {
        listen: config.listen.address,
        http: config.http.address,
        endpoint,
        certificate,
        stream: stream::Config {
            keep_alive: Duration::from_secs(config.listen.keep_alive_seconds.into()),
            age_max: Duration::from_secs(u64::from(config.listen.stream_minutes) * 60),
            ..stream::Config::default()
        },
        alarm: Alarm { silent: Duration::from_secs(u64::from(config.alarm.silent_minutes) * 60), webhook },
        blobs: config.blobs.open(&config.directory())?,
        backups: kept(config)?,
        sweep_every: Duration::from_secs(u64::from(config.blobs.sweep_minutes) * 60),
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let store = Arc::clone(&opened.store);
    // The runtime ends before the store: its threads are the store's.
    runtime.block_on(async {
        let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        let server = Server::start(settings, authority, store).await?;
        tracing::info!(boxes = %server.address(), http = %server.http_address(), "Ready");
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        server.stop().await;
        tracing::info!("Stopped");
        Ok(())
    })
}

fn kept(config: &Config) -> anyhow::Result<Kept> {
    let limits = Limits::new(config.backups.gigabytes_limit, config.backups.removed_days);
    Ok(Kept { blobs: config.blobs.open_for_backups(&config.directory(), limits.box_bytes)?, limits })
}

impl ClaimCommand {
    fn run(&self, config: &Config, store: &AnyStore) -> anyhow::Result<()> {
        let tenant = &self.tenant;
        anyhow::ensure!(is_name(tenant), "tenant {tenant:?}: expected 1 to 63 lower-case letters, digits and hyphens");
        let now = clock::unix_ms();
        if let Some(box_id) = &self.replaces {
            let is_there = store.boxes(tenant)?.iter().any(|record| record.name.box_id == *box_id);
            anyhow::ensure!(is_there, "--replaces {box_id}: {tenant} has no such box: see `offhook-cloud boxes`");
        }
        Authority::open(&config.directory(), now)?;
        let code = new_code();
        let expires_at = now + i64::from(self.hours) * HOUR_MS;
        store.add_claim(&Claim { code_sha256: hash_of_code(&code), tenant_id: tenant.clone(), expires_at })?;
        if let Some(box_id) = &self.replaces {
            store.take_claim(&hash_of_code(&code), box_id, now)?;
        }
        let (endpoint, trust) = (config.endpoint(), config.directory().join("authority.crt"));
        if self.json {
            println!("{}", json!({ "code": code, "expires_at": expires_at, "endpoint": endpoint, "trust": trust }));
        } else {
            let worth = self.replaces.as_ref().map_or("one box".to_owned(), |box_id| format!("the place of {box_id}"));
            println!("{code}\n\nThe code is worth {worth} of {tenant}, until {}. On the box:\n", in_words(expires_at));
            let command = match &self.replaces {
                Some(_) => format!("restore cloud --code {code} --key KEYFILE"),
                None => format!("cloud claim {code}"),
            };
            println!("  offhook {command} --set cloud.endpoint={endpoint} --set cloud.trust=FILE\n");
            println!("where FILE is a copy of {}, unless tls.certificate is a public one.", trust.display());
        }
        Ok(())
    }
}

impl Boxes {
    fn run(&self, store: &AnyStore) -> anyhow::Result<()> {
        let tenants = match &self.tenant {
            Some(tenant) => vec![tenant.clone()],
            None => store.tenants()?,
        };
        let mut boxes = Vec::new();
        for tenant in &tenants {
            boxes.extend(store.boxes(tenant)?);
        }
        let now = clock::unix_ms();
        if self.json {
            println!("{}", json!(boxes.iter().map(|record| box_json(record, now)).collect::<Vec<_>>()));
            return Ok(());
        }
        if boxes.is_empty() {
            println!("No box yet: `offhook-cloud claim OFFICE` prints a code for the first.");
        }
        for record in &boxes {
            println!("{}", box_line(record, now));
        }
        Ok(())
    }
}

fn state_of(record: &BoxRecord, now: i64) -> &'static str {
    match (record.revoked_at, record.heard_at) {
        (Some(_), _) => "revoked",
        (None, None) => "never heard",
        (None, Some(at)) if now.saturating_sub(at) <= CONNECTED_MS => "connected",
        (None, Some(_)) => "away",
    }
}

fn box_json(record: &BoxRecord, now: i64) -> serde_json::Value {
    let BoxRecord { name, enrolled_at, release, heard_at, equal_at, revoked_at, state } = record;
    json!({
        "tenant": name.tenant_id, "box": name.box_id, "state": state_of(record, now), "release": release,
        "enrolled_at": enrolled_at, "heard_at": heard_at, "equal_at": equal_at, "revoked_at": revoked_at,
        "epoch": state.as_ref().map(|state| state.epoch), "watermark": state.as_ref().map(|state| state.watermark),
    })
}

fn box_line(record: &BoxRecord, now: i64) -> String {
    let BoxRecord { name, release, heard_at, equal_at, .. } = record;
    let heard = heard_at.map_or(String::new(), |at| format!(", heard {}", in_words(at)));
    let equal = equal_at.map_or(", rows not compared yet".to_owned(), |at| format!(", rows equal {}", in_words(at)));
    let release = if release.is_empty() { String::new() } else { format!(", {release}") };
    format!("{name}  {}{release}{heard}{equal}", state_of(record, now))
}

impl Calls {
    fn run(&self, store: &AnyStore) -> anyhow::Result<()> {
        let mut calls = Vec::new();
        for record in store.boxes(&self.tenant)? {
            let rows = store.latest_rows(&record.name, "call_sessions", self.limit)?;
            calls.extend(rows.into_iter().map(|(key, row)| (key, record.name.box_id.clone(), row)));
        }
        calls.sort_by(|(a, ..), (b, ..)| b.cmp(a));
        calls.truncate(usize::try_from(self.limit)?);
        if self.json {
            let rows = calls.iter().map(|(key, box_id, row)| call_json(key, box_id, row)).collect::<Vec<_>>();
            println!("{}", json!(rows));
            return Ok(());
        }
        if calls.is_empty() {
            println!("No call of {} is here.", self.tenant);
        }
        for (key, box_id, row) in &calls {
            println!("{}", call_line(key, box_id, row));
        }
        Ok(())
    }
}

fn column<'a>(row: &'a StoredRow, name: &str) -> Option<&'a Kind> {
    row.columns.as_ref()?.get(name)?.kind.as_ref()
}

fn call_json(key: &str, box_id: &str, row: &StoredRow) -> serde_json::Value {
    let columns = row.columns.iter().flatten();
    let mut call: serde_json::Map<_, _> = columns
        .filter_map(|(name, value)| {
            let json = match value.kind.as_ref()? {
                Kind::Integer(integer) => json!(integer),
                Kind::Real(real) => json!(real),
                Kind::Text(text) => json!(text),
                Kind::Blob(blob) => json!(format!("{} bytes", blob.len())),
            };
            Some((name.clone(), json))
        })
        .collect();
    call.insert("call_id".to_owned(), json!(key));
    call.insert("box".to_owned(), json!(box_id));
    call.into()
}

fn call_line(key: &str, box_id: &str, row: &StoredRow) -> String {
    let text = |name: &str| match column(row, name) {
        Some(Kind::Text(text)) => text.as_str(),
        Some(Kind::Integer(_) | Kind::Real(_) | Kind::Blob(_)) | None => "-",
    };
    let started = match column(row, "started_at") {
        Some(Kind::Integer(at)) => in_words(*at),
        Some(Kind::Real(_) | Kind::Text(_) | Kind::Blob(_)) | None => "-".to_owned(),
    };
    format!("{started}  {key}  {box_id}  {} {} {}", text("direction"), text("trunk"), text("state"))
}

/// A time in milliseconds since 1970, where this runs.
pub(crate) fn in_words(at: i64) -> String {
    let at = Timestamp::from_millisecond(at).unwrap_or(Timestamp::UNIX_EPOCH).to_zoned(TimeZone::system());
    at.strftime("%Y-%m-%d %H:%M:%S").to_string()
}
