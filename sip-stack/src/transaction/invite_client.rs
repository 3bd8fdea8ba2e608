//! INVITE client transaction: RFC 3261 §17.1.1, with the Accepted state of RFC 6026 §7.2.
//!
//! ```text
//!     INVITE
//!       │
//!       ▼ A: repeat      1xx
//!     Calling ─────────────────► Proceeding
//!       │ B │ 2xx    300-699: ACK │      │ 2xx
//!       │   └──────────┬──────────┼──────┤
//!       │              ▼          ▼      │
//!       │          Completed ◄────┘      ▼
//!       │              │ D            Accepted
//!       ▼              ▼      M          │
//!     Terminated ◄──── ┴ ◄───────────────┘
//! ```

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::{Timers, Transaction, TransactionEvent, earliest, is_due};
use crate::message::StatusCode;

/// The client side of an INVITE; the file's head has the diagram.
#[derive(Debug)]
pub struct InviteClient {
    state: State,
    reliable: bool,
    timers: Timers,
    request: Vec<u8>,
    ack: Vec<u8>,
    /// Current interval of Timer A: T1, doubling without end.
    retransmit_after: Duration,
    /// Repeat the INVITE.
    timer_a: Option<Instant>,
    /// Give up waiting for any response.
    timer_b: Option<Instant>,
    /// Acknowledge repeated rejections.
    timer_d: Option<Instant>,
    /// Pass repeated 2xx on.
    timer_m: Option<Instant>,
    transmits: VecDeque<Vec<u8>>,
    events: VecDeque<TransactionEvent>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Calling,
    Proceeding,
    Accepted,
    Completed,
    Terminated,
}

impl InviteClient {
    /// Sends the INVITE.
    pub fn new(request: Vec<u8>, reliable: bool, timers: Timers, now: Instant) -> Self {
        Self {
            state: State::Calling,
            reliable,
            timers,
            transmits: VecDeque::from([request.clone()]),
            request,
            ack: Vec::new(),
            retransmit_after: timers.t1,
            timer_a: (!reliable).then(|| now + timers.t1),
            timer_b: Some(now + timers.give_up()),
            timer_d: None,
            timer_m: None,
            events: VecDeque::new(),
        }
    }

    /// A response came. `ack` makes the ACK for a response of 300 to 699. Gives back whether the transaction user is
    /// to see the response; every 2xx is, also a repeated one.
    pub fn handle_response(&mut self, status: StatusCode, ack: impl FnOnce() -> Vec<u8>, now: Instant) -> bool {
        match (self.state, status.class()) {
            (State::Calling | State::Proceeding, 1) => {
                self.state = State::Proceeding;
                (self.timer_a, self.timer_b) = (None, None);
                true
            }
            (State::Calling | State::Proceeding, 2) => {
                self.state = State::Accepted;
                (self.timer_a, self.timer_b) = (None, None);
                self.timer_m = Some(now + self.timers.give_up());
                true
            }
            (State::Calling | State::Proceeding, _) => {
                self.complete(ack(), now);
                true
            }
            (State::Accepted, 2) => true,
            (State::Completed, 3..) => {
                self.transmits.push_back(self.ack.clone());
                false
            }
            (State::Accepted | State::Completed | State::Terminated, _) => false,
        }
    }

    fn complete(&mut self, ack: Vec<u8>, now: Instant) {
        self.state = State::Completed;
        (self.timer_a, self.timer_b) = (None, None);
        self.transmits.push_back(ack.clone());
        self.ack = ack;
        match self.reliable {
            true => self.terminate(),
            false => self.timer_d = Some(now + self.timers.linger_after_rejection()),
        }
    }

    /// Is it still without a final response?
    pub fn is_pending(&self) -> bool {
        matches!(self.state, State::Calling | State::Proceeding)
    }

    /// The transaction user has turned elsewhere: a late response still counts, but nothing asks for it any more.
    pub fn stop_repeating(&mut self) {
        self.timer_a = None;
    }

    /// Ends it without a response: the transport failed, or a CANCEL had no effect in time (RFC 3261 §9.1).
    pub fn give_up(&mut self) {
        if self.state != State::Terminated {
            self.terminate();
        }
    }

