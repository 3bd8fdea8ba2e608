//! `knowledge_documents` and `knowledge_passages`: the office's own texts.

use rusqlite::{Connection, OptionalExtension, Row, params};

use crate::storage::{DocumentId, PassageId, StorageError, UnixMs};

/// A row of `knowledge_documents`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnowledgeDocument {
    /// Key; stays when the content changes.
    pub document_id: DocumentId,
    /// File name within the knowledge folder, unique.
    pub name: String,
    /// Its first heading, or its name.
    pub title: String,
    /// Of the text and the splitting rules, 64 hexadecimal digits.
    pub content_sha256: String,
    /// Which embedder made all vectors of its passages; `None` if some have none.
    pub embedder: Option<String>,
}

/// A row of `knowledge_passages` without its vector.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnowledgePassage {
    /// Key: what a turn cites.
    pub passage_id: PassageId,
    /// Headings above it, outermost first, joined by ` > `.
    pub heading: String,
    /// Plain text that can be spoken.
    pub text: String,
}

/// A passage to be stored. One that keeps its `passage_id` keeps its citations.
#[derive(Debug, Clone, PartialEq)]
pub struct NewPassage {
    /// Key, new or of the same passage before.
    pub passage_id: PassageId,
    /// Headings above it.
    pub heading: String,
    /// Plain text.
    pub text: String,
    /// Its vector, if there is an embedder.
    pub embedding: Option<Vec<f32>>,
}

