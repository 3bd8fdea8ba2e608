//! What the box remembers: calls, turns, metrics, recordings, voicemails, knowledge, and what is still to be done, in one
//! SQLite file.
//!
//! ```text
//! write(job) ──► bounded queue ──► writer thread, group commit ──► offhook.db (WAL, synchronous=FULL)
//! read(query) ◄── read-only connections, one snapshot each ◄───────┘      │ triggers
//!                                                                    change_log ──► sync, standby, backup
//! ```
//! One file per record kind under `records`; their functions take a connection, so that a job composes several of them
//! into one transaction and a test needs no thread:
//!
//! ```no_run
//! # async fn answered(storage: daemon::storage::Storage, call_id: daemon::storage::CallId)
//! # -> Result<(), daemon::storage::StorageError> {
//! use daemon::storage::{UnixMs, mark_answered};
//! let at = UnixMs::now();
//! storage.write(move |sql_tx| mark_answered(sql_tx, call_id, at)).await
//! # }
//! ```
//! SQL types stop here: rows go in and out as the structs of `records`.
//!
//! Left out on purpose: an ORM, write connections for anybody else, and any retry (callers decide what a full disk
//! means for a call).

mod audio_files;
mod error;
mod ids;
mod migrate;
mod open;
mod reader;
mod records;
mod talk;
#[cfg(test)]
mod tests;
mod text_enum;
mod writer;

use std::{
    path::{Path, PathBuf},
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
    thread::JoinHandle,
};

use rusqlite::{Connection, Transaction};
use tokio::sync::{mpsc, oneshot, watch};

pub use audio_files::{
    AudioFiles, FinishedRecording, NewAudio, PartialRecording, PlainWav, RECORDING_SAMPLE_RATE, Sealer,
};
pub use error::{OpenError, StorageError, free_bytes};
pub use ids::{
    AbsenceId, CallId, ContactId, DocumentId, EscalationId, FollowUpId, JobId, MetricsId, NotificationId, PassageId,
    PersonId, RecordingId, TextId, TurnId, UnixMs, VerdictId, VoicemailId,
};
pub(crate) use open::DATABASE_FILE;
pub use open::SetAside;
pub use reader::Reader;
pub use records::*;
pub use writer::WriterStats;

use writer::{Aside, Counters, Job, Message, Writer, awaited, posted};

/// Where the database lies and how much may wait for it.
#[derive(Debug, Clone)]
pub struct StorageConfig {
    /// The data folder; made if missing.
    pub dir: PathBuf,
    /// Read-only connections, at least 1.
    pub readers: usize,
    /// Jobs that may wait for the writer, at least 1.
    pub queue_jobs: usize,
}

impl StorageConfig {
    /// `dir` with four readers and room for 1024 jobs: some seconds of 300 calls even if one flush takes a second.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        StorageConfig { dir: dir.into(), readers: 4, queue_jobs: 1_024 }
    }
}

/// The storage of this process. Cloning shares it; the last clone to go ends the writer after its queue is empty.
#[derive(Clone)]
pub struct Storage {
    shared: Arc<Shared>,
}

/// Dropped in this order: closing the queue is what ends the writer, which `writer` then waits for.
struct Shared {
    queue: mpsc::Sender<Message>,
    aside: Arc<Aside>,
    writer: JoinOnDrop,
    reader: Reader,
    counters: Arc<Counters>,
    dir: PathBuf,
}

/// An opened storage, and whether it had to start afresh.
pub struct Opened {
    /// Ready for use.
    pub storage: Storage,
    /// Set if the database was damaged: tell the owner.
    pub set_aside: Option<SetAside>,
}

impl Storage {
    /// Opens the database in `config.dir`, makes or migrates it, and starts the writer. A damaged database is moved
    /// aside, never deleted, and a fresh one begun: the box must pick up. Blocks; call it before the daemon is ready.
    ///
    /// # Errors
    /// [`OpenError`], in particular a database in use, of a newer release, or of another program.
    pub fn open(config: &StorageConfig) -> Result<Opened, OpenError> {
        let opened = open::open_for_writing(&config.dir)?;
        let storage = Self::start(config, opened.db, opened.lock)?;
        Ok(Opened { storage, set_aside: opened.set_aside })
    }

