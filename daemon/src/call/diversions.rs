//! Who of the office wants no calls, or wants them elsewhere: as dialled on the phone, kept over a restart.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::storage::{Diversion, Storage, StorageError, UnixMs, set_diversion};

/// The diversions of all extensions.
#[derive(Debug, Default)]
pub struct Diversions(Mutex<HashMap<String, Diversion>>);

impl Diversions {
    /// What a restart has found again.
    pub fn new(known: Vec<(String, Diversion)>) -> Diversions {
        Diversions(Mutex::new(known.into_iter().collect()))
    }

    fn table(&self) -> MutexGuard<'_, HashMap<String, Diversion>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What becomes of the extension's calls.
    pub(super) fn of(&self, extension: &str) -> Diversion {
        self.table().get(extension).cloned().unwrap_or_default()
    }

    /// Whether its phones may ring for a group or a queue: somebody who is away or busy takes no part.
    pub(super) fn takes_part(&self, extension: &str) -> bool {
        self.of(extension) == Diversion::default()
    }

    /// Changes what the extension wants; it holds once it is on disk.
    pub(super) async fn change(
        &self,
        storage: &Storage,
        extension: &str,
        change: impl FnOnce(&mut Diversion),
    ) -> Result<(), StorageError> {
        let mut diversion = self.of(extension);
        change(&mut diversion);
        let (row, name) = (diversion.clone(), extension.to_owned());
        storage.write(move |sql_tx| set_diversion(sql_tx, &name, &row, UnixMs::now())).await?;
        self.table().insert(extension.to_owned(), diversion);
        Ok(())
    }
}
