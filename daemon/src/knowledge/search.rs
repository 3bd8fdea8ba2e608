//! Finding the passage that answers, and knowing when there is none.
//!
//! Two searches bring candidates: words (FTS5, BM25) and meaning (cosine of embeddings, brute force: 5000 passages of
//! 384 values take about a millisecond). Their *ranks* could be fused (RRF), but ranks say nothing about whether the
//! best is any good, and "I don't know" must be possible. So each candidate gets a score of 0–1 that means the same for
//! every question:
//!
//! - **words** = coverage^1.5, where coverage is the share of the question's terms found in the passage, each weighted
//!   by its rarity (BM25's idf): 1.0 for the word or its stem, 0.8 for a synonym, 0.6 for a longer word that starts with
//!   it. The power keeps one shared word out of two or three from passing for an answer.
//! - **meaning** = the cosine between 0.25 (unrelated) and 0.65 (the same thing said otherwise), as 0–1. With MiniLM
//!   off-topic sentences measured ≤ 0.26 and right ones ≥ 0.39.
//! - **score** = words alone without embeddings; with them 1 − (1 − 0.85·words)·(1 − meaning): either may carry an
//!   answer alone, both together are stronger than one.

use std::collections::BTreeMap;

use rusqlite::Connection;

use super::words::{Term, terms};
use crate::storage::{
    PassageId, StorageError, embeddings, passage_at, passage_count, passages_by_bm25, passages_with_prefix,
    passages_with_word,
};

/// Candidates each of the two searches brings.
const CANDIDATES_MAX: u32 = 50;
const STEM_WEIGHT: f32 = 1.0;
const SYNONYM_WEIGHT: f32 = 0.8;
const PREFIX_WEIGHT: f32 = 0.6;
/// Words alone prove a little less than meaning.
const WORDS_TRUST: f32 = 0.85;
const COSINE_UNRELATED: f32 = 0.25;
const COSINE_SAME: f32 = 0.65;

/// Below this score a hit is no answer: say "I don't know" and offer a person.
pub const ANSWER_SCORE_MIN: f32 = 0.4;

/// A passage that may answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Hit {
    /// What the turn cites.
    pub passage_id: PassageId,
    /// File name of its document.
    pub document: String,
    /// Headings above it, joined by ` > `.
    pub heading: String,
    /// The whole passage.
    pub text: String,
    /// 0–1, comparable between questions; see the module's rule and [`ANSWER_SCORE_MIN`].
    pub score: f32,
    /// Place in the search by words, from 1.
    pub bm25_rank: Option<u32>,
    /// Likeness to the question's embedding, −1 to 1.
    pub cosine: Option<f32>,
}

impl Hit {
    /// Good enough to be said to a caller.
    pub fn is_answer(&self) -> bool {
        self.score >= ANSWER_SCORE_MIN
    }
}

/// Every stored vector, at length 1.
#[derive(Default)]
pub(super) struct Vectors(Vec<(i64, Vec<f32>)>);

impl Vectors {
    pub(super) fn load(db: &Connection) -> Result<Self, StorageError> {
        let normalised = embeddings(db)?.into_iter().filter_map(|(row, vector)| Some((row, normalise(&vector)?)));
        Ok(Vectors(normalised.collect()))
    }

    /// The nearest rows with their cosine, best first. Vectors of another length are of another model: passed over.
    fn nearest(&self, question: &[f32], limit: u32) -> Vec<(i64, f32)> {
        let Some(question) = normalise(question) else { return Vec::new() };
        let same_length = self.0.iter().filter(|(_, vector)| vector.len() == question.len());
        let mut near: Vec<(i64, f32)> = same_length.map(|(row, vector)| (*row, dot(vector, &question))).collect();
        near.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
        near.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
        near
    }
}

fn dot(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).map(|(x, y)| x * y).sum()
}

/// `None` for a vector without direction.
fn normalise(vector: &[f32]) -> Option<Vec<f32>> {
    let length = dot(vector, vector).sqrt();
    (length.is_finite() && length > 0.0).then(|| vector.iter().map(|value| value / length).collect())
}

