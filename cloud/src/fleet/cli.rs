//! `offhook-cloud fleet`: what boxes should be like and should do.
#![expect(clippy::print_stdout, reason = "a command line's answers go to stdout")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use clap::{Args, Subcommand};
use serde_json::json;

use super::document::{BoxDocument, CommandRecord, DesiredState, Outcome, Wish};
use super::rollout::{Rollout, State};
use super::{box_document, box_documents, change_box, change_rollout, rollouts};
use crate::cli::in_words;
use crate::clock;
use crate::store::{AnyStore, BoxName, BoxRecord, Store as _};

const MINUTE_MS: i64 = 60_000;
/// Between two looks whether something has happened.
const LOOK: Duration = Duration::from_millis(250);

/// Flags of `offhook-cloud fleet`.
#[derive(Debug, Subcommand)]
pub(crate) enum Fleet {
    /// Every box with its configuration's version and whether it is in force
    List(List),
    /// All wishes about one box, and what became of them
    Show(Show),
    /// Give a box a configuration: the sections of a file as the box's own is, and knowledge files
    ///
    /// Sections that are in it replace the box's own, all others stay. The box checks them, waits until no call is up, takes
    /// them into use, and takes them back unless it reaches its trunk and this cloud within two minutes.
    Set(Set),
    /// Have a box do something once: diagnostics, test-call, rotate-keys, restart, update, reboot
    Command(CommandArgs),
    /// Give many boxes a configuration, a few of them first; the first that rejects it halts the rest
    Rollout(RolloutArgs),
    /// The rollouts of a tenant
    Rollouts(Rollouts),
    /// Stop a rollout where it is; boxes that have it keep it
    Halt(Halt),
}

#[derive(Debug, Args)]
pub(crate) struct List {
    /// Of this tenant only
    #[arg(long)]
    tenant: Option<String>,
    /// As JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Show {
    /// Whose
    tenant: String,
    /// Which, whole
    box_id: String,
    /// As JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Set {
    /// Whose
    tenant: String,
    /// Which, whole
    box_id: String,
    #[command(flatten)]
    content: Content,
    /// Who wishes it, for the record
    #[arg(long = "as", value_name = "NAME", default_value = "operator")]
    by: String,
    /// Wait until the box has applied or rejected it, this many seconds
    #[arg(long, value_name = "SECONDS")]
    wait: Option<u32>,
    /// As JSON
    #[arg(long)]
    json: bool,
}

/// What a configuration is made of.
#[derive(Debug, Args)]
struct Content {
    /// TOML with the sections, such as [office] and [[extensions]]
    file: PathBuf,
    /// A file of the office's knowledge (Markdown, text, HTML); may be repeated
    #[arg(long, value_name = "FILE")]
    knowledge: Vec<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct CommandArgs {
    /// Whose
    tenant: String,
    /// Which, whole
    box_id: String,
    /// diagnostics, test-call, rotate-keys, restart, update or reboot
    #[arg(value_parser = COMMANDS)]
    name: String,
    /// How, for example --argument text="When are you open?"; may be repeated
    #[arg(long = "argument", value_name = "KEY=VALUE")]
    arguments: Vec<String>,
    /// After so many minutes it is not done any more. 1 to 10 080
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..=10_080))]
    minutes: u32,
    /// Who wants it, for the record
    #[arg(long = "as", value_name = "NAME", default_value = "operator")]
    by: String,
    /// Wait for the result, this many seconds
    #[arg(long, value_name = "SECONDS")]
    wait: Option<u32>,
    /// As JSON
    #[arg(long)]
    json: bool,
}

/// What a box can be told to do.
const COMMANDS: [&str; 6] = ["diagnostics", "test-call", "rotate-keys", "restart", "update", "reboot"];

#[derive(Debug, Args)]
pub(crate) struct RolloutArgs {
    /// Whose boxes
    tenant: String,
    #[command(flatten)]
    content: Content,
    /// Only these boxes, in this order; without it all that are not revoked
    #[arg(long = "box", value_name = "BOX")]
    boxes: Vec<String>,
    /// How many per cent of the boxes have it after each stage, ascending to 100
    #[arg(long, value_delimiter = ',', default_value = "10,50,100")]
    cohorts: Vec<u8>,
    /// How long a cohort runs with it before the next gets it, in minutes
    #[arg(long, default_value_t = 60)]
    soak_minutes: u32,
    /// How long a cohort may take to apply it, in minutes
    #[arg(long, default_value_t = 240)]
    limit_minutes: u32,
    /// Who wishes it, for the record
    #[arg(long = "as", value_name = "NAME", default_value = "operator")]
    by: String,
    /// As JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Rollouts {
    /// Whose
    tenant: String,
    /// As JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Halt {
    /// Whose
    tenant: String,
    /// Which: see `fleet rollouts`
    rollout: String,
    /// Who wishes it, for the record
    #[arg(long = "as", value_name = "NAME", default_value = "operator")]
    by: String,
}

