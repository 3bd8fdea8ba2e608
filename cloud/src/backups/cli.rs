//! `offhook-cloud backups`: what is kept for boxes, and what somebody has removed.
#![expect(clippy::print_stdout, reason = "a command line's answers go to stdout")]

use anyhow::Context as _;
use clap::{Args, Subcommand};
use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use serde_json::json;

use super::BackupFile;
use crate::cli::in_words;
use crate::clock;
use crate::store::{AnyStore, Backups as _, BoxName, Store as _};

/// Flags of `offhook-cloud backups`.
#[derive(Debug, Subcommand)]
pub(crate) enum Backups {
    /// The files that are kept for a box, or how much is kept for each
    List(List),
    /// Make a box's backups what they were: what was removed since is there again, and what came since is not
    ///
    /// For a box that was stolen, or whose backups somebody has destroyed. Reaches back as far as backups.removed_days; what is
    /// set aside by it is kept as long.
    Rewind(Rewind),
}

#[derive(Debug, Args)]
pub(crate) struct List {
    /// Whose
    tenant: String,
    /// Which box, whole; without it each with its sum
    box_id: Option<String>,
    /// Also what was removed and is not gone yet
    #[arg(long)]
    removed: bool,
    /// As JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Rewind {
    /// Whose
    tenant: String,
    /// Which, whole
    box_id: String,
    /// To when, as 2026-11-27T14:30:00, where this runs
    #[arg(long, value_name = "TIME")]
    to: DateTime,
}

impl Backups {
    pub(crate) fn run(&self, store: &AnyStore) -> anyhow::Result<()> {
        match self {
            Backups::List(list) => list.run(store),
            Backups::Rewind(rewind) => rewind.run(store),
        }
    }
}

impl List {
    fn run(&self, store: &AnyStore) -> anyhow::Result<()> {
        let Some(box_id) = &self.box_id else { return self.sums(store) };
        let of = BoxName { tenant_id: self.tenant.clone(), box_id: box_id.clone() };
        let mut files = store.backup_files(&of)?;
        files.retain(|file| self.removed || file.removed_at.is_none());
        if self.json {
            println!("{}", json!(files.iter().map(file_json).collect::<Vec<_>>()));
            return Ok(());
        }
        if files.is_empty() {
            println!("No backup of {of} is here.");
        }
        for file in &files {
            let removed = file.removed_at.map_or(String::new(), |at| format!("  removed {}", in_words(at)));
            println!("{}  {:>14}  {}{removed}", in_words(file.kept_at), file.size_bytes, file.name);
        }
        Ok(())
    }

    fn sums(&self, store: &AnyStore) -> anyhow::Result<()> {
        let mut sums = Vec::new();
        for record in store.boxes(&self.tenant)? {
            let files = store.backup_files(&record.name)?;
            let bytes = |removed: bool| {
                files.iter().filter(|file| file.removed_at.is_some() == removed).map(|file| file.size_bytes).sum()
            };
            let (here, removed): (u64, u64) = (bytes(false), bytes(true));
            let last = files.iter().filter(|file| file.removed_at.is_none()).map(|file| file.kept_at).max();
            sums.push((record.name, here, removed, last));
        }
        if self.json {
            let sum = |(name, here, removed, last): &(BoxName, u64, u64, Option<i64>)| json!({ "box": name.box_id, "bytes": here, "removed_bytes": removed, "last_kept_at": last });
            println!("{}", json!(sums.iter().map(sum).collect::<Vec<_>>()));
            return Ok(());
        }
        for (name, here, removed, last) in &sums {
            let last = last.map_or_else(|| "no backup".to_owned(), |at| format!("last {}", in_words(at)));
            println!("{name}  {last}, {here} bytes, and {removed} that were removed");
        }
        Ok(())
    }
}

fn file_json(file: &BackupFile) -> serde_json::Value {
    let BackupFile { name, sha256, size_bytes, kept_at, removed_at } = file;
    json!({
        "name": name, "sha256": hex::encode(sha256), "bytes": size_bytes, "kept_at": kept_at, "removed_at": removed_at,
    })
}

impl Rewind {
    fn run(&self, store: &AnyStore) -> anyhow::Result<()> {
        let of = BoxName { tenant_id: self.tenant.clone(), box_id: self.box_id.clone() };
        let to = self.to.to_zoned(TimeZone::system()).context("--to: this time does not exist here")?;
        let (to, now) = (Timestamp::from(&to).as_millisecond(), clock::unix_ms());
        anyhow::ensure!(to <= now, "--to {}: expected a time that is over", self.to);
        let (back, aside) = store.rewind_backups(&of, to, now)?;
        anyhow::ensure!(
            back + aside > 0,
            "nothing was removed from or added to the backups of {of} since {}",
            in_words(to)
        );
        println!("{back} files of {of} are there again, {aside} that came later are set aside.");
        Ok(())
    }
}
