//! How much the network's delay varied in the last seconds: what the buffer must be able to wait out.

use std::time::{Duration, Instant};

use crate::time::{RtpTimestamp, SampleRate};

/// Length of one bucket of the window.
const BUCKET: Duration = Duration::from_secs(1);

/// Buckets in the window.
const BUCKETS: usize = 4;

/// A change of delay beyond this is a jump of the peer's timestamps, not the network: one second of ticks at 8 kHz.
const JUMP_TICKS: i64 = 8_000;

/// Range of the relative transit time within one second.
#[derive(Debug, Clone, Copy)]
struct Range {
    lowest: i64,
    highest: i64,
}

/// Spread of transit times over a sliding window of four seconds.
#[derive(Debug, Clone)]
pub(super) struct DelayEstimate {
    clock_rate: SampleRate,
    previous: Option<(RtpTimestamp, Instant)>,
    /// Transit time of the latest packet relative to that of the first, in ticks.
    transit: i64,
    buckets: [Option<Range>; BUCKETS],
    bucket_began: Option<Instant>,
}

impl DelayEstimate {
    pub(super) fn new(clock_rate: SampleRate) -> Self {
        Self { clock_rate, previous: None, transit: 0, buckets: [None; BUCKETS], bucket_began: None }
    }

    /// The same, knowing nothing.
    pub(super) fn restarted(&self) -> Self {
        Self::new(self.clock_rate)
    }

    /// Takes note of a packet of sound.
    pub(super) fn handle_packet(&mut self, timestamp: RtpTimestamp, arrival: Instant) {
        let change = self.previous.map_or(0, |(earlier, arrived)| {
            let elapsed = self.clock_rate.samples_in(arrival.saturating_duration_since(arrived));
            i64::try_from(elapsed).unwrap_or(i64::MAX).saturating_sub(i64::from(timestamp.since(earlier)))
        });
        if change.abs() > JUMP_TICKS {
            *self = self.restarted();
        } else {
            self.transit += change;
        }
        self.previous = Some((timestamp, arrival));
        self.turn_buckets(arrival);
        let transit = self.transit;
        let range = self.buckets[0].get_or_insert(Range { lowest: transit, highest: transit });
        range.lowest = range.lowest.min(transit);
        range.highest = range.highest.max(transit);
    }

    /// Longest minus shortest transit time in the window, in clock ticks.
    pub(super) fn spread_ticks(&self) -> u32 {
        let ranges = || self.buckets.iter().flatten();
        let lowest = ranges().map(|range| range.lowest).min().unwrap_or(0);
        let highest = ranges().map(|range| range.highest).max().unwrap_or(0);
        u32::try_from(highest - lowest).unwrap_or(u32::MAX)
    }

    fn turn_buckets(&mut self, arrival: Instant) {
        let began = *self.bucket_began.get_or_insert(arrival);
        let turns = arrival.saturating_duration_since(began).as_secs() / BUCKET.as_secs();
        for _ in 0..turns.min(BUCKETS as u64) {
            self.buckets.rotate_right(1);
            self.buckets[0] = None;
        }
        if turns > 0 {
            self.bucket_began = Some(arrival);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::at;

    /// Feeds `(media_ms, arrival_ms)` and gives the spread in milliseconds.
    fn spread_ms(packets: impl IntoIterator<Item = (u32, u64)>) -> u32 {
        let mut estimate = DelayEstimate::new(SampleRate::NARROW_BAND);
        for (media_ms, arrival_ms) in packets {
            estimate.handle_packet(RtpTimestamp(media_ms.wrapping_mul(8)), at(arrival_ms));
        }
        estimate.spread_ticks() / 8
    }

    #[test]
    fn spread_is_what_the_delay_varied_by() {
        assert_eq!(spread_ms([(0, 0), (20, 20), (40, 40)]), 0);
        assert_eq!(spread_ms([(0, 10), (20, 75), (40, 75), (60, 75)]), 45);
    }

    #[test]
    fn pauses_of_the_peer_are_not_jitter() {
        assert_eq!(spread_ms([(0, 0), (20, 20), (3_000, 3_001)]), 1);
    }

    #[test]
    fn an_outlier_is_forgotten_after_the_window() {
        let steady = |range: std::ops::Range<u32>| range.map(|i| (i * 20, u64::from(i) * 20));
        let outlier = std::iter::once((200, 290));
        assert_eq!(spread_ms(steady(0..10).chain(outlier.clone()).chain(steady(15..20))), 90);
        assert_eq!(spread_ms(steady(0..10).chain(outlier).chain(steady(15..300))), 0);
    }

    #[test]
    fn a_jump_of_timestamps_starts_afresh() {
        assert_eq!(spread_ms([(0, 0), (20, 25), (900_000, 40), (900_020, 60)]), 0);
    }
}
