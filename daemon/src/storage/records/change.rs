//! `change_log`: which rows changed, in commit order. Written by triggers only; read by sync, standby and backup.

use rusqlite::{Connection, params};

use crate::storage::{StorageError, text_enum::text_enum};

text_enum! {
    /// What happened to a row.
    ChangeOp {
        /// It is new.
        Insert = "insert",
        /// It changed.
        Update = "update",
        /// It is gone.
        Delete = "delete",
    }
}

/// An entry of `change_log`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Grows with every change and is never used again.
    pub seq: i64,
    /// Name of the table.
    pub table: String,
    /// The row's key.
    pub key: String,
    /// What happened.
    pub op: ChangeOp,
}

/// At most `limit` changes after `seq` (0 for all), oldest first.
///
/// # Errors
/// [`StorageError::Sql`].
pub fn changes_after(db: &Connection, seq: i64, limit: u32) -> Result<Vec<Change>, StorageError> {
    let mut statement =
        db.prepare_cached("SELECT seq, table_name, row_key, op FROM change_log WHERE seq > ?1 ORDER BY seq LIMIT ?2")?;
    let rows = statement.query_map(params![seq, limit], |row| {
        Ok(Change { seq: row.get(0)?, table: row.get(1)?, key: row.get(2)?, op: row.get(3)? })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}
