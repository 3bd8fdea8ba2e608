//! `offhook notices`: who was told, who will be, and who could not be.

use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Subcommand, ValueEnum};

use super::calls::{local_time, open_reader};
use super::{Common, whole_key};
use crate::requests::{Request, submit};
use crate::storage::{Notice, NoticeState, NotificationId, StorageError, find_notice, list_notices};
use crate::views::notice_json;

/// Subcommands of `offhook notices`.
#[derive(Debug, Subcommand)]
pub(crate) enum Notices {
    /// List the latest notices
    List {
        /// How many
        #[arg(short = 'n', long, default_value_t = 20)]
        limit: u32,
        /// Only those in this state
        #[arg(long, value_enum)]
        state: Option<State>,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Show one notice
    Show {
        /// Its id, or the beginning of it
        id: String,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Send a notice now that waits or was given up
    Retry {
        /// Its id, or the beginning of it
        id: String,
    },
}

/// How far a notice is.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum State {
    /// To be sent
    Queued,
    /// Under way
    Sending,
    /// Taken by the other side
    Sent,
    /// Given up
    Dead,
}

impl From<State> for NoticeState {
    fn from(state: State) -> NoticeState {
        match state {
            State::Queued => NoticeState::Queued,
            State::Sending => NoticeState::Sending,
            State::Sent => NoticeState::Sent,
            State::Dead => NoticeState::Dead,
        }
    }
}

pub(super) fn notice_line(notice: &Notice) -> String {
    let failure = notice.failure.map_or("", |failure| failure.as_str());
    format!(
        "{}  {}  {:<16} {:<8} {:<7} {:>2} attempts  {}  {failure}",
        notice.notification_id,
        local_time(notice.created_at),
        notice.new.kind.as_str(),
        notice.new.channel.as_str(),
        notice.state.as_str(),
        notice.attempts,
        notice.new.recipient.reveal(),
    )
}

impl Notices {
    pub(crate) fn run(&self, common: &Common) -> anyhow::Result<ExitCode> {
        let config = common.load()?;
        let reader = open_reader(&config)?;
        let find = |id: &str| -> anyhow::Result<NotificationId> {
            reader.read_blocking(|db| whole_key(db, "notifications", "notification_id", id))?.parse().context("its key")
        };
        match self {
            Notices::List { limit, state, json } => {
                let state = state.map(NoticeState::from);
                let notices = reader.read_blocking(|db| list_notices(db, state, *limit))?;
                if *json {
                    let rows: Vec<_> = notices.iter().map(notice_json).collect();
                    println!("{}", serde_json::to_string_pretty(&rows)?);
                } else {
                    notices.iter().for_each(|notice| println!("{}", notice_line(notice)));
                    if notices.is_empty() {
                        println!("No notices. [email], [webhook] and [sms] of the configuration say who is told.");
                    }
                }
            }
            Notices::Show { id, json } => {
                let id = find(id)?;
                let found = reader.read_blocking(|db| find_notice(db, id)?.ok_or(StorageError::NotFound("notice")))?;
                if *json {
                    println!("{}", serde_json::to_string_pretty(&notice_json(&found))?);
                } else {
                    println!("{}", notice_line(&found));
                    println!("  about     {}", found.new.subject);
                    println!("  error     {}", found.error.as_deref().unwrap_or("-"));
                    println!("  taken as  {}", found.reference.as_deref().unwrap_or("-"));
                }
            }
            Notices::Retry { id } => {
                submit(&config.state_directory(), &Request::RetryNotice { id: find(id)? })?;
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}
