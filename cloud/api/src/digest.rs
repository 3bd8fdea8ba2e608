//! Digests: whether two sets of rows are the same, without looking at their order.
//!
//! A row's hash covers its table, key, version and every column that is not NULL, by name. NULL columns are left out so that
//! a new release, which adds columns that are NULL, changes no hash. The sum of a day is that of its rows' hashes modulo
//! 2^128, and the sum of a table that of its days: rows come and go by one addition. A sum is a check against mistakes, not
//! against forgery: whoever can write rows needs no collision.
//!
//! A row's day is in its key, which is a UUIDv7 (RFC 9562 §5.7): it never changes, whatever happens to the row or to clocks,
//! and a deleted row has one too.

use sha2::{Digest as _, Sha256};

use crate::v1::{DigestSum, Value, value::Kind};

/// One day in milliseconds.
const DAY_MS: u64 = 86_400_000;
/// The last day that a UUIDv7 can name: it has 48 bits of milliseconds.
pub const LAST_DAY: u32 = ((1_u64 << 48) / DAY_MS) as u32;

/// The hash of one row. `columns` in any order; NULLs may be there or not.
pub fn row_hash<'a>(
    table: &str,
    key: &str,
    row_version: i64,
    columns: impl IntoIterator<Item = (&'a str, &'a Value)>,
) -> u128 {
    let mut columns: Vec<_> = columns.into_iter().filter(|(_, value)| value.kind.is_some()).collect();
    columns.sort_unstable_by_key(|(name, _)| *name);
    let mut hash = Sha256::new();
    let mut add = |bytes: &[u8]| {
        // Lengths in front, so that no two rows are the same string of bytes.
        hash.update((bytes.len() as u64).to_le_bytes());
        hash.update(bytes);
    };
    add(table.as_bytes());
    add(key.as_bytes());
    add(&row_version.to_le_bytes());
    for (name, value) in columns {
        add(name.as_bytes());
        match &value.kind {
            Some(Kind::Integer(integer)) => add(&with_tag(b'i', &integer.to_le_bytes())),
            Some(Kind::Real(real)) => add(&with_tag(b'r', &real.to_bits().to_le_bytes())),
            Some(Kind::Text(text)) => add(&with_tag(b't', text.as_bytes())),
            Some(Kind::Blob(blob)) => add(&with_tag(b'b', blob)),
            None => {}
        }
    }
    let bytes: [u8; 32] = hash.finalize().into();
    let (first, _) = bytes.as_chunks::<16>();
    u128::from_le_bytes(first[0])
}

fn with_tag(tag: u8, bytes: &[u8]) -> Vec<u8> {
    let mut tagged = Vec::with_capacity(bytes.len() + 1);
    tagged.push(tag);
    tagged.extend_from_slice(bytes);
    tagged
}

/// How many rows, and the sum of their hashes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Sum {
    /// How many.
    pub rows: u64,
    /// Modulo 2^128.
    pub hash: u128,
}

impl Sum {
    /// With one more row.
    pub fn add(&mut self, row_hash: u128) {
        self.rows = self.rows.wrapping_add(1);
        self.hash = self.hash.wrapping_add(row_hash);
    }

    /// Without a row that was added before.
    pub fn remove(&mut self, row_hash: u128) {
        self.rows = self.rows.wrapping_sub(1);
        self.hash = self.hash.wrapping_sub(row_hash);
    }

    /// Both together.
    pub fn merge(&mut self, other: Sum) {
        self.rows = self.rows.wrapping_add(other.rows);
        self.hash = self.hash.wrapping_add(other.hash);
    }
}

impl From<Sum> for DigestSum {
    fn from(sum: Sum) -> Self {
        // The two halves of 128 bits.
        DigestSum { rows: sum.rows, high: (sum.hash >> 64) as u64, low: sum.hash as u64 }
    }
}

impl From<DigestSum> for Sum {
    fn from(sum: DigestSum) -> Self {
        Sum { rows: sum.rows, hash: (u128::from(sum.high) << 64) | u128::from(sum.low) }
    }
}

/// When a key was made, in milliseconds since 1970; `None` if it does not begin like a UUID in lower case.
pub fn time_of(key: &str) -> Option<i64> {
    let ms = format!("{}{}", key.get(..8)?, key.get(8..13)?.strip_prefix('-')?);
    let lower = ms.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte));
    i64::from_str_radix(&ms, 16).ok().filter(|_| lower)
}

/// The day of a key since 1970-01-01; `None` as for [`time_of`].
pub fn day_of(key: &str) -> Option<u32> {
    u32::try_from(time_of(key)?.unsigned_abs() / DAY_MS).ok()
}

/// A text before each key that was made at this time or later, and after each that was made before, in milliseconds since
/// 1970: the beginning of a key is less than the key.
pub fn key_from(at: i64) -> String {
    let ms = at.max(0).unsigned_abs();
    if ms >> 48 != 0 {
        // After every hexadecimal digit.
        return "g".to_owned();
    }
    format!("{:08x}-{:04x}", ms >> 16, ms & 0xffff)
}

