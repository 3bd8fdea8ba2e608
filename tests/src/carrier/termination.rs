//! Calls of the box through the carrier ("termination"): who calls, whom, and whether that may be; and a call that is up,
//! whoever made it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use super::description::Description;
use super::dialog::{ALLOW, Dialog, contact, number_in};
use super::message::{Message, host_in, is_e164, is_emergency, parameter, uri_in, user_in};
use super::sound::{Heard, Sound};
use super::{Carrier, LIMIT, Shared, digest, token, with_body};

/// An INVITE of the box and what became of it.
#[derive(Debug)]
pub(super) struct ServerInvite {
    request: Message,
    peer: SocketAddr,
    /// Our tag.
    tag: String,
    /// What we said last, for repeats.
    response: String,
    stage: Stage,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// It rings, and nobody has asked for it yet.
    Ringing,
    /// It rings, and whoever asked decides.
    Taken,
    Answered,
    /// With the nonce of our challenge, if it was one.
    Refused,
    /// The same, and the box has acknowledged it.
    Acknowledged,
    Cancelled,
}

/// A call of the box that rings.
#[derive(Debug)]
pub struct Ringing {
    shared: Arc<Shared>,
    branch: String,
    /// The INVITE with which it came.
    pub request: Message,
    peer: SocketAddr,
    /// What the box hears before the answer, with the tag of the key that it is encrypted under.
    early: Option<(Sound, String)>,
}

/// A call that is up.
#[derive(Debug)]
pub struct Call {
    pub(super) shared: Arc<Shared>,
    pub(super) call_id: String,
    pub(super) sound: Sound,
}

impl Carrier {
    /// Waits until a call of the box rings, for as long as `limit`.
    ///
    /// # Panics
    /// When none does.
    pub fn wait_for_call(&self, limit: Duration) -> Ringing {
        let ringing = crate::poll(limit, || {
            let mut state = self.shared.state();
            let invite = state.invites.iter_mut().find(|invite| invite.stage == Stage::Ringing)?;
            invite.stage = Stage::Taken;
            let (request, peer) = (invite.request.clone(), invite.peer);
            let branch = request.branch()?.to_owned();
            Some(Ringing { shared: Arc::clone(&self.shared), branch, request, peer, early: None })
        });
        ringing.unwrap_or_else(|| panic!("no call of the box rings: {:?}", self.shared.state()))
    }
}

impl Ringing {
    fn open_sound(&self) -> (Sound, String) {
        let sound = self.shared.sound();
        let remote = Description::read(&self.request.body, self.shared.suite).unwrap_or_else(|fault| panic!("{fault}"));
        sound.connect(&remote);
        // RFC 4568 §5.1.2: ours answers the one we have taken.
        let key_tag = remote.key.map_or_else(String::new, |(tag, _)| tag);
        (sound, key_tag)
    }

    /// The carrier plays something before anybody picks up: its own ringing, or why there will be no answer.
    pub fn play_early(&mut self) {
        let (sound, key_tag) = self.open_sound();
        let tag = self.shared.tag_of(&self.branch);
        let [edge, inside] = self.shared.edge.route(&tag);
        let contact = contact(user_in(self.request.uri()));
        let headers = format!("Record-Route: {inside}\r\nRecord-Route: {edge}\r\nContact: {contact}\r\n");
        self.shared.respond(&self.request, self.peer, "183 Session Progress", &tag, &headers, &sound.sdp(&key_tag));
        self.early = Some((sound, key_tag));
    }

