//! `offhook extensions`: the office's phones and their passwords.

use std::io::{BufRead as _, stdin};
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Subcommand;
use serde_json::json;

use super::Common;
use crate::config::{Config, Extension};
use crate::registrar::secrets::Secrets;

/// Shorter passwords are guessed; phones type them once.
const SHORTEST_PASSWORD: usize = 12;

/// Subcommands of `offhook extensions`.
#[derive(Debug, Subcommand)]
pub(crate) enum Extensions {
    /// List the extensions of the configuration and whether each has a password
    List {
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Make a new password for an extension and show it once
    ///
    /// Type it into the phone now: the box keeps only what is needed to check it. Phones that have the old password are
    /// not let in any more once their registration runs out.
    Password {
        /// Such as 101
        extension: String,
        /// Read the password from standard input instead of making one
        #[arg(long)]
        stdin: bool,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
}

impl Extensions {
    pub(crate) fn run(&self, common: &Common) -> anyhow::Result<ExitCode> {
        let config = common.load()?;
        let secrets = Secrets::new(&config.state_directory(), &config.sip.realm);
        match self {
            Extensions::List { json } => list(&config, &secrets, *json),
            Extensions::Password { extension, stdin, json } => set(&config, &secrets, extension, *stdin, *json)?,
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn list(config: &Config, secrets: &Secrets, as_json: bool) {
    if as_json {
        let row = |one: &Extension| json!({ "number": one.number, "name": one.name, "has_password": secrets.exists(&one.number) });
        println!("{}", serde_json::Value::from_iter(config.extensions.iter().map(row)));
        return;
    }
    if config.extensions.is_empty() {
        println!("No extensions. Add [[extensions]] with a number to the configuration.");
    }
    for extension in &config.extensions {
        let state = match secrets.exists(&extension.number) {
            true => "has a password".to_owned(),
            false => format!("no password yet: offhook extensions password {}", extension.number),
        };
        println!("{:<8}{:<24}{state}", extension.number, extension.name);
    }
}

fn set(config: &Config, secrets: &Secrets, extension: &str, from_stdin: bool, as_json: bool) -> anyhow::Result<()> {
    let known: Vec<&str> = config.extensions.iter().map(|extension| extension.number.as_str()).collect();
    anyhow::ensure!(
        config.has_extension(extension),
        "there is no extension {extension} in the configuration; it has: {}",
        if known.is_empty() { "none".to_owned() } else { known.join(", ") }
    );
    if from_stdin {
        let mut line = String::new();
        stdin().lock().read_line(&mut line).context("standard input")?;
        let password = line.trim_end_matches(['\r', '\n']);
        anyhow::ensure!(
            password.chars().count() >= SHORTEST_PASSWORD,
            "a password needs at least {SHORTEST_PASSWORD} characters; without --stdin a good one is made"
        );
        secrets.set(extension, password)?;
        if !as_json {
            println!("The password of {extension} is set.");
        }
        return Ok(());
    }
    let password = secrets.renew(extension)?;
    if as_json {
        println!("{}", json!({ "extension": extension, "password": password, "realm": config.sip.realm }));
    } else {
        println!("Password of {extension}: {password}");
        println!("It is not kept and cannot be shown again. In the phone:");
        println!("  user name, authentication name  {extension}");
        println!("  server, domain                  {}", config.own_sip_address());
    }
    Ok(())
}
