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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::{
        OpenError, Storage, StorageConfig, list_sessions, open::DATABASE_FILE, passage_count, turns_of,
    };

    /// A database as release 0 wrote it: format 1, with a call in it.
    fn write_version_1(path: &std::path::Path) {
        let db = Connection::open(path).unwrap();
        db.execute_batch(include_str!("migrations/fixtures/version_1.sql")).unwrap();
    }

    #[test]
    fn older_database_is_migrated_with_its_rows() {
        let dir = tempfile::tempdir().unwrap();
        write_version_1(&dir.path().join(DATABASE_FILE));
        let opened = Storage::open(&StorageConfig::new(dir.path())).unwrap();
        assert_eq!(opened.set_aside, None);
        let storage = opened.storage;
        storage
            .read_blocking(|db| {
                let calls = list_sessions(db, 10, None)?;
                assert_eq!(calls.len(), 1);
                assert_eq!(turns_of(db, calls[0].call_id)?[0].text.reveal(), "Guten Tag, haben Sie morgen offen?");
                assert_eq!(passage_count(db)?, 0, "the new tables are there");
                assert_eq!(Stamp::read(db)?.user_version, known_version());
                Ok(())
            })
            .unwrap();
    }

    /// The fixture is really format 1, not a copy of today's: it has what migration 1 made and nothing later.
    #[test]
    fn fixture_equals_migration_1() {
        let schema = |db: &Connection| -> Vec<String> {
            let mut statement =
                db.prepare("SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL ORDER BY name").unwrap();
            statement.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
        };
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("fixture.db");
        write_version_1(&path);
        let mut fresh = Connection::open_in_memory().unwrap();
        migrate_to(&mut fresh, 0, 1).unwrap();
        assert_eq!(schema(&Connection::open(path).unwrap()), schema(&fresh));
    }

    /// Refused with both numbers in the message, and not one byte of it changes.
    #[test]
    fn newer_database_is_refused_unchanged() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(DATABASE_FILE);
        drop(Storage::open(&StorageConfig::new(dir.path())).unwrap());
        let db = Connection::open(&path).unwrap();
        db.pragma_update(None, "user_version", known_version() + 1).unwrap();
        drop(db);
        let before = std::fs::read(&path).unwrap();
        let error = Storage::open(&StorageConfig::new(dir.path())).err().unwrap();
        assert!(matches!(&error, OpenError::Newer { found: 3, known: 2, .. }), "{error}");
        assert!(error.to_string().contains("Nothing was changed"), "{error}");
        assert_eq!(std::fs::read(&path).unwrap(), before);
    }

    #[test]
    fn database_of_another_program_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(DATABASE_FILE);
        Connection::open(&path).unwrap().execute_batch("CREATE TABLE theirs (x); PRAGMA application_id = 77").unwrap();
        let error = Storage::open(&StorageConfig::new(dir.path())).err().unwrap();
        assert!(matches!(error, OpenError::NotOurs { found: 77, .. }), "{error}");
    }

    /// A step that fails half-way leaves the version and the tables as they were.
    #[test]
    fn failed_migration_changes_nothing() {
        let mut db = Connection::open_in_memory().unwrap();
        migrate_to(&mut db, 0, 1).unwrap();
        db.execute_batch("CREATE TABLE knowledge_passages (in_the_way)").unwrap();
        assert!(migrate_to(&mut db, 1, 2).is_err());
        let stamp = Stamp::read(&db).unwrap();
        assert_eq!((stamp.user_version, stamp.application_id), (1, APPLICATION_ID));
        let documents: i64 = db
            .query_row("SELECT count(*) FROM sqlite_schema WHERE name = 'knowledge_documents'", [], |row| row.get(0))
            .unwrap();
        assert_eq!(documents, 0);
    }
}
