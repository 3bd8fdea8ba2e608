//! Reading beside the writer: a few read-only connections, each read on one consistent snapshot.
//!
//! In WAL mode readers neither wait for the writer nor hold it up; they see what was committed when they began.

use std::{
    path::Path,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use rusqlite::{Connection, OpenFlags};
use tokio::sync::Semaphore;

use super::{
    error::{OpenError, StorageError},
    migrate::{Stamp, known_version},
    open::{BUSY_TIMEOUT, DATABASE_FILE},
};

/// How long a read waits for a connection before it gives up.
const WAIT: Duration = Duration::from_secs(5);

/// A small pool of read-only connections. Cloning shares it. Also for another process, e.g. `offhook calls list`.
#[derive(Clone)]
pub struct Reader {
    pool: Arc<Pool>,
}

struct Pool {
    idle: Mutex<Vec<Connection>>,
    returned: Condvar,
    /// Admits as many async reads as there are connections, so that waiting costs no thread.
    turns: Semaphore,
}

impl Reader {
    /// Opens the database in `dir` for reading with `connections` (at least one) connections.
    ///
    /// # Errors
    /// [`OpenError`]: missing, foreign, of another version, or damaged. Nothing is changed on disk.
    pub fn open(dir: &Path, connections: usize) -> Result<Self, OpenError> {
        let path = dir.join(DATABASE_FILE);
        if !path.exists() {
            return Err(OpenError::Missing { path });
        }
        let idle = (0..connections.max(1)).map(|_| open_one(&path)).collect::<Result<Vec<_>, _>>()?;
        let turns = Semaphore::new(idle.len());
        Ok(Reader { pool: Arc::new(Pool { idle: Mutex::new(idle), returned: Condvar::new(), turns }) })
    }

    /// Runs `query` on a thread for blocking work. Everything it reads belongs to one snapshot.
    ///
    /// # Errors
    /// What `query` returns; [`StorageError::ReadersBusy`] after 5 s; [`StorageError::JobPanicked`].
    pub async fn read<T, F>(&self, query: F) -> Result<T, StorageError>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T, StorageError> + Send + 'static,
    {
        let turn = tokio::time::timeout(WAIT, self.pool.turns.acquire()).await;
        let Ok(Ok(_turn)) = turn else { return Err(busy()) };
        let reader = self.clone();
        tokio::task::spawn_blocking(move || reader.read_blocking(query)).await.unwrap_or(Err(StorageError::JobPanicked))
    }

    /// Runs `query` on this thread. Not for async threads: it waits for a connection and for the disk.
    ///
    /// # Errors
    /// As [`read`](Reader::read).
    pub fn read_blocking<T>(
        &self,
        query: impl FnOnce(&Connection) -> Result<T, StorageError>,
    ) -> Result<T, StorageError> {
        let lease = self.lease()?;
        let snapshot = lease.db.as_ref().ok_or_else(busy)?.unchecked_transaction()?;
        query(&snapshot)
    }

    /// Runs `work` on every connection that is not in use.
    pub(super) fn on_each(&self, work: impl Fn(&Connection) -> Result<(), StorageError>) -> Result<(), StorageError> {
        self.pool.idle().iter().try_for_each(work)
    }

    fn lease(&self) -> Result<Lease<'_>, StorageError> {
        let waited = self.pool.returned.wait_timeout_while(self.pool.idle(), WAIT, |idle| idle.is_empty());
        let (mut idle, _) = waited.unwrap_or_else(PoisonError::into_inner);
        let db = idle.pop().ok_or_else(busy)?;
        Ok(Lease { db: Some(db), pool: &self.pool })
    }
}

impl Pool {
    fn idle(&self) -> MutexGuard<'_, Vec<Connection>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn busy() -> StorageError {
    StorageError::ReadersBusy(u64::try_from(WAIT.as_millis()).unwrap_or(u64::MAX))
}

/// A connection on loan; it goes back also when the query panics.
struct Lease<'a> {
    db: Option<Connection>,
    pool: &'a Pool,
}

impl Drop for Lease<'_> {
    fn drop(&mut self) {
        if let Some(db) = self.db.take() {
            self.pool.idle().push(db);
            self.pool.returned.notify_one();
        }
    }
}

fn open_one(path: &Path) -> Result<Connection, OpenError> {
    let sql = |source| OpenError::Sql { path: path.to_owned(), source };
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let db = Connection::open_with_flags(path, flags).map_err(sql)?;
    db.busy_timeout(BUSY_TIMEOUT).map_err(sql)?;
    db.pragma_update(None, "query_only", true).map_err(sql)?;
    let stamp = Stamp::read(&db).map_err(sql)?;
    let (found, known) = (stamp.user_version, known_version());
    if stamp.is_foreign() {
        return Err(OpenError::NotOurs { path: path.to_owned(), found: stamp.application_id });
    }
    if found < known {
        return Err(OpenError::NotMigrated { path: path.to_owned(), found, known });
    }
    if stamp.is_too_new() {
        return Err(OpenError::Newer { path: path.to_owned(), found, known });
    }
    Ok(db)
}
