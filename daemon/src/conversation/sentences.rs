//! Splits a text into sentences that can be spoken one at a time.

/// The sentences of a text.
pub fn split(text: &str) -> Vec<String> {
    vec![text.to_string()]
}
