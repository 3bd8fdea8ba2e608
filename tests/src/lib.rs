//! Test rigs shared by the whole-system tests.
#![expect(clippy::unwrap_used, reason = "a rig that fails fails its test")]

pub mod attempts;
pub mod authority;
pub mod carrier;
pub mod cloud;
pub mod echoing_line;
pub mod endpoint;
pub mod eval;
pub mod fuzz;
pub mod likeness;
pub mod linphone;
pub mod listener;
pub mod load;
pub mod mail_server;
pub mod mcp;
pub mod messages;
pub mod mind;
pub mod namespace;
pub mod noise;
pub mod offhook;
pub mod office;
pub mod peers;
pub mod recordings;
pub mod relay;
pub mod scripted;
pub mod shared;
pub mod sim;
pub mod sipp_phone;
pub mod softphone;
pub mod stun;
pub mod talkers;
pub mod tcp_relay;
pub mod torture;
pub mod web_client;
pub mod web_server;

use std::time::{Duration, Instant};

use tokio::sync::{Semaphore, SemaphorePermit};

/// Calls with scripted engines that a test binary makes beside each other: they mostly wait.
const LINES: u32 = 5;
static FREE_LINES: Semaphore = Semaphore::const_new(LINES as usize);

/// Waits until no other test of this binary is on a line: speech recognition beside a call takes the core that its caller
/// needs. Hold on to it until the end of the test.
pub fn every_line() -> SemaphorePermit<'static> {
    let waiting = async { FREE_LINES.acquire_many(LINES).await.unwrap() };
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(waiting)
}

/// Waits for one of a few lines, for a call with scripted engines. Hold on to it until the end of the test.
pub async fn a_line() -> SemaphorePermit<'static> {
    FREE_LINES.acquire().await.unwrap()
}

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
