//! Steps a machine through its timers without waiting, and notes what it does when.

use std::sync::LazyLock;
use std::time::{Duration, Instant};

use super::{Transaction, TransactionEvent};

/// When every test begins. Some instant is needed to count from; nothing depends on which one it is.
#[expect(clippy::disallowed_methods, reason = "an origin for a virtual clock, which only ever adds to it")]
static START: LazyLock<Instant> = LazyLock::new(Instant::now);

pub(crate) fn start() -> Instant {
    *START
}

pub(crate) fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// What a machine did, in milliseconds since [`start`].
#[derive(Debug, Default)]
pub(crate) struct Trace {
    pub(crate) sent_ms: Vec<u128>,
    pub(crate) sent: Vec<String>,
    pub(crate) events: Vec<(u128, TransactionEvent)>,
    /// The timers that fired, in order.
    pub(crate) letters: String,
}

impl Trace {
    /// Jumps from deadline to deadline until there is none.
    pub(crate) fn run(machine: &mut dyn Transaction) -> Self {
        let mut trace = Self::default();
        trace.drain(machine, start());
        while let Some((now, letter)) = machine.poll_timeout() {
            assert!(trace.letters.len() < 100, "a timer fires for ever: {}", trace.letters);
            trace.letters.push_str(letter);
            machine.handle_timeout(now);
            trace.drain(machine, now);
        }
        trace
    }

    fn drain(&mut self, machine: &mut dyn Transaction, now: Instant) {
        let now_ms = (now - start()).as_millis();
        while let Some(bytes) = machine.poll_transmit() {
            self.sent_ms.push(now_ms);
            self.sent.push(String::from_utf8(bytes).unwrap());
        }
        while let Some(event) = machine.poll_event() {
            self.events.push((now_ms, event));
        }
    }
}
