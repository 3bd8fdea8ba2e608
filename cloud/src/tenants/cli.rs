//! `offhook-cloud tenant …`: tenants as wholes.
#![expect(clippy::print_stdout, reason = "a command line's answers go to stdout")]

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;
use clap::{Args, Subcommand};
use serde_json::json;
use tokio::runtime::Runtime;

use super::{Actor, Cell, Move, Recordings, erase, export, freeze, import, open, place};
use crate::cli::{Opened, in_words, kept, open_store};
use crate::clock;
use crate::config::{Config, ConfigMistakes, is_endpoint};
use crate::fleet::desk;
use crate::fleet::operator::{Action, Operator, SOMEBODY};
use crate::names::is_name;
use crate::store::tenants::{Erasure, Standing, StandingRecord, Tenants as _};
use crate::store::{AnyStore, Store as _};

/// What can be done with tenants.
#[derive(Debug, Subcommand)]
pub(crate) enum Tenant {
    /// The tenants there are: where each lives, how much of it is here
    List(List),
    /// Write everything of a tenant into a folder: records as lines of JSON, recordings as files
    Export(Export),
    /// Take a tenant from a folder into this cell, which must have nothing of it
    Import(Import),
    /// Erase everything that is here of a tenant. A tombstone stays, which says when and by whom
    Erase(Erase),
    /// Take nothing of a tenant any more, until it is opened or has moved
    Freeze(Named),
    /// Take rows of a tenant again that was frozen
    Open(Sure),
    /// Send the boxes of a tenant to another cell
    Place(Place),
    /// Move a tenant from this cell to another; one that was cut is carried on
    Move(MoveCommand),
}

#[derive(Debug, Args)]
pub(crate) struct List {
    /// As JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Named {
    /// Whose: lower-case letters, digits and hyphens
    tenant: String,
    /// As JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Sure {
    #[command(flatten)]
    named: Named,
    /// One that lives elsewhere: its name again, if no other cell takes its rows any more
    #[arg(long, value_name = "TENANT")]
    yes: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Export {
    /// Whose
    tenant: String,
    /// Where to, a folder that is made
    folder: PathBuf,
    /// As JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Import {
    /// A folder of `offhook-cloud tenant export`
    folder: PathBuf,
    /// As JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Erase {
    /// Whose
    tenant: String,
    /// The tenant's name again: what is erased does not come back
    #[arg(long, value_name = "TENANT", required = true)]
    yes: String,
    /// As JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Place {
    /// Whose
    tenant: String,
    /// Where its boxes go, as host and port
    endpoint: String,
    /// As JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct MoveCommand {
    #[command(flatten)]
    named: Named,
    /// Configuration of the cell that it moves to: a TOML file, to which neither --set nor the environment applies
    #[arg(long, value_name = "FILE")]
    to: PathBuf,
    /// Configuration of a directory that is told, likewise
    #[arg(long, value_name = "FILE")]
    directory: Option<PathBuf>,
    /// Keep what is here, shut; `offhook-cloud tenant erase` erases it later
    #[arg(long)]
    keep: bool,
}

impl Tenant {
    pub(crate) fn run(&self, config: &Config, opened: &Opened, by: Option<&str>) -> anyhow::Result<()> {
        let (store, named_by, by) = (opened.store(), by.is_some(), by.unwrap_or(SOMEBODY));
        match self {
            Tenant::List(list) => list.run(store),
            Tenant::Freeze(named) => {
                known(store, &named.tenant)?;
                show(&freeze(store, &named.tenant, actor(by))?, named.json)
            }
            Tenant::Open(Sure { named, yes }) => {
                known(store, &named.tenant)?;
                let sure = yes.as_deref().map(|yes| confirmed(&named.tenant, yes)).transpose()?.is_some();
                show(&open(store, &named.tenant, actor(by), sure)?, named.json)
            }
            Tenant::Place(Place { tenant, endpoint, json }) => {
                named(tenant)?;
                anyhow::ensure!(
                    is_endpoint(endpoint),
                    "endpoint {endpoint:?}: expected a host name or address and :port"
                );
                let own = config.endpoint();
                anyhow::ensure!(*endpoint != own, "{endpoint} is this cell: `offhook-cloud tenant open` opens it here");
                show(&place(store, tenant, endpoint, actor(by))?, *json)
            }
            Tenant::Export(Export { tenant, folder, json }) => {
                known(store, tenant)?;
                noted(store, by, tenant, Action::Export, "all of it")?;
                let done = export(&cell(config, opened, &runtime()?)?, tenant, folder, clock::unix_ms())?;
                say(*json, &json!(done), || {
                    let (records, recordings) = (done.records, done.recordings);
                    format!("{records} records and {recordings} recordings of {tenant} are in {}", folder.display())
                })
            }
            Tenant::Import(Import { folder, json }) => {
                let done = import(&cell(config, opened, &runtime()?)?, folder, actor(by))?;
                say(*json, &json!(done), || {
                    format!("{} lives here now: {} records, {} recordings", done.tenant, done.records, done.recordings)
                })
            }
            Tenant::Erase(Erase { tenant, yes, json }) => {
                anyhow::ensure!(named_by, "--as NAME: expected who does it, for the tombstone");
                confirmed(tenant, yes)?;
                known(store, tenant)?;
                noted(store, by, tenant, Action::Erase, "all of it")?;
                show(&erase(&cell(config, opened, &runtime()?)?, tenant, actor(by))?, *json)
            }
            Tenant::Move(command) => command.run(config, opened, by),
        }
    }
}

/// Before it is done, as everything that operators ask for.
fn noted(store: &AnyStore, by: &str, tenant: &str, action: Action, detail: &str) -> anyhow::Result<()> {
    Ok(desk::note(store, &Operator::at_console(by), tenant, action, "tenant", detail, true)?)
}

fn actor(by: &str) -> Actor<'_> {
    Actor { by, now: clock::unix_ms() }
}

