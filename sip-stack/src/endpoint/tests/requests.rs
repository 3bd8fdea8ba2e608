//! Requests that are not about a session, both ways.

use super::*;

fn message(rig: &mut Rig) -> RequestHandle {
    let uri = |text: &str| Uri::parse(text.as_bytes()).unwrap();
    let from = NameAddr::new(uri("sip:office@example.com"));
    let message = OutgoingRequest {
        headers: vec![(HeaderName::SUBJECT, "hello".to_owned()), (HeaderName::CSEQ, "9 NOT".to_owned())],
        body: Some(Body::new("text/plain", "hi")),
        route: vec![NameAddr::new(uri("sip:edge.example.com;lr"))],
        ..OutgoingRequest::new(Method::Message, uri("sip:200@example.com"), from, Destination::udp(peer()))
    };
    rig.command(|endpoint, now| endpoint.request(message, now)).unwrap()
}

#[test]
fn a_request_of_ours_goes_out_whole_and_its_final_response_is_told() {
    let mut rig = Rig::new();
    let handle = message(&mut rig);
    let sent = rig.requests(&Method::Message).remove(0);
    assert_eq!(sent.check(), Ok(()));
    assert_eq!(sent.headers.text(&HeaderName::SUBJECT).as_deref(), Some("hello"));
    assert_eq!(sent.headers.cseq().unwrap().number, 1);
    assert_eq!(sent.headers.route().unwrap().len(), 1);
    assert_eq!(sent.body, b"hi");
    for status in [StatusCode::TRYING, StatusCode::FORBIDDEN, StatusCode::FORBIDDEN] {
        rig.receive(&Response::to(&sent, status, Some("far")).to_bytes());
    }
    let [Event::RequestAnswered { request, call: None, response }] = &rig.events[..] else {
        panic!("{:?}", rig.events)
    };
    assert_eq!((*request, response.status), (handle, StatusCode::FORBIDDEN));
    rig.finish();
}

#[test]
fn without_an_answer_or_a_way_it_fails_once() {
    let mut rig = Rig::new();
    let lost = message(&mut rig);
    rig.wait(Duration::from_secs(33));
    let unsent = message(&mut rig);
    rig.command(|endpoint, now| endpoint.handle_transmit_failed(Transport::Udp, peer(), now));
    let failed = |request, failure| Event::RequestFailed { request, call: None, failure };
    let expected = [failed(lost, RequestFailure::TimedOut), failed(unsent, RequestFailure::TransportFailed)];
    assert_eq!(rig.events, expected);
    rig.finish();
}

#[test]
fn within_a_call_it_follows_the_dialog_and_ends_with_it() {
    let mut rig = Rig::new();
    let (call, draft) = rig.up();
    let info = DialogRequest::new(Method::Info).with_body("application/dtmf-relay", "Signal=5");
    let request = rig.command(|endpoint, now| endpoint.request_within(call, info.clone(), now)).unwrap();
    let sent = rig.requests(&Method::Info).remove(0);
    assert_eq!(sent.headers.to().unwrap().tag(), Some("theirs"));
    rig.receive(&Response::to(&sent, StatusCode::OK, None).to_bytes());
    let answered = |event: &Event| matches!(event, Event::RequestAnswered { call: Some(_), .. });
    assert!(rig.events.last().is_some_and(answered), "{:?}", rig.events);
    let pending = rig.command(|endpoint, now| endpoint.request_within(call, info, now)).unwrap();
    assert_ne!(request, pending);
    rig.ask(&draft);
    let failed = Event::RequestFailed { request: pending, call: Some(call), failure: RequestFailure::TimedOut };
    assert_eq!(rig.events[rig.events.len() - 2..], [failed, Event::CallEnded { call, cause: EndCause::PeerHungUp }]);
    rig.finish();
}