    /// Somebody outside picks up; returns when the box has acknowledged it.
    ///
    /// # Panics
    /// When it does not.
    pub fn answer(mut self) -> Call {
        let (sound, key_tag) = self.early.take().unwrap_or_else(|| self.open_sound());
        let call_id = self.request.header("Call-ID").to_owned();
        let (tag, number) = (self.shared.tag_of(&self.branch), user_in(self.request.uri()));
        let (cseq, _) = self.request.cseq();
        let dialog = Dialog {
            call_id: call_id.clone(),
            local: format!("{};tag={tag}", self.request.header("To")),
            remote: self.request.header("From").to_owned(),
            target: uri_in(self.request.header("Contact")).to_owned(),
            contact: contact(number),
            route: self.shared.edge.route(&tag),
            cseq: 0,
            remote_cseq: cseq,
            acknowledged: None,
            flow: self.peer,
            sdp: sound.sdp(&key_tag),
            bye: None,
        };
        let (headers, body) = (dialog.headers_of_response(), dialog.sdp.clone());
        self.shared.state().dialogs.push(dialog);
        self.shared.conclude(&self.branch, Stage::Answered);
        self.shared.respond(&self.request, self.peer, "200 OK", &tag, &headers, &body);
        let call = Call { shared: self.shared, call_id, sound };
        let acknowledged = crate::poll(LIMIT, || call.dialog().acknowledged.filter(|number| *number == cseq));
        assert!(acknowledged.is_some(), "the box does not acknowledge our 200");
        call
    }
}

impl Call {
    pub(super) fn dialog(&self) -> Dialog {
        let state = self.shared.state();
        state.dialogs.iter().find(|dialog| dialog.call_id == self.call_id).cloned().unwrap()
    }

    /// Where the box wants our sound.
    ///
    /// # Panics
    /// Before it has said so.
    pub fn sound_of_the_box(&self) -> SocketAddr {
        self.sound.remote().expect("a call that is up")
    }

    /// Lets both talk until as much sound has come.
    ///
    /// # Panics
    /// When it does not come.
    pub fn talk(&self, duration: Duration) {
        let until = self.sound.packets() + usize::try_from(duration.as_millis() / 20).unwrap_or(usize::MAX);
        let talked = crate::poll(duration + LIMIT, || (self.sound.packets() >= until).then_some(()));
        assert!(talked.is_some(), "{} packets of sound from the box, not {until}", self.sound.packets());
    }

    /// Waits for the box to hang up: its BYE and what was heard.
    ///
    /// # Panics
    /// When it does not.
    pub fn wait_for_bye(self) -> (Message, Heard) {
        let bye = crate::poll(LIMIT, || self.dialog().bye).expect("a BYE of the box");
        (bye, self.finish())
    }

    /// Waits for the box to ask for a transfer, which is accepted already: whom to call.
    ///
    /// # Panics
    /// When it does not.
    pub fn wait_for_refer(&self) -> String {
        let refer = crate::poll(LIMIT, || {
            let mut state = self.shared.state();
            let at = state.transfers.iter().position(|refer| refer.header("Call-ID") == self.call_id)?;
            Some(state.transfers.remove(at))
        });
        uri_in(refer.expect("a REFER of the box").header("Refer-To")).to_owned()
    }

    /// Tells the box how its transfer goes; after the last of it the box has to hang up.
    ///
    /// # Panics
    /// When the box does not want to know.
    pub fn notify(&self, status: &str, is_last: bool) {
        let state = if is_last { "terminated;reason=noresource" } else { "active;expires=60" };
        let headers = format!("Event: refer\r\nSubscription-State: {state}\r\nContent-Type: message/sipfrag\r\n");
        let fragment = format!("SIP/2.0 {status}\r\n");
        let headers = format!("{headers}Content-Length: {}\r\n\r\n{fragment}", fragment.len());
        let response = self.request("NOTIFY", &headers);
        assert_eq!(response.status(), Some(200), "{response:?}");
    }

    /// The carrier asks the box to connect its side with `target` instead; what the box says to that.
    ///
    /// # Panics
    /// When it says nothing.
    pub fn refer(&self, target: &str) -> Message {
        self.request("REFER", &with_body(&format!("Refer-To: <{target}>\r\n"), ""))
    }

    /// Whoever talks outside hangs up: what was heard.
    ///
    /// # Panics
    /// When the box does not confirm it.
    pub fn hang_up(self) -> Heard {
        let response = self.request("BYE", &with_body("Reason: Q.850;cause=16;text=\"Normal call clearing\"\r\n", ""));
        assert_eq!(response.status(), Some(200), "{response:?}");
        self.finish()
    }

