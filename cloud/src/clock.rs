//! The only place of this crate that asks what time it is, or sleeps. What decides is told the time.
#![expect(clippy::disallowed_methods, reason = "somebody has to ask, and does it here")]

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Now, for deadlines.
pub fn now() -> Instant {
    Instant::now()
}

/// Now, in milliseconds since 1970.
pub fn unix_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// Waits, on a thread that has nothing else to do.
pub(crate) fn sleep(wait: Duration) {
    std::thread::sleep(wait);
}
