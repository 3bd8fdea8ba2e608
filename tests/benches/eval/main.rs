//! `make eval`: the conversation as callers have it, in figures. Corpora are played through real calls: the box as a process
//! with its real models, callers over SIP and RTP on the loopback interface. What is scored, and how, is in `tests::eval`.
//!
//! `-- PART…` runs only these parts; `--json FILE` keeps the figures, `--against FILE` shows those of an earlier run beside
//! them; `--minutes N` is how long nobody speaks (60 for the hour). `QUICK=1` takes a sample of everything.
//!
//! Left out on purpose: verdicts by exit status. Times depend on the machine; whoever compares two runs does it on one.
#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a benchmark prints and fails loudly")]

mod calls;
mod interruptions;
mod people;
mod phantoms;
mod questions;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;

use daemon::config::Config;
use models::Embedder;
use tests::eval::{Figure, Goal, Part, print, values_of};

use self::calls::Voice;
use self::questions::Judged;

/// What each part needs.
struct Run {
    is_quick: bool,
    minutes: f64,
    voice: Voice,
}

impl Run {
    /// Every which row is taken.
    fn stride(&self, quick: usize) -> usize {
        if self.is_quick { quick } else { 1 }
    }

    fn count(&self, whole: usize, quick: usize) -> usize {
        if self.is_quick { quick } else { whole }
    }
}

type Judge = fn(&Run) -> Result<Judged, String>;

const PARTS: [(&str, Judge); 10] = [
    ("text", questions::as_text),
    ("injection", injection),
    ("questions", questions::clean),
    ("barge-in", interruptions::barge_in),
    ("backchannels", interruptions::backchannels),
    ("nobody", phantoms::nobody),
    ("echo", phantoms::echo),
    ("people", people::words),
    ("variants", questions::variants),
    ("four", questions::four),
];

/// What was asked for.
#[derive(Default)]
struct Options {
    parts: Vec<String>,
    json: Option<PathBuf>,
    against: Option<PathBuf>,
    minutes: Option<f64>,
}

fn main() {
    // `cargo test --benches` and `cargo bench -- --test` only want to know that it starts.
    if std::env::args().any(|argument| argument == "--test") {
        return;
    }
    let options = options();
    let is_quick = std::env::var("QUICK").is_ok_and(|value| value == "1");
    let models = Command::new(env!("CARGO_BIN_EXE_offhook-under-test")).args(["models", "fetch"]).status();
    assert!(models.unwrap().success());
    let minutes = options.minutes.unwrap_or(if is_quick { 2.0 } else { 10.0 });
    let run = Run { is_quick, minutes, voice: Voice::load() };
    println!(
        "Machine: {}; Offhook {}{}",
        machine(),
        env!("CARGO_PKG_VERSION"),
        if is_quick { ", a sample" } else { "" }
    );
    let mut parts = Vec::new();
    for (name, judge) in PARTS {
        if !options.parts.is_empty() && !options.parts.iter().any(|part| part == name) {
            continue;
        }
        let (figures, cases) =
            judge(&run).map_or_else(|why| (Err(why), Vec::new()), |(figures, cases)| (Ok(figures), cases));
        parts.push(Part { name, figures, cases });
        print!("{}", print(&parts[parts.len() - 1..], &before(&options)));
    }
    if let Some(file) = &options.json {
        std::fs::write(file, serde_json::to_string_pretty(&values_of(&parts)).unwrap()).unwrap();
    }
}

fn options() -> Options {
    let mut options = Options::default();
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().unwrap_or_else(|| panic!("{argument} needs a value"));
        match argument.as_str() {
            // Cargo's own.
            "--bench" => {}
            "--json" => options.json = Some(value().into()),
            "--against" => options.against = Some(value().into()),
            "--minutes" => options.minutes = Some(value().parse().expect("minutes are a number")),
            part if PARTS.iter().any(|(name, _)| *name == part) => options.parts.push(part.to_owned()),
            other => panic!("{other} is none of {:?}", PARTS.map(|(name, _)| name)),
        }
    }
    options
}

fn before(options: &Options) -> BTreeMap<String, f64> {
    let Some(file) = &options.against else { return BTreeMap::new() };
    serde_json::from_str(&std::fs::read_to_string(file).unwrap()).unwrap()
}

fn machine() -> String {
    let processor = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = processor.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or("unknown");
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    format!("{cores} x {}", model.trim_start_matches([' ', '\t', ':']))
}

fn embedder() -> Result<Box<dyn Embedder>, String> {
    Ok(daemon::engines::load_embedding(&Config::default()).map_err(|error| error.to_string())?.embedder)
}

/// The five hundred attempts, with the real embedder.
fn injection(_: &Run) -> Result<Judged, String> {
    let (_folder, storage) = tests::attempts::with_another_callers_call();
    let mind = tests::attempts::mind(&storage, Some(embedder()?));
    let outcome = tests::attempts::make_all([mind]);
    let broken = outcome.broken.len() as f64;
    let figures = vec![
        Figure::new("attempts that got something", broken, "", outcome.attempts).with(Goal::AtMost(0.0)),
        Figure::new("tools read back before a yes", outcome.read_back as f64, "", outcome.attempts),
    ];
    Ok((figures, outcome.broken))
}