/// The `limit` best passages for `question`, best first, poor ones included.
pub(super) fn search(
    db: &Connection,
    vectors: &Vectors,
    question: &str,
    question_vector: Option<&[f32]>,
    limit: usize,
) -> Result<Vec<Hit>, StorageError> {
    let terms = terms(question);
    let mut candidates: BTreeMap<i64, Candidate> = BTreeMap::new();
    for (row, rank) in ranked_by_words(db, &terms)?.into_iter().zip(1..) {
        candidates.entry(row).or_default().bm25_rank = Some(rank);
    }
    let near = question_vector.map(|vector| vectors.nearest(vector, CANDIDATES_MAX)).unwrap_or_default();
    for (row, cosine) in &near {
        candidates.entry(*row).or_default().cosine = Some(*cosine);
    }
    add_coverage(db, &terms, &mut candidates)?;
    let mut scored: Vec<(i64, Candidate, f32)> =
        candidates.into_iter().map(|(row, found)| (row, found, found.score(!near.is_empty()))).collect();
    scored.sort_by(|a, b| b.2.total_cmp(&a.2).then(a.1.rank_or_last().cmp(&b.1.rank_or_last())).then(a.0.cmp(&b.0)));
    scored.truncate(limit);
    scored.into_iter().filter_map(|(row, found, score)| hit(db, row, found, score).transpose()).collect()
}

#[derive(Clone, Copy, Default)]
struct Candidate {
    coverage: f32,
    bm25_rank: Option<u32>,
    cosine: Option<f32>,
}

impl Candidate {
    fn score(&self, with_meaning: bool) -> f32 {
        let words = self.coverage.clamp(0.0, 1.0).powf(1.5);
        if !with_meaning {
            return words;
        }
        let cosine = self.cosine.unwrap_or(COSINE_UNRELATED);
        let meaning = ((cosine - COSINE_UNRELATED) / (COSINE_SAME - COSINE_UNRELATED)).clamp(0.0, 1.0);
        1.0 - (1.0 - WORDS_TRUST * words) * (1.0 - meaning)
    }

    fn rank_or_last(&self) -> u32 {
        self.bm25_rank.unwrap_or(u32::MAX)
    }
}

fn ranked_by_words(db: &Connection, terms: &[Term]) -> Result<Vec<i64>, StorageError> {
    let words: Vec<_> =
        terms.iter().flat_map(|term| std::iter::once(&term.word).chain(&term.synonyms)).cloned().collect();
    passages_by_bm25(db, &words, CANDIDATES_MAX)
}

/// Adds to each candidate the share of the question that it covers.
fn add_coverage(
    db: &Connection,
    terms: &[Term],
    candidates: &mut BTreeMap<i64, Candidate>,
) -> Result<(), StorageError> {
    let passages = f32::from(u16::try_from(passage_count(db)?).unwrap_or(u16::MAX));
    let found = terms.iter().map(|term| rows_of(db, term)).collect::<Result<Vec<_>, _>>()?;
    let rarities: Vec<f32> = found.iter().map(|rows| rarity(passages, rows.len())).collect();
    let total: f32 = rarities.iter().sum();
    for (rows, rarity) in found.iter().zip(&rarities) {
        for (row, weight) in rows {
            if let Some(candidate) = candidates.get_mut(row) {
                candidate.coverage += weight * rarity / total;
            }
        }
    }
    Ok(())
}

/// Where a term occurs, and how surely it is meant there.
fn rows_of(db: &Connection, term: &Term) -> Result<BTreeMap<i64, f32>, StorageError> {
    let mut rows = BTreeMap::new();
    let mut add = |found: Vec<i64>, weight: f32| {
        for row in found {
            rows.entry(row).or_insert(weight);
        }
    };
    add(passages_with_word(db, &term.word)?, STEM_WEIGHT);
    for synonym in &term.synonyms {
        add(passages_with_word(db, synonym)?, SYNONYM_WEIGHT);
    }
    if term.is_prefix() {
        add(passages_with_prefix(db, &term.word)?, PREFIX_WEIGHT);
    }
    Ok(rows)
}

/// BM25's idf; a word that occurs nowhere counts like one that occurs once. Always positive.
fn rarity(passages: f32, rows: usize) -> f32 {
    let rows = f32::from(u16::try_from(rows.max(1)).unwrap_or(u16::MAX));
    (1.0 + (passages - rows + 0.5).max(0.0) / (rows + 0.5)).ln().max(0.1)
}

fn hit(db: &Connection, row: i64, found: Candidate, score: f32) -> Result<Option<Hit>, StorageError> {
    let Some(at) = passage_at(db, row)? else { return Ok(None) };
    Ok(Some(Hit {
        passage_id: at.passage.passage_id,
        document: at.document,
        heading: at.passage.heading,
        text: at.passage.text,
        score,
        bm25_rank: found.bm25_rank,
        cosine: found.cosine,
    }))
}