fn named(tenant: &str) -> anyhow::Result<()> {
    anyhow::ensure!(is_name(tenant), "tenant {tenant:?}: expected 1 to 63 lower-case letters, digits and hyphens");
    Ok(())
}

/// One that has anything here, or of which it is said where it lives.
fn known(store: &AnyStore, tenant: &str) -> anyhow::Result<()> {
    named(tenant)?;
    let (standing, here) = (store.standing(tenant)?.standing, store.holdings(tenant)?);
    let is_known = standing != Standing::Open || !here.is_empty || here.claims > 0;
    anyhow::ensure!(is_known, "there is no tenant {tenant}: see `offhook-cloud tenant list`");
    Ok(())
}

fn confirmed(tenant: &str, yes: &str) -> anyhow::Result<()> {
    anyhow::ensure!(tenant == yes, "--yes {yes}: expected {tenant}, the name of the tenant again");
    Ok(())
}

fn runtime() -> anyhow::Result<Arc<Runtime>> {
    Ok(Arc::new(tokio::runtime::Builder::new_current_thread().enable_all().build()?))
}

fn cell(config: &Config, opened: &Opened, runtime: &Arc<Runtime>) -> anyhow::Result<Cell> {
    let directory = config.directory();
    let (blobs, backups) = (config.blobs.open(&directory)?, kept(config)?.blobs);
    let recordings = Recordings::new(blobs, backups, config.blobs.place(&directory), Arc::clone(runtime));
    Ok(Cell { store: opened.shared(), recordings, endpoint: config.endpoint() })
}

fn say(as_json: bool, value: &serde_json::Value, words: impl FnOnce() -> String) -> anyhow::Result<()> {
    println!("{}", if as_json { value.to_string() } else { words() });
    Ok(())
}

fn show(record: &StandingRecord, as_json: bool) -> anyhow::Result<()> {
    say(as_json, &standing_json(record)?, || standing_line(record))
}

fn standing_json(record: &StandingRecord) -> anyhow::Result<serde_json::Value> {
    let mut value = serde_json::to_value(&record.standing)?;
    value["tenant"] = json!(record.tenant_id);
    value["changed_at"] = json!((record.changed_at > 0).then_some(record.changed_at));
    value["changed_by"] = json!(record.changed_by);
    Ok(value)
}

