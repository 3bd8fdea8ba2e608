//! Engines that replay a script: no model, no clock, the same answer every time. For flows and the simulator.

use std::collections::VecDeque;
use std::f64::consts::TAU;
use std::time::Duration;

use crate::energy::level_dbfs;
use crate::stt::STT_SAMPLE_RATE;
use crate::{
    EmbedError, Embedder, Rejection, Speech, SpeechToText, SttError, TextToSpeech, TranscribeOptions, Transcript,
    TtsError, VoiceActivity, VoiceInfo,
};

/// Utterances that [`utterance_tone`] can tell apart.
const TONES: usize = 40;
/// Pitch of utterance 0 and the step to the next, in Hz: all pass a telephone line and its resamplers.
const TONE_BASE_HZ: f64 = 500.0;
const TONE_STEP_HZ: f64 = 60.0;
/// Share of a window's energy that must lie in one pitch for it to count as a marked utterance.
const TONE_SHARE: f64 = 0.5;
/// Speaking pace of [`ScriptedTts`].
const CHARS_PER_SECOND: f64 = 15.0;

/// What a [`ScriptedStt`] answers.
#[derive(Clone, Debug, PartialEq)]
pub enum ScriptedReply {
    /// These words, with confidence 0.9.
    Text(String),
    /// A transcript as it is.
    Transcript(Transcript),
    /// An error of the engine.
    Failure(String),
}

impl From<&str> for ScriptedReply {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

#[derive(Debug)]
enum Script {
    InOrder(VecDeque<ScriptedReply>),
    ByUtterance(Vec<ScriptedReply>),
}

/// A [`SpeechToText`] that already knows what callers will say.
#[derive(Debug)]
pub struct ScriptedStt {
    script: Script,
}

impl ScriptedStt {
    /// Answers each call with the next reply; after the last one it hears no speech.
    pub fn in_order<R: Into<ScriptedReply>>(replies: impl IntoIterator<Item = R>) -> Self {
        Self { script: Script::InOrder(replies.into_iter().map(Into::into).collect()) }
    }

    /// Answers with reply `n` when the audio is [`utterance_tone`] `n`, however often and in whatever order it is asked:
    /// for callers who decode partial or speculative audio. Anything else is no speech.
    pub fn by_utterance<R: Into<ScriptedReply>>(replies: impl IntoIterator<Item = R>) -> Self {
        Self { script: Script::ByUtterance(replies.into_iter().map(Into::into).collect()) }
    }

    fn reply(&mut self, samples: &[f32]) -> Option<ScriptedReply> {
        match &mut self.script {
            Script::InOrder(replies) => replies.pop_front(),
            Script::ByUtterance(replies) => loudest_tone(samples).and_then(|index| replies.get(index).cloned()),
        }
    }
}

impl SpeechToText for ScriptedStt {
    fn transcribe(&mut self, samples: &[f32], options: &TranscribeOptions) -> Result<Transcript, SttError> {
        if options.is_aborted() {
            return Err(SttError::Aborted);
        }
        let audio = Duration::from_secs_f64(samples.len() as f64 / f64::from(STT_SAMPLE_RATE));
        match self.reply(samples) {
            None => Ok(Transcript::rejected(Rejection::NoSpeech, audio)),
            Some(ScriptedReply::Transcript(transcript)) => Ok(transcript),
            Some(ScriptedReply::Failure(message)) => Err(SttError::Engine(message.into())),
            Some(ScriptedReply::Text(text)) => {
                Ok(Transcript { text, confidence: 0.9, no_speech: 0.01, audio, decode: Duration::ZERO, rejected: None })
            }
        }
    }