impl Fleet {
    pub(crate) fn run(&self, store: &AnyStore) -> anyhow::Result<()> {
        match self {
            Fleet::List(list) => list.run(store),
            Fleet::Show(show) => show.run(store),
            Fleet::Set(set) => set.run(store),
            Fleet::Command(command) => command.run(store),
            Fleet::Rollout(rollout) => rollout.run(store),
            Fleet::Rollouts(rollouts) => rollouts.run(store),
            Fleet::Halt(halt) => halt.run(store),
        }
    }
}

impl Content {
    fn wish(&self) -> anyhow::Result<Wish> {
        let read = |path: &Path| std::fs::read_to_string(path).with_context(|| path.display().to_string());
        let mut files = BTreeMap::new();
        for path in &self.knowledge {
            let name = path.file_name().and_then(|name| name.to_str());
            let name = name.with_context(|| format!("{}: expected a file with a name", path.display()))?;
            files.insert(name.to_owned(), read(path)?);
        }
        let text = read(&self.file)?;
        Wish::of_toml(&text, files).with_context(|| self.file.display().to_string())
    }
}

/// The name, if there is such a box.
fn known(store: &AnyStore, tenant: &str, box_id: &str) -> anyhow::Result<BoxName> {
    Ok(record(store, tenant, box_id)?.name)
}

fn record(store: &AnyStore, tenant: &str, box_id: &str) -> anyhow::Result<BoxRecord> {
    let found = store.boxes(tenant)?.into_iter().find(|record| record.name.box_id == box_id);
    found.with_context(|| format!("there is no box {tenant}/{box_id}: see `offhook-cloud boxes`"))
}

/// What comes of it within the time; None if nothing has.
#[expect(
    clippy::disallowed_methods,
    reason = "a person waits at a command line: there is no other work to do meanwhile"
)]
fn wait_for<T>(seconds: u32, mut look: impl FnMut() -> anyhow::Result<Option<T>>) -> anyhow::Result<Option<T>> {
    let until = clock::now() + Duration::from_secs(seconds.into());
    loop {
        let found = look()?;
        if found.is_some() || clock::now() >= until {
            return Ok(found);
        }
        std::thread::sleep(LOOK);
    }
}

impl List {
    fn run(&self, store: &AnyStore) -> anyhow::Result<()> {
        let tenants = match &self.tenant {
            Some(tenant) => vec![tenant.clone()],
            None => store.tenants()?,
        };
        let mut lines = Vec::new();
        let mut values = Vec::new();
        for tenant in tenants {
            let documents = box_documents(store, &tenant)?;
            for record in store.boxes(&tenant)? {
                let document = documents.get(&record.name.box_id).cloned().unwrap_or_default();
                lines.push(format!("{}  {}", record.name, box_words(&record, &document)));
                let mut value = serde_json::to_value(summary(&record, &document))?;
                value["tenant"] = json!(record.name.tenant_id);
                value["box"] = json!(record.name.box_id);
                value["heard_at"] = json!(record.heard_at);
                values.push(value);
            }
        }
        if self.json {
            println!("{}", json!(values));
        } else if lines.is_empty() {
            println!("No box yet: `offhook-cloud claim OFFICE` prints a code for the first.");
        } else {
            println!("{}", lines.join("\n"));
        }
        Ok(())
    }
}

fn summary(record: &BoxRecord, document: &BoxDocument) -> serde_json::Value {
    let version = document.desired.as_ref().map(|desired| desired.version);
    let outcome = document.desired.as_ref().map(|desired| &desired.outcome);
    json!({ "version": version, "outcome": outcome, "silent_since": record.silent_since })
}

