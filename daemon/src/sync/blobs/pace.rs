//! How much may be sent now. The only place that decides how uploads give way to calls.
//!
//! | Calls | Jitter of the last seconds | Uploads |
//! |---|---|---|
//! | none | | as much as the line takes, in slices of about a quarter of a second |
//! | any, also one that rings | low | 16 KiB each second: a sixth of what one call needs itself |
//! | any | over 15 ms, on any leg | nothing, until it has been lower for 10 s |
//!
//! A slice is also at most a 32nd of what has gone up since the line was last cut: a cut costs the slice that is on its way, so
//! however often it comes, 3 % are sent twice, or 16 KiB for each cut.
//!
//! Packets are marked as low priority too (DSCP CS1), but most lines are queues that do not look.

use std::time::{Duration, Instant};

use crate::call::Line;

/// Interarrival jitter (RFC 3550 §6.4.1) above which a call is not disturbed at all: a quiet line has 1 to 5 ms, and at 20 ms
/// the jitter buffer begins to add delay.
const JITTER_MAX_MS: f64 = 15.0;
/// How long it has to be lower.
const QUIET: Duration = Duration::from_secs(10);
/// Bytes of a second while anybody calls.
const BESIDE_CALLS: u64 = 16 << 10;
/// The smallest slice, in bytes.
const SLICE_MIN: u64 = 16 << 10;
/// The largest: it is acknowledged as a whole.
const SLICE_MAX: u64 = 512 << 10;
/// Which part of what has gone up since the last cut a slice may be.
const PART: u64 = 32;
/// A slice that took less may be larger next time.
const FAST: Duration = Duration::from_millis(250);
/// One that took more was too large: so long a call that begins meanwhile would have to wait.
const SLOW: Duration = Duration::from_secs(1);

/// See the module.
#[derive(Debug)]
pub(crate) struct Pace {
    /// While a call's jitter is high.
    paused_until: Option<Instant>,
    /// While anybody calls.
    next: Instant,
    /// As large as the line is fast.
    slice: u64,
    /// What has gone up since the last cut, in bytes.
    unbroken: u64,
}

impl Pace {
    pub(crate) fn new(now: Instant) -> Pace {
        Pace { paused_until: None, next: now, slice: 4 * SLICE_MIN, unbroken: 0 }
    }

    /// Takes in how calls are.
    pub(crate) fn observe(&mut self, line: Line, now: Instant) {
        if line.calls == 0 {
            (self.paused_until, self.next) = (None, now);
        } else if line.jitter_ms > JITTER_MAX_MS {
            self.paused_until = Some(now + QUIET);
        }
    }

    /// When something may be sent; None is at once.
    pub(crate) fn wait(&self, now: Instant) -> Option<Instant> {
        [self.paused_until, Some(self.next)].into_iter().flatten().max().filter(|until| *until > now)
    }

    /// Whether it is a call's jitter that is waited for.
    pub(crate) fn is_paused(&self, now: Instant) -> bool {
        self.paused_until.is_some_and(|until| until > now)
    }

    /// How much may be sent at once, in bytes.
    pub(crate) fn slice(&self, line: Line) -> u64 {
        if line.calls > 0 { SLICE_MIN } else { self.slice.min(self.unbroken / PART).max(SLICE_MIN) }
    }

    /// So much is being sent.
    pub(crate) fn sending(&mut self, bytes: u64, line: Line, now: Instant) {
        if line.calls > 0 {
            self.next = now + Duration::from_millis(bytes.saturating_mul(1_000) / BESIDE_CALLS);
        }
    }

    /// So much has gone up.
    pub(crate) fn went_up(&mut self, bytes: u64) {
        self.unbroken = self.unbroken.saturating_add(bytes);
    }

    /// The line was cut.
    pub(crate) fn cut(&mut self) {
        self.unbroken = 0;
    }

