//! The health gate: what a new system must do before the boot loader is told that it works.
//!
//! Each check asks from outside, as a caller would: the database is opened, the SIP listener gets an OPTIONS, and a real
//! call is placed to it whose greeting must be heard. Left out until a trunk can be configured: its OPTIONS, as a further
//! entry in [`examine`].

use std::time::Duration;

use serde::Serialize;

use crate::caller::turn_taker::Patience;
use crate::caller::{self, CallPlan, Protection};
use crate::config::Config;
use crate::io::probe;
use crate::storage::Reader;

/// A listener answers at once.
const OPTIONS_LIMIT: Duration = Duration::from_secs(5);
/// Ringing, the disclosure and the greeting, on a busy box.
const CALL_LIMIT: Duration = Duration::from_secs(45);
/// How long the caller waits for the first sound, and hangs up after the greeting.
const GREETING_LIMIT: Duration = Duration::from_secs(15);

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Check {
    /// What.
    pub name: &'static str,
    /// What was found.
    pub detail: String,
    /// Whether it is as it must be.
    pub good: bool,
}

impl Check {
    fn new(name: &'static str, outcome: Result<String, String>) -> Check {
        let good = outcome.is_ok();
        Check { name, detail: outcome.unwrap_or_else(|problem| problem), good }
    }
}

/// Looks at everything once, in the order in which one thing needs another; stops at the first that is not as it must be.
pub async fn examine(config: &Config) -> Vec<Check> {
    let mut checks = vec![Check::new("database", database(config).await)];
    if checks.iter().all(|check| check.good) {
        checks.push(Check::new("sip", sip(config).await));
    }
    if checks.iter().all(|check| check.good) {
        checks.push(Check::new("call", call(config).await));
    }
    checks
}

/// It opens, and its format is this release's: the daemon has migrated it.
async fn database(config: &Config) -> Result<String, String> {
    let folder = config.state_directory();
    let opened = tokio::task::spawn_blocking(move || Reader::open(&folder, 1).map(drop)).await;
    let opened = opened.map_err(|error| error.to_string())?;
    opened.map(|()| "opens, with this release's format".into()).map_err(|error| error.to_string())
}

async fn sip(config: &Config) -> Result<String, String> {
    let peer = config.own_sip_address();
    let status = probe::options(peer, OPTIONS_LIMIT).await.map_err(|error| error.to_string())?;
    if status.as_u16() == 200 {
        return Ok(format!("{peer} answers OPTIONS"));
    }
    Err(format!("{peer} answers OPTIONS with {}, expected 200", status.as_u16()))
}

/// Somebody picks up and is heard.
async fn call(config: &Config) -> Result<String, String> {
    let plan = CallPlan {
        target: format!("sip:health@{}", config.own_sip_address()),
        protection: Protection::for_own_box(config),
        lines: Vec::new(),
        record: None,
        patience: Patience { farewell: GREETING_LIMIT, ..Patience::default() },
        from: None,
    };
    let placed = tokio::time::timeout(CALL_LIMIT, caller::place(plan)).await;
    let report = placed
        .map_err(|_| format!("the call was not over after {} s", CALL_LIMIT.as_secs()))?
        .map_err(|error| error.to_string())?;
    let greeting = report.turns.first().and_then(|turn| turn.gap.map(|gap| (gap, turn.answer)));
    match greeting {
        Some((gap, spoken)) => {
            Ok(format!("answered; greeting after {} ms, {:.1} s long", gap.as_millis(), spoken.as_secs_f64()))
        }
        None => Err(format!("answered, but no greeting was heard within {} s", GREETING_LIMIT.as_secs())),
    }
}
