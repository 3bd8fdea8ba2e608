//! Text-to-speech by a Piper voice: espeak-ng makes phonemes, a VITS network on ONNX Runtime makes the sound.
//!
//! Piper does not stream: a sentence is rendered whole, at about a twentieth of its duration. Memory grows with length,
//! so longer text is cut at a pause and rendered piece by piece.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use ort::session::{RunOptions, Session};
use ort::value::Tensor;
use serde::Deserialize;

use crate::runtime::{self, Shapes};
use crate::{Speech, TextToSpeech, TtsError, VoiceInfo, VoiceSettings, espeak};

/// Most characters of one call.
const TEXT_LIMIT_CHARS: usize = 2_000;
/// Most characters rendered at once: about 15 s of speech.
const PIECE_CHARS: usize = 220;
/// Peak of the rendered speech; the rest is room for resampling.
const PEAK: f32 = 0.7;
/// Most that a quiet piece is amplified.
const MAX_GAIN: f32 = 4.0;

/// A loaded voice.
pub(crate) struct Piper {
    voice: VoiceInfo,
    session: Session,
    ids: HashMap<char, Vec<i64>>,
    scales: [f32; 3],
    speakers: u32,
    espeak_data: Option<PathBuf>,
}

/// The parts we need of a voice's `.onnx.json`.
#[derive(Debug, Deserialize)]
struct VoiceFile {
    audio: Audio,
    espeak: Espeak,
    inference: Inference,
    phoneme_id_map: HashMap<String, Vec<i64>>,
    #[serde(default)]
    num_speakers: u32,
}

#[derive(Debug, Deserialize)]
struct Audio {
    sample_rate: u32,
}

#[derive(Debug, Deserialize)]
struct Espeak {
    voice: String,
}

#[derive(Debug, Deserialize)]
struct Inference {
    noise_scale: f32,
    length_scale: f32,
    noise_w: f32,
}

impl Piper {
    /// Loads a voice from its two files; ONNX Runtime is loaded already. `id` is the catalogue id.
    pub(crate) fn load(id: &str, model: &Path, json: &Path, settings: &VoiceSettings) -> Result<Self, TtsError> {
        let json = fs::read(json).map_err(|error| TtsError::Engine(error.into()))?;
        let file: VoiceFile = serde_json::from_slice(&json).map_err(|error| TtsError::Engine(error.into()))?;
        let session = runtime::session(model, settings.threads, Shapes::Varying).map_err(TtsError::Engine)?;
        let voice = VoiceInfo { id: id.to_owned(), language: file.espeak.voice, sample_rate: file.audio.sample_rate };
        let single = |(phoneme, ids): (String, Vec<i64>)| {
            let mut chars = phoneme.chars();
            chars.next().filter(|_| chars.next().is_none()).map(|c| (c, ids))
        };
        Ok(Self {
            voice,
            session,
            ids: file.phoneme_id_map.into_iter().filter_map(single).collect(),
            scales: [
                settings.noise_scale.unwrap_or(file.inference.noise_scale),
                settings.length_scale.unwrap_or(file.inference.length_scale),
                settings.noise_w.unwrap_or(file.inference.noise_w),
            ],
            speakers: file.num_speakers,
            espeak_data: settings.espeak_data.clone(),
        })
    }

    fn render(&mut self, piece: &str) -> Result<Vec<f32>, TtsError> {
        let phonemes = espeak::phonemes(piece, &self.voice.language, self.espeak_data.as_deref());
        let phonemes = phonemes.map_err(TtsError::Phonemes)?;
        if !phonemes.chars().any(char::is_alphabetic) {
            return Ok(Vec::new());
        }
        let ids = phoneme_ids(&phonemes, &self.ids);
        let infer = |options: RunOptions| self.infer(ids, &options);
        RunOptions::new().and_then(infer).map_err(|error| TtsError::Engine(error.into()))
    }

    /// Renders next to nothing, since memory is given back only at the end of a run.
    fn shrink(&mut self) -> Result<(), ort::Error> {
        self.infer(phoneme_ids("", &self.ids), &runtime::shrinking()?).map(drop)
    }

    fn infer(&mut self, ids: Vec<i64>, options: &RunOptions) -> Result<Vec<f32>, ort::Error> {
        let count = ids.len();
        let mut inputs = ort::inputs![
            "input" => Tensor::from_array(([1, count], ids))?,
            "input_lengths" => Tensor::from_array(([1_usize], vec![count as i64]))?,
            "scales" => Tensor::from_array(([3_usize], self.scales.to_vec()))?,
        ];
        if self.speakers > 1 {
            inputs.push(("sid".into(), Tensor::from_array(([1_usize], vec![0_i64]))?.into()));
        }
        let outputs = self.session.run_with_options(inputs, options)?;
        let (_, samples) = outputs[0].try_extract_tensor::<f32>()?;
        Ok(samples.to_vec())
    }
}

