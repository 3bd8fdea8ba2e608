//! REFER both ways, and calls that replace others.

use super::*;
use crate::body::sipfrag;
use crate::message::header::Replaces;

fn uri(text: &str) -> Uri {
    Uri::parse(text.as_bytes()).unwrap()
}

fn with_refer() -> Rig {
    Rig::with(|config| config.accepted = vec![Method::Refer])
}

fn refer(rig: &mut Rig, call: CallHandle, wants_notify: bool) -> Request {
    let target = NameAddr::new(uri("sip:+15551234567@trunk.pstn.example.com"));
    let refer = OutgoingRefer {
        wants_notify,
        referred_by: Some(NameAddr::new(uri("sip:office@example.com"))),
        ..OutgoingRefer::new(target)
    };
    rig.command(|endpoint, now| endpoint.refer(call, refer, now)).unwrap();
    rig.requests(&Method::Refer).pop().unwrap()
}

fn respond(rig: &mut Rig, request: &Request, status: u16) {
    let response = Response::to(request, StatusCode::new(status).unwrap(), None);
    rig.receive(&response.to_bytes());
}

fn notify(rig: &mut Rig, draft: &Draft, cseq: u32, state: &str, status: &str) -> u16 {
    let notify = draft
        .clone()
        .method("NOTIFY")
        .cseq(cseq)
        .header("Event: refer")
        .header(&format!("Subscription-State: {state}"))
        .header("Content-Type: message/sipfrag;version=2.0")
        .body(&format!("SIP/2.0 {status}\n"));
    rig.ask(&notify).status.as_u16()
}

fn news(rig: &Rig) -> Vec<TransferNews> {
    let news = |event: &Event| if let Event::Transfer { news, .. } = event { Some(*news) } else { None };
    rig.events.iter().filter_map(news).collect()
}

/// As Twilio does it: 202, NOTIFY 100, NOTIFY 200 terminated, and then our BYE at once.
#[test]
fn a_transfer_of_ours_is_followed_to_its_end() {
    let mut rig = Rig::new();
    let (call, draft) = rig.up();
    let sent = refer(&mut rig, call, true);
    assert_eq!(sent.headers.refer_to().unwrap().unwrap().uri.to_string(), "sip:+15551234567@trunk.pstn.example.com");
    assert!(sent.headers.referred_by().unwrap().is_some() && sent.headers.contact().unwrap().is_some());
    assert_eq!(notify(&mut rig, &draft, 2, "active;expires=60", "100 Trying"), 200, "before the 202");
    respond(&mut rig, &sent, 202);
    assert_eq!(notify(&mut rig, &draft, 3, "terminated;reason=noresource", "200 OK"), 200);
    let progress = |status, is_terminated| TransferNews::Progress { status: StatusCode::new(status), is_terminated };
    let expected = [progress(100, false), TransferNews::Accepted { will_notify: true }, progress(200, true)];
    assert_eq!(news(&rig), expected);
    assert_eq!(notify(&mut rig, &draft, 4, "active", "200 OK"), 481, "there is no such subscription any more");
    rig.command(|endpoint, now| endpoint.bye(call, None, now)).unwrap();
    rig.finish();
}

#[test]
fn a_transfer_that_fails_leaves_the_call_as_it_was() {
    let mut rig = Rig::new();
    let (call, draft) = rig.up();
    let sent = refer(&mut rig, call, true);
    respond(&mut rig, &sent, 603);
    assert_eq!(news(&rig), [TransferNews::Rejected { status: StatusCode::DECLINE }]);
    let sent = refer(&mut rig, call, true);
    respond(&mut rig, &sent, 202);
    assert_eq!(notify(&mut rig, &draft, 2, "terminated;reason=noresource", "486 Busy Here"), 200);
    let last = TransferNews::Progress { status: Some(StatusCode::BUSY_HERE), is_terminated: true };
    assert_eq!(news(&rig).last(), Some(&last));
    refer(&mut rig, call, true);
    rig.wait(Duration::from_secs(33));
    assert_eq!(news(&rig).last(), Some(&TransferNews::Failed { failure: RequestFailure::TimedOut }));
    assert_eq!(rig.endpoint.occupancy().calls, 1);
}