    /// Sends a request of ours with what follows its head; the response to it.
    fn request(&self, method: &str, rest: &str) -> Message {
        let (shared, branch) = (Arc::clone(&self.shared), format!("z9hG4bK{}", token()));
        let (text, peer) = {
            let mut state = shared.state();
            let dialog = state.dialogs.iter_mut().find(|dialog| dialog.call_id == self.call_id).unwrap();
            dialog.cseq += 1;
            let text = format!("{}{rest}", dialog.request(method, shared.edge, &branch));
            (text, host_in(&dialog.target).parse().expect("an address in the box's Contact"))
        };
        let request = Message::parse(text.as_bytes()).unwrap();
        shared.send(&text, peer);
        let response = shared.response_to(&request, peer, LIMIT, &mut || {});
        response.unwrap_or_else(|| panic!("no response to our {method}"))
    }

    fn finish(self) -> Heard {
        let heard = self.sound.finish();
        self.shared.state().faults.extend(heard.faults.iter().cloned());
        heard
    }
}

impl Dialog {
    /// What a response of ours that makes the call known carries: the proxies have recorded their routes on the way to us.
    fn headers_of_response(&self) -> String {
        let [edge, inside] = &self.route;
        format!("Record-Route: {inside}\r\nRecord-Route: {edge}\r\nContact: {}\r\n", self.contact)
    }
}

impl Shared {
    /// A stream of ours, one address further than the signalling.
    pub(super) fn sound(&self) -> Sound {
        let [a, b, c, d] = match self.edge.address.ip() {
            std::net::IpAddr::V4(address) => address.octets(),
            std::net::IpAddr::V6(_) => unreachable!("bound to an IPv4 address"),
        };
        Sound::open([a, b, c, d + 1], self.account.tone_hz, self.suite)
    }

    /// A call of the box: a repeat, nonsense, somebody we do not know, or a call.
    pub(super) fn invited(&self, request: Message, peer: SocketAddr) {
        let branch = request.branch().unwrap_or_default().to_owned();
        let said = self.state().invites.iter().find(|one| one.is(&branch)).map(|one| one.response.clone());
        if let Some(response) = said {
            return self.send(&response, peer);
        }
        if host_in(request.uri()) != self.account.domain {
            // Silence: this is how scanners look.
            return self.state().faults.push(format!("a call to another domain: {}", request.uri()));
        }
        self.judge_sequence(&request);
        let verdict = self.verdict(&request);
        let invite = ServerInvite { request, peer, tag: token(), response: String::new(), stage: Stage::Refused };
        let (request, tag) = (invite.request.clone(), invite.tag.clone());
        self.state().invites.push(invite);
        match verdict {
            Verdict::Refuse(status, headers) => {
                self.state().refusals.push(status);
                let reason = if status == 407 { "Proxy Authentication required" } else { "Refused" };
                self.respond(&request, peer, &format!("{status} {reason}"), &tag, &headers, "");
            }
            Verdict::Ring => {
                self.respond(&request, peer, "100 Giving a try", "", "", "");
                self.conclude(&branch, Stage::Ringing);
                let [edge, inside] = self.edge.route(&tag);
                let contact = contact(user_in(request.uri()));
                let headers = format!("Record-Route: {inside}\r\nRecord-Route: {edge}\r\nContact: {contact}\r\n");
                self.respond(&request, peer, "180 Ringing", &tag, &headers, "");
            }
        }
    }

    /// The call with an answer to our challenge is the same call (RFC 3261 §22.2).
    fn judge_sequence(&self, request: &Message) {
        let mut state = self.state();
        let same_call = |one: &&ServerInvite| one.request.header("Call-ID") == request.header("Call-ID");
        let Some(before) = state.invites.iter().rfind(same_call) else { return };
        let is_next = request.cseq().0 == before.request.cseq().0 + 1;
        let same_caller = request.header("From") == before.request.header("From");
        let is_acknowledged = before.stage == Stage::Acknowledged;
        if !is_next || !same_caller || !is_acknowledged {
            let fault =
                format!("after {before:?}\nnothing acknowledged, or not the next of the same call: {request:?}");
            state.faults.push(fault);
        }
    }

