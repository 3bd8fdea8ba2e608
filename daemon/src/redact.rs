//! A wrapper for what must never reach a log: numbers, names, transcripts, PINs, credentials.

use std::fmt;

/// A value that prints as `<redacted>`; reading it takes an explicit [`reveal`](Redacted::reveal).
///
/// Deliberately absent: `Deref`, `AsRef` and `Serialize`, which would let the value slip out unseen.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Redacted<T>(T);

impl<T> Redacted<T> {
    /// Wraps `value`.
    pub const fn new(value: T) -> Self {
        Redacted(value)
    }

    /// The value itself, for storing it or for showing it to its owner. Never for a log.
    pub const fn reveal(&self) -> &T {
        &self.0
    }

    /// The value itself, taken out of its wrapper.
    pub fn into_revealed(self) -> T {
        self.0
    }
}

impl<T> From<T> for Redacted<T> {
    fn from(value: T) -> Self {
        Redacted(value)
    }
}

impl<T> fmt::Debug for Redacted<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<redacted>")
    }
}

impl<T> fmt::Display for Redacted<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<redacted>")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Neither way of printing shows the value, also not inside a derived `Debug`.
    #[test]
    fn prints_only_the_placeholder() {
        #[derive(Debug)]
        #[expect(dead_code, reason = "only printed")]
        struct Caller {
            number: Redacted<String>,
        }
        let caller = Caller { number: Redacted::new("+4915112345678".to_owned()) };
        assert_eq!(format!("{caller:?}"), "Caller { number: <redacted> }");
        assert_eq!(Redacted::new(1234).to_string(), "<redacted>");
        assert_eq!(*Redacted::new(1234).reveal(), 1234);
    }
}
