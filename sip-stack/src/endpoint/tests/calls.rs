//! Incoming calls, where a peer does what our own endpoint never would.

use super::*;

fn reinvite(rig: &mut Rig, draft: &Draft, branch: &str) -> Vec<u16> {
    rig.receive(&draft.clone().method("INVITE").contact().sdp().text(branch));
    rig.responses(branch).iter().map(|response| response.status.as_u16()).collect()
}

#[test]
fn a_bye_on_an_early_dialog_ends_it_and_its_invite_gets_487() {
    let mut rig = Rig::new();
    let (call, ringing) = rig.ringing();
    let tag = ringing.headers.to().unwrap().tag().unwrap().to_owned();
    let bye = rig.ask(&Draft::new("BYE").tagged(&tag).cseq(2).header("Reason: Q.850;cause=16"));
    assert_eq!(bye.status.as_u16(), 200);
    assert_eq!(rig.responses("z9hG4bKcall").last().unwrap().status.as_u16(), 487);
    let [
        ..,
        Event::ByeReceived { reason: Some(reason), .. },
        Event::CallEnded { call: ended, cause: EndCause::PeerHungUp },
    ] = &rig.events[..]
    else {
        panic!("{:?}", rig.events)
    };
    assert_eq!((reason.cause(), *ended), (Some(16), call));
    rig.finish();
}

#[test]
fn a_reinvite_during_our_own_is_glare() {
    let mut rig = Rig::new();
    let (call, draft) = rig.up();
    rig.command(|endpoint, now| endpoint.reinvite(call, Some(OFFER.into()), now)).unwrap();
    assert_eq!(reinvite(&mut rig, &draft, "z9hG4bKglare"), [491]);
    assert_eq!(rig.command(|endpoint, now| endpoint.reinvite(call, None, now)), Err(EndpointMisuse::WrongState));
}

/// Found by `operations`: a 100 stops Timer B, and nothing else was waiting.
#[test]
fn our_reinvite_that_only_ever_gets_100_ends_with_the_call_or_after_three_minutes() {
    for hangs_up in [true, false] {
        let mut rig = Rig::new();
        let (call, _) = rig.up();
        rig.command(|endpoint, now| endpoint.reinvite(call, Some(OFFER.into()), now)).unwrap();
        let reinvite = rig.requests(&Method::Invite).remove(0);
        rig.receive(&Response::to(&reinvite, StatusCode::TRYING, None).to_bytes());
        if hangs_up {
            rig.command(|endpoint, now| endpoint.bye(call, None, now)).unwrap();
        }
        rig.wait(Duration::from_secs(181));
        let rejected = Event::ReinviteRejected { call, status: StatusCode::REQUEST_TIMEOUT };
        assert_eq!(rig.events.contains(&rejected), !hangs_up);
        rig.finish();
        assert_eq!(
            rig.events.last(),
            Some(&Event::CallEnded { call, cause: if hangs_up { EndCause::HungUp } else { EndCause::DialogLost } })
        );
    }
}

#[test]
fn a_second_reinvite_before_the_first_is_answered_gets_500_and_a_wait() {
    let mut rig = Rig::new();
    let (call, draft) = rig.up();
    assert_eq!(reinvite(&mut rig, &draft, "z9hG4bKone"), [100]);
    assert_eq!(reinvite(&mut rig, &draft.clone().cseq(3), "z9hG4bKtwo"), [500]);
    assert!(rig.responses("z9hG4bKtwo")[0].headers.retry_after().unwrap().unwrap().seconds <= 10);
    rig.command(|endpoint, now| endpoint.reject_reinvite(call, StatusCode::NOT_ACCEPTABLE_HERE, now)).unwrap();
    assert_eq!(rig.responses("z9hG4bKone").last().unwrap().status.as_u16(), 488);
    assert_eq!(reinvite(&mut rig, &draft.cseq(4), "z9hG4bKthree"), [100], "the way is free again");
}

