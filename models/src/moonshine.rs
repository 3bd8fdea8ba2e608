//! Speech-to-text by Moonshine tiny (Jeffries et al. 2024, arXiv:2410.15608), English only.
//!
//! Its encoder takes the sound as it is and as long as it is: no spectrum, no window of 30 s. So a short utterance costs
//! a third of what whisper tiny.en needs for it. The decoder writes one token at a time, the likeliest, and keeps its keys and
//! values between them.
//!
//! Left out: beam search and prompts. The model tells no probability that nobody spoke; the guards see 0 there.

use std::borrow::Cow;
use std::path::Path;
use std::time::Instant;

use ort::memory::Allocator;
use ort::session::{Session, SessionInputValue};
use ort::value::{DynValue, Tensor};

use crate::guard::{self, Token};
use crate::runtime::{self, OnnxError, Shapes};
use crate::stt::STT_SAMPLE_RATE;
use crate::{SpeechToText, SttError, TranscribeOptions, Transcript};

const START: i64 = 1;
const END: usize = 2;
/// Bound on the decoder: speech has at most about 5 tokens a second, and the model was trained on 6.5.
const TOKENS_PER_SECOND: f32 = 6.5;
const EXTRA_TOKENS: usize = 6;
const LIMIT_SECONDS: u32 = 30;
/// Its attention.
const LAYERS: usize = 6;
const HEADS: usize = 8;
const HEAD_SIZE: usize = 36;

/// A loaded Moonshine model.
pub(crate) struct Moonshine {
    model: String,
    encoder: Session,
    decoder: Session,
    memories: Vec<Memory>,
    vocabulary: Vocabulary,
}

/// Something that the decoder keeps from one token to the next.
struct Memory {
    goes_in: String,
    comes_out: String,
    /// Made of the sound with the first token, and the same from then on.
    of_sound: bool,
}

impl Memory {
    fn all() -> Vec<Memory> {
        let mut memories = Vec::new();
        for layer in 0..LAYERS {
            for (of_sound, side) in [(false, "decoder"), (true, "encoder")] {
                for kind in ["key", "value"] {
                    let name = format!("{layer}.{side}.{kind}");
                    let (goes_in, comes_out) = (format!("past_key_values.{name}"), format!("present.{name}"));
                    memories.push(Memory { goes_in, comes_out, of_sound });
                }
            }
        }
        memories
    }
}

impl Moonshine {
    /// Loads the two halves and their tokens; ONNX Runtime is loaded already. `threads` is 1..=8.
    pub(crate) fn load(model: &str, [encoder, decoder, tokens]: [&Path; 3], threads: usize) -> Result<Self, SttError> {
        let vocabulary = std::fs::read(tokens).map_err(|error| SttError::Engine(error.into()))?;
        Ok(Self {
            model: model.to_owned(),
            encoder: runtime::session(encoder, threads, Shapes::Varying).map_err(SttError::Engine)?,
            decoder: runtime::session(decoder, threads, Shapes::Varying).map_err(SttError::Engine)?,
            memories: Memory::all(),
            vocabulary: Vocabulary::parse(&vocabulary).map_err(|error| SttError::Engine(error.into()))?,
        })
    }

    /// What the encoder makes of the sound.
    fn encode(&mut self, samples: &[f32]) -> Result<DynValue, OnnxError> {
        let inputs = ort::inputs![
            "input_values" => Tensor::from_array(([1, samples.len()], samples.to_vec()))?,
            "attention_mask" => Tensor::from_array(([1, samples.len()], vec![1_i64; samples.len()]))?,
        ];
        let options = runtime::shrinking()?;
        let mut outputs = self.encoder.run_with_options(inputs, &options)?;
        Ok(outputs.remove("last_hidden_state").ok_or("the encoder has no output last_hidden_state")?)
    }

    /// The likeliest tokens one after another, or `None` if nobody wants them any more. `samples` is how many `sound` was
    /// made of: the decoder counts what it may attend to in them.
    fn decode(
        &mut self,
        sound: &DynValue,
        samples: usize,
        options: &TranscribeOptions,
    ) -> Result<Option<Vec<Token>>, OnnxError> {
        let limit = (TOKENS_PER_SECOND * samples as f32 / STT_SAMPLE_RATE as f32) as usize + EXTRA_TOKENS;
        let mask = Tensor::from_array(([1, samples], vec![1_i64; samples]))?;
        let mut kept: Vec<DynValue> = Vec::with_capacity(self.memories.len());
        for _ in &self.memories {
            kept.push(Tensor::<f32>::new(&Allocator::default(), [1_usize, HEADS, 0, HEAD_SIZE])?.into_dyn());
        }
        let (mut tokens, mut last) = (Vec::new(), START);
        while tokens.len() < limit {
            if options.is_aborted() {
                return Ok(None);
            }
            let is_first = tokens.is_empty();
            let mut inputs: Vec<(Cow<'_, str>, SessionInputValue<'_>)> = vec![
                ("encoder_attention_mask".into(), (&mask).into()),
                ("input_ids".into(), Tensor::from_array(([1_usize, 1], vec![last]))?.into()),
                ("encoder_hidden_states".into(), sound.into()),
                ("use_cache_branch".into(), Tensor::from_array(([1_usize], vec![!is_first]))?.into()),
            ];
            let memories = self.memories.iter().zip(&kept);
            inputs.extend(memories.map(|(memory, value)| (memory.goes_in.as_str().into(), value.into())));
            let mut outputs = self.decoder.run(inputs)?;
            let (_, logits) = outputs.get("logits").ok_or("the decoder has no output logits")?.try_extract_tensor()?;
            let (next, probability) = likeliest(logits).ok_or("the decoder has no logits")?;
            if next == END {
                break;
            }
            for (memory, value) in
                self.memories.iter().zip(&mut kept).filter(|(memory, _)| is_first || !memory.of_sound)
            {
                *value = outputs.remove(&memory.comes_out).ok_or("the decoder does not keep what it should")?;
            }
            tokens.push(Token { id: next as i32, probability });
            last = next as i64;
        }
        Ok(Some(tokens))
    }
}