    fn verdict(&self, request: &Message) -> Verdict {
        let (called, caller) = (user_in(request.uri()), number_in(request.header("From")));
        if !is_e164(caller) || !(is_e164(called) || is_emergency(called)) {
            return Verdict::Refuse(400, String::new());
        }
        let nonce = self.nonce_of(request.header("Call-ID"));
        if request.header("Proxy-Authorization").is_empty() {
            return Verdict::Refuse(407, format!("Proxy-Authenticate: {}\r\n", digest::challenge(&nonce)));
        }
        match digest::verify(request, &nonce, &self.account.username, &self.account.password) {
            Ok(()) => match Description::read(&request.body, self.suite) {
                Ok(_) => Verdict::Ring,
                Err(_) => Verdict::Refuse(488, String::new()),
            },
            Err(reason) => Verdict::Refuse(403, format!("X-Twilio-Error: {reason}\r\n")),
        }
    }

    /// One for each call.
    fn nonce_of(&self, call_id: &str) -> String {
        format!("nonce-of-{}", call_id.replace(|character: char| !character.is_ascii_alphanumeric(), "-"))
    }

    pub(super) fn reinvited(&self, request: &Message, peer: SocketAddr) {
        let Some((dialog, tag)) = self.in_dialog(request, peer) else {
            return self.respond(request, peer, "481 Call Does Not Exist", &token(), "", "");
        };
        let headers = format!("Contact: {}\r\n", dialog.contact);
        self.respond(request, peer, "200 OK", &tag, &headers, &dialog.sdp);
    }

    /// The box tells how a transfer of ours goes.
    pub(super) fn notified(&self, request: &Message, peer: SocketAddr) {
        let status = if self.in_dialog(request, peer).is_some() { "200 OK" } else { "481 Call Does Not Exist" };
        self.respond(request, peer, status, &token(), "", "");
    }

    /// The box wants the call sent on.
    pub(super) fn referred(&self, request: Message, peer: SocketAddr) {
        let Some((dialog, tag)) = self.in_dialog(&request, peer) else {
            return self.respond(&request, peer, "481 Call Does Not Exist", &token(), "", "");
        };
        if !self.state().takes_transfers {
            return self.respond(&request, peer, "405 Method Not Allowed", &tag, "", "");
        }
        let target = uri_in(request.header("Refer-To"));
        if !is_e164(user_in(target)) || host_in(target) != self.account.domain {
            self.state().faults.push(format!("a transfer to nobody we could call: {target}"));
        }
        self.respond(&request, peer, "202 Accepted", &tag, &format!("Contact: {}\r\n", dialog.contact), "");
        self.state().transfers.push(request);
    }

    pub(super) fn bye(&self, request: Message, peer: SocketAddr) {
        let Some((_, tag)) = self.in_dialog(&request, peer) else {
            return self.respond(&request, peer, "481 Call Does Not Exist", &token(), "", "");
        };
        self.respond(&request, peer, "200 OK", &tag, "", "");
        let mut state = self.state();
        let dialog = state.dialogs.iter_mut().find(|dialog| dialog.call_id == request.header("Call-ID"));
        if let Some(dialog) = dialog {
            dialog.bye = Some(request);
        }
    }