impl TextToSpeech for Piper {
    fn synthesise(&mut self, sentence: &str) -> Result<Speech, TtsError> {
        let chars = sentence.chars().count();
        if chars > TEXT_LIMIT_CHARS {
            return Err(TtsError::TooLong { chars, limit: TEXT_LIMIT_CHARS });
        }
        let mut samples = Vec::new();
        for piece in pieces(sentence, PIECE_CHARS) {
            samples.extend(to_pcm(&self.render(piece)?));
        }
        Ok(Speech { samples, sample_rate: self.voice.sample_rate })
    }

    fn voice(&self) -> &VoiceInfo {
        &self.voice
    }

    fn release_memory(&mut self) {
        if let Err(error) = self.shrink() {
            tracing::debug!(%error, "Piper kept its working memory");
        }
    }
}

/// `^`, then every phoneme, then `$`, with `_` after each but the last. What the voice does not know is left out.
fn phoneme_ids(phonemes: &str, map: &HashMap<char, Vec<i64>>) -> Vec<i64> {
    let pad = map.get(&'_').map_or(&[][..], Vec::as_slice);
    let mut ids = Vec::new();
    for phoneme in std::iter::once('^').chain(phonemes.chars()) {
        if let Some(known) = map.get(&phoneme) {
            ids.extend(known);
            ids.extend(pad);
        }
    }
    ids.extend(map.get(&'$').into_iter().flatten());
    ids
}

/// Cuts `text` into pieces of at most `limit` characters: after a sentence if possible, else after a comma, else
/// between words, else anywhere.
fn pieces(text: &str, limit: usize) -> Vec<&str> {
    let mut rest = text.trim();
    let mut pieces = Vec::new();
    while !rest.is_empty() {
        let end = rest.char_indices().nth(limit).map_or(rest.len(), |(index, _)| index);
        let cut = if end == rest.len() { end } else { cut_before(rest, end) };
        let (piece, after) = rest.split_at(cut);
        pieces.push(piece.trim());
        rest = after.trim_start();
    }
    pieces
}

fn cut_before(text: &str, end: usize) -> usize {
    let head = &text[..end];
    let after_space = |marks: &[char]| {
        let pause = |(index, c): (usize, char)| (c.is_whitespace() && head[..index].ends_with(marks)).then_some(index);
        head.char_indices().rev().find_map(pause)
    };
    let sentence = after_space(&['.', '!', '?']);
    let pause = sentence.or_else(|| after_space(&[',', ';', ':']));
    pause.or_else(|| head.rfind(char::is_whitespace)).filter(|&cut| cut > 0).unwrap_or(end)
}

/// Scales to [`PEAK`] and to 16 bits.
fn to_pcm(samples: &[f32]) -> Vec<i16> {
    let peak = samples.iter().fold(0.0_f32, |peak, sample| peak.max(sample.abs()));
    let gain = (PEAK / peak.max(1e-6)).min(MAX_GAIN) * 32_767.0;
    samples.iter().map(|sample| (sample * gain) as i16).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_text_is_cut_at_the_best_pause_and_nothing_is_lost() {
        assert_eq!(pieces("One two. Three four.", 100), ["One two. Three four."]);
        assert_eq!(pieces("One two. Three four, five.", 12), ["One two.", "Three four,", "five."]);
        assert_eq!(pieces("One, two three", 8), ["One,", "two", "three"]);
        assert_eq!(pieces("äöüäöüäöü", 4), ["äöüä", "öüäö", "ü"]);
        assert_eq!(pieces("   ", 4), [""; 0]);
    }

    #[test]
    fn phonemes_are_padded_and_unknown_ones_left_out() {
        let map = [('_', 0), ('^', 1), ('$', 2), ('a', 7)].map(|(c, id)| (c, vec![id])).into();
        assert_eq!(phoneme_ids("aXa", &map), [1, 0, 7, 0, 7, 0, 2]);
    }

    #[test]
    fn speech_peaks_below_full_scale_and_silence_is_not_amplified_into_noise() {
        assert_eq!(to_pcm(&[1.0, -2.0]), [11_468, -22_936]);
        assert!(to_pcm(&[0.0001; 4]).iter().all(|&sample| sample < 20));
        assert_eq!(to_pcm(&[0.0; 2]), [0, 0]);
    }
}
