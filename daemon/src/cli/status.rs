//! `offhook status`: the box on one screen.

use std::io::Write as _;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;

use super::Common;
use crate::config::Config;
use crate::status::{Status, look};

/// How often the console is drawn anew.
const EVERY: Duration = Duration::from_secs(5);
/// Cursor home, and clear what was there.
const FRESH_SCREEN: &str = "\x1b[H\x1b[2J";

/// Flags of `offhook status`.
#[derive(Debug, Args)]
pub(crate) struct StatusCommand {
    /// As JSON
    #[arg(long, conflicts_with = "watch")]
    json: bool,
    /// For the box's console: every five seconds, with the set-up secret until the set-up is done
    #[arg(long)]
    watch: bool,
}

impl StatusCommand {
    pub(crate) fn run(&self, common: &Common) -> anyhow::Result<ExitCode> {
        let config = common.load()?;
        super::runtime()?.block_on(self.show(&config))
    }

    async fn show(&self, config: &Config) -> anyhow::Result<ExitCode> {
        if self.watch {
            return watch(config).await;
        }
        let status: Status = look(config, false).await;
        if self.json {
            println!("{}", serde_json::to_string_pretty(&status)?);
        } else {
            print!("{}", status.in_words());
        }
        Ok(if status.answers() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

/// Until somebody ends it.
async fn watch(config: &Config) -> anyhow::Result<ExitCode> {
    loop {
        let status = look(config, true).await;
        let mut console = std::io::stdout();
        write!(console, "{FRESH_SCREEN}{}", status.in_words())?;
        console.flush()?;
        tokio::time::sleep(EVERY).await;
    }
}
