//! `offhook-cloud fleet`: what boxes should be like and should do, and what is known of them.
#![expect(clippy::print_stdout, reason = "a command line's answers go to stdout")]

use std::collections::BTreeMap;
use std::io::{BufWriter, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use base64::Engine as _;
use clap::{Args, Subcommand};
use cloud_api::v1::value::Kind;
use cloud_api::v1::{self, command_record, desired_version, rollout};
use jiff::{Timestamp, ToSpan as _, Unit, tz::TimeZone};
use serde_json::{Value, json};

use super::access::Access;
use super::desk::COMMANDS;
use super::document::Wish;
use super::metrics::spread_json;
use crate::cli::in_words;
use crate::clock;

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
    /// Calls in figures, day by day or hour by hour
    Metrics(Metrics),
    /// Every row of a tenant's boxes, one line of JSON each
    Export(Export),
    /// Have every box of a tenant erase a caller: calls, recordings, messages, texts, contacts
    ///
    /// What a box deletes goes from here with it. Backups are sealed and cannot be looked into: those of before go when their
    /// time is over.
    Erase(Erase),
    /// Who asked for what, and whether an entry was changed or taken out
    Audit(Audit),
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
    /// diagnostics, test-call, rotate-keys, restart, update, reboot or erase-caller
    #[arg(value_parser = COMMANDS)]
    name: String,
    /// How, for example --argument text="When are you open?"; may be repeated
    #[arg(long = "argument", value_name = "KEY=VALUE")]
    arguments: Vec<String>,
    /// After so many minutes it is not done any more. 1 to 10 080
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..=10_080))]
    minutes: u32,
    /// Wait for the result, this many seconds
    #[arg(long, value_name = "SECONDS")]
    wait: Option<u32>,
    /// As JSON
    #[arg(long)]
    json: bool,
}

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
}

#[derive(Debug, Args)]
pub(crate) struct Metrics {
    /// Whose
    tenant: String,
    /// Of this box only
    #[arg(long = "box", value_name = "BOX", default_value = "")]
    box_id: String,
    /// So many days back, today among them. 1 to 366
    #[arg(long, default_value_t = 7, value_parser = clap::value_parser!(i64).range(1..=366))]
    days: i64,
    /// Hour by hour; at most 41 days
    #[arg(long)]
    hourly: bool,
    /// As JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Export {
    /// Whose
    tenant: String,
    /// Where to; it is made, and must not be there
    file: PathBuf,
    /// Of this box only
    #[arg(long = "box", value_name = "BOX", default_value = "")]
    box_id: String,
    /// What was written, as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Erase {
    /// Whose boxes
    tenant: String,
    /// The caller's number, as in +12125550142
    caller: String,
    /// Wait until every box has done it, this many seconds
    #[arg(long, value_name = "SECONDS")]
    wait: Option<u32>,
    /// As JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Audit {
    /// Whose; `*` for what was asked about operators of all tenants
    tenant: String,
    /// How many at most, of the latest
    #[arg(long, default_value_t = 50)]
    limit: usize,
    /// As JSON
    #[arg(long)]
    json: bool,
}

