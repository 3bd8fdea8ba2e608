//! `offhook cloud`: the box's place in a central cloud.

use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Args, Subcommand};

use super::Common;
use crate::fleet::Ledger;
use crate::fleet::desired::{Candidate, Phase};
use crate::status::is_running;
use crate::sync::{enrolment, link, state};

/// Flags of `offhook cloud`.
#[derive(Debug, Subcommand)]
pub(crate) enum Cloud {
    /// Make this box one of a cloud's, with a code of its operator
    ///
    /// The box makes a key and gets a certificate for it from cloud.endpoint. A box that runs begins to sync within seconds if
    /// cloud.enabled is set. Run it as the user that Offhook runs as.
    Claim(Claim),
    /// How sync is: connection, what is acknowledged, what waits, what was lost
    Status(Status),
    /// What the cloud has decided about this box: the configuration in force, the one that waits or was rejected
    Wishes(Wishes),
}

/// `offhook cloud wishes`
#[derive(Debug, Args)]
pub(crate) struct Wishes {
    /// As JSON
    #[arg(long)]
    json: bool,
}

/// `offhook cloud claim`
#[derive(Debug, Args)]
pub(crate) struct Claim {
    /// As `offhook-cloud claim` prints it; capitals and hyphens do not matter
    code: String,
}

/// `offhook cloud status`
#[derive(Debug, Args)]
pub(crate) struct Status {
    /// As JSON
    #[arg(long)]
    json: bool,
}

impl Cloud {
    pub(crate) fn run(&self, common: &Common) -> anyhow::Result<ExitCode> {
        match self {
            Cloud::Claim(claim) => claim.run(common),
            Cloud::Status(status) => status.run(common),
            Cloud::Wishes(wishes) => wishes.run(common),
        }
    }
}

impl Claim {
    fn run(&self, common: &Common) -> anyhow::Result<ExitCode> {
        let config = common.load()?;
        let endpoint = config.cloud.endpoint.as_deref();
        let endpoint = endpoint.context(
            "cloud.endpoint is not set: where is the cloud? For example --set cloud.endpoint=cloud.example.org:8443",
        )?;
        let box_id = enrolment::box_id(&config);
        let claiming = link::claim(endpoint, config.cloud.trust.as_deref(), &self.code, &box_id);
        let enrolment = super::runtime()?.block_on(claiming)?;
        enrolment.save(&config.state_directory())?;
        let tenant = enrolment.tenant().unwrap_or_default();
        println!("This box is {} of {tenant} now, and connects to {}.", enrolment.box_id, enrolment.endpoint);
        if !config.cloud.enabled {
            println!("Sync is off: set cloud.enabled = true and restart Offhook.");
        }
        Ok(ExitCode::SUCCESS)
    }
}

impl Wishes {
    fn run(&self, common: &Common) -> anyhow::Result<ExitCode> {
        let ledger = Ledger::load(&common.load()?.state_directory())?;
        if self.json {
            println!("{}", serde_json::to_string_pretty(&ledger)?);
            return Ok(ExitCode::SUCCESS);
        }
        match &ledger.current {
            Some(current) => {
                let sections: Vec<&str> = current.sections.keys().map(String::as_str).collect();
                println!("In force: version {} with {}", current.version, sections.join(", "));
            }
            None => println!("In force: the box's own configuration"),
        }
        if let Some(Candidate { wish, phase, tries, detail, .. }) = &ledger.candidate {
            let phase = match phase {
                Phase::Waiting { .. } => "waits until no call is up",
                Phase::Staged | Phase::Trying => "is being tried",
                Phase::Rejected => "was rejected",
            };
            println!("Version {} {phase}, tried {tries} times. {detail}", wish.version);
        }
        Ok(ExitCode::SUCCESS)
    }
}

impl Status {
    fn run(&self, common: &Common) -> anyhow::Result<ExitCode> {
        let config = common.load()?;
        let running = super::runtime()?.block_on(is_running(&config));
        let state = state::look(&config, running);
        if self.json {
            println!("{}", serde_json::to_string_pretty(&state.to_json())?);
        } else {
            println!("{}", state.in_words().unwrap_or_else(|| "Sync is off: cloud.enabled = false.".to_owned()));
        }
        Ok(ExitCode::SUCCESS)
    }
}
