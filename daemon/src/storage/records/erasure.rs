//! An end to what is known of a caller (GDPR Article 17): rows and the files that only they refer to.
//!
//! ```text
//! number ─► files of recordings that are theirs alone ─► removed
//!        ─► their calls, messages, recordings, texts, promises, notices, what is known of them ─► gone, in one transaction
//! ```
//! The files first: whoever is cut off in between finds rows without files, and asks again.
//!
//! What is deleted here the change log says, so the cloud deletes it too. Sealed backups cannot be looked into: those of before
//! go when their time is over. What callers have told each other about somebody is not found.

use std::path::Path;
use std::sync::Arc;

use rusqlite::Connection;
use serde::Serialize;

use crate::storage::{AudioFiles, PlainWav, StorageError};

/// Calls with the number, in either direction.
const CALLS: &str =
    "SELECT call_id FROM call_sessions WHERE CASE direction WHEN 'inbound' THEN caller_id ELSE called END = ?1";

/// How much of something there was.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Erased {
    /// Rows of `call_sessions`; their turns, figures and escalations go with them.
    pub calls: usize,
    /// Rows of `recordings`.
    pub recordings: usize,
    /// Rows of `voicemails`.
    pub messages: usize,
    /// Promises made to them.
    pub follow_ups: usize,
    /// Notices about any of it, and to them.
    pub notices: usize,
    /// What was still to be done about it.
    pub jobs: usize,
    /// Text messages from them.
    pub texts: usize,
    /// What is known of them.
    pub contacts: usize,
}

impl Erased {
    /// Whether there was anything.
    pub fn is_empty(self) -> bool {
        self == Erased::default()
    }
}

/// How much is known of `number`, as the carrier writes it.
///
/// # Errors
/// [`StorageError::Sql`].
pub fn count_caller(db: &Connection, number: &str) -> Result<Erased, StorageError> {
    each(|table, of_caller| {
        let sql = format!("SELECT count(*) FROM {table} WHERE {of_caller}");
        Ok(db.query_row(&sql, [number], |row| row.get::<_, i64>(0))?.unsigned_abs().try_into().unwrap_or(usize::MAX))
    })
}

/// Deletes all of it; gives how much it was. What is deleted is overwritten in the database. `dir` is the data folder.
///
/// # Errors
/// [`StorageError::Refused`] while a call with them is up; [`StorageError::File`], [`StorageError::Sql`].
pub fn erase_caller(sql_tx: &Connection, dir: &Path, number: &str) -> Result<Erased, StorageError> {
    let up = format!("SELECT count(*) FROM call_sessions WHERE ended_at IS NULL AND call_id IN ({CALLS})");
    if sql_tx.query_row(&up, [number], |row| row.get::<_, i64>(0))? > 0 {
        return Err(StorageError::Refused("a call with this caller is up: ask again when it is over"));
    }
    let alone = format!(
        "SELECT DISTINCT sha256 FROM recordings AS theirs WHERE call_id IN ({CALLS}) AND NOT EXISTS
            (SELECT 1 FROM recordings WHERE sha256 = theirs.sha256 AND call_id NOT IN ({CALLS}))"
    );
    let hashes: Vec<String> =
        sql_tx.prepare(&alone)?.query_map([number], |row| row.get(0))?.collect::<Result<_, _>>()?;
    remove_files(dir, &hashes)?;
    sql_tx.pragma_update(None, "secure_delete", true)?;
    let erased =
        each(|table, of_caller| Ok(sql_tx.execute(&format!("DELETE FROM {table} WHERE {of_caller}"), [number])?));
    sql_tx.pragma_update(None, "secure_delete", false)?;
    erased
}

fn remove_files(dir: &Path, hashes: &[String]) -> Result<(), StorageError> {
    let files = AudioFiles::open(dir, Arc::new(PlainWav))?;
    for path in hashes.iter().map(|hash| files.path_of(hash)) {
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(StorageError::file(&path, error));
            }
            Ok(()) | Err(_) => {}
        }
    }
    Ok(())
}

