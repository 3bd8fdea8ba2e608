//! Where events go: systemd's journal with their fields, or stderr for a person.

use std::io::IsTerminal as _;

use tracing::{Level, Metadata};
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, fmt};

use crate::config::{ConfigMistake, ConfigMistakes, Log, LogTarget};

/// Installs the process-wide subscriber.
///
/// # Errors
/// A filter that does not parse, or a journal that was asked for and is not there.
pub fn start(log: &Log) -> Result<(), ConfigMistakes> {
    let filter = EnvFilter::try_new(&log.filter).map_err(|error| {
        let expected = format!("a level or a filter such as info,daemon::io=debug ({error})");
        ConfigMistakes(vec![ConfigMistake::new("log.filter", &log.filter, expected)])
    })?;
    let registry = tracing_subscriber::registry().with(filter).with(filter_fn(may_be_logged));
    if wants_journal(log.target) {
        let journal = tracing_journald::layer().map_err(|error| {
            let mistake = ConfigMistake::new("log.target", "journal", format!("a running journal ({error})"));
            ConfigMistakes(vec![mistake])
        })?;
        registry.with(journal).init();
    } else {
        registry
            .with(
                fmt::layer().with_writer(std::io::stderr).with_ansi(std::io::stderr().is_terminal()).with_target(false),
            )
            .init();
    }
    Ok(())
}

/// Our own crates know what must never reach a log; others do not (a tokenizer traces every letter of a transcript), so
/// of them only warnings pass, whatever the filter says.
fn may_be_logged(metadata: &Metadata<'_>) -> bool {
    const OURS: [&str; 4] = ["daemon", "models", "sip_stack", "audio"];
    let origin = metadata.target().split("::").next().unwrap_or_default();
    OURS.contains(&origin) || *metadata.level() <= Level::WARN
}

/// `JOURNAL_STREAM` is set by systemd when stderr is connected to the journal.
fn wants_journal(target: LogTarget) -> bool {
    match target {
        LogTarget::Auto => std::env::var_os("JOURNAL_STREAM").is_some(),
        LogTarget::Journal => true,
        LogTarget::Stderr => false,
    }
}
