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
    sentences::split(text).iter().map(|sentence| normalise::normalise(sentence)).collect()
}
