//! Who asked for what: entries that nobody can change without its being seen.
//!
//! Each entry is written down before it is done, and so is what was refused. Its hash covers the entry before, so an entry
//! that was changed or taken out is found by whoever has any later hash; `offhook-cloud audit` says the latest.

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// Something that was asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Asked {
    /// Who.
    pub operator: String,
    /// With what role.
    pub role: String,
    /// At the service itself.
    pub at_console: bool,
    /// What.
    pub action: String,
    /// Of which box, rollout or caller.
    pub target: String,
    /// How.
    pub detail: String,
    /// Whether it was allowed.
    pub allowed: bool,
}

/// An entry as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditEntry {
    /// Counts from 1 for each tenant.
    pub number: u64,
    /// Milliseconds since 1970.
    pub at: i64,
    /// An [`Asked`] in JSON, as it was hashed.
    pub body: String,
    /// Of this entry and the one before.
    pub hash: [u8; 32],
}

impl AuditEntry {
    /// The entry after `before`.
    pub fn after(before: Option<&AuditEntry>, at: i64, body: String) -> AuditEntry {
        let number = before.map_or(0, |before| before.number) + 1;
        let hash = hash(before.map_or([0; 32], |before| before.hash), number, at, &body);
        AuditEntry { number, at, body, hash }
    }

    /// Whether it follows `before`, unchanged.
    pub fn follows(&self, before: Option<&AuditEntry>) -> bool {
        *self == AuditEntry::after(before, self.at, self.body.clone())
    }
}

fn hash(before: [u8; 32], number: u64, at: i64, body: &str) -> [u8; 32] {
    let mut hash = Sha256::new();
    hash.update(before);
    hash.update(number.to_le_bytes());
    hash.update(at.to_le_bytes());
    hash.update(body.as_bytes());
    hash.finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_that_was_changed_or_taken_out_is_found() {
        let first = AuditEntry::after(None, 5, "a".to_owned());
        let second = AuditEntry::after(Some(&first), 6, "b".to_owned());
        let third = AuditEntry::after(Some(&second), 6, "c".to_owned());
        assert!(first.follows(None) && second.follows(Some(&first)) && third.follows(Some(&second)));
        assert!(!third.follows(Some(&first)), "the second was taken out");
        let changed = AuditEntry { body: "x".to_owned(), ..second.clone() };
        assert!(!changed.follows(Some(&first)));
        let forged = AuditEntry::after(Some(&first), 6, "x".to_owned());
        assert!(forged.follows(Some(&first)) && !third.follows(Some(&forged)));
    }
}
