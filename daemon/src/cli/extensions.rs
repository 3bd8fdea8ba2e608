//! `offhook extensions`: the office's phones and their passwords.

use std::io::{BufRead as _, stdin};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Subcommand;
use serde_json::json;

use super::Common;
use crate::config::{Config, Extension};
use crate::durable;
use crate::io::address::local;
use crate::registrar::pins::Pins;
use crate::registrar::provisioning::{Account, Family, Line};
use crate::registrar::secrets::{Secrets, new_password};

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
    /// Make a new PIN for an extension, which its phone is asked for before it plays messages, and show it once
    Pin {
        /// Such as 101
        extension: String,
        /// Read the PIN from standard input instead of making one: 4 to 12 digits
        #[arg(long)]
        stdin: bool,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Make a new password for an extension and write the settings file that a phone reads
    ///
    /// Upload it on the phone's own page, or put it where the phone looks for its settings. It holds the password: whoever
    /// reads it can make calls.
    Provision {
        /// Such as 101
        extension: String,
        /// Which phones read the file
        #[arg(long)]
        family: Family,
        /// Where to write it, readable by its owner only; standard output without it
        #[arg(long)]
        output: Option<PathBuf>,
        /// Host or address by which the phone reaches the box; the box's own address without it
        #[arg(long)]
        server: Option<String>,
    },
}

impl Extensions {
    pub(crate) fn run(&self, common: &Common) -> anyhow::Result<ExitCode> {
        let config = common.load()?;
        let secrets = Secrets::new(&config.state_directory(), &config.sip.realm);
        match self {
            Extensions::List { json } => list(&config, &secrets, *json),
            Extensions::Password { extension, stdin, json } => set(&config, &secrets, extension, *stdin, *json)?,
            Extensions::Pin { extension, stdin, json } => set_pin(&config, extension, *stdin, *json)?,
            Extensions::Provision { extension, family, output, server } => {
                let server = server.clone().unwrap_or_else(|| server_of(&config));
                provision(&config, &secrets, extension, *family, server, output.as_deref())?;
            }
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

fn find<'a>(config: &'a Config, extension: &str) -> anyhow::Result<&'a Extension> {
    let known: Vec<&str> = config.extensions.iter().map(|extension| extension.number.as_str()).collect();
    config.extensions.iter().find(|known| known.number == extension).with_context(|| {
        format!(
            "there is no extension {extension} in the configuration; it has: {}",
            if known.is_empty() { "none".to_owned() } else { known.join(", ") }
        )
    })
}

/// The box as its phones see it.
fn server_of(config: &Config) -> String {
    match local(&config.sip) {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => format!("[{address}]"),
    }
}

fn provision(
    config: &Config,
    secrets: &Secrets,
    extension: &str,
    family: Family,
    server: String,
    output: Option<&Path>,
) -> anyhow::Result<()> {
    let known = find(config, extension)?;
    let (line, port) = match config.sip.tls.enabled {
        true => (Line::Secure, config.sip.tls.port),
        false => (Line::Plain, config.sip.port),
    };
    let account = Account {
        extension: extension.to_owned(),
        name: known.name.clone(),
        password: new_password()?,
        server,
        port,
        line,
    };
    let text = family.settings(&account);
    // The file first: a phone that works goes on working when there is no place for it.
    if let Some(path) = output {
        durable::write(path, text.as_bytes(), 0o600).with_context(|| path.display().to_string())?;
    }
    secrets.set(extension, &account.password)?;
    if output.is_none() {
        print!("{text}");
        return Ok(());
    }
    println!("Settings of {extension} written. Phones of this family look for {}.", family.file_name(extension));
    Ok(())
}

fn set_pin(config: &Config, extension: &str, from_stdin: bool, as_json: bool) -> anyhow::Result<()> {
    find(config, extension)?;
    let pins = Pins::new(&config.state_directory());
    if from_stdin {
        let mut line = String::new();
        stdin().lock().read_line(&mut line).context("standard input")?;
        let pin = line.trim();
        let is_pin = (4..=12).contains(&pin.len()) && pin.bytes().all(|byte| byte.is_ascii_digit());
        anyhow::ensure!(is_pin, "a PIN has 4 to 12 digits; without --stdin a good one is made");
        pins.set(extension, pin)?;
        return Ok(());
    }
    let pin = pins.renew(extension)?;
    if as_json {
        println!("{}", json!({ "extension": extension, "pin": pin }));
    } else {
        println!("PIN of {extension}: {pin}");
        println!("It is not kept and cannot be shown again. Dial {} to hear messages.", config.features.mailbox_code);
    }
    Ok(())
}

fn set(config: &Config, secrets: &Secrets, extension: &str, from_stdin: bool, as_json: bool) -> anyhow::Result<()> {
    find(config, extension)?;
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
        println!("  server, domain                  {}", format_args!("{}:{}", server_of(config), config.sip.port));
        println!("Or with a settings file: offhook extensions provision {extension} --family yealink");
    }
    Ok(())
}