#[test]
fn a_reinvite_instead_of_the_ack_says_as_much_as_the_ack() {
    let mut rig = Rig::new();
    let (call, ringing) = rig.ringing();
    rig.command(|endpoint, now| endpoint.answer(call, OFFER.into(), now)).unwrap();
    let tag = ringing.headers.to().unwrap().tag().unwrap().to_owned();
    assert_eq!(reinvite(&mut rig, &Draft::new("INVITE").tagged(&tag).cseq(2), "z9hG4bKre"), [100]);
    let [.., Event::AckReceived { .. }, Event::ReinviteReceived { .. }] = rig.events[..] else {
        panic!("{:?}", rig.events)
    };
}

#[test]
fn an_unconfirmed_reinvite_ends_the_call() {
    let mut rig = Rig::new();
    let (call, draft) = rig.up();
    reinvite(&mut rig, &draft, "z9hG4bKre");
    rig.command(|endpoint, now| endpoint.answer_reinvite(call, OFFER.into(), now)).unwrap();
    rig.wait(Duration::from_secs(33));
    assert!(rig.events.contains(&Event::AckTimedOut { call }));
    assert!(!rig.requests(&Method::Bye).is_empty());
    rig.finish();
    assert_eq!(rig.events.last(), Some(&Event::CallEnded { call, cause: EndCause::NoAck }));
}

#[test]
fn a_reinvite_can_be_cancelled_and_the_call_goes_on() {
    let mut rig = Rig::new();
    let (call, draft) = rig.up();
    reinvite(&mut rig, &draft, "z9hG4bKre");
    rig.receive(&draft.method("CANCEL").text("z9hG4bKre"));
    assert_eq!(rig.responses("z9hG4bKre").iter().map(|r| r.status.as_u16()).collect::<Vec<_>>(), [100, 200, 487]);
    assert_eq!(rig.events.last(), Some(&Event::ReinviteCancelled { call }));
    assert_eq!(rig.endpoint.occupancy().calls, 1);
}

#[test]
fn a_target_refresh_moves_our_requests() {
    let mut rig = Rig::new();
    let (call, draft) = rig.up();
    rig.receive(&draft.method("INVITE").header("Contact: <sip:moved@192.0.2.77:5090>").sdp().text("z9hG4bKre"));
    rig.command(|endpoint, now| endpoint.answer_reinvite(call, OFFER.into(), now)).unwrap();
    rig.command(|endpoint, now| endpoint.bye(call, None, now)).unwrap();
    let bye = rig.sent.last().unwrap();
    assert_eq!(bye.peer.to_string(), "192.0.2.77:5090");
    assert!(bye.bytes.starts_with(b"BYE sip:moved@192.0.2.77:5090 SIP/2.0\r\n"));
}

#[test]
fn a_bye_waits_for_the_ack() {
    let mut rig = Rig::new();
    let (call, ringing) = rig.ringing();
    rig.command(|endpoint, now| endpoint.answer(call, OFFER.into(), now)).unwrap();
    rig.command(|endpoint, now| endpoint.bye(call, None, now)).unwrap();
    assert!(rig.requests(&Method::Bye).is_empty());
    assert_eq!(rig.command(|endpoint, now| endpoint.bye(call, None, now)), Err(EndpointMisuse::WrongState));
    let tag = ringing.headers.to().unwrap().tag().unwrap().to_owned();
    rig.receive(&Draft::new("ACK").tagged(&tag).text("z9hG4bKack"));
    assert_eq!(rig.requests(&Method::Bye).len(), 1);
    rig.finish();
}

#[test]
fn a_late_offers_answer_comes_with_the_ack() {
    let mut rig = Rig::new();
    rig.receive(&Draft::new("INVITE").contact().text("z9hG4bKcall"));
    let Event::InviteReceived { call, offer: None, .. } = rig.events[0].clone() else { panic!("{:?}", rig.events) };
    rig.command(|endpoint, now| endpoint.answer(call, OFFER.into(), now)).unwrap();
    let tag = rig.responses("z9hG4bKcall").pop().unwrap().headers.to().unwrap().tag().unwrap().to_owned();
    rig.receive(&Draft::new("ACK").tagged(&tag).sdp().text("z9hG4bKack"));
    let answer = OFFER.replace('\n', "\r\n").into_bytes();
    assert_eq!(rig.events.last(), Some(&Event::AckReceived { call, answer: Some(answer) }));
}

