//! What `make eval` judges by: pure scoring of calls, without calls. The harness that places them is `benches/eval`.
//!
//! A figure that could be told in two ways is told in the worse one: an answer that was not asked for is wrong, a line
//! without a row was not understood, a slot that is not as written was missed.

mod align;
mod corpus;
mod figures;
mod hearing;
mod judge;
#[path = "../../../models/tests/common/words.rs"]
mod words;

pub use align::align;
pub use corpus::{QUESTIONS, Row, parse, shared_rows};
pub use figures::{Figure, Goal, Part, Spread, print, rank, values_of};
pub use hearing::{OverAnswer, lines_over};
pub use judge::{Answered, Understood, judge_answer, judge_understanding};

/// Words heard wrong, and words of the reference. Digits and their words count as the same.
pub fn word_errors(reference: &str, heard: &str) -> (usize, usize) {
    words::word_errors(reference, heard)
}
