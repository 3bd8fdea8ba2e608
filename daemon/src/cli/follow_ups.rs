//! `offhook followups`: promises made to callers: which are open, who has taken them, which were not kept.

use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Subcommand, ValueEnum};

use super::calls::{local_time, open_reader};
use super::{Common, whole_key};
use crate::requests::{Request, submit};
use crate::storage::{
    ClosedReason, FollowUp, FollowUpId, StorageError, UnixMs, find_follow_up, list_follow_ups, missed_follow_ups,
};
use crate::views::promise_json;

const DAY_MS: i64 = 24 * 60 * 60 * 1_000;

/// Subcommands of `offhook followups`.
#[derive(Debug, Subcommand)]
pub(crate) enum FollowUps {
    /// List the promises that are open, the one that is due first at the top
    List {
        /// How many
        #[arg(short = 'n', long, default_value_t = 50)]
        limit: u32,
        /// Those that are over too
        #[arg(long)]
        all: bool,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Show one promise
    Show {
        /// Its id, or the beginning of it
        id: String,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Take a promise
    Ack {
        /// Its id, or the beginning of it
        id: String,
        /// Who takes it
        #[arg(long)]
        by: String,
    },
    /// Note that a promise is over
    Close {
        /// Its id, or the beginning of it
        id: String,
        /// Why
        #[arg(long, value_enum, default_value_t)]
        reason: Reason,
    },
    /// Keep a promise now: a phone of the office rings, then its caller is called
    Call {
        /// Its id, or the beginning of it
        id: String,
        /// Which phone; that of whoever owns it, if nothing is said
        #[arg(long)]
        extension: Option<String>,
    },
    /// The promises that were not kept in time
    Missed {
        /// Of how many days
        #[arg(long, default_value_t = 7)]
        days: u32,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
}

/// Why a promise is over.
#[derive(Debug, Clone, Copy, Default, ValueEnum)]
pub(crate) enum Reason {
    /// It was kept
    #[default]
    Done,
    /// The caller could not be reached
    NotReached,
    /// The caller does not want it any more
    Cancelled,
    /// It never was one
    Mistaken,
}

impl From<Reason> for ClosedReason {
    fn from(reason: Reason) -> ClosedReason {
        match reason {
            Reason::Done => ClosedReason::Done,
            Reason::NotReached => ClosedReason::NotReached,
            Reason::Cancelled => ClosedReason::Cancelled,
            Reason::Mistaken => ClosedReason::Mistaken,
        }
    }
}

fn line(promise: &FollowUp) -> String {
    let contact = promise.contact_name.as_ref().or(promise.contact.as_ref());
    format!(
        "{}  {}  due {}  {:<12} {:<12} {}: {}{}",
        promise.follow_up_id,
        promise.reference,
        local_time(promise.due_at),
        promise.state.as_str(),
        promise.owner.as_deref().unwrap_or("anybody"),
        promise.task.reveal(),
        contact.map_or("-", |contact| contact.reveal()),
        if promise.escalated_at.is_some() { "  OVERDUE" } else { "" },
    )
}

fn show(promises: &[FollowUp], json: bool, none: &str) -> anyhow::Result<()> {
    if json {
        let rows: Vec<_> = promises.iter().map(promise_json).collect();
        println!("{}", serde_json::to_string_pretty(&rows)?);
        return Ok(());
    }
    promises.iter().for_each(|promise| println!("{}", line(promise)));
    if promises.is_empty() {
        println!("{none}");
    }
    Ok(())
}

impl FollowUps {
    pub(crate) fn run(&self, common: &Common) -> anyhow::Result<ExitCode> {
        let config = common.load()?;
        let reader = open_reader(&config)?;
        let find = |id: &str| -> anyhow::Result<FollowUpId> {
            reader.read_blocking(|db| whole_key(db, "follow_ups", "follow_up_id", id))?.parse().context("its key")
        };
        match self {
            FollowUps::List { limit, all, json } => {
                show(&reader.read_blocking(|db| list_follow_ups(db, *all, *limit))?, *json, "No promises are open.")?;
            }
            FollowUps::Show { id, json } => {
                let id = find(id)?;
                let found = reader.read_blocking(|db| find_follow_up(db, id)?.ok_or(StorageError::NotFound("promise")));
                let found = found?;
                if *json {
                    println!("{}", serde_json::to_string_pretty(&promise_json(&found))?);
                } else {
                    println!("{}", line(&found));
                }
            }
            FollowUps::Ack { id, by } => {
                let request = Request::Acknowledge { id: find(id)?, by: by.clone() };
                submit(&config.state_directory(), &request)?;
            }
            FollowUps::Close { id, reason } => {
                let reason = ClosedReason::from(*reason).as_str().to_owned();
                submit(&config.state_directory(), &Request::Close { id: find(id)?, reason })?;
            }
            FollowUps::Call { id, extension } => {
                let request = Request::CallBack { id: find(id)?, extension: extension.clone() };
                submit(&config.state_directory(), &request)?;
                println!("The phone rings; press 1 to be connected.");
            }
            FollowUps::Missed { days, json } => {
                let since = UnixMs(UnixMs::now().0 - i64::from(*days) * DAY_MS);
                let none = format!("Every promise of the last {days} days was kept.");
                show(&reader.read_blocking(|db| missed_follow_ups(db, since))?, *json, &none)?;
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}
