//! Looks for anything that would keep the box from answering, each with a verdict and a remedy.
//!
//! Every check tries the real thing: it binds the port, writes into the folder, runs the media clock. A check never
//! changes anything that outlives it.

mod audio_thread;
mod follow_through;
mod host;
mod ports;
mod sound_card;

use serde::Serialize;

pub use follow_through::follow_through;

use crate::config::Config;

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// As it should be.
    Good,
    /// Calls are answered, but not as well as they could be.
    Degraded,
    /// Calls are not answered.
    Bad,
}

/// One thing looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What was looked at: `sip port`, `disk`.
    pub name: &'static str,
    /// How it is.
    pub verdict: Verdict,
    /// What was found, with figures.
    pub detail: String,
    /// What to do about it; none when nothing is wrong.
    pub remedy: Option<String>,
}

impl Finding {
    /// Nothing to do.
    pub fn good(name: &'static str, detail: impl Into<String>) -> Finding {
        Finding { name, verdict: Verdict::Good, detail: detail.into(), remedy: None }
    }

    /// Something to do.
    pub fn wrong(
        name: &'static str,
        verdict: Verdict,
        detail: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Finding {
        Finding { name, verdict, detail: detail.into(), remedy: Some(remedy.into()) }
    }
}

/// Runs every check; takes about two seconds, three where there is a sound card.
pub fn examine(config: &Config) -> Vec<Finding> {
    let mut findings = vec![ports::sip_port(config)];
    findings.extend(ports::tls_port(config));
    findings.push(ports::rtp_ports(config));
    findings.extend(crate::engines::examine(config));
    findings.push(host::disk(config));
    findings.push(host::clock());
    findings.push(host::processor());
    findings.push(audio_thread::media_clock());
    findings.extend(sound_card::outputs(config));
    findings.extend(follow_through::mail_server(config));
    findings.extend(follow_through(config));
    // A box that does not run is looked at too: what it last said of its connection stands.
    findings.extend(crate::sync::state::look(config, true).findings(crate::storage::UnixMs::now()));
    findings.extend(crate::backup::look(config).findings(crate::storage::UnixMs::now()));
    findings
}
