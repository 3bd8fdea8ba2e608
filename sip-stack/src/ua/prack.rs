//! Reliable provisional responses, both ways (RFC 3262).
//!
//! We ask for them when our INVITE has an offer, and send them when the peer requires it, or knows them and there is a
//! session description in them. Left out on purpose: offers in PRACK, which get 488.

use std::time::{Duration, Instant};

use super::call::{Call, Phase};
use super::{Purpose, Use};
use crate::dialog::DialogId;
use crate::endpoint::{CallHandle, EndCause, Endpoint, Source};
use crate::message::{HeaderName, Headers, Method, Misbehaviour, PeerError, Request, Response, StatusCode};
use crate::transaction::table::TransactionId;

/// The option tag.
pub(crate) const RELIABLE: &str = "100rel";

/// A provisional response of ours that has no PRACK yet.
#[derive(Debug)]
pub(crate) struct Reliable {
    pub(crate) rseq: u32,
    pub(crate) status: StatusCode,
    pub(crate) bytes: Vec<u8>,
    /// It holds a session description, so the 2xx waits for its PRACK.
    pub(crate) has_sdp: bool,
    /// T1, doubling without end (§3).
    pub(crate) repeat_after: Duration,
    pub(crate) repeat_at: Instant,
    pub(crate) give_up_at: Instant,
}

/// What of a call concerns reliable provisional responses of ours.
#[derive(Debug, Default)]
pub(crate) struct Provisionals {
    /// The RSeq of the latest; 0 before the first.
    rseq: u32,
    pub(crate) pending: Option<Reliable>,
    /// What our user wanted to say meanwhile; the latest counts.
    pub(crate) next: Option<Option<Vec<u8>>>,
    /// Our user's answer that waits for the PRACK.
    pub(crate) answer: Option<Vec<u8>>,
}

impl Endpoint {
    /// Must, or should, this provisional response be reliable?
    pub(super) fn wants_reliable(&self, request: &Request, has_sdp: bool) -> bool {
        let lists = |tags: Vec<String>| tags.iter().any(|tag| tag.eq_ignore_ascii_case(RELIABLE));
        let has_offer = !request.body.is_empty();
        lists(request.headers.require().unwrap_or_default())
            || (has_sdp && has_offer && lists(request.headers.supported().unwrap_or_default()))
    }

    /// Numbers a provisional response and keeps it until its PRACK is here.
    pub(super) fn make_reliable(&mut self, handle: CallHandle, response: &mut Response, now: Instant) {
        let first = 1 + self.random.below(1 << 30);
        let t1 = self.config.timers.t1;
        let give_up = self.config.timers.give_up();
        let Some(call) = self.calls.get_mut(&handle) else { return };
        let provisionals = &mut call.provisionals;
        let rseq = if provisionals.rseq == 0 { first } else { provisionals.rseq + 1 };
        provisionals.rseq = rseq;
        response.headers.push(HeaderName::REQUIRE, RELIABLE);
        response.headers.push(HeaderName::RSEQ, rseq);
        provisionals.pending = Some(Reliable {
            rseq,
            status: response.status,
            bytes: response.to_bytes(),
            has_sdp: !response.body.is_empty(),
            repeat_after: t1,
            repeat_at: now + t1,
            give_up_at: now + give_up,
        });
        self.reschedule(handle);
    }

    /// A PRACK of theirs (§3).
    pub(super) fn receive_prack(&mut self, id: TransactionId, request: &Request, handle: CallHandle, now: Instant) {
        let confirmed =
            request.headers.rack().ok().flatten().filter(|rack| self.is_pending(handle, rack.rseq, rack.cseq));
        if confirmed.is_none() {
            return self.refuse(id, request, &PeerError::Misbehaved(Misbehaviour::NoSuchDialog), now);
        }
        let status = if request.body.is_empty() { StatusCode::OK } else { StatusCode::NOT_ACCEPTABLE_HERE };
        let mut response = self.response(request, status, &self.to_tag(id));
        if !status.is_success() {
            super::respond::warn(&mut response, "no offers in PRACK");
        }
        self.respond_anyway(id, &response, now);
        let Some(call) = self.calls.get_mut(&handle) else { return };
        let confirmed = call.provisionals.pending.take();
        call.early_answered |= confirmed.is_some_and(|one| one.has_sdp);
        let (next, answer) = (call.provisionals.next.take(), call.provisionals.answer.take());
        self.reschedule(handle);
        // What our user asked for in the meantime; the call is still in a state for it.
        let _ = match (answer, next) {
            (Some(answer), _) => self.do_answer(handle, answer, now),
            (None, Some(next)) => self.do_ring(handle, next, now),
            (None, None) => Ok(()),
        };
    }

