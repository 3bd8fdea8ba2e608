//! The next address when one does not answer (RFC 3263 §4.3). The shell has looked the names up; what comes here is an
//! ordered list.
//!
//! Four seconds of silence, a transport that fails or a 503 make the next address due, under a new branch. Which ones have
//! failed is remembered for a while, so that the next request does not begin with them. An INVITE that was left behind
//! may still be answered: then it is cancelled, or confirmed and hung up.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use super::outgoing::cancel_of;
use super::{Purpose, Use};
use crate::endpoint::{CallHandle, Destination, Endpoint, Event, Source};
use crate::message::{HeaderName, Method, Response, StatusCode};
use crate::transaction::key::ClientKey;
use crate::transaction::table::TransactionId;

/// As long as carriers wait for us.
const SILENCE: Duration = Duration::from_secs(4);
/// How long an address that failed is tried last. A 503 with Retry-After says how long instead, up to a limit.
const FAILED_FOR: Duration = Duration::from_secs(60);
const FAILED_FOR_MAX: Duration = Duration::from_secs(600);
/// Addresses remembered; beyond it the one that is forgiven first is forgotten.
const FAILED_LIMIT: usize = 64;

/// Addresses that have failed, and until when.
#[derive(Debug, Default)]
pub(crate) struct FailedDestinations(BTreeMap<Destination, Instant>);

impl FailedDestinations {
    pub(crate) fn note(&mut self, destination: Destination, until: Instant) {
        self.0.insert(destination, until);
        if self.0.len() > FAILED_LIMIT
            && let Some(first) = self.0.iter().min_by_key(|(_, until)| **until).map(|(destination, _)| *destination)
        {
            self.0.remove(&first);
        }
    }

    fn forgive(&mut self, destination: Destination) {
        self.0.remove(&destination);
    }

    pub(crate) fn has_failed(&self, destination: Destination, now: Instant) -> bool {
        self.0.get(&destination).is_some_and(|until| *until > now)
    }

    /// In the given order, but for those that have failed: they come last, in the hope that they have recovered.
    pub(crate) fn sort(&self, destinations: Vec<Destination>, now: Instant) -> VecDeque<Destination> {
        let (failed, good): (Vec<_>, Vec<_>) =
            destinations.into_iter().partition(|destination| self.has_failed(*destination, now));
        good.into_iter().chain(failed).collect()
    }
}

impl Endpoint {
    /// The first address to try, and those after it.
    pub(super) fn choose(
        &self,
        first: Destination,
        alternatives: Vec<Destination>,
        now: Instant,
    ) -> (Destination, VecDeque<Destination>) {
        let mut sorted = self.failed.sort([first].into_iter().chain(alternatives).collect(), now);
        let chosen = sorted.pop_front().unwrap_or(first);
        (chosen, sorted)
    }

    /// Notes what is left to try if this request is not answered.
    pub(super) fn keep_alternatives(&mut self, id: TransactionId, rest: VecDeque<Destination>, now: Instant) {
        if rest.is_empty() {
            return;
        }
        if let Some(Use::Client(client)) = self.transactions.user_mut(id) {
            client.alternatives.extend(rest);
            self.wake_for_silence(id, Some(now + SILENCE));
        }
    }

    /// Something answers, so there is no silence. `true`: it is a 503 and the request is under way elsewhere.
    pub(super) fn note_answer(&mut self, id: TransactionId, response: &Response, now: Instant) -> bool {
        self.wake_for_silence(id, None);
        let Some(destination) = self.destination_of(id) else { return false };
        if response.status != StatusCode::SERVICE_UNAVAILABLE {
            self.failed.forgive(destination);
            return false;
        }
        let asked = response.headers.retry_after().ok().flatten().map(|after| u64::from(after.seconds));
        let wait = asked.map_or(FAILED_FOR, Duration::from_secs).min(FAILED_FOR_MAX);
        self.fail_over(id, wait, now)
    }

    /// Nothing has come for four seconds.
    pub(crate) fn on_silence(&mut self, id: TransactionId, now: Instant) {
        self.wake_for_silence(id, None);
        if self.is_abandoned(id) {
            return self.transactions.give_up(id);
        }
        self.fail_over(id, FAILED_FOR, now);
    }

    /// The transport has failed, or the time is over. `true`: the request is under way elsewhere.
    pub(super) fn fail_over_lost(&mut self, id: TransactionId, now: Instant) -> bool {
        self.wake_for_silence(id, None);
        self.fail_over(id, FAILED_FOR, now)
    }

