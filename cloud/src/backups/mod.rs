//! Sealed backups of boxes: what may have which name, and what becomes of it when somebody wants it gone.
//!
//! ```text
//! box ─Begin, Put, Commit─► content: as recordings, below a prefix of its own     name: backup_files, in the store
//!     ─Remove─────────────► out of sight for `backups.removed_days`, then gone
//! operator ─rewind────────► everything as it was at some moment of these days
//! ```
//! The box decides which bases and segments are kept, by their names. The cloud cannot read any of it, and does not believe
//! the box where it would cost the office its calls: whoever has stolen a box has its certificate too. So nothing is ever
//! overwritten, and what is removed, or has lost its name to something else, stays for some days: all of it, because bases
//! that were made to push out the real ones look like any other. It counts for the quota meanwhile, or removing would be a
//! way to fill the disk. A box whose place another one has taken (a later epoch) gives no bases and segments any more.
//!
//! Left out on purpose: which bases and segments make a whole, which is the box's business, and any clock.

pub mod cli;

use crate::blobs::Hash;

/// Longest name, in bytes.
const NAME_MAX: usize = 200;
/// Parts of a name between slashes at most.
const PARTS_MAX: usize = 3;
/// Names of a Remove at most.
pub const NAMES_MAX: usize = 1_000;
/// Below which prefix content is.
pub const PREFIX: &str = "backups";

/// A file of a backup. Times are milliseconds since 1970 by this service's clock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackupFile {
    /// The box's name for it.
    pub name: String,
    /// Of its sealed content.
    pub sha256: Hash,
    /// Of its sealed content.
    pub size_bytes: u64,
    /// Since when it is here.
    pub kept_at: i64,
    /// Since when it is out of sight.
    pub removed_at: Option<i64>,
}

/// What is taken, and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Of everything that is kept for a box, in bytes: also of what it has removed.
    pub box_bytes: u64,
    /// How long something that was removed is kept, in milliseconds.
    pub removed_ms: i64,
}

impl Limits {
    /// As `[backups]` says it: GiB for a box, and days.
    pub fn new(gigabytes: u32, removed_days: u32) -> Limits {
        Limits { box_bytes: u64::from(gigabytes) << 30, removed_ms: i64::from(removed_days) * 86_400_000 }
    }
}

/// Why a file is not taken or given.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BackupError {
    /// No name.
    #[error(
        "name {0:?}: expected at most {NAME_MAX} lower-case letters, digits, points and hyphens, in at most {PARTS_MAX} parts between slashes"
    )]
    Name(String),
    /// Too many names at once.
    #[error("{0} names: expected at most {NAMES_MAX}")]
    Names(usize),
    /// It has as much as it may have.
    #[error(
        "the quota for backups of a box (backups.gigabytes_limit of the cloud) is used up: {limit} bytes, and with this file it would be {bytes}; what was removed counts until it is gone"
    )]
    Quota {
        /// With this file.
        bytes: u64,
        /// What is taken.
        limit: u64,
    },
    /// Another box has taken its place.
    #[error("another box has taken this one's place: it is at epoch {current}, and {name} is of epoch {epoch}")]
    Fenced {
        /// The file.
        name: String,
        /// Of it.
        epoch: u64,
        /// Of the box.
        current: u64,
    },
    /// There is none.
    #[error("no backup {0:?} is here")]
    NotFound(String),
}

/// Whether it is a name.
///
/// # Errors
/// [`BackupError::Name`].
pub fn check_name(name: &str) -> Result<(), BackupError> {
    let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'.' | b'-');
    let part = |part: &str| !part.is_empty() && !part.starts_with('.') && part.bytes().all(fits);
    let right = name.len() <= NAME_MAX && name.split('/').count() <= PARTS_MAX && name.split('/').all(part);
    if right { Ok(()) } else { Err(BackupError::Name(name.chars().take(NAME_MAX).collect())) }
}

/// A box that another one has replaced gives nothing that could be taken for the other's. `current` is the latest epoch that
/// was heard of.
///
/// # Errors
/// [`BackupError::Fenced`].
pub fn check_epoch(name: &str, current: Option<u64>) -> Result<(), BackupError> {
    match (epoch_of(name), current) {
        (Some(epoch), Some(current)) if epoch < current => {
            Err(BackupError::Fenced { name: name.to_owned(), epoch, current })
        }
        (_, _) => Ok(()),
    }
}

/// Of a base or a segment: `base-EPOCH-…`, `segment-EPOCH-…`.
fn epoch_of(name: &str) -> Option<u64> {
    let last = name.rsplit('/').next()?;
    let rest = last.strip_prefix("base-").or_else(|| last.strip_prefix("segment-"))?;
    rest.split('-').next()?.parse().ok()
}

/// Whether a box that has `bytes` may have so much more.
///
/// # Errors
/// [`BackupError::Quota`].
pub fn check_quota(bytes: u64, more: u64, limit: u64) -> Result<(), BackupError> {
    let bytes = bytes.saturating_add(more);
    if bytes <= limit { Ok(()) } else { Err(BackupError::Quota { bytes, limit }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_what_boxes_call_their_files_and_nothing_that_leads_elsewhere() {
        for name in ["base-0001-000000000010.tar.zst.age", "offhook-qx5/recordings/ab12.wav.age", "a/b/c"] {
            check_name(name).unwrap();
        }
        let long = "a".repeat(201);
        for name in ["", "/a", "a//b", "a/../b", "..", ".hidden", "A", "a b", "a/b/c/d", "ä", "a\0", long.as_str()] {
            let error = check_name(name).unwrap_err().to_string();
            assert!(error.contains("expected at most 200"), "{name}: {error}");
        }
    }

    #[test]
    fn a_box_that_was_replaced_gives_no_bases_and_segments() {
        let base = "offhook-qx5/base-0001-000000000010.tar.zst.age";
        for (name, current, fits) in [
            (base, None, true),
            (base, Some(1), true),
            (base, Some(2), false),
            ("segment-0002-000000000010-000000000011.zst.age", Some(2), true),
            ("segment-0001-000000000010-000000000011.zst.age", Some(2), false),
            ("offhook-qx5/recordings/ab.wav.age", Some(9), true),
        ] {
            assert_eq!(check_epoch(name, current).is_ok(), fits, "{name} {current:?}");
        }
        let error = check_epoch(base, Some(2)).unwrap_err().to_string();
        assert!(error.contains("another box has taken this one's place") && error.contains("epoch 2"), "{error}");
    }

    #[test]
    fn the_quota_is_an_error_with_its_key() {
        check_quota(6, 4, 10).unwrap();
        let error = check_quota(7, 4, 10).unwrap_err().to_string();
        assert!(error.contains("backups.gigabytes_limit") && error.contains("it would be 11"), "{error}");
        check_quota(u64::MAX, 1, 10).unwrap_err();
    }
}
