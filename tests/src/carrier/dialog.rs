//! What the carrier knows of one call (RFC 3261 §12), and what it holds the box to within it.

use std::net::{IpAddr, SocketAddr};

use super::message::{Message, host_in, parameter, uri_in, user_in};

/// Where the carrier's own machines are: nobody outside reaches them.
const INSIDE: &str = "172.25.10.5:5060";
/// What the carrier understands.
pub(super) const ALLOW: &str = "INVITE, ACK, CANCEL, OPTIONS, BYE, REFER, NOTIFY";

/// One call, seen from the carrier.
#[derive(Debug, Clone)]
pub(super) struct Dialog {
    pub(super) call_id: String,
    /// Our address of record with our tag.
    pub(super) local: String,
    /// The box's, with its tag once it has one.
    pub(super) remote: String,
    /// Where the box wants requests.
    pub(super) target: String,
    /// Our Contact.
    pub(super) contact: String,
    /// What the box has to send along, in this order.
    pub(super) route: [String; 2],
    /// Of our latest request.
    pub(super) cseq: u32,
    /// Of the box's latest request.
    pub(super) remote_cseq: u32,
    /// Of the INVITE whose 2xx the box has acknowledged.
    pub(super) acknowledged: Option<u32>,
    /// The other end of the connection it was set up on, which carries all of it; of no meaning without connections.
    pub(super) flow: SocketAddr,
    /// The description we gave.
    pub(super) sdp: String,
    /// The BYE of the box.
    pub(super) bye: Option<Message>,
}

/// The proxy that the box sees.
#[derive(Debug, Clone, Copy)]
pub(super) struct Edge {
    pub(super) address: SocketAddr,
    pub(super) is_tls: bool,
}

impl Edge {
    fn transport(self) -> &'static str {
        if self.is_tls { "TLS" } else { "UDP" }
    }

    /// The Record-Route headers of a request through the proxies: the one next to the box first. Behind it is UDP.
    pub(super) fn route(self, tag: &str) -> [String; 2] {
        let (edge, transport) = (self.address, if self.is_tls { ";transport=tls" } else { "" });
        [format!("<sip:{edge}{transport};r2=on;lr;ftag={tag}>"), format!("<sip:{INSIDE};r2=on;lr;ftag={tag}>")]
    }

    /// The Via of a request of the edge's own.
    pub(super) fn via(self, branch: &str) -> String {
        format!("Via: SIP/2.0/{} {};branch={branch}\r\n", self.transport(), self.address)
    }

    /// The Via headers of a request through the proxies.
    pub(super) fn vias(self, branch: &str) -> String {
        let inside = format!("{INSIDE};rport=5060;received=172.25.10.5;branch={branch}-inside");
        format!("{}Via: SIP/2.0/UDP {inside}\r\n", self.via(branch))
    }
}

/// Where the carrier itself would be reached, by whoever went through its proxies.
pub(super) fn contact(number: &str) -> String {
    format!("<sip:{number}@{INSIDE};transport=udp>")
}

impl Dialog {
    /// What is wrong with a request of the box within the call.
    pub(super) fn judge(&mut self, request: &Message) -> Vec<String> {
        let mut faults = Vec::new();
        let (method, (cseq, _)) = (request.method().unwrap_or_default(), request.cseq());
        let mut expect = |what: &str, is: &str, wanted: &str| {
            if is != wanted {
                faults.push(format!("{what} of a {method} is {is:?}, not {wanted:?}"));
            }
        };
        expect("Request-URI", request.uri(), uri_in(&self.contact));
        expect("Route", &request.list("Route").join(", "), &self.route.join(", "));
        let tag = |value: &str| parameter(value, "tag").unwrap_or_default().to_owned();
        expect("tag in To", &tag(request.header("To")), &tag(&self.local));
        expect("tag in From", &tag(request.header("From")), &tag(&self.remote));
        match method {
            "ACK" if cseq <= self.remote_cseq.max(self.cseq) => {}
            "ACK" => faults.push(format!("an ACK for {cseq}, which was no INVITE")),
            _ if cseq > self.remote_cseq => self.remote_cseq = cseq,
            _ => faults.push(format!("CSeq of a {method} is {cseq}, after {}", self.remote_cseq)),
        }
        faults
    }