    /// Sends the request to the next address. `false`: there is none, or nobody wants it any more.
    fn fail_over(&mut self, id: TransactionId, failed_for: Duration, now: Instant) -> bool {
        let Some(destination) = self.destination_of(id) else { return false };
        let Some(Use::Client(client)) = self.transactions.user_mut(id) else { return false };
        let (call, purpose) = (client.call, client.purpose);
        let Some(next) = client.alternatives.pop_front() else { return false };
        let rest = std::mem::take(&mut client.alternatives);
        let (mut request, attempts) = (client.request.clone(), client.attempts.clone());
        self.failed.note(destination, now + failed_for);
        if self.has_room_for_events() {
            self.emit(Event::DestinationFailed { destination });
        }
        if self.is_given_up(call, purpose) {
            return false;
        }
        if destination.transport != next.transport && request.headers.contains(&HeaderName::CONTACT) {
            request.headers.set(HeaderName::CONTACT, self.contact(next.transport, next.peer));
        }
        let path = self.path_towards(next);
        let Ok(new) = self.send_on(call, request, path, purpose, now) else { return false };
        if let Some(Use::Client(client)) = self.transactions.user_mut(new) {
            client.attempts = attempts;
        }
        let number = self.client_cseq(new);
        self.follow(call, purpose, number, new);
        self.keep_alternatives(new, rest, now);
        self.abandon(id);
        true
    }

    /// Leaves a request behind. An INVITE may still be answered, so its transaction listens on.
    fn abandon(&mut self, id: TransactionId) {
        let Some(Use::Client(client)) = self.transactions.user_mut(id) else { return };
        match client.purpose {
            Purpose::Invite => {
                client.purpose = Purpose::Abandoned;
                client.call = CallHandle::NONE;
                self.transactions.stop_repeating(id);
            }
            Purpose::Abandoned
            | Purpose::Reinvite
            | Purpose::Bye
            | Purpose::Cancel
            | Purpose::Prack
            | Purpose::Update
            | Purpose::Request(_)
            | Purpose::Register(_)
            | Purpose::Refer
            | Purpose::ReferNotify(_)
            | Purpose::Notify(_) => self.transactions.give_up(id),
        }
    }

    /// A response to an INVITE that was left behind.
    pub(super) fn on_abandoned_response(
        &mut self,
        id: TransactionId,
        response: &Response,
        source: Source,
        now: Instant,
    ) {
        match response.status.class() {
            1 => self.cancel_abandoned(id, now),
            2 => self.drop_fork(id, response, source, now),
            _ => self.wake_for_silence(id, None),
        }
    }

    fn cancel_abandoned(&mut self, id: TransactionId, now: Instant) {
        let Some(Use::Client(client)) = self.transactions.user_mut(id) else { return };
        if std::mem::replace(&mut client.is_cancelled, true) {
            return;
        }
        let request = cancel_of(&client.request);
        let Some(path) = self.transactions.path(id) else { return };
        let branch = request.headers.via().ok().and_then(|via| via.branch().map(str::to_owned)).unwrap_or_default();
        let key = ClientKey::new(&branch, &Method::Cancel);
        // Without room it went out once; the INVITE is given up in time all the same (RFC 3261 §9.1).
        let _ = self.open_client(CallHandle::NONE, key, request, path, Purpose::Cancel, now);
        self.wake_for_silence(id, Some(now + self.config.timers.give_up()));
    }

    fn is_abandoned(&self, id: TransactionId) -> bool {
        matches!(self.transactions.user(id), Some(Use::Client(client)) if client.purpose == Purpose::Abandoned)
    }

    fn destination_of(&self, id: TransactionId) -> Option<Destination> {
        self.transactions.path(id).map(|path| Destination { transport: path.transport, peer: path.peer })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transaction::trace::{ms, start};

    #[test]
    fn what_has_failed_comes_last_until_it_is_forgiven() {
        let at = |port: u16| Destination::udp(([192, 0, 2, 9], port).into());
        let mut failed = FailedDestinations::default();
        failed.note(at(1), start() + ms(1_000));
        let all = || vec![at(1), at(2), at(3)];
        assert_eq!(failed.sort(all(), start()), [at(2), at(3), at(1)]);
        assert_eq!(failed.sort(all(), start() + ms(1_000)), all());
        (10..100).for_each(|port| failed.note(at(port), start() + ms(u64::from(port))));
        assert_eq!(failed.0.len(), FAILED_LIMIT);
        assert!(failed.has_failed(at(1), start()), "the ones forgiven first are forgotten");
    }
}
