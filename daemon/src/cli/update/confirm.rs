//! `offhook update confirm`: the health gate after a boot.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use clap::Args;
use jiff::Timestamp;
use serde_json::json;
use tracing::{error, info, warn};

use crate::config::Config;
use crate::durable;
use crate::update::health::{Check, examine};
use crate::update::machine::Machine;
use crate::update::slots::{Slot, Slots};

/// Between two looks while the box is still starting.
const LOOK_EVERY: Duration = Duration::from_secs(3);

/// Flags of `offhook update confirm`.
#[derive(Debug, Args)]
pub(crate) struct Confirm {
    /// On a machine without slots, for development: only check
    #[arg(long)]
    no_slots: bool,
    /// As JSON
    #[arg(long)]
    json: bool,
}

impl Confirm {
    pub(super) async fn run(&self, config: &Config, machine: &Machine) -> anyhow::Result<ExitCode> {
        crate::logging::start(&config.log)?;
        let slots = match machine.slots().await {
            Ok(slots) => Some(slots),
            Err(error) if self.no_slots => {
                info!(%error, "Checking only");
                None
            }
            Err(error) => {
                return Err(anyhow::Error::from(error).context("nothing can be confirmed (--no-slots only checks)"));
            }
        };
        let checks = self.pass(config).await;
        let healthy = checks.iter().all(|check| check.good);
        let confirmed = match &slots {
            Some(slots) => settle(config, machine, slots, healthy).await?,
            None => false,
        };
        self.show(&checks, healthy, confirmed)?;
        Ok(if healthy { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }

    /// Looks until all is well or the time is over.
    async fn pass(&self, config: &Config) -> Vec<Check> {
        let limit = Duration::from_secs(config.update.confirm_limit_seconds.into());
        let began = Instant::now();
        let mut last = Vec::new();
        while let Ok(checks) = tokio::time::timeout(limit.saturating_sub(began.elapsed()), examine(config)).await {
            let good = checks.iter().all(|check| check.good);
            last = checks;
            if good || began.elapsed() + LOOK_EVERY >= limit {
                return last;
            }
            if let Some(problem) = last.iter().find(|check| !check.good) {
                info!(check = problem.name, problem = problem.detail, "Not healthy yet, looking again");
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
        if last.iter().all(|check| check.good) {
            let detail = format!("not finished within {} s", limit.as_secs());
            last.push(Check { name: "time", detail, good: false });
        }
        last
    }

    fn show(&self, checks: &[Check], healthy: bool, confirmed: bool) -> anyhow::Result<()> {
        if self.json {
            let shown = json!({ "healthy": healthy, "confirmed": confirmed, "checks": checks });
            println!("{}", serde_json::to_string_pretty(&shown)?);
            return Ok(());
        }
        for check in checks {
            println!("{}  {:<9} {}", if check.good { "ok  " } else { "BAD " }, check.name, check.detail);
        }
        Ok(())
    }
}

/// Acts on the verdict. Returns whether the running slot is confirmed.
async fn settle(config: &Config, machine: &Machine, slots: &Slots, healthy: bool) -> anyhow::Result<bool> {
    let running = slots.running().context("it is not known which slot is running; nothing can be confirmed")?;
    if healthy {
        confirm(machine, running).await?;
        note_outcome(machine);
    } else if running.confirmed {
        // It was found good before, with this very content: rebooting would lead into it again, not out of it.
        error!(slot = running.bootname, "The health check fails in a slot that once passed it; staying");
    } else {
        error!(slot = running.bootname, "The health check fails in a new slot: not confirmed, the box will go back");
        return Ok(false);
    }
    // The boot loader's variables are what counts: without its marker a confirmed slot is confirmed all the same.
    if let Err(error) = durable::write(&config.update.marker, format!("{}\n", running.bootname).as_bytes(), 0o644) {
        warn!(%error, "The marker of a confirmed slot was not written");
    }
    Ok(true)
}

async fn confirm(machine: &Machine, running: &Slot) -> anyhow::Result<()> {
    let slot = &running.bootname;
    machine.rauc.mark_good().await?;
    let after = machine.slots().await?;
    let good = after.running().is_some_and(|running| running.good && running.bootname == *slot);
    anyhow::ensure!(good, "slot {slot} was marked good, but RAUC does not say so when asked again; not confirmed");
    machine.grubenv.confirm(slot).await?;
    info!(slot, version = machine.version, "Confirmed");
    Ok(())
}

/// The record only informs: that it cannot be written must not unconfirm a slot.
fn note_outcome(machine: &Machine) {
    let settled = machine.record.read().and_then(|last| last.settled(&machine.version, Timestamp::now()));
    if let Some(record) = settled {
        info!(update = record.in_words(), "Last update");
        if let Err(error) = machine.record.write(&record) {
            warn!(%error, "How the update ended was not noted");
        }
    }
}
