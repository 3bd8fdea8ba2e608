//! A finished test call for a person: the ladder of what was on the wire, and beside it what the box understood.

use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use super::calls::ShownCall;
use crate::caller::CallReport;
use crate::config::Config;
use crate::storage::find_by_sip_call_id;

/// How long the box's last row may take after the call is over.
const ROW_WAIT: Duration = Duration::from_millis(1_500);
/// How often it is looked for.
const ROW_POLL: Duration = Duration::from_millis(100);

/// The box's rows of this call, when its database is on this machine.
pub(crate) fn find_rows(config: &Config, report: &CallReport) -> Option<ShownCall> {
    let sip_call_id = report.sip_call_id.as_deref()?;
    let reader = super::calls::open_reader(config).ok()?;
    let mut waited = Duration::ZERO;
    loop {
        let found = reader.read_blocking(|db| {
            let Some(call_id) = find_by_sip_call_id(db, sip_call_id)? else { return Ok(None) };
            ShownCall::load(db, &call_id.to_string()).map(Some)
        });
        match found {
            Ok(Some(call)) if call.detail.session.ended_at.is_some() || waited >= ROW_WAIT => return Some(call),
            Ok(_) if waited < ROW_WAIT => {}
            Ok(_) | Err(_) => return None,
        }
        std::thread::sleep(ROW_POLL);
        waited += ROW_POLL;
    }
}

/// Prints ladder, turns and figures.
pub(crate) fn print(report: &CallReport, rows: Option<&ShownCall>, recording: Option<&Path>) {
    println!();
    for rung in &report.ladder {
        println!("{rung}");
    }
    println!("          {} after {:.1} s", report.ended, report.duration.as_secs_f64());
    if let Some(call) = rows {
        println!();
        println!("What the box heard and did (offhook calls show {}):", call.detail.session.call_id);
        call.print();
    }
    println!();
    println!("Heard gaps, from the caller's last word to the first sound: {}", gaps(report));
    for after in report.turns.iter().filter_map(|turn| turn.fell_silent_after) {
        println!("Interrupted, the box fell silent after {} ms", after.as_millis());
    }
    let received = &report.stats.received;
    println!(
        "RTP: {} packets out, {} in, {} lost, jitter {:.1} ms",
        report.stats.sent_packets, received.received, received.lost, received.jitter_ms
    );
    if let Some(srtp) = &report.stats.srtp {
        println!("SRTP: {} genuine packets in", srtp.rtp_packets);
    }
    if let Some(path) = recording {
        println!("Recording (caller left, box right): {}", path.display());
    }
}

fn gaps(report: &CallReport) -> String {
    let gaps: Vec<String> = report
        .turns
        .iter()
        .skip(1)
        .map(|turn| turn.gap.map_or_else(|| "no answer".into(), |gap| format!("{} ms", gap.as_millis())))
        .collect();
    if gaps.is_empty() { "none, nothing was said".into() } else { gaps.join(", ") }
}

/// The same for a script.
pub(crate) fn as_json(report: &CallReport, labels: &[String], rows: Option<&ShownCall>) -> Value {
    let ladder: Vec<Value> = report
        .ladder
        .iter()
        .map(|rung| json!({ "at_ms": rung.at.as_millis() as u64, "sent": rung.sent, "text": rung.text }))
        .collect();
    let lines: Vec<Value> = labels
        .iter()
        .enumerate()
        .map(|(index, label)| {
            let turn = report.turns.get(index + 1);
            json!({
                "line": label,
                "heard_gap_ms": turn.and_then(|turn| turn.gap).map(|gap| gap.as_millis() as u64),
                // Of the answer before this line, if the line cut in on it.
                "fell_silent_after_ms":
                    report.turns.get(index).and_then(|turn| turn.fell_silent_after).map(|after| after.as_millis() as u64),
                "answer_ms": turn.map(|turn| turn.answer.as_millis() as u64),
            })
        })
        .collect();
    json!({
        "ladder": ladder,
        "lines": lines,
        "sip_call_id": report.sip_call_id,
        "ended": report.ended,
        "duration_ms": report.duration.as_millis() as u64,
        "packets_sent": report.stats.sent_packets,
        "packets_received": report.stats.received.received,
        "packets_lost": report.stats.received.lost,
        "jitter_ms": report.stats.received.jitter_ms,
        "srtp_packets_received": report.stats.srtp.map(|srtp| srtp.rtp_packets),
        "box": rows.map(ShownCall::as_json),
    })
}
