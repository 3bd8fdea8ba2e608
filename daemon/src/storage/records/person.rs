//! `people` and `absences`: who was imported, and who is away when.

use rusqlite::{Connection, Row, params};

use super::one_row;
use crate::redact::Redacted;
use crate::storage::{AbsenceId, PersonId, StorageError, UnixMs};

/// Somebody of `people`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PersonRow {
    /// As written and spoken; there is one of each name.
    pub name: String,
    /// The department they belong to.
    pub department: Option<String>,
    /// Their phone in the office.
    pub extension: Option<String>,
    /// E.164 with +.
    pub mobile: Option<Redacted<String>>,
    /// Where notices to them go.
    pub email: Option<Redacted<String>>,
    /// When they work, if not when the office is open: `mon-fri 09:00-17:00`.
    pub hours: Option<String>,
}

/// A row of `absences`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AbsenceRow {
    /// Key.
    pub absence_id: AbsenceId,
    /// Whose.
    pub person: String,
    /// From this moment.
    pub from_at: UnixMs,
    /// Until this one, when they are there again.
    pub until_at: UnixMs,
}

/// Keeps an imported person; what is `None` stays as it was. An unchanged person is no change.
///
/// # Errors
/// [`StorageError::Sql`].
pub fn set_person(sql_tx: &Connection, person: &PersonRow, at: UnixMs) -> Result<(), StorageError> {
    let PersonRow { name, department, extension, mobile, email, hours } = person;
    let [mobile, email] = [mobile, email].map(|one| one.as_ref().map(Redacted::reveal));
    sql_tx
        .prepare_cached(
            "INSERT INTO people (person_id, created_at, updated_at, name, department, extension, mobile, email, hours)
             VALUES (?1, ?2, ?2, ?3, ?4, ?5, ?6, ?7, ?8)
             ON CONFLICT (name) DO UPDATE SET department = coalesce(?4, department),
                extension = coalesce(?5, extension), mobile = coalesce(?6, mobile), email = coalesce(?7, email),
                hours = coalesce(?8, hours), updated_at = ?2
             WHERE coalesce(?4, department) IS NOT department OR coalesce(?5, extension) IS NOT extension
                OR coalesce(?6, mobile) IS NOT mobile OR coalesce(?7, email) IS NOT email
                OR coalesce(?8, hours) IS NOT hours",
        )?
        .execute(params![PersonId::new(at), at, name, department, extension, mobile, email, hours])?;
    Ok(())
}

/// Forgets an imported person.
///
/// # Errors
/// [`StorageError::NotFound`] if there is none of this name.
pub fn delete_person(sql_tx: &Connection, name: &str) -> Result<(), StorageError> {
    one_row(sql_tx.prepare_cached("DELETE FROM people WHERE name = ?1")?.execute([name])?, "imported person")
}

