//! Bringing a database up to the format this release writes.
//!
//! Each migration is one SQL file, applied in one transaction together with its `user_version`: a box that loses power
//! in between finds the step either done or not begun. Migrations only add tables, columns and indices (expand-only).
//! There are no downgrades: a newer file is refused unchanged.

use rusqlite::{Connection, TransactionBehavior};

/// `PRAGMA application_id` of our databases: "OffH".
pub(super) const APPLICATION_ID: i64 = 0x4F66_6648;

/// The SQL of migration N is at index N - 1; `user_version` is the number of those that were applied.
const MIGRATIONS: &[&str] = &[include_str!("migrations/0001_calls.sql"), include_str!("migrations/0002_knowledge.sql")];

/// The format this release reads and writes.
pub(super) fn known_version() -> i64 {
    i64::try_from(MIGRATIONS.len()).unwrap_or(i64::MAX)
}

/// What a database file says about itself.
pub(super) struct Stamp {
    /// `PRAGMA application_id`; 0 in a fresh file.
    pub(super) application_id: i64,
    /// `PRAGMA user_version`; 0 in a fresh file.
    pub(super) user_version: i64,
    /// No table yet.
    pub(super) empty: bool,
}

impl Stamp {
    /// Reads it. Also the first access to the file: a damaged header shows here.
    pub(super) fn read(db: &Connection) -> rusqlite::Result<Self> {
        Ok(Stamp {
            application_id: db.query_row("PRAGMA application_id", [], |row| row.get(0))?,
            user_version: db.query_row("PRAGMA user_version", [], |row| row.get(0))?,
            empty: db.query_row("SELECT count(*) = 0 FROM sqlite_schema", [], |row| row.get(0))?,
        })
    }

    /// A database of another program.
    pub(super) fn is_foreign(&self) -> bool {
        self.application_id != APPLICATION_ID && !(self.application_id == 0 && self.empty)
    }
}

/// Applies what is missing. The caller has refused foreign and newer files.
pub(super) fn migrate(db: &mut Connection, from: i64) -> rusqlite::Result<()> {
    migrate_to(db, from, known_version())
}

fn migrate_to(db: &mut Connection, from: i64, to: i64) -> rusqlite::Result<()> {
    for (sql, version) in MIGRATIONS.iter().zip(1..=to).skip_while(|(_, version)| *version <= from) {
        let sql_tx = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
        sql_tx.execute_batch(sql)?;
        sql_tx.pragma_update(None, "application_id", APPLICATION_ID)?;
        sql_tx.pragma_update(None, "user_version", version)?;
        sql_tx.commit()?;
        tracing::info!(version, "Database migrated");
    }
    Ok(())
}
