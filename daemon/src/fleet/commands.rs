//! Things that the cloud has this box do, each at most once.
//!
//! A command is written down before it is begun: one that comes again, because its result got lost, is answered from there,
//! and one during which the box ended is said to be that, and not begun anew.

use std::collections::HashMap;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::Context as _;
use cloud_api::v1::{Command, CommandResult};
use rusqlite::{Connection, OptionalExtension as _, params};

use crate::config::Config;
use crate::durable;
use crate::storage::{Storage, StorageError, UnixMs, erase_caller};
use crate::sync::enrolment::Enrolment;
use crate::sync::link;

/// Commands that are remembered.
const REMEMBERED: i64 = 500;
/// Of what came of a command, in characters.
const DETAIL_MAX: usize = 60_000;
/// For a test call.
const CALL_LIMIT: Duration = Duration::from_secs(120);
/// What is said to a box that is asked to call itself.
const QUESTION: &str = "When are you open?";
/// Where the machine looks for what is asked of it: systemd's path units.
const REQUESTS: &str = "requests";

/// What is known of a command.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Known {
    /// It was never heard of, and is noted now.
    New,
    /// It is being done by this process.
    Running,
    /// It ended so.
    Ended(bool, String),
}

/// What a box does about a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Effect {
    /// Nothing further.
    None,
    /// Start anew, once no call is up.
    Restart,
    /// Have the machine do this, once no call is up.
    Machine(&'static str),
}

/// Does a command, or says what became of it; None if somebody is still at it.
pub(super) async fn obey(
    command: &Command,
    config: &Config,
    storage: &Storage,
    now: UnixMs,
) -> Option<(CommandResult, Effect)> {
    let result = |done, detail| CommandResult { command_id: command.command_id.clone(), done, detail };
    if command.expires_at_unix_ms <= now.0 {
        return Some((result(false, "it came too late".to_owned()), Effect::None));
    }
    let (id, name, by) = (command.command_id.clone(), command.name.clone(), command.sent_by.clone());
    let known = storage.write(move |sql_tx| note_begun(sql_tx, &id, &name, &by, now)).await;
    match known {
        Ok(Known::New) => {}
        Ok(Known::Running) => return None,
        Ok(Known::Ended(done, detail)) => return Some((result(done, detail), Effect::None)),
        // Without a note it may be done twice, so it is not done at all.
        Err(error) => return Some((result(false, format!("it cannot be noted: {error}")), Effect::None)),
    }
    tracing::info!(name = command.name, id = command.command_id, by = command.sent_by, "A command of the cloud");
    let (done, detail, effect) = match run(command, config, storage).await {
        Ok((detail, effect)) => (true, detail, effect),
        Err(error) => (false, format!("{error:#}"), Effect::None),
    };
    let detail: String = detail.chars().take(DETAIL_MAX).collect();
    let (id, kept) = (command.command_id.clone(), detail.clone());
    let noted = storage.write(move |sql_tx| note_ended(sql_tx, &id, done, &kept, UnixMs::now())).await;
    if let Err(error) = noted {
        tracing::warn!(%error, "What came of a command was not noted");
    }
    Some((result(done, detail), effect))
}

/// A command that a dead process had begun is over.
pub(super) fn close_interrupted(sql_tx: &Connection, now: UnixMs) -> Result<(), StorageError> {
    let sql = "UPDATE fleet_commands SET finished_at = ?1, done = 0, detail = 'the box ended while it was at it'
        WHERE finished_at IS NULL";
    sql_tx.execute(sql, [now])?;
    Ok(())
}

fn note_begun(sql_tx: &Connection, id: &str, name: &str, by: &str, now: UnixMs) -> Result<Known, StorageError> {
    let sql = "SELECT done, detail FROM fleet_commands WHERE command_id = ?1";
    let known: Option<(Option<bool>, Option<String>)> =
        sql_tx.query_row(sql, [id], |row| Ok((row.get(0)?, row.get(1)?))).optional()?;
    match known {
        Some((Some(done), detail)) => return Ok(Known::Ended(done, detail.unwrap_or_default())),
        Some((None, _)) => return Ok(Known::Running),
        None => {}
    }
    let sql = "INSERT INTO fleet_commands (command_id, name, sent_by, started_at) VALUES (?1, ?2, ?3, ?4)";
    sql_tx.execute(sql, params![id, name, by, now])?;
    let sql = "DELETE FROM fleet_commands WHERE command_id NOT IN
        (SELECT command_id FROM fleet_commands ORDER BY started_at DESC, rowid DESC LIMIT ?1)";
    sql_tx.execute(sql, [REMEMBERED])?;
    Ok(Known::New)
}

fn note_ended(sql_tx: &Connection, id: &str, done: bool, detail: &str, now: UnixMs) -> Result<(), StorageError> {
    let sql = "UPDATE fleet_commands SET finished_at = ?2, done = ?3, detail = ?4 WHERE command_id = ?1";
    sql_tx.execute(sql, params![id, now, done, detail])?;
    Ok(())
}

async fn run(command: &Command, config: &Config, storage: &Storage) -> anyhow::Result<(String, Effect)> {
    match command.name.as_str() {
        "diagnostics" => Ok((diagnostics(config).await?, Effect::None)),
        "test-call" => Ok((test_call(&command.arguments, config).await?, Effect::None)),
        "rotate-keys" => Ok((rotate_keys(config).await?, Effect::None)),
        "restart" => Ok(("the box starts anew once no call is up".to_owned(), Effect::Restart)),
        "update" => Ok((looked_for("update")?, Effect::Machine("update"))),
        "reboot" => Ok((looked_for("reboot")?, Effect::Machine("reboot"))),
        "erase-caller" => Ok((erase(&command.arguments, storage).await?, Effect::None)),
        name => anyhow::bail!(
            "{name:?}: expected diagnostics, test-call, rotate-keys, restart, update, reboot or erase-caller; a newer \
             release may know it"
        ),
    }
}