/// Each table with the condition by which its rows are the caller's, what refers to others first.
fn each(mut work: impl FnMut(&str, &str) -> Result<usize, StorageError>) -> Result<Erased, StorageError> {
    let of_calls = format!("call_id IN ({CALLS})");
    let messages = format!("SELECT voicemail_id FROM voicemails WHERE {of_calls}");
    let promises = format!("SELECT follow_up_id FROM follow_ups WHERE {of_calls} OR contact = ?1");
    let about = format!("subject IN ({CALLS}) OR subject IN ({messages}) OR subject IN ({promises})");
    Ok(Erased {
        jobs: work("jobs", &about)?,
        notices: work("notifications", &format!("{about} OR recipient = ?1"))?,
        follow_ups: work("follow_ups", &format!("{of_calls} OR contact = ?1"))?,
        messages: work("voicemails", &of_calls)?,
        recordings: work("recordings", &of_calls)?,
        texts: work("received_texts", "sender = ?1")?,
        contacts: work("contacts", "number = ?1")?,
        calls: work("call_sessions", &of_calls)?,
    })
}

#[cfg(test)]
mod tests {
    use rusqlite::params;

    use super::*;
    use crate::storage::{Storage, StorageConfig, UnixMs};

    const THEM: &str = "+12125550142";
    const OTHER: &str = "+12125550199";

    fn key(number: u32) -> String {
        format!("00000000-0000-7000-8000-{number:012}")
    }

