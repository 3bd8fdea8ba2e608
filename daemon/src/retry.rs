//! When something that failed is tried again.
//!
//! Pure: the time is passed in, and the spread of the waits comes from a seed, so that a test sees the same waits each
//! time and a thousand boxes after a power cut do not.

use std::time::Duration;

use crate::storage::UnixMs;

/// Waits that double from `first` to `longest`, each spread by up to a quarter in both directions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    /// After the first failure.
    pub first: Duration,
    /// However many there were; also the longest with its spread.
    pub longest: Duration,
}

impl Backoff {
    /// The wait after `attempts` failures (1 for the first). The same `seed` gives the same wait.
    pub fn after(&self, attempts: u32, seed: u64) -> Duration {
        let doubled = self.first.saturating_mul(1_u32 << attempts.saturating_sub(1).min(20));
        // 0.75 to 1.25, in steps of a thousandth.
        let thousandths = 750 + u32::try_from(mixed(seed ^ u64::from(attempts)) % 501).unwrap_or(250);
        (doubled.min(self.longest) * thousandths / 1_000).min(self.longest)
    }

    /// Anywhere from nothing to the wait after `attempts` failures, with full jitter: for what many boxes lose at once.
    pub fn anywhere_after(&self, attempts: u32, seed: u64) -> Duration {
        let doubled = self.first.saturating_mul(1_u32 << attempts.saturating_sub(1).min(20)).min(self.longest);
        let whole_ms = u64::try_from(doubled.as_millis()).unwrap_or(u64::MAX).saturating_add(1);
        Duration::from_millis(mixed(seed ^ u64::from(attempts)) % whole_ms)
    }

    /// `now` and the wait after `attempts` failures.
    pub fn due_after(&self, attempts: u32, seed: u64, now: UnixMs) -> UnixMs {
        later(now, self.after(attempts, seed))
    }

    /// Whether a wait of ours that ends at `due_at` is over. One that ends further ahead than any wait of ours was begun
    /// under a clock that has been set back since: it is over too.
    pub fn is_over(&self, due_at: UnixMs, now: UnixMs) -> bool {
        due_at <= now || due_at > later(now, self.longest)
    }
}

/// The moment `wait` after `at`.
pub fn later(at: UnixMs, wait: Duration) -> UnixMs {
    UnixMs(at.0.saturating_add(i64::try_from(wait.as_millis()).unwrap_or(i64::MAX)))
}

/// A seed that differs from row to row.
pub fn seed_of(key: &uuid::Uuid) -> u64 {
    key.as_u64_pair().1
}

/// The finalizer of SplitMix64: every bit of the input changes half of the output's.
fn mixed(seed: u64) -> u64 {
    let mut value = seed.wrapping_add(0x9E37_79B9_7F4A_7C15);
    value = (value ^ (value >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    value = (value ^ (value >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    value ^ (value >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    const BACKOFF: Backoff = Backoff { first: Duration::from_secs(10), longest: Duration::from_secs(600) };

    #[test]
    fn waits_double_within_their_spread_up_to_the_longest() {
        // attempts, shortest and longest wait in seconds
        for (attempts, low, high) in [(1, 7.5, 12.5), (2, 15.0, 25.0), (4, 60.0, 100.0), (40, 450.0, 600.0)] {
            for seed in 0..200 {
                let wait = BACKOFF.after(attempts, seed).as_secs_f64();
                assert!((low..=high).contains(&wait), "{attempts} attempts, seed {seed}: {wait}");
            }
        }
    }

    #[test]
    fn waits_with_full_jitter_are_spread_evenly_up_to_the_longest() {
        // attempts, longest wait in seconds
        for (attempts, longest) in [(1, 10.0), (3, 40.0), (40, 600.0)] {
            let waits = (0..1_000).map(|seed| BACKOFF.anywhere_after(attempts, seed).as_secs_f64() / longest);
            let waits: Vec<f64> = waits.collect();
            let mean = waits.iter().sum::<f64>() / 1_000.0;
            assert!(waits.iter().all(|wait| *wait <= 1.0) && (0.45..0.55).contains(&mean), "{attempts}: {mean}");
        }
    }

    #[test]
    fn rows_wait_differently_and_the_same_row_always_alike() {
        let waits: std::collections::BTreeSet<_> = (0..100).map(|seed| BACKOFF.after(3, seed)).collect();
        assert!(waits.len() > 50, "{}", waits.len());
        assert_eq!(BACKOFF.after(3, 7), BACKOFF.after(3, 7));
    }

    #[test]
    fn a_clock_that_was_set_back_ends_the_wait() {
        let now = UnixMs(1_000_000_000);
        for (due_in_ms, is_over) in
            [(-1, true), (0, true), (1, false), (600_000, false), (600_001, true), (i64::MAX / 2, true)]
        {
            assert_eq!(BACKOFF.is_over(UnixMs(now.0 + due_in_ms), now), is_over, "{due_in_ms}");
        }
    }
}
