//! `offhook call`: a test caller.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{ArgMatches, Args, FromArgMatches};

use super::Common;
use super::ladder;
use crate::caller::sounds::{Renderer, read_telephone};
use crate::caller::turn_taker::{Cue, Patience};
use crate::caller::{CallPlan, Line, Protection, place};
use crate::config::{Config, SrtpUse};
use crate::io::tls::Trust;

/// Speaks, listens and measures the silence before each answer. The lines are said in the order given, each after the
/// other side has finished. Exit status 1 when nobody answered or a line got no answer.
#[derive(Debug)]
pub(crate) struct Call {
    target: Option<String>,
    lines: Vec<Wanted>,
    record: Option<PathBuf>,
    srtp: bool,
    trust: Option<PathBuf>,
    json: bool,
}

/// When `--interrupt` cuts in.
const INTERRUPTION: Cue = Cue::DuringAnswer(Duration::from_secs(1));

/// One line as asked for on the command line.
#[derive(Debug, Clone)]
enum Wanted {
    Text(String),
    Interrupt(String),
    File(PathBuf),
    Press(String),
}

/// What clap parses; the order of the lines is found afterwards.
#[derive(Debug, Args)]
struct Flags {
    /// Whom to call, for example sip:office@192.168.1.5:5060;transport=tcp or sips:office@box.example.com (TLS)
    /// [default: this machine's box]
    #[arg(value_name = "URI")]
    target: Option<String>,
    /// Say this text with the installed voice
    #[arg(long, value_name = "TEXT")]
    text: Vec<String>,
    /// Say this text over the other side, one second after it has begun to speak
    #[arg(long, value_name = "TEXT")]
    interrupt: Vec<String>,
    /// Say this WAV file
    #[arg(long, value_name = "FILE")]
    say: Vec<PathBuf>,
    /// Press these keys (0-9 * # A-D)
    #[arg(long, value_name = "KEYS")]
    press: Vec<String>,
    /// Write both sides to this two-channel WAV file (caller left, other side right)
    #[arg(long, value_name = "OUT.wav")]
    record: Option<PathBuf>,
    /// No call without encrypted sound (SRTP); without TLS its keys can be read on the way
    #[arg(long)]
    srtp: bool,
    /// Over TLS, believe the certificates in this PEM file and no others [default: the public authorities, and this
    /// machine's own certificate if it calls itself]
    #[arg(long, value_name = "FILE.pem")]
    trust: Option<PathBuf>,
    /// As JSON
    #[arg(long)]
    json: bool,
}

impl Args for Call {
    fn augment_args(command: clap::Command) -> clap::Command {
        Flags::augment_args(command)
    }

    fn augment_args_for_update(command: clap::Command) -> clap::Command {
        Flags::augment_args_for_update(command)
    }
}

impl FromArgMatches for Call {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Call, clap::Error> {
        let flags = Flags::from_arg_matches(matches)?;
        let mut lines: Vec<(usize, Wanted)> = Vec::new();
        let mut place = |id: &str, wanted: Vec<Wanted>| {
            lines.extend(matches.indices_of(id).into_iter().flatten().zip(wanted));
        };
        place("text", flags.text.into_iter().map(Wanted::Text).collect());
        place("interrupt", flags.interrupt.into_iter().map(Wanted::Interrupt).collect());
        place("say", flags.say.into_iter().map(Wanted::File).collect());
        place("press", flags.press.into_iter().map(Wanted::Press).collect());
        lines.sort_by_key(|(index, _)| *index);
        let lines = lines.into_iter().map(|(_, wanted)| wanted).collect();
        let Flags { target, record, srtp, trust, json, .. } = flags;
        Ok(Call { target, lines, record, srtp, trust, json })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Call::from_arg_matches(matches)?;
        Ok(())
    }
}

impl Call {
    pub(crate) fn run(&self, common: &Common) -> anyhow::Result<ExitCode> {
        let config = common.load()?;
        let plan = CallPlan {
            target: self.target.clone().unwrap_or_else(|| own_address(&config)),
            protection: self.protection(&config),
            lines: self.lines(&config)?,
            record: self.record.clone(),
            patience: Patience::default(),
            from: None,
        };
        let labels: Vec<String> = plan.lines.iter().map(Line::label).collect();
        let report = super::runtime()?.block_on(place(plan))?;
        let rows = ladder::find_rows(&config, &report);
        if self.json {
            println!("{}", serde_json::to_string_pretty(&ladder::as_json(&report, &labels, rows.as_ref()))?);
        } else {
            ladder::print(&report, rows.as_ref(), self.record.as_deref());
        }
        let unanswered = report.turns.iter().skip(1).any(|turn| turn.gap.is_none());
        Ok(if unanswered { ExitCode::FAILURE } else { ExitCode::SUCCESS })
    }

    fn protection(&self, config: &Config) -> Protection {
        let own = Protection::for_own_box(config);
        let srtp = match self.srtp {
            true => SrtpUse::Required,
            // Somebody else's box is not bound by what ours demands.
            false if self.target.is_some() => SrtpUse::Accepted,
            false => own.srtp,
        };
        Protection { srtp, trust: self.trust.clone().map_or(Trust::Public, Trust::File), ..own }
    }

    fn lines(&self, config: &Config) -> anyhow::Result<Vec<Line>> {
        let mut renderer = None;
        self.lines
            .iter()
            .map(|wanted| match wanted {
                Wanted::Text(text) => spoken(text, Cue::AfterAnswer, &mut renderer, config),
                Wanted::Interrupt(text) => spoken(text, INTERRUPTION, &mut renderer, config),
                Wanted::File(path) => {
                    let (label, samples) = (path.display().to_string(), read_telephone(path)?);
                    Ok(Line::Say { label, samples, cue: Cue::AfterAnswer })
                }
                Wanted::Press(keys) => Ok(Line::Press(keys.clone())),
            })
            .collect()
    }
}

/// Renders `text`; the voice is loaded with the first line that needs it.
fn spoken(text: &str, cue: Cue, renderer: &mut Option<Renderer>, config: &Config) -> anyhow::Result<Line> {
    let renderer = match renderer {
        Some(renderer) => renderer,
        None => renderer.insert(Renderer::load(config)?),
    };
    Ok(Line::Say { label: text.to_owned(), samples: renderer.render(text)?, cue })
}

/// The box that runs on this machine with this configuration.
pub(crate) fn own_address(config: &Config) -> String {
    format!("sip:office@{}", config.own_sip_address())
}
