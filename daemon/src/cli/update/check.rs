//! `offhook update check`: what is available where, and whether it would be installed.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use serde::Serialize;

use crate::config::Config;
use crate::update::decision::{Acceptance, System, compare, judge};
use crate::update::machine::Machine;
use crate::update::source::{RemoteBundle, look_up, on_sticks};

/// Flags of `offhook update check`.
#[derive(Debug, Args)]
pub(crate) struct Check {
    /// As JSON
    #[arg(long)]
    json: bool,
}

/// Where a bundle is.
#[derive(Debug, Clone)]
pub(super) enum Place {
    File(PathBuf),
    Web(RemoteBundle),
}

/// A bundle that was found, and the verdict on it.
#[derive(Debug, Serialize)]
pub(super) struct Offer {
    source: String,
    pub(super) version: Option<String>,
    pub(super) accepted: bool,
    /// Why it would be installed, or why not.
    reason: String,
    #[serde(skip)]
    pub(super) place: Option<Place>,
}

impl Check {
    pub(super) async fn run(&self, config: &Config, machine: &Machine) -> anyhow::Result<ExitCode> {
        let system = machine.slots().await.map(|slots| machine.system(&slots));
        let (system, no_slots) = match system {
            Ok(system) => (Some(system), None),
            Err(error) => (None, Some(error.to_string())),
        };
        let offers = offers(config, machine, system.as_ref()).await;
        if self.json {
            let shown = serde_json::json!({ "running": machine.version, "problem": no_slots, "available": offers });
            println!("{}", serde_json::to_string_pretty(&shown)?);
            return Ok(ExitCode::SUCCESS);
        }
        println!("Running {}", machine.version);
        if let Some(problem) = no_slots {
            println!("Nothing can be installed: {problem}");
        }
        if offers.is_empty() {
            let folders: Vec<_> = config.update.folders.iter().map(|folder| folder.display().to_string()).collect();
            println!("No bundle (*.raucb) is in {}; update.url names no address.", folders.join(", "));
        }
        for offer in &offers {
            let mark = if offer.accepted { "install" } else { "no     " };
            println!(
                "{mark}  {:<10} {}\n         {}",
                offer.version.as_deref().unwrap_or("?"),
                offer.source,
                offer.reason
            );
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// Everything that was found, sticks first.
pub(super) async fn offers(config: &Config, machine: &Machine, system: Option<&System>) -> Vec<Offer> {
    let mut offers = Vec::new();
    for path in on_sticks(&config.update.folders) {
        offers.push(from_file(path, machine, system).await);
    }
    if let Some(url) = config.update.url.clone() {
        offers.push(from_web(url, &machine.version).await);
    }
    offers
}

async fn from_file(path: PathBuf, machine: &Machine, system: Option<&System>) -> Offer {
    let source = path.display().to_string();
    let place = Some(Place::File(path.clone()));
    let bundle = match machine.rauc.info(&path).await {
        Ok(bundle) => bundle,
        Err(error) => return Offer { source, version: None, accepted: false, reason: error.to_string(), place },
    };
    let version = Some(bundle.version.clone());
    let verdict = match system {
        Some(system) => judge(&bundle, system, false),
        None => compare(&bundle.version, &machine.version, false),
    };
    Offer { source, version, accepted: verdict.is_ok() && system.is_some(), reason: in_words(verdict), place }
}

async fn from_web(url: String, running: &str) -> Offer {
    let source = url.clone();
    let found = tokio::task::spawn_blocking(move || look_up(&url)).await;
    let bundle = match found.map_err(|error| error.to_string()).and_then(|found| found.map_err(|e| e.to_string())) {
        Ok(bundle) => bundle,
        Err(reason) => return Offer { source, version: None, accepted: false, reason, place: None },
    };
    let Some(version) = bundle.version.clone() else {
        let reason = "no index: expected an address that ends in .json".to_owned();
        return Offer { source, version: None, accepted: false, reason, place: None };
    };
    let verdict = compare(&version, running, false);
    let (accepted, reason) = (verdict.is_ok(), in_words(verdict));
    Offer { source, version: Some(version), accepted, reason, place: Some(Place::Web(bundle)) }
}

fn in_words(verdict: Result<Acceptance, crate::update::decision::Refusal>) -> String {
    match verdict {
        Ok(Acceptance::Newer) => "newer than what runs".into(),
        Ok(Acceptance::OlderAsAsked) => "not newer than what runs, but asked for".into(),
        Err(refusal) => refusal.to_string(),
    }
}
