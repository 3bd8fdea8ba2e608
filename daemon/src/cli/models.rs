//! `offhook models`: list, fetch, verify, import, prune.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Subcommand;
use indicatif::{ProgressBar, ProgressStyle};
use models::catalogue::{self, Entry, Purpose};
use models::{Progress, Status, Store};
use serde_json::json;

use super::Common;
use crate::config::Config;

/// Subcommands of `offhook models`.
#[derive(Debug, Subcommand)]
pub(crate) enum Models {
    /// List every model of the catalogue, with its state, size and licence
    List {
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Download what `offhook run` needs, or the models named; resumes what was cut off, does nothing for what is there
    Fetch {
        /// Ids as `offhook models list` shows them; none: everything `offhook run` needs
        ids: Vec<String>,
    },
    /// Hash every file again and compare with the catalogue
    Verify {
        /// Ids; none: all that are there
        ids: Vec<String>,
    },
    /// Take models from a file, or from a folder such as a USB stick; recognised by their hashes
    Import {
        /// File or folder
        path: PathBuf,
    },
    /// Delete the files that neither of the two releases which ran last needs
    Prune,
}

impl Models {
    pub(crate) fn run(&self, common: &Common) -> anyhow::Result<ExitCode> {
        let config = common.load()?;
        let store = Store::open(config.models_directory())?;
        match self {
            Models::List { json } => list(&store, *json),
            Models::Fetch { ids } => fetch(&store, &config, ids),
            Models::Verify { ids } => verify(&store, ids),
            Models::Import { path } => import(&store, path),
            Models::Prune => prune(&store),
        }
    }
}

/// What `offhook run` needs with this configuration: recognisers and voice are chosen in it, the rest is as it comes.
pub(crate) fn needed(config: &Config) -> Vec<String> {
    let is_chosen = |id: &&str| {
        let purpose = catalogue::find(id).map(|entry| entry.purpose);
        matches!(purpose, Some(Purpose::SpeechToText | Purpose::TextToSpeech))
    };
    let rest = catalogue::minimal_set().into_iter().filter(|id| !is_chosen(id));
    let models = &config.models;
    let chosen = [&models.speech_to_text, &models.messages_speech_to_text, &models.text_to_speech];
    let mut ids: Vec<String> = Vec::new();
    for id in chosen.into_iter().map(String::as_str).chain(rest) {
        if !ids.iter().any(|known| known == id) {
            ids.push(id.to_owned());
        }
    }
    ids
}

fn state(status: &Status) -> (&'static str, String) {
    match status {
        Status::Missing => ("missing", String::new()),
        Status::Present => ("present", String::new()),
        Status::Damaged { file, reason } => ("damaged", format!("{file}: {reason}")),
    }
}

fn list(store: &Store, as_json: bool) -> anyhow::Result<ExitCode> {
    let mut rows = Vec::new();
    for entry in catalogue::entries() {
        let (word, detail) = state(&store.status(entry.id)?);
        rows.push((entry, word, detail));
    }
    if as_json {
        let rows: Vec<_> = rows
            .iter()
            .map(|(entry, state, detail)| {
                json!({
                    "id": entry.id, "purpose": entry.purpose.as_str(), "state": state, "detail": detail,
                    "bytes": entry.bytes(), "summary": entry.summary, "licence": entry.licence,
                })
            })
            .collect();
        println!("{}", serde_json::to_string_pretty(&rows)?);
        return Ok(ExitCode::SUCCESS);
    }
    println!("Models in {}", store.folder().display());
    for (entry, state, detail) in rows {
        let megabytes = entry.bytes() as f64 / 1e6;
        println!("  {state:<8} {:<26} {:<15} {megabytes:>6.1} MB  {}", entry.id, entry.purpose.as_str(), entry.summary);
        println!("           {:<26} {}", "", entry.licence);
        if !detail.is_empty() {
            println!("           {detail}; `offhook models fetch {}` replaces it", entry.id);
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn entries_of(ids: &[String]) -> anyhow::Result<Vec<&'static Entry>> {
    ids.iter()
        .map(|id| {
            catalogue::find(id)
                .ok_or_else(|| anyhow::anyhow!("there is no model `{id}`; `offhook models list` shows what there is"))
        })
        .collect()
}

fn fetch(store: &Store, config: &Config, ids: &[String]) -> anyhow::Result<ExitCode> {
    let ids = if ids.is_empty() { needed(config) } else { ids.to_vec() };
    let missing: Vec<_> =
        entries_of(&ids)?.into_iter().filter(|entry| store.status(entry.id).ok() != Some(Status::Present)).collect();
    if missing.is_empty() {
        println!("All {} models are in {}.", ids.len(), store.folder().display());
        return Ok(ExitCode::SUCCESS);
    }
    let total: u64 = missing.iter().map(|entry| entry.bytes()).sum();
    println!(
        "Fetching {} of {} models, {:.0} MB, into {}",
        missing.len(),
        ids.len(),
        total as f64 / 1e6,
        store.folder().display()
    );
    for entry in missing {
        let mut bar = Bar::new(entry.id);
        store.fetch(entry.id, &mut bar)?;
        bar.done();
    }
    Ok(ExitCode::SUCCESS)
}

fn verify(store: &Store, ids: &[String]) -> anyhow::Result<ExitCode> {
    let all = catalogue::entries().iter().map(|entry| entry.id.to_owned());
    let ids: Vec<String> = match ids {
        [] => all.filter(|id| store.status(id).ok() != Some(Status::Missing)).collect(),
        named => named.to_vec(),
    };
    if ids.is_empty() {
        println!("No model is in {}; `offhook models fetch` brings them in.", store.folder().display());
        return Ok(ExitCode::SUCCESS);
    }
    let mut good = true;
    for entry in entries_of(&ids)? {
        let mut bar = Bar::new(entry.id);
        let status = store.verify(entry.id, &mut bar)?;
        bar.clear();
        let (word, detail) = state(&status);
        good &= status == Status::Present;
        let word = if word == "present" { "verified" } else { word };
        println!("{word:<9} {} {detail}", entry.id);
    }
    Ok(if good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn import(store: &Store, path: &std::path::Path) -> anyhow::Result<ExitCode> {
    let mut bar = Bar::new("import");
    let imported = store.import(path, &mut bar)?;
    bar.clear();
    for id in &imported.installed {
        println!("installed {id}");
    }
    for incomplete in &imported.incomplete {
        println!("incomplete {}: still lacking {}", incomplete.id, incomplete.lacking.join(", "));
    }
    if imported.installed.is_empty() && imported.incomplete.is_empty() {
        anyhow::bail!("nothing in {} is a model of the catalogue (compared by hash)", path.display());
    }
    Ok(ExitCode::SUCCESS)
}

fn prune(store: &Store) -> anyhow::Result<ExitCode> {
    let pruned = store.prune()?;
    println!("Deleted {} files, {:.1} MB.", pruned.files, pruned.bytes as f64 / 1e6);
    Ok(ExitCode::SUCCESS)
}

/// One line of progress a model; without a terminal, a line at the end.
pub(crate) struct Bar {
    bar: ProgressBar,
    id: String,
    began: std::time::Instant,
}

impl Bar {
    pub(crate) fn new(id: &str) -> Bar {
        let bar = ProgressBar::new(0).with_prefix(id.to_owned());
        bar.set_style(style("{prefix:26} {bar:28} {bytes:>10}/{total_bytes:<10} {bytes_per_sec:>11} {eta:>4} {msg}"));
        bar.enable_steady_tick(Duration::from_millis(200));
        Bar { bar, id: id.to_owned(), began: std::time::Instant::now() }
    }

    fn done(self) {
        self.bar.finish_and_clear();
        println!("  fetched and verified {} in {:.1} s", self.id, self.began.elapsed().as_secs_f64());
    }

    pub(crate) fn clear(self) {
        self.bar.finish_and_clear();
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}

impl Progress for Bar {
    fn started(&mut self, name: &str, total_bytes: u64) {
        self.bar.set_position(0);
        self.bar.set_length(total_bytes);
        self.bar.set_message(name.to_owned());
    }

    fn advanced(&mut self, bytes: u64) {
        self.bar.inc(bytes);
    }

    fn step(&mut self, what: &str) {
        self.bar.set_message(what.to_owned());
    }

    fn finished(&mut self) {
        self.bar.set_message("");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_needed_is_what_the_configuration_chooses_and_the_rest() {
        let mut config = Config::default();
        config.models.messages_speech_to_text = config.models.speech_to_text.clone();
        let ids = needed(&config);
        assert_eq!(ids[..2], [config.models.speech_to_text, config.models.text_to_speech]);
        for id in [catalogue::SILERO, catalogue::MINILM] {
            assert!(ids.iter().any(|needed| needed == id), "{id}");
        }
        assert!(!ids.iter().any(|id| id == catalogue::WHISPER_TINY_EN), "nobody asked for it: {ids:?}");
    }
}
