//! The times everything else is made of (RFC 3261 §17.1.1.1, table 4).

use std::time::Duration;

/// T1, T2 and T4. Tests shorten them; nothing else has a reason to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timers {
    /// Round trip estimate: the first repeat comes after it. 500 ms.
    pub t1: Duration,
    /// Longest wait between two repeats of anything but an INVITE request. 4 s.
    pub t2: Duration,
    /// How long a message may linger in the network. 5 s.
    pub t4: Duration,
}

impl Default for Timers {
    fn default() -> Self {
        Self { t1: Duration::from_millis(500), t2: Duration::from_secs(4), t4: Duration::from_secs(5) }
    }
}

impl Timers {
    /// 64·T1, after which a transaction gives up: timers B, F, H, J, L and M. 32 s.
    pub fn give_up(&self) -> Duration {
        self.t1 * 64
    }

    /// Timer D: more than 32 s by the RFC whatever T1 is; here it follows T1 so that tests can shorten it.
    pub fn linger_after_rejection(&self) -> Duration {
        self.give_up()
    }
}