    /// A slice took so long while nobody called.
    pub(crate) fn took(&mut self, bytes: u64, took: Duration) {
        if took > SLOW {
            self.slice = (bytes / 2).max(SLICE_MIN);
        } else if took < FAST && bytes >= self.slice {
            self.slice = (self.slice * 2).min(SLICE_MAX);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOBODY: Line = Line { calls: 0, jitter_ms: 0.0 };
    const QUIET_CALL: Line = Line { calls: 1, jitter_ms: 3.0 };
    const POOR_CALL: Line = Line { calls: 2, jitter_ms: 15.1 };

    /// Sends whatever may be sent, each slice taking `took`, and says how many bytes that were.
    fn sent_within(pace: &mut Pace, mut now: Instant, seconds: u64, line: Line, took: Duration) -> u64 {
        let end = now + Duration::from_secs(seconds);
        let mut sent = 0;
        while now < end {
            pace.observe(line, now);
            match pace.wait(now) {
                Some(until) => now = until,
                None => {
                    let bytes = pace.slice(line);
                    pace.sending(bytes, line, now);
                    sent += bytes;
                    now += took;
                    pace.went_up(bytes);
                    if line.calls == 0 {
                        pace.took(bytes, took);
                    }
                }
            }
        }
        sent
    }

    #[test]
    fn a_free_line_is_used_in_slices_as_large_as_it_is_fast() {
        let start = Instant::now();
        for (took_ms, slice) in [(10, SLICE_MAX), (500, 4 * SLICE_MIN), (2_000, SLICE_MIN)] {
            let mut pace = Pace::new(start);
            sent_within(&mut pace, start, 3_600, NOBODY, Duration::from_millis(took_ms));
            assert_eq!(pace.slice(NOBODY), slice, "{took_ms} ms");
        }
    }

    #[test]
    fn while_anybody_calls_little_is_sent_in_small_slices() {
        let start = Instant::now();
        let mut pace = Pace::new(start);
        pace.went_up(100 * SLICE_MAX);
        pace.took(4 * SLICE_MIN, Duration::ZERO);
        let sent = sent_within(&mut pace, start, 10, QUIET_CALL, Duration::from_millis(5));
        assert_eq!((sent, pace.slice(QUIET_CALL)), (10 * BESIDE_CALLS, SLICE_MIN));
        assert_eq!(pace.slice(NOBODY), 8 * SLICE_MIN, "what the line takes is not forgotten");
    }

    #[test]
    fn a_slice_is_a_small_part_of_what_has_gone_up_since_the_last_cut() {
        let mut pace = Pace::new(Instant::now());
        pace.slice = SLICE_MAX;
        assert_eq!(pace.slice(NOBODY), SLICE_MIN);
        pace.went_up(3 << 20);
        assert_eq!(pace.slice(NOBODY), 96 << 10);
        pace.went_up(30 << 20);
        assert_eq!(pace.slice(NOBODY), SLICE_MAX);
        pace.cut();
        assert_eq!(pace.slice(NOBODY), SLICE_MIN);
    }

    #[test]
    fn nothing_is_sent_while_a_call_sounds_poor_and_until_it_has_been_better_for_a_while() {
        let start = Instant::now();
        let at = |ms: u64| start + Duration::from_millis(ms);
        let mut pace = Pace::new(start);
        for ms in [0, 1_000, 5_000] {
            pace.observe(POOR_CALL, at(ms));
        }
        for (ms, is_paused) in [(5_001, true), (14_999, true), (15_000, false)] {
            pace.observe(QUIET_CALL, at(ms));
            assert_eq!((pace.is_paused(at(ms)), pace.wait(at(ms)).is_some()), (is_paused, is_paused), "{ms}");
        }
        pace.observe(POOR_CALL, at(16_000));
        assert_eq!(pace.wait(at(16_000)), Some(at(26_000)));
        pace.observe(NOBODY, at(17_000));
        assert_eq!(pace.wait(at(17_000)), None, "nobody is disturbed any more");
    }
}
