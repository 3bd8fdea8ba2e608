//! Test rigs shared by the whole-system tests.

pub mod relay;
pub mod shared;
pub mod sim;

use std::time::{Duration, Instant};

/// Asks again every 50 ms until there is an answer or `limit` has passed; for what another process does in its own time.
pub fn poll<T>(limit: Duration, mut ask: impl FnMut() -> Option<T>) -> Option<T> {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(answer) = ask() {
            return Some(answer);
        }
        if Instant::now() >= deadline {
            return None;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}