#[test]
fn without_a_subscription_nothing_is_awaited() {
    let mut rig = Rig::new();
    let (call, draft) = rig.up();
    let sent = refer(&mut rig, call, false);
    assert_eq!(sent.headers.text(&HeaderName::REFER_SUB).as_deref(), Some("false"));
    respond(&mut rig, &sent, 200);
    assert_eq!(news(&rig), [TransferNews::Accepted { will_notify: false }]);
    assert_eq!(notify(&mut rig, &draft, 2, "active", "200 OK"), 481);
}

#[test]
fn a_notify_that_says_too_little_is_refused_by_name() {
    let mut rig = Rig::new();
    let (call, draft) = rig.up();
    refer(&mut rig, call, true);
    let bare = draft.clone().method("NOTIFY");
    assert_eq!(rig.ask(&bare).status.as_u16(), 400);
    let other = bare.clone().cseq(3).header("Event: dialog").header("Subscription-State: active");
    assert_eq!(rig.ask(&other).status.as_u16(), 489);
    let stranger = bare.cseq(4).header("Event: refer;id=77").header("Subscription-State: active");
    assert_eq!(rig.ask(&stranger).status.as_u16(), 481);
}

/// A REFER of theirs that waits for our user.
fn referred(rig: &mut Rig, extra: &str) -> (CallHandle, Draft, PeerRequestHandle) {
    let (call, draft) = rig.up();
    let refer = draft.clone().method("REFER").contact().header("Refer-To: <sip:200@example.com>");
    let refer = if extra.is_empty() { refer } else { refer.header(extra) };
    rig.receive(&refer.text("z9hG4bKrefer"));
    let Some(Event::ReferReceived { request, referral, .. }) = rig.events.last() else { panic!("{:?}", rig.events) };
    assert_eq!(referral.refer_to.uri.to_string(), "sip:200@example.com");
    (call, draft.cseq(3), *request)
}

fn reports(rig: &Rig) -> Vec<(u16, String)> {
    let report = |notify: &Request| {
        let status = sipfrag::parse_status(&notify.body).unwrap().as_u16();
        (status, notify.headers.subscription_state().unwrap().unwrap().to_string())
    };
    rig.requests(&Method::Notify).iter().map(report).collect()
}

#[test]
fn a_transfer_of_theirs_is_reported_on_to_the_last_word() {
    let mut rig = with_refer();
    let (call, _, request) = referred(&mut rig, "Referred-By: <sip:a@example.com>");
    let refer = rig.command(|endpoint, now| endpoint.accept_refer(call, request, now)).unwrap();
    assert_eq!(rig.responses("z9hG4bKrefer")[0].status.as_u16(), 202);
    let report = |rig: &mut Rig, status| rig.command(|endpoint, now| endpoint.report_refer(refer, status, now));
    report(&mut rig, StatusCode::RINGING).unwrap();
    report(&mut rig, StatusCode::OK).unwrap();
    let active = || "active;expires=180".to_owned();
    let expected = [(100, active()), (180, active()), (200, "terminated;reason=noresource".to_owned())];
    assert_eq!(reports(&rig), expected);
    let first = rig.requests(&Method::Notify).remove(0);
    assert_eq!(first.headers.event().unwrap().unwrap().id(), Some("2"));
    assert_eq!(report(&mut rig, StatusCode::OK), Err(EndpointMisuse::UnknownRequest));
}

#[test]
fn reports_go_on_when_the_call_is_over() {
    let mut rig = with_refer();
    let (call, draft, request) = referred(&mut rig, "");
    let refer = rig.command(|endpoint, now| endpoint.accept_refer(call, request, now)).unwrap();
    rig.ask(&draft);
    assert_eq!(rig.events.last(), Some(&Event::CallEnded { call, cause: EndCause::PeerHungUp }));
    rig.command(|endpoint, now| endpoint.report_refer(refer, StatusCode::BUSY_HERE, now)).unwrap();
    let last = rig.requests(&Method::Notify).pop().unwrap();
    assert_eq!(sipfrag::parse_status(&last.body), Some(StatusCode::BUSY_HERE));
    assert_eq!(last.headers.cseq().unwrap().number, 2);
    rig.finish();
}