    fn is_pending(&self, handle: CallHandle, rseq: u32, cseq: u32) -> bool {
        let Some(call) = self.calls.get(&handle) else { return false };
        let Phase::Incoming(incoming) = &call.phase else { return false };
        let pending = call.provisionals.pending.as_ref();
        pending.is_some_and(|pending| pending.rseq == rseq) && incoming.invite.cseq == cseq
    }

    /// Repeats it, or gives the INVITE up (§3). `true`: something was due.
    pub(super) fn on_reliable_timeout(&mut self, handle: CallHandle, now: Instant) -> bool {
        let Some(call) = self.calls.get_mut(&handle) else { return false };
        let Phase::Incoming(incoming) = &call.phase else { return false };
        let transaction = incoming.invite.transaction;
        let Some(pending) = call.provisionals.pending.as_mut() else { return false };
        if pending.give_up_at <= now {
            // Nobody hears us, so nobody will hear a 2xx either.
            call.end_cause.get_or_insert(EndCause::NoPrack);
            let _ = self.do_reject(handle, StatusCode::SERVER_TIMEOUT, &[], now);
            return true;
        }
        if pending.repeat_at > now {
            return false;
        }
        pending.repeat_after *= 2;
        pending.repeat_at = now + pending.repeat_after;
        let (status, bytes) = (pending.status, pending.bytes.clone());
        // It cannot have had a final response: the call would not be in this phase.
        let _ = self.transactions.respond(transaction, status, bytes, now);
        true
    }

    /// Confirms a reliable provisional response of theirs (§4). `false`: it is a repeat or out of order, and is not told.
    pub(super) fn confirm_reliable(
        &mut self,
        handle: CallHandle,
        id: TransactionId,
        dialog: &DialogId,
        response: &Response,
        now: Instant,
    ) -> bool {
        let Some(rseq) = reliable_number(&response.headers) else { return true };
        let Some(Use::Client(client)) = self.transactions.user(id) else { return true };
        let cseq = client.request.headers.cseq().map_or(1, |cseq| cseq.number);
        let Some(call) = self.calls.get_mut(&handle) else { return true };
        let has_answer = super::incoming::sdp_of(&response.headers, &response.body).is_some();
        let Some(dialog) = call.dialog_mut(dialog) else { return true };
        if dialog.last_rseq.is_some_and(|last| rseq != last.wrapping_add(1)) {
            return false;
        }
        dialog.last_rseq = Some(rseq);
        let mut request = dialog.request(Method::Prack);
        request.headers.push(HeaderName::RACK, format!("{rseq} {cseq} INVITE"));
        let dialog = dialog.clone();
        call.early_answered |= has_answer;
        let path: Source = self.path_in(&dialog);
        // Without room it went out of our hands: the peer repeats its response, and gives up in the end.
        let _ = self.send_request(handle, request, path, Purpose::Prack, now);
        true
    }
}

impl Call {
    /// Has a session description of ours no PRACK yet?
    pub(super) fn awaits_prack(&self) -> bool {
        self.provisionals.pending.as_ref().is_some_and(|pending| pending.has_sdp)
    }
}

fn reliable_number(headers: &Headers) -> Option<u32> {
    let is_required = headers.require().ok()?.iter().any(|tag| tag.eq_ignore_ascii_case(RELIABLE));
    headers.rseq().ok().flatten().filter(|_| is_required)
}
