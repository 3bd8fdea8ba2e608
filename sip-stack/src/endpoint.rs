//! Datagrams in, events out: the front of the stack. RFC 3261 §8 to §18 over UDP, TCP and TLS, RFC 3581, RFC 6026.
//!
//! Sans-IO: no sockets, no clock, no randomness but from [`EndpointConfig::seed`]; two endpoints that get the same seed
//! and the same inputs at the same times send the same bytes. It holds what the layers below need and passes messages
//! between them: [`transaction`](crate::transaction) repeats, `dialog` remembers the peer, `ua` knows what a call is.
//!
//! The drive loop: one `handle_*` or command, then [`poll_transmit`](Endpoint::poll_transmit) and
//! [`poll_event`](Endpoint::poll_event) until both are empty, then wait for the next input or for
//! [`poll_timeout`](Endpoint::poll_timeout), whichever comes first.

mod commands;
mod config;
mod event;
mod keep_alive;
mod notifying;
mod outgoing;
mod path;
mod random;
mod registering;
mod streams;
mod transferring;

pub use crate::dialog::session_timer::SessionTimerConfig;
pub use config::{EndpointConfig, EndpointLimits, LocalAddress};
pub use event::{
    Accepting, CallHandle, Counters, EndCause, EndpointMisuse, Event, Occupancy, PeerRequestHandle, RequestFailure,
    RequestHandle,
};
pub use notifying::SubscriptionHandle;
pub use outgoing::{Answer, Body, Destination, DialogRequest, OutgoingInvite, OutgoingRequest};
pub use path::{FlowId, Source, Transmit, Transport, is_private};
pub use registering::{Outbound, RegistrationConfig, RegistrationFailure, RegistrationHandle, RegistrationNews};
pub use transferring::{OutgoingRefer, ReferHandle, Referral, TransferNews, with_replaces};

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::time::Instant;

use self::keep_alive::KeepAlive;
use self::random::Random;
use self::streams::Streams;
use crate::dialog::DialogId;
use crate::message::framing::Frame;
use crate::message::{Host, Message, Uri};
use crate::transaction::Deadlines;
use crate::transaction::table::{Table, TransactionId};
use crate::ua::call::Call;
use crate::ua::failover::FailedDestinations;
use crate::ua::peer_request::PeerRequest;
use crate::ua::recent_errors::RecentErrors;
use crate::ua::refer::PeerRefer;
use crate::ua::registration::Registration;
use crate::ua::request::OwnRequest;
use crate::ua::subscription::Subscription;
use crate::ua::{Abilities, MergeKey, Use};

/// The answer to a ping (RFC 5626 §3.5.1).
const PONG: &[u8] = b"\r\n";

/// Who can be woken by a timer of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Waiter {
    Call(CallHandle),
    PeerRequest(PeerRequestHandle),
    Registration(RegistrationHandle),
    Refer(ReferHandle),
    Subscription(SubscriptionHandle),
    Flow(FlowId),
    /// A request of ours that could go to another address.
    Silence(TransactionId),
}

impl From<CallHandle> for Waiter {
    fn from(call: CallHandle) -> Self {
        Self::Call(call)
    }
}

impl From<PeerRequestHandle> for Waiter {
    fn from(request: PeerRequestHandle) -> Self {
        Self::PeerRequest(request)
    }
}

impl From<SubscriptionHandle> for Waiter {
    fn from(subscription: SubscriptionHandle) -> Self {
        Self::Subscription(subscription)
    }
}

impl From<ReferHandle> for Waiter {
    fn from(refer: ReferHandle) -> Self {
        Self::Refer(refer)
    }
}

impl From<RegistrationHandle> for Waiter {
    fn from(registration: RegistrationHandle) -> Self {
        Self::Registration(registration)
    }
}

