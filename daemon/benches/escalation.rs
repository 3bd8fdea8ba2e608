//! What it adds to a turn to decide whether a person is wanted: it may be 5 ms at most.
#![expect(clippy::unwrap_used, reason = "a benchmark fails loudly")]

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use daemon::conversation::answer;
use daemon::conversation::context::Context;
use daemon::conversation::escalation::Policy;
use daemon::conversation::intent::Classifier;
use daemon::office::sample;

fn decision(criterion: &mut Criterion) {
    let (office, context, policy) = (sample::office().unwrap(), Context::default(), Policy::default());
    let now = "2026-11-24T10:00:00[America/New_York]".parse().unwrap();
    for (name, text) in [
        ("nothing fits", "are you open on saturday afternoon and do I have to bring my insurance card"),
        ("emergency", "my father has chest pain and I do not know what to do"),
    ] {
        let understood = Classifier::keywords_only(office.asked_for()).understand(text, None, &context);
        let reply = answer::reply(&understood, &context, &office, &[], &now);
        criterion.bench_function(&format!("escalation, {name}"), |bencher| {
            bencher.iter(|| policy.apply(reply.clone(), black_box(text), &context, &office, &now));
        });
    }
}

criterion_group!(benches, decision);
criterion_main!(benches);
