//! When to send: a grid of 20 ms on the monotonic clock, from which a late wake-up does not drift.

use std::time::{Duration, Instant};

use crate::time::FRAME_DURATION;

/// Ticks made up for in one [`SendClock::advance`] before the grid is moved instead: 100 ms, what a peer's jitter buffer
/// can swallow as a burst.
pub const MAX_CATCH_UP_TICKS: u32 = 5;

/// How punctual the shell was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PacingStats {
    /// Ticks given out.
    pub ticks: u64,
    /// Ticks given out more than one interval after their deadline.
    pub late_ticks: u64,
    /// Times the grid was moved after a stall too long to make up for.
    pub rebases: u64,
    /// Ticks that were never given out, because of a move.
    pub lost_ticks: u64,
    /// The worst delay between a deadline and the wake-up that served it.
    pub worst_lateness: Duration,
    /// All delays together; divide by `ticks` for the mean.
    pub total_lateness: Duration,
}

impl PacingStats {
    /// Mean delay between deadline and wake-up.
    pub fn mean_lateness(&self) -> Duration {
        let nanoseconds = self.total_lateness.as_nanos() / u128::from(self.ticks.max(1));
        Duration::from_nanos(u64::try_from(nanoseconds).unwrap_or(u64::MAX))
    }
}

/// The sending grid of one stream or one media thread.
#[derive(Debug, Clone)]
pub struct SendClock {
    next: Instant,
    interval: Duration,
    stats: PacingStats,
}

impl SendClock {
    /// A grid of [`FRAME_DURATION`] whose first tick is due at `start`.
    pub fn new(start: Instant) -> Self {
        Self { next: start, interval: FRAME_DURATION, stats: PacingStats::default() }
    }

    /// When to wake up next.
    pub fn next_deadline(&self) -> Instant {
        self.next
    }

    /// How many ticks are due at `now`: usually 0 or 1, after a short stall up to [`MAX_CATCH_UP_TICKS`]. After a longer
    /// stall one tick is due and the grid continues from `now`.
    pub fn advance(&mut self, now: Instant) -> u32 {
        let Some(lateness) = now.checked_duration_since(self.next) else { return 0 };
        let due = lateness.as_nanos() / self.interval.as_nanos() + 1;
        if due > u128::from(MAX_CATCH_UP_TICKS) {
            self.rebase(now, due, lateness);
            return 1;
        }
        let due = due as u32; // At most MAX_CATCH_UP_TICKS.
        for _ in 0..due {
            self.count_tick(now.duration_since(self.next));
            self.next += self.interval;
        }
        due
    }

    /// How punctual the shell was so far.
    pub fn stats(&self) -> PacingStats {
        self.stats
    }

    fn rebase(&mut self, now: Instant, due: u128, lateness: Duration) {
        self.count_tick(lateness);
        self.stats.rebases += 1;
        self.stats.lost_ticks += u64::try_from(due - 1).unwrap_or(u64::MAX);
        self.next = now + self.interval;
    }

    fn count_tick(&mut self, lateness: Duration) {
        self.stats.ticks += 1;
        self.stats.late_ticks += u64::from(lateness > self.interval);
        self.stats.worst_lateness = self.stats.worst_lateness.max(lateness);
        self.stats.total_lateness += lateness;
    }
}
