//! What the service of text messages tells, whichever way it comes: at the box's own address, or through its cloud. What is
//! told again has no further effect.

use std::time::Duration;

use rusqlite::Connection;
use tracing::{info, warn};

use super::replies::{Text, follow};
use super::sms::Progress;
use crate::config;
use crate::office::Office;
use crate::retry::later;
use crate::storage::{StorageError, UnixMs, note_delivery};

/// What has not arrived yet is asked for then, in case nobody tells any more.
const PATIENCE: Duration = Duration::from_secs(60 * 60);

/// One thing that was told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Told {
    /// A text has come.
    Text(Text),
    /// A text of ours is there, or will never be.
    Progress(String, Progress),
}

/// Takes it in, and gives what is answered to whoever has written.
///
/// # Errors
/// [`StorageError::Sql`].
pub fn take(
    sql_tx: &Connection,
    told: &Told,
    office: (&Office, &config::Sms),
    at: UnixMs,
) -> Result<Option<String>, StorageError> {
    match told {
        Told::Text(text) => follow(sql_tx, text, office, at),
        Told::Progress(reference, progress) => {
            let delivery = progress.clone().delivery(Some(later(at, PATIENCE)));
            if let Some((failure, error)) = &delivery.failed {
                warn!(channel = "sms", failure = failure.as_str(), error, "Notice not delivered");
            }
            if !note_delivery(sql_tx, reference, &delivery, at)? {
                info!("Told of a text message of which all is known, or nothing");
            }
            Ok(None)
        }
    }
}
