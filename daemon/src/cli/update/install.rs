//! `offhook update install`: from a bundle to the next boot.

use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use jiff::Timestamp;

use super::check::{Place, offers};
use super::{EXIT_POSTPONED, restart, time_zone};
use crate::cli::models::Bar;
use crate::config::{Config, is_web_address};
use crate::update::decision::{Acceptance, judge};
use crate::update::machine::Machine;
use crate::update::quiet;
use crate::update::record::{Outcome, Record};
use crate::update::source::look_up;

/// Flags of `offhook update install`.
#[derive(Debug, Args)]
pub(crate) struct Install {
    /// A bundle (*.raucb) or its address; none: the newest that `offhook update check` finds
    #[arg(value_name = "BUNDLE|URL")]
    bundle: Option<String>,
    /// Also install a version that is not newer than the running one
    #[arg(long)]
    allow_older: bool,
    /// Reboot into it at once, when no call is up
    #[arg(long)]
    reboot: bool,
    /// For the timer: only inside update.window, then reboot; nothing to do is no failure
    #[arg(long, conflicts_with = "allow_older")]
    scheduled: bool,
}

impl Install {
    pub(super) async fn run(&self, config: &Config, machine: &Machine) -> anyhow::Result<ExitCode> {
        if self.scheduled && !window_is_open(config)? {
            return Ok(ExitCode::from(EXIT_POSTPONED));
        }
        let folder = config.machine_directory();
        let _only_one = lock(&folder)?;
        let slots = machine.slots().await?;
        if let Err(not_yet) = slots.may_install() {
            if self.scheduled {
                println!("Put off: {not_yet}.");
                return Ok(ExitCode::from(EXIT_POSTPONED));
            }
            return Err(not_yet.into());
        }
        if self.scheduled && slots.reboot_pending() {
            println!("An update is installed and waits for a reboot.");
            return self.finish(config, machine).await;
        }
        let Some(place) = self.place(config, machine).await? else { return Ok(ExitCode::SUCCESS) };
        let source = match &place {
            Place::File(path) => path.display().to_string(),
            Place::Web(bundle) => bundle.url.clone(),
        };
        let (path, downloaded) = bring(place, config, &folder).await?;
        let bundle = machine.rauc.info(&path).await?;
        if let Acceptance::OlderAsAsked = judge(&bundle, &machine.system(&slots), self.allow_older)? {
            println!(
                "{} is not newer than {}: installed because --allow-older asks for it. A database that the newer \
                      version has changed may be refused by the older one.",
                bundle.version, machine.version
            );
        }
        let patience = Duration::from_secs(60 * u64::from(config.update.call_wait_minutes));
        let waiting =
            |calls| println!("{calls} calls are in progress: waiting, at most {} minutes.", patience.as_secs() / 60);
        if let Err(busy) = quiet::wait(config, patience, waiting).await {
            println!("Put off: {busy}.");
            return Ok(ExitCode::from(EXIT_POSTPONED));
        }
        if self.scheduled && !window_is_open(config)? {
            return Ok(ExitCode::from(EXIT_POSTPONED));
        }
        let began = Timestamp::now();
        let (version, from) = (bundle.version, machine.version.clone());
        write_slot(machine, &path, Record { version, from, source, began, at: began, outcome: Outcome::Installing })
            .await?;
        if downloaded {
            let _ = std::fs::remove_file(&path);
        }
        self.finish(config, machine).await
    }

    /// The bundle that was named, or the newest acceptable one.
    async fn place(&self, config: &Config, machine: &Machine) -> anyhow::Result<Option<Place>> {
        if let Some(named) = self.bundle.clone() {
            if is_web_address(&named) {
                return Ok(Some(Place::Web(tokio::task::spawn_blocking(move || look_up(&named)).await??)));
            }
            let path = std::path::absolute(&named)?;
            anyhow::ensure!(
                path.is_file(),
                "{} is not a file; expected a bundle (*.raucb) or its address",
                path.display()
            );
            return Ok(Some(Place::File(path)));
        }
        let system = machine.system(&machine.slots().await?);
        let mut found = offers(config, machine, Some(&system)).await;
        found.retain(|offer| offer.accepted && offer.place.is_some());
        let version = |offer: &super::check::Offer| {
            offer.version.as_deref().and_then(|version| semver::Version::parse(version.trim_start_matches('v')).ok())
        };
        found.sort_by_key(version);
        match found.pop() {
            Some(offer) => Ok(offer.place),
            None if self.scheduled => {
                println!("Nothing newer than {} is available.", machine.version);
                Ok(None)
            }
            None => bail!("there is nothing to install; `offhook update check` says what was found and why not"),
        }
    }

