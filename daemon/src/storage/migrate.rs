//! Bringing a database up to the format this release writes.
//!
//! Each migration is one SQL file, applied in one transaction together with its `user_version`: a box that loses power
//! in between finds the step either done or not begun. There are no downgrades.
//!
//! **Expand-only for one release.** An update that does not pass its health check is left again by the boot loader, and
//! the release before it then meets the database the newer one has migrated. So a migration only adds: tables, columns
//! that may be NULL or have a default, indices that are not unique, triggers that refuse nothing. What is no longer used
//! is removed one release after the last one that used it; then [`OLDEST_COMPATIBLE`] is raised to the format that
//! removes it. Each database says in `schema_compatibility` from which format on a release can work with it, and a
//! release refuses only what names a format it does not know. `expansion` holds every migration to this by a test.

use rusqlite::{Connection, OptionalExtension as _, TransactionBehavior};

/// `PRAGMA application_id` of our databases: "OffH".
pub(super) const APPLICATION_ID: i64 = 0x4F66_6648;

/// The SQL of migration N is at index N - 1; `user_version` is the number of those that were applied.
const MIGRATIONS: &[&str] = &[
    include_str!("migrations/0001_calls.sql"),
    include_str!("migrations/0002_knowledge.sql"),
    include_str!("migrations/0003_registrations.sql"),
    include_str!("migrations/0004_diversions.sql"),
    include_str!("migrations/0005_trunk_states.sql"),
    include_str!("migrations/0006_metrics_coalesced.sql"),
    include_str!("migrations/0007_recording_sides.sql"),
    include_str!("migrations/0008_tool_times.sql"),
    include_str!("migrations/0009_notices.sql"),
    include_str!("migrations/0010_people.sql"),
    include_str!("migrations/0011_heard_again.sql"),
    include_str!("migrations/0012_mailboxes.sql"),
    include_str!("migrations/0013_follow_through.sql"),
    include_str!("migrations/0014_sync.sql"),
    include_str!("migrations/0015_fleet.sql"),
    include_str!("migrations/0016_blobs.sql"),
];

/// The format this release reads and writes.
pub(super) fn known_version() -> i64 {
    i64::try_from(MIGRATIONS.len()).unwrap_or(i64::MAX)
}

/// The oldest format whose release still works with a database of this release. Migrations after it only add.
const OLDEST_COMPATIBLE: i64 = 1;

/// What a database file says about itself.
pub(super) struct Stamp {
    /// `PRAGMA application_id`; 0 in a fresh file.
    pub(super) application_id: i64,
    /// `PRAGMA user_version`; 0 in a fresh file.
    pub(super) user_version: i64,
    /// The oldest format whose release can work with it.
    pub(super) oldest_compatible: i64,
    /// No table yet.
    pub(super) empty: bool,
}

impl Stamp {
    /// Reads it. Also the first access to the file: a damaged header shows here.
    pub(super) fn read(db: &Connection) -> rusqlite::Result<Self> {
        let user_version = db.query_row("PRAGMA user_version", [], |row| row.get(0))?;
        Ok(Stamp {
            application_id: db.query_row("PRAGMA application_id", [], |row| row.get(0))?,
            user_version,
            oldest_compatible: oldest_compatible(db)?.unwrap_or(user_version),
            empty: db.query_row("SELECT count(*) = 0 FROM sqlite_schema", [], |row| row.get(0))?,
        })
    }

    /// A database of another program.
    pub(super) fn is_foreign(&self) -> bool {
        self.application_id != APPLICATION_ID && !(self.application_id == 0 && self.empty)
    }

    /// Of a newer release that has removed something this one needs.
    pub(super) fn is_too_new(&self) -> bool {
        self.user_version > known_version() && self.oldest_compatible > known_version()
    }
}

/// None in a database that no release with updates has migrated yet.
fn oldest_compatible(db: &Connection) -> rusqlite::Result<Option<i64>> {
    let noted = "SELECT count(*) > 0 FROM sqlite_schema WHERE name = 'schema_compatibility'";
    if !db.query_row(noted, [], |row| row.get(0))? {
        return Ok(None);
    }
    db.query_row("SELECT oldest_format FROM schema_compatibility", [], |row| row.get(0)).optional()
}

