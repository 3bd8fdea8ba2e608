//! `contacts`: who calls.

use rusqlite::{Connection, OptionalExtension as _, Row, params};

use crate::redact::Redacted;
use crate::storage::{ContactId, StorageError, UnixMs};

/// A row of `contacts`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contact {
    /// Key.
    pub contact_id: ContactId,
    /// As the carrier writes it.
    pub number: Redacted<String>,
    /// As they last gave it.
    pub name: Option<Redacted<String>>,
    /// As they last gave it.
    pub email: Option<Redacted<String>>,
    /// Message-ID of the first e-mail about them: the others are replies to it.
    pub thread_message_id: Option<String>,
    /// Since when they want no text messages.
    pub sms_stopped_at: Option<UnixMs>,
}

/// Keeps who calls from `number`; what is `None` stays as it was.
///
/// # Errors
/// [`StorageError::Sql`].
pub fn set_contact(
    sql_tx: &Connection,
    number: &str,
    name: Option<&str>,
    email: Option<&str>,
    at: UnixMs,
) -> Result<(), StorageError> {
    sql_tx
        .prepare_cached(
            "INSERT INTO contacts (contact_id, created_at, updated_at, number, name, email)
             VALUES (?1, ?2, ?2, ?3, ?4, ?5)
             ON CONFLICT (number) DO UPDATE SET name = coalesce(?4, name), email = coalesce(?5, email), updated_at = ?2",
        )?
        .execute(params![ContactId::new(at), at, number, name, email])?;
    Ok(())
}

/// Keeps the Message-ID of the first e-mail about `number`; later ones change nothing.
///
/// # Errors
/// [`StorageError::Sql`].
pub fn begin_thread(sql_tx: &Connection, number: &str, message_id: &str, at: UnixMs) -> Result<(), StorageError> {
    sql_tx
        .prepare_cached(
            "UPDATE contacts SET thread_message_id = ?2, updated_at = ?3
             WHERE number = ?1 AND thread_message_id IS NULL",
        )?
        .execute(params![number, message_id, at])?;
    Ok(())
}

/// Keeps that `number` wants no text messages.
///
/// # Errors
/// [`StorageError::Sql`].
pub fn stop_sms(sql_tx: &Connection, number: &str, at: UnixMs) -> Result<(), StorageError> {
    sql_tx
        .prepare_cached(
            "INSERT INTO contacts (contact_id, created_at, updated_at, number, sms_stopped_at)
             VALUES (?1, ?2, ?2, ?3, ?2)
             ON CONFLICT (number) DO UPDATE SET sms_stopped_at = ?2, updated_at = ?2",
        )?
        .execute(params![ContactId::new(at), at, number])?;
    Ok(())
}

/// Keeps that `number` wants text messages again.
///
/// # Errors
/// [`StorageError::Sql`].
pub fn resume_sms(sql_tx: &Connection, number: &str, at: UnixMs) -> Result<(), StorageError> {
    let sql =
        "UPDATE contacts SET sms_stopped_at = NULL, updated_at = ?2 WHERE number = ?1 AND sms_stopped_at NOT NULL";
    sql_tx.prepare_cached(sql)?.execute(params![number, at])?;
    Ok(())
}

/// Who calls from `number`.
///
/// # Errors
/// [`StorageError::Sql`].
pub fn find_contact(db: &Connection, number: &str) -> Result<Option<Contact>, StorageError> {
    let mut statement = db.prepare_cached("SELECT * FROM contacts WHERE number = ?1")?;
    Ok(statement.query_row([number], from_row).optional()?)
}

fn from_row(row: &Row<'_>) -> rusqlite::Result<Contact> {
    let secret = |column: &str| row.get::<_, Option<String>>(column).map(|text| text.map(Redacted::new));
    Ok(Contact {
        contact_id: row.get("contact_id")?,
        number: Redacted::new(row.get("number")?),
        name: secret("name")?,
        email: secret("email")?,
        thread_message_id: row.get("thread_message_id")?,
        sms_stopped_at: row.get("sms_stopped_at")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::{Storage, StorageConfig};

    #[test]
    fn a_contact_grows_and_its_thread_begins_once() {
        let folder = tempfile::tempdir().unwrap();
        let storage = Storage::open(&StorageConfig::new(folder.path())).unwrap().storage;
        let contact = storage
            .write_blocking(|db| {
                set_contact(db, "+1555", Some("Anna"), None, UnixMs(1))?;
                set_contact(db, "+1555", None, Some("anna@example.com"), UnixMs(2))?;
                begin_thread(db, "+1555", "<1@box>", UnixMs(3))?;
                begin_thread(db, "+1555", "<2@box>", UnixMs(4))?;
                stop_sms(db, "+1555", UnixMs(5))?;
                find_contact(db, "+1555")
            })
            .unwrap()
            .unwrap();
        assert_eq!(contact.name, Some(Redacted::new("Anna".to_owned())));
        assert_eq!(contact.email, Some(Redacted::new("anna@example.com".to_owned())));
        assert_eq!(contact.thread_message_id.as_deref(), Some("<1@box>"));
        assert_eq!(contact.sms_stopped_at, Some(UnixMs(5)));
    }
}
