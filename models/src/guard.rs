//! Keeps a transcriber's inventions away from the conversation: what is checked before the model runs and after.
//!
//! Whisper answers silence with "Thank you.", noise with "[BLANK_AUDIO]" and a short window with a loop. None of it was
//! said. The limits were chosen on the clips of the engine tests, which print what each one rejects.

use std::time::Duration;

use crate::stt::STT_SAMPLE_RATE;
use crate::{Rejection, Transcript};

/// No word is shorter.
const MIN_AUDIO: Duration = Duration::from_millis(150);
/// Window of the level gate: 100 ms.
const LEVEL_WINDOW: usize = STT_SAMPLE_RATE as usize / 10;
/// The loudest window of audible speech is above this, in dB below full scale; line noise is at -60.
const MIN_LEVEL_DBFS: f32 = -50.0;
/// Above this the model is sure that nobody spoke.
const NO_SPEECH_SURE: f32 = 0.85;
/// Above this it thinks so, which counts if the words are improbable too.
const NO_SPEECH_LIKELY: f32 = 0.6;
/// Mean log-probability of the tokens under which a likely silence is one.
const LOGPROB_IF_SILENT: f32 = -0.7;
/// Mean log-probability of the tokens under which the text is a guess. Whisper's own limit is -1.
const MIN_LOGPROB: f32 = -1.0;
/// Entropy (nats) of the last tokens under which they repeat; whisper.cpp's limit and window.
const MIN_ENTROPY: f32 = 2.4;
const ENTROPY_TOKENS: usize = 32;
/// Nobody speaks faster, in words a second.
const MAX_WORDS_PER_SECOND: f32 = 7.0;
/// A phantom sentence is let through from this confidence on: it may have been said.
const PHANTOM_CONFIDENCE: f32 = 0.6;
/// … unless the model doubts that there was speech at all.
const PHANTOM_NO_SPEECH: f32 = 0.3;
/// What Whisper makes of noise, in lower-case words.
const PHANTOMS: &[&str] = &[
    "thank you",
    "thanks",
    "thank you very much",
    "thank you so much",
    "thank you for watching",
    "thanks for watching",
    "thank you for listening",
    "please subscribe",
    "subtitles by the amara org community",
    "you",
    "bye",
    "bye bye",
    "okay",
    "oh",
    "so",
    "the",
    "i",
    "i'm sorry",
    "hmm",
    "mm",
    "uh",
    "shh",
];

/// One decoded token: which, and how probable it was.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Token {
    pub(crate) id: i32,
    pub(crate) probability: f32,
}

/// Looks at the audio alone, so that the model need not.
pub(crate) fn check_audio(samples: &[f32]) -> Option<Rejection> {
    if duration(samples) < MIN_AUDIO {
        return Some(Rejection::TooShort);
    }
    (loudest_dbfs(samples) < MIN_LEVEL_DBFS).then_some(Rejection::TooQuiet)
}

/// Length of 16 kHz audio.
pub(crate) fn duration(samples: &[f32]) -> Duration {
    Duration::from_secs_f64(samples.len() as f64 / f64::from(STT_SAMPLE_RATE))
}

/// Level of the loudest 100 ms, in dB below full scale.
fn loudest_dbfs(samples: &[f32]) -> f32 {
    let mean_square = |window: &[f32]| window.iter().map(|s| s * s).sum::<f32>() / window.len() as f32;
    let loudest = samples.chunks(LEVEL_WINDOW).map(mean_square).fold(0.0, f32::max);
    10.0 * loudest.max(1e-12).log10()
}

/// Turns what the decoder wrote into a transcript, or into nothing and the reason.
pub(crate) fn judge(raw: &str, tokens: &[Token], no_speech: f32, audio: Duration, decode: Duration) -> Transcript {
    let text = without_annotations(raw);
    let confidence = mean(tokens.iter().map(|token| token.probability));
    let rejected = reason(&text, tokens, no_speech, audio);
    let text = if rejected.is_some() { String::new() } else { text };
    Transcript { text, confidence, no_speech, audio, decode, rejected }
}

fn reason(text: &str, tokens: &[Token], no_speech: f32, audio: Duration) -> Option<Rejection> {
    let words = words(text);
    let logprob = mean(tokens.iter().map(|token| token.probability.max(1e-10).ln()));
    if words.is_empty() || no_speech > NO_SPEECH_SURE || (no_speech > NO_SPEECH_LIKELY && logprob < LOGPROB_IF_SILENT) {
        return Some(Rejection::NoSpeech);
    }
    if repeats(&words) || is_monotonous(tokens) {
        return Some(Rejection::Repetition);
    }
    if words.len() as f32 > 3.0 + MAX_WORDS_PER_SECOND * audio.as_secs_f32() {
        return Some(Rejection::TooManyWords);
    }
    let confidence = mean(tokens.iter().map(|token| token.probability));
    let doubtful = confidence < PHANTOM_CONFIDENCE || no_speech > PHANTOM_NO_SPEECH;
    if doubtful && PHANTOMS.contains(&words.join(" ").as_str()) {
        return Some(Rejection::Phantom);
    }
    (logprob < MIN_LOGPROB).then_some(Rejection::LowConfidence)
}