fn box_words(record: &BoxRecord, document: &BoxDocument) -> String {
    let silent = record.silent_since.map_or_else(String::new, |at| format!("SILENT since {}, ", in_words(at)));
    let wish = document.desired.as_ref().map_or_else(|| "its own configuration".to_owned(), desired_words);
    format!("{silent}{wish}")
}

fn desired_words(desired: &DesiredState) -> String {
    let DesiredState { version, set_at, set_by, outcome, .. } = desired;
    let outcome = match outcome {
        Outcome::Unsent => "the box has not said anything about it yet".to_owned(),
        Outcome::Pending { detail, .. } => format!("not yet: {detail}"),
        Outcome::Applied { at } => format!("in force since {}", in_words(*at)),
        Outcome::Rejected { detail, at } => format!("REJECTED {}: {detail}", in_words(*at)),
        Outcome::Superseded => "a later one came first".to_owned(),
    };
    format!("configuration {version} of {set_by}, {}: {outcome}", in_words(*set_at))
}

impl Show {
    fn run(&self, store: &AnyStore) -> anyhow::Result<()> {
        let record = record(store, &self.tenant, &self.box_id)?;
        let document = box_document(store, &record.name)?;
        if self.json {
            let mut value = serde_json::to_value(&document)?;
            value["silent_since"] = json!(record.silent_since);
            println!("{value}");
            return Ok(());
        }
        println!("{}  {}", record.name, box_words(&record, &document));
        for (section, text) in document.desired.iter().flat_map(|desired| &desired.sections) {
            println!("\n  {section}\n{}", indented(text));
        }
        if !document.history.is_empty() {
            println!("\nBefore:");
        }
        for desired in &document.history {
            println!("  {}", desired_words(desired));
        }
        if !document.commands.is_empty() {
            println!("\nCommands:");
        }
        for command in &document.commands {
            println!("{}", command_words(command));
        }
        Ok(())
    }
}

fn indented(text: &str) -> String {
    text.lines().map(|line| format!("    {line}\n")).collect::<String>().trim_end().to_owned()
}

fn command_words(command: &CommandRecord) -> String {
    let CommandRecord { name, sent_by, sent_at, expires_at, result, .. } = command;
    let outcome = match result {
        Some(result) if result.done => format!("done {}", in_words(result.at)),
        Some(result) => format!("NOT done {}", in_words(result.at)),
        None if *expires_at <= clock::unix_ms() => "never heard of; it is too late now".to_owned(),
        None => format!("open until {}", in_words(*expires_at)),
    };
    let detail = result.as_ref().filter(|result| !result.detail.is_empty());
    let detail = detail.map_or_else(String::new, |result| format!("\n{}", indented(&result.detail)));
    format!("  {name} of {sent_by}, {}: {outcome}{detail}", in_words(*sent_at))
}

impl Set {
    fn run(&self, store: &AnyStore) -> anyhow::Result<()> {
        let (of, wish) = (known(store, &self.tenant, &self.box_id)?, self.content.wish()?);
        let now = clock::unix_ms();
        let version = change_box(store, &of, now, |document| document.wish(&wish, &self.by, now))?;
        let outcome = wait_for(self.wait.unwrap_or(0), || {
            let desired = box_document(store, &of)?.desired.filter(|desired| desired.version == version);
            let decided =
                |desired: &DesiredState| matches!(desired.outcome, Outcome::Applied { .. } | Outcome::Rejected { .. });
            Ok(desired.filter(decided))
        })?;
        let rejected = outcome.as_ref().is_some_and(|desired| matches!(desired.outcome, Outcome::Rejected { .. }));
        if self.json {
            println!("{}", json!({ "version": version, "outcome": outcome.map(|desired| desired.outcome) }));
        } else if let Some(desired) = outcome {
            println!("{of}  {}", desired_words(&desired));
        } else {
            println!("{of}  configuration {version} is on its way: see `offhook-cloud fleet show`");
        }
        anyhow::ensure!(!rejected, "the box has rejected it");
        Ok(())
    }
}

