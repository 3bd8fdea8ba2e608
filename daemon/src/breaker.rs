//! When to stop asking somebody who does not answer, so that nobody waits for them in vain.

use std::time::{Duration, Instant};

/// Failures in a row after which nobody is asked for a while.
const FAILURE_LIMIT: u32 = 3;
/// How long, the first time; twice as long each time after.
const FIRST_PAUSE: Duration = Duration::from_secs(30);
/// At most.
const LONGEST_PAUSE: Duration = Duration::from_secs(600);

/// A circuit breaker. Pure: `now` comes in as an argument.
#[derive(Debug, Default)]
pub(crate) struct Breaker {
    failures: u32,
    open_until: Option<Instant>,
}

impl Breaker {
    /// Whether nobody is to be asked at `now`. After a pause one is let through to find out.
    pub(crate) fn is_open(&self, now: Instant) -> bool {
        self.open_until.is_some_and(|until| now < until)
    }

    /// An answer has come.
    pub(crate) fn note_success(&mut self) {
        *self = Breaker::default();
    }

    /// None has. Tells whether a pause begins with this.
    pub(crate) fn note_failure(&mut self, now: Instant) -> bool {
        self.failures = self.failures.saturating_add(1);
        let Some(times) = self.failures.checked_sub(FAILURE_LIMIT) else { return false };
        let pause = FIRST_PAUSE.saturating_mul(1 << times.min(8)).min(LONGEST_PAUSE);
        self.open_until = Some(now + pause);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_failures_in_a_row_make_a_pause_and_each_after_it_a_longer_one() {
        let begin = Instant::now();
        let at = |seconds| begin + Duration::from_secs(seconds);
        let mut breaker = Breaker::default();
        assert!(!breaker.note_failure(at(0)) && !breaker.note_failure(at(1)));
        breaker.note_success();
        assert!(!breaker.note_failure(at(2)) && !breaker.note_failure(at(3)), "an answer between them counts");
        assert!(breaker.note_failure(at(4)));
        assert!(breaker.is_open(at(33)) && !breaker.is_open(at(34)));
        assert!(breaker.note_failure(at(34)), "the one that was let through");
        assert!(breaker.is_open(at(93)) && !breaker.is_open(at(94)));
        for again in 0..20 {
            breaker.note_failure(at(100 + again));
        }
        assert!(breaker.is_open(at(700)) && !breaker.is_open(at(720)), "never longer than ten minutes");
        breaker.note_success();
        assert!(!breaker.is_open(at(720)));
    }
}