/// `raw` without "[BLANK_AUDIO]", "(wind blowing)", "*sighs*" and "♪".
fn without_annotations(raw: &str) -> String {
    let mut kept = String::with_capacity(raw.len());
    let mut closing = None;
    for c in raw.chars() {
        match (closing, c) {
            (Some(end), c) if c == end => closing = None,
            (Some(_), _) | (None, '♪') => {}
            (None, '[') => closing = Some(']'),
            (None, '(') => closing = Some(')'),
            (None, '*') => closing = Some('*'),
            (None, c) => kept.push(c),
        }
    }
    kept.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Lower-case words without punctuation; apostrophes inside stay.
fn words(text: &str) -> Vec<String> {
    let word = |word: &str| word.trim_matches(|c: char| !c.is_alphanumeric()).to_lowercase();
    text.split(|c: char| c.is_whitespace() || c == '-').map(word).filter(|word| !word.is_empty()).collect()
}

/// Whether one phrase follows itself again and again. Digits and "no, no, no" may repeat, sentences may not.
fn repeats(words: &[String]) -> bool {
    let limit = |length: usize| match length {
        1 => 8,
        2 => 4,
        _ => 3,
    };
    (1..=words.len() / 3).any(|length| {
        let same = |i: usize| words[i] == words[i + length];
        let mut run = 0;
        (0..words.len() - length).any(|i| {
            run = if same(i) { run + 1 } else { 0 };
            run >= length * (limit(length) - 1)
        })
    })
}

fn is_monotonous(tokens: &[Token]) -> bool {
    let Some(last) = tokens.len().checked_sub(ENTROPY_TOKENS).map(|start| &tokens[start..]) else { return false };
    let share = |token: &Token| last.iter().filter(|other| other.id == token.id).count() as f32 / last.len() as f32;
    // Each token contributes its own share of its kind's -p ln p.
    let entropy: f32 = last.iter().map(|token| -share(token).ln() / last.len() as f32).sum();
    entropy < MIN_ENTROPY
}

fn mean(values: impl ExactSizeIterator<Item = f32>) -> f32 {
    let count = values.len().max(1) as f32;
    // From +0, as the sum of nothing would be -0.
    values.fold(0.0, |sum, value| sum + value) / count
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn tokens(count: i32, probability: f32) -> Vec<Token> {
        (0..count).map(|id| Token { id, probability }).collect()
    }

    #[track_caller]
    fn check(raw: &str, probability: f32, no_speech: f32, audio: Duration, expected: Result<&str, Rejection>) {
        let found = judge(raw, &tokens(8, probability), no_speech, audio, Duration::ZERO);
        let found = found.rejected.map_or(Ok(found.text.as_str()), Err);
        assert_eq!(found, expected, "{raw}");
    }

    #[test]
    fn what_was_said_passes() {
        check(" What are your opening hours?", 0.9, 0.01, 2 * SECOND, Ok("What are your opening hours?"));
        check("Thank you.", 0.9, 0.05, SECOND, Ok("Thank you."));
        check("5 5 5 5 5 5", 0.8, 0.05, 3 * SECOND, Ok("5 5 5 5 5 5"));
        check("No, no, no, no!", 0.8, 0.05, 2 * SECOND, Ok("No, no, no, no!"));
        check("Hello? (coughs) Anyone?", 0.8, 0.05, 2 * SECOND, Ok("Hello? Anyone?"));
    }

    #[test]
    fn what_the_model_invented_does_not() {
        check("[BLANK_AUDIO]", 0.9, 0.1, SECOND, Err(Rejection::NoSpeech));
        check("(wind blowing) *sighs* ♪ ♪", 0.9, 0.1, SECOND, Err(Rejection::NoSpeech));
        check("...", 0.9, 0.1, SECOND, Err(Rejection::NoSpeech));
        check("Thank you.", 0.5, 0.1, SECOND, Err(Rejection::Phantom));
        check("Thank you.", 0.9, 0.5, SECOND, Err(Rejection::Phantom));
        check("Thanks for watching!", 0.55, 0.1, SECOND, Err(Rejection::Phantom));
        check("I would like to go", 0.4, 0.7, SECOND, Err(Rejection::NoSpeech));
        check("I would like to go", 0.9, 0.9, SECOND, Err(Rejection::NoSpeech));
        check("Somewhere purple eats", 0.2, 0.1, SECOND, Err(Rejection::LowConfidence));
        check(&"one two three four five six ".repeat(2), 0.9, 0.1, SECOND, Err(Rejection::TooManyWords));
    }

    #[test]
    fn loops_are_found_at_every_length() {
        for phrase in ["Yes, please. ", "I am going to the ", "the "] {
            let text = phrase.repeat(10);
            check(&text, 0.9, 0.1, 20 * SECOND, Err(Rejection::Repetition));
        }
        let same: Vec<Token> = (0..40).map(|i| Token { id: i % 3, probability: 0.9 }).collect();
        let found = judge("a b c and so on", &same, 0.1, 20 * SECOND, Duration::ZERO);
        assert_eq!(found.rejected, Some(Rejection::Repetition));
    }

    #[test]
    fn short_or_quiet_audio_never_reaches_the_model() {
        assert_eq!(check_audio(&[]), Some(Rejection::TooShort));
        assert_eq!(check_audio(&[0.5; 1_600]), Some(Rejection::TooShort));
        assert_eq!(check_audio(&[0.0; 16_000]), Some(Rejection::TooQuiet));
        assert_eq!(check_audio(&[0.002; 16_000]), Some(Rejection::TooQuiet));
        let mut word_in_silence = vec![0.0; 32_000];
        word_in_silence[8_000..12_000].fill(0.05);
        assert_eq!(check_audio(&word_in_silence), None);
    }

    #[test]
    fn confidence_is_the_mean_token_probability() {
        let tokens = [0.5, 1.0].map(|probability| Token { id: 1, probability });
        let found = judge("hello there", &tokens, 0.0, SECOND, Duration::ZERO);
        assert!((found.confidence - 0.75).abs() < 1e-6);
    }
}
