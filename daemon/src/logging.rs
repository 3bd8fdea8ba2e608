//! Where events go: systemd's journal with their fields, or stderr for a person.

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
    let registry = tracing_subscriber::registry().with(filter);
    if wants_journal(log.target) {
        let journal = tracing_journald::layer().map_err(|error| {
            let mistake = ConfigMistake::new("log.target", "journal", format!("a running journal ({error})"));
            ConfigMistakes(vec![mistake])
        })?;
        registry.with(journal).init();
    } else {
        registry.with(fmt::layer().with_writer(std::io::stderr).with_target(false)).init();
    }
    Ok(())
}

/// `JOURNAL_STREAM` is set by systemd when stderr is connected to the journal.
fn wants_journal(target: LogTarget) -> bool {
    match target {
        LogTarget::Auto => std::env::var_os("JOURNAL_STREAM").is_some(),
        LogTarget::Journal => true,
        LogTarget::Stderr => false,
    }
}
