//! Whole messages: torture cases of our own, and laws that hold for any bytes.

use proptest::prelude::*;

use super::*;

const INVITE: &str = "INVITE sip:+4930@192.0.2.9:5060;transport=udp SIP/2.0\r\n\
    Via: SIP/2.0/UDP 198.51.100.1:5060;branch=z9hG4bK1;rport, SIP/2.0/TCP 10.0.0.1;branch=z9hG4bK0\r\n\
    Record-Route: <sip:198.51.100.1;lr>\r\n\
    From: \"Caller\" <sip:+1@example.com>;tag=a\r\n\
    To: <sip:+4930@192.0.2.9>\r\n\
    Call-ID: x@y\r\n\
    CSeq: 1 INVITE\r\n\
    Max-Forwards: 70\r\n\
    Contact: <sip:+1@198.51.100.1>\r\n\
    Timestamp: 54\r\n\
    X-Twilio-CallSid: CA0123\r\n\
    Content-Type: application/sdp\r\n\
    Content-Length: 5\r\n\
    \r\n\
    v=0\r\n";

fn parse(bytes: &[u8]) -> Result<Message, ParseError> {
    Message::parse(bytes, &Limits::default())
}

#[track_caller]
fn request(text: &str) -> Request {
    match parse(text.as_bytes()).unwrap() {
        Message::Request(request) => request,
        Message::Response(_) => panic!("a response"),
    }
}

/// INVITE with one line replaced is answered with `status` because of `header`.
#[track_caller]
fn check_refused(line: &str, replacement: &str, status: u16, why: &str) {
    assert!(INVITE.contains(line), "{line}");
    let error = request(&INVITE.replacen(line, replacement, 1)).check().unwrap_err();
    assert_eq!(error.status().as_u16(), status, "{error}");
    assert!(error.to_string().contains(why), "{error}");
}

#[track_caller]
fn check_accepted(line: &str, replacement: &str) {
    assert!(INVITE.contains(line), "{line}");
    request(&INVITE.replacen(line, replacement, 1)).check().unwrap();
}

#[test]
fn an_ordinary_invite_reads_and_prints_unchanged() {
    let invite = request(INVITE);
    invite.check().unwrap();
    assert_eq!(invite.body, b"v=0\r\n");
    assert_eq!(invite.headers.vias().unwrap().len(), 2);
    assert_eq!(invite.headers.text(&HeaderName::new("x-twilio-callsid")).as_deref(), Some("CA0123"));
    assert_eq!(String::from_utf8(invite.to_bytes()).unwrap(), INVITE);
}

#[test]
fn a_header_that_must_be_there_is_missed_by_name() {
    check_refused("Call-ID: x@y\r\n", "", 400, "Call-ID: missing");
    check_refused("From: \"Caller\" <sip:+1@example.com>;tag=a\r\n", "", 400, "From: missing");
    check_refused("CSeq: 1 INVITE\r\n", "", 400, "CSeq: missing");
    check_refused("Call-ID: x@y\r\n", "Call-ID:\r\n", 400, "Call-ID: expected an identifier");
    check_refused("Call-ID: x@y\r\n", "Call-ID: x@y\r\ni: x@y\r\n", 400, "Call-ID: more than one value");
}

#[test]
fn line_ends_are_crlf_and_nothing_else() {
    check_refused("Timestamp: 54\r\n", "Timestamp: 54\nTo: <sip:evil@x>\r\n", 400, "expected CRLF");
    check_refused("Timestamp: 54\r\n", "Timestamp: 5\r4\r\n", 400, "expected CRLF");
    check_refused("Timestamp: 54\r\n", "Timestamp 54\r\n", 400, "expected a colon");
    check_refused("Timestamp: 54\r\n", "Time stamp: 54\r\n", 400, "expected a header name");
    check_refused("Timestamp: 54\r\n", ": 54\r\n", 400, "expected a header name");
    check_accepted("Timestamp: 54\r\n", "Timestamp:\r\n\t54\r\n");
}

