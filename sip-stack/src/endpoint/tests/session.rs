//! Session timers, UPDATE and reliable provisional responses, with a peer written by hand.

use super::*;

fn uri(text: &str) -> Uri {
    Uri::parse(text.as_bytes()).unwrap()
}

fn place(rig: &mut Rig) -> CallHandle {
    let from = NameAddr::new(uri("sip:office@example.com"));
    let invite = OutgoingInvite::new(uri("sip:200@192.0.2.9"), from, Destination::udp(peer()));
    rig.command(|endpoint, now| endpoint.invite(invite.with_offer(OFFER.into()), now)).unwrap()
}

/// Answers the latest request with that method.
fn reply(rig: &mut Rig, method: &Method, status: u16, headers: &[(HeaderName, &str)], sdp: &str) {
    let request = rig.requests(method).pop().unwrap();
    let mut response = Response::to(&request, StatusCode::new(status).unwrap(), Some("far"));
    response.headers.push(HeaderName::CONTACT, "<sip:far@192.0.2.9>");
    headers.iter().for_each(|(name, value)| response.headers.push(name.clone(), value));
    if !sdp.is_empty() {
        response.set_body("application/sdp", sdp.into());
    }
    rig.receive(&response.to_bytes());
}

fn expires(request: &Request) -> Option<String> {
    request.headers.text(&HeaderName::SESSION_EXPIRES)
}

/// A call of theirs whose INVITE has these headers, up; with the 200 it got.
fn up_with(rig: &mut Rig, headers: &[&str]) -> (CallHandle, Draft, Response) {
    let draft = headers.iter().fold(Draft::invite(), |draft, line| draft.header(line));
    rig.receive(&draft.text("z9hG4bKcall"));
    let Some(Event::InviteReceived { call, .. }) = rig.events.pop() else { panic!("{:?}", rig.events) };
    rig.command(|endpoint, now| endpoint.answer(call, OFFER.into(), now)).unwrap();
    let ok = rig.responses("z9hG4bKcall").pop().unwrap();
    let tag = ok.headers.to().unwrap().tag().unwrap().to_owned();
    rig.receive(&Draft::new("ACK").tagged(&tag).text("z9hG4bKack"));
    (call, Draft::new("BYE").tagged(&tag).cseq(2), ok)
}

#[test]
fn a_peer_that_refreshes_keeps_the_call_up_and_one_that_stops_loses_it() {
    let mut rig = Rig::new();
    let (call, draft, ok) = up_with(&mut rig, &["Supported: timer", "Session-Expires: 600"]);
    assert_eq!(ok.headers.text(&HeaderName::SESSION_EXPIRES).as_deref(), Some("600;refresher=uac"));
    assert_eq!(ok.headers.require().unwrap(), ["timer"]);
    rig.wait(Duration::from_secs(500));
    let update = draft.method("UPDATE").header("Supported: timer").header("Session-Expires: 600;refresher=uac");
    let refreshed = rig.ask(&update);
    assert_eq!((refreshed.status.as_u16(), refreshed.headers.contacts().unwrap().len()), (200, 1));
    rig.wait(Duration::from_secs(567));
    assert_eq!(rig.requests(&Method::Bye).len(), 0, "it was refreshed");
    rig.wait(Duration::from_secs(1));
    let bye = rig.requests(&Method::Bye).pop().unwrap();
    let reason = bye.headers.reasons().unwrap().remove(0);
    assert_eq!((reason.cause(), reason.text()), (Some(408), Some("Session expired")));
    rig.finish();
    assert_eq!(rig.events.last(), Some(&Event::CallEnded { call, cause: EndCause::SessionExpired }));
}

