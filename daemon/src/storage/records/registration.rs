//! `registrations`: where the office's phones are, kept over a restart.

use std::time::{Duration, Instant};

use rusqlite::{Connection, named_params, params};
use sip_stack::endpoint::{Destination, Transport};
use sip_stack::message::{NameAddr, Uri};

use crate::registrar::{Binding, Registrar};
use crate::storage::{StorageError, UnixMs};

/// A row of `registrations`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Registration {
    contact: String,
    transport: &'static str,
    peer: String,
    path: String,
    call_id: String,
    cseq: u32,
    expires_at: UnixMs,
    user_agent: String,
}

/// Rows of these bindings; `now` and `unix_now` are the same moment on two clocks.
pub fn registrations(bindings: &[Binding], now: Instant, unix_now: UnixMs) -> Vec<Registration> {
    bindings
        .iter()
        .map(|binding| {
            let left = i64::try_from(binding.expires_at.saturating_duration_since(now).as_millis()).unwrap_or(i64::MAX);
            let path: Vec<String> = binding.path.iter().map(ToString::to_string).collect();
            Registration {
                contact: binding.contact.to_string(),
                transport: transport_text(binding.destination.transport),
                peer: binding.destination.peer.to_string(),
                path: serde_json::Value::from(path).to_string(),
                call_id: binding.call_id.clone(),
                cseq: binding.cseq,
                expires_at: UnixMs(unix_now.0.saturating_add(left)),
                user_agent: binding.user_agent.clone(),
            }
        })
        .collect()
}

fn transport_text(transport: Transport) -> &'static str {
    match transport {
        Transport::Udp => "udp",
        Transport::Tcp => "tcp",
        Transport::Tls => "tls",
    }
}

/// Makes `rows` the registrations of an extension.
///
/// # Errors
/// Of the database.
pub fn replace_registrations(sql_tx: &Connection, extension: &str, rows: &[Registration]) -> Result<(), StorageError> {
    delete_registrations(sql_tx, extension)?;
    let mut insert = sql_tx.prepare_cached(
        "INSERT INTO registrations (extension, contact, transport, peer, path, sip_call_id, cseq, expires_at, user_agent)
         VALUES (:extension, :contact, :transport, :peer, :path, :call_id, :cseq, :expires_at, :user_agent)",
    )?;
    for row in rows {
        insert.execute(named_params! {
            ":extension": extension,
            ":contact": row.contact,
            ":transport": row.transport,
            ":peer": row.peer,
            ":path": row.path,
            ":call_id": row.call_id,
            ":cseq": row.cseq,
            ":expires_at": row.expires_at.0,
            ":user_agent": row.user_agent,
        })?;
    }
    Ok(())
}

/// An extension has no phone any more.
///
/// # Errors
/// Of the database.
pub fn delete_registrations(sql_tx: &Connection, extension: &str) -> Result<(), StorageError> {
    sql_tx.prepare_cached("DELETE FROM registrations WHERE extension = ?1")?.execute(params![extension])?;
    Ok(())
}

/// How many phones are registered for each extension that has any.
///
/// # Errors
/// Of the database.
pub fn phones_by_extension(db: &Connection, unix_now: UnixMs) -> Result<Vec<(String, u32)>, StorageError> {
    let mut query = db.prepare_cached(
        "SELECT extension, count(*) FROM registrations WHERE expires_at > ?1 GROUP BY extension ORDER BY extension",
    )?;
    let rows = query.query_map(params![unix_now.0], |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// The phones that are still registered. A row that cannot be read is left out: the phone registers again.
///
/// # Errors
/// Of the database.
pub fn restore_registrations(db: &Connection, now: Instant, unix_now: UnixMs) -> Result<Registrar, StorageError> {
    let mut registrar = Registrar::default();
    let mut query = db.prepare_cached(
        "SELECT extension, contact, transport, peer, path, sip_call_id, cseq, expires_at, user_agent
         FROM registrations WHERE expires_at > ?1 ORDER BY expires_at",
    )?;
    let mut rows = query.query(params![unix_now.0])?;
    while let Some(row) = rows.next()? {
        let text = |index| row.get::<_, String>(index);
        let extension = text(0)?;
        let left: i64 = row.get::<_, i64>(7)? - unix_now.0;
        let binding = (|| {
            Some(Binding {
                contact: Uri::parse(text(1).ok()?.as_bytes()).ok()?.as_sip()?.clone(),
                destination: Destination {
                    transport: Transport::ALL
                        .into_iter()
                        .find(|one| text(2).is_ok_and(|kept| kept == transport_text(*one)))?,
                    peer: text(3).ok()?.parse().ok()?,
                },
                path: read_path(&text(4).ok()?),
                call_id: text(5).ok()?,
                cseq: row.get(6).ok()?,
                expires_at: now + Duration::from_millis(u64::try_from(left).ok()?),
                user_agent: text(8).ok()?,
            })
        })();
        if let Some(binding) = binding {
            registrar.restore(&extension, binding);
        }
    }
    Ok(registrar)
}

fn read_path(json: &str) -> Vec<NameAddr> {
    let hops: Vec<String> = serde_json::from_str(json).unwrap_or_default();
    hops.iter().filter_map(|hop| NameAddr::parse(hop).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::{Storage, StorageConfig};

    #[test]
    fn phones_are_found_again_until_they_expire() {
        let folder = tempfile::tempdir().unwrap();
        let storage = Storage::open(&StorageConfig::new(folder.path())).unwrap().storage;
        let (now, unix_now) = (Instant::now(), UnixMs(1_000_000));
        let binding = Binding {
            contact: Uri::parse(b"sip:101@192.0.2.50:5070;ob").unwrap().as_sip().unwrap().clone(),
            destination: Destination { transport: Transport::Tls, peer: ([192, 0, 2, 50], 40_000).into() },
            path: vec![NameAddr::parse("<sip:edge.example.com;lr>").unwrap()],
            call_id: "a@b".into(),
            cseq: 7,
            expires_at: now + Duration::from_secs(60),
            user_agent: "Phone/1".into(),
        };
        let rows = registrations(std::slice::from_ref(&binding), now, unix_now);
        storage.write_blocking(move |sql_tx| replace_registrations(sql_tx, "101", &rows)).unwrap();
        let found = |at: i64| {
            let unix = UnixMs(unix_now.0 + at);
            let registrar = storage.read_blocking(|db| restore_registrations(db, now, unix)).unwrap();
            registrar.bindings("101", now)
        };
        assert_eq!(found(0), [binding]);
        assert_eq!(found(59_999).len(), 1);
        assert!(found(60_000).is_empty());
        storage.write_blocking(|sql_tx| delete_registrations(sql_tx, "101")).unwrap();
        assert!(found(0).is_empty());
    }
}
