//! `offhook doctor`.

use std::process::ExitCode;

use clap::Args;

use super::Common;
use crate::doctor::{Verdict, examine};

/// Exit status: 0 when calls are answered (perhaps not at their best), 1 when they are not.
#[derive(Debug, Args)]
pub(crate) struct Doctor {
    /// As JSON
    #[arg(long)]
    json: bool,
}

impl Doctor {
    pub(crate) fn run(&self, common: &Common) -> anyhow::Result<ExitCode> {
        let findings = examine(&common.load()?);
        if self.json {
            println!("{}", serde_json::to_string_pretty(&findings)?);
        } else {
            for finding in &findings {
                let mark = match finding.verdict {
                    Verdict::Good => "ok  ",
                    Verdict::Degraded => "warn",
                    Verdict::Bad => "BAD ",
                };
                println!("{mark}  {:<14} {}", finding.name, finding.detail);
                if let Some(remedy) = &finding.remedy {
                    println!("      {:<14} remedy: {remedy}", "");
                }
            }
        }
        let bad = findings.iter().any(|finding| finding.verdict == Verdict::Bad);
        Ok(if bad { ExitCode::FAILURE } else { ExitCode::SUCCESS })
    }
}
