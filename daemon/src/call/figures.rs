//! From the media thread's counters of a leg, which only rise, to rows that are added up: what is new since the last one.

use std::time::{Duration, Instant};

use crate::io::media::StreamStats;
use crate::storage::{CallId, CallMetrics, Leg, MetricsId, UnixMs};

/// How often a row is brought up to date while its call lasts.
const INTERVAL: Duration = Duration::from_secs(5);

/// See the module.
#[derive(Debug)]
pub(super) struct Figures {
    /// What was told already.
    told: Counts,
    told_at: Instant,
    /// Of the call that the leg was last part of.
    row: Option<(CallId, MetricsId)>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Counts {
    sent: u64,
    received: u64,
    lost: u64,
    late: u64,
    duplicated: u64,
    concealed_ms: u64,
}

impl Counts {
    fn of(stats: &StreamStats) -> Counts {
        Counts {
            sent: stats.sent_packets,
            received: stats.received.received,
            lost: stats.received.lost,
            late: stats.received.late,
            duplicated: stats.received.duplicate,
            concealed_ms: stats.received.concealed_frames * 20,
        }
    }

    /// What is new. A stream whose codecs were agreed anew counts what it hears from zero; what is lost may turn out to
    /// have been late.
    fn since(self, before: Counts) -> Counts {
        let heard_before = if self.received < before.received { Counts::default() } else { before };
        Counts {
            sent: self.sent.saturating_sub(before.sent),
            received: self.received - heard_before.received,
            lost: self.lost.saturating_sub(heard_before.lost),
            late: self.late.saturating_sub(heard_before.late),
            duplicated: self.duplicated.saturating_sub(heard_before.duplicated),
            concealed_ms: self.concealed_ms.saturating_sub(heard_before.concealed_ms),
        }
    }
}

impl Figures {
    /// Of a leg that begins now.
    pub(super) fn new(now: Instant) -> Figures {
        Figures { told: Counts::default(), told_at: now, row: None }
    }

    /// Whether it is time for a row.
    pub(super) fn are_due(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.told_at) >= INTERVAL
    }

    /// The row, with what is new in it; `send_late_max` is how late our worst packet was.
    pub(super) fn row(
        &mut self,
        (call_id, leg, at): (CallId, Leg, UnixMs),
        codec: &str,
        stats: &StreamStats,
        send_late_max: Duration,
    ) -> CallMetrics {
        let counts = Counts::of(stats);
        let new = counts.since(std::mem::replace(&mut self.told, counts));
        self.told_at = Instant::now();
        // A leg that goes over to another call has a row in each.
        let (_, metrics_id) = *match &mut self.row {
            Some(row) if row.0 == call_id => row,
            row => row.insert((call_id, MetricsId::new(at))),
        };
        CallMetrics {
            metrics_id,
            call_id,
            leg,
            codec: codec.to_owned(),
            packets_sent: new.sent,
            packets_received: new.received,
            packets_lost: new.lost,
            packets_late: new.late,
            packets_duplicated: new.duplicated,
            concealed_ms: new.concealed_ms,
            jitter_ms: Some(stats.received.jitter_ms),
            jitter_max_ms: Some(stats.jitter_max_ms),
            round_trip_ms: stats.round_trip.map(|time| time.as_secs_f64() * 1e3),
            send_late_max_ms: Some(send_late_max.as_secs_f64() * 1e3),
            mos: stats.mos,
            created_at: at,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stats(sent_packets: u64, received: u64, lost: u64) -> StreamStats {
        let mut stats = StreamStats { sent_packets, ..StreamStats::default() };
        (stats.received.received, stats.received.lost) = (received, lost);
        stats
    }

    #[test]
    fn rows_of_a_leg_add_up_to_its_counters() {
        let mut figures = Figures::new(Instant::now());
        let calls = [CallId::new(UnixMs(1)), CallId::new(UnixMs(2))];
        let mut row = |call: usize, stats: StreamStats| {
            let row = figures.row((calls[call], Leg::Caller, UnixMs(5)), "PCMU", &stats, Duration::ZERO);
            ((row.packets_sent, row.packets_received, row.packets_lost), row.metrics_id)
        };
        let (first, id) = row(0, stats(250, 200, 10));
        assert_eq!(first, (250, 200, 10));
        assert_eq!(row(0, stats(500, 440, 8)), ((250, 240, 0), id), "two that were lost have come");
        assert_eq!(row(0, stats(600, 30, 1)), ((100, 30, 1), id), "another codec was agreed");
        let (moved, other) = row(1, stats(700, 130, 1));
        assert_eq!(moved, (100, 100, 0));
        assert_ne!(other, id, "the leg is part of another call now");
    }
}
