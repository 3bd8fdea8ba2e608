//! The `offhook` command line: one file a subcommand, every one readable by a person and, where a script would want
//! it, with `--json`.
//!
//! Exit status: 0 done, 1 it failed and stderr says why, 2 wrong usage, 78 the configuration is wrong.
#![expect(clippy::print_stdout, reason = "a command line's answers go to stdout")]

mod ask;
mod backup;
mod bans;
mod caller;
mod calls;
mod cloud;
mod config;
mod demo;
mod doctor;
mod erase;
mod extensions;
mod first_boot;
mod follow_ups;
mod ladder;
mod listen;
mod mcp;
mod messages;
pub(crate) mod models;
mod notices;
mod people;
mod run;
mod say;
mod status;
mod update;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use rusqlite::Connection;

use crate::config::{Config, ConfigMistakes, EXIT_CONFIG};
use crate::knowledge::pdf;
use crate::storage::StorageError;

/// Offhook answers the office's phone: it picks up, understands, answers and takes messages, on this machine alone.
#[derive(Debug, Parser)]
#[command(name = "offhook", version, max_term_width = 110)]
#[command(after_help = "Start with `offhook run`, then call it: `offhook call --text \"When are you open?\"`.\n\
    `offhook doctor` looks for anything that would keep it from answering.")]
struct Command {
    #[command(flatten)]
    common: Common,
    #[command(subcommand)]
    verb: Verb,
}

/// Options every subcommand takes.
#[derive(Debug, Args)]
pub(crate) struct Common {
    /// TOML file; without it the built-in defaults hold (`offhook config show` prints them)
    #[arg(short, long, global = true, value_name = "FILE", env = "OFFHOOK_CONFIG")]
    config: Option<PathBuf>,
    /// Overrides one key, for example --set sip.port=5070; may be repeated
    #[arg(long = "set", global = true, value_name = "KEY=VALUE")]
    overrides: Vec<String>,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Answer calls until stopped (SIGTERM or Ctrl-C let calls finish first)
    Run(run::Run),
    /// Place one call as a test caller: speak, listen, measure the silence before each answer
    Call(caller::Call),
    /// Place the demonstration call to a running box and show how it went
    Demo(demo::Demo),
    /// Say a sentence into a WAV file with the box's voice
    Say(say::Say),
    /// What a caller who says this would be told, from where, and what else was near
    Ask(ask::Ask),
    /// The speech and language models: list, fetch, verify, import
    #[command(subcommand)]
    Models(models::Models),
    /// The configuration: check a file, show what is in force
    #[command(subcommand)]
    Config(config::ConfigVerb),
    /// The calls this box has answered
    #[command(subcommand)]
    Calls(calls::Calls),
    /// What callers have left: what they said, what became of it, who was told
    #[command(subcommand)]
    Messages(messages::Messages),
    /// Notices of messages and promises: sent, waiting, given up
    #[command(subcommand)]
    Notices(notices::Notices),
    /// Promises made to callers: open, taken, kept or not
    #[command(subcommand, name = "followups")]
    FollowUps(follow_ups::FollowUps),
    /// Who callers may ask for: who may be rung now, who is away, whose turn it is
    #[command(subcommand)]
    People(people::People),
    /// The office's phones: list them, make their passwords
    #[command(subcommand)]
    Extensions(extensions::Extensions),
    /// Addresses that gave wrong passwords too often: list them, hand them to the packet filter
    #[command(subcommand)]
    Bans(bans::Bans),
    /// The central cloud: claim this box, see how sync is
    #[command(subcommand)]
    Cloud(cloud::Cloud),
    /// Sealed copies of this box: make them now, how they are, a key for them, proof that they can be restored
    #[command(subcommand)]
    Backup(backup::Backup),
    /// Make this machine the box of a backup
    Restore(backup::Restore),
    /// Delete everything about a caller: calls, recordings, messages, texts, promises, what is known of them
    Erase(erase::Erase),
    /// Tools of other programs that may be used during a call
    #[command(subcommand)]
    Mcp(mcp::Mcp),
    /// Check ports, models, disk, clock, processor and audio threads, each with a remedy
    Doctor(doctor::Doctor),
    /// The box on one screen: name, addresses, version, slot, calls
    ///
    /// Works without the daemon too, and says so. The exit status is 1 when calls are not answered.
    Status(status::StatusCommand),
    /// Make this box's identity and keys, once
    ///
    /// An id, a P-256 key with a self-signed certificate, and the secret for the first set-up, in the folder identity of
    /// machine.directory. A second run changes nothing. Run as root before the daemon starts.
    FirstBoot(first_boot::FirstBoot),
    /// Updates of the whole box: check, install, status, rollback, confirm
    #[command(subcommand, after_long_help = update::HELP)]
    Update(update::Update),
    /// Read a PDF from standard input and print its text as JSON: for Offhook itself, which does this under limits
    #[command(hide = true, name = pdf::COMMAND)]
    PdfText,
    /// Print the version, the build and the features of this binary
    Version(Version),
}

