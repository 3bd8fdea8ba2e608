//! Makes a written text speakable.

/// Writes a sentence the way it is said.
pub fn normalise(text: &str) -> String {
    text.to_string()
}
