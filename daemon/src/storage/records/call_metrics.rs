//! `call_metrics`: how one leg sounded, written while it lasts and when it ends.

use rusqlite::{Connection, Row, named_params};

use super::{signed, unsigned};
use crate::storage::{CallId, MetricsId, StorageError, UnixMs, text_enum::text_enum};

text_enum! {
    /// A side of the call.
    Leg {
        /// Towards the person who called.
        Caller = "caller",
        /// Towards the person or machine called.
        Callee = "callee",
    }
}

/// A row of `call_metrics`, in both directions.
#[derive(Debug, Clone, PartialEq)]
pub struct CallMetrics {
    /// Key.
    pub metrics_id: MetricsId,
    /// The call.
    pub call_id: CallId,
    /// Which side; one row each, whoever was there.
    pub leg: Leg,
    /// SDP encoding name, e.g. `PCMU`.
    pub codec: String,
    /// RTP packets we sent.
    pub packets_sent: u64,
    /// RTP packets that arrived, late ones and duplicates too.
    pub packets_received: u64,
    /// Expected and never arrived (RFC 3550 §6.4.1).
    pub packets_lost: u64,
    /// Arrived after their turn to be played.
    pub packets_late: u64,
    /// Arrived more than once.
    pub packets_duplicated: u64,
    /// Sound we had to make up.
    pub concealed_ms: u64,
    /// Interarrival jitter at the end (RFC 3550 §6.4.1).
    pub jitter_ms: Option<f64>,
    /// Its maximum.
    pub jitter_max_ms: Option<f64>,
    /// From RTCP, last value.
    pub round_trip_ms: Option<f64>,
    /// How late our worst packet left, against the 20 ms clock.
    pub send_late_max_ms: Option<f64>,
    /// Estimated mean opinion score, 1–5.
    pub mos: Option<f64>,
    /// When the row was made.
    pub created_at: UnixMs,
}

/// Adds to a side's metrics: what is new of its leg, every few seconds. A side whose person has changed, by a transfer or a
/// parked call, has several legs one after the other, which are added up; the worst of them is what is told of its score.
///
/// # Errors
/// A constraint if the call is unknown.
pub fn add_metrics(sql_tx: &Connection, metrics: &CallMetrics) -> Result<(), StorageError> {
    sql_tx
        .prepare_cached(
            "INSERT INTO call_metrics (metrics_id, created_at, updated_at, call_id, leg, codec, packets_sent,
                packets_received, packets_lost, packets_late, packets_duplicated, concealed_ms, jitter_ms,
                jitter_max_ms, round_trip_ms, send_late_max_ms, mos)
             VALUES (:metrics_id, :at, :at, :call_id, :leg, :codec, :sent, :received, :lost, :late, :duplicated,
                :concealed_ms, :jitter_ms, :jitter_max_ms, :round_trip_ms, :send_late_max_ms, :mos)
             ON CONFLICT (call_id, leg) DO UPDATE SET updated_at = :at, codec = :codec,
                packets_sent = packets_sent + :sent, packets_received = packets_received + :received,
                packets_lost = packets_lost + :lost, packets_late = packets_late + :late,
                packets_duplicated = packets_duplicated + :duplicated, concealed_ms = concealed_ms + :concealed_ms,
                jitter_ms = :jitter_ms, jitter_max_ms = max(ifnull(jitter_max_ms, 0), :jitter_max_ms),
                round_trip_ms = ifnull(:round_trip_ms, round_trip_ms),
                send_late_max_ms = max(ifnull(send_late_max_ms, 0), :send_late_max_ms),
                mos = CASE metrics_id WHEN :metrics_id THEN ifnull(:mos, mos)
                    ELSE ifnull(min(ifnull(mos, 5), :mos), mos) END",
        )?
        .execute(named_params! {
            ":metrics_id": metrics.metrics_id,
            ":at": metrics.created_at,
            ":call_id": metrics.call_id,
            ":leg": metrics.leg,
            ":codec": metrics.codec,
            ":sent": signed(metrics.packets_sent),
            ":received": signed(metrics.packets_received),
            ":lost": signed(metrics.packets_lost),
            ":late": signed(metrics.packets_late),
            ":duplicated": signed(metrics.packets_duplicated),
            ":concealed_ms": signed(metrics.concealed_ms),
            ":jitter_ms": metrics.jitter_ms,
            ":jitter_max_ms": metrics.jitter_max_ms,
            ":round_trip_ms": metrics.round_trip_ms,
            ":send_late_max_ms": metrics.send_late_max_ms,
            ":mos": metrics.mos,
        })?;
    Ok(())
}

