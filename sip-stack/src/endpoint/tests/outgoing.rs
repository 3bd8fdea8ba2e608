//! Calls we place, with a callee that forks, repeats and refuses.

use super::*;

fn place(rig: &mut Rig, offer: Option<&str>) -> CallHandle {
    let uri = |text: &str| Uri::parse(text.as_bytes()).unwrap();
    let from = NameAddr::new(uri("sip:office@example.com"));
    let invite = OutgoingInvite {
        to: NameAddr::new(uri("sip:200@example.com")),
        offer: offer.map(Into::into),
        headers: vec![(HeaderName::new("X-Call"), "7".to_owned()), (HeaderName::CALL_ID, "not this one".to_owned())],
        ..OutgoingInvite::new(uri("sip:200@192.0.2.9"), from, Destination::udp(peer()))
    };
    rig.command(|endpoint, now| endpoint.invite(invite, now)).unwrap()
}

/// Answers the first INVITE of ours.
fn reply(rig: &mut Rig, status: u16, tag: &str, extra: &str) {
    let invite = rig.requests(&Method::Invite).remove(0);
    let mut response = Response::to(&invite, StatusCode::new(status).unwrap(), Some(tag));
    response.headers.push(HeaderName::CONTACT, format!("<sip:{tag}@192.0.2.9>"));
    if !extra.is_empty() {
        response.set_body("application/sdp", extra.into());
    }
    rig.receive(&response.to_bytes());
}

#[test]
fn the_callers_own_headers_go_out_and_the_stacks_are_kept() {
    let mut rig = Rig::new();
    place(&mut rig, Some(OFFER));
    let invite = rig.requests(&Method::Invite).remove(0);
    assert_eq!(invite.headers.text(&HeaderName::new("X-Call")).as_deref(), Some("7"));
    assert_ne!(invite.headers.call_id().unwrap(), "not this one");
    assert_eq!(invite.check(), Ok(()));
}

/// An office's router hands out another address: who is called from then on finds us there.
#[test]
fn another_address_is_told_to_those_who_are_called_from_then_on() {
    let mut rig = Rig::new();
    rig.endpoint.set_advertised(&Host::from(std::net::IpAddr::from([203, 0, 113, 5])));
    place(&mut rig, Some(OFFER));
    let invite = rig.requests(&Method::Invite).remove(0);
    for name in [HeaderName::CONTACT, HeaderName::VIA] {
        let value = invite.headers.text(&name).unwrap();
        assert!(value.contains("203.0.113.5:5060"), "{value}");
    }
}

/// A health check calls from the box itself; behind NAT its ACK would not come back from the public address.
#[test]
fn a_peer_on_the_same_machine_is_told_the_loopback_address() {
    let mut rig = Rig::new();
    rig.endpoint.set_advertised(&Host::from(std::net::IpAddr::from([203, 0, 113, 5])));
    let contact = |peer: &str| rig.endpoint.contact(Transport::Udp, peer.parse().unwrap()).to_string();
    assert!(contact("127.0.0.1:40000").contains("@127.0.0.1:5060"), "{}", contact("127.0.0.1:40000"));
    assert!(contact("192.0.2.9:40000").contains("@203.0.113.5:5060"), "{}", contact("192.0.2.9:40000"));
}

/// Few routers let somebody inside reach the box from outside.
#[test]
fn a_peer_in_the_same_network_is_told_the_address_there() {
    let mut rig = Rig::new();
    rig.endpoint.set_advertised(&Host::from(std::net::IpAddr::from([203, 0, 113, 5])));
    rig.endpoint.set_advertised_inside(Some(Host::from(std::net::IpAddr::from([192, 168, 1, 2]))));
    let contact = |peer: &str| rig.endpoint.contact(Transport::Udp, peer.parse().unwrap()).to_string();
    for (peer, expected) in [
        ("192.168.7.7:5060", "@192.168.1.2:5060"),
        ("[fd00::7]:5060", "@192.168.1.2:5060"),
        ("127.0.0.1:5060", "@127.0.0.1:5060"),
        ("198.51.100.7:5060", "@203.0.113.5:5060"),
    ] {
        assert!(contact(peer).contains(expected), "{peer}: {}", contact(peer));
    }
}

/// The peer of a call that is up learns it from our next re-INVITE (RFC 3261 §12.2: target refresh).
#[test]
fn another_address_is_told_to_those_in_a_call_by_the_next_reinvite() {
    let mut rig = Rig::new();
    let call = place(&mut rig, Some(OFFER));
    reply(&mut rig, 200, "far", OFFER);
    rig.endpoint.set_advertised(&Host::from(std::net::IpAddr::from([203, 0, 113, 5])));
    rig.command(|endpoint, now| endpoint.reinvite(call, Some(OFFER.into()), now)).unwrap();
    let contacts = rig
        .requests(&Method::Invite)
        .iter()
        .map(|one| one.headers.text(&HeaderName::CONTACT).unwrap())
        .collect::<Vec<_>>();
    assert!(contacts.last().unwrap().contains("203.0.113.5:5060"), "{contacts:?}");
    assert!(!contacts[0].contains("203.0.113.5"), "{contacts:?}");
}

#[test]
fn a_repeated_200_gets_the_same_ack_again() {
    let mut rig = Rig::new();
    let call = place(&mut rig, Some(OFFER));
    reply(&mut rig, 200, "far", OFFER);
    reply(&mut rig, 200, "far", OFFER);
    let acks: Vec<_> = rig.sent.iter().filter(|transmit| transmit.bytes.starts_with(b"ACK")).collect();
    assert_eq!(acks.len(), 2);
    assert_eq!(acks[0], acks[1]);
    let answers = rig.events.iter().filter(|event| matches!(event, Event::Answered { .. })).count();
    assert_eq!(answers, 1);
    rig.command(|endpoint, now| endpoint.bye(call, None, now)).unwrap();
    rig.finish();
}

