//! What a call costs: processor time, alone and among many others, and memory. The figures of memory are also a test
//! (`tests/memory.rs`); this prints them, and what one message costs beside 100, 1,000 and 10,000 dialogs.

use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::{Criterion, criterion_group, criterion_main};
use sip_stack::endpoint::{CallHandle, DialogRequest};
use sip_stack::message::Method;

mod pair;

use pair::{Counting, Pair, live_bytes, to_callee, to_caller};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn calls(criterion: &mut Criterion) {
    for standing_calls in [0, 500] {
        let mut pair = Pair::with_calls(standing_calls);
        criterion.bench_function(&format!("whole call among {standing_calls} others, both sides"), |bencher| {
            bencher.iter(|| {
                let call = pair.call();
                pair.hang_up(call);
                pair.let_timers_fire();
            });
        });
    }
}

/// How often each size is measured; the least counts, because whatever else the machine does only adds.
const ROUNDS: usize = 15;
/// Messages of a round.
const MESSAGES: usize = 1_000;

/// One INFO within one of many dialogs, its 200 and its event, on the side that gets it.
#[expect(clippy::print_stdout, reason = "a bench tells its figures")]
fn messages(_: &mut Criterion) {
    let mut crowds: Vec<_> = [100, 1_000, 10_000].map(Crowd::new).into();
    let mut least = [Duration::MAX; 3];
    for _ in 0..ROUNDS {
        // In turn, so that each has the same luck.
        for (crowd, least) in crowds.iter_mut().zip(&mut least) {
            *least = crowd.round().min(*least);
        }
    }
    for (crowd, least) in crowds.iter().zip(least) {
        println!("a message among {:>6} dialogs: {:.1} µs", crowd.calls.len(), least.as_secs_f64() * 1e6);
    }
}

struct Crowd {
    pair: Pair,
    calls: Vec<CallHandle>,
    next: usize,
}

impl Crowd {
    fn new(dialogs: usize) -> Self {
        let mut pair = Pair::new();
        let calls = (0..dialogs).map(|_| pair.call()).collect();
        pair.let_timers_fire();
        Self { pair, calls, next: 0 }
    }

    /// What a message costs on average.
    fn round(&mut self) -> Duration {
        let Pair { caller, callee, now } = &mut self.pair;
        let mut sent = Vec::with_capacity(MESSAGES);
        for _ in 0..MESSAGES {
            // All over the table.
            self.next = (self.next + 7_919) % self.calls.len();
            let request = DialogRequest::new(Method::Info);
            caller.request_within(self.calls[self.next], request, *now).expect("the call is up");
            sent.extend(std::iter::from_fn(|| caller.poll_transmit()));
        }
        #[expect(clippy::disallowed_methods, reason = "a bench measures")]
        let began = Instant::now();
        let mut answers = Vec::with_capacity(MESSAGES);
        for transmit in &sent {
            callee.handle_datagram(to_callee(), &transmit.bytes, *now);
            while callee.poll_event().is_some() {}
            answers.extend(std::iter::from_fn(|| callee.poll_transmit()));
        }
        let took = began.elapsed();
        for answer in answers {
            caller.handle_datagram(to_caller(), &answer.bytes, *now);
        }
        self.pair.let_timers_fire();
        took / MESSAGES as u32
    }
}

fn timeouts(criterion: &mut Criterion) {
    let pair = Pair::with_calls(500);
    criterion.bench_function("poll_timeout among 500 calls", |bencher| {
        bencher.iter(|| black_box(&pair.callee).poll_timeout());
    });
}

#[expect(clippy::print_stdout, reason = "a bench tells its figures")]
fn memory(_: &mut Criterion) {
    let before = live_bytes();
    let pair = Pair::with_calls(1_000);
    println!("memory per dialog: {} bytes, of 12288", (live_bytes() - before) / 2_000);
    drop(pair);
    let mut pair = Pair::new();
    let mut round = |calls: usize| {
        for _ in 0..calls {
            let call = pair.call();
            pair.hang_up(call);
            pair.let_timers_fire();
        }
        live_bytes()
    };
    let (early, late) = (round(1_000), round(19_000));
    println!("memory after 1,000 calls: {early} bytes, after 20,000: {late} bytes");
}

criterion_group!(benches, memory, messages, calls, timeouts);
criterion_main!(benches);