    fn model(&self) -> &str {
        "scripted"
    }
}

/// The sound that [`ScriptedStt::by_utterance`] recognises as utterance `index` (0..40, beyond that it wraps): a tone of
/// its own pitch, 20 dB below full scale.
pub fn utterance_tone(index: usize, duration: Duration, sample_rate: u32) -> Vec<i16> {
    let count = (duration.as_secs_f64() * f64::from(sample_rate)) as usize;
    let step = TAU * tone_hz(index % TONES) / f64::from(sample_rate);
    (0..count).map(|n| ((n as f64 * step).sin() * 0.1 * 32_767.0) as i16).collect()
}

fn tone_hz(index: usize) -> f64 {
    TONE_BASE_HZ + index as f64 * TONE_STEP_HZ
}

/// The utterance whose tone fills the loudest 100 ms of `samples` (16 kHz).
fn loudest_tone(samples: &[f32]) -> Option<usize> {
    let window = samples.chunks(1_600).max_by(|a, b| energy(a).total_cmp(&energy(b)))?;
    let total = energy(window);
    let power = |index: usize| tone_power(window, tone_hz(index));
    let best = (0..TONES).max_by(|&a, &b| power(a).total_cmp(&power(b)))?;
    (total > 1e-4 && power(best) > TONE_SHARE * total).then_some(best)
}

fn energy(samples: &[f32]) -> f64 {
    samples.iter().map(|&s| f64::from(s).powi(2)).sum()
}

/// Energy of the component at `hz`, on the same scale as [`energy`].
fn tone_power(samples: &[f32], hz: f64) -> f64 {
    let step = TAU * hz / f64::from(STT_SAMPLE_RATE);
    let (re, im) = samples.iter().enumerate().fold((0.0, 0.0), |(re, im), (n, &s)| {
        let (sin, cos) = (n as f64 * step).sin_cos();
        (re + f64::from(s) * cos, im + f64::from(s) * sin)
    });
    2.0 * (re * re + im * im) / samples.len().max(1) as f64
}

/// A [`TextToSpeech`] that hums: a tone (or silence) about as long as the sentence takes to say.
#[derive(Debug)]
pub struct ScriptedTts {
    voice: VoiceInfo,
    hz: f64,
    spoken: Vec<String>,
}

impl ScriptedTts {
    /// Hums at 200 Hz, at `sample_rate` Hz.
    pub fn new(sample_rate: u32) -> Self {
        let voice = VoiceInfo { id: "scripted".to_owned(), language: "en".to_owned(), sample_rate };
        Self { voice, hz: 200.0, spoken: Vec::new() }
    }

    /// Stays silent for the same time.
    pub fn silent(sample_rate: u32) -> Self {
        Self { hz: 0.0, ..Self::new(sample_rate) }
    }

    /// Every sentence asked for so far.
    pub fn spoken(&self) -> &[String] {
        &self.spoken
    }

    /// How long any scripted voice takes for `sentence`: 15 characters a second.
    pub fn duration_of(sentence: &str) -> Duration {
        Duration::from_secs_f64(sentence.trim().chars().count() as f64 / CHARS_PER_SECOND)
    }
}

impl TextToSpeech for ScriptedTts {
    fn synthesise(&mut self, sentence: &str) -> Result<Speech, TtsError> {
        self.spoken.push(sentence.to_owned());
        let sample_rate = self.voice.sample_rate;
        let count = (Self::duration_of(sentence).as_secs_f64() * f64::from(sample_rate)).round() as usize;
        let step = TAU * self.hz / f64::from(sample_rate);
        let samples = (0..count).map(|n| ((n as f64 * step).sin() * 3_000.0) as i16).collect();
        Ok(Speech { samples, sample_rate })
    }

    fn voice(&self) -> &VoiceInfo {
        &self.voice
    }
}

/// A [`VoiceActivity`] without memory: 1 at or above a level, else 0.
#[derive(Clone, Copy, Debug)]
pub struct LevelVad {
    threshold_dbfs: f32,
}

impl LevelVad {
    /// Speech is what is at least this loud, in dB relative to full scale (negative).
    pub fn new(threshold_dbfs: f32) -> Self {
        Self { threshold_dbfs }
    }
}

impl Default for LevelVad {
    /// -40 dBFS: below [`utterance_tone`], above comfort noise.
    fn default() -> Self {
        Self::new(-40.0)
    }
}

impl VoiceActivity for LevelVad {
    fn probability(&mut self, frame: &[i16]) -> f32 {
        if !frame.is_empty() && level_dbfs(frame) >= self.threshold_dbfs { 1.0 } else { 0.0 }
    }

