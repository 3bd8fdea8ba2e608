//! Peers that watch.

use super::*;
use crate::body::message_summary::{MEDIA_TYPE, MessageSummary, PACKAGE};

fn notifier() -> Rig {
    Rig::with(|config| config.packages = vec![PACKAGE.to_owned()])
}

fn state(new: u32) -> Body {
    Body::new(MEDIA_TYPE, MessageSummary { new, ..MessageSummary::default() }.to_body())
}

fn subscribe(expires: &str) -> Draft {
    let draft = Draft::new("SUBSCRIBE").contact().header(&format!("Event: {PACKAGE}"));
    if expires.is_empty() { draft } else { draft.header(&format!("Expires: {expires}")) }
}

/// A subscription that is accepted, with a SUBSCRIBE to prolong it.
fn accepted(rig: &mut Rig, expires: &str) -> (SubscriptionHandle, Draft) {
    rig.receive(&subscribe(expires).text("z9hG4bKsub"));
    let Some(Event::SubscriptionRequested { subscription, .. }) = rig.events.pop() else { panic!("{:?}", rig.events) };
    rig.command(|endpoint, now| endpoint.accept_subscription(subscription, Some(state(1)), now)).unwrap();
    let ok = rig.responses("z9hG4bKsub").pop().unwrap();
    assert_eq!(ok.status, StatusCode::OK);
    let tag = ok.headers.to().unwrap().tag().unwrap().to_owned();
    (subscription, Draft::new("SUBSCRIBE").contact().header(&format!("Event: {PACKAGE}")).tagged(&tag).cseq(2))
}

/// Answers the latest NOTIFY.
fn confirm(rig: &mut Rig, status: StatusCode) {
    let notify = rig.requests(&Method::Notify).pop().unwrap();
    rig.receive(&Response::to(&notify, status, None).to_bytes());
}

/// Subscription-State and how many new messages, of every NOTIFY.
fn told(rig: &Rig) -> Vec<(String, u32)> {
    let read = |notify: &Request| {
        let state = notify.headers.subscription_state().unwrap().unwrap().to_string();
        (state, MessageSummary::parse(&notify.body).unwrap().new)
    };
    rig.requests(&Method::Notify).iter().map(read).collect()
}

#[test]
fn the_state_is_told_at_once_and_after_every_change() {
    let mut rig = notifier();
    let (subscription, _) = accepted(&mut rig, "600");
    let notify = rig.requests(&Method::Notify).remove(0);
    assert_eq!(notify.headers.to().unwrap().tag(), Some("theirs"));
    assert_eq!(notify.headers.event().unwrap().unwrap().package, PACKAGE);
    for new in [2, 3] {
        rig.command(|endpoint, now| endpoint.notify(subscription, state(new), now)).unwrap();
    }
    assert_eq!(told(&rig).len(), 1, "one at a time");
    confirm(&mut rig, StatusCode::OK);
    confirm(&mut rig, StatusCode::OK);
    let active = || "active;expires=600".to_owned();
    assert_eq!(told(&rig), [(active(), 1), (active(), 3)], "the latest counts");
    rig.command(|endpoint, now| endpoint.end_subscription(subscription, "deactivated", now)).unwrap();
    assert_eq!(told(&rig).last().unwrap().0, "terminated;reason=deactivated");
    assert_eq!(rig.events, [Event::SubscriptionEnded { subscription }]);
    rig.finish();
}

#[test]
fn a_subscription_lasts_as_long_as_it_is_prolonged() {
    let mut rig = notifier();
    let (subscription, again) = accepted(&mut rig, "600");
    confirm(&mut rig, StatusCode::OK);
    rig.wait(Duration::from_secs(500));
    assert_eq!(rig.ask(&again.clone().header("Expires: 600")).headers.expires().unwrap(), Some(600));
    confirm(&mut rig, StatusCode::OK);
    rig.wait(Duration::from_secs(599));
    assert!(rig.events.is_empty());
    rig.wait(Duration::from_secs(1));
    assert_eq!(told(&rig).last().unwrap().0, "terminated;reason=timeout");
    assert_eq!(rig.events, [Event::SubscriptionEnded { subscription }]);
    assert_eq!(rig.ask(&again.cseq(3)).status.as_u16(), 481);
    rig.finish();
}

#[test]
fn zero_ends_it_and_asks_once() {
    let mut rig = notifier();
    let (subscription, again) = accepted(&mut rig, "");
    assert_eq!(rig.ask(&again.header("Expires: 0")).status.as_u16(), 200);
    assert_eq!(rig.events, [Event::SubscriptionEnded { subscription }]);
    let mut rig = notifier();
    accepted(&mut rig, "0");
    assert_eq!(told(&rig), [("terminated;reason=timeout".to_owned(), 1)]);
    rig.finish();
}

#[test]
fn whoever_does_not_know_it_any_more_is_not_told_any_more() {
    let mut rig = notifier();
    let (subscription, _) = accepted(&mut rig, "600");
    confirm(&mut rig, StatusCode::CALL_DOES_NOT_EXIST);
    assert_eq!(rig.events, [Event::SubscriptionEnded { subscription }]);
    rig.wait(Duration::from_secs(33));
    accepted(&mut rig, "601");
    rig.wait(Duration::from_secs(33));
    assert_eq!(rig.endpoint.occupancy().subscriptions, 0, "no answer counts as none");
    rig.finish();
}

#[test]
fn refusals() {
    let mut rig = notifier();
    assert_eq!(rig.ask(&subscribe("59")).headers.min_expires().unwrap(), Some(60));
    let other = rig.ask(&Draft::new("SUBSCRIBE").contact().header("Event: presence").call_id("c2"));
    assert_eq!(
        (other.status.as_u16(), other.headers.allow_events().unwrap()),
        (489, vec![PACKAGE.into(), "refer".into()])
    );
    let none = rig.ask(&Draft::new("SUBSCRIBE").contact().call_id("c3"));
    assert_eq!(none.status.as_u16(), 400);
    assert_eq!(none.headers.warnings().unwrap()[0].text, "Event: missing at byte 0");
    rig.receive(&subscribe("600").call_id("c4").text("z9hG4bKsub"));
    let Some(Event::SubscriptionRequested { subscription, .. }) = rig.events.pop() else { panic!("{:?}", rig.events) };
    let challenge = vec![(HeaderName::WWW_AUTHENTICATE, "Digest realm=\"r\", nonce=\"n\"".to_owned())];
    let status = StatusCode::UNAUTHORIZED;
    rig.command(|endpoint, now| endpoint.refuse_subscription(subscription, status, challenge, now)).unwrap();
    let refused = rig.responses("z9hG4bKsub").pop().unwrap();
    assert!(refused.headers.contains(&HeaderName::WWW_AUTHENTICATE));
    rig.receive(&subscribe("600").call_id("c5").text("z9hG4bKlate"));
    rig.wait(Duration::from_secs(21));
    assert_eq!(rig.responses("z9hG4bKlate").pop().unwrap().status.as_u16(), 500);
    rig.finish();
    assert_eq!(Rig::new().ask(&subscribe("600")).status.as_u16(), 405, "nobody has packages here");
}

#[test]
fn there_is_a_bound() {
    let mut rig = Rig::with(|config| {
        config.packages = vec![PACKAGE.to_owned()];
        config.limits.subscriptions = 1;
    });
    accepted(&mut rig, "600");
    let full = rig.ask(&subscribe("600").call_id("c2"));
    assert_eq!(full.status.as_u16(), 503);
    assert!(full.headers.retry_after().unwrap().is_some());
}
