//! Questions whose answers may be a moment old go to a streaming replica, so that whoever looks at calls does not slow those down
//! that are being taken. Whatever a decision rests on is asked of the primary: what a replica does not have yet may be there.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::{AnyStore, Postgres, StoreError};
use crate::clock;

/// A replica that has failed is left alone for so long: each try may wait for a connection that does not come.
const AWAY: Duration = Duration::from_secs(10);

/// Another server with the same rows, a little later.
#[derive(Debug)]
pub(super) struct Replica {
    store: AnyStore,
    away_until: Mutex<Option<Instant>>,
}

impl Replica {
    pub(super) fn new(store: Postgres) -> Self {
        Replica { store: AnyStore::Postgres(Box::new(store)), away_until: Mutex::default() }
    }

    fn is_away(&self) -> bool {
        self.away_until.lock().unwrap_or_else(PoisonError::into_inner).is_some_and(|until| clock::now() < until)
    }

    fn note_away(&self) {
        *self.away_until.lock().unwrap_or_else(PoisonError::into_inner) = Some(clock::now() + AWAY);
    }
}

impl AnyStore {
    /// Asks the replica, if there is one, and the primary where that cannot answer: it is away, behind with the format of the
    /// tables, or has to undo what the question looks at. For questions only: a replica changes nothing.
    ///
    /// # Errors
    /// What the primary says.
    pub fn queried<T>(&self, ask: impl Fn(&AnyStore) -> Result<T, StoreError>) -> Result<T, StoreError> {
        let replica = match self {
            AnyStore::Sqlite(_) => None,
            AnyStore::Postgres(store) => store.replica(),
        };
        if let Some(replica) = replica.filter(|replica| !replica.is_away()) {
            match ask(&replica.store) {
                Ok(answer) => return Ok(answer),
                Err(error) => {
                    tracing::warn!(%error, "The replica does not answer; the primary is asked");
                    replica.note_away();
                }
            }
        }
        ask(self)
    }
}