/// The keys of a day are those after the first of these texts and up to the second, as text is compared.
pub fn keys_of(day: u32) -> (String, String) {
    let begin = |day: u32| key_from(i64::from(day) * DAY_MS.cast_signed());
    (begin(day.min(LAST_DAY)), begin(day.min(LAST_DAY) + 1))
}

/// Whether this is a key: a UUID as 36 characters in lower case.
pub fn is_key(key: &str) -> bool {
    key.len() == 36
        && key.bytes().enumerate().all(|(at, byte)| match at {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte),
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "0191f2a0-7d00-7abc-8def-0123456789ab";

    fn text(text: &str) -> Value {
        Value { kind: Some(Kind::Text(text.into())) }
    }

    #[test]
    fn a_row_is_the_same_in_any_order_of_columns_and_without_its_nulls() {
        let (a, b, null) = (text("a"), text("b"), Value { kind: None });
        let hash = row_hash("t", KEY, 1, [("x", &a), ("y", &b)]);
        assert_eq!(hash, row_hash("t", KEY, 1, [("y", &b), ("x", &a), ("z", &null)]));
    }

    #[test]
    fn whatever_differs_in_a_row_is_another_hash() {
        let (a, ab, b) = (text("a"), text("ab"), text("b"));
        let one = Value { kind: Some(Kind::Integer(1)) };
        let real = Value { kind: Some(Kind::Real(1.0)) };
        let blob = Value { kind: Some(Kind::Blob(b"a".as_slice().into())) };
        let other_key = KEY.replace('9', "8");
        let hashes = [
            row_hash("t", KEY, 1, [("x", &a)]),
            row_hash("u", KEY, 1, [("x", &a)]),
            row_hash("t", &other_key, 1, [("x", &a)]),
            row_hash("t", KEY, 2, [("x", &a)]),
            row_hash("t", KEY, 1, [("y", &a)]),
            row_hash("t", KEY, 1, [("x", &ab)]),
            row_hash("t", KEY, 1, [("x", &b)]),
            row_hash("t", KEY, 1, [("x", &blob)]),
            row_hash("t", KEY, 1, [("x", &one)]),
            row_hash("t", KEY, 1, [("x", &real)]),
            row_hash("t", KEY, 1, []),
        ];
        let different: std::collections::BTreeSet<_> = hashes.iter().collect();
        assert_eq!(different.len(), hashes.len());
    }

    /// Boxes in the field have it: it must not change with a release.
    #[test]
    fn the_hash_of_a_row_stays_what_it_is() {
        let values = [text("Grüezi"), Value { kind: Some(Kind::Integer(-3)) }, Value { kind: Some(Kind::Real(0.5)) }];
        let hash = row_hash("calls", KEY, 7, ["a", "b", "c"].into_iter().zip(&values));
        assert_eq!(format!("{hash:032x}"), "e42f412842d5aa341467c68d54dac093");
    }

    #[test]
    fn sums_do_not_know_order_and_forget_what_is_removed() {
        let mut sum = Sum::default();
        for hash in [u128::MAX, 5, 7] {
            sum.add(hash);
        }
        let mut other = Sum::default();
        other.add(7);
        other.add(u128::MAX);
        other.add(9);
        other.remove(9);
        other.merge(Sum { rows: 1, hash: 5 });
        assert_eq!(sum, other);
        assert_eq!(Sum::from(DigestSum::from(sum)), sum);
    }

    #[test]
    fn the_day_of_a_key_is_that_of_its_time() {
        // key, day
        for (key, expected) in [
            ("00000000-0000-7000-8000-000000000000", Some(0)),
            ("00000526-5bff-7fff-bfff-ffffffffffff", Some(0)),
            ("00000526-5c00-7000-8000-000000000000", Some(1)),
            ("ffffffff-ffff-7fff-bfff-ffffffffffff", Some(LAST_DAY)),
            ("0191F2A0-7d00-7abc-8def-0123456789ab", None),
            ("+191f2a0-7d00-7abc-8def-0123456789ab", None),
            ("0191f2a0", None),
            ("0191f2aä-7d00", None),
            ("", None),
        ] {
            assert_eq!(day_of(key), expected, "{key}");
            assert_eq!(is_key(key), expected.is_some(), "{key}");
        }
    }

    #[test]
    fn a_key_lies_between_the_ends_of_its_day_and_of_no_other() {
        for key in [KEY, "00000526-5c00-7000-8000-000000000000", "ffffffff-ffff-7fff-bfff-ffffffffffff"] {
            let day = day_of(key).unwrap();
            for (day, inside) in [(day.wrapping_sub(1), false), (day, true), (day.saturating_add(1), false)] {
                if day > LAST_DAY {
                    continue;
                }
                let (after, to) = keys_of(day);
                assert_eq!(after.as_str() < key && key <= to.as_str(), inside, "{key} {day} {after} {to}");
            }
        }
    }
}
