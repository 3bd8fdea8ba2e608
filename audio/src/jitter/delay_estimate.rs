//! How much longer than the fastest packet the others take: what the buffer must be able to wait out.
//!
//! The delays above the shortest of the last seconds go into a histogram that forgets slowly; the target is its 98 %
//! quantile, so that a single outlier costs one concealed packet and not a second of delay.

use std::time::{Duration, Instant};

use crate::time::{RtpTimestamp, SampleRate};

/// Length of one bucket of the window in which the shortest transit is sought.
const BUCKET: Duration = Duration::from_secs(1);

/// Buckets in that window.
const BUCKETS: usize = 4;

/// Width and number of the histogram's bins: 5 ms, to 300 ms.
const BIN_MS: u64 = 5;
const BINS: usize = 60;

/// What each packet leaves of the weight of those before: half is gone after 2 s of 20 ms packets, all but 2 % after 11 s.
const FORGETTING: f32 = 0.993;

/// The share of packets that come in time at the target.
const QUANTILE: f32 = 0.98;

/// A change of delay beyond this is a jump of the peer's timestamps, not the network.
const JUMP: Duration = Duration::from_secs(1);

/// Histogram of the delays above the shortest.
#[derive(Debug, Clone)]
pub(super) struct DelayEstimate {
    clock_rate: SampleRate,
    previous: Option<(RtpTimestamp, Instant)>,
    /// Transit time of the latest packet relative to that of the first, in ticks.
    transit: i64,
    shortest: [Option<i64>; BUCKETS],
    bucket_began: Option<Instant>,
    bins: [f32; BINS],
}

impl DelayEstimate {
    pub(super) fn new(clock_rate: SampleRate) -> Self {
        Self {
            clock_rate,
            previous: None,
            transit: 0,
            shortest: [None; BUCKETS],
            bucket_began: None,
            bins: [0.0; BINS],
        }
    }

    /// Takes note of a packet of sound.
    pub(super) fn handle_packet(&mut self, timestamp: RtpTimestamp, arrival: Instant) {
        let change = self.previous.map_or(0, |(earlier, arrived)| {
            let elapsed = self.clock_rate.samples_in(arrival.saturating_duration_since(arrived));
            i64::try_from(elapsed).unwrap_or(i64::MAX).saturating_sub(i64::from(timestamp.since(earlier)))
        });
        if change.unsigned_abs() > self.clock_rate.samples_in(JUMP) {
            *self = Self::new(self.clock_rate);
        } else {
            self.transit += change;
        }
        self.previous = Some((timestamp, arrival));
        self.turn_buckets(arrival);
        let shortest = self.shortest[0].get_or_insert(self.transit);
        *shortest = self.transit.min(*shortest);
        self.count(self.transit - self.shortest());
    }

    /// The delay above the shortest that all but one packet in fifty keep, to the next 5 ms; zero before any packet.
    pub(super) fn spread(&self) -> Duration {
        let total = self.bins.iter().sum::<f32>();
        let mut below = 0.0;
        let is_below = |weight: &&f32| {
            below += **weight;
            below < QUANTILE * total
        };
        let bin = self.bins.iter().take_while(is_below).count();
        // The first bin is what a steady network makes: no spread at all.
        Duration::from_millis(bin as u64 * BIN_MS)
    }

    fn count(&mut self, above_ticks: i64) {
        let above = self.clock_rate.duration_of(above_ticks.unsigned_abs());
        // Rounded up, so that the quantile is never below the delay itself.
        let bin = (above.as_millis() as usize).div_ceil(BIN_MS as usize).min(BINS - 1);
        self.bins.iter_mut().for_each(|weight| *weight *= FORGETTING);
        self.bins[bin] += 1.0 - FORGETTING;
    }

    fn shortest(&self) -> i64 {
        self.shortest.iter().flatten().copied().min().unwrap_or(self.transit)
    }

    fn turn_buckets(&mut self, arrival: Instant) {
        let began = *self.bucket_began.get_or_insert(arrival);
        let turns = arrival.saturating_duration_since(began).as_secs() / BUCKET.as_secs();
        for _ in 0..turns.min(BUCKETS as u64) {
            self.shortest.rotate_right(1);
            self.shortest[0] = None;
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
    fn spread_ms(packets: impl IntoIterator<Item = (u32, u64)>) -> u128 {
        let mut estimate = DelayEstimate::new(SampleRate::NARROW_BAND);
        for (media_ms, arrival_ms) in packets {
            estimate.handle_packet(RtpTimestamp(media_ms.wrapping_mul(8)), at(arrival_ms));
        }
        estimate.spread().as_millis()
    }

    fn steady(range: std::ops::Range<u32>) -> impl Iterator<Item = (u32, u64)> + Clone {
        range.map(|index| (index * 20, u64::from(index) * 20))
    }

    #[test]
    fn spread_is_what_the_delay_varied_by() {
        assert_eq!(spread_ms([(0, 0), (20, 20), (40, 40)]), 0);
        assert_eq!(spread_ms([(0, 10), (20, 75), (40, 75), (60, 75)]), 45);
        // Uniform from 0 to 39 ms: 98 % of that, to the next 5 ms.
        let jittery = (0..2_000_u32).map(|index| (index * 20, u64::from(index * 20 + index * 17 % 40)));
        let mut jittery = jittery.collect::<Vec<_>>();
        jittery.sort_by_key(|&(_, arrival_ms)| arrival_ms);
        assert_eq!(spread_ms(jittery), 40);
    }

    #[test]
    fn pauses_of_the_peer_are_not_jitter() {
        assert_eq!(spread_ms([(0, 0), (20, 20), (3_000, 3_000)]), 0);
    }

    #[test]
    fn one_outlier_does_not_count_and_a_burst_is_forgotten() {
        let late = |range: std::ops::Range<u32>| range.map(|index| (index * 20, u64::from(index) * 20 + 90));
        assert_eq!(spread_ms(steady(0..500).chain(late(500..501)).chain(steady(505..510))), 0);
        assert_eq!(spread_ms(steady(0..500).chain(late(500..520)).chain(steady(525..530))), 90);
        assert_eq!(spread_ms(steady(0..500).chain(late(500..520)).chain(steady(525..1_200))), 0);
    }

    /// A peer whose clock is off by 1 ‰ for half an hour: its transit time wanders by 1.8 s, and none of it is jitter.
    #[test]
    fn drift_is_not_jitter() {
        let drifting = (0..90_000_u32).map(|index| (index * 20, u64::from(index) * 20_020 / 1_000));
        assert!(spread_ms(drifting) <= 10);
    }

    #[test]
    fn a_jump_of_timestamps_starts_afresh() {
        assert_eq!(spread_ms([(0, 0), (20, 25), (900_000, 40), (900_020, 60)]), 0);
    }
}