#[test]
fn we_refresh_by_update_if_the_peer_takes_it_and_else_by_the_same_offer_again() {
    for (allow, method) in [("INVITE, UPDATE", Method::Update), ("INVITE", Method::Invite)] {
        let mut rig = Rig::new();
        let allow = format!("Allow: {allow}");
        let headers = ["Supported: timer", "Session-Expires: 600;refresher=uas", &allow];
        let (call, _, ok) = up_with(&mut rig, &headers);
        assert!(ok.headers.require().unwrap().is_empty());
        for _ in 0..3 {
            let before = rig.requests(&method).len();
            rig.wait(Duration::from_secs(300));
            let refresh = rig.requests(&method).pop().unwrap();
            assert_eq!(rig.requests(&method).len(), before + 1);
            assert_eq!(expires(&refresh).as_deref(), Some("600;refresher=uac"));
            assert_eq!(refresh.body.is_empty(), method == Method::Update);
            reply(&mut rig, &method, 200, &[(HeaderName::SESSION_EXPIRES, "600;refresher=uac")], OFFER);
        }
        rig.command(|endpoint, now| endpoint.bye(call, None, now)).unwrap();
        rig.finish();
    }
}

#[test]
fn a_refresh_that_is_refused_is_tried_again_and_the_call_ends_when_none_succeeds() {
    let mut rig = Rig::new();
    up_with(&mut rig, &["Supported: timer", "Session-Expires: 600;refresher=uas", "Allow: UPDATE"]);
    let mut tries = 0;
    while rig.requests(&Method::Bye).is_empty() {
        rig.wait(Duration::from_secs(10));
        if rig.requests(&Method::Update).len() > tries {
            tries += 1;
            reply(&mut rig, &Method::Update, 500, &[], "");
        }
        assert!(tries < 20, "it never ends");
    }
    assert!(tries > 2, "{tries}");
    rig.finish();
}

#[test]
fn a_call_of_ours_asks_for_a_timer_and_takes_what_it_gets() {
    let mut rig = Rig::new();
    let call = place(&mut rig);
    let invite = rig.requests(&Method::Invite).remove(0);
    assert_eq!(expires(&invite).as_deref(), Some("1800"));
    assert!(invite.headers.supported().unwrap().contains(&"timer".to_owned()));
    reply(&mut rig, &Method::Invite, 422, &[(HeaderName::MIN_SE, "3600")], "");
    let again = rig.requests(&Method::Invite).pop().unwrap();
    assert_eq!((expires(&again).as_deref(), again.headers.min_se().unwrap()), (Some("3600"), Some(3_600)));
    reply(&mut rig, &Method::Invite, 200, &[(HeaderName::SESSION_EXPIRES, "3600;refresher=uas")], OFFER);
    assert!(matches!(rig.events[..], [Event::Answered { .. }]), "{:?}", rig.events);
    rig.wait(Duration::from_secs(3_567));
    assert!(rig.requests(&Method::Bye).is_empty());
    rig.wait(Duration::from_secs(1));
    assert_eq!(rig.requests(&Method::Bye).len(), 1);
    reply(&mut rig, &Method::Bye, 200, &[], "");
    assert_eq!(rig.events.last(), Some(&Event::CallEnded { call, cause: EndCause::SessionExpired }));
    rig.finish();
}

#[test]
fn a_peer_without_timers_is_left_in_peace() {
    let mut rig = Rig::new();
    place(&mut rig);
    reply(&mut rig, &Method::Invite, 200, &[], OFFER);
    up_with(&mut rig, &[]);
    rig.wait(Duration::from_secs(100_000));
    assert!(rig.requests(&Method::Bye).is_empty() && rig.requests(&Method::Update).is_empty());
}

#[test]
fn a_422_that_asks_for_ever_ends() {
    let mut rig = Rig::new();
    place(&mut rig);
    for least in 1..10 {
        let min = (2_000 * least).to_string();
        reply(&mut rig, &Method::Invite, 422, &[(HeaderName::MIN_SE, &min)], "");
    }
    assert_eq!(rig.requests(&Method::Invite).len(), 4);
    assert!(matches!(rig.events[..], [Event::Rejected { .. }, Event::CallEnded { .. }]), "{:?}", rig.events);
}

#[test]
fn an_interval_too_small_is_refused_with_ours() {
    let mut rig = Rig::new();
    let invite = Draft::invite().header("Supported: timer").header("Session-Expires: 60");
    let response = rig.ask(&invite);
    assert_eq!((response.status.as_u16(), response.headers.min_se().unwrap()), (422, Some(90)));
    assert!(rig.events.is_empty());
    rig.finish();
}

