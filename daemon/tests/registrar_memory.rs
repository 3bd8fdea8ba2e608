//! How much memory registrations take. In a program of its own, whose allocator counts.

#[path = "../../sip-stack/benches/pair/counting.rs"]
mod counting;

use std::time::Instant;

use counting::{Counting, live_bytes};
use daemon::registrar::Registrar;
use sip_stack::endpoint::{Source, Transport};
use sip_stack::message::{HeaderName, Method, Request, Uri};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const REGISTRATIONS: u16 = 10_000;
/// The most they may take together.
const MOST_BYTES: usize = 60 * 1_024 * 1_024;

#[test]
fn ten_thousand_registrations_fit_in_a_small_box() {
    let now = Instant::now();
    let before = live_bytes();
    let mut registrar = Registrar::default();
    for number in 0..REGISTRATIONS {
        let mut request = Request::new(Method::Register, Uri::parse(b"sip:office.example.com").unwrap());
        let contact = format!(
            "<sip:{number}@192.0.2.50:{};transport=tcp;ob>;+sip.instance=\"<urn:uuid:{number}>\"",
            1_024 + number
        );
        request.headers.push(HeaderName::CALL_ID, format!("{number}-8f3c2a7e5b1d4f60@192.0.2.50"));
        request.headers.push(HeaderName::CSEQ, "1 REGISTER");
        request.headers.push(HeaderName::CONTACT, contact);
        request.headers.push(HeaderName::EXPIRES, 600_u32);
        request.headers.push(HeaderName::USER_AGENT, "Yealink SIP-T46U 108.86.0.20");
        let source = Source {
            transport: Transport::Udp,
            local: ([192, 0, 2, 1], 5_060).into(),
            peer: ([192, 0, 2, 50], 1_024 + number).into(),
            flow: None,
        };
        assert!(registrar.register(&number.to_string(), &request, source, now).has_changed);
    }
    let bytes = live_bytes() - before;
    assert_eq!(registrar.len(now), usize::from(REGISTRATIONS));
    assert!(bytes <= MOST_BYTES, "{bytes} bytes");
    assert!(bytes > 100 * usize::from(REGISTRATIONS), "{bytes} bytes cannot hold them: is the allocator in use?");
}
