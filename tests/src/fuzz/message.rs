//! Reading, checking and printing messages; from datagrams and from streams cut anywhere.

use sip_stack::message::framing::{Frame, StreamFramer};
use sip_stack::message::{Headers, Limits, Message, Method, Response, StatusCode};

/// # Panics
/// Something does not hold.
pub fn run(input: &[u8]) {
    let limits = Limits::default();
    if let Ok(message) = Message::parse(input, &limits) {
        survives_printing(&message, &limits);
        read_all(message.headers());
        answer(&message);
    }
    frames_do_not_depend_on_segments(input);
    small_limits_hold(input);
}

/// What was understood is printed so that it is understood again, the same way.
fn survives_printing(message: &Message, limits: &Limits) {
    let printed = message.to_bytes();
    let Ok(again) = Message::parse(&printed, limits) else {
        // Longer than it came: it was at a limit, or had no line ends of its own.
        assert!(printed.len() > limits.line_bytes, "not read again: {}", String::from_utf8_lossy(&printed));
        return;
    };
    // A start line that could not be read was mended to be printed; but once.
    let second = again.to_bytes();
    let third = Message::parse(&second, limits).map(|message| message.to_bytes());
    let shown = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert_eq!(third.map(|bytes| shown(&bytes)), Ok(shown(&second)), "printed differently each time");
    let start = |message: &Message| match message {
        Message::Request(request) => (request.method.to_string(), request.uri.to_string()),
        Message::Response(response) => (response.status.to_string(), String::new()),
    };
    let is_right = match message {
        Message::Request(request) => request.check().is_ok(),
        Message::Response(response) => response.check().is_ok(),
    };
    if is_right {
        assert_eq!(shown(&second), shown(&printed), "printed differently the second time");
        assert_eq!(start(&again), start(message));
    }
}

fn read_all(headers: &Headers) {
    let _ = (headers.vias(), headers.from(), headers.to(), headers.call_id(), headers.cseq(), headers.max_forwards());
    let _ = (headers.content_length(), headers.content_type(), headers.contacts(), headers.route());
    let _ = (headers.record_route(), headers.require(), headers.proxy_require(), headers.supported());
    let _ = (headers.unsupported(), headers.allow(), headers.accept(), headers.expires(), headers.min_expires());
    let _ = (headers.retry_after(), headers.reasons(), headers.date(), headers.path(), headers.service_route());
    let _ = (headers.asserted_identities(), headers.preferred_identities(), headers.remote_parties());
    let _ = (headers.diversions(), headers.session_expires(), headers.min_se(), headers.event());
    let _ = (headers.allow_events(), headers.subscription_state(), headers.refer_to(), headers.referred_by());
    let _ = (headers.replaces(), headers.rseq(), headers.rack(), headers.flow_timer(), headers.warnings());
    // What was read as an address is an address when it is written again.
    for address in headers.contacts().unwrap_or_default().iter().filter_map(|contact| contact.address()) {
        let text = address.to_string();
        let again = sip_stack::message::NameAddr::parse(&text);
        assert_eq!(again.as_ref().map(ToString::to_string).as_deref(), Ok(text.as_str()), "{text}");
    }
}

/// A request that passes its checks can be answered, and its answer passes its own.
fn answer(message: &Message) {
    match message {
        Message::Response(response) => {
            let _ = response.check();
        }
        Message::Request(request) => {
            let verdict = request.check();
            let _ = (request.check_method(&[Method::Invite]), request.check_extensions(&["timer"]));
            let _ = (request.check_body(&[("application", "sdp")]), request.check_accept("application", "sdp"));
            let response = Response::to(request, StatusCode::RINGING, Some("ours"));
            let printed = response.to_bytes();
            if verdict.is_ok() && request.method != Method::Ack {
                let again = Message::parse(&printed, &Limits::default());
                let Ok(Message::Response(again)) = again else {
                    panic!("our own response is not read: {}", String::from_utf8_lossy(&printed));
                };
                let flaw = again.check().err().map(|error| error.to_string());
                // A request with several Vias makes a response that is not for us.
                let is_ours = request.headers.vias().is_ok_and(|vias| vias.len() == 1);
                assert!(flaw.is_none() || !is_ours, "{flaw:?}: {}", String::from_utf8_lossy(&printed));
            }
        }
    }
}

/// However TCP cuts a stream, the same messages come out of it.
fn frames_do_not_depend_on_segments(input: &[u8]) {
    let whole = frames(input, input.len().max(1));
    let cut = 1 + input.first().map_or(0, |byte| usize::from(byte % 7));
    assert_eq!(frames(input, cut), whole, "cut into {cut} bytes each");
}

fn frames(input: &[u8], length: usize) -> Vec<Vec<u8>> {
    let mut framer = StreamFramer::new(Limits::default());
    let mut frames = Vec::new();
    for segment in input.chunks(length) {
        let is_taken = framer.push(segment).is_ok();
        while let Ok(Some(frame)) = framer.poll() {
            frames.push(match frame {
                Frame::Message(message) => message.to_bytes(),
                Frame::Ping => b"ping".to_vec(),
                Frame::Pong => b"pong".to_vec(),
            });
        }
        if !is_taken || framer.poll().is_err() {
            break;
        }
    }
    frames
}

fn small_limits_hold(input: &[u8]) {
    let limits = Limits { message_bytes: 400, line_bytes: 60, header_count: 5, body_bytes: 50 };
    if let Ok(message) = Message::parse(input, &limits) {
        assert!(message.headers().len() <= limits.header_count);
        let body = match &message {
            Message::Request(request) => &request.body,
            Message::Response(response) => &response.body,
        };
        assert!(body.len() <= limits.body_bytes);
    }
}