/// The imported people, by name.
///
/// # Errors
/// [`StorageError::Sql`].
pub fn list_people(db: &Connection) -> Result<Vec<PersonRow>, StorageError> {
    let mut statement = db.prepare_cached("SELECT * FROM people ORDER BY name")?;
    let rows = statement.query_map([], person)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Notes that somebody is away. The same absence twice is one.
///
/// # Errors
/// A constraint when it ends before it begins.
pub fn add_absence(
    sql_tx: &Connection,
    person: &str,
    (from_at, until_at): (UnixMs, UnixMs),
    at: UnixMs,
) -> Result<(), StorageError> {
    sql_tx
        .prepare_cached(
            "INSERT INTO absences (absence_id, created_at, updated_at, person, from_at, until_at)
             SELECT ?1, ?2, ?2, ?3, ?4, ?5
             WHERE NOT EXISTS (SELECT 1 FROM absences WHERE person = ?3 AND from_at = ?4 AND until_at = ?5)",
        )?
        .execute(params![AbsenceId::new(at), at, person, from_at, until_at])?;
    Ok(())
}

/// Somebody is there again: what has begun of their absences ends, and with `later_too` what is to come does not happen.
/// How many those were.
///
/// # Errors
/// [`StorageError::Sql`].
pub fn end_absences(sql_tx: &Connection, person: &str, later_too: bool, at: UnixMs) -> Result<usize, StorageError> {
    let ended = sql_tx
        .prepare_cached(
            "UPDATE absences SET until_at = ?2, updated_at = ?2 WHERE person = ?1 AND from_at < ?2 AND until_at > ?2",
        )?
        .execute(params![person, at])?;
    let mut statement = sql_tx.prepare_cached("DELETE FROM absences WHERE person = ?1 AND ?3 AND from_at >= ?2")?;
    Ok(ended + statement.execute(params![person, at, later_too])?)
}

/// Absences that are not over at `at`, by when they begin.
///
/// # Errors
/// [`StorageError::Sql`].
pub fn absences_after(db: &Connection, at: UnixMs) -> Result<Vec<AbsenceRow>, StorageError> {
    let mut statement = db.prepare_cached("SELECT * FROM absences WHERE until_at > ?1 ORDER BY from_at, absence_id")?;
    let rows = statement.query_map([at], absence)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

fn person(row: &Row<'_>) -> rusqlite::Result<PersonRow> {
    let secret = |column: &str| row.get::<_, Option<String>>(column).map(|text| text.map(Redacted::new));
    Ok(PersonRow {
        name: row.get("name")?,
        department: row.get("department")?,
        extension: row.get("extension")?,
        mobile: secret("mobile")?,
        email: secret("email")?,
        hours: row.get("hours")?,
    })
}

fn absence(row: &Row<'_>) -> rusqlite::Result<AbsenceRow> {
    Ok(AbsenceRow {
        absence_id: row.get("absence_id")?,
        person: row.get("person")?,
        from_at: row.get("from_at")?,
        until_at: row.get("until_at")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::{Storage, StorageConfig, changes_after};

    #[test]
    fn an_imported_person_grows_and_an_unchanged_one_is_no_change() {
        let folder = tempfile::tempdir().unwrap();
        let storage = Storage::open(&StorageConfig::new(folder.path())).unwrap().storage;
        let first = PersonRow { name: "Anna Weber".into(), extension: Some("102".into()), ..PersonRow::default() };
        let mobile = Some(Redacted::new("+12125550199".to_owned()));
        let second = PersonRow { name: "anna weber".into(), mobile: mobile.clone(), ..PersonRow::default() };
        storage
            .write_blocking(move |db| {
                set_person(db, &first, UnixMs(1))?;
                set_person(db, &second, UnixMs(2))?;
                let changes = changes_after(db, 0, 10)?.len();
                set_person(db, &second, UnixMs(3))?;
                assert_eq!(changes_after(db, 0, 10)?.len(), changes);
                assert_eq!(list_people(db)?, [PersonRow { mobile, ..first }]);
                delete_person(db, "ANNA WEBER")?;
                assert!(matches!(delete_person(db, "Anna Weber"), Err(StorageError::NotFound(_))));
                Ok(())
            })
            .unwrap();
    }

    #[test]
    fn who_is_back_early_is_not_away_any_more() {
        let folder = tempfile::tempdir().unwrap();
        let storage = Storage::open(&StorageConfig::new(folder.path())).unwrap().storage;
        storage
            .write_blocking(|db| {
                for _ in 0..2 {
                    add_absence(db, "Anna", (UnixMs(10), UnixMs(20)), UnixMs(5))?;
                }
                add_absence(db, "Anna", (UnixMs(30), UnixMs(40)), UnixMs(5))?;
                assert_eq!(absences_after(db, UnixMs(0))?.len(), 2, "the same one twice is one");
                assert!(add_absence(db, "Anna", (UnixMs(3), UnixMs(3)), UnixMs(5)).is_err());
                assert_eq!(end_absences(db, "anna", false, UnixMs(15))?, 1);
                let left: Vec<_> = absences_after(db, UnixMs(15))?.iter().map(|row| row.from_at.0).collect();
                assert_eq!(left, [30], "what is to come stays");
                assert_eq!(end_absences(db, "Anna", true, UnixMs(16))?, 1);
                assert_eq!(absences_after(db, UnixMs(16))?, []);
                Ok(())
            })
            .unwrap();
    }
}
