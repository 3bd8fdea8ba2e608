//! Non-INVITE client transaction: RFC 3261 §17.1.2.
//!
//! ```text
//!   request ─► Trying ──1xx──► Proceeding      E: repeat, in both
//!              F │ 200-699      │ F, 200-699
//!                ├──► Completed ◄┤
//!                │        │ K    │
//!                └───► Terminated◄┘
//! ```

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::{Timers, Transaction, TransactionEvent, earliest, is_due};
use crate::message::StatusCode;

/// The client side of any request but INVITE and ACK; the file's head has the diagram.
#[derive(Debug)]
pub struct Client {
    state: State,
    reliable: bool,
    timers: Timers,
    request: Vec<u8>,
    /// Current interval of Timer E: T1, doubling up to T2; T2 once a provisional response is here.
    retransmit_after: Duration,
    /// Repeat the request.
    timer_e: Option<Instant>,
    /// Give up waiting for the final response.
    timer_f: Option<Instant>,
    /// Absorb repeated responses.
    timer_k: Option<Instant>,
    transmits: VecDeque<Vec<u8>>,
    events: VecDeque<TransactionEvent>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Trying,
    Proceeding,
    Completed,
    Terminated,
}

impl Client {
    /// Sends the request.
    pub fn new(request: Vec<u8>, reliable: bool, timers: Timers, now: Instant) -> Self {
        Self {
            state: State::Trying,
            reliable,
            timers,
            transmits: VecDeque::from([request.clone()]),
            request,
            retransmit_after: timers.t1,
            timer_e: (!reliable).then(|| now + timers.t1),
            timer_f: Some(now + timers.give_up()),
            timer_k: None,
            events: VecDeque::new(),
        }
    }

    /// A response came. Gives back whether the transaction user is to see it.
    pub fn handle_response(&mut self, status: StatusCode, now: Instant) -> bool {
        match self.state {
            State::Trying | State::Proceeding if status.is_provisional() => self.state = State::Proceeding,
            State::Trying | State::Proceeding => self.complete(now),
            State::Completed | State::Terminated => return false,
        }
        true
    }

    fn complete(&mut self, now: Instant) {
        self.state = State::Completed;
        (self.timer_e, self.timer_f) = (None, None);
        match self.reliable {
            true => self.terminate(),
            false => self.timer_k = Some(now + self.timers.t4),
        }
    }

    /// Is it still without a final response?
    pub fn is_pending(&self) -> bool {
        matches!(self.state, State::Trying | State::Proceeding)
    }

    /// Ends it without a response: the transport failed.
    pub fn give_up(&mut self) {
        if self.state != State::Terminated {
            self.terminate();
        }
    }

    fn terminate(&mut self) {
        self.state = State::Terminated;
        (self.timer_e, self.timer_f, self.timer_k) = (None, None, None);
        self.events.push_back(TransactionEvent::Terminated);
    }
}

impl Transaction for Client {
    fn handle_timeout(&mut self, now: Instant) {
        if is_due(self.timer_f, now) {
            self.events.push_back(TransactionEvent::TimedOut);
            self.terminate();
        } else if is_due(self.timer_k, now) {
            self.terminate();
        } else if is_due(self.timer_e, now) {
            self.retransmit_after = match self.state {
                State::Trying => (self.retransmit_after * 2).min(self.timers.t2),
                State::Proceeding | State::Completed | State::Terminated => self.timers.t2,
            };
            self.timer_e = Some(now + self.retransmit_after);
            self.transmits.push_back(self.request.clone());
        }
    }

    fn poll_timeout(&self) -> Option<(Instant, &'static str)> {
        earliest([(self.timer_e, "E"), (self.timer_f, "F"), (self.timer_k, "K")])
    }

    fn poll_transmit(&mut self) -> Option<Vec<u8>> {
        self.transmits.pop_front()
    }

    fn poll_event(&mut self) -> Option<TransactionEvent> {
        self.events.pop_front()
    }
}

#[cfg(test)]
mod tests {
    use super::super::trace::{Trace, ms, start};
    use super::*;

    fn trying(reliable: bool) -> Client {
        Client::new(b"BYE".to_vec(), reliable, Timers::default(), start())
    }

    #[test]
    fn an_unanswered_request_is_repeated_until_timer_f() {
        let trace = Trace::run(&mut trying(false));
        assert_eq!(trace.sent_ms, [0, 500, 1500, 3500, 7500, 11500, 15500, 19500, 23500, 27500, 31500]);
        assert_eq!(trace.events, [(32_000, TransactionEvent::TimedOut), (32_000, TransactionEvent::Terminated)]);
        assert_eq!(trace.letters, "EEEEEEEEEEF");
    }

    #[test]
    fn over_a_reliable_transport_it_goes_once() {
        let trace = Trace::run(&mut trying(true));
        assert_eq!((trace.sent_ms, trace.letters), (vec![0], "F".to_owned()));
    }

    #[test]
    fn after_a_provisional_response_it_is_repeated_every_t2() {
        let mut machine = trying(false);
        assert!(machine.handle_response(StatusCode::TRYING, start() + ms(100)));
        let trace = Trace::run(&mut machine);
        assert_eq!(trace.sent_ms, [0, 500, 4500, 8500, 12500, 16500, 20500, 24500, 28500]);
        assert_eq!(trace.letters, "EEEEEEEEF");
    }

    #[test]
    fn the_final_response_is_passed_on_once() {
        let mut machine = trying(false);
        assert!(machine.handle_response(StatusCode::OK, start()));
        assert!(!machine.handle_response(StatusCode::OK, start() + ms(1)));
        let trace = Trace::run(&mut machine);
        assert_eq!((trace.events, trace.letters.as_str()), (vec![(5_000, TransactionEvent::Terminated)], "K"));
    }
}
