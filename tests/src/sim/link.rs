//! A network between two parties: it delays, and if told so loses, doubles and reorders.

use std::time::Duration;

use rand::rngs::ChaCha8Rng;
use rand::{RngExt, SeedableRng};
use sip_stack::message::{Message, Method, StatusCode};

use super::clock::ms;

/// Both directions of one path. Jitter above the gap between two messages reorders them.
#[derive(Debug)]
pub struct Link {
    rng: ChaCha8Rng,
    /// One way.
    pub delay: Duration,
    /// Added to `delay`, evenly from zero up to this.
    pub jitter: Duration,
    /// Messages lost, in percent.
    pub loss_percent: u32,
    /// Messages that arrive twice, in percent.
    pub duplicate_percent: u32,
    drops: Vec<PlannedLoss>,
}

#[derive(Debug)]
struct PlannedLoss {
    what: What,
    /// Counts down to the one to drop.
    left: usize,
}

#[derive(Debug, PartialEq)]
enum What {
    Request(Method),
    Response(StatusCode),
}

impl Link {
    /// 15 ms each way and nothing lost.
    pub fn new(seed: u64) -> Self {
        Self {
            rng: ChaCha8Rng::seed_from_u64(seed),
            delay: ms(15),
            jitter: Duration::ZERO,
            loss_percent: 0,
            duplicate_percent: 0,
            drops: Vec::new(),
        }
    }

    /// Loses the `n`th request of that method from now on; the first is 1.
    pub fn drop_nth(&mut self, n: usize, method: Method) {
        self.drops.push(PlannedLoss { what: What::Request(method), left: n });
    }

    /// Loses the `n`th response with that status from now on.
    pub fn drop_nth_response(&mut self, n: usize, status: StatusCode) {
        self.drops.push(PlannedLoss { what: What::Response(status), left: n });
    }

    /// After how long a message arrives: not at all, once, or twice.
    pub fn carry(&mut self, message: Option<&Message>) -> Vec<Duration> {
        if self.is_dropped(message) || self.chance(self.loss_percent) {
            return Vec::new();
        }
        let copies = if self.chance(self.duplicate_percent) { 2 } else { 1 };
        (0..copies).map(|_| self.delay + self.random_jitter()).collect()
    }

    fn is_dropped(&mut self, message: Option<&Message>) -> bool {
        let what = match message {
            Some(Message::Request(request)) => What::Request(request.method.clone()),
            Some(Message::Response(response)) => What::Response(response.status),
            None => return false,
        };
        let mut is_dropped = false;
        for drop in self.drops.iter_mut().filter(|drop| drop.what == what && drop.left > 0) {
            drop.left -= 1;
            is_dropped |= drop.left == 0;
        }
        is_dropped
    }

    fn chance(&mut self, percent: u32) -> bool {
        percent > 0 && self.rng.random_range(0..100) < percent
    }

    fn random_jitter(&mut self) -> Duration {
        // Far below 2^64 microseconds.
        let most_us = self.jitter.as_micros() as u64;
        Duration::from_micros(if most_us == 0 { 0 } else { self.rng.random_range(0..=most_us) })
    }
}