/// See the [module](self).
#[derive(Debug)]
pub struct Endpoint {
    pub(crate) config: EndpointConfig,
    pub(crate) random: Random,
    pub(crate) accepting: Accepting,
    /// Our host for peers in private networks.
    pub(crate) inside: Option<Host>,
    pub(crate) abilities: Abilities,
    pub(crate) transactions: Table<Use>,
    /// Requests that would be the same if they came again under another branch.
    pub(crate) merges: BTreeMap<MergeKey, TransactionId>,
    pub(crate) calls: BTreeMap<CallHandle, Call>,
    /// Those of peers that our user has not decided about.
    pub(crate) undecided: BTreeSet<CallHandle>,
    pub(crate) dialogs: BTreeMap<DialogId, CallHandle>,
    /// Requests of ours outside of calls, and those within calls that our user made.
    pub(crate) requests: BTreeMap<RequestHandle, OwnRequest>,
    /// Requests of theirs that wait for our user's answer.
    pub(crate) peer_requests: BTreeMap<PeerRequestHandle, PeerRequest>,
    pub(crate) registrations: BTreeMap<RegistrationHandle, Registration>,
    /// Transfers that peers asked for and our user carries out.
    pub(crate) peer_refers: BTreeMap<ReferHandle, PeerRefer>,
    pub(crate) failed: FailedDestinations,
    pub(crate) recent_errors: RecentErrors,
    keep_alives: BTreeMap<FlowId, KeepAlive>,
    pub(crate) subscriptions: BTreeMap<SubscriptionHandle, Subscription>,
    pub(crate) subscription_dialogs: BTreeMap<DialogId, SubscriptionHandle>,
    deadlines: Deadlines<Waiter>,
    next_handle: u64,
    pub(crate) streams: Streams,
    events: VecDeque<Event>,
    pub(crate) counters: Counters,
}

impl Endpoint {
    /// An endpoint that accepts calls.
    pub fn new(config: EndpointConfig) -> Self {
        let limits = config.limits;
        Self {
            random: Random::new(config.seed),
            accepting: Accepting::Yes,
            inside: None,
            abilities: Abilities::new(&config),
            transactions: Table::new(limits.transactions, limits.queued, config.timers),
            merges: BTreeMap::new(),
            calls: BTreeMap::new(),
            undecided: BTreeSet::new(),
            dialogs: BTreeMap::new(),
            requests: BTreeMap::new(),
            peer_requests: BTreeMap::new(),
            registrations: BTreeMap::new(),
            peer_refers: BTreeMap::new(),
            failed: FailedDestinations::default(),
            recent_errors: RecentErrors::default(),
            keep_alives: BTreeMap::new(),
            subscriptions: BTreeMap::new(),
            subscription_dialogs: BTreeMap::new(),
            deadlines: Deadlines::new(),
            next_handle: 1,
            streams: Streams::new(limits.streams, config.message_limits),
            events: VecDeque::new(),
            counters: Counters::default(),
            config,
        }
    }

    /// Takes one UDP datagram.
    pub fn handle_datagram(&mut self, source: Source, bytes: &[u8], now: Instant) {
        match Message::parse(bytes, &self.config.message_limits) {
            Ok(message) => self.receive(message, source, now),
            Err(_) => self.counters.unreadable += 1,
        }
        self.settle(now);
    }

    /// Learns of a connection, accepted or made.
    pub fn handle_stream_opened(
        &mut self,
        flow: FlowId,
        transport: Transport,
        local: SocketAddr,
        peer: SocketAddr,
        now: Instant,
    ) {
        self.streams.insert(flow, transport, local, peer);
        self.begin_keep_alive(flow, now);
    }

    /// Takes what was read from a connection. Pings are answered (RFC 5626 §3.5.1).
    pub fn handle_stream_bytes(&mut self, flow: FlowId, bytes: &[u8], now: Instant) {
        let (frames, end) = self.streams.push(flow, bytes);
        for (source, frame) in frames {
            match frame {
                Frame::Message(message) => self.receive(message, source, now),
                Frame::Ping | Frame::Pong if self.note_line_end(flow) => {}
                Frame::Ping => self.transactions.send(Transmit::back(source, PONG.to_vec())),
                Frame::Pong => {}
            }
        }
        if end.is_err() {
            self.counters.broken_streams += 1;
        }
        self.settle(now);
    }

