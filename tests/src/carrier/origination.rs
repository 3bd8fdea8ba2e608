//! Calls that the carrier brings ("origination"): the first address that takes them, and the next after silence or a
//! refusal that another address might not repeat.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::description::Description;
use super::dialog::{ALLOW, Dialog, contact, judge_response};
use super::message::{Message, host_in, parameter, uri_in};
use super::sound::Sound;
use super::termination::Call;
use super::{Carrier, Shared, token, with_body};

/// Without any answer for so long, the next address is tried.
const SILENCE: Duration = Duration::from_secs(4);
/// RFC 3261 §17.1.1.1.
const T1: Duration = Duration::from_millis(500);
/// How long somebody lets it ring.
const PATIENCE: Duration = Duration::from_secs(60);
/// The tag of the one key in an offer.
const OFFERED_KEY: &str = "1";
/// Who calls.
const CALLER: &str = "+13105550177";

/// A call that the carrier wanted to bring.
#[derive(Debug)]
pub struct Placed {
    /// What became of it at each address that was tried.
    pub attempts: Vec<Attempt>,
    /// If somebody answered.
    pub call: Option<Call>,
}

/// One address that was tried.
#[derive(Debug)]
pub struct Attempt {
    /// The final response; nothing if there was only silence.
    pub response: Option<Message>,
    /// How long it took to come, or to be given up.
    pub took: Duration,
    /// What came before it.
    pub provisional: Vec<u16>,
}

impl Attempt {
    /// The status of the final response.
    pub fn status(&self) -> Option<u16> {
        self.response.as_ref().and_then(Message::status)
    }
}

/// What ends the call, wherever else it could go.
pub fn stops_failover(status: u16) -> bool {
    matches!(status, 200..=299 | 400 | 404 | 405 | 410 | 416 | 482 | 484 | 486 | 600..=699)
}

impl Carrier {
    /// Somebody calls `number`; the addresses are tried in their order.
    ///
    /// # Panics
    /// When the box answers with nonsense.
    pub fn call(&self, addresses: &[SocketAddr], number: &str) -> Placed {
        self.place(addresses, number, "")
    }

    /// As [`call`](Carrier::call), in the place of a call that is up, as Replaces names it (RFC 3891).
    ///
    /// # Panics
    /// As there.
    pub fn call_in_place_of(&self, replaced: &str, address: SocketAddr, number: &str) -> Placed {
        self.place(&[address], number, &format!("Require: replaces\r\nReplaces: {replaced}\r\n"))
    }

    fn place(&self, addresses: &[SocketAddr], number: &str, headers: &str) -> Placed {
        let sound = self.shared.sound();
        let mut attempts = Vec::new();
        for peer in addresses {
            let mut dialog = self.shared.outgoing(*peer, number, &sound);
            let (attempt, request) = self.shared.attempt(&dialog, *peer, headers);
            let status = attempt.status();
            let response = attempt.response.clone();
            attempts.push(attempt);
            match (status, response) {
                (Some(200..=299), Some(response)) => {
                    let remote = Description::read(&response.body, self.shared.suite);
                    sound.connect(&remote.unwrap_or_else(|fault| panic!("{fault}")));
                    let target = uri_in(response.header("Contact"));
                    (dialog.target, dialog.remote) = (target.to_owned(), response.header("To").to_owned());
                    let call = self.shared.confirm(dialog, sound);
                    return Placed { attempts, call: Some(call) };
                }
                (Some(status), Some(response)) => {
                    self.shared.send(&ack_of_refusal(&request, &response), *peer);
                    if stops_failover(status) {
                        break;
                    }
                }
                (_, _) => {}
            }
        }
        Placed { attempts, call: None }
    }

    /// Asks with OPTIONS whether somebody is there: the status, if there is an answer within 4 s.
    pub fn ping(&self, peer: SocketAddr) -> Option<u16> {
        let (branch, shared) = (format!("z9hG4bK{}", token()), &self.shared);
        let head = format!(
            "OPTIONS sip:{peer} SIP/2.0\r\n{}From: <sip:ping@{}>;tag={}\r\n\
             To: <sip:{peer}>\r\nCall-ID: {}@0.0.0.0\r\nCSeq: 1 OPTIONS\r\nMax-Forwards: 70\r\n",
            shared.edge.via(&branch),
            shared.account.domain,
            token(),
            token()
        );
        let text = with_body(&head, "");
        let request = Message::parse(text.as_bytes()).unwrap();
        shared.send(&text, peer);
        shared.response_to(&request, peer, SILENCE, &mut || {}).and_then(|response| response.status())
    }
}

