//! The talk between a caller and the models: when a turn ends, what was meant, what to answer, how to say it.
//!
//! ```text
//!  frames ─► endpointing ─► (speech-to-text) ─► intent ─► answer ─► normalise ─► (text-to-speech)
//!               └──────────────── machine: whose turn it is, and never silence ───────────┘
//! ```
//! Everything here is pure: `now` comes in as an argument, wall time as a [`jiff::Zoned`], vectors and passages as
//! values. Whoever drives [`machine::Conversation`] owns clocks, threads and models. Left out on purpose: sound, storage
//! and searching.

pub mod answer;
pub mod context;
pub mod endpointing;
pub mod escalation;
pub mod grounding;
pub mod intent;
pub mod language;
pub mod machine;
pub mod normalise;
pub mod phrases;
pub mod requests;
pub mod sentences;
pub mod slots;
pub mod summary;
pub mod tools;
#[cfg(test)]
mod wordings;

/// The words of a text in small letters, without punctuation around them. Apostrophes are straightened.
pub(crate) fn words(text: &str) -> Vec<String> {
    let plain = text.to_lowercase().replace('’', "'");
    let word = |w: &str| w.trim_matches(|c: char| !c.is_alphanumeric()).to_string();
    plain
        .split(|c: char| c.is_whitespace() || matches!(c, ',' | ';' | '–' | '—'))
        .map(word)
        .filter(|w| !w.is_empty())
        .collect()
}

/// A text as sentences for a voice: split, and written the way they are said.
pub fn speakable(text: &str) -> Vec<String> {
    sentences::split(text).iter().map(|sentence| voiced(sentence)).collect()
}

/// A sentence, or the part that opens one, as it is said: an opening keeps its comma, so that the voice stays up.
pub(crate) fn voiced(sentence: &str) -> String {
    let mut words = normalise::normalise(sentence);
    if sentence.ends_with([',', ';', ':', '–']) && words.ends_with(char::is_alphanumeric) {
        words.push(',');
    }
    words
}

/// The words for a voice that an answer of these sentences begins with; `None` if it has none.
pub(crate) fn opening(mut answer: Vec<String>) -> Option<String> {
    sentences::open_early(&mut answer);
    answer.first().map(|first| voiced(first))
}
