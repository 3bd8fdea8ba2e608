//! `offhook update`: what is available, installing it, the slots, the way back, and the health gate after a boot.

mod check;
mod confirm;
mod install;

use std::process::ExitCode;

use clap::Subcommand;
use jiff::Timestamp;
use serde_json::json;

use super::Common;
use crate::config::Config;
use crate::office::Office;
use crate::update::machine::Machine;
use crate::update::quiet;
use crate::update::record::Outcome;
use crate::update::slots::{Slot, Slots};

/// `EX_TEMPFAIL` of sysexits.h: nothing is wrong, it is only not the time. A unit may count it as success.
const EXIT_POSTPONED: u8 = 75;

/// What `offhook update --help` ends with.
pub(super) const HELP: &str = "\
Bundles are signed RAUC bundles (*.raucb). The one that is installed goes into the slot that is not running; the next \
boot tries it, and unless `offhook update confirm` finds it answering calls within five minutes the box goes back by \
itself.

Exit status:
  0   done, or nothing to do
  1   failed or refused; stderr says why and what to do
  75  put off: a call is up, or the window is closed. Nothing was changed
  78  the configuration is wrong

Examples:
  offhook update check
  offhook update install /run/media/offhook/OFFHOOK/offhook-0.2.0.raucb --reboot
  offhook update install https://updates.example/stable/latest.json
  offhook update rollback --reboot

Settings are in [update]: window, call_wait_minutes, folders, url, download_limit_megabytes and more; \
`offhook config show` prints them. What became of the last update is kept in last-update.json in machine.directory.";

/// Subcommands of `offhook update`.
#[derive(Debug, Subcommand)]
pub(crate) enum Update {
    /// Show what is available on sticks and on the web, and whether it would be installed
    ///
    /// Looks for bundles on sticks (update.folders) and at update.url, an index. For each it says the version,
    /// whether it would be installed, and why or why not. The exit status is 0 whatever there is.
    Check(check::Check),
    /// Install a bundle into the slot that is not running
    ///
    /// Verifies signature, machine and version, waits until no call is up (at most update.call_wait_minutes), and writes
    /// the slot that is not running. The running system is not touched. A download that was cut off is taken up again.
    Install(install::Install),
    /// Show both slots, the last update, and what the next boot takes
    Status {
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Go back to the other slot at the next boot
    ///
    /// Only to a slot that can be booted and once passed the health check; otherwise says why not.
    Rollback {
        /// Reboot at once, when no call is up
        #[arg(long)]
        reboot: bool,
    },
    /// After a boot: check that this system answers calls, and tell the boot loader
    ///
    /// The database must open with this release's format, the SIP listener answer OPTIONS with 200, and a call to this box
    /// be answered with sound. Tries until update.confirm_limit_seconds are over. Then the running slot is marked as good,
    /// that is read back, A_CONFIRMED or B_CONFIRMED is set, and update.marker written. Until then the box
    /// reboots out of a new slot by itself.
    ///
    /// A slot that was confirmed before is not left when the check fails: a reboot would lead into it again. The exit status
    /// is 1 all the same.
    Confirm(confirm::Confirm),
}

impl Update {
    pub(crate) fn run(&self, common: &Common) -> anyhow::Result<ExitCode> {
        let config = common.load()?;
        let machine = Machine::new(&config);
        super::runtime()?.block_on(async {
            match self {
                Update::Check(check) => check.run(&config, &machine).await,
                Update::Install(install) => install.run(&config, &machine).await,
                Update::Status { json } => status(&machine, *json).await,
                Update::Rollback { reboot } => rollback(&config, &machine, *reboot).await,
                Update::Confirm(confirm) => confirm.run(&config, &machine).await,
            }
        })
    }
}

fn time_zone(config: &Config) -> anyhow::Result<jiff::tz::TimeZone> {
    let office = Office::try_from(&config.office).map_err(crate::config::ConfigMistakes)?;
    Ok(office.time_zone().clone())
}

async fn status(machine: &Machine, as_json: bool) -> anyhow::Result<ExitCode> {
    let slots = machine.slots().await?;
    let last = machine.record.read();
    if as_json {
        let pending = slots.reboot_pending();
        let status = json!({ "version": machine.version, "slots": slots, "reboot_pending": pending, "last": last });
        println!("{}", serde_json::to_string_pretty(&status)?);
        return Ok(ExitCode::SUCCESS);
    }
    println!("Running {} on a box of the kind {}", machine.version, slots.compatible);
    for slot in &slots.slots {
        println!("  {}", slot_line(slot));
    }
    println!("Next boot    {}", next_boot(&slots));
    println!("Last update  {}", last.map_or_else(|| "none yet".into(), |last| last.in_words()));
    Ok(ExitCode::SUCCESS)
}

fn slot_line(slot: &Slot) -> String {
    let running = if slot.running { "running" } else { "" };
    let version = slot.version.as_deref().unwrap_or("(unknown)");
    let state = match (slot.confirmed, slot.tries_left) {
        (_, Some(0)) if slot.running => "being tried: another boot goes back".into(),
        (_, Some(0)) => "not bootable".into(),
        (true, _) => "confirmed".into(),
        (false, Some(tries)) => format!("not confirmed, tries left: {tries}"),
        (false, None) => "not confirmed".into(),
    };
    format!("slot {}  {version:<14} {running:<8} {state}", slot.bootname)
}

fn next_boot(slots: &Slots) -> String {
    let Some(next) = &slots.next else { return "nothing: the boot loader knows no bootable slot".into() };
    if slots.on_trial() {
        format!("slot {next}, unless the running one is confirmed before")
    } else if slots.reboot_pending() {
        format!("slot {next}: a reboot changes the running system")
    } else {
        format!("slot {next}, as now")
    }
}

async fn rollback(config: &Config, machine: &Machine, reboot: bool) -> anyhow::Result<ExitCode> {
    let slots = machine.slots().await?;
    let target = slots.way_back()?;
    let version = target.version.as_deref().unwrap_or("an unknown version");
    machine.rauc.mark_active(&target.name).await?;
    let after = machine.slots().await?;
    anyhow::ensure!(
        after.next.as_deref() == Some(target.bootname.as_str()),
        "the boot loader was told to take slot {}, but its variables say otherwise; nothing else was changed",
        target.bootname
    );
    println!("The next boot takes slot {} with {version}; now running is {}.", target.bootname, machine.version);
    if let Some(last) = machine.record.read() {
        machine.record.write(&last.now(Outcome::RolledBack, Timestamp::now()))?;
    }
    if !reboot {
        println!("Reboot to go back: `systemctl reboot`, or `offhook update rollback --reboot`.");
        return Ok(ExitCode::SUCCESS);
    }
    restart(config, machine).await
}

/// Reboots, unless a call has begun in the meantime.
async fn restart(config: &Config, machine: &Machine) -> anyhow::Result<ExitCode> {
    match quiet::calls_in_progress(config).await? {
        0 => {
            println!("Rebooting.");
            machine.reboot().await?;
            Ok(ExitCode::SUCCESS)
        }
        calls => {
            println!("{calls} calls are in progress: not rebooting now. Reboot when they have ended.");
            Ok(ExitCode::from(EXIT_POSTPONED))
        }
    }
}