    /// The head of a request of ours; what follows is more headers and the body.
    pub(super) fn request(&self, method: &str, edge: Edge, branch: &str) -> String {
        let Dialog { target, local, remote, call_id, contact, cseq, .. } = self;
        format!(
            "{method} {target} SIP/2.0\r\n{}From: {local}\r\nTo: {remote}\r\nCall-ID: {call_id}\r\nCSeq: {cseq} {method}\r\n\
             Max-Forwards: 69\r\nContact: {contact}\r\nUser-Agent: Twilio Gateway\r\n",
            edge.vias(branch)
        )
    }
}

/// What is wrong with a request of the box, whatever call it is in.
pub(super) fn judge_request(request: &Message, peer: SocketAddr, edge: Edge) -> Vec<String> {
    let method = request.method().unwrap_or_default();
    let mut faults = Vec::new();
    let mut check = |holds: bool, what: &str| {
        if !holds {
            faults.push(format!("{what} in a {method}:\n{request:?}"));
        }
    };
    let sent_by = request.header("Via").split(';').next().unwrap_or_default();
    let host = sent_by.strip_prefix(&format!("SIP/2.0/{} ", edge.transport())).unwrap_or_default();
    // A connection comes from any port, so a Via names the port that is listened at.
    let is_its_own = if edge.is_tls { is_at(host, peer.ip()) } else { host == peer.to_string() };
    check(is_its_own, "a Via that is not where it came from");
    check(request.branch().is_some_and(|branch| branch.starts_with("z9hG4bK")), "no branch of RFC 3261");
    check(request.header("Max-Forwards") == "70", "no Max-Forwards: 70");
    check(parameter(request.header("From"), "tag").is_some(), "no tag in From");
    check(request.cseq().1 == method, "another method in CSeq");
    check(!request.list("Require").iter().any(|option| option == "100rel"), "an extension we do not have");
    if method == "INVITE" {
        let contact = uri_in(request.header("Contact"));
        check(host_in(contact) == host, "a Contact that is not reachable");
        check(contact.ends_with(";transport=tls") == edge.is_tls, "a Contact for another transport");
    }
    check(ALLOW.split(", ").any(|known| known == method), "a method that is not in our Allow");
    faults
}

fn is_at(host_and_port: &str, address: IpAddr) -> bool {
    host_and_port.parse::<SocketAddr>().is_ok_and(|socket| socket.ip() == address)
}

/// What is wrong with the response of the box at `peer` to `request`.
pub(super) fn judge_response(response: &Message, request: &Message, peer: SocketAddr, edge: Edge) -> Vec<String> {
    let status = response.status().unwrap_or_default();
    let mut faults = Vec::new();
    let mut expect = |what: &str, is: String, wanted: String| {
        if is != wanted {
            faults.push(format!("{what} of a {status} is\n{is}, not\n{wanted}"));
        }
    };
    let both = |name: &str| (response.all(name).join("\n"), request.all(name).join("\n"));
    for name in ["Via", "Call-ID", "CSeq", "From"] {
        let (is, wanted) = both(name);
        expect(name, is, wanted);
    }
    expect("address in To", uri_in(response.header("To")).to_owned(), uri_in(request.header("To")).to_owned());
    let makes_dialog = request.method() == Some("INVITE") && (101..300).contains(&status);
    if makes_dialog {
        let (is, wanted) = both("Record-Route");
        expect("Record-Route", is, wanted);
        let contact = uri_in(response.header("Contact"));
        expect("host in Contact", host_in(contact).to_owned(), peer.to_string());
        expect("TLS in Contact", contact.ends_with(";transport=tls").to_string(), edge.is_tls.to_string());
    }
    if status > 100 && parameter(response.header("To"), "tag").is_none() {
        faults.push(format!("no tag in the To of a {status}"));
    }
    if response.list("Require").iter().any(|option| matches!(option.as_str(), "timer" | "100rel")) {
        faults.push(format!("a {status} that requires what we have not said to support"));
    }
    faults
}

/// The number in a header with a name and address.
pub(super) fn number_in(value: &str) -> &str {
    user_in(uri_in(value))
}