#[test]
fn a_second_fork_that_answers_is_confirmed_and_hung_up() {
    let mut rig = Rig::new();
    let call = place(&mut rig, Some(OFFER));
    reply(&mut rig, 180, "one", "");
    reply(&mut rig, 180, "two", "");
    assert_eq!(rig.endpoint.occupancy().dialogs, 2, "two early dialogs");
    reply(&mut rig, 200, "two", OFFER);
    reply(&mut rig, 200, "one", OFFER);
    let to = |request: &Request| request.headers.to().unwrap().tag().unwrap().to_owned();
    assert_eq!(rig.requests(&Method::Ack).iter().map(to).collect::<Vec<_>>(), ["two", "one"]);
    assert_eq!(rig.requests(&Method::Bye).iter().map(to).collect::<Vec<_>>(), ["one"]);
    assert_eq!(rig.endpoint.occupancy().calls, 1, "the one that won goes on");
    rig.command(|endpoint, now| endpoint.bye(call, None, now)).unwrap();
    rig.finish();
}

#[test]
fn a_late_offer_is_confirmed_with_our_answer_and_again_on_repeat() {
    let mut rig = Rig::new();
    let call = place(&mut rig, None);
    reply(&mut rig, 200, "far", OFFER);
    reply(&mut rig, 200, "far", OFFER);
    assert!(rig.requests(&Method::Ack).is_empty(), "our user has not answered yet");
    rig.command(|endpoint, now| endpoint.ack_with_answer(call, b"answer".to_vec(), now)).unwrap();
    reply(&mut rig, 200, "far", OFFER);
    let bodies: Vec<_> = rig.requests(&Method::Ack).into_iter().map(|ack| ack.body).collect();
    assert_eq!(bodies, [b"answer", b"answer"]);
}

#[test]
fn early_media_and_the_rejection_are_told() {
    let mut rig = Rig::new();
    let call = place(&mut rig, Some(OFFER));
    reply(&mut rig, 100, "far", "");
    reply(&mut rig, 183, "far", OFFER);
    let status = StatusCode::SESSION_PROGRESS;
    assert_eq!(rig.events, [Event::ProvisionalReceived { call, status, sdp: Some(OFFER.into()) }]);
    reply(&mut rig, 486, "far", "");
    assert!(matches!(&rig.events[1], Event::Rejected { reason, .. } if reason == "Busy Here"));
    assert_eq!(rig.events[2], Event::CallEnded { call, cause: EndCause::PeerRefused });
    let ack = rig.requests(&Method::Ack).remove(0);
    let invite = rig.requests(&Method::Invite).remove(0);
    assert_eq!(ack.headers.via(), invite.headers.via(), "part of the INVITE's transaction");
    assert_eq!(ack.headers.to().unwrap().tag(), Some("far"));
    rig.finish();
}

#[test]
fn nobody_answers() {
    let mut rig = Rig::new();
    let call = place(&mut rig, Some(OFFER));
    rig.finish();
    assert_eq!(rig.events, [Event::TimedOut { call }, Event::CallEnded { call, cause: EndCause::NoResponse }]);
}

#[test]
fn a_cancel_that_changes_nothing_gives_up_in_time() {
    let mut rig = Rig::new();
    let call = place(&mut rig, Some(OFFER));
    reply(&mut rig, 180, "far", "");
    rig.command(|endpoint, now| endpoint.cancel(call, None, now)).unwrap();
    assert_eq!(rig.command(|endpoint, now| endpoint.cancel(call, None, now)), Err(EndpointMisuse::WrongState));
    reply(&mut rig, 180, "far", "");
    assert_eq!(rig.requests(&Method::Cancel).len(), 1, "a second 180 makes no second CANCEL");
    rig.finish();
    assert_eq!(rig.events[1..], [Event::TimedOut { call }, Event::CallEnded { call, cause: EndCause::HungUp }]);
}

#[test]
fn an_answer_after_giving_up_is_hung_up() {
    let mut rig = Rig::new();
    let call = place(&mut rig, Some(OFFER));
    rig.command(|endpoint, now| endpoint.cancel(call, None, now)).unwrap();
    reply(&mut rig, 200, "far", OFFER);
    assert_eq!((rig.requests(&Method::Ack).len(), rig.requests(&Method::Bye).len()), (1, 1));
    assert!(!rig.events.iter().any(|event| matches!(event, Event::Answered { .. })));
    rig.finish();
    assert_eq!(rig.events, [Event::CallEnded { call, cause: EndCause::HungUp }]);
}

#[test]
fn an_unreachable_peer_fails_the_call() {
    let mut rig = Rig::new();
    let call = place(&mut rig, Some(OFFER));
    rig.command(|endpoint, now| endpoint.handle_transmit_failed(Transport::Udp, peer(), now));
    assert_eq!(
        rig.events,
        [Event::TransportFailed { call }, Event::CallEnded { call, cause: EndCause::TransportFailed }]
    );
    rig.finish();
}

/// Every 2xx has its ACK (RFC 3261 §13.2.2.4), also one whose answer our user still owed when the peer hung up.
#[test]
fn a_2xx_whose_answer_is_still_owed_is_confirmed_when_the_call_ends() {
    let mut rig = Rig::new();
    let (call, draft) = rig.up();
    rig.command(|endpoint, now| endpoint.reinvite(call, None, now)).unwrap();
    reply(&mut rig, 200, "theirs", OFFER);
    assert!(rig.requests(&Method::Ack).is_empty());
    rig.ask(&draft);
    assert_eq!(rig.requests(&Method::Ack).len(), 1);
    rig.finish();
}