impl SpeechToText for Moonshine {
    fn transcribe(&mut self, samples: &[f32], options: &TranscribeOptions) -> Result<Transcript, SttError> {
        let audio = guard::duration(samples);
        if audio.as_secs_f32() > LIMIT_SECONDS as f32 {
            return Err(SttError::TooLong { seconds: audio.as_secs_f32(), limit_seconds: LIMIT_SECONDS });
        }
        if options.is_aborted() {
            return Err(SttError::Aborted);
        }
        if let Some(reason) = guard::check_audio(samples) {
            return Ok(Transcript::rejected(reason, audio));
        }
        let start = Instant::now();
        let sound = self.encode(samples).map_err(SttError::Engine)?;
        let tokens = self.decode(&sound, samples.len(), options).map_err(SttError::Engine)?.ok_or(SttError::Aborted)?;
        let text = self.vocabulary.text(&tokens);
        Ok(guard::judge(&text, &tokens, 0.0, audio, start.elapsed()))
    }

    fn model(&self) -> &str {
        &self.model
    }
}

/// The index of the largest of `logits` and its probability among them (softmax); `None` of none.
fn likeliest(logits: &[f32]) -> Option<(usize, f32)> {
    let (index, largest) = logits.iter().copied().enumerate().max_by(|one, other| one.1.total_cmp(&other.1))?;
    let sum: f32 = logits.iter().map(|logit| (logit - largest).exp()).sum();
    Some((index, 1.0 / sum))
}

/// What each token stands for: bytes, of which several may make a letter.
struct Vocabulary(Vec<Vec<u8>>);

impl Vocabulary {
    /// Reads the model's own file: each token's length (seven bits, or two times seven with the high bit of the first set),
    /// then its bytes.
    fn parse(mut bytes: &[u8]) -> Result<Vocabulary, &'static str> {
        const CUT_OFF: &str = "the file of tokens is cut off";
        let mut tokens = Vec::new();
        while let Some((&first, rest)) = bytes.split_first() {
            let (length, rest) = match first {
                0..0x80 => (usize::from(first), rest),
                _ => {
                    let (&second, rest) = rest.split_first().ok_or(CUT_OFF)?;
                    (usize::from(first & 0x7f) | usize::from(second) << 7, rest)
                }
            };
            let (token, rest) = rest.split_at_checked(length).ok_or(CUT_OFF)?;
            tokens.push(token.to_vec());
            bytes = rest;
        }
        if tokens.len() <= END { Err("the file of tokens is empty") } else { Ok(Vocabulary(tokens)) }
    }

    /// Words, with the spaces that the tokens mark (U+2581); what is no UTF-8 is marked as such.
    fn text(&self, tokens: &[Token]) -> String {
        let known = tokens.iter().filter_map(|token| self.0.get(usize::try_from(token.id).ok()?));
        let bytes: Vec<u8> = known.flatten().copied().collect();
        String::from_utf8_lossy(&bytes).replace('\u{2581}', " ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_read_with_their_lengths() {
        let long = [b'x'; 200];
        let file = [&[1, b'a', 3][..], "\u{2581}".as_bytes(), &[0, 0x80 | 72, 1], &long, &[1, 0xc3, 1, 0xa9]].concat();
        let vocabulary = Vocabulary::parse(&file).unwrap();
        let said: Vec<Token> = [1, 0, 4, 5, 9, -1].map(|id| Token { id, probability: 1.0 }).into();
        assert_eq!(vocabulary.text(&said), " aé");
        assert_eq!(vocabulary.0[3].len(), 200);
        assert!(Vocabulary::parse(&file[..50]).is_err());
        assert!(Vocabulary::parse(&[0x80]).is_err() && Vocabulary::parse(&[]).is_err());
    }

    #[test]
    fn the_likeliest_has_its_share() {
        let (index, probability) = likeliest(&[0.0, 3.0, 0.0]).unwrap();
        assert_eq!(index, 1);
        assert!((probability - 0.909).abs() < 0.001, "{probability}");
        assert!(likeliest(&[]).is_none());
    }
}
