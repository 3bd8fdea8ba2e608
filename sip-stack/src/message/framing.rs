//! Messages out of a byte stream: TCP and TLS (RFC 3261 §18.3), with the keep-alive of RFC 5626 §3.5.1.
//!
//! One message may come a byte at a time, and one segment may hold many. A stream whose boundaries are lost (no
//! Content-Length, or one that cannot be read) cannot be found again: the message is handed out with its flaw, so that
//! it can be answered, and everything after it is an error.

use super::Message;
use super::error::{ParseError, Reason};
use super::limits::Limits;
use super::parse::{Head, head_end, too_large};

/// Collects segments and hands out messages.
#[derive(Debug)]
pub struct StreamFramer {
    limits: Limits,
    /// Received and not yet handed out; at most twice `limits.message_bytes`.
    buffer: Vec<u8>,
    state: State,
    /// A line end came just now; a second one makes it a ping.
    line_end_seen: bool,
}

#[derive(Debug)]
enum State {
    /// The first `searched` bytes hold no empty line.
    AwaitingHead { searched: usize },
    /// The head has been taken out of the buffer; so many bytes of body follow.
    AwaitingBody { head: Box<Head>, body_bytes: usize },
    /// The head says nothing useful about its body: it can be answered, but nothing after it can be read.
    LastMessage { head: Box<Head> },
    /// Where the next message starts is unknown.
    Lost(ParseError),
}

/// What a stream holds.
#[expect(clippy::large_enum_variant, reason = "handed out one at a time and never stored")]
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Frame {
    /// A message; `check` it.
    Message(Message),
    /// Two line ends in a row: the peer asks whether we are there; answer with one CRLF.
    Ping,
    /// One line end: the answer to a ping of ours, or the first half of a ping of theirs. Needs no answer.
    Pong,
}

impl StreamFramer {
    /// A framer for one connection.
    pub fn new(limits: Limits) -> Self {
        Self { limits, buffer: Vec::new(), state: State::AwaitingHead { searched: 0 }, line_end_seen: false }
    }

    /// Takes what was read from the connection. Then [`poll`](Self::poll) until it has no more.
    ///
    /// # Errors
    /// More than the limits allow is waiting; the connection is to be closed.
    pub fn push(&mut self, segment: &[u8]) -> Result<(), ParseError> {
        if self.buffer.len() + segment.len() > self.limits.message_bytes * 2 {
            return Err(self.lose(too_large("stream", 0, self.limits.message_bytes * 2)));
        }
        self.buffer.extend_from_slice(segment);
        Ok(())
    }

    /// The next frame that is complete.
    ///
    /// # Errors
    /// The stream cannot be followed any further; the connection is to be closed. Every later call says the same.
    pub fn poll(&mut self) -> Result<Option<Frame>, ParseError> {
        if let State::Lost(error) = &self.state {
            return Err(error.clone());
        }
        if matches!(self.state, State::AwaitingHead { .. }) {
            if let Some(frame) = self.take_line_end() {
                return Ok(Some(frame));
            }
            self.take_head()?;
        }
        Ok(self.take_message().map(Frame::Message))
    }

    fn take_line_end(&mut self) -> Option<Frame> {
        if !self.buffer.starts_with(b"\r\n") {
            return None;
        }
        self.buffer.drain(..2);
        self.state = State::AwaitingHead { searched: 0 };
        self.line_end_seen = !self.line_end_seen;
        Some(if self.line_end_seen { Frame::Pong } else { Frame::Ping })
    }

    /// Moves on to the body if the head is complete.
    fn take_head(&mut self) -> Result<(), ParseError> {
        let State::AwaitingHead { searched } = self.state else { return Ok(()) };
        // The empty line may have started in an earlier segment.
        let Some(end) = head_end(&self.buffer, searched.saturating_sub(3)) else {
            if self.buffer.len() > self.limits.message_bytes {
                return Err(self.lose(too_large("headers", 0, self.limits.message_bytes)));
            }
            self.state = State::AwaitingHead { searched: self.buffer.len() };
            return Ok(());
        };
        if end > self.limits.message_bytes {
            return Err(self.lose(too_large("headers", 0, self.limits.message_bytes)));
        }
        let mut head = Head::parse(&self.buffer[..end], 0, &self.limits).map_err(|error| self.lose(error))?;
        self.buffer.drain(..end);
        self.line_end_seen = false;
        let announced = head.content_length(&self.limits);
        if announced == Ok(None) {
            head.note(ParseError { header: "Content-Length", offset: end, reason: Reason::Missing });
        }
        self.state = match announced {
            Ok(Some(body_bytes)) => State::AwaitingBody { head: Box::new(head), body_bytes },
            Ok(None) | Err(()) => State::LastMessage { head: Box::new(head) },
        };
        Ok(())
    }

