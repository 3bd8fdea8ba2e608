//! Who chooses what is said to a caller: the built-in answerer, or a language model that it watches over.
//!
//! ```text
//! what was said ─► BuiltIn: the mind understands, searches, answers ─► its reply, and the passages it has found
//!                                                                          │ a question, and there are passages
//!                   what is said  ◄─ grounded sentences ◄─ Draft ◄─ Events ◄─ the model, streaming
//!                        ▲                                    │ slow, broken off, wrong
//!                        └────────────── its reply ◄──────────┘
//! ```
//! ```text
//! InCharacter: whatever was chosen, without what the persona never says
//! ```
//! Left out on purpose: tools for the model. What changes something outside is asked for by rules and a caller's yes
//! ([`crate::conversation::tools`]), and what can be looked up has been when the model is asked.

mod draft;
mod events;
mod language_model;
mod persona;
mod prompt;

use std::pin::Pin;

use tokio::sync::oneshot;

use crate::call::{Mind, Thought};
use crate::conversation::context::Context;
use crate::conversation::machine::Failure;
use crate::inference::{Priority, Queue};

pub use language_model::WithLanguageModel;
pub use persona::{InCharacter, Persona};

/// An answer that is being chosen. Dropping it gives it up.
pub type Answering<'a> = Pin<Box<dyn Future<Output = Result<Thought, Failure>> + Send + 'a>>;

/// Chooses what is said.
pub trait Answerer: Send + Sync {
    /// The reply to `text`, said in its `context`.
    fn answer(&self, text: String, context: Context) -> Answering<'_>;
}

/// Rules, the office's facts and its documents, on the mind's thread.
pub struct BuiltIn {
    mind: Queue<Mind>,
}

impl BuiltIn {
    /// On this mind.
    pub fn new(mind: Queue<Mind>) -> BuiltIn {
        BuiltIn { mind }
    }
}

impl Answerer for BuiltIn {
    fn answer(&self, text: String, context: Context) -> Answering<'_> {
        Box::pin(async move {
            let (done, thought) = oneshot::channel();
            let submitted = self.mind.submit(Priority::Live, move |mind| {
                // Whoever asked may have given up.
                let _ = done.send(mind.think(&text, &context));
            });
            submitted.map_err(|_| Failure::Unavailable)?;
            // Nothing comes of a job that panicked.
            thought.await.map_err(|_| Failure::Failed)?
        })
    }
}
