//! Any sequence of inputs and commands: no panic, no table beyond its bound, and an end to every timer.

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

const LIMITS: EndpointLimits = EndpointLimits {
    transactions: 12,
    calls: 3,
    undecided: 2,
    streams: 2,
    registrations: 1,
    subscriptions: 2,
    queued: 40,
};
const METHODS: [&str; 11] =
    ["INVITE", "ACK", "BYE", "CANCEL", "OPTIONS", "INFO", "DANCE", "INVITE", "ACK", "PRACK", "UPDATE"];

#[derive(Debug, Clone)]
enum Operation {
    /// A request that is nearly right, with parts from small sets so that they meet.
    Request {
        method: usize,
        branch: u8,
        call_id: u8,
        cseq: u32,
        in_dialog: bool,
        has_sdp: bool,
    },
    /// A response to the latest request of ours.
    Respond {
        status: u16,
        tag: u8,
        has_sdp: bool,
    },
    /// A message of ours thrown back, with a byte changed.
    Mirror {
        back: usize,
        at: usize,
        byte: u8,
    },
    Bytes(Vec<u8>),
    Stream {
        flow: u64,
        bytes: Vec<u8>,
    },
    StreamOpened(u64),
    StreamClosed(u64),
    Command {
        which: u8,
        call: u64,
    },
    Wait(u32),
}

fn operation() -> impl Strategy<Value = Operation> {
    prop_oneof![
        8 => (0..METHODS.len(), 0..6u8, 0..3u8, 1..5u32, any::<bool>(), any::<bool>()).prop_map(
            |(method, branch, call_id, cseq, in_dialog, has_sdp)| Operation::Request {
                method, branch, call_id, cseq, in_dialog, has_sdp
            }
        ),
        4 => (100..700u16, 0..3u8, any::<bool>())
            .prop_map(|(status, tag, has_sdp)| Operation::Respond { status, tag, has_sdp }),
        1 => (any::<usize>(), any::<usize>(), any::<u8>())
            .prop_map(|(back, at, byte)| Operation::Mirror { back, at, byte }),
        1 => vec(any::<u8>(), 0..200).prop_map(Operation::Bytes),
        1 => (0..4u64, vec(any::<u8>(), 0..200)).prop_map(|(flow, bytes)| Operation::Stream { flow, bytes }),
        1 => (0..4u64).prop_map(Operation::StreamOpened),
        1 => (0..4u64).prop_map(Operation::StreamClosed),
        8 => (0..13u8, 1..8u64).prop_map(|(which, call)| Operation::Command { which, call }),
        4 => (0..40_000u32).prop_map(Operation::Wait),
    ]
}

fn perform(rig: &mut Rig, operation: Operation) {
    match operation {
        Operation::Request { method, branch, call_id, cseq, in_dialog, has_sdp } => {
            let mut draft = Draft::new(METHODS[method]).contact().call_id(&format!("c{call_id}")).cseq(cseq);
            if in_dialog {
                draft = draft.tagged(&latest_tag(rig));
            }
            let draft = if has_sdp { draft.sdp() } else { draft };
            rig.receive(&draft.text(&format!("z9hG4bK{branch}")));
        }
        Operation::Respond { status, tag, has_sdp } => respond(rig, status, tag, has_sdp),
        Operation::Mirror { back, at, byte } => {
            let Some(transmit) = rig.sent.iter().rev().nth(back % (rig.sent.len() + 1)) else { return };
            let mut bytes = transmit.bytes.clone();
            let at = at % bytes.len();
            bytes[at] = byte;
            rig.receive(&bytes);
        }
        Operation::Bytes(bytes) => rig.receive(&bytes),
        Operation::Stream { flow, bytes } => {
            rig.command(|endpoint, now| endpoint.handle_stream_bytes(FlowId(flow), &bytes, now));
        }
        Operation::StreamOpened(flow) => {
            rig.command(|endpoint, now| {
                endpoint.handle_stream_opened(FlowId(flow), Transport::Tcp, local(), peer(), now)
            });
        }
        Operation::StreamClosed(flow) => {
            rig.command(|endpoint, now| endpoint.handle_stream_closed(FlowId(flow), now));
        }
        Operation::Command { which, call } => command(rig, which, CallHandle(call)),
        Operation::Wait(ms) => rig.wait(Duration::from_millis(u64::from(ms))),
    }
}

