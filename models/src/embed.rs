//! Sentence embeddings: the trait.

/// Turns a sentence into a point whose nearness to others is nearness in meaning. Blocking: about 15 ms on one core.
pub trait Embedder: Send {
    /// The sentence as a vector of [`Self::dimensions`] values with length 1. Text beyond the model's window (256 tokens
    /// for MiniLM) is cut off.
    fn embed(&mut self, text: &str) -> Result<Vec<f32>, EmbedError>;

    /// Values in each vector.
    fn dimensions(&self) -> usize;

    /// The catalogue id of the model in use: vectors of different models must not be compared.
    fn model(&self) -> &str;
}

/// Why a sentence has no vector.
#[derive(Debug, thiserror::Error)]
pub enum EmbedError {
    /// The text could not be split into tokens.
    #[error("the text could not be split into tokens: {0}")]
    Tokens(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The engine failed inside.
    #[error("the embedding engine failed: {0}")]
    Engine(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// Nearness of two vectors of length 1, -1..=1; 0 when their lengths differ.
pub fn cosine(a: &[f32], b: &[f32]) -> f32 {
    if a.len() == b.len() { a.iter().zip(b).map(|(x, y)| x * y).sum() } else { 0.0 }
}