#[test]
fn ringing_is_repeated_every_minute() {
    let mut rig = Rig::new();
    rig.ringing();
    rig.wait(Duration::from_secs(150));
    assert_eq!(rig.statuses(), [100, 180, 180, 180]);
}

#[test]
fn info_is_answered_and_told() {
    let mut rig = Rig::new();
    let (call, draft) = rig.up();
    let info = draft.method("INFO").header("Content-Type: application/dtmf-relay").body("Signal=5\n");
    assert_eq!(rig.ask(&info).status.as_u16(), 200);
    let Some(Event::InfoReceived { call: told, request }) = rig.events.last() else { panic!("{:?}", rig.events) };
    assert_eq!((*told, &request.body[..]), (call, &b"Signal=5\r\n"[..]));
}

#[test]
fn commands_at_the_wrong_time_change_nothing() {
    let mut rig = Rig::new();
    let (call, _) = rig.ringing();
    let sent = rig.sent.len();
    let misuse = [
        rig.command(|endpoint, now| endpoint.reject(call, StatusCode::OK, &[], now)),
        rig.command(|endpoint, now| endpoint.bye(call, None, now)),
        rig.command(|endpoint, now| endpoint.cancel(call, None, now)),
        rig.command(|endpoint, now| endpoint.answer_reinvite(call, Vec::new(), now)),
        rig.command(|endpoint, now| endpoint.ack_with_answer(call, Vec::new(), now)),
        rig.command(|endpoint, now| endpoint.ring(CallHandle::NONE, None, now)),
    ];
    use EndpointMisuse::{UnknownCall, WrongState, WrongStatus};
    let expected = [WrongStatus, WrongState, WrongState, WrongState, WrongState, UnknownCall].map(Err);
    assert_eq!(misuse, expected);
    assert_eq!(rig.sent.len(), sent);
}

/// RFC 3261 §15.1.2: what is pending when a BYE comes is answered all the same.
#[test]
fn an_update_that_waits_when_the_call_ends_gets_487() {
    for hangs_up in [true, false] {
        let mut rig = Rig::new();
        let (call, draft) = rig.up();
        rig.receive(&draft.clone().method("UPDATE").contact().sdp().text("z9hG4bKupdate"));
        assert!(matches!(rig.events.last(), Some(Event::UpdateReceived { .. })), "{:?}", rig.events);
        match hangs_up {
            true => rig.command(|endpoint, now| endpoint.bye(call, None, now)).unwrap(),
            false => assert_eq!(rig.ask(&draft.cseq(3)).status.as_u16(), 200),
        }
        let statuses: Vec<_> = rig.responses("z9hG4bKupdate").iter().map(|response| response.status.as_u16()).collect();
        assert_eq!(statuses, [487]);
        rig.finish();
    }
}

/// RFC 4475 §3.4.1: a peer of RFC 2543, which its branch gives away, may leave Contact out; it is who it says to be.
#[test]
fn an_invite_of_rfc_2543_needs_no_contact() {
    let mut rig = Rig::new();
    let text = String::from_utf8(Draft::new("INVITE").sdp().text("old")).unwrap();
    rig.receive(text.as_bytes());
    let [Event::InviteReceived { call, .. }] = rig.events[..] else { panic!("{:?}", rig.events) };
    rig.command(|endpoint, now| endpoint.answer(call, OFFER.into(), now)).unwrap();
    rig.wait(Duration::from_secs(33));
    assert_eq!(rig.requests(&Method::Bye)[0].uri.to_string(), "sip:a@example.com");
    rig.finish();
}
