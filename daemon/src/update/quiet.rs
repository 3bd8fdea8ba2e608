//! Is the telephone quiet? No update is written, and nothing reboots, while a call is up.
//!
//! The database says which calls are open. Rows that a dead daemon left open are no calls: only while something answers
//! at the SIP listener do they count.

use std::time::{Duration, Instant};

use crate::config::Config;
use crate::io::probe;
use crate::storage::{OpenError, Reader, StorageError, UnixMs, count_calls};

/// A running daemon answers at once.
const PROBE_LIMIT: Duration = Duration::from_secs(3);
/// How often a wait looks again.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// It cannot be told, or it is not quiet.
#[derive(Debug, thiserror::Error)]
pub enum NotQuiet {
    /// Calls went on for as long as we may wait.
    #[error("{calls} calls are in progress; nothing was changed, try again when they have ended")]
    Calls {
        /// How many.
        calls: u32,
    },
    /// The daemon runs, but its database says nothing.
    #[error("it cannot be told whether a call is in progress: {0}; nothing was changed")]
    Unknown(String),
}

/// Calls in progress.
///
/// # Errors
/// [`NotQuiet::Unknown`].
pub async fn calls_in_progress(config: &Config) -> Result<u32, NotQuiet> {
    let folder = config.state_directory();
    let open = tokio::task::spawn_blocking(move || open_calls(&folder)).await;
    let open = open.unwrap_or_else(|error| Err(error.to_string()));
    if open == Ok(0) {
        return Ok(0);
    }
    let answers = probe::options(config.own_sip_address(), PROBE_LIMIT).await.is_ok();
    judge(open, answers)
}

/// What open rows mean.
fn judge(open: Result<u32, String>, answers: bool) -> Result<u32, NotQuiet> {
    match (open, answers) {
        // Nobody is there to hold a call.
        (_, false) => Ok(0),
        (Ok(open), true) => Ok(open),
        (Err(reason), true) => Err(NotQuiet::Unknown(reason)),
    }
}

fn open_calls(folder: &std::path::Path) -> Result<u32, String> {
    let reader = match Reader::open(folder, 1) {
        Ok(reader) => reader,
        Err(OpenError::Missing { .. }) => return Ok(0),
        Err(error) => return Err(error.to_string()),
    };
    let counts = reader.read_blocking(|db| count_calls(db, UnixMs(i64::MAX)));
    counts.map(|counts| counts.open).map_err(|error: StorageError| error.to_string())
}

/// Returns once no call is up; `told` hears how many there are each time they are waited for.
///
/// # Errors
/// [`NotQuiet`], after `limit`.
pub async fn wait(config: &Config, limit: Duration, mut told: impl FnMut(u32)) -> Result<(), NotQuiet> {
    let began = Instant::now();
    loop {
        let calls = calls_in_progress(config).await?;
        if calls == 0 {
            return Ok(());
        }
        if began.elapsed() + LOOK_EVERY > limit {
            return Err(NotQuiet::Calls { calls });
        }
        told(calls);
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn open_rows_are_calls_only_while_somebody_answers() {
        for (open, answers, expected) in [
            (Ok(0), true, Some(0)),
            (Ok(2), true, Some(2)),
            (Ok(2), false, Some(0)),
            (Err("damaged".to_owned()), false, Some(0)),
            (Err("damaged".to_owned()), true, None),
        ] {
            assert_eq!(judge(open.clone(), answers).ok(), expected, "{open:?}, answers: {answers}");
        }
    }
}
