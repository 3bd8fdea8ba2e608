//! `offhook backup` and `offhook restore`: sealed copies of this box, and a box from one.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Args, Subcommand};

use super::Common;
use crate::backup::{self, BackupKey, PlaceState, Vault};
use crate::config::{Config, is_cloud};
use crate::durable;
use crate::status::is_running;
use crate::sync::enrolment::Enrolment;
use crate::sync::link;

/// Flags of `offhook backup`.
#[derive(Debug, Subcommand)]
pub(crate) enum Backup {
    /// Bring every place of backup.places up to date now
    Now(Now),
    /// How the backups are, place by place
    Status(Status),
    /// Make a key that opens backups, in a file that does not stay on this box
    Key(Key),
    /// Restore into a scratch folder and compare every row with what is here
    Drill(Now),
}

/// `offhook backup now`, `offhook backup drill`
#[derive(Debug, Args)]
pub(crate) struct Now {
    /// As JSON
    #[arg(long)]
    json: bool,
}

/// `offhook backup status`
#[derive(Debug, Args)]
pub(crate) struct Status {
    /// As JSON
    #[arg(long)]
    json: bool,
}

/// `offhook backup key`
#[derive(Debug, Args)]
pub(crate) struct Key {
    /// Where the key is written to; never over a file that is there
    file: PathBuf,
}

/// `offhook restore`
///
/// The state folder (storage.directory) must have no database. The latest whole copy is taken, then everything that was written
/// after it; the box takes a new epoch, so that its cloud takes it for the lost one. Run it as the user that Offhook runs as.
#[derive(Debug, Args)]
pub(crate) struct Restore {
    /// The folder with the backup, or the one above it; `cloud` for the one that the cloud keeps
    place: PathBuf,
    /// With `cloud`, on a machine that has no certificate: `offhook-cloud claim TENANT --replaces BOX` gives a code for the lost
    /// box's place
    #[arg(long)]
    code: Option<String>,
    /// The key that opens it
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// As JSON
    #[arg(long)]
    json: bool,
}

impl Backup {
    pub(crate) fn run(&self, common: &Common) -> anyhow::Result<ExitCode> {
        match self {
            Backup::Now(now) => now.run(common, false),
            Backup::Drill(now) => now.run(common, true),
            Backup::Status(status) => status.run(common),
            Backup::Key(key) => key.run(),
        }
    }
}

impl Now {
    fn run(&self, common: &Common, drill: bool) -> anyhow::Result<ExitCode> {
        let config = common.load()?;
        anyhow::ensure!(!config.backup.places.is_empty(), "backup.places is empty: where should backups be kept?");
        let state = backup::back_up_once(&config, drill)?;
        if self.json {
            println!("{}", serde_json::to_string_pretty(&state)?);
        } else {
            println!("{}", state.in_words());
        }
        let good = |place: &PlaceState| place.error.is_empty() && place.away.is_empty() && place.drill_error.is_empty();
        let good = state.places.values().all(good);
        Ok(if good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

impl Status {
    fn run(&self, common: &Common) -> anyhow::Result<ExitCode> {
        let state = backup::look(&common.load()?);
        if self.json {
            println!("{}", serde_json::to_string_pretty(&state)?);
        } else {
            println!("{}", state.in_words());
        }
        Ok(ExitCode::SUCCESS)
    }
}

impl Key {
    fn run(&self) -> anyhow::Result<ExitCode> {
        anyhow::ensure!(!self.file.exists(), "{} is there already: a key is never overwritten", self.file.display());
        let key = BackupKey::generate();
        durable::write(&self.file, key.to_file().as_bytes(), 0o600)?;
        println!("recipients = [{:?}]   # in [backup] of the configuration\n", key.recipient());
        println!(
            "Keep {} somewhere else: without it no backup can be opened, and with it every one.",
            self.file.display()
        );
        Ok(ExitCode::SUCCESS)
    }
}

async fn take_place(config: &Config, code: &str) -> anyhow::Result<Enrolment> {
    let endpoint = config.cloud.endpoint.as_deref().context(
        "cloud.endpoint is not set: where is the cloud? For example --set cloud.endpoint=cloud.example.org:8443",
    )?;
    Ok(link::claim(endpoint, config.cloud.trust.as_deref(), code, "").await?)
}

impl Restore {
    pub(crate) fn run(&self, common: &Common) -> anyhow::Result<ExitCode> {
        let config = common.load()?;
        let running = super::runtime()?.block_on(is_running(&config));
        anyhow::ensure!(!running, "a box runs here: stop it first");
        let key = BackupKey::load(&self.key).with_context(|| self.key.display().to_string())?;
        let state_directory = config.state_directory();
        let from_cloud = is_cloud(&self.place);
        anyhow::ensure!(from_cloud || self.code.is_none(), "--code: expected only with the place `cloud`");
        let runtime = super::runtime()?;
        let vault = match from_cloud {
            true => {
                if let Some(code) = &self.code {
                    backup::check_is_empty(&state_directory)?;
                    let enrolment = runtime.block_on(take_place(&config, code))?;
                    enrolment.save(&state_directory)?;
                    eprintln!("This machine takes the place of {}.", enrolment.box_id);
                }
                backup::vault_in_cloud(&config, runtime.handle())
            }
            false => Vault::find(&self.place)?,
        };
        let say = |text: &str| eprintln!("{text}");
        let restored = backup::restore(&vault, &key, &state_directory, say)?;
        if self.json {
            println!(
                "{}",
                serde_json::json!({
                    "entry": restored.to, "segments": restored.segments, "rows": restored.rows,
                    "recordings": restored.recordings, "damaged": restored.damaged,
                })
            );
            return Ok(ExitCode::SUCCESS);
        }
        println!("{} rows and {} recordings are in {}.", restored.rows, restored.recordings, state_directory.display());
        for damaged in &restored.damaged {
            println!("Not restored: {damaged}");
        }
        let file = state_directory.join("restored-offhook.toml");
        if file.exists() {
            println!("The lost box's configuration is {}.", file.display());
        }
        Ok(ExitCode::SUCCESS)
    }
}