/// The metrics of a call, one per leg.
///
/// # Errors
/// [`StorageError::Sql`].
pub fn metrics_of(db: &Connection, call_id: CallId) -> Result<Vec<CallMetrics>, StorageError> {
    let mut statement = db.prepare_cached("SELECT * FROM call_metrics WHERE call_id = ?1 ORDER BY leg")?;
    let rows = statement.query_map([call_id], from_row)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

fn from_row(row: &Row<'_>) -> rusqlite::Result<CallMetrics> {
    let count = |column: &str| row.get::<_, i64>(column).map(unsigned);
    Ok(CallMetrics {
        metrics_id: row.get("metrics_id")?,
        call_id: row.get("call_id")?,
        leg: row.get("leg")?,
        codec: row.get("codec")?,
        packets_sent: count("packets_sent")?,
        packets_received: count("packets_received")?,
        packets_lost: count("packets_lost")?,
        packets_late: count("packets_late")?,
        packets_duplicated: count("packets_duplicated")?,
        concealed_ms: count("concealed_ms")?,
        jitter_ms: row.get("jitter_ms")?,
        jitter_max_ms: row.get("jitter_max_ms")?,
        round_trip_ms: row.get("round_trip_ms")?,
        send_late_max_ms: row.get("send_late_max_ms")?,
        mos: row.get("mos")?,
        created_at: row.get("created_at")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::tests::{open, ringing};
    use crate::storage::{ChangeOp, changes_after};

    fn metrics(metrics_id: MetricsId, call_id: CallId, round_trip_ms: Option<f64>, mos: Option<f64>) -> CallMetrics {
        CallMetrics {
            metrics_id,
            call_id,
            leg: Leg::Caller,
            codec: "PCMU".to_owned(),
            packets_sent: 250,
            packets_received: 240,
            packets_lost: 10,
            packets_late: 2,
            packets_duplicated: 1,
            concealed_ms: 200,
            jitter_ms: Some(1.0),
            jitter_max_ms: Some(3.0),
            round_trip_ms,
            send_late_max_ms: Some(0.5),
            mos,
            created_at: UnixMs(5_000),
        }
    }

    /// Counts add up whatever the leg; the score of the same leg is the latest, of several legs the worst.
    #[test]
    fn rows_of_a_side_are_added_up() {
        let (_dir, storage) = open();
        let call_id = ringing(&storage);
        let legs = [MetricsId::new(UnixMs(1)), MetricsId::new(UnixMs(2))];
        let add = |leg: usize, round_trip_ms, mos| {
            let metrics = metrics(legs[leg], call_id, round_trip_ms, mos);
            storage.write_blocking(move |sql_tx| add_metrics(sql_tx, &metrics)).unwrap();
            let rows = storage.read_blocking(|db| metrics_of(db, call_id)).unwrap();
            let [row] = rows.as_slice() else { panic!("one row for a side: {rows:?}") };
            (row.packets_sent, row.packets_lost, row.round_trip_ms, row.mos)
        };
        assert_eq!(add(0, None, Some(3.0)), (250, 10, None, Some(3.0)));
        assert_eq!(add(0, Some(40.0), Some(4.0)), (500, 20, Some(40.0), Some(4.0)));
        assert_eq!(add(0, None, None), (750, 30, Some(40.0), Some(4.0)), "what is not known any more stays");
        assert_eq!(add(1, None, Some(4.2)), (1_000, 40, Some(40.0), Some(4.0)));
        assert_eq!(add(1, None, Some(2.0)), (1_250, 50, Some(40.0), Some(2.0)));
    }

    /// An hour of updates leaves one entry in the change log, and whoever has read the one before finds it.
    #[test]
    fn the_change_log_keeps_the_latest_update_of_a_side() {
        let (_dir, storage) = open();
        let call_id = ringing(&storage);
        let side = MetricsId::new(UnixMs(1));
        let entries = |after| -> Vec<_> {
            let changes = storage.read_blocking(|db| changes_after(db, after, 10_000)).unwrap();
            changes.into_iter().filter(|change| change.table == "call_metrics").collect()
        };
        let mut seen = 0;
        for update in 0..720 {
            let row = metrics(side, call_id, None, None);
            storage.write_blocking(move |sql_tx| add_metrics(sql_tx, &row)).unwrap();
            let news = entries(seen);
            assert_eq!(news.len(), 1, "update {update}: {news:?}");
            seen = news[0].seq;
        }
        let all: Vec<_> = entries(0).into_iter().map(|change| (change.op, change.key)).collect();
        assert_eq!(all, [(ChangeOp::Insert, side.to_string()), (ChangeOp::Update, side.to_string())]);
    }
}
