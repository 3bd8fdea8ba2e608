//! Names of backups, in both stores. What the rules are stands in [`backups`](crate::backups).

use std::sync::LazyLock;

use rusqlite::{OptionalExtension as _, TransactionBehavior, params};

use super::{AnyStore, BoxName, Postgres, Sqlite, StoreError};
use crate::backups::BackupFile;
use crate::blobs::Hash;

/// What came of a file that was to be kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kept {
    /// It is there.
    There,
    /// It was there.
    Before,
    /// Nothing is changed: so many bytes are kept for the box.
    TooMuch(u64),
}

/// Keeps names of backups. Blocks: not for async threads.
pub trait Backups {
    /// Everything that is kept for a box, by name, also what was removed.
    ///
    /// # Errors
    /// Of the store.
    fn backup_files(&self, of: &BoxName) -> Result<Vec<BackupFile>, StoreError>;

    /// The file that has this name now.
    ///
    /// # Errors
    /// Of the store.
    fn backup_file(&self, of: &BoxName, name: &str) -> Result<Option<BackupFile>, StoreError>;

    /// How many bytes are kept for a box, also those of what was removed.
    ///
    /// # Errors
    /// Of the store.
    fn backup_bytes(&self, of: &BoxName) -> Result<u64, StoreError>;

    /// Gives a file its name, at `file.kept_at`; another one that has it is removed. Nothing of it is done if the box would
    /// have more than `limit` bytes.
    ///
    /// # Errors
    /// Of the store.
    fn keep_backup(&self, of: &BoxName, file: &BackupFile, limit: u64) -> Result<Kept, StoreError>;

    /// Removes the files that have these names now: how many.
    ///
    /// # Errors
    /// Of the store.
    fn remove_backups(&self, of: &BoxName, names: &[String], now: i64) -> Result<u64, StoreError>;

    /// Everything as it was at `to`: how many files are there again, and how many are not any more.
    ///
    /// # Errors
    /// Of the store.
    fn rewind_backups(&self, of: &BoxName, to: i64, now: i64) -> Result<(u64, u64), StoreError>;

    /// Forgets what was removed before this time. Gives the content that nothing refers to any more.
    ///
    /// # Errors
    /// Of the store.
    fn expire_backups(&self, of: &BoxName, removed_before: i64) -> Result<Vec<Hash>, StoreError>;
}

/// The same questions for both, with the placeholders of each.
struct Sql {
    files: String,
    file: String,
    bytes: String,
    keep: String,
    remove: String,
    aside: String,
    back: String,
    expire: String,
}

