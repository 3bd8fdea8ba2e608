//! Addresses that do not answer, requests too large for a datagram, connections that fall silent.

use super::*;

fn uri(text: &str) -> Uri {
    Uri::parse(text.as_bytes()).unwrap()
}

fn at(port: u16) -> Destination {
    Destination::udp(SocketAddr::new(peer().ip(), port))
}

fn place(rig: &mut Rig, ports: &[u16]) -> CallHandle {
    let from = NameAddr::new(uri("sip:office@example.com"));
    let invite = OutgoingInvite {
        offer: Some(OFFER.into()),
        alternatives: ports[1..].iter().map(|port| at(*port)).collect(),
        ..OutgoingInvite::new(uri("sip:200@example.com"), from, at(ports[0]))
    };
    rig.command(|endpoint, now| endpoint.invite(invite, now)).unwrap()
}

/// Where INVITEs went, in order, without repeats.
fn tried(rig: &Rig) -> Vec<u16> {
    let invites = rig.sent.iter().filter(|transmit| transmit.bytes.starts_with(b"INVITE"));
    let mut ports: Vec<u16> = invites.map(|transmit| transmit.peer.port()).collect();
    ports.dedup();
    ports
}

/// A response to the `n`th distinct INVITE.
fn reply_to(rig: &mut Rig, n: usize, status: u16, tag: &str) {
    let mut invites = rig.requests(&Method::Invite);
    invites.dedup();
    let mut response = Response::to(&invites[n], StatusCode::new(status).unwrap(), Some(tag));
    response.headers.push(HeaderName::CONTACT, format!("<sip:{tag}@192.0.2.9>"));
    if status == 200 {
        response.set_body("application/sdp", OFFER.into());
    }
    rig.receive(&response.to_bytes());
}

#[test]
fn silence_a_503_and_a_dead_transport_make_the_next_address_due() {
    let mut rig = Rig::new();
    place(&mut rig, &[5070, 5071, 5072, 5073]);
    rig.wait(Duration::from_millis(3_999));
    assert_eq!(tried(&rig), [5070]);
    rig.wait(Duration::from_millis(1));
    assert_eq!(tried(&rig), [5070, 5071]);
    reply_to(&mut rig, 1, 503, "b");
    assert_eq!(tried(&rig), [5070, 5071, 5072]);
    rig.command(|endpoint, now| endpoint.handle_transmit_failed(Transport::Udp, at(5072).peer, now));
    assert_eq!(tried(&rig), [5070, 5071, 5072, 5073]);
    let failed: Vec<_> = [5070, 5071, 5072].map(|port| Event::DestinationFailed { destination: at(port) }).into();
    assert_eq!(rig.events, failed);
    reply_to(&mut rig, 3, 200, "d");
    assert!(matches!(rig.events.last(), Some(Event::Answered { .. })), "{:?}", rig.events);
    let branches: std::collections::BTreeSet<_> =
        rig.requests(&Method::Invite).iter().map(|r| r.headers.via().unwrap().branch().unwrap().to_owned()).collect();
    assert_eq!(branches.len(), 4);
    place(&mut rig, &[5070, 5071, 5072, 5073]);
    assert_eq!(tried(&rig).last(), Some(&5073), "the one that works is remembered");
}

#[test]
fn the_last_address_is_waited_for_and_its_refusal_counts() {
    let mut rig = Rig::new();
    let call = place(&mut rig, &[5070, 5071]);
    rig.wait(Duration::from_secs(4));
    reply_to(&mut rig, 1, 503, "b");
    let [Event::DestinationFailed { .. }, Event::Rejected { .. }, Event::CallEnded { .. }] = rig.events[..] else {
        panic!("{:?}", rig.events)
    };
    let call_two = place(&mut rig, &[5074, 5075]);
    rig.wait(Duration::from_secs(40));
    assert_ne!(call, call_two);
    assert_eq!(rig.events.last(), Some(&Event::CallEnded { call: call_two, cause: EndCause::NoResponse }));
    rig.finish();
}

#[test]
fn an_answer_of_any_kind_ends_the_search() {
    for status in [100, 180, 486, 404, 403] {
        let mut rig = Rig::new();
        place(&mut rig, &[5070, 5071]);
        reply_to(&mut rig, 0, status, "a");
        rig.wait(Duration::from_secs(10));
        assert_eq!(tried(&rig), [5070], "{status}");
    }
}

#[test]
fn an_address_that_was_left_behind_and_answers_after_all_is_hung_up() {
    let mut rig = Rig::new();
    let call = place(&mut rig, &[5070, 5071]);
    rig.wait(Duration::from_secs(4));
    reply_to(&mut rig, 0, 180, "late");
    assert_eq!(rig.requests(&Method::Cancel).len(), 1, "it is told at once");
    reply_to(&mut rig, 1, 200, "good");
    reply_to(&mut rig, 0, 200, "late");
    let to = |request: &Request| request.headers.to().unwrap().tag().unwrap().to_owned();
    assert_eq!(rig.requests(&Method::Bye).iter().map(to).collect::<Vec<_>>(), ["late"]);
    assert_eq!(rig.requests(&Method::Ack).len(), 2);
    assert_eq!(rig.endpoint.occupancy().calls, 1);
    rig.command(|endpoint, now| endpoint.bye(call, None, now)).unwrap();
    rig.finish();
}