/// `offhook version`
#[derive(Debug, Args)]
struct Version {
    /// As JSON
    #[arg(long)]
    json: bool,
}

impl Common {
    /// The configuration in force.
    pub(crate) fn load(&self) -> Result<Config, ConfigMistakes> {
        Config::load(self.config.as_deref(), &self.overrides)
    }
}

/// Runs the command line of this process.
pub fn main() -> ExitCode {
    let command = Command::parse();
    let result = match command.verb {
        Verb::Run(run) => run.run(&command.common),
        Verb::Call(call) => call.run(&command.common),
        Verb::Demo(demo) => demo.run(&command.common),
        Verb::Say(say) => say.run(&command.common),
        Verb::Ask(ask) => ask.run(&command.common),
        Verb::Models(models) => models.run(&command.common),
        Verb::Config(config) => config.run(&command.common),
        Verb::Calls(calls) => calls.run(&command.common),
        Verb::Messages(messages) => messages.run(&command.common),
        Verb::Notices(notices) => notices.run(&command.common),
        Verb::FollowUps(follow_ups) => follow_ups.run(&command.common),
        Verb::People(people) => people.run(&command.common),
        Verb::Extensions(extensions) => extensions.run(&command.common),
        Verb::Bans(bans) => bans.run(&command.common),
        Verb::Cloud(cloud) => cloud.run(&command.common),
        Verb::Backup(backup) => backup.run(&command.common),
        Verb::Restore(restore) => restore.run(&command.common),
        Verb::Erase(erase) => erase.run(&command.common),
        Verb::Mcp(mcp) => mcp.run(&command.common),
        Verb::Doctor(doctor) => doctor.run(&command.common),
        Verb::Status(status) => status.run(&command.common),
        Verb::FirstBoot(first_boot) => first_boot.run(&command.common),
        Verb::Update(update) => update.run(&command.common),
        Verb::PdfText => pdf_text(),
        Verb::Version(version) => version.run(),
    };
    match result {
        Ok(code) => code,
        Err(error) => report(&error),
    }
}

/// One clear paragraph on stderr; configuration mistakes have their own exit status.
fn report(error: &anyhow::Error) -> ExitCode {
    if let Some(mistakes) = error.downcast_ref::<ConfigMistakes>() {
        eprintln!("offhook: {mistakes}");
        return ExitCode::from(EXIT_CONFIG);
    }
    let causes: Vec<String> = error.chain().map(ToString::to_string).collect();
    eprintln!("offhook: {}", causes.join(": "));
    ExitCode::FAILURE
}

fn pdf_text() -> anyhow::Result<ExitCode> {
    println!("{}", pdf::read_here()?);
    Ok(ExitCode::SUCCESS)
}

impl Version {
    fn run(&self) -> anyhow::Result<ExitCode> {
        let engines = if cfg!(feature = "engines") { "whisper piper silero minilm" } else { "none" };
        let target = format!("{}-{}", std::env::consts::ARCH, std::env::consts::OS);
        let version = env!("CARGO_PKG_VERSION");
        if self.json {
            let kernels = ::models::kernels();
            let facts =
                serde_json::json!({ "version": version, "target": target, "engines": engines, "kernels": kernels });
            println!("{facts}");
        } else {
            println!("offhook {version} ({target}), engines: {engines}");
            println!("whisper.cpp compiled for: {}", ::models::kernels().join(" "));
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// The one key of `table` that starts with `prefix`; both names are ours.
///
/// # Errors
/// [`StorageError::NotFound`], or [`StorageError::Ambiguous`].
fn whole_key(db: &Connection, table: &str, column: &str, prefix: &str) -> Result<String, StorageError> {
    let prefix = prefix.trim().to_ascii_lowercase();
    if prefix.is_empty() || prefix.contains(|c: char| !c.is_ascii_hexdigit() && c != '-') {
        return Err(StorageError::NotFound("row"));
    }
    let sql = format!("SELECT {column} FROM {table} WHERE {column} >= ?1 AND {column} < ?1 || 'g' LIMIT 2");
    let mut statement = db.prepare(&sql)?;
    let found: Vec<String> = statement.query_map([prefix], |row| row.get(0))?.collect::<Result<_, _>>()?;
    match found.as_slice() {
        [] => Err(StorageError::NotFound("row")),
        [key] => Ok(key.clone()),
        several => Err(StorageError::Ambiguous { matches: several.len() }),
    }
}

/// A tokio runtime for a command that talks to the network. Two threads carry the signalling of hundreds of calls; on one
/// core a second would only take turns with the first.
fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    let threads = std::thread::available_parallelism().map_or(1, |cores| cores.get().min(2));
    Ok(tokio::runtime::Builder::new_multi_thread().worker_threads(threads).enable_all().build()?)
}