#[test]
fn a_name_without_the_final_empty_line_is_refused() {
    let cut = &INVITE[..INVITE.find("Content-Type").unwrap()];
    assert!(request(cut).check().unwrap_err().to_string().contains("an empty line"));
}

#[test]
fn content_length_rules_the_datagram() {
    assert_eq!(request(&format!("{INVITE}trailing")).body, b"v=0\r\n");
    assert_eq!(request(&INVITE.replace("Content-Length: 5\r\n", "")).body, b"v=0\r\n");
    check_refused("Content-Length: 5", "Content-Length: 6", 400, "shorter");
    check_refused("Content-Length: 5", "Content-Length: +5", 400, "Content-Length");
    check_refused("Content-Length: 5", "Content-Length: 5, 5", 400, "Content-Length");
    check_refused("Content-Length: 5", "Content-Length: 18446744073709551621", 400, "out of range");
}

#[test]
fn numbers_have_bounds() {
    check_refused("Max-Forwards: 70", "Max-Forwards: 256", 400, "Max-Forwards");
    check_refused("CSeq: 1 INVITE", "CSeq: 4294967296 INVITE", 400, "CSeq");
    check_refused("CSeq: 1 INVITE", "CSeq: 1 invite", 400, "CSeq names another method");
    check_refused("198.51.100.1:5060;branch", "198.51.100.1:65536;branch", 400, "Via");
    check_refused("192.0.2.9:5060;transport", "192.0.2.9:99999999999999999999;transport", 400, "Request-URI");
}

#[test]
fn what_nobody_needs_spoils_nothing() {
    check_accepted("Timestamp: 54", "Date: yesterday");
    check_accepted("Timestamp: 54", "Warning: 99999 x");
    check_accepted("Timestamp: 54", "Expires: 99999999999999999999");
    check_accepted("Timestamp: 54", "X-Empty:");
    check_accepted("Max-Forwards: 70\r\n", "");
}

#[test]
fn bytes_that_are_not_utf8_come_back_as_they_were() {
    let mut bytes = INVITE.replace("54", "??").into_bytes();
    let at = bytes.windows(2).position(|window| window == b"??").unwrap();
    bytes[at..at + 2].copy_from_slice(b"\xff\xfe");
    let message = parse(&bytes).unwrap();
    assert_eq!(message.headers().first(&HeaderName::TIMESTAMP).unwrap().value(), b"\xff\xfe");
    assert_eq!(message.to_bytes(), bytes);
}

#[test]
fn request_uris_of_all_kinds() {
    let uri = "sip:+4930@192.0.2.9:5060;transport=udp";
    check_accepted(uri, "tel:+4930-123;phone-context=+49");
    check_accepted(uri, "sips:[2001:db8::1]:5061");
    check_accepted(uri, "sip:a:b@host;maddr=[::1];lr");
    check_refused(uri, "mailto:a@b", 416, "URI scheme");
    check_refused(uri, "sip:a@b?Subject=x", 400, "Request-URI");
    check_refused(uri, "sip:a%4@b", 400, "Request-URI");
    check_refused(uri, "sip:a@", 400, "Request-URI");
    check_refused(uri, "sip:@b", 400, "Request-URI");
    check_refused(uri, "sip:a@b@c", 400, "Request-URI");
    check_refused(uri, "a@b", 400, "Request-URI");
    check_refused(uri, "", 400, "Request-URI");
}

#[test]
fn what_is_not_sip_is_not_answered() {
    for text in [
        "",
        "\r\n\r\n",
        "GET / HTTP/1.1\r\n\r\n",
        "INVITE\r\n\r\n",
        "SIP/2.0\r\n\r\n",
        "\0\0\0\0",
        "SIP/2.0 99 x\r\n\r\n",
    ] {
        assert!(parse(text.as_bytes()).is_err(), "{text:?}");
    }
}

