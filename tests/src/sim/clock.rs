//! The time of a run: it stands still until somebody moves it, and never goes back.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

/// Some instant to count from; no result depends on which one it is.
static ORIGIN: LazyLock<Instant> = LazyLock::new(Instant::now);

/// Shared by everybody in a run.
#[derive(Debug, Clone)]
pub struct Clock(Rc<Cell<Instant>>);

impl Default for Clock {
    fn default() -> Self {
        Self(Rc::new(Cell::new(*ORIGIN)))
    }
}

impl Clock {
    /// Now.
    pub fn now(&self) -> Instant {
        self.0.get()
    }

    /// Since the run began.
    pub fn elapsed(&self) -> Duration {
        self.now() - *ORIGIN
    }

    /// Moves on to `then`.
    ///
    /// # Panics
    /// Time would go back: a law of every run.
    pub fn advance_to(&self, then: Instant) {
        assert!(then >= self.now(), "the clock went backwards");
        self.0.set(then);
    }
}

/// Milliseconds.
pub fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}
