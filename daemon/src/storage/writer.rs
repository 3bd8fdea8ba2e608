//! The one thread that writes, with group commit.
//!
//! ```text
//! callers ─ bounded queue ─► writer:  BEGIN · job · job · job · COMMIT ─► every caller is answered
//!                                           each job in its own SAVEPOINT
//! ```
//! One commit costs one flush of the disk (2–10 ms on eMMC). Jobs that wait while a flush is under way share the next
//! one, so the cost per row falls as load rises, and a job that somebody waits for never waits for a timer. Jobs that are
//! to be written *soon* lie aside until the next of those, or a moment, and wake nobody: most of the rows of a call cost
//! no flush of their own. They are run in the order in which they came, and before those that are committed with them.
//! A job that fails or panics is undone alone. Nobody is told "done" before the commit that made it true.
//!
//! SQLite allows one writer at a time; pooled writers would only meet `SQLITE_BUSY`.

use std::{
    collections::VecDeque,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

use rusqlite::{Connection, Transaction, TransactionBehavior};
use tokio::{
    runtime::{Builder, Runtime},
    sync::{mpsc, oneshot, watch},
    time::{Instant, timeout_at},
};

use super::error::StorageError;

/// Most jobs in one commit: bounds how long the first of them waits for the last.
const GROUP_JOBS_MAX: usize = 256;
/// How long a job that is to be written soon waits for others, at most.
const SOON: Duration = Duration::from_millis(50);

/// What the writer has done since it started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct WriterStats {
    /// Transactions committed, each one flush of the disk.
    pub commits_total: u64,
    /// Jobs whose writes were committed.
    pub jobs_committed_total: u64,
    /// Jobs that failed, panicked or were in a transaction that could not be committed.
    pub jobs_failed_total: u64,
}

#[derive(Default)]
pub(super) struct Counters {
    commits: AtomicU64,
    committed: AtomicU64,
    /// How many jobs were committed, for whoever waits for news.
    news: watch::Sender<u64>,
    failed: AtomicU64,
}

impl Counters {
    pub(super) fn subscribe(&self) -> watch::Receiver<u64> {
        self.news.subscribe()
    }

    pub(super) fn snapshot(&self) -> WriterStats {
        WriterStats {
            commits_total: self.commits.load(Ordering::Relaxed),
            jobs_committed_total: self.committed.load(Ordering::Relaxed),
            jobs_failed_total: self.failed.load(Ordering::Relaxed),
        }
    }
}

/// What goes through the queue.
pub(super) enum Message {
    Job(Box<dyn Job>),
    /// The first job that need not be written at once lies aside.
    Soon,
    /// Take no more, finish what is queued, end.
    Close,
}