#[test]
fn a_transfer_without_an_end_is_given_up() {
    let mut rig = with_refer();
    let (call, _, request) = referred(&mut rig, "");
    rig.command(|endpoint, now| endpoint.accept_refer(call, request, now)).unwrap();
    let trying = rig.requests(&Method::Notify).remove(0);
    respond(&mut rig, &trying, 200);
    rig.wait(Duration::from_secs(181));
    assert_eq!(reports(&rig).last(), Some(&(408, "terminated;reason=timeout".to_owned())));
    rig.command(|endpoint, now| endpoint.bye(call, None, now)).unwrap();
    rig.finish();
}

#[test]
fn a_peer_that_wants_no_reports_gets_none() {
    let mut rig = with_refer();
    let (call, _, request) = referred(&mut rig, "Refer-Sub: false");
    let refer = rig.command(|endpoint, now| endpoint.accept_refer(call, request, now)).unwrap();
    rig.command(|endpoint, now| endpoint.report_refer(refer, StatusCode::OK, now)).unwrap();
    assert!(rig.requests(&Method::Notify).is_empty());
    let accepted = &rig.responses("z9hG4bKrefer")[0];
    assert_eq!(accepted.headers.text(&HeaderName::REFER_SUB).as_deref(), Some("false"));
}

#[test]
fn a_refer_is_taken_only_where_our_user_wants_it_and_with_a_target() {
    let mut rig = Rig::new();
    let (_, draft) = rig.up();
    assert_eq!(rig.ask(&draft.clone().method("REFER").contact()).status.as_u16(), 405);
    let mut rig = with_refer();
    let (_, draft) = rig.up();
    assert_eq!(rig.ask(&draft.method("REFER").contact()).status.as_u16(), 400);
}

fn replacing(replaces: &Replaces) -> Draft {
    Draft::invite().call_id("call-2").header("Require: replaces").header(&format!("Replaces: {replaces}"))
}

#[test]
fn a_call_that_replaces_another_says_which() {
    let mut rig = Rig::new();
    let (call, _) = rig.up();
    let theirs = rig.endpoint.replaces(call).unwrap();
    let mine = Replaces { to_tag: theirs.from_tag.clone(), from_tag: theirs.to_tag.clone(), ..theirs };
    assert_eq!(rig.endpoint.call_of(&mine), Some(call));
    let early = replacing(&Replaces { early_only: true, ..mine.clone() }).call_id("call-3");
    assert_eq!(rig.ask(&early).status.as_u16(), 486);
    let unknown = replacing(&Replaces { to_tag: "other".to_owned(), ..mine.clone() }).call_id("call-4");
    assert_eq!(rig.ask(&unknown).status.as_u16(), 481);
    rig.receive(&replacing(&mine).text("z9hG4bKnew"));
    let Some(Event::InviteReceived { replaces, .. }) = rig.events.last() else { panic!("{:?}", rig.events) };
    assert_eq!(*replaces, Some(call));
    rig.command(|endpoint, now| endpoint.bye(call, None, now)).unwrap();
    assert_eq!(rig.ask(&replacing(&mine).call_id("call-5")).status.as_u16(), 603, "it is ending");
}

#[test]
fn a_target_with_replaces_survives_being_written_and_read() {
    let replaces = Replaces {
        call_id: "a84b@0.0.0.0".to_owned(),
        to_tag: "x y".replace(' ', ""),
        from_tag: "z;1".replace(';', "-"),
        early_only: false,
    };
    let target = uri("sip:200@192.0.2.9").as_sip().unwrap().clone();
    let refer_to = with_replaces(target, &replaces);
    assert!(refer_to.to_string().contains("?Replaces=a84b%400.0.0.0%3Bto-tag%3Dxy"), "{refer_to}");
    let replaced = |refer_to| Referral { refer_to, referred_by: None }.replaces();
    assert_eq!(replaced(refer_to), Some(replaces));
    assert_eq!(replaced(NameAddr::new(uri("sip:a@b"))), None);
}

