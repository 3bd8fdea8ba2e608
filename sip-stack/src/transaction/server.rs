//! Non-INVITE server transaction: RFC 3261 §17.2.2.
//!
//! ```text
//!   request ─► Trying ──1xx──► Proceeding
//!                │ 200-699        │ 200-699
//!                └───► Completed ◄┘
//!                         │ J
//!                         ▼
//!                     Terminated
//! ```

use std::collections::VecDeque;
use std::time::Instant;

use super::{RespondError, Timers, Transaction, TransactionEvent, earliest, is_due};
use crate::message::StatusCode;

/// The server side of any request but INVITE and ACK; the file's head has the diagram.
#[derive(Debug)]
pub struct Server {
    state: State,
    reliable: bool,
    timers: Timers,
    last_response: Vec<u8>,
    /// Answer repeated requests.
    timer_j: Option<Instant>,
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

impl Server {
    /// For a request that has just come.
    pub fn new(reliable: bool, timers: Timers) -> Self {
        Self {
            state: State::Trying,
            reliable,
            timers,
            last_response: Vec::new(),
            timer_j: None,
            transmits: VecDeque::new(),
            events: VecDeque::new(),
        }
    }

    /// Sends a response.
    ///
    /// # Errors
    /// [`RespondError::FinalAlreadySent`].
    pub fn respond(&mut self, status: StatusCode, bytes: Vec<u8>, now: Instant) -> Result<(), RespondError> {
        match self.state {
            State::Trying | State::Proceeding => {}
            State::Completed | State::Terminated => return Err(RespondError::FinalAlreadySent),
        }
        self.transmits.push_back(bytes.clone());
        self.last_response = bytes;
        if status.is_provisional() {
            self.state = State::Proceeding;
            return Ok(());
        }
        self.state = State::Completed;
        match self.reliable {
            true => self.terminate(),
            false => self.timer_j = Some(now + self.timers.give_up()),
        }
        Ok(())
    }

    /// The request came again.
    pub fn handle_repeat(&mut self) {
        match self.state {
            State::Proceeding | State::Completed => self.transmits.push_back(self.last_response.clone()),
            State::Trying | State::Terminated => {}
        }
    }

    fn terminate(&mut self) {
        self.state = State::Terminated;
        self.timer_j = None;
        self.events.push_back(TransactionEvent::Terminated);
    }
}

impl Transaction for Server {
    fn handle_timeout(&mut self, now: Instant) {
        if is_due(self.timer_j, now) {
            self.terminate();
        }
    }

    fn poll_timeout(&self) -> Option<(Instant, &'static str)> {
        earliest([(self.timer_j, "J")])
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
    use super::super::trace::{Trace, start};
    use super::*;

    #[test]
    fn a_repeated_request_gets_its_response_again_until_timer_j() {
        let mut machine = Server::new(false, Timers::default());
        machine.handle_repeat();
        assert_eq!(machine.poll_transmit(), None, "nothing has been said yet");
        machine.respond(StatusCode::OK, b"200".to_vec(), start()).unwrap();
        machine.handle_repeat();
        let trace = Trace::run(&mut machine);
        assert_eq!(trace.sent, ["200", "200"]);
        assert_eq!((trace.events, trace.letters.as_str()), (vec![(32_000, TransactionEvent::Terminated)], "J"));
    }

    #[test]
    fn a_reliable_transport_needs_no_timer_j() {
        let mut machine = Server::new(true, Timers::default());
        machine.respond(StatusCode::OK, b"200".to_vec(), start()).unwrap();
        assert_eq!(machine.poll_event(), Some(TransactionEvent::Terminated));
        assert_eq!(machine.poll_timeout(), None);
    }

    #[test]
    fn there_is_one_final_response() {
        let mut machine = Server::new(false, Timers::default());
        machine.respond(StatusCode::TRYING, b"100".to_vec(), start()).unwrap();
        machine.respond(StatusCode::OK, b"200".to_vec(), start()).unwrap();
        assert_eq!(machine.respond(StatusCode::OK, Vec::new(), start()), Err(RespondError::FinalAlreadySent));
    }
}