#[test]
fn limits_name_what_is_too_large() {
    let limits = Limits { message_bytes: 2_000, line_bytes: 100, header_count: 20, body_bytes: 10 };
    let check = |text: &str, why: &str| {
        let Message::Request(request) = Message::parse(text.as_bytes(), &limits).unwrap() else { panic!("a response") };
        let error = request.check().unwrap_err();
        assert_eq!(error.status(), StatusCode::MESSAGE_TOO_LARGE);
        assert!(error.to_string().contains(why), "{error}");
    };
    assert!(Message::parse(INVITE.as_bytes(), &limits).is_ok());
    check(&INVITE.replace("54", &"5".repeat(100)), "header line");
    check(&INVITE.replace("Timestamp: 54", &"a: 1\r\n".repeat(20)), "header count");
    check(&INVITE.replace("Content-Length: 5", "Content-Length: 11"), "Content-Length");
    let no_length = INVITE.replace("Content-Length: 5\r\n", "");
    check(&format!("{no_length}123456"), "body");
    let giant = Message::parse(&[b' '; 2_001], &limits).unwrap_err();
    assert_eq!((giant.header, giant.reason), ("message", Reason::TooLarge(2_000)));
}

#[test]
fn a_response_carries_what_the_rfc_wants_copied() {
    let invite = request(INVITE);
    let ringing = Response::to(&invite, StatusCode::RINGING, Some("b"));
    let names: Vec<_> = ringing.headers.iter().map(|field| field.name().as_str()).collect();
    assert_eq!(names, ["Via", "Record-Route", "From", "To", "Call-ID", "CSeq"]);
    assert_eq!(ringing.headers.to().unwrap().tag(), Some("b"));
    let trying = Response::to(&invite, StatusCode::TRYING, Some("b"));
    assert_eq!(trying.headers.to().unwrap().tag(), None);
    assert!(trying.headers.contains(&HeaderName::TIMESTAMP));
    let busy = Response::to(&invite, StatusCode::BUSY_HERE, Some("b"));
    assert!(!busy.headers.contains(&HeaderName::RECORD_ROUTE));
    assert!(busy.to_bytes().starts_with(b"SIP/2.0 486 Busy Here\r\n"));
    let in_dialog = request(&INVITE.replace("192.0.2.9>\r\n", "192.0.2.9>;tag=c\r\n"));
    assert_eq!(Response::to(&in_dialog, StatusCode::OK, Some("b")).headers.to().unwrap().tag(), Some("c"));
}

#[test]
fn a_response_with_a_hop_below_ours_is_not_ours() {
    let two = Response::to(&request(INVITE), StatusCode::OK, Some("b"));
    assert!(two.check().is_err());
    let mut one = two.clone();
    one.headers.pop_via().unwrap();
    one.check().unwrap();
    assert_eq!(one.headers.via().unwrap().branch(), Some("z9hG4bK0"));
    one.headers.pop_via().unwrap();
    assert!(one.headers.pop_via().is_err());
}

#[test]
fn the_topmost_via_is_replaced_and_the_others_stay() {
    let mut invite = request(INVITE);
    let mut top = invite.headers.via().unwrap();
    top.note_source("203.0.113.5:1024".parse().unwrap());
    invite.headers.replace_top_via(&top).unwrap();
    let vias = invite.headers.vias().unwrap();
    assert_eq!(vias[0].rport(), Some(1024));
    assert_eq!(vias[1].branch(), Some("z9hG4bK0"));
    assert_eq!(vias.len(), 2);
}

#[test]
fn our_own_values_cannot_grow_into_another_header() {
    let mut invite = request(INVITE);
    invite.headers.push(HeaderName::SUBJECT, "a\r\nContact: <sip:evil@x>\r\n\r\n");
    let again = request(std::str::from_utf8(&invite.to_bytes()).unwrap());
    assert_eq!(again.headers.contacts().unwrap().len(), 1);
    again.check().unwrap();
}

