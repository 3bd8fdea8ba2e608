//! When a wait ends without what was waited for.

use std::time::Instant;

use super::call::{Cancel, Outgoing, Phase, RINGING_INTERVAL};
use super::{Purpose, Use};
use crate::endpoint::{CallHandle, EndCause, Endpoint, Event};
use crate::message::StatusCode;
use crate::transaction::table::{Outcome, TransactionId};

impl Endpoint {
    /// Tells the call what became of a transaction.
    pub(crate) fn on_outcome(&mut self, outcome: Outcome<Use>, now: Instant) {
        match outcome {
            Outcome::TimedOut(id) if self.fail_over_lost(id, now) => {}
            Outcome::TransportFailed(id) if self.fail_over_lost(id, now) => {}
            Outcome::TimedOut(id) => self.on_failure(id, StatusCode::REQUEST_TIMEOUT, now),
            Outcome::TransportFailed(id) => {
                self.transactions.give_up(id);
                // RFC 3261 §8.1.3.1: a transport error counts as a 503.
                self.on_failure(id, StatusCode::SERVICE_UNAVAILABLE, now);
            }
            Outcome::Terminated(Use::Server(server)) => {
                if let Some(merge) = server.merge {
                    self.merges.remove(&merge);
                }
            }
            Outcome::Terminated(Use::Client(_)) => {}
        }
    }

    fn on_failure(&mut self, id: TransactionId, status: StatusCode, now: Instant) {
        let Some(Use::Client(client)) = self.transactions.user(id) else { return };
        let handle = client.call;
        match client.purpose {
            Purpose::Invite => {
                let (event, cause) = match status {
                    StatusCode::REQUEST_TIMEOUT => (Event::TimedOut { call: handle }, EndCause::NoResponse),
                    _ => (Event::TransportFailed { call: handle }, EndCause::TransportFailed),
                };
                self.fail_call(handle, event, cause, now);
            }
            Purpose::Reinvite => self.on_reinvite_failure(handle, status, now),
            Purpose::Bye => self.end(handle, EndCause::HungUp, now),
            Purpose::Request(request) => self.on_request_failure(request, status),
            Purpose::Register(registration) => self.on_register_failure(registration, status, now),
            Purpose::Update => self.on_update_failure(handle, status, now),
            Purpose::Refer => self.on_refer_failure(handle, id, status),
            Purpose::ReferNotify(refer) => self.forget_peer_refer(refer),
            Purpose::Notify(subscription) => self.on_notified(subscription, StatusCode::REQUEST_TIMEOUT, now),
            Purpose::Cancel | Purpose::Prack | Purpose::Abandoned => {}
        }
    }

    fn fail_call(&mut self, handle: CallHandle, event: Event, cause: EndCause, now: Instant) {
        if self.calls.contains_key(&handle) {
            self.emit(event);
            self.end(handle, cause, now);
        }
    }

    /// One of the call's own deadlines has come.
    pub(crate) fn on_call_timeout(&mut self, handle: CallHandle, now: Instant) {
        let Some(call) = self.calls.get_mut(&handle) else { return };
        if let Some(pending) = &mut call.pending_ack {
            if pending.give_up_at <= now {
                call.pending_ack = None;
                let reason = call.bye_waiting.take().flatten();
                self.emit(Event::AckTimedOut { call: handle });
                return self.send_bye(handle, reason, EndCause::NoAck, now);
            }
            if pending.repeat_at <= now {
                pending.repeat_after = (pending.repeat_after * 2).min(self.config.timers.t2);
                pending.repeat_at = now + pending.repeat_after;
                let transmit = pending.transmit.clone();
                self.transactions.send(transmit);
                return;
            }
        }
        if let Some(reinvite) = call.own_reinvite.take_if(|reinvite| reinvite.give_up_at <= now) {
            self.transactions.give_up(reinvite.transaction);
            return self.on_reinvite_failure(handle, StatusCode::REQUEST_TIMEOUT, now);
        }
        if call.peer_update.as_ref().is_some_and(|update| update.give_up_at <= now) {
            return self.give_up_update(handle, now);
        }
        if self.on_reliable_timeout(handle, now) || self.on_session_timeout(handle, now) {
            return;
        }
        let Some(call) = self.calls.get_mut(&handle) else { return };
        match &mut call.phase {
            Phase::Incoming(incoming) => {
                let transaction = incoming.invite.transaction;
                if let Some(ringing) = incoming.ringing.as_mut().filter(|ringing| ringing.repeat_at <= now) {
                    ringing.repeat_at = now + RINGING_INTERVAL;
                    let (status, bytes) = (ringing.status, ringing.bytes.clone());
                    // It cannot have had a final response: the call would not be in this phase.
                    let _ = self.transactions.respond(transaction, status, bytes, now);
                }
            }
            Phase::Outgoing(Outgoing { cancel: Some(Cancel::Sent { give_up_at }), transaction, .. })
                if *give_up_at <= now =>
            {
                let transaction = *transaction;
                self.transactions.give_up(transaction);
                self.fail_call(handle, Event::TimedOut { call: handle }, EndCause::NoResponse, now);
            }
            Phase::Outgoing(_) | Phase::Up | Phase::Ending => {}
        }
    }
}
