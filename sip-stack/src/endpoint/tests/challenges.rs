//! Requests of ours that are challenged.

use super::*;
use crate::digest::{Asker, Verified};
use crate::digest::{Authority, AuthorityConfig, ChallengeRefusal, Credentials, Denied, Ha1};

/// A peer that lets nobody in without a password.
struct Door {
    authority: Authority,
    asker: Asker,
}

impl Door {
    fn new(asker: Asker) -> Self {
        Self { authority: Authority::new(AuthorityConfig::new("office"), [3; 32], start()), asker }
    }

    fn verify(&mut self, request: &Request, now: Instant) -> Result<Verified, Denied> {
        let ha1 = |user: &str, hash| (user == "bob").then(|| Ha1::new(hash, "bob", "office", "zanzibar"));
        self.authority.verify(request, self.asker, ha1, now)
    }

    /// Refuses the latest request of ours with this method.
    fn refuse(&mut self, rig: &mut Rig, method: &Method, denied: &Denied) {
        let request = rig.requests(method).pop().unwrap();
        let (status, headers) = self.authority.refusal(denied, self.asker, rig.now);
        let mut response = Response::to(&request, status, Some("door"));
        headers.into_iter().for_each(|(name, value)| response.headers.push(name, value));
        rig.receive(&response.to_bytes());
    }
}

fn uri(text: &str) -> Uri {
    Uri::parse(text.as_bytes()).unwrap()
}

fn place(rig: &mut Rig, credentials: Vec<Credentials>) -> CallHandle {
    let from = NameAddr::new(uri("sip:office@example.com"));
    let invite = OutgoingInvite {
        credentials,
        offer: Some(OFFER.into()),
        ..OutgoingInvite::new(uri("sip:200@192.0.2.9"), from, Destination::udp(peer()))
    };
    rig.command(|endpoint, now| endpoint.invite(invite, now)).unwrap()
}

fn bob() -> Vec<Credentials> {
    vec![Credentials::new("bob", "zanzibar")]
}

/// Answers the latest request with that method.
fn reply(rig: &mut Rig, method: &Method, status: u16, body: &str) {
    let request = rig.requests(method).pop().unwrap();
    let mut response = Response::to(&request, StatusCode::new(status).unwrap(), Some("far"));
    response.headers.push(HeaderName::CONTACT, "<sip:far@192.0.2.9>");
    if !body.is_empty() {
        response.set_body("application/sdp", body.into());
    }
    rig.receive(&response.to_bytes());
}

fn branch(request: &Request) -> String {
    request.headers.via().unwrap().branch().unwrap().to_owned()
}

#[test]
fn a_challenged_invite_goes_out_again_and_its_ack_and_bye_are_authorized_too() {
    for asker in [Asker::Server, Asker::Proxy] {
        let mut rig = Rig::new();
        let mut door = Door::new(asker);
        let call = place(&mut rig, bob());
        door.refuse(&mut rig, &Method::Invite, &Denied::Missing);
        let invites = rig.requests(&Method::Invite);
        let [first, second] = &invites[..] else { panic!("{} INVITEs", invites.len()) };
        assert_eq!(door.verify(second, rig.now), Ok(Verified { username: "bob".to_owned() }));
        let numbers = [first, second].map(|invite| invite.headers.cseq().unwrap().number);
        assert_eq!(numbers, [1, 2]);
        assert_eq!(first.headers.call_id(), second.headers.call_id());
        assert_eq!(first.headers.from(), second.headers.from());
        assert_eq!(first.body, second.body);
        assert_ne!(branch(first), branch(second));
        assert_eq!(rig.requests(&Method::Ack).len(), 1, "the challenge is confirmed");

        reply(&mut rig, &Method::Invite, 200, OFFER);
        let ack = rig.requests(&Method::Ack).pop().unwrap();
        let credentials = asker.answer_header();
        assert_eq!(ack.headers.text(&credentials), second.headers.text(&credentials));
        assert_eq!(ack.headers.cseq().unwrap().number, 2);
        assert!(matches!(rig.events[..], [Event::Answered { .. }]), "{:?}", rig.events);

        rig.command(|endpoint, now| endpoint.bye(call, None, now)).unwrap();
        let bye = rig.requests(&Method::Bye).pop().unwrap();
        assert_eq!(bye.headers.cseq().unwrap().number, 3);
        assert!(door.verify(&bye, rig.now).is_ok(), "it counts on");
        reply(&mut rig, &Method::Bye, 200, "");
        rig.finish();
    }
}

