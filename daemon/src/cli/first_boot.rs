//! `offhook first-boot`: the box gets its identity.

use std::process::ExitCode;

use anyhow::Context as _;
use clap::Args;
use jiff::Timestamp;
use serde_json::json;

use super::Common;
use crate::identity::IdentityFolder;

/// Flags of `offhook first-boot`.
#[derive(Debug, Args)]
pub(crate) struct FirstBoot {
    /// As JSON
    #[arg(long)]
    json: bool,
    /// Show the set-up secret, for the console and the label; there is none any more once the set-up is done
    #[arg(long)]
    show_secret: bool,
    /// Give this machine the host name of the identity, until the next boot (the root file system is read-only)
    #[arg(long)]
    set_host_name: bool,
}

impl FirstBoot {
    pub(crate) fn run(&self, common: &Common) -> anyhow::Result<ExitCode> {
        let folder = IdentityFolder::below(&common.load()?.machine_directory());
        let (identity, new) = folder.ensure(Timestamp::now())?;
        if self.set_host_name {
            let set = rustix::system::sethostname(identity.name.as_bytes());
            set.with_context(|| format!("the host name cannot be set to {}; root may", identity.name))?;
        }
        let secret = if self.show_secret { folder.setup_secret()? } else { None };
        if self.json {
            let mut shown = json!({
                "box_id": identity.box_id, "name": identity.name, "made_at": identity.made_at, "new": new,
                "key_sha256": identity.key_sha256, "awaits_setup": folder.awaits_setup(),
            });
            if let Some(secret) = &secret {
                shown["setup_secret"] = secret.reveal().into();
            }
            println!("{}", serde_json::to_string_pretty(&shown)?);
            return Ok(ExitCode::SUCCESS);
        }
        println!("{} is {}{}", identity.name, identity.box_id, if new { ", made just now" } else { "" });
        println!("key      SHA-256 {}", identity.key_sha256);
        match secret {
            Some(secret) => println!("set-up   secret {}", secret.reveal()),
            None if folder.awaits_setup() => println!("set-up   not done; --show-secret shows the secret for it"),
            None => println!("set-up   done"),
        }
        Ok(ExitCode::SUCCESS)
    }
}
