//! What a call costs: set up, confirmed and torn down between two endpoints, alone and among many others.

use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::{Criterion, criterion_group, criterion_main};
use sip_stack::endpoint::{Destination, Endpoint, EndpointConfig, Event, OutgoingInvite, Source, Transport};
use sip_stack::message::{NameAddr, Uri};

const SDP: &[u8] =
    b"v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\nm=audio 4000 RTP/AVP 8\r\n";
const CALLER: &str = "192.0.2.10:5060";
const CALLEE: &str = "192.0.2.20:5060";

struct Pair {
    caller: Endpoint,
    callee: Endpoint,
    now: Instant,
}

impl Pair {
    fn new(standing_calls: usize) -> Self {
        let endpoint = |address: &str, seed| {
            let mut config = EndpointConfig::new(address.parse().expect("a constant"), [seed; 32]);
            config.limits.transactions = 1 << 20;
            config.limits.calls = 1 << 16;
            Endpoint::new(config)
        };
        #[expect(clippy::disallowed_methods, reason = "an origin for a virtual clock")]
        let now = Instant::now();
        let mut pair = Self { caller: endpoint(CALLER, 1), callee: endpoint(CALLEE, 2), now };
        (0..standing_calls).for_each(|_| pair.call(false));
        pair.let_timers_fire();
        pair
    }

    /// INVITE, 100, 200, ACK and, if wanted, BYE and its 200.
    fn call(&mut self, hangs_up: bool) {
        let uri = || Uri::parse(b"sip:100@192.0.2.20").expect("a constant");
        let destination = Destination::udp(CALLEE.parse().expect("a constant"));
        let invite = OutgoingInvite::new(uri(), NameAddr::new(uri()), destination).with_offer(SDP.to_vec());
        let call = self.caller.invite(invite, self.now).expect("there is room");
        self.pass();
        if hangs_up {
            self.caller.bye(call, None, self.now).expect("the call is up");
            self.pass();
        }
    }

    /// Carries messages to and fro until there are none.
    fn pass(&mut self) {
        let source = |local: &str, peer: &str| {
            let [local, peer] = [local, peer].map(|address| address.parse().expect("a constant"));
            Source { transport: Transport::Udp, local, peer, flow: None }
        };
        let (to_callee, to_caller) = (source(CALLEE, CALLER), source(CALLER, CALLEE));
        loop {
            if let Some(transmit) = self.caller.poll_transmit() {
                self.callee.handle_datagram(to_callee, &transmit.bytes, self.now);
            } else if let Some(transmit) = self.callee.poll_transmit() {
                self.caller.handle_datagram(to_caller, &transmit.bytes, self.now);
            } else if let Some(event) = self.callee.poll_event() {
                if let Event::InviteReceived { call, .. } = event {
                    self.callee.answer(call, SDP.to_vec(), self.now).expect("the call is new");
                }
            } else if self.caller.poll_event().is_none() {
                return;
            }
        }
    }

    fn let_timers_fire(&mut self) {
        self.now += Duration::from_secs(60);
        self.caller.handle_timeout(self.now);
        self.callee.handle_timeout(self.now);
    }
}

fn calls(criterion: &mut Criterion) {
    for standing_calls in [0, 500] {
        let mut pair = Pair::new(standing_calls);
        criterion.bench_function(&format!("whole call among {standing_calls} others, both sides"), |bencher| {
            bencher.iter(|| {
                pair.call(true);
                pair.let_timers_fire();
            });
        });
    }
}

fn timeouts(criterion: &mut Criterion) {
    let pair = Pair::new(500);
    criterion.bench_function("poll_timeout among 500 calls", |bencher| {
        bencher.iter(|| black_box(&pair.callee).poll_timeout());
    });
}

criterion_group!(benches, calls, timeouts);
criterion_main!(benches);
