//! INVITE server transaction: RFC 3261 §17.2.1, with the Accepted state of RFC 6026 §7.1.
//!
//! ```text
//!              INVITE
//!                │
//!                ▼         300-699            ACK
//!   1xx, repeat Proceeding ───────► Completed ───► Confirmed
//!                │                   │ G: repeat     │ I
//!                │ 2xx               │ H             │
//!                ▼         L         ▼               ▼
//!             Accepted ───────────► Terminated ◄─────┘
//! ```

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::{Timers, Transaction, TransactionEvent, earliest, is_due};
use crate::message::StatusCode;

/// The server side of an INVITE; the file's head has the diagram.
#[derive(Debug)]
pub struct InviteServer {
    state: State,
    /// TCP: nothing is repeated and Timer I is zero.
    reliable: bool,
    timers: Timers,
    last_response: Vec<u8>,
    /// Current interval of Timer G: T1, doubling up to T2.
    retransmit_after: Duration,
    /// Repeat the final response.
    timer_g: Option<Instant>,
    /// Give up waiting for the ACK.
    timer_h: Option<Instant>,
    /// Absorb repeated ACKs.
    timer_i: Option<Instant>,
    /// Absorb repeated INVITEs after a 2xx.
    timer_l: Option<Instant>,
    transmits: VecDeque<Vec<u8>>,
    events: VecDeque<TransactionEvent>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Proceeding,
    Accepted,
    Completed,
    Confirmed,
    Terminated,
}

/// A response that cannot be sent any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RespondError {
    /// A final response is out.
    #[error("the final response has already been sent")]
    FinalAlreadySent,
}

impl InviteServer {
    /// For an INVITE that has just come.
    pub fn new(reliable: bool, timers: Timers) -> Self {
        Self {
            state: State::Proceeding,
            reliable,
            timers,
            last_response: Vec::new(),
            retransmit_after: timers.t1,
            timer_g: None,
            timer_h: None,
            timer_i: None,
            timer_l: None,
            transmits: VecDeque::new(),
            events: VecDeque::new(),
        }
    }

    /// Sends a response of the transaction user. Only the first 2xx comes here: the transaction user, not the
    /// transaction, repeats it until it sees the ACK.
    ///
    /// # Errors
    /// [`RespondError::FinalAlreadySent`].
    pub fn respond(&mut self, status: StatusCode, bytes: Vec<u8>, now: Instant) -> Result<(), RespondError> {
        match (self.state, status.class()) {
            (State::Proceeding, 1) => {}
            (State::Proceeding, 2) => {
                self.state = State::Accepted;
                self.timer_l = Some(now + self.timers.give_up());
            }
            (State::Proceeding, _) => {
                self.state = State::Completed;
                self.timer_g = (!self.reliable).then(|| now + self.timers.t1);
                self.timer_h = Some(now + self.timers.give_up());
            }
            (State::Accepted | State::Completed | State::Confirmed | State::Terminated, _) => {
                return Err(RespondError::FinalAlreadySent);
            }
        }
        self.last_response = bytes;
        self.transmits.push_back(self.last_response.clone());
        Ok(())
    }

    /// The INVITE came again.
    pub fn handle_invite_repeat(&mut self) {
        match self.state {
            State::Proceeding | State::Completed if !self.last_response.is_empty() => {
                self.transmits.push_back(self.last_response.clone());
            }
            State::Proceeding | State::Completed | State::Accepted | State::Confirmed | State::Terminated => {}
        }
    }

    /// An ACK came within the transaction, that is, for a response of 300 to 699.
    pub fn handle_ack(&mut self, now: Instant) {
        match self.state {
            State::Completed => {
                self.state = State::Confirmed;
                (self.timer_g, self.timer_h) = (None, None);
                match self.reliable {
                    true => self.terminate(),
                    false => self.timer_i = Some(now + self.timers.t4),
                }
            }
            State::Proceeding | State::Accepted | State::Confirmed | State::Terminated => {}
        }
    }

    fn terminate(&mut self) {
        self.state = State::Terminated;
        (self.timer_g, self.timer_h, self.timer_i, self.timer_l) = (None, None, None, None);
        self.events.push_back(TransactionEvent::Terminated);
    }
}

impl Transaction for InviteServer {
    fn handle_timeout(&mut self, now: Instant) {
        if is_due(self.timer_h, now) {
            self.events.push_back(TransactionEvent::TimedOut);
            self.terminate();
        } else if is_due(self.timer_i, now) || is_due(self.timer_l, now) {
            self.terminate();
        } else if is_due(self.timer_g, now) {
            self.retransmit_after = (self.retransmit_after * 2).min(self.timers.t2);
            self.timer_g = Some(now + self.retransmit_after);
            self.transmits.push_back(self.last_response.clone());
        }
    }

