//! `offhook config`: check a file, show what is in force.

use std::process::ExitCode;

use clap::Subcommand;

use super::Common;

/// Subcommands of `offhook config`.
#[derive(Debug, Subcommand)]
pub(crate) enum ConfigVerb {
    /// Report every mistake of the configuration; exit status 78 when there is one
    Check,
    /// Print every key with the value in force (defaults, file, environment and --set merged) as TOML
    Show {
        /// As JSON
        #[arg(long)]
        json: bool,
    },
}

impl ConfigVerb {
    pub(crate) fn run(&self, common: &Common) -> anyhow::Result<ExitCode> {
        let config = common.load()?;
        match self {
            ConfigVerb::Check => {
                config.sip.tls.open(&config.machine_directory())?;
                println!("The configuration is valid.");
                println!("  SIP    {} port {}", config.sip.address, config.sip.port);
                println!("  state  {}", config.state_directory().display());
                println!("  models {}", config.models_directory().display());
                println!("  office {}", config.office.name);
            }
            ConfigVerb::Show { json: true } => println!("{}", serde_json::to_string_pretty(&config)?),
            ConfigVerb::Show { json: false } => print!("{}", config.to_toml()),
        }
        Ok(ExitCode::SUCCESS)
    }
}
