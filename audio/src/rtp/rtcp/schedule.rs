//! When to send RTCP (RFC 3550 §6.2, §6.3 and §A.7): every 5 s for two parties, spread at random so that nobody falls in
//! step, later while others join, sooner when they leave.
//!
//! Pure: `now` is an argument, and so is the randomness, 32 bits of it for each decision.
//!
//! Left out on purpose: more members than the other side of a call and a few sources it may bring (each counts the same),
//! the reduced minimum of §6.2, feedback profiles (RFC 4585).

use std::time::{Duration, Instant};

/// The least interval, before it is spread (§6.2). Half of it for the first packet.
const LEAST_INTERVAL: Duration = Duration::from_secs(5);

/// e − 3/2: reconsideration makes intervals shorter than meant, by this (§6.3.1).
const COMPENSATION: f64 = 1.218_28;

/// Share of the session's bandwidth that RTCP may take (§6.2), and of that what senders may.
const RTCP_SHARE: f64 = 0.05;
const SENDERS_SHARE: f64 = 0.25;

/// Bytes of IP and UDP, which count (§6.2).
const LOWER_LAYER_BYTES: usize = 28;

/// What the first packet is taken to be long: a report with one block and a name.
const FIRST_PACKET_BYTES: f64 = 100.0;

/// Intervals after which a silent peer counts as gone (§6.3.5).
const TIMEOUT_INTERVALS: u32 = 5;

/// What a timer that fired means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Due {
    /// Send a report now.
    Report,
    /// Not yet: there are more members than when the timer was set.
    NotYet,
}

/// The schedule of one stream's reports.
#[derive(Debug, Clone)]
pub struct Schedule {
    /// Bytes per second for all of RTCP.
    bandwidth: f64,
    average_bytes: f64,
    /// Ourselves and the others.
    members: u32,
    senders: u32,
    we_sent: bool,
    is_first: bool,
    previous: Instant,
    next: Instant,
    peer_heard_at: Instant,
}

impl Schedule {
    /// The schedule of a stream that begins at `now`, in a session of that many bits per second both ways together.
    pub fn new(session_bits_per_second: u32, now: Instant, random: u32) -> Self {
        let mut schedule = Self {
            bandwidth: (f64::from(session_bits_per_second) / 8.0 * RTCP_SHARE).max(1.0),
            average_bytes: FIRST_PACKET_BYTES + LOWER_LAYER_BYTES as f64,
            members: 2,
            senders: 1,
            we_sent: false,
            is_first: true,
            previous: now,
            next: now,
            peer_heard_at: now,
        };
        schedule.next = now + schedule.spread_interval(random);
        schedule
    }

    /// When to call [`Self::handle_timeout`].
    pub fn poll_timeout(&self) -> Instant {
        self.next
    }

    /// Whether a report is due at `now`. It is decided anew, as the membership may have changed (§6.3.6).
    pub fn handle_timeout(&mut self, now: Instant, random: u32) -> Due {
        let due = self.previous + self.spread_interval(random);
        if now < self.next || now < due {
            self.next = self.next.max(due);
            return Due::NotYet;
        }
        self.previous = now;
        self.is_first = false;
        // Another number than the one that let this report go, or two parties could fall in step.
        self.next = now + self.spread_interval(random.rotate_left(16) ^ 0x9e37_79b9);
        Due::Report
    }

    /// A report of ours left, of that many bytes of RTCP. `we_sent` says whether RTP of ours did since the one before.
    pub fn handle_sent(&mut self, rtcp_bytes: usize, we_sent: bool) {
        self.average(rtcp_bytes);
        self.we_sent = we_sent;
        self.senders = 1 + u32::from(we_sent);
    }

    /// RTCP came.
    pub fn handle_received(&mut self, rtcp_bytes: usize, now: Instant) {
        self.average(rtcp_bytes);
        self.peer_heard_at = now;
    }

    /// The other side has so many sources; one is the rule.
    pub fn handle_sources(&mut self, others: u32, now: Instant) {
        let members = others.saturating_add(1);
        if members < self.members {
            // Reverse reconsideration (§6.3.4): who is left reports sooner.
            let share = f64::from(members) / f64::from(self.members);
            self.next = now + self.next.saturating_duration_since(now).mul_f64(share);
            self.previous = now.checked_sub(now.saturating_duration_since(self.previous).mul_f64(share)).unwrap_or(now);
        }
        self.members = members;
    }