#[test]
fn a_call_that_is_cancelled_goes_nowhere_else() {
    let mut rig = Rig::new();
    let call = place(&mut rig, &[5070, 5071]);
    rig.command(|endpoint, now| endpoint.cancel(call, None, now)).unwrap();
    rig.wait(Duration::from_secs(40));
    assert_eq!(tried(&rig), [5070]);
    rig.finish();
}

#[test]
fn other_requests_move_on_too() {
    let mut rig = Rig::new();
    let from = NameAddr::new(uri("sip:office@example.com"));
    let message = OutgoingRequest {
        alternatives: vec![at(5071)],
        ..OutgoingRequest::new(Method::Message, uri("sip:200@example.com"), from, at(5070))
    };
    rig.command(|endpoint, now| endpoint.request(message, now)).unwrap();
    rig.wait(Duration::from_secs(4));
    let second = rig.requests(&Method::Message).pop().unwrap();
    assert_eq!(rig.sent.last().unwrap().peer.port(), 5071);
    rig.receive(&Response::to(&second, StatusCode::OK, Some("b")).to_bytes());
    assert!(matches!(rig.events.last(), Some(Event::RequestAnswered { .. })), "{:?}", rig.events);
    let sent = rig.sent.len();
    rig.finish();
    assert_eq!(rig.sent.len(), sent, "the first one is repeated no more");
}

#[test]
fn a_large_request_goes_over_tcp_and_back_to_udp_if_that_fails() {
    let mut rig = Rig::new();
    let from = NameAddr::new(uri("sip:office@example.com"));
    let large = || OutgoingRequest {
        body: Some(Body::new("text/plain", vec![b'x'; 1_200])),
        ..OutgoingRequest::new(Method::Message, uri("sip:200@example.com"), from.clone(), at(5070))
    };
    rig.command(|endpoint, now| endpoint.request(large(), now)).unwrap();
    let first = rig.sent.last().unwrap();
    assert_eq!((first.transport, first.peer.port()), (Transport::Tcp, 5070));
    assert_eq!(rig.requests(&Method::Message)[0].headers.via().unwrap().transport.to_string(), "TCP");
    rig.command(|endpoint, now| endpoint.handle_transmit_failed(Transport::Tcp, at(5070).peer, now));
    assert_eq!(rig.sent.last().unwrap().transport, Transport::Udp);
    rig.command(|endpoint, now| endpoint.request(large(), now)).unwrap();
    assert_eq!(rig.sent.last().unwrap().transport, Transport::Udp, "it is remembered");
}

/// A connection of ours to a carrier.
fn connected(rig: &mut Rig) {
    let own: SocketAddr = "192.0.2.1:40001".parse().unwrap();
    rig.command(|endpoint, now| endpoint.handle_stream_opened(FlowId(1), Transport::Tls, own, at(5061).peer, now));
}

fn pings(rig: &Rig) -> usize {
    rig.sent.iter().filter(|transmit| transmit.bytes == b"\r\n\r\n").count()
}

#[test]
fn connections_of_ours_are_pinged_and_accepted_ones_are_not() {
    let mut rig = Rig::new();
    connected(&mut rig);
    let accepted = SocketAddr::new(local().ip(), 5061);
    rig.command(|endpoint, now| endpoint.handle_stream_opened(FlowId(2), Transport::Tls, accepted, peer(), now));
    rig.wait(Duration::from_secs(79));
    assert_eq!(pings(&rig), 0);
    rig.wait(Duration::from_secs(22));
    assert_eq!(pings(&rig), 1);
    assert_eq!(rig.sent.last().unwrap().flow, Some(FlowId(1)));
    rig.wait(Duration::from_secs(1_000));
    assert!((10..=14).contains(&pings(&rig)), "a peer that does not know pongs is left alone: {}", pings(&rig));
    assert_eq!(rig.endpoint.poll_close(), None);
    rig.command(|endpoint, now| endpoint.handle_stream_closed(FlowId(1), now));
    assert_eq!(rig.endpoint.poll_timeout(), None);
}

#[test]
fn a_peer_that_answered_before_and_falls_silent_is_gone() {
    let mut rig = Rig::new();
    connected(&mut rig);
    for _ in 0..500 {
        let before = pings(&rig);
        rig.wait(Duration::from_secs(1));
        if pings(&rig) > before {
            rig.command(|endpoint, now| endpoint.handle_stream_bytes(FlowId(1), b"\r\n", now));
        }
    }
    assert_eq!(rig.endpoint.poll_close(), None, "it answers every time");
    assert!(rig.sent.iter().all(|transmit| transmit.bytes == b"\r\n\r\n"), "a pong is not answered");
    rig.wait(Duration::from_secs(111));
    assert_eq!(rig.endpoint.poll_close(), Some(FlowId(1)));
    assert_eq!(rig.endpoint.occupancy().streams, 0);
}
