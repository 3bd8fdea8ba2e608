//! Calls in figures, counted from the rows that boxes have sent.

use std::collections::BTreeMap;

use cloud_api::digest::time_of;
use cloud_api::v1::value::Kind;
use cloud_api::v1::{Metrics, Spread};

use crate::sync::apply::StoredRow;

/// The tables that are counted.
pub(super) const COUNTED: [&str; 5] =
    ["call_sessions", "conversation_turns", "call_metrics", "voicemails", "escalations"];

/// Stretches of time and what is in them.
#[derive(Debug)]
pub(super) struct Tally {
    from: i64,
    step: i64,
    stretches: Vec<Stretch>,
}

#[derive(Debug, Clone, Default)]
struct Stretch {
    metrics: Metrics,
    talk_ms: Vec<u64>,
    heard_gap_ms: Vec<u64>,
    mos_hundredths: Vec<u64>,
}

impl Tally {
    /// `count` stretches of `step` milliseconds each, the first from `from` on, in milliseconds since 1970.
    pub(super) fn new(from: i64, step: i64, count: usize) -> Tally {
        let stretch = |at: usize| {
            let from_unix_ms = from.saturating_add(step.saturating_mul(i64::try_from(at).unwrap_or(i64::MAX)));
            Stretch { metrics: Metrics { from_unix_ms, ..Metrics::default() }, ..Stretch::default() }
        };
        Tally { from, step, stretches: (0..count).map(stretch).collect() }
    }

    /// Counts a row of one of the [`COUNTED`] tables, in the stretch in which its key was made.
    pub(super) fn add(&mut self, table: &str, key: &str, row: &StoredRow) {
        let at = time_of(key).and_then(|at| at.checked_sub(self.from)).filter(|at| *at >= 0);
        let Some(stretch) =
            at.and_then(|at| usize::try_from(at / self.step.max(1)).ok()).and_then(|at| self.stretches.get_mut(at))
        else {
            return;
        };
        let metrics = &mut stretch.metrics;
        match table {
            "call_sessions" => {
                metrics.calls += 1;
                metrics.inbound += u64::from(text(row, "direction") == Some("inbound"));
                let failed = matches!(text(row, "termination"), Some("our_error" | "upstream_error"));
                metrics.failed += u64::from(failed);
                if let Some(disposition) = text(row, "disposition") {
                    *metrics.dispositions.entry(disposition.to_owned()).or_default() += 1;
                }
                if let Some(answered_at) = integer(row, "answered_at") {
                    metrics.answered += 1;
                    let talk = integer(row, "ended_at").and_then(|ended_at| ended_at.checked_sub(answered_at));
                    // A clock that was set back while they talked says nothing.
                    stretch.talk_ms.extend(talk.and_then(|talk| u64::try_from(talk).ok()));
                }
            }
            "conversation_turns" => {
                let gap = integer(row, "heard_gap_ms").and_then(|gap| u64::try_from(gap).ok());
                stretch.heard_gap_ms.extend(gap);
            }
            "call_metrics" => stretch.mos_hundredths.extend(real(row, "mos").map(hundredths)),
            "voicemails" => metrics.voicemails += 1,
            "escalations" => metrics.escalations += 1,
            _ => {}
        }
    }

    /// The figures.
    pub(super) fn close(self) -> Vec<Metrics> {
        let close = |stretch: Stretch| Metrics {
            talk_ms: Some(spread(stretch.talk_ms)),
            heard_gap_ms: Some(spread(stretch.heard_gap_ms)),
            mos_hundredths: Some(spread(stretch.mos_hundredths)),
            ..stretch.metrics
        };
        self.stretches.into_iter().map(close).collect()
    }
}

fn kind<'a>(row: &'a StoredRow, column: &str) -> Option<&'a Kind> {
    row.columns.as_ref()?.get(column)?.kind.as_ref()
}

fn text<'a>(row: &'a StoredRow, column: &str) -> Option<&'a str> {
    match kind(row, column)? {
        Kind::Text(text) => Some(text),
        Kind::Integer(_) | Kind::Real(_) | Kind::Blob(_) => None,
    }
}

fn integer(row: &StoredRow, column: &str) -> Option<i64> {
    match kind(row, column)? {
        Kind::Integer(integer) => Some(*integer),
        Kind::Real(_) | Kind::Text(_) | Kind::Blob(_) => None,
    }
}