fn latest_tag(rig: &Rig) -> String {
    let tags = rig.messages().into_iter().filter_map(response).filter_map(|response| response.headers.to().ok());
    tags.filter_map(|to| to.tag().map(str::to_owned)).next_back().unwrap_or_default()
}

fn respond(rig: &mut Rig, status: u16, tag: u8, has_sdp: bool) {
    let Some(request) = rig.messages().into_iter().filter_map(request).next_back() else { return };
    let status = StatusCode::new(status).expect("100 to 699");
    let mut response = Response::to(&request, status, Some(&format!("fork{tag}")));
    if has_sdp {
        response.set_body("application/sdp", OFFER.into());
    }
    rig.receive(&response.to_bytes());
}

fn command(rig: &mut Rig, which: u8, call: CallHandle) {
    let result = rig.command(|endpoint, now| match which {
        0 => endpoint.ring(call, None, now),
        1 => endpoint.answer(call, OFFER.into(), now),
        2 => endpoint.reject(call, StatusCode::BUSY_HERE, &[], now),
        3 => endpoint.answer_reinvite(call, OFFER.into(), now),
        4 => endpoint.reject_reinvite(call, StatusCode::NOT_ACCEPTABLE_HERE, now),
        5 => endpoint.bye(call, None, now),
        6 => endpoint.cancel(call, None, now),
        7 => endpoint.reinvite(call, Some(OFFER.into()), now),
        8 => endpoint.ack_with_answer(call, OFFER.into(), now),
        9 => endpoint.update(call, (call.as_u64() > 3).then(|| OFFER.into()), now),
        10 => endpoint.answer_update(call, OFFER.into(), now),
        11 => endpoint.ring(call, Some(OFFER.into()), now),
        _ => {
            let uri = || Uri::parse(b"sip:200@192.0.2.9").expect("a constant");
            let offer = (call.as_u64() > 3).then(|| OFFER.into());
            let destination = Destination::udp(peer());
            let invite = OutgoingInvite { offer, ..OutgoingInvite::new(uri(), NameAddr::new(uri()), destination) };
            endpoint.invite(invite, now).map(|_| ())
        }
    });
    // Misuse is part of the point, so only what was placed is looked at.
    rig.placed += usize::from(which > 11 && result.is_ok());
}

fn check_bounds(rig: &Rig) {
    let occupancy = rig.endpoint.occupancy();
    assert!(occupancy.calls <= LIMITS.calls, "{occupancy:?}");
    assert!(occupancy.transactions <= LIMITS.transactions, "{occupancy:?}");
    assert!(occupancy.streams <= LIMITS.streams, "{occupancy:?}");
    assert!(occupancy.dialogs <= LIMITS.calls * 9, "{occupancy:?}");
    assert!(rig.endpoint.merges.len() <= LIMITS.transactions);
}

/// Ends what our user has begun, as a user must, and lets time pass.
fn wind_up(rig: &mut Rig) {
    let calls: Vec<_> = rig.endpoint.calls.keys().copied().collect();
    for call in calls {
        let _ = rig.command(|endpoint, now| endpoint.reject(call, StatusCode::BUSY_HERE, &[], now));
        let _ = rig.command(|endpoint, now| endpoint.bye(call, None, now));
    }
    rig.wait(Duration::from_secs(200));
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(256) })]

    #[test]
    fn nothing_panics_and_no_table_outgrows_its_bound(operations in vec(operation(), 0..60)) {
        let mut rig = Rig::with(|config| config.limits = LIMITS);
        for operation in operations {
            perform(&mut rig, operation);
            check_bounds(&rig);
        }
        wind_up(&mut rig);
        let left = rig.endpoint.occupancy();
        prop_assert_eq!(left, Occupancy { streams: left.streams, ..Occupancy::default() });
        prop_assert_eq!(rig.endpoint.merges.len(), 0);
        prop_assert_eq!(rig.endpoint.poll_timeout(), None);
        let count = |is_it: fn(&Event) -> bool| rig.events.iter().filter(|event| is_it(event)).count();
        let begun = count(|event| matches!(event, Event::InviteReceived { .. })) + rig.placed;
        prop_assert_eq!(count(|event| matches!(event, Event::CallEnded { .. })), begun);
    }
}
