//! `offhook calls`: what this box has answered, read from its database.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufReader, BufWriter, Read};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context as _;
use audio::opus_file::OpusWriter;
use audio::wav::Pieces;
use clap::{Subcommand, ValueEnum};
use serde_json::{Value, json};

use super::Common;
use super::listen::Listen;
use crate::config::Config;
use crate::redact::Redacted;
use crate::requests::{Request, submit};
use crate::storage::{
    AudioFiles, CallSession, ConversationTurn, EscalationOutcome, EscalationRow, PassageId, PlainWav, Reader,
    Recording, SessionDetail, StorageError, Talk, Unanswered, UnixMs, WrongAnswer, find_passage, list_sessions,
    session_detail, unanswered, wrong_answers,
};

/// Read at once from a recording: seconds.
const PIECE_SAMPLES: usize = 1 << 16;
const DAY_MS: i64 = 24 * 60 * 60 * 1_000;

/// Subcommands of `offhook calls`.
#[derive(Debug, Subcommand)]
pub(crate) enum Calls {
    /// List the latest calls
    List {
        /// How many
        #[arg(short = 'n', long, default_value_t = 20)]
        limit: u32,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Show one call: every turn with what was heard, understood, answered and how long the caller waited
    Show {
        /// Its id, or the beginning of it
        id: String,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// List what callers asked and were told nothing about, or something wrong: what the office's documents should say
    Unanswered {
        /// Of how many days
        #[arg(long, default_value_t = 30)]
        days: u32,
        /// How many questions
        #[arg(short = 'n', long, default_value_t = 50)]
        limit: u32,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Write a recording or a message of a call to a file: WAV, or Opus if its name ends in .opus; of a recording the caller
    /// is on the left
    Audio {
        /// The call's id, or the beginning of it
        id: String,
        /// Where to; `-` is standard output, in WAV
        #[arg(short, long)]
        output: PathBuf,
        /// Which of them, as `show` numbers them
        #[arg(short, long, default_value_t = 1)]
        number: usize,
    },
    Listen(Listen),
    /// Take the caller with whom the attendant talks: your phone rings
    TakeOver {
        /// The call's id, or the beginning of it
        id: String,
        /// Your extension
        #[arg(long)]
        by: String,
    },
    /// Note whether an answer of the box was right, for whoever writes the office's documents
    Judge {
        /// The call's id, or the beginning of it
        id: String,
        /// The turn, as `show` numbers them
        turn: u32,
        /// What it was
        #[arg(value_enum)]
        verdict: Judgement,
        /// What should have been said
        #[arg(long)]
        better: Option<String>,
        /// Who thinks so
        #[arg(long)]
        by: Option<String>,
    },
}

/// What an answer was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Judgement {
    /// It was right
    Right,
    /// It was wrong
    Wrong,
}

impl Calls {
    pub(crate) fn run(&self, common: &Common) -> anyhow::Result<ExitCode> {
        if let Calls::Listen(listen) = self {
            return listen.run(common);
        }
        let config = common.load()?;
        let reader = open_reader(&config)?;
        match self {
            Calls::List { limit, json } => {
                let limit = *limit;
                let sessions = reader.read_blocking(|db| list_sessions(db, limit, None))?;
                if *json {
                    let rows: Vec<Value> = sessions.iter().map(session_json).collect();
                    println!("{}", serde_json::to_string_pretty(&rows)?);
                } else {
                    sessions.iter().for_each(|session| println!("{}", session_line(session)));
                    if sessions.is_empty() {
                        println!("No calls yet. `offhook call --text \"When are you open?\"` places one.");
                    }
                }
            }
            Calls::Show { id, json } => {
                let call = reader.read_blocking(|db| ShownCall::load(db, id))?;
                if *json {
                    println!("{}", serde_json::to_string_pretty(&call.as_json())?);
                } else {
                    println!("{}", session_line(&call.detail.session));
                    call.print();
                }
            }
            Calls::Unanswered { days, limit, json } => {
                let since = UnixMs(UnixMs::now().0 - i64::from(*days) * DAY_MS);
                let (questions, wrong) = reader
                    .read_blocking(|db| Ok((unanswered(db, since, *limit)?, wrong_answers(db, since, *limit)?)))?;
                if *json {
                    let rows: Vec<Value> =
                        questions.iter().map(question_json).chain(wrong.iter().map(wrong_json)).collect();
                    println!("{}", serde_json::to_string_pretty(&rows)?);
                } else {
                    questions.iter().for_each(|question| println!("{}", question_line(question)));
                    wrong.iter().for_each(|wrong| println!("{}", wrong_line(wrong)));
                    if questions.is_empty() && wrong.is_empty() {
                        println!("Every question of the last {days} days had an answer.");
                    }
                }
            }
            Calls::Audio { id, output, number } => {
                let detail = reader.read_blocking(|db| session_detail(db, id))?;
                export(&config, &detail, *number, output)?;
            }
            Calls::TakeOver { id, by } => {
                submit(&config.state_directory(), &Request::TakeOver { call: id.clone(), by: by.clone() })?;
                println!("The phone rings.");
            }
            Calls::Judge { id, turn, verdict, better, by } => {
                let detail = reader.read_blocking(|db| session_detail(db, id))?;
                let found = detail.turns.iter().find(|known| known.turn_index == *turn);
                let turn = found
                    .with_context(|| format!("this call has no turn {turn}; `offhook calls show {id}` shows them"))?;
                let request = Request::Judge {
                    turn: turn.turn_id,
                    is_right: *verdict == Judgement::Right,
                    better_answer: better.clone(),
                    by: by.clone(),
                };
                submit(&config.state_directory(), &request)?;
            }
            // Of a box that runs, not of its database.
            Calls::Listen(_) => {}
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn export(config: &Config, detail: &SessionDetail, number: usize, output: &Path) -> anyhow::Result<()> {
    let recording =
        number.checked_sub(1).and_then(|index| detail.recordings.get(index)).with_context(|| {
            match detail.recordings.len() {
                0 => "nothing of this call is kept as sound".to_owned(),
                count => format!("there is no recording {number} of this call; it has {count}"),
            }
        })?;
    let mut wav = AudioFiles::open(&config.state_directory(), Arc::new(PlainWav))?.read_wav(recording)?;
    if output == Path::new("-") {
        std::io::copy(&mut wav, &mut std::io::stdout().lock())?;
        return Ok(());
    }
    let file = File::create(output).with_context(|| output.display().to_string())?;
    match output.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("opus")) {
        true => write_opus(wav, file),
        false => std::io::copy(&mut wav, &mut &file).map(drop).map_err(Into::into),
    }
    .with_context(|| output.display().to_string())?;
    println!("{:.1} s written to {}", recording.duration_ms as f64 / 1e3, output.display());
    Ok(())
}

fn write_opus(wav: impl Read, file: File) -> anyhow::Result<()> {
    let mut pieces = Pieces::new(BufReader::new(wav))?;
    let mut opus = OpusWriter::new(BufWriter::new(file), pieces.channels())?;
    loop {
        let piece = pieces.next_piece(PIECE_SAMPLES)?;
        if piece.is_empty() {
            return Ok(opus.finish()?);
        }
        opus.push(&piece)?;
    }
}

/// ": caller talks 12 s at -22 dBov, the other 30 s at -19 dBov", as far as it is known.
fn talk_line(recording: &Recording) -> String {
    let sides = [("caller", recording.caller), ("the other", recording.other)];
    let told: Vec<String> = sides
        .into_iter()
        .filter_map(|(who, talk)| {
            let Talk { talk_ms, level_dbov } = talk?;
            Some(match level_dbov {
                Some(level) => format!("{who} talks {:.0} s at {level} dBov", talk_ms as f64 / 1e3),
                None => format!("{who} says nothing"),
            })
        })
        .collect();
    told.join(", ")
}

fn escalation_json(row: &EscalationRow) -> Value {
    json!({
        "turn": row.turn_number,
        "reason": row.reason,
        "detail": row.detail,
        "person": row.person,
        "reach": row.reach,
        "outcome": row.outcome.map(EscalationOutcome::as_str),
    })
}

fn talk_json(talk: Option<Talk>) -> Value {
    talk.map_or(Value::Null, |talk| json!({ "talk_ms": talk.talk_ms, "level_dbov": talk.level_dbov }))
}

/// A call with all its rows, and the names of the passages its answers rest on.
pub(crate) struct ShownCall {
    /// The rows.
    pub(crate) detail: SessionDetail,
    /// File and heading of each cited passage that is still there.
    passages: HashMap<String, String>,
}

impl ShownCall {
    /// The call whose id begins with `id`.
    pub(crate) fn load(db: &rusqlite::Connection, id: &str) -> Result<ShownCall, StorageError> {
        let detail = session_detail(db, id)?;
        let mut passages = HashMap::new();
        for source in detail.turns.iter().flat_map(|turn| &turn.sources) {
            let Ok(passage_id) = source.parse::<PassageId>() else { continue };
            if let Some(found) = find_passage(db, passage_id)? {
                passages.insert(source.clone(), format!("{}, {}", found.document, found.passage.heading));
            }
        }
        Ok(ShownCall { detail, passages })
    }

    fn source_name<'a>(&'a self, source: &'a str) -> &'a str {
        self.passages.get(source).map_or(source, String::as_str)
    }

    /// For a person: every turn, how it sounded, the messages.
    pub(crate) fn print(&self) {
        for turn in &self.detail.turns {
            self.print_turn(turn);
        }
        print_sound_and_messages(&self.detail);
    }

    fn print_turn(&self, turn: &ConversationTurn) {
        let sure = |confidence: f64| format!(" ({:.0} % sure)", confidence * 100.0);
        let confidence = turn.confidence.map_or_else(String::new, sure);
        println!("  turn {:<4} caller    \"{}\"{confidence}", turn.turn_index, turn.text.reveal());
        if let Some(first) = &turn.first_text {
            println!("            at first  \"{}\" (heard again since)", first.reveal());
        }
        let slots: Vec<String> =
            turn.slots.reveal().iter().map(|(name, value)| format!("{name}={}", plain(value))).collect();
        let score = turn.intent_score.unwrap_or(0.0);
        println!(
            "            intent    {} {score:.2} {}",
            turn.intent.as_deref().unwrap_or("unknown"),
            slots.join(" ")
        );
        if !turn.sources.is_empty() {
            let sources: Vec<&str> = turn.sources.iter().map(|source| self.source_name(source)).collect();
            println!("            source    {}", sources.join("; "));
        }
        println!("            answer    \"{}\"", shown(turn.answer.as_ref()));
        if let Some(heard) = &turn.heard {
            println!("            heard     \"{}\" (interrupted)", heard.reveal());
        }
        let timings = &turn.timings;
        let ms = |value: Option<u32>| value.map_or_else(|| "-".into(), |value| format!("{value} ms"));
        println!(
            "            heard gap {}; sure of the end after {}; work: decode {}, answer {}, tool {}, voice {}",
            ms(timings.heard_gap_ms),
            ms(timings.endpoint_decided_ms),
            ms(timings.stt_ms),
            ms(timings.understand_ms),
            ms(timings.tool_ms),
            ms(timings.first_sentence_tts_ms),
        );
    }
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// Reads the database of a box that may be running.
pub(crate) fn open_reader(config: &Config) -> anyhow::Result<Reader> {
    let folder = config.state_directory();
    Reader::open(&folder, 1).map_err(|error| {
        anyhow::anyhow!("no calls can be read in {}: {error} (has `offhook run` been started there?)", folder.display())
    })
}

pub(super) fn local_time(at: UnixMs) -> String {
    let time = jiff::Timestamp::from_millisecond(at.0).unwrap_or_default();
    time.to_zoned(jiff::tz::TimeZone::system()).strftime("%Y-%m-%d %H:%M:%S").to_string()
}

fn shown(value: Option<&Redacted<String>>) -> &str {
    value.map_or("", |value| value.reveal().as_str())
}

fn question_line(question: &Unanswered) -> String {
    let times = format!("{}x", question.times);
    format!("{times:>4}  {}  {:<13}  {}", local_time(question.asked_at), question.intent, question.text.reveal())
}

fn question_json(question: &Unanswered) -> Value {
    json!({
        "text": question.text.reveal(),
        "intent": question.intent,
        "times": question.times,
        "asked_at_ms": question.asked_at.0,
        "call_id": question.call_id.to_string(),
    })
}

/// What was answered wrongly.
fn wrong_json(wrong: &WrongAnswer) -> Value {
    json!({
        "text": wrong.question.reveal(),
        "wrong_answer": wrong.answer.as_ref().map(Redacted::reveal),
        "better_answer": wrong.verdict.better_answer,
        "judged_by": wrong.verdict.judged_by,
        "asked_at_ms": wrong.verdict.created_at.0,
        "call_id": wrong.call_id.to_string(),
    })
}

fn wrong_line(wrong: &WrongAnswer) -> String {
    let answer = wrong.answer.as_ref().map_or("nothing", |answer| answer.reveal());
    let better = wrong.verdict.better_answer.as_deref().map(|better| format!("; better: {better}"));
    format!("wrong  {}: {answer}{}", wrong.question.reveal(), better.unwrap_or_default())
}

fn session_line(session: &CallSession) -> String {
    let seconds = session.talk_ms().map_or_else(|| "-".into(), |ms| format!("{:.1} s", ms as f64 / 1e3));
    format!(
        "{}  {}  {:<11} {:>8}  {:<24} {}",
        session.call_id,
        local_time(session.started_at),
        session.state.as_str(),
        seconds,
        session.hangup_cause.as_deref().unwrap_or("-"),
        shown(session.caller_id.as_ref()),
    )
}

fn print_sound_and_messages(detail: &SessionDetail) {
    for row in &detail.escalations {
        let at = row.turn_number.map_or_else(|| "by a key".to_owned(), |number| format!("in turn {number}"));
        let detail = row.detail.as_deref().map(|detail| format!(" ({detail})")).unwrap_or_default();
        let person = row.person.as_deref().map(|name| format!("{name}, ")).unwrap_or_default();
        println!(
            "  person    {}{detail} {at}: {person}{}: {}",
            row.reason,
            row.reach.as_deref().unwrap_or("nobody may be rung"),
            row.outcome.map_or("open", EscalationOutcome::as_str),
        );
    }
    for leg in &detail.metrics {
        println!(
            "  sound     {} {}: {} packets in, {} lost, {} late, jitter {:.1} ms; {} out{}{}",
            leg.leg.as_str(),
            leg.codec,
            leg.packets_received,
            leg.packets_lost,
            leg.packets_late,
            leg.jitter_ms.unwrap_or(0.0),
            leg.packets_sent,
            leg.round_trip_ms.map_or_else(String::new, |ms| format!("; {ms:.0} ms there and back")),
            leg.mos.map_or_else(String::new, |mos| format!("; MOS {mos:.1}"))
        );
    }
    for (index, recording) in detail.recordings.iter().enumerate() {
        println!(
            "  recording {} {}, {:.1} s, {}: offhook calls audio {} --number {} --output call.wav",
            index + 1,
            recording.kind.as_str(),
            recording.duration_ms as f64 / 1e3,
            talk_line(recording),
            detail.session.call_id,
            index + 1
        );
    }
    for message in &detail.voicemails {
        let text = message.transcript.as_ref().map_or("(no transcript yet)", |text| text.reveal());
        println!(
            "  message   {:.1} s, ended by {}: {text}",
            message.duration_ms as f64 / 1e3,
            message.ended_by.as_str()
        );
    }
}

fn session_json(session: &CallSession) -> Value {
    json!({
        "call_id": session.call_id.to_string(),
        "state": session.state.as_str(),
        "direction": session.direction.as_str(),
        "trunk": session.trunk,
        "caller_id": session.caller_id.as_ref().map(Redacted::reveal),
        "called": session.called.as_ref().map(Redacted::reveal),
        "sip_call_id": session.sip_call_id,
        "started_at_ms": session.started_at.0,
        "answered_at_ms": session.answered_at.map(|at| at.0),
        "ended_at_ms": session.ended_at.map(|at| at.0),
        "termination": session.termination.map(|termination| termination.as_str()),
        "hangup_cause": session.hangup_cause,
        "disposition": session.disposition,
    })
}

impl ShownCall {
    /// For a script.
    pub(crate) fn as_json(&self) -> Value {
        let detail = &self.detail;
        let turns: Vec<Value> = detail.turns.iter().map(|turn| self.turn_json(turn)).collect();
        let messages: Vec<Value> = detail
            .voicemails
            .iter()
            .map(|message| {
                json!({
                    "voicemail_id": message.voicemail_id.to_string(),
                    "duration_ms": message.duration_ms,
                    "ended_by": message.ended_by.as_str(),
                    "transcript": message.transcript.as_ref().map(Redacted::reveal),
                })
            })
            .collect();
        let legs: Vec<Value> = detail
        .metrics
        .iter()
        .map(|leg| {
            json!({
                "leg": leg.leg.as_str(), "codec": leg.codec, "packets_received": leg.packets_received,
                "packets_lost": leg.packets_lost, "packets_late": leg.packets_late, "packets_sent": leg.packets_sent,
                "jitter_ms": leg.jitter_ms, "jitter_max_ms": leg.jitter_max_ms, "round_trip_ms": leg.round_trip_ms,
                "mos": leg.mos,
            })
        })
        .collect();
        let recordings: Vec<Value> = detail
            .recordings
            .iter()
            .map(|recording| {
                json!({
                    "recording_id": recording.recording_id.to_string(), "kind": recording.kind.as_str(),
                    "state": recording.state.as_str(), "duration_ms": recording.duration_ms,
                    "started_at_ms": recording.started_at.0, "sha256": recording.sha256,
                    "caller": talk_json(recording.caller), "other": talk_json(recording.other),
                })
            })
            .collect();
        json!({
            "session": session_json(&detail.session), "turns": turns, "voicemails": messages,
            "recordings": recordings, "metrics": legs,
            "escalations": detail.escalations.iter().map(escalation_json).collect::<Vec<_>>(),
        })
    }

    fn turn_json(&self, turn: &ConversationTurn) -> Value {
        json!({
            "turn": turn.turn_index,
            "text": turn.text.reveal(),
            "first_text": turn.first_text.as_ref().map(Redacted::reveal),
            "confidence": turn.confidence,
            "intent": turn.intent,
            "intent_score": turn.intent_score,
            "slots": turn.slots.reveal(),
            "sources": turn.sources,
            "source_names": turn.sources.iter().map(|source| self.source_name(source)).collect::<Vec<_>>(),
            "answer": turn.answer.as_ref().map(Redacted::reveal),
            "heard": turn.heard.as_ref().map(Redacted::reveal),
            "heard_gap_ms": turn.timings.heard_gap_ms,
            "endpoint_decided_ms": turn.timings.endpoint_decided_ms,
            "stt_ms": turn.timings.stt_ms,
            "understand_ms": turn.timings.understand_ms,
            "tool_ms": turn.timings.tool_ms,
            "first_sentence_tts_ms": turn.timings.first_sentence_tts_ms,
        })
    }
}