impl CommandArgs {
    fn run(&self, store: &AnyStore) -> anyhow::Result<()> {
        let of = known(store, &self.tenant, &self.box_id)?;
        let argument = |text: &String| {
            let (key, value) = text.split_once('=')?;
            Some((key.to_owned(), value.to_owned()))
        };
        let arguments: Option<BTreeMap<String, String>> = self.arguments.iter().map(argument).collect();
        let now = clock::unix_ms();
        let command = CommandRecord {
            command_id: format!("{:032x}", rand::random::<u128>()),
            name: self.name.clone(),
            arguments: arguments.context("--argument: expected KEY=VALUE")?,
            sent_by: self.by.clone(),
            sent_at: now,
            expires_at: now + i64::from(self.minutes) * MINUTE_MS,
            result: None,
        };
        let id = command.command_id.clone();
        change_box(store, &of, now, |document| document.send(command.clone()))?;
        let done = wait_for(self.wait.unwrap_or(0), || {
            let commands = box_document(store, &of)?.commands;
            Ok(commands.into_iter().find(|command| command.command_id == id && command.result.is_some()))
        })?;
        let failed = done.iter().flat_map(|command| &command.result).any(|result| !result.done);
        if self.json {
            println!("{}", json!({ "command_id": id, "result": done.and_then(|command| command.result) }));
        } else {
            println!("{}", command_words(done.as_ref().unwrap_or(&command)));
        }
        anyhow::ensure!(!failed, "the box has not done it");
        Ok(())
    }
}

impl RolloutArgs {
    fn run(&self, store: &AnyStore) -> anyhow::Result<()> {
        let ascending = self.cohorts.is_sorted_by(|a, b| a < b) && self.cohorts.first().is_some_and(|first| *first > 0);
        anyhow::ensure!(
            ascending && self.cohorts.last() == Some(&100),
            "--cohorts: expected per cents that ascend to 100, for example 10,50,100"
        );
        let wish = self.content.wish()?;
        let there: Vec<String> = store
            .boxes(&self.tenant)?
            .into_iter()
            .filter(|record| record.revoked_at.is_none())
            .map(|record| record.name.box_id)
            .collect();
        if let Some(unknown) = self.boxes.iter().find(|name| !there.contains(name)) {
            anyhow::bail!("--box {unknown}: {} has no such box, or it is revoked", self.tenant);
        }
        let boxes = if self.boxes.is_empty() { there } else { self.boxes.clone() };
        anyhow::ensure!(!boxes.is_empty(), "{} has no box", self.tenant);
        let (now, id) = (clock::unix_ms(), format!("{:08x}", rand::random::<u32>()));
        let rollout = Rollout {
            sections: wish.sections().clone(),
            boxes,
            cohorts: self.cohorts.clone(),
            soak_ms: i64::from(self.soak_minutes) * MINUTE_MS,
            limit_ms: i64::from(self.limit_minutes) * MINUTE_MS,
            by: self.by.clone(),
            began_at: now,
            stage_at: now,
            ..Rollout::default()
        };
        change_rollout(store, &self.tenant, &id, now, |document| *document = rollout.clone())?;
        if self.json {
            println!("{}", json!({ "rollout": id }));
        } else {
            println!("Rollout {id} to {} boxes has begun: see `offhook-cloud fleet rollouts`", rollout.boxes.len());
        }
        Ok(())
    }
}

impl Rollouts {
    fn run(&self, store: &AnyStore) -> anyhow::Result<()> {
        let all = rollouts(store, &self.tenant)?;
        if self.json {
            println!("{}", serde_json::to_string(&all)?);
            return Ok(());
        }
        if all.is_empty() {
            println!("{} has had no rollout.", self.tenant);
        }
        for (id, rollout) in &all {
            let state = match &rollout.state {
                State::Running => format!("stage {} of {}", rollout.stage + 1, rollout.cohorts.len()),
                State::Halted { reason, at } => format!("HALTED {}: {reason}", in_words(*at)),
                State::Done { at } => format!("done {}", in_words(*at)),
            };
            let (given, boxes) = (rollout.versions.len(), rollout.boxes.len());
            println!("{id}  of {}, {}: {given} of {boxes} boxes, {state}", rollout.by, in_words(rollout.began_at));
        }
        Ok(())
    }
}

impl Halt {
    fn run(&self, store: &AnyStore) -> anyhow::Result<()> {
        let there = rollouts(store, &self.tenant)?.contains_key(&self.rollout);
        anyhow::ensure!(there, "{} has no rollout {}: see `fleet rollouts`", self.tenant, self.rollout);
        let now = clock::unix_ms();
        let reason = format!("by {}", self.by);
        change_rollout(store, &self.tenant, &self.rollout, now, |rollout| rollout.halt(reason.clone(), now))?;
        println!("No further box gets rollout {}; those that have it keep it.", self.rollout);
        Ok(())
    }
}
