//! What a turn costs: alone (one flush of the disk each) and among others that share the commit.

#![allow(clippy::unwrap_used, reason = "a benchmark may stop at the first error")]

use std::{cell::Cell, time::Duration};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use daemon::{
    redact::Redacted,
    storage::{
        CallId, ConversationTurn, Direction, NewSession, PeerAddressKind, Speaker, Storage, StorageConfig, TurnTimings,
        UnixMs, insert_session, insert_turn,
    },
};

/// As many as arrive together when 300 calls are in conversation.
const GROUP: u32 = 64;

fn ringing(storage: &Storage) -> CallId {
    let at = UnixMs::now();
    let call_id = CallId::new(at);
    let session = NewSession {
        call_id,
        direction: Direction::Inbound,
        trunk: "office".to_owned(),
        peer_address_kind: PeerAddressKind::Private,
        caller_id: None,
        called: None,
        sip_call_id: "bench".to_owned(),
        started_at: at,
    };
    storage.write_blocking(move |sql_tx| insert_session(sql_tx, &session)).unwrap();
    call_id
}

fn turn(call_id: CallId, index: u32) -> ConversationTurn {
    let mut turn = ConversationTurn::new(call_id, index, Speaker::Caller, "Do you have parking?", UnixMs::now());
    turn.confidence = Some(0.93);
    turn.intent = Some("parking".to_owned());
    turn.answer = Some(Redacted::new("You can park behind the house. The first two hours are free.".to_owned()));
    turn.timings = TurnTimings { stt_ms: Some(118), heard_gap_ms: Some(520), ..TurnTimings::default() };
    turn
}

fn turn_insert(criterion: &mut Criterion) {
    let dir = tempfile::tempdir().unwrap();
    let storage = Storage::open(&StorageConfig::new(dir.path())).unwrap().storage;
    let call_id = ringing(&storage);
    let next = Cell::new(0);
    let queue = || {
        let turn = turn(call_id, next.replace(next.get() + 1));
        storage.try_write(move |sql_tx| insert_turn(sql_tx, &turn)).unwrap()
    };
    let mut group = criterion.benchmark_group("turn_insert");
    group.measurement_time(Duration::from_secs(5)).sample_size(30);
    group.throughput(Throughput::Elements(1));
    group.bench_function("single", |bencher| bencher.iter(|| queue().wait().unwrap()));
    group.throughput(Throughput::Elements(u64::from(GROUP)));
    group.bench_function("grouped_64", |bencher| {
        bencher.iter(|| {
            let pending: Vec<_> = (0..GROUP).map(|_| queue()).collect();
            pending.into_iter().for_each(|pending| pending.wait().unwrap());
        });
    });
    group.finish();
    storage.close_blocking();
}

criterion_group!(benches, turn_insert);
criterion_main!(benches);
