//! What Prometheus is told, in its text format.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicI64, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use cloud_api::v1::goodbye::Reason;

use super::backups::BackupCounts;
use super::blobs::BlobCounts;
use super::callbacks::CallbackCounts;

/// Upper ends of the histogram, in milliseconds. 2 s is one of them: from there on an answer is too late, and an alarm about
/// it must not depend on a guess within a bucket.
const BOUNDS_MS: [u64; 10] = [2, 5, 10, 25, 50, 100, 250, 1_000, 2_000, 5_000];
/// Reasons of a Goodbye by their numbers, which are 0 to 9.
const REASONS: usize = 10;

/// Counts since the start.
#[derive(Debug, Default)]
pub struct Metrics {
    streams: AtomicI64,
    streams_total: AtomicU64,
    rows_total: AtomicU64,
    claims_total: AtomicU64,
    refused_total: AtomicU64,
    silent: AtomicUsize,
    goodbyes: [AtomicU64; REASONS],
    waiting: AtomicI64,
    answers_ok: AtomicU64,
    answers_failed: AtomicU64,
    stored: [AtomicU64; BOUNDS_MS.len() + 1],
    stored_microseconds: AtomicU64,
    pub(super) blobs: BlobCounts,
    pub(super) callbacks: CallbackCounts,
    pub(super) backups: BackupCounts,
}

