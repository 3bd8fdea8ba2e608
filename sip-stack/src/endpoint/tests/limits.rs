//! Every table has an end, and beyond it comes 503.

use super::*;

fn another(n: u32) -> Draft {
    Draft::invite().call_id(&format!("call-{n}"))
}

#[test]
fn one_call_too_many_gets_503_and_the_others_stay() {
    let mut rig = Rig::with(|config| config.limits.calls = 2);
    for n in 0..2 {
        assert_eq!(rig.ask(&another(n)).status.as_u16(), 100);
    }
    let response = rig.ask(&another(2));
    assert_eq!(response.status.as_u16(), 503);
    assert_eq!(response.headers.retry_after().unwrap().unwrap().seconds, 5);
    assert_eq!((rig.endpoint.occupancy().calls, rig.endpoint.counters().overload_refusals), (2, 1));
}

#[test]
fn without_room_for_a_transaction_503_comes_without_state_and_with_a_steady_tag() {
    let mut rig = Rig::with(|config| config.limits.transactions = 1);
    rig.ask(&another(0));
    let text = another(1).text("z9hG4bKfull");
    rig.receive(&text);
    rig.receive(&text);
    let refusals = rig.responses("z9hG4bKfull");
    assert_eq!(refusals.iter().map(|response| response.status.as_u16()).collect::<Vec<_>>(), [503, 503]);
    assert_eq!(refusals[0], refusals[1]);
    assert_eq!(rig.endpoint.occupancy().transactions, 1);
}

#[test]
fn a_bye_without_room_goes_out_once_and_the_call_ends() {
    let mut rig = Rig::new();
    let (call, _) = rig.up();
    rig.endpoint.transactions.limit_to(1);
    rig.command(|endpoint, now| endpoint.bye(call, None, now)).unwrap();
    assert_eq!(rig.requests(&Method::Bye).len(), 1);
    assert_eq!(rig.events.last(), Some(&Event::CallEnded { call, cause: EndCause::HungUp }));
}

#[test]
fn a_shell_that_does_not_drain_loses_messages_and_no_memory() {
    let mut rig = Rig::with(|config| config.limits.queued = 3);
    for n in 0..20 {
        let text = another(n).text(&format!("z9hG4bK{n}"));
        rig.endpoint.handle_datagram(udp(), &text, rig.now);
    }
    rig.drain();
    assert_eq!(rig.sent.len(), 3);
    assert_eq!(rig.events.len(), 3);
    assert_eq!(rig.endpoint.counters().dropped_transmits, 17);
}