#[test]
fn an_update_of_theirs_with_an_offer_is_answered_by_our_user() {
    let mut rig = Rig::new();
    let (call, draft) = rig.up();
    rig.receive(&draft.clone().method("UPDATE").contact().sdp().text("z9hG4bKup"));
    assert!(matches!(rig.events.last(), Some(Event::UpdateReceived { .. })), "{:?}", rig.events);
    assert_eq!(rig.ask(&draft.clone().method("UPDATE").cseq(3).contact().sdp()).status.as_u16(), 500);
    rig.command(|endpoint, now| endpoint.answer_update(call, OFFER.into(), now)).unwrap();
    assert_eq!(rig.responses("z9hG4bKup")[0].status.as_u16(), 200);
    rig.receive(&draft.clone().method("UPDATE").cseq(4).contact().sdp().text("z9hG4bKno"));
    rig.command(|endpoint, now| endpoint.reject_update(call, StatusCode::NOT_ACCEPTABLE_HERE, now)).unwrap();
    assert_eq!(rig.responses("z9hG4bKno")[0].status.as_u16(), 488);
    rig.receive(&draft.clone().method("UPDATE").cseq(5).contact().sdp().text("z9hG4bKlate"));
    rig.wait(Duration::from_secs(21));
    assert_eq!(rig.responses("z9hG4bKlate")[0].status.as_u16(), 500, "our user has forgotten it");
    let late = rig.command(|endpoint, now| endpoint.answer_update(call, OFFER.into(), now));
    assert_eq!(late, Err(EndpointMisuse::WrongState));
}

#[test]
fn offers_that_cross_are_glare_whatever_carries_them() {
    let mut rig = Rig::new();
    let (call, draft) = rig.up();
    rig.command(|endpoint, now| endpoint.update(call, Some(OFFER.into()), now)).unwrap();
    assert_eq!(rig.ask(&draft.clone().method("UPDATE").contact().sdp()).status.as_u16(), 491);
    assert_eq!(rig.ask(&draft.clone().method("INVITE").cseq(3).contact().sdp()).status.as_u16(), 491);
    let busy = rig.command(|endpoint, now| endpoint.reinvite(call, Some(OFFER.into()), now));
    assert_eq!(busy, Err(EndpointMisuse::WrongState));
    reply(&mut rig, &Method::Update, 200, &[], OFFER);
    assert!(matches!(rig.events.last(), Some(Event::UpdateAnswered { sdp: Some(_), .. })), "{:?}", rig.events);
    rig.command(|endpoint, now| endpoint.update(call, Some(OFFER.into()), now)).unwrap();
    reply(&mut rig, &Method::Update, 481, &[], "");
    assert_eq!(rig.requests(&Method::Bye).len(), 1, "there is no such call");
    rig.finish();
}

fn require_100rel() -> Draft {
    Draft::invite().header("Require: 100rel").header("Supported: 100rel")
}

/// A ringing call whose caller wants to confirm that; with the 180 and a PRACK for it.
fn ringing_reliably(rig: &mut Rig, sdp: Option<&str>) -> (CallHandle, Response, Draft) {
    rig.receive(&require_100rel().text("z9hG4bKcall"));
    let Some(Event::InviteReceived { call, .. }) = rig.events.pop() else { panic!("{:?}", rig.events) };
    rig.command(|endpoint, now| endpoint.ring(call, sdp.map(Into::into), now)).unwrap();
    let ringing = rig.responses("z9hG4bKcall").pop().unwrap();
    let tag = ringing.headers.to().unwrap().tag().unwrap().to_owned();
    let rseq = ringing.headers.rseq().unwrap().unwrap();
    let prack = Draft::new("PRACK").tagged(&tag).cseq(2).header(&format!("RAck: {rseq} 1 INVITE"));
    (call, ringing, prack)
}

