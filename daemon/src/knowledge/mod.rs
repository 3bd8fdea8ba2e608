//! What the office wrote about itself, so that the box can answer from it: documents in, the right sentence out.
//!
//! ```text
//! files ─► splitter ─► passages ─► storage (FTS5 + vectors)
//!                                      │
//! question (+ embedding) ─► search ────┴─► hits with a comparable score ─► best_sentences ─► spoken, cited in the turn
//! ```
//! Works without an embedder: then words, stems and a few synonyms decide alone.
//!
//! Left out on purpose: formats other than Markdown, plain text, HTML and PDF, generated text (answers quote the office's own words), and the
//! embedding model itself, which callers pass in as a closure.

mod folder;
mod ingest;
pub(crate) mod pdf;
mod quote;
mod search;
pub(crate) mod sentences;
mod splitter;
#[cfg(test)]
mod tests;
mod watch;
pub(crate) mod words;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

pub use folder::{Folder, Sources, Trouble};
pub use ingest::{IngestReport, PassageEmbedder, SourceDocument};
pub use quote::best_sentences;
pub use search::{ANSWER_SCORE_MIN, Hit};
pub use splitter::{SplitDocument, SplitPassage, split_html, split_markdown, split_plain};
pub use watch::Watch;

use crate::storage::{Storage, StorageError, UnixMs};
use search::Vectors;

/// The knowledge of this box. Cloning shares it, and with it the vectors in memory.
///
/// Invariant: whatever changes `knowledge_passages` in this process does so through [`ingest`](Knowledge::ingest) or
/// calls [`forget_vectors`](Knowledge::forget_vectors) afterwards.
#[derive(Clone)]
pub struct Knowledge {
    storage: Storage,
    cache: Arc<Mutex<Cache>>,
}

#[derive(Default)]
struct Cache {
    /// Counts what made the cache stale, so that vectors read before a change are not kept after it.
    generation: u64,
    vectors: Option<Arc<Vectors>>,
}

impl Knowledge {
    /// The knowledge kept in `storage`.
    pub fn new(storage: Storage) -> Self {
        Knowledge { storage, cache: Arc::default() }
    }

    /// Makes the stored documents what `sources` say: new and changed ones are cut and embedded, those that are neither
    /// given nor kept are removed, the rest costs nothing. Without an embedder, changed documents are found by their words only.
    ///
    /// Blocks, for as long as embedding takes: not on an async thread (it panics there, see
    /// [`Storage::write_blocking`]).
    ///
    /// # Errors
    /// [`StorageError`]; what was replaced before the error stays replaced.
    pub fn ingest(
        &self,
        sources: &Sources,
        embedder: Option<PassageEmbedder<'_>>,
        at: UnixMs,
    ) -> Result<IngestReport, StorageError> {
        let with_vectors = embedder.is_some();
        let report = ingest::ingest(&self.storage, sources, embedder, at);
        self.forget_vectors();
        if with_vectors {
            // Read here and now, so that no caller waits for it.
            self.storage.read_blocking(|db| self.vectors(db, true))?;
        }
        report
    }

    /// The `limit` passages that fit `question` best, best first. Check [`Hit::is_answer`] before saying one.
    ///
    /// # Errors
    /// [`StorageError`].
    pub async fn search(
        &self,
        question: &str,
        question_vector: Option<Vec<f32>>,
        limit: usize,
    ) -> Result<Vec<Hit>, StorageError> {
        let (knowledge, question) = (self.clone(), question.to_owned());
        self.storage
            .read(move |db| {
                let vectors = knowledge.vectors(db, question_vector.is_some())?;
                search::search(db, &vectors, &question, question_vector.as_deref(), limit)
            })
            .await
    }

    /// As [`search`](Knowledge::search), on this thread.
    ///
    /// # Errors
    /// [`StorageError`].
    pub fn search_blocking(
        &self,
        question: &str,
        question_vector: Option<&[f32]>,
        limit: usize,
    ) -> Result<Vec<Hit>, StorageError> {
        self.storage.read_blocking(|db| {
            let vectors = self.vectors(db, question_vector.is_some())?;
            search::search(db, &vectors, question, question_vector, limit)
        })
    }

    /// Reads the vectors anew at the next search.
    pub fn forget_vectors(&self) {
        let mut cache = self.cache();
        cache.generation += 1;
        cache.vectors = None;
    }

    fn vectors(&self, db: &rusqlite::Connection, wanted: bool) -> Result<Arc<Vectors>, StorageError> {
        if !wanted {
            return Ok(Arc::default());
        }
        let generation = {
            let cache = self.cache();
            if let Some(vectors) = &cache.vectors {
                return Ok(Arc::clone(vectors));
            }
            cache.generation
        };
        let vectors = Arc::new(Vectors::load(db)?);
        let mut cache = self.cache();
        if cache.generation == generation {
            cache.vectors = Some(Arc::clone(&vectors));
        }
        Ok(vectors)
    }

    fn cache(&self) -> MutexGuard<'_, Cache> {
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
