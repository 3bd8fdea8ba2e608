//! Another SIP parser, rsip 0.4, as the second opinion on ordinary messages.
//!
//! On messages as trunks and desk phones send them both have to agree. Where they do not, rsip is wrong by RFC 3261;
//! each such case is asserted here, so that an update of rsip that mends it is noticed.

use std::panic::catch_unwind;

use rsip::SipMessage;
use rsip::prelude::{HeadersExt, ToTypedHeader, UntypedHeader};
use sip_stack::message::{Limits, Message};

/// What both have to see in the same way.
#[derive(Debug, PartialEq, Eq)]
struct Essence {
    /// Method or status.
    start: String,
    call_id: String,
    cseq: (u32, String),
    branch: String,
    body: Vec<u8>,
}

#[test]
fn both_read_ordinary_messages_alike() {
    let mut compared = 0;
    for start in ["INVITE", "ACK", "BYE", "CANCEL", "OPTIONS", "REGISTER", "200 OK", "180 Ringing", "503 Busy"] {
        for host in ["192.0.2.1", "192.0.2.1:5070", "pbx.example.com", "pbx.example.com:5061"] {
            for name in ["", "\"Alice\" ", "\"Alice \\\"A\\\" Smith\" ", "Alice "] {
                for body in ["", "v=0\r\n", "v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nt=0 0\r\n"] {
                    let text = message(start, host, name, body, compared);
                    let found = ours(text.as_bytes());
                    assert!(found.is_some(), "{text}");
                    assert_eq!(found, theirs(text.as_bytes()), "{text}");
                    compared += 1;
                }
            }
        }
    }
    assert_eq!(compared, 9 * 4 * 4 * 3);
}

/// Valid by RFC 3261, and rsip gets it wrong.
#[test]
fn where_rsip_is_known_to_be_wrong() {
    let usual = message("INVITE", "192.0.2.1", "", "v=0\r\n", 1);
    let variants = [
        ("compact names", usual.replace("Call-ID", "i").replace("Via", "v")),
        ("folded lines", usual.replace("CSeq: 1 ", "CSeq: 1\r\n ")),
        ("bytes after the body", format!("{usual}trailing")),
        ("IPv6 in Via", usual.replace("UDP 192.0.2.1", "UDP [2001:db8::1]")),
        ("a tel URI", usual.replacen("sip:bob@192.0.2.1", "tel:+15550100", 1)),
        ("white space before the colon", usual.replace("Call-ID:", "Call-ID :")),
    ];
    let expected = ours(usual.as_bytes());
    assert_eq!(expected, theirs(usual.as_bytes()));
    for (what, text) in variants {
        assert_ne!(text, usual, "{what}");
        assert_eq!(ours(text.as_bytes()), expected, "{what}");
        assert_ne!(theirs(text.as_bytes()), expected, "rsip has learnt {what}: move it to the other test");
    }
}

#[test]
fn both_keep_bodies_that_are_not_text() {
    for body in [b"\xff\xfe\0\x80\x81\x82", b"\r\n\r\na:", b"--\r\n\r\n"] {
        let mut bytes = message("MESSAGE", "192.0.2.1", "", "??????", 1).into_bytes();
        let body_at = bytes.len() - body.len();
        bytes[body_at..].copy_from_slice(body);
        assert_eq!(ours(&bytes).unwrap().body, body);
        assert_eq!(ours(&bytes), theirs(&bytes));
    }
}

fn message(start: &str, host: &str, name: &str, body: &str, number: u32) -> String {
    let is_response = start.starts_with(|first: char| first.is_ascii_digit());
    let method = if is_response { "INVITE" } else { start };
    let start_line = if is_response { format!("SIP/2.0 {start}") } else { format!("{start} sip:bob@{host} SIP/2.0") };
    let length = body.len();
    format!(
        "{start_line}\r\n\
         Via: SIP/2.0/UDP {host};branch=z9hG4bK{number};rport\r\n\
         Max-Forwards: 70\r\n\
         From: {name}<sip:alice@{host}>;tag=f{number}\r\n\
         To: <sip:bob@{host}>\r\n\
         Call-ID: {number}@{host}\r\n\
         CSeq: 1 {method}\r\n\
         Contact: <sip:alice@{host};transport=udp>\r\n\
         User-Agent: phone/1.0\r\n\
         X-Unknown: {number}\r\n\
         Content-Type: application/sdp\r\n\
         Content-Length: {length}\r\n\
         \r\n\
         {body}"
    )
}

fn ours(bytes: &[u8]) -> Option<Essence> {
    let message = Message::parse(bytes, &Limits::default()).ok()?;
    let headers = message.headers();
    let cseq = headers.cseq().ok()?;
    let (start, body) = match &message {
        Message::Request(request) => (request.method.to_string(), request.body.clone()),
        Message::Response(response) => (response.status.to_string(), response.body.clone()),
    };
    Some(Essence {
        start,
        call_id: headers.call_id().ok()?,
        cseq: (cseq.number, cseq.method.to_string()),
        branch: headers.via().ok()?.branch()?.to_owned(),
        body,
    })
}

/// rsip may panic on what it does not expect; that is an opinion, too.
fn theirs(bytes: &[u8]) -> Option<Essence> {
    let bytes = bytes.to_vec();
    catch_unwind(|| read_with_rsip(bytes)).ok().flatten()
}

fn read_with_rsip(bytes: Vec<u8>) -> Option<Essence> {
    let message = SipMessage::try_from(bytes).ok()?;
    let cseq = message.cseq_header().ok()?.typed().ok()?;
    let via = message.via_header().ok()?.typed().ok()?;
    let call_id = message.call_id_header().ok()?.value().to_owned();
    let (start, body) = match message {
        SipMessage::Request(request) => (request.method.to_string(), request.body),
        SipMessage::Response(response) => (response.status_code.code().to_string(), response.body),
    };
    let branch = via.branch()?.value().to_owned();
    Some(Essence { start, call_id, cseq: (cseq.seq, cseq.method.to_string()), branch, body })
}
