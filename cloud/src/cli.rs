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
use cloud_api::v1;
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
use crate::fleet::access::Access;
use crate::fleet::cli::Fleet;
use crate::fleet::desk::Desk;
use crate::fleet::operator::{Operator, SOMEBODY};
use crate::fleet::remote::Remote;
use crate::local_postgres::LocalPostgres;
use crate::memory;
use crate::operators::OperatorCommand;
use crate::server::{Alarm, Kept, OwnCertificate, Server, Settings, TwilioSettings};
use crate::store::{AnyStore, Postgres, Sqlite};
use crate::sync::stream;
use crate::tenants::cli::Tenant;
use crate::twilio::cli::Twilio;

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
    /// Ask a service elsewhere, with the file that `offhook-cloud operator add` has made there; for claim, boxes, revoke, calls
    /// and fleet
    #[arg(long, global = true, value_name = "FILE", env = "OFFHOOK_CLOUD_OPERATOR")]
    operator: Option<PathBuf>,
    /// Who asks, for the record, where this is the service itself
    #[arg(long = "as", global = true, value_name = "NAME")]
    by: Option<String>,
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
    /// What boxes should be like and should do, and what is known of them: configurations, commands, rollouts, figures
    #[command(subcommand)]
    Fleet(Fleet),
    /// Who may manage boxes from elsewhere, and what they may do
    #[command(subcommand)]
    Operator(OperatorCommand),
    /// Tenants as wholes: export, import, move to another cell, erase
    #[command(subcommand)]
    Tenant(Tenant),
    /// Accounts and numbers of a tenant at Twilio, and what callers hear who reach no box
    #[command(subcommand)]
    Twilio(Twilio),
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
    if let Some(credentials) = &command.operator {
        anyhow::ensure!(command.by.is_none(), "--as: with --operator the certificate says who asks");
        ask(&command.verb, &Access::There(Remote::open(credentials)?), None)?;
        return Ok(ExitCode::SUCCESS);
    }
    let opened = open_store(&config)?;
    let by = command.by.as_deref().unwrap_or(SOMEBODY);
    match &command.verb {
        Verb::Serve => serve(&config, &opened)?,
        Verb::Operator(operator) => operator.run(&config, opened.store(), by)?,
        Verb::Tenant(tenant) => tenant.run(&config, &opened, command.by.as_deref())?,
        Verb::Twilio(twilio) => twilio.run(&config, opened.store())?,
        Verb::Backups(backups) => backups.run(opened.store())?,
        verb @ (Verb::Claim(_) | Verb::Boxes(_) | Verb::Revoke(_) | Verb::Calls(_) | Verb::Fleet(_)) => {
            let endpoint = config.endpoint();
            let desk = Desk::new(opened.store(), Operator::at_console(by), &endpoint);
            ask(verb, &Access::Here(desk), Some(&config))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// What can be asked from elsewhere too. `config` is that of the service, where this is it.
fn ask(verb: &Verb, access: &Access<'_>, config: Option<&Config>) -> anyhow::Result<()> {
    match verb {
        Verb::Claim(claim) => claim.run(access, config),
        Verb::Boxes(boxes) => boxes.run(access),
        Verb::Revoke(revoke) => revoke.run(access),
        Verb::Calls(calls) => calls.run(access),
        Verb::Fleet(fleet) => fleet.run(access),
        Verb::Serve | Verb::Operator(_) | Verb::Tenant(_) | Verb::Twilio(_) | Verb::Backups(_) => {
            anyhow::bail!(
                "--operator: serve, operator, tenant, twilio and backups are for the machine of the service itself"
            )
        }
    }
}

/// The store, and the server that it needs. Dropped in this order: a client that is closed asks its server.
pub(crate) struct Opened {
    store: Arc<AnyStore>,
    server: Option<LocalPostgres>,
}

impl Opened {
    pub(crate) fn store(&self) -> &AnyStore {
        &self.store
    }

    pub(crate) fn shared(&self) -> Arc<AnyStore> {
        Arc::clone(&self.store)
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

/// Opens the store that the configuration names.
pub(crate) fn open_store(config: &Config) -> anyhow::Result<Opened> {
    let directory = config.directory();
    let connections = usize::try_from(config.store.connections)?;
    let parse = |url: &str, key: &str| -> anyhow::Result<Postgres> {
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
        Ok(parsed.map_err(|error| ConfigMistakes(vec![format!("{key}: {error}")]))?)
    };
    let postgres = |store: Postgres| -> anyhow::Result<AnyStore> {
        store.prepare()?;
        Ok(AnyStore::Postgres(Box::new(store)))
    };
    let read = |path: &std::path::Path, key: &str| {
        std::fs::read_to_string(path).with_context(|| format!("{key} = {}", path.display()))
    };
    let (store, server) = match config.store.engine {
        Engine::Sqlite => {
            crate::files::make_folder(&directory)
                .with_context(|| format!("the state folder {} cannot be made", directory.display()))?;
            (AnyStore::Sqlite(Sqlite::open(&directory.join("cloud.db"))?), None)
        }
        Engine::LocalPostgres => {
            let server = LocalPostgres::start(&directory.join("postgres"), &[])?;
            (postgres(parse(&server.url(), "store.engine")?)?, Some(server))
        }
        Engine::Postgres => {
            let path = config.store.url_file.as_deref().unwrap_or(std::path::Path::new(""));
            let mut store = parse(read(path, "store.url_file")?.trim(), "store.url_file")?;
            if let Some(path) = config.store.replica_url_file.as_deref() {
                let key = "store.replica_url_file";
                store = store.with_replica(parse(read(path, key)?.trim(), key)?);
            }
            (postgres(store)?, None)
        }
    };
    Ok(Opened { store: Arc::new(store), server })
}

fn serve(config: &Config, opened: &Opened) -> anyhow::Result<()> {
    memory::keep_large_blocks_apart();
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
        twilio: config.twilio.address.zip(config.twilio.url.clone()).map(|(listen, url)| TwilioSettings {
            listen,
            url,
            tls: config.twilio.tls_enabled,
            api_url: config.twilio.api_url.clone(),
        }),
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let store = Arc::clone(&opened.store);
    // The runtime ends before the store: its threads are the store's.
    runtime.block_on(async {
        let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        let server = Server::start(settings, authority, store).await?;
        let twilio = server.twilio_address().map(tracing::field::display);
        tracing::info!(boxes = %server.address(), http = %server.http_address(), twilio, "Ready");
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        server.stop().await;
        tracing::info!("Stopped");
        Ok(())
    })
}

/// Backups of boxes.
pub(crate) fn kept(config: &Config) -> anyhow::Result<Kept> {
    let limits = Limits::new(config.backups.gigabytes_limit, config.backups.removed_days);
    Ok(Kept { blobs: config.blobs.open_for_backups(&config.directory(), limits.box_bytes)?, limits })
}

impl ClaimCommand {
    fn run(&self, access: &Access<'_>, config: Option<&Config>) -> anyhow::Result<()> {
        // The box needs the certificate of an authority, which is made with the first need of it.
        let trust = config.map(|config| Authority::open(&config.directory(), clock::unix_ms()).map(|_| config));
        let trust = trust.transpose()?.map(|config| config.directory().join("authority.crt"));
        let replaces_box_id = self.replaces.clone().unwrap_or_default();
        let claim = v1::CreateClaimRequest { tenant_id: self.tenant.clone(), hours: self.hours, replaces_box_id };
        let v1::CreateClaimResponse { claim_code: code, expires_unix_ms, endpoint } = access.create_claim(claim)?;
        if self.json {
            let claim = json!({ "code": code, "expires_at": expires_unix_ms, "endpoint": endpoint, "trust": trust });
            println!("{claim}");
            return Ok(());
        }
        let until = in_words(expires_unix_ms);
        let worth = self.replaces.as_ref().map_or("one box".to_owned(), |box_id| format!("the place of {box_id}"));
        println!("{code}\n\nThe code is worth {worth} of {}, until {until}. On the box:\n", self.tenant);
        let command = match &self.replaces {
            Some(_) => format!("restore cloud --code {code} --key KEYFILE"),
            None => format!("cloud claim {code}"),
        };
        println!("  offhook {command} --set cloud.endpoint={endpoint} --set cloud.trust=FILE\n");
        let file = trust.map_or_else(|| "the service's authority.crt".to_owned(), |path| path.display().to_string());
        println!("where FILE is a copy of {file}, unless tls.certificate is a public one.");
        Ok(())
    }
}

impl Boxes {
    fn run(&self, access: &Access<'_>) -> anyhow::Result<()> {
        let boxes = access.boxes(self.tenant.as_deref().unwrap_or_default())?;
        if self.json {
            println!("{}", json!(boxes.iter().map(box_json).collect::<Vec<_>>()));
            return Ok(());
        }
        if boxes.is_empty() {
            println!("No box yet: `offhook-cloud claim OFFICE` prints a code for the first.");
        }
        for each in &boxes {
            println!("{}", box_line(each));
        }
        Ok(())
    }
}

fn state_of(each: &v1::Box) -> &'static str {
    match (each.revoked_unix_ms, each.last_heard_unix_ms) {
        (Some(_), _) => "revoked",
        (None, 0) => "never heard",
        (None, _) if each.connected => "connected",
        (None, _) => "away",
    }
}

/// None where there is no such time.
fn time(at: i64) -> Option<i64> {
    Some(at).filter(|at| *at != 0)
}

fn box_json(each: &v1::Box) -> serde_json::Value {
    let heard = each.epoch != 0;
    json!({
        "tenant": each.tenant_id, "box": each.box_id, "state": state_of(each), "release": each.release,
        "enrolled_at": each.enrolled_unix_ms, "heard_at": time(each.last_heard_unix_ms),
        "equal_at": time(each.equal_unix_ms), "revoked_at": each.revoked_unix_ms,
        "epoch": heard.then_some(each.epoch), "watermark": heard.then_some(each.watermark),
    })
}

fn box_line(each: &v1::Box) -> String {
    let heard = time(each.last_heard_unix_ms).map_or(String::new(), |at| format!(", heard {}", in_words(at)));
    let equal = time(each.equal_unix_ms);
    let equal = equal.map_or(", rows not compared yet".to_owned(), |at| format!(", rows equal {}", in_words(at)));
    let release = if each.release.is_empty() { String::new() } else { format!(", {}", each.release) };
    format!("{}/{}  {}{release}{heard}{equal}", each.tenant_id, each.box_id, state_of(each))
}

impl Revoke {
    fn run(&self, access: &Access<'_>) -> anyhow::Result<()> {
        let (tenant_id, box_id) = (self.tenant.clone(), self.box_id.clone());
        access.revoke_box(v1::RevokeBoxRequest { tenant_id, box_id })?;
        println!("{}/{} may not connect any more; its stream ends within a minute.", self.tenant, self.box_id);
        Ok(())
    }
}

impl Calls {
    fn run(&self, access: &Access<'_>) -> anyhow::Result<()> {
        let (mut calls, mut page_token) = (Vec::new(), String::new());
        let limit = usize::try_from(self.limit)?;
        while calls.len() < limit {
            let page_size = u32::try_from(limit - calls.len())?.min(1_000);
            let (tenant_id, box_id) = (self.tenant.clone(), String::new());
            let page = access.list_calls(v1::ListCallsRequest { tenant_id, box_id, page_size, page_token })?;
            calls.extend(page.calls);
            page_token = page.next_page_token;
            if page_token.is_empty() {
                break;
            }
        }
        if self.json {
            println!("{}", json!(calls.iter().map(call_json).collect::<Vec<_>>()));
            return Ok(());
        }
        if calls.is_empty() {
            println!("No call of {} is here.", self.tenant);
        }
        for call in &calls {
            println!("{}", call_line(call));
        }
        Ok(())
    }
}

fn column<'a>(call: &'a v1::Call, name: &str) -> Option<&'a Kind> {
    call.columns.get(name)?.kind.as_ref()
}

fn call_json(call: &v1::Call) -> serde_json::Value {
    let columns = call.columns.iter();
    let mut json: serde_json::Map<_, _> = columns
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
    json.insert("call_id".to_owned(), json!(call.call_id));
    json.insert("box".to_owned(), json!(call.box_id));
    json.into()
}

fn call_line(call: &v1::Call) -> String {
    let text = |name: &str| match column(call, name) {
        Some(Kind::Text(text)) => text.as_str(),
        Some(Kind::Integer(_) | Kind::Real(_) | Kind::Blob(_)) | None => "-",
    };
    let started = match column(call, "started_at") {
        Some(Kind::Integer(at)) => in_words(*at),
        Some(Kind::Real(_) | Kind::Text(_) | Kind::Blob(_)) | None => "-".to_owned(),
    };
    let v1::Call { call_id, box_id, .. } = call;
    format!("{started}  {call_id}  {box_id}  {} {} {}", text("direction"), text("trunk"), text("state"))
}

/// A time in milliseconds since 1970, where this runs.
pub(crate) fn in_words(at: i64) -> String {
    let at = Timestamp::from_millisecond(at).unwrap_or(Timestamp::UNIX_EPOCH).to_zoned(TimeZone::system());
    at.strftime("%Y-%m-%d %H:%M:%S").to_string()
}