/// The stored names, sorted.
///
/// # Errors
/// [`StorageError::Sql`].
pub fn document_names(db: &Connection) -> Result<Vec<String>, StorageError> {
    let mut statement = db.prepare_cached("SELECT name FROM knowledge_documents ORDER BY name")?;
    let rows = statement.query_map([], |row| row.get(0))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// The document with this name.
///
/// # Errors
/// [`StorageError::Sql`].
pub fn find_document(db: &Connection, name: &str) -> Result<Option<KnowledgeDocument>, StorageError> {
    let mut statement = db.prepare_cached(
        "SELECT document_id, name, title, content_sha256, embedder FROM knowledge_documents WHERE name = ?1",
    )?;
    let found = statement.query_row([name], |row| {
        Ok(KnowledgeDocument {
            document_id: row.get(0)?,
            name: row.get(1)?,
            title: row.get(2)?,
            content_sha256: row.get(3)?,
            embedder: row.get(4)?,
        })
    });
    Ok(found.optional()?)
}

/// A document's passages in order.
///
/// # Errors
/// [`StorageError::Sql`].
pub fn passages_of(db: &Connection, document_id: DocumentId) -> Result<Vec<NewPassage>, StorageError> {
    let mut statement = db.prepare_cached(
        "SELECT passage_id, heading, text, embedding FROM knowledge_passages WHERE document_id = ?1
         ORDER BY passage_index",
    )?;
    let rows = statement.query_map([document_id], |row| {
        let embedding: Option<Vec<u8>> = row.get(3)?;
        Ok(NewPassage {
            passage_id: row.get(0)?,
            heading: row.get(1)?,
            text: row.get(2)?,
            embedding: embedding.map(|bytes| from_bytes(&bytes)),
        })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// What the first passages say, at most `limit` of them, document by document.
///
/// # Errors
/// [`StorageError::Sql`].
pub fn passage_texts(db: &Connection, limit: u32) -> Result<Vec<String>, StorageError> {
    let mut statement =
        db.prepare_cached("SELECT text FROM knowledge_passages ORDER BY document_id, passage_index LIMIT ?1")?;
    let rows = statement.query_map([limit], |row| row.get(0))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Makes the document and its passages what is given: rows whose id stays are updated only where they differ, others
/// are added or deleted.
///
/// # Errors
/// [`StorageError::Sql`]; a constraint if another document has this name.
pub fn replace_document(
    sql_tx: &Connection,
    document: &KnowledgeDocument,
    passages: &[NewPassage],
    at: UnixMs,
) -> Result<(), StorageError> {
    sql_tx
        .prepare_cached(
            "INSERT INTO knowledge_documents (document_id, created_at, updated_at, name, title, content_sha256, embedder)
             VALUES (?1, ?2, ?2, ?3, ?4, ?5, ?6)
             ON CONFLICT (document_id) DO UPDATE SET updated_at = excluded.updated_at, name = excluded.name,
                title = excluded.title, content_sha256 = excluded.content_sha256, embedder = excluded.embedder",
        )?
        .execute(params![
            document.document_id,
            at,
            document.name,
            document.title,
            document.content_sha256,
            document.embedder
        ])?;
    delete_passages_but(sql_tx, document.document_id, passages)?;
    for (passage, index) in passages.iter().zip(0_i64..) {
        upsert_passage(sql_tx, document.document_id, passage, index, at)?;
    }
    Ok(())
}

fn delete_passages_but(sql_tx: &Connection, document_id: DocumentId, kept: &[NewPassage]) -> Result<(), StorageError> {
    let mut statement = sql_tx.prepare_cached("SELECT passage_id FROM knowledge_passages WHERE document_id = ?1")?;
    let stored: Vec<PassageId> = statement.query_map([document_id], |row| row.get(0))?.collect::<Result<_, _>>()?;
    for gone in stored.iter().filter(|id| kept.iter().all(|passage| passage.passage_id != **id)) {
        sql_tx.prepare_cached("DELETE FROM knowledge_passages WHERE passage_id = ?1")?.execute([gone])?;
    }
    Ok(())
}

fn upsert_passage(
    sql_tx: &Connection,
    document_id: DocumentId,
    passage: &NewPassage,
    index: i64,
    at: UnixMs,
) -> Result<(), StorageError> {
    let embedding = passage.embedding.as_deref().map(to_bytes);
    sql_tx
        .prepare_cached(
            "INSERT INTO knowledge_passages (passage_id, created_at, updated_at, document_id, passage_index, heading,
                text, embedding)
             VALUES (?1, ?2, ?2, ?3, ?4, ?5, ?6, ?7)
             ON CONFLICT (passage_id) DO UPDATE SET updated_at = excluded.updated_at,
                passage_index = excluded.passage_index, heading = excluded.heading, text = excluded.text,
                embedding = excluded.embedding
             WHERE passage_index <> excluded.passage_index OR heading <> excluded.heading OR text <> excluded.text
                OR embedding IS NOT excluded.embedding",
        )?
        .execute(params![passage.passage_id, at, document_id, index, passage.heading, passage.text, embedding])?;
    Ok(())
}

/// Deletes a document and its passages; says whether it was there.
///
/// # Errors
/// [`StorageError::Sql`].
pub fn delete_document(sql_tx: &Connection, name: &str) -> Result<bool, StorageError> {
    Ok(sql_tx.prepare_cached("DELETE FROM knowledge_documents WHERE name = ?1")?.execute([name])? > 0)
}

/// Every vector with its passage's full-text row, for the in-memory search.
///
/// # Errors
/// [`StorageError::Sql`].
pub fn embeddings(db: &Connection) -> Result<Vec<(i64, Vec<f32>)>, StorageError> {
    let mut statement = db.prepare_cached(
        "SELECT passage_rowid, embedding FROM knowledge_passages WHERE embedding IS NOT NULL ORDER BY passage_rowid",
    )?;
    let rows = statement.query_map([], |row: &Row<'_>| {
        let bytes: Vec<u8> = row.get(1)?;
        Ok((row.get(0)?, from_bytes(&bytes)))
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

fn to_bytes(vector: &[f32]) -> Vec<u8> {
    vector.iter().flat_map(|value| value.to_le_bytes()).collect()
}

fn from_bytes(bytes: &[u8]) -> Vec<f32> {
    let (values, _) = bytes.as_chunks::<4>();
    values.iter().map(|value| f32::from_le_bytes(*value)).collect()
}
