//! What becomes of a message that is recorded, before it is sent: the caller may hear it, say it again or mark it urgent.
//!
//! ```text
//!  kept ─► menu ─► 1: it is played ─► menu      2: tone, recorded anew ─► kept ─► menu
//!            │     3: marked urgent ─► menu     #, or no key for a while: sent, its reference is told
//!            └──► hung up, the end of the call, a voice that fails: sent
//! ```
//! Nothing of it can lose a message: what is kept is sent whatever happens, and an earlier one is given up only once another
//! is kept in its place. Only keys count; words of the caller would be taken for a new question, or for a part of the message.

use std::time::{Duration, Instant};

use super::speak::{After, Kind, Line};
use super::{Command, Conversation, Ending, Recorded, SpeechId, spelled};
use crate::conversation::context::Offer;
use crate::conversation::phrases;

/// Silence after the menu that sends the message: whoever has put the key pad down wants nothing else.
pub(super) const KEY_WITHIN: Duration = Duration::from_secs(4);

/// A message that the caller may still change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Review {
    reference: String,
    is_urgent: bool,
}

impl Conversation {
    /// A message is kept under `reference`, perhaps in the place of an earlier one.
    pub(super) fn review(&mut self, reference: String, now: Instant) {
        let is_urgent = self.review.take().is_some_and(|earlier| earlier.is_urgent);
        if is_urgent {
            self.push(Command::MarkUrgent);
        }
        if !self.settings.text_to_speech || self.leaving.is_some() {
            return self.message_sent(Vec::new(), &reference, now);
        }
        self.review = Some(Review { reference, is_urgent });
        self.say(menu(Vec::new()), now);
    }

    /// Nothing came of another recording: the earlier one stands.
    pub(super) fn earlier_message_stands(&mut self, earlier: &Review, now: Instant) {
        self.message_sent(vec![phrases::EARLIER_MESSAGE_KEPT.into()], &earlier.reference, now);
    }

    /// What a key means. Turns are counted, so that nobody presses for ever.
    pub(super) fn review_key(&mut self, digit: char, now: Instant) {
        self.silences = 0;
        self.silent_since = None;
        if self.stop_for_caller(now)
            && let Some(saying) = &mut self.saying
        {
            saying.superseded = true;
        }
        self.drop_queue(now);
        self.context.turns += 1;
        if self.context.turns > self.settings.max_turns {
            return self.end_for_turns(now);
        }
        match digit {
            '1' => {
                self.say(Line::recorded(Recorded::Message), now);
                self.say(menu(Vec::new()), now);
            }
            '2' => {
                let line = Line::fixed(vec![phrases::AFTER_THE_TONE.into()]).uninterruptible();
                self.say(line.then(After::Record), now);
            }
            '3' => {
                if let Some(review) = &mut self.review {
                    review.is_urgent = true;
                }
                self.push(Command::MarkUrgent);
                self.say(menu(vec![phrases::MARKED_URGENT.into()]), now);
            }
            '#' => self.review_over(now),
            _ => self.say(menu(Vec::new()), now),
        }
    }

    /// Sends the message and tells its reference.
    pub(super) fn review_over(&mut self, now: Instant) {
        if let Some(review) = self.review.take() {
            self.message_sent(Vec::new(), &review.reference, now);
        }
    }

    fn message_sent(&mut self, mut sentences: Vec<String>, reference: &str, now: Instant) {
        self.push(Command::SendMessage);
        sentences.push(format!("Thank you. Your message is saved. Its reference is {}.", spelled(reference)));
        let goes_on = self.settings.speech_to_text && self.settings.text_to_speech && self.leaving.is_none();
        if goes_on {
            sentences.push(phrases::ANYTHING_ELSE.into());
            self.say(Line::fixed(sentences).offering(Offer::AnythingElse).then(After::Listen), now);
        } else {
            let ending: Ending = self.leaving.unwrap_or(super::MESSAGE_TAKEN);
            sentences.push(phrases::GOODBYE.into());
            self.leave(sentences, ending, now);
        }
    }

    /// What was recorded cannot be played: the menu of a message follows all the same, and a greeting is put in our words.
    pub(super) fn not_played(&mut self, what: Recorded, now: Instant) {
        self.queue.push_front(match what {
            Recorded::Message => Line::fixed(vec![phrases::MESSAGE_NOT_PLAYED.into()]),
            Recorded::Greeting => Line::fixed(vec![phrases::NOBODY_ANSWERED.into()]).message(),
        });
        self.pump(now);
    }

    /// What is to be done so that `line` sounds.
    pub(super) fn command_for(line: &Line, speech: SpeechId) -> Command {
        match line.kind {
            Kind::Recorded(what) => Command::Play { speech, what },
            Kind::Answer | Kind::Greeting | Kind::Filler | Kind::Notice => Command::Speak {
                speech,
                sentences: super::speak::spoken(&line.display),
                display: line.display.clone(),
                interruptible: line.interruptible,
                skip: line.skip,
            },
        }
    }
}

fn menu(mut sentences: Vec<String>) -> Line {
    sentences.push(phrases::REVIEW_MENU.into());
    Line::fixed(sentences).then(After::Listen)
}