/// Not a numbered migration, because a release has to understand it before it knows any of them.
fn note_compatibility(db: &Connection, version: i64) -> rusqlite::Result<()> {
    db.execute_batch(
        "CREATE TABLE IF NOT EXISTS schema_compatibility (
            only_row      INTEGER PRIMARY KEY CHECK (only_row = 1),
            oldest_format INTEGER NOT NULL
        ) STRICT",
    )?;
    let oldest = OLDEST_COMPATIBLE.min(version);
    db.execute("INSERT OR REPLACE INTO schema_compatibility (only_row, oldest_format) VALUES (1, ?1)", [oldest])?;
    Ok(())
}

/// Applies what is missing. The caller has refused foreign and newer files.
pub(super) fn migrate(db: &mut Connection, from: i64) -> rusqlite::Result<()> {
    migrate_to(db, from, known_version())
}

fn migrate_to(db: &mut Connection, from: i64, to: i64) -> rusqlite::Result<()> {
    for (sql, version) in MIGRATIONS.iter().zip(1..=to).skip_while(|(_, version)| *version <= from) {
        let sql_tx = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
        sql_tx.execute_batch(sql)?;
        note_compatibility(&sql_tx, version)?;
        sql_tx.pragma_update(None, "application_id", APPLICATION_ID)?;
        sql_tx.pragma_update(None, "user_version", version)?;
        sql_tx.commit()?;
        tracing::info!(version, "Database migrated");
    }
    Ok(())
}

#[cfg(test)]
mod expansion;

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
                db.prepare("SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL AND name <> 'schema_compatibility' ORDER BY name").unwrap();
            statement.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
        };
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("fixture.db");
        write_version_1(&path);
        let mut fresh = Connection::open_in_memory().unwrap();
        migrate_to(&mut fresh, 0, 1).unwrap();
        assert_eq!(schema(&Connection::open(path).unwrap()), schema(&fresh));
    }

    /// A database of format `known + 1`, made by a release that says which format its predecessors must know.
    fn write_next_version(path: &std::path::Path, oldest_format: i64) {
        let db = Connection::open(path).unwrap();
        db.execute_batch("ALTER TABLE call_sessions ADD COLUMN mood TEXT; CREATE TABLE moods (mood TEXT) STRICT")
            .unwrap();
        db.execute("UPDATE schema_compatibility SET oldest_format = ?1", [oldest_format]).unwrap();
        db.pragma_update(None, "user_version", known_version() + 1).unwrap();
    }

    /// The boot loader went back to this release after a newer one had migrated the database: calls go on.
    #[test]
    fn a_database_expanded_by_a_newer_release_is_used_as_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(DATABASE_FILE);
        write_version_1(&path);
        drop(Storage::open(&StorageConfig::new(dir.path())).unwrap());
        write_next_version(&path, known_version());
        let storage = Storage::open(&StorageConfig::new(dir.path())).unwrap().storage;
        let calls = storage.read_blocking(|db| list_sessions(db, 10, None)).unwrap();
        let at = crate::storage::UnixMs(1);
        let call_id = crate::storage::CallId::new(at);
        let new = crate::storage::NewSession {
            call_id,
            direction: crate::storage::Direction::Inbound,
            trunk: "direct".into(),
            peer_address_kind: crate::storage::PeerAddressKind::Private,
            caller_id: None,
            called: None,
            sip_call_id: "sip".into(),
            started_at: at,
        };
        storage.write_blocking(move |sql_tx| crate::storage::insert_session(sql_tx, &new)).unwrap();
        let version = storage.read_blocking(|db| Ok(Stamp::read(db)?.user_version)).unwrap();
        assert_eq!((calls.len(), version), (1, known_version() + 1), "not turned back");
        crate::storage::Reader::open(dir.path(), 1).unwrap();
    }

    /// Refused with both numbers in the message, and not one byte of it changes.
    #[test]
    fn newer_database_is_refused_unchanged() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(DATABASE_FILE);
        drop(Storage::open(&StorageConfig::new(dir.path())).unwrap());
        write_next_version(&path, known_version() + 1);
        let before = std::fs::read(&path).unwrap();
        let error = Storage::open(&StorageConfig::new(dir.path())).err().unwrap();
        let (known, next) = (known_version(), known_version() + 1);
        assert!(
            matches!(&error, OpenError::Newer { found, known: ours, .. } if (*found, *ours) == (next, known)),
            "{error}"
        );
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