    fn reset(&mut self) {}
}

/// An [`Embedder`] that hashes words into a vector: sentences that share words are near, nothing else is.
#[derive(Clone, Copy, Debug, Default)]
pub struct HashedEmbedder;

impl HashedEmbedder {
    const DIMENSIONS: usize = 384;
}

impl Embedder for HashedEmbedder {
    fn embed(&mut self, text: &str) -> Result<Vec<f32>, EmbedError> {
        let mut vector = vec![0.0; Self::DIMENSIONS];
        let lower = text.to_lowercase();
        for word in lower.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()) {
            let hash = fnv1a(word.as_bytes());
            let sign = if hash >> 63 == 0 { 1.0 } else { -1.0 };
            vector[(hash % Self::DIMENSIONS as u64) as usize] += sign;
        }
        let length = vector.iter().map(|v| v * v).sum::<f32>().sqrt();
        if length == 0.0 {
            vector[0] = 1.0;
        } else {
            vector.iter_mut().for_each(|v| *v /= length);
        }
        Ok(vector)
    }

    fn dimensions(&self) -> usize {
        Self::DIMENSIONS
    }

    fn model(&self) -> &str {
        "hashed"
    }
}

/// FNV-1a, 64 bits: small, and the same on every machine and Rust version.
fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, &byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cosine;

    fn at_16_khz(samples: &[i16]) -> Vec<f32> {
        samples.iter().map(|&s| f32::from(s) / 32_768.0).collect()
    }

    #[test]
    fn every_utterance_tone_is_told_apart_even_in_noise_and_silence() {
        for index in 0..TONES {
            let mut samples = vec![0.0; 4_000];
            samples.extend(at_16_khz(&utterance_tone(index, Duration::from_millis(700), 16_000)));
            for (n, sample) in samples.iter_mut().enumerate() {
                *sample += ((n * 7_919 % 101) as f32 / 101.0 - 0.5) * 0.01;
            }
            assert_eq!(loudest_tone(&samples), Some(index));
        }
        assert_eq!(loudest_tone(&vec![0.0; 16_000]), None);
        assert_eq!(loudest_tone(&[]), None);
    }

    #[test]
    fn replies_by_utterance_repeat_and_replies_in_order_end() {
        let options = TranscribeOptions::default();
        let audio = at_16_khz(&utterance_tone(1, Duration::from_millis(500), 16_000));
        let mut by_utterance = ScriptedStt::by_utterance(["hello", "what are your hours"]);
        for _ in 0..2 {
            assert_eq!(by_utterance.transcribe(&audio, &options).unwrap().text, "what are your hours");
        }
        let mut in_order = ScriptedStt::in_order(["hello"]);
        assert_eq!(in_order.transcribe(&audio, &options).unwrap().text, "hello");
        assert_eq!(in_order.transcribe(&audio, &options).unwrap().rejected, Some(Rejection::NoSpeech));
    }

    #[test]
    fn scripted_speech_lasts_as_long_as_its_text() {
        let mut tts = ScriptedTts::new(8_000);
        let speech = tts.synthesise("fifteen letters").unwrap();
        assert_eq!(speech.samples.len(), 8_000);
        assert_eq!(speech.duration(), Duration::from_secs(1));
        assert!(ScriptedTts::silent(8_000).synthesise("hush").unwrap().samples.iter().all(|&s| s == 0));
        assert_eq!(tts.spoken(), ["fifteen letters"]);
    }

    #[test]
    fn hashed_vectors_have_length_one_and_shared_words_are_near() {
        let mut embedder = HashedEmbedder;
        let [hours, when, parking, empty] =
            ["what are your opening hours", "opening hours please", "is there parking", ""]
                .map(|text| embedder.embed(text).unwrap());
        for vector in [&hours, &when, &parking, &empty] {
            assert!((cosine(vector, vector) - 1.0).abs() < 1e-5);
        }
        assert!(cosine(&hours, &when) > cosine(&hours, &parking) + 0.2);
    }

    #[test]
    fn level_vad_hears_the_utterance_tone_and_not_silence() {
        let mut vad = LevelVad::default();
        assert_eq!(vad.probability(&utterance_tone(3, Duration::from_millis(20), 8_000)), 1.0);
        assert_eq!(vad.probability(&[3; 160]), 0.0);
    }
}
