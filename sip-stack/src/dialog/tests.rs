use super::*;
use crate::endpoint::{EndpointConfig, FlowId, Transport};
use crate::message::{Limits, Message};

fn parse(text: &str) -> Message {
    Message::parse(text.replace('\n', "\r\n").as_bytes(), &Limits::default()).unwrap()
}

fn invite(extra: &str) -> Request {
    let text = format!(
        "INVITE sip:100@gw SIP/2.0\nVia: SIP/2.0/UDP a;branch=z9hG4bKx\nFrom: <sip:a@b>;tag=theirs\nTo: <sip:100@gw>\n\
         Call-ID: c\nCSeq: 7 INVITE\nContact: <sip:a@192.0.2.7:5070>\n{extra}\n"
    );
    match parse(&text) {
        Message::Request(request) => request,
        Message::Response(_) => unreachable!("it starts with a method"),
    }
}

fn source() -> Source {
    let [local, peer] = ["192.0.2.1:5060", "192.0.2.9:5062"].map(|address| address.parse().unwrap());
    Source { transport: Transport::Udp, local, peer, flow: None }
}

fn contact() -> NameAddr {
    NameAddr::new(Uri::parse(b"sip:offhook@192.0.2.1").unwrap())
}

fn uas(extra: &str) -> Dialog {
    Dialog::of_request(&invite(extra), "ours", contact(), source()).unwrap()
}

fn routes(request: &Request) -> Vec<String> {
    request.headers.route().unwrap().iter().map(|hop| hop.uri.to_string()).collect()
}

#[test]
fn a_uas_request_turns_from_and_to_round() {
    let bye = uas("").request(Method::Bye);
    assert_eq!(bye.uri.to_string(), "sip:a@192.0.2.7:5070");
    assert_eq!(bye.headers.from().unwrap().tag(), Some("ours"));
    assert_eq!(bye.headers.to().unwrap().tag(), Some("theirs"));
    assert_eq!(bye.headers.cseq().unwrap(), CSeq { number: 1, method: Method::Bye });
}

#[test]
fn a_uas_visits_loose_routers_as_recorded() {
    let bye = uas("Record-Route: <sip:p1;lr>, <sip:p2;lr>\nRecord-Route: <sip:p3;lr>\n").request(Method::Bye);
    assert_eq!(routes(&bye), ["sip:p1;lr", "sip:p2;lr", "sip:p3;lr"]);
    assert_eq!(bye.uri.to_string(), "sip:a@192.0.2.7:5070");
}

#[test]
fn a_strict_router_becomes_the_request_uri_and_the_target_comes_last() {
    let bye = uas("Record-Route: <sip:p1>, <sip:p2;lr>\n").request(Method::Bye);
    assert_eq!(bye.uri.to_string(), "sip:p1");
    assert_eq!(routes(&bye), ["sip:p2;lr", "sip:a@192.0.2.7:5070"]);
}

#[test]
fn a_uac_visits_them_the_other_way_round_and_acks_with_the_invites_number() {
    let text = "SIP/2.0 200 OK\nVia: SIP/2.0/UDP a;branch=z9hG4bKx\nFrom: <sip:a@b>;tag=theirs\n\
                To: <sip:100@gw>;tag=far\nCall-ID: c\nCSeq: 7 INVITE\nContact: <sip:100@192.0.2.8>\n\
                Record-Route: <sip:p1;lr>, <sip:p2;lr>\n\n";
    let Message::Response(response) = parse(text) else { unreachable!("it starts with SIP/2.0") };
    let mut dialog = Dialog::of_response(&invite(""), &response, contact(), source()).unwrap();
    let ack = dialog.ack(7);
    assert_eq!(routes(&ack), ["sip:p2;lr", "sip:p1;lr"]);
    assert_eq!(ack.uri.to_string(), "sip:100@192.0.2.8");
    assert_eq!(ack.headers.cseq().unwrap(), CSeq { number: 7, method: Method::Ack });
    assert_eq!(dialog.request(Method::Bye).headers.cseq().unwrap().number, 8);
}

#[test]
fn requests_out_of_order_are_refused_with_500() {
    let mut dialog = uas("");
    assert_eq!(dialog.check_cseq(8), Ok(()));
    assert_eq!(dialog.check_cseq(7).unwrap_err().status().as_u16(), 500);
    assert_eq!(dialog.check_cseq(20), Ok(()), "gaps are no error");
}

#[test]
fn a_dialog_needs_a_contact() {
    let mut request = invite("");
    request.headers.remove(&HeaderName::CONTACT);
    let error = Dialog::of_request(&request, "ours", contact(), source()).unwrap_err();
    assert_eq!(error.status().as_u16(), 400);
}

#[test]
fn a_target_refresh_moves_the_target_and_keeps_the_route_set() {
    let mut dialog = uas("Record-Route: <sip:p1;lr>\n");
    dialog.refresh_target(Some(NameAddr::new(Uri::parse(b"sip:moved@192.0.2.99").unwrap())));
    let bye = dialog.request(Method::Bye);
    assert_eq!((bye.uri.to_string(), routes(&bye)), ("sip:moved@192.0.2.99".to_owned(), vec!["sip:p1;lr".to_owned()]));
}

#[test]
fn requests_go_to_the_next_hop_or_stay_on_the_open_connection() {
    let config = EndpointConfig::new("192.0.2.1:5060".parse().unwrap(), [0; 32]);
    let peer = |dialog: &Dialog, open| path_to(dialog, &config, |_: FlowId| open).peer.to_string();
    assert_eq!(peer(&uas(""), false), "192.0.2.7:5070");
    assert_eq!(peer(&uas("Record-Route: <sip:198.51.100.3;lr>\n"), false), "198.51.100.3:5060");
    assert_eq!(peer(&uas("Record-Route: <sip:proxy.example.com;lr>\n"), false), "192.0.2.9:5062", "no lookups here");
    let mut tcp = uas("");
    tcp.path.flow = Some(FlowId(3));
    assert_eq!(peer(&tcp, true), "192.0.2.9:5062");
    assert_eq!(peer(&tcp, false), "192.0.2.7:5070");
}
