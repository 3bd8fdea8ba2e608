//! Holds migrations to the rule that they only add: the schema before and after each one is compared.

use std::collections::BTreeMap;

use rusqlite::Connection;

use super::{MIGRATIONS, OLDEST_COMPATIBLE, known_version, migrate_to};

/// Tables, indices and triggers: kind, table they belong to and SQL, by name.
type Schema = BTreeMap<String, (String, String, String)>;

fn schema(db: &Connection) -> Schema {
    let sql = "SELECT name, type, tbl_name, sql FROM sqlite_schema WHERE sql IS NOT NULL";
    let mut statement = db.prepare(sql).unwrap();
    let rows = statement.query_map([], |row| Ok((row.get(0)?, (row.get(1)?, row.get(2)?, row.get(3)?)))).unwrap();
    rows.map(Result::unwrap).collect()
}

/// What a release that knows only `before` would stumble over in `after`.
fn obstacles(before: &Schema, after: &Schema) -> Vec<String> {
    let mut found = Vec::new();
    for (name, (kind, _, sql)) in before {
        match after.get(name) {
            None => found.push(format!("{kind} {name} is gone")),
            Some((_, _, new)) if kind == "table" && !is_extended(sql, new) => {
                found.push(format!("table {name} is not what it was with something added at the end"));
            }
            Some((_, _, new)) if kind != "table" && sql != new => found.push(format!("{kind} {name} has changed")),
            Some(_) => {}
        }
    }
    let of_old_tables =
        after.iter().filter(|(name, (_, table, _))| !before.contains_key(*name) && before.contains_key(table));
    for (name, (kind, table, sql)) in of_old_tables {
        let sql = sql.to_uppercase();
        if sql.starts_with("CREATE UNIQUE INDEX") || (kind == "trigger" && sql.contains("RAISE")) {
            found.push(format!("{kind} {name} may refuse what an older release writes to {table}"));
        }
    }
    found
}

/// Whether the table's definition is the old one with columns added behind the others that an older release need not know.
fn is_extended(before: &str, after: &str) -> bool {
    let body = |sql: &str| sql.trim_end().rsplit_once(')').map(|(body, _)| body.trim_end().to_owned());
    let (Some(before), Some(after)) = (body(before), body(after)) else { return before == after };
    // SQLite puts a new column in front of the constraints of the whole table.
    let added_at = |at: usize| {
        let (first, last) = before.split_at_checked(at)?;
        after.strip_prefix(first)?.strip_suffix(last)
    };
    (0..=before.len()).filter_map(added_at).any(|added| is_harmless(&added.to_uppercase()))
}

fn is_harmless(added: &str) -> bool {
    // A constraint that follows the last column, or one of the whole table, may refuse what an older release writes.
    let only_columns = added.is_empty() || added.trim_start().starts_with(',');
    let constraint = [", CHECK", ", UNIQUE", " UNIQUE", ", FOREIGN KEY"].iter().any(|word| added.contains(word));
    only_columns && !constraint && (!added.contains("NOT NULL") || added.contains("DEFAULT"))
}

#[test]
fn every_migration_after_the_oldest_compatible_format_only_adds() {
    assert_eq!(known_version(), MIGRATIONS.len() as i64);
    assert!(OLDEST_COMPATIBLE < known_version(), "raise it to the newest format but one, never further");
    for version in OLDEST_COMPATIBLE + 1..=known_version() {
        let mut db = Connection::open_in_memory().unwrap();
        migrate_to(&mut db, 0, version - 1).unwrap();
        let before = schema(&db);
        migrate_to(&mut db, version - 1, version).unwrap();
        assert_eq!(obstacles(&before, &schema(&db)), Vec::<String>::new(), "migration {version}");
    }
}

#[test]
fn what_an_older_release_would_stumble_over_is_found() {
    // migration, what is wrong with it
    for (sql, expected) in [
        ("ALTER TABLE calls ADD COLUMN note TEXT", None),
        ("ALTER TABLE calls ADD COLUMN note TEXT NOT NULL DEFAULT ''", None),
        ("CREATE TABLE notes (note TEXT NOT NULL UNIQUE) STRICT", None),
        ("CREATE INDEX calls_by_state ON calls (state)", None),
        ("CREATE TRIGGER noted AFTER INSERT ON calls BEGIN DELETE FROM calls WHERE state = 'x'; END", None),
        ("ALTER TABLE calls DROP COLUMN state", Some("table calls is not what it was")),
        ("ALTER TABLE calls RENAME COLUMN state TO status", Some("table calls is not what it was")),
        ("DROP TABLE calls", Some("table calls is gone")),
        ("ALTER TABLE calls RENAME TO sessions", Some("table calls is gone")),
        ("DROP INDEX calls_by_id", Some("index calls_by_id is gone")),
        ("DROP TRIGGER counted", Some("trigger counted is gone")),
        ("CREATE UNIQUE INDEX one_state ON calls (state)", Some("may refuse what an older release writes")),
        (
            "CREATE TRIGGER strict BEFORE INSERT ON calls BEGIN SELECT RAISE(ABORT, 'no'); END",
            Some("may refuse what an older release writes"),
        ),
        (
            "DROP TABLE calls; CREATE TABLE calls (id TEXT, state TEXT CHECK (state = 'a'))",
            Some("table calls is not what it was"),
        ),
        (
            "DROP TABLE calls; CREATE TABLE calls (id TEXT, state TEXT, note TEXT NOT NULL)",
            Some("table calls is not what it was"),
        ),
    ] {
        let db = Connection::open_in_memory().unwrap();
        db.execute_batch(
            "CREATE TABLE calls (id TEXT, state TEXT); CREATE INDEX calls_by_id ON calls (id);
             CREATE TRIGGER counted AFTER INSERT ON calls BEGIN DELETE FROM calls WHERE id = ''; END",
        )
        .unwrap();
        let before = schema(&db);
        db.execute_batch(sql).unwrap();
        let found = obstacles(&before, &schema(&db));
        match expected {
            None => assert_eq!(found, Vec::<String>::new(), "{sql}"),
            Some(expected) => assert!(found.iter().any(|line| line.contains(expected)), "{sql}: {found:?}"),
        }
    }
}
