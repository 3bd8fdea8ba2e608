//! `diversions`: which extensions do not want their calls, and where those go.

use rusqlite::{Connection, params};

use crate::storage::{StorageError, UnixMs};

/// What becomes of an extension's calls before its phones would ring.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Diversion {
    /// Its phones are silent.
    pub do_not_disturb: bool,
    /// What is dialled instead of it, as its phone would.
    pub forward_to: Option<String>,
}

/// Keeps what `extension` wants from now on.
///
/// # Errors
/// [`StorageError`] when it cannot be written.
pub fn set_diversion(
    sql_tx: &Connection,
    extension: &str,
    diversion: &Diversion,
    at: UnixMs,
) -> Result<(), StorageError> {
    sql_tx
        .prepare_cached(
            "INSERT INTO diversions (extension, do_not_disturb, forward_to, updated_at) VALUES (?1, ?2, ?3, ?4)
             ON CONFLICT (extension) DO UPDATE SET do_not_disturb = ?2, forward_to = ?3, updated_at = ?4",
        )?
        .execute(params![extension, diversion.do_not_disturb, diversion.forward_to, at])?;
    Ok(())
}

/// What every extension wants that ever wanted something.
///
/// # Errors
/// [`StorageError`] when it cannot be read.
pub fn diversions(db: &Connection) -> Result<Vec<(String, Diversion)>, StorageError> {
    let mut statement = db.prepare_cached("SELECT extension, do_not_disturb, forward_to FROM diversions")?;
    let rows = statement
        .query_map([], |row| Ok((row.get(0)?, Diversion { do_not_disturb: row.get(1)?, forward_to: row.get(2)? })))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::{Storage, StorageConfig};

    #[test]
    fn the_latest_wish_of_an_extension_is_found_again() {
        let folder = tempfile::tempdir().unwrap();
        let storage = Storage::open(&StorageConfig::new(folder.path())).unwrap().storage;
        let forwarded = Diversion { do_not_disturb: false, forward_to: Some("102".into()) };
        let silent = Diversion { do_not_disturb: true, forward_to: None };
        for (at, wish) in [(1, forwarded), (2, silent.clone())] {
            storage.write_blocking(move |sql_tx| set_diversion(sql_tx, "101", &wish, UnixMs(at))).unwrap();
        }
        assert_eq!(storage.read_blocking(diversions).unwrap(), [("101".to_owned(), silent)]);
    }
}
