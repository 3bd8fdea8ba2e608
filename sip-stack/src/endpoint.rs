//! Datagrams in, events out: the front of the stack. RFC 3261 §8 to §18 over UDP and TCP, RFC 3581, RFC 6026.
//!
//! Sans-IO: no sockets, no clock, no randomness but from [`EndpointConfig::seed`]; two endpoints that get the same seed
//! and the same inputs at the same times send the same bytes. It holds what the layers below need and passes messages
//! between them: [`transaction`](crate::transaction) repeats, `dialog` remembers the peer, `ua` knows what a call is.
//!
//! The drive loop: one `handle_*` or command, then [`poll_transmit`](Endpoint::poll_transmit) and
//! [`poll_event`](Endpoint::poll_event) until both are empty, then wait for the next input or for
//! [`poll_timeout`](Endpoint::poll_timeout), whichever comes first.

mod config;
mod event;
mod path;
mod streams;

pub use config::{EndpointConfig, EndpointLimits, LocalAddress};
pub use event::{Accepting, CallHandle, Counters, EndpointMisuse, Event, Occupancy};
pub use path::{FlowId, Source, Transmit, Transport};

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::time::Instant;

use rand::rngs::ChaCha12Rng;
use rand::{Rng, RngExt, SeedableRng};

use self::streams::Streams;
use crate::dialog::DialogId;
use crate::message::framing::Frame;
use crate::message::header::{MAGIC_COOKIE, ReasonHeader};
use crate::message::{HeaderName, Host, Message, NameAddr, Request, StatusCode, Uri};
use crate::transaction::Deadlines;
use crate::transaction::table::{Table, TransactionId};
use crate::ua::call::Call;
use crate::ua::{MergeKey, Use};

/// The answer to a ping (RFC 5626 §3.5.1).
const PONG: &[u8] = b"\r\n";

/// A call to place.
#[derive(Debug, Clone)]
pub struct OutgoingInvite {
    /// Request-URI: whom to call.
    pub target: Uri,
    /// Who calls; a tag is added.
    pub from: NameAddr,
    /// Whom we call, in the caller's words; mostly the same address as `target`.
    pub to: NameAddr,
    /// Where in-dialog requests shall go; `None` takes the transport's own Contact.
    pub contact: Option<NameAddr>,
    /// Where to send it; the stack looks no names up.
    pub peer: SocketAddr,
    /// How to send it. Over UDP also when it is larger than 1300 bytes: RFC 3261 §18.1.1 asks for TCP then.
    pub transport: Transport,
    /// Session description; `None` leaves the offer to the callee (late offer).
    pub offer: Option<Vec<u8>>,
    /// More headers. Those that the stack makes itself are ignored.
    pub headers: Vec<(HeaderName, String)>,
}

/// See the [module](self).
#[derive(Debug)]
pub struct Endpoint {
    pub(crate) config: EndpointConfig,
    rng: ChaCha12Rng,
    /// Keeps peers from foreseeing the tags of stateless responses.
    tag_secret: u64,
    pub(crate) accepting: Accepting,
    pub(crate) transactions: Table<Use>,
    /// Requests that would be the same if they came again under another branch.
    pub(crate) merges: BTreeMap<MergeKey, TransactionId>,
    pub(crate) calls: BTreeMap<CallHandle, Call>,
    pub(crate) dialogs: BTreeMap<DialogId, CallHandle>,
    call_deadlines: Deadlines<CallHandle>,
    next_call: u64,
    pub(crate) streams: Streams,
    events: VecDeque<Event>,
    pub(crate) counters: Counters,
}