#[test]
fn wrong_credentials_are_sent_once_and_the_rejection_is_told() {
    let mut rig = Rig::new();
    let mut door = Door::new(Asker::Proxy);
    let call = place(&mut rig, vec![Credentials::new("bob", "wrong")]);
    door.refuse(&mut rig, &Method::Invite, &Denied::Missing);
    let second = rig.requests(&Method::Invite).pop().unwrap();
    let denied = door.verify(&second, rig.now).unwrap_err();
    assert_eq!(denied, Denied::Wrong);
    door.refuse(&mut rig, &Method::Invite, &denied);
    assert_eq!(rig.requests(&Method::Invite).len(), 2);
    let refusal = ChallengeRefusal::WrongCredentials;
    let [failed, Event::Rejected { status, .. }, Event::CallEnded { .. }] = &rig.events[..] else {
        panic!("{:?}", rig.events)
    };
    assert_eq!(*failed, Event::AuthenticationFailed { call: Some(call), refusal });
    assert_eq!(*status, StatusCode::PROXY_AUTHENTICATION_REQUIRED);
    rig.finish();
}

#[test]
fn a_stale_nonce_is_answered_once_more() {
    let mut rig = Rig::new();
    let mut door = Door::new(Asker::Proxy);
    place(&mut rig, bob());
    for denied in [Denied::Missing, Denied::Stale, Denied::Stale] {
        door.refuse(&mut rig, &Method::Invite, &denied);
    }
    assert_eq!(rig.requests(&Method::Invite).len(), 3);
    assert!(matches!(rig.events.last(), Some(Event::CallEnded { .. })));
}

#[test]
fn without_credentials_a_challenge_is_a_rejection_like_any_other() {
    let mut rig = Rig::new();
    place(&mut rig, Vec::new());
    Door::new(Asker::Server).refuse(&mut rig, &Method::Invite, &Denied::Missing);
    assert!(matches!(rig.events[..], [Event::Rejected { .. }, Event::CallEnded { .. }]), "{:?}", rig.events);
}

#[test]
fn a_call_that_nobody_wants_any_more_is_not_sent_again() {
    let mut rig = Rig::new();
    let call = place(&mut rig, bob());
    reply(&mut rig, &Method::Invite, 100, "");
    rig.command(|endpoint, now| endpoint.cancel(call, None, now)).unwrap();
    Door::new(Asker::Proxy).refuse(&mut rig, &Method::Invite, &Denied::Missing);
    assert_eq!(rig.requests(&Method::Invite).len(), 1);
    assert!(matches!(rig.events[..], [Event::Rejected { .. }, Event::CallEnded { .. }]), "{:?}", rig.events);
    rig.finish();
}

/// Their call, our BYE and re-INVITE: a provider may ask us too.
#[test]
fn requests_within_a_call_of_theirs_are_authorized_when_challenged() {
    let mut rig = Rig::new();
    let mut door = Door::new(Asker::Proxy);
    let (call, _) = rig.up();
    rig.command(|endpoint, _| endpoint.set_credentials(call, bob())).unwrap();
    rig.command(|endpoint, now| endpoint.reinvite(call, Some(OFFER.into()), now)).unwrap();
    door.refuse(&mut rig, &Method::Invite, &Denied::Missing);
    let numbers: Vec<_> = rig.requests(&Method::Invite).iter().map(|r| r.headers.cseq().unwrap().number).collect();
    assert_eq!(numbers, [1, 2]);
    reply(&mut rig, &Method::Invite, 200, OFFER);
    assert!(matches!(rig.events.last(), Some(Event::ReinviteAnswered { .. })), "{:?}", rig.events);
    door.authority = Authority::new(AuthorityConfig::new("office"), [4; 32], start());
    rig.command(|endpoint, now| endpoint.bye(call, None, now)).unwrap();
    door.refuse(&mut rig, &Method::Bye, &Denied::Stale);
    let byes = rig.requests(&Method::Bye);
    assert_eq!(byes.len(), 2);
    assert!(door.verify(&byes[1], rig.now).is_ok());
    reply(&mut rig, &Method::Bye, 200, "");
    assert_eq!(rig.events.last(), Some(&Event::CallEnded { call, cause: EndCause::HungUp }));
    rig.finish();
}

#[test]
fn requests_outside_of_calls_are_authorized_too() {
    let mut rig = Rig::new();
    let mut door = Door::new(Asker::Server);
    let from = NameAddr::new(uri("sip:office@example.com"));
    let message = OutgoingRequest {
        credentials: bob(),
        ..OutgoingRequest::new(Method::Message, uri("sip:200@192.0.2.9"), from, Destination::udp(peer()))
    };
    let request = rig.command(|endpoint, now| endpoint.request(message, now)).unwrap();
    door.refuse(&mut rig, &Method::Message, &Denied::Missing);
    let again = rig.requests(&Method::Message).pop().unwrap();
    assert!(door.verify(&again, rig.now).is_ok());
    reply(&mut rig, &Method::Message, 202, "");
    let [Event::RequestAnswered { request: told, call: None, response }] = &rig.events[..] else {
        panic!("{:?}", rig.events)
    };
    assert_eq!((*told, response.status), (request, StatusCode::ACCEPTED));
    rig.finish();
}
