//! `offhook erase`: an end to what is known of a caller.

use std::process::ExitCode;

use clap::Args;
use serde_json::json;

use super::Common;
use super::calls::open_reader;
use crate::requests::{Request, submit};
use crate::storage::{Erased, count_caller};

/// Flags of `offhook erase`.
#[derive(Debug, Args)]
pub(crate) struct Erase {
    /// The caller's number, as `offhook calls` shows it
    number: String,
    /// Do it; without it, only say what would go
    #[arg(long)]
    yes: bool,
    /// As JSON
    #[arg(long)]
    json: bool,
}

fn in_words(erased: Erased) -> String {
    let Erased { calls, recordings, messages, follow_ups, notices, jobs, texts, contacts } = erased;
    format!(
        "{calls} calls with what was said, {recordings} recordings, {messages} messages, {follow_ups} promises, {notices} \
         notices, {jobs} jobs, {texts} texts, {contacts} contacts"
    )
}

impl Erase {
    pub(crate) fn run(&self, common: &Common) -> anyhow::Result<ExitCode> {
        let config = common.load()?;
        let number = self.number.clone();
        let known = open_reader(&config)?.read_blocking(|db| count_caller(db, &number))?;
        if self.yes && !known.is_empty() {
            submit(&config.state_directory(), &Request::EraseCaller { number })?;
        }
        if self.json {
            println!("{}", json!({ "erased": self.yes, "rows": known }));
        } else if known.is_empty() {
            println!("Nothing is known of {}.", self.number);
        } else if self.yes {
            println!("Gone: {}.", in_words(known));
            println!(
                "The cloud deletes it too once it hears of it; backups of before keep it until their time is over."
            );
        } else {
            println!("This would go: {}.\nDo it with --yes.", in_words(known));
        }
        Ok(ExitCode::SUCCESS)
    }
}
