//! Sentence embeddings by all-MiniLM-L6-v2 on candle: BERT, the mean over all tokens, length 1.

use std::fs;
use std::path::Path;

use candle_core::{D, DType, Device, Tensor};
use candle_nn::VarBuilder;
use candle_transformers::models::bert::{BertModel, Config};
use tokenizers::{Tokenizer, TruncationParams};

use crate::{EmbedError, Embedder};

/// The model was trained on sentences up to this long.
const MAX_TOKENS: usize = 256;

/// The loaded model.
pub(crate) struct MiniLm {
    model: String,
    bert: BertModel,
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
        let variables =
            VarBuilder::from_buffered_safetensors(read(weights)?, DType::F32, &Device::Cpu).map_err(engine)?;
        let bert = BertModel::load(variables, &config).map_err(engine)?;
        Ok(Self { model: model.to_owned(), bert, tokenizer, dimensions: config.hidden_size })
    }

    fn forward(&self, ids: &[u32]) -> candle_core::Result<Vec<f32>> {
        let ids = Tensor::new(ids, &Device::Cpu)?.unsqueeze(0)?;
        // One sentence without padding: every token counts, so the mask of the mean is all ones.
        let hidden = self.bert.forward(&ids, &ids.zeros_like()?, None)?;
        let mean = hidden.mean(1)?;
        let length = mean.sqr()?.sum_keepdim(D::Minus1)?.sqrt()?;
        mean.broadcast_div(&length)?.squeeze(0)?.to_vec1()
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
