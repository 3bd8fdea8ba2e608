//! Where a caller's waiting time goes, and what an idle box costs: figures, medians, no verdicts.
//!
//! Starts the box as a process with every model, asks ten questions in one call and reads its rows. Needs the models.
#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a benchmark prints and fails loudly")]

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;
use tests::offhook::Offhook;

const PROGRAM: &str = env!("CARGO_BIN_EXE_offhook-under-test");

const QUESTIONS: [&str; 10] = [
    "When are you open on Saturday?",
    "And on Sundays?",
    "Where are you?",
    "How much does a check-up cost?",
    "Do you take my insurance?",
    "Is there parking near you?",
    "What should I do in an emergency?",
    "Are you open tomorrow morning?",
    "How do I cancel an appointment?",
    "Do you offer teeth whitening?",
];

/// How long the idle box is watched.
const IDLE: Duration = Duration::from_secs(60);

fn main() {
    // `cargo test --benches` and `cargo bench -- --test` only want to know that it starts.
    if std::env::args().any(|argument| argument == "--test") {
        return;
    }
    let machine = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = machine.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or(": unknown");
    println!("machine{model}, {} cores", std::thread::available_parallelism().map_or(1, usize::from));

    assert!(Command::new(PROGRAM).args(["models", "fetch"]).status().unwrap().success());
    let folder = tempfile::tempdir().unwrap();
    // The first start reads the knowledge; what an owner sees every day is the second.
    Offhook::start(Path::new(PROGRAM), folder.path(), &[]).stop();
    let begun = Instant::now();
    let offhook = Offhook::start(Path::new(PROGRAM), folder.path(), &[]);
    println!("start to ready       {:>7.0} ms", begun.elapsed().as_secs_f64() * 1e3);

    std::thread::sleep(Duration::from_secs(10));
    let before = cpu_seconds(offhook.pid());
    std::thread::sleep(IDLE);
    let idle = (cpu_seconds(offhook.pid()) - before) / IDLE.as_secs_f64() * 100.0;
    println!("idle                 {idle:>7.2} % of a core over {} s", IDLE.as_secs());

    let mut arguments = vec!["call".to_owned(), offhook.uri(), "--json".to_owned()];
    arguments.extend(QUESTIONS.iter().flat_map(|question| ["--text".to_owned(), (*question).to_owned()]));
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let output = offhook.run(&arguments);
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    print_gaps(&report);
    println!("memory with models   {:>7.0} MB resident", resident_megabytes(offhook.pid()));
    offhook.stop();
}

fn print_gaps(report: &Value) {
    let lines = report["lines"].as_array().unwrap();
    let turns = report["box"]["turns"].as_array().unwrap();
    let of = |rows: &[Value], key: &str| rows.iter().filter_map(|row| row[key].as_f64()).collect::<Vec<f64>>();
    println!("ten questions, ms     median      p95    worst");
    for (label, values) in [
        ("heard by the caller", of(lines, "heard_gap_ms")),
        ("measured by the box", of(turns, "heard_gap_ms")),
        ("  endpoint decided", of(turns, "endpoint_decided_ms")),
        ("  decode (work)", of(turns, "stt_ms")),
        ("  answer (work)", of(turns, "understand_ms")),
        ("  first voice (work)", of(turns, "first_sentence_tts_ms")),
    ] {
        println!("{label:<20} {:>7.0}  {:>7.0}  {:>7.0}", rank(&values, 0.5), rank(&values, 0.95), rank(&values, 1.0));
    }
    for (line, turn) in lines.iter().zip(turns) {
        println!("  {:<38} {} -> {}", line["line"].as_str().unwrap_or(""), turn["text"], turn["intent"]);
    }
}

fn rank(values: &[f64], share: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let last = sorted.len().saturating_sub(1) as f64;
    sorted.get((last * share).round() as usize).copied().unwrap_or(f64::NAN)
}

/// User and system time of a process, in seconds (proc(5), fields 14 and 15, in ticks of 10 ms).
fn cpu_seconds(pid: u32) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    (fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap()) / 100.0
}

fn resident_megabytes(pid: u32) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<f64>().unwrap() / 1e3
}