    /// After the slot is written.
    async fn finish(&self, config: &Config, machine: &Machine) -> anyhow::Result<ExitCode> {
        if self.reboot || self.scheduled {
            return restart(config, machine).await;
        }
        println!(
            "The next boot tries it: `systemctl reboot`, or wait for the nightly window ({}).",
            config.update.window
        );
        println!(
            "If it does not answer calls within five minutes, the box goes back to {} by itself.",
            machine.version
        );
        Ok(ExitCode::SUCCESS)
    }
}

fn window_is_open(config: &Config) -> anyhow::Result<bool> {
    let (window, zone, now) = (config.update.window, time_zone(config)?, Timestamp::now());
    if window.contains(now, &zone) {
        return Ok(true);
    }
    let opens = window.opens(now, &zone).map_or_else(|| "later".into(), |at| at.strftime("%A %H:%M").to_string());
    println!("Updates are installed between {window}; it opens on {opens}. Nothing was done.");
    Ok(false)
}

/// Two installations at once would write the same slot.
fn lock(folder: &Path) -> anyhow::Result<File> {
    let path = folder.join("update.lock");
    let opened = std::fs::create_dir_all(folder).and_then(|()| File::create(&path));
    let file =
        opened.with_context(|| format!("{} cannot be written; updates are installed by root", path.display()))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => {
            bail!("another `offhook update install` is at work; wait until it has finished")
        }
        Err(TryLockError::Error(error)) => Err(error.into()),
    }
}

/// The bundle as a file, and whether it was downloaded for this.
async fn bring(place: Place, config: &Config, folder: &Path) -> anyhow::Result<(PathBuf, bool)> {
    let bundle = match place {
        Place::File(path) => return Ok((path, false)),
        Place::Web(bundle) => bundle,
    };
    let limit_bytes = u64::from(config.update.download_limit_megabytes) * 1_000_000;
    let folder = folder.to_owned();
    let path = tokio::task::spawn_blocking(move || {
        let mut bar = Bar::new("download");
        let path = bundle.download(&folder, limit_bytes, &mut bar);
        bar.clear();
        path
    });
    Ok((path.await??, true))
}

/// Writes the slot, with progress, and reads back what the next boot takes.
async fn write_slot(machine: &Machine, path: &Path, record: Record) -> anyhow::Result<()> {
    machine.record.write(&record)?;
    println!("Installing {} beside {}, which goes on running.", record.version, record.from);
    let bar = ProgressBar::new(100);
    let style = ProgressStyle::with_template("{bar:28} {pos:>3} % {msg}");
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    let installed = machine.rauc.install(path, |percent, doing| {
        bar.set_position(percent.into());
        bar.set_message(doing.to_owned());
    });
    let installed = installed.await.map_err(anyhow::Error::from);
    bar.finish_and_clear();
    let outcome = match installed {
        Ok(()) => ensure_next(machine).await,
        Err(error) => Err(error),
    };
    let version = record.version.clone();
    let ending = match &outcome {
        Ok(()) => Outcome::Installed,
        Err(error) => Outcome::Failed { reason: format!("{error:#}") },
    };
    machine.record.write(&record.now(ending, Timestamp::now()))?;
    outcome.context("nothing was installed, the running system is as it was")?;
    println!("{version} is installed.");
    Ok(())
}

/// RAUC said that it was installed: the boot loader's variables must say so too.
async fn ensure_next(machine: &Machine) -> anyhow::Result<()> {
    let slots = machine.slots().await?;
    let next = slots.next.as_deref().unwrap_or("none");
    anyhow::ensure!(
        slots.reboot_pending(),
        "RAUC reports success, but the boot loader would take slot {next} as before"
    );
    Ok(())
}