/// A job with its return type hidden: run inside the transaction, answered after it.
pub(super) trait Job: Send {
    /// Whether its writes may stay.
    fn run(&mut self, sql_tx: &Transaction<'_>, dir: &Path) -> bool;
    /// Why its writes may not stay.
    fn error(&self) -> Option<StorageError>;
    /// It could not be run, or not be undone alone.
    fn fail(&mut self, error: StorageError);
    /// Answers the caller: the job's own result, or why the commit failed.
    fn answer(self: Box<Self>, committed: Result<(), StorageError>);
}

/// One job, and what becomes of its answer.
pub(super) struct QueuedJob<T, F, A> {
    job: Option<F>,
    result: Result<T, StorageError>,
    answer: A,
}

impl<T, F, A> QueuedJob<T, F, A>
where
    T: Send + 'static,
    F: FnOnce(&Transaction<'_>) -> Result<T, StorageError> + Send + 'static,
    A: FnOnce(Result<T, StorageError>) + Send + 'static,
{
    /// The job boxed for the queue; `answer` is told how it went.
    fn boxed(job: F, answer: A) -> Box<dyn Job> {
        Box::new(QueuedJob { job: Some(job), result: Err(StorageError::Closed), answer })
    }
}

/// A job whose caller waits, and the receiver of its answer.
pub(super) fn awaited<T, F>(job: F) -> (Box<dyn Job>, oneshot::Receiver<Result<T, StorageError>>)
where
    T: Send + 'static,
    F: FnOnce(&Transaction<'_>) -> Result<T, StorageError> + Send + 'static,
{
    let (reply, answer) = oneshot::channel();
    // A caller that has stopped waiting is no error: its rows are written all the same.
    (QueuedJob::boxed(job, move |result| drop(reply.send(result))), answer)
}

/// A job whose caller does not wait: that the row of `what` was not written stands in the log.
pub(super) fn posted<F>(what: &'static str, job: F) -> Box<dyn Job>
where
    F: FnOnce(&Transaction<'_>) -> Result<(), StorageError> + Send + 'static,
{
    QueuedJob::boxed(job, move |result| {
        if let Err(error) = result {
            tracing::warn!(%error, what, "Row not written");
        }
    })
}

impl<T, F, A> Job for QueuedJob<T, F, A>
where
    T: Send,
    F: FnOnce(&Transaction<'_>) -> Result<T, StorageError> + Send,
    A: FnOnce(Result<T, StorageError>) + Send,
{
    fn run(&mut self, sql_tx: &Transaction<'_>, dir: &Path) -> bool {
        let Some(job) = self.job.take() else { return false };
        self.result = run_caught(job, sql_tx, dir);
        self.result.is_ok()
    }

    fn error(&self) -> Option<StorageError> {
        self.result.as_ref().err().cloned()
    }

    fn fail(&mut self, error: StorageError) {
        self.result = Err(error);
    }

    fn answer(self: Box<Self>, committed: Result<(), StorageError>) {
        let QueuedJob { result, answer, .. } = *self;
        answer(result.and_then(|value| committed.map(|()| value)));
    }
}

fn run_caught<T>(
    job: impl FnOnce(&Transaction<'_>) -> Result<T, StorageError>,
    sql_tx: &Transaction<'_>,
    dir: &Path,
) -> Result<T, StorageError> {
    catch_unwind(AssertUnwindSafe(|| job(sql_tx)))
        .unwrap_or(Err(StorageError::JobPanicked))
        .map_err(|error| error.or_disk_full(dir))
}

/// Jobs that are to be written soon, in the order in which they came.
pub(super) struct Aside {
    jobs: Mutex<VecDeque<Box<dyn Job>>>,
    limit: usize,
}

impl Aside {
    /// Room for `limit`.
    pub(super) fn new(limit: usize) -> Aside {
        Aside { jobs: Mutex::default(), limit }
    }

    fn jobs(&self) -> MutexGuard<'_, VecDeque<Box<dyn Job>>> {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lays a job aside; the thread is told by `queue` if it is the first. The job again if there is no room.
    ///
    /// # Errors
    /// [`StorageError::Closed`]: neither it nor the others there will be written, and who waits for them is told so.
    pub(super) fn lay(
        &self,
        job: Box<dyn Job>,
        queue: &mpsc::Sender<Message>,
    ) -> Result<Option<Box<dyn Job>>, StorageError> {
        let is_first = {
            let mut jobs = self.jobs();
            if jobs.len() >= self.limit {
                return Ok(Some(job));
            }
            jobs.push_back(job);
            jobs.len() == 1
        };
        if is_first && matches!(queue.try_send(Message::Soon), Err(mpsc::error::TrySendError::Closed(_))) {
            self.jobs().clear();
            return Err(StorageError::Closed);
        }
        // In a full queue there is a job that takes those aside along.
        Ok(None)
    }

    fn pop(&self) -> Option<Box<dyn Job>> {
        self.jobs().pop_front()
    }

    fn is_empty(&self) -> bool {
        self.jobs().is_empty()
    }
}

/// The thread's side.
pub(super) struct Writer {
    pub(super) db: Connection,
    pub(super) queue: mpsc::Receiver<Message>,
    pub(super) aside: Arc<Aside>,
    pub(super) counters: Arc<Counters>,
    pub(super) dir: PathBuf,
    /// Held while we may write; released when the thread ends.
    pub(super) lock: std::fs::File,
}

impl Writer {
    /// Starts the thread `offhook-storage`.
    pub(super) fn spawn(self) -> std::io::Result<JoinHandle<()>> {
        let clock = Builder::new_current_thread().enable_time().build()?;
        std::thread::Builder::new().name("offhook-storage".to_owned()).spawn(move || self.run(&clock))
    }

    fn run(mut self, clock: &Runtime) {
        let mut due = None;
        loop {
            match next(&mut self.queue, due, clock) {
                Next::Message(Message::Job(job)) => due = self.commit_group(Some(job)),
                Next::Message(Message::Soon) => due = due.or_else(|| Some(Instant::now() + SOON)),
                // Nothing more can be sent; what was queued before is still received.
                Next::Message(Message::Close) => self.queue.close(),
                Next::Due => due = self.commit_group(None),
                Next::Nothing => break,
            }
        }
        while self.commit_group(None).is_some() {}
        let checkpointed = self.db.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get::<_, i64>(0));
        match checkpointed {
            Ok(0) => tracing::debug!("Database checkpointed"),
            Ok(_) => tracing::debug!("Database left in its write-ahead log: a reader is still busy"),
            Err(error) => tracing::warn!(%error, "Database not checkpointed; its write-ahead log holds everything"),
        }
        drop(self.lock);
    }

    /// Runs what lies aside, then `last` and whatever is queued behind it in one transaction, then answers them all. When
    /// what has been laid aside in the meantime is due.
    fn commit_group(&mut self, last: Option<Box<dyn Job>>) -> Option<Instant> {
        if last.is_none() && self.aside.is_empty() {
            return None;
        }
        let mut group = Group::default();
        let committed = match self.db.transaction_with_behavior(TransactionBehavior::Immediate) {
            Ok(sql_tx) => {
                group.fill(&sql_tx, last, (&mut self.queue, &self.aside), &self.dir);
                group.commit(sql_tx, &self.dir)
            }
            Err(error) => {
                group.jobs.extend(std::iter::from_fn(|| self.aside.pop()).take(GROUP_JOBS_MAX).chain(last));
                Err(StorageError::from(error).or_disk_full(&self.dir))
            }
        };
        self.count(&group, committed.is_ok());
        if let Err(error) = &committed {
            tracing::error!(%error, jobs = group.jobs.len(), "Commit failed");
        }
        for job in group.jobs {
            job.answer(committed.clone());
        }
        (!self.aside.is_empty()).then(|| Instant::now() + SOON)
    }

    fn count(&self, group: &Group, committed: bool) {
        let jobs = u64::try_from(group.jobs.len()).unwrap_or(u64::MAX);
        let kept = if committed { group.kept } else { 0 };
        self.counters.commits.fetch_add(u64::from(kept > 0), Ordering::Relaxed);
        self.counters.committed.fetch_add(kept, Ordering::Relaxed);
        self.counters.failed.fetch_add(jobs - kept, Ordering::Relaxed);
        if kept > 0 {
            self.counters.news.send_modify(|jobs| *jobs += kept);
        }
    }
}

/// What the thread does next.
enum Next {
    Message(Message),
    /// The jobs held are due.
    Due,
    /// Nobody can send anything any more.
    Nothing,
}

/// Waits for the queue, but not longer than until `due`.
fn next(queue: &mut mpsc::Receiver<Message>, due: Option<Instant>, clock: &Runtime) -> Next {
    let received = match due {
        None => queue.blocking_recv(),
        Some(due) => match clock.block_on(async { timeout_at(due, queue.recv()).await }) {
            Ok(received) => received,
            Err(_) => return Next::Due,
        },
    };
    received.map_or(Next::Nothing, Next::Message)
}

/// The jobs of one transaction.
#[derive(Default)]
struct Group {
    jobs: Vec<Box<dyn Job>>,
    /// How many of them have writes that stay.
    kept: u64,
    run: usize,
    /// Set when nothing of the transaction can be kept.
    broken: Option<StorageError>,
}

impl Group {
    fn fill(
        &mut self,
        sql_tx: &Transaction<'_>,
        mut last: Option<Box<dyn Job>>,
        (queue, aside): (&mut mpsc::Receiver<Message>, &Aside),
        dir: &Path,
    ) {
        while self.run < GROUP_JOBS_MAX && self.broken.is_none() {
            if let Some(job) = aside.pop().or_else(|| last.take()) {
                self.run_one(sql_tx, job, dir);
                continue;
            }
            match queue.try_recv() {
                Ok(Message::Job(job)) => self.run_one(sql_tx, job, dir),
                Ok(Message::Soon) => {}
                Ok(Message::Close) => queue.close(),
                Err(mpsc::error::TryRecvError::Empty | mpsc::error::TryRecvError::Disconnected) => return,
            }
        }
        match (last, self.broken.clone()) {
            (Some(mut job), Some(error)) => {
                job.fail(error);
                self.jobs.push(job);
            }
            // There were too many before it.
            (Some(job), None) => self.run_one(sql_tx, job, dir),
            (None, _) => {}
        }
    }

    fn run_one(&mut self, sql_tx: &Transaction<'_>, mut job: Box<dyn Job>, dir: &Path) {
        self.run += 1;
        match in_savepoint(sql_tx, || job.run(sql_tx, dir)) {
            Ok(kept) => self.kept += u64::from(kept),
            Err(error) => {
                let error = StorageError::from(error).or_disk_full(dir);
                job.fail(error.clone());
                self.broken = Some(error);
            }
        }
        // After a full disk or an I/O error SQLite may have ended the transaction by itself.
        if sql_tx.is_autocommit() && self.broken.is_none() {
            self.broken = Some(job.error().unwrap_or(StorageError::Refused("it ended the transaction")));
        }
        self.jobs.push(job);
    }

    fn commit(&self, sql_tx: Transaction<'_>, dir: &Path) -> Result<(), StorageError> {
        let ended = match &self.broken {
            // Dropping the transaction rolls it back.
            Some(error) => return Err(error.clone()),
            None if self.kept == 0 => sql_tx.rollback(),
            None => sql_tx.commit(),
        };
        ended.map_err(|error| StorageError::from(error).or_disk_full(dir))
    }
}

/// Keeps what `job` wrote if it returns true, undoes exactly that otherwise.
///
/// After an error it is not known what stays: the transaction must be rolled back.
fn in_savepoint(sql_tx: &Transaction<'_>, job: impl FnOnce() -> bool) -> rusqlite::Result<bool> {
    let run = |sql: &str| sql_tx.prepare_cached(sql)?.execute([]);
    run("SAVEPOINT job")?;
    let keep = job();
    // On a full disk SQLite may have ended the transaction by itself.
    if sql_tx.is_autocommit() {
        return Ok(false);
    }
    if !keep {
        run("ROLLBACK TO job")?;
    }
    run("RELEASE job")?;
    Ok(keep)
}
