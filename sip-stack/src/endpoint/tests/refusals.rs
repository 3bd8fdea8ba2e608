//! What is refused, with which status and which header.

use super::*;

fn check(name: &str, draft: Draft, status: u16, header: Option<(&HeaderName, &str)>) {
    let mut rig = Rig::new();
    let response = rig.ask(&draft);
    assert_eq!(response.status.as_u16(), status, "{name}");
    assert!(response.headers.to().unwrap().tag().is_some(), "{name}: To has no tag");
    if let Some((header, value)) = header {
        assert_eq!(response.headers.text(header).as_deref(), Some(value), "{name}");
    }
    let seen: Vec<_> = rig.events.iter().map(|event| matches!(event, Event::PeerErrorSeen { .. })).collect();
    assert_eq!(seen, [true], "{name}: {:?}", rig.events);
    rig.finish();
}

#[test]
fn requests_we_cannot_serve_get_the_status_of_the_rfc() {
    let allow = (&HeaderName::ALLOW, "INVITE, ACK, CANCEL, BYE, OPTIONS, INFO, NOTIFY, PRACK, UPDATE");
    let accept = (&HeaderName::ACCEPT, "application/sdp");
    let unsupported = (&HeaderName::UNSUPPORTED, "x-new");
    let warning = |text: &'static str| Some((&HeaderName::WARNING, text));
    let zipped = Draft::invite().header("Content-Encoding: gzip");
    let identity = (&HeaderName::ACCEPT_ENCODING, "identity");
    let plain = Draft::new("INVITE").contact().header("Content-Type: text/plain").body("hello");
    let require = Draft::invite().header("Require: 100rel").header("Require: x-new");
    check("version, §21.5.7", Draft::invite().version("SIP/3.0"), 505, None);
    check("scheme, §8.2.2.1", Draft::invite().uri("http://example.com"), 416, None);
    check("method we do not take, §8.2.1", Draft::new("SUBSCRIBE"), 405, Some(allow));
    check("method nobody knows, §8.2.1", Draft::new("DANCE"), 501, Some(allow));
    check("extension, §8.2.2.3", require, 420, Some(unsupported));
    check("body type, §8.2.3", plain, 415, Some(accept));
    check("nothing acceptable, §21.4.7", Draft::invite().header("Accept: text/html"), 406, None);
    check("body encoding, §8.2.3", zipped, 415, Some(identity));
    let missing = warning("399 sip-stack \"Contact: missing at byte 0\"");
    check("no Contact, §8.1.1.8", Draft::new("INVITE").sdp(), 400, missing);
    let other = warning("399 sip-stack \"CSeq names another method\"");
    check("CSeq of another method, §8.1.1.5", Draft { cseq: "1 BYE\nX: ".into(), ..Draft::invite() }, 400, other);
    let replaces = "Replaces: call-1;to-tag=a;from-tag=b";
    let misplaced = warning("399 sip-stack \"Replaces: expected no such header but in INVITE at byte 0\"");
    check("Replaces elsewhere, RFC 3891 §3", Draft::new("OPTIONS").header(replaces), 400, misplaced);
    check("Replaces twice, RFC 3891 §3", Draft::invite().header(replaces).header(replaces), 400, None);
    check("Replaces nothing, RFC 3891 §3", Draft::invite().header(replaces), 481, None);
    check("unknown dialog, §12.2.2", Draft::new("BYE").tagged("nobody"), 481, None);
    check("re-INVITE in an unknown dialog, §12.2.2", Draft::invite().tagged("nobody"), 481, None);
    check("no dialog at all, §15.1.2", Draft::new("BYE"), 481, None);
    check("nothing to cancel, §9.2", Draft::new("CANCEL"), 481, None);
}

#[test]
fn an_optional_body_of_another_type_is_ignored() {
    let mut rig = Rig::new();
    let draft = Draft::new("INVITE").contact().header("Content-Type: text/plain").body("hello");
    rig.receive(&draft.header("Content-Disposition: render; handling=optional").text("z9hG4bKx"));
    assert!(matches!(rig.events[..], [Event::InviteReceived { offer: None, .. }]), "{:?}", rig.events);
}

/// RFC 4475 §3.3.11: an endpoint is where the request wanted to go, so it needs no more hops.
#[test]
fn zero_max_forwards_reach_an_endpoint() {
    let mut rig = Rig::new();
    let text = String::from_utf8(Draft::new("OPTIONS").text("z9hG4bKx")).unwrap();
    rig.receive(text.replace("Max-Forwards: 70", "Max-Forwards: 0").as_bytes());
    assert_eq!(rig.statuses(), [200]);
}

#[test]
fn the_same_invite_over_two_paths_is_a_merged_request() {
    let mut rig = Rig::new();
    rig.ringing();
    let response = rig.ask(&Draft::invite());
    assert_eq!(response.status.as_u16(), 482);
    assert_eq!(response.headers.warnings().unwrap()[0].text, "merged request");
    assert_eq!(rig.endpoint.occupancy().calls, 1);
}

#[test]
fn requests_out_of_order_get_500() {
    let mut rig = Rig::new();
    let (_, draft) = rig.up();
    assert_eq!(rig.ask(&draft.clone().method("OPTIONS").cseq(9)).status.as_u16(), 200);
    let late = rig.ask(&draft.clone().cseq(8));
    assert_eq!((late.status.as_u16(), &late.headers.warnings().unwrap()[0].text[..]), (500, "CSeq went backwards"));
    let update = draft.method("UPDATE").contact().header("Content-Type: text/plain").body("hello").cseq(10);
    let refused = rig.ask(&update);
    assert_eq!(refused.status.as_u16(), 415, "within a dialog too");
    assert_eq!(refused.headers.text(&HeaderName::ACCEPT).as_deref(), Some("application/sdp"));
    assert_eq!(rig.endpoint.occupancy().calls, 1, "the call goes on");
}

