//! Which recordings the cloud does not have, from the rows.

use rusqlite::{Connection, named_params, params};

use super::{Blob, Outcome, Wanted};
use crate::storage::{StorageError, UnixMs};
use crate::sync::log::log_head;

/// After so long the cloud is asked again whether it has what it had, or takes what it has refused.
const ASK_AGAIN_MS: i64 = 30 * 86_400_000;

/// Recordings that are wanted and neither done with in this place nor to be asked for again; `:limit` of them.
const WAITING: &str = "SELECT r.sha256, r.size_bytes FROM recordings AS r
    LEFT JOIN blob_uploads AS u ON u.sha256 = r.sha256 AND u.place = :place
    WHERE (:all OR r.kind = 'voicemail') AND (u.sha256 IS NULL OR (u.state <> 'lost' AND u.noted_at <= :before))
    GROUP BY r.sha256 ORDER BY u.sha256 IS NOT NULL, min(r.recording_id) LIMIT :limit";

/// What is to go up: those that the cloud was not asked about yet first, of these the oldest.
pub(super) fn waiting(
    db: &Connection,
    place: &str,
    wanted: Wanted,
    now: UnixMs,
    limit: u32,
) -> Result<Vec<Blob>, StorageError> {
    if wanted == Wanted::None {
        return Ok(Vec::new());
    }
    let mut statement = db.prepare_cached(WAITING)?;
    let before = now.0.saturating_sub(ASK_AGAIN_MS);
    let values = named_params! { ":place": place, ":all": wanted == Wanted::All, ":before": before, ":limit": limit };
    let blobs = statement.query_map(values, |row| {
        let size_bytes: i64 = row.get(1)?;
        Ok(Blob { sha256: row.get(0)?, size_bytes: size_bytes.unsigned_abs() })
    })?;
    Ok(blobs.collect::<Result<_, _>>()?)
}

/// Whether any row has this content: what has none is nobody's to send.
pub(super) fn is_there(db: &Connection, sha256: &str) -> Result<bool, StorageError> {
    let sql = "SELECT EXISTS (SELECT 1 FROM recordings WHERE sha256 = ?1)";
    Ok(db.prepare_cached(sql)?.query_row([sha256], |row| row.get(0))?)
}

/// Notes what became of a file, if its row is still there. A loss is noted in the loss ledger, once for each place.
pub(super) fn note(
    sql_tx: &Connection,
    place: &str,
    blob: &Blob,
    outcome: &Outcome,
    now: UnixMs,
) -> Result<(), StorageError> {
    if !is_there(sql_tx, &blob.sha256)? {
        return Ok(());
    }
    let (state, reason) = match outcome {
        Outcome::Kept => ("kept", None),
        Outcome::Refused(why) => ("refused", Some(why.as_str())),
        Outcome::Lost(fault) => ("lost", Some(fault.reason())),
    };
    let is_known = "SELECT EXISTS (SELECT 1 FROM blob_uploads WHERE sha256 = ?1 AND place = ?2 AND state = 'lost')";
    let was_lost: bool = sql_tx.prepare_cached(is_known)?.query_row([&blob.sha256, place], |row| row.get(0))?;
    if let Outcome::Lost(fault) = outcome
        && !was_lost
    {
        let head = log_head(sql_tx)?;
        let sql = "INSERT INTO loss_ledger (noted_at, first_seq, last_seq, entries, reason) VALUES (?1, ?2, ?2, 1, ?3)";
        sql_tx.prepare_cached(sql)?.execute(params![now, head, fault.reason()])?;
    }
    let sql =
        "INSERT OR REPLACE INTO blob_uploads (sha256, place, state, reason, noted_at) VALUES (?1, ?2, ?3, ?4, ?5)";
    sql_tx.prepare_cached(sql)?.execute(params![blob.sha256, place, state, reason, now])?;
    Ok(())
}

/// How far recordings are in the cloud, by their contents.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Those that are to go up.
    pub waiting: i64,
    /// Their size, in bytes.
    pub waiting_bytes: i64,
    /// Those that the cloud has refused for good.
    pub refused: i64,
    /// Those that were gone or damaged before the cloud had them.
    pub lost: i64,
}

