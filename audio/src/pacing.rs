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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::at;

    #[test]
    fn an_hour_of_late_wake_ups_does_not_drift() {
        let mut clock = SendClock::new(at(0));
        let mut ticks = 0;
        for index in 0..180_000_u64 {
            assert_eq!(clock.next_deadline(), at(index * 20));
            ticks += clock.advance(clock.next_deadline() + Duration::from_micros(index % 7 * 900));
        }
        assert_eq!(ticks, 180_000);
        let stats = clock.stats();
        assert_eq!((stats.ticks, stats.late_ticks, stats.rebases), (180_000, 0, 0));
        assert_eq!(stats.worst_lateness, Duration::from_micros(5_400));
        assert!(stats.mean_lateness().abs_diff(Duration::from_micros(2_700)) < Duration::from_micros(1));
    }

    #[test]
    fn an_early_wake_up_gives_no_tick() {
        let mut clock = SendClock::new(at(100));
        assert_eq!(clock.advance(at(99)), 0);
        assert_eq!(clock.advance(at(100)), 1);
        assert_eq!(clock.advance(at(119)), 0);
        assert_eq!(clock.stats().ticks, 1);
    }

    #[test]
    fn a_short_stall_is_made_up_for() {
        let mut clock = SendClock::new(at(0));
        assert_eq!(clock.advance(at(99)), 5);
        assert_eq!(clock.next_deadline(), at(100));
        assert_eq!((clock.stats().late_ticks, clock.stats().lost_ticks), (4, 0));
    }

    /// After a suspend the peer must not be flooded with the ticks that were slept through.
    #[test]
    fn a_long_stall_moves_the_grid_and_is_counted() {
        let mut clock = SendClock::new(at(0));
        clock.advance(at(0));
        assert_eq!(clock.advance(at(3_605)), 1);
        assert_eq!(clock.next_deadline(), at(3_625));
        let stats = clock.stats();
        assert_eq!((stats.rebases, stats.lost_ticks, stats.ticks), (1, 179, 2));
        assert_eq!(clock.advance(at(3_625)), 1);
    }
}
