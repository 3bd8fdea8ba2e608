//! Our registration, with a registrar that does as it likes.

use super::*;
use crate::digest::{Asker, Authority, AuthorityConfig, Credentials, Denied, Ha1};

fn uri(text: &str) -> Uri {
    Uri::parse(text.as_bytes()).unwrap()
}

fn config() -> RegistrationConfig {
    let address = NameAddr::new(uri("sip:office@example.com"));
    RegistrationConfig::new(uri("sip:example.com"), address, Destination::udp(peer()))
}

fn register(rig: &mut Rig, config: RegistrationConfig) -> RegistrationHandle {
    rig.command(|endpoint, now| endpoint.register(config, now)).unwrap()
}

fn latest(rig: &Rig) -> Request {
    rig.requests(&Method::Register).pop().unwrap()
}

fn count(rig: &Rig) -> usize {
    rig.requests(&Method::Register).len()
}

fn reply(rig: &mut Rig, status: u16, headers: &[(HeaderName, &str)]) {
    let mut response = Response::to(&latest(rig), StatusCode::new(status).unwrap(), Some("registrar"));
    headers.iter().for_each(|(name, value)| response.headers.push(name.clone(), value));
    rig.receive(&response.to_bytes());
}

fn news(rig: &mut Rig) -> RegistrationNews {
    match rig.events.pop() {
        Some(Event::Registration { news, .. }) => news,
        other => panic!("{other:?}"),
    }
}

fn retry_in(rig: &mut Rig) -> Duration {
    match news(rig) {
        RegistrationNews::Failed { retry_in, .. } => retry_in,
        other @ (RegistrationNews::Registered { .. } | RegistrationNews::Ended) => panic!("{other:?}"),
    }
}

#[test]
fn it_is_refreshed_before_its_end_within_one_series() {
    let mut rig = Rig::new();
    let registration = register(&mut rig, config());
    let first = latest(&rig);
    assert_eq!(first.uri.to_string(), "sip:example.com");
    assert_eq!(first.headers.expires().unwrap(), Some(3_600));
    let bindings = "<sip:other@192.0.2.50>;expires=9, <sip:offhook@192.0.2.1:5060>;expires=600";
    reply(&mut rig, 200, &[(HeaderName::CONTACT, bindings), (HeaderName::SERVICE_ROUTE, "<sip:edge;lr>")]);
    let RegistrationNews::Registered { expires_seconds, service_route, .. } = news(&mut rig) else { panic!() };
    assert_eq!((expires_seconds, service_route.len()), (600, 1));
    rig.wait(Duration::from_secs(299));
    assert_eq!(count(&rig), 1);
    rig.wait(Duration::from_secs(1));
    let second = latest(&rig);
    assert_eq!(first.headers.call_id(), second.headers.call_id());
    assert_eq!(first.headers.from(), second.headers.from());
    assert_eq!(second.headers.cseq().unwrap().number, 2);
    rig.command(|endpoint, now| endpoint.unregister(registration, now)).unwrap();
    assert_eq!(latest(&rig).headers.expires().unwrap(), Some(0));
    reply(&mut rig, 200, &[]);
    assert_eq!(news(&mut rig), RegistrationNews::Ended);
    let misuse = rig.command(|endpoint, now| endpoint.unregister(registration, now));
    assert_eq!(misuse, Err(EndpointMisuse::UnknownRegistration));
    rig.finish();
}

#[test]
fn a_registrar_that_wants_longer_gets_longer_but_not_for_ever() {
    let mut rig = Rig::new();
    register(&mut rig, RegistrationConfig { expires_seconds: 60, ..config() });
    reply(&mut rig, 423, &[(HeaderName::MIN_EXPIRES, "1800")]);
    assert_eq!(latest(&rig).headers.expires().unwrap(), Some(1_800));
    reply(&mut rig, 423, &[(HeaderName::MIN_EXPIRES, "1800")]);
    assert!(matches!(news(&mut rig), RegistrationNews::Failed { .. }), "the same again leads nowhere");
    assert_eq!(count(&rig), 2);
}

#[test]
fn waits_double_with_jitter_and_retry_after_is_heeded() {
    let mut rig = Rig::new();
    register(&mut rig, config());
    let mut longest = Duration::ZERO;
    for doubled in [30, 60, 120, 240, 480, 960, 1_800, 1_800] {
        reply(&mut rig, 503, &[]);
        let wait = retry_in(&mut rig);
        let range = Duration::from_secs(doubled / 2)..=Duration::from_secs(doubled);
        assert!(range.contains(&wait), "{wait:?} of {doubled}");
        longest = longest.max(wait);
        let before = count(&rig);
        rig.wait(wait);
        assert_eq!(count(&rig), before + 1);
    }
    assert_ne!(longest, Duration::from_secs(1_800), "there is jitter");
    reply(&mut rig, 200, &[]);
    news(&mut rig);
    rig.wait(Duration::from_secs(3_000));
    reply(&mut rig, 503, &[(HeaderName::RETRY_AFTER, "700")]);
    assert_eq!(retry_in(&mut rig), Duration::from_secs(700), "counted anew, but no sooner than asked for");
}