#[test]
fn a_reliable_ringing_is_repeated_until_its_prack() {
    let mut rig = Rig::new();
    let (_, ringing, prack) = ringing_reliably(&mut rig, None);
    assert_eq!(ringing.headers.require().unwrap(), ["100rel"]);
    rig.wait(Duration::from_millis(3_600));
    assert_eq!(rig.statuses(), [100, 180, 180, 180, 180], "after 500, 1500 and 3500 ms");
    assert_eq!(rig.ask(&prack.clone().cseq(3).header("X: y").method("PRACK")).status.as_u16(), 200);
    assert_eq!(rig.ask(&prack.cseq(4)).status.as_u16(), 481, "confirmed already");
    rig.wait(Duration::from_secs(10));
    assert_eq!(rig.statuses(), [100, 180, 180, 180, 180, 200, 481]);
}

#[test]
fn an_answer_waits_for_the_prack_of_early_media() {
    let mut rig = Rig::new();
    let (call, ringing, prack) = ringing_reliably(&mut rig, Some(OFFER));
    assert_eq!(ringing.status, StatusCode::SESSION_PROGRESS);
    rig.command(|endpoint, now| endpoint.answer(call, OFFER.into(), now)).unwrap();
    assert_eq!(rig.statuses(), [100, 183]);
    rig.receive(&prack.text("z9hG4bKprack"));
    assert_eq!(rig.statuses(), [100, 183, 200, 200]);
    rig.wait(Duration::from_secs(33));
    assert!(rig.events.contains(&Event::AckTimedOut { call }));
    rig.finish();
}

#[test]
fn a_caller_that_never_confirms_gets_504() {
    let mut rig = Rig::new();
    let (call, ..) = ringing_reliably(&mut rig, None);
    rig.wait(Duration::from_secs(33));
    assert_eq!(rig.statuses().last(), Some(&504));
    assert_eq!(rig.events.last(), Some(&Event::CallEnded { call, cause: EndCause::NoPrack }));
    rig.finish();
}

#[test]
fn one_reliable_response_at_a_time() {
    let mut rig = Rig::new();
    let (call, _, prack) = ringing_reliably(&mut rig, None);
    rig.command(|endpoint, now| endpoint.ring(call, Some(OFFER.into()), now)).unwrap();
    assert_eq!(rig.statuses(), [100, 180]);
    rig.receive(&prack.text("z9hG4bKprack"));
    assert_eq!(rig.statuses(), [100, 180, 200, 183]);
}

#[test]
fn their_reliable_responses_are_confirmed_once_and_in_order() {
    let mut rig = Rig::new();
    let call = place(&mut rig);
    let reliable = |rig: &mut Rig, rseq: &str| {
        reply(rig, &Method::Invite, 183, &[(HeaderName::REQUIRE, "100rel"), (HeaderName::RSEQ, rseq)], OFFER);
    };
    reliable(&mut rig, "10");
    reliable(&mut rig, "10");
    reliable(&mut rig, "12");
    let pracks = rig.requests(&Method::Prack);
    assert_eq!(pracks.len(), 1, "a repeat and a gap are not confirmed");
    assert_eq!(pracks[0].headers.text(&HeaderName::RACK).as_deref(), Some("10 1 INVITE"));
    assert_eq!(pracks[0].headers.cseq().unwrap().number, 2);
    assert_eq!(rig.events.len(), 1, "{:?}", rig.events);
    reliable(&mut rig, "11");
    assert_eq!(rig.requests(&Method::Prack).len(), 2);
    reply(&mut rig, &Method::Prack, 200, &[], "");
    reply(&mut rig, &Method::Invite, 200, &[], OFFER);
    let ack = rig.requests(&Method::Ack).pop().unwrap();
    assert_eq!(ack.headers.cseq().unwrap().number, 1);
    rig.command(|endpoint, now| endpoint.bye(call, None, now)).unwrap();
    assert_eq!(rig.requests(&Method::Bye).pop().unwrap().headers.cseq().unwrap().number, 4, "it counts on");
    rig.finish();
}

#[test]
fn an_invite_without_an_offer_asks_for_nothing_reliable() {
    let mut rig = Rig::new();
    let from = NameAddr::new(uri("sip:office@example.com"));
    let invite = OutgoingInvite::new(uri("sip:200@192.0.2.9"), from, Destination::udp(peer()));
    rig.command(|endpoint, now| endpoint.invite(invite, now)).unwrap();
    let sent = rig.requests(&Method::Invite).remove(0);
    assert!(!sent.headers.supported().unwrap().contains(&"100rel".to_owned()));
}