impl Shared {
    /// A call to `number` at `peer`, before it is answered.
    fn outgoing(&self, peer: SocketAddr, number: &str, sound: &Sound) -> Dialog {
        let tag = token();
        Dialog {
            call_id: format!("{}{}@0.0.0.0", token(), token()),
            local: format!("<sip:{CALLER}@{}>;tag={tag}", self.account.domain),
            remote: format!("<sip:{number}@{peer}>"),
            target: format!("sip:{number}@{peer}"),
            contact: contact(CALLER),
            route: self.edge.route(&tag),
            cseq: 1,
            remote_cseq: 0,
            acknowledged: None,
            flow: peer,
            sdp: sound.sdp(OFFERED_KEY),
            bye: None,
        }
    }

    fn attempt(&self, dialog: &Dialog, peer: SocketAddr, headers: &str) -> (Attempt, Message) {
        let text = self.invite(dialog, headers);
        let request = Message::parse(text.as_bytes()).unwrap();
        let began = Instant::now();
        let (mut provisional, mut tag) = (Vec::new(), None);
        let mut repeat = Repeat { at: began + T1, interval: T1 };
        self.send(&text, peer);
        let response = loop {
            let is_silent = provisional.is_empty();
            let limit = if is_silent { SILENCE } else { PATIENCE }.saturating_sub(began.elapsed());
            let mut repeat = || {
                if is_silent && repeat.is_due() {
                    self.send(&text, peer);
                }
            };
            let Some(response) = self.response_to(&request, peer, limit, &mut repeat) else { break None };
            let status = response.status().unwrap_or_default();
            let its_tag = parameter(response.header("To"), "tag").map(str::to_owned);
            if tag.is_some() && its_tag != tag {
                self.state().faults.push(format!("the tag has changed from {tag:?} to {its_tag:?}"));
            }
            tag = its_tag;
            if status >= 200 {
                break Some(response);
            }
            provisional.push(status);
        };
        (Attempt { response, took: began.elapsed(), provisional }, request)
    }

    fn invite(&self, dialog: &Dialog, headers: &str) -> String {
        let Dialog { target, local, remote, call_id, contact, cseq, route: [edge, inside], sdp, .. } = dialog;
        let number = uri_in(remote).split('@').next().unwrap_or_default();
        let head = format!(
            "INVITE {target} SIP/2.0\r\nRecord-Route: {edge}\r\nRecord-Route: {inside}\r\nCSeq: {cseq} INVITE\r\n\
             From: {local}\r\nTo: {remote}\r\nMax-Forwards: 66\r\n\
             P-Asserted-Identity: <sip:{CALLER}@{address}>\r\nDiversion: <{number}@twilio.com>;reason=unconditional\r\n\
             Call-ID: {call_id}\r\n{vias}Contact: {contact}\r\nAllow: {ALLOW}\r\nUser-Agent: Twilio Gateway\r\n\
             X-Twilio-AccountSid: AC{account}\r\nX-Twilio-CallSid: CA{call}\r\n{headers}",
            address = self.edge.address,
            vias = self.edge.vias(&format!("z9hG4bK{}", token())),
            account = token(),
            call = token(),
        );
        with_body(&head, sdp)
    }

    /// Acknowledges the 2xx that has completed `dialog`.
    fn confirm(self: &Arc<Shared>, dialog: Dialog, sound: Sound) -> Call {
        let peer = host_in(&dialog.target).parse().expect("an address in the box's Contact");
        let call_id = dialog.call_id.clone();
        let ack = with_body(&dialog.request("ACK", self.edge, &format!("z9hG4bK{}", token())), "");
        self.state().dialogs.push(dialog);
        self.send(&ack, peer);
        Call { shared: Arc::clone(self), call_id, sound }
    }

    /// The next response to `request` of ours, looked for repeatedly; its faults are noted.
    pub(super) fn response_to(
        &self,
        request: &Message,
        peer: SocketAddr,
        limit: Duration,
        meanwhile: &mut dyn FnMut(),
    ) -> Option<Message> {
        let (branch, method) = (request.branch()?, request.method()?);
        let response = crate::poll(limit, || {
            meanwhile();
            let mut state = self.state();
            let at = state.responses.iter().position(|response| response.answers(branch, method))?;
            Some(state.responses.remove(at))
        })?;
        let faults = judge_response(&response, request, peer, self.edge);
        self.state().faults.extend(faults);
        Some(response)
    }
}

/// When an unanswered request is sent again.
struct Repeat {
    at: Instant,
    interval: Duration,
}

impl Repeat {
    fn is_due(&mut self) -> bool {
        let is_due = Instant::now() >= self.at;
        if is_due {
            self.interval *= 2;
            self.at += self.interval;
        }
        is_due
    }
}

/// RFC 3261 §17.1.1.3.
fn ack_of_refusal(request: &Message, response: &Message) -> String {
    let head = format!(
        "ACK {} SIP/2.0\r\nVia: {}\r\nFrom: {}\r\nTo: {}\r\nCall-ID: {}\r\nCSeq: {} ACK\r\nMax-Forwards: 66\r\n",
        request.uri(),
        request.header("Via"),
        request.header("From"),
        response.header("To"),
        request.header("Call-ID"),
        request.cseq().0
    );
    with_body(&head, "")
}