impl Fleet {
    pub(crate) fn run(&self, access: &Access<'_>) -> anyhow::Result<()> {
        match self {
            Fleet::List(list) => list.run(access),
            Fleet::Show(show) => show.run(access),
            Fleet::Set(set) => set.run(access),
            Fleet::Command(command) => command.run(access),
            Fleet::Rollout(rollout) => rollout.run(access),
            Fleet::Rollouts(rollouts) => rollouts.run(access),
            Fleet::Halt(halt) => halt.run(access),
            Fleet::Metrics(metrics) => metrics.run(access),
            Fleet::Export(export) => export.run(access),
            Fleet::Erase(erase) => erase.run(access),
            Fleet::Audit(audit) => audit.run(access),
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

fn get_box(access: &Access<'_>, tenant: &str, box_id: &str) -> anyhow::Result<v1::GetBoxResponse> {
    access.get_box(v1::GetBoxRequest { tenant_id: tenant.to_owned(), box_id: box_id.to_owned() })
}

impl List {
    fn run(&self, access: &Access<'_>) -> anyhow::Result<()> {
        let boxes = access.boxes(self.tenant.as_deref().unwrap_or_default())?;
        if self.json {
            println!("{}", json!(boxes.iter().map(summary_json).collect::<Vec<_>>()));
        } else if boxes.is_empty() {
            println!("No box yet: `offhook-cloud claim OFFICE` prints a code for the first.");
        }
        for each in boxes.iter().filter(|_| !self.json) {
            println!("{}/{}  {}", each.tenant_id, each.box_id, box_words(each));
        }
        Ok(())
    }
}

fn summary_json(each: &v1::Box) -> Value {
    let desired = each.desired.as_ref();
    json!({
        "tenant": each.tenant_id, "box": each.box_id, "version": desired.map(|desired| desired.version),
        "outcome": desired.map(outcome_json), "silent_since": each.silent_since_unix_ms,
        "heard_at": Some(each.last_heard_unix_ms).filter(|at| *at != 0),
    })
}

fn outcome_json(desired: &v1::DesiredVersion) -> Value {
    let (at, detail) = (desired.state_unix_ms, &desired.detail);
    match desired.state() {
        desired_version::State::Unspecified | desired_version::State::Unsent => json!({ "state": "unsent" }),
        desired_version::State::Pending => json!({ "state": "pending", "detail": detail, "at": at }),
        desired_version::State::Applied => json!({ "state": "applied", "at": at }),
        desired_version::State::Rejected => json!({ "state": "rejected", "detail": detail, "at": at }),
        desired_version::State::Superseded => json!({ "state": "superseded" }),
    }
}

fn desired_json(desired: &v1::DesiredVersion) -> Value {
    json!({
        "version": desired.version, "sections": ordered(&desired.sections_toml), "set_at": desired.set_at_unix_ms,
        "set_by": desired.set_by, "outcome": outcome_json(desired),
    })
}

fn command_json(command: &v1::CommandRecord) -> Value {
    let result = command.result.as_ref();
    json!({
        "command_id": command.command_id, "name": command.name, "arguments": ordered(&command.arguments),
        "sent_by": command.sent_by, "sent_at": command.sent_at_unix_ms, "expires_at": command.expires_at_unix_ms,
        "result": result.map(result_json),
    })
}

fn result_json(result: &command_record::Result) -> Value {
    json!({ "done": result.done, "detail": result.detail, "at": result.at_unix_ms })
}

fn ordered<T: Clone>(map: &std::collections::HashMap<String, T>) -> BTreeMap<String, T> {
    map.clone().into_iter().collect()
}

fn box_words(each: &v1::Box) -> String {
    let silent = each.silent_since_unix_ms;
    let silent = silent.map_or_else(String::new, |at| format!("SILENT since {}, ", in_words(at)));
    let wish = each.desired.as_ref().map_or_else(|| "its own configuration".to_owned(), desired_words);
    format!("{silent}{wish}")
}

fn desired_words(desired: &v1::DesiredVersion) -> String {
    let (detail, at) = (&desired.detail, in_words(desired.state_unix_ms));
    let outcome = match desired.state() {
        desired_version::State::Unspecified | desired_version::State::Unsent => {
            "the box has not said anything about it yet".to_owned()
        }
        desired_version::State::Pending => format!("not yet: {detail}"),
        desired_version::State::Applied => format!("in force since {at}"),
        desired_version::State::Rejected => format!("REJECTED {at}: {detail}"),
        desired_version::State::Superseded => "a later one came first".to_owned(),
    };
    format!("configuration {} of {}, {}: {outcome}", desired.version, desired.set_by, in_words(desired.set_at_unix_ms))
}

impl Show {
    fn run(&self, access: &Access<'_>) -> anyhow::Result<()> {
        let v1::GetBoxResponse { r#box, history, commands } = get_box(access, &self.tenant, &self.box_id)?;
        let each = r#box.unwrap_or_default();
        if self.json {
            let document = json!({
                "desired": each.desired.as_ref().map(desired_json), "silent_since": each.silent_since_unix_ms,
                "history": history.iter().map(desired_json).collect::<Vec<_>>(),
                "commands": commands.iter().map(command_json).collect::<Vec<_>>(),
            });
            println!("{document}");
            return Ok(());
        }
        println!("{}/{}  {}", each.tenant_id, each.box_id, box_words(&each));
        for (section, text) in each.desired.iter().flat_map(|desired| ordered(&desired.sections_toml)) {
            println!("\n  {section}\n{}", indented(&text));
        }
        if !history.is_empty() {
            println!("\nBefore:");
        }
        for desired in &history {
            println!("  {}", desired_words(desired));
        }
        if !commands.is_empty() {
            println!("\nCommands:");
        }
        for command in &commands {
            println!("{}", command_words(command));
        }
        Ok(())
    }
}

fn indented(text: &str) -> String {
    text.lines().map(|line| format!("    {line}\n")).collect::<String>().trim_end().to_owned()
}

fn command_words(command: &v1::CommandRecord) -> String {
    let expires_at = command.expires_at_unix_ms;
    let outcome = match &command.result {
        Some(result) if result.done => format!("done {}", in_words(result.at_unix_ms)),
        Some(result) => format!("NOT done {}", in_words(result.at_unix_ms)),
        None if expires_at <= clock::unix_ms() => "never heard of; it is too late now".to_owned(),
        None => format!("open until {}", in_words(expires_at)),
    };
    let detail = command.result.as_ref().filter(|result| !result.detail.is_empty());
    let detail = detail.map_or_else(String::new, |result| format!("\n{}", indented(&result.detail)));
    format!("  {} of {}, {}: {outcome}{detail}", command.name, command.sent_by, in_words(command.sent_at_unix_ms))
}

/// The command once it has a result, if it has one within the time, else as it is.
fn command_after(
    access: &Access<'_>,
    (tenant, box_id): (&str, &str),
    id: &str,
    seconds: u32,
) -> anyhow::Result<Option<v1::CommandRecord>> {
    let find = || -> anyhow::Result<Option<v1::CommandRecord>> {
        let commands = get_box(access, tenant, box_id)?.commands;
        Ok(commands.into_iter().find(|command| command.command_id == id))
    };
    match wait_for(seconds, || Ok(find()?.filter(|command| command.result.is_some())))? {
        Some(command) => Ok(Some(command)),
        None => find(),
    }
}

impl Set {
    fn run(&self, access: &Access<'_>) -> anyhow::Result<()> {
        let sections_toml = self.content.wish()?.sections().clone().into_iter().collect();
        let desired = Some(v1::Desired { version: 0, sections_toml });
        let (tenant_id, box_id) = (self.tenant.clone(), self.box_id.clone());
        let version = access.set_desired(v1::SetDesiredRequest { box_id, desired, tenant_id })?.version;
        let outcome = wait_for(self.wait.unwrap_or(0), || {
            let desired = get_box(access, &self.tenant, &self.box_id)?.r#box.and_then(|each| each.desired);
            let decided = [desired_version::State::Applied, desired_version::State::Rejected];
            Ok(desired.filter(|desired| desired.version == version && decided.contains(&desired.state())))
        })?;
        let is_rejected = |desired: &v1::DesiredVersion| desired.state() == desired_version::State::Rejected;
        let rejected = outcome.as_ref().is_some_and(is_rejected);
        let name = format!("{}/{}", self.tenant, self.box_id);
        if self.json {
            println!("{}", json!({ "version": version, "outcome": outcome.as_ref().map(outcome_json) }));
        } else if let Some(desired) = outcome {
            println!("{name}  {}", desired_words(&desired));
        } else {
            println!("{name}  configuration {version} is on its way: see `offhook-cloud fleet show`");
        }
        anyhow::ensure!(!rejected, "the box has rejected it");
        Ok(())
    }
}

impl CommandArgs {
    fn run(&self, access: &Access<'_>) -> anyhow::Result<()> {
        let argument = |text: &String| {
            let (key, value) = text.split_once('=')?;
            Some((key.to_owned(), value.to_owned()))
        };
        let arguments: Option<_> = self.arguments.iter().map(argument).collect();
        let command = v1::Command {
            name: self.name.clone(),
            arguments: arguments.context("--argument: expected KEY=VALUE")?,
            expires_at_unix_ms: clock::unix_ms() + i64::from(self.minutes) * MINUTE_MS,
            ..v1::Command::default()
        };
        let (tenant_id, box_id) = (self.tenant.clone(), self.box_id.clone());
        let sent = access.send_command(v1::SendCommandRequest { box_id, command: Some(command), tenant_id })?;
        let of = (self.tenant.as_str(), self.box_id.as_str());
        let command = command_after(access, of, &sent.command_id, self.wait.unwrap_or(0))?;
        let result = command.as_ref().and_then(|command| command.result.as_ref());
        if self.json {
            println!("{}", json!({ "command_id": sent.command_id, "result": result.map(result_json) }));
        } else if let Some(command) = &command {
            println!("{}", command_words(command));
        }
        anyhow::ensure!(result.is_none_or(|result| result.done), "the box has not done it");
        Ok(())
    }
}

impl RolloutArgs {
    fn run(&self, access: &Access<'_>) -> anyhow::Result<()> {
        let begun = access.start_rollout(v1::StartRolloutRequest {
            tenant_id: self.tenant.clone(),
            sections_toml: self.content.wish()?.sections().clone().into_iter().collect(),
            box_ids: self.boxes.clone(),
            cohorts_percent: self.cohorts.iter().map(|per_cent| u32::from(*per_cent)).collect(),
            soak_ms: i64::from(self.soak_minutes) * MINUTE_MS,
            limit_ms: i64::from(self.limit_minutes) * MINUTE_MS,
        })?;
        let v1::StartRolloutResponse { rollout_id, boxes } = begun;
        if self.json {
            println!("{}", json!({ "rollout": rollout_id }));
        } else {
            println!("Rollout {rollout_id} to {boxes} boxes has begun: see `offhook-cloud fleet rollouts`");
        }
        Ok(())
    }
}

fn rollout_json(each: &v1::Rollout) -> Value {
    let (at, reason) = (each.state_unix_ms, &each.detail);
    let state = match each.state() {
        rollout::State::Unspecified | rollout::State::Running => json!({ "state": "running" }),
        rollout::State::Halted => json!({ "state": "halted", "reason": reason, "at": at }),
        rollout::State::Done => json!({ "state": "done", "at": at }),
    };
    json!({
        "sections": ordered(&each.sections_toml), "boxes": each.box_ids, "cohorts": each.cohorts_percent,
        "soak_ms": each.soak_ms, "limit_ms": each.limit_ms, "by": each.started_by, "began_at": each.started_unix_ms,
        "state": state, "stage": each.stage, "stage_at": each.stage_unix_ms,
        "applied_at": each.stage_applied_unix_ms, "versions": ordered(&each.versions),
    })
}

impl Rollouts {
    fn run(&self, access: &Access<'_>) -> anyhow::Result<()> {
        let all = access.list_rollouts(v1::ListRolloutsRequest { tenant_id: self.tenant.clone() })?.rollouts;
        if self.json {
            let by_id: serde_json::Map<_, _> =
                all.iter().map(|each| (each.rollout_id.clone(), rollout_json(each))).collect();
            println!("{}", Value::Object(by_id));
            return Ok(());
        }
        if all.is_empty() {
            println!("{} has had no rollout.", self.tenant);
        }
        for each in &all {
            let state = match each.state() {
                rollout::State::Unspecified | rollout::State::Running => {
                    format!("stage {} of {}", each.stage + 1, each.cohorts_percent.len())
                }
                rollout::State::Halted => format!("HALTED {}: {}", in_words(each.state_unix_ms), each.detail),
                rollout::State::Done => format!("done {}", in_words(each.state_unix_ms)),
            };
            let (given, boxes) = (each.versions.len(), each.box_ids.len());
            let (id, by, began) = (&each.rollout_id, &each.started_by, in_words(each.started_unix_ms));
            println!("{id}  of {by}, {began}: {given} of {boxes} boxes, {state}");
        }
        Ok(())
    }
}

impl Halt {
    fn run(&self, access: &Access<'_>) -> anyhow::Result<()> {
        let (tenant_id, rollout_id) = (self.tenant.clone(), self.rollout.clone());
        access.halt_rollout(v1::HaltRolloutRequest { tenant_id, rollout_id })?;
        println!("No further box gets rollout {}; those that have it keep it.", self.rollout);
        Ok(())
    }
}

impl Metrics {
    fn run(&self, access: &Access<'_>) -> anyhow::Result<()> {
        let now = Timestamp::from_millisecond(clock::unix_ms())?.to_zoned(TimeZone::system());
        let begin = now.start_of_day()?.checked_sub((self.days - 1).days())?;
        let whole = now.since((Unit::Hour, &begin))?.get_hours();
        let step_hours = if self.hourly { 1 } else { 24 };
        let step_ms = step_hours * 60 * MINUTE_MS;
        // The last stretch is whole too: what is still to come is counted as it comes.
        let until = begin.timestamp().as_millisecond() + (i64::from(whole) / step_hours + 1) * step_ms;
        let stretches = access.query_metrics(v1::QueryMetricsRequest {
            tenant_id: self.tenant.clone(),
            box_id: self.box_id.clone(),
            from_unix_ms: begin.timestamp().as_millisecond(),
            until_unix_ms: until,
            step_ms,
        })?;
        if self.json {
            println!("{}", json!(stretches.stretches.iter().map(metrics_json).collect::<Vec<_>>()));
            return Ok(());
        }
        println!("from              calls  answered  failed  voicemail  person  talk p50  gap p50/p95  MOS p50");
        for each in &stretches.stretches {
            println!("{}", metrics_line(each));
        }
        Ok(())
    }
}

fn metrics_json(each: &v1::Metrics) -> Value {
    json!({
        "from": each.from_unix_ms, "calls": each.calls, "inbound": each.inbound, "answered": each.answered,
        "failed": each.failed, "voicemails": each.voicemails, "escalations": each.escalations,
        "talk_ms": spread_json(each.talk_ms.as_ref()), "heard_gap_ms": spread_json(each.heard_gap_ms.as_ref()),
        "mos_hundredths": spread_json(each.mos_hundredths.as_ref()), "dispositions": ordered(&each.dispositions),
    })
}

fn metrics_line(each: &v1::Metrics) -> String {
    let [talk, gap, mos] = [each.talk_ms, each.heard_gap_ms, each.mos_hundredths].map(Option::unwrap_or_default);
    let dash = |count: u64, text: String| if count == 0 { "-".to_owned() } else { text };
    let talk = dash(talk.count, format!("{} s", talk.p50 / 1_000));
    let gap = dash(gap.count, format!("{}/{} ms", gap.p50, gap.p95));
    let mos = dash(mos.count, format!("{}.{:02}", mos.p50 / 100, mos.p50 % 100));
    let from = in_words(each.from_unix_ms);
    format!(
        "{}  {:>5}  {:>8}  {:>6}  {:>9}  {:>6}  {talk:>8}  {gap:>11}  {mos:>7}",
        &from[..16],
        each.calls,
        each.answered,
        each.failed,
        each.voicemails,
        each.escalations
    )
}

impl Export {
    fn run(&self, access: &Access<'_>) -> anyhow::Result<()> {
        // Everybody's calls are in it.
        let file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&self.file);
        let mut file = BufWriter::new(file.with_context(|| self.file.display().to_string())?);
        let mut counts = BTreeMap::<String, u64>::new();
        let question = v1::ExportRequest { tenant_id: self.tenant.clone(), box_id: self.box_id.clone() };
        let written = access.export(question, |part| {
            for row in &part.rows {
                let columns = row.columns.iter().filter_map(|(name, value)| Some((name.clone(), value_json(value)?)));
                let columns: serde_json::Map<_, _> = columns.collect();
                let (table, version) = (&part.table, row.row_version);
                let line = json!({
                    "box": part.box_id, "table": table, "key": row.key, "row_version": version, "columns": columns,
                });
                writeln!(file, "{line}")?;
                *counts.entry(part.table.clone()).or_default() += 1;
            }
            Ok(())
        });
        let written = written.and_then(|()| Ok(file.into_inner()?.sync_all()?));
        if written.is_err() {
            // What is not whole is nothing to rely on.
            let _ = std::fs::remove_file(&self.file);
        }
        written.with_context(|| format!("{} was not written", self.file.display()))?;
        let rows: u64 = counts.values().sum();
        if self.json {
            println!("{}", json!({ "rows": rows, "tables": counts }));
        } else {
            println!("{rows} rows of {} tables are in {}", counts.len(), self.file.display());
        }
        Ok(())
    }
}

/// A value as JSON has it, bytes in base 64; None for NULL.
fn value_json(value: &v1::Value) -> Option<Value> {
    Some(match value.kind.as_ref()? {
        Kind::Integer(integer) => json!(integer),
        Kind::Real(real) => json!(real),
        Kind::Text(text) => json!(text),
        Kind::Blob(blob) => json!(base64::engine::general_purpose::STANDARD.encode(blob)),
    })
}

impl Erase {
    fn run(&self, access: &Access<'_>) -> anyhow::Result<()> {
        let question = v1::EraseCallerRequest { tenant_id: self.tenant.clone(), caller: self.caller.clone() };
        let begun = access.erase_caller(question)?;
        let until = clock::now() + Duration::from_secs(self.wait.unwrap_or(0).into());
        let (mut results, mut undone) = (serde_json::Map::new(), Vec::new());
        for box_id in &begun.box_ids {
            let left = u32::try_from(until.saturating_duration_since(clock::now()).as_secs()).unwrap_or(0);
            let command = command_after(access, (&self.tenant, box_id), &begun.command_id, left)?;
            let result = command.as_ref().and_then(|command| command.result.as_ref());
            if !result.is_some_and(|result| result.done) {
                undone.push(box_id.as_str());
            }
            if !self.json {
                println!("{box_id}{}", command.as_ref().map_or_else(String::new, command_words));
            }
            results.insert(box_id.clone(), json!(result.map(result_json)));
        }
        if self.json {
            println!("{}", json!({ "command_id": begun.command_id, "boxes": results }));
        } else if begun.box_ids.is_empty() {
            println!("{} has no box.", self.tenant);
        } else if !undone.is_empty() {
            println!("Not yet: {}; they have 30 days. See `offhook-cloud fleet show`.", undone.join(", "));
        }
        anyhow::ensure!(self.wait.is_none() || undone.is_empty(), "not every box has done it");
        Ok(())
    }
}

impl Audit {
    fn run(&self, access: &Access<'_>) -> anyhow::Result<()> {
        let mut entries: Vec<v1::AuditEntry> = Vec::new();
        let mut after = 0;
        let page_size = 1_000;
        loop {
            let question = v1::ListAuditRequest { tenant_id: self.tenant.clone(), after, page_size };
            let page = access.list_audit(question)?.entries;
            let whole = page.len() >= usize::try_from(page_size)?;
            after = page.last().map_or(after, |last| last.number);
            entries.extend(page);
            entries.drain(..entries.len().saturating_sub(self.limit));
            if !whole {
                break;
            }
        }
        if self.json {
            println!("{}", json!(entries.iter().map(audit_json).collect::<Vec<_>>()));
            return Ok(());
        }
        for entry in &entries {
            let v1::AuditEntry { operator, role, action, target, detail, allowed, intact, .. } = entry;
            let refused = if *allowed { "" } else { "REFUSED " };
            let changed = if *intact { "" } else { "  CHANGED, or one before it is missing" };
            let at = in_words(entry.at_unix_ms);
            println!("{:>6}  {at}  {operator}, {role}: {refused}{action} {target} {detail}{changed}", entry.number);
        }
        if let Some(latest) = entries.last() {
            println!("\nWhoever keeps this hash can tell later whether anything up to here was changed:");
            println!("{} {}", latest.number, hex::encode(&latest.hash));
        }
        Ok(())
    }
}

fn audit_json(entry: &v1::AuditEntry) -> Value {
    json!({
        "number": entry.number, "at": entry.at_unix_ms, "operator": entry.operator, "role": entry.role,
        "action": entry.action, "target": entry.target, "detail": entry.detail, "allowed": entry.allowed,
        "intact": entry.intact, "hash": hex::encode(&entry.hash),
    })
}