#[test]
fn no_answer_is_a_failure_too_and_a_refusal_waits_longer() {
    let mut rig = Rig::new();
    register(&mut rig, config());
    rig.wait(Duration::from_secs(33));
    let failure = RegistrationFailure::NoResponse(RequestFailure::TimedOut);
    assert!(matches!(news(&mut rig), RegistrationNews::Failed { failure: told, .. } if told == failure));
    rig.command(|endpoint, now| {
        let handle = *endpoint.registrations.keys().next().unwrap();
        endpoint.refresh_registration(handle, now)
    })
    .unwrap();
    reply(&mut rig, 403, &[]);
    assert!(retry_in(&mut rig) >= Duration::from_secs(300), "the second failure in a row, and a refusal");
}

#[test]
fn credentials_are_given_and_given_again_with_the_next_refresh() {
    let mut rig = Rig::new();
    let mut authority = Authority::new(AuthorityConfig::new("example.com"), [3; 32], start());
    let verify = |authority: &mut Authority, rig: &Rig| {
        let ha1 = |user: &str, hash| Some(Ha1::new(hash, user, "example.com", "zanzibar"));
        authority.verify(&latest(rig), Asker::Server, ha1, rig.now)
    };
    register(&mut rig, RegistrationConfig { credentials: vec![Credentials::new("office", "zanzibar")], ..config() });
    assert_eq!(verify(&mut authority, &rig), Err(Denied::Missing));
    let (status, headers) = authority.refusal(&Denied::Missing, Asker::Server, rig.now);
    let mut response = Response::to(&latest(&rig), status, Some("r"));
    headers.into_iter().for_each(|(name, value)| response.headers.push(name, value));
    rig.receive(&response.to_bytes());
    assert!(verify(&mut authority, &rig).is_ok());
    reply(&mut rig, 200, &[(HeaderName::EXPIRES, "100")]);
    rig.wait(Duration::from_secs(50));
    assert!(verify(&mut authority, &rig).is_ok(), "at once");
    let numbers: Vec<_> = rig.requests(&Method::Register).iter().map(|r| r.headers.cseq().unwrap().number).collect();
    assert_eq!(numbers, [1, 2, 3]);
}

#[test]
fn a_lost_connection_is_recovered_over_another_one() {
    let mut rig = Rig::new();
    let edge: SocketAddr = "192.0.2.9:5061".parse().unwrap();
    let open = |rig: &mut Rig, flow| {
        rig.command(|endpoint, now| endpoint.handle_stream_opened(FlowId(flow), Transport::Tls, local(), edge, now));
    };
    open(&mut rig, 1);
    let outbound =
        Some(Outbound { instance_urn: "urn:uuid:00000000-0000-1000-8000-AABBCCDDEEFF".to_owned(), reg_id: 1 });
    let destination = Destination { transport: Transport::Tls, peer: edge };
    register(&mut rig, RegistrationConfig { outbound, destination, ..config() });
    let contact = latest(&rig).headers.contact().unwrap().unwrap();
    assert_eq!(contact.params.value("reg-id"), Some("1"));
    assert!(contact.params.value("+sip.instance").unwrap().starts_with("<urn:uuid:"));
    assert_eq!(rig.sent.last().unwrap().flow, Some(FlowId(1)));
    let ok = Response::to(&latest(&rig), StatusCode::OK, Some("r")).to_bytes();
    rig.command(|endpoint, now| endpoint.handle_stream_bytes(FlowId(1), &ok, now));
    news(&mut rig);
    rig.command(|endpoint, now| endpoint.handle_stream_closed(FlowId(1), now));
    let wait = retry_in(&mut rig);
    assert!(wait <= Duration::from_secs(30));
    rig.wait(wait);
    assert_eq!(rig.sent.last().unwrap().flow, None, "the shell connects");
    assert_eq!(count(&rig), 2);
}

#[test]
fn there_is_a_bound() {
    let mut rig = Rig::with(|mine| mine.limits.registrations = 1);
    register(&mut rig, config());
    let full = rig.command(|endpoint, now| endpoint.register(config(), now));
    assert_eq!(full, Err(EndpointMisuse::Full));
}
