//! `offhook-cloud operator`: who may manage boxes from elsewhere. At the service itself, because it takes its authority.
#![expect(clippy::print_stdout, reason = "a command line's answers go to stdout")]

use std::path::PathBuf;

use anyhow::Context as _;
use clap::{Args, Subcommand};
use serde_json::json;

use crate::authority::Authority;
use crate::cli::in_words;
use crate::clock;
use crate::config::Config;
use crate::fleet::operator::{ALL_TENANTS, Action, Operator, OperatorName, Role, appoint, dismiss, operators};
use crate::fleet::remote::Credentials;
use crate::names::is_name;
use crate::store::AnyStore;

/// Flags of `offhook-cloud operator`.
#[derive(Debug, Subcommand)]
pub(crate) enum OperatorCommand {
    /// Make somebody an operator: writes the file that makes them one
    ///
    /// The file holds a key: hand it over as you would a password. `offhook-cloud --operator FILE fleet list` uses it. Doing it
    /// again gives another role, and another file; the one before stays good.
    Add(Add),
    /// Who is one, and since when
    List(List),
    /// They may do nothing any more, at once
    Remove(Remove),
}

#[derive(Debug, Args)]
struct Who {
    /// Whose boxes; `all` for those of all tenants
    tenant: String,
    /// A name of their own: lower-case letters, digits and hyphens
    name: String,
}

#[derive(Debug, Args)]
pub(crate) struct Add {
    #[command(flatten)]
    who: Who,
    /// What they may do: an agent sees boxes and calls, an admin manages boxes, an owner may export and erase too, an auditor
    /// sees figures and the audit
    #[arg(long, value_enum)]
    role: Role,
    /// The file; it must not be there
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// As JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct List {
    /// Whose boxes; `all` for those of all tenants
    tenant: String,
    /// As JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Remove {
    #[command(flatten)]
    who: Who,
}

fn tenant_of(word: &str) -> anyhow::Result<Option<String>> {
    match word {
        "all" => Ok(None),
        tenant if is_name(tenant) => Ok(Some(tenant.to_owned())),
        tenant => anyhow::bail!("tenant {tenant:?}: expected 1 to 63 lower-case letters, digits and hyphens, or all"),
    }
}

impl Who {
    fn name(&self) -> anyhow::Result<OperatorName> {
        let name = &self.name;
        anyhow::ensure!(is_name(name), "name {name:?}: expected 1 to 63 lower-case letters, digits and hyphens");
        Ok(OperatorName { tenant_id: tenant_of(&self.tenant)?, name: name.clone() })
    }
}

impl OperatorCommand {
    pub(crate) fn run(&self, config: &Config, store: &AnyStore, by: &str) -> anyhow::Result<()> {
        match self {
            OperatorCommand::Add(add) => add.run(config, store, by),
            OperatorCommand::List(list) => list.run(store),
            OperatorCommand::Remove(remove) => {
                let name = remove.who.name()?;
                note(store, &name, by, "remove")?;
                let removed = dismiss(store, &name, clock::unix_ms())?;
                anyhow::ensure!(removed, "there is no operator {name}: see `offhook-cloud operator list`");
                println!("{name} may do nothing any more.");
                Ok(())
            }
        }
    }
}

/// Before it is done, as everything an operator does.
fn note(store: &AnyStore, name: &OperatorName, by: &str, detail: &str) -> anyhow::Result<()> {
    let tenant = name.tenant_id.as_deref().unwrap_or(ALL_TENANTS);
    crate::fleet::desk::note(store, &Operator::at_console(by), tenant, Action::Appoint, &name.name, detail, true)?;
    Ok(())
}

impl Add {
    fn run(&self, config: &Config, store: &AnyStore, by: &str) -> anyhow::Result<()> {
        let (name, now) = (self.who.name()?, clock::unix_ms());
        anyhow::ensure!(!self.out.exists(), "--out {}: it is there already", self.out.display());
        let authority = Authority::open(&config.directory(), now)?;
        let credentials = Credentials::make(&authority, &name, &config.endpoint(), now)?;
        note(store, &name, by, self.role.as_str())?;
        credentials.save(&self.out).context("--out")?;
        appoint(store, &name, self.role, by, now)?;
        if self.json {
            println!("{}", json!({ "operator": name.to_string(), "role": self.role, "file": self.out }));
        } else {
            println!("{name} is {} now, with {}:\n", self.role, self.out.display());
            println!("  offhook-cloud --operator {} fleet list", self.out.display());
        }
        Ok(())
    }
}

impl List {
    fn run(&self, store: &AnyStore) -> anyhow::Result<()> {
        let all = operators(store, tenant_of(&self.tenant)?.as_deref())?;
        if self.json {
            let one = |(name, record): &(OperatorName, _)| json!({ "operator": name.to_string(), "record": record });
            println!("{}", json!(all.iter().map(one).collect::<Vec<_>>()));
            return Ok(());
        }
        if all.is_empty() {
            println!("{} has no operator: see `offhook-cloud operator add`.", self.tenant);
        }
        for (name, record) in &all {
            let (role, made) = (record.role, in_words(record.made_at));
            let removed = record.revoked_at.map_or_else(String::new, |at| format!(", REMOVED {}", in_words(at)));
            println!("{name}  {role} since {made}, made by {}{removed}", record.made_by);
        }
        Ok(())
    }
}