    /// Whether nothing of RTCP came for five intervals, which says nothing about RTP: many phones send no RTCP.
    pub fn is_peer_silent(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.peer_heard_at) > self.interval() * TIMEOUT_INTERVALS
    }

    /// The interval before it is spread (§6.3.1): what the bandwidth allows, at least five seconds.
    fn interval(&self) -> Duration {
        let (members, senders) = (f64::from(self.members), f64::from(self.senders));
        let (share, sharing) = if senders > members * SENDERS_SHARE {
            (1.0, members)
        } else if self.we_sent {
            (SENDERS_SHARE, senders)
        } else {
            (1.0 - SENDERS_SHARE, members - senders)
        };
        let seconds = self.average_bytes * sharing / (self.bandwidth * share);
        let least = if self.is_first { LEAST_INTERVAL / 2 } else { LEAST_INTERVAL };
        Duration::from_secs_f64(seconds.min(3_600.0)).max(least)
    }

    /// Half to one and a half of it, corrected for reconsideration.
    fn spread_interval(&self, random: u32) -> Duration {
        let spread = 0.5 + f64::from(random) / (f64::from(u32::MAX) + 1.0);
        self.interval().mul_f64(spread / COMPENSATION)
    }

    fn average(&mut self, rtcp_bytes: usize) {
        let bytes = (rtcp_bytes + LOWER_LAYER_BYTES) as f64;
        self.average_bytes += (bytes - self.average_bytes) / 16.0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::at;

    /// G.711 both ways, 80 kbit/s each with its headers.
    const CALL_BITS_PER_SECOND: u32 = 160_000;

    fn random(seed: &mut u32) -> u32 {
        *seed ^= *seed << 13;
        *seed ^= *seed >> 17;
        *seed ^= *seed << 5;
        *seed
    }

    /// An hour of one side's reports: the intervals in milliseconds, the first one apart.
    fn intervals(mut seed: u32, bits_per_second: u32) -> (u128, Vec<u128>) {
        let mut schedule = Schedule::new(bits_per_second, at(0), random(&mut seed));
        let (mut previous, mut intervals) = (at(0), Vec::new());
        while schedule.poll_timeout() < at(3_600_000) {
            let now = schedule.poll_timeout();
            if schedule.handle_timeout(now, random(&mut seed)) == Due::Report {
                intervals.push((now - previous).as_millis());
                previous = now;
                schedule.handle_sent(80, true);
            }
            schedule.handle_received(80, now);
            assert!(!schedule.is_peer_silent(now));
        }
        (intervals.remove(0), intervals)
    }

    /// Half to one and a half times 5 s (2.5 s for the first), over 1.218; reconsideration brings the mean back to 5 s.
    #[test]
    fn reports_of_a_call_come_every_five_seconds_at_random() {
        for seed in 1..=20 {
            let (first, rest) = intervals(seed, CALL_BITS_PER_SECOND);
            assert!((1_025..=3_080).contains(&first), "{first}");
            assert!(rest.iter().all(|interval| (2_050..=6_160).contains(interval)), "{rest:?}");
            let mean = rest.iter().sum::<u128>() / rest.len() as u128;
            assert!((4_400..=5_300).contains(&mean), "{mean}");
            let spread = rest.iter().max().unwrap() - rest.iter().min().unwrap();
            assert!(spread > 2_500, "{spread}");
        }
    }

    /// 5 % of 2,400 bit/s are 15 bytes a second: two members of 108 bytes each take 14.4 s.
    #[test]
    fn a_narrow_line_is_not_filled_with_reports() {
        let (_, rest) = intervals(7, 2_400);
        let mean = rest.iter().sum::<u128>() / rest.len() as u128;
        assert!((12_500..=16_000).contains(&mean), "{mean}");
    }

    #[test]
    fn joining_defers_and_leaving_hastens() {
        let mut schedule = Schedule::new(2_400, at(0), u32::MAX / 2);
        let alone = schedule.poll_timeout();
        schedule.handle_sources(10, at(1));
        assert_eq!(schedule.handle_timeout(alone, u32::MAX / 2), Due::NotYet);
        let crowded = schedule.poll_timeout();
        assert!(crowded > alone + Duration::from_secs(5));
        schedule.handle_sources(1, at(20_000));
        assert!(schedule.poll_timeout() < crowded);
        assert_eq!(schedule.handle_timeout(crowded, u32::MAX / 2), Due::Report);
    }

    #[test]
    fn a_peer_without_rtcp_is_silent_after_five_intervals() {
        let mut schedule = Schedule::new(CALL_BITS_PER_SECOND, at(0), 1);
        assert_eq!(schedule.handle_timeout(at(10_000), 1), Due::Report);
        assert!(!schedule.is_peer_silent(at(25_000)));
        assert!(schedule.is_peer_silent(at(25_001)));
        schedule.handle_received(60, at(26_000));
        assert!(!schedule.is_peer_silent(at(50_000)));
    }
}