impl Metrics {
    /// A stream has begun; it ends when this is dropped.
    pub(super) fn stream(&self) -> Open<'_> {
        self.streams.fetch_add(1, Ordering::Relaxed);
        self.streams_total.fetch_add(1, Ordering::Relaxed);
        Open(&self.streams)
    }

    /// A request waits for its turn at the store; it has it when this is dropped.
    pub(super) fn wait(&self) -> Open<'_> {
        self.waiting.fetch_add(1, Ordering::Relaxed);
        Open(&self.waiting)
    }

    /// The store has answered a box, or it could not.
    pub(super) fn answered(&self, ok: bool) {
        let count = if ok { &self.answers_ok } else { &self.answers_failed };
        count.fetch_add(1, Ordering::Relaxed);
    }

    /// Rows were taken, in one transaction that took so long.
    pub(super) fn stored(&self, rows: usize, took: Duration) {
        self.rows_total.fetch_add(u64::try_from(rows).unwrap_or(u64::MAX), Ordering::Relaxed);
        let bucket = BOUNDS_MS.iter().position(|bound| took <= Duration::from_millis(*bound));
        self.stored[bucket.unwrap_or(BOUNDS_MS.len())].fetch_add(1, Ordering::Relaxed);
        self.stored_microseconds.fetch_add(u64::try_from(took.as_micros()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// A stream was ended by us.
    pub(super) fn goodbye(&self, reason: Reason) {
        if let Some(count) = usize::try_from(i32::from(reason)).ok().and_then(|at| self.goodbyes.get(at)) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// A box got a certificate.
    pub(super) fn claimed(&self) {
        self.claims_total.fetch_add(1, Ordering::Relaxed);
    }

    /// Somebody was refused: no certificate, a wrong code, a revoked box.
    pub(super) fn refused(&self) {
        self.refused_total.fetch_add(1, Ordering::Relaxed);
    }

    /// So many boxes were not heard for too long.
    pub(super) fn silent(&self, boxes: usize) {
        self.silent.store(boxes, Ordering::Relaxed);
    }

    /// The page.
    pub fn render(&self) -> String {
        let mut page = String::new();
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let mut line = |name: &str, kind: &str, help: &str, value: &dyn std::fmt::Display| {
            // Writing to a string does not fail.
            let _ = write!(page, "# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {value}\n");
        };
        let streams = self.streams.load(Ordering::Relaxed);
        line("offhook_cloud_streams", "gauge", "Boxes that are connected.", &streams);
        line("offhook_cloud_streams_total", "counter", "Streams since the start.", &read(&self.streams_total));
        line("offhook_cloud_rows_total", "counter", "Rows in batches that were taken.", &read(&self.rows_total));
        line("offhook_cloud_certificates_total", "counter", "Certificates given to boxes.", &read(&self.claims_total));
        line(
            "offhook_cloud_refused_total",
            "counter",
            "Wrong codes and boxes without rights.",
            &read(&self.refused_total),
        );
        let silent = self.silent.load(Ordering::Relaxed);
        line(
            "offhook_cloud_boxes_silent",
            "gauge",
            "Boxes that were not heard for longer than alarm.silent_minutes.",
            &silent,
        );
        let waiting = self.waiting.load(Ordering::Relaxed);
        line("offhook_cloud_waiting", "gauge", "Requests that wait for their turn at the store.", &waiting);
        page.push_str("# HELP offhook_cloud_answers_total What boxes asked of the store, by what came of it.\n");
        page.push_str("# TYPE offhook_cloud_answers_total counter\n");
        for (outcome, count) in [("ok", &self.answers_ok), ("failed", &self.answers_failed)] {
            let _ = writeln!(page, "offhook_cloud_answers_total{{outcome=\"{outcome}\"}} {}", read(count));
        }
        page.push_str("# HELP offhook_cloud_goodbyes_total Streams that this service ended, by reason.\n");
        page.push_str("# TYPE offhook_cloud_goodbyes_total counter\n");
        for (number, count) in (0..).zip(&self.goodbyes) {
            let reason = Reason::try_from(number).unwrap_or(Reason::Unspecified).as_str_name();
            let reason = reason.trim_start_matches("REASON_").to_ascii_lowercase();
            let _ = writeln!(page, "offhook_cloud_goodbyes_total{{reason=\"{reason}\"}} {}", read(count));
        }
        self.render_stored(&mut page);
        self.blobs.render(&mut page);
        self.callbacks.render(&mut page);
        self.backups.render(&mut page);
        page
    }

    fn render_stored(&self, page: &mut String) {
        let name = "offhook_cloud_store_seconds";
        let _ = write!(page, "# HELP {name} From a batch to its commit.\n# TYPE {name} histogram\n");
        let mut count = 0;
        for (bucket, in_bucket) in self.stored.iter().enumerate() {
            count += in_bucket.load(Ordering::Relaxed);
            let bound = BOUNDS_MS.get(bucket).map(|ms| Duration::from_millis(*ms).as_secs_f64());
            let bound = bound.map_or_else(|| "+Inf".to_owned(), |bound| bound.to_string());
            let _ = writeln!(page, "{name}_bucket{{le=\"{bound}\"}} {count}");
        }
        let sum = Duration::from_micros(self.stored_microseconds.load(Ordering::Relaxed)).as_secs_f64();
        let _ = write!(page, "{name}_sum {sum}\n{name}_count {count}\n");
    }
}

/// Something that is going on: a stream, a request that waits. It is over when this is dropped.
#[derive(Debug)]
pub(super) struct Open<'a>(&'a AtomicI64);

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_has_each_count_under_its_name() {
        let metrics = Metrics::default();
        let open = metrics.stream();
        drop(metrics.stream());
        metrics.stored(7, Duration::from_millis(5));
        metrics.stored(1, Duration::from_secs(60));
        metrics.stored(1, Duration::from_secs(2));
        metrics.goodbye(Reason::Fenced);
        metrics.silent(3);
        let waiting = metrics.wait();
        drop(metrics.wait());
        for ok in [true, false, true] {
            metrics.answered(ok);
        }
        let page = metrics.render();
        for line in [
            "offhook_cloud_streams 1",
            "offhook_cloud_streams_total 2",
            "offhook_cloud_rows_total 9",
            "offhook_cloud_waiting 1",
            "offhook_cloud_answers_total{outcome=\"ok\"} 2",
            "offhook_cloud_answers_total{outcome=\"failed\"} 1",
            "offhook_cloud_boxes_silent 3",
            "offhook_cloud_goodbyes_total{reason=\"fenced\"} 1",
            "offhook_cloud_goodbyes_total{reason=\"aged\"} 0",
            "offhook_cloud_store_seconds_bucket{le=\"0.002\"} 0",
            "offhook_cloud_store_seconds_bucket{le=\"0.005\"} 1",
            "offhook_cloud_store_seconds_bucket{le=\"1\"} 1",
            "offhook_cloud_store_seconds_bucket{le=\"2\"} 2",
            "offhook_cloud_store_seconds_bucket{le=\"+Inf\"} 3",
            "offhook_cloud_store_seconds_sum 62.005",
            "offhook_cloud_store_seconds_count 3",
        ] {
            assert!(page.lines().any(|got| got == line), "{line} is not in\n{page}");
        }
        drop((open, waiting));
        let page = metrics.render();
        for line in ["offhook_cloud_streams 0", "offhook_cloud_waiting 0"] {
            assert!(page.lines().any(|got| got == line), "{line} is not in\n{page}");
        }
    }
}
