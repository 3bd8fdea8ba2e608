//! What is wrong with a configuration, one entry a key.

use std::fmt;

/// One mistake: the key, what it was set to, what was expected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigMistake {
    /// Dotted key, for example `sip.port`; the file's name when it cannot be read as TOML at all.
    pub key: String,
    /// The value found.
    pub value: String,
    /// What would have been right.
    pub expected: String,
}

impl ConfigMistake {
    /// A mistake at `key`.
    pub fn new(key: &str, value: impl fmt::Display, expected: String) -> ConfigMistake {
        ConfigMistake { key: key.to_owned(), value: value.to_string(), expected }
    }
}

impl fmt::Display for ConfigMistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: found {}, expected {}", self.key, self.value, self.expected)
    }
}

/// All mistakes of one configuration; never empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigMistakes(pub Vec<ConfigMistake>);

impl fmt::Display for ConfigMistakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plural = if self.0.len() == 1 { "mistake" } else { "mistakes" };
        writeln!(f, "The configuration has {} {plural}:", self.0.len())?;
        for mistake in &self.0 {
            writeln!(f, "  {mistake}")?;
        }
        write!(f, "`offhook config show` prints every key with its default.")
    }
}

impl std::error::Error for ConfigMistakes {}
