//! What to answer.

use super::context::Context;
use super::intent::{Intent, Understanding};
use super::slots::Slots;
use crate::office::Office;
use jiff::Zoned;

/// A passage found in the office's knowledge.
#[derive(Debug, Clone, PartialEq)]
pub struct Hit {
    /// Its id, cited in the turn row.
    pub id: String,
    /// Heading it stands under.
    pub title: String,
    /// Its text: Markdown.
    pub text: String,
    /// How well it fits, 0 to 1 (cosine or comparable). Below [`MIN_HIT_SCORE`] it is not used.
    pub score: f32,
}

/// The least [`Hit::score`] an answer is given from.
pub const MIN_HIT_SCORE: f32 = 0.35;

/// What follows when an answer has been said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Listen for the next question.
    Continue,
    /// The sentences are a goodbye: hang up when they are out.
    HangUp,
    /// Take a message.
    TakeMessage,
    /// A person is wanted. Nobody can be rung yet, so the sentences say so and a message is taken.
    Person,
    /// Say again what was said last; there are no sentences.
    Repeat,
}

/// An answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Reply {
    /// What to say, sentence by sentence, as written (not yet normalised for a voice).
    pub sentences: Vec<String>,
    /// What was understood.
    pub intent: Intent,
    /// How sure that is, 0 to 1.
    pub score: f32,
    /// What the caller named.
    pub slots: Slots,
    /// Where the answer comes from: passage ids, or `office.hours` and the like.
    pub sources: Vec<String>,
    /// What follows.
    pub action: Action,
}

/// Chooses the answer to what was understood.
pub fn reply(understanding: &Understanding, context: &Context, office: &Office, hits: &[Hit], now: &Zoned) -> Reply {
    let _ = (context, office, hits, now);
    Reply {
        sentences: vec![],
        intent: understanding.intent,
        score: understanding.score,
        slots: understanding.slots.clone(),
        sources: vec![],
        action: Action::Continue,
    }
}
