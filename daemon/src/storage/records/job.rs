//! `jobs`: work that survives the process.

use rusqlite::{Connection, OptionalExtension as _, Row, params};

use super::one_row;
use crate::storage::{JobId, StorageError, UnixMs, text_enum::text_enum};

text_enum! {
    /// How far a job is.
    JobState {
        /// To be done, now or later.
        Queued = "queued",
        /// Its effect is kept.
        Done = "done",
        /// Given up; a person may try it again.
        Dead = "dead",
    }
}

text_enum! {
    /// What is to be done.
    JobKind {
        /// Words for a message.
        Transcribe = "transcribe",
        /// Particulars of a message from its words.
        Understand = "understand",
        /// Tell the office of a message.
        Notify = "notify",
        /// Remind the owner of a promise.
        Remind = "remind",
        /// Tell everybody that a promise was not kept.
        Escalate = "escalate",
        /// Tell which promises of a week were not kept.
        Report = "report",
    }
}

/// A row of `jobs`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DurableJob {
    /// Key.
    pub job_id: JobId,
    /// What is to be done.
    pub kind: JobKind,
    /// Key of the row it is about.
    pub subject: String,
    /// How far it is.
    pub state: JobState,
    /// How often it was begun, also by a process that died in it.
    pub attempts: u32,
    /// Not before.
    pub due_at: UnixMs,
    /// Why the last attempt failed.
    pub error: Option<String>,
    /// When it was queued.
    pub created_at: UnixMs,
}

impl DurableJob {
    /// Whether it was due as soon as it was queued: then a clock that was set back does not make it wait.
    pub fn was_due_at_once(&self) -> bool {
        self.attempts == 0 && self.due_at <= self.created_at
    }
}

/// Queues `kind` for the row `subject`, unless it has been already. Whether it is new.
///
/// # Errors
/// [`StorageError::Sql`].
pub fn queue_job(
    sql_tx: &Connection,
    kind: JobKind,
    subject: &str,
    due_at: UnixMs,
    at: UnixMs,
) -> Result<bool, StorageError> {
    let queued = sql_tx
        .prepare_cached(
            "INSERT INTO jobs (job_id, created_at, updated_at, kind, subject, dedupe_key, state, due_at)
             VALUES (?1, ?2, ?2, ?3, ?4, ?3 || ':' || ?4, 'queued', ?5)
             ON CONFLICT (dedupe_key) DO NOTHING",
        )?
        .execute(params![JobId::new(at), at, kind, subject, due_at])?;
    Ok(queued == 1)
}

/// What waits to be done later is due at once, whatever the clock says. Nothing happens if it is done or begun.
///
/// # Errors
/// [`StorageError::Sql`].
pub fn release_job(sql_tx: &Connection, kind: JobKind, subject: &str, at: UnixMs) -> Result<(), StorageError> {
    let sql = "UPDATE jobs SET due_at = created_at, updated_at = ?3
               WHERE kind = ?1 AND subject = ?2 AND state = 'queued' AND attempts = 0";
    sql_tx.prepare_cached(sql)?.execute(params![kind, subject, at])?;
    Ok(())
}

/// [`release_job`] of every job of that kind: a start, when whoever they waited for is gone. How many there are.
///
/// # Errors
/// [`StorageError::Sql`].
pub fn release_jobs(sql_tx: &Connection, kind: JobKind, at: UnixMs) -> Result<usize, StorageError> {
    let sql = "UPDATE jobs SET due_at = created_at, updated_at = ?2
               WHERE kind = ?1 AND state = 'queued' AND attempts = 0 AND due_at > created_at";
    Ok(sql_tx.prepare_cached(sql)?.execute(params![kind, at])?)
}

/// What was not begun yet need not be done. Nothing happens otherwise.
///
/// # Errors
/// [`StorageError::Sql`].
pub fn cancel_job(sql_tx: &Connection, kind: JobKind, subject: &str, at: UnixMs) -> Result<(), StorageError> {
    let sql = "UPDATE jobs SET state = 'done', updated_at = ?3
               WHERE kind = ?1 AND subject = ?2 AND state = 'queued' AND attempts = 0";
    sql_tx.prepare_cached(sql)?.execute(params![kind, subject, at])?;
    Ok(())
}