#[test]
fn a_wrong_ack_gets_no_answer() {
    let mut rig = Rig::new();
    rig.receive(&Draft::new("ACK").tagged("nobody").text("z9hG4bKx"));
    rig.receive(&Draft::new("ACK").version("SIP/9.0").text("z9hG4bKy"));
    assert_eq!(rig.statuses(), [] as [u16; 0]);
    assert_eq!(rig.endpoint.counters().stray_acks, 1);
    assert!(matches!(rig.events[..], [Event::PeerErrorSeen { .. }]), "the other one: {:?}", rig.events);
}

#[test]
fn what_is_not_sip_and_responses_to_nothing_are_counted_and_dropped() {
    let mut rig = Rig::new();
    rig.receive(b"\r\n\r\n");
    rig.receive(b"hello");
    rig.receive(b"SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP a;branch=z9hG4bKx\r\nFrom: <sip:a@b>;tag=1\r\nTo: <sip:a@b>\r\nCall-ID: c\r\nCSeq: 1 BYE\r\n\r\n");
    let counters = rig.endpoint.counters();
    assert_eq!((counters.unreadable, counters.stray_responses, rig.sent.len()), (2, 1, 0));
}

#[test]
fn a_request_whose_via_cannot_be_read_is_refused_without_state() {
    let mut rig = Rig::new();
    let text = String::from_utf8(Draft::invite().text("z9hG4bKx")).unwrap().replace("Via: SIP", "Via: ");
    rig.receive(text.as_bytes());
    assert_eq!(rig.statuses(), [400]);
    assert_eq!(rig.sent[0].peer, peer());
    assert_eq!(rig.endpoint.occupancy(), Occupancy::default());
}

#[test]
fn options_tells_what_we_can_and_whether_we_take_calls() {
    let mut rig = Rig::new();
    let response = rig.ask(&Draft::new("OPTIONS"));
    assert_eq!(response.status.as_u16(), 200);
    for header in [HeaderName::ALLOW, HeaderName::ACCEPT, HeaderName::SUPPORTED] {
        assert!(response.headers.contains(&header), "{header}");
    }
    rig.endpoint.set_accepting(Accepting::No { retry_after_seconds: 30 });
    for draft in [Draft::new("OPTIONS").cseq(2), Draft::invite().cseq(3)] {
        let response = rig.ask(&draft);
        assert_eq!(response.status.as_u16(), 503);
        assert_eq!(response.headers.retry_after().unwrap().unwrap().seconds, 30);
    }
    assert_eq!(rig.endpoint.counters().overload_refusals, 2);
}

/// No transaction is made for them, so that refusing costs next to nothing; what waits is dealt with in time.
#[test]
fn calls_beyond_those_that_wait_for_a_decision_are_turned_away_without_keeping_anything() {
    let mut rig = Rig::new();
    rig.endpoint.config.limits.undecided = 2;
    rig.endpoint.config.urgent = vec!["112".to_owned()];
    let ask = |rig: &mut Rig, number: u32, user: &str| {
        let draft = Draft::invite().cseq(number);
        let text = String::from_utf8(draft.text(&format!("z9hG4bK{number}"))).unwrap();
        let uri = text.split(' ').nth(1).unwrap().to_owned();
        let text = text.replacen(&uri, &format!("sip:{user}@192.0.2.1"), 1);
        let text = text.replacen("Call-ID: ", &format!("Call-ID: {number}"), 1);
        rig.receive(text.as_bytes());
        rig.statuses().last().copied()
    };
    assert_eq!(ask(&mut rig, 1, "office"), Some(100));
    assert_eq!(ask(&mut rig, 2, "office"), Some(100));
    let before = rig.endpoint.occupancy();
    assert_eq!(before.undecided, 2);
    assert_eq!(ask(&mut rig, 3, "office"), Some(503));
    assert_eq!(rig.responses("z9hG4bK3")[0].headers.retry_after().unwrap().unwrap().seconds, 5);
    assert_eq!(rig.endpoint.occupancy(), before);
    assert_eq!(ask(&mut rig, 4, "112"), Some(100), "an emergency is taken");
    for call in rig.endpoint.calls.keys().copied().collect::<Vec<_>>() {
        rig.endpoint.ring(call, None, rig.now).unwrap();
    }
    assert_eq!(rig.endpoint.occupancy().undecided, 0);
    assert_eq!(ask(&mut rig, 5, "office"), Some(100));
}

/// RFC 3581 §4, and RFC 3261 §18.2.2 for a peer that does not ask for it.
#[test]
fn responses_go_where_the_request_came_from() {
    let mut rig = Rig::new();
    let from = Source { peer: "203.0.113.5:40001".parse().unwrap(), ..udp() };
    rig.endpoint.handle_datagram(from, &Draft::new("OPTIONS").text("z9hG4bKx"), rig.now);
    let text = String::from_utf8(Draft::new("OPTIONS").cseq(2).text("z9hG4bKy")).unwrap().replace(";rport", "");
    rig.endpoint.handle_datagram(from, text.as_bytes(), rig.now);
    rig.drain();
    assert_eq!(rig.sent[0].peer.to_string(), "203.0.113.5:40001");
    assert_eq!(rig.sent[1].peer.to_string(), "203.0.113.5:5060", "the port of sent-by");
    let via = rig.responses("z9hG4bKx")[0].headers.via().unwrap();
    assert_eq!((via.received(), via.rport()), (Some(from.peer.ip()), Some(40001)));
}
