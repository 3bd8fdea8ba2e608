//! Full-text queries on `knowledge_passages_fts`. What they mean for an answer is decided in `knowledge`.

use rusqlite::{Connection, OptionalExtension, params};

use super::KnowledgePassage;
use crate::storage::{PassageId, StorageError};

/// Most rows one full-text query returns; far more than any office has passages.
const ROWS_MAX: i64 = 10_000;

/// A passage as found: with its document's name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundPassage {
    /// Key, heading, text.
    pub passage: KnowledgePassage,
    /// File name of its document.
    pub document: String,
}

/// A word for a full-text query. Made of letters and digits only, so it cannot carry query syntax.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct FtsWord(String);

impl FtsWord {
    /// `None` unless `word` is made of 1 to 64 letters and digits.
    pub fn new(word: &str) -> Option<Self> {
        let count = word.chars().count();
        ((1..=64).contains(&count) && word.chars().all(char::is_alphanumeric)).then(|| FtsWord(word.to_owned()))
    }

    /// The word.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    fn exact(&self) -> String {
        format!("\"{}\"", self.0)
    }

    fn prefix(&self) -> String {
        format!("\"{}\" *", self.0)
    }
}

/// Rows whose heading or text has a word of the same stem.
///
/// # Errors
/// [`StorageError::Sql`].
pub fn passages_with_word(db: &Connection, word: &FtsWord) -> Result<Vec<i64>, StorageError> {
    matching(db, &word.exact())
}

/// Rows whose heading or text has a word that starts with this one's stem.
///
/// # Errors
/// [`StorageError::Sql`].
pub fn passages_with_prefix(db: &Connection, word: &FtsWord) -> Result<Vec<i64>, StorageError> {
    matching(db, &word.prefix())
}

fn matching(db: &Connection, fts_query: &str) -> Result<Vec<i64>, StorageError> {
    let mut statement =
        db.prepare_cached("SELECT rowid FROM knowledge_passages_fts WHERE knowledge_passages_fts MATCH ?1 LIMIT ?2")?;
    let rows = statement.query_map(params![fts_query, ROWS_MAX], |row| row.get(0))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// The `limit` best rows for any of the words by BM25, a heading's words counting double. Best first.
///
/// # Errors
/// [`StorageError::Sql`].
pub fn passages_by_bm25(db: &Connection, words: &[FtsWord], limit: u32) -> Result<Vec<i64>, StorageError> {
    if words.is_empty() {
        return Ok(Vec::new());
    }
    let any = words.iter().map(FtsWord::prefix).collect::<Vec<_>>().join(" OR ");
    let mut statement = db.prepare_cached(
        "SELECT rowid FROM knowledge_passages_fts WHERE knowledge_passages_fts MATCH ?1
         ORDER BY bm25(knowledge_passages_fts, 2.0, 1.0), rowid LIMIT ?2",
    )?;
    let rows = statement.query_map(params![any, limit], |row| row.get(0))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// How many passages there are.
///
/// # Errors
/// [`StorageError::Sql`].
pub fn passage_count(db: &Connection) -> Result<u32, StorageError> {
    Ok(db.prepare_cached("SELECT count(*) FROM knowledge_passages")?.query_row([], |row| row.get(0))?)
}

/// The passage in this full-text row; `None` if it was replaced meanwhile.
///
/// # Errors
/// [`StorageError::Sql`].
pub fn passage_at(db: &Connection, rowid: i64) -> Result<Option<FoundPassage>, StorageError> {
    find(db, "passage.passage_rowid = ?1", rowid)
}

/// The passage a turn cites; `None` if its document was changed since.
///
/// # Errors
/// [`StorageError::Sql`].
pub fn find_passage(db: &Connection, passage_id: PassageId) -> Result<Option<FoundPassage>, StorageError> {
    find(db, "passage.passage_id = ?1", passage_id)
}

fn find(db: &Connection, condition: &str, key: impl rusqlite::ToSql) -> Result<Option<FoundPassage>, StorageError> {
    let mut statement = db.prepare_cached(&format!(
        "SELECT passage.passage_id, passage.heading, passage.text, document.name
         FROM knowledge_passages AS passage JOIN knowledge_documents AS document USING (document_id)
         WHERE {condition}"
    ))?;
    let found = statement.query_row([key], |row| {
        let passage = KnowledgePassage { passage_id: row.get(0)?, heading: row.get(1)?, text: row.get(2)? };
        Ok(FoundPassage { passage, document: row.get(3)? })
    });
    Ok(found.optional()?)
}
