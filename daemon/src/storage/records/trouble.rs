//! What waits for a person: notices and jobs that fail or were given up, promises that nobody has kept.

use rusqlite::{Connection, params};

use super::notification::{Channel, NoticeFailure};
use crate::storage::{JobKind, StorageError, UnixMs};

/// Notices of one way that fail for one reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FailingNotices {
    /// Which way.
    pub channel: Channel,
    /// Why.
    pub failure: NoticeFailure,
    /// Whether they were given up; else they are tried again.
    pub is_given_up: bool,
    /// How many.
    pub count: u32,
    /// When the oldest of them was queued.
    pub since: UnixMs,
}

/// Jobs of one kind that fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FailingJobs {
    /// Which.
    pub kind: JobKind,
    /// Whether they were given up; else they are tried again.
    pub is_given_up: bool,
    /// How many.
    pub count: u32,
    /// When the oldest of them was queued.
    pub since: UnixMs,
}

/// Everything of this kind.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Trouble {
    /// By way and reason.
    pub notices: Vec<FailingNotices>,
    /// By kind.
    pub jobs: Vec<FailingJobs>,
    /// Promises that are not closed long after they were due, and when the first of them was.
    pub overdue: Option<(u32, UnixMs)>,
}

/// What there is. Of what was given up, that since `given_up_since`; of promises, those that were due before `due_before`.
///
/// # Errors
/// [`StorageError::Sql`].
pub fn trouble(db: &Connection, given_up_since: UnixMs, due_before: UnixMs) -> Result<Trouble, StorageError> {
    // What the process was interrupted in has not failed, and neither has what is under way for the first time.
    let mut notices = db.prepare_cached(
        "SELECT channel, failure, state = 'dead', count(*), min(created_at) FROM notifications
         WHERE failure IS NOT NULL AND failure <> 'interrupted'
             AND (state IN ('queued', 'sending') OR state = 'dead' AND updated_at >= ?1)
         GROUP BY 1, 2, 3 ORDER BY 3 DESC, 1, 2",
    )?;
    let notices = notices.query_map([given_up_since], |row| {
        Ok(FailingNotices {
            channel: row.get(0)?,
            failure: row.get(1)?,
            is_given_up: row.get(2)?,
            count: row.get(3)?,
            since: row.get(4)?,
        })
    })?;
    let mut jobs = db.prepare_cached(
        "SELECT kind, state = 'dead', count(*), min(created_at) FROM jobs
         WHERE error IS NOT NULL AND error <> 'interrupted'
             AND (state = 'queued' OR state = 'dead' AND updated_at >= ?1)
         GROUP BY 1, 2 ORDER BY 2 DESC, 1",
    )?;
    let jobs = jobs.query_map([given_up_since], |row| {
        Ok(FailingJobs { kind: row.get(0)?, is_given_up: row.get(1)?, count: row.get(2)?, since: row.get(3)? })
    })?;
    let overdue = db
        .prepare_cached("SELECT count(*), min(due_at) FROM follow_ups WHERE state <> 'closed' AND due_at < ?1")?
        .query_row(params![due_before], |row| Ok((row.get(0)?, row.get::<_, Option<UnixMs>>(1)?)))?;
    Ok(Trouble {
        notices: notices.collect::<Result<_, _>>()?,
        jobs: jobs.collect::<Result<_, _>>()?,
        overdue: overdue.1.map(|since| (overdue.0, since)),
    })
}