impl Sql {
    fn with(mark: &str) -> Sql {
        let sql = |text: &str| text.replace('@', mark);
        Sql {
            files: sql("SELECT name, sha256, size_bytes, kept_at, removed_at FROM backup_files
                WHERE tenant_id = @1 AND box_id = @2 ORDER BY name, kept_at, sha256"),
            file: sql("SELECT name, sha256, size_bytes, kept_at, removed_at FROM backup_files
                WHERE tenant_id = @1 AND box_id = @2 AND name = @3 AND removed_at IS NULL"),
            bytes: sql("SELECT CAST(coalesce(sum(size_bytes), 0) AS bigint) FROM backup_files
                WHERE tenant_id = @1 AND box_id = @2"),
            keep: sql("INSERT INTO backup_files (tenant_id, box_id, name, sha256, size_bytes, kept_at)
                VALUES (@1, @2, @3, @4, @5, @6)
                ON CONFLICT (tenant_id, box_id, name, sha256) DO UPDATE SET removed_at = NULL,
                    kept_at = excluded.kept_at"),
            remove: sql("UPDATE backup_files SET removed_at = @4
                WHERE tenant_id = @1 AND box_id = @2 AND name = @3 AND removed_at IS NULL"),
            aside: sql("UPDATE backup_files SET removed_at = @4
                WHERE tenant_id = @1 AND box_id = @2 AND kept_at > @3 AND removed_at IS NULL"),
            back: sql("UPDATE backup_files SET removed_at = NULL
                WHERE tenant_id = @1 AND box_id = @2 AND kept_at <= @3 AND removed_at > @3"),
            expire: sql("DELETE FROM backup_files
                WHERE tenant_id = @1 AND box_id = @2 AND removed_at < @3 RETURNING sha256"),
        }
    }
}

static SQLITE: LazyLock<Sql> = LazyLock::new(|| Sql::with("?"));
static POSTGRES: LazyLock<Sql> = LazyLock::new(|| Sql::with("$"));

/// Neither database has unsigned numbers; these are far from the end of signed ones.
fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn of_sqlite(row: &rusqlite::Row<'_>) -> rusqlite::Result<BackupFile> {
    Ok(BackupFile {
        name: row.get(0)?,
        sha256: row.get(1)?,
        size_bytes: row.get::<_, i64>(2)?.unsigned_abs(),
        kept_at: row.get(3)?,
        removed_at: row.get(4)?,
    })
}

fn of_postgres(row: &::postgres::Row) -> BackupFile {
    BackupFile {
        name: row.get(0),
        sha256: hash_of_postgres(row.get(1)),
        size_bytes: row.get::<_, i64>(2).unsigned_abs(),
        kept_at: row.get(3),
        removed_at: row.get(4),
    }
}

/// Thirty-two bytes, as the table's CHECK says.
fn hash_of_postgres(bytes: &[u8]) -> Hash {
    bytes.try_into().unwrap_or_default()
}

impl Backups for Sqlite {
    fn backup_files(&self, of: &BoxName) -> Result<Vec<BackupFile>, StoreError> {
        let db = self.lock();
        let mut statement = db.prepare_cached(&SQLITE.files)?;
        let files = statement.query_map([&of.tenant_id, &of.box_id], of_sqlite)?;
        Ok(files.collect::<Result<_, _>>()?)
    }

    fn backup_file(&self, of: &BoxName, name: &str) -> Result<Option<BackupFile>, StoreError> {
        let db = self.lock();
        let mut statement = db.prepare_cached(&SQLITE.file)?;
        Ok(statement.query_row(params![of.tenant_id, of.box_id, name], of_sqlite).optional()?)
    }

    fn backup_bytes(&self, of: &BoxName) -> Result<u64, StoreError> {
        let bytes: i64 = self.lock().query_row(&SQLITE.bytes, [&of.tenant_id, &of.box_id], |row| row.get(0))?;
        Ok(bytes.unsigned_abs())
    }

    fn keep_backup(&self, of: &BoxName, file: &BackupFile, limit: u64) -> Result<Kept, StoreError> {
        let BoxName { tenant_id, box_id } = of;
        let BackupFile { name, sha256, size_bytes, kept_at, .. } = file;
        let mut db = self.lock();
        let sql_tx = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let there = sql_tx.query_row(&SQLITE.file, params![tenant_id, box_id, name], of_sqlite).optional()?;
        if there.is_some_and(|there| there.sha256 == *sha256) {
            return Ok(Kept::Before);
        }
        let bytes: i64 = sql_tx.query_row(&SQLITE.bytes, [tenant_id, box_id], |row| row.get(0))?;
        if bytes.unsigned_abs().saturating_add(*size_bytes) > limit {
            return Ok(Kept::TooMuch(bytes.unsigned_abs()));
        }
        sql_tx.execute(&SQLITE.remove, params![tenant_id, box_id, name, kept_at])?;
        sql_tx.execute(&SQLITE.keep, params![tenant_id, box_id, name, sha256, signed(*size_bytes), kept_at])?;
        sql_tx.commit()?;
        Ok(Kept::There)
    }

    fn remove_backups(&self, of: &BoxName, names: &[String], now: i64) -> Result<u64, StoreError> {
        let mut db = self.lock();
        let sql_tx = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let mut removed = 0;
        for name in names {
            removed += sql_tx.execute(&SQLITE.remove, params![of.tenant_id, of.box_id, name, now])?;
        }
        sql_tx.commit()?;
        Ok(u64::try_from(removed).unwrap_or(u64::MAX))
    }

    fn rewind_backups(&self, of: &BoxName, to: i64, now: i64) -> Result<(u64, u64), StoreError> {
        let mut db = self.lock();
        let sql_tx = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let aside = sql_tx.execute(&SQLITE.aside, params![of.tenant_id, of.box_id, to, now])?;
        let back = sql_tx.execute(&SQLITE.back, params![of.tenant_id, of.box_id, to])?;
        sql_tx.commit()?;
        let number = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
        Ok((number(back), number(aside)))
    }

    fn expire_backups(&self, of: &BoxName, removed_before: i64) -> Result<Vec<Hash>, StoreError> {
        let mut db = self.lock();
        let sql_tx = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let gone: Vec<Hash> = sql_tx
            .prepare(&SQLITE.expire)?
            .query_map(params![of.tenant_id, of.box_id, removed_before], |row| row.get(0))?
            .collect::<Result<_, _>>()?;
        let left: Vec<BackupFile> = match gone.is_empty() {
            true => Vec::new(),
            false => sql_tx
                .prepare(&SQLITE.files)?
                .query_map([&of.tenant_id, &of.box_id], of_sqlite)?
                .collect::<Result<_, _>>()?,
        };
        sql_tx.commit()?;
        Ok(unreferred(gone, &left))
    }
}

/// Of what is gone, the content that nothing left has.
fn unreferred(mut gone: Vec<Hash>, left: &[BackupFile]) -> Vec<Hash> {
    gone.retain(|hash| left.iter().all(|file| file.sha256 != *hash));
    gone
}

impl Backups for Postgres {
    fn backup_files(&self, of: &BoxName) -> Result<Vec<BackupFile>, StoreError> {
        self.with(|connection| {
            let (mut sql_tx, _) = connection.transaction(&of.tenant_id)?;
            let rows = sql_tx.query(&POSTGRES.files, &[&of.tenant_id, &of.box_id])?;
            Ok(rows.iter().map(of_postgres).collect())
        })
    }

    fn backup_file(&self, of: &BoxName, name: &str) -> Result<Option<BackupFile>, StoreError> {
        self.with(|connection| {
            let (mut sql_tx, _) = connection.transaction(&of.tenant_id)?;
            let row = sql_tx.query_opt(&POSTGRES.file, &[&of.tenant_id, &of.box_id, &name])?;
            Ok(row.as_ref().map(of_postgres))
        })
    }

    fn backup_bytes(&self, of: &BoxName) -> Result<u64, StoreError> {
        self.with(|connection| {
            let (mut sql_tx, _) = connection.transaction(&of.tenant_id)?;
            let bytes: i64 = sql_tx.query_one(&POSTGRES.bytes, &[&of.tenant_id, &of.box_id])?.get(0);
            Ok(bytes.unsigned_abs())
        })
    }

    fn keep_backup(&self, of: &BoxName, file: &BackupFile, limit: u64) -> Result<Kept, StoreError> {
        let BoxName { tenant_id, box_id } = of;
        let BackupFile { name, sha256, size_bytes, kept_at, .. } = file;
        let hash = sha256.as_slice();
        self.with(|connection| {
            let mut sql_tx = connection.of_box(of)?;
            let there = sql_tx.query_opt(&POSTGRES.file, &[tenant_id, box_id, name])?;
            if there.as_ref().map(of_postgres).is_some_and(|there| there.sha256 == *sha256) {
                return Ok(Kept::Before);
            }
            let bytes: i64 = sql_tx.query_one(&POSTGRES.bytes, &[tenant_id, box_id])?.get(0);
            if bytes.unsigned_abs().saturating_add(*size_bytes) > limit {
                return Ok(Kept::TooMuch(bytes.unsigned_abs()));
            }
            sql_tx.execute(&POSTGRES.remove, &[tenant_id, box_id, name, kept_at])?;
            sql_tx.execute(&POSTGRES.keep, &[tenant_id, box_id, name, &hash, &signed(*size_bytes), kept_at])?;
            sql_tx.commit()?;
            Ok(Kept::There)
        })
    }

    fn remove_backups(&self, of: &BoxName, names: &[String], now: i64) -> Result<u64, StoreError> {
        self.with(|connection| {
            let mut sql_tx = connection.of_box(of)?;
            let mut removed = 0;
            for name in names {
                removed += sql_tx.execute(&POSTGRES.remove, &[&of.tenant_id, &of.box_id, name, &now])?;
            }
            sql_tx.commit()?;
            Ok(removed)
        })
    }

    fn rewind_backups(&self, of: &BoxName, to: i64, now: i64) -> Result<(u64, u64), StoreError> {
        self.with(|connection| {
            let mut sql_tx = connection.of_box(of)?;
            let aside = sql_tx.execute(&POSTGRES.aside, &[&of.tenant_id, &of.box_id, &to, &now])?;
            let back = sql_tx.execute(&POSTGRES.back, &[&of.tenant_id, &of.box_id, &to])?;
            sql_tx.commit()?;
            Ok((back, aside))
        })
    }

    fn expire_backups(&self, of: &BoxName, removed_before: i64) -> Result<Vec<Hash>, StoreError> {
        self.with(|connection| {
            let mut sql_tx = connection.of_box(of)?;
            let gone = sql_tx.query(&POSTGRES.expire, &[&of.tenant_id, &of.box_id, &removed_before])?;
            let gone: Vec<Hash> = gone.iter().map(|row| hash_of_postgres(row.get(0))).collect();
            let left = match gone.is_empty() {
                true => Vec::new(),
                false => sql_tx.query(&POSTGRES.files, &[&of.tenant_id, &of.box_id])?.iter().map(of_postgres).collect(),
            };
            sql_tx.commit()?;
            Ok(unreferred(gone, &left))
        })
    }
}

impl Backups for AnyStore {
    fn backup_files(&self, of: &BoxName) -> Result<Vec<BackupFile>, StoreError> {
        either!(self, store => store.backup_files(of))
    }

    fn backup_file(&self, of: &BoxName, name: &str) -> Result<Option<BackupFile>, StoreError> {
        either!(self, store => store.backup_file(of, name))
    }

    fn backup_bytes(&self, of: &BoxName) -> Result<u64, StoreError> {
        either!(self, store => store.backup_bytes(of))
    }

    fn keep_backup(&self, of: &BoxName, file: &BackupFile, limit: u64) -> Result<Kept, StoreError> {
        either!(self, store => store.keep_backup(of, file, limit))
    }

    fn remove_backups(&self, of: &BoxName, names: &[String], now: i64) -> Result<u64, StoreError> {
        either!(self, store => store.remove_backups(of, names, now))
    }

    fn rewind_backups(&self, of: &BoxName, to: i64, now: i64) -> Result<(u64, u64), StoreError> {
        either!(self, store => store.rewind_backups(of, to, now))
    }

    fn expire_backups(&self, of: &BoxName, removed_before: i64) -> Result<Vec<Hash>, StoreError> {
        either!(self, store => store.expire_backups(of, removed_before))
    }
}

/// What every store must do with backups, whatever it is made of.
#[cfg(test)]
pub(super) fn keeps_backups<S: Backups>(store: &S) {
    let name = |box_id: &str| BoxName { tenant_id: "backs-up".to_owned(), box_id: box_id.to_owned() };
    let (of, other) = (name("1"), name("2"));
    let file = |name: &str, content: u8, kept_at: i64| BackupFile {
        name: name.to_owned(),
        sha256: [content; 32],
        size_bytes: 10,
        kept_at,
        removed_at: None,
    };
    let keep = |of: &BoxName, file: &BackupFile| store.keep_backup(of, file, 50).unwrap();
    let names = |of: &BoxName| {
        let mut there = store.backup_files(of).unwrap();
        there.retain(|file| file.removed_at.is_none());
        there.into_iter().map(|file| (file.name, file.sha256[0])).collect::<Vec<_>>()
    };
    let of_names = |names: &[(&str, u8)]| -> Vec<(String, u8)> {
        names.iter().map(|(name, content)| ((*name).to_owned(), *content)).collect()
    };
    let (base, segment) = (file("base-0001-000000000001", 1, 100), file("segment-0001-000000000001", 2, 110));
    assert_eq!((keep(&of, &base), keep(&of, &base), keep(&of, &segment)), (Kept::There, Kept::Before, Kept::There));
    assert_eq!((names(&other), store.backup_bytes(&of).unwrap()), (vec![], 20));
    // Another content takes the name, and the one before is not lost.
    assert_eq!(keep(&of, &file(&base.name, 3, 120)), Kept::There);
    assert_eq!(store.backup_file(&of, &base.name).unwrap(), Some(file(&base.name, 3, 120)));
    // Everything is removed, and other things come in its place: as from a box that was stolen.
    let all = [base.name.clone(), segment.name.clone(), "base-none".to_owned()];
    assert_eq!(store.remove_backups(&of, &all, 200).unwrap(), 2);
    assert_eq!(store.remove_backups(&of, &all, 201).unwrap(), 0, "once");
    assert_eq!(names(&of), vec![]);
    assert_eq!(keep(&of, &file("base-0009-000000000001", 9, 210)), Kept::There);
    assert_eq!(keep(&of, &file("base-0009-000000000002", 9, 210)), Kept::There);
    // What was removed counts.
    assert_eq!(store.keep_backup(&of, &file("segment-0009", 8, 220), 59).unwrap(), Kept::TooMuch(50));
    assert_eq!(keep(&other, &base), Kept::There);
    assert_eq!(store.rewind_backups(&of, 150, 300).unwrap(), (2, 2));
    assert_eq!(names(&of), of_names(&[(&base.name, 3), (&segment.name, 2)]));
    assert_eq!(store.rewind_backups(&of, 115, 310).unwrap(), (1, 1));
    assert_eq!(names(&of), of_names(&[(&base.name, 1), (&segment.name, 2)]));
    // What was set aside goes in its time: content that two files had goes with the last of them.
    assert_eq!(store.expire_backups(&of, 300).unwrap(), Vec::<Hash>::new());
    let mut gone = store.expire_backups(&of, 310).unwrap();
    gone.dedup();
    assert_eq!(gone, [[9; 32]]);
    assert_eq!(store.expire_backups(&of, 311).unwrap(), [[3; 32]]);
    assert_eq!((names(&of).len(), store.backup_bytes(&of).unwrap()), (2, 20));
    // One that was removed may come back as it was.
    store.remove_backups(&of, &all, 400).unwrap();
    assert_eq!(keep(&of, &file(&base.name, 1, 410)), Kept::There);
    assert_eq!(store.expire_backups(&of, 1_000).unwrap(), [[2; 32]]);
    assert_eq!(names(&of), of_names(&[(&base.name, 1)]));
    assert_eq!(store.backup_file(&other, &base.name).unwrap(), Some(base));
}