    /// A call with a message, its recording, a promise, a notice and a job; a text, and what is known of the caller.
    fn write(sql_tx: &Connection, base: u32, number: &str, direction: &str, hash: &str) {
        let (caller, called) = if direction == "inbound" { (number, "+1800") } else { ("101", number) };
        let keys: Vec<String> = (0..8).map(|at| key(base * 10 + at)).collect();
        let sql = "INSERT INTO call_sessions (call_id, created_at, updated_at, direction, trunk, peer_address_kind, caller_id,
            called, sip_call_id, started_at, ended_at, state, termination, hangup_cause)
            VALUES (?1, 1, 1, ?2, 't', 'private', ?3, ?4, 's', 1, 2, 'ended', 'success', 'normal')";
        sql_tx.execute(sql, params![keys[0], direction, caller, called]).unwrap();
        let sql = "INSERT INTO conversation_turns (turn_id, created_at, updated_at, call_id, turn_index, who, text)
            VALUES (?1, 1, 1, ?2, 0, 'caller', 'my secret')";
        sql_tx.execute(sql, [&keys[1], &keys[0]]).unwrap();
        let sql = "INSERT INTO recordings (recording_id, created_at, updated_at, call_id, kind, state, sha256, format,
            size_bytes, duration_ms, started_at) VALUES (?1, 1, 1, ?2, 'voicemail', 'complete', ?3, 'plain-wav', 1, 1, 1)";
        sql_tx.execute(sql, [&keys[2], &keys[0], hash]).unwrap();
        let sql =
            "INSERT INTO voicemails (voicemail_id, created_at, updated_at, call_id, recording_id, status, ended_by,
            duration_ms) VALUES (?1, 1, 1, ?2, ?3, 'new', 'hangup', 1)";
        sql_tx.execute(sql, [&keys[3], &keys[0], &keys[2]]).unwrap();
        let sql =
            "INSERT INTO follow_ups (follow_up_id, created_at, updated_at, reference, call_id, channel, contact, task,
            due_at, state) VALUES (?1, 1, 1, 'R', NULL, 'phone', ?2, 'call back', 1, 'open')";
        sql_tx.execute(sql, [&keys[4], number]).unwrap();
        let sql = "INSERT INTO notifications (notification_id, created_at, updated_at, kind, channel, recipient, subject,
            order_key, dedupe_key, urgent, state, due_at) VALUES (?1, 1, 1, 'message', 'email', 'office', ?2, 'o', ?1, 0,
            'sent', 1)";
        sql_tx.execute(sql, [&keys[5], &keys[3]]).unwrap();
        let sql = "INSERT INTO jobs (job_id, created_at, updated_at, kind, subject, dedupe_key, state, due_at)
            VALUES (?1, 1, 1, 'write_down', ?2, ?1, 'done', 1)";
        sql_tx.execute(sql, [&keys[6], &keys[4]]).unwrap();
        let sql = "INSERT INTO received_texts (text_id, created_at, updated_at, reference, sender, body)
            VALUES (?1, 1, 1, ?1, ?2, 'my other secret')";
        sql_tx.execute(sql, [&keys[7], number]).unwrap();
        let sql = "INSERT OR IGNORE INTO contacts (contact_id, created_at, updated_at, number) VALUES (?1, 1, 1, ?2)";
        sql_tx.execute(sql, [&keys[7], number]).unwrap();
    }

    #[test]
    fn everything_of_a_caller_goes_and_nothing_of_another() {
        let folder = tempfile::tempdir().unwrap();
        let storage = Storage::open(&StorageConfig::new(folder.path())).unwrap().storage;
        let [shared, alone] = ["a".repeat(64), "b".repeat(64)];
        let files = AudioFiles::open(folder.path(), Arc::new(PlainWav)).unwrap();
        for hash in [&shared, &alone] {
            std::fs::create_dir_all(files.path_of(hash).parent().unwrap()).unwrap();
            std::fs::write(files.path_of(hash), "RIFF").unwrap();
        }
        let (first, second) = (shared.clone(), alone.clone());
        let written = storage.write_blocking(move |sql_tx| {
            write(sql_tx, 1, THEM, "inbound", &first);
            write(sql_tx, 2, THEM, "outbound", &second);
            write(sql_tx, 3, OTHER, "inbound", &first);
            Ok(())
        });
        written.unwrap();
        let all =
            Erased { calls: 2, recordings: 2, messages: 2, follow_ups: 2, notices: 2, jobs: 2, texts: 2, contacts: 1 };
        assert_eq!(storage.read_blocking(|db| count_caller(db, THEM)).unwrap(), all);
        let office = storage.read_blocking(|db| count_caller(db, "+1800")).unwrap();
        assert!(office.is_empty(), "the number that they called is nobody's: {office:?}");
        let dir = folder.path().to_owned();
        let erase = move |sql_tx: &rusqlite::Transaction<'_>| erase_caller(sql_tx, &dir, THEM);
        assert_eq!(storage.write_blocking(erase.clone()).unwrap(), all);
        assert!(storage.write_blocking(erase).unwrap().is_empty());
        assert!(files.path_of(&shared).exists() && !files.path_of(&alone).exists());
        assert!(storage.read_blocking(|db| count_caller(db, THEM)).unwrap().is_empty());
        let other = storage.read_blocking(|db| count_caller(db, OTHER)).unwrap();
        assert_eq!((other.calls, other.messages, other.notices, other.contacts), (1, 1, 1, 1));
        let told = storage.read_blocking(|db| {
            let sql = "SELECT count(DISTINCT table_name) FROM change_log WHERE op = 'delete'";
            Ok(db.query_row(sql, [], |row| row.get::<_, i64>(0))?)
        });
        assert_eq!(told.unwrap(), 9, "with the turns: the cloud hears of all of it");
    }

    #[test]
    fn nothing_goes_while_they_are_on_the_line() {
        let folder = tempfile::tempdir().unwrap();
        let storage = Storage::open(&StorageConfig::new(folder.path())).unwrap().storage;
        let [dir, again] = [(); 2].map(|()| folder.path().to_owned());
        let refused = storage.write_blocking(move |sql_tx| {
            write(sql_tx, 1, THEM, "inbound", &"a".repeat(64));
            let sql =
                "UPDATE call_sessions SET state = 'answered', answered_at = 1, ended_at = NULL, termination = NULL,
                hangup_cause = NULL";
            sql_tx.execute(sql, []).unwrap();
            Ok(erase_caller(sql_tx, &dir, THEM).unwrap_err().to_string())
        });
        assert!(refused.unwrap().contains("is up"));
        let now = UnixMs(5);
        let ended = storage.write_blocking(move |sql_tx| {
            let sql = "UPDATE call_sessions SET state = 'ended', ended_at = ?1, termination = 'success',
                hangup_cause = 'normal'";
            sql_tx.execute(sql, [now]).unwrap();
            erase_caller(sql_tx, &again, THEM)
        });
        assert_eq!(ended.unwrap().calls, 1);
    }
}