fn standing_line(record: &StandingRecord) -> String {
    let StandingRecord { tenant_id, standing, changed_at, changed_by } = record;
    let what = match standing {
        Standing::Erased(Erasure { boxes, rows, recordings, done_at: Some(at), .. }) => {
            format!(": {boxes} boxes, {rows} rows, {recordings} recordings; nothing is left since {}", in_words(*at))
        }
        Standing::Erased(_) => ": not all of it yet, erase it again".to_owned(),
        Standing::Open
        | Standing::Frozen { .. }
        | Standing::Arriving { .. }
        | Standing::Ready { .. }
        | Standing::Elsewhere { .. } => String::new(),
    };
    let since =
        if changed_by.is_empty() { String::new() } else { format!(" (by {changed_by}, {})", in_words(*changed_at)) };
    format!("{tenant_id} {standing}{what}{since}")
}

impl List {
    fn run(&self, store: &AnyStore) -> anyhow::Result<()> {
        let mut records = store.standings()?;
        for tenant in store.tenants()? {
            if !records.iter().any(|record| record.tenant_id == tenant) {
                records.push(store.standing(&tenant)?);
            }
        }
        records.sort_by(|a, b| a.tenant_id.cmp(&b.tenant_id));
        let mut values = Vec::new();
        for record in &records {
            let here = store.holdings(&record.tenant_id)?;
            if self.json {
                let mut value = standing_json(record)?;
                value["here"] = json!(here);
                values.push(value);
            } else {
                println!("{}; here: {} boxes, {} rows", standing_line(record), here.boxes, here.rows);
            }
        }
        if self.json {
            println!("{}", json!(values));
        } else if records.is_empty() {
            println!("No tenant yet: `offhook-cloud claim OFFICE` prints a code for the first box of one.");
        }
        Ok(())
    }
}

/// The configuration of another cell.
fn other(key: &str, file: &Path) -> anyhow::Result<Config> {
    let config = Config::read(file).map_err(|ConfigMistakes(mistakes)| {
        ConfigMistakes(mistakes.into_iter().map(|mistake| format!("{key}: {mistake}")).collect())
    })?;
    Ok(config)
}

/// A cell whose boxes' certificates another one does not believe must not get them.
fn same_authority(from: &Config, to: &Config) -> anyhow::Result<()> {
    let path = |config: &Config| config.directory().join("authority.crt");
    let (ours, theirs) = (path(from), path(to));
    let certificates = (std::fs::read(&ours), std::fs::read(&theirs));
    let (Ok(our_certificate), Ok(their_certificate)) = certificates else {
        let (ours, theirs) = (ours.display(), theirs.display());
        eprintln!("offhook-cloud: {ours} and {theirs} are not both here: see yourself that they are the same");
        return Ok(());
    };
    anyhow::ensure!(
        our_certificate == their_certificate,
        "{} and {} differ: boxes are known by certificates of one authority, so copy authority.crt and authority.key \
         from one cell to the other",
        ours.display(),
        theirs.display()
    );
    Ok(())
}

impl MoveCommand {
    fn run(&self, config: &Config, opened: &Opened, by: &str) -> anyhow::Result<()> {
        let MoveCommand { named: Named { tenant, json }, to, directory, keep } = self;
        known(opened.store(), tenant)?;
        let there = other("--to", to)?;
        let (ours, theirs) = (config.endpoint(), there.endpoint());
        anyhow::ensure!(ours != theirs, "both cells have listen.endpoint = {ours:?}: expected two");
        noted(opened.store(), by, tenant, Action::Configure, &format!("move to {theirs}"))?;
        same_authority(config, &there)?;
        let directory = directory.as_deref().map(|file| open_store(&other("--directory", file)?)).transpose()?;
        let opened_there = open_store(&there).context("the cell of --to")?;
        let runtime = runtime()?;
        let (from, to) = (cell(config, opened, &runtime)?, cell(&there, &opened_there, &runtime)?);
        let directory = directory.as_ref().map(Opened::store);
        let moving = Move { from: &from, to: &to, directory, tenant_id: tenant, keep: *keep };
        let moved = moving.run(actor(by), &mut |step| {
            eprintln!("{tenant}: {step}");
            Ok(())
        })?;
        let (copied, recordings) = (&moved.copied, moved.recordings);
        let value = json!({ "tenant": tenant, "endpoint": theirs, "copied": copied, "recordings": recordings });
        say(*json, &value, || {
            let copied = copied.as_ref().map_or(String::new(), |copied| {
                format!(": {} records with SHA-256 {}, {recordings} recordings", copied.records, copied.sha256)
            });
            format!("{tenant} lives at {theirs} now{copied}")
        })
    }
}
