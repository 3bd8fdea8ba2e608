//! A request of ours is challenged: it goes out again with credentials (RFC 3261 §22.2, §22.3, §8.1.3.5).

use std::time::Instant;

use super::call::Phase;
use super::{Purpose, Use};
use crate::digest::{Asker, Authenticator, Credentials};
use crate::endpoint::{CallHandle, Endpoint, EndpointMisuse, Event, Source};
use crate::message::{CSeq, HeaderName, Request, Response};
use crate::transaction::table::{Full, TransactionId};

impl Endpoint {
    pub(crate) fn do_set_credentials(
        &mut self,
        handle: CallHandle,
        credentials: Vec<Credentials>,
    ) -> Result<(), EndpointMisuse> {
        let call = self.calls.get_mut(&handle).ok_or(EndpointMisuse::UnknownCall)?;
        call.authenticator = Some(Authenticator::new(credentials));
        Ok(())
    }

    /// Takes a final response that may be a challenge. `true`: the request is under way again, as another transaction.
    pub(super) fn answer_challenge(&mut self, id: TransactionId, response: &Response, now: Instant) -> bool {
        if Asker::of(response.status).is_none() {
            return false;
        }
        let Some(Use::Client(client)) = self.transactions.user_mut(id) else { return false };
        let (call, purpose) = (client.call, client.purpose);
        let mut attempts = std::mem::take(&mut client.attempts);
        if self.is_given_up(call, purpose) {
            return false;
        }
        let Some(authenticator) = self.authenticator(call, purpose) else { return false };
        let verdict = authenticator.handle_challenge(response, &mut attempts);
        if let Some(Use::Client(client)) = self.transactions.user_mut(id) {
            client.attempts = attempts;
        }
        match verdict {
            Ok(()) => self.send_again(id, now).is_ok(),
            Err(refusal) => {
                let call = (call != CallHandle::NONE).then_some(call);
                self.emit(Event::AuthenticationFailed { call, refusal });
                false
            }
        }
    }

    /// Nobody wants it any more: a CANCEL is out, or it belongs to nothing.
    pub(super) fn is_given_up(&self, call: CallHandle, purpose: Purpose) -> bool {
        let is_cancelled = self.calls.get(&call).is_some_and(|call| match &call.phase {
            Phase::Outgoing(outgoing) => outgoing.cancel.is_some(),
            Phase::Incoming(_) | Phase::Up | Phase::Ending => false,
        });
        matches!(purpose, Purpose::Cancel | Purpose::Abandoned) || (purpose == Purpose::Invite && is_cancelled)
    }

    /// Who answers for requests of this kind.
    fn authenticator(&mut self, call: CallHandle, purpose: Purpose) -> Option<&mut Authenticator> {
        match purpose {
            Purpose::Request(handle) if call == CallHandle::NONE => {
                self.requests.get_mut(&handle)?.authenticator.as_mut()
            }
            Purpose::Register(handle) => self.registrations.get_mut(&handle)?.authenticator.as_mut(),
            Purpose::Request(_)
            | Purpose::Invite
            | Purpose::Reinvite
            | Purpose::Bye
            | Purpose::Cancel
            | Purpose::Abandoned
            | Purpose::Prack
            | Purpose::Update
            | Purpose::Refer
            | Purpose::ReferNotify(_)
            | Purpose::Notify(_) => self.calls.get_mut(&call)?.authenticator.as_mut(),
        }
    }

    /// Puts what the asked know already into a request, so that they need not ask again.
    pub(super) fn authorize(&mut self, call: CallHandle, purpose: Purpose, request: &mut Request) {
        let nonces: [String; 2] = std::array::from_fn(|_| self.random.token());
        if let Some(authenticator) = self.authenticator(call, purpose) {
            // As many cnonces as needed from one random number: their only task is not to be foreseen.
            let mut count = 0;
            authenticator.authorize(request, || {
                count += 1;
                format!("{}{}{count}", nonces[0], nonces[1])
            });
        }
    }

    /// The same request as a new one: the next CSeq, another branch, credentials where they are wanted.
    pub(super) fn send_again(&mut self, id: TransactionId, now: Instant) -> Result<(), Full> {
        let Some(Use::Client(client)) = self.transactions.user(id) else { return Err(Full) };
        let Some(path) = self.transactions.path(id) else { return Err(Full) };
        let (call, purpose) = (client.call, client.purpose);
        let (mut request, attempts, too_small) = (client.request.clone(), client.attempts.clone(), client.too_small);
        let old = request.headers.cseq().map_or(0, |cseq| cseq.number);
        let dialog = self.calls.get_mut(&call).and_then(|call| call.dialog.as_mut());
        let number = match dialog {
            Some(dialog) => dialog.next_cseq(),
            None => old.wrapping_add(1),
        };
        request.headers.set(HeaderName::CSEQ, CSeq { number, method: request.method.clone() });
        let new = self.send_on(call, request, path, purpose, now)?;
        if let Some(Use::Client(client)) = self.transactions.user_mut(new) {
            (client.attempts, client.too_small) = (attempts, too_small);
        }
        self.follow(call, purpose, old, new);
        Ok(())
    }

    /// Sends a request that went out before, under another branch and maybe on another path.
    pub(super) fn send_on(
        &mut self,
        call: CallHandle,
        mut request: Request,
        path: Source,
        purpose: Purpose,
        now: Instant,
    ) -> Result<TransactionId, Full> {
        for name in [HeaderName::VIA, HeaderName::USER_AGENT] {
            request.headers.remove(&name);
        }
        self.send_request(call, request, path, purpose, now)
    }

    /// Whoever waits for the request waits for its new transaction now.
    pub(super) fn follow(&mut self, handle: CallHandle, purpose: Purpose, old: u32, new: TransactionId) {
        match purpose {
            Purpose::Request(request) => {
                if let Some(own) = self.requests.get_mut(&request) {
                    own.transaction = new;
                }
            }
            Purpose::Register(registration) => self.follow_registration(registration, new),
            Purpose::Invite => self.begin_anew(handle, new),
            Purpose::Reinvite => {
                let call = self.calls.get_mut(&handle);
                if let Some(reinvite) = call.and_then(|call| call.own_reinvite.as_mut()) {
                    reinvite.transaction = new;
                }
            }
            Purpose::Refer => self.follow_refer(handle, old, new),
            Purpose::Bye
            | Purpose::Cancel
            | Purpose::Prack
            | Purpose::Update
            | Purpose::ReferNotify(_)
            | Purpose::Notify(_)
            | Purpose::Abandoned => {}
        }
    }

    /// The first INVITE is over, and with it what rang because of it.
    fn begin_anew(&mut self, handle: CallHandle, new: TransactionId) {
        let Some(call) = self.calls.get_mut(&handle) else { return };
        if let Phase::Outgoing(outgoing) = &mut call.phase {
            outgoing.transaction = new;
            outgoing.provisional_seen = false;
        }
        for early in std::mem::take(&mut call.early) {
            self.dialogs.remove(&early.id);
        }
    }
}
