//! Datagrams in, events out: the front of the stack. RFC 3261 §8 to §18 over UDP and TCP, RFC 3581, RFC 6026.
//!
//! The drive loop: one `handle_*` or command, then [`poll_transmit`](Endpoint::poll_transmit) and
//! [`poll_event`](Endpoint::poll_event) until both are empty, then wait for the next input or for
//! [`poll_timeout`](Endpoint::poll_timeout), whichever comes first.

mod config;
mod event;
mod path;

pub use config::{EndpointConfig, EndpointLimits, LocalAddress};
pub use event::{Accepting, CallHandle, Counters, EndpointMisuse, Event, Occupancy};
pub use path::{FlowId, Source, Transmit, Transport};

use std::net::SocketAddr;
use std::time::Instant;

use crate::message::header::ReasonHeader;
use crate::message::{HeaderName, NameAddr, StatusCode, Uri};

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
    config: EndpointConfig,
}

impl Endpoint {
    /// An endpoint that accepts calls.
    pub fn new(config: EndpointConfig) -> Self {
        Self { config }
    }

    /// Takes one UDP datagram.
    pub fn handle_datagram(&mut self, source: Source, bytes: &[u8], now: Instant) {
        let _ = (source, bytes, now);
    }

    /// Learns of a connection, accepted or made.
    pub fn handle_stream_opened(&mut self, flow: FlowId, local: SocketAddr, peer: SocketAddr) {
        let _ = (flow, local, peer);
    }

    /// Takes what was read from a connection. Pings are answered (RFC 5626 §3.5.1).
    pub fn handle_stream_bytes(&mut self, flow: FlowId, bytes: &[u8], now: Instant) {
        let _ = (flow, bytes, now);
    }

    /// Learns that a connection is gone. Calls stay up; requests under way on it have failed.
    pub fn handle_stream_closed(&mut self, flow: FlowId, now: Instant) {
        let _ = (flow, now);
    }

    /// Learns that nothing can be sent to `peer`: no connection to be had, or an ICMP error. Requests under way to
    /// it have failed.
    pub fn handle_transmit_failed(&mut self, transport: Transport, peer: SocketAddr, now: Instant) {
        let _ = (transport, peer, now);
    }

    /// Works off every timer that is due.
    pub fn handle_timeout(&mut self, now: Instant) {
        let _ = now;
    }

    /// The next deadline and its timer's RFC letter, so a log line can say why we woke. `None`: nothing is under way.
    pub fn poll_timeout(&self) -> Option<(Instant, &'static str)> {
        None
    }

    /// The next message to send.
    pub fn poll_transmit(&mut self) -> Option<Transmit> {
        None
    }

    /// The next event.
    pub fn poll_event(&mut self) -> Option<Event> {
        None
    }

    /// The next connection to close, because its framing is lost or there are too many.
    pub fn poll_close(&mut self) -> Option<FlowId> {
        None
    }

    /// Turns new calls away, or welcomes them again.
    pub fn set_accepting(&mut self, accepting: Accepting) {
        let _ = accepting;
    }

    /// What has been dropped so far.
    pub fn counters(&self) -> Counters {
        Counters::default()
    }

    /// How full the tables are now.
    pub fn occupancy(&self) -> Occupancy {
        Occupancy::default()
    }

    /// Tells the caller that it rings: 180, or 183 with a session description for early media.
    ///
    /// # Errors
    /// [`EndpointMisuse`]: not an incoming call, or it has its final response.
    pub fn ring(&mut self, call: CallHandle, sdp: Option<Vec<u8>>, now: Instant) -> Result<(), EndpointMisuse> {
        let _ = (call, sdp, now, &self.config);
        Err(EndpointMisuse::UnknownCall)
    }

    /// Answers with 200, repeated until the ACK is here. `sdp` is the answer, or our offer if the INVITE had none.
    ///
    /// # Errors
    /// [`EndpointMisuse`]: not an incoming call, or it has its final response.
    pub fn answer(&mut self, call: CallHandle, sdp: Vec<u8>, now: Instant) -> Result<(), EndpointMisuse> {
        let _ = (call, sdp, now);
        Err(EndpointMisuse::UnknownCall)
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
        let _ = (call, status, headers, now);
        Err(EndpointMisuse::UnknownCall)
    }

    /// Accepts the peer's re-INVITE.
    ///
    /// # Errors
    /// [`EndpointMisuse`]: there is none to answer.
    pub fn answer_reinvite(&mut self, call: CallHandle, sdp: Vec<u8>, now: Instant) -> Result<(), EndpointMisuse> {
        let _ = (call, sdp, now);
        Err(EndpointMisuse::UnknownCall)
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
        let _ = (call, status, now);
        Err(EndpointMisuse::UnknownCall)
    }

    /// Hangs up. Before our ACK is here the BYE waits for it (RFC 3261 §15); of a call that we place and that is not
    /// yet answered it makes a [`cancel`](Self::cancel).
    ///
    /// # Errors
    /// [`EndpointMisuse`]: an incoming call without final response is rejected instead; a BYE is already out.
    pub fn bye(&mut self, call: CallHandle, reason: Option<ReasonHeader>, now: Instant) -> Result<(), EndpointMisuse> {
        let _ = (call, reason, now);
        Err(EndpointMisuse::UnknownCall)
    }

    /// Places a call.
    ///
    /// # Errors
    /// [`EndpointMisuse::Full`].
    pub fn invite(&mut self, invite: OutgoingInvite, now: Instant) -> Result<CallHandle, EndpointMisuse> {
        let _ = (invite, now);
        Err(EndpointMisuse::Full)
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
        let _ = (call, reason, now);
        Err(EndpointMisuse::UnknownCall)
    }

    /// Confirms a 2xx whose session description was an offer, with our answer.
    ///
    /// # Errors
    /// [`EndpointMisuse`]: no such 2xx is waiting.
    pub fn ack_with_answer(&mut self, call: CallHandle, sdp: Vec<u8>, now: Instant) -> Result<(), EndpointMisuse> {
        let _ = (call, sdp, now);
        Err(EndpointMisuse::UnknownCall)
    }

    /// Asks for another session within a call that is up: hold, resume, other codecs. `None` asks for their offer.
    ///
    /// # Errors
    /// [`EndpointMisuse`]: the call is not up, or another re-INVITE is under way.
    pub fn reinvite(&mut self, call: CallHandle, offer: Option<Vec<u8>>, now: Instant) -> Result<(), EndpointMisuse> {
        let _ = (call, offer, now);
        Err(EndpointMisuse::UnknownCall)
    }
}
