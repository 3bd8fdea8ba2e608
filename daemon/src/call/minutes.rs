//! How long the office has talked outside today: whoever gets at a phone or a password cannot talk for ever at its expense.
//!
//! After a restart it is what the rows of the day's calls say.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use jiff::civil::Date;

/// The time of all calls to outside that have ended today; cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Minutes(Arc<Mutex<Meter>>);

#[derive(Debug, Default)]
struct Meter {
    day: Date,
    used: Duration,
}

/// A call that is up; counted when it is dropped.
#[derive(Debug)]
pub(super) struct Running {
    minutes: Minutes,
    began: Instant,
}

impl Minutes {
    /// On `today`, which has brought calls of `used` together so far.
    pub fn after(today: Date, used: Duration) -> Minutes {
        Minutes(Arc::new(Mutex::new(Meter { day: today, used })))
    }

    fn meter(&self) -> MutexGuard<'_, Meter> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the calls of `today` have taken `limit` together.
    pub(super) fn are_used_up(&self, limit: Duration, today: Date) -> bool {
        let mut meter = self.meter();
        if meter.day != today {
            *meter = Meter { day: today, used: Duration::ZERO };
        }
        meter.used >= limit
    }

    /// A call was answered.
    pub(super) fn run(&self, now: Instant) -> Running {
        Running { minutes: self.clone(), began: now }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Of a call over midnight all counts for the day it ends on, once somebody asks for that.
        let mut meter = self.minutes.meter();
        meter.used = meter.used.saturating_add(self.began.elapsed());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::civil::date;

    #[test]
    fn what_was_talked_today_counts_until_tomorrow() {
        let minutes = Minutes::default();
        let (today, tomorrow, limit) = (date(2026, 11, 26), date(2026, 11, 27), Duration::from_secs(600));
        assert!(!minutes.are_used_up(limit, today));
        let began = Instant::now().checked_sub(limit).unwrap();
        drop(minutes.run(began));
        assert!(minutes.are_used_up(limit, today) && !minutes.are_used_up(limit, tomorrow));
        assert!(Minutes::after(today, limit).are_used_up(limit, today), "a restart does not begin again");
    }
}
