//! Sentence embeddings by all-MiniLM-L6-v2 on candle: BERT, the mean over all tokens, length 1.
//!
//! Half of the weights are one row for each of 30 000 word pieces, and a sentence needs a dozen of them. They stay in the
//! file, which the system caches as long as it has memory to spare: that saves 47 MB, and reading them does not show
//! beside the 10 ms of the encoder.

mod weights;

use std::fs;
use std::path::Path;

use candle_core::{D, DType, Device, Tensor};
use candle_nn::{LayerNorm, Module, VarBuilder, layer_norm};
use candle_transformers::models::bert::{BertEncoder, Config};
use tokenizers::{Tokenizer, TruncationParams};

use self::weights::{Rows, Weights};
use crate::{EmbedError, Embedder};

/// The model was trained on sentences up to this long.
const MAX_TOKENS: usize = 256;

const POSITIONS: &str = "embeddings.position_embeddings.weight";
const KINDS: &str = "embeddings.token_type_embeddings.weight";

/// The loaded model.
pub(crate) struct MiniLm {
    model: String,
    embeddings: Embeddings,
    encoder: BertEncoder,
    tokenizer: Tokenizer,
    dimensions: usize,
}

impl MiniLm {
    /// Loads the three files; `model` is the catalogue id.
    pub(crate) fn load(model: &str, weights: &Path, tokenizer: &Path, config: &Path) -> Result<Self, EmbedError> {
        let read = |path: &Path| fs::read(path).map_err(engine);
        let config: Config = serde_json::from_slice(&read(config)?).map_err(engine)?;
        let mut tokenizer = Tokenizer::from_bytes(read(tokenizer)?).map_err(EmbedError::Tokens)?;
        // As shipped it pads every sentence to 128 tokens, which costs ten times the work of a short one.
        tokenizer.with_padding(None);
        let truncation = TruncationParams { max_length: MAX_TOKENS, ..TruncationParams::default() };
        tokenizer.with_truncation(Some(truncation)).map_err(EmbedError::Tokens)?;
        let weights = Weights::open(weights)?;
        let tensors = weights.load(&["encoder.", POSITIONS, KINDS, "embeddings.LayerNorm."])?;
        let variables = VarBuilder::from_tensors(tensors, DType::F32, &Device::Cpu);
        let encoder = BertEncoder::load(variables.pp("encoder"), &config).map_err(engine)?;
        let words = weights.into_rows("embeddings.word_embeddings.weight")?;
        let embeddings = Embeddings::load(words, &variables, &config).map_err(engine)?;
        Ok(Self { model: model.to_owned(), embeddings, encoder, tokenizer, dimensions: config.hidden_size })
    }

    fn forward(&self, ids: &[u32]) -> candle_core::Result<Vec<f32>> {
        // One sentence without padding: every token counts, so nothing is masked (0 is added to the scores of all) and
        // the mask of the mean is all ones.
        let unmasked = Tensor::zeros((1, 1, 1, ids.len()), DType::F32, &Device::Cpu)?;
        let hidden = self.encoder.forward(&self.embeddings.forward(ids)?, &unmasked)?;
        let mean = hidden.mean(1)?;
        let length = mean.sqr()?.sum_keepdim(D::Minus1)?.sqrt()?;
        mean.broadcast_div(&length)?.squeeze(0)?.to_vec1()
    }
}

/// What BERT adds up for each token.
struct Embeddings {
    words: Rows,
    /// One row for each position in the sentence.
    positions: Tensor,
    /// The row of the first sentence; there never is a second one.
    kind: Tensor,
    norm: LayerNorm,
}

impl Embeddings {
    fn load(words: Rows, variables: &VarBuilder<'_>, config: &Config) -> candle_core::Result<Self> {
        let size = config.hidden_size;
        Ok(Self {
            words,
            positions: variables.get((config.max_position_embeddings, size), POSITIONS)?,
            kind: variables.get((config.type_vocab_size, size), KINDS)?.narrow(0, 0, 1)?.contiguous()?,
            norm: layer_norm(size, config.layer_norm_eps, variables.pp("embeddings.LayerNorm"))?,
        })
    }

    fn forward(&self, ids: &[u32]) -> candle_core::Result<Tensor> {
        let words = self.words.gather(ids)?.broadcast_add(&self.kind)?;
        self.norm.forward(&words.broadcast_add(&self.positions.narrow(0, 0, ids.len())?)?)
    }
}

impl Embedder for MiniLm {
    fn embed(&mut self, text: &str) -> Result<Vec<f32>, EmbedError> {
        let encoding = self.tokenizer.encode(text, true).map_err(EmbedError::Tokens)?;
        self.forward(encoding.get_ids()).map_err(engine)
    }

    fn dimensions(&self) -> usize {
        self.dimensions
    }

    fn model(&self) -> &str {
        &self.model
    }
}

fn engine(error: impl std::error::Error + Send + Sync + 'static) -> EmbedError {
    EmbedError::Engine(Box::new(error))
}
