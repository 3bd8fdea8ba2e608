//! Bringing the stored passages in line with the office's files.
//!
//! Work is done only for what changed: the hash of text and splitting rules decides. Within a changed document a
//! passage that reads as before keeps its key (earlier calls cite it) and its vector (embedding is the expensive part).

use std::path::Path;

use sha2::{Digest, Sha256};

use super::folder::{Sources, extension};
use super::pdf::split_pages;
use super::splitter::{RULES_VERSION, SplitDocument, SplitPassage, split_html, split_markdown, split_plain};
use crate::office::sample;
use crate::storage::{
    DocumentId, KnowledgeDocument, NewPassage, PassageId, Storage, StorageError, UnixMs, delete_document,
    document_names, find_document, passages_of, replace_document,
};

/// A knowledge text before it is cut.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceDocument {
    /// Its name, unique: the path within the knowledge folder. How it ends says how the text is written.
    pub name: String,
    /// HTML if the name ends in `.html` or `.htm`, plain if it ends in `.txt`, plain pages parted by form feeds if it ends in
    /// `.pdf`, else Markdown.
    pub text: String,
}

impl SourceDocument {
    fn split(&self) -> SplitDocument {
        match extension(Path::new(&self.name)).as_str() {
            "html" | "htm" => split_html(&self.text),
            "txt" => split_plain(&self.text),
            "pdf" => split_pages(&self.text),
            _ => split_markdown(&self.text),
        }
    }
}

/// Turns text into a vector. `models::Embedder` fits by a closure.
pub struct PassageEmbedder<'a> {
    /// Names the model and its version; vectors of another id are made anew.
    pub id: &'a str,
    /// The vector of one text, always of the same length.
    pub embed: &'a mut dyn FnMut(&str) -> Result<Vec<f32>, String>,
}

/// What an ingest did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct IngestReport {
    /// Documents that were not there before.
    pub documents_added: usize,
    /// Documents with another text or another embedder.
    pub documents_changed: usize,
    /// Documents that needed no work.
    pub documents_unchanged: usize,
    /// Documents whose file is gone.
    pub documents_removed: usize,
    /// Vectors made.
    pub passages_embedded: usize,
    /// Documents left without vectors because the embedder failed; the next ingest tries again.
    pub documents_without_vectors: usize,
}

/// Makes the stored documents what `sources` say. Each changed document is replaced in one transaction.
pub(super) fn ingest(
    storage: &Storage,
    sources: &Sources,
    mut embedder: Option<PassageEmbedder<'_>>,
    at: UnixMs,
) -> Result<IngestReport, StorageError> {
    let mut report = IngestReport::default();
    for source in &sources.documents {
        ingest_one(storage, source, embedder.as_mut(), at, &mut report)?;
    }
    for name in storage.read_blocking(document_names)? {
        let is_new = sources.documents.iter().any(|source| source.name == name);
        // A box that has got its own folder forgets the sample office, even if the folder is not mounted.
        let is_sample = || sample::KNOWLEDGE.iter().any(|(sample, _)| name == sample::document_name(sample));
        if !is_new && (!sources.keeps(&name) || is_sample()) {
            storage.write_blocking(move |sql_tx| delete_document(sql_tx, &name))?;
            report.documents_removed += 1;
        }
    }
    Ok(report)
}

fn ingest_one(
    storage: &Storage,
    source: &SourceDocument,
    embedder: Option<&mut PassageEmbedder<'_>>,
    at: UnixMs,
    report: &mut IngestReport,
) -> Result<(), StorageError> {
    let content_sha256 = content_hash(&source.text);
    let stored = storage.read_blocking(|db| find_document(db, &source.name))?;
    if let Some(stored) = &stored
        && stored.content_sha256 == content_sha256
        && embedder.as_ref().is_none_or(|embedder| stored.embedder.as_deref() == Some(embedder.id))
    {
        report.documents_unchanged += 1;
        return Ok(());
    }
    let before = match &stored {
        Some(document) => storage.read_blocking(|db| passages_of(db, document.document_id))?,
        None => Vec::new(),
    };
    let split = source.split();
    let mut passages = carry_over(split.passages, before, at);
    let vectors_from = stored.as_ref().and_then(|document| document.embedder.as_deref());
    let embedder = embed(&mut passages, embedder, vectors_from, report);
    let document = KnowledgeDocument {
        document_id: stored.as_ref().map_or_else(|| DocumentId::new(at), |document| document.document_id),
        name: source.name.clone(),
        title: split.title.unwrap_or_else(|| source.name.clone()),
        content_sha256,
        embedder,
    };
    match stored {
        Some(_) => report.documents_changed += 1,
        None => report.documents_added += 1,
    }
    storage.write_blocking(move |sql_tx| replace_document(sql_tx, &document, &passages, at))
}

fn content_hash(text: &str) -> String {
    let mut hash = Sha256::new();
    hash.update(RULES_VERSION.to_le_bytes());
    hash.update(text.as_bytes());
    hex::encode(hash.finalize())
}

/// A passage that reads as one before takes over its key and its vector.
fn carry_over(split: Vec<SplitPassage>, mut before: Vec<NewPassage>, at: UnixMs) -> Vec<NewPassage> {
    let mut carry = |passage: SplitPassage| {
        let same = before.iter().position(|old| old.heading == passage.heading && old.text == passage.text);
        match same {
            Some(index) => before.swap_remove(index),
            None => NewPassage {
                passage_id: PassageId::new(at),
                heading: passage.heading,
                text: passage.text,
                embedding: None,
            },
        }
    };
    split.into_iter().map(&mut carry).collect()
}

/// Gives every passage a vector of one embedder, or none any: a search must not compare vectors of two models. Returns
/// the embedder's id if all have one.
fn embed(
    passages: &mut [NewPassage],
    embedder: Option<&mut PassageEmbedder<'_>>,
    vectors_from: Option<&str>,
    report: &mut IngestReport,
) -> Option<String> {
    let made = embedder.and_then(|embedder| {
        let keep = vectors_from == Some(embedder.id);
        match embed_all(passages, embedder, keep) {
            Ok(count) => {
                report.passages_embedded += count;
                Some(embedder.id.to_owned())
            }
            Err(reason) => {
                tracing::warn!(reason, "Embedding failed: this document is found by its words only");
                report.documents_without_vectors += 1;
                None
            }
        }
    });
    if made.is_none() {
        passages.iter_mut().for_each(|passage| passage.embedding = None);
    }
    made
}

fn embed_all(passages: &mut [NewPassage], embedder: &mut PassageEmbedder<'_>, keep: bool) -> Result<usize, String> {
    let mut count = 0;
    for passage in passages.iter_mut().filter(|passage| !keep || passage.embedding.is_none()) {
        // The heading often holds the only word the caller uses: "Prices > Children".
        let vector = (embedder.embed)(&format!("{}: {}", passage.heading, passage.text))?;
        if vector.is_empty() || vector.iter().any(|value| !value.is_finite()) {
            return Err("the embedder returned no usable vector".to_owned());
        }
        passage.embedding = Some(vector);
        count += 1;
    }
    Ok(count)
}