    /// The message whose head has been read, if its body is complete.
    fn take_message(&mut self) -> Option<Message> {
        match std::mem::replace(&mut self.state, State::AwaitingHead { searched: 0 }) {
            State::AwaitingBody { head, body_bytes } if body_bytes <= self.buffer.len() => {
                let body = self.buffer.drain(..body_bytes).collect();
                Some(head.with_body(body))
            }
            State::LastMessage { head } => {
                self.lose(ParseError {
                    header: "Content-Length",
                    offset: 0,
                    reason: Reason::Expected("a body length"),
                });
                Some(head.with_body(Vec::new()))
            }
            unfinished @ (State::AwaitingHead { .. } | State::AwaitingBody { .. } | State::Lost(_)) => {
                self.state = unfinished;
                None
            }
        }
    }

    fn lose(&mut self, error: ParseError) -> ParseError {
        self.buffer = Vec::new();
        self.state = State::Lost(error.clone());
        error
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REQUEST: &[u8] = b"OPTIONS sip:a@b SIP/2.0\r\nl: 5\r\nSubject: x\r\n\r\nhello";

    fn framer() -> StreamFramer {
        StreamFramer::new(Limits::default())
    }

    fn drain(framer: &mut StreamFramer) -> Vec<Frame> {
        std::iter::from_fn(|| framer.poll().unwrap()).collect()
    }

    #[test]
    fn a_byte_at_a_time_gives_the_same_as_all_at_once() {
        let stream = [REQUEST, b"\r\n\r\n", REQUEST, REQUEST].concat();
        let mut whole = framer();
        whole.push(&stream).unwrap();
        let at_once = drain(&mut whole);

        let mut dripping = framer();
        let mut dripped = Vec::new();
        for byte in &stream {
            dripping.push(&[*byte]).unwrap();
            dripped.extend(drain(&mut dripping));
        }
        assert_eq!(at_once, dripped);
        let kinds: Vec<_> = at_once.iter().map(|frame| matches!(frame, Frame::Message(_))).collect();
        assert_eq!(kinds, [true, false, false, true, true]);
    }

    #[test]
    fn the_body_is_as_long_as_announced() {
        let mut framer = framer();
        framer.push(REQUEST).unwrap();
        let Some(Frame::Message(Message::Request(request))) = framer.poll().unwrap() else { panic!("no request") };
        assert_eq!(request.body, b"hello");
        assert_eq!(framer.poll(), Ok(None));
    }

    #[test]
    fn two_line_ends_are_a_ping_and_one_is_a_pong() {
        let mut framer = framer();
        framer.push(b"\r\n").unwrap();
        assert_eq!(drain(&mut framer), [Frame::Pong]);
        framer.push(b"\r\n\r").unwrap();
        assert_eq!(drain(&mut framer), [Frame::Ping]);
        framer.push(b"\n").unwrap();
        assert_eq!(drain(&mut framer), [Frame::Pong]);
    }

    #[test]
    fn a_message_without_length_can_be_answered_but_nothing_after_it_read() {
        for head in ["OPTIONS sip:a@b SIP/2.0\r\n\r\n", "OPTIONS sip:a@b SIP/2.0\r\nl: -1\r\n\r\n"] {
            let mut framer = framer();
            framer.push(head.as_bytes()).unwrap();
            framer.push(REQUEST).unwrap();
            let Some(Frame::Message(Message::Request(request))) = framer.poll().unwrap() else { panic!("no request") };
            assert_eq!(request.check().unwrap_err().status(), crate::message::StatusCode::BAD_REQUEST);
            assert!(framer.poll().is_err());
            assert!(framer.poll().is_err(), "and it stays an error");
        }
    }

    #[test]
    fn what_is_not_sip_ends_the_stream() {
        let mut framer = framer();
        framer.push(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
        assert!(framer.poll().is_err());
    }

    #[test]
    fn headers_without_end_and_announced_giants_are_refused_early() {
        let limits = Limits { message_bytes: 1_000, body_bytes: 100, ..Limits::default() };
        let mut endless = StreamFramer::new(limits);
        let mut pushed_bytes = 0;
        let refused = loop {
            endless.push(b"aaaaaaaaaa").unwrap();
            pushed_bytes += 10;
            if let Err(error) = endless.poll() {
                break error;
            }
        };
        assert_eq!(refused.reason, Reason::TooLarge(1_000));
        assert!(pushed_bytes <= 1_010);

        let mut giant = StreamFramer::new(limits);
        giant.push(b"OPTIONS sip:a@b SIP/2.0\r\nl: 101\r\n\r\n").unwrap();
        assert!(matches!(giant.poll(), Ok(Some(Frame::Message(_)))), "handed out at once, to be answered");
        assert!(giant.poll().is_err());

        let mut flood = StreamFramer::new(limits);
        assert_eq!(flood.push(&[0; 2_001]).unwrap_err().reason, Reason::TooLarge(2_000));
    }
}
