//! Whether the buffer holds sound back for longer or shorter than it should.
//!
//! Each packet tells how long it will wait for its turn. The one that waits longest was the fastest, so that is the delay
//! we add to the fastest packets; the target is how much slower the slow ones are. Judged every half second. A peer whose
//! clock is fast or slow shows in the same figure and needs no estimate of its own.

use std::time::Duration;

/// Frames in one judgement: half a second.
const WINDOW_FRAMES: u32 = 25;

/// Packets that make a judgement worth something.
const LEAST_PACKETS: u32 = 8;

/// More delay than the target is tolerated up to here, less up to there.
const TOO_MUCH: Duration = Duration::from_millis(20);
const TOO_LITTLE: Duration = Duration::from_millis(5);

/// Frames in which no good place was found, after which any will do.
const PATIENCE_FRAMES: u32 = 50;

/// Longer than this no packet of a sound stream waits: the peer's timestamps jumped.
const LONGEST_WAIT: Duration = Duration::from_secs(1);

/// What should become of the delay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    Keep,
    Shorten,
    Lengthen,
}

/// Judges the delay and keeps what is still to be corrected.
#[derive(Debug, Clone, Default)]
pub(super) struct Pace {
    frames: u32,
    packets: u32,
    longest_wait: Duration,
    /// The delay as last judged.
    delay: Option<Duration>,
    /// Too much delay, if positive, in microseconds.
    excess_us: i64,
    impatience_frames: u32,
}

impl Pace {
    /// Takes note of a packet that will wait this long for its turn.
    pub(super) fn handle_packet(&mut self, wait: Duration) {
        if wait < LONGEST_WAIT {
            self.packets += 1;
            self.longest_wait = self.longest_wait.max(wait);
        }
    }

    /// Once a frame: what should become of the delay.
    pub(super) fn next_change(&mut self, target: Duration) -> Change {
        self.frames += 1;
        if self.frames >= WINDOW_FRAMES {
            self.judge(target);
        }
        match self.excess_us {
            // Less than the shortest period that can be cut.
            -2_999..=2_999 => Change::Keep,
            3_000.. => Change::Shorten,
            ..-2_999 => Change::Lengthen,
        }
    }

    /// Whether a bad place will do by now.
    pub(super) fn is_impatient(&self) -> bool {
        self.impatience_frames >= PATIENCE_FRAMES
    }

    /// The change asked for was not possible in this frame.
    pub(super) fn handle_refusal(&mut self) {
        self.impatience_frames += 1;
    }

    /// The delay became shorter by so much.
    pub(super) fn handle_shortened(&mut self, by: Duration) {
        self.corrected(-(by.as_micros() as i64));
    }

    /// The delay became longer by so much.
    pub(super) fn handle_lengthened(&mut self, by: Duration) {
        self.corrected(by.as_micros() as i64);
    }

    /// The delay is another one now, for a reason of its own.
    pub(super) fn restart(&mut self) {
        *self = Self { delay: self.delay, ..Self::default() };
    }

    /// How long the fastest packets waited, as last judged.
    pub(super) fn delay(&self) -> Option<Duration> {
        self.delay
    }

    fn judge(&mut self, target: Duration) {
        if self.packets >= LEAST_PACKETS {
            let delay = self.longest_wait;
            self.delay = Some(delay);
            let excess_us = delay.as_micros() as i64 - target.as_micros() as i64;
            let is_tolerable = delay <= target + TOO_MUCH && delay + TOO_LITTLE >= target;
            self.excess_us = if is_tolerable { 0 } else { excess_us };
        }
        (self.frames, self.packets, self.longest_wait) = (0, 0, Duration::ZERO);
    }

    /// Packets noted before the change waited by the old delay: the window begins anew.
    fn corrected(&mut self, by_us: i64) {
        let left_us = self.excess_us + by_us;
        // A period too long for what was left is not taken back: it would go to and fro for ever.
        self.excess_us = if left_us.signum() == self.excess_us.signum() { left_us } else { 0 };
        self.impatience_frames = 0;
        (self.frames, self.packets, self.longest_wait) = (0, 0, Duration::ZERO);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is wanted after half a second in which the longest wait was this, with a target of 40 ms.
    fn change(longest_wait_ms: u64) -> Change {
        let mut pace = Pace::default();
        let mut change = Change::Keep;
        for index in 0..25 {
            pace.handle_packet(Duration::from_millis(longest_wait_ms.saturating_sub(index % 3 * 9)));
            change = pace.next_change(Duration::from_millis(40));
        }
        change
    }

    #[test]
    fn delay_is_kept_within_its_tolerance() {
        let rows = [
            (0, Change::Lengthen),
            (34, Change::Lengthen),
            (35, Change::Keep),
            (40, Change::Keep),
            (60, Change::Keep),
            (61, Change::Shorten),
            (400, Change::Shorten),
            (5_000, Change::Keep),
        ];
        for (longest_wait_ms, expected) in rows {
            assert_eq!(change(longest_wait_ms), expected, "{longest_wait_ms} ms");
        }
    }

    #[test]
    fn corrections_end_when_they_are_made() {
        let mut pace = Pace::default();
        let target = Duration::from_millis(40);
        let wait = Duration::from_millis(65);
        let mut change = Change::Keep;
        for _ in 0..25 {
            pace.handle_packet(wait);
            change = pace.next_change(target);
        }
        assert_eq!(change, Change::Shorten);
        pace.handle_shortened(Duration::from_millis(10));
        assert_eq!(pace.next_change(target), Change::Shorten);
        pace.handle_shortened(Duration::from_millis(10));
        assert_eq!(pace.next_change(target), Change::Shorten);
        pace.handle_shortened(Duration::from_millis(15));
        assert_eq!(pace.next_change(target), Change::Keep, "what was too much is not taken back");
    }
}