    fn terminate(&mut self) {
        self.state = State::Terminated;
        (self.timer_a, self.timer_b, self.timer_d, self.timer_m) = (None, None, None, None);
        self.events.push_back(TransactionEvent::Terminated);
    }
}

impl Transaction for InviteClient {
    fn handle_timeout(&mut self, now: Instant) {
        if is_due(self.timer_b, now) {
            self.events.push_back(TransactionEvent::TimedOut);
            self.terminate();
        } else if is_due(self.timer_d, now) || is_due(self.timer_m, now) {
            self.terminate();
        } else if is_due(self.timer_a, now) {
            self.retransmit_after *= 2;
            self.timer_a = Some(now + self.retransmit_after);
            self.transmits.push_back(self.request.clone());
        }
    }

    fn poll_timeout(&self) -> Option<(Instant, &'static str)> {
        earliest([(self.timer_a, "A"), (self.timer_b, "B"), (self.timer_d, "D"), (self.timer_m, "M")])
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

    fn calling(reliable: bool) -> InviteClient {
        InviteClient::new(b"INVITE".to_vec(), reliable, Timers::default(), start())
    }

    fn ack() -> Vec<u8> {
        b"ACK".to_vec()
    }

    #[test]
    fn an_unanswered_invite_is_repeated_until_timer_b() {
        let trace = Trace::run(&mut calling(false));
        assert_eq!(trace.sent_ms, [0, 500, 1500, 3500, 7500, 15500, 31500]);
        assert_eq!(trace.events, [(32_000, TransactionEvent::TimedOut), (32_000, TransactionEvent::Terminated)]);
        assert_eq!(trace.letters, "AAAAAAB");
    }

    #[test]
    fn over_a_reliable_transport_it_goes_once() {
        let trace = Trace::run(&mut calling(true));
        assert_eq!((trace.sent_ms, trace.letters), (vec![0], "B".to_owned()));
    }

    #[test]
    fn a_provisional_response_stops_repeats_and_timer_b() {
        let mut machine = calling(false);
        assert!(machine.handle_response(StatusCode::RINGING, ack, start() + ms(100)));
        assert_eq!(machine.poll_timeout(), None);
    }

    #[test]
    fn a_rejection_is_acknowledged_as_often_as_it_comes_and_passed_on_once() {
        let mut machine = calling(false);
        assert!(machine.handle_response(StatusCode::BUSY_HERE, ack, start()));
        assert!(!machine.handle_response(StatusCode::BUSY_HERE, || unreachable!("it is kept"), start() + ms(500)));
        assert!(!machine.handle_response(StatusCode::OK, ack, start() + ms(500)), "one final response");
        let trace = Trace::run(&mut machine);
        assert_eq!(trace.sent, ["INVITE", "ACK", "ACK"]);
        assert_eq!((trace.events, trace.letters.as_str()), (vec![(32_000, TransactionEvent::Terminated)], "D"));
    }

    #[test]
    fn a_rejection_over_a_reliable_transport_ends_it_at_once() {
        let mut machine = calling(true);
        assert!(machine.handle_response(StatusCode::BUSY_HERE, ack, start()));
        assert_eq!(machine.poll_event(), Some(TransactionEvent::Terminated));
        assert_eq!(machine.poll_timeout(), None);
    }

    #[test]
    fn every_2xx_is_passed_on_until_timer_m_and_none_is_acknowledged_here() {
        let mut machine = calling(false);
        assert!(machine.handle_response(StatusCode::OK, ack, start()));
        assert!(machine.handle_response(StatusCode::OK, ack, start() + ms(500)));
        assert!(!machine.handle_response(StatusCode::BUSY_HERE, ack, start() + ms(500)));
        let trace = Trace::run(&mut machine);
        assert_eq!(trace.sent, ["INVITE"]);
        assert_eq!((trace.events, trace.letters.as_str()), (vec![(32_000, TransactionEvent::Terminated)], "M"));
        assert!(!machine.handle_response(StatusCode::OK, ack, start() + ms(33_000)));
    }
}