    /// Of a refusal, which is our transaction's, or of a 2xx.
    pub(super) fn acknowledged(&self, request: &Message, peer: SocketAddr) {
        let branch = request.branch().unwrap_or_default();
        let mut state = self.state();
        let invite = state.invites.iter_mut().find(|one| one.is(branch));
        if let Some(invite) = invite {
            let fault = (request.uri() != invite.request.uri() || invite.stage == Stage::Answered)
                .then(|| format!("an ACK that does not fit its INVITE: {request:?}"));
            if invite.stage == Stage::Refused {
                invite.stage = Stage::Acknowledged;
            }
            return state.faults.extend(fault);
        }
        drop(state);
        if self.in_dialog(request, peer).is_some() {
            let mut state = self.state();
            let dialog = state.dialogs.iter_mut().find(|dialog| dialog.call_id == request.header("Call-ID"));
            if let Some(dialog) = dialog {
                dialog.acknowledged = Some(request.cseq().0);
            }
        }
    }

    pub(super) fn cancelled(&self, request: &Message, peer: SocketAddr) {
        let branch = request.branch().unwrap_or_default();
        let invite = {
            let mut state = self.state();
            let ringing = |one: &&mut ServerInvite| matches!(one.stage, Stage::Ringing | Stage::Taken);
            let invite = state.invites.iter_mut().filter(ringing).find(|one| one.is(branch));
            invite.map(|invite| {
                invite.stage = Stage::Cancelled;
                (invite.request.clone(), invite.tag.clone())
            })
        };
        match invite {
            Some((invite, tag)) => {
                self.respond(request, peer, "200 OK", &tag, "", "");
                self.respond(&invite, peer, "487 Request Terminated", &tag, "", "");
            }
            None => self.respond(request, peer, "481 Call Does Not Exist", &token(), "", ""),
        }
    }

    /// The call in which `request` is and our tag in it; faults of the request are noted.
    fn in_dialog(&self, request: &Message, peer: SocketAddr) -> Option<(Dialog, String)> {
        let mut state = self.state();
        let found = state.dialogs.iter_mut().find(|dialog| dialog.call_id == request.header("Call-ID"));
        let Some(dialog) = found else {
            state.faults.push(format!("a request in no call of ours: {request:?}"));
            return None;
        };
        let mut faults = dialog.judge(request);
        if self.edge.is_tls && peer != dialog.flow {
            faults.push(format!("a new connection for a call that has {}: {request:?}", dialog.flow));
        }
        let dialog = dialog.clone();
        state.faults.extend(faults);
        let tag = parameter(&dialog.local, "tag").unwrap_or_default().to_owned();
        Some((dialog, tag))
    }

    fn tag_of(&self, branch: &str) -> String {
        self.state().invites.iter().find(|one| one.is(branch)).map(|one| one.tag.clone()).unwrap_or_default()
    }

    fn conclude(&self, branch: &str, stage: Stage) {
        if let Some(invite) = self.state().invites.iter_mut().find(|one| one.is(branch)) {
            invite.stage = stage;
        }
    }

    /// Answers a request of the box. An INVITE gets the same again if it is repeated.
    pub(super) fn respond(
        &self,
        request: &Message,
        peer: SocketAddr,
        status: &str,
        tag: &str,
        headers: &str,
        body: &str,
    ) {
        let to = request.header("To");
        let to =
            if tag.is_empty() || parameter(to, "tag").is_some() { to.to_owned() } else { format!("{to};tag={tag}") };
        let vias: String = request.all("Via").iter().map(|via| format!("Via: {via}\r\n")).collect();
        let head = format!(
            "SIP/2.0 {status}\r\n{vias}From: {}\r\nTo: {to}\r\nCall-ID: {}\r\nCSeq: {}\r\n{headers}\
             Allow: {ALLOW}\r\nServer: Twilio\r\n",
            request.header("From"),
            request.header("Call-ID"),
            request.header("CSeq")
        );
        let text = with_body(&head, body);
        let branch = request.branch().unwrap_or_default();
        if let Some(invite) = self.state().invites.iter_mut().find(|one| one.is(branch)) {
            invite.response.clone_from(&text);
        }
        self.send(&text, peer);
    }
}

enum Verdict {
    /// With more headers.
    Refuse(u16, String),
    Ring,
}

impl ServerInvite {
    fn is(&self, branch: &str) -> bool {
        self.request.branch() == Some(branch)
    }
}