/// Everything that can be asked of a message.
fn ask_everything(message: &Message) {
    let headers = message.headers();
    let _ = (headers.vias(), headers.from(), headers.to(), headers.call_id(), headers.cseq(), headers.contacts());
    let _ = (headers.max_forwards(), headers.content_type(), headers.route(), headers.record_route(), headers.date());
    let _ = (headers.require(), headers.proxy_require(), headers.supported(), headers.unsupported(), headers.allow());
    let _ = (headers.accept(), headers.expires(), headers.min_expires(), headers.retry_after(), headers.reasons());
    let _ = headers.warnings();
    match message {
        Message::Request(request) => {
            let _ = (request.check(), request.check_body(&[]), request.check_accept("a", "b"));
            let mut response = Response::to(request, StatusCode::OK, Some("tag"));
            let _ = (response.headers.pop_via(), response.to_bytes());
        }
        Message::Response(response) => {
            let _ = response.check();
        }
    }
}

/// Start line, headers, body.
type Essence = (String, Vec<(HeaderName, Vec<u8>)>, Vec<u8>);

/// What matters about a message, without Content-Length, which printing makes true.
fn essence(message: &Message) -> Essence {
    let fields = message.headers().iter().filter(|field| *field.name() != HeaderName::CONTENT_LENGTH);
    let fields = fields.map(|field| (field.name().clone(), field.value().to_vec())).collect();
    match message {
        Message::Request(request) => (format!("{} {}", request.method, request.uri), fields, request.body.clone()),
        Message::Response(response) => {
            (format!("{} {:?}", response.status, response.reason), fields, response.body.clone())
        }
    }
}

/// One edit of a valid message: replace, insert or cut some bytes.
fn mutated() -> impl Strategy<Value = Vec<u8>> {
    let spice = prop_oneof![
        Just(b"\r\n".to_vec()),
        Just(b"\r\n ".to_vec()),
        Just(b"\"".to_vec()),
        Just(b"<".to_vec()),
        Just(b">;,;".to_vec()),
        Just(b"99999999999999999999".to_vec()),
        Just(b"(\\".to_vec()),
        Just(b"%0".to_vec()),
        Just(b"[::".to_vec()),
        prop::collection::vec(any::<u8>(), 0..6),
    ];
    prop::collection::vec((any::<prop::sample::Index>(), 0..12_usize, spice), 1..5).prop_map(|edits| {
        edits.into_iter().fold(INVITE.as_bytes().to_vec(), |mut bytes, (at, cut, spice)| {
            let at = at.index(bytes.len() + 1);
            let end = (at + cut).min(bytes.len());
            bytes.splice(at..end, spice);
            bytes
        })
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn no_bytes_make_the_parser_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        if let Ok(message) = parse(&bytes) {
            ask_everything(&message);
        }
        let mut framer = framing::StreamFramer::new(Limits::default());
        let _ = framer.push(&bytes);
        while let Ok(Some(_)) = framer.poll() {}
    }

    #[test]
    fn no_edit_of_a_valid_message_makes_the_parser_panic(bytes in mutated()) {
        if let Ok(message) = parse(&bytes) {
            ask_everything(&message);
        }
        let mut framer = framing::StreamFramer::new(Limits::default());
        for byte in &bytes {
            let _ = framer.push(&[*byte]);
            while let Ok(Some(_)) = framer.poll() {}
        }
    }

    #[test]
    fn what_was_accepted_says_the_same_after_printing(bytes in mutated()) {
        let Ok(message) = parse(&bytes) else { return Ok(()) };
        let accepted = match &message {
            Message::Request(request) => request.check().is_ok(),
            Message::Response(response) => response.check().is_ok(),
        };
        if accepted {
            let printed = message.to_bytes();
            let again = parse(&printed).expect("what we print parses");
            prop_assert_eq!(essence(&again), essence(&message));
            prop_assert_eq!(again.to_bytes(), printed);
        }
    }
}
