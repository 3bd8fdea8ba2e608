//! `trunk_states`: how the trunks are, for whoever looks at the box from outside the daemon.

use rusqlite::{Connection, params};

use crate::storage::{StorageError, UnixMs};

/// A row of `trunk_states`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrunkState {
    /// Its name in the configuration.
    pub trunk: String,
    /// Whether it answers; `None` while nobody has asked.
    pub answers: Option<bool>,
    /// Whether it knows us; `None` where it does not want registrations.
    pub registered: Option<bool>,
    /// When one of the two became another.
    pub changed_at: UnixMs,
}

/// Keeps how a trunk is.
///
/// # Errors
/// Of the database.
pub fn set_trunk_state(sql_tx: &Connection, state: &TrunkState) -> Result<(), StorageError> {
    sql_tx
        .prepare_cached(
            "INSERT INTO trunk_states (trunk, answers, registered, changed_at) VALUES (?1, ?2, ?3, ?4)
             ON CONFLICT (trunk) DO UPDATE SET answers = ?2, registered = ?3, changed_at = ?4",
        )?
        .execute(params![state.trunk, state.answers, state.registered, state.changed_at])?;
    Ok(())
}

/// Nothing is known of any trunk: a new run begins.
///
/// # Errors
/// Of the database.
pub fn forget_trunk_states(sql_tx: &Connection) -> Result<(), StorageError> {
    sql_tx.execute("DELETE FROM trunk_states", [])?;
    Ok(())
}

/// How the trunks are of which something is known, by name.
///
/// # Errors
/// Of the database.
pub fn trunk_states(db: &Connection) -> Result<Vec<TrunkState>, StorageError> {
    let mut statement =
        db.prepare_cached("SELECT trunk, answers, registered, changed_at FROM trunk_states ORDER BY trunk")?;
    let rows = statement.query_map([], |row| {
        let (trunk, answers) = (row.get(0)?, row.get(1)?);
        Ok(TrunkState { trunk, answers, registered: row.get(2)?, changed_at: row.get(3)? })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::{Storage, StorageConfig};

    #[test]
    fn the_latest_state_of_each_trunk_is_kept_until_the_next_run() {
        let folder = tempfile::tempdir().unwrap();
        let storage = Storage::open(&StorageConfig::new(folder.path())).unwrap().storage;
        let state = |trunk: &str, answers, changed_at| TrunkState {
            trunk: trunk.into(),
            answers,
            registered: Some(true),
            changed_at: UnixMs(changed_at),
        };
        for one in [state("b", None, 1), state("a", Some(true), 2), state("b", Some(false), 3)] {
            storage.write_blocking(move |sql_tx| set_trunk_state(sql_tx, &one)).unwrap();
        }
        let kept = storage.read_blocking(trunk_states).unwrap();
        assert_eq!(kept, [state("a", Some(true), 2), state("b", Some(false), 3)]);
        storage.write_blocking(|sql_tx| forget_trunk_states(sql_tx)).unwrap();
        assert_eq!(storage.read_blocking(trunk_states).unwrap(), []);
    }
}
