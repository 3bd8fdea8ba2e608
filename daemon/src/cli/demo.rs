//! `offhook demo`: the demonstration call.

use std::process::ExitCode;

use clap::Args;

use super::Common;
use super::ladder;
use crate::caller::sounds::Renderer;
use crate::caller::turn_taker::{Cue, Patience};
use crate::caller::{CallPlan, Line, Protection, place};

/// What the demonstration's caller says: two questions and a goodbye.
const LINES: [&str; 3] =
    ["Are you open on Saturday morning?", "How much does a check-up cost?", "Thank you, that is all. Goodbye."];

/// A synthetic caller asks two questions and says goodbye, through real SIP and RTP.
#[derive(Debug, Args)]
pub(crate) struct Demo {
    /// As JSON
    #[arg(long)]
    json: bool,
}

impl Demo {
    pub(crate) fn run(&self, common: &Common) -> anyhow::Result<ExitCode> {
        let config = common.load()?;
        let mut renderer = Renderer::load(&config)?;
        let lines = LINES
            .iter()
            .map(|text| {
                Ok(Line::Say { label: (*text).to_owned(), samples: renderer.render(text)?, cue: Cue::AfterAnswer })
            })
            .collect::<anyhow::Result<Vec<_>>>()?;
        let record = config.state_directory().join("demo-call.wav");
        let plan = CallPlan {
            target: super::caller::own_address(&config),
            protection: Protection::for_own_box(&config),
            lines,
            record: Some(record.clone()),
            patience: Patience::default(),
            from: None,
        };
        if !self.json {
            println!("Placing the demonstration call to {} …", plan.target);
        }
        let report = super::runtime()?.block_on(place(plan))?;
        let rows = ladder::find_rows(&config, &report);
        if self.json {
            let labels: Vec<String> = LINES.iter().map(|text| (*text).to_owned()).collect();
            println!("{}", serde_json::to_string_pretty(&ladder::as_json(&report, &labels, rows.as_ref()))?);
        } else {
            ladder::print(&report, rows.as_ref(), Some(&record));
        }
        let answered = report.turns.len() > LINES.len() && report.turns.iter().all(|turn| turn.gap.is_some());
        Ok(if answered { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}