/// Notes that an attempt begins. Until `retry_at` there is no other, even if the process dies in this one.
///
/// # Errors
/// [`StorageError::NotFound`] if it is not queued any more.
pub fn begin_job(sql_tx: &Connection, job_id: JobId, retry_at: UnixMs, at: UnixMs) -> Result<(), StorageError> {
    let updated = sql_tx
        .prepare_cached(
            "UPDATE jobs SET attempts = attempts + 1, due_at = ?2, updated_at = ?3
             WHERE job_id = ?1 AND state = 'queued'",
        )?
        .execute(params![job_id, retry_at, at])?;
    one_row(updated, "queued job")
}

/// Notes that it is done. In the transaction that keeps its effect.
///
/// # Errors
/// [`StorageError::NotFound`] if it is not queued any more: then its effect must not be kept either.
pub fn finish_job(sql_tx: &Connection, job_id: JobId, at: UnixMs) -> Result<(), StorageError> {
    let updated = sql_tx
        .prepare_cached(
            "UPDATE jobs SET state = 'done', error = NULL, updated_at = ?2 WHERE job_id = ?1 AND state = 'queued'",
        )?
        .execute(params![job_id, at])?;
    one_row(updated, "queued job")
}

/// Notes why the attempt failed, and whether it was the last.
///
/// # Errors
/// [`StorageError::NotFound`] if it is not queued any more.
pub fn fail_job(
    sql_tx: &Connection,
    job_id: JobId,
    error: &str,
    is_dead: bool,
    at: UnixMs,
) -> Result<(), StorageError> {
    let state = if is_dead { JobState::Dead } else { JobState::Queued };
    let updated = sql_tx
        .prepare_cached(
            "UPDATE jobs SET state = ?2, error = ?3, updated_at = ?4 WHERE job_id = ?1 AND state = 'queued'",
        )?
        .execute(params![job_id, state, error, at])?;
    one_row(updated, "queued job")
}

/// A start: what the last process died in is due at once. How many there are.
///
/// # Errors
/// [`StorageError::Sql`].
pub fn requeue_begun_jobs(sql_tx: &Connection, at: UnixMs) -> Result<usize, StorageError> {
    let sql = "UPDATE jobs SET due_at = ?1, error = 'interrupted', updated_at = ?1
               WHERE state = 'queued' AND attempts > 0 AND error IS NULL";
    Ok(sql_tx.prepare_cached(sql)?.execute([at])?)
}

