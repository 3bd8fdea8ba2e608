//! Calls over TCP.

use super::*;

const FLOW: FlowId = FlowId(4);

fn opened() -> Rig {
    let mut rig = Rig::new();
    rig.endpoint.handle_stream_opened(FLOW, Transport::Tcp, local(), "192.0.2.9:49152".parse().unwrap(), rig.now);
    rig
}

fn tcp(draft: &Draft, branch: &str) -> Vec<u8> {
    String::from_utf8(draft.text(branch)).unwrap().replace("SIP/2.0/UDP", "SIP/2.0/TCP").into_bytes()
}

#[test]
fn a_message_may_come_a_byte_at_a_time_and_is_answered_on_its_connection() {
    let mut rig = opened();
    for byte in tcp(&Draft::invite(), "z9hG4bKx") {
        rig.endpoint.handle_stream_bytes(FLOW, &[byte], rig.now);
    }
    rig.drain();
    assert_eq!(rig.statuses(), [100]);
    assert_eq!((rig.sent[0].transport, rig.sent[0].flow), (Transport::Tcp, Some(FLOW)));
    let Event::InviteReceived { source, .. } = &rig.events[0] else { panic!("{:?}", rig.events) };
    assert_eq!(source.flow, Some(FLOW));
}

#[test]
fn a_double_line_end_is_answered_with_one() {
    let mut rig = opened();
    rig.endpoint.handle_stream_bytes(FLOW, b"\r\n\r\n", rig.now);
    rig.drain();
    assert_eq!(rig.sent.iter().map(|transmit| &transmit.bytes[..]).collect::<Vec<_>>(), [b"\r\n"]);
}

#[test]
fn our_bye_goes_over_the_open_connection_else_to_the_contact() {
    for is_open in [true, false] {
        let mut rig = opened();
        rig.endpoint.handle_stream_bytes(FLOW, &tcp(&Draft::invite(), "z9hG4bKx"), rig.now);
        rig.drain();
        let Event::InviteReceived { call, .. } = rig.events[0] else { panic!("{:?}", rig.events) };
        rig.command(|endpoint, now| endpoint.answer(call, OFFER.into(), now)).unwrap();
        let tag = rig.responses("z9hG4bKx").pop().unwrap().headers.to().unwrap().tag().unwrap().to_owned();
        rig.endpoint.handle_stream_bytes(FLOW, &tcp(&Draft::new("ACK").tagged(&tag), "z9hG4bKy"), rig.now);
        if !is_open {
            rig.endpoint.handle_stream_closed(FLOW, rig.now);
        }
        rig.command(|endpoint, now| endpoint.bye(call, None, now)).unwrap();
        let bye = rig.sent.last().unwrap();
        let expected = if is_open { (Some(FLOW), 49152) } else { (None, 5060) };
        assert_eq!((bye.flow, bye.peer.port(), bye.transport), (expected.0, expected.1, Transport::Tcp));
        rig.finish();
    }
}

#[test]
fn a_lost_framing_is_counted_and_the_connection_is_to_be_closed() {
    let mut rig = opened();
    let text = String::from_utf8(tcp(&Draft::new("OPTIONS"), "z9hG4bKx")).unwrap();
    let text = text.replace("Content-Length: 0\r\n", "");
    rig.endpoint.handle_stream_bytes(FLOW, text.as_bytes(), rig.now);
    rig.drain();
    assert_eq!(rig.statuses(), [400], "it can still be answered");
    assert_eq!((rig.endpoint.poll_close(), rig.endpoint.poll_close()), (Some(FLOW), None));
    assert_eq!(rig.endpoint.counters().broken_streams, 1);
}

#[test]
fn a_connection_too_many_is_to_be_closed() {
    let mut rig = Rig::with(|config| config.limits.streams = 1);
    rig.endpoint.handle_stream_opened(FlowId(1), Transport::Tcp, local(), peer(), rig.now);
    rig.endpoint.handle_stream_opened(FlowId(2), Transport::Tcp, local(), peer(), rig.now);
    assert_eq!((rig.endpoint.poll_close(), rig.endpoint.occupancy().streams), (Some(FlowId(2)), 1));
}

#[test]
fn a_broken_connection_fails_the_invite_on_it() {
    let mut rig = opened();
    let uri = || Uri::parse(b"sip:200@192.0.2.9").unwrap();
    let destination = Destination { transport: Transport::Tcp, peer: "192.0.2.9:49152".parse().unwrap() };
    let invite = OutgoingInvite::new(uri(), NameAddr::new(uri()), destination);
    let call = rig.command(|endpoint, now| endpoint.invite(invite, now)).unwrap();
    assert_eq!(rig.sent[0].flow, Some(FLOW), "the connection is used");
    rig.command(|endpoint, now| endpoint.handle_stream_closed(FLOW, now));
    assert_eq!(
        rig.events,
        [Event::TransportFailed { call }, Event::CallEnded { call, cause: EndCause::TransportFailed }]
    );
    rig.finish();
}
