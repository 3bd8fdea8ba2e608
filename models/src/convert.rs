//! A Whisper model in CTranslate2's format becomes one in ggml's, as whisper.cpp reads it.
//!
//! CTranslate2 fuses query, key and value into one matrix (we split it), carries a key bias that is all zero in Whisper
//! (we check and drop it), and leaves the mel filters and the vocabulary to its caller (we add them from the original
//! `openai-whisper` archive). Weights of 16 bits are copied, never rounded, so the result has a known hash.
//!
//! ```text
//! ggml file: magic "ggml" | 11 × i32 sizes | mel filters | vocabulary | { header, name, values } for each tensor
//! ```
//!
//! Reading is by position and writing in small blocks: memory stays at a few megabytes whatever the model's size.

mod ct2;
mod ggml;
mod npz;

use std::io;
use std::path::Path;

use crate::catalogue::Quantisation;

/// What a ggml file holds beside the weights, from `whisper/assets` of the `openai-whisper` source archive.
pub(crate) struct Assets {
    /// `mel_filters.npz`.
    pub(crate) mel_filters: Vec<u8>,
    /// `gpt2.tiktoken`, for English-only models.
    pub(crate) english: Vec<u8>,
    /// `multilingual.tiktoken`.
    pub(crate) multilingual: Vec<u8>,
}

/// Why a model cannot be converted.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConvertError {
    #[error("it is not a CTranslate2 model: {0}")]
    NotCt2(String),
    #[error("it is a {0} model, not a Whisper model")]
    NotWhisper(String),
    #[error("the tensor {0} is missing")]
    TensorMissing(String),
    #[error("the tensor {name} {problem}")]
    Tensor { name: String, problem: String },
    #[error("the key bias of {0} is not zero, which Whisper's format cannot hold")]
    KeyBias(String),
    #[error("the mel filters cannot be read: {0}")]
    MelFilters(String),
    #[error("the vocabulary cannot be read at line {line}")]
    Vocabulary { line: usize },
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Converts `model` (CTranslate2's `model.bin`) to `to`.
pub(crate) fn whisper(
    model: &Path,
    assets: &Assets,
    quantisation: Quantisation,
    to: &Path,
) -> Result<(), ConvertError> {
    let mut model = ct2::Model::open(model)?;
    let mut out = io::BufWriter::with_capacity(1 << 18, std::fs::File::create(to)?);
    ggml::write(&mut model, assets, quantisation, &mut out)?;
    io::Write::flush(&mut out)?;
    Ok(())
}

#[cfg(test)]
mod tests;