    fn start(config: &StorageConfig, db: Connection, lock: std::fs::File) -> Result<Storage, OpenError> {
        let reader = Reader::open(&config.dir, config.readers)?;
        let (queue, receiver) = mpsc::channel(config.queue_jobs.max(1));
        let counters = Arc::new(Counters::default());
        let dir = config.dir.clone();
        let aside = Arc::new(Aside::new(config.queue_jobs.max(1)));
        let writer = Writer {
            db,
            queue: receiver,
            aside: Arc::clone(&aside),
            counters: Arc::clone(&counters),
            dir: dir.clone(),
            lock,
        };
        let thread = writer.spawn().map_err(|source| OpenError::File { path: dir.clone(), source })?;
        let writer = JoinOnDrop(Mutex::new(Some(thread)));
        Ok(Storage { shared: Arc::new(Shared { queue, aside, writer, reader, counters, dir }) })
    }

    /// Runs `job` in the next transaction and returns once that is on disk. Waits while the queue is full.
    ///
    /// If this future is dropped while it waits for the answer, the job still runs.
    ///
    /// # Errors
    /// What `job` returns (its writes are undone), or why the commit failed, e.g. [`StorageError::DiskFull`].
    pub async fn write<T, F>(&self, job: F) -> Result<T, StorageError>
    where
        T: Send + 'static,
        F: FnOnce(&Transaction<'_>) -> Result<T, StorageError> + Send + 'static,
    {
        let (job, answer) = awaited(job);
        self.shared.queue.send(Message::Job(job)).await.map_err(|_| StorageError::Closed)?;
        Pending { answer }.await
    }

    /// As [`write`](Storage::write), for threads without an async runtime.
    ///
    /// # Errors
    /// As [`write`](Storage::write).
    ///
    /// # Panics
    /// On an async worker thread, as tokio's blocking calls do: it would stall every call there.
    pub fn write_blocking<T, F>(&self, job: F) -> Result<T, StorageError>
    where
        T: Send + 'static,
        F: FnOnce(&Transaction<'_>) -> Result<T, StorageError> + Send + 'static,
    {
        let (job, answer) = awaited(job);
        self.shared.queue.blocking_send(Message::Job(job)).map_err(|_| StorageError::Closed)?;
        Pending { answer }.wait()
    }

    /// Queues `job` to be on disk with the next [`write`](Storage::write), or 50 ms later: for what was promised to nobody.
    /// Waits while the queue is full; the returned [`Pending`] may be awaited or dropped.
    ///
    /// # Errors
    /// [`StorageError::Closed`]: the job was not taken.
    pub async fn write_soon<T, F>(&self, job: F) -> Result<Pending<T>, StorageError>
    where
        T: Send + 'static,
        F: FnOnce(&Transaction<'_>) -> Result<T, StorageError> + Send + 'static,
    {
        let (job, answer) = awaited(job);
        self.lay_aside(job).await?;
        Ok(Pending { answer })
    }

    /// As [`write_soon`](Storage::write_soon) for what nobody asks about: that the row of `what` could not be written
    /// stands in the log. Waits while the queue is full.
    pub async fn post<F>(&self, what: &'static str, job: F)
    where
        F: FnOnce(&Transaction<'_>) -> Result<(), StorageError> + Send + 'static,
    {
        if let Err(error) = self.lay_aside(posted(what, job)).await {
            tracing::warn!(%error, what, "Row not written");
        }
    }

    /// As [`post`](Storage::post), without waiting for anything: with a full queue the row is lost.
    pub fn try_post<F>(&self, what: &'static str, job: F)
    where
        F: FnOnce(&Transaction<'_>) -> Result<(), StorageError> + Send + 'static,
    {
        let laid = self.shared.aside.lay(posted(what, job), &self.shared.queue);
        let failed = laid.map_or_else(Some, |left| left.map(|_| StorageError::QueueFull));
        if let Some(error) = failed {
            tracing::warn!(%error, what, "Row not written");
        }
    }

    async fn lay_aside(&self, job: Box<dyn Job>) -> Result<(), StorageError> {
        let Some(job) = self.shared.aside.lay(job, &self.shared.queue)? else { return Ok(()) };
        self.shared.queue.send(Message::Job(job)).await.map_err(|_| StorageError::Closed)
    }

    /// As [`write_soon`](Storage::write_soon), without waiting for anything.
    ///
    /// # Errors
    /// [`StorageError::QueueFull`] or [`StorageError::Closed`]: the job was not taken.
    pub fn try_write<T, F>(&self, job: F) -> Result<Pending<T>, StorageError>
    where
        T: Send + 'static,
        F: FnOnce(&Transaction<'_>) -> Result<T, StorageError> + Send + 'static,
    {
        let (job, answer) = awaited(job);
        match self.shared.aside.lay(job, &self.shared.queue)? {
            None => Ok(Pending { answer }),
            Some(_) => Err(StorageError::QueueFull),
        }
    }

    /// Runs `query` off the async threads on one consistent snapshot of what is committed.
    ///
    /// # Errors
    /// As [`Reader::read`].
    pub async fn read<T, F>(&self, query: F) -> Result<T, StorageError>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T, StorageError> + Send + 'static,
    {
        self.shared.reader.read(query).await
    }

    /// As [`read`](Storage::read), on this thread.
    ///
    /// # Errors
    /// As [`Reader::read`].
    pub fn read_blocking<T>(
        &self,
        query: impl FnOnce(&Connection) -> Result<T, StorageError>,
    ) -> Result<T, StorageError> {
        self.shared.reader.read_blocking(query)
    }

    /// The read side alone.
    pub fn reader(&self) -> &Reader {
        &self.shared.reader
    }

    /// Lets go of the pages that are kept to be faster: they are read again when they are needed. For a box without calls;
    /// blocks for some milliseconds.
    pub fn rest_blocking(&self) {
        let shrink = |db: &Connection| Ok(db.execute_batch("PRAGMA shrink_memory")?);
        let writer = self.write_blocking(move |sql_tx| shrink(sql_tx));
        let readers = self.shared.reader.on_each(shrink);
        if let Err(error) = writer.and(readers) {
            tracing::debug!(%error, "Pages kept");
        }
    }

    /// The data folder.
    pub fn dir(&self) -> &Path {
        &self.shared.dir
    }

    /// Changes with every commit: for whoever sends on what was written.
    pub fn commits(&self) -> watch::Receiver<u64> {
        self.shared.counters.subscribe()
    }

    /// Counts since the start.
    pub fn stats(&self) -> WriterStats {
        self.shared.counters.snapshot()
    }

    /// Commits what is queued, checkpoints and ends the writer; later writes get [`StorageError::Closed`].
    /// Calling it twice is harmless.
    pub async fn close(&self) {
        // An error means it is closed already.
        let _ = self.shared.queue.send(Message::Close).await;
        let storage = self.clone();
        let _ = tokio::task::spawn_blocking(move || storage.shared.writer.join()).await;
    }

    /// As [`close`](Storage::close), for threads without an async runtime.
    ///
    /// # Panics
    /// On an async worker thread.
    pub fn close_blocking(&self) {
        let _ = self.shared.queue.blocking_send(Message::Close);
        self.shared.writer.join();
    }
}

/// The answer to a queued job: a future, or [`wait`](Pending::wait).
#[must_use = "the answer says whether the row is on disk"]
pub struct Pending<T> {
    answer: oneshot::Receiver<Result<T, StorageError>>,
}

impl<T> Pending<T> {
    /// Blocks until the job is on disk or has failed.
    ///
    /// # Errors
    /// As [`Storage::write`].
    ///
    /// # Panics
    /// On an async worker thread.
    pub fn wait(self) -> Result<T, StorageError> {
        self.answer.blocking_recv().unwrap_or(Err(StorageError::Closed))
    }
}

impl<T> Future for Pending<T> {
    type Output = Result<T, StorageError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.answer).poll(context).map(|answer| answer.unwrap_or(Err(StorageError::Closed)))
    }
}

/// Waits for the writer thread, once.
struct JoinOnDrop(Mutex<Option<JoinHandle<()>>>);

impl JoinOnDrop {
    fn join(&self) {
        let mut thread = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(thread) = thread.take()
            && thread.join().is_err()
        {
            tracing::error!("The storage writer panicked");
        }
    }
}

impl Drop for JoinOnDrop {
    fn drop(&mut self) {
        self.join();
    }
}
