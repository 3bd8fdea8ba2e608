//! `offhook messages`: what callers have left, what became of it, and who was told.

use std::process::ExitCode;

use anyhow::Context as _;
use clap::Subcommand;
use serde_json::Value;

use super::calls::{local_time, open_reader};
use super::notices::notice_line;
use super::{Common, whole_key};
use crate::requests::{Request, submit};
use crate::storage::{StorageError, VoicemailId, VoicemailStatus, find_voicemail, list_voicemails, reference_of};
use crate::views::ShownMessage;

/// Subcommands of `offhook messages`.
#[derive(Debug, Subcommand)]
pub(crate) enum Messages {
    /// List the latest messages
    List {
        /// How many
        #[arg(short = 'n', long, default_value_t = 20)]
        limit: u32,
        /// Only those that nobody has heard
        #[arg(long)]
        new: bool,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Show one message: what was said, its particulars, the jobs about it and who was told
    Show {
        /// Its id, or the beginning of it
        id: String,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Note that a message was heard
    Heard {
        /// Its id, or the beginning of it
        id: String,
    },
    /// Do the jobs about a message again that were given up
    Retry {
        /// Its id, or the beginning of it
        id: String,
    },
}

impl ShownMessage {
    fn line(&self) -> String {
        let voicemail = &self.voicemail;
        let particulars = self.particulars.clone().unwrap_or_default();
        format!(
            "{}  {}  {}  {:<8} {:>4} s  {}{}",
            voicemail.voicemail_id,
            reference_of(voicemail.voicemail_id),
            local_time(voicemail.created_at),
            voicemail.status.as_str(),
            voicemail.duration_ms / 1_000,
            if voicemail.is_urgent || particulars.is_urgent { "URGENT " } else { "" },
            particulars.name.or(particulars.callback_number).unwrap_or_else(|| "-".into()),
        )
    }

    fn print(&self) {
        println!("{}", self.line());
        println!("  call      {}", self.voicemail.call_id);
        println!("  mailbox   {}", self.voicemail.mailbox.as_deref().unwrap_or("the office"));
        if let Some(found) = &self.particulars {
            println!("  wants     {}{}", found.requested.as_str(), within(" ", found.when.as_deref()));
            println!("  call back {}", found.callback_number.as_deref().unwrap_or("-"));
            println!("  for       {}", found.message_for.as_deref().unwrap_or("-"));
        }
        println!("  said      {}", self.voicemail.transcript.as_ref().map_or("-", |text| text.reveal()));
        for job in &self.jobs {
            let error = within(": ", job.error.as_deref());
            println!("  job       {} {}, {} attempts{error}", job.kind, job.state, job.attempts);
        }
        if let Some(promise) = &self.promise {
            println!("  promise   {}, due {}", promise.state, local_time(promise.due_at));
        }
        self.notices.iter().for_each(|notice| println!("  notice    {}", notice_line(notice)));
    }
}

/// `text` behind `before`, or nothing.
fn within(before: &str, text: Option<&str>) -> String {
    text.map_or_else(String::new, |text| format!("{before}{text}"))
}

impl Messages {
    pub(crate) fn run(&self, common: &Common) -> anyhow::Result<ExitCode> {
        let config = common.load()?;
        let reader = open_reader(&config)?;
        let find = |id: &str| -> anyhow::Result<VoicemailId> {
            reader.read_blocking(|db| whole_key(db, "voicemails", "voicemail_id", id))?.parse().context("its key")
        };
        match self {
            Messages::List { limit, new, json } => {
                let status = new.then_some(VoicemailStatus::New);
                let messages = reader.read_blocking(|db| {
                    let found = list_voicemails(db, status, *limit)?;
                    found.into_iter().map(|one| ShownMessage::load(db, one)).collect::<Result<Vec<_>, _>>()
                })?;
                if *json {
                    let rows: Vec<Value> = messages.iter().map(ShownMessage::as_json).collect();
                    println!("{}", serde_json::to_string_pretty(&rows)?);
                } else {
                    messages.iter().for_each(|message| println!("{}", message.line()));
                    if messages.is_empty() {
                        println!("No messages.");
                    }
                }
            }
            Messages::Show { id, json } => {
                let id = find(id)?;
                let message = reader.read_blocking(|db| {
                    let found = find_voicemail(db, id)?.ok_or(StorageError::NotFound("message"))?;
                    ShownMessage::load(db, found)
                })?;
                if *json {
                    println!("{}", serde_json::to_string_pretty(&message.as_json())?);
                } else {
                    message.print();
                }
            }
            Messages::Heard { id } => {
                submit(&config.state_directory(), &Request::MessageHeard { id: find(id)? })?;
            }
            Messages::Retry { id } => {
                submit(&config.state_directory(), &Request::RetryMessage { id: find(id)? })?;
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}
