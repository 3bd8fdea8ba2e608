//! Rows in batches, over as many streams as there are boxes that send at a time.

use std::collections::VecDeque;
use std::path::Path;
use std::time::{Duration, Instant};

use cloud_api::v1::{LogRange, Row, RowBatch, TableRows, Value, row_batch::Scope, value::Kind};
use cloud_api::v1::{box_message, cloud_message};
use daemon::storage::{CallId, UnixMs};
use daemon::sync::enrolment::Enrolment;
use tests::load::Usage;
use tests::tcp_relay::TcpRelay;

use super::{Rig, Wire, halves, seconds_since};

/// Boxes that send at a time.
const BOXES: u32 = 4;
/// Rows of a batch.
const BATCH: u32 = 400;
/// Batches on the way of each: more would only wait for their turn.
const IN_FLIGHT: usize = 2;
/// Batches that are counted byte by byte, which takes time of its own.
const COUNTED: u32 = 20;

pub(crate) fn batches(rig: &Rig, rows: u32, deflate: bool) {
    let each = (rows / BOXES / BATCH).max(1);
    let port = rig.cloud.address().port();
    let enrolments = rig.enroll((0..BOXES).map(|number| format!("sender-{number}")), port);
    let (box_before, before) = (Usage::of(std::process::id()), Usage::of(rig.cloud.pid()));
    let began = Instant::now();
    let mut waits = Vec::new();
    tokio::runtime::Handle::current().block_on(async {
        let senders: Vec<_> = enrolments
            .into_iter()
            .map(|enrolment| {
                let trust = rig.trust();
                tokio::spawn(async move { send(&enrolment, &trust, each, deflate).await })
            })
            .collect();
        for sender in senders {
            waits.extend(sender.await.unwrap());
        }
    });
    let (seconds, sent) = (seconds_since(began), f64::from(each * BOXES * BATCH));
    let (box_after, after) = (Usage::of(std::process::id()), Usage::of(rig.cloud.pid()));
    let of_row = |before: &Usage, after: &Usage| (after.cpu_ms - before.cpu_ms) * 1_000.0 / sent;
    println!(
        "{:?}, {}: {sent} rows in batches of {BATCH} from {BOXES} boxes: {:.0} rows/s, an Ack after {}; of the processor the \
         boxes took {:.1} us a row, the cloud {:.1} us; {:.0} bytes a row",
        rig.engine,
        if deflate { "deflated" } else { "as it is" },
        sent / seconds,
        halves(&mut waits),
        of_row(&box_before, &box_after),
        of_row(&before, &after),
        bytes_of_row(rig, deflate),
    );
}

/// Everything on the wire.
fn bytes_of_row(rig: &Rig, deflate: bool) -> f64 {
    let relay = TcpRelay::start(rig.cloud.address());
    let enrolment = rig.enroll(std::iter::once("counted".to_owned()), relay.address().port()).remove(0);
    tokio::runtime::Handle::current().block_on(send(&enrolment, &rig.trust(), COUNTED, deflate));
    relay.sent_bytes() as f64 / f64::from(COUNTED * BATCH)
}

/// Sends so many batches, and gives the wait for each Ack.
async fn send(enrolment: &Enrolment, trust: &Path, batches: u32, deflate: bool) -> Vec<Duration> {
    let mut wire = Wire::open(enrolment, trust, deflate).await.unwrap();
    let (mut waiting, mut waits) = (VecDeque::new(), Vec::new());
    for number in 0..batches {
        let message = box_message::Body::Batch(batch(number));
        if waiting.len() == IN_FLIGHT {
            waits.push(acked(&mut wire, &mut waiting).await);
        }
        waiting.push_back(Instant::now());
        wire.say(message).await.unwrap();
    }
    while !waiting.is_empty() {
        waits.push(acked(&mut wire, &mut waiting).await);
    }
    waits
}

async fn acked(wire: &mut Wire, waiting: &mut VecDeque<Instant>) -> Duration {
    loop {
        let body = wire.hear().await.unwrap();
        if matches!(body, cloud_message::Body::Ack(_)) {
            return waiting.pop_front().unwrap().elapsed();
        }
        assert!(matches!(body, cloud_message::Body::Ping(_)), "{body:?}");
    }
}

/// Turns like those of calls.
fn batch(number: u32) -> RowBatch {
    let names = ["call_id", "turn_index", "who", "text", "confidence", "intent", "answer", "created_at"];
    let text = |text: String| Value { kind: Some(Kind::Text(text)) };
    let integer = |integer: i64| Value { kind: Some(Kind::Integer(integer)) };
    let rows = (0..BATCH).map(|at| {
        let now = UnixMs::now();
        let values = vec![
            text(CallId::new(now).to_string()),
            integer(i64::from(at)),
            text("caller".to_owned()),
            text(format!("Good morning, do you have parking behind the house on the {}th?", at % 31)),
            Value { kind: Some(Kind::Real(f64::from(at) / 431.0)) },
            text("parking".to_owned()),
            text("You can park behind the house. The first two hours are free.".to_owned()),
            integer(now.0),
        ];
        Row { key: CallId::new(now).to_string(), row_version: 1, values }
    });
    let rows = TableRows {
        table: "conversation_turns".to_owned(),
        columns: names.map(str::to_owned).to_vec(),
        rows: rows.collect(),
        deleted_keys: vec![],
    };
    let (after, to) = (i64::from(number * BATCH), i64::from((number + 1) * BATCH));
    RowBatch {
        batch_id: u64::from(number) + 1,
        epoch: 1,
        scope: Some(Scope::Log(LogRange { after, to })),
        tables: vec![rows],
    }
}
