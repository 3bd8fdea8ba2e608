//! How the caller has found the call, asked at its end and answered by one key, if the office wants to know.
//!
//! Only after a talk that came to its end, and once: whoever hangs up instead, or presses nothing, is not asked again.

use std::time::{Duration, Instant};

use super::speak::{After, Line};
use super::{Command, Conversation, EndClass, Ending};
use crate::conversation::phrases;

/// Silence after the question that ends the call.
pub(super) const RATING_WITHIN: Duration = Duration::from_secs(5);

/// How far that is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rating {
    NotAsked,
    Asked,
    Given,
}

impl Conversation {
    /// Asks, after the last words and before the end; false if that is not to be done.
    pub(super) fn ask_for_rating(&mut self, ending: Ending, now: Instant) -> bool {
        let is_wanted = self.settings.asks_for_rating && self.settings.text_to_speech;
        let is_success = ending.class == EndClass::Success && self.context.turns > 0;
        if !is_wanted || !is_success || self.rating != Rating::NotAsked {
            return false;
        }
        (self.leaving, self.rating) = (Some(ending), Rating::Asked);
        self.say(Line::fixed(vec![phrases::RATE_THE_CALL.into()]).then(After::Listen), now);
        true
    }

    /// Whether the caller was asked and has not answered yet: then only keys count.
    pub(super) fn is_being_rated(&self) -> bool {
        self.rating == Rating::Asked
    }

    /// A key after the question.
    pub(super) fn rate(&mut self, digit: char, now: Instant) {
        let Some(rating) =
            digit.to_digit(10).and_then(|digit| u8::try_from(digit).ok()).filter(|it| (1..=5).contains(it))
        else {
            return;
        };
        self.rating = Rating::Given;
        self.push(Command::Rate { rating });
        if self.stop_for_caller(now)
            && let Some(saying) = &mut self.saying
        {
            saying.superseded = true;
        }
        self.drop_queue(now);
        self.say(Line::fixed(vec![phrases::RATED.into()]).uninterruptible().then(After::HangUp), now);
    }

    /// Nothing was pressed, or the question could not be said.
    pub(super) fn end_unrated(&mut self, now: Instant) {
        self.rating = Rating::Given;
        let goodbye = Ending { cause: "caller_goodbye", class: EndClass::Success };
        self.hang_up(self.leaving.unwrap_or(goodbye), now);
    }
}