    fn poll_timeout(&self) -> Option<(Instant, &'static str)> {
        earliest([(self.timer_g, "G"), (self.timer_h, "H"), (self.timer_i, "I"), (self.timer_l, "L")])
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

    fn proceeding(reliable: bool) -> InviteServer {
        let mut machine = InviteServer::new(reliable, Timers::default());
        machine.respond(StatusCode::TRYING, b"100".to_vec(), start()).unwrap();
        assert_eq!(machine.poll_transmit().as_deref(), Some(&b"100"[..]));
        machine
    }

    #[test]
    fn a_rejection_is_repeated_until_timer_h() {
        let mut machine = proceeding(false);
        machine.respond(StatusCode::BUSY_HERE, b"486".to_vec(), start()).unwrap();
        let trace = Trace::run(&mut machine);
        assert_eq!(trace.sent_ms, [0, 500, 1500, 3500, 7500, 11500, 15500, 19500, 23500, 27500, 31500]);
        assert_eq!(trace.events, [(32_000, TransactionEvent::TimedOut), (32_000, TransactionEvent::Terminated)]);
        assert_eq!(trace.letters, "GGGGGGGGGGH");
    }

    #[test]
    fn a_reliable_transport_repeats_nothing() {
        let mut machine = proceeding(true);
        machine.respond(StatusCode::BUSY_HERE, b"486".to_vec(), start()).unwrap();
        let trace = Trace::run(&mut machine);
        assert_eq!((trace.sent_ms, trace.letters), (vec![0], "H".to_owned()));
    }

    #[test]
    fn the_ack_stops_repeats_and_later_acks_are_absorbed_for_t4() {
        let mut machine = proceeding(false);
        machine.respond(StatusCode::BUSY_HERE, b"486".to_vec(), start()).unwrap();
        machine.handle_ack(start() + ms(100));
        machine.handle_ack(start() + ms(200));
        let trace = Trace::run(&mut machine);
        assert_eq!(trace.sent_ms, [0]);
        assert_eq!(trace.events, [(5_100, TransactionEvent::Terminated)]);
        assert_eq!(trace.letters, "I");
    }

    #[test]
    fn the_ack_ends_it_at_once_over_a_reliable_transport() {
        let mut machine = proceeding(true);
        machine.respond(StatusCode::BUSY_HERE, b"486".to_vec(), start()).unwrap();
        machine.handle_ack(start());
        assert_eq!(machine.poll_event(), Some(TransactionEvent::Terminated));
        assert_eq!(machine.poll_timeout(), None);
    }

    #[test]
    fn after_a_2xx_repeated_invites_are_absorbed_until_timer_l() {
        let mut machine = proceeding(false);
        machine.respond(StatusCode::OK, b"200".to_vec(), start()).unwrap();
        assert!(machine.poll_transmit().is_some());
        machine.handle_invite_repeat();
        machine.handle_ack(start());
        let trace = Trace::run(&mut machine);
        assert!(trace.sent_ms.is_empty(), "the transaction user repeats a 2xx");
        assert_eq!((trace.events, trace.letters.as_str()), (vec![(32_000, TransactionEvent::Terminated)], "L"));
    }

    #[test]
    fn a_repeated_invite_gets_the_last_response_again() {
        let mut machine = proceeding(false);
        machine.handle_invite_repeat();
        assert_eq!(machine.poll_transmit().as_deref(), Some(&b"100"[..]));
        machine.respond(StatusCode::RINGING, b"180".to_vec(), start()).unwrap();
        machine.handle_invite_repeat();
        assert_eq!(machine.poll_transmit().as_deref(), Some(&b"180"[..]));
        assert_eq!(machine.poll_transmit().as_deref(), Some(&b"180"[..]));
        assert_eq!(machine.poll_timeout(), None, "ringing may last");
    }

    #[test]
    fn there_is_one_final_response() {
        let mut machine = proceeding(false);
        machine.respond(StatusCode::BUSY_HERE, b"486".to_vec(), start()).unwrap();
        for status in [StatusCode::RINGING, StatusCode::OK, StatusCode::BUSY_HERE] {
            assert_eq!(machine.respond(status, Vec::new(), start()), Err(RespondError::FinalAlreadySent));
        }
    }
}