#[test]
fn a_481_within_a_call_means_that_there_is_no_call() {
    let mut rig = Rig::new();
    let (call, _) = rig.up();
    let info = DialogRequest::new(Method::Info);
    rig.command(|endpoint, now| endpoint.request_within(call, info, now)).unwrap();
    let sent = rig.requests(&Method::Info).remove(0);
    rig.receive(&Response::to(&sent, StatusCode::CALL_DOES_NOT_EXIST, None).to_bytes());
    assert_eq!(rig.requests(&Method::Bye).len(), 1);
    rig.finish();
}

#[test]
fn what_has_a_machine_of_its_own_is_no_plain_request() {
    let mut rig = Rig::new();
    let (call, _) = rig.up();
    for method in [Method::Bye, Method::Ack, Method::Invite, Method::Cancel] {
        let result = rig.command(|endpoint, now| endpoint.request_within(call, DialogRequest::new(method), now));
        assert_eq!(result, Err(EndpointMisuse::WrongMethod));
    }
}

fn registrar() -> Rig {
    Rig::with(|config| config.accepted = vec![Method::Register, Method::Subscribe])
}

#[test]
fn what_our_user_takes_is_handed_over_and_answered_by_it() {
    let mut rig = registrar();
    rig.receive(&Draft::new("REGISTER").contact().text("z9hG4bKreg"));
    let [Event::RequestReceived { request, call: None, message, .. }] = &rig.events[..] else {
        panic!("{:?}", rig.events)
    };
    assert_eq!(message.method, Method::Register);
    let request = *request;
    rig.receive(&Draft::new("REGISTER").contact().text("z9hG4bKreg"));
    assert_eq!(rig.events.len(), 1, "a repeat is no second request");
    let answer = Answer::new(StatusCode::OK)
        .with_header(HeaderName::CONTACT, "<sip:a@192.0.2.9>;expires=60")
        .with_header(HeaderName::SERVICE_ROUTE, "<sip:edge;lr>");
    rig.command(|endpoint, now| endpoint.respond(request, answer.clone(), now)).unwrap();
    let response = rig.responses("z9hG4bKreg").pop().unwrap();
    assert_eq!(response.headers.contacts().unwrap().len(), 1);
    assert!(response.headers.contains(&HeaderName::SERVICE_ROUTE));
    assert!(response.headers.to().unwrap().tag().is_some());
    let again = rig.command(|endpoint, now| endpoint.respond(request, answer, now));
    assert_eq!(again, Err(EndpointMisuse::UnknownRequest));
    rig.finish();
}

#[test]
fn a_user_that_never_answers_leaves_nobody_waiting() {
    let mut rig = registrar();
    rig.receive(&Draft::new("REGISTER").contact().text("z9hG4bKreg"));
    rig.wait(Duration::from_secs(30));
    assert_eq!(rig.statuses(), [500]);
    rig.finish();
}

#[test]
fn a_subscription_that_is_taken_gets_our_contact() {
    let mut rig = registrar();
    rig.receive(&Draft::new("SUBSCRIBE").contact().header("Event: x").text("z9hG4bKsub"));
    let Some(Event::RequestReceived { request, .. }) = rig.events.pop() else { panic!("{:?}", rig.events) };
    rig.command(|endpoint, now| endpoint.respond(request, Answer::new(StatusCode::ACCEPTED), now)).unwrap();
    let response = rig.responses("z9hG4bKsub").pop().unwrap();
    assert_eq!(response.headers.contacts().unwrap().len(), 1);
    rig.finish();
}

#[test]
fn what_nobody_takes_gets_405_with_what_is_taken() {
    let mut rig = registrar();
    let response = rig.ask(&Draft::new("MESSAGE"));
    assert_eq!(response.status.as_u16(), 405);
    let allowed = response.headers.allow().unwrap();
    assert!(allowed.contains(&Method::Register) && !allowed.contains(&Method::Message), "{allowed:?}");
    rig.finish();
}