fn real(row: &StoredRow, column: &str) -> Option<f64> {
    match kind(row, column)? {
        Kind::Real(real) => Some(*real),
        Kind::Integer(_) | Kind::Text(_) | Kind::Blob(_) => None,
    }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a score is between 1 and 5")]
fn hundredths(score: f64) -> u64 {
    (score.clamp(0.0, 5.0) * 100.0).round() as u64
}

/// By nearest rank: the value at `ceil(p · count)` of those in order.
fn spread(mut values: Vec<u64>) -> Spread {
    values.sort_unstable();
    let rank = |per_cent: usize| {
        let at = (values.len() * per_cent).div_ceil(100).saturating_sub(1);
        values.get(at).copied().unwrap_or(0)
    };
    Spread {
        count: values.len() as u64,
        sum: values.iter().sum(),
        p50: rank(50),
        p95: rank(95),
        max: values.last().copied().unwrap_or(0),
    }
}

/// A value as JSON has it.
pub(super) fn spread_json(spread: Option<&Spread>) -> BTreeMap<&'static str, u64> {
    let Spread { count, sum, p50, p95, max } = spread.copied().unwrap_or_default();
    BTreeMap::from([("count", count), ("sum", sum), ("p50", p50), ("p95", p95), ("max", max)])
}

#[cfg(test)]
mod tests {
    use cloud_api::v1::Value;

    use super::*;

    const HOUR: i64 = 3_600_000;
    const FROM: i64 = 1_790_000_000_000 / HOUR * HOUR;

    fn key(at: i64) -> String {
        format!("{}-7000-8000-000000000001", cloud_api::digest::key_from(at))
    }

    fn row<const N: usize>(columns: [(&str, Kind); N]) -> StoredRow {
        let columns = columns.map(|(name, kind)| (name.to_owned(), Value { kind: Some(kind) }));
        StoredRow { epoch: 1, row_version: 1, applied: 1, hash: 0, columns: Some(columns.into_iter().collect()) }
    }

    fn call(answered: Option<(i64, i64)>, termination: &str, disposition: &str) -> StoredRow {
        let mut row = row([
            ("direction", Kind::Text("inbound".to_owned())),
            ("termination", Kind::Text(termination.to_owned())),
            ("disposition", Kind::Text(disposition.to_owned())),
        ]);
        for (name, at) in answered.iter().flat_map(|(from, to)| [("answered_at", from), ("ended_at", to)]) {
            let columns = row.columns.as_mut().unwrap();
            columns.insert(name.to_owned(), Value { kind: Some(Kind::Integer(*at)) });
        }
        row
    }

    #[test]
    fn calls_are_counted_where_they_began() {
        let mut tally = Tally::new(FROM, HOUR, 2);
        tally.add("call_sessions", &key(FROM), &call(Some((5, 1_005)), "success", "answered"));
        tally.add("call_sessions", &key(FROM + HOUR - 1), &call(Some((9, 8)), "success", "answered"));
        tally.add("call_sessions", &key(FROM + HOUR), &call(None, "our_error", "failed"));
        tally.add("call_sessions", &key(FROM - 1), &call(None, "success", "x"));
        tally.add("call_sessions", &key(FROM + 2 * HOUR), &call(None, "success", "x"));
        tally.add("call_sessions", "no key", &call(None, "success", "x"));
        for gap in [100, 400, 200, 300] {
            tally.add("conversation_turns", &key(FROM + 1), &row([("heard_gap_ms", Kind::Integer(gap))]));
        }
        tally.add("conversation_turns", &key(FROM + 1), &row([]));
        tally.add("call_metrics", &key(FROM + 1), &row([("mos", Kind::Real(4.126))]));
        tally.add("voicemails", &key(FROM + HOUR), &row([]));
        tally.add("escalations", &key(FROM + HOUR), &row([]));
        let [first, second]: [Metrics; 2] = tally.close().try_into().unwrap();
        assert_eq!((first.calls, first.inbound, first.answered, first.failed), (2, 2, 2, 0));
        assert_eq!(first.talk_ms, Some(Spread { count: 1, sum: 1_000, p50: 1_000, p95: 1_000, max: 1_000 }));
        assert_eq!(first.heard_gap_ms, Some(Spread { count: 4, sum: 1_000, p50: 200, p95: 400, max: 400 }));
        assert_eq!(first.mos_hundredths.unwrap().p50, 413);
        assert_eq!(first.dispositions["answered"], 2);
        assert_eq!((second.from_unix_ms, second.calls, second.failed), (FROM + HOUR, 1, 1));
        assert_eq!((second.voicemails, second.escalations, second.talk_ms), (1, 1, Some(Spread::default())));
    }
}
