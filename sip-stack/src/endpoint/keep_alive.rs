//! Pings on the connections we made: a double CRLF now and then keeps NATs and carriers from forgetting them, and a pong
//! that stays out tells that they have (RFC 5626 §3.5.1, §4.4.1).

use std::time::{Duration, Instant};

use super::path::{FlowId, Transmit};
use super::{Endpoint, Waiter};

/// Double CRLF.
const PING: &[u8] = b"\r\n\r\n";
/// How long a pong may take.
const PONG_WITHIN: Duration = Duration::from_secs(10);

/// Of one connection.
#[derive(Debug)]
pub(crate) struct KeepAlive {
    ping_at: Instant,
    /// A ping is out.
    awaits_pong: bool,
    /// The connection is lost if nothing comes back until then.
    pong_until: Option<Instant>,
    /// The peer has answered before. One that never does may not know how.
    answers: bool,
}

impl KeepAlive {
    pub(crate) fn poll_timeout(&self) -> (Instant, &'static str) {
        match self.pong_until {
            Some(until) if until < self.ping_at => (until, "pong"),
            Some(_) | None => (self.ping_at, "ping"),
        }
    }
}

impl Endpoint {
    /// A connection that we made is there: one of ours has a port of its own, an accepted one the port we listen on.
    pub(super) fn begin_keep_alive(&mut self, flow: FlowId, now: Instant) {
        let Some(source) = self.streams.source(flow) else { return };
        let is_accepted = source.local.port() == self.config.local(source.transport).socket.port();
        if let Some(interval) = self.config.keep_alive.filter(|_| !is_accepted) {
            let ping_at = now + self.jittered(interval);
            self.keep_alives.insert(flow, KeepAlive { ping_at, awaits_pong: false, pong_until: None, answers: false });
            self.reschedule(Waiter::Flow(flow));
        }
    }

    /// Four to five fifths of it, so that a thousand connections do not ping at once.
    fn jittered(&mut self, interval: Duration) -> Duration {
        interval * (800 + self.random.below(201)) / 1_000
    }

    pub(super) fn end_keep_alive(&mut self, flow: FlowId) {
        self.keep_alives.remove(&flow);
        self.reschedule(Waiter::Flow(flow));
    }

    /// A line end has come. `true`: it is the answer to a ping of ours. The framing cannot tell: two pongs in a row look
    /// like a ping to it.
    pub(super) fn note_line_end(&mut self, flow: FlowId) -> bool {
        let Some(keep_alive) = self.keep_alives.get_mut(&flow) else { return false };
        let was_awaited = std::mem::replace(&mut keep_alive.awaits_pong, false);
        keep_alive.answers |= was_awaited;
        keep_alive.pong_until = None;
        self.reschedule(Waiter::Flow(flow));
        was_awaited
    }

    pub(super) fn on_flow_timeout(&mut self, flow: FlowId, now: Instant) {
        let (Some(interval), Some(source)) = (self.config.keep_alive, self.streams.source(flow)) else {
            return self.end_keep_alive(flow);
        };
        let next = now + self.jittered(interval);
        let Some(keep_alive) = self.keep_alives.get_mut(&flow) else { return };
        if keep_alive.pong_until.is_some_and(|until| until <= now) {
            return self.lose_flow(flow, now);
        }
        if keep_alive.ping_at <= now {
            keep_alive.ping_at = next;
            keep_alive.awaits_pong = true;
            keep_alive.pong_until = keep_alive.answers.then_some(now + PONG_WITHIN);
            self.transactions.send(Transmit::back(source, PING.to_vec()));
        }
    }

    /// The peer is gone without having said so.
    fn lose_flow(&mut self, flow: FlowId, now: Instant) {
        self.forget_flow(flow, now);
        self.streams.ask_to_close(flow);
    }
}