async fn diagnostics(config: &Config) -> anyhow::Result<String> {
    let config = config.clone();
    let findings = tokio::task::spawn_blocking(move || crate::doctor::examine(&config)).await?;
    Ok(serde_json::to_string_pretty(&findings)?)
}

/// The box calls itself, as a caller from outside would.
async fn test_call(arguments: &HashMap<String, String>, config: &Config) -> anyhow::Result<String> {
    let text = arguments.get("text").map_or(QUESTION, String::as_str);
    let program = std::env::current_exe().context("the path of this program is unknown")?;
    let mut call = tokio::process::Command::new(program);
    call.arg("call").args(["--text", text, "--json"]).args(config.origin.as_arguments());
    call.stdin(Stdio::null()).kill_on_drop(true);
    let output =
        tokio::time::timeout(CALL_LIMIT, call.output()).await.context("the call took longer than two minutes")??;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    anyhow::ensure!(output.status.success(), "{}{said}", String::from_utf8_lossy(&output.stderr));
    Ok(said)
}

/// Everything about a caller goes; the result says how much it was, and not whose.
async fn erase(arguments: &HashMap<String, String>, storage: &Storage) -> anyhow::Result<String> {
    let number = arguments.get("caller").context("arguments: expected caller, a number")?.clone();
    let folder = storage.dir().to_owned();
    let erased = storage.write(move |sql_tx| erase_caller(sql_tx, &folder, &number)).await?;
    Ok(serde_json::to_string(&erased)?)
}

/// A new key and a certificate for it; the stream is opened anew with it within seconds.
async fn rotate_keys(config: &Config) -> anyhow::Result<String> {
    let state_directory = config.state_directory();
    let enrolment = Enrolment::load(&state_directory)?.context("the box is not claimed")?;
    let renewed = link::renew(&enrolment, config.cloud.trust.as_deref()).await?;
    renewed.save(&state_directory)?;
    let until = renewed.validity().map_or(0, |validity| validity.not_after.0);
    Ok(format!("a new key; its certificate holds until {until} (milliseconds since 1970)"))
}

/// What only root may do is done by units that look for a note.
fn looked_for(what: &str) -> anyhow::Result<String> {
    let unit = format!("/usr/lib/systemd/system/offhook-wanted-{what}.path");
    anyhow::ensure!(Path::new(&unit).exists(), "this machine has no {unit}: it is no box of ours as a whole");
    Ok("the machine is asked to, once no call is up".to_owned())
}

/// Leaves the note.
pub(super) fn ask_the_machine(what: &str, state_directory: &Path) -> std::io::Result<()> {
    durable::write(&state_directory.join(REQUESTS).join(what), b"", 0o600)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::StorageConfig;

    fn command(name: &str, expires_at: i64) -> Command {
        Command {
            command_id: "c1".to_owned(),
            expires_at_unix_ms: expires_at,
            name: name.to_owned(),
            arguments: HashMap::new(),
            sent_by: "anna".to_owned(),
        }
    }

    #[tokio::test]
    async fn a_command_is_done_once_and_answered_as_often_as_it_comes() {
        let folder = tempfile::tempdir().unwrap();
        let storage = Storage::open(&StorageConfig::new(folder.path())).unwrap().storage;
        let config = Config::default();
        let restart = command("restart", 100);
        let (first, effect) = obey(&restart, &config, &storage, UnixMs(10)).await.unwrap();
        assert_eq!((first.done, effect), (true, Effect::Restart));
        let (again, effect) = obey(&restart, &config, &storage, UnixMs(20)).await.unwrap();
        assert_eq!((again, effect), (first, Effect::None), "it is not done again");
        let late = Command { command_id: "c2".to_owned(), ..command("restart", 10) };
        let (late, effect) = obey(&late, &config, &storage, UnixMs(10)).await.unwrap();
        assert!(!late.done && late.detail.contains("too late") && effect == Effect::None);
        let unknown = Command { command_id: "c3".to_owned(), ..command("dance", 100) };
        let (unknown, _) = obey(&unknown, &config, &storage, UnixMs(10)).await.unwrap();
        assert!(!unknown.done && unknown.detail.contains("\"dance\": expected diagnostics"), "{}", unknown.detail);
    }

    #[tokio::test]
    async fn a_command_during_which_the_box_ended_is_not_begun_anew() {
        let folder = tempfile::tempdir().unwrap();
        let storage = Storage::open(&StorageConfig::new(folder.path())).unwrap().storage;
        let begun = storage.write(|sql_tx| note_begun(sql_tx, "c1", "restart", "anna", UnixMs(5))).await.unwrap();
        assert_eq!(begun, Known::New);
        assert_eq!(obey(&command("restart", 100), &Config::default(), &storage, UnixMs(6)).await, None, "at it");
        storage.write(|sql_tx| close_interrupted(sql_tx, UnixMs(7))).await.unwrap();
        let (ended, effect) = obey(&command("restart", 100), &Config::default(), &storage, UnixMs(8)).await.unwrap();
        assert!(!ended.done && ended.detail.contains("ended while"), "{}", ended.detail);
        assert_eq!(effect, Effect::None);
    }
}
