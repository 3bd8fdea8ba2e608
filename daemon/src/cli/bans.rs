//! `offhook bans`: who tried passwords too often, and the packet filter's copy of that.

use std::io::Write as _;
use std::process::{Command, ExitCode, Stdio};

use anyhow::Context as _;
use clap::{Args, Subcommand};

use super::Common;
use crate::io::bans::{self, Ban};

/// Flags of `offhook bans`.
#[derive(Debug, Subcommand)]
pub(crate) enum Bans {
    /// The addresses that are banned now, and for how long
    List(List),
    /// Make the packet filter's sets the same: inet offhook banned4 and banned6 of nftables
    ///
    /// For the service that does it whenever the list changes; needs the right to change the packet filter.
    Apply,
}

/// `offhook bans list`
#[derive(Debug, Args)]
pub(crate) struct List {
    /// As JSON
    #[arg(long)]
    json: bool,
}

impl Bans {
    pub(crate) fn run(&self, common: &Common) -> anyhow::Result<ExitCode> {
        let (now, config) = (bans::now_seconds(), common.load()?);
        let path = bans::file(&config.state_directory());
        let text = match std::fs::read_to_string(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
            read => read.with_context(|| format!("the bans cannot be read from {}", path.display()))?,
        };
        let bans = bans::read(&text, now);
        match self {
            Bans::List(list) => list.show(&bans, now),
            Bans::Apply => apply(&bans::script(&bans, now))?,
        }
        Ok(ExitCode::SUCCESS)
    }
}

impl List {
    fn show(&self, bans: &[Ban], now: u64) {
        let left = |ban: &Ban| ban.until.saturating_sub(now);
        if self.json {
            let row = |ban: &Ban| serde_json::json!({ "address": ban.address, "seconds": left(ban) });
            println!("{}", serde_json::Value::from_iter(bans.iter().map(row)));
            return;
        }
        for ban in bans {
            println!("{} for {} s", ban.address, left(ban));
        }
    }
}

fn apply(script: &str) -> anyhow::Result<()> {
    let mut nft = Command::new("nft").args(["-f", "-"]).stdin(Stdio::piped()).spawn().context("nft cannot be run")?;
    let mut input = nft.stdin.take().context("nft does not listen")?;
    input.write_all(script.as_bytes())?;
    drop(input);
    let status = nft.wait()?;
    anyhow::ensure!(status.success(), "nft did not take the bans: {status}");
    Ok(())
}
