//! What one INVITE costs: reading, checking and printing 1.5 kB as a trunk sends it.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use sip_stack::message::{Limits, Message, Response, StatusCode};
use sip_stack::sdp::{Capabilities, LocalSession, SessionDescription, answer};

const INVITE: &str = include_str!("invite.sip");

/// The file has plain line ends, so that it can be read; on the wire they are CRLF.
fn invite() -> Vec<u8> {
    let text = INVITE.replace('\n', "\r\n");
    let (head, body) = text.split_once("\r\n\r\n").expect("the file has headers and a body");
    format!("{head}\r\nContent-Length: {}\r\n\r\n{body}", body.len()).into_bytes()
}

fn message(criterion: &mut Criterion) {
    let bytes = invite();
    let limits = Limits::default();
    let parse = || Message::parse(black_box(&bytes), &limits).expect("the file holds SIP");
    let parsed = parse();
    let Message::Request(request) = &parsed else { panic!("the file holds a request") };
    request.check().expect("a correct request");
    let local = "192.0.2.9:40000".parse().expect("an address");

    let mut group = criterion.benchmark_group("invite");
    group.throughput(Throughput::Bytes(bytes.len() as u64));
    group.bench_function("parse", |bencher| bencher.iter(parse));
    group.bench_function("parse_and_check", |bencher| {
        bencher.iter(|| match parse() {
            Message::Request(request) => request.check(),
            Message::Response(response) => response.check(),
        });
    });
    group.bench_function("print", |bencher| bencher.iter(|| black_box(&parsed).to_bytes()));
    group.bench_function("respond", |bencher| {
        bencher.iter(|| Response::to(black_box(request), StatusCode::RINGING, Some("tag")).to_bytes());
    });
    group.bench_function("answer_offer", |bencher| {
        bencher.iter(|| {
            let offer = SessionDescription::parse(black_box(&request.body)).expect("a correct offer");
            answer(&offer, &Capabilities::default(), local, &mut LocalSession::new(1))
        });
    });
    group.finish();
}

criterion_group!(benches, message);
criterion_main!(benches);