/// The jobs that are to be done, the one that is due first at the front.
///
/// # Errors
/// [`StorageError::Sql`].
pub fn queued_jobs(db: &Connection) -> Result<Vec<DurableJob>, StorageError> {
    let mut statement =
        db.prepare_cached("SELECT * FROM jobs WHERE state = 'queued' ORDER BY due_at, created_at, job_id")?;
    let rows = statement.query_map([], from_row)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// The jobs about the row `subject`, in the order in which they were queued.
///
/// # Errors
/// [`StorageError::Sql`].
pub fn jobs_of(db: &Connection, subject: &str) -> Result<Vec<DurableJob>, StorageError> {
    let mut statement = db.prepare_cached("SELECT * FROM jobs WHERE subject = ?1 ORDER BY created_at, job_id")?;
    let rows = statement.query_map([subject], from_row)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Does a dead job again. Whether there was one.
///
/// # Errors
/// [`StorageError::Sql`].
pub fn revive_job(sql_tx: &Connection, kind: JobKind, subject: &str, at: UnixMs) -> Result<bool, StorageError> {
    let sql = "UPDATE jobs SET state = 'queued', attempts = 0, due_at = created_at, updated_at = ?3
               WHERE kind = ?1 AND subject = ?2 AND state = 'dead' RETURNING 1";
    let revived: Option<i64> =
        sql_tx.prepare_cached(sql)?.query_row(params![kind, subject, at], |row| row.get(0)).optional()?;
    Ok(revived.is_some())
}

fn from_row(row: &Row<'_>) -> rusqlite::Result<DurableJob> {
    Ok(DurableJob {
        job_id: row.get("job_id")?,
        kind: row.get("kind")?,
        subject: row.get("subject")?,
        state: row.get("state")?,
        attempts: row.get("attempts")?,
        due_at: row.get("due_at")?,
        error: row.get("error")?,
        created_at: row.get("created_at")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::{Storage, StorageConfig, changes_after};

    fn check(steps: impl FnOnce(&Connection) -> Result<(), StorageError> + Send + 'static) -> Vec<DurableJob> {
        let folder = tempfile::tempdir().unwrap();
        let storage = Storage::open(&StorageConfig::new(folder.path())).unwrap().storage;
        storage.write_blocking(move |sql_tx| steps(sql_tx)).unwrap();
        let changes = storage.read_blocking(|db| changes_after(db, 0, 100)).unwrap();
        assert!(changes.iter().all(|change| change.table == "jobs"), "{changes:?}");
        storage.read_blocking(|db| jobs_of(db, "row")).unwrap()
    }

    #[test]
    fn the_same_work_is_queued_once_and_done_once() {
        let jobs = check(|db| {
            assert!(queue_job(db, JobKind::Notify, "row", UnixMs(1), UnixMs(1))?);
            assert!(!queue_job(db, JobKind::Notify, "row", UnixMs(1), UnixMs(2))?);
            let job_id = queued_jobs(db)?[0].job_id;
            begin_job(db, job_id, UnixMs(100), UnixMs(3))?;
            finish_job(db, job_id, UnixMs(4))?;
            // Whoever does it a second time must not keep the effect.
            assert!(matches!(finish_job(db, job_id, UnixMs(5)), Err(StorageError::NotFound(_))));
            assert!(!queue_job(db, JobKind::Notify, "row", UnixMs(1), UnixMs(6))?);
            Ok(())
        });
        assert_eq!(jobs.len(), 1);
        assert_eq!((jobs[0].state, jobs[0].attempts), (JobState::Done, 1));
    }

    #[test]
    fn a_process_that_dies_leaves_its_attempt_and_the_next_start_takes_it_up() {
        let jobs = check(|db| {
            queue_job(db, JobKind::Transcribe, "row", UnixMs(1), UnixMs(1))?;
            let job_id = queued_jobs(db)?[0].job_id;
            begin_job(db, job_id, UnixMs(9_000), UnixMs(2))?;
            assert_eq!(requeue_begun_jobs(db, UnixMs(3))?, 1);
            assert_eq!(requeue_begun_jobs(db, UnixMs(4))?, 0, "its failure is told already");
            Ok(())
        });
        assert_eq!((jobs[0].attempts, jobs[0].due_at, jobs[0].error.as_deref()), (1, UnixMs(3), Some("interrupted")));
    }

    /// A message that may still be changed: sent, given up, or left behind by a process that died.
    #[test]
    fn what_waits_is_released_or_cancelled_before_it_is_begun() {
        let held = |db: &Connection| queue_job(db, JobKind::Transcribe, "row", UnixMs(900), UnixMs(1)).map(drop);
        let released = check(move |db| {
            held(db)?;
            release_job(db, JobKind::Transcribe, "row", UnixMs(2))
        });
        assert!(released[0].was_due_at_once() && released[0].state == JobState::Queued, "{released:?}");
        let cancelled = check(move |db| {
            held(db)?;
            cancel_job(db, JobKind::Transcribe, "row", UnixMs(2))?;
            release_job(db, JobKind::Transcribe, "row", UnixMs(3))
        });
        assert_eq!((cancelled[0].state, cancelled[0].due_at), (JobState::Done, UnixMs(900)));
        let restarted = check(move |db| {
            held(db)?;
            queue_job(db, JobKind::Remind, "row", UnixMs(900), UnixMs(1))?;
            assert_eq!(release_jobs(db, JobKind::Transcribe, UnixMs(2))?, 1);
            assert_eq!(release_jobs(db, JobKind::Transcribe, UnixMs(3))?, 0);
            Ok(())
        });
        assert_eq!(restarted.iter().map(|job| job.due_at).collect::<Vec<_>>(), [UnixMs(1), UnixMs(900)]);
        let begun = check(move |db| {
            held(db)?;
            let job_id = queued_jobs(db)?[0].job_id;
            begin_job(db, job_id, UnixMs(950), UnixMs(900))?;
            cancel_job(db, JobKind::Transcribe, "row", UnixMs(901))
        });
        assert_eq!((begun[0].state, begun[0].due_at), (JobState::Queued, UnixMs(950)), "it is on its way");
    }

    #[test]
    fn a_dead_job_stays_and_a_person_may_try_it_again() {
        let jobs = check(|db| {
            queue_job(db, JobKind::Transcribe, "row", UnixMs(1), UnixMs(1))?;
            let job_id = queued_jobs(db)?[0].job_id;
            fail_job(db, job_id, "no such file", true, UnixMs(2))?;
            assert_eq!(queued_jobs(db)?, []);
            assert!(revive_job(db, JobKind::Transcribe, "row", UnixMs(3))?);
            assert!(!revive_job(db, JobKind::Transcribe, "row", UnixMs(3))?);
            Ok(())
        });
        assert_eq!((jobs[0].state, jobs[0].error.as_deref()), (JobState::Queued, Some("no such file")));
        assert!(jobs[0].was_due_at_once());
    }
}