    /// Learns that a connection is gone. Calls stay up; requests under way on it have failed.
    pub fn handle_stream_closed(&mut self, flow: FlowId, now: Instant) {
        self.forget_flow(flow, now);
        self.settle(now);
    }

    fn forget_flow(&mut self, flow: FlowId, now: Instant) {
        if let Some(peer) = self.streams.remove(flow) {
            self.transactions.fail_flow(flow, peer);
        }
        self.end_keep_alive(flow);
        self.recover_registrations(flow, now);
    }

    /// Learns that nothing can be sent to `peer`: no connection to be had, or an ICMP error. Requests under way to
    /// it have failed.
    pub fn handle_transmit_failed(&mut self, transport: Transport, peer: SocketAddr, now: Instant) {
        self.transactions.fail_peer(transport, peer);
        self.settle(now);
    }

    /// Works off every timer that is due.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.transactions.handle_timeout(now);
        while let Some(waiter) = self.deadlines.due(now) {
            match waiter {
                Waiter::Call(call) => self.on_call_timeout(call, now),
                Waiter::PeerRequest(request) => self.on_peer_request_timeout(request, now),
                Waiter::Refer(refer) => self.on_refer_timeout(refer, now),
                Waiter::Subscription(subscription) => self.on_subscription_timeout(subscription, now),
                Waiter::Flow(flow) => self.on_flow_timeout(flow, now),
                Waiter::Silence(request) => {
                    self.on_silence(request, now);
                    continue;
                }
                Waiter::Registration(registration) => self.on_registration_timeout(registration, now),
            }
            self.reschedule(waiter);
        }
        self.settle(now);
    }

    /// The next deadline and its timer's RFC letter, so a log line can say why we woke. `None`: nothing is under way.
    pub fn poll_timeout(&self) -> Option<(Instant, &'static str)> {
        let deadlines = [self.transactions.poll_timeout(), self.deadlines.next()];
        deadlines.into_iter().flatten().min()
    }

    /// The next message to send.
    pub fn poll_transmit(&mut self) -> Option<Transmit> {
        self.transactions.poll_transmit()
    }

    /// The next event.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// The next connection to close, because its framing is lost or there are too many.
    pub fn poll_close(&mut self) -> Option<FlowId> {
        self.streams.poll_close()
    }

    /// Turns new calls away, or welcomes them again.
    pub fn set_accepting(&mut self, accepting: Accepting) {
        self.accepting = accepting;
    }

    /// Peers reach us under another host from now on, on the same ports. The peers of dialogs that are up are told so by
    /// the next re-INVITE. Registrations keep the Contact they began with.
    pub fn set_advertised(&mut self, host: &Host) {
        let mut old = Vec::new();
        for local in [&mut self.config.udp, &mut self.config.tcp, &mut self.config.tls] {
            old.push(std::mem::replace(&mut local.advertised.host, host.clone()));
        }
        self.rename_contacts(&old, host);
    }

    /// The host for peers in private networks (RFC 1918, RFC 3927, RFC 4193), where it is another one.
    pub fn set_advertised_inside(&mut self, host: Option<Host>) {
        let old = std::mem::replace(&mut self.inside, host.clone());
        if let (Some(old), Some(new)) = (old, host) {
            self.rename_contacts(&[old], &new);
        }
    }

    fn rename_contacts(&mut self, old: &[Host], new: &Host) {
        for dialog in self.calls.values_mut().filter_map(|call| call.dialog.as_mut()) {
            if let Uri::Sip(contact) = &mut dialog.contact.uri
                && old.contains(&contact.host)
            {
                contact.host = new.clone();
            }
        }
    }

    /// What has been dropped so far.
    pub fn counters(&self) -> Counters {
        Counters { dropped_transmits: self.transactions.dropped_transmits, ..self.counters }
    }

    /// How full the tables are now.
    pub fn occupancy(&self) -> Occupancy {
        Occupancy {
            calls: self.calls.len(),
            undecided: self.undecided.len(),
            dialogs: self.dialogs.len(),
            transactions: self.transactions.len(),
            streams: self.streams.len(),
            registrations: self.registrations.len(),
            subscriptions: self.subscriptions.len(),
            requests: self.requests.len() + self.peer_requests.len() + self.peer_refers.len(),
        }
    }

    fn receive(&mut self, message: Message, source: Source, now: Instant) {
        match message {
            Message::Request(request) => self.receive_request(request, source, now),
            Message::Response(response) => self.receive_response(response, source, now),
        }
    }

    /// Tells calls what became of their transactions, until nothing more follows from it.
    fn settle(&mut self, now: Instant) {
        while let Some(outcome) = self.transactions.poll_outcome() {
            self.on_outcome(outcome, now);
        }
    }

    pub(crate) fn emit(&mut self, event: Event) {
        self.events.push_back(event);
    }

    /// While there is none, requests that would make events are refused. The others make at most a few for each call
    /// and transaction, so the queue stays bounded.
    pub(crate) fn has_room_for_events(&self) -> bool {
        self.events.len() < self.config.limits.queued
    }

    /// The next number for a handle; handles of all kinds share one count.
    pub(crate) fn new_handle(&mut self) -> u64 {
        let handle = self.next_handle;
        self.next_handle += 1;
        handle
    }

    /// Notes when somebody wants to be woken. Due after every change of its waits.
    pub(crate) fn reschedule(&mut self, waiter: impl Into<Waiter>) {
        let waiter = waiter.into();
        let deadline = match waiter {
            Waiter::Call(call) => self.calls.get(&call).and_then(Call::poll_timeout),
            Waiter::PeerRequest(request) => self.peer_requests.get(&request).map(PeerRequest::poll_timeout),
            Waiter::Subscription(subscription) => self.subscriptions.get(&subscription).map(Subscription::poll_timeout),
            Waiter::Flow(flow) => self.keep_alives.get(&flow).map(KeepAlive::poll_timeout),
            // Set where it is known how long to wait.
            Waiter::Silence(_) => return,
            Waiter::Refer(refer) => self.peer_refers.get(&refer).map(PeerRefer::poll_timeout),
            Waiter::Registration(registration) => {
                self.registrations.get(&registration).and_then(Registration::poll_timeout)
            }
        };
        self.deadlines.set(waiter, deadline);
    }

    /// Notes how long a request may go unanswered before another address is tried.
    pub(crate) fn wake_for_silence(&mut self, id: TransactionId, at: Option<Instant>) {
        self.deadlines.set(Waiter::Silence(id), at.map(|at| (at, "failover")));
    }

    /// Forgets the call, for this cause if it had none before. Its transactions linger on their own; what the peer asked
    /// for and our user has not answered gets 487 (RFC 3261 §15.1.2).
    pub(crate) fn end(&mut self, handle: CallHandle, cause: EndCause, now: Instant) {
        self.undecided.remove(&handle);
        self.terminate_update(handle, now);
        if let Some(unacked) = self.calls.get_mut(&handle).and_then(|call| call.unacked.take()) {
            self.send_ack(handle, unacked, None);
        }
        let Some(call) = self.calls.remove(&handle) else { return };
        for id in call.dialog_ids() {
            self.dialogs.remove(id);
        }
        if let Some(reinvite) = call.own_reinvite {
            self.transactions.give_up(reinvite.transaction);
        }
        self.orphan_refers(handle, call.dialog.as_ref());
        self.fail_requests(call.requests);
        self.reschedule(handle);
        self.emit(Event::CallEnded { call: handle, cause: call.end_cause.unwrap_or(cause) });
    }
}

#[cfg(test)]
mod tests;