/// Nothing follows `CallEnded`, also not what becomes of a REFER that was still under way.
#[test]
fn a_late_answer_to_refer_is_not_told_after_the_end() {
    for status in [StatusCode::ACCEPTED, StatusCode::FORBIDDEN] {
        let mut rig = with_refer();
        let (call, draft) = rig.up();
        let refer = OutgoingRefer::new(NameAddr::new(Uri::parse(b"sip:200@192.0.2.9").unwrap()));
        rig.command(|endpoint, now| endpoint.refer(call, refer, now)).unwrap();
        rig.ask(&draft);
        let sent = rig.requests(&Method::Refer).remove(0);
        rig.receive(&Response::to(&sent, status, None).to_bytes());
        assert_eq!(rig.events.last(), Some(&Event::CallEnded { call, cause: EndCause::PeerHungUp }));
        rig.finish();
    }
}

/// Two transfers that outlive their call share its dialog, and so its numbers (RFC 3261 §12.2.1.1).
#[test]
fn reports_on_two_transfers_after_the_end_have_numbers_of_their_own() {
    let mut rig = with_refer();
    let (call, draft) = rig.up();
    let mut refers = Vec::new();
    for cseq in [2, 3] {
        let refer = draft.clone().method("REFER").contact().header("Refer-To: <sip:200@example.com>").cseq(cseq);
        rig.receive(&refer.text(&format!("z9hG4bKrefer{cseq}")));
        let Some(Event::ReferReceived { request, .. }) = rig.events.last() else { panic!("{:?}", rig.events) };
        let request = *request;
        refers.push(rig.command(|endpoint, now| endpoint.accept_refer(call, request, now)).unwrap());
    }
    rig.ask(&draft.cseq(4));
    for refer in refers {
        rig.command(|endpoint, now| endpoint.report_refer(refer, StatusCode::OK, now)).unwrap();
    }
    let numbers: Vec<_> = rig.requests(&Method::Notify).iter().map(|n| n.headers.cseq().unwrap().number).collect();
    assert_eq!(numbers, [1, 2, 3, 4]);
}

/// A pickup (RFC 3891 §7): somebody else takes the call that rings at a phone of ours. What rings here cannot be taken.
#[test]
fn a_call_that_we_place_and_that_rings_can_be_picked_up() {
    let mut rig = Rig::new();
    let invite = OutgoingInvite::new(uri("sip:101@192.0.2.9"), NameAddr::new(uri("sip:a@b")), Destination::udp(peer()));
    let call = rig.command(|endpoint, now| endpoint.invite(invite, now)).unwrap();
    let sent = rig.requests(&Method::Invite).remove(0);
    let mut ringing = Response::to(&sent, StatusCode::RINGING, Some("desk"));
    ringing.headers.push(HeaderName::CONTACT, "<sip:101@192.0.2.9>");
    rig.receive(&ringing.to_bytes());
    let wanted = Replaces {
        call_id: sent.headers.call_id().unwrap(),
        to_tag: sent.headers.from().unwrap().tag().unwrap().to_owned(),
        from_tag: "desk".to_owned(),
        early_only: true,
    };
    let named = rig.endpoint.replaces(call).unwrap();
    let turned = Replaces { to_tag: named.from_tag, from_tag: named.to_tag, early_only: true, ..named };
    assert_eq!(turned, wanted, "as it is shown to whoever may take it");
    rig.receive(&replacing(&wanted).text("z9hG4bKpickup"));
    let Some(Event::InviteReceived { replaces, .. }) = rig.events.last() else { panic!("{:?}", rig.events) };
    assert_eq!(*replaces, Some(call));
    let own = Replaces { from_tag: "nobody".to_owned(), ..wanted };
    assert_eq!(rig.ask(&replacing(&own).call_id("call-3")).status.as_u16(), 481);
}
