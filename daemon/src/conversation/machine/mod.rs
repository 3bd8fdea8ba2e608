//! The turn machine: whose turn it is, what is said when, and never silence.
//!
//! Drive it like this: one [`Conversation::handle`], then drain [`Conversation::poll_command`] until it is empty, then
//! wait until [`Conversation::poll_timeout`] and call [`Conversation::handle_timeout`].

mod types;

pub use types::{
    Command, EndClass, Ending, Failure, Heard, Input, RecordingEnd, Settings, SpeechId, TurnRecord, UtteranceId,
};

use super::context::Context;
use crate::office::Office;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

/// One call's conversation.
#[derive(Debug)]
pub struct Conversation {
    settings: Settings,
    office: Arc<Office>,
    context: Context,
    commands: VecDeque<Command>,
    ending: Option<Ending>,
}

impl Conversation {
    /// A conversation that waits for [`Input::Answered`].
    pub fn new(settings: Settings, office: Arc<Office>, now: Instant) -> Self {
        let _ = now;
        Self { settings, office, context: Context::default(), commands: VecDeque::new(), ending: None }
    }

    /// Takes what happened. Inputs after the end, and answers to questions that are not open any more, are ignored.
    pub fn handle(&mut self, input: Input, now: Instant) {
        let _ = (input, now, &self.settings, &self.office);
    }

    /// What is to be done next.
    pub fn poll_command(&mut self) -> Option<Command> {
        self.commands.pop_front()
    }

    /// The next deadline and the name of its timer. `None` before the call is answered and after its end.
    pub fn poll_timeout(&self) -> Option<(Instant, &'static str)> {
        None
    }

    /// Does what is due at `now`.
    pub fn handle_timeout(&mut self, now: Instant) {
        let _ = now;
    }

    /// What the conversation has established so far.
    pub fn context(&self) -> &Context {
        &self.context
    }

    /// Why it ended, once it has: by [`Command::HangUp`] or by [`Input::PeerHungUp`].
    pub fn ending(&self) -> Option<Ending> {
        self.ending
    }
}