impl Endpoint {
    /// An endpoint that accepts calls.
    pub fn new(config: EndpointConfig) -> Self {
        let mut rng = ChaCha12Rng::from_seed(config.seed);
        let limits = config.limits;
        Self {
            tag_secret: rng.next_u64(),
            rng,
            accepting: Accepting::Yes,
            transactions: Table::new(limits.transactions, limits.queued, config.timers),
            merges: BTreeMap::new(),
            calls: BTreeMap::new(),
            dialogs: BTreeMap::new(),
            call_deadlines: Deadlines::new(),
            next_call: 1,
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
    pub fn handle_stream_opened(&mut self, flow: FlowId, local: SocketAddr, peer: SocketAddr) {
        self.streams.insert(flow, local, peer);
    }

    /// Takes what was read from a connection. Pings are answered (RFC 5626 §3.5.1).
    pub fn handle_stream_bytes(&mut self, flow: FlowId, bytes: &[u8], now: Instant) {
        let (frames, end) = self.streams.push(flow, bytes);
        for (source, frame) in frames {
            match frame {
                Frame::Message(message) => self.receive(message, source, now),
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
        if let Some(peer) = self.streams.remove(flow) {
            self.transactions.fail_flow(flow, peer);
        }
        self.settle(now);
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
        while let Some(call) = self.call_deadlines.due(now) {
            self.on_call_timeout(call, now);
            self.reschedule(call);
        }
        self.settle(now);
    }

    /// The next deadline and its timer's RFC letter, so a log line can say why we woke. `None`: nothing is under way.
    pub fn poll_timeout(&self) -> Option<(Instant, &'static str)> {
        let deadlines = [self.transactions.poll_timeout(), self.call_deadlines.next()];
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

    /// Peers reach us under another host from now on, on the same ports. Dialogs that are up keep the Contact that their
    /// peer was told, until a re-INVITE.
    pub fn set_advertised(&mut self, host: &Host) {
        for local in [&mut self.config.udp, &mut self.config.tcp] {
            local.advertised.host = host.clone();
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
            dialogs: self.dialogs.len(),
            transactions: self.transactions.len(),
            streams: self.streams.len(),
        }
    }

    /// Tells the caller that it rings: 180, or 183 with a session description for early media.
    ///
    /// # Errors
    /// [`EndpointMisuse`]: not an incoming call, or it has its final response.
    pub fn ring(&mut self, call: CallHandle, sdp: Option<Vec<u8>>, now: Instant) -> Result<(), EndpointMisuse> {
        let result = self.do_ring(call, sdp, now);
        self.settle(now);
        result
    }

    /// Answers with 200, repeated until the ACK is here. `sdp` is the answer, or our offer if the INVITE had none.
    ///
    /// # Errors
    /// [`EndpointMisuse`]: not an incoming call, or it has its final response.
    pub fn answer(&mut self, call: CallHandle, sdp: Vec<u8>, now: Instant) -> Result<(), EndpointMisuse> {
        let result = self.do_answer(call, sdp, now);
        self.settle(now);
        result
    }

    /// Refuses the call with 300 to 699, and ends it.
    ///
    /// # Errors
    /// [`EndpointMisuse`]: not an incoming call, it has its final response, or another status.
    pub fn reject(
        &mut self,
        call: CallHandle,
        status: StatusCode,
        headers: &[(HeaderName, String)],
        now: Instant,
    ) -> Result<(), EndpointMisuse> {
        let result = self.do_reject(call, status, headers, now);
        self.settle(now);
        result
    }

    /// Accepts the peer's re-INVITE.
    ///
    /// # Errors
    /// [`EndpointMisuse`]: there is none to answer.
    pub fn answer_reinvite(&mut self, call: CallHandle, sdp: Vec<u8>, now: Instant) -> Result<(), EndpointMisuse> {
        let result = self.do_answer_reinvite(call, sdp, now);
        self.settle(now);
        result
    }

    /// Refuses the peer's re-INVITE with 300 to 699; the session stays as it was.
    ///
    /// # Errors
    /// [`EndpointMisuse`]: there is none to answer, or another status.
    pub fn reject_reinvite(
        &mut self,
        call: CallHandle,
        status: StatusCode,
        now: Instant,
    ) -> Result<(), EndpointMisuse> {
        let result = self.do_reject_reinvite(call, status, now);
        self.settle(now);
        result
    }

    /// Hangs up. Before our ACK is here the BYE waits for it (RFC 3261 §15); of a call that we place and that is not
    /// yet answered it makes a [`cancel`](Self::cancel).
    ///
    /// # Errors
    /// [`EndpointMisuse`]: an incoming call without final response is rejected instead; a BYE is already out.
    pub fn bye(&mut self, call: CallHandle, reason: Option<ReasonHeader>, now: Instant) -> Result<(), EndpointMisuse> {
        let result = self.do_bye(call, reason, now);
        self.settle(now);
        result
    }

    /// Places a call. Once it rings nothing ends the wait but an answer or [`cancel`](Self::cancel): how long somebody
    /// may ring is the user's choice.
    ///
    /// # Errors
    /// [`EndpointMisuse::Full`].
    pub fn invite(&mut self, invite: OutgoingInvite, now: Instant) -> Result<CallHandle, EndpointMisuse> {
        let result = self.do_invite(invite, now);
        self.settle(now);
        result
    }

    /// Takes our INVITE back: at once, or as soon as the first provisional response is here (RFC 3261 §9.1). If the
    /// answer was faster the endpoint confirms it and hangs up.
    ///
    /// # Errors
    /// [`EndpointMisuse`]: not a call that we place, or it has its final response.
    pub fn cancel(
        &mut self,
        call: CallHandle,
        reason: Option<ReasonHeader>,
        now: Instant,
    ) -> Result<(), EndpointMisuse> {
        let result = self.do_cancel(call, reason, now);
        self.settle(now);
        result
    }

    /// Confirms a 2xx whose session description was an offer, with our answer.
    ///
    /// # Errors
    /// [`EndpointMisuse`]: no such 2xx is waiting.
    pub fn ack_with_answer(&mut self, call: CallHandle, sdp: Vec<u8>, now: Instant) -> Result<(), EndpointMisuse> {
        let result = self.do_ack_with_answer(call, sdp);
        self.settle(now);
        result
    }

    /// Asks for another session within a call that is up: hold, resume, other codecs. `None` asks for their offer.
    ///
    /// # Errors
    /// [`EndpointMisuse`]: the call is not up, or another re-INVITE is under way.
    pub fn reinvite(&mut self, call: CallHandle, offer: Option<Vec<u8>>, now: Instant) -> Result<(), EndpointMisuse> {
        let result = self.do_reinvite(call, offer, now);
        self.settle(now);
        result
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

    pub(crate) fn new_call(&mut self) -> CallHandle {
        let call = CallHandle(self.next_call);
        self.next_call += 1;
        call
    }

    /// Notes when the call wants to be woken. Due after every change of its waits.
    pub(crate) fn reschedule(&mut self, handle: CallHandle) {
        self.call_deadlines.set(handle, self.calls.get(&handle).and_then(Call::poll_timeout));
    }

    /// Forgets the call. Its transactions linger on their own.
    pub(crate) fn end(&mut self, handle: CallHandle) {
        let Some(call) = self.calls.remove(&handle) else { return };
        for id in call.dialog_ids() {
            self.dialogs.remove(id);
        }
        if let Some(reinvite) = call.own_reinvite {
            self.transactions.give_up(reinvite.transaction);
        }
        self.reschedule(handle);
        self.emit(Event::CallEnded { call: handle });
    }

    /// 64 random bits (RFC 3261 §19.3 asks for 32) for tags and Call-IDs.
    pub(crate) fn random_token(&mut self) -> String {
        format!("{:016x}", self.rng.next_u64())
    }

    pub(crate) fn random_branch(&mut self) -> String {
        format!("{MAGIC_COOKIE}{}", self.random_token())
    }

    pub(crate) fn random_below(&mut self, end: u32) -> u32 {
        self.rng.random_range(0..end.max(1))
    }

    /// The same tag for every copy of a request, and one that a peer cannot foresee (RFC 3261 §8.2.7).
    pub(crate) fn stateless_tag(&self, request: &Request) -> String {
        let names = [HeaderName::VIA, HeaderName::CALL_ID, HeaderName::FROM, HeaderName::CSEQ];
        let fields = names.iter().filter_map(|name| request.headers.first(name));
        // FNV-1a from a secret start.
        let hash = fields
            .flat_map(|field| field.value())
            .fold(self.tag_secret, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3));
        format!("{hash:016x}")
    }
}

#[cfg(test)]
mod tests;