/// The counts for this place.
///
/// # Errors
/// [`StorageError::Sql`].
pub fn counts(db: &Connection, place: &str, wanted: Wanted) -> Result<Counts, StorageError> {
    let mut counts = Counts::default();
    if wanted != Wanted::None {
        let sql = format!("SELECT count(*), coalesce(sum(size_bytes), 0) FROM ({WAITING})");
        // What the cloud has had, and is asked again about, does not wait.
        let values =
            named_params! { ":place": place, ":all": wanted == Wanted::All, ":before": i64::MIN, ":limit": -1 };
        (counts.waiting, counts.waiting_bytes) =
            db.prepare_cached(&sql)?.query_row(values, |row| Ok((row.get(0)?, row.get(1)?)))?;
    }
    let sql = "SELECT count(*) FILTER (WHERE state = 'refused'), count(*) FILTER (WHERE state = 'lost')
        FROM blob_uploads WHERE place = ?1";
    (counts.refused, counts.lost) = db.prepare_cached(sql)?.query_row([place], |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok(counts)
}

#[cfg(test)]
mod tests {
    use super::super::Fault;
    use super::*;
    use crate::storage::{CallId, Direction, NewSession, PeerAddressKind, Recording, RecordingId, RecordingKind};
    use crate::storage::{RecordingState, Storage, StorageConfig, insert_recording, insert_session};
    use crate::sync::log::losses;

    const DAY_MS: i64 = 86_400_000;
    const HERE: &str = "here";

    fn storage(dir: &tempfile::TempDir) -> Storage {
        Storage::open(&StorageConfig::new(dir.path())).unwrap().storage
    }

    fn recording(at: i64, kind: RecordingKind, sha256: &str) -> (NewSession, Recording) {
        let at = UnixMs(at);
        let call_id = CallId::new(at);
        let session = NewSession {
            call_id,
            direction: Direction::Inbound,
            trunk: "office".to_owned(),
            peer_address_kind: PeerAddressKind::Private,
            caller_id: None,
            called: None,
            sip_call_id: format!("{}@example.org", at.0),
            started_at: at,
        };
        let recording = Recording {
            recording_id: RecordingId::new(at),
            call_id,
            kind,
            state: RecordingState::Complete,
            sha256: sha256.repeat(64),
            format: "plain-wav".to_owned(),
            size_bytes: u64::try_from(at.0).unwrap(),
            duration_ms: 1,
            caller: None,
            other: None,
            started_at: at,
            created_at: at,
        };
        (session, recording)
    }

    fn blob(sha256: &str, size_bytes: u64) -> Blob {
        Blob { sha256: sha256.repeat(64), size_bytes }
    }

    /// A message "a", a call "b", a message "c", and "a" again.
    fn four() -> (tempfile::TempDir, Storage) {
        let dir = tempfile::tempdir().unwrap();
        let storage = storage(&dir);
        let (message, call) = (RecordingKind::Voicemail, RecordingKind::Call);
        for (at, kind, sha256) in [(10, message, "a"), (20, call, "b"), (30, message, "c"), (40, message, "a")] {
            let (session, recording) = recording(at, kind, sha256);
            storage
                .write_blocking(move |sql_tx| {
                    insert_session(sql_tx, &session)?;
                    insert_recording(sql_tx, &recording)
                })
                .unwrap();
        }
        (dir, storage)
    }

    fn names(storage: &Storage, place: &str, wanted: Wanted, now: i64) -> String {
        let place = place.to_owned();
        let blobs = storage.read_blocking(|db| waiting(db, &place, wanted, UnixMs(now), 10)).unwrap();
        blobs.iter().map(|blob| blob.sha256.chars().next().unwrap()).collect()
    }

    fn note_it(storage: &Storage, sha256: &str, outcome: Outcome, now: i64) {
        let blob = blob(sha256, 1);
        storage.write_blocking(move |sql_tx| note(sql_tx, HERE, &blob, &outcome, UnixMs(now))).unwrap();
    }

    #[test]
    fn what_is_not_in_the_cloud_waits_each_content_once_and_the_oldest_first() {
        let (_dir, storage) = four();
        for (wanted, expected) in [(Wanted::None, ""), (Wanted::Messages, "ac"), (Wanted::All, "abc")] {
            assert_eq!(names(&storage, HERE, wanted, 50), expected, "{wanted:?}");
        }
        note_it(&storage, "a", Outcome::Kept, 100);
        note_it(&storage, "b", Outcome::Refused("too large".to_owned()), 100);
        assert_eq!(names(&storage, HERE, Wanted::All, 100), "c");
        assert_eq!(names(&storage, "another cloud", Wanted::All, 100), "abc");
        assert_eq!(names(&storage, HERE, Wanted::All, 100 + 30 * DAY_MS), "cab", "news first, then what was asked");
        let counts = storage.read_blocking(|db| counts(db, HERE, Wanted::All)).unwrap();
        assert_eq!(counts, Counts { waiting: 1, waiting_bytes: 30, refused: 1, lost: 0 });
    }

    #[test]
    fn what_is_lost_is_one_line_in_the_ledger_and_never_asked_for_again() {
        let (_dir, storage) = four();
        for _ in 0..2 {
            note_it(&storage, "a", Outcome::Lost(Fault::Gone), 100);
        }
        note_it(&storage, "c", Outcome::Lost(Fault::Damaged), 200);
        let ledger = storage.read_blocking(losses).unwrap();
        let lines: Vec<_> = ledger.iter().map(|loss| (loss.noted_at.0, loss.entries, loss.reason.as_str())).collect();
        assert_eq!(lines, [(100, 1, "recording_gone"), (200, 1, "recording_damaged")]);
        assert_eq!(names(&storage, HERE, Wanted::Messages, 100 * DAY_MS), "");
        assert_eq!(storage.read_blocking(|db| counts(db, HERE, Wanted::Messages)).unwrap().lost, 2);
    }

    /// Retention and erasure: with the last row of a content all that is known of it goes, and that is no loss.
    #[test]
    fn what_has_no_row_any_more_is_forgotten() {
        let (_dir, storage) = four();
        note_it(&storage, "a", Outcome::Kept, 100);
        let delete = |at: i64| {
            let sql = "DELETE FROM call_sessions WHERE started_at = ?1";
            storage.write_blocking(move |sql_tx| Ok(sql_tx.execute(sql, [at])?)).unwrap();
        };
        let noted = || {
            let sql = "SELECT count(*) FROM blob_uploads";
            storage.read_blocking(|db| Ok(db.query_row(sql, [], |row| row.get::<_, i64>(0))?)).unwrap()
        };
        delete(10);
        assert_eq!((noted(), names(&storage, HERE, Wanted::All, 100).as_str()), (1, "bc"), "another row has it");
        delete(40);
        delete(30);
        assert_eq!(noted(), 0);
        note_it(&storage, "a", Outcome::Kept, 200);
        note_it(&storage, "c", Outcome::Lost(Fault::Gone), 200);
        assert_eq!(
            (noted(), storage.read_blocking(losses).unwrap()),
            (0, Vec::new()),
            "what comes too late is nothing"
        );
        assert!(!storage.read_blocking(|db| is_there(db, &blob("a", 1).sha256)).unwrap());
    }
}
