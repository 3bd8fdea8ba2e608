//! As whom the box speaks: what it calls itself, how it greets on which day, and what it never says.
//!
//! The last word on every answer, wherever it comes from: documents, tools or a language model. What the office has set
//! as its own words (greetings, disclosure) and fixed phrases are not looked at.

use std::sync::Arc;

use jiff::Zoned;
use tracing::info;

use super::{Answerer, Answering};
use crate::config;
use crate::conversation::answer::{Action, Reply};
use crate::conversation::context::Context;
use crate::conversation::phrases;
use crate::office::Office;
use crate::office::hours::Status;

/// The configured persona. Pure.
#[derive(Debug, Clone, Default)]
pub struct Persona {
    config: config::Persona,
    /// What is never said, as words.
    never: Vec<Vec<String>>,
}

impl Persona {
    /// As configured.
    pub fn new(config: &config::Persona) -> Persona {
        let never = config.never_says.iter().map(|phrase| words(phrase)).filter(|words| !words.is_empty()).collect();
        Persona { config: config.clone(), never }
    }

    /// The greeting at `now`: of the holiday, of a closed office, or the usual one.
    pub fn greeting(&self, office: &Office, now: &Zoned) -> String {
        let now = now.with_time_zone(office.time_zone().clone());
        let holiday = office.calendar.day(now.date()).label;
        let is_closed = || matches!(office.calendar.status(&now), Status::Closed { .. });
        match (holiday, &self.config.greeting_holiday, &self.config.greeting_closed) {
            (Some(holiday), Some(greeting), _) => greeting.replace("{holiday}", holiday),
            (_, _, Some(greeting)) if is_closed() => greeting.clone(),
            (_, _, _) => office.greeting.clone(),
        }
    }

    /// Every greeting there may be, to be rendered ahead; on holidays, the one of `now`.
    pub fn greetings(&self, office: &Office, now: &Zoned) -> Vec<String> {
        let mut all = vec![self.greeting(office, now), office.greeting.clone()];
        all.extend(self.config.greeting_closed.clone());
        all.dedup();
        all
    }

    /// Whether nothing in it is never said.
    pub fn may_say(&self, sentence: &str) -> bool {
        let said = words(sentence);
        !self.never.iter().any(|phrase| said.windows(phrase.len()).any(|part| part == phrase.as_slice()))
    }

    /// A reply as this persona says it.
    fn speak(&self, reply: &mut Reply) {
        if let Some(name) = &self.config.name
            && let Some(sentence) = reply.sentences.iter_mut().find(|sentence| sentence.as_str() == phrases::WHO_I_AM)
        {
            *sentence = format!("I am {name}, an automatic assistant. I can answer questions and take messages.");
        }
        let before = reply.sentences.len();
        let fixed = |sentence: &String| phrases::ALL.contains(&sentence.as_str());
        reply.sentences.retain(|sentence| fixed(sentence) || self.may_say(sentence));
        if reply.sentences.len() == before {
            return;
        }
        info!(sentences = before - reply.sentences.len(), "Not said: persona.never_says");
        if reply.sentences.iter().all(fixed) && reply.action == Action::Continue {
            // What is left would answer nothing.
            reply.sentences = vec![phrases::NOT_KNOWN.into(), phrases::OFFER_MESSAGE.into()];
            reply.sources.clear();
            reply.tool = None;
        }
    }
}

/// An answerer as a persona.
pub struct InCharacter {
    inner: Arc<dyn Answerer>,
    persona: Arc<Persona>,
}

impl InCharacter {
    /// What `inner` answers, as `persona` says it.
    pub fn new(inner: Arc<dyn Answerer>, persona: Arc<Persona>) -> InCharacter {
        InCharacter { inner, persona }
    }
}

impl Answerer for InCharacter {
    fn answer(&self, text: String, context: Context) -> Answering<'_> {
        Box::pin(async move {
            let mut thought = self.inner.answer(text, context).await?;
            self.persona.speak(&mut thought.reply);
            Ok(thought)
        })
    }
}

fn words(text: &str) -> Vec<String> {
    let words = text.split(|letter: char| !letter.is_alphanumeric() && letter != '\'');
    words.filter(|word| !word.is_empty()).map(str::to_lowercase).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conversation::intent::Intent;
    use crate::conversation::slots::Slots;
    use crate::office::sample;

    fn persona() -> Persona {
        Persona::new(&config::Persona {
            name: Some("Mia".into()),
            greeting_closed: Some("We are closed. What can I note down?".into()),
            greeting_holiday: Some("Merry {holiday}!".into()),
            never_says: vec!["free of charge".into(), "Discount".into()],
            rules: Vec::new(),
        })
    }

    fn spoken(sentences: &[&str]) -> (Vec<String>, usize) {
        let mut reply = Reply {
            sentences: sentences.iter().map(|sentence| (*sentence).to_owned()).collect(),
            intent: Intent::Question,
            score: 1.0,
            slots: Box::new(Slots::default()),
            sources: vec!["p1".into()],
            action: Action::Continue,
            connect_to: None,
            escalation: None,
            tool: None,
        };
        persona().speak(&mut reply);
        (reply.sentences, reply.sources.len())
    }

    #[test]
    fn the_greeting_is_of_the_day() {
        let office = sample::office().unwrap();
        let greeting = |at: &str| persona().greeting(&office, &at.parse().unwrap());
        assert_eq!(greeting("2026-11-23T10:00[America/New_York]"), office.greeting, "a Monday");
        assert_eq!(greeting("2026-11-23T22:00[America/New_York]"), "We are closed. What can I note down?");
        assert_eq!(
            greeting("2026-11-23T23:00[UTC]"),
            "We are closed. What can I note down?",
            "the office's clock counts"
        );
        assert_eq!(greeting("2026-12-25T10:00[America/New_York]"), "Merry Christmas!");
        let plain = Persona::default();
        let holiday = "2026-12-25T10:00[America/New_York]".parse().unwrap();
        assert_eq!(plain.greeting(&office, &holiday), office.greeting);
    }

    #[test]
    fn what_is_never_said_is_left_out_and_nothing_is_left_alone() {
        assert_eq!(spoken(&["A crown is $1,150.", "Parking is free of charge."]).0, ["A crown is $1,150."]);
        let (left, sources) = spoken(&["There is a DISCOUNT.", phrases::ANYTHING_ELSE]);
        assert_eq!((left, sources), (vec![phrases::NOT_KNOWN.to_owned(), phrases::OFFER_MESSAGE.to_owned()], 0));
        assert_eq!(spoken(&["It is free.", "Discounted it is not."]).0.len(), 2, "whole words only");
    }

    #[test]
    fn it_has_a_name_and_stays_a_machine() {
        let said = spoken(&[phrases::WHO_I_AM]).0;
        assert!(said[0].starts_with("I am Mia, an automatic assistant."), "{said:?}");
    }
}
